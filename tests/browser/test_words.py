"""The widgets in French: nothing of it is wider than its place."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from distilkit.words import speak
from tests.browser.lab import Lab
from tests.trust.xss import VIEWS

# Text that is cut off, or lies over its neighbour.
CUT = """(group) => [...group.querySelectorAll('button, label, legend, th, td, b, small, span, p, option')]
  .filter((each) => each.checkVisibility() && each.clientWidth)
  .filter((each) => !each.closest('.dk-live, [aria-hidden=true], svg, select'))
  .filter((each) => each.scrollWidth > each.clientWidth + 2 && getComputedStyle(each).overflowX !== 'visible' &&
    getComputedStyle(each).textOverflow !== 'ellipsis').map((each) => each.outerHTML.slice(0, 160))"""


@pytest.fixture
def french() -> Iterator[None]:
    speak("fr")
    yield
    speak("en")


@pytest.mark.usefixtures("french")
@pytest.mark.parametrize("name", ["watch", "soft_labels", "playground", "lens", "board", "workbench"])
def test_french_fits(mount: Callable[..., Page], name: str) -> None:
    page = mount(VIEWS[name](), width=1180)
    widget = page.locator(".dk").first
    assert "é" in widget.inner_text(), f"{name} speaks English"
    assert widget.evaluate(CUT) == []
    Lab.fits(widget, 1180)
    Lab.shot(widget, f"{name}_french")
    page.set_viewport_size({"width": 360, "height": 900})
    Lab.fits(widget)
    Lab.shot(widget, f"{name}_french_360")
