"""Steps a second of distilling a language model: `distill` with the teacher asked at each step, its logits kept in
memory or cached on disk; beside loops written by hand (beside trainers of others: bench_trainers.py).

The same for all: teacher, student, text, forward KL at T = 1, fused AdamW, 8 blocks of 128 tokens a step, one thread.
All take turns, a few steps each, in a new order every round; a step's time is the processor's, which other programs
disturb less than the clock's. Then: is the student of the cache the one of the online teacher?

Run: python -m tests.bench language
"""

import math
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.nn.functional import kl_div, log_softmax

import distilkit as dk
from distilkit.chunked import chunked_kd_terms
from tests.bench.turns import in_turn, quartiles, ratio

LIKE_HAND = "online", "cached"
ROUNDS, STEPS, BATCH, LR, TOP = 20, 5, 8, 0.01, 32
COMMAND = "python -m tests.bench language"
KNOBS = dk.Knobs(temperature=1, alpha=1, lr=LR)


def figures():
    task = dk.tasks.docs()
    teacher = task.teacher()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        cache = dk.cache_teacher(teacher, task.transfer, Path(folder, "cache"), top=TOP)
        tokens = task.transfer.labels.numel()
        written = time.process_time() - start
        print(
            f"cache of {tokens:,} tokens, top {TOP} of {cache.classes:,}: written once in "
            f"{written:.1f} s, {cache.bytes / 1e6:.1f} MB ({cache.bytes // tokens} bytes a token; "
            f"all logits are {4 * cache.classes * tokens / 1e6:.0f} MB)\n"
        )
        wrote = f"{1e6 * written / tokens:.0f} µs and {cache.bytes // tokens} bytes a token"
        return [
            (f"the teacher's answers cached, top {TOP} of {cache.classes:,}", wrote, COMMAND),
            *compare_speed(task, teacher, cache),
            compare_students(task, teacher, cache),
        ]


def main():
    for what, value, _ in figures():
        print(f"{what}: {value}")


def compare_speed(task, teacher, cache):
    everything = cache.at(slice(None))
    loops = {
        "distill, teacher online": online(task, teacher),
        "distill, teacher kept": distill(task, teacher),
        "distill, teacher cached": distill(task, cache),
        "by hand, teacher online": by_hand(task.student(), teacher, task.transfer),
        "by hand, teacher cached": by_hand_cached(task.student(), everything, task.transfer),
    }
    times = in_turn({name: lambda loop=loop: seconds(loop) for name, loop in loops.items()}, ROUNDS)
    rivals = list(loops)[:3]
    print(f"{BATCH} × 128 tokens a step, {ROUNDS} rounds of {STEPS} steps; medians and quartiles")
    print(f"{'':26} {'steps a second':18} how many times as fast is distill, with the teacher")
    print(" " * 46 + "".join(f"{name.split()[-1]:20}" for name in rivals))
    for name, values in times.items():
        ratios = "".join(ratio(values, times[rival]).ljust(20) for rival in rivals)
        print(f"{name:26} {quartiles([1 / value for value in values], 1):18} {ratios}")
    at_each_step, kept, from_cache = (1 / statistics.median(times[name]) for name in rivals)
    hand = {name: ratio(times[f"by hand, teacher {name}"], times[f"distill, teacher {name}"]) for name in LIKE_HAND}
    what = f"language model, {BATCH} × 128 tokens a step, teacher"
    return [
        (
            f"{what} online: distill beside a loop by hand",
            f"{at_each_step:.1f} steps/s; {hand['online']} × as fast",
            COMMAND,
        ),
        (
            f"{what} cached: distill beside a loop by hand",
            f"{from_cache:.1f} steps/s; {hand['cached']} × as fast",
            COMMAND,
        ),
        (f"{what} cached beside online", f"{ratio(times[rivals[0]], times[rivals[2]])} × as fast", COMMAND),
        (f"{what} kept in memory", f"{kept:.1f} steps/s", COMMAND),
    ]


def seconds(loop):
    """Of one step, after one that only warms the caches."""
    next(loop)
    start = time.process_time()
    for _ in range(STEPS):
        next(loop)
    return (time.process_time() - start) / STEPS


def distill(task, teacher, *, steps=10**6, seed=0):
    return dk.distill(task.student(seed), teacher, task.transfer, knobs=KNOBS, steps=steps, batch_size=BATCH, seed=seed)


def online(task, teacher):
    run = distill(task, teacher)
    run._asked = True  # as if the teacher's logits did not fit in memory
    return run


def by_hand(student, teacher, transfer):
    optimizer = torch.optim.AdamW(student.parameters(), lr=LR, weight_decay=0, fused=True)
    student.train()
    for rows in batches(transfer):
        inputs, labels = transfer.inputs[rows], transfer.labels[rows]
        with torch.no_grad():
            targets = teacher(inputs).logits
        loss, _, _ = chunked_kd_terms(student(inputs).logits, targets, labels, alpha=1, temperature=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def by_hand_cached(student, answers, transfer):
    optimizer = torch.optim.AdamW(student.parameters(), lr=LR, weight_decay=0, fused=True)
    student.train()
    for rows in batches(transfer):
        kept = log_softmax(student(transfer.inputs[rows]).logits, -1).gather(-1, answers.ids[rows])
        tail = torch.log1p(-kept.exp().sum(-1, keepdim=True).clamp(max=1 - 1e-6))
        loss = kl_div(
            torch.cat([kept, tail], -1).flatten(0, 1),
            answers.log_probs[rows].flatten(0, 1),
            log_target=True,
            reduction="batchmean",
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def batches(transfer):
    while True:
        yield from torch.randperm(len(transfer))[: len(transfer) // BATCH * BATCH].split(BATCH)


def compare_students(task, teacher, cache, steps=300, seeds=3):
    """The student of the cache beside the one of all logits: the same start, the same batches."""
    print(
        f"\nThe cache moves the gradient with respect to a position's logits by at most {cache.error.mean:.3f} "
        f"(L1 norm, mean over positions).\nMeasured, beside the perplexity after {steps} steps:"
    )
    gaps = []
    for seed in range(seeds):
        found = []
        for source in (teacher, cache):
            run = distill(task, source, steps=steps, seed=seed)
            found.append(task.score(run.result())["perplexity"])
        gaps.append(math.log(found[1] / found[0]))
        print(
            f"  seed {seed}: all logits {found[0]:.1f}, cached top {TOP} {found[1]:.1f} ({gaps[-1]:+.3f} nats); "
            f"gradient moved by {moved(run.student, teacher, cache, task):.3f}"
        )
    error = statistics.stdev(gaps) / seeds**0.5
    value = f"{statistics.mean(gaps):+.3f} nats, standard error {error:.3f} over {seeds} seeds"
    print(f"  cached − all logits: {value}")
    return f"a student of the cached top {TOP} − one of all logits, {steps} steps", value, COMMAND


def moved(student, teacher, cache, task):
    """By how much the cache moves the gradient of this student, L1 norm, mean over positions."""
    inputs = task.transfer.inputs[:32]
    logits = dk.predict(student, inputs).requires_grad_()
    losses = dk.forward_kl(logits, dk.predict(teacher, inputs)), dk.forward_kl(*cache.at(slice(32)).lump(logits, 1.0))
    whole, lumped = (torch.autograd.grad(loss, logits)[0] for loss in losses)
    return float((whole - lumped).abs().sum())  # forward_kl is a mean over positions, and so is its gradient's sum


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
