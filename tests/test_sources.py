"""Data of one's own: what is read, guessed, reported, parted and refused; and that a large file takes no memory."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given

import distilkit as dk
from distilkit.models import data_path
from distilkit.sources.reports import visible
from distilkit.tasks.speech import read_sound

from .faults import refused

REAL = Path(__file__).parents[2] / "shared" / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside the project")
ROWS = [
    {"text": f"number {number} is {'odd' if number % 2 else 'even'}", "label": str(number % 2)} for number in range(40)
]


def save(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def as_csv(rows, delimiter=",", header=True):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([[*rows[0]], *(row.values() for row in rows)] if header else [row.values() for row in rows])
    return file.getvalue()


def as_jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows_of(source, **settings):
    return list(dk.read_data(source, **settings).rows())


# Real data


@real
def test_questions_with_a_coarse_and_a_fine_label():
    data = dk.read_data(REAL / "TREC.train")
    assert (data.kind, data.columns, len(data)) == ("classification", ("label", "sublabel", "text"), 5452)
    assert next(data.rows()) == {"text": "How did serfdom develop in and then leave Russia ?", "label": "DESC"}
    assert len(data.report().classes) == 6
    assert any("Windows-1252" in warning for warning in data.warnings)
    fine = dk.read_data(REAL / "TREC.train", label_column="sublabel")
    assert next(fine.rows())["label"] == "manner"
    train, test = data.split(seed=1)
    assert not {row["text"].lower() for row in train} & {row["text"].lower() for row in test}
    assert {row["label"] for row in train} == {row["label"] for row in test} == set(data.report().classes)


@real
def test_two_files_side_by_side():
    pair = [REAL / f"multi30k_train.{language}.gz" for language in ("en", "fr")]
    for source in (pair, ",".join(map(str, pair))):
        data = dk.read_data(source)
        assert (data.kind, len(data), data.guessed) == ("seq2seq", 29_000, ())
        assert next(data.rows())["target"].startswith("Deux jeunes hommes blancs")
    train, test = data.split()
    assert len(test) <= 2000
    assert not {row["text"].casefold() for row in train} & {row["text"].casefold() for row in test}


@real
def test_recordings_named_by_what_is_said():
    data = dk.read_data(REAL / "spoken_digits")
    assert (data.kind, len(data)) == ("speech", 180)
    train, test = data.split()
    assert {row["text"] for row in test} == {row["text"] for row in train} == set("0123456789")
    assert not {row["audio"] for row in train} & {row["audio"] for row in test}
    assert 0 < data.report().lengths["median"] < 1
    assert any("8,000 samples" in warning for warning in data.warnings)


# What is read


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("packed", [False, True])
def test_csv_whatever_parts_its_columns(tmp_path, delimiter, packed):
    text = as_csv(ROWS, delimiter)
    path = tmp_path / ("data.csv" + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    data = dk.read_data(path)
    assert list(data.rows()) == ROWS
    assert data.delimiter == {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[delimiter]
    assert len(data) == 40


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_f52_encodings(tmp_path, encoding):
    rows = [
        {"text": "Où est l'œuf ?", "label": "à"},
        {"text": "“Là”, dit-il", "label": "é"},
        {"text": "Ça", "label": "é"},
    ]
    text = as_csv(rows).replace("\n", "\r\n")
    path = save(tmp_path / "data.csv", "\ufeff" * (encoding == "utf-16-be") + text, encoding)
    data = dk.read_data(path)
    assert list(data.rows()) == rows
    assert ("Windows-1252" in data.encoding) == (encoding == "cp1252")
    assert any("Windows-1252" in warning for warning in data.warnings) == (encoding == "cp1252")


def test_f52_an_encoding_that_is_said(tmp_path):
    path = save(tmp_path / "data.csv", "текст,метка\nда,a\nнет,b\nда,b\nнет,a\n", "cp1251")
    assert next(dk.read_data(path, encoding="cp1251", text_column="текст").rows())["text"] == "да"
    refused(lambda: dk.read_data(path, encoding="utf-9"), ValueError, "utf-9")
    refused(lambda: dk.read_data(path, encoding="utf-16"), OSError, "utf-16")


def test_f52_nul_and_lone_surrogates(tmp_path):
    refused(lambda: dk.read_data(save(tmp_path / "a.csv", "text,label\na\0b,1\n")), OSError, "line 2", "NUL")
    refused(lambda: dk.read_data(save(tmp_path / "b.txt", "no mark", "utf-16-le")), OSError, "NUL", "UTF-8")
    path = save(tmp_path / "c.jsonl", '{"text": "a\\ud800b"}\n{"text": "\\u0000 \\ud83d\\ude00"}\n')
    assert [row["text"] for row in rows_of(path)] == ["a\ufffdb", "\ufffd 😀"]
    (tmp_path / "d.txt").write_bytes(b"a\xed\xa0\x80b\n")
    assert rows_of(tmp_path / "d.txt") == [{"text": "a\ufffdb"}]


def test_quotation_marks_and_line_ends_in_fields(tmp_path):
    text = 'text,label\r\n"one ""quoted"", with a comma\nand a line",a\r\n\r\n"two",b\r\nthree,a\r\n'
    found = rows_of(save(tmp_path / "data.csv", text))
    assert [row["text"] for row in found] == ['one "quoted", with a comma\nand a line', "two", "three"]
    stray = 'label\ttext\nham\t"Hello, he said\nspam\tWin 5" now\nham\tok\nspam\t"""\n'  # quotes that quote nothing
    assert [row["text"] for row in rows_of(save(tmp_path / "data.tsv", stray))] == [
        '"Hello, he said',
        'Win 5" now',
        "ok",
        '"""',
    ]


@pytest.mark.parametrize("form", ["jsonl", "list", "pretty", "object", "parquet", "frame", "rows", "datasets"])
def test_the_same_rows_in_every_form(tmp_path, form):
    rows = [{**row, "label": int(row["label"])} for row in ROWS]
    if form == "jsonl":
        source = save(tmp_path / "data.jsonl", as_jsonl(rows))
    elif form in ("list", "pretty"):
        source = save(tmp_path / "data.json", json.dumps(rows, indent=1 if form == "pretty" else None))
    elif form == "object":
        source = save(tmp_path / "data.json", json.dumps({"version": 1, "data": rows}))
    elif form == "parquet":
        source = tmp_path / "data.parquet"
        pd.DataFrame(rows).to_parquet(source)
    elif form == "frame":
        source = pd.DataFrame(rows)
    else:
        source = rows
    if form == "datasets":
        import datasets

        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["0", "1"])})
        source = datasets.Dataset.from_list(rows, features=features)
    data = dk.read_data(source)
    assert list(data.rows()) == ROWS
    assert (len(data), data.kind, data.columns) == (40, "classification", ("text", "label"))


def test_labels_at_the_start_of_lines(tmp_path):
    lines = "".join(f"__label__{row['label']} {row['text']}\n" for row in ROWS)
    assert rows_of(save(tmp_path / "a.txt", lines)) == ROWS
    assert rows_of(save(tmp_path / "b.train", lines.replace("__label__", ""))) == ROWS
    lines = lines.replace("__label__0", "NUM:even").replace("__label__1", "NUM:odd")
    assert rows_of(save(tmp_path / "c.txt", lines), label_column="sublabel")[1] == {
        "text": ROWS[1]["text"],
        "label": "odd",
    }


def test_a_numbered_list_and_a_play_are_running_text(tmp_path):
    numbered = "".join(f"{number} green bottles\n" for number in range(40))
    assert dk.read_data(save(tmp_path / "a.txt", numbered)).kind == "language"
    play = "".join(f"ROMEO:\nBut soft, {number}!\n\n" for number in range(40))
    data = dk.read_data(save(tmp_path / "b.txt", play))
    assert (data.kind, len(data)) == ("language", 40)
    assert next(data.rows())["text"] == "ROMEO:\nBut soft, 0!"


def test_a_first_word_that_is_no_label(tmp_path):
    path = save(tmp_path / "a.txt", "".join(f"{['ROMEO', 'JULIET'][n % 2]} speaks {n} words.\n" for n in range(40)))
    data = dk.read_data(path)
    assert (data.kind, data.report().classes) == ("classification", {"ROMEO": 20, "JULIET": 20})
    assert any("task='language'" in warning for warning in data.warnings)
    data = dk.read_data(path, task="language")
    assert (data.kind, next(data.rows())) == ("language", {"text": "ROMEO speaks 0 words."})


def test_a_table_without_names(tmp_path):
    data = dk.read_data(save(tmp_path / "data.csv", as_csv(ROWS, header=False)))
    assert data.roles == {"text": "column_1", "label": "column_2"}
    assert set(data.guessed) == {"text", "label"}
    assert list(data.rows()) == ROWS
    assert any("column_1" in warning for warning in data.warnings)


def test_folders_of_text(tmp_path):
    save(tmp_path / "texts" / "one.txt", "First.\n\nSecond.\n")
    save(tmp_path / "texts" / "deep" / "two.md", "# Third\n")
    assert {row["text"] for row in rows_of(tmp_path / "texts")} == {"First.", "Second.", "# Third"}
    for label in ("pos", "neg"):
        for number in range(6):
            save(tmp_path / "reviews" / label / f"{number}.txt", f"{label} review {number},\nof two lines")
    data = dk.read_data(tmp_path / "reviews")
    assert (data.kind, data.report().classes) == ("classification", {"neg": 6, "pos": 6})
    assert next(data.rows())["text"] == "neg review 0,\nof two lines"
    for number in range(5):
        save(tmp_path / "reviews" / "unsup" / f"{number}.txt", "of nobody")
    save(tmp_path / "reviews" / "urls.txt", "http://example.org")
    assert [row["label"] for row in rows_of(tmp_path / "reviews")].count(None) == 5
    save(tmp_path / "both" / "train.en", "a\nb\nc\n")
    save(tmp_path / "both" / "train.fr", "x\ny\nz\n")
    assert rows_of(tmp_path / "both")[2] == {"text": "c", "target": "z"}


def test_folders_of_pictures(tmp_path):
    from PIL import Image

    for label in ("cat", "dog"):
        for number in range(5):
            (tmp_path / "a" / label).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 9 * (label == "cat"), 0)).save(tmp_path / "a" / label / f"{number}.png")
    data = dk.read_data(tmp_path / "a")
    assert (data.kind, data.report().classes) == ("images", {"cat": 5, "dog": 5})
    train, test = data.split()
    assert ({row["label"] for row in test}, len(train), len(test)) == ({"cat", "dog"}, 8, 2)
    listed = "file_name,label\n" + "".join(
        f"{label}/{number}.png,{label}\n" for label in ("cat", "dog") for number in range(5)
    )
    save(tmp_path / "a" / "metadata.csv", listed)
    assert list(dk.read_data(tmp_path / "a").rows()) == list(data.rows())
    save(tmp_path / "a" / "metadata.csv", listed + "cat/9.png,cat\n")
    refused(lambda: rows_of(tmp_path / "a"), OSError, "9.png")


def sounds(folder, rate=16_000, seconds=0.2, seed=0, **more):
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for number, word in enumerate(("stop", "go", "stop", "go")):
        wave = 0.1 * np.random.default_rng([seed, number]).standard_normal(int(seconds * rate)).astype(np.float32)
        soundfile.write(folder / f"{word}_{number}.wav", wave, rate, **more)
    return folder


@pytest.mark.parametrize("listing", ["transcripts.tsv", "metadata.csv", "metadata.jsonl", "ljspeech", None])
def test_folders_of_recordings(tmp_path, listing):
    sounds(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    if listing == "transcripts.tsv":
        save(tmp_path / listing, "file\ttext\n" + "".join(f"{name}\tsay {name[:-6]}\n" for name in names[:3]))
    elif listing == "metadata.csv":
        save(
            tmp_path / listing,
            "file_name,speaker,transcription\n" + "".join(f"{n},7,say {n[:-6]}\n" for n in names[:3]),
        )
    elif listing == "metadata.jsonl":
        save(tmp_path / listing, as_jsonl([{"file_name": name, "text": f"say {name[:-6]}"} for name in names[:3]]))
    elif listing == "ljspeech":
        save(tmp_path / "metadata.csv", "".join(f"{name[:-4]}|say {name[:-6]}\n" for name in names[:3]))
    data = dk.read_data(tmp_path)
    assert data.kind == "speech"
    said = [(row["audio"].name, row["text"]) for row in data.rows()]
    prefix = "say " if listing else ""
    assert said == [(name, prefix + name[:-6]) for name in names[: 3 if listing else 4]]
    assert any("not named" in warning for warning in data.warnings) == (listing is not None)


def test_recordings_with_their_own_test_and_by_folders(tmp_path):
    for seed, part in enumerate(("train", "test")):
        names = sorted(path.name for path in sounds(tmp_path / "a" / part, seed=seed).iterdir())
        save(
            tmp_path / "a" / part / "metadata.csv", "file_name,text\n" + "".join(f"{n},{part} {n[0]}\n" for n in names)
        )
    train, test = dk.read_data(tmp_path / "a").split()
    assert [row["text"] for row in train] == ["train g", "train g", "train s", "train s"]
    assert {row["audio"].parent.name for row in test} == {"test"}
    names = sorted(path.name for path in sounds(tmp_path / "b" / "clips").iterdir())
    for part, some in (("train", names[:3]), ("test", names[3:])):
        save(
            tmp_path / "b" / f"{part}.tsv", "client_id\tpath\tsentence\n" + "".join(f"x\t{n}\t{n[:-6]}\n" for n in some)
        )
    train, test = dk.read_data(tmp_path / "b").split()
    assert ([row["audio"].name for row in train], [row["audio"].name for row in test]) == (names[:3], names[3:])
    for word in ("yes", "no"):
        for seed in range(5):
            (tmp_path / "c" / word).mkdir(parents=True, exist_ok=True)
            copy = tmp_path / "c" / word / f"0a7c{seed}_nohash_0.wav"
            copy.write_bytes((tmp_path / "b" / "clips" / names[seed % 4]).read_bytes() + bytes(seed))
    assert {row["text"] for row in dk.read_data(tmp_path / "c").rows()} == {"yes", "no"}


def test_transcripts_beside_recordings(tmp_path):
    names = sorted(path.stem for path in sounds(tmp_path / "84").iterdir())
    lines = [f"{name} HE SAID {name[:2]}\n" for name in names[1:]]
    save(tmp_path / "84" / "84-1.trans.txt", "".join(lines))
    assert [row["text"] for row in rows_of(tmp_path)] == [None, "HE SAID go", "HE SAID st", "HE SAID st"]
    (tmp_path / "84" / "84-1.trans.txt").unlink()
    sounds(tmp_path / "85")
    for name in names:
        save(tmp_path / "84" / f"{name}.txt", f"It is\n{name[:2]}.\n")
        save(tmp_path / "85" / f"{name}.txt", "Another")
    assert [row["text"] for row in rows_of(tmp_path)] == ["It is go.", "It is go.", "It is st.", "It is st."] + [
        "Another"
    ] * 4


def test_sound_and_pictures_in_a_data_set(tmp_path):
    import datasets

    files = sorted(sounds(tmp_path).iterdir())
    rows = {"audio": [str(file) for file in files], "text": [file.stem[:-2] for file in files]}
    data = dk.read_data(datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio()))
    assert data.kind == "speech"
    assert [row["text"] for row in data.rows()] == rows["text"]
    for row in data.rows():
        assert len(read_sound(row["audio"])) == 3200


# What is guessed


@pytest.mark.parametrize(
    ("row", "roles", "kind"),
    [
        ({"review": "So good!", "sentiment": "pos"}, {"text": "review", "label": "sentiment"}, "classification"),
        ({"Review Text": "So good!", "Rating": 5}, {"text": "Review Text", "label": "Rating"}, "classification"),
        ({"question": "Why is it?", "answer": "Because of that."}, {"text": "question", "target": "answer"}, "seq2seq"),
        (
            {"input": "2+2", "label": "4", "rationale": "2 and 2 make 4"},
            {"text": "input", "label": "label", "rationale": "rationale"},
            "seq2seq",
        ),
        (
            {"gold_label": "neutral", "sentence1": "A man.", "sentence2": "A dog."},
            {"text": "sentence1,sentence2", "label": "gold_label"},
            "classification",
        ),
        (
            {"instruction": "Add these.", "input": "1, 2", "output": "It is three."},
            {"text": "instruction,input", "target": "output"},
            "seq2seq",
        ),
        ({"translation": {"en": "A dog runs.", "fr": "Un chien court."}}, {"text": "translation.en"}, "seq2seq"),
        (
            {"messages": [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello you"}]},
            {"text": "messages.prompt", "target": "messages.completion"},
            "seq2seq",
        ),
        ({"text": "All of it is text.", "meta": {"set": "a"}}, {"text": "text"}, "language"),
    ],
)
def test_roles_by_the_names_of_columns(row, roles, kind):
    def varied(value, number):
        if isinstance(value, dict):
            return {name: varied(one, number) for name, one in value.items()}
        if isinstance(value, list):
            return [{**one, "content": f"{one['content']} {number}"} for one in value]
        few = value in ("pos", 5, "neutral", "a")
        return ("neg", value)[number % 2] if few else f"{value} {number}" if isinstance(value, str) else value

    data = dk.read_data([{name: varied(value, number) for name, value in row.items()} for number in range(12)])
    assert data.kind == kind
    assert {role: data.roles[role] for role in roles} == roles
    assert set(data.guessed) == set(data.roles)


def test_several_columns_are_one_text():
    rows = [{"a": "one", "b": "two", "c": "x"}, {"a": "three", "b": None, "c": "y"}]
    data = dk.read_data(rows, text_column="a, b", label_column="c")
    assert list(data.rows()) == [{"text": "one\ntwo", "label": "x"}, {"text": "three", "label": "y"}]
    assert data.guessed == ()
    rows = [{"sentence1": f"one {n}", "sentence2": "ab"[n % 2]} for n in range(6)]
    assert dk.read_data(rows, label_column="sentence2").roles == {"text": "sentence1", "label": "sentence2"}


def test_cells_that_hold_nothing():
    frame = pd.DataFrame({"text": ["a b", None, " ", "c d"], "label": [1.0, 0.0, 1.0, float("nan")]})
    data = dk.read_data(frame)
    assert [row["text"] for row in data.rows()] == ["a b", None, None, "c d"]
    assert [row["label"] for row in data.rows()] == ["1", "0", "1", None]
    found = data.report()
    assert (found.rows, found.empty, found.unlabelled) == (4, 2, 1)


def test_a_column_that_is_not_there(tmp_path):
    path = save(tmp_path / "data.csv", as_csv(ROWS))
    refused(lambda: dk.read_data(path, text_column="txet"), ValueError, "Did you mean 'text'", "text, label")
    refused(lambda: dk.read_data(path, label_column=3), TypeError, "label_column")
    refused(lambda: dk.read_data(path, task="seq2sec"), ValueError, "Did you mean 'seq2seq'")
    refused(lambda: dk.read_data(path, task="speech"), ValueError, "audio_column")
    refused(lambda: dk.read_data([{"a": 1.5, "b": 2.25}]), ValueError, "a, b", "text_column=")


def test_a_task_that_is_said(tmp_path):
    path = save(tmp_path / "data.csv", as_csv(ROWS))
    assert dk.read_data(path, task="language").kind == "language"
    data = dk.read_data(path, task="seq2seq")
    assert (data.kind, data.answer) == ("seq2seq", "label")


# What is reported and parted


def test_f54_duplicates_conflicts_and_imbalance_are_said():
    rows = [*ROWS, {"text": "NUMBER 1  is odd", "label": "1"}, {"text": ROWS[2]["text"], "label": "1"}]
    rows += [{"text": "rare", "label": "2"}]
    found = dk.read_data(rows).report()
    assert (found.rows, found.duplicates, found.conflicting) == (43, 2, 1)
    assert found.classes == {"1": 22, "0": 20, "2": 1}
    words = " ".join(found.warnings)
    for word in ("2 rows repeat", "1 texts occur with different labels", "uneven"):
        assert word in words
    assert "duplicates   2\n" in repr(found)
    assert not hasattr(found, "_repr_html_")


def test_f54_a_leak_into_the_source_s_own_test_is_counted_and_dropped(tmp_path):
    save(tmp_path / "train.csv", as_csv(ROWS))
    save(tmp_path / "test.csv", as_csv([{"text": "Number 3 IS odd", "label": "1"}, {"text": "new", "label": "0"}]))
    data = dk.read_data(tmp_path)
    train, test = data.split()
    assert (data.leaks, len(data), len(train), len(test)) == (1, 42, 39, 2)
    assert ROWS[3] not in train
    assert any("1 texts of the test" in warning for warning in data.warnings)
    save(tmp_path / "test.csv", "text\nunlabelled\n")
    data = dk.read_data(tmp_path)
    assert len(data) == 40
    assert any("no column 'label'" in warning for warning in data.warnings)


TEXTS = st.lists(
    st.tuples(st.sampled_from(["a b", "A  B", "c", "d", "e", "f", "g", "h"]), st.sampled_from(["x", "y", "z", None])),
    min_size=2,
)


@given(TEXTS, st.integers(0, 9), st.floats(0.05, 0.9))
def test_a_split_shares_no_text_and_keeps_each_class_on_both_sides(pairs, seed, share):
    labels = {normal(text): label for text, label in pairs}
    rows = [{"text": text, "label": labels[normal(text)]} for text, _ in pairs]
    data = dk.read_data(rows, text_column="text", label_column="label")
    if len(set(labels.values()) - {None}) < 2:
        refused(lambda: data.split(seed=seed, test=share), ValueError, "classes")
        return
    train, test = data.split(seed=seed, test=share)
    assert (train, test) == data.split(seed=seed, test=share)
    assert not {normal(row["text"]) for row in train} & {normal(row["text"]) for row in test}
    assert all(row["label"] for row in test)
    assert sorted(map(str, train + test)) == sorted(map(str, rows))
    for label in ("x", "y", "z"):
        if list(labels.values()).count(label) > 1:
            assert all(label in {row["label"] for row in side} for side in (train, test))


def normal(text):
    return " ".join(text.split()).casefold()


def test_a_text_with_two_labels_stays_on_one_side():
    rows = [{"text": f"text {number % 20}", "label": "ab"[number % 3 == 0]} for number in range(60)]
    for seed in range(5):
        train, test = dk.read_data(rows).split(seed=seed)
        assert not {row["text"] for row in train} & {row["text"] for row in test}
        assert len(train) + len(test) == 60


def test_a_large_test_is_cut_and_a_limit_is_said():
    rows = [{"text": f"text {number}", "label": "rare" if number in (7, 9) else "often"} for number in range(15_000)]
    data = dk.read_data(rows)
    train, test = data.split(test=0.5)
    assert 1900 <= len(test) <= 2000
    assert "rare" in {row["label"] for row in test}
    assert len(train) + len(test) >= 14_990  # what is over is cut
    rows = [{"text": f"text {number}", "label": str(number % 3)} for number in range(15_000)]
    data = dk.read_data(rows)
    train, test = data.split(limit=100, seed=3)
    assert len(train) + len(test) == 100
    assert any("100 of 15,000 rows" in warning for warning in data.warnings)
    places = [rows.index(row) for row in train]
    assert places == sorted(places)
    assert max(places) > 10_000 > 5_000 > min(places)


def test_a_running_text_is_held_out_in_stretches(tmp_path):
    lines = [f"Line {number} of it." for number in range(500)]
    data = dk.read_data(save(tmp_path / "book.txt", "\n".join(lines)))
    train, test = data.split(test=0.2)
    found = [lines.index(row["text"]) for row in test]
    assert len(found) == 100
    assert sum(after - before > 1 for before, after in pairwise(found)) <= 10
    assert len(train) == 400


def test_a_split_by_answers_that_are_many_is_no_larger():
    rows = [{"input": f"what is {n}", "label": str(n // 2), "rationale": f"it is {n} by 2"} for n in range(400)]
    data = dk.read_data(rows)
    assert (data.kind, len(data.split()[1])) == ("seq2seq", 80)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": f"t {number}", "label": "a"} for number in range(9)], ("two classes", "a")),
        ([{"text": "the same text", "label": label} for label in "abab"], ("2 are needed",)),
        ([{"text": f"t {number}", "label": None} for number in range(9)], ("two classes",)),
    ],
)
def test_f55_one_class_and_empty_splits(rows, words):
    refused(lambda: dk.read_data(rows, text_column="text", label_column="label").split(), ValueError, *words)


def test_f55_arguments_of_a_split():
    data = dk.read_data(ROWS)
    refused(lambda: data.split(test=0), ValueError, "test")
    refused(lambda: data.split(test=1.0), ValueError, "test")
    refused(lambda: data.split(seed=-1), ValueError, "seed")
    refused(lambda: data.split(limit=0), ValueError, "limit")


# What is shown and written


def test_f56_what_cannot_be_seen_is_shown():
    text = "\u202eevil\u200b <b>\x1b[31m\x00" + "x" * 10**6
    shown = repr(
        dk.read_data([{"text": text, "label": "a\u2066b"}] * 4, text_column="text", label_column="label").head(1)
    )
    assert "\\u202eevil\\u200b <b>\\x1b[31m" in shown
    assert "a\\u2066b" in shown
    assert len(shown) < 300
    assert visible("Ça va? 你好 😀") == "Ça va? 你好 😀"


def test_f51_no_cell_starts_a_formula(tmp_path):
    frame = pd.DataFrame(
        {"=name": ["=1+1", "+2", "-3", "@SUM(A1)", "\t=1", "\r=1", 'fine, "so"'], "value": [-1.5, 2, 3, 4, 5, 6, None]},
        index=pd.Index(list("=bcdefg"), name="row"),
    )
    dk.write_csv(frame, tmp_path / "deep" / "out.csv")
    found = list(csv.reader(io.StringIO((tmp_path / "deep" / "out.csv").read_bytes().decode(), newline="")))
    assert found[0] == ["row", "'=name", "value"]
    assert [row[1] for row in found[1:]] == [f"'{text}" for text in frame["=name"][:6]] + ['fine, "so"']
    assert found[1][0] == "'="
    assert [row[2] for row in found[1:]] == ["-1.5", "2.0", "3.0", "4.0", "5.0", "6.0", ""]
    refused(lambda: dk.write_csv([1], tmp_path / "x.csv"), TypeError, "DataFrame")
    refused(lambda: dk.write_csv(frame, tmp_path / "deep" / "out.csv" / "x.csv"), OSError, "cannot write")


# What is refused


def test_f39_very_deep_json(tmp_path):
    deep = "[" * 20_000 + "]" * 20_000
    refused(lambda: dk.read_data(save(tmp_path / "a.jsonl", f'{{"text": {deep}}}\n')), OSError, "line 1", "brackets")
    refused(lambda: dk.read_data(save(tmp_path / "a.json", f'[{{"text": {deep}}}]')), OSError, "item 1", "brackets")
    refused(lambda: dk.read_data(save(tmp_path / "b.json", deep)), OSError, "brackets")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system here")
def test_f46_pipes_and_devices(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    refused(lambda: dk.read_data(tmp_path / "pipe.csv"), OSError, "regular file")
    refused(lambda: dk.read_data("/dev/zero"), OSError, "regular file")
    refused(lambda: dk.read_data([tmp_path / "pipe.csv", "/dev/zero"]), OSError, "regular file")
    refused(lambda: dk.read_data(tmp_path), OSError, "no file")


def test_f47_paths(tmp_path):
    refused(lambda: dk.read_data(tmp_path / "none.csv"), OSError, "none.csv", "there is no file")
    refused(lambda: dk.read_data("none.csv"), OSError, "none.csv")
    refused(lambda: dk.read_data("a\0b"), OSError, "there is no file")
    refused(lambda: dk.read_data("x" * 10_000), OSError, "there is no file")
    refused(lambda: dk.read_data(tmp_path), OSError, "no file")
    refused(lambda: dk.read_data(save(tmp_path / "empty.csv", "")), OSError, "empty")
    refused(lambda: dk.read_data(save(tmp_path / "titles.csv", "text,label\n")), OSError, "no rows")
    refused(lambda: dk.read_data(save(tmp_path / "blank.txt", " \n\n")), OSError, "empty")
    refused(lambda: dk.read_data(save(tmp_path / "x.json", "[]")), OSError, "no rows")
    refused(lambda: dk.read_data(17), TypeError, "source")
    refused(lambda: dk.read_data([]), ValueError, "empty")
    refused(lambda: dk.read_data([1, 2, 3]), TypeError, "dict")
    refused(lambda: dk.read_data(pd.DataFrame()), ValueError, "empty")
    path = save(tmp_path / "à côté" / "mes données.csv", as_csv(ROWS))
    assert rows_of(str(path)) == rows_of(path.parent) == ROWS


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_f47_no_permission(tmp_path):
    path = save(tmp_path / "data.csv", as_csv(ROWS))
    path.chmod(0)
    refused(lambda: dk.read_data(path), OSError, "ermission")


def test_f50_archives_are_not_unpacked(tmp_path):
    import tarfile

    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("../../evil.csv", "text,label\n")
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "data.zip")
    (tmp_path / "data.csv").write_bytes((tmp_path / "data.zip").read_bytes())
    for name in ("data.zip", "data.tar.gz", "data.csv"):
        refused(lambda name=name: dk.read_data(tmp_path / name), OSError, "unpack it")
    save(tmp_path / "pointer.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused(lambda: dk.read_data(tmp_path / "pointer.csv"), OSError, "git lfs pull")
    save(tmp_path / "page.csv", "<!DOCTYPE html><html>Sign in</html>\n")
    refused(lambda: dk.read_data(tmp_path / "page.csv"), OSError, "web page")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(as_csv(ROWS * 99).encode())[:-20])
    refused(lambda: rows_of(tmp_path / "cut.csv.gz"), OSError, "damaged")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    refused(lambda: dk.read_data(tmp_path / "x.parquet"), OSError, "Parquet")


def test_ragged_rows_and_open_quotes(tmp_path):
    text = as_csv(ROWS)
    refused(
        lambda: dk.read_data(save(tmp_path / "a.csv", text + "one,two,three\n")), OSError, "line 42", "3 fields", "2"
    )
    refused(lambda: dk.read_data(save(tmp_path / "b.csv", text + "one\n")), OSError, "line 42", "1 fields")
    refused(lambda: dk.read_data(save(tmp_path / "c.csv", text + '"open,1\n' + text)), OSError, "quotation mark")
    late = save(tmp_path / "d.csv", text + "number,1\n" * 5000 + "one,two,three\n")
    refused(lambda: rows_of(late), OSError, "line 5,042")
    refused(lambda: rows_of(save(tmp_path / "e.jsonl", as_jsonl(ROWS) + '{"text": ')), OSError, "line 41", "JSON")
    refused(lambda: rows_of(save(tmp_path / "f.jsonl", "[1, 2]\n")), OSError, "row 1", "object")
    refused(lambda: rows_of(save(tmp_path / "g.json", json.dumps(ROWS)[:-9])), OSError, "g.json")
    first, second = save(tmp_path / "a.en", "1\n2\n3\n"), save(tmp_path / "a.fr", "1\n2\n")
    refused(lambda: dk.read_data([first, second]), OSError, "3", "2", "equally many")


@pytest.mark.skipif(sys.platform != "linux", reason="measured as Linux counts it")
def test_f53_a_line_of_100_mb_is_refused_and_a_field_of_1_mb_is_read(tmp_path):
    for suffix, start in (("csv", "text,label\na,1\n"), ("txt", "one\ntwo\n"), ("jsonl", '{"text": "a b"}\n\n')):
        with (tmp_path / f"long.{suffix}").open("w") as file:
            file.write(start)
            file.writelines("x" * 10**6 for _ in range(100))
        found = read_in_a_process(tmp_path / f"long.{suffix}")
        assert "line 3" in found["error"]
        assert found["mb"] < 100
        (tmp_path / f"long.{suffix}").unlink()
    fine = save(tmp_path / "fine.csv", f"text,label\na,1\n{'y' * 10**6},2\n")
    assert len(rows_of(fine, text_column="text", label_column="label")[1]["text"]) == 10**6


def read_in_a_process(path, act="n = sum(1 for _ in dk.read_data(path).rows())"):
    """What it found, and by how many MB reading raised the peak of a fresh process's memory."""
    code = f"""
import json, sys
import distilkit as dk
def peak():  # of this program alone: resource's maxrss begins at its parent's
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
path, n, error = sys.argv[1], 0, ""
dk.read_data([{{"text": "a b", "label": 1}}] * 4).report()
before = peak()
try:
    {act}
except OSError as caught:
    error = str(caught)
print(json.dumps(dict(n=n, mb=peak() - before, error=error)))
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="measured as Linux counts it")
@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_a_million_rows_take_no_more_memory_than_some(tmp_path, form):
    peaks = []
    for rows in (20_000, 1_000_000 if form == "csv" else 150_000):
        path = tmp_path / f"{rows}.{form}"
        if form == "parquet":
            frame = pd.DataFrame(
                {"text": [f"row number {n} of many" for n in range(rows)], "label": np.arange(rows) % 3}
            )
            frame.to_parquet(path, row_group_size=20_000)
        else:
            line = {
                "csv": "row number %d of many,%d\n",
                "jsonl": '{"text": "row number %d of many", "label": %d}\n',
                "json": '{"text": "row number %d of many", "label": %d},',
            }[form]
            with path.open("w") as file:
                file.write({"csv": "text,label\n", "json": "["}.get(form, ""))
                file.writelines(line % (number, number % 3) for number in range(rows))
                if form == "json":
                    file.write('{"text": "the last", "label": 0}]')
        found = read_in_a_process(path)
        assert found["n"] == rows + (form == "json")
        peaks.append(found["mb"])
    assert peaks[1] < peaks[0] + 10


# Sounds with faults


def test_recordings_with_faults(tmp_path):
    import soundfile

    sounds(tmp_path / "a", rate=8000)
    sounds(tmp_path / "a" / "deep", rate=44_100, subtype="PCM_24")
    stereo = 0.1 * np.random.default_rng(0).standard_normal((4000, 2))
    soundfile.write(tmp_path / "a" / "left_1.flac", stereo, 16_000)
    data = dk.read_data(tmp_path / "a")
    found = list(data.rows())
    assert len(found) == 9
    for row in found:
        assert np.isfinite(read_sound(row["audio"])).all()
    soundfile.write(tmp_path / "a" / "empty_1.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "a" / "hour_1.flac", np.zeros(3600 * 8000, np.int16), 8000)
    save(tmp_path / "a" / "text_1.wav", "this is no sound")
    data = dk.read_data(tmp_path / "a")
    words = " ".join(data.warnings)
    for word in ("0 s", "longer than 30 s", "no sound that can be read", "8,000 samples"):
        assert word in words
    assert data.report().lengths["longest"] == 3600
    for name in ("empty_1.wav", "hour_1.flac", "text_1.wav"):
        refused(lambda name=name: read_sound(tmp_path / "a" / name), OSError, name)


# Tokens


@pytest.fixture(scope="module")
def tokenizer():
    from distilkit.pretrained import find_tokenizer

    return find_tokenizer(data_path("docs/teacher"))


def test_tokens_of_a_text_on_disk(tmp_path, tokenizer):
    text = "".join(f"This is line {number} of a text.\n" + "\n" * (number % 3 == 0) for number in range(5000))
    data = dk.read_data(save(tmp_path / "book.txt", text))
    found = data.tokens(tokenizer, tmp_path / "kept")
    assert (found.dtype, found.ndim) == (torch.int64, 1)
    assert tokenizer.decode(found[:-1]) == text
    assert found[-1] == tokenizer.eos_token_id
    files = list((tmp_path / "kept").iterdir())
    before = files[0].stat().st_mtime_ns
    assert torch.equal(data.tokens(tokenizer, tmp_path / "kept"), found)
    assert [file.stat().st_mtime_ns for file in (tmp_path / "kept").iterdir()] == [before]
    assert torch.equal(data.tokens(tokenizer, tmp_path / "kept", limit=100), found[:100])
    found[0] = 0  # a copy in memory: the file stays as it is
    assert data.tokens(tokenizer, tmp_path / "kept")[0] != 0 or before == files[0].stat().st_mtime_ns


@pytest.mark.skipif(sys.platform != "linux", reason="measured as Linux counts it")
def test_tokens_of_a_long_text_take_no_memory(tmp_path):
    act = """
    class Letters:
        eos_token_id = 10
        def get_vocab(self):
            return {}
        def __call__(self, texts, **_):
            return {"input_ids": [list(text.encode()) for text in texts]}
    n = len(dk.read_data(path).tokens(Letters(), path + ".tokens"))""".strip()
    peaks = []
    for count in (20_000, 150_000):
        path = save(tmp_path / f"{count}.txt", "A line of 32 letters in the text.\n" * count)
        found = read_in_a_process(path, act)
        assert found["n"] == 34 * count + 1
        peaks.append(found["mb"])
    assert peaks[1] < peaks[0] + 20


def test_tokens_of_rows_end_each(tmp_path, tokenizer):
    data = dk.read_data([{"text": "one row"}, {"text": None}, {"text": "another <|endoftext|>"}], text_column="text")
    found = data.tokens(tokenizer, tmp_path).tolist()
    assert found.count(tokenizer.eos_token_id) == 2
    assert found[-1] == tokenizer.eos_token_id


def test_tokens_are_whole_or_not_there(tmp_path, tokenizer):
    class Broken:
        eos_token_id = 0

        def get_vocab(self):
            return {"a": 0}

        def __call__(self, texts, **_):
            raise KeyboardInterrupt

    data = dk.read_data(save(tmp_path / "a.txt", "text of a line\n" * 99))
    with pytest.raises(KeyboardInterrupt):
        data.tokens(Broken(), tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []
    refused(lambda: data.tokens("gpt2", tmp_path / "kept"), TypeError, "tokenizer")
    refused(lambda: data.tokens(tokenizer, tmp_path / "kept", limit=0), ValueError, "limit")
    refused(lambda: data.tokens(tokenizer, tmp_path / "kept", test=True), ValueError, "no test data")
    refused(lambda: data.tokens(tokenizer, tmp_path / "a.txt"), OSError, "cannot write")


# The hub


def test_a_data_set_of_the_hub(monkeypatch):
    import datasets

    asked = []

    def load(path, name=None, *, split=None, streaming):
        asked.append((path, name, split, streaming))
        parts = {"train": ROWS, "validation": ROWS[:3]}
        loaded = {part: datasets.Dataset.from_list(rows).to_iterable_dataset() for part, rows in parts.items()}
        return loaded[split] if split else datasets.IterableDatasetDict(loaded)

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = dk.read_data("org/name:config")
    assert (data.kind, data.leaks, len(data)) == ("classification", 3, 43)
    train, test = data.split()
    assert (len(train), len(test)) == (37, 3)
    assert rows_of("org/name@train") == ROWS
    assert asked == [("org/name", "config", None, True), ("org/name", None, "train", True)]


def test_a_data_set_that_cannot_be_reached(monkeypatch):
    import datasets

    def load(*_, **__):
        raise ConnectionError("401 for hf_abcdefghijklmnop")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(dk.DistilkitError) as caught:
        dk.read_data("org/private")
    assert "org/private" in str(caught.value)
    assert "abcdefghij" not in str(caught.value)


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), st.sampled_from("ab")),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([",", ";", "\t"]),
)
def test_whatever_csv_writes_is_read_back(tmp_path_factory, pairs, delimiter):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    rows = [{"text": text, "label": label} for text, label in pairs]
    save(path, as_csv(rows, delimiter))
    found = rows_of(path, text_column="text", label_column="label")
    expected = [{"text": row["text"] if row["text"].strip() else None, "label": row["label"]} for row in rows]
    assert found == expected
