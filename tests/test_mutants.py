"""The faults that `python -m tests.trust mutants` puts in: each is a change in place, and a sample is noticed."""

import ast
import collections
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trust import mutants

ROOT = Path(__file__).parents[1]


def test_every_fault_is_another_program_that_parses():
    for name in mutants.MODULES:
        faults = mutants.faults_of(name)
        source = (ROOT / "distilkit" / f"{name}.py").read_text("utf-8")
        assert len(faults) > 350
        assert len({fault.what for fault in faults}) == len(faults)
        for fault in faults[::20]:
            tree = ast.parse(source)
            mutants.place(tree, fault.way, fault.new)
            assert ast.unparse(ast.fix_missing_locations(tree)) != ast.unparse(ast.parse(source)), fault.what
    kinds = collections.Counter(type(fault.new).__name__ for fault in faults)
    assert {"Compare", "BinOp", "BoolOp", "Constant", "Call", "Pass", "If"} <= set(kinds)


def test_no_message_is_changed():
    for name in mutants.MODULES:
        for fault in mutants.faults_of(name):
            assert isinstance(fault.new, ast.Pass) or "raise" not in fault.what.split(": ", 1)[1]


def test_what_changes_nothing_is_still_there():
    """A fault that is excused must be one that is tried."""
    known = {fault.what for name in mutants.MODULES for fault in mutants.faults_of(name)}
    assert set(mutants.SAME) <= known
    assert len(mutants.SAME) < 0.1 * len(known)


@pytest.mark.slow
def test_a_sample_is_noticed():
    command = [sys.executable, "-m", "tests.trust", "mutants", "--count", "20"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "faults in divergences and losses are noticed" in done.stdout
