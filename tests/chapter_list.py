"""`distilkit/chapters.json` has what the map shows of each chapter, from the notebooks; its part and question by hand.

python -m tests.chapter_list      write it again, after a title, a question or an exercise has changed
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[1]
LIST = ROOT / "distilkit" / "chapters.json"


def listed() -> list[dict[str, Any]]:
    """The chapters as they are listed."""
    return json.loads(LIST.read_text("utf-8"))


def found(chapter: dict[str, Any]) -> dict[str, Any]:
    """A chapter's entry as its notebook has it."""
    path = ROOT / "notebooks" / f"{chapter['name']}.ipynb"
    if not path.exists():
        return chapter
    cells = nbformat.read(path, as_version=4).cells
    opening = cells[0].source
    title = re.search(r"^# ([^:?]+\??)", opening, re.MULTILINE)
    short = title[1].strip() if title else chapter["title"]
    minutes = re.search(r"About (\d+) minutes", opening)
    code = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code" and not cell.source.startswith("%")]
    return chapter | {
        "title": short if len(short) < 25 else chapter["name"][3:].replace("_", " ").capitalize(),
        "minutes": int(minutes[1]) if minutes else chapter["minutes"],
        "questions": [ast.literal_eval(call.args[0]) for call in calls(code, "ask")],
        "exercises": [ast.literal_eval(call.args[0]) for call in calls(code, "check")],
    }


def calls(code: list[ast.Module], verb: str) -> list[ast.Call]:
    """Every `dk.<verb>(…)`, in order."""
    found = [node for tree in code for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if ast.unparse(call.func) == f"dk.{verb}"]


if __name__ == "__main__":
    LIST.write_text(json.dumps([found(each) for each in listed()], indent=1, ensure_ascii=False) + "\n", "utf-8")
