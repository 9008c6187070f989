"""The domain matrix: what students of each source know of each domain, and any mixture distilled for real."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import traitlets
from torch import nn

from distilkit import plots
from distilkit.errors import BadType, BadValue, real, shown, whole
from distilkit.sweeps.domains import MIXTURES, domain_means, learnt, targets
from distilkit.widgets.trainer import Trainer, side_by_side
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STEPS = 150  # of a student, where the frame does not say
PROMPT, LENGTH = 24, 48  # tokens of a held-out text, and that are written after them
PARTS = ("", "_half", "_over", "_over_half")  # of what is known of a measure


def matrix(frame: pd.DataFrame, task: Any, *, steps: int | None = None) -> Matrix:
    """Show what students of each source know of each domain, and distil any mixture of the domains for real.

    Args:
        frame: one row a run, as `load_sweep("domains")`.
        task: what `frame` was made with, `dk.tasks.domains()`: a mixture is distilled on it, with a seed that is not
            in `frame`, and its teacher.
        steps: updates of a student; default, as many as the frame's had.

    Raises:
        BadType: something else than such a frame, or task. BadValue: a frame without the even mixture.
    """
    table = domain_means(frame)
    if not hasattr(task, "mixture"):
        raise BadType(f"matrix needs a task of several domains, dk.tasks.domains(), got {shown(task)}")
    steps = whole("steps", frame.attrs.get("steps", STEPS) if steps is None else steps, 1, 10**7, "updates")
    return Matrix(frame, table, task, steps)


class Matrix(Trainer):
    """The view that `matrix` returns; `fresh` has the mixtures distilled for real: shares, seed, cells, samples."""

    files = "matrix"
    about = traitlets.Dict().tag(sync=True)  # the sweep, sent once
    selected = traitlets.Int(0, min=0).tag(sync=True)  # a row: the stored ones, then the fresh ones
    target = traitlets.Int(0, min=0).tag(sync=True)  # a column
    measure = traitlets.Enum(list(plots.MATRIX), "nll").tag(sync=True)

    def __init__(self, frame: pd.DataFrame, table: pd.DataFrame, task: Any, steps: int) -> None:
        self._frame, self._task, self._steps = frame, task, steps
        self._teacher: nn.Module | None = None
        self._next_seed = int(frame["seed"].max()) + 1
        self._targets = targets(frame)
        self._rows: list[dict[str, Any]] = [
            {
                "name": source,
                "shares": MIXTURES.get(str(source)),
                "lr": float(cells["lr"].iloc[0]),
                "seeds": int(cells["seeds"].iloc[0]),
                "cells": [_cell(cell) for cell in cells.to_dict("records")],
            }
            for source, cells in table.groupby("source", sort=False)
        ]
        super().__init__(
            about={
                "rows": self._rows,
                "targets": self._targets,
                "measures": {
                    key: {"title": say(title), "name": say(name), "digits": digits}
                    for key, (title, name, digits) in plots.MATRIX.items()
                },
            }
        )

    def run(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """Distil a student on this mixture, with a seed the sweep does not have; ask it about all; add it to `fresh`.

        Args:
            shares: each domain's part of the tokens, {"docs": 0.9, "support": 0.1}; they sum to 1.

        Raises:
            BadValue: no such mixture. Stopped: by the button of the page.
        """
        self._task.mixture(shares)  # refused before anything runs
        return self._alone(lambda: self._run(dict(shares)))

    def figure(self) -> Figure:
        """The table as a picture."""
        return plots.matrix(self._frame, measure=self.measure)

    def line(self) -> str:
        """The chosen measure of the selected cell."""
        _, name, digits = plots.MATRIX[self.measure]
        column = min(self.target, len(self._targets) - 1)
        if self.selected >= len(self._rows) and self.fresh:
            row = self.fresh[min(self.selected - len(self._rows), len(self.fresh) - 1)]
            learnt_on = ", ".join(f"{share:.0%} {domain}" for domain, share in row["shares"].items() if share)
            value = row["cells"][column][self.measure][0]
            return say(
                "{measure} of {domain}, learnt on {source}: {value} (seed {seed})",
                measure=say(name),
                domain=self._targets[column],
                source=learnt_on,
                value=f"{value:.{digits}f}",
                seed=row["seed"],
            )
        row = self._rows[min(self.selected, len(self._rows) - 1)]
        value, half, over, over_half = row["cells"][column][self.measure]
        number = f"{value:.{digits}f} ± {half:.{digits}f}"
        line = say(
            "{measure} of {domain}, learnt on {source}: {value}",
            measure=say(name), domain=self._targets[column], source=row["name"], value=number,
        )  # fmt: skip
        if row["name"] != "even":
            difference = f"{over:+.{digits}f} ± {over_half:.{digits}f}"
            line += say(", {difference} against the even mixture", difference=difference)
        return say("{line} ({seeds} seeds)", line=line, seeds=row["seeds"])

    def _run(self, shares: dict[str, float]) -> dict[str, Any]:
        seed = self._next_seed
        self._next_seed += 1
        self.state = {"doing": say("the teacher is loaded")}
        if self._teacher is None:
            self._teacher = self._task.teacher()
        own = self._task.relabelled(self._frame.attrs.get("tokens", self._task.labelled), seed)
        student = own.student(seed)
        self.state = {"doing": say("the teacher is asked")}
        even = next(row for row in self._rows if row["name"] == "even")
        run = learnt(student, self._teacher, own.mixture(shares), lr=even["lr"], steps=self._steps, seed=seed)
        self._trained(run, say("the student learns"))
        self.state = {"doing": say("the student is asked about all")}
        judged = own.judge(student, self._teacher)
        cells = [{name: [judged[f"{target}_{name}"]] for name in plots.MATRIX} for target in self._targets]
        parts = {target: float(shares.get(target, 0)) for target in self._targets}
        row = {"shares": parts, "seed": seed, "cells": cells, "samples": self._samples(student, seed)}
        self.fresh = [*self.fresh, row]
        self.selected = len(self._rows) + len(self.fresh) - 1
        return row

    def _samples(self, student: nn.Module, seed: int) -> list[dict[str, str]]:
        """Of each domain, what student and teacher write after the same held-out words."""
        assert self._teacher is not None
        tests = [self._task[target].test for target in self._targets]
        prompts = torch.stack([test.inputs[seed % len(test), :PROMPT] for test in tests])
        return side_by_side(self._task, prompts, student=student, teacher=self._teacher, length=LENGTH, seed=seed)

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        if "mix" in content:
            self._begin(lambda: self._run(_shares(content["mix"])), doing=say("begins"))


def _shares(mix: Any) -> dict[str, float]:
    """What the page sends, as shares that sum to 1."""
    if not isinstance(mix, dict) or not mix:
        raise BadType(f"a mixture says each domain's part, got {shown(mix)}")
    parts = {str(name): real(f"the share of {name}", part, 0, 1, "a part of the tokens") for name, part in mix.items()}
    total = sum(parts.values())
    if not total:
        raise BadValue(say("all shares are 0: move a slider"))
    return {name: part / total for name, part in parts.items() if part}


def _cell(found: Mapping[Any, Any]) -> dict[str, list[float]]:
    """Of each measure, the mean, its half-width, the difference to the even mixture and that one's half-width."""
    return {name: [float(f"{found[f'{name}{part}']:.5g}") for part in PARTS] for name in plots.MATRIX}
