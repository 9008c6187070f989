"""The stored sweep of chapter 11: how good and how quick a student of the shop's desk is, by its size."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from distilkit import cost
from distilkit.adaptive import cosine
from distilkit.sweeps.grid import Jobs, Point, _read, _write, collect_tuned
from distilkit.sweeps.shop import JUDGED, LABELLED, _answered
from distilkit.tasks import Support, shop
from distilkit.training import Knobs, distill

if TYPE_CHECKING:
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
    for (layers, width), rows in frame.groupby(["layers", "width"]).groups.items():
        for name, value in times(task.student(0, layers=int(layers), width=int(width)), task).items():
            frame.loc[rows, name] = value
    teacher = task.teacher()
    about = {"parameters": cost.parameters(teacher), "bytes": cost.size(teacher), **times(teacher, task)}
    about |= {"exact": task.score(teacher, limit=JUDGED)["exact"]}
    _write(frame, {**frame.attrs, "of_teacher": about}, path)


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
