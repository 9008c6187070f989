"""The workbench: what is accepted is what the filter and the hand say, and a student is really trained on it."""

import pytest

import distilkit as dk
from distilkit import imprinting
from distilkit.errors import BadType, BadValue
from distilkit.tasks.arithmetic import Problem
from tests.page import tell, until
from tests.scripted import COINS, MARKUP, PENS, scripted, small


def bench():
    """A workbench on what the scripted teacher wrote of three problems."""
    task = small()
    found = imprinting.explain(task, scripted(task), [PENS, COINS, MARKUP], samples=10)
    return dk.workbench(found, task, steps=2, lr=0.001)


@pytest.fixture(scope="module")
def first():
    return bench()


@pytest.fixture
def view(first):
    view = dk.workbench(first.explanations, first._task, steps=2, lr=0.001)
    yield view
    view.close()


def test_accepted_is_what_the_filter_lets_through(view):
    assert view.accepted == imprinting.keep(view.explanations)
    view.filter = {"votes": 0.3, "confidence": -0.12, "sound": True}
    expected = imprinting.keep(view.explanations, least_votes=0.3, least_confidence=-0.12, sound=True)
    assert view.accepted == expected
    assert 0 < len(expected) < len(view.explanations)


def test_the_hand_goes_before_the_filter(view):
    view.filter = {"votes": 0, "confidence": -9.0, "sound": True}
    wrong = next(row for row, each in enumerate(view.explanations) if not each.sound)
    right = next(row for row, each in enumerate(view.explanations) if each.sound)
    view.hand = {str(wrong): True, str(right): False}  # as the page sends them
    assert view.explanations[wrong] in view.accepted
    assert view.explanations[right] not in view.accepted


def test_what_the_page_is_told(view):
    rows, problems = view.about["rows"], view.about["problems"]
    assert view.about["samples"] == 10
    assert len(rows) == len(view.explanations)
    for row, each in zip(rows, view.explanations, strict=True):
        problem = problems[row["problem"]]
        assert problem["question"] == each.problem.question
        assert (row["answer"] == problem["answer"]) == each.is_right
        assert problem["votes"][row["answer"]] == pytest.approx(each.votes, abs=1e-4)
        assert all(right and known for _, right, known in row["steps"]) or not row["sound"]


def test_a_run_trains_student_and_twin(view):
    view.filter = {"votes": 0, "confidence": -9.0, "sound": True}
    row = view.run()
    accepted = view.accepted
    student = imprinting.imprint(view._task, accepted, steps=2, lr=0.001, seed=0).result()
    assert row == {
        "kept": len(accepted),
        "seed": 0,
        "accuracy": view._task.score(student)["accuracy"],
        "precision": imprinting.judge(accepted, view.explanations)["precision"],
    }
    assert view.twin["labelled"] == 5
    assert view.state == {}
    assert view.run()["seed"] == 1
    assert len(view.fresh) == 2


def test_the_page_runs_and_stops(view):
    tell(view, run=True)
    until(lambda: view.fresh)
    until(lambda: view.state == {})
    view._steps = 10**6
    tell(view, run=True)
    until(lambda: view.state.get("step", 0) > 0)
    tell(view, run=True)  # one at a time
    tell(view, stop=True)
    until(lambda: "line" in view.state)
    assert view.state["line"].startswith("Stopped at step ")
    assert len(view.fresh) == 1


def test_nothing_to_train_on_is_said(view):
    view.filter = {"votes": 1.0, "confidence": 0.0, "sound": True}
    with pytest.raises(BadValue, match="nothing passes"):
        view.run()
    tell(view, run=True)
    until(lambda: "line" in view.state)
    assert view.state["line"].startswith("Nothing passes")


def test_an_error_in_the_thread_is_shown(view, monkeypatch):
    monkeypatch.setattr(imprinting, "imprint", lambda *_, **__: 1 / 0)
    tell(view, run=True)
    until(lambda: "error" in view.state)
    assert view.state["error"].startswith("ZeroDivisionError")


def test_refusals_say_what_is_needed(view):
    with pytest.raises(BadValue, match="there are no explanations"):
        dk.workbench([], view._task)
    with pytest.raises(BadType, match="needs the teacher's explanations"):
        dk.workbench([PENS], view._task)


def test_problems_without_known_answers_are_shown_without_a_truth():
    task = small()
    unknown = Problem(COINS.question, (), "")
    view = dk.workbench(imprinting.explain(task, scripted(task), [unknown], samples=8), task, steps=1)
    assert not view.about["known"]
    assert view.line() == f"{len(view.explanations)} of {len(view.explanations)} explanations pass."
    assert "precision" not in view.run()
    view.close()


def test_a_picture_and_a_line_stand_in(view):
    data, _ = view._repr_mimebundle_()
    assert "of the right ones pass" in data["text/plain"]
    (axes,) = view.figure().axes
    right = sum(each.is_right for each in view.explanations)
    assert f"right ▲ {right}" in axes.get_title(loc="left")
    sizes = [len(str(value)) for value in (*view.get_state().values(), data["image/png"])]
    assert sum(sizes) <= 60_000
