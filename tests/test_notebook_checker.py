"""The notebook checker on notebooks with planted faults: it names each, and leaves a clean one alone."""

import copy
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.notebook_checker import WIDGET_STATE, faults, unclean
from tests.trust.planted import PATIENCE, PLANTED, chapter, code, execute, text

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    return execute(chapter(), tmp_path_factory.mktemp("clean"))[0]


@pytest.fixture
def executed(clean: NotebookNode) -> NotebookNode:
    """A copy of the clean chapter as it ran, to plant a fault in."""
    return copy.deepcopy(clean)


def test_a_clean_chapter_has_no_fault(executed: NotebookNode) -> None:
    assert faults(executed) == []


# ---------------------------------------------------------------------------- faults that papermill lets pass

# One run for all that let others run after them: the cell of each is its place here, after the five before it.
TOGETHER = {name: fault for name, fault in PLANTED.items() if not fault.alone}


def test_at_least_fifteen_are_planted() -> None:
    assert len({fault.source for fault in PLANTED.values()}) == len(PLANTED) >= 15


@pytest.fixture(scope="module")
def found() -> list[str]:
    """The faults of a chapter with all of them, run with a parameter that it does not have."""
    notebook = chapter(*TOGETHER.values())
    notebook.cells = notebook.cells[: len(TOGETHER) + 8]
    notebook.cells.insert(3, code("stepz = 9", "injected-parameters"))
    return faults(NotebookClient(notebook, allow_errors=True, timeout=PATIENCE).execute())


@pytest.mark.parametrize("name", TOGETHER)
def test_a_planted_fault_is_named_with_its_cell(found: list[str], name: str) -> None:
    fault, place = TOGETHER[name], 5 + list(TOGETHER).index(name)
    where = ("a secret", "an Output widget", f"cell {place} ", f"cell {place}:", f"never ran: cell {place}")
    assert any(line.startswith(where) and fault.says in line for line in found), found


def test_a_misspelt_parameter_is_named(found: list[str]) -> None:
    assert "unknown parameter 'stepz': the chapter takes seed, steps" in found


def test_nothing_else_is_named(found: list[str]) -> None:
    assert len(found) == len(TOGETHER) + 1, found


def test_cells_after_sys_exit_never_ran(tmp_path: Path) -> None:
    executed, content = execute(chapter("import sys\nsys.exit(0)", "steps"), tmp_path)
    assert content
    assert "never ran: cell 6, 7" in faults(executed)


# ------------------------------------------------------------------------------- faults of the file as written


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("class Net:\n    pass", "defines the class Net"),
        ("def f():\n    import matplotlib.pyplot as plt", "imports matplotlib.pyplot"),
        ("from plotly import graph_objects", "imports plotly"),
        ("dk._cache", "private name _cache"),
        ("distilkit.losses._check(1)", "private name _check"),
        ("from distilkit._maths import kl", "private name _maths"),
        ("from distilkit import _maths", "private name _maths"),
        ("from distilkit import kd_loss", "says 'from distilkit import kd_loss'"),
        ("\n" * 12 + "1", "has 13 lines"),
    ],
)
def test_code_that_belongs_in_the_package(executed: NotebookNode, source: str, says: str) -> None:
    executed.cells[4].source = source
    assert any(line.startswith("cell 4 ") and says in line for line in faults(executed)), faults(executed)


def test_what_is_public_is_welcome(executed: NotebookNode) -> None:
    executed.cells[4].source = "import distilkit as dk\ndk.kd_loss.__doc__\n_ = dk.__version__\n%timeit -n1 dk.digits()"
    assert faults(executed) == []


@pytest.mark.parametrize(
    "source",
    [
        "print(mean)",
        "assert True",
        "assert 1 < 2",
        "assert mean",
        "assert (mean > 2, 'too low')",
        "assert mean == mean",
        "assert mean > 2 or True",
        "goal = 0.9\nassert goal > 0.5",
        "assert steps > 0",
        "if seed > 9:\n    assert mean > 2",
        "def claim():\n    assert mean > 2",
        "try:\n    assert mean > 2\nexcept AssertionError:\n    pass",
    ],
)
def test_a_claim_that_cannot_fail(executed: NotebookNode, source: str) -> None:
    executed.cells[5].source = source
    (line,) = faults(executed)
    assert line.startswith("cell 5")
    assert "claim" in line


@pytest.mark.parametrize(
    "source", ["assert mean > 0.5", "assert all(s > 0.5 for s in scores)", "best = max(scores)\nassert best > 0.9"]
)
def test_a_claim_that_can(executed: NotebookNode, source: str) -> None:
    executed.cells[5].source = source
    assert faults(executed) == []


@pytest.mark.parametrize("tag", ["setup", "parameters", "claim"])
def test_a_missing_tag(executed: NotebookNode, tag: str) -> None:
    for cell in executed.cells:
        cell.metadata.tags = [other for other in cell.metadata.get("tags", []) if other != tag]
    assert faults(executed) == [f"no cell is tagged {tag!r}"]


def test_a_chapter_without_a_seed(executed: NotebookNode) -> None:
    executed.cells[2].source = "steps = 3"
    assert faults(executed) == ["the parameters cell does not set seed"]


@pytest.mark.parametrize(("extra", "count"), [(-1, 19), (11, 31)])
def test_too_few_or_too_many_cells(executed: NotebookNode, extra: int, count: int) -> None:
    lines = [text("A line.") for _ in range(extra)]
    executed.cells = executed.cells[:extra] if extra < 0 else [*executed.cells, *lines]
    assert faults(executed) == [f"{count} cells: a chapter has 20 to 30"]


def test_more_than_two_megabytes(executed: NotebookNode) -> None:
    executed.cells[0].source = "x" * 2_000_001
    assert faults(executed) == ["2.0 MB: more than 2 MB does not open well"]


def test_cells_out_of_order(executed: NotebookNode) -> None:
    executed.cells[3].execution_count, executed.cells[4].execution_count = 4, 3
    assert "cell 3 ran as number 4, after number 2" in faults(executed)


def test_f91_a_widget_without_its_state(executed: NotebookNode) -> None:
    executed.metadata.widgets[WIDGET_STATE].state.clear()
    assert faults(executed) == ["cell 4 shows a widget whose state was not saved"]
    executed.cells[4].outputs.clear()
    executed.metadata.widgets = NotebookNode()
    assert faults(executed) == ["metadata.widgets has no state: GitHub refuses to show such a notebook"]


# -------------------------------------------------------------------------------------- faults of a committed file


def test_a_stripped_chapter_is_clean() -> None:
    assert unclean(chapter()) == []


def test_outputs_and_widget_state_do_not_belong_in_git(executed: NotebookNode) -> None:
    found = unclean(executed)
    assert "cell 4 carries outputs: strip them" in found
    assert "cell 4 carries an execution count" in found
    assert "metadata.widgets: strip the widget state" in found


@pytest.mark.parametrize("secret", ["hf_" + "a1B2" * 8, "sk-" + "a1B2" * 8, "ghp_" + "a1B2" * 9, "AKIA" + "A1B2" * 4])
def test_a_secret_is_found_and_not_repeated(secret: str) -> None:
    (line,) = unclean(chapter(f"token = '{secret}'"))
    assert line.startswith("a secret")
    assert secret not in line
