"""Every widget on a page as wide as a phone: nothing is wider or scrolls sideways, no cell of a table is cut off."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page

from tests.browser.lab import Lab
from tests.trust.xss import VIEWS

# What is opened first, as there is more to fit in then.
OPENED: dict[str, Callable[[Locator], None]] = {
    "chat": lambda group: group.get_by_text("The shop’s database").click(),
    "translate": lambda group: group.locator("[data-role=student] .dk-tr-word").nth(1).click(),
}


@pytest.mark.parametrize("name", VIEWS)
def test_fits_a_phone(mount: Callable[..., Page], name: str) -> None:
    group = mount(VIEWS[name](), width=360).locator(".dk").first
    OPENED.get(name, lambda _: None)(group)
    Lab.fits(group)
    for tile in group.get_by_role("gridcell").all():
        assert tile.evaluate("tile => tile.scrollWidth <= tile.clientWidth + 1")
    Lab.shot(group, f"{name}_360")
