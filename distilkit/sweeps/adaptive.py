"""The stored race of chapter 13: each adaptive method against a constant that was tuned with as many trials."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from distilkit import divergences, metrics
from distilkit.adaptive import LearnedTemperature, UncertaintyAlpha, linear
from distilkit.divergences import Divergence
from distilkit.errors import BadType, BadValue, shown
from distilkit.models import predict
from distilkit.sweeps.grid import Jobs, Point, collect
from distilkit.training import Knobs, distill

if TYPE_CHECKING:
    import pandas as pd

EVERY = 25  # steps between two looks at the test set
WIDTHS = (16, 32)  # of the student
TUNED_ON = range(100, 110)  # seeds on which a method's settings are compared; it is judged on others
TEMPERATURES, ALPHA = (1.0, 4.0, 16.0), 0.9  # where each method may start
# Each method has 6 settings, 3 temperatures × 2 of its own: as many trials for the constant as for any other.
SETTING = ["temperature", "own"]
METHODS: dict[str, tuple[float, float]] = {
    "constant": (0.9, 0.5),  # alpha
    "temperature ramp": (0.25, 4.0),  # T goes to this multiple of where it began
    "alpha ramp": (0.0, 1.0),  # alpha goes there
    "learned temperature": (0.003, 0.03),  # the rate
    "uncertainty alpha": (0.001, 0.01),  # the rate
    "adaptive KL": (0.5, 0.9),  # the head
    "adaptive skew": (0.1, 0.5),  # the skew at the mean gap
    "weights": (0.0, 1.0),  # by confidence, by error
}


def adaptive_setting(method: str, temperature: float, own: float, *, steps: int) -> tuple[Knobs, Divergence]:
    """The knobs and the divergence of a method in the race, from the T it starts at and its own setting (`METHODS`).

    >>> adaptive_setting("learned temperature", 4.0, 0.03, steps=600)[0]
    Knobs(temperature=LearnedTemperature(4, rate=0.03, growth=300), alpha=0.9, lr=0.01)
    """
    knobs, divergence = Knobs(temperature, ALPHA), divergences.forward_kl
    if method == "constant":
        knobs.alpha = own
    elif method == "temperature ramp":
        knobs.temperature = linear(temperature, own * temperature, steps)  # type: ignore[assignment]
    elif method == "alpha ramp":
        knobs.alpha = linear(ALPHA, own, steps)  # type: ignore[assignment]
    elif method == "learned temperature":
        knobs.temperature = LearnedTemperature(temperature, rate=own, growth=steps // 2)  # type: ignore[assignment]
    elif method == "uncertainty alpha":
        knobs.alpha = UncertaintyAlpha(ALPHA, rate=own)  # type: ignore[assignment]
    elif method == "adaptive KL":
        divergence = functools.partial(divergences.adaptive_kl, head=own)
    elif method == "adaptive skew":
        divergence = functools.partial(divergences.adaptive_skew_kl, skew=own)
    elif method == "weights":
        divergence = functools.partial(divergences.weighted, by="error" if own else "confidence")
    else:
        raise BadValue(f"method must be one of {', '.join(METHODS)}, got {shown(method)}")
    return knobs, divergence


def _racing(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """One run of the race, and its accuracy on the test set every 25 steps; where its knobs ended."""
    own, seed = task.relabelled(100, point["seed"]), point["seed"]
    knobs, divergence = adaptive_setting(point["method"], point["temperature"], point["own"], steps=settings["steps"])
    student = own.student(seed, hidden=point["hidden"])
    run = distill(
        student, teacher, own.transfer, knobs=knobs, divergence=divergence, steps=settings["steps"], seed=seed
    )
    seen: Point = {}
    for step in run:
        if step.step % EVERY == 0:
            logits = predict(student, own.test.inputs)
            seen[f"accuracy_{step.step}"] = metrics.accuracy(logits, own.test.labels)
    against = predict(teacher, own.test.inputs)
    return {
        **own.score(student),
        "mean_kl": metrics.mean_kl(logits, against),
        "end_temperature": step.temperature,
        "end_alpha": step.alpha,
        **seen,
    }


def standings(frame: pd.DataFrame, *, hidden: int = 16) -> pd.DataFrame:
    """Where each method of the race ends: tuned on some seeds, judged on others, and compared with the tuned constant.

    Args:
        frame: one row a run, `load_sweep("adaptive")`.
        hidden: the student's width.

    Returns:
        One row a method, the constant first: temperature, own (its best setting by mean accuracy on the tuning seeds);
        accuracy ± half on the others; gain ± gain_half, the paired difference to the constant's, 95 %; p of the paired
        t test, and holm, the same after Holm's correction for as many methods. Then untuned: blind ± blind_half, the
        mean over all settings that begin at alpha 0.9 (on the tuning seeds, where all are run), blind_gain ±
        blind_gain_half, its difference to the constant's, and worst, the worst setting's mean.

    Raises:
        BadType: something else than such a frame. BadValue: no constant in it, no such width.
    """
    import pandas as pd

    missing = {"method", *SETTING, "hidden", "seed", "accuracy"} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(
            f"this needs the race of adaptive methods, load_sweep('adaptive'); {shown(type(frame))} lacks "
            f"{', '.join(sorted(missing))}"
        )
    own = frame[frame["hidden"] == hidden]
    if "constant" not in set(own["method"]):
        raise BadValue(f"the race has no constant at {hidden} hidden units: nothing to compare with")
    names = ["constant", *(name for name in dict.fromkeys(own["method"]) if name != "constant")]
    judged, blind, rows = {}, {}, []
    for name in names:
        runs = own[own["method"] == name]
        tried = runs[runs["seed"].isin(TUNED_ON)]
        means = tried.groupby(SETTING)["accuracy"].mean()
        best = dict(zip(SETTING, means.idxmax(), strict=True))
        chosen = runs[(runs[SETTING] == pd.Series(best)).all(axis=1) & ~runs["seed"].isin(TUNED_ON)]
        judged[name] = chosen.set_index("seed")["accuracy"].sort_index()
        same = tried[tried["own"] == ALPHA] if name == "constant" else tried
        blind[name] = same.groupby("seed")["accuracy"].mean().sort_index()
        worst = same.groupby(SETTING)["accuracy"].mean().min()
        row: Point = {"method": name, **best, "seeds": len(chosen), "worst": worst}
        row["accuracy"], row["half"] = metrics.interval(judged[name])
        row["gain"], row["gain_half"], row["p"] = 0.0, 0.0, 1.0
        row["blind"], row["blind_half"] = metrics.interval(blind[name])
        row["blind_gain"], row["blind_gain_half"] = 0.0, 0.0
        if name != "constant":
            row["gain"], row["gain_half"] = metrics.paired(judged[name], judged["constant"])
            row["p"] = metrics.p_value(judged[name], judged["constant"])
            row["blind_gain"], row["blind_gain_half"] = metrics.paired(blind[name], blind["constant"])
        rows.append(row)
    table = pd.DataFrame(rows)
    table["holm"] = [1.0, *metrics.holm(table["p"].iloc[1:].tolist())]
    order = ["method", *SETTING, "seeds", "accuracy", "half", "gain", "gain_half", "p", "holm"]
    return table[[*order, "blind", "blind_half", "blind_gain", "blind_gain_half", "worst"]]


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 20, steps: int = 300, jobs: Jobs = 1) -> None:
    """Make the stored race in `folder`; what is there already is not run again.

    Every method's six settings on the tuning seeds, then its best one on the others.
    """
    if only and "adaptive" not in only:
        return
    from distilkit.tasks import digits

    task = digits()
    points: list[Point] = []

    def collected() -> pd.DataFrame:
        command, path = "python -m distilkit.sweeps adaptive", folder / "adaptive.parquet"
        return collect(_racing, task, points, {"steps": steps}, command=command, path=path, jobs=jobs)

    for hidden in WIDTHS:
        points += [
            {"hidden": hidden, "method": method, "temperature": t, "own": own, "seed": seed}
            for seed, (method, owns) in product(TUNED_ON, METHODS.items())
            for t, own in product(TEMPERATURES, owns)
        ]
        frame = collected()
        tried = frame[(frame["hidden"] == hidden) & frame["seed"].isin(TUNED_ON)]
        means = tried.groupby(["method", *SETTING])["accuracy"].mean()
        for method in METHODS:
            best = dict(zip(SETTING, means[method].idxmax(), strict=True))
            points += [{"hidden": hidden, "method": method, **best, "seed": seed} for seed in range(seeds)]
        collected()
