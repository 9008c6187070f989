"""The teacher's answers, written once: of each position the top-k log-probabilities and the mass of the tail, on disk.

What is lost
------------
Lumping the classes beyond the k likeliest into one loses little, and we know how much. Let m be the teacher's tail mass
and n the student's, p' = p/m and q' = q/n their distributions within the tail.

- Lumping is data processing: ``0 ≤ D(full) − D(lumped)`` for every divergence of this kit (but `decoupled_kl`, whose
  terms are weighed anew). For forward KL the chain rule gives the gap, ``m·KL(p' ‖ q')``: the loss cannot see it.
- Its gradient with respect to the student's logits (over T) is q − p in full. Lumped it is the same on the k, and
  ``q − m·q'`` in the tail, whose teacher is thought to be shaped like the student. They differ by ``m·|p' − q'|₁``,
  hence **at most by 2·m a position in the L1 norm**.
- Dropping the tail and renormalising the k (``tail="renormalised"``) moves the gradient by ``|p − p/(1−m)|₁ + m``: by
  2·m always, and always toward the k.

How much a student loses by that is measured: ``data/README.md``, cached.parquet. With a third of the probability in the
tail a good deal, with 7 % hardly anything; and that the tail is dropped shows only where it is heavy.

Log-probabilities are float32: each is off by at most 2⁻²⁴ of itself, so that p moves by 2⁻²²·log(k+1) in the L1 norm at
most (Σ p·|log p| ≤ log(k+1); renormalising doubles it; the rest is slack). At k = 32 that is 8e-7; it would be 7e-3 in
float16, for a file that is a third smaller.

What lies in the folder
-----------------------
``about.json`` says what was asked. ``answers`` holds all records, row by row, and is written a piece at a time; several
pieces make a shard, and a process that writes a shard holds its lock. ``shard-0``, ``shard-1`` … note who wrote, and of
each piece its sha256, a line once it is on disk: so nothing is noted that is not there. How many shards there are
changes neither the answers nor the batches in which the teacher is asked.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import filelock
import numpy as np
import torch
from torch import Tensor, nn

from distilkit.divergences import check_logits, check_temperature, wide
from distilkit.errors import BadFile, BadValue, choice, shown, whole
from distilkit.models import Inputs, predict, read, write
from distilkit.topk import TopK, WithTail, normalised
from distilkit.transfer import Examples, as_examples

ABOUT, ANSWERS, LOCK = "about.json", "answers", "lock"  # what lies in the folder, beside the shards
FORMAT = 2  # of the folder; a change of what follows is a new one
PIECE = 8192  # positions of a piece, about: whole rows, hashed together
PIECES = 16  # there are at least
LOGITS = 2**24  # that the teacher gives at once, unless one row has more; who goes on must ask in the same batches
WAIT, LOOK = 600.0, 0.05  # seconds for others that write a shard: without a new piece of theirs; from look to look


def cache_teacher(
    teacher: nn.Module | None,
    transfer: Examples | tuple[Tensor, Tensor] | torch.utils.data.Dataset[Any],
    folder: str | Path,
    *,
    top: int = 32,
    temperature: float = 1.0,
    tail: Literal["lumped", "renormalised"] = "lumped",
    shards: int = 1,
) -> CachedTeacher:
    """Write the teacher's `top` log-probabilities ``log softmax(logits / T)`` and its tail mass, once, and open them.

    What the folder holds is not asked again: a run that was cut, at whatever moment, goes on where it was. Every piece
    is checked against its sha256 when the folder is opened. The result takes the teacher's place in `distill`.

    Processes that call it with the same arguments share the work, shard by shard, and each returns the whole when all
    of it is there. A lock dies with its process: another goes on with what a killed one has left. For several machines
    the folder must lie on a file system that keeps locks.

    Args:
        teacher: returns logits (n, classes) or (n, time, classes); asked in eval mode and left as it was found. None
            opens what is complete.
        transfer: its inputs are what the teacher is asked about.
        folder: a folder for this cache alone. A position takes ``2·k + 4·(k+1)`` bytes (``4·k`` beyond 65,536 classes).
        top: k, how many classes a position keeps, the likeliest; as many as there are classes keeps everything. Look at
            `tail_mass`: some hundredths are little.
        temperature: T of both sides. The tail's mass at another T is not known: each T has its own folder.
        tail: "lumped" makes one class of the tail, "renormalised" drops it and scales the k up to a sum of 1.
        shards: in how many parts the rows are shared out: several times the processes. A folder that is there keeps its
            own number.

    Raises:
        BadValue: the folder belongs to another teacher, transfer set, temperature or top; a logit is nan or +inf.
        BadFile: a damaged piece; another process is at a shard and gets no further; no space, no permission.

    Source: Tan et al. 2019, arXiv:1902.10461, keep the teacher's top-k; what is lost stands at the top of this module.

    >>> import distilkit as dk, tempfile
    >>> task = dk.tasks.digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = dk.cache_teacher(task.teacher(), task.transfer, folder, top=3, temperature=4.0)
    ...     answers = cache.at(torch.tensor([5, 0]))
    >>> cache.bytes // len(cache), answers.ids.shape, answers.log_probs.shape
    (22, torch.Size([2, 3]), torch.Size([2, 4]))
    """
    examples, folder = as_examples(transfer), Path(folder)
    choice("tail", tail, ["lumped", "renormalised"])
    if not len(examples):
        raise BadValue("the transfer set is empty: there is nothing to ask the teacher")
    asked = {
        "format": FORMAT,
        "temperature": check_temperature(temperature),
        "top": whole("top", top, 1, 2**31 - 1, "how many classes a position keeps"),
        "inputs": _digest(_named(examples.inputs)),
        "rows": len(examples),
    }
    if teacher is not None:
        logits = predict(teacher, examples.inputs[:1])
        check_logits("the teacher's logits", logits)
        *positions, classes = logits.shape[1:]
        asked |= {"positions": positions, "classes": classes, "teacher": _digest(teacher.state_dict())}
    shards = whole("shards", shards, 1, 10**5, "in how many parts processes share the rows")
    if not (folder / ABOUT).is_file():
        if teacher is None:
            raise BadFile(f"there is no cache in {folder}: give the teacher, so that it can be made")
        _begin(folder, asked | {"shards": shards})
    about = _find(folder, asked)
    if _left(folder, about):
        if teacher is None:
            raise BadValue(f"{folder} is not complete yet: give the teacher, so that it can be")
        _fill(folder, about, teacher, examples.inputs)
    return CachedTeacher(folder, about, renormalised=tail == "renormalised")


class Spread(NamedTuple):
    """A mean over all positions, and the largest."""

    mean: float
    max: float


class Bound(NamedTuple):
    """How far the cache moves forward KL's gradient with respect to the student's logits / T, in the L1 norm.

    The mean over positions and the largest: 2·m + rounding, m the position's tail mass.
    """

    mean: float
    max: float
    rounding: float


class CachedTeacher:
    """The teacher's answers about one transfer set, read from a folder: see `cache_teacher`.

    Attributes:
        top, temperature, classes: k, T, and how many classes the teacher knows.
        bytes: of the answers on disk.
        tail_mass: what lies beyond the k, its mean over positions and the largest.
        error: the bound on what is lost (`Bound`).
    """

    def __init__(self, folder: Path, about: dict[str, Any], *, renormalised: bool = False) -> None:
        layout = _Layout(about)
        total, largest = 0.0, 0.0
        for piece in _verified(folder, about, range(about["shards"])):
            mass = np.exp(piece["log_probs"][..., -1], dtype=np.float64)
            total, largest = total + float(mass.sum()), max(largest, float(mass.max()))
        self.folder, self.top, self.renormalised = folder, layout.top, renormalised
        self.temperature, self.classes, self._inputs = about["temperature"], about["classes"], about["inputs"]
        self._answers = np.memmap(folder / ANSWERS, layout.row, "r", shape=(about["rows"],))
        self.bytes = self._answers.nbytes
        self.tail_mass = Spread(total / (len(self) * math.prod(about["positions"])), largest)
        rounding = 2**-22 * math.log(self.top + 1)
        self.error = Bound(2 * self.tail_mass.mean + rounding, 2 * self.tail_mass.max + rounding, rounding)

    def __len__(self) -> int:
        return len(self._answers)

    def __repr__(self) -> str:
        return (
            f"CachedTeacher({len(self):,} rows, top {self.top} of {self.classes:,} classes, "
            f"temperature {self.temperature:g}, tail mass {self.tail_mass.mean:.2g})"
        )

    def at(self, rows: Tensor | slice) -> TopK:
        """What the teacher says of these rows of the transfer set, in this order."""
        answers = self._answers[rows if isinstance(rows, slice) else rows.numpy()]["answer"]
        logs = torch.from_numpy(answers["log_probs"].astype(np.float32))
        if self.renormalised:
            logs[..., -1] = -math.inf
            logs = normalised(logs)
        return TopK(torch.from_numpy(answers["ids"].astype(np.int64)), logs, self.temperature, self.classes)

    def check(self, transfer: Examples) -> None:
        """Refuse a transfer set that is not the one that the teacher was asked about, row by row."""
        found = _digest(_named(transfer.inputs))
        if found != self._inputs:
            raise BadValue(
                f"{self.folder} holds the teacher's answers about another transfer set, with inputs of sha256 "
                f"{self._inputs[:12]}…; these have {found[:12]}…. Make a cache for this one, in another folder"
            )


class _Layout:
    """How the file of answers is laid out: one record a row, pieces of so many rows, shards of so many pieces."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.top = min(about["top"], about["classes"])
        ids = "<u2" if about["classes"] <= 2**16 else "<i4"
        answer = np.dtype([("ids", ids, (self.top,)), ("log_probs", "<f4", (self.top + 1,))])
        self.row = np.dtype([("answer", answer, tuple(about["positions"]))])
        rows, most = about["rows"], max(1, PIECE // max(1, math.prod(about["positions"])))
        self.rows_a_piece = min(most, -(-rows // PIECES))
        self.pieces = -(-rows // self.rows_a_piece)
        self.shards = [
            range(self.pieces * shard // about["shards"], self.pieces * (shard + 1) // about["shards"])
            for shard in range(about["shards"])
        ]


def _named(inputs: Tensor | Inputs) -> dict[str, Tensor]:
    return dict(inputs) if isinstance(inputs, Inputs) else {"inputs": inputs}


def _left(folder: Path, about: Mapping[str, Any]) -> list[int]:
    """The shards that are not complete."""
    shards = _Layout(about).shards
    return [shard for shard, pieces in enumerate(shards) if len(_noted(folder, shard)) < len(pieces)]


def _fill(folder: Path, about: Mapping[str, Any], teacher: nn.Module, inputs: Tensor | Inputs) -> None:
    """Write every shard that nobody else is at, until all are there."""
    seen, since = 0, time.monotonic()
    while left := _left(folder, about):
        if not sum(_fill_shard(folder, about, shard, teacher, inputs) for shard in left):
            there = sum(len(_noted(folder, shard)) for shard in range(about["shards"]))
            if there > seen:
                seen, since = there, time.monotonic()
            elif time.monotonic() - since > WAIT:
                who = _noted(folder, left[0], who=True)[-1:]
                raise BadFile(
                    f"another process {shown(who)} is at {folder / _name(left[0])}, and nothing was added for "
                    f"{WAIT:g} s. Wait, or end it; then call again: what is there stays"
                )
            time.sleep(LOOK)


def _fill_shard(
    folder: Path, about: Mapping[str, Any], shard: int, teacher: nn.Module, inputs: Tensor | Inputs
) -> bool:
    """Write the pieces that are missing of a shard: first the answers, then, in a line, that they are there.

    False: another process is at it. The lock dies with its process.
    """
    layout, notes = _Layout(about), folder / _name(shard)
    with _writing(folder):
        lock = filelock.FileLock(f"{notes}.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
    try:
        missing = layout.shards[shard][len(_noted(folder, shard)) :]
        for _ in _verified(folder, about, [shard] if missing else []):
            pass
        if missing:
            _note(notes, f"pid {os.getpid()} on {socket.gethostname()}")
        for number in missing:
            first = number * layout.rows_a_piece
            data = _answers(teacher, inputs[first : first + layout.rows_a_piece], layout, about, first)
            with _writing(folder), (folder / ANSWERS).open("r+b") as file:
                file.seek(first * layout.row.itemsize)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _note(notes, hashlib.sha256(data).hexdigest())
    finally:
        lock.release()
    return True


def _name(shard: int) -> str:
    return f"shard-{shard}"


def _noted(folder: Path, shard: int, *, who: bool = False) -> list[str]:
    """What is noted of a shard: the sha256 of each piece that is there; or who wrote them."""
    notes = folder / _name(shard)
    if not notes.is_file():
        return []
    *lines, _ = read(notes).decode("ascii", "replace").split("\n")  # of the last one a cut run may have left a part
    return [line for line in lines if line.startswith("pid ") == who]


def _note(notes: Path, line: str) -> None:
    with _writing(notes.parent), notes.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(f"{line}\n".encode())


def _answers(
    teacher: nn.Module, inputs: Tensor | Inputs, layout: _Layout, about: Mapping[str, Any], first: int
) -> bytes:
    """The records of these rows; the teacher's logits are never all there at once."""
    positions, classes = about["positions"], about["classes"]
    answers = np.empty((len(inputs), *positions), layout.row["answer"].base).reshape(-1)
    place = 0
    for batch in inputs.split(max(1, LOGITS // (math.prod(positions) * classes))):
        logits = predict(teacher, batch)
        if logits.shape != (len(batch), *positions, classes):
            raise BadValue(
                f"the teacher gave logits {tuple(logits.shape)} for {len(batch)} rows from row {first}, where "
                f"{(len(batch), *positions, classes)} were expected, as for row 0"
            )
        for some in logits.flatten(0, -2).split(max(1, LOGITS // 4 // classes)):
            bad = (some.isnan() | (some == math.inf)).any(-1)
            if bad.any():
                at = place + int(bad.nonzero()[0])
                row = first + at // math.prod(positions)
                raise BadValue(
                    f"the teacher's logits on row {row} of the transfer set hold a nan or inf: look at its inputs there"
                )
            ids = some.topk(layout.top, -1).indices
            part = answers[place : place + len(some)]
            part["ids"] = ids.cpu().numpy()
            part["log_probs"] = normalised(WithTail.apply(wide(some), ids, about["temperature"])).cpu().numpy()
            place += len(some)
    return answers.tobytes()


def _verified(folder: Path, about: Mapping[str, Any], shards: Iterable[int]) -> Iterator[np.ndarray]:
    """The pieces that are there of these shards, one after the other, each checked against its sha256."""
    layout, remedy = _Layout(about), "Delete the folder, and let cache_teacher write it anew"
    try:
        with (folder / ANSWERS).open("rb") as file:
            for number, sha256 in (
                each for shard in shards for each in zip(layout.shards[shard], _noted(folder, shard), strict=False)
            ):
                first = number * layout.rows_a_piece
                rows = min(layout.rows_a_piece, about["rows"] - first)
                file.seek(first * layout.row.itemsize)
                data = file.read(rows * layout.row.itemsize)
                where = f"{folder / ANSWERS}: piece {number} of {layout.pieces}"
                if len(data) < rows * layout.row.itemsize:
                    raise BadFile(f"{where} is cut short, the file ends after {file.tell():,} bytes. {remedy}")
                found = hashlib.sha256(data).hexdigest()
                if found != sha256:
                    raise BadFile(f"{where} is damaged: its sha256 is {found}, expected {shown(sha256, 66)}. {remedy}")
                yield np.frombuffer(data, layout.row)["answer"]
            file.seek(about["rows"] * layout.row.itemsize)
            if file.read(1):
                raise BadFile(f"{folder / ANSWERS} goes on after its last piece. {remedy}")
    except OSError as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"cannot read {folder / ANSWERS}: {error.strerror}. {remedy}") from None


_WORDS = {
    "inputs": "sha256 of the inputs",
    "teacher": "sha256 of the teacher's weights",
    "classes": "number of classes",
}


def _begin(folder: Path, about: Mapping[str, Any]) -> None:
    """A cache that holds nothing yet; the first process makes it."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / LOCK):
            for left in folder.glob(f".{ABOUT}.*"):  # by a process that was killed
                left.unlink()
            if not (folder / ABOUT).is_file():
                (folder / ANSWERS).write_bytes(b"")
                write(folder / ABOUT, json.dumps(about, indent=1).encode())


def _find(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the folder says of itself, if that is what is asked for."""
    path = folder / ABOUT
    try:
        about = json.loads(read(path))
        sound = about["format"] != FORMAT or (about["shards"] in range(1, 10**5 + 1) and _Layout(about).pieces > 0)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        sound = False
    if not sound:
        raise BadFile(f"{path} does not describe a cache of the teacher's answers: delete the folder, or give another")
    if isinstance(about["format"], int) and about["format"] > FORMAT:
        raise BadFile(
            f"{folder} was written by a newer distilkit (format {about['format']}; this one reads {FORMAT}): upgrade, "
            "or give another folder"
        )
    for name, value in asked.items():
        if about.get(name) != value:
            raise BadValue(
                f"{folder} was made with another {_WORDS.get(name, name)}: {about.get(name)} there, {value} here. "
                "Give another folder (one for each teacher, transfer set, temperature and top), or delete this one"
            )
    return about


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(
            f"cannot write into {folder}: {error.strerror}. Free some space or give another folder; the answers that "
            "are there stay, and the next call goes on after them"
        ) from None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors: their names, dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for name, value in tensors.items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
