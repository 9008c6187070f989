"""Quality, fidelity and calibration against scikit-learn, scipy and numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy import special, stats
from sklearn import metrics as sklearn_metrics
from torch import nn

import distilkit as dk
from distilkit import cost, metrics
from distilkit.errors import BadType, BadValue
from distilkit.metrics import (
    accuracy,
    agreement,
    bits_per_byte,
    compare,
    distinct_n,
    ece,
    exposure_bias,
    interval,
    kl_by_position,
    mean_kl,
    nll,
    paired,
    perplexity,
    reliability,
)
from tests.faults import refused


def batch(seed=0, rows=200, classes=5, scale=3.0):
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(scale * draw.standard_normal((rows, classes)))
    return logits, torch.from_numpy(draw.integers(0, classes, rows))


cases = given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), classes=st.integers(2, 8), scale=st.floats(0.1, 20)
)


@cases
def test_quality_and_fidelity_equal_scikit_learn_and_scipy(seed, rows, classes, scale):
    logits, labels = batch(seed, rows, classes, scale)
    teacher, _ = batch(seed + 1, rows, classes, scale)
    p = special.softmax(logits.numpy(), -1)
    assert accuracy(logits, labels) == sklearn_metrics.accuracy_score(labels, p.argmax(-1))
    log_p = special.log_softmax(logits.numpy(), -1)
    assert nll(logits, labels) == pytest.approx(-log_p[np.arange(rows), labels].mean(), rel=1e-12)
    if rows > 1 and scale < 5:  # scikit-learn clips at float's epsilon
        assert nll(logits, labels) == pytest.approx(
            sklearn_metrics.log_loss(labels, p, labels=range(classes)), rel=1e-9
        )
    assert agreement(logits, teacher) == sklearn_metrics.accuracy_score(teacher.argmax(-1), logits.argmax(-1))
    expected = stats.entropy(special.softmax(teacher.numpy(), -1), p, axis=-1).mean()
    assert mean_kl(logits, teacher) == pytest.approx(expected, rel=1e-9)


@cases
def test_ece_equals_its_definition(seed, rows, classes, scale):
    """Σ over bins (k/10, (k+1)/10] of count/n · |accuracy − confidence|."""
    logits, labels = batch(seed, rows, classes, scale)
    p = special.softmax(logits.numpy(), -1)
    confidence, right = p.max(-1), p.argmax(-1) == labels.numpy()
    expected = 0.0
    for low in range(10):
        here = (confidence > low / 10) & (confidence <= (low + 1) / 10)
        if here.any():
            expected += here.mean() * abs(right[here].mean() - confidence[here].mean())
    assert ece(logits, labels) == pytest.approx(expected, abs=1e-12)
    table = reliability(logits, labels)
    assert list(table) == ["confidence", "accuracy", "count"]
    assert table["count"].sum() == rows
    assert 0 <= ece(logits, labels) <= 1


def test_unlabelled_rows_do_not_count():
    logits, labels = batch()
    some = labels.clone()
    some[50:] = -1
    some[60:] = -100
    for metric in (accuracy, nll, ece):
        assert metric(logits, some) == metric(logits[:50], labels[:50])
    with pytest.raises(BadValue, match="no labelled row"):
        accuracy(logits, torch.full_like(labels, -1))


def test_token_sequences_and_gradients():
    logits, labels = batch()
    for metric in (accuracy, nll, ece):
        assert metric(logits.view(20, 10, 5), labels.view(20, 10)) == pytest.approx(metric(logits, labels), rel=1e-12)
        assert metric(logits.clone().requires_grad_(), labels) == metric(logits, labels)
    assert mean_kl(logits.clone().requires_grad_(), logits) == 0


@pytest.fixture
def texts():
    """Logits of a student and a teacher on six texts of ten tokens, 5 words; a prompt and padding at their ends."""
    student, labels = batch(0, 60)
    teacher, _ = batch(1, 60)
    labels = labels.view(6, 10).clone()
    labels[:, :2] = labels[3:, 7:] = -100
    labels[4, 4] = -1
    return student.view(6, 10, 5), teacher.view(6, 10, 5), labels


def test_masks_choose_the_positions_of_texts(texts):
    student, teacher, labels = texts
    for mask in (labels != -100, labels >= 0):
        p, q = (special.softmax(each.numpy()[mask.numpy()], -1) for each in (teacher, student))
        assert mean_kl(student, teacher, mask) == pytest.approx(stats.entropy(p, q, axis=-1).mean(), rel=1e-12)
        assert agreement(student, teacher, mask) == (p.argmax(-1) == q.argmax(-1)).mean()
    known = labels >= 0
    for metric in (accuracy, nll, ece, perplexity):
        assert metric(student, labels) == pytest.approx(metric(student[known], labels[known]), rel=1e-12)
    assert reliability(student, labels).equals(reliability(student[known], labels[known]))
    none = torch.zeros_like(known)
    assert math.isnan(mean_kl(student, teacher, none))
    assert math.isnan(agreement(student, teacher, none))
    student[~known] = math.nan
    assert math.isfinite(mean_kl(student, teacher, known))


def test_kl_by_position_is_the_loop(texts):
    student, teacher, labels = texts
    mask = labels != -100
    found = kl_by_position(student, teacher, mask)
    assert found.shape == (10,)
    assert found[:2].isnan().all()
    for place in range(2, 10):
        rows = mask[:, place]
        assert float(found[place]) == pytest.approx(mean_kl(student[rows, place], teacher[rows, place]), rel=1e-12)
    assert float(kl_by_position(student, teacher).mean()) == pytest.approx(mean_kl(student, teacher), rel=1e-12)


def test_blocks_change_nothing(texts, monkeypatch):
    student, teacher, labels = texts
    student[1, 3] = teacher[1, 3] = -math.inf  # no class left: as if masked
    labels[1, 3] = -1

    def every():
        return [
            nll(student, labels),
            mean_kl(student, teacher),
            *kl_by_position(student, teacher, labels >= 0)[2:].tolist(),
            ece(teacher, labels),
        ]

    whole = every()
    assert whole[1] == pytest.approx(float(dk.forward_kl(student, teacher)), rel=1e-12)
    for few in (1, 5, 35, 36):  # logits; a row has five
        monkeypatch.setattr(metrics, "BLOCK", few)
        assert every() == pytest.approx(whole, rel=1e-12)
    teacher[4, 7, 2] = math.nan
    refused(lambda: mean_kl(student, teacher), ValueError, "teacher_logits[4, 7, 2]", "nan")


def test_logits_of_texts_are_widened_a_few_at_a_time():
    """Of 16 × 128 × 1,280 float32 logits no copy is made, neither in float64 nor as they are."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in known:
                self.size = max(self.size, out.untyped_storage().nbytes())
            return out

    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 16, 128, 1280, generator=draw)
    labels = torch.randint(0, 1280, (16, 128), generator=draw)
    known = {each.untyped_storage().data_ptr() for each in (student, teacher, labels)}
    for act in (
        lambda: nll(student, labels),
        lambda: accuracy(student, labels),
        lambda: mean_kl(student, teacher),
        lambda: agreement(student, teacher),
        lambda: kl_by_position(student, teacher),
        lambda: ece(student, labels),
    ):
        with Largest() as largest:
            act()
        assert 0 < largest.size < student.nbytes


def test_perplexity_and_bits_per_byte():
    """A uniform guess over 256 bytes is 8 bits a byte; perplexity is the inverse geometric mean probability."""
    assert bits_per_byte(nll(torch.zeros(4, 256), torch.arange(4)), 1) == pytest.approx(8)
    logits, labels = batch()
    p = special.softmax(logits.numpy(), -1)[np.arange(200), labels]
    assert perplexity(logits, labels) == pytest.approx(1 / stats.gmean(p), rel=1e-12)
    said = -np.log2(p).sum() / 640  # 200 tokens of 3.2 bytes
    assert bits_per_byte(nll(logits, labels), 3.2) == pytest.approx(said, rel=1e-12)
    refused(lambda: bits_per_byte(1.0, 0), ValueError, "bytes_per_token", "got 0")


class Bigrams(nn.Module):
    """A model of text that knows the last token alone."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens):
        assert len(tokens) <= 16  # never all texts at once
        return self.logits[tokens]


def test_exposure_bias_is_the_kl_where_the_student_goes():
    """A student that is right about words 0 and 1, and lost once it has written a 2."""
    draw = torch.Generator().manual_seed(0)
    teacher = Bigrams(torch.randn(3, 3, generator=draw))
    student = Bigrams(teacher.logits.detach().clone())
    with torch.no_grad():
        student.logits[2] += torch.tensor([3.0, 0.0, 0.0])
    corpus = torch.randint(0, 2, (40, 6), generator=draw)
    corpus[0, 4] = 2
    own = torch.randint(0, 3, (50, 6), generator=draw)
    lost = mean_kl(student.logits[2:], teacher.logits[2:])
    found = exposure_bias(student, teacher, corpus, own, prompt=3)
    own_share, corpus_share = (float((each[:, 2:] == 2).double().mean()) for each in (own, corpus))
    assert found.own == pytest.approx(lost * own_share, rel=1e-6)
    assert found.corpus == pytest.approx(lost * corpus_share, rel=1e-6)
    assert found.ratio == pytest.approx(own_share / corpus_share, rel=1e-6)
    expected = lost * (own[:, 2:] == 2).double().mean(0)  # the third token predicts the first one written
    torch.testing.assert_close(found.own_by_position, expected, rtol=1e-6, atol=1e-12)
    assert found.corpus_by_position.shape == (4,)
    assert exposure_bias(student, teacher, own, own).ratio == 1
    assert math.isnan(exposure_bias(teacher, teacher, corpus, own).ratio)
    refused(lambda: exposure_bias(student, teacher, corpus, own[:, 1:]), ValueError, "(40, 6)", "(50, 5)", "cut")
    refused(lambda: exposure_bias(student, teacher, corpus, own, prompt=7), ValueError, "prompt", "[1, 6]", "got 7")


@given(rows=st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=5), n=st.integers(1, 3))
def test_distinct_n_counts_strings(rows, n):
    """The same count on words of letters, by regular slicing of their text."""
    words = ["".join("abcd"[token] for token in row) for row in rows]
    grams = [word[i : i + n] for word in words for i in range(len(word)) if len(word[i : i + n]) == n]
    if grams:
        assert distinct_n(rows, n) == len(set(grams)) / len(grams)
    else:
        refused(lambda: distinct_n(rows, n), ValueError, f"{n} tokens")


def test_distinct_n_sees_texts_that_are_the_same():
    texts = torch.arange(12).view(3, 4)
    assert distinct_n(texts) == 1
    assert distinct_n(texts[:1].repeat(3, 1)) == pytest.approx(1 / 3)
    refused(lambda: distinct_n(texts, 0), ValueError, "n must lie in")


def test_f19_labels_are_checked():
    logits, labels = batch()
    labels[3] = 5
    with pytest.raises(BadValue, match=r"labels\[3\] is 5, but there are 5 classes"):
        accuracy(logits, labels)


def test_f31_of_equal_logits_the_first_counts():
    tied = torch.zeros(3, 4)
    assert accuracy(tied, torch.tensor([0, 1, 3])) == pytest.approx(1 / 3)
    assert agreement(tied, tied) == 1


def test_intervals_equal_scipy():
    values, others = np.random.default_rng(0).normal(3, 1, (2, 10))
    for found, sample in ((interval(values), values), (paired(values, others), values - others)):
        low, high = stats.t.interval(0.95, 9, loc=sample.mean(), scale=stats.sem(sample))
        assert found == pytest.approx((sample.mean(), (high - low) / 2))
    low, high = stats.ttest_rel(values, others).confidence_interval(0.95)
    assert paired(values, others) == pytest.approx(((low + high) / 2, (high - low) / 2))
    with pytest.raises(BadValue, match="at least 2 values"):
        interval([1.0])
    with pytest.raises(BadValue, match="got 2 and 3"):
        paired([1, 2], [1, 2, 3])


def test_intervals_cover():
    """Of 95 % intervals, 95 % hold the truth."""
    samples = np.random.default_rng(1).normal(0, 1, (1000, 5))
    covered = [abs(mean) <= half for mean, half in map(interval, samples)]
    assert 0.93 <= np.mean(covered) <= 0.97


FIGURES = [
    "accuracy (%)",
    "nll (nats)",
    "agreement (%)",
    "mean KL (nats)",
    "ece (%)",
    "parameters",
    "size (kB)",
    "latency (ms)",
]


def test_compare_one_of_each():
    task = dk.tasks.digits()
    teacher, student = task.teacher(), task.student()
    table = compare(task, teacher=teacher, student=student)
    assert list(table.index) == ["teacher", "student"]
    assert list(table) == FIGURES
    assert table.loc["teacher", "agreement (%)"] == 100
    assert table.loc["teacher", "mean KL (nats)"] == 0
    score = task.score(student)
    assert table.loc["student", "accuracy (%)"] == pytest.approx(100 * score["accuracy"])
    assert table.loc["student", "parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert table.loc["student", "size (kB)"] == pytest.approx(4 * table.loc["student", "parameters"] / 1000)
    assert (table["latency (ms)"] > 0).all()
    assert "agreement (%)" not in compare(task, student=student)
    with pytest.raises(BadType, match="at least one model by name"):
        compare(task)


def test_compare_pairs_by_seed():
    task = dk.tasks.digits()
    distilled, twins = ([task.student(seed) for seed in seeds] for seeds in ((0, 1, 2), (3, 4, 5)))
    table = compare(task, teacher=task.teacher(), distilled=distilled, twin=twins)
    assert list(table.index) == ["teacher", "distilled", "twin", "distilled − twin"]
    expected = [name for figure in FIGURES for name in (figure, f"± {figure}") if name != "± parameters"]
    assert list(table) == expected
    values = [[100 * task.score(model)["accuracy"] for model in group] for group in (distilled, twins)]
    for row, (mean, half) in {
        "distilled": interval(values[0]),
        "twin": interval(values[1]),
        "distilled − twin": paired(*values),
    }.items():
        assert table.loc[row, "accuracy (%)"] == pytest.approx(mean)
        assert table.loc[row, "± accuracy (%)"] == pytest.approx(half)
    assert table.loc["distilled − twin", "parameters"] == 0


def test_cost():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()).train()
    assert cost.parameters(model) == 4 * 3 + 3 + 3 + 3
    assert cost.size(model) == 4 * (21 + 6) + 8  # with the running mean and variance, and an int64 counter
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert 0 < cost.latency(model, torch.zeros(1, 4), runs=5) < 1
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
