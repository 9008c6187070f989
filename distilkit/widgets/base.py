"""What every widget shares: its files joined into one module, and a picture and a line where widgets cannot run."""

from __future__ import annotations

import base64
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import anywidget
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from distilkit.words import catalogue, language

STATIC = Path(__file__).parent / "static"
PICTURE_BYTES = 12_000  # a picture is read at a glance, and stored in every saved notebook


def static(*names: str) -> str:
    """Join files of ``static/``: one ES module (or style sheet) without relative imports, comment lines, indentation.

    >>> static("maths.js").startswith("export const sum")
    True
    """
    text = "\n".join((STATIC / name).read_text("utf-8") for name in names)
    text = re.sub(r'^import [^;]* from "\./[^"]*";$', "", text, flags=re.MULTILINE)
    return re.sub(r"^[ \t]*(//.*)?\n|^[ \t]+", "", text, flags=re.MULTILINE)


class Widget(anywidget.AnyWidget):
    """An anywidget that carries a picture (`figure`) and a line of numbers (`line`) for GitHub, nbviewer and PDF."""

    _esm: str
    _ipython_display_ = None  # the one of ipywidgets 7 would leave the picture out

    def __init__(self, **shown: Any) -> None:
        if said := catalogue(language()):
            own = {english: words for english, words in said.items() if f'"{english}"' in self._esm}
            self._esm = f"const WORDS = {json.dumps(own, ensure_ascii=False)};\n{self._esm}"
        super().__init__(**shown)
        self.on_msg(self._on_message)

    def figure(self) -> Figure | None:
        """The picture that stands in for the widget, at its present setting."""
        return None

    def line(self) -> str:
        """The numbers in the picture, as one line of text."""
        return type(self).__name__

    def get_state(self, *given: Any, **more: Any) -> dict[str, Any]:
        """What the page is told, as it can be sent."""
        return sendable(super().get_state(*given, **more))

    def send(self, content: Any, buffers: Any = None) -> None:
        """Send the page a message, as it can be sent."""
        super().send(sendable(content), buffers)

    def _on_message(self, _: Any, content: Any, buffers: list[Any]) -> None:
        """Do what the page asks for; a callback has nobody to raise to, so that the page says what went wrong."""
        try:
            self._asked(content if isinstance(content, dict) else {}, buffers)
        except Exception as error:
            self.send({"kind": "error", "text": f"{error}"[:1000] or type(error).__name__})

    def _asked(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """What the page asks for."""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        data = {**data, "text/plain": sendable(self.line())}
        if (figure := self.figure()) is not None:
            data["image/png"] = base64.b64encode(png(figure)).decode("ascii")
        return data, metadata


def sendable(value: Any) -> Any:
    r"""`value` with a question mark for every half of a letter (a lone surrogate), which no message can carry.

    >>> sendable({"names": ["\ud800x", "é"]})
    {'names': ['?x', 'é']}
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {sendable(key): sendable(each) for key, each in value.items()}
    return [sendable(each) for each in value] if isinstance(value, list | tuple) else value


def png(figure: Figure, *, limit: int = PICTURE_BYTES) -> bytes:
    """`figure` as a PNG of at most `limit` bytes: 32 colours, and the finest resolution that fits."""
    for text in figure.findobj(Text):
        text.set_text(sendable(text.get_text()))  # half a letter cannot be drawn
    for dpi in (144, 110, 90, 72, 60, 48, 36):
        drawn, small = io.BytesIO(), io.BytesIO()
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # a letter that the font lacks is a box
            figure.savefig(drawn, format="png", dpi=dpi)
        Image.open(drawn).convert("RGB").quantize(32).save(small, "PNG", optimize=True)
        if small.tell() <= limit:
            break
    return small.getvalue()
