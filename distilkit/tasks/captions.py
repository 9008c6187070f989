"""How good a caption is, against the exact one: BLEU and CIDEr-D."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from distilkit.errors import BadValue

GRAMS, SIGMA = 4, 6.0  # CIDEr-D's


def bleu(said: Sequence[str], told: Sequence[str]) -> float:
    """BLEU of the corpus, 0 to 100 (sacrebleu's, words as they stand).

    >>> round(bleu(["a large red circle ."], ["a large red circle ."]))
    100
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise BadValue("BLEU needs sacrebleu: pip install 'distilkit[apps]' first") from None
    return float(BLEU(tokenize="none", effective_order=True, force=True).corpus_score(list(said), [list(told)]).score)


def cider(said: Sequence[str], told: Sequence[str]) -> float:
    """CIDEr-D, 0 to 10, of captions against one reference each: rare words weigh more than common ones.

    For n = 1 to 4 the cosine of the n-grams' counts, each times log(captions / captions with it), clipped at the
    reference's, times exp(−(difference in length)² / 72); ten times the mean of these.

    Source: Vedantam, Zitnick & Parikh 2015, arXiv:1411.5726.

    >>> round(cider(["a red cross .", "a blue circle ."], ["a red cross .", "a blue circle ."]), 2)
    10.0
    """
    known = [_grams(text) for text in told]
    among = Counter(gram for grams in known for gram in grams)
    scores = []
    for text, exact, truth in zip(said, told, known, strict=True):
        mine, length = _grams(text), len(text.split()) - len(exact.split())
        for n in range(1, GRAMS + 1):
            one, other = (
                {
                    gram: count * math.log(len(told) / max(1, among[gram]))
                    for gram, count in grams.items()
                    if len(gram) == n
                }
                for grams in (mine, truth)
            )
            norms = math.hypot(*one.values()) * math.hypot(*other.values())
            shared = sum(min(one[gram], other[gram]) * other[gram] for gram in one.keys() & other.keys())
            scores.append(shared / norms * math.exp(-(length**2) / (2 * SIGMA**2)) if norms else 0.0)
    return 10 * sum(scores) / len(scores)


def _grams(text: str) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[at : at + n]) for n in range(1, GRAMS + 1) for at in range(len(words) - n + 1))
