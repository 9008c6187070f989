"""The widgets' programs: whole modules in their files, linted, joined for a page that has none, and reloaded."""

import importlib
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import distilkit as dk
from distilkit import widgets
from distilkit.widgets import base
from distilkit.widgets.base import STATIC, Widget, module
from tests.faults import refused
from tests.page import until

ROOT = Path(__file__).parents[1]
OXLINT = shutil.which("oxlint", path=str(Path(sys.executable).parent))
NODE = shutil.which("node")


def programs() -> list[str]:
    """The programs of all widgets: wherever a class of the kit names its files."""
    for each in pkgutil.iter_modules(widgets.__path__):
        importlib.import_module(f"{widgets.__name__}.{each.name}")

    def below(kind: type) -> Iterator[type]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    return sorted({each.files for each in below(Widget) if "files" in vars(each)})


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``static/`` that may be edited."""
    folder = tmp_path / "static"
    shutil.copytree(STATIC, folder)
    monkeypatch.setattr(base, "STATIC", folder)
    return folder


@pytest.mark.parametrize("name", programs())
def test_a_program_stands_for_itself(name: str) -> None:
    """Nothing is imported any more, each name that is exported is there once, and a render is what comes last."""
    text = module(name)
    assert not re.search(r"^import\b", text, re.MULTILINE)
    exported = re.findall(r"^export (?:const|function) (\w+)", text, re.MULTILINE)
    assert len(exported) == len(set(exported))
    assert text.count("export default widget({") == 1


def test_every_file_is_a_widgets_or_imported_by_one() -> None:
    joined = "\n".join(module(name) for name in programs())
    for file in STATIC.glob("*.js"):
        last = file.read_text("utf-8").rstrip().splitlines()[-1].strip()
        assert last in joined, f"{file.name} is in no widget"


def test_no_line_begins_inside_a_text() -> None:
    """Indentation and comments are left out line by line, so that no text in backticks goes over several lines."""
    for file in STATIC.glob("*.js"):
        for line in file.read_text("utf-8").splitlines():
            assert line.count("`") % 2 == 0 or line.strip().startswith("//"), f"{file.name}: {line}"


@pytest.mark.parametrize(
    "line",
    [
        'import base from "./base.js";',
        'import * as base from "./base.js";',
        'import { h as make } from "./base.js";',
        'import { h } from "https://example.com/base.js";',
        'import { h } from "../base.js";',
        'import("./base.js").then((base) => base.h);',
        "import { h,",
    ],
)
def test_another_import_is_refused_by_its_line(files: Path, line: str) -> None:
    (files / "tour.js").write_text(f"{line}\n", encoding="utf-8")
    refused(lambda: module("tour"), OSError, "tour.js", line)


def test_what_only_looks_like_an_import_stays(files: Path) -> None:
    (files / "tour.js").write_text("importance = 3;\n  // a comment\n\n  important();\n", encoding="utf-8")
    assert module("tour") == "importance = 3;\nimportant();"


def test_the_next_widget_shows_an_edit(files: Path) -> None:
    first = dk.ask("1 + 1?", {"2": "right", "3": "no"}, answer="2")
    with (files / "ask.js").open("a", encoding="utf-8") as file:
        file.write("const edited = true;\n")
    second = dk.ask("1 + 1?", {"2": "right", "3": "no"}, answer="2")
    assert "const edited" not in first._esm
    assert "const edited" in second._esm


def test_an_open_widget_follows_edits_where_it_is_asked_to(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYWIDGET_HMR", "1")
    view = dk.ask("1 + 1?", {"2": "right", "3": "no"}, answer="2")
    with (files / "ask.css").open("a", encoding="utf-8") as file:
        file.write(".dk-edited { color: red; }\n")
    with (files / "base.js").open("a", encoding="utf-8") as file:
        file.write("const edited = true;\n")
    until(lambda: "const edited" in view._esm and "dk-edited" in view._css)
    view.close()


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_a_module_runs_in_node_as_it_lies_there() -> None:
    script = 'import { distribution } from "./maths.js"; console.log(JSON.stringify(distribution([1, 2, 3], 2).probs));'
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", script], cwd=STATIC, capture_output=True, text=True, check=True
    )
    import torch

    assert json.loads(done.stdout) == pytest.approx(torch.tensor([1.0, 2.0, 3.0]).div(2).softmax(0).tolist())


PLANTED = {
    "no-undef": "export const stop = () => clearTimeout(timer);",
    "no-unused-vars": "const unused = 1;",
    "no-const-assign": "export function f() { const a = 1; a = 2; return a; }",
    "no-unreachable": "export function f() { return 1; f(); }",
    "import(named)": 'import { nothing } from "./base.js";\nnothing();',
}


@pytest.mark.skipif(OXLINT is None, reason="the linter comes with the extra dev")
@pytest.mark.parametrize("rule", PLANTED)
def test_the_linter_sees_a_planted_fault(tmp_path: Path, rule: str) -> None:
    shutil.copytree(STATIC, tmp_path / "static")
    shutil.copy(ROOT / ".oxlintrc.json", tmp_path)
    lint = [OXLINT, "--deny-warnings", "--format=unix"]
    clean = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stdout
    (tmp_path / "static" / "planted.js").write_text(PLANTED[rule] + "\n", encoding="utf-8")
    found = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 1
    assert rule in found.stdout
    assert found.stdout.count("planted.js") == 1
