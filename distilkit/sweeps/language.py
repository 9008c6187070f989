"""The stored sweeps of the language models: chapters 04 to 06."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from distilkit import cells, divergences
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


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """Make the stored sweeps of the language models in `folder`; what is there already is not run again."""
    from distilkit.tasks import docs

    task = docs()
    kl = ["forward_kl", "reverse_kl", "jsd"]
    sweeps: list[tuple[str, Measure, Point, list[tuple[list[Point], Sequence[float]]], int]] = [
        (
            "language",
            _language,
            {"steps": 300},
            [(grid(student=["twin", "distilled"], tokens=[20_000]), LRS)],
            seeds,
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
                (grid(divergence=["forward_kl", "reverse_kl"], start=["scratch"]), LRS[1:]),
                (grid(divergence=["reverse_kl"], start=["warm"]), LRS[1:]),
            ],
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
