"""The digits task: honest splits, a teacher worth the name, and CSV files of one's own."""

import numpy as np
import pytest
import torch

import distilkit as dk
from distilkit.errors import BadFile, BadType, BadValue


@pytest.fixture(scope="module")
def task():
    return dk.tasks.digits(labelled=100, seed=0)


def rows(examples):
    return {row.tobytes() for row in examples.inputs.numpy()}


def test_splits_are_disjoint_and_complete(task):
    """Nothing that is tested on is ever learnt from; no image occurs twice."""
    assert (len(task.train), len(task.transfer), len(task.pool), len(task.test)) == (100, 1297, 1297, 500)
    assert len(rows(task.pool)) == 1297
    assert len(rows(task.test)) == 500
    assert not rows(task.pool) & rows(task.test)
    assert rows(task.train) < rows(task.transfer) == rows(task.pool)


def test_splits_are_balanced(task):
    assert task.train.labels.bincount().tolist() == [10] * 10
    for examples in (task.pool, task.test):
        share = examples.labels.bincount() / len(examples)
        assert (share - 0.1).abs().max() < 0.01
    assert dk.tasks.digits(labelled=25).train.labels.bincount().tolist() == [3] * 5 + [2] * 5
    everything = dk.tasks.digits(labelled=1297)
    assert torch.equal(everything.transfer.labels, task.pool.labels)


def test_labels_are_true_or_hidden(task):
    known = task.transfer.labels >= 0
    assert known.sum() == 100
    assert torch.equal(task.transfer.labels[known], task.pool.labels[known])
    assert (task.transfer.labels[~known] == -1).all()
    assert task.pool.inputs.min() == 0
    assert task.pool.inputs.max() == 1


def test_seeds_draw_the_labels_and_nothing_else(task):
    again, other = dk.tasks.digits(labelled=100, seed=0), dk.tasks.digits(labelled=100, seed=1)
    assert torch.equal(again.transfer.labels, task.transfer.labels)
    assert not torch.equal(other.transfer.labels, task.transfer.labels)
    assert torch.equal(other.test.inputs, task.test.inputs)
    assert torch.equal(task.relabelled(100, 1).transfer.labels, other.transfer.labels)
    more = dk.tasks.digits(labelled=200, seed=0).transfer.labels
    assert torch.equal(more[task.transfer.labels >= 0], task.transfer.labels[task.transfer.labels >= 0])


def test_students_are_drawn_from_their_seed_alone(task):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second, other = task.student(seed=0), task.student(seed=0), task.student(seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    assert task.student(hidden=7)[0].weight.shape == (7, 64)


def test_the_teacher_is_good_and_the_test_set_honest(task):
    score = task.score(task.teacher())
    assert score["accuracy"] >= 0.97
    assert score["nll"] < 0.1
    assert score["ece"] < 0.05
    assert not task.teacher().training
    assert 0.02 < task.score(task.student())["accuracy"] < 0.35


def test_distilled_beats_its_twin(task):
    student, twin = task.student(), task.student()
    dk.distill(student, task.teacher(), task.transfer, steps=400).result()
    dk.distill(twin, None, task.train, steps=400).result()
    assert task.score(student)["accuracy"] > task.score(twin)["accuracy"] + 0.02


def test_without_a_digit(task):
    fewer = task.without(3)
    assert not (fewer.pool.labels == 3).any()
    assert len(fewer.train) == 90
    assert len(fewer.transfer) == len(fewer.pool) == 1297 - int((task.pool.labels == 3).sum())
    assert torch.equal(fewer.test.labels, task.test.labels)
    with pytest.raises(BadValue, match="digit"):
        task.without(10)


def test_noisy_labels(task):
    noisy = task.with_noise(0.3)
    assert (noisy.train.labels != task.train.labels).sum() == 30
    assert torch.equal(noisy.transfer.labels, task.with_noise(0.3).transfer.labels)
    assert torch.equal(noisy.transfer.labels >= 0, task.transfer.labels >= 0)
    assert torch.equal(task.with_noise(0).transfer.labels, task.transfer.labels)
    assert not (task.with_noise(1).train.labels == task.train.labels).any()
    with pytest.raises(BadValue, match="share"):
        task.with_noise(1.5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"labelled": 9}, BadValue, r"labelled must lie in \[10, 1297\], got 9"),
        ({"labelled": 1298}, BadValue, "1298"),
        ({"labelled": True}, BadType, "whole number"),
        ({"labelled": 100.0}, BadType, "whole number"),
        pytest.param({"seed": -1}, BadValue, "seed", id="f13_negative"),
        pytest.param({"seed": 2**70}, BadValue, "seed", id="f13_huge"),
    ],
)
def test_f13_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        dk.tasks.digits(**arguments)


# --- a CSV of one's own


@pytest.fixture
def csv(tmp_path):
    """Write a CSV of 60 labelled and 5 unlabelled rows, changed by `edit(lines)`, and return its path."""

    def write(edit=lambda lines: lines, encoding="utf-8", end="\n"):
        draw = np.random.default_rng(0)
        lines = [",".join([f"p{column}" for column in range(64)] + ["label"])]
        for row in range(65):
            pixels = ",".join(map(str, draw.integers(0, 17, 64)))
            lines.append(f"{pixels},{row % 10 if row < 60 else ''}")
        path = tmp_path / "meine Ziffern.csv"
        path.write_bytes((end.join(edit(lines)) + end).encode(encoding))
        return path

    return write


def put(row, text):
    return lambda lines: [text(line) if number == row else line for number, line in enumerate(lines)]


def test_a_good_csv(csv):
    task = dk.tasks.digits(labelled=20, path=csv())
    assert len(task.test) == 17
    assert len(task.pool) == 48
    assert (task.pool.labels == -1).sum() == 5
    assert len(task.train) == 20
    assert task.pool.inputs.max() == 1
    assert task.pool.inputs.dtype == torch.float32
    assert not rows(task.pool) & rows(task.test)
    dk.distill(task.student(), task.teacher(), task.transfer, steps=3).result()


@pytest.mark.parametrize(("encoding", "end"), [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-8-sig", "\r\n")])
def test_f52_byte_order_mark_and_line_ends(csv, encoding, end):
    plain = dk.tasks.digits(labelled=20, path=csv())
    other = dk.tasks.digits(labelled=20, path=csv(encoding=encoding, end=end))
    assert torch.equal(plain.pool.inputs, other.pool.inputs)
    assert torch.equal(plain.transfer.labels, other.transfer.labels)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(
            lambda lines: [line.rpartition(",")[0] for line in lines], "one named 'label', got 64", id="no_label"
        ),
        pytest.param(put(0, lambda line: line.replace("label", "digit")), "one named 'label'", id="misnamed"),
        pytest.param(lambda lines: [line.partition(",")[2] for line in lines], "got 64 columns", id="63_pixels"),
        pytest.param(put(3, lambda line: line.rpartition(",")[0] + ",11"), "row 4: the label is '11", id="label_11"),
        pytest.param(
            put(3, lambda line: line.rpartition(",")[0] + ",-2"), "row 4: the label is '-2", id="label_minus_2"
        ),
        pytest.param(
            put(3, lambda line: line.rpartition(",")[0] + ",2.5"), "row 4: the label is '2.5", id="label_half"
        ),
        pytest.param(put(3, lambda line: line.rpartition(",")[0] + ",x"), "row 4: the label is 'x'", id="label_text"),
        pytest.param(
            put(3, lambda line: "dark," + line.partition(",")[2]), "row 4, column 1: a pixel", id="pixel_text"
        ),
        pytest.param(put(3, lambda line: "inf," + line.partition(",")[2]), "row 4, column 1: a pixel", id="pixel_inf"),
        pytest.param(put(3, lambda line: line + ",1,2"), "cannot read .* as CSV", id="row_too_long"),
        pytest.param(put(3, lambda line: "1,2,3"), "row 4, column 4: a pixel", id="row_too_short"),
        pytest.param(
            lambda lines: [lines[0]] + [line + ",7" for line in lines[1:]], "64 columns of pixels", id="all_too_long"
        ),
        pytest.param(lambda lines: lines[:30], "at least 40 labelled rows", id="few_rows"),
        pytest.param(lambda lines: lines[:1], "at least 40 labelled rows", id="only_a_header"),
        pytest.param(lambda lines: [], "cannot read .* as CSV|64 columns", id="empty"),
    ],
)
def test_f52_csvs_at_fault(csv, edit, words):
    with pytest.raises(BadFile, match=words) as caught:
        dk.tasks.digits(labelled=20, path=csv(edit))
    assert isinstance(caught.value, OSError)
    assert str(caught.value).count("\n") < 6


def test_f52_utf_16_and_no_file(csv, tmp_path):
    with pytest.raises(BadFile, match=r"cannot read .* as CSV"):
        dk.tasks.digits(path=csv(encoding="utf-16"))
    with pytest.raises(BadFile, match="cannot read"):
        dk.tasks.digits(path=tmp_path / "absent.csv")
    with pytest.raises(BadFile, match="cannot read"):
        dk.tasks.digits(path=tmp_path)
