"""One claim: an effect, half its 95 % interval, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from distilkit import metrics, record
from distilkit.errors import BadValue, DistilkitError, real, shown, whole
from distilkit.words import say

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MIME = "application/vnd.distilkit.claim+json"
SAYS = ("above", "below", "within")


class NotShown(DistilkitError, AssertionError):
    """A claim that its own interval contradicts, or leaves open."""


@dataclass(frozen=True)
class Claim:
    """What is claimed of an effect; `says` and `bound` are how: the whole interval lies there.

    "above" a bound, "below" it, or "within" it: no difference of more than `bound`, up or down.
    """

    sentence: str
    effect: float
    half: float
    seeds: int
    unit: str
    against: str
    says: str
    bound: float
    paper: str
    over: str = "seeds"

    @property
    def stands(self) -> bool:
        """Whether all of the interval lies where it is claimed to."""
        if self.says == "within":
            return abs(self.effect) + self.half < self.bound
        low, high = self.effect - self.half, self.effect + self.half
        return low > self.bound if self.says == "above" else high < self.bound

    @property
    def error(self) -> float:
        """The standard error of the effect."""
        from scipy.special import stdtrit

        return self.half / float(stdtrit(self.seeds - 1, 0.975))

    @property
    def amount(self) -> str:
        """``+7.6 ± 1.0 points``: two digits of the half-width."""
        return amount(self.effect, self.half, self.unit)

    @property
    def claimed(self) -> str:
        """What is claimed of the amount, in words."""
        bound = f"{self.bound:g}".replace("-", "−")
        if self.says == "within":
            return say("no difference of more than {bound}", bound=bound)
        return say("above {bound}", bound=bound) if self.says == "above" else say("below {bound}", bound=bound)


def holds(
    sentence: str,
    effect: float | Sequence[float] | np.ndarray | pd.Series,
    half: float | None = None,
    *,
    seeds: int | None = None,
    unit: str = "points",
    against: str = "the tuned twin",
    above: float | None = None,
    below: float | None = None,
    within: float | None = None,
    paper: str = "",
    over: str = "seeds",
) -> None:
    """Claim this of an effect measured over several seeds, in one line; refused where its 95 % interval says otherwise.

    Args:
        sentence: what is claimed.
        effect: one value a seed, as differences paired by seed; or their mean, with `half` and `seeds`.
        half: half the width of the 95 % interval of that mean.
        seeds: on how many values it rests.
        unit: points, nats, perplexity …
        against: what it is compared with.
        above, below, within: where the whole interval must lie: above 0 unless said otherwise. ``within=2`` claims that
            there is no difference of more than 2, up or down.
        paper: what the paper reports, with its year, or nothing.
        over: what the values are of, where it is not seeds but what one trained student was asked.

    Raises:
        NotShown: the interval is not where it is claimed to be. BadValue: one seed, more than one place for it.

    >>> holds("The student beats its twin", [7.1, 8.3, 7.4])
    ✓ The student beats its twin: +7.6 ± 1.6 points, 3 seeds, against the tuned twin
    """
    claim = stated(
        sentence,
        effect,
        half,
        seeds=seeds,
        unit=unit,
        against=against,
        above=above,
        below=below,
        within=within,
        paper=paper,
        over=over,
    )
    if not claim.stands:
        raise NotShown(
            f"not shown: {shown(sentence, 200)}. It claims {claim.claimed} {claim.unit}, and measured is "
            f"{claim.amount} over {claim.seeds} {claim.over}. Claim less, or measure more"
        )
    _show(claim)


def stated(
    sentence: str,
    effect: Any,
    half: float | None = None,
    *,
    seeds: int | None = None,
    unit: str = "points",
    against: str = "the tuned twin",
    above: float | None = None,
    below: float | None = None,
    within: float | None = None,
    paper: str = "",
    over: str = "seeds",
) -> Claim:
    """The claim of `holds`, whether it stands or not."""
    given = [name for name, value in zip(SAYS, (above, below, within), strict=True) if value is not None]
    if len(given) > 1:
        raise BadValue(f"a claim has one place for its interval, got {' and '.join(given)}: make two claims of it")
    says = given[0] if given else "above"
    low = 0 if says == "within" else -math.inf
    bound = real(says, {"above": above or 0, "below": below, "within": within}[says], low, math.inf, "of the effect")
    if half is None:
        values = list(effect)
        mean, half = metrics.interval(values)
        seeds = len(values)
    else:
        mean = real("effect", effect, -math.inf, math.inf, "the mean over seeds")
    count = whole("seeds", seeds, 2, 10**6, "one seed has no interval")
    half = real("half", half, 0, math.inf, "half the width of the 95 % interval")
    return Claim(sentence, float(mean), half, count, unit, against, says, bound, paper, over)


def amount(effect: float, half: float, unit: str) -> str:
    """An effect and its half-width, to two digits of the latter.

    >>> amount(-0.0835, 0.31, "points"), amount(105.02, 12.9, "perplexity"), amount(0, 0, "points")
    ('−0.08 ± 0.31 points', '+105 ± 13 perplexity', '0.0 ± 0.0 points')
    """
    digits = min(max(1 - math.floor(math.log10(float(f"{half:.1e}"))), 0), 4) if half else 1
    number = f"{effect:+.{digits}f}".replace("-", "−")
    number = number[1:] if float(f"{effect:.{digits}f}") == 0 else number
    return f"{number} ± {half:.{digits}f} {unit}"


def _show(claim: Claim) -> None:
    """One line, with the claim itself beside it for whoever reads the notebook as data; the reader's record has it."""
    from IPython import get_ipython
    from IPython.display import display

    line = say(
        "✓ {sentence}: {amount}, {count} {over}, against {against}",
        sentence=claim.sentence,
        amount=claim.amount if not claim.bound else f"{claim.amount} ({claim.claimed})",
        count=claim.seeds,
        over=say("seeds") if claim.over == "seeds" else claim.over,
        against=claim.against,
    )
    if get_ipython() is None:
        print(line)
    else:
        display({"text/plain": line, MIME: asdict(claim)}, raw=True)
        record.reached(record.notebook(), claim.sentence)
