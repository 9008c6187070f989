"""axe-core in a page: what keeps somebody from reading or using a part of it.

violations(page, ".dk") -> [Violation("color-contrast", "serious", "Elements must meet …", ("p.dk-note …", …)), …]

`assert not barriers(page, ".dk")` is the rule of the house: WCAG 2.1, A and AA, and nothing serious or critical.
"""

from typing import NamedTuple

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa")
IMPACTS = ("minor", "moderate", "serious", "critical")


class Violation(NamedTuple):
    """A rule that is broken, how badly, and by which elements (each with what axe measured there)."""

    rule: str
    impact: str
    help: str
    elements: tuple[str, ...]


def violations(page: Page, selector: str | None = None) -> list[Violation]:
    """Every rule of WCAG 2.1 A and AA that the page (or what `selector` finds in it, all of it) breaks.

    Raises:
        AssertionError: the selector finds nothing, and nothing would be a clean bill.
    """
    if selector:
        assert page.locator(selector).count(), f"nothing on the page is {selector}"
    # preload: a page from a folder may not read its style sheets again, and no rule asked for here needs them
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, selector, options).response["violations"]
    return [
        Violation(rule["id"], rule["impact"], rule["help"], tuple(_element(node) for node in rule["nodes"]))
        for rule in found
    ]


def barriers(page: Page, selector: str | None = None) -> list[Violation]:
    """Those that are serious or critical: a widget or a page that is shipped has none."""
    return [each for each in violations(page, selector) if each.impact in ("serious", "critical")]


def _element(node: dict) -> str:
    return f"{node['html'][:160]} {node['failureSummary'].splitlines()[-1].strip()}"
