"""The board in a real JupyterLab: what it shows is Python's, and a cell run from it lands as a mark."""

from playwright.sync_api import expect

from distilkit.plots import BOARD
from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
from pathlib import Path
from tempfile import mkdtemp
sys.path.insert(0, {str(ROOT)!r})
import transformers
transformers.utils.logging.disable_progress_bar()
import distilkit as dk
from tests.test_board import stored, tiny
view = dk.board(stored(tokens=1280, steps=4, warm_up=3), tiny(Path(mkdtemp())))
view
"""
NAME = "Whose text and which divergence"


def test_shows_selects_and_runs(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    tiles, marks = group.get_by_role("gridcell"), group.locator(".dk-mark")
    tiles.first.wait_for()
    assert (tiles.count(), marks.count()) == (15, 14)

    for measure, (_, _, digits, _) in BOARD.items():
        group.get_by_label("Measure").select_option(measure)
        assert lab.becomes("view.measure", measure)
        cells = lab.python("view.about['cells']")
        shown = [f"{cell['known'][measure][0]:.{digits}f}" if "known" in cell else "–" for cell in cells]
        assert tiles.locator("b").all_inner_texts() == shown
    group.get_by_label("Measure").select_option("perplexity")

    group.get_by_role("gridcell", name="the corpus’s text × reverse KL").click()
    assert lab.becomes("view.selected", 2)
    for key, index in (("ArrowDown", 7), ("ArrowDown", 12), ("ArrowLeft", 11), ("ArrowLeft", 10)):
        lab.page.keyboard.press(key)
        assert lab.becomes("view.selected", index)
    assert "There are no labels on the student’s own text" in group.locator(".dk-one").inner_text()
    assert group.get_by_role("button", name="Run this cell").is_disabled()
    lab.page.keyboard.press("ArrowUp")
    assert lab.becomes("view.selected", 5)
    assert group.locator(".dk-mark[data-selected=true]").get_attribute("data-cell") == "5"
    assert group.get_by_role("gridcell", selected=True).evaluate("cell => cell === document.activeElement")

    tiles.nth(12).hover()
    assert group.locator(".dk-mark.dk-hot[data-cell='12']").count() == 1
    group.locator(".dk-mark[data-cell='0'] .dk-hit").hover()
    assert "dk-hot" in (tiles.nth(0).get_attribute("class") or "")
    group.locator(".dk-mark[data-cell='0'] .dk-hit").click()
    assert lab.becomes("view.selected", 0)
    group.get_by_text("diversity", exact=True).click()
    group.get_by_label("Quality against diversity.").wait_for()
    group.get_by_text("fidelity", exact=True).click()

    tiles.nth(11).click()
    group.get_by_role("button", name="Run this cell").click()
    group.locator(".dk-result", has_text="This run, seed 10").wait_for(timeout=90_000)
    tiles.nth(6).click()
    group.get_by_role("button", name="Run this cell").click()
    group.locator(".dk-result", has_text="This run, seed 11").wait_for(timeout=90_000)
    assert group.locator(".dk-fresh").count() == 2  # the first one stays
    row = lab.python("view.fresh[1]")
    result = group.locator(".dk-result").inner_text()
    assert f"quality {row['perplexity']:.1f} (stored mean {cells[6]['known']['perplexity'][0]:.1f})" in result
    expect(group.get_by_role("status")).to_contain_text(result)

    samples = group.locator(".dk-samples")
    assert samples.locator(".dk-said").all_inner_texts() == [
        sample["prompt"] + sample[who] for sample in row["samples"] for who in ("student", "teacher")
    ]
    assert any("<" in sample["prompt"] for sample in row["samples"])  # and yet
    assert samples.locator("b, img, script").count() == 0
    lab.page.set_viewport_size({"width": 1280, "height": 1300})
    lab.shots(group, "board")


def test_an_error_of_the_thread_is_shown(lab: Lab) -> None:
    lab.open(CELL, "view._task = None")
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    group.get_by_role("button", name="Run this cell").click()
    group.locator(".dk-result.dk-error", has_text="AttributeError").wait_for()
    assert group.get_by_role("button", name="Run this cell").is_enabled()
