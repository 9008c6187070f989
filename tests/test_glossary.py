"""The glossary: every word that a chapter links is there, with its own first sentence, and is explained on request."""

import re
from pathlib import Path

import nbformat
import pytest

import distilkit as dk
from distilkit.glossary import anchor, entries
from tests.faults import refused

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
LINK = re.compile(r'\[([^\]]+)\]\(glossary\.md#([\w-]+) "([^"]*)"\)')
PLACES = {anchor(term): term for term in entries()}


def words(path):
    cells = nbformat.read(path, as_version=4).cells
    return [found for cell in cells if cell.cell_type == "markdown" for found in LINK.findall(cell.source)]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_explains_its_words_where_they_first_stand(path):
    found = words(path)
    assert len({place for _, place, _ in found}) >= 3
    assert len(found) == len({place for _, place, _ in found}), "a word is linked at its first use only"
    for word, place, title in found:
        assert place in PLACES, f"{word!r} links to #{place}, which the glossary does not have"
        assert title == entries()[PLACES[place]][0], f"{word!r}: the glossary says it otherwise"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_link_to_the_glossary_has_a_title(path):
    text = path.read_text("utf-8")
    assert len(words(path)) == text.count("glossary.md#")


@pytest.mark.parametrize("term", entries())
def test_an_entry_is_short_plain_and_names_a_chapter_that_exists(term):
    first, *rest = entries()[term]
    assert len(first) <= 130
    assert not set('"$`[]\n') & set(first), "a title can hold neither quotes nor markup"
    assert first.endswith(".")
    (chapter,) = re.findall(r"\[Chapter \d\d\]\((\w+\.ipynb)\)", "\n".join(rest))
    assert (NOTEBOOKS / chapter).is_file()


def test_the_words_of_the_house_are_explained():
    assert len(entries()) >= 40
    house = "teacher, student, twin, logits, hard label, soft label, temperature, alpha, divergence, forward KL, "
    house += "reverse KL, JSD, transfer set, prompt, rationale, on-policy, quality, fidelity, agreement, capacity gap"
    for term in house.split(", "):
        assert term in entries()


def test_terms_stand_in_order_and_have_places_of_their_own():
    assert list(entries()) == sorted(entries(), key=str.lower)
    assert len(PLACES) == len(entries())


@pytest.mark.parametrize("asked", ["temperature", "Temperature", " temperature "])
def test_explain_prints_the_entry(asked, capsys):
    dk.explain(asked)
    out = capsys.readouterr().out
    assert out.startswith("temperature: It divides the logits before the softmax")
    assert "02_temperature.ipynb" in out
    assert "](" not in out


@pytest.mark.parametrize("asked", ["soft labels", "forward_kl", "kl divergence", "WERs"])
def test_a_word_is_found_in_the_forms_one_writes(asked, capsys):
    dk.explain(asked)
    assert len(capsys.readouterr().out) > 40


def test_unknown_words_are_refused_with_the_nearest():
    refused(lambda: dk.explain("temprature"), ValueError, "Did you mean 'temperature'?")
    refused(lambda: dk.explain("<script>" * 1000), ValueError, "glossary.md")
    refused(lambda: dk.explain(None), TypeError, "temperature")
