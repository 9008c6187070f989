"""Speech: labels as CTC reads them, what a model hears and when, error rates, and recordings of one's own."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit.tasks.speech import (
    ALPHABET,
    HOP,
    STRIDE,
    TICK,
    error_rate,
    listener,
    log_mel,
    padded,
    read_sound,
    spelled,
    texts_of,
    transcribe,
)
from distilkit.tasks.voices import DIGITS, RATE, speak

from .faults import refused

REAL = Path(__file__).parents[2] / "shared" / "real" / "spoken_digits"


def sound(seconds=0.5, rate=RATE, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Ten recordings whose names say the text."""
    import soundfile

    for take in range(5):
        for word in ("stop", "go"):
            soundfile.write(tmp_path / f"{word}_anna_{take}.wav", speak(word, speed=140 + 10 * take), RATE)
    return tmp_path


@pytest.fixture
def task(folder):
    return dk.tasks.speech(labelled=4, path=folder)


class Echo(nn.Module):
    """A model that hears what it was told: at tick t the t-th of its classes."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, mels):
        logits = torch.full((len(mels), mels.shape[1] // STRIDE, 1 + len(ALPHABET)), -9.0)
        logits[..., 0] = 0.0
        for tick, heard in enumerate(self.classes):
            logits[:, tick, heard] = 9.0
        return logits


def classes(text):
    """A class a letter; "-" is the blank."""
    return [0 if letter == "-" else 1 + ALPHABET.index(letter) for letter in text]


def test_repetitions_are_merged_and_blanks_dropped():
    heard = transcribe(Echo(classes("--hhe-ll-lo-- yy-ou")), sound())
    assert heard.text == "hello you"
    first = heard.letters[0]
    assert first.letter == "h"
    assert (first.start, first.end) == (2 * TICK, 4 * TICK)
    assert heard.log_probs.exp().sum(-1) == pytest.approx(torch.ones(len(heard.log_probs)))
    assert heard.duration == pytest.approx(0.5)
    assert heard.real_time_factor == pytest.approx(heard.seconds / 0.5)


def test_a_tick_is_25_ms_of_the_sound():
    mels = log_mel(sound(1.0))
    assert len(mels) == RATE // HOP + 1
    assert len(mels) // STRIDE * TICK == pytest.approx(1.0)
    assert mels.mean().item() == pytest.approx(0, abs=1e-5)
    loud = log_mel(10 * sound(1.0))
    torch.testing.assert_close(loud, mels, atol=1e-2, rtol=1e-2)  # how loud a recording is tells nothing


def test_silence_after_a_sound_changes_nothing():
    """What a batch is filled up with is what a single sound is filled up with."""
    model, mels = listener(16, 2).eval(), log_mel(sound(1.0))
    short, long = (dk.predict(model, padded([mels], frames)) for frames in (184, 300))
    torch.testing.assert_close(short[0, :30], long[0, :30], atol=1e-4, rtol=1e-4)


def test_error_rates():
    assert error_rate(["a b c d"], ["a x c"]) == 0.5  # one taken for another, one left out
    assert error_rate(["abcd"], ["abxd"], letters=True) == 0.25


def test_labels_hold_the_transcripts(task):
    known = task.transfer.labels >= 0
    assert int(known.any(1).sum()) == 4
    assert set(spelled(task.train.labels)) <= {"stop", "go"}
    assert len(task.train) == 4
    assert sorted(spelled(task.pool.labels) + spelled(task.test.labels)) == ["go"] * 5 + ["stop"] * 5
    assert dk.ctc_loss(listener(16, 2)(task.pool.inputs), task.pool.labels).isfinite()


def test_relabelled_is_another_draw_of_the_same_sounds(task):
    one, other = task.relabelled(4, 1), task.relabelled(4, 1)
    assert torch.equal(one.transfer.labels, other.transfer.labels)
    assert torch.equal(one.transfer.inputs, task.transfer.inputs)
    draws = {tuple((task.relabelled(4, seed).transfer.labels >= 0).any(1).tolist()) for seed in range(6)}
    assert len(draws) > 1
    refused(lambda: task.relabelled(9, 0), ValueError, "labelled", "9", "transcript")


def test_pseudo_labels_are_the_teachers_transcripts(task):
    teacher = Echo(classes("-go"))
    labelled = task.pseudo_labelled(teacher)
    known = (task.transfer.labels >= 0).any(1)
    assert set(spelled(labelled.labels[~known])) == {"go"}
    assert torch.equal(labelled.labels[known], task.transfer.labels[known])


def test_a_student_learns_its_recordings(task):
    """All there is, ten words by a voice, in some seconds."""
    student = listener(32, 2, seed=1)
    known = task.relabelled(8, 0).train
    dk.distill(student, None, known, knobs=dk.Knobs(1, 0, 0.01), steps=80, batch_size=8, hard=dk.ctc_loss).result()
    assert error_rate(spelled(known.labels), texts_of(student, known)) <= 0.25
    heard = task.transcribe(student, task.hear(task.said[0]))
    assert heard[0].text in ("stop", "go")
    assert set(task.score(student)) == {"wer", "cer"}


def test_the_same_student_from_the_same_seed(task):
    one, other = task.student(3), task.student(3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["teacher", "distilled", "twin"])
def test_what_is_shipped_hears(name, task):
    model = getattr(task, name)()
    assert not model.training
    heard = transcribe(model, speak("turn on the kitchen light", "en-us+f3"))
    assert error_rate(["turn on the kitchen light"], [heard.text]) <= (1.0 if name == "twin" else 0.4)
    assert heard.real_time_factor < 1


def test_a_student_is_a_fifth_of_its_teacher(task):
    sizes = {name: dk.cost.parameters(getattr(task, name)()) for name in ("teacher", "distilled", "twin")}
    assert sizes["distilled"] == sizes["twin"] <= sizes["teacher"] / 5
    assert sizes["distilled"] == dk.cost.parameters(task.student())


def write(path, samples, rate=RATE, **how):
    import soundfile

    soundfile.write(path, samples, rate, **how)
    return path


def test_wav_of_any_rate_depth_and_channels(tmp_path):
    expected = sound(1.0)
    stereo = np.stack([expected, expected], 1)
    for name, samples, how in (
        ("16.wav", expected, {}),
        ("24.wav", expected, {"subtype": "PCM_24"}),
        ("stereo.wav", stereo, {}),
        ("flac.flac", expected, {}),
    ):
        path = write(tmp_path / name, samples, **how)
        assert read_sound(path) == pytest.approx(expected, abs=1e-4)
        assert np.array_equal(read_sound(path.read_bytes()), read_sound(path))
    eight = read_sound(write(tmp_path / "8k.wav", sound(1.0, 8000), 8000))
    assert len(eight) == RATE


def test_what_is_no_sound_is_refused(tmp_path):
    refused(lambda: read_sound(write(tmp_path / "none.wav", sound(0))), OSError, "none.wav", "0 samples")
    refused(lambda: read_sound(write(tmp_path / "hour.wav", sound(3600, 100), 100)), OSError, "3,600 s", "30", "cut it")
    text = tmp_path / "text.wav"
    text.write_text("not a sound")
    refused(lambda: read_sound(text), OSError, "text.wav", "no sound", "WAV, FLAC")
    lies = write(tmp_path / "lies.wav", sound(0.1)).read_bytes()
    (tmp_path / "lies.wav").write_bytes(lies[:40] + struct.pack("<I", 2**31) + lies[44:200])
    assert len(read_sound(tmp_path / "lies.wav")) < 200  # what is there, not what its header claims
    refused(lambda: read_sound(write(tmp_path / "nan.wav", sound(0.1) * np.nan, subtype="FLOAT")), OSError, "nan")
    refused(lambda: read_sound(tmp_path / "gone.wav"), OSError, "gone.wav")
    refused(lambda: transcribe(listener(8, 1), [1.0]), TypeError, "samples", "16,000")
    refused(lambda: transcribe(listener(8, 1), sound(31)), ValueError, "30 s", "31.0 s")


def test_a_table_names_the_texts(folder):
    rows = [f"{file.name},{file.name.split('_')[0]}" for file in sorted(folder.iterdir())][:6]
    rows += [f"{file.name}," for file in sorted(folder.iterdir())][6:]
    (folder / "transcripts.csv").write_text("file,text\n" + "\n".join(rows), encoding="utf-8-sig")
    task = dk.tasks.speech(labelled=2, path=folder)
    assert int((task.pool.labels >= 0).any(1).sum()) == 5
    assert len(task.pool) == 9
    (folder / "transcripts.csv").rename(folder / "transcripts.tsv")
    tabs = (folder / "transcripts.tsv").read_text().replace(",", "\t")
    (folder / "transcripts.tsv").write_text(tabs)
    assert len(dk.tasks.speech(labelled=2, path=folder).pool) == 9


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("name,text\na,b", ["columns file and text", "name, text"]),
        ("file,text\nnone.wav,stop", ["line 2", "none.wav"]),
        ("file,text\nstop_anna_0.wav,stöp", ["line 2", "xf6"]),
        ("", ["columns file and text", "nothing"]),
    ],
)
def test_a_table_that_is_not_as_described(folder, table, words):
    (folder / "transcripts.csv").write_text(table, encoding="utf-8")
    refused(lambda: dk.tasks.speech(path=folder), OSError, "transcripts.csv", *words)


def test_a_table_of_other_bytes(folder):
    (folder / "transcripts.csv").write_text("file,text", encoding="utf-16")
    refused(lambda: dk.tasks.speech(path=folder), OSError, "transcripts.csv", "UTF-8")


def test_a_folder_that_holds_too_little(tmp_path):
    refused(lambda: dk.tasks.speech(path=tmp_path / "none"), OSError, "no folder", "none")
    refused(lambda: dk.tasks.speech(path=tmp_path), OSError, "at least 5", "got 0")


@pytest.mark.skipif(not REAL.is_dir(), reason="no recordings of real people beside the checkout")
def test_real_recordings_of_spoken_digits(tmp_path):
    """8 kHz recordings of three people; the student learns their ten words from the names of the files."""
    task = dk.tasks.speech(labelled=144, path=REAL)
    assert len(task.pool) + len(task.test) == 180
    assert set(spelled(task.pool.labels)) == set(DIGITS)
    student = task.student(0)
    knobs = dk.Knobs(1, 0, 0.006)
    dk.distill(student, None, task.train, knobs=knobs, steps=120, batch_size=16, hard=dk.ctc_loss).result()
    assert task.score(student)["wer"] < 0.5
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(REAL.glob("*.wav"))[:6]:
        shutil.copy(file, few)
    (few / "0_broken_0.wav").write_bytes(b"RIFF")
    refused(lambda: dk.tasks.speech(path=few), OSError, "0_broken_0.wav")
