"""The domain matrix in a real JupyterLab: what it shows is Python's, and a mixture distilled from it lands as a row."""

from distilkit.plots import MATRIX
from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import transformers
transformers.utils.logging.disable_progress_bar()
import distilkit as dk
from tests.test_domains import stored
frame = stored()
frame.attrs.update(tokens=1280, steps=3)
view = dk.matrix(frame, dk.tasks.domains(tokens=1280))
view
"""
NAME = "What was learnt on, and what is asked about"


def test_shows_selects_and_distils(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    tiles = group.get_by_role("gridcell")
    tiles.first.wait_for()
    assert tiles.count() == 9 * 4

    rows = lab.python("view.about['rows']")
    for measure, (_, _, digits) in MATRIX.items():
        group.get_by_label("Measure").select_option(measure)
        assert lab.becomes("view.measure", measure)
        shown = [f"{cell[measure][0]:.{digits}f}" for row in rows for cell in row["cells"]]
        assert tiles.locator("b").all_inner_texts() == shown
    group.get_by_label("Measure").select_option("nll")

    group.get_by_role("gridcell", name="support, asked about docs:").first.click()
    assert lab.becomes("view.selected", 1)
    for key, row, column in (("ArrowRight", 1, 1), ("ArrowDown", 2, 1), ("ArrowUp", 1, 1), ("ArrowRight", 1, 2)):
        lab.page.keyboard.press(key)
        assert lab.becomes("(view.selected, view.target)", [row, column])
    assert group.locator("output").all_inner_texts() == ["0 %", "100 %", "0 %", "0 %"]
    group.get_by_label("docs", exact=True).fill("100")
    assert group.locator("output").all_inner_texts() == ["50 %", "50 %", "0 %", "0 %"]

    group.get_by_role("button", name="Distil this mixture").click()
    group.get_by_role("rowheader", name="50 % docs, 50 % support (seed 10)").wait_for(timeout=120_000)
    assert lab.becomes("view.state", {}, 30)
    assert tiles.count() == 10 * 4
    fresh = lab.python("view.fresh[0]")
    assert tiles.locator("b").all_inner_texts()[36:] == [f"{cell['nll'][0]:.2f}" for cell in fresh["cells"]]
    tiles.nth(39).click()
    said = group.locator(".dk-said").all_inner_texts()
    assert said == [fresh["samples"][3]["prompt"] + fresh["samples"][3][who] for who in ("student", "teacher")]
    group.locator(".dk-sample").evaluate("el => el.querySelector('b, img, script') && 1 / 0")
    tiles.nth(4).click()
    assert "one writes here" in group.locator(".dk-sample").inner_text()
    tiles.nth(39).click()
    lab.page.set_viewport_size({"width": 1280, "height": 1300})
    lab.shots(group, "matrix")
