"""Pictures of logits: soft labels, loss terms, divergences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from distilkit import divergences as dv
from distilkit.errors import BadType, BadValue, real, shown, whole
from distilkit.plots.style import (
    GREY,
    LABEL,
    ROLES,
    STUDENT,
    STYLE,
    TEACHER,
    TWIN,
    as_share,
    plain,
    thin,
)
from distilkit.words import say

MEASURES = {
    "forward KL": dv.forward_kl,
    "reverse KL": dv.reverse_kl,
    "JSD": dv.jsd,
    "rescaled JSD": dv.jsd,
    "total variation": dv.total_variation,
}


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
                axes.annotate(as_share(x), (x, y), xytext=(-4 if mirrored else 4, 0), textcoords="offset points",
                              va="center", ha="right" if mirrored else "left", fontsize=9, color=GREY)  # fmt: skip
    panels[0].set_title(say("{role} at T = {t:g}", role=say(teacher), t=temperature), color=ROLES[teacher], fontsize=11)
    if others:
        panels[0].set_xlim(1.22, 0)
        panels[1].set_xlim(0, 1.22)
        title = say(others[0]) + (say(" (twin outlined)") if len(others) > 1 else "")
        panels[1].set_title(title, color=ROLES[others[0]], fontsize=11)
    else:
        panels[0].set_xlim(0, 1.16)
    panels[0].set_yticks(place, plain(names))
    panels[0].invert_yaxis()
    if truth is not None and truth[example] >= 0:
        panels[0].get_yticklabels()[int(truth[example])].set_color(LABEL)
        panels[0].get_yticklabels()[int(truth[example])].set_fontweight("bold")
    for axes in panels:
        thin(axes, "x")
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
        (-0.27, soft, TEACHER, say("teacher's pull")),
        (0.0, hard, LABEL, say("label's pull")),
        (0.27, soft + hard, GREY, say("sum")),
    ):
        axes.barh(place + offset, values.numpy(), height=0.24, color=colour, label=name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(place, plain(names))
    axes.get_yticklabels()[label].set_fontweight("bold")
    axes.invert_yaxis()
    axes.set_xlabel(say("gradient on the student's logit (left: the logit is pushed up)"))
    said = say(
        "loss = α·T²·KL + (1−α)·CE = {soft:.3f} + {hard:.3f} = {loss:.3f}",
        soft=terms[0],
        hard=terms[1],
        loss=sum(terms),
    )
    axes.set_title(said, fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    thin(axes, "x")
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
    bars.barh(place - 0.19, dv.soften(teacher).numpy(), height=0.36, color=TEACHER, label=say("teacher"))
    bars.barh(place + 0.19, dv.soften(student).numpy(), height=0.36, color=STUDENT, label=say("student"))
    bars.set_yticks(place, plain(names))
    bars.invert_yaxis()
    bars.set_title(say("probabilities at T = {t:g}", t=temperature), fontsize=11)
    bars.legend(frameon=False, fontsize=9)
    scores.barh(
        list(values), [value if math.isfinite(value) else 0 for value in values.values()], color=GREY, height=0.6
    )
    for y, value in enumerate(values.values()):
        at = value if math.isfinite(value) else 0
        scores.annotate(f"{value:.3f}", (at, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    scores.margins(x=0.18)
    scores.invert_yaxis()
    scores.set_title(say("divergence, β = {beta:g}", beta=beta), fontsize=11)
    for axes in (bars, scores):
        thin(axes, "x")
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
    axes.plot(places, dv.soften(teacher) / step, color=TEACHER, label=say("teacher p"))
    axes.plot(places, dv.soften(student) / step, color=STUDENT, linestyle=STYLE["student"], label=say("student q"))
    axes.set(ylim=(0, None), yticks=[])
    named = (f"{name} {values[name]:.3f}" for name in ("forward KL", "reverse KL", "rescaled JSD"))
    axes.set_title(", ".join(named), fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    thin(axes, "x")
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


def measured(student: Tensor, teacher: Tensor, beta: float) -> dict[str, float]:
    """Every divergence of `MEASURES` between two rows of logits."""
    settings: dict[str, dict[str, Any]] = {"JSD": {"beta": beta}, "rescaled JSD": {"beta": beta, "rescaled": True}}
    return {name: float(measure(student, teacher, **settings.get(name, {}))) for name, measure in MEASURES.items()}


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
