"""What a setting's controls are called, what they offer, and why a choice does not go with the others."""

from __future__ import annotations

from typing import Any

from distilkit.setting import DIVERGENCES, KEYS, TASKS, TEACHERS, TEXTS, Setting
from distilkit.words import say

SIZES = {True: (4, 8, 16, 32, 64, 128), False: (32, 64, 96, 128)}  # of digits, of texts
AMOUNTS = {True: (10, 20, 50, 100, 200, 400, 1297), False: (2_560, 5_120, 10_000, 20_000, 50_000, 100_000)}
LENGTHS = (50, 100, 200, 300, 600, 1000, 2000)
NOISES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)


def title(key: str) -> str:
    """What the control of a key is called.

    >>> title("n")
    'labels'
    """
    return {
        "task": say("task"),
        "teacher": say("teacher"),
        "size": say("student’s size"),
        "text": say("whose text"),
        "div": say("divergence"),
        "T": say("temperature T"),
        "a": say("alpha α"),
        "lr": say("learning rate"),
        "noise": say("wrong labels"),
        "n": say("labels"),
        "seed": say("seed"),
        "steps": say("steps"),
    }[key]


def value(setting: Setting, key: str) -> str:
    """The value of a key, as the code writes it."""
    found = getattr(setting, KEYS[key])
    return f"{found:.12g}" if isinstance(found, float) else str(found)


def label(setting: Setting, key: str) -> str:
    """The value of a key, as the page says it.

    >>> label(Setting(noise=0.1), "noise"), label(Setting(task="docs"), "n")
    ('10 %', '20 000 tokens')
    """
    found, digits = value(setting, key), setting.task == "digits"
    if key == "size":
        return say("{size} hidden units", size=found) if digits else say("2 layers of {size}", size=found)
    if key == "noise":
        return f"{100 * setting.noise:g} %"
    if key == "n" and not digits:
        return say("{tokens} tokens", tokens=f"{setting.labelled:,}".replace(",", " "))
    names = {
        "task": {
            "digits": say("handwritten digits"),
            "docs": say("Python’s documentation"),
            "support": say("a shop’s support"),
            "arithmetic": say("sums, step by step"),
            "translation": say("English and French"),
        },
        "teacher": {
            "shipped": say("the good one"),
            "hasty": say("hasty: small, 60 steps"),
            "peer": say("peer: only your labels"),
        },
        "text": {
            "corpus": say("the data’s") if digits else say("the corpus’s"),
            "teacher": say("the teacher’s"),
            "student": say("the student’s, in turn"),
        },
        "div": {
            "forward_kl": say("forward KL"),
            "reverse_kl": say("reverse KL"),
            "jsd": say("JSD"),
            "skew_forward_kl": say("skew forward KL"),
            "skew_reverse_kl": say("skew reverse KL"),
            "adaptive_kl": say("adaptive KL"),
            "adaptive_skew_kl": say("adaptive skew KL"),
            "weighted": say("KL, weighted by confidence"),
            "total_variation": say("total variation"),
            "soft_cross_entropy": say("soft cross-entropy"),
            "decoupled_kl": say("decoupled KL"),
        },
    }
    return names.get(key, {}).get(found, found)


def options(setting: Setting) -> dict[str, list[list[str]]]:
    """What each list offers: [value, what the page says, why it does not go with the others or nothing].

    >>> options(Setting())["text"][2]
    ['student', 'the student’s, in turn', 'pictures have no text to go on from']
    """
    digits = setting.task == "digits"
    offered: dict[str, tuple[Any, ...]] = {
        "task": TASKS,
        "teacher": TEACHERS,
        "size": SIZES[digits],
        "text": TEXTS,
        "div": DIVERGENCES,
        "noise": NOISES,
        "n": AMOUNTS[digits],
        "steps": LENGTHS,
    }
    found = {}
    for key, values in offered.items():
        own = getattr(setting, KEYS[key])
        values = values if own in values else tuple(sorted((*values, own)))
        why = dict.fromkeys(values, "") if key == "task" else setting.options(key, values)
        rows = [(setting.with_any(key, each), why[each].partition(": ")[2]) for each in values]
        found[key] = [[value(other, key), label(other, key), say(reason)] for other, reason in rows]
    return found
