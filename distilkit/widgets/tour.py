"""A guided first tour of a view: steps above it that tick themselves off when their control is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets as t
from IPython import get_ipython
from IPython.display import display

from distilkit import record
from distilkit.errors import BadType, BadValue, shown
from distilkit.widgets.base import Widget
from distilkit.words import say

FIRST = (  # of `watch`: what to do, and the control (a CSS selector) that does it
    ("Press Pause, look at the curves, and press Run again.", ".dk-watch-transport button:first-child"),
    (
        "Drag the temperature while it runs: the next step hears it.",
        ".dk-watch-knobs [data-name=temperature]",
    ),
    ("Go back: drag “back to step” to see what the student said earlier.", ".dk-watch-scrub [data-name=scrub]"),
    ("Choose a digit on which student and teacher disagree.", ".dk-watch-face, .dk-watch-number"),
)


def tour(view: Any, steps: Sequence[tuple[str, str]] = FIRST, *, name: str = "watch") -> Any:
    """Show a guided tour above `view`, and return the view: ``dk.tour(live)`` as the last line of a cell.

    Args:
        view: what the steps speak of; without `steps`, what `watch` returned.
        steps: pairs of a sentence and the CSS selector of the control that it asks for. A step is done when that
            control is clicked or moved, in any order; who wants to skips the rest.
        name: under which `distilkit.record` remembers that the tour is over: then it stays folded.

    Raises:
        BadType, BadValue: steps that are no pairs of texts, or none.

    >>> tour("a view", [("Press Run.", "button")])                  # no notebook here: nothing is shown
    'a view'
    """
    if isinstance(steps, str) or not all(
        isinstance(step, tuple | list) and len(step) == 2 and all(isinstance(part, str) for part in step)
        for step in steps
    ):
        raise BadType(f'steps must be pairs, [("Press Run.", "button"), …], got {shown(steps)}')
    if not steps or not name:
        raise BadValue("a tour needs at least one step, and a name to be remembered by")
    if get_ipython() is not None:
        display(Tour([(say(words), selector) for words, selector in steps], name))
    return view


class Tour(Widget):
    """The strip that `tour` shows: `done` has the steps that were touched, `over` says that it is folded."""

    files = "tour"
    steps = t.List(t.Dict()).tag(sync=True)
    done = t.List(t.Int()).tag(sync=True)
    over = t.Bool().tag(sync=True)

    def __init__(self, steps: Sequence[tuple[str, str]], name: str) -> None:
        self._name = name
        self._known = name in record.read()["tours"]
        shown = [{"words": words, "selector": selector} for words, selector in steps]
        super().__init__(steps=shown, over=self._known)

    @t.observe("over", "done")
    def _remember(self, _: Any) -> None:
        if not self._known and (self.over or len(self.done) == len(self.steps) > 0):
            self._known = True
            record.toured(self._name)

    def line(self) -> str:
        """The steps, numbered."""
        return "\n".join(f"{number}. {step['words']}" for number, step in enumerate(self.steps, 1))
