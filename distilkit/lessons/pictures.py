"""Two answers beside each other as a picture: bars for a few numbers, shades for a table of them."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BARS = 20
MOST_SHADES = 40  # rows or columns


def picture(name: str, yours: Tensor, expected: Tensor) -> bytes:
    """The two answers, and of a table their difference, too: a PNG.

    >>> import torch
    >>> picture("soften", torch.zeros(2), torch.ones(2))[1:4], picture("kl", torch.zeros(2, 9), torch.ones(2, 9))[1:4]
    (b'PNG', b'PNG')
    """
    from matplotlib.figure import Figure

    table = expected.ndim > 1 and expected.shape[-1] > 1 and expected.numel() > expected.shape[-1]
    figure = Figure(figsize=(6.4, 2.4) if table else (4.6, 2.2), layout="constrained")
    (_shades if table else _bars)(figure, name, yours, expected)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=96)
    return file.getvalue()


def _bars(figure: Figure, name: str, yours: Tensor, expected: Tensor) -> None:
    pairs = list(zip(expected.flatten().tolist(), yours.flatten().tolist(), strict=True))[:MOST_BARS]
    axes = figure.subplots()
    for side, label, colour, hatch in ((0, say("expected"), "#0072B2", ""), (1, say("yours"), "#D55E00", "//")):
        heights = [pair[side] if math.isfinite(pair[side]) else 0.0 for pair in pairs]
        places = [place + 0.4 * side for place in range(len(pairs))]
        axes.bar(places, heights, 0.38, label=label, color=colour, hatch=hatch, edgecolor="white")
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set_xticks([place + 0.2 for place in range(len(pairs))], [str(place) for place in range(len(pairs))])
    axes.set_title(name, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _shades(figure: Figure, name: str, yours: Tensor, expected: Tensor) -> None:
    both = [values.flatten(0, -2).nan_to_num(0, 0, 0) for values in (expected, yours)]
    rows = [values[:MOST_SHADES, :MOST_SHADES].numpy() for values in both]
    most = max(1e-12, *(float(abs(values).max()) for values in rows))
    apart = rows[1] - rows[0]
    end = max(1e-12, float(abs(apart).max()))
    panels = [(say("expected"), rows[0], most), (say("yours"), rows[1], most), (say("yours − expected"), apart, end)]
    for axes, (label, values, limit) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        axes.set_xticks(range(0, values.shape[1], max(1, values.shape[1] // 6)))
        axes.set_yticks(range(0, values.shape[0], max(1, values.shape[0] // 6)))
        axes.set_title(label, fontsize=10)
        if values.size <= 48:
            for (row, column), value in np.ndenumerate(values):
                dark = abs(value) > 0.6 * limit
                words = {"ha": "center", "va": "center", "fontsize": 8, "color": "white" if dark else "black"}
                axes.text(column, row, f"{value:.2g}", **words)
    figure.suptitle(name, x=0.01, ha="left")
