"""A view that is removed takes along all that it started: of every widget of the kit, on a bare page.

Before a module loads, the page counts what can outlive a view: observers, listeners on the window, the document and
media queries, intervals, timeouts, frames, sounds, addresses of blobs, and what hears of the model.
"""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

import distilkit as dk
from tests.browser.bare import packed
from tests.test_static import programs
from tests.trust.xss import VIEWS

COUNTED = """
window.alive = new Map();  // what goes on, by its kind: each with how it is named
window.later = new Map();  // timeouts and frames that are still to come
const start = (kind, key, name) => alive.set(key, `${kind} ${name}`);
for (const kind of ["ResizeObserver", "IntersectionObserver", "MutationObserver", "PerformanceObserver"])
  window[kind] = class extends window[kind] {
    observe(...given) { start(kind, this, ""); super.observe(...given); }
    disconnect() { alive.delete(this); super.disconnect(); }
  };
for (const [name, target] of [["window", window], ["document", document], ["media", MediaQueryList.prototype]]) {
  const { addEventListener: add, removeEventListener: remove } = target;
  const key = (kind, f, options) => [name, kind, Boolean(options?.capture ?? options), ids(f)].join();
  const known = new Map();
  const ids = (f) => known.get(f) ?? known.set(f, known.size).get(f);
  target.addEventListener = function (kind, f, options) {
    const own = key(kind, f, options);
    start("listener", own, `${name} ${kind}`);
    options?.signal?.addEventListener("abort", () => alive.delete(own));
    return add.call(this, kind, f, options);
  };
  target.removeEventListener = function (kind, f, options) {
    alive.delete(key(kind, f, options));
    return remove.call(this, kind, f, options);
  };
}
const { setInterval: every, clearInterval: still, setTimeout: after, clearTimeout: forget } = window;
window.setInterval = (...given) => { const id = every(...given); start("interval", `i${id}`, given[1]); return id; };
window.clearInterval = (id) => { alive.delete(`i${id}`); still(id); };
window.setTimeout = (f, ...rest) => {
  const id = after(() => { later.delete(`t${id}`); f(); }, ...rest);
  later.set(`t${id}`, f);
  return id;
};
window.clearTimeout = (id) => { later.delete(`t${id}`); forget(id); };
const { requestAnimationFrame: next, cancelAnimationFrame: not } = window;
window.requestAnimationFrame = (f) => {
  const id = next((now) => { later.delete(`f${id}`); f(now); });
  later.set(`f${id}`, f);
  return id;
};
window.cancelAnimationFrame = (id) => { later.delete(`f${id}`); not(id); };
window.AudioContext = class extends AudioContext {
  constructor(...given) { super(...given); start("sound", this, ""); }
  close() { alive.delete(this); return super.close(); }
};
const { createObjectURL: address, revokeObjectURL: revoke } = URL;
URL.createObjectURL = (blob) => { const url = address.call(URL, blob); start("address", url, blob.type); return url; };
URL.revokeObjectURL = (url) => { alive.delete(url); revoke.call(URL, url); };
"""
REMOVED = """async (state) => {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const unpacked = (value) => Array.isArray(value) ? value.map(unpacked)
    : value?.base64 !== undefined ? bytes(value.base64)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, unpacked(each)]))
      : value;
  const now = unpacked(state);
  const heard = [];
  const model = {
    get: (key) => now[key],
    set: (key, value) => { now[key] = value; },
    on: (events, f) => heard.push([events, f]),
    off: (events, f) => heard.splice(0, heard.length, ...heard.filter(([e, g]) => e !== events || g !== f)),
    send() {}, save_changes() {},
  };
  const url = URL.createObjectURL(new Blob([now._esm], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  URL.revokeObjectURL(url);
  const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const el = document.body.appendChild(document.createElement("div"));
  const end = await widget.render({ model, el });
  await frames();
  const started = { alive: alive.size, heard: heard.length };
  for (const each of el.querySelectorAll("button, input, select, [tabindex='0']")) {
    if (!each.isConnected || each.type === "file") continue;
    if (each.type === "range") each.value = each.max;
    if (each.matches("input, select")) each.dispatchEvent(new Event("input", { bubbles: true }));
    else each.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
  }
  end();
  el.remove();
  // What was to come comes at once; a few turns later, nothing is to come any more.
  for (let turn = 0; turn < 5; turn++) {
    const due = [...later.values()];
    later.clear();
    due.forEach((f) => f(performance.now()));
  }
  const left = [...heard.map(([events]) => `model ${events}`), ...[...later.values()].map((f) => `later ${f}`)];
  return { started, left: [...alive.values(), ...left] };
}"""


def _peaks() -> Any:
    return dk.explore(dk.plots.two_peaks)


def _drawn() -> Any:
    def view(*, power: float = 2.0) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([x**power for x in range(9)])
        return figure

    return dk.explore(view, power=(0.5, 3.0))


EVERY = VIEWS | {"peaks": _peaks, "drawn": _drawn}


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Any]]:
    """What each widget sends its page."""
    found = {}
    for name, make in EVERY.items():
        view = make()
        found[name] = packed(
            {key: value for key, value in view.get_state().items() if key in ("_esm", "_css") or key[0] != "_"}
        ) | {"files": view.files}
        view.close()
    return found


def removed(browser: Browser, state: dict[str, Any]) -> tuple[Page, dict[str, Any], list[str]]:
    page, errors = browser.new_page(), []  # type: Page, list[str]
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.add_init_script(COUNTED)
    page.goto("about:blank")
    found = page.evaluate(REMOVED, state)
    page.wait_for_timeout(50)
    page.close()
    return found, errors


def test_every_program_is_here(states: dict[str, dict[str, Any]]) -> None:
    assert sorted({state["files"] for state in states.values()}) == programs()


@pytest.mark.parametrize("name", EVERY)
def test_nothing_outlives_its_view(browser: Browser, states: dict[str, dict[str, Any]], name: str) -> None:
    found, errors = removed(browser, states[name])
    assert found["left"] == []
    assert errors == []


FORGOTTEN = {
    "clearTimeout(timer)": "signal.addEventListener('abort', () => clearTimeout(timer));",
    "ResizeObserver": "new ResizeObserver(() => {}).observe(el);",
    "interval": "setInterval(() => {}, 1e6);",
    "listener window": "addEventListener('resize', () => {});",
    "listener document": "document.addEventListener('click', () => {}, { capture: true });",
    "listener media": "matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {});",
    "address": "URL.createObjectURL(new Blob(['']));",
    "sound": "new AudioContext();",
    "later": "const again = () => requestAnimationFrame(again); again();",
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_is_forgotten_is_seen(browser: Browser, states: dict[str, dict[str, Any]], what: str) -> None:
    state = states["ask"]
    start = "render({ model, el }) {\n"
    assert state["_esm"].count(f"export default widget({{\n{start}") == 1
    careless = state["_esm"].replace(
        f"widget({{\n{start}", f"widget({{\nrender({{ model, el, signal }}) {{\n{FORGOTTEN[what]}"
    )
    found, errors = removed(browser, state | {"_esm": careless})
    assert any(what in each for each in found["left"]) or any("timer is not defined" in each for each in errors)


def test_a_view_that_fails_leaves_nothing_behind(browser: Browser, states: dict[str, dict[str, Any]]) -> None:
    """What it heard, and what it saw, before its render raised."""
    state = states["watch"]
    failing = state["_esm"].replace('ask("hello");', "document.title = 'reached'; throw new Error('on purpose');")
    assert failing != state["_esm"]
    page = browser.new_page()
    page.add_init_script(COUNTED)
    page.goto("about:blank")
    script = REMOVED.replace(
        "const end = await widget.render({ model, el });",
        "let error; try { widget.render({ model, el }); } catch (raised) { error = String(raised); }\n"
        "return { error, left: [...alive.values(), ...heard] };",
    )
    found = page.evaluate(script, state | {"_esm": failing})
    page.close()
    assert found == {"error": "Error: on purpose", "left": []}
