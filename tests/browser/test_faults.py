"""What happens to a page while a run goes on: its tab is closed, its socket is cut, its sliders send floods."""

import re

from playwright.sync_api import expect

from tests.browser.lab import Lab

# Run All, also a second time: the kernel keeps the run.
BEGUN = """
import distilkit as dk
if "view" not in globals():
    task = dk.tasks.digits(labelled=100)
    run = dk.distill(task.student(), task.teacher(), task.transfer, steps=50_000)
    view = dk.watch(run, task=task, pace=50)
    sent = []
    view.on_msg(lambda _, content, __: sent.append(content))
"""
MADE = "len(run.history)"


def test_f85_a_closed_tab_leaves_the_run_alone_and_the_view_comes_back(lab: Lab) -> None:
    lab.open(BEGUN, "view")
    lab.run()
    lab.output(1).get_by_label("temperature T").press("End")
    assert lab.becomes("run.knobs.temperature", 20.0)
    made, address = lab.python(MADE), lab.page.url
    lab.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    lab.page.goto("about:blank")  # as a tab that is closed: the page and its socket are gone
    lab.page.wait_for_timeout(2000)
    lab.page.goto(address)
    lab.page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    assert lab.python(MADE) > made + 20  # it went on meanwhile
    lab.run()
    widget = lab.output(1)
    expect(widget.get_by_label("temperature T")).to_have_attribute("aria-valuetext", re.compile("20"), timeout=20_000)
    widget.get_by_role("button", name="Pause").click()
    assert lab.becomes("view.frame['running']", False)


def test_f86_a_cut_socket_comes_back_and_nothing_is_lost(lab: Lab) -> None:
    lab.open(BEGUN, "view")
    lab.run()
    widget = lab.output(1)
    widget.get_by_label("temperature T").press("End")
    assert lab.becomes("run.knobs.temperature", 20.0)
    made = lab.python(MADE)
    lab.page.evaluate(
        """() => {
            const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel
            kernel._ws.close()
        }"""
    )
    lab.page.wait_for_timeout(3000)
    lab.page.wait_for_function(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.connectionStatus === 'connected'",
        timeout=60_000,
    )
    assert lab.python(MADE) > made + 20  # it went on meanwhile
    widget.get_by_label("temperature T").press("Home")
    assert lab.becomes("run.knobs.temperature < 1", True)
    widget.get_by_role("button", name="Pause").click()
    assert lab.becomes("view.frame['running']", False)
    step = lab.python("view.frame['step']")
    expect(widget.locator(".dk").first).to_contain_text(f"step {step} of", timeout=20_000)
    expect(widget.locator(".dk").first).to_contain_text(f"Paused at step {step}.")


def test_f87_a_hundred_slider_events_a_second_send_the_newest_only(lab: Lab) -> None:
    lab.open(BEGUN, "view")
    lab.run()
    slider = lab.output(1).get_by_label("temperature T")
    took = slider.evaluate(
        """async it => {
            const begun = performance.now()
            for (let place = 0; place < 200; place++) {
                it.value = Math.round(place / 199 * Number(it.max))
                it.dispatchEvent(new Event('input', { bubbles: true }))
                await new Promise(go => setTimeout(go, 5))
            }
            return performance.now() - begun
        }"""
    )
    assert lab.becomes("run.knobs.temperature", 20.0)
    made = lab.python("sum(content.get('kind') == 'knob' for content in sent)")
    assert 1 <= made <= 2 + took / 40  # of 200 moves, one each 40 ms
