"""What `python -m tests.trust` tries at full count, at a small one; and that no check passes by doing nothing."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.trust import Checked, __main__ as trust, resume

ROOT = Path(__file__).parents[1]


HIGHER = [pytest.param(*each, marks=pytest.mark.slow) for each in (("kill", 18), ("flip", 104), ("fuzz", 1000))]


@pytest.mark.parametrize(("name", "count"), [("offline", 2), *HIGHER])
def test_a_promise_at_a_small_count(name, count):
    found = trust.run(name, count)
    assert found.failures == []
    assert found.count >= count


SOME = ["plain KD", "dropout and batch norm", "both learned", "hints", "accelerator", "decoupled_kl"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_a_recipe_goes_on_bit_for_bit(name):
    assert resume.resumed(name, resume.RECIPES[name]) == []


def told(monkeypatch, asked, found):
    """What the runner makes of a check that reports this."""

    def run(command, **_):
        command[command.index("--into") + 1].write_text(json.dumps([asked, found]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(trust.subprocess, "run", run)
    return trust.run("kill", None)


def test_a_check_that_does_nothing_fails(monkeypatch):
    assert told(monkeypatch, 200, Checked(200, "all", [])).failures == []
    assert "tried 0 cases where 200" in told(monkeypatch, 200, Checked(0, "all", [])).failures[0]
    assert "tried 199 cases where 200" in told(monkeypatch, 200, Checked(199, "all", [])).failures[0]
    assert "tried 0 cases where 1" in told(monkeypatch, 0, Checked(0, "all", [])).failures[0]


def test_the_exit_status_says_whether_one_failed(monkeypatch, capsys):
    monkeypatch.setattr(trust, "run", lambda name, _: Checked(3, "well", ["not so"] if name == "flip" else []))
    assert trust.main(["kill"]) == 0
    assert trust.main(["kill", "flip"]) == 1
    assert trust.main(["no-such"]) == 2
    out = capsys.readouterr().out
    assert "FAILED (1): well" in out
    assert "python -m tests.trust flip" in out


# ----------------------------------------------------------------------------------------- docs/faults.md is true

ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows():
    return ROW.findall((ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))


def functions(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_row_of_the_faults_has_its_tests_and_they_are_there():
    found = rows()
    assert len(found) > 80
    assert [int(number) for number, *_ in found] == sorted({int(number) for number, *_ in found})
    for number, fault, _, tests in found:
        named = NAMED.findall(tests)
        assert named, f"{number} {fault} has no test"
        for path, test in named:
            assert test in functions(path), f"{number}: {path} has no {test}"
            assert int(number) in map(int, re.findall(r"f(\d+)(?=_)", test)), f"{number}: {test} names another row"


def test_every_test_that_the_page_names_is_there():
    for path, test in NAMED.findall((ROOT / "docs" / "faults.md").read_text(encoding="utf-8")):
        assert test in functions(path), f"{path} has no {test}"


def test_every_test_that_names_a_row_is_in_the_table():
    known = {int(number) for number, *_ in rows()}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test in functions(path.relative_to(ROOT)):
            if test.startswith("test_f") and test[6:7].isdigit():
                assert {int(number) for number in re.findall(r"f(\d+)(?=_)", test)} <= known, f"{path}: {test}"
