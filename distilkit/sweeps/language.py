"""The stored sweeps of the language models: chapters 04 to 06."""

from __future__ import annotations

import copy
import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distilkit import cells, divergences
from distilkit.cached import CachedTeacher, cache_teacher
from distilkit.models import predict
from distilkit.sweeps.grid import TRIED, Jobs, Measure, Point, collect_tuned, grid
from distilkit.training import Knobs, distill

LRS = (0.001, 0.003, 0.01)  # each side has its best


@functools.cache
def _own(task: Any, tokens: int, seed: int) -> Any:
    return task.relabelled(tokens, seed)


@functools.cache
def _beginner(task: Any, tokens: int, seed: int, steps: int) -> nn.Module:
    return cells.beginner(_own(task, tokens, seed), seed, steps=steps)


def _language(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """Few tokens: the twin on them alone, or with the teacher's answers to the same tokens (forward KL, T = 1).

    `best_perplexity` is the lowest of those every 50 steps, on the test set: as if training had stopped there.
    """
    own = _own(task, point["tokens"], point["seed"])
    student, seed = own.student(point["seed"]), point["seed"]
    alone = point["student"] == "twin"
    knobs = Knobs(temperature=1, alpha=0 if alone else 1, lr=point["lr"])
    run = distill(student, None if alone else teacher, own.train, knobs=knobs, steps=settings["steps"], seed=seed)
    seen = [own.score(student)["perplexity"] for step in run if step.step % 50 == 0]
    return {**cells.judge(own, teacher, student), "best_perplexity": min(seen)}


def _cell(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A cell of the table, from a beginner of the same seed."""
    own, seed = _own(task, settings["tokens"], point["seed"]), point["seed"]
    student = copy.deepcopy(_beginner(task, settings["tokens"], seed, settings["warm_up"]))
    began = time.perf_counter()
    cell = {name: point[name] for name in ("text", "divergence", "lr")}
    cells.cell(own, student, teacher, **cell, steps=settings["steps"], seed=seed).result()
    return {"seconds": time.perf_counter() - began} | cells.judge(own, teacher, student)


def _on_the_way(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """One divergence all the way, or after half of it by forward KL: quality at each quarter, and where it ends."""
    own, seed, quarter = _own(task, settings["tokens"], point["seed"]), point["seed"], settings["steps"] // 4
    student, measure = own.student(seed), getattr(divergences, point["divergence"])
    parts = [(measure, 4)] if point["start"] == "scratch" else [(divergences.forward_kl, 2), (measure, 2)]
    seen: Point = {}
    for divergence, quarters in parts:
        knobs = Knobs(temperature=1, alpha=1, lr=point["lr"])
        steps = quarters * quarter
        for step in distill(student, teacher, own.train, knobs=knobs, divergence=divergence, steps=steps, seed=seed):
            if step.step % quarter == 0:
                seen[f"perplexity_{len(seen) + 1}"] = own.score(student)["perplexity"]
    return seen | cells.judge(own, teacher, student)


def _cached(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """Few tokens, and of the teacher's answers the top-k alone: where the student lands, what lies in the tail.

    `bound` says by how much the cache moves the gradient at most, `moved` by how much it does at the end: in the L1
    norm, with respect to a position's logits, in the mean over positions.
    """
    own, seed = _own(task, point["tokens"], point["seed"]), point["seed"]
    student, knobs = own.student(seed), Knobs(temperature=1, alpha=1, lr=point["lr"])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        cache = cache_teacher(teacher, own.train, folder, top=point["top"], tail=point["tail"])
        distill(student, cache, own.train, knobs=knobs, steps=settings["steps"], seed=seed).result()
        found = {"tail_mass": cache.tail_mass.mean, "bound": cache.error.mean}
        return cells.judge(own, teacher, student) | found | {"moved": _moved(cache, own.train.inputs, teacher, student)}


def _moved(cache: CachedTeacher, inputs: torch.Tensor, teacher: nn.Module, student: nn.Module, rows: int = 32) -> float:
    logits = predict(student, inputs[:rows]).requires_grad_()
    whole = divergences.forward_kl(logits, predict(teacher, inputs[:rows]))
    kept = divergences.forward_kl(*cache.at(slice(rows)).lump(logits, cache.temperature))
    both = (torch.autograd.grad(loss, logits)[0] for loss in (whole, kept))
    return float(torch.sub(*both).abs().sum())  # forward_kl is a mean over positions, and so is its gradient's sum


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """Make the stored sweeps of the language models in `folder`; what is there already is not run again."""
    from distilkit.tasks import docs

    task = docs()
    kl = [name for name in cells.DIVERGENCES if name != "labels"]
    sweeps: list[tuple[str, Measure, Point, list[tuple[list[Point], Sequence[float]]], int]] = [
        (
            "language",
            _language,
            {"steps": 300},
            [(grid(student=["twin", "distilled"], tokens=[20_000]), LRS)],
            seeds,
        ),
        (
            "cached",
            _cached,
            {"steps": 300},
            [(grid(top=[8, 32, 128], tail=["lumped", "renormalised"], tokens=[20_000]), LRS[1:])],
            TRIED,
        ),
        (
            "board",
            _cell,
            {"tokens": 20_000, "warm_up": cells.WARM_UP, "steps": cells.STEPS},
            [
                (grid(text=["corpus", "teacher"], divergence=["labels"]), LRS),
                (grid(text=cells.TEXTS, divergence=kl), LRS[1:]),
            ],
            TRIED,
        ),
        (
            "on_the_way",
            _on_the_way,
            {"tokens": 20_000, "steps": 200},
            [
                (grid(divergence=["forward_kl", "reverse_kl", "jsd"], start=["scratch"]), LRS[1:]),
                (grid(divergence=["reverse_kl", "jsd"], start=["warm"]), LRS[1:]),
            ],
            TRIED,
        ),
        (
            "at_the_end",
            _on_the_way,
            {"tokens": 20_000, "steps": 1600},
            [(grid(divergence=["forward_kl", "reverse_kl", "jsd"], start=["scratch"]), LRS[:2])],
            TRIED,
        ),
    ]
    for name, measure, settings, grids, tried_on in sweeps:
        if not only or name in only:
            command, path = f"python -m distilkit.sweeps {name}", folder / f"{name}.parquet"
            collect_tuned(
                measure,
                task,
                grids,
                settings,
                command=command,
                path=path,
                seeds=seeds,
                tried_on=tried_on,
                jobs=jobs,
            )
