"""The listener: a sound played, its spectrogram, and what teacher and student hear in it, on one axis of time."""

from __future__ import annotations

import io
import statistics
import threading
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from torch import nn

from distilkit import plots
from distilkit.errors import BadType, BadValue, choice, shown
from distilkit.tasks.speech import ALPHABET, HOP, TICK, Transcript, log_mel, read_sound, spelled
from distilkit.tasks.voices import RATE, Reading
from distilkit.widgets.base import Widget
from distilkit.widgets.lens import inert
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAID = 80  # characters of a sentence to be said
BYTES = 10_000_000  # of a file of one's own
RECORDED = 10  # seconds of a recording at the most
TIMED = 3  # times that a sound is transcribed: the middle one counts
Sound = Reading | str | Path | np.ndarray
QUIET = 0.03  # of a recording's loudest 20 ms: what is softer, before and after, is cut off
VOICES = {  # of a sentence to be said
    "en-us+f3": "a woman, heard in training",
    "en-gb-x-rp+m1": "a man, heard in training",
    "en-us+f2": "a woman, never heard",
    "en-gb-scotland+m5": "a man, never heard",
}


def listen(
    task: Any,
    sound: Sound | None = None,
    *,
    teacher: nn.Module,
    student: nn.Module,
    twin: nn.Module | None = None,
) -> Listening:
    """Play a sound, see its spectrogram, and what teacher and student hear in it, on one axis of time.

    The page says a sentence that you type, opens a file, or records from the microphone where the browser allows it.
    The milliseconds are of this one sound on this machine, features included, the middle of three times.

    Args:
        task: as `tasks.speech()` gives it.
        sound: the first to be heard: a reading, a WAV or FLAC file, samples (n,) at 16,000 a second; default, one
            held out, of a voice that no model has heard.
        teacher, student, twin: log-mel frames → logits of letters, as `task.student()`.

    Raises:
        BadType: what is no model, or no task of speech. BadFile, BadValue: a sound that is unreadable, empty, too long.
    """
    if not hasattr(task, "transcribe"):
        raise BadType(f"listen needs a task that transcribes, dk.tasks.speech(), got {shown(task)}")
    models = {"teacher": teacher, "student": student} | ({} if twin is None else {"twin": twin})
    for role, model in models.items():
        if not isinstance(model, nn.Module):
            raise BadType(f"the {role} must be a torch.nn.Module, got {type(model).__name__}")
    return Listening(task, sound, models)


class Listening(Widget):
    """The view that `listen` returns; `heard` has what each model heard last: {"teacher": Transcript, …}."""

    files = "listen"
    about = traitlets.Dict().tag(sync=True)
    page = traitlets.Dict().tag(sync=True)  # the sound, and what was heard in it

    def __init__(self, task: Any, sound: Sound | None, models: dict[str, nn.Module]) -> None:
        self._task, self._models = task, models
        self._openings = {
            name: list(zip(sounds, spelled(examples.labels), strict=True))
            for name, sounds, examples in (
                ("never heard", task.said_by_new, task.new_voices),
                ("heard in training", task.said, task.test),
            )
            if len(sounds)
        }
        self._guard = threading.RLock()  # one sound at a time
        self._serial, self._next = 0, dict.fromkeys(self._openings, 0)
        self.samples = np.zeros(0, np.float32)
        self.heard: dict[str, Transcript] = {}
        self.ms: dict[str, float] = {}
        super().__init__(
            about={
                "roles": list(models),
                "classes": ["", *ALPHABET],
                "sets": [[name, say(name)] for name in self._openings],
                "voices": [[voice, say(who)] for voice, who in VOICES.items()],
                "said": SAID,
                "bytes": BYTES,
                "recorded": RECORDED,
                "rate": RATE,
            }
        )
        if sound is None and self._openings:
            self.next(next(iter(self._openings)))
        else:
            self.ask(Reading("turn on the kitchen light", next(iter(VOICES))) if sound is None else sound)

    def ask(self, sound: Sound, *, reference: str = "", name: str = "") -> dict[str, Transcript]:
        """What every model hears in a sound: a reading, a WAV or FLAC file, or samples (n,) at 16,000 a second.

        Raises:
            BadFile: a file that is no sound, empty or too long. BadType, BadValue: samples that are not as described.
        """
        samples = sound if isinstance(sound, np.ndarray) else self._task.hear(sound)
        if isinstance(sound, Reading):
            reference, name = reference or _plain(sound.text), name or sound.voice
        elif not name and not isinstance(sound, np.ndarray):
            name = Path(sound).name
        with self._guard:
            found, times = {}, {}
            for role, model in self._models.items():
                tries = [self._task.transcribe(model, samples)[0] for _ in range(TIMED)]
                found[role], times[role] = tries[0], 1000 * statistics.median(one.seconds for one in tries)
            self.samples, self.heard, self.ms = samples, found, times
            self._show(reference, name)
        return found

    def next(self, voices: str = "heard in training") -> dict[str, Transcript]:
        """Listen to the next held-out sound, of voices "heard in training" or "never heard"."""
        if not self._openings:
            raise BadValue(say("the task has no held-out sounds: give one of your own"))
        some = self._openings[choice("voices", voices, self._openings)]
        with self._guard:
            self._next[voices] += 1
            sound, text = some[(self._next[voices] - 1) % len(some)]
            return self.ask(sound, reference=text)

    def say(self, text: str, voice: str = "en-us+f3") -> dict[str, Transcript]:
        """Have a sentence said by the synthesiser, and listen to it.

        Raises:
            BadType: not a text. BadValue: nothing to say in it, or no such voice.
        """
        if not isinstance(text, str):
            raise BadType(f"a sentence is a text, got {shown(text)}")
        sentence = " ".join(text.split())[:SAID]
        if not any(letter.isalnum() for letter in sentence):
            raise BadValue(f"there is nothing to say in {shown(text)}")
        return self.ask(Reading(sentence, voice))

    def load(self, data: bytes, *, name: str, recorded: bool = False) -> dict[str, Transcript]:
        """Listen to the bytes of a WAV or FLAC file; of a recording, from its first word to its last.

        Raises:
            BadFile: as `ask`. BadValue: too many bytes.
        """
        if len(data) > BYTES:
            raise BadValue(f"{shown(name)} has {len(data):,} bytes, more than {BYTES:,}: cut it into sentences")
        samples = read_sound(data)
        return self.ask(_trimmed(samples) if recorded else samples, name=name)

    def figure(self) -> Figure:
        """The spectrogram, and the letters that each model heard, as a picture."""
        return plots.heard(
            log_mel(self.samples),
            {role: one.log_probs for role, one in self.heard.items()},
            classes=["", *ALPHABET],
            tick=TICK,
            texts={role: one.text for role, one in self.heard.items()},
        )

    def line(self) -> str:
        """What was said, and what each model heard."""
        heard = [
            f"{say(role)}: {one.text or say('nothing')} ({self.ms[role]:.0f} ms)" for role, one in self.heard.items()
        ]
        return " | ".join([self.page["reference"] or self.page["name"] or say("a sound"), *heard])

    def _show(self, reference: str, name: str) -> None:
        mels = log_mel(self.samples)
        low, high = float(mels.quantile(0.05)), float(mels.max())
        shades = ((mels - low) / max(high - low, 1e-6)).clamp(0, 1).mul(255).byte()
        self._serial += 1
        self.page = {
            "serial": self._serial,
            "reference": inert(reference, 400),
            "name": inert(name, 60),
            "duration": len(self.samples) / RATE,
            "tick": TICK,
            "hop": HOP / RATE,
            "wav": _wav(self.samples),
            "mels": shades.numpy().tobytes(),  # (frames, 40)
            "frames": len(mels),
            "sides": {role: self._side(one, role, reference) for role, one in self.heard.items()},
        }

    def _side(self, one: Transcript, role: str, reference: str) -> dict[str, Any]:
        words, wrong = _compared(reference, one.text)
        return {
            "text": one.text,
            "words": words,
            "wrong": wrong,
            "of": len(reference.split()),
            "letters": [[letter, round(start, 4), round(end, 4)] for letter, start, end in one.letters],
            "probs": (255 * one.log_probs.exp()).round().byte().numpy().tobytes(),  # (ticks, classes)
            "ms": round(self.ms[role], 2),
            "times": round(1000 * one.duration / self.ms[role], 1),  # as fast as it was said
        }

    def _asked(self, content: dict[str, Any], buffers: list[Any]) -> None:
        if content.get("kind") == "next":
            self.next(content.get("voices", ""))
        elif content.get("kind") == "say":
            self.say(content.get("text", ""), choice("voice", content.get("voice"), VOICES))
        elif content.get("kind") == "open":
            recorded = bool(content.get("recorded"))
            name = say("your recording") if recorded else inert(str(content.get("name", "")), 60)
            self.load(b"".join(map(bytes, buffers[:1])), name=name, recorded=recorded)


def _plain(text: str) -> str:
    """The text as a transcript writes it, or nothing where it has other signs than letters."""
    low = " ".join(text.lower().translate(str.maketrans("’-", "' ", ".?!,;:")).split())
    return low if all(letter in ALPHABET for letter in low) else ""


def _compared(reference: str, heard: str) -> tuple[list[list[str]], int | None]:
    """The words heard, each "right", "wrong" or "added", those left out "missed"; how many errors, if that is known."""
    if not reference:
        return [[word, "heard"] for word in heard.split()], None
    import jiwer

    words: list[list[str]] = []
    true, said = reference.split(), heard.split()
    for part in jiwer.process_words(reference, heard).alignments[0]:
        kind = {"equal": "right", "substitute": "wrong", "insert": "added", "delete": "missed"}[part.type]
        some = (
            true[part.ref_start_idx : part.ref_end_idx]
            if kind == "missed"
            else said[part.hyp_start_idx : part.hyp_end_idx]
        )
        words += [[word, kind] for word in some]
    return words, sum(kind != "right" for _, kind in words)


def _trimmed(samples: np.ndarray) -> np.ndarray:
    """A recording without the silence before its first word and after its last."""
    step = RATE // 50
    rows = samples[: len(samples) // step * step].reshape(-1, step)
    loud = np.flatnonzero((level := np.square(rows).mean(1)) > QUIET**2 * level.max(initial=0))
    if not len(loud):
        return samples
    around = 5 * step  # 0.1 s
    return samples[max(0, loud[0] * step - around) : (loud[-1] + 1) * step + around]


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
