"""The distillation loss: what the teacher says and what the label says, weighed by `alpha`."""

from __future__ import annotations

import inspect
import warnings
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from distilkit.divergences import IGNORED, Divergence, check_labels, check_logits, check_temperature, forward_kl, wide
from distilkit.errors import BadValue, real


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
    soft, hard = kd_terms(student_logits, teacher_logits, labels, temperature=temperature, divergence=divergence)
    return weigh(soft, hard, alpha=alpha, temperature=temperature)


def weigh(soft: Tensor, hard: Tensor, *, alpha: float, temperature: float) -> Tensor:
    """``alpha · T² · soft + (1 − alpha) · hard``; a term of weight 0 is left out, so that its infinity is, too."""
    if alpha == 0:
        return hard
    return alpha * temperature**2 * soft + (1 - alpha) * hard if alpha < 1 else temperature**2 * soft


def kd_terms(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    divergence: Divergence = forward_kl,
) -> tuple[Tensor, Tensor]:
    """The two terms of `kd_loss` before weighing: ``(D(student / T, teacher / T), CE(student, labels))``, in nats.

    Arguments and errors as in `kd_loss`; without a teacher the soft term is 0.
    """
    check_logits("student_logits", student_logits)
    labelled = check_labels(labels, student_logits)  # every position has a label: the usual case
    student = wide(student_logits)
    hard = _cross_entropy(student, labels, labelled)
    if teacher_logits is None:
        soft = torch.zeros_like(hard)
    else:
        check_logits("teacher_logits", teacher_logits)
        mask = None if labelled else labels != IGNORED
        if mask is not None and not mask.any():
            warnings.warn("every label is -100, so that no position counts: the loss is 0", stacklevel=3)
        given = {"labels": labels} if _wants_labels(divergence) else {}
        teacher = wide(teacher_logits.detach())
        soft = divergence(student / temperature, teacher / temperature, mask=mask, **given)
    return (soft, hard) if student_logits.dtype == torch.float64 else (soft.float(), hard.float())


def _cross_entropy(logits: Tensor, labels: Tensor, labelled: bool) -> Tensor:
    """Cross-entropy averaged over the labelled positions; 0 where there are none."""
    flat, targets = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1).long()
    if labelled and targets.numel():
        return F.cross_entropy(flat, targets)
    known = targets >= 0  # chosen, not weighed by 0: a nan in the padding must not reach the gradient
    return F.cross_entropy(flat[known], targets[known], reduction="sum") / known.sum().clamp(min=1)


@lru_cache(maxsize=64)
def _wants_labels(divergence: Divergence) -> bool:
    return "labels" in inspect.signature(divergence).parameters
