"""The teacher's k likeliest classes and all others as one: what a cache keeps, and the student's side of it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilkit.divergences import check_logits
from distilkit.errors import BadValue

FAINT = 1e-30  # a probability in float32 that has lost no digit yet


class TopK(NamedTuple):
    """What the teacher says of some positions: its k likeliest classes, and the rest as one.

    ids (..., k), likeliest first; log_probs (..., k+1), the tail's last, −inf where nothing is left there.
    """

    ids: Tensor
    log_probs: Tensor
    temperature: float
    classes: int

    def lump(self, student_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Both sides as logits over the k classes and the tail, (..., k+1) each, already softened: student, teacher.

        Any divergence compares them as they are, ``divergence(*top.lump(student_logits, T))``. The teacher's are
        log-probabilities; the student's are its own logits over T, and the log-sum-exp of those in the tail.

        Raises `BadValue`: logits of another shape, a temperature that is not the cache's.
        """
        check_logits("student_logits", student_logits)
        self.check(student_logits.shape, temperature)
        device = student_logits.device
        return WithTail.apply(student_logits, self.ids.to(device), temperature), self.log_probs.to(device)

    def check(self, shape: tuple[int, ...], temperature: float) -> None:
        """Refuse logits of another shape than the teacher's, or another temperature than the cache's."""
        if temperature != self.temperature:
            raise BadValue(
                f"the temperature is {temperature:g}, and the teacher was cached at {self.temperature:g}; its tail is "
                f"known there alone. Make a second cache: dk.cache_teacher(…, temperature={temperature:g})"
            )
        expected = (*self.ids.shape[:-1], self.classes)
        if tuple(shape) != expected:
            raise BadValue(
                f"student_logits {tuple(shape)} must have the shape of what was cached, {expected}: do both speak "
                "about the same rows, the same labels, or the same tokenizer?"
            )

    def to(self, device: torch.device) -> TopK:
        return self._replace(ids=self.ids.to(device), log_probs=self.log_probs.to(device))

    def find(self, labels: Tensor) -> Tensor:
        """Where each label (...) is among the k; k if it is in the tail; what is negative stays. For `decoupled_kl`."""
        here = self.ids.to(labels.device) == labels.unsqueeze(-1)
        place = here.int().argmax(-1).masked_fill(~here.any(-1), self.ids.shape[-1])
        return place.where(labels >= 0, labels)


class WithTail(torch.autograd.Function):
    """Logits (..., classes), distinct ids (..., k) -> (..., k+1): ``logits / T`` there, and log-sum-exp of the others.

    The tail is summed by itself, not as 1 − Σ of the others, which has no digit left where it is small. In float32, or
    float64 for float64 logits; all that is kept of the logits' size is what becomes the gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
        kept, total, *ctx.tail = split(logits, ids, temperature)
        ctx.save_for_backward(logits, ids)
        ctx.temperature = temperature
        return torch.cat([kept, total], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, ids = ctx.saved_tensors
        if not ctx.tail:  # a second time
            _, _, *ctx.tail = split(logits, ids, ctx.temperature)
        (tail, mass), ctx.tail = ctx.tail, None
        grad = grad / ctx.temperature
        tail.mul_(grad[..., -1:] / mass)
        return tail.scatter_(-1, ids, grad[..., :-1]).to(logits.dtype), None, None


def split(
    logits: Tensor, ids: Tensor, temperature: float, *, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The logits / T at the ids, (..., k), and of the others their log-sum-exp, (..., 1), and probabilities.

    These are (..., classes), 0 at the ids, and up to a factor: their sum, (..., 1), comes last. In float32 or better;
    in `out`, where that is given.
    """
    scaled = _scaled(logits, temperature)
    kept = scaled.gather(-1, ids)
    if out is None:
        out = torch.empty_like(scaled) if scaled is logits else scaled
    probs = torch.softmax(scaled, -1, out=out)
    most, place = kept.max(-1, keepdim=True)
    known = probs.gather(-1, ids.gather(-1, place))
    mass = probs.scatter_(-1, ids, 0).sum(-1, keepdim=True)
    if torch.minimum(known, mass).min() > FAINT:
        return kept, most - known.log() + mass.log(), probs, mass
    scaled = _scaled(logits, temperature).scatter(-1, ids, -math.inf)
    top = scaled.amax(-1, keepdim=True)
    torch.softmax(scaled, -1, out=probs).masked_fill_(top == -math.inf, 0)  # where there is no tail it is nan
    total = top - probs.amax(-1, keepdim=True).log().masked_fill(top == -math.inf, 0)
    return kept, total, probs, torch.ones_like(top)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """Logits / T in float32 or better: the logits themselves where that changes nothing."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if temperature == 1 else logits / temperature


def normalised(logits: Tensor) -> Tensor:
    """Log-softmax; all −inf stays so."""
    total = logits.logsumexp(-1, keepdim=True)
    return logits - total.masked_fill(total == -math.inf, 0)
