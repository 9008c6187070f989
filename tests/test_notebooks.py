"""Every chapter runs from top to bottom with the reader's own defaults, and its result has no fault.

    make notebooks      the executed chapters stay in build/notebooks

Each chapter's time and peak memory stand at the end of pytest's report.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from tests.notebook_checker import faults, opening, unclean

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MOST_MEMORY = 900e6  # bytes: a free Binder or a small laptop, with the browser beside it
APPLICATIONS = 1.2e9  # of the chapters from 14 on: a whole system each, and its parts in processes of their own

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


class PeakMemory(threading.Thread):
    """The most memory that the processes started since have held together, in bytes, sampled ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._before = set(psutil.Process().children(recursive=True))
        self._over = threading.Event()

    def run(self) -> None:
        held = 0
        while not self._over.wait(0.1):
            before, held = held, 0
            for process in set(psutil.Process().children(recursive=True)) - self._before:
                try:
                    held += process.memory_info().rss
                except psutil.Error:
                    continue  # it ended meanwhile
            self.bytes = max(self.bytes, min(before, held))  # who forks counts twice until the other has begun

    def __enter__(self) -> "PeakMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


@pytest.mark.notebook
@each_chapter
def test_a_chapter_runs_without_a_fault(path: Path, record_property: Callable[[str, object], None]) -> None:
    out = ROOT / "build" / "notebooks" / path.name
    out.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with PeakMemory() as peak, contextlib.suppress(PapermillExecutionError):  # `faults` reads the error in the result
        papermill.execute_notebook(
            path,
            out,
            kernel_name="python3",
            cwd=path.parent,
            execution_timeout=600,
            progress_bar=False,
            log_output=False,
        )
    record_property("cost", f"{path.stem:32} {time.perf_counter() - start:6.1f} s {peak.bytes / 1e6:6.0f} MB")
    executed = nbformat.read(out, as_version=4)
    found = faults(executed)
    assert not found, "\n".join([f"{path.name}, as it ran in build/notebooks:", *found])
    most = APPLICATIONS if path.stem >= "14" else MOST_MEMORY
    assert peak.bytes <= most, f"{path.stem} held {peak.bytes / 1e6:.0f} MB, more than {most / 1e6:.0f}"
    check_with_nbval(opening(executed), out.with_suffix(".opening.ipynb"))


def check_with_nbval(notebook: NotebookNode, path: Path) -> None:
    """Run the notebook again; its deterministic cells must print the same."""
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--rootdir", path.parent, "-c", os.devnull, "-q", path]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_chapter
def test_a_committed_chapter_is_clean(path: Path) -> None:
    assert unclean(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize(("path", "after"), [*pairwise(CHAPTERS)], ids=[path.stem for path in CHAPTERS[:-1]])
def test_a_chapter_leads_to_the_next(path: Path, after: Path) -> None:
    last = "".join(nbformat.read(path, as_version=4).cells[-1].source)
    assert f"({after.name})" in last.split("**Next:**", 1)[1]
