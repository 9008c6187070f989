"""Folders of data: splits, shards, parallel files, texts, recordings, pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
MOST_REVIEW = 2**20  # bytes of a text that is a row; folders of longer ones hold running text
NO_CLASS = ("unsup", "unlabeled", "unlabelled")  # folders of texts without a label
TABLES = (*DELIMITED, *JSONS, ".parquet", ".pq")
PROSE = (".txt", ".text", *RUNNING)
ABOUT = ("readme", "license", "licence", "changelog", "notice", "authors", "citation", "sources")
LISTED = ("transcripts", "metadata", "validated", "labels", "annotations", "index")
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "valid": "valid"}
SPLITS |= {"validation": "valid", "dev": "valid", "val": "valid", "eval": "valid", "validated": ""}


def of_folder(folder: Path, encoding: str | None = None) -> tuple[Table, Table | None]:
    """The data in a folder, and its own test data, if some of its files or folders are called test, valid or dev."""
    files = _files(folder)
    listings = [file for file in files if file.parent == folder and suffix_of(file) in TABLES]
    media = [file for file in files if file.suffix.lower() in (*SOUNDS, *PICTURES)]
    splits: dict[str, list[Path]] = {}
    for file in listings if media and listings else files:
        splits.setdefault(_split_of(file.relative_to(folder)), []).append(file)
    held_out = splits.get("test") or splits.get("valid")
    if not splits.get("train") or not held_out:
        return _of_files(folder, files, encoding), None
    beside = media if listings else []
    train, test = (_of_files(folder, [*part, *beside], encoding) for part in (splits["train"], held_out))
    return train, test


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for file in folder.rglob("*"):
        *above, name = file.relative_to(folder).parts
        if not name.startswith(".") and not any(part.startswith((".", "_")) for part in above) and file.is_file():
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
    sounds = [file for file in files if file.suffix.lower() in SOUNDS]
    pictures = [file for file in files if file.suffix.lower() in PICTURES]
    data = [file for file in files if suffix_of(file) in TABLES]
    listing = _listing(data)
    if sounds:
        return _listed(listing, sounds, "audio", encoding) if listing else _recordings(folder, sounds, files, encoding)
    if pictures and (listing or not data):
        return _listed(listing, pictures, "image", encoding) if listing else _pictures(folder, pictures)
    if data:
        return chained([of_file(file, encoding) for file in data], shown(str(folder), 200))
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
    reviews = _in_classes([file for file in prose if suffix_of(file) == ".txt"])
    if len(reviews) >= 0.9 * len(prose) and max(file.stat().st_size for file in reviews) <= MOST_REVIEW:
        return _texts_of_classes(folder, reviews, encoding)
    if len(prose) == 1:
        return of_file(prose[0], encoding)
    return running([TextFile(file, encoding) for file in prose])


def _in_classes(files: Sequence[Path]) -> list[Path]:
    """Those files whose folders can be their classes: several folders, none in another, of five files or more."""
    parents = Counter(file.parent for file in files)
    above = {folder for parent in parents for folder in parent.parents}
    leaves = {parent for parent in parents if parent not in above}
    if len(leaves) < 2 or max(parents[parent] for parent in leaves) < 5:
        return []
    return [file for file in files if file.parent in leaves]


def _texts_of_classes(folder: Path, files: Sequence[Path], encoding: str | None) -> Table:
    """A text a file, whose folder is its label, as the IMDb reviews come."""

    def read(names: Sequence[str]) -> Iterator[Row]:
        pick = picker(("text", "label"), names)
        for file in files:
            text = "".join(TextFile(file, encoding).lines()) if "text" in names else ""
            yield pick((text, None if file.parent.name in NO_CLASS else file.parent.name))

    roles = {"text": "text", "label": "label"}
    return Table(shown(str(folder), 200), ("text", "label"), read, roles, tuple(files), folder, count=len(files))


def _listing(data: Sequence[Path]) -> Path | None:
    """Of several tables the one that says what is in the sounds or pictures beside it."""
    named = [file for file in data if file.stem.lower() in LISTED]
    if named:
        return min(named, key=lambda file: (len(file.parts), LISTED.index(file.stem.lower())))
    return data[0] if len(data) == 1 else None


def _listed(listing: Path, files: Sequence[Path], role: str, encoding: str | None) -> Table:
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


def _recordings(folder: Path, files: Sequence[Path], beside: Sequence[Path], encoding: str | None) -> Table:
    """What is said is in a text beside each (``a.txt`` of ``a.wav``) or some (``84-1.trans.txt``, a line each, as
    LibriSpeech comes), or in their names (``stop_anna_1.wav``), or is the folders', of which each word has its own."""
    said: dict[str, str] = {}
    own = {file.with_suffix(".txt") for file in files} & set(beside)
    for text in own:
        said[str(text.with_suffix(""))] = " ".join(" ".join(TextFile(text, encoding).lines()).split())
    for text in [file for file in beside if file.name.endswith(".trans.txt")]:
        said |= dict(line.strip().split(" ", 1) for line in TextFile(text, encoding).lines() if " " in line.strip())
    if said:
        return _of_media(
            folder, files, "audio", "text", lambda file: said.get(str(file.with_suffix("")), said.get(file.stem))
        )
    firsts = [file.stem.partition("_")[0] for file in files]
    words = sum(word.isalpha() or word.isdigit() for word in firsts) >= 0.9 * len(files)
    by_folder = bool(_in_classes(files)) and not (words and len(set(firsts)) <= len(files) // 2)
    if by_folder:
        return _of_media(folder, files, "audio", "text", lambda file: file.parent.name)
    return _of_media(folder, files, "audio", "text", lambda file: file.stem.partition("_")[0])


def _pictures(folder: Path, files: Sequence[Path]) -> Table:
    loose = next((file for file in files if file.parent == folder), None)
    if loose:
        raise BadFile(
            f"{shown(str(folder), 200)}: nothing says what {shown(loose.name)} shows: give each class a folder of its "
            "own, or write metadata.csv with the columns file_name and label"
        )
    return _of_media(folder, files, "image", "label", lambda file: file.parent.name)


def _of_media(folder: Path, files: Sequence[Path], role: str, other: str, told: Callable[[Path], str | None]) -> Table:
    """A row a file, and what is told of it."""

    def read(names: Sequence[str]) -> Iterator[Row]:
        pick = picker((role, other), names)
        for file in files:
            yield pick((file, told(file)))

    roles = {role: role, other: other}
    return Table(shown(str(folder), 200), (role, other), read, roles, tuple(files), folder, count=len(files))
