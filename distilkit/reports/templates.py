"""How foreign text gets into a page or a model card: always through here, as text, never as markup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.sources.reports import visible

if TYPE_CHECKING:
    from jinja2 import Template

CLIP = 4000  # characters that are shown of a text


def as_text(value: object, most: int = CLIP) -> str:
    r"""A value as it is read: clipped, and what would be invisible or turn the writing, by its code.

    A token of the hub's is left out: it is a secret.

    >>> as_text("a\u202eb\u200bc\x1b[1m, hf_abcdefghijklmnopqrstuvw")
    'a\\u202eb\\u200bc\\x1b[1m, hf_…'
    """
    text = re.sub(r"\bhf_[A-Za-z0-9]{16,}", "hf_…", str(value)[: most + 100])
    clipped = text if len(text) <= most else f"{text[: most - 1]}…"
    return "\n".join(visible(line, most) for line in clipped.split("\n"))


def page(found: Mapping[str, Any]) -> str:
    """The page: each value as text, escaped."""
    return _template("page.html").render(found)


def card(found: Mapping[str, Any]) -> str:
    """What people read of a model card: each value on one line, nothing in it Markdown or markup."""
    return _template("card.md").render(found)


def as_markdown(value: object) -> str:
    r"""A value in one line of Markdown.

    >>> as_markdown("*a* <b>")
    '\\*a\\* &lt;b&gt;'
    """
    from markupsafe import escape

    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", str(escape(" ".join(as_text(value).split()))))


def code_block(text: str) -> str:
    """A block of code in Markdown that no text can end: each line is indented."""
    return "\n".join(f"    {line}".rstrip() for line in as_text(text).split("\n"))


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    shown = as_text if name.endswith(".html") else as_markdown
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=name.endswith(".html"),
        finalize=lambda value: value if isinstance(value, Markup) else shown(value),  # ours are Markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
