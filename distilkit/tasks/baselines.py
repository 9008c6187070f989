"""What any language model must beat: counting tokens, and general compressors."""

from __future__ import annotations

import lzma
import math

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from distilkit import metrics
from distilkit.errors import BadValue, whole
from distilkit.tasks.text import Text

ORDERS = (1, 2, 3, 4)


def baselines(task: Text) -> pd.DataFrame:
    """The held-out text as an n-gram model and two compressors see it that know all the other text.

    An n-gram model is scored on the blocks that `task.score` takes, and sees no further back than their start; a
    compressor on the whole held-out text: by how much longer the compressed text becomes when it is appended.

    Returns:
        A table with the columns model, perplexity (of a token; nan for a compressor), bits_per_byte.
    """
    rows = []
    for order in ORDERS:
        probabilities = kneser_ney(task.pool.numpy(), _grams(task, order), words=len(task.tokenizer))
        nll = float(-np.log(probabilities).mean())
        bits = metrics.bits_per_byte(nll, task.bytes_per_token)
        rows.append((f"{order}-gram, Kneser-Ney", math.exp(nll), bits))
    learnt, held_out = (_bytes(task, tokens.tolist()) for tokens in (task.pool, task.held_out))
    rows += [(name, math.nan, bits_per_byte_when_compressed(learnt, held_out, name)) for name in ("lzma", "zstd")]
    return pd.DataFrame(rows, columns=["model", "perplexity", "bits_per_byte"])


def kneser_ney(tokens: NDArray[np.int64], grams: NDArray[np.int64], *, words: int) -> NDArray[np.float64]:
    """``p(last token | those before)`` of each gram, by interpolated modified Kneser-Ney counts.

    ``p_k(w | c) = (n(c w) − D(n(c w)) + Σ_v D(n(c v)) · p_{k−1}(w | c')) / Σ_v n(c v)``, where c' is c without its
    first token, n counts occurrences at the highest order and different tokens to the left below it, p_0 is uniform.

    Args:
        tokens: (n,), what is counted.
        grams: (m, order), each a context and the token after it; a context that never occurs, as one that holds the
            number `words`, falls back on its end.
        words: how many tokens there are.

    Source: Chen & Goodman 1999, doi:10.1006/csla.1999.0128.

    >>> text = np.array([0, 1] * 8 + [0, 2])
    >>> kneser_ney(text, np.array([[0, 0], [0, 1], [0, 2]]), words=3).round(3).tolist()
    [0.074, 0.778, 0.148]
    """
    order = whole("order", grams.shape[1], 1, 16, "how many tokens a gram has")
    if len(tokens) < order:
        raise BadValue(f"{len(tokens)} tokens hold no gram of {order}")
    learnt = np.lib.stride_tricks.sliding_window_view(tokens, order)
    both = np.concatenate([learnt, grams]).astype(np.int64)
    number = context = np.zeros(len(both), np.int64)  # of the gram's end, of as many tokens as have been taken
    levels = []
    for place in reversed(range(order)):  # from the last token to the first: the longer ends
        shorter = number
        number = _numbered(number, both[:, place], words)
        context = context if place == order - 1 else _numbered(context, both[:, place], words)
        levels.append((shorter, number, context))
    probabilities = np.full(len(grams), 1 / words)
    for level, (_, number, context) in enumerate(levels):
        known = number[: len(learnt)]
        first = np.unique(known, return_index=True)[1]  # one place of each different gram
        if level == order - 1:
            counts = np.bincount(known, minlength=number.max() + 1)
        else:  # how many different tokens stand to its left
            longer = np.unique(levels[level + 1][1][: len(learnt)], return_index=True)[1]
            counts = np.bincount(number[longer], minlength=number.max() + 1)
        discounts = _discounts(counts[known[first]])
        size = context.max() + 1
        total = np.bincount(context[first], counts[known[first]], size)
        freed = np.bincount(context[first], discounts[np.minimum(counts[known[first]], 3)], size)
        count, before = counts[number[len(learnt) :]], context[len(learnt) :]
        seen = total[before] > 0
        kept = count - discounts[np.minimum(count, 3)] + freed[before] * probabilities
        probabilities = np.where(seen, kept / np.where(seen, total[before], 1), probabilities)
    return probabilities


def bits_per_byte_when_compressed(learnt: bytes, held_out: bytes, how: str) -> float:
    """``8 · (|compress(learnt + held_out)| − |compress(learnt)|) / |held_out|``, by "lzma" or "zstd" at its best.

    >>> bits_per_byte_when_compressed(b"", bytes(100_000), "lzma") < 0.02
    True
    """
    longer = len(_compressed(learnt + held_out, how)) - len(_compressed(learnt, how))
    return 8 * longer / len(held_out)


def _compressed(data: bytes, how: str) -> bytes:
    if how == "lzma":
        return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)  # looks back 64 MB
    return bytes(pa.Codec(how, compression_level=22).compress(data))  # zstd: looks back 128 MB


def _grams(task: Text, order: int) -> NDArray[np.int64]:
    """Every token of the test's blocks after the `order` − 1 before it in its block, (m, order)."""
    inputs = task.test.inputs.numpy()
    start = np.full((len(inputs), max(order - 2, 0)), len(task.tokenizer))  # before a block: a token that there is not
    before = np.lib.stride_tricks.sliding_window_view(np.hstack([start, inputs]), max(order - 1, 1), axis=1)
    grams = np.concatenate([before, task.test.labels.numpy()[..., None]], 2).reshape(-1, max(order, 2))
    return grams[:, -order:]


def _numbered(ends: NDArray[np.int64], tokens: NDArray[np.int64], words: int) -> NDArray[np.int64]:
    """The ends of grams with one more token before each, equal ones with the same number: 0, 1, …"""
    return np.unique(ends * (words + 1) + tokens, return_inverse=True)[1]


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken from a count of 0, 1, 2, and 3 or more."""
    ones, twos, threes, fours = (max(1, int((counts == number).sum())) for number in (1, 2, 3, 4))
    share = ones / (ones + 2 * twos)
    each = [0, 1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes]
    return np.clip(each, 0, [0, 1, 2, 3])


def _bytes(task: Text, tokens: list[int]) -> bytes:
    return str(task.tokenizer.decode(tokens, skip_special_tokens=True)).encode()
