"""The distillation loss from hidden states: its logits are made a block of rows at a time, and never all held."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distilkit.chunked import CHUNK, CHUNK_ELSEWHERE, Chunk, Sums, Weights, known, proportion
from distilkit.divergences import (
    IGNORED,
    Divergence,
    check_labels,
    check_logits,
    check_temperature,
    forward_kl,
    wide,
)
from distilkit.errors import BadType, BadValue, DistilkitError, real, shown
from distilkit.losses import weigh
from distilkit.topk import TopK

BLOCK = 64e6  # bytes: of a side's logits at a time; more rows make the matrix products no faster


class Head(NamedTuple):
    """One side of the loss before its last layer: logits are ``states @ weight.T + bias``."""

    states: Tensor  # (..., width)
    weight: Tensor  # (classes, width)
    bias: Tensor | None = None  # (classes,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the logits."""
        return *self.states.shape[:-1], len(self.weight)


def linear_kd_loss(
    student: Head | tuple[Tensor, ...],
    teacher: Head | tuple[Tensor, ...] | TopK | Tensor | None,
    labels: Tensor,
    *,
    alpha: float = 0.9,
    temperature: float = 4.0,
    divergence: Divergence = forward_kl,
) -> Tensor:
    """Distillation loss from hidden states, `kd_loss` of the logits ``states @ weight.T + bias``, which nobody holds.

    Value and gradient are made together, a block of rows at a time: beside the gradients themselves and one block of
    logits nothing is kept. The gradient flows into the student's states, weight and bias.

    Args:
        student: (states, weight) or (states, weight, bias): (..., width), (classes, width), (classes,). Of a language
            model the last hidden states and ``model.get_output_embeddings().weight``.
        teacher: the same of the teacher, of any width; or what a cache holds of it, `TopK`; or its logits
            (..., classes); or None where alpha is 0. No gradient flows into it.
        labels: (...), as in `kd_loss`; so are alpha, temperature and divergence.

    Returns:
        A scalar, in nats; float64 for float64 states, else float32.

    Raises:
        BadValue, BadType: shapes that do not fit, a divergence that is not the kit's, logits that are nan; and as
            `kd_loss`.

    Source: the formula is that of `kd_loss`; logits in blocks as in Hsu et al. 2024 (Liger Kernel), arXiv:2410.10989.

    >>> states, weight = torch.ones(2, 3), torch.eye(4)[:, :3]
    >>> from distilkit.losses import kd_loss
    >>> teacher, labels = torch.zeros(2, 4), torch.tensor([0, 3])
    >>> ours, plain = linear_kd_loss((states, weight), teacher, labels), kd_loss(states @ weight.T, teacher, labels)
    >>> abs(float(ours - plain)) < 1e-6
    True
    """
    alpha = real("alpha", alpha, 0, 1, "0 trains on labels only, 1 on the teacher only")
    temperature = check_temperature(temperature)
    if teacher is None and alpha > 0:
        raise BadValue(f"alpha is {alpha:g} and there is no teacher: give the teacher's, or alpha=0 for labels only")
    factors = alpha * temperature**2 if alpha > 0 else None, 1 - alpha if alpha < 1 else None
    soft, hard = linear_kd_terms(
        student, teacher, labels, temperature=temperature, divergence=divergence, weights=factors
    )
    return weigh(soft, hard, alpha=alpha, temperature=temperature)


def linear_kd_terms(
    student: Head | tuple[Tensor, ...],
    teacher: Head | tuple[Tensor, ...] | TopK | Tensor | None,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    divergence: Divergence = forward_kl,
    weights: Weights = (1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """The two terms of `linear_kd_loss`, ``(D(student / T, teacher / T), CE(student, labels))``, as of `kd_terms`.

    Arguments and errors as in `linear_kd_loss`; `weights` is what the terms are going to be multiplied by.
    """
    student = _head("student", student)
    if not known(divergence):
        raise BadValue(
            f"{shown(getattr(divergence, '__name__', divergence))} is not a divergence of the kit, and needs all "
            "logits at once: take dk.kd_loss, or one of distilkit.divergences"
        )
    # Labels are checked against logits of the right shape that take no memory.
    like = student.states.new_empty(()).expand(student.shape)
    labelled = check_labels(labels, like)
    if isinstance(teacher, TopK):
        teacher.check(student.shape, temperature)
        teacher = teacher.to(labels.device)
    elif isinstance(teacher, Tensor):
        check_logits("teacher logits", teacher)
        teacher = teacher.detach()
    elif teacher is not None:
        states, weight, bias = _head("teacher", teacher)
        teacher = Head(states.detach(), weight.detach(), None if bias is None else bias.detach())
    if teacher is not None and not isinstance(teacher, TopK) and tuple(teacher.shape) != student.shape:
        raise BadValue(
            f"the student's logits would be {student.shape}, the teacher's {tuple(teacher.shape)}: both sides need the "
            "same positions and the same classes. Of two tokenizers: dk.OtherTokens(teacher, …)"
        )
    if teacher is not None and not labelled and (labels == IGNORED).all():
        warnings.warn("every label is -100, so that no position counts: the loss is 0", stacklevel=3)
    how = labels, labelled, temperature, divergence, weights
    return _FromStates.apply(student.states, student.weight, student.bias, teacher, *how)


def _head(name: str, given: object) -> Head:
    """(states, weight, bias), checked."""
    if not isinstance(given, tuple) or not 2 <= len(given) <= 3:
        raise BadType(f"the {name} must be (states, weight) or (states, weight, bias), got {shown(given)}")
    head = Head(*given)
    check_logits(f"{name} states", head.states)
    check_logits(f"{name} weight", head.weight)
    if head.weight.ndim != 2 or head.weight.shape[1] != head.states.shape[-1]:
        raise BadValue(
            f"the {name}'s weight must be (classes, {head.states.shape[-1]}), the width of its states "
            f"{tuple(head.states.shape)}; it is {tuple(head.weight.shape)}"
        )
    if head.bias is not None and head.bias.shape != head.weight.shape[:1]:
        raise BadValue(f"the {name}'s bias must be ({len(head.weight)},), one a class, got {tuple(head.bias.shape)}")
    return head


class _FromStates(torch.autograd.Function):
    """Both terms, (states, weight, bias, teacher, labels, …) -> (soft, hard), with the three gradients."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(states, weight, bias)
        ctx.how, ctx.wanted = how, ctx.needs_input_grad[:3]
        ctx.set_materialize_grads(False)
        soft, hard, ctx.gradients = _in_blocks(Head(states.detach(), weight.detach(), bias), *how, wanted=ctx.wanted)
        return soft, hard

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        *how, expected = ctx.how
        made = [weight or 0.0 for weight in expected]
        found = [0.0 if weight is None else weight.item() for weight in given]
        scale = proportion(found, made)
        gradients, ctx.gradients = ctx.gradients, None
        if scale is None or gradients is None:  # other weights than announced, or a second walk through the graph
            soft, hard = found if scale is None else (scale * each for each in made)
            teacher, labels, labelled, temperature, divergence = how
            _, _, gradients = _in_blocks(
                Head(*ctx.saved_tensors),
                teacher,
                labels,
                labelled,
                temperature,
                divergence,
                (soft, hard),
                wanted=ctx.wanted,
            )
        elif scale != 1:
            gradients = [None if each is None else each.mul_(scale) for each in gradients]
        return *gradients, *[None] * (1 + len(how))


def _in_blocks(
    student: Head,
    teacher: Head | TopK | Tensor | None,
    labels: Tensor,
    labelled: bool,
    temperature: float,
    divergence: Divergence,
    weights: Weights,
    *,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Both terms, and the gradients of their weighted sum that are wanted: of states, weight, bias."""
    if weights[0] is None:
        teacher = None
    width, classes, device = student.states.shape[-1], len(student.weight), student.states.device
    places = None  # of the rows that count, if not all do
    if not labelled:
        places = (labels != IGNORED if teacher is not None else labels >= 0).reshape(-1).nonzero().squeeze(-1)
    found = labels.reshape(-1) if places is None else labels.reshape(-1)[places]
    dtype = torch.float64 if student.states.dtype == torch.float64 else torch.float32
    sums = Sums(
        found.long(), labelled, temperature, divergence, weights,
        exact=dtype == torch.float64, teacher=teacher is not None,
    )  # fmt: skip

    def counted(whole: Tensor) -> Tensor:
        flat = whole.reshape(-1, whole.shape[-1])
        return flat if places is None else flat[places]

    states = counted(student.states)
    if isinstance(teacher, Head):
        teacher = teacher._replace(states=counted(teacher.states))
    elif isinstance(teacher, TopK):
        teacher = teacher._replace(ids=counted(teacher.ids), log_probs=counted(teacher.log_probs))
    elif teacher is not None:
        teacher = counted(teacher)

    # Gradients are added up in float32 or better, whatever the weights come in.
    learn = any(wanted)
    slopes = torch.zeros_like(student.states) if wanted[0] else None
    flat_slopes = None if slopes is None else slopes.view(-1, width)
    matrix = torch.zeros(classes, width, dtype=dtype, device=device) if wanted[1] else None
    offset = torch.zeros(classes, dtype=dtype, device=device) if wanted[2] else None
    step = max(1, int(BLOCK // (4 * classes)))  # rows whose logits are there at a time
    size = max(1, min(step, CHUNK.get(device.type, CHUNK_ELSEWHERE) // classes))  # of these, through the loss at a time
    block: dict[str, Any] = {}

    def sides(here: slice, dtype: torch.dtype) -> tuple[Tensor, Any]:
        """What both say of these rows, as logits in this dtype, or as the teacher was given."""
        theirs = _logits(teacher.states[here], teacher, dtype) if isinstance(teacher, Head) else _rows(teacher, here)
        return _logits(states[here], student, dtype), theirs

    def passes(learn: bool) -> Iterator[Chunk]:
        for total in (matrix, offset):
            if total is not None:
                total.zero_()
        for start in range(0, len(states), step):
            here = slice(start, min(start + step, len(states)))
            block["start"], block["logits"] = start, _logits(states[here], student, dtype)
            theirs = (
                _logits(teacher.states[here], teacher, dtype) if isinstance(teacher, Head) else _rows(teacher, here)
            )
            for first in range(start, here.stop, size):
                part = slice(first, min(first + size, here.stop))
                inner = slice(part.start - start, part.stop - start)
                yield Chunk(
                    part,
                    block["logits"][inner],
                    _rows(theirs, inner),
                    again=functools.partial(sides, part, wide(states[:0]).dtype),
                )
            if learn:  # the gradient of the block's logits stands where they were
                slope = block["logits"]
                if flat_slopes is not None:
                    made = _times(slope, student.weight).to(flat_slopes.dtype)
                    if places is None:
                        flat_slopes[here] = made
                    else:
                        flat_slopes[places[here]] = made
                if matrix is not None:
                    _add_product(matrix, slope.T, states[here])
                if offset is not None:
                    offset.add_(slope.sum(0))

    def keep(here: slice, made: Tensor) -> None:
        block["logits"][here.start - block["start"] : here.stop - block["start"]] = made

    try:
        sums.run(passes, keep if learn else None)
    except DistilkitError as error:
        raise type(error)(f"{error} (of a block of the logits that the hidden states make)") from None
    if matrix is not None:
        matrix = matrix.to(student.weight.dtype)
    if offset is not None and student.bias is not None:
        offset = offset.to(student.bias.dtype)
    soft, hard = torch.tensor([sums.soft, sums.hard], dtype=dtype, device=device).unbind()
    return soft, hard, [slopes, matrix, offset]


def _rows(teacher: Tensor | TopK | None, here: slice | Tensor) -> Any:
    if isinstance(teacher, TopK):
        return teacher._replace(ids=teacher.ids[here], log_probs=teacher.log_probs[here])
    return None if teacher is None else teacher[here]


def _logits(states: Tensor, head: Head, dtype: torch.dtype) -> Tensor:
    """``states @ weight.T + bias`` in this dtype, from states and weights of any."""
    logits = torch.empty(len(states), len(head.weight), dtype=dtype, device=states.device)
    if _half_on_gpu(head.weight, dtype):
        torch.mm(states.to(head.weight.dtype), head.weight.T, out_dtype=dtype, out=logits)
    else:
        for classes in _parts(head.weight, dtype):
            torch.mm(states.to(dtype), head.weight[classes].to(dtype).T, out=logits[:, classes])
    return logits if head.bias is None else logits.add_(head.bias)


def _times(slope: Tensor, weight: Tensor) -> Tensor:
    """``slope @ weight``, (rows, classes) and (classes, width), in the dtype of the slope."""
    total = torch.zeros(len(slope), weight.shape[1], dtype=slope.dtype, device=slope.device)
    for classes in [slice(None)] if _half_on_gpu(weight, slope.dtype) else _parts(weight, slope.dtype):
        _add_product(total, slope[:, classes], weight[classes])
    return total


def _add_product(total: Tensor, slope: Tensor, other: Tensor) -> None:
    """Add ``slope @ other`` to the total, whose dtype the slope has; the other may be narrower."""
    if _half_on_gpu(other, total.dtype):
        torch.addmm(total, slope.to(other.dtype), other, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(slope, other.to(total.dtype))


def _half_on_gpu(other: Tensor, dtype: torch.dtype) -> bool:
    """Whether there is a product of 16-bit numbers that is added up in float32."""
    return other.device.type == "cuda" and other.dtype in (torch.float16, torch.bfloat16) and dtype == torch.float32


def _parts(weight: Tensor, dtype: torch.dtype) -> list[slice]:
    """All classes, in parts where the weights must be copied to another dtype."""
    step = len(weight) if weight.dtype == dtype else max(1, int(BLOCK // (8 * weight.shape[1])))
    return [slice(start, start + step) for start in range(0, len(weight), step)]
