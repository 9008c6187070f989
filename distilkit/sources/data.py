"""Data of one's own: what it holds, row by row, and how it is parted into training and test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadValue, real, whole
from distilkit.sources.columns import several
from distilkit.sources.reports import Listing, Report, report_of, told, visible
from distilkit.sources.splits import Rows, split_rows
from distilkit.sources.tables import PARTED, Table
from distilkit.sources.texts import TextFile
from distilkit.sources.values import joined, maker

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

HELD = 1_000_000  # rows that are held in memory, at most; of more a sample is drawn


class Data:
    """Rows of one's own, read as a stream as often as needed: what `read_data` returns.

    Attributes:
        columns: what the source has.
        roles: text, label, target, rationale, audio, image -> the column that is it.
        guessed: which of the roles were guessed from names or contents.
        kind: what can be learnt: classification, seq2seq, language, speech or images.
        key: the role that a model is given (text, audio or image); `answer`: the role that it learns (label, target
            or text; None of a language model's text, which has none).
    """

    def __init__(
        self, train: Table, test: Table | None, roles: dict[str, str], guessed: tuple[str, ...], kind: str
    ) -> None:
        self.columns, self.roles, self.guessed, self.kind = train.columns, roles, guessed, kind
        self.parts: tuple[Table, ...] = (train,) if test is None else (train, test)
        self.notes = {note: None for part in self.parts for note in part.notes}
        self.key = next(role for role in ("audio", "image", "text") if role in roles)
        answers = {"classification": "label", "images": "label", "speech": "text", "seq2seq": "target"}
        answer = answers.get(kind)
        self.answer = answer if answer is None or answer in roles else "label"  # a rationale's label is the target

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row, those of the source's own test last: role -> text, `Path` or bytes; None where it is empty."""
        return chain.from_iterable(map(self.rows_of, self.parts))

    def __len__(self) -> int:
        """How many rows, which are counted once."""
        return self._count

    def __repr__(self) -> str:
        roles = ", ".join(f"{role}={visible(name, 30)}" for role, name in self.roles.items())
        return f"Data({self.kind}: {roles}; {self.parts[0].where})"

    @cached_property
    def _count(self) -> int:
        return sum(
            sum(1 for _ in part.read(part.columns[:1])) if part.count is None else part.count for part in self.parts
        )

    @property
    def encoding(self) -> str | None:
        """What its text files are written in, as far as they were read."""
        names = [file.encoding for part in self.parts for file in part.files if isinstance(file, TextFile)]
        return max(names, key=len) if names else None

    @property
    def delimiter(self) -> str | None:
        """What parts the columns of its CSV files: comma, semicolon, tab or bar."""
        found = self.parts[0].delimiter
        return PARTED[found] if found else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that should be known before training, a sentence each."""
        return tuple(dict.fromkeys((*self.report().warnings, *self.notes)))

    @property
    def leaks(self) -> int:
        """Texts of the source's own test data that are in its training data, too; `split` drops them from training."""
        return self.report().leaks

    def head(self, n: int = 5) -> Listing:
        """The first `n` rows to look at: cut to a line each, and what cannot be seen escaped."""
        n = whole("n", n, 1, 1000, "rows to show")
        rows = [[told(value) for value in row.values()] for row in islice(self.rows(), n)]
        return Listing(tuple(self.roles), rows)

    def report(self) -> Report:
        """What is in the data, and what is wrong with it: one reading of it, of the first million rows at most."""
        return self._report

    @cached_property
    def _report(self) -> Report:
        return report_of(self)

    def split(self, *, test: float = 0.2, seed: int = 0, limit: int | None = None) -> tuple[Rows, Rows]:
        """Rows to train and rows to test on, as lists, between which no text is shared.

        Rows whose text is the same but for case and blanks stay together; each label with two distinct texts or more
        is on both sides. What has no label is in the training rows alone. Of a running text, stretches are held out.
        Where the source brings its own test (train.csv and test.csv), that is taken, and training loses what is in it.

        Args:
            test: share of the texts to test on; of rows, at most 2,000.
            seed: which ones.
            limit: rows to draw from all, at most; of a running text, the first ones.

        Raises:
            BadValue: no labels, one class, or too few different texts.
        """
        test = real("test", test, 0, 0.9, "share of the texts to test on", above=True)
        seed = whole("seed", seed, 0, 2**63 - 1, "which rows are held out")
        limit = HELD if limit is None else whole("limit", limit, 2, HELD, "rows that are drawn")
        return split_rows(self, test, seed, limit)

    def tokens(
        self, tokenizer: PreTrainedTokenizerBase, folder: str | Path, *, limit: int | None = None, test: bool = False
    ) -> Tensor:
        """The text's token ids in one row, (n,), int64: a file in `folder` (8 bytes a token) mapped into memory.

        It is written as a stream, whole or not at all; a second call with the same source, tokenizer and limit finds
        it. Running text is encoded as it stands, in pieces that end where lines do; after each file, and each row of a
        table, stands the tokenizer's end of text, if it has one.

        Args:
            tokenizer: of transformers.
            folder: where the file goes. limit: tokens to stop at.
            test: of the source's own test data.
        """
        from distilkit.sources.tokens import raw, write_tokens

        if "text" not in self.roles:
            raise BadValue(f"tokens are of text, and this source has {', '.join(self.roles)}")
        if test and len(self.parts) == 1:
            raise BadValue(
                "the source brings no test data of its own: part the tokens, or give a folder with train, test"
            )
        part = self.parts[-1] if test else self.parts[0]

        def texts() -> Iterator[str | None]:
            if part.running:
                return raw(file for file in part.files if isinstance(file, TextFile))
            return chain.from_iterable((row["text"], None) for row in self.rows_of(part) if row["text"])

        return write_tokens(part, texts, tokenizer, Path(folder), limit)

    def rows_of(self, part: Table) -> Iterator[dict[str, Any]]:
        """The rows of one part of the source: its training data or its own test."""
        columns: list[str] = []
        makers: list[tuple[str, Callable[[Any], Any], int | slice]] = []
        for role, name in self.roles.items():
            names = several(name, part.columns)
            place = len(columns)
            if len(names) == 1:
                makers.append((role, maker(role, part), place))
            else:
                makers.append((role, joined, slice(place, place + len(names))))
            columns += names
        for row in part.read(columns):
            yield {role: make(row[place]) for role, make, place in makers}

    def answered(self, row: dict[str, Any]) -> bool:
        """Whether the row has what is learnt from it."""
        return self.answer is None or row[self.answer] is not None

    def class_of(self, row: dict[str, Any]) -> str | None:
        """By what a test is balanced: the label, or the words that are said."""
        return row["text"] if self.kind == "speech" else row.get("label")
