"""Pictures of speech: a sound, the letters that were heard in it, and what unlabelled sounds are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distilkit.errors import BadValue
from distilkit.metrics import interval
from distilkit.plots.style import GREY, ROLES, STUDENT, TEACHER, TWIN, thin
from distilkit.sweeps import at_best_lr
from distilkit.words import say

SHADES = {"teacher": "Blues", "student": "Oranges", "twin": "Greens"}


def heard(
    mels: Any,
    log_probs: Mapping[str, Any],
    *,
    classes: Sequence[str],
    tick: float = 0.025,
    texts: Mapping[str, str] | None = None,
) -> Figure:
    """A spectrogram, and below it each model's probability of every letter, on the same axis of time.

    mels: (frames, bands); log_probs: {"teacher": (ticks, classes), …}, class 0 the blank; tick: seconds between two
    of its answers; texts: each model's transcript. Only letters that some model thinks of (0.2 or more) have a row.

    >>> figure = heard(np.zeros((4, 3)), {"teacher": np.log([[0.5, 0.5], [0.9, 0.1]])}, classes=["", "a"])
    >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
    ['a', 'blank']
    """
    if not log_probs:
        raise BadValue("there is nothing to draw: give {'teacher': log-probabilities (ticks, classes)}")
    probs = {role: np.exp(np.asarray(each, dtype=float)) for role, each in log_probs.items()}
    peak = np.max([each.max(0, initial=0) for each in probs.values()], axis=0)
    rows = [*(place for place in range(1, len(classes)) if peak[place] >= 0.2), 0]
    names = [{"": say("blank"), " ": "␣"}.get(classes[place], classes[place]) for place in rows]
    heights = [1.0, *(0.3 + 0.13 * len(rows) for _ in probs)]
    figure = Figure(figsize=(7.4, 1.1 * sum(heights) + 0.4), layout="constrained")
    first, *others = figure.subplots(1 + len(probs), 1, sharex=True, height_ratios=heights)
    seconds = tick * max(map(len, probs.values()))
    first.imshow(
        np.asarray(mels, dtype=float).T, aspect="auto", origin="lower", cmap="magma", extent=(0, seconds, 0, 1)
    )
    first.set_yticks([])
    first.set_title(say("the sound, 0 to 8 kHz on the mel scale"), loc="left", fontsize=10)
    for axes, (role, each) in zip(others, probs.items(), strict=True):
        shade = SHADES.get(role, "Greys")
        axes.imshow(
            each[:, rows].T, aspect="auto", cmap=shade, vmin=0, vmax=1, extent=(0, tick * len(each), len(rows), 0)
        )
        axes.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=7)
        said = f"{say(role)}: {texts[role]}" if texts and role in texts else say(role)
        axes.set_title(said[:90].replace("$", r"\$"), loc="left", fontsize=10, color=ROLES.get(role, GREY))
        axes.tick_params(length=0)
    figure.axes[-1].set_xlabel(say("seconds"))
    for axes in figure.axes:
        axes.spines[:].set_visible(False)
    return figure


STUDENTS = {  # of the stored sweep: in words, colour, marker
    "twin": ("the twin: transcripts alone", TWIN, "^"),
    "frames": ("the teacher’s letter at each tick", STUDENT, "s"),
    "pseudo-labels": ("the teacher’s transcripts", TEACHER, "o"),
}


def word_errors(frame: Any) -> Figure:
    """Word error rates of each kind of student, with 95 % intervals, on voices heard in training and on new ones.

    frame: the stored sweep, `load_sweep("speech")`; each kind at its best learning rate.
    """
    if missing := {"student", "lr", "seed", "wer", "wer, new voices"} - set(getattr(frame, "columns", ())):
        raise BadValue(f"this needs load_sweep('speech'), a frame with {', '.join(sorted(missing))}")
    figure = Figure(figsize=(7.4, 2.4), layout="constrained")
    axes = figure.subplots()
    measures = {"wer": "voices heard in training", "wer, new voices": "voices never heard"}
    kinds = [kind for kind in STUDENTS if (frame["student"] == kind).any()]
    for place, kind in enumerate(kinds):
        label, colour, marker = STUDENTS[kind]
        best = at_best_lr(frame[frame["student"] == kind], "wer")
        middles, halves = zip(*(interval(best[measure]) for measure in measures), strict=True)
        y = [row + 0.2 * (place - (len(kinds) - 1) / 2) for row in range(len(measures))]
        axes.errorbar(middles, y, xerr=halves, linestyle="none", marker=marker, color=colour, label=label)
    axes.set_yticks(range(len(measures)), list(measures.values()))
    axes.set(ylim=(len(measures) - 0.5, -0.5), xlabel="word error rate")
    axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    thin(axes, "x")
    return figure
