"""Pictures of worked steps: what they save in data, and what becomes of an answer when one of them is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from distilkit import metrics
from distilkit.plots.style import GREY, LABEL, STUDENT, TWIN, thin
from distilkit.sweeps.arithmetic import step_means

if TYPE_CHECKING:
    import pandas as pd

FORMS: dict[tuple[str, int], tuple[str, str, str, Any]] = {
    ("rationale", 1): ("steps, then the answer", STUDENT, "s", (0, (6, 3))),
    ("rationale", 4): ("the same, 4 × as long", STUDENT, "o", ""),
    ("two_tasks", 1): ("steps and answer as two tasks", LABEL, "D", (0, (1, 1))),
    ("answer", 1): ("the answer alone", TWIN, "^", (0, (2, 3))),
    ("answer", 4): ("the same, 4 × as long", TWIN, "v", ""),
}


def problems_needed(frame: pd.DataFrame) -> Figure:
    """Students' accuracy against how many labelled problems they had, by what they had to write.

    frame: `load_sweep("step_by_step")`; bars are 95 % intervals over seeds, each cell at its best learning rate.
    """
    table = step_means(frame)
    figure = Figure(figsize=(6.8, 3.8), layout="constrained")
    axes = figure.subplots()
    for (form, times), (name, colour, marker, style) in FORMS.items():
        rows = table[(table["form"] == form) & (table["times"] == times)]
        if rows.empty:
            continue
        axes.errorbar(
            rows["problems"], rows["accuracy"], rows["half"],
            color=colour, marker=marker, linestyle=style, capsize=3, linewidth=1.6, label=name,
        )  # fmt: skip
    sizes = sorted(set(table["problems"]))
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("labelled problems")
    axes.set_title("test problems solved", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=9)
    thin(axes, "y")
    return figure


def followed(frame: pd.DataFrame) -> Figure:
    """Where the answer goes when the first step's result is wrong: with the step, or to the true answer nevertheless.

    frame: `load_sweep("step_by_step")`; a bar a size, of solutions that began with a corrupted true step; the whiskers
    are 95 % intervals over seeds.
    """
    runs = frame[(frame["form"] == "rationale") & (frame["times"] == 1)]
    table = step_means(runs.assign(form="answer"))  # its own twin: only sizes and rates matter here
    figure = Figure(figsize=(6.8, 2.8), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(table.itertuples()):
        some = runs[(runs["problems"] == row.problems) & (runs["lr"] == row.lr)]
        for column, (name, colour) in enumerate((("followed", STUDENT), ("stayed", GREY))):
            mean, half = metrics.interval(some[name])
            axes.bar(place + 0.36 * column, mean, 0.34, yerr=half, capsize=3, color=colour,
                     label={"followed": "follows the wrong step", "stayed": "stays with the truth"}[name]
                     if not place else None)  # fmt: skip
    axes.set_xticks([place + 0.18 for place in range(len(table))], [f"{size:,.0f}" for size in table["problems"]])
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("labelled problems")
    axes.set_title("answers after a corrupted first step", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=9)
    thin(axes, "y")
    return figure
