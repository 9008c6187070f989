"""Whose text: what the student learns on (images, audio and token sequences alike), and what the teacher says of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distilkit.divergences import UNLABELLED
from distilkit.errors import BadType, BadValue, shown
from distilkit.models import predict


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and labels, row by row; a label of −1 marks what is unlabelled, −100 what is not to be learnt.

    Args:
        inputs: (n, ...), what a model takes; tokens are (n, time).
        labels: (n,), whole numbers; (n, time) for tokens: at each position the token that comes next.

    >>> some = Examples(torch.zeros(3, 64), torch.tensor([7, -1, 2]))
    >>> len(some), len(some.labelled), some[1:].labels.tolist()
    (3, 2, [-1, 2])
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        for name, value in (("inputs", self.inputs), ("labels", self.labels)):
            if not isinstance(value, Tensor):
                raise BadType(f"{name} must be a tensor, got {type(value).__name__}")
        if self.labels.ndim == 0 or self.inputs.shape[: self.labels.ndim] != self.labels.shape:
            raise BadValue(
                f"inputs {tuple(self.inputs.shape)} and labels {tuple(self.labels.shape)} must have one row an example"
                " (and one label a token, where there are tokens)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | Tensor) -> Examples:
        return Examples(self.inputs[rows], self.labels[rows])

    @property
    def labelled(self) -> Examples:
        """The rows that have a label."""
        return self[(self.labels >= 0).flatten(1).any(1) if self.labels.ndim > 1 else self.labels >= 0]

    @property
    def unlabelled(self) -> Examples:
        """The same rows, every label hidden."""
        return Examples(self.inputs, torch.full_like(self.labels, UNLABELLED))


def as_examples(transfer: object) -> Examples:
    """Take `Examples`, a pair (inputs, labels), or a torch `Dataset` of such pairs."""
    if isinstance(transfer, Examples):
        return transfer
    if isinstance(transfer, tuple) and len(transfer) == 2:
        return Examples(*transfer)
    if isinstance(transfer, torch.utils.data.Dataset) and hasattr(transfer, "__len__"):
        rows = [transfer[row] for row in range(len(transfer))]
        return Examples(torch.stack([row[0] for row in rows]), torch.tensor([int(row[1]) for row in rows]))
    raise BadType(f"the transfer set must be Examples, (inputs, labels) or a Dataset of pairs, got {shown(transfer)}")


def teacher_logits(teacher: nn.Module, examples: Examples) -> Tensor:
    """The teacher's logits on every example, (n, classes), computed once; a nan or +inf among them is refused."""
    logits = predict(teacher, examples.inputs)
    bad = logits.isnan() | (logits == torch.inf)
    if bad.any():
        row = int(bad.any(-1).nonzero()[0])
        raise BadValue(
            f"the teacher's logits on row {row} of the transfer set are not finite: {shown(logits[row].tolist())}"
        )
    return logits
