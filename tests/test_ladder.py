"""The ladder of teachers: what it shows is the sweep's, a rung run lands where a run by hand does, refusals say why."""

import numpy as np
import pandas as pd
import pytest

import distilkit as dk
from distilkit import teachers
from distilkit.errors import BadType, BadValue
from distilkit.sweeps.teachers import teacher_means
from tests.page import until

RUNGS = {"16": (0.971, 0.955), "64": (0.977, 0.982), "256×256": (0.977, 1.0)}


def stored(seeds=5, **attrs):
    """A frame as the stored sweep: a gap at T = 1, none at T = 4, an assistant for the largest."""
    draw, rows = np.random.default_rng(0), []

    def add(teacher, assistant, temperature, lr, mean, right=np.nan, sure=np.nan):
        rows.extend(
            {"teacher": teacher, "assistant": assistant, "temperature": temperature, "images": "labelled",
             "lr": lr, "seed": seed, "accuracy": mean + draw.normal(0, 0.005), "teacher_accuracy": right,
             "teacher_ece": 0.01, "confidence": sure}
            for seed in range(seeds)
        )  # fmt: skip

    for lr in (0.003, 0.01):
        add("none", "none", 1.0, lr, 0.88 - lr)
    for place, (rung, (right, sure)) in enumerate(RUNGS.items()):
        for temperature in (1.0, 4.0):
            add(rung, "none", temperature, 0.01, 0.93 - 0.02 * place * (temperature == 1), right, sure)
    add("256×256", "64", 1.0, 0.01, 0.91, 0.977, 1.0)
    frame = pd.DataFrame(rows)
    frame.attrs.update({"hidden": 16, "steps": 600, "lr": 0.01} | attrs)
    return frame


@pytest.fixture(scope="module")
def task():
    return dk.tasks.digits(labelled=100, seed=0)


@pytest.fixture
def view(task, monkeypatch):
    monkeypatch.setattr(teachers, "STEPS", 30)
    view = dk.ladder(stored(steps=20), task)
    yield view
    view.close()


def test_a_rung_says_what_the_sweep_says(view):
    frame = stored()
    means = teacher_means(frame).set_index(["teacher", "assistant", "temperature"])
    assert [rung["name"] for rung in view.about["rungs"]] == list(RUNGS)
    for rung in view.about["rungs"]:
        value, half, over, over_half, seeds = rung["cells"]["4"]
        runs = frame.query("teacher == @rung['name'] and temperature == 4").sort_values("seed")["accuracy"].to_numpy()
        twin = frame.query("teacher == 'none' and lr == 0.003").sort_values("seed")["accuracy"].to_numpy()
        assert (value, half) == pytest.approx(dk.interval(runs), abs=1e-5)
        assert (over, over_half) == pytest.approx(dk.paired(runs, twin), abs=1e-5)
        assert seeds == 5
        assert value == pytest.approx(means.loc[rung["name"], "none", 4.0]["accuracy"], abs=1e-5)
    assert set(view.about["rungs"][2]["cells"]) == {"1", "4", "1 assistant"}
    assert view.about["rungs"][0]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10


def test_the_line_and_the_picture_stand_in(view):
    view.selected, view.temperature = 2, 1.0
    assert "teacher 256×256, 97.7 % right, 100.0 % sure; its student at T = 1" in view.line()
    view.temperature, view.assistant = 4.0, True
    assert "the sweep has no student of it at T = 4" in view.line()
    assert view.figure().axes[0].get_title(loc="left") == "right answers (%), students of 16 units"
    data, _ = view._repr_mimebundle_()
    assert sum(len(str(value)) for value in (*view.get_state().values(), data["image/png"])) <= 60_000


@pytest.mark.parametrize("assistant", [False, True])
def test_a_run_lands_where_a_run_by_hand_does(task, view, assistant):
    row = view.run("16", temperature=4.0, assistant=assistant)
    own = task.relabelled(100, 5)
    knobs = dk.Knobs(temperature=4, alpha=1)
    models = [own.student(5, hidden=width) for width in ((64, 16) if assistant else (16,))]
    teacher = teachers.taught(own, "16", seed=5)
    student = teachers.descend(teacher, models, own.train, knobs=knobs, steps=20, seed=5)
    assert row == {
        "rung": 0, "temperature": 4.0, "assistant": assistant, "seed": 5,
        "accuracy": own.score(student)["accuracy"], "teacher_accuracy": own.score(teacher)["accuracy"],
    }  # fmt: skip
    assert view.fresh == [row]
    assert view.run("64", temperature=1.0)["seed"] == 6


def test_the_page_asks_runs_and_stops(task, view):
    view._handle_custom_msg({"ask": 1}, [])
    until(lambda: view.state == {} and "64" in view.said)
    logits = dk.predict(teachers.taught(task, "64"), task.test.inputs[view._rows])
    assert np.allclose(view.said["64"], logits, atol=1e-3)
    view._handle_custom_msg({"run": 7}, [])
    view._handle_custom_msg("run", [])
    assert view.state == {}
    view._handle_custom_msg({"run": 1}, [])
    until(lambda: view.fresh and view.state == {})
    view._steps = 10**6
    view._handle_custom_msg({"run": 0}, [])
    until(lambda: view.state.get("step", 0) > 0)
    view._handle_custom_msg({"run": 1}, [])  # one at a time
    view._handle_custom_msg({"stop": True}, [])
    until(lambda: "line" in view.state)
    assert view.state["line"].startswith("Stopped at step ")
    assert len(view.fresh) == 1


def test_an_error_in_the_thread_is_shown_and_one_in_the_cell_is_raised(view, monkeypatch):
    monkeypatch.setattr(teachers, "taught", lambda *_, **__: 1 / 0)
    view._handle_custom_msg({"ask": 1}, [])
    until(lambda: "error" in view.state)
    assert view.state["error"].startswith("ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        view.run()
    assert view.state == {}
    with pytest.raises(BadValue, match="Did you mean '256×256'"):
        view.run("256x256")
    with pytest.raises(BadValue, match="temperature"):
        view.run(temperature=0)


def test_frames_are_refused_with_the_reason(task):
    with pytest.raises(BadType, match="lacks assistant, images, teacher"):
        dk.ladder(dk.load_sweep("digits"), task)
    with pytest.raises(BadValue, match="no twin"):
        dk.ladder(stored().query("teacher != 'none'"), task)
    with pytest.raises(BadType, match="load_sweep"):
        dk.ladder(None, task)


def test_a_rung_is_its_own_teacher_not_its_assistant():
    frame = dk.load_sweep("ladder")
    view = dk.ladder(frame, dk.tasks.digits())
    alone = frame[(frame["assistant"] == "none") & (frame["images"] == "labelled")].groupby("teacher")
    for rung in view.about["rungs"]:
        assert rung["accuracy"] == pytest.approx(alone["teacher_accuracy"].mean()[rung["name"]], abs=1e-4)
