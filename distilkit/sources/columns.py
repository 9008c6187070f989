"""Which column is the text, which the label: guessed by their names, then by what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from distilkit.errors import BadType, BadValue, meant, shown

ROLES = ("text", "label", "target", "rationale", "audio", "image")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
NAMES = {
    "text": "text question sentence review content prompt input utterance query tweet comment message document article "
    "body instruction source src passage dialogue transcript transcription premise statement headline title",
    "label": "label labels class category intent sentiment gold_label topic polarity stars rating emotion "
    "verdict answer target",
    "target": "target translation summary output completion response reply highlights abstract tgt answer answers",
    "rationale": "rationale explanation reasoning chain_of_thought cot thought thoughts steps justification rationales",
    "audio": "audio path file file_name filename wav sound recording clip",
    "image": "image img picture photo path file file_name filename",
}
PAIRS = (  # columns that are one text
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("instruction", "input"),
    ("instruction", "context"),
    ("question", "choices"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
)
LANGUAGES = (
    "en fr de es it pt nl sv da no fi pl cs sk hu ro bg el ru uk tr ar he fa hi bn ur ta te zh ja ko vi th id ms sw "
    "english french german spanish italian portuguese dutch swedish danish finnish polish czech hungarian romanian "
    "greek russian ukrainian turkish arabic hebrew persian hindi chinese japanese korean vietnamese thai"
)
KINDS = {  # kind -> the roles it needs
    "classification": ("text", "label"),
    "seq2seq": ("text", "target"),
    "language": ("text",),
    "speech": ("audio", "text"),
    "images": ("image", "label"),
}
NO_LABEL = (
    "id meta metadata source split date time year url link lang language user author name index idx timestamp set"
)
EITHER = ("answer", "answers", "target", "output", "response", "polarity")  # a label, if it has few values


def find_roles(
    columns: Sequence[str],
    sample: Mapping[str, Sequence[Any]],
    given: Mapping[str, str | None],
    known: Mapping[str, str],
    task: str | None,
    where: str,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Role -> column, those that were `given` or are `known` first, and which were guessed.

    Several columns, ``"premise,hypothesis"``, are one text, a line each.
    """
    roles = {role: _given(role, names, columns, where) for role, names in given.items() if names is not None}
    if roles:
        known = {role: name for role, name in known.items() if name not in roles.values()}
    roles = {**known, **roles}
    fixed = set(roles)
    if not known or fixed - known.keys():
        _by_name(roles, columns, sample)
        _by_content(roles, columns, sample)
    if {"label", "target"} <= roles.keys():  # one of them is learnt
        spare = "target" if task == "classification" or ("label" in fixed and "target" not in fixed) else "label"
        if spare not in fixed and (spare == "target" or "rationale" not in roles):
            del roles[spare]
    if "audio" in roles and "text" not in roles and "label" in roles:
        roles["text"] = roles.pop("label")  # a spoken word
    return {role: roles[role] for role in ROLES if role in roles}, tuple(r for r in ROLES if r in roles.keys() - fixed)


def find_kind(roles: Mapping[str, str], task: str | None, columns: Sequence[str], where: str) -> str:
    """What can be learnt from such roles, or `task` if they allow it."""
    found = None
    for kind in ("speech", "images"):
        found = found or (kind if all(role in roles for role in KINDS[kind]) else None)
    if found is None and "text" in roles and not {"audio", "image"} & roles.keys():
        seq2seq = "target" in roles or {"label", "rationale"} <= roles.keys()
        found = "seq2seq" if seq2seq else "classification" if "label" in roles else "language"
    names = shown(", ".join(columns), 300)
    if task is None:
        if found is None:
            raise BadValue(
                f"{where}: no column looks like text, a label, sound or a picture. Its columns are {names}: say which "
                "is which, as in read_data(…, text_column=…, label_column=…)"
            )
        return found
    if not isinstance(task, str) or task not in KINDS:
        raise BadValue(f"task must be one of {', '.join(map(repr, KINDS))}, got {shown(task)}.{meant(task, KINDS)}")
    needed = [role for role in KINDS[task] if role not in roles]
    if task == "seq2seq" and needed == ["target"] and "label" in roles:
        needed = []  # the label is what is written
    if needed:
        raise BadValue(
            f"task {task!r} needs the column of {' and '.join(needed)}: say which it is, {needed[0]}_column=…. "
            f"{where} has {names}"
        )
    return task


def _given(role: str, names: object, columns: Sequence[str], where: str) -> str:
    if not isinstance(names, str):
        raise BadType(f"{role}_column must be a column's name, got {shown(names)}")
    if names in columns:
        return names
    for name in names.split(","):
        if name.strip() not in columns:
            raise BadValue(
                f"{where} has no column {shown(name.strip())} ({role}_column).{meant(name.strip(), columns)} "
                f"It has {shown(', '.join(columns), 300)}"
            )
    return ",".join(name.strip() for name in names.split(","))


def several(name: str, columns: Sequence[str]) -> list[str]:
    """The columns that are one role: "premise,hypothesis" is two of them."""
    return [name] if name in columns else name.split(",")


def plain(name: str) -> str:
    """A column's name as it is compared: "Review Text" and "review-text" are review_text."""
    return re.sub(r"[\s\-./]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()).strip("_")


def _by_name(roles: dict[str, str], columns: Sequence[str], sample: Mapping[str, Sequence[Any]]) -> None:
    plains = {name: plain(name) for name in columns}
    words = {name: [word.rstrip("0123456789") for word in plains[name].split("_")] for name in columns}

    def free(name: str) -> bool:
        return name not in {one for names in roles.values() for one in (names, *names.split(","))}

    spoken = [name for name in columns if set(words[name]) & set(LANGUAGES.split()) and free(name)]
    if len(spoken) == 2 and not roles.keys() & {"text", "target", "label"}:
        prose = all(
            any(isinstance(value, str) for value in sample[name]) and wordy(sample[name]) > 1 for name in spoken
        )
        roles |= dict(zip(("text", "target"), spoken, strict=True)) if prose else {}
    for role in ("audio", "image", "rationale", "target", "label", "text"):
        if role in roles or (role in ("audio", "image") and {"audio", "image"} & roles.keys()):
            continue
        wanted = NAMES[role].split()
        if role == "text" and not roles.keys() & {"audio", "text"}:
            there = {plains[name]: name for name in columns if free(name)}
            pair = next((pair for pair in PAIRS if there.keys() >= set(pair)), None)
            if pair:
                roles[role] = ",".join(there[name] for name in pair)
                continue
        for one in wanted:  # the whole name first, then a word of it
            named = [name for name in columns if one == plains[name] and free(name)]
            named += [name for name in columns if one in words[name] and free(name) and name not in named]
            found = next((name for name in named if _suits(role, plains[name], one, sample[name], roles)), None)
            if found:
                roles[role] = found
                break


def _suits(role: str, name: str, word: str, values: Sequence[Any], roles: Mapping[str, str]) -> bool:
    """Whether a column whose name has this word holds what its role needs."""
    filled = [value for value in values if not is_empty(value)]
    exact = name == word
    if role in ("audio", "image"):
        return bool(filled) and all(is_file(value, SOUNDS if role == "audio" else PICTURES) for value in filled)
    if not filled:
        return exact
    if role == "label":
        longest = max(len(str(value)) for value in filled)
        if word in EITHER:
            return few(filled) or ("rationale" in roles and longest <= 60)
        return longest <= 200 and (exact or few(filled))
    if role in ("target", "rationale") and not any(isinstance(value, str) for value in map(only, filled)):
        return False
    if role == "target":
        brief = few(filled) or ("rationale" in roles and max(len(str(value)) for value in filled) <= 60)
        return not (brief and (word in EITHER or not exact))
    if role == "text":
        return any(isinstance(value, str) for value in filled) and (exact or wordy(filled) > 1)
    return True


def _by_content(roles: dict[str, str], columns: Sequence[str], sample: Mapping[str, Sequence[Any]]) -> None:
    taken = {one for names in roles.values() for one in (names, *names.split(","))}
    free = [name for name in columns if name not in taken]
    filled = {name: [value for value in sample[name] if not is_empty(value)] for name in free}
    for role, suffixes in (("audio", SOUNDS), ("image", PICTURES)):
        if not {"audio", "image"} & roles.keys():
            found = next((n for n in free if filled[n] and all(is_file(one, suffixes) for one in filled[n])), None)
            if found:
                roles[role] = found
                free.remove(found)
    prose = [name for name in free if filled[name] and wordy(filled[name]) >= 2 and not few(filled[name])]
    if not {"label", "target"} & roles.keys() and ("audio" not in roles or "text" not in roles):
        counts = {name: len(set(map(str, filled[name]))) for name in free if few(filled[name])}
        for name in list(counts):
            if counts[name] < 2 or set(plain(name).split("_")) & set(NO_LABEL.split()):
                del counts[name]
        if counts and (prose or roles.keys() & {"text", "audio", "image"}):
            roles["label"] = min(counts, key=counts.__getitem__)
    if "text" not in roles and "image" not in roles and prose:
        two = [name for name in prose if name != roles.get("label")]
        if len(two) > 1 and not {"label", "target", "audio"} & roles.keys():
            roles["text"], roles["target"] = two[:2]
        elif two:
            roles["text"] = max(two, key=lambda name: sum(map(len, map(str, filled[name]))))
    elif not {"text", "image"} & roles.keys():
        words = [name for name in free if name != roles.get("label") and filled[name] and wordy(filled[name]) > 0.5]
        if len(words) == 1:
            roles["text"] = words[0]


def is_empty(value: Any) -> bool:
    """Nothing, nan, or blanks."""
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())
    )


def only(value: Any) -> Any:
    """The one item of a list of one, else the value itself."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def is_file(value: Any, suffixes: Sequence[str]) -> bool:
    """The name of such a file, or what a data set of the hub has in its place: its bytes."""
    if isinstance(value, dict):
        return "bytes" in value and is_file(value.get("path") or f"x{suffixes[0]}", suffixes)
    return isinstance(value, str | PurePath) and PurePath(value).suffix.lower() in suffixes


def few(values: Sequence[Any]) -> bool:
    """Whether these could be labels: few distinct ones, and short.

    >>> few(["yes", "no", "no", "yes", "no"]), few(["one thing", "another"])
    (True, False)
    """
    distinct = set() if any(isinstance(value, list | dict) for value in values) else set(map(str, values))
    return bool(distinct) and len(distinct) <= min(300, max(1, len(values) // 2)) and max(map(len, distinct)) <= 60


def wordy(values: Sequence[Any]) -> float:
    """Words with a letter in a value, on average."""
    return sum(sum(any(map(str.isalpha, word)) for word in str(value)[:500].split()) for value in values) / len(values)
