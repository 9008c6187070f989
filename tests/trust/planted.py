"""Faults planted in a chapter, each run by papermill and by nbval: what these let pass, the notebook checker names."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from tests.notebook_checker import faults
from tests.trust import Checked

PATIENCE = 120  # seconds a cell; without a limit the client waits for the kernel's reply and never looks again

SETUP = "import ipywidgets"
PARAMETERS = "seed = 0\nsteps = 3"
MEASURE = "scores = [round(0.9 + (seed + i) / 100, 2) for i in range(steps)]\nmean = sum(scores) / len(scores)"
CLAIM = "assert 0.9 < mean < 0.95, mean"


class Fault(NamedTuple):
    """A cell at fault, what the checker says of it, and how it comes to be."""

    source: str
    says: str
    tag: str = ""
    alone: bool = False  # whether no other cell can run after it
    given: dict[str, object] = {}  # noqa: RUF012  # parameters


PLANTED = {
    "an exception in a thread": Fault(
        "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()", "ZeroDivision"
    ),
    "an unknown %magic": Fault("%unknown_magic 3", "magic"),
    "a printed nan": Fault("print('loss', float('nan'))", "shows nan"),
    "a shown infinity": Fault("float('-inf')", "shows -inf"),
    "nan in a table": Fault(
        "from IPython.display import HTML\nHTML('<table><tr><td>NaN</td></tr></table>')", "shows NaN"
    ),
    "a stray warning": Fault("import warnings\nwarnings.warn('careful')", "careful"),
    "a line on stderr": Fault("import sys\nprint('lost', file=sys.stderr)", "lost"),
    "a traceback that is printed": Fault(
        "import traceback\ntry:\n    [][1]\nexcept IndexError:\n    print(traceback.format_exc())", "shows a traceback"
    ),
    "fifty thousand lines": Fault("print('step\\n' * 50_000)", "prints 50,0"),
    "a token that is shown": Fault("print('token', 'hf_' + 'a1B2' * 8)", "a secret: hf_a1B"),
    "an error that a tag allows": Fault("{}['lost']", "KeyError: 'lost'", tag="raises-exception"),
    "a cell that a tag skips": Fault("measured = 1", "never ran: cell", tag="skip-execution"),
    "an exception in interact": Fault(
        "_ = ipywidgets.interact(lambda x: 1 / x, x=ipywidgets.fixed(0))", "Output widget shows an error: ZeroDivision"
    ),
    "an exception in Output": Fault(
        "out = ipywidgets.Output()\nwith out:\n    raise KeyError('inside')", "Output widget shows an error: KeyError"
    ),
    "a misspelt parameter": Fault("pass", "unknown parameter 'stepz'", alone=True, given={"stepz": 9}),
    "sys.exit in the middle": Fault("import sys\nsys.exit(0)", "never ran: cell 6", alone=True),
    "a claim that cannot fail": Fault("assert mean == mean", "the claim asserts no measured value", tag="claim"),
    "a claim nobody asserts": Fault("if seed > 9:\n    assert mean > 2", "without an assert of its own", tag="claim"),
    "a private name": Fault("import json\njson._default_decoder", "uses the private name _default_decoder"),
}


def main(count: int = len(PLANTED)) -> Checked:
    """`count` of the planted faults, one after the other: each in a chapter of its own."""
    failures, passed = [], {"papermill": 0, "nbval-lax": 0}
    with tempfile.TemporaryDirectory() as folder:
        if clean := faults(execute(chapter(), Path(folder))[0]):
            failures.append(f"a clean chapter is not left alone: {clean}")
        for name, fault in list(PLANTED.items())[:count]:
            executed, ran = execute(chapter(fault), Path(folder), **fault.given)
            through = nbval(chapter(fault), Path(folder))
            passed["papermill"] += ran
            passed["nbval-lax"] += through
            named = [line for line in faults(executed) if fault.says in line]
            if not named:
                failures.append(f"{name} is not named: {faults(executed)}")
            words = {True: "passes", False: "fails"}
            print(f"{name:32}  papermill {words[ran]:6}  nbval-lax {words[through]:6}  {named[:1]}"[:170], flush=True)
    tried = min(count, len(PLANTED))
    return Checked(
        tried,
        f"{tried - len(failures)} of {tried} named by the checker; papermill alone lets {passed['papermill']} pass, "
        f"nbval-lax {passed['nbval-lax']}",
        failures,
    )


def code(source: str, *tags: str) -> NotebookNode:
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})


def text(source: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": []})


def chapter(*planted: Fault | str) -> NotebookNode:
    """A chapter of 20 cells and those planted, which come before the claim: cell 5 is the first of them."""
    given = [Fault(each, "") if isinstance(each, str) else each for each in planted]
    cells = [
        text("# A chapter. Its infinity and NaN are prose."),
        code(SETUP, "setup"),
        code(PARAMETERS, "parameters"),
        code(MEASURE),
        code("print(scores)\nipywidgets.IntSlider(steps)"),
        *(code(each.source, *([each.tag] if each.tag else [])) for each in given),
        code(CLAIM, "claim"),
    ]
    cells += [text("A line.") for _ in range(14)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def execute(notebook: NotebookNode, folder: Path, **parameters: object) -> tuple[NotebookNode, bool]:
    """The notebook as papermill leaves it, and whether papermill is content."""
    nbformat.write(notebook, folder / "in.ipynb")
    content = True
    try:
        papermill.execute_notebook(
            folder / "in.ipynb",
            folder / "out.ipynb",
            parameters=parameters,
            cwd=folder,
            execution_timeout=PATIENCE,
            progress_bar=False,
            log_output=False,
        )
    except PapermillExecutionError:
        content = False
    return nbformat.read(folder / "out.ipynb", as_version=4), content


def nbval(notebook: NotebookNode, folder: Path) -> bool:
    """Whether nbval, which runs the cells without comparing what they print, is content."""
    path = folder / "nbval.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--rootdir", folder, "-c", "/dev/null", "-q", path]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
