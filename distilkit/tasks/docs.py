"""The documentation of Python itself: real text that every machine has, with a tokenizer and a teacher for it.

The text is that of the docstrings of the standard library, of the modules written in C, and of the language reference
that `help()` prints (`pydoc_data.topics`): © Python Software Foundation, under the PSF licence, version 2.

    python -m distilkit.tasks docs      read it anew, train its tokenizer and its teacher, into data/docs
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch

from distilkit.models import data_path, read_checked, write
from distilkit.origin import remembered
from distilkit.pretrained import find_tokenizer
from distilkit.tasks.text import CONTEXT, END, Text, stream, task_of

VOCABULARY = 1280  # 256 bytes, 1,023 merges and the end of a text
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages"}  # not what a user reads
SHORTEST = 20  # characters
IN_C = ("_asyncio", "_datetime", "_decimal", "_socket", "_ssl", "_struct", "array", "math", "select", "zlib")


@remembered
def docs(tokens: int = 20_000, seed: int = 0, *, context: int = CONTEXT) -> Text:
    """Python's documentation: `tokens` of its text to learn from, and modules held out to be tested on.

    Args:
        tokens: how much text the student has; the teacher has read all of it but the held-out modules.
        seed: which part.
        context: how many tokens the models see at once.

    >>> task = docs(tokens=20_000)
    >>> tuple(task.train.inputs.shape)
    (156, 128)
    """
    folder = data_path("docs")
    streams = safetensors.torch.load(read_checked(folder / "tokens.safetensors"))
    pool, rest, said = streams["pool"].long(), streams["held_out"].long(), int(streams["held_out_bytes"])
    tokenizer = find_tokenizer(folder / "teacher")
    return task_of(pool, rest, said, tokenizer, folder / "teacher", tokens=tokens, seed=seed, context=context)


def write_tokens(texts: pd.DataFrame, folder: Path) -> None:
    """The corpus in the tokenizer's tokens, so that no reader has to wait for it: ``tokens.safetensors``."""
    tokenizer, test = find_tokenizer(folder / "teacher"), texts["held_out"]
    parts = {"pool": texts["text"][~test].tolist(), "held_out": texts["text"][test].tolist()}
    streams = {name: stream(part, tokenizer).short() for name, part in parts.items()}
    streams["held_out_bytes"] = torch.tensor(sum(len(text.encode()) for text in parts["held_out"]))
    data = safetensors.torch.save(streams)
    write(folder / "tokens.safetensors", data)
    write(folder / "tokens.safetensors.sha256", f"{hashlib.sha256(data).hexdigest()}  tokens.safetensors\n".encode())


def read_documentation() -> pd.DataFrame:
    """The documentation of the Python that runs, as rows (module, text, held_out): cleaned, no paragraph twice."""
    seen: set[str] = set()
    rows = []
    for module, raw in sorted(_everything()):
        paragraphs = []
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(raw)):
            key = " ".join(paragraph.lower().split())
            if key and key not in seen:
                seen.add(key)
                paragraphs.append("\n".join(line.rstrip() for line in paragraph.strip("\n").split("\n")))
        text = "\n\n".join(paragraphs)
        if len(text) >= SHORTEST:
            rows.append((module, text, _is_held_out(module)))
    return pd.DataFrame(rows, columns=["module", "text", "held_out"])


def train_tokenizer(texts: list[str], folder: Path) -> None:
    """A byte-level BPE tokenizer of VOCABULARY tokens, written to `folder` in Hugging Face's format."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=VOCABULARY, min_frequency=2, special_tokens=[END], show_progress=False)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=END, bos_token=END).save_pretrained(folder)


def _is_held_out(module: str) -> bool:
    """One module in ten, by the hash of its name, so that it is the same ones in any Python."""
    package = module.split(".")[0].removeprefix("_py").removeprefix("_")  # `_pyio` goes where `io` goes
    return package != "pydoc_data" and int(hashlib.sha256(package.encode()).hexdigest(), 16) % 10 == 0


def _everything() -> Iterator[tuple[str, str]]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for file in library.rglob("*.py"):
        parts = file.relative_to(library).with_suffix("").parts
        if LEFT_OUT & set(parts):
            continue
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, ast.get_docstring(node, clean=True) or ""
    for name in {*sys.builtin_module_names, *IN_C}:
        try:
            found = importlib.import_module(name)
        except ImportError:
            continue
        for value in vars(found).values():
            for thing in (value, *(vars(value).values() if inspect.isclass(value) else ())):
                text = getattr(thing, "__doc__", None)
                yield name, text if isinstance(text, str) else ""
    for text in importlib.import_module("pydoc_data.topics").topics.values():
        yield "pydoc_data.topics", text
