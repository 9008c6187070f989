"""The stored sweeps of the teachers: chapter 09. A seed is the student's, its labels' and its teacher's."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from distilkit import metrics, teachers
from distilkit.errors import BadType, shown
from distilkit.models import predict
from distilkit.sweeps.grid import Jobs, Measure, Point, collect, grid
from distilkit.sweeps.tables import at_best_lr
from distilkit.training import Knobs, distill

if TYPE_CHECKING:
    import pandas as pd

LRS = (0.001, 0.003, 0.01, 0.03)  # of the twin, who has its best
HELD_OUT = 200  # images of the pool that the teachers of `several_teachers` do not learn: to be calibrated on


def _student(own: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of this teacher, and what kind of teacher it was: quality, calibration, confidence on the pool."""
    student = own.student(point["seed"], hidden=settings["hidden"])
    few = point.get("images", "labelled") == "labelled"
    knobs = Knobs(point["temperature"], alpha=1, lr=settings["lr"])
    examples = own.train if few else own.transfer
    distill(student, teacher, examples, knobs=knobs, steps=settings["steps"], seed=point["seed"]).result()
    logits, against = predict(student, own.test.inputs), predict(teacher, own.test.inputs)
    return {
        **own.score(student),
        "agreement": metrics.agreement(logits, against),
        "mean_kl": metrics.mean_kl(logits, against),
        **{f"teacher_{name}": value for name, value in own.score(teacher).items()},
        "confidence": float(predict(teacher, own.train.inputs).softmax(-1).amax(-1).mean()),
    }


def _rung(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of a teacher on the ladder, of that teacher's assistant, or of nobody (the twin)."""
    own, seed = task.relabelled(100, point["seed"]), point["seed"]
    if point["teacher"] == "none":
        student, knobs = own.student(seed, hidden=settings["hidden"]), Knobs(alpha=0, lr=point["lr"])
        distill(student, None, own.train, knobs=knobs, steps=settings["steps"], seed=seed).result()
        none = ("agreement", "mean_kl", "teacher_accuracy", "teacher_nll", "teacher_ece", "confidence")
        return own.score(student) | dict.fromkeys(none, float("nan"))
    teacher = teachers.taught(task, point["teacher"], seed=seed)
    if point["assistant"] != "none":
        width = int(point["assistant"])
        knobs = Knobs(point["temperature"], alpha=1, lr=settings["lr"])
        assistant = own.student(seed, hidden=width)
        teacher = teachers.descend(teacher, [assistant], own.train, knobs=knobs, steps=settings["steps"], seed=seed)
    return _student(own, teacher, point, settings)


@functools.cache
def _parts(task: Any) -> tuple[Any, Any]:
    """The task without the images held out from its teachers, and those images."""
    return replace(task, pool=task.pool[HELD_OUT:]), task.pool[:HELD_OUT]


KINDS = (
    "as it is",
    "logits × 3",
    "logits × 1/3",
    "calibrated",
    "label-smoothed",
    "ensemble of 5",
    "ensemble, by confidence",
)


def _kind(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of one kind of teacher, all of them 256×256, on the 100 labelled images."""
    (rest, held_out), seed, kind = _parts(task), point["seed"], point["teacher"]
    own = task.relabelled(100, seed)
    teacher = teachers.taught(rest, "256×256", seed=seed)
    if kind == "label-smoothed":
        teacher = teachers.taught(rest, "256×256", seed=seed, smoothing=0.1)
    elif kind.startswith("ensemble"):
        several = [teachers.taught(rest, "256×256", seed=seed + 1000 * member) for member in range(5)]
        teacher = teachers.Ensemble(several, weights="confidence" if kind.endswith("confidence") else "equal")
    elif kind == "calibrated":
        teacher = teachers.calibrated(teacher, held_out)
    elif kind != "as it is":
        teacher = teachers.Scaled(teacher, 3.0 if kind == "logits × 3" else 1 / 3)
    return _student(own, teacher, point, settings)


def _born_again(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """Self-distillation: the twin is the first teacher, each generation the next one's; half label, half teacher."""
    own, seed = task.relabelled(100, point["seed"]), point["seed"]
    examples = own.train if point["images"] == "labelled" else own.transfer
    fresh = [own.student(seed + 1000 * generation, hidden=settings["hidden"]) for generation in range(4)]
    model = fresh[0]
    distill(model, None, own.train, knobs=Knobs(alpha=0), steps=settings["steps"], seed=seed).result()
    found = {"accuracy_0": own.score(model)["accuracy"]}
    for generation, student in enumerate(fresh[1:], 1):
        knobs = Knobs(point["temperature"], alpha=0.5)
        model = teachers.descend(model, [student], examples, knobs=knobs, steps=settings["steps"], seed=seed)
        found[f"accuracy_{generation}"] = own.score(model)["accuracy"]
    return found


def _subliminal(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A teacher that learns digits; a student that learns its auxiliary outputs on noise: what digits it then knows."""
    seed, auxiliary = point["seed"], point["auxiliary"]
    start = seed if point["start"] == "the teacher’s" else seed + 1000
    teacher = teachers.perceptron(256, 256, classes=10 + auxiliary, seed=seed)
    student = teachers.perceptron(256, 256, classes=10 + auxiliary, seed=start)
    digits = [teachers.Outputs(model, 0, 10) for model in (teacher, student)]
    others = [teachers.Outputs(model, 10, 10 + auxiliary) for model in (teacher, student)]
    labels, answers = Knobs(alpha=0, lr=settings["lr"]), Knobs(temperature=1, alpha=1, lr=settings["lr"])
    distill(digits[0], None, task.pool, knobs=labels, steps=settings["taught"], seed=seed).result()
    before = task.score(digits[1])["accuracy"]
    images = teachers.noise(64 * settings["steps"], seed=seed)
    distill(others[1], others[0], images, knobs=answers, steps=settings["steps"], seed=seed).result()
    return {
        "accuracy": task.score(digits[1])["accuracy"],
        "before": before,
        "teacher_accuracy": task.score(digits[0])["accuracy"],
        "noise_kl": metrics.mean_kl(*(predict(each, images.inputs[:1000]) for each in reversed(others))),
    }


def _recommended(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """What short runs recommend, judged on the test set by the full runs of other students."""
    own, seed, steps = task.relabelled(100, point["seed"]), point["seed"], settings["steps"]
    rungs = {rung: teachers.taught(task, rung, seed=seed) for rung in teachers.LADDER}
    knobs = Knobs(point["temperature"], alpha=1, lr=settings["lr"])
    short = {"steps": settings["short"], "seeds": settings["tried"], "hidden": settings["hidden"]}
    frame = teachers.recommend(own, rungs, knobs=knobs, **short)
    full = {}
    for rung, each in rungs.items():
        students = [own.student(1000 + judge, hidden=settings["hidden"]) for judge in range(settings["judges"])]
        for judge, student in enumerate(students):
            distill(student, each, own.train, knobs=knobs, steps=steps, seed=1000 + judge).result()
        full[rung] = float(np.mean([own.score(student)["accuracy"] for student in students]))
    most_accurate = max(rungs, key=lambda rung: own.score(rungs[rung])["accuracy"])
    best = max(full.values())
    return {
        "pick": frame.index[0],
        "chance": float(frame["best"].iloc[0]),
        "most_accurate": most_accurate,
        "best": max(full, key=lambda rung: full[rung]),
        "regret": best - full[frame.index[0]],
        "regret_of_most_accurate": best - full[most_accurate],
        "regret_of_any": best - float(np.mean(list(full.values()))),
        **{f"full {rung}": value for rung, value in full.items()},
    }


def teacher_means(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of teacher and setting of `load_sweep("ladder")` or `("several_teachers")`, means over seeds.

    Returns:
        The settings, seeds; accuracy ± half of the student (the 95 % interval), and where there is a twin, at its best
        learning rate, over_twin ± over_twin_half, paired by seed; teacher_accuracy, teacher_ece, confidence (its mean
        probability of the answer it gives, on the images that the student learns).

    >>> from distilkit.sweeps import load_sweep
    >>> sorted(set(teacher_means(load_sweep("ladder"))["temperature"]))
    [1.0, 4.0, 16.0]
    """
    import pandas as pd

    missing = {"teacher", "temperature", "seed", "accuracy", "confidence"} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(
            f"this needs a sweep over teachers, load_sweep('ladder'); {shown(type(frame))} lacks "
            f"{', '.join(sorted(missing))}"
        )
    alone = frame["teacher"] == "none"
    twin = at_best_lr(frame[alone]).set_index("seed")["accuracy"] if alone.any() else None
    settings = [name for name in ("teacher", "assistant", "temperature", "images") if name in frame]
    rows = []
    for values, runs in frame[~alone].groupby(settings, sort=False):
        row = dict(zip(settings, values, strict=True)) | {"seeds": len(runs)}
        row["accuracy"], row["half"] = metrics.interval(runs["accuracy"])
        if twin is not None:
            row["over_twin"], row["over_twin_half"] = metrics.paired(runs["accuracy"], twin[runs["seed"]])
        rows.append(row | runs[["teacher_accuracy", "teacher_ece", "confidence"]].mean().to_dict())
    return pd.DataFrame(rows)


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """Make the stored sweeps of the teachers in `folder`; what is there already is not run again."""
    from distilkit.tasks import digits

    task, every = digits(), range(seeds)
    settings: Point = {"hidden": 16, "steps": 600, "lr": 0.01}

    def rungs(
        teacher: Sequence[str], temperature: Sequence[float], images: str, assistant: str = "none"
    ) -> list[Point]:
        lr = [settings["lr"]]
        return grid(teacher=teacher, assistant=[assistant], temperature=temperature, images=[images], lr=lr, seed=every)

    twins = grid(teacher=["none"], assistant=["none"], temperature=[1.0], images=["labelled"], lr=LRS, seed=every)
    ladder = (
        twins
        + rungs(list(teachers.LADDER), (1.0, 4.0, 16.0), "labelled")
        + rungs(["256×256"], (1.0, 4.0), "labelled", assistant="64")
        + rungs(["16", "256×256"], (1.0,), "all")
    )
    sweeps: list[tuple[str, Measure, list[Point], Point]] = [
        ("ladder", _rung, ladder, settings),
        (
            "subliminal",
            _subliminal,
            grid(start=["the teacher’s", "another"], auxiliary=[3, 10, 50], seed=every),
            {"taught": 100, "steps": 1000, "lr": 0.001},
        ),
        ("several_teachers", _kind, grid(teacher=KINDS, temperature=[1.0, 4.0], seed=every), settings),
        ("born_again", _born_again, grid(temperature=[4.0], images=["labelled"], seed=every), settings),
        (
            "recommend",
            _recommended,
            grid(temperature=[1.0], seed=every),
            settings | {"short": 100, "tried": 5, "judges": 3},
        ),
    ]
    for name, measure, points, how in sweeps:
        if only and name not in only:
            continue
        path = folder / f"{name}.parquet"
        collect(measure, task, points, how, command=f"python -m distilkit.sweeps {name}", path=path, jobs=jobs)
