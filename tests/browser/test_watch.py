"""`watch` in a real JupyterLab: its sliders reach the running loop, and the way back through training works."""

import random
import re

from playwright.sync_api import expect

from tests.browser.lab import Lab

START = """
import distilkit as dk
task = dk.tasks.digits(labelled=100)
run = dk.distill(task.student(), task.teacher(), task.transfer, steps={steps})
view = dk.watch(run, twin=task.student(), task=task, pace={pace})
"""
NEWEST = "run.history[-1]"


def test_slider_reaches_the_running_loop(lab: Lab) -> None:
    lab.open(START.format(steps=600, pace=20), "view")
    lab.run()
    widget = lab.output(1)
    slider = widget.get_by_label("temperature T")
    assert lab.python(f"{NEWEST}.temperature") == 4.0
    slider.press("End")
    assert lab.becomes("run.knobs.temperature", 20.0)
    assert lab.becomes(f"{NEWEST}.temperature", 20.0)
    widget.get_by_label("learning rate").press("Home")
    assert lab.becomes("[run.history[-1].lr, view.twin.history[-1].lr]", [1e-4, 1e-4])
    widget.get_by_role("button", name="Pause").dblclick()  # the second click says nothing
    assert lab.becomes("view.frame['running']", False)
    before = lab.python("[len(run.history), len(view.twin.history)]")
    lab.page.wait_for_timeout(500)
    assert lab.python("[len(run.history), len(view.twin.history)]") == before
    assert before[0] == before[1]
    assert widget.locator(".dk-watch-turn").count() >= 2


KNOBS = {"temperature T": "temperature", "alpha": "alpha", "learning rate": "lr"}


def test_every_knob_everywhere(lab: Lab) -> None:
    lab.open(START.format(steps=600, pace=20), "view")
    lab.run()
    lab.output(1).get_by_role("button", name="Pause").click()
    draw = random.Random(0)
    for label, name in KNOBS.items():
        slider = lab.output(1).get_by_label(label)
        most = int(slider.get_attribute("max") or 0)
        for place in [0, most, *(draw.randint(0, most) for _ in range(20))]:
            slider.evaluate(
                "(it, to) => { it.value = to; it.dispatchEvent(new Event('input', {bubbles: true})) }", place
            )
        shown = (slider.get_attribute("aria-valuetext") or "").rsplit(" ", 1)[1]
        assert lab.becomes(f"abs(run.knobs.{name} - {shown}) <= 6e-3 * max(1, {shown})", True), (name, shown)


def test_scrub_to_any_step(lab: Lab) -> None:
    lab.open(START.format(steps=600, pace=0), "view")
    lab.run()
    widget = lab.output(1)
    widget.get_by_text("Finished.").wait_for()
    widget.locator(".dk-watch-face").first.wait_for()
    late = widget.locator(".dk-watch-face").count()
    scrub = widget.get_by_role("slider", name="back to step")
    scrub.press("Home")
    for _ in range(3):
        scrub.press("ArrowRight")
    widget.get_by_text("disagree at step 18", exact=False).wait_for()
    expected = lab.python(
        "int((view._logits['student', 18].argmax(1) != dk.predict(run.teacher, task.test.inputs).argmax(1)).sum())"
    )
    assert widget.locator(".dk-watch-count").inner_text().startswith(f"{expected} of 500")
    assert widget.locator(".dk-watch-face").count() == min(40, expected) > late
    face = widget.locator(".dk-watch-face").nth(1)
    face.click()
    assert face.get_attribute("aria-pressed") == "true"
    scrub.press("End")
    widget.get_by_text("disagree at step 600", exact=False).wait_for()
    widget.get_by_role("button", name="Copy as Python").click()
    expect(widget.get_by_label("Python script")).to_have_value(re.compile(r"dk\.distill\("))
    lab.page.set_viewport_size({"width": 1280, "height": 1500})
    lab.shots(widget.locator(".dk"), "watch")


def test_nothing_overflows_a_narrow_page(lab: Lab) -> None:
    lab.open(START.format(steps=60, pace=0), "view")
    lab.run()
    box = lab.output(1).locator(".dk")
    lab.output(1).get_by_text("Finished.").wait_for()
    box.evaluate("node => { node.style.width = '320px' }")
    lab.fits(box, 320)
    assert box.evaluate("node => node.scrollWidth <= node.clientWidth")
    lab.shot(box, "watch-narrow")


def test_view_comes_back_and_shows_a_run_made_elsewhere(lab: Lab) -> None:
    lab.open(START.format(steps=400, pace=20), "view", "_ = run.result()", "view")
    lab.run()
    lab.output(1).get_by_text("Finished.").wait_for()
    lab.output(3).get_by_text("Finished.").wait_for()
    lab.output(3).locator(".dk-watch-face").first.wait_for()
    assert lab.python("[len(view.measured), len(view.twin.history)]") == [202, 400]


HOSTILE = """
import dataclasses
name = "<img src=x onerror=alert(1)><script>alert(2)</script>"
task = dataclasses.replace(task, classes=(name, *task.classes[1:]))
view = dk.watch(dk.distill(task.student(), task.teacher(), task.transfer, steps=20), task=task, pace=0)
view
"""


def test_f84_hostile_class_names_stay_text(lab: Lab) -> None:
    lab.open(START.format(steps=1, pace=0), HOSTILE)
    lab.run()
    widget = lab.output(1)
    widget.get_by_text("Finished.").wait_for()
    widget.locator(".dk-watch-face").first.wait_for()
    assert widget.locator(".dk img, .dk script").count() == 0
    assert widget.locator(".dk title").first.text_content().startswith("<img src=x")
    assert not lab.dialogs


def test_error_in_the_thread_is_shown(lab: Lab) -> None:
    lab.open(START.format(steps=50, pace=0), "bad = dk.distill(task.student(), task.teacher(), task.transfer)\n"
             "bad.divergence = lambda *_, **__: 1 / 0\nbroken = dk.watch(bad, task=task)\nbroken")  # fmt: skip
    lab.run()
    lab.output(1).get_by_role("alert").get_by_text("ZeroDivisionError").wait_for()
