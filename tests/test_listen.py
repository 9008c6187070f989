"""The listener: what stands on the page is what the models heard, refusals have a reason, a picture stands in."""

import io
import wave
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit.errors import BadType, BadValue
from distilkit.tasks.speech import ALPHABET, STRIDE, read_sound, transcribe
from distilkit.tasks.voices import EVERY, RATE, SPEAKERS, Reading
from distilkit.widgets.listen import VOICES, _compared, _plain, _trimmed
from tests.page import tell

FIRST, SECOND = (
    Reading(text, voice) for text, voice in (("turn on the lamp", "en-us+f2"), ("play some jazz", "en-us+m1"))
)


class Speller(nn.Module):
    """Whatever it is given, it hears this text: each letter for a tick, a blank after it."""

    def __init__(self, text, sure=0.9):
        super().__init__()
        self.classes = [place for letter in text for place in (1 + ALPHABET.index(letter), 0)]
        self.sure = sure

    def forward(self, mels):
        classes = torch.zeros(len(mels), mels.shape[1] // STRIDE, dtype=torch.long)
        some = self.classes[: classes.shape[1]]
        classes[:, : len(some)] = torch.tensor(some, dtype=torch.long)
        probs = torch.full((*classes.shape, 1 + len(ALPHABET)), (1 - self.sure) / len(ALPHABET))
        return probs.scatter(-1, classes[..., None], self.sure).log()


def booth():
    """What a task of speech is to the widget: a sound of a new voice, and one of a voice heard before."""

    def examples(text):
        labels = torch.full((1, 80), -1)
        labels[0, : len(text)] = torch.tensor([1 + ALPHABET.index(letter) for letter in text])
        return SimpleNamespace(labels=labels)

    return SimpleNamespace(
        said=(SECOND,),
        said_by_new=(FIRST,),
        test=examples(SECOND.text),
        new_voices=examples(FIRST.text),
        hear=lambda sound: sound.sound() if isinstance(sound, Reading) else read_sound(sound),
        transcribe=lambda model, sound: [transcribe(model, sound)],
    )


def listening(sound=None, **more):
    return dk.listen(booth(), sound, teacher=Speller("turn on the lamp"), student=Speller("turn of lamp", 0.7), **more)


@pytest.fixture
def view():
    view = listening()
    yield view
    view.close()


def wav(samples, rate=RATE):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((32767 * samples).astype("<i2").tobytes())
    return file.getvalue()


def test_the_page_holds_what_the_models_heard(view):
    page = view.page
    assert (page["reference"], page["name"]) == (FIRST.text, FIRST.voice)
    assert page["duration"] == len(FIRST.sound()) / RATE
    with wave.open(io.BytesIO(page["wav"])) as sound:
        played = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32767
    assert np.allclose(played, FIRST.sound(), atol=1e-4)
    assert len(page["mels"]) == 40 * page["frames"]
    side = page["sides"]["student"]
    assert side["text"] == view.heard["student"].text == "turn of lamp"
    assert side["words"] == [["turn", "right"], ["of", "wrong"], ["the", "missed"], ["lamp", "right"]]
    assert (side["wrong"], side["of"]) == (2, 4)
    assert side["letters"][1] == ["u", pytest.approx(2 * page["tick"]), pytest.approx(3 * page["tick"])]
    probs = np.frombuffer(side["probs"], np.uint8).reshape(-1, len(view.about["classes"])) / 255
    assert np.allclose(probs, view.heard["student"].log_probs.exp(), atol=0.003)
    assert side["ms"] == round(view.ms["student"], 2) > 0
    assert side["times"] == pytest.approx(1000 * page["duration"] / view.ms["student"], rel=0.01)
    assert page["sides"]["teacher"]["wrong"] == 0


def test_the_next_sound_is_of_the_voices_that_were_asked_for(view):
    tell(view, kind="next", voices="heard in training")
    assert view.page["reference"] == SECOND.text
    tell(view, kind="next", voices="never heard")
    assert view.page["reference"] == FIRST.text


def test_a_sentence_is_said_in_the_voice_that_was_chosen(view):
    tell(view, kind="say", text=" Turn ON the lamp! ", voice="en-gb-x-rp+m1")
    assert (view.page["reference"], view.page["name"]) == ("turn on the lamp", "en-gb-x-rp+m1")
    assert np.array_equal(view.samples, Reading("Turn ON the lamp!", "en-gb-x-rp+m1").sound())
    view.say("room 12")  # its letters are not known
    assert view.page["reference"] == ""
    assert view.page["sides"]["student"]["wrong"] is None
    kept = {name for place, name in enumerate(SPEAKERS) if place % EVERY == EVERY - 1}
    assert {voice: voice.partition("+")[2] in kept for voice in VOICES} == {
        voice: "never" in told for voice, told in VOICES.items()
    }


def test_a_file_of_ones_own_and_a_recording(view):
    quiet, word = np.zeros(RATE, np.float32), 0.5 * np.sin(np.arange(RATE) / 3).astype(np.float32)
    data = wav(np.concatenate([quiet, word, quiet]))
    view._handle_custom_msg({"kind": "open", "name": "mine.wav"}, [memoryview(data)])
    assert (view.page["name"], view.page["duration"]) == ("mine.wav", 3.0)
    view._handle_custom_msg({"kind": "open", "recorded": True}, [memoryview(data)])
    assert view.page["name"] == "your recording"
    assert view.page["duration"] == pytest.approx(1.2, abs=0.03)
    assert np.array_equal(_trimmed(quiet), quiet)
    assert len(_trimmed(quiet[:3])) == 3


def test_what_cannot_be_heard_is_refused_on_the_page(view, monkeypatch):
    sent = []
    monkeypatch.setattr(view, "send", lambda content, *_: sent.append(content["text"]))
    before = view.page
    for content, data in (
        ({"kind": "open", "name": "<b>.wav"}, [b"<html>"]),
        ({"kind": "open", "name": "empty.wav"}, [wav(np.zeros(0))]),
        ({"kind": "open", "name": "an_hour.wav"}, [wav(np.zeros(31 * 8000), 8000)]),
        ({"kind": "open", "name": "none.wav"}, []),
        ({"kind": "open", "name": "big.wav"}, [bytes(10_000_001)]),
        ({"kind": "say", "text": " ! ", "voice": "en-us+f3"}, []),
        ({"kind": "say", "text": 3, "voice": "en-us+f3"}, []),
        ({"kind": "say", "text": "hello", "voice": "../x"}, []),
        ({"kind": "next", "voices": "loud"}, []),
    ):
        view._handle_custom_msg(content, data)
    assert len(sent) == 9
    assert "no sound that libsndfile reads" in sent[0]
    assert "31 s, more than 30" in sent[2]
    view._handle_custom_msg("nonsense", [])
    tell(view, kind="nonsense")
    assert view.page is before


def test_the_stored_sweep_is_drawn_kind_by_kind():
    rows = [(kind, 0.01, seed, 0.1 * seed + 0.1, 0.5) for kind in ("twin", "frames") for seed in range(3)]
    frame = pd.DataFrame(rows, columns=["student", "lr", "seed", "wer", "wer, new voices"])
    figure = dk.plots.word_errors(frame)
    assert [each.get_text() for each in figure.axes[0].get_yticklabels()][1] == "voices never heard"
    assert len(figure.legends[0].get_texts()) == 2
    with pytest.raises(BadValue, match="wer, new voices"):
        dk.plots.word_errors(frame[["student", "lr"]])


def test_words_are_compared_and_text_is_as_a_transcript_writes_it():
    assert _compared("", "a b") == ([["a", "heard"], ["b", "heard"]], None)
    assert _compared("a b", "") == ([["a", "missed"], ["b", "missed"]], 2)
    assert _compared("a b", "a x b")[0] == [["a", "right"], ["x", "added"], ["b", "right"]]
    assert _plain("Don’t stop, now.") == "don't stop now"
    assert _plain("naïve") == _plain("12") == ""


def test_refusals_say_what_is_needed():
    with pytest.raises(BadType, match="a task that transcribes"):
        dk.listen(dk.tasks.digits(), teacher=Speller("a"), student=Speller("a"))
    with pytest.raises(BadType, match=r"the student must be a torch\.nn\.Module"):
        dk.listen(booth(), teacher=Speller("a"), student="student")
    with pytest.raises(BadValue, match="up to 30 s"):
        listening(np.zeros(0, np.float32))
    with pytest.raises(OSError, match=r"none\.wav"):
        listening("none.wav")


def test_a_picture_and_a_line_stand_in():
    view = listening(twin=Speller(""))
    sound, teacher, _, twin = view.figure().axes
    assert sound.get_title(loc="left").startswith("the sound")
    assert [label.get_text() for label in teacher.get_yticklabels()][:2] == ["␣", "a"]
    assert twin.get_title(loc="left") == "twin: "
    assert "student: turn of lamp" in view.line()
    assert "twin: nothing" in view.line()
    data, _ = view._repr_mimebundle_()
    assert len(data["image/png"]) <= 16_500
    assert len(view.page["wav"]) < 80_000
    view.close()
