"""The distillation loss against its definition, and what it answers to impossible arguments."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

import distilkit as dk
from distilkit.divergences import decoupled_kl, forward_kl, reverse_kl
from distilkit.losses import kd_loss, kd_terms
from tests.faults import refused

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-2}


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, -1, keepdims=True)


def definition(student, teacher, labels, alpha, temperature):
    """alpha·T²·KL(teacher_T ‖ student_T) + (1 − alpha)·CE, row by row in 80-bit floats."""
    student, teacher = (each.double().numpy().astype(np.longdouble) for each in (student, teacher))
    soft, hard = [], []
    for s, t, y in zip(student, teacher, labels.tolist(), strict=True):
        p, q = log_softmax(t / np.longdouble(temperature)), log_softmax(s / np.longdouble(temperature))
        if y != -100:
            soft.append((np.exp(p) * (p - q)).sum())
        if y >= 0:
            hard.append(-log_softmax(s)[y])

    def mean(values):
        return sum(values) / max(len(values), 1)

    return alpha * np.longdouble(temperature) ** 2 * mean(soft) + (1 - np.longdouble(alpha)) * mean(hard)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(2, 12),
    scale=st.sampled_from([0.01, 1.0, 10.0, 100.0]),
    apart=st.sampled_from([1.0, 1e-3, 1e-8]),
    alpha=st.floats(0, 1),
    temperature=st.floats(0.1, 100),
    marks=st.booleans(),
)
def test_equals_its_definition(dtype, seed, classes, scale, apart, alpha, temperature, marks):
    draw = np.random.default_rng(seed)
    teacher = scale * draw.standard_normal((4, classes))
    student = torch.from_numpy(teacher + apart * scale * draw.standard_normal((4, classes))).to(dtype)
    teacher = torch.from_numpy(teacher).to(dtype)
    labels = torch.from_numpy(draw.integers(0, classes, 4))
    if marks:
        labels[0], labels[1] = -100, -1
    expected = definition(student, teacher, labels, alpha, temperature)
    found = kd_loss(student, teacher, labels, alpha=alpha, temperature=temperature)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # A softened logit is rounded to ε·|logit / T|, the sums over p·(log p − log q) cancel to that, and T² magnifies it.
    largest = 1 + max(float(each.double().abs().max()) for each in (student, teacher)) / temperature
    floor = 16 * 2**-52 * (alpha * temperature**2 * largest + largest * temperature)
    assert abs(float(found) - float(expected)) <= TOLERANCE[dtype] * abs(float(expected)) + floor


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), alpha=st.floats(0, 1), temperature=st.floats(0.5, 20))
def test_identity_leaves_the_hard_term_alone(seed, alpha, temperature):
    logits = torch.from_numpy(np.random.default_rng(seed).standard_normal((3, 5)))
    labels = torch.tensor([0, 3, 4])
    found = kd_loss(logits, logits, labels, alpha=alpha, temperature=temperature)
    torch.testing.assert_close(found, (1 - alpha) * F.cross_entropy(logits, labels), rtol=1e-14, atol=0)


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(4, 5, generator=draw), torch.randn(4, 5, generator=draw), torch.tensor([0, 1, 2, 4])


def test_gradcheck_and_gradgradcheck(batch):
    student, teacher, labels = batch
    student, teacher = student.double().requires_grad_(), teacher.double()
    labels = labels.index_fill(0, torch.tensor([1]), -1)

    def loss(logits):
        return kd_loss(logits, teacher, labels, alpha=0.7, temperature=3.0)

    assert torch.autograd.gradcheck(loss, student)
    assert torch.autograd.gradgradcheck(loss, student)


# --- what others got wrong


def test_the_temperature_is_squared(batch):
    """Without T² the soft gradient dies as 1/T²; with it, it keeps its size while T moves."""
    student, teacher, labels = batch
    sizes = []
    for temperature in (10.0, 100.0):
        leaf = student.double().requires_grad_()
        kd_loss(leaf, teacher.double(), labels, alpha=1.0, temperature=temperature).backward()
        sizes.append(float(leaf.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)
    soft, hard = kd_terms(student, teacher, labels, temperature=7.0)  # the terms come without it
    assert float(soft) == pytest.approx(float(forward_kl(student / 7, teacher / 7)), rel=1e-5)
    whole = kd_loss(student, teacher, labels, alpha=0.3, temperature=7.0)
    assert float(whole) == pytest.approx(0.3 * 49 * float(soft) + 0.7 * float(hard), rel=1e-6)


def test_alpha_weighs_the_soft_term(batch):
    student, teacher, labels = batch
    hard = F.cross_entropy(student.double(), labels).float()
    assert float(kd_loss(student, teacher, labels, alpha=0.0)) == pytest.approx(float(hard), rel=1e-6)
    assert float(kd_loss(student, None, labels, alpha=0.0)) == pytest.approx(float(hard), rel=1e-6)
    pure = kd_loss(student, teacher, labels, alpha=1.0, temperature=2.0)
    assert float(pure) == pytest.approx(4 * float(forward_kl(student / 2, teacher / 2)), rel=1e-5)


def test_the_temperature_does_not_soften_the_hard_term(batch):
    student, teacher, labels = batch
    assert (
        kd_terms(student, teacher, labels, temperature=9.0)[1] == kd_terms(student, teacher, labels, temperature=1.0)[1]
    )


def test_normalising_twice_would_change_nothing(batch):
    """Logits, or log-probabilities: softmax is the same. Probabilities are not logits."""
    student, teacher, labels = batch
    logs = kd_loss(student.double().log_softmax(-1), teacher.double().log_softmax(-1), labels)
    torch.testing.assert_close(logs, kd_loss(student.double(), teacher.double(), labels), rtol=1e-12, atol=0)


def test_student_comes_first(batch):
    student, teacher, labels = batch
    found = float(kd_loss(student, teacher, labels, alpha=1.0, temperature=1.0))
    q, p = student.double().log_softmax(-1), teacher.double().log_softmax(-1)
    assert found == pytest.approx(float(F.kl_div(q, p, log_target=True, reduction="batchmean")), rel=1e-6)
    swapped = float(F.kl_div(p, q, log_target=True, reduction="batchmean"))
    assert found != pytest.approx(swapped, rel=1e-2)
    backward = kd_loss(student, teacher, labels, alpha=1.0, temperature=1.0, divergence=reverse_kl)
    assert float(backward) == pytest.approx(swapped, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_padding_and_length_change_nothing(batch, alpha):
    student, teacher, labels = batch
    loss = functools.partial(kd_loss, alpha=alpha)
    padded = [F.pad(student, (0, 0, 0, 3), value=7.0), F.pad(teacher, (0, 0, 0, 3)), F.pad(labels, (0, 3), value=-100)]
    padded[0][5] = math.nan
    padded[0].requires_grad_()
    value = loss(*padded)
    value.backward()
    torch.testing.assert_close(value, loss(student, teacher, labels))
    assert (padded[0].grad[4:] == 0).all()
    long = loss(*(torch.stack([each] * 6) for each in batch))  # (6, 4, 5): batch, length, classes
    torch.testing.assert_close(long, loss(student, teacher, labels))


def test_unlabelled_rows_count_in_the_soft_term_alone(batch):
    student, teacher, labels = batch
    soft, hard = kd_terms(student, teacher, labels)
    some = labels.clone()
    some[2:] = -1
    soft_some, hard_some = kd_terms(student, teacher, some)
    assert torch.equal(soft_some, soft)
    torch.testing.assert_close(hard_some, F.cross_entropy(student[:2], labels[:2]))
    assert float(hard_some) != float(hard)
    assert float(kd_terms(student, teacher, torch.full((4,), -1))[1]) == 0


def test_a_divergence_may_take_labels(batch):
    student, teacher, labels = batch
    found = kd_loss(student, teacher, labels, alpha=1.0, temperature=2.0, divergence=decoupled_kl)
    torch.testing.assert_close(found, 4 * decoupled_kl(student / 2, teacher / 2, labels))
    milder = functools.partial(decoupled_kl, other_weight=2.0)
    found = kd_loss(student, teacher, labels, alpha=1.0, temperature=1.0, divergence=milder)
    torch.testing.assert_close(found, decoupled_kl(student, teacher, labels, other_weight=2.0))


def test_an_infinite_soft_term_stays_out_of_labels_alone(batch):
    student, teacher, labels = batch
    student[0, 3] = -math.inf  # the teacher gives class 3 a probability
    assert kd_loss(student, teacher, labels, alpha=0.9) == math.inf
    assert kd_loss(student, teacher, labels, alpha=0.0).isfinite()


# --- faults


@pytest.mark.parametrize(
    ("temperature", "builtin", "found"),
    [
        pytest.param(0, ValueError, "got 0", id="f01_zero"),
        pytest.param(-1.5, ValueError, "got -1.5", id="f02_negative"),
        pytest.param(math.nan, ValueError, "got nan", id="f03_nan"),
        pytest.param(math.inf, ValueError, "got inf", id="f03_inf"),
        pytest.param("2.0", TypeError, "got '2.0'", id="f08_text"),
        pytest.param(True, TypeError, "got True", id="f09_bool"),
        pytest.param(None, TypeError, "got None", id="none"),
    ],
)
def test_f01_f02_f03_f08_temperature(batch, temperature, builtin, found):
    refused(lambda: kd_loss(*batch, temperature=temperature), builtin, "temperature", "(0, 1e+06]", found, "softer")


@pytest.mark.parametrize("alpha", [-0.1, 1.5, math.nan])
def test_f05_alpha(batch, alpha):
    refused(lambda: kd_loss(*batch, alpha=alpha), ValueError, "alpha", "[0, 1]", f"got {alpha}", "labels only")


def test_no_teacher(batch):
    student, _, labels = batch
    refused(lambda: kd_loss(student, None, labels, alpha=0.5), ValueError, "alpha is 0.5", "teacher", "alpha=0")


def test_f16_shapes_differ(batch):
    student, teacher, labels = batch
    refused(lambda: kd_loss(student, teacher[:3], labels), ValueError, "(4, 5)", "(3, 5)")
    refused(lambda: kd_loss(student, teacher, labels[:3]), ValueError, "labels (3,)", "(4, 5)", "(4,)")
    refused(lambda: kd_loss(student, teacher, [0, 1, 2, 4]), TypeError, "labels", "tensor", "list")


def test_f18_every_label_ignored(batch):
    student, teacher, _ = batch
    student.requires_grad_()
    with pytest.warns(UserWarning, match="every label is -100"):
        loss = kd_loss(student, teacher, torch.full((4,), -100))
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()


@pytest.mark.parametrize("wrong", [5, -2, 10**9])
def test_f19_a_label_that_is_no_class(batch, wrong):
    student, teacher, labels = batch
    labels[2] = wrong
    refused(lambda: kd_loss(student, teacher, labels), ValueError, f"labels[2] is {wrong}", "5 classes", "-100")


def test_labels_must_be_whole_numbers(batch):
    student, teacher, labels = batch
    refused(lambda: kd_loss(student, teacher, labels.float()), TypeError, "whole numbers", "float32", "teacher_logits")


def test_f20_empty_batch_and_one_class():
    assert float(kd_loss(torch.zeros(0, 5), torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))) == 0
    assert float(kd_loss(torch.ones(2, 1), torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=["f21_nan", "f22_inf"])
def test_f21_f22_the_teacher_is_not_finite(batch, value):
    student, teacher, labels = batch
    teacher[3, 1] = value
    refused(lambda: kd_loss(student, teacher, labels), ValueError, "teacher_logits[3, 1]", str(value))


def test_f26_f27_dtype_and_device(batch):
    student, teacher, labels = batch
    refused(lambda: kd_loss(student.long(), teacher, labels), TypeError, "student_logits", "int64")
    refused(lambda: kd_loss(student, teacher.to("meta"), labels), ValueError, "cpu", "meta")
    refused(lambda: kd_loss(student, teacher, labels.to("meta")), ValueError, "labels", "cpu", "meta")


def test_f28_no_gradient_reaches_the_teacher(batch):
    student, teacher, labels = batch
    kd_loss(student.requires_grad_(), teacher.requires_grad_(), labels).backward()
    assert teacher.grad is None
    assert student.grad.isfinite().all()


def test_the_public_name_is_this_function():
    assert dk.kd_loss is kd_loss


def test_one_position_without_a_batch():
    student, teacher, label = torch.tensor([0.5, 0.0, -1.0]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor(1)
    assert kd_loss(student, teacher, label) == kd_loss(student[None], teacher[None], label[None])
