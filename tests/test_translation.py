"""Translation: the task, its own search, what it says of a translation, and files of one's own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import distilkit as dk
from distilkit.errors import BadFile, BadType, BadValue
from distilkit.tasks.grammar import sentences
from distilkit.tasks.translation import (
    END,
    LONGEST,
    MOST_WORDS,
    PAD,
    TESTS,
    WRITTEN,
    pegasus,
    search,
    task_of_grammar,
    word_tokenizer,
)

REAL = Path(__file__).parents[2] / "shared" / "real"
PAIRS = [
    ("Two dogs run.", "Deux chiens courent."),
    ("A man reads a book.", "Un homme lit un livre."),
    ("The women don't sing.", "Les femmes ne chantent pas."),
    ("Paul's friend has an apple.", "L'ami de Paul a une pomme."),
]


@pytest.fixture(scope="module")
def task():
    pairs = tuple((one.english, one.french) for one in sentences(3000, "tests"))
    return replace(task_of_grammar(pairs[:40], word_tokenizer(pairs)), labelled=40)


@pytest.fixture(scope="module")
def teacher(task):
    return task.student(3, layers=(1, 2), width=32)  # untrained: what it says is nonsense, how it says it is not


def test_an_example_is_a_row_of_each(task):
    one = task.examples([("The dog sees us.", "Le chien nous voit.")])
    names = task.tokenizer.convert_ids_to_tokens
    assert names(one.inputs["input_ids"][0][:6].tolist()) == ["the", "dog", "sees", "us", ".", "</s>"]
    assert names(one.inputs["decoder_input_ids"][0][:4].tolist()) == ["<pad>", "le", "chien", "nous"]
    assert names(one.labels[0][:6].tolist()) == ["le", "chien", "nous", "voit", ".", "</s>"]
    assert one.labels[0][6:].tolist() == [-100] * (LONGEST - 6)
    assert one.inputs["attention_mask"][0].tolist() == [1] * 6 + [0] * (LONGEST - 6)


def test_the_tokenizer_splits_as_the_task_does(task):
    for pair in task.pairs:
        for text in pair:
            assert task.tokenizer(text, add_special_tokens=False)["input_ids"] == task.encode(text).tolist()
        assert task.decode(task.encode(pair[1])) == pair[1]  # as French is written


def test_a_translation_says_how_it_was_come_to(task, teacher):
    english = task.pairs[0][0]
    one = task.translate(teacher, [english])[0]
    assert one.source == english
    assert task.decode(task.encode(one.text)) == one.text
    assert len(one.tokens) == len(one.probs) == len(one.choices) == len(one.alignment)
    assert all(len(row) == len(one.source_tokens) for row in one.alignment)
    assert torch.tensor(one.alignment).sum(-1).allclose(torch.ones(len(one.tokens)), atol=1e-4)
    for token, prob, choices in zip(one.tokens, one.probs, one.choices, strict=True):
        assert choices[0] == (token, pytest.approx(prob, abs=1e-4))  # greedy takes the likeliest
    assert one.n_best[0][0] == one.text
    assert one.unknown == ()


def test_words_that_no_model_knows_are_said(task, teacher):
    one = task.translate(teacher, ["The dog sees the xylophone and the quark."])[0]
    assert one.unknown == ("xylophone", "quark")


@pytest.mark.parametrize("beams", [1, 3])
def test_the_score_of_a_candidate_is_its_mean_log_probability(beams):
    model = pegasus(5, layers=(1, 1), width=8, seed=3)
    source = dk.Inputs(input_ids=torch.tensor([[3, END]]), attention_mask=torch.ones(1, 2).long())
    found = search(model, source, beams=beams)[0]
    assert len(found) == beams
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for tokens, score in found:
        logs = model(**source, decoder_input_ids=torch.tensor([[PAD, *tokens]])).logits[0].log_softmax(-1)
        path = [*tokens, END][:WRITTEN]
        assert score == pytest.approx(float(logs[torch.arange(len(path)), path].mean().detach()), abs=1e-3)


def test_a_batch_is_translated_as_one_by_one(task, teacher):
    english = [one for one, _ in task.held_out[:8]]
    for beams in (1, 3):
        assert task.write(teacher, english, beams=beams) == [
            task.write(teacher, [one], beams=beams)[0] for one in english
        ]


def test_a_wider_beam_is_likelier(task, teacher):
    english = [one for one, _ in task.held_out[:20]]
    greedy, wide = (task.translate(teacher, english, beams=beams) for beams in (1, 4))
    gains = [after.n_best[0][1] - before.n_best[0][1] for before, after in zip(greedy, wide, strict=True)]
    assert sum(gains) > -1e-4
    assert all(len(one.n_best) == 4 for one in wide)


def test_the_teachers_text_is_a_transfer_set(task):
    english = [one for one, _ in task.pairs[:6]]
    teacher = task.student()
    dk.distill(teacher, None, task.train, knobs=dk.Knobs(alpha=0, lr=5e-3), steps=60, batch_size=32).result()
    said = task.sequences(teacher, english, beams=2)
    assert len(said) <= 6
    assert (said.labels[:, 0] >= 0).all()
    run = dk.distill(task.student(), teacher, said.unlabelled, knobs=dk.Knobs(1, 1.0, lr=3e-3), steps=2, batch_size=4)
    assert run.result() is not None
    assert run.history[-1].hard == 0


def test_a_student_learns(task):
    student = task.student()
    run = dk.distill(student, None, task.train, knobs=dk.Knobs(alpha=0, lr=5e-3), steps=30, batch_size=32)
    losses = [step.loss for step in run]
    assert losses[-1] < 0.7 * losses[0]


def test_by_phenomenon(task, teacher):
    table = task.by_phenomenon(teacher, limit=40)
    assert table["exact"].between(0, 1).all()
    assert table["sentences"].sum() > 0


def test_speed(task):
    assert task.speed(task.student(), limit=2) > 0


def write_pairs(folder, pairs=PAIRS, times=8):
    rows = [(f"{number} {one}", f"{number} {other}") for number in range(times) for one, other in pairs]
    (folder / "en.txt").write_text("".join(f"{one}\n" for one, _ in rows), encoding="utf-8")
    (folder / "fr.txt").write_text("".join(f"{other}\n" for _, other in rows), encoding="utf-8")
    (folder / "both.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in rows), encoding="utf-8-sig")
    return rows


def test_pairs_of_ones_own(tmp_path):
    rows = write_pairs(tmp_path)
    two = dk.tasks.translation(10, path=(tmp_path / "en.txt", tmp_path / "fr.txt"))
    one = dk.tasks.translation(10, path=tmp_path / "both.tsv")
    assert two.pairs == one.pairs
    assert len(two.pairs) == 10
    assert len(two.held_out) == 4
    assert not set(two.pairs) & set(two.held_out)
    assert set(two.pairs) <= set(rows)
    assert two.relabelled(5, 1).labelled == 5
    with pytest.raises(BadValue, match="there is no shipped teacher of files"):
        two.teacher()
    with pytest.raises(BadValue, match="by_phenomenon is of generated ones"):
        two.by_phenomenon(two.student())
    assert set(two.score(two.student())) == {"bleu", "chrf", "exact"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a\xff\n", "no text in UTF-8"),
        (b"a\0b\n", "zero bytes"),
        (b"\x1f\x8b\x08damaged", "damaged .gz"),
        (b"one line\n", "equally many lines"),
        (b"", "equally many lines"),
    ],
)
def test_f52_bad_files(tmp_path, data, said):
    write_pairs(tmp_path)
    (tmp_path / "fr.txt").write_bytes(data)
    with pytest.raises(BadFile, match=said):
        dk.tasks.translation(10, path=(tmp_path / "en.txt", tmp_path / "fr.txt"))


def test_bad_paths(tmp_path):
    (tmp_path / "no.tsv").write_text("no tab here\n" * 30)
    with pytest.raises(BadFile, match="line 1: no tab"):
        dk.tasks.translation(5, path=tmp_path / "no.tsv")
    with pytest.raises(BadFile):
        dk.tasks.translation(5, path=tmp_path / "missing.tsv")
    with pytest.raises(BadType, match="a pair of files"):
        dk.tasks.translation(5, path=3)
    (tmp_path / "few.tsv").write_text("a dog\tun chien\n")
    with pytest.raises(BadFile, match="20 are needed"):
        dk.tasks.translation(5, path=tmp_path / "few.tsv")


def test_bad_sentences(task, teacher):
    for text in ("", "  "):
        with pytest.raises(BadValue, match="a word in it"):
            task.translate(teacher, [text])
    with pytest.raises(BadType, match="several sentences"):
        task.translate(teacher, "The dog sees us.")
    with pytest.raises(BadValue, match="beams must lie in"):
        task.translate(teacher, ["The dog sees us."], beams=0)
    with pytest.raises(BadValue, match="at most 11 words"):
        task.examples([("a " * 20, "un " * 20)])
    with pytest.raises(BadValue, match="has 64 words and signs; a model reads at most 63"):
        task.write(teacher, ["a dog", "a " * 64])
    assert len(task.translate(teacher, ["a " * 63])[0].source_tokens) == 63
    long = task.translate(teacher, ["the dog sees the cat " * 10 + "<script>"])[0]
    assert len(long.tokens) <= WRITTEN


@pytest.mark.skipif(not REAL.exists(), reason=f"real sentences are in {REAL}, which is not there")
def test_real_captions(tmp_path):
    path = (REAL / "multi30k_train.en.gz", REAL / "multi30k_train.fr.gz")
    task = dk.tasks.translation(300, path=path)
    assert len(task.pairs) == 300
    assert len(task.held_out) == TESTS
    assert len(task.tokenizer) <= MOST_WORDS
    student = task.student()
    run = dk.distill(student, None, task.train, knobs=dk.Knobs(alpha=0, lr=4e-3), steps=20, batch_size=32)
    losses = [step.loss for step in run]
    assert losses[-1] < losses[0]
    one = task.translate(student, ["Two dogs play with a zyzzyva."])[0]
    assert one.unknown == ("zyzzyva",)
