"""The stored sweep of chapter 15: few transcripts alone, and much sound that the teacher listened to."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distilkit.cached import CachedTeacher
from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.losses import ctc_loss
from distilkit.sweeps.grid import Jobs, Point, cached_for_all, collect_tuned, grid
from distilkit.tasks import Speech, speech
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples

LRS = (0.003, 0.008, 0.016)
STEPS = 400
STUDENTS = ("twin", "frames", "pseudo-labels")
TRIED = 2  # seeds on which the learning rates are compared


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """The stored sweep of speech, or nothing where `only` names others."""
    if only and "speech" not in only:
        return
    collect_tuned(
        _measured,
        speech(),
        [(grid(student=STUDENTS), LRS)],
        {"steps": STEPS, "batch_size": 16},
        command="python -m distilkit.sweeps speech",
        path=folder / "speech.parquet",
        seeds=seeds,
        tried_on=TRIED,
        by="wer",
        jobs=jobs,
    )


def _measured(task: Speech, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of this kind, judged by its error rates on voices heard before and on new ones.

    The twin has the sounds with a transcript alone. The others have all of them: with the teacher's distribution at
    each tick beside the transcripts (frames, alpha 0.9), or with its transcripts as labels (pseudo-labels).
    """
    own = task.relabelled(task.labelled, point["seed"])
    said, heard = _listened(task, teacher)
    judge = said if point["student"] == "frames" else None
    known = (own.transfer.labels >= 0).any(1, keepdim=True)
    sounds = {
        "twin": own.train,
        "frames": own.transfer,
        "pseudo-labels": Examples(heard.inputs, own.transfer.labels.where(known, heard.labels)),
    }[point["student"]]
    peak, steps = point["lr"], settings["steps"]
    knobs = Knobs(1, 0.9 if judge else 0, lambda step: peak * min((step + 1) / 50, 1 - 0.95 * step / steps))
    began = time.perf_counter()
    run = distill(
        own.student(point["seed"]),
        judge,
        sounds,
        knobs=knobs,
        seed=point["seed"],
        hard=ctc_loss,
        weight_decay=0.01,
        **settings,
    )
    student = run.result()
    return {**own.score(student), "seconds": time.perf_counter() - began}


@functools.lru_cache(maxsize=1)
def _listened(task: Speech, teacher: nn.Module) -> tuple[CachedTeacher, Examples]:
    """What the teacher says of each tick of all sounds, and its transcripts of them: one for all runs."""
    pool = task.pool
    hidden = Examples(pool.inputs, pool.labels.where(pool.labels == IGNORED, UNLABELLED))
    return cached_for_all(teacher, pool), task.pseudo_labelled(teacher, hidden)
