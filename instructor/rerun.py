"""Functions that learners handed in, checked again: theirs runs in a process of its own, the check in this one.

The process gets inputs and returns numbers, as JSON; what is right is decided here. It has `SECONDS` for an exercise,
`MEMORY` bytes, an empty folder, no environment, and on Linux no network where the system allows that. This keeps out
accidents and pranks. It is no wall against somebody who means harm, for it may read and write what you may: run it in
a container that holds nothing else. And a function that looks the answer up in the package is only found by reading it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

SECONDS = 10  # for an exercise, all its inputs together
STARTING = 60  # until PyTorch is loaded
MEMORY = 4 * 2**30
LONGEST = 1_000_000  # letters of one answer


class Stopped(Exception):
    """The learner's process ended, or did not answer in time."""


def rerun(records: dict[str, dict[str, Any]], known: dict[str, str]) -> dict[tuple[str, str], str]:
    """For each learner and exercise with code: "right", "wrong", or why it could not be told."""
    found = {}
    print("running the learners' functions again", "without network" if _cut_off() else "(the network is reachable)")
    for name, record in records.items():
        with Pupil() as pupil:
            for exercise, entry in record["exercises"].items():
                if exercise in known and isinstance(entry.get("code"), str) and entry["code"].strip():
                    found[name, exercise] = _checked(pupil, exercise, entry["code"])
    return found


def _checked(pupil: Pupil, exercise: str, code: str) -> str:
    from distilkit.lessons import check

    pupil.ready()
    ended, end = "", time.monotonic() + SECONDS

    def theirs(*inputs: Any) -> Any:
        nonlocal ended
        if ended:  # it is not asked again: each wait is long
            raise Stopped(ended)
        try:
            return pupil.call(exercise, code, inputs, end)
        except Stopped as stopped:
            ended = str(stopped)
            raise

    with contextlib.redirect_stdout(io.StringIO()):
        try:
            check(exercise, theirs, strict=True)
        except Exception:  # whatever the check raises at a wrong answer
            return ended or "wrong"
    return "right"


class Pupil:
    """A process that runs one learner's functions; begun when it is first needed, and again after it was stopped."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Pupil:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def ready(self) -> None:
        """Wait until the process can be asked."""
        if self._process is None:
            self._folder = tempfile.TemporaryDirectory()
            self._process = self._start(self._folder.name)
            with contextlib.suppress(Stopped):  # then the first call says so
                self._line(time.monotonic() + STARTING)

    def call(self, exercise: str, code: str, inputs: tuple[Any, ...], end: float) -> Any:
        """The answer of a learner's function to these inputs, until `end` on the monotonic clock.

        Raises:
            Stopped: no answer in time, or the process ended. RuntimeError: the function raised.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        question = {"name": exercise, "code": code, "inputs": [_packed(each) for each in inputs]}
        try:
            self._process.stdin.write(json.dumps(question).encode("ascii") + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._line(end))
            kind, value = answer["kind"], answer["value"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            self._stop()
            raise Stopped("ended its process") from None
        except Stopped:
            self._stop()
            raise
        if kind == "nothing":
            return None
        if kind == "raised":
            raise RuntimeError(str(value)[:200])
        return _unpacked(value)

    def _start(self, folder: str) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
        environment = kept | {"HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1", "DISTILKIT_PROGRESS": ""}
        command = [*_cut_off(), sys.executable, "-I", "-c", PUPIL, json.dumps([p for p in sys.path if p]), str(MEMORY)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip

    def _line(self, end: float) -> bytes:
        """One line of the process's answer."""
        assert self._process is not None
        pipe: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise Stopped(f"stopped after {SECONDS} s")
                more = os.read(pipe.fileno(), 65_536)
                if not more or len(line) > LONGEST:
                    raise Stopped("ended its process")
                line += more
        return line

    def _stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, 9) if hasattr(os, "killpg") else self._process.kill()
        self._process.kill()
        self._process.communicate()
        self._process = None
        self._folder.cleanup()


@functools.cache
def _cut_off() -> tuple[str, ...]:
    """The command before another that takes the network from it; nothing where the system does not allow it."""
    command = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None:
        return ()
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else ()


def _packed(value: Any) -> Any:
    """A tensor as its type and numbers, anything else as it is."""
    return {"dtype": str(value.dtype).split(".")[-1], "numbers": value.tolist()} if hasattr(value, "tolist") else value


def _unpacked(value: Any) -> Any:
    """Numbers of an answer as a tensor; only what is numbers in lists comes through."""
    import torch

    if isinstance(value, (int, float, list)) and not isinstance(value, bool):
        return torch.tensor(value, dtype=torch.float64)
    return "no number"


# What the learner's process runs; it shares nothing with this one but JSON lines. Its answers go to a copy of stdout
# that the learner's prints do not reach.
PUPIL = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6,) * 2)
except (ImportError, ValueError, OSError):
    pass
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
import collections, itertools, math
import numpy, torch
import distilkit
torch.set_num_threads(1)
answers.write("ready\\n")
answers.flush()
given = {"torch": torch, "np": numpy, "dk": distilkit, "math": math, "itertools": itertools, "F": torch.nn.functional}
given |= {"Counter": collections.Counter, "collections": collections, "pairwise": itertools.pairwise}
def unpacked(value):
    if isinstance(value, dict):
        return torch.tensor(value["numbers"], dtype=getattr(torch, value["dtype"]))
    return value
for line in sys.stdin:
    asked = json.loads(line)
    try:
        names = dict(given)
        exec(asked["code"], names)
        value = names[asked["name"]](*map(unpacked, asked["inputs"]))
        if value is None or value is ...:
            answer = {"kind": "nothing", "value": None}
        else:
            answer = {"kind": "value", "value": torch.as_tensor(value).double().tolist()}
    except BaseException as error:
        answer = {"kind": "raised", "value": f"{type(error).__name__}: {error}"[:200]}
    answers.write(json.dumps(answer) + "\\n")
    answers.flush()
"""
