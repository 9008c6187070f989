"""What just happened in the playground, in words, and where its runs stand, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distilkit.setting import KEYS
from distilkit.widgets.options import label, title, value
from distilkit.words import say

if TYPE_CHECKING:
    from distilkit.training import Step
    from distilkit.widgets.lanes import Lane


def stepped(lane: Lane, step: Step) -> str:
    """One step, and what its loss is made of."""
    return say(
        "{name}, step {step}: loss {loss}; the teacher’s term is {soft}, the labels’ {hard} nats.",
        name=lane.name,
        step=step.step,
        loss=f"{step.loss:.3f}",
        soft=f"{step.soft:.3f}",
        hard=f"{step.hard:.3f}",
    )


def finished(lane: Lane) -> str:
    """Student beside twin, on how many test examples; and that it is one seed."""
    student, twin = lane.student.last[0], lane.beside[0]
    if lane.text:
        return say(
            "Finished: perplexity {student}, the twin’s {twin}: {change} % on {count} test tokens, one seed.",
            student=f"{student:.1f}",
            twin=f"{twin:.1f}",
            change=signed(100 * (student / twin - 1), 0),
            count=lane.test.labels.numel(),
        )
    return say(
        "Finished: student {student} %, twin {twin} %: {gain} points on {count} test images, one seed.",
        student=f"{100 * student:.1f}",
        twin=f"{100 * twin:.1f}",
        gain=signed(100 * (student - twin), 1),
        count=len(lane.test),
    )


def turned(knob: str, before: float, after: float, step: int) -> str:
    """A knob's turn, and what it means.

    >>> turned("alpha", 0.9, 0.5, 120)
    'Alpha went from 0.9 to 0.5 at step 120: the labels now weigh as much as the teacher.'
    """
    ratio = f"{max(after, before) / min(after, before):.2g}" if knob == "lr" else ""
    if knob == "alpha" and after in (0, 1):
        meaning = say("only the teacher counts now.") if after else say("only the labels count now.")
    elif knob == "alpha" and abs(after - 0.5) < 0.005:
        meaning = say("the labels now weigh as much as the teacher.")
    elif knob == "alpha":
        meaning = say("the teacher now weighs {share} %.", share=f"{100 * after:.0f}")
    elif knob == "temperature" and after > before:
        meaning = say("softer answers: the unlikely ones count more.")
    elif knob == "temperature":
        meaning = say("sharper answers: the likeliest one counts more.")
    elif after > before:
        meaning = say("each step is {ratio} times as large.", ratio=ratio)
    else:
        meaning = say("each step is {ratio} times smaller.", ratio=ratio)
    return say(
        "{what} went from {before} to {after} at step {step}: {meaning}",
        what={"temperature": say("Temperature"), "alpha": say("Alpha"), "lr": say("Learning rate")}[knob],
        before=f"{before:.3g}",
        after=f"{after:.3g}",
        step=step,
        meaning=meaning,
    )


def standings(lanes: Sequence[Lane]) -> list[tuple[str, list[str]]]:
    """What differs between the runs, a row each, and what came out: a title, and a text for each run."""
    settings = [lane.now for lane in lanes]
    rows = [
        (title(key), [label(setting, key) for setting in settings])
        for key in KEYS
        if len({value(setting, key) for setting in settings}) > 1
    ]
    for name, (figure, text) in FIGURES.items():
        cells = [figure(lane) if lane.built and text in (None, lane.text) else "–" for lane in lanes]
        if set(cells) != {"–"}:
            rows.append((say(name), cells))
    return rows


def signed(number: float, digits: int) -> str:
    """A number with its sign, as it is printed.

    >>> signed(-0.55, 1)
    '−0.6'
    """
    return f"{number:+.{digits}f}".replace("-", "−")


FIGURES: dict[str, tuple[Callable[[Lane], str], bool | None]] = {  # of texts alone (True), or of digits (False)
    "step": (lambda lane: str(lane.step), None),
    "right answers": (lambda lane: f"{100 * lane.student.last[0]:.1f} %", False),
    "its twin’s": (lambda lane: f"{100 * lane.beside[0]:.1f} %", False),
    "points gained": (lambda lane: signed(100 * (lane.student.last[0] - lane.beside[0]), 1), False),
    "perplexity": (lambda lane: f"{lane.student.last[0]:.1f}", True),
    "its twin’s perplexity": (lambda lane: f"{lane.beside[0]:.1f}", True),
    "agreement with the teacher": (lambda lane: f"{100 * lane.student.last[1]:.1f} %", None),
    "KL from the teacher, nats": (lambda lane: f"{lane.student.last[2]:.3f}", None),
}
