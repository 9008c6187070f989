"""The distillation loss for large vocabularies: value and gradient together, a few rows at a time.

Plain autograd keeps several temporaries of the logits' size; here the gradient is the only one. Notation: s and t are
logits, u = s / T and v = t / T, q = softmax(u), p = softmax(v), m a mixture of both; ``⟨a, b⟩ = Σ a·b`` over classes.
"""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilkit.divergences import (
    IGNORED,
    Divergence,
    adaptive_skew_kl,
    check_labels,
    check_logits,
    check_pair,
    check_temperature,
    decoupled_kl,
    forward_kl,
    jsd,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    soft_cross_entropy,
    total_variation,
    wide,
)
from distilkit.errors import BadValue, DistilkitError, real

CHUNK = {"cpu": 2**17}  # logits a chunk: its buffers stay in the cache
CHUNK_ELSEWHERE = 2**24  # where a kernel's launch costs more than a miss
LOW = -1e30  # stands for -inf: its softmax is 0, too, and LOW − LOW is 0
TINY = 1e-37  # the least probability in a ratio


def chunked_kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    *,
    alpha: float = 0.9,
    temperature: float = 4.0,
    divergence: Divergence = forward_kl,
) -> Tensor:
    """`kd_loss` in chunks, ``alpha · T² · D(student / T, teacher / T) + (1 − alpha) · CE(student, labels)``.

    The same meaning, arguments and errors as `distilkit.losses.kd_loss`; in float32 (float64 for float64 logits), with
    no temporary of the logits' size but their gradient, and without a second derivative. A divergence of your own must
    be a mean over the positions that its mask keeps, each for itself; one that takes labels gets all rows at once.

    >>> student, teacher = torch.zeros(2, 3), torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    >>> round(float(chunked_kd_loss(student, teacher, torch.tensor([0, 1]), alpha=0.0)), 4)      # log(3)
    1.0986
    >>> float(chunked_kd_loss(teacher, teacher, torch.tensor([0, 1]), alpha=1.0))
    0.0
    """
    return chunked_kd_terms(
        student_logits, teacher_logits, labels, alpha=alpha, temperature=temperature, divergence=divergence
    )[0]


def chunked_kd_terms(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    *,
    alpha: float = 0.9,
    temperature: float = 4.0,
    divergence: Divergence = forward_kl,
) -> tuple[Tensor, Tensor, Tensor]:
    """`chunked_kd_loss` with its two terms, ``(loss, D(student / T, teacher / T), CE(student, labels))``, in one pass.

    The loss carries the gradient, the terms do not. Arguments and errors as in `chunked_kd_loss`.

    >>> student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3.0)]])
    >>> [round(float(each), 4) for each in chunked_kd_terms(student, teacher, torch.tensor([1]), temperature=1)]
    [0.187, 0.1308, 0.6931]
    """
    alpha = real("alpha", alpha, 0, 1, "0 trains on labels only, 1 on the teacher only")
    temperature = check_temperature(temperature)
    check_logits("student_logits", student_logits)
    labelled = check_labels(labels, student_logits)
    if teacher_logits is not None:
        check_pair(student_logits, teacher_logits)
        teacher_logits = teacher_logits.detach()
    elif alpha > 0:
        raise BadValue(f"alpha is {alpha:g} and there is no teacher: give teacher_logits, or alpha=0 for labels only")
    if student_logits.ndim == 1:
        student_logits, labels = student_logits.unsqueeze(0), labels.unsqueeze(0)
        teacher_logits = None if teacher_logits is None else teacher_logits.unsqueeze(0)
    if not labelled and teacher_logits is not None and (labels == IGNORED).all():
        warnings.warn("every label is -100, so that no position counts: the loss is 0", stacklevel=3)
    return _Chunked.apply(student_logits, teacher_logits, labels, labelled, alpha, temperature, divergence)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
        loss, soft, hard, gradient = _in_chunks(student.detach(), *others, learn=ctx.needs_input_grad[0])
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(soft, hard)
        ctx.set_materialize_grads(False)
        return loss, soft, hard

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient if weight == 1 else gradient * weight.to(gradient.dtype), *[None] * 6)


def _in_chunks(
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor,
    labelled: bool,
    alpha: float,
    temperature: float,
    divergence: Divergence,
    *,
    learn: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    classes, dtype = student.shape[-1], torch.float64 if student.dtype == torch.float64 else torch.float32
    gradient = torch.zeros(student.shape, dtype=student.dtype, device=student.device) if learn else None
    rows = None if gradient is None else gradient.view(-1, classes)
    plan, wants_labels = _plan(divergence)
    inputs = [student] if teacher is None else [student, teacher]

    # Which rows count: all, as views of the logits, or those at `places`, copied chunk by chunk.
    places: tuple[Tensor, ...] | None = None
    if not all(each.is_contiguous() for each in inputs) or not labelled:
        places = (labels != IGNORED if teacher is not None else labels >= 0).nonzero(as_tuple=True)
        numbers = (labels != IGNORED if teacher is not None else labels >= 0).reshape(-1).nonzero().squeeze(-1)
        targets = labels[places].long()
    else:
        inputs = [each.view(-1, classes) for each in inputs]
        targets = labels.reshape(-1).long()
    count = len(targets)
    known = None if labelled else targets >= 0
    keeps = torch.ones_like(targets, dtype=torch.bool) if known is None or divergence_counts_all(plan) else known
    first = [each.select(-1, 0)[places] if places is not None else each[:, 0] for each in inputs]
    empty = functools.reduce(torch.logical_and, [each == -math.inf for each in first])
    for row in empty.nonzero().squeeze(-1).tolist():  # a position without any class left counts as masked
        at = (row,) if places is None else tuple(int(place[row]) for place in places)
        empty[row] = all(bool((each[at] == -math.inf).all()) for each in inputs)
    keeps = keeps & ~empty
    soft_count = max(int(keeps.sum()), 1)
    hard_count = max(count if known is None else int(known.sum()), 1)
    all_kept = bool(keeps.all())
    targets = targets.clamp(min=0)

    size = max(CHUNK.get(student.device.type, CHUNK_ELSEWHERE) // classes, 1)
    if plan is None and teacher is not None and (wants_labels or _plain(divergence) is adaptive_skew_kl):
        size = max(count, 1)  # its positions do not stand alone
    spare = torch.empty(4, min(size, count), classes, dtype=dtype, device=student.device)
    soft, hard = (torch.zeros((), dtype=wide(spare[:0]).dtype, device=student.device) for _ in range(2))

    for start in range(0, count, size):
        here = slice(start, start + size)
        chunk = [each[here] if places is None else each[tuple(place[here] for place in places)] for each in inputs]
        s, t, y = chunk[0].to(dtype), chunk[-1].to(dtype), targets[here].unsqueeze(-1)
        buffers = spare[:, : len(y)]
        d_soft: Tensor | None = None
        if teacher is not None:
            value = None
            if plan is not None:
                value = _closed(plan, s, t, y, temperature, buffers)
                if not value.isfinite().all():
                    value = _closed(plan, *_filled(plan, s, t), y, temperature, buffers)
            if value is None or not value.isfinite().all():
                kept = keeps[here]
                original = (
                    labels.reshape(-1)[here] if places is None else labels[tuple(place[here] for place in places)]
                )
                try:
                    value, d_soft = _by_autograd(
                        divergence, wants_labels, chunk[0], chunk[-1], original, ~empty[here], temperature
                    )
                except DistilkitError:  # say it again with the place in the whole
                    keyword = {"labels": labels} if wants_labels else {}
                    mask = None if labelled else labels != IGNORED
                    divergence(wide(student) / temperature, wide(teacher) / temperature, mask=mask, **keyword)
                    raise
                amount = soft_count if size >= count else int(kept.sum())
                soft += value * amount
                d_soft = buffers[0].copy_(d_soft).mul_(amount)
            else:
                d_soft = buffers[0]
                if not all_kept:
                    value = value.masked_fill(~keeps[here], 0)
                    d_soft.masked_fill_(~keeps[here].unsqueeze(-1), 0)
                soft += value.sum()
        out, top = buffers[3], s.amax(-1)
        torch.softmax(s, -1, out=out)
        surprise = _lse(top, out) - s.gather(-1, y).squeeze(-1)
        if known is not None:
            surprise = surprise.masked_fill(~known[here], 0)
        hard += surprise.sum()
        if rows is None:
            continue
        a, b = alpha * temperature / soft_count, (1 - alpha) / hard_count
        result = rows[here] if places is None else out
        if alpha < 1:
            out.scatter_add_(-1, y, out.new_full((1, 1), -1.0).expand_as(y))  # dCE/ds = softmax(s) − onehot(y)
            if known is not None:
                out.masked_fill_(~known[here].unsqueeze(-1), 0)
        if alpha == 0:
            torch.mul(out, b, out=result)
        elif alpha == 1:
            assert d_soft is not None
            torch.mul(d_soft, a, out=result)
        else:
            assert d_soft is not None
            torch.add(d_soft.mul_(a), out, alpha=b, out=result)
        if places is not None:
            rows[numbers[here]] = result.to(rows.dtype)

    soft, hard = soft / soft_count, hard / hard_count
    if alpha == 0:
        loss = hard.clone()
    else:
        loss = alpha * temperature**2 * soft + (1 - alpha) * hard if alpha < 1 else temperature**2 * soft
    return loss.to(dtype), soft.to(dtype), hard.to(dtype), gradient


class _Rows(NamedTuple):
    """A chunk: all (rows, classes), each a buffer to be overwritten; the gradient with respect to u is left in q."""

    q: Tensor
    p: Tensor
    gap: Tensor  # v − u
    spare: Tensor
    shift: Tensor  # (rows,): log-sum-exp of v less that of u, so that log p − log q = gap − shift


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a, b)


def _forward_kl(c: _Rows) -> Tensor:
    """⟨p, log p − log q⟩; its gradient is q − p."""
    value = _dot(c.p, c.gap) - c.shift
    c.q.sub_(c.p)
    return value.clamp(min=0)


def _reverse_kl(c: _Rows) -> Tensor:
    """⟨q, log q − log p⟩; its gradient is q·(⟨q, gap⟩ − gap)."""
    mean = _dot(c.q, c.gap)
    c.q.mul_(torch.sub(mean.unsqueeze(-1), c.gap, out=c.gap))
    return (c.shift - mean).clamp(min=0)


def _jsd(c: _Rows, *, beta: float = 0.5, rescaled: bool = False) -> Tensor:
    """β·⟨p, log(p / m)⟩ + (1−β)·⟨q, log(q / m)⟩; its gradient is (1−β)·q·(log(q / m) − ⟨q, log(q / m)⟩)."""
    m = torch.lerp(c.q.clamp_(min=TINY), c.p.clamp_(min=TINY), beta, out=c.gap)
    theirs = _dot(c.p, torch.div(c.p, m, out=c.spare).log_())
    ratio = torch.div(c.q, m, out=c.spare).log_()
    ours = _dot(c.q, ratio)
    scale = 1 / (beta * (1 - beta)) if rescaled else 1
    c.q.mul_(ratio.sub_(ours.unsqueeze(-1)).mul_((1 - beta) * scale))
    return (beta * theirs + (1 - beta) * ours).clamp(min=0) * scale


def _skew_forward_kl(c: _Rows, *, skew: float = 0.1) -> Tensor:
    """⟨p, log(p / m)⟩, m = λ·p + (1−λ)·q; its gradient is (1−λ)·q·(⟨q, p / m⟩ − p / m)."""
    m = torch.lerp(c.q.clamp_(min=TINY), c.p.clamp_(min=TINY), skew, out=c.gap)
    ratio = torch.div(c.p, m, out=c.spare)
    value = _dot(c.p, torch.log(ratio, out=c.gap))
    c.q.mul_(torch.sub(_dot(c.q, ratio).unsqueeze(-1), ratio, out=ratio).mul_(1 - skew))
    return value.clamp(min=0)


def _skew_reverse_kl(c: _Rows, *, skew: float = 0.1) -> Tensor:
    """⟨q, log(q / m)⟩, m = λ·q + (1−λ)·p; its gradient is q·(g − ⟨q, g⟩) with g = log(q / m) − λ·q / m."""
    m = torch.lerp(c.p.clamp_(min=TINY), c.q.clamp_(min=TINY), skew, out=c.gap)
    ratio = torch.div(c.q, m, out=c.spare)
    slope = torch.log(ratio, out=c.gap)
    value = _dot(c.q, slope)
    slope.sub_(ratio, alpha=skew)
    c.q.mul_(slope.sub_(_dot(c.q, slope).unsqueeze(-1)))
    return value.clamp(min=0)


def _total_variation(c: _Rows) -> Tensor:
    """½·Σ |q − p|; its gradient is q·(g − ⟨q, g⟩) with g = ½·sign(q − p)."""
    apart = torch.sub(c.q, c.p, out=c.gap)
    sign = torch.sign(apart, out=c.p)
    value = _dot(apart, sign) / 2
    c.q.mul_(sign.sub_(_dot(c.q, sign).unsqueeze(-1)).mul_(0.5))
    return value


# What each divergence leaves in q is its gradient; decoupled KL and soft cross-entropy are forward KL and a rest.
CLOSED: dict[Any, Callable[..., Tensor]] = {
    forward_kl: _forward_kl,
    reverse_kl: _reverse_kl,
    jsd: _jsd,
    skew_forward_kl: _skew_forward_kl,
    skew_reverse_kl: _skew_reverse_kl,
    total_variation: _total_variation,
    soft_cross_entropy: _forward_kl,
    decoupled_kl: _forward_kl,
}


class _Plan(NamedTuple):
    divergence: Any
    options: dict[str, Any]


def divergence_counts_all(plan: _Plan | None) -> bool:
    return plan is None or plan.divergence is not decoupled_kl


def _plain(divergence: Divergence) -> Any:
    return divergence.func if isinstance(divergence, functools.partial) else divergence


@functools.lru_cache(maxsize=64)
def _plan(divergence: Divergence) -> tuple[_Plan | None, bool]:
    """The closed form of a divergence with its options, or None; and whether it asks for labels."""
    wants_labels = "labels" in inspect.signature(divergence).parameters
    options = dict(divergence.keywords) if isinstance(divergence, functools.partial) else {}
    found = _plain(divergence)
    if (
        found not in CLOSED
        or (isinstance(divergence, functools.partial) and divergence.args)
        or {"mask", "reduction", "labels"} & set(options)
    ):
        return None, wants_labels
    probe = {"labels": torch.zeros(0, dtype=torch.long)} if wants_labels else {}
    divergence(torch.zeros(0, 1), torch.zeros(0, 1), **probe)  # refuses what the options may not be
    if found is jsd and options.get("rescaled") and options.get("beta", 0.5) in (0, 1):
        return _Plan(forward_kl if options["beta"] == 0 else reverse_kl, {}), wants_labels
    if found in (skew_forward_kl, skew_reverse_kl) and options.get("skew") == 0:
        return _Plan(forward_kl if found is skew_forward_kl else reverse_kl, {}), wants_labels
    return _Plan(found, options), wants_labels


def _lse(top: Tensor, probs: Tensor) -> Tensor:
    """log Σ exp of each row, from its largest logit and its softmax: ``max u − log max q``."""
    return wide(top) - wide(probs.amax(-1)).log()


def _closed(plan: _Plan, s: Tensor, t: Tensor, y: Tensor, temperature: float, buffers: Tensor) -> Tensor:
    """The divergence of each row; its gradient with respect to s / T is left in ``buffers[0]``."""
    divergence, options = plan
    q, p, gap, spare = buffers
    heads = [wide(each.gather(-1, y).squeeze(-1)) / temperature for each in (s, t)]
    if divergence is decoupled_kl:  # first the classes that are not the label's
        s, t = s.scatter(-1, y, LOW), t.scatter(-1, y, LOW)
    torch.softmax(torch.mul(s, 1 / temperature, out=q), -1, out=q)
    torch.softmax(torch.mul(t, 1 / temperature, out=p), -1, out=p)
    u_total, v_total = _lse(s.amax(-1) * (1 / temperature), q), _lse(t.amax(-1) * (1 / temperature), p)
    torch.sub(t, s, out=gap).mul_(1 / temperature)
    rest = None
    if divergence is soft_cross_entropy:  # ⟨p, −log p⟩ = lse v − ⟨p, v⟩, without a gradient
        rest = v_total - _dot(p, t) / temperature
    value = CLOSED[divergence](
        _Rows(q, p, gap, spare, v_total - u_total), **({} if divergence is decoupled_kl else options)
    )
    if divergence is decoupled_kl:
        return _decoupled(value, q, p, y, heads, [u_total, v_total], **options)
    return value if rest is None else value + rest


def _decoupled(
    others: Tensor,
    gradient: Tensor,
    p: Tensor,
    y: Tensor,
    heads: list[Tensor],
    totals: list[Tensor],
    *,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> Tensor:
    """a·KL(b_p ‖ b_q) + w·KL(p̂ ‖ q̂), δ = q[y] − p[y]; its gradient is a·δ at y and w·(q̂ − p̂) − a·δ·q̂ elsewhere."""
    logs = [(head - torch.logaddexp(head, total), total - torch.logaddexp(head, total))
            for head, total in zip(heads, totals, strict=True)]  # fmt: skip
    (q_head, q_rest), (p_head, p_rest) = logs
    pair = p_head.exp() * (p_head - q_head) + p_rest.exp() * (p_rest - q_rest)
    pull = (target_weight * (q_head.exp() - p_head.exp())).to(p.dtype).unsqueeze(-1)
    gradient.mul_(other_weight - pull).sub_(p.mul_(pull))  # q̂ = (q̂ − p̂) + p̂
    gradient.scatter_(-1, y, pull)
    return target_weight * pair.clamp(min=0) + other_weight * others


def _filled(plan: _Plan, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides with LOW in place of -inf, where that says the same: on both, or on the teacher's where p·log p is."""
    gone = t == -math.inf
    both = gone & (s == -math.inf)
    return s.masked_fill(both, LOW), t.masked_fill(both if plan.divergence is reverse_kl else gone, LOW)


def _by_autograd(
    divergence: Divergence,
    wants_labels: bool,
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    mask: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Any divergence's mean over these rows and its gradient with respect to student / T, in float64."""
    u = (wide(student) / temperature).requires_grad_()
    with torch.enable_grad():
        given = {"labels": labels} if wants_labels else {}
        value = divergence(u, wide(teacher) / temperature, mask=mask, **given)
        (gradient,) = torch.autograd.grad(value, u, allow_unused=True) if value.requires_grad else (None,)
    return value.detach(), torch.zeros_like(u) if gradient is None else gradient
