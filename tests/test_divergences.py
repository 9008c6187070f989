"""Each divergence against its definition, written down a second time in 80-bit floats; and the laws that it obeys."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import distilkit as dk
from distilkit import divergences
from distilkit.divergences import (
    adaptive_skew_kl,
    decoupled_kl,
    entropy,
    forward_kl,
    jsd,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    soft_cross_entropy,
    soften,
    total_variation,
)
from distilkit.errors import BadType, BadValue, DistilkitError
from tests.faults import refused

# --- the definitions: logarithms of probabilities, q the student's, p the teacher's, w a weight, y the labels


def logs_of(logits):
    logits = logits.double().numpy().astype(np.longdouble)
    return logits - np.logaddexp.reduce(logits, -1, keepdims=True)


def kl(a, b):
    with np.errstate(invalid="ignore"):  # -inf − -inf, where a class is ruled out
        return np.where(np.exp(a) > 0, np.exp(a) * (a - b), 0).sum(-1)


def mix(a, b, share):
    return np.logaddexp(a + np.log(np.longdouble(share)), b + np.log1p(-np.longdouble(share)))


def defined_jsd(q, p, w):
    w = np.longdouble(w)
    return w * kl(p, mix(p, q, w)) + (1 - w) * kl(q, mix(p, q, w))


def defined_soft_cross_entropy(q, p):
    with np.errstate(invalid="ignore"):
        return -np.where(np.exp(p) > 0, np.exp(p) * q, 0).sum(-1)


def split(logs, y):
    """log b over (y, not y), and the logs of the distribution over the other classes."""
    others = logs.copy()
    np.put_along_axis(others, y[:, None], -np.inf, -1)
    total = np.logaddexp.reduce(others, -1, keepdims=True)
    return np.concatenate([np.take_along_axis(logs, y[:, None], -1), total], -1), others - total


def defined_decoupled(q, p, y):
    (q_pair, q_other), (p_pair, p_other) = split(q, y), split(p, y)
    return kl(p_pair, q_pair) + 8 * kl(p_other, q_other)


def shares(q, p, w):
    """λ of each position: (1 − λ)·gap as it is at λ = w and the mean gap, λ in [0.01, 0.9]."""
    gap = np.abs(np.exp(p) - np.exp(q)).sum(-1) / 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.clip(np.where(gap > 0, 1 - (1 - np.longdouble(w)) * gap.mean() / gap, 0), 0.01, 0.9)


def defined_adaptive(q, p, w):
    return kl(p, mix(p, q, shares(q, p, min(max(w, 0.01), 0.9))[:, None]))


# name: (the kit's, its definition, by what a rounding error is magnified)
DEFINITIONS = {
    "forward_kl": (lambda s, t, w, y, **k: forward_kl(s, t, **k), lambda q, p, w, y: kl(p, q), 1),
    "reverse_kl": (lambda s, t, w, y, **k: reverse_kl(s, t, **k), lambda q, p, w, y: kl(q, p), 1),
    "jsd": (lambda s, t, w, y, **k: jsd(s, t, beta=w, **k), lambda q, p, w, y: defined_jsd(q, p, w), 1),
    "jsd_rescaled": (
        lambda s, t, w, y, **k: jsd(s, t, beta=w, rescaled=True, **k),
        lambda q, p, w, y: defined_jsd(q, p, w) / (np.longdouble(w) * (1 - np.longdouble(w))),
        100,  # 1 / (β·(1 − β)) for β in [0.01, 0.99]
    ),
    "skew_forward_kl": (
        lambda s, t, w, y, **k: skew_forward_kl(s, t, skew=w, **k),
        lambda q, p, w, y: kl(p, mix(p, q, w)),
        1,
    ),
    "skew_reverse_kl": (
        lambda s, t, w, y, **k: skew_reverse_kl(s, t, skew=w, **k),
        lambda q, p, w, y: kl(q, mix(q, p, w)),
        1,
    ),
    "adaptive_skew_kl": (
        lambda s, t, w, y, **k: adaptive_skew_kl(s, t, skew=min(max(w, 0.01), 0.9), **k),
        lambda q, p, w, y: defined_adaptive(q, p, w),
        10,  # 1 − λ is rounded as gap / mean gap is
    ),
    "total_variation": (
        lambda s, t, w, y, **k: total_variation(s, t, **k),
        lambda q, p, w, y: np.abs(np.exp(p) - np.exp(q)).sum(-1) / 2,
        1,
    ),
    "soft_cross_entropy": (
        lambda s, t, w, y, **k: soft_cross_entropy(s, t, **k),
        lambda q, p, w, y: defined_soft_cross_entropy(q, p),
        1,
    ),
    "decoupled_kl": (
        lambda s, t, w, y, **k: decoupled_kl(s, t, y, **k),
        lambda q, p, w, y: defined_decoupled(q, p, y),
        9,
    ),
}
KL_LIKE = [name for name in DEFINITIONS if name != "soft_cross_entropy"]
# The kit computes in float64 whatever the logits come in, so that halves keep what float32 keeps: far within 2e-2.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-5, torch.float16: 1e-5}

cases = given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(2, 12),
    scale=st.sampled_from([1e-3, 1.0, 10.0, 1e3, 1e4]),
    apart=st.sampled_from([1.0, 1e-3, 1e-8]),
    ruled_out=st.booleans(),
    weight=st.floats(0.01, 0.99),
)


def batch(seed, classes, scale=3.0, apart=1.0, ruled_out=False, rows=3):
    """Logits of a student and a teacher `apart` from each other, with classes ruled out on both sides, and labels."""
    draw = np.random.default_rng(seed)
    teacher = scale * draw.standard_normal((rows, classes))
    student = teacher + apart * scale * draw.standard_normal((rows, classes))
    if ruled_out:
        out = draw.random((rows, classes)) < 0.3
        out[:, :2] = False
        teacher[out] = student[out] = -np.inf
    return torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(draw.integers(0, classes, rows))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@cases
def test_equals_its_definition(dtype, seed, classes, scale, apart, ruled_out, weight):
    student, teacher, labels = batch(seed, classes, scale, apart, ruled_out)
    student, teacher = student.to(dtype), teacher.to(dtype)
    q, p = logs_of(student), logs_of(teacher)
    # A log-probability of size L carries a rounding error of about ε·L, and near the identity the terms
    # p·(log p − log q) cancel down to that error: no relative bound can hold there, so this absolute one is
    # granted as well.
    largest = max(float(np.abs(each[np.isfinite(each)]).max()) for each in (q, p))
    for name, (kit, definition, magnified) in DEFINITIONS.items():
        expected = definition(q, p, weight, labels.numpy())
        found = kit(student, teacher, weight, labels, reduction="none")
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        error = np.abs(found.numpy().astype(np.longdouble) - expected)
        floor = 16 * 2**-52 * (1 + largest) * magnified
        assert (error <= TOLERANCE[dtype] * np.abs(expected) + floor).all(), (name, found, expected)
        mean = kit(student, teacher, weight, labels)
        assert float(mean) == pytest.approx(float(found.double().mean()), rel=1e-6, abs=1e-40), name


@cases
def test_forward_kl_has_the_gradient_q_minus_p(seed, classes, scale, apart, ruled_out, weight):
    student, teacher, _ = batch(seed, classes, scale, apart, ruled_out)
    forward_kl(student.requires_grad_(), teacher).backward()
    expected = (np.exp(logs_of(student.detach())) - np.exp(logs_of(teacher))) / len(student)
    np.testing.assert_allclose(student.grad.numpy(), expected.astype(float), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [name for name in DEFINITIONS if name != "adaptive_skew_kl"])
def test_gradcheck_and_gradgradcheck(name):
    student, teacher, labels = batch(0, 5, 1.0)
    labels = torch.tensor([0, 4, 2])

    def loss(logits):
        return DEFINITIONS[name][0](logits, teacher, 0.3, labels)

    assert torch.autograd.gradcheck(loss, student.requires_grad_())
    assert torch.autograd.gradgradcheck(loss, student)


@cases
def test_laws(seed, classes, scale, apart, ruled_out, weight):
    student, teacher, labels = batch(seed, classes, scale, apart, ruled_out)
    for name in KL_LIKE:
        kit = DEFINITIONS[name][0]
        assert (kit(student, teacher, weight, labels, reduction="none") >= 0).all(), name
        assert (kit(teacher, teacher, weight, labels, reduction="none") == 0).all(), name
    assert torch.equal(soft_cross_entropy(teacher, teacher, reduction="none"), entropy(teacher))
    assert torch.equal(total_variation(student, teacher), total_variation(teacher, student))
    torch.testing.assert_close(jsd(student, teacher), jsd(teacher, student), rtol=1e-12, atol=1e-12)
    little = 1e-12
    bound = -(weight * math.log(weight) + (1 - weight) * math.log1p(-weight))
    assert (jsd(student, teacher, beta=weight, reduction="none") <= bound + little).all()
    for skewed in (skew_forward_kl, skew_reverse_kl):
        assert (skewed(student, teacher, skew=weight, reduction="none") <= -math.log(weight) + little).all()
    assert (total_variation(student, teacher, reduction="none") <= 1 + little).all()


@cases
def test_dkd_identity(seed, classes, scale, apart, ruled_out, weight):
    """KL = TCKD + (1 − p[y])·NCKD, row by row."""
    student, teacher, labels = batch(seed, classes, min(scale, 10.0), apart, ruled_out)

    def part(a, b):
        return decoupled_kl(student, teacher, labels, target_weight=a, other_weight=b, reduction="none")

    rest = 1 - soften(teacher).gather(-1, labels[:, None]).squeeze(-1)
    whole = forward_kl(student, teacher, reduction="none")
    torch.testing.assert_close(part(1, 0) + rest * part(0, 1), whole, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("temperature", [1e3, 1e4])
def test_f04_very_soft_is_half_the_mse_of_centred_logits(temperature, dtype):
    """T²·KL → ½·Σ(centred difference)² / C; a loss in float32 is 117 % off at T = 1e4."""
    student, teacher, _ = (each.to(dtype) for each in batch(0, 10, 3.0))
    gap = (student - teacher).double()
    gap = gap - gap.mean(-1, keepdim=True)
    limit = float((gap**2).sum(-1).mean() / (2 * 10))
    found = dk.kd_loss(student, teacher, torch.zeros(3, dtype=torch.long), alpha=1.0, temperature=temperature)
    assert float(found) == pytest.approx(limit, rel=10 / temperature)
    uncentred = float(((student - teacher + 1.0).double() ** 2).sum(-1).mean() / (2 * 10))
    assert float(found) != pytest.approx(uncentred, rel=0.1)


def test_very_sharp_teacher_is_hard_labels():
    """T → 0 on the teacher alone, its argmax unique: cross-entropy with its answers."""
    student, teacher, _ = batch(1, 10, 3.0)
    hard = torch.nn.functional.cross_entropy(student, teacher.argmax(-1))
    torch.testing.assert_close(forward_kl(student, teacher / 1e-4), hard)
    torch.testing.assert_close(soft_cross_entropy(student, teacher / 1e-4), hard)


def test_f06_jsd_takes_its_exact_limits():
    student, teacher, _ = batch(2, 7)
    assert torch.equal(jsd(student, teacher, beta=0, rescaled=True), forward_kl(student, teacher))
    assert torch.equal(jsd(student, teacher, beta=1, rescaled=True), reverse_kl(student, teacher))
    assert float(jsd(student, teacher, beta=0)) == float(jsd(student, teacher, beta=1)) == 0
    for beta, limit in ((1e-6, forward_kl), (1 - 1e-6, reverse_kl)):  # and there is no jump on the way
        torch.testing.assert_close(
            jsd(student, teacher, beta=beta, rescaled=True), limit(student, teacher), rtol=1e-4, atol=0
        )
    for beta in (-0.1, 1.1, math.nan):
        refused(lambda beta=beta: jsd(student, teacher, beta=beta), ValueError, "beta", "[0, 1]")


def test_skew_takes_its_exact_limits():
    student, teacher, _ = batch(3, 7)
    assert torch.equal(skew_forward_kl(student, teacher, skew=0), forward_kl(student, teacher))
    assert torch.equal(skew_reverse_kl(student, teacher, skew=0), reverse_kl(student, teacher))
    assert float(skew_forward_kl(student, teacher, skew=1)) == float(skew_reverse_kl(student, teacher, skew=1)) == 0
    refused(lambda: skew_forward_kl(student, teacher, skew=2), ValueError, "skew", "2", "[0, 1]")


def test_adaptive_skew_holds_its_shares_fixed_in_the_gradient():
    """The gradient is that of skew forward KL with each position's λ as a number; λ is `skew` at the mean gap."""
    student, teacher, _ = batch(11, 6, rows=5)
    teacher[0] = student[0] + 0.05 * teacher[0]  # one near, one far
    student[1, 0] += 9
    each = shares(logs_of(student), logs_of(teacher), 0.3)
    assert each[0] == 0.01
    assert each[1] > 0.3
    one, two = student.clone().requires_grad_(), student.clone().requires_grad_()
    adaptive_skew_kl(one, teacher, skew=0.3).backward()
    sum(skew_forward_kl(q, p, skew=float(share)) for q, p, share in zip(two, teacher, each, strict=True)).backward()
    torch.testing.assert_close(one.grad, two.grad / 5, rtol=1e-11, atol=1e-15)
    alike = [rows[2:3].expand(4, 6) for rows in (student, teacher)]
    torch.testing.assert_close(adaptive_skew_kl(*alike, skew=0.3), skew_forward_kl(*alike, skew=0.3))
    for skew in (0.0, 0.95):
        refused(lambda skew=skew: adaptive_skew_kl(student, teacher, skew=skew), ValueError, "skew", "[0.01, 0.9]")
    refused(lambda: adaptive_skew_kl([[0.0]], teacher), TypeError, "student_logits", "list")


# --- what others got wrong


def test_sums_over_classes_and_averages_over_positions():
    """`reduction="mean"` divides by the classes as well; `batchmean` on (B, L, V) grows with L."""
    student, teacher, _ = batch(4, 10, rows=6)
    one = forward_kl(student[0], teacher[0])
    assert float(one) == pytest.approx(float(kl(logs_of(teacher[0]), logs_of(student[0]))))
    torch.testing.assert_close(forward_kl(student[:1].expand(50, 10), teacher[:1].expand(50, 10)), one)
    long = [each[:1].expand(2, 40, 10) for each in (student, teacher)]
    torch.testing.assert_close(forward_kl(*long), one)
    assert float(forward_kl(student.view(2, 3, 10), teacher.view(2, 3, 10))) == float(forward_kl(student, teacher))


def test_student_comes_first():
    student, teacher = torch.log(torch.tensor([0.5, 0.5])).double(), torch.log(torch.tensor([0.9, 0.1])).double()
    expected = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert float(forward_kl(student, teacher)) == pytest.approx(expected, rel=1e-6)
    assert float(reverse_kl(teacher, student)) == pytest.approx(expected, rel=1e-6)
    assert float(forward_kl(teacher, student)) != pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_padding_changes_nothing(name):
    """Neither the value nor the gradient, whatever lies in the padding, nan included."""
    kit = DEFINITIONS[name][0]
    student, teacher, labels = batch(5, 6, rows=8)
    kept = torch.tensor([True] * 5 + [False] * 3)
    alone = student[:5].clone().requires_grad_()
    kit(alone, teacher[:5], 0.3, labels[:5]).backward()
    student[6], teacher[7] = math.nan, -math.inf
    student.requires_grad_()
    value = kit(student, teacher, 0.3, labels, mask=kept)
    value.backward()
    torch.testing.assert_close(value, kit(alone, teacher[:5], 0.3, labels[:5]), rtol=1e-14, atol=0)
    torch.testing.assert_close(student.grad[:5], alone.grad, rtol=1e-13, atol=1e-16)
    assert (student.grad[5:] == 0).all()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_mask_that_keeps_nothing_gives_zero(name):
    student, teacher, labels = batch(6, 4)
    value = DEFINITIONS[name][0](student.requires_grad_(), teacher, 0.3, labels, mask=torch.zeros(3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()


# --- tensors at fault


@pytest.fixture
def pair():
    student, teacher, _ = batch(7, 5, rows=2)
    return student.float(), teacher.float()


def test_f16_shapes_differ(pair):
    student, teacher = pair
    refused(lambda: forward_kl(student, teacher[:1]), ValueError, "(2, 5)", "(1, 5)", "same shape")


def test_f17_vocabularies_differ(pair):
    student, teacher = pair
    refused(lambda: forward_kl(student, teacher[:, :4]), ValueError, "5 classes", "have 4", "tokenizer")


@pytest.mark.parametrize("name", DEFINITIONS)
def test_f20_empty_batch_and_one_class(name):
    kit = DEFINITIONS[name][0]
    empty = torch.zeros(0, 5, requires_grad=True)
    value = kit(empty, torch.zeros(0, 5), 0.3, torch.zeros(0, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    single = torch.tensor([[3.0], [4.0]], requires_grad=True)
    value = kit(single, torch.ones(2, 1), 0.3, torch.zeros(2, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert (single.grad == 0).all()
    refused(lambda: forward_kl(torch.zeros(3, 0), torch.zeros(3, 0)), ValueError, "(..., classes)", "(3, 0)")


@pytest.mark.parametrize("name", DEFINITIONS)
def test_f21_nan_in_the_teacher(pair, name):
    student, teacher = pair
    teacher[1, 3] = math.nan

    def act():
        return DEFINITIONS[name][0](student, teacher, 0.3, torch.tensor([0, 1]))

    refused(act, ValueError, "teacher_logits[1, 3]", "nan", "finite")


@pytest.mark.parametrize("name", DEFINITIONS)
def test_f22_plus_inf(pair, name):
    student, teacher = pair
    student[0, 2] = math.inf

    def act():
        return DEFINITIONS[name][0](student, teacher, 0.3, torch.tensor([0, 1]))

    refused(act, ValueError, "student_logits[0, 2]", "inf", "finite")


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("label", [0, 2])
def test_f23_a_shared_mask_is_as_if_the_class_were_not_there(name, label):
    kit = DEFINITIONS[name][0]
    student, teacher, _ = batch(8, 6)
    labels = torch.full((3,), label)
    fewer = student[:, :4].clone().requires_grad_()
    expected = kit(fewer, teacher[:, :4], 0.3, labels)
    expected.backward()
    student[:, 4:] = teacher[:, 4:] = -math.inf
    value = kit(student.requires_grad_(), teacher, 0.3, labels)
    value.backward()
    torch.testing.assert_close(value, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(student.grad[:, :4], fewer.grad, rtol=1e-12, atol=1e-16)
    assert (student.grad[:, 4:] == 0).all()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_only_one_class_is_left(name):
    """All other classes ruled out on both sides: nothing to learn, and no nan."""
    student = torch.tensor([[1.0, -math.inf, -math.inf]], requires_grad=True)
    teacher = torch.tensor([[2.0, -math.inf, -math.inf]])
    for label in (0, 1):
        value = DEFINITIONS[name][0](student, teacher, 0.3, torch.tensor([label]))
        student.grad = None
        value.backward()
        assert value.item() == 0
        assert (student.grad == 0).all()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_f24_a_row_without_any_class_counts_as_masked(name):
    kit = DEFINITIONS[name][0]
    student, teacher, labels = batch(9, 5)
    expected = kit(student[:2], teacher[:2], 0.3, labels[:2])
    student[2] = teacher[2] = -math.inf
    value = kit(student.requires_grad_(), teacher, 0.3, labels)
    value.backward()
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)
    assert student.grad.isfinite().all()
    assert (student.grad[2] == 0).all()
    nothing = torch.full((2, 4), -math.inf, requires_grad=True)
    value = kit(nothing, nothing, 0.3, torch.tensor([0, 1]))
    value.backward()
    assert value.item() == 0
    assert (nothing.grad == 0).all()


def test_f24_a_row_without_any_class_on_one_side_alone(pair):
    student, teacher = pair
    student[1] = -math.inf
    refused(lambda: forward_kl(student, teacher), ValueError, "student_logits[1]", "-inf for every class", "mask")


def test_ruled_out_on_one_side(pair):
    """A probability of 0 if it is the teacher's side; if the student's, forward KL is infinite, the bounded are not."""
    student, teacher = pair
    teacher[0, 1] = -math.inf
    assert math.isfinite(forward_kl(student, teacher))
    assert reverse_kl(student, teacher) == math.inf
    student, teacher = teacher, student
    assert forward_kl(student, teacher) == math.inf
    for bounded in (reverse_kl, jsd, skew_forward_kl, skew_reverse_kl, adaptive_skew_kl, total_variation):
        leaf = student.clone().requires_grad_()
        value = bounded(leaf, teacher)
        value.backward()
        assert value.isfinite(), bounded
        assert leaf.grad.isfinite().all(), bounded


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize(
    ("size", "dtype"), [(1e4, "float32"), (1e4, "bfloat16"), (1e30, "float32"), (65504, "float16")]
)
def test_f25_huge_logits_give_finite_values_and_gradients(name, size, dtype):
    dtype = getattr(torch, dtype)
    student = torch.tensor([[size, 0, -size], [-size, size, size], [0, 0, 0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-size, size, 0], [-size, -size, size], [size, 0, 1]], dtype=dtype)
    value = DEFINITIONS[name][0](student, teacher, 0.3, torch.tensor([0, 1, 2]))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_f26_integer_logits(pair):
    _, teacher = pair
    refused(
        lambda: forward_kl(torch.zeros(2, 5, dtype=torch.long), teacher),
        TypeError,
        "student_logits",
        "int64",
        ".float()",
    )
    refused(lambda: forward_kl([[0.0, 1.0]], teacher), TypeError, "student_logits", "list")


def test_f27_mixed_devices(pair):
    student, teacher = pair
    refused(lambda: forward_kl(student, teacher.to("meta")), ValueError, "cpu", "meta", ".to('cpu')")


@pytest.mark.parametrize("name", DEFINITIONS)
def test_f28_no_gradient_reaches_the_teacher(pair, name):
    student, teacher = (each.requires_grad_() for each in pair)
    DEFINITIONS[name][0](student, teacher, 0.3, torch.tensor([0, 1])).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_f29_a_bfloat16_teacher_is_widened(pair):
    student, teacher = pair
    half = teacher.bfloat16()
    assert torch.equal(forward_kl(student, half), forward_kl(student, half.float()))
    assert forward_kl(student, half).dtype == torch.float32
    assert forward_kl(student.double(), half).dtype == torch.float64


def test_f30_expanded_and_read_only_memory(pair):
    student, teacher = pair
    frozen = teacher.numpy().copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings(action="ignore"):  # torch's, at the door
        read_only = torch.from_numpy(frozen)
    for name, (kit, _, _) in DEFINITIONS.items():
        labels = torch.tensor([0, 1])
        assert torch.equal(kit(student, read_only, 0.3, labels), kit(student, teacher, 0.3, labels)), name
        expanded = kit(student, teacher[:1].expand(2, 5), 0.3, labels)
        assert torch.equal(expanded, kit(student, teacher[:1].repeat(2, 1), 0.3, labels)), name
    assert np.array_equal(frozen, teacher.numpy())


def test_mask_and_reduction_are_checked(pair):
    student, teacher = pair
    for mask in (torch.ones(2, 5, dtype=torch.bool), torch.ones(2), torch.ones(1, dtype=torch.bool), [True, False]):
        refused(lambda mask=mask: forward_kl(student, teacher, mask=mask), DistilkitError, "mask", "bool", "(2,)")

        def act(mask=mask):
            return decoupled_kl(student, teacher, torch.tensor([0, 1]), mask=mask)

        refused(act, DistilkitError, "mask", "bool", "(2,)")
    refused(lambda: forward_kl(student, teacher, reduction="batchmean"), ValueError, "'batchmean'", "'mean'")


def test_decoupled_labels_and_weights_are_checked(pair):
    student, teacher = pair
    refused(lambda: decoupled_kl(student, teacher, torch.tensor([0, 5])), ValueError, "labels[1] is 5", "5 classes")
    refused(
        lambda: decoupled_kl(student, teacher, torch.tensor([0, 1]), other_weight=-1), ValueError, "other_weight", "-1"
    )
    refused(lambda: decoupled_kl([[0.0]], teacher, torch.tensor([0, 1])), TypeError, "student_logits", "list")
    unlabelled = decoupled_kl(student, teacher, torch.tensor([2, -1]))
    assert torch.equal(unlabelled, decoupled_kl(student[:1], teacher[:1], torch.tensor([2])))


def test_entropy_and_soften():
    logits = batch(10, 6)[0]
    logits[0, 3] = -math.inf
    from scipy import special, stats

    for temperature in (0.5, 1.0, 20.0):
        expected = special.softmax(logits.numpy() / temperature, -1)
        np.testing.assert_allclose(soften(logits, temperature).numpy(), expected, rtol=1e-13)
        np.testing.assert_allclose(
            entropy(logits, temperature=temperature).numpy(), stats.entropy(expected, axis=-1), rtol=1e-12
        )
    for bad, builtin in ((0, BadValue), (-1, BadValue), (math.nan, BadValue), ("2.0", BadType)):
        refused(lambda bad=bad: soften(logits, bad), builtin, "temperature")


# --- what tests above would let pass: other shapes, the bounds, the names in the messages


def defined_weighted(q, p, by, counts):
    """Σ w·KL(p ‖ q) / Σ w over the rows that count, w written down once more."""
    with np.errstate(invalid="ignore"):
        doubt = -np.where(np.exp(p) > 0, np.exp(p) * p, 0).sum(-1) / np.log(p.shape[-1])
    gap = np.abs(np.exp(p) - np.exp(q)).sum(-1) / 2
    weight = {"confidence": 1 - doubt, "doubt": doubt, "error": gap}[by] * counts
    return weight * counts.sum() / weight.sum() * kl(p, q)


def defined_adaptive_kl(q, p, head):
    """w·KL(p ‖ q) + (1−w)·KL(q ‖ p), class by class down the teacher's list."""
    values = []
    for log_q, log_p in zip(q, p, strict=True):
        gaps, before, inside = np.abs(np.exp(log_p) - np.exp(log_q)), 0.0, 0.0
        for place in np.argsort(-log_p, kind="stable"):
            inside += gaps[place] if before < head else 0
            before += np.exp(log_p[place])
        share = inside / gaps.sum()
        values.append(share * kl(log_p, log_q) + (1 - share) * kl(log_q, log_p))
    return np.array(values)


EVERY = {
    **{name: kit for name, (kit, _, _) in DEFINITIONS.items()},
    "adaptive_kl": lambda s, t, w, y, **k: dk.adaptive_kl(s, t, head=w, **k),
    "weighted": lambda s, t, w, y, **k: dk.weighted(s, t, **k),
    "by doubt": lambda s, t, w, y, **k: dk.weighted(s, t, by="doubt", **k),
    "by error": lambda s, t, w, y, **k: dk.weighted(s, t, by="error", divergence=reverse_kl, **k),
}
KEPT = torch.tensor([[True, False, True], [True, True, True]])


@pytest.mark.parametrize("name", EVERY)
def test_texts_are_rows(name):
    """(batch, time, classes) is the same rows as (rows, classes): masked, ruled out, without any class."""
    student, teacher, labels = batch(12, 5, rows=6)
    student[0, 4] = teacher[0, 4] = -math.inf
    student[3] = teacher[3] = -math.inf
    labels = labels % 4
    student[1] = math.nan  # under the mask
    flat = [student, teacher, 0.3, labels]
    deep = [student.view(2, 3, 5), teacher.view(2, 3, 5), 0.3, labels.view(2, 3)]
    rows = EVERY[name](*flat, mask=KEPT.flatten(), reduction="none")
    assert rows.isfinite().all()
    assert rows[1] == rows[3] == 0
    assert (rows[[0, 2, 4, 5]] > 0).all()
    torch.testing.assert_close(EVERY[name](*deep, mask=KEPT, reduction="none"), rows.view(2, 3), rtol=1e-13, atol=0)
    for each, mask in ((flat, KEPT.flatten()), (deep, KEPT)):
        torch.testing.assert_close(EVERY[name](*each, mask=mask), rows.sum() / 4, rtol=1e-13, atol=0)
    one = torch.zeros(6, dtype=torch.bool)
    one[4] = True
    alone = EVERY[name](student[4:5], teacher[4:5], 0.3, labels[4:5])
    torch.testing.assert_close(EVERY[name](*flat, mask=one), alone, rtol=1e-13, atol=0)
    student[1] = 0
    kept = KEPT.flatten() | True
    torch.testing.assert_close(EVERY[name](*flat), EVERY[name](*flat, mask=kept), rtol=1e-13, atol=0)


@pytest.mark.parametrize("by", ["confidence", "doubt", "error"])
def test_weighted_is_its_definition(by):
    student, teacher, _ = batch(13, 6, rows=5)
    counts = np.array([1, 1, 0, 1, 1])
    q, p = logs_of(student), logs_of(teacher)
    given = {"by": by, "mask": torch.from_numpy(counts == 1)}
    leaf = student.clone().requires_grad_()
    found = dk.weighted(leaf, teacher.requires_grad_(), reduction="none", **given)
    expected = defined_weighted(q, p, by, counts)
    np.testing.assert_allclose(found.detach().numpy(), expected.astype(float), rtol=1e-11)
    mean = dk.weighted(leaf, teacher, **given)
    assert float(mean.detach()) == pytest.approx(float(expected.sum() / 4), rel=1e-11)
    mean.backward()  # the weights are numbers
    weights = torch.from_numpy((expected / np.where(counts, kl(p, q), 1)).astype(float))
    other = student.clone().requires_grad_()
    ((weights * forward_kl(other, teacher.detach(), reduction="none")).sum() / 4).backward()
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-10, atol=1e-14)
    assert teacher.grad is None
    for logits in (teacher.detach(), torch.zeros(2, 4, dtype=torch.float64)):  # no weight anywhere: all count alike
        sure = 1e4 * logits
        assert float(dk.weighted(sure, sure, by=by)) == 0
    even = dk.weighted(torch.zeros(2, 3), torch.tensor([[1e4, 0, 0], [0, 1e4, 0]]), by="doubt")
    assert float(even) == pytest.approx(math.log(3), rel=1e-6)
    single = dk.weighted(torch.ones(2, 1), torch.zeros(2, 1), by=by)
    assert float(single) == 0
    refused(lambda: dk.weighted(student, teacher.detach(), by="size"), ValueError, "by", "'size'", "'confidence'")
    refused(lambda: dk.weighted([[0.0]], teacher.detach()), TypeError, "student_logits", "list")


@pytest.mark.parametrize("head", [0.1, 0.5, 0.8, 1.0])
def test_adaptive_kl_is_its_definition(head):
    student, teacher, _ = batch(14, 7, rows=6)
    expected = defined_adaptive_kl(logs_of(student), logs_of(teacher), head)
    found = dk.adaptive_kl(student, teacher, head=head, reduction="none")
    np.testing.assert_allclose(found.numpy(), expected.astype(float), rtol=1e-11)
    if head == 1:
        assert torch.equal(found, forward_kl(student, teacher, reduction="none"))
    leaf, other = student.clone().requires_grad_(), student.clone().requires_grad_()
    dk.adaptive_kl(leaf, teacher, head=head).backward()  # the share is a number
    forward, reverse = (f(other, teacher, reduction="none") for f in (forward_kl, reverse_kl))
    share = ((found - reverse) / (forward - reverse)).detach()
    (share * forward + (1 - share) * reverse).mean().backward()
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-8, atol=1e-12)
    for wrong in (0, -0.1, 1.1):
        refused(
            lambda wrong=wrong: dk.adaptive_kl(student, teacher, head=wrong), ValueError, "head", "(0, 1]", str(wrong)
        )
    teacher[0, 1] = -math.inf  # the student gives it probability: reverse KL is infinite, forward KL is not
    assert dk.adaptive_kl(student, teacher, head=1.0).isfinite()


def test_defaults_are_the_ones_written_down():
    student, teacher, labels = batch(15, 6)
    for short, long in (
        (jsd(student, teacher), jsd(student, teacher, beta=0.5, rescaled=False)),
        (skew_forward_kl(student, teacher), skew_forward_kl(student, teacher, skew=0.1)),
        (skew_reverse_kl(student, teacher), skew_reverse_kl(student, teacher, skew=0.1)),
        (adaptive_skew_kl(student, teacher), adaptive_skew_kl(student, teacher, skew=0.1)),
        (dk.adaptive_kl(student, teacher), dk.adaptive_kl(student, teacher, head=0.5)),
        (entropy(student), entropy(student, temperature=1.0)),
        (soften(student), soften(student, 1.0)),
        (
            decoupled_kl(student, teacher, labels),
            decoupled_kl(student, teacher, labels, target_weight=1.0, other_weight=8.0),
        ),
    ):
        assert torch.equal(short, long)


def test_the_result_is_as_fine_as_the_finer_side():
    student, teacher, labels = batch(16, 4)
    for name, kit in EVERY.items():
        for one, two in ((student, teacher.float()), (student.float(), teacher)):
            assert kit(one, two, 0.3, labels).dtype == torch.float64, name
        assert kit(student.half(), teacher.float(), 0.3, labels).dtype == torch.float32, name
    assert soften(student).dtype == entropy(student).dtype == torch.float64
    assert soften(student.half()).dtype == entropy(student.bfloat16()).dtype == torch.float32
    fine = entropy(student.bfloat16().double())
    torch.testing.assert_close(entropy(student.bfloat16()), fine.float(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("bound", [0, 1])
def test_bounds_are_inside(bound):
    student, teacher, _ = batch(17, 4)
    for kit, name in ((jsd, "beta"), (skew_forward_kl, "skew"), (skew_reverse_kl, "skew")):
        assert kit(student, teacher, **{name: bound}).isfinite()
        beyond = {name: [-1e-9, 1 + 1e-9][bound]}
        refused(lambda kit=kit, beyond=beyond: kit(student, teacher, **beyond), ValueError, name, "[0, 1]")
    assert adaptive_skew_kl(student, teacher, skew=(0.01, 0.9)[bound]).isfinite()


def test_decoupled_weights_and_gradient():
    student, teacher, labels = batch(18, 5, rows=4)
    for name in ("target_weight", "other_weight"):
        refused(lambda name=name: decoupled_kl(student, teacher, labels, **{name: -0.1}), ValueError, name, "-0.1")
        assert float(decoupled_kl(student, teacher, labels, **{name: 0})) > 0
    with_gradient = teacher.clone().requires_grad_()
    decoupled_kl(student.requires_grad_(), with_gradient, labels).backward()
    assert with_gradient.grad is None
    refused(lambda: decoupled_kl(student.detach(), teacher, labels.tolist()), TypeError, "labels", "list")
    ignored = torch.tensor([2, -100, -1, 0])
    kept = decoupled_kl(student.detach()[[0, 3]], teacher[[0, 3]], torch.tensor([2, 0]))
    torch.testing.assert_close(decoupled_kl(student.detach(), teacher, ignored), kept, rtol=1e-13, atol=0)


def test_what_is_no_logits_is_named(pair):
    student, teacher = pair
    for wrong, *words in (
        (torch.tensor(1.0), "(..., classes)", "()"),
        (torch.zeros(2, 0), "(..., classes)", "(2, 0)"),
        (torch.ones(2, 5, dtype=torch.int64), "floating-point", "int64"),
        ([[0.0]], "floating-point", "list"),
        (None, "floating-point", "NoneType"),
    ):
        refused(lambda wrong=wrong: forward_kl(wrong, teacher), DistilkitError, "student_logits", *words)
        refused(lambda wrong=wrong: forward_kl(student, wrong), DistilkitError, "teacher_logits", *words)
        for one in (soften, entropy):
            refused(lambda one=one, wrong=wrong: one(wrong), DistilkitError, "logits", *words)
        refused(
            lambda wrong=wrong: decoupled_kl(wrong, teacher, torch.tensor([0, 1])), DistilkitError, "student_logits"
        )


def test_labels_are_checked_one_by_one(pair):
    student, teacher = pair
    for labels, builtin, *words in (
        (torch.tensor([0.0, 1.0]), TypeError, "float32"),
        (torch.tensor([True, False]), TypeError, "torch.bool"),
        (torch.tensor([0j, 1j]), TypeError, "complex64"),
        (torch.tensor([0]), ValueError, "(1,)", "(2, 5)", "(2,)"),
        (torch.tensor([4, 5]), ValueError, "labels[1] is 5", "0 to 4"),
        (torch.tensor([-2, 0]), ValueError, "labels[0] is -2", "-1 marks", "-100"),
        (torch.tensor([-99, 0]), ValueError, "labels[0] is -99"),
    ):
        refused(lambda labels=labels: decoupled_kl(student, teacher, labels), builtin, "labels", *words)
    assert divergences.check_labels(torch.tensor([0, 4]), student)
    assert divergences.check_labels(torch.zeros(0, dtype=torch.long), torch.zeros(0, 5))
    assert not divergences.check_labels(torch.tensor([0, -1]), student)
    assert not divergences.check_labels(torch.tensor([-100, 4]), student)


def test_the_place_of_what_is_wrong_is_named():
    """Also where a text has rows that do not count, before it and behind it."""
    student, teacher, _ = (each.view(2, 3, 4) if each.ndim == 2 else each for each in batch(19, 4, rows=6))
    student[0, 0] = teacher[0, 0] = -math.inf
    mask = torch.tensor([[True, True, False], [True, True, True]])
    for value, said in ((math.nan, "nan"), (math.inf, "inf")):
        for side, name in ((student, "student_logits"), (teacher, "teacher_logits")):
            before = side[1, 1, 2].item()
            side[1, 1, 2] = value
            refused(lambda: forward_kl(student, teacher), ValueError, f"{name}[1, 1, 2] is {said}")
            refused(lambda: forward_kl(student, teacher, mask=mask), ValueError, f"{name}[1, 1, 2] is {said}")
            side[1, 1, 2] = before
            side[0, 2, 1], kept = value, side[0, 2, 1].item()
            assert forward_kl(student, teacher, mask=mask).isfinite()
            side[0, 2, 1] = kept
    for side, name in ((student, "student_logits"), (teacher, "teacher_logits")):
        before = side[1, 0].clone()
        side[1, 0] = -math.inf
        refused(lambda: jsd(student, teacher), ValueError, f"{name}[1, 0] is -inf for every class")
        side[1, 0] = before


def test_both_sides_of_a_pair_on_one_device(pair):
    student, teacher = pair
    refused(lambda: forward_kl(student, teacher.to("meta")), ValueError, "cpu", "meta", ".to('cpu')")
    refused(
        lambda: decoupled_kl(student, teacher, torch.tensor([0, 1]).to("meta")), ValueError, "labels", "meta", "cpu"
    )
    for one in (total_variation, soft_cross_entropy, dk.weighted, adaptive_skew_kl):
        refused(lambda one=one: one(student, teacher[:, :4]), ValueError, "5 classes", "tokenizer")
        refused(lambda one=one: one(student, teacher, reduction="sum"), ValueError, "reduction", "'sum'")
        refused(lambda one=one: one(student, teacher, mask=torch.ones(3, dtype=torch.bool)), ValueError, "mask", "(2,)")


def test_an_infinite_part_of_no_weight_stays_out_of_adaptive_kl():
    """All the gap lies in the tail, where forward KL is infinite; or all in the head, where reverse KL is."""
    teacher = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64).log()
    student = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64).log()
    assert forward_kl(student, teacher) == math.inf
    assert dk.adaptive_kl(student, teacher, head=0.5) == reverse_kl(student, teacher)
    assert dk.adaptive_kl(teacher, student, head=1.0) == forward_kl(teacher, student)
    assert reverse_kl(teacher, student) == math.inf
