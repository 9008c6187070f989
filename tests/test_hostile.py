"""f84, f52: hostile text where no page is: pictures, lines, tables, messages to the page, what errors say."""

import base64
import contextlib
import json

import pandas as pd
import pytest
import torch
from matplotlib.text import Text

import distilkit as dk
from distilkit import plots
from distilkit.widgets.base import sendable
from tests.hostile import HOSTILE
from tests.test_chat import Clerk, chat
from tests.test_translate import translator


def logits(classes):
    return 3 * torch.randn(2, classes, generator=torch.Generator().manual_seed(0))


def views(names):
    student, teacher = logits(len(names))
    return [
        dk.ask(names[0], {name: name for name in names}, answer=names[0]),
        dk.budget(dict.fromkeys(names[:6], 0.1)),
        dk.explore(plots.soft_labels, {"teacher": teacher[None], "student": student[None]}, classes=names),
        dk.explore(plots.divergences, student, teacher, classes=names),
        dk.explore(plots.loss_terms, student, teacher, 1, classes=names),
    ]


@pytest.mark.parametrize("start", range(0, len(HOSTILE), 18))
def test_f84_what_stands_in_for_a_widget(start):
    """A picture and a line that can be sent: no formula in the picture, no half letter, no warning."""
    names = (HOSTILE + HOSTILE)[start : start + 18]
    for view in views(names):
        data, _ = view._repr_mimebundle_()
        assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG" if "image/png" in data else view.figure() is None
        state = {key: value for key, value in view.get_state().items() if isinstance(value, dict | list | str)}
        for sent in (data, state):
            json.dumps(sent, ensure_ascii=False, default=str).encode("utf-8")
        if (figure := view.figure()) is not None:
            for text in figure.findobj(Text):
                said, formula = text._preprocess_math(text.get_text())
                assert not formula or "$" not in "".join(names), said
        view.close()


def test_f84_what_is_typed_and_written():
    talk, words = chat(twin=Clerk(HOSTILE[3])), translator()
    for number, text in enumerate(HOSTILE):
        for view in (talk, words):
            with contextlib.suppress(dk.DistilkitError):
                view.ask(text)
            json.dumps(view.get_state()["page"], ensure_ascii=False).encode("utf-8")
            if number == len(HOSTILE) - 1:
                json.dumps(view._repr_mimebundle_()[0], ensure_ascii=False).encode("utf-8")
    assert len(talk.messages) > len(HOSTILE) / 2


def test_f52_half_a_letter_is_sent_as_a_question_mark():
    sent = []
    view = dk.ask("a\ud800", {"\udfff": "b", "c": "d"}, answer="c")
    view.comm.send = lambda **message: sent.append(message)
    view.send({"kind": "x", "text": ["\ud800", {"\udc00": 1}]})
    assert sent[0]["data"]["content"] == {"kind": "x", "text": ["?", {"?": 1}]}
    assert view.get_state()["choices"] == ["?", "c"]
    assert view.choices == ["\udfff", "c"]
    assert sendable(("漢", 1, None, 0.5)) == ["漢", 1, None, 0.5]


def test_f84_tables_are_text():
    cells = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
    frame = pd.DataFrame({"text": cells}, index=pd.Index(cells, name=cells[3])).rename(columns={"text": cells[4]})
    task = dk.tasks.digits()
    judged = dk.compare(task, teacher=task.teacher(), **{cells[0]: task.student(), cells[3]: task.student()})
    for table in (frame, judged):
        shown = table._repr_html_()
        assert cells[3] not in shown
        assert "&lt;img src=x onerror" in shown


REFUSED = {
    "Knobs": lambda text: dk.Knobs(temperature=text),
    "digits": lambda text: dk.tasks.digits(labelled=text),
    "load_sweep": dk.load_sweep,
    "hint": dk.hint,
    "playground": dk.playground,
    "read_data": dk.read_data,
    "load": lambda text: dk.load(torch.nn.Linear(1, 1), text),
    "fetch": dk.fetch,
    "kd_loss": lambda text: dk.kd_loss(torch.zeros(1, 2), text, torch.tensor([0])),
    "ask": lambda text: dk.ask("a", {text: "b", "c": "d"}, answer=f"{text}."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_f56_errors_show_text_escaped_and_clipped(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for text in HOSTILE:
        with pytest.raises(dk.DistilkitError) as caught:
            REFUSED[name](text)
        said = str(caught.value)
        assert len(said) < 5000 + 1000 * (name == "ask")
        assert said.count("\n") < 6
        assert all(letter.isprintable() or letter == "\n" for letter in said), (text, said)
