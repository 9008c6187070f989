"""Every figure of this kit in one table, and the command for each: python -m tests.bench [name …]   (or: make bench)

Each bench is `bench_<name>.py` beside this file, with `figures()`, rows of (what, value, command): it measures, prints
its details as it goes, and says in a row of its own what it could not measure and how to have it. Each runs in a
process of its own, on one thread, one after the other; for good figures nothing else runs on the machine.
"""

import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

Figure = tuple[str, str, str]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BENCHES = sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))
WIDTHS = 58, 62  # of the first two columns


def main(names: list[str]) -> int:
    if unknown := set(names) - set(BENCHES):
        print(f"There is no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
        return 2
    found, failed = [], []
    for name in names or BENCHES:
        print(f"== {name}", flush=True)
        rows = run(name)
        if rows is None:
            failed.append(name)
            rows = [(name, "failed, see above", f"python -m tests.bench {name}")]
        found += rows
        print(flush=True)
    print(table(found))
    print(f"\nPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load {load()}")
    return 1 if failed else 0


def run(name: str) -> list[Figure] | None:
    """The figures of one bench, from a process of its own; None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "figures.json")
        done = subprocess.run(
            [sys.executable, "-u", "-m", "tests.bench", "--figures", name, out],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        return [tuple(row) for row in json.loads(out.read_text())] if done.returncode == 0 else None


def table(rows: list[Figure]) -> str:
    """The rows in three columns; what is too long goes on below."""
    lines = [line("figure", "value", "command"), line("─" * WIDTHS[0], "─" * WIDTHS[1], "─" * 30)]
    for what, value, command in rows:
        parts = [textwrap.wrap(text, width) or [""] for text, width in zip((what, value), WIDTHS, strict=True)]
        for number in range(max(map(len, parts))):
            cells = [part[number] if number < len(part) else "" for part in parts]
            lines.append(line(*cells, command if number == 0 else ""))
    return "\n".join(lines)


def line(what: str, value: str, command: str) -> str:
    return f"{what:{WIDTHS[0]}}  {value:{WIDTHS[1]}}  {command}".rstrip()


def load() -> str:
    """How many processes wanted a core in the last 1 and 15 minutes."""
    return "{0:.1f} and {2:.1f}".format(*os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--figures"]:
        import torch

        torch.set_num_threads(1)
        bench = importlib.import_module(f"tests.bench.bench_{sys.argv[2]}")
        Path(sys.argv[3]).write_text(json.dumps(bench.figures()))
    else:
        sys.exit(main(sys.argv[1:]))
