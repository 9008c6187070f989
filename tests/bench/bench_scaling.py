"""What a second process brings: the same work by one and by two, of one thread each, one after the other.

Prints steps a second of `distill` with an accelerator, and rows a second that `cache_teacher` scores in shards; each
from the moment when all processes are ready. Run: make bench
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from accelerate import Accelerator

import distilkit as dk

ROOT, COMMAND = Path(__file__).parents[2], "python tests/bench/bench_scaling.py"
STEPS, BATCH, ROWS, SHARDS, PROCESSES = 10, 16, 156, 16, (1, 2)


def work(folder):
    """A student of `tasks.docs` learns, then its teacher scores the corpus; the first process notes how fast."""
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    task = dk.tasks.docs(tokens=ROWS * 128)
    teacher, corpus = task.teacher(), task.train
    run = dk.distill(
        task.student(), dk.cache_teacher(teacher, corpus, Path(folder, "answers"), shards=SHARDS), corpus,
        knobs=dk.Knobs(1.0, 1.0, 0.003), steps=STEPS + 1, batch_size=BATCH, accelerator=accelerator,
    )  # fmt: skip
    next(run)
    began = time.perf_counter()
    run.result()
    steps = STEPS / (time.perf_counter() - began)
    accelerator.wait_for_everyone()
    began = time.perf_counter()
    dk.cache_teacher(teacher, corpus, Path(folder, "again"), shards=SHARDS)
    rows = len(corpus) / (time.perf_counter() - began)
    if accelerator.is_main_process:
        Path(folder, "rates.json").write_text(json.dumps([steps, rows]))
    accelerator.end_training()


def rates(processes):
    """Steps and rows a second."""
    with tempfile.TemporaryDirectory() as folder:
        ways = ["--standalone", f"--nproc-per-node={processes}", __file__, folder]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", *ways], env=environment, check=True, capture_output=True
        )
        return json.loads(Path(folder, "rates.json").read_text())


def figures():
    """(what, figure, command) of each."""
    (steps, rows), (steps_of_two, rows_of_two) = map(rates, PROCESSES)
    return [
        (
            f"steps a second, docs student, batch {BATCH}: 1 process, 2 processes",
            f"{steps:.2f}, {steps_of_two:.2f} (× {steps_of_two / steps:.2f})",
            COMMAND,
        ),
        (
            f"rows of 128 tokens a second, scored by the docs teacher in {SHARDS} shards: 1 process, 2 processes",
            f"{rows:.1f}, {rows_of_two:.1f} (× {rows_of_two / rows:.2f})",
            COMMAND,
        ),
    ]


def main():
    print(f"one thread a process; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} as it began")
    for what, figure, _ in figures():
        print(f"  {what}: {figure}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1])
    else:
        main()
