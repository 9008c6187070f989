"""What the tests of one run share: each chapter is executed once, and the site of them is built once.

The fixtures `executed` and `site` (tests/conftest.py) are all that a test needs, whichever worker it is on.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
import psutil
from filelock import FileLock

import distilkit as dk
from docs.site import pages
from tests.hostile import HOSTILE

CHAPTERS = [path for path in pages.chapters() if path.stem != "playground"]
HOSTILE_CHAPTER = CHAPTERS[2]  # its page in `site` shows what would act, if it could


class Executed(NamedTuple):
    """A chapter's result, in build/notebooks, and what it took."""

    path: Path
    seconds: float
    peak: int  # bytes


def once(chapter: Path, shared: Path) -> Executed:
    """The chapter as it ran with the reader's own defaults: now, or before in this run, which has the folder `shared`.

    An error is in the result, where the checker reads it.
    """
    note = shared / f"{chapter.stem}.json"
    with FileLock(f"{note}.lock"):
        if not note.exists():
            note.write_text(json.dumps(_execute(chapter)))
        return Executed(pages.EXECUTED / chapter.name, *json.loads(note.read_text()))


def _execute(chapter: Path) -> tuple[float, int]:
    out = pages.EXECUTED / chapter.name
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "papermill", chapter, out, "--cwd", chapter.parent, "-k", "python3"]
    quiet = ["--no-progress-bar", "--log-level", "CRITICAL", "--execution-timeout", "600"]
    start = time.perf_counter()
    with psutil.Popen([*command, *quiet], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as papermill:
        peak = _peak_memory(papermill)
    return time.perf_counter() - start, peak


def _peak_memory(papermill: psutil.Popen) -> int:
    """The most memory that its kernel and what that starts hold together, in bytes, sampled ten times a second."""
    most = held = 0
    while papermill.poll() is None:
        time.sleep(0.1)
        before, held = held, 0
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            for process in papermill.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    held += process.memory_info().rss
        most = max(most, min(before, held))  # who forks counts twice until the other has begun
    return most


def site(executed: Callable[[Path], Executed], shared: Path) -> Path:
    """The site of every chapter as it ran, but for a hostile one; Sphinx's warnings are errors."""
    with FileLock(shared / "site.lock"):
        out = shared / "site" / "html"
        if not out.exists():
            # the last one first: where the other worker is still at them, it began with the first one
            made = [executed(chapter).path for chapter in reversed(CHAPTERS) if chapter != HOSTILE_CHAPTER]
            pages.build([*made, _hostile(shared / HOSTILE_CHAPTER.name)], shared / "site")
        return out


def _hostile(path: Path) -> Path:
    """A chapter whose outputs, table, figures' words and widget say hostile things, written to `path`."""
    from ipywidgets.widgets.widget import _remove_buffers

    sayable = [text for text in HOSTILE if text.isprintable() or "\n" in text]
    question = dk.ask(HOSTILE[1], {text: text for text in sayable}, answer=sayable[0])
    state, paths, buffers = _remove_buffers(question.get_state())
    assert not buffers, paths
    model = {"model_name": "AnyModel", "state": json.loads(json.dumps(state, default=str)), "buffers": []}
    table = pd.DataFrame({"said": sayable})
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="\n".join(sayable)),
        nbformat.v4.new_output("display_data", {"text/html": table.to_html(), "text/plain": str(table)}),
        nbformat.v4.new_output("display_data", {pages.VIEW: {"model_id": "q"}, "text/plain": question.line()}),
        nbformat.v4.new_output("display_data", {"application/javascript": "alert(1)", "text/plain": "a script"}),
    ]
    source = nbformat.read(HOSTILE_CHAPTER, as_version=4)
    source.cells[1].outputs = outputs
    source.metadata["widgets"] = {pages.STATE: {"state": {"q": model}, "version_major": 2, "version_minor": 0}}
    nbformat.write(source, path)
    question.close()
    return path
