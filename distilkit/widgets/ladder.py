"""The ladder of teachers: what a small student learns from each, and any of them run for real."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import traitlets
from torch import nn

from distilkit import divergences, plots, teachers
from distilkit.errors import BadType, BadValue, choice, shown, whole
from distilkit.models import predict
from distilkit.sweeps import at_best_lr
from distilkit.sweeps.teachers import teacher_means
from distilkit.training import Knobs, distill
from distilkit.widgets.trainer import Trainer
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PLACES = (0, 1, 2, 5, 11, 23, 80, 300)  # among the test images, the most doubtful first: those that are shown


def ladder(frame: pd.DataFrame, task: Any, *, steps: int | None = None) -> Ladder:
    """Show what a small student learns from each teacher of a ladder, by temperature; run any of them for real.

    Args:
        frame: one row a run, as `load_sweep("ladder")`, the twin among them.
        task: the digits; a chosen rung is run on them with a seed not in `frame`.
        steps: updates of a student; default, as many as the frame's runs.

    Raises:
        BadType: something else than such a frame. BadValue: a frame without the twin.
    """
    missing = {"teacher", "assistant", "images", "temperature"} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(f"ladder needs load_sweep('ladder'); {shown(type(frame))} lacks {', '.join(sorted(missing))}")
    if not (frame["teacher"] == "none").any():
        raise BadValue("the sweep has no twin, the student without a teacher: nothing to compare with")
    default = frame.attrs.get("steps", 600)
    return Ladder(frame, task, whole("steps", default if steps is None else steps, 1, 10**7, "updates of a student"))


class Ladder(Trainer):
    """The view that `ladder` returns; `fresh` has the rungs run for real: rung, temperature, assistant, accuracy …"""

    files = "ladder"
    about = traitlets.Dict().tag(sync=True)  # the sweep and the images, sent once
    selected = traitlets.Int().tag(sync=True)  # a row of about["rungs"]
    temperature = traitlets.Float(1.0).tag(sync=True)
    assistant = traitlets.Bool(False).tag(sync=True)
    image = traitlets.Int().tag(sync=True)  # a row of about["images"]
    said = traitlets.Dict().tag(sync=True)  # rung: its logits on the images

    def __init__(self, frame: pd.DataFrame, task: Any, steps: int) -> None:
        means = teacher_means(frame)
        means = means[means["images"] == "labelled"]
        self._frame, self._task, self._steps = frame, task, steps
        self._hidden, self._lr = frame.attrs.get("hidden", 16), frame.attrs.get("lr", 0.01)
        self._next_seed = int(frame["seed"].max()) + 1
        self._names = [str(name) for name in dict.fromkeys(means["teacher"])]
        self._assistants = sorted(set(means["assistant"]) - {"none"})
        logits = predict(task.teacher(), task.test.inputs)
        self._rows = divergences.entropy(logits).argsort(descending=True)[list(PLACES)]
        twin = at_best_lr(frame[frame["teacher"] == "none"])["accuracy"]
        super().__init__(
            about={
                "rungs": [_rung(name, means[means["teacher"] == name]) for name in self._names],
                "temperatures": sorted({float(value) for value in means["temperature"]}),
                "assistant": self._assistants[0] if self._assistants else None,
                "hidden": self._hidden,
                "twin": round(float(twin.mean()), 5),
                "images": [[round(float(ink), 2) for ink in image] for image in task.test.inputs[self._rows]],
                "labels": task.test.labels[self._rows].tolist(),
                "classes": list(task.classes),
            },
            temperature=float(means["temperature"].min()),
        )

    def run(
        self, rung: str | None = None, *, temperature: float | None = None, assistant: bool | None = None
    ) -> dict[str, Any]:
        """Train the selected teacher, or the one named, and a student of it, on a new seed; add it to `fresh`.

        Raises:
            BadValue: no such rung or temperature. Stopped: by the button of the page.
        """
        self.selected = self._names.index(choice("rung", rung or self._names[self.selected], self._names))
        if temperature is not None:
            self.temperature = divergences.check_temperature(temperature)
        if assistant is not None:
            self.assistant = assistant
        return self._alone(lambda: self._run(self.selected, self.temperature, self.assistant))

    def ask(self, rung: str | None = None) -> torch.Tensor:
        """What the selected teacher, or the one named, says of the images shown: logits, (images, classes)."""
        name = choice("rung", rung or self._names[self.selected], self._names)
        logits = predict(teachers.taught(self._task, name), self._task.test.inputs[self._rows])
        self.said = {**self.said, name: [[round(value, 3) for value in row] for row in logits.tolist()]}
        return logits

    def figure(self) -> Figure:
        """The ladder as a picture, at every temperature."""
        return plots.ladder(self._frame)

    def line(self) -> str:
        """The selected rung at the temperature chosen."""
        rung = self.about["rungs"][self.selected]
        key = _key(self.temperature, self.assistant)
        said = say(
            "teacher {name}, {right:.1f} % right, {sure:.1f} % sure",
            name=rung["name"], right=100 * rung["accuracy"], sure=100 * rung["confidence"],
        )  # fmt: skip
        if key not in rung["cells"]:
            return said + say("; the sweep has no student of it at T = {t:g}", t=self.temperature)
        value, half, over, over_half, seeds = rung["cells"][key]
        return said + say(
            "; its student at T = {t:g} is right {value:.1f} ± {half:.1f} %, {over:+.1f} ± {over_half:.1f} points "
            "against the twin ({seeds} seeds)",
            t=self.temperature,
            value=100 * value,
            half=100 * half,
            over=100 * over,
            over_half=100 * over_half,
            seeds=seeds,
        )

    def _run(self, index: int, temperature: float, assistant: bool) -> dict[str, Any]:
        name, seed = self._names[index], self._next_seed
        self._next_seed += 1
        own = self._task.relabelled(self._task.labelled, seed)
        self.state = {"rung": index, "doing": say("the teacher learns")}
        teacher = source = teachers.taught(own, name, seed=seed)
        if assistant and self._assistants:
            helper = own.student(seed, hidden=int(self._assistants[0]))
            source = self._learn(index, say("its assistant learns"), helper, source, own, temperature, seed)
        student = own.student(seed, hidden=self._hidden)
        student = self._learn(index, say("the student learns"), student, source, own, temperature, seed)
        row = {
            "rung": index,
            "temperature": temperature,
            "assistant": bool(assistant and self._assistants),
            "seed": seed,
            "accuracy": own.score(student)["accuracy"],
            "teacher_accuracy": own.score(teacher)["accuracy"],
        }
        self.fresh = [*self.fresh, row]
        return row

    def _learn(
        self, index: int, doing: str, student: nn.Module, teacher: nn.Module, own: Any, temperature: float, seed: int
    ) -> nn.Module:
        knobs = Knobs(temperature, alpha=1, lr=self._lr)
        run = distill(student, teacher, own.train, knobs=knobs, steps=self._steps, seed=seed)
        return self._trained(run, doing, rung=index)

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        for what, doing, run in (
            ("run", say("begins"), lambda index: self._run(index, self.temperature, self.assistant)),
            ("ask", say("the teacher learns, to be asked"), lambda index: self.ask(self._names[index])),
        ):
            index = content.get(what)
            if isinstance(index, int) and 0 <= index < len(self._names):
                self._begin(partial(run, index), rung=index, doing=doing)


def _key(temperature: float, assistant: bool) -> str:
    return f"{temperature:g}{' assistant' if assistant else ''}"


def _rung(name: str, means: pd.DataFrame) -> dict[str, Any]:
    """A rung as the page is told of it: its size, its means, and its students' by temperature and assistant."""
    hidden = teachers.LADDER.get(name)
    model = teachers.network() if hidden is None else teachers.perceptron(*hidden)
    parts = ["accuracy", "half", "over_twin", "over_twin_half"]
    own = means[means["assistant"] == "none"]  # elsewhere the assistant is the teacher that was measured
    return {
        "name": name,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "accuracy": round(float(own["teacher_accuracy"].mean()), 5),
        "confidence": round(float(own["confidence"].mean()), 5),
        "cells": {
            _key(row["temperature"], row["assistant"] != "none"): [
                *(round(row[part], 5) for part in parts),
                row["seeds"],
            ]
            for row in means.to_dict("records")
        },
    }
