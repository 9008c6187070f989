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
# What reacts to a click where something else does the same by keyboard.
ALSO = {
    ".dk-watch-panel svg, .dk-pg-chart svg": "the slider “back to step”",
    ".dk-scatter .dk-mark": "the cell of the table beside it",
    ".dk-grid [role=rowheader]": "the cells of the row",
}
# Run before the page: notes which elements listen to a click, and brings what the tests ask of a widget.
HELP = """
const listen = EventTarget.prototype.addEventListener
EventTarget.prototype.addEventListener = function (kind, ...rest) {
  if (this instanceof Element && ["click", "pointerdown"].includes(kind)) this.clicked = true
  return listen.call(this, kind, ...rest)
}
const html = (each) => each.outerHTML.slice(0, 160)
const shown = (each) => each.checkVisibility() && each.getClientRects().length && !each.closest("[aria-hidden=true]")
const all = (group, selector) => [...group.querySelectorAll(selector)].filter(shown)
window.every = {
  // Where Tab must stop: of radio buttons at the one chosen, or the first.
  stops(group) {
    const controls = all(group, "button, input, select, textarea, summary, audio, [tabindex]")
    const able = controls.filter((each) => !each.disabled)
    const own = (each) => `input[type=radio][name="${CSS.escape(each.name)}"]`
    const first = (each) => group.querySelector(`${own(each)}:checked`) ?? group.querySelector(own(each))
    const stops = able.filter((each) => each.tabIndex >= 0 && (each.type !== "radio" || each === first(each)))
    return stops.map((each) => (each.dataset.stop ??= String((window.count = (window.count ?? 0) + 1))))
  },
  // What has the focus, and whether that is seen: at itself, at the text of a radio button, or at its label.
  focused(group) {
    const each = document.activeElement
    if (!group.contains(each) || each === group) return null
    const seen = (one) => {
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one)
      return (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none"
    }
    const around = [each, each.nextElementSibling, each.closest("label")].filter(Boolean)
    return { stop: each.dataset.stop, seen: around.some(seen), html: html(each) }
  },
  // What only a mouse can use.
  stuck(group, also) {
    return [...group.querySelectorAll("*")]
      .filter((each) => each.clicked && shown(each) && !each.disabled && !each.closest(also))
      .filter((each) => each.tabIndex < 0 && !each.hasAttribute("tabindex") && !each.matches("label, summary"))
      .filter((each) => !each.querySelector("[tabindex]") && !each.closest("[role=slider], [role=listbox]")).map(html)
  },
  // Of many that are one stop of Tab, an arrow key leads to another.
  still(group) {
    const holders = all(group, '[tabindex="-1"]').map((each) =>
      each.closest("[role=grid], [role=radiogroup], [role=listbox], [role=group]:not(.dk)"))
    return [...new Set(holders)].filter(Boolean).filter((holder) => {
      const from = all(holder, '[tabindex="0"]')[0]
      if (!from) return false
      from.focus()
      for (const key of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"]) {
        const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })
        document.activeElement.dispatchEvent(event)
        if (document.activeElement !== from && holder.contains(document.activeElement)) return false
      }
      return true
    }).map(html)
  },
  // Smaller than 24 × 24: of what is ticked or chosen its label counts.
  small(group) {
    return all(group, "button, input, select, textarea, summary, [role=gridcell], [role=slider]")
      .filter((each) => getComputedStyle(each).display !== "inline")
      .map((each) => [each, each.matches("[type=radio], [type=checkbox], [type=file]") ? each.closest("label") : null])
      .map(([each, label]) => [each, (label ?? each).getBoundingClientRect()])
      .filter(([, { width, height }]) => width && (width < 23.5 || height < 23.5))
      .map(([each, { width, height }]) => `${Math.round(width)} × ${Math.round(height)} ${html(each)}`)
  },
  pictures(group) {
    return all(group, "svg, canvas, img")
      .filter((each) => each.getAttribute("role") !== "group" && !each.parentElement.closest("button, svg"))
      .map((each) => each.getAttribute("aria-label") ?? each.getAttribute("alt") ?? html(each))
  },
  // What is read or spoken without a mark; a text of several tokens is its model's.
  said(group) {
    const found = []
    const see = (where, text = "") => {
      for (let old; old !== text; ) [old, text] = [text, text.replace(/⟦[^⟦⟧]*⟧/gs, " ")]
      if (/\\p{L}{2,}/u.test(text)) found.push([where, text.trim()])
    }
    const name = (each) => `${each.tagName.toLowerCase()}.${each.getAttribute("class") ?? ""}`
    const theirs = "[data-text], .dk-lens-text, .dk-lens-context, .dk-layers-text, .dk-watch-script"
    const walk = document.createTreeWalker(group, NodeFilter.SHOW_TEXT)
    while (walk.nextNode()) {
      const { parentElement, data } = walk.currentNode
      if (!parentElement.closest(theirs)) see(name(parentElement), data)
    }
    for (const each of [group, ...group.querySelectorAll("*")])
      for (const key of ["aria-label", "aria-description", "aria-valuetext", "title", "placeholder", "alt"])
        see(`${name(each)} ${key}`, each.getAttribute(key) ?? "")
    return found
  },
}"""


class Opened(NamedTuple):
    """A notebook of widgets, by name."""

    lab: Lab
    widgets: dict[str, Locator]

    def ask(self, what: str, *more: str) -> dict[str, list]:
        """What `every` of HELP says of each widget, where it says something."""
        found = {
            name: each.evaluate(f"(group, more) => every.{what}(group, ...more)", more)
            for name, each in self.widgets.items()
        }
        return {name: each for name, each in found.items() if each}


@pytest.fixture(scope="module", params=list(NOTEBOOKS))
def opened(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Opened]:
    lab = Lab(browser, server)
    lab.page.add_init_script(HELP)
    selectors = every(lab, request.param, before=MARKED)
    yield Opened(lab, {name: lab.page.locator(selector) for name, selector in selectors.items()})
    lab.close()
    assert lab.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_barrier(opened: Opened, theme: str) -> None:
    opened.lab.theme(theme)  # type: ignore[arg-type]
    opened.lab.page.wait_for_timeout(500)
    found = barriers(opened.lab.page, ".dk")
    assert found == [], "\n".join(f"{each.rule}: {each.elements[:3]}" for each in found)


def test_all_that_is_said_is_translated(opened: Opened) -> None:
    data = {*opened.lab.python("data()"), *SYMBOLS}
    for name, said in opened.ask("said").items():
        english = [pair for pair in said if not set(re.findall(r"[^\W\d_⁰¹²³⁴-⁹]{2,}", pair[1])) <= data]
        assert english == [], name
    for name, widget in opened.widgets.items():
        assert "⟦" in widget.inner_text() or name in ("ask", "drawn"), name  # all the author's
        assert "undefined" not in widget.inner_html(), name


def test_a_text_that_is_not_marked_is_seen(opened: Opened) -> None:
    widget = next(iter(opened.widgets.values()))
    widget.evaluate("group => group.append(Object.assign(document.createElement('b'), { textContent: 'Plainly so' }))")
    assert ["b.", "Plainly so"] in widget.evaluate("group => every.said(group)")
    widget.evaluate("group => group.lastChild.remove()")


def test_f92_each_control_is_reached_by_tab_and_seen_there(opened: Opened) -> None:
    page = opened.lab.page
    for name, widget in opened.widgets.items():
        stops = widget.evaluate("group => every.stops(group)")
        widget.evaluate("group => { group.tabIndex = -1; group.focus() }")
        reached, unseen = set(), []
        for _ in range(3 * len(stops) + 5):
            page.keyboard.press("Tab")
            at = widget.evaluate("group => every.focused(group)")
            if at is None:
                break
            reached.add(at["stop"])
            if not at["seen"]:
                unseen.append(at["html"])
        left = [
            each for each in widget.evaluate("group => every.stops(group)") if each in stops and each not in reached
        ]
        assert [
            widget.locator(f"[data-stop='{each}']").evaluate("each => each.outerHTML.slice(0, 160)") for each in left
        ] == [], name
        assert unseen == [], name


def test_what_reacts_to_a_click_has_a_way_by_keyboard(opened: Opened) -> None:
    assert opened.ask("stuck", ", ".join(ALSO)) == {}
    assert opened.ask("still") == {}


def test_a_target_is_large_enough(opened: Opened) -> None:
    """24 × 24 CSS pixels (WCAG 2.2, 2.5.8), but for words in a line of text."""
    assert opened.ask("small") == {}


def test_a_picture_is_named_by_its_numbers(opened: Opened) -> None:
    pictures = opened.ask("pictures")
    assert [each for labels in pictures.values() for each in labels if not re.search(r"\d", each)] == []


def test_f92_it_fits_a_phone_and_a_page_at_200_percent(opened: Opened) -> None:
    """360 px are less than a desktop of 1280 px has at 200 %."""

    def width(pixels: str) -> None:
        for widget in opened.widgets.values():
            widget.evaluate("(group, pixels) => { group.parentElement.style.width = pixels }", pixels)
        opened.lab.page.wait_for_timeout(800)

    width("360px")
    sides = "group => [group.scrollWidth, group.clientWidth]"
    wide = {name: widget.evaluate(sides) for name, widget in opened.widgets.items()}
    width("")
    assert {name: both for name, both in wide.items() if both[0] > both[1] + 1} == {}


def test_nothing_moves_where_motion_is_not_wanted(opened: Opened) -> None:
    opened.lab.page.emulate_media(reduced_motion="reduce")
    moving = opened.lab.page.evaluate(
        """() => [...document.querySelectorAll(".dk *")].filter((each) => {
            const { transitionDuration, transitionProperty, animationName } = getComputedStyle(each)
            const turns = transitionProperty !== "none" && !/^0s(, 0s)*$/.test(transitionDuration)
            return turns || animationName !== "none"
        }).map((each) => each.outerHTML.slice(0, 120))"""
    )
    opened.lab.page.emulate_media(reduced_motion="no-preference")
    assert moving == []
