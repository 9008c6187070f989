"""The map of the chapters: what each asks, what of it is done, and what comes next."""

from __future__ import annotations

from typing import Any

import traitlets as t

from distilkit import record
from distilkit.widgets.base import Widget
from distilkit.words import say


def progress() -> Map:
    """Show every chapter as a map of five parts, with what is done in each, and the next one to open.

    What is done is kept across restarts of the kernel; where, stands in `distilkit.record`.

    >>> len(progress().chapters), progress().line().splitlines()[1].split()[1]
    (20, '00_start_here')
    """
    return Map()


class Map(Widget):
    """The view that `progress` returns; `chapters` has what is done, as `distilkit.record.standing` says it."""

    files = "progress"
    chapters = t.List(t.Dict()).tag(sync=True)
    note = t.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._look()
        record.listeners.append(self._look)

    def close(self) -> None:
        """End the view; the record stays."""
        if self._look in record.listeners:
            record.listeners.remove(self._look)
        super().close()

    def line(self) -> str:
        """The map as a table of text."""
        rows, part = [], ""
        for each in self.chapters:
            if each["part"] != part:
                part = each["part"]
                rows.append(part)
            mark = "→" if each["next"] else " "
            rows.append(f"{mark} {each['name']:22} {each['asks']:58} {done(each)}".rstrip())
        return "\n".join([*rows, *([self.note] if self.note else [])])

    def _asked(self, content: dict[str, Any], buffers: list[Any]) -> None:
        self._look()

    def _look(self) -> None:
        words = ("part", "title", "asks")
        self.chapters = [each | {key: say(each[key]) for key in words} for each in record.standing()]
        self.note = record.note


def done(chapter: dict[str, Any]) -> str:
    """What is done of a chapter, in words; nothing where it was not begun.

    >>> done({"questions": 2, "asked": 1, "exercises": 2, "solved": 0, "claim": True, "begun": True})
    'questions 1/2, exercises 0/2, claim reached'
    """
    if not chapter["begun"]:
        return ""
    parts = []
    if chapter["questions"]:
        parts.append(say("questions {done}/{all}", done=chapter["asked"], all=chapter["questions"]))
    if chapter["exercises"]:
        parts.append(say("exercises {done}/{all}", done=chapter["solved"], all=chapter["exercises"]))
    return ", ".join(parts + ([say("claim reached")] if chapter["claim"] else []))
