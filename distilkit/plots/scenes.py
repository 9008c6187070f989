"""Pictures of pictures: scenes as each model sees them, where it looked, and what it answers by kind of question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadValue, choice
from distilkit.metrics import interval
from distilkit.plots.style import GREY, ROLES, thin
from distilkit.sweeps.tables import at_best_lr

KINDS = ("exist", "count", "compare", "relation", "shape", "size", "texture", "colour", "without colour", "accuracy")


def looks(
    seen: Mapping[str, Any],
    attention: Mapping[str, Any],
    *,
    titles: Mapping[str, str] | None = None,
    question: str = "",
) -> Figure:
    """What each model sees, dimmed where it did not look.

    seen: a picture a model, (channels, height, width), 0 to 1; attention: (rows, columns) of the same model, or None.

    >>> figure = looks({"student": np.zeros((1, 8, 8))}, {"student": np.eye(2)}, titles={"student": "sees: sketch"})
    >>> figure.axes[0].get_title()
    'sees: sketch'
    """
    if not seen:
        raise BadValue("there is no picture to show")
    named = {role: (titles or {}).get(role, role).replace("$", r"\$") for role in seen}
    height = 2.75 + 0.22 * (1 + max(title.count("\n") for title in named.values())) + 0.3 * bool(question)
    figure = Figure(figsize=(2.7 * len(seen) + 0.4, height), layout="constrained")
    for axes, (role, picture) in zip(np.ravel(figure.subplots(1, len(seen))), seen.items(), strict=True):
        colours = np.broadcast_to(np.asarray(picture), (3, *np.shape(picture)[1:])).transpose(1, 2, 0).clip(0, 1)
        where = attention.get(role)
        if where is not None:
            height, width = colours.shape[:2]
            rows = np.asarray(where, dtype=float)
            shares = np.kron(rows, np.ones((height // rows.shape[0], width // rows.shape[1])))
            colours = colours * (0.3 + 0.7 * shares / max(shares.max(), 1e-9))[..., None]
        axes.imshow(colours)
        axes.set_title(named[role], color=ROLES.get(role, "black"), fontsize=10)
        axes.axis("off")
        axes.set_anchor("S")  # the room that is left goes to the title
    if question:
        figure.suptitle(question.replace("$", r"\$"), fontsize=11)
    return figure


def kinds(frame: Any, *, sees: str = "sketch", teacher: Mapping[str, float] | None = None) -> Figure:
    """How often each kind of question is answered right, by the twin and the distilled student: ± 95 % intervals.

    frame: the stored sweep, `load_sweep("scenes")`; sees: of which students; teacher: what its task's `score` gives.
    """
    rows = frame[frame["sees"] == choice("sees", sees, sorted(set(frame["sees"])))]
    shown = [name for name in KINDS if name in rows]
    figure = Figure(figsize=(8.6, 0.36 * len(shown) + 1.2), layout="constrained")
    axes = figure.subplots()
    for role, student, marker, up in (("twin", "twin", "^", 0.14), ("student", "distilled", "s", -0.14)):
        runs = at_best_lr(rows[rows["student"] == student])
        means, halves = zip(*(interval(100 * runs[name]) for name in shown), strict=True)
        y = [place + up for place in range(len(shown))]
        axes.errorbar(means, y, xerr=halves, linestyle="none", marker=marker, color=ROLES[role], label=student)
    if teacher is not None:
        known = [(100 * teacher[name], place) for place, name in enumerate(shown) if name in teacher]
        axes.plot(*zip(*known, strict=True), "|", color=ROLES["teacher"], markersize=14, label="teacher, in colour")
    axes.set_yticks(range(len(shown)), ["all" if name == "accuracy" else name for name in shown])
    axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel=f"right answers (%), of students that see {sees}")
    axes.axhline(shown.index("without colour") - 0.5 if "without colour" in shown else -0.5, color=GREY, linewidth=0.8)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    thin(axes, "x")
    return figure
