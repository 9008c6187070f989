"""The ladder in a real JupyterLab: what it shows is Python's, and a rung run from it lands as a mark."""

import pytest

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import distilkit as dk
from distilkit import teachers
from tests.test_ladder import stored
teachers.STEPS = 60
view = dk.ladder(stored(steps=40), dk.tasks.digits())
view
"""
NAME = "A ladder of teachers"


def test_shows_selects_and_runs(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    rungs = group.locator(".dk-rungs").get_by_role("radio")
    rungs.first.wait_for()
    about = lab.python("view.about")
    for temperature, key in (("4", "4"), ("1", "1")):
        group.locator("fieldset").first.get_by_label(temperature, exact=True).check()
        assert lab.becomes("view.temperature", float(temperature))
        shown = [f"{100 * rung['cells'][key][0]:.1f}" for rung in reversed(about["rungs"])]
        assert rungs.locator("b").all_inner_texts() == shown

    rungs.nth(1).click()
    assert lab.becomes("view.selected", 1)
    lab.page.keyboard.press("ArrowUp")
    assert lab.becomes("view.selected", 2)
    assert rungs.nth(0).evaluate("rung => rung === document.activeElement")
    assert lab.becomes("'256×256' in view.said and not view.state", True)
    group.locator(".dk-picture").nth(3).click()
    assert lab.becomes("view.image", 3)
    said = lab.python("(dk.soften(__import__('torch').tensor(view.said['256×256'][3]), 1.0)).tolist()")
    widths = group.locator(".dk-track i").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    assert widths == pytest.approx([100 * p for p in said], abs=0.01)

    group.get_by_label("through an assistant of 64", exact=True).check()
    assert lab.becomes("view.assistant", True)
    assert rungs.locator("b").all_inner_texts()[1:] == ["–", "–"]
    group.get_by_role("button", name="Run this teacher").click()
    group.locator(".dk-result", has_text="Just run, seed 5, T = 1, through the assistant").wait_for(timeout=60_000)
    row = lab.python("view.fresh[0]")
    assert f"student {100 * row['accuracy']:.1f} %" in group.locator(".dk-result").inner_text()
    assert group.locator(".dk-fresh").count() == 1
    assert "Through the assistant, its student" in group.inner_text()
    lab.page.set_viewport_size({"width": 1280, "height": 1100})
    lab.shots(group, "ladder")
