"""The instructor's part: pages that agree with the chapters, codes, assignments, slides, a class's answers."""

import base64
import csv
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from hypothesis import given, settings, strategies as st

import distilkit as dk
from distilkit import record
from distilkit.errors import BadFile
from distilkit.setting import Setting
from instructor import assignments, chapters, collect, slides
from instructor.rerun import rerun
from tests.faults import refused

HERE = chapters.ROOT / "instructor"
CHAPTERS = [path for path in chapters.chapters() if path.stem[0].isdigit()]
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
PAGES = sorted(HERE.glob("*.md"))


# ------------------------------------------------------------------------------------------------------------- pages


@each_chapter
def test_a_page_agrees_with_its_chapter(path: Path) -> None:
    notebook, page = chapters.read(path), chapters.page(path.stem)
    text = (HERE / f"{path.stem}.md").read_text("utf-8")
    asked = chapters.exercises(notebook)
    alone = {section: length for section, length in page.minutes.items() if section != "Exercises"}
    assert len(page.goals) == 3
    assert sum(alone.values()) == chapters.minutes(notebook)
    assert set(alone) <= set(chapters.sections(notebook))
    assert f"About {chapters.minutes(notebook)} minutes" in text
    assert list(page.exercises) == list(asked)
    assert page.minutes["Exercises"] == 5 * len(asked)
    for planned in re.findall(r"plan (\d+)", text):
        assert int(planned) == 2 * chapters.minutes(notebook) + page.minutes["Exercises"]


@pytest.mark.parametrize("path", [path for path in PAGES if path.stem != "README"], ids=lambda path: path.stem)
def test_each_question_has_answers_and_something_to_touch(path: Path) -> None:
    page = chapters.page(path.stem)
    assert len(page.questions) >= 3
    assert page.codes
    for words in page.questions.values():
        assert [line.split(":")[0] for line in words.splitlines()] == ["- *Expect", "- *Wrong", "- *Show it"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        assert (HERE / link).is_file(), link


def test_every_solution_is_linked_and_solves() -> None:
    linked = set(re.findall(r"solutions/(\w+)\.py", "".join(path.read_text("utf-8") for path in PAGES)))
    assert linked == {path.stem for path in chapters.SOLUTIONS.glob("*.py")}


CODES = sorted({code for path in PAGES for code in chapters.codes(path.read_text("utf-8"))})


@pytest.mark.parametrize("code", CODES)
def test_each_code_is_a_setting_and_opens(code: str) -> None:
    setting = Setting.of(code)
    assert Setting.of(setting.code()) == setting
    if setting.task == "digits" and setting.teacher == "shipped":
        started = setting.start()
        assert next(started.run).step == 1


def test_the_readme_has_five_codes_that_leave_something_free() -> None:
    guided = [Setting.of(code) for code in chapters.codes((HERE / "README.md").read_text("utf-8"))]
    assert len(guided) == 5
    for setting in guided:
        free = {"T", "a", "lr", "div", "text", "seed"} - set(setting.hide) - set(setting.lock)
        assert len(free) == 1, free
        if setting.task == "digits":
            dk.playground(setting.code(), run=False).close()


# ------------------------------------------------------------------------------------------------------- assignments


@each_chapter
def test_an_assignment_has_the_metadata_of_nbgrader(path: Path) -> None:
    notebook = assignments.assignment(path)
    nbformat.validate(notebook)
    marks = [cell.metadata["nbgrader"] for cell in notebook.cells]
    assert len({each["grade_id"] for each in marks}) == len(marks)
    for cell, each in zip(notebook.cells, marks, strict=True):
        assert each["schema_version"] == 3
        assert re.fullmatch(r"[a-zA-Z0-9_\-]+", each["grade_id"])
        assert {"grade", "locked", "solution", "task"} < set(each)
        assert ("points" in each) == each["grade"]
        assert each["locked"] != each["solution"]
        assert cell.source.count("### BEGIN SOLUTION") == cell.source.count("### END SOLUTION") == each["solution"]
        assert cell.source.count("### BEGIN HIDDEN TESTS") == cell.source.count("### END HIDDEN TESTS") == each["grade"]
    assert sum(each["grade"] for each in marks) == len(chapters.exercises(chapters.read(path)))


@each_chapter
def test_an_assignment_passes_as_solved_and_fails_as_handed_out(path: Path, capsys: pytest.CaptureFixture) -> None:
    names: dict = {}
    for cell in assignments.assignment(path).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    for name, stub in chapters.exercises(chapters.read(path)).items():
        exec(f"{stub}\n    raise NotImplementedError()", names)
        with pytest.raises(AssertionError, match=name):
            dk.check(name, names[name], strict=True)
        with pytest.raises(AssertionError, match=name):
            dk.check(name, lambda *inputs: float("nan"), strict=True)


def test_an_unknown_chapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no chapter '77'; there are 00_start_here"):
        assignments.main(["77", "-o", str(tmp_path)])
    assignments.main(["03", "-o", str(tmp_path)])
    assert (tmp_path / "source" / "03_alpha" / "03_alpha.ipynb").is_file()


# ------------------------------------------------------------------------------------------------------------ slides


def executed(name: str) -> nbformat.NotebookNode:
    """A chapter as if it had run: a picture where one is made, a line where the claim prints."""
    notebook = chapters.read(chapters.chapter(name))
    pixel = collect.figure([("00", chapters.Question("?", {"a": ""}, "a"), Counter("a"))])
    for cell in notebook.cells:
        if cell.cell_type == "code" and ("dk.explore" in cell.source or "figure" in cell.metadata.get("tags", [])):
            data = {"image/png": base64.b64encode(pixel).decode(), "text/plain": "bars"}
            cell.outputs = [nbformat.v4.new_output("display_data", data)]
        if "claim" in cell.metadata.get("tags", []):
            cell.outputs = [nbformat.v4.new_output("stream", text="gain <b>+6.4</b> points\n")]
    return notebook


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.found.append((tag, dict(attributes)))


def test_slides_are_made_and_fetch_nothing() -> None:
    made = slides.deck(executed("00"), chapters.page("00_start_here"))
    tags = Tags(slides.rendered(made, "reveal.js")).found
    names = [tag for tag, _ in tags]
    for _, attributes in tags:
        for address in (attributes.get("src"), attributes.get("href")):
            assert not address or address.startswith(("reveal.js/", "data:", "#")), address
    assert names.count("section") == 2 * sum(c.metadata.slideshow.slide_type == "slide" for c in made.cells)
    assert "math" in names
    assert ("aside", {"class": "notes"}) in tags
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    assert "b" not in names  # what a cell printed is text


@each_chapter
def test_every_chapter_has_its_slides(path: Path) -> None:
    notebook = chapters.read(path)
    made = slides.deck(executed(path.stem), chapters.page(path.stem))
    text = "\n".join(cell.source for cell in made.cells)
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert {"Predict", "Predict: the answers", "Derive", "Claim", "Break it", "Recap", "Yours to write"} <= set(heads)
    assert text.startswith(f"# {chapters.title(notebook)}")
    assert "$" not in re.sub(r"<[^>]+>", "", text)  # every formula was drawn
    shown = [cell.source for cell in made.cells if cell.metadata.slideshow.slide_type == "slide"]
    assert max(len(re.sub(r"<math.*?</math>|<[^>]+>", "", each, flags=re.DOTALL)) for each in shown) < 1000


# ------------------------------------------------------------------------------------------------- a class's answers

COURSE = collect.course()
TEXT, (CHAPTER, QUESTION) = next(iter(COURSE.questions.items()))
WRONG = next(choice for choice in QUESTION.choices if choice != QUESTION.right)
RIGHT_CODE = "def soften(logits, temperature):\n    return (logits / temperature).softmax(-1)\n"


def answers(name: str, first: str = WRONG, code: str = RIGHT_CODE, at: str = "2026-01-01T00:00:00+00:00") -> dict:
    asked = {"chapter": CHAPTER, "question": TEXT, "chosen": QUESTION.right, "right": True, "first": first, "at": at}
    wrote = {"chapter": CHAPTER, "tries": 1, "solved": True, "code": code, "at": at}
    content = {"version": 1, "name": name, "distilkit": "0", "questions": {"q": asked}, "claims": {}}
    content["exercises"] = {"soften": wrote}
    return content | {"sha256": record.digest(content)}


def written(folder: Path, *contents: dict | str) -> list[Path]:
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number:03}.json")
        paths[-1].write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return paths


def test_what_hand_in_writes_is_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILKIT_PROGRESS", str(tmp_path / "progress.json"))
    record.answered(TEXT, WRONG, right=False)
    record.answered(TEXT, QUESTION.right, right=True)
    dk.hand_in("Ada Lovelace", tmp_path / "ada.json")
    found = collect.collect([tmp_path / "ada.json"])
    assert collect.first_choices(found.records["Ada Lovelace"], COURSE) == {TEXT: WRONG}
    assert collect.misconceptions(found, COURSE)[0][2] == {WRONG: 1}


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    changed = answers("Eve") | {"name": "Mallory"}
    bad = ["", "{", "[1]", "[" * 99_999, '{"sha256": 1e999}', '{"a": ' + "9" * 5_000 + "}", json.dumps(changed)]
    bad += [json.dumps(answers("Eve") | extra) for extra in ({"version": 9}, {"name": 3}, {"questions": [1]})]
    paths = written(tmp_path, *bad, answers("Ada"))
    (tmp_path / "latin.json").write_bytes(b'{"name": "\xe9"}')
    (tmp_path / "folder.json").mkdir()
    found = collect.collect([*paths, *tmp_path.glob("[lf]*.json"), tmp_path / "none.json"])
    assert list(found.records) == ["Ada"]
    assert len(found.refused) == len(bad) + 3
    refused(lambda: collect.handed_in(paths[6]), BadFile, "sha256")
    assert all(reason for _, reason in found.refused)


def test_of_two_files_of_one_learner_the_newer_counts(tmp_path: Path) -> None:
    old, new = answers("Ada  Lovelace"), answers("ada lovelace", QUESTION.right, at="2026-02-01T00:00:00+00:00")
    for order in ((old, new, old), (new, old, old)):
        found = collect.collect(written(tmp_path, *order))
        assert [collect.first_choices(each, COURSE)[TEXT] for each in found.records.values()] == [QUESTION.right]
        assert len(found.set_aside) == 2


@settings(max_examples=25, deadline=None)
@given(
    name=st.text(st.characters(), min_size=1, max_size=40).filter(str.strip),
    first=st.sampled_from([*QUESTION.choices, "<img src=x onerror=alert(1)>", "=1+1"]) | st.text(max_size=20),
)
def test_whatever_a_learner_wrote_is_text(name: str, first: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("class")
    paths = written(folder, answers(name, first), answers("=cmd|' /C calc'!A0"), answers("<script>alert(1)</script>"))
    found = collect.collect(paths)
    dk.write_csv(collect.table(found, COURSE), folder / "class.csv")
    with mock.patch.object(collect, "figure", return_value=b""):  # it draws the chapters' questions, nothing foreign
        page = collect.page(found, COURSE)
    with (folder / "class.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert 2 <= len(rows) - 1 <= 3
    assert not [cell for row in rows[1:] for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    plain = Tags(collect.page(collect.Class({}, [], []), COURSE)).found
    allowed = {tag for tag, _ in plain} | {"figure", "img", "ul", "li", "div", "b", "span", "i", "small", "td", "br"}
    for tag, attributes in Tags(page).found:
        assert tag in allowed
        assert not [each for each in attributes if each.startswith("on")]


def test_a_folder_of_files_becomes_a_table_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    written(tmp_path, answers("Ada"), answers("Bob"), "{")
    collect.main([str(tmp_path), "-o", str(tmp_path / "class.csv")])
    assert "2 learners, 1 files refused, 0 set aside" in capsys.readouterr().out
    assert (tmp_path / "class.html").read_text("utf-8").startswith("<!doctype html>")
    assert len((tmp_path / "class.csv").read_text("utf-8").splitlines()) == 3


def test_the_board_counts_first_choices_and_trusts_no_flag(tmp_path: Path) -> None:
    contents = [answers("A", WRONG), answers("B", WRONG), answers("C", QUESTION.right), answers("D", "of my own")]
    found = collect.collect(written(tmp_path, *contents))
    ((chapter, question, count),) = collect.misconceptions(found, COURSE)
    assert (chapter, question.text) == (CHAPTER, TEXT)
    assert count == {WRONG: 2, QUESTION.right: 1, "another": 1}
    frame = collect.table(found, COURSE).set_index("name")
    assert list(frame[f"{CHAPTER[:2]} {TEXT}"]) == [WRONG, WRONG, f"✓ {QUESTION.right}", "another"]
    assert set(frame["00 soften"]) == {"solved"}


def test_code_is_run_only_when_asked_and_then_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instructor.rerun.SECONDS", 3)
    mark = tmp_path / "ran"
    codes = {
        "wrong": "def soften(logits, temperature):\n    return logits.softmax(-1) / temperature\n",
        "marks": f"open({str(mark)!r}, 'w').close()\n{RIGHT_CODE}",
        "loops": "def soften(logits, temperature):\n    while True:\n        pass\n",
        "ends": "import os\ndef soften(logits, temperature):\n    os._exit(0)\n",
    }
    found = collect.collect(written(tmp_path, *(answers(name, code=code) for name, code in codes.items())))
    collect.page(found, COURSE)
    assert not mark.exists()
    checked = {name: said for (name, _), said in rerun(found.records, COURSE.exercises).items()}
    assert mark.exists()
    assert checked["marks"] == "right"
    assert checked["wrong"] == "wrong"
    assert checked["loops"] == "stopped after 3 s"
    assert checked["ends"] == "ended its process"
