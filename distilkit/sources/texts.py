"""Text files as streams of lines: usual encodings, plain or .gz, and never more of a line than memory bears."""

from __future__ import annotations

import gzip
import io
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from distilkit.errors import BadFile, BadValue, shown

MOST_LINE = 2**23  # characters; a longer line is refused
BLOCK = 2**20  # characters that are read at once
NO_TEXT = {  # first bytes -> what such a file is, and the way out
    b"PK\x03\x04": "a ZIP archive or a workbook: unpack it, or save the sheet as CSV, and give what was in it",
    b"BZh": "packed with bzip2: unpack it first",
    b"\xfd7zXZ": "packed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it, and give what was in it",
    b"Rar!": "a RAR archive: unpack it, and give what was in it",
    b"\xd0\xcf\x11\xe0": "a workbook or document of an office: save it as CSV or text",
    b"%PDF": "a PDF: save its text as .txt",
    b"PAR1": "Parquet: end its name in .parquet",
    b"RIFF": "a sound or picture file: give its folder",
    b"version https://git-lfs": "a git-LFS pointer, not the data: run `git lfs pull` in its repository",
}
MARKS = {  # byte-order mark -> codec, and what it is called
    b"\xef\xbb\xbf": ("utf-8-sig", "UTF-8 with BOM"),
    b"\xff\xfe\0\0": ("utf-32", "UTF-32"),
    b"\0\0\xfe\xff": ("utf-32", "UTF-32"),
    b"\xff\xfe": ("utf-16", "UTF-16"),
    b"\xfe\xff": ("utf-16", "UTF-16"),
}
_LONE = re.compile("[\ud800-\udfff]")
_LONE_AS_BYTES = re.compile("\udced[\udca0-\udcbf][\udc80-\udcbf]")  # a surrogate that was written as UTF-8


def check_regular(path: Path) -> int:
    """The size of a file, in bytes, which must be a regular one: no folder, pipe or device."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadFile(f"cannot read {shown(str(path), 200)}: {reason}. Check the path and its permissions") from None
    if not stat.S_ISREG(found.st_mode):
        raise BadFile(f"{shown(str(path), 200)} is no regular file (a pipe, a device?): save the data in a file first")
    return found.st_size


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a regular file, unpacked if it is .gz."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(f"{shown(str(path), 200)} is a damaged or cut .gz file: {shown(str(error), 100)}") from None
    except BadFile:
        raise
    except OSError as error:
        raise BadFile(
            f"cannot read {shown(str(path), 200)}: {error.strerror or error}. Check its permissions"
        ) from None


class TextFile:
    """A text file, plain or .gz, to be read as a stream as often as needed.

    Bytes that are no UTF-8 are read one by one as Windows-1252 (ISO-8859-1 where that has no letter), and counted in
    `strays`. A file that begins with a byte-order mark is read as that says, one with `encoding` as that
    says: strictly.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        self.strays = 0  # lines with bytes that are no UTF-8, of the last whole reading
        with opened(path) as file:
            head = file.read(512)
        what = next((what for start, what in NO_TEXT.items() if head.startswith(start)), None)
        if head[257:262] == b"ustar":
            what = "a tar archive: unpack it, and give what was in it"
        if re.match(rb"\s*<(!doctype html|html)", head, re.IGNORECASE):
            what = "a web page (a login or error page?), not the data: download it again"
        if what:
            raise BadFile(f"{shown(str(path), 200)} is {what}")
        mark = next((mark for mark in MARKS if head.startswith(mark)), None)
        self.codec, self.name = MARKS[mark] if mark else (encoding or "utf-8", encoding or "UTF-8")
        self.strict = self.codec not in ("utf-8", "utf-8-sig") or encoding is not None
        try:
            "".encode(self.codec)
        except (LookupError, UnicodeError):
            raise BadValue(f"there is no encoding {shown(encoding)}: try 'utf-8', 'cp1252', 'gb18030' …") from None

    @property
    def encoding(self) -> str:
        """What the file is written in, as far as it was read."""
        return f"{self.name}, other bytes read as Windows-1252" if self.strays else self.name

    def lines(self) -> Iterator[str]:
        """Its lines with their ends; a line ends at LF, CR or both."""
        strays = 0
        with self._opened() as text:
            number = 0
            while line := text.readline(MOST_LINE + 1):
                number += 1
                if len(line) > MOST_LINE:
                    raise BadFile(
                        f"{shown(str(self.path), 200)}, line {number:,} has more than {MOST_LINE:,} characters: is it "
                        "text? Part it into lines"
                    )
                if "\0" in line:
                    raise BadFile(
                        f"{shown(str(self.path), 200)}, line {number:,} holds a NUL: it is no text, or text in UTF-16 "
                        "without its mark. Save it as UTF-8"
                    )
                if not line.isascii() and _LONE.search(line):
                    line, strays = mended(line), strays + 1
                    self.strays = max(self.strays, strays)
                yield line

    def blocks(self) -> Iterator[str]:
        """Its text in pieces of about a million characters, cut anywhere."""
        with self._opened() as text:
            while block := text.read(BLOCK):
                if "\0" in block:
                    raise BadFile(f"{shown(str(self.path), 200)} holds a NUL: it is no text. Save it as UTF-8")
                lone = not block.isascii() and _LONE.search(block)
                self.strays = max(self.strays, int(bool(lone)))
                yield mended(block) if lone else block

    @contextmanager
    def _opened(self) -> Iterator[io.TextIOWrapper]:
        errors = "strict" if self.strict else "surrogateescape"
        try:
            with opened(self.path) as raw, io.TextIOWrapper(raw, self.codec, errors=errors, newline="") as text:
                yield text
        except UnicodeError as error:
            raise BadFile(
                f"{shown(str(self.path), 200)} is not in {self.name}: {shown(str(error), 120)}. Save it as UTF-8"
            ) from None


def mended(text: str) -> str:
    """Text without lone surrogates: those that stand for a byte become its letter in Windows-1252, others U+FFFD.

    >>> mended("caf\\udce9 \\ud800")
    'café \ufffd'
    """
    return _LONE.sub(_letter, _LONE_AS_BYTES.sub("\ufffd", text))


def _letter(lone: re.Match[str]) -> str:
    code = ord(lone[0]) - 0xDC00
    if not 0x80 <= code <= 0xFF:
        return "\ufffd"
    try:
        return bytes([code]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(code)
