"""The board: means and intervals by hand, a cell run that lands where `cells.judge` says, refusals with a reason."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import distilkit as dk
from distilkit import cells, plots, sweeps
from distilkit.errors import BadType, BadValue
from distilkit.tasks.docs import train_tokenizer
from distilkit.tasks.text import llama, text
from tests.page import tell, until

# perplexity, mean_kl, exposure, distinct_2, own_perplexity: about what a real sweep gives
MEANS = {
    ("corpus", "labels"): (96.0, 0.62, 1.34, 0.90, 58.0),
    ("corpus", "forward_kl"): (71.5, 0.36, 1.21, 0.87, 41.0),
    ("corpus", "reverse_kl"): (77.8, 0.41, 1.18, 0.80, 30.0),
    ("corpus", "jsd"): (72.9, 0.37, 1.20, 0.85, 37.0),
    ("corpus", "skew_reverse_kl"): (75.4, 0.39, 1.19, 0.82, 34.0),
    ("teacher", "labels"): (88.2, 0.55, 1.10, 0.83, 33.0),
    ("teacher", "forward_kl"): (73.0, 0.37, 1.06, 0.84, 34.0),
    ("teacher", "reverse_kl"): (79.0, 0.43, 1.03, 0.77, 25.0),
    ("teacher", "jsd"): (74.1, 0.38, 1.05, 0.82, 31.0),
    ("teacher", "skew_reverse_kl"): (76.5, 0.41, 1.04, 0.80, 29.0),
    ("student", "forward_kl"): (74.8, 0.39, 1.02, 0.86, 33.0),
    ("student", "reverse_kl"): (80.5, 0.44, 0.97, 0.72, 21.0),
    ("student", "jsd"): (75.6, 0.40, 0.99, 0.81, 27.0),
    ("student", "skew_reverse_kl"): (77.7, 0.42, 0.98, 0.78, 24.0),
}
MARKUP = "Return <b>bold</b> of <img src=x onerror=alert(1)> or <script>alert(2)</script> & so on.\n"


def stored(seeds=10, **attrs):
    """A frame as the stored sweep: seeds in common, so that a paired interval is narrower than the others."""
    draw, common, rows = np.random.default_rng(0), np.random.default_rng(1).normal(1, 0.02, seeds), []
    for (whose, divergence), means in MEANS.items():
        for lr, worse in ((0.003, 1.0), (0.01, 1.2)):
            for seed in range(seeds):
                perplexity, *others = np.array(means) * common[seed] * draw.normal(1, 0.01, 5)
                measures = dict(zip(("mean_kl", "exposure", "distinct_2", "own_perplexity"), others, strict=True))
                row = {"text": whose, "divergence": divergence, "lr": lr, "seed": seed}
                rows.append(row | {"perplexity": worse * perplexity, **measures, "seconds": 9.0})
    frame = pd.DataFrame(rows)
    frame.attrs.update(attrs)
    return frame


def tiny(folder):
    """A task of a few hundred words, full of markup, and a teacher as small as its student."""
    lines = [MARKUP + f"The value {i} is {i * i}, and its half is {i / 2}.\n" for i in range(400)]
    (folder / "text.txt").write_text("".join(lines), encoding="utf-8")
    train_tokenizer(lines, folder)
    task = text(folder / "text.txt", tokens=1280, context=64, teacher=folder)
    llama(len(task.tokenizer), layers=1, width=64, seed=7).save_pretrained(folder)
    return text(folder / "text.txt", tokens=1280, context=64, teacher=folder)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def view(task):
    view = dk.board(stored(tokens=1280, steps=4, warm_up=3), task)
    yield view
    view.close()


def test_means_intervals_and_differences_by_hand():
    frame = stored(7)
    table = sweeps.cell_means(frame).set_index(["text", "divergence"])
    assert len(table) == len(MEANS)
    assert (table["lr"] == 0.003).all()
    best = frame[frame["lr"] == 0.003]
    twin = best[(best["text"] == "corpus") & (best["divergence"] == "labels")]
    for (whose, divergence), cell in table.iterrows():
        runs = best[(best["text"] == whose) & (best["divergence"] == divergence)]
        assert cell["seeds"] == len(runs) == 7
        for measure in plots.BOARD:
            over = runs[measure].to_numpy() - twin[measure].to_numpy()
            for name, values in ((measure, runs[measure]), (f"{measure}_over_twin", over)):
                mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(7)
                assert cell[name] == pytest.approx(mean)
                assert cell[f"{name}_half"] == pytest.approx(stats.t.ppf(0.975, 6) * error)


def test_the_twin_is_paired_by_seed_not_by_place():
    frame = stored(5)
    frame = frame.sample(frac=1, random_state=0)
    apart = frame.drop(frame[(frame["text"] == "teacher") & (frame["seed"] == 0)].index)
    whole, part = (sweeps.cell_means(each).set_index(["text", "divergence"]) for each in (frame, apart))
    pd.testing.assert_series_equal(whole.loc[("student", "jsd")], part.loc[("student", "jsd")])
    assert part.loc[("teacher", "jsd"), "seeds"] == 4
    assert part.loc[("teacher", "jsd"), "perplexity_over_twin"] == pytest.approx(-22, abs=3)


@pytest.mark.parametrize(
    ("frame", "error", "words"),
    [
        (dk.load_sweep("digits"), BadType, "lacks .*divergence.*text"),
        (stored().drop(columns="exposure"), BadType, "lacks exposure"),
        (stored().query("divergence != 'labels'"), BadValue, "has no twin"),
        (stored(1), BadValue, "at least 2 values"),
    ],
    ids=["another sweep", "a measure is missing", "no twin", "one seed"],
)
def test_frames_are_refused_with_the_reason(frame, error, words):
    with pytest.raises(error, match=words):
        dk.board(frame, None)


@pytest.mark.parametrize("whose", ["corpus", "teacher", "student"])
def test_a_run_lands_where_judge_says(task, view, whose):
    row = view.run(whose, "reverse_kl")
    assert row["seed"] == 10
    own = task.relabelled(1280, 10)
    student, teacher = cells.beginner(own, 10, steps=3), own.teacher()
    cells.cell(own, student, teacher, text=whose, divergence="reverse_kl", lr=0.003, steps=4, seed=10).result()
    judged = cells.judge(own, teacher, student)
    assert {name: row[name] for name in judged} == judged
    assert view.fresh == [row]
    cell = view.about["cells"][view.selected]
    assert (cell["text"], cell["divergence"]) == (whose, "reverse_kl")
    assert view.run()["seed"] == 11
    assert [each["cell"] for each in view.fresh] == [view.selected] * 2


def test_samples_go_on_from_the_same_held_out_words(task, view):
    samples = view.run("corpus", "labels")["samples"]
    held_out = task.decode(task.test.inputs.flatten())
    assert len(samples) == 2
    for sample in samples:
        assert sample["prompt"]
        assert sample["prompt"].strip("\ufffd") in held_out
        assert sample["student"] != sample["teacher"]


def test_the_empty_cell_is_refused_with_the_reason(view):
    with pytest.raises(BadValue, match=r"the student’s text × labels only cannot be run\. There are no labels"):
        view.run("student", "labels")
    tell(view, run=10)
    assert view.state == {}
    view.selected = 10
    assert "no labels" in view.line()
    with pytest.raises(BadValue, match="Did you mean 'teacher'"):
        view.run("teachr")


def test_a_cell_that_the_sweep_lacks_is_refused(task):
    view = dk.board(stored().query("divergence != 'jsd'"), task)
    with pytest.raises(BadValue, match="The sweep has no run of this cell"):
        view.run("corpus", "jsd")


def test_the_page_runs_and_stops_a_cell(view):
    tell(view, run=2)
    until(lambda: view.fresh)
    assert view.fresh[0]["cell"] == 2
    until(lambda: view.state == {})
    view._warm_up = 10**6
    tell(view, run=1)
    until(lambda: view.state.get("step", 0) > 0)
    assert view.state["of"] == 10**6
    assert view.state["loss"] > 0
    tell(view, run=2)  # one at a time
    tell(view, stop=True)
    until(lambda: "line" in view.state)
    assert view.state["line"].startswith("Stopped at step ")
    assert len(view.fresh) == 1
    tell(view, run=1)
    until(lambda: view.state.get("step", 0) > 0)
    view.close()
    until(lambda: "line" in view.state)


def test_an_error_in_the_thread_is_shown_and_one_in_the_cell_is_raised(view, monkeypatch):
    monkeypatch.setattr(cells, "judge", lambda *_: 1 / 0)
    tell(view, run=1)
    until(lambda: "error" in view.state)
    assert view.state["error"].startswith("ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        view.run()
    assert view.state == {}
    assert view.fresh == []


def test_a_picture_and_a_line_stand_in(view):
    for measure, (title, _, digits, _) in plots.BOARD.items():
        view.measure = measure
        table, plane = view.figure().axes
        mean, half, *_ = view.about["cells"][view.selected]["known"][measure]
        value = f"{mean:.{digits}f} ± {half:.{digits}f}"
        assert value in [label.get_text() for label in table.texts]
        assert value in view.line()
        assert table.get_title(loc="left").startswith(title)
        assert len(plane.texts) == len(MEANS)
    data, _ = view._repr_mimebundle_()
    sizes = [len(str(value)) for value in (*view.get_state().values(), data["image/png"])]
    assert sum(sizes) <= 64_000
