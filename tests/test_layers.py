"""The layer lens and the browser of disagreements: what the page is sent, and what it may ask."""

import json

import numpy as np
import pytest
import torch

import distilkit as dk
from distilkit.errors import BadType, BadValue
from distilkit.insides import look_inside
from distilkit.losses import attention_loss


@pytest.fixture(scope="module")
def task():
    return dk.tasks.docs()


@pytest.fixture(scope="module")
def models(task):
    return {"teacher": task.student(seed=1, layers=3), "student": task.student(seed=0)}


@pytest.fixture
def view(task, models):
    view = dk.layers(task, "Return the value of x", **models)
    yield view
    view.close()


def said(view, content):
    """What the view sends to the page in answer."""
    answers = []
    view.send = lambda content, buffers=None: answers.append(content)
    view._on_message(view, content, [])
    return answers


def test_the_table_is_cka(task, models, view):
    table = dk.cka_by_layer(models["student"], models["teacher"], task.test.inputs[:24])
    assert np.allclose(view.cka, table)
    assert view.about["cka"] == [[round(value, 4) for value in row] for row in table.to_numpy()]
    assert view.about["layers"] == {"teacher": ["0", "1", "2", "3"], "student": ["0", "1", "2"]}
    assert 0 not in view.chosen  # the embedding attends to nothing


def test_the_maps_are_the_attention(models, view):
    n = len(view.tokens)
    maps = np.frombuffer(view.maps, np.uint8).reshape(-1, n, n) / 255
    assert view.page["heads"] == {"teacher": [2, 2, 2], "student": [2, 2]}
    for role, start, count in (("teacher", 0, 3), ("student", 6, 2)):
        layers = list(range(1, count + 1))
        inside = look_inside(models[role].eval(), view.tokens[None], attention=layers)
        expected = torch.cat([inside.attention[layer][0] for layer in layers]).detach()
        assert np.abs(maps[start : start + 2 * count] - expected.numpy()).max() < 0.0021
    ours, theirs = view.attention["student"][2][None], view.attention["teacher"][1][None]
    assert view.page["kl"][1][0] == pytest.approx(attention_loss(ours, theirs).item(), abs=1e-4)


def test_a_typed_text_is_looked_at_and_stays_text(view):
    before = view.page["tokens"]
    answers = said(view, {"kind": "text", "value": "<b>x</b>\u202e def"})
    assert answers == [{"kind": "measured", "serial": 2}]
    shown = "".join(view.page["tokens"])
    assert "<b>" in shown  # the page writes it as text
    assert "\u202e" not in shown
    said(view, {"kind": "text", "value": ""})
    assert view.page["tokens"] == before


@pytest.mark.parametrize(
    "content", [{}, {"kind": "what"}, {"kind": "text", "value": "x" * 9000}, {"kind": "text", "value": 7}]
)
def test_strange_messages_do_no_harm(view, content):
    said(view, content)
    assert len(view.tokens) <= 48


def test_an_error_is_told_to_the_page(view):
    (answer,) = said(view, {"kind": "text", "value": "a"})
    assert answer["kind"] == "error"
    assert "2 tokens" in answer["text"]


def test_the_static_fallback(view):
    view.chosen = [1, 2]
    data, _ = view._repr_mimebundle_()
    assert view.pair == (1, 2)
    assert f"CKA of the student’s layer 1 with the teacher’s 2 is {view.cka.loc[1, 2]:.2f}" in data["text/plain"]
    assert "KL of their attention" in data["text/plain"]
    assert data["image/png"]
    json.dumps([view.about, view.page], allow_nan=False)


def test_without_attention_there_is_the_table_alone():
    task = dk.tasks.digits()
    view = dk.layers(task, teacher=task.teacher(), student=task.student(), teacher_layers=["9", "10"])
    assert view.cka.shape == (3, 2)
    assert (view.maps, view.page) == (b"", {})
    assert said(view, {"kind": "text", "value": "x"}) == []
    view.close()


def test_impossible_arguments(task, models):
    with pytest.raises(BadType, match=r"torch\.nn\.Module"):
        dk.layers(task, teacher=None, student=models["student"])
    with pytest.raises(BadType, match="text must be"):
        dk.layers(task, 3.5, **models)
    with pytest.raises(BadValue, match="2 tokens"):
        dk.layers(task, torch.tensor([1]), **models)
    with pytest.raises(BadType, match="browse needs"):
        dk.browse(models)


def test_places_are_browsed(task, models):
    found = dk.disagreements(task, **models, examples=task.test[:2], places=12, clusters=3)
    view = dk.browse(found)
    assert len(view.about["places"]) == 12
    for at, place in enumerate(view.about["places"]):
        row = found.table.iloc[at]
        assert view.about["clusters"][place["cluster"]]["places"] == (found.table["cluster"] == row["cluster"]).sum()
        position, example = row["position"], found.examples.inputs[row["example"]]
        before = task.decode(example[max(0, position - 23) : position + 1])
        assert place["text"][0].replace("⇥", "\t") == before or "⟨" in place["text"][0]
        assert len(place["answers"]) == len(found.answers[at])
    view.chosen = 3
    assert f"KL {found.table['kl'][3]:.2f} nats" in view.line()
    assert view._repr_mimebundle_()[0]["image/png"]
    json.dumps(view.about, allow_nan=False)
    view.close()
