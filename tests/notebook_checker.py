"""What is wrong with an executed notebook, beyond the errors that executing it raises.

Papermill is content with a notebook whose `sys.exit(0)` kept the later cells from running, whose thread died, whose
widget holds a traceback, or whose table is full of nan. A reader is not. `faults` finds these, and what the house
asks of every chapter: its tags, its length, a claim that is really asserted.
"""

import ast
import copy
import re
from collections.abc import Iterator

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PLOTTING = {"altair", "bokeh", "matplotlib", "plotly", "pylab", "seaborn"}
ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # cells that are papermill's, not the chapter's
MOST_LINES = 12
CELLS = range(20, 31)
MOST_BYTES = 2_000_000
MOST_PRINTED = 1000  # lines that a cell prints

NOT_A_NUMBER = re.compile(r"(?<![\w.-])[-+]?(nan|inf|infinity|NaT)(?![\w-])|<NA>", re.IGNORECASE)
MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^<>]*>", re.DOTALL | re.IGNORECASE)
SECRET = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def faults(notebook: NotebookNode) -> list[str]:
    """Everything wrong with an executed notebook, one line each; an empty list for a chapter fit to ship."""
    checks = (shape, code, claims, parameters, run, shown, secrets)
    return [fault for check in checks for fault in check(notebook)]


def unclean(notebook: NotebookNode) -> list[str]:
    """What a committed notebook must not carry: outputs, counts, widget state, secrets."""
    found = [f"cell {i} carries outputs: strip them" for i, cell in cells(notebook) if cell.get("outputs")]
    found += [f"cell {i} carries an execution count" for i, cell in cells(notebook) if cell.get("execution_count")]
    if "widgets" in notebook.metadata:
        found.append("metadata.widgets: strip the widget state")
    return [*found, *secrets(notebook)]


def opening(notebook: NotebookNode) -> NotebookNode:
    """The chapter up to the end of its Derive section, for nbval: what Look and Derive print must come out the same."""
    kept, heading = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.findall(r"^##? (\w+)", cell.source, re.MULTILINE)):
            if heading == "Derive" and found[0] != "Derive":
                break
            heading = found[-1]
        cell = copy.deepcopy(cell)
        if heading in {"Look", "Derive"} and cell.cell_type == "code":
            cell.metadata["tags"] = [*tags(cell), "nbval-check-output"]
        kept.append(cell)
    return nbformat.v4.new_notebook(cells=kept, metadata={"kernelspec": notebook.metadata.kernelspec})


# ---------------------------------------------------------------------------------------------- reading a notebook


def cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """The cells with their place in the reader's file, from 0; what papermill put in has the place before it."""
    place = -1
    for cell in notebook.cells:
        place += not ADDED & set(tags(cell))
        yield place, cell


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def tagged(notebook: NotebookNode, tag: str) -> list[tuple[int, NotebookNode]]:
    return [(i, cell) for i, cell in cells(notebook) if tag in tags(cell)]


def trees(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode, ast.Module]]:
    """The code cells that parse, as Python: %magic and !shell become calls."""
    for i, cell in cells(notebook):
        if cell.cell_type == "code":
            try:
                yield i, cell, ast.parse(TransformerManager().transform_cell(cell.source))
            except SyntaxError:
                continue  # an executed notebook shows it as an error output


def widget_models(notebook: NotebookNode) -> dict[str, NotebookNode]:
    return notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})


def outputs(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Every output with where it stands: under its cell, or inside an Output widget."""
    for i, cell in cells(notebook):
        for output in cell.get("outputs", []):
            yield f"cell {i}", output
    for model in widget_models(notebook).values():
        for output in model.get("state", {}).get("outputs") or []:
            yield "an Output widget", nbformat.from_dict(output)


# --------------------------------------------------------------------------------------------------- as it is written


def shape(notebook: NotebookNode) -> Iterator[str]:
    count = sum(not ADDED & set(tags(cell)) for cell in notebook.cells)
    if count not in CELLS:
        yield f"{count} cells: a chapter has {CELLS.start} to {CELLS.stop - 1}"
    for tag in ("setup", "parameters", "claim"):
        if not tagged(notebook, tag):
            yield f"no cell is tagged {tag!r}"
    size = len(nbformat.writes(notebook).encode())
    if size > MOST_BYTES:
        yield f"{size / 1e6:.1f} MB: more than {MOST_BYTES / 1e6:.0f} MB does not open well"


def code(notebook: NotebookNode) -> Iterator[str]:
    for i, cell in cells(notebook):
        lines = len(cell.source.splitlines())
        if cell.cell_type == "code" and lines > MOST_LINES and "parameters" not in tags(cell):
            yield f"cell {i} has {lines} lines, more than {MOST_LINES}: what is long lives in the package"
    for i, _, tree in trees(notebook):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield f"cell {i} defines the class {node.name}"
            for module in imported(node):
                if module.split(".")[0] in PLOTTING:
                    yield f"cell {i} imports {module}: plots live in the package"
                if module.split(".")[0] == "distilkit" and ast.unparse(node) != "import distilkit as dk":
                    yield f"cell {i} says {ast.unparse(node)!r}: chapters say 'import distilkit as dk'"
            for name in named(node):
                if name.startswith("_") and name.strip("_") and not (name.startswith("__") and name.endswith("__")):
                    yield f"cell {i} uses the private name {name}"


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def named(node: ast.AST) -> list[str]:
    """The names a node takes from an object or a module."""
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.Import | ast.ImportFrom):
        found = [part for module in imported(node) for part in module.split(".")]
        return found + ([alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else [])
    return []


def claims(notebook: NotebookNode) -> Iterator[str]:
    measured = measured_names(notebook)
    for i, cell, tree in trees(notebook):
        if "claim" in tags(cell):
            tests = [node.test for node in tree.body if isinstance(node, ast.Assert)]  # elsewhere it may not run
            if not tests:
                yield f"cell {i} is a claim without an assert of its own"
            elif not any(can_fail(test, measured) for test in tests):
                yield f"cell {i}: the claim asserts no measured value, {ast.unparse(tests[0])!r} always holds"


def measured_names(notebook: NotebookNode) -> set[str]:
    """Names that some cell binds to more than constants: to a call, or to what another such name holds."""
    found: set[str] = set()
    for _, _, tree in trees(notebook):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value:
                parts = list(ast.walk(node.value))
                if any(isinstance(part, ast.Call) or getattr(part, "id", None) in found for part in parts):
                    found |= bound(node)
            elif isinstance(node, ast.For | ast.comprehension | ast.withitem):
                found |= bound(node)
    return found


def bound(node: ast.AST) -> set[str]:
    """The names that a node binds, also where it is a place in what they hold: `found["twin"] = …`."""
    stored = [n for n in ast.walk(node) if isinstance(getattr(n, "ctx", None), ast.Store)]
    roots = [n.value if isinstance(n, ast.Subscript) else n for n in stored]
    return {root.id for root in roots if isinstance(root, ast.Name)}


def can_fail(test: ast.expr, measured: set[str]) -> bool:
    """Whether the measured values decide the test: not so for constants, `x == x`, tuples, `or True`."""
    if isinstance(test, ast.BoolOp):
        parts = [can_fail(value, measured) for value in test.values]
        return all(parts) if isinstance(test.op, ast.Or) else any(parts)
    if isinstance(test, ast.UnaryOp):
        return can_fail(test.operand, measured)
    if isinstance(test, ast.Compare):
        if len({ast.dump(side) for side in (test.left, *test.comparators)}) == 1:
            return False
    elif not isinstance(test, ast.Call):
        return False  # a bare name or a tuple is true of nearly anything
    return any(isinstance(node, ast.Name) and node.id in measured for node in ast.walk(test))


def parameters(notebook: NotebookNode) -> Iterator[str]:
    known: set[str] = set()
    given: set[str] = set(notebook.metadata.get("papermill", {}).get("parameters", {}))
    for _, cell, tree in trees(notebook):
        if "parameters" in tags(cell):
            known |= bound(tree)
        if "injected-parameters" in tags(cell):
            given |= bound(tree)
    if known and "seed" not in known:
        yield "the parameters cell does not set seed"
    for name in sorted(given - known):
        yield f"unknown parameter {name!r}: the chapter takes {', '.join(sorted(known)) or 'none'}"


# -------------------------------------------------------------------------------------------------------- as it ran


def run(notebook: NotebookNode) -> Iterator[str]:
    last, skipped = 0, []
    for i, cell in cells(notebook):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        count = cell.get("execution_count")
        if count is None:
            skipped.append(str(i))
        elif count != last + 1:
            yield f"cell {i} ran as number {count}, after number {last}"
        last = count or last
    if skipped:
        yield f"never ran: cell {', '.join(skipped)}"


def shown(notebook: NotebookNode) -> Iterator[str]:
    for where, output in outputs(notebook):
        if output.output_type == "error":
            yield f"{where} shows an error: {output.ename}: {output.evalue}"
        elif "Traceback (most recent call last)" in text(output):
            yield f"{where} shows a traceback: {last_line(text(output))}"
        elif (lines := text(output).count("\n")) > MOST_PRINTED:
            yield f"{where} prints {lines:,} lines, more than {MOST_PRINTED:,}: nobody reads them"
        elif output.output_type == "stream" and output.name == "stderr":
            yield f"{where} writes to stderr: {last_line(output.text)}"
        elif number := NOT_A_NUMBER.search(text(output)):
            yield f"{where} shows {number[0]}"
        view = output.get("data", {}).get(WIDGET_VIEW)
        if view and view["model_id"] not in widget_models(notebook):
            yield f"{where} shows a widget whose state was not saved"
    widgets = notebook.metadata.get("widgets")
    if widgets is not None and "state" not in widgets.get(WIDGET_STATE, {}):
        yield "metadata.widgets has no state: GitHub refuses to show such a notebook"


def secrets(notebook: NotebookNode) -> Iterator[str]:
    if secret := SECRET.search(nbformat.writes(notebook)):
        yield f"a secret: {secret[0][:6]}…"


def text(output: NotebookNode) -> str:
    """What the reader sees of an output as text, without markup."""
    if output.output_type == "stream":
        return output.text
    data = output.get("data", {})
    return "\n".join([data.get("text/plain", ""), MARKUP.sub(" ", data.get("text/html", ""))])


def last_line(message: str) -> str:
    return next((line for line in reversed(message.splitlines()) if line.strip()), "(blank)").strip()
