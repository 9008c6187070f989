"""f84: text that would act is inert and shown in every place of every widget, and in what else a notebook holds.

Each widget takes every payload here, though not in every place: `python -m tests.trust xss` tries them all.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

import distilkit as dk
from tests.browser.lab import Lab
from tests.hostile import HOSTILE
from tests.trust.xss import VIEWS, in_jupyterlab, through_widgets

QUICK = {
    name: make for name, make in VIEWS.items() if name not in {"board", "workbench"}
}  # these train a student first
PASSES = range(0, len(HOSTILE), 18)
Found = dict[str, tuple[list[str], list[str]]]


@pytest.fixture(scope="module")
def found(browser: Browser) -> Found:
    return through_widgets(browser, QUICK, HOSTILE, PASSES)


def test_f84_every_widget(found: Found) -> None:
    assert {name: wrong for name, (_, wrong) in found.items() if wrong} == {}
    assert sum(len(places) for places, _ in found.values()) > 250
    assert sum(not places for places, _ in found.values()) <= 1  # the surface shows numbers alone


@pytest.mark.parametrize(
    ("careless", "said"),
    [
        ("el.innerHTML = model.get('question')", "it ran alert"),
        ("el.innerHTML = model.get('question')", "made script"),
        ("el.append(Object.assign(document.createElement('a'), { href: model.get('question') }))", "javascript:"),
        ("el.textContent = model.get('question').replace(/<.*>/, '')", "not shown"),
    ],
)
def test_a_careless_widget_is_found(browser: Browser, careless: str, said: str) -> None:
    def view() -> dk.Question:
        question = dk.ask("Which?", {"this": "No.", "that": "Yes."}, answer="that")
        question._esm = f"export default {{ render({{ model, el }}) {{ {careless} }} }}"
        return question

    ((_, wrong),) = through_widgets(browser, {"careless": view}, HOSTILE, range(len(HOSTILE))).values()
    assert any(said in each for each in wrong)


def test_f84_in_jupyterlab(lab: Lab, found: Found, tmp_path: Path) -> None:
    assert in_jupyterlab(lab, tmp_path, {name: places for name, (places, _) in found.items()}) == []
