"""Where teacher and student disagree, and in what: their answers at every place, sorted, in groups that have names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from distilkit.divergences import UNLABELLED, forward_kl, wide
from distilkit.errors import BadValue, whole
from distilkit.models import predict
from distilkit.transfer import Examples

if TYPE_CHECKING:
    import pandas as pd

BLOCKS = 32  # of a text that are read
TOP = 6  # answers of each side that are kept of a place
DIRECTIONS = 8  # in which disagreements over tokens are told apart


@dataclass(frozen=True, eq=False)
class Disagreements:
    """What `disagreements` found.

    Attributes:
        table: a row a place, the largest disagreement first: example, position (0 where there are no tokens), kl
            (nats), teacher, student, truth (names; "" where unlabelled), teacher_p, student_p (how sure each is of its
            own answer), cluster.
        clusters: a row a cluster, the most numerous first: name, places, kl (mean, nats), same (the share where both
            would answer alike), teacher_right, student_right (shares of the labelled places).
        examples: what the models were asked.
        answers: of each place, the likeliest answers of both: {name: (teacher's p, student's p)}, the teacher's first.
        task: gives the names.
    """

    table: pd.DataFrame
    clusters: pd.DataFrame
    examples: Examples
    answers: list[dict[str, tuple[float, float]]]
    task: Any

    def __len__(self) -> int:
        return len(self.table)


def disagreements(
    task: Any,
    teacher: nn.Module,
    student: nn.Module,
    *,
    examples: Examples | None = None,
    places: int = 300,
    clusters: int = 6,
    seed: int = 0,
) -> Disagreements:
    """The places where ``KL(teacher ‖ student)`` is largest, and clusters of them by what the two would say.

    Clusters are k-means of the directions of ``p − q``, the teacher's probabilities less the student's, at these places
    (of tokens, of their 8 main directions). A cluster is called by what each side holds likelier than the other.

    Args:
        task: gives the names of classes or tokens, and where `examples` is None its `test` (of a text, 32 blocks).
        teacher, student: models that return logits.
        examples: where to look.
        places: how many of them are kept.
        clusters: how many groups, at most; where fewer kinds of disagreement are, fewer.
        seed: of k-means.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> found = disagreements(task, task.teacher(), task.student(), places=50, clusters=3)
    >>> len(found), bool(found.table["kl"].is_monotonic_decreasing), found.clusters["places"].sum().item()
    (50, True, 50)
    """
    import pandas as pd

    text = hasattr(task, "tokenizer")
    examples = (task.test[:BLOCKS] if text else task.test) if examples is None else examples
    places = whole("places", places, 2, 1 << 20, "the places that are kept, those of the largest KL")
    clusters = whole("clusters", clusters, 1, 64, "groups of places")
    size = 8 if text else len(examples)
    measured = []
    for inputs in examples.inputs.split(size):
        ours, theirs = predict(student, inputs).cpu(), predict(teacher, inputs).cpu()
        if ours.shape != theirs.shape:
            raise BadValue(f"the student's logits are {tuple(ours.shape)}, the teacher's {tuple(theirs.shape)}")
        measured.append(forward_kl(ours, theirs, reduction="none").flatten())
    kls = torch.cat(measured)
    where = kls.argsort(descending=True, stable=True)[:places]
    each = examples.labels[0].numel()  # places an example
    rows, positions = where // each, where % each
    p, q = (_probabilities(model, examples.inputs, rows, positions) for model in (teacher, student))
    labels = examples.labels.reshape(-1)[where]
    name = _Names(task)
    truth = labels.numpy()
    table = pd.DataFrame(
        {
            "example": rows.numpy(),
            "position": positions.numpy(),
            "kl": kls[where].numpy(),
            "teacher": [name(answer) for answer in p.argmax(-1).tolist()],
            "student": [name(answer) for answer in q.argmax(-1).tolist()],
            "truth": [name(answer) if answer > UNLABELLED else "" for answer in truth.tolist()],
            "teacher_p": p.amax(-1).numpy(),
            "student_p": q.amax(-1).numpy(),
        }
    )
    groups = _grouped((p - q).numpy(), clusters, seed)
    names = [_called((p - q)[torch.from_numpy(groups == group)].mean(0), name) for group in range(groups.max() + 1)]
    table["cluster"] = [names[group] for group in groups]
    sides = {"teacher": p.argmax(-1).numpy(), "student": q.argmax(-1).numpy()}
    known = np.where(truth > UNLABELLED, 1.0, np.nan)
    judged = table[["cluster", "kl"]].assign(
        same=sides["teacher"] == sides["student"],
        **{f"{side}_right": np.where(answers == truth, 1.0, 0.0) * known for side, answers in sides.items()},
    )
    summary = judged.groupby("cluster").agg(
        places=("kl", "size"),
        kl=("kl", "mean"),
        same=("same", "mean"),
        teacher_right=("teacher_right", "mean"),
        student_right=("student_right", "mean"),
    )
    summary = summary.sort_values("places", ascending=False, kind="stable").rename_axis("name").reset_index()
    kept = []
    for ours, theirs, true in zip(p, q, truth.tolist(), strict=True):
        best = [*ours.topk(min(TOP, len(ours))).indices.tolist(), *theirs.topk(min(TOP, len(theirs))).indices.tolist()]
        kept.append(list(dict.fromkeys([*best, true] if true > UNLABELLED else best)))
    answers = [
        {name(answer): (float(p[place, answer]), float(q[place, answer])) for answer in some}
        for place, some in enumerate(kept)
    ]
    return Disagreements(table, summary, examples, answers, task)


class _Names:
    """The name of a class, or of a token as it stands in quotes."""

    def __init__(self, task: Any) -> None:
        self.task, self.known = task, dict[int, str]()

    def __call__(self, answer: int) -> str:
        if answer not in self.known:
            classes = getattr(self.task, "classes", None)
            self.known[answer] = (
                classes[answer] if classes is not None else f"‘{self.task.decode(torch.tensor([answer]))}’"
            )
        return self.known[answer]


def _probabilities(model: nn.Module, inputs: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """What the model says at these places, (places, classes)."""
    asked, back = rows.unique(return_inverse=True)
    parts = []
    for start in range(0, len(asked), 8):
        logits = predict(model, inputs[asked[start : start + 8]]).cpu()
        logits = logits if logits.ndim == 3 else logits[:, None]
        mine = ((back >= start) & (back < start + 8)).nonzero()[:, 0]
        parts.append((mine, wide(logits[back[mine] - start, positions[mine]]).softmax(-1)))
    found = parts[0][1].new_empty((len(rows), parts[0][1].shape[-1]))
    for mine, probabilities in parts:
        found[mine] = probabilities
    return found


def _grouped(differences: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The number of each row's cluster, 0, 1, … without a gap."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    directions = normalize(differences.astype(np.float64))
    if directions.shape[1] > DIRECTIONS:  # of a thousand tokens most occur once: what several places share is kept
        directions = normalize(TruncatedSVD(DIRECTIONS, random_state=seed).fit_transform(directions))
    clusters = min(clusters, len(np.unique(directions.round(6), axis=0)))
    found = KMeans(clusters, n_init=4, random_state=seed).fit_predict(directions)
    return np.unique(found, return_inverse=True)[1]


def _called(difference: Tensor, name: _Names) -> str:
    """A cluster by what each side holds likelier than the other; at most two of each, none that counts for little."""

    def most(values: Tensor) -> str:
        best = values.topk(min(2, len(values)))
        first = float(best.values[0])
        kept = [at for at, value in zip(best.indices.tolist(), best.values.tolist(), strict=True) if value > first / 3]
        return " or ".join(name(at) for at in kept) if first > 0 else "nothing"

    return f"teacher: {most(difference)}, student: {most(-difference)}"
