"""What is asked: for each exercise the package's own answer, inputs from simple to hard, how to draw more, a hint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from distilkit import metrics
from distilkit.divergences import IGNORED, entropy, forward_kl, jsd, reverse_kl, soften
from distilkit.insides import cka
from distilkit.losses import kd_loss

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Exercise:
    """What is asked: `expected` gives the right answer; `draw` makes an input of about so many examples at random."""

    expected: Callable[..., Any]
    names: tuple[str, ...]
    cases: tuple[Arguments, ...]
    hint: str
    draw: Callable[[Generator, int], Arguments]
    allowed: Callable[..., bool] = lambda *_: True  # whether an input is one that the exercise speaks of


# ── what is drawn ────────────────────────────────────────────────────────────────────────────────────────────────────


def _logits(draw: Generator, *shape: int) -> Tensor:
    return 2 * torch.randn(shape, generator=draw, dtype=torch.float64)


def _whole(draw: Generator, low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high + 1, shape, generator=draw)


def _one(draw: Generator, low: int, high: int) -> int:
    return int(_whole(draw, low, high))


def _real(draw: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=draw, dtype=torch.float64))


def _pair(draw: Generator, size: int) -> tuple[Tensor, Tensor]:
    return _logits(draw, size + 1), _logits(draw, size + 1)


def _labelled(draw: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Logits of a few rows over size + 1 classes, and their labels."""
    rows = _one(draw, 1, size)
    return _logits(draw, rows, size + 1), _whole(draw, 0, size, rows)


def _two_rows(draw: Generator, size: int) -> tuple[Tensor, Tensor, Tensor, float, float]:
    """Logits of student and teacher, labels, alpha and temperature."""
    logits, labels = _labelled(draw, size)
    return logits, _logits(draw, *logits.shape), labels, _real(draw, 0, 1), _real(draw, 0.5, 8)


def _two_lists(draw: Generator, size: int) -> tuple[Tensor, Tensor]:
    return _whole(draw, 1, 5, _one(draw, 1, size)), _whole(draw, 1, 5, _one(draw, 1, size))


def _equal_lists(draw: Generator, size: int) -> tuple[Tensor, Tensor]:
    return _whole(draw, 0, 2, size), _whole(draw, 0, 2, size)


def _learning_curve(draw: Generator, size: int) -> tuple[Tensor, Tensor, float]:
    points = max(2, size)
    sizes = 100 * 2 ** torch.arange(points) + _whole(draw, 0, 50, points)
    accuracies = torch.rand(points, generator=draw, dtype=torch.float64).sort().values
    return sizes, accuracies, _real(draw, float(accuracies[0]), float(accuracies[-1]))


def _class_rows(draw: Generator, size: int) -> tuple[Tensor, Tensor, int]:
    """Soft labels of which every class has an example."""
    classes = max(2, size)
    labels = torch.cat([torch.arange(classes), _whole(draw, 0, classes - 1, size)])
    return _logits(draw, len(labels), classes).softmax(-1), labels, classes


def _half_written(draw: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of texts of which the last places are written by the student."""
    texts, time = _one(draw, 1, size), size + 1
    prompt = _whole(draw, 0, time - 1, texts)
    written = torch.arange(time) >= prompt[:, None]
    return _logits(draw, texts, time, 3), _logits(draw, texts, time, 3), written


# ── what is right ────────────────────────────────────────────────────────────────────────────────────────────────────


def _soft_gradient(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    logits = student_logits.clone().requires_grad_()
    forward_kl(logits / temperature, teacher_logits / temperature, reduction="none").sum().backward()
    assert logits.grad is not None
    return logits.grad


def _centred_mse(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    difference = student_logits - teacher_logits
    return (difference - difference.mean(-1, keepdim=True)).square().mean(-1) / 2


def _smooth(labels: Tensor, classes: int, amount: float) -> Tensor:
    return (1 - amount) * torch.nn.functional.one_hot(labels, classes).double() + amount / classes


def _next_token_labels(tokens: Tensor, prompt: int) -> Tensor:
    labels = tokens[:, 1:].clone()
    labels[:, : prompt - 1] = IGNORED
    return labels


def _sequence_log_prob(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1).sum(-1)


def _hint_loss(student_states: Tensor, teacher_states: Tensor, weights: Tensor) -> Tensor:
    return (student_states @ weights.T - teacher_states).square().mean() / teacher_states.var(correction=0)


def _ensemble(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))


def _overconfidence(logits: Tensor, labels: Tensor) -> float:
    return float(logits.softmax(-1).amax(-1).mean()) - metrics.accuracy(logits, labels)


def _smoothed_shares(sizes: Tensor, exponent: float) -> Tensor:
    return (exponent * sizes.log()).softmax(-1)


def _head_share(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    teacher, order = teacher_logits.softmax(-1).sort(descending=True)
    gaps = (teacher - student_logits.softmax(-1)[order]).abs()
    return gaps[teacher.cumsum(-1) - teacher < 0.5].sum() / gaps.sum()


def _of(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _precision_recall(kept: Tensor, right: Tensor) -> Tensor:
    both = (kept & right).sum()
    return torch.stack([both / kept.sum(), both / right.sum()])


_PAIRS = (
    (_of(0, 0), _of(0, 0)),
    (_of(0, 0), _of(math.log(3), 0)),
    (_of(1, 0, -1), _of(0, 2, 1)),
    (_of(8, 0, 0, 0), _of(0, 8, 0, 0)),
    (_of(400, -400), _of(-400, 400)),
)


def _share_followed(answers: Tensor, believed: Tensor) -> Tensor:
    return (answers == believed).double().mean()


def _problems_needed(sizes: Tensor, accuracies: Tensor, goal: float) -> float:
    """Between the sizes the accuracy is read off a straight line over log2(size)."""
    return float(2 ** np.interp(goal, accuracies.numpy(), sizes.double().log2().numpy()))


def _ceiling(seen: Tensor, labels: Tensor) -> float:
    """Whoever sees the same must answer the same: the most frequent label of each group is the best there is."""
    return sum(int(labels[seen == group].bincount().max()) for group in seen.unique()) / len(labels)


def _clipped_precision(candidate: Tensor, reference: Tensor) -> float:
    """BLEU's precision of single words: each counts at most as often as the reference has it."""
    found = sum(min(int((candidate == word).sum()), int((reference == word).sum())) for word in candidate.unique())
    return found / len(candidate)


def _leaked_share(train: Tensor, test: Tensor) -> float:
    return float(torch.isin(test, train).double().mean())


def _seeds_needed(spread: float, gain: float) -> int:
    return max(2, math.ceil((1.96 * spread / gain) ** 2))


def _machines_needed(requests: float, seconds: float, utilisation: float) -> int:
    """For requests spread over a day, each of which keeps a machine busy for so long."""
    return max(1, math.ceil(requests * seconds / (86_400 * utilisation)))


def _on_frontier(times: Tensor, qualities: Tensor) -> Tensor:
    """Which points no other is at once as quick as and better than; no two are equal."""
    better = (times[None] <= times[:, None]) & (qualities[None] > qualities[:, None])
    return (~better.any(1)).double()


def _in_int8(weights: Tensor) -> Tensor:
    """Weights after int8, one scale a row."""
    scale = weights.abs().amax(1, keepdim=True) / 127
    return (weights / scale).round() * scale


def _word_errors(said: Tensor, heard: Tensor) -> float:
    """The fewest words put in, left out and exchanged (Levenshtein), a word of what was said."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(said.tolist(), 1):
        before, row = row, [place]
        for at, other in enumerate(heard.tolist()):
            row.append(min(before[at + 1] + 1, row[at] + 1, before[at] + (word != other)))
    return row[-1] / len(said)


def _class_means(soft_labels: Tensor, labels: Tensor, classes: int) -> Tensor:
    return torch.stack([soft_labels[labels == each].mean(0) for each in range(classes)])


def _mixed_target(teacher_logits: Tensor, labels: Tensor, alpha: float) -> Tensor:
    hard = torch.nn.functional.one_hot(labels, teacher_logits.shape[-1]).double()
    return alpha * teacher_logits.softmax(-1) + (1 - alpha) * hard


def _written_kl(student_logits: Tensor, teacher_logits: Tensor, written: Tensor) -> Tensor:
    return reverse_kl(student_logits, teacher_logits, mask=written)


EXERCISES = {
    "spell": Exercise(
        lambda path: (merged := path.unique_consecutive())[merged > 0],
        ("path",),
        (
            (torch.tensor([3, 1]),),
            (torch.tensor([0, 3, 0, 1, 0]),),
            (torch.tensor([3, 3, 3, 1]),),
            (torch.tensor([2, 2, 0, 2, 5, 5, 0, 0, 5]),),
        ),
        "Merge first: path.unique_consecutive() keeps one of each run of equals. Then drop the blanks, 0; the "
        "other way round, double letters would be lost.",
        lambda draw, size: (_whole(draw, 0, 2, size + 1),),
    ),
    "word_errors": Exercise(
        _word_errors,
        ("said", "heard"),
        (
            (torch.tensor([1, 2]), torch.tensor([1, 2])),
            (torch.tensor([1, 2]), torch.tensor([1, 3])),
            (torch.tensor([1, 2, 3]), torch.tensor([1, 3])),
            (torch.tensor([1, 2, 3]), torch.tensor([9, 1, 2, 3])),
            (torch.tensor([1, 2, 3, 4]), torch.tensor([2, 3, 5, 4, 4, 6])),
        ),
        "cost[i][j]: errors between the first i words said and the first j heard, the least of cost[i - 1][j] + 1, "
        "cost[i][j - 1] + 1 and cost[i - 1][j - 1] + (said[i - 1] != heard[j - 1]). The last of all, over len(said).",
        _two_lists,
    ),
    "made_up_share": Exercise(
        lambda stated, known: 1 - torch.isin(stated, known).double().mean(),
        ("stated", "known"),
        (
            (torch.tensor([4]), torch.tensor([4])),
            (torch.tensor([4, 29]), torch.tensor([4, 7, 8])),
            (torch.tensor([29, 29, 3]), torch.tensor([3, 5])),
            (torch.tensor([1, 2, 3, 4, 5]), torch.tensor([5, 5, 2, 9])),
        ),
        "torch.isin(stated, known) says for each stated value whether it is known. What is the share of those that are "
        "not?",
        _two_lists,
    ),
    "machines_needed": Exercise(
        _machines_needed,
        ("requests", "seconds", "utilisation"),
        ((86_400, 1.0, 1.0), (86_400, 1.0, 0.5), (1_000_000, 0.1, 0.5), (10, 0.1, 0.5)),
        "All requests together keep machines busy for requests · seconds; a machine has 86,400 seconds a day, of which "
        "it may be busy for a share. Round up: math.ceil. And there must be one.",
        lambda draw, size: (_one(draw, 1, 10 ** (size + 1)), _real(draw, 0.01, 9), _real(draw, 0.05, 1)),
    ),
    "on_frontier": Exercise(
        _on_frontier,
        ("times", "qualities"),
        (
            (_of(1), _of(0.5)),
            (_of(1, 2), _of(0.5, 0.4)),
            (_of(1, 2, 3), _of(0.5, 0.7, 0.6)),
            (_of(4, 1, 3, 2), _of(0.9, 0.2, 0.6, 0.7)),
        ),
        "Compare each with each: times[None] <= times[:, None] says in row i, column j whether j is as quick as i. If "
        "j is better, too, i is off the frontier: (…).any(1).",
        lambda draw, size: (_logits(draw, size), _logits(draw, size)),
    ),
    "in_int8": Exercise(
        _in_int8,
        ("weights",),
        (
            (torch.tensor([[1.0]]),),
            (torch.tensor([[1.0, 0.3]]),),
            (torch.tensor([[2.0, -0.01, 0.5], [0.1, 0.02, -0.03]]),),
            (torch.tensor([[-4.0, 1.234], [1.0, 0.999], [0.003, -0.002]]),),
        ),
        "A row's scale is row.abs().max() / 127: keep its dimension, so that it divides the row. Divide, .round(), "
        "multiply by the scale again.",
        lambda draw, size: (_logits(draw, _one(draw, 1, size), size),),
    ),
    "clipped_precision": Exercise(
        _clipped_precision,
        ("candidate", "reference"),
        (
            (torch.tensor([1, 2]), torch.tensor([2, 1])),
            (torch.tensor([1, 3]), torch.tensor([1, 2, 4])),
            (torch.tensor([1, 1, 1, 1]), torch.tensor([1, 2, 1])),
            (torch.tensor([5, 5, 7, 2, 2]), torch.tensor([2, 5, 5, 5, 8, 9])),
        ),
        "For each word of candidate.unique(): how often is it in the candidate, how often in the reference? The "
        "smaller of both counts; add them up, and divide by the candidate's length.",
        _two_lists,
    ),
    "length_normalised": Exercise(
        lambda log_probs, exponent: log_probs.sum() / len(log_probs) ** exponent,
        ("log_probs", "exponent"),
        (
            (_of(-1), 1.0),
            (_of(-1, -2), 0.0),
            (_of(-1, -2, -3), 1.0),
            (_of(-0.5, -0.25, -0.25, -1), 0.5),
        ),
        "The log-probability of a sentence is the sum of its words'. Divide it by the number of words to the exponent: "
        "0 prefers short sentences, 1 is the mean.",
        lambda draw, size: (-_logits(draw, size).exp(), _real(draw, 0, 1)),
        lambda log_probs, exponent: bool((log_probs <= 0).all()),
    ),
    "attention_weights": Exercise(
        lambda query, keys: (keys @ query / math.sqrt(len(query))).softmax(-1),
        ("query", "keys"),
        (
            (_of(0), _of(1, 2).view(2, 1)),
            (_of(math.log(3)), _of(1, 0).view(2, 1)),
            (_of(2, 0, 0, 0), _of(math.log(3), 5, 5, 5, 0, 1, 2, 3).view(2, 4)),
            (_of(30, 40), _of(30, 40, -30, -40, 0, 0).view(3, 2)),
        ),
        "keys @ query is one number a cell. Divide by the root of the width, len(query); softmax makes shares of it.",
        lambda draw, size: (_logits(draw, size), _logits(draw, size + 1, size)),
    ),
    "ceiling": Exercise(
        _ceiling,
        ("seen", "labels"),
        (
            (torch.tensor([0, 1]), torch.tensor([0, 1])),
            (torch.tensor([0, 0, 0]), torch.tensor([2, 1, 2])),
            (torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0])),
            (torch.tensor([3, 3, 3, 1, 1, 7]), torch.tensor([0, 1, 2, 4, 4, 0])),
        ),
        "Pictures that look the same get the same answer. For each value of seen.unique(), the best is the commonest "
        "of labels[seen == value]: bincount().max() says how often it is right.",
        _equal_lists,
    ),
    "share_followed": Exercise(
        _share_followed,
        ("answers", "believed"),
        (
            (torch.tensor([4]), torch.tensor([4])),
            (torch.tensor([4, 7]), torch.tensor([4, 5])),
            (torch.tensor([1, 2, 3, 4]), torch.tensor([4, 3, 2, 4])),
        ),
        "answers == believed says of each solution whether it went where the corrupted step leads.",
        _equal_lists,
    ),
    "problems_needed": Exercise(
        _problems_needed,
        ("sizes", "accuracies", "goal"),
        (
            (torch.tensor([100, 200]), _of(0.2, 0.6), 0.6),
            (torch.tensor([100, 400]), _of(0.2, 0.6), 0.4),
            (torch.tensor([125, 250, 500]), _of(0.1, 0.3, 0.7), 0.4),
        ),
        "numpy.interp(goal, accuracies, …) reads a straight line between points. Let the points be log2 of the sizes, "
        "and take 2 to the power of what it says.",
        _learning_curve,
        lambda sizes, accuracies, goal: (
            bool((sizes.diff() > 0).all() and (accuracies.diff() > 0).all()) and accuracies[0] <= goal <= accuracies[-1]
        ),
    ),
    "resting_alpha": Exercise(
        lambda soft, hard, temperature: hard / (temperature**2 * soft + hard),
        ("soft", "hard", "temperature"),
        (
            (1.0, 1.0, 1.0),
            (0.5, 1.5, 1.0),
            (0.1, 0.4, 4.0),
            (0.02, 0.0, 8.0),
        ),
        "At rest each weight is 1 / (2 · its term); alpha is the soft one's share of both. The soft term carries T².",
        lambda draw, size: (_real(draw, 0.01, 2), _real(draw, 0.01, 2), _real(draw, 0.5, 8)),
    ),
    "head_share": Exercise(
        _head_share,
        ("student_logits", "teacher_logits"),
        (
            (_of(0, 0), _of(math.log(3), 0)),
            (_of(0, 0, 0), _of(math.log(8), 0, 0)),
            (_of(2, 0, 1, 0), _of(0, 0.4, 0.2, 0.1)),
            (_of(0, 3, 1, 2), _of(1, 0, 5, 4)),
        ),
        "Sort the teacher's probabilities, largest first, and the gaps |p − q| with them. A class is in the head where "
        "the classes before it hold less than ½ (cumsum, less its own). Which share of all gaps lies there?",
        lambda draw, size: _pair(draw, size + 1),
    ),
    "accuracy": Exercise(
        metrics.accuracy,
        ("logits", "labels"),
        (
            (torch.stack([_of(2, 0), _of(0, 2)]), torch.tensor([0, 1])),
            (torch.stack([_of(2, 0), _of(0, 2)]), torch.tensor([0, 0])),
            (torch.stack([_of(-3, -1, -2), _of(0, 0.2, 0.1), _of(5, 4, 3)]), torch.tensor([1, 2, 0])),
        ),
        "logits.argmax(-1) is the answer of each row; how often is it the label?",
        _labelled,
    ),
    "smooth_labels": Exercise(
        _smooth,
        ("labels", "classes", "amount"),
        (
            (torch.tensor([0]), 2, 0.0),
            (torch.tensor([1]), 2, 0.2),
            (torch.tensor([2, 0]), 4, 0.1),
            (torch.tensor([0]), 3, 1.0),
        ),
        "torch.nn.functional.one_hot(labels, classes) is the hard label. Keep 1 − amount of it, and spread amount "
        "evenly over all the classes, the right one included.",
        lambda draw, size: (_whole(draw, 0, size, size), size + 1, _real(draw, 0, 1)),
    ),
    "soften": Exercise(
        soften,
        ("logits", "temperature"),
        (
            (_of(0, 0), 2.0),
            (_of(math.log(3), 0), 1.0),
            (_of(4, 2, 0), 2.0),
            (torch.stack([_of(1, 0, 0), _of(0, 0, 5)]), 4.0),
            (_of(1000, 0, -1000), 0.5),
        ),
        "Divide the logits by the temperature first; what then turns logits into probabilities?",
        lambda draw, size: (_logits(draw, _one(draw, 1, size), size + 1), _real(draw, 0.5, 8)),
    ),
    "soft_gradient": Exercise(
        _soft_gradient,
        ("student_logits", "teacher_logits", "temperature"),
        (
            (*_PAIRS[0], 1.0),
            (*_PAIRS[1], 1.0),
            (*_PAIRS[1], 2.0),
            (*_PAIRS[2], 8.0),
        ),
        "At T = 1 it is q − p. The student's logits enter as z/T, so the chain rule adds one factor more: which?",
        lambda draw, size: (*_pair(draw, size), _real(draw, 0.5, 8)),
    ),
    "centred_mse": Exercise(
        _centred_mse,
        ("student_logits", "teacher_logits"),
        (
            (_of(1, -1), _of(1, -1)),
            (_of(1, -1), _of(0, 0)),
            (_of(5, 5), _of(0, 0)),
            (_of(3, 1, -1), _of(0, 2, 4)),
        ),
        "Subtract from each side its own mean over the classes, then take half the mean squared difference.",
        _pair,
    ),
    "kd_loss": Exercise(
        lambda student, teacher, label, alpha, temperature: kd_loss(
            student, teacher, label, alpha=alpha, temperature=temperature
        ),
        ("student_logits", "teacher_logits", "labels", "alpha", "temperature"),
        (
            (_of(0, 0)[None], _of(0, 0)[None], torch.tensor([0]), 0.0, 1.0),
            (_of(0, 0)[None], _of(math.log(3), 0)[None], torch.tensor([0]), 1.0, 1.0),
            (_of(0, 0)[None], _of(math.log(3), 0)[None], torch.tensor([1]), 0.5, 1.0),
            (_of(1, 0, -1)[None], _of(0, 2, 1)[None], torch.tensor([1]), 1.0, 4.0),
            (torch.stack([_of(1, 0), _of(0, 3)]), torch.stack([_of(2, 0), _of(0, 1)]), torch.tensor([0, 0]), 0.9, 2.0),
        ),
        "alpha · T² · dk.forward_kl(student_logits / T, teacher_logits / T) "
        "+ (1 − alpha) · torch.nn.functional.cross_entropy(student_logits, labels)",
        _two_rows,
    ),
    "reverse_kl": Exercise(
        reverse_kl,
        ("student_logits", "teacher_logits"),
        _PAIRS,
        "With log p and log q from log_softmax (p the teacher, q the student): the sum of q·(log q − log p).",
        _pair,
    ),
    "jsd": Exercise(
        jsd,
        ("student_logits", "teacher_logits"),
        _PAIRS[:4],
        "The middle is m = (p + q) / 2. Average the two KLs to it, KL(p ‖ m) and KL(q ‖ m).",
        _pair,
    ),
    "next_token_labels": Exercise(
        _next_token_labels,
        ("tokens", "prompt"),
        (
            (torch.tensor([[5, 6, 7]]), 1),
            (torch.tensor([[5, 6, 7, 8]]), 2),
            (torch.tensor([[5, 6, 7, 8, 9], [1, 2, 3, 4, 5]]), 3),
        ),
        "tokens[:, 1:] is what comes next. The first new token, at place `prompt`, is predicted one place before it: "
        "so the first prompt − 1 labels are −100, and no more.",
        lambda draw, size: (_whole(draw, 1, 9, _one(draw, 1, size), size + 1), _one(draw, 1, size)),
        lambda tokens, prompt: 1 <= prompt < tokens.shape[1],
    ),
    "perplexity": Exercise(
        metrics.perplexity,
        ("logits", "labels"),
        (
            (_of(0, 0)[None], torch.tensor([0])),
            (torch.stack([_of(0, 0, 0, 0), _of(0, 0, 0, 0)]), torch.tensor([3, 1])),
            (torch.stack([_of(math.log(3), 0), _of(0, 0)]), torch.tensor([0, 1])),
        ),
        "The exponential of the mean −log-probability of the labels; torch.nn.functional.cross_entropy is that mean.",
        _labelled,
    ),
    "sequence_log_prob": Exercise(
        _sequence_log_prob,
        ("logits", "tokens"),
        (
            (torch.zeros(1, 2, 2, dtype=torch.float64), torch.tensor([[0, 1]])),
            (torch.zeros(1, 4, 4, dtype=torch.float64), torch.tensor([[0, 1, 2, 3]])),
            (torch.stack([_of(0, math.log(3)), _of(math.log(7), 0), _of(9, 0)])[None], torch.tensor([[0, 1, 0]])),
        ),
        "The logits at place t speak of the token at place t + 1, so those of the last place are not used. "
        "log_softmax, gather, sum.",
        lambda draw, size: (_logits(draw, size, size + 1, 3), _whole(draw, 0, 2, size, size + 1)),
    ),
    "majority": Exercise(
        lambda answers: answers.mode().values,
        ("answers",),
        (
            (torch.tensor([14]),),
            (torch.tensor([14, 16, 14]),),
            (torch.tensor([16, 14, 16, 14]),),
            (torch.tensor([9, 2, 7, 9, 2, 9]),),
        ),
        "collections.Counter(answers.tolist()) counts them; the most votes decide, and of equals the smallest answer.",
        lambda draw, size: (_whole(draw, 1, 3, size),),
    ),
    "precision_recall": Exercise(
        _precision_recall,
        ("kept", "right"),
        (
            (torch.tensor([True]), torch.tensor([True])),
            (torch.tensor([True, True]), torch.tensor([True, False])),
            (torch.tensor([True, False, False]), torch.tensor([True, True, False])),
            (torch.tensor([True, True, True, False, False]), torch.tensor([True, False, False, True, True])),
        ),
        "kept & right are the right ones that pass. Divide their number once by how many pass, once by how many are "
        "right.",
        lambda draw, size: tuple(_whole(draw, 0, 1, 2, size).bool()),
    ),
    "distinct_2": Exercise(
        lambda texts: metrics.distinct_n(texts, 2),
        ("texts",),
        (
            (torch.tensor([[1, 2, 3]]),),
            (torch.tensor([[1, 1, 1]]),),
            (torch.tensor([[1, 2, 1], [2, 1, 2]]),),
        ),
        "All pairs of neighbours in all the texts: how many different ones are there, for how many in all? A set of "
        "tuples counts the different ones.",
        lambda draw, size: (_whole(draw, 1, 3, _one(draw, 1, size), size + 1),),
    ),
    "linear_cka": Exercise(
        lambda first, second: cka(first, second, debiased=False),
        ("first", "second"),
        (
            (_of(1, 0, 0, 1).view(4, 1), _of(1, 0, 0, 1).view(4, 1)),
            (_of(1, 0, 0, 1).view(4, 1), _of(3, 5, 3, 3).view(4, 1)),
            (_of(1, 0, 0, 1, 2, 1, 0, 3).view(4, 2), _of(1, 0, 3, 1, 0, 2, 5, 5, 1, 0, 0, 1).view(4, 3)),
        ),
        "Subtract from each column its mean, on both sides. Then the squared norm of Y.T @ X, divided by the norms of "
        "X.T @ X and of Y.T @ Y: torch.linalg.norm.",
        lambda draw, size: (_logits(draw, size + 3, _one(draw, 1, 3)), _logits(draw, size + 3, _one(draw, 1, 3))),
    ),
    "hint_loss": Exercise(
        _hint_loss,
        ("student_states", "teacher_states", "weights"),
        (
            (_of(1, 2).view(2, 1), _of(1, 2).view(2, 1), _of(1).view(1, 1)),
            (_of(1, 2).view(2, 1), _of(1, 4).view(2, 1), _of(1).view(1, 1)),
            (_of(1, 2, 0, 1).view(2, 2), _of(1, 4, 2, 0, 0, 1).view(2, 3), _of(1, 0, 0, 1, 1, 1).view(3, 2)),
        ),
        "Project first: student_states @ weights.T has the teacher's width. The mean squared difference, divided by "
        "teacher_states.var(correction=0).",
        lambda draw, size: (_logits(draw, size + 1, 2), _logits(draw, size + 1, 3), _logits(draw, 3, 2)),
    ),
    "ensemble": Exercise(
        _ensemble,
        ("logits",),
        (
            (_of(0, 0)[None, None],),
            (torch.stack([_of(math.log(3), 0), _of(0, math.log(3))])[:, None],),
            (torch.stack([_of(4, 0, 0), _of(0, 4, 0)])[:, None],),
            (torch.stack([_of(900, 0), _of(0, 900)])[:, None],),
        ),
        "The mean of softmax(-1) over the teachers, then log; where a probability is too small for that, logsumexp of "
        "log_softmax(-1) over the teachers, minus log of their number.",
        lambda draw, size: (_logits(draw, _one(draw, 1, 4), size, size + 1),),
    ),
    "leaked_share": Exercise(
        _leaked_share,
        ("train", "test"),
        (
            (torch.tensor([1, 2]), torch.tensor([3])),
            (torch.tensor([1, 2]), torch.tensor([2])),
            (torch.tensor([1, 2, 2]), torch.tensor([2, 2, 3, 4])),
            (torch.tensor([5]), torch.tensor([1, 5, 5])),
        ),
        "torch.isin(test, train) says of each test row whether it is in train; a row that occurs twice counts twice.",
        _two_lists,
    ),
    "seeds_needed": Exercise(
        _seeds_needed,
        ("spread", "gain"),
        ((1.0, 1.96), (1.0, 1.0), (2.0, 1.0), (0.5, 3.0), (1.0, 0.25)),
        "Solve 1.96 · spread / √n ≤ gain for n, round up, and take two where one would do: one seed has no spread.",
        lambda draw, size: (_real(draw, 0.1, 9), _real(draw, 0.1, 9)),
    ),
    "disagreement": Exercise(
        lambda logits: entropy(_ensemble(logits)) - entropy(logits).mean(0),
        ("logits",),
        (
            (torch.stack([_of(0, 0), _of(0, 0)])[:, None],),
            (torch.stack([_of(math.log(3), 0), _of(0, math.log(3))])[:, None],),
            (torch.stack([_of(50, 0), _of(0, 50)])[:, None],),
            (torch.stack([torch.stack([_of(1, 0, 0), _of(0, 2, 0)]), torch.stack([_of(1, 0, 0), _of(0, 0, 2)])]),),
        ),
        "The entropy of the mean distribution minus the mean of their entropies; dk.entropy takes logits, and "
        "log-probabilities are logits.",
        lambda draw, size: (_logits(draw, _one(draw, 1, 4), size, size + 1),),
    ),
    "overconfidence": Exercise(
        _overconfidence,
        ("logits", "labels"),
        (
            (torch.stack([_of(0, 0)]), torch.tensor([0])),
            (torch.stack([_of(math.log(3), 0), _of(math.log(3), 0)]), torch.tensor([0, 1])),
            (torch.stack([_of(9, 0, 0), _of(0, 9, 0), _of(0, 0, 1)]), torch.tensor([1, 2, 2])),
            (torch.stack([_of(1, 0, 0), _of(0, 0.5, 0)]), torch.tensor([0, 1])),
        ),
        "softmax(-1).amax(-1) is how sure each row is, argmax(-1) == labels whether it is right; two means, one minus "
        "the other.",
        _labelled,
    ),
    "smoothed_shares": Exercise(
        _smoothed_shares,
        ("sizes", "exponent"),
        (
            (_of(1, 1), 1.0),
            (_of(3, 1), 1.0),
            (_of(9, 1), 0.5),
            (_of(700, 200, 100), 0.0),
            (_of(7e8, 2e8, 1e8), 0.3),
        ),
        "sizes**exponent, over its sum.",
        lambda draw, size: (_whole(draw, 1, 999, size + 1).double(), _real(draw, 0, 1)),
        lambda sizes, exponent: bool((sizes > 0).all()),
    ),
    "class_means": Exercise(
        _class_means,
        ("soft_labels", "labels", "classes"),
        (
            (torch.eye(2, dtype=torch.float64), torch.tensor([0, 1]), 2),
            (torch.stack([_of(0.8, 0.2), _of(0.6, 0.4), _of(0, 1)]), torch.tensor([0, 0, 1]), 2),
            (torch.stack([_of(0.5, 0.5), _of(1, 0), _of(0.2, 0.8)]), torch.tensor([1, 0, 1]), 2),
        ),
        "soft_labels[labels == each] are the examples of one class; .mean(0) is their mean, and torch.stack puts the "
        "classes below each other.",
        _class_rows,
        lambda soft_labels, labels, classes: soft_labels.shape[1] == classes,
    ),
    "mixed_target": Exercise(
        _mixed_target,
        ("teacher_logits", "labels", "alpha"),
        (
            (_of(0, 0)[None], torch.tensor([0]), 1.0),
            (_of(0, 0)[None], torch.tensor([0]), 0.0),
            (_of(math.log(3), 0)[None], torch.tensor([1]), 0.5),
            (torch.stack([_of(0, 2, 1), _of(3, 0, 0)]), torch.tensor([0, 2]), 0.9),
        ),
        "The loss is −Σ target · log q, but for what does not depend on the student: alpha of the target is the "
        "teacher's distribution, the rest the label's, torch.nn.functional.one_hot(labels, classes).",
        lambda draw, size: (*_labelled(draw, size), _real(draw, 0, 1)),
        lambda teacher_logits, labels, alpha: 0 <= alpha <= 1,
    ),
    "written_kl": Exercise(
        _written_kl,
        ("student_logits", "teacher_logits", "written"),
        (
            (_of(0, 0)[None, None], _of(math.log(3), 0)[None, None], torch.tensor([[True]])),
            (
                torch.stack([_of(0, 0), _of(0, 0)])[None],
                torch.stack([_of(9, 0), _of(math.log(3), 0)])[None],
                torch.tensor([[False, True]]),
            ),
            (
                torch.stack([_of(0, 0), _of(1, 0)])[None],
                torch.stack([_of(math.log(3), 0), _of(0, 2)])[None],
                torch.tensor([[True, True]]),
            ),
        ),
        "The KL of each place is a sum over its words, (n, time). Then the mean of the places where written is true: "
        "each[written].mean().",
        _half_written,
        lambda student_logits, teacher_logits, written: bool(written.any()),
    ),
}
