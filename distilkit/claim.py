"""One process at a time at a file that grows with a run: two kernels at one checkpoint would overwrite each other's."""

from __future__ import annotations

import os
import socket
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import filelock

from distilkit.errors import BadFile, shown

_HERE: weakref.WeakValueDictionary[Path, Claim] = weakref.WeakValueDictionary()  # what this process holds
_ONE_AT_A_TIME = threading.Lock()


class Claim:
    """That this process is at a file; it ends when the last who holds it lets go, or with the process: see `claim`."""

    def __init__(self, path: Path) -> None:
        place = path.with_name(f".{path.name}.lock")
        lock = filelock.FileLock(place, thread_local=False)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            who = place.read_text("ascii", "replace").strip() if place.is_file() else ""
            lock.acquire(blocking=False)
            with suppress(OSError):  # Windows lets nobody write into a file that is locked
                place.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", "ascii", "replace")
        except filelock.Timeout:
            raise BadFile(
                f"{shown(who or 'another process', 100)} is at {path}, and each would overwrite what the other saves. "
                "Wait until it is through, or shut that kernel down; or give another path here"
            ) from None
        except NotImplementedError:  # a file system without locks
            pass
        except OSError as error:
            raise BadFile(
                f"cannot write {shown(str(place), 200)}: {error.strerror}. Free some space or give another path"
            ) from None
        weakref.finalize(self, _free, lock, place, os.getpid())


def claim(path: str | Path) -> Claim:
    """Claim a file for this process, or say which process has it; a process that was killed has none.

    Raises `BadFile`: another process has it, or nothing can be written there.
    """
    path = Path(path).resolve()
    with _ONE_AT_A_TIME:
        held = _HERE.get(path)
        if held is None:
            held = _HERE[path] = Claim(path)
        return held


def _free(lock: filelock.BaseFileLock, place: Path, pid: int) -> None:
    if os.getpid() == pid:  # a fork holds nothing
        with suppress(OSError):
            place.unlink()
        lock.release(force=True)
