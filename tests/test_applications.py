"""The table of the applications: what it says is what the tasks, the models and the stored sweeps say."""

import pytest

import distilkit as dk
from distilkit.applications import APPLICATIONS, MODELS, gains, standings

from .faults import refused


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "speech")) for name in APPLICATIONS]
)
def test_a_row_a_model(name):
    table = standings(name, limit=20)
    assert list(table.index) == list(MODELS)
    models = {model: getattr(APPLICATIONS[name].task(), model)() for model in MODELS}
    assert table["parameters"].to_dict() == {model: dk.cost.parameters(models[model]) for model in MODELS}
    assert table["teacher's share"]["distilled"] == table["teacher's share"]["twin"] <= 1 / 5
    assert table["of the teacher (%)"]["teacher"] == pytest.approx(100)
    assert table.iloc[:, 0]["twin"] < table.iloc[:, 0]["distilled"]
    assert (table["request (ms)"] > 0).all()


def test_gains_are_those_of_the_stored_sweeps():
    table = gains()
    assert len(table) == len(APPLICATIONS)
    assert (table["seeds"] >= 5).all()
    assert table["gain"].to_numpy() == pytest.approx((table["distilled"] - table["twin"]).to_numpy())
    assert (table["gain"] > table["±"]).all()  # each clear of zero


def test_another_name_is_refused():
    refused(lambda: standings("cooking"), ValueError, "cooking", "speech")
