"""Inside a model: CKA's properties, reading layers, disagreements and attributions."""

import builtins
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit.attributions import NoCaptum
from distilkit.errors import BadType, BadValue
from distilkit.insides import layers_of
from distilkit.tasks.text import llama

WORDS = 40


def states(rows=300, width=12, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


# ── CKA ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_does_not_see_rotation_scale_or_shift(debiased):
    x, y = states(), states(width=5, seed=1) + states()[:, :5]
    turn = torch.linalg.qr(states(12, 12, seed=2)).Q
    assert dk.cka(x, 3 * x @ turn + 7, debiased=debiased) == pytest.approx(1, abs=1e-6)
    assert dk.cka(-0.01 * x @ turn, y, debiased=debiased) == pytest.approx(dk.cka(x, y, debiased=debiased), abs=1e-6)
    assert dk.cka(x, y, debiased=debiased) == pytest.approx(dk.cka(y, x, debiased=debiased), abs=1e-12)


def test_cka_sees_what_only_some_transforms_keep():
    x = states()
    stretch = torch.diag(torch.logspace(-2, 2, 12))
    assert dk.cka(x, x @ stretch) < 0.9  # not any invertible map, as the paper argues it should not


def test_cka_of_what_is_independent_is_zero_without_its_bias():
    values = [dk.cka(states(40, 30, seed), states(40, 30, seed + 100)) for seed in range(40)]
    mean, half = dk.interval(values)
    assert abs(mean) < half + 0.005
    assert min(values) < 0  # it is an unbiased estimate
    assert np.mean([dk.cka(states(40, 30, s), states(40, 30, s + 100), debiased=False) for s in range(9)]) > 0.4


def test_unbiased_hsic_is_that_of_the_kernels():
    x, y = states(20, 4).double(), states(20, 6, seed=3).double()
    x, y = x - x.mean(0), y - y.mean(0)

    def hsic(k, ell):
        n, one = len(k), torch.ones(len(k), dtype=torch.float64)
        middle = one @ k @ one * (one @ ell @ one) / ((n - 1) * (n - 2))
        return (torch.trace(k @ ell) + middle - 2 / (n - 2) * one @ k @ ell @ one) / (n * (n - 3))

    k, ell = ((each @ each.T).fill_diagonal_(0) for each in (x, y))
    expected = hsic(k, ell) / (hsic(k, k) * hsic(ell, ell)).sqrt()
    assert dk.cka(x, y) == pytest.approx(expected.item(), abs=1e-10)


def test_cka_of_extremes():
    assert math.isnan(dk.cka(states(), torch.zeros(300, 2)))
    assert dk.cka(states() * 1e20, states()) == pytest.approx(1, abs=1e-6)
    for bad, said in (((states(3), states(3)), "4 or more"), ((states(9), states(8)), "same examples")):
        with pytest.raises(BadValue, match=said):
            dk.cka(*bad)
    assert math.isnan(dk.cka(states(), torch.full((300, 2), math.nan)))


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_layers_by_number_are_hugging_faces():
    model = llama(WORDS, layers=2, width=32, seed=0).eval()
    tokens = torch.arange(10).view(2, 5)
    inside = dk.look_inside(model, tokens, states=[0, 1, 2, "model.layers.0"], attention=[1, 2])
    assert torch.equal(inside.states[0], model.get_input_embeddings()(tokens))
    assert torch.equal(inside.states[1], inside.states["model.layers.0"])
    assert torch.equal(model.lm_head(inside.states[2]), inside.logits)
    assert torch.allclose(inside.attention[1].sum(-1), torch.ones(2, 1, 5))
    assert (inside.attention[2].triu(1) == 0).all()
    assert model.config._attn_implementation == "sdpa"  # as it was
    assert torch.allclose(inside.logits, model(tokens).logits, atol=1e-5)
    assert layers_of(model) == [0, 1, 2]


def test_layers_that_give_nothing_of_the_kind():
    class Odd(nn.Sequential):
        pass

    model = Odd(nn.Linear(4, 3), nn.LSTM(3, 2))
    with pytest.raises(BadType, match="attention was wanted"):
        dk.look_inside(nn.Sequential(nn.Linear(4, 3)), torch.zeros(2, 4), attention=["0"])
    with pytest.raises(BadValue, match="there is no part '7'"):
        dk.look_inside(model, torch.zeros(2, 4), states=["7"])


def test_cka_by_layer_is_cka_of_each_pair():
    task = dk.tasks.digits()
    student, teacher = task.student(seed=1), task.student(seed=2)
    table = dk.cka_by_layer(student, teacher, task.test.inputs)
    assert list(table.index) == list(table.columns) == ["0", "1", "2"]
    own = dk.look_inside(student, task.test.inputs, states=["1"]).states["1"]
    assert table.loc["1", "2"] == pytest.approx(dk.cka(own, dk.predict(teacher, task.test.inputs)), abs=1e-6)
    assert dk.cka_by_layer(student, teacher, task.test.inputs, student_layers=["2"]).shape == (1, 3)


# ── disagreements ────────────────────────────────────────────────────────────────────────────────────────────────────


class Says(nn.Module):
    """Probability `sure` for the class that stands in the input."""

    def __init__(self, column, sure=0.97):
        super().__init__()
        self.column, self.sure = column, sure

    def forward(self, inputs):
        hot = nn.functional.one_hot(inputs[:, self.column].long(), 4).double()
        return (hot * self.sure + (1 - hot) * (1 - self.sure) / 3).log()


class Four:
    classes = ("north", "east", "south", "west")


def test_planted_disagreements_are_found_sorted_and_named():
    inputs = torch.zeros(60, 2)
    inputs[:20, 0], inputs[20:30, 1], inputs[30:, 0], inputs[30:, 1] = 1, 2, 3, 3
    examples = dk.Examples(inputs, inputs[:, 0].long())
    found = dk.disagreements(Four(), Says(0), Says(1, 0.9), examples=examples, places=30, clusters=5)
    assert sorted(found.table["example"]) == list(range(30))
    assert found.table["kl"].is_monotonic_decreasing
    assert list(found.clusters["name"]) == ["teacher: east, student: north", "teacher: north, student: south"]
    assert found.clusters["places"].tolist() == [20, 10]
    assert found.clusters[["same", "teacher_right", "student_right"]].to_numpy().tolist() == [[0, 1, 0]] * 2
    row = found.table.iloc[0]
    assert {row["teacher"], row["truth"]} <= set(Four.classes)
    kl = 0.97 * math.log(0.97 / (0.1 / 3)) + 0.01 * math.log(0.01 / 0.9) + 0.02 * math.log(0.01 / (0.1 / 3))
    assert found.table["kl"].to_numpy() == pytest.approx(np.full(30, kl), rel=1e-5)
    for answers in found.answers:
        assert next(iter(answers.values())) == pytest.approx((0.97, 0.1 / 3))


def test_disagreements_of_a_text_know_their_place():
    task = dk.tasks.docs()
    teacher, student = task.student(seed=1), task.student(seed=0)
    found = dk.disagreements(task, teacher, student, examples=task.test[:3], places=20, clusters=3)
    row = found.table.iloc[4]
    inputs = task.test.inputs[row["example"]][None]
    ours, theirs = (dk.predict(model, inputs)[0, row["position"]] for model in (student, teacher))
    assert row["kl"] == pytest.approx(dk.forward_kl(ours, theirs).item(), rel=1e-3)
    assert row["teacher_p"] == pytest.approx(theirs.softmax(-1).max().item(), rel=1e-4)
    assert row["truth"] == f"‘{task.decode(task.test.labels[row['example'], row['position']][None])}’"


def test_unlabelled_places_are_judged_by_nobody():
    examples = dk.Examples(torch.rand(20, 2).round(), torch.full((20,), -1))
    found = dk.disagreements(Four(), Says(0), Says(1), examples=examples, places=20, clusters=2)
    assert found.clusters[["teacher_right", "student_right"]].isna().all(axis=None)
    assert set(found.table["truth"]) == {""}


def test_models_of_other_classes_are_refused():
    class Two(Says):
        def forward(self, inputs):
            return super().forward(inputs)[:, :2]

    with pytest.raises(BadValue, match="the teacher's"):
        dk.disagreements(Four(), Says(0), Two(0), examples=dk.Examples(torch.zeros(4, 2), torch.zeros(4).long()))


# ── attributions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_attributions_are_complete():
    model = llama(WORDS, layers=2, width=32, seed=0)
    tokens = torch.tensor([3, 9, 27, 1, 5])
    with torch.no_grad():
        logs = [
            model(each[None]).logits[0, -1].log_softmax(-1)[7].item() for each in (tokens, torch.zeros_like(tokens))
        ]
    errors = []
    for steps in (4, 32):
        found = dk.attribute(model, tokens, target=7, steps=steps)
        assert (found.output, found.baseline) == pytest.approx(tuple(logs), abs=1e-4)
        assert found.tokens.sum().item() == pytest.approx(found.output - found.baseline + found.error, abs=1e-5)
        errors.append(abs(found.error))
    assert errors[1] < 1e-3
    assert model.training  # as it was
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_token_that_is_the_baseline_moves_nothing():
    model = llama(WORDS, layers=1, width=32, seed=0)
    found = dk.attribute(model, torch.tensor([3, 0, 5]), steps=8)
    assert found.tokens[1].item() == 0
    assert found.target == int(dk.predict(model, torch.tensor([[3, 0, 5]]))[0, -1].argmax())


def test_attributions_say_what_is_missing(monkeypatch):
    model = llama(WORDS, layers=1, width=32, seed=0)
    for arguments, error, said in (
        ((model, torch.zeros(3)), BadType, "whole numbers"),
        ((model, torch.empty(0, dtype=torch.long)), BadValue, "no tokens"),
        ((nn.Linear(2, 2), torch.tensor([1])), BadType, "Hugging Face language model"),
    ):
        with pytest.raises(error, match=said):
            dk.attribute(*arguments)
    with pytest.raises(BadValue, match="target must lie"):
        dk.attribute(model, torch.tensor([1]), target=WORDS)
    whole = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("captum"):
            raise ImportError(name)
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NoCaptum, match=r"pip install 'distilkit\[look\]'"):
        dk.attribute(model, torch.tensor([1]))


# ── correlation, pictures, the stored sweep ──────────────────────────────────────────────────────────────────────────


def test_correlation_is_scipys():
    from scipy.stats import pearsonr

    draw = np.random.default_rng(0)
    x = draw.normal(size=30)
    y = x + draw.normal(size=30)
    expected = pearsonr(x, y)
    low, high = expected.confidence_interval(0.95)
    assert dk.metrics.correlation(x, y) == pytest.approx((expected.statistic, low, high), abs=1e-6)
    assert all(math.isnan(value) for value in dk.metrics.correlation(x, np.ones(30)))
    with pytest.raises(BadValue, match="4 or more"):
        dk.metrics.correlation([1, 2, 3], [1, 2, 3])


def test_pictures_hold_their_numbers():
    table = pd.DataFrame([[0.1, 0.9], [0.3, math.nan]])
    assert [text.get_text() for text in dk.plots.cka(table).axes[0].texts] == ["0.10", "0.90", "0.30", "nan"]
    figure = dk.plots.attention({"teacher": torch.eye(3), "student": torch.ones(3, 3) / 3}, ["a\n", "$b$", "c"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["teacher", "student"]
    assert figure.axes[1].images[0].get_array().max() == pytest.approx(math.sqrt(1 / 3))
    figure = dk.plots.attributions(["a", "b"], {"teacher": [1.0, -2.0], "student": torch.tensor([0.5, 0.0])})
    assert [bar.get_height() for bar in figure.axes[0].patches] == [1.0, -2.0]
    frame = pd.DataFrame({"mean_kl": [0.1, 0.2, 0.3], "nll": [1.0, 1.1, 1.2], "T": [1, 1, 4]})
    axes = dk.plots.fidelity(frame, quality="nll", fidelity="mean_kl", by=["T"]).axes[0]
    assert axes.xaxis.get_inverted()  # more fidelity is to the right
    assert axes.yaxis.get_inverted()
    assert len(axes.collections) == 4
    for drawn in (figure, axes.figure):
        drawn.canvas.draw()
    with pytest.raises(BadValue, match="one amount a token"):
        dk.plots.attributions(["a"], {"teacher": [1.0, 2.0]})


def test_the_stored_sweep_says_what_the_chapter_says():
    frame = dk.load_sweep("insides").sort_values("seed")
    full = frame.groupby(["hints", "weight"]).filter(lambda rows: len(rows) >= 10)
    by = {kind: rows.set_index("seed") for kind, rows in full.groupby("hints")}
    assert {kind: len(rows) for kind, rows in by.items()} == dict.fromkeys(("attention", "none", "states", "twin"), 10)
    for kind in ("states", "attention"):
        tried = frame[(frame["hints"] == kind) & (frame["seed"] < 3)].groupby("weight")["perplexity"]
        assert (tried.size() == 3).all()
        assert by[kind]["weight"].iloc[0] == tried.mean().idxmin()
