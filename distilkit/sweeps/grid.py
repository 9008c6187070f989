"""One loop for every sweep: a row a run, on file as it comes, on this machine's cores or on a cluster's."""

from __future__ import annotations

import atexit
import hashlib
import json
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import nn

from distilkit import metrics
from distilkit.cached import CachedTeacher, cache_teacher
from distilkit.claim import claim
from distilkit.errors import BadFile, BadType, BadValue, shown, whole
from distilkit.models import data_path, predict, read, write
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

Point = dict[str, Any]  # one run's settings: the first columns of its row
Measure = Callable[[Any, nn.Module, Point, Point], Point]  # (task, teacher, point, settings) -> the other columns
What = tuple[Measure, Any, nn.Module, Point]  # what all runs of a sweep share
Jobs = Union[int, str, "Client"]  # processes of this machine, or a Dask cluster
TRIED = 3  # seeds on which learning rates are compared

_ONE_AT_A_TIME = threading.Lock()  # runs of one process: they share torch's random numbers (a Dask worker has threads)


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
    jobs: Jobs = -1,
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
        jobs: processes; −1 is one a core. Or a Dask cluster: the address of its scheduler, or a `distributed.Client`.
            The result does not depend on it, and a worker that is lost loses nothing: another does its runs.

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
    return collect(distilled, task, points, settings, command=command, path=path, jobs=jobs)


def load_sweep(name: str) -> pd.DataFrame:
    """The stored sweep ``data/sweeps/<name>.parquet``; its `attrs` say how it was made.

    >>> frame = load_sweep("digits")
    >>> bool(frame.groupby("alpha")["seed"].nunique().min() >= 10)
    True
    """
    return _read(data_path(f"sweeps/{name}.parquet"))


def grid(**values: Iterable[Any]) -> list[Point]:
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def collect(
    measure: Measure,
    task: Any,
    points: list[Point],
    settings: Point,
    *,
    command: str,
    path: str | Path | None = None,
    jobs: Jobs = 1,
) -> pd.DataFrame:
    """Measure every point that is not on file yet, and return the rows in the order of the points."""
    import pandas as pd
    from tqdm import tqdm

    from distilkit.host import host

    if isinstance(jobs, int) and whole("jobs", jobs, -1024, 1024, "processes; −1 is one a core") == 0:
        raise BadValue("jobs is 0: nothing would run (1 is one process, −1 one a core)")
    teacher = task.teacher()
    about = {**settings, "measure": measure.__name__.strip("_"), "teacher": _digest(teacher)}
    names = list(points[0])
    held = None if path is None else claim(path)  # until all is on file
    stored, begun = ([], []) if path is None else _on_file(Path(path), about)
    rows = {_key(row, names): row for row in (*stored, *begun) if row.keys() >= {*names}}
    todo = [point for point in points if _key(point, names) not in rows]
    hidden = not (sys.stderr.isatty() or host() != "Python")
    what = (measure, task, teacher, settings)
    runs = _on_cores(jobs, what, todo) if isinstance(jobs, int) else _on_cluster(jobs, what, todo)
    for row in tqdm(runs, total=len(todo), unit="run", file=sys.stderr, disable=hidden):
        rows[_key(row, names)] = row
        if path is not None:
            _append(_side(Path(path)), row)
    about |= {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seeds": sorted({row["seed"] for row in rows.values()}),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "pandas": pd.__version__},
    }
    if path is not None:
        if todo or begun or not stored:
            _write(pd.DataFrame(list(rows.values())), about, Path(path))
        _side(Path(path)).unlink(missing_ok=True)
    del held
    frame = pd.DataFrame([rows[_key(point, names)] for point in points])
    frame.attrs.update(about)
    return frame


def collect_tuned(
    measure: Measure,
    task: Any,
    grids: list[tuple[list[Point], Sequence[float]]],
    settings: Point,
    *,
    command: str,
    path: str | Path | None = None,
    seeds: int = 10,
    tried_on: int = TRIED,
    by: str = "perplexity",
    jobs: Jobs = 1,
) -> pd.DataFrame:
    """Try every rate on the first seeds, then run each cell at its best on all of them.

    Args:
        grids: pairs of cells (points without lr and seed) and the learning rates that each of them tries.
        tried_on: seeds on which the rates are compared: so many for every cell, the twin's too.
        by: the measure that decides: of accuracy the highest mean is best, of others the lowest.
    """
    import pandas as pd

    def collected(points: list[Point]) -> pd.DataFrame:
        return collect(measure, task, points, settings, command=command, path=path, jobs=jobs)

    tried = [
        point | {"lr": lr, "seed": seed}
        for points, lrs in grids
        for point, lr, seed in product(points, lrs, range(min(seeds, tried_on)))
    ]
    frame = collected(tried)
    chosen = []
    for point in (point for points, _ in grids for point in points):
        means = frame[(frame[list(point)] == pd.Series(point)).all(axis=1)].groupby("lr")[by].mean()
        best = means.idxmax() if by == "accuracy" else means.idxmin()
        chosen += [point | {"lr": best, "seed": seed} for seed in range(seeds)]
    return collected(tried + [point for point in chosen if point not in tried])


def _on_cores(jobs: int, what: What, points: list[Point]) -> Iterator[Point]:
    """The rows as they come, of so many processes on this machine."""
    import joblib

    runs = (joblib.delayed(_row)(what, point) for point in points)
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(runs)


def _on_cluster(cluster: str | Client, what: What, points: list[Point]) -> Iterator[Point]:
    """The rows as they come, of a Dask cluster. Its scheduler gives the runs of a lost worker to another."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise BadValue(f"jobs is {shown(cluster)}, a Dask cluster: pip install 'distilkit[cluster]' first") from None

    if not isinstance(cluster, (str, Client)):
        raise BadType(
            f"jobs must be a number of processes, the address of a Dask scheduler, or a Client, got {shown(cluster)}"
        )
    try:
        client = Client(cluster, set_as_default=False) if isinstance(cluster, str) else cluster
    except (OSError, ValueError) as error:
        raise BadValue(
            f"there is no Dask scheduler at {shown(cluster)}: {shown(str(error), 120)}. "
            "`dask scheduler` prints its address when it starts"
        ) from None
    try:
        # what all runs share is on every worker from the start, so that no one worker's end takes it away
        shared = client.scatter(what, broadcast=True, hash=False)
        futures = [client.submit(_row, shared, point, pure=False) for point in points]
        for future in as_completed(futures):
            yield future.result()
            future.release()
    finally:
        if client is not cluster:
            client.close()


def cached_for_all(teacher: nn.Module, examples: Examples) -> CachedTeacher:
    """What the teacher says of these examples, its top 8, asked once and kept until the process ends."""
    folder = mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return cache_teacher(teacher, examples, folder, top=8)


def _row(what: What, point: Point) -> Point:
    measure, task, teacher, settings = what
    with _ONE_AT_A_TIME:
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


def _append(side: Path, row: Point) -> None:
    try:
        with side.open("a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise BadFile(
            f"cannot write {side}: {error.strerror}. Free some space; the runs that are on file stay, and the next "
            "call goes on after them"
        ) from None


def _on_file(path: Path, about: Point) -> tuple[list[Point], list[Point]]:
    """Rows of earlier calls, and of one that did not end; the side file is freed of a row that a crash cut short."""
    rows: list[Point] = []
    if path.exists():
        frame = _read(path)
        _check_same(path, frame.attrs, about)
        rows += [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    side, fresh = _side(path), []
    for line in read(side).splitlines() if side.exists() else []:
        try:
            fresh.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            break
    if fresh:
        _check_same(side, fresh[0], about)
    write(side, "".join(json.dumps(row) + "\n" for row in (about, *fresh[1:])).encode())
    return rows, fresh[1:]


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


def distilled(task: Any, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """One run of `sweep`."""
    own = task.relabelled(point["labelled"], point["seed"])
    knobs = Knobs(point["temperature"], point["alpha"], point["lr"])
    if point["alpha"] == 0:
        return trained(own, teacher, None, own.train, knobs, point, settings)
    return trained(own, teacher, teacher, own.transfer, knobs, point, settings)


def trained(
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
