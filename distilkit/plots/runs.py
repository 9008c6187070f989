"""Pictures of runs and sweeps: learning curves, the T × alpha surface, the board, reliability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from distilkit.errors import BadValue, choice
from distilkit.plots.style import (
    BOARD,
    CELLS,
    DIVERGENCES,
    GREY,
    LOOKS,
    ROLES,
    STUDENT,
    STYLE,
    TEXTS,
    TWIN,
    thin,
)
from distilkit.sweeps import cell_means, gains
from distilkit.words import say


def curves(measured: Any, *, marks: Sequence[tuple[int, str, float]] = ()) -> Figure:
    """How student and twin came along: accuracy on the data, agreement with the teacher, mean KL, and the loss terms.

    Args:
        measured: a table with the columns step, model ("student" or "twin") and any of accuracy, agreement (shares),
            perplexity, test_loss, mean_kl, soft, hard (nats), as `watch(…).measured`; or a run's history, of `Step`.
        marks: (step, symbol, value) of each turn of a knob.

    >>> curves([{"step": 0, "model": "student", "accuracy": 0.1}]).axes[0].get_title(loc="left")
    'right answers (%)'
    """
    rows = [measured.iloc[i].to_dict() for i in range(len(measured))] if hasattr(measured, "iloc") else list(measured)
    rows = [row if isinstance(row, Mapping) else {"model": "student", **row._asdict()} for row in rows]
    panels = [
        (say("right answers (%)"), ("accuracy",), 100),
        (say("perplexity"), ("perplexity",), 1),
        (say("loss on the test (nats)"), ("test_loss",), 1),
        (say("agreement with the teacher (%)"), ("agreement",), 100),
        (say("mean KL from the teacher (nats)"), ("mean_kl",), 1),
        (say("loss terms (nats)"), ("hard", "soft"), 1),
    ]
    panels = [panel for panel in panels if any(row.get(key) is not None for row in rows for key in panel[1])]
    if not panels:
        raise BadValue("curves needs at least one row with a step and a measure, got none. Let the run make a step")
    figure = Figure(figsize=(3.6 * len(panels), 3.0), layout="constrained")
    for axes, (title, keys, unit) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        ends = []
        for role, marker in (("student", "s"), ("twin", "^")):
            for key in keys:
                points = [
                    (row["step"], unit * row[key])
                    for row in rows
                    if row["model"] == role and row.get(key) == row.get(key, 0)
                ]
                if not points:
                    continue
                steps, values = zip(*points, strict=True)
                width = 1.0 if key == "soft" else 1.8
                axes.plot(steps, values, color=ROLES[role], linestyle=STYLE[role], marker=marker, markersize=4,
                          markevery=max(1, len(points) // 6), linewidth=width)  # fmt: skip
                ends.append(
                    (values[-1], steps[-1], say(role) if len(keys) == 1 else f"{say(role)}, {say(key)}", ROLES[role])
                )
        if unit == 1 and any(value > 0 for end in ends for value in end[:1]):
            axes.set_yscale("log")
        heights = axes.transData.transform([(x, y) for y, x, *_ in ends])[:, 1] if ends else []
        placed = -math.inf
        for i in sorted(range(len(ends)), key=lambda i: heights[i]):
            value, step, name, colour = ends[i]
            lift = max(0.0, placed + 14 - heights[i])
            placed = heights[i] + lift
            axes.annotate(name, (step, value), xytext=(5, lift * 72 / figure.dpi), textcoords="offset points",
                          va="center", fontsize=9, color=colour)  # fmt: skip
        for step, symbol, value in marks:
            axes.axvline(step, color=GREY, linewidth=0.8, linestyle=":")
            axes.annotate(f"{symbol} {value:g}", (step, 1), xycoords=("data", "axes fraction"), fontsize=8, color=GREY)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel(say("step"))
        axes.margins(x=0.02)
        thin(axes, "y")
    return figure


def surface(frame: Any, *, labelled: int = 100) -> Figure:
    """Accuracy gained over the tuned twin on temperature × alpha, in points, ± half-width of its paired 95 % interval.

    frame: as `distilkit.sweep` returns it, alpha 0 (the twin) among its rows. A cell whose interval is clear of zero is
    outlined.

    >>> from distilkit.sweeps import load_sweep
    >>> surface(load_sweep("digits")).axes[0].get_ylabel()
    'alpha'
    """
    table: Any = gains(frame, labelled)
    temperatures, alphas = sorted(table["temperature"].unique()), sorted(table["alpha"].unique())
    figure = Figure(figsize=(1.6 + 1.1 * len(temperatures), 1.4 + 0.62 * len(alphas)), layout="constrained")
    axes = figure.subplots()
    largest = max(table["gain"].abs().max(), 1e-9)
    for cell in table.itertuples():
        x, y = temperatures.index(cell.temperature), alphas.index(cell.alpha)
        clear = abs(cell.gain) > cell.half
        colour = (STUDENT if cell.gain > 0 else TWIN, 0.5 * abs(cell.gain) / largest)
        axes.add_patch(
            Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, facecolor=colour, edgecolor="black" if clear else "none")
        )
        text = f"{100 * cell.gain:+.1f}\n± {100 * cell.half:.1f}".replace("-", "−")
        axes.text(x, y, text, ha="center", va="center", fontsize=10)
    axes.set_xticks(range(len(temperatures)), [f"{x:g}" for x in temperatures])
    axes.set_yticks(range(len(alphas)), [f"{x:g}" for x in alphas])
    axes.set_xlim(-0.5, len(temperatures) - 0.5)
    axes.set_ylim(-0.5, len(alphas) - 0.5)
    axes.set_xlabel("temperature")
    axes.set_ylabel("alpha")
    said = say("points of accuracy over the tuned twin, {labels} labels", labels=labelled)
    axes.set_title(said, loc="left", fontsize=11)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def board(frame: Any, *, measure: str = "perplexity") -> Figure:
    """Whose text × which divergence: a measure of each cell ± half its 95 % interval, and fidelity against quality.

    frame: the stored sweep, as `distilkit.board` takes it; measure: one of `BOARD`. A cell is shaded by its difference
    to the twin, outlined where the paired interval of that is clear of zero.
    """
    title, name, digits, less = BOARD[choice("measure", measure, BOARD)]
    table: Any = cell_means(frame).set_index(["text", "divergence"])
    figure = Figure(figsize=(11.4, 3.7), layout="constrained")
    axes, plane = figure.subplots(1, 2, width_ratios=(1.25, 1))
    largest = max(table[f"{measure}_over_twin"].abs().max(), 1e-9)
    for y, text in enumerate(TEXTS):
        for x, divergence in enumerate(DIVERGENCES):
            if (text, divergence) not in table.index:
                why = say("not run") if (text, divergence) in CELLS else say("no labels")
                axes.text(x, y, why, ha="center", va="center", color=GREY)
                continue
            cell = table.loc[(text, divergence)]
            gain, half = cell[f"{measure}_over_twin"], cell[f"{measure}_over_twin_half"]
            shade = (STUDENT if (gain < 0) == less else TWIN, 0.5 * abs(gain) / largest)
            edge = "black" if abs(gain) > half else "none"
            axes.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, facecolor=shade, edgecolor=edge))
            value = f"{cell[measure]:.{digits}f} ± {cell[f'{measure}_half']:.{digits}f}"
            axes.text(x, y - 0.1, value, ha="center", va="center", fontsize=10)
            axes.text(x, y + 0.22, say(CELLS[text, divergence]), ha="center", va="center", fontsize=8, color=GREY)
    axes.set_xticks(range(len(DIVERGENCES)), [say(name) for name in DIVERGENCES.values()])
    axes.set_yticks(range(len(TEXTS)), [say(name).removeprefix("the ") for name in TEXTS.values()])
    axes.set(xlim=(-0.5, len(DIVERGENCES) - 0.5), ylim=(len(TEXTS) - 0.5, -0.5))
    axes.set_title(f"{say(title)}: {say(name)}", loc="left", fontsize=11)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for (text, divergence), cell in table.iterrows():
        twin = (text, divergence) == ("corpus", "labels")
        colour, marker = LOOKS["twin" if twin else text]
        plane.errorbar(cell["mean_kl"], cell["perplexity"], cell["perplexity_half"], cell["mean_kl_half"],
                       color=colour, marker=marker, markersize=6, linewidth=0.8)  # fmt: skip
        plane.annotate(DIVERGENCES[divergence][0].upper(), (cell["mean_kl"], cell["perplexity"]),
                       xytext=(5, 4), textcoords="offset points", fontsize=8, color=colour)  # fmt: skip
    plane.set(
        xscale="log",
        yscale="log",
        xlabel=say("fidelity: {measure}", measure=say(BOARD["mean_kl"][1])),
        ylabel=say("quality: perplexity"),
    )
    for axis in (plane.xaxis, plane.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    plane.set_title(
        say("text: ◆ corpus’s  ● teacher’s  ■ student’s  ▲ twin\nL labels  F forward KL  R reverse KL  J JSD  S skew"),
        loc="left", fontsize=9, color=GREY,
    )  # fmt: skip
    thin(plane, "both")
    return figure


def reliability(tables: Mapping[str, Any]) -> Figure:
    """Confidence against accuracy: on the diagonal a model is right as often as it says, below it is overconfident.

    tables: for each model by name ("teacher", "student", "twin") what `distilkit.metrics.reliability` returns. A
    marker's area is the bin's share of the examples.

    >>> import torch
    >>> from distilkit import metrics
    >>> table = metrics.reliability(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    >>> reliability({"student": table}).axes[0].get_xlabel()
    'confidence'
    """
    if not tables:
        raise BadValue("reliability needs at least one table by name: {'student': metrics.reliability(logits, labels)}")
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    markers = {"teacher": "o", "student": "s", "twin": "^"}
    for name, table in tables.items():
        role = "student" if name == "distilled" else name
        colour = ROLES.get(role, GREY)
        x, y, count = (table[column].to_numpy(float) for column in ("confidence", "accuracy", "count"))
        axes.plot(x, y, color=colour, linestyle=STYLE.get(role, "-"), linewidth=1.4, label=name)
        axes.scatter(x, y, s=12 + 240 * count / count.sum(), color=colour, marker=markers.get(role, "D"), alpha=0.8)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.legend(frameon=False, fontsize=9)
    thin(axes, "both")
    return figure
