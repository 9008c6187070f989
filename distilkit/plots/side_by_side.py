"""A picture of several runs at once, each beside its twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

from distilkit.errors import BadValue
from distilkit.plots.style import TWIN, plain, thin

LANES = (("#c44e00", "s", (0, (6, 3))), ("#6f3fc4", "D", "-"), ("#a8487d", "v", "-."), ("#6b5b00", "P", ":"))
PANELS = {
    "accuracy": ("right answers (%)", 100),
    "perplexity": ("perplexity", 1),
    "agreement": ("agreement with the teacher (%)", 100),
    "loss": ("loss (nats)", 1),
}


def side_by_side(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """How up to four runs came along: quality on the test, fidelity to the teacher, loss.

    Args:
        rows: one a measure: run (a name), model ("student" or "twin"), step, and any of PANELS, as
            ``dk.playground().measured``.

    >>> side_by_side([{"run": "A", "model": "student", "step": 0, "accuracy": 0.1}]).axes[0].get_title(loc="left")
    'right answers (%)'
    """
    rows = list(rows)
    panels = [key for key in PANELS if any(row.get(key) == row.get(key, 0) for row in rows if row.get(key) is not None)]
    if not panels:
        raise BadValue("side_by_side needs at least one row with a step and a measure, got none. Let a run make a step")
    lanes = list(dict.fromkeys(row["run"] for row in rows))
    figure = Figure(figsize=(3.6 * len(panels), 3.0), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        title, unit = PANELS[key]
        for place, lane in enumerate(lanes):
            for model, name in (("student", lane), ("twin", f"{lane}, twin")):
                points = [
                    (row["step"], unit * row[key])
                    for row in rows
                    if (row["run"], row["model"]) == (lane, model) and row.get(key) == row.get(key, 0)
                ]
                if not points:
                    continue
                colour, marker, dash = LANES[place % len(LANES)]
                look = {"color": colour, "marker": marker, "linestyle": dash, "linewidth": 1.8}
                if model == "twin":
                    look = {"color": TWIN, "marker": "^", "linestyle": (0, (1, 2)), "linewidth": 1.2}
                often = max(1, len(points) // 5)
                axes.plot(*zip(*points, strict=True), label=plain([name])[0], markersize=4, markevery=often, **look)
        if unit == 1:
            axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("step")
        thin(axes, "y")
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure
