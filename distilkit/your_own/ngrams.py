"""A teacher of texts that is no neural network: which words and letters stand side by side, weighed for each class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

MOST = 50_000  # n-grams of each of both sorts
STRENGTHS = (1.0, 5.0)  # inverse regularisation, of which held-out texts choose


class Ngrams(nn.Module):
    """Logits = W·tf-idf(text) + b, over n-grams of words (1 to 2) and letters (2 to 5): scikit-learn's, as a teacher.

    On a few thousand texts it beats what a small transformer learns of them from scratch, and takes seconds.

    Args:
        texts, labels: to learn from, (n,), each class at least once.
        held_out, held_labels: texts that choose how strongly it is regularised.
        classes: how many there are.
        decode: token ids (n, time) -> n texts: what the student reads, back in words.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Tensor,
        held_out: Sequence[str],
        held_labels: Tensor,
        *,
        classes: int,
        decode: Callable[[Tensor], list[str]],
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_union

        super().__init__()
        self.decode = decode
        words = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[?!]", max_features=MOST
        )
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=MOST)
        self._read = make_union(words, letters)
        known, other = self._read.fit_transform(texts), self._read.transform(held_out)
        found = []
        for strength in STRENGTHS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is as good
                fitted = LogisticRegression(C=strength, max_iter=100).fit(known, labels.numpy())
            place = {int(label): place for place, label in enumerate(fitted.classes_)}
            asked = zip(fitted.predict_log_proba(other), held_labels.tolist(), strict=True)
            found.append((float(np.mean([row[place[label]] for row, label in asked if label in place])), fitted))
        best = max(found, key=lambda each: each[0])[1]
        weight = np.zeros((classes, known.shape[1]), np.float32)
        bias = np.full(classes, -20.0, np.float32)  # of a class that it never saw
        coefficients, intercepts = best.coef_, best.intercept_
        if len(best.classes_) == 2:  # scikit-learn keeps one row of two classes
            coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.hstack([0.0, intercepts])
        weight[best.classes_], bias[best.classes_] = coefficients, intercepts
        self.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
        self.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)

    def forward(self, input_ids: Tensor, **_: Tensor) -> Tensor:
        """(n, classes) logits of token ids (n, time)."""
        found = self._read.transform(self.decode(input_ids))  # sparse
        return torch.from_numpy(found @ self.weight.detach().cpu().numpy().T).float() + self.bias.cpu()
