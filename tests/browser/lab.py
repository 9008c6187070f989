"""Drive a real JupyterLab from a test: `Server` is the process, `Lab` one page of it with one notebook.

    def test_slider(lab):
        lab.open("import ipywidgets", "slider = ipywidgets.IntSlider()\\nslider")
        lab.run()                                    # all cells; raises with the traceback where one failed
        handle = lab.output(1).get_by_role("slider") # a Playwright locator inside the output of cell 1 (from 0)
        handle.press("ArrowRight")
        assert lab.python("slider.value") == 1       # asked of the kernel, as JSON

    lab.page            Playwright's page: resize it with lab.page.set_viewport_size({"width": 360, "height": 640})
    lab.theme("dark")   or "light", the way a reader would change it
    lab.shots(locator, "explorer")       PNGs of both themes
    lab.run(wait=False) starts; lab.idle() waits for the end
    lab.shot(locator, "explorer-dark")   PNG in build/screenshots/, its path returned
    lab.errors          console errors and uncaught exceptions so far; the fixture asserts that none is left

`lab.open` also takes one Path to a notebook that exists: a chapter is copied, never changed.
"""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import nbformat
from playwright.sync_api import Browser, Dialog, Locator

ROOT = Path(__file__).parents[2]
VIEWPORT = {"width": 1280, "height": 900}
PATIENCE = 120  # seconds, for a kernel that imports torch on a busy machine

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # every output is on the page
}

# What is saved may be left without a question.
FORGET = """async () => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel
    if (kernel?.status !== 'idle') return false
    const code = "__import__('ipywidgets').Widget.close_all(); get_ipython().reset()"
    await kernel.requestExecute({ code, silent: true, store_history: false }).done
    await jupyterapp.commands.execute('docmanager:save')
    return true
}"""

# Console errors that are not ours; each line says whose.
ALLOWED = (
    "[anywidget] Failed to initialize model.",  # its own, where a module takes 2 s to load; the view comes all the same
    "Could not restore the debugger state: Canceled future",  # JupyterLab's, where the kernel of a page is shut down
)


class Server:
    """A JupyterLab of its own: free port, no token, empty settings, `folder/root` as its files."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        config = folder / "config" / "labconfig"
        config.mkdir(parents=True)
        (config / "default_setting_overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
        self.log = folder / "log.txt"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": self.url.rsplit(":", 1)[1],
            "ServerApp.port_retries": "0",
            "ServerApp.root_dir": str(self.root),
            "ServerApp.disable_check_xsrf": "True",
            "IdentityProvider.token": "",
            "LabApp.expose_app_in_browser": "True",
            "LabApp.user_settings_dir": str(folder / "settings"),
            "LabApp.workspaces_dir": str(folder / "workspaces"),
        }
        self._command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        self._command += [f"--{name}={value}" for name, value in options.items()]
        self._environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(config.parent),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
        }

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.ask("api/status")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
            else:
                return self
        self.__exit__(None, None, None)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text(encoding='utf-8')[-2000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, path: str, method: str = "GET") -> Any:
        """The answer of the server's REST API, as JSON."""
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{path}", method=method)) as reply:
            text = reply.read()
        return json.loads(text) if text else None


class Lab:
    """One page of JupyterLab. See the top of this file."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self.server = server
        self.errors: list[str] = []
        self._opened = 0
        self._context = browser.new_context(viewport=VIEWPORT)
        self.page = self._context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("console", lambda line: self._note(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.dialogs: list[str] = []  # what a page has said in one, which no text may
        self.page.on("dialog", self._answer)

    def open(self, *cells: str | Path) -> None:
        """Open a new notebook of these code cells, or a copy of one that exists, and wait for its kernel.

        The first of a test has the kernel that the one before has left.
        """
        if isinstance(cells[0], Path):
            notebook = nbformat.read(cells[0], as_version=4)
        else:
            notebook = nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_code_cell(source) for source in cells],
                metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            )
        name = f"test-{self._opened}.ipynb"
        self._opened += 1
        nbformat.write(notebook, self.server.root / name)
        self.page.set_viewport_size(VIEWPORT)
        self.page.goto(f"{self.server.url}/lab/tree/{name}?reset")
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=PATIENCE * 1000,
        )

    def run(self, *, wait: bool = True) -> None:
        """Run all cells; with wait, until the last has ended, and raise if one of them failed."""
        self.page.evaluate(
            """() => {
                window.running = (window.running ?? 0) + 1
                jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.running -= 1 })
            }"""
        )
        if not wait:
            return
        self.idle()
        failed = self.page.locator(
            ".jp-CodeCell .jp-OutputArea [data-mime-type='application/vnd.jupyter.error'],"
            ".jp-CodeCell .jp-OutputArea [data-mime-type='application/vnd.jupyter.stderr']"
        )
        assert failed.count() == 0, failed.first.inner_text()

    def idle(self, seconds: float = PATIENCE) -> None:
        """Wait until every cell that was started has ended."""
        self.page.wait_for_function(
            "() => !window.running && jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'",
            timeout=seconds * 1000,
        )

    def output(self, cell: int) -> Locator:
        """The output area of a cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-Cell-outputArea")

    def python(self, expression: str) -> Any:
        """The value of an expression in the notebook's kernel; it must be JSON."""
        reply = self.page.evaluate(
            """async value => {
                const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel
                const { content } = await kernel.requestExecute(
                    { code: '', silent: true, store_history: false, user_expressions: { value } }).done
                return content.user_expressions.value
            }""",
            f"__import__('json').dumps({expression})",
        )
        if reply["status"] != "ok":
            raise RuntimeError(f"{expression}: {reply['ename']}: {reply['evalue']}")
        return json.loads(ast.literal_eval(reply["data"]["text/plain"]))

    def becomes(self, expression: str, value: Any, seconds: float = 20) -> bool:
        """Whether the expression takes this value within so many seconds: what a control sends is on its way."""
        end = time.monotonic() + seconds
        while (found := self.python(expression)) != value and time.monotonic() < end:
            self.page.wait_for_timeout(50)
        return bool(found == value)

    def theme(self, name: Literal["light", "dark"]) -> None:
        """Change JupyterLab's theme and wait until the page wears it."""
        self.page.evaluate(
            "theme => { jupyterapp.commands.execute('apputils:change-theme', { theme }) }",
            f"JupyterLab {name.title()}",
        )
        self.page.locator(f"body[data-jp-theme-light='{str(name == 'light').lower()}']").wait_for(state="attached")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")  # JupyterLab knows no two changes at once

    def shots(self, what: Locator, name: str) -> None:
        """Screenshots in both themes; at the end it is the light one, in which each test begins."""
        for theme in ("dark", "light"):
            self.theme(theme)
            self.shot(what, f"{name}_{theme}")

    @staticmethod
    def shot(what: Locator, name: str) -> Path:
        """A screenshot of one element, in build/screenshots."""
        path = ROOT / "build" / "screenshots" / f"{name}.png"
        what.scroll_into_view_if_needed()
        what.screenshot(path=path)
        return path

    @staticmethod
    def fits(group: Locator, width: int = 360) -> None:
        """Fail if a group stays wider than this, the phone's without a word, or scrolls sideways."""
        group.page.wait_for_timeout(500)  # it draws anew for another width
        end = time.monotonic() + 10
        while True:
            wide, full, shown = group.evaluate("group => [group.offsetWidth, group.scrollWidth, group.clientWidth]")
            if (wide <= width + 1 and full <= shown + 1) or time.monotonic() > end:
                break
            group.page.wait_for_timeout(100)
        assert wide <= width + 1
        assert full <= shown + 1

    def clear(self) -> None:
        """Forget the test: its widgets are closed and its names gone. The kernel stays, with all that it has imported.

        Where the test had several, or has left it at work or for another page, all kernels end instead.
        """
        if self._opened != 1 or not self.page.evaluate(FORGET):
            self._end()
        self.page.goto("about:blank")  # what a page says of widgets that are taken from under it is no test's error
        self._opened = 0
        self.errors.clear()
        self.dialogs.clear()

    def close(self) -> None:
        """Close the page, and end its kernel."""
        self._context.close()
        self._end()

    def _end(self) -> None:
        for session in self.server.ask("api/sessions"):
            self.server.ask(f"api/sessions/{session['id']}", "DELETE")

    def _answer(self, dialog: Dialog) -> None:
        """JupyterLab asks before it is left while it still saves: unanswered, the page would stay."""
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            self.dialogs.append(dialog.message)
            dialog.dismiss()

    def _note(self, text: str) -> None:
        if not any(allowed in text for allowed in ALLOWED):
            self.errors.append(text)
