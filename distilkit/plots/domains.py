"""Pictures of domains: what students of each source know of each domain, and what they forget."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from distilkit.errors import BadValue, choice
from distilkit.plots.style import GREY, STUDENT, TEACHER, TWIN, thin
from distilkit.sweeps.domains import domain_means, targets
from distilkit.words import say

# measure: what it says, its name, decimals
MATRIX = {
    "nll": ("quality", "loss of a token (nats)", 2),
    "bits_per_byte": ("quality", "bits a byte", 2),
    "kl": ("fidelity", "mean KL to the teacher (nats)", 2),
    "ece": ("calibration", "distance of confidence and accuracy", 3),
}


def matrix(frame: Any, *, measure: str = "nll") -> Figure:
    """Each source's students, asked about each domain: a measure ± half its 95 % interval.

    frame: the stored sweep, as `distilkit.matrix` takes it; measure: one of `MATRIX`. A cell is shaded by its
    difference to the even mixture, outlined where the paired interval of that is clear of zero.
    """
    title, name, digits = MATRIX[choice("measure", measure, MATRIX)]
    table: Any = domain_means(frame)
    sources, asked = list(dict.fromkeys(table["source"])), targets(frame)
    figure = Figure(figsize=(8.6, 0.42 * len(sources) + 0.9), layout="constrained")
    axes = figure.subplots()
    largest = max(table[f"{measure}_over"].abs().max(), 1e-9)
    for _, cell in table.iterrows():
        x, y = asked.index(cell["target"]), sources.index(cell["source"])
        over = cell[f"{measure}_over"]
        shade = (STUDENT if over < 0 else TWIN, 0.6 * abs(over) / largest)
        edge = "black" if abs(over) > cell[f"{measure}_over_half"] else "none"
        axes.add_patch(Rectangle((x - 0.47, y - 0.43), 0.94, 0.86, facecolor=shade, edgecolor=edge))
        value = f"{cell[measure]:.{digits}f} ± {cell[f'{measure}_half']:.{digits}f}"
        axes.text(x, y, value, ha="center", va="center", fontsize=10)
    axes.set_xticks(range(len(asked)), asked)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(sources)), sources)
    axes.set(xlim=(-0.5, len(asked) - 0.5), ylim=(len(sources) - 0.5, -0.5))
    axes.set_title(
        say("{title}: {measure}, by what was learnt on (rows) and asked about", title=say(title), measure=say(name)),
        loc="left",
        fontsize=11,
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def forgetting(frame: Any, *, measure: str = "nll") -> Figure:
    """What students that knew all have lost (right) or won (left) on each domain after they went on with one.

    frame: the stored sweep; measure: one of `MATRIX`. Differences to the same student before, ± 95 % intervals.
    Raises `BadValue` where no student went on.
    """
    _, name, _ = MATRIX[choice("measure", measure, MATRIX)]
    table: Any = domain_means(frame)
    further = table[table["start"] != "fresh"]
    if further.empty:
        raise BadValue("the sweep has no student that went on with one domain: nothing was forgotten")
    sources, asked = list(dict.fromkeys(further["source"])), targets(frame)
    figure = Figure(figsize=(8.6, 0.75 * len(asked) + 1.4), layout="constrained")
    axes = figure.subplots()
    looks = (("o", GREY), ("^", TWIN), ("s", STUDENT), ("D", TEACHER))
    for place, source in enumerate(sources):
        marker, colour = looks[place % len(looks)]
        rows = further[further["source"] == source].set_index("target").loc[asked]
        y = [row + 0.16 * (place - (len(sources) - 1) / 2) for row in range(len(asked))]
        axes.errorbar(
            rows[f"{measure}_over"],
            y,
            xerr=rows[f"{measure}_over_half"],
            linestyle="none",
            marker=marker,
            color=colour,
            label=source,
        )
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(asked)), asked)
    axes.set(ylim=(len(asked) - 0.5, -0.5), xlabel=say("change of {measure} from before", measure=say(name)))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    thin(axes, "x")
    return figure
