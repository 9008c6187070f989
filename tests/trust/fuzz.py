"""Mutated weights, configurations, checkpoints and codes through every reader: an error in words, or a sound load.

A worker process reads one case after the other; each is drawn from its number alone, so that it can be read again:
python -c "from tests.trust.fuzz import again; again(4711)". A case fails where it raises anything but a
`DistilkitError`, ends the worker, takes more than five seconds, or does what no file may make a reader do: run code,
import what was not there, start a process, open a connection, or write beside its folder. Memory is limited to two
gigabytes more.
"""

import codecs
import contextlib
import copy
import hashlib
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import sysconfig
import tempfile
import time
import traceback
import typing
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import nn

import distilkit as dk
from distilkit import models
from distilkit.configs import check_configs
from distilkit.models import data_path
from tests.trust import Checked

LIMIT = 5.0  # seconds a case
MEMORY = 2 * 2**30  # bytes beyond what the worker has when it begins
MOST = 20  # workers that die; then it is over
STALLED = 60.0  # seconds by the clock, on a machine that has others to serve
NOW = struct.Struct("ddq")  # when the case began, by the clock and the worker's processor; its number


class Reader(NamedTuple):
    """What is read: its share of all cases, a mutated file, and the reading of it in a folder of its own."""

    share: float
    mutate: Callable[[random.Random], bytes]
    read: Callable[[Path, bytes], object]
    imports: bool = False  # transformers, which finds a model's class by its name among its own files


def main(count: int = 100_000) -> Checked:
    counts, failures = Counter(), []
    shared = mmap.mmap(-1, NOW.size)
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "said.jsonl")
        first = 0
        while first < count and len(failures) < MOST:
            first, failure = watched(first, count, said, shared, Path(folder))
            failures += [failure] if failure else []
        for line in said.read_text().splitlines():
            row = json.loads(line)
            counts.update(row["counts"])
            failures += row["failures"]
    tried = counts["refused"] + counts["loaded"] + len(failures)
    each = ", ".join(f"{name} {counts[name]:,}" for name in READERS)
    return Checked(
        tried,
        f"{counts['refused']:,} refused in words, {counts['loaded']:,} loaded, {len(failures)} crashed, hung, ran code "
        f"or raised something else; {each}; at most {counts['megabytes']} MB more memory",
        failures,
    )


def watched(first: int, count: int, said: Path, shared: mmap.mmap, folder: Path) -> tuple[int, str]:
    """Let a worker read from this case on: where it ended, and why if it was not at the end."""
    NOW.pack_into(shared, 0, time.time() + 300, 1e9, first)  # until all is imported
    child = os.fork()
    if not child:
        try:
            work(first, count, said, shared, folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        began, used, number = NOW.unpack_from(shared)
        if ended:
            return (count, "") if number == count else (number + 1, f"case {number} ended the worker: {status}")
        late = time.time() - began > LIMIT and (processor(child) - used > LIMIT or time.time() - began > STALLED)
        if late and began and NOW.unpack_from(shared) == (began, used, number):  # not while it is written
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return number + 1, f"case {number} ({name_of(number)}) took more than {LIMIT:g} s"
        time.sleep(0.02)


def processor(child: int) -> float:
    """Seconds that a process has used of a processor."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(first: int, count: int, said: Path, shared: mmap.mmap, folder: Path) -> None:
    """Read the cases, and say so; after each batch, so that little is lost with a worker that dies."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    here = folder / f"from {first}"
    here.mkdir(exist_ok=True)
    for name, reader in READERS.items():  # all that is imported on the way is imported now
        for number in range(3 if reader.imports else 40):
            with contextlib.suppress(Exception):
                reader.read(emptied(here), reader.mutate(random.Random(f"warm {name} {number}")))
    for codec in ("utf_8_sig", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"):
        codecs.lookup(codec)  # which JSON may be in
    guard = Guard(here)
    sys.addaudithook(guard.see)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY,) * 2)
    for start in range(first, count, 500):
        counts, failures = Counter(), []
        for number in range(start, min(start + 500, count)):
            NOW.pack_into(shared, 0, time.time(), time.process_time(), number)
            name = name_of(number)
            found = case(name, number, here, guard)
            counts[found if found in ("loaded", "refused") else "failed"] += 1
            counts[name] += 1
            if found not in ("loaded", "refused"):
                failures.append(f"case {number} ({name}): {found}")
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        before += more * 1024
        guard.on = False
        with said.open("a") as file:
            file.write(json.dumps({"counts": counts | {"megabytes": max(0, more)}, "failures": failures}) + "\n")
    NOW.pack_into(shared, 0, time.time(), 0.0, count)


def case(name: str, number: int, here: Path, guard: "Guard") -> str:
    """Read one case: "loaded", "refused", or what is wrong."""
    reader = READERS[name]
    data = reader.mutate(random.Random(f"{name} {number}"))
    folder = emptied(here)
    guard.begin(reader.imports)
    try:
        reader.read(folder, data)
        found = "loaded"
    except dk.DistilkitError as error:
        said = str(error)
        found = "refused" if said.count("\n") < 6 else f"an error of {said.count(chr(10)) + 1} lines"
        if not isinstance(error, ValueError | TypeError | OSError):
            found = f"a {type(error).__name__} that is no error of Python's own"
    except BaseException as error:  # whatever it is, it is what a user would see
        found = f"{type(error).__name__}: {str(error)[:200]} at {traceback.extract_tb(error.__traceback__)[-1]}"
    finally:
        guard.on = False
    return f"it did {guard.seen[0]}" if guard.seen else found


def again(number: int) -> None:
    """Read one case with nothing around it."""
    name = name_of(number)
    with tempfile.TemporaryDirectory() as folder:
        data = READERS[name].mutate(random.Random(f"{name} {number}"))
        print(name, data[:2000])
        print(READERS[name].read(Path(folder), data))


class Guard:
    """What must not happen while a file is read, seen by Python's audit hooks."""

    FORBIDDEN = (
        "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.", "pty.spawn",
        "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.",
        "pickle.find_class", "code.__new__", "ctypes.dlopen", "webbrowser.", "http.client.", "ftplib.", "os.remove",
        "os.rename", "os.chmod", "shutil.",
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.on, self.imports, self.seen = False, False, []
        self.folder = str(folder)
        self.own = (*{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}, str(ROOT))

    def begin(self, imports: bool) -> None:
        self.on, self.imports, self.seen = True, imports, []

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        self.on = False  # what follows would be seen, too
        if fault := self.fault(event, args):
            self.seen.append(fault)
            raise RuntimeError(fault)
        self.on = True

    def fault(self, event: str, args: tuple[Any, ...]) -> str:
        if event.startswith(self.FORBIDDEN):
            where = next((str(each) for each in args if isinstance(each, str | os.PathLike)), "")
            if event.startswith(("os.remove", "os.rename", "os.chmod", "shutil.")) and where.startswith(self.folder):
                return ""
            return f"{event} {where}"
        if event == "open" and isinstance(args[0], str | os.PathLike):
            mode, flags = str(args[1] or ""), int(args[2] or 0)
            writes = set("wax+") & set(mode) if args[1] else flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not os.fspath(args[0]).startswith((self.folder, "/dev/null", "/tmp/tmp")):
                return f"open {os.fspath(args[0])!r} to write"
        if event == "import" and not self.imports and args[0] not in sys.modules:
            return f"import {args[0]}"
        if event == "compile" and sys._getframe(2).f_code.co_filename == typing.__file__:
            return ""  # a type hint of torch's own
        if event in ("exec", "compile"):
            code = args[0] if event == "exec" else None
            file = getattr(code, "co_filename", "") if code else str(args[1])
            if self.imports and (file.startswith((*self.own, "<frozen")) or importing()):
                return ""
            return f"{event} {file}"
        return ""


ROOT = Path(__file__).parents[2]


def importing() -> bool:
    """Whether a module is being imported right now: named tuples and data classes are made by exec."""
    frame = sys._getframe()
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def emptied(folder: Path) -> Path:
    """A folder with nothing in it."""
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    return case


# ----------------------------------------------------------------------------------------------------------- mutations

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 255, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400,
    0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"), "", "0", "nan", "F32", "I64", "F8_E4M3",
    "BF16", "U128", "\x00",
    "\ud800", "\udfff\ud800", "a" * 5000, "../../etc/passwd", "/etc/passwd", "C:\\x", "~/.ssh/id_rsa",
    "http://127.0.0.1:9/x", "file:///etc/passwd", "__import__('os').system('true')", "os.system", "{{7*7}}", "%s%n{0}",
    "<script>alert(1)</script>", "\u202egnp", "torch.nn.Linear", "auto_map", "__metadata__", "__class__", "sha256",
    [], {}, [[]], [{}], [0, 0], [0, 8], [8, 0], [-1, 8], [0, 2**63], [2**62, 4], ["0", "8"], [0, 8, 16], [1.5, 2],
    {"a": {}}, {"__reduce__": "x"}, {"auto_map": {"AutoConfig": "x.Y"}}, [None] * 50, {"": ""},
]  # fmt: skip


def odd(draw: random.Random) -> Any:
    """One of them, a copy: what is twisted later is not what others draw."""
    return copy.deepcopy(draw.choice(ODD))


DEEP = "\x01deep\x01"  # stands for what is nested twenty thousand deep


def twisted(value: Any, draw: random.Random, times: int | None = None) -> Any:
    """A copy of what JSON holds, changed at one to three places."""
    value = json.loads(json.dumps(value))
    for _ in range(times or draw.choice((1, 1, 1, 2, 3))):
        value = _twist(value, draw)
    return value


def _twist(value: Any, draw: random.Random) -> Any:
    places = [*_places(value)]
    if not places or draw.random() < 0.03:
        return odd(draw)
    holder, key = draw.choice(places)
    how = draw.randrange(10)
    if how < 5:
        holder[key] = DEEP if draw.random() < 0.01 else odd(draw)
    elif how == 5:
        del holder[key]
    elif how == 6 and isinstance(holder, dict):
        holder[draw.choice(["", "__metadata__", "../x", "\ud800", "auto_map", "a" * 3000, "x<script>"])] = holder.pop(
            key
        )
    elif how == 7 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = holder[key] * draw.choice((-1, 2, 1000)) + draw.choice((-8, -1, 1, 8, 2**32, 2**63))
    elif how == 8 and isinstance(holder[key], str) and holder[key]:
        place = draw.randrange(len(holder[key]))
        holder[key] = (
            holder[key][:place] + draw.choice(["\x00", "\ud800", "é", "/", "..", "9" * 400]) + holder[key][place:]
        )
    else:
        other, at = draw.choice(places)
        with contextlib.suppress(LookupError):
            holder[key] = other[at]
    try:
        json.dumps(value)
    except (ValueError, RecursionError):  # it holds itself now
        return odd(draw)
    return value


def _places(value: Any) -> Any:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(inner)


def text_of(value: Any, draw: random.Random) -> bytes:
    """It as JSON; now and then with a key twice, cut, nested deep, in another encoding, or with some bytes changed."""
    text = json.dumps(value, ensure_ascii=draw.random() < 0.9)
    depth = draw.choice((500, 20_000))
    text = text.replace(json.dumps(DEEP), draw.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth)))
    how = draw.randrange(20)
    if how == 0 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + "," + text[1:]
    elif how == 1:
        text = text[: draw.randrange(len(text) + 1)]
    elif how == 2:
        text = text.replace("1", "9" * draw.choice((20, 400, 5000)), 1)
    data = text.encode("utf-8", "surrogatepass") if how != 3 else text.encode("utf-16", "surrogatepass")
    return scratched(data, draw) if how in (4, 5, 6) else data


def scratched(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, put in, or left out."""
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(len(data) + 1)
        how, some = draw.randrange(3), bytes(draw.randrange(256) for _ in range(draw.choice((1, 1, 4))))
        data = data[:place] + (some if how < 2 else b"") + data[place + (len(some) if how != 1 else 0) :]
    return data


def weights_of(header: Any, body: bytes, draw: random.Random) -> bytes:
    """A safetensors file; its header's length is wrong now and then, and so is the body's."""
    said = text_of(header, draw)
    length = len(said)
    how = draw.randrange(16)
    if how == 0:
        length = draw.choice((0, 1, length - 1, length + 1, length + len(body), 2**27, 2**31, 2**32, 2**63, 2**64 - 1))
    elif how == 1:
        body = draw.choice((body[:-1], body + b"\x00", body + bytes(8), b"", body * 2))
    data = max(0, length).to_bytes(8, "little") + said + body
    return scratched(data, draw) if how == 2 else data


# ------------------------------------------------------------------------------------------------------------- readers


def _network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def _taken_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


NETWORK = _network()
HEADER, BODY = _taken_apart(safetensors.torch.save(NETWORK.state_dict(), {"about": "{}"}))
CHECKPOINT: dict[str, Any] = {}


def a_run() -> dk.Run:
    draw = torch.Generator().manual_seed(0)
    data = dk.Examples(torch.randn(8, 4, generator=draw), torch.randint(2, (8,), generator=draw))
    return dk.distill(_network(), nn.Linear(4, 2), data, steps=5, knobs=dk.Knobs(dk.LearnedTemperature(), 0.9))


def mutated_weights(draw: random.Random) -> bytes:
    if draw.random() < 0.1:
        return scratched(safetensors.torch.save(NETWORK.state_dict(), {"about": "{}"}), draw)
    return weights_of(twisted(HEADER, draw), BODY, draw)


def read_weights(folder: Path, data: bytes) -> object:
    """Parsed, and if that goes well, loaded; by its header alone, too."""
    path = folder / "weights.safetensors"
    tensors = models.parse(path, data)
    path.write_bytes(data)
    models.check_header(path)
    return tensors and dk.load(_network(), path)


def mutated_checkpoint(draw: random.Random) -> bytes:
    """With the sha256 of what it now holds, so that more than its digest is looked at."""
    if not CHECKPOINT:
        run = a_run()
        next(run), next(run)
        with tempfile.TemporaryDirectory() as folder:
            CHECKPOINT["data"] = run.save(Path(folder, "run")).read_bytes()
    data = CHECKPOINT["data"]
    header, body = _taken_apart(data)
    about, tensors = header.pop("__metadata__"), safetensors.torch.load(data)
    if draw.random() < 0.2:
        return weights_of(twisted({"__metadata__": about, **header}, draw), body, draw)
    for part in draw.sample(("history", "knobs", "learned", "run", "format", "tensors"), draw.choice((1, 1, 2))):
        if part == "tensors":
            name = draw.choice([*tensors])
            value = tensors.pop(name)
            other = draw.choice(
                [name, "student.x", "optimizer.0", "optimizer.9.step", "optimizer.-1.step", "x.y", f"{name}.a"]
            )
            size = draw.choice([(), (0,), (2,), (3, 4), (4, 3), (1, 1, 1)])
            tensors[other] = draw.choice(
                [value, torch.zeros(size), torch.zeros(size, dtype=torch.int8), value.double()]
            )
        elif part == "format":
            about[part] = str(odd(draw))
        elif about.get(part):
            about[part] = text_of(twisted(json.loads(about[part]), draw), draw).decode("utf-8", "replace")
    about.pop("sha256", None)
    about["sha256"] = sealed(tensors, about)
    return safetensors.torch.save(
        tensors, {key: value.encode("utf-8", "replace").decode() for key, value in about.items()}
    )


def sealed(tensors: dict[str, torch.Tensor], about: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(name.encode() + value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(folder: Path, data: bytes) -> object:
    """Loaded, and if that goes well, gone on with."""
    (folder / "run.safetensors").write_bytes(data)
    run = a_run()
    run.load(folder / "run.safetensors")
    return run.done or next(run)


CONFIGS = {
    kind: {file: json.loads((data_path(kind) / file).read_text()) for file in ("config.json", "tokenizer_config.json")}
    for kind in ("docs/teacher", "translation/teacher", "requests/teacher")
}


def mutated_config(draw: random.Random) -> bytes:
    kind = draw.choice([*CONFIGS])
    return text_of(twisted(CONFIGS[kind][draw.choice([*CONFIGS[kind]])], draw), draw)


def read_configs(folder: Path, data: bytes) -> object:
    (folder / "config.json").write_bytes(data)
    return check_configs(folder)


def model_reader(kind: str, file: str, share: float, load: Callable[[Path], object]) -> Reader:
    """A shipped model's folder, in which one file is mutated; what is noted of its sha256 is left out."""
    source = data_path(kind)
    tensors = file.endswith(".safetensors")
    good = (source / file).read_bytes()
    value = _taken_apart(good) if tensors else json.loads(good)

    def mutate(draw: random.Random) -> bytes:
        if tensors:
            return weights_of(twisted(value[0], draw), value[1], draw)
        return text_of(twisted(value, draw), draw)

    def read(folder: Path, data: bytes) -> object:
        for other in source.iterdir():
            if other.name != file and other.suffix in (".json", ".safetensors"):
                (folder / other.name).symlink_to(other)
        (folder / file).write_bytes(data)
        return load(folder)

    return Reader(share, mutate, read, imports=True)


def mutated_code(draw: random.Random) -> bytes:
    parts = [
        "T=4",
        "a=.9",
        "lr=.01",
        "n=100",
        "seed=0",
        "steps=600",
        "task=docs",
        "text=teacher",
        "div=jsd",
        "hide=file,T",
    ]
    parts = draw.sample(parts, draw.randrange(1, len(parts)))
    for _ in range(draw.randrange(3)):
        place = draw.randrange(len(parts))
        parts[place] = parts[place].split("=")[0] + "=" + str(odd(draw))
    return (
        scratched("&".join(parts).encode("utf-8", "surrogatepass"), draw)
        if draw.random() < 0.6
        else "&".join(parts).encode("utf-8", "surrogatepass")
    )


def read_code(folder: Path, data: bytes) -> object:
    from distilkit.setting import Setting

    setting = Setting.of(data.decode("utf-8", "surrogatepass") if _decodes(data) else data.decode("latin-1"))
    if Setting.of(setting.code()) != setting:
        raise AssertionError("its code is another setting's")
    return setting.python()


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


CACHED: dict[str, Any] = {}


def mutated_cache(draw: random.Random) -> bytes:
    """What the cached teacher's folder says of itself, or what it notes of a shard."""
    if not CACHED:
        with tempfile.TemporaryDirectory() as folder:
            dk.cache_teacher(nn.Linear(4, 5), _asked(), folder, top=2)
            CACHED.update({path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix != ".lock"})
    if draw.random() < 0.5:
        return b"about.json\n" + text_of(twisted(json.loads(CACHED["about.json"]), draw), draw)
    return b"shard-0\n" + scratched(CACHED["shard-0"], draw)


def _asked() -> dk.Examples:
    return dk.Examples(torch.ones(6, 4), torch.zeros(6, dtype=torch.int64))


def read_cache(folder: Path, data: bytes) -> object:
    name, _, content = data.partition(b"\n")
    for other, good in CACHED.items():
        (folder / other).write_bytes(content if other == name.decode() else good)
    cache = dk.cache_teacher(None, _asked(), folder, top=2)
    return cache.at(torch.arange(6))


SIDE = {"accuracy": 0.5, "seed": 0}


def mutated_side(draw: random.Random) -> bytes:
    """The rows of a sweep that did not end."""
    lines = [text_of(twisted({"steps": 3}, draw) if draw.random() < 0.3 else {"steps": 3}, draw)]
    lines += [text_of(twisted(SIDE, draw) if draw.random() < 0.5 else SIDE, draw) for _ in range(3)]
    return b"\n".join(lines)


def read_side(folder: Path, data: bytes) -> object:
    from distilkit.sweeps.grid import _on_file

    (folder / "sweep.parquet.jsonl").write_bytes(data)
    return _on_file(folder / "sweep.parquet", {"steps": 3})


def mutated_note(draw: random.Random) -> bytes:
    """What the hub's cache notes of a model's files."""
    blob = {"size": 12, "blob_id": "a" * 40, "lfs_sha256": "b" * 64, "lfs_size": 12}
    files = {"config.json": {"size": 2, "blob_id": "c" * 40}, "model.safetensors": blob}
    return text_of(twisted({"format_version": 1, "files": files}, draw), draw)


def read_note(folder: Path, data: bytes) -> object:
    from distilkit.hub import _cache

    commit = "d" * 40
    before = {key: os.environ.get(key) for key in ("HF_HUB_CACHE", "HF_HUB_OFFLINE")}
    os.environ.update(HF_HUB_CACHE=str(folder), HF_HUB_OFFLINE="1")
    try:
        storage = _cache() / "models--org--name"
        (storage / "trees").mkdir(parents=True)
        (storage / "trees" / f"{commit}.json").write_bytes(data)
        return dk.fetch("org/name", revision=commit)
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


RECORD = {
    "version": 1,
    "questions": {"00 1": {"chapter": "00", "question": "?", "chosen": "a", "right": True, "first": "b", "at": "2026"}},
    "exercises": {"soften": {"chapter": "02", "tries": 3, "solved": True, "code": "def f(): ...", "at": "2026"}},
    "claims": {"it holds": {"chapter": "00_start_here", "at": "2026"}},
    "tours": {"watch": {"at": "2026"}},
}


def mutated_record(draw: random.Random) -> bytes:
    return text_of(twisted(RECORD, draw), draw)


def read_record(folder: Path, data: bytes) -> object:
    """The reader's own record: whatever it holds, it is read, shown and written."""
    from distilkit import record

    (folder / "progress.json").write_bytes(data)
    os.environ["DISTILKIT_PROGRESS"] = str(folder / "progress.json")
    try:
        record.toured("watch")
        return record.standing()
    finally:
        del os.environ["DISTILKIT_PROGRESS"]
        record._pending.clear()


def mutated_parcel(draw: random.Random) -> bytes:
    """A file of the playground, sealed anew."""
    from distilkit.widgets import parcel

    tensors = {"0.run.student.weight": torch.zeros(2, 3), "0.run_steps": torch.tensor([0, 1])}
    about = {
        "format": 1,
        "runs": [{"name": "A", "code": "T=4", "turns": [], "run": {"history": "[]"}}],
        "chosen": 0,
        "at": None,
    }
    said = text_of(twisted(about, draw), draw).decode("utf-8", "replace")
    header = {"playground": said, "sha256": parcel._digest(said, tensors)}
    return (
        safetensors.torch.save(tensors, header)
        if draw.random() < 0.8
        else scratched(safetensors.torch.save(tensors, header), draw)
    )


def read_parcel(folder: Path, data: bytes) -> object:
    from distilkit.widgets import parcel, playground

    about, _ = parcel.unpack(data)
    return playground.Playground._settings_of(None, about)


READERS = {
    "weights": Reader(0.60, mutated_weights, read_weights),
    "configurations": Reader(0.235, mutated_config, read_configs),
    "checkpoints": Reader(0.05, mutated_checkpoint, read_checkpoint),
    "codes": Reader(0.05, mutated_code, read_code),
    "caches": Reader(0.02, mutated_cache, read_cache),
    "sweeps": Reader(0.01, mutated_side, read_side),
    "hub notes": Reader(0.01, mutated_note, read_note),
    "records": Reader(0.01, mutated_record, read_record),
    "playground files": Reader(0.01, mutated_parcel, read_parcel),
    "models": model_reader("requests/teacher", "config.json", 0.002, dk.classifier_model),
    "language models": model_reader("shop/twin", "config.json", 0.001, dk.language_model),
    "tokenizers": model_reader("shop/twin", "tokenizer_config.json", 0.001, dk.language_model),
    "models' weights": model_reader("shop/twin", "model.safetensors", 0.001, dk.language_model),
}  # fmt: skip


def name_of(number: int) -> str:
    """Which reader a case is for: by turns, each as often as its share says."""
    place = (number * 0.6180339887498949) % 1.0  # evenly spread, also over a few
    for name, reader in READERS.items():
        place -= reader.share
        if place < 0:
            return name
    return "weights"
