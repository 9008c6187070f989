"""Runs in one file: settings, every step made, measures and weights, checked by their sha256 and free of code.

A parcel is a safetensors file. Its header has two entries, ``playground``, JSON, and ``sha256``, of that JSON and of
all tensors. Of run 0 the tensors are ``0.run.student.…`` and ``0.run.optimizer.…``, the same of ``0.twin``, what was
measured, and what the view shows of the insides.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadFile, BadValue, shown

if TYPE_CHECKING:
    from torch import Tensor

    from distilkit.training import Run

FORMAT = 1
LARGEST = 64 * 2**20  # bytes


def pack(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a parcel."""
    import safetensors.torch

    from distilkit.models import plain

    said, kept = json.dumps({"format": FORMAT, **about}), plain(tensors)
    return safetensors.torch.save(kept, {"playground": said, "sha256": _digest(said, kept)})


def unpack(data: bytes, name: str = "the file") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `pack` was given.

    Raises:
        BadFile: something else, or damaged; it says what.
    """
    from distilkit.models import check_finite, parse

    path = Path(name)
    if len(data) > LARGEST:
        raise BadFile(f"{shown(name)} has {len(data):,} bytes; runs of the playground have at most {LARGEST:,}")
    tensors = parse(path, data)
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        said, expected = header["playground"], header["sha256"]
    except (LookupError, TypeError, ValueError):
        raise BadFile(f"{shown(name)} holds weights, but no runs of the playground: export them there first") from None
    if _digest(said, tensors) != expected:
        raise BadFile(f"{shown(name)} is damaged: it has not the sha256 that it was saved with. Export it anew")
    try:
        about = json.loads(said)
        found = about["format"]
    except (LookupError, TypeError, ValueError, RecursionError):
        raise BadFile(f"{shown(name)} is no file of the playground: its header cannot be read") from None
    if found != FORMAT:
        raise BadFile(f"{shown(name)} has format {shown(found, 20)}, this distilkit reads {FORMAT}: update distilkit")
    check_finite(path, {key: value for key, value in tensors.items() if ".run." in key or ".twin." in key})
    return about, tensors


def take(run: Run, prefix: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """A run's checkpoint as it goes into a parcel: its header, and its tensors under `prefix`."""
    import safetensors.torch

    with tempfile.TemporaryDirectory() as folder:
        data = run.save(Path(folder) / "run.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return header, {f"{prefix}.{name}": value for name, value in safetensors.torch.load(data).items()}


def give(run: Run, prefix: str, header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Let a run go on from what `take` took.

    Raises:
        BadFile, BadValue: it is another run's, or damaged.
    """
    import safetensors.torch

    own = {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
    if not isinstance(header, dict) or not all(isinstance(value, str) for value in header.values()):
        raise BadFile(f"the file's run {prefix} has no readable header")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        path.write_bytes(safetensors.torch.save(own, header))
        try:
            run.load(path)
        except (KeyError, RuntimeError) as error:  # a tensor that the student does not have
            raise BadValue(f"the file's run {prefix} does not fit its setting: {shown(str(error), 120)}") from None
    numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for step in run.history for value in step)
    if not numbers or [step.step for step in run.history] != list(range(1, len(run.history) + 1)):
        raise BadValue(f"the history of the file's run {prefix} is not one of steps 1, 2, …")
    if len(run.history) > run.steps:
        raise BadValue(f"the file's run {prefix} has {len(run.history)} steps, its setting {run.steps}")


def _digest(said: str, tensors: Mapping[str, Tensor]) -> str:
    import torch

    digest = hashlib.sha256(said.encode())
    for name, value in sorted(tensors.items()):
        about = f"{name}{tuple(value.shape)}{value.dtype}"
        digest.update(about.encode() + value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
