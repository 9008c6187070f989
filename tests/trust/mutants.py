"""Faults put one at a time into divergences.py, losses.py and chunked.py: at least 90 % of them must make a test fail.

A fault is one change of the syntax tree: an operator, a comparison, a number or a truth turned into its neighbour, two
arguments swapped, a keyword, a method call, a refusal or a check left out, a condition or a choice turned round. What
a message says is left alone. The tests are collected once; each fault then has a forked child of its own, in which the
code objects of the functions are exchanged, so that every name that was imported leads to the fault.
"""

from __future__ import annotations

import ast
import collections
import copy
import importlib
import os
import random
import select
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.trust import Checked

ROOT = Path(__file__).parents[2]
MODULES = "divergences", "losses", "chunked"
TESTS = [
    *(f"{name}.py" for name in ("divergences", "losses", "chunked", "linear_loss")),
    *(f"{name}.py" for name in ("ctc", "sequences", "other_tokens", "adaptive")),
    "house.py::test_examples_in_docstrings_are_true",
]
CHOSEN = "divergences or losses or chunked or (linear_loss and not distill) or ctc"
CHOSEN += " or sampled_reverse or hidden_state or attention or uld or weighted"
FLOOR = 0.9
PATIENCE = 180  # seconds for all tests of one fault; who hangs is caught

# Faults after which the program does the same: {the fault: why}.
UNUSED = "the row does not count, or is filled again"
FLAT = "two axes: the last is the second"
SAME: dict[str, str] = {
    "divergences._measure: 0 → 1 (2)": UNUSED,
    "losses._attention_logs: 1 → 2 (3)": UNUSED,
    "divergences._measure: 1 → 2 (3)": "without a value the sum is 0, and so is its half",
    "divergences.weighted: 1 → 2": "without a position that counts the sum is 0, and so is its half",
    "divergences.scaled_weights: 1 → 2": "without a position that counts all weights are 0",
    "divergences.scaled_weights: counts.to(weights.dtype) → counts": "true counts as 1",
    "divergences.weighted: weight.to(each.dtype) → weight": "the finer of both is each's",
    "divergences.row_weights: total_variation(student_logits, teacher_logits, mask=mask, reduction='none') → "
    "total_variation(teacher_logits, student_logits, mask=mask, reduction='none')": "a distance is symmetric",
    "divergences._gone: (student_logits == -math.inf).all(-1) & (teacher_logits == -math.inf).all(-1) → "
    "(student_logits == -math.inf).all(-1) | (teacher_logits == -math.inf).all(-1)": "one side alone is refused",
    "divergences.weighted: _gone(student_logits, teacher_logits) → _gone(teacher_logits, student_logits)": "symmetric",
    "divergences._measure: _gone(student, teacher) → _gone(teacher, student)": "symmetric",
    "divergences._mix: gap.abs() < 1 → gap.abs() <= 1": "both forms are right at a gap of 1",
    "divergences._mix: (1 - share) * b.probs → (1 - share) / b.probs": "of a mixture the logarithms alone are used",
    "losses.ctc_loss: labels >= 0 → labels > 0": "0, the blank, is refused",
    "losses.sampled_reverse_kl: reverse_kl(student, teacher, reduction='none') → reverse_kl(student, teacher)": (
        "the mean, once for every token, has the same sum"
    ),
    "losses.sampled_reverse_kl: torch.zeros(labels.shape, dtype=drawn.dtype, device=drawn.device) → "
    "torch.zeros(labels.shape, dtype=drawn.dtype)": "there is one device here",
    "losses.sampled_reverse_kl: -1 → 1": FLAT,
    **{f"losses.uld_loss: -1 → 1 ({number})": FLAT for number in (4, 5, 6, 9)},
}

COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
LIBRARIES = {"torch", "math", "F", "inspect", "warnings", "functools", "nn"}  # a function of theirs is no method call
COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip


Way = tuple[tuple[str, int | None], ...]  # to a node: fields, and places in those that are lists, from the root


class Fault(NamedTuple):
    """One change: in which module, at which node, what stands there instead; and all that in words."""

    module: str
    way: Way
    new: ast.AST
    what: str


def faults_of(name: str) -> list[Fault]:
    """Every fault of one module."""
    tree = ast.parse((ROOT / "distilkit" / f"{name}.py").read_text("utf-8"))
    faults: list[Fault] = []
    seen: collections.Counter[str] = collections.Counter()
    for way, node in walk(tree):
        where = ".".join([name, *(each.name for each in along(tree, way) if isinstance(each, ast.FunctionDef))])
        for new in variants(node):
            what = f"{where}: {words(node)} → {words(new)}"
            seen[what] += 1
            faults.append(Fault(name, way, new, what + f" ({seen[what]})" * (seen[what] > 1)))
    return faults


def words(node: ast.AST) -> str:
    return f"if {ast.unparse(node.test)}" if isinstance(node, ast.If | ast.IfExp) else ast.unparse(node)


def walk(node: ast.AST, way: Way = ()) -> Iterator[tuple[Way, ast.AST]]:
    """What may be changed: no annotation, no docstring, nothing in a message."""
    if way:
        yield way, node
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list"}:
            continue
        for number, each in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(each, ast.AST):
                yield from walk(each, (*way, (field, number)))


def along(tree: ast.AST, way: Way) -> Iterator[ast.AST]:
    for field, number in way:
        tree = getattr(tree, field) if number is None else getattr(tree, field)[number]
        yield tree


def place(tree: ast.AST, way: Way, new: ast.AST) -> None:
    *_, parent = [tree, *along(tree, way[:-1])]
    field, number = way[-1]
    if number is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[number] = new


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a node's place, one after the other."""

    def like(**changes: Any) -> Any:
        new = copy.deepcopy(node)
        for name, value in changes.items():
            setattr(new, name, value)
        return new

    match node:
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Compare(ops=[one, *others]):
            for other in COMPARED[type(one)]:
                yield like(ops=[other(), *others])
            if others:
                yield like(ops=[one, COMPARED[type(others[0])][0](), *others[1:]])
        case ast.BinOp(op=op) if type(op) in COMPUTED:
            yield like(op=COMPUTED[type(op)]())
        case ast.BoolOp(op=op):
            yield like(op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield like(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield like(value=value + 1)
        case ast.If(test=test) | ast.IfExp(test=test):
            yield like(test=ast.UnaryOp(ast.Not(), test))
        case ast.Call(func=func, args=args, keywords=keywords):
            if len(args) > 1 and not any(isinstance(each, ast.Starred) for each in args[:2]):
                yield like(args=[args[1], args[0], *args[2:]])
            for number, keyword in enumerate(keywords):
                if keyword.arg:
                    yield like(keywords=keywords[:number] + keywords[number + 1 :])
            if isinstance(func, ast.Attribute) and ast.unparse(func.value) not in LIBRARIES:
                yield func.value
        case _:
            return


EVERY = sum(len(faults_of(name)) for name in MODULES)


def main(count: int = EVERY) -> Checked:
    """Try `count` faults, a sample drawn with a fixed seed; all by default."""
    faults = random.Random(0).sample([fault for name in MODULES for fault in faults_of(name)], count)
    judge = Judge(faults)
    files = [str(ROOT / "tests" / f"test_{name}") for name in TESTS]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
    options += ["--hypothesis-profile=faults", "-k", CHOSEN, *files]
    if status := pytest.main(options, plugins=[judge]):
        return Checked(0, "the tests do not pass as they are", [f"pytest ended with {status}"])
    same = [fault.what for fault in judge.survivors if fault.what in SAME]
    left = [fault.what for fault in judge.survivors if fault.what not in SAME]
    real = len(faults) - len(same)
    share = (real - len(left)) / max(real, 1)
    print("Not noticed:", *left, sep="\n  ")
    return Checked(
        len(faults),
        f"{real - len(left)} of {real} faults in {' and '.join(MODULES)} are noticed, {share:.1%}; {len(same)} more "
        "change nothing",
        [] if share >= FLOOR else left,
    )


class Judge:
    """A pytest plugin that tries every fault on the collected tests instead of running them once."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults, self.survivors = faults, []  # type: list[Fault], list[Fault]
        self.reports: list[pytest.TestReport] = []  # of the test that ran last
        self.order: list[pytest.Item] = []  # the quickest first, and before it what noticed the fault before

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings  # not before pytest, which rewrites its asserts

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile(
            "faults", max_examples=30, deadline=None, derandomize=True, database=None, phases=phases
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        times: dict[pytest.Item, float] = {}
        for place, item in enumerate(session.items):
            following = session.items[place + 1] if place + 1 < len(session.items) else None
            if self.fails(item, following):
                session.testsfailed += 1
                return True
            times[item] = sum(report.duration for report in self.reports)
        self.order = sorted(times, key=times.__getitem__)
        if self.try_out(None) is not None:
            print("A test fails in a child without any fault")
            session.testsfailed += 1
            return True
        for number, fault in enumerate(self.faults, 1):
            noticed = self.try_out(fault)
            if noticed is None:
                self.survivors.append(fault)
            elif noticed >= 0:
                self.order.insert(0, self.order.pop(noticed))
            if number % 100 == 0 or noticed is None:
                print(
                    f"{number}/{len(self.faults)}: {len(self.survivors)} not noticed"
                    + f" {fault.what}" * (noticed is None),
                    flush=True,
                )
        return True

    def try_out(self, fault: Fault | None) -> int | None:
        """The place of the test that notices the fault; −1 where it hangs or dies, None where nothing happens."""
        heard, tells = os.pipe()
        child = os.fork()
        if not child:
            os.close(heard)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            self.order[0].config.pluginmanager.unregister(name="terminalreporter")
            try:
                if fault is not None:
                    put_in(fault)
                found = self._first_failure()
            except BaseException:  # the module itself does not load any more
                found = "-1"
            os.write(tells, found.encode())
            os._exit(0)
        os.close(tells)
        answered, _, _ = select.select([heard], [], [], PATIENCE)
        said = os.read(heard, 99).decode() if answered else "-1"
        os.close(heard)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None if said == "none" else int(said or -1)

    def fails(self, item: pytest.Item, following: pytest.Item | None) -> bool:
        self.reports.clear()
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        return any(report.failed for report in self.reports)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    def _first_failure(self) -> str:
        for place, item in enumerate(self.order):
            if self.fails(item, None):
                return str(place)
        return "none"


def put_in(fault: Fault) -> None:
    """Give the functions of the module the code of the changed ones, in place."""
    module = importlib.import_module(f"distilkit.{fault.module}")
    changed = types.ModuleType(module.__name__)
    vars(changed).update({name: value for name, value in vars(module).items() if name.startswith("__")})
    tree = ast.parse((ROOT / "distilkit" / f"{fault.module}.py").read_text("utf-8"))
    place(tree, fault.way, fault.new)
    exec(compile(ast.fix_missing_locations(tree), module.__file__ or "", "exec"), vars(changed))
    for name, new in vars(changed).items():
        old = vars(module).get(name)
        for mine, theirs in functions(old, new):
            mine.__code__, mine.__defaults__, mine.__kwdefaults__ = (
                theirs.__code__, theirs.__defaults__, theirs.__kwdefaults__,
            )  # fmt: skip
        if not name.startswith("__") and isinstance(new, int | float | tuple | str) and new != old:
            for each in [
                each for each in sys.modules.values() if getattr(each, "__name__", "").startswith("distilkit")
            ]:
                if vars(each).get(name) == old:
                    setattr(each, name, new)


def functions(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    """The pairs of functions in two things of the same name: themselves, what they wrap, the methods of a class."""
    old, new = getattr(old, "__wrapped__", old), getattr(new, "__wrapped__", new)
    if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
        yield old, new
    elif isinstance(old, type) and isinstance(new, type) and old.__module__ == new.__module__:
        for name, value in vars(new).items():
            before = vars(old).get(name)
            yield from functions(getattr(before, "__func__", before), getattr(value, "__func__", value))
