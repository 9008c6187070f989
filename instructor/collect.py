"""The answers of a class: what was handed in, as one table and one page.

    python -m instructor.collect answers/*.json -o class.csv        writes class.csv and class.html
    python -m instructor.collect answers/*.json -o class.csv --rerun

Learners hand in with `dk.hand_in("Ada Lovelace")`; the format stands at the top of `distilkit/record.py`. A file that
is damaged or foreign is refused by name, and the others go on. Nothing that a learner wrote is run, unless `--rerun`
asks for it (see `rerun.py`). The page shows, question by question, how many first chose what; whether a choice is right
is looked up in the chapters, not taken from the file.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from distilkit import record
from distilkit.errors import BadFile, shown
from distilkit.sources import write_csv
from instructor.chapters import Question, chapters, exercises, questions, read
from instructor.rerun import rerun

SHOWN = 15  # questions in the picture; all are listed below it
MOST_BYTES = 5_000_000  # of one file; a whole course's is some hundred thousand


@dataclass(frozen=True)
class Course:
    """What the chapters ask: their questions by text, with the chapter of each, and the exercises by name."""

    questions: dict[str, tuple[str, Question]]
    exercises: dict[str, str]


@dataclass(frozen=True)
class Class:
    """What came of a heap of files: the learners' records by name, and what was refused or set aside, with reasons."""

    records: dict[str, dict[str, Any]]
    refused: list[tuple[str, str]]
    set_aside: list[tuple[str, str]]


def course() -> Course:
    """All questions and exercises, read from the notebooks."""
    asked: dict[str, tuple[str, Question]] = {}
    written: dict[str, str] = {}
    for path in chapters():
        notebook = read(path)
        asked |= {question.text: (path.stem, question) for question in questions(notebook)}
        written |= dict.fromkeys(exercises(notebook), path.stem)
    return Course(asked, written)


def handed_in(path: Path) -> dict[str, Any]:
    """What `dk.hand_in` wrote.

    Raises:
        BadFile: not such a file, or damaged, with the reason.
    """
    try:
        if not path.is_file():
            raise BadFile("is no regular file")
        if path.stat().st_size > MOST_BYTES:
            raise BadFile(f"has {path.stat().st_size:,} bytes; an answer file has at most {MOST_BYTES:,}")
        found = json.loads(path.read_text("utf-8"))
    except BadFile:
        raise
    except (ValueError, RecursionError):  # not UTF-8, no JSON, a number of a million digits, nested too deep
        raise BadFile("is no JSON, or broken off") from None
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror}") from None
    if not isinstance(found, dict) or "sha256" not in found:
        raise BadFile("is JSON, but no file that dk.hand_in wrote")
    if found.get("version") != record.VERSION:
        raise BadFile(f"has version {shown(found.get('version'), 20)}; this collector reads {record.VERSION}")
    name = found.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        raise BadFile(f"has no name of 1 to 200 letters, but {shown(name, 40)}")
    for section in ("questions", "exercises", "claims"):
        entries = found.get(section)
        if not isinstance(entries, dict) or not all(isinstance(each, dict) for each in entries.values()):
            raise BadFile(f"has no table of {section}")
    if found["sha256"] != _digest(found):
        raise BadFile("was changed or damaged after it was written: its sha256 does not fit")
    return found


def collect(paths: Iterable[Path]) -> Class:
    """Read files, one learner each. Of two with one name the newer counts; a bad one stops no other."""
    records: dict[str, tuple[str, Path, dict[str, Any]]] = {}
    refused, set_aside = [], []
    for path in sorted(set(paths)):
        try:
            found = handed_in(path)
        except BadFile as error:
            refused.append((str(path), str(error)))
            continue
        same = " ".join(unicodedata.normalize("NFKC", found["name"]).casefold().split())
        if before := records.get(same):
            older, newer = sorted((before, (_newest(found), path, found)), key=lambda each: (each[0], str(each[1])))
            reason = "the same file twice" if older[2]["sha256"] == newer[2]["sha256"] else f"older than {newer[1]}"
            set_aside.append((str(older[1]), f"{older[2]['name']}: {reason}"))
            records[same] = newer
        else:
            records[same] = (_newest(found), path, found)
    return Class({each[2]["name"]: each[2] for each in records.values()}, refused, set_aside)


def table(class_: Class, course_: Course, checked: dict[tuple[str, str], str] | None = None) -> pd.DataFrame:
    """A row a learner, a column an exercise or a question.

    An exercise is "solved", "tried" or empty, as the file says; where it was run again, what that showed. A question
    has the first choice, with "✓ " before the right one; a choice that the chapter does not have is "another".
    """
    rows = []
    for name, found in sorted(class_.records.items()):
        chosen = first_choices(found, course_)
        row: dict[str, Any] = {"name": name, "distilkit": str(found.get("distilkit", ""))[:20]}
        for exercise, chapter in course_.exercises.items():
            entry = found["exercises"].get(exercise)
            said = "" if entry is None else "solved" if entry.get("solved") is True else "tried"
            row[f"{chapter[:2]} {exercise}"] = (checked or {}).get((name, exercise), said)
        for text, (chapter, question) in course_.questions.items():
            answer = chosen.get(text, "")
            row[f"{chapter[:2]} {text}"] = f"✓ {answer}" if answer == question.right else answer
        rows.append(row)
    return pd.DataFrame(rows)


def first_choices(found: dict[str, Any], course_: Course) -> dict[str, str]:
    """The learner's first choice at each question that the chapters have."""
    chosen = {}
    for entry in found["questions"].values():
        text, first = entry.get("question"), entry.get("first")
        if isinstance(text, str) and text in course_.questions:
            known = isinstance(first, str) and first in course_.questions[text][1].choices
            chosen[text] = first if known else "another"
    return chosen


def misconceptions(class_: Class, course_: Course) -> list[tuple[str, Question, Counter[str]]]:
    """Each question that was answered, its chapter, and how many chose what first; the most often wrong first."""
    counts: dict[str, Counter[str]] = {}
    for found in class_.records.values():
        for text, first in first_choices(found, course_).items():
            counts.setdefault(text, Counter())[first] += 1
    asked = [(*course_.questions[text], count) for text, count in counts.items()]
    return sorted(asked, key=lambda each: each[2][each[1].right] / each[2].total())


def _digest(found: dict[str, Any]) -> str:
    try:
        return record.digest(found)
    except RecursionError:
        return ""


def _newest(found: dict[str, Any]) -> str:
    entries = [entry for section in ("questions", "exercises", "claims") for entry in found[section].values()]
    return max((str(entry.get("at", "")) for entry in entries), default="")


# ------------------------------------------------------------------------------------------------------------ the page

STYLE = """
:root { color-scheme: light dark; }
body { font: 17px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
body { overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.5rem; } h1 { font-size: 1.5rem; line-height: 1.25; }
figure { margin: 1rem 0; background: #fff; } img { max-width: 100%; }
li { margin: 0.5rem 0; list-style: none; } ul { padding: 0; } small { opacity: 0.8; }
.bar { display: flex; gap: 0.5rem; align-items: center; }
.bar b { flex: none; width: 3rem; text-align: right; } .bar i { flex: none; height: 0.9rem; background: #d55e00; }
.right i { background: #0072b2; } .room { flex: none; width: min(8rem, 20vw); background: #8883; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 0.2rem 0.8rem 0.2rem 0; vertical-align: top; }
"""


def page(class_: Class, course_: Course, checked: dict[tuple[str, str], str] | None = None) -> str:
    """The class on one page of HTML: what was chosen at each question, who solved what, which files were refused."""
    asked = misconceptions(class_, course_)
    parts = [f"<h1>{len(class_.records)} learners: what they chose first</h1>"]
    if asked:
        worst = asked[:SHOWN]
        words = f"Share of right first choices in {len(worst)} questions, the lowest first"
        picture = base64.b64encode(figure(worst)).decode()
        parts.append(
            f'<figure><img alt="{words}; the same is listed below" src="data:image/png;base64,{picture}"></figure>'
        )
    for chapter, question, count in asked:
        parts.append(f"<h2>{_text(chapter[:2])} · {_text(question.text)}</h2><ul>")
        answers = {**question.choices, "another": "A choice that this version of the chapter does not have."}
        for choice in sorted(count.keys() | question.choices.keys(), key=lambda each: -count[each]):
            share = count[choice] / count.total()
            right = choice == question.right
            parts.append(
                f"<li{' class=right' if right else ''}><div class=bar><b>{share:.0%}</b>"
                f'<span class=room><i style="display:block;width:{100 * share:.0f}%"></i></span>'
                f"<span>{'✓ ' if right else ''}{_text(choice)} ({count[choice]})</span></div>"
                f"<small>{_text(answers[choice])}</small></li>"
            )
        parts.append(f"</ul><small>{count.total()} answered. What to do about it: {_text(chapter)}.md</small>")
    parts.append(
        "<h2>Exercises</h2><table><tr><th>exercise<th>tried<th>solved" + ("<th>run again: right" if checked else "")
    )
    for exercise, chapter in course_.exercises.items():
        entries = [found["exercises"][exercise] for found in class_.records.values() if exercise in found["exercises"]]
        again = [said for (_, name), said in (checked or {}).items() if name == exercise]
        if entries:
            solved = sum(entry.get("solved") is True for entry in entries)
            parts.append(f"<tr><td>{_text(chapter[:2])} {_text(exercise)}<td>{len(entries)}<td>{solved}")
            parts.append(f"<td>{sum(said == 'right' for said in again)} of {len(again)}" if checked else "")
    parts.append("</table>")
    for heading, files in (("Files refused", class_.refused), ("Files set aside", class_.set_aside)):
        if files:
            parts.append(f"<h2>{heading}</h2><ul>")
            parts += [f"<li>{_text(name)}<br><small>{_text(reason)}</small></li>" for name, reason in files]
            parts.append("</ul>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>The class</title><style>{STYLE}</style><main>{''.join(parts)}</main></html>\n"
    )


def figure(asked: list[tuple[str, Question, Counter[str]]]) -> bytes:
    """How often the first choice was right, question by question, as a PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.4, 0.8 + 0.3 * len(asked)), layout="constrained")
    axes = drawn.subplots()
    shares = [100 * count[question.right] / count.total() for _, question, count in asked]
    places = range(len(asked))
    axes.barh(places, shares, color="#0072B2", label="right")
    axes.barh(
        places,
        [100 - share for share in shares],
        left=shares,
        color="#D55E00",
        hatch="//",
        edgecolor="white",
        label="wrong",
    )
    names = [f"{chapter[:2]} {textwrap.shorten(question.text, 44, placeholder=' …')}" for chapter, question, _ in asked]
    axes.set_yticks(places, names)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("first choices (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _text(words: str) -> str:
    """Foreign words as text of the page: no markup, and nothing that turns the line around."""
    return html.escape("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in words[:2_000]))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m instructor.collect", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="what learners handed in; of a folder, its .json files")
    parser.add_argument("-o", "--out", type=Path, default=Path("class.csv"), help="the table; the page lies beside it")
    parser.add_argument(
        "--rerun", action="store_true", help="check each function that was handed in again: runs their code"
    )
    given = parser.parse_args(arguments)
    paths = [each for path in given.files for each in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    class_, course_ = collect(paths), course()
    checked = rerun(class_.records, course_.exercises) if given.rerun else None
    write_csv(table(class_, course_, checked), given.out)
    given.out.with_suffix(".html").write_text(page(class_, course_, checked), "utf-8", "replace")
    for name, reason in class_.refused + class_.set_aside:
        print(f"{shown(name, 200)}: {reason}")
    print(f"{len(class_.records)} learners, {len(class_.refused)} files refused, {len(class_.set_aside)} set aside")
    print(f"{given.out} and {given.out.with_suffix('.html')}")
    if not class_.records:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
