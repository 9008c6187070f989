"""The scene's view: the models see what is drawn, answers are the task's own, what is no scene is refused."""

import importlib
from unittest.mock import patch

import pytest
import torch

import distilkit as dk
from distilkit.errors import BadType, BadValue
from distilkit.tasks.scenes import Scene, Thing
from distilkit.tasks.seer import seer
from distilkit.widgets.scene import scene
from tests.page import tell

RED = Thing("circle", "red", "large", "plain", 0.3, 0.3)
BLUE = Thing("cross", "blue", "small", "striped", 0.7, 0.7)
PAIR = Scene((RED, BLUE))


def shown():
    """A view of two models that have learnt nothing."""
    module = importlib.import_module("distilkit.tasks.scenes")
    with patch.multiple(module, POOL=10, TEST=10):
        task = module._generated.__wrapped__("sketch")
    return scene(task, PAIR, teacher=seer("rgb", 24, 1, seed=1), student=task.student(seed=0))


@pytest.fixture
def view():
    view = shown()
    yield view
    view.close()


def thing(**changed):
    return {**vars(RED), **changed}


def test_answers_captions_and_pictures_are_the_tasks(view):
    said = view.ask("is the red circle above the cross ?")
    page, task = view.page, view._task
    assert page["truth"] == "yes"
    for role, model in view._models.items():
        column = page["columns"][role]
        own = task.ask(model, PAIR, [page["question"]])[0]
        assert said[role] == column["answer"] == own.text
        assert column["bars"][0] == [own.text, pytest.approx(own.probs[own.text], abs=1e-4)]
        assert ["yes", pytest.approx(own.probs["yes"], abs=1e-4)] in column["bars"]  # the truth, however unlikely
        assert torch.tensor(column["attention"]).sum() == pytest.approx(1, abs=0.01)
        caption = task.caption(model, PAIR)
        assert " ".join(word for word, _ in column["caption"]) == caption.text
        assert len(column["looks"]) == len(column["caption"])
        picture = task.render(PAIR)[column["sees"]].expand(3, -1, -1).permute(1, 2, 0)
        assert column["picture"] == (255 * picture).round().byte().numpy().tobytes()
    assert page["columns"]["student"]["sees"] == "sketch"
    assert page["picture"] == page["columns"]["teacher"]["picture"]


def test_a_question_and_another_colour_change_no_sketch(view):
    view.look(view._task.held_out[1])
    before = {role: column["picture"] for role, column in view.page["columns"].items()}
    things = [vars(each) for each in view.scene.things]
    tell(view, kind="look", things=things, question="how many things are there?", serial=2)
    assert {role: column["picture"] for role, column in view.page["columns"].items()} == before
    said = view.said["student"].probs
    things[0] = {**things[0], "colour": "blue" if things[0]["colour"] == "red" else "red"}
    tell(view, kind="look", things=things, question="how many things are there?", serial=3)
    assert view.page["columns"]["teacher"]["picture"] != before["teacher"]
    assert view.page["columns"]["student"]["picture"] == before["student"]
    assert view.said["student"].probs == said


def test_what_the_page_draws_is_asked_about(view):
    tell(view, kind="look", things=[thing(x=0.9)], question="how many things are there?", serial=7)
    assert view.scene.things == (Thing("circle", "red", "large", "plain", 0.9, 0.3),)
    assert (view.page["truth"], view.page["serial"]) == ("1", 7)
    tell(view, kind="look", things=[], question="how many things are there?", serial=8)
    assert view.page["truth"] == "0"
    tell(view, kind="another", serial=9)
    assert view.scene == view._task.held_out[1]
    assert len(view.page["questions"]) >= 6
    tell(view, kind="look", things=[thing()], question="is there a zebra ?", serial=10)
    assert view.page["unknown"] == ["zebra"]
    assert view.page["truth"] is None


@pytest.mark.parametrize(
    ("things", "words"),
    [
        ("nonsense", "at most"),
        ([thing()] * 99, "at most"),
        ([1], "a thing says"),
        ([thing(shape="<img src=x>")], "shape"),
        ([thing(x=2.0)], "x"),
        ([thing(y=float("nan"))], "y"),
    ],
)
def test_a_scene_that_is_none_is_refused_on_the_page(view, monkeypatch, things, words):
    sent = []
    monkeypatch.setattr(view, "send", lambda content, *_: sent.append(content))
    before = view.scene
    tell(view, kind="look", things=things, question="how many things are there ?", serial=3)
    assert sent[0]["kind"] == "error"
    assert words in sent[0]["text"]
    assert view.scene == before
    tell(view, kind="look", things=[thing()], question="", serial=4)
    assert len(sent) == 2
    view._handle_custom_msg("nonsense", [])
    tell(view, kind="nonsense")


def test_what_is_no_task_no_scene_or_no_model_is_refused(view):
    task, student = view._task, view._models["student"]
    with pytest.raises(BadType, match="task of pictures"):
        scene(dk.tasks.digits(), teacher=student, student=student)
    with pytest.raises(BadType, match="a scene is one of"):
        scene(task, "scene", teacher=student, student=student)
    with pytest.raises(BadType, match=r"the teacher must be a torch\.nn\.Module"):
        scene(task, teacher="teacher", student=student)
    with pytest.raises(BadValue, match="a question is a text"):
        view.ask(" ")


def test_a_picture_and_a_line_stand_in(view):
    data, _ = view._repr_mimebundle_()
    assert view.question in data["text/plain"]
    assert "student (sees sketch)" in data["text/plain"]
    titles = [axes.get_title().split(":")[0] for axes in view.figure().axes]
    assert titles == ["teacher, sees rgb", "student, sees sketch"]
    assert sum(len(str(value)) for value in (*view.get_state().values(), data["image/png"])) <= 110_000
