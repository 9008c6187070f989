"""The translator: type a sentence, teacher and student translate it; a word shows what it was read from."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import traitlets
from torch import nn

from distilkit import plots
from distilkit.errors import BadType, BadValue, shown
from distilkit.widgets.base import Widget
from distilkit.widgets.lens import inert
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from distilkit.tasks.translation import Translation

TYPED = 300  # characters of a sentence of one's own
BEAMS = (1, 4)  # greedy, or a search
TIMED = 3  # times that a sentence is translated: the middle one counts
OPENINGS = 50  # held-out sentences to go through


def translate(
    task: Any, text: str | None = None, *, teacher: nn.Module, student: nn.Module, twin: nn.Module | None = None
) -> Translator:
    """Translate a sentence by teacher and student, side by side; a word shows what it was read from, and what else.

    Shaded: words that a model was unsure of. What a word was read from is the cross-attention of the decoder's last
    layer, the mean of its heads: where it looked, which need not be why. The milliseconds are of this one sentence on
    this machine, the middle of three times.

    Args:
        task: as `tasks.translation()` gives it.
        text: the first sentence; default, one held out.
        teacher, student, twin: encoders and decoders with the task's tokens.

    Raises:
        BadType: what is no model, or no text. BadValue: an empty text.
    """
    if not hasattr(task, "translate"):
        raise BadType(f"translate needs a task that translates, dk.tasks.translation(), got {shown(task)}")
    models = {"teacher": teacher, "student": student} | ({} if twin is None else {"twin": twin})
    for role, model in models.items():
        if not isinstance(model, nn.Module):
            raise BadType(f"the {role} must be a torch.nn.Module, got {type(model).__name__}")
    return Translator(task, text, models)


class Translator(Widget):
    """The view that `translate` returns; `translations` has what each model last wrote: {"teacher": …}."""

    files = "translate"
    about = traitlets.Dict().tag(sync=True)
    page = traitlets.Dict().tag(sync=True)  # the sentence, and what the models wrote

    def __init__(self, task: Any, text: str | None, models: dict[str, nn.Module]) -> None:
        self._task, self._models = task, models
        self._openings: list[tuple[str, str]] = list(task.held_out[:OPENINGS])
        self._guard = threading.RLock()  # one sentence at a time
        self._serial, self._next = 0, 0
        self.translations: dict[str, Translation] = {}
        self.ms: dict[str, float] = {}
        super().__init__(
            about={"roles": list(models), "typed": TYPED, "beams": list(BEAMS), "count": len(self._openings)}
        )
        if text is None and self._openings:
            self.next()
        else:
            self.ask("A dog sees the cat." if text is None else text)

    def ask(self, text: str, *, beams: int = 1) -> dict[str, Translation]:
        """Translate a sentence by every model, by a beam of so many candidates; 1 takes the likeliest word each time.

        Raises:
            BadType: not a text. BadValue: an empty one, or other beams than 1 to 16.
        """
        if not isinstance(text, str):
            raise BadType(f"a sentence is a text, got {shown(text)}")
        sentence = " ".join(text.split())[:TYPED]
        if not sentence:
            raise BadValue(f"there is no word to translate in {shown(text)}")
        with self._guard:
            found, times = {}, {}
            for role, model in self._models.items():
                found[role] = self._task.translate(model, [sentence], beams=beams)[0]
                times[role] = self._timed(model, sentence, beams)
            self.translations, self.ms = found, times
            self._show(sentence, beams)
        return found

    def next(self, *, beams: int = 1) -> dict[str, Translation]:
        """Translate the next of the held-out sentences, whose reference is known."""
        with self._guard:
            if not self._openings:
                raise BadValue(say("the task has no held-out sentences: ask one of your own"))
            self._next += 1
            return self.ask(self._openings[(self._next - 1) % len(self._openings)][0], beams=beams)

    def figure(self) -> Figure:
        """What each word of each translation was read from, as a picture."""
        return plots.alignments(
            {role: (one.source_tokens, one.tokens, one.alignment) for role, one in self.translations.items()}
        )

    def line(self) -> str:
        """The sentence, and what each model made of it."""
        said = [f"{say(role)}: {one.text} ({self.ms[role]:.0f} ms)" for role, one in self.translations.items()]
        return " | ".join([self.page["source"], *said])

    def _timed(self, model: nn.Module, sentence: str, beams: int) -> float:
        """Milliseconds that the model takes to write this translation."""
        seconds = []
        for _ in range(TIMED):
            began = time.perf_counter()
            self._task.write(model, [sentence], beams=beams)
            seconds.append(time.perf_counter() - began)
        return 1000 * statistics.median(seconds)

    def _show(self, sentence: str, beams: int) -> None:
        references = dict(self._openings)
        reference = references.get(sentence, "")
        first = next(iter(self.translations.values()))
        self._serial += 1
        self.page = {
            "serial": self._serial,
            "source": inert(sentence, TYPED),
            "beams": beams,
            "words": _named(first.source_tokens, first.unknown),
            "unknown": [inert(word) for word in first.unknown],
            "reference": inert(reference, TYPED),
            "sides": {role: self._side(role, reference) for role in self._models},
        }

    def _side(self, role: str, reference: str) -> dict[str, Any]:
        one = self.translations[role]
        words = [
            {
                **name,
                "prob": round(prob, 4),
                "choice": inert(token),
                "choices": [[inert(text), round(share, 4)] for text, share in choices],
                "from": [round(share, 3) for share in looked],
            }
            for name, token, prob, choices, looked in zip(
                _named(one.tokens), one.tokens, one.probs, one.choices, one.alignment, strict=True
            )
        ]
        return {
            "text": inert(one.text, 2 * TYPED),
            "words": words,
            "others": [[inert(text, 2 * TYPED), round(score, 3)] for text, score in one.n_best[1:]],
            "ms": round(self.ms[role], 2),
            "right": one.text == reference if reference else None,
        }

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        if content.get("kind") != "translate":
            return
        beams = content.get("beams", 1)
        if beams not in BEAMS:
            raise BadValue(f"beams must be one of {BEAMS}, got {shown(beams)}")
        if content.get("next"):
            self.next(beams=beams)
        else:
            self.ask(content.get("text", ""), beams=beams)


def _named(tokens: Sequence[str], unknown: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The words of a line as the page draws them: l' stands close to what follows it, a point to what goes before."""
    before = ["", *tokens]
    return [
        {"text": inert(token), "glued": last.endswith("'") or token in (".", ",", "'s"), "unknown": token in unknown}
        for token, last in zip(tokens, before, strict=False)
    ]
