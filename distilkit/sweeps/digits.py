"""The stored sweeps of the digits: chapters 00 to 04."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilkit import divergences, metrics
from distilkit.models import predict
from distilkit.sweeps.grid import Jobs, Measure, Point, collect, distilled, grid, trained
from distilkit.training import Knobs, distill


def _omitted(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """Hinton's omitted class: no image of a 3 in the transfer set; then how many of the test set's 3s are recognised.

    `shifted` is after adding to the logit of 3 the constant that makes its mean probability on the test images 1/10,
    its share; no label is looked at.
    """
    own = task.relabelled(100, point["seed"]).without(3)
    student = own.student(point["seed"], hidden=settings["hidden"])
    if point["student"] == "twin":
        run = distill(student, None, own.train, steps=settings["steps"], seed=point["seed"])
    else:
        knobs = Knobs(point["temperature"], alpha=1)
        run = distill(student, teacher, own.transfer, knobs=knobs, steps=settings["steps"], seed=point["seed"])
    logits = predict(run.result(), own.test.inputs).double()
    threes = own.test.labels == 3
    low, high = torch.tensor(-100.0).double(), torch.tensor(100.0).double()
    column = torch.eye(logits.shape[-1], dtype=torch.float64)[3]
    for _ in range(60):  # bisection: the mean probability grows with the shift
        middle = (low + high) / 2
        share = torch.softmax(logits + middle * column, -1)[:, 3].mean()
        low, high = (middle, high) if share < 0.1 else (low, middle)
    shifted = logits + low * column
    return {
        "accuracy": metrics.accuracy(logits, own.test.labels),
        "threes": metrics.accuracy(logits[threes], own.test.labels[threes]),
        "shift": float(low),
        "threes_shifted": metrics.accuracy(shifted[threes], own.test.labels[threes]),
        "accuracy_shifted": metrics.accuracy(shifted, own.test.labels),
    }


class _Fixed(nn.Module):
    """A stand-in teacher with an answer for each row of its transfer set."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits


def _control(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """At 100 labels: which part of the soft labels gives the gain.

    Beside them belong two of "digits": hard labels alone (alpha 0), and every image's soft labels (T = 4, alpha 0.9).
    """
    own = task.relabelled(100, point["seed"])
    labels, knobs, source = own.train.labels, Knobs(), teacher
    match point["control"]:
        case "label smoothing":
            hot = torch.nn.functional.one_hot(labels, len(own.classes)).double()
            knobs, source = Knobs(temperature=1, alpha=1), _Fixed((0.9 * hot + 0.1 / len(own.classes)).log())
        case "class means":
            soft = divergences.soften(predict(teacher, own.train.inputs), knobs.temperature).double()
            means = torch.stack([soft[labels == label].mean(0) for label in range(len(own.classes))])
            source = _Fixed(knobs.temperature * means[labels].log())
    return trained(own, teacher, source, own.train, knobs, point, settings)


def _teachers_answer(student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Decoupled KD with the teacher's own answer for a label, so that unlabelled images count, too."""
    return divergences.decoupled_kl(student_logits, teacher_logits, teacher_logits.argmax(-1), mask=mask)


_DIVERGENCES = {
    "reverse_kl": divergences.reverse_kl,
    "jsd": divergences.jsd,
    "skew_forward_kl": divergences.skew_forward_kl,
    "total_variation": divergences.total_variation,
    "decoupled_kl": _teachers_answer,
}


def _diverging(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """At 100 labels: the same distillation with another divergence than forward KL, which "digits" has."""
    own = task.relabelled(100, point["seed"])
    divergence = _DIVERGENCES[point["divergence"]]
    knobs = Knobs(point["temperature"])
    return trained(own, teacher, teacher, own.transfer, knobs, point, settings, divergence=divergence)


def _few(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """The 100 labelled images and no others: what temperature does where the teacher's answers are few."""
    own = task.relabelled(100, point["seed"])
    return trained(own, teacher, teacher, own.train, Knobs(point["temperature"], alpha=1), point, settings)


def _noisy(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """30 % of the 100 labels are wrong, and the student learns from the labelled images alone; alpha 0 is the twin."""
    own = task.relabelled(100, point["seed"]).with_noise(0.3)
    source = teacher if point["alpha"] > 0 else None
    return trained(own, teacher, source, own.train, Knobs(alpha=point["alpha"]), point, settings)


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, steps: int = 600, jobs: Jobs = 1) -> None:
    """Make the stored sweeps of the digits in `folder`; what is there already is not run again."""
    from distilkit.tasks import digits

    task, command = digits(), "python -m distilkit.sweeps"
    settings = {"hidden": 32, "steps": steps}
    every = range(seeds)

    def surface(labelled: int, temperature: Sequence[float], alpha: Sequence[float]) -> list[Point]:
        twins = grid(temperature=[1.0], alpha=[0.0], labelled=[labelled], lr=[0.001, 0.003, 0.01, 0.03], seed=every)
        return twins + grid(temperature=temperature, alpha=alpha, labelled=[labelled], lr=[0.01], seed=every)

    sweeps: list[tuple[str, Measure, list[Point]]] = [
        (
            "digits",
            distilled,
            surface(100, (1.0, 2.0, 4.0, 8.0, 16.0), (0.3, 0.6, 0.9, 1.0))
            + surface(50, (1.0, 4.0), (0.9,))
            + surface(200, (1.0, 4.0), (0.9,)),
        ),
        ("many", distilled, surface(1000, (4.0,), (0.9,))),
        (
            "omitted",
            _omitted,
            grid(student=["twin"], temperature=[1.0], seed=every)
            + grid(student=["distilled"], temperature=[4.0, 8.0], seed=every),
        ),
        (
            "controls",
            _control,
            grid(control=["label smoothing", "class means", "labelled images"], seed=every),
        ),
        ("few", _few, grid(temperature=[1.0, 2.0, 4.0, 8.0, 16.0], seed=every)),
        ("noise", _noisy, grid(alpha=[0.0, 0.3, 0.6, 0.9, 1.0], seed=every)),
        ("divergences", _diverging, grid(temperature=[4.0], divergence=_DIVERGENCES, seed=every)),
    ]
    for name, measure, points in sweeps:
        if only and name not in only:
            continue
        collect(measure, task, points, settings, command=command, path=folder / f"{name}.parquet", jobs=jobs)
