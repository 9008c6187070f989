"""A question before the answer: the reader commits to a prediction, and each choice has its own reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from distilkit import record
from distilkit.errors import BadType, BadValue, choice
from distilkit.widgets.base import Widget


class Question(Widget):
    """A question with radio buttons; `chosen` is the choice made, or empty."""

    files = "ask"
    question = traitlets.Unicode().tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    replies = traitlets.List(traitlets.Unicode()).tag(sync=True)
    answer = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)

    @traitlets.observe("chosen")
    def _record(self, change: dict[str, Any]) -> None:
        if change["new"] in self.choices:
            record.answered(self.question, change["new"], change["new"] == self.answer)

    def line(self) -> str:
        """The question and its choices, for where widgets cannot run."""
        return "\n".join([self.question, *(f"  ( ) {each}" for each in self.choices)])


def ask(question: str, replies: Mapping[str, str], *, answer: str) -> Question:
    """Ask the reader to predict: `replies` gives for each choice what is said to it, `answer` is the right one.

    Raises:
        BadValue: fewer than two choices, or an `answer` that is none of them.

    >>> ask("Does T = 0.01 soften?", {"yes": "It sharpens.", "no": "Right."}, answer="no").line().splitlines()
    ['Does T = 0.01 soften?', '  ( ) yes', '  ( ) no']
    """
    if not isinstance(replies, Mapping) or not all(isinstance(text, str) for pair in replies.items() for text in pair):
        raise BadType("replies must be a dictionary from each choice to the reply it gets, both texts")
    if len(replies) < 2:
        raise BadValue(f"a question needs at least 2 choices, got {len(replies)}")
    answer = choice("answer", answer, replies)
    return Question(question=question, choices=list(replies), replies=list(replies.values()), answer=answer)
