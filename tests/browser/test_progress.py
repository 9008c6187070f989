"""The map in a real JupyterLab, before and after a restart of the kernel; and the tour, by touching what it names."""

import re

from playwright.sync_api import expect

from distilkit import record
from tests.browser.lab import Lab

START = """
import os
os.environ["DISTILKIT_PROGRESS"] = {path!r}
import distilkit as dk
"""
ASK = """
from distilkit import record
question = record.chapters()[0]["questions"][0]
dk.ask(question, {"one": "No, and why.", "two": "Right, and why."}, answer="two")
"""
SOLVE = "dk.check('soften', lambda logits, temperature: (logits / temperature).softmax(-1))"
MAP = "view = dk.progress()\nview"
RESTART = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"


def test_the_map_keeps_what_is_done_over_a_restart_of_the_kernel(lab: Lab, tmp_path) -> None:
    start = START.format(path=str(tmp_path / "progress.json"))
    lab.open(start, ASK, SOLVE, MAP)
    lab.run()
    board = lab.output(3).get_by_role("group", name="The map of the chapters")
    expect(board.get_by_role("link")).to_have_count(21)  # twenty places, and the next one at the top
    first = board.locator("a.dk-map-card").first
    expect(first).to_contain_text("questions 0/2, exercises 1/2")
    lab.output(1).get_by_label("two").check()
    expect(first).to_contain_text("questions 1/2, exercises 1/2")  # at once
    questions, exercises = (sum(len(each[what]) for each in record.chapters()) for what in ("questions", "exercises"))
    expect(board).to_contain_text(f"1 of {questions} questions answered, 1 of {exercises} exercises solved.")
    assert first.get_attribute("data-next") == "true"
    lab.page.evaluate(RESTART)
    lab.page.wait_for_timeout(1000)
    lab.open(start, MAP)
    lab.run()
    again = lab.output(1).get_by_role("group", name="The map of the chapters")
    expect(again.locator("a.dk-map-card").first).to_contain_text("questions 1/2, exercises 1/2")
    lab.page.set_viewport_size({"width": 1280, "height": 1400})
    lab.shot(again, "map_light")
    lab.theme("dark")
    lab.shot(again, "map_dark")


def test_a_card_opens_its_chapter_beside_this_one_by_keyboard(lab: Lab) -> None:
    lab.open(f"import distilkit as dk\n{MAP}")
    (lab.server.root / "01_soft_labels.ipynb").write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "utf-8"
    )
    lab.run()
    board = lab.output(0).get_by_role("group", name="The map of the chapters")
    card = board.locator("a.dk-map-card").nth(1)
    card.focus()
    card.press("Enter")
    expect(lab.page.get_by_role("tab", name=re.compile("01_soft_labels"))).to_be_visible()
    expect(lab.page.get_by_role("tab", name=re.compile("test-"))).to_be_visible()  # the page was not left


def test_the_map_fits_a_phone(lab: Lab) -> None:
    group = lab.phone("import distilkit as dk\nview = dk.progress()", "The map of the chapters")
    lab.fits(group)
    lab.page.set_viewport_size({"width": 1280, "height": 2600})
    lab.shot(group, "map_phone")


RUN = """
task = dk.tasks.digits(labelled=100, seed=0)
run = dk.distill(task.student(seed=0), task.teacher(), task.transfer, steps=400)
live = dk.watch(run, twin=task.student(seed=0), task=task, pace=60)
dk.tour(live)
"""


def test_the_tour_is_done_by_touching_what_it_names(lab: Lab, tmp_path) -> None:
    lab.open(START.format(path=str(tmp_path / "progress.json")), RUN)
    lab.run()
    cell = lab.output(1)
    strip, watch = (cell.get_by_role("group", name=name) for name in ("Guided tour", "Distillation, live"))
    steps = strip.get_by_role("listitem")
    expect(steps).to_have_count(4)
    expect(strip).to_contain_text("First tour: 0 of 4 done")
    watch.locator("input[data-name=alpha]").press("ArrowLeft")  # nothing that it names
    expect(strip).to_contain_text("0 of 4")
    lab.theme("light")
    lab.shot(strip, "tour_light")
    watch.locator("input[data-name=temperature]").press("ArrowRight")  # in any order
    expect(steps.nth(1)).to_have_attribute("data-done", "true")
    watch.get_by_role("button", name=re.compile("^(Pause|Run)$")).click()
    expect(strip).to_contain_text("2 of 4")
    strip.get_by_role("button", name="Show me: step 3").click()  # leads to the control
    expect(watch.locator("input[data-name=scrub]")).to_be_focused()
    lab.page.keyboard.press("ArrowLeft")
    expect(strip).to_contain_text("3 of 4")
    watch.get_by_role("spinbutton", name="test example").fill("3")
    expect(strip).to_contain_text("The tour is done")
    assert lab.becomes("sorted(__import__('distilkit').record.read()['tours'])", ["watch"])
    lab.theme("dark")
    lab.shot(strip, "tour_dark")
    lab.run()  # the next time it stays folded, and may be had again
    folded = lab.output(1).get_by_role("group", name="Guided tour")
    expect(folded.get_by_role("listitem")).to_have_count(0)
    folded.get_by_role("button", name="Show the tour").press("Enter")
    expect(folded.get_by_role("listitem")).to_have_count(4)


def test_the_tour_can_be_skipped(lab: Lab, tmp_path) -> None:
    view = "import ipywidgets\ndk.tour(ipywidgets.IntSlider(), [('Move <b>it</b>.', '.nowhere')], name='slider')"
    lab.open(START.format(path=str(tmp_path / "progress.json")), view)
    lab.run()
    strip = lab.output(1).get_by_role("group", name="Guided tour")
    expect(strip).to_contain_text("Move <b>it</b>.")
    strip.get_by_role("button", name="Show me").click()
    expect(strip).to_contain_text("It is not on the page yet")
    strip.get_by_role("button", name="Skip the tour").press("Enter")
    expect(strip.get_by_role("listitem")).to_have_count(0)
    assert lab.becomes("sorted(__import__('distilkit').record.read()['tours'])", ["slider"])
