"""The imprinting workbench in a real JupyterLab: what it counts is Python's, and a student trained from it lands."""

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import transformers
transformers.utils.logging.disable_progress_bar()
from tests.test_workbench import bench
view = bench()
view
"""
NAME = "Imprinting workbench"
JUDGED = "__import__('distilkit').imprinting.judge(view.accepted, view.explanations)"


def counts(group):
    return [group.locator(f"b[data-name='{name}']").inner_text() for name in ("kept", "precision", "recall")]


def expected(lab):
    judged, all_of = lab.python(JUDGED), lab.python("len(view.explanations)")
    return [
        f"{judged['kept']} of {all_of}",
        f"{judged['precision']:.0%}".replace("%", " %"),
        f"{judged['recall']:.0%}".replace("%", " %"),
    ]


def test_filters_judges_and_trains(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    items = group.get_by_role("option")
    items.first.wait_for()
    assert items.count() == lab.python("len(view.explanations)")
    assert counts(group) == expected(lab)

    group.get_by_label("every step is sound").check()
    assert lab.becomes("view.filter['sound']", True)
    assert counts(group) == expected(lab)
    votes = group.get_by_role("slider", name="votes, at least")
    votes.focus()
    for _ in range(3):
        lab.page.keyboard.press("ArrowRight")
    assert lab.becomes("round(view.filter['votes'], 3)", 0.3)
    assert counts(group) == expected(lab)

    items.first.click()
    lab.page.keyboard.press("ArrowDown")
    assert lab.becomes("view.selected", 1)
    before = lab.python("view.explanations[1] in view.accepted")
    lab.page.keyboard.press("r" if before else "a")
    assert lab.becomes("view.hand", {"1": not before})
    assert lab.becomes("view.explanations[1] in view.accepted", not before)
    assert counts(group) == expected(lab)
    items.nth(1).click()
    assert "by your hand" in group.locator(".dk-wb-why").inner_text()
    lab.page.keyboard.press("u")
    assert lab.becomes("view.hand", {})

    group.get_by_text("hidden", exact=True).click()
    assert counts(group)[1:] == ["?", "?"]
    group.get_by_text("shown", exact=True).click()

    last = items.last
    last.scroll_into_view_if_needed()
    last.click()
    assert "<" in last.inner_text()  # and yet
    assert group.locator(".dk-wb-list :is(b, img, script), .dk-wb-one :is(img, script)").count() == 0

    group.get_by_role("button", name="Train on what passes").click()
    group.locator(".dk-wb-result", has_text="of the test problems solved").wait_for(timeout=90_000)
    assert group.locator(".dk-wb-landed").count() == 1
    assert group.locator(".dk-wb-twin").count() == 1
    lab.page.set_viewport_size({"width": 1280, "height": 1200})
    lab.shots(group, "workbench")
