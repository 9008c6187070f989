"""Folders of data: splits, shards, parallel files, texts, recordings, pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from distilkit.errors import BadFile, shown
from distilkit.sources.columns import PICTURES, SOUNDS, is_file, plain
from distilkit.sources.tables import (
    DELIMITED,
    JSONS,
    RUNNING,
    Row,
    Table,
    chained,
    of_file,
    pair,
    picker,
    running,
    suffix_of,
)
from distilkit.sources.texts import TextFile

MOST_FILES = 1_000_000
TABLES = (*DELIMITED, *JSONS, ".parquet", ".pq")
PROSE = (".txt", ".text", *RUNNING)
ABOUT = ("readme", "license", "licence", "changelog", "notice", "authors", "citation", "sources")
LISTED = ("transcripts", "metadata", "validated", "labels", "annotations", "index")
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "valid": "valid"}
SPLITS |= {"validation": "valid", "dev": "valid", "val": "valid", "eval": "valid", "validated": ""}


def of_folder(folder: Path, encoding: str | None = None) -> tuple[Table, Table | None]:
    """The data in a folder, and its own test data, if some of its files or folders are called test, valid or dev."""
    files = _files(folder)
    media = [file for file in files if file.suffix.lower() in (*SOUNDS, *PICTURES)]
    splits: dict[str, list[Path]] = {}
    if not (media and _listing(folder)):
        for file in files:
            splits.setdefault(_split_of(file.relative_to(folder)), []).append(file)
    held_out = splits.get("test") or splits.get("valid")
    if splits.get("train") and held_out:
        return _of_files(folder, splits["train"], encoding), _of_files(folder, held_out, encoding)
    return _of_files(folder, files, encoding), None


def _files(folder: Path) -> list[Path]:
    found = []
    for file in folder.rglob("*"):
        hidden = any(part.startswith((".", "__")) for part in file.relative_to(folder).parts)
        if not hidden and file.is_file():
            found.append(file)
        if len(found) > MOST_FILES:
            raise BadFile(f"{shown(str(folder), 200)} holds more than {MOST_FILES:,} files: give a part of it")
    if not found:
        raise BadFile(f"{shown(str(folder), 200)} holds no file")
    return sorted(found)


def _split_of(name: Path) -> str:
    """Which part of the data a file belongs to, by a word of its name or of a folder's: train, test, valid."""
    for part in name.parts:
        for word in re.split(r"[^a-z]+", part.lower()):
            if SPLITS.get(word):
                return SPLITS[word]
    return ""


def _of_files(folder: Path, files: list[Path], encoding: str | None) -> Table:
    by_kind = {
        "sounds": [file for file in files if file.suffix.lower() in SOUNDS],
        "pictures": [file for file in files if file.suffix.lower() in PICTURES],
        "tables": [file for file in files if suffix_of(file) in TABLES],
    }
    if by_kind["sounds"]:
        return _recordings(folder, by_kind["sounds"], encoding)
    if by_kind["pictures"] and not [file for file in by_kind["tables"] if file.stem.lower() not in LISTED]:
        return _pictures(folder, by_kind["pictures"], encoding)
    if by_kind["tables"]:
        tables = [of_file(file, encoding) for file in by_kind["tables"]]
        return chained(tables, shown(str(folder), 200))
    texts = [file for file in files if not file.stem.lower().startswith(ABOUT) or len(files) == 1]
    stems = {file.name.removesuffix(".gz").rpartition(".")[0] for file in texts}
    if len(texts) == 2 and len(stems) == 1 and "" not in stems:
        return pair(texts[0], texts[1], encoding)
    prose = [file for file in texts if suffix_of(file) in PROSE]
    if len(texts) == 1 and not prose:
        return of_file(texts[0], encoding)
    if not prose:
        endings = ", ".join(sorted({suffix_of(file) or file.name for file in files})[:8])
        raise BadFile(
            f"{shown(str(folder), 200)} holds no data that is known (found {shown(endings)}): give CSV, JSONL, "
            "Parquet, .txt, two parallel files of one name, WAV, or pictures"
        )
    classes = _class_folders(folder, prose)
    if classes:
        return _texts_of_classes(folder, prose, encoding)
    if len(prose) == 1:
        return of_file(prose[0], encoding)
    return running([TextFile(file, encoding) for file in prose])


def _class_folders(folder: Path, files: Sequence[Path], least: int = 1) -> bool:
    """Whether each file lies in a folder that can be its class."""
    counts = Counter(file.parent for file in files)
    return len(counts) >= 2 and folder not in counts and min(counts.values()) >= least and max(counts.values()) >= 5


def _texts_of_classes(folder: Path, files: Sequence[Path], encoding: str | None) -> Table:
    """A text a file, whose folder is its label, as the IMDb reviews come."""

    def read(names: Sequence[str]) -> Iterator[Row]:
        pick = picker(("text", "label"), names)
        for file in files:
            text = "".join(TextFile(file, encoding).lines()) if "text" in names else ""
            yield pick((text, file.parent.name))

    roles = {"text": "text", "label": "label"}
    return Table(shown(str(folder), 200), ("text", "label"), read, roles, tuple(files), folder, count=len(files))


def _listing(folder: Path) -> Path | None:
    """The table that says what is in a folder's sounds or pictures."""
    tables = sorted(file for file in folder.iterdir() if file.suffix.lower() in TABLES)
    named = [file for file in tables if file.stem.lower() in LISTED]
    return (
        min(named, key=lambda file: LISTED.index(file.stem.lower()))
        if named
        else tables[0]
        if len(tables) == 1
        else None
    )


def _listed(folder: Path, listing: Path, files: Sequence[Path], role: str, encoding: str | None) -> Table:
    """The rows of a table, a column of which names the files."""
    table = of_file(listing, encoding)
    sample = [row for _, row in zip(range(5), table.read(table.columns), strict=False)]
    present = {file.name for file in files} | {file.stem for file in files}
    suffixes = SOUNDS if role == "audio" else PICTURES

    def names_files(place: int) -> bool:
        cells = [row[place] for row in sample]
        return all(isinstance(cell, str) and (is_file(cell, suffixes) or Path(cell).name in present) for cell in cells)

    found = [name for place, name in enumerate(table.columns) if names_files(place)]
    if not found:
        raise BadFile(
            f"{table.where} has no column that names the files beside it (file_name, say): it has "
            f"{shown(', '.join(table.columns), 200)}"
        )
    column = found[0]
    roles = {role: column}
    rest = [name for name in table.columns if name != column]
    wanted = ("transcription", "transcript", "sentence", "text", "normalized_text") if role == "audio" else ()
    text = next((name for one in wanted for name in rest if plain(name) == one), None)
    if text:
        roles["text"] = text
    elif len(rest) == 1:
        roles["text" if role == "audio" else "label"] = rest[0]
    table.roles = roles if len(roles) == 2 else {}
    table.folder = listing.parent
    table.files = (*table.files, *files)
    unnamed = len(files) - (table.count or sum(1 for _ in table.read([column])))
    if unnamed > 0:
        table.notes[f"{unnamed:,} of {len(files):,} files are not named in {listing.name}: they are left out"] = None
    return table


def _recordings(folder: Path, files: Sequence[Path], encoding: str | None) -> Table:
    listing = _listing(folder)
    if listing is not None:
        return _listed(folder, listing, files, "audio", encoding)
    firsts = [file.stem.partition("_")[0] for file in files]
    words = sum(word.isalpha() or word.isdigit() for word in firsts) >= 0.9 * len(files)
    by_folder = _class_folders(folder, files) and not (words and len(set(firsts)) <= len(files) // 2)
    return _of_media(folder, files, "audio", "text", by_folder=by_folder)


def _pictures(folder: Path, files: Sequence[Path], encoding: str | None) -> Table:
    listing = _listing(folder)
    if listing is not None:
        return _listed(folder, listing, files, "image", encoding)
    loose = next((file for file in files if file.parent == folder), None)
    if loose:
        raise BadFile(
            f"{shown(str(folder), 200)}: nothing says what {shown(loose.name)} shows: give each class a folder of its "
            "own, or write metadata.csv with the columns file_name and label"
        )
    return _of_media(folder, files, "image", "label", by_folder=True)


def _of_media(folder: Path, files: Sequence[Path], role: str, other: str, *, by_folder: bool) -> Table:
    """A row a file, and what its folder's or its own name says of it."""

    def read(names: Sequence[str]) -> Iterator[Row]:
        pick = picker((role, other), names)
        for file in files:
            yield pick((file, file.parent.name if by_folder else file.stem.partition("_")[0]))

    roles = {role: role, other: other}
    return Table(shown(str(folder), 200), (role, other), read, roles, tuple(files), folder, count=len(files))
