"""Every promise of this kit at full count, in one table: python -m tests.trust [name …] [--count N]   (or: make trust)

Each check is a module beside this file with ``main(count=…) -> Checked``, whose default is the full count. It runs in a
process of its own, on one thread, one after the other. It fails where it reports a failure, breaks off, or has tried
fewer cases than it was asked for: none can pass by doing nothing. The exit status is 1 if any failed.
"""

import argparse
import importlib
import inspect
import json
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from tests.bench.__main__ import load
from tests.trust import Checked

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHECKS = sorted(file.stem for file in HERE.glob("[a-z]*.py") if "\ndef main(" in file.read_text(encoding="utf-8"))
WIDTHS = 10, 8, 74, 9  # of the first four columns
SHOWN = 20  # failures of a check that are printed


def main(names: list[str], count: int | None = None) -> int:
    if unknown := set(names) - set(CHECKS):
        print(f"There is no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
        return 2
    rows, failed = [], []
    for name in names or CHECKS:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        found = run(name, count)
        if found.failures:
            failed.append(name)
            print("\n".join(found.failures[:SHOWN]))
        result = f"FAILED ({len(found.failures)}): {found.result}" if found.failures else found.result
        command = f"python -m tests.trust {name}" + (f" --count {count}" if count else "")
        rows.append((name, f"{found.count:,}", result, f"{time.monotonic() - began:.0f}", command))
        print(flush=True)
    print(table(rows))
    print(f"\nPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {load()}")
    return 1 if failed else 0


def run(name: str, count: int | None) -> Checked:
    """What one check finds, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "checked.json")
        done = subprocess.run(
            [sys.executable, "-u", "-m", "tests.trust", "--into", out, name, *(["--count", str(count)] * bool(count))],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        if done.returncode or not out.exists():
            return Checked(0, "it broke off, see above", [f"{name} ended with {done.returncode}"])
        asked, found = json.loads(out.read_text())
    checked = Checked(*found)
    if checked.count < max(1, asked):
        checked.failures.append(f"{name} tried {checked.count} cases where {max(1, asked)} were asked for")
    return checked


def call(name: str, count: int | None) -> tuple[int, Checked]:
    """How many cases the check was asked for, and what it found."""
    check = importlib.import_module(f"tests.trust.{name}").main
    asked = count or inspect.signature(check).parameters["count"].default
    return asked, check(count=asked)


def table(rows: list[tuple[str, ...]]) -> str:
    """The rows in five columns; a result that is too long goes on below."""
    lines = [line("check", "count", "result", "seconds", "command"), line(*("─" * w for w in WIDTHS), "─" * 30)]
    for name, count, result, seconds, command in rows:
        first, *others = textwrap.wrap(result, WIDTHS[2]) or [""]
        lines.append(line(name, count, first, seconds, command))
        lines += [line("", "", other, "", "") for other in others]
    return "\n".join(lines)


def line(name: str, count: str, result: str, seconds: str, command: str) -> str:
    first, second, third, fourth = WIDTHS
    return f"{name:{first}}  {count:>{second}}  {result:{third}}  {seconds:>{fourth}}  {command}".rstrip()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser("python -m tests.trust", description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="name", help=", ".join(CHECKS))
    arguments.add_argument("--count", type=int, help="cases a check tries; default: its full count")
    arguments.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.count is not None and given.count < 1:
        arguments.error(f"--count must be 1 or more, got {given.count}")
    if given.into:
        given.into.write_text(json.dumps(call(given.names[0], given.count)))
    else:
        sys.exit(main(given.names, given.count))
