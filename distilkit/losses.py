"""The distillation loss (what the teacher says and what the label says, weighed by `alpha`), and others beside it."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distilkit.chunked import NARROW, NEAR, SMALL, Terms, Weights, by_autograd, known
from distilkit.divergences import (
    IGNORED,
    UNLABELLED,
    Divergence,
    Reduction,
    check_labels,
    check_logits,
    check_mask,
    check_pair,
    check_temperature,
    forward_kl,
    reverse_kl,
    wide,
)
from distilkit.errors import BadType, BadValue, choice, real

FEW = 2**19  # logits: below, no chunk is faster than PyTorch's own functions


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    *,
    alpha: float = 0.9,
    temperature: float = 4.0,
    divergence: Divergence = forward_kl,
) -> Tensor:
    """Distillation loss, ``alpha · T² · D(student / T, teacher / T) + (1 − alpha) · CE(student, labels)``.

    T² keeps the soft term's gradient at the size of the hard term's: a softened gradient shrinks as 1/T².

    Args:
        student_logits: (..., classes).
        teacher_logits: the same shape, no gradient flows into it; may be None when alpha is 0.
        labels: (...), whole numbers; −100 takes a position out of both terms, −1 (unlabelled) out of the hard term.
        alpha: the weight of the soft term, in [0, 1]: 0 is ordinary training, 1 pure distillation.
        temperature: T > 0, softens both sides.
        divergence: any of `distilkit.divergences`, or your own ``f(student_logits, teacher_logits, mask=…)``.

    Returns:
        A scalar, in nats.

    Raises:
        BadValue, BadType: shapes that differ, a label that is not a class, nan in the logits, alpha or T out of range.

    Source: Hinton, Vinyals & Dean 2015, arXiv:1503.02531.

    >>> student, teacher = torch.zeros(2, 3), torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    >>> round(float(kd_loss(student, teacher, torch.tensor([0, 1]), alpha=0.0)), 4)      # log(3): the labels alone
    1.0986
    >>> float(kd_loss(teacher, teacher, torch.tensor([0, 1]), alpha=1.0))                # nothing left to learn
    0.0
    """
    alpha = real("alpha", alpha, 0, 1, "0 trains on labels only, 1 on the teacher only")
    temperature = check_temperature(temperature)
    if teacher_logits is None and alpha > 0:
        raise BadValue(f"alpha is {alpha:g} and there is no teacher: give teacher_logits, or alpha=0 for labels only")
    factors = alpha * temperature**2 if alpha > 0 else None, 1 - alpha if alpha < 1 else None
    soft, hard = _terms(student_logits, teacher_logits, labels, temperature, divergence, factors)
    return weigh(soft, hard, alpha=alpha, temperature=temperature)


def weigh(soft: Tensor, hard: Tensor, *, alpha: float, temperature: float) -> Tensor:
    """``alpha · T² · soft + (1 − alpha) · hard``; a term of weight 0 is left out, so that its infinity is, too."""
    if alpha == 0:
        return hard
    if alpha == 1:
        return temperature**2 * soft
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def kd_terms(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    divergence: Divergence = forward_kl,
    weights: Weights = (1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """The two terms of `kd_loss` before weighing: ``(D(student / T, teacher / T), CE(student, labels))``, in nats.

    Without a teacher the soft term is 0. Arguments and errors as in `kd_loss`; `weights` is what the two are going to
    be multiplied by: then their gradient is made along with their value. Other factors only cost more.
    """
    return _terms(student_logits, teacher_logits, labels, temperature, divergence, weights)


def _terms(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    temperature: float,
    divergence: Divergence,
    weights: Weights,
) -> tuple[Tensor, Tensor]:
    """`kd_terms`; of a term whose weight is None the value is not computed, where that saves time."""
    alike = known(divergence)
    if teacher_logits is not None and alike:
        check_pair(student_logits, teacher_logits)
    else:
        check_logits("student_logits", student_logits)
    labelled = check_labels(labels, student_logits)  # every position has a label: the usual case
    if teacher_logits is not None and not labelled and (labels == IGNORED).all():
        warnings.warn("every label is -100, so that no position counts: the loss is 0", stacklevel=3)
    if teacher_logits is not None and not alike:  # it may compare positions with each other
        check_logits("teacher_logits", teacher_logits)
        return by_autograd(student_logits, teacher_logits, labels, labelled, temperature, divergence)
    if divergence is forward_kl and 0 < student_logits.numel() < FEW:
        terms = _of_few(student_logits, teacher_logits, labels, labelled, temperature, weights)
        if terms is not None:
            return terms
    if student_logits.ndim == 1:
        student_logits, labels = student_logits.unsqueeze(0), labels.unsqueeze(0)
        teacher_logits = None if teacher_logits is None else teacher_logits.unsqueeze(0)
    return Terms.apply(student_logits, teacher_logits, labels, labelled, temperature, divergence, weights)


def _of_few(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    labelled: bool,
    temperature: float,
    weights: Weights,
) -> tuple[Tensor, Tensor] | None:
    """Forward KL and cross-entropy by PyTorch's own functions: of few logits nothing is faster.

    None where float32 would cancel, or where rows are too short for PyTorch's softmax to be fast.
    """
    dtype, classes = student_logits.dtype, student_logits.shape[-1]
    exact = dtype == torch.float64 or student_logits.numel() <= SMALL  # where float64 takes no longer
    if not exact and classes < NARROW // 2:
        return None
    student = wide(student_logits) if exact else student_logits.float()
    teacher = None if teacher_logits is None or weights[0] is None else teacher_logits.detach()
    targets = labels.long()
    if student.ndim != 2:
        student, targets = student.reshape(-1, classes), targets.reshape(-1)
        teacher = None if teacher is None else teacher.reshape(-1, classes)
    count = len(targets)
    if not labelled:
        kept = targets >= 0 if teacher is None else targets != IGNORED
        if not kept.all():  # chosen, not weighed by 0: a nan in the padding must not reach the gradient
            student, targets = student[kept], targets[kept]
            teacher = None if teacher is None else teacher[kept]
        if not len(targets):
            return None
        count = int((targets >= 0).sum())
    soft = hard = student.new_zeros(())
    if teacher is not None:
        soft = F.kl_div(
            (student / temperature).log_softmax(-1),
            (teacher.to(student.dtype) / temperature).log_softmax(-1),
            log_target=True,
            reduction="batchmean",
        )
    if weights[1] is not None:
        hard = F.cross_entropy(student, targets, ignore_index=UNLABELLED, reduction="mean" if count else "sum")
    for term, weight, some in ((soft, weights[0], len(targets)), (hard, weights[1], count)):
        value = term.item() if weight and some else 1.0
        if not math.isfinite(value) or value < (0 if exact else NEAR):
            return None
    return (soft, hard) if dtype == torch.float64 else (soft.float(), hard.float())


def ctc_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """CTC, ``−log Σ p(path)`` over all paths of frames that spell the transcript, in nats a token of it.

    A path names a class a frame; what it spells is left when repetitions are merged and blanks (class 0) are dropped.

    Args:
        logits: (n, frames, classes), class 0 the blank.
        labels: (n, frames): the transcript's tokens in their order, from the first place on; then −1 up to the last
            frame of the sound, and −100 for the frames beyond. A sound without transcript is −1 throughout.

    Returns:
        A scalar: the sum over all transcripts, divided by their tokens; 0 where there is no transcript.

    Raises:
        BadValue: shapes that differ, a token that is the blank or no class, one after a −1, more tokens than frames.

    Source: Graves et al. 2006, "Connectionist temporal classification".

    >>> round(float(ctc_loss(torch.zeros(1, 2, 3), torch.tensor([[1, -1]]))), 4)   # 11, 1- and -1, of 3 × 3 paths
    1.0986
    """
    check_logits("logits", logits)
    if logits.ndim != 3 or labels.shape != logits.shape[:2]:
        raise BadValue(
            f"logits must be (n, frames, classes) and labels (n, frames), got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    spelled = labels >= 0
    strange = labels[(labels == 0) | (labels >= logits.shape[-1])]
    if len(strange):
        raise BadValue(f"a token must be one of 1 to {logits.shape[-1] - 1} (0 is the blank), got {int(strange[0])}")
    if (spelled[:, 1:] & ~spelled[:, :-1]).any():
        raise BadValue("a transcript must fill its row from the first place on: there is a token after a −1 or −100")
    rows = spelled.any(1)
    if not rows.any():
        return 0 * logits.sum()
    labels, spelled = labels[rows], spelled[rows]
    frames, tokens = (labels != IGNORED).sum(1), spelled.sum(1)
    repeated = (spelled[:, 1:] & (labels[:, 1:] == labels[:, :-1])).sum(1)  # a blank must part them
    short = tokens + repeated > frames
    if short.any():
        row = int(short.nonzero()[0])
        raise BadValue(
            f"a transcript of {int(tokens[row])} tokens needs {int(tokens[row] + repeated[row])} frames, its sound has "
            f"{int(frames[row])}: leave it out, or let the model make more frames a second"
        )
    log_probs = wide(logits[rows]).log_softmax(-1).transpose(0, 1)  # (frames, n, classes)
    loss = F.ctc_loss(log_probs, labels.clamp(min=0), frames, tokens, reduction="sum") / tokens.sum()
    return loss if logits.dtype == torch.float64 else loss.float()


def sampled_reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    single_step: bool = True,
    normalised: bool = True,
) -> Tensor:
    """Reverse KL of whole texts, from texts y of the student: ``Σ_t R_t·∇log q(y_t)``, with ``R_t = Σ_{s ≥ t} r_s``.

    That is its gradient; ``r_t = log q(y_t) − log p(y_t)``, q the student, p the teacher. A token answers for itself
    and for all that it leads to, which `reverse_kl` at each position leaves out.

    Args:
        student_logits: (..., time, classes).
        teacher_logits: the same shape, no gradient flows into it.
        labels: (..., time), the tokens that the student wrote, sampled at temperature 1, each at the position that
            predicts it; −100 takes a position out (prompt, what follows the end).
        single_step: take r_t in R_t exactly, as the reverse KL at t, not from the one token drawn: less noise.
        normalised: divide what a token leads to, ``Σ_{s > t} r_s``, by its number of tokens, and average over tokens:
            long texts count no more than short ones. Without, the estimate is unbiased: a sum over each text.

    Returns:
        A scalar whose value estimates the KL: nats a token, or nats a text where not `normalised`.

    Raises:
        BadValue, BadType: shapes that differ, a label of −1, a token to which a side gives no probability.

    Source: Gu et al. 2023 (MiniLLM), arXiv:2306.08543.

    >>> student, teacher = torch.zeros(2, 2), torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    >>> round(float(sampled_reverse_kl(student, teacher, torch.tensor([1, 0]), normalised=False)), 4)
    0.1438
    """
    check_pair(student_logits, teacher_logits)
    check_labels(labels, student_logits)
    if labels.ndim == 0:
        raise BadValue(f"logits must have the shape (..., time, classes), got {tuple(student_logits.shape)}")
    if (labels == UNLABELLED).any():
        raise BadValue("a label is -1 (unlabelled): here the labels are the tokens that the student wrote, or -100")
    counts = labels != IGNORED  # chosen, not weighed by 0: a nan in the padding must not reach the gradient
    tokens = labels[counts].long().unsqueeze(-1)
    student, teacher = wide(student_logits[counts]), wide(teacher_logits.detach()[counts])
    logs = student.log_softmax(-1).gather(-1, tokens).squeeze(-1)
    drawn = logs.detach() - teacher.log_softmax(-1).gather(-1, tokens).squeeze(-1)
    if not drawn.isfinite().all():
        where = counts.nonzero()[~drawn.isfinite()][0].tolist()
        raise BadValue(
            f"labels{where} is {labels[tuple(where)].item()}, where log q − log p is {drawn[~drawn.isfinite()][0]}: "
            "logits must be finite, and neither side may rule out a token that the student wrote"
        )
    ratios = torch.zeros(labels.shape, dtype=drawn.dtype, device=drawn.device).masked_scatter(counts, drawn)
    later = (_from_here_on(ratios) - ratios)[counts]
    score = logs - logs.detach()  # 0, and its gradient is ∇log q(y_t)
    now = reverse_kl(student, teacher, reduction="none") if single_step else drawn * (1 + score)
    if normalised:
        later = later / (_from_here_on(counts.to(drawn.dtype))[counts] - 1).clamp(min=1)
    texts = labels[..., 0].numel()
    loss = (now + later * score).sum() / max(len(tokens) if normalised else texts, 1)
    return loss if student_logits.dtype == torch.float64 else loss.float()


def uld_loss(
    student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Universal logit distillation, ``Σ_i |p_(i) − q_(i)|``: sorted probabilities, the i-th largest beside the i-th.

    p is the teacher, q the student. No token is looked at: the vocabularies may differ, in their sizes, too (the
    shorter one is filled up with zeros). So it is 0 for equal shapes of two distributions, whatever they are about.

    Args:
        student_logits: (..., student's classes).
        teacher_logits: (..., teacher's classes), no gradient flows into it; −inf for all of them takes a position out.
        mask: (...), bool; True where the position counts.
        reduction: "mean" over the positions that count, or "none" for one value a position (0 where it does not).

    Returns:
        A distance in [0, 2], not nats; a scalar, or (...) with ``reduction="none"``.

    Raises:
        BadValue, BadType: positions that differ, a logit that is nan or +inf.

    Source: Boizard et al. 2024, arXiv:2402.12030; they weigh it 1.5 beside the labels' 1, as alpha = 0.6 does at T = 1.

    >>> student, teacher = torch.tensor([0.0, 0.0]), torch.tensor([math.log(2.0), 0.0, math.log(3.0)])
    >>> float(uld_loss(student, teacher))      # |1/2 − 1/2| + |1/2 − 1/3| + |0 − 1/6|
    0.3333333432674408
    """
    check_logits("student_logits", student_logits)
    check_logits("teacher_logits", teacher_logits)
    choice("reduction", reduction, ["mean", "none"])
    places = student_logits.shape[:-1]
    if places != teacher_logits.shape[:-1]:
        raise BadValue(
            f"student_logits {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)} must agree "
            "in all but their last axis, the classes"
        )
    check_mask(mask, places)
    counts = teacher_logits.amax(-1) != -math.inf  # true for nan, too
    counts = counts if mask is None else counts & mask
    student = _falling(wide(student_logits[counts]).softmax(-1))
    teacher = _falling(wide(teacher_logits.detach()[counts]).softmax(-1))
    both = min(student.shape[-1], teacher.shape[-1])
    apart = (
        (student[:, :both] - teacher[:, :both]).abs().sum(-1) + student[:, both:].sum(-1) + teacher[:, both:].sum(-1)
    )
    if not apart.isfinite().all():
        where = counts.nonzero()[~apart.isfinite()][0].tolist()
        raise BadValue(f"the logits at {where} hold nan or +inf: they must be finite, or −inf for what is ruled out")
    if reduction == "mean":
        value = apart.sum() / max(len(apart), 1)
    else:
        value = apart.new_zeros(places).masked_scatter(counts, apart)
    return value if student_logits.dtype == torch.float64 else value.float()


def hidden_state_loss(
    student_states: Tensor,
    teacher_states: Tensor,
    projection: nn.Module | None = None,
    *,
    mask: Tensor | None = None,
) -> Tensor:
    """Mean squared error of hidden states, ``mean (W·h − g)²``: h the student's, g the teacher's, W the `projection`.

    Plain, as in the papers, so that the loss of a batch is the mean over its positions; hidden states have any scale,
    so divide by ``teacher_states.var()`` for a weight that means the same in every layer and model.

    Args:
        student_states: (..., student's width).
        teacher_states: (..., teacher's width), no gradient flows into it.
        projection: ``nn.Linear(student's width, teacher's width, bias=False)``, to be trained with the student; not
            needed where the widths agree.
        mask: (...), bool; True where the position counts.

    Returns:
        A scalar, in squared units of the teacher's states; the mean over positions and over the teacher's width.

    Raises:
        BadValue, BadType: positions that differ, widths that differ without a projection (or after it).

    Sources: Romero et al. 2014 (FitNets), arXiv:1412.6550; Jiao et al. 2019 (TinyBERT), arXiv:1909.10351.

    >>> float(hidden_state_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])))
    2.0
    """
    check_logits("student_states", student_states)
    check_logits("teacher_states", teacher_states)
    (*places, width), (*others, teacher_width) = student_states.shape, teacher_states.shape
    if places != others:
        raise BadValue(
            f"student_states {tuple(student_states.shape)} and teacher_states {tuple(teacher_states.shape)} must agree "
            "in all but their last axis, the width"
        )
    check_mask(mask, student_states.shape[:-1])
    if mask is not None:
        student_states, teacher_states = student_states[mask], teacher_states[mask]
    if projection is not None:
        student_states = projection(student_states)
    if student_states.shape[-1] != teacher_width:
        found = f"{width}" if projection is None else f"{width}, projected to {student_states.shape[-1]}"
        raise BadValue(
            f"the student's width is {found}, the teacher's {teacher_width}: give "
            f"projection=nn.Linear({width}, {teacher_width}, bias=False), and train it with the student"
        )
    loss = (wide(student_states) - wide(teacher_states.detach())).square().sum() / max(teacher_states.numel(), 1)
    return loss if student_states.dtype == torch.float64 else loss.float()


def attention_loss(student_attention: Tensor, teacher_attention: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Forward KL between attention rows, ``Σ_k a(k)·(log a(k) − log b(k))``: a the teacher's, b the student's.

    Each is averaged over its heads first, so that their numbers may differ. Keys that both rule out (the future) do
    not count, nor do rows without any attention.

    Args:
        student_attention: (batch, heads, query, key), probabilities after the softmax.
        teacher_attention: the same, with any number of heads; no gradient flows into it.
        mask: (batch, query), bool; True where the position counts.

    Returns:
        A scalar, in nats, the mean over the queries that count.

    Raises:
        BadValue, BadType: shapes that do not fit, negative values.

    Source: after Wang et al. 2020 (MiniLM), arXiv:2002.10957, who compare head by head.

    >>> student, teacher = torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[0.25, 0.75]]]])
    >>> round(float(attention_loss(student, teacher)), 4)      # 0.25·log(0.5) + 0.75·log(1.5)
    0.1308
    """
    for name, attention in (("student_attention", student_attention), ("teacher_attention", teacher_attention)):
        if not isinstance(attention, Tensor):
            raise BadType(
                f"{name} must be a tensor, got {type(attention).__name__}. A Hugging Face model returns attentions "
                'when loaded with attn_implementation="eager" and called with output_attentions=True'
            )
        if attention.ndim != 4 or not attention.shape[1]:
            raise BadValue(f"{name} must have the shape (batch, heads, query, key), got {tuple(attention.shape)}")
        if (attention < 0).any():
            raise BadValue(f"{name} has {float(attention.min()):g} in it: give probabilities, after the softmax")
    ours, theirs = student_attention[:, 0].shape, teacher_attention[:, 0].shape  # (batch, query, key)
    if ours != theirs:
        raise BadValue(
            f"student_attention is {tuple(ours)} and teacher_attention {tuple(theirs)} in (batch, query, key): they "
            "may differ in the number of heads alone"
        )
    check_mask(mask, ours[:-1])
    return forward_kl(_attention_logs(student_attention, mask), _attention_logs(teacher_attention, mask), mask=mask)


def _attention_logs(attention: Tensor, mask: Tensor | None) -> Tensor:
    """The logarithm of attention averaged over heads; −inf, without a gradient, where there is none or no mask."""
    mean = wide(attention).mean(1)  # (batch, query, key)
    out = mean == 0 if mask is None else (mean == 0) | ~mask.unsqueeze(-1)
    return mean.masked_fill(out, 1).log().masked_fill(out, -math.inf)


def _falling(probs: Tensor) -> Tensor:
    """Sorted, the largest first; what is so already (a teacher that was sorted once) costs no second time."""
    return probs if (probs[..., 1:] <= probs[..., :-1]).all() else probs.sort(-1, descending=True).values


def _from_here_on(values: Tensor) -> Tensor:
    """At each position the sum of its value and all later ones."""
    return values.flip(-1).cumsum(-1).flip(-1)
