"""One bit flipped at a random place of a shipped teacher: refused, with the reason, wherever it lies.

Weights on their own and folders in Hugging Face's format (causal, encoder and decoder, classifier); of each file the
header and the tensors, the configuration, the tokenizer, and the notes that hold the sha256 of all these.
"""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

import distilkit as dk
from distilkit.models import data_path
from distilkit.tasks.digits import network
from tests.trust import Checked

REASONS = ("is damaged", "not a whole safetensors file", "No such file")  # the last of a name in SHA256SUMS


def main(count: int = 1000) -> Checked:
    torch.set_num_threads(1)
    draw, failures, refused = random.Random(0), [], Counter()
    with tempfile.TemporaryDirectory() as copies:
        parts = [part for what, load in TEACHERS.items() for part in _parts(what, load, Path(copies))]
        for number in range(count):
            what, load, file, places = parts[number % len(parts)]
            place, bit = draw.choice(places), draw.randrange(8)
            good = file.read_bytes()
            file.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
            try:
                load()
                failures.append(f"{what}: bit {bit} of byte {place} flipped, and it loads")
            except dk.DistilkitError as error:
                said = str(error)
                if isinstance(error, OSError) and any(reason in said for reason in REASONS) and said.count("\n") < 6:
                    refused[what.split(",")[0]] += 1
                else:
                    failures.append(f"{what}: bit {bit} of byte {place} flipped: {type(error).__name__}: {said}")
            except Exception as error:  # whatever it is, it is what a user would see
                failures.append(f"{what}: bit {bit} of byte {place} flipped: {type(error).__name__}: {error}")
            file.write_bytes(good)
        for _, load, _, _ in parts:
            load()  # unflipped it loads
    said = ", ".join(f"{what} {hits}" for what, hits in refused.items())
    return Checked(count, f"{refused.total()} of {count} refused, each with its reason: {said}", failures)


def _digits(path: Path) -> object:
    return dk.load(network(), path)


TEACHERS: dict[str, Callable[[Path], object]] = {
    "digits/teacher.safetensors": _digits,
    "docs/teacher": dk.language_model,
    "translation/teacher": dk.seq2seq_model,
    "requests/teacher": dk.classifier_model,
}


def _parts(what: str, load: Callable[[Path], object], copies: Path) -> list[tuple[str, Callable, Path, range]]:
    """(name, loader, file, places) of each part of a copy of this teacher."""
    source, copy = data_path(what), copies / what
    copy.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, copy)
        files = sorted(copy.iterdir())
    else:
        files = [Path(shutil.copy(path, copy.parent)) for path in (source, Path(f"{source}.sha256"))]
    found = []
    for file in files:
        size = file.stat().st_size
        parts = {f"{what}, {file.name}": range(size)}
        if file.suffix == ".safetensors":
            header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
            parts = {f"{what}, header": range(header), f"{what}, tensors": range(header, size)}
        if file.name.endswith(".sha256"):
            parts = {f"{what}, {file.name}": range(64)}  # the name after it is for sha256sum alone
        found += [(name, lambda copy=copy: load(copy), file, places) for name, places in parts.items()]
    return found
