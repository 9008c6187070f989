"""What is shown of data: a report, its first rows, results as CSV. Foreign text stays text."""

from __future__ import annotations

import csv
import io
import numbers
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distilkit.errors import BadType, BadValue, shown
from distilkit.sources.texts import TextFile
from distilkit.sources.values import same

if TYPE_CHECKING:
    import pandas as pd

    from distilkit.sources.data import Data

REPORTED = 1_000_000  # rows of a part that a report looks at
LONGEST = 30  # seconds of a recording, from which on it is said
IMBALANCE = 10  # times as many rows as the smallest class, from which on it is said
SHARES = {"shortest": 0, "5 %": 5, "median": 50, "95 %": 95, "longest": 100}  # percentiles
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what a sheet may compute
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode's categories of what cannot be seen


class Listing:
    """Rows to be looked at: as text, whatever they hold. `frame` is the same as a DataFrame."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.columns, self.rows = tuple(columns), [tuple(map(str, row)) for row in rows]

    @property
    def frame(self) -> pd.DataFrame:
        """The same as a DataFrame of texts."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(self.columns))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        rows = [self.columns, *self.rows]
        widths = [max(len(row[place]) for row in rows) for place in range(len(self.columns))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def visible(text: str, width: int = 80) -> str:
    """The text on one line of at most `width` characters; what cannot be seen or turns the writing is escaped.

    >>> visible("Ça va?\\u202e\\n\\u200bok")
    'Ça va?\\\\u202e\\\\n\\\\u200bok'
    """
    found = "".join(_seen(letter) for letter in text[: width + 1])
    return found if len(found) <= width and len(text) <= width else f"{found[: width - 1]}…"


def _seen(letter: str) -> str:
    return ascii(letter)[1:-1] if unicodedata.category(letter) in HIDDEN else letter


@dataclass(frozen=True)
class Report:
    """What is in the data, and what is wrong with it.

    Attributes:
        rows: how many; `empty`: of them without text, sound or picture; `unlabelled`: without a label or target.
        duplicates: rows whose text an earlier one has, but for case and blanks.
        conflicting: distinct texts that occur with different labels.
        classes: how many rows each label has, the most frequent first.
        lengths: percentiles of the texts' characters, or of the sounds' seconds; `unit`: which of them.
        leaks: texts of the source's own test data that are in its training data, too.
        encoding, delimiter: as found.
        warnings: all that should be known before training, a sentence each.
    """

    rows: int
    empty: int
    unlabelled: int
    duplicates: int
    conflicting: int
    classes: Mapping[str, int]
    lengths: Mapping[str, float]
    unit: str
    leaks: int
    encoding: str | None
    delimiter: str | None
    warnings: tuple[str, ...]

    @property
    def table(self) -> Listing:
        """The same, a line each."""
        rows: list[tuple[str, str]] = [("rows", f"{self.rows:,}")]
        names = ("empty", "unlabelled", "duplicates", "conflicting", "leaks")
        rows += [(name, f"{count:,}") for name in names if (count := getattr(self, name))]
        if self.classes:
            rows.append(("classes", f"{len(self.classes):,}"))
            most = list(self.classes.items())
            some = most if len(most) <= 12 else [*most[:9], *most[-2:]]
            rows += [(f"  {visible(name, 40)}", f"{count:,} ({count / max(1, self.rows):.1%})") for name, count in some]
        if self.lengths:
            rows.append((self.unit, ", ".join(f"{name} {value:,.4g}" for name, value in self.lengths.items())))
        rows += [(name, value) for name in ("encoding", "delimiter") if (value := getattr(self, name))]
        return Listing(("what", "found"), rows)

    def __repr__(self) -> str:
        return "\n".join([repr(self.table), *(f"! {warning}" for warning in self.warnings)])


def report_of(data: Data) -> Report:
    """One reading of the data: see `Data.report`."""
    keys, places, lengths = array("q"), array("q"), array("d")  # a text's hash, its label's number, its length
    labels: Counter[str] = Counter()
    order: dict[str, int] = {}
    problems: Counter[str] = Counter()
    rows, unlabelled, ends, more = 0, 0, [], False
    for part in data.parts:
        stream = data.rows_of(part)
        for row in islice(stream, REPORTED):
            rows += 1
            value, label = row[data.key], row.get("label")
            if value is None:
                continue
            unlabelled += not data.answered(row)
            keys.append(hash(same(value)))
            places.append(-1 if label is None else order.setdefault(label, len(order)))
            lengths.append(
                _seconds(value, problems) if data.key == "audio" else len(value) if data.key == "text" else 0
            )
            if label is not None:
                labels[label] += 1
        ends.append(len(keys))
        more |= next(stream, None) is not None
    texts, classes, sizes = np.array(keys, np.int64), np.array(places, np.int64), np.array(lengths)
    pairs = np.unique(np.stack([texts, classes])[:, classes >= 0], axis=1)[0]  # a text and a label it has
    sizes = sizes[np.isfinite(sizes)] if data.key != "image" else sizes[:0]
    found = Report(
        rows=rows,
        empty=rows - len(texts),
        unlabelled=unlabelled,
        duplicates=len(texts) - len(np.unique(texts)),
        conflicting=int((np.unique(pairs, return_counts=True)[1] > 1).sum()),
        classes=dict(labels.most_common()),
        lengths=dict(zip(SHARES, np.percentile(sizes, list(SHARES.values())).tolist(), strict=True))
        if len(sizes)
        else {},
        unit="seconds" if data.key == "audio" else "characters",
        leaks=len(np.intersect1d(texts[: ends[0]], texts[ends[0] :])),
        encoding=data.encoding,
        delimiter=data.delimiter,
        warnings=(),
    )
    said = [*data.notes, *_said(data, found, problems)]
    return replace(found, warnings=(*said, f"the report is of the first {REPORTED:,} rows") if more else tuple(said))


def _said(data: Data, found: Report, problems: Counter[str]) -> Iterator[str]:
    if data.guessed:
        yield "guessed: " + ", ".join(f"{role} is column {visible(data.roles[role], 60)}" for role in data.guessed)
    strays = sum(file.strays for part in data.parts for file in part.files if isinstance(file, TextFile))
    if strays:
        yield (
            f"{strays:,} lines are no UTF-8: their bytes were read as Windows-1252 (another one? encoding='…'), "
            "the rest as UTF-8"
        )
    if found.empty:
        yield f"{found.empty:,} of {found.rows:,} rows have no {data.key}: they are left out"
    if found.unlabelled:
        yield f"{found.unlabelled:,} rows have no {data.answer}: they are trained on without, and never tested on"
    if found.duplicates:
        yield f"{found.duplicates:,} rows repeat an earlier {data.key}: they stay on one side of a split"
    if found.conflicting:
        yield f"{found.conflicting:,} texts occur with different labels: no model can get them all right"
    if found.leaks:
        yield f"{found.leaks:,} texts of the test are in the training data, too: they are dropped from training"
    counts = list(found.classes.values())
    name = [visible(name, 40) for name in found.classes]
    if data.kind in ("classification", "images") and len(counts) == 1:
        yield f"there is one class only, {name[0]}: nothing can be learnt"
    elif data.kind in ("classification", "images") and len(counts) > max(20, found.rows // 2):
        yield f"{len(counts):,} different labels in {found.rows:,} rows: is {data.roles['label']} a label?"
    elif counts and counts[0] >= IMBALANCE * counts[-1]:
        yield f"the classes are uneven: {name[0]} has {counts[0]:,} rows, {name[-1]} {counts[-1]:,}"
    yield from (f"{count:,} sounds {problem}" for problem, count in problems.items())


def _seconds(value: Path | bytes, problems: Counter[str]) -> float:
    """How long a sound lasts, read from its header; what is wrong with it is counted."""
    try:
        import soundfile
    except ImportError:
        raise BadValue("sound files need soundfile: pip install 'distilkit[apps]' first") from None
    try:
        about = soundfile.info(io.BytesIO(value) if isinstance(value, bytes) else str(value))
    except (soundfile.LibsndfileError, OSError):
        problems["are no sound that can be read"] += 1
        return float("nan")
    seconds = about.frames / about.samplerate
    if not about.frames:
        problems["are empty: 0 s"] += 1
    if seconds > LONGEST:
        problems[f"last longer than {LONGEST} s: cut them into sentences"] += 1
    if about.samplerate < 16_000:
        problems[f"have {about.samplerate:,} samples a second: what is above {about.samplerate // 2:,} Hz is lost"] += 1
    return seconds


def told(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return "" if value is None else visible(value.name if isinstance(value, Path) else value)


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, all or nothing; a text that a sheet would compute, ``=1+1``, gets a ' before it."""
    import pandas as pd

    from distilkit.models import write

    if not isinstance(frame, pd.DataFrame):
        raise BadType(f"write_csv writes a DataFrame, got {shown(frame)}")
    table = frame if isinstance(frame.index, pd.RangeIndex) and frame.index.name is None else frame.reset_index()
    safe = pd.DataFrame({place: [_harmless(cell) for cell in table.iloc[:, place]] for place in range(table.shape[1])})
    safe.columns = pd.Index([_harmless(str(name)) for name in table.columns])
    write(
        path,
        safe.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").encode("utf-8", "backslashreplace"),
    )


def _harmless(cell: Any) -> Any:
    if cell is None or isinstance(cell, numbers.Number):
        return cell
    text = str(cell)
    return f"'{text}" if text.startswith(FORMULAS) else text
