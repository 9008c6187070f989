"""Rows parted into training and test, so that no text is on both sides and each class is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from distilkit.errors import BadValue, shown
from distilkit.sources.values import same

if TYPE_CHECKING:
    from distilkit.sources.data import Data

TESTS = 2000  # rows of a test, at most
RUNS = 50  # stretches of a running text, some of which are held out
Rows = list[dict[str, Any]]


def split_rows(data: Data, test: float, seed: int, limit: int) -> tuple[Rows, Rows]:
    """Training and test rows: see `Data.split`."""
    rng = np.random.default_rng([seed, 18])
    rows = [row for row in _drawn(data, limit, rng) if row[data.key] is not None]
    if len(data.parts) == 2:
        return _own_split(data, rows, rng)
    groups: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(same(row[data.key]), []).append(place)
    if data.parts[0].running:
        return _running_split(rows, list(groups.values()), test, rng)
    out: set[int] = set()
    for group in _held_out(data, rows, list(groups.values()), test, rng):
        out.update(group)
    found = _at_most(TESTS, [row for place, row in enumerate(rows) if place in out and data.answered(row)], data, rng)
    return [row for place, row in enumerate(rows) if place not in out], found


def _drawn(data: Data, limit: int, rng: np.random.Generator) -> Rows:
    """All rows, or of more than `limit` a sample that is as likely as any other (Vitter 1985, algorithm R)."""
    part = data.parts[0]
    stream = data.rows_of(part)
    if part.running:
        rows = list(islice(stream, limit))
        if next(stream, None) is not None:
            data.notes[f"the text is longer: its first {limit:,} rows are taken"] = None
        return rows
    kept: list[tuple[int, dict[str, Any]]] = []
    number = 0
    for number, row in enumerate(stream, 1):
        if number <= limit:
            kept.append((number, row))
        elif (place := int(rng.random() * number)) < limit:
            kept[place] = (number, row)
    if number > limit:
        data.notes[f"{limit:,} of {number:,} rows are taken, drawn at random"] = None
        kept.sort(key=lambda one: one[0])
    return [row for _, row in kept]


def _own_split(data: Data, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """The source's own test, and what of its training data is not in it."""
    train, test = data.parts
    usable = [row for row in data.rows_of(test) if row[data.key] is not None and data.answered(row)]
    if not usable:
        raise BadValue(f"the test data in {test.where} has no row with a {data.answer or 'text'}")
    taken = {same(row[data.key]) for row in usable}
    left = [row for row in rows if same(row[data.key]) not in taken]
    if not any(map(data.answered, left)):
        raise BadValue(f"the rows of {train.where} are all in its test data, too, or have no {data.answer or 'text'}")
    return left, _at_most(TESTS, usable, data, rng)


def _held_out(
    data: Data, rows: Rows, groups: list[list[int]], test: float, rng: np.random.Generator
) -> list[list[int]]:
    """The groups to test on: of each class with two or more its share, at least one and never all."""
    where, counts = data.parts[0].where, Counter(map(data.class_of, rows))
    balanced = data.kind in ("classification", "images") or 10 * len(counts) <= len(rows)
    names = [name for name in counts if name is not None]
    if data.kind in ("classification", "images") and len(names) < 2:
        raise BadValue(
            f"a classifier needs at least two classes, and {where} has {len(names)}: "
            f"{shown(', '.join(names) or 'no row has a label', 100)}"
        )
    known = [group for group in groups if any(data.answered(rows[place]) for place in group)]
    if len(known) < 2:
        raise BadValue(
            f"{where} has {len(known)} different rows with a {data.answer or 'text'}: at least 2 are needed, one to "
            "train and one to test on"
        )
    classes: dict[str | None, list[int]] = {}
    for number, group in enumerate(known):
        found = [data.class_of(rows[place]) if balanced else None for place in group if data.answered(rows[place])]
        classes.setdefault(min(found, key=lambda name: counts[name]), []).append(number)  # the rarest of the group
    share = min(test, TESTS / sum(map(len, known)))
    alone = [numbers[0] for numbers in classes.values() if len(numbers) == 1]
    several = [numbers for numbers in classes.values() if len(numbers) > 1]
    held_out = []
    for numbers, least in [*((numbers, 1) for numbers in several), (alone, 0 if several else 1)]:
        count = min(max(least, round(share * len(numbers))), len(numbers) - 1)
        held_out += [known[numbers[place]] for place in rng.permutation(len(numbers))[: max(0, count)]]
    return held_out


def _at_most(most: int, rows: Rows, data: Data, rng: np.random.Generator) -> Rows:
    """These, or a sample of them in which each class is still found."""
    if len(rows) <= most:
        return rows
    order = rng.permutation(len(rows)).tolist()
    firsts = {data.class_of(rows[place]): place for place in reversed(order)}
    kept = dict.fromkeys([*firsts.values(), *order])
    return [rows[place] for place in sorted(islice(kept, most))]


def _running_split(
    rows: Rows, groups: Sequence[Sequence[int]], test: float, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Stretches of a running text held out; what of them is elsewhere in it, too, is not tested on."""
    if len(groups) < 2:
        raise BadValue("the text has no two different rows: one is needed to train, another to test on")
    runs = np.array_split(np.arange(len(rows)), min(RUNS, len(rows)))
    count = max(1, round(min(test, TESTS / len(rows)) * len(runs)))
    chosen = rng.permutation(len(runs))[: min(count, len(runs) - 1)]
    out = {int(place) for run in chosen for place in runs[run]}
    shared = {place for group in groups if not out.issuperset(group) for place in group}
    found = [place for place in sorted(out) if place not in shared][:TESTS]
    if not found:
        raise BadValue("what would be tested on is all in the rest of the text, too: give a longer text")
    return [row for place, row in enumerate(rows) if place not in out], [rows[place] for place in found]
