"""Sweeps: the same distillation over a grid of settings and seeds, one row a run.

`python -m distilkit.sweeps` makes the stored ones (`data/sweeps/`, described in `data/README.md`); with names, those of
the language models so named.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distilkit import cells, divergences, metrics
from distilkit.errors import BadFile, BadType, BadValue, shown, whole
from distilkit.models import data_path, predict, write
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples

if TYPE_CHECKING:
    import pandas as pd

LRS = (0.001, 0.003, 0.01)  # of language models; each side has its best
TRIED = 3  # seeds on which they are compared

Point = dict[str, Any]  # one run's settings: the first columns of its row
Measure = Callable[[Any, nn.Module, Point, Point], Point]  # (task, teacher, point, settings) -> the other columns


def sweep(
    task: Any,
    *,
    temperature: float | Sequence[float] = (4.0,),
    alpha: float | Sequence[float] = (0.9,),
    labelled: int | Sequence[int] | None = None,
    lr: float | Sequence[float] = (0.01,),
    hidden: int | None = None,
    seeds: int | Sequence[int] = 10,
    steps: int = 600,
    path: str | Path | None = None,
    jobs: int = -1,
) -> pd.DataFrame:
    """Distil once for every temperature × alpha × labelled × lr × seed, and return one row a run.

    A seed redraws the labels and the student's initialisation. Alpha 0 is the twin: the labelled images alone, no
    teacher, as many steps; temperature means nothing to it, so it runs once and its row says 1.

    Args:
        task: as `digits()` or `docs()` gives it.
        temperature, alpha, labelled, lr: a number or several; labelled (of text: tokens) None is the task's own.
        hidden: the student's width; None is the task's own.
        seeds: how many (0, 1, …), or which.
        steps: updates a run.
        path: a Parquet file. Rows go to ``<path>.jsonl`` as they come, and what either file holds is not run again:
            after a crash, or with a wider grid, call `sweep` once more. Its `attrs` say how it was made.
        jobs: processes; −1 is one a core. The result does not depend on it.

    Returns:
        Columns temperature, alpha, labelled, lr, seed, then on the test set accuracy, nll (nats), ece, and against the
        teacher agreement and mean_kl (nats); seconds of training.

    Raises:
        BadValue, BadType: an impossible grid, before anything runs; a file of another sweep.

    >>> import distilkit as dk
    >>> frame = dk.sweep(dk.tasks.digits(), alpha=(0, 1), seeds=2, steps=2, jobs=1)
    >>> frame[["temperature", "alpha", "labelled", "seed"]].values.tolist()
    [[1.0, 0.0, 100.0, 0.0], [1.0, 0.0, 100.0, 1.0], [4.0, 1.0, 100.0, 0.0], [4.0, 1.0, 100.0, 1.0]]
    """
    knobs = {
        name: [getattr(Knobs(**{name: value}), name) for value in _several(name, values)]
        for name, values in (("temperature", temperature), ("alpha", alpha), ("lr", lr))
    }
    sizes = [
        task.relabelled(size, 0).labelled
        for size in _several("labelled", task.labelled if labelled is None else labelled)
    ]
    settings = {
        "hidden": None if hidden is None else whole("hidden", hidden, 1, 65536, "the number of hidden units"),
        "steps": whole("steps", steps, 1, 10**9, "one step is one update of the student"),
    }
    twins = product([1.0], [0.0] if 0 in knobs["alpha"] else [], sizes, knobs["lr"], _seeds(seeds))
    others = product(knobs["temperature"], filter(None, knobs["alpha"]), sizes, knobs["lr"], _seeds(seeds))
    names = ("temperature", "alpha", "labelled", "lr", "seed")
    points = [dict(zip(names, values, strict=True)) for values in (*twins, *others)]
    grid = knobs | {"labelled": sizes, **settings, "seeds": len(_seeds(seeds))}
    command = f"sweep(task, {', '.join(f'{name}={value}' for name, value in grid.items())})"
    return _collect(_distilled, task, points, settings, command=command, path=path, jobs=jobs)


def load_sweep(name: str) -> pd.DataFrame:
    """The stored sweep ``data/sweeps/<name>.parquet``; its `attrs` say how it was made.

    >>> frame = load_sweep("digits")
    >>> bool(frame.groupby("alpha")["seed"].nunique().min() >= 10)
    True
    """
    return _read(data_path(f"sweeps/{name}.parquet"))


def tuned_twin(frame: pd.DataFrame, labelled: int) -> pd.DataFrame:
    """The twin's rows at its best learning rate, by mean test accuracy: a choice in the twin's favour."""
    twins = frame[(frame["alpha"] == 0) & (frame["labelled"] == labelled)]
    if twins.empty:
        raise BadValue(f"the sweep has no twin at {labelled} labels: run it with 0 among its alphas")
    return at_best_lr(twins)


def gains(frame: pd.DataFrame, labelled: int) -> pd.DataFrame:
    """Accuracy gained over the tuned twin, paired by seed: columns temperature, alpha, lr, accuracy, gain, half, seeds.

    `gain ± half` is the mean and the half-width of its 95 % interval, as shares. Of several learning rates each side
    has its best.
    """
    import pandas as pd

    twin = tuned_twin(frame, labelled).set_index("seed")["accuracy"]
    rows = []
    distilled = frame[(frame["alpha"] > 0) & (frame["labelled"] == labelled)]
    if distilled.empty:
        raise BadValue(f"the sweep has only twins at {labelled} labels: run it with an alpha above 0")
    for (temperature, alpha), cell in distilled.groupby(["temperature", "alpha"]):
        best = at_best_lr(cell).set_index("seed")
        seeds = best.index.intersection(twin.index)
        own = best["accuracy"][seeds]
        gain, half = metrics.paired(own.tolist(), twin[seeds].tolist())
        rows.append((temperature, alpha, best["lr"].iloc[0], own.mean(), gain, half, len(seeds)))
    return pd.DataFrame(rows, columns=["temperature", "alpha", "lr", "accuracy", "gain", "half", "seeds"])


def cell_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Where each cell of the table *whose text × which divergence* lands, and its difference to the twin, by seed.

    Of several learning rates each cell, the twin's too, has its best by mean held-out perplexity.

    Args:
        frame: one row a run: text, divergence, lr, seed, then what `distilkit.cells.judge` measures.

    Returns:
        One row a cell: text, divergence, lr, seeds; for each measure its mean ``m``, the half-width ``m_half`` of the
        95 % interval, and ``m_over_twin ± m_over_twin_half``: the cell minus the twin (the corpus's text, labels only),
        paired by seed.

    Raises:
        BadType: something else than such a frame. BadValue: no twin in it, or a cell with a single seed.
    """
    import pandas as pd

    settings = ["text", "divergence", "lr", "seed"]
    missing = {*settings, "perplexity"} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(
            f"this needs a sweep over whose text × which divergence, load_sweep('board'); {shown(type(frame))} lacks "
            f"{', '.join(sorted(missing))}"
        )
    measures = [str(name) for name in frame.select_dtypes("number") if name not in settings]
    best = {}
    for cell, runs in frame.groupby(["text", "divergence"], sort=False):
        best[cell] = at_best_lr(runs, "perplexity").set_index("seed").sort_index()
    if ("corpus", "labels") not in best:
        raise BadValue("the sweep has no twin, the cell of the corpus's text with labels only: nothing to compare with")
    twin, rows = best["corpus", "labels"], []
    for (text, divergence), runs in best.items():
        shared = runs.index.intersection(twin.index)
        row: Point = {"text": text, "divergence": divergence, "lr": runs["lr"].iloc[0], "seeds": len(runs)}
        for name in measures:
            over = f"{name}_over_twin"
            row[name], row[f"{name}_half"] = metrics.interval(runs[name])
            row[over], row[f"{over}_half"] = metrics.paired(runs[name][shared], twin[name][shared])
        rows.append(row)
    return pd.DataFrame(rows)


def at_best_lr(rows: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """The rows at the learning rate with the best mean of this measure: of accuracy the highest, of others the lowest.

    Only rates with as many seeds as any count: others were tried, and left.

    >>> rows = load_sweep("digits").query("alpha == 0 and labelled == 100")
    >>> sorted(set(rows["lr"])), sorted(set(at_best_lr(rows)["lr"]))
    ([0.001, 0.003, 0.01, 0.03], [0.003])
    """
    seeds = rows.groupby("lr")["seed"].nunique()
    means = rows.groupby("lr")[measure].mean()[seeds == seeds.max()]
    return rows[rows["lr"] == (means.idxmax() if measure == "accuracy" else means.idxmin())]


# One loop for every sweep


def _collect(
    measure: Measure,
    task: Any,
    points: list[Point],
    settings: Point,
    *,
    command: str,
    path: str | Path | None = None,
    jobs: int = 1,
) -> pd.DataFrame:
    """Measure every point that is not on file yet, and return the rows in the order of the points."""
    import joblib
    import pandas as pd
    from tqdm import tqdm

    from distilkit.host import host

    if whole("jobs", jobs, -1024, 1024, "processes; −1 is one a core") == 0:
        raise BadValue("jobs is 0: nothing would run (1 is one process, −1 one a core)")
    teacher = task.teacher()
    about = {**settings, "measure": measure.__name__.strip("_"), "teacher": _digest(teacher)}
    names = list(points[0])
    rows = {} if path is None else {_key(row, names): row for row in _on_file(Path(path), about)}
    todo = [point for point in points if _key(point, names) not in rows]
    hidden = not (sys.stderr.isatty() or host() != "Python")
    runs = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(_row)(measure, task, teacher, point, settings) for point in todo
    )
    for row in tqdm(runs, total=len(todo), unit="run", file=sys.stderr, disable=hidden):
        rows[_key(row, names)] = row
        if path is not None:
            with _side(Path(path)).open("a") as file:
                file.write(json.dumps(row) + "\n")
    about |= {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seeds": sorted({row["seed"] for row in rows.values()}),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "pandas": pd.__version__},
    }
    if path is not None and (todo or not Path(path).exists()):
        _write(pd.DataFrame(list(rows.values())), about, Path(path))
    if path is not None:
        _side(Path(path)).unlink(missing_ok=True)
    frame = pd.DataFrame([rows[_key(point, names)] for point in points])
    frame.attrs.update(about)
    return frame


def _row(measure: Measure, task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in every process, and no two threads on one core
    try:
        return {**point, **measure(task, teacher, point, settings)}
    finally:
        torch.set_num_threads(threads)


def _key(row: Point, names: list[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _side(path: Path) -> Path:
    return path.with_name(path.name + ".jsonl")


def _on_file(path: Path, about: Point) -> list[Point]:
    """The rows of earlier calls; the side file is begun, or freed of a row that a crash cut short."""
    rows: list[Point] = []
    if path.exists():
        frame = _read(path)
        _check_same(path, frame.attrs, about)
        rows += [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    side, fresh = _side(path), []
    for line in side.read_text().splitlines() if side.exists() else []:
        try:
            fresh.append(json.loads(line))
        except ValueError:
            break
    if fresh:
        _check_same(side, fresh[0], about)
    write(side, "".join(json.dumps(row) + "\n" for row in (about, *fresh[1:])).encode())
    return rows + fresh[1:]


def _check_same(path: Path, found: Mapping[Any, Any], about: Point) -> None:
    for name, value in about.items():
        if found.get(name) != value:
            raise BadValue(
                f"{path} belongs to another sweep: its {name} is {shown(found.get(name))}, this one's is "
                f"{shown(value)}. Give another path, or delete the file"
            )


def _write(frame: pd.DataFrame, about: Point, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, "distilkit": json.dumps(about)}), sink)
    write(path, sink.getvalue().to_pybytes())


def _read(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"distilkit"])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise BadFile(f"{path} is not a sweep of distilkit: {shown(str(error), 120)}") from None
    frame = table.to_pandas()
    frame.attrs = about
    return frame


def _digest(model: nn.Module) -> str:
    weights = b"".join(value.detach().cpu().numpy().tobytes() for value in model.state_dict().values())
    return hashlib.sha256(weights).hexdigest()[:16]


def _several(name: str, values: Any) -> list[Any]:
    """A number or several of them, as a list without repetitions."""
    several = [values] if isinstance(values, (int, float, str)) or callable(values) else list(values)
    if not several:
        raise BadValue(f"{name} is empty: give at least one value")
    for value in several:
        if callable(value):
            raise BadType(f"{name} must be numbers: a sweep compares constants, not schedules")
    return list(dict.fromkeys(several))


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    hint = "how many, or which"
    if isinstance(seeds, (int, float)):
        return list(range(whole("seeds", seeds, 1, 10**6, hint)))
    return [whole("seeds", seed, 0, 2**32 - 1, hint) for seed in _several("seeds", seeds)]


# What is measured


def _distilled(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """One run of `sweep`."""
    own = task.relabelled(point["labelled"], point["seed"])
    knobs = Knobs(point["temperature"], point["alpha"], point["lr"])
    if point["alpha"] == 0:
        return _trained(own, teacher, None, own.train, knobs, point, settings)
    return _trained(own, teacher, teacher, own.transfer, knobs, point, settings)


def _trained(
    own: Any,
    judge: nn.Module,
    teacher: nn.Module | None,
    transfer: Examples,
    knobs: Knobs,
    point: Point,
    settings: Point,
    **others: Any,
) -> Point:
    """Train a fresh student of the point's seed and judge it: quality on the test set, fidelity against the judge."""
    seed = point["seed"]
    student = own.student(seed) if settings["hidden"] is None else own.student(seed, hidden=settings["hidden"])
    run = distill(student, teacher, transfer, knobs=knobs, steps=settings["steps"], seed=seed, **others)
    began = time.perf_counter()
    logits = predict(run.result(), own.test.inputs)
    seconds = time.perf_counter() - began
    against = predict(judge, own.test.inputs)
    return {
        **own.score(student),
        "agreement": metrics.agreement(logits, against),
        "mean_kl": metrics.mean_kl(logits, against),
        "seconds": seconds,
    }


def _omitted(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """Hinton's omitted class: no image of a 3 in the transfer set; then how many of the test set's 3s are recognised.

    `shifted` is after adding to the logit of 3 the constant that makes its mean probability on the test images 1/10,
    its share; no label is looked at.
    """
    own = task.relabelled(100, point["seed"]).without(3)
    student = own.student(point["seed"], hidden=settings["hidden"])
    if point["student"] == "twin":
        run = distill(student, None, own.train, steps=settings["steps"], seed=point["seed"])
    else:
        knobs = Knobs(point["temperature"], alpha=1)
        run = distill(student, teacher, own.transfer, knobs=knobs, steps=settings["steps"], seed=point["seed"])
    logits = predict(run.result(), own.test.inputs).double()
    threes = own.test.labels == 3
    low, high = torch.tensor(-100.0).double(), torch.tensor(100.0).double()
    column = torch.eye(logits.shape[-1], dtype=torch.float64)[3]
    for _ in range(60):  # bisection: the mean probability grows with the shift
        middle = (low + high) / 2
        share = torch.softmax(logits + middle * column, -1)[:, 3].mean()
        low, high = (middle, high) if share < 0.1 else (low, middle)
    shifted = logits + low * column
    return {
        "accuracy": metrics.accuracy(logits, own.test.labels),
        "threes": metrics.accuracy(logits[threes], own.test.labels[threes]),
        "shift": float(low),
        "threes_shifted": metrics.accuracy(shifted[threes], own.test.labels[threes]),
        "accuracy_shifted": metrics.accuracy(shifted, own.test.labels),
    }


class _Fixed(nn.Module):
    """A stand-in teacher with an answer for each row of its transfer set."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits


def _control(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """At 100 labels: which part of the soft labels gives the gain.

    Beside them belong two of "digits": hard labels alone (alpha 0), and every image's soft labels (T = 4, alpha 0.9).
    """
    own = task.relabelled(100, point["seed"])
    labels, knobs, source = own.train.labels, Knobs(), teacher
    match point["control"]:
        case "label smoothing":
            hot = torch.nn.functional.one_hot(labels, len(own.classes)).double()
            knobs, source = Knobs(temperature=1, alpha=1), _Fixed((0.9 * hot + 0.1 / len(own.classes)).log())
        case "class means":
            soft = divergences.soften(predict(teacher, own.train.inputs), knobs.temperature).double()
            means = torch.stack([soft[labels == label].mean(0) for label in range(len(own.classes))])
            source = _Fixed(knobs.temperature * means[labels].log())
    return _trained(own, teacher, source, own.train, knobs, point, settings)


def _teachers_answer(student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Decoupled KD with the teacher's own answer for a label, so that unlabelled images count, too."""
    return divergences.decoupled_kl(student_logits, teacher_logits, teacher_logits.argmax(-1), mask=mask)


_DIVERGENCES = {
    "reverse_kl": divergences.reverse_kl,
    "jsd": divergences.jsd,
    "skew_forward_kl": divergences.skew_forward_kl,
    "total_variation": divergences.total_variation,
    "decoupled_kl": _teachers_answer,
}


def _diverging(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """At 100 labels: the same distillation with another divergence than forward KL, which "digits" has."""
    own = task.relabelled(100, point["seed"])
    divergence = _DIVERGENCES[point["divergence"]]
    knobs = Knobs(point["temperature"])
    return _trained(own, teacher, teacher, own.transfer, knobs, point, settings, divergence=divergence)


def _few(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """The 100 labelled images and no others: what temperature does where the teacher's answers are few."""
    own = task.relabelled(100, point["seed"])
    return _trained(own, teacher, teacher, own.train, Knobs(point["temperature"], alpha=1), point, settings)


def _noisy(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """30 % of the 100 labels are wrong, and the student learns from the labelled images alone; alpha 0 is the twin."""
    own = task.relabelled(100, point["seed"]).with_noise(0.3)
    source = teacher if point["alpha"] > 0 else None
    return _trained(own, teacher, source, own.train, Knobs(alpha=point["alpha"]), point, settings)


# What is measured of language models


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


# The stored sweeps


def _grid(**values: Iterable[Any]) -> list[Point]:
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def make(folder: Path, *, seeds: int = 10, steps: int = 600, jobs: int = 1) -> None:
    """Make the stored sweeps of the digits in `folder`; what is there already is not run again."""
    from distilkit.tasks import digits

    task, command = digits(), "python -m distilkit.sweeps"
    settings = {"hidden": 32, "steps": steps}
    every = range(seeds)

    def surface(labelled: int, temperature: Sequence[float], alpha: Sequence[float]) -> list[Point]:
        twins = _grid(temperature=[1.0], alpha=[0.0], labelled=[labelled], lr=[0.001, 0.003, 0.01, 0.03], seed=every)
        return twins + _grid(temperature=temperature, alpha=alpha, labelled=[labelled], lr=[0.01], seed=every)

    sweeps: list[tuple[str, Measure, list[Point]]] = [
        (
            "digits",
            _distilled,
            surface(100, (1.0, 2.0, 4.0, 8.0, 16.0), (0.3, 0.6, 0.9, 1.0))
            + surface(50, (1.0, 4.0), (0.9,))
            + surface(200, (1.0, 4.0), (0.9,)),
        ),
        (
            "omitted",
            _omitted,
            _grid(student=["twin"], temperature=[1.0], seed=every)
            + _grid(student=["distilled"], temperature=[4.0, 8.0], seed=every),
        ),
        (
            "controls",
            _control,
            _grid(control=["label smoothing", "class means", "labelled images"], seed=every),
        ),
        ("few", _few, _grid(temperature=[1.0, 2.0, 4.0, 8.0, 16.0], seed=every)),
        ("noise", _noisy, _grid(alpha=[0.0, 0.3, 0.6, 0.9, 1.0], seed=every)),
        ("divergences", _diverging, _grid(temperature=[4.0], divergence=_DIVERGENCES, seed=every)),
    ]
    for name, measure, points in sweeps:
        _collect(measure, task, points, settings, command=command, path=folder / f"{name}.parquet", jobs=jobs)


def make_language(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: int = 1) -> None:
    """Make the stored sweeps of the language models in `folder`; what is there already is not run again."""
    import pandas as pd

    from distilkit.tasks import docs

    task = docs()

    def make_one(
        name: str,
        measure: Measure,
        settings: Point,
        grids: list[tuple[list[Point], Sequence[float]]],
        tried_on: int = TRIED,
    ) -> None:
        """Try every rate on the first seeds, then run each cell at its best on all of them."""
        if only and name not in only:
            return

        def collect(points: list[Point]) -> pd.DataFrame:
            command, path = f"python -m distilkit.sweeps {name}", folder / f"{name}.parquet"
            return _collect(measure, task, points, settings, command=command, path=path, jobs=jobs)

        tried = [
            point | {"lr": lr, "seed": seed}
            for points, lrs in grids
            for point, lr, seed in product(points, lrs, range(min(seeds, tried_on)))
        ]
        frame = collect(tried)
        chosen = []
        for point in (point for points, _ in grids for point in points):
            own = frame[(frame[list(point)] == pd.Series(point)).all(axis=1)]
            best = own.groupby("lr")["perplexity"].mean().idxmin()
            chosen += [point | {"lr": best, "seed": seed} for seed in range(seeds)]
        collect(tried + [point for point in chosen if point not in tried])

    make_one(
        "language",
        _language,
        {"steps": 300},
        [(_grid(student=["twin", "distilled"], tokens=[20_000]), LRS)],
        tried_on=seeds,
    )
    kl = ["forward_kl", "reverse_kl", "jsd"]
    make_one(
        "board",
        _cell,
        {"tokens": 20_000, "warm_up": cells.WARM_UP, "steps": cells.STEPS},
        [
            (_grid(text=["corpus", "teacher"], divergence=["labels"]), LRS),
            (_grid(text=cells.TEXTS, divergence=kl), LRS[1:]),
        ],
    )
    make_one(
        "on_the_way",
        _on_the_way,
        {"tokens": 20_000, "steps": 200},
        [
            (_grid(divergence=["forward_kl", "reverse_kl"], start=["scratch"]), LRS[1:]),
            (_grid(divergence=["reverse_kl"], start=["warm"]), LRS[1:]),
        ],
    )


if __name__ == "__main__":
    from distilkit import sweeps  # by its own name, so that other processes find its functions

    FOLDER = Path(__file__).parents[1] / "data" / "sweeps"
    if not sys.argv[1:]:
        sweeps.make(FOLDER)
    sweeps.make_language(FOLDER, sys.argv[1:])
