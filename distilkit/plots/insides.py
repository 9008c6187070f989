"""Pictures of what goes on inside: likeness of layers, attention, what a prediction leans on, fidelity and quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadValue
from distilkit.plots.style import GREY, ROLES, plain, thin
from distilkit.words import say

MOST = 48  # tokens whose names are drawn


def cka(table: Any, *, title: str = "") -> Figure:
    """How alike the student's layers (rows) and the teacher's (columns) are: `cka_by_layer`'s table, 0 pale, 1 dark.

    >>> import pandas as pd
    >>> cka(pd.DataFrame([[0.25, 0.5]], index=["1"])).axes[0].texts[1].get_text()
    '0.50'
    """
    values = np.asarray(table, dtype=float)
    figure = Figure(figsize=(1.4 + 0.75 * values.shape[1], 1.0 + 0.5 * values.shape[0]), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > 0.6 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(values.shape[1]), plain([str(name) for name in table.columns]))
    axes.set_yticks(range(values.shape[0]), plain([str(name) for name in table.index]))
    axes.set_xlabel(say("teacher’s layer"), color=ROLES["teacher"])
    axes.set_ylabel(say("student’s layer"), color=ROLES["student"])
    axes.set_title(title or "CKA", loc="left", fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def attention(maps: Mapping[str, Any], tokens: Sequence[str]) -> Figure:
    """Which token (row) attends to which (column), one map a model side by side: {"teacher": (n, n), "student": …}.

    >>> attention({"teacher": [[1.0, 0.0], [0.5, 0.5]]}, ["a", "b"]).axes[0].get_title(loc="left")
    'teacher'
    """
    if not maps:
        raise BadValue("there is no map to draw: give {'teacher': probabilities (n, n)}")
    names = plain([name.replace("\n", "↵") for name in tokens])
    figure = Figure(figsize=(0.8 + 3.9 * len(maps), 4.3), layout="constrained")
    for place, (axes, (role, values)) in enumerate(
        zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True)
    ):
        shares = np.sqrt(np.asarray(values, dtype=float))  # the eye sees small shares, too
        axes.imshow(shares, cmap="Blues" if role == "teacher" else "Oranges", vmin=0, vmax=1)
        few = names if len(names) <= MOST else []
        axes.set_xticks(range(len(few)), few, rotation=90, fontsize=7)
        axes.set_yticks(range(len(few)), few if place == 0 else [""] * len(few), fontsize=7)
        axes.set_title(role, loc="left", fontsize=11, color=ROLES.get(role, GREY))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def attributions(tokens: Sequence[str], amounts: Mapping[str, Any], *, target: str = "") -> Figure:
    """What a prediction leans on: bars of nats a token, one row of bars a model; `amounts` is {"teacher": (n,), …}.

    >>> attributions(["Return", " the"], {"teacher": [0.5, 2.0]}, target=" value").axes[0].get_title(loc="left")
    'teacher: what moved log p(‘ value’), in nats'
    """
    if not amounts or any(len(values) != len(tokens) for values in amounts.values()):
        raise BadValue(f"each model needs one amount a token, {len(tokens)}; got {[len(v) for v in amounts.values()]}")
    names = plain([name.replace("\n", "↵") for name in tokens])
    high = max(float(np.max(np.abs(np.asarray(values, dtype=float)))) for values in amounts.values())
    figure = Figure(figsize=(max(4.0, 0.32 * len(tokens) + 1), 2.0 * len(amounts) + 0.5), layout="constrained")
    rows = figure.subplots(len(amounts), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (role, values) in zip(rows, amounts.items(), strict=True):
        axes.bar(range(len(tokens)), np.asarray(values, dtype=float), color=ROLES.get(role, GREY), width=0.75)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_ylim(-1.08 * high, 1.08 * high)
        axes.set_title(f"{role}: what moved log p(‘{plain([target])[0]}’), in nats", loc="left", fontsize=11)
        thin(axes, "y")
    rows[-1].set_xticks(range(len(tokens)), names, rotation=90, fontsize=8)
    return figure


def fidelity(
    frame: Any, *, quality: str = "accuracy", fidelity: str = "agreement", by: Sequence[str] = (), title: str = ""
) -> Figure:
    """Fidelity (to the right, more of `fidelity`) against quality (upwards) of many runs, one point each.

    frame: a table of runs. by: columns whose settings have a colour of their own, and a large point for their mean.

    >>> import pandas as pd
    >>> fidelity(pd.DataFrame({"agreement": [0.1, 0.2], "accuracy": [0.1, 0.3]})).axes[0].get_xlabel()
    'fidelity: agreement'
    """
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    groups = list(frame.groupby(list(by), sort=True)) if by else [((), frame)]
    colours = [ROLES["teacher"], ROLES["student"], ROLES["twin"], "#CC79A7", "#8a6d00", "#5B6370"]
    for place, (names, rows) in enumerate(groups):
        colour = colours[place % len(colours)]
        axes.scatter(rows[fidelity], rows[quality], s=14, color=colour, alpha=0.45, linewidths=0)
        if by:
            middle = rows[fidelity].mean(), rows[quality].mean()
            axes.scatter(*middle, s=60, color=colour, edgecolors="white", zorder=3)
            name = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in names)
            axes.annotate(plain([name])[0], middle, xytext=(6, 4), textcoords="offset points", fontsize=8, color=colour)
    lower = {"mean_kl": "mean KL (nats)", "perplexity": "perplexity", "nll": "nll (nats)"}  # less of it is better
    if fidelity in lower:
        axes.invert_xaxis()
    if quality in lower:
        axes.invert_yaxis()
    axes.set_xlabel(f"fidelity: {lower.get(fidelity, fidelity)}")
    axes.set_ylabel(f"quality: {lower.get(quality, quality)}")
    axes.set_title(title, loc="left", fontsize=11)
    thin(axes, "both")
    return figure


def clusters(found: Any) -> Figure:
    """The clusters of `disagreements`: how many places each has, and how far apart the two are there (nats).

    >>> import pandas as pd
    >>> table = pd.DataFrame({"name": ["teacher: 3, student: 8"], "places": [7], "kl": [2.5]})
    >>> clusters(table).axes[0].texts[0].get_text()
    ' 7 places, 2.50 nats'
    """
    table = getattr(found, "clusters", found)
    figure = Figure(figsize=(7.6, 0.7 + 0.36 * len(table)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(table)), table["places"], color=ROLES["student"], height=0.6)
    for row, (places, kl) in enumerate(zip(table["places"], table["kl"], strict=True)):
        axes.text(places, row, say(" {count} places, {kl:.2f} nats", count=places, kl=kl), va="center", fontsize=9)
    names = [name.replace("\n", "↵").replace("$", r"\$")[:60] for name in table["name"]]
    axes.set_yticks(range(len(table)), names, fontsize=9)
    axes.set_xlim(0, 1.35 * max(table["places"]))
    axes.invert_yaxis()
    axes.set_title(say("where they disagree most"), loc="left", fontsize=11)
    thin(axes, "x")
    return figure
