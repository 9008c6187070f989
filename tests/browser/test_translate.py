"""The translator in a real JupyterLab: a typed sentence is translated, a word shows what it was read from."""

from tests.browser.lab import ROOT, Lab

CELL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_translate import Glossary, translator
view = translator(twin=Glossary(0.4, {{"dog": "chat"}}))
view
"""
SHIPPED = """
import distilkit as dk
task = dk.tasks.translation()
view = dk.translate(task, teacher=task.teacher(), student=task.distilled(), twin=task.twin())
view
"""
NAME = "Translator"


def test_types_translates_and_shows_what_words_came_from(lab: Lab) -> None:
    lab.open(CELL)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    student = group.locator("[data-role=student]")
    words = student.locator(".dk-tr-word")
    words.first.wait_for()
    assert words.all_inner_texts() == lab.python("view.translations['student'].tokens")

    words.nth(1).hover()
    detail = group.locator(".dk-tr-detail")
    assert "student wrote “chien”" in detail.inner_text()
    assert "read from “dog” 0.75" in detail.inner_text()
    assert detail.locator(".dk-tr-choice").all_inner_texts() == ["chien", "ou"]
    source = group.locator(".dk-tr-source .dk-tr-word")
    weights = source.evaluate_all("all => all.map(each => Number(each.style.getPropertyValue('--weight')))")
    assert weights == [round(x, 3) for x in lab.python("view.translations['student'].alignment[1]")]
    source.nth(4).hover()
    assert "teacher: “chat” looked at it most, 0.95" in detail.inner_text()

    words.first.click()
    for key, wrote in (
        ("ArrowRight", "student wrote “chien”"),
        ("ArrowUp", "teacher wrote “chien”"),
        ("ArrowUp", "“dog”"),
    ):
        lab.page.keyboard.press(key)
        assert wrote in detail.inner_text()

    box = group.get_by_label("an English sentence")
    box.fill("a red zebra <img src=x onerror=alert(1)>")
    box.press("Enter")
    assert lab.becomes("view.page['source']", "a red zebra <img src=x onerror=alert(1)>")
    group.locator(".dk-tr-unknown", has_text="Not in the vocabulary: “zebra”").wait_for()
    assert source.all_inner_texts()[2:4] == ["zebra", "<img"]
    assert group.locator("img, script").count() == 0

    box.fill("the red dog sees a zebra")
    group.get_by_text("beam of 4").click()
    group.get_by_role("button", name="Translate").click()
    assert lab.becomes("(view.page['source'], view.page['beams'])", ["the red dog sees a zebra", 4])
    student.locator(".dk-tr-others li").nth(2).wait_for()
    lab.page.set_viewport_size({"width": 1280, "height": 900})
    words.nth(2).hover()
    lab.shots(group, "translate")

    group.get_by_role("button", name="Another sentence").click()
    group.locator(".dk-tr-reference", has_text="un chat rouge").wait_for()
    box.fill(" ")
    box.press("Enter")
    assert lab.python("view.page['source']") == "a red cat"


def test_the_shipped_models_translate_what_is_typed(lab: Lab) -> None:
    lab.open(SHIPPED)
    lab.run()
    group = lab.output(0).get_by_role("group", name=NAME)
    student = group.locator("[data-role=student]")
    student.locator(".dk-tr-word").first.wait_for()
    box = group.get_by_label("an English sentence")
    box.fill("She doesn't eat the apples.")
    box.press("Enter")
    assert lab.becomes("view.page['source']", "She doesn't eat the apples.")
    words = student.locator(".dk-tr-word")
    student.get_by_text("pommes").wait_for()
    assert words.all_inner_texts() == ["elle", "ne", "mange", "pas", "les", "pommes", "."]
    words.nth(5).hover()
    detail = group.locator(".dk-tr-detail")
    assert "student wrote “pommes”" in detail.inner_text()
    assert "“apples”" in detail.inner_text()
    choices = detail.locator(".dk-tr-choice").all_inner_texts()
    assert choices == [text for text, _ in lab.python("view.page['sides']['student']['words'][5]['choices']")]
    assert choices[0] == "pommes"
    assert len(choices) == 5

    box.fill("The astronaut sees us.")
    group.get_by_text("beam of 4").click()
    box.press("Enter")
    group.locator(".dk-tr-unknown", has_text="Not in the vocabulary: “astronaut”").wait_for()
    assert group.locator(".dk-tr-source [data-unknown=true]").all_inner_texts() == ["astronaut"]
    student.locator(".dk-tr-others li").nth(2).wait_for()
    box.fill("a " * 100)
    box.press("Enter")
    group.get_by_role("alert").filter(has_text="at most 63").wait_for()
    lab.shot(group, "translate_shipped")
