"""Teachers: exact where there is arithmetic, and what the stored sweeps say holds."""

import copy
import math

import pandas as pd
import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit import teachers
from distilkit.errors import BadType, BadValue


@pytest.fixture(scope="module")
def task():
    return dk.tasks.digits(labelled=100, seed=0)


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_network_depends_on_its_seed_alone():
    torch.manual_seed(5)
    first = teachers.perceptron(8, 4, classes=3, seed=1)
    state = torch.get_rng_state()
    second = teachers.perceptron(8, 4, classes=3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first[0].weight, teachers.perceptron(8, 4, classes=3, seed=2)[0].weight)
    with pytest.raises(BadValue, match="units of a hidden layer"):
        teachers.perceptron(0)


def test_a_teacher_is_taught_once_and_smoothing_makes_it_less_sure(task):
    teacher = teachers.taught(task, "16", steps=200)
    assert teachers.taught(task.relabelled(50, 3), "16", steps=200) is teacher
    assert not teacher.training
    smooth = teachers.taught(task, "16", steps=200, smoothing=0.3)
    sure, less = (dk.predict(each, task.test.inputs).softmax(-1).amax(-1).mean() for each in (teacher, smooth))
    assert less < sure - 0.1
    with pytest.raises(BadValue, match="Did you mean '256'"):
        teachers.taught(task, "255")


def test_scaled_logits_are_undone_by_temperature():
    z, q = logits(6, 10), logits(6, 10, seed=1)
    sharp = teachers.Scaled(nn.Identity(), 3.0)(z)
    assert torch.allclose(sharp / 12, z / 4)
    assert torch.allclose(dk.forward_kl(q / 12, sharp / 12), dk.forward_kl(q / 12, z / 4))
    with pytest.raises(BadValue, match="factor"):
        teachers.Scaled(nn.Identity(), 0)


@pytest.mark.parametrize("factor", [0.25, 1.0, 8.0])
def test_calibration_finds_the_scale_back(factor):
    z = 2 * logits(4000, 5)
    labels = torch.multinomial(z.softmax(-1), 1, generator=torch.Generator().manual_seed(0)).squeeze(1)
    found = teachers.calibrated(nn.Identity(), dk.Examples(factor * z, labels))
    assert found.factor * factor == pytest.approx(1, abs=0.06)
    assert dk.metrics.nll(found(factor * z), labels) <= dk.metrics.nll(factor * z, labels)
    assert torch.equal(found(z).argmax(-1), z.argmax(-1))
    with pytest.raises(BadValue, match="held-out examples with labels"):
        teachers.calibrated(nn.Identity(), dk.Examples(z, torch.full((4000,), -1)))


def test_an_ensemble_is_the_mean_of_probabilities_also_where_they_are_tiny():
    several = [teachers.perceptron(6, seed=seed) for seed in range(3)]
    x = logits(7, 64)
    mean = torch.stack([each(x).softmax(-1) for each in several]).mean(0)
    assert torch.allclose(teachers.Ensemble(several)(x).exp(), mean, atol=1e-6)
    far = torch.tensor([[900.0, 0.0]])
    both = teachers.Ensemble([nn.Identity(), teachers.Scaled(nn.Identity(), 2.0)])(far)
    assert both.isfinite().all()
    assert float(both[0, 1]) == pytest.approx(-900 - math.log(2), rel=1e-6)


def test_the_surer_teacher_counts_more_where_confidence_weighs():
    x = torch.tensor([[2.0, 0.0, 0.0]])
    pair = [nn.Identity(), teachers.Scaled(nn.Identity(), 0.01)]
    equal, weighed = (teachers.Ensemble(pair, weights=how)(x).exp() for how in ("equal", "confidence"))
    probs = torch.stack([x, 0.01 * x]).softmax(-1).double()
    trust = torch.exp((probs * probs.log()).sum(-1))
    assert torch.allclose(weighed.double(), (trust[..., None] * probs).sum(0) / trust.sum(0)[..., None])
    assert weighed[0, 0] > equal[0, 0]


def test_several_teachers_teach_what_their_mean_teaches_but_for_their_disagreement():
    z, q = logits(4, 9, 10), logits(9, 10, seed=1)
    each = torch.stack([dk.forward_kl(q, p, reduction="none") for p in z]).mean(0)
    mean = z.softmax(-1).mean(0).log()
    apart = teachers.disagreement(z)
    assert torch.allclose(each, dk.forward_kl(q, mean, reduction="none") + apart.float(), atol=1e-5)
    assert (apart >= 0).all()
    assert (apart <= math.log(4)).all()
    assert teachers.disagreement(z[:1]).abs().max() < 1e-12
    with pytest.raises(BadValue, match="stack them"):
        teachers.disagreement(q)


def test_to_descend_is_one_distillation_after_another(task):
    models = [task.student(seed, hidden=width) for seed, width in ((0, 12), (1, 8))]
    by_hand = copy.deepcopy(models)
    knobs, teacher = dk.Knobs(temperature=2, alpha=1), task.teacher()
    last = teachers.descend(teacher, models, task.train, knobs=knobs, steps=10, seed=4)
    for model, above in zip(by_hand, (teacher, by_hand[0]), strict=True):
        dk.distill(model, above, task.train, knobs=knobs, steps=10, seed=4).result()
    assert last is models[1]
    assert torch.equal(dk.predict(last, task.test.inputs), dk.predict(by_hand[1], task.test.inputs))
    with pytest.raises(BadValue, match="at least one model"):
        teachers.descend(teacher, [], task.train)


def test_outputs_that_are_not_taught_stay_as_they_were():
    model = teachers.perceptron(classes=5, inputs=6)
    before = model[0].weight.clone()
    noise = teachers.noise(64, inputs=6, seed=3)
    knobs = dk.Knobs(temperature=1, alpha=1)
    others = teachers.Outputs(teachers.perceptron(classes=5, inputs=6, seed=1), 3, 5)
    dk.distill(teachers.Outputs(model, 3, 5), others, noise, knobs=knobs, steps=5).result()
    assert torch.equal(model[0].weight[:3], before[:3])
    assert not torch.equal(model[0].weight[3:], before[3:])
    assert noise.inputs.min() >= -1
    assert noise.inputs.max() <= 1
    assert torch.equal(noise.inputs, teachers.noise(64, inputs=6, seed=3).inputs)


def test_short_runs_recommend_the_better_teacher(task):
    poor = teachers.Scaled(task.teacher(), 1e-3)  # says nothing
    given = {"poor": poor, "good": task.teacher(), "again": task.teacher()}
    frame = dk.recommend(task, given, steps=40, seeds=3, knobs=dk.Knobs(temperature=4, alpha=1))
    assert list(frame.index) == ["good", "again", "poor"]
    assert frame["best"].tolist() == pytest.approx([0.5, 0.5, 0])  # a tie is shared
    assert frame.loc["poor", "behind"] > frame.loc["poor", "behind_half"]
    assert frame.attrs["says"].startswith("Take good: after 40 steps its students are right ")
    assert frame.attrs["says"].endswith("Not shown to be worse: again.")
    pd.testing.assert_frame_equal(
        frame, dk.recommend(task, given, steps=40, seeds=3, knobs=dk.Knobs(temperature=4, alpha=1))
    )


def test_a_recommendation_never_looks_at_what_the_student_learns(task):
    others = teachers._others(task.pool, task.train)
    assert len(others) == len(task.pool) - 100
    assert (others.labels >= 0).all()
    with pytest.raises(BadValue, match="nothing is left to judge on"):
        dk.recommend(task, {"a": task.teacher(), "b": task.teacher()}, transfer=task.transfer)
    with pytest.raises(BadValue, match="at least two"):
        dk.recommend(task, {"a": task.teacher()})
    with pytest.raises(BadType, match="dict of modules by name"):
        dk.recommend(task, [task.teacher()])
