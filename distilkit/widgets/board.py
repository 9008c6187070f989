"""The board, whose text × which divergence: where each cell's student lands, and any cell run for real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets
from torch import nn

from distilkit import cells, plots
from distilkit.errors import BadType, BadValue, choice, whole
from distilkit.sweeps import cell_means
from distilkit.widgets.trainer import Trainer, side_by_side
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


STEPS = 150  # in a cell, where the frame does not say
PARTS = ("", "_half", "_over_twin", "_over_twin_half")  # of what is known of a measure
SAMPLES = 2  # texts shown of each run


def board(frame: pd.DataFrame, task: Any, *, steps: int | None = None, warm_up: int | None = None) -> Board:
    """Show where the cells of *whose text × which divergence* land in quality, fidelity, diversity; run any for real.

    Args:
        frame: one row a run, as `load_sweep("board")`: text, divergence, lr, seed, and what `cells.judge` measures.
        task: what `frame` was made with: a chosen cell is trained on it, with a seed not in `frame`, and its teacher.
        steps, warm_up: updates in a cell, and on the corpus's labels before it; default, as many as the frame's runs.

    Raises:
        BadType: something else than such a frame. BadValue: a frame without the twin, which all is compared with.
    """
    table = cell_means(frame)
    missing = set(plots.BOARD) - set(table)
    if missing:
        raise BadType(f"board needs what cells.judge measures, the frame lacks {', '.join(sorted(missing))}")
    made = {"steps": STEPS, "warm_up": cells.WARM_UP, **frame.attrs}
    steps = whole("steps", made["steps"] if steps is None else steps, 1, 10**7, "updates in a cell")
    warm_up = whole("warm_up", made["warm_up"] if warm_up is None else warm_up, 1, 10**7, "updates before the cell")
    return Board(frame, table, task, steps, warm_up)


class Board(Trainer):
    """The view that `board` returns; `fresh` has the cells run for real: cell, seed, measures, samples."""

    files = "board"
    about = traitlets.Dict().tag(sync=True)  # the sweep, sent once
    selected = traitlets.Int().tag(sync=True)  # a row of about["cells"]
    measure = traitlets.Enum(list(plots.BOARD), "perplexity").tag(sync=True)

    def __init__(self, frame: pd.DataFrame, table: pd.DataFrame, task: Any, steps: int, warm_up: int) -> None:
        self._frame, self._task, self._steps, self._warm_up = frame, task, steps, warm_up
        self._teacher: nn.Module | None = None
        self._next_seed = int(frame["seed"].max()) + 1
        found = {(row["text"], row["divergence"]): row for row in table.to_dict("records")}
        self._cells = [
            _cell(text, divergence, found.get((text, divergence)))
            for text in plots.TEXTS
            for divergence in plots.DIVERGENCES
        ]
        super().__init__(
            about={
                "cells": self._cells,
                "texts": {key: say(name) for key, name in plots.TEXTS.items()},
                "divergences": {key: say(name) for key, name in plots.DIVERGENCES.items()},
                "measures": {
                    key: {"title": say(title), "name": say(name), "digits": digits, "less": less}
                    for key, (title, name, digits, less) in plots.BOARD.items()
                },
            },
            selected=list(plots.DIVERGENCES).index("forward_kl"),
        )

    def run(self, text: str | None = None, divergence: str | None = None) -> dict[str, Any]:
        """Train and judge the selected cell, or the one named, on a seed the sweep does not have; add it to `fresh`.

        Raises:
            BadValue: the cell cannot be run, with the reason. Stopped: by the button of the page.
        """
        cell = self._cells[self.selected]
        text = choice("text", text or cell["text"], plots.TEXTS)
        divergence = choice("divergence", divergence or cell["divergence"], plots.DIVERGENCES)
        index = list(plots.TEXTS).index(text) * len(plots.DIVERGENCES) + list(plots.DIVERGENCES).index(divergence)
        if "why" in self._cells[index]:
            place = f"{say(plots.TEXTS[text])} × {say(plots.DIVERGENCES[divergence])}"
            raise BadValue(say("{place} cannot be run. {why}", place=place, why=self._cells[index]["why"]))
        self.selected = index
        return self._alone(lambda: self._run(index))

    def figure(self) -> Figure:
        """The table and the plane as a picture."""
        return plots.board(self._frame, measure=self.measure)

    def line(self) -> str:
        """The chosen measure of the selected cell."""
        cell, (_, name, digits, _) = self._cells[self.selected], plots.BOARD[self.measure]
        place = f"{say(plots.TEXTS[cell['text']])}, {say(plots.DIVERGENCES[cell['divergence']])}"
        if "why" in cell:
            return f"{place}: {cell['why']}"
        value, half, over, over_half = cell["known"][self.measure]
        number = f"{value:.{digits}f} ± {half:.{digits}f}"
        line = say(
            "{measure} on {place} ({cell}): {value}", measure=say(name), place=place, cell=cell["name"], value=number
        )
        if (cell["text"], cell["divergence"]) != ("corpus", "labels"):
            line += say(", {difference} against the twin", difference=f"{over:+.{digits}f} ± {over_half:.{digits}f}")
        return say("{line} ({seeds} seeds)", line=line, seeds=cell["seeds"])

    def _run(self, index: int) -> dict[str, Any]:
        cell, seed = self._cells[index], self._next_seed
        self._next_seed += 1
        self._tell(index, say("the teacher is loaded"))
        if self._teacher is None:
            self._teacher = self._task.teacher()
        own = self._task.relabelled(self._frame.attrs.get("tokens", self._task.labelled), seed)
        begun = cells.warm_up(own, seed, steps=self._warm_up)
        student = self._trained(begun, say("warm-up on the corpus’s labels"), cell=index)
        self._tell(
            index, say("the teacher writes its text") if cell["text"] == "teacher" else say("the teacher is asked")
        )
        where = {name: cell[name] for name in ("text", "divergence", "lr")}
        run = cells.cell(own, student, self._teacher, **where, steps=self._steps, seed=seed)
        self._trained(run, say("the student learns in this cell"), cell=index)
        self._tell(index, say("the student is judged"))
        judged = cells.judge(own, self._teacher, student)
        row = {"cell": index, "seed": seed, **judged, "samples": self._samples(student, seed)}
        self.fresh = [*self.fresh, row]
        return row

    def _tell(self, index: int, doing: str) -> None:
        self.state = {"cell": index, "doing": doing}

    def _samples(self, student: nn.Module, seed: int) -> list[dict[str, str]]:
        """What the student and the teacher write after the same held-out words."""
        assert self._teacher is not None
        prompts = cells.beginnings(self._task.test, SAMPLES, seed=seed)
        return side_by_side(self._task, prompts, student=student, teacher=self._teacher, length=cells.LENGTH, seed=seed)

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        index = content.get("run")
        if isinstance(index, int) and 0 <= index < len(self._cells) and "why" not in self._cells[index]:
            self._begin(lambda: self._run(index), cell=index, doing=say("begins"))


def _cell(text: str, divergence: str, found: dict[Any, Any] | None) -> dict[str, Any]:
    """A cell as the page is told of it: its means, or why there are none."""
    cell = {"text": text, "divergence": divergence, "name": say(plots.CELLS.get((text, divergence), ""))}
    if (text, divergence) not in plots.CELLS:
        return cell | {
            "why": say("There are no labels on the student’s own text: nobody has written what should come next.")
        }
    if found is None:
        return cell | {"why": say("The sweep has no run of this cell, so that its learning rate is not tuned.")}
    known = {key: [float(f"{found[key + part]:.6g}") for part in PARTS] for key in plots.BOARD}  # figures ever shown
    return cell | {"lr": float(found["lr"]), "seeds": int(found["seeds"]), "known": known}
