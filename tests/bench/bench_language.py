"""Steps a second of distilling a language model: `distill` with the teacher asked at each step, its logits kept in
memory or cached on disk; beside loops written by hand and, where they are installed, TRL's trainers.

The same for all: teacher, student, text, forward KL at T = 1, fused AdamW, 8 blocks of 128 tokens a step, one thread.
All take turns, a few steps each, in a new order every round; a step's time is the processor's, which other programs
disturb less than the clock's. Then: is the student of the cache the one of the online teacher? Run: make bench
"""

import math
import random
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch.nn.functional import kl_div, log_softmax

import distilkit as dk
from distilkit.chunked import chunked_kd_terms

ROUNDS, STEPS, BATCH, LR, TOP = 20, 5, 8, 0.01, 32
KNOBS = dk.Knobs(temperature=1, alpha=1, lr=LR)


def main():
    torch.set_num_threads(1)
    task = dk.tasks.docs()
    teacher = task.teacher()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        cache = dk.cache_teacher(teacher, task.transfer, Path(folder, "cache"), top=TOP)
        tokens = task.transfer.labels.numel()
        print(
            f"cache of {tokens:,} tokens, top {TOP} of {cache.classes:,}: written once in "
            f"{time.process_time() - start:.1f} s, {cache.bytes / 1e6:.1f} MB ({cache.bytes // tokens} bytes a token; "
            f"all logits are {4 * cache.classes * tokens / 1e6:.0f} MB)\n"
        )
        compare_speed(task, teacher, cache, Path(folder))
        compare_students(task, teacher, cache)


def compare_speed(task, teacher, cache, folder):
    everything = cache.at(slice(None))
    loops = {
        "distill, teacher online": online(task, teacher),
        "distill, teacher kept": distill(task, teacher),
        "distill, teacher cached": distill(task, cache),
        "by hand, teacher online": by_hand(task.student(), teacher, task.transfer),
        "by hand, teacher cached": by_hand_cached(task.student(), everything, task.transfer),
    }
    contestants = {name: lambda loop=loop: seconds(loop) for name, loop in loops.items()}
    contestants |= trl(task, teacher, folder)
    times = {name: [] for name in contestants}
    order = list(contestants)
    for _ in range(ROUNDS):
        random.shuffle(order)
        for name in order:
            times[name].append(contestants[name]())
    rivals = list(loops)[:3]
    print(f"{BATCH} × 128 tokens a step, {ROUNDS} rounds of {STEPS} steps; medians and quartiles")
    print(f"{'':26} {'steps a second':18} how many times as fast is distill, with the teacher")
    print(" " * 46 + "".join(f"{name.split()[-1]:20}" for name in rivals))
    for name, values in times.items():
        low, middle, high = statistics.quantiles([1 / value for value in values], n=4)
        ratios = "".join(ratio(values, times[rival]) for rival in rivals)
        print(f"{name:26} {f'{middle:.1f} ({low:.1f}–{high:.1f})':18} {ratios}")


def ratio(theirs, ours):
    """How many times as fast ours is, round by round: the median and its quartiles."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(theirs, ours, strict=True)], n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})".ljust(20)


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


def trl(task, teacher, folder):
    """TRL's trainers, spared all that costs time: casts, activation checkpoints, clipping, logging, saving."""
    try:
        import datasets
        import transformers
        from trl import DistillationConfig, DistillationTrainer
        from trl.experimental.gkd import GKDConfig, GKDTrainer
    except ImportError as error:
        print(
            f"Without TRL's trainers: {error}. For them, in an environment of its own (it replaces packages):\n"
            "  python -m venv /tmp/trl && /tmp/trl/bin/pip install trl -e '.[llm]' "
            "&& /tmp/trl/bin/python tests/bench/bench_language.py\n"
        )
        return {}
    warnings.simplefilter("ignore", FutureWarning)  # by transformers, of what trl says
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    fair = {
        "output_dir": str(folder / "trl"),
        "max_steps": STEPS + 1,
        "per_device_train_batch_size": BATCH,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "max_grad_norm": 0,
        "temperature": 1.0,
        "beta": 0.0,  # forward KL
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }

    def tensors(rows):
        tokens = torch.tensor([row["input_ids"] for row in rows])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}

    class OnCorpus(DistillationTrainer):
        """Learns on the corpus, where DistillationTrainer knows only the student's own text: nothing is generated."""

        def _prepare_inputs(self, rows):
            tokens = tensors(rows)["input_ids"]
            parts = {"prompt": tokens[:, :1], "completion": tokens[:, 1:]}
            masks = {f"{name}_mask": torch.ones_like(part) for name, part in parts.items()}
            return (
                {f"{name}_ids": part for name, part in parts.items()}
                | masks
                | {"num_items_in_batch": masks["completion_mask"].sum()}
            )

    class Clock(transformers.TrainerCallback):
        def __init__(self):
            self.times = []

        def on_step_end(self, *_, **__):
            self.times.append(time.process_time())

    def run(trainer, config, **more):
        clock = Clock()
        rows = datasets.Dataset.from_dict({"input_ids": task.transfer.inputs.tolist()})
        made = trainer(
            model=task.student(),
            teacher_model=teacher,
            args=config(**fair),
            train_dataset=rows,
            processing_class=task.tokenizer,
            callbacks=[clock],
            **more,
        )
        made.remove_callback(transformers.PrinterCallback)
        made.train()
        return (clock.times[-1] - clock.times[0]) / STEPS

    return {
        "TRL GKDTrainer": lambda: run(GKDTrainer, lambda **all: GKDConfig(**all, lmbda=0.0), data_collator=tensors),
        "TRL DistillationTrainer": lambda: run(OnCorpus, DistillationConfig),
    }


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
    print(f"  cached − all logits: {statistics.mean(gaps):+.3f} nats, standard error {error:.3f} over {seeds} seeds")


def moved(student, teacher, cache, task):
    """By how much the cache moves the gradient of this student, L1 norm, mean over positions."""
    inputs = task.transfer.inputs[:32]
    logits = dk.predict(student, inputs).requires_grad_()
    losses = dk.forward_kl(logits, dk.predict(teacher, inputs)), dk.forward_kl(*cache.at(slice(32)).lump(logits, 1.0))
    whole, lumped = (torch.autograd.grad(loss, logits)[0] for loss in losses)
    return float((whole - lumped).abs().sum())  # forward_kl is a mean over positions, and so is its gradient's sum


if __name__ == "__main__":
    main()
