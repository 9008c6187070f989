"""The translator: what stands on the page is what the task gave, refusals have a reason, a picture stands in."""

import pytest
from torch import nn

import distilkit as dk
from distilkit.errors import BadType, BadValue
from distilkit.tasks.translation import Translation
from distilkit.widgets.translate import _named
from tests.page import tell

WORDS = {
    "a": "un",
    "dog": "chien",
    "sees": "voit",
    "the": "le",
    "cat": "chat",
    "red": "rouge",
    "<b>no</b>": "<img src=x onerror=1>",
}
HELD_OUT = (("the dog sees the cat", "le chien voit le chat"), ("a red cat", "un chat rouge"))


class Glossary(nn.Module):
    """A model that says each word's own word, and how sure it is of it."""

    def __init__(self, sure, words=WORDS):
        super().__init__()
        self.sure, self.words = sure, words


class Phrasebook:
    """What a task of translation is to the widget."""

    held_out = HELD_OUT

    def translate(self, model, texts, *, beams=1):
        return [self._one(model, text, beams) for text in texts]

    def write(self, model, texts, *, beams=1):
        return [one.text for one in self.translate(model, texts, beams=beams)]

    def _one(self, model, text, beams):
        source = tuple(text.split())
        words = tuple(model.words.get(word, "<unk>") for word in source)
        rest = (1 - model.sure) / max(1, len(source) - 1)
        said = " ".join(words)
        return Translation(
            source=text,
            text=said,
            source_tokens=source,
            tokens=words,
            probs=tuple(model.sure for _ in words),
            choices=tuple(((word, model.sure), ("ou", (1 - model.sure) / 2)) for word in words),
            n_best=tuple((said if not at else f"{said} ({at + 1})", -0.1 - at) for at in range(beams)),
            alignment=tuple(
                tuple(model.sure if x == y else rest for x in range(len(source))) for y in range(len(words))
            ),
            unknown=tuple(word for word in source if word not in WORDS),
        )


def translator(**more):
    return dk.translate(Phrasebook(), teacher=Glossary(0.95), student=Glossary(0.75), **more)


@pytest.fixture
def view():
    view = translator()
    yield view
    view.close()


def test_the_page_holds_what_the_task_gave(view):
    assert view.page["source"] == HELD_OUT[0][0]
    assert view.page["reference"] == HELD_OUT[0][1]
    for role, sure in (("teacher", 0.95), ("student", 0.75)):
        side, one = view.page["sides"][role], view.translations[role]
        assert side["text"] == one.text == HELD_OUT[0][1]
        assert [word["text"] for word in side["words"]] == HELD_OUT[0][1].split()
        assert [word["prob"] for word in side["words"]] == [sure] * 5
        assert side["words"][1]["choices"] == [["chien", sure], ["ou", pytest.approx((1 - sure) / 2)]]
        assert side["words"][1]["from"] == [round(x, 3) for x in one.alignment[1]]
        assert side["right"] is True
        assert side["ms"] == round(view.ms[role], 2) > 0
    view.next()
    assert view.page["source"] == HELD_OUT[1][0]
    assert view.page["sides"]["student"]["right"] is False  # un rouge chat
    view.next()
    assert view.page["source"] == HELD_OUT[0][0]


def test_a_sentence_of_ones_own_and_its_unknown_words(view):
    view.ask("  a  red zebra\n", beams=4)
    assert view.page["source"] == "a red zebra"
    assert view.page["unknown"] == ["zebra"]
    assert [word["unknown"] for word in view.page["words"]] == [False, False, True]
    assert view.page["reference"] == ""
    assert view.page["sides"]["teacher"]["right"] is None
    assert [text for text, _ in view.page["sides"]["teacher"]["others"]] == [
        f"un rouge <unk> ({at})" for at in (2, 3, 4)
    ]


def test_words_stand_as_one_writes_them():
    words = ["l'", "homme", "voit", "qu'", "il", "dort", ".", ""]
    glued = [each["glued"] for each in _named(words)]
    assert glued == [False, True, False, False, True, False, True, False]


def test_messages_are_answered_or_refused_on_the_page(view, monkeypatch):
    sent = []
    monkeypatch.setattr(view, "send", lambda content, *_: sent.append(content))
    tell(view, kind="translate", text="a cat", beams=4)
    assert (view.page["source"], view.page["beams"]) == ("a cat", 4)
    tell(view, kind="translate", next=True, beams=1)
    assert view.page["source"] == HELD_OUT[1][0]
    assert sent == []
    for content in ({"text": ""}, {"text": " \n"}, {"text": 3}, {"text": "a cat", "beams": 10**6}, {}):
        tell(view, kind="translate", **content)
    assert len(sent) == 5
    assert all(content["kind"] == "error" and content["text"] for content in sent)
    view._handle_custom_msg("nonsense", [])
    tell(view, kind="nonsense")
    assert view.page["source"] == HELD_OUT[1][0]


def test_what_acts_on_a_page_is_shown_as_text(view):
    view.ask("a <b>no</b> \u202e\x1b[1m")
    words = [word["text"] for word in view.page["sides"]["student"]["words"]]
    assert words[1] == "<img src=x onerror=1>"
    assert "\u202e" not in str(view.page)
    assert "\x1b" not in str(view.page)


def test_refusals_say_what_is_needed():
    with pytest.raises(BadType, match="a task that translates"):
        dk.translate(dk.tasks.digits(), teacher=Glossary(1), student=Glossary(1))
    with pytest.raises(BadType, match=r"the student must be a torch\.nn\.Module"):
        dk.translate(Phrasebook(), teacher=Glossary(1), student="student")
    with pytest.raises(BadValue, match="no word to translate"):
        translator(text=" ")


def test_a_picture_and_a_line_stand_in():
    view = translator(twin=Glossary(0.4, {"dog": "chat"}))
    (first, _, third) = view.figure().axes
    assert [label.get_text() for label in first.get_yticklabels()] == HELD_OUT[0][1].split()
    assert third.get_title(loc="left") == "twin"
    assert "student: le chien voit le chat" in view.line()
    data, _ = view._repr_mimebundle_()
    sizes = [len(str(value)) for value in (*view.get_state().values(), data["image/png"])]
    assert sum(sizes) <= 60_000
    view.close()
