"""What is paid before anything is trained, and what a trained student is good for: import, download, one request.

The import's time is the processor's, in a fresh process each time. Requests: the shipped models of the applications, as
`python -m distilkit.applications` measures them. Run: python -m tests.bench kit
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.turns import in_turn, quartiles

ROUNDS = 7
COMMAND = "python -m tests.bench kit"
ROOT = Path(__file__).parents[2]


def figures():
    return [*imports(), *sizes(), *requests()]


def main():
    for what, value, _ in figures():
        print(f"{what}: {value}")


def imports():
    times = in_turn({name: lambda name=name: seconds(name) for name in ("distilkit", "torch")}, ROUNDS)
    own, torch = (quartiles(times[name], 0, 1000) for name in ("distilkit", "torch"))
    value = f"{own} ms of the processor, where import torch takes {torch}"
    print(f"import distilkit: {value}")
    yield "import distilkit", value, "python -X importtime -c 'import distilkit'"


def seconds(name):
    code = f"import time; start = time.process_time(); import {name}; print(time.process_time() - start)"
    return float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)


def sizes():
    data = sum(file.stat().st_size for file in (ROOT / "data").rglob("*") if file.is_file())
    value = f"{data / 1e6:.1f} MB: teachers, students, texts, stored sweeps"
    print(f"data/: {value}")
    yield "data/", value, "du -sb data"
    command = "python -m pip wheel --no-deps --no-build-isolation ."
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, *command.split()[1:-1], "--quiet", "--wheel-dir", folder, ROOT],
            capture_output=True,
            text=True,
            check=False,
        )
        made = [*Path(folder).glob("*.whl")]
        value = f"{made[0].stat().st_size / 1e6:.1f} MB, all of data/ in it" if made else done.stderr.strip()[-60:]
    print(f"the wheel: {value}")
    yield "the wheel", value, command


def requests():
    from distilkit import applications

    for name in applications.APPLICATIONS:
        found = applications.standings(name, limit=8)
        print(f"\n{name} (quality on 8 examples only)\n{found.to_string(float_format='{:,.2f}'.format)}", flush=True)
        teacher, student = found.loc["teacher"], found.loc["distilled"]
        share = student["teacher's share"]
        value = (
            f"{student['request (ms)']:.1f} ms; {student['speed (×)']:.1f} × as fast as its teacher "
            f"({teacher['request (ms)']:.1f} ms), with {share:.2f} of its parameters"
        )
        yield f"one request to the distilled student of {name}", value, "python -m distilkit.applications"


if __name__ == "__main__":
    main()
