"""Hints: the student learns from what goes on inside its teacher, too, not only from what the teacher says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED, wide
from distilkit.errors import BadType, BadValue, real, shown
from distilkit.insides import Inside, Layer, check_layers, look_inside
from distilkit.losses import attention_loss, hidden_state_loss
from distilkit.models import Inputs, device_of, evaluating
from distilkit.transfer import Examples, StudentText

Pairs = Mapping[int, int] | Mapping[str, str] | Mapping[Layer, Layer]  # {student's layer: teacher's layer}

MOST_KEPT = 128e6  # bytes of the teacher's insides kept in memory; beyond, the teacher is asked at each step


class Hints:
    """What `distill(…, hints=…)` adds to the loss: ``states_weight · hint + attention_weight · KL of attention``.

    ``hint = mean (W·h − g)² / var(g)``, with h the student's hidden states, g the teacher's, and W a projection that
    learns with the student; so it is about 1 where W·h says nothing of g but its mean, in any layer of any model.
    Attention is compared by ``KL(teacher's ‖ student's)`` of each position's attention, averaged over heads. Of
    several pairs of layers, the mean.

    Args:
        states: {student's layer: teacher's layer} whose hidden states are compared. A layer is a number, of a Hugging
            Face model (0 is the embedding, the last is after the final norm), or the name of a part of any module.
        attention: the same for attention.
        states_weight, attention_weight: how much each counts beside the loss of `distill`; 0 leaves it out.

    Raises:
        BadType, BadValue: no pair at all, what is no layer, a negative weight. A layer that a model has not is found
        by `distill`.

    Sources: Romero et al. 2014 (FitNets), arXiv:1412.6550; Jiao et al. 2019 (TinyBERT), arXiv:1909.10351;
    Wang et al. 2020 (MiniLM), arXiv:2002.10957.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> hints = Hints(states={"1": "9"})                # the one hidden layer of each
    >>> run = dk.distill(task.student(), task.teacher(), task.transfer, hints=hints, steps=2)
    >>> [step.hint > 0 for step in run]
    [True, True]
    """

    def __init__(
        self,
        states: Pairs | None = None,
        attention: Pairs | None = None,
        *,
        states_weight: float = 1.0,
        attention_weight: float = 1.0,
    ) -> None:
        self.states, self.attention = _pairs("states", states), _pairs("attention", attention)
        self.states_weight = real("states_weight", states_weight, 0, 1e6, "0 leaves the hidden states out")
        self.attention_weight = real("attention_weight", attention_weight, 0, 1e6, "0 leaves attention out")
        if not self.states and not self.attention:
            raise BadValue("there are no pairs of layers: Hints(states={student's layer: teacher's layer})")

    def __repr__(self) -> str:
        parts = [
            f"{name}={pairs}, {name}_weight={weight:g}"
            for name, pairs, weight in (
                ("states", self.states, self.states_weight),
                ("attention", self.attention, self.attention_weight),
            )
            if pairs
        ]
        return f"Hints({', '.join(parts)})"


class Hinting:
    """The hints of one run: the projections, and the teacher's insides on its transfer set."""

    def __init__(
        self, hints: Hints, student: nn.Module, teacher: object, transfer: Examples | StudentText, seed: int
    ) -> None:
        if not isinstance(hints, Hints):
            raise BadType(f"hints must be dk.Hints(states={{1: 2}}), got {shown(hints)}")
        if not isinstance(teacher, nn.Module):
            raise BadValue(f"hints need the teacher itself to look into, got {type(teacher).__name__}")
        self.hints, self.teacher = hints, teacher
        self.transfer = transfer if isinstance(transfer, Examples) else None
        for model, side in ((student, dict.keys), (teacher, dict.values)):
            check_layers(model, list(side(hints.states)), list(side(hints.attention)))
        first = transfer.inputs[:1] if isinstance(transfer, Examples) else transfer.prompts[:1]
        device = device_of(student)
        with torch.no_grad(), evaluating(student):
            ours = look_inside(student, first.to(device), states=list(hints.states))
        theirs = self._look(first, list(hints.states.values()), [])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.ModuleList()
            for layer, other in hints.states.items():
                h, g = _matched(layer, ours.states[layer], other, theirs.states[other])
                self.projections.append(nn.Linear(h.shape[-1], g.shape[-1], bias=False))
        self.projections.to(device)
        self._start = {name: value.clone() for name, value in self.projections.state_dict().items()}
        self.forget()

    def __call__(
        self, student: nn.Module, examples: Examples, rows: Tensor | None, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """The student's logits, and the weighed hints. `rows`: which rows of the transfer set these are, if of it."""
        hints, counted = self.hints, (examples.labels != IGNORED).to(device)
        inputs = examples.inputs.to(device)
        own = look_inside(student, inputs, states=list(hints.states), attention=list(hints.attention))
        if rows is not None and not self._asked:
            self._ask()
        if rows is None or not self._kept:
            given = self._look(examples.inputs, list(hints.states.values()), list(hints.attention.values()))
            states, attention = given.states, given.attention
        else:
            states, attention = ({layer: some[rows] for layer, some in kept.items()} for kept in self._kept)
        total = torch.zeros((), device=device)
        for (layer, other), projection in zip(hints.states.items(), self.projections, strict=True):
            h, g = _matched(layer, own.states[layer], other, states[other].to(device))
            mask = _mask(counted, g.shape[:-1])
            size = wide(g if mask is None else g[mask]).var(correction=0).clamp(min=1e-12)
            loss = hidden_state_loss(h, g, projection, mask=mask) / size.float()
            total = total + hints.states_weight / len(hints.states) * loss
        for layer, other in hints.attention.items():
            a, b = own.attention[layer], attention[other].to(device)
            loss = attention_loss(a, b, mask=_mask(counted, a[:, 0].shape[:-1]))
            total = total + hints.attention_weight / len(hints.attention) * loss
        return own.logits, total

    def identity(self) -> dict[str, Any]:
        """What a checkpoint of the same run agrees in, as JSON gives it back."""
        pairs = {
            name: [list(pair) for pair in each.items()]
            for name, each in (("states", self.hints.states), ("attention", self.hints.attention))
        }
        return pairs | {"weights": [self.hints.states_weight, self.hints.attention_weight]}

    def reset(self) -> None:
        """The projections as they began."""
        self.projections.load_state_dict(self._start)

    def forget(self) -> None:
        """Hold none of the teacher's insides; a next step asks for them."""
        self._kept: tuple[dict[Layer, Tensor], dict[Layer, Tensor]] | None = None
        self._asked = False

    def _ask(self) -> None:
        """Look into the teacher once for the whole transfer set, where what is found fits in memory."""
        assert self.transfer is not None
        self._asked = True
        layers = list(self.hints.states.values()), list(self.hints.attention.values())
        inputs = self.transfer.inputs
        one = self._look(inputs[:1], *layers)
        size = sum(found.nbytes for found in (*one.states.values(), *one.attention.values()))
        if size * len(inputs) > MOST_KEPT:
            return
        self._kept = tuple(  # type: ignore[assignment]
            {layer: found.new_empty(len(inputs), *found.shape[1:]) for layer, found in each.items()}
            for each in (one.states, one.attention)
        )
        some = 8 if self.transfer.labels.ndim > 1 else 256  # few at a time: all of a model's attention is large
        for start in range(0, len(inputs), some):
            part = self._look(inputs[start : start + some], *layers)
            for kept, found in zip(self._kept, (part.states, part.attention), strict=True):  # type: ignore[arg-type]
                for layer, values in found.items():
                    kept[layer][start : start + some] = values

    @torch.no_grad()
    def _look(self, inputs: Tensor | Inputs, states: list[Layer], attention: list[Layer]) -> Inside:
        """The teacher's insides, attention averaged over its heads."""
        device = device_of(self.teacher)
        with evaluating(self.teacher):
            found = look_inside(self.teacher, inputs.to(device), states=states, attention=attention)
        return found._replace(attention={layer: some.mean(1, keepdim=True) for layer, some in found.attention.items()})


def _pairs(name: str, given: object) -> dict[Layer, Layer]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadType(f"{name} must be {{student's layer: teacher's layer}}, got {shown(given)}")
    for layer in (each for pair in given.items() for each in pair):
        if isinstance(layer, bool) or not isinstance(layer, int | str):
            raise BadType(f"{name}: a layer is a number or the name of a part of a model, got {shown(layer)}")
    return dict(given)


def _matched(layer: Layer, h: Tensor, other: Layer, g: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (..., width) with the same places; what has none in common, as a picture's channels, as one row each."""
    if h.ndim > 3 or g.ndim > 3 or h.shape[:-1] != g.shape[:-1]:
        if len(h) != len(g) or h.ndim == g.ndim == 3:
            raise BadValue(
                f"the student's layer {shown(layer)} is {tuple(h.shape)} and the teacher's {shown(other)} "
                f"{tuple(g.shape)}: hidden states must have the same positions"
            )
        return h.flatten(1), g.flatten(1)
    return h, g


def _mask(counted: Tensor, places: torch.Size) -> Tensor | None:
    """Which places count, where there is a label a place and some do not."""
    return None if counted.shape != places or counted.all() else counted
