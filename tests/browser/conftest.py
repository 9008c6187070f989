"""A real JupyterLab in a real Chromium: the fixture `lab`, see `tests/browser/lab.py`. What asks no kernel has `mount`.

Without a browser these tests skip with the reason; REQUIRE_BROWSER=1 makes that a failure instead.
DISTILKIT_BROWSER=/path/to/chrome picks one.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserType, Error, Page, sync_playwright

from tests.browser.bare import mounted
from tests.browser.lab import Lab, Server

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--no-sandbox",  # Chromium refuses to start as root otherwise, and it opens nothing but our own server
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


def launch(chromium: BrowserType) -> Browser:
    """The first browser that starts: the one asked for, an installed Chromium or Chrome, Playwright's own."""
    asked = os.environ.get("DISTILKIT_BROWSER")
    found = [asked] if asked else [path for name in NAMES if (path := shutil.which(name))]
    tries = [{"executable_path": path} for path in found]
    if not asked:
        tries += [{"channel": "chrome"}, {"channel": "msedge"}, {}]
    reasons = []
    for options in tries:
        try:
            return chromium.launch(args=QUIET, **options)
        except Error as error:
            reasons.append(f"{options or 'Playwright’s own'}: {error.message.splitlines()[0]}")
    reason = "no browser starts; install Chromium or Chrome, or run `playwright install chromium`. Tried " + "; ".join(
        reasons
    )
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def alone() -> Iterator[Lab]:
    """A Lab outside pytest, for benches and pictures; where no browser starts, the program says why and ends."""
    with sync_playwright() as playwright, TemporaryDirectory() as folder, Server(Path(folder)) as server:
        try:
            browser = launch(playwright.chromium)
        except pytest.skip.Exception as reason:
            print(reason)
            raise SystemExit(0) from None
        lab = Lab(browser, server)
        yield lab
        lab.close()
        browser.close()


# Package scope: Playwright keeps an event loop running, in which no other test must find itself.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module")
def own_lab(browser: Browser, server: Server) -> Iterator[Lab]:
    """The file's page of JupyterLab, and its kernel."""
    lab = Lab(browser, server)
    yield lab
    lab.close()


@pytest.fixture
def lab(own_lab: Lab) -> Iterator[Lab]:
    """JupyterLab and the file's kernel, in which nothing is left of another test; its console must hold no error."""
    yield own_lab
    errors = [*own_lab.errors]
    own_lab.clear()
    assert errors == [], f"{len(errors)} errors in the browser's console"


@pytest.fixture
def mount(browser: Browser) -> Iterator[Callable[..., Page]]:
    """mount(widget, width=1280) -> page, see `tests/browser/bare.py`. Afterwards the console must hold no error."""
    pages, errors = [], []

    def open_page(widget: Any = None, width: int = 1280) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
        return mounted(page, widget)

    yield open_page
    for page in pages:
        page.close()
    assert errors == []
