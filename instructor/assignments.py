"""The exercises of a chapter as an nbgrader assignment.

    python -m instructor.assignments 03 05 -o assignments/
    cd assignments && nbgrader generate_assignment 03_alpha

The folder is a course of nbgrader's: `source/<chapter>/<chapter>.ipynb`. Learners get the function's first lines; its
body, from notebooks/solutions, stands between `### BEGIN SOLUTION` and `### END SOLUTION` and is taken out by nbgrader.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from instructor.chapters import chapter, chapters, exercises, read, solution, title

POINTS = 2  # an exercise


def assignment(path: Path) -> NotebookNode:
    """A chapter's exercises: for each a cell to write in, and a locked one that raises if it is wrong."""
    notebook = read(path)
    setup = next(cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", []))
    words = (
        f"# {title(notebook)}: exercises\n\nWrite the body of each function in place of `raise NotImplementedError()`. "
        'The cell below it answers at once. Stuck? `dk.hint("name")`.'
    )
    cells = [
        _cell("markdown", words, f"{path.stem}-title", locked=True),
        _cell("code", setup.source, f"{path.stem}-setup", locked=True),
    ]
    for name, stub in exercises(notebook).items():
        body = f"    ### BEGIN SOLUTION\n{solution(name)}\n    ### END SOLUTION"
        check = (
            f'dk.check("{name}", {name}, strict=True)\n### BEGIN HIDDEN TESTS\n'
            "import distilkit.lessons  # whatever dk.check has become in this notebook\n\n"
            f'distilkit.lessons.check("{name}", {name}, strict=True)\n### END HIDDEN TESTS'
        )
        cells.append(_cell("code", f"{stub}\n{body}", name, solution=True))
        cells.append(_cell("code", check, f"{name}-check", grade=True, points=POINTS, locked=True))
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def _cell(kind: str, source: str, grade_id: str, *, points: int | None = None, **is_: bool) -> NotebookNode:
    """A cell with nbgrader's metadata, schema version 3."""
    flags = dict.fromkeys(("grade", "locked", "solution", "task"), False) | is_
    marks = flags | {"grade_id": grade_id, "schema_version": 3} | ({} if points is None else {"points": points})
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return make(source, id=grade_id, metadata={"nbgrader": marks})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m instructor.assignments", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers or names; none means every chapter with exercises")
    parser.add_argument("-o", "--out", type=Path, default=Path("assignments"), help="the course's folder")
    given = parser.parse_args(arguments)
    for path in [chapter(name) for name in given.chapters] or chapters():
        notebook = assignment(path)
        graded = sum(cell.metadata.nbgrader.grade for cell in notebook.cells)
        if not graded:
            print(f"{path.stem}: no exercises")
            continue
        out = given.out / "source" / path.stem / path.name
        out.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, out)
        print(f"{out}: {graded * POINTS} points for {graded} to write")


if __name__ == "__main__":
    main()
