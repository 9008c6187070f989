"""One file, or one object in memory, as a table that is read as a stream: CSV, JSON, Parquet, lines of text."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadFile, BadType, BadValue, shown
from distilkit.sources.columns import NAMES, plain
from distilkit.sources.objects import flat_row, is_object, lines_of, list_within, listed
from distilkit.sources.texts import TextFile, check_regular

if TYPE_CHECKING:
    import pandas as pd

MOST_FIELD = 2**20  # characters of a CSV field
HEAD = 1000  # lines by which a file is known for what it is, or rows of a table
HEAD_CHARACTERS = 2**21
PASSAGE = 2**13  # characters: a longer passage of running text is cut at the end of a line
PARTED = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
DELIMITED = (".csv", ".tsv", ".tab", ".psv")
JSONS = (".jsonl", ".ndjson", ".json")
RUNNING = (".md", ".rst", ".py")  # never a table
Row = tuple[Any, ...]


@dataclass(eq=False)
class Table:
    """Rows that are read anew each time.

    Attributes:
        where: the source, as errors name it.
        columns: their names; `read` gives a row's values of the columns it is asked for.
        roles: what the form of the source says, such as a line's label.
        files: what it reads; `folder`: which the names of sounds and pictures start from.
        delimiter: of CSV; `count`: rows, where that is known; `notes`: to be told, each once.
        running: its rows follow each other, as the passages of a book do.
    """

    where: str
    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[Row]]
    roles: Mapping[str, str] = field(default_factory=dict)
    files: tuple[TextFile | Path, ...] = ()
    folder: Path | None = None
    delimiter: str | None = None
    count: int | None = None
    notes: dict[str, None] = field(default_factory=dict)
    running: bool = False


def of_file(path: Path, encoding: str | None = None) -> Table:
    """The table in a file, by the end of its name or else by what its first lines look like."""
    table = _of_file(path, encoding)
    table.folder = path.parent
    return table


def _of_file(path: Path, encoding: str | None) -> Table:
    check_regular(path)
    suffix = suffix_of(path)
    if suffix in (".parquet", ".pq"):
        return _parquet(path)
    file = TextFile(path, encoding)
    if suffix in JSONS:
        return _json(file)
    head, whole = _head(file)
    if not any(line.strip() for line in head):
        raise BadFile(f"{shown(str(path), 200)} is empty: there is no line in it")
    if suffix not in (*DELIMITED, *RUNNING) and head[0].lstrip().startswith("{") and is_object(head[0]):
        return _json(file)
    if suffix in DELIMITED:
        return _delimited(file, head, whole, suffix)
    if suffix not in RUNNING:
        labelled = _labelled(file, head)
        if labelled is not None:
            return labelled
        if _is_delimited(head, whole, suffix):
            return _delimited(file, head, whole, suffix)
    return running([file])


def suffix_of(path: Path) -> str:
    """The end of a file's name, without .gz: ".csv" of reviews.csv.gz."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def _head(file: TextFile) -> tuple[list[str], bool]:
    """The first lines, and whether these are all."""
    head, characters, lines = [], 0, file.lines()
    for line in islice(lines, HEAD):
        head.append(line)
        characters += len(line)
        if characters > HEAD_CHARACTERS:
            break
    return head, next(lines, None) is None


# Comma-separated values


def _delimited(file: TextFile, head: list[str], whole: bool, suffix: str) -> Table:
    csv.field_size_limit(max(csv.field_size_limit(), MOST_FIELD))
    dialect = _sniffed(head, whole, suffix)
    where = shown(str(file.path), 200)
    records = list(islice(_records(file, dialect, where), HEAD))
    notes: dict[str, None] = {}
    titled = _is_header(records)
    columns = _names(records[0]) if titled else tuple(f"column_{number}" for number in range(1, len(records[0]) + 1))
    if not titled:
        notes[f"{file.path.name} has no line of column names: its columns are {', '.join(columns)}"] = None

    parted = dialect["delimiter"] if len(columns) > 1 else None

    def read(names: Sequence[str]) -> Iterator[Row]:
        pick = picker(columns, names)
        yield from map(pick, islice(_records(file, dialect, where), int(titled), None))

    return Table(where, columns, read, files=(file,), delimiter=parted, notes=notes)


def _records(file: TextFile, dialect: dict[str, Any], where: str) -> Iterator[list[str]]:
    """Records of equally many fields; empty lines are none."""
    reader = csv.reader(file.lines(), strict=True, **dialect)
    width = 0
    try:
        for record in reader:
            if len(record) != width:
                if not record:
                    continue
                if width:
                    raise BadFile(
                        f"{where}, line {reader.line_num:,}: {len(record)} fields, the first line has {width} "
                        f"(parted by {PARTED[dialect['delimiter']]}). Quote what holds one, or mend the line"
                    )
                width = len(record)
            yield record
    except csv.Error as error:
        reason = f"a field of more than {MOST_FIELD:,} characters" if "field limit" in str(error) else str(error)
        raise BadFile(
            f"{where}, line {reader.line_num:,}: {reason}. Is a quotation mark left open, or not doubled?"
        ) from None


def picker(columns: Sequence[str], names: Sequence[str]) -> Callable[[Any], Row]:
    """What picks the values of these columns out of a row of all."""
    places = [columns.index(name) for name in names]
    if len(places) == 1:
        place = places[0]
        return lambda row: (row[place],)
    return itemgetter(*places) if places else lambda row: ()


def _sniffed(head: list[str], whole: bool, suffix: str) -> dict[str, Any]:
    """The delimiter and the quoting under which the first lines are most regular."""
    quoted: dict[str, Any] = {"quoting": csv.QUOTE_MINIMAL}
    escaped: dict[str, Any] = {"quoting": csv.QUOTE_MINIMAL, "escapechar": "\\", "doublequote": False}
    unquoted: dict[str, Any] = {"quoting": csv.QUOTE_NONE, "quotechar": None}
    text = "".join(head)
    best: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    for delimiter in {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(suffix, ",;\t|"):
        ways = [quoted, *([escaped] if '\\"' in text else []), *([unquoted] if delimiter in "\t|" else [])]
        if delimiter in "\t|" and not re.search(rf'(?:^|[\r\n{delimiter}])"', text):
            ways = [unquoted]  # a quotation mark may still begin a later field
        for way in ways:
            dialect = {"delimiter": delimiter, **way}
            records, broken = _parsed(head, dialect, whole)
            widths = Counter(map(len, records))
            width = len(records[0]) if records else 0
            known = sum(plain(cell) in _KNOWN for cell in records[0]) if records else 0
            score = (width > 1, not broken, round(widths[width] / max(1, len(records)), 3), known, width)
            if best is None or score[:3] > best[0][:3] or (score > best[0] and delimiter != best[1]["delimiter"]):
                best = score, dialect
    assert best is not None
    return best[1]


_KNOWN = {name for names in NAMES.values() for name in names.split()}


def _parsed(head: list[str], dialect: dict[str, Any], whole: bool) -> tuple[list[list[str]], bool]:
    """The records in these lines, and whether something in them is against the rules."""
    reader, records = csv.reader(head, strict=True, **dialect), []
    try:
        for record in filter(None, reader):
            records.append(record)  # noqa: PERF402 (those before an error are kept)
    except csv.Error as error:
        return records, whole or "unexpected end" not in str(error)
    return records, False


def _is_header(records: list[list[str]]) -> bool:
    """Whether the first record names the columns rather than being a row."""
    first, rest = records[0], records[1:]
    if any(plain(cell) in _KNOWN or plain(cell) in ("id", "idx", "index") for cell in first):
        return True
    if not rest:
        return False
    numeric = any(re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?\s*", cell) for cell in first)
    again = any(cell.strip() and any(cell == row[place] for row in rest) for place, cell in enumerate(first))
    return not (numeric or again or any(len(cell) > 60 or len(cell.split()) > 4 for cell in first))


def _names(header: list[str]) -> tuple[str, ...]:
    """A name a column, each another one."""
    names: list[str] = []
    for number, cell in enumerate(header, 1):
        name = cell.strip() or f"column_{number}"
        names.append(name if name not in names else f"{name}_{number}")
    return tuple(names)


def _is_delimited(head: list[str], whole: bool, suffix: str) -> bool:
    """Whether a file that does not say so is CSV: tabs in every line, or columns whose names are known."""
    csv.field_size_limit(max(csv.field_size_limit(), MOST_FIELD))
    dialect = _sniffed(head, whole, suffix)
    records, broken = _parsed(head, dialect, whole)
    width = len(records[0]) if records else 0
    if broken or width < 2 or len(records) < 2 or any(len(record) != width for record in records):
        return False
    return dialect["delimiter"] == "\t" or sum(plain(cell) in _KNOWN for cell in records[0]) >= 2


# JSON


def _json(file: TextFile) -> Table:
    """A list of objects, an object a line, or an object that holds one list of objects."""
    where = shown(str(file.path), 200)
    head = next(file.blocks(), "").lstrip()
    first, _, rest = head.partition("\n")
    if not head:
        raise BadFile(f"{where} is empty: there is nothing in it")
    items = lines_of
    if head.startswith("["):
        items = listed
    elif suffix_of(file.path) == ".json" and (not is_object(first) or not rest.strip()):
        items = list_within
    return of_items(lambda: items(file, where), where, files=(file,))


def of_items(
    items: Callable[[], Iterator[Any]], where: str, *, files: tuple[TextFile | Path, ...] = (), count: int | None = None
) -> Table:
    """A table of objects (dicts; a bare text is one of a column "text"); objects in them are columns "a.b"."""
    columns: dict[str, None] = {}
    for number, item in enumerate(islice(items(), HEAD), 1):
        columns |= dict.fromkeys(flat_row(item, where, number))
    if not columns:
        raise BadFile(f"{where} holds no rows")

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, item in enumerate(items(), 1):
            row = flat_row(item, where, number)
            yield tuple([row.get(name) for name in names])

    return Table(where, tuple(columns), read, files=files, count=count)


# Parquet and memory


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = shown(str(path), 200)

    def file() -> Any:
        try:
            return pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise BadFile(f"{where} is no whole Parquet file: {shown(str(error), 120)}") from None

    with file() as first:
        names, count = tuple(first.schema_arrow.names), first.metadata.num_rows
        nested = any(pa.types.is_struct(one.type) for one in first.schema_arrow)
    if not count:
        raise BadFile(f"{where} holds no rows")

    def read(columns: Sequence[str]) -> Iterator[Row]:
        try:
            with file() as opened:
                for batch in opened.iter_batches(batch_size=1024, columns=list(set(columns))):
                    yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise BadFile(f"{where} is damaged: {shown(str(error), 120)}") from None

    if not nested:
        return Table(where, names, read, files=(path,), count=count)
    return of_items(
        lambda: (dict(zip(names, row, strict=True)) for row in read(names)), where, files=(path,), count=count
    )


def of_frame(frame: pd.DataFrame) -> Table:
    """A table of a DataFrame."""
    if not len(frame) or not len(frame.columns):
        raise BadValue("the DataFrame is empty: it has no rows or no columns")
    names = _names([str(name) for name in frame.columns])

    def read(columns: Sequence[str]) -> Iterator[Row]:
        parts = [frame.iloc[:, names.index(name)] for name in columns]
        yield from zip(*(part.astype(object).where(part.notna(), None) for part in parts), strict=True)

    return Table("the DataFrame", names, read, count=len(frame))


def of_rows(rows: Sequence[Any]) -> Table:
    """A table of dicts, or of texts."""
    if not rows:
        raise BadValue("the list is empty: give rows, [{'text': …, 'label': …}, …]")
    wrong = next((row for row in rows if not isinstance(row, Mapping | str)), None)
    if wrong is not None:
        raise BadType(f"a row must be a dict of columns, got {shown(wrong)}")
    return of_items(lambda: iter(rows), "the list", count=len(rows))


# Lines

_FASTTEXT = re.compile(r"__label__(\S+)((?:\s+__label__\S+)*)\s+(\S.*)", re.DOTALL)
_TREC = re.compile(r"([^\W\d_][\w-]*):(\w[\w-]*)\s+(\S.*)", re.DOTALL)
_FIRST_WORD = re.compile(r"(\w[\w.+-]*)()\s+(\S.*)", re.DOTALL)


def _labelled(file: TextFile, head: list[str]) -> Table | None:
    """Lines that begin with their label, if these are such lines."""
    lines = [line for line in head if line.strip()]
    where = shown(str(file.path), 200)
    for form in (_FASTTEXT, _TREC, _FIRST_WORD):
        found = [form.match(line.strip()) for line in lines]
        matched = [one for one in found if one]
        if len(matched) < 0.98 * len(lines) or (form is not _FASTTEXT and not _are_labels(form, matched)):
            continue
        columns = ("label", "sublabel", "text") if form is _TREC else ("label", "text")

        def read(names: Sequence[str], form: re.Pattern[str] = form) -> Iterator[Row]:
            places = [("label", "sublabel", "text").index(name) for name in names]
            for number, line in enumerate(file.lines(), 1):
                if line.strip():
                    one = form.match(line.strip())
                    if one is None and form is _FASTTEXT:
                        cells: Sequence[str | None] = (None, None, line)  # a text without a label
                    elif one is None:
                        raise BadFile(f"{where}, line {number:,} does not begin with a label, got {shown(line)}")
                    else:
                        cells = one.groups()
                    yield tuple([cells[place] for place in places])

        notes: dict[str, None] = {}
        if form is _FIRST_WORD:
            some = shown(", ".join(sorted({one[1] for one in matched})), 80)
            notes[f"the first word of each line is read as its label: {some} (if it is none: task='language')"] = None
        elif form is _FASTTEXT and any(one[2] for one in matched):
            notes["some lines have several labels: the first of them is read"] = None
        return Table(where, columns, read, {"text": "text", "label": "label"}, (file,), notes=notes)
    return None


def _are_labels(form: re.Pattern[str], matched: list[re.Match[str]]) -> bool:
    labels = [one[1] for one in matched]
    distinct = set(labels)
    if form is _TREC:
        return len(distinct) <= max(2, len(labels) // 4) and len({one[0] for one in matched}) > 1
    written_so = all(map(str.isdigit, distinct)) or (all(map(str.isupper, distinct)) and max(map(len, distinct)) > 1)
    return 2 <= len(distinct) <= 20 and 2 * len(distinct) <= len(labels) and written_so


def pair(first: Path, second: Path, encoding: str | None = None) -> Table:
    """Two files whose lines say the same: columns text and target."""
    files = TextFile(first, encoding), TextFile(second, encoding)
    counts = [sum(1 for _ in file.lines()) for file in files]
    where = shown(f"{first}, {second}", 200)
    if counts[0] != counts[1]:
        raise BadFile(
            f"{where}: parallel files must have equally many lines, got {counts[0]:,} and {counts[1]:,}: a line of the "
            "one is the translation of the same line of the other"
        )
    if not counts[0]:
        raise BadFile(f"{where} are empty: there is no line in them")

    def read(names: Sequence[str]) -> Iterator[Row]:
        pick = picker(("text", "target"), names)
        for both in zip_longest(*(file.lines() for file in files), fillvalue=""):
            yield pick([line.rstrip("\r\n") for line in both])

    return Table(where, ("text", "target"), read, {"text": "text", "target": "target"}, files, count=counts[0])


def running(files: Sequence[TextFile]) -> Table:
    """Running text: a row a paragraph, where empty lines part them, else a row a line."""
    heads = [line for file in files[:20] for line in _head(file)[0]]
    if not any(line.strip() for line in heads):
        raise BadFile(f"{shown(str(files[0].path), 200)} is empty: there is no text in it")
    parted = sum(not line.strip() for line in heads) >= max(1, len(heads) // 50)
    where = shown(str(files[0].path if len(files) == 1 else files[0].path.parent), 200)

    def read(names: Sequence[str]) -> Iterator[Row]:
        for file in files:
            for passage in passages(file.lines()) if parted else file.lines():
                if passage.strip():
                    yield tuple(passage.strip("\r\n") for _ in names)

    return Table(where, ("text",), read, {"text": "text"}, tuple(files), running=True)


def passages(lines: Iterable[str]) -> Iterator[str]:
    """Lines up to an empty one, or up to some `PASSAGE` characters."""
    held: list[str] = []
    size = 0
    for line in lines:
        if not line.strip() or size > PASSAGE:
            yield "".join(held)
            held, size = [], 0
        if line.strip():
            held.append(line.replace("\r\n", "\n"))
            size += len(line)
    yield "".join(held)


def chained(tables: Sequence[Table], where: str) -> Table:
    """Tables of the same columns, one after the other."""
    first = tables[0]
    if len(tables) == 1:
        return first
    other = next((table for table in tables if set(table.columns) != set(first.columns)), None)
    if other is not None:
        raise BadFile(
            f"{where} holds tables of different columns: {first.where} has {shown(', '.join(first.columns), 100)}, "
            f"{other.where} has {shown(', '.join(other.columns), 100)}. Give one of the files"
        )
    counts = [table.count for table in tables]
    return Table(
        where,
        first.columns,
        lambda names: chain.from_iterable(table.read(names) for table in tables),
        first.roles,
        tuple(file for table in tables for file in table.files),
        first.folder,
        first.delimiter,
        sum(count for count in counts if count is not None) if None not in counts else None,
        {note: None for table in tables for note in table.notes},
        first.running,
    )
