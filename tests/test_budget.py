"""The budget: what it shows is the formula's, at any assumption; refusals say why."""

import pytest

import distilkit as dk
from distilkit.cost import serving_cost
from tests.faults import refused

SECONDS = {"teacher": 0.4, "student": 0.1, "student, int8": 0.09}


def test_what_it_shows_is_the_formula():
    view = dk.budget(SECONDS, requests=3e6, watts=(10, 400, 65.0))
    assumed = {"utilisation": 0.5, "price_hour": 0.04, "watts": 65.0, "price_kwh": 0.25, "grams_kwh": 250.0}
    assert view.values == {"requests": 3e6, **assumed}
    for name, row in view.costs().iterrows():
        assert dict(row) == pytest.approx(serving_cost(3e6, SECONDS[name], **assumed))
    view.values = view.values | {"requests": 10.0}
    assert view.costs()["machines"].tolist() == [1, 1, 1]
    view.close()


def test_a_picture_and_a_line_stand_in():
    view = dk.budget(SECONDS)
    data, _ = view._repr_mimebundle_()
    assert "teacher 10 machines" in data["text/plain"]
    assert "requests = 1e+06" in data["text/plain"]
    assert view.figure().axes[1].get_title(loc="left") == "money a day"
    assert len(data["image/png"]) < 20_000
    view.close()


def test_a_start_may_lie_outside_the_usual_range():
    view = dk.budget(SECONDS, watts=2000, price_kwh=0)
    assert view.knobs["watts"]["high"] == 2000
    assert (view.costs()["electricity"] == 0).all()
    view.close()


def test_impossible_assumptions():
    refused(lambda: dk.budget(SECONDS, watt=3), TypeError, "Did you mean 'watts'")
    refused(lambda: dk.budget({}), ValueError, "1 to 6")
    refused(lambda: dk.budget(None), ValueError, "seconds")
    refused(lambda: dk.budget({"teacher": 0}), ValueError, "'teacher'")
    refused(lambda: dk.budget({"teacher": "fast"}), TypeError, "'teacher'")
    refused(lambda: dk.budget(SECONDS, utilisation=(1, 0)), ValueError, "utilisation")
    refused(lambda: dk.budget(SECONDS, utilisation=1.5), ValueError, "utilisation")
    refused(lambda: dk.budget(SECONDS, price_hour=-1), ValueError, "price_hour")


def test_names_are_text():
    view = dk.budget({"<b>$x$</b>": 0.1})
    assert "<b>$x$</b>" in view.line()
    view.figure().canvas.draw()
    view.close()
