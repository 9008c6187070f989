"""The surface widget in a real JupyterLab: select by mouse and keyboard, and run a point for real."""

import pytest

from tests.browser.lab import Lab

CELL = """
import distilkit as dk
frame = dk.load_sweep("digits")
view = dk.surface(frame, dk.tasks.digits())
view
"""


def test_select_and_run(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name="Surface of a sweep")
    cells = group.get_by_role("gridcell").filter(has_text="±")
    assert cells.count() == lab.python("len(view.about['cells'])") >= 20

    group.get_by_role("gridcell", name="temperature 4, alpha 0.9").click()
    assert lab.becomes("view.about['cells'][view.selected]['temperature']", 4)
    lab.page.keyboard.press("ArrowRight")
    assert lab.becomes("view.about['cells'][view.selected]['temperature']", 8)
    lab.page.keyboard.press("ArrowDown")
    assert lab.becomes("view.about['cells'][view.selected]['alpha']", 0.6)
    gain = lab.python("f\"{100 * view.about['cells'][view.selected]['gain']:+.1f} ± \"")
    assert gain in group.locator(".dk-point").inner_text()
    assert group.locator(".dk-seed").count() == lab.python("view.about['cells'][view.selected]['seeds']")

    group.get_by_role("button", name="Run this point for real").click()
    group.locator(".dk-result", has_text="just run:").wait_for()
    assert group.locator(".dk-new").count() == 1
    row = lab.python("view.fresh[0]")
    assert row["cell"] == lab.python("view.selected")
    assert row["seed"] not in lab.python("frame.seed.tolist()")
    assert row["gain"] == pytest.approx(row["distilled"] - row["twin"])
    lab.shots(group, "surface")
