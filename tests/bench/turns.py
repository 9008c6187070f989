"""Contestants take turns, in a new order every round, so that what disturbs the machine disturbs all; then ratios."""

import random
import statistics
from collections.abc import Callable, Sequence


def in_turn(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The times that each gave, round by round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(contestants[name]())
    return times


def quartiles(values: Sequence[float], digits: int = 2, scale: float = 1.0) -> str:
    """The median, and the quartiles around it: "1.23 (1.20–1.31)"."""
    low, middle, high = (f"{scale * value:.{digits}f}" for value in statistics.quantiles(values, n=4))
    return f"{middle} ({low}–{high})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """How many times as fast ours is, round by round."""
    return quartiles([a / b for a, b in zip(theirs, ours, strict=True)])
