"""The layer lens: how alike the layers of teacher and student are, and to what both attend, token by token."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import traitlets
from torch import Tensor, nn

from distilkit import plots
from distilkit.errors import BadType
from distilkit.insides import Layer, cka_by_layer, layers_of, look_inside
from distilkit.losses import attention_loss
from distilkit.models import evaluating
from distilkit.widgets.base import Widget
from distilkit.widgets.lens import first_tokens, inert
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 48  # tokens of the text
TYPED = 300  # characters of a text of one's own
BLOCKS = 24  # of the test set, on which CKA is measured
IMAGES = 1000


def layers(
    task: Any,
    text: str | Tensor | None = None,
    *,
    teacher: nn.Module,
    student: nn.Module,
    teacher_layers: Sequence[Layer] | None = None,
    student_layers: Sequence[Layer] | None = None,
) -> Layers:
    """CKA of every layer of the student with every layer of the teacher; of a chosen pair, to what both attend.

    CKA is measured on the task's test set. Click a cell to choose a pair of layers, hover over a token to see what it
    attends to, choose a head, or the mean of all; another text can be typed. Where the task is no text, or a model
    gives no attention, there is CKA alone.

    Args:
        task: gives `test`, and of a text the tokenizer.
        text: what attention is shown on, or its tokens (n,); None is the first held-out block. 48 tokens are shown.
        teacher, student: Hugging Face models, or any modules.
        teacher_layers, student_layers: default all; of a module of no known kind, its direct parts.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> view = dk.layers(task, teacher=task.student(seed=1), student=task.student(seed=0))
    >>> view.cka.shape
    (3, 3)
    >>> view.close()
    """
    for name, model in (("teacher", teacher), ("student", student)):
        if not isinstance(model, nn.Module):
            raise BadType(f"the {name} must be a torch.nn.Module, got {type(model).__name__}")
    models = {"teacher": teacher, "student": student}
    own = {
        role: layers_of(models[role]) if given is None else list(given)
        for role, given in (("teacher", teacher_layers), ("student", student_layers))
    }
    return Layers(task, text, models, own)


class Layers(Widget):
    """The view that `layers` returns.

    Attributes:
        cka: the student's layers (rows) × the teacher's (columns), a table.
        tokens: the text's tokens, (n,); none where there is no attention to show.
        attention: {"teacher": {layer: (heads, n, n)}, "student": …}, probabilities.
        pair: the chosen (student's, teacher's) layer.
    """

    files = "layers"
    about = traitlets.Dict().tag(sync=True)  # what never changes
    page = traitlets.Dict().tag(sync=True)  # the text: its tokens, KL of attention by pair
    maps = traitlets.Bytes().tag(sync=True)  # uint8 shares of 255: the teacher's layers × heads × n × n, the student's
    chosen = traitlets.List(traitlets.Int(), [0, 0]).tag(sync=True)  # row and column of `cka`

    def __init__(self, task: Any, text: Any, models: dict[str, nn.Module], own: dict[str, list[Layer]]) -> None:
        self._task, self._models, self._layers = task, models, own
        self._guard = threading.RLock()  # one text at a time
        self._serial = 0
        reads = hasattr(task, "tokenizer")
        inputs = task.test.inputs[: BLOCKS if reads else IMAGES]
        self.cka = cka_by_layer(
            models["student"], models["teacher"], inputs, student_layers=own["student"], teacher_layers=own["teacher"]
        )
        attending = {
            role: [layer for layer in own[role] if isinstance(layer, int) and layer > 0] if reads else []
            for role in models
        }
        self._attending = attending if all(attending.values()) else {role: [] for role in models}
        self.attention: dict[str, dict[Layer, Tensor]] = {role: {} for role in models}
        self.tokens = torch.empty(0, dtype=torch.long)
        super().__init__()
        self.about = {
            "cka": [[None if value != value else round(value, 4) for value in row] for row in self.cka.to_numpy()],
            "layers": {role: [str(layer) for layer in each] for role, each in own.items()},
            "attending": {role: [own[role].index(layer) for layer in each] for role, each in self._attending.items()},
            "positions": len(inputs) * (inputs.shape[1] if reads else 1),
            "longest": LONGEST,
            "typed": TYPED,
        }
        self.chosen = self._first()
        if any(self._attending.values()):
            self._given = self._tokens(text)
            self._look(self._given)

    @property
    def pair(self) -> tuple[Layer, Layer]:
        row, column = self.chosen
        return self._layers["student"][row], self._layers["teacher"][column]

    # ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _first(self) -> list[int]:
        """Of the pairs that attend, the one most alike; else of all."""
        values = self.cka.to_numpy(copy=True)
        if any(self._attending.values()):
            out = np.ones_like(values, dtype=bool)
            rows, columns = (
                [self._layers[role].index(layer) for layer in self._attending[role]] for role in ("student", "teacher")
            )
            out[np.ix_(rows, columns)] = False
            values[out] = np.nan
        best = int(np.nanargmax(values)) if not np.isnan(values).all() else 0
        return [best // values.shape[1], best % values.shape[1]]

    @torch.no_grad()
    def _look(self, tokens: Tensor) -> None:
        """Look at both models' attention on a text, and show it."""
        found: dict[str, dict[Layer, Tensor]] = {}
        for role, model in self._models.items():
            device = next((parameter.device for parameter in model.parameters()), tokens.device)
            with evaluating(model):
                inside = look_inside(model, tokens[None].to(device), attention=self._attending[role])
            found[role] = {layer: each[0].float().cpu() for layer, each in inside.attention.items()}
        apart = [
            [float(attention_loss(ours[None], theirs[None])) for theirs in found["teacher"].values()]
            for ours in found["student"].values()
        ]
        self.tokens, self.attention = tokens, found
        self._serial += 1
        shares = [each.mul(255).round().to(torch.uint8).flatten() for role in found for each in found[role].values()]
        with self.hold_sync():
            self.page = {
                "serial": self._serial,
                "tokens": [self._name(token) for token in tokens.tolist()],
                "heads": {role: [len(each) for each in found[role].values()] for role in found},
                "kl": [[round(value, 4) for value in row] for row in apart],
            }
            self.maps = torch.cat(shares).numpy().tobytes()

    def _tokens(self, text: object) -> Tensor:
        return first_tokens(self._task, text, LONGEST, "one to attend and one to attend to")

    def _name(self, token: int) -> str:
        return inert(self._task.decode(torch.tensor([token])))

    # ── what stands in where widgets cannot run ──────────────────────────────────────────────────────────────────────

    def figure(self) -> Figure:
        """The table of CKA."""
        return plots.cka(self.cka)

    def line(self) -> str:
        """The chosen pair, and the one most alike."""
        row, column = self.chosen
        values = self.cka.to_numpy()
        ours, theirs = self.pair
        line = say(
            "Layer lens: CKA of the student’s layer {student} with the teacher’s {teacher} is {cka:.2f}",
            student=ours, teacher=theirs, cka=values[row, column],
        )  # fmt: skip
        attends = [self._attending["student"], self._attending["teacher"]]
        if ours in attends[0] and theirs in attends[1]:
            kl = self.page["kl"][attends[0].index(ours)][attends[1].index(theirs)]
            line += say(", KL of their attention {kl:.2f} nats", kl=kl)
        return line + say(
            " ({count:,} positions; the largest of all pairs is {most:.2f}).",
            count=self.about["positions"], most=np.nanmax(values),
        )  # fmt: skip

    # ── what the page asks ───────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        """A text that the reader typed; none is the first one again."""
        if content.get("kind") != "text" or not any(self._attending.values()):
            return
        typed = content.get("value")
        with self._guard:
            self._look(self._tokens(typed[:TYPED]) if isinstance(typed, str) and typed else self._given)
        self.send({"kind": "measured", "serial": self._serial})
