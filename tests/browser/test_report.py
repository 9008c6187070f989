"""The report in Chromium, opened as a file: hostile text is inert and shown, legible in both themes, fits a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page

import distilkit as dk
from distilkit.reports.templates import as_text
from tests.hostile import HOSTILE
from tests.test_report import everywhere, examples, frame, history

CONTRAST = """() => {
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const seen = (colour) => {
        paint.clearRect(0, 0, 1, 1);
        paint.fillStyle = colour;
        paint.fillRect(0, 0, 1, 1);
        return [...paint.getImageData(0, 0, 1, 1).data];
    };
    const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const paper = (element) => {
        const colour = seen(getComputedStyle(element).backgroundColor);
        return colour[3] || !element.parentElement ? colour : paper(element.parentElement);
    };
    return [...document.querySelectorAll("body *")]
        .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((each) => {
            const [low, high] = [light(paper(each)), light(seen(getComputedStyle(each).color))].sort((x, y) => x - y);
            return [(high + 0.05) / (low + 0.05), each.tagName, each.textContent.slice(0, 40)];
        })
        .filter(([ratio]) => ratio < 4.5);
}"""


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(path, width=1280, scheme="light") -> page; at the end nothing was asked of the network, and nothing ran."""
    pages, faults = [], []

    def open_page(path: Path, width: int = 1280, scheme: str = "light") -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        pages.append(page)
        page.on("console", lambda line: faults.append(line.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda asked: None if asked.url.startswith("data:") else faults.append(asked.url))
        page.goto(path.as_uri())
        assert faults.pop(0) == path.as_uri()
        return page

    yield open_page
    for page in pages:
        page.close()
    assert faults == []


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report as chapter 18 writes it."""
    return dk.report(
        tmp_path_factory.mktemp("usual"), frame(), by="accuracy", title="Requests, by topic", kind="classification",
        settings={"steps": 600, "data": "requests.csv"}, warnings=["3 rows occur twice."], command="make report",
        data=pd.DataFrame({"rows": [4000], "what": ["texts " * 20]}, index=["train"]), examples=examples(),
        histories={"distilled": history(), "twin": history()},
    )  # fmt: skip


def test_f84_hostile_text_is_inert_and_shown(visit: Callable[..., Page], tmp_path: Path) -> None:
    cells = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
    path = dk.report(
        tmp_path, frame(seeds=2).assign(note=HOSTILE[0]), by="accuracy", command="\n".join(HOSTILE),
        settings={f"{number} {text}": text for number, text in enumerate(HOSTILE)}, warnings=HOSTILE,
        data=pd.DataFrame({"text": cells[:40]}, index=cells[:40]),
            examples=pd.DataFrame({"input": cells[-20:], "answer": cells[-40:-20]}),
    )  # fmt: skip
    page = visit(path)
    shown = page.locator(".settings dd").evaluate_all("all => all.map((each) => each.textContent)")
    assert shown[: len(HOSTILE)] == [as_text(text) for text in HOSTILE]
    warned = page.locator("#data li").evaluate_all("all => all.map((each) => each.textContent)")
    assert warned == [as_text(text) for text in HOSTILE]
    said = page.locator("td").evaluate_all("all => all.map((each) => each.textContent)")
    assert {as_text(text, 300) for text in cells} <= set(said)
    assert page.locator("script, iframe, object, embed, form, input, button, svg, math, base, link, video").count() == 0
    assert page.locator("main img:not([src^='data:image/'])").count() == 0
    fixed = (
        "() => [...document.querySelectorAll('*')].filter((each) => getComputedStyle(each).position === 'fixed').length"
    )
    assert page.evaluate(fixed) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("number", [3, 4, 31, 33, 36, 44])
def test_f84_hostile_names_are_inert(visit: Callable[..., Page], tmp_path: Path, number: int) -> None:
    results, fields = everywhere(HOSTILE[number])
    page = visit(dk.report(tmp_path, results, **fields))
    assert page.locator("h1").text_content() == HOSTILE[number]
    assert page.title() == HOSTILE[number]
    assert page.locator("figure img").first.get_attribute("alt").startswith(HOSTILE[number][:40])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 640, 1280])
def test_legible_and_no_wider_than_the_page(visit: Callable[..., Page], usual: Path, scheme: str, width: int) -> None:
    page = visit(usual, width, scheme)
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.locator("figure img").evaluate_all(
        "all => all.map((each) => [each.naturalWidth > 0, each.currentSrc])"
    )
    assert len(drawn) == 5
    assert all(there for there, _ in drawn)
    lights = page.locator("figure img").evaluate_all("all => all.map((each) => each.src)")
    assert ([source for _, source in drawn] == lights) == (scheme == "light")


def test_a_keyboard_reaches_what_scrolls(visit: Callable[..., Page], usual: Path) -> None:
    page = visit(usual, 400)
    regions = page.locator(".scroll")
    assert regions.count() >= 2
    for region in regions.all():
        region.focus()
        assert region.evaluate("region => document.activeElement === region")
        assert region.get_attribute("aria-label")
    page.get_by_role("link", name="How it was made").click()
    assert page.url.endswith("#again")


def test_printed_it_is_light(visit: Callable[..., Page], usual: Path) -> None:
    page = visit(usual, scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRAST) == []
    assert len(page.pdf(format="A4")) > 10_000
