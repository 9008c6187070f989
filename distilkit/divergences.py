"""Divergences: how far the student's distribution is from the teacher's.

Conventions, for the whole kit
------------------------------
- Student first, teacher second, then labels. Logits have the shape ``(..., classes)``.
- A divergence sums over classes, averages over the positions that `mask` keeps (all, without a mask), is in nats,
  and is exactly 0 when the student equals the teacher. ``reduction="none"`` gives one value a position.
- The teacher is a constant: no gradient flows into it.
- The arithmetic is in log space and in float64 (float32 on Apple's MPS, which has no float64), whatever the logits
  come in; the result is float64 for float64 logits and float32 otherwise.
- ``-inf`` on both sides takes a class out of both distributions; a position without any class left counts as masked.
  ``-inf`` on the teacher's side alone is a probability of 0; on the student's side alone, forward KL is truly infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from distilkit.errors import BadType, BadValue, choice, real

IGNORED = -100  # a label that takes its position out of both terms: a prompt, padding
UNLABELLED = -1  # a label that takes its position out of the hard term only
SKEWS = (0.01, 0.9)  # where `adaptive_skew_kl` keeps its shares of the teacher

Divergence = Callable[..., Tensor]
Reduction = Literal["mean", "none"]


def forward_kl(
    student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Forward Kullback-Leibler divergence, ``KL(teacher ‖ student) = Σ p·(log p − log q)``, p teacher, q student.

    It covers: wherever the teacher puts probability, the student must, too. Hinton's distillation minimises it.

    Args:
        student_logits: (..., classes).
        teacher_logits: the same shape.
        mask: (...), bool; True where the position counts.
        reduction: "mean" over the positions that count, or "none" for one value a position (0 where masked).

    Returns:
        Nats; a scalar, or (...) with ``reduction="none"``.

    Raises:
        BadValue: shapes differ, a logit is nan or +inf (the message names the row).
        BadType: the logits are not floating point.

    Source: Hinton, Vinyals & Dean 2015, arXiv:1503.02531.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(forward_kl(student, teacher)), 4)      # 0.25·log(0.5) + 0.75·log(1.5)
    0.1308
    >>> float(forward_kl(teacher, teacher))
    0.0
    """
    return _measure(lambda q, p: _kl(p, q), student_logits, teacher_logits, mask, reduction)


def reverse_kl(
    student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Reverse Kullback-Leibler divergence, ``KL(student ‖ teacher) = Σ q·(log q − log p)``.

    It seeks: the student may drop what it cannot express, but must not put probability where the teacher has none.
    Arguments, result and errors as in `forward_kl`. Source: Gu et al. 2023 (MiniLLM), arXiv:2306.08543.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(reverse_kl(student, teacher)), 4)      # 0.5·log(2) + 0.5·log(2/3)
    0.1438
    """
    return _measure(lambda q, p: _kl(q, p), student_logits, teacher_logits, mask, reduction)


def jsd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 0.5,
    rescaled: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Generalised Jensen-Shannon divergence, ``β·KL(p ‖ m) + (1−β)·KL(q ‖ m)`` with ``m = β·p + (1−β)·q``.

    Bounded by the entropy of (β, 1−β), at most log 2. It vanishes at β = 0 and at β = 1 whatever the logits, so a bare
    β slider misleads; `rescaled` divides by β·(1−β), whose limits are forward KL at β = 0 and reverse KL at β = 1
    (taken exactly there). Other arguments, result and errors as in `forward_kl`; β outside [0, 1] is a `BadValue`.
    Source: Agarwal et al. 2023 (GKD), arXiv:2306.13649.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(jsd(student, teacher)), 4)
    0.0338
    >>> float(jsd(student, teacher, beta=0, rescaled=True) - forward_kl(student, teacher))
    0.0
    """
    beta = real("beta", beta, 0, 1, "the weight of the teacher in the mixture; ½ is the symmetric JSD")
    if rescaled and beta in (0.0, 1.0):
        limit = forward_kl if beta == 0 else reverse_kl
        return limit(student_logits, teacher_logits, mask=mask, reduction=reduction)

    def each(q: _Distribution, p: _Distribution) -> Tensor:
        mixture = _mix(p, q, beta)
        value = beta * _kl(p, mixture) + (1 - beta) * _kl(q, mixture)
        return value / (beta * (1 - beta)) if rescaled else value

    return _measure(each, student_logits, teacher_logits, mask, reduction)


def skew_forward_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    skew: float = 0.1,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Skew forward KL, ``KL(p ‖ λ·p + (1−λ)·q)``: forward KL with the teacher's own probability mixed in, λ = `skew`.

    At most −log λ, so that no class can make it explode. λ = 0 is forward KL, λ = 1 is 0. Other arguments, result and
    errors as in `forward_kl`. Source: Ko et al. 2024 (DistiLLM), arXiv:2402.03898.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(skew_forward_kl(student, teacher, skew=0.1)), 4)
    0.107
    """
    skew = real("skew", skew, 0, 1, "the share of the teacher in the mixture; 0 is forward KL")
    return _measure(lambda q, p: _kl(p, _mix(p, q, skew)), student_logits, teacher_logits, mask, reduction)


def skew_reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    skew: float = 0.1,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Skew reverse KL, ``KL(q ‖ λ·q + (1−λ)·p)``: reverse KL with the student's own probability mixed in, λ = `skew`.

    At most −log λ. λ = 0 is reverse KL, λ = 1 is 0. Other arguments, result and errors as in `forward_kl`.
    Source: Ko et al. 2024 (DistiLLM), arXiv:2402.03898.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(skew_reverse_kl(student, teacher, skew=0.1)), 4)
    0.1131
    """
    skew = real("skew", skew, 0, 1, "the share of the student in the mixture; 0 is reverse KL")
    return _measure(lambda q, p: _kl(q, _mix(q, p, skew)), student_logits, teacher_logits, mask, reduction)


def adaptive_skew_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    skew: float = 0.1,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Adaptive skew KL, ``KL(p ‖ λ·p + (1−λ)·q)`` with a λ of its own at each position: more where q is far from p.

    λ keeps ``(1−λ)·gap`` at what it is for λ = `skew` and the mean gap of the positions that count; the gap of a
    position is ``½·Σ |p − q|``. So λ is `skew` at the mean gap; it stays in [0.01, 0.9], so that the loss is at most
    −log 0.01; no gradient flows through it. Other arguments, result and errors as in `forward_kl`; `skew` outside
    [0.01, 0.9] is a `BadValue`.
    In the manner of Ko et al. 2025 (DistiLLM-2), arXiv:2503.07067, who take p − q of each text's own tokens as the gap.

    >>> student, teacher = torch.zeros(2, 2), torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(9.0)]])
    >>> [round(float(one), 4) for one in adaptive_skew_kl(student, teacher, reduction="none")]
    [0.1283, 0.217]
    >>> [round(float(one), 4) for one in skew_forward_kl(student, teacher, reduction="none")]  # the nearer counts less
    [0.107, 0.3071]
    """
    skew = real("skew", skew, *SKEWS, "the share of the teacher in the mixture where the gap is the mean one")
    student = student_logits.detach() if isinstance(student_logits, Tensor) else student_logits
    gap = total_variation(student, teacher_logits, mask=mask, reduction="none")
    counts = torch.ones_like(gap, dtype=torch.bool) if mask is None else mask
    share = row_skews(gap, counts & ~_gone(student_logits, teacher_logits), skew=skew).unsqueeze(-1)
    return _measure(lambda q, p: _kl(p, _mix(p, q, share.to(q.logs))), student_logits, teacher_logits, mask, reduction)


def row_skews(gaps: Tensor, counts: Tensor, *, skew: float = 0.1) -> Tensor:
    """The λ of each position in `adaptive_skew_kl`, from the gaps (...), and which positions count, (...) bool."""
    mean = gaps.masked_fill(~counts, 0).sum() / counts.sum().clamp(min=1)
    return (1 - (1 - skew) * mean / gaps).nan_to_num(skew).clamp(*SKEWS)  # 0 / 0 where all agree


def adaptive_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    head: float = 0.5,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Adaptive KL (AKL), ``w·KL(p ‖ q) + (1−w)·KL(q ‖ p)``, w the share of the gap ``Σ |p − q|`` in the teacher's head.

    The head is the likeliest classes of the teacher that hold `head` of its probability: few, and all but the last of
    them needed. Forward KL fits the head first, reverse KL the tail; each position asks for what it lacks. No gradient
    flows through w, which is ½ where nothing is lacking (0/0 in the paper's form). Other arguments, result and errors
    as in `forward_kl`; `head` outside (0, 1] is a `BadValue`; at 1 all classes are head, which is forward KL.
    Source: Wu et al. 2024, arXiv:2404.02657.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(adaptive_kl(student, teacher)), 4)      # two classes lack as much: ½·0.1308 + ½·0.1438
    0.1373
    >>> float(adaptive_kl(teacher, teacher))
    0.0
    """
    head = real("head", head, 0, 1, "the teacher's probability in its head; 1 is forward KL", above=True)

    def each(q: _Distribution, p: _Distribution) -> Tensor:
        gap = (p.probs - q.probs.detach()).abs()
        sizes, order = p.probs.sort(-1, descending=True)
        before = sizes.cumsum(-1) - sizes  # of the likelier classes; 0 for the first
        gaps = gap.gather(-1, order)
        total = gaps.sum(-1)
        inside = total if head == 1 else gaps.masked_fill(before >= head, 0).sum(-1)
        share = (inside / total).nan_to_num(0.5)  # 0 / 0 where both agree
        forward, reverse = share * _kl(p, q), (1 - share) * _kl(q, p)
        return forward.masked_fill(share == 0, 0) + reverse.masked_fill(share == 1, 0)

    return _measure(each, student_logits, teacher_logits, mask, reduction)


WEIGHTS = ("confidence", "doubt", "error")


def weighted(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    by: str = "confidence",
    divergence: Divergence = forward_kl,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """A divergence in which positions weigh differently, ``Σ w·D / Σ w``, by what teacher and student say there.

    w is, without a gradient: by "confidence", ``1 − H(p) / log(classes)``, the teacher p is sure; by "doubt", the
    entropy ``H(p) / log(classes)``; by "error", ``½·Σ |p − q|``, the student q is far off. All at the temperature that
    the logits come with. Weights are scaled to a mean of 1 over the positions that count, and are all 1 where they
    would all be 0; so ``reduction="none"`` gives ``w·D``.
    Other arguments, result and errors as in `forward_kl`; `divergence` is one without labels.
    Give it to a run as ``functools.partial(dk.weighted, by="error")``.

    >>> student, teacher = torch.zeros(2, 2), torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(9.0)]])
    >>> [round(float(each), 4) for each in forward_kl(student, teacher, reduction="none")]
    [0.1308, 0.3681]
    >>> [round(float(each), 4) for each in weighted(student, teacher, reduction="none")]  # of the second it is surer
    [0.0686, 0.5431]
    """
    choice("by", by, WEIGHTS)
    choice("reduction", reduction, ["mean", "none"])
    check_pair(student_logits, teacher_logits)
    each = divergence(student_logits, teacher_logits, mask=mask, reduction="none")
    out = _gone(student_logits, teacher_logits)
    counts = ~out if mask is None else mask & ~out
    weight = scaled_weights(row_weights(student_logits, teacher_logits, by=by, mask=mask), counts)
    value = weight.to(each.dtype) * each
    return value if reduction == "none" else value.sum() / counts.sum().clamp(min=1)


def row_weights(student_logits: Tensor, teacher_logits: Tensor, *, by: str, mask: Tensor | None = None) -> Tensor:
    """What each position weighs in `weighted`, (...), before all are scaled together."""
    student_logits, teacher_logits = student_logits.detach(), teacher_logits.detach()
    if by == "error":
        return total_variation(student_logits, teacher_logits, mask=mask, reduction="none")
    doubt = (entropy(teacher_logits) / math.log(max(teacher_logits.shape[-1], 2))).nan_to_num(0)
    return doubt if by == "doubt" else 1 - doubt


def scaled_weights(weights: Tensor, counts: Tensor) -> Tensor:
    """The weights (...) with a mean of 1 over the positions that count, (...) bool; all 1 where all would be 0."""
    weights = weights.clamp(min=0).masked_fill(~counts, 0)
    total = weights.sum()
    return weights * counts.sum().clamp(min=1) / total if total > 0 else counts.to(weights.dtype)


def _gone(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """The positions that both sides leave without any class."""
    return (student_logits == -math.inf).all(-1) & (teacher_logits == -math.inf).all(-1)


def total_variation(
    student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Total variation distance, ``½·Σ |p − q|``: the share of probability that sits in the wrong place, in [0, 1].

    A distance, not nats. Arguments and errors as in `forward_kl`.
    Source: Wen et al. 2023 (f-divergence distillation), arXiv:2307.15190.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(total_variation(student, teacher)), 4)
    0.25
    """
    return _measure(lambda q, p: (p.probs - q.probs).abs().sum(-1) / 2, student_logits, teacher_logits, mask, reduction)


def soft_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Cross-entropy with soft labels, ``−Σ p·log q = forward_kl + entropy(teacher)``.

    Its gradient is forward KL's, its value is not: at student = teacher it is the teacher's entropy, not 0. Arguments,
    result and errors as in `forward_kl`.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3.0)])
    >>> round(float(soft_cross_entropy(student, teacher)), 4)      # = 0.1308 + 0.5623
    0.6931
    """
    return _measure(lambda q, p: -_mean_log(p, q.logs), student_logits, teacher_logits, mask, reduction)


def decoupled_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Decoupled KD (DKD), ``a·KL(b_p ‖ b_q) + w·KL(p̂ ‖ q̂)``: forward KL split at the label y, a, w the two weights.

    b is the pair (y, not y), p̂ and q̂ the distributions over the other classes. Per position
    ``forward_kl = KL(b_p ‖ b_q) + (1 − p[y])·KL(p̂ ‖ q̂)``: forward KL hushes the other classes just where the teacher
    is sure; DKD weighs them freely. Positions whose label is negative (unlabelled, padding) do not count.
    Other arguments, result and errors as in `forward_kl`. Source: Zhao et al. 2022, arXiv:2203.08679.

    >>> student, teacher = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[2.0, 0.0, 0.0]])
    >>> round(float(decoupled_kl(student, teacher, torch.tensor([0]), other_weight=0)), 4)     # (y, not y) alone
    0.7538
    """
    target_weight = real("target_weight", target_weight, 0, math.inf, "the weight of (label, not label)")
    other_weight = real("other_weight", other_weight, 0, math.inf, "the weight of the other classes")
    check_logits("student_logits", student_logits)
    check_labels(labels, student_logits)
    check_mask(mask, labels.shape)
    known = labels >= 0
    target = torch.zeros_like(student_logits, dtype=torch.bool).scatter(-1, labels.clamp(min=0).unsqueeze(-1), True)

    def each(q: _Distribution, p: _Distribution) -> Tensor:
        (q_pair, q_other), (p_pair, p_other) = _decouple(q, target), _decouple(p, target)
        return target_weight * _kl(p_pair, q_pair) + other_weight * _kl(p_other, q_other)

    mask = known if mask is None else known & mask
    return _measure(each, student_logits, teacher_logits, mask, reduction)


def entropy(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Entropy ``−Σ p·log p`` of ``p = softmax(logits / T)``, in nats: 0 when certain, log(classes) when clueless.

    logits: (..., classes); returns (...).

    >>> round(float(entropy(torch.zeros(10))), 4)          # log(10)
    2.3026
    """
    check_logits("logits", logits)
    p = _distribution(wide(logits) / check_temperature(temperature))
    return _narrow(-_mean_log(p, p.logs), logits)


def soften(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Soft labels: ``softmax(logits / T)``. (..., classes) -> (..., classes), each row sums to 1.

    >>> soften(torch.tensor([0.0, math.log(3.0)]), temperature=1.0)
    tensor([0.2500, 0.7500])
    """
    check_logits("logits", logits)
    return _narrow(torch.softmax(wide(logits) / check_temperature(temperature), -1), logits)


def check_temperature(value: object) -> float:
    """Return the temperature as a float in (0, 1e6]."""
    return real("temperature", value, 0, 1e6, "1 leaves the distribution as it is, larger is softer", above=True)


def check_logits(name: str, logits: object) -> None:
    """Refuse what is not a floating-point tensor of shape (..., classes)."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        found = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise BadType(f"{name} must be a floating-point tensor, got {found}. Convert with .float()")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise BadValue(f"{name} must have the shape (..., classes), got {tuple(logits.shape)}")


def check_labels(labels: Tensor, logits: Tensor) -> bool:
    """Refuse labels that do not fit the logits; return whether every position has a label."""
    if not isinstance(labels, Tensor):
        raise BadType(f"labels must be a tensor of whole numbers, got {type(labels).__name__}")
    if labels.shape != logits.shape[:-1]:
        raise BadValue(
            f"labels {tuple(labels.shape)} must have the shape of student_logits {tuple(logits.shape)} without its "
            f"last axis, {tuple(logits.shape[:-1])}"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise BadType(f"labels must be whole numbers, got {labels.dtype}. Soft labels go in as teacher_logits")
    if labels.device != logits.device:
        raise BadValue(f"labels are on {labels.device}, student_logits on {logits.device}: move one with .to(…)")
    if not labels.numel():
        return True
    classes = logits.shape[-1]
    low, high = (int(bound) for bound in labels.aminmax())
    if low >= 0 and high < classes:
        return True
    wrong = (labels >= classes) | ((labels < 0) & (labels != IGNORED) & (labels != UNLABELLED))
    if wrong.any():
        where = wrong.nonzero()[0].tolist()
        raise BadValue(
            f"labels{where} is {labels[tuple(where)].item()}, but there are {classes} classes (0 to {classes - 1}); "
            f"{UNLABELLED} marks an unlabelled position, {IGNORED} one to ignore"
        )
    return False


def wide(logits: Tensor) -> Tensor:
    """The logits in float64, or in float32 where the device has no float64."""
    return logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)


class _Distribution(NamedTuple):
    probs: Tensor  # (..., classes)
    logs: Tensor  # (..., classes); -inf where a class is ruled out


def _distribution(logits: Tensor) -> _Distribution:
    logs = torch.log_softmax(logits, -1)
    return _Distribution(logs.exp(), logs)


def _mean_log(a: _Distribution, logs: Tensor) -> Tensor:
    """``Σ a·logs`` of each position; where `a` gives no probability, `logs` does not matter."""
    return (a.probs * logs.masked_fill(a.probs == 0, 0)).sum(-1)


def _kl(a: _Distribution, b: _Distribution) -> Tensor:
    value = _mean_log(a, a.logs - b.logs)
    return value - value.detach().clamp(max=0)  # below 0 by rounding only; the gradient is right there, too


def _mix(a: _Distribution, b: _Distribution, share: float | Tensor) -> _Distribution:
    """The mixture ``share·a + (1 − share)·b``, its logarithm taken without leaving log space.

    As a tensor, one `share` a position, (..., 1), all of them above 0 and below 1.
    """
    log_share: float | Tensor
    log_rest: float | Tensor
    if isinstance(share, Tensor):
        log_share, log_rest = share.log(), (-share).log1p()
    elif share in (0.0, 1.0):
        return a if share == 1 else b
    else:
        log_share, log_rest = math.log(share), math.log1p(-share)
    gone = (a.logs == -math.inf) & (b.logs == -math.inf)
    gap = (b.logs - a.logs).masked_fill(gone, 0)
    near = gap.abs() < 1  # here the form that is exactly `a` where b = a
    close = a.logs + torch.log1p((1 - share) * torch.expm1(gap.masked_fill(~near, 0)))
    apart = torch.logaddexp(a.logs.masked_fill(near, 0) + log_share, b.logs.masked_fill(near, 0) + log_rest)
    return _Distribution(share * a.probs + (1 - share) * b.probs, torch.where(near, close, apart))


def _decouple(a: _Distribution, target: Tensor) -> tuple[_Distribution, _Distribution]:
    """The distribution over (label, not label), and the one over the other classes alone."""
    others = a.logs.masked_fill(target, -math.inf)
    empty = (others == -math.inf).all(-1, keepdim=True)  # logsumexp's gradient would be nan there
    total = torch.logsumexp(others.masked_fill(empty, 0), -1, keepdim=True).masked_fill(empty, -math.inf)
    pair = torch.cat([a.logs.masked_fill(~target, 0).sum(-1, keepdim=True), total], -1)
    rest = others - total.masked_fill(empty, 0)
    return _Distribution(pair.exp(), pair), _Distribution(rest.exp(), rest)


def _narrow(values: Tensor, *like: Tensor) -> Tensor:
    return values if any(each.dtype == torch.float64 for each in like) else values.to(torch.float32)


def _measure(
    each: Callable[[_Distribution, _Distribution], Tensor],
    student_logits: Tensor,
    teacher_logits: Tensor,
    mask: Tensor | None,
    reduction: Reduction,
) -> Tensor:
    """Check both sides, take ``each(student, teacher)`` of every position, and average over those that count."""
    choice("reduction", reduction, ["mean", "none"])
    check_pair(student_logits, teacher_logits)
    student, teacher = wide(student_logits), wide(teacher_logits.detach())
    check_mask(mask, student.shape[:-1])
    value = each(_distribution(student), _distribution(teacher))
    if not value.isfinite().all():
        out = _gone(student, teacher)
        out = out if mask is None else out | ~mask
        gone = out.unsqueeze(-1)  # positions that do not count must not send a nan into the gradient, either
        value = each(_distribution(student.masked_fill(gone, 0)), _distribution(teacher.masked_fill(gone, 0)))
        if value.isnan().any():
            _explain_nan(student_logits, teacher_logits, out)
        mask = ~out
    if mask is not None:
        value = value.masked_fill(~mask, 0)
    if reduction == "mean":
        value = value.sum() / (value.numel() or 1 if mask is None else mask.sum().clamp(min=1))
    return _narrow(value, student_logits, teacher_logits)


def check_mask(mask: object, positions: torch.Size) -> None:
    if mask is None or (isinstance(mask, Tensor) and mask.shape == positions and mask.dtype == torch.bool):
        return
    found = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
    raise BadValue(f"mask must be a bool tensor of shape {tuple(positions)}, one value a position, got {found}")


def check_pair(student_logits: Tensor, teacher_logits: Tensor) -> None:
    check_logits("student_logits", student_logits)
    check_logits("teacher_logits", teacher_logits)
    if student_logits.shape[-1] != teacher_logits.shape[-1]:
        raise BadValue(
            f"student_logits {tuple(student_logits.shape)} have {student_logits.shape[-1]} classes, teacher_logits "
            f"{tuple(teacher_logits.shape)} have {teacher_logits.shape[-1]}: do both speak about the same labels, or "
            "the same tokenizer? Of two tokenizers: dk.OtherTokens(teacher, …), or divergence=dk.uld_loss"
        )
    if student_logits.shape != teacher_logits.shape:
        raise BadValue(
            f"student_logits {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)} must have "
            "the same shape (..., classes)"
        )
    if student_logits.device != teacher_logits.device:
        raise BadValue(
            f"student_logits are on {student_logits.device}, teacher_logits on {teacher_logits.device}: "
            f"move one with .to({str(student_logits.device)!r})"
        )


def _explain_nan(student_logits: Tensor, teacher_logits: Tensor, out: Tensor) -> None:
    for name, logits in (("student_logits", student_logits), ("teacher_logits", teacher_logits)):
        bad = (logits.isnan() | (logits == math.inf)) & ~out.unsqueeze(-1)
        if bad.any():
            where = bad.nonzero()[0].tolist()
            raise BadValue(
                f"{name}{where} is {logits[tuple(where)].item()}: logits must be finite, or -inf for a class that is "
                "ruled out. Look at the model's input there, or lower the learning rate"
            )
        empty = (logits == -math.inf).all(-1) & ~out
        if empty.any():
            raise BadValue(
                f"{name}{empty.nonzero()[0].tolist()} is -inf for every class, and the other side's is not: no "
                "distribution is left. Rule a class out on both sides, or mask the position"
            )
