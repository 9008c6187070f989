"""Pictures of pictures: scenes as each model sees them, where it looked, and what it answers by kind of question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadValue
from distilkit.plots.style import ROLES


def looks(
    seen: Mapping[str, Any],
    attention: Mapping[str, Any],
    *,
    titles: Mapping[str, str] | None = None,
    question: str = "",
) -> Figure:
    """What each model sees, dimmed where it did not look.

    seen: a picture a model, (channels, height, width), 0 to 1; attention: (rows, columns) of the same model, or None.

    >>> figure = looks({"student": np.zeros((1, 8, 8))}, {"student": np.eye(2)}, titles={"student": "sees: sketch"})
    >>> figure.axes[0].get_title()
    'sees: sketch'
    """
    if not seen:
        raise BadValue("there is no picture to show")
    figure = Figure(figsize=(2.7 * len(seen) + 0.4, 3.2), layout="constrained")
    for axes, (role, picture) in zip(np.ravel(figure.subplots(1, len(seen))), seen.items(), strict=True):
        colours = np.broadcast_to(np.asarray(picture), (3, *np.shape(picture)[1:])).transpose(1, 2, 0).clip(0, 1)
        where = attention.get(role)
        if where is not None:
            height, width = colours.shape[:2]
            rows = np.asarray(where, dtype=float)
            shares = np.kron(rows, np.ones((height // rows.shape[0], width // rows.shape[1])))
            colours = colours * (0.3 + 0.7 * shares / max(shares.max(), 1e-9))[..., None]
        axes.imshow(colours)
        axes.set_title((titles or {}).get(role, role).replace("$", r"\$"), color=ROLES.get(role, "black"), fontsize=10)
        axes.axis("off")
    figure.suptitle(question.replace("$", r"\$"), fontsize=11)
    return figure
