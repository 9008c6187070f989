"""Questions about a scene, with exact answers, its caption, and the words of both."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from distilkit.tasks.drawing import COLOURS, SHAPES, SIZES, TEXTURES, Scene, Thing, draw_thing

KINDS = ("exist", "count", "compare", "relation", "shape", "size", "colour", "texture")
PLURALS = {shape: f"{shape}es" if shape == "cross" else f"{shape}s" for shape in SHAPES} | {"thing": "things"}
NUMBERS = ("0", "1", "2", "3", "4")
SIDES = ("left of", "right of", "above", "below")
UNTOLD = "caption"  # the first word before a caption
END = "."
PAD = "<pad>"
ANSWERS = (*SHAPES, *COLOURS, *SIZES, *TEXTURES, *NUMBERS, "yes", "no")
WORDS = (
    PAD, UNTOLD, END, *ANSWERS, *PLURALS.values(), "thing", "nothing", "and", "a", "the", "is", "are", "there",
    "how", "many", "more", "than", "what", "colour", "shape", "size", "texture", "left", "right", "of", "above",
    "below", "?",
)  # fmt: skip
LONGEST = 12  # words of a text
TOLD = 2  # things of a caption


@dataclass(frozen=True)
class Question:
    """A question in words, its kind and its exact answer."""

    text: str
    kind: str
    answer: str


def answer(scene: Scene, text: str) -> str | None:
    """The exact answer to a question of the grammar; None where it is no such question, or means one of several.

    >>> circle = Thing("circle", "red", "large", "plain", 0.3, 0.3)
    >>> scene = Scene((circle, Thing("cross", "blue", "small", "plain", 0.7, 0.7)))
    >>> [answer(scene, text) for text in ("How many things are there?", "is the red circle below the cross?", "who?")]
    ['2', 'no', None]
    """
    words = text.lower().replace("?", " ").split()
    said = " ".join(words)
    if words[:2] == ["how", "many"] and words[-2:] == ["are", "there"] and _names(words[2:-2]):
        return str(_count(scene, words[2:-2]))
    if words[:3] == ["is", "there", "a"] and _names(words[3:]):
        return "yes" if _count(scene, words[3:]) else "no"
    if words[:3] == ["are", "there", "more"]:
        first, _, second = (part.split() for part in " ".join(words[3:]).partition(" than "))
        if _names(first) and _names(second):
            return "yes" if _count(scene, first) > _count(scene, second) else "no"
    if words[:1] == ["what"] and words[1:2] and words[1] in _PROPERTIES and words[2:4] == ["is", "the"]:
        found = _the(scene, words[4:])
        return None if found is None else str(getattr(found, words[1]))
    if said.startswith("is the "):
        for side in SIDES:
            before, cut, after = said.removeprefix("is the ").partition(f" {side} the ")
            if cut:
                one, other = _the(scene, before.split()), _the(scene, after.split())
                if one is not None and other is not None and one is not other:
                    return "yes" if _stands(one, side, other) else "no"
    return None


def caption(scene: Scene) -> str:
    """What there is from left to right, at most two things of it.

    >>> caption(Scene((Thing("circle", "red", "large", "plain", 0.3, 0.3),)))
    'a large red circle .'
    """
    things = sorted(scene.things, key=lambda thing: thing.x)[:TOLD]
    return f"{' and '.join(f'a {thing.size} {thing.colour} {thing.shape}' for thing in things) or 'nothing'} {END}"


def ask_about(scene: Scene, kind: str, rng: random.Random) -> Question | None:
    """A question of this kind that the scene answers, if one is found in a few tries; yes and no are as frequent."""
    wanted = rng.choice(("yes", "no"))
    for _ in range(24):
        text = _TEMPLATES[kind](scene, rng)
        found = answer(scene, text)
        if found is not None and (kind not in ("exist", "compare", "relation") or found == wanted):
            return Question(text, kind, found)
    return None


def questions_about(scene: Scene, count: int, rng: random.Random) -> list[Question]:
    """So many questions, of kinds as they come; fewer where the scene answers fewer."""
    found = (ask_about(scene, rng.choice(KINDS), rng) for _ in range(4 * count))
    return list(islice((each for each in found if each is not None), count))


def says_colour(text: str) -> bool:
    """Whether a question asks for a colour or means a thing by its colour: what a sketch cannot answer.

    >>> says_colour("is there a red circle ?"), says_colour("is there a large circle ?")
    (True, False)
    """
    return not {"colour", *COLOURS}.isdisjoint(text.lower().replace("?", " ").split())


def spell(text: str) -> list[str]:
    """The words of a text as the models read it: lower case, the question mark a word of its own.

    >>> spell("Is there a circle?")
    ['is', 'there', 'a', 'circle', '?']
    """
    return text.lower().replace("?", " ? ").replace(",", " ").split()


_PROPERTIES = {"shape": SHAPES, "size": tuple(SIZES), "colour": tuple(COLOURS), "texture": TEXTURES}
_ADJECTIVES = {*COLOURS, *SIZES, *TEXTURES}


def _names(words: Sequence[str]) -> bool:
    """Whether the words name things: adjectives and a noun."""
    return bool(words) and words[-1] in {*PLURALS, *PLURALS.values()} and _ADJECTIVES.issuperset(words[:-1])


def _matches(thing: Thing, words: Sequence[str]) -> bool:
    mine = {thing.shape, PLURALS[thing.shape], thing.colour, thing.size, thing.texture, "thing", "things"}
    return mine.issuperset(words)


def _count(scene: Scene, words: Sequence[str]) -> int:
    return sum(_matches(thing, words) for thing in scene.things)


def _the(scene: Scene, words: Sequence[str]) -> Thing | None:
    """The only thing of this description."""
    found = [thing for thing in scene.things if _matches(thing, words)] if _names(words) else []
    return found[0] if len(found) == 1 else None


def _stands(one: Thing, side: str, other: Thing) -> bool:
    sides = (one.x < other.x, one.x > other.x, one.y < other.y, one.y > other.y)
    return dict(zip(SIDES, sides, strict=True))[side]


def _about(thing: Thing, rng: random.Random, without: str = "") -> str:
    """What a thing is, in one word or two: "red circle"."""
    noun = "thing" if without == "shape" or rng.random() < 0.15 else thing.shape
    if noun != "thing" and rng.random() < 0.5:
        return noun
    return f"{getattr(thing, rng.choice([name for name in ('size', 'colour', 'texture') if name != without]))} {noun}"


def _several(scene: Scene, rng: random.Random) -> str:
    """Several things in words: "red circles"; mostly such as the scene has."""
    thing = rng.choice(scene.things) if scene.things and rng.random() < 0.7 else draw_thing(rng)
    noun = PLURALS[thing.shape] if rng.random() < 0.7 else "things"
    return f"{getattr(thing, rng.choice(('size', 'colour', 'texture')))} {noun}" if rng.random() < 0.5 else noun


def _one(scene: Scene, rng: random.Random) -> Thing:
    return rng.choice(scene.things) if scene.things else draw_thing(rng)


def _property(name: str) -> Callable[[Scene, random.Random], str]:
    return lambda scene, rng: f"what {name} is the {_about(_one(scene, rng), rng, name)} ?"


def _exist(scene: Scene, rng: random.Random) -> str:
    return f"is there a {_about(_one(scene, rng) if rng.random() < 0.5 else draw_thing(rng), rng)} ?"


def _relation(scene: Scene, rng: random.Random) -> str:
    return f"is the {_about(_one(scene, rng), rng)} {rng.choice(SIDES)} the {_about(_one(scene, rng), rng)} ?"


def _compare(scene: Scene, rng: random.Random) -> str:
    return "are there more {} than {} ?".format(*(PLURALS[shape] for shape in rng.sample(SHAPES, 2)))


_TEMPLATES: dict[str, Callable[[Scene, random.Random], str]] = {
    "exist": _exist,
    "count": lambda scene, rng: f"how many {_several(scene, rng)} are there ?",
    "compare": _compare,
    "relation": _relation,
    **{name: _property(name) for name in _PROPERTIES},
}
