"""The house as it was drawn: who may import whom, what `import distilkit` costs, and examples that are true."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import distilkit

PACKAGE = Path(distilkit.__file__).parent
# The drawing. A module may import those named here; everybody knows `errors`, `words` and
# `origin`, and nobody imports `widgets`.
MAY_IMPORT = {
    "errors": set(),
    "words": set(),
    "origin": set(),
    "record": set(),
    "glossary": set(),
    "claim": set(),
    "divergences": set(),
    "losses": {"chunked", "divergences"},
    "chunked": {"divergences", "topk"},
    "topk": {"divergences"},
    "linear_loss": {"chunked", "divergences", "losses", "topk"},
    "models": set(),
    "sources": {"models"},
    "configs": {"models"},
    "hub": {"configs", "models"},
    "pretrained": {"configs", "hub", "models"},
    "transfer": {"divergences", "models"},
    "cached": {"divergences", "models", "topk", "transfer"},
    "insides": {"divergences", "models"},
    "disagreement": {"divergences", "models", "transfer"},
    "attributions": {"divergences", "models"},
    "hints": {"divergences", "insides", "losses", "models", "transfer"},
    "training": {
        "cached",
        "chunked",
        "claim",
        "divergences",
        "hints",
        "linear_loss",
        "losses",
        "models",
        "topk",
        "transfer",
    },
    "adaptive": {"divergences", "training"},
    "cost": {"models"},
    "endpoint": {"divergences", "models", "transfer"},
    "edge": {"cost", "models", "pretrained", "tasks", "transfer"},
    "metrics": {"divergences", "models", "cost"},
    "tasks": {"divergences", "hub", "metrics", "models", "pretrained", "transfer"},
    "cells": {"divergences", "metrics", "models", "tasks", "training", "transfer"},
    "teachers": {"divergences", "metrics", "models", "tasks", "training", "transfer"},
    "other_tokens": {"divergences", "models", "tasks", "transfer"},
    "imprinting": {"models", "tasks", "training"},
    "setting": {"divergences", "tasks", "training", "transfer"},
    "script": {"cached", "divergences", "setting", "training", "transfer"},
    "host": set(),
    "sweeps": {
        "adaptive",
        "cached",
        "cells",
        "claim",
        "cost",
        "divergences",
        "edge",
        "hints",
        "host",
        "imprinting",
        "insides",
        "losses",
        "metrics",
        "models",
        "other_tokens",
        "tasks",
        "teachers",
        "training",
        "transfer",
    },
    "scale": {"cost", "models", "tasks"},
    "your_own": {
        "cached",
        "cost",
        "divergences",
        "endpoint",
        "hub",
        "losses",
        "metrics",
        "models",
        "other_tokens",
        "pretrained",
        "reports",
        "sources",
        "sweeps",
        "tasks",
        "training",
        "transfer",
    },
    "claims": {"metrics", "models", "record", "sweeps", "tasks", "your_own"},
    "plots": {"cost", "divergences", "metrics", "sweeps"},
    "applications": {"cost", "metrics", "sweeps", "tasks"},
    "reports": {"metrics", "models", "plots", "sources", "sweeps"},
    "lessons": {"divergences", "insides", "losses", "metrics", "record"},
    "widgets": {
        "cells",
        "cost",
        "disagreement",
        "divergences",
        "imprinting",
        "insides",
        "losses",
        "metrics",
        "models",
        "plots",
        "record",
        "script",
        "setting",
        "sweeps",
        "tasks",
        "teachers",
        "training",
        "transfer",
    },
}


def imported(file):
    """The parts of distilkit that this file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("distilkit."))


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_drawing(file):
    part = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if file.stem == "__main__":
        return  # a program, which nobody imports, may import all
    found = set(imported(file)) - {part, "errors", "words", "origin"}
    allowed = MAY_IMPORT.get(part, set())  # __init__ imports nothing
    assert found <= allowed, f"{part} may import {sorted(allowed)}, but imports {sorted(found - allowed)}"
    assert part in MAY_IMPORT or part == "__init__", f"{part} is not in the drawing yet: add it"


def test_the_drawing_has_no_circle_and_no_stranger():
    from graphlib import TopologicalSorter

    assert set(TopologicalSorter(MAY_IMPORT).static_order()) == set(MAY_IMPORT)
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts == {*MAY_IMPORT, "__init__"}


HEAVY = [
    "accelerate",
    "torch",
    "numpy",
    "pandas",
    "matplotlib",
    "plotly",
    "sklearn",
    "scipy",
    "ipywidgets",
    "anywidget",
    "transformers",
]


def test_importing_distilkit_loads_nothing_heavy():
    code = f"import sys, distilkit; dir(distilkit); print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_every_public_name_resolves():
    names = [
        alias.asname
        for node in ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(names) == sorted(distilkit.__all__)
    for name in names:
        assert getattr(distilkit, name) is not None
        assert name in dir(distilkit)
    assert distilkit.__version__
    with pytest.raises(AttributeError, match="no_such_name"):
        distilkit.no_such_name  # noqa: B018


MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(distilkit.__path__, "distilkit.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not failed
