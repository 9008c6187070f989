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
    weighted,
    wide,
)
from distilkit.errors import BadValue, DistilkitError, real

CHUNK = {"cpu": 2**19}  # logits a chunk: its buffers stay in the cache
CHUNK_ELSEWHERE = 2**24  # where a kernel's launch costs more than a miss
LOW = -1e30  # stands for -inf: its softmax is 0, too, and LOW − LOW is 0
TINY = 1e-37  # the least probability in a ratio
NEAR = 1e-3  # nats: where all rows of a chunk are nearer, float32 cancels and float64 is taken


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

    The same meaning, arguments and errors as `distilkit.losses.kd_loss`; in float32 (float64 for float64 logits, and
    where both sides are so near that float32 would cancel), with no temporary of the logits' size but their gradient,
    and without a second derivative. A divergence of your own must be a mean over the positions that its mask keeps,
    each for itself; one that takes labels gets all rows at once.

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
    plan = _plan(divergence)
    rows = _counted(student, teacher, labels, labelled, plan)
    count = len(rows.labels)
    soft_count = max(count if rows.soft is None else int(rows.soft.sum()), 1)
    hard_count = max(count if rows.hard is None else int(rows.hard.sum()), 1)
    a, b = alpha * temperature / soft_count, (1 - alpha) / hard_count

    gradient = None
    if learn:
        make = torch.empty if count == labels.numel() else torch.zeros
        gradient = make(student.shape, dtype=student.dtype, device=student.device)
    size = max(CHUNK.get(student.device.type, CHUNK_ELSEWHERE) // classes, 1)
    if (
        not plan.closed
        and teacher is not None
        and (plan.wants_labels or plan.divergence in (adaptive_skew_kl, weighted))
    ):
        size = max(count, 1)  # its positions do not stand alone
    spare = torch.empty(4, min(size, count), classes, dtype=dtype, device=student.device)
    soft, hard = (torch.zeros((), dtype=wide(spare[:0]).dtype, device=student.device) for _ in range(2))

    for start in range(0, count, size):
        here = slice(start, start + size)
        s = rows.take(student, here).to(dtype)
        buffers = spare[:, : len(s)]
        pull, weight, total = None, 0.0, None
        if teacher is not None:
            try:
                t = rows.take(teacher, here).to(dtype)
                value, pull, weight, total = _soft(plan, rows, here, s, t, temperature, buffers)
            except DistilkitError:  # say it again with the place in the whole
                keyword = {"labels": labels} if plan.wants_labels else {}
                mask = None if labelled else labels != IGNORED
                divergence(wide(student) / temperature, wide(teacher) / temperature, mask=mask, **keyword)
                raise
            soft += value
        value, out = _hard(rows, here, s, buffers[3], total if alpha == temperature == 1 else None)
        hard += value
        if gradient is not None:
            result = rows.take(gradient, here) if rows.places is None and gradient.dtype == dtype else out
            if pull is None or alpha == 0:
                torch.mul(out, b, out=result)
            elif alpha == 1:
                torch.mul(pull, a * weight, out=result)
            else:
                torch.add(pull.mul_(a * weight), out, alpha=b, out=result)
            if result is out:
                rows.put(gradient, here, out)

    soft, hard = soft / soft_count, hard / hard_count
    if alpha == 0:
        loss = hard.clone()
    else:
        loss = alpha * temperature**2 * soft + (1 - alpha) * hard if alpha < 1 else temperature**2 * soft
    return loss.to(dtype), soft.to(dtype), hard.to(dtype), gradient


class _Counted(NamedTuple):
    """The n positions that count for either term; None says all, of the whole in `places`, of the n in the others."""

    labels: Tensor  # (n,)
    empty: Tensor  # (n,) bool: no class is left on either side
    soft: Tensor | None  # (n,) bool: counts for the soft term
    hard: Tensor | None
    places: tuple[Tensor, ...] | None  # their indices; without, all positions are views of contiguous logits

    def take(self, logits: Tensor, here: slice) -> Tensor:
        if self.places is None:
            return logits.view(-1, logits.shape[-1])[here]
        return logits[tuple(place[here] for place in self.places)]

    def put(self, gradient: Tensor, here: slice, rows: Tensor) -> None:
        if self.places is None:
            gradient.view(-1, gradient.shape[-1])[here] = rows
        else:
            gradient[tuple(place[here] for place in self.places)] = rows.to(gradient.dtype)


def _counted(student: Tensor, teacher: Tensor | None, labels: Tensor, labelled: bool, plan: _Plan) -> _Counted:
    sides = [student] if teacher is None else [student, teacher]
    places = None
    if not labelled or not all(each.is_contiguous() for each in sides):
        places = (labels != IGNORED if teacher is not None else labels >= 0).nonzero(as_tuple=True)
    found = (labels.reshape(-1) if places is None else labels[places]).long()
    known = None if labelled else found >= 0
    # A position without any class left counts as masked; only one that has lost its first can be one.
    empty = functools.reduce(torch.logical_and, [each.select(-1, 0) == -math.inf for each in sides])
    empty = empty.reshape(-1) if places is None else empty[places]
    rows = _Counted(found, empty, known if plan.closed and plan.divergence is decoupled_kl else None, known, places)
    for row in empty.nonzero().squeeze(-1).tolist():
        empty[row] = all(bool((rows.take(each, slice(row, row + 1)) == -math.inf).all()) for each in sides)
    if empty.any():
        rows = rows._replace(soft=~empty if rows.soft is None else rows.soft & ~empty)
    return rows


def _soft(
    plan: _Plan, rows: _Counted, here: slice, s: Tensor, t: Tensor, temperature: float, buffers: Tensor
) -> tuple[Tensor, Tensor, float, Tensor | None]:
    """The sum of the divergence over a chunk, and its gradient with respect to s / T: a tensor and its factor.

    And log-sum-exp of s / T, where it was needed.
    """
    kept = None if rows.soft is None else rows.soft[here]
    found = None
    if plan.closed:
        y = rows.labels[here].clamp(min=0).unsqueeze(-1)
        found = _closed(plan, s, t, y, temperature, buffers)
        if not found[0].isfinite().all():
            found = _closed(plan, *_filled(plan, s, t), y, temperature, buffers)
    if found is None or not found[0].isfinite().all():
        value, gradient = _by_autograd(plan, s, t, rows.labels[here], ~rows.empty[here], temperature)
        count = len(s) if kept is None else int(kept.sum())
        return value * count, buffers[0].copy_(gradient), count, None
    value, gradient, weight, total = found
    if kept is not None:
        value = value.masked_fill(~kept, 0)
        gradient.masked_fill_(~kept.unsqueeze(-1), 0)
    return value.sum(), gradient, weight, total


def _hard(rows: _Counted, here: slice, s: Tensor, out: Tensor, total: Tensor | None) -> tuple[Tensor, Tensor]:
    """The sum of the cross-entropy over a chunk, and its gradient, ``softmax(s) − onehot(y)``.

    Where `total`, the log-sum-exp of s, is known already, nobody wants the gradient.
    """
    y = rows.labels[here].clamp(min=0).unsqueeze(-1)
    own = s.gather(-1, y).squeeze(-1)
    if total is not None:
        value = total - own
    else:
        value = _lse(s.amax(-1), torch.softmax(s, -1, out=out)) - own
        out.scatter_add_(-1, y, out.new_full((1, 1), -1.0).expand_as(y))
    if rows.hard is not None:
        value = value.masked_fill(~rows.hard[here], 0)
        if total is None:
            out.masked_fill_(~rows.hard[here].unsqueeze(-1), 0)
    return value.sum(), out


class _Rows(NamedTuple):
    """A chunk: all (rows, classes), each a buffer to be overwritten; the gradient with respect to u is left in q.

    Where a divergence returns a number beside its value, the gradient is that many times q.
    """

    q: Tensor
    p: Tensor
    gap: Tensor  # t − s
    spare: Tensor
    shift: Tensor  # (rows,): log-sum-exp of v less that of u, so that log p − log q = gap / T − shift
    temperature: float


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a, b)


def _forward_kl(c: _Rows) -> tuple[Tensor, float]:
    """⟨p, log p − log q⟩; its gradient is q − p."""
    value = _dot(c.p, c.gap) / c.temperature - c.shift
    c.q.sub_(c.p)
    return value, 1


def _reverse_kl(c: _Rows) -> tuple[Tensor, float]:
    """⟨q, log q − log p⟩; its gradient is q·(⟨q, gap⟩ − gap) / T."""
    mean = _dot(c.q, c.gap)
    c.q.mul_(torch.sub(mean.unsqueeze(-1), c.gap, out=c.gap))
    return c.shift - mean / c.temperature, 1 / c.temperature


def _jsd(c: _Rows, *, beta: float = 0.5, rescaled: bool = False) -> tuple[Tensor, float]:
    """β·⟨p, log(p / m)⟩ + (1−β)·⟨q, log(q / m)⟩; its gradient is (1−β)·q·(log(q / m) − ⟨q, log(q / m)⟩)."""
    m = torch.lerp(c.q.clamp_(min=TINY), c.p.clamp_(min=TINY), beta, out=c.gap)
    theirs = _dot(c.p, torch.div(c.p, m, out=c.spare).log_())
    ratio = torch.div(c.q, m, out=c.spare).log_()
    ours = _dot(c.q, ratio)
    c.q.mul_(ratio.sub_(ours.unsqueeze(-1)))
    scale = 1 / (beta * (1 - beta)) if rescaled else 1
    return (beta * theirs + (1 - beta) * ours) * scale, (1 - beta) * scale


def _skew_forward_kl(c: _Rows, *, skew: float = 0.1) -> tuple[Tensor, float]:
    """⟨p, log(p / m)⟩, m = λ·p + (1−λ)·q; its gradient is (1−λ)·q·(⟨q, p / m⟩ − p / m)."""
    m = torch.lerp(c.q.clamp_(min=TINY), c.p.clamp_(min=TINY), skew, out=c.gap)
    ratio = torch.div(c.p, m, out=c.spare)
    value = _dot(c.p, torch.log(ratio, out=c.gap))
    c.q.mul_(torch.sub(_dot(c.q, ratio).unsqueeze(-1), ratio, out=ratio))
    return value, 1 - skew


def _skew_reverse_kl(c: _Rows, *, skew: float = 0.1) -> tuple[Tensor, float]:
    """⟨q, log(q / m)⟩, m = λ·q + (1−λ)·p; its gradient is q·(g − ⟨q, g⟩) with g = log(q / m) − λ·q / m."""
    m = torch.lerp(c.p.clamp_(min=TINY), c.q.clamp_(min=TINY), skew, out=c.gap)
    ratio = torch.div(c.q, m, out=c.spare)
    slope = torch.log(ratio, out=c.gap)
    value = _dot(c.q, slope)
    slope.sub_(ratio, alpha=skew)
    c.q.mul_(slope.sub_(_dot(c.q, slope).unsqueeze(-1)))
    return value, 1


def _total_variation(c: _Rows) -> tuple[Tensor, float]:
    """½·Σ |q − p|; its gradient is ½·q·(g − ⟨q, g⟩) with g = sign(q − p)."""
    apart = torch.sub(c.q, c.p, out=c.gap)
    sign = torch.sign(apart, out=c.p)
    value = _dot(apart, sign) / 2
    c.q.mul_(sign.sub_(_dot(c.q, sign).unsqueeze(-1)))
    return value, 0.5


# What each divergence leaves in q is its gradient; decoupled KL and soft cross-entropy are forward KL and a rest.
CLOSED: dict[Any, Callable[..., tuple[Tensor, float]]] = {
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
    """How a divergence is computed: by the form that CLOSED has for it, else by autograd."""

    given: Divergence
    divergence: Any  # the same without its options
    options: dict[str, Any]
    closed: bool
    wants_labels: bool


@functools.lru_cache(maxsize=64)
def _plan(divergence: Divergence) -> _Plan:
    wants_labels = "labels" in inspect.signature(divergence).parameters
    partial = divergence if isinstance(divergence, functools.partial) else functools.partial(divergence)
    found, options = partial.func, dict(partial.keywords)
    closed = found in CLOSED and not partial.args and not {"mask", "reduction", "labels"} & set(options)
    if closed:
        probe = {"labels": torch.zeros(0, dtype=torch.long)} if wants_labels else {}
        divergence(torch.zeros(0, 1), torch.zeros(0, 1), **probe)  # refuses what the options may not be
    if closed and found is jsd and options.get("rescaled") and options.get("beta", 0.5) in (0, 1):
        found, options = (forward_kl if options["beta"] == 0 else reverse_kl), {}
    elif closed and found in (skew_forward_kl, skew_reverse_kl) and options.get("skew") == 0:
        found, options = (forward_kl if found is skew_forward_kl else reverse_kl), {}
    return _Plan(divergence, found, options, closed, wants_labels)


def _lse(top: Tensor, probs: Tensor) -> Tensor:
    """log Σ exp of each row, from its largest logit and its softmax: ``max u − log max q``."""
    return wide(top) - wide(probs.amax(-1)).log()


def _closed(
    plan: _Plan, s: Tensor, t: Tensor, y: Tensor, temperature: float, buffers: Tensor
) -> tuple[Tensor, Tensor, float, Tensor | None]:
    """The divergence of each row; its gradient with respect to s / T, a buffer and the factor that it lacks.

    And log-sum-exp of s / T, where it was needed.
    """
    q, p, gap, spare = buffers
    sides, totals = [s, t], []
    if plan.divergence is decoupled_kl:  # first the classes that are not the label's
        sides = [each.scatter(-1, y, LOW) for each in sides]
    for logits, probs in zip(sides, (q, p), strict=True):
        scaled = logits if temperature == 1 else torch.mul(logits, 1 / temperature, out=probs)
        top = scaled.amax(-1)
        totals.append(_lse(top, torch.softmax(scaled, -1, out=probs)))
    torch.sub(sides[1], sides[0], out=gap)
    rest = totals[1] - _dot(p, t) / temperature if plan.divergence is soft_cross_entropy else 0  # ⟨p, −log p⟩
    rows = _Rows(q, p, gap, spare, totals[1] - totals[0], temperature)
    if plan.divergence is decoupled_kl:
        heads = [wide(each.gather(-1, y).squeeze(-1)) / temperature for each in (s, t)]
        value, weight = _decoupled(_forward_kl(rows)[0], q, p, y, heads, totals, **plan.options), 1.0
    else:
        value, weight = CLOSED[plan.divergence](rows, **plan.options)
    near = math.sqrt(NEAR) if plan.divergence is total_variation else NEAR  # the others are of second order
    if wide(q[:0]).dtype != q.dtype and bool((value < near).all()) and bool((value != 0).any()):
        return _closed(plan, wide(s), wide(t), y, temperature, wide(buffers))
    return value.clamp(min=0) + rest, q, weight, totals[0] if plan.divergence is not decoupled_kl else None


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
    return target_weight * pair + other_weight * others


def _filled(plan: _Plan, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides with LOW in place of -inf, where that says the same: on both, or on the teacher's where p·log p is."""
    gone = t == -math.inf
    both = gone & (s == -math.inf)
    return s.masked_fill(both, LOW), t.masked_fill(both if plan.divergence is reverse_kl else gone, LOW)


def _by_autograd(
    plan: _Plan, student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Any divergence's mean over these rows and its gradient with respect to student / T, in float64."""
    u = (wide(student) / temperature).requires_grad_()
    with torch.enable_grad():
        keyword = {"labels": labels} if plan.wants_labels else {}
        value = plan.given(u, wide(teacher) / temperature, mask=mask, **keyword)
        (gradient,) = torch.autograd.grad(value, u, allow_unused=True) if value.requires_grad else (None,)
    return value.detach(), torch.zeros_like(u) if gradient is None else gradient
