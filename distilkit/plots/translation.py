"""Pictures of translation: what each word was read from, and what of grammar a model has got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadValue
from distilkit.plots.style import GREY, ROLES, plain, thin
from distilkit.words import say

MARKERS = {"teacher": "o", "student": "s", "twin": "^"}
SHADES = {"teacher": "Blues", "student": "Oranges", "twin": "Greens"}


def alignments(looks: Mapping[str, tuple[Sequence[str], Sequence[str], Any]]) -> Figure:
    """Which source word (column) each written word (row) was read from, a picture a model side by side.

    looks: {"teacher": (source words, written words, attention (written, source), rows that sum to 1), "student": …}.

    >>> figure = alignments({"teacher": (["a", "dog"], ["un", "chien"], [[0.9, 0.1], [0.2, 0.8]])})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['un', 'chien']
    """
    if not looks:
        raise BadValue("there is nothing to draw: give {'teacher': (source words, written words, attention)}")
    longest = max((len(written) for _, written, _ in looks.values()), default=1)
    size = (0.6 + 3.6 * len(looks), 1.3 + 0.26 * max(longest, 4))
    figure = Figure(figsize=size, layout="constrained")
    for axes, (role, (source, written, weights)) in zip(
        figure.subplots(1, len(looks), squeeze=False)[0], looks.items(), strict=True
    ):
        shares = np.asarray(weights, dtype=float).reshape(len(written), len(source))
        if shares.size:
            axes.imshow(shares, cmap=SHADES.get(role, "Greys"), vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(source)), plain(list(source)), rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(written)), plain(list(written)))
        axes.set_title(say(role), loc="left", fontsize=11, color=ROLES.get(role, GREY))
        axes.tick_params(length=0, labelsize=9)
        axes.spines[:].set_visible(False)
    return figure


def phenomena(tables: Mapping[str, Any]) -> Figure:
    """Of what grammar takes which share of sentences is exactly right, a mark a model; the last one's hardest above.

    tables: {"teacher": `task.by_phenomenon(teacher)`, "student": …}: columns phenomenon, sentences, exact.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"phenomenon": ["elision", "future"], "sentences": [9, 4], "exact": [0.5, 0.25]})
    >>> [label.get_text() for label in phenomena({"twin": table}).axes[0].get_yticklabels()]
    ['future (4)', 'elision (9)']
    """
    if not tables:
        raise BadValue("there is nothing to draw: give {'teacher': task.by_phenomenon(teacher)}")
    last = list(tables.values())[-1]
    order = last[last["sentences"] > 0].sort_values("exact")["phenomenon"]
    figure = Figure(figsize=(6.8, 0.8 + 0.28 * len(order)), layout="constrained")
    axes = figure.subplots()
    for role, table in tables.items():
        shares = table.set_index("phenomenon")["exact"][order]
        colour, marker = ROLES.get(role, GREY), MARKERS.get(role, "D")
        axes.plot(shares, range(len(order)), linestyle="none", label=role, color=colour, marker=marker)
    counts = last.set_index("phenomenon")["sentences"][order]
    axes.set_yticks(range(len(order)), [f"{name} ({count})" for name, count in counts.items()])
    axes.invert_yaxis()
    axes.set_xlim(-0.03, 1.03)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_title("sentences exactly right, by what they take (how many)", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=9)
    thin(axes, "x")
    return figure
