"""What the distillation loss costs, from 10 classes to 131,072: time and memory of value and gradient, in float32.

`kd_loss` beside the same loss in plain PyTorch, that one compiled, and TRL's; `linear_kd_loss`, from hidden states,
beside plain PyTorch, TRL's kernel and Liger's. The times in turn, round by round, on one thread. Extra memory is the
peak above what the loss is given, in a fresh process each; the gradient, which every loss must leave behind, is a part
of it. Run: python -m tests.bench loss
"""

import argparse
import functools
import importlib
import math
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

COMMAND = "python -m tests.bench loss"
ROWS, CLASSES, ROUNDS = 2048, (131072, 32768, 1280, 256, 32, 10), 3
STATES = ((256, 65536, 256), (512, 131072, 256))  # rows, classes, width of the hidden states
LEAST = 0.3  # seconds that a round of one loss takes at least, by as many calls as that needs
MEASURED = 2**24  # logits, from which on memory is measured: below, what the imports once took is more
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
    return dk.kd_loss(student, teacher, labels, temperature=TEMPERATURE, **options)


def made(states, weight):
    return states @ weight.T


def plain_of_states(student, teacher, labels, *, beta):
    logs = [torch.log_softmax(made(*side), -1) for side in (student, teacher)]
    if beta == 0:
        return F.kl_div(*logs, log_target=True, reduction="batchmean")
    mixture = torch.logaddexp(logs[0] + math.log(1 - beta), logs[1] + math.log(beta))
    parts = [F.kl_div(mixture, log, log_target=True, reduction="batchmean") for log in logs]
    return (1 - beta) * parts[0] + beta * parts[1]


def trl_of_states(student, teacher, labels, *, beta):
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    return ChunkedDivergenceFunction.apply(*student, None, *teacher, None, beta, 1.0)[0].mean()


def liger_of_states(student, teacher, labels, *, beta):
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=beta, compiled=False)
    return loss(student[0], student[1], teacher[0], teacher[1], labels)


def ours_of_states(student, teacher, labels, **options):
    return dk.linear_kd_loss(student, teacher, labels, alpha=1.0, temperature=1.0, **options)


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
OF_STATES = {
    "ours": ours_of_states,
    "plain of states": functools.partial(plain_of_states, beta=0),
    "TRL's kernel": functools.partial(trl_of_states, beta=0),
    "Liger's kernel": functools.partial(liger_of_states, beta=0),
    "ours, jsd": functools.partial(ours_of_states, divergence=dk.jsd),
    "plain of states, jsd": functools.partial(plain_of_states, beta=0.5),
    "TRL's kernel, jsd": functools.partial(trl_of_states, beta=0.5),
    "Liger's kernel, jsd": functools.partial(liger_of_states, beta=0.5),
}
BESIDE_STATES = {name: "ours, jsd" if "jsd" in name else "ours" for name in OF_STATES if "ours" not in name}
ROOT = Path(__file__).parents[2]


def logits(rows, classes):
    torch.manual_seed(0)
    student, teacher = (torch.randn(rows, classes, device=DEVICE) for _ in range(2))
    return student.requires_grad_(), teacher, torch.randint(classes, (rows,), device=DEVICE)


def states(rows, classes, width):
    torch.manual_seed(0)
    sides = [
        (torch.randn(rows, width, device=DEVICE), torch.randn(classes, width, device=DEVICE) / math.sqrt(width))
        for _ in range(2)
    ]
    for each in sides[0]:
        each.requires_grad_()
    return *sides, torch.randint(classes, (rows,), device=DEVICE)


def given_for(size):
    """Logits for (rows, classes), hidden states for (rows, classes, width)."""
    return logits(*size) if len(size) == 2 else states(*size)


def losses_for(size):
    return (LOSSES, BESIDE) if len(size) == 2 else (OF_STATES, BESIDE_STATES)


def seconds(loss, given):
    """Of one call; of many, where one is too short to be measured."""
    leaves = given[0] if isinstance(given[0], tuple) else given[:1]
    clock = time.perf_counter if DEVICE == "cuda" else time.process_time  # which other programs disturb less
    calls, start = 0, clock()
    while calls == 0 or (clock() - start < LEAST and DEVICE == "cpu"):
        for leaf in leaves:
            leaf.grad = None
        loss(*given).backward()
        leaves[0].grad.flatten()[0].item()  # a GPU is done by then
        calls += 1
    return (clock() - start) / calls


def peak():
    """The most bytes that were in use so far: of the GPU, else of this process."""
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "linux":  # where getrusage would begin with what the parent process took
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def extra_memory(name, size):
    """Bytes above what the loss is given; run it in a fresh process."""
    loss = losses_for(size)[0][name]
    few = given_for((2, *size[1:])) if len(size) == 2 else given_for((2, 64, *size[2:]))
    loss(*few).backward()  # what is loaded once
    given = given_for(size)
    before = peak()
    loss(*given).backward()
    return peak() - before


def missing():
    """Which losses cannot be had here, and why."""
    reasons = {}
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        reasons["plain, compiled"] = "needs a C++ compiler on the PATH"
    for library, remedy in (("TRL", f"needs TRL: {TRL}"), ("Liger", "needs liger-kernel: pip install liger-kernel")):
        try:
            importlib.import_module({"TRL": "trl", "Liger": "liger_kernel"}[library])
        except ImportError:
            reasons |= {name: remedy for name in (*LOSSES, *OF_STATES) if name.startswith(library)}
    if DEVICE == "cpu":  # those of logits are Triton programs; those of hidden states are not
        reasons |= {name: "needs a GPU" for name in LOSSES if name.startswith("Liger")}
    return reasons


def report(size, rounds, reasons):
    losses, beside = losses_for(size)
    many = math.prod(size[:2]) >= MEASURED
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "one thread"
    what = " × ".join(f"{each:,}" for each in size[:2]) + (f" from {size[2]} wide states" if len(size) > 2 else "")
    print(f"{what}, float32, {device}, {rounds} rounds")
    given = given_for(size)
    names = [name for name in losses if name not in reasons and (many or name in ("ours", "plain"))]
    if "plain, compiled" in names:
        compiled()(*given)
    times = {name: [] for name in names}
    for _ in range(rounds if many else 7 * rounds):
        for name in names:
            times[name].append(seconds(losses[name], given))
    del given
    memory = {}
    for name in names if many else ():
        command = [sys.executable, "-W", "ignore", "-m", "tests.bench.bench_loss", "--memory-of", name]
        command += ["--size", *map(str, size)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        memory[name] = int(done.stdout.split()[-1])
    found = []
    for name in losses:
        label = f"loss, value and gradient, {what}: {beside.get(name, name)} beside {name}"
        if name in reasons and many:
            print(f"  {name:18} left out: {reasons[name]}")
            found += [(label, reasons[name], COMMAND)] if name in beside else []
        if name not in names:
            continue
        line = f"  {name:18} {1000 * statistics.median(times[name]):10.2f} ms"
        if memory:
            line += f"   {memory[name] / 2**20:8.0f} MiB extra"
        if name in beside:
            mine = beside[name]
            ratios = [theirs / ours for theirs, ours in zip(times[name], times[mine], strict=True)]
            middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
            line += f"   {middle:5.2f} × the time of {mine!r} ({low:.2f} to {high:.2f})"
            value = f"{1000 * statistics.median(times[mine]):.3g} ms; {middle:.2f} × as fast ({low:.2f}–{high:.2f})"
            if memory:
                value += f", {memory[mine] / max(memory[name], 1):.2f} × its memory"
                line += f", {memory[name] / max(memory[mine], 1):.1f} × its memory"
            found.append((label, value, COMMAND))
        print(line, flush=True)
    return found


def figures(sizes=None, rounds=ROUNDS):
    reasons = missing()
    sizes = sizes or [*((ROWS, classes) for classes in CLASSES), *STATES]
    return [row for size in sizes for row in report(size, rounds, reasons)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, nargs="+", help="rows, classes, and for hidden states their width")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = None if options.size is None else tuple(options.size)
    if options.memory_of:
        print(extra_memory(options.memory_of, size))
        return
    figures(size and [size], options.rounds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
