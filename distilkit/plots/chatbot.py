"""Pictures of the support chatbot: a conversation, what its answers rest on, and what a device pays for them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadType, BadValue, shown
from distilkit.metrics import interval
from distilkit.plots.style import GREY, LABEL, ROLES, STUDENT, TEACHER, TWIN, thin
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd

WIDE = 44  # letters of a column of a conversation
SOURCES = {
    "twin": ("the twin", TWIN),
    "teacher's text": ("teacher’s text", TEACHER),
    "distilled": ("distilled", STUDENT),
}
SERVED = {"exact": "exact answers (%)", "hallucinated": "answers with a made-up value (%)"}
DEVICE = {
    "tokens_per_second": "tokens a second",
    "peak_mb": "memory at its peak (MB)",
    "file_mb": "file (MB)",
}


def conversation(turns: Sequence[tuple[str, Mapping[str, Sequence[tuple[str, bool]]]]]) -> Figure:
    """A conversation: what the customer said, and below it what each model wrote, a column a model.

    turns: (message, {"teacher": [(line, whether something in it is made up), …], "student": …}).

    >>> figure = conversation([("Is it here?", {"teacher": [("Yes.", False)], "student": [("No.", True)]})])
    >>> [text.get_text() for text in figure.texts]
    ['Customer: Is it here?', 'teacher', 'Yes.', 'student', 'No.']
    """
    if not turns:
        raise BadValue("there is nothing to draw: give [(message, {'teacher': [(line, False)]})]")
    placed: list[tuple[float, float, str, dict[str, Any]]] = []  # x, line, text, look
    line = 0.0
    for message, sides in turns:
        for part in textwrap.wrap(say("Customer: {message}", message=message), 2 * WIDE) or [""]:
            placed.append((0.02, line, part, {"fontsize": 10.5, "fontweight": "bold"}))
            line += 1
        below = line
        for column, (role, lines) in enumerate(sides.items()):
            x, at = 0.02 + 0.97 / len(sides) * column, line
            placed.append((x, at, say(role), {"fontsize": 9.5, "color": ROLES.get(role, GREY)}))
            for text, made_up in lines:
                for part in textwrap.wrap(text, int(2 * WIDE / len(sides))) or [""]:
                    at += 1
                    placed.append((x, at, part, {"fontsize": 9.5, "color": LABEL if made_up else "black"}))
            below = max(below, at + 1)
        line = below + 0.4
    figure = Figure(figsize=(7.6, 0.25 * line + 0.2))
    for x, at, text, look in placed:
        figure.text(x, 1 - (at + 0.6) / (line + 0.4), text.replace("$", r"\$"), va="center", **look)
    return figure


def served(frame: pd.DataFrame) -> Figure:
    """What a student's teacher is worth at the desk: exact answers, and answers with a made-up value, a dot a seed.

    frame: `load_sweep("shop")`, a row a run; bars are 95 % intervals over seeds.
    """
    if not {"student", "exact", "hallucinated"} <= set(getattr(frame, "columns", ())):
        raise BadType(f"served needs load_sweep('shop'), got {shown(frame)}")
    sources = {source: look for source, look in SOURCES.items() if (frame["student"] == source).any()}
    figure = Figure(figsize=(7.2, 0.8 + 0.5 * len(sources)), layout="constrained")
    for axes, (measure, title) in zip(figure.subplots(1, 2, sharey=True), SERVED.items(), strict=True):
        for place, (source, (_, colour)) in enumerate(sources.items()):
            values = 100 * frame.loc[frame["student"] == source, measure]
            mean, half = interval(values)
            axes.plot(values, np.full(len(values), place + 0.22), "o", color=colour, alpha=0.4, markersize=4)
            axes.errorbar(mean, place, xerr=half, color=colour, marker="D", capsize=4, linewidth=1.8)
            axes.annotate(f"{mean:.1f}", (mean, place), xytext=(0, 7), textcoords="offset points", ha="center",
                          color=colour, fontsize=9)  # fmt: skip
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yticks(range(len(sources)), [name for name, _ in sources.values()])
        axes.set_ylim(-0.6, len(sources) - 0.4)
        axes.invert_yaxis()
        thin(axes, "x")
    return figure


def on_the_edge(table: pd.DataFrame, *, memory: float = 512.0) -> Figure:
    """Speed, memory and size of each form of a model on one core; the dashed line is the memory that the device has.

    table: a row a form, named by its index, with tokens_per_second, peak_mb and file_mb, as `edge.measure` gives them.

    >>> import pandas as pd
    >>> row = {"tokens_per_second": 900.0, "peak_mb": 90.0, "file_mb": 0.4}
    >>> on_the_edge(pd.DataFrame([row], index=["student, int8"])).axes[0].get_title(loc="left")
    'tokens a second'
    """
    if not set(DEVICE) <= set(getattr(table, "columns", ())):
        raise BadType(f"on_the_edge needs a table with the columns {', '.join(DEVICE)}, got {shown(table)}")
    figure = Figure(figsize=(7.6, 0.9 + 0.36 * len(table)), layout="constrained")
    for axes, (measure, title) in zip(figure.subplots(1, 3, sharey=True), DEVICE.items(), strict=True):
        colours = [next((ROLES[role] for role in ROLES if role in str(name)), GREY) for name in table.index]
        values = table[measure].astype(float)
        axes.barh(range(len(table)), values, color=colours, height=0.6)
        for place, value in enumerate(values):
            axes.annotate(f"{value:,.0f}" if value >= 10 else f"{value:.1f}", (value, place), xytext=(3, 0),
                          textcoords="offset points", va="center", fontsize=9)  # fmt: skip
        axes.set_xlim(0, 1.3 * max(values.max(), memory if measure == "peak_mb" else 0))
        axes.set_xticks([])
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yticks(range(len(table)), [str(name) for name in table.index])
        thin(axes, "x")
        if measure == "peak_mb":
            axes.axvline(memory, color=GREY, linestyle="--", linewidth=1)
    axes.invert_yaxis()
    return figure
