"""The map in a real JupyterLab, before and after a restart of the kernel; and the tour, by touching what it names."""

import re

from playwright.sync_api import expect

from distilkit import record
from tests.browser.lab import Lab

START = """
import os
os.environ["DISTILKIT_PROGRESS"] = {path!r}
import distilkit as dk
import ipywidgets
"""
ASK = """
from distilkit import record
question = record.chapters()[0]["questions"][0]
dk.ask(question, {"one": "No, and why.", "two": "Right, and why."}, answer="two")
"""
SOLVE = "dk.check('soften', lambda logits, temperature: (logits / temperature).softmax(-1))"
MAP = "dk.progress()"
PHONE = "ipywidgets.VBox([dk.progress()], layout={'width': '360px'})"
RESTART = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
NAME = "The map of the chapters"


def test_the_map_keeps_what_is_done_over_a_restart_of_the_kernel(lab: Lab, tmp_path) -> None:
    (lab.server.root / "01_soft_labels.ipynb").write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "utf-8"
    )
    lab.open(START.format(path=str(tmp_path / "progress.json")), ASK, SOLVE, MAP, PHONE)
    lab.run()
    board = lab.output(3).get_by_role("group", name=NAME)
    expect(board.get_by_role("link")).to_have_count(21)  # twenty places, and the next one at the top
    first = board.locator("a.dk-map-card").first
    expect(first).to_contain_text("questions 0/2, exercises 1/2")
    lab.output(1).get_by_label("two").check()
    expect(first).to_contain_text("questions 1/2, exercises 1/2")  # at once
    questions, exercises = (sum(len(each[what]) for each in record.chapters()) for what in ("questions", "exercises"))
    expect(board).to_contain_text(f"1 of {questions} questions answered, 1 of {exercises} exercises solved.")
    expect(first).to_have_attribute("data-next", "true")

    lab.page.evaluate(RESTART)
    lab.page.set_viewport_size({"width": 1280, "height": 1500})
    lab.run()  # the exercise is solved once more; the answer is from before
    expect(first).to_contain_text("questions 1/2, exercises 1/2")
    expect(lab.output(1).get_by_label("two")).not_to_be_checked()
    phone = lab.output(4).get_by_role("group", name=NAME)
    lab.fits(phone)
    lab.shots(board, "map")
    lab.shot(phone, "map_phone")

    card = board.locator("a.dk-map-card").nth(1)
    card.focus()
    card.press("Enter")  # opens beside this notebook, which stays
    expect(lab.page.get_by_role("tab", name=re.compile("01_soft_labels"))).to_be_visible()
    expect(lab.page.get_by_role("tab", name=re.compile("test-"))).to_be_visible()


TOUR = """
task = dk.tasks.digits(labelled=100, seed=0)
run = dk.distill(task.student(seed=0), task.teacher(), task.transfer, steps=400)
live = dk.watch(run, twin=task.student(seed=0), task=task, pace=60)
dk.tour(live)
"""
OTHER = "dk.tour(ipywidgets.IntSlider(), [('Move <b>it</b>.', '.nowhere')], name='slider')"
TOURS = "sorted(dk.record.read()['tours'])"


def test_the_tour_is_done_by_touching_what_it_names_or_skipped(lab: Lab, tmp_path) -> None:
    lab.open(START.format(path=str(tmp_path / "progress.json")), TOUR, OTHER)
    lab.run()
    strip, watch = (lab.output(1).get_by_role("group", name=name) for name in ("Guided tour", "Distillation, live"))
    steps = strip.get_by_role("listitem")
    expect(steps).to_have_count(4)
    expect(strip).to_contain_text("First tour: 0 of 4 done")
    watch.locator("input[data-name=alpha]").press("ArrowLeft")  # nothing that it names
    expect(strip).to_contain_text("0 of 4")
    lab.shots(strip, "tour")
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
    assert lab.becomes(TOURS, ["watch"])
    lab.shots(strip, "tour_done")

    other = lab.output(2).get_by_role("group", name="Guided tour")
    expect(other).to_contain_text("Move <b>it</b>.")
    other.get_by_role("button", name="Show me").click()
    expect(other).to_contain_text("It is not on the page yet")
    other.get_by_role("button", name="Skip the tour").press("Enter")
    expect(other.get_by_role("listitem")).to_have_count(0)
    assert lab.becomes(TOURS, ["slider", "watch"])

    lab.run()  # from now on both stay folded, and may be had again
    expect(steps).to_have_count(0)
    strip.get_by_role("button", name="Show the tour").press("Enter")
    expect(steps).to_have_count(4)
