"""The widgets in French: nothing of it is wider than its place."""

import pytest

from tests.browser.every import every
from tests.browser.lab import Lab

SHOWN = {"digits": ("watch", "temperature", "playground"), "texts": ("lens", "board", "workbench")}
# Text that is cut off, or lies over its neighbour.
CUT = """(group) => [...group.querySelectorAll('button, label, legend, th, td, b, small, span, p, option')]
  .filter((each) => each.checkVisibility() && each.clientWidth)
  .filter((each) => !each.closest('.dk-live, [aria-hidden=true], svg, select'))
  .filter((each) => each.scrollWidth > each.clientWidth + 2 && getComputedStyle(each).overflowX !== 'visible' &&
    getComputedStyle(each).textOverflow !== 'ellipsis').map((each) => each.outerHTML.slice(0, 160))"""


@pytest.mark.parametrize("notebook", SHOWN)
def test_french_fits(lab: Lab, notebook: str) -> None:
    names = SHOWN[notebook]
    widgets = every(lab, notebook, *names, before="from distilkit.words import speak\nspeak('fr')\n")
    for name in names:
        widget = lab.page.locator(widgets[name])
        assert "é" in widget.inner_text(), f"{name} speaks English"
        assert widget.evaluate(CUT) == [], name
        assert widget.evaluate("group => group.scrollWidth <= group.clientWidth + 1"), name
        lab.shot(widget, f"{name}_french")
        widget.evaluate("group => { group.parentElement.style.width = '360px' }")
    lab.page.wait_for_timeout(800)
    for name in names:
        widget = lab.page.locator(widgets[name])
        assert widget.evaluate("group => group.scrollWidth <= group.clientWidth + 1"), f"{name} at 360 px"
        lab.shot(widget, f"{name}_french_360")
