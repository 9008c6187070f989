"""Slides of the chapters, made of the executed notebooks: title, question, formula, pictures, claim, recap.

    python -m instructor.slides 03 -o build/slides     (make slides: every chapter that make notebooks has executed)

Which cells become slides is a rule, `deck`; what to say beside each is in the pages of this folder and shown in the
speaker's view (key S). Nothing is fetched when they are shown: reveal.js lies beside them, formulas are MathML.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import io
import itertools
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from instructor.chapters import (
    ROOT,
    Page,
    Question,
    chapter,
    claim,
    exercises,
    minutes,
    page,
    questions,
    read,
    sections,
    title,
)

# The wheel of this package carries reveal.js as it is; nothing else of it is used.
CARRIER, SHA256 = "sphinx-revealjs==3.2.1", "805bed3ca459346e0f01967d5ed1c40d6b7b917de1541e1e4566c8341fe7017b"
INSIDE = "sphinx_revealjs/_static/revealjs/"
LONG = 420  # letters, from which a slide is set smaller
FITS = 48  # signs of a formula in a line
WIDE = 1200  # pixels, from which a flat picture is cut in two
MOST = 330  # letters of running text on a slide


def deck(notebook: NotebookNode, beside: Page) -> NotebookNode:
    """The slides of an executed chapter as a notebook of nbconvert's: a slide, then its notes, then the next slide."""
    found = sections(notebook)
    cells: list[NotebookNode] = []

    def slide(text: str, notes: str = "", png: str = "", alt: str = "") -> None:
        text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)  # a link leads nowhere from here
        wrapped = f'<div class="long">\n\n{text}\n\n</div>' if len(re.sub(r"<[^>]+>", "", text)) > LONG else text
        cell = nbformat.v4.new_markdown_cell(wrapped, metadata={"slideshow": {"slide_type": "slide"}})
        if png:
            cell.source += f"\n\n![{_plain(alt)}](attachment:picture.png)"
            cell.attachments = {"picture.png": {"image/png": png}}
        cells.append(cell)
        if notes:
            cells.append(nbformat.v4.new_markdown_cell(notes, metadata={"slideshow": {"slide_type": "notes"}}))

    def ask(asked: Question, head: str, notes: str = "") -> None:
        slide(f"## {head}\n\n{asked.text}\n\n" + "\n".join(f"- {choice}" for choice in asked.choices), notes)
        marked = [(f"**✓ {c}.**" if c == asked.right else f"{c}.", answer) for c, answer in asked.choices.items()]
        slide(f"## {head}: the answers\n\n" + "\n".join(f"- {choice} {answer}" for choice, answer in marked))

    def said(section: str) -> str:
        return beside.words.get(section, "")

    goals = "\n".join(f"- {goal}" for goal in beside.goals)
    slide(f"# {title(notebook)}\n\n{mathml(claim(notebook))}", f"About {minutes(notebook)} minutes alone.\n\n{goals}")
    first, *later = questions(notebook)
    ask(first, "Predict", said("Predict"))
    if formulas := _formulas(found.get("Derive", [])):
        slide(f"## Derive\n\n{formulas}", said("Derive"))
    for section in ("Play", "Measure"):
        if picture := _picture(found.get(section, [])):
            for place, half in enumerate(_halves(picture[0])):
                slide(f"## {section}", said(section) if not place else "", half, picture[1])
    cells_of_claim = [cell for cell in notebook.cells if "claim" in cell.metadata.get("tags", [])]
    printed = "".join(o.text for cell in cells_of_claim for o in cell.outputs if o.output_type == "stream")
    lines = html.escape("\n".join(printed.splitlines()[:8]))
    slide(f"## Claim\n\n{mathml(claim(notebook))}" + (f"\n\n<pre>{lines}</pre>" if lines else ""), said("Claim"))
    broken = [cell.source for cell in found.get("Break it", []) if cell.cell_type == "markdown"]
    if broken:
        slide("## Break it\n\n" + "\n\n".join(_first(text) for text in (broken[0], *broken[1:][-1:])), said("Break it"))
    for asked in later:
        ask(asked, "And now")
    for question, answers in beside.questions.items():
        slide(f'<p class="asked">{question}</p>', answers)
    recap = next((cell.source for cell in found.get("Recap", [])), "")
    slide("## Recap\n\n" + mathml("\n".join(re.findall(r"^- .+$", recap, re.MULTILINE))), said("Recap"))
    if names := exercises(notebook):
        slide("## Yours to write\n\n" + "\n".join(f"- `{name}`" for name in names), said("Exercises"))
    return nbformat.v4.new_notebook(cells=cells, metadata={"title": title(notebook)})


def _formulas(cells: list[NotebookNode]) -> str:
    """The formulas of a section that stand on lines of their own; where there are none, how its words begin."""
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    displayed = re.findall(r"\$\$.+?\$\$", text, re.DOTALL)
    if not displayed:
        return _first(text)
    lines = [line for each in displayed[:2] for line in re.split(r",?\s*\\qquad", each.strip("$"))]
    lines = [part for line in lines for part in (re.split(r"(?==)", line, maxsplit=1) if _width(line) > 70 else [line])]
    scale = min(1.0, FITS / max(map(_width, lines)))
    return f'<div style="font-size: {scale:.2f}em">{"".join(mathml(f"$${line.strip()}$$") for line in lines)}</div>'


def _width(formula: str) -> int:
    """About how many signs wide a formula is drawn."""
    shown = re.sub(r"\\(text|mathrm|mathbb|mathcal|underbrace|big|[bh]at|bar|left|right)\b", "", formula)
    return len(re.sub(r"[{}_^\\,;\s]", "", re.sub(r"\\(?!log|exp|max|min)[a-zA-Z]+", "x", shown)))


def _picture(cells: list[NotebookNode]) -> tuple[str, str] | None:
    """The first picture that the cells show, and what it says in words."""
    for cell in cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                words = output.data.get("text/plain", "")
                return output.data["image/png"], "" if words.startswith("<") else words
    return None


def _halves(png: str) -> list[str]:
    """A picture, or, where it is so wide that nobody in the last row could read it, its two halves."""
    from PIL import Image

    whole = Image.open(io.BytesIO(base64.b64decode(png)))
    if whole.width < WIDE or whole.width < 3 * whole.height:
        return [png]
    shades = [whole.convert("L").crop((x, 0, x + 1, whole.height)).getextrema()[0] for x in range(whole.width)]
    middle = range(int(0.4 * whole.width), int(0.6 * whole.width))
    runs = [[*run] for blank, run in itertools.groupby(middle, key=lambda x: shades[x] > 250) if blank]
    if not runs:
        return [png]
    gap = max(runs, key=len)
    halves = []
    for left, right in ((0, gap[len(gap) // 2]), (gap[len(gap) // 2], whole.width)):
        file = io.BytesIO()
        whole.crop((left, 0, right, whole.height)).save(file, "PNG")
        halves.append(base64.b64encode(file.getvalue()).decode())
    return halves


def _first(text: str) -> str:
    """The first sentences of a text, as many as a slide holds."""
    paragraphs = [each for each in text.split("\n\n") if not each.startswith(("$$", "```", "- ", "|"))]
    kept = ""
    for sentence in re.split(r"(?<=[.?!:]) +(?=[A-Z*`])", " ".join(" ".join(paragraphs).split())):
        if kept and len(kept) + len(sentence) > MOST:
            break
        kept += f"{sentence} "
    return mathml(kept.strip())


def mathml(text: str) -> str:
    """Markdown whose formulas, between $ or $$, are MathML: every browser draws it by itself.

    >>> mathml("as $T$ grows")
    'as <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>T</mi></mrow></math> grows'
    """
    from latex2mathml.converter import convert

    def drawn(found: re.Match[str]) -> str:
        formula = found[1] or found[2]
        formula = formula.replace(r"\operatorname*{arg\,max}", r"\mathrm{arg\,max}").replace(r"\\alpha", r"\alpha")
        formula = re.sub(r"\\(mathbb|mathcal) ([A-Z])", r"\\\1{\2}", formula)
        formula = re.sub(r"\\log(?=\s*[a-z\\])", r"\\log\\,", formula)
        return convert(" ".join(formula.split()), display="block" if found[1] else "inline")

    return re.sub(r"\$\$(.+?)\$\$|\$([^$\n]+(?:\n[^$\n]+)?)\$", drawn, text, flags=re.DOTALL)


def _plain(text: str) -> str:
    return re.sub(r"[\[\]\n`]", " ", text)


def reveal(out: Path) -> str:
    """Lay reveal.js beside the slides and return its folder; where it cannot be had, an address on the network."""
    from nbconvert.exporters import SlidesExporter

    if (out / "reveal.js" / "dist" / "reveal.js").is_file():
        return "reveal.js"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, CARRIER]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = [path.read_bytes() for path in Path(folder).glob("*.whl")]
    if done.returncode or not wheels or hashlib.sha256(wheels[0]).hexdigest() != SHA256:
        print(f"reveal.js ({CARRIER}) could not be had: the slides will fetch it from the network when they are shown")
        return SlidesExporter().reveal_url_prefix
    with zipfile.ZipFile(io.BytesIO(wheels[0])) as wheel:
        for name in wheel.namelist():
            if name.startswith((f"{INSIDE}dist/", f"{INSIDE}plugin/notes/", f"{INSIDE}LICENSE")):
                target = out / "reveal.js" / name.removeprefix(INSIDE)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(wheel.read(name))
    return "reveal.js"


def rendered(slides: NotebookNode, prefix: str) -> str:
    """The slides as one page of HTML; `prefix` is where it finds reveal.js."""
    from nbconvert.exporters import SlidesExporter

    exporter = SlidesExporter(
        template_name="deck",
        extra_template_basedirs=[str(Path(__file__).parent)],
        reveal_url_prefix=prefix,
        reveal_theme="white",
    )
    return exporter.from_notebook_node(slides)[0]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m instructor.slides", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers or names; none means every chapter that was executed")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "build" / "slides")
    parser.add_argument("--executed", type=Path, default=ROOT / "build" / "notebooks", help="the executed notebooks")
    given = parser.parse_args(arguments)
    executed = {path.stem: path for path in sorted(given.executed.glob("[0-9]*.ipynb")) if "." not in path.stem}
    names = [chapter(name).stem for name in given.chapters] or list(executed)
    if missing := [name for name in names if name not in executed] or not names:
        raise SystemExit(f"not executed yet: {missing if names else 'any chapter'}. Run make notebooks first")
    given.out.mkdir(parents=True, exist_ok=True)
    prefix, links = reveal(given.out), []
    for name in names:
        slides = deck(read(executed[name]), page(name))
        (given.out / f"{name}.html").write_text(rendered(slides, prefix), "utf-8")
        links.append(f'<li><a href="{name}.html">{html.escape(slides.metadata.title)}</a></li>')
        print(f"{given.out / name}.html")
    index = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Slides</title><ul>{"".join(links)}</ul></html>'
    )
    (given.out / "index.html").write_text(index, "utf-8")


if __name__ == "__main__":
    main()
