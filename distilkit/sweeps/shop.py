"""The stored sweep of chapter 16: a student of few labelled conversations, and of many that the teacher answered."""

from __future__ import annotations

import atexit
import functools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from torch import Tensor, nn

from distilkit.adaptive import cosine
from distilkit.cached import CachedTeacher, cache_teacher
from distilkit.divergences import UNLABELLED
from distilkit.sweeps.grid import Jobs, Point, collect, grid
from distilkit.tasks import Support, shop
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples

LR = 0.008  # at first; of 0.004 and 0.008 the better one for both sides on seed 0, 200 steps
STEPS = 500
LABELLED, ANSWERED = 150, 1200  # conversations that the twin has, and that the teacher answered for the others
JUDGED = 30  # held-out conversations
SOURCES = ("twin", "distilled")


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 5, jobs: Jobs = 1) -> None:
    """The stored sweep of the shop, or nothing where `only` names others."""
    if only and "shop" not in only:
        return
    points = grid(student=SOURCES, labelled=[LABELLED], lr=[LR], seed=range(seeds))
    settings = {"steps": STEPS, "batch_size": 8, "weight_decay": 0.1}
    path, command = folder / "shop.parquet", "python -m distilkit.sweeps shop"
    collect(_measured, shop(LABELLED), points, settings, command=command, path=path, jobs=jobs)


def _measured(task: Support, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of this source, judged on held-out turns, those of JUDGED conversations.

    The twin has the labelled conversations alone; the others have those that the teacher answered: its distribution at
    each token of it (distilled, forward KL at T = 1), or its text as hard labels (sequence-level).
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
        text = own.train if point["student"] == "twin" else as_labels(answered)
        run = distill(student, None, text, knobs=knobs, seed=seed, **settings)
    run.result()
    seconds = time.perf_counter() - began
    score = own.score(student, limit=JUDGED)
    return {**score, "seconds": seconds}


def as_labels(written: Examples) -> Examples:
    """What the teacher wrote, its tokens now labels: where none was given, the token that comes next."""
    follows: Tensor = written.inputs.roll(-1, 1)
    return Examples(written.inputs[:, :-1], follows.where(written.labels == UNLABELLED, written.labels)[:, :-1])


@functools.lru_cache(maxsize=1)
def _answered(task: Support) -> tuple[Examples, CachedTeacher]:
    """The conversations that the teacher answered, and its distribution at each token, for all runs."""
    answered = task.transfer[len(task.train) :][:ANSWERED]
    folder = mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return answered, cache_teacher(task.teacher(), answered, folder, top=8)
