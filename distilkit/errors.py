"""Errors that carry the value found, what is allowed, and the way out.

Each is a `DistilkitError` and also the built-in type that a caller expects: ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable


class DistilkitError(Exception):
    """Anything that distilkit refuses, with the reason and the next step."""


class BadValue(DistilkitError, ValueError):
    """An argument, a tensor or a table has the right type and an impossible value."""


class BadType(DistilkitError, TypeError):
    """An argument has the wrong type, or a name that no argument has."""


class BadFile(DistilkitError, OSError):
    """A file is missing, unreadable, damaged, or not what it claims to be."""


class Diverged(DistilkitError, ArithmeticError):
    """A training run has left the finite numbers, or is far on its way out."""


def real(name: str, value: object, low: float, high: float, hint: str, *, above: bool = False) -> float:
    """Return `value` as a float in [low, high], or in (low, high] with `above`; `hint` says what the values mean.

    >>> real("alpha", 1.5, 0, 1, "0 trains on labels only, 1 on the teacher only")
    Traceback (most recent call last):
    distilkit.errors.BadValue: alpha must lie in [0, 1], got 1.5 (0 trains on labels only, 1 on the teacher only)
    """
    allowed = f"{'(' if above else '['}{low:g}, {high:g}]"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise BadType(f"{name} must be a number in {allowed}, got {shown(value)} ({hint})")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        number = math.inf
    if not low <= number <= high or (above and number == low):  # false for nan, too
        raise BadValue(f"{name} must lie in {allowed}, got {shown(value)} ({hint})")
    return number


def whole(name: str, value: object, low: int, high: int, hint: str) -> int:
    """Return `value` as an int in [low, high]; a bool or a float is refused.

    >>> whole("steps", 0, 1, 10**7, "one step is one update of the student")
    Traceback (most recent call last):
    distilkit.errors.BadValue: steps must lie in [1, 10000000], got 0 (one step is one update of the student)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise BadType(f"{name} must be a whole number in [{low}, {high}], got {shown(value)} ({hint})")
    number = int(value)
    if not low <= number <= high:
        raise BadValue(f"{name} must lie in [{low}, {high}], got {shown(value)} ({hint})")
    return number


def choice(name: str, value: object, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`; otherwise say which is the nearest.

    >>> choice("task", "digts", ["digits", "docs"])
    Traceback (most recent call last):
    distilkit.errors.BadValue: task must be one of 'digits', 'docs', got 'digts'. Did you mean 'digits'?
    """
    options = list(options)
    if isinstance(value, str) and value in options:
        return value
    allowed = ", ".join(map(_quoted, options))
    raise BadValue(f"{name} must be one of {allowed}, got {shown(value)}.{meant(value, options)}")


def meant(word: object, options: Iterable[str]) -> str:
    """Return `` Did you mean 'temperature'?`` for a near miss, or nothing.

    >>> meant("temprature", ["temperature", "alpha"])
    " Did you mean 'temperature'?"
    """
    near = difflib.get_close_matches(str(word), list(options), n=1)
    return f" Did you mean {_quoted(near[0])}?" if near else ""


def shown(value: object, width: int = 60) -> str:
    """Return `value` as an error shows it: escaped to ASCII, one line, at most `width` characters."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = ascii(value)
    except ValueError:  # a whole number of thousands of digits
        text = f"a number of {value.bit_length():,} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _quoted(option: str) -> str:
    return repr(option) if option.isprintable() and len(option) <= 60 else shown(option)
