"""What the distillation loss costs where words are many: seconds and memory of forward and backward, in float32.

`chunked_kd_loss` beside the same loss in plain PyTorch, that one compiled, and TRL's; the times in turn, on one thread.
Extra memory is the peak above the logits of both sides, in a fresh process each; the gradient, which every loss must
leave behind, is a part of it and is listed beside it. Run: python -m tests.bench loss
"""

import argparse
import functools
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import distilkit as dk
from distilkit.chunked import chunked_kd_loss

COMMAND = "python -m tests.bench loss"
ROWS, CLASSES, ROUNDS = 2048, (131072, 32768), 3
ALPHA, TEMPERATURE = 0.9, 4.0
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def plain(student, teacher, labels):
    logs = (torch.log_softmax(each / TEMPERATURE, -1) for each in (student, teacher))
    soft = F.kl_div(*logs, log_target=True, reduction="sum") / len(labels)
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(student, labels)


@functools.cache
def compiled():
    return torch.compile(plain)


def of_trl(student, teacher, labels, *, beta):
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    return GKDTrainer.generalized_jsd_loss(student[None], teacher[None], labels[None], beta, TEMPERATURE)


def of_liger(student, teacher, labels, *, beta):
    from liger_kernel.transformers import LigerJSD

    logs = (torch.log_softmax(each / TEMPERATURE, -1) for each in (student, teacher))
    return LigerJSD(beta=beta)(*logs, labels)


def ours(student, teacher, labels, **options):
    return chunked_kd_loss(student, teacher, labels, temperature=TEMPERATURE, **options)


TRL = "python -m venv /tmp/trl && /tmp/trl/bin/pip install trl -e .[llm] && /tmp/trl/bin/python -m tests.bench loss"
LOSSES = {
    "ours": functools.partial(ours, alpha=ALPHA),
    "plain": plain,
    "plain, compiled": lambda *given: compiled()(*given),
    "ours, soft term": functools.partial(ours, alpha=1.0),
    "TRL, forward KL": functools.partial(of_trl, beta=0),
    "ours, jsd": functools.partial(ours, alpha=1.0, divergence=dk.jsd),
    "TRL, jsd": functools.partial(of_trl, beta=0.5),
    "Liger, forward KL": functools.partial(of_liger, beta=0),
    "Liger, jsd": functools.partial(of_liger, beta=0.5),
}
# Each beside the one of ours that says the same.
BESIDE = {"plain": "ours", "plain, compiled": "ours", "TRL, forward KL": "ours, soft term", "TRL, jsd": "ours, jsd"}
BESIDE |= {"Liger, forward KL": "ours, soft term", "Liger, jsd": "ours, jsd"}
ROOT = Path(__file__).parents[2]


def logits(rows, classes):
    torch.manual_seed(0)
    student, teacher = (torch.randn(rows, classes, device=DEVICE) for _ in range(2))
    return student.requires_grad_(), teacher, torch.randint(classes, (rows,), device=DEVICE)


def seconds(loss, given):
    given[0].grad = None
    clock = time.perf_counter if DEVICE == "cuda" else time.process_time  # which other programs disturb less
    start = clock()
    loss(*given).backward()
    given[0].grad.flatten()[0].item()  # a GPU is done by then
    return clock() - start


def peak():
    """The most bytes that were in use so far: of the GPU, else of this process."""
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "linux":  # where getrusage would begin with what the parent process took
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def extra_memory(name, rows, classes):
    """Bytes above the logits; run it in a fresh process, with logits larger than what the imports once took."""
    seconds(LOSSES[name], logits(2, classes))  # what is loaded once
    given = logits(rows, classes)
    before = peak()
    seconds(LOSSES[name], given)
    return peak() - before


def missing():
    """Which losses cannot be had here, and why."""
    reasons = {}
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        reasons["plain, compiled"] = "needs a C++ compiler on the PATH"
    for library, remedy in (("TRL", f"needs TRL: {TRL}"), ("Liger", "needs liger-kernel: pip install liger-kernel")):
        names = [name for name in LOSSES if name.startswith(library)]
        try:
            seconds(LOSSES[names[0]], logits(2, 8))
        except ImportError:
            reasons |= dict.fromkeys(names, remedy)
    if DEVICE == "cpu":
        reasons |= {name: "needs a GPU" for name in LOSSES if name.startswith("Liger")}
    return reasons


def report(rows, classes, rounds, reasons):
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "one thread"
    print(
        f"{rows:,} × {classes:,} float32, {device}, {rounds} rounds; their gradient: {rows * classes / 2**28:.2f} GiB"
    )
    given = logits(rows, classes)
    names = [name for name in LOSSES if name not in reasons]
    if "plain, compiled" in names:
        compiled()(*given)
    times = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            times[name].append(seconds(LOSSES[name], given))
    del given
    memory = {}
    for name in names:
        command = [sys.executable, "-W", "ignore", "-m", "tests.bench.bench_loss", "--memory-of", name]
        command += ["--rows", str(rows), "--classes", str(classes)]
        memory[name] = int(
            subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()[-1]
        )
    found = []
    for name in LOSSES:
        what = f"loss, forward and backward, {rows:,} × {classes:,}: {BESIDE.get(name, name)} beside {name}"
        if name in reasons:
            print(f"  {name:18} left out: {reasons[name]}")
            found += [(what, reasons[name], COMMAND)] if name in BESIDE else []
            continue
        line = f"  {name:18} {statistics.median(times[name]):8.3f} s   {memory[name] / 2**30:6.2f} GiB extra"
        if name in BESIDE:
            mine = BESIDE[name]
            ratios = [theirs / ours for theirs, ours in zip(times[name], times[mine], strict=True)]
            line += (
                f"   {statistics.median(ratios):5.1f} × the time of {mine!r} ({min(ratios):.1f} to {max(ratios):.1f})"
            )
            if memory[mine]:
                line += f", {memory[name] / memory[mine]:.1f} × its memory"
            value = f"{statistics.median(times[mine]):.2f} s; {statistics.median(ratios):.1f} × as fast"
            value += f" ({min(ratios):.1f}–{max(ratios):.1f}), {memory[mine] / max(memory[name], 1):.2f} × its memory"
            found.append((what, value, COMMAND))
        print(line, flush=True)
    return found


def figures(rows=ROWS, classes=CLASSES, rounds=ROUNDS):
    reasons = missing()
    return [row for each in classes for row in report(rows, each, rounds, reasons)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--memory-of", choices=LOSSES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(extra_memory(options.memory_of, options.rows, options.classes[0]))
        return
    figures(options.rows, options.classes, options.rounds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
