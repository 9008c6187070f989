"""The surface of a sweep: where temperature and alpha pay, and any point of it run for real."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import traitlets

from distilkit import plots
from distilkit.errors import BadType, BadValue, shown
from distilkit.sweeps import gains, tuned_twin
from distilkit.training import Knobs, distill
from distilkit.widgets.trainer import PUSH, Trainer
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def surface(frame: pd.DataFrame, task: Any, *, labelled: int = 100) -> Surface:
    """Show the accuracy gained over the tuned twin on temperature × alpha, and run a point of it for real.

    Args:
        frame: as `sweep` returns it, alpha 0 (the twin) among its rows; `load_sweep("digits")` is a stored one.
        task: what `frame` was made with: a point chosen in the widget is trained on it, with a seed not in `frame`.
        labelled: which part of the frame.

    Raises:
        BadType: something else than a sweep. BadValue: a number of labels that the sweep does not have.

    >>> import distilkit as dk
    >>> view = dk.surface(dk.load_sweep("digits"), dk.tasks.digits())
    >>> view.line().startswith("gain over the tuned twin, 100 labels: T = ")
    True
    """
    missing = {"temperature", "alpha", "labelled", "lr", "seed", "accuracy"} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(
            f"surface needs what sweep(…) returns; without {', '.join(sorted(missing))}: {shown(type(frame))}"
        )
    if labelled not in set(frame["labelled"]):
        has = ", ".join(map(str, sorted(set(frame["labelled"]))))
        raise BadValue(f"the sweep has no run at {shown(labelled)} labels, it has {has}")
    return Surface(frame, task, labelled)


class Surface(Trainer):
    """The view that `surface` returns; `fresh` has the points run for real, as shares of the test set."""

    files = "surface"
    about = traitlets.Dict().tag(sync=True)  # the sweep, sent once
    selected = traitlets.Int().tag(sync=True)  # a row of about["cells"]

    def __init__(self, frame: pd.DataFrame, task: Any, labelled: int) -> None:
        self._frame, self._task, self._labelled = frame, task, labelled
        self._table, twin = gains(frame, labelled), tuned_twin(frame, labelled)
        self._twin_lr = float(twin["lr"].iloc[0])
        self._steps, self._hidden = frame.attrs.get("steps", 600), frame.attrs.get("hidden", 32)
        self._next_seed = int(frame["seed"].max()) + 1
        base = twin.set_index("seed")["accuracy"]
        cells = self._table.to_dict("records")
        for cell in cells:
            runs = frame[(frame["labelled"] == labelled) & (frame["lr"] == cell["lr"])]
            runs = runs[(runs["temperature"] == cell["temperature"]) & (runs["alpha"] == cell["alpha"])]
            pairs = (runs.set_index("seed")["accuracy"] - base).dropna()
            cell["gains"] = [round(float(gain), 5) for gain in pairs]
        super().__init__(
            about={
                "cells": cells,
                "labelled": labelled,
                "twin": float(base.mean()),
                "twin_lr": self._twin_lr,
                "steps": self._steps,
            },
            selected=int(self._table["gain"].to_numpy().argmax()),
        )

    def run(self, temperature: float, alpha: float) -> dict[str, Any]:
        """Train this point beside its tuned twin, on a seed that the sweep does not have, and add it to `fresh`."""
        at = self._table[(self._table["temperature"] == temperature) & (self._table["alpha"] == alpha)]
        if at.empty:
            raise BadValue(f"the sweep has no point at temperature {shown(temperature)} and alpha {shown(alpha)}")
        return self._alone(lambda: self._run(at.index.tolist()[0]))

    def figure(self) -> Figure:
        """The surface as a picture."""
        return plots.surface(self._frame, labelled=self._labelled)

    def line(self) -> str:
        """The gain at the selected point."""
        cell = self._table.iloc[self.selected]
        return say(
            "gain over the tuned twin, {labels} labels: T = {temperature:g}, alpha = {alpha:g}: {gain:+.1f} ± "
            "{half:.1f} points of accuracy ({seeds:g} seeds)",
            labels=self._labelled,
            gain=100 * cell["gain"],
            half=100 * cell["half"],
            **cell[["temperature", "alpha", "seeds"]],
        )

    def _run(self, index: int) -> dict[str, Any]:
        cell, seed = self._table.iloc[index], self._next_seed
        self._next_seed += 1
        own = self._task.relabelled(self._labelled, seed)
        teacher = own.teacher()
        knobs = Knobs(cell["temperature"], cell["alpha"], cell["lr"])
        with_teacher = distill(
            own.student(seed, hidden=self._hidden), teacher, own.transfer, knobs=knobs, steps=self._steps, seed=seed
        )
        alone = distill(
            own.student(seed, hidden=self._hidden),
            None,
            own.train,
            knobs=Knobs(alpha=0, lr=self._twin_lr),
            steps=self._steps,
            seed=seed,
        )
        told = 0.0
        for step, _ in zip(with_teacher, alone, strict=True):
            if time.monotonic() - told > PUSH:
                told = time.monotonic()
                self.state = {"cell": index, "step": step.step, "of": self._steps}
        distilled, twin = (self._task.score(run.result())["accuracy"] for run in (with_teacher, alone))
        row = {"cell": index, "seed": seed, "distilled": distilled, "twin": twin, "gain": distilled - twin}
        self.fresh = [*self.fresh, row]
        return row

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        index = content.get("run")
        if isinstance(index, int) and 0 <= index < len(self._table):
            self._begin(lambda: self._run(index), cell=index, step=0, of=self._steps)
