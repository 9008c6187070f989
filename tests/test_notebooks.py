"""Every chapter runs from top to bottom with the reader's own defaults, and its result has no fault.

    make notebooks      the executed chapters stay in build/notebooks

Each chapter's time and peak memory stand at the end of pytest's report.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from tests.executed import CHAPTERS, Executed
from tests.notebook_checker import faults, opening, unclean

MOST_MEMORY = 900e6  # bytes: a free Binder or a small laptop, with the browser beside it
APPLICATIONS = 1.2e9  # of the chapters from 14 on: a whole system each, and its parts in processes of their own

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


@pytest.mark.notebook
@each_chapter
def test_a_chapter_runs_without_a_fault(
    path: Path, executed: Callable[[Path], Executed], record_property: Callable[[str, object], None]
) -> None:
    ran = executed(path)
    record_property("cost", f"{path.stem:32} {ran.seconds:6.1f} s {ran.peak / 1e6:6.0f} MB")
    found = faults(nbformat.read(ran.path, as_version=4))
    assert not found, "\n".join([f"{path.name}, as it ran in build/notebooks:", *found])
    most = APPLICATIONS if path.stem >= "14" else MOST_MEMORY
    assert ran.peak <= most, f"{path.stem} held {ran.peak / 1e6:.0f} MB, more than {most / 1e6:.0f}"


@pytest.mark.notebook
@pytest.mark.slow
@each_chapter
def test_what_is_deterministic_prints_the_same_again(
    path: Path, executed: Callable[[Path], Executed], tmp_path: Path
) -> None:
    notebook = tmp_path / path.name
    nbformat.write(opening(nbformat.read(executed(path).path, as_version=4)), notebook)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--rootdir", tmp_path, "-c", os.devnull, "-q", notebook]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_chapter
def test_a_committed_chapter_is_clean(path: Path) -> None:
    assert unclean(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize(("path", "after"), [*pairwise(CHAPTERS)], ids=[path.stem for path in CHAPTERS[:-1]])
def test_a_chapter_leads_to_the_next(path: Path, after: Path) -> None:
    last = "".join(nbformat.read(path, as_version=4).cells[-1].source)
    assert f"({after.name})" in last.split("**Next:**", 1)[1]
