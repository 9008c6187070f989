"""The race of losses in a real JupyterLab: lanes show Python's standings, and a race is run live from the page."""

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import distilkit as dk
from tests.test_adaptive import race
view = dk.race(race(), dk.tasks.digits(), steps=96)
view
"""
NAME = "Race of losses"


def test_shows_the_standings_and_races(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    rows = group.locator(".dk-lane")
    rows.first.wait_for()
    lanes = lab.python("view.about['lanes']")
    assert rows.locator(".dk-who b").all_inner_texts() == [lane["method"] for lane in lanes]
    for place, lane in enumerate(lanes):
        said = rows.nth(place).locator(".dk-finish").inner_text()
        assert f"{100 * lane['accuracy']:.1f} ± {100 * lane['half']:.1f} %" in said
        assert place == 0 or f"+{100 * lane['gain']:.2f} ± {100 * lane['gain_half']:.2f} points" in said

    assert group.get_by_label("race constant").is_disabled()
    box = group.get_by_label("race adaptive KL")
    box.focus()
    lab.page.keyboard.press("Space")
    assert lab.becomes("view.chosen", [0, 1, 3, 4, 5])
    group.get_by_label("race temperature ramp").uncheck()
    assert lab.becomes("view.chosen", [0, 3, 4, 5])

    group.get_by_role("button", name="Race those ticked").click()
    group.locator(".dk-result", has_text="Seed 6:").wait_for(timeout=60_000)
    ended = lab.python("view.fresh[0]")
    for method in ("constant", "learned temperature", "uncertainty alpha", "adaptive KL"):
        assert f"{method} {100 * ended[method]:.1f} %" in group.locator(".dk-result").inner_text()
    over = 100 * (ended["adaptive KL"] - ended["constant"])
    now = rows.nth(5).locator(".dk-now").inner_text()
    assert now == f"this run {100 * ended['adaptive KL']:.1f} %, {over:+.1f}".replace("-", "−")
    assert group.locator(".dk-mine").count() == 4
    assert rows.nth(3).locator(".dk-knob").count() == 2
    assert rows.nth(5).get_by_label("share of forward KL").count() == 1
    lab.page.set_viewport_size({"width": 1280, "height": 1300})
    lab.shots(group, "race")
