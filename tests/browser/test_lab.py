"""The house's own browser fixtures: a control widget, an anywidget, an error in either place."""

import pytest

from tests.browser.lab import Lab


def test_slider_reaches_kernel(lab: Lab) -> None:
    lab.open("import ipywidgets", "slider = ipywidgets.IntSlider(3)\nslider")
    lab.run()
    handle = lab.output(1).get_by_role("slider")
    handle.press("ArrowRight")
    handle.press("ArrowRight")
    assert lab.becomes("slider.value", 5)


ANYWIDGET = """
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = '''
    export default { render({ model, el }) {
        const button = document.createElement("button")
        const show = () => { button.textContent = `count is ${model.get("value")}` }
        button.onclick = () => { model.set("value", model.get("value") + 1); model.save_changes() }
        model.on("change:value", show); show(); el.append(button)
    } }'''
    value = traitlets.Int(0).tag(sync=True)
counter = Counter()
counter
"""


def test_anywidget_both_ways(lab: Lab) -> None:
    lab.open(ANYWIDGET)
    lab.run()
    button = lab.output(0).get_by_role("button")
    button.click()
    assert lab.becomes("counter.value", 1)
    lab.python("setattr(counter, 'value', 41)")
    lab.output(0).get_by_text("count is 41").wait_for()
    lab.theme("dark")
    assert lab.shot(button, "counter_dark").stat().st_size > 0
    lab.theme("light")


def test_run_waits_for_the_last_cell(lab: Lab) -> None:
    lab.open("import time\ntime.sleep(1)", "time.sleep(1)", "done = True")
    lab.run()
    assert lab.python("done") is True
    lab.run(wait=False)
    lab.python("globals().pop('done')")  # the kernel answers in order: after the third cell
    lab.idle()
    with pytest.raises(RuntimeError, match="NameError"):
        lab.python("done")


def test_failing_cell_is_raised(lab: Lab) -> None:
    lab.open("1 / 0")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        lab.run()


def test_console_error_is_seen(lab: Lab) -> None:
    lab.open(ANYWIDGET.replace("el.append(button)", "console.error('planted')"))
    lab.run()
    lab.page.wait_for_timeout(500)
    assert lab.errors == ["planted"]
    lab.errors.clear()
