"""A reader's record: what is done stays done, whatever happens to the kernel, the disk or the file; and its map."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import distilkit as dk
from distilkit import record
from distilkit.errors import DistilkitError
from tests.faults import refused

ROOT = Path(__file__).parents[1]
FIRST = record.chapters()[0]["questions"][0]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The record's file, in a folder that is not there yet."""
    path = tmp_path / "a reader’s folder" / "progress.json"
    monkeypatch.setenv("DISTILKIT_PROGRESS", str(path))
    monkeypatch.setattr(record, "note", "")
    return path


def kernel(code, file):
    """A process of its own that records."""
    code = f"import warnings; from distilkit import record\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"DISTILKIT_PROGRESS": str(file)}, cwd=ROOT)


def test_an_answer_is_kept_with_its_chapter_and_the_first_choice(file):
    question = dk.ask(FIRST, {"one": "No, since …", "two": "Right: …", "three": "No …"}, answer="two")
    question.chosen = "one"
    question.chosen = "two"
    kept = json.loads(file.read_text("utf-8"))["questions"]["00_start_here 1"]
    at = kept.pop("at")
    assert at.startswith("20")
    assert kept == {
        "chapter": "00_start_here", "question": FIRST, "chosen": "two", "right": True, "first": "one"
    }  # fmt: skip


def test_what_no_choice_is_leaves_no_trace(file):
    dk.ask("Which?", {"one": "No.", "two": "Right."}, answer="two").chosen = "<script>"
    assert not file.exists()


def test_a_question_of_ones_own_goes_by_the_notebook(file, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/ada/My own chapter.ipynb")
    dk.ask("Which?", {"one": "No.", "two": "Right."}, answer="two").chosen = "one"
    (kept,) = record.read()["questions"].values()
    assert (kept["chapter"], kept["chosen"], kept["right"]) == ("My own chapter", "one", False)


def test_a_claim_goes_by_the_chapter_last_worked_in_where_no_host_names_the_notebook(file):
    record.answered(record.chapters()[3]["questions"][0], "one", True)
    record.reached("", "a claim")
    assert record.read()["claims"]["a claim"]["chapter"] == "03_alpha"


def test_two_kernels_at_once_lose_nothing(file):
    each = "for i in range(25): record.reached('02_temperature', f'{who} {i}')"
    kernels = [kernel(f"who = {who}\n{each}", file) for who in range(3)]
    assert [each.wait(120) for each in kernels] == [0, 0, 0]
    assert len(record.read()["claims"]) == 75
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".lock"] == ["progress.json"]


def test_threads_of_one_kernel_lose_nothing(file):
    threads = [threading.Thread(target=record.reached, args=("00_start_here", f"claim {i}")) for i in range(12)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert len(record.read()["claims"]) == 12


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"version": 1, "questions": []}',
        b'{"version": 1, "questions": {"x": 3}}',
        b'{"version": "1"}',
        b"[" * 20_000,
    ],
    ids=["empty", "cut", "bytes", "list", "null", "section", "entry", "version", "deep"],
)
def test_a_damaged_file_is_set_aside_and_said(file, damage):
    file.parent.mkdir()
    file.write_bytes(damage)
    record.reached("00_start_here", "a claim")
    aside = [path for path in file.parent.iterdir() if "damaged" in path.name]
    assert [path.read_bytes() for path in aside] == [damage]
    assert aside[0].name in record.note
    assert list(record.read()["claims"]) == ["a claim"]
    assert aside[0].name in dk.progress().line()


def test_the_file_of_a_newer_kit_is_left_alone(file):
    file.parent.mkdir()
    newer = json.dumps({"version": 2, "questions": "otherwise"})
    file.write_text(newer)
    record.reached("00_start_here", "a claim")
    assert file.read_text() == newer
    assert "newer" in record.note
    assert list(record.read()["claims"]) == ["a claim"]


def test_f80_where_nothing_can_be_written_it_is_kept_in_memory_and_said_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "no folder").write_text("")  # as good as read-only, and for root, too
    monkeypatch.setenv("DISTILKIT_PROGRESS", str(tmp_path / "no folder" / "progress.json"))
    monkeypatch.setattr(record, "note", "")
    record.answered(FIRST, "one", False)
    for _ in range(2):
        dk.check("soften", lambda logits, temperature: logits)
    kept = record.read()
    assert (list(kept["questions"]), kept["exercises"]["soften"]["tries"]) == (["00_start_here 1"], 2)
    out = capsys.readouterr().out
    assert out.count("kept in memory") <= 1
    assert "kept in memory" in record.note


def test_what_waited_in_memory_is_written_when_it_can_be(tmp_path, monkeypatch):
    blocked = tmp_path / "folder"
    blocked.write_text("")
    monkeypatch.setenv("DISTILKIT_PROGRESS", str(blocked / "progress.json"))
    record.reached("00_start_here", "first")
    blocked.unlink()
    record.reached("00_start_here", "second")
    assert set(json.loads((blocked / "progress.json").read_text())["claims"]) == {"first", "second"}


def test_a_script_leaves_no_trace_in_the_readers_home(tmp_path):
    code = (
        "import distilkit as dk, os\n"
        "dk.check('soften', lambda logits, temperature: logits)\n"
        "dk.ask('Which?', {'one': 'No.', 'two': 'Right.'}, answer='two').chosen = 'one'\n"
        "dk.progress()"
    )
    clean = {
        name: value for name, value in os.environ.items() if name not in ("DISTILKIT_PROGRESS", "JPY_SESSION_NAME")
    }
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run([sys.executable, "-c", code], env=clean | home, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("progress*"))


def test_in_jupyterlab_it_is_kept_where_this_system_keeps_a_users_data(tmp_path, monkeypatch):
    monkeypatch.delenv("DISTILKIT_PROGRESS", raising=False)
    assert record.path() is None
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/00_start_here.ipynb")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert record.path() == tmp_path / "distilkit" / "progress.json"
    assert record.notebook() == "00_start_here"


def test_hostile_texts_are_recorded_as_texts(file):
    for text in ("<img src=x onerror=alert(1)>", "\ud800 alone", "\x00", "=1+1", "../" * 500, "x" * 10**6):
        record.answered(text, text, False)
        record.reached("../../x", text)
    assert file.stat().st_size < 100_000
    kept = record.read()
    assert len(kept["questions"]) == 6
    assert dk.hand_in("<b>Ada</b>\ud800", file.parent / "answers.json").is_file()


# ── handing in ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_handed_in_has_everything_and_shows_damage(file, capsys):
    record.answered(FIRST, "one", True)
    dk.check("soften", lambda logits, temperature: (logits / temperature).softmax(-1))
    record.reached("00_start_here", "a claim")
    record.toured("watch")
    written = dk.hand_in(" Ada Lovelace ", file.parent / "answers.json")
    assert "1 questions answered, 1 exercises solved, 1 claims reached" in capsys.readouterr().out
    content = json.loads(written.read_text("utf-8"))
    assert set(content) == {"version", "name", "distilkit", "questions", "exercises", "claims", "sha256"}
    assert (content["version"], content["name"], content["distilkit"]) == (1, "Ada Lovelace", dk.__version__)
    assert content["sha256"] == record.digest(content)
    content["exercises"]["soften"]["solved"] = False
    assert content["sha256"] != record.digest(content)


def test_it_is_handed_in_again_but_over_nothing_else(file):
    path = file.parent / "answers.json"
    dk.hand_in("Ada", path)
    dk.hand_in("Ada", path)
    other = file.parent / "notes.json"
    for words in ("my notes", "[1]", '{"my": "notes"}'):
        other.write_text(words)
        refused(lambda: dk.hand_in("Ada", other), OSError, "notes.json", "another path")
        assert other.read_text() == words
    refused(lambda: dk.hand_in("Ada", file.parent), OSError, "another path")


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, None, 3], ids=["empty", "blank", "long", "none", "number"])
def test_who_hands_in_has_a_name(file, name):
    with pytest.raises(DistilkitError, match="name"):
        dk.hand_in(name, file.parent / "answers.json")
    assert not (file.parent / "answers.json").exists()


# ── the map ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def next_one(rows):
    (found,) = [row["name"] for row in rows if row["next"]]
    return found


def test_the_next_step_is_what_is_left_where_one_was_last_and_then_the_next_chapter(file):
    assert next_one(record.standing()) == "00_start_here"
    third = record.chapters()[2]
    record.answered(third["questions"][0], "one", False)
    assert next_one(record.standing()) == "02_temperature"
    for question in third["questions"]:
        record.answered(question, "one", False)
    for name in third["exercises"]:
        record.tried(name, True, len)
    row = record.standing()[2]
    assert (row["asked"], row["right"], row["solved"], row["done"]) == (2, 0, 2, True)  # wrong is done, too
    assert next_one(record.standing()) == "03_alpha"


def test_the_map_follows_what_is_done(file):
    view = dk.progress()
    assert not any(each["begun"] for each in view.chapters)
    record.answered(FIRST, "one", True)
    assert (view.chapters[0]["asked"], view.chapters[0]["questions"]) == (1, 2)
    assert "questions 1/2, exercises 0/2" in view.line()
    view.close()
    record.reached("00_start_here", "a claim")
    assert view.chapters[0]["claim"] is False  # closed


def test_another_kernels_work_is_seen_when_the_map_is_asked(file):
    view = dk.progress()
    assert kernel("record.reached('05_language_model', 'a claim')", file).wait(60) == 0
    view._on_message(view, {"kind": "again"}, [])
    assert [each["name"] for each in view.chapters if each["claim"]] == ["05_language_model"]


def test_the_map_speaks_french(file):
    from distilkit.words import catalogue, speak

    speak("fr")
    try:
        line = dk.progress().line()
        assert "Pourquoi adoucir" in line
        for chapter in record.chapters():
            for key in ("part", "title", "asks"):
                assert chapter[key] in catalogue("fr"), chapter[key]
    finally:
        speak("en")


# ── the tour ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tour_is_remembered_when_it_is_over(file):
    from distilkit.widgets.tour import Tour

    tour = Tour([("Press it.", "button"), ("Move it.", "input")], "watch")
    assert (tour.over, tour.line()) == (False, "1. Press it.\n2. Move it.")
    tour.done = [1]
    assert "watch" not in record.read()["tours"]
    tour.done = [1, 0]
    assert "watch" in record.read()["tours"]
    assert Tour([("Press it.", "button")], "watch").over
    assert not Tour([("Press it.", "button")], "another").over


def test_a_tour_can_be_skipped_for_good(file):
    from distilkit.widgets.tour import Tour

    Tour([("Press it.", "button")], "watch").over = True
    assert Tour([("Press it.", "button")], "watch").over


def test_tours_without_steps_are_refused():
    refused(lambda: dk.tour("a view", []), ValueError, "at least one step")
    refused(lambda: dk.tour("a view", "Press"), TypeError, "pairs")
    refused(lambda: dk.tour("a view", [("Press",)]), TypeError, "pairs")
    assert dk.tour("a view") == "a view"
