"""Questions and exercises of the chapters: an answer of its own to each choice, and no pattern that gives it away."""

import ast
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from distilkit import record
from distilkit.lessons.exercises import EXERCISES
from tests import chapter_list

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
APPLICATIONS = ("14", "15", "16", "17")

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def asked(path):
    """The questions of a chapter: text, {choice: reply}, the right choice; and the place of their cells."""
    found = []
    for place, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "code" and "dk.ask(" in cell.source:
            (call,) = chapter_list.calls([ast.parse(cell.source)], "ask")
            text, replies = (ast.literal_eval(argument) for argument in call.args)
            (answer,) = [ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg == "answer"]
            found.append((text, replies, answer, place))
    return found


@each_chapter
def test_a_chapter_asks_before_and_after(path):
    questions = asked(path)
    count = len(nbformat.read(path, as_version=4).cells)
    assert len(questions) >= 2
    assert questions[0][3] <= 6  # predict, before anything is measured
    assert questions[-1][3] >= count - 4  # and at the end
    assert len({text for text, *_ in questions}) == len(questions)


@each_chapter
def test_each_choice_has_a_reply_of_its_own(path):
    for text, replies, answer, _ in asked(path):
        assert 3 <= len(replies) <= 4, text
        assert answer in replies
        assert len(set(replies.values())) == len(replies)
        for choice, reply in replies.items():
            assert len(reply.split()) >= 6, f"{choice!r} deserves a reason"
            assert reply.startswith("Right") == (choice == answer), f"{choice!r}: {reply}"
            assert reply.endswith((".", "!", ")"))


def test_neither_place_nor_length_gives_the_answer_away():
    places, longest, shortest = Counter(), 0, 0
    questions = [question for path in CHAPTERS for question in asked(path)]
    for _, replies, answer, _ in questions:
        choices = list(replies)
        places[choices.index(answer)] += 1
        longest += max(choices, key=len) == answer
        shortest += min(choices, key=len) == answer
    assert max(places.values()) <= 0.6 * len(questions), places
    assert min(places[place] for place in range(3)) >= 0.15 * len(questions), places
    assert longest <= 0.6 * len(questions), f"the longest is right in {longest} of {len(questions)}"
    assert shortest <= 0.6 * len(questions)


@each_chapter
def test_a_chapter_has_its_exercises(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    names = [ast.literal_eval(call.args[0]) for call in chapter_list.calls(code, "check")]
    assert len(names) >= (1 if path.stem[:2] in APPLICATIONS else 2)
    stubs = {node.name: node for tree in code for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for name in names:
        assert ast.unparse(stubs[name].body[-1]) == "...", f"{name} is written already"
        assert [each.arg for each in stubs[name].args.args] == list(EXERCISES[name].names)
        assert (NOTEBOOKS / "solutions" / f"{name}.py").is_file()


def test_every_exercise_is_asked_in_one_chapter():
    assert sorted(name for chapter in record.chapters() for name in chapter["exercises"]) == sorted(EXERCISES)


def test_the_list_of_the_chapters_is_as_the_notebooks_are():
    listed = chapter_list.listed()
    assert [each["name"] for each in listed if each["name"][0].isdigit()] == [path.stem for path in CHAPTERS]
    for chapter in listed:
        assert chapter == chapter_list.found(chapter), "write it again: python -m tests.chapter_list"
        assert len(chapter["asks"]) <= 60
        assert chapter["asks"].endswith(("?", "."))
    assert len(dict.fromkeys(each["part"] for each in listed)) == 5
