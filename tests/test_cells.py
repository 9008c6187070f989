"""The cells of the table: each is the run that its name says, from the student it is given, and judged as described."""

import math

import pytest
import torch

import distilkit as dk
from distilkit import cells
from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.errors import BadValue
from distilkit.transfer import StudentText


@pytest.fixture(scope="module")
def task():
    return dk.tasks.docs(tokens=2048)


@pytest.fixture(scope="module")
def teacher(task):
    return task.student(seed=9)


@pytest.mark.parametrize("divergence", cells.DIVERGENCES)
@pytest.mark.parametrize("text", cells.TEXTS)
def test_a_cell_is_whose_text_by_which_divergence(task, teacher, text, divergence):
    student = task.student(seed=1)
    if (text, divergence) == ("student", "labels"):
        with pytest.raises(BadValue, match="divergence must be one of 'forward_kl', 'reverse_kl', 'jsd'"):
            cells.cell(task, student, teacher, text=text, divergence=divergence)
        return
    run = cells.cell(task, student, teacher, text=text, divergence=divergence, steps=1)
    assert run.student is student
    assert run.teacher is (None if divergence == "labels" else teacher)
    assert run.knobs.at(0)["alpha"] == (0 if divergence == "labels" else 1)
    if divergence != "labels":
        assert run.divergence is getattr(dk, divergence)
    if text == "student":
        assert isinstance(run.transfer, StudentText)
        batch = run.transfer.draw(torch.arange(2))
        assert set(batch.labels.unique().tolist()) == {IGNORED, UNLABELLED}
    elif text == "corpus":
        assert run.transfer is task.train
    else:
        assert run.transfer.inputs.shape == (cells.WRITTEN, cells.PROMPT + cells.LENGTH - 1)
        begun = cells.beginnings(task.train, cells.WRITTEN, seed=0)
        assert torch.equal(run.transfer.inputs[:, : cells.PROMPT], begun)
    next(run)
    assert math.isfinite(run.history[0].loss)


def test_beginnings_are_pieces_of_the_students_own_text(task):
    begun = cells.beginnings(task.train, 20, seed=3, length=5)
    pieces = task.train.inputs.unfold(1, 5, 1).reshape(-1, 5)
    assert all((pieces == piece).all(1).any() for piece in begun)
    assert torch.equal(begun, cells.beginnings(task.train, 20, seed=3, length=5))
    assert not torch.equal(begun, cells.beginnings(task.train, 20, seed=4, length=5))


def test_beginners_are_made_by_their_seed(task):
    first, again, other = (cells.beginner(task, seed, steps=2).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_judge_measures_what_it_says(task, teacher):
    student = task.student(seed=1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = cells.judge(task, teacher, student)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == cells.judge(task, teacher, student)
    assert {name: found[name] for name in task.score(student)} == task.score(student)
    test = task.test[: cells.JUDGED]
    ours, theirs = dk.predict(student, test.inputs), dk.predict(teacher, test.inputs)
    assert found["mean_kl"] == pytest.approx(dk.metrics.mean_kl(ours, theirs))
    assert found["exposure"] > 0
    assert 0 < found["distinct_2"] <= 1
    itself = cells.judge(task, student, student)
    assert itself["mean_kl"] == itself["own_kl"] == 0
    assert itself["agreement"] == 1
