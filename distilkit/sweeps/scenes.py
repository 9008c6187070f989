"""The stored sweep of chapter 17: few labelled sketches alone, or many that the teacher saw in colour."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distilkit.sweeps.grid import Jobs, Point, collect_tuned, grid
from distilkit.tasks import Scenes, scenes
from distilkit.training import Knobs, distill

LRS = (0.002, 0.005)
LABELLED = 100  # scenes
STEPS = 600
STUDENTS = ("twin", "distilled")
SEES = ("sketch", "depth")
OTHERS = 5  # seeds of depth, at most
TRIED = 2  # seeds on which the learning rates are compared


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """The stored sweep of scenes, or nothing where `only` names others."""
    if only and "scenes" not in only:
        return
    for seen, count in ((SEES[:1], seeds), (SEES[1:], min(seeds, OTHERS))):
        collect_tuned(
            _measured,
            scenes(LABELLED),
            [(grid(sees=seen, labelled=[LABELLED], student=STUDENTS), LRS)],
            {"steps": STEPS, "batch_size": 32},
            command="python -m distilkit.sweeps scenes",
            path=folder / "scenes.parquet",
            seeds=count,
            tried_on=TRIED,
            by="accuracy",
            jobs=jobs,
        )


def _measured(task: Scenes, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of this modality, judged on held-out scenes.

    The twin has the labelled scenes alone; the distilled one all, and what the teacher says of their colour pictures
    beside the few labels (alpha 0.9, T = 1): the answers to their questions, and captions that the teacher wrote.
    """
    own = task if point["sees"] == task.sees["student"] else scenes(sees=point["sees"])
    own, steps, lr = own.relabelled(point["labelled"], point["seed"]), settings["steps"], point["lr"]
    judge = teacher if point["student"] == "distilled" else None
    knobs = Knobs(1, 0.9 if judge else 0, lambda step: lr * min((step + 1) / 50, 1 - 0.95 * step / steps))
    began = time.perf_counter()
    run = distill(
        own.student(point["seed"]),
        judge,
        own.captioned(teacher) if judge else own.train,
        knobs=knobs,
        seed=point["seed"],
        weight_decay=0.02,
        **settings,
    )
    student = run.result()
    return {**own.score(student), "seconds": time.perf_counter() - began}
