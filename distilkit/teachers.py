"""Choosing a teacher: a ladder of sizes, its confidence, assistants, several at once, and what short runs recommend."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from distilkit import metrics
from distilkit.divergences import check_logits
from distilkit.errors import BadType, BadValue, choice, real, shown, whole
from distilkit.models import logits_of, predict
from distilkit.origin import remembered
from distilkit.tasks.digits import network
from distilkit.training import Knobs, distill
from distilkit.transfer import Examples

if TYPE_CHECKING:
    import pandas as pd

# The rungs of the ladder for the digits: hidden layers, 64 → … → 10, or the shipped teacher's convolutions
LADDER: dict[str, tuple[int, ...] | None] = {
    "16": (16,),
    "32": (32,),
    "64": (64,),
    "256": (256,),
    "256×256": (256, 256),
    "conv": None,
}
STEPS = 1000  # of a teacher on the ladder
DRAWS = 4000  # of the bootstrap in `recommend`


def perceptron(*hidden: int, inputs: int = 64, classes: int = 10, seed: int = 0) -> nn.Sequential:
    """A multilayer perceptron, ``inputs → hidden… → classes`` with ReLU between, initialised from `seed` alone.

    >>> [layer.out_features for layer in perceptron(256, 32) if isinstance(layer, nn.Linear)]
    [256, 32, 10]
    """
    widths = [whole("hidden", width, 1, 65536, "the units of a hidden layer") for width in hidden]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same network"))
        layers: list[nn.Module] = []
        for before, after in zip([inputs, *widths], [*widths, classes], strict=True):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


@remembered
def taught(task: Any, rung: str, *, seed: int = 0, smoothing: float = 0.0, steps: int | None = None) -> nn.Module:
    """A teacher of the ladder, trained on every label of the task's pool; the same call is trained once a process.

    Args:
        task: the digits.
        rung: one of `LADDER`: its hidden layers.
        seed: of its initialisation and of the order of the examples.
        smoothing: label smoothing, the share of each label that is spread evenly over all classes (Müller et al. 2019,
            arXiv:1906.02629).
        steps: of Adam, learning rate 0.003, 64 images each; default `STEPS`.
    """
    choice("rung", rung, LADDER)
    smoothing = real("smoothing", smoothing, 0, 1, "0 is the label as it is, 1 says nothing")
    steps = whole("steps", STEPS if steps is None else steps, 1, 10**7, "updates of the teacher")
    return _taught(task.pool, rung, seed, smoothing, steps)


@functools.cache
def _taught(pool: Examples, rung: str, seed: int, smoothing: float, steps: int) -> nn.Module:
    pool = pool.labelled
    hidden = LADDER[rung]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network() if hidden is None else perceptron(*hidden, seed=seed)
        optimizer = torch.optim.Adam(model.train().parameters(), lr=0.003)
        for _ in range(steps):
            batch = pool[torch.randint(len(pool), (64,))]
            loss = cross_entropy(model(batch.inputs), batch.labels, label_smoothing=smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


class Scaled(nn.Module):
    """The same teacher with its logits times `factor`: the same answers, said with more (> 1) or less confidence.

    Confidence is what temperature undoes: at T·f the sharpened teacher says what the other does at T. A negative factor
    turns its answers around: the likeliest becomes the least likely.

    >>> sharp = Scaled(nn.Identity(), 3.0)
    >>> sharp(torch.tensor([[1.0, 0.0]])).tolist()
    [[3.0, 0.0]]
    """

    def __init__(self, teacher: nn.Module, factor: float) -> None:
        super().__init__()
        self.teacher, self.factor = teacher, real("factor", factor, -1e6, 1e6, "1 leaves the teacher as it is")
        if self.factor == 0:
            raise BadValue("factor must not be 0: the teacher would say nothing (1 leaves it as it is)")

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        return self.factor * logits_of(self.teacher(*inputs, **named))


def calibrated(teacher: nn.Module, held_out: Examples) -> Scaled:
    """The teacher at the temperature that makes held-out labels likeliest (temperature scaling); answers stay as are.

    held_out: labelled examples that the teacher did *not* learn from; on its own it looks calibrated when it is not.

    Source: Guo et al. 2017, arXiv:1706.04599.

    >>> logits, labels = torch.tensor([[8.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])      # certain, right 3 in 4 times
    >>> round(8 * calibrated(nn.Identity(), Examples(logits, labels)).factor, 2)           # log 3
    1.1
    """
    known = held_out.labelled
    if not len(known):
        raise BadValue("calibrated needs held-out examples with labels, got none")
    logits = predict(teacher, known.inputs).double()
    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(60):  # bisection: in the inverse temperature f, −log p[label] is convex
        middle = (low + high) / 2
        probs = torch.softmax(math.exp(middle) * logits, -1)
        slope = ((probs * logits).sum(-1) - logits.gather(-1, known.labels[:, None]).squeeze(-1)).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return Scaled(teacher, math.exp(low))


class Ensemble(nn.Module):
    """Several teachers as one, ``log Σ w·p``: the mean of their probabilities, in log space.

    weights: "equal", or "confidence": for each example a teacher counts by ``exp(−entropy)`` of its answer.

    >>> both = Ensemble([nn.Identity(), Scaled(nn.Identity(), 3.0)])
    >>> both(torch.tensor([[1.0, 0.0]])).exp().sum(-1).tolist()
    [1.0]
    """

    def __init__(self, teachers: Sequence[nn.Module], *, weights: str = "equal") -> None:
        super().__init__()
        if len(teachers) < 1:
            raise BadValue("an ensemble needs at least one teacher")
        self.teachers, self.weights = nn.ModuleList(teachers), choice("weights", weights, ("equal", "confidence"))

    def forward(self, inputs: Tensor) -> Tensor:
        logs = torch.stack(
            [logits_of(teacher(inputs)).log_softmax(-1) for teacher in self.teachers]
        )  # (teachers, n, c)
        if self.weights == "equal":
            return logs.logsumexp(0) - math.log(len(self.teachers))
        trust = (logs.exp() * logs).nan_to_num(0).sum(-1, keepdim=True)  # −entropy of each answer
        return (logs + trust.log_softmax(0)).logsumexp(0)


def disagreement(logits: Tensor) -> Tensor:
    """How far several teachers are apart on each example, ``H(mean p) − mean H(p)``, in nats; 0 where all say the same.

    It is their Jensen–Shannon divergence: the mean KL of each from their mean, and at most log(teachers).

    Args:
        logits: (teachers, n, classes).

    Returns:
        (n,).

    >>> certain = torch.tensor([[[50.0, 0.0]], [[0.0, 50.0]]])          # two, each certain, of different things
    >>> round(float(disagreement(certain)), 4)                        # log 2
    0.6931
    """
    check_logits("logits", logits)
    if logits.ndim < 3:
        raise BadValue(
            f"logits must have the shape (teachers, n, classes), got {tuple(logits.shape)}: torch.stack them"
        )
    logs = logits.double().log_softmax(-1)
    mean = logs.logsumexp(0) - math.log(len(logs))
    return (logs.exp() * (logs - mean)).nan_to_num(0).sum(-1).mean(0).clamp(min=0)


def descend(
    teacher: nn.Module,
    models: Sequence[nn.Module],
    transfer: Examples,
    *,
    knobs: Knobs | None = None,
    steps: int = 600,
    seed: int = 0,
) -> nn.Module:
    """Distil each of `models` from the one before it, the first from the teacher, and return the last.

    A large teacher, a middling *assistant*, a small student (Mirzadeh et al. 2019, arXiv:1902.03393); or one size again
    and again, *born again* (Furlanello et al. 2018, arXiv:1805.04770).
    """
    if not models:
        raise BadValue("descend needs at least one model to distil into")
    for model in models:
        distill(model, teacher, transfer, knobs=copy.copy(knobs), steps=steps, seed=seed).result()
        teacher = model
    return teacher


class Outputs(nn.Module):
    """Some of a model's outputs, `first` up to, without, `last`; the others are neither seen nor taught.

    >>> Outputs(nn.Identity(), 1, 3)(torch.tensor([[5.0, 6.0, 7.0]])).tolist()
    [[6.0, 7.0]]
    """

    def __init__(self, model: nn.Module, first: int, last: int) -> None:
        super().__init__()
        self.model, self.first, self.last = model, first, last

    def forward(self, inputs: Tensor) -> Tensor:
        return logits_of(self.model(inputs))[..., self.first : self.last]


def noise(count: int, *, inputs: int = 64, seed: int = 0) -> Examples:
    """Images that show nothing: (count, inputs), each pixel uniform in [−1, 1], unlabelled.

    >>> noise(3).labels.tolist()
    [-1, -1, -1]
    """
    draw = torch.Generator().manual_seed(whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same noise"))
    images = 2 * torch.rand(whole("count", count, 1, 10**8, "how many images"), inputs, generator=draw) - 1
    return Examples(images, torch.full((count,), -1))


def recommend(
    task: Any,
    teachers: Mapping[str, nn.Module],
    *,
    steps: int = 100,
    seeds: int = 5,
    knobs: Knobs | None = None,
    hidden: int = 16,
    transfer: Examples | None = None,
    held_out: Examples | None = None,
) -> pd.DataFrame:
    """Say from short runs which teacher to take for a student, and how sure that is.

    Each teacher has the same students, a seed each, so that differences are paired. The chance of being best is a
    bootstrap over the seeds: how often this teacher's mean leads when the seeds are drawn anew.

    Args:
        task: the digits.
        teachers: by name.
        steps, seeds: of each short run, and how many students each teacher has.
        knobs: as in the full run; default `Knobs(alpha=1)`.
        hidden: the student's width.
        transfer: what the student learns on; default the labelled images.
        held_out: labelled examples that decide; default those of the pool that are not in `transfer`, whose labels the
            teachers' owner has. Never the test set, which has to judge the choice.

    Returns:
        One row a teacher, the best first: accuracy ± half (the 95 % interval of its students), behind ± behind_half (of
        the leader, paired by seed), best (the chance). ``frame.attrs["says"]`` is a sentence.

    Raises:
        BadType, BadValue: fewer than two teachers or seeds, no held-out label.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> frame = recommend(task, {"good": task.teacher(), "poor": task.student()}, steps=30, seeds=2)
    >>> frame.index[0], float(frame["best"].sum())
    ('good', 1.0)
    """
    import pandas as pd

    if not isinstance(teachers, Mapping) or not all(isinstance(each, nn.Module) for each in teachers.values()):
        raise BadType(f"teachers must be a dict of modules by name, got {shown(teachers)}")
    if len(teachers) < 2:
        raise BadValue(f"recommend compares teachers: give at least two, got {len(teachers)}")
    seeds = whole("seeds", seeds, 2, 10**4, "students of each teacher; one has no interval")
    examples = task.train if transfer is None else transfer
    judge = _others(task.pool, examples) if held_out is None else held_out.labelled
    if not len(judge):
        raise BadValue("nothing is left to judge on: give held_out=, labelled examples that the student does not learn")

    def short(teacher: nn.Module, seed: int) -> float:
        student = task.student(seed, hidden=hidden)
        own = Knobs(alpha=1) if knobs is None else copy.copy(knobs)
        distill(student, teacher, examples, knobs=own, steps=steps, seed=seed).result()
        return metrics.accuracy(predict(student, judge.inputs), judge.labels)

    found = np.array([[short(teacher, seed) for seed in range(seeds)] for teacher in teachers.values()])
    draws = np.random.default_rng(0).integers(0, seeds, (DRAWS, seeds))
    means = found[:, draws].mean(-1)  # (teachers, draws)
    leads = means == means.max(0)
    order = np.argsort(-found.mean(1), kind="stable")
    rows = {}
    for place in order:
        accuracy, half = metrics.interval(found[place])
        behind, behind_half = metrics.paired(found[order[0]], found[place])
        chance = (leads[place] / leads.sum(0)).mean()
        rows[list(teachers)[place]] = (accuracy, half, behind, behind_half, chance)
    frame = pd.DataFrame.from_dict(rows, "index", columns=["accuracy", "half", "behind", "behind_half", "best"])
    frame.attrs["says"] = _says(frame, steps, seeds)
    return frame


def _others(pool: Examples, learnt: Examples) -> Examples:
    """The labelled rows of the pool whose inputs are not among those learnt."""
    pool = pool.labelled
    seen = {row.tobytes() for row in learnt.inputs.numpy()}
    return pool[torch.tensor([row.tobytes() not in seen for row in pool.inputs.numpy()])]


def _says(frame: pd.DataFrame, steps: int, seeds: int) -> str:
    """The recommendation as a sentence."""
    first = frame.iloc[0]
    rivals = [str(name) for name, row in frame.iloc[1:].iterrows() if row["behind"] <= row["behind_half"]]
    said = (
        f"Take {frame.index[0]}: after {steps} steps its students are right {100 * first['accuracy']:.1f} ± "
        f"{100 * first['half']:.1f} % of the time ({seeds} seeds); its chance of being best is {first['best']:.0%}. "
    )
    return said + (f"Not shown to be worse: {', '.join(rivals)}." if rivals else "Every other is shown to be worse.")
