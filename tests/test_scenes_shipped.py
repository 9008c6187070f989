"""The shipped models of pictures and words: what the chapter says of them, on a part of the held-out scenes."""

import hashlib

import pytest
import torch

import distilkit as dk
from distilkit.models import data_path
from distilkit.tasks.questions import says_colour

SCENES = 120  # of 500: an accuracy without colour is then within about 3 points of that on all
ROLES = ("teacher", "distilled", "twin")


@pytest.fixture(scope="module")
def task():
    return dk.tasks.scenes()


@pytest.fixture(scope="module")
def models(task):
    return {role: getattr(task, role)() for role in ROLES}


@pytest.fixture(scope="module")
def scores(task, models):
    return {role: task.score(model, limit=SCENES) for role, model in models.items()}


@pytest.mark.parametrize("role", ROLES)
def test_what_is_shipped_is_what_its_note_says(role):
    path = data_path(f"scenes/{role}.safetensors")
    noted = path.with_name(f"{path.name}.sha256").read_text().split()[0]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == noted
    assert path.stat().st_size < 20e6


def test_a_student_is_a_fifth_of_its_teacher_and_sees_a_sketch(models):
    sizes = {role: dk.cost.parameters(model) for role, model in models.items()}
    assert sizes["distilled"] == sizes["twin"] <= sizes["teacher"] / 5
    assert [models[role].sees for role in ROLES] == ["rgb", "sketch", "sketch"]
    assert not any(model.training for model in models.values())


def test_the_student_is_near_its_teacher_and_far_above_its_twin(scores):
    shown = {role: score["without colour"] for role, score in scores.items()}
    assert shown["teacher"] > 0.92
    assert shown["distilled"] > 0.94 * shown["teacher"]
    assert shown["distilled"] > shown["twin"] + 0.3
    captions = {role: score["exact but colours"] for role, score in scores.items()}
    assert captions["teacher"] > 0.88
    assert captions["distilled"] > captions["twin"] + 0.7


def test_what_a_sketch_hides_is_not_known_and_the_student_knows_it(task, models):
    """Asked for a colour it is no surer than it is right; its twin is sure, and as often wrong."""
    some = task.test[:SCENES]
    colour = torch.tensor([[each.kind == "colour" for each in asked] + [False] for asked in task.asked[:SCENES]])
    labels = some.labels[colour]
    sure = {}
    for role, model in models.items():
        logits = dk.predict(model, some.inputs)[colour]
        right = dk.metrics.accuracy(logits, labels)
        sure[role] = float(logits[labels >= 0].softmax(-1).amax(-1).mean())
        assert right > 0.95 if role == "teacher" else right < 0.35
    assert sure["distilled"] < 0.3
    assert sure["twin"] > 0.7


def test_a_negative_has_the_same_sketch_for_the_student_alone(task, models):
    """Of a picture, too, not only of a scene: what `look` makes of it is like what the student learnt from."""
    right = {"teacher": 0, "distilled": 0}
    kinds = ("shape", "size", "texture", "count")
    asked = [(scene, one) for scene in task.held_out[:40] for one in task.questions(scene) if one.kind in kinds]
    asked = [(scene, one) for scene, one in asked if not says_colour(one.text)]
    for scene, one in asked:
        pixels = (255 * (1 - task.render(scene)["rgb"])).byte().permute(1, 2, 0).numpy()
        for role in right:
            said = task.ask(models[role], task.look(pixels), [one.text])[0]
            right[role] += said.text == one.answer
    assert len(asked) > 40
    assert right["distilled"] > 0.75 * len(asked)
    assert right["teacher"] < 0.4 * len(asked)


def test_the_stored_sweep_shows_the_gain():
    """Of the sketch with an interval clear of zero; of another modality, which may have few seeds, in the mean."""
    frame = dk.load_sweep("scenes")
    assert "sketch" in set(frame["sees"])
    for sees, runs in frame.groupby("sees"):
        kinds = {kind: dk.at_best_lr(each).sort_values("seed") for kind, each in runs.groupby("student")}
        assert list(kinds["twin"]["seed"]) == list(kinds["distilled"]["seed"])
        for measure in ("accuracy", "without colour", "exact but colours"):
            gain, half = dk.paired(kinds["distilled"][measure], kinds["twin"][measure])
            assert gain > (half if sees == "sketch" else 0.03), (sees, measure)
    assert len(set(frame[frame["sees"] == "sketch"]["seed"])) >= 5
