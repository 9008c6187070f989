"""What all pictures share: colours and line styles of the roles, thin axes, names drawn as they are."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

TEACHER, STUDENT, TWIN, LABEL, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#5B6370"
ROLES = {"teacher": TEACHER, "student": STUDENT, "twin": TWIN}
STYLE = {"teacher": "-", "student": (0, (6, 3)), "twin": (0, (2, 3))}
TEXTS = {"corpus": "the corpus’s text", "teacher": "the teacher’s text", "student": "the student’s text"}
DIVERGENCES = {
    "labels": "labels only",
    "forward_kl": "forward KL",
    "reverse_kl": "reverse KL",
    "jsd": "JSD",
    "skew_reverse_kl": "skew reverse KL",
}
CELLS = {  # what the field calls them
    ("corpus", "labels"): "the twin",
    ("corpus", "forward_kl"): "word-level KD",
    ("corpus", "reverse_kl"): "word-level, reverse",
    ("corpus", "jsd"): "off-policy GKD",
    ("corpus", "skew_reverse_kl"): "word-level, skew",
    ("teacher", "labels"): "sequence-level KD",
    ("teacher", "forward_kl"): "sequence + word KD",
    ("teacher", "reverse_kl"): "the same, reverse",
    ("teacher", "jsd"): "the same, JSD",
    ("teacher", "skew_reverse_kl"): "the same, skew",
    ("student", "forward_kl"): "ImitKD-like",
    ("student", "reverse_kl"): "MiniLLM-like",
    ("student", "jsd"): "on-policy GKD",
    ("student", "skew_reverse_kl"): "DistiLLM-like",
}
# measure: what it says, its name, decimals, and whether less of it is better
BOARD = {
    "perplexity": ("quality", "held-out perplexity", 1, True),
    "mean_kl": ("fidelity", "mean KL to the teacher (nats)", 3, True),
    "exposure": ("exposure", "KL on its own text ÷ KL on the corpus", 2, True),
    "distinct_2": ("diversity", "distinct pairs of tokens (distinct-2)", 3, False),
    "own_perplexity": ("plausibility", "teacher’s perplexity of its text", 1, True),
}
LOOKS = {"corpus": (LABEL, "D"), "teacher": (TEACHER, "o"), "student": (STUDENT, "s"), "twin": (TWIN, "^")}


def plain(names: Sequence[str]) -> list[str]:
    """Names that matplotlib draws as they are: no $ for a formula, no half letter, none as wide as the picture."""
    whole = [name.encode("utf-8", "replace").decode("utf-8") for name in names]
    return [(name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$") for name in whole]


def as_share(value: float) -> str:
    """A probability in three digits, or its power of ten."""
    return f"{value:.3f}" if value >= 5e-4 else f"{value:.0e}"


def thin(axes: Axes, grid: str) -> None:
    """Little ink: no frame, and a pale grid along one axis."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis=grid, color="#e4e7eb", linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
