"""Knobs that learn and divergences that adapt: slopes, identities, resumption to the bit, and Holm by hand."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

import distilkit as dk
from distilkit import metrics
from distilkit.adaptive import LearnedTemperature, UncertaintyAlpha, cosine, linear
from distilkit.cached import cache_teacher
from distilkit.errors import BadType, BadValue
from distilkit.sweeps.adaptive import METHODS, TUNED_ON, adaptive_setting, standings
from distilkit.training import Knobs, Step, distill
from tests.test_training import bits, examples, network, same, start

EACH = {
    "forward_kl": dk.forward_kl,
    "adaptive_kl": dk.adaptive_kl,
    "half in the head": functools.partial(dk.adaptive_kl, head=0.9),
    **{by: functools.partial(dk.weighted, by=by) for by in ("confidence", "doubt", "error")},
}


def pair(rows=5, classes=7, seed=0, spread=2.0):
    draw = torch.Generator().manual_seed(seed)
    return spread * torch.randn(2, rows, classes, generator=draw, dtype=torch.float64)


def soft_of(student, teacher, divergence=dk.forward_kl):
    return lambda t: divergence(student / t, teacher / t).item()


def step(number=10**6, *, soft=1.0, hard=1.0, temperature=4.0, alpha=0.9):
    return Step(number, 0.0, soft, hard, temperature, alpha, 0.01)


# Schedules


def test_schedules_begin_and_end_where_they_say():
    for ramp in (linear, cosine):
        assert [ramp(1, 8, 600)(at) for at in (0, 599, 600, 10**6)] == [1, 8, 8, 8]
        values = [ramp(1, 0.25, 100)(at) for at in range(100)]
        assert values == sorted(values, reverse=True)
        assert values[49] + values[50] == pytest.approx(1.25)
    history = [each.temperature for each in start(steps=5, knobs=Knobs(linear(1, 5, 5), alpha=cosine(1, 0, 5)))]
    assert history == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("refused", [(-1, 4, 9), (1, math.nan, 9), (1, 4, 1), (1, 4, 2.5)])
def test_impossible_schedules_are_refused(refused):
    with pytest.raises((BadValue, BadType)):
        linear(*refused)


# The learned temperature


@pytest.mark.parametrize("temperature", [0.8, 3.0, 20.0])
def test_the_slope_of_the_temperature_is_that_of_autograd(temperature):
    student, teacher = pair()
    t = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    p, q = (torch.log_softmax(each / t, -1) for each in (teacher, student))  # the teacher is softened by it, too
    (0.9 * t**2 * (p.exp() * (p - q)).sum(-1).mean()).backward()
    z = torch.tensor(math.log((temperature - 0.5) / (40 - temperature)), dtype=torch.float64, requires_grad=True)
    (0.5 + 39.5 * torch.sigmoid(z)).backward()
    knob = LearnedTemperature(temperature, rate=1e-3, growth=1)
    knob.learn(step(temperature=temperature), soft_of(student, teacher))
    moved = math.log((knob(1) - 0.5) / (40 - knob(1))) - z.item()
    assert moved == pytest.approx(1e-3 * t.grad.item() * z.grad.item(), rel=1e-4)


@pytest.mark.parametrize("divergence", EACH.values(), ids=EACH)
def test_the_adversary_makes_the_loss_larger_and_a_negative_rate_smaller(divergence):
    student, teacher = pair(seed=3)
    soft = soft_of(student, teacher, divergence)
    for rate in (0.01, -0.01):
        knob = LearnedTemperature(4.0, rate=rate, growth=1)
        knob.learn(step(), soft)
        after, before = (t * t * soft(t) for t in (knob(1), 4.0))
        assert (after - before) * rate > 0


def test_the_adversary_grows_and_stays_within_its_bounds():
    moves = []
    for number in (1, 50, 100, 1000):
        knob = LearnedTemperature(4.0, rate=1e-3, growth=100)
        knob.learn(step(number), lambda t: 1.0)
        moves.append(knob(1) - 4)
    assert 0 < moves[0] < moves[1] < moves[2] == moves[3]
    for rate in (1e6, -1e6):
        knob = LearnedTemperature(4.0, rate=rate, growth=1)
        for _ in range(5):
            knob.learn(step(), lambda t: 1.0)
            assert 0.5 < knob(1) < 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start": 0.5}, "between low and high"),
        ({"start": 50}, "between low and high"),
        ({"rate": math.nan}, "rate must lie"),
        ({"growth": 0}, "growth must lie"),
    ],
)
def test_impossible_temperatures_are_refused(arguments, words):
    with pytest.raises(BadValue, match=words):
        LearnedTemperature(**arguments)


# Uncertainty


def test_uncertainty_goes_down_kendalls_loss_to_where_both_terms_weigh_as_much():
    soft, hard = 0.05, 0.3
    knob = UncertaintyAlpha(0.9, rate=1e-6)
    logs = torch.tensor([math.log(0.9), math.log(0.1)], dtype=torch.float64, requires_grad=True)
    (logs.exp() @ torch.tensor([16 * soft, hard]).double() - logs.sum() / 2).backward()
    knob.learn(step(soft=soft, hard=hard), None)
    state = knob.state()
    moved = [math.log(state["soft"] / 0.9), math.log(state["hard"] / (1 - 0.9))]
    assert moved == pytest.approx((-1e-6 * logs.grad).tolist(), rel=1e-4)
    knob = UncertaintyAlpha(0.9, rate=0.5)
    for _ in range(200):
        knob.learn(step(soft=soft, hard=hard), None)
    assert knob(1) == pytest.approx(hard / (16 * soft + hard))


def test_a_batch_without_labels_says_nothing_of_the_hard_term():
    knob = UncertaintyAlpha(0.7, rate=0.1)
    knob.learn(step(soft=1.0, hard=0.0), None)
    assert knob.state()["hard"] == 1 - 0.7
    assert knob.state()["soft"] < 0.7


@pytest.mark.parametrize("alpha", [0, 1, -0.5, math.nan])
def test_uncertainty_needs_both_terms(alpha):
    with pytest.raises(BadValue, match="start must lie"):
        UncertaintyAlpha(alpha)


# In the loop


def learning():
    return Knobs(LearnedTemperature(3.0, rate=0.5, growth=10), UncertaintyAlpha(0.6, rate=0.05))


def test_without_a_rate_all_is_as_with_the_constant():
    plain = start(knobs=Knobs(3.0, 0.6))
    still = start(knobs=Knobs(LearnedTemperature(3.0, rate=0), UncertaintyAlpha(0.6, rate=0)))
    plain.result(), still.result()
    assert plain.history == still.history
    assert same(bits(plain.student), bits(still.student))


@pytest.fixture(scope="module")
def straight():
    run = start(knobs=learning())
    run.result()
    return run.history, bits(run.student)


def test_both_move(straight):
    temperatures, alphas = ([getattr(each, name) for each in straight[0]] for name in ("temperature", "alpha"))
    assert len(set(temperatures)) > 15
    assert len(set(alphas)) > 15
    assert temperatures[0], alphas[0] == (3.0, 0.6)


@pytest.mark.parametrize("stop", [0, 1, 7, 19, 20])
def test_a_run_that_learns_goes_on_to_the_bit(straight, stop, tmp_path):
    first = start(knobs=learning())
    for _ in range(stop):
        next(first)
    second = start(knobs=learning(), checkpoint=first.save(tmp_path / "run.safetensors"))
    second.result()
    assert second.history == straight[0]
    assert same(bits(second.student), straight[1])


def test_a_run_reset_or_made_anew_begins_with_fresh_knobs(straight):
    knobs = learning()
    run = start(knobs=knobs)
    run.result()
    run.reset()
    assert knobs.at(0)["temperature"] == 3.0
    run.result()
    assert run.history == straight[0]
    again = start(knobs=knobs)
    again.result()
    assert again.history == straight[0]


def test_a_checkpoint_of_another_rule_is_refused(tmp_path):
    path = start(knobs=Knobs()).save(tmp_path / "run.safetensors")
    with pytest.raises(BadValue, match="temperature was not learned"):
        start(knobs=learning(), checkpoint=path)


def test_a_cached_teacher_is_refused_a_learned_temperature_and_takes_a_learned_alpha(tmp_path):
    cached = cache_teacher(network(9), examples(), tmp_path, top=2, temperature=3.0)
    run = distill(network(), cached, examples(), steps=4, batch_size=8, knobs=learning())
    with pytest.raises(BadValue, match="knows one temperature alone"):
        run.result()
    run.knobs.temperature = 3.0
    run.result()
    assert len({each.alpha for each in run.history}) == 4


@pytest.mark.parametrize("divergence", EACH.values(), ids=EACH)
def test_many_classes_learn_as_few_do(divergence):
    """300 classes take the chunked loss in float32, or in float64 the plain one: the same but for rounding."""
    draw = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(24, 5, generator=draw), torch.randint(0, 300, (24,), generator=draw)
    ends = []
    for dtype in (torch.float32, torch.float64):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            student, teacher = nn.Linear(5, 300).to(dtype), nn.Linear(5, 300).to(dtype)
        knobs = Knobs(LearnedTemperature(2.0, rate=0.5, growth=1), UncertaintyAlpha(0.6, rate=0.05))
        data = dk.Examples(inputs.to(dtype), labels)
        run = distill(student, teacher, data, knobs=knobs, steps=5, batch_size=8, divergence=divergence)
        ends.append([(each.temperature, each.alpha, each.loss) for each in run])
    np.testing.assert_allclose(*ends, rtol=2e-3)


def test_a_slider_takes_over_from_a_knob_that_learns():
    run = start(6, knobs=learning(), steps=6)
    view = dk.watch(run, pace=0)
    view.result()
    assert not [mark for mark in view._marks() if mark[1] == "T"]  # a learner's path is no turn of a knob
    run.reset()
    view._turn({"temperature": 5.0})
    assert run.knobs.temperature == 5.0
    view.result()
    assert {each.temperature for each in run.history} == {5.0}
    view.close()


# Divergences


@pytest.mark.parametrize("divergence", EACH.values(), ids=EACH)
def test_zero_at_equality_with_a_zero_gradient(divergence):
    for spread in (1.0, 1e4):
        student, _ = pair(spread=spread)
        logits = student.clone().requires_grad_()
        value = divergence(logits, student)
        value.backward()
        assert value == 0
        assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("divergence", EACH.values(), ids=EACH)
def test_finite_at_huge_logits_and_where_a_class_is_ruled_out(divergence):
    huge = torch.tensor([[1e4, -1e4, 0.0, 3.0], [-1e4, 1e4, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    student = huge.clone().requires_grad_()
    value = divergence(student, huge.flip(-1))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    gone = torch.tensor([[0.0, 2.0, -math.inf], [-math.inf] * 3])
    student = torch.tensor([[1.0, 0.0, -math.inf], [-math.inf] * 3], requires_grad=True)
    divergence(student, gone).backward()
    assert student.grad.isfinite().all()
    assert (student.grad[1] == 0).all()


@pytest.mark.parametrize("divergence", EACH.values(), ids=EACH)
def test_masked_positions_do_not_count(divergence):
    student, teacher = pair(rows=6)
    mask = torch.tensor([True, False, True, True, False, True])
    value = divergence(student, teacher, mask=mask)
    assert value == pytest.approx(divergence(student[mask], teacher[mask]).item())
    assert divergence(student, teacher, mask=torch.zeros(6, dtype=torch.bool)) == 0


def test_adaptive_kl_is_the_papers_formula():
    student, teacher = pair(rows=30)
    p, q = teacher.softmax(-1), student.softmax(-1)
    for head in (0.3, 0.5, 0.9):
        values = []
        for one, other in zip(p, q, strict=True):
            order = one.argsort(descending=True)
            inside = order[: int((one[order].cumsum(0) < head).sum()) + 1]
            gap = (one - other).abs()
            share = gap[inside].sum() / gap.sum()
            forward, reverse = (one * (one / other).log()).sum(), (other * (other / one).log()).sum()
            values.append(share * forward + (1 - share) * reverse)
        found = dk.adaptive_kl(student, teacher, head=head, reduction="none")
        torch.testing.assert_close(found, torch.stack(values))
    torch.testing.assert_close(dk.adaptive_kl(student, teacher, head=1), dk.forward_kl(student, teacher))


def test_weights_have_mean_one_and_look_where_they_say():
    student, teacher = pair(rows=40)
    plain = dk.forward_kl(student, teacher, reduction="none")
    orders = {
        "confidence": -dk.entropy(teacher),
        "doubt": dk.entropy(teacher),
        "error": dk.total_variation(student, teacher, reduction="none"),
    }
    for by, order in orders.items():
        weight = dk.weighted(student, teacher, by=by, reduction="none") / plain
        assert weight.mean() == pytest.approx(1)
        assert (weight.argsort() == order.argsort()).all()
    with pytest.raises(BadValue, match="Did you mean 'doubt'"):
        dk.weighted(student, teacher, by="doubts")


# The fair race


def race(seeds=6, widths=(16,)):
    draw, rows = np.random.default_rng(0), []
    for hidden in widths:
        for place, (method, owns) in enumerate(METHODS.items()):
            for own in owns:
                for t in (1.0, 4.0):
                    mean = 0.9 + 0.01 * (t == 4) + 0.001 * place + 0.002 * (own == owns[0])
                    best = t == 4 and own == owns[0]
                    for seed in [*TUNED_ON, *(range(seeds) if best else ())]:
                        noise = 0.002 * draw.normal() + 0.01 * math.sin(seed)
                        about = {"hidden": hidden, "method": method, "temperature": t, "own": own}
                        curve = {f"accuracy_{at}": mean + noise - 0.05 * (300 - at) / 300 for at in range(25, 301, 25)}
                        ends = {"end_temperature": t, "end_alpha": 0.9}
                        rows.append(about | {"seed": seed, "accuracy": mean + noise} | ends | curve)
    frame = pd.DataFrame(rows)
    frame.attrs["steps"] = 300
    return frame


def test_standings_by_hand():
    frame = race()
    table = standings(frame).set_index("method")
    assert list(table.index) == list(METHODS)
    fresh = frame[~frame["seed"].isin(TUNED_ON)]
    values = {name: runs.sort_values("seed")["accuracy"].to_numpy() for name, runs in fresh.groupby("method")}
    for name, row in table.iloc[1:].iterrows():
        assert (row["temperature"], row["own"]) == (4.0, METHODS[name][0])
        test = stats.ttest_rel(values[name], values["constant"])
        low, high = test.confidence_interval()
        assert row["p"] == pytest.approx(test.pvalue)
        assert (row["gain"] - row["gain_half"], row["gain"] + row["gain_half"]) == pytest.approx((low, high))
    constant = frame[(frame["method"] == "constant") & frame["seed"].isin(TUNED_ON) & (frame["own"] == 0.9)]
    assert table.loc["constant", "blind"] == pytest.approx(constant["accuracy"].mean())
    assert table.loc["constant", "worst"] == pytest.approx(constant[constant["temperature"] == 1]["accuracy"].mean())


def test_holm_by_hand():
    assert metrics.holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert metrics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert metrics.holm([]) == []
    assert metrics.p_value([1.0, 2.0], [1.0, 2.0]) == 1


@pytest.mark.parametrize(
    ("frame", "error", "words"),
    [
        (dk.load_sweep("digits"), BadType, "lacks .*method"),
        (race().query("method != 'constant'"), BadValue, "no constant at 16"),
    ],
    ids=["another sweep", "no constant"],
)
def test_frames_of_something_else_are_refused(frame, error, words):
    with pytest.raises(error, match=words):
        standings(frame)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_from_where_it_starts(method):
    for own in METHODS[method]:
        knobs, divergence = adaptive_setting(method, 4.0, own, steps=6)
        history = list(start(knobs=knobs, divergence=divergence, steps=6))
        assert history[0].alpha == pytest.approx(own if method == "constant" else 0.9)
        assert history[0].temperature == 4.0
