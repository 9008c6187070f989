"""The race of losses: adaptive methods against a tuned constant, as they were stored, and side by side for real."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import traitlets
from torch import Tensor, nn

from distilkit import divergences, metrics, plots
from distilkit.errors import BadType, choice, whole
from distilkit.models import predict
from distilkit.sweeps.adaptive import EVERY, adaptive_setting, standings
from distilkit.training import Run, distill
from distilkit.widgets.trainer import PUSH, Stopped, Trainer
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOOKS = 24  # at the test set, in a run
OWN = {  # what a method's own setting is, as the lane says it
    "constant": "α {own:g}",
    "temperature ramp": "T goes to {end_t:g}",
    "alpha ramp": "α goes to {own:g}",
    "learned temperature": "rate {own:g}",
    "uncertainty alpha": "rate {own:g}",
    "adaptive KL": "head {own:g}",
    "adaptive skew": "skew {own:g}",
    "weights": "by the {by}",
}


def race(frame: pd.DataFrame, task: Any, *, hidden: int = 16, steps: int | None = None) -> Race:
    """Show how each adaptive method ends against the constant tuned with as many trials; run any side by side, live.

    Args:
        frame: one row a run, ``load_sweep("adaptive")``.
        task: what `frame` was made with, `dk.tasks.digits()`: the lanes are run on it, with a seed not in `frame`.
        hidden: the student's width, one that `frame` has.
        steps: updates a run; default, as many as the frame's.

    Raises:
        BadType, BadValue: something else than such a frame, a width that it lacks.
    """
    table = standings(frame, hidden=hidden)
    found = frame.attrs.get("steps", 600)
    steps = whole("steps", found if steps is None else steps, 2, 10**7, "updates a run")
    if not hasattr(task, "relabelled"):
        raise BadType(f"race needs the task of the stored runs, dk.tasks.digits(), got {type(task).__name__}")
    return Race(frame, table, task, hidden, steps)


class Race(Trainer):
    """The view that `race` returns; `fresh` has the races run for real, newest last: seed, and accuracy by method."""

    files = "race"
    about = traitlets.Dict().tag(sync=True)  # the stored race, sent once
    chosen: traitlets.List = traitlets.List().tag(sync=True)  # lanes to run, the constant (0) always among them
    live = traitlets.Dict().tag(sync=True)  # {"seed", "running", "lanes": {lane: {steps, accuracy, T, alpha, inner}}}

    def __init__(self, frame: pd.DataFrame, table: pd.DataFrame, task: Any, hidden: int, steps: int) -> None:
        self._frame, self._task, self._hidden, self._steps = frame, task, hidden, steps
        self._rows = table.to_dict("records")
        self._teacher: nn.Module | None = None
        self._seeds = set(frame["seed"])
        self._told = 0.0
        lanes = [_lane(frame, row, hidden) for row in self._rows]
        super().__init__(about={"steps": steps, "lanes": lanes, "hidden": hidden}, chosen=[0, 1, 3, 4][: len(lanes)])

    def run(self, *methods: str) -> dict[str, float]:
        """Race these methods, or those ticked, against the constant on a seed the sweep does not have.

        Returns the final test accuracy of each, and adds the race to `fresh`.

        Raises:
            BadValue: a method that the race does not have. Stopped: by the button of the page.
        """
        names = [row["method"] for row in self._rows]
        if methods:
            self.chosen = sorted({0, *(names.index(choice("method", method, names)) for method in methods)})
        return self._alone(lambda: self._run(list(self.chosen)))

    def figure(self) -> Figure:
        """Gains over the constant, tuned and untuned."""
        return plots.race(self._frame, hidden=self._hidden)

    def line(self) -> str:
        """The standings in words."""
        first, *others = self._rows
        said = ", ".join(f"{row['method']} {_points(row['gain'], row['gain_half'])}" for row in others)
        accuracy = f"{100 * first['accuracy']:.1f} ± {100 * first['half']:.1f} %"
        return say(
            "Tuned constant {accuracy}; points over it, tuned on as many trials: {others} ({seeds} seeds)",
            accuracy=accuracy, others=said, seeds=first["seeds"],
        )  # fmt: skip

    def _run(self, lanes: Sequence[int]) -> dict[str, float]:
        seed = next(number for number in range(10**6) if number not in self._seeds)
        self._seeds.add(seed)
        self.live = {"seed": seed, "running": True, "lanes": {}}
        if self._teacher is None:
            self._teacher = self._task.teacher()
        own = self._task.relabelled(100, seed)
        against = predict(self._teacher, own.test.inputs)
        runs = {lane: self._start(own, self._rows[lane], seed) for lane in lanes}
        tracks = {lane: _Track(self._rows[lane], run, own.test, against) for lane, run in runs.items()}
        every = max(1, self._steps // LOOKS)
        while any(not run.done for run in runs.values()):
            for lane, run in runs.items():  # side by side: each a few steps in turn
                for _ in range(every):
                    next(run, None)
                tracks[lane].look()
                if self._stop.is_set():
                    at = min(len(run.history) for run in runs.values())
                    raise Stopped(say("stopped at step {step} of {of}", step=at, of=self._steps))
                self._tell(seed, tracks)
        self._tell(seed, tracks, now=True)
        ended = {self._rows[lane]["method"]: track.shown["accuracy"][-1] for lane, track in tracks.items()}
        self.fresh = [*self.fresh, {"seed": seed, **ended}]
        return ended

    def _start(self, own: Any, row: dict[Any, Any], seed: int) -> Run:
        where = (row["method"], row["temperature"], row["own"])
        knobs, divergence = adaptive_setting(*where, steps=self._steps)
        student = own.student(seed, hidden=self._hidden)
        return distill(
            student, self._teacher, own.transfer, knobs=knobs, divergence=divergence, steps=self._steps, seed=seed
        )

    def _tell(self, seed: int, tracks: dict[int, _Track], *, now: bool = False) -> None:
        if now or time.monotonic() - self._told > PUSH:
            self._told = time.monotonic()
            lanes = {
                str(lane): {name: list(seen) for name, seen in track.shown.items()} for lane, track in tracks.items()
            }
            self.live = {"seed": seed, "running": True, "lanes": lanes}

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        if content.get("run"):
            lanes = sorted({0, *(lane for lane in self.chosen if isinstance(lane, int) and 0 < lane < len(self._rows))})
            self._begin(lambda: self._run(lanes))

    def _ended(self) -> None:
        self.live = {**self.live, "running": False}


class _Track:
    """What a lane shows of its run: accuracy, the knobs, and what moves inside its divergence."""

    def __init__(self, row: dict[Any, Any], run: Run, test: Any, teacher: Tensor) -> None:
        self.row, self.run, self.test, self.teacher = row, run, test, teacher
        self.shown: dict[str, list[float]] = {"steps": [], "accuracy": [], "T": [], "alpha": [], "inner": []}

    def look(self) -> None:
        step = self.run.history[-1]
        if self.shown["steps"][-1:] == [step.step]:
            return
        logits = predict(self.run.student, self.test.inputs)
        values = {
            "steps": step.step,
            "accuracy": metrics.accuracy(logits, self.test.labels),
            "T": round(step.temperature, 4),
            "alpha": round(step.alpha, 4),
            "inner": _inner(self.row, logits / step.temperature, self.teacher / step.temperature),
        }
        for name, value in values.items():
            if value is not None:
                self.shown[name].append(value)


def _inner(row: dict[Any, Any], student: Tensor, teacher: Tensor) -> float | None:
    """What moves inside a divergence, on the test set: a share in [0, 1], see `_lane`."""
    if row["method"] == "adaptive KL":
        forward, reverse = (
            f(student, teacher, reduction="none") for f in (divergences.forward_kl, divergences.reverse_kl)
        )
        both = divergences.adaptive_kl(student, teacher, head=row["own"], reduction="none")
        clear = (forward - reverse).abs() > 1e-4  # both = w·forward + (1 − w)·reverse
        share = ((both - reverse) / (forward - reverse))[clear]
        return round(float(share.clamp(0, 1).mean()), 4) if len(share) else 0.5
    if row["method"] == "weights":
        plain = divergences.forward_kl(student, teacher, reduction="none").double()
        by = "error" if row["own"] else "confidence"
        weight = (divergences.weighted(student, teacher, by=by, reduction="none") / plain)[plain > 1e-9]
        return round(float(weight.sum() ** 2 / (len(weight) * weight.square().sum())), 4) if len(weight) else 1.0
    return None


INNER = {"adaptive KL": "share of forward KL", "weights": "examples that count"}


def _lane(frame: pd.DataFrame, row: dict[Any, Any], hidden: int) -> dict[str, Any]:
    """A lane as the page is told of it: its setting, its standing, and its mean curve with 95 % intervals."""
    method = row["method"]
    runs = frame[(frame["hidden"] == hidden) & (frame["method"] == method)]
    for name in ("temperature", "own"):
        runs = runs[runs[name] == row[name]]
    at = [step for step in range(EVERY, 10**4, EVERY) if f"accuracy_{step}" in runs]
    curve = [metrics.interval(runs[f"accuracy_{step}"]) for step in at]
    by = say("error") if row["own"] else say("confidence")
    words = say(OWN[method], own=row["own"], end_t=row["temperature"] * row["own"], by=by)
    numbers = ("accuracy", "half", "gain", "gain_half", "holm", "blind", "blind_gain", "blind_gain_half")
    return {
        "method": method,
        "setting": f"T {row['temperature']:g}, {words}",
        "inner": say(INNER.get(method, "")),
        "seeds": int(row["seeds"]),
        **{name: float(f"{row[name]:.5g}") for name in numbers},
        "at": at,
        "curve": [round(mean, 5) for mean, _ in curve],
        "spread": [round(half, 5) for _, half in curve],
    }


def _points(value: float, half: float) -> str:
    return f"{100 * value:+.2f} ± {100 * half:.2f}".replace("-", "−")
