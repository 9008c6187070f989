"""What the rows of a sweep say: each side at its best learning rate, differences paired by seed, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distilkit import metrics
from distilkit.errors import BadType, BadValue, shown

if TYPE_CHECKING:
    import pandas as pd

    from distilkit.sweeps.grid import Point


def tuned_twin(frame: pd.DataFrame, labelled: int) -> pd.DataFrame:
    """The twin's rows at its best learning rate, by mean test accuracy: a choice in the twin's favour."""
    twins = frame[(frame["alpha"] == 0) & (frame["labelled"] == labelled)]
    if twins.empty:
        raise BadValue(f"the sweep has no twin at {labelled} labels: run it with 0 among its alphas")
    return at_best_lr(twins)


def gains(frame: pd.DataFrame, labelled: int) -> pd.DataFrame:
    """Accuracy gained over the tuned twin, paired by seed: columns temperature, alpha, lr, accuracy, gain, half, seeds.

    `gain ± half` is the mean and the half-width of its 95 % interval, as shares. Of several learning rates each side
    has its best.
    """
    import pandas as pd

    twin = tuned_twin(frame, labelled).set_index("seed")["accuracy"]
    rows = []
    distilled = frame[(frame["alpha"] > 0) & (frame["labelled"] == labelled)]
    if distilled.empty:
        raise BadValue(f"the sweep has only twins at {labelled} labels: run it with an alpha above 0")
    for (temperature, alpha), cell in distilled.groupby(["temperature", "alpha"]):
        best = at_best_lr(cell).set_index("seed")
        seeds = best.index.intersection(twin.index)
        own = best["accuracy"][seeds]
        gain, half = metrics.paired(own.tolist(), twin[seeds].tolist())
        rows.append((temperature, alpha, best["lr"].iloc[0], own.mean(), gain, half, len(seeds)))
    return pd.DataFrame(rows, columns=["temperature", "alpha", "lr", "accuracy", "gain", "half", "seeds"])


def cell_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Where each cell of the table *whose text × which divergence* lands, and its difference to the twin, by seed.

    Of several learning rates each cell, the twin's too, has its best by mean held-out perplexity.

    Args:
        frame: one row a run: text, divergence, lr, seed, then what `distilkit.cells.judge` measures.

    Returns:
        One row a cell: text, divergence, lr, seeds; for each measure its mean ``m``, the half-width ``m_half`` of the
        95 % interval, and ``m_over_twin ± m_over_twin_half``: the cell minus the twin (the corpus's text, labels only),
        paired by seed.

    Raises:
        BadType: something else than such a frame. BadValue: no twin in it, or a cell with a single seed.
    """
    import pandas as pd

    settings = ["text", "divergence", "lr", "seed"]
    missing = {*settings, "perplexity"} - set(getattr(frame, "columns", ()))
    if missing:
        raise BadType(
            f"this needs a sweep over whose text × which divergence, load_sweep('board'); {shown(type(frame))} lacks "
            f"{', '.join(sorted(missing))}"
        )
    measures = [str(name) for name in frame.select_dtypes("number") if name not in settings]
    best = {}
    for cell, runs in frame.groupby(["text", "divergence"], sort=False):
        best[cell] = at_best_lr(runs, "perplexity").set_index("seed").sort_index()
    if ("corpus", "labels") not in best:
        raise BadValue("the sweep has no twin, the cell of the corpus's text with labels only: nothing to compare with")
    twin, rows = best["corpus", "labels"], []
    for (text, divergence), runs in best.items():
        shared = runs.index.intersection(twin.index)
        row: Point = {"text": text, "divergence": divergence, "lr": runs["lr"].iloc[0], "seeds": len(runs)}
        for name in measures:
            over = f"{name}_over_twin"
            row[name], row[f"{name}_half"] = metrics.interval(runs[name])
            row[over], row[f"{over}_half"] = metrics.paired(runs[name][shared], twin[name][shared])
        rows.append(row)
    return pd.DataFrame(rows)


def at_best_lr(rows: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """The rows at the learning rate with the best mean of this measure: of accuracy the highest, of others the lowest.

    Only rates with as many seeds as any count: others were tried, and left.

    >>> import distilkit as dk
    >>> rows = dk.load_sweep("digits").query("alpha == 0 and labelled == 100")
    >>> sorted(set(rows["lr"])), sorted(set(at_best_lr(rows)["lr"]))
    ([0.001, 0.003, 0.01, 0.03], [0.003])
    """
    seeds = rows.groupby("lr")["seed"].nunique()
    means = rows.groupby("lr")[measure].mean()[seeds == seeds.max()]
    return rows[rows["lr"] == (means.idxmax() if measure == "accuracy" else means.idxmin())]
