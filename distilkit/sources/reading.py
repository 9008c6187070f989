"""From a path, a name or an object to data: what it is, and which of its columns is what."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

from distilkit.errors import BadFile, BadType, shown
from distilkit.origin import remembered
from distilkit.sources import folders, hub, tables
from distilkit.sources.columns import find_kind, find_roles, several
from distilkit.sources.data import Data
from distilkit.sources.tables import Table
from distilkit.sources.texts import TextFile


@remembered
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
            (a pair, or ``"a.en,b.fr"``), a folder (of any of these, of texts, of WAV or FLAC with transcripts.csv, a
            .txt beside each or the text before the first ``_`` of their names, of pictures in a folder a class), a data
            set of the Hugging Face hub (``org/name``, ``org/name:config``, ``org/name@split``), a DataFrame, or
            a list of dicts.
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
    if task == "language":
        train, test = _running(train, encoding), test and _running(test, encoding)
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
    roles, guessed = find_roles(train.columns, sample, given, train.roles, task, train.where)
    kind = find_kind(roles, task, train.columns, train.where)
    if test is not None:
        needed = [one for name in roles.values() for one in several(name, train.columns)]
        lacking = [name for name in needed if name not in test.columns]
        if lacking:
            train.notes[f"{test.where} has no column {shown(lacking[0])}: it is no test, and left out"] = None
            test = None
    return Data(train, test, roles, guessed, kind)


def _running(table: Table, encoding: str | None) -> Table:
    """Text as it stands, where a label was seen in the first words of its lines or in its folders' names."""
    if table.roles.keys() != {"text", "label"}:
        return table
    return tables.running([file if isinstance(file, TextFile) else TextFile(file, encoding) for file in table.files])


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
