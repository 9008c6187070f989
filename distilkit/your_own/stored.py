"""The stored sweep of chapter 18: the shipped messages of a shop, what a teacher says of them, and few labels alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distilkit import metrics
from distilkit.models import data_path, predict
from distilkit.sources import read_data
from distilkit.sweeps.grid import Jobs, Point, collect_tuned, grid
from distilkit.training import Knobs, distill
from distilkit.your_own.task import Own, falling, own
from distilkit.your_own.trials import KINDS, LRS

SETTINGS = {"steps": 600, "temperature": 2.0, "alpha": 0.9}  # the chapter's
TRIED = 3  # seeds on which the learning rates are compared, by the validation rows


def requests() -> Own:
    """The messages that are shipped, the teacher that knows such texts, and a student half as deep and wide."""
    example = data_path("requests")
    return own(read_data(example / "messages"), teacher=example / "teacher", student="small")


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """The stored sweep of the requests, or nothing where `only` names others."""
    if only and "requests" not in only:
        return
    collect_tuned(
        _measured,
        requests(),
        [(grid(student=KINDS), LRS)],
        SETTINGS,
        command="python -m distilkit.sweeps requests",
        path=folder / "requests.parquet",
        seeds=seeds,
        tried_on=TRIED,
        by="misjudged",
        jobs=jobs,
    )


def _measured(task: Own, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of the labels alone (the twin), or of all messages and what the teacher says of them; as `trials` does.

    A seed is the student's initialisation and the order of its rows; the rows are the same.
    """
    seed, taught = point["seed"], point["student"] == "distilled"
    began = time.perf_counter()
    run = distill(
        task.student(seed),
        teacher if taught else None,
        task.way(None, teacher, teacher) if taught else task.train,
        knobs=Knobs(
            settings["temperature"], settings["alpha"] if taught else 0.0, falling(point["lr"], settings["steps"])
        ),
        steps=settings["steps"],
        seed=seed,
        hard=task.hard,
    )
    student = run.result()
    seconds = time.perf_counter() - began
    ours, theirs = (predict(model, task.test.inputs).float() for model in (student, teacher))
    return {
        **task.score(student),
        "agreement": metrics.agreement(ours, theirs),
        "mean_kl": metrics.mean_kl(ours, theirs),
        "misjudged": task.misjudged(student),
        "seconds": seconds,
    }
