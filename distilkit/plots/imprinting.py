"""Pictures of explanations: what a filter lets through, what a student makes of it, and a solution step by step."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadType, BadValue, shown
from distilkit.plots.style import GREY, LABEL, ROLES, STUDENT, TEACHER, TWIN, thin
from distilkit.sweeps.imprinting import imprinted_means
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd

BINS = 26


def explanations(confidence: Any, is_right: Any, kept: Any, *, threshold: float | None = None) -> Figure:
    """The teacher's explanations by its confidence: right ones upwards, wrong ones downwards; dark ones are kept.

    Args:
        confidence: (n,), mean log-probability a token, in nats.
        is_right: (n,), whether the answer is the true one; None where nobody knows: all are then drawn upwards.
        kept: (n,), whether a filter lets it through.
        threshold: the least confidence that is asked.

    >>> explanations([-0.1, -0.5], [True, False], [True, False]).axes[0].get_xlabel()
    'confidence: mean log-probability a token (nats)'
    """
    values = np.asarray(confidence, dtype=float)
    if values.ndim != 1 or not len(values) or not len(values) == len(is_right) == len(kept):
        raise BadValue(
            f"confidence, is_right and kept must have one value an explanation, got {len(values)}, {len(is_right)}, "
            f"{len(kept)}"
        )
    right, through = np.array([one is not False for one in is_right]), np.asarray(kept, dtype=bool)
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(min(values.min(), -0.01), 0, BINS + 1)
    for some, sign, colour in ((right, 1, TEACHER), (~right, -1, LABEL)):
        every, dark = (np.histogram(values[rows], edges)[0] for rows in (some, some & through))
        tall = np.sqrt(every)  # the many that are certain would leave no room for the others
        filled = tall * dark / np.maximum(every, 1)
        axes.bar(edges[:-1], sign * tall, np.diff(edges) * 0.9, align="edge", color=colour, alpha=0.28)
        axes.bar(edges[:-1], sign * filled, np.diff(edges) * 0.9, align="edge", color=colour)
    axes.axhline(0, color=GREY, linewidth=0.8)
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
    numbers = {"right": right.sum(), "wrong": (~right).sum(), "kept": through.sum()}
    axes.set_title(say("right ▲ {right}   wrong ▼ {wrong}   kept {kept}", **numbers), fontsize=10, loc="left")
    axes.set_xlabel(say("confidence: mean log-probability a token (nats)"))
    axes.set_yticks([])
    thin(axes, "x")
    return figure


def imprinted(frame: pd.DataFrame) -> Figure:
    """Students' accuracy against how many explanations they had, filtered or not; the twin has the labels alone.

    frame: `load_sweep("imprinting")`; bars are 95 % intervals over seeds, each cell at its best learning rate.
    """
    table = imprinted_means(frame)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    looks: dict[str, tuple[str, str, Any]] = {
        "filtered": (STUDENT, "s", (0, (6, 3))),
        "unfiltered": (LABEL, "D", (0, (1, 1))),
    }
    twin = table[table["filter"] == "twin"].iloc[0]
    low, high = twin["accuracy"] - twin["half"], twin["accuracy"] + twin["half"]
    axes.axhspan(low, high, color=TWIN, alpha=0.15, linewidth=0)
    axes.axhline(twin["accuracy"], color=TWIN, linestyle=":", linewidth=1.6)
    for name, (colour, marker, style) in looks.items():
        rows = table[table["filter"] == name].sort_values("explained")
        if rows.empty:
            continue
        axes.errorbar(
            rows["explained"], rows["accuracy"], rows["half"],
            color=colour, marker=marker, linestyle=style, capsize=3, linewidth=1.6,
        )  # fmt: skip
        last = rows.iloc[-1]
        axes.annotate(name, (last["explained"], last["accuracy"]), xytext=(8, -3), textcoords="offset points",
                      color=colour, fontsize=10)  # fmt: skip
    axes.set_xscale("log")
    sizes = sorted(set(table.loc[table["filter"] != "twin", "explained"]))
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.5, sizes[-1] * 1.9)
    axes.annotate("twin", (sizes[-1] * 1.85, twin["accuracy"]), xytext=(0, 4), textcoords="offset points",
                  ha="right", color=TWIN, fontsize=10)  # fmt: skip
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("problems that the teacher explained")
    axes.set_title("test problems solved", fontsize=10, loc="left")
    thin(axes, "y")
    return figure


def rationale(question: str, sides: Mapping[str, Sequence[tuple[str, bool | None]]]) -> Figure:
    """A problem and its solutions, a line a step: ✓ or ✗ before what is checked.

    >>> figure = rationale("Tom has 3 pens and buys 4.", {"student": [("3+4=8", False), ("answer 8", None)]})
    >>> [text.get_text() for text in figure.texts][-2:]
    ['✗  3+4=8', '    answer 8']
    """
    if not sides or not set(sides) <= set(ROLES):
        raise BadType(f"the sides must be named {', '.join(ROLES)}, got {shown(list(sides))}")
    lines = textwrap.wrap(question, 78)
    tall = max(len(side) for side in sides.values()) + len(lines) + 2
    figure = Figure(figsize=(7.2, 0.3 * tall + 0.3))
    step = 1 / (tall + 1)

    def write(x: float, line: float, text: str, **look: Any) -> None:
        figure.text(x, 1 - step * (line + 0.5), text.replace("$", r"\$"), va="center", **look)

    for place, line in enumerate(lines):
        write(0.03, place, line, fontsize=11)
    for column, (role, side) in enumerate(sides.items()):
        x = 0.03 + 0.48 * column
        write(x, len(lines) + 0.8, role, color=ROLES[role], fontsize=11, fontweight="bold")
        for place, (text, good) in enumerate(side):
            sign = {True: "✓  ", False: "✗  ", None: "    "}[good]
            text = text if len(text) <= 40 else text[:39] + "…"
            write(x, len(lines) + 2 + place, sign + text, family="DejaVu Sans Mono", fontsize=10,
                  color=LABEL if good is False else "black")  # fmt: skip
    return figure
