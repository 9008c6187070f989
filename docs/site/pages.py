"""Static pages of the executed chapters, whose widgets live without a kernel: `make site`, then open the page it names.

    python -m docs.site.pages                build/notebooks → build/site/html; chapters that are missing there or older
                                             than their source are executed first
    python -m docs.site.pages linkcheck      ask every address that the pages link to; this needs a network

A source tree like the repository's is laid out in build/site/source, so that each link of a notebook stays true, and
Sphinx makes pages of it. Each widget of ours carries its own state, which static/host.js brings to life.
"""

from __future__ import annotations

import copy
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from distilkit import plots

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
EXECUTED, SITE = ROOT / "build" / "notebooks", ROOT / "build" / "site"
REPOSITORY = "https://github.com/distilkit/distilkit/blob/v0.1.0"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
SHOWN = ("text/html", "image/png", "text/plain")  # what a page takes of an output, the first there is


def chapters() -> list[Path]:
    """The chapters in reading order; the playground is the last."""
    notebooks = ROOT / "notebooks"
    return [*sorted(notebooks.glob("[0-9]*.ipynb")), *notebooks.glob("playground.ipynb")]


def documents() -> list[Path]:
    """What stands beside the chapters: the glossary, the claims, the stored results, how to go past one machine."""
    return [
        path
        for name in ("notebooks/*.md", "CLAIMS.md", "data/README.md", "docs/*.md")
        for path in sorted(ROOT.glob(name))
    ]


def execute(sources: Iterable[Path], into: Path = EXECUTED) -> list[Path]:
    """Execute what is missing or older than its source, two at a time, as a reader would; where the results are.

    Raises:
        subprocess.CalledProcessError: a cell failed; papermill has said which.
    """
    into.mkdir(parents=True, exist_ok=True)
    out = {source: into / source.name for source in sources}
    stale = [s for s, made in out.items() if not made.exists() or made.stat().st_mtime < s.stat().st_mtime]

    def run(source: Path) -> None:
        print(f"executing {source.name} ...", flush=True)
        command = [sys.executable, "-m", "papermill", source, out[source], "--cwd", source.parent, "-k", "python3"]
        options = ["--no-progress-bar", "--log-level", "ERROR"]
        subprocess.run(
            [*command, *options], check=True, env=os.environ | {"OMP_NUM_THREADS": "1", "DISTILKIT_PROGRESS": ""}
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, stale))
    return list(out.values())


# ── what a page takes of a notebook ──────────────────────────────────────────────────────────────────────────────────


def page(notebook: NotebookNode, name: str) -> NotebookNode:
    """The notebook as its page shows it: widgets of ours with their state, pictures with words, a way to a kernel."""
    notebook = copy.deepcopy(notebook)
    models = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.get("tags", [])})
        if cell.cell_type == "code":
            cell.metadata["mystnb"] = {"image": {"alt": described(cell.source)}}
            if cell.source.startswith("dk.ask("):  # what answers the question is not to be read before it
                cell.metadata.tags = [*cell.metadata.tags, "hide-input"]
            cell.outputs = [shown(output, models) for output in cell.outputs if output.output_type != "error"]
        elif cell.cell_type == "markdown":
            cell.source = linked(cell.source, ROOT / "notebooks")
    elsewhere = re.compile(r"(?:^\[Open (?:on|in) \w+\]\(.*\)\n)+", re.MULTILINE)
    here = f"{{download}}`Download the notebook <../downloads/{name}>`"
    first = notebook.cells[0]
    first.source = elsewhere.sub(lambda links: " · ".join([*links[0].splitlines(), here]) + "\n", first.source, count=1)
    return notebook


def shown(output: NotebookNode, models: dict[str, Any]) -> NotebookNode:
    """An output in one form: a widget of ours, a table, a picture or text. Scripts and markup of others stay out."""
    if "data" not in output:
        return output
    data = dict(output.data)
    model = models.get(data.get(VIEW, {}).get("model_id"))
    if model and "_esm" in model["state"]:
        picture, line = data.get("image/png"), text(data.get("text/plain", ""))
        data = {"text/html": widget(model, line, picture)}
    elif "text/html" in data:  # wider than a phone: it scrolls alone, by the keyboard too
        data["text/html"] = f'<div class="wide" role="group" aria-label="table">{text(data["text/html"])}</div>'
    kind = next((kind for kind in SHOWN if kind in data), None)
    return nbformat.from_dict({**output, "data": {kind: data[kind]} if kind else {}})


def widget(model: dict[str, Any], line: str, picture: str | None) -> str:
    """The place of a widget: its picture and line for whoever has no JavaScript, and the state that replaces them."""
    name = str(model["state"].get("_anywidget_id", "")).rsplit(".", 1)[-1]
    state = json.dumps({"name": name, "state": model["state"], "buffers": model.get("buffers", [])}, sort_keys=True)
    alt = html.escape(line, quote=True)
    still = f'<img src="data:image/png;base64,{picture.strip()}" alt="{alt}">' if picture else f"<pre>{alt}</pre>"
    state = state.replace("<", "\\u003c")  # nothing in it ends the script that carries it
    return f'<div class="widget">{still}<script type="application/json">{state}</script></div>'


def described(source: str) -> str:
    """What the pictures of a cell show, in words: the first sentence of the plot that it calls."""
    names = re.findall(r"dk\.plots\.(\w+)", source)
    drawn = getattr(plots, names[-1], None) if names else None
    return (getattr(drawn, "__doc__", None) or "A picture of what the cell above computes").strip().splitlines()[0]


def text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


# ── the site ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def lay_out(executed: Iterable[Path], source: Path) -> None:
    """The tree that Sphinx reads: index, chapters (as written, if not executed), glossary, documents, downloads."""
    shutil.rmtree(source, ignore_errors=True)
    for folder in ("notebooks", "downloads", "data", "docs"):
        (source / folder).mkdir(parents=True)
    shutil.copy(HERE / "index.md", source)
    for path in documents():
        anchored = re.sub(r'<a id="([\w-]+)"></a>', r"[]{#\1}", path.read_text("utf-8"))  # as MyST writes an anchor
        (source / path.relative_to(ROOT)).write_text(linked(anchored, path.parent), "utf-8")
    for path in ROOT.glob("docs/*.png"):  # Sphinx takes those that a document shows
        shutil.copy(path, source / "docs")
    made, explorer = {path.name: path for path in executed}, ""
    for path in chapters():
        notebook = page(nbformat.read(made.get(path.name, path), as_version=4), path.name)
        nbformat.write(notebook, source / "notebooks" / path.name)
        shutil.copy(path, source / "downloads")
        explorer = explorer or next(widgets(notebook, "Temperature"), "")
    (source / "explorer.html").write_text(explorer, "utf-8")
    (source / "chapters.md").write_text(questions(), "utf-8")


def linked(text: str, home: Path) -> str:
    """Markdown of a file in `home`, whose links to what the site has not lead to the repository."""
    here = {*chapters(), *documents()}

    def to(link: re.Match[str]) -> str:
        target = (home / link[1]).resolve()
        if target in here or target.suffix == ".png" or not target.exists():
            return link[0]
        return f"]({REPOSITORY}/{target.relative_to(ROOT).as_posix()}{link[2] or ''})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)", to, text)


def widgets(notebook: NotebookNode, name: str) -> Iterable[str]:
    """The widgets of this name in a page's notebook."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if f'"name": "{name}"' in (found := output.get("data", {}).get("text/html", "")):
                yield found


def questions() -> str:
    """The README's chapters and their questions, as a table and as the list at the side."""
    rows = re.findall(
        r"^\| \[(.*)\]\(notebooks/(.*)\.ipynb\) \|(.*)\|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE
    )
    table = [f"| [{title}](notebooks/{name}.ipynb) |{question}|" for title, name, question in rows]
    listed = [f"{title} <notebooks/{name}>" for title, name, _ in rows]
    rest = [f"notebooks/{path.stem}" for path in chapters() if f"(notebooks/{path.name})" not in " ".join(table)]
    rest += [path.relative_to(ROOT).with_suffix("").as_posix() for path in documents()]
    lines = [
        "| chapter | question |",
        "|---|---|",
        *table,
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *listed,
        *rest,
        "```",
        "",
    ]
    return "\n".join(lines)


def build(executed: Iterable[Path], into: Path = SITE, builder: str = "html") -> Path:
    """Make the pages, every warning an error; the folder that they are in.

    Raises:
        subprocess.CalledProcessError: Sphinx has found a broken link, a page that is in no list, and said so.
    """
    source, out = into / "source", into / builder
    lay_out(executed, source)
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        builder,
        "-c",
        HERE,
        "-d",
        into / "doctrees",
        "-E",
        "-n",
        "-W",
        "-q",
    ]
    subprocess.run([*command, "--keep-going", source, out], check=True, env=os.environ | {"SOURCE_DATE_EPOCH": "0"})
    for left in (".buildinfo", "objects.inv"):
        (out / left).unlink(missing_ok=True)
    (out / ".nojekyll").touch()  # GitHub Pages: folders whose names begin with _ are part of the site
    return out


def main() -> None:
    builder = sys.argv[1] if len(sys.argv) > 1 else "html"
    out = build(execute(chapters()) if builder == "html" else [], builder=builder)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out / 'index.html'}: {len(list(out.rglob('*.html')))} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
