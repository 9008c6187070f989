"""The stored sweep of chapter 14: a student of few translated sentences, and of many that the teacher translated."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distilkit.adaptive import cosine
from distilkit.cached import CachedTeacher
from distilkit.sweeps.grid import Jobs, Point, cached_for_all, collect_tuned, grid
from distilkit.tasks import Bilingual, translation
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples

LRS = (0.002, 0.004, 0.008)
STEPS = 600
SOURCES = ("twin", "word-level", "sequence-level", "distilled")
TRIED = 2  # seeds on which the learning rates are compared


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """The stored sweep of translation, or nothing where `only` names others."""
    if only and "translation" not in only:
        return
    collect_tuned(
        _measured,
        translation(),
        [(grid(student=SOURCES), LRS)],
        {"steps": STEPS, "batch_size": 32},
        command="python -m distilkit.sweeps translation",
        path=folder / "translation.parquet",
        seeds=seeds,
        tried_on=TRIED,
        by="inexact",
        jobs=jobs,
    )


def _measured(task: Bilingual, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of this source, judged on the held-out sentences; rates are chosen by `inexact`, 1 − exact.

    The twin has the translated sentences alone, and so has word-level distillation, with the teacher's distribution at
    each of their words. Sequence-level has the sentences that the teacher translated, as labels; the distilled student
    has both: the teacher's words, and its distribution at each.

    Source: Kim & Rush 2016, arXiv:1606.07947.
    """
    source, seed, lr = point["student"], point["seed"], point["lr"]
    own = task.relabelled(task.labelled, seed)
    student = own.student(seed)
    said: Examples | None = None
    judge: nn.Module | CachedTeacher | None = None
    if source in ("sequence-level", "distilled"):
        said = task.examples(list(zip(task.english, task.said, strict=True)))
    if source == "distilled":
        judge = _cached(teacher, task)
    elif source == "word-level":
        judge = teacher
    text = own.train if said is None else said
    falling = cosine(lr, lr / 20, settings["steps"])
    run = distill(
        student,
        judge,
        text,
        knobs=Knobs(1, float(judge is not None), lr=lambda step: falling(step) * min((step + 1) / 100, 1)),
        seed=seed,
        **settings,
    )
    score = own.score(run.result())
    return {**score, "inexact": 1 - score["exact"]}


@functools.lru_cache(maxsize=1)
def _cached(teacher: nn.Module, task: Bilingual) -> CachedTeacher:
    """The teacher's distribution along its own translations, asked once for all runs."""
    return cached_for_all(teacher, task.examples(list(zip(task.english, task.said, strict=True))))
