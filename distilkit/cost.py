"""What a model costs: parameters, bytes, time."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from distilkit.models import Inputs, call, evaluating

WARM_UP = 5  # passes that do not count


def parameters(model: nn.Module) -> int:
    """The number of parameters; shared ones count once.

    >>> parameters(nn.Linear(64, 10))
    650
    """
    return sum(parameter.numel() for parameter in model.parameters())


def size(model: nn.Module) -> int:
    """The bytes of parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])


def latency(model: nn.Module, inputs: Tensor | Inputs, *, runs: int = 50) -> float:
    """Seconds of one forward pass on `inputs`: the median of `runs`, after a warm-up, in eval mode."""
    times = []
    with evaluating(model), torch.inference_mode():
        for _ in range(WARM_UP + runs):
            start = time.perf_counter()
            call(model, inputs)
            times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:])
