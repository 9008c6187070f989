"""The scene: draw one, ask a question about it, and see what teacher and student answer and where they looked."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from torch import Tensor, nn

from distilkit import plots
from distilkit.errors import BadType, BadValue, choice, real, shown
from distilkit.tasks.scenes import COLOURS, MOST, SHAPES, SIZES, TEXTURES, Scene, Thing
from distilkit.widgets.base import Widget
from distilkit.widgets.lens import inert
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TYPED = 120  # characters of a question
BARS = 4  # likeliest answers of each model
PROPERTIES: dict[str, tuple[str, ...]] = {  # in the order they are said
    "size": tuple(SIZES),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "shape": SHAPES,
}


def scene(task: Any, first: Scene | None = None, *, teacher: nn.Module, student: nn.Module) -> SceneView:
    """Draw a scene, ask about it, and see what each model answers, how sure it is and where it looked.

    Each model gets the scene as it sees it, the teacher in colours, the student in its own modality. Things are added,
    moved and taken away on the page; the kernel draws and asks at once.

    Args:
        task: as `tasks.scenes()` gives it.
        first: the scene to begin with; default, the first held-out one.
        teacher, student: its models.
    """
    if not hasattr(task, "render"):
        raise BadType(f"scene needs the task of pictures, dk.tasks.scenes(), got {shown(task)}")
    if first is not None and not isinstance(first, Scene):
        raise BadType(f"a scene is one of task.held_out, got {shown(first)}")
    models = {"teacher": teacher, "student": student}
    for role, each in models.items():
        if not isinstance(each, nn.Module):
            raise BadType(f"the {role} must be a torch.nn.Module, got {type(each).__name__}")
    return SceneView(task, first, models)


class SceneView(Widget):
    """The view that `scene` returns: `scene` is drawn, `said` and `captions` are what each model answers and writes."""

    files = "scene"
    about = traitlets.Dict().tag(sync=True)
    page = traitlets.Dict().tag(sync=True)  # the scene, the question, and what the models say

    def __init__(self, task: Any, first: Scene | None, models: dict[str, nn.Module]) -> None:
        self._task, self._models = task, models
        self._guard = threading.RLock()  # one question at a time
        self._at, self._serial = 0, 0
        self.said: dict[str, Any] = {}
        self.captions: dict[str, Any] = {}
        self.scene = task.held_out[0] if first is None else first
        self.question = task.questions(self.scene)[0].text
        self._side = len(task.render(self.scene)["rgb"][0])
        super().__init__(
            about={
                "roles": list(models),
                "properties": {name: list(values) for name, values in PROPERTIES.items()},
                "radii": dict(SIZES),
                "most": MOST,
                "typed": TYPED,
                "side": self._side,
            }
        )
        self.ask(self.question)

    def look(self, scene: Scene) -> None:
        """Draw another scene; the question stays."""
        with self._guard:
            self.scene = scene
            self._show()

    def ask(self, question: str) -> dict[str, str]:
        """What each model answers: {"teacher": …, "student": …}."""
        with self._guard:
            self.question = _question(question)
            self._show()
            return {role: each.text for role, each in self.said.items()}

    def figure(self) -> Figure:
        """What each model sees and where it looked, as a picture."""
        seen = {role: self._seen(role) for role in self._models}
        looks = {role: each.attention for role, each in self.said.items()}
        said = {
            role: f"{say(role)}, {say('sees {sees}', sees=self._task.sees[role])}: {each.text}"
            for role, each in self.said.items()
        }
        return plots.looks(seen, looks, titles=said, question=self.question)

    def line(self) -> str:
        """The question, the truth, what each model answers and how sure it is, and its caption."""
        truth = self._task.answer(self.scene, self.question)
        said = [
            say(
                "{role} (sees {sees}): {answer}, probability {p:.2f}; caption: {caption}",
                role=say(role),
                sees=self._task.sees[role],
                answer=each.text,
                p=max(each.probs.values()),
                caption=self.captions[role].text,
            )
            for role, each in self.said.items()
        ]
        return f"{self.question} {'' if truth is None else say('truth: {truth}. ', truth=truth)}{' | '.join(said)}"

    def _seen(self, role: str) -> Tensor:
        """The picture that this model gets, (channels, side, side), 0 to 1."""
        return self._pictures[self._task.sees[role]]

    def _show(self, serial: int = 0) -> None:
        self._pictures = self._task.render(self.scene)
        self._serial = max(self._serial + 1, serial)
        truth = self._task.answer(self.scene, self.question)
        columns = {role: self._column(role, model, truth) for role, model in self._models.items()}
        self.page = {
            "serial": self._serial,
            "things": [vars(thing) for thing in self.scene.things],
            "picture": _bytes(self._pictures["rgb"]),
            "question": inert(self.question, TYPED),
            "truth": truth,
            "unknown": [inert(word) for word in next(iter(self.said.values())).unknown],
            "questions": [{"kind": each.kind, "text": each.text} for each in self._task.questions(self.scene)],
            "columns": columns,
        }

    def _column(self, role: str, model: nn.Module, truth: str | None) -> dict[str, Any]:
        start = time.perf_counter()
        said = self.said[role] = self._task.ask(model, self.scene, [self.question])[0]
        ms = 1000 * (time.perf_counter() - start)
        caption = self.captions[role] = self._task.caption(model, self.scene)
        best = sorted(said.probs.items(), key=lambda each: -each[1])[:BARS]
        if truth in said.probs and truth not in dict(best):
            best[-1] = (truth, said.probs[truth])
        words = caption.text.split()
        return {
            "sees": self._task.sees[role],
            "picture": _bytes(self._seen(role)),
            "answer": said.text,
            "ms": f"{ms:.1f}",
            "bars": [[text, round(p, 4)] for text, p in best],
            "attention": _rows(said.attention),
            "caption": [[word, round(p, 4)] for word, p in zip(words, caption.probs, strict=True)],
            "looks": [_rows(each) for each in caption.attention],
            "exact": caption.text in self._task.captions(self.scene),
        }

    def _another(self) -> None:
        self._at = (self._at + 1) % len(self._task.held_out)
        self.scene = self._task.held_out[self._at]

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        with self._guard:
            if content.get("kind") == "another":
                self._another()
            elif content.get("kind") == "look":
                drawn = _scene(content.get("things"), self.scene.noise)
                self.scene, self.question = drawn, _question(content.get("question"))
            else:
                return
            serial = content.get("serial")
            self._show(serial if isinstance(serial, int) else 0)


def _question(asked: Any) -> str:
    if not isinstance(asked, str) or not asked.strip():
        raise BadValue(f"a question is a text, got {shown(asked)}")
    return " ".join(asked.split())[:TYPED]


def _scene(things: Any, noise: int) -> Scene:
    """What the page drew, in the noise that was there: a question changes no picture."""
    if not isinstance(things, Sequence) or isinstance(things, str) or len(things) > MOST:
        raise BadValue(f"a scene has at most {MOST} things, got {shown(things)}")
    return Scene(tuple(map(_thing, things)), noise)


def _thing(said: Any) -> Thing:
    if not isinstance(said, Mapping):
        raise BadType(f"a thing says its shape, colour, size, texture and place, got {shown(said)}")
    looks = {name: choice(name, said.get(name), values) for name, values in PROPERTIES.items()}
    x, y = (real(name, said.get(name), 0, 1, "a place in the picture") for name in ("x", "y"))
    return Thing(looks["shape"], looks["colour"], looks["size"], looks["texture"], x, y)


def _bytes(picture: Tensor) -> bytes:
    """A picture as numbers 0 to 255, three a pixel, row by row."""
    colours = picture.expand(3, -1, -1).clamp(0, 1).permute(1, 2, 0)
    return (255 * colours).round().byte().numpy().tobytes()


def _rows(attention: Any) -> list[list[float]] | None:
    return None if attention is None else [[round(float(each), 4) for each in row] for row in np.asarray(attention)]
