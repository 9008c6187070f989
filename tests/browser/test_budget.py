"""The budget in a real JupyterLab: the browser's formula is Python's, by mouse and by keyboard."""

from tests.browser.lab import Lab

CELL = """
import distilkit as dk
view = dk.budget({"teacher": 0.4, "student": 0.1, "student, int8": 0.09})
view
"""
NAME = "What serving costs"


def test_moves_with_its_assumptions(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    requests = group.get_by_role("slider", name="Requests a day")
    requests.wait_for()
    rows = group.locator(".dk-bu-line:not(.dk-bu-head)")

    def machines() -> list[int]:
        shown = [rows.nth(place).locator("b").first.inner_text() for place in range(rows.count())]
        return [int(text.replace(",", "")) for text in shown]

    assert machines() == lab.python("view.costs()['machines'].tolist()")
    requests.press("End")
    assert lab.becomes("view.values['requests']", 1e9)
    assert machines() == lab.python("view.costs()['machines'].tolist()")
    group.get_by_role("slider", name="Busy at most").press("End")
    assert lab.becomes("view.values['utilisation']", 1.0)
    assert machines() == lab.python("view.costs()['machines'].tolist()")
    assert "a day less" in group.inner_text()
    requests.press("Home")
    assert lab.becomes("view.values['requests']", 1e3)
    assert machines() == [1, 1, 1]
    assert "As many machines either way" in group.inner_text()
    lab.python("view.set_trait('values', view.values | {'requests': 2e7})")
    group.locator("output", has_text="20.0 million").wait_for()
    assert machines() == lab.python("view.costs()['machines'].tolist()")
    lab.shots(group, "budget")
