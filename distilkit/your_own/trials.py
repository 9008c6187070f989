"""Student and twin over several seeds, equally long and each at its own best learning rate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from distilkit import cost, metrics
from distilkit.cached import CachedTeacher, cache_teacher
from distilkit.divergences import IGNORED, Divergence, forward_kl
from distilkit.errors import BadValue, Diverged, whole
from distilkit.models import find_device, predict
from distilkit.reports import report
from distilkit.training import Knobs, distill
from distilkit.your_own.task import Own, falling, in_blocks

if TYPE_CHECKING:
    import pandas as pd

LRS = (0.0015, 0.004, 0.01)  # of a student that starts from scratch
TUNED_LRS = (3e-5, 1e-4, 3e-4)  # of one that was trained before
COMPARED = 256  # held-out rows on which student and teacher are compared
KINDS = ("distilled", "twin")
TOP = 64  # answers of the teacher that are kept at each place


@dataclass(frozen=True, eq=False)
class Trials:
    """What `trials` found.

    Attributes:
        results: a row a model and seed: model ("teacher", "distilled", "twin"), seed, lr, the scores of `task.score`,
            agreement and mean_kl (nats) with the teacher, parameters, size_mb, latency_ms.
        student, twin: of the first seed.
        histories: their `Step`s, a DataFrame each.
        tried: a row a rate: model, lr, what was misjudged of the validation rows, with the first seed.
        task: on which.
    """

    task: Own
    results: pd.DataFrame
    student: nn.Module
    twin: nn.Module
    histories: dict[str, pd.DataFrame]
    tried: pd.DataFrame

    def report(
        self,
        out: str | Path,
        *,
        title: str = "",
        settings: Mapping[str, Any] | None = None,
        examples: pd.DataFrame | None = None,
        command: str = "",
    ) -> Path:
        """Write the page to hand on, the results as CSV, and the student with its model card: see `dk.report`."""
        return report(
            out,
            self.results,
            by=self.task.by,
            larger=self.task.larger,
            title=title,
            kind=self.task.kind,
            settings=settings,
            data=self.task.source.report().table.frame,
            warnings=self.task.source.warnings,
            examples=examples,
            histories=self.histories,
            student=self.student,
            processor=self.task.processor,
            command=command,
        )

    def gain(self, score: str) -> tuple[float, float]:
        """Distilled − twin, paired by seed, and half its 95 % interval; nan with one seed."""
        distilled, twin = (
            self.results[self.results["model"] == name].sort_values("seed")[score] for name in ("distilled", "twin")
        )
        if len(distilled) < 2:
            return float(distilled.mean() - twin.mean()), float("nan")
        return metrics.paired(distilled, twin)


def trials(
    task: Own,
    teacher: nn.Module,
    *,
    transfer: str | None = None,
    divergence: Divergence = forward_kl,
    temperature: float = 2.0,
    alpha: float = 0.9,
    steps: int = 600,
    seeds: int = 3,
    lrs: Sequence[float] | None = None,
    device: str | torch.device | None = None,
    folder: str | Path | None = None,
) -> Trials:
    """Distil a student and train its twin on the labels alone, once a seed, and score both beside the teacher.

    Both make as many steps, with a rate that warms up and falls; of three rates each takes the one that misjudges least
    of the validation rows (of classes by answers, else by the loss), with the first seed. Held-out rows choose nothing.

    Args:
        task: as `own` makes it; `teacher`: of it.
        transfer: whose text the student learns on: one of `task.ways`, None the first. The twin has the labelled rows.
        divergence, temperature, alpha: of the student.
        steps, seeds: of each run, and how many there are; one seed gives no interval.
        lrs: the rates that are tried; one is taken as it is.
        device: where students learn.
        folder: where the teacher's answers are kept, to go on from after a stop; None: nowhere.
    """
    seeds = whole("seeds", seeds, 1, 1000, "one gives no interval, three a wide one, ten a fair one")
    steps = whole("steps", steps, 1, 10**9, "updates of each student")
    rates = tuple(lrs) if lrs is not None else TUNED_LRS if task.pretrained else LRS
    if not rates:
        raise BadValue("lrs is empty: give at least one learning rate, or None for three usual ones")
    place = tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder))
    with place as answers:
        # what a student writes is new at each step; of anything else the teacher is asked once, for all runs
        text = None if transfer == "student_text" else task.way(transfer, teacher, teacher)
        judge: nn.Module | CachedTeacher | None = teacher
        if task.silent:  # its words are labels, and all there is
            judge, alpha = None, 0.0
        elif text is not None:
            judge = cache_teacher(teacher, text, answers, top=TOP, temperature=temperature)

        def trained(kind: str, lr: float, seed: int) -> tuple[nn.Module, Any]:
            student = task.student(seed)
            taught = kind == "distilled"
            run = distill(
                student,
                judge if taught else None,
                task.train if not taught else text if text is not None else task.way(transfer, teacher, student),
                knobs=Knobs(temperature, alpha if taught else 0.0, falling(lr, steps)),
                steps=steps,
                divergence=divergence,
                seed=seed,
                device=device,
                hard=task.hard,
            )
            return run.result(), run.history

        return _collected(task, teacher, trained, rates, seeds, device)


def _collected(
    task: Own,
    teacher: nn.Module,
    trained: Callable[[str, float, int], tuple[nn.Module, Any]],
    rates: Sequence[float],
    seeds: int,
    device: Any,
) -> Trials:
    """Choose a rate for each kind, then train and judge one of each for every seed."""
    import pandas as pd

    tried: list[dict[str, Any]] = []
    first: dict[str, tuple[nn.Module, Any]] = {}
    best: dict[str, float] = {}
    for kind in KINDS:
        wrong = {}
        for lr in rates:
            try:
                run = trained(kind, lr, 0)
                wrong[lr] = task.misjudged(run[0])
            except Diverged:
                wrong[lr] = float("inf")
            tried.append({"model": kind, "lr": lr, "misjudged": wrong[lr]})
            if wrong[lr] == min(wrong.values()) < float("inf"):
                first[kind], best[kind] = run, lr
        if kind not in first:
            raise Diverged(f"the {kind} diverged at every rate of {rates}: give smaller ones, lrs=(1e-5, 1e-4)")
    test = task.test[:COMPARED]
    if not task.silent:
        test = in_blocks(teacher, test, metrics.COMPARED)[0]
    one = test.inputs[:1] if device is None else test.inputs[:1].to(find_device(device))
    against = None if task.silent else predict(teacher, test.inputs).float().cpu()

    def row(model: nn.Module, kind: str, seed: int | None, lr: float | None) -> dict[str, Any]:
        found = {"model": kind, "seed": seed, "lr": lr, **task.score(model)}
        if against is not None:
            logits, mask = predict(model, test.inputs).float().cpu(), test.labels != IGNORED
            found["agreement"] = metrics.agreement(logits, against, mask)
            found["mean_kl"] = metrics.mean_kl(logits, against, mask)
        if task.silent and model is teacher:
            return found  # its size is its owner's business
        return found | {
            "parameters": cost.parameters(model),
            "size_mb": cost.size(model) / 1e6,
            "latency_ms": 1000 * cost.latency(model, one, runs=20),
        }

    rows = [row(teacher, "teacher", None, None)]
    for seed in range(seeds):
        for kind in KINDS:
            student, _ = first[kind] if seed == 0 else trained(kind, best[kind], seed)
            rows.append(row(student, kind, seed, best[kind]))
    histories = {kind: pd.DataFrame(history) for kind, (_, history) in first.items()}
    student, twin = (first[kind][0] for kind in KINDS)
    return Trials(task, pd.DataFrame(rows), student, twin, histories, pd.DataFrame(tried))
