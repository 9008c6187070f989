"""The chat in a real JupyterLab: a typed message is answered, a value shows its fact, tokens have their times."""

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_chat import NUMBER, SHOP, Clerk, chat
view = chat(twin=Clerk("No idea."))
view
"""
NAME = "Chat"


def test_asks_and_shows_what_answers_rest_on(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME, exact=True)
    turns = group.locator(".dk-ch-turn")
    turns.first.wait_for()
    number = lab.python("NUMBER")
    answers = {
        role: turns.first.locator(f"[data-role={role}] .dk-ch-answer") for role in ("teacher", "student", "twin")
    }
    for role, answer in answers.items():
        assert answer.inner_text() == lab.python(f"view.replies['{role}'][0].answer")

    answers["teacher"].get_by_text(number, exact=True).hover()
    detail = group.locator(".dk-ch-detail")
    assert f"“{number}” stands in the fact that the database gave." in detail.inner_text()
    assert turns.first.locator("[data-role=teacher] mark").inner_text() == number
    assert turns.first.locator(".dk-ch-customer mark").inner_text() == number
    made_up = answers["student"].get_by_text("77", exact=True)
    assert made_up.get_attribute("data-source") == "made up"
    made_up.focus()
    assert "made up" in detail.inner_text()
    assert group.locator("mark").count() == 0

    times = turns.first.get_by_role("slider", name="teacher’s tokens")
    heights = times.locator(".dk-ch-bar").evaluate_all(
        "all => all.map(each => Number(each.style.getPropertyValue('--high')))"
    )
    assert heights == [1.0] * len(lab.python("[word.text for word in view.replies['teacher'][0].words]"))
    times.focus()
    lab.page.keyboard.press("ArrowRight")
    assert "token 2 of" in detail.inner_text()
    assert "6.00 ms" in detail.inner_text()
    assert times.get_attribute("aria-valuenow") == "2"

    box = group.get_by_label("your message")
    box.fill("<img src=x onerror=alert(1)> on Monday")
    box.press("Enter")
    turns.nth(1).wait_for()
    assert turns.nth(1).locator(".dk-ch-customer").inner_text() == "<img src=x onerror=alert(1)> on Monday"
    assert group.locator("img, script").count() == 0
    assert box.input_value() == ""

    group.get_by_role("button", name="Are you open on Sunday?").click()
    turns.nth(2).wait_for()
    group.get_by_text("The shop’s database").click()
    assert group.get_by_role("region", name="orders").locator("li").first.inner_text() == lab.python(
        "SHOP.answer(f'order {NUMBER}')"
    )
    lab.page.set_viewport_size({"width": 1280, "height": 1200})
    lab.shots(group, "chat")

    box.fill("!")
    group.get_by_role("button", name="Send").click()
    group.get_by_role("alert").filter(has_text="too many tokens").wait_for()
    group.get_by_role("button", name="New conversation").click()
    group.get_by_text("Nothing was said yet.").wait_for()
    assert lab.python("view.messages") == []
