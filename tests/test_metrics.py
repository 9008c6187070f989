"""Quality, fidelity and calibration against scikit-learn, scipy and numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import special, stats
from sklearn import metrics as sklearn_metrics
from torch import nn

import distilkit as dk
from distilkit import cost
from distilkit.errors import BadType, BadValue
from distilkit.metrics import accuracy, agreement, compare, ece, interval, mean_kl, nll, paired, reliability


def batch(seed=0, rows=200, classes=5, scale=3.0):
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(scale * draw.standard_normal((rows, classes)))
    return logits, torch.from_numpy(draw.integers(0, classes, rows))


cases = given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), classes=st.integers(2, 8), scale=st.floats(0.1, 20)
)


@settings(max_examples=200)
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


@settings(max_examples=200)
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
