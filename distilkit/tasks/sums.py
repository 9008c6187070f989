"""Problems in words with their worked steps, each step said in several ways, written from a seed alone."""

from __future__ import annotations

import random

from distilkit.tasks.arithmetic import NAMES, THINGS, is_held_out, tell

STEPS, LARGEST = (2, 4), 99  # of a problem: how many steps, and no larger number
SENTENCES = {
    "start": ("{name} has {n} {things}.", "There are {n} {things} in the bag of {name}."),
    "+": ("{name} finds {n} more.", "Then {name} buys {n}.", "{friend} gives {name} {n}.", "{n} more are found."),
    "-": ("{name} loses {n}.", "Then {name} sells {n}.", "{name} gives {friend} {n}.", "Then {n} are lost."),
    "*": ("Then {name} has {n} times as many.", "There are {n} times as many now."),
    "end": ("How many {things} does {name} have now?", "How many {things} are there?"),
}


def worked_problems(count: int, *, seed: int = 0, held_out: bool = False) -> list[str]:
    """`count` problems with steps and answer, no two the same.

    Args:
        count: how many.
        seed: which ones.
        held_out: one calculation in ten is kept from training, by its hash; give those, or give the other nine.

    >>> print(worked_problems(1)[0])
    There are 62 coins in the bag of Jan. 35 more are found. Then Jan sells 45. Jan finds 35 more.
    How many coins are there?
    62+35=97
    97-45=52
    52+35=87
    #### 87
    """
    draw = random.Random(f"{seed} {STEPS[0]} {STEPS[1]} {LARGEST} seen {held_out}")
    found: dict[str, str] = {}
    while len(found) < count:
        question, steps = _problem(draw)
        if is_held_out(steps) == held_out:
            found.setdefault(question, steps)
    return [f"{question}\n{steps}\n#### {steps.rpartition('=')[2]}" for question, steps in found.items()]


def _problem(draw: random.Random) -> tuple[str, str]:
    """A question and its steps, a line each."""
    length = draw.randint(*STEPS)
    name, friend = draw.sample(NAMES, 2)
    names = {"name": name, "friend": friend, "things": draw.choice(THINGS)}
    question, steps = tell(draw, length, LARGEST, SENTENCES, names)
    return question, "\n".join(steps)
