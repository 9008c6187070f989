"""The layer lens in a real JupyterLab: its table is Python's, and so is what a token attends to."""

import pytest

from tests.browser.lab import Lab

CELL = """
import torch, transformers
transformers.utils.logging.disable_progress_bar()
import distilkit as dk
task = dk.tasks.docs()
teacher, student = task.teacher(), task.student()
view = dk.layers(task, task.test.inputs[100], teacher=teacher, student=student)
view
"""
NAME = "Layer lens"


def test_shows_pairs_and_attention(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME, exact=True)
    cells = group.get_by_role("gridcell")
    cells.first.wait_for()
    found = lab.python("view.cka.to_numpy().flatten().tolist()")
    assert cells.all_inner_texts() == [f"{value:.2f}" for value in found]

    cells.nth(9).click()  # the student's layer 1, the teacher's 4
    assert lab.becomes("list(view.pair)", [1, 4])
    lab.page.keyboard.press("ArrowDown")
    assert lab.becomes("list(view.pair)", [2, 4])
    assert group.get_by_role("gridcell", selected=True).evaluate("cell => cell === document.activeElement")
    lab.page.keyboard.press("ArrowLeft")
    assert lab.becomes("list(view.pair)", [2, 3])
    kl = lab.python("view.page['kl'][1][2]")
    group.get_by_text(f"KL of attention on this text {kl:.2f} nats").first.wait_for()

    side = group.locator("section[data-role=teacher]")
    side.locator(".dk-layers-token").nth(20).hover()
    for role, layer in (("teacher", 3), ("student", 2)):
        shares = group.locator(f"section[data-role={role}] .dk-layers-token").evaluate_all(
            "tokens => tokens.map(token => Number(token.dataset.share))"
        )
        asked = lab.python(f"view.attention['{role}'][{layer}].mean(0)[20].tolist()")
        assert shares == pytest.approx(asked, abs=0.006)
    side.get_by_text("2", exact=True).click()  # a head
    shares = side.locator(".dk-layers-token").evaluate_all("tokens => tokens.map(token => Number(token.dataset.share))")
    assert shares == pytest.approx(lab.python("view.attention['teacher'][3][1][20].tolist()"), abs=0.006)

    lab.page.set_viewport_size({"width": 1280, "height": 1100})
    lab.shots(group, "layers")
    group.get_by_label("your own text").fill("<b>Return</b> the value")
    group.get_by_role("button", name="Look").click()
    assert lab.becomes("view.page['serial']", 2)
    side.get_by_text("Return").first.wait_for()
    assert side.locator(".dk-layers-text b").count() == 0
    assert "".join(side.locator(".dk-layers-token").all_inner_texts()) == "<b>Return</b> the value"


BROWSE = """
import distilkit as dk
task = dk.tasks.digits()
student = task.student()
dk.distill(student, task.teacher(), task.transfer, steps=100).result()
view = dk.browse(dk.disagreements(task, task.teacher(), student, places=60, clusters=4))
view
"""


def test_disagreements_are_browsed(lab: Lab) -> None:
    lab.open(BROWSE)
    lab.run()
    group = lab.output(0).get_by_role("group", name="Disagreements")
    rows = group.get_by_role("option").and_(group.locator("button"))
    rows.first.wait_for()
    assert rows.count() == 60
    rows.nth(2).click()
    assert lab.becomes("view.chosen", 2)
    lab.page.keyboard.press("ArrowDown")
    assert lab.becomes("view.chosen", 3)
    shown = group.locator(".dk-browse-cell").evaluate_all("cells => cells.map(cell => Number(cell.dataset.p))")
    asked = lab.python("[round(x, 5) for pair in view.found.answers[3].values() for x in pair]")
    assert shown == asked
    lab.shots(group, "browse")
    group.get_by_label("cluster").select_option("1")
    own = lab.python("[i for i, each in enumerate(view.about['places']) if each['cluster'] == 1]")
    assert rows.count() == len(own)
    assert lab.becomes("view.chosen", own[0])
