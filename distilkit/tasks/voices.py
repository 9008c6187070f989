"""Spoken commands and digits: sentences from a small grammar, read aloud by espeak-ng in many voices.

The synthesiser comes inside the package `espeakng-loader`; nothing is fetched, and no program need be installed.
"""

from __future__ import annotations

import _ctypes
import ctypes
import hashlib
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilkit.errors import BadValue, shown, whole

RATE = 16_000  # samples a second
ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc")
SPEAKERS = (
    *(f"m{number}" for number in range(1, 9)),
    *(f"f{number}" for number in range(1, 6)),
    *("Andy", "Annie", "Denis", "Gene", "Gene2", "Mario", "Michael", "Mike", "Alex", "Alicia", "Andrea", "Jacky"),
    *("Lee", "Reed", "anika", "antonio", "belinda"),
)
EVERY = 5  # every fifth speaker is kept for the test of voices never heard
SPEEDS = (145, 220)  # words a minute
PITCHES = (25, 75)  # of 0 to 99
NOISE = (8.0, 35.0)  # signal to noise, decibels

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ROOMS = ("kitchen", "bedroom", "bathroom", "garden", "garage", "office", "hall", "living room", "attic")
THINGS = ("light", "lamp", "heater", "fan", "radio", "television", "oven", "alarm", "camera")
NAMES = (
    "anna",
    "ben",
    "clara",
    "david",
    "emma",
    "frank",
    "grace",
    "henry",
    "julia",
    "karl",
    "laura",
    "mike",
    "nina",
    "oscar",
    "paula",
    "robert",
    "tom",
)
MUSIC = ("jazz", "rock", "blues", "pop", "folk", "techno", "opera", "classical")
CITIES = ("paris", "london", "berlin", "madrid", "rome", "vienna", "oslo", "dublin")
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAYS = (*WEEK, "today", "tomorrow", "tonight")
AMOUNTS = ("two", "three", "five", "ten", "fifteen", "twenty", "thirty", "forty", "sixty")
COLOURS = ("red", "green", "blue", "white", "yellow", "purple")
GOODS = ("milk", "bread", "coffee", "flowers", "tickets", "books")
# Each is a form; a name in braces stands for one of its words.
WORDS = {
    "room": ROOMS,
    "thing": THINGS,
    "name": NAMES,
    "music": MUSIC,
    "city": CITIES,
    "week": WEEK,
    "day": DAYS,
    "amount": AMOUNTS,
    "colour": COLOURS,
    "goods": GOODS,
    "switch": ("on", "off"),
    "opening": ("door", "window", "curtain"),
    "move": ("open", "close", "lock"),
    "clock": ("a timer", "an alarm"),
    "unit": ("seconds", "minutes", "hours"),
    "reach": ("call", "text", "email"),
    "more": ("some", "more"),
    "bulb": ("light", "lamp"),
    "get": ("buy", "order", "return"),
    "when": ("on", "before"),
    "who": ("me", "us"),
}
FORMS = (
    "turn {switch} the {room} {thing}",
    "{move} the {opening} in the {room}",
    "set {clock} for {amount} {unit}",
    "{reach} {name} {day}",
    "play {more} {music} in the {room}",
    "what is the weather in {city} {day}",
    "make the {room} {bulb} {colour}",
    "remind {who} to {get} {goods} {when} {week}",
)
DIGIT_STRINGS = 0.3  # the share of readings that are three to five digits


@dataclass(frozen=True)
class Reading:
    """A sentence read aloud: what is said, and how. `sound` makes it audible.

    Attributes:
        text: lower-case words.
        voice: an accent and a speaker of espeak-ng's, "en-us+f3".
        speed: words a minute.
        pitch: 0 to 99.
        noise: signal to noise in decibels, of white noise.
        seed: of the noise.
    """

    text: str
    voice: str
    speed: int = 175
    pitch: int = 50
    noise: float = 30.0
    seed: int = 0

    def sound(self) -> np.ndarray:
        """The samples, (n,), float32 in [−1, 1], 16,000 a second: the same ones each time."""
        clean = speak(self.text, self.voice, speed=self.speed, pitch=self.pitch)
        draw = np.random.default_rng([self.seed, 5])
        level = float(np.sqrt((clean**2).mean())) * 10 ** (-self.noise / 20)
        noisy = clean + level * draw.standard_normal(len(clean), np.float32)
        return np.clip(noisy, -1, 1).astype(np.float32)


def readings(count: int, *, seed: int = 0, new_voices: bool = False) -> list[Reading]:
    """`count` readings, a pure function of the arguments; `new_voices` are those of speakers kept for the test.

    >>> [one.text for one in readings(2, seed=1)]
    ['call nina tuesday', 'play more jazz in the bathroom']
    """
    count = whole("count", count, 0, 10**6, "how many readings")
    seed = whole("seed", seed, 0, 2**63 - 1, "which readings")
    speakers = [name for place, name in enumerate(SPEAKERS) if (place % EVERY == EVERY - 1) == new_voices]
    draw = random.Random(f"{seed} {new_voices}")
    return [
        Reading(
            sentence(draw),
            f"{draw.choice(ACCENTS)}+{draw.choice(speakers)}",
            draw.randint(*SPEEDS),
            draw.randint(*PITCHES),
            round(draw.uniform(*NOISE), 1),
            draw.randrange(2**31),
        )
        for _ in range(count)
    ]


def sentence(draw: random.Random) -> str:
    """A command, or a string of digits."""
    if draw.random() < DIGIT_STRINGS:
        return " ".join(draw.choice(DIGITS) for _ in range(draw.randint(3, 5)))
    return draw.choice(FORMS).format(**{name: draw.choice(words) for name, words in WORDS.items()})


def vocabulary() -> list[str]:
    """Every word that can be said, sorted.

    >>> len(vocabulary()) > 100
    True
    """
    listed = " ".join([*DIGITS, *FORMS, *(word for words in WORDS.values() for word in words)])
    return sorted({word for word in listed.split() if not word.startswith("{")})


def speak(text: str, voice: str = "en", *, speed: int = 175, pitch: int = 50) -> np.ndarray:
    """The text as espeak-ng says it in this voice: samples (n,), float32 in [−1, 1], 16,000 a second.

    Source: espeak-ng, https://github.com/espeak-ng/espeak-ng (formant synthesis).
    """
    from scipy.signal import resample_poly

    speed = whole("speed", speed, 80, 450, "words a minute")
    pitch = whole("pitch", pitch, 0, 99, "50 is the voice's own")
    said = text.encode()
    if not any(letter.isalnum() for letter in text):
        raise BadValue(f"there is nothing to say in {shown(text)}")
    with _ONE_AT_A_TIME, _engine() as (library, parts, speakers):
        known = voice.partition("+")[2] in ("", *speakers)  # of another speaker it would say nothing, and take its own
        if not known or library.espeak_SetVoiceByName(voice.encode()):
            raise BadValue(f"espeak-ng has no voice {shown(voice)}: give one as {ACCENTS[1]}+{SPEAKERS[8]}")
        library.espeak_SetParameter(1, speed, 0)
        library.espeak_SetParameter(3, pitch, 0)
        library.espeak_Synth(said, len(said) + 1, 0, 1, 0, 1, None, None)
        library.espeak_Synchronize()
        samples = np.concatenate(parts).astype(np.float32) / 2**15
    up, down = 320, 441  # 22,050 samples a second to 16,000
    return np.clip(resample_poly(samples, up, down), -1, 1).astype(np.float32)


_ONE_AT_A_TIME = threading.Lock()  # espeak-ng has one voice, one text, one callback
_unload = getattr(_ctypes, "FreeLibrary" if os.name == "nt" else "dlclose")
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@contextmanager
def _engine() -> Iterator[tuple[ctypes.CDLL, list[np.ndarray], list[str]]]:
    """espeak-ng's library, the list to which it hands samples piece by piece, and its speakers' names.

    Loaded anew for each text: it keeps the phase of its waves from one to the next, and no call resets that.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise BadValue("the synthesiser is not installed: pip install 'distilkit[apps]' first") from None
    parts: list[np.ndarray] = []

    @_Callback
    def take(samples: ctypes._Pointer[ctypes.c_short], count: int, events: object) -> int:
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        if library.espeak_Initialize(1, 0, espeakng_loader.get_data_path().encode(), 0) != 22_050:
            raise BadValue("espeak-ng does not speak at 22,050 samples a second: pip install -U espeakng-loader")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        library.espeak_SetSynthCallback(take)
        speakers = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
        yield library, parts, [file.name for file in speakers.iterdir()]
    finally:
        library.espeak_Terminate()
        _unload(library._handle)


def kept(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make()` gives, from the cache folder where it was made before.

    The folder is ``distilkit`` in ``XDG_CACHE_HOME`` or ``~/.cache``; where that cannot be written, nothing is kept.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = home / "distilkit" / f"{name}-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pass
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npy")
        with os.fdopen(handle, "wb") as file:
            np.save(file, made)
        os.replace(temporary, path)  # noqa: PTH105
    except OSError:
        pass
    return made
