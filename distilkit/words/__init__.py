"""What the interface says, in the reader's language: `say("step {step}", step=3)`. English stands where it is said."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

from distilkit.errors import choice

LANGUAGES = ("en", "fr")  # each but the first has its words in a file here: {English: its own}

_chosen = "en"


def speak(language: str) -> None:
    """Choose the language of the interface.

    Raises:
        BadValue: one that there are no words of.

    >>> speak("fr")
    >>> say("Run"), say("Stopped at step {step}.", step=3)
    ('Lancer', 'Arrêté au pas 3.')
    >>> speak("en")
    """
    global _chosen
    _chosen = choice("language", language, LANGUAGES)


def language() -> str:
    """The language chosen."""
    return _chosen


def say(english: str, /, **values: object) -> str:
    """`english` in the chosen language, with its `{names}` filled in; as it stands where there is no word for it."""
    words = catalogue(_chosen).get(english, english)
    return words.format(**values) if values else words


@functools.cache
def catalogue(language: str) -> dict[str, str]:
    """Every word of the interface that this language has, by its English."""
    path = Path(__file__).parent / f"{language}.json"
    return json.loads(path.read_text("utf-8")) if language != "en" else {}


if os.environ.get("DISTILKIT_LANGUAGE") in LANGUAGES:
    speak(os.environ["DISTILKIT_LANGUAGE"])
