"""Quality (against the data), fidelity (against the teacher) and calibration: never mixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from distilkit.divergences import check_labels, check_logits, check_mask, check_pair, forward_kl, wide
from distilkit.errors import BadType, BadValue, real, whole
from distilkit.models import predict

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 1 << 18  # logits that are taken to float64 at a time: a text's logits are many
COMPARED = 20e6  # bytes of logits that `compare` takes from a text


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
    sums = [cross_entropy(wide(logits[some]), labels[some], reduction="sum") for some in _blocks(logits)]
    return float(sum(sums)) / len(labels)


def perplexity(logits: Tensor, labels: Tensor) -> float:
    """Quality: ``exp(nll)``, the number of equally likely tokens that would leave a reader as unsure.

    >>> round(perplexity(torch.zeros(2, 10), torch.tensor([3, 4])), 4)
    10.0
    """
    return math.exp(nll(logits, labels))


def bits_per_byte(nll: float, bytes_per_token: float) -> float:
    """Quality: ``nll / log 2 / bytes_per_token``: of nats a token, what compares models with different tokenizers.

    >>> bits_per_byte(math.log(16), bytes_per_token=4)
    1.0
    """
    return nll / math.log(2) / real("bytes_per_token", bytes_per_token, 0, math.inf, "of the same text", above=True)


def agreement(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None = None) -> float:
    """Fidelity: the share of rows on which student and teacher give the same answer, right or wrong, in [0, 1].

    Logits are (..., classes); `mask`, (...), is True where a row counts, as ``labels != -100`` for text; nan where
    none counts.
    Source: Stanton et al. 2021, arXiv:2106.05945.

    >>> agreement(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[9.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    check_pair(student_logits, teacher_logits)
    check_mask(mask, student_logits.shape[:-1])
    same = student_logits.argmax(-1) == teacher_logits.argmax(-1)
    return float((same if mask is None else same[mask]).double().mean())


def mean_kl(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None = None) -> float:
    """Fidelity: the mean forward KL of the student from the teacher at temperature 1, in nats.

    Arguments as in `agreement`.

    >>> round(mean_kl(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3.0)]])), 4)
    0.1308
    """
    return float(_each_kl(student_logits, teacher_logits, mask).nanmean())


def kl_by_position(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Fidelity: the mean forward KL at each position of texts, in nats, (time,); nan where none counts.

    Logits are (texts, time, classes); `mask` is (texts, time).

    >>> student, teacher = torch.zeros(2, 3, 5), torch.zeros(2, 3, 5)
    >>> student[:, 2, 0] = 1.0
    >>> [round(kl, 4) for kl in kl_by_position(student, teacher).tolist()]
    [0.0, 0.0, 0.0954]
    """
    if student_logits.ndim != 3:
        raise BadValue(f"logits must have the shape (texts, time, classes), got {tuple(student_logits.shape)}")
    return _each_kl(student_logits, teacher_logits, mask).nanmean(0)


class ExposureBias(NamedTuple):
    """What `exposure_bias` found: mean forward KL in nats, of all positions and of each."""

    own: float
    corpus: float
    ratio: float  # own / corpus; 1 is no exposure bias
    own_by_position: Tensor  # (time,)
    corpus_by_position: Tensor  # (time,)


def exposure_bias(
    student: nn.Module, teacher: nn.Module, corpus: Tensor, own: Tensor, *, prompt: int = 1
) -> ExposureBias:
    """Fidelity where the student really goes: its mean KL on its own text, against that on the corpus.

    A student that never saw its own mistakes is further from the teacher after them: ``own / corpus > 1``. KL falls as
    texts go on, so both must be as long, and begin with prompts from the same source.

    Args:
        student, teacher: models that return logits (n, time, classes).
        corpus: tokens of the corpus, (n, time).
        own: tokens that the student wrote after prompts of the corpus, (m, time): ``dk.complete(student, prompts, …)``.
        prompt: the first `prompt` tokens of each text are given; predictions count from the first after them.

    Raises:
        BadValue: texts that are not as long, or not longer than the prompt.

    Source: Arora et al. 2022, arXiv:2204.01171 (their excess error is ratio − 1).

    >>> model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
    >>> exposure_bias(model, model, torch.zeros(2, 6).long(), torch.ones(3, 6).long(), prompt=2).own
    0.0
    """
    if corpus.ndim != 2 or own.ndim != 2 or corpus.shape[1] != own.shape[1] or not len(corpus) or not len(own):
        raise BadValue(
            f"corpus {tuple(corpus.shape)} and own {tuple(own.shape)} must be tokens (texts, time) of the same time: "
            "cut the longer ones, because KL falls as texts go on"
        )
    first = whole("prompt", prompt, 1, corpus.shape[1], "tokens at the beginning that nobody had to predict") - 1

    def by_position(tokens: Tensor) -> Tensor:
        parts = [_each_kl(predict(student, some), predict(teacher, some)) for some in tokens.split(16)]  # (16, time)
        return torch.cat(parts)[:, first:].mean(0)

    with_own, with_corpus = by_position(own), by_position(corpus)
    means = float(with_own.mean()), float(with_corpus.mean())
    ratio = means[0] / means[1] if means[1] else math.nan
    return ExposureBias(*means, ratio, with_own, with_corpus)


def distinct_n(texts: Tensor | Sequence[Sequence[int]], n: int = 2) -> float:
    """Diversity: the share of different n-grams among all n-grams of all texts together, in (0, 1]; 1 repeats nothing.

    Of the corpus, not the mean over texts: a student that writes the same text each time has a low one. It falls as
    texts grow and become more, so compare equal amounts. `texts` are tokens, (texts, time) or lists of any lengths.
    Source: Li et al. 2016, arXiv:1510.03055 (who divide by the number of tokens).

    >>> distinct_n([[1, 2, 1, 2], [1, 2]])          # 12, 21, 12 and 12
    0.5
    """
    n = whole("n", n, 1, 1 << 16, "pairs of tokens are n=2")
    rows = texts.tolist() if isinstance(texts, Tensor) else [list(row) for row in texts]
    grams = [tuple(row[start : start + n]) for row in rows for start in range(len(row) - n + 1)]
    if not grams:
        raise BadValue(f"there is no text of {n} tokens or more")
    return len(set(grams)) / len(grams)


def reliability(logits: Tensor, labels: Tensor, *, bins: int = 10) -> pd.DataFrame:
    """Confidence against accuracy in equal bins of confidence: columns confidence, accuracy, count; no empty bins.

    Confidence is the probability of the answer given; each token of a text, (n, time), is an answer.
    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    import pandas as pd

    logits, labels = _labelled(logits, labels)
    confidence = torch.cat([torch.softmax(wide(logits[some]), -1).amax(-1) for some in _blocks(logits)])
    right = (logits.argmax(-1) == labels).double()
    rows = pd.DataFrame({"confidence": confidence.cpu(), "accuracy": right.cpu()})
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
    from scipy.special import stdtrit  # Student's t; scipy.stats has it, too, and takes 50 MB

    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or len(sample) < 2:
        raise BadValue(f"an interval needs at least 2 values, one a seed, got {sample.size}")
    error = sample.std(ddof=1) / math.sqrt(len(sample))
    return float(sample.mean()), float(stdtrit(len(sample) - 1, 0.975) * error)


def paired(
    first: Sequence[float] | np.ndarray | pd.Series, second: Sequence[float] | np.ndarray | pd.Series
) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval of ``first − second``, paired by seed."""
    if len(first) != len(second):
        raise BadValue(f"pairs need as many values on both sides, one a seed, got {len(first)} and {len(second)}")
    return interval(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))


def p_value(first: Sequence[float] | np.ndarray | pd.Series, second: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Two-sided p of the paired t test: how often chance alone would set two equal ones as far apart, in [0, 1].

    >>> round(p_value([3.0, 4.0, 6.0], [1.0, 3.0, 3.0]), 3)      # mean difference 2, standard error 0.577
    0.074
    """
    from scipy.special import stdtr

    mean, _ = paired(first, second)
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(len(differences) - 1, -abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of p for having looked several times: the smallest of m times m, the next times m − 1, ….

    Below 0.05 in the result, the chance of even one false find among all is below 5 %, however they depend.
    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def correlation(
    first: Sequence[float] | np.ndarray | pd.Series, second: Sequence[float] | np.ndarray | pd.Series
) -> tuple[float, float, float]:
    """Pearson's correlation of two measures over runs, and its 95 % interval, ``tanh(atanh r ± 1.96/√(n − 3))``.

    The interval takes the runs for independent, so compare runs of one setting, or means of settings.
    Source: Fisher 1921 (the transformation).

    >>> [round(value, 2) for value in correlation([1, 2, 3, 4, 5, 6], [1, 3, 2, 5, 4, 6])]
    [0.89, 0.26, 0.99]
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 4:
        raise BadValue(f"a correlation needs 4 or more pairs of values, got {x.shape} and {y.shape}")
    if not x.std() or not y.std():
        return math.nan, math.nan, math.nan
    r = float(np.corrcoef(x, y)[0, 1])
    middle, half = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15)), 1.959964 / math.sqrt(len(x) - 3)
    return r, float(np.tanh(middle - half)), float(np.tanh(middle + half))


def compare(task: Any, **models: nn.Module | Sequence[nn.Module]) -> pd.DataFrame:
    """One row a model: quality | fidelity | calibration | size | speed, on the task's test set.

    A model may be a list of models, one a seed: its figures are then means, and each gets a column of ± half-widths of
    95 % intervals. Given lists, ``distilled=`` and ``twin=`` add a row ``distilled − twin``, paired by seed.
    Fidelity is measured against the model given as ``teacher=``. Of a text, each token counts, and the first 20 MB of
    logits are compared; latency is of one block.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> list(dk.compare(task, teacher=task.teacher(), student=task.student()).index)
    ['teacher', 'student']
    """
    import pandas as pd

    from distilkit import cost

    if not models:
        raise BadType("compare needs at least one model by name: compare(task, teacher=…, distilled=…, twin=…)")
    groups = {name: [value] if isinstance(value, nn.Module) else list(value) for name, value in models.items()}
    test, model = task.test, next(iter(groups.values()))[0]
    text = test.labels.ndim > 1
    if text:
        test = test[: max(1, int(COMPARED // predict(model, test.inputs[:1]).nbytes))]
    inputs, labels = test.inputs, test.labels
    against = predict(groups["teacher"][0], inputs) if "teacher" in groups else None

    def measure(model: nn.Module) -> dict[str, float]:
        logits = predict(model, inputs)
        row = {"accuracy (%)": 100 * accuracy(logits, labels), "nll (nats)": nll(logits, labels)}
        if text:
            row["perplexity"] = math.exp(row["nll (nats)"])
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


def _each_kl(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Forward KL of each position, (...), in float64; nan where masked, or where no class is left on either side."""
    check_pair(student_logits, teacher_logits)
    check_mask(mask, student_logits.shape[:-1])
    student, teacher = (each.detach().reshape(-1, each.shape[-1]) for each in (student_logits, teacher_logits))
    counts = ~((student == -math.inf).all(-1) & (teacher == -math.inf).all(-1))
    counts = counts if mask is None else counts & mask.reshape(-1)
    try:
        parts = [
            forward_kl(student[some], teacher[some], mask=counts[some], reduction="none") for some in _blocks(student)
        ]
    except BadValue:
        forward_kl(student_logits, teacher_logits, mask=mask)  # says where in the whole
        raise
    return wide(torch.cat(parts)).masked_fill(~counts, math.nan).reshape(student_logits.shape[:-1])


def _blocks(logits: Tensor) -> list[slice]:
    """The rows of (n, classes), as many at a time as have `BLOCK` logits."""
    rows = max(1, BLOCK // logits.shape[-1])
    return [slice(start, start + rows) for start in range(0, max(1, len(logits)), rows)]


def _labelled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    check_logits("logits", logits)
    logits = logits.detach()
    if not check_labels(labels, logits):
        logits, labels = logits[labels >= 0], labels[labels >= 0]
    if not labels.numel():
        raise BadValue("there is no labelled row to measure on")
    return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1).long()
