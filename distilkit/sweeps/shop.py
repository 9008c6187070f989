"""The stored sweep of chapter 16: a student of few labelled conversations, and of many that the teacher answered."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distilkit.adaptive import cosine
from distilkit.cached import CachedTeacher
from distilkit.sweeps.grid import Jobs, Point, cached_for_all, collect_tuned, grid
from distilkit.tasks import Support, shop
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples

LRS = (0.004, 0.008, 0.016)
TRIED = 2  # seeds on which the learning rates are compared
STEPS = 500
LABELLED, ANSWERED = 150, 1200  # conversations that the twin has, and that the teacher answered for the others
JUDGED = 30  # held-out conversations
SOURCES = ("twin", "distilled")


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """The stored sweep of the shop, or nothing where `only` names others."""
    if only and "shop" not in only:
        return
    collect_tuned(
        _measured,
        shop(LABELLED),
        [(grid(student=SOURCES, labelled=[LABELLED]), LRS)],
        {"steps": STEPS, "batch_size": 8, "weight_decay": 0.1},
        command="python -m distilkit.sweeps shop",
        path=folder / "shop.parquet",
        seeds=seeds,
        tried_on=TRIED,
        by="inexact",
        jobs=jobs,
    )


def _measured(task: Support, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of this source, judged on held-out turns, those of JUDGED conversations; rates by `inexact`, 1 − exact.

    The twin has the labelled conversations alone, the distilled student those that the teacher answered, and the
    teacher's distribution at each token of its answers (forward KL at T = 1).
    """
    seed = point["seed"]
    own = task.relabelled(point["labelled"], seed)
    student, (answered, said) = own.student(seed), _answered(task)
    lr = cosine(point["lr"], point["lr"] / 20, settings["steps"])
    knobs = Knobs(temperature=1, alpha=float(point["student"] == "distilled"), lr=lr)
    began = time.perf_counter()
    if point["student"] == "distilled":
        run = distill(student, said, answered, knobs=knobs, seed=seed, **settings)
    else:
        run = distill(student, None, own.train, knobs=knobs, seed=seed, **settings)
    run.result()
    seconds = time.perf_counter() - began
    score = own.score(student, limit=JUDGED)
    return {**score, "inexact": 1 - score["exact"], "seconds": seconds}


@functools.lru_cache(maxsize=1)
def _answered(task: Support) -> tuple[Examples, CachedTeacher]:
    """The conversations that the teacher answered, and its distribution at each token, for all runs."""
    answered = task.transfer[len(task.train) :][:ANSWERED]
    return answered, cached_for_all(task.teacher(), answered)
