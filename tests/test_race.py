"""The race of losses: lanes that say what the standings say, races that are the runs they claim to be, refusals."""

import pytest
import torch

import distilkit as dk
from distilkit import plots
from distilkit.errors import BadType, BadValue
from distilkit.sweeps.adaptive import METHODS, adaptive_setting, standings
from distilkit.training import distill
from tests.test_adaptive import race as stored
from tests.test_board import tell, until

NAMES = list(METHODS)


@pytest.fixture(scope="module")
def task():
    return dk.tasks.digits()


@pytest.fixture
def view(task):
    view = dk.race(stored(), task, steps=24)
    yield view
    view.close()


def test_lanes_are_the_standings(view):
    table = standings(stored()).set_index("method")
    lanes = view.about["lanes"]
    assert [lane["method"] for lane in lanes] == NAMES
    for lane in lanes:
        for name in ("accuracy", "half", "gain", "gain_half", "holm"):
            assert lane[name] == pytest.approx(table.loc[lane["method"], name], rel=1e-3, abs=1e-6)
        assert lane["at"] == list(range(25, 301, 25))
        assert lane["curve"][-1] > lane["curve"][0]
    assert lanes[0]["setting"] == "T 4, α 0.9"
    assert lanes[1]["setting"] == "T 4, T goes to 1"
    assert lanes[7]["setting"] == "T 4, by the confidence"


def test_a_lane_is_the_run_that_it_says(view, task):
    ended = view.run("learned temperature")
    assert list(ended) == ["constant", "learned temperature"]
    assert view.chosen == [0, 3]
    own, seed = task.relabelled(100, 6), 6  # the first that the frame does not have
    assert view.fresh == [{"seed": seed, **ended}]
    knobs, divergence = adaptive_setting("learned temperature", 4.0, METHODS["learned temperature"][0], steps=24)
    student = own.student(seed, hidden=16)
    run = distill(student, task.teacher(), own.transfer, knobs=knobs, divergence=divergence, steps=24, seed=seed)
    run.result()
    assert own.score(student)["accuracy"] == ended["learned temperature"]
    shown = view.live["lanes"]["3"]
    assert shown["steps"] == list(range(1, 25))
    assert shown["T"] == [round(step.temperature, 4) for step in run.history]
    view.run("constant")
    assert [each["seed"] for each in view.fresh] == [6, 7]


def test_what_moves_inside_is_a_share(view):
    view.run("adaptive KL", "weights", "uncertainty alpha")
    lanes = view.live["lanes"]
    assert lanes["0"]["inner"] == []
    for lane in ("5", "7"):
        assert len(lanes[lane]["inner"]) == 24
        assert all(0 < value <= 1 for value in lanes[lane]["inner"])
    assert len(set(lanes["5"]["inner"])) > 12
    assert len(set(lanes["7"]["inner"])) == 1  # the teacher's confidence does not move
    assert len(set(lanes["4"]["alpha"])) > 12
    assert not view.live["running"]


def test_the_page_runs_stops_and_hears_of_errors(view):
    view.chosen = [0, 1, "x", 99, -1]
    tell(view, run=True)
    until(lambda: view.fresh and not view.live["running"])
    assert list(view.fresh[0]) == ["seed", "constant", "temperature ramp"]
    assert view.state == {}
    view._steps = 2400
    tell(view, run=True)
    tell(view, run=True)  # busy: refused in silence
    until(lambda: view.live.get("lanes"))
    tell(view, stop=True)
    until(lambda: not view.live["running"])
    assert "Stopped at step" in view.state["line"]
    view._task = None
    tell(view, run=True)
    until(lambda: view.state.get("error"))
    assert "AttributeError" in view.state["error"]
    for nonsense in (None, [], {"run": 0}, {"stop": "x"}):
        view._handle_custom_msg(nonsense, [])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"frame": dk.load_sweep("digits")}, BadType, "lacks .*method"),
        ({"hidden": 99}, BadValue, "no constant at 99"),
        ({"task": torch.nn.Linear(1, 1)}, BadType, "needs the task"),
        ({"steps": 1}, BadValue, "steps must lie"),
    ],
)
def test_impossible_races_are_refused(task, arguments, error, words):
    given = {"frame": stored(), "task": task} | arguments
    with pytest.raises(error, match=words):
        dk.race(given.pop("frame"), given.pop("task"), **given)


def test_an_unknown_method_is_refused(view):
    with pytest.raises(BadValue, match="Did you mean 'adaptive KL'"):
        view.run("adaptive LK")


def test_it_has_a_picture_and_a_line_without_a_page(view):
    data, _ = view._repr_mimebundle_()
    assert len(data["image/png"]) < 16_400
    assert data["text/plain"].startswith("Tuned constant 9")
    assert "adaptive KL +0.5" in data["text/plain"]
    panels = plots.race(stored()).axes
    assert [axes.get_title(loc="left")[:4] for axes in panels] == ["each", "none"]
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == NAMES[1:]
