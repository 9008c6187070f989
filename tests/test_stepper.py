"""The stepper: what a model wrote, its checks and its confidence; from an edited step the model really goes on."""

import pytest

import distilkit as dk
from distilkit.errors import BadType, BadValue
from tests.scripted import COINS, MARKUP, PENS, TEXTS, said, scripted, small


def stepped(*problems, teacher=True):
    task = small()
    student = scripted(task, [said(PENS, "3+4=7", "7*2=14", "#### 14"), said(PENS, "3+4=9", "9*2=18", "#### 18"),
                              said(PENS, "3+4=8", "7*2=14", "#### 14"), said(PENS, "3+4=6", "6*2=12", "#### 13"),
                              *TEXTS[-2:]])  # fmt: skip
    return dk.stepper(
        task, student, list(problems or (PENS, COINS, MARKUP)), teacher=scripted(task) if teacher else None
    )


@pytest.fixture
def view():
    view = stepped()
    yield view
    view.close()


def test_steps_are_checked_and_tokens_have_their_probability(view):
    one = view.written["student"]
    assert [check.text for check in one.checks] == list(one.solution.steps)
    lines = ["".join(text for text, _ in line) for line in one.tokens]
    assert lines == [*one.solution.steps, f"#### {one.solution.answer}"]
    chosen = [share for line in one.tokens for _, share in line]
    assert sorted(chosen)[0] == pytest.approx(1 / 4, abs=0.01)  # four texts begin with 3+4=
    assert sorted(chosen)[1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("step", "answer", "follows", "words"),
    [
        ("3+4=9", "18", True, "follows from your step"),
        ("3+4=8", "14", False, "is still 14, whatever your step says"),
        ("3+4=6", "13", False, "does not follow"),
    ],
)
def test_the_model_goes_on_from_an_edited_step(step, answer, follows, words):
    view = stepped(PENS, teacher=False)
    view.written["student"] = view._judged(
        view._models["student"], view._task.solve(view._models["student"], [PENS], given=["3+4=7\n"])[0]
    )
    one = view.edit("student", 0, f"  {step} ")
    assert one.solution.steps[0] == step
    assert one.solution.answer == answer
    assert one.follows is follows
    assert words in one.verdict
    assert view.page["columns"]["student"]["edited"] == 0
    view.undo("student")
    assert view.written["student"].solution.answer == "14"
    assert view.written["student"].follows is None
    view.close()


def test_the_other_problems_and_ones_own(view):
    view.look(1)
    assert view.page["question"] == COINS.question
    view.ask("  Tom has 5 pens.  How many? ")
    assert view.page["question"] == "Tom has 5 pens. How many?"
    assert view.page["answer"] == ""
    with pytest.raises(BadValue, match="which problem"):
        view.look(3)


def test_messages_are_answered_or_refused_on_the_page(view, monkeypatch):
    sent = []
    monkeypatch.setattr(view, "send", lambda content, *_: sent.append(content))
    view._handle_custom_msg({"kind": "look", "at": 1}, [])
    assert view.page["at"] == 1
    view._handle_custom_msg({"kind": "edit", "role": "teacher", "step": 0, "text": "9-5=3"}, [])
    assert view.page["columns"]["teacher"]["steps"][0]["right"] is False
    view._handle_custom_msg({"kind": "undo", "role": "teacher"}, [])
    assert view.page["columns"]["teacher"]["edited"] is None
    for content in (
        {"kind": "look", "at": 99},
        {"kind": "edit", "role": "nobody", "step": 0, "text": "1+1=2"},
        {"kind": "edit", "role": "teacher", "step": 0, "text": " "},
        {"kind": "ask", "text": ""},
    ):
        view._handle_custom_msg(content, [])
    assert len(sent) == 4
    assert all(content["kind"] == "error" and content["text"] for content in sent)
    view._handle_custom_msg("nonsense", [])
    view._handle_custom_msg({"kind": "nonsense"}, [])


def test_a_model_that_writes_nothing_is_shown_as_that():
    task = small()
    view = dk.stepper(task, scripted(task, []), PENS)
    one = view.written["student"]
    assert (one.solution.answer, one.checks, one.tokens) == (None, [], [])
    with pytest.raises(BadValue, match="a step is a line"):
        view.edit("student", 0, "3+4=7")
    assert "answer None" in view.line()
    assert view.figure() is not None
    view.close()


def test_refusals_say_what_is_needed():
    task = small()
    with pytest.raises(BadValue, match="there is no problem"):
        dk.stepper(task, scripted(task), [])
    with pytest.raises(BadType, match="problem must be a Problem"):
        dk.stepper(task, scripted(task), ["Tom"])
    with pytest.raises(BadType, match=r"the teacher must be a torch\.nn\.Module"):
        dk.stepper(task, scripted(task), PENS, teacher="teacher")


def test_a_picture_and_a_line_stand_in(view):
    data, _ = view._repr_mimebundle_()
    assert PENS.question in data["text/plain"]
    drawn = [text.get_text() for text in view.figure().texts]
    assert "student" in drawn
    assert any(text.startswith("✗  3+4=6") for text in drawn)
    sizes = [len(str(value)) for value in (*view.get_state().values(), data["image/png"])]
    assert sum(sizes) <= 60_000
