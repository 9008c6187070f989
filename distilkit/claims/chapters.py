"""The claims of a chapter, computed without its runs: of its code, what leads from a stored sweep to `dk.holds`."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import distilkit
from distilkit import metrics, sweeps
from distilkit.claims.statements import Claim, stated
from distilkit.errors import BadFile, BadValue, shown

if TYPE_CHECKING:
    import pandas as pd

Load = Callable[[str], "pd.DataFrame"]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


class Stated(NamedTuple):
    """A claim, where it is made, and the stored sweeps that it rests on."""

    chapter: str  # 03_alpha
    sweeps: tuple[str, ...]
    claim: Claim


class Chapter(NamedTuple):
    """A notebook, as far as claims go."""

    name: str
    title: str
    opening: str  # the sentence in bold at its top
    asserted: tuple[str, ...]  # what its claim cells assert on the reader's own run
    claims: tuple[Stated, ...]


def chapters(folder: Path = NOTEBOOKS, load: Load = sweeps.load_sweep) -> list[Chapter]:
    """Every chapter in reading order; `BadFile` where there are none, as beside an installed package."""
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise BadFile(f"there are no chapters in {folder}: claims are read from a checkout of distilkit")
    return [chapter(path, load) for path in paths]


def chapter(path: Path, load: Load = sweeps.load_sweep) -> Chapter:
    """What one notebook claims; `load` gives the sweeps, the stored ones or others like them.

    Raises:
        BadFile: no notebook. BadValue: a claim that needs a run of the chapter's own.
    """
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        top = "".join(cells[0]["source"])
        code = [
            ("claim" in cell["metadata"].get("tags", ()), "".join(cell["source"]))
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadFile(f"{path} is no notebook: {shown(str(error), 120)}") from None
    title, opening = top.split("\n")[0].lstrip("# "), top.split("**")[1] if "**" in top else ""
    asserted = [text for tagged, source in code if tagged for text in _asserts(source)]
    statements = [node for _, source in code for node in _parsed(source)]
    return Chapter(path.stem, title, opening, tuple(asserted), tuple(_claims(path.stem, statements, load)))


def needed(statements: list[ast.stmt], place: int) -> list[int]:
    """The places of the statements that the one at `place` needs, itself last: a slice, backwards through the names."""
    kept, wanted = [place], _needs(statements[place])
    for before in range(place - 1, -1, -1):
        bound = _binds(statements[before])
        if bound & wanted:
            kept.append(before)
            if isinstance(statements[before], ast.Assign):
                wanted -= {name.id for name in ast.walk(statements[before]) if _stores(name)}  # type: ignore[attr-defined]
            wanted |= _needs(statements[before])
    return kept[::-1]


class _Kit:
    """What `dk` is to a claim: stored sweeps and arithmetic on them, nothing that trains or loads a model."""

    def __init__(self, load: Load) -> None:
        self.load_sweep, self.made = load, list[Claim]()

    def holds(self, *given: Any, **named: Any) -> None:
        self.made.append(stated(*given, **named))

    def __getattr__(self, name: str) -> Any:
        found = getattr(distilkit, name)
        if found is not metrics and not str(getattr(found, "__module__", "")).startswith(
            ("distilkit.sweeps", "distilkit.metrics")
        ):
            raise BadValue(f"a claim rests on dk.{name}, which is no stored sweep: assert it of the chapter's own run")
        return found


def _claims(name: str, statements: list[ast.stmt], load: Load) -> Iterator[Stated]:
    places = [place for place, node in enumerate(statements) if "dk.holds" in set(map(_dotted, ast.walk(node)))]
    slices = {place: needed(statements, place) for place in places}
    kit = _Kit(load)
    names: dict[str, Any] = {}
    for place in sorted({each for kept in slices.values() for each in kept}):
        statement = statements[place]
        if "dk" in _binds(statement):
            names["dk"] = kit
            continue
        exec(compile(ast.Module([statement], []), name, "exec"), names)
        if place in slices:
            loaded = [
                node.args[0].value
                for each in slices[place]
                for node in ast.walk(statements[each])
                if isinstance(node, ast.Call) and _dotted(node.func) == "dk.load_sweep"
                if isinstance(node.args[0], ast.Constant)
            ]
            yield from (Stated(name, tuple(dict.fromkeys(loaded)), claim) for claim in kit.made)  # type: ignore[arg-type]
            kit.made.clear()


def _parsed(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:  # %magic, !shell
        return []


def _asserts(source: str) -> Iterator[str]:
    """The asserts of a cell as they are written, each with the comment on its line."""
    lines = source.splitlines()
    for node in _parsed(source):
        for each in ast.walk(node):
            if isinstance(each, ast.Assert):
                yield "\n".join(line.strip() for line in lines[each.lineno - 1 : each.end_lineno])


def _dotted(node: ast.AST) -> str:
    return (
        f"{node.value.id}.{node.attr}" if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
    )


def _stores(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _binds(statement: ast.stmt) -> set[str]:
    """The names that a statement binds, or changes a place of: ``table["gain"] = …``."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name | ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            while not isinstance(node, ast.Name) and hasattr(node, "value"):
                node = node.value
            found |= {node.id} if isinstance(node, ast.Name) else set()
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


def _needs(statement: ast.stmt) -> set[str]:
    """The names that a statement takes from before it: not those that it binds itself on its way, in a loop's body."""
    loads = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    if isinstance(statement, ast.Assign | ast.AugAssign):
        inner = {n.id for n in ast.walk(statement.value) if _stores(n)}  # type: ignore[attr-defined]
        own = {n.id for n in ast.walk(statement) if _stores(n)} if isinstance(statement, ast.AugAssign) else set()  # type: ignore[attr-defined]
        return (loads - inner) | own
    if isinstance(statement, ast.Expr):
        return loads - {node.id for node in ast.walk(statement) if _stores(node)}  # type: ignore[attr-defined]
    first = (
        {node.id for node in ast.walk(statement.iter) if isinstance(node, ast.Name)}
        if isinstance(statement, ast.For)
        else set()
    )
    return (loads - {node.id for node in ast.walk(statement) if _stores(node)}) | first  # type: ignore[attr-defined]
