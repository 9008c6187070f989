"""The listener in a real JupyterLab: a sound is played, said, opened, recorded; all stands on one axis of time."""

import wave
from pathlib import Path

import pytest

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_listen import Speller, listening
view = listening()
view
"""
NAME = "Listener"
MICROPHONE = """() => {  // a tone in place of the machine's microphone, which it may lack
    const context = new AudioContext(), tone = context.createOscillator(), out = context.createMediaStreamDestination()
    tone.connect(out)
    tone.start()
    navigator.mediaDevices.getUserMedia = async () => out.stream
}"""


def wav(path: Path) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(16_000))
    return path


def test_plays_says_opens_and_records(lab: Lab, tmp_path: Path) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    student = group.locator("[data-role=student]")
    student.wait_for()
    assert student.locator(".dk-li-word").all_inner_texts() == ["turn", "of", "the", "lamp"]
    assert student.locator(".dk-li-missed").all_inner_texts() == ["the"]
    assert "2 errors in 4 words" in student.inner_text()
    drawn = student.locator(".dk-li-letter").all_text_contents()
    assert "".join(drawn).replace("␣", " ") == lab.python("view.heard['student'].text")

    lanes = group.get_by_role("slider", name="place in the sound")
    lanes.focus()
    lab.page.keyboard.press("ArrowRight")
    lab.page.keyboard.press("ArrowRight")
    readout = group.get_by_role("group", name="at the cursor")
    assert readout.inner_text().startswith("0.05 s")
    assert "“u” 0.70" in readout.inner_text()
    assert "teacher: “u” 0.90" in lanes.get_attribute("aria-valuetext")
    lab.page.wait_for_function("() => document.querySelector('.dk-listen audio').readyState >= 1")
    player = group.locator("audio")
    assert player.evaluate("each => each.duration") == pytest.approx(0.961, abs=0.01)
    assert player.evaluate("each => each.currentTime") == pytest.approx(0.05, abs=0.01)
    lab.page.keyboard.press("Space")
    lab.page.wait_for_function(
        "() => Number(document.querySelector('.dk-li-lanes').getAttribute('aria-valuenow')) > 0.3"
    )
    player.evaluate("each => each.pause()")
    canvas = group.locator("canvas")
    left, right = canvas.bounding_box(), student.locator("svg").bounding_box()
    assert left["x"] - right["x"] == pytest.approx(44, abs=1)
    lab.page.mouse.click(left["x"] + left["width"] / 2, left["y"] + 20)
    assert lab.page.locator(".dk-li-time").inner_text() in {"0.48 s", "0.49 s"}
    lab.page.set_viewport_size({"width": 1280, "height": 900})
    lab.shots(group, "listen")

    box = group.get_by_label("a sentence to be said")
    box.fill("<b>turn</b> of lamp <img src=x onerror=alert(1)>")
    group.get_by_label("voice", exact=True).select_option("en-us+f2")
    box.press("Enter")
    assert lab.becomes("view.page['serial']", 2)
    group.get_by_text("what was said is not known").wait_for()
    assert group.locator(".dk-li-about img, script").count() == 0
    group.get_by_text("heard in training", exact=True).first.click()
    group.locator(".dk-li-about", has_text="play some jazz").wait_for()

    group.get_by_label("a sound file").set_input_files(wav(tmp_path / "<b>mine.wav"))
    group.locator(".dk-li-about", has_text="<b>mine.wav").wait_for()
    assert lab.python("(view.page['serial'], view.page['duration'])") == [4, 1.0]
    (tmp_path / "page.wav").write_text("<html>log in</html>")
    group.get_by_label("a sound file").set_input_files(tmp_path / "page.wav")
    group.get_by_role("alert").filter(has_text="no sound").wait_for()

    lab.page.evaluate(MICROPHONE)
    group.get_by_role("button", name="Record").click()
    stop = group.get_by_role("button", name="Stop")
    stop.wait_for()
    lab.page.wait_for_timeout(800)
    stop.click()
    assert lab.becomes("(view.page['serial'], view.page['name'])", [5, "your recording"])
    assert 0.5 < lab.python("view.page['duration']") < 3
    assert lab.python("float(abs(view.samples).max())") > 0.1


def test_says_where_no_microphone_is_allowed(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    group.locator("[data-role=student]").wait_for()
    group.get_by_role("button", name="Record").click()
    group.get_by_text("The browser gave no microphone").wait_for()
    lab.page.evaluate("() => { Object.defineProperty(navigator, 'mediaDevices', { value: undefined }) }")
    group.get_by_role("button", name="Record").click()
    group.get_by_text("This page may not use a microphone").wait_for()
