"""The stored sweep of a teacher that speaks another tokenizer than its student: chapter 09."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distilkit import cells, other_tokens
from distilkit.divergences import forward_kl
from distilkit.losses import uld_loss
from distilkit.other_tokens import OtherTokens
from distilkit.sweeps.grid import Jobs, Point, collect_tuned, grid
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples, teacher_text

LRS = (0.001, 0.003, 0.01)
ALPHA = 0.6  # that of Boizard et al. 2024: the teacher's part weighs 1.5 beside the labels' 1
WAYS = ("twin", "carried", "uld", "retold")


def _in_other_tokens(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of another tokenizer: the twin (labels), or with what the teacher says, carried over in three ways.

    "carried": its distribution, by `OtherTokens`; "uld": sorted probabilities where a token of both ends; "retold":
    labels alone, on the corpus and as much text that the teacher wrote.
    """
    way, seed = point["way"], point["seed"]
    own, tokenizer = _own(task, settings["vocabulary"], point["spaces"])
    own = own.relabelled(own.labelled, seed)
    learnt, asked = own.train, None
    began = time.perf_counter()
    if way == "retold":
        text = other_tokens.retold(_written(task, teacher, seed), task.tokenizer, tokenizer)
        learnt = Examples(torch.cat([learnt.inputs, text.inputs]), torch.cat([learnt.labels, text.labels]))
    elif way != "twin":
        asked = OtherTokens(teacher, task.tokenizer, tokenizer, translate=way == "carried")
    student = own.student(seed)
    distill(
        student,
        asked,
        learnt,
        knobs=Knobs(temperature=1, alpha=0 if asked is None else settings["alpha"], lr=point["lr"]),
        divergence=uld_loss if way == "uld" else forward_kl,
        steps=settings["steps"],
        seed=seed,
    ).result()
    return {"seconds": time.perf_counter() - began} | own.score(student)


@functools.cache
def _own(task: Any, vocabulary: int, spaces: str) -> tuple[Any, Any]:
    """The task in another tokenizer's tokens, and that tokenizer."""
    tokenizer = other_tokens.train_tokenizer(task, vocabulary, spaces=spaces)
    return other_tokens.respoken(task, tokenizer), tokenizer


@functools.cache
def _written(task: Any, teacher: nn.Module, seed: int) -> Examples:
    """As many blocks as the student's corpus has, begun with its words and gone on with by the teacher."""
    corpus = task.relabelled(task.labelled, seed).train
    context = corpus.inputs.shape[1]
    prompts = cells.beginnings(corpus, len(corpus), seed=seed)
    return teacher_text(teacher, prompts, length=context + 1 - cells.PROMPT, seed=seed)


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """Make the stored sweep in `folder`; what is there already is not run again."""
    if only and "other_tokens" not in only:
        return
    from distilkit.tasks import docs

    for points in (grid(spaces=["before"], way=WAYS), grid(spaces=["behind"], way=["twin", "carried"])):
        collect_tuned(
            _in_other_tokens,
            docs(tokens=20_000),
            [(points, LRS)],
            {"vocabulary": 640, "alpha": ALPHA, "steps": 150},
            command="python -m distilkit.sweeps other_tokens",
            path=folder / "other_tokens.parquet",
            seeds=seeds,
            by="bits_per_byte",
            jobs=jobs,
        )
