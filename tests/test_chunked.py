"""The loss in chunks against its definition in float64 by autograd: value, gradient, second derivative, memory."""

import functools
import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from distilkit import chunked, divergences, losses
from distilkit.chunked import by_autograd, proportion
from distilkit.losses import kd_loss
from tests.faults import refused

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-2}


def squared(student_logits, teacher_logits, *, mask=None):
    """A divergence of one's own."""
    value = (student_logits.softmax(-1) - teacher_logits.softmax(-1)).square().sum(-1)
    return value.mean() if mask is None else value[mask].sum() / mask.sum().clamp(min=1)


DIVERGENCES = [
    divergences.forward_kl,
    divergences.reverse_kl,
    divergences.total_variation,
    divergences.soft_cross_entropy,
    divergences.adaptive_skew_kl,
    divergences.adaptive_kl,
    *(functools.partial(divergences.weighted, by=by) for by in divergences.WEIGHTS),
    functools.partial(divergences.weighted, by="error", divergence=functools.partial(divergences.jsd, beta=0.3)),
    squared,
    *(functools.partial(divergences.jsd, beta=beta, rescaled=True) for beta in (0, 0.3, 1)),
    *(functools.partial(divergences.jsd, beta=beta) for beta in (0, 0.5, 1)),
    *(functools.partial(divergences.skew_forward_kl, skew=skew) for skew in (0, 0.1, 1)),
    *(functools.partial(divergences.skew_reverse_kl, skew=skew) for skew in (0, 0.1, 1)),
    divergences.decoupled_kl,
    functools.partial(divergences.decoupled_kl, target_weight=0.5, other_weight=2.0),
]
MARKS = ["none", "ignored", "unlabelled", "all ignored", "shared class", "whole row", "teacher's class"]


def drawn(seed, marks, dtype):
    draw = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(2, 3, 5, generator=draw).to(dtype) for _ in range(2))
    labels = torch.randint(0, 5, (2, 3), generator=draw)
    if marks == "ignored":
        labels[0, :2], student[0, 0] = -100, 99
    elif marks == "unlabelled":
        labels[1, 1] = -1
    elif marks == "all ignored":
        labels[:] = -100
    elif marks == "shared class":
        student[..., 4] = teacher[..., 4] = -math.inf
        labels.clamp_(max=3)
    elif marks == "whole row":
        student[1, 2] = teacher[1, 2] = -math.inf
        labels[1, 2] = -1
    elif marks == "teacher's class":
        teacher[0, 0, 1] = -math.inf
    return student, teacher, labels


def definition(student, teacher, labels, *, alpha=0.9, temperature=4.0, divergence=divergences.forward_kl):
    """The loss in float64, all at once, by autograd."""
    labelled = bool((labels >= 0).all())
    soft, hard = by_autograd(student.double(), teacher, labels, labelled, temperature, divergence)
    if alpha in (0, 1):
        return temperature**2 * soft if alpha else hard
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def value_and_gradient(loss, student, *others, **options):
    student = student.clone().requires_grad_()
    value = loss(student, *others, **options)
    if not value.requires_grad:
        return value, torch.zeros_like(student)
    return value.detach(), torch.autograd.grad(value, student)[0]


@pytest.fixture
def in_float32(monkeypatch):
    """Few logits are taken like many: in chunks, and in float32 where that does not cancel."""
    monkeypatch.setattr(losses, "FEW", 0)
    monkeypatch.setattr(chunked, "SMALL", 0)
    monkeypatch.setattr(chunked, "NARROW", 0)


@pytest.mark.filterwarnings("ignore:every label is -100")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@given(
    seed=st.integers(0, 2**32 - 1),
    divergence=st.sampled_from(DIVERGENCES),
    marks=st.sampled_from(MARKS),
    alpha=st.sampled_from([0, 0.5, 1]),
    temperature=st.sampled_from([0.5, 1, 4]),
    chunk=st.sampled_from([1, 15, 2**17]),
    few=st.sampled_from([0, 2**12]),
    narrow=st.sampled_from([0, 32]),
)
def test_equals_its_definition(dtype, seed, divergence, marks, alpha, temperature, chunk, few, narrow):
    student, teacher, labels = drawn(seed, marks, dtype)
    options = {"alpha": alpha, "temperature": temperature, "divergence": divergence}
    value, gradient = value_and_gradient(definition, student.double(), teacher, labels, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(chunked.CHUNK, "cpu", chunk)
        patch.setattr(losses, "FEW", few)
        patch.setattr(chunked, "SMALL", few)
        patch.setattr(chunked, "NARROW", narrow)
        found, slope = value_and_gradient(kd_loss, student, teacher, labels, **options)
    if not value.isfinite() or not gradient.isfinite().all():
        return  # the definition has no answer: one's own divergence of a row without classes
    assert slope.dtype == dtype
    assert abs(found - value) <= TOLERANCE[dtype] * (abs(value) + 0.1)
    assert (slope.double() - gradient).norm() <= TOLERANCE[dtype] * (gradient.norm() + 0.1)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (14.4, 0.1), (1.0, None), (None, 1.0)])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
def test_terms_of_any_layout_and_whatever_becomes_of_them(shape, weights, in_float32):
    """The gradient is right for the weights that were announced, and for all others."""
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(*shape[:-1], 9, generator=draw)[..., ::2] for _ in range(2))
    labels = torch.randint(-1, 5, shape[:-1], generator=draw)
    for others in [weights, (2.0, 2.0), (3.0, 0.5), (0.0, 1.0), (-1.0, 1.0)]:
        factors = [0.0 if weight is None else other or 0.0 for weight, other in zip(weights, others, strict=True)]
        leaves = [student.clone().requires_grad_(), student.double().requires_grad_()]
        teachers = [teacher.clone().requires_grad_(), teacher]
        labelled = bool((labels >= 0).all())
        found = losses._terms(leaves[0], teachers[0], labels, 3.0, divergences.forward_kl, weights)
        expected = by_autograd(leaves[1], teacher, labels, labelled, 3.0, divergences.forward_kl)
        for ours, theirs, weight in zip(found, expected, weights, strict=True):
            assert ours.dtype == torch.float32
            assert weight is None or float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
        for terms in (found, expected):
            sum(term * factor for term, factor in zip(terms, factors, strict=True)).backward()
        assert teachers[0].grad is None
        torch.testing.assert_close(leaves[0].grad.double(), leaves[1].grad, rtol=1e-4, atol=1e-6)


def test_proportion():
    assert proportion([1.0, 0.1], [1.0, 0.1]) == 1
    assert proportion([0.0, 0.2], [0.0, 0.1]) == 2
    assert proportion([-3.0, -6.0], [1.0, 2.0]) == -3
    assert proportion([1.0, 0.1], [1.0, 0.2]) is None
    assert proportion([0.0, 0.0], [1.0, 0.2]) == 0


def test_the_graph_may_be_walked_twice(in_float32):
    student, teacher, labels = drawn(0, "none", torch.float32)
    student.requires_grad_()
    loss = kd_loss(student, teacher, labels)
    first, second = (torch.autograd.grad(loss, student, retain_graph=True)[0].clone() for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(torch.autograd.grad(loss, student, torch.tensor(0.5))[0], first / 2)


@pytest.mark.parametrize("divergence", [divergences.forward_kl, divergences.jsd, divergences.decoupled_kl])
def test_second_derivatives(divergence, in_float32):
    student, teacher, labels = drawn(0, "none", torch.float64)
    student.requires_grad_()

    def loss(logits):
        return kd_loss(logits, teacher, labels, alpha=0.7, temperature=3.0, divergence=divergence)

    assert torch.autograd.gradcheck(loss, student)
    assert torch.autograd.gradgradcheck(loss, student)


def test_no_teacher_is_cross_entropy(in_float32):
    student, _, labels = drawn(0, "ignored", torch.float32)
    value, gradient = value_and_gradient(definition, student, None, labels, alpha=0)
    ours = value_and_gradient(kd_loss, student, None, labels, alpha=0)
    torch.testing.assert_close(ours, (value.float(), gradient))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_nothing_to_learn_from_oneself(divergence, in_float32):
    logits, _, labels = drawn(0, "none", torch.float32)
    value, gradient = value_and_gradient(kd_loss, logits, logits, labels, alpha=1.0, divergence=divergence)
    if divergence is not divergences.soft_cross_entropy:
        assert value <= 1e-7
    assert gradient.norm() <= 1e-6


@pytest.mark.parametrize("classes", [20, 50, 3000])
@pytest.mark.parametrize("gap", [0.3, 0.1, 3e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize(
    "divergence",
    [
        divergences.forward_kl,
        divergences.reverse_kl,
        divergences.soft_cross_entropy,
        divergences.decoupled_kl,
        divergences.weighted,
        divergences.adaptive_skew_kl,
        *(functools.partial(divergences.jsd, beta=0.3, rescaled=rescaled) for rescaled in (False, True)),
        functools.partial(divergences.skew_forward_kl, skew=0.1),
        functools.partial(divergences.skew_reverse_kl, skew=0.1),
        squared,
    ],
)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_float32_does_not_cancel_near_the_teacher(divergence, gap, classes, offset, in_float32):
    """Nor where all logits of a side are off by the same number, which changes nothing."""
    draw = torch.Generator().manual_seed(0)
    teacher = 3 * torch.randn(20, classes, generator=draw)
    student = teacher + gap * torch.randn(20, classes, generator=draw) + offset
    given = teacher, torch.randint(classes, (20,), generator=draw)
    options = {"alpha": 1.0, "temperature": 2.0, "divergence": divergence}
    value, gradient = value_and_gradient(definition, student.double(), *given, **options)
    found, slope = value_and_gradient(kd_loss, student, *given, **options)
    assert (slope - gradient).norm() <= 1e-5 * gradient.norm()
    assert abs(found - value) <= 1e-5 * abs(value) + 1e-14 * (1 + offset)  # what float64 itself loses


def test_a_sure_student_keeps_its_digits(in_float32):
    """Cross-entropy of nearly nothing, which float32 would round to 0."""
    student = torch.zeros(40, 100)
    student[:, 3] = 17.0
    labels = torch.full((40,), 3)
    value, gradient = value_and_gradient(definition, student, None, labels, alpha=0)
    found, slope = value_and_gradient(kd_loss, student, None, labels, alpha=0)
    assert float(found) == pytest.approx(float(value), rel=1e-6)
    torch.testing.assert_close(slope, gradient.float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_extreme_logits_stay_finite(divergence, in_float32):
    student, teacher, labels = drawn(0, "none", torch.float32)
    value, gradient = value_and_gradient(
        kd_loss, 1e4 * student.sign(), 1e4 * teacher.sign(), labels, divergence=divergence
    )
    assert value.isfinite()
    assert gradient.isfinite().all()


class Largest(TorchDispatchMode):
    """Records how many numbers each new tensor holds."""

    def __init__(self):
        super().__init__()
        self.storages = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.storages[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes() // 4
        return out


@pytest.mark.parametrize("marks", ["none", "ignored"])
@pytest.mark.parametrize("divergence", [each for each in DIVERGENCES if each is not squared])
def test_only_the_gradient_is_as_large_as_the_logits(divergence, marks, monkeypatch, in_float32):
    monkeypatch.setitem(chunked.CHUNK, "cpu", 1000)
    student, teacher = torch.randn(2, 100, 50, requires_grad=True), torch.randn(2, 100, 50)
    labels = torch.randint(0, 50, (2, 100))
    if marks == "ignored":
        labels[0, 0] = -100
    given = {student.untyped_storage().data_ptr(), teacher.untyped_storage().data_ptr()}
    with Largest() as largest:
        loss = kd_loss(student, teacher, labels, divergence=divergence)
        loss.backward()
    sizes = sorted(size for place, size in largest.storages.items() if place not in given)
    assert sizes[-1] == student.numel()
    assert sizes[-2] <= 4 * 2 * 1000  # the four buffers of a chunk, in float64 at the most
    assert student.grad.untyped_storage().data_ptr() in largest.storages  # handed over, not copied


def test_a_divergence_of_ones_own_sees_all_rows_at_once(monkeypatch, in_float32):
    """It may compare them with each other."""
    monkeypatch.setitem(chunked.CHUNK, "cpu", 1)
    rows = []

    def own(student_logits, teacher_logits, *, mask=None):
        rows.append(student_logits.shape)
        return squared(student_logits, teacher_logits, mask=mask)

    kd_loss(*drawn(0, "none", torch.float32), divergence=own)
    assert rows == [(2, 3, 5)]


def test_refusals_name_the_place_in_the_whole(monkeypatch, in_float32):
    monkeypatch.setitem(chunked.CHUNK, "cpu", 5)
    student, teacher, labels = drawn(0, "none", torch.float32)
    wrong = functools.partial(divergences.jsd, beta=2)
    refused(lambda: kd_loss(student, teacher, labels, divergence=wrong), ValueError, "beta")
    for divergence in (divergences.forward_kl, divergences.jsd, divergences.weighted, divergences.adaptive_skew_kl):
        for name, place, value in (("teacher", 1, math.nan), ("student", 0, math.inf)):
            sides = {"student": student.clone(), "teacher": teacher.clone()}
            sides[name][place, 2, 3] = value
            refused(
                lambda s=sides, d=divergence: kd_loss(*s.values(), labels, divergence=d),
                ValueError, f"{name}_logits[{place}, 2, 3]", str(value),
            )  # fmt: skip
