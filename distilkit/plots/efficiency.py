"""Pictures of what models cost: the frontier of quality over latency, and what it is to serve them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from distilkit import cost
from distilkit.errors import BadValue, real
from distilkit.plots.style import GREY, LABEL, ROLES, STUDENT, TEACHER, plain, thin
from distilkit.sweeps.sizes import size_means
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd

SERVING = {
    "machines": ("machines", "{:,.0f}"),
    "money": ("money a day", "{:,.2f}"),
    "kwh": ("energy a day (kWh)", "{:,.2f}"),
    "co2_kg": ("CO₂ a day (kg)", "{:,.2f}"),
}


def frontier(frame: pd.DataFrame, *, needed: float = 0.0, latency: str = "onnx_ms_per_token") -> Figure:
    """Exact answers over the time of a token, a point a size of student, with 95 % intervals over seeds.

    The line joins the sizes that none is at once as quick as and better than; the ring marks its knee, the point
    farthest above the chord (`cost.knee`).

    frame: `load_sweep("sizes")`; needed: a quality; the quickest size is named whose interval lies above it.

    >>> from distilkit.sweeps import load_sweep
    >>> frontier(load_sweep("sizes")).axes[0].get_xlabel()
    'milliseconds a token'
    """
    needed = real("needed", needed, 0, 1, "a share of exact answers")
    table = size_means(frame, latency=latency)
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    points: list[tuple[str, float, float, float, tuple[str, str]]] = [
        (
            f"{row['size']}\n{row['parameters'] / 1000:,.0f} k",
            row["ms"],
            100 * row["exact"],
            100 * row["exact_half"],
            ("s", STUDENT if row["frontier"] else GREY),
        )
        for row in table.to_dict("records")
    ]
    teacher = frame.attrs.get("of_teacher", {})
    if latency in teacher:
        name = f"teacher\n{teacher['parameters'] / 1000:,.0f} k"
        points.append((name, teacher[latency], 100 * teacher["exact"], 0, ("o", TEACHER)))
    for place, (name, ms, exact, half, (marker, colour)) in enumerate(points):
        axes.errorbar(ms, exact, yerr=half or None, color=colour, marker=marker, capsize=3, markersize=6)
        up = place % 2 and half  # above and below in turns: neighbours may be close
        axes.annotate(name, (ms, exact + half if up else exact - half), xytext=(0, 5 if up else -6), ha="center",
                      textcoords="offset points", va="bottom" if up else "top", color=colour, fontsize=9)  # fmt: skip
    best = table[table["frontier"]]
    axes.plot(best["ms"], 100 * best["exact"], color=STUDENT, linewidth=1.4, zorder=1)
    if len(best) > 1:
        found = best.iloc[cost.knee(best["ms"].tolist(), best["exact"].tolist())]
        at = found["ms"], 100 * found["exact"]
        axes.plot(*at, "o", markersize=17, fillstyle="none", color=LABEL, markeredgewidth=1.8)
        axes.annotate(
            "knee", at, xytext=(-13, 0), textcoords="offset points", ha="right", va="center", color=LABEL, fontsize=10
        )
    title = "exact answers (%)"
    if needed:
        axes.axhline(100 * needed, color=GREY, linestyle="--", linewidth=1)
        enough = table.loc[table["exact"] - table["exact_half"] >= needed, "size"]
        title += f": for {100 * needed:.0f} %, {'none' if enough.empty else enough.iloc[0]} suffices"
    axes.set_title(title, loc="left", fontsize=11)
    axes.set(xscale="log", xlabel="milliseconds a token", ylim=(0, 105))
    axes.margins(x=0.2)
    low, high = axes.get_xlim()
    ticks = [lead * 10.0**power for power in range(-4, 5) for lead in (1, 2, 5) if low <= lead * 10.0**power <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    thin(axes, "y")
    return figure


def serving(
    seconds: Mapping[str, float],
    *,
    requests: float = 1e6,
    utilisation: float = 0.5,
    price_hour: float = 0.04,
    watts: float = 15.0,
    price_kwh: float = 0.25,
    grams_kwh: float = 250.0,
) -> Figure:
    """What a day of requests costs, a bar a model: machines, money, energy, CO₂ (`cost.serving_cost`).

    seconds: {"teacher": …, "student": …}, that a request keeps a machine busy; the rest are assumptions.

    >>> figure = serving({"teacher": 0.2, "student": 0.05}, requests=1e6, utilisation=0.5)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['5', '2']
    """
    if not seconds:
        raise BadValue("there is nothing to draw: give {'teacher': seconds of a request, 'student': …}")
    settings = {"price_hour": price_hour, "watts": watts, "price_kwh": price_kwh, "grams_kwh": grams_kwh}
    costs = {
        name: cost.serving_cost(requests, each, utilisation=utilisation, **settings) for name, each in seconds.items()
    }
    figure = Figure(figsize=(8.6, 0.9 + 0.4 * len(costs)), layout="constrained")
    colours = [next((ROLES[role] for role in ROLES if role in name), GREY) for name in costs]
    places = figure.subplots(1, len(SERVING), sharey=True)
    for axes, (measure, (title, form)) in zip(places, SERVING.items(), strict=True):
        values = [each[measure] for each in costs.values()]
        axes.barh(range(len(costs)), values, color=colours, height=0.6)
        for place, value in enumerate(values):
            axes.annotate(form.format(value), (value, place), xytext=(3, 0), textcoords="offset points", va="center",
                          fontsize=9)  # fmt: skip
        axes.set_xlim(0, 1.4 * max(*values, 1e-12))
        axes.set_xticks([])
        axes.set_title(say(title), loc="left", fontsize=10)
        thin(axes, "x")
    figure.axes[0].set_yticks(range(len(costs)), plain(list(costs)))
    figure.axes[0].invert_yaxis()
    return figure
