"""The domain matrix: a mixture that lands where `judge` says, refusals with a reason, a picture that stands in."""

import pytest

import distilkit as dk
from distilkit import plots
from distilkit.errors import BadType, BadValue
from distilkit.sweeps import domains as sweep
from distilkit.tasks import Domains
from tests.page import tell, until
from tests.test_domains import stored


@pytest.fixture(scope="module")
def task():
    return dk.tasks.domains(tokens=1280)


@pytest.fixture
def view(task):
    frame = stored()
    frame.attrs.update(tokens=1280, steps=2)
    view = dk.matrix(frame, task)
    yield view
    view.close()


def test_a_mixture_lands_where_judge_says_and_both_write_on(task, view):
    shares = {"docs": 0.75, "translation": 0.25}
    row = view.run(shares)
    own, teacher = task.relabelled(1280, 10), task.teacher()
    student = sweep.learnt(own.student(10), teacher, own.mixture(shares), lr=0.005, steps=2, seed=10).result()
    judged = own.judge(student, teacher)
    for target, cell in zip(view.about["targets"], row["cells"], strict=True):
        assert {name: value for name, (value,) in cell.items()} == {m: judged[f"{target}_{m}"] for m in plots.MATRIX}
    assert row["seed"] == 10
    assert row["shares"] == {"docs": 0.75, "support": 0, "arithmetic": 0, "translation": 0.25}
    assert view.fresh == [row]
    assert view.selected == len(view.about["rows"])
    assert f"{row['cells'][0]['nll'][0]:.2f} (seed 10)" in view.line()
    for target, sample in zip(view.about["targets"], row["samples"], strict=True):
        assert sample["prompt"].strip("\ufffd") in task.decode(task[target].held_out)
        assert sample["student"] != sample["teacher"]


def test_the_page_distils_stops_and_is_told_of_errors(view, monkeypatch):
    view._steps = 10**6
    tell(view, mix={"support": 0.2, "docs": 0.2, "arithmetic": 0, "translation": 0})  # they need not sum to 1
    until(lambda: view.state.get("step", 0) > 0)
    assert view.state["of"] == 10**6
    tell(view, mix={"docs": 1})  # one at a time
    tell(view, stop=True)
    until(lambda: "line" in view.state)
    assert view.state["line"].startswith("Stopped at step ")
    assert view.fresh == []
    for mix, words in (({"docs": 0}, "all shares are 0"), ("docs", "each domain's part"), ({"doc": 1}, "'docs'"),
                       ({"docs": float("nan")}, "share of docs"), ({"docs": "<b>"}, "share of docs")):  # fmt: skip
        tell(view, mix=mix)
        until(lambda words=words: words in view.state.get("error", ""))
    view._steps = 1
    monkeypatch.setattr(Domains, "judge", lambda *_: 1 / 0)
    tell(view, mix={"docs": 1.0})
    until(lambda: "ZeroDivisionError" in view.state.get("error", ""))
    with pytest.raises(ZeroDivisionError):
        view.run({"docs": 1.0})
    assert view.state == {}


def test_what_is_no_matrix_is_refused_with_the_reason(task, view):
    with pytest.raises(BadType, match="needs a sweep over domains"):
        dk.matrix(dk.load_sweep("digits"), task)
    with pytest.raises(BadType, match="task of several domains"):
        dk.matrix(stored(2), dk.tasks.digits())
    with pytest.raises(BadValue, match="sum to 0"):
        view.run({"docs": 0.5})


def test_a_picture_and_a_line_stand_in(view):
    for measure, (title, _, digits) in plots.MATRIX.items():
        view.measure = measure
        (axes,) = view.figure().axes
        value, half, over, over_half = view.about["rows"][1]["cells"][2][measure]
        view.selected, view.target = 1, 2
        assert f"{value:.{digits}f} ± {half:.{digits}f}" in [label.get_text() for label in axes.texts]
        assert f"{value:.{digits}f} ± {half:.{digits}f}, {over:+.{digits}f} ± {over_half:.{digits}f}" in view.line()
        assert axes.get_title(loc="left").startswith(title)
    data, _ = view._repr_mimebundle_()
    sizes = [len(str(value)) for value in (*view.get_state().values(), data["image/png"])]
    assert sum(sizes) <= 60_000
