"""`watch` without a page: knobs reach the loop, student and twin stay in step, and every question is answered."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

import distilkit as dk
from distilkit.errors import BadValue
from distilkit.widgets.watch import STOPS, STORED, Watch, decode, encode

TASK = dk.tasks.digits(labelled=100)
TEACHER = TASK.teacher()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watch]]:
    views = []

    def make(*, steps: int = 60, twin: bool = True, task: Any = TASK, **options: Any) -> Watch:
        run = dk.distill(TASK.student(), TEACHER, TASK.transfer, steps=steps)
        views.append(dk.watch(run, twin=TASK.student() if twin else None, task=task, **options))
        return views[-1]

    yield make
    for view in views:
        view.close()
        view._thread.join(10)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def tell(view: Watch, kind: str, **rest: Any) -> list[tuple[dict[str, Any], list[bytes]]]:
    """Send what the page would send; return what Python answers."""
    answers: list[tuple[dict[str, Any], list[bytes]]] = []
    view.send = lambda content, buffers=None: answers.append((content, buffers or []))
    view._handle_custom_msg({"kind": kind, **rest}, [])
    return answers


def test_a_knob_reaches_the_running_loop(watch: Callable[..., Watch]) -> None:
    view = watch(steps=5000, pace=200)
    until(lambda: view.run.history)
    tell(view, "knob", name="temperature", value=8)
    tell(view, "knob", name="lr", value=0.002)
    made = len(view.run.history)
    until(lambda: len(view.run.history) > made + 5)
    assert all(step.temperature == 8 for step in view.run.history[made + 1 :])  # all but the one under way
    assert all(step.lr == 0.002 for step in view.twin.history[made + 1 :])
    until(lambda: any(mark[1:] == ["T", 8.0] for mark in view.frame["marks"]))


def test_a_pause_names_the_step_that_was_under_way(watch: Callable[..., Watch]) -> None:
    view = watch(steps=5000, pace=0)
    under_way, go_on, divergence = threading.Event(), threading.Event(), view.run.divergence

    def slow(*args: Any, **options: Any) -> torch.Tensor:
        under_way.set()
        go_on.wait(20)
        return divergence(*args, **options)

    view.run.divergence = slow
    assert under_way.wait(20)
    threading.Timer(0.3, go_on.set).start()
    tell(view, "pause")
    with view._pair:
        assert f"Paused at step {len(view.run.history)}." in view.frame["line"]
        assert view.frame["step"] == len(view.run.history) == len(view.twin.history)


def test_student_and_twin_make_equally_many_steps(watch: Callable[..., Watch]) -> None:
    view = watch(steps=5000, pace=0)
    until(lambda: len(view.run.history) > 30)
    tell(view, "pause")
    until(lambda: not view.frame["running"])
    with view._pair:
        assert len(view.run.history) == len(view.twin.history)
    made = len(view.run.history)
    tell(view, "step")
    assert len(view.run.history) == len(view.twin.history) == made + 1


def test_a_result_elsewhere_leaves_full_curves(watch: Callable[..., Watch]) -> None:
    view = watch(steps=200, pace=20)
    student = view.run.result()
    view._thread.join(30)
    assert view.done
    assert view.frame["done"]
    assert view.frame["steps"] == list(range(0, 201, 2))
    assert None not in view.frame["twin"]["accuracy"] + view.frame["student"]["agreement"]
    last = view.measured.query("model == 'student' and step == 200").iloc[0]
    assert last["accuracy"] == pytest.approx(TASK.score(student)["accuracy"])


def test_watching_changes_nothing(watch: Callable[..., Watch]) -> None:
    alone = dk.distill(TASK.student(), TEACHER, TASK.transfer, steps=30)
    alone.result()
    view = watch(steps=30, pace=0)
    view.result()
    assert view.run.history == alone.history


def test_f75_an_exception_is_shown_and_raised(watch: Callable[..., Watch]) -> None:
    run = dk.distill(TASK.student(), TEACHER, TASK.transfer, steps=30)
    run.divergence = lambda *_, **__: 1 / 0
    view = dk.watch(run, task=TASK)
    view._thread.join(10)
    assert view.frame["error"].startswith("ZeroDivisionError")
    assert not view.frame["running"]
    with pytest.raises(ZeroDivisionError):
        view.result()
    with pytest.raises(ZeroDivisionError):
        run.result()
    view.close()


def test_reset_and_run_again(watch: Callable[..., Watch]) -> None:
    view = watch(steps=40, pace=0)
    view.result()
    first = view.run.history.copy()
    tell(view, "reset")
    assert view.run.history == view.twin.history == []
    assert view.frame["steps"] == [0]
    for _ in range(2):  # f73: a double click
        tell(view, "run")
    until(lambda: view.frame["done"])
    assert view.run.history == first


def test_scrubbing_answers_with_the_logits_of_that_step(watch: Callable[..., Watch]) -> None:
    view = watch(steps=10, pace=0)
    view.result()
    same, twin = (
        dk.distill(TASK.student(), *other, steps=10) for other in ((TEACHER, TASK.transfer), (None, TASK.train))
    )
    for _ in range(7):
        next(same), next(twin)
    ((content, buffers),) = tell(view, "at", value=7)
    assert content == {"kind": "at", "step": 7}
    for buffer, run in zip(buffers, (same, twin), strict=True):
        expected = dk.predict(run.student, TASK.test.inputs)
        assert torch.equal(torch.from_numpy(np.frombuffer(buffer, "<f4").copy()).reshape(500, 10), expected)


def test_the_examples_are_sent_once(watch: Callable[..., Watch]) -> None:
    ((content, (pixels, labels, teacher)),) = tell(watch(), "hello")
    assert content == {"kind": "data", "side": 8, "said": []}
    assert len(pixels) == 500 * 64
    assert np.array_equal(np.frombuffer(labels, "<i4"), TASK.test.labels)
    assert len(teacher) == 500 * 10 * 4


def test_python_makes_the_same_run(watch: Callable[..., Watch], capsys: pytest.CaptureFixture[str]) -> None:
    view = watch(steps=12, pace=20)
    tell(view, "pause")
    tell(view, "step")
    tell(view, "knob", name="temperature", value=9)
    tell(view, "knob", name="lr", value=0.02)
    view.result()
    space: dict[str, Any] = {}
    exec(view.python(), space)
    assert space["run"].history == view.run.history
    assert space["twin"].history == view.twin.history


def test_a_code_sets_the_knobs(watch: Callable[..., Watch]) -> None:
    view = watch(steps=5000)
    tell(view, "code", value="T=2.5&a=.25&n=200")
    assert (view.run.knobs.temperature, view.run.knobs.alpha) == (2.5, 0.25)
    assert "n=200 is for another run" in view.frame["line"]
    tell(view, "code", value="q=1")
    assert "allowed are task, teacher" in view.frame["line"]
    tell(view, "code", value="task=docs&n=9")
    assert "task=docs is for another run (this one has digits)" in view.frame["line"]
    tell(view, "knob", name="temperature", value=-1)
    assert view.run.knobs.temperature == 2.5


@given(
    st.fixed_dictionaries(
        {
            "temperature": st.floats(0.01, 1e4),
            "alpha": st.floats(0, 1),
            "labelled": st.integers(0, 10**6),
            "seed": st.integers(0, 2**31),
        }
    )
)
def test_code_round_trip(setting: dict[str, float]) -> None:
    again = decode(encode(setting))
    assert again == pytest.approx(setting, rel=1e-11)


def test_a_twin_of_another_length_is_refused() -> None:
    run = dk.distill(TASK.student(), TEACHER, TASK.transfer, steps=10)
    twin = dk.distill(TASK.student(), None, TASK.train, steps=20)
    with pytest.raises(dk.DistilkitError, match="run has 10 steps and its twin 20"):
        dk.watch(run, twin=twin)
    with pytest.raises(dk.DistilkitError, match="the student itself"):
        dk.watch(run, twin=run.student)


def test_without_a_task_the_runs_own_labels_are_measured(watch: Callable[..., Watch]) -> None:
    view = watch(task=None, twin=False, pace=0)
    view.result()
    assert view.about["count"] == 100
    assert view.about["where"].endswith("(no task given)")
    assert "100 the run's own examples" in view.line()
    assert {"text/plain", "image/png"} <= view._repr_mimebundle_()[0].keys()


def test_a_text_is_measured_by_its_perplexity():
    task = dk.tasks.docs(tokens=1024)
    run = dk.distill(task.student(0), None, task.train, knobs=dk.Knobs(alpha=0, lr=0.01), steps=2)
    view = dk.watch(run, task=task, pace=0)
    view.result()
    test = task.test[:7]  # as many whole blocks as 1,000 tokens hold
    assert view.measured["perplexity"].iloc[-1] == dk.metrics.perplexity(
        dk.predict(run.student, test.inputs), test.labels
    )
    assert view.line().startswith("Step 2 of 2. Perplexity on 896 test tokens: student ")
    assert [axes.get_title(loc="left") for axes in view.figure().axes] == ["perplexity", "loss terms (nats)"]
    view.close()


def test_a_run_with_a_loss_of_its_own_is_measured_by_it() -> None:
    frames, labels = torch.randn(6, 8, 4), torch.tensor([[1, 2, *[-1] * 6]] * 6)
    student = torch.nn.Linear(4, 3)
    knobs = dk.Knobs(alpha=0, lr=0.01)
    run = dk.distill(student, None, dk.Examples(frames, labels), knobs=knobs, steps=3, hard=dk.ctc_loss)
    view = dk.watch(run, pace=0)
    view.result()
    loss = float(dk.ctc_loss(dk.predict(student, frames), labels))
    assert view.measured["test_loss"].iloc[-1] == pytest.approx(loss)
    assert view.line().startswith(f"Step 3 of 3. Loss on 6 the run's own examples: student {loss:.1f}.")
    titles = [axes.get_title(loc="left") for axes in view.figure().axes]
    assert titles == ["loss on the test (nats)", "loss terms (nats)"]
    assert view.about["quality"] == "test_loss"
    view.close()


def test_students_own_text_needs_a_task_and_a_run_as_twin():
    task = dk.tasks.docs(tokens=1024)
    student = task.student(0)
    run = dk.distill(
        student, task.student(1), dk.student_text(student, task.prompts(8), length=4), steps=1, batch_size=4
    )
    for options in ({}, {"task": task, "twin": task.student(0)}):
        with pytest.raises(BadValue, match="the student's own and has no labels"):
            dk.watch(run, **options)


def test_texts_that_a_model_takes_by_name_are_shown_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": f"<b>{word}</b> {number}", "label": word} for number in range(20) for word in ("yes", "no")]
    task = dk.own(rows)
    run = dk.distill(task.student(), None, task.train, steps=2)
    view = dk.watch(run, task=task, pace=0)
    view.result()
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(view, "send", lambda content, buffers=(): sent.append(content))
    view._send_data()
    assert sent == [{"kind": "data", "side": 0, "said": [row["text"] for row in task.asked]}]
    view.close()


def test_a_finished_view_leaves_what_a_page_without_a_kernel_scrubs_through(watch: Callable[..., Watch]) -> None:
    view = watch(steps=30)
    run = view.run
    run.result()
    view.twin.result()  # as a chapter does; nothing is waited for
    stored, classes = view.stored, len(TASK.classes)
    count = len(stored["labels"]) // 4
    assert stored["steps"][0] == 0
    assert stored["steps"][-1] == 30
    assert len(stored["steps"]) >= STOPS
    assert len(stored["pixels"]) == count * stored["side"] ** 2
    size = sum(len(each) for pair in stored["logits"] for each in pair)
    assert size + len(stored["pixels"]) + len(stored["labels"]) + len(stored["teacher"]) <= STORED
    student = np.frombuffer(stored["logits"][-1][0], "<i2").reshape(count, classes) / 1000
    exact = dk.predict(run.student, TASK.test.inputs[:count]).log_softmax(-1).numpy()
    np.testing.assert_allclose(student, exact.clip(-32), atol=0.00051)
    assert stored["python"] == view.python()
    view._asked({"kind": "reset"}, [])
    assert view.stored == {}


def test_a_view_of_a_twin_that_was_ahead_keeps_the_steps_that_both_have() -> None:
    run, twin = (dk.distill(TASK.student(seed=0), None, TASK.train, steps=30) for _ in range(2))
    for _ in range(10):
        next(twin)
    view = dk.watch(run, twin=twin, task=TASK)
    run.result()  # in this thread, while the view's own is at work
    twin.result()
    assert view.stored["steps"][0] >= 10
    assert view.stored["steps"][-1] == 30
    view.close()
