"""Data and models of one's own: each kind of data becomes a task that the same verbs train, judge and compare on."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import distilkit as dk
from distilkit.errors import BadType, BadValue, DistilkitError
from distilkit.transfer import Examples
from distilkit.your_own.labels import Texts, picture
from distilkit.your_own.ngrams import Ngrams
from distilkit.your_own.sounds import spoken
from distilkit.your_own.tokens import byte_pairs
from distilkit.your_own.variations import variations
from distilkit.your_own.words import Completions, Translations
from tests.faults import refused
from tests.openai_server import chat, one, serving

FRUIT = ("apple", "pear", "plum", "cherry", "fig", "grape", "melon", "lemon")
TOOLS = ("hammer", "saw", "drill", "pliers", "wrench", "file", "chisel", "clamp")


def rows(count=160, unlabelled=0):
    """Sentences about fruit and tools, the last of them without a label."""
    draw = np.random.default_rng(0)
    made = []
    for place in range(count):
        kind, words = (("fruit", FRUIT), ("tool", TOOLS))[place % 2]
        one, other = draw.choice(words, 2, replace=False)
        text = f"I took the {one} and the {other} number {place}"
        made.append({"text": text, "label": None if place >= count - unlabelled else kind})
    return made


@pytest.fixture(scope="module")
def task():
    return dk.own(rows(unlabelled=40), seed=1)


def test_rows_become_examples_and_no_held_out_row_is_learnt_from(task):
    assert isinstance(task, Texts)
    assert task.classes == ("fruit", "tool")
    held_out = {row["text"] for row in task.asked}
    chosen_by = {row["text"] for row in task.valid_rows}
    learnt = {row["text"] for row in task.learnt}
    assert not held_out & learnt
    assert not chosen_by & (learnt | held_out)
    assert len(task.transfer) == len(task.learnt) > len(task.train)
    assert (task.transfer.labels == -1).sum() == 40
    assert (task.train.labels >= 0).all()
    assert all(row["label"] for row in task.asked)


def test_the_same_seed_is_the_same_task():
    one, other = (dk.own(rows(), seed=3) for _ in range(2))
    assert one.asked == other.asked
    assert torch.equal(one.train.inputs["input_ids"], other.train.inputs["input_ids"])
    assert dk.own(rows(), seed=4).asked != one.asked
    for name, value in one.student(5).state_dict().items():
        assert torch.equal(value, other.student(5).state_dict()[name])


def test_trials_compare_student_and_twin_over_seeds(task):
    teacher = task.teacher()
    assert task.grown
    found = dk.trials(task, teacher, steps=30, seeds=2, lrs=(0.002, 0.004))
    assert list(found.results["model"]) == ["teacher", "distilled", "twin", "distilled", "twin"]
    scores = ["accuracy", "f1", "nll", "ece", "agreement", "mean_kl", "parameters", "size_mb", "latency_ms"]
    assert np.isfinite(found.results[scores].astype(float)).all(axis=None)
    assert found.results["agreement"][0] == 1
    assert len(found.tried) == 4
    for kind, rates in found.tried.groupby("model"):
        best = rates.loc[rates["misjudged"].idxmin(), "lr"]
        assert set(found.results.loc[found.results["model"] == kind, "lr"]) == {best}
    gain, half = found.gain("accuracy")
    by_seed = found.results.pivot_table(index="seed", columns="model", values="accuracy")
    assert gain == pytest.approx((by_seed["distilled"] - by_seed["twin"]).mean())
    assert half >= 0
    assert {name: len(steps) for name, steps in found.histories.items()} == {"distilled": 30, "twin": 30}
    table = task.answers(5, teacher=teacher, distilled=found.student)
    assert list(table) == ["input", "reference", "teacher", "distilled"]
    assert set(table["teacher"]) <= set(task.classes)


def test_one_seed_gives_no_interval(task):
    found = dk.trials(task, task.teacher(), steps=2, seeds=1, lrs=(0.002,))
    assert math.isnan(found.gain("accuracy")[1])
    assert len(found.tried) == 2


def test_answers_of_the_teacher_are_kept_and_gone_on_with(task, tmp_path):
    first = dk.trials(task, task.teacher(), transfer="corpus", steps=4, seeds=1, lrs=(0.002,), folder=tmp_path / "kept")
    assert (tmp_path / "kept").is_dir()
    again = dk.trials(task, task.teacher(), transfer="corpus", steps=4, seeds=1, lrs=(0.002,), folder=tmp_path / "kept")
    scores = ["accuracy", "nll", "mean_kl"]
    pd.testing.assert_frame_equal(first.results[scores], again.results[scores])


# ── teachers by name ─────────────────────────────────────────────────────────────────────────────────────────────────


def saved(folder, classes, *, texts=None, layers=4, seed=0):
    """A small BERT with its tokenizer, as a practitioner has one in a folder."""
    from transformers import BertConfig, BertForSequenceClassification

    tokens = byte_pairs(texts or [row["text"] for row in rows()], 400, lower=True)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        id2label=dict(enumerate(classes)),
        label2id={name: place for place, name in enumerate(classes)},
    )
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return model, tokens


def test_a_named_teacher_brings_its_classes_its_tokens_and_a_student_of_half_its_layers(tmp_path):
    model, tokens = saved(tmp_path / "teacher", ["Tool", "Fruit"])
    task = dk.own(rows(), teacher=tmp_path / "teacher")
    assert task.classes == ("tool", "fruit")
    assert task.processor.get_vocab() == tokens.get_vocab()
    torch.testing.assert_close(dk.predict(task.teacher(), task.test.inputs), dk.predict(model, task.test.inputs))
    assert not task.grown
    student = task.student()
    assert student.config.num_hidden_layers == 2
    inside = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(student.state_dict()[inside], model.state_dict()[inside])


def test_a_small_student_begins_from_nothing(tmp_path):
    saved(tmp_path / "teacher", ["fruit", "tool"])
    task = dk.own(rows(), teacher=tmp_path / "teacher", student="small")
    student = task.student(3)
    assert (student.config.num_hidden_layers, student.config.hidden_size) == (2, 16)
    assert not task.pretrained
    assert torch.equal(student.classifier.weight, task.student(3).classifier.weight)
    assert not torch.equal(student.classifier.weight, task.student(4).classifier.weight)


def test_a_teacher_of_other_classes_gets_a_new_head_and_learns(tmp_path):
    saved(tmp_path / "teacher", ["positive", "negative", "neutral"])
    task = dk.own(rows(), teacher=str(tmp_path / "teacher"), teacher_steps=4)
    teacher = task.teacher()
    assert task.grown
    assert dk.predict(teacher, task.test.inputs[:3]).shape == (3, 2)


def test_a_teacher_with_another_tokenizer_is_told_in_words(tmp_path):
    model, tokens = saved(tmp_path / "teacher", ["fruit", "tool"])
    saved(tmp_path / "student", ["fruit", "tool"], texts=["quite another text, of other letters " * 3], layers=1)
    task = dk.own(rows(), teacher=tmp_path / "teacher", student=tmp_path / "student")
    assert task.processor.get_vocab() != tokens.get_vocab()
    said = tokens([row["text"].lower() for row in task.asked], padding=True, return_tensors="pt")
    with torch.no_grad():
        direct = model(input_ids=said["input_ids"], attention_mask=said["attention_mask"]).logits
    torch.testing.assert_close(dk.predict(task.teacher(), task.test.inputs), direct, atol=1e-4, rtol=1e-4)


def test_a_teacher_behind_an_address_labels_rows_or_only_writes():
    def answer(path, body):
        said = body["messages"][-1]["content"]
        if "logprobs" not in body:
            return one(message={"role": "assistant", "content": said.split()[-1] + " " + said.split()[0]})
        fruit = 0.9 if any(word in said for word in FRUIT) else 0.1
        return chat({"fruit": math.log(fruit), "tool": math.log(1 - fruit)})

    with serving(answer) as server:
        task = dk.own(rows(60, unlabelled=20), teacher=f"{server.url}#some-model")
        found = dk.trials(task, task.teacher(), steps=3, seeds=1, lrs=(0.002,))
        assert found.results["accuracy"][0] == 1
        assert {body["model"] for _, body, _ in server.requests} == {"some-model"}
        task = dk.own([{"text": row["text"], "target": row["target"]} for row in pairs(40)], teacher=f"{server.url}#m")
        assert (task.silent, task.ways) == (True, ("teacher_text",))
        found = dk.trials(task, task.teacher(), steps=3, seeds=1, lrs=(0.002,))
        assert found.results["exact"][0] == 1  # it turns the words around, as they are to be
        assert found.results["nll"].isna().tolist() == [True, False, False]


# ── n-grams and variations ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("classes", [2, 3])
def test_n_grams_say_what_scikit_learn_says(classes):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    texts = [row["text"] for row in rows()]
    labels = torch.arange(len(texts)) % classes
    tokens = byte_pairs(texts, 400)
    teacher = Ngrams(
        texts,
        labels,
        texts[:9],
        labels[:9],
        classes=4,
        decode=lambda ids: tokens.batch_decode(ids, skip_special_tokens=True),
    )
    inputs = tokens(texts[:20], padding=True, return_tensors="pt")["input_ids"]
    found = teacher(inputs).softmax(-1)
    expected = [
        make_pipeline(
            make_union(
                TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[?!]"),
                TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
            ),
            LogisticRegression(C=strength, max_iter=100),
        )
        .fit(texts, labels)
        .predict_proba(texts[:20])
        for strength in (1.0, 5.0)
    ]
    assert any(np.allclose(found[:, :classes], each, atol=1e-4) for each in expected)
    assert found[:, classes:].max() < 1e-6  # a class that it never saw


def test_variations_are_made_of_the_texts_words_and_differ():
    texts = [row["text"] for row in rows()]
    made = variations(texts, 500, seed=3)
    assert made == variations(texts, 500, seed=3) != variations(texts, 500, seed=4)
    assert {word for text in made for word in text.split()} <= {word for text in texts for word in text.split()}
    assert len(set(made)) > 400
    assert all(made)
    assert variations(["", "a"], 4) == ["", "a", "", "a"]


# ── pictures, sounds, words ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_pictures_is_learnt(tmp_path):
    draw = np.random.default_rng(0)
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / name).mkdir()
        for place in range(20):
            noise = draw.integers(-25, 25, (24, 24, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{place}.png")
    task = dk.own(str(tmp_path), teacher_steps=30)
    assert (task.kind, task.classes) == ("images", ("blue", "red"))
    assert task.test.inputs.shape[1:] == (3, 32, 32)
    assert task.score(task.teacher())["accuracy"] > 0.9
    found = dk.trials(task, task.teacher(), steps=4, seeds=1, lrs=(0.002,))
    assert found.results["accuracy"].notna().all()


def test_a_picture_that_is_none_is_named(tmp_path):
    file = tmp_path / "a <b>.png"
    file.write_bytes(b"<html>")
    refused(lambda: picture(file), OSError, "a <b>.png", "no picture")


def test_transcripts_in_any_letters_are_spelled_and_judged(tmp_path):
    import soundfile

    lines = ["file,text"]
    for place in range(12):
        text = ("привет мир", "ça va?")[place % 2]
        tone = np.sin(np.arange(12_000 + 500 * place) * (0.05, 0.2)[place % 2]).astype(np.float32)
        soundfile.write(tmp_path / f"{place}.wav", tone, 16_000)
        lines.append(f"{place}.wav,{text}")
    (tmp_path / "transcripts.csv").write_text("\n".join(lines), encoding="utf-8")
    task = dk.own(str(tmp_path), teacher_steps=2)
    assert task.kind == "speech"
    assert {task.reference(row) for row in task.asked} <= {"привет мир", "ça va"}
    row = task.train.labels[0]
    assert task.processor.tokenizer.decode(row[row >= 0].tolist(), group_tokens=False) in ("привет мир", "ça va")
    found = dk.trials(task, task.teacher(), steps=2, seeds=1, lrs=(0.002,))
    assert found.results[["wer", "cer", "agreement"]].notna().all(axis=None)
    assert len(task.says(found.student, 2)) == 2


def test_a_speech_model_that_writes_in_capitals_hears_small_letters(tmp_path):
    import soundfile
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    (tmp_path / "vocab.json").write_text(
        json.dumps({name: n for n, name in enumerate(["<pad>", "<unk>", "|", *"YESNO"])})
    )
    letters = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), pad_token="<pad>", unk_token="<unk>")
    config = Wav2Vec2Config(
        vocab_size=len(letters),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    torch.manual_seed(0)
    for part in (Wav2Vec2ForCTC(config), letters, Wav2Vec2FeatureExtractor(return_attention_mask=True)):
        part.save_pretrained(tmp_path / "teacher")
    for place in range(12):
        soundfile.write(
            tmp_path / f"{('yes', 'no')[place % 2]}_{place}.wav", np.zeros(8_000, np.float32) + place / 99, 16_000
        )
    columns = {"audio_column": "audio", "text_column": "text"}
    task = dk.own(str(tmp_path), teacher=tmp_path / "teacher", **columns)
    row = task.train.labels[0]
    assert letters.decode(row[row >= 0].tolist(), group_tokens=False) in ("YES", "NO")
    assert task.student().config.num_hidden_layers == 1
    assert all(text == text.lower() for text in task.says(task.teacher(), 3))
    both = dk.own(str(tmp_path), teacher=tmp_path / "teacher", student=tmp_path / "teacher", **columns)
    assert both.student().config.num_hidden_layers == 2


def test_a_transcript_is_what_is_heard():
    assert spoken({"text": "  Don’t STOP – now! "}) == "don't stop now"
    assert spoken({"label": "7"}) == "7"
    assert spoken({"text": None}) == ""


def test_running_text_learns_on_any_of_the_three_texts(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(f"Chapter {n}. The {FRUIT[n % 8]} met the {TOOLS[n % 7]}." * 6 for n in range(60)))
    task = dk.own(str(path), teacher_steps=8)
    assert task.kind == "language"
    teacher = task.teacher()
    assert task.score(teacher)["perplexity"] < len(task.processor)
    for transfer in task.ways:
        found = dk.trials(task, teacher, transfer=transfer, steps=2, seeds=1, lrs=(0.002,))
        assert found.results["perplexity"].gt(1).all()
    assert list(task.answers(3, student=found.student)) == ["input", "reference", "student"]


def pairs(count=80):
    return [
        {"text": f"{FRUIT[n % 8]} {n}", "target": f"{n} {FRUIT[n % 8]}", "rationale": f"turn {FRUIT[n % 8]} around"}
        for n in range(count)
    ]


def test_texts_to_texts_with_their_reasons():
    plain = dk.own([{"text": row["text"], "target": row["target"]} for row in pairs()], teacher_steps=2)
    task = dk.own(pairs(), teacher_steps=2)
    assert isinstance(task, Translations)
    assert len(task.train) == 2 * len(task.learnt)
    assert len(plain.train) == len(plain.learnt)
    assert len(task.test) == len(task.asked)
    teacher = task.teacher()
    for transfer in task.ways:
        found = dk.trials(task, teacher, transfer=transfer, steps=2, seeds=1, lrs=(0.002,))
        assert found.results[["chrf", "bleu", "exact", "nll"]].notna().all(axis=None)
    assert task.reference(task.asked[0]) == task.asked[0][task.labelled_by]


def test_a_causal_teacher_is_asked_and_writes_on(tmp_path):
    from distilkit.tasks.text import llama

    tokens = byte_pairs([" ".join(row.values()) for row in pairs()], 400)
    llama(len(tokens), layers=2, width=32, seed=0, end=tokens.eos_token_id).save_pretrained(tmp_path / "teacher")
    tokens.save_pretrained(tmp_path / "teacher")
    task = dk.own([{"text": row["text"], "target": row["target"]} for row in pairs()], teacher=tmp_path / "teacher")
    assert isinstance(task, Completions)
    one = task.encode(task.learnt[:1])
    learnt = one.labels[0][one.labels[0] >= 0].tolist()
    assert tokens.decode(learnt, skip_special_tokens=True) == task.learnt[0]["target"]
    assert tokens.decode(one.inputs[0].tolist()).startswith(task.learnt[0]["text"])
    found = dk.trials(task, task.teacher(), steps=2, seeds=1, lrs=(0.002,))
    assert found.results["chrf"].notna().all()


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_learnt_is_refused_before_anything_is_trained(task, tmp_path):
    same = [{"text": f"text {n}", "label": "only"} for n in range(20)]
    refused(lambda: dk.own(same), ValueError, "two classes", "only")
    unlabelled = [{"text": f"text {n}", "label": "a" if n < 1 else None} for n in range(20)]
    with pytest.raises(BadValue):
        dk.own(unlabelled, task="classification", label_column="label")
    refused(lambda: dk.own(rows(), teacher=3), TypeError, "hub id", "3")
    refused(lambda: dk.own(rows(), task="vision"), ValueError, "vision")
    refused(lambda: dk.trials(task, task.teacher(), transfer="corpse", steps=1), ValueError, "corpse", "corpus")
    refused(lambda: dk.trials(task, task.teacher(), steps=1, seeds=0), ValueError, "seeds", "0")
    refused(lambda: dk.trials(task, task.teacher(), steps=1, lrs=()), ValueError, "lrs")
    pictures = [{"image": "a.png", "label": "a"}] * 3
    with pytest.raises(DistilkitError):
        dk.own(pictures, teacher="https://example.org/v1#m")


def test_examples_are_plain(task):
    assert isinstance(task.train, Examples)
    with pytest.raises(BadType):
        dk.own(rows(), teacher=object())
