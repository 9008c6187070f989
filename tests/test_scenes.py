"""Pictures and words: exact answers of drawn scenes, what each modality shows, models, one's own pictures."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import distilkit as dk
from distilkit.errors import BadFile, BadType, BadValue
from distilkit.tasks.captions import bleu, cider
from distilkit.tasks.drawing import COLOURS, MODALITIES, MOST, SHAPES, draw_scene, render
from distilkit.tasks.pictures import resized
from distilkit.tasks.questions import ANSWERS, KINDS, LONGEST, WORDS, ask_about, says_colour, spell
from distilkit.tasks.scenes import Scene, Thing
from distilkit.tasks.seer import seer

CIRCLE = Thing("circle", "red", "large", "striped", 0.3, 0.3)
CROSS = Thing("cross", "blue", "small", "plain", 0.7, 0.8)
SECOND = Thing("circle", "white", "small", "plain", 0.8, 0.2)
SCENE = Scene((CIRCLE, CROSS, SECOND))


@pytest.fixture(scope="module")
def task():
    return dk.tasks.scenes(labelled=40)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("is there a red circle ?", "yes"),
        ("is there a blue circle ?", "no"),
        ("How many circles are there?", "2"),
        ("how many plain things are there ?", "2"),
        ("how many squares are there ?", "0"),
        ("are there more circles than crosses ?", "yes"),
        ("are there more crosses than circles ?", "no"),
        ("is the cross left of the large thing ?", "no"),
        ("is the cross below the striped circle ?", "yes"),
        ("is the white circle above the cross ?", "yes"),
        ("what shape is the blue thing ?", "cross"),
        ("what size is the red circle ?", "large"),
        ("what colour is the cross ?", "blue"),
        ("what texture is the large circle ?", "striped"),
        ("what colour is the circle ?", None),  # there are two
        ("is the cross left of the cross ?", None),
        ("what is the weather ?", None),
        ("how many are there ?", None),
        ("", None),
    ],
)
def test_the_answer_is_exact(task, question, answer):
    assert task.answer(SCENE, question) == answer


def test_every_kind_is_asked_and_its_words_are_known():
    rng = random.Random(1)
    found = {kind: [ask_about(draw_scene(rng), kind, rng) for _ in range(60)] for kind in KINDS}
    for kind, questions in found.items():
        asked = [each for each in questions if each is not None]
        assert len(asked) > 30, kind
        for each in asked:
            words = spell(each.text)
            assert set(words) <= set(WORDS)
            assert len(words) <= LONGEST
            assert each.answer in ANSWERS
    yes = sum(each.answer == "yes" for each in found["relation"] if each)
    assert 15 < yes < 45


def test_a_caption_goes_from_left_to_right(task):
    assert task.captions(SCENE) == [
        "a large red circle and a small blue cross .",
    ]
    assert task.captions(Scene(())) == ["nothing ."]


def test_scenes_are_the_same_of_a_seed_and_differ_of_another():
    assert draw_scene(random.Random(3)) == draw_scene(random.Random(3)) != draw_scene(random.Random(4))
    assert all(2 <= len(draw_scene(random.Random(seed)).things) <= MOST for seed in range(20))


def test_colour_is_in_rgb_alone_and_texture_is_not_in_depth():
    def of(modality, **other):
        return render([Scene((Thing(**(vars(CIRCLE) | other)),))], modality)

    for modality in MODALITIES:
        same = torch.equal(of(modality), of(modality, colour="blue"))
        assert same == (modality in ("sketch", "depth")), modality
        assert torch.equal(of(modality), of(modality, texture="plain")) == (modality == "depth")
        assert not torch.equal(of(modality), of(modality, size="small"))
        assert of(modality).shape == (1, MODALITIES[modality], 32, 32)
        assert 0 <= of(modality).min() <= of(modality).max() <= 1


def test_a_scene_is_shown_in_any_modality(task):
    assert list(task.render(SCENE)) == ["rgb", "sketch"]
    seen = task.render(SCENE, *MODALITIES)
    assert {name: len(each) for name, each in seen.items()} == MODALITIES
    assert all(torch.equal(each, render([SCENE], name)[0]) for name, each in seen.items())
    with pytest.raises(BadValue, match="dpth"):
        task.render(SCENE, "dpth")


def test_each_shape_looks_different_and_the_nearer_hides():
    seen = [render([Scene((Thing(shape, "red", "large", "plain", 0.5, 0.5),))], "depth") for shape in SHAPES]
    assert all(not torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])
    front = Thing("square", "blue", "large", "plain", 0.5, 0.5)
    behind = Thing("circle", "yellow", "small", "plain", 0.5, 0.5)
    hidden = render([Scene((behind, front))])[0, :, 16, 16]
    assert torch.allclose(hidden, torch.tensor(COLOURS["blue"]), atol=0.2)
    assert render([Scene(())]).shape == (1, 3, 32, 32)


def test_the_task_has_pairs_of_pictures_and_few_labels(task):
    assert len(task.train) == 40
    assert len(task.transfer.labelled) == 40
    inputs, labels = task.transfer.inputs, task.transfer.labels
    assert inputs["rgb"].shape == (6000, 3, 32, 32)
    assert inputs["sketch"].shape == (6000, 1, 32, 32)
    assert inputs["words"].shape == labels.shape == (6000, 6, 12)
    place = (task.test.labels[0, 0] >= 0).nonzero()
    assert len(place) == 1
    assert WORDS[task.test.labels[0, 0, place[0, 0]]] == task.asked[0][0].answer
    assert WORDS[task.test.inputs["words"][0, 0, place[0, 0]]] == "?"
    other = task.relabelled(40, 1)
    assert not torch.equal(other.train.inputs["words"], task.train.inputs["words"])
    seen = {repr(scene.things) for scene in task.held_out}
    assert len(seen) == len(task.held_out)


def test_a_model_sees_its_own_modality_alone(task):
    student = task.student().eval()
    inputs = dict(task.test[:2].inputs)
    changed = inputs | {"rgb": torch.zeros_like(inputs["rgb"])}
    assert torch.equal(student(**inputs), student(**changed))
    assert student(**inputs).shape == (2, 6, 12, len(WORDS))
    colours = seer("rgb", 16, 1, seed=0).eval()
    assert not torch.equal(colours(**inputs), colours(**changed))
    words = inputs["words"].clone()
    words[:, :, 8:] = 0  # what comes later says nothing of what stands before
    cut = student(**inputs | {"words": words})
    assert torch.allclose(cut[:, :, :8], student(**inputs)[:, :, :8], atol=1e-5)


def test_a_distillation_makes_its_loss_less(task):
    run = dk.distill(
        task.student(), seer("rgb", 16, 1, seed=0), task.transfer[:64], knobs=dk.Knobs(1, 0.5), steps=12, batch_size=16
    )
    losses = [step.loss for step in run]
    assert losses[-1] < losses[0]


def test_an_unknown_caption_is_the_teachers_own_or_not_there(task):
    teacher = seer("rgb", 16, 1, seed=0)
    hidden = ~(task.transfer.labels >= 0).flatten(1).any(1)
    assert (task.transfer.inputs["words"][hidden, -1] == 0).all()
    assert (task.transfer.labels[hidden, -1] == -100).all()
    few = task.relabelled(len(task.pool) - 1, 0)
    full = few.captioned(teacher)
    row = int((~(few.transfer.labels >= 0).flatten(1).any(1)).nonzero()[0, 0])
    assert full.labels[row].max() == -1
    written = [WORDS[number] for number in full.inputs["words"][row, -1] if number]
    assert written[0] == "caption"
    told = {"rgb": few.pool.inputs["rgb"][row].float() / 255}
    own = few.caption(teacher, told).text.split()
    assert written[1:] == own[: len(written) - 1]
    known = full.labels[: row if row else 0]
    assert torch.equal(known, few.transfer.labels[: len(known)])


def test_ask_and_caption_say_where_they_looked(task):
    student = task.student()
    one, two = task.ask(student, SCENE, ["Is there a wombat?", "what colour is the cross"])
    assert one.unknown == ("wombat",)
    assert two.unknown == ()
    assert set(one.probs) == set(ANSWERS)
    assert sum(one.probs.values()) == pytest.approx(1, abs=1e-4)
    assert two.attention.shape == (8, 8)
    assert two.attention.sum() == pytest.approx(1, abs=1e-4)
    told = task.caption(student, SCENE)
    assert len(told.text.split()) == len(told.probs) == len(told.attention)
    assert task.ask(student, SCENE, ["zebra"])[0].unknown == ("zebra",)
    for texts, error in ((["   "], BadValue), ("one", BadType), ([3], BadType), (["a " * 12], BadValue)):
        with pytest.raises(error):
            task.ask(student, SCENE, texts)
    with pytest.raises(BadType, match="sees"):
        task.ask(torch.nn.Linear(1, 1), SCENE, ["is there a circle ?"])
    with pytest.raises(BadType, match="sketch"):
        task.ask(student, {"rgb": torch.zeros(3, 32, 32)}, ["is there a circle ?"])


def test_the_questions_of_a_scene_are_one_of_each_kind(task):
    asked = task.questions(task.held_out[0])
    assert len({each.kind for each in asked}) == len(asked) >= 5
    assert all(task.answer(task.held_out[0], each.text) == each.answer for each in asked)


def test_bleu_and_colours():
    told = ["a large red circle .", "a small blue cross .", "a small red square ."]
    assert cider(told, told) == pytest.approx(10)
    near = ["a small red circle .", *told[1:]]
    assert 0 < cider(["zebra"] * 3, told) + 1 <= cider([told[1]] * 3, told) + 1 < cider(near, told) + 1 < 11
    assert bleu(["a small red cross ."], ["a large blue circle ."]) < 50
    assert says_colour("what colour is the cross?")
    assert not says_colour("what shape is the large thing ?")


@pytest.mark.parametrize(
    "given", [{"labelled": 0}, {"labelled": 10**6}, {"seed": -1}, {"sees": "smell"}, {"sees": "depht"}]
)
def test_bad_arguments_are_refused(given):
    with pytest.raises(dk.DistilkitError):
        dk.tasks.scenes(**given)


def test_kinds_are_drawn_at_each_students_best_rate():
    rows = [
        {"sees": "sketch", "student": student, "lr": lr, "seed": seed, "accuracy": right + 0.02 * seed, "colour": 0.2}
        for student, lr, right in (("twin", 0.1, 0.4), ("twin", 0.2, 0.3), ("distilled", 0.1, 0.7))
        for seed in (0, 1)
    ]
    figure = dk.plots.kinds(pd.DataFrame(rows), teacher={"accuracy": 0.9, "colour": 1.0})
    (axes,) = figure.axes
    assert [each.get_text() for each in axes.get_yticklabels()] == ["colour", "all"]
    assert [bars.lines[0].get_xdata().tolist() for bars in axes.containers] == [
        pytest.approx([20, 41]),
        pytest.approx([20, 71]),
    ]
    assert axes.lines[-2].get_xdata().tolist() == pytest.approx([100, 90])
    with pytest.raises(BadValue, match="sketch"):
        dk.plots.kinds(pd.DataFrame(rows), sees="depht")


def test_where_nobody_looked_stays_bright():
    picture = np.full((3, 8, 8), 0.5)
    looked = np.zeros((2, 2))
    looked[0, 1] = 1
    figure = dk.plots.looks({"what $1 ?": picture, "other": picture}, {"what $1 ?": looked})
    dimmed, plain = (axes.images[0].get_array() for axes in figure.axes)
    assert figure.axes[0].get_title() == r"what \$1 ?"
    assert dimmed[0, -1, 0] == pytest.approx(0.5)
    assert dimmed[-1, 0, 0] == pytest.approx(0.15)
    assert np.allclose(plain, 0.5)
    with pytest.raises(BadValue, match="no picture"):
        dk.plots.looks({}, {})


# ── pictures of one's own ──


@pytest.fixture
def folder(tmp_path):
    lines = ["file,question,answer"]
    for number, scene in enumerate(draw_scene(random.Random(seed)) for seed in range(10)):
        pixels = (255 * render([scene])[0]).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).resize((100, 80)).save(tmp_path / f"picture {number} é.png")
        lines.append(f"picture {number} é.png,How many things are there?,{len(scene.things)}")
        lines.append(f"picture {number} é.png,what is there,")
    (tmp_path / "questions.csv").write_text("\ufeff" + "\n".join(lines[:21]), encoding="utf-8")
    return tmp_path


def write(folder, text):
    (folder / "questions.csv").write_text(text, encoding="utf-8")


def test_own_pictures_are_learnt_from(folder):
    rows = (folder / "questions.csv").read_text(encoding="utf-8-sig").splitlines()
    write(folder, "\n".join(row for row in rows if "what is" not in row))
    task = dk.tasks.scenes(labelled=4, path=folder)
    assert (len(task.train), len(task.transfer), len(task.test)) == (4, 8, 2)
    assert dk.tasks.scenes(path=folder).labelled == 8  # all that have answers
    student = dk.distill(task.student(), None, task.train, steps=3, batch_size=4).result()
    assert 0 <= task.score(student)["accuracy"] <= 1
    file = next(folder.glob("*.png"))
    assert task.ask(student, task.look(file), ["how many things are there ?"])[0].text in ANSWERS
    with pytest.raises(BadValue, match="depth"):
        dk.tasks.scenes(path=folder, sees="depth")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing"),
        ("file,answer\na.png,yes", "question"),
        ("file,question,answer\nnone.png,is there a circle ?,yes", "line 2"),
        ("file,question,answer\n../x.png,is there a circle ?,yes", "line 2"),
        ("file,question,answer\npicture 0 é.png,is there a dragon ?,yes", "dragon"),
        ("file,question,answer\npicture 0 é.png,is there a circle ?,perhaps", "perhaps"),
        ("file,question,answer\npicture 0 é.png,is there", "cells"),
        ("file,question,answer\npicture 0 é.png,,yes", "words"),
        ("file,question,answer\npicture 0 é.png,is there a circle ?,yes", "at least 5"),
    ],
)
def test_a_bad_table_is_answered_with_its_line(folder, text, says):
    write(folder, text)
    with pytest.raises(BadFile, match=says):
        dk.tasks.scenes(labelled=4, path=folder)


def test_bad_files_are_answered(folder, tmp_path):
    with pytest.raises(BadFile, match="no folder"):
        dk.tasks.scenes(path=tmp_path / "nowhere")
    (folder / "questions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="UTF-8"):
        dk.tasks.scenes(path=folder)
    whole = next(folder.glob("*.png")).read_bytes()
    for content in (b"", b"<html>", whole[:300], b"\x89PNG\r\n\x1a\n" + bytes(40)):
        (folder / "bad.png").write_bytes(content)
        with pytest.raises(BadFile, match="picture"):
            resized(folder / "bad.png")
    with pytest.raises(BadType):
        resized(3)
    with pytest.raises(BadFile):
        resized(folder / "missing.png")
    for size in ((1, 1), (3000, 2)):
        assert resized(Image.new("L", size, 200))["rgb"].shape == (3, 32, 32)
    assert resized(np.zeros((9, 9, 4), np.uint8))["sketch"].max() == 0
