"""A question in a real JupyterLab: each choice has its reply, by mouse and by keyboard, and hostile text stays text."""

from playwright.sync_api import expect

from tests.browser.lab import Lab

ASK = """
import distilkit as dk
question = dk.ask(
    "Warmer or <b>colder</b>?",
    {"warmer": "Right: <img src=x onerror=alert(1)> softer.", "colder": "That sharpens."},
    answer="warmer",
)
question
"""


def test_each_choice_has_its_reply(lab: Lab) -> None:
    lab.open(ASK)
    lab.run()
    cell = lab.output(0)
    expect(cell.get_by_text("Warmer or <b>colder</b>?")).to_be_visible()
    expect(cell.get_by_text("That sharpens.")).to_be_hidden()
    cell.get_by_label("colder").check()
    expect(cell.get_by_text("That sharpens.").first).to_be_visible()
    assert lab.becomes("question.chosen", "colder")
    cell.get_by_label("colder").press("ArrowUp")
    expect(cell.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible()
    assert lab.becomes("question.chosen", "warmer")
    assert cell.locator("img").count() == 0
