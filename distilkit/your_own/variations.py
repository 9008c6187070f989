"""More rows where there are none: variations of your texts, which nobody labelled and a teacher can."""

from __future__ import annotations

import random
from collections.abc import Sequence

LONG = 20  # letters of a word, on average, beyond which blanks do not part words
SHORTENED, REPLACED, DROPPED = 0.25, 0.1, 0.1  # shares: of texts cut to a part; of words made another's, left out


def variations(texts: Sequence[str], count: int, *, seed: int = 0) -> list[str]:
    """`count` variations of these texts, in turn: a part of one, some of its words left out or made another text's.

    A variation need not mean what the text meant, so it has no label; a teacher that knows the task still has an
    opinion of it. That opinion is what a student of few rows lacks.

    Source: Tang et al. 2019, arXiv:1903.12136 (masked words and n-grams sampled from texts).

    >>> variations(["where is my order", "can I return it"], 3)
    ['where is where order', 'can I return it', 'where is my order']
    """
    draw = random.Random(f"variations {seed}")
    words = [word for text in texts for word in _words(text)] or [""]
    return [_varied(texts[place % len(texts)], words, draw) for place in range(count)]


def _words(text: str) -> list[str]:
    """Its words; of a writing without blanks, its signs."""
    found = text.split()
    return found if len(text) < LONG * len(found) else list(text)


def _varied(text: str, others: list[str], draw: random.Random) -> str:
    words = _words(text)
    between = "" if len(words) > 1 and "".join(words) == text else " "
    if len(words) > 2 and draw.random() < SHORTENED:
        length = draw.randint(2, len(words) - 1)
        first = draw.randint(0, len(words) - length)
        words = words[first : first + length]
    kept = [draw.choice(others) if draw.random() < REPLACED else word for word in words if draw.random() > DROPPED]
    return between.join(kept or words)
