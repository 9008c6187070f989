"""What every widget shares: its program and style out of files, and a picture and a line where widgets cannot run."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import threading
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

import anywidget
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from distilkit.errors import BadFile
from distilkit.words import catalogue, language

STATIC = Path(__file__).parent / "static"
IMPORT = re.compile(r'import \{ \w+(?:, \w+)* \} from "\./(\w+)\.js";')
PICTURE_BYTES = 12_000  # a picture is read at a glance, and stored in every saved notebook


def module(name: str) -> str:
    """Join the module ``static/{name}.js`` and all that it imports into one ES module, for a page that has no files.

    >>> text = module("tour")
    >>> text.index("export const clamp") < text.index("export const say") < text.index("export default")
    True
    """
    return "\n".join(_modules(name, {}).values())


def _modules(name: str, found: dict[str, str]) -> dict[str, str]:
    """Add the text of a module to those `found`, after all that it imports."""
    body = []
    for line in _lines(f"{name}.js"):
        if not re.match(r"import\b", line):
            body.append(line)
        elif not (imported := IMPORT.fullmatch(line)):
            raise BadFile(f'{name}.js: a widget imports by lines like import {{ a, b }} from "./file.js"; got {line}')
        elif imported[1] not in found:
            _modules(imported[1], found)
    found[name] = "\n".join(body)
    return found


def _lines(file: str) -> list[str]:
    """Read the lines of a file of ``static/`` that a page needs: no comments, no indentation."""
    lines = [line.strip() for line in (STATIC / file).read_text("utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("//")]


class Widget(anywidget.AnyWidget):
    """An anywidget that carries a picture (`figure`) and a line of numbers (`line`) for GitHub, nbviewer and PDF.

    A widget reads its files when it is made. With ANYWIDGET_HMR=1 in the environment, open ones follow every edit.

    Attributes:
        files: the name of its program and its style sheet in ``static/``.
    """

    files: str
    _ipython_display_ = None  # the one of ipywidgets 7 would leave the picture out

    def __init__(self, **shown: Any) -> None:
        self._load()
        super().__init__(**shown)
        self.on_msg(self._on_message)
        if os.environ.get("ANYWIDGET_HMR") == "1":
            threading.Thread(target=_follow, args=(weakref.ref(self), _edited()), daemon=True).start()

    def _load(self) -> None:
        """Read program and style sheet, with those of the words that it says in the reader's language."""
        program, words = module(self.files), catalogue(language())
        if words:
            own = {english: said for english, said in words.items() if f'"{english}"' in program}
            program = f"const WORDS = {json.dumps(own, ensure_ascii=False)};\n{program}"
        self._esm, self._css = program, "\n".join(_lines("base.css") + _lines(f"{self.files}.css"))

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


def _follow(widget: weakref.ref[Widget], loaded: int) -> None:
    """Load a widget's files again whenever one of them is edited, as long as the widget is open."""
    while (found := widget()) is not None and found.comm is not None:
        if (edited := _edited()) != loaded:
            found._load()
        loaded, found = edited, None
        time.sleep(0.2)


def _edited() -> int:
    """When a file of ``static/`` was edited last."""
    return max(file.stat().st_mtime_ns for file in STATIC.iterdir())


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
