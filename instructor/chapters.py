"""What the chapters and the pages beside this file say: read, never copied."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
SOLUTIONS = ROOT / "notebooks" / "solutions"


def chapter(name: str) -> Path:
    """The notebook of a number or a name: "03", "03_alpha" and "playground" are found.

    Raises:
        SystemExit: none, or more than one, with the names there are.

    >>> chapter("03").name
    '03_alpha.ipynb'
    """
    there = chapters()
    found = [path for path in there if name in (path.stem, path.stem[:2])]
    if len(found) != 1:
        raise SystemExit(f"there is no chapter {name!r}; there are {', '.join(path.stem for path in there)}")
    return found[0]


def chapters() -> list[Path]:
    """Every notebook, in reading order; the playground last."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def title(notebook: NotebookNode) -> str:
    return re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE)[1]


def claim(notebook: NotebookNode) -> str:
    """The sentence in bold that the chapter opens with."""
    return re.search(r"\*\*(.+?)\*\*", notebook.cells[0].source, re.DOTALL)[1]


def minutes(notebook: NotebookNode) -> int:
    return int(re.search(r"About (\d+) minutes", notebook.cells[0].source)[1])


def sections(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """The cells by their heading; before the first it is "". A cell with a heading inside is cut."""
    found: dict[str, list[NotebookNode]] = {"": []}
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            found[heading].append(cell)
            continue
        for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
            if headed := re.match(r"## (.+)\n?", part):
                heading, part = headed[1].strip(), part[headed.end() :]
                found.setdefault(heading, [])
            if part.strip():
                found[heading].append(nbformat.v4.new_markdown_cell(part.strip()))
    return found


@dataclass(frozen=True)
class Question:
    """One `dk.ask`: what is asked, what each choice is answered with, and which is right."""

    text: str
    choices: dict[str, str]
    right: str


def questions(notebook: NotebookNode) -> list[Question]:
    """What the chapter asks before it shows the answer."""
    found = []
    for call in _calls(notebook, "ask"):
        answer = {keyword.arg: keyword.value for keyword in call.keywords}.get("answer")
        if len(call.args) == 2 and answer is not None:
            text, choices = (ast.literal_eval(argument) for argument in call.args)
            found.append(Question(text, choices, ast.literal_eval(answer)))
    return found


def exercises(notebook: NotebookNode) -> dict[str, str]:
    """What the reader writes, by name: the function's first lines, down to its comment.

    >>> print(exercises(read(chapter("04")))["reverse_kl"])
    def reverse_kl(student_logits, teacher_logits):
        # KL(student ‖ teacher), in nats.
    """
    names = [ast.literal_eval(call.args[0]) for call in _calls(notebook, "check")]
    stubs = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.FunctionDef) and node.name in names:
                    lines = cell.source.splitlines()[node.lineno - 1 : node.body[-1].lineno - 1]
                    stubs[node.name] = "\n".join(lines)
    return {name: stubs[name] for name in names}


def solution(name: str) -> str:
    """One way to write it, as the body of the function: its imports, then its lines, indented by four."""
    source = (SOLUTIONS / f"{name}.py").read_text("utf-8")
    lines, module = source.splitlines(), ast.parse(source)
    (function,) = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    imports = [f"    {lines[node.lineno - 1]}" for node in module.body if node is not function]
    return "\n".join([*imports, *lines[function.body[0].lineno - 1 :]])


def _calls(notebook: NotebookNode, verb: str) -> list[ast.Call]:
    """Every `dk.<verb>(…)` of the notebook."""
    return [
        node
        for cell in notebook.cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == verb
    ]


# ------------------------------------------------------------------------------------------------- the pages beside


@dataclass(frozen=True)
class Page:
    """An instructor's page: goals, minutes and words for each section, questions, exercises, codes."""

    goals: list[str]
    minutes: dict[str, int]
    words: dict[str, str]
    questions: dict[str, str]
    exercises: dict[str, str]
    codes: list[str]


def page(name: str) -> Page:
    """The page of a chapter, taken apart at its headings."""
    text = (Path(__file__).parent / f"{name}.md").read_text("utf-8")
    parts = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    rows = re.findall(r"^\| ([^|]+?) \| (\d+) \| (.*?) \|$", parts["Minutes"], re.MULTILINE)
    return Page(
        goals=re.findall(r"^\d\. (.+)$", parts["Goals"], re.MULTILINE),
        minutes={section: int(length) for section, length, _ in rows},
        words={section: words for section, _, words in rows},
        questions=_under(parts["Questions"]),
        exercises={name.strip("`"): words for name, words in _under(parts.get("Exercises", "")).items()},
        codes=codes(text),
    )


def codes(text: str) -> list[str]:
    """The share codes in a page: what stands in `dk.playground("…")`."""
    return re.findall(r"dk\.playground\(\"([^\"…]+)\"\)", text)


def _under(part: str) -> dict[str, str]:
    return {head: words.strip() for head, words in re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", part, re.M | re.S)}
