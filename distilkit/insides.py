"""What goes on inside a model: its hidden states and attention by layer, and how alike those of two models are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from distilkit.divergences import check_logits, wide
from distilkit.errors import BadType, BadValue, meant, shown, whole
from distilkit.models import Inputs, call, evaluating, logits_of

if TYPE_CHECKING:
    import pandas as pd

Layer = int | str  # of a Hugging Face model its number, of any module the name of a part of it: "model.layers.0", "3"


class Inside(NamedTuple):
    """What a model says, and what was inside it: by layer, hidden states and attention probabilities."""

    logits: Tensor  # (n, ..., classes)
    states: dict[Layer, Tensor]  # (n, ..., width)
    attention: dict[Layer, Tensor]  # (n, heads, query, key)


def look_inside(
    model: nn.Module, inputs: Tensor | Inputs, *, states: Sequence[Layer] = (), attention: Sequence[Layer] = ()
) -> Inside:
    """The model's logits on `inputs`, and the hidden states and attention of these layers; gradients flow, if they may.

    Args:
        model: a Hugging Face model, whose layers are numbers (0 is the embedding, for states only; 1 the first layer),
            or any module, whose parts have names: those of ``dict(model.named_modules())``.
        inputs: (n, ...), what the model takes.
        states: layers whose output is wanted. Of a part that returns a tuple, its first.
        attention: layers whose attention is wanted, after the softmax. Of a named part, its output where that is one
            tensor, else its second (as of `nn.MultiheadAttention`), with or without an axis for the heads.

    Raises:
        BadValue: a layer that there is not. BadType: a part that gives no such thing.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> look_inside(model, torch.zeros(5, 4), states=["1"]).states["1"].shape
    torch.Size([5, 3])
    """
    check_layers(model, states, attention)
    with ExitStack() as stack:
        wants = {}
        if any(isinstance(layer, int) for layer in states):
            wants["output_hidden_states"] = True
        if any(isinstance(layer, int) for layer in attention):
            stack.enter_context(_eager(model))
            wants["output_attentions"] = True
        seen: dict[tuple[str, Layer], Any] = {}
        for kind, layers in (("states", states), ("attention", attention)):
            for layer in layers:
                if isinstance(layer, str):
                    hook = partial(_keep, seen, (kind, layer))
                    stack.callback(model.get_submodule(layer).register_forward_hook(hook).remove)
        output = call(model, inputs, **wants)
    return Inside(
        logits_of(output),
        {layer: _states(seen, layer) if isinstance(layer, str) else output.hidden_states[layer] for layer in states},
        {
            layer: _attention(seen, layer) if isinstance(layer, str) else output.attentions[layer - 1]
            for layer in attention
        },
    )


def layers_of(model: nn.Module) -> list[Layer]:
    """The layers that `look_inside` knows by themselves: numbers of a Hugging Face model, else its direct parts' names.

    >>> layers_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    ['0', '1', '2']
    """
    count = _layers(model)
    return list(range(count + 1)) if count else [name for name, _ in model.named_children()]


def check_layers(model: nn.Module, states: Sequence[Layer], attention: Sequence[Layer]) -> None:
    """Refuse a layer that the model has not, saying which it has."""
    names = dict(model.named_modules())
    count = _layers(model)
    for lowest, layers in ((0, states), (1, attention)):
        for layer in layers:
            if isinstance(layer, str):
                if layer not in names or not layer:
                    raise BadValue(
                        f"there is no part {shown(layer)} in this {type(model).__name__}.{meant(layer, names)} Its "
                        f"parts are {shown(', '.join(filter(None, names)), 200)}"
                    )
            elif not count:
                raise BadValue(
                    f"layer {shown(layer)} of a {type(model).__name__}, which is no Hugging Face model: name a part, "
                    f"{shown(', '.join(filter(None, names)), 200)}"
                )
            else:
                whole("layer", layer, lowest, count, "0 is the embedding, which attends to nothing")


@torch.no_grad()
def states_of(
    model: nn.Module, inputs: Tensor, layers: Sequence[Layer] | None = None, *, batch_size: int = 16
) -> dict[Layer, Tensor]:
    """The hidden states of these layers (default: all) at every position, in eval mode: (positions, width) by layer."""
    layers = layers_of(model) if layers is None else list(layers)
    device = next((parameter.device for parameter in model.parameters()), inputs.device)
    text = inputs.ndim == 2 and not inputs.is_floating_point()
    parts: dict[Layer, list[Tensor]] = {layer: [] for layer in layers}
    with evaluating(model):
        for some in inputs.split(batch_size if text else 1024):
            for layer, found in look_inside(model, some.to(device), states=layers).states.items():
                parts[layer].append(found.flatten(0, 1) if text else found.flatten(1))
    return {layer: torch.cat(some) for layer, some in parts.items()}


def cka(first: Tensor, second: Tensor, *, debiased: bool = True) -> float:
    """Linear CKA, ``HSIC(X, Y) / √(HSIC(X, X)·HSIC(Y, Y))``: how alike two models place the same n examples.

    With centred columns, biased: ``‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖)`` (Frobenius norms). It is 1 for what rotation, reflection
    and one scale for all make of each other, so widths may differ; of n ≈ width rows, or fewer, the biased value is
    high whatever the models do. Debiased, each HSIC is the unbiased estimate, with K = XXᵀ and L = YYᵀ without their
    diagonals: ``(tr KL + ΣK·ΣL / ((n−1)(n−2)) − 2/(n−2)·1ᵀKL1) / (n(n−3))``, about 0 for what is independent; a little
    below 0 then, too. It is computed from widths × widths, never n × n.

    Args:
        first: (n, width), hidden states of n examples or positions; n at least 4.
        second: (n, other width), of the same.
        debiased: take unbiased estimates.

    Returns:
        A number, at most 1; nan where one side is constant.

    Sources: Kornblith et al. 2019, arXiv:1905.00414; Nguyen, Raghu & Kornblith 2021 (debiased), arXiv:2010.15327.

    >>> states = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    >>> round(cka(states, -3 * states.flip(1) + 5), 6)
    1.0
    """
    for name, value in (("first", first), ("second", second)):
        check_logits(name, value)
        if value.ndim != 2 or len(value) < 4:
            raise BadValue(f"{name} must be hidden states (n, width) of 4 or more examples, got {tuple(value.shape)}")
    if len(first) != len(second):
        raise BadValue(f"both must be states of the same examples, got {len(first)} and {len(second)} of them")
    x, y = (_centred(value) for value in (first, second))
    hsic = _unbiased_hsic if debiased else _biased_hsic
    own = hsic(x, x) * hsic(y, y)
    return hsic(x, y) / own**0.5 if own > 0 else float("nan")


def cka_by_layer(
    student: nn.Module,
    teacher: nn.Module,
    inputs: Tensor,
    *,
    student_layers: Sequence[Layer] | None = None,
    teacher_layers: Sequence[Layer] | None = None,
    debiased: bool = True,
) -> pd.DataFrame:
    """`cka` of every layer of the student (rows) with every layer of the teacher (columns), on the same inputs.

    Args:
        student, teacher: Hugging Face models, or any modules.
        inputs: (n, time) tokens, each position an example; else (n, ...).
        student_layers, teacher_layers: default all; of a module of no known kind, its direct parts.
        debiased: as in `cka`.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> student = task.student()
    >>> cka_by_layer(student, student, task.test.inputs).round(3).loc["0", "0"].item()
    1.0
    """
    import pandas as pd

    ours, theirs = states_of(student, inputs, student_layers), states_of(teacher, inputs, teacher_layers)
    table = [[cka(x, y, debiased=debiased) for y in theirs.values()] for x in ours.values()]
    return pd.DataFrame(table, pd.Index(list(ours), name="student"), pd.Index(list(theirs), name="teacher"))


def _centred(value: Tensor) -> Tensor:
    value = wide(value.detach()).double()
    value = value - value.mean(0)
    return value / value.abs().max().clamp(min=torch.finfo(torch.float64).tiny)  # no power of it overflows


def _biased_hsic(x: Tensor, y: Tensor) -> float:
    return float((y.T @ x).square().sum())


def _unbiased_hsic(x: Tensor, y: Tensor) -> float:
    """Song et al. 2012, from features: of K without its diagonal ``K1 = x·Σx − ‖x‖²``, and so on."""
    n = len(x)
    x_own, y_own = x.square().sum(1), y.square().sum(1)  # (n,), the diagonals
    x_rows, y_rows = x @ x.sum(0) - x_own, y @ y.sum(0) - y_own  # (n,), K1 and L1
    trace = (y.T @ x).square().sum() - (x_own * y_own).sum()
    sums = x_rows.sum() * y_rows.sum() / ((n - 1) * (n - 2))
    return float((trace + sums - 2 / (n - 2) * (x_rows * y_rows).sum()) / (n * (n - 3)))


def _layers(model: nn.Module) -> int:
    """How many layers a Hugging Face model says it has; 0 for any other module."""
    return int(getattr(getattr(model, "config", None), "num_hidden_layers", 0))


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Attention computed step by step for a while: a fused kernel returns no probabilities."""
    before = model.config._attn_implementation
    if before != "eager":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if before != "eager":
            model.set_attn_implementation(before)


def _keep(seen: dict[tuple[str, Layer], Any], key: tuple[str, Layer], _: nn.Module, __: Any, output: Any) -> None:
    seen[key] = output


def _states(seen: Mapping[tuple[str, Layer], Any], layer: str) -> Tensor:
    output = seen.get(("states", layer))
    found = output[0] if isinstance(output, tuple) else output
    if not isinstance(found, Tensor):
        raise BadType(f"the part {shown(layer)} returned {shown(output)}, where hidden states were wanted: a tensor")
    return found


def _attention(seen: Mapping[tuple[str, Layer], Any], layer: str) -> Tensor:
    output = seen.get(("attention", layer))
    found = output[1] if isinstance(output, tuple) and len(output) > 1 else output
    if not isinstance(found, Tensor) or found.ndim not in (3, 4):
        raise BadType(
            f"the part {shown(layer)} returned {shown(output)}, where attention was wanted: probabilities (n, heads, "
            'query, key). A Hugging Face model gives its own by number, or with attn_implementation="eager"'
        )
    return found.unsqueeze(1) if found.ndim == 3 else found
