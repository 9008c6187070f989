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


# --- what tests above would let pass


def test_defaults_are_the_ones_written_down(batch):
    student, teacher, labels = batch
    written = {"alpha": 0.9, "temperature": 4.0, "divergence": forward_kl}
    assert kd_loss(student, teacher, labels) == kd_loss(student, teacher, labels, **written)
    assert kd_terms(student, teacher, labels) == kd_terms(student, teacher, labels, temperature=4.0)
    draw = torch.Generator().manual_seed(1)
    logits = [torch.randn(1, 4, 5, generator=draw, requires_grad=True) for _ in range(2)]
    tokens = torch.tensor([[1, 2, 3, 0]])
    short, long = (
        dk.sampled_reverse_kl(*logits, tokens, **more) for more in ({}, {"single_step": True, "normalised": True})
    )
    assert short == long


def test_a_term_of_weight_0_may_be_infinite(batch):
    student, teacher, labels = batch
    student[0, 0] = teacher[0, 0] = -math.inf  # the label's class, ruled out: no cross-entropy is finite
    assert kd_loss(student, teacher, labels, alpha=1.0).isfinite()
    assert kd_loss(student, teacher, labels, alpha=0.99) == math.inf


def test_the_warning_points_at_who_called(batch):
    student, teacher, _ = batch
    with pytest.warns(UserWarning, match="every label is -100") as caught:
        kd_loss(student, teacher, torch.full((4,), -100))
    assert caught[0].filename == __file__
    assert float(kd_terms(student, None, torch.full((4,), -100))[0]) == 0  # without a teacher there is nothing to say


def test_teacher_is_checked_like_the_student(batch):
    student, teacher, labels = batch
    for wrong, word in ((teacher.long(), "int64"), (teacher.tolist(), "list"), (teacher[0, 0], "()")):
        refused(lambda wrong=wrong: kd_loss(student, wrong, labels), dk.DistilkitError, "teacher_logits", word)
        refused(lambda wrong=wrong: kd_terms(student, wrong, labels), dk.DistilkitError, "teacher_logits", word)
    refused(lambda: kd_terms(student.tolist(), teacher, labels), TypeError, "student_logits", "list")


def test_texts_are_rows(batch):
    student, teacher, labels = batch
    labels = torch.tensor([-100, 1, -1, 4])
    for alpha in (0.0, 0.5, 1.0):
        flat = kd_loss(student, teacher, labels, alpha=alpha)
        deep = kd_loss(student.view(2, 2, 5), teacher.view(2, 2, 5), labels.view(2, 2), alpha=alpha)
        torch.testing.assert_close(flat, deep, rtol=1e-6, atol=0)
    soft, hard = kd_terms(student.double(), teacher, labels)
    assert soft.dtype == hard.dtype == torch.float64
    torch.testing.assert_close(hard, F.cross_entropy(student[[1, 3]].double(), labels[[1, 3]]))
    torch.testing.assert_close(soft, forward_kl(student[1:].double() / 4, teacher[1:].double() / 4))
    one = torch.tensor([-1, -1, 2, -1])
    torch.testing.assert_close(kd_terms(student, teacher, one)[1], F.cross_entropy(student[2:3], one[2:3]))


# --- uld, ctc, hidden states, attention: masks, shapes, types, messages


def test_uld_counts_the_positions_that_count():
    draw = torch.Generator().manual_seed(0)
    for sizes in ((5, 7), (7, 5), (6, 6)):
        student, teacher = (torch.randn(2, 3, size, generator=draw, dtype=torch.float64) for size in sizes)
        teacher[1, 0] = -math.inf
        mask = torch.tensor([[True, False, True], [True, True, True]])
        student[0, 1] = math.nan
        each = dk.uld_loss(student, teacher, mask=mask, reduction="none")
        assert each.shape == (2, 3)
        assert each.dtype == torch.float64
        assert each[0, 1] == each[1, 0] == 0
        for place in ((0, 0), (0, 2), (1, 1), (1, 2)):
            q, p = (sorted(side[place].softmax(-1).tolist(), reverse=True) for side in (student, teacher))
            q, p = q + [0] * (len(p) - len(q)), p + [0] * (len(q) - len(p))
            assert float(each[place]) == pytest.approx(sum(abs(a - b) for a, b in zip(q, p, strict=True)), rel=1e-12)
        mean = dk.uld_loss(student, teacher, mask=mask)
        assert float(mean) == pytest.approx(float(each.sum()) / 4, rel=1e-12)
        assert dk.uld_loss(student.float(), teacher, mask=mask, reduction="none").dtype == torch.float32
        alone = torch.zeros(2, 3, dtype=torch.bool)
        alone[1, 2] = True
        assert float(dk.uld_loss(student, teacher, mask=alone)) == pytest.approx(float(each[1, 2]), rel=1e-12)
        student.requires_grad_()
        teacher.requires_grad_()
        dk.uld_loss(student, teacher, mask=mask).backward()
        assert teacher.grad is None
        assert (student.grad[0, 1] == 0).all()
        assert (student.grad[1, 0] == 0).all()


def test_uld_names_the_place():
    student, teacher = torch.zeros(2, 3, 4), torch.zeros(2, 3, 5)
    teacher[0, 0] = -math.inf
    for side in (student, teacher):
        for value in (math.nan, math.inf):
            side[1, 2, 3] = value
            refused(lambda: dk.uld_loss(student, teacher), ValueError, "[1, 2]", "nan or +inf")
            side[1, 2, 3] = 0
    student[1, 1] = -math.inf  # all ruled out on the student's side alone
    refused(lambda: dk.uld_loss(student, teacher), ValueError, "[1, 1]")
    refused(lambda: dk.uld_loss(student, teacher, mask=torch.ones(2, 4).bool()), ValueError, "mask", "(2, 3)")
    refused(lambda: dk.uld_loss(student, teacher[:, 0]), ValueError, "(2, 3, 4)", "(2, 5)", "last axis")
    refused(lambda: dk.uld_loss(student.long(), teacher), TypeError, "student_logits", "int64")
    refused(lambda: dk.uld_loss(student, teacher.long()), TypeError, "teacher_logits", "int64")
    refused(lambda: dk.uld_loss(student[0, 0], teacher[0, 0], reduction="sum"), ValueError, "reduction")


def test_ctc_in_float64_is_torchs_and_float64():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 4, generator=draw, dtype=torch.float64)
    labels = torch.tensor([[1, 2, 2, -1, -1, -1], [3, -1, -1, -1, -100, -100], [-1, -1, -1, -1, -1, -1]])
    logs = logits.log_softmax(-1).transpose(0, 1)[:, :2]
    sums = F.ctc_loss(logs, labels[:2].clamp(min=0), torch.tensor([6, 4]), torch.tensor([3, 1]), reduction="sum")
    found = dk.ctc_loss(logits, labels)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(float(sums) / 4, rel=1e-12)
    assert dk.ctc_loss(logits.float(), labels).dtype == torch.float32
    assert float(dk.ctc_loss(torch.zeros(1, 1, 3), torch.tensor([[2]]))) == pytest.approx(math.log(3))
    assert float(dk.ctc_loss(torch.zeros(1, 3, 3), torch.tensor([[1, 1, -1]]))) == pytest.approx(math.log(27) / 2)


def test_ctc_says_what_does_not_fit():
    logits = torch.zeros(2, 3, 4)
    row = [1, -1, -1]
    refused(lambda: dk.ctc_loss(logits.long(), torch.tensor([row, row])), TypeError, "logits", "int64")
    refused(lambda: dk.ctc_loss(logits[0], torch.tensor([row, row])[0]), ValueError, "(n, frames, classes)", "(3, 4)")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([row])), ValueError, "(2, 3, 4)", "(1, 3)")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([row, [4, -1, -1]])), ValueError, "1 to 3", "got 4")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([row, [1, -100, 2]])), ValueError, "first place")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([row, [1, 2, 2]])), ValueError, "3 tokens needs 4 frames", "has 3")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([row, [1, 2, 2]])[[1, 0]]), ValueError, "3 tokens needs 4 frames")
    assert dk.ctc_loss(logits, torch.tensor([[1, 2, 3], [3, 2, 3]])).isfinite()  # as many tokens as frames


def test_sampled_reverse_kl_says_what_does_not_fit():
    student, teacher = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    labels = torch.tensor([[-100, 1, 2], [-100, -100, 3]])
    refused(lambda: dk.sampled_reverse_kl(student.tolist(), teacher, labels), TypeError, "student_logits", "list")
    refused(lambda: dk.sampled_reverse_kl(student, teacher, labels + 99), ValueError, "classes")
    teacher[1, 2, 3] = -math.inf
    refused(lambda: dk.sampled_reverse_kl(student, teacher, labels), ValueError, "labels[1, 2] is 3", "inf", "rule out")
    assert dk.sampled_reverse_kl(student.double(), student, labels).dtype == torch.float64


def test_hidden_states_of_any_shape():
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    whole = dk.hidden_state_loss(student, teacher)
    assert whole.dtype == torch.float64
    torch.testing.assert_close(whole, (student - teacher).square().mean())
    torch.testing.assert_close(dk.hidden_state_loss(student.view(2, 2, 6), teacher.view(2, 2, 6)), whole)
    one = torch.tensor([False, True, False, False])
    torch.testing.assert_close(dk.hidden_state_loss(student, teacher, mask=one), (student - teacher)[1].square().mean())
    assert float(dk.hidden_state_loss(student[:0], teacher[:0])) == 0
    refused(lambda: dk.hidden_state_loss(student, teacher.long()), TypeError, "teacher_states", "int64")
    refused(lambda: dk.hidden_state_loss(student, teacher[:2]), ValueError, "(4, 6)", "(2, 6)", "last axis")


def test_attention_names_what_is_wrong():
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 4, 4, generator=draw).softmax(-1) for _ in range(2))
    assert dk.attention_loss(student.double(), teacher.double()).dtype == torch.float64
    assert dk.attention_loss(student, teacher).dtype in (torch.float32, torch.float64)
    refused(lambda: dk.attention_loss(student, None), TypeError, "teacher_attention", "NoneType")
    refused(lambda: dk.attention_loss(student, teacher[0]), ValueError, "teacher_attention", "(3, 4, 4)")
    refused(lambda: dk.attention_loss(student[:, :0], teacher), ValueError, "student_attention", "(2, 0, 4, 4)")
    refused(lambda: dk.attention_loss(student, teacher - 1), ValueError, "teacher_attention", "after the softmax")
    refused(lambda: dk.attention_loss(student, teacher[:1]), ValueError, "(2, 4, 4)", "(1, 4, 4)")
    refused(lambda: dk.attention_loss(student, teacher, mask=torch.ones(2, 3).bool()), ValueError, "mask", "(2, 4)")
    zero = teacher.clone()
    zero[0, :, 1, 2] = 0
    assert dk.attention_loss(student, zero).isfinite()


def test_one_number_is_a_hidden_state():
    assert float(dk.hidden_state_loss(torch.tensor([[1.0]]), torch.tensor([[3.0]]))) == 4
