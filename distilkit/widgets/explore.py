"""`explore`: any picture with sliders. What has a closed form is computed in the browser, the rest by the kernel."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable, Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import traitlets as t
from matplotlib.figure import Figure
from matplotlib.text import Text

from distilkit import divergences as dv, plots
from distilkit.errors import BadType, BadValue, meant, shown, whole
from distilkit.losses import kd_terms
from distilkit.widgets.base import Widget
from distilkit.words import say

TOLD = 600  # letters of what is written in a picture
SHOWN = 20  # examples in the strip: as many as a reader looks at
View = Callable[..., Figure]


def explore(view: View, *data: Any, **settings: Any) -> Widget:
    """`view(*data, setting=…)` with a slider for each setting: positional is data, keyword is a slider.

    Args:
        view: ``(data, *, setting=default) -> Figure``, such as those in `distilkit.plots`. For `soft_labels`,
            `loss_terms` and `divergences` the browser does the arithmetic: it stays smooth while the kernel trains, and
            moves in a saved page. Any other view is drawn by the kernel, always with the newest setting.
        data: what `view` takes by position.
        settings: ``(low, high)`` or ``(low, high, start)`` for a slider, a list for a choice, anything else as it is.

    Raises:
        BadType: a setting that `view` does not have (the message names the nearest). BadValue: a range that is none.

    >>> import torch
    >>> widget = explore(plots.soft_labels, torch.tensor([0.0, 2.0, 4.0]), temperature=(0.5, 20.0))
    >>> widget.knobs
    {'temperature': {'low': 0.5, 'high': 20.0, 'value': 4.0, 'log': True, 'whole': False}}
    """
    if not callable(view):
        raise BadType(f"view must be a function such as dk.plots.soft_labels, got {shown(view)}")
    names = {
        name: each.default
        for name, each in inspect.signature(view).parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }
    knobs, fixed = {}, {}
    for name, setting in settings.items():
        if name not in names:
            raise BadType(
                f"{view.__name__} has no setting {name!r}.{meant(name, names)} It has: {', '.join(names) or 'none'}"
            )
        dial = isinstance(names[name], (bool, int, float, str)) or names[name] is inspect.Parameter.empty
        if dial and isinstance(setting, (tuple, list)):
            knobs[name] = knob(name, setting, names[name])
        else:
            fixed[name] = setting
    kind: type[Explorer] = INSTANT.get(view, Drawn)
    return kind(view, data, knobs, fixed)


def knob(name: str, setting: Any, default: Any) -> dict[str, Any]:
    """What the browser needs to know of one slider.

    >>> knob("alpha", (0, 1.0), 0.9)
    {'low': 0.0, 'high': 1.0, 'value': 0.9, 'log': False, 'whole': False}
    >>> knob("example", (0, 5), 0)
    {'low': 0, 'high': 5, 'value': 0, 'log': False, 'whole': True}
    >>> knob("reduction", ["mean", "none"], "mean")
    {'values': ['mean', 'none'], 'value': 'mean'}
    """
    if isinstance(setting, list):
        if not setting or not all(isinstance(each, (str, Real)) for each in setting):
            raise BadValue(f"{name} must offer numbers or words to choose from, got {shown(setting)}")
        return {"values": setting, "value": default if default in setting else setting[0]}
    numbers = len(setting) in (2, 3) and all(isinstance(x, Real) and math.isfinite(x) for x in setting)
    if not numbers or setting[0] >= setting[1]:
        raise BadValue(
            f"{name} must be a range (low, high) or (low, high, start) with low < high, got {shown(setting)}. "
            "A list offers a choice: [1, 2, 4]"
        )
    kind = int if all(isinstance(x, int) for x in setting) and isinstance(default, int) else float
    low, high = kind(setting[0]), kind(setting[1])
    start: Any = setting[2] if len(setting) == 3 else default if isinstance(default, Real) else (low + high) / 2
    if len(setting) == 3 and not low <= start <= high:
        raise BadValue(f"{name} must start between {low:g} and {high:g}, got {start:g}")
    return {
        "low": low,
        "high": high,
        "value": kind(min(high, max(low, start))),
        "log": kind is float and low > 0 and high / low >= 20,
        "whole": kind is int,
    }


class Explorer(Widget):
    """What all explorers share: the view, its data, and the knobs the browser shows."""

    knobs = t.Dict().tag(sync=True)
    spec = t.Dict().tag(sync=True)  # names, labels, shapes: what is not a long row of numbers

    ranges: Mapping[str, tuple] = MappingProxyType({})  # the knobs that are there even when nobody asks

    def __init__(self, view: View, data: tuple, knobs: dict[str, Any], fixed: dict[str, Any]) -> None:
        self._view, self._data, self._fixed = view, data, fixed
        defaults = inspect.signature(view).parameters
        own = {name: knob(name, span, fixed.get(name, defaults[name].default)) for name, span in self.ranges.items()}
        super().__init__(knobs={**own, **knobs})

    def figure(self) -> Figure:
        """The picture at the settings the widget opens with."""
        return self._view(*self._data, **self._opening())

    def line(self) -> str:
        """The view and its settings, in one line."""
        numbers = {name: value for name, value in self._opening().items() if isinstance(value, (Real, str))}
        settings = ", ".join(f"{name} = {value}" for name, value in numbers.items())
        return say("{view} at {settings}", view=self._view.__name__, settings=settings)

    def _opening(self) -> dict[str, Any]:
        return self._fixed | {name: each["value"] for name, each in self.knobs.items()}


class Temperature(Explorer):
    """The soft labels of teacher, student and twin, moved by the temperature; computed in the browser."""

    ranges = MappingProxyType({"temperature": (0.5, 20.0)})
    logits = t.Bytes().tag(sync=True)  # float32 (roles, examples, classes)
    pixels = t.Bytes().tag(sync=True)  # uint8 (examples, side²)
    files = "explore_temperature"

    def __init__(self, view: View, data: tuple, knobs: dict[str, Any], fixed: dict[str, Any]) -> None:
        super().__init__(view, data, knobs, fixed)
        self.figure()  # checks every argument, with the view's own words
        sides, names, pixels, truth = plots.as_examples(
            data[0], fixed.get("classes"), fixed.get("images"), fixed.get("labels")
        )
        count = len(next(iter(sides.values())))
        start = whole("example", self._opening().get("example", 0), 0, count - 1, f"there are {count} examples")
        first = max(0, min(start, count - SHOWN))
        rows = slice(first, first + SHOWN)
        self.logits = np.stack([each[rows].numpy() for each in sides.values()]).astype("<f4").tobytes()
        self.pixels = b"" if pixels is None else (255 * pixels[rows].clip(0, 1)).round().astype("u1").tobytes()
        self.spec = {
            "roles": list(sides),
            "classes": [name[:60] for name in names],
            "labels": None if truth is None else [int(each) for each in truth[rows]],
            "first": first,
            "count": count,
            "side": 0 if pixels is None else math.isqrt(pixels.shape[1]),
            "example": start - first,
        }

    def line(self) -> str:
        """Entropy of each, and the distance of student and twin from the teacher."""
        setting = self._opening()
        sides, names, *_ = plots.as_examples(self._data[0], setting.get("classes"))
        temperature, example = setting["temperature"], setting.get("example", 0)
        at = {role: each[example] / temperature for role, each in sides.items()}
        lead, *others = at
        best = names[int(at[lead].argmax())]
        text = say(
            "Soft labels of example {example} at T = {t:g}. {role}: most probable {best!r} ({p:.3f}), entropy "
            "{entropy:.3f} nats",
            example=example,
            t=temperature,
            role=say(lead),
            best=best,
            p=float(dv.soften(at[lead]).max()),
            entropy=float(dv.entropy(at[lead])),
        )
        for role in others:
            text += say(
                "; {role}: entropy {entropy:.3f}, forward KL {forward:.4f}, reverse {back:.4f}",
                role=say(role),
                entropy=float(dv.entropy(at[role])),
                forward=float(dv.forward_kl(at[role], at[lead])),
                back=float(dv.reverse_kl(at[role], at[lead])),
            )
        return text + "."


class Pair(Explorer):
    """One student beside one teacher: the alpha explorer and the divergence explorer, computed in the browser."""

    values = t.Dict().tag(sync=True)  # where the sliders are, and the label
    files = "pair"

    def __init__(self, view: View, data: tuple, knobs: dict[str, Any], fixed: dict[str, Any]) -> None:
        self.ranges = {"beta" if view is plots.divergences else "alpha": (0.0, 1.0), "temperature": (0.5, 20.0)}
        super().__init__(view, data, knobs, fixed)
        given = inspect.signature(view).bind(*data, **fixed).arguments
        student, teacher, names = plots.as_pair(data[0], data[1], fixed.get("classes"))
        self.values = {name: each["value"] for name, each in self.knobs.items()} | (
            {"label": int(given["label"])} if "label" in given else {}
        )
        self.spec = {
            "view": view.__name__,
            "names": [name[:60] for name in names],
            "student": student.tolist(),
            "teacher": teacher.tolist(),
        }
        self.figure()  # checks every argument, with the view's own words

    def figure(self) -> Figure:
        """The picture at the present setting."""
        data = (*self._data[:2], self.values["label"]) if "label" in self.values else self._data
        return self._view(*data, **self._opening())

    def line(self) -> str:
        """The loss and its two terms, or every divergence."""
        setting = self._opening()
        student, teacher, names = plots.as_pair(self._data[0], self._data[1], setting.get("classes"))
        heat = setting["temperature"]
        if "label" in self.values:
            label, alpha = self.values["label"], setting["alpha"]
            soft, hard = kd_terms(student[None], teacher[None], torch.tensor([label]), temperature=heat)
            first, second = alpha * heat**2 * float(soft), (1 - alpha) * float(hard)
            return say(
                "Loss at alpha = {alpha:g}, T = {t:g}, label {label!r}: α·T²·KL {soft:.4f} + (1−α)·CE {hard:.4f} = "
                "{loss:.4f}.",
                alpha=alpha,
                t=heat,
                label=names[label],
                soft=first,
                hard=second,
                loss=first + second,
            )
        found = plots.measured(student / heat, teacher / heat, setting["beta"])
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        return say("At T = {t:g}, beta = {beta:g}: {numbers}.", t=heat, beta=setting["beta"], numbers=numbers)

    def _opening(self) -> dict[str, Any]:
        return self._fixed | {name: self.values.get(name, each["value"]) for name, each in self.knobs.items()}


class Peaks(Explorer):
    """A teacher with two peaks, a student with one, and gradient descent on a divergence of choice, in the browser."""

    files = "explore_peaks"

    def __init__(self, view: View, data: tuple, knobs: dict[str, Any], fixed: dict[str, Any]) -> None:
        self._peaks = data[0] if data else inspect.signature(view).parameters["peaks"].default
        places, teacher = plots.as_peaks(self._peaks)
        low, high = float(places[0]), float(places[-1])
        self.ranges = {"mu": (low, high), "sigma": ((high - low) / 60, (high - low) / 3), "beta": (0.0, 1.0)}
        super().__init__(view, data, knobs, fixed)
        self.figure()  # checks every argument, with the view's own words
        self.spec = {"low": low, "high": high, "teacher": teacher.tolist()}

    def line(self) -> str:
        """Every divergence of the student from the teacher."""
        setting = self._opening()
        places, teacher = plots.as_peaks(self._peaks)
        found = plots.measured(-((places - setting["mu"]) ** 2) / (2 * setting["sigma"] ** 2), teacher, setting["beta"])
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        return say("Student at mu = {mu:g}, sigma = {sigma:g}: {numbers}.", **setting, numbers=numbers)


class Drawn(Explorer):
    """Any view, drawn by the kernel: at most one picture is under way, and the next is of the newest setting."""

    setting = t.Dict().tag(sync=True)
    picture = t.Bytes().tag(sync=True)
    drawn = t.Dict().tag(sync=True)  # the setting that `picture` shows
    told = t.Unicode().tag(sync=True)  # what is written in it, for who cannot see it
    error = t.Unicode().tag(sync=True)
    files = "explore_drawn"

    def __init__(self, view: View, data: tuple, knobs: dict[str, Any], fixed: dict[str, Any]) -> None:
        super().__init__(view, data, knobs, fixed)
        self.setting = {name: each["value"] for name, each in self.knobs.items()}
        self.observe(self._draw, "setting")
        self._draw()

    def figure(self) -> Figure:
        """The picture at the present setting."""
        figure = self._view(*self._data, **self._fixed, **self.setting)
        if not isinstance(figure, Figure):
            raise BadType(
                f"{self._view.__name__} must return a matplotlib Figure, got {type(figure).__name__}. "
                "Make one with matplotlib.figure.Figure()"
            )
        return figure

    def _opening(self) -> dict[str, Any]:
        return self._fixed | self.setting

    def _draw(self, change: Any = None) -> None:
        setting = dict(self.setting)
        try:
            figure = self.figure()
            figure.savefig(out := io.BytesIO(), format="png", dpi=110)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            self.drawn = setting
            raise
        self.error = ""
        written = dict.fromkeys(text.get_text().strip() for text in figure.findobj(Text) if text.get_visible())
        self.told = ", ".join(filter(None, written))[:TOLD]
        self.picture = out.getvalue()
        self.drawn = setting


INSTANT: dict[View, type[Explorer]] = {
    plots.soft_labels: Temperature,
    plots.loss_terms: Pair,
    plots.divergences: Pair,
    plots.two_peaks: Peaks,
}
