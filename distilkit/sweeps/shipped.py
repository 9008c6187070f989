"""How near the shipped students of chapters 14 to 17 come to their teachers: one training each, item by item."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from distilkit import tasks
from distilkit.models import predict
from distilkit.sweeps.grid import Jobs, Point, _write
from distilkit.tasks.questions import ANSWERS, says_colour
from distilkit.tasks.scenes import LIKELIEST
from distilkit.tasks.speech import error_rate, spelled, texts_of

MODELS = ("teacher", "distilled", "twin")


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 1, jobs: Jobs = 1) -> None:
    """A row an item that no model learnt from: what each is worth there, from 0 to 1. Not again where it is on file."""
    import pandas as pd

    path = folder / "shipped.parquet"
    if path.exists() or (only and "shipped" not in only):
        return
    each: list[tuple[Any, Callable[[Any, nn.Module], np.ndarray]]] = [
        (tasks.translation, _sentences),
        (tasks.shop, _conversations),
        (tasks.speech, _readings),
        (tasks.scenes, _scenes),
    ]
    rows = [{"task": task.__name__, **row} for task, worth in each for row in _rows(task(), worth)]
    versions = {"python": platform.python_version(), "torch": torch.__version__, "pandas": pd.__version__}
    about = {"measure": "shipped", "command": "python -m distilkit.sweeps shipped", "seeds": [0]}
    _write(pd.DataFrame(rows), about | {"date": f"{datetime.now(UTC):%Y-%m-%d}", "versions": versions}, path)


def _rows(task: Any, worth: Callable[[Any, nn.Module], np.ndarray]) -> Iterator[Point]:
    found = {name: worth(task, getattr(task, name)()) for name in MODELS}
    for item in range(len(found["teacher"])):
        yield {"item": item} | {name: float(values[item]) for name, values in found.items()}


def _sentences(task: Any, model: nn.Module) -> np.ndarray:
    """Of each held-out sentence, whether the translation is the reference, word for word."""
    written = task.write(model, [english for english, _ in task.held_out])
    same = [task._ids(one) == task._ids(french) for one, (_, french) in zip(written, task.held_out, strict=True)]
    return np.array(same, dtype=float)


def _conversations(task: Any, model: nn.Module) -> np.ndarray:
    """Of each held-out conversation, the share of exact answers."""
    whose = np.repeat(np.arange(len(task.held_out)), [len(dialogue.turns) for dialogue in task.held_out])
    return task._judged(model, None)["exact"].groupby(whose).mean().to_numpy()


def _readings(task: Any, model: nn.Module) -> np.ndarray:
    """Of each held-out reading, the words heard rightly: 1 − its word error rate; new voices after known ones."""
    heard = [one for test in (task.test, task.new_voices) for one in texts_of(model, test)]
    true = [one for test in (task.test, task.new_voices) for one in spelled(test.labels)]
    return np.array([1 - error_rate([said], [text]) for said, text in zip(true, heard, strict=True)])


def _scenes(task: Any, model: nn.Module) -> np.ndarray:
    """Of each held-out scene, the share of right answers to what a sketch can answer."""
    logits, labels = predict(model, task.test.inputs, batch_size=64), task.test.labels
    found = []
    for row, questions in enumerate(task.asked):
        right = [
            bool(logits[row, place, int((labels[row, place] >= 0).nonzero()[-1]), LIKELIEST].argmax() == wanted)
            for place, question in enumerate(questions)
            if not says_colour(question.text)
            for wanted in [ANSWERS.index(question.answer)]
        ]
        if right:
            found.append(float(np.mean(right)))
    return np.array(found)
