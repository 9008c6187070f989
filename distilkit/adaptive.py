"""Knobs that move by themselves: schedules, and a temperature and an alpha that learn while the student does.

Each is a callable of the step, as `Knobs` takes it. One that learns has four methods more, which the loop calls:

- ``learn(step, soft)`` after each update: `step` is the `Step` just made; ``soft(T)`` is what its soft term, in nats,
  would have been at the temperature T, whatever the divergence, the classes and the mask.
- ``state()``, a dictionary of floats, and ``restore(state)``: a checkpoint holds it.
- ``reset()``: at a run's first step, and by `run.reset()`.

Write your own: nothing else is asked of it. An object that learns belongs to one run at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from distilkit.divergences import check_temperature
from distilkit.errors import BadValue, real, whole
from distilkit.origin import remembered
from distilkit.training import Schedule, Step

NUDGE = 0.003  # of log T, either way: the slope at T is the difference of the two sides
FAR = 20.0  # how near to its bounds a learned temperature may come, in logits


@remembered
def linear(start: float, end: float, steps: int) -> Schedule:
    """A straight line from `start` at the first step to `end` at the last of `steps`, and `end` from there on.

    >>> ramp = linear(1, 8, 8)
    >>> [ramp(step) for step in (0, 1, 7, 100)]
    [1.0, 2.0, 8.0, 8.0]
    """
    return _ramp(start, end, steps, lambda share: share)


@remembered
def cosine(start: float, end: float, steps: int) -> Schedule:
    """Half a cosine from `start` to `end`, ``start + (end − start)·½(1 − cos πx)``: slow, fast, slow.

    >>> [round(cosine(1, 0, 5)(step), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return _ramp(start, end, steps, lambda share: (1 - math.cos(math.pi * share)) / 2)


def _ramp(start: float, end: float, steps: int, shape: Callable[[float], float]) -> Schedule:
    start = real("start", start, 0, 1e6, "the knob at the first step")
    end = real("end", end, 0, 1e6, "the knob at the last step")
    last = whole("steps", steps, 2, 10**9, "from the first to the last, as many as the run has") - 1
    return lambda step: end if step >= last else start + (end - start) * shape(step / last)


class LearnedTemperature:
    """A temperature that makes the task harder: gradient *ascent* on the soft term, ``z ← z + λ·rate·∂(α·T²·D)/∂z``.

    Curriculum temperature (CTKD): the student goes down the loss, the temperature up. ``T = low + (high − low)·σ(z)``
    stays between its bounds; λ grows from 0 to 1 over `growth` steps, by half a cosine, so that it begins easy.

    Args:
        start: T at the first step.
        rate: of the ascent; 0 leaves T where it is, below 0 it goes *down* the loss with the student.
        growth: steps until the adversary has its full strength.
        low, high: the bounds.

    The slope is taken from the soft term at T·e^±0.003, which costs two more of it a step. A cached teacher knows one
    temperature alone and is refused.
    Source: Li et al. 2022, arXiv:2211.16231 (their λ grows over 10 epochs, T from 1 to 21).

    >>> from distilkit.training import Step
    >>> knob = LearnedTemperature(4.0, rate=0.01, growth=1)
    >>> knob.learn(Step(1, loss=1.0, soft=1.0, hard=0.0, temperature=4.0, alpha=1.0, lr=0.01), soft=lambda T: 1.0)
    >>> round(knob(1), 1)                       # T²·1 grows with T: up
    4.9
    """

    def __init__(
        self, start: float = 4.0, *, rate: float = 0.1, growth: int = 300, low: float = 0.5, high: float = 40.0
    ) -> None:
        self.low, self.high = check_temperature(low), check_temperature(high)
        self.start = check_temperature(start)
        if not self.low < self.start < self.high:
            raise BadValue(f"start must lie between low and high, ({low:g}, {high:g}), got {start:g}")
        self.rate = real("rate", rate, -1e6, 1e6, "of the ascent; 0 keeps T, below 0 it descends")
        self.growth = whole("growth", growth, 1, 10**9, "steps until the adversary has its full strength")
        self._now = self.start

    def __call__(self, step: int) -> float:
        return self._now

    def __repr__(self) -> str:
        return f"LearnedTemperature({self.start:g}, rate={self.rate:g}, growth={self.growth})"

    def learn(self, step: Step, soft: Callable[[float], float]) -> None:
        """Go up the slope of the soft term."""
        strength = self.rate * (1 - math.cos(math.pi * min(step.step / self.growth, 1))) / 2
        if strength == 0 or step.alpha == 0:
            return
        up, down = (t * t * soft(t) for t in (self._now * math.exp(NUDGE), self._now * math.exp(-NUDGE)))
        slope = step.alpha * (up - down) / (2 * NUDGE * self._now)  # of the loss in T
        below, above = self._now - self.low, self.high - self._now
        z = math.log(below / above) + strength * slope * below * above / (self.high - self.low)
        self._now = self.low + (self.high - self.low) / (1 + math.exp(-max(-FAR, min(z, FAR))))

    def state(self) -> dict[str, float]:
        """What a checkpoint holds."""
        return {"temperature": self._now}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from there."""
        self._now = real("temperature", state["temperature"], self.low, self.high, "of the state")

    def reset(self) -> None:
        """Back to `start`."""
        self._now = self.start


class UncertaintyAlpha:
    """An alpha by uncertainty: minimise ``w₁·S + w₂·H − ½·log w₁ − ½·log w₂`` over w too, ``alpha = w₁ / (w₁ + w₂)``.

    S = T²·soft and H = hard are the two terms of the loss, and w stands for 1/(2σ²), σ the noise that a term is taken
    to have. The student goes down ``w₁·S + w₂·H = (w₁ + w₂)·(alpha·S + (1 − alpha)·H)``: the loss of the kit times a
    factor, which is a learning rate that many times as large. Adam divides it out again, so alpha is all that is left.
    It rests where ``w = 1/(2·term)``, both weighed terms equally large: ``alpha = H / (S + H)``. So the term that the
    student has learned already, or learned by heart, takes over.

    Args:
        start: alpha at the first step.
        rate: of the descent on log w; 0 leaves alpha where it is.

    A term that is exactly 0 (no label in the batch) says nothing, and its weight stays.
    Source: Kendall, Gal & Cipolla 2018, arXiv:1705.07115.

    >>> from distilkit.training import Step
    >>> knob = UncertaintyAlpha(0.9, rate=0.5)
    >>> for step in range(1, 50):
    ...     knob.learn(Step(step, loss=1.0, soft=0.1, hard=0.4, temperature=4.0, alpha=0.9, lr=0.01), soft=None)
    >>> round(knob(50), 3)                      # 0.4 / (4²·0.1 + 0.4)
    0.2
    """

    def __init__(self, start: float = 0.9, *, rate: float = 0.01) -> None:
        self.start = real("start", start, 0, 1, "alpha at the first step")
        if self.start in (0.0, 1.0):
            raise BadValue(f"start must lie between 0 and 1, got {start:g}: a term without weight cannot win any")
        self.rate = real("rate", rate, 0, 1, "of the descent; 0 leaves alpha where it is")
        self._soft, self._hard = self.start, 1 - self.start

    def __call__(self, step: int) -> float:
        return self._soft / (self._soft + self._hard)

    def __repr__(self) -> str:
        return f"UncertaintyAlpha({self.start:g}, rate={self.rate:g})"

    def learn(self, step: Step, soft: Callable[[float], float] | None) -> None:
        """Go down the slope of the weighed loss in log w, ``w·term − ½``; by a factor of e at most."""
        self._soft *= self._factor(self._soft, step.temperature**2 * step.soft)
        self._hard *= self._factor(self._hard, step.hard)

    def _factor(self, weight: float, term: float) -> float:
        return math.exp(max(-1.0, self.rate * (0.5 - weight * term))) if term > 0 else 1.0

    def state(self) -> dict[str, float]:
        """What a checkpoint holds."""
        return {"soft": self._soft, "hard": self._hard}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from there."""
        self._soft, self._hard = (real(name, state[name], 0, 1e300, "of the state") for name in ("soft", "hard"))

    def reset(self) -> None:
        """Back to `start`."""
        self._soft, self._hard = self.start, 1 - self.start
