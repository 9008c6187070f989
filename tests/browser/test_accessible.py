"""Every widget in a real JupyterLab, for who cannot see it, cannot use a mouse, or does not read English.

The kit speaks a language here in which each of its words is marked, so that one without a mark was never translated.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Locator

from tests.browser.axe import barriers
from tests.browser.every import MARKED, NOTEBOOKS, every
from tests.browser.lab import Lab, Server

# Letters that are no words, or the same in every language.
SYMBOLS = {"KL", "JSD", "CE", "log", "softmax", "ms", "kHz", "CKA", "dk", "JSON", "Python", "Binder"}
# What also reacts to a click, though something else does the same by keyboard.
ALSO = {
    ".dk-watch-panel svg": "the slider “back to step”",
    ".dk-scatter .dk-mark": "the cell of the table beside it",
    ".dk-grid [role=rowheader]": "the cells of the row",
}
# Notes which elements listen to a click: a listener leaves no trace in the page.
NOTED = """
const listen = EventTarget.prototype.addEventListener
EventTarget.prototype.addEventListener = function (kind, ...rest) {
  if (this instanceof Element && ["click", "pointerdown"].includes(kind)) this.clicked = true
  return listen.call(this, kind, ...rest)
}"""
STOPS = """(group) => {
  const shown = (each) => each.checkVisibility() && each.getClientRects().length && !each.closest('[aria-hidden=true]')
  const able = 'button, input, select, textarea, summary, audio, [tabindex]'
  const all = [...group.querySelectorAll(able)].filter((each) => shown(each) && !each.disabled)
  const radios = (each) => each.type !== 'radio' || each.checked ||
    !group.querySelector(`input[name="${CSS.escape(each.name)}"]:checked`)
  const stops = all.filter((each) => each.tabIndex >= 0 && radios(each))
  const id = (each) => { each.dataset.stop ??= String(window.stops = (window.stops ?? 0) + 1); return each.dataset.stop }
  return stops.map(id)
}"""
FOCUSED = """(group) => {
  const each = document.activeElement
  if (!group.contains(each) || each === group) return null
  const seen = (one) => { const style = one && getComputedStyle(one); return style &&
    ((style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none') }
  return { stop: each.dataset.stop ?? each.outerHTML.slice(0, 120),
    seen: [each, each.nextElementSibling, each.closest('label')].some(seen), html: each.outerHTML.slice(0, 160) }
}"""
SAID = """(group) => {
  const strip = (text) => { let old; do { old = text; text = text.replace(/⟦[^⟦⟧]*⟧/gs, ' ') } while (text !== old); return text }
  const found = []
  const see = (where, text) => (/\\p{L}{2,}/u.test(text = strip(text ?? ''))) && found.push([where, text.trim()])
  const name = (each) => `${each.tagName.toLowerCase()}.${each.getAttribute('class') ?? ''}`
  const walk = document.createTreeWalker(group, NodeFilter.SHOW_TEXT)
  while (walk.nextNode()) {
    const holder = walk.currentNode.parentElement
    if (!holder.closest('[data-text], .dk-lens-text, .dk-lens-context, .dk-layers-text, .dk-watch-script')) see(name(holder), walk.currentNode.data)
  }
  const spoken = ['aria-label', 'aria-description', 'aria-valuetext', 'title', 'placeholder', 'alt']
  for (const each of [group, ...group.querySelectorAll('*')]) for (const key of spoken) see(`${name(each)} ${key}`, each.getAttribute(key))
  return found
}"""
# The words of what Python has sent: names of classes, of models, texts. Those of the interface are marked there, too.
DATA = """sorted({word for widget in __import__("ipywidgets").widgets.widget._instances.values()
    if hasattr(widget, "line") for word in __import__("re").findall(r"[^\\W\\d_]{2,}", __import__("re").sub("⟦[^⟦⟧]*⟧", " ",
    __import__("json").dumps({key: value for key, value in widget.get_state().items() if key not in ("_esm", "_css")},
    default=lambda value: "", ensure_ascii=False)))})"""


class Opened(NamedTuple):
    lab: Lab
    widgets: dict[str, Locator]
    notebook: str


@pytest.fixture(scope="module", params=list(NOTEBOOKS))
def opened(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Opened]:
    lab = Lab(browser, server)
    lab.page.add_init_script(NOTED)
    selectors = every(lab, request.param, before=MARKED)
    yield Opened(lab, {name: lab.page.locator(selector) for name, selector in selectors.items()}, request.param)
    lab.close()
    assert lab.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_barrier(opened: Opened, theme: str) -> None:
    opened.lab.theme(theme)  # type: ignore[arg-type]
    opened.lab.page.wait_for_timeout(500)
    found = barriers(opened.lab.page, ".dk")
    assert found == [], "\n".join(f"{each.rule}: {each.elements[:3]}" for each in found)


def test_all_that_is_said_is_translated(opened: Opened) -> None:
    data = {*opened.lab.python(DATA), *SYMBOLS}
    for name, widget in opened.widgets.items():
        english = [
            (where, text) for where, text in widget.evaluate(SAID) if not set(re.findall(r"[^\W\d_]{2,}", text)) <= data
        ]
        assert english == [], name
        assert "⟦" in widget.inner_text() or name == "ask"  # a question is all its author's
        assert "undefined" not in widget.evaluate("group => group.outerHTML.replace(/<style.*?<\\/style>/gs, '')")
    widget.evaluate("group => group.append(Object.assign(document.createElement('b'), { textContent: 'Plainly so' }))")
    assert ["b.", "Plainly so"] in widget.evaluate(SAID)
    widget.evaluate("group => group.lastChild.remove()")


def test_each_control_is_reached_by_tab_and_seen_there(opened: Opened) -> None:
    page = opened.lab.page
    for name, widget in opened.widgets.items():
        stops = widget.evaluate(STOPS)
        widget.evaluate("group => { group.tabIndex = -1; group.focus() }")
        reached, unseen = set(), []
        for _ in range(3 * len(stops) + 5):
            page.keyboard.press("Tab")
            at = widget.evaluate(FOCUSED)
            if at is None:
                break
            reached.add(at["stop"])
            if not at["seen"]:
                unseen.append(at["html"])
        missed = [each for each in widget.evaluate(STOPS) if each not in reached and each in stops]
        html = [
            widget.locator(f"[data-stop='{each}']").evaluate("each => each.outerHTML.slice(0, 160)") for each in missed
        ]
        assert html == [], f"{name}: not reached by Tab"
        assert unseen == [], f"{name}: focus is not seen"


def test_what_reacts_to_a_click_has_a_way_by_keyboard(opened: Opened) -> None:
    also = ", ".join(ALSO)
    for name, widget in opened.widgets.items():
        stuck = widget.evaluate(
            """(group, also) => [...group.querySelectorAll('*')].filter((each) => each.clicked && each.checkVisibility() &&
                !each.closest(also) && !(each.tabIndex >= 0 || each.hasAttribute('tabindex')) && !each.matches('label, summary') &&
                !each.querySelector('[tabindex]') && !each.closest('[role=slider], [role=listbox]') && !each.disabled)
                .map((each) => each.outerHTML.slice(0, 160))""",
            also,
        )
        assert stuck == [], name
        # Of many that are one stop of Tab, an arrow key leads to the next.
        roving = widget.evaluate(
            """(group) => [...new Set([...group.querySelectorAll('[tabindex="-1"]')].filter((each) => each.checkVisibility() && !each.closest('svg[aria-hidden]'))
                .map((each) => each.closest('[role=grid], [role=radiogroup], [role=listbox], [role=group]')))].filter(Boolean)
                .map((each, i) => (each.dataset.roving = String(i), String(i)))"""
        )
        for each in roving:
            box = widget.locator(f"[data-roving='{each}']")
            first = box.locator("[tabindex='0']").first
            if not first.count():
                continue
            first.focus()
            ways = box.evaluate("""async (group) => {
                const from = document.activeElement
                for (const key of ['ArrowRight', 'ArrowDown', 'ArrowLeft', 'ArrowUp']) {
                    document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }))
                    if (document.activeElement !== from && group.contains(document.activeElement)) return true
                }
                return false
            }""")
            assert ways, f"{name}: no arrow key moves in {box.evaluate('each => each.outerHTML.slice(0, 200)')}"


def test_a_target_is_large_enough(opened: Opened) -> None:
    """24 × 24 CSS pixels (WCAG 2.2, 2.5.8), but for words in a line of text."""
    for name, widget in opened.widgets.items():
        small = widget.evaluate(
            """(group) => [...group.querySelectorAll('button, input, select, textarea, summary, [role=gridcell], [role=slider]')]
                .filter((each) => each.checkVisibility() && getComputedStyle(each).display !== 'inline' && !each.closest('[aria-hidden=true]'))
                .map((each) => [each, (each.matches('input') && each.closest('label') ? each.closest('label') : each).getBoundingClientRect()])
                .filter(([, box]) => box.width && (box.width < 23.5 || box.height < 23.5))
                .map(([each, box]) => `${Math.round(box.width)} × ${Math.round(box.height)} ${each.outerHTML.slice(0, 140)}`)"""
        )
        assert small == [], name


def test_a_picture_is_named_by_its_numbers(opened: Opened) -> None:
    for name, widget in opened.widgets.items():
        labels = widget.evaluate(
            """(group) => [...group.querySelectorAll('svg, canvas, img')].filter((each) => each.checkVisibility() &&
                !each.closest('[aria-hidden=true]') && each.getAttribute('role') !== 'group' && !each.parentElement.closest('button, svg'))
                .map((each) => each.getAttribute('aria-label') ?? each.getAttribute('alt') ?? each.outerHTML.slice(0, 160))"""
        )
        assert [each for each in labels if not re.search(r"\d", each)] == [], name


def test_it_fits_a_phone_and_a_page_at_200_percent(opened: Opened) -> None:
    """360 px is a phone, and more than a desktop of 1280 px has at 400 %."""
    for name, widget in opened.widgets.items():
        widget.evaluate("group => { group.parentElement.style.width = '360px' }")
    opened.lab.page.wait_for_timeout(1000)
    try:
        wide = {
            name: widget.evaluate("group => [group.scrollWidth, group.clientWidth]")
            for name, widget in opened.widgets.items()
        }
        assert {name: both for name, both in wide.items() if both[0] > both[1] + 1} == {}
    finally:
        for widget in opened.widgets.values():
            widget.evaluate("group => { group.parentElement.style.width = '' }")
        opened.lab.page.wait_for_timeout(300)


def test_nothing_moves_where_motion_is_not_wanted(opened: Opened) -> None:
    opened.lab.page.emulate_media(reduced_motion="reduce")
    moving = opened.lab.page.evaluate(
        """() => [...document.querySelectorAll('.dk *')].filter((each) => {
            const { transitionDuration, transitionProperty, animationName } = getComputedStyle(each)
            return animationName !== 'none' || (transitionProperty !== 'none' && !/^0s(, 0s)*$/.test(transitionDuration))
        }).map((each) => each.outerHTML.slice(0, 120))"""
    )
    opened.lab.page.emulate_media(reduced_motion="no-preference")
    assert moving == []
