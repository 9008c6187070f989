"""Words: each that the interface says has its French, and French has no other."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Formatter

import pytest

import distilkit as dk
from distilkit import plots, record, words
from distilkit.plots import efficiency
from distilkit.widgets import happened, listen, playground, race, tour, watch
from tests.faults import refused

PACKAGE = Path(dk.__file__).parent
FRENCH = words.catalogue("fr")
ROLES = ("teacher", "student", "twin")
# A file whose `say` is given a name instead of a text, and all that the name can be.
LISTED: dict[str, Iterable[str]] = {
    "board.py": [
        *plots.TEXTS.values(),
        *plots.DIVERGENCES.values(),
        *plots.CELLS.values(),
        *(word for title, name, *_ in plots.BOARD.values() for word in (title, name)),
    ],
    "chat.py": ROLES,
    "chatbot.py": ROLES,
    "domains.py": [],
    "efficiency.py": [title for title, _ in efficiency.SERVING.values()],
    "explore.py": ROLES,
    "happened.py": happened.FIGURES,
    "lens.py": [*ROLES, "KL(teacher ‖ {role})", "{role}’s loss"],
    "logits.py": ROLES,
    "listen.py": [*ROLES, *listen.VOICES.values(), "never heard", "heard in training"],
    "matrix.py": [word for title, name, _ in plots.MATRIX.values() for word in (title, name)],
    "options.py": re.findall(r'return f?"\w+=[^"]*: ([^"]+)"', (PACKAGE / "setting.py").read_text("utf-8")),  # reasons
    "playground.py": playground.PRESETS,
    "progress.py": [chapter[what] for chapter in record.chapters() for what in ("part", "title", "asks")],
    "race.py": [*race.OWN.values(), *race.INNER.values()],
    "runs.py": [*ROLES, "soft", "hard"],
    "scene.py": ROLES,
    "speech.py": ROLES,
    "stepper.py": ROLES,
    "texts.py": ["KL(teacher ‖ student)"],
    "tour.py": [step for step, _ in tour.FIRST],
    "translate.py": ROLES,
    "translation.py": ROLES,
    "watch.py": [*ROLES, *watch.SYMBOLS.values()],
}


def in_python() -> Iterator[tuple[Path, ast.expr, set[str] | None]]:
    """(file, what is said, the names of its values) of each `say` of the package; None where they are in a **dict."""
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text("utf-8")
        if "import say" not in source and "words import" not in source and path.parent.name != "words":
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                names = {each.arg for each in node.keywords}
                yield path, node.args[0], None if None in names else {str(name) for name in names}


def in_javascript() -> Iterator[tuple[Path, str]]:
    """(file, what is said) of each `say("…")` of the pages' modules."""
    for path in sorted(PACKAGE.rglob("*.js")):
        for english in re.findall(r'(?<![.\w])say\(\s*"((?:[^"\\]|\\.)*)"', path.read_text("utf-8")):
            yield path, english


def fields(text: str) -> set[str]:
    """The placeholders of a text, each with how its value is written: {"loss:.3f"}."""
    parts = Formatter().parse(text)
    return {f"{name}!{how}:{spec}" for _, name, spec, how in parts if name is not None}


def test_all_that_is_said_is_in_the_catalogue_and_nothing_else() -> None:
    python = {node.value for _, node, _ in in_python() if isinstance(node, ast.Constant)}
    javascript = {english for _, english in in_javascript()}
    said = python | javascript | {word for listed in LISTED.values() for word in listed}
    assert len(python) > 100
    assert len(javascript) > 300
    assert sorted(said - FRENCH.keys()) == []
    assert sorted(FRENCH.keys() - said) == []


def test_a_name_that_is_said_has_its_values_listed() -> None:
    named = {path.name for path, node, _ in in_python() if not isinstance(node, ast.Constant)}
    assert sorted(named - LISTED.keys()) == []
    for path in PACKAGE.rglob("*.js"):  # of a page no name at all
        code = re.sub(r"^\s*//.*$", "", path.read_text("utf-8"), flags=re.MULTILINE)
        assert re.findall(r"(?<![.\w])say\((?!\s*\"|text\) \{)[^)]*", code) == [], path.name


def test_french_takes_the_same_values() -> None:
    differing = {english: french for english, french in FRENCH.items() if fields(english) != fields(french)}
    assert differing == {}
    assert [english for english, french in FRENCH.items() if not french.strip()] == []


def test_each_value_has_its_place() -> None:
    for path, node, names in in_python():
        if isinstance(node, ast.Constant) and names is not None:
            assert {each.split("!")[0] for each in fields(node.value)} == names, (path.name, node.value)


def test_a_sentence_ends_as_its_english_does() -> None:
    """A space or a point at either end is where the next text goes on."""
    for english, french in FRENCH.items():
        begins, ends = zip(*((text[0], text[-1]) for text in (english, french)), strict=True)
        assert (begins[0] in " ,;:") == (begins[1] in " \u00a0,;:"), (english, french)
        assert (ends[0] in " .…:") == (ends[1] in " .…:"), (english, french)


def test_french_is_set_as_french() -> None:
    """An unbroken space before : ; ? ! and inside « », an apostrophe that is one, and one word for a token."""
    wrong = [french for french in FRENCH.values() if re.search(r" [:;?!»]|« |'", french)]
    assert wrong == []
    outside = [re.sub(r"\{[^}]*\}", "", french) for french in FRENCH.values()]
    assert [french for french in outside if re.search(r"\btokens?\b|\bteacher|\bstudent", french)] == []


@pytest.fixture
def in_french() -> Iterator[None]:
    words.speak("fr")
    yield
    words.speak("en")


def test_a_widget_speaks_the_language_chosen(in_french: None) -> None:
    view = dk.budget({"teacher": 0.4, "student": 0.1})
    assert view.line().startswith("teacher 10 machines, 10.50 par jour, ")  # the models' names are the caller's
    assert '"Requests a day": "Requêtes par jour"' in view._esm.split("\n", 1)[0]
    view.close()
    words.speak("en")
    plain = dk.budget({"teacher": 0.4, "student": 0.1})
    assert "const WORDS" not in plain._esm
    assert "a day" in plain.line()
    plain.close()


def test_a_page_is_sent_its_own_words_only(in_french: None) -> None:
    view = dk.ask("Yes?", {"yes": "Right.", "no": "Wrong."}, answer="yes")
    sent = view._esm.split("\n", 1)[0]
    assert "Une question" in sent
    assert "Requêtes" not in sent
    view.close()


def test_a_language_without_words_is_refused() -> None:
    refused(lambda: words.speak("tlh"), ValueError, "tlh", "en", "fr")
    assert words.language() == "en"
    assert words.say("Run") == "Run"


def test_values_are_never_placeholders() -> None:
    """Text that a user or a model wrote may hold braces: it is filled in, never read."""
    assert words.say("looked up: {lookup}", lookup="{fact} {0} {") == "looked up: {fact} {0} {"
