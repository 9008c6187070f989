"""The objects in a JSON file, one after the other, and an object as a row of columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from distilkit.errors import BadFile, shown
from distilkit.sources.texts import MOST_LINE, TextFile

WHOLE = 2**26  # characters of a JSON object that is read at once


def is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def lines_of(file: TextFile, where: str) -> Iterator[Any]:
    for number, line in enumerate(file.lines(), 1):
        if line.strip():
            yield _parsed(line, f"{where}, line {number:,}")


def _parsed(text: str, where: str) -> Any:
    """The value that a piece of JSON says."""
    try:
        return json.loads(text)
    except RecursionError:
        raise BadFile(f"{where}: JSON of very many brackets in each other is refused: write flat objects") from None
    except ValueError as error:
        raise BadFile(f"{where} is not JSON ({shown(str(error), 80)}): an object a line, or one list") from None


def listed(file: TextFile, where: str) -> Iterator[Any]:
    """The items of a JSON list, one after the other."""
    decoder, buffer, place, number, begun, done = json.JSONDecoder(), "", 0, 0, False, False
    between = re.compile(r"[\s,]*")
    for block in chain(file.blocks(), [""]):
        buffer, place = buffer[place:] + block, 0
        while not done:
            if not begun:
                place, begun = buffer.index("[") + 1, True
            place = between.match(buffer, place).end()  # type: ignore[union-attr]
            if place == len(buffer):
                break
            if buffer[place] == "]":
                done = True
                break
            number += 1
            try:
                item, place = decoder.raw_decode(buffer, place)
            except RecursionError:
                raise BadFile(
                    f"{where}, item {number:,}: brackets in each other, very many: write flat objects"
                ) from None
            except ValueError as error:
                if block and len(buffer) - place <= MOST_LINE:
                    number -= 1
                    break  # it goes on in the next block
                raise BadFile(f"{where}, item {number:,} is not JSON: {shown(str(error), 80)}") from None
            yield item
    if not done:
        raise BadFile(f"{where} ends before its list does, after {number:,} items: it is cut off")


def list_within(file: TextFile, where: str) -> Iterator[Any]:
    """The items of the one list of objects in a JSON object; an object without one is a row itself."""
    text = ""
    for block in file.blocks():
        text += block
        if len(text) > WHOLE:
            raise BadFile(f"{where} is one JSON object of more than {WHOLE:,} characters: write an object a line")
    found = _parsed(text, where)
    if not isinstance(found, dict):
        raise BadFile(f"{where} must be a list of objects, or an object a line, got {shown(found)}")
    lists = [value for value in found.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) > 1:
        raise BadFile(f"{where} is a JSON object with {len(lists)} lists of rows: give one list, or an object a line")
    yield from lists[0] if lists else [found]


def flat_row(item: Any, where: str, number: int) -> Mapping[str, Any]:
    if isinstance(item, str):
        return {"text": item}
    if not isinstance(item, Mapping):
        raise BadFile(f"{where}, row {number:,} must be an object of names and values, got {shown(item)}")
    if not any(isinstance(value, dict | list) for value in item.values()):
        return item
    flat: dict[str, Any] = {}
    for name, value in item.items():
        if isinstance(value, dict) and not value.keys() >= {"bytes", "path"}:
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        elif isinstance(value, list) and len(value) > 1 and all(map(_is_turn, value)):
            flat[f"{name}.prompt"], flat[f"{name}.completion"] = _as_pair(value)
        else:
            flat[name] = value
    return flat


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and (value.keys() >= {"role", "content"} or value.keys() >= {"from", "value"})


def _as_pair(turns: list[dict[str, Any]]) -> tuple[str, str]:
    """A conversation as what was said before its last turn, and that turn."""
    said = [(str(turn.get("role", turn.get("from"))), str(turn.get("content", turn.get("value")))) for turn in turns]
    before = said[0][1] if len(said) == 2 else "\n".join(f"{role}: {text}" for role, text in said[:-1])
    return before, said[-1][1]
