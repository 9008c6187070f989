"""What models cost: counts are exact, times and memory behave as they must, prices follow the formula."""

import math
import os

import pandas as pd
import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit import cost
from distilkit.models import Inputs
from tests.faults import refused


class Both(nn.Module):
    """Takes two inputs by name."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, left, right):
        return self.linear(left + right)


def mlp(width):
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 4))


@pytest.mark.parametrize(("rows", "width"), [(1, 8), (5, 32)])
def test_operations_of_matrix_products(rows, width):
    assert cost.flops(mlp(width), torch.zeros(rows, 16)) == 2 * rows * (16 * width + width * 4)


def test_operations_grow_with_the_text_and_leave_the_model_alone():
    model = dk.tasks.shop(labelled=1).student()
    model.train()
    short, long = (cost.flops(model, torch.zeros(1, time).long()) for time in (32, 64))
    assert 2 * short <= long <= 2.5 * short  # attention grows with the square
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_named_inputs_are_counted_and_timed():
    both = Inputs(left=torch.zeros(2, 8), right=torch.ones(2, 8))
    assert cost.flops(Both(), both) == 2 * 2 * 8 * 3
    table = cost.latencies({"both": Both()}, both, batch_sizes=[1, 5], runs=3)
    assert table["batch"].tolist() == [1, 5]


def test_latencies_are_percentiles_of_turns():
    models = {"small": mlp(8), "large": mlp(4096)}
    models["small"].train()
    table = cost.latencies(models, torch.zeros(3, 16), batch_sizes=(1, 64), runs=20)
    assert table[["model", "batch"]].values.tolist() == [["small", 1], ["large", 1], ["small", 64], ["large", 64]]
    assert (table["p50_ms"] > 0).all()
    assert (table["p50_ms"] <= table["p90_ms"]).all()
    assert (table["p90_ms"] <= table["p99_ms"]).all()
    assert table["rows_per_second"].tolist() == pytest.approx((1000 * table["batch"] / table["p50_ms"]).tolist())
    assert models["small"].training


def test_impossible_timings():
    refused(lambda: cost.latencies({}, torch.zeros(1, 16)), ValueError, "nothing to time")
    refused(lambda: cost.latencies({"a": mlp(2)}, torch.zeros(1, 16), batch_sizes=[0]), ValueError, "batch_sizes")
    refused(lambda: cost.latencies({"a": mlp(2)}, torch.zeros(1, 16), runs=0), ValueError, "runs")


def test_a_fresh_process_of_one_thread():
    assert cost.alone(os.getpid) not in {os.getpid(), os.getppid()}
    assert cost.alone(torch.get_num_threads) == 1


def test_memory_at_the_peak_counts_what_a_pass_holds():
    small, large = (cost.peak_memory(nn.Linear(16, width), torch.zeros(64, 16)) for width in (4, 400_000))
    assert large - small > 0.7 * 4 * 400_000 * (16 + 64)  # weights and what a pass makes of 64 rows


def counter(folder, values):
    """A counter of energy that gives one value after another, and then the largest."""
    zone = folder / "intel-rapl:0"
    zone.mkdir()
    (zone / "max_energy_range_uj").write_text("999999")
    (zone / "energy_uj").write_text(values)


def test_energy_is_measured_or_not_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "RAPL", tmp_path / "none")
    joules, how = cost.energy(mlp(2), torch.zeros(1, 16), seconds=0.01)
    assert joules is None
    assert how.startswith("not measured: no energy counter")
    monkeypatch.setattr(cost, "RAPL", tmp_path)
    counter(tmp_path, "no number")
    joules, how = cost.energy(mlp(2), torch.zeros(1, 16), seconds=0.01)
    assert joules is None
    assert "cannot be read" in how


def test_energy_of_a_counter_that_wraps(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "RAPL", tmp_path)
    counter(tmp_path, "900000")

    class Burns(nn.Module):
        def forward(self, inputs):
            (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100000")  # 200,000 µJ later, past the end
            return inputs

    joules, how = cost.energy(Burns(), torch.zeros(1, 16), seconds=1e-9)
    assert joules == pytest.approx(0.2)
    assert "RAPL" in how


def test_serving_is_closed_form():
    found = cost.serving_cost(5e6, 0.2, utilisation=0.4, price_hour=0.1, watts=80, price_kwh=0.3, grams_kwh=400)
    machines = math.ceil(5e6 * 0.2 / (86_400 * 0.4))
    kwh = machines * 24 * 0.08
    assert found["machines"] == machines
    assert found["money"] == pytest.approx(machines * 24 * 0.1 + kwh * 0.3)
    assert found["co2_kg"] == pytest.approx(kwh * 0.4)
    assert found["busy"] <= 0.4
    assert found["money_per_million"] == pytest.approx(found["money"] / 5)


def test_machines_are_whole():
    assert cost.serving_cost(86_400, 1, utilisation=1)["machines"] == 1
    assert cost.serving_cost(86_401, 1, utilisation=1)["machines"] == 2
    few = [cost.serving_cost(1_000, seconds)["money"] for seconds in (0.5, 0.01)]
    assert few[0] == few[1]  # below one machine's load a quicker model saves no money


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"requests": 0}, "requests"), ({"seconds": -1}, "seconds"), ({"utilisation": 0}, "utilisation"),
     ({"utilisation": 1.1}, "utilisation"), ({"watts": -1}, "watts"), ({"price_hour": math.nan}, "price_hour")],
)  # fmt: skip
def test_impossible_servings(wrong, word):
    given = {"requests": 10.0, "seconds": 1.0} | wrong
    refused(lambda: cost.serving_cost(**given), ValueError, word)


def test_the_knee_is_farthest_above_the_chord():
    assert cost.knee([1, 2, 4, 8], [0.0, 0.8, 0.9, 1.0]) == 1
    assert cost.knee([8, 4, 2, 1], [1.0, 0.9, 0.8, 0.0]) == 2  # in any order
    assert cost.knee([10, 20, 40, 80], [0.0, 8, 9, 10]) == 1  # in any unit
    refused(lambda: cost.knee([1], [1]), ValueError, "two points")
    refused(lambda: cost.knee([0, 1], [1, 2]), ValueError, "positive")
    refused(lambda: cost.knee([1, 1], [1, 2]), ValueError, "not all equal")


# ---------------------------------------------------------------------------------------------------- the frontier


def sizes(quality, seeds=5, ms=(1.0, 2.0, 4.0, 8.0)):
    """A sweep of four sizes, one layer more each, at two rates, of which the second is worse."""
    rows = [
        {"layers": layers, "width": 32, "lr": lr, "seed": seed, "exact": exact - worse + 0.01 * seed,
         "inexact": 1 - exact + worse - 0.01 * seed, "ms_per_token": each, "onnx_ms_per_token": each,
         "parameters": layers, "bytes": 4 * layers}
        for layers, (exact, each) in enumerate(zip(quality, ms, strict=True), 1)
        for lr, worse in ((0.01, 0.0), (0.02, 0.2))
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_frontier_has_no_point_that_another_beats():
    table = dk.size_means(sizes([0.2, 0.7, 0.6, 0.8]))
    assert table["frontier"].tolist() == [True, True, False, True]
    assert table["exact"].tolist() == pytest.approx([0.22, 0.72, 0.62, 0.82])
    assert set(table["lr"]) == {0.01}
    value, half = dk.interval([0.2, 0.21, 0.22, 0.23, 0.24])
    assert (table["exact"][0], table["exact_half"][0]) == pytest.approx((value, half))


def test_a_knee_that_no_draw_moves_and_one_that_the_seeds_decide():
    assert dk.knees(sizes([0.2, 0.7, 0.6, 0.8]), draws=50).to_dict() == pytest.approx(
        {"1 × 32": 0, "2 × 32": 1, "3 × 32": 0, "4 × 32": 0}
    )
    frame = sizes([0.2, 0.6, 0.7, 0.72])
    frame.loc[(frame["layers"] == 2) & (frame["seed"] == 0), "exact"] -= 0.5
    shares = dk.knees(frame, draws=200)
    assert shares.sum() == pytest.approx(1)
    assert 0.1 < shares["3 × 32"] < 1


def test_the_stored_sweep_of_sizes_has_its_knee_and_its_teacher():
    frame = dk.load_sweep("sizes")
    table = dk.size_means(frame)
    assert (table["seeds"] >= 10).all()
    assert dk.knees(frame, draws=200).idxmax() == "1 × 64"
    teacher = frame.attrs["of_teacher"]
    assert teacher["parameters"] == dk.cost.parameters(dk.tasks.shop(labelled=1).teacher())
    assert teacher["onnx_ms_per_token"] > table["ms"].max()
    figure = dk.plots.frontier(frame, needed=0.6)
    assert "1 × 96 suffices" in figure.axes[0].get_title(loc="left")
    assert "none suffices" in dk.plots.frontier(frame, needed=0.99).axes[0].get_title(loc="left")


def test_a_frontier_of_something_else_is_refused():
    refused(lambda: dk.size_means(dk.load_sweep("digits")), TypeError, "lacks", "layers")
    refused(lambda: dk.size_means(None), TypeError, "load_sweep('sizes')")
    refused(lambda: dk.plots.frontier(sizes([0.2, 0.7, 0.6, 0.8]), needed=2), ValueError, "needed")
    refused(lambda: dk.plots.serving({}), ValueError, "nothing to draw")
