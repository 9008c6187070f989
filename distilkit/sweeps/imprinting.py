"""The stored sweep of chapter 07: what the teacher's explanations are worth to a student, filtered or not."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from torch import nn

from distilkit import imprinting, metrics
from distilkit.errors import BadType, shown
from distilkit.sweeps.grid import Jobs, Point, collect_tuned, grid
from distilkit.sweeps.tables import at_best_lr
from distilkit.tasks.arithmetic import arithmetic

if TYPE_CHECKING:
    import pandas as pd

LRS = (0.0015, 0.003)  # each cell has its best, the twin too
LABELLED = 100  # problems with worked steps that every student has
SIZES = (100, 300, 1000)  # problems that the teacher explains, beyond them
HEAT = 1.2  # of the teacher's sampling: hot enough that half of what it writes is wrong
FILTERS = {"unfiltered": {}, "filtered": {"least_votes": 0.5, "sound": True}}


def write_explanations(path: Path) -> None:
    """The teacher's explanations of the most problems, four each, drawn once for all runs: into a file."""
    task = arithmetic(LABELLED)
    problems = task.unlabelled(max(SIZES), answers=True)
    imprinting.save(imprinting.explain(task, task.teacher(), problems, sampling_temperature=HEAT), path)


@functools.cache
def _explained() -> tuple[imprinting.Explanation, ...]:
    return tuple(imprinting.load())


def _imprinted(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student on the labelled problems and what passes of the explanations of `explained` others; 0 is the twin.

    `precision` is that of the filter: the share of what passes that has the true answer.
    """
    seed = point["seed"]
    own = task.relabelled(settings["labelled"], seed)
    found, kept = [], []
    if point["explained"]:
        questions = sorted({each.problem.question for each in _explained()})
        chosen = set(Random(f"explained {seed}").sample(questions, point["explained"]))
        found = [each for each in _explained() if each.problem.question in chosen]
        kept = imprinting.keep(found, **FILTERS[point["filter"]])  # type: ignore[arg-type]
    run = imprinting.imprint(own, kept, steps=settings["steps"], lr=point["lr"], seed=seed)
    began = time.perf_counter()
    student = run.result()
    seconds = time.perf_counter() - began
    quality = imprinting.judge(kept, found)
    return {
        **own.score(student),
        "kept": int(quality["kept"]),
        "precision": quality["precision"] if kept else 1.0,
        "seconds": seconds,
    }


def imprinted_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each cell of the sweep "imprinting" at its best learning rate, and its gain over the twin.

    Returns:
        One row a cell: filter ("twin", "unfiltered", "filtered"), explained, lr, seeds, kept, precision, accuracy ±
        half (95 % interval), gain ± gain_half over the twin, paired by seed.

    Raises:
        BadType: another frame.
    """
    import pandas as pd

    missing = {"filter", "explained", "lr", "seed", "accuracy"} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(f"this needs load_sweep('imprinting'); {shown(type(frame))} lacks {', '.join(sorted(missing))}")
    cells = {
        cell: at_best_lr(runs).set_index("seed").sort_index()
        for cell, runs in frame.groupby(["filter", "explained"], sort=False)
    }
    twin, rows = cells["twin", 0], []
    for (name, explained), runs in cells.items():
        mean, half = metrics.interval(runs["accuracy"])
        gain, gain_half = metrics.paired(runs["accuracy"], twin["accuracy"][runs.index])
        about = {"lr": runs["lr"].iloc[0], "seeds": len(runs), **runs[["kept", "precision"]].mean()}
        quality = {"accuracy": mean, "half": half, "gain": gain, "gain_half": gain_half}
        rows.append({"filter": name, "explained": explained, **about, **quality})
    return pd.DataFrame(rows)


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """Make the stored sweep in `folder`; what is there already is not run again."""
    if only and "imprinting" not in only:
        return
    stored = folder.parent / imprinting.STORED
    if not stored.exists():
        write_explanations(stored)
    cells = [*grid(filter=["twin"], explained=[0]), *grid(filter=FILTERS, explained=SIZES)]
    collect_tuned(
        _imprinted,
        arithmetic(LABELLED),
        [(cells, LRS)],
        {"labelled": LABELLED, "steps": imprinting.STEPS},
        command="python -m distilkit.sweeps imprinting",
        path=folder / "imprinting.parquet",
        seeds=seeds,
        tried_on=2,
        by="accuracy",
        jobs=jobs,
    )
