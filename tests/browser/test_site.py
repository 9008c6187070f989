"""The site in Chromium: no kernel, no network. Every request that is not for a file of the site fails the test."""

import functools
import itertools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Error, expect

from tests.browser.axe import barriers
from tests.executed import HOSTILE_CHAPTER
from tests.hostile import HOSTILE

VIEWS = ("index", "notebooks/00_start_here", "notebooks/glossary", "search")


@pytest.fixture
def page(browser, request):
    """A page without a network, 1280 pixels wide unless the test asks for another size."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.faults = []
    page.on("console", lambda line: page.faults.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("dialog", lambda dialog: (page.faults.append(dialog.message), dialog.dismiss()))

    def answer(route):
        if route.request.url.startswith(("file:", "blob:", "data:", "http://127.0.0.1:")):
            return route.continue_()
        page.faults.append(f"a request to {route.request.url}")
        return route.abort()

    page.route("**/*", answer)
    yield page
    faults = list(page.faults)
    context.close()
    assert faults == []


def visit(page, site, name, query=""):
    page.goto(f"{(site / name).with_suffix('.html').as_uri()}{query}")
    page.wait_for_function("() => document.querySelectorAll('.widget:not([data-alive])').length === 0")


def explorer_moves(page):
    slider = page.locator("input[data-name=temperature]").first
    group = page.locator(".dk", has=slider).first
    before = group.inner_text()
    slider.focus()
    for _ in range(5):
        slider.press("ArrowRight")
    expect(group).not_to_have_text(before, use_inner_text=True)


def test_a_visitor_moves_a_slider_on_the_first_page(page, site):
    visit(page, site, "index")
    explorer_moves(page)
    page.get_by_role("main").get_by_role("link", name="00 Start here").click()
    page.wait_for_url("**/00_start_here*")


def test_an_explorer_of_a_chapter_moves(page, site):
    visit(page, site, "notebooks/00_start_here")
    explorer_moves(page)


def test_a_question_answers_and_is_remembered(page, site):
    visit(page, site, "notebooks/00_start_here")
    question = page.locator(".dk-ask").first
    question.get_by_role("radio").nth(1).check()
    said = page.locator(".dk-reply").first.inner_text()
    assert said[2:]
    page.reload()
    expect(page.locator(".dk-ask").first.get_by_role("radio").nth(1)).to_be_checked()
    expect(page.locator(".dk-reply").first).to_have_text(said, use_inner_text=True)
    visit(page, site, "notebooks/01_soft_labels")
    assert page.locator(".dk-ask").first.get_by_role("radio", checked=True).count() == 0


def test_a_stored_run_is_scrubbed(page, site):
    visit(page, site, "notebooks/00_start_here")
    view = page.locator(".widget", has=page.locator("input[data-name=scrub]")).first
    seen = {}
    for key, step in (("End", "step 600"), ("Home", "step 0")):
        view.locator("input[data-name=scrub]").press(key)
        expect(view.locator(".dk-watch-count")).to_contain_text(step)
        seen[key] = [
            view.locator(".dk-watch-cursor").first.get_attribute("x1"),
            view.locator(".dk-watch-count").inner_text(),
            view.locator(".dk-watch-example svg[role=img]").get_attribute("aria-label"),
            view.locator(".dk-watch-face").count(),
        ]
    assert all(end != home for end, home in zip(seen["End"], seen["Home"], strict=True))
    view.get_by_role("button", name="Copy as Python").click()
    assert "dk.distill(" in view.locator("textarea").input_value()


def test_what_needs_a_kernel_says_so_in_its_place(page, site):
    visit(page, site, "notebooks/00_start_here")
    view = page.locator(".widget", has=page.locator("input[data-name=scrub]")).first
    note = view.get_by_text("This needs a running kernel")
    assert note.is_visible()
    assert {link.inner_text() for link in note.get_by_role("link").all()} == {"on Binder", "in Colab"}
    assert not view.get_by_role("button", name="Run", exact=True).is_visible()
    assert not view.locator("input[data-name=alpha]").is_visible()


def test_search_finds_temperature(page, site):
    visit(page, site, "index")
    box = page.get_by_role("textbox", name="Search")
    box.fill("temperature")
    box.press("Enter")
    found = page.locator("#search-results li a")
    found.first.wait_for()
    assert any("glossary" in link.get_attribute("href") for link in found.all())
    assert any("02_temperature" in link.get_attribute("href") for link in found.all())


def test_the_dark_theme_reaches_the_widgets(page, site):
    colours = "each => [getComputedStyle(each).color, getComputedStyle(each).getPropertyValue('--dk-student')]"
    visit(page, site, "notebooks/00_start_here")
    light = page.locator(".dk").first.evaluate(colours)
    page.locator(".theme-toggle:visible").first.click()
    page.wait_for_function("() => document.body.dataset.theme === 'dark'")
    dark = page.locator(".dk").first.evaluate(colours)
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    visit(page, site, "notebooks/01_soft_labels")
    assert page.locator("body").get_attribute("data-theme") == "dark", "the next page has it too"


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_systems_theme_reaches_the_widgets(page, site, system):
    page.emulate_media(color_scheme=system)
    visit(page, site, "index")
    scheme = page.locator(".dk").first.evaluate("each => getComputedStyle(each).colorScheme")
    assert scheme == system


def test_a_page_scrolls_down_only_and_every_widget_lives(page, site):
    for path in sorted(site.rglob("*.html")):
        visit(page, site, path.relative_to(site).with_suffix(""))
        for width in (1100, 820, 360):
            page.set_viewport_size({"width": width, "height": 740})
            page.wait_for_timeout(50)
            try:
                page.wait_for_function("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            except Error:
                pytest.fail(f"{path.name} scrolls sideways at {width} pixels")


@pytest.mark.parametrize("system", ["light", "dark"])
def test_nothing_keeps_anybody_from_reading(page, site, system):
    page.emulate_media(color_scheme=system)
    for name in VIEWS:
        visit(page, site, name)
        page.wait_for_timeout(300)
        assert barriers(page) == [], name
        if name == "search":  # its heading comes with what is found
            continue
        headings = page.locator(":is(h1, h2, h3, h4):visible").evaluate_all(
            "all => all.map((each) => +each.tagName[1])"
        )
        assert headings.count(1) == 1, name
        assert all(after <= before + 1 for before, after in itertools.pairwise(headings)), name
        assert page.locator("img:not([alt]), img[alt='']").count() == 0, name


def test_the_first_tab_stop_skips_to_the_content(page, site):
    visit(page, site, "notebooks/00_start_here")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#furo-main-content"


def test_hostile_text_stays_text(page, site):
    visit(page, site, f"notebooks/{HOSTILE_CHAPTER.stem}")
    assert page.locator(".widget").count() == 1
    assert page.locator("legend").inner_text() == HOSTILE[1]
    page.get_by_role("radio").first.check()
    shown = page.locator("article").inner_text()
    assert shown.count("<img src=x onerror=alert(1)>") >= 3, "printed, in the table, and as a choice"
    assert page.locator("article img, article iframe, article object, article embed, article form").count() == 0
    assert page.locator("article script:not([type='application/json'])").count() == 0
    page.wait_for_timeout(300)


def test_it_works_under_a_path(page, site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=site.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        start = f"http://127.0.0.1:{server.server_port}/{site.name}/"
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(start)
        page.locator(".widget[data-alive]").first.wait_for()
        explorer_moves(page)
        page.get_by_role("main").get_by_role("link", name="00 Start here").click()
        page.locator(".widget[data-alive]").nth(2).wait_for()
        assert [url for url in asked if not url.startswith((start, "blob:", "data:"))] == []
        server.shutdown()
