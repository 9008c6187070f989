"""The stored sweep of chapter 08: what worked steps are worth to a student, and whether it believes its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from distilkit import metrics
from distilkit.sweeps.grid import Jobs, Point, collect_tuned, grid
from distilkit.sweeps.tables import at_best_lr
from distilkit.training import Knobs, Schedule, distill

if TYPE_CHECKING:
    import pandas as pd

SIZES = (125, 250, 500, 1000, 2000)  # labelled problems
FORMS = ("answer", "rationale", "two_tasks")
LRS = (0.002, 0.004)
STEPS = 400
BATCH = 8
LONG = 4  # times as many steps: what more computing does
TRIED_ON = 2  # seeds on which the rates are compared
ASKED = 200  # problems of which the longer and the other ones, and the corrupted solutions, are solved


def falling(lr: float, steps: int) -> Schedule:
    """From `lr` in a straight line to a twentieth of it."""
    return lambda step: lr * (1 - 0.95 * step / steps)


def _step_by_step(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student that learns from labelled problems in this form; no teacher is asked.

    `tokens` are all that it read; `explained`, of a student with steps: the share of problems on which its answer is
    the result of its own last step; `followed` and `stayed`: of solutions that it is made to begin with a wrong result
    the share whose answer follows it, or is the true one nevertheless; `own_`, the same of the student's own steps.
    """
    own, seed, form = task.relabelled(point["problems"], point["seed"]), point["seed"], point["form"]
    student, examples = own.student(seed), own.examples(own.problems, form)
    steps = settings["steps"] * point["times"]
    knobs, batch = Knobs(alpha=0, lr=falling(point["lr"], steps)), settings["batch_size"]
    began = time.perf_counter()
    distill(student, None, examples, knobs=knobs, steps=steps, batch_size=batch, seed=seed).result()
    found: Point = {"seconds": time.perf_counter() - began}
    end = own.tokenizer.eos_token_id
    found["tokens"] = float((examples.inputs != end).sum()) / len(examples) * steps * batch
    found |= own.score(student, form)
    for name in ("longer", "other"):
        found[name] = own.score(student, form, problems=getattr(own, name)[:ASKED])["accuracy"]
    return found | faithfulness(own, student, form)


def faithfulness(task: Any, student: nn.Module, form: str) -> Point:
    """Whether a student's answer is that of its own steps, and goes with them when one of them is corrupted."""
    nothing = float("nan")
    found = dict.fromkeys(("explained", "followed", "stayed", "own_followed", "own_stayed", "corrupted"), nothing)
    if form == "answer":
        return found
    problems = [one for one in task.held_out if len(one.steps) > 1][:ASKED]
    answers = task.solve(student, problems, form=form)
    explained = answers if form == "rationale" else task.solve(student, problems, form="explain")
    ends = [one.steps[-1].rpartition("=")[2] if one.steps else "" for one in explained]
    same = [end == one.answer for end, one in zip(ends, answers, strict=True)]
    found["explained"] = sum(same) / len(same)
    if form != "rationale":
        return found
    right = [one for one in answers if one.is_right]
    found["corrupted"] = len(right)
    for start, solutions in (("", problems), ("own_", right)):
        corrupted = task.corrupt(solutions)
        if not corrupted:
            continue
        asked = [one.problem for one in corrupted]
        written = task.solve(student, asked, form=form, given=[one.given for one in corrupted])
        pairs = list(zip(written, corrupted, strict=True))
        found[f"{start}followed"] = sum(one.answer == wrong.answer for one, wrong in pairs) / len(pairs)
        found[f"{start}stayed"] = sum(one.answer == wrong.problem.answer for one, wrong in pairs) / len(pairs)
    return found


def step_means(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a form and size, at its best rate: mean accuracy and its half-width, and how far above the answers alone.

    The answers alone had as many problems and steps, and the same seed.

    Args:
        frame: `load_sweep("step_by_step")`.

    Returns:
        Columns form, times, problems, lr, seeds, tokens (millions), accuracy, half, gain, gain_half, longer, other,
        explained, followed, stayed.
    """
    import pandas as pd

    rows, cells = [], {}
    for cell, runs in frame.groupby(["form", "times", "problems"], sort=False):
        cells[cell] = at_best_lr(runs, "accuracy").set_index("seed").sort_index()
    for (form, times, size), runs in cells.items():
        mean, half = metrics.interval(runs["accuracy"])
        gain, gain_half = metrics.paired(runs["accuracy"], cells["answer", times, size]["accuracy"][runs.index])
        about = {"lr": runs["lr"].iloc[0], "seeds": len(runs), "tokens": runs["tokens"].mean() / 1e6}
        quality = {"accuracy": mean, "half": half, "gain": gain, "gain_half": gain_half}
        names = ["longer", "other", "explained", "followed", "stayed", "own_followed", "own_stayed"]
        rows.append({"form": form, "times": times, "problems": size, **about, **quality, **runs[names].mean()})
    return pd.DataFrame(rows).sort_values(["form", "times", "problems"], ignore_index=True)


def problems_saved(frame: pd.DataFrame, form: str = "rationale") -> pd.DataFrame:
    """For each seed: how many problems with steps do what the most answers do, and how many times fewer that is.

    Between sizes the accuracy is read off a straight line over log₂(problems). Where the smallest size is already
    better, that size stands: the saving is then at least so large; where not even the largest is as good, it is 1.

    Returns:
        Columns seed, accuracy (of the most answers alone), needed (problems in this form), saved (times fewer).
    """
    import numpy as np
    import pandas as pd

    cells = frame[frame["times"] == 1].groupby(["form", "problems"])
    runs, rows = pd.concat([at_best_lr(cell, "accuracy") for _, cell in cells]), []
    for seed, own in runs.groupby("seed"):
        most = own[own["form"] == "answer"].nlargest(1, "problems").iloc[0]
        mine = own[own["form"] == form].sort_values("problems")
        rising = np.maximum.accumulate(mine["accuracy"].to_numpy())
        needed = 2 ** np.interp(most["accuracy"], rising, np.log2(mine["problems"]))
        saved = most["problems"] / needed
        rows.append({"seed": seed, "accuracy": most["accuracy"], "needed": needed, "saved": saved})
    return pd.DataFrame(rows)


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """Make the stored sweep in `folder`; what is there already is not run again."""
    from distilkit.tasks.arithmetic import arithmetic

    if only and "step_by_step" not in only:
        return
    cells = grid(form=FORMS, times=[1], problems=SIZES) + grid(form=FORMS[:2], times=[LONG], problems=SIZES[2::2])
    collect_tuned(
        _step_by_step,
        arithmetic(SIZES[0]),
        [(cells, LRS)],
        {"steps": STEPS, "batch_size": BATCH},
        command="python -m distilkit.sweeps step_by_step",
        path=folder / "step_by_step.parquet",
        seeds=seeds,
        tried_on=TRIED_ON,
        by="accuracy",
        jobs=jobs,
    )
