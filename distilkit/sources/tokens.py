"""Text of any size as one row of token ids on disk, written as a stream and found again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distilkit.errors import BadFile, BadType, BadValue, shown, whole
from distilkit.sources.tables import Table
from distilkit.sources.texts import TextFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PIECE = 2**13  # characters, about, of a piece of running text
AT_ONCE = 32  # pieces, or rows, that are encoded at once
VERSION = 1  # of what is written


Texts = Callable[[], Iterator[str | None]]  # pieces of text; None where a text ends


def write_tokens(
    table: Table, texts: Texts, tokenizer: PreTrainedTokenizerBase, folder: Path, limit: int | None
) -> Tensor:
    """Token ids of the texts, (n,), int64, as a file in `folder` that is mapped into memory: see `Data.tokens`."""
    if not callable(tokenizer) or not hasattr(tokenizer, "get_vocab"):
        raise BadType(f"tokenizer must be a tokenizer of transformers, got {shown(tokenizer)}")
    if limit is not None:
        limit = whole("limit", limit, 1, 2**62, "tokens that are kept")
    path = folder / f"tokens-{_fingerprint(table, texts, tokenizer, limit)}.bin"
    if not path.is_file():
        _write(path, _encoded(texts(), tokenizer), limit)
    if not path.stat().st_size:
        raise BadValue(f"{table.where} holds no text for the tokenizer: 0 tokens")
    return torch.from_numpy(np.memmap(path, dtype=np.int64, mode="c"))  # copied where it is written to: never the file


def raw(files: Iterable[TextFile]) -> Iterator[str | None]:
    """The text of files in pieces that end where lines do, None after each file."""
    for file in files:
        held: list[str] = []
        size = 0
        for line in file.lines():
            held.append(line.replace("\r\n", "\n"))
            size += len(line)
            if size > PIECE:
                yield "".join(held)
                held, size = [], 0
        yield "".join(held)
        yield None


def _encoded(texts: Iterator[str | None], tokenizer: Any) -> Iterator[np.ndarray]:
    """The ids of several texts at a time, the end of text after each; what looks like it in a text is text."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    while several := list(islice(texts, AT_ONCE)):
        pieces = [text for text in several if text]
        found = iter(_ids(pieces, tokenizer))
        yield np.fromiter(
            chain.from_iterable(end if text is None else next(found) if text else () for text in several), np.int64
        )


def _ids(pieces: list[str], tokenizer: Any) -> list[list[int]]:
    if not pieces:
        return []
    return tokenizer(pieces, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def _write(path: Path, parts: Iterable[np.ndarray], limit: int | None) -> None:
    """All or nothing: another name until the last byte is on disk."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        written = 0
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                part = part if limit is None else part[: limit - written]
                file.write(part.tobytes())
                written += len(part)
                if written == limit:
                    break
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, BadFile):
            raise BadFile(
                f"cannot write the tokens to {shown(str(path), 200)}: {error.strerror}. They take 8 bytes a token: "
                "free some space, give another folder, or a limit"
            ) from None
        raise


def _fingerprint(table: Table, texts: Texts, tokenizer: Any, limit: int | None) -> str:
    """Of the source (its files' names, sizes and times, or else its text), the tokenizer and the limit."""
    found = hashlib.sha256(f"{VERSION} {limit} {tokenizer.eos_token_id}".encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    found.update((backend.to_str() if backend else json.dumps(sorted(tokenizer.get_vocab().items()))).encode())
    paths = [file.path if isinstance(file, TextFile) else file for file in table.files]
    for path in paths:
        about = path.stat()
        found.update(f"{path.absolute()} {about.st_size} {about.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    if not paths:
        for text in texts():
            found.update((text or "").encode("utf-8", "replace") + b"\0")
    return found.hexdigest()[:16]
