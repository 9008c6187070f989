"""The cells of the table that the kit is about: whose text the student learns on, and by which divergence."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from distilkit import divergences, metrics
from distilkit.errors import choice
from distilkit.models import predict
from distilkit.origin import remembered
from distilkit.training import Knobs, Run, distill
from distilkit.transfer import Examples, StudentText, complete, student_text, teacher_text

if TYPE_CHECKING:
    from distilkit.tasks import Text

TEXTS = ("corpus", "teacher", "student")
DIVERGENCES = {
    "forward_kl": divergences.forward_kl,
    "reverse_kl": divergences.reverse_kl,
    "jsd": divergences.jsd,
    "skew_reverse_kl": divergences.skew_reverse_kl,
    "labels": None,  # no divergence: the text's own next token
}
WARM_UP = 150  # steps on the corpus's labels, with which every cell begins
STEPS = 100  # of a cell
PROMPT, LENGTH = 16, 48  # tokens that a text begins with, and that are written after them
WRITTEN = 256  # texts that the teacher writes: about as many tokens as the corpus has
JUDGED = 64  # blocks of held-out text, and texts that a student writes after their beginnings


def warm_up(task: Text, seed: int, *, steps: int = WARM_UP, lr: float = 0.003) -> Run:
    """The run with which every cell begins: a fresh student, trained for a while on the corpus's labels alone."""
    return distill(task.student(seed), None, task.train, knobs=Knobs(alpha=0, lr=lr), steps=steps, seed=seed)


@remembered
def beginner(task: Text, seed: int, *, steps: int = WARM_UP, lr: float = 0.003) -> nn.Module:
    """The student that every cell begins with: the result of `warm_up`."""
    return warm_up(task, seed, steps=steps, lr=lr).result()


def cell(
    task: Text,
    student: nn.Module,
    teacher: nn.Module,
    *,
    text: str,
    divergence: str,
    lr: float = 0.003,
    steps: int = STEPS,
    seed: int = 0,
) -> Run:
    """The run of one cell: this student goes on with whose `text` and by which `divergence` (see TEXTS, DIVERGENCES).

    "labels" is ordinary training: on the corpus the twin, on the teacher's text sequence-level distillation. On the
    student's own text there are no labels to learn from.
    """
    text = choice("text", text, TEXTS)
    divergence = choice(
        "divergence", divergence, [name for name in DIVERGENCES if (text, name) != ("student", "labels")]
    )
    measure = DIVERGENCES[divergence]
    return distill(
        student,
        None if measure is None else teacher,
        learnt_text(task, student, teacher, text=text, seed=seed),
        knobs=Knobs(temperature=1, alpha=0 if measure is None else 1, lr=lr),
        divergence=measure or divergences.forward_kl,
        steps=steps,
        batch_size=8,
        seed=seed,
    )


def learnt_text(task: Text, student: nn.Module, teacher: nn.Module, *, text: str, seed: int) -> Examples | StudentText:
    """The transfer set of a row of the table. Prompts come from the corpus that the student has."""
    if text == "corpus":
        return task.train
    if text == "teacher":
        return _written(task.train, teacher, seed)
    return student_text(student, beginnings(task.train, WRITTEN, seed=seed), length=LENGTH)


@remembered
def beginnings(examples: Examples, count: int, *, seed: int = 0, length: int = PROMPT) -> Tensor:
    """`count` pieces of these texts to go on from, (count, length)."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(examples), (count,), generator=draw)
    places = torch.randint(examples.inputs.shape[1] - length + 1, (count,), generator=draw)
    return examples.inputs[rows[:, None], places[:, None] + torch.arange(length)]


def judge(task: Text, teacher: nn.Module, student: nn.Module, *, seed: int = 0) -> dict[str, float]:
    """Where a student lands: quality, fidelity and diversity.

    Returns:
        perplexity, bits_per_byte, accuracy: quality on held-out text; agreement, mean_kl (nats): fidelity to the
        teacher there; own_kl and exposure: mean KL on what the student itself writes after held-out beginnings, and its
        ratio to that on the text as it goes on; own_perplexity: the teacher's perplexity of what the student writes;
        distinct_2: the share of distinct pairs of tokens in it.
    """
    held_out = task.test.inputs[:JUDGED, : PROMPT + LENGTH]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        written = complete(student, held_out[:, :PROMPT], length=LENGTH)
    bias = metrics.exposure_bias(student, teacher, held_out, written, prompt=PROMPT)
    judged = predict(teacher, written)[:, PROMPT - 1 : -1]
    parts = []  # of 16 blocks: not all logits of both at once
    for inputs, against in zip(
        task.test.inputs[:JUDGED].split(16), _answers(teacher, task.test).split(16), strict=True
    ):
        logits = predict(student, inputs)
        parts.append((metrics.agreement(logits, against), metrics.mean_kl(logits, against)))
    agreement, mean_kl = np.mean(parts, axis=0).tolist()
    return {
        **task.score(student),
        "agreement": agreement,
        "mean_kl": mean_kl,
        "own_kl": bias.own,
        "exposure": bias.ratio,
        "own_perplexity": metrics.perplexity(judged, written[:, PROMPT:]),
        "distinct_2": metrics.distinct_n(written[:, PROMPT:], 2),
    }


@functools.lru_cache(maxsize=16)
def _written(examples: Examples, teacher: nn.Module, seed: int) -> Examples:
    """What the teacher writes after the corpus's beginnings: the same for each divergence."""
    return teacher_text(teacher, beginnings(examples, WRITTEN, seed=seed), length=LENGTH, seed=seed)


@functools.lru_cache(maxsize=2)
def _answers(teacher: nn.Module, test: Examples) -> Tensor:
    """The teacher's logits on held-out text: the same for each student that is judged."""
    return predict(teacher, test.inputs[:JUDGED])
