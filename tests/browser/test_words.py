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
        lab.fits(widget, 1180)
        lab.shot(widget, f"{name}_french")
        widget.evaluate("group => { group.parentElement.style.width = '360px' }")
    for name in names:
        widget = lab.page.locator(widgets[name])
        lab.fits(widget)
        lab.shot(widget, f"{name}_french_360")
