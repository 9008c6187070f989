"""A widget on a bare page, where no kernel answers: what the fixture `mount` does.

page = mount(widget, width=360)     the widget's own module and style, and a stand-in for anywidget's model
page.evaluate("values()")           what the kernel would hear
"""

from __future__ import annotations

import base64
from typing import Any

from playwright.sync_api import Page

MOUNT = """async (state) => {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const unpacked = (value) =>
    Array.isArray(value) ? value.map(unpacked)
    : value?.base64 !== undefined ? bytes(value.base64)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, unpacked(each)]))
      : value;
  state = unpacked(state);
  const hear = {};
  const model = {
    get: (key) => state[key],
    set: (key, value) => { state[key] = value; (hear["change:" + key] ?? []).forEach((f) => f()); },
    on: (event, f) => (hear[event] ??= []).push(f),
    off: (event, f) => (hear[event] = (hear[event] ?? []).filter((each) => each !== f)),
    send() {}, save_changes() {},
  };
  const css = document.head.appendChild(document.createElement("style"));
  css.textContent = state._css;
  const url = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  window.values = () => state.values;
  await widget.render({ model, el: document.body });
}"""
FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
BLANK = '<!doctype html><body data-jp-theme-light="true">'
BYTES = "base64"
SHARED = "layout", "tooltip", "tabbable"  # traits of every widget


def mounted(page: Page, widget: Any = None) -> Page:
    """The page, bare but for the widget."""
    page.set_content(BLANK)
    if widget is not None:
        page.evaluate(MOUNT, sent(widget))
        page.evaluate(FRAME)
    return page


def sent(widget: Any) -> dict[str, Any]:
    """The state that the page gets, its bytes as base64."""
    return packed(
        {
            key: value
            for key, value in widget.get_state().items()
            if key in ("_esm", "_css") or (key[0] != "_" and key not in SHARED)
        }
    )


def packed(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {BYTES: base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(key): packed(each) for key, each in value.items()}
    return [packed(each) for each in value] if isinstance(value, list | tuple) else value
