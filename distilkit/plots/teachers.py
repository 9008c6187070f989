"""Pictures of the teachers: the ladder of them, and what passes through outputs that say nothing of digits."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadType, choice, shown
from distilkit.metrics import interval
from distilkit.plots.style import GREY, LABEL, STUDENT, TEACHER, TWIN, thin
from distilkit.sweeps import at_best_lr
from distilkit.sweeps.teachers import teacher_means
from distilkit.words import say

_MARKERS = ("s", "D", "v", "P", "X")


def ladder(frame: Any, *, images: str = "labelled") -> Figure:
    """Which teacher: the student's accuracy ± its 95 % interval at each temperature, below its teacher's own.

    Args:
        frame: the stored sweep, ``load_sweep("ladder")``.
        images: what the students learned on: "labelled" or "all".

    >>> from distilkit.sweeps import load_sweep
    >>> ladder(load_sweep("ladder")).axes[0].get_xlabel()
    'teacher: its hidden units, the smallest left'
    """
    means: Any = teacher_means(frame)
    if "assistant" not in means:
        raise BadType(f"ladder needs load_sweep('ladder'), with a column assistant; this one has {shown(list(means))}")
    means = means[means["images"] == choice("images", images, ("labelled", "all"))]
    rungs = list(dict.fromkeys(means["teacher"]))
    place = np.arange(len(rungs))
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    axes = figure.subplots()
    direct = means[means["assistant"] == "none"].set_index("teacher")
    best = direct.groupby(level=0, sort=False)["teacher_accuracy"].mean()
    axes.plot(place, 100 * best[rungs], color=TEACHER, marker="o", label=say("the teacher itself"))
    for k, (temperature, cell) in enumerate(direct.groupby("temperature")):
        cell, shift = cell.loc[rungs], 0.06 * (k - 1)
        axes.errorbar(place + shift, 100 * cell["accuracy"], 100 * cell["half"], color=STUDENT, marker=_MARKERS[k],
                      linestyle=(0, (6, 1 + 2 * k)), linewidth=1.4,
                      label=say("student, T = {t:g}", t=temperature))  # fmt: skip
    helped = means[means["assistant"] != "none"]
    for k, (temperature, cell) in enumerate(helped.groupby("temperature")):
        axes.errorbar([rungs.index(rung) + 0.24 for rung in cell["teacher"]], 100 * cell["accuracy"],
                      100 * cell["half"], color=GREY, marker=_MARKERS[k], linestyle="none", markerfacecolor="white",
                      label=say("through an assistant, T = {t:g}", t=temperature))  # fmt: skip
    twin = 100 * at_best_lr(frame[frame["teacher"] == "none"])["accuracy"].mean()
    axes.axhline(twin, color=TWIN, linestyle=(0, (2, 3)), label=say("the twin, no teacher"))
    axes.set_xticks(place, rungs)
    axes.set_xlabel(say("teacher: its hidden units, the smallest left"))
    said = say("right answers (%), students of {units} units", units=frame.attrs.get("hidden", 16))
    axes.set_title(said, loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    thin(axes, "y")
    return figure


def subliminal(frame: Any) -> Figure:
    """Digits learnt from outputs that say nothing of digits: a mark a seed, the mean ± its 95 % interval beside it.

    frame: the stored sweep, ``load_sweep("subliminal")``.

    >>> from distilkit.sweeps import load_sweep
    >>> subliminal(load_sweep("subliminal")).axes[0].get_ylabel()
    'digits recognised (%)'
    """
    if not {"start", "auxiliary", "accuracy"} <= set(frame):
        raise BadType(f"subliminal needs load_sweep('subliminal'), got the columns {shown(list(frame))}")
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    numbers = sorted(frame["auxiliary"].unique())
    looks = {"the teacher’s": (STUDENT, "s", -0.14), "another": (LABEL, "D", 0.14)}
    for start, (colour, marker, shift) in looks.items():
        for x, number in enumerate(numbers):
            values = 100 * frame[(frame["start"] == start) & (frame["auxiliary"] == number)]["accuracy"]
            axes.scatter(np.full(len(values), x + shift), values, s=14, color=colour, marker=marker, alpha=0.35)
            mean, half = interval(values)
            axes.errorbar(x + shift + 0.09, mean, half, color=colour, marker=marker,
                          label=f"student’s initialisation: {start}" if x == 0 else None)  # fmt: skip
    axes.axhline(10, color=GREY, linestyle=":", label="chance")
    axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    axes.set(xlabel="auxiliary outputs", ylabel="digits recognised (%)", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    thin(axes, "y")
    return figure
