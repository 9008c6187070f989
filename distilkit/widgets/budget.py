"""The budget: what it costs to serve teacher and student for a day, by assumptions that the reader moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import traitlets as t

from distilkit import plots
from distilkit.cost import serving_cost
from distilkit.errors import BadType, BadValue, meant, real, shown
from distilkit.widgets.base import Widget
from distilkit.widgets.explore import knob
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST = 6  # models in one picture
RANGES = {  # the assumptions, and where their sliders begin and end and start
    "requests": (1e3, 1e9, 1e6),
    "utilisation": (0.05, 1.0, 0.5),
    "price_hour": (0.005, 5.0, 0.04),
    "watts": (1.0, 700.0, 15.0),
    "price_kwh": (0.0, 0.6, 0.25),
    "grams_kwh": (0.0, 1000.0, 250.0),
}


def budget(seconds: Mapping[str, float], **assumptions: Any) -> Budget:
    """Show what a day of requests costs with each model: machines, money, energy, CO₂; every assumption is a slider.

    The formula is `dk.cost.serving_cost`; the browser computes it, so that it moves in a saved page, too.

    Args:
        seconds: {"teacher": …, "student": …}, that a request keeps a machine busy: the only thing measured.
        assumptions: a start, ``watts=65``, or a range of the slider, ``(low, high)`` or ``(low, high, start)``, of
            requests (a day), utilisation, price_hour, watts, price_kwh, grams_kwh.

    Raises:
        BadType: an assumption that is none of these. BadValue: an impossible range or start, no model, too many.

    >>> view = budget({"teacher": 0.2, "student": 0.05}, requests=2e6, price_hour=(0.01, 1, 0.1))
    >>> view.costs()["machines"].tolist()
    [10, 3]
    """
    if not isinstance(seconds, Mapping) or not 1 <= len(seconds) <= MOST:
        raise BadValue(
            f"seconds must name 1 to {MOST} models, {{'teacher': 0.2, 'student': 0.05}}, got {shown(seconds)}"
        )
    for name in assumptions:
        if name not in RANGES:
            raise BadType(f"budget has no assumption {name!r}.{meant(name, RANGES)} It has: {', '.join(RANGES)}")
    knobs = {}
    for name, (low, high, start) in RANGES.items():
        given = assumptions.get(name, start)
        if not isinstance(given, (tuple, list)):
            start = real(name, given, 0, 1e12, "where the slider starts")
            given = (min(low, start), max(high, start), start)
        knobs[name] = knob(name, tuple(map(float, given)), start)
    times = {str(name): real(f"the seconds of {name!r}", each, 0, 1e9, "of a request", above=True)
             for name, each in seconds.items()}  # fmt: skip
    return Budget(times, knobs)


class Budget(Widget):
    """The view that `budget` returns; `values` has where the sliders are, `costs()` what follows."""

    files = "budget"
    seconds = t.Dict().tag(sync=True)
    knobs = t.Dict().tag(sync=True)
    values = t.Dict().tag(sync=True)

    def __init__(self, seconds: dict[str, float], knobs: dict[str, Any]) -> None:
        super().__init__(seconds=seconds, knobs=knobs, values={name: each["value"] for name, each in knobs.items()})
        self.figure()  # checks every assumption, with the formula's own words

    def costs(self) -> pd.DataFrame:
        """What `dk.cost.serving_cost` gives at the present assumptions, one row a model."""
        import pandas as pd

        rows = {name: self._cost(each) for name, each in self.seconds.items()}
        return pd.DataFrame.from_dict(rows, orient="index").astype({"machines": int})

    def figure(self) -> Figure:
        """The bars at the present assumptions."""
        return plots.serving(self.seconds, **self.values)

    def line(self) -> str:
        """The machines and the money of each model."""
        costs = {name: self._cost(each) for name, each in self.seconds.items()}
        each = ", ".join(
            say("{name} {machines:,.0f} machines, {money:,.2f} a day, {kwh:,.2f} kWh", name=name, **found)
            for name, found in costs.items()
        )
        settings = ", ".join(f"{name} = {value:g}" for name, value in self.values.items())
        return say("{each} (assumed: {settings})", each=each, settings=settings)

    def _cost(self, seconds: float) -> dict[str, float]:
        requests, *_ = self.values.values()
        return serving_cost(requests, seconds, **{name: x for name, x in self.values.items() if name != "requests"})
