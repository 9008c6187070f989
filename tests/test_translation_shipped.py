"""The shipped translators do what the chapter says, their files are whole, and files of one's own teach a student."""

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest

import distilkit as dk
from distilkit.models import data_path
from distilkit.tasks.grammar import is_held_out, sentences
from distilkit.tasks.translation import ENGLISH

from .faults import refused

REAL = Path(__file__).parents[2] / "shared" / "real"
MODELS = ("teacher", "distilled", "twin")
SOME = 150  # held-out sentences


@pytest.fixture(scope="module")
def task():
    return dk.tasks.translation()


@pytest.fixture(scope="module")
def models(task):
    return {name: getattr(task, name)() for name in MODELS}


@pytest.fixture(scope="module")
def scores(task, models):
    return {name: task.score(model, limit=SOME) for name, model in models.items()}


def test_quality(scores):
    bleu, exact = ({name: each[measure] for name, each in scores.items()} for measure in ("bleu", "exact"))
    assert bleu["teacher"] > 95
    assert exact["teacher"] > 0.9
    assert bleu["distilled"] >= 0.97 * bleu["teacher"]
    assert exact["distilled"] > exact["twin"] + 0.3


def test_a_student_is_a_fifth_of_its_teacher(task, models):
    sizes = {name: dk.cost.parameters(model) for name, model in models.items()}
    assert sizes["distilled"] == sizes["twin"] == dk.cost.parameters(task.student()) <= sizes["teacher"] / 5
    assert all(not model.training for model in models.values())


def test_a_search_is_as_good_as_greedy(task, models):
    """The teacher's text has one translation a sentence, and little is left to search for."""
    wide = task.score(models["distilled"], beams=4, limit=40)
    assert wide["bleu"] == pytest.approx(task.score(models["distilled"], limit=40)["bleu"], abs=3)


def test_grammar_that_the_twin_lacks(task, models):
    exact = {name: task.by_phenomenon(models[name], limit=SOME).set_index("phenomenon")["exact"] for name in MODELS[1:]}
    assert (exact["distilled"] > exact["twin"]).all()


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("The dog sees the cats.", "Le chien voit les chats."),
        ("She does not eat the apple.", "Elle ne mange pas la pomme."),
        ("The old women will see us.", "Les vieilles femmes nous verront."),
    ],
)
def test_a_typed_sentence(task, models, english, french):
    for name in MODELS[:2]:
        assert task.write(models[name], [english]) == [french]


def test_an_unknown_word_is_said(task, models):
    one = task.translate(models["distilled"], ["The astronaut sees us."])[0]
    assert one.unknown == ("astronaut",)
    assert one.text.lower().endswith("nous voit.")


def test_the_teachers_translations(task):
    path = data_path("translation/answered.tsv.gz")
    data = path.read_bytes()
    assert path.with_name(path.name + ".sha256").read_text().split()[0] == hashlib.sha256(data).hexdigest()
    rows = [line.split("\t") for line in gzip.decompress(data).decode().splitlines()]
    assert len(rows) == ENGLISH == len(set(task.english))
    assert [tuple(row) for row in rows] == list(zip(task.english, task.said, strict=True))
    assert not any(map(is_held_out, task.english))
    references = {one.english: one.french for one in sentences(1000, "english")}
    right = [references[english] == said for english, said in rows[:1000]]
    assert sum(right) > 950
    labels = task.transfer.labels
    assert int((labels >= 0).any(1).sum()) == task.labelled


@pytest.mark.parametrize("name", MODELS)
def test_a_damaged_model_is_refused(task, name, tmp_path):
    folder = shutil.copytree(data_path(f"translation/{name}"), tmp_path / name)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    refused(lambda: dk.seq2seq_model(folder), OSError, "sha256", "damaged")


def test_the_stored_sweep_is_clear_of_zero():
    frame = dk.load_sweep("translation")
    best = {way: dk.at_best_lr(runs, "inexact").sort_values("seed") for way, runs in frame.groupby("student")}
    assert set(best) == {"twin", "word-level", "sequence-level", "distilled"}
    assert all(len(runs) >= 5 for runs in best.values())
    for way in ("sequence-level", "distilled"):
        for measure in ("bleu", "chrf", "exact"):
            gain, half = dk.paired(best[way][measure], best["twin"][measure])
            assert gain > half


@pytest.mark.skipif(not REAL.exists(), reason=f"real sentences are in {REAL}, which is not there")
def test_a_student_learns_from_real_captions():
    path = (REAL / "multi30k_train.en.gz", REAL / "multi30k_train.fr.gz")
    task = dk.tasks.translation(5000, path=path)
    student = task.student()
    before = task.score(student, limit=100)
    dk.distill(student, None, task.train, knobs=dk.Knobs(alpha=0, lr=0.006), steps=120, batch_size=32).result()
    after = task.score(student, limit=100)
    assert after["chrf"] > before["chrf"] + 10
    assert after["bleu"] > before["bleu"]


@pytest.mark.skipif(not REAL.exists(), reason=f"real sentences are in {REAL}, which is not there")
def test_f52_real_files_that_are_bad(tmp_path):
    english = REAL / "multi30k_train.en.gz"
    cut = tmp_path / "cut.fr.gz"
    cut.write_bytes((REAL / "multi30k_train.fr.gz").read_bytes()[:100_000])
    refused(lambda: dk.tasks.translation(path=(english, cut)), OSError, "cut.fr.gz", "damaged .gz")
    latin = tmp_path / "latin.fr"
    text = gzip.decompress((REAL / "multi30k_train.fr.gz").read_bytes()).decode()
    latin.write_bytes(text.encode("latin-1", "replace"))
    refused(lambda: dk.tasks.translation(path=(english, latin)), OSError, "latin.fr", "UTF-8")
    short = tmp_path / "short.fr"
    short.write_text("\n".join(text.splitlines()[:-1]), encoding="utf-8")
    refused(lambda: dk.tasks.translation(path=(english, short)), OSError, "29,000 and 28,999")
