"""The loss from hidden states: against `kd_loss` in float64, what it holds, and when `distill` takes it."""

import functools
import math

import pytest
import torch
import transformers
from hypothesis import given, strategies as st
from torch import nn

import distilkit as dk
from distilkit import divergences, linear_loss, losses, models, training
from distilkit.chunked import wants_labels
from distilkit.linear_loss import Head, linear_kd_loss, linear_kd_terms
from distilkit.topk import TopK, WithTail, normalised
from tests.faults import refused
from tests.test_chunked import DIVERGENCES, Largest, definition, squared

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-2}
OURS = [each for each in DIVERGENCES if each is not squared]
CLASSES = 23


def drawn(seed, dtype, *, marks="none", near=1.0, bias=True):
    """Both sides' states, weights and biases, and labels: 3 × 4 positions, widths 6 and 9."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(*shape, generator=draw)

    student = [some(3, 4, 6), some(CLASSES, 6), some(CLASSES)][: 2 + bias]
    if near == 1:
        teacher = [some(3, 4, 9), some(CLASSES, 9), some(CLASSES)]
    else:
        teacher = [each + near * torch.randn(each.shape, generator=draw) for each in student]
    labels = torch.randint(0, CLASSES, (3, 4), generator=draw)
    if marks == "ignored":
        labels[0, :2] = -100
        student[0][0, 0] = math.nan
    elif marks == "unlabelled":
        labels[1] = -1
    elif marks == "all ignored":
        labels[:] = -100
    return [each.to(dtype) for each in student], [each.to(dtype) for each in teacher], labels


def logits(states, weight, bias=None):
    made = states.double() @ weight.double().T
    return made if bias is None else made + bias.double()


def top_of(teacher_logits, temperature, k=5):
    ids = teacher_logits.topk(k, -1).indices
    return TopK(ids, normalised(WithTail.apply(teacher_logits, ids, temperature)).float(), temperature, CLASSES)


def slopes(value, leaves):
    if not value.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if each is None else each for leaf, each in zip(leaves, found, strict=True)]


@pytest.mark.filterwarnings("ignore:every label is -100")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@given(
    seed=st.integers(0, 2**32 - 1),
    divergence=st.sampled_from(OURS),
    marks=st.sampled_from(["none", "ignored", "unlabelled", "all ignored"]),
    near=st.sampled_from([1.0, 1e-3]),
    bias=st.booleans(),
    alpha=st.sampled_from([0, 0.5, 1]),
    temperature=st.sampled_from([0.5, 1, 4]),
    block=st.sampled_from([4 * CLASSES, 5 * 4 * CLASSES, 64e6]),
    teacher_is=st.sampled_from(["head", "logits"]),
)
def test_equals_kd_loss(dtype, seed, divergence, marks, near, bias, alpha, temperature, block, teacher_is):
    student, teacher, labels = drawn(seed, dtype, marks=marks, near=near, bias=bias)
    theirs = logits(*teacher)
    ours = [each.clone().requires_grad_() for each in student]
    exact = [each.double().nan_to_num(0).requires_grad_() for each in student]  # a nan in the padding reaches nothing
    options = {"alpha": alpha, "temperature": temperature, "divergence": divergence}
    made = logits(*exact)
    value = definition(made, theirs, labels, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_loss, "BLOCK", block)
        given_teacher = tuple(teacher) if teacher_is == "head" else theirs.to(dtype if dtype.itemsize > 2 else None)
        found = linear_kd_loss(tuple(ours), given_teacher, labels, **options)
        found_slopes = slopes(found, ours)
    if near < 1 and (teacher_is == "logits" or dtype.itemsize < 4):
        return  # what is left of the difference was rounded before
    error = TOLERANCE[dtype]
    assert abs(float(found.detach()) - float(value.detach())) <= error * (abs(float(value.detach())) + 0.1)
    for one, other, leaf in zip(found_slopes, slopes(value, exact), ours, strict=True):
        assert one.dtype == leaf.dtype
        assert (one.double() - other).norm() <= error * (other.norm() + 0.1)


@pytest.mark.parametrize("divergence", OURS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_equals_kd_loss_of_what_a_cache_keeps(divergence, temperature):
    student, teacher, labels = drawn(0, torch.float32)
    labels[0, 0] = -1
    top = top_of(logits(*teacher), temperature)
    ours, exact = ([each.to(kind).requires_grad_() for each in student] for kind in (torch.float32, torch.float64))
    found = linear_kd_loss(tuple(ours), top, labels, alpha=0.7, temperature=temperature, divergence=divergence)
    made = logits(*exact)
    lumped = top.lump(made, temperature)
    given_labels = {"labels": top.find(labels)} if wants_labels(divergence) else {}
    soft = divergence(lumped[0], lumped[1].double(), **given_labels)
    known = labels >= 0
    hard = nn.functional.cross_entropy(made[known], labels[known])
    value = 0.7 * temperature**2 * soft + 0.3 * hard
    assert float(found.detach()) == pytest.approx(float(value.detach()), rel=1e-5)
    for one, other in zip(slopes(found, ours), slopes(value, exact), strict=True):
        assert (one.double() - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("gap", [1e-1, 1e-2, 1e-4, 1e-6])
def test_float32_does_not_cancel_near_the_teacher(gap):
    student, teacher, labels = drawn(0, torch.float32, near=gap)
    ours, exact = ([each.to(kind).requires_grad_() for each in student] for kind in (torch.float32, torch.float64))
    found = linear_kd_loss(tuple(ours), tuple(teacher), labels, alpha=1.0)
    value = definition(logits(*exact), logits(*teacher), labels, alpha=1.0)
    assert float(found.detach()) == pytest.approx(float(value.detach()), rel=1e-5)
    for one, other in zip(slopes(found, ours), slopes(value, exact), strict=True):
        assert (one.double() - other).norm() <= 1e-5 * other.norm()


def test_other_weights_and_a_second_walk():
    student, teacher, labels = drawn(0, torch.float64)
    leaves = [each.requires_grad_() for each in student]
    terms = linear_kd_terms(tuple(leaves), tuple(teacher), labels, temperature=2.0)
    expected = losses.kd_terms(logits(*leaves), logits(*teacher), labels, temperature=2.0)
    for factors in ((1.0, 1.0), (3.0, 3.0), (0.2, 5.0), (0.0, -1.0)):
        found, wanted = (
            torch.autograd.grad(sum(f * t for f, t in zip(factors, each, strict=True)), leaves, retain_graph=True)
            for each in (terms, expected)
        )
        torch.testing.assert_close(found, wanted)


def test_only_what_wants_a_gradient_gets_one():
    student, teacher, labels = drawn(0, torch.float32)
    states = student[0].requires_grad_()
    given_teacher = tuple(each.requires_grad_() for each in teacher)
    linear_kd_loss((states, *student[1:]), given_teacher, labels).backward()
    assert states.grad.abs().sum() > 0
    assert all(each.grad is None for each in (*student[1:], *teacher))
    assert not linear_kd_loss(tuple(each.detach() for each in student), tuple(teacher), labels).requires_grad
    assert float(linear_kd_loss(tuple(student), None, labels, alpha=0).detach()) == pytest.approx(
        float(nn.functional.cross_entropy(logits(*student).detach().flatten(0, 1), labels.flatten())), rel=1e-6
    )


def test_logits_are_never_all_held(monkeypatch):
    """The largest tensor is a block of them, or the gradient of the weights."""
    monkeypatch.setattr(linear_loss, "BLOCK", 4 * 3000 * 10)
    states, weight, other = torch.randn(500, 4), torch.randn(3000, 4), torch.randn(3000, 4)
    leaves = [states.requires_grad_(), weight.requires_grad_()]
    with Largest() as largest:
        linear_kd_loss(tuple(leaves), (torch.randn(500, 4), other), torch.zeros(500, dtype=torch.long)).backward()
    assert max(largest.storages.values()) <= 4 * 10 * 3000


@pytest.mark.parametrize(
    ("change", "builtin", "words"),
    [
        ({"student": "weight"}, TypeError, ["student", "(states, weight", "'weight'"]),
        ({"student": (torch.zeros(2, 3), torch.zeros(5, 4))}, ValueError, ["weight", "(classes, 3)", "(5, 4)"]),
        ({"student": (torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(4))}, ValueError, ["bias", "(5,)", "(4,)"]),
        ({"student": (torch.zeros(2, 3).long(), torch.zeros(5, 3))}, TypeError, ["student states", "int64"]),
        ({"teacher": (torch.zeros(2, 3), torch.zeros(6, 3))}, ValueError, ["(2, 5)", "(2, 6)", "tokenizers"]),
        ({"teacher": torch.zeros(3, 5)}, ValueError, ["(2, 5)", "(3, 5)"]),
        ({"teacher": None}, ValueError, ["alpha is 0.9", "no teacher"]),
        ({"labels": torch.tensor([0, 5])}, ValueError, ["labels[1] is 5", "5 classes"]),
        ({"labels": torch.tensor([0])}, ValueError, ["labels (1,)", "(2,)"]),
        ({"alpha": 2}, ValueError, ["alpha", "[0, 1]"]),
        ({"temperature": 0}, ValueError, ["temperature", "got 0"]),
        ({"divergence": squared}, ValueError, ["squared", "kd_loss"]),
        ({"divergence": functools.partial(divergences.jsd, beta=3)}, ValueError, ["beta", "got 3"]),
        ({"teacher": torch.full((2, 5), math.nan)}, ValueError, ["teacher_logits", "nan", "hidden states"]),
        (
            {"teacher": TopK(torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 2), 2.0, 5)},
            ValueError, ["temperature is 4", "cached at 2"],
        ),
        (
            {"teacher": TopK(torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 2), 4.0, 7)},
            ValueError, ["(2, 5)", "(2, 7)"],
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change, builtin, words):
    sides = {"student": (torch.zeros(2, 3), torch.zeros(5, 3)), "teacher": (torch.zeros(2, 4), torch.ones(5, 4))}
    usual = sides | {"labels": torch.tensor([0, 4])} | change
    student, teacher, labels = (usual.pop(name) for name in ("student", "teacher", "labels"))
    refused(lambda: linear_kd_loss(student, teacher, labels, **usual), builtin, *words)


# --- distill takes it


SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def language_model(seed=0, kind=transformers.LlamaConfig, **more):
    config = kind(vocab_size=211, num_key_value_heads=2, max_position_embeddings=32, **SIZES | more)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else None
    return model.eval()


def text(seed=0):
    tokens = torch.randint(0, 211, (24, 9), generator=torch.Generator().manual_seed(seed))
    labels = tokens[:, 1:].clone()
    labels[::3, :2] = -100
    return tokens[:, :-1], labels


def histories(monkeypatch, student, teacher, transfer, **options):
    """The steps of the same run, from hidden states and from logits; how often the first was really taken."""
    taken = []
    whole = training.linear_kd_terms
    monkeypatch.setattr(training, "linear_kd_terms", lambda *args, **more: taken.append(1) or whole(*args, **more))
    found = []
    for vocabulary in (100, 10**6):
        monkeypatch.setattr(training, "VOCABULARY", vocabulary)
        knobs = dk.Knobs(temperature=2.0, alpha=0.7 if teacher is not None else 0.0, lr=0.01)
        model = student()
        found.append([*dk.distill(model, teacher, transfer(model), knobs=knobs, steps=4, batch_size=8, **options)])
    return *found, len(taken)


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("divergence", [divergences.forward_kl, divergences.jsd])
def test_distill_learns_the_same_from_hidden_states(monkeypatch, tied, divergence):
    monkeypatch.setattr(training, "MOST_TARGETS", 0)  # the teacher is asked at each step
    found, expected, taken = histories(
        monkeypatch,
        lambda: language_model(1, tie_word_embeddings=tied),
        language_model(2, hidden_size=32),
        lambda _: text(),
        divergence=divergence,
    )
    assert taken == 4
    same(found, expected)


def test_distill_learns_the_same_from_a_cache_from_memory_and_alone(monkeypatch, tmp_path):
    teacher = language_model(2)
    cache = dk.cache_teacher(teacher, text(), tmp_path, top=20, temperature=2.0)
    for given_teacher in (cache, teacher, None):
        found, expected, taken = histories(monkeypatch, lambda: language_model(1), given_teacher, lambda _: text())
        assert taken == 4
        same(found, expected)


def test_distill_learns_the_same_on_the_students_text(monkeypatch):
    prompts = torch.randint(0, 211, (16, 3), generator=torch.Generator().manual_seed(0))
    found, expected, taken = histories(
        monkeypatch,
        lambda: language_model(1),
        language_model(2),
        lambda student: dk.student_text(student, prompts, length=5),
        divergence=divergences.reverse_kl,
    )
    assert taken == 4
    same(found, expected)


def test_distill_keeps_to_logits_where_they_are_more_than_the_last_layer_makes(monkeypatch):
    """Capped or scaled logits, a divergence of one's own, another loss on the labels, a knob that learns."""
    capped = functools.partial(language_model, 1, transformers.Gemma2Config, head_dim=8, final_logit_softcapping=3.0)
    scaled = functools.partial(language_model, 1, transformers.CohereConfig, logit_scale=0.5)
    for student in (capped, scaled):
        assert models.output_layer(student(), text()[0][:1]) is None
        found, expected, taken = histories(monkeypatch, student, language_model(2), lambda _: text())
        assert taken == 0
        assert found == expected
    _, _, taken = histories(monkeypatch, language_model, language_model(2), lambda _: text(), divergence=squared)
    assert taken == 0
    monkeypatch.setattr(training, "VOCABULARY", 100)
    learned = dk.Knobs(temperature=dk.LearnedTemperature(), alpha=0.7)
    assert len([*dk.distill(language_model(1), language_model(2), text(), knobs=learned, steps=2, batch_size=8)]) == 2


def test_distill_asks_a_teacher_whose_logits_are_capped_for_logits(monkeypatch):
    monkeypatch.setattr(training, "MOST_TARGETS", 0)
    teacher = language_model(2, transformers.Gemma2Config, head_dim=8, final_logit_softcapping=3.0)
    found, expected, taken = histories(monkeypatch, lambda: language_model(1), teacher, lambda _: text())
    assert taken == 4
    same(found, expected)


def test_the_last_layer_is_found_and_left_as_it_was():
    model, tokens = language_model(1), text()[0]
    layer = models.output_layer(model, tokens[:1])
    assert layer is model.lm_head
    with torch.no_grad():
        states = models.states_for(layer, model, tokens)
        torch.testing.assert_close(layer(states), model(tokens).logits)
    assert "forward" not in vars(layer)
    assert models.output_layer(nn.Linear(3, 3), torch.zeros(1, 3)) is None
    layer.forward = layer.forward  # as a wrapper does
    assert models.output_layer(model, tokens[:1]) is None


def test_a_head_knows_the_shape_of_its_logits():
    assert Head(torch.zeros(2, 3, 4), torch.zeros(7, 4)).shape == (2, 3, 7)
