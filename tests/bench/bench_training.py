"""What `distill` costs over a hand-written loop: the same model, batches, loss and optimiser, the two in turn.

Prints microseconds a step and the ratio, pair by pair. Run: python -m tests.bench training
"""

import statistics
import time

import torch

import distilkit as dk
from tests.bench.turns import quartiles

STEPS, ROUNDS, BATCH = 400, 9, 64
COMMAND = "python -m tests.bench training"


def by_hand(student, teacher, transfer, loss):
    targets = dk.predict(teacher, transfer.inputs)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01, fused=True)
    student.train()
    history = []
    while len(history) < STEPS:
        for rows in torch.randperm(len(transfer))[: len(transfer) // BATCH * BATCH].split(BATCH):
            value = loss(student(transfer.inputs[rows]), targets[rows], transfer.labels[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            history.append(value.item())


def plain_loss(student, teacher, labels, alpha=0.9, temperature=4.0):
    soft = torch.nn.functional.kl_div(
        torch.log_softmax(student / temperature, -1),
        torch.log_softmax(teacher / temperature, -1),
        log_target=True,
        reduction="batchmean",
    )
    known = labels >= 0
    hard = torch.nn.functional.cross_entropy(student, labels.masked_fill(~known, -100), reduction="sum")
    return alpha * temperature**2 * soft + (1 - alpha) * hard / known.sum().clamp(min=1)


def seconds(action):
    start = time.process_time()  # the processor's, which other programs disturb less than the clock's
    action()
    return (time.process_time() - start) / STEPS


def compare(hidden):
    task = dk.tasks.digits()
    teacher, data = task.teacher(), task.pool
    times = {"distill": [], "by hand, kd_loss": [], "by hand, plain loss": []}
    for _ in range(ROUNDS):
        times["distill"].append(
            seconds(lambda: dk.distill(task.student(hidden=hidden), teacher, data, steps=STEPS).result())
        )
        for name, loss in (("by hand, kd_loss", dk.kd_loss), ("by hand, plain loss", plain_loss)):
            times[name].append(seconds(lambda loss=loss: by_hand(task.student(hidden=hidden), teacher, data, loss)))
    print(f"student 64 → {hidden} → 10, batch {BATCH}, {STEPS} steps, {ROUNDS} rounds")
    ratios = {name: [a / b for a, b in zip(times["distill"], values, strict=True)] for name, values in times.items()}
    for name, values in times.items():
        print(
            f"  {name:20} {1e6 * statistics.median(values):7.0f} µs a step    distill / this: median "
            f"{statistics.median(ratios[name]):.3f} (min {min(ratios[name]):.3f}, max {max(ratios[name]):.3f})"
        )
    step = f"{1e6 * statistics.median(times['distill']):.0f} µs"
    for name in list(times)[1:]:
        what = f"a step of distill beside a loop {name}, student 64 → {hidden} → 10"
        yield what, f"{step}; takes {quartiles(ratios[name])} × as long", COMMAND


def figures():
    return [row for hidden in (32, 2048) for row in compare(hidden)]


def main():
    for what, value, _ in figures():
        print(f"{what}: {value}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
