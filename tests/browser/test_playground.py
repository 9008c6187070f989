"""The playground in a real JupyterLab: run, turn, compare, scrub, share, save and load; by keyboard, on any width."""

import itertools
import json
import re
from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.browser.lab import PATIENCE, Lab
from tests.hostile import HOSTILE

CELL = """
import distilkit as dk
view = dk.playground({code!r}, pace={pace}, run={run})
view
"""
NAME = "Playground"
expect.set_options(timeout=30_000)  # a run takes seconds, of a busy machine more
FOCUSED = """() => {
    const at = document.activeElement
    return at?.getAttribute("aria-label") || at?.innerText || at?.labels?.[0]?.innerText || ""
}"""


def opened(lab: Lab, code: str = "n=50&size=8&steps=40", *, pace: int = 0, run: bool = True) -> Locator:
    lab.open(CELL.format(code=code, pace=pace, run=run))
    lab.run()
    assert lab.becomes("all(lane.built for lane in view._lanes)", True, PATIENCE)  # PyTorch, data, teacher
    return lab.output(0).get_by_role("group", name=NAME, exact=True)


def test_run_turn_compare_scrub_share(lab: Lab, tmp_path: Path) -> None:
    view = opened(lab, "n=50&steps=3000", pace=100)
    line = view.locator(".dk-pg-line")
    go = view.get_by_role("button", name="Pause", exact=True)
    go.wait_for()
    assert lab.becomes("len(view.runs[0].history) > 5", True)
    view.get_by_label("alpha").press("Home")  # a knob reaches the running loop
    assert lab.becomes("view.runs[0].history[-1].alpha", 0.0)
    expect(line).to_contain_text("only the labels count now")
    go.dblclick()  # the second click says nothing
    assert lab.becomes("view._running", False)
    made = lab.python("len(view.runs[0].history)")
    view.get_by_role("button", name="One step of each run").click()
    assert lab.becomes("len(view.twins[0].history)", made + 1)
    expect(line).to_contain_text(f"step {made + 1}: loss")
    assert view.locator(".dk-pg-turn").count() >= 3  # a mark in each chart

    view.get_by_label("steps", exact=True).select_option("50")  # a structural change starts anew
    view.get_by_role("button", name="Run", exact=True).click()
    expect(line).to_contain_text("Finished: student")
    expect(line).to_contain_text("one seed")
    for number in range(3):
        view.get_by_role("button", name="Duplicate").click()
        assert lab.becomes("len(view._lanes)", number + 2)
    view.get_by_label("wrong labels").select_option("0.4")
    expect(line).to_contain_text("run D starts anew")
    view.get_by_role("button", name="Run", exact=True).click()
    assert lab.becomes("view._is_over()", True, 60)
    expect(view.get_by_role("button", name="Add a run")).to_be_disabled()
    assert view.locator(".dk-pg-tab").count() == 4
    expect(view.locator(".dk-pg-chart").first.locator("polyline")).to_have_count(7)  # a teacher, four runs, two twins
    expect(view.locator(".dk-pg-table").first.get_by_role("row", name="wrong labels")).to_contain_text("40 %")

    scrub = view.get_by_role("slider", name="back to step")
    scrub.press("Home")
    for _ in range(5):
        scrub.press("ArrowRight")
    expect(view.locator(".dk-pg-count")).to_contain_text("run D, step 5")
    count = lab.python("view.look['count']")
    assert view.locator(".dk-pg-count").inner_text().startswith(f"{count} of 500")
    assert view.locator(".dk-pg-face").count() == min(40, count)
    face = view.locator(".dk-pg-face").nth(1)
    face.click()
    expect(view.locator(".dk-pg-face").nth(1)).to_have_attribute("aria-pressed", "true")
    view.get_by_role("button", name="Newest step").click()
    expect(view.locator(".dk-pg-count")).to_contain_text("step 50")

    code = view.get_by_label("setting as a short code")
    expect(code).to_have_value(re.compile(r"noise=\.4"))
    code.fill("T=2&n=100&size=16&steps=20&seed=4")
    code.press("Enter")
    assert lab.becomes("view.settings[3].seed", 4)
    code.fill("T=hot")
    view.get_by_role("button", name="Set this run from the code").click()
    expect(line).to_contain_text("'hot'")
    view.get_by_role("button", name="Copy as Python").click()
    expect(view.get_by_label("Python script")).to_have_value(re.compile(r"dk\.distill\("))

    view.get_by_role("button", name="Remove").click()
    with lab.page.expect_download() as download:
        view.get_by_role("button", name="Save all runs").click()
    file = tmp_path / "playground.safetensors"
    download.value.save_as(file)
    before = lab.python("[[step.loss for step in run.history] for run in view.runs]")
    view.get_by_role("button", name="few labels").click()
    assert lab.becomes("len(view._lanes)", 3)
    view.locator("input[type=file]").set_input_files(file)
    expect(line).to_contain_text("From the file: 3 runs")
    assert lab.becomes("[[step.loss for step in run.history] for run in view.runs]", before)


def test_by_keyboard_alone(lab: Lab) -> None:
    view = opened(lab, "n=50&size=8&steps=40", run=False)
    page = lab.page
    expect(view.locator(".dk-pg-count")).to_contain_text("run A, step 0")
    view.get_by_role("button", name="few labels").focus()
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(FOCUSED)
        reached.add(name.strip().split("\n")[0])
        if page.evaluate("() => document.activeElement?.innerText") == "Run":
            page.keyboard.press("Enter")
    assert lab.becomes("len(view.runs[0].history)", 40)
    wanted = {"noisy labels", "Run", "Duplicate", "task", "divergence", "temperature T", "seed", "back to step"}
    assert wanted <= reached, wanted - reached
    box = view.get_by_label("whose text")
    assert box.locator("option").nth(2).is_disabled()  # with its reason beside it
    assert "pictures have no text" in box.locator("option").nth(2).inner_text()
    face = view.locator(".dk-pg-face").first
    face.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(view.locator(".dk-pg-face").nth(1)).to_have_attribute("aria-pressed", "true")
    for picture in view.locator("svg[role=img]").all():
        assert len(picture.get_attribute("aria-label") or "") > 5


def test_a_tab_that_is_opened_again_shows_the_run(lab: Lab) -> None:
    view = opened(lab, "n=50&steps=400", pace=100)
    expect(view.locator(".dk-pg-status")).to_contain_text("step")
    lab.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    lab.page.wait_for_timeout(1500)
    path = lab.page.evaluate("() => jupyterapp.shell.currentWidget.context.path")
    lab.page.goto("about:blank")
    lab.page.wait_for_timeout(1000)
    lab.page.goto(f"{lab.server.url}/lab/tree/{path}")
    lab.page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )
    assert lab.python("len(view.runs[0].history)") > 0  # it went on without a page
    back = lab.output(0).get_by_role("group", name=NAME, exact=True)
    expect(back.locator(".dk-pg-line")).to_contain_text("Finished")
    expect(back.locator(".dk-pg-face").first).to_be_visible()


def test_what_a_code_hides_is_gone_and_what_it_locks_is_fixed(lab: Lab) -> None:
    view = opened(lab, "n=50&size=8&steps=20&T=6&lock=T,n&hide=noise,file,runs,look,seed")
    expect(view.locator(".dk-pg-line")).to_contain_text("Finished")
    expect(view.get_by_label("temperature T")).to_be_disabled()
    expect(view.get_by_label("labels", exact=True)).to_be_disabled()
    expect(view.locator("[data-key=T]")).to_contain_text("fixed")
    expect(view.get_by_text("Another view, dk.playground", exact=False)).to_be_visible()
    for name in ("wrong labels", "seed"):
        expect(view.get_by_label(name, exact=True)).to_have_count(0)
    for name in ("Save all runs", "Add a run", "few labels"):
        expect(view.get_by_role("button", name=name)).to_have_count(0)
    expect(view.locator(".dk-pg-look")).to_have_count(0)
    code = view.get_by_label("setting as a short code")
    code.fill("T=2&n=50&size=8&steps=20")
    code.press("Enter")
    expect(view.locator(".dk-pg-line")).to_contain_text("is fixed by this view")
    assert lab.python("view.settings[0].temperature") == 6


def test_nothing_overflows(lab: Lab) -> None:
    view = opened(lab, "task=docs&n=512&size=32&steps=4")
    expect(view.locator(".dk-pg-line")).to_contain_text("Finished")
    view.get_by_role("button", name="Duplicate").click()
    view.locator(".dk-pg-word").first.wait_for()
    for width in (1280, 800, 360):
        if width == 360:
            view.evaluate("group => { group.style.width = '360px' }")
        else:
            lab.page.set_viewport_size({"width": width, "height": 1600})
        lab.fits(view, width)
        boxes = [view.locator(f".dk-pg-{part}").bounding_box() or {} for part in ("controls", "middle", "look")]
        beside = all(right["x"] >= left["x"] + left["width"] for left, right in itertools.pairwise(boxes))
        assert beside == (width == 1280)
        lab.shot(view, f"playground_{width}")


HOSTILE_FILE = """
import json, distilkit as dk
from distilkit.widgets import parcel
made = dk.playground("n=30&size=4&steps=3", pace=0)
made.result()
about, tensors = parcel.unpack(made._pack())
about.pop("format")
about["runs"] = [dict(about["runs"][0], name=name) for name in json.loads({names!r})]
for place in range(1, len(about["runs"])):
    tensors |= {{f"{{place}}{{key[1:]}}": value for key, value in tensors.items() if key.startswith("0.")}}
open("hostile.safetensors", "wb").write(parcel.pack(about, tensors))
view = dk.playground("n=30&size=4&steps=3", pace=0)
view
"""


def test_f84_hostile_names_in_a_file_stay_text(lab: Lab, tmp_path: Path) -> None:
    names = json.dumps([HOSTILE[3], HOSTILE[9], HOSTILE[33], HOSTILE[51]])
    lab.open(HOSTILE_FILE.format(names=names))
    lab.run()
    view = lab.output(0).get_by_role("group", name=NAME, exact=True)
    view.locator("input[type=file]").set_input_files(lab.server.root / "hostile.safetensors")
    expect(view.locator(".dk-pg-line")).to_contain_text("From the file: 4 runs")
    expect(view.locator(".dk-pg-tab").first).to_have_text(HOSTILE[3][:40])
    lab.fits(view, 1280)
    assert view.locator("img, script, iframe").count() == 0
    assert not lab.dialogs


def test_a_fault_in_the_thread_is_shown(lab: Lab) -> None:
    lab.open(
        CELL.format(code="n=50&steps=3000", pace=100, run=True),
        "_ = view.runs\nview._lanes[0].student.run.divergence = lambda *_, **__: 1 / 0",
    )
    lab.run()
    lab.output(0).get_by_role("alert").get_by_text("ZeroDivisionError").wait_for()
