"""A cell of a table as what a model is given or learns: text, the path of a sound or picture, or its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distilkit.errors import BadFile, shown
from distilkit.sources.columns import SOUNDS, is_empty, only
from distilkit.sources.tables import Table
from distilkit.sources.texts import mended

NEARBY = ("", "wavs", "clips", "audio", "images")  # folders beside a table in which its files may lie


def maker(role: str, part: Table) -> Callable[[Any], Any]:
    """What makes a role's value out of a cell, or out of several."""
    if role in ("audio", "image"):
        return lambda cell: _media(cell, part)
    return as_label if role == "label" else as_text


def joined(cells: Sequence[Any]) -> str | None:
    """Several cells as one text, a line each."""
    return "\n".join(filter(None, map(as_text, cells))) or None


def as_label(value: Any) -> str | None:
    """A cell as text without blanks around it."""
    text = as_text(value)
    return text and text.strip()


def as_text(value: Any) -> str | None:
    """A cell as text: whole numbers without a point, texts of a list a line each; None for nothing, nan and blanks.

    >>> [as_text(value) for value in (4.0, ["Paris", "Rome"], {"a": None}, "  ", True)]
    ['4', 'Paris\\nRome', '{"a": null}', None, 'True']
    """
    if type(value) is not str:
        if is_empty(value):
            return None
        if isinstance(only(value), str):
            value = only(value)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = "\n".join(value)
        elif isinstance(value, list | dict):
            value = json.dumps(value, ensure_ascii=False, default=str)
        value = str(value)
    if not value or value.isspace():
        return None
    return value if value.isascii() and "\0" not in value else mended(value).replace("\0", "\ufffd")


def _media(value: Any, part: Table) -> Path | bytes | None:
    """The path of a sound or picture, or its bytes where the source holds them."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | Path):
        return value
    if is_empty(value):
        return None
    folder = part.folder or Path()
    tried = (folder / near / f"{value}{end}" for near in NEARBY for end in ("", *SOUNDS))  # an absolute path stays one
    found = next((one for one in tried if one.is_file()), None)
    if found is None:
        raise BadFile(
            f"{part.where} names {shown(str(value), 120)}, and there is no such file in {part.folder or 'reach'}"
        )
    return found


def same(value: Any) -> Any:
    """What is equal for values that are the same to a model: a text but for case and blanks; a sound, a picture."""
    return " ".join(value.split()).casefold() if isinstance(value, str) else _digest(value)


def _digest(value: Path | bytes) -> bytes:
    """Of a sound or picture: its size and its first 64 kB."""
    if isinstance(value, bytes):
        head, size = value[: 2**16], len(value)
    else:
        try:
            size = value.stat().st_size
            with value.open("rb") as file:
                head = file.read(2**16)
        except OSError as error:
            raise BadFile(f"cannot read {shown(str(value), 200)}: {error.strerror}") from None
    return hashlib.blake2b(head + size.to_bytes(8, "little"), digest_size=16).digest()
