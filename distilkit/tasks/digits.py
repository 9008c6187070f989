"""Handwritten digits: 1,797 real 8×8 images (scikit-learn's), few of them labelled."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from distilkit import metrics
from distilkit.divergences import UNLABELLED
from distilkit.errors import BadFile, real, shown, whole
from distilkit.models import data_path, load, predict, save
from distilkit.origin import remembered
from distilkit.transfer import Examples

CLASSES = tuple("0123456789")
TEST = 500  # held out, the same images whatever the seed
TEACHER = "digits/teacher.safetensors"


@dataclass(frozen=True, eq=False)
class Digits:
    """Digits to distil on.

    Attributes:
        train: the labelled examples, balanced over the classes.
        transfer: every image of the pool; its label where `train` has it, −1 elsewhere.
        pool: the same images with every label, as the teacher's owner has them.
        test: held-out images, which neither teacher nor student ever learns from.
        labelled, seed: how many labels there are, and which draw of them.
    """

    train: Examples
    transfer: Examples
    pool: Examples
    test: Examples
    labelled: int
    seed: int
    classes: tuple[str, ...] = CLASSES

    @remembered
    def teacher(self) -> nn.Module:
        """The shipped teacher: a small convolutional network trained on the whole pool's labels. Checked by sha256."""
        return load(network(), data_path(TEACHER))

    @remembered
    def student(self, seed: int = 0, *, hidden: int = 32) -> nn.Module:
        """A fresh student: one hidden layer, ``64 → hidden → 10``, initialised from `seed` alone."""
        seed = whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same student")
        hidden = whole("hidden", hidden, 1, 65536, "the number of hidden units")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, len(CLASSES)))

    def score(self, model: nn.Module) -> dict[str, float]:
        """Quality on the held-out test set: accuracy in [0, 1], nll in nats, ece (calibration error) in [0, 1]."""
        logits, labels = predict(model, self.test.inputs), self.test.labels
        return {
            "accuracy": metrics.accuracy(logits, labels),
            "nll": metrics.nll(logits, labels),
            "ece": metrics.ece(logits, labels),
        }

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Digits:
        """The same images with another draw of labels: what a sweep over seeds needs."""
        return _draw(self.pool, self.test, labelled, seed)

    @remembered
    def without(self, digit: int) -> Digits:
        """The same task with one digit absent from the train and transfer sets (not from the test set)."""
        digit = whole("digit", digit, 0, 9, "the digit that the student never sees")
        seen = self.pool.labels != digit
        transfer = self.transfer[seen]
        return replace(self, train=transfer.labelled, transfer=transfer, pool=self.pool[seen])

    @remembered
    def with_noise(self, share: float) -> Digits:
        """The same task with this share of the labels replaced by a wrong one."""
        share = real("share", share, 0, 1, "the share of labels that are wrong")
        draw = np.random.default_rng([self.seed, 2])
        rows = torch.nonzero(self.transfer.labels >= 0).squeeze(1)
        wrong = rows[torch.from_numpy(draw.permutation(len(rows))[: round(share * len(rows))])]
        labels = self.transfer.labels.clone()
        labels[wrong] = (labels[wrong] + torch.from_numpy(draw.integers(1, 10, len(wrong)))) % 10
        transfer = Examples(self.transfer.inputs, labels)
        return replace(self, train=transfer.labelled, transfer=transfer)


@remembered
def digits(labelled: int = 100, seed: int = 0, *, path: str | Path | None = None) -> Digits:
    """Real 8×8 digits with `labelled` labels, the same number a class, drawn with `seed`.

    Args:
        labelled: how many images of the pool keep their label; at least one a class.
        seed: which ones.
        path: a CSV of your own in place of scikit-learn's images: 64 columns of pixels and a column ``label``
            (a digit, or empty for unlabelled). Its labelled rows are split into pool and test.

    Raises:
        BadValue: a number of labels that the pool cannot give. BadFile: a CSV that is not as described.

    >>> task = digits(labelled=100)
    >>> len(task.train), len(task.transfer), len(task.test)
    (100, 1297, 500)
    """
    pool, test = _images() if path is None else _read_csv(Path(path))
    return _draw(pool, test, labelled, seed)


def _draw(pool: Examples, test: Examples, labelled: int, seed: int) -> Digits:
    seed = whole("seed", seed, 0, 2**63 - 1, "which images keep their label")
    present = pool.labels.unique()
    present = present[present >= 0]
    labelled = whole("labelled", labelled, len(present), len(pool.labelled), "images that keep their label")
    draw = np.random.default_rng([seed, 1])
    order = torch.from_numpy(draw.permutation(len(pool)))
    rows_of = {int(digit): order[pool.labels[order] == digit] for digit in present}
    # one of each class in turn, until there are enough: balanced, also where a class runs short
    turns = [(turn, int(digit)) for digit in present for turn in range(len(rows_of[int(digit)]))]
    keep = torch.tensor([int(rows_of[digit][turn]) for turn, digit in sorted(turns)[:labelled]])
    labels = torch.full_like(pool.labels, UNLABELLED)
    labels[keep] = pool.labels[keep]
    transfer = Examples(pool.inputs, labels)
    return Digits(transfer.labelled, transfer, pool, test, labelled, seed)


@functools.cache
def _images() -> tuple[Examples, Examples]:
    """Pool and test set; the split is part of the task and does not depend on any seed."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return _split((images / 16).astype(np.float32), labels, TEST)


def _split(images: np.ndarray, labels: np.ndarray, test: int) -> tuple[Examples, Examples]:
    from sklearn.model_selection import train_test_split

    parts = train_test_split(images, labels, test_size=test, random_state=0, stratify=labels)
    pool, held_out, pool_labels, held_out_labels = (torch.from_numpy(np.asarray(part)) for part in parts)
    return Examples(pool, pool_labels.long()), Examples(held_out, held_out_labels.long())


def _read_csv(path: Path) -> tuple[Examples, Examples]:
    try:
        table = pd.read_csv(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadFile(f"cannot read {shown(str(path), 200)} as CSV: {shown(str(error), 120)}") from None
    if "label" not in table or table.shape[1] != 65 or not isinstance(table.index, pd.RangeIndex):
        raise BadFile(
            f"{path} must have 64 columns of pixels and one named 'label', got {table.shape[1]} columns: "
            f"{shown(', '.join(map(str, table.columns[:5])))}"
        )
    images = table.drop(columns="label").apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    labels = pd.to_numeric(table["label"], errors="coerce").where(table["label"].notna(), UNLABELLED).to_numpy()
    if not np.isfinite(images).all():
        row, column = (int(where[0]) for where in np.nonzero(~np.isfinite(images)))
        raise BadFile(f"{path}, row {row + 2}, column {column + 1}: a pixel must be a number")
    if not np.isin(labels, np.arange(UNLABELLED, 10)).all():
        row = int(np.nonzero(~np.isin(labels, np.arange(UNLABELLED, 10)))[0][0])
        raise BadFile(
            f"{path}, row {row + 2}: the label is {shown(str(table['label'][row]))}, allowed are 0 to 9 or empty"
        )
    high = float(images.max(initial=0))
    images = images / (high if high > 1 else 1)
    known = labels >= 0
    counts = np.bincount(labels[known].astype(int), minlength=10)
    if known.sum() < 40 or counts[counts > 0].min() < 2:
        raise BadFile(
            f"{path} needs at least 40 labelled rows and two of each digit in it, got {counts.tolist()} a digit"
        )
    pool, test = _split(images[known], labels[known].astype(np.int64), math.ceil(0.28 * known.sum()))
    unlabelled = torch.from_numpy(images[~known])
    return (
        Examples(
            torch.cat([pool.inputs, unlabelled]),
            torch.cat([pool.labels, torch.full((len(unlabelled),), UNLABELLED)]),
        ),
        test,
    )


def network() -> nn.Module:
    """The teacher's shape: two convolutions and a hidden layer, 8×8 pixels in a row of 64."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, len(CLASSES)),
    )


def train_teacher(path: str | Path, *, seed: int = 0, steps: int = 1500) -> dict[str, float]:
    """Train the teacher on every label of the pool, write it to `path`, and return its score on the test set."""
    pool, _ = _images()
    torch.manual_seed(seed)
    teacher = network().train()
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(pool), (64,))
        loss = nn.functional.cross_entropy(teacher(pool.inputs[rows]), pool.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    score = digits().score(teacher)
    about = {
        "command": "python -m distilkit.tasks",
        "seed": seed,
        "steps": steps,
        "torch": torch.__version__,
        "test_accuracy": f"{score['accuracy']:.4f}",
        "test_nll": f"{score['nll']:.4f}",
    }
    digest = save(teacher, path, about={key: str(value) for key, value in about.items()})
    Path(f"{path}.sha256").write_text(f"{digest}  {Path(path).name}\n")
    return score
