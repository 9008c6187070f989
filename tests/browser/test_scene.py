"""The scene in a real JupyterLab: things are added, dragged, moved by keys, deleted; questions are asked."""

import pytest

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_scene_widget import shown
view = shown()
view
"""
NAME = "Scene"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_draws_asks_and_captions(lab: Lab, theme: str) -> None:
    lab.open(CELL)
    lab.theme(theme)
    lab.run()
    lab.page.set_viewport_size({"width": 1280, "height": 1000})
    group = lab.output(0).get_by_role("group", name=NAME, exact=True)
    things, mouse, keyboard = group.locator(".dk-scene-ring"), lab.page.mouse, lab.page.keyboard
    things.nth(1).wait_for()

    own = group.get_by_label("a question", exact=True)
    own.fill("how many things are there ?")
    own.press("Enter")
    group.get_by_text("The scene says: 2").wait_for()
    group.get_by_role("button", name="Add").click()
    group.get_by_text("The scene says: 3").wait_for()
    group.get_by_label("colour", exact=True).select_option("yellow")
    assert lab.becomes("view.scene.things[2].colour", "yellow")
    drawn = group.locator(".dk-scene-editor canvas").evaluate("canvas => canvas.toDataURL()")
    keyboard.press("Tab")
    things.nth(2).focus()
    at = lab.python("view.scene.things[2].x")
    keyboard.press("ArrowLeft")
    assert lab.becomes("round(view.scene.things[2].x, 3)", round(at - 1 / 24, 3))
    lab.page.wait_for_function(
        "before => document.querySelector('.dk-scene-editor canvas').toDataURL() !== before", arg=drawn
    )
    keyboard.press("Delete")
    group.get_by_text("The scene says: 2").wait_for()

    box = group.locator(".dk-scene-editor").bounding_box()
    ring = things.first.bounding_box()
    mouse.move(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"], steps=6)
    mouse.up()
    assert lab.becomes("[round(view.scene.things[0].x, 1), round(view.scene.things[0].y, 1)]", [0.8, 0.2])
    group.locator(".dk-scene-chip", has_text="relation").click()
    student = group.locator("[data-role=student]")
    assert lab.becomes("view.question.startswith('is the')", True)
    student.locator(".dk-scene-answer b", has_text=lab.python("view.said['student'].text")).wait_for()
    dark = student.locator(".dk-scene-dark")
    before = dark.evaluate("canvas => canvas.toDataURL()")
    student.locator(".dk-scene-word").nth(1).click()
    student.get_by_text("where it looked for “").wait_for()
    assert dark.evaluate("canvas => canvas.toDataURL()") != before
    lab.shot(group, f"scene_{theme}")

    own.fill("is there a <img src=x onerror=alert(1)> ?")
    own.press("Enter")
    group.get_by_text("No model knows the word").wait_for()
    assert group.locator("img").count() == 0
    group.get_by_role("button", name="Another scene").click()
    assert lab.becomes("view.scene == view._task.held_out[1]", True)


def test_fits_a_phone(lab: Lab) -> None:
    group = lab.phone(CELL, NAME)
    group.locator(".dk-scene-bar").first.wait_for()
    lab.fits(group)
    lab.shot(group, "scene_360")
