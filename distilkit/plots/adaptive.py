"""The picture of the race of losses: what each adaptive method gains over the constant, tuned and untuned."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from distilkit.plots.style import GREY, STUDENT, TWIN, thin
from distilkit.sweeps.adaptive import standings
from distilkit.words import say


def race(frame: Any, *, hidden: int = 16) -> Figure:
    """Points of accuracy gained over the constant, paired by seed, ± 95 %: each side tuned, and neither tuned.

    frame: the stored race, ``load_sweep("adaptive")``. Filled where the interval is clear of zero; of the tuned ones,
    only where it stays so after Holm's correction for as many methods.
    """
    table: Any = standings(frame, hidden=hidden).iloc[1:]
    figure = Figure(figsize=(9.4, 0.42 * len(table) + 1.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    blind = table["blind_gain"].abs() > table["blind_gain_half"]
    sides = [
        (say("each tuned: points over the tuned constant"), "gain", table["holm"] < 0.05),
        (say("none tuned: points over an untuned constant"), "blind_gain", blind),
    ]
    for axes, (title, column, clear) in zip(panels, sides, strict=True):
        for place, (gain, half, is_clear) in enumerate(zip(table[column], table[f"{column}_half"], clear, strict=True)):
            colour = GREY if not is_clear else STUDENT if gain > 0 else TWIN
            axes.errorbar(100 * gain, place, xerr=100 * half, fmt="s", color=colour, markersize=6, linewidth=1.4,
                          markerfacecolor=colour if is_clear else "white")  # fmt: skip
            text = f"{100 * gain:+.2f} ± {100 * half:.2f}".replace("-", "−")
            axes.annotate(text, (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
                          textcoords="offset points", va="center", fontsize=9, color=colour)  # fmt: skip
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_title(title, loc="left", fontsize=11)
        thin(axes, "x")
    panels[0].set_yticks(range(len(table)), list(table["method"]))
    panels[0].set_ylim(len(table) - 0.5, -0.5)
    return figure
