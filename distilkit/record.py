"""What a reader has done so far, kept across restarts: questions answered, exercises tried, claims reached.

The record is one JSON file in the folder where this system keeps a user's data; the environment variable
DISTILKIT_PROGRESS names another, and set to nothing it keeps none. It is written where a reader is known to sit: in
JupyterLab, VS Code and Colab, or where the variable says so; a script, a test and papermill leave no trace. Where the
file cannot be written, what is done is kept in memory, and `note` says so once.

    {"version": 1,
     "questions": {"02_temperature 1": {"chapter", "question", "chosen", "right", "first", "at"}},
     "exercises": {"soften": {"chapter", "tries", "solved", "code", "at"}},
     "claims": {"…": {"chapter", "at"}},
     "tours": {"watch": {"at"}}}

`chapter` is a notebook's name without .ipynb, or "" where nothing tells; `chosen` the newest choice and `first` the
first; `at` a time in ISO 8601, UTC. A file handed in (`hand_in`) is the same without tours, and with "name",
"distilkit" (the kit's version) and "sha256", the `digest` of all the others.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import inspect
import json
import os
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from distilkit.errors import BadFile, BadType, BadValue, shown
from distilkit.words import say

VERSION = 1
SECTIONS = ("questions", "exercises", "claims", "tours")
MOST_BYTES = 20_000_000  # of a record; what is larger is none
MOST_CODE = 20_000  # letters of an exercise that are kept
MOST_TEXT = 2_000  # of a question, a choice, a claim
PATIENCE = 5  # seconds for another kernel to let go
STALE = 600  # seconds, after which a file half written is nobody's

Record = dict[str, Any]

listeners: list[Callable[[], None]] = []  # called after every change
note = ""  # what a reader should know about the file, if anything
_pending: dict[Path | None, Record] = {}  # by file, what could not be written yet
_chapter = ""  # of what was last answered or tried in this kernel: where no host names the notebook
_here = threading.RLock()


# ── what is recorded ─────────────────────────────────────────────────────────────────────────────────────────────────


def answered(question: str, chosen: str, right: bool) -> None:
    """Record the choice made at a question of `dk.ask`."""
    global _chapter
    key, chapter = _question(question)
    _chapter = chapter
    entry = {"chapter": chapter, "question": question[:MOST_TEXT], "chosen": chosen[:MOST_TEXT], "right": bool(right)}

    def edit(record: Record) -> None:
        first = record["questions"].get(key, {}).get("first", entry["chosen"])
        record["questions"][key] = {**entry, "first": first, "at": _now()}

    _change(edit)


def tried(exercise: str, solved: bool, function: Callable[..., Any]) -> None:
    """Record a try at an exercise of `dk.check`; what was once solved stays so, with the code that solved it."""
    global _chapter
    _chapter = chapter = next((each["name"] for each in chapters() if exercise in each["exercises"]), notebook())
    try:
        code = inspect.getsource(function)[:MOST_CODE]
    except (OSError, TypeError):
        code = ""

    def edit(record: Record) -> None:
        before = record["exercises"].get(exercise, {})
        kept = before if before.get("solved") and not solved else {"solved": solved, "code": code, "at": _now()}
        record["exercises"][exercise] = {**kept, "chapter": chapter, "tries": _whole(before.get("tries")) + 1}

    _change(edit)


def reached(chapter: str, claim: str) -> None:
    """Record that a chapter's claim held here; where the chapter is not known (""), the one last worked in."""
    entry = {"chapter": chapter or _chapter, "at": _now()}
    _change(lambda record: record["claims"].update({claim[:MOST_TEXT]: entry}))


def toured(name: str) -> None:
    """Record that a guided tour is over."""
    _change(lambda record: record["tours"].update({name: {"at": _now()}}))


# ── what is read ─────────────────────────────────────────────────────────────────────────────────────────────────────


def read() -> Record:
    """The record as it is now: the file's, and what could not be written."""
    with _here:
        file, found = path(), _empty()
        if file is not None:
            try:
                found = _load(file)
            except OSError as error:
                _say_unwritten(error)
        return _joined(found, file)


def standing() -> list[dict[str, Any]]:
    """The chapters in order, each with what is done: `asked` of `questions`, `solved` of `exercises`, `claim`, `next`.

    `next` is true of one: the chapter touched last while something is left in it, or else the first after it where
    nothing or not all is done.

    >>> first = standing()[0]
    >>> first["name"], first["questions"] >= 1, first["exercises"] >= 1
    ('00_start_here', True, True)
    """
    record, rows, touched = read(), [], -1
    newest = ""
    for place, chapter in enumerate(chapters()):
        answers = [record["questions"].get(f"{chapter['name']} {i}") for i, _ in enumerate(chapter["questions"], 1)]
        tries = [record["exercises"].get(name) for name in chapter["exercises"]]
        claims = [each for each in record["claims"].values() if each.get("chapter") == chapter["name"]]
        row = {key: chapter[key] for key in ("name", "part", "title", "asks", "minutes")}
        row |= {"questions": len(answers), "asked": sum(map(bool, answers))}
        row |= {"right": sum(bool(each and each.get("right")) for each in answers)}
        row |= {"exercises": len(tries), "solved": sum(bool(each and each.get("solved")) for each in tries)}
        row |= {"claim": bool(claims), "begun": any(answers) or any(tries) or bool(claims), "next": False}
        row["done"] = row["begun"] and row["asked"] == len(answers) and row["solved"] == len(tries)
        rows.append(row)
        times = [str(each.get("at", "")) for each in (*answers, *tries, *claims) if each]
        if times and max(times) >= newest:
            newest, touched = max(times), place
    start = max(0, touched)
    for row in rows[start:] + rows[:start]:
        if not row["done"]:
            row["next"] = True
            break
    return rows


def hand_in(name: str, path: str | Path = "answers.json") -> Path:
    """Write the record as one file for an instructor: answers, exercises with their code, claims; see `record.py`.

    Raises:
        BadType, BadValue: no name. BadFile: nothing can be written there, or something else stands there.

    >>> hand_in("  ")
    Traceback (most recent call last):
    distilkit.errors.BadValue: name must have 1 to 200 letters, got '  '
    """
    import distilkit

    if not isinstance(name, str):
        raise BadType(f'name must be a text, hand_in("Ada Lovelace"), got {type(name).__name__}')
    if not name.strip() or len(name) > 200:
        raise BadValue(f"name must have 1 to 200 letters, got {shown(name)}")
    file, record = Path(path), read()
    content = {"version": VERSION, "name": name.strip(), "distilkit": distilkit.__version__}
    content |= {section: record[section] for section in ("questions", "exercises", "claims")}
    content["sha256"] = digest(content)
    try:
        if file.exists() and "sha256" not in _json(file):
            raise ValueError
        _write(file, content)
    except ValueError:
        raise BadFile(f"{shown(str(file), 200)} is there and is nothing handed in: name another path") from None
    except OSError as error:
        raise BadFile(f"cannot write {shown(str(file), 200)}: {error.strerror}. Name another path") from None
    solved = sum(bool(each.get("solved")) for each in record["exercises"].values())
    print(
        say(
            "{answers} questions answered, {solved} exercises solved, {claims} claims reached: hand in {file}",
            answers=len(record["questions"]),
            solved=solved,
            claims=len(record["claims"]),
            file=file.name,
        )
    )
    return file


def digest(content: Record) -> str:
    """The sha256 of a record's content, all but its own: it shows a damaged file, not a dishonest one.

    >>> digest({"name": "Ada", "sha256": "…"}) == digest({"name": "Ada"})
    True
    """
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


@functools.cache
def chapters() -> list[dict[str, Any]]:
    """Every chapter in reading order: name, part, title, asks, minutes, and the names or texts of what it holds."""
    return json.loads((Path(__file__).parent / "chapters.json").read_text("utf-8"))


def notebook() -> str:
    """The name of the notebook that this kernel serves, where the host tells: JupyterLab, VS Code; or ""."""
    own = os.environ.get("JPY_SESSION_NAME", "")
    if not own and "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()) is not None:
        own = str(shell.user_ns.get("__vsc_ipynb_file__", ""))
    return own.replace("\\", "/").rpartition("/")[2].removesuffix(".ipynb")


def path() -> Path | None:
    """The file of the record, or None where none is kept: see the top of this file."""
    named = os.environ.get("DISTILKIT_PROGRESS")
    if named is not None:
        return Path(named).expanduser() if named else None
    if not (notebook() or "google.colab" in sys.modules):
        return None
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or home / ".local" / "share"
    return Path(base) / "distilkit" / "progress.json"


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _change(edit: Callable[[Record], None]) -> None:
    """Apply a change to the file's newest state, or to what waits in memory; never an error."""
    with _here:
        file = path()
        record, edited = _joined(_empty(), file), False
        try:
            if file is None:
                edit(record)
                _pending[None] = record
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                with filelock.FileLock(file.with_name(f".{file.name}.lock"), timeout=PATIENCE):
                    record = _joined(_load(file), file)
                    edit(record)
                    edited = True
                    _write(file, {"version": VERSION, **record})
                _pending.pop(file, None)
        except (OSError, NotImplementedError) as error:  # a file system without locks raises the second
            if not edited:
                edit(record)
            _pending[file] = record
            _say_unwritten(error)
    for listener in tuple(listeners):
        listener()


def _say_unwritten(error: Exception) -> None:
    global note
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    note = say("Progress is kept in memory only, until the kernel ends: {reason}", reason=reason)


def _load(file: Path) -> Record:
    """The record in the file; an empty one where there is none, and where it is damaged, which is set aside."""
    global note
    try:
        found = _json(file)
    except FileNotFoundError:
        return _empty()
    except ValueError:
        found = {}
    if isinstance(version := found.get("version"), int) and version > VERSION:
        raise OSError(0, f"{file} was written by a newer distilkit")
    if _sound(found):
        return {section: found.get(section, {}) for section in SECTIONS}
    aside = file.with_name(f"{file.stem}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}{file.suffix}")
    os.replace(file, aside)  # noqa: PTH105
    note = say("The file of your progress was damaged. It is kept as {file}, and a new one begun.", file=aside.name)
    return _empty()


def _sound(found: Record) -> bool:
    """Whether every section is a dictionary of dictionaries."""
    sections = [found.get(section, {}) for section in SECTIONS]
    whole = all(isinstance(each, dict) and all(isinstance(one, dict) for one in each.values()) for each in sections)
    return isinstance(found.get("version"), int) and whole


def _json(file: Path) -> Record:
    """The dictionary in a JSON file. Raises ValueError: it is none; OSError: it cannot be read."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(0, f"{file} is not a regular file")
    if state.st_size > MOST_BYTES:
        raise ValueError("too large")
    try:
        found = json.loads(file.read_text("utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("no dictionary")
    return found


def _write(file: Path, content: Record) -> None:
    """The file as JSON: after a crash the old or the new one is there, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for left in file.parent.glob(f".{glob.escape(file.name)}.????????"):  # half written by a process that was killed
        if time.time() - left.stat().st_mtime > STALE:
            left.unlink(missing_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1)  # ASCII: a lone surrogate is no error
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, file)  # noqa: PTH105
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _empty() -> Record:
    return {section: {} for section in SECTIONS}


def _joined(found: Record, file: Path | None) -> Record:
    """A record with what waits in memory on top."""
    waiting = _pending.get(file, {})
    return {section: {**found[section], **waiting.get(section, {})} for section in SECTIONS}


def _question(text: str) -> tuple[str, str]:
    """The key of a question and its chapter; of one that no chapter has, the notebook in which it is asked."""
    for chapter in chapters():
        if text in chapter["questions"]:
            return f"{chapter['name']} {chapter['questions'].index(text) + 1}", chapter["name"]
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12], notebook()


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
