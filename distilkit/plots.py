"""Pictures: one function each, ``(data, *, setting=default)`` in, a matplotlib Figure out. No model and no widget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator
from torch import Tensor

from distilkit import divergences as dv
from distilkit.errors import BadType, BadValue, choice, real, shown, whole
from distilkit.sweeps import cell_means, gains

TEACHER, STUDENT, TWIN, LABEL, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#5B6370"
ROLES = {"teacher": TEACHER, "student": STUDENT, "twin": TWIN}
STYLE = {"teacher": "-", "student": (0, (6, 3)), "twin": (0, (2, 3))}
MEASURES = {
    "forward KL": dv.forward_kl,
    "reverse KL": dv.reverse_kl,
    "JSD": dv.jsd,
    "rescaled JSD": dv.jsd,
    "total variation": dv.total_variation,
}
TEXTS = {"corpus": "the corpus’s text", "teacher": "the teacher’s text", "student": "the student’s text"}
DIVERGENCES = {"labels": "labels only", "forward_kl": "forward KL", "reverse_kl": "reverse KL", "jsd": "JSD"}
CELLS = {  # what the field calls them
    ("corpus", "labels"): "the twin",
    ("corpus", "forward_kl"): "word-level KD",
    ("corpus", "reverse_kl"): "word-level, reverse",
    ("corpus", "jsd"): "off-policy GKD",
    ("teacher", "labels"): "sequence-level KD",
    ("teacher", "forward_kl"): "sequence + word KD",
    ("teacher", "reverse_kl"): "the same, reverse",
    ("teacher", "jsd"): "the same, JSD",
    ("student", "forward_kl"): "ImitKD-like",
    ("student", "reverse_kl"): "MiniLLM-like",
    ("student", "jsd"): "on-policy GKD",
}
# measure: what it says, its name, decimals, and whether less of it is better
BOARD = {
    "perplexity": ("quality", "held-out perplexity", 1, True),
    "mean_kl": ("fidelity", "mean KL to the teacher (nats)", 3, True),
    "exposure": ("exposure", "KL on its own text ÷ KL on the corpus", 2, True),
    "distinct_2": ("diversity", "distinct pairs of tokens (distinct-2)", 3, False),
    "own_perplexity": ("plausibility", "teacher’s perplexity of its text", 1, True),
}
LOOKS = {"corpus": (LABEL, "D"), "teacher": (TEACHER, "o"), "student": (STUDENT, "s"), "twin": (TWIN, "^")}
_MONO = font_manager.get_font(font_manager.findfont("DejaVu Sans Mono"))  # comes with matplotlib


def soft_labels(
    logits: Any,
    *,
    temperature: float = 4.0,
    classes: Sequence[str] | None = None,
    images: Any = None,
    labels: Any = None,
    example: int = 0,
) -> Figure:
    """Soft labels ``softmax(z / T)`` of one example as mirrored bars: teacher left, student right, twin outlined.

    Args:
        logits: (n, classes) or (classes,), or a dict of such under "teacher", "student", "twin".
        temperature: T > 0.
        classes: names of the classes.
        images: (n, pixels) in 0..1, square; the example's is drawn beside its bars.
        labels: (n,), the true classes.
        example: which row.

    Raises:
        BadValue, BadType: shapes that do not fit, a logit that is not a number, a row that is not there.

    >>> soft_labels(torch.tensor([0.0, 2.0, 4.0]), temperature=2.0).axes[0].get_title()
    'teacher at T = 2'
    """
    temperature = dv.check_temperature(temperature)
    sides, names, pixels, truth = as_examples(logits, classes, images, labels)
    example = _row(example, sides)
    teacher, *others = [key for key in ROLES if key in sides]
    figure = Figure(figsize=(7.6, 0.6 + 0.3 * len(names) + 0.5), layout="constrained")
    panels = list(figure.subplots(1, 2 if others else 1, sharey=True, squeeze=False)[0])
    place = np.arange(len(names))
    for role in sides:
        axes = panels[0] if role == teacher else panels[-1]
        soft = dv.soften(sides[role][example], temperature).numpy()
        filled = role != "twin" or len(sides) == 1
        look = (
            {"color": ROLES[role]} if filled else {"fill": False, "edgecolor": TWIN, "linestyle": ":", "linewidth": 1.6}
        )
        axes.barh(place, soft, height=0.62, **look)
        for y, x in zip(place, soft, strict=True):
            if filled:
                mirrored = axes is panels[0] and bool(others)
                axes.annotate(_share(x), (x, y), xytext=(-4 if mirrored else 4, 0), textcoords="offset points",
                              va="center", ha="right" if mirrored else "left", fontsize=9, color=GREY)  # fmt: skip
    panels[0].set_title(f"{teacher} at T = {temperature:g}", color=ROLES[teacher], fontsize=11)
    if others:
        panels[0].set_xlim(1.22, 0)
        panels[1].set_xlim(0, 1.22)
        title = others[0] + (" (twin outlined)" if len(others) > 1 else "")
        panels[1].set_title(title, color=ROLES[others[0]], fontsize=11)
    else:
        panels[0].set_xlim(0, 1.16)
    panels[0].set_yticks(place, _plain(names))
    panels[0].invert_yaxis()
    if truth is not None and truth[example] >= 0:
        panels[0].get_yticklabels()[int(truth[example])].set_color(LABEL)
        panels[0].get_yticklabels()[int(truth[example])].set_fontweight("bold")
    for axes in panels:
        _thin(axes, "x")
    if pixels is not None:
        side = math.isqrt(pixels.shape[1])
        inset = panels[-1].inset_axes((0.72, 0.02, 0.26, 0.4))
        inset.imshow(pixels[example].reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
        inset.set(xticks=[], yticks=[])
    return figure


def loss_terms(
    student_logits: Any,
    teacher_logits: Any,
    label: int,
    *,
    alpha: float = 0.9,
    temperature: float = 4.0,
    classes: Sequence[str] | None = None,
) -> Figure:
    """Gradient of ``α·T²·KL + (1−α)·CE`` on each student logit: the teacher's part, the label's part, and their sum.

    student_logits, teacher_logits: (classes,); label: the true class. A bar to the left lowers the logit's loss when
    the logit grows. Errors as in `distilkit.kd_loss`.

    >>> figure = loss_terms(torch.zeros(3), torch.tensor([4.0, 0.0, 0.0]), 0)
    >>> figure.axes[0].get_title()
    'loss = α·T²·KL + (1−α)·CE = 1.775 + 0.110 = 1.885'
    """
    alpha = real("alpha", alpha, 0, 1, "0 trains on labels only, 1 on the teacher only")
    temperature = dv.check_temperature(temperature)
    student, teacher, names = as_pair(student_logits, teacher_logits, classes)
    label = whole("label", label, 0, len(names) - 1, "the true class")
    q, p = dv.soften(student, temperature), dv.soften(teacher, temperature)
    soft = alpha * temperature * (q - p)
    hard = (1 - alpha) * (dv.soften(student) - torch.eye(len(names), dtype=torch.float64)[label])
    terms = (
        alpha * temperature**2 * float(dv.forward_kl(student / temperature, teacher / temperature)),
        (1 - alpha) * float(-torch.log_softmax(student, -1)[label]),
    )
    figure = Figure(figsize=(7.6, 1.2 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(names))
    for offset, values, colour, name in (
        (-0.27, soft, TEACHER, "teacher's pull"),
        (0.0, hard, LABEL, "label's pull"),
        (0.27, soft + hard, GREY, "sum"),
    ):
        axes.barh(place + offset, values.numpy(), height=0.24, color=colour, label=name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(place, _plain(names))
    axes.get_yticklabels()[label].set_fontweight("bold")
    axes.invert_yaxis()
    axes.set_xlabel("gradient on the student's logit (left: the logit is pushed up)")
    axes.set_title(f"loss = α·T²·KL + (1−α)·CE = {terms[0]:.3f} + {terms[1]:.3f} = {sum(terms):.3f}", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    _thin(axes, "x")
    return figure


def divergences(
    student_logits: Any,
    teacher_logits: Any,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
) -> Figure:
    """Teacher and student side by side, and what each divergence says about them: KL both ways, JSD, total variation.

    student_logits, teacher_logits: (classes,); beta in [0, 1] weighs the teacher in the JSD's mixture.
    Nats, but for total variation, which has no unit. Errors as in `distilkit.jsd`.

    >>> figure = divergences(torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)]))
    >>> [round(float(bar.get_width()), 3) for bar in figure.axes[1].patches]
    [0.131, 0.144, 0.034, 0.135, 0.25]
    """
    temperature = dv.check_temperature(temperature)
    student, teacher, names = as_pair(student_logits, teacher_logits, classes)
    student, teacher = student / temperature, teacher / temperature
    values = measured(student, teacher, beta)
    figure = Figure(figsize=(8.4, 1.2 + 0.3 * max(len(names), 6)), layout="constrained")
    bars, scores = figure.subplots(1, 2)
    place = np.arange(len(names))
    bars.barh(place - 0.19, dv.soften(teacher).numpy(), height=0.36, color=TEACHER, label="teacher")
    bars.barh(place + 0.19, dv.soften(student).numpy(), height=0.36, color=STUDENT, label="student")
    bars.set_yticks(place, _plain(names))
    bars.invert_yaxis()
    bars.set_title(f"probabilities at T = {temperature:g}", fontsize=11)
    bars.legend(frameon=False, fontsize=9)
    scores.barh(
        list(values), [value if math.isfinite(value) else 0 for value in values.values()], color=GREY, height=0.6
    )
    for y, value in enumerate(values.values()):
        at = value if math.isfinite(value) else 0
        scores.annotate(f"{value:.3f}", (at, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    scores.margins(x=0.18)
    scores.invert_yaxis()
    scores.set_title(f"divergence, β = {beta:g}", fontsize=11)
    for axes in (bars, scores):
        _thin(axes, "x")
    return figure


def two_peaks(
    peaks: Sequence[tuple[float, float, float]] = ((0.6, -3.0, 0.7), (0.4, 3.0, 0.7)),
    *,
    mu: float = 1.0,
    sigma: float = 1.0,
    beta: float = 0.5,
) -> Figure:
    """A teacher with several peaks, a student ``N(mu, sigma)`` with one: forward KL covers, reverse KL seeks.

    Args:
        peaks: (weight, place, width) of each of the teacher's peaks.
        mu, sigma: the student's place and width, sigma > 0.
        beta: the weight of the teacher in the JSD's mixture, in [0, 1].

    Raises:
        BadValue, BadType: a peak without width, sigma or beta out of range.

    >>> two_peaks(mu=-3.0, sigma=0.7).axes[0].get_title()
    'forward KL 14.021, reverse KL 0.511, rescaled JSD 0.656'
    """
    beta = real("beta", beta, 0, 1, "the weight of the teacher in the mixture; ½ is the symmetric JSD")
    places, teacher = as_peaks(peaks)
    mu = real("mu", mu, -1e6, 1e6, "the place of the student's peak")
    sigma = real("sigma", sigma, 0, 1e6, "the width of the student's peak", above=True)
    student = -((places - mu) ** 2) / (2 * sigma**2)
    values = measured(student, teacher, beta)
    step = float(places[1] - places[0])
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(places, dv.soften(teacher) / step, color=TEACHER, alpha=0.2, linewidth=0)
    axes.plot(places, dv.soften(teacher) / step, color=TEACHER, label="teacher p")
    axes.plot(places, dv.soften(student) / step, color=STUDENT, linestyle=STYLE["student"], label="student q")
    axes.set(ylim=(0, None), yticks=[])
    named = (f"{name} {values[name]:.3f}" for name in ("forward KL", "reverse KL", "rescaled JSD"))
    axes.set_title(", ".join(named), fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    _thin(axes, "x")
    return figure


def as_peaks(peaks: Any) -> tuple[Tensor, Tensor]:
    """241 places that hold all peaks (weight, place, width), and the teacher's log density there, up to a constant."""
    table = _rows("peaks", peaks)
    if table.shape[1] != 3 or not ((table[:, 0] > 0) & (table[:, 2] > 0)).all():
        raise BadValue(f"peaks must be (weight, place, width) each, weight and width above 0, got {shown(peaks)}")
    weight, place, width = table.unbind(1)
    beyond = float(place.max() - place.min()) / 2  # room for the tails of a student that covers them all
    low, high = float((place - 4 * width).min()) - beyond, float((place + 4 * width).max()) + beyond
    places = torch.linspace(low, high, 241, dtype=torch.float64)
    each = torch.log(weight / width) - ((places[:, None] - place) / width) ** 2 / 2
    return places, torch.logsumexp(each, -1)


def curves(measured: Any, *, marks: Sequence[tuple[int, str, float]] = ()) -> Figure:
    """How student and twin came along: accuracy on the data, agreement with the teacher, mean KL, and the loss terms.

    Args:
        measured: a table with the columns step, model ("student" or "twin") and any of accuracy, agreement (shares),
            perplexity, mean_kl, soft, hard (nats), as `watch(…).measured`; or a run's history, a list of `Step`.
        marks: (step, symbol, value) of each turn of a knob.

    >>> curves([{"step": 0, "model": "student", "accuracy": 0.1}]).axes[0].get_title(loc="left")
    'right answers (%)'
    """
    rows = [measured.iloc[i].to_dict() for i in range(len(measured))] if hasattr(measured, "iloc") else list(measured)
    rows = [row if isinstance(row, Mapping) else {"model": "student", **row._asdict()} for row in rows]
    panels = [
        ("right answers (%)", ("accuracy",), 100),
        ("perplexity", ("perplexity",), 1),
        ("agreement with the teacher (%)", ("agreement",), 100),
        ("mean KL from the teacher (nats)", ("mean_kl",), 1),
        ("loss terms (nats)", ("hard", "soft"), 1),
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
                thin = {"linewidth": 1.0} if key == "soft" else {"linewidth": 1.8}
                axes.plot(steps, values, color=ROLES[role], linestyle=STYLE[role], marker=marker, markersize=4,
                          markevery=max(1, len(points) // 6), **thin)  # fmt: skip
                ends.append((values[-1], steps[-1], role if len(keys) == 1 else f"{role}, {key}", ROLES[role]))
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
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        _thin(axes, "y")
    return figure


def measured(student: Tensor, teacher: Tensor, beta: float) -> dict[str, float]:
    """Every divergence of `MEASURES` between two rows of logits."""
    settings: dict[str, dict[str, Any]] = {"JSD": {"beta": beta}, "rescaled JSD": {"beta": beta, "rescaled": True}}
    return {name: float(measure(student, teacher, **settings.get(name, {}))) for name, measure in MEASURES.items()}


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
    axes.set_title(f"points of accuracy over the tuned twin, {labelled} labels", loc="left", fontsize=11)
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
                why = "not run" if (text, divergence) in CELLS else "no labels"
                axes.text(x, y, why, ha="center", va="center", color=GREY)
                continue
            cell = table.loc[(text, divergence)]
            gain, half = cell[f"{measure}_over_twin"], cell[f"{measure}_over_twin_half"]
            shade = (STUDENT if (gain < 0) == less else TWIN, 0.5 * abs(gain) / largest)
            edge = "black" if abs(gain) > half else "none"
            axes.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, facecolor=shade, edgecolor=edge))
            value = f"{cell[measure]:.{digits}f} ± {cell[f'{measure}_half']:.{digits}f}"
            axes.text(x, y - 0.1, value, ha="center", va="center", fontsize=10)
            axes.text(x, y + 0.22, CELLS[text, divergence], ha="center", va="center", fontsize=8, color=GREY)
    axes.set_xticks(range(len(DIVERGENCES)), list(DIVERGENCES.values()))
    axes.set_yticks(range(len(TEXTS)), [name.removeprefix("the ") for name in TEXTS.values()])
    axes.set(xlim=(-0.5, len(DIVERGENCES) - 0.5), ylim=(len(TEXTS) - 0.5, -0.5))
    axes.set_title(f"{title}: {name}", loc="left", fontsize=11)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for (text, divergence), cell in table.iterrows():
        twin = (text, divergence) == ("corpus", "labels")
        colour, marker = LOOKS["twin" if twin else text]
        plane.errorbar(cell["mean_kl"], cell["perplexity"], cell["perplexity_half"], cell["mean_kl_half"],
                       color=colour, marker=marker, markersize=6, linewidth=0.8)  # fmt: skip
        plane.annotate(DIVERGENCES[divergence][0].upper(), (cell["mean_kl"], cell["perplexity"]),
                       xytext=(5, 4), textcoords="offset points", fontsize=8, color=colour)  # fmt: skip
    plane.set(xscale="log", yscale="log", xlabel=f"fidelity: {BOARD['mean_kl'][1]}", ylabel="quality: perplexity")
    for axis in (plane.xaxis, plane.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")
    plane.set_title(
        "text: ◆ corpus’s  ● teacher’s  ■ student’s  ▲ twin\nL labels  F forward KL  R reverse KL  J JSD",
        loc="left", fontsize=9, color=GREY,
    )  # fmt: skip
    _thin(plane, "both")
    return figure


def reliability(tables: Mapping[str, Any]) -> Figure:
    """Confidence against accuracy: on the diagonal a model is right as often as it says, below it is overconfident.

    tables: for each model by name ("teacher", "student", "twin") what `distilkit.metrics.reliability` returns. A
    marker's area is the bin's share of the examples.

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
    _thin(axes, "both")
    return figure


def tokens(
    tokens: Sequence[str],
    values: Any,
    *,
    title: str = "KL(teacher ‖ student)",
    role: str = "student",
    columns: int = 84,
) -> Figure:
    """A text whose tokens are shaded by a number each, in nats: the darker, the more; the top tenth is underlined.

    tokens: their texts; "\\n" breaks the line. values: (n,), nan where there is none. role: whose colour.

    >>> figure = tokens(["Return", " the", " value"], [float("nan"), 0.1, 2.0])
    >>> [each.get_text() for each in figure.axes[0].texts][:3]
    ['Return', ' the', ' value']
    """
    shades = np.asarray(values, dtype=float)
    if shades.shape != (len(tokens),) or not len(tokens):
        raise BadValue(f"values must be one number a token, ({len(tokens)},), at least one, got {shades.shape}")
    known = shades[np.isfinite(shades)]
    most = max(float(known.max(initial=0)), 1e-9)
    tenth = np.quantile(known, 0.9) if len(known) else math.inf
    places, line, column = [], 0, 0
    for token, value in zip(tokens, shades, strict=True):
        *ended, last = "".join(letter if letter == "\n" else _drawn(letter) for letter in token).split("\n")
        for part, breaks in [*((each + "↵", 1) for each in ended), (last, 0)]:
            if column + len(part) > columns and column:
                line, column, part = line + 1, 0, part.lstrip(" ")
            places.append((line, column, part, value))
            line, column = line + breaks, 0 if breaks else column + len(part)
    wide = columns * 0.602 * 9 / 72  # inches: a letter of this font is 0.602 em wide
    figure = Figure(figsize=(wide + 0.2, 0.2 * (line + 1) + 0.5))
    axes = figure.add_axes((0.1 / (wide + 0.2), 0.02, wide / (wide + 0.2), 0.96))
    axes.set(xlim=(0, columns), ylim=(line + 1.1, -1.6))
    axes.axis("off")
    for row, start, text, value in places:
        if math.isfinite(value):
            share = round(6 * min(1.0, max(0.0, value / most))) / 6  # few shades: the picture has 32 colours
            axes.add_patch(Rectangle((start, row + 0.04), len(text), 0.92, color=ROLES[role], alpha=0.72 * share, lw=0))
            if value >= tenth:
                axes.plot([start + 0.1, start + len(text)], [row + 0.94] * 2, color="black", linewidth=1.2)
        axes.text(start, row + 0.5, text.replace("$", r"\$"), family="DejaVu Sans Mono", size=9, va="center_baseline")
    axes.annotate(f"{title} of each token, nats:  0", (0, -0.9), size=9, va="center")
    for i in range(7):
        axes.add_patch(Rectangle((39 + 2 * i, -1.3), 2, 0.8, color=ROLES[role], alpha=0.72 * i / 6, lw=0))
    axes.annotate(f"{most:.2g}; underlined: the top tenth", (54, -0.9), size=9, va="center")
    return figure


def _drawn(letter: str) -> str:
    """The letter, if the picture's font has it."""
    return letter if _MONO.get_char_index(ord(letter)) else "\ufffd"


def as_examples(
    logits: Any, classes: Sequence[str] | None, images: Any = None, labels: Any = None
) -> tuple[dict[str, Tensor], list[str], np.ndarray | None, np.ndarray | None]:
    """The arguments of `soft_labels`, checked: logits by role (n, classes), names, pixels (n, side²), labels (n,)."""
    given = logits if isinstance(logits, Mapping) else {"teacher": logits}
    if not given or not set(given) <= set(ROLES):
        raise BadValue(f"logits must be keyed by some of {', '.join(ROLES)}, got {shown(list(given))}")
    sides = {role: _rows(f"logits[{role!r}]", given[role]) for role in ROLES if role in given}
    shapes = {role: tuple(values.shape) for role, values in sides.items()}
    if len(set(shapes.values())) > 1:
        raise BadValue(f"logits must have one shape, got {shapes}")
    count, width = next(iter(shapes.values()))
    names = _names(classes, width)
    pixels = (
        None if images is None else np.asarray(images, dtype=float).reshape(count, -1) if len(images) == count else None
    )
    if images is not None and (pixels is None or math.isqrt(pixels.shape[1]) ** 2 != pixels.shape[1]):
        raise BadValue(f"images must be {count} square images, one a row of logits, got {tuple(np.shape(images))}")
    truth = None if labels is None else np.asarray(labels)
    if truth is not None and truth.shape != (count,):
        raise BadValue(f"labels must have the shape ({count},), one a row of logits, got {truth.shape}")
    return sides, names, pixels, truth


def as_pair(
    student_logits: Any, teacher_logits: Any, classes: Sequence[str] | None
) -> tuple[Tensor, Tensor, list[str]]:
    """The student's and the teacher's logits (classes,), and the names of the classes."""
    student, teacher = _rows("student_logits", student_logits), _rows("teacher_logits", teacher_logits)
    if student.shape != teacher.shape or len(student) != 1:
        raise BadValue(
            f"student_logits and teacher_logits must be one row of logits each, (classes,), got "
            f"{tuple(np.shape(student_logits))} and {tuple(np.shape(teacher_logits))}. Choose an example with [i]"
        )
    return student[0], teacher[0], _names(classes, student.shape[1])


def _rows(name: str, logits: Any) -> Tensor:
    try:
        rows = torch.as_tensor(logits).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise BadType(f"{name} must be a tensor or an array of numbers, got {shown(logits)}") from None
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.numel():
        raise BadValue(f"{name} must have the shape (n, classes) or (classes,), got {tuple(rows.shape)}")
    if not rows.isfinite().all():
        where = (~rows.isfinite()).nonzero()[0].tolist()
        raise BadValue(f"{name}{where} is {rows[tuple(where)].item()}: a picture needs finite logits")
    return rows


def _names(classes: Sequence[str] | None, width: int) -> list[str]:
    names = [str(name) for name in classes] if classes is not None else [str(i) for i in range(width)]
    if len(names) != width:
        raise BadValue(f"classes must name all {width} classes, got {len(names)} names")
    return names


def _row(example: object, sides: Mapping[str, Tensor]) -> int:
    count = len(next(iter(sides.values())))
    return whole("example", example, 0, count - 1, f"there are {count} examples")


def _plain(names: Sequence[str]) -> list[str]:
    """Names that matplotlib draws as they are: a $ would start a formula, and a long one would take the picture."""
    return [(name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$") for name in names]


def _share(value: float) -> str:
    return f"{value:.3f}" if value >= 5e-4 else f"{value:.0e}"


def _thin(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis=grid, color="#e4e7eb", linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
