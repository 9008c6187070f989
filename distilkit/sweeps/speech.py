"""The stored sweep of chapter 15: few transcripts alone, and much sound that the teacher listened to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distilkit.losses import ctc_loss
from distilkit.sweeps.grid import Jobs, Point, collect_tuned, grid
from distilkit.tasks import Speech, speech
from distilkit.training import Knobs, distill

LRS = (0.003, 0.008)
STEPS = 500
STUDENTS = ("twin", "frames", "pseudo-labels")
TRIED = 2  # seeds on which the learning rates are compared


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 5, jobs: Jobs = 1) -> None:
    """The stored sweep of speech, or nothing where `only` names others."""
    if only and "speech" not in only:
        return
    collect_tuned(
        _measured,
        speech(),
        [(grid(student=STUDENTS), LRS)],
        {"steps": STEPS, "batch_size": 32},
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
    judge = teacher if point["student"] == "frames" else None
    sounds = {"twin": own.train, "frames": own.transfer}.get(point["student"]) or own.pseudo_labelled(teacher)
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
