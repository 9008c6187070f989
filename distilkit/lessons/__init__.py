"""Exercises that answer at once: a check shows the smallest input that a function gets wrong, and draws it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from distilkit import record
from distilkit.errors import BadFile, choice, shown
from distilkit.lessons.counterexample import NOT_WRITTEN, RIGHT, Wrong, drawn, numbers, smallest, tried
from distilkit.lessons.exercises import EXERCISES
from distilkit.lessons.pictures import picture
from distilkit.words import say

FEW = 6  # numbers in an input made by hand: it is as small and telling as can be


def check(name: str, function: Callable[..., Any], *, strict: bool = False) -> None:
    """Try a function on inputs from the simplest to the hardest, then on many drawn at random, and say what is wrong.

    A wrong answer is shown with the smallest input found that shows it, the answer expected, and a picture of both. A
    function that is not written yet (it returns None or ``...``, or raises NotImplementedError) is no error.

    Raises:
        BadValue: there is no exercise of this name. AssertionError: with `strict`, whatever is not right; for grading.

    >>> check("soften", lambda logits, temperature: (logits / temperature).softmax(-1))
    ✓ soften: right on all 5 cases, and on 60 more drawn at random
    >>> check("soften", lambda logits, temperature: logits.softmax(-1) / temperature)
    ✗ soften: not yet right. The simplest input that shows it:
      logits = [0, 0], temperature = 2
      yours    = [0.25, 0.25]
      expected = [0.5, 0.5]
    """
    exercise = EXERCISES[choice("exercise", name, EXERCISES)]
    more = drawn(exercise, name)
    for number, case in enumerate((*exercise.cases, *more)):
        found, fixed = tried(exercise, function, case), number < len(exercise.cases)
        if found is not RIGHT:
            break
    if isinstance(found, Wrong) and (not fixed or len(numbers(case)) > FEW):
        found = smallest(exercise, function, case)
    if found is NOT_WRITTEN:
        print(say("… {name}: not written yet. {hint} gives a start", name=name, hint=f"hint({name!r})"))
        if strict:
            raise AssertionError(f"{name} is not written yet")
        return
    if isinstance(found, Wrong):
        _tell(name, exercise.names, found, fixed=fixed)
    else:
        counts = {"name": name, "cases": len(exercise.cases), "more": len(more)}
        print(say("✓ {name}: right on all {cases} cases, and on {more} more drawn at random", **counts))
    before = record.note
    record.tried(name, found is RIGHT, function)
    if record.note != before:
        print(record.note)
    if strict and found is not RIGHT:
        raise AssertionError(f"{name} is not right")


def hint(name: str) -> None:
    """Print a hint that leaves the last step to the reader.

    >>> hint("soften")
    Divide the logits by the temperature first; what then turns logits into probabilities?
    """
    print(EXERCISES[choice("exercise", name, EXERCISES)].hint)


def solution(name: str) -> None:
    """Print one way to write it: the file ``notebooks/solutions/<name>.py``.

    >>> solution("soften")
    def soften(logits, temperature):
        return (logits / temperature).softmax(-1)
    """
    choice("exercise", name, EXERCISES)
    package = Path(__file__).parents[1]
    for folder in (package / "solutions", package.parent / "notebooks" / "solutions"):
        path = folder / f"{name}.py"
        if path.is_file():
            print(path.read_text(encoding="utf-8").rstrip())
            return
    raise BadFile(f"the solution {name}.py is not there: look for it in notebooks/solutions of the repository")


def _tell(name: str, names: tuple[str, ...], wrong: Wrong, *, fixed: bool) -> None:
    """Print what is wrong, with the input that shows it, and draw it where there is a notebook to draw in."""
    given = ", ".join(f"{each} = {_text(value)}" for each, value in zip(names, wrong.case, strict=True))
    if wrong.error is not None:
        kind, words = type(wrong.error).__name__, shown(str(wrong.error), 200)
        print(say("✗ {name}: your function stopped with {kind}: {words}", name=name, kind=kind, words=words))
        print(f"  {given}")
        return
    if wrong.yours is None:
        kind = type(wrong.answer).__name__
        print(say("✗ {name}: the answer must be a number or a tensor of numbers, got {kind}", name=name, kind=kind))
        print(f"  {given}")
        return
    if fixed:
        print(say("✗ {name}: not yet right. The simplest input that shows it:", name=name))
    else:
        print(say("✗ {name}: right on the first cases, not on all. The smallest input found that shows it:", name=name))
    print(f"  {given}")
    labels = [say("yours"), say("expected")]
    width = max(map(len, labels))
    for label, value in zip(labels, (wrong.yours, wrong.expected), strict=True):
        print(f"  {label:{width}} = {_text(value)}")
    if wrong.yours.shape != wrong.expected.shape:
        shapes = {"yours": tuple(wrong.yours.shape), "expected": tuple(wrong.expected.shape)}
        print("  " + say("yours has the shape {yours}, expected is {expected}", **shapes))
    else:
        _show(name, wrong.yours, wrong.expected)


def _text(value: object) -> str:
    """Numbers as one writes them: four digits, no trailing zeros."""
    if isinstance(value, Tensor):
        value = value.detach().tolist()
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else shown(value)


def _show(name: str, yours: Tensor, expected: Tensor) -> None:
    from IPython import get_ipython
    from IPython.display import Image, display

    if get_ipython() is not None:
        words = {"name": name, "yours": _text(yours), "expected": _text(expected)}
        alt = say("{name}: yours {yours}, expected {expected}", **words)
        display(Image(picture(name, yours, expected), alt=alt[:1000]))
