"""The token lens without a page: its numbers are the package's, snapshots are the run's, every question is answered."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import distilkit as dk
from distilkit import plots
from distilkit.widgets.lens import Lens, inert

TASK = dk.tasks.docs()
TEACHER, STUDENT, TWIN = (TASK.student(seed=seed) for seed in (1, 2, 3))
HOSTILE = "<img src=x onerror=alert(1)></script>$\\href{javascript:alert(1)}{x}$\u202eevil\u200b\x1b[31m\x00"


@pytest.fixture
def view() -> Iterator[Lens]:
    made = dk.lens(TASK, teacher=TEACHER, student=STUDENT, twin=TWIN)
    yield made
    made.close()


def ask(view: Lens, kind: str, **rest: Any) -> list[tuple[dict[str, Any], list[bytes]]]:
    """Send what the page would send; return what Python answers."""
    answers: list[tuple[dict[str, Any], list[bytes]]] = []
    view.send = lambda content, buffers=None: answers.append((content, buffers or []))
    view._handle_custom_msg({"kind": kind, "serial": view.page["serial"], **rest}, [])
    return answers


def test_measures_are_the_packages(view: Lens) -> None:
    inputs, labels = TASK.test.inputs[:1], TASK.test.labels[0]
    logits = {"teacher": TEACHER, "student": STUDENT, "twin": TWIN}
    logits = {role: dk.predict(model, inputs)[0] for role, model in logits.items()}
    shown = np.frombuffer(view.values, "<f2").reshape(view.measures.shape)
    for row, half, (kind, role) in zip(view.measures[0], shown[0], view.named, strict=True):
        if kind == "kl":
            true = dk.forward_kl(logits[role], logits["teacher"], reduction="none")
        elif kind == "entropy":
            true = dk.entropy(logits[role])
        else:
            true = nn.functional.cross_entropy(logits[role], labels, reduction="none")
            assert np.isnan(row[-1])  # what comes after the text is not known
        places = slice(-1 if kind == "loss" else None)
        assert row[places] == pytest.approx(true.numpy()[places], abs=1e-5)
        assert half[places] == pytest.approx(row[places], rel=1e-3, abs=1e-6)
    assert view.named[0] == ("kl", "student")


def test_snapshots_are_the_run_at_that_step() -> None:
    task = dk.tasks.digits()

    def run() -> dk.Run:
        return dk.distill(task.student(), task.teacher(), task.transfer, steps=7)

    first, second = run(), run()
    kept = dk.snapshots(first, every=3)
    first.result()
    assert list(kept) == [0, 3, 6, 7]
    for step, model in kept.items():
        while len(second.history) < step:
            next(second)
        assert torch.equal(dk.predict(model, task.test.inputs), dk.predict(second.student, task.test.inputs))
    first.reset()
    for _ in range(3):
        next(first)
    assert list(kept) == [0, 3]  # what the reset undid is gone


def test_every_step_has_its_own_numbers() -> None:
    run = dk.distill(TASK.student(), TEACHER, TASK.train, steps=4, batch_size=1)
    kept = dk.snapshots(run, every=1)
    start = dk.lens(TASK, teacher=TEACHER, student=run)
    run.result()
    view = dk.lens(TASK, teacher=TEACHER, student=kept, twin=TWIN)
    assert view.steps == [0, 1, 2, 3, 4]
    end = dk.lens(TASK, teacher=TEACHER, student=run.student)
    entropy = view.named.index(("entropy", "teacher"))
    assert view.measures[0, 0] == pytest.approx(start.measures[0, 0], abs=1e-6)
    assert view.measures[-1, 0] == pytest.approx(end.measures[0, 0], abs=1e-6)
    assert np.array_equal(view.measures[0, entropy], view.measures[-1, entropy])
    (content, buffers) = ask(view, "at", place=5)[0]
    assert content["place"] == 5
    assert [len(each) for each in buffers] == [4 * 1280, 5 * 4 * 1280, 4 * 1280]
    sent = np.frombuffer(buffers[1], "<f4").reshape(5, 1280)
    assert sent[3] == pytest.approx(dk.predict(kept[3], TASK.test.inputs[:1])[0, 5].numpy(), abs=1e-5)
    top = torch.from_numpy(sent[3].copy()).topk(20).indices.tolist()
    assert {str(token) for token in top} <= content["names"].keys()


def test_many_steps_are_thinned_and_the_opening_stays_small() -> None:
    models = dict.fromkeys(range(0, 1000, 10), STUDENT)
    view = dk.lens(TASK, teacher=TEACHER, student=models, twin={0: TWIN, 500: TWIN})
    assert (len(view.steps), view.steps[0], view.steps[-1]) == (21, 0, 990)
    assert [view._places["twin"][i] for i in (0, 9, 11, 20)] == [0, 0, 1, 1]
    data, _ = view._repr_mimebundle_()
    state = view.get_state()
    size = sum(len(each) if isinstance(each, bytes) else len(json.dumps(each)) for each in state.values())
    assert size + len(json.dumps(data)) <= 160_000


def test_the_stored_bars_are_softmax_at_one(view: Lens) -> None:
    heads = np.frombuffer(view.heads, "<f2").reshape(3, -1).astype(float)
    at = 0
    for place, ids in enumerate(view.page["bars"]):
        for row, model in zip(heads, (TEACHER, STUDENT, TWIN), strict=True):
            if place % 40 == 7:
                true = dk.soften(dk.predict(model, TASK.test.inputs[:1])[0, place])[ids]
                assert np.exp(row[at : at + len(ids)]) == pytest.approx(true.numpy(), rel=0.01)
        at += len(ids)
        assert place + 1 == len(view.tokens) or int(view.tokens[place + 1]) in ids


def test_a_text_of_ones_own_and_back(view: Lens) -> None:
    first = view.tokens
    (answer,) = ask(view, "text", value="Return the value of x.")
    assert answer[0] == {"kind": "measured", "serial": 2}
    assert "".join(view.page["tokens"]) == "Return the value of x."
    assert view.measures.shape[-1] == len(view.tokens) == len(TASK.encode("Return the value of x.")[0])
    ask(view, "text", value="")
    assert torch.equal(view.tokens, first)
    (answer,) = ask(view, "text", value="x")
    assert answer[0]["kind"] == "error"
    assert "2 tokens" in answer[0]["text"]
    ask(view, "text", value="word " * 2000)
    assert len(view.tokens) == 128


def test_what_is_asked_of_a_text_that_is_gone_is_not_answered(view: Lens) -> None:
    assert ask(view, "at", serial=0, place=3) == ask(view, "write", serial=0) == []
    assert "place must lie in" in ask(view, "at", place=500)[0][0]["text"]
    assert "sampling_temperature" in ask(view, "write", place=1, step=0, seed=0, temperature=99)[0][0]["text"]


@pytest.mark.parametrize("temperature", [0, 1])
def test_all_write_on_from_the_same_place(view: Lens, temperature: float) -> None:
    before = torch.get_rng_state()
    (content, _) = ask(view, "write", place=9, step=0, seed=3, temperature=temperature)[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert {role: len(tokens) for role, tokens in content["tokens"].items()} == dict.fromkeys(
        ["teacher", "student", "twin"], 40
    )
    again = ask(view, "write", place=9, step=0, seed=3, temperature=temperature)[0][0]
    assert again["ids"] == content["ids"]
    if not temperature:
        likeliest = dk.predict(STUDENT, view.tokens[None, :10])[0, -1].argmax()
        assert content["ids"]["student"][0] == likeliest


class Bigrams(nn.Module):
    """A model that is no Hugging Face model: logits from the last token alone."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.table = nn.Embedding(1300, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table(tokens)


def test_any_module_that_returns_logits_will_do() -> None:
    view = dk.lens(TASK, "Return the value", teacher=Bigrams(1280), student=Bigrams(1300))  # padded
    assert view._all["student"].shape[-1] == 1280
    (content, _) = ask(view, "write", place=1, step=0, seed=0, temperature=1)[0]
    assert len(content["ids"]["teacher"]) == 40


REFUSALS = [
    (lambda: dk.lens(TASK, teacher="teacher", student=STUDENT), "teacher must be a torch"),
    (lambda: dk.lens(TASK, teacher=TEACHER, student={"a": 1}), "dk.snapshots"),
    (lambda: dk.lens(TASK, teacher=TEACHER, student=Bigrams(1000)), "one logit for each"),
    (lambda: dk.lens(TASK, "x", teacher=TEACHER, student=STUDENT), "needs 2 tokens"),
    (lambda: dk.lens(TASK, 3, teacher=TEACHER, student=STUDENT), "text must be a string"),
    (lambda: dk.lens(TASK, teacher=TEACHER, student=STUDENT, top=0), "top must lie in"),
    (lambda: dk.snapshots(STUDENT), "what distill"),
    (lambda: plots.tokens(["a"], [1, 2]), "one number a token"),
]


@pytest.mark.parametrize(("call", "words"), REFUSALS, ids=range(len(REFUSALS)))
def test_refusals_show_the_way_out(call: Any, words: str) -> None:
    with pytest.raises(dk.DistilkitError, match=words):
        call()


def test_hostile_text_is_shown_by_its_name() -> None:
    shown = "".join(inert(letter) for letter in HOSTILE)
    assert shown.endswith("⟨202E⟩evil⟨200B⟩␛[31m␀")
    assert shown.startswith("<img src=x")  # the page writes text, never markup
    assert len(inert("a" * 10_000)) == 40
    view = dk.lens(TASK, HOSTILE, teacher=TEACHER, student=STUDENT)
    data, _ = view._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 300
    assert data["text/plain"].isprintable()


def test_a_picture_and_a_line_stand_in(view: Lens) -> None:
    data, _ = view._repr_mimebundle_()
    assert len(base64.b64decode(data["image/png"])) <= 12_000
    mean = float(view.measures[-1, 0, :-1].mean())
    assert f"KL(teacher ‖ student) {mean:.3f}" in data["text/plain"]
    (axes,) = view.figure().axes
    assert "".join(text.get_text() for text in axes.texts if text.get_family() == ["DejaVu Sans Mono"]).startswith(
        view.page["tokens"][0]
    )


def test_shades_follow_the_values() -> None:
    (axes,) = plots.tokens(["a", "b", "c"], [float("nan"), 1.0, 3.0]).axes
    shades = [patch.get_alpha() for patch in axes.patches[:2]]
    assert shades == pytest.approx([0.72 / 3, 0.72])
