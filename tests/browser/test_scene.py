"""The scene in a real JupyterLab: things are added, dragged, moved by keys, deleted; questions are asked."""

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_scene_widget import shown
view = shown()
view
"""
NAME = "Scene"
SHIPPED = """
import distilkit as dk
task = dk.tasks.scenes()
view = dk.scene(task, teacher=task.teacher(), student=task.distilled())
view
"""
PIXELS = "canvas => canvas.toDataURL()"


def test_draws_asks_and_captions(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    lab.page.set_viewport_size({"width": 1280, "height": 1000})
    group = lab.output(0).get_by_role("group", name=NAME, exact=True)
    things, mouse, keyboard = group.locator(".dk-scene-ring"), lab.page.mouse, lab.page.keyboard
    things.nth(1).wait_for()

    own = group.get_by_label("a question", exact=True)
    own.fill("how many things are there ?")
    own.press("Enter")
    group.get_by_text("The scene says: 2", exact=True).wait_for()
    group.get_by_role("button", name="Add").click()
    group.get_by_text("The scene says: 3", exact=True).wait_for()
    group.get_by_label("colour", exact=True).select_option("yellow")
    assert lab.becomes("view.scene.things[2].colour", "yellow")
    drawn = group.locator(".dk-scene-editor canvas").evaluate(PIXELS)
    keyboard.press("Tab")
    things.nth(2).focus()
    at = lab.python("view.scene.things[2].x")
    keyboard.press("ArrowLeft")
    assert lab.becomes("round(view.scene.things[2].x, 3)", round(at - 1 / 24, 3))
    lab.page.wait_for_function(
        "before => document.querySelector('.dk-scene-editor canvas').toDataURL() !== before", arg=drawn
    )
    keyboard.press("Delete")
    group.get_by_text("The scene says: 2", exact=True).wait_for()

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
    before = dark.evaluate(PIXELS)
    student.locator(".dk-scene-word").nth(1).click()
    student.get_by_text("where it looked for “").wait_for()
    assert dark.evaluate(PIXELS) != before
    lab.shots(group, "scene")

    own.fill("is there a <img src=x onerror=alert(1)> ?")
    own.press("Enter")
    group.get_by_text("No model knows the word").first.wait_for()
    assert group.locator("img").count() == 0
    group.get_by_role("button", name="Another scene").click()
    assert lab.becomes("view.scene == view._task.held_out[1]", True)


def test_the_shipped_models_see_what_is_drawn_and_changed(lab: Lab) -> None:
    """A circle in another colour: the teacher says so, the student sees the same sketch, and doubts as before."""
    lab.open(SHIPPED)
    lab.run()
    lab.page.set_viewport_size({"width": 1280, "height": 1000})
    group = lab.output(0).get_by_role("group", name=NAME, exact=True)
    teacher, student = (group.locator(f"[data-role={role}]") for role in ("teacher", "student"))
    own = group.get_by_label("a question", exact=True)
    own.fill("What colour is the circle?")
    own.press("Enter")
    group.get_by_text("The scene says: yellow", exact=True).wait_for()
    teacher.locator(".dk-scene-answer", has_text="yellow ✓ right").wait_for()
    sketch, colours = (each.locator("canvas").first.evaluate(PIXELS) for each in (student, teacher))
    said = lab.python("view.said['student'].probs")
    assert max(said.values()) < 0.5

    number = lab.python("[thing.shape for thing in view.scene.things].index('circle')")
    where = lab.python("view.said['teacher'].attention.flatten().argmax().item()")
    circle = lab.python(f"[view.scene.things[{number}].x, view.scene.things[{number}].y]")
    assert abs((where % 8 + 0.5) / 8 - circle[0]) < 0.2
    assert abs((where // 8 + 0.5) / 8 - circle[1]) < 0.2

    group.locator(".dk-scene-ring").nth(number).focus()
    group.get_by_label("colour", exact=True).select_option("blue")
    group.get_by_text("The scene says: blue", exact=True).wait_for()
    teacher.locator(".dk-scene-answer", has_text="blue ✓ right").wait_for()
    assert teacher.locator("canvas").first.evaluate(PIXELS) != colours
    assert student.locator("canvas").first.evaluate(PIXELS) == sketch
    assert lab.python("view.said['student'].probs") == said

    own.fill("how many circles are there ?")
    own.press("Enter")
    group.get_by_text("The scene says: 1", exact=True).wait_for()
    before = student.locator(".dk-scene-dark").evaluate(PIXELS)
    group.get_by_role("button", name="Add").click()
    group.get_by_text("The scene says: 2", exact=True).wait_for()
    for side in (teacher, student):
        side.locator(".dk-scene-answer", has_text="2 ✓ right").wait_for()
    assert student.locator(".dk-scene-dark").evaluate(PIXELS) != before
    lab.shot(group, "scene_shipped")
