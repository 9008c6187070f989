"""Data of one's own: what it holds, row by row, and how it is parted into training and test."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distilkit.errors import BadFile, BadType, BadValue, real, shown, whole
from distilkit.sources import folders, hub, tables
from distilkit.sources.columns import SOUNDS, find_kind, find_roles, is_empty
from distilkit.sources.reports import Listing, Report, visible
from distilkit.sources.tables import PARTED, Table
from distilkit.sources.texts import TextFile, mended

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

TESTS = 2000  # rows of a test, at most
HELD = 1_000_000  # rows that are held in memory, at most; of more a sample is drawn
REPORTED = 1_000_000  # rows that a report looks at
LONGEST = 30  # seconds of a recording, from which on it is said
IMBALANCE = 10  # times as many rows as the smallest class, from which on it is said
RUNS = 50  # parts of a running text, some of which are held out
NEARBY = ("", "wavs", "clips", "audio", "images")  # folders beside a table in which its files may lie
Rows = list[dict[str, Any]]


class Data:
    """Rows of one's own, read as a stream as often as needed: what `read_data` returns.

    Attributes:
        columns: what the source has.
        roles: text, label, target, rationale, audio, image -> the column that is it.
        guessed: which of the roles were guessed from names or contents.
        kind: what can be learnt: classification, seq2seq, language, speech or images.
    """

    def __init__(
        self, train: Table, test: Table | None, roles: dict[str, str], guessed: tuple[str, ...], kind: str
    ) -> None:
        self.columns, self.roles, self.guessed, self.kind = train.columns, roles, guessed, kind
        self._parts: tuple[Table, ...] = (train,) if test is None else (train, test)
        self._notes: dict[str, None] = {note: None for part in self._parts for note in part.notes}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row, those of the source's own test last: role -> text, `Path` or bytes; None where it is empty."""
        return chain.from_iterable(map(self._rows, self._parts))

    def __len__(self) -> int:
        """How many rows, which are counted once."""
        return self._count

    def __repr__(self) -> str:
        roles = ", ".join(f"{role}={visible(name, 30)}" for role, name in self.roles.items())
        return f"Data({self.kind}: {roles}; {self._parts[0].where})"

    @cached_property
    def _count(self) -> int:
        return sum(
            sum(1 for _ in part.read(part.columns[:1])) if part.count is None else part.count for part in self._parts
        )

    @property
    def encoding(self) -> str | None:
        """What its text files are written in, as far as they were read."""
        names = [file.encoding for part in self._parts for file in part.files if isinstance(file, TextFile)]
        return max(names, key=len) if names else None

    @property
    def delimiter(self) -> str | None:
        """What parts the columns of its CSV files: comma, semicolon, tab or bar."""
        found = self._parts[0].delimiter
        return PARTED[found] if found else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that should be known before training, a sentence each."""
        return tuple(dict.fromkeys((*self.report().warnings, *self._notes)))

    @property
    def leaks(self) -> int:
        """Texts of the source's own test data that are in its training data, too; `split` drops them from training."""
        return self.report().leaks

    def head(self, n: int = 5) -> Listing:
        """The first `n` rows to look at: cut to a line each, and what cannot be seen escaped."""
        n = whole("n", n, 1, 1000, "rows to show")
        rows = [[_told(value) for value in row.values()] for row in islice(self.rows(), n)]
        return Listing(tuple(self.roles), rows)

    def report(self) -> Report:
        """What is in the data, and what is wrong with it: one reading of it, of the first million rows at most."""
        return self._report

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
        rng = np.random.default_rng([seed, 18])
        rows = [row for row in self._drawn(self._parts[0], limit, rng) if row[self._key] is not None]
        if len(self._parts) == 2:
            return self._own_split(rows, rng)
        groups: dict[Any, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(self._same(row), []).append(place)
        if self._parts[0].running:
            return _running_split(rows, groups, test, rng)
        held_out = self._held_out(rows, list(groups.values()), test, rng)
        found = sorted(place for group in held_out for place in group if self._labelled(rows[place]))
        found = _at_most(TESTS, found, [self._class(rows[place]) for place in found], rng)
        out = {place for group in held_out for place in group}
        return [row for place, row in enumerate(rows) if place not in out], [rows[place] for place in found]

    def tokens(self, tokenizer: PreTrainedTokenizerBase, folder: str | Path, *, limit: int | None = None) -> Tensor:
        """The text's token ids in one row, (n,), int64: a file in `folder` (8 bytes a token) mapped into memory.

        It is written as a stream, whole or not at all; a second call with the same source, tokenizer and limit finds
        it. Running text is encoded as it stands, in pieces that end where lines do; between two files, or two rows of a
        table, stands the tokenizer's end of text, if it has one.

        Args:
            tokenizer: of transformers.
            folder: where the file goes. limit: tokens to stop at.
        """
        from distilkit.sources.tokens import raw, write_tokens

        if "text" not in self.roles:
            raise BadValue(f"tokens are of text, and this source has {', '.join(self.roles)}")
        part, end = self._parts[0], getattr(tokenizer, "eos_token", None) or ""
        files = [file for file in part.files if isinstance(file, TextFile)]

        class Texts:
            def __iter__(texts) -> Iterator[str]:
                if part.running:
                    return raw(files, end)
                return chain.from_iterable((row["text"], end) for row in self._rows(part) if row["text"])

        return write_tokens(part, Texts(), tokenizer, Path(folder), limit)

    @property
    def _key(self) -> str:
        return next(role for role in ("audio", "image", "text") if role in self.roles)

    def _rows(self, part: Table) -> Iterator[dict[str, Any]]:
        names = {role: [name] if name in part.columns else name.split(",") for role, name in self.roles.items()}
        wanted = list(dict.fromkeys(name for several in names.values() for name in several))
        absent = [name for name in wanted if name not in part.columns]
        if absent:
            raise BadFile(f"{part.where} has no column {shown(absent[0])}, which the training data has")
        makers = [
            (role, _maker(role, [wanted.index(name) for name in several], part)) for role, several in names.items()
        ]
        for row in part.read(wanted):
            yield {role: make(row) for role, make in makers}

    def _same(self, row: dict[str, Any]) -> Any:
        """What is equal for rows that are the same to a model: the text but for case and blanks, or the sound."""
        value = row[self._key]
        return " ".join(value.split()).casefold() if isinstance(value, str) else _digest(value)

    def _labelled(self, row: dict[str, Any]) -> bool:
        return self._answer is None or row[self._answer] is not None

    @property
    def _answer(self) -> str | None:
        """The role that is learnt from the key: label, target, or the text of a sound."""
        if self.kind in ("classification", "images"):
            return "label"
        if self.kind == "seq2seq":
            return "target" if "target" in self.roles else "label"
        return "text" if self.kind == "speech" else None

    def _class(self, row: dict[str, Any]) -> str | None:
        """By what a test is balanced: the label, or the words that are said."""
        value = row["text"] if self.kind == "speech" else row.get("label")
        return value.casefold() if isinstance(value, str) else None

    def _drawn(self, part: Table, limit: int, rng: np.random.Generator) -> Rows:
        """All rows of a part, or of more than `limit` a sample that is as likely as any other (Vitter's R)."""
        stream = self._rows(part)
        if part.running:
            rows = list(islice(stream, limit))
            if next(stream, None) is not None:
                self._notes[f"the text is longer: its first {limit:,} rows are taken"] = None
            return rows
        kept: list[tuple[int, dict[str, Any]]] = []
        number = 0
        for number, row in enumerate(stream, 1):
            if number <= limit:
                kept.append((number, row))
            elif (place := int(rng.random() * number)) < limit:
                kept[place] = (number, row)
        if number > limit:
            self._notes[f"{limit:,} of {number:,} rows are taken, drawn at random"] = None
            kept.sort(key=lambda one: one[0])
        return [row for _, row in kept]

    def _own_split(self, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """The source's own test, and what of its training data is not in it."""
        usable = [row for row in self._rows(self._parts[1]) if row[self._key] is not None and self._labelled(row)]
        if not usable:
            raise BadValue(f"the test data in {self._parts[1].where} has no labelled row")
        found = _at_most(TESTS, list(range(len(usable))), [self._class(row) for row in usable], rng)
        taken = set(map(self._same, usable))
        train = [row for row in rows if self._same(row) not in taken]
        if not any(map(self._labelled, train)):
            raise BadValue(f"all training rows of {self._parts[0].where} are in its test data, too, or have no label")
        return train, [usable[place] for place in found]

    def _held_out(self, rows: Rows, groups: list[list[int]], test: float, rng: np.random.Generator) -> list[list[int]]:
        """The groups to test on: of each class with two or more its share, at least one and never all."""
        classes: dict[str | None, list[int]] = {}
        counts = Counter(self._class(row) for row in rows)
        known = [group for group in groups if any(self._labelled(rows[place]) for place in group)]
        names = [name for name in counts if name is not None]
        if self.kind in ("classification", "images") and len(names) < 2:
            raise BadValue(
                f"a classifier needs at least two classes, and {self._parts[0].where} has {len(names)}: "
                f"{shown(', '.join(names) or 'no row has a label', 100)}"
            )
        if len(known) < 2:
            raise BadValue(
                f"{self._parts[0].where} has {len(known)} different rows with a {self._answer or 'text'}: at least 2 "
                "are needed, one to train and one to test on"
            )
        for number, group in enumerate(known):
            rarest = min(
                (self._class(rows[place]) for place in group if self._labelled(rows[place])), key=counts.__getitem__
            )
            classes.setdefault(rarest, []).append(number)
        alone = [numbers.pop() for numbers in classes.values() if len(numbers) == 1]
        share = min(
            test, TESTS / sum(len(known[number]) for numbers in (*classes.values(), alone) for number in numbers)
        )
        held_out = []
        for numbers in (*classes.values(), alone):
            least = 1 if numbers is not alone or len(classes) == len(alone) else 0
            count = max(min(least, len(numbers) - 1), round(share * len(numbers)))
            chosen = rng.permutation(len(numbers))[: min(count, max(0, len(numbers) - 1))]
            held_out += [known[numbers[place]] for place in chosen]
        return held_out

    @cached_property
    def _report(self) -> Report:
        same, labels, lengths = array("q"), array("q"), array("d")
        names: dict[str, int] = {}
        counts: Counter[int] = Counter()
        ends: list[int] = []
        rows = empty = unlabelled = 0
        problems: Counter[str] = Counter()
        measured = _seconds if self._key == "audio" else None
        label = "label" if "label" in self.roles else None
        more = False
        for part in self._parts:
            stream = self._rows(part)
            for row in islice(stream, REPORTED):
                rows += 1
                value = row[self._key]
                unlabelled += value is not None and not self._labelled(row)
                if value is None:
                    empty += 1
                    continue
                same.append(hash(self._same(row)))
                number = -1
                if label and row[label] is not None:
                    number = names.setdefault(row[label], len(names))
                    counts[number] += 1
                labels.append(number)
                if measured:
                    lengths.append(measured(value, problems))
                elif self._key == "text":
                    lengths.append(len(value))
            more |= next(stream, None) is not None
            ends.append(len(same))
        keys, numbers = np.array(same, np.int64), np.array(labels, np.int64)
        distinct = np.unique(keys)
        both = np.unique(np.stack([keys[numbers >= 0], numbers[numbers >= 0]], 1), axis=0)[:, 0] if label else keys[:0]
        conflicting = int((np.unique(both, return_counts=True)[1] > 1).sum())
        leaks = len(np.intersect1d(keys[: ends[0]], keys[ends[0] :]))
        known = list(names)
        classes = {known[number]: count for number, count in counts.most_common()}
        seen = np.array(lengths)
        seen = seen[np.isfinite(seen)]
        shares = {"shortest": 0, "5 %": 5, "median": 50, "95 %": 95, "longest": 100}
        percentiles = {name: float(np.percentile(seen, share)) for name, share in shares.items()} if len(seen) else {}
        self._notes |= {note: None for part in self._parts for note in part.notes}
        found = Report(
            rows,
            empty,
            unlabelled,
            len(keys) - len(distinct),
            conflicting,
            classes,
            percentiles,
            "seconds" if measured else "characters",
            leaks,
            self.encoding,
            self.delimiter,
            (),
        )
        said = [*self._notes, *self._said(found, problems)]
        if more:
            said.append(f"the report is of the first {REPORTED:,} rows")
        return Report(**{**vars(found), "warnings": tuple(said)})

    def _said(self, found: Report, problems: Counter[str]) -> Iterator[str]:
        if self.guessed:
            yield "guessed: " + ", ".join(f"{role} is column {visible(self.roles[role], 60)}" for role in self.guessed)
        strays = sum(file.strays for part in self._parts for file in part.files if isinstance(file, TextFile))
        if strays:
            yield (
                f"{strays:,} lines are no UTF-8: their bytes were read as Windows-1252 (another one? encoding='…'), "
                "the rest as UTF-8"
            )
        if found.empty:
            yield f"{found.empty:,} of {found.rows:,} rows have no {self._key}: they are left out"
        if found.unlabelled:
            yield f"{found.unlabelled:,} rows have no {self._answer}: they are trained on without, and never tested on"
        if found.duplicates:
            yield f"{found.duplicates:,} rows repeat an earlier {self._key}: they stay on one side of a split"
        if found.conflicting:
            yield f"{found.conflicting:,} texts occur with different labels: no model can get them all right"
        if found.leaks:
            yield f"{found.leaks:,} texts of the test are in the training data, too: they are dropped from training"
        counts = list(found.classes.values())
        name = [visible(name, 40) for name in found.classes]
        if self.kind in ("classification", "images") and len(counts) == 1:
            yield f"there is one class only, {name[0]}: nothing can be learnt"
        elif self.kind in ("classification", "images") and len(counts) > max(20, found.rows // 2):
            yield f"{len(counts):,} different labels in {found.rows:,} rows: is {self.roles['label']} a label?"
        elif counts and counts[0] >= IMBALANCE * counts[-1]:
            yield f"the classes are uneven: {name[0]} has {counts[0]:,} rows, {name[-1]} {counts[-1]:,}"
        yield from (f"{count:,} sounds {problem}" for problem, count in problems.items())


def _at_most(most: int, places: list[int], classes: Sequence[str | None], rng: np.random.Generator) -> list[int]:
    """These, or a sample of them in which each class is still found."""
    if len(places) <= most:
        return places
    order = rng.permutation(len(places))
    seen: set[str | None] = set()
    firsts = [place for place in order if not (classes[place] in seen or seen.add(classes[place]))]  # type: ignore[func-returns-value]
    kept = dict.fromkeys([*firsts, *order])
    return [places[place] for place in sorted(islice(kept, most))]


def _running_split(
    rows: Rows, groups: dict[Any, list[int]], test: float, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Stretches of a running text held out; what of them is elsewhere in it, too, is not tested on."""
    if len(groups) < 2:
        raise BadValue("the text has one row only: at least two different ones are needed, to train and to test on")
    runs = np.array_split(np.arange(len(rows)), min(RUNS, len(groups), len(rows)))
    count = max(1, round(min(test, TESTS / len(rows)) * len(runs)))
    chosen = np.sort(rng.permutation(len(runs))[: min(count, len(runs) - 1)])
    out = {int(place) for run in chosen for place in runs[run]}
    shared = {place for group in groups.values() if not out.issuperset(group) for place in group}
    found = [place for place in sorted(out) if place not in shared][:TESTS]
    if not found:
        raise BadValue("every row of the text is there more than once: nothing is left to test on")
    return [row for place, row in enumerate(rows) if place not in out], [rows[place] for place in found]


def _maker(role: str, places: list[int], part: Table) -> Callable[[Sequence[Any]], Any]:
    """What makes a role's value out of a row's cells."""
    place = places[0]
    if role in ("audio", "image"):
        return lambda row: _media(row[place], part)
    if len(places) > 1:
        return lambda row: "\n".join(text for one in places if (text := _text(row[one]))) or None
    if role == "label":
        return lambda row: (_text(row[place]) or "").strip() or None
    return lambda row: _text(row[place])


def _text(value: Any) -> str | None:
    """A cell as text: whole numbers without a point, lists and objects as JSON; None for nothing, nan and blanks."""
    if type(value) is not str:
        if is_empty(value):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        elif isinstance(value, list | dict):
            import json

            value = value[0] if isinstance(value, list) and len(value) == 1 else value
            value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
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
    path = Path(value)
    if path.is_absolute() or part.folder is None:
        found = path if path.is_file() else None
    else:
        tried = (part.folder / near / f"{path}{end}" for near in NEARBY for end in ("", *SOUNDS))
        found = next((one for one in tried if one.is_file()), None)
    if found is None:
        raise BadFile(
            f"{part.where} names {shown(str(value), 120)}, and there is no such file in {part.folder or 'reach'}"
        )
    return found


def _digest(value: Path | bytes) -> bytes:
    """Of a sound or picture: its size and its first 64 kB."""
    if isinstance(value, bytes):
        head, size = value[: 2**16], len(value)
    else:
        size = value.stat().st_size
        with value.open("rb") as file:
            head = file.read(2**16)
    return hashlib.blake2b(head + size.to_bytes(8, "little"), digest_size=16).digest()


def _seconds(value: Path | bytes, problems: Counter[str]) -> float:
    """How long a sound lasts, read from its header; what is wrong with it is counted."""
    import io

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


def _told(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return "" if value is None else visible(value.name if isinstance(value, Path) else value)


def read_data(
    source: Any,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    target_column: str | None = None,
    rationale_column: str | None = None,
    audio_column: str | None = None,
    image_column: str | None = None,
    task: str | None = None,
    encoding: str | None = None,
) -> Data:
    """Data of one's own, read as a stream: which column is what is guessed where it is not said.

    Args:
        source: a file (CSV or TSV, JSONL or JSON, Parquet, text, lines of ``LABEL text``; also .gz), two parallel files
            (a pair, or ``"a.en,b.fr"``), a folder (of any of these, of texts, of WAV or FLAC with transcripts.csv or
            the text before the first ``_`` of their names, of pictures in a folder a class), a data set of the Hugging
            Face hub (``org/name``, ``org/name:config``, ``org/name@split``), a DataFrame, or a list of dicts.
        text_column, label_column, …: names of columns; several (``"premise,hypothesis"``) are one text, a line each.
        task: classification, seq2seq, language, speech or images; found from the columns if left out.
        encoding: of the text, if it is neither UTF-8, nor UTF-16 with its mark, nor Windows-1252.

    Raises:
        BadFile: what is not as described, with the file and the line. BadValue: a column that is not there.

    >>> data = read_data([{"review": "Good.", "stars": 5}, {"review": "Bad!", "stars": 1}, {"review": None}])
    >>> data.kind, data.roles
    ('classification', {'text': 'review', 'label': 'stars'})
    >>> list(data.rows())[0]
    {'text': 'Good.', 'label': '5'}
    """
    train, test = _tables(source, encoding)
    given = {
        "text": text_column,
        "label": label_column,
        "target": target_column,
        "rationale": rationale_column,
        "audio": audio_column,
        "image": image_column,
    }
    head = _head(train)
    sample = {name: [row[place] for row in head] for place, name in enumerate(train.columns)}
    roles, guessed = find_roles(train.columns, sample, given, train.roles, train.where)
    kind = find_kind(roles, task, train.columns, train.where)
    made = Data(train, test, roles, guessed, kind)
    if test is not None:
        next(made._rows(test), None)  # it has the same columns
    return made


def _head(table: Table, characters: int = 2**23) -> list[tuple[Any, ...]]:
    """The first rows, of so many characters at most."""
    head = []
    for row in islice(table.read(table.columns), 2 * tables.HEAD):
        head.append(row)
        characters -= sum(len(value) for value in row if isinstance(value, str | bytes))
        if characters < 0:
            break
    if not head:
        raise BadFile(f"{table.where} holds no rows")
    return head


def _tables(source: Any, encoding: str | None) -> tuple[Table, Table | None]:
    """The source as a table, and its own test data."""
    if (
        isinstance(source, list | tuple)
        and len(source) == 2
        and all(isinstance(one, str | os.PathLike) for one in source)
    ):
        first, second = map(Path, source)
        if all(tables.suffix_of(path) in folders.TABLES for path in (first, second)):
            return tables.chained([tables.of_file(path, encoding) for path in (first, second)], "the files"), None
        return tables.pair(first, second, encoding), None
    if isinstance(source, list | tuple):
        return tables.of_rows(source), None
    if isinstance(source, str | os.PathLike):
        return _of_path(source, encoding)
    module = type(source).__module__.partition(".")[0]
    if module == "pandas" and hasattr(source, "iloc") and hasattr(source, "columns"):
        return tables.of_frame(source), None
    if module == "datasets":
        return hub.of_datasets(source, "the data set")
    raise BadType(f"source must be a path, a hub's org/name, a DataFrame or a list of dicts, got {shown(source)}")


def _of_path(source: str | os.PathLike[str], encoding: str | None) -> tuple[Table, Table | None]:
    path = Path(source)
    try:
        there = path.exists()
    except (OSError, ValueError):
        there = False
    if there and path.is_dir():
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            return hub.of_folder(path)
        return folders.of_folder(path, encoding)
    if there:
        return tables.of_file(path, encoding), None
    name = str(source)
    both = [Path(part.strip()) for part in name.split(",")]
    if len(both) == 2 and all(str(part) != "." for part in both):
        return _tables(both, encoding)
    known = (*folders.TABLES, *folders.PROSE, ".gz", ".zip", ".tar")
    if hub.NAME.fullmatch(name) and path.suffix.lower() not in known and isinstance(source, str):
        return hub.of_name(name)
    raise BadFile(
        f"there is no file or folder {shown(name, 200)}: give the path of one, or a data set of the hub as org/name"
    )
