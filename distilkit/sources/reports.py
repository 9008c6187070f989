"""What is shown of data: a report, its first rows, results as CSV. Foreign text stays text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadType, shown

if TYPE_CHECKING:
    import pandas as pd

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


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, all or nothing; a text that a sheet would compute, ``=1+1``, gets a ' before it."""
    import pandas as pd

    from distilkit.models import write

    if not isinstance(frame, pd.DataFrame):
        raise BadType(f"write_csv writes a DataFrame, got {shown(frame)}")
    table = frame if isinstance(frame.index, pd.RangeIndex) and frame.index.name is None else frame.reset_index()
    safe = pd.DataFrame({place: [_harmless(cell) for cell in table.iloc[:, place]] for place in range(table.shape[1])})
    safe.columns = pd.Index([_harmless(str(name)) for name in table.columns])
    write(path, safe.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace"))


def _harmless(cell: Any) -> Any:
    import numbers

    if cell is None or isinstance(cell, numbers.Number):
        return cell
    text = str(cell)
    return f"'{text}" if text.startswith(FORMULAS) else text
