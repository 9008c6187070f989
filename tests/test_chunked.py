"""The loss in chunks against `losses.kd_loss` in float64 with autograd: value and gradient, and what it allocates."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from distilkit import chunked, divergences
from distilkit.chunked import chunked_kd_loss, chunked_kd_terms
from distilkit.losses import kd_loss, kd_terms
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


def value_and_gradient(loss, student, *others, **options):
    student = student.clone().requires_grad_()
    value = loss(student, *others, **options)
    if not value.requires_grad:
        return value, torch.zeros_like(student)
    return value.detach(), torch.autograd.grad(value, student)[0]


@pytest.mark.filterwarnings("ignore:every label is -100")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@settings(max_examples=400)
@given(
    seed=st.integers(0, 2**32 - 1),
    divergence=st.sampled_from(DIVERGENCES),
    marks=st.sampled_from(MARKS),
    alpha=st.sampled_from([0, 0.5, 1]),
    temperature=st.sampled_from([0.5, 1, 4]),
    chunk=st.sampled_from([1, 15, 2**17]),
)
def test_equals_kd_loss(dtype, seed, divergence, marks, alpha, temperature, chunk):
    student, teacher, labels = drawn(seed, marks, dtype)
    options = {"alpha": alpha, "temperature": temperature, "divergence": divergence}
    value, gradient = value_and_gradient(kd_loss, student.double(), teacher, labels, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(chunked.CHUNK, "cpu", chunk)
        found, slope = value_and_gradient(chunked_kd_loss, student, teacher, labels, **options)
    if not value.isfinite() or not gradient.isfinite().all():
        return  # the reference has no answer: one's own divergence of a row without classes
    assert slope.dtype == dtype
    assert abs(found - value) <= TOLERANCE[dtype] * (abs(value) + 0.1)
    assert (slope.double() - gradient).norm() <= TOLERANCE[dtype] * (gradient.norm() + 0.1)


@pytest.mark.parametrize(("alpha", "temperature"), [(0.9, 4.0), (1.0, 1.0)])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
def test_terms_are_those_of_kd_terms_whatever_the_layout(shape, alpha, temperature):
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(*shape[:-1], 9, generator=draw)[..., ::2] for _ in range(2))
    labels = torch.randint(-1, 5, shape[:-1], generator=draw)
    sides = student.requires_grad_(), teacher.requires_grad_()
    loss, soft, hard = chunked_kd_terms(*sides, labels, alpha=alpha, temperature=temperature)
    expected = kd_terms(*sides, labels, temperature=temperature)
    torch.testing.assert_close((soft, hard), tuple(each.detach() for each in expected))
    assert loss.requires_grad
    assert not soft.requires_grad
    assert not hard.requires_grad
    (2 * loss).backward()
    assert teacher.grad is None
    sides = student.detach(), teacher.detach()
    expected = value_and_gradient(kd_loss, *sides, labels, alpha=alpha, temperature=temperature)[1]
    torch.testing.assert_close(student.grad, 2 * expected)


def test_no_teacher_is_cross_entropy():
    student, _, labels = drawn(0, "ignored", torch.float32)
    ours = value_and_gradient(chunked_kd_loss, student, None, labels, alpha=0)
    torch.testing.assert_close(ours, value_and_gradient(kd_loss, student, None, labels, alpha=0))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_nothing_to_learn_from_oneself(divergence):
    logits, _, labels = drawn(0, "none", torch.float32)
    value, gradient = value_and_gradient(chunked_kd_loss, logits, logits, labels, alpha=1.0, divergence=divergence)
    if divergence is not divergences.soft_cross_entropy:
        assert value <= 1e-7
    assert gradient.norm() <= 1e-6


@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize(
    "divergence",
    [
        divergences.forward_kl,
        divergences.reverse_kl,
        divergences.soft_cross_entropy,
        divergences.decoupled_kl,
        *(functools.partial(divergences.jsd, beta=0.3, rescaled=rescaled) for rescaled in (False, True)),
        functools.partial(divergences.skew_forward_kl, skew=0.1),
        functools.partial(divergences.skew_reverse_kl, skew=0.1),
        squared,
    ],
)
def test_float32_does_not_cancel_near_the_teacher(divergence, gap):
    draw = torch.Generator().manual_seed(0)
    teacher = 3 * torch.randn(20, 50, generator=draw)
    student = teacher + gap * torch.randn(20, 50, generator=draw)
    given = teacher, torch.randint(50, (20,), generator=draw)
    options = {"alpha": 1.0, "temperature": 2.0, "divergence": divergence}
    value, gradient = value_and_gradient(kd_loss, student.double(), *given, **options)
    found, slope = value_and_gradient(chunked_kd_loss, student, *given, **options)
    assert (slope - gradient).norm() <= 1e-5 * gradient.norm()
    assert abs(found - value) <= 1e-5 * abs(value) + 1e-14  # what float64 itself loses


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_extreme_logits_stay_finite(divergence):
    student, teacher, labels = drawn(0, "none", torch.float32)
    value, gradient = value_and_gradient(
        chunked_kd_loss, 1e4 * student.sign(), 1e4 * teacher.sign(), labels, divergence=divergence
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
@pytest.mark.parametrize("divergence", DIVERGENCES[:4] + DIVERGENCES[5:])
def test_only_the_gradient_is_as_large_as_the_logits(divergence, marks, monkeypatch):
    monkeypatch.setitem(chunked.CHUNK, "cpu", 1000)
    student, teacher = torch.randn(2, 100, 50, requires_grad=True), torch.randn(2, 100, 50)
    labels = torch.randint(0, 50, (2, 100))
    if marks == "ignored":
        labels[0, 0] = -100
    given = {student.untyped_storage().data_ptr(), teacher.untyped_storage().data_ptr()}
    with Largest() as largest:
        loss = chunked_kd_loss(student, teacher, labels, divergence=divergence)
        loss.backward()
    sizes = sorted(size for place, size in largest.storages.items() if place not in given)
    assert sizes[-1] == student.numel()
    assert sizes[-2] <= 4 * 1000  # the four buffers of a chunk
    assert student.grad.untyped_storage().data_ptr() in largest.storages  # handed over, not copied


def test_refusals_are_those_of_kd_loss():
    student, teacher, labels = drawn(0, "none", torch.float32)
    for loss in (kd_loss, chunked_kd_loss):
        refused(lambda f=loss: f(student, teacher, labels, alpha=2), ValueError, "alpha")
        refused(lambda f=loss: f(student, teacher, labels, temperature=0), ValueError, "temperature")
        refused(lambda f=loss: f(student, teacher[..., :4], labels), ValueError, "tokenizer")
        refused(lambda f=loss: f(student, teacher, labels + 9), ValueError, "classes")
        refused(lambda f=loss: f(student, None, labels), ValueError, "no teacher")
        refused(lambda f=loss: f(student.long(), teacher, labels), TypeError, "floating-point")
        wrong = functools.partial(divergences.jsd, beta=2)
        refused(lambda f=loss, d=wrong: f(student, teacher, labels, divergence=d), ValueError, "beta")
        broken = teacher.clone()
        broken[1, 2, 3] = math.nan
        refused(lambda f=loss, t=broken: f(student, t, labels), ValueError, "teacher_logits[1, 2, 3]", "nan")


def test_there_is_no_second_derivative():
    student, teacher, labels = drawn(0, "none", torch.float32)
    student.requires_grad_()
    (slope,) = torch.autograd.grad(chunked_kd_loss(student, teacher, labels), student, create_graph=True)
    with pytest.raises(RuntimeError, match=r"does not require grad|differentiate twice"):
        slope.sum().backward()
