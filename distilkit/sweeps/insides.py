"""The stored sweep of hints: chapter 12."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilkit import metrics
from distilkit.hints import Hints
from distilkit.insides import Inside, cka, look_inside
from distilkit.losses import attention_loss
from distilkit.models import evaluating
from distilkit.sweeps.grid import TRIED, Jobs, Point, collect, grid
from distilkit.training import Knobs, distill

PAIRS = {1: 2, 2: 4}  # student's layer: teacher's layer
WEIGHTS = (0.3, 1.0, 3.0)
JUDGED = 48  # blocks of the test set, of which insides are compared
BEST_LR = {"twin": 0.001, "none": 0.003, "states": 0.003, "attention": 0.003}  # of the three in "language"


def _hinted(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """Few tokens: the twin, or the teacher's answers (forward KL, T = 1) with hints of one kind, or none.

    `cka_1`, `cka_2`: of the student's layers with the teacher's that they are matched with; `attention_kl`: of both.
    """
    own, seed = task.relabelled(settings["tokens"], point["seed"]), point["seed"]
    student, hints = own.student(seed), None
    if point["hints"] == "states":
        hints = Hints(states=PAIRS, states_weight=point["weight"])
    elif point["hints"] == "attention":
        hints = Hints(attention=PAIRS, attention_weight=point["weight"])
    alone = point["hints"] == "twin"
    knobs = Knobs(temperature=1, alpha=0 if alone else 1, lr=BEST_LR[point["hints"]])
    run = distill(
        student, None if alone else teacher, own.train, knobs=knobs, steps=settings["steps"], seed=seed, hints=hints
    )
    began = time.perf_counter()
    run.result()
    seconds = time.perf_counter() - began
    theirs, ours = _teachers(task, teacher), _inside(student, own.test.inputs[:JUDGED], list(PAIRS))
    each = {f"cka_{layer}": cka(ours.states[layer], theirs.states[other]) for layer, other in PAIRS.items()}
    apart = [attention_loss(ours.attention[layer], theirs.attention[other]) for layer, other in PAIRS.items()]
    return {
        **own.score(student),
        "agreement": metrics.agreement(ours.logits, theirs.logits),
        "mean_kl": metrics.mean_kl(ours.logits, theirs.logits),
        **each,
        "attention_kl": float(torch.stack(apart).mean()),
        "seconds": seconds,
    }


@functools.cache
def _teachers(task: Any, teacher: nn.Module) -> Inside:
    """The teacher's insides on the test set, which all runs are judged by."""
    return _inside(teacher, task.test.inputs[:JUDGED], list(PAIRS.values()))


@torch.no_grad()
def _inside(model: nn.Module, inputs: Tensor, layers: list[int]) -> Inside:
    """Logits (positions, classes), states (positions, width) and attention averaged over heads, in eval mode."""
    with evaluating(model):
        parts = [look_inside(model, some, states=layers, attention=layers) for some in inputs.split(16)]
    return Inside(
        torch.cat([part.logits.flatten(0, 1) for part in parts]),
        {layer: torch.cat([part.states[layer].flatten(0, 1) for part in parts]) for layer in layers},
        {layer: torch.cat([part.attention[layer].mean(1, keepdim=True) for part in parts]) for layer in layers},
    )


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """Make the stored sweep of hints in `folder`; what is there already is not run again."""
    if only and "insides" not in only:
        return
    from distilkit.tasks import docs

    kinds = ("states", "attention")
    run = functools.partial(
        collect,
        _hinted,
        docs(),
        settings={"tokens": 20_000, "steps": 300, "pairs": [list(pair) for pair in PAIRS.items()]},
        command="python -m distilkit.sweeps insides",
        path=folder / "insides.parquet",
        jobs=jobs,
    )
    plain = grid(hints=["none", "twin"], weight=[0.0], seed=range(seeds))
    tried = grid(hints=kinds, weight=WEIGHTS, seed=range(min(seeds, TRIED)))
    means = run(tried).groupby(["hints", "weight"])["perplexity"].mean()
    chosen = [point for kind in kinds for point in grid(hints=[kind], weight=[means[kind].idxmin()], seed=range(seeds))]
    run(plain + tried + [point for point in chosen if point not in tried])
