"""Hints: hidden states and attention as further losses, their projections, and checkpoints of both."""

import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit.errors import BadType, BadValue
from distilkit.hints import Hinting
from distilkit.losses import attention_loss, hidden_state_loss
from distilkit.models import evaluating
from distilkit.tasks.text import llama

WORDS = 40


def example(seed=0):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(WORDS, (12, 9), generator=draw)
    return dk.Examples(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())


def pair():
    return llama(WORDS, layers=2, width=32, seed=0), llama(WORDS, layers=3, width=64, seed=1).eval()


def run(hints, *, steps=6, student=None, teacher=None, transfer=None, **more):
    own, other = pair()
    return dk.distill(
        student or own, teacher or other, transfer or example(), steps=steps, batch_size=4, hints=hints, **more
    )


BOTH = {"states": {1: 2, 2: 3}, "attention": {2: 3}}


def test_the_terms_add_up():
    made = run(dk.Hints(**BOTH, states_weight=0.5, attention_weight=2.0), knobs=dk.Knobs(2.0, 0.7, 0.01))
    for step in made:
        assert step.hint > 0
        assert step.loss == pytest.approx(0.7 * 4 * step.soft + 0.3 * step.hard + step.hint, rel=1e-5)


def test_the_hint_is_that_of_the_losses():
    student, teacher = pair()
    transfer = example()
    hints = dk.Hints(**BOTH, states_weight=0.5, attention_weight=2.0)
    hinting = Hinting(hints, student, teacher, transfer, 0)
    rows = torch.tensor([3, 1])
    logits, found = hinting(student, transfer[rows], rows, torch.device("cpu"))
    with evaluating(teacher):
        theirs = dk.look_inside(teacher, transfer.inputs[rows], states=[2, 3], attention=[3])
    ours = dk.look_inside(student, transfer.inputs[rows], states=[1, 2], attention=[2])
    expected = 2.0 * attention_loss(ours.attention[2], theirs.attention[3])
    for layer, other, projection in zip((1, 2), (2, 3), hinting.projections, strict=True):
        g = theirs.states[other]
        expected = expected + 0.25 * hidden_state_loss(ours.states[layer], g, projection) / g.var(correction=0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(logits, ours.logits)


def test_weight_zero_changes_nothing():
    (plain := run(None)).result()
    (hinted := run(dk.Hints(states={1: 2}, states_weight=0.0))).result()
    assert [step.hint for step in hinted.history] == [0.0] * 6
    assert [step.loss for step in plain.history] == [step.loss for step in hinted.history]


def test_hints_alone_bring_the_states_together():
    made = run(dk.Hints(states={2: 3}), steps=60, knobs=dk.Knobs(1.0, 1.0, 0.01))
    history = [step.hint for step in made]
    assert history[-1] < 0.8 * history[0]
    made = run(dk.Hints(attention={1: 1}, attention_weight=30.0), steps=60, knobs=dk.Knobs(1.0, 1.0, 0.01))
    history = [step.hint for step in made]
    assert history[-1] < 0.5 * history[0]


def test_the_teacher_learns_nothing():
    student, teacher = pair()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    run(dk.Hints(**BOTH), student=student, teacher=teacher).result()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_what_is_kept_of_the_teacher_is_what_it_says(monkeypatch):
    kept = run(dk.Hints(**BOTH))
    kept.result()
    monkeypatch.setattr("distilkit.hints.MOST_KEPT", 0)
    asked = run(dk.Hints(**BOTH))
    asked.result()
    for one, other in zip(kept.history, asked.history, strict=True):
        assert one.hint == pytest.approx(other.hint, rel=1e-4)


def test_a_checkpoint_resumes_bit_for_bit(tmp_path):
    whole = run(dk.Hints(**BOTH), steps=8)
    expected = {name: value.clone() for name, value in whole.result().state_dict().items()}
    first = run(dk.Hints(**BOTH), steps=8, checkpoint=tmp_path / "run.safetensors")
    for _ in range(3):
        next(first)
    first.save()
    second = run(dk.Hints(**BOTH), steps=8, checkpoint=tmp_path / "run.safetensors")
    assert len(second.history) == 3
    found = second.result().state_dict()
    assert second.history == whole.history
    assert all(torch.equal(expected[name], value) for name, value in found.items())
    with pytest.raises(BadValue, match="another run: its hints"):
        run(None, steps=8, checkpoint=tmp_path / "run.safetensors")
    with pytest.raises(BadValue, match="another run: its hints"):
        run(dk.Hints(**BOTH, states_weight=2.0), steps=8, checkpoint=tmp_path / "run.safetensors")


def test_a_reset_begins_again():
    made = run(dk.Hints(**BOTH), steps=4)
    first = [step.loss for step in made]
    made.reset()
    assert [step.loss for step in made] == first


def test_any_module_by_the_names_of_its_parts():
    task = dk.tasks.digits()
    student, teacher = task.student(), task.teacher()
    hints = dk.Hints(states={"1": "9", "0": "1"})  # a hidden layer, and the channels of a convolution
    made = dk.distill(student, teacher, task.transfer, hints=hints, steps=30)
    history = [step.hint for step in made]
    assert history[-1] < history[0]
    projections = made._hinting.projections
    assert [tuple(each.weight.shape) for each in projections] == [(64, 32), (32 * 64, 32)]
    assert not any(module._forward_hooks for module in (*student.modules(), *teacher.modules()))


def test_positions_that_do_not_count():
    transfer = example()
    labels = transfer.labels.clone()
    labels[:, :4] = -100
    masked = dk.Examples(transfer.inputs, labels)
    made = run(dk.Hints(**BOTH), transfer=masked)
    plain = run(dk.Hints(**BOTH))
    assert next(made).hint != next(plain).hint


def test_on_the_students_own_text():
    student, teacher = pair()
    own = dk.student_text(student, torch.randint(WORDS, (8, 4)), length=5)
    made = dk.distill(student, teacher, own, steps=2, batch_size=4, hints=dk.Hints(**BOTH))
    assert all(step.hint > 0 for step in made)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, BadValue, "no pairs of layers"),
        ({"states": [1, 2]}, BadType, "student's layer: teacher's layer"),
        ({"states": {1.5: 2}}, BadType, "a number or the name"),
        ({"states": {1: True}}, BadType, "a number or the name"),
        ({"states": {1: 2}, "states_weight": -1}, BadValue, "states_weight"),
        ({"attention": {1: 2}, "attention_weight": float("nan")}, BadValue, "attention_weight"),
    ],
)
def test_impossible_hints_are_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        dk.Hints(**arguments)


def test_what_the_models_have_not_is_refused_at_once(tmp_path):
    for hints, said in (
        ({"states": {9: 1}}, r"layer must lie in \[0, 2\]"),
        ({"states": {1: 9}}, r"layer must lie in \[0, 3\]"),
        ({"attention": {0: 1}}, r"layer must lie in \[1, 2\]"),
        ({"states": {"model.layer.0": 1}}, "Did you mean 'model.layers.0'"),
    ):
        with pytest.raises(BadValue, match=said):
            run(dk.Hints(**hints))
    task = dk.tasks.digits()
    with pytest.raises(BadValue, match="no Hugging Face model"):
        dk.distill(task.student(), task.teacher(), task.transfer, hints=dk.Hints(states={1: 2}))
    cached = dk.cache_teacher(task.teacher(), task.transfer, tmp_path)
    with pytest.raises(BadValue, match="need the teacher itself"):
        dk.distill(task.student(), cached, task.transfer, hints=dk.Hints(states={"1": "9"}))
    with pytest.raises(BadType, match=r"dk\.Hints"):
        dk.distill(task.student(), task.teacher(), task.transfer, hints={"1": "9"})


def test_attention_of_a_module_that_is_no_hugging_face_model():
    class Attending(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.embed, self.head = nn.Embedding(WORDS, width), nn.Linear(width, WORDS)
            self.attend = nn.MultiheadAttention(width, 2, batch_first=True)

        def forward(self, tokens):
            states = self.embed(tokens)
            return self.head(self.attend(states, states, states)[0])

    torch.manual_seed(0)
    hints = dk.Hints(states={"attend": "attend"}, attention={"attend": "attend"})
    made = run(hints, student=Attending(8), teacher=Attending(16).eval(), steps=3)
    assert all(step.hint > 0 for step in made)
