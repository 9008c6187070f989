"""Pictures of a report: student and twin seed by seed, quality against what it costs, and how they learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from distilkit.errors import BadValue
from distilkit.metrics import interval
from distilkit.plots.style import GREY, LABEL, ROLES, STYLE, plain, thin

MARKERS = {"teacher": "o", "distilled": "s", "twin": "^"}
COLOURS = {"teacher": ROLES["teacher"], "distilled": ROLES["student"], "twin": ROLES["twin"]}
SPANS = 150  # of steps, each drawn as its mean


def seeds(distilled: Sequence[float], twin: Sequence[float], *, teacher: float = math.nan, measure: str = "") -> Figure:
    """Each seed a line from the twin to the student that learnt from the teacher; beside them their means ± 95 %.

    Both hold a score a seed, in one order; without a twin there are no lines.

    >>> figure = seeds([0.9, 0.8], [0.7, 0.7], teacher=0.95, measure="accuracy")
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['twin', 'distilled']
    """
    if not len(distilled) or len(twin) not in (0, len(distilled)):
        raise BadValue(f"a score a seed of both is needed, got {len(distilled)} and {len(twin)}")
    figure = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes = figure.subplots()
    columns = {"twin": twin, "distilled": distilled} if len(twin) else {"distilled": distilled}
    if len(twin):
        for pair in zip(twin, distilled, strict=True):
            axes.plot([0, 1], pair, color=GREY, linewidth=1, marker="o", markersize=3.5, alpha=0.75)
    else:
        axes.plot([0] * len(distilled), distilled, color=GREY, linestyle="none", marker="o", markersize=3.5)
    for place, (role, values) in enumerate(columns.items()):
        mean, half = interval(values) if len(values) > 1 else (values[0], 0.0)
        aside = place + (-0.16 if place == 0 and len(columns) > 1 else 0.16)
        axes.errorbar(aside, mean, half, color=COLOURS[role], marker=MARKERS[role], markersize=7, capsize=4)
    if math.isfinite(teacher):
        axes.axhline(teacher, color=COLOURS["teacher"], linewidth=1.4)
        axes.annotate("teacher", (0, teacher), xycoords=("axes fraction", "data"), xytext=(2, 3),
                      textcoords="offset points", fontsize=9, color=COLOURS["teacher"])  # fmt: skip
    axes.set_xticks(range(len(columns)), list(columns))
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.margins(y=0.12)
    axes.set_title(_as_it_is(measure), loc="left", fontsize=10)
    thin(axes, "y")
    return figure


def against(points: Mapping[str, tuple[float, float, float]], *, cost: str = "", measure: str = "") -> Figure:
    """What a score costs: each model, by name, at (cost, mean score, half-width of its interval or nan).

    >>> against({"teacher": (4e6, 0.95, 0.0), "distilled": (1e6, 0.9, 0.02)}, cost="parameters").axes[0].get_xlabel()
    'parameters'
    """
    if not points:
        raise BadValue("there is nothing to draw: give {'teacher': (cost, score, half-width of its interval), …}")
    figure = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes = figure.subplots()
    ranked = sorted(points.items(), key=lambda point: point[1][1])
    for rank, (name, (x, y, half)) in enumerate(ranked):
        colour = COLOURS.get(name, LABEL)
        bar = half if math.isfinite(half) else None
        axes.errorbar(x, y, bar, color=colour, marker=MARKERS.get(name, "D"), markersize=7, capsize=3)
        aside = (9, 8 * (rank - (len(ranked) - 1) / 2))  # in points: names of near ones do not meet
        axes.annotate(plain([name])[0], (x, y), xytext=aside, textcoords="offset points", va="center",
                      fontsize=9, color=colour)  # fmt: skip
    costs = [x for x, _, _ in points.values()]
    if min(costs) > 0 and max(costs) > 4 * min(costs):
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.5, max(costs) * (max(costs) / min(costs)) ** 0.35)  # room for the last name
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.35 * max(costs))
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.margins(y=0.2)
    axes.set_title(_as_it_is(measure), loc="left", fontsize=10)
    axes.set_xlabel(_as_it_is(cost))
    thin(axes, "both")
    return figure


def learning(histories: Mapping[str, Any], *, measure: str, title: str = "") -> Figure:
    """A measure over the steps of each history, by name; of long ones the means of equal spans of steps.

    histories: for each name a table with the columns step and `measure`, as of `Step`; nan is left out.

    >>> import pandas as pd
    >>> figure = learning({"twin": pd.DataFrame({"step": [1, 2], "hard": [2.0, 1.0]})}, measure="hard")
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [2.0, 1.0]
    """
    figure = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes, named, least = figure.subplots(), set(), math.inf
    roles = {name: _role(name) for name in histories}
    each = len(histories) <= 4  # a line a name; else a role
    for name, history in histories.items():
        points = history[["step", measure]].dropna().to_numpy(float)
        points = points[np.isfinite(points).all(1)]
        if not len(points):
            continue
        spans = np.array([span.mean(0) for span in np.array_split(points, min(SPANS, len(points)))])
        role, dashed = roles[name], {"distilled": "student", "": "twin"}
        label = plain([name if each else role or "other"])[0]
        same = [other for other in histories if roles[other] == role]
        axes.plot(*spans.T, color=COLOURS.get(role, LABEL), linestyle=STYLE[dashed.get(role, role)],
                  linewidth=1.6 if each else 1, alpha=1 - 0.5 * same.index(name) / len(same),
                  label="_" if label in named else label)  # fmt: skip
        named.add(label)
        least = min(least, spans[:, 1].min())
    if not named:
        raise BadValue(f"no history holds a number under {measure!r}")
    if least > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(_as_it_is(title or measure), loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    thin(axes, "y")
    return figure


def _role(name: str) -> str:
    """Whose history a name is of: "twin", "distilled" or "teacher"; nothing where it does not say."""
    known = {"twin": "twin", "distil": "distilled", "student": "distilled", "teacher": "teacher"}
    return next((role for word, role in known.items() if word in name.lower()), "")


def _as_it_is(words: str) -> str:
    return words.replace("$", r"\$")  # which would start a formula


def _short(value: float) -> str:
    """A number as an axis shows it."""
    for unit, letter in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"
