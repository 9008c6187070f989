"""Attributions: which of the tokens before it a model's next token leans on, by integrated gradients (captum)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distilkit.divergences import wide
from distilkit.errors import BadType, BadValue, DistilkitError, shown, whole
from distilkit.models import evaluating, logits_of


class Attribution(NamedTuple):
    """What `attribute` found of one prediction.

    `tokens` add up to ``output − baseline``, but for `error`, which falls as steps grow (the completeness of
    integrated gradients).
    """

    tokens: Tensor  # (n,), nats: how far each token moved the log-probability of the target
    target: int  # the token whose prediction is explained
    output: float  # its log-probability after these tokens
    baseline: float  # and after as many tokens of the baseline
    error: float  # tokens.sum() − (output − baseline)


class NoCaptum(DistilkitError, ImportError):
    """captum is not installed, which computes attributions."""


def attribute(
    model: nn.Module, tokens: Tensor, *, target: int | None = None, baseline: int = 0, steps: int = 32
) -> Attribution:
    """Integrated gradients of ``log p(target | tokens)`` along the straight line from the baseline's embeddings.

    ``a_i = (e_i − b)·∫₀¹ ∂/∂e_i log p(target | b + t·(e − b)) dt``, e_i the embedding of token i, b that of the
    baseline: in nats, one number a token, in sum the log-probability less that after baseline tokens alone.

    Args:
        model: a Hugging Face causal language model (its `get_input_embeddings` is needed).
        tokens: (n,) or (1, n), what comes before the prediction.
        target: the token that is predicted; None is the likeliest.
        baseline: the token that stands for "nothing"; of the kit's tokenizers 0, the end of a text.
        steps: points on the line; more of them make `error` smaller.

    Raises:
        NoCaptum: captum is missing. BadType, BadValue: tokens that are none, a target that the model has not.

    Source: Sundararajan et al. 2017, arXiv:1703.01365; computed by captum, arXiv:2009.07896.

    >>> import distilkit as dk
    >>> task = dk.tasks.docs()
    >>> found = attribute(task.student(), task.encode("Return the value"), steps=16)
    >>> len(found.tokens), abs(found.error) < 0.01
    (3, True)
    """
    try:
        from captum.attr import LayerIntegratedGradients
    except ImportError:
        raise NoCaptum("attributions need captum: pip install 'distilkit[look]'") from None
    if (
        not isinstance(tokens, Tensor)
        or tokens.is_floating_point()
        or tokens.ndim > 2
        or tokens.shape[:-1].numel() != 1
    ):
        raise BadType(f"tokens must be whole numbers (n,), got {shown(tokens)}: task.encode(text)")
    tokens = tokens.reshape(1, -1)
    if not tokens.numel():
        raise BadValue("there are no tokens: a prediction leans on at least one")
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    if not isinstance(embedding, nn.Module):
        raise BadType(f"attributions need a Hugging Face language model, got {type(model).__name__}")
    steps = whole("steps", steps, 2, 4096, "points on the line from the baseline")
    tokens = tokens.to(embedding.weight.device)  # type: ignore[arg-type]

    def score(inputs: Tensor) -> Tensor:
        return wide(logits_of(model(inputs))[:, -1]).log_softmax(-1)

    with evaluating(model):
        nothing = torch.full_like(tokens, whole("baseline", baseline, 0, len(embedding.weight) - 1, "a token"))  # type: ignore[arg-type]
        with torch.no_grad():
            output, empty = score(tokens)[0], score(nothing)[0]
        wanted = int(output.argmax()) if target is None else whole("target", target, 0, len(output) - 1, "a token")
        given: Any = LayerIntegratedGradients(score, embedding).attribute(
            tokens, nothing, target=wanted, n_steps=steps, internal_batch_size=max(1, 512 // tokens.shape[1])
        )
    model.zero_grad()
    each = given[0].sum(-1).detach().cpu()
    ends = float(output[wanted]), float(empty[wanted])
    return Attribution(each, wanted, *ends, float(each.sum()) - (ends[0] - ends[1]))
