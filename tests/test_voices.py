"""Readings: what is said, in which voice, and that the same one sounds the same."""

import numpy as np
import pytest

from distilkit.tasks.voices import EVERY, RATE, SPEAKERS, Reading, kept, readings, speak, vocabulary

from .faults import refused


def test_readings_are_a_function_of_the_seed():
    assert readings(20, seed=3) == readings(20, seed=3)
    assert readings(20, seed=3)[:10] == readings(10, seed=3)
    assert readings(20, seed=3) != readings(20, seed=4)


def test_every_word_is_of_the_vocabulary_and_there_are_a_hundred():
    said = {word for one in readings(3000) for word in one.text.split()}
    assert said == set(vocabulary())
    assert len(said) >= 100


def test_new_voices_are_of_speakers_never_heard():
    heard, new = ({one.voice.split("+")[1] for one in readings(2000, new_voices=new)} for new in (False, True))
    assert not heard & new
    assert heard | new == set(SPEAKERS)
    assert len(new) == len(SPEAKERS) // EVERY


def test_the_same_reading_sounds_the_same_whatever_was_said_before():
    one, other = readings(2, seed=1)
    first = one.sound()
    other.sound()
    assert np.array_equal(one.sound(), first)


def test_a_sound_is_audible_speech():
    slow, fast = (speak("turn on the light", "en-us+f3", speed=speed) for speed in (120, 240))
    assert slow.dtype == np.float32
    assert 0.5 < len(fast) / RATE < len(slow) / RATE < 3
    assert 0.1 < np.abs(slow).max() <= 1


def test_noise_is_as_loud_as_said():
    clean, noisy = (Reading("call anna today", "en+m1", noise=noise).sound() for noise in (200.0, 10.0))
    rest = noisy - clean
    ratio = 10 * np.log10((clean**2).mean() / (rest**2).mean())
    assert ratio == pytest.approx(10, abs=0.5)


def test_what_cannot_be_said_is_refused():
    refused(lambda: speak("hello", "en+nobody"), ValueError, "no voice", "en+nobody", "en-us+f1")
    refused(lambda: speak("hello", speed=1000), ValueError, "speed", "450", "1000")
    refused(lambda: speak("", "en"), ValueError, "nothing to say")


def test_what_was_made_once_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def make():
        made.append(1)
        return np.arange(3)

    assert [kept("some", make).tolist() for _ in range(2)] == [[0, 1, 2]] * 2
    assert len(made) == 1
    next((tmp_path / "distilkit").iterdir()).write_bytes(b"cut")
    assert kept("some", make).tolist() == [0, 1, 2]
    assert len(made) == 2


def test_f80_a_home_that_cannot_be_written_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept("some", lambda: np.arange(2)).tolist() == [0, 1]
