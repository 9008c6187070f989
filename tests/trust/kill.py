"""SIGKILL at random instants of saving: afterwards the old or the new loads, whole, and the work goes on.

Each kill forks a process that saves, and ends it at an instant drawn uniformly from the save's usual duration and a
little beyond. The process tells over a pipe when it begins and when it is through, so it is known which kills fell
inside. What a kill leaves half written stays where it is for the next one; in the end it must be gone.
"""

import json
import os
import random
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from tqdm import tqdm

import distilkit as dk
from distilkit import record
from distilkit.models import write
from distilkit.sweeps.grid import _read, collect
from distilkit.widgets import parcel
from tests.trust import Checked

BEYOND = 1.1  # of the usual duration: a kill may come too late
SHARE = 0.5  # of all kills that must fall inside a save for the check to mean something


class Saving(NamedTuple):
    """Something that saves, in a folder: what is there before, the save, and what is there afterwards."""

    before: Callable[[Path], object]
    save: Callable[[Path], object]
    found: Callable[[Path], str]  # "old" or "new"; raises for anything else


def main(count: int = 200) -> Checked:
    torch.set_num_threads(1)
    draw = random.Random(0)
    savings = {
        "model": model(),
        "checkpoint": checkpoint(),
        "cached teacher": cached(),
        "sweep": swept(),
        "progress": progress(),
    }
    savings["playground"] = playground()
    parts, failures, kills, inside, halves = [], [], 0, 0, 0
    for number, (name, saving) in enumerate(savings.items()):
        share = count // len(savings) + (number < count % len(savings))
        with tempfile.TemporaryDirectory() as folder:
            found, fell, left, faults = struck(saving, Path(folder), share, draw)
        kills, inside, halves = kills + len(found) + len(faults), inside + fell, halves + left
        failures += [f"{name}: {fault}" for fault in faults]
        parts.append(f"{name} {found.count('old')} old, {found.count('new')} new, {fell} inside")
        print(f"{name}: {share} kills, {parts[-1]}, {left} files left half written", flush=True)
    if inside < SHARE * kills:
        failures.append(f"only {inside} of {kills} kills fell inside a save: the check says too little")
    return Checked(
        kills,
        f"{kills - len(failures)} of {kills} load whole; {inside} kills fell inside a save, {halves} of them left a "
        f"file half written, all cleared away later ({'; '.join(parts)})",
        failures,
    )


def struck(saving: Saving, folder: Path, kills: int, draw: random.Random) -> tuple[list[str], int, int, list[str]]:
    """What was found after each kill, how many fell inside, how many left something half written; what went wrong."""
    usual = statistics.median(strike(saving, folder)[1] for _ in range(5))
    found, faults, inside = [], [], 0
    for _ in range(kills):
        after = draw.uniform(0, BEYOND * usual)
        fell, _ = strike(saving, folder, after)
        inside += fell
        try:
            found.append(saving.found(folder))
        except Exception as error:  # whatever it is, it is what a user would see
            faults.append(f"killed after {1e3 * after:.2f} of {1e3 * usual:.2f} ms: {type(error).__name__}: {error}")
    left = halves(folder)
    for half in left:
        os.utime(half, (0, 0))  # as if long ago
    strike(saving, folder)
    faults += [f"{half.name} was not cleared away" for half in halves(folder)]
    return found, inside, len(left), faults


def strike(saving: Saving, folder: Path, after: float | None = None) -> tuple[bool, float]:
    """Save in a process of its own and kill it so many seconds in: whether it was still saving, and for how long."""
    saving.before(folder)
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            tqdm.set_lock(threading.RLock())  # its own: the other is the parent's, too, and would be held for ever
            os.close(told)
            os.write(tell, b"begun.")
            saving.save(folder)
            os.write(tell, b"through")
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb", buffering=0) as pipe:
        assert pipe.read(6) == b"begun."
        began = time.perf_counter()
        if after is None:
            assert pipe.read(7) == b"through", "the save itself failed"
            seconds = time.perf_counter() - began
        else:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
            seconds = time.perf_counter() - began
        os.waitpid(child, 0)
        return after is not None and pipe.read(7) != b"through", seconds


def halves(folder: Path) -> list[Path]:
    """Files that a kill left half written."""
    return [path for path in folder.rglob(".*.????????") if path.is_file() and not path.name.endswith(".lock")]


# ------------------------------------------------------------------------------------------------------- what is saved


def network(seed: int, width: int = 700) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def whole(is_old: bool, is_new: bool) -> str:
    if not is_old and not is_new:
        raise AssertionError("it loads, and is neither the old nor the new")
    return "old" if is_old else "new"


def model() -> Saving:
    """`save` of two megabytes."""
    old, new = network(0), network(1)

    def found(folder: Path) -> str:
        loaded = dk.load(network(2), folder / "student.safetensors")
        return whole(same(loaded, old), same(loaded, new))

    return Saving(
        lambda folder: dk.save(old, folder / "student.safetensors"),
        lambda folder: dk.save(new, folder / "student.safetensors"),
        found,
    )


def checkpoint(width: int = 300) -> Saving:
    """A run that saves at each step: resumed at the third, killed in the fourth; then it goes on to the fifth."""
    draw = torch.Generator().manual_seed(0)
    data = dk.Examples(torch.randn(64, width, generator=draw), torch.randint(10, (64,), generator=draw))

    def start(folder: Path | None, steps: int = 5) -> dk.Run:
        path = None if folder is None else folder / "run.safetensors"
        return dk.distill(network(0, width), network(9, width), data, steps=steps, checkpoint=path, save_every=1)

    unstopped = dk.distill(network(0, width), network(9, width), data, steps=5)
    unstopped.result()
    with tempfile.TemporaryDirectory() as made:
        third = dk.distill(network(0, width), network(9, width), data, steps=3, checkpoint=Path(made, "run"))
        third.result()
        kept = Path(made, "run").read_bytes()

    def before(folder: Path) -> None:
        (folder / "run.safetensors").write_bytes(kept)

    def found(folder: Path) -> str:
        run = start(folder)
        steps = len(run.history)
        run.result()
        if run.history != unstopped.history or not same(run.student, unstopped.student):
            raise AssertionError(f"from step {steps} on it went another way")
        return whole(steps == 3, steps == 4)

    return Saving(before, lambda folder: next(start(folder)), found)


def cached() -> Saving:
    """The teacher's answers, in pieces: none, some or all are there, and the next call makes them whole."""
    teacher = network(9, 64)
    inputs = torch.randn(40_000, 64, generator=torch.Generator().manual_seed(0))
    data = dk.Examples(inputs, torch.full((len(inputs),), -1))

    def make(folder: Path) -> dk.CachedTeacher:
        return dk.cache_teacher(teacher, data, folder / "answers", top=10)

    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
        kept = Path(made, "answers", "answers").read_bytes()

    def found(folder: Path) -> str:
        try:
            dk.cache_teacher(None, data, folder / "answers", top=10)
            state = "new"
        except dk.DistilkitError as error:
            if "not complete" not in str(error) and "no cache" not in str(error):
                raise
            state = "old"
        make(folder)
        if (folder / "answers" / "answers").read_bytes() != kept:
            raise AssertionError("gone on with, it holds other answers")
        return state

    return Saving(lambda folder: shutil.rmtree(folder / "answers", ignore_errors=True), make, found)


class Nothing:
    """A task whose runs cost nothing, so that a sweep of it is all saving."""

    def teacher(self) -> nn.Module:
        return network(9, 4)


def told(task: object, teacher: nn.Module, point: dict, settings: dict) -> dict:
    return {"accuracy": point["seed"] / 7}


def swept() -> Saving:
    """A sweep's file, with rows of an earlier call: those stay; what a kill cut off is run again."""

    def sweep(folder: Path, seeds: int) -> object:
        points = [{"seed": seed} for seed in range(seeds)]
        return collect(told, Nothing(), points, {}, command="sweep", path=folder / "sweep.parquet")

    def before(folder: Path) -> None:
        (folder / "sweep.parquet").unlink(missing_ok=True)
        (folder / "sweep.parquet.jsonl").unlink(missing_ok=True)
        sweep(folder, 10)

    def found(folder: Path) -> str:
        rows = len(_read(folder / "sweep.parquet"))
        frame = sweep(folder, 60)
        if frame["accuracy"].tolist() != [seed / 7 for seed in range(60)]:
            raise AssertionError("gone on with, it holds other rows")
        return whole(rows == 10, rows == 60)

    return Saving(before, lambda folder: sweep(folder, 60), found)


def progress() -> Saving:
    """A reader's record, to which an answer is added."""
    old = {f"a claim {number} of the chapter": {"chapter": "00_start_here", "at": "2026"} for number in range(2000)}

    def before(folder: Path) -> None:
        os.environ["DISTILKIT_PROGRESS"] = str(folder / "progress.json")
        content = {"version": 1, "questions": {}, "exercises": {}, "claims": old, "tours": {}}
        (folder / "progress.json").write_text(json.dumps(content))

    def found(folder: Path) -> str:
        claims = json.loads((folder / "progress.json").read_text())["claims"]
        read = record.read()["claims"]
        if record.note or read != claims:
            raise AssertionError(f"it reads something else: {record.note}")
        return whole(claims == old, claims.keys() == {*old, "another"})

    return Saving(before, lambda folder: record.reached("00_start_here", "another"), found)


def playground() -> Saving:
    """The playground's file: two runs, of which one is made longer."""
    view = dk.playground(["steps=30", "steps=30&T=8"], pace=0, run=False)
    view._ready()
    old = view._pack()
    before, _ = parcel.unpack(old)
    for run in view.runs:
        for _ in range(10):
            next(run)
    after, _ = parcel.unpack(view._pack())
    view.close()
    view._thread.join(10)

    def found(folder: Path) -> str:
        about, _ = parcel.unpack((folder / "runs.dk").read_bytes())
        return whole(about == before, about == after)

    return Saving(
        lambda folder: (folder / "runs.dk").write_bytes(old),
        lambda folder: write(folder / "runs.dk", view._pack()),
        found,
    )
