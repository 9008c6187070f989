"""The smallest input that a function gets wrong: inputs drawn at random, and the first wrong one made smaller."""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distilkit.lessons.exercises import Arguments, Exercise

DRAWS = 60  # inputs drawn, from the smallest to the largest
LARGEST = 6  # about so many rows or classes
SECONDS = 2.0  # for making one smaller; a slow function is not asked for ever

RIGHT = "right"
NOT_WRITTEN = "not written"


@dataclass(frozen=True)
class Wrong:
    """An input and what came of it: an answer as a tensor, or one that is no number, or an exception."""

    case: Arguments
    expected: Tensor
    yours: Tensor | None = None
    answer: Any = None
    error: Exception | None = None


def tried(exercise: Exercise, function: Callable[..., Any], case: Arguments) -> Wrong | str:
    """RIGHT, NOT_WRITTEN, or what is wrong with the function on this input."""
    expected = torch.as_tensor(exercise.expected(*case), dtype=torch.float64)
    try:
        answer = function(*(value.clone() if isinstance(value, Tensor) else value for value in case))
    except NotImplementedError:
        return NOT_WRITTEN
    except Exception as error:  # whatever a learner's function raises is an answer, too
        return Wrong(case, expected, error=error)
    if answer is None or answer is ...:
        return NOT_WRITTEN
    try:
        yours = torch.as_tensor(answer, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        return Wrong(case, expected, answer=answer)
    if yours.shape == expected.shape and torch.allclose(yours, expected, rtol=1e-4, atol=1e-6):
        return RIGHT
    return Wrong(case, expected, yours)


def drawn(exercise: Exercise, name: str) -> list[Arguments]:
    """Inputs that this exercise allows, the same every time, small ones first."""
    draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    cases: list[Arguments] = []
    for turn in itertools.count():
        case = exercise.draw(draw, 1 + LARGEST * len(cases) // DRAWS)
        if _allowed(exercise, case):
            cases.append(case)
        if len(cases) == DRAWS or turn == 20 * DRAWS:
            return cases
    raise AssertionError


def smallest(exercise: Exercise, function: Callable[..., Any], case: Arguments) -> Wrong | str:
    """What is wrong on the smallest input found from this one: fewer examples, then smaller and rounder numbers."""
    found, end = tried(exercise, function, case), time.monotonic() + SECONDS
    again = True
    while again and time.monotonic() < end:
        again = False
        for simpler in itertools.chain(_shorter(case), _rounder(case)):
            if time.monotonic() > end:
                break
            if _cost(simpler) < _cost(case) and _allowed(exercise, simpler):
                outcome = tried(exercise, function, simpler)
                if isinstance(outcome, Wrong):
                    case, found, again = simpler, outcome, True
                    break
    return found


def _allowed(exercise: Exercise, case: Arguments) -> bool:
    """Whether an input is one that the exercise speaks of, and has an answer."""
    try:
        expected = torch.as_tensor(exercise.expected(*case), dtype=torch.float64)
        return exercise.allowed(*case) and bool(expected.isfinite().all())
    except Exception:  # an answer that cannot be computed is none
        return False


def _shorter(case: Arguments) -> Iterator[Arguments]:
    """The input without one row, class or place: of one argument, or of all that have as many."""
    sides = [(i, side) for i, value in enumerate(case) if isinstance(value, Tensor) for side in range(value.ndim)]
    lengths = {(i, side): case[i].shape[side] for i, side in sides}
    groups = [[each for each in sides if lengths[each] == length] for length in sorted(set(lengths.values()))]
    groups += [[each for each in sides if each[1] == 0], *([each] for each in sides)]
    for group in groups:
        for place in range(min(lengths[each] for each in group) if group else 0):
            shorter = list(case)
            for i, side in group:
                if lengths[i, side] > 1:
                    keep = [k for k in range(lengths[i, side]) if k != place]
                    shorter[i] = shorter[i].index_select(side, torch.tensor(keep))
            yield tuple(shorter)


def _rounder(case: Arguments) -> Iterator[Arguments]:
    """The input with one number smaller or rounder."""
    for i, value in enumerate(case):
        if isinstance(value, Tensor):
            flat = value.flatten()
            for place, number in enumerate(flat.tolist()):
                for other in _simpler(number):
                    changed = flat.clone()
                    changed[place] = other
                    yield (*case[:i], changed.view_as(value), *case[i + 1 :])
        else:
            for other in _simpler(value):
                yield (*case[:i], other, *case[i + 1 :])


def _simpler(number: float) -> list[Any]:
    if isinstance(number, bool):
        return [False]
    if isinstance(number, int):
        return [0, 1, number // 2, number - 1]
    return [0.0, 1.0, -1.0, 0.5, float(round(number)), round(number, 1), round(number, 2)]


def _cost(case: Arguments) -> tuple[int, float]:
    """How much there is to read: numbers first, then their letters and sizes."""
    found = numbers(case)
    return len(found), sum(100 * len(f"{x:.4g}") + min(abs(x), 99) for x in found)


def numbers(case: Arguments) -> list[float]:
    """Every number of an input."""
    return [float(x) for value in case for x in (value.flatten().tolist() if isinstance(value, Tensor) else [value])]
