"""python -m distilkit.tasks [digits] [docs] [domains] [arithmetic] [shop] [speech] [scenes] [translation] [requests]

Or all. digits takes half a minute, requests three, arithmetic five, docs, domains, shop and speech about 20 minutes
each on one core, scenes and translation nearly an hour. A run that was stopped goes on where it was, but for those of
digits and requests.
"""

import functools
import gzip
import hashlib
import json
import math
import operator
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch

from distilkit.adaptive import cosine
from distilkit.cached import CachedTeacher, cache_teacher
from distilkit.configs import write_sums
from distilkit.divergences import UNLABELLED
from distilkit.losses import ctc_loss
from distilkit.models import save, write, write_note, write_noted
from distilkit.pretrained import find_tokenizer
from distilkit.tasks import arithmetic as problems
from distilkit.tasks.arithmetic import SPREAD, generate, train_tokenizer as train_problem_tokenizer
from distilkit.tasks.desk import conversations
from distilkit.tasks.digits import TEACHER, train_teacher
from distilkit.tasks.docs import docs, read_documentation, train_tokenizer, write_tokens
from distilkit.tasks.domains import VOCABULARY, corpus, domains, write_tokens as write_domain_tokens
from distilkit.tasks.grammar import sentences
from distilkit.tasks.scenes import (
    SHAPE as SEERS,
    scenes,
    teachers_examples as teachers_scenes,
    unlabelled_examples as unlabelled_scenes,
)
from distilkit.tasks.seer import seer
from distilkit.tasks.shop import ANSWERED, LABELLED, examples as shop_examples, shop, support_of
from distilkit.tasks.speech import DISTILLED, SHAPES, TWIN_LR, listener, speech, teachers_examples, unlabelled_examples
from distilkit.tasks.text import blocks, llama, train_digit_tokenizer
from distilkit.tasks.translation import (
    ENGLISH,
    TEACHER_SHAPE,
    Bilingual,
    pegasus,
    task_of_grammar,
    translation,
    word_tokenizer,
)
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples
from distilkit.your_own.labels import Texts
from distilkit.your_own.task import TEACHER_LR, own

DATA = Path(__file__).parents[2] / "data"
REQUESTS = {"ask back": "number missing", "refusal": "not our business", "policy": "rules"}  # kinds, by better names


def train_docs(folder: Path, *, layers: int = 4, width: int = 192, steps: int = 2400, seed: int = 0) -> None:
    """Python's documentation, its tokenizer, and a Llama trained on all that is not held out (see data/README.md).

    Seven times over the text, and a strong weight decay: from the tenth time on it learns the text by heart.
    """
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    texts = read_documentation()
    texts.to_parquet(folder / "corpus.parquet", compression="zstd", compression_level=19, index=False)
    train_tokenizer(texts["text"][~texts["held_out"]].tolist(), folder / "teacher")
    write_tokens(texts, folder)
    task = docs()
    teacher = llama(len(task.tokenizer), layers=layers, width=width, seed=seed)
    examples = blocks(task.pool, 128, every=64)
    score = train_on_text(teacher, examples, task.score, "docs", steps=steps, seed=seed)
    write_teacher(teacher, folder, {"command": "python -m distilkit.tasks docs", "seed": seed, "steps": steps}, score)


def train_domains(folder: Path, *, layers: int = 4, width: int = 192, steps: int = 1500, seed: int = 0) -> None:
    """Four domains, their tokenizer, and a Llama trained as `train_docs` does on all of them at once.

    Half of what it reads is documentation, as half of the text is; beside its test stands that of the docs' teacher.
    """
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    texts = corpus()
    train_digit_tokenizer([text for pool, _ in texts.values() for text in pool], folder / "teacher", VOCABULARY)
    write_domain_tokens(texts, folder)
    task = domains()
    teacher = llama(len(task.tokenizer), layers=layers, width=width, seed=seed)
    first, *others = (blocks(text.pool, 128, every=64) for text in task.texts.values())
    examples = functools.reduce(operator.add, others, first)
    train_on_text(teacher, examples, task.score, "domains", steps=steps, seed=seed)
    alone = docs()
    score = {
        **{name: text.score(teacher) for name, text in task.texts.items()},
        "docs, by the teacher of docs alone": alone.score(alone.teacher()),
    }
    about = {"command": "python -m distilkit.tasks domains", "seed": seed, "steps": steps}
    write_teacher(teacher, folder, about, score)


def train(
    name: str,
    student: torch.nn.Module,
    teacher: torch.nn.Module | CachedTeacher | None,
    examples: Examples,
    score: Callable[[torch.nn.Module], dict[str, float]],
    *,
    knobs: Knobs,
    steps: int,
    **how: Any,
) -> torch.nn.Module:
    """A student that learnt, going on where a run that was stopped was; every 200 steps, how good it is by then."""
    run = distill(
        student,
        teacher,
        examples,
        knobs=knobs,
        steps=steps,
        checkpoint=DATA.parent / "build" / f"{name}.safetensors",
        **how,
    )
    for step in run:
        if step.step % 200 == 0:
            run.save()
            print(name, step.step, f"{step.loss:.3f}", json.dumps(score(run.student)), flush=True)
    return run.student


def warmed(lr: float, steps: int) -> Callable[[int], float]:
    """A learning rate that comes to `lr` within 200 steps, and falls by half a cosine to a twentieth of it."""
    return lambda step: lr * min((step + 1) / 200, 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2)


def straight(lr: float, steps: int) -> Callable[[int], float]:
    """A learning rate that comes to `lr` within 100 steps, and falls in a straight line to a twentieth of it."""
    return lambda step: lr * min((step + 1) / 100, 1 - 0.95 * step / steps)


def train_on_text(
    teacher: torch.nn.Module,
    examples: Examples,
    score: Callable[[torch.nn.Module], dict[str, float]],
    name: str,
    *,
    steps: int,
    seed: int,
    batch_size: int = 16,
    weight_decay: float = 0.5,
) -> dict[str, float]:
    """Train on the text alone, with a strong weight decay; its score."""
    how: dict[str, Any] = {"batch_size": batch_size, "weight_decay": weight_decay, "seed": seed}
    knobs = Knobs(alpha=0, lr=warmed(2e-3, steps))
    return score(train(f"{name}-teacher", teacher, None, examples, score, knobs=knobs, steps=steps, **how))


def write_teacher(teacher: torch.nn.Module, folder: Path, about: dict[str, object], score: object) -> None:
    """The teacher, in its place in the folder of its task."""
    write_model(teacher, folder / "teacher", about, score)


def write_model(model: torch.nn.Module, folder: Path, about: dict[str, object], score: object) -> None:
    """A model in Hugging Face's format, its sha256, and how it was made."""
    model.save_pretrained(folder)  # type: ignore[operator]
    weights = folder / "model.safetensors"
    write_note(weights, hashlib.sha256(weights.read_bytes()).hexdigest())
    made = about | {"torch": torch.__version__, "test": score}
    write(folder / "training.json", json.dumps(made, indent=1).encode() + b"\n")
    write_sums(folder)


def write_weights(model: torch.nn.Module, path: Path, about: dict[str, object], score: object) -> None:
    """A model's weights, their sha256, and how they were made."""
    made = about | {"torch": torch.__version__, "test": score}
    write_note(path, save(model, path, about={key: str(value) for key, value in made.items()}))


def train_arithmetic(folder: Path, *, layers: int = 4, width: int = 128, steps: int = 1600, seed: int = 0) -> None:
    """A tokenizer whose digits are tokens, and a Llama that learnt steps and answers of 12,000 problems."""
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    train_problem_tokenizer(folder / "teacher")
    task = problems(1)
    teacher = llama(len(task.tokenizer), layers=layers, width=width, seed=seed, initializer_range=SPREAD)
    examples = task.examples(generate(12_000, seed=seed))
    train_on_text(teacher, examples, task.score, "arithmetic", steps=steps, seed=seed)
    tests = {"held_out": task.held_out, "longer": task.longer, "other": task.other}
    score = {name: task.score(teacher, problems=test) for name, test in tests.items()}
    about = {"command": "python -m distilkit.tasks arithmetic", "seed": seed, "steps": steps}
    write_teacher(teacher, folder, about, score)


def train_shop(folder: Path, *, steps: int = 3000, seed: int = 0) -> None:
    """A tokenizer, a teacher of 12,000 conversations at the shop's desk, what it answered, a student and its twin.

    Student and twin differ in what they learn from alone: all that the teacher answered, or the labelled conversations.
    """
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    dialogues = list(conversations(12_000, "teacher"))
    texts = [f"Customer: {turn.customer}\n{turn.written}" for dialogue in dialogues for turn in dialogue.turns]
    train_digit_tokenizer(texts, folder / "teacher", 1024)
    tokenizer = find_tokenizer(folder / "teacher")
    task = support_of(tokenizer, shop_examples(tokenizer, dialogues[:1]), labelled=LABELLED, seed=seed)
    teacher = llama(len(tokenizer), layers=6, width=128, seed=seed, initializer_range=0.05)
    how: dict[str, Any] = {"seed": seed, "batch_size": 8, "weight_decay": 0.1}
    score = train_on_text(teacher, task.examples(dialogues), task.score, "shop", steps=steps, **how)
    about = {"command": "python -m distilkit.tasks shop", "seed": seed, "steps": steps}
    write_teacher(teacher, folder, about, score)

    asked = list(conversations(ANSWERED, "unlabelled"))
    answered = task.examples(task.served(teacher, asked), labelled=False)
    data = safetensors.torch.save({"tokens": answered.inputs.short(), "written": answered.labels == UNLABELLED})
    write_noted(folder / "answered.safetensors", data)
    task = shop(seed=seed)
    said = cache_teacher(teacher, task.transfer, DATA.parent / "build" / "shop-answers", top=8)
    for name, judge, text, lr in (("distilled", said, task.transfer, 8e-3), ("twin", None, task.train, 4e-3)):
        knobs = Knobs(temperature=1, alpha=float(judge is not None), lr=cosine(lr, lr / 20, steps))
        score_of = functools.partial(task.score, limit=20)
        student = train(f"shop-{name}", task.student(seed), judge, text, score_of, knobs=knobs, steps=steps, **how)
        tokenizer.save_pretrained(folder / name)
        write_model(student, folder / name, about | {"lr": lr}, task.score(student))


def train_speech(folder: Path, *, steps: int = 1600, students: int = 3000, seed: int = 0) -> None:
    """A listener of 8,000 readings, what it says of each tick of 10,000 distilled, and the student's twin.

    Of those 10,000 the student knows 200 transcripts, which are all that its twin has.
    """
    task = speech(seed=seed)
    judge: CachedTeacher | None = None
    more = task.transfer + unlabelled_examples()
    ways: dict[str, tuple[Examples, float, float]] = {
        "teacher": (teachers_examples(), 0, 3e-3),
        "distilled": (more, *DISTILLED),
        "twin": (task.train, 0, TWIN_LR),
    }
    for name, (sounds, alpha, lr) in ways.items():
        to, batch_size = (steps, 32) if name == "teacher" else (students, 16)
        knobs = Knobs(1, alpha, straight(lr, to))
        how: dict[str, Any] = {"batch_size": batch_size, "weight_decay": 0.01, "seed": seed, "hard": ctc_loss}
        model = listener(*SHAPES[name], seed=seed)
        score = functools.partial(task.score, limit=100)
        train(f"speech-{name}", model, judge if alpha else None, sounds, score, knobs=knobs, steps=to, **how)
        about = {"command": "python -m distilkit.tasks speech", "seed": seed, "steps": to, "lr": lr}
        write_weights(model, folder / f"{name}.safetensors", about, task.score(model))
        if name == "teacher":
            judge = cache_teacher(model, more, DATA.parent / "build" / "speech-answers", top=8)


def train_scenes(folder: Path, *, steps: int = 6000, students: int = 8000, seed: int = 0) -> None:
    """A teacher of 20,000 scenes in colour, what it says of 26,000 pairs distilled into a sketch's student, its twin.

    Of those pairs the student knows the answers and captions of 100, which are all that its twin has.
    """
    task = scenes(seed=seed)

    def trained(name: str, model: torch.nn.Module, judge: Any, seen: Examples, lr: float, to: int) -> torch.nn.Module:
        knobs = Knobs(1, 0.9 if judge else 0, warmed(lr, to))
        how: dict[str, Any] = {"batch_size": 32, "weight_decay": 0.02, "seed": seed}
        score = functools.partial(task.score, limit=100)
        train(f"scenes-{name}", model, judge, seen, score, knobs=knobs, steps=to, **how)
        about = {"command": "python -m distilkit.tasks scenes", "seed": seed, "steps": to, "lr": lr}
        write_weights(model, folder / f"{name}.safetensors", about, task.score(model))
        return model

    teacher = trained("teacher", seer("rgb", *SEERS["teacher"], seed=seed), None, teachers_scenes(), 2e-3, steps)
    more = task.captioned(teacher) + unlabelled_scenes(teacher)
    said = cache_teacher(teacher, more, DATA.parent / "build" / "scenes-answers", top=8)
    trained("distilled", task.student(seed), said, more, 3e-3, students)
    trained("twin", task.student(seed), None, task.train, 3e-3, students)


def train_translation(folder: Path, *, steps: int = 7000, students: int = 10_000, seed: int = 0) -> None:
    """A tokenizer and a teacher of 100,000 generated sentences, what it made of 50,000 others, a student and its twin.

    The teacher takes the likeliest word each time; the student learns its words, and its distribution at each of them.
    """
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    pairs = tuple((one.english, one.french) for one in sentences(100_000, "teacher"))
    tokenizer = word_tokenizer(pairs)
    tokenizer.save_pretrained(folder / "teacher")

    def trained(task: Bilingual, name: str, judge: Any, text: Examples, lr: float, to: int, **how: Any) -> Any:
        model = pegasus(len(tokenizer), **TEACHER_SHAPE, seed=seed) if name == "teacher" else task.student(seed)
        knobs = Knobs(1, float(judge is not None), warmed(lr, to))
        score = functools.partial(task.score, limit=100)
        train(f"translation-{name}", model, judge, text, score, knobs=knobs, steps=to, seed=seed, **how)
        tokenizer.save_pretrained(folder / name)
        about = {"command": "python -m distilkit.tasks translation", "seed": seed, "steps": to, "lr": lr}
        write_model(model, folder / name, about, task.score(model))
        return model

    task = task_of_grammar(pairs, tokenizer)
    teacher = trained(task, "teacher", None, task.train, 2e-3, steps, batch_size=64)
    english = [one.english for one in sentences(ENGLISH, "english")]
    lines = [f"{one}\t{said}" for one, said in zip(english, task.write(teacher, english), strict=True)]
    write_noted(folder / "answered.tsv.gz", gzip.compress("\n".join(lines).encode(), mtime=0))
    task = translation(seed=seed)
    said = cache_teacher(teacher, task.transfer, DATA.parent / "build" / "translation-answers", top=8)
    trained(task, "distilled", said, task.transfer, 4e-3, students, batch_size=32)
    trained(task, "twin", None, task.train, 4e-3, students, batch_size=32)


def messages(count: int, seed: str, known: frozenset[str] = frozenset()) -> dict[str, str]:
    """So many messages of customers and their kinds, none of those known, no two the same."""
    found: dict[str, str] = {}
    for dialogue in conversations(10 * count, f"requests {seed}"):
        before = ""
        for turn in dialogue.turns:
            kind = "order number" if before == "ask back" else REQUESTS.get(turn.kind, turn.kind)
            before = turn.kind
            if turn.customer.lower() not in known:
                found.setdefault(turn.customer, kind)
        if len(found) >= count:
            break
    return dict(list(found.items())[:count])


def train_requests(folder: Path, *, steps: int = 1_500) -> None:
    """What customers write, few of it labelled, in two tables, and a BERT that learnt from others (chapter 18)."""
    test = messages(500, "test")
    held_out = frozenset(text.lower() for text in test)
    train = messages(2_000, "train", held_out)
    kinds = sorted(set(train.values()))
    texts = [*train]
    random.Random(0).shuffle(texts)
    kept = {text for kind in kinds for text in [one for one in texts if train[one] == kind][:10]}
    tables = {
        "train": pd.DataFrame({"text": texts, "label": [train[text] if text in kept else "" for text in texts]}),
        "test": pd.DataFrame({"text": [*test], "label": [*test.values()]}),
    }
    for name, table in tables.items():
        write(folder / "messages" / f"{name}.csv", table.to_csv(index=False).encode())
    others = messages(8_000, "teacher", held_out)
    rows = [{"text": text, "label": kind} for text, kind in others.items()]
    task = own(rows, teacher_steps=steps)
    assert isinstance(task, Texts)
    teacher = task.trained(task.new_model("teacher", 0), TEACHER_LR)
    judged = own(folder / "messages")
    judged.processor, judged.classes = task.processor, task.classes
    score = judged.score(teacher)
    task.processor.save_pretrained(folder / "teacher")
    write_model(teacher, folder / "teacher", {"command": "python -m distilkit.tasks requests", "steps": steps}, score)


torch.set_num_threads(1)
names = sys.argv[1:] or [
    "digits",
    "docs",
    "domains",
    "arithmetic",
    "shop",
    "speech",
    "scenes",
    "translation",
    "requests",
]
if "digits" in names:
    print("digits", train_teacher(DATA / TEACHER))
if "docs" in names:
    train_docs(DATA / "docs")
if "domains" in names:
    train_domains(DATA / "domains")
if "arithmetic" in names:
    train_arithmetic(DATA / "arithmetic")
if "shop" in names:
    train_shop(DATA / "shop")
if "speech" in names:
    train_speech(DATA / "speech")
if "scenes" in names:
    train_scenes(DATA / "scenes")
if "translation" in names:
    train_translation(DATA / "translation")
if "requests" in names:
    train_requests(DATA / "requests")
