"""The words of the field, each in one plain sentence and a little more: `notebooks/glossary.md`, read and looked up."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from distilkit.errors import BadFile, BadType, BadValue, meant, shown


def explain(term: str) -> None:
    """Print what a word of the field means, and the chapter that teaches it.

    Raises:
        BadType: no text. BadValue: a word that the glossary does not have, with the nearest that it has.

    >>> explain("soft labels")
    soft label: The teacher's whole distribution over the classes: “a 7, rather like a 9”.
    Chapter 01 (01_soft_labels.ipynb)
    """
    known = entries()
    names = {name.lower(): name for name in known}
    if not isinstance(term, str):
        raise BadType(f'term must be a text, explain("temperature"), got {shown(term)}')
    wanted = " ".join(term.lower().replace("_", " ").split())
    name = names.get(wanted) or names.get(wanted.removesuffix("s"))
    if name is None:
        raise BadValue(f"the glossary has no {shown(wanted)}.{meant(wanted, names)} All words: notebooks/glossary.md")
    text = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", r"\1 (\2)", "\n".join(known[name]))
    print(f"{name}: {text}")


@functools.cache
def entries() -> dict[str, list[str]]:
    """Each term with its paragraphs; the first is its short definition.

    >>> entries()["twin"][0]
    'The same student with the same start, trained without the teacher: it tells what the teacher is worth.'
    """
    package = Path(__file__).parent
    for path in (package / "glossary.md", package.parent / "notebooks" / "glossary.md"):
        if path.is_file():
            parts = re.split(r"^## (.+)$", path.read_text("utf-8"), flags=re.MULTILINE)
            return {term: text.strip().split("\n\n") for term, text in zip(parts[1::2], parts[2::2], strict=True)}
    raise BadFile("glossary.md is not there: look for it in notebooks of the repository")


def anchor(term: str) -> str:
    """The place of a term in the page, as GitHub names it.

    >>> anchor("Holm's correction")
    'holms-correction'
    """
    return re.sub(r"[^\w\- ]", "", term.lower()).replace(" ", "-")
