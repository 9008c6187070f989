"""Exercises: a stub is no error, a wrong answer meets its smallest counterexample, a solution is right."""

import runpy
from pathlib import Path

import pytest
import torch

import distilkit as dk
from distilkit import lessons
from distilkit.errors import BadValue

NAMES = sorted(lessons._EXERCISES)
SOLUTIONS = Path(__file__).parent.parent / "notebooks" / "solutions"


@pytest.mark.parametrize("name", NAMES)
def test_solution_is_right_and_printed(name, capsys):
    lessons.solution(name)
    assert f"def {name}(" in capsys.readouterr().out
    lessons.check(name, runpy.run_path(str(SOLUTIONS / f"{name}.py"))[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


def test_every_solution_belongs_to_an_exercise():
    assert sorted(path.stem for path in SOLUTIONS.glob("*.py")) == NAMES


def _unwritten(*_):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [lambda *_: None, lambda *_: ..., _unwritten], ids=["None", "...", "raises"])
@pytest.mark.parametrize("name", NAMES)
def test_stub_is_not_written_yet(name, stub, capsys):
    lessons.check(name, stub)
    assert "not written yet" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda *_: 12345.0,
        lambda *_: float("nan"),
        lambda *_: "no",
        lambda *_: torch.zeros(7),
        lambda: 0,
        lambda *_: 1 / 0,
    ],
    ids=["number", "nan", "text", "shape", "arguments", "raises"],
)
def test_wrong_answers_are_told_never_raised(name, wrong, capsys):
    lessons.check(name, wrong)
    assert capsys.readouterr().out.startswith(f"✗ {name}")


def test_the_first_counterexample_is_the_simplest(capsys):
    lessons.check("reverse_kl", dk.forward_kl)
    out = capsys.readouterr().out
    assert "student_logits = [0, 0], teacher_logits = [1.099, 0]" in out  # equal logits cannot tell the two apart
    assert "expected = 0.1438" in out
    assert "yours    = 0.1308" in out


def test_a_learner_cannot_spoil_the_case(capsys):
    for _ in range(2):
        lessons.check("soften", lambda logits, temperature: logits.div_(temperature).softmax(-1))
        assert capsys.readouterr().out.startswith("✓")


def test_forgotten_chain_rule_is_found(capsys):
    lessons.check(
        "soft_gradient", lambda q, p, temperature: (q / temperature).softmax(-1) - (p / temperature).softmax(-1)
    )
    assert "temperature = 2" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_hint(name, capsys):
    lessons.hint(name)
    assert len(capsys.readouterr().out) > 20


@pytest.mark.parametrize(
    "verb", [lessons.hint, lessons.solution, lambda name: lessons.check(name, len)], ids=["hint", "solution", "check"]
)
def test_a_name_nearly_right_is_suggested(verb):
    with pytest.raises(BadValue, match="Did you mean 'soften'"):
        verb("softn")


def test_picture_is_a_png():
    assert lessons.picture("soften", torch.tensor([float("nan"), 1.0]), torch.zeros(2)).startswith(b"\x89PNG")


def test_question_carries_a_reply_for_each_choice():
    question = dk.ask("Which?", {"a": "No.", "b": "Yes."}, answer="b")
    assert (question.choices, question.replies, question.answer) == (["a", "b"], ["No.", "Yes."], "b")
    assert question.line() == "Which?\n  ( ) a\n  ( ) b"


@pytest.mark.parametrize("replies", [{"a": "alone"}, {"a": "no", "c": "no"}], ids=["one choice", "no answer"])
def test_impossible_question_is_refused(replies):
    with pytest.raises(BadValue):
        dk.ask("Which?", replies, answer="b")
