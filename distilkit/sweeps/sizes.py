"""The stored sweep of chapter 11: how good and how quick a student of the shop's desk is, by its size."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from distilkit import cost, metrics
from distilkit.adaptive import cosine
from distilkit.errors import BadType, shown, whole
from distilkit.sweeps.grid import Jobs, Point, _read, _write, collect_tuned
from distilkit.sweeps.shop import JUDGED, LABELLED, _answered
from distilkit.sweeps.tables import at_best_lr
from distilkit.tasks import Support, shop
from distilkit.training import Knobs, distill

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel

STEPS = 400
TRIED = 3  # seeds on which the learning rates are compared
SIZES = {  # (layers, width): the learning rates that are compared; (1, 96) and (3, 64) have nearly equal parameters
    (1, 32): (0.008, 0.016),
    (2, 32): (0.008, 0.016),
    (1, 64): (0.008, 0.016),
    (2, 64): (0.004, 0.008),
    (1, 96): (0.004, 0.008),
    (3, 64): (0.004, 0.008),
    (1, 128): (0.004, 0.008),
}
PROMPTS, LENGTH = 4, 32  # customers' messages, and the tokens written after each, of which the time is taken


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """The stored sweep of sizes, or nothing where `only` names others. Times are taken last: keep the machine quiet."""
    if only and "sizes" not in only:
        return
    path = folder / "sizes.parquet"
    task = shop(LABELLED)
    frame = collect_tuned(
        _measured,
        task,
        [([{"layers": layers, "width": width}], lrs) for (layers, width), lrs in SIZES.items()],
        {"steps": STEPS, "batch_size": 8, "weight_decay": 0.1},
        command="python -m distilkit.sweeps sizes",
        path=path,
        seeds=seeds,
        tried_on=TRIED,
        by="inexact",
        jobs=jobs,
    )
    if "ms_per_token" not in frame or frame["ms_per_token"].isna().any():
        _add_times(task, path)


def _measured(task: Support, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A distilled student of this size, as `sweeps.shop` trains and judges it; rates by `inexact`, 1 − exact."""
    seed = point["seed"]
    student = task.student(seed, layers=point["layers"], width=point["width"])
    answered, said = _answered(task)
    knobs = Knobs(temperature=1, alpha=1, lr=cosine(point["lr"], point["lr"] / 20, settings["steps"]))
    began = time.perf_counter()
    distill(student, said, answered, knobs=knobs, seed=seed, **settings).result()
    seconds = time.perf_counter() - began
    score = task.score(student, limit=JUDGED)
    sizes = {"parameters": cost.parameters(student), "bytes": cost.size(student)}
    return {**score, "inexact": 1 - score["exact"], **sizes, "seconds": seconds}


def _add_times(task: Support, path: Path) -> None:
    """The milliseconds of a token for every size, on one core, as columns; the teacher's go into the file's `attrs`.

    Of fresh models: the time of a pass does not depend on what the weights are.
    """
    frame = _read(path)
    for layers, width in sorted(set(zip(frame["layers"], frame["width"], strict=True))):
        rows = (frame["layers"] == layers) & (frame["width"] == width)
        for name, value in times(task.student(0, layers=int(layers), width=int(width)), task).items():
            frame.loc[rows, name] = value
    teacher = task.teacher()
    about = {"parameters": cost.parameters(teacher), "bytes": cost.size(teacher), **times(teacher, task)}
    about |= {"exact": task.score(teacher, limit=JUDGED)["exact"]}
    made = {str(name): value for name, value in frame.attrs.items()}
    _write(frame, {**made, "of_teacher": about}, path)


def times(model: PreTrainedModel, task: Support) -> dict[str, float]:
    """Milliseconds of a token, in PyTorch and in ONNX Runtime, in processes of their own on one core."""
    from distilkit import edge

    prompts = [task.encode(f"Customer: {each.turns[0].customer}\n")[0].tolist() for each in task.held_out[:PROMPTS]]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        task.tokenizer.save_pretrained(folder)
        in_torch = edge.measure(folder, prompts, length=LENGTH)
        in_onnx = edge.measure(edge.export(model, Path(folder) / "model.onnx"), prompts, length=LENGTH)
    return {
        "ms_per_token": 1000 / in_torch["tokens_per_second"],
        "onnx_ms_per_token": 1000 / in_onnx["tokens_per_second"],
    }


def size_means(frame: pd.DataFrame, *, latency: str = "onnx_ms_per_token") -> pd.DataFrame:
    """How good and how quick the students of each size are, the quickest first, each size at its best learning rate.

    Args:
        frame: `load_sweep("sizes")`, a row a run.
        latency: the column with the milliseconds.

    Returns:
        One row a size: size ("2 × 64", layers × width), parameters, bytes, lr, seeds, exact ± exact_half (the 95 %
        interval over seeds), ms, and frontier: no other size is at once as quick and better.

    Raises:
        BadType: something else than such a frame.
    """
    import pandas as pd

    missing = {"layers", "width", "lr", "seed", "exact", latency} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(f"this needs load_sweep('sizes'); {shown(type(frame))} lacks {', '.join(sorted(missing))}")
    rows = []
    for (layers, width), runs in frame.groupby(["layers", "width"]):
        best = at_best_lr(runs, "inexact")
        exact, half = metrics.interval(best["exact"])
        first = best.iloc[0]
        rows.append(
            {
                "size": f"{layers} × {width}",
                **{name: int(first[name]) for name in ("parameters", "bytes")},
                "lr": float(first["lr"]),
                "seeds": len(best),
                "exact": exact,
                "exact_half": half,
                "ms": float(first[latency]),
            }
        )
    table = pd.DataFrame(rows).sort_values(["ms", "exact"], ascending=[True, False], ignore_index=True)
    table["frontier"] = table["exact"] > table["exact"].cummax().shift(fill_value=-1.0)
    return table


def knees(frame: pd.DataFrame, *, draws: int = 1000, latency: str = "onnx_ms_per_token") -> pd.Series:
    """How stable the knee of the frontier is: the share of draws of seeds, with replacement, in which each size is it.

    A draw takes as many seeds of every size as there are; the frontier and its knee (`cost.knee`) are found anew.
    """
    import numpy as np
    import pandas as pd

    table = size_means(frame, latency=latency)
    groups = {f"{layers} × {width}": runs for (layers, width), runs in frame.groupby(["layers", "width"])}
    exact = np.stack([at_best_lr(groups[size], "inexact").sort_values("seed")["exact"] for size in table["size"]])
    draw = np.random.default_rng(0)
    found = pd.Series(0.0, index=table["size"])
    for _ in range(whole("draws", draws, 1, 10**6, "of the seeds")):
        means = exact[:, draw.integers(exact.shape[1], size=exact.shape[1])].mean(1)
        best = np.flatnonzero(means > np.concatenate([[-1.0], np.maximum.accumulate(means)[:-1]]))
        place = best[cost.knee(table["ms"].iloc[best].tolist(), means[best].tolist())] if len(best) > 1 else best[0]
        found.iloc[place] += 1 / draws
    return found
