"""What results show: means, differences paired by seed, their intervals, and a sentence that claims no more."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from distilkit.errors import BadType, BadValue, choice, shown
from distilkit.metrics import interval
from distilkit.reports.templates import as_text

if TYPE_CHECKING:
    import pandas as pd

MODELS = ("teacher", "distilled", "twin")
KNOBS = {"model", "seed", "lr", "temperature", "alpha", "steps", "epochs", "batch_size"}  # columns that are no scores
FIRM = 10  # seeds that a firm claim rests on

# What a measure is: the first group with a word of its name; else it is quality.
GROUPS = {
    "quality": ("against the data", ()),
    "fidelity": ("against the teacher", ("agreement", "kl", "fidelity")),
    "calibration": ("whether it is as sure as it is right", ("ece", "calibration", "brier")),
    "size": ("", ("parameters", "size", "mb", "kb", "bytes", "flops")),
    "speed": ("on the machine that measured", ("latency", "ms", "second", "seconds", "rtf", "throughput")),
}
SHARES = {"accuracy", "agreement", "ece", "wer", "cer", "f1", "precision", "recall", "exact", "error"}
NAMES = {
    "agreement": "agreement with the teacher",
    "bleu": "BLEU",
    "cer": "character error rate",
    "chrf": "chrF",
    "ece": "expected calibration error",
    "f1": "F1",
    "hard": "hard: the loss on the labels (nats)",
    "latency_ms": "latency (ms)",
    "mean_kl": "mean KL from the teacher (nats)",
    "nll": "negative log-likelihood (nats)",
    "size_mb": "size (MB)",
    "soft": "soft: the divergence from the teacher (nats)",
    "wer": "word error rate",
}


class Unit(NamedTuple):
    """How a measure is written: times `scale`, to so many digits; `points` follows a difference."""

    scale: float = 1.0
    digits: int = 0
    suffix: str = ""
    points: str = ""

    def value(self, mean: float, half: float = math.nan) -> str:
        """A mean, and half its interval if it has one."""
        if math.isnan(mean):
            return "—"
        return f"{_signed(f'{self.scale * mean:,.{self.digits}f}')}{self.suffix}{self._half(half)}"

    def difference(self, mean: float, half: float = math.nan) -> str:
        """The same of a difference, with its sign."""
        if math.isnan(mean):
            return "—"
        return f"{_signed(f'{self.scale * mean:+,.{self.digits}f}')}{self._half(half)}{self.points}"

    def _half(self, half: float) -> str:
        return "" if math.isnan(half) else f" ± {self.scale * half:,.{self.digits}f}"


class Claims:
    """What may be said of `results` (see `report`): of each model the rows of its best learning rate, by seed.

    >>> import pandas as pd
    >>> results = pd.DataFrame({"model": ["distilled", "distilled", "twin", "twin"], "seed": [0, 1, 0, 1]})
    >>> claims = Claims(results.assign(wer=[0.2, 0.22, 0.3, 0.32]), by="wer", larger=False)
    >>> claims.verdict, claims.unit("wer").difference(*claims.gain("wer")[:2])
    ('gain', '−10.0 ± 0.0 points')
    """

    def __init__(self, results: pd.DataFrame, *, by: str, larger: bool = True) -> None:
        self.by, self.larger, self.rates = by, larger, 0
        scores, results = _scores(results, by), results.reset_index(drop=True)
        self.sides: dict[str, pd.DataFrame] = {}
        for name in MODELS:
            rows = results[results["model"] == name]
            if "lr" in rows and (rates := rows["lr"].nunique()) > 1:
                self.rates = max(self.rates, rates)
                rows = _at_best_lr(rows, scores.loc[rows.index, by] * (-1 if larger else 1))
            own = scores.loc[rows.index].set_index(rows["seed"])
            if own.index.has_duplicates:
                twice = own.index[own.index.duplicated()][0]
                raise BadValue(f"results holds {name} of seed {shown(twice)} twice: give one row a model, lr and seed")
            if own[by].notna().any():
                self.sides[name] = own.sort_index()
        if "distilled" not in self.sides:
            raise BadValue(f"results holds no number under {shown(by)} of a model 'distilled': nothing to report on")
        self.measures: list[Any] = list(self.sides["distilled"])

    def mean(self, model: str, measure: str) -> float:
        """Over its seeds; nan where it was not measured."""
        return float(self.sides[model][measure].mean()) if model in self.sides else math.nan

    def estimate(self, model: str, measure: str) -> tuple[float, float]:
        """Mean and half-width of its 95 % interval over seeds; of a single value no width."""
        return _estimate(self.sides[model][measure])

    def gain(self, measure: str) -> tuple[float, float, int]:
        """Distilled − twin, paired by seed: the mean, half of its 95 % interval, and how many pairs there are."""
        if "twin" not in self.sides:
            return math.nan, math.nan, 0
        pairs = (self.sides["distilled"][measure] - self.sides["twin"][measure]).dropna()  # of seeds that both have
        return *_estimate(pairs), len(pairs)

    @property
    def verdict(self) -> str:
        """What is shown of the teacher's part: "gain", "loss", "open" (the interval holds 0), "one" seed, or "none"."""
        gain, half, seeds = self.gain(self.by)
        if seeds < 2:
            return ("none", "one")[seeds]
        if abs(gain) <= half + 1e-12:
            return "open"
        return "gain" if (gain > 0) == self.larger else "loss"

    def times(self, cost: str) -> float:
        """How many times the student's cost the teacher's is; nan where it is not known."""
        if cost not in self.measures:
            return math.nan
        return self.mean("teacher", cost) / (self.mean("distilled", cost) or math.nan)

    @property
    def part(self) -> str:
        """The student's parameters as a part of the teacher's: "1/6", "70 %", or nothing where it is no smaller."""
        times = self.times("parameters")
        return f"1/{times:.0f}" if times >= 1.95 else f"{100 / times:.0f} %" if times > 1.02 else ""

    @property
    def sentence(self) -> str:
        """What came out, in two sentences."""
        unit, name = self.unit(self.by), called(self.by)
        ours, theirs = self.mean("distilled", self.by), self.mean("teacher", self.by)
        if math.isnan(theirs):
            first = f"The student’s {name} is {unit.value(ours)}"
        elif self.larger and 0 < ours <= theirs:
            share = 100 * ours / theirs
            first = f"The student keeps {share:.{int(share > 98.5)}f} % of the teacher’s {name}"
        else:
            first = f"The student’s {name} is {unit.value(ours)}, the teacher’s {unit.value(theirs)}"
        if self.part and "keeps" in first:
            first += f" with {self.part} of its parameters"
        elif self.part:
            first += f"; it has {self.part} of the teacher’s parameters"
        gain, half, seeds = self.gain(self.by)
        less = "" if self.larger else ", less is better"
        amount = f"{unit.difference(gain, half)} over {seeds} seeds{less}"
        second = {
            "none": "No twin was trained alike, so that nothing shows what the teacher’s part in this is",
            "one": f"One seed: no interval, no claim (distilled − twin: {unit.difference(gain)}{less})",
            "gain": f"Distilled − twin: {amount}",
            "open": f"No gain over the twin was shown: {amount}",
            "loss": f"It is worse than its twin, which had no teacher: {amount}",
        }[self.verdict]
        return f"{first}. {second}."

    def limits(self) -> list[str]:
        """What the results do not show, a sentence each."""
        seeds, limits = self.gain(self.by)[2], []
        if not seeds:
            limits.append("Without a twin, the same student trained without the teacher, the teacher’s part is open.")
        elif seeds < FIRM:
            some = "one seed" if seeds == 1 else f"{seeds} seeds"
            limits.append(f"This rests on {some}; a firm claim needs {FIRM} or more.")
        if self.rates:
            limits.append(
                f"Each model has the best of up to {self.rates} learning rates, chosen by the scores that are shown: "
                "they flatter it a little."
            )
        limits.append("The scores are those of the held-out data described here; on other data they may differ.")
        limits.append("A student repeats what its teacher gets wrong: where the two agree, both may be mistaken.")
        if any(group_of(measure) == "speed" for measure in self.measures):
            limits.append("Times are those of one machine: how many times faster one is carries over better than they.")
        return limits

    def groups(self) -> list[tuple[str, str, list[tuple[str, list[str]]]]]:
        """The table: groups (name, what it is, rows); a row: a measure, a cell a model, one of distilled − twin."""
        rows: dict[str, list[tuple[str, list[str]]]] = {group: [] for group in GROUPS}
        for measure in self.measures:
            unit, group = self.unit(measure), group_of(measure)
            if group == "size":  # the same in each seed
                cells = [short(self.mean(name, measure)) for name in self.sides]
            else:
                cells = [unit.value(*self.estimate(name, measure)) for name in self.sides]
            if "twin" in self.sides:
                gain, half, _ = self.gain(measure)
                cells.append("" if group in ("size", "speed") else unit.difference(gain, half))
            rows[group].append((called(measure), cells))
        return [(group, GROUPS[group][0], rows[group]) for group in GROUPS if rows[group]]

    def unit(self, measure: str) -> Unit:
        """A share in per cent; anything else to three digits of the largest."""
        most = max(abs(side[measure]).max() for side in self.sides.values() if side[measure].notna().any())
        if _words(measure) & SHARES and most <= 1.5:
            return Unit(100.0, 1, " %", " points")
        return Unit(digits=min(max(2 - math.floor(math.log10(most)), 0), 6) if most > 0 else 0)


def what_came_out(results: pd.DataFrame, *, by: str, larger: bool = True) -> str:
    """What a distillation came to, in two sentences that claim no more than `results` (see `report`) show.

    >>> import pandas as pd
    >>> rows = {"model": ["teacher", *["distilled"] * 3, *["twin"] * 3], "seed": [0, 0, 1, 2, 0, 1, 2]}
    >>> results = pd.DataFrame(rows | {"accuracy": [0.95, 0.91, 0.92, 0.93, 0.87, 0.89, 0.89]})
    >>> what_came_out(results, by="accuracy")
    'The student keeps 97 % of the teacher’s accuracy. Distilled − twin: +3.7 ± 1.4 points over 3 seeds.'
    >>> what_came_out(results[results["seed"] == 0], by="accuracy")
    'The student keeps 96 % of the teacher’s accuracy. One seed: no interval, no claim (distilled − twin: +4.0 points).'
    """
    return Claims(results, by=by, larger=larger).sentence


def group_of(measure: str) -> str:
    """Which of `GROUPS` a measure belongs to."""
    return next((group for group, (_, words) in GROUPS.items() if _words(measure) & set(words)), "quality")


def called(measure: str) -> str:
    """A measure's name as it is read."""
    return NAMES.get(measure, as_text(measure, 60))


def short(value: float) -> str:
    """A number in three digits.

    >>> short(4_386_178), short(722_944), short(17.5)
    ('4.39 M', '722,944', '17.5')
    """
    if math.isnan(value):
        return "—"
    for unit, letter in ((1e9, " B"), (1e6, " M")):
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return _signed(f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}")


def _scores(results: pd.DataFrame, by: str) -> pd.DataFrame:
    """The columns that hold numbers, and only those; the score that counts comes first."""
    import numpy as np
    import pandas as pd

    if not isinstance(results, pd.DataFrame):
        raise BadType(f"results must be a DataFrame, a row a model and seed, got {shown(type(results))}")
    if missing := {"model", "seed"} - set(results.columns):
        raise BadType(f"results lacks {' and '.join(sorted(missing))}: a row a model and seed, then a column a score")
    if twice := results.columns[results.columns.duplicated()].tolist():
        raise BadValue(f"results has two columns {shown(twice[0])}: give each a name of its own")
    choice("by", by, [str(name) for name in results.columns if name not in KNOBS])
    for name in results["model"].unique():
        choice("model, a column of results,", name, MODELS)
    scores = results[[name for name in results.columns if name not in KNOBS]].reset_index(drop=True)
    scores = scores.apply(pd.to_numeric, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    return scores[[by, *(name for name in scores if name != by and scores[name].notna().any())]]


def _at_best_lr(rows: pd.DataFrame, cost: pd.Series) -> pd.DataFrame:
    from distilkit.sweeps import at_best_lr

    return at_best_lr(rows.assign(**{"its cost": cost}), "its cost")  # of what is no accuracy, the lowest


def _estimate(values: pd.Series) -> tuple[float, float]:
    values = values.dropna()
    return interval(values) if len(values) > 1 else (float(values.mean()), math.nan)


def _words(measure: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", str(measure).lower()))


def _signed(number: str) -> str:
    """A number with a real minus sign, and none before zero."""
    return number.replace("-", "−" if re.search("[1-9]", number) else "")
