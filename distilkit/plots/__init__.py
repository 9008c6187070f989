"""Pictures: one function each, ``(data, *, setting=default)`` in, a matplotlib Figure out. No model and no widget."""

from distilkit.plots.adaptive import race
from distilkit.plots.arithmetic import followed, problems_needed
from distilkit.plots.chatbot import conversation, on_the_edge, served
from distilkit.plots.claims import claims
from distilkit.plots.domains import MATRIX, forgetting, matrix
from distilkit.plots.efficiency import SERVING, frontier, serving
from distilkit.plots.imprinting import explanations, imprinted, rationale
from distilkit.plots.insides import attention, attributions, cka, clusters, fidelity
from distilkit.plots.logits import (
    MEASURES,
    as_examples,
    as_pair,
    as_peaks,
    divergences,
    loss_terms,
    measured,
    soft_labels,
    two_peaks,
)
from distilkit.plots.runs import board, curves, reliability, surface
from distilkit.plots.scenes import kinds, looks
from distilkit.plots.speech import heard, word_errors
from distilkit.plots.style import BOARD, CELLS, DIVERGENCES, GREY, LOOKS, ROLES, STYLE, TEXTS
from distilkit.plots.teachers import ladder, subliminal
from distilkit.plots.texts import tokens
from distilkit.plots.translation import alignments, phenomena

__all__ = [
    "BOARD",
    "CELLS",
    "DIVERGENCES",
    "GREY",
    "LOOKS",
    "MATRIX",
    "MEASURES",
    "ROLES",
    "SERVING",
    "STYLE",
    "TEXTS",
    "alignments",
    "as_examples",
    "as_pair",
    "as_peaks",
    "attention",
    "attributions",
    "board",
    "cka",
    "claims",
    "clusters",
    "conversation",
    "curves",
    "divergences",
    "explanations",
    "fidelity",
    "followed",
    "forgetting",
    "frontier",
    "heard",
    "imprinted",
    "kinds",
    "ladder",
    "looks",
    "loss_terms",
    "matrix",
    "measured",
    "on_the_edge",
    "phenomena",
    "problems_needed",
    "race",
    "rationale",
    "reliability",
    "served",
    "serving",
    "soft_labels",
    "subliminal",
    "surface",
    "tokens",
    "two_peaks",
    "word_errors",
]
