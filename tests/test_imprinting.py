"""Imprinting: explanations of a scripted teacher, filters by hand, and a student on what passes."""

import math
from dataclasses import replace

import pytest
import torch

from distilkit import imprinting
from distilkit.errors import BadFile, BadType, BadValue
from distilkit.tasks.arithmetic import Problem, Solution
from tests.scripted import COINS, PENS, scripted, small


@pytest.fixture(scope="module")
def task():
    return small()


@pytest.fixture(scope="module")
def found(task):
    return imprinting.explain(task, scripted(task), [PENS, COINS], samples=24)


def of(found, problem, *steps):
    (one,) = [each for each in found if each.problem == problem and each.steps == steps]
    return one


def test_votes_are_shares_of_the_samples_with_the_same_answer(found):
    assert len({(each.problem, each.text) for each in found}) == len(found) == 6
    for problem in (PENS, COINS):
        shares = {each.answer: each.votes for each in found if each.problem == problem}
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share * 24 == pytest.approx(round(share * 24)) for share in shares.values())
    agree = [each for each in found if each.problem == PENS and each.answer == "14"]
    assert len(agree) == 2
    assert agree[0].votes == agree[1].votes > 0.4


def test_confidence_is_the_mean_log_probability_of_a_token(task, found):
    # Of the three texts on PENS one is chosen at one token, of three: the digit after "3+4=".
    one = of(found, PENS, "3+4=7", "7*2=14")
    tokens = len(task.tokenizer(one.text, add_special_tokens=False)["input_ids"]) + 1
    assert one.confidence == pytest.approx(math.log(1 / 3) / tokens, rel=1e-3)


@pytest.mark.parametrize(
    ("steps", "answer", "sound"),
    [
        (("9-5=4",), "4", True),
        (("9-5=3",), "3", False),  # a wrong sum
        (("9-5=4",), "5", False),  # an answer that is not the last result
        (("9-6=3",), "3", False),  # 6 is nowhere
        ((), "4", False),
    ],
)
def test_sound_means_right_sums_of_known_numbers_up_to_the_answer(task, steps, answer, sound):
    assert imprinting.is_sound(task, Solution(COINS, "", steps, answer, 0.0)) == sound


def test_sound_is_not_right(task):
    """Every sum is right, and yet it is not the sum that was asked for."""
    assert imprinting.is_sound(task, Solution(COINS, "", ("9+5=14",), "14", 0.0))


def test_filters_by_hand(found):
    assert imprinting.keep(found) == found
    assert {each.answer for each in imprinting.keep(found, sound=True)} == {"14", "4"}
    assert all(each.votes >= 0.4 for each in imprinting.keep(found, least_votes=0.4))
    assert imprinting.keep(found, least_confidence=0) == []
    known = imprinting.keep(found, answers={COINS.question: "4"})
    assert [each.answer for each in known if each.problem == COINS] == ["4"]
    assert len([each for each in known if each.problem == PENS]) == 3
    assert imprinting.keep([replace(found[0], answer=None)]) == []


def test_precision_and_recall_by_hand(found):
    sound = imprinting.keep(found, sound=True)
    judged = imprinting.judge(sound, found)
    assert judged == {"kept": 2, "precision": 1.0, "recall": pytest.approx(2 / 3)}
    assert math.isnan(imprinting.judge([], found)["precision"])
    with pytest.raises(BadValue, match="the true answer to 'What' is not known"):
        imprinting.judge([], [imprinting.Explanation(Problem("What", (), ""), "", (), None, 0.0, 0.0, False)])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"samples": 0}, "samples must lie in"),
        ({"sampling_temperature": 0}, "all 4 samples would be alike"),
        ({"sampling_temperature": -1}, "sampling_temperature must lie in"),
    ],
)
def test_explain_refuses_the_impossible(task, how, words):
    with pytest.raises(BadValue, match=words):
        imprinting.explain(task, scripted(task), [PENS], **how)


def test_a_filter_out_of_bounds_is_refused(found):
    with pytest.raises(BadValue, match=r"least_votes must lie in \[0, 1\], got 2"):
        imprinting.keep(found, least_votes=2)
    with pytest.raises(BadValue, match="least_confidence"):
        imprinting.keep(found, least_confidence=0.5)


def test_a_student_learns_what_the_teacher_wrote(task, found):
    kept = imprinting.keep(found, sound=True)
    run = imprinting.imprint(task, kept, steps=2, lr=0.001, seed=3)
    assert len(run.transfer) == task.labelled + len(kept)
    assert run.teacher is None
    again = imprinting.imprint(task, kept, steps=2, lr=0.001, seed=3)
    assert [step.loss for step in run] == [step.loss for step in again]
    row = run.transfer[-1:]
    tokens = row.inputs[0][row.labels[0] >= 0].tolist()
    assert "9-5=4" in task.tokenizer.decode(tokens)
    twin = imprinting.imprint(task, steps=2)
    assert torch.equal(twin.transfer.inputs, task.train.inputs)
    with pytest.raises(BadType, match="explanations"):
        imprinting.imprint(task, [PENS])


def test_explanations_come_back_from_their_file(found, tmp_path):
    found = [*found, replace(found[0], answer=None, steps=())]
    imprinting.save(found, tmp_path / "some.parquet")
    assert imprinting.load(tmp_path / "some.parquet") == found
    (tmp_path / "bad.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(BadFile, match="does not hold explanations"):
        imprinting.load(tmp_path / "bad.parquet")


def test_what_is_wrong_in_the_stored_explanations_is_known():
    """Of the shipped explanations some are wrong, and each filter leaves fewer of them."""
    found = imprinting.load()
    all_of = imprinting.judge(imprinting.keep(found), found)
    filtered = imprinting.judge(imprinting.keep(found, least_votes=0.5, sound=True), found)
    assert all_of["precision"] < 0.6
    assert filtered["precision"] > 0.95
    assert len({each.problem.question for each in found}) == 1000
