"""Sweeps: the same rows however they are run, resumable, honest about their origin; and what the stored ones show."""

import json
import subprocess
import sys

import pandas as pd
import pytest

import distilkit as dk
from distilkit import sweeps
from distilkit.errors import BadFile, BadType, BadValue
from distilkit.metrics import interval, paired
from distilkit.models import data_path
from distilkit.sweeps import grid, language

GRID = {"temperature": (2, 4), "alpha": (0, 0.9), "seeds": 2, "steps": 3}


@pytest.fixture(scope="module")
def task():
    return dk.tasks.digits()


@pytest.fixture(scope="module")
def frame(task):
    return dk.sweep(task, **GRID, jobs=1)


def same(left, right):
    pd.testing.assert_frame_equal(left.drop(columns="seconds"), right.drop(columns="seconds"), check_exact=True)


def test_one_row_a_run(frame):
    settings, measures = ["temperature", "alpha", "labelled", "lr", "seed"], ["accuracy", "nll", "ece"]
    assert list(frame) == [*settings, *measures, "agreement", "mean_kl", "seconds"]
    assert len(frame) == 2 * (1 + 2)  # the twin once, whatever the temperature
    assert frame.query("alpha == 0")["temperature"].unique().tolist() == [1]
    assert not frame.isna().any(axis=None)


def test_twin_is_distill_without_a_teacher(task, frame):
    own = task.relabelled(100, 1)
    twin = dk.distill(own.student(1), None, own.train, steps=3, seed=1).result()
    row = frame.query("alpha == 0 and seed == 1").iloc[0]
    assert {name: row[name] for name in ("accuracy", "nll", "ece")} == own.score(twin)


def test_parallel_is_serial(task, frame):
    same(frame, dk.sweep(task, **GRID, jobs=2))


def test_resumes_where_it_stopped(task, frame, tmp_path, monkeypatch):
    path, calls = tmp_path / "runs.parquet", []
    measure = grid.distilled

    def distilled(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(*given)

    monkeypatch.setattr(grid, "distilled", distilled)
    with pytest.raises(KeyboardInterrupt):
        dk.sweep(task, **GRID, path=path, jobs=1)
    side = tmp_path / "runs.parquet.jsonl"
    assert len(side.read_text().splitlines()) == 1 + 3
    side.write_text(side.read_text() + '{"temperature": 4.0, "al')  # the crash came in the middle of a line
    same(frame, dk.sweep(task, **GRID, path=path, jobs=1))
    assert len(calls) == 4 + 3
    assert not side.exists()
    same(frame, dk.sweep(task, **GRID, path=path, jobs=1))
    assert len(calls) == 7
    dk.sweep(task, **GRID | {"seeds": 3}, path=path, jobs=1)  # a wider grid runs what is new
    assert len(calls) == 7 + 3
    assert not side.exists()


def test_rows_of_an_unfinished_call_are_kept_by_one_that_needs_no_other(task, frame, tmp_path):
    path, side = tmp_path / "runs.parquet", tmp_path / "runs.parquet.jsonl"
    dk.sweep(task, **GRID | {"seeds": 1}, path=path, jobs=1)
    about, rows = frame.attrs, frame.to_dict("records")
    head = {name: about[name] for name in ("hidden", "steps", "measure", "teacher")}
    side.write_text("".join(json.dumps(row) + "\n" for row in (head, *rows)))
    same(frame, dk.sweep(task, **GRID, path=path, jobs=1))
    assert len(grid._read(path)) == len(frame)
    assert not side.exists()


def test_file_says_how_it_was_made(task, tmp_path):
    path = tmp_path / "runs.parquet"
    made = dk.sweep(task, **GRID, path=path, jobs=1)
    about = grid._read(path).attrs
    assert about == made.attrs
    assert about["command"].startswith("sweep(task, temperature=[2.0, 4.0], alpha=[0.0, 0.9]")
    assert about["seeds"] == [0, 1]
    assert {"date", "versions", "teacher", "steps", "hidden"} <= about.keys()
    with pytest.raises(BadValue, match="its steps is 3, this one's is 4"):
        dk.sweep(task, **GRID | {"steps": 4}, path=path)
    path.write_bytes(b"PAR1")
    with pytest.raises(BadFile, match="is not a sweep"):
        dk.sweep(task, **GRID, path=path)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"alpha": ()}, BadValue, "alpha is empty"),
        ({"alpha": (0.5, 1.5)}, BadValue, r"alpha must lie in \[0, 1\], got 1.5"),
        ({"temperature": "hot"}, BadType, "temperature must be a number"),
        ({"temperature": (lambda step: 4.0,)}, BadType, "constants, not schedules"),
        ({"lr": -1}, BadValue, "lr must lie in"),
        ({"labelled": (100, 5)}, BadValue, "labelled must lie in"),
        ({"labelled": 0}, BadValue, "labelled must lie in"),
        ({"seeds": 0}, BadValue, "seeds must lie in"),
        ({"seeds": (0, -1)}, BadValue, "seeds must lie in"),
        ({"steps": 0}, BadValue, "steps must lie in"),
        ({"jobs": 0}, BadValue, "jobs is 0"),
    ],
)
def test_bad_grids_are_refused_before_anything_runs(task, asked, error, message, monkeypatch):
    monkeypatch.setattr(grid, "_row", None)
    with pytest.raises(error, match=message):
        dk.sweep(task, **{"steps": 1, "jobs": 1} | asked)


LANGUAGE = ("language", "cached", "board", "on_the_way", "at_the_end")


def test_stored_sweeps_are_made_by_one_command(tmp_path):
    code = f"import pathlib, distilkit.sweeps.digits as s; s.make(pathlib.Path({str(tmp_path)!r}), seeds=1, steps=1)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    stored = [path for path in data_path("sweeps").glob("*.parquet") if (tmp_path / path.name).exists()]
    assert len(stored) == len(list(tmp_path.glob("*.parquet"))) >= 6
    for path in stored:
        frame = dk.load_sweep(path.stem)
        assert list(frame) == list(grid._read(tmp_path / path.name))
        assert frame.attrs["command"] == "python -m distilkit.sweeps"
        assert frame.attrs["steps"] == 600
        assert len(frame.attrs["seeds"]) >= 10


@pytest.mark.parametrize("name", LANGUAGE)
def test_stored_sweeps_of_language_say_how_they_were_made(name):
    frame = dk.load_sweep(name)
    assert frame.attrs["command"] == f"python -m distilkit.sweeps {name}"
    assert frame.attrs["seeds"] == list(range(10))
    assert frame.attrs["teacher"] == grid._digest(dk.tasks.docs().teacher())


@pytest.mark.slow
def test_a_stored_row_of_language_is_made_again():
    task, point = dk.tasks.docs(), {"student": "twin", "tokens": 20_000, "lr": 0.001, "seed": 0}
    stored = dk.load_sweep("language")
    (row,) = stored[(stored[list(point)] == pd.Series(point)).all(axis=1)].to_dict("records")
    again = language._language(task, task.teacher(), point, {"steps": stored.attrs["steps"]})
    for measure in ("perplexity", "best_perplexity", "mean_kl", "agreement"):
        assert again[measure] == pytest.approx(row[measure], rel=0.02)  # another processor rounds otherwise


def test_a_stored_row_is_made_again():
    stored = dk.load_sweep("digits")
    again = dk.sweep(dk.tasks.digits(), alpha=[0, 0.9], labelled=[100], seeds=1, jobs=1)
    rows = again.merge(stored, on=["temperature", "alpha", "labelled", "lr", "seed"], suffixes=("", "_stored"))
    assert len(rows) == 2
    for measure in ("accuracy", "nll", "agreement", "mean_kl"):  # to the bit here; another processor rounds otherwise
        assert rows[measure].tolist() == pytest.approx(rows[f"{measure}_stored"].tolist(), rel=0.05)


# What the stored sweeps show: the claims of chapters 01 to 04


def test_distilled_beats_the_tuned_twin():
    gains = sweeps.gains(dk.load_sweep("digits"), 100).set_index(["temperature", "alpha"])
    for setting in [(4, 0.9), (8, 0.9)]:
        best = gains.loc[setting]
        assert best["seeds"] >= 10
        assert best["gain"] >= 0.03
        assert best["gain"] - best["half"] > 0


def test_recognises_what_it_never_saw():
    runs = dk.load_sweep("omitted")
    twin, distilled = runs[runs["student"] == "twin"], runs[runs["temperature"] == 8]
    assert (twin["threes"] == 0).all()
    mean, half = interval(distilled["threes_shifted"])
    assert mean - half > 0.8


def pooled(runs):
    """What `digits` has at T = 4 and alpha 0.9: every image of the pool, forward KL."""
    runs = runs[(runs["labelled"] == 100) & (runs["temperature"] == 4) & (runs["alpha"] == 0.9)]
    return runs.sort_values("seed")["accuracy"].tolist()


def test_the_gain_is_in_the_soft_labels_of_every_image():
    every = pooled(dk.load_sweep("digits"))
    runs = dk.load_sweep("controls").pivot(index="seed", columns="control", values="accuracy")
    assert len(runs) == len(every) >= 10
    for control in ("label smoothing", "class means", "labelled images"):
        gain, half = paired(every, runs[control].tolist())
        assert gain - half > 0.02


def test_where_answers_are_few_softening_helps():
    runs = dk.load_sweep("few").pivot(index="seed", columns="temperature", values="accuracy")
    gain, half = paired(runs[4.0], runs[1.0])
    assert len(runs) >= 10
    assert gain - half > 0.01


def test_a_teacher_overrules_wrong_labels():
    runs = dk.load_sweep("noise").pivot(index="seed", columns="alpha", values="accuracy")
    gain, half = paired(runs[0.9], runs[0.0])
    assert len(runs) >= 10
    assert gain - half > 0.1


def test_every_divergence_beats_the_labels():
    twin = sweeps.tuned_twin(dk.load_sweep("digits"), 100).sort_values("seed")["accuracy"].tolist()
    for _, cell in dk.load_sweep("divergences").sort_values("seed").groupby("divergence"):
        assert len(cell) >= 10
        gain, half = paired(cell["accuracy"].tolist(), twin)
        assert gain - half > 0
