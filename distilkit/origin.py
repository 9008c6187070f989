"""Where an object comes from: the call that made it is remembered, and can be written as Python that makes it again.

What is remembered are names and numbers, never the objects that a call was given. A model that was trained since it was
made is another model: its weights tell.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import os
import re
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

SAMPLED = 2**16  # weights of a tensor that are looked at
PLAIN = (bool, int, float, str, list, tuple, dict)  # what an object of the kit is rebuilt from
LONGEST = 2000  # letters of an argument, beyond which it is none to be read

Given = ParamSpec("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Call:
    """A call: of which function or method, and of what, each argument as `known` names it."""

    make: Callable[..., Any]
    args: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]

    @property
    def bound(self) -> dict[str, Any]:
        """Its arguments by name, however they were given, those of other calls among them; and what was called."""
        found = inspect.signature(self.make).bind(*self.args, **dict(self.named))
        found.apply_defaults()
        given = found.arguments.items()
        return {"": self.make} | {name: value.bound if isinstance(value, Call) else value for name, value in given}


class Part(NamedTuple):
    """Examples that an object has as one of its attributes, or some rows of them."""

    of: Any
    name: str
    rows: str  # as they are written behind the name


class Unknown(NamedTuple):
    """What no call is known of, in words."""

    words: str


class _Remembered(NamedTuple):
    made: weakref.ref[Any]
    call: Call
    weights: str | None


_REMEMBERED: dict[int, _Remembered] = {}


def remembered(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """Remember of what a function or method returns by which call it was made.

    >>> from distilkit import tasks
    >>> writer = Writer()
    >>> writer.written(known(tasks.digits(labelled=50).without(3)), "gap"), writer.lines
    ('task.without(3)', ['task = dk.tasks.digits(labelled=50)'])
    """

    @functools.wraps(make)
    def call(*args: Given.args, **named: Given.kwargs) -> Made:
        made = make(*args, **named)
        arguments = tuple(known(each) for each in args), tuple((name, known(each)) for name, each in named.items())
        end = weakref.finalize(made, _REMEMBERED.pop, id(made), None)
        end.atexit = False
        state = made.state_dict() if isinstance(made, nn.Module) else None
        weights = None if state is None else fingerprint(type(made), state)
        _REMEMBERED[id(made)] = _Remembered(weakref.ref(made), Call(make, *arguments), weights)
        return made

    return call


def known(value: Any, state: Mapping[str, Tensor] | None = None) -> Any:
    """What is known of a value: itself where Python can write it, a `Call`, a `Part` of what a call made, or `Unknown`.

    Args:
        value: anything.
        state: of a model, the weights that are meant, if not those that it has now.
    """
    if isinstance(value, nn.Module):
        weights = fingerprint(type(value), value.state_dict() if state is None else state)
        own = _REMEMBERED.get(id(value))
        some = [own] if own is not None and own.weights == weights else [*_REMEMBERED.values()]
        same = next((each.call for each in some if each.weights == weights), None)
        parameters = sum(each.numel() for each in value.parameters())
        return same or Unknown(f"a {type(value).__name__} of {parameters:,} parameters")
    if (own := _REMEMBERED.get(id(value))) is not None and own.made() is value:
        return own.call
    if _is_examples(value):
        owners = [(each.made(), each.call) for each in (*_REMEMBERED.values(),)]
        return part_of(value, owners) or Unknown(f"{len(value):,} examples")
    if isinstance(value, str) and re.match(r"\w+://[^/]*@", value):
        return Unknown("an address with a password in it")
    if isinstance(value, str | Path) and (shipped := _shipped(value)):
        return shipped
    if value is None or isinstance(value, bool | int | float | str) or callable(value):
        return value
    if isinstance(value, Path | torch.device):
        return str(value)
    if isinstance(value, list | tuple | dict):
        named = [(key, known(each)) for key, each in value.items()] if isinstance(value, dict) else map(known, value)
        return type(value)(named) if type(value) in (list, tuple, dict) else Unknown(f"a {type(value).__name__}")
    if isinstance(value, Tensor):
        return Unknown(f"a tensor of shape {tuple(value.shape)}")
    return _rebuilt(value) or Unknown(f"a {type(value).__name__}")


def part_of(examples: Any, owners: Iterable[tuple[Any, Any]]) -> Part | None:
    """The attribute of one of these (object, what is known of it) that holds the same examples, or has them as rows."""
    attributes = [
        (call, name, value)
        for owner, call in owners
        if not isinstance(owner, nn.Module | Tensor) and not _is_examples(owner)
        for name, value in getattr(owner, "__dict__", {}).items()
        if not name.startswith("_") and _is_examples(value)
    ]
    for call, name, value in attributes:
        if value is examples:
            return Part(call, name, "")
    for call, name, value in attributes:
        if (rows := _rows(value, examples)) is not None:
            return Part(call, name, rows)
    return None


def fingerprint(kind: type, state: Mapping[str, Tensor]) -> str:
    """Tell models of one kind apart by their weights: of each tensor its shape, and evenly spread samples."""
    digest = hashlib.blake2b(kind.__qualname__.encode(), digest_size=16)
    for name, value in state.items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        sample = value.detach().flatten()[:: max(1, value.numel() // SAMPLED)].contiguous().cpu()
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Writer:
    """Write what is `known` as Python: names of their own for tasks and for what is to be filled in.

    Attributes:
        lines: what comes before the expressions that `written` gave.
        gaps: the names that a reader must fill in.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gaps: list[str] = []
        self.imports: set[str] = set()
        self._names: dict[int, tuple[str, Any]] = {}  # the value, too, so that its id stays its own

    def called(self, value: Any, name: str) -> None:
        """From here on, what is known by this very object has this name."""
        self._names[id(value)] = name, value

    def written(self, value: Any, name: str, *, words: str = "") -> str:
        """A value as an expression; `name` is what it is called if it must be filled in, `words` what it does."""
        if id(value) in self._names and isinstance(value, Call | Unknown):
            return self._names[id(value)][0]
        if isinstance(value, Unknown):
            return self.gap(name, f"{words}: {value.words}" if words else value.words)
        if isinstance(value, Part):
            return f"{self.owner(value.of)}.{value.name}{value.rows}"
        if isinstance(value, Call):
            return self.call(value)
        if isinstance(value, functools.partial):
            self.imports.add("import functools")
            inside = [value.func, *value.args]
            texts = [self.written(known(each), name, words=words) for each in inside]
            texts += [f"{key}={self.written(known(each), key)}" for key, each in value.keywords.items()]
            return f"functools.partial({', '.join(texts)})"
        if callable(value):
            called = getattr(value, "__name__", type(value).__name__)
            return path(value) or self.written(_rebuilt(value) or Unknown(f"{called}, which is not the kit's"), name,
                                               words=words)  # fmt: skip
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        if isinstance(value, list | tuple | dict):
            text = self._collection(value, name)
            return text if len(text) <= LONGEST else self.gap(name, f"a {type(value).__name__} of {len(value):,}")
        plain = isinstance(value, str) and value.isprintable() and not set('"\\') & set(value)
        return f'"{value}"' if plain else repr(value)

    def names(self, value: Any) -> bool:
        """Whether what is known by this very object has a name."""
        return id(value) in self._names

    def can(self, value: Any) -> bool:
        """Whether nothing in a value would have to be filled in."""
        trial = Writer()
        trial.written(value, "it")
        return not trial.gaps

    def gap(self, name: str, words: str) -> str:
        """Leave something to be filled in, under a name that is not taken."""
        name = self._free(name)
        self.gaps.append(name)
        self.lines += [f"{name} = ...  # fill in {words}", f'assert {name} is not ..., "fill in {name}"']
        return name

    def _free(self, name: str) -> str:
        taken = {line.split(" = ")[0] for line in self.lines}
        return next(each for each in (name, *(f"{name}_{count}" for count in range(2, 100))) if each not in taken)

    def owner(self, value: Any) -> str:
        """The name of what has parts and methods: it is made once."""
        if id(value) not in self._names:
            text = name = self.written(value, "task")
            if not isinstance(value, Unknown):
                name = self._free("task")
                self.lines.append(f"{name} = {text}")
            self.called(value, name)
        return self._names[id(value)][0]

    def call(self, call: Call) -> str:
        """A call, written anew even if what it made has a name."""
        args, name, is_method = [*call.args], call.make.__name__, "." in call.make.__qualname__
        whose = f"{self.owner(args.pop(0))}." if is_method else ""
        if name == "__getitem__":
            return f"{whose[:-1]}[{self.written(args[0], 'key')}]"
        names = [*inspect.signature(call.make).parameters, *args][is_method:]
        texts = [self.written(each, str(one)) for one, each in zip(names, args, strict=False)]
        texts += [f"{key}={self.written(each, key)}" for key, each in call.named]
        return f"{whose + name if is_method else path(call.make)}({', '.join(texts)})"

    def _collection(self, value: Any, name: str) -> str:
        if isinstance(value, dict):
            pairs = (f"{self.written(key, name)}: {self.written(each, name)}" for key, each in value.items())
            return f"{{{', '.join(pairs)}}}"
        inside = ", ".join(self.written(each, name) for each in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"


def path(made: Any) -> str | None:
    """How a function or class of the kit is reached from `import distilkit as dk`; None for any other.

    >>> from distilkit.divergences import reverse_kl
    >>> path(reverse_kl), path(len)
    ('dk.reverse_kl', None)
    """
    package, *modules = (getattr(made, "__module__", None) or "").split(".")
    name = getattr(made, "__qualname__", "")
    for depth in range(len(modules) + 1) if package == __package__ and name.isidentifier() else ():
        place: Any = sys.modules[package]
        for each in modules[:depth]:
            place = getattr(place, each, None)
        if inspect.unwrap(getattr(place, name, len)) is inspect.unwrap(made):
            return ".".join(["dk", *modules[:depth], name])
    return None


def _rebuilt(value: Any) -> Call | None:
    """The call that builds an object of the kit whose attributes are called as its constructor's arguments."""
    if isinstance(value, type) or path(type(value)) is None:
        return None
    wanted = inspect.signature(type(value)).parameters
    given = {name: getattr(value, name, value) for name in wanted}  # itself where there is no such attribute
    if not all(each is None or isinstance(each, PLAIN) for each in given.values()):
        return None
    usual = {name: one.default or None for name, one in wanted.items()}
    return Call(
        type(value), (), tuple((name, known(each)) for name, each in given.items() if (each or None) != usual[name])
    )


def _shipped(value: str | Path) -> Call | None:
    """The call that finds a shipped file wherever the kit is installed; None for any other text or path."""
    package = Path(__file__).parent
    for data in (package / "data", package.parent / "data"):
        if str(value).startswith(f"{data}{os.sep}"):
            return Call(sys.modules[f"{__package__}.models"].data_path, (Path(value).relative_to(data).as_posix(),), ())
    return None


def _is_examples(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(value, "labelled") and hasattr(value, "inputs")


def _tensors(examples: Any) -> list[Tensor]:
    inputs = examples.inputs
    return [examples.labels, *([inputs] if isinstance(inputs, Tensor) else dict(inputs).values())]


def _rows(whole: Any, some: Any) -> str | None:
    """How `some` examples are written behind the name of `whole` ones; None where they are no part of them."""
    for text, candidate in (("", whole), (".labelled", whole.labelled)):
        if len(candidate) == len(some) and _same(_tensors(candidate), _tensors(some)):
            return text
    count = len(some)
    if not 0 < count < len(whole) or [each.shape[1:] for each in _tensors(whole)] != [
        each.shape[1:] for each in _tensors(some)
    ]:
        return None
    first = [
        (each == one[0]).reshape(len(each), -1).all(1)
        for each, one in zip(_tensors(whole), _tensors(some), strict=True)
    ]
    for start in torch.stack(first).all(0).nonzero().flatten().tolist():
        if start + count <= len(whole) and _same(_tensors(whole[start : start + count]), _tensors(some)):
            return f"[{start or ''}:{start + count if start + count < len(whole) else ''}]"
    return None


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )
