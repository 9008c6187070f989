"""The ladder of teachers: what a small student learns from each, and any of them run for real."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import torch
import traitlets
from torch import nn

from distilkit import divergences, plots, teachers
from distilkit.errors import BadType, BadValue, DistilkitError, choice, shown, whole
from distilkit.models import predict
from distilkit.sweeps import at_best_lr
from distilkit.sweeps.teachers import teacher_means
from distilkit.training import Knobs, distill
from distilkit.widgets.base import Widget, static

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PUSH = 0.1  # seconds between two messages to the page
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


class Stopped(DistilkitError):
    """A run of a rung was stopped before its end."""


class Ladder(Widget):
    """The view that `ladder` returns; `fresh` has the rungs run for real: rung, temperature, assistant, accuracy …"""

    _esm = static("maths.js", "base.js", "ladder.js")
    _css = static("base.css", "ladder.css")
    about = traitlets.Dict().tag(sync=True)  # the sweep and the images, sent once
    selected = traitlets.Int().tag(sync=True)  # a row of about["rungs"]
    temperature = traitlets.Float(1.0).tag(sync=True)
    assistant = traitlets.Bool(False).tag(sync=True)
    image = traitlets.Int().tag(sync=True)  # a row of about["images"]
    said = traitlets.Dict().tag(sync=True)  # rung: its logits on the images
    fresh: traitlets.List = traitlets.List().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)  # {"rung", "doing", "step", "of"} in a run, {"error"} or {"line"} after it

    def __init__(self, frame: pd.DataFrame, task: Any, steps: int) -> None:
        means = teacher_means(frame)
        means = means[means["images"] == "labelled"]
        self._frame, self._task, self._steps = frame, task, steps
        self._hidden, self._lr = frame.attrs.get("hidden", 16), frame.attrs.get("lr", 0.01)
        self._next_seed = int(frame["seed"].max()) + 1
        self._busy, self._stop = threading.Lock(), threading.Event()
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
        self.on_msg(self._on_message)

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
        try:
            with self._busy:
                self._stop.clear()
                return self._run(self.selected, self.temperature, self.assistant)
        finally:
            self.state = {}

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
        said = f"teacher {rung['name']}, {100 * rung['accuracy']:.1f} % right, {100 * rung['confidence']:.1f} % sure"
        if key not in rung["cells"]:
            return f"{said}; the sweep has no student of it at T = {self.temperature:g}"
        value, half, over, over_half, seeds = rung["cells"][key]
        return (
            f"{said}; its student at T = {self.temperature:g} is right {100 * value:.1f} ± {100 * half:.1f} %, "
            f"{100 * over:+.1f} ± {100 * over_half:.1f} points against the twin ({seeds} seeds)"
        )

    def close(self) -> None:
        """End the view, and what runs in it."""
        self._stop.set()
        super().close()

    def _run(self, index: int, temperature: float, assistant: bool) -> dict[str, Any]:
        name, seed = self._names[index], self._next_seed
        self._next_seed += 1
        own = self._task.relabelled(self._task.labelled, seed)
        self._tell(index, "the teacher learns")
        teacher = source = teachers.taught(own, name, seed=seed)
        if assistant and self._assistants:
            helper = own.student(seed, hidden=int(self._assistants[0]))
            source = self._learn(index, "its assistant learns", helper, source, own, temperature, seed)
        student = own.student(seed, hidden=self._hidden)
        student = self._learn(index, "the student learns", student, source, own, temperature, seed)
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
        knobs, told = Knobs(temperature, alpha=1, lr=self._lr), 0.0
        run = distill(student, teacher, own.train, knobs=knobs, steps=self._steps, seed=seed)
        for step in run:
            if self._stop.is_set():
                raise Stopped(f"stopped at step {step.step} of {run.steps}: {doing}")
            if time.monotonic() - told > PUSH or run.done:
                told = time.monotonic()
                self._tell(index, doing, step=step.step, of=run.steps)
        return run.result()

    def _tell(self, index: int, doing: str, **progress: int) -> None:
        self.state = {"rung": index, "doing": doing, **progress}

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        content = content if isinstance(content, dict) else {}
        if content.get("stop"):
            self._stop.set()
        for what in ("run", "ask"):
            index = content.get(what)
            if isinstance(index, int) and 0 <= index < len(self._names) and self._busy.acquire(blocking=False):
                self._stop.clear()
                self._tell(index, "begins" if what == "run" else "the teacher learns, to be asked")
                threading.Thread(target=self._in_thread, args=(what, index), daemon=True).start()

    def _in_thread(self, what: str, index: int) -> None:
        after = {}
        try:
            if what == "run":
                self._run(index, self.temperature, self.assistant)
            else:
                self.ask(self._names[index])
        except Stopped as stopped:
            after = {"line": f"{stopped}".capitalize()}
        except Exception as error:  # shown in the widget: a thread has nobody to raise to
            after = {"error": f"{type(error).__name__}: {error}"[:400]}
        self._busy.release()  # before the page is told that it may run another
        self.state = after


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
