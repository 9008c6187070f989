"""Steps a second beside a bare loop by hand, Hugging Face's `Trainer` with a loss of one's own, and TRL's trainers.

The same for all: teacher, student, data, size of batches, forward KL at T = 1, fused AdamW at a constant rate, float32,
one thread. Every other asks the teacher at each step; `distill` does so, too, and then as it comes, asking once, and
from the top-k that is cached on disk (beside that: the same by hand). Of the others all is off that costs time and is
not this work: logging, saving, evaluation, progress bars, workers of the data loader, clipping, casts, activation
checkpoints; TRL generates nothing. All take turns, a few steps each, in a new order every round; a step's time is the
processor's, which other programs disturb less than the clock's, and the first step of each turn does not count.

A language model (Python's documentation, 8 × 128 tokens a step) and a classifier (a small BERT, 32 × 64 tokens).
Run: python -m tests.bench trainers
"""

import statistics
import tempfile
import time
import warnings

import torch
from torch.nn.functional import kl_div, log_softmax

import distilkit as dk
from tests.bench.turns import in_turn, quartiles, ratio

ROUNDS, STEPS, LR, TOP = 20, 5, 0.003, 32
KNOBS = dk.Knobs(temperature=1, alpha=1, lr=LR)
COMMAND = "python -m tests.bench trainers"
ONLINE, ONCE, CACHED = (f"distill, teacher {how}" for how in ("online", "asked once", "cached"))
TRL = (
    "needs TRL, in an environment of its own (it replaces packages): python -m venv /tmp/trl && /tmp/trl/bin/pip "
    "install trl -e '.[llm]' && /tmp/trl/bin/python -m tests.bench trainers"
)


def figures():
    try:
        import accelerate  # noqa: F401
    except ImportError:
        return [("distill beside Hugging Face's Trainer", "needs accelerate: pip install -e '.[own]'", COMMAND)]
    with tempfile.TemporaryDirectory() as folder:
        return [*words(folder), *classes(folder)]


def main():
    for what, value, _ in figures():
        print(f"{what}: {value}")


def words(folder):
    task = dk.tasks.docs()
    teacher, data, batch = task.teacher(), task.transfer, 8
    start = time.process_time()
    cache = dk.cache_teacher(teacher, data, f"{folder}/cache", top=TOP)
    each = (time.process_time() - start) / data.labels.numel()
    wrote = f"{1e6 * each:.0f} µs and {cache.bytes // data.labels.numel()} bytes a token, once"
    yield f"the teacher's answers cached, top {TOP} of {cache.classes:,}", wrote, COMMAND
    rows = [{"input_ids": tokens, "labels": labels} for tokens, labels in zip(data.inputs, data.labels, strict=True)]
    contestants = ours(task.student, teacher, data, batch)
    contestants[CACHED] = timed(distill(task.student, cache, data, batch))
    contestants["by hand, teacher online"] = timed(by_hand(task.student(), online(teacher), data, batch))
    contestants["by hand, teacher cached"] = timed(by_hand(task.student(), from_cache(cache), data, batch))
    contestants["HF Trainer"] = trainer(task.student, teacher, rows, batch, folder)
    contestants |= (rivals := trl(task, teacher, batch, folder))
    yield from report("a language model, 8 × 128 tokens a step", contestants)
    if not rivals:
        yield "distill beside TRL's trainers, a language model", TRL, COMMAND


def classes(folder):
    task, batch = dk.tasks.docs(), 32
    teacher, inputs = bert(task, 1, layers=4, width=128).eval(), task.train.inputs[:, :64]
    mask = (torch.arange(64) < torch.randint(16, 65, (len(inputs), 1))).long()
    data = dk.Examples(dk.Inputs(input_ids=inputs, attention_mask=mask), torch.randint(4, (len(inputs),)))
    rows = [
        {"input_ids": tokens, "attention_mask": there, "labels": label}
        for tokens, there, label in zip(inputs, mask, data.labels, strict=True)
    ]
    contestants = ours(lambda: bert(task, 0, layers=2, width=64), teacher, data, batch)
    contestants["HF Trainer"] = trainer(lambda: bert(task, 0, layers=2, width=64), teacher, rows, batch, folder)
    yield from report("a BERT that classifies, 32 × 64 tokens a step", contestants)


def bert(task, seed, *, layers, width):
    """A BERT of four classes: its speed is measured, not what it knows."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(task.tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=64,
        num_labels=4,
    )
    torch.manual_seed(seed)
    return BertForSequenceClassification(config)


def report(what, contestants):
    times = in_turn(contestants, ROUNDS)
    own = [name for name in times if name.startswith("distill")]
    print(f"{what}; {ROUNDS} rounds of {STEPS} steps; medians and quartiles")
    print(f"{'':28} {'steps a second':18} how many times as fast is distill, with the teacher")
    print(" " * 48 + "".join(f"{name.split(', ')[-1]:20}" for name in own))
    for name, values in times.items():
        ratios = "".join(f"{ratio(values, times[each]):20}" for each in own)
        print(f"{name:28} {quartiles([1 / each for each in values], 1):18} {ratios}".rstrip())
    for name, values in times.items():
        if name in own[1:]:
            value = f"{ratio(times[ONLINE], values)} × as fast"
            yield f"distill, {what}: {name.split(', ')[-1]} beside online", value, COMMAND
        elif name not in own:
            like = f"distill, {name.split(', ')[-1]}" if name.startswith("by hand") else ONLINE
            speeds = " and ".join(f"{1 / statistics.median(times[each]):.1f}" for each in (like, name))
            value = f"{ratio(values, times[like])} × as fast ({speeds} steps/s)"
            if like == ONLINE:
                value += "".join(f"; {each.split(', ')[-1]} {ratio(values, times[each])} ×" for each in own[1:])
            yield f"distill beside {name}, {what}", value, COMMAND


def ours(student, teacher, data, batch):
    """`distill` with the teacher asked at each step, as the others do, and as it comes: asked once where that fits."""
    at_each_step = distill(student, teacher, data, batch)
    at_each_step._asked = True  # as if the teacher's logits did not fit in memory
    return {ONLINE: timed(at_each_step), ONCE: timed(distill(student, teacher, data, batch))}


def distill(student, teacher, data, batch):
    return dk.distill(student(), teacher, data, knobs=KNOBS, steps=10**6, batch_size=batch)


def timed(loop):
    """A turn of it: its seconds a step, after one that does not count."""

    def seconds():
        next(loop)
        start = time.process_time()
        for _ in range(STEPS):
            next(loop)
        return (time.process_time() - start) / STEPS

    return seconds


def by_hand(student, loss_of, data, batch):
    """As bare as a loop can be: no check, no record but the loss."""
    optimizer = torch.optim.AdamW(student.parameters(), lr=LR, weight_decay=0, fused=True)
    student.train()
    while True:
        for rows in torch.randperm(len(data))[: len(data) // batch * batch].split(batch):
            loss = loss_of(rows, data.inputs[rows], student(data.inputs[rows]).logits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()


def online(teacher):
    def loss(_, inputs, logits):
        with torch.no_grad():
            targets = teacher(inputs).logits
        return forward_kl(log_softmax(logits, -1), log_softmax(targets, -1))

    return loss


def from_cache(cache):
    answers = cache.at(slice(None))

    def loss(rows, _, logits):
        kept = log_softmax(logits, -1).gather(-1, answers.ids[rows])
        tail = torch.log1p(-kept.exp().sum(-1, keepdim=True).clamp(max=1 - 1e-6))
        return forward_kl(torch.cat([kept, tail], -1), answers.log_probs[rows])

    return loss


def forward_kl(log_probs, teacher_log_probs):
    both = (each.flatten(0, -2) for each in (log_probs, teacher_log_probs))
    return kl_div(*both, log_target=True, reduction="batchmean")


def fair(folder, batch):
    return {
        "output_dir": folder,
        "max_steps": STEPS + 1,
        "per_device_train_batch_size": batch,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "max_grad_norm": 0,
        "use_cpu": True,
        "bf16": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }


def seconds_of(made, clock):
    """Of a step of this trainer, the first of its run left out."""
    import transformers

    made.remove_callback(transformers.PrinterCallback)
    made.train()
    return (clock.times[-1] - clock.times[0]) / STEPS


def clock():
    import transformers

    class Clock(transformers.TrainerCallback):
        def __init__(self):
            self.times = []

        def on_step_end(self, *_, **__):
            self.times.append(time.process_time())

    return Clock()


def trainer(student, teacher, rows, batch, folder):
    import transformers

    class Distilling(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **_):
            inputs.pop("labels")
            with torch.no_grad():
                targets = teacher(**inputs).logits
            return forward_kl(*(log_softmax(each, -1) for each in (model(**inputs).logits, targets)))

    transformers.logging.set_verbosity_error()

    def turn():
        made = Distilling(
            model=student(),
            args=transformers.TrainingArguments(**fair(folder, batch)),
            train_dataset=rows,
            data_collator=lambda some: {name: torch.stack([row[name] for row in some]) for name in some[0]},
            callbacks=[told := clock()],
        )
        return seconds_of(made, told)

    return turn


def trl(task, teacher, batch, folder):
    """TRL's trainers of a language model; none where it is not installed."""
    try:
        import datasets
        from trl import DistillationConfig, DistillationTrainer
        from trl.experimental.gkd import GKDConfig, GKDTrainer
    except ImportError as error:
        print(f"Without TRL's trainers: {error}\n")
        return {}
    warnings.simplefilter("ignore", FutureWarning)  # by transformers, of what trl says
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"input_ids": task.transfer.inputs.tolist()})
    given = fair(folder, batch) | {"temperature": 1.0, "beta": 0.0, "gradient_checkpointing": False}  # forward KL

    def tensors(some):
        tokens = torch.tensor([row["input_ids"] for row in some])
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}

    class OnCorpus(DistillationTrainer):
        """Learns on the corpus, where DistillationTrainer knows only the student's own text: nothing is generated."""

        def _prepare_inputs(self, some):
            tokens = tensors(some)["input_ids"]
            parts = {"prompt": tokens[:, :1], "completion": tokens[:, 1:]}
            masks = {f"{name}_mask": torch.ones_like(part) for name, part in parts.items()}
            counted = {"num_items_in_batch": masks["completion_mask"].sum()}
            return {f"{name}_ids": part for name, part in parts.items()} | masks | counted

    def turn(kind, config, **more):
        made = kind(
            model=task.student(),
            teacher_model=teacher,
            args=config,
            train_dataset=rows,
            processing_class=task.tokenizer,
            callbacks=[told := clock()],
            **more,
        )
        return seconds_of(made, told)

    return {
        "TRL GKDTrainer": lambda: turn(GKDTrainer, GKDConfig(**given, lmbda=0.0), data_collator=tensors),
        "TRL DistillationTrainer": lambda: turn(OnCorpus, DistillationConfig(**given)),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
