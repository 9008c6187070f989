"""Quality (against the data), fidelity (against the teacher) and calibration: never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from distilkit.divergences import check_labels, check_logits, forward_kl, wide
from distilkit.errors import BadType, BadValue

if TYPE_CHECKING:
    import pandas as pd


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Quality: the share of labelled rows whose largest logit is the label's (of equal ones the first), in [0, 1].

    >>> accuracy(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    0.5
    """
    logits, labels = _labelled(logits, labels)
    return float((logits.argmax(-1) == labels).double().mean())


def nll(logits: Tensor, labels: Tensor) -> float:
    """Quality: the mean negative log-likelihood ``−log p[label]``, in nats.

    >>> round(nll(torch.zeros(2, 10), torch.tensor([3, 4])), 4)         # log(10)
    2.3026
    """
    logits, labels = _labelled(logits, labels)
    return float(torch.nn.functional.cross_entropy(wide(logits), labels))


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """Fidelity: the share of rows on which student and teacher give the same answer, right or wrong, in [0, 1].

    Source: Stanton et al. 2021, arXiv:2106.05945.
    """
    return float((student_logits.argmax(-1) == teacher_logits.argmax(-1)).double().mean())


def mean_kl(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """Fidelity: the mean forward KL of the student from the teacher at temperature 1, in nats."""
    return forward_kl(student_logits, teacher_logits).item()


def reliability(logits: Tensor, labels: Tensor, *, bins: int = 10) -> pd.DataFrame:
    """Confidence against accuracy in equal bins of confidence: columns confidence, accuracy, count; no empty bins.

    Confidence is the probability of the answer given. Source: Guo et al. 2017, arXiv:1706.04599.
    """
    import pandas as pd

    logits, labels = _labelled(logits, labels)
    confidence, answer = torch.softmax(wide(logits), -1).max(-1)
    rows = pd.DataFrame({"confidence": confidence.cpu(), "accuracy": (answer == labels).double().cpu()})
    rows["bin"] = np.ceil(rows["confidence"] * bins).clip(1, bins).astype(int)
    table = rows.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), count=("accuracy", "size")
    )
    return table.reset_index(drop=True)


def ece(logits: Tensor, labels: Tensor, *, bins: int = 10) -> float:
    """Calibration: the expected calibration error ``Σ (count/n)·|accuracy − confidence|`` over bins, in [0, 1].

    >>> ece(torch.tensor([[50.0, 0.0], [50.0, 0.0]]), torch.tensor([0, 1]))     # certain, and right half the time
    0.5
    """
    table = reliability(logits, labels, bins=bins)
    weight = table["count"] / table["count"].sum()
    return float((weight * (table["accuracy"] - table["confidence"]).abs()).sum())


def interval(values: Sequence[float] | np.ndarray | pd.Series) -> tuple[float, float]:
    """Mean and half-width of the 95 % confidence interval (Student's t) of values from different seeds.

    >>> mean, half = interval([1.0, 2.0, 3.0])
    >>> round(mean, 2), round(half, 2)
    (2.0, 2.48)
    """
    from scipy import stats

    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) < 2:
        raise BadValue(f"an interval needs at least 2 values, one a seed, got {sample.size}")
    return float(sample.mean()), float(stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample))


def paired(
    first: Sequence[float] | np.ndarray | pd.Series, second: Sequence[float] | np.ndarray | pd.Series
) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval of ``first − second``, paired by seed."""
    if len(first) != len(second):
        raise BadValue(f"pairs need as many values on both sides, one a seed, got {len(first)} and {len(second)}")
    return interval(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


def compare(task: Any, **models: nn.Module | Sequence[nn.Module]) -> pd.DataFrame:
    """One row a model: quality | fidelity | calibration | size | speed, on the task's test set.

    A model may be a list of models, one a seed: its figures are then means, and each gets a column of ± half-widths of
    95 % intervals. Given lists, ``distilled=`` and ``twin=`` add a row ``distilled − twin``, paired by seed.
    Fidelity is measured against the model given as ``teacher=``.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> list(dk.compare(task, teacher=task.teacher(), student=task.student()).index)
    ['teacher', 'student']
    """
    import pandas as pd

    from distilkit import cost
    from distilkit.models import predict

    if not models:
        raise BadType("compare needs at least one model by name: compare(task, teacher=…, distilled=…, twin=…)")
    groups = {name: [value] if isinstance(value, nn.Module) else list(value) for name, value in models.items()}
    inputs, labels = task.test.inputs, task.test.labels
    against = predict(groups["teacher"][0], inputs) if "teacher" in groups else None

    def measure(model: nn.Module) -> dict[str, float]:
        logits = predict(model, inputs)
        row = {"accuracy (%)": 100 * accuracy(logits, labels), "nll (nats)": nll(logits, labels)}
        if against is not None:
            row["agreement (%)"] = 100 * agreement(logits, against)
            row["mean KL (nats)"] = mean_kl(logits, against)
        row["ece (%)"] = 100 * ece(logits, labels)
        row["parameters"] = cost.parameters(model)
        row["size (kB)"] = cost.size(model) / 1000
        row["latency (ms)"] = 1000 * cost.latency(model, inputs[:1])
        return row

    each = {name: pd.DataFrame([measure(model) for model in group]) for name, group in groups.items()}
    table = pd.DataFrame({name: rows.mean() for name, rows in each.items()}).T
    spread = {name: rows for name, rows in each.items() if len(rows) > 1}
    if {"distilled", "twin"} <= spread.keys() and len(each["distilled"]) == len(each["twin"]):
        spread["distilled − twin"] = each["distilled"] - each["twin"]
        table.loc["distilled − twin"] = spread["distilled − twin"].mean()
    for column in [column for column in table if column != "parameters"]:
        if spread:
            halves = [interval(spread[name][column])[1] if name in spread else np.nan for name in table.index]
            table.insert(list(table).index(column) + 1, f"± {column}", halves)
    table["parameters"] = table["parameters"].round().astype(int)
    return table


def _labelled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    check_logits("logits", logits)
    logits = logits.detach()
    if not check_labels(labels, logits):
        logits, labels = logits[labels >= 0], labels[labels >= 0]
    if not labels.numel():
        raise BadValue("there is no labelled row to measure on")
    return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1).long()
