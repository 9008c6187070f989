"""Pictures of text: tokens coloured by what is measured of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from distilkit.errors import BadValue
from distilkit.plots.style import (
    ROLES,
)
from distilkit.words import say

_MONO = font_manager.get_font(font_manager.findfont("DejaVu Sans Mono"))  # comes with matplotlib


def tokens(
    tokens: Sequence[str],
    values: Any,
    *,
    title: str = "KL(teacher ‖ student)",
    role: str = "student",
    columns: int = 84,
) -> Figure:
    """A text whose tokens are shaded by a number each, in nats: the darker, the more; the top tenth is underlined.

    tokens: their texts; "\\n" breaks the line. values: (n,), nan where there is none. role: whose colour.

    >>> figure = tokens(["Return", " the", " value"], [float("nan"), 0.1, 2.0])
    >>> [each.get_text() for each in figure.axes[0].texts][:3]
    ['Return', ' the', ' value']
    """
    shades = np.asarray(values, dtype=float)
    if shades.shape != (len(tokens),) or not len(tokens):
        raise BadValue(f"values must be one number a token, ({len(tokens)},), at least one, got {shades.shape}")
    known = shades[np.isfinite(shades)]
    most = max(float(known.max(initial=0)), 1e-9)
    tenth = np.quantile(known, 0.9) if len(known) else math.inf
    places, line, column = [], 0, 0
    for token, value in zip(tokens, shades, strict=True):
        *ended, last = "".join(letter if letter == "\n" else _drawn(letter) for letter in token).split("\n")
        for part, breaks in [*((each + "↵", 1) for each in ended), (last, 0)]:
            if column + len(part) > columns and column:
                line, column, part = line + 1, 0, part.lstrip(" ")
            places.append((line, column, part, value))
            line, column = line + breaks, 0 if breaks else column + len(part)
    wide = columns * 0.602 * 9 / 72  # inches: a letter of this font is 0.602 em wide
    figure = Figure(figsize=(wide + 0.2, 0.2 * (line + 1) + 0.5))
    axes = figure.add_axes((0.1 / (wide + 0.2), 0.02, wide / (wide + 0.2), 0.96))
    axes.set(xlim=(0, columns), ylim=(line + 1.1, -1.6))
    axes.axis("off")
    for row, start, text, value in places:
        if math.isfinite(value):
            share = round(6 * min(1.0, max(0.0, value / most))) / 6  # few shades: the picture has 32 colours
            axes.add_patch(Rectangle((start, row + 0.04), len(text), 0.92, color=ROLES[role], alpha=0.72 * share, lw=0))
            if value >= tenth:
                axes.plot([start + 0.1, start + len(text)], [row + 0.94] * 2, color="black", linewidth=1.2)
        axes.text(start, row + 0.5, text.replace("$", r"\$"), family="DejaVu Sans Mono", size=9, va="center_baseline")
    axes.annotate(say("{measure} of each token, nats:  0", measure=say(title)), (0, -0.9), size=9, va="center")
    for i in range(7):
        axes.add_patch(Rectangle((39 + 2 * i, -1.3), 2, 0.8, color=ROLES[role], alpha=0.72 * i / 6, lw=0))
    axes.annotate(say("{most:.2g}; underlined: the top tenth", most=most), (54, -0.9), size=9, va="center")
    return figure


def _drawn(letter: str) -> str:
    """The letter, if the picture's font has it."""
    return letter if _MONO.get_char_index(ord(letter)) else "\ufffd"
