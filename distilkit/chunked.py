"""The two terms of the distillation loss and their gradient, computed together, a few rows at a time.

Plain autograd keeps several temporaries as large as the logits; here the gradient is the only one. Notation: s and t
are logits, u = s / T and v = t / T, q = softmax(u), p = softmax(v), m a mixture of both; ``⟨a, b⟩ = Σ a·b`` over
classes. The arithmetic is in float32, and in float64 where float32 would cancel or would not be faster.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from distilkit.divergences import (
    IGNORED,
    Divergence,
    adaptive_kl,
    adaptive_skew_kl,
    decoupled_kl,
    forward_kl,
    jsd,
    reverse_kl,
    row_skews,
    row_weights,
    scaled_weights,
    skew_forward_kl,
    skew_reverse_kl,
    soft_cross_entropy,
    total_variation,
    weighted,
    wide,
)
from distilkit.errors import DistilkitError
from distilkit.topk import TopK, split

CHUNK = {"cpu": 2**19}  # logits a chunk: its buffers stay in the cache
CHUNK_ELSEWHERE = 2**24  # where a kernel's launch costs more than a miss
SMALL = 2**12  # logits: up to so many, float64 takes no longer than float32
NARROW = 32  # classes: shorter rows are softened faster by hand than by torch's kernel
MANY = 1024  # classes: the sum of more exponentials has a rounding error that shows
LOW = -1e30  # stands for -inf: its softmax is 0, too, and LOW − LOW is 0
TINY = 1e-37  # the least probability in a ratio
NEAR = 5e-3  # nats: where a chunk's mean is less, float32 cancels and float64 is taken

Weights = tuple[float | None, float | None]  # of the soft and of the hard term; None: that term is not wanted
Buffers = tuple[Tensor, ...]


class Terms(torch.autograd.Function):
    """Both terms, ``(student, teacher, labels, labelled, temperature, divergence, weights) -> (soft, hard)``.

    Forward makes their gradient, too, for the weights that the terms are said to get. Under other weights backward
    computes it anew; a second derivative is that of `by_autograd`.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor | None, labels: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
        soft, hard, ctx.gradient = in_chunks(student, teacher, labels, *how, learn=ctx.needs_input_grad[0])
        ctx.save_for_backward(student, teacher, labels)
        ctx.how = how
        ctx.set_materialize_grads(False)
        return soft, hard

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        student, teacher, labels = ctx.saved_tensors
        gradient, ctx.gradient = ctx.gradient, None  # handed over, so that nobody need copy it
        *how, expected = ctx.how
        if torch.is_grad_enabled():  # by create_graph=True: a second derivative may follow
            terms = by_autograd(student, teacher, labels, *how)
            loss = torch.stack([t * w for t, w in zip(terms, given, strict=True) if w is not None]).sum()
            return *torch.autograd.grad(loss, student, create_graph=True), *[None] * 6
        found = [0.0 if weight is None else weight.item() for weight in given]
        scale = proportion(found, [weight or 0.0 for weight in expected])
        if scale is None or gradient is None:
            soft, hard = found if scale is None else (scale * (weight or 0.0) for weight in expected)
            labelled, temperature, divergence = how
            _, _, gradient = in_chunks(
                student, teacher, labels, labelled, temperature, divergence, (soft, hard), learn=True
            )
        elif scale != 1:
            gradient = gradient * scale
        return gradient, *[None] * 6


def proportion(found: list[float], expected: list[float]) -> float | None:
    """How many times the expected weights the found ones are; None where they are in no proportion.

    >>> proportion([3.0, 1.0], [6.0, 2.0]), proportion([3.0, 0.0], [6.0, 2.0])
    (0.5, None)
    """
    largest = max(range(len(expected)), key=expected.__getitem__)
    scale = found[largest] / expected[largest] if expected[largest] else math.nan
    if all(abs(one - scale * other) <= 1e-6 * abs(one) for one, other in zip(found, expected, strict=True)):
        return 1.0 if abs(scale - 1) <= 1e-6 else scale
    return None


def in_chunks(
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor,
    labelled: bool,
    temperature: float,
    divergence: Divergence,
    weights: Weights,
    *,
    learn: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Both terms, and with `learn` the gradient of their weighted sum; a term that is not wanted is 0.

    Args:
        student, teacher: (..., classes), two axes or more; without a teacher there is no soft term.
        labels: (...), checked already; `labelled` says that each of them is a class.
        divergence: one of the kit's, see `known`.
        weights: what the terms are going to be multiplied by.
    """
    student = student.detach()
    if weights[0] is None:
        teacher = None
    classes, device = student.shape[-1], student.device.type
    places = None  # the indices of the rows that count; without, all rows do, and are views of the whole
    if not labelled or not all(each.is_contiguous() for each in (student, teacher) if each is not None):
        places = (labels != IGNORED if teacher is not None else labels >= 0).nonzero(as_tuple=True)
    found = (labels.reshape(-1) if places is None else labels[places]).long()
    exact = student.dtype == torch.float64 or student.numel() <= SMALL or (device == "cpu" and 2 * classes < NARROW)
    sums = Sums(found, labelled, temperature, divergence, weights, exact=exact, teacher=teacher is not None)
    size = max(CHUNK.get(device, CHUNK_ELSEWHERE) // classes, 1)
    gradient = None
    if learn:
        make = torch.empty if len(found) == labels.numel() else torch.zeros
        gradient = make(student.shape, dtype=student.dtype, device=student.device)

    def rows(whole: Tensor, here: slice) -> Tensor:
        return whole.view(-1, classes)[here] if places is None else whole[tuple(place[here] for place in places)]

    def passes(learn: bool) -> Iterator[Chunk]:
        for start in range(0, len(found), size):
            here = slice(start, min(start + size, len(found)))
            out = rows(gradient, here) if learn and gradient is not None and places is None else None
            yield Chunk(here, rows(student, here), None if teacher is None else rows(teacher, here), out)

    def keep(here: slice, made: Tensor) -> None:
        assert gradient is not None
        if places is None:
            rows(gradient, here).copy_(made)
        else:
            gradient[tuple(place[here] for place in places)] = made.to(gradient.dtype)

    try:
        sums.run(passes, keep if learn else None)
    except DistilkitError:  # say it again, with the place in the whole
        by_autograd(student, teacher, labels, labelled, temperature, divergence)
        raise
    dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
    soft, hard = torch.tensor([sums.soft, sums.hard], dtype=dtype, device=student.device).unbind()
    return soft, hard, gradient


def by_autograd(
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor,
    labelled: bool,
    temperature: float,
    divergence: Divergence,
) -> tuple[Tensor, Tensor]:
    """Both terms as they are defined, in float64, all rows at once: any divergence, and derivatives of any order."""
    scores = wide(student)
    flat, targets = scores.reshape(-1, scores.shape[-1]), labels.reshape(-1).long()
    if not labelled:  # chosen, not weighed by 0: a nan in the padding must not reach the gradient
        known = targets >= 0
        flat, targets = flat[known], targets[known]
    hard = F.cross_entropy(flat, targets, reduction="sum") / max(len(targets), 1)
    soft = torch.zeros_like(hard)
    if teacher is not None:
        given = {"labels": labels} if wants_labels(divergence) else {}
        mask = None if labelled else labels != IGNORED
        soft = divergence(scores / temperature, wide(teacher.detach()) / temperature, mask=mask, **given)
    return (soft, hard) if student.dtype == torch.float64 else (soft.float(), hard.float())


class Chunk(NamedTuple):
    """Some rows of both sides, (rows, classes) each."""

    rows: slice  # which these are of all
    student: Tensor
    teacher: Any  # Tensor | TopK | None
    out: Tensor | None = None  # where the student's gradient is to be written, if there is a place
    again: Callable[[], tuple[Tensor, Any]] | None = None  # gives both sides in float64, if better ones can be had


class Sums:
    """Adds both terms up over chunks of rows, and makes each chunk's gradient with respect to its logits.

    Args:
        labels: (n,), of the rows that count for either term: a class, or −1.
        labelled: each of them is a class.
        temperature, divergence, weights: as in `in_chunks`.
        exact: take float64 from the start.
        teacher: there is a soft term.
    """

    def __init__(
        self,
        labels: Tensor,
        labelled: bool,
        temperature: float,
        divergence: Divergence,
        weights: Weights,
        *,
        exact: bool,
        teacher: bool,
    ) -> None:
        self.labels, self.temperature, self.exact, self.teacher = labels, temperature, exact, teacher
        self.plan, self.weights = _plan(divergence), [weight or 0.0 for weight in weights]
        self.wants_hard = weights[1] is not None
        self.hard_rows = None if labelled else labels >= 0  # (n,) bool; None: all
        self.soft_rows = self.hard_rows if self.plan.wants_labels else None
        self.by_row: Tensor | None = None  # (n, 1): what `weighted` and `adaptive_skew_kl` learn from all rows first
        self._spare: Tensor | None = None

    def run(self, passes: Callable[[bool], Iterator[Chunk]], keep: Callable[[slice, Tensor], None] | None) -> None:
        """Go through all rows.

        Args:
            passes: gives the chunks, from the first on; True says that their gradients are going to be made.
            keep: takes each chunk's gradient that was not written in its place; None: no gradient is wanted.
        """
        try:
            self._run(passes, keep)
        except _EmptyRow:  # so rare that nobody looks before one is met
            full = torch.cat([~_empty(chunk.student, chunk.teacher) for chunk in passes(False)])
            self.soft_rows = full if self.soft_rows is None else full & self.soft_rows
            self._run(passes, keep)

    def _run(self, passes: Callable[[bool], Iterator[Chunk]], keep: Callable[[slice, Tensor], None] | None) -> None:
        n = len(self.labels)
        self.counts = [n if rows is None else int(rows.sum()) for rows in (self.soft_rows, self.hard_rows)]
        self.soft = self.hard = 0.0
        if self.plan.look is not None and self.plan.first is not None and self.teacher and n:
            seen = torch.cat([self._look(chunk) for chunk in passes(False)])
            counts = torch.ones_like(seen, dtype=torch.bool) if self.soft_rows is None else self.soft_rows
            self.by_row = self.plan.first(seen, counts).unsqueeze(-1)
        for chunk in passes(keep is not None):
            made = self._add(chunk, learn=keep is not None)
            if made is not None and keep is not None:
                keep(chunk.rows, made)
        self.soft, self.hard = (
            total / max(count, 1) for total, count in zip((self.soft, self.hard), self.counts, strict=True)
        )

    def _look(self, chunk: Chunk) -> Tensor:
        """One number a row, (rows,), from which `weighted` and `adaptive_skew_kl` weigh the rows."""
        assert self.plan.look is not None
        s, t = chunk.student, chunk.teacher
        self._refuse_empty(chunk.rows, s, t)
        if isinstance(t, TopK):
            s, t = t.lump(s, self.temperature)
            return self.plan.look(wide(s), wide(t))
        return self.plan.look(wide(s) / self.temperature, wide(t) / self.temperature)

    def _add(self, chunk: Chunk, *, learn: bool) -> Tensor | None:
        """Add a chunk to the sums, and return its gradient, unless that is written in its place."""
        here, s, t, out, again = chunk
        kept, known = (None if rows is None else rows[here] for rows in (self.soft_rows, self.hard_rows))
        counts = [len(s) if rows is None else int(rows.sum()) for rows in (kept, known)]
        for dtype in (torch.float32, wide(s[:0]).dtype)[self.exact :]:
            fits = out if out is not None and out.dtype == dtype else None
            if again is not None and dtype == torch.float64 and not self.exact:
                s, t = again()
            given = here, s.to(dtype), t.to(dtype) if isinstance(t, Tensor) else t, fits, kept, known
            soft, hard, made, apart = self._chunk(*given, learn=learn)
            if not math.isfinite(soft):
                soft, hard, made, apart = self._chunk(*given, learn=learn, careful=True)
            near = self.weights[0] and 0 != apart < self.plan.near * counts[0]
            if not near and not (self.weights[1] and hard < NEAR * counts[1]):
                break
        self.soft += soft
        self.hard += hard
        return None if made is fits else made

    def _chunk(
        self,
        here: slice,
        s: Tensor,
        t: Any,
        out: Tensor | None,
        kept: Tensor | None,
        known: Tensor | None,
        *,
        learn: bool,
        careful: bool = False,
    ) -> tuple[float, float, Tensor | None, float]:
        """Both sums over a chunk, its gradient, in `out` or a buffer, and the sum of what is 0 at student = teacher.

        s and t come in the dtype of the arithmetic.
        `kept` and `known` are the rows of the soft and of the hard term, None for all. `careful` is for a divergence
        that came out as no number: there is −inf among the logits, or a fault to be named.
        """
        q, p, gap, spare = self._buffers(s)
        y = (self.labels[here] if known is None else self.labels[here].clamp(min=0)).unsqueeze(-1)
        a, b = (weight / max(count, 1) for weight, count in zip(self.weights, self.counts, strict=True))
        soft = hard = apart = 0.0
        top = s.amax(-1)
        ours: Tensor | None = None  # log-sum-exp of s, less its largest: known where T is 1
        written = False  # whether softmax(s) times b stands where the hard term's gradient is made
        probs = spare if out is None else out
        row_weights, skews = (
            self.by_row[here].to(s.dtype) if self.by_row is not None and self.plan.per_row == kind else None
            for kind in ("weight", "skew")
        )
        entropy: Tensor | None = None  # of p, which soft cross-entropy has beside forward KL

        # The soft term: its value of each row, and its gradient with respect to u in q, but for a factor.
        if t is not None:
            sides = s, t
            if careful and isinstance(t, Tensor):
                self._refuse_empty(here, s, t)
                sides = _filled(self.plan, s, t)
            if isinstance(t, TopK):
                value, factor = self._of_top(here, s, t, q), 1.0
            elif self.plan.form is None:
                self._refuse_empty(here, s, t)
                value, factor = self._by_autograd(here, s, t, q), 1.0
            else:
                rest = self.plan.divergence is decoupled_kl
                rows = _softened(*sides, top, y, self.temperature, (q, p, gap, spare), rest=rest)
                if self.temperature == 1 and self.wants_hard and not rest:
                    ours = rows.ours
                    if learn and out is not None:
                        torch.mul(q, b, out=out)
                        written = True
                options = self.plan.options | ({} if skews is None else {"skew": skews})
                if self.plan.divergence is soft_cross_entropy:
                    entropy = -_dot(p, torch.clamp(p, min=TINY, out=spare).log_())
                value, factor = self.plan.form(rows, **options)
                if careful and not bool((value.isfinite() if kept is None else value.isfinite() | ~kept).all()):
                    value, factor = self._by_autograd(here, s, t, q), 1.0
            if row_weights is not None:
                value = value * row_weights.squeeze(-1)
                q.mul_(row_weights)
            if kept is not None:
                value = value.masked_fill(~kept, 0)
                q.masked_fill_(~kept.unsqueeze(-1), 0)
            apart = value.sum().item()
            soft = max(apart, 0.0) if math.isfinite(apart) else apart  # below 0 by rounding only
            if entropy is not None:
                soft += (entropy if kept is None else entropy.masked_fill(~kept, 0)).sum().item()
            a *= factor / self.temperature

        # The hard term: log-sum-exp less the label's own logit; its gradient is softmax(s) − onehot(y).
        if self.wants_hard:
            if ours is None or (learn and not written):
                ours = _softmax(s, top, probs)
                if learn:
                    probs.mul_(b)
            value = ours + (top - s.gather(-1, y).squeeze(-1))
            if known is not None:
                value = value.masked_fill(~known, 0)
            hard = value.sum().item()
            if learn:
                probs.scatter_(-1, y, -b, reduce="add")
                if known is not None:
                    probs.masked_fill_(~known.unsqueeze(-1), 0)

        if not learn:
            return soft, hard, None, apart
        if t is None:
            return soft, hard, probs, apart
        if not self.wants_hard:
            return soft, hard, torch.mul(q, a, out=q if out is None else out), apart
        return soft, hard, probs.add_(q, alpha=a), apart

    def _by_autograd(self, here: slice, s: Tensor, t: Tensor, q: Tensor) -> Tensor:
        """The divergence of each row, in float64; its gradient with respect to u in q."""
        u = (wide(s) / self.temperature).requires_grad_()
        kept = None if self.soft_rows is None else self.soft_rows[here]
        with torch.enable_grad():
            value = self._given(u, wide(t) / self.temperature, self.labels[here], mask=kept)
            q.copy_(_slope(value, u))
        return value.detach()

    def _of_top(self, here: slice, s: Tensor, t: TopK, q: Tensor) -> Tensor:
        """The same against the teacher's k likeliest classes and the rest as one."""
        kept, rest, tail, mass = split(s, t.ids, self.temperature, out=q)
        u = wide(torch.cat([kept, rest], -1)).requires_grad_()
        with torch.enable_grad():
            value = self._given(u, wide(t.log_probs), t.find(self.labels[here]))
            slope = _slope(value, u).to(q.dtype)
        torch.mul(tail, slope[:, -1:] / mass, out=q).scatter_(-1, t.ids, slope[:, :-1])
        return value.detach()

    def _given(self, u: Tensor, v: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        given = {"labels": labels} if self.plan.wants_labels else {}
        return self.plan.given(u, v, mask=mask, reduction="none", **given)

    def _refuse_empty(self, here: slice, s: Tensor, t: Any) -> None:
        empty = _empty(s, t)
        if bool((empty if self.soft_rows is None else empty & self.soft_rows[here]).any()):
            raise _EmptyRow

    def _buffers(self, s: Tensor) -> list[Tensor]:
        """Four tensors like s, to be overwritten."""
        if self._spare is None or self._spare.dtype != s.dtype or self._spare.shape[1] < len(s):
            self._spare = torch.empty(4, *s.shape, dtype=s.dtype, device=s.device)
        return [*self._spare[:, : len(s)]]


def _slope(value: Tensor, u: Tensor) -> Tensor:
    """The gradient of the sum; of what does not depend on u it is 0."""
    return torch.autograd.grad(value.sum(), u)[0] if value.requires_grad else torch.zeros_like(u)


class _EmptyRow(Exception):
    """A row in which both sides rule out every class, and which was counted."""


def _empty(s: Tensor, t: Any) -> Tensor:
    if isinstance(t, TopK):
        t = t.log_probs
    return (s == -math.inf).all(-1) & (t == -math.inf).all(-1)


class _Rows(NamedTuple):
    """A chunk: all (rows, classes), each a buffer to be overwritten; the gradient with respect to u is left in q.

    Where a divergence returns a number beside its value, the gradient is that many times q.
    """

    q: Tensor
    p: Tensor
    gap: Tensor  # t − s, less an offset that shift takes account of
    spare: Tensor
    shift: Tensor  # (rows,) float64: log p − log q = gap / T − shift
    ours: Tensor  # (rows,) float64: log-sum-exp of u, less its largest
    theirs: Tensor  # of v
    temperature: float
    heads: list[Tensor] | None  # (rows,) float64: u and v at the label, less the largest of the others
    labels: Tensor  # (rows, 1)


def _softened(s: Tensor, t: Tensor, top: Tensor, y: Tensor, temperature: float, buffers: Any, *, rest: bool) -> _Rows:
    """Soften both sides; with `rest` the classes that are not the label's, among themselves."""
    q, p, gap, spare = buffers
    heads = None
    if rest:
        heads = [each.gather(-1, y).squeeze(-1) for each in (s, t)]
        s, t = (each.scatter(-1, y, LOW) for each in (s, t))
        top = s.amax(-1)
    torch.sub(t, s, out=gap)
    tops, logs = (top, t.amax(-1)), []
    for logits, largest, out in zip((s, t), tops, (q, p), strict=True):
        if temperature != 1:
            logits, largest = torch.mul(logits, 1 / temperature, out=spare), largest * (1 / temperature)
        logs.append(_softmax(logits, largest, out))
    shift, offset = logs[1] - logs[0], tops[1] - tops[0]
    if gap.dtype == torch.float64:
        shift = shift + offset / temperature
    else:
        gap.sub_(offset.unsqueeze(-1))  # float32 would lose what an offset common to all logits hides
    if heads is not None:
        heads = [wide(head - largest) / temperature for head, largest in zip(heads, tops, strict=True)]
    return _Rows(q, p, gap, spare, shift, logs[0], logs[1], temperature, heads, y)


def _softmax(logits: Tensor, top: Tensor, out: Tensor) -> Tensor:
    """Write the softmax into `out`, another tensor; return log-sum-exp less the largest logit, `top`, in float64."""
    exact = logits.dtype == torch.float64
    if logits.shape[-1] < (2 * NARROW if exact else NARROW) and logits.device.type == "cpu":
        total = torch.sub(logits, top.unsqueeze(-1), out=out).exp_().sum(-1)
        out.div_(total.unsqueeze(-1))
        return wide(total).log_()
    torch.softmax(logits, -1, out=out)
    largest = wide(out.amax(-1))  # 1 / Σ exp
    if not exact and logits.shape[-1] > MANY:
        largest = largest / wide(out.sum(-1))  # Σ exp was rounded
    return largest.log_().neg_()


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


def _skew_forward_kl(c: _Rows, *, skew: float | Tensor = 0.1) -> tuple[Tensor, float]:
    """⟨p, log(p / m)⟩, m = λ·p + (1−λ)·q; its gradient is (1−λ)·q·(⟨q, p / m⟩ − p / m)."""
    m = torch.lerp(c.q.clamp_(min=TINY), c.p.clamp_(min=TINY), skew, out=c.gap)
    ratio = torch.div(c.p, m, out=c.spare)
    value = _dot(c.p, torch.log(ratio, out=c.gap))
    c.q.mul_(torch.sub(_dot(c.q, ratio).unsqueeze(-1), ratio, out=ratio))
    if isinstance(skew, Tensor):  # one a row
        c.q.mul_(1 - skew)
        return value, 1
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


def _decoupled_kl(c: _Rows, *, target_weight: float = 1.0, other_weight: float = 8.0) -> tuple[Tensor, float]:
    """a·KL(b_p ‖ b_q) + w·KL(p̂ ‖ q̂), δ = q[y] − p[y]; its gradient is a·δ at y and w·(q̂ − p̂) − a·δ·q̂ elsewhere."""
    assert c.heads is not None
    others = _forward_kl(c)[0].clamp(min=0)
    (q_head, q_rest), (p_head, p_rest) = (
        (head - both, rest - both)
        for head, rest in zip(c.heads, (c.ours, c.theirs), strict=True)
        for both in [torch.logaddexp(head, rest)]
    )
    pair = p_head.exp() * (p_head - q_head) + p_rest.exp() * (p_rest - q_rest)
    pull = (target_weight * (q_head.exp() - p_head.exp())).to(c.p.dtype).unsqueeze(-1)
    c.q.mul_(other_weight - pull).sub_(c.p.mul_(pull))  # q̂ = (q̂ − p̂) + p̂
    c.q.scatter_(-1, c.labels, pull)
    return target_weight * pair + other_weight * others, 1


# Each leaves its gradient in q.
FORMS: dict[Any, Callable[..., tuple[Tensor, float]]] = {
    forward_kl: _forward_kl,
    reverse_kl: _reverse_kl,
    jsd: _jsd,
    skew_forward_kl: _skew_forward_kl,
    skew_reverse_kl: _skew_reverse_kl,
    adaptive_skew_kl: _skew_forward_kl,
    total_variation: _total_variation,
    soft_cross_entropy: _forward_kl,
    decoupled_kl: _decoupled_kl,
}


class _Plan(NamedTuple):
    """How a divergence is computed."""

    given: Divergence  # what a row's value is, by autograd
    divergence: Any  # the same without its options
    options: dict[str, Any]  # for form
    known: bool  # one of the kit's, whose rows stand alone
    wants_labels: bool
    form: Callable[..., tuple[Tensor, float]] | None  # value and gradient of a chunk; without, autograd makes them
    per_row: str = ""  # "skew", "weight": what the rows together decide for each
    look: Callable[[Tensor, Tensor], Tensor] | None = None  # of u and v, what each row contributes to that
    first: Callable[[Tensor, Tensor], Tensor] | None = None  # of all those, and of which rows count, what is decided

    @property
    def near(self) -> float:
        """Nats a row, below which float32 cancels; total variation is of first order, the others are of second."""
        if self.divergence is decoupled_kl:
            return NEAR * max(self.options.get("other_weight", 8.0), self.options.get("target_weight", 1.0))
        return math.sqrt(NEAR) if self.divergence is total_variation else NEAR


@functools.lru_cache(maxsize=64)
def _plan(divergence: Divergence) -> _Plan:
    partial = divergence if isinstance(divergence, functools.partial) else functools.partial(divergence)
    found, options, labels = partial.func, dict(partial.keywords), wants_labels(divergence)
    free = not partial.args and not {"mask", "reduction", "labels"} & set(options)
    if not free or found not in {*FORMS, adaptive_kl, weighted}:
        return _Plan(divergence, found, options, False, labels, None)
    probe = {"labels": torch.zeros(0, dtype=torch.long)} if labels else {}
    divergence(torch.zeros(0, 1), torch.zeros(0, 1), **probe)  # refuses what the options may not be
    if found is weighted:
        inner, by = _plan(options.get("divergence", forward_kl)), options.get("by", "confidence")
        if not inner.known or inner.per_row or inner.wants_labels:
            return _Plan(divergence, found, options, False, labels, None)
        return inner._replace(per_row="weight", look=functools.partial(row_weights, by=by), first=scaled_weights)
    if found is adaptive_skew_kl:
        look = functools.partial(total_variation, reduction="none")
        first = functools.partial(row_skews, **options)
        return _Plan(divergence, found, {}, True, labels, FORMS[found], "skew", look, first)
    if found is jsd and options.get("rescaled") and options.get("beta", 0.5) in (0, 1):
        found, options = (forward_kl if options["beta"] == 0 else reverse_kl), {}
    elif found in (skew_forward_kl, skew_reverse_kl) and options.get("skew") == 0:
        found, options = (forward_kl if found is skew_forward_kl else reverse_kl), {}
    return _Plan(divergence, found, options, True, labels, FORMS.get(found))


@functools.lru_cache(maxsize=64)
def wants_labels(divergence: Divergence) -> bool:
    """Whether this divergence is split at the label, as `decoupled_kl` is."""
    return "labels" in inspect.signature(divergence).parameters


def known(divergence: Divergence) -> bool:
    """Whether this is one of the kit's divergences, computed in chunks, or one's own, which gets all rows at once."""
    return _plan(divergence).known


def _filled(plan: _Plan, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides with LOW in place of -inf, where that says the same: on both, or on the teacher's where p·log p is."""
    gone = t == -math.inf
    both = gone & (s == -math.inf)
    return s.masked_fill(both, LOW), t.masked_fill(both if plan.divergence is reverse_kl else gone, LOW)
