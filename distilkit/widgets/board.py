"""The board, whose text × which divergence: where each cell's student lands, and any cell run for real."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import torch
import traitlets
from torch import nn

from distilkit import cells, plots
from distilkit.errors import BadType, BadValue, DistilkitError, choice, whole
from distilkit.sweeps import cell_means
from distilkit.transfer import complete
from distilkit.widgets.base import Widget, static

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from distilkit.training import Run

PUSH = 0.1  # seconds between two messages to the page
STEPS = 150  # in a cell, where the frame does not say
PARTS = ("", "_half", "_over_twin", "_over_twin_half")  # of what is known of a measure
SAMPLES = 2  # texts shown of each run
NO_LABELS = "There are no labels on the student’s own text: nobody has written what should come next."


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


class Stopped(DistilkitError):
    """A run of a cell was stopped before its end."""


class Board(Widget):
    """The view that `board` returns; `fresh` has the cells run for real: cell, seed, measures, samples."""

    _esm = static("maths.js", "base.js", "board.js")
    _css = static("base.css", "board.css")
    about = traitlets.Dict().tag(sync=True)  # the sweep, sent once
    selected = traitlets.Int().tag(sync=True)  # a row of about["cells"]
    measure = traitlets.Enum(list(plots.BOARD), "perplexity").tag(sync=True)
    fresh: traitlets.List = traitlets.List().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)  # {"cell", "doing", "step", "of", "loss"} in a run, {"error"} or {"line"}

    def __init__(self, frame: pd.DataFrame, table: pd.DataFrame, task: Any, steps: int, warm_up: int) -> None:
        self._frame, self._task, self._steps, self._warm_up = frame, task, steps, warm_up
        self._teacher: nn.Module | None = None
        self._next_seed = int(frame["seed"].max()) + 1
        self._busy, self._stop = threading.Lock(), threading.Event()
        found = {(row["text"], row["divergence"]): row for row in table.to_dict("records")}
        self._cells = [
            _cell(text, divergence, found.get((text, divergence)))
            for text in plots.TEXTS
            for divergence in plots.DIVERGENCES
        ]
        super().__init__(
            about={
                "cells": self._cells,
                "texts": plots.TEXTS,
                "divergences": plots.DIVERGENCES,
                "measures": {
                    key: dict(zip(("title", "name", "digits", "less"), about, strict=True))
                    for key, about in plots.BOARD.items()
                },
            },
            selected=list(plots.DIVERGENCES).index("forward_kl"),
        )
        self.on_msg(self._on_message)

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
            place = f"{plots.TEXTS[text]} × {plots.DIVERGENCES[divergence]}"
            raise BadValue(f"{place} cannot be run. {self._cells[index]['why']}")
        self.selected = index
        try:
            with self._busy:
                self._stop.clear()
                return self._run(index)
        finally:
            self.state = {}

    def figure(self) -> Figure:
        """The table and the plane as a picture."""
        return plots.board(self._frame, measure=self.measure)

    def line(self) -> str:
        """The chosen measure of the selected cell."""
        cell, (_, name, digits, _) = self._cells[self.selected], plots.BOARD[self.measure]
        place = f"{plots.TEXTS[cell['text']]}, {plots.DIVERGENCES[cell['divergence']]}"
        if "why" in cell:
            return f"{place}: {cell['why']}"
        values = [cell[f"{self.measure}{part}"] for part in PARTS]
        value, half, over, over_half = values
        line = f"{name} on {place} ({cell['name']}): {value:.{digits}f} ± {half:.{digits}f}"
        if cell["name"] != "the twin":
            line += f", {over:+.{digits}f} ± {over_half:.{digits}f} against the twin"
        return f"{line} ({cell['seeds']} seeds)"

    def close(self) -> None:
        """End the view, and what runs in it."""
        self._stop.set()
        super().close()

    def _run(self, index: int) -> dict[str, Any]:
        cell, seed = self._cells[index], self._next_seed
        self._next_seed += 1
        self._tell(index, "the teacher is loaded")
        if self._teacher is None:
            self._teacher = self._task.teacher()
        own = self._task.relabelled(self._frame.attrs.get("tokens", self._task.labelled), seed)
        begun = cells.warm_up(own, seed, steps=self._warm_up)
        student = self._trained(index, "warm-up on the corpus’s labels", begun)
        self._tell(index, "the teacher writes its text" if cell["text"] == "teacher" else "the teacher is asked")
        where = {name: cell[name] for name in ("text", "divergence", "lr")}
        run = cells.cell(own, student, self._teacher, **where, steps=self._steps, seed=seed)
        self._trained(index, "the student learns in this cell", run)
        self._tell(index, "the student is judged")
        judged = cells.judge(own, self._teacher, student)
        row = {"cell": index, "seed": seed, **judged, "samples": self._samples(student, seed)}
        self.fresh = [*self.fresh, row]
        return row

    def _trained(self, index: int, doing: str, run: Run) -> nn.Module:
        told = 0.0
        for step in run:
            if self._stop.is_set():
                raise Stopped(f"stopped at step {step.step} of {run.steps}: {doing}")
            if time.monotonic() - told > PUSH or run.done:
                told = time.monotonic()
                self._tell(index, doing, step=step.step, of=run.steps, loss=step.loss)
        return run.result()

    def _tell(self, index: int, doing: str, **progress: float) -> None:
        self.state = {"cell": index, "doing": doing, **progress}

    def _samples(self, student: nn.Module, seed: int) -> list[dict[str, str]]:
        """What the student and the teacher write after the same held-out words."""
        assert self._teacher is not None
        prompts = cells.beginnings(self._task.test, SAMPLES, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            written = [complete(model, prompts, length=cells.LENGTH) for model in (student, self._teacher)]
        begins = prompts.shape[1]
        return [
            {name: self._task.decode(tokens) for name, tokens in (("prompt", p), ("student", s), ("teacher", t))}
            for p, s, t in zip(prompts, *(tokens[:, begins:] for tokens in written), strict=True)
        ]

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        content = content if isinstance(content, dict) else {}
        if content.get("stop"):
            self._stop.set()
        index = content.get("run")
        if not isinstance(index, int) or not 0 <= index < len(self._cells) or "why" in self._cells[index]:
            return
        if self._busy.acquire(blocking=False):
            self._stop.clear()
            self._tell(index, "begins")
            threading.Thread(target=self._in_thread, args=(index,), daemon=True).start()

    def _in_thread(self, index: int) -> None:
        after = {}
        try:
            self._run(index)
        except Stopped as stopped:
            after = {"line": f"{stopped}".capitalize()}
        except Exception as error:  # shown in the widget: a thread has nobody to raise to
            after = {"error": f"{type(error).__name__}: {error}"[:400]}
        self._busy.release()  # before the page is told that it may run another
        self.state = after


def _cell(text: str, divergence: str, found: dict[Any, Any] | None) -> dict[str, Any]:
    """A cell as the page is told of it: its means, or why there are none."""
    cell = {"text": text, "divergence": divergence, "name": plots.CELLS.get((text, divergence), "")}
    if (text, divergence) not in plots.CELLS:
        return cell | {"why": NO_LABELS}
    if found is None:
        return cell | {"why": "The sweep has no run of this cell, so that its learning rate is not tuned."}
    values = [f"{key}{part}" for key in plots.BOARD for part in PARTS]
    known = {key: float(f"{found[key]:.6g}") for key in values}  # as many figures as are ever shown
    return cell | {"lr": float(found["lr"]), "seeds": int(found["seeds"]), **known}
