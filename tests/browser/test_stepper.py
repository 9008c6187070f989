"""The rationale stepper in a real JupyterLab: an edited step goes to the model, and what it then writes is shown."""

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import transformers
transformers.utils.logging.disable_progress_bar()
from tests.test_stepper import stepped
view = stepped()
view
"""
NAME = "Rationale stepper"


def test_shows_edits_and_goes_on(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    student = group.locator("[data-role=student]")
    student.get_by_role("listitem").first.wait_for()
    steps = lab.python("view.written['student'].solution.steps")
    assert student.locator(".dk-step-text").all_inner_texts() == steps

    shown = group.get_by_role("slider", name="steps shown")
    shown.focus()
    lab.page.keyboard.press("Home")
    assert student.get_by_role("listitem").count() == 0
    lab.page.keyboard.press("ArrowRight")
    assert student.get_by_role("listitem").count() == 1
    lab.page.keyboard.press("End")

    student.get_by_role("button", name="Step 1 of the student").click()
    lab.page.keyboard.press("Backspace")
    lab.page.keyboard.type("9")
    lab.page.keyboard.press("Enter")
    assert lab.becomes("view.written['student'].edited", 0)
    student.locator(".dk-step-verdict[data-follows=true]", has_text="follows from your step").wait_for()
    assert student.locator(".dk-step-text").all_inner_texts() == ["3+4=9", "9*2=18"]
    assert "yours" in student.get_by_role("listitem").first.inner_text()
    lab.page.set_viewport_size({"width": 1280, "height": 900})
    lab.shots(group, "stepper")
    student.get_by_role("button", name="Undo").click()
    assert lab.becomes("view.written['student'].edited", None)

    for at in (1, 2):
        group.get_by_role("button", name="the next problem").click()
        assert lab.becomes("view.page['at']", at)
    group.locator(".dk-step-question", has_text="<img src=x").wait_for()
    assert group.locator("img, script, .dk-step-columns :is(li b, li i)").count() == 0

    own = group.get_by_label("a problem of your own")
    own.fill("Tom has 5 pens.")
    own.press("Enter")
    group.locator(".dk-step-question", has_text="Tom has 5 pens.").wait_for()
