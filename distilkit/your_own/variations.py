"""More rows where there are none: variations of your texts, which nobody labelled and a teacher can."""

from __future__ import annotations

import random
from collections.abc import Sequence

SHORTENED, REPLACED, DROPPED = 0.25, 0.1, 0.1  # shares: of texts cut to a part; of words made another's, left out


def variations(texts: Sequence[str], count: int, *, seed: int = 0) -> list[str]:
    """`count` variations of these texts, in turn: a part of one, some of its words left out or made another text's.

    A variation need not mean what the text meant, so it has no label; a teacher that knows the task still has an
    opinion of it. That opinion is what a student of few rows lacks.

    Source: Tang et al. 2019, arXiv:1903.12136 (masked words and n-grams sampled from texts).

    >>> variations(["where is my order", "can I return it"], 3)
    ['where is my', 'can I return', 'where is my order']
    """
    draw = random.Random(f"variations {seed}")
    words = [word for text in texts for word in text.split()] or [""]
    return [_varied(texts[place % len(texts)].split(), words, draw) for place in range(count)]


def _varied(words: list[str], others: list[str], draw: random.Random) -> str:
    if len(words) > 2 and draw.random() < SHORTENED:
        length = draw.randint(2, len(words) - 1)
        first = draw.randint(0, len(words) - length)
        words = words[first : first + length]
    kept = [draw.choice(others) if draw.random() < REPLACED else word for word in words if draw.random() > DROPPED]
    return " ".join(kept or words)
