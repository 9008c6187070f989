"""Text as a task: nothing of the held-out part is learnt, and your own text is read or refused in words."""

import dataclasses
import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

import distilkit as dk
from distilkit.models import data_path
from distilkit.tasks.baselines import bits_per_byte_when_compressed, kneser_ney
from distilkit.tasks.docs import VOCABULARY
from distilkit.tasks.text import blocks, stream

from .faults import refused

SENTENCES = "".join(f"Sentence {number} says that {number} and {number} is {2 * number}.\n" for number in range(400))


@pytest.fixture(scope="module")
def task():
    return dk.tasks.docs()


@pytest.fixture(scope="module")
def corpus():
    return pd.read_parquet(data_path("docs") / "corpus.parquet")


def rows(examples):
    return {tuple(row) for row in examples.inputs.tolist()}


def test_no_module_is_in_both_parts(corpus):
    parts = corpus.assign(package=corpus["module"].str.split(".").str[0]).groupby("package")["held_out"].nunique()
    assert (parts == 1).all()
    assert 0.05 < corpus["held_out"].mean() < 0.3


def test_f54_no_long_paragraph_of_the_held_out_text_is_learnt(corpus):
    parts = {True: set(), False: set()}
    for text, held_out in zip(corpus["text"], corpus["held_out"], strict=True):
        paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text))
        parts[held_out] |= {paragraph for paragraph in paragraphs if len(paragraph) >= 60}
    assert min(map(len, parts.values())) > 500
    assert not parts[True] & parts[False]


def test_the_licence_of_the_corpus_lies_beside_it():
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in (data_path("docs") / "LICENSE.txt").read_text()


def test_no_block_is_in_both_parts(task):
    assert not rows(task.test) & rows(blocks(task.pool, 128))


def test_labels_are_the_tokens_that_come_next(task):
    assert task.train.inputs.shape == (20_000 // 128, 128)
    for examples in (task.train, task.transfer, task.test):
        assert torch.equal(examples.inputs[:, 1:], examples.labels[:, :-1])
    pool = task.pool.tolist()
    following = set(itertools.pairwise(pool))
    last = zip(task.train.inputs[:, -1].tolist(), task.train.labels[:, -1].tolist(), strict=True)
    assert set(last) <= following


@pytest.mark.parametrize(("tokens", "context"), [(5_000, 128), (1_000, 128), (128, 128), (999, 10)])
def test_the_student_has_as_much_text_as_was_asked_for(tokens, context, tmp_path):
    (tmp_path / "own.txt").write_text(SENTENCES)
    task = dk.tasks.text(tmp_path, tokens=tokens, context=context)
    assert task.train.inputs.shape == (tokens // context, context)
    assert len(rows(task.train)) == len(task.train)


def test_the_seed_picks_the_part_and_the_test_stays(task):
    again, other = dk.tasks.docs(), dk.tasks.docs(seed=1)
    assert torch.equal(task.train.inputs, again.train.inputs)
    assert len(rows(task.train) & rows(other.train)) < len(task.train) / 4
    assert torch.equal(task.test.inputs, other.test.inputs)


@given(text=st.text() | st.text(st.characters(codec="utf-8", categories=["Cc", "Cf", "So", "Mn", "Lo"])))
def test_f56_any_text_comes_back(task, text):
    tokens = task.encode(text)
    assert tokens.dtype == torch.int64
    assert tokens.shape[0] == 1
    assert task.decode(tokens[0]) == text


def test_the_vocabulary_is_the_tokenizers_the_teachers_and_the_students(task):
    assert len(task.tokenizer) == VOCABULARY == 1280
    assert sorted(task.tokenizer.get_vocab().values()) == list(range(VOCABULARY))
    for model in (task.teacher(), task.student()):
        assert dk.predict(model, task.test.inputs[:1, :4]).shape == (1, 4, VOCABULARY)


def test_transformers_opens_the_shipped_teacher(task):
    folder = data_path("docs/teacher")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer("The list is", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(dk.predict(model.eval(), tokens), dk.predict(task.teacher(), tokens))
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20e6


def test_the_score_is_that_of_the_definition(task):
    task = dataclasses.replace(task, test=task.test[:40])  # 16, 16 and 8 at a time
    student = task.student()
    logits = dk.predict(student, task.test.inputs, batch_size=16).double()
    chosen = logits.log_softmax(-1).gather(-1, task.test.labels[..., None])
    score = task.score(student)
    assert score["perplexity"] == pytest.approx(math.exp(-chosen.mean()), rel=1e-5)
    assert score["bits_per_byte"] == pytest.approx(-float(chosen.mean()) / math.log(2) / task.bytes_per_token, rel=1e-5)
    assert score["accuracy"] == pytest.approx(float((logits.argmax(-1) == task.test.labels).double().mean()))


def test_bytes_per_token_are_those_of_the_held_out_text(task, corpus):
    said = sum(len(text.encode()) for text in corpus["text"][corpus["held_out"]])
    assert task.bytes_per_token == said / len(task.held_out)
    assert said == len(task.tokenizer.decode(task.held_out.tolist(), skip_special_tokens=True).encode())


def test_prompts_are_places_of_the_text_that_is_learnt(task):
    task = dataclasses.replace(task, pool=task.pool[:5000])
    prompts = task.prompts(7, length=5)
    assert prompts.shape == (7, 5)
    windows = {tuple(row) for row in task.pool.unfold(0, 5, 1).tolist()}
    assert {tuple(row) for row in prompts.tolist()} <= windows
    assert torch.equal(prompts, task.prompts(7, length=5))
    assert not torch.equal(prompts, task.prompts(7, length=5, seed=1))
    for bad in ({"count": 0}, {"length": 0}, {"length": 10**9}):
        refused(lambda bad=bad: task.prompts(**bad), ValueError, *bad)


def test_a_student_is_initialised_from_its_seed_alone(task):
    before = torch.get_rng_state()
    first, again, other = (dict(task.student(seed).named_parameters()) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    assert task.student(layers=1, width=32).num_parameters() < task.student().num_parameters()
    for bad in ({"seed": -1}, {"layers": 0}, {"width": 8}):
        refused(lambda bad=bad: task.student(**bad), ValueError, *bad)


def test_a_width_that_heads_do_not_divide_is_refused(task):
    refused(lambda: task.student(width=48), ValueError, "multiple of 32", "48")


def test_one_file_holds_out_its_last_tenth(tmp_path):
    file = tmp_path / "own.txt"
    file.write_text(SENTENCES)
    task = dk.tasks.text(file, tokens=500, context=32)
    cut = int(len(SENTENCES) * 0.9)
    assert task.decode(task.pool).removesuffix("<|endoftext|>") == SENTENCES[:cut]
    assert task.decode(task.held_out).removesuffix("<|endoftext|>") == SENTENCES[cut:]
    assert task.train.inputs.shape == (15, 32)


def test_a_folder_holds_out_whole_files_and_is_read_deep(tmp_path):
    parts = [SENTENCES[start : start + 700] for start in range(0, 14_000, 700)]
    (tmp_path / "in" / "side").mkdir(parents=True)
    for number, part in enumerate(parts):
        folder = tmp_path / ("in/side" if number % 2 else "in")
        (folder / f"{number:02}.{('txt', 'md', 'rst', 'py')[number % 4]}").write_text(part)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    task = dk.tasks.text(tmp_path, tokens=500, context=32)
    read = [task.decode(tokens).split("<|endoftext|>")[:-1] for tokens in (task.pool, task.held_out)]
    assert sorted(itertools.chain(*read)) == sorted(parts)
    assert len(read[1]) == 2


def test_f54_a_copy_of_a_file_does_not_leak(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(SENTENCES[: 5000 + 500 * (number % 5)])
    task = dk.tasks.text(tmp_path, tokens=500, context=32)
    assert task.decode(task.pool).count("<|endoftext|>") + task.decode(task.held_out).count("<|endoftext|>") == 5


def test_f52_a_bom_and_windows_line_ends_change_nothing(tmp_path):
    plain, strange = tmp_path / "plain.txt", tmp_path / "strange.txt"
    plain.write_bytes(SENTENCES.encode())
    strange.write_bytes(b"\xef\xbb\xbf" + SENTENCES.replace("\n", "\r\n").encode())
    first, second = (dk.tasks.text(file, tokens=500, context=32) for file in (plain, strange))
    assert torch.equal(first.pool, second.pool)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_f52_what_is_not_utf8_is_refused(tmp_path, coding):
    (tmp_path / "own.txt").write_bytes(("Größe " + SENTENCES).encode(coding))
    refused(lambda: dk.tasks.text(tmp_path / "own.txt"), OSError, "own.txt", "not UTF-8")
    (tmp_path / "own.txt").write_bytes(SENTENCES.encode("utf-16-le"))
    refused(lambda: dk.tasks.text(tmp_path / "own.txt"), OSError, "own.txt", "NUL")


def test_f47_what_is_not_there_or_holds_no_text(tmp_path):
    refused(lambda: dk.tasks.text(tmp_path / "none"), OSError, "none")
    refused(lambda: dk.tasks.text(tmp_path), OSError, ".txt", ".md")
    for text in ("", "Too short."):
        (tmp_path / "own.txt").write_text(text)
        refused(lambda: dk.tasks.text(tmp_path), ValueError, "too short", "128")


def test_impossible_numbers_are_refused(tmp_path):
    file = tmp_path / "own.txt"
    file.write_text(SENTENCES)
    for name, bad in (("tokens", 10**9), ("tokens", 1), ("tokens", 0), ("context", 1), ("seed", -1), ("seed", 2**70)):
        refused(lambda name=name, bad=bad: dk.tasks.text(file, **{name: bad}), ValueError, name, str(bad))
    refused(lambda: dk.tasks.text(file, tokens=500.0), TypeError, "tokens")
    refused(lambda: dk.tasks.text(file, teacher=tmp_path / "none"), OSError, "none")


def brute_kneser_ney(tokens, context, word, words, highest=True):
    """The recursive definition, with sets and loops."""
    order = len(context) + 1
    grams = [tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1)]
    counts = {}
    if highest:
        for gram in grams:
            counts[gram] = counts.get(gram, 0) + 1
    else:
        longer = {tuple(tokens[start : start + order + 1]) for start in range(len(tokens) - order)}
        for gram in longer:
            counts[gram[1:]] = counts.get(gram[1:], 0) + 1
    lower = 1 / words if order == 1 else brute_kneser_ney(tokens, context[1:], word, words, highest=False)
    here = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
    if not here:
        return lower
    n = [0] + [max(1, list(counts.values()).count(number)) for number in (1, 2, 3, 4)]
    share = n[1] / (n[1] + 2 * n[2])
    discount = [0.0] + [
        min(max(k - (k + 1) * share * n[k + 1] / n[k], 0.0), float(k)) for k in (1, 2, 3)
    ]  # of 0, 1, 2, 3 and more
    freed = sum(discount[min(count, 3)] for count in here.values())
    count = here.get(word, 0)
    return (count - discount[min(count, 3)] + freed * lower) / sum(here.values())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_kneser_ney_is_its_definition_and_sums_to_one(order):
    words = 4
    tokens = np.random.default_rng(0).choice(words, 150, p=[0.5, 0.3, 0.15, 0.05])
    contexts = list(itertools.product(range(words + 1), repeat=order - 1))  # the token `words` never occurs
    grams = np.array([(*context, word) for context in contexts for word in range(words)])
    found = kneser_ney(tokens, grams, words=words)
    np.testing.assert_allclose(found.reshape(-1, words).sum(1), 1)
    expected = [brute_kneser_ney(tokens.tolist(), tuple(gram[:-1]), gram[-1], words) for gram in grams.tolist()]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("how", ["lzma", "zstd"])
def test_compressors_see_what_was_learnt(how):
    noise = np.random.default_rng(0).bytes(200_000)
    assert bits_per_byte_when_compressed(noise, noise, how) < 0.02
    assert bits_per_byte_when_compressed(b"", noise, how) == pytest.approx(8, rel=0.01)


def test_baselines_of_a_task(tmp_path):
    (tmp_path / "own.txt").write_text(SENTENCES)
    task = dk.tasks.text(tmp_path / "own.txt", tokens=500, context=32)
    table = dk.tasks.baselines(task)
    assert list(table.columns) == ["model", "perplexity", "bits_per_byte"]
    assert len(table) == 6
    assert table["perplexity"].isna().tolist() == [False] * 4 + [True] * 2
    bits = table["bits_per_byte"].tolist()
    assert bits[0] > 2 * bits[1] > 0
    perplexity = table["perplexity"][1]
    assert bits[1] == pytest.approx(math.log2(perplexity) / task.bytes_per_token)
    pairs = np.stack([task.test.inputs.numpy().ravel(), task.test.labels.numpy().ravel()], 1)
    expected = kneser_ney(task.pool.numpy(), pairs, words=len(task.tokenizer))
    assert perplexity == pytest.approx(math.exp(-np.log(expected).mean()))


def test_the_shipped_tokens_are_those_of_the_corpus():
    texts, task = pd.read_parquet(data_path("docs/corpus.parquet")), dk.tasks.docs()
    parts = {held_out: rows["text"].tolist() for held_out, rows in texts.groupby("held_out")}
    assert torch.equal(task.pool, stream(parts[False], task.tokenizer))
    assert torch.equal(task.held_out, stream(parts[True], task.tokenizer))
    said = sum(len(text.encode()) for text in parts[True])
    assert task.bytes_per_token == said / len(task.held_out)
