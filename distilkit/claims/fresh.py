"""The claims again, on seeds that no stored sweep has: a part of them each night, all within `NIGHTS`.

A claim is contradicted when its fresh effect differs from the stored one by more than both standard errors allow
(Welch's t), or lies on the wrong side of what is claimed (a one-sided t of the fresh seeds alone); both p after Holm's
correction for all that a night looks at, below `LEVEL`. So one night in a thousand at the most raises a false alarm,
as far as means over seeds are normal.
"""

from __future__ import annotations

import importlib
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distilkit import metrics, tasks
from distilkit.claims.chapters import NOTEBOOKS, Load, Stated, chapter
from distilkit.errors import BadFile, BadValue, choice
from distilkit.models import data_path
from distilkit.sweeps import adaptive, grid, load_sweep
from distilkit.sweeps.grid import Jobs, Measure, Point

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.001
SEEDS = 10
FIRST = date(2026, 1, 1)  # whose seeds are the first hundred after 1,000
# Each night's sweeps, and about how many minutes their claims take on one core: a claim on two sweeps needs both.
NIGHTS = (
    ("digits", "many", "omitted", "controls", "few", "noise", "divergences"),  # 10
    ("ladder", "subliminal", "recommend", "adaptive"),  # 25
    ("language", "cached", "insides"),  # 40
    ("on_the_way", "at_the_end", "other_tokens"),  # 50
    ("board", "imprinting"),  # 20
    ("step_by_step",),  # 15
    ("domains",),  # 40
    ("shop", "sizes"),  # 30
    ("speech", "requests"),  # 20
    ("scenes",),  # 30
    ("translation",),  # 40
)
TUNED = {"adaptive": tuple(adaptive.TUNED_ON)}  # seeds that only choose: they stay as they are
OF_A_FILE = {"measure", "teacher", "command", "date", "seeds", "versions", "of_teacher"}  # attrs that are no settings

_TASKS: dict[str, tuple[str, Callable[[], Any]]] = {
    **dict.fromkeys(("digits", "many"), ("sweeps.grid", tasks.digits)),
    **dict.fromkeys(("omitted", "controls", "few", "noise", "divergences"), ("sweeps.digits", tasks.digits)),
    **dict.fromkeys(("ladder", "subliminal", "recommend"), ("sweeps.teachers", tasks.digits)),
    "adaptive": ("sweeps.adaptive", tasks.digits),
    **dict.fromkeys(
        ("language", "cached", "board", "on_the_way", "at_the_end"), ("sweeps.language", lambda: tasks.docs())
    ),
    "insides": ("sweeps.insides", lambda: tasks.docs()),
    "other_tokens": ("sweeps.other_tokens", lambda: tasks.docs(tokens=20_000)),
    "imprinting": ("sweeps.imprinting", lambda: tasks.arithmetic(100)),
    "step_by_step": ("sweeps.arithmetic", lambda: tasks.arithmetic(125)),
    "domains": ("sweeps.domains", lambda: tasks.domains(tokens=20_000)),
    **{name: (f"sweeps.{name}", lambda: tasks.shop(150)) for name in ("shop", "sizes")},
    "speech": ("sweeps.speech", lambda: tasks.speech()),
    "scenes": ("sweeps.scenes", lambda: tasks.scenes(100)),
    "translation": ("sweeps.translation", lambda: tasks.translation()),
    "requests": ("your_own.stored", lambda: importlib.import_module("distilkit.your_own.stored").requests()),
}


class Again(NamedTuple):
    """A claim beside what fresh seeds make of it."""

    stored: Stated
    fresh: Stated
    drift: float  # p: that both are as far apart
    wrong_side: float  # p: that the fresh effect is so far where the claim says it is not
    contradicted: bool = False

    @property
    def p(self) -> float:
        """The smaller of the two."""
        return min(self.drift, self.wrong_side)


def tonight(day: date) -> tuple[str, ...]:
    """The sweeps whose turn it is.

    >>> len({tonight(date.fromordinal(800_000 + night)) for night in range(len(NIGHTS))}) == len(NIGHTS)
    True
    """
    return NIGHTS[day.toordinal() % len(NIGHTS)]


def seeds_of(day: date, count: int = SEEDS) -> range:
    """Seeds that belong to this day alone.

    >>> seeds_of(date(2026, 1, 2), 3)
    range(1100, 1103)
    """
    if not 2 <= count <= 100 or day < FIRST:
        raise BadValue(f"a day from {FIRST} on has 2 to 100 seeds of its own, got {count} on {day}")
    first = 1000 + 100 * (day - FIRST).days
    return range(first, first + count)


def again(
    names: Sequence[str],
    seeds: Iterable[int],
    *,
    folder: Path = NOTEBOOKS,
    load: Load = load_sweep,
    jobs: Jobs = 1,
    say: Callable[[str], None] = print,
) -> list[Again]:
    """Run what the claims on these sweeps need, with these seeds, and lay the claims of both beside each other.

    Only the settings that a claim rests on are run: each side at its best, those that were tried and left are not.
    """
    names = [choice("sweep", name, _TASKS) for name in names]
    seeds = list(seeds)
    fresh: dict[str, pd.DataFrame] = {}
    for name in names:
        wanted = needed(name, folder, load)
        say(f"{name}: {len(wanted)} settings × {len(seeds)} seeds, {seeds[0]} to {seeds[-1]}")
        if wanted:
            fresh[name] = _run(name, wanted, seeds, load, jobs)
    stored = {_key(each): each for each in _stated(set(fresh), folder, load)}
    pairs = []
    for each in _stated(set(fresh), folder, lambda name: fresh[name] if name in fresh else load(name)):
        before = stored[_key(each)]
        if (each.claim.effect, each.claim.half) != (before.claim.effect, before.claim.half) or not each.claim.half:
            pairs.append(compared(before, each))  # what is the same to the last digit rests on tuning seeds alone
    return judged(pairs)


def compared(stored: Stated, fresh: Stated) -> Again:
    """Two measurements of one claim on seeds that have nothing in common."""
    from scipy.special import stdtr

    one, two = stored.claim, fresh.claim
    apart, errors = two.effect - one.effect, (one.error, two.error)
    total = math.hypot(*errors)
    if total == 0:
        drift = float(apart == 0)
    else:
        freedom = total**4 / (errors[0] ** 4 / (one.seeds - 1) + errors[1] ** 4 / (two.seeds - 1))
        drift = 2 * float(stdtr(freedom, -abs(apart) / total))
    bound = one.bound
    inside = {"above": two.effect - bound, "below": bound - two.effect, "within": bound - abs(two.effect)}[one.says]
    side = float(stdtr(two.seeds - 1, inside / two.error)) if two.error else float(inside >= 0)
    return Again(stored, fresh, drift, side)


def judged(pairs: Sequence[Again], level: float = LEVEL) -> list[Again]:
    """Which are contradicted, after Holm's correction for two looks at each."""
    corrected = metrics.holm([p for pair in pairs for p in (pair.drift, pair.wrong_side)])
    smaller = [min(two) for two in zip(corrected[::2], corrected[1::2], strict=True)]
    return [pair._replace(contradicted=p < level) for pair, p in zip(pairs, smaller, strict=True)]


def needed(name: str, folder: Path = NOTEBOOKS, load: Load = load_sweep) -> list[Point]:
    """The settings of a stored sweep without which a claim would be another, or none at all."""
    frame = load(name)
    columns = list(frame)[: list(frame).index("seed")]
    judged = frame[~frame["seed"].isin(TUNED.get(name, ()))]
    whole = _amounts(name, frame, folder, load)
    found = []
    for setting, rows in judged.groupby(columns, dropna=False, sort=False):
        if _amounts(name, frame.drop(rows.index), folder, load) != whole:
            found.append({str(column): value for column, value in zip(columns, setting, strict=True)})
    return found


def record(pairs: Sequence[Again], seeds: Sequence[int], command: str, path: Path) -> None:
    """Keep what fresh seeds said, for CLAIMS.md: of each claim the latest."""
    import pandas as pd
    import torch

    rows = (
        [] if not path.exists() else [row for row in _kept(path) if _key_of(row) not in {_key(p.stored) for p in pairs}]
    )
    for pair in pairs:
        claim = pair.fresh.claim
        row: Point = {"chapter": pair.stored.chapter, "sentence": claim.sentence}
        row |= {"effect": claim.effect, "half": claim.half, "seeds": claim.seeds, "first_seed": min(seeds), "p": pair.p}
        row |= {"contradicted": pair.contradicted, "date": f"{datetime.now(UTC):%Y-%m-%d}", "command": command}
        rows.append(row | {"python": platform.python_version(), "torch": torch.__version__})
    rows.sort(key=lambda row: (row["chapter"], row["sentence"]))
    grid._write(pd.DataFrame(rows), {"command": "python -m distilkit.claims replicate --keep"}, path)


def replications() -> dict[tuple[str, str], dict[str, Any]]:
    """What was kept, by chapter and sentence."""
    try:
        path = data_path("replications.parquet")
    except BadFile:
        return {}
    return {_key_of(row): row for row in _kept(path)}


def _kept(path: Path) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in grid._read(path).to_dict("records")]


def _key(stated: Stated) -> tuple[str, str]:
    return stated.chapter, stated.claim.sentence


def _key_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["chapter"], row["sentence"]


def _run(name: str, wanted: list[Point], seeds: list[int], load: Load, jobs: Jobs) -> pd.DataFrame:
    """The rows of these settings for these seeds, and of the tuning seeds as they are stored."""
    import pandas as pd

    frame = load(name)
    module, task = _TASKS[name]
    measure: Measure = _measure(importlib.import_module(f"distilkit.{module}"), frame.attrs["measure"])
    settings = {str(key): value for key, value in frame.attrs.items() if key not in OF_A_FILE}
    points = [{**setting, "seed": seed} for setting in wanted for seed in seeds]
    found = grid.collect(measure, task(), points, settings, command="", jobs=jobs)
    return pd.concat([frame[frame["seed"].isin(TUNED.get(name, ()))], found], ignore_index=True)


def _measure(module: Any, name: str) -> Measure:
    return getattr(module, f"_{name}", None) or getattr(module, name)


def _stated(fresh: set[str], folder: Path, load: Load) -> list[Stated]:
    """The claims that rest on these sweeps alone."""
    chapters = [chapter(path, load) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if _speaks_of(path, fresh)]
    return [each for found in chapters for each in found.claims if set(each.sweeps) <= fresh]


def _speaks_of(path: Path, names: set[str]) -> bool:
    text = path.read_text("utf-8")
    return any(f'load_sweep(\\"{name}\\")' in text for name in names)


def _amounts(name: str, frame: pd.DataFrame, folder: Path, load: Load) -> list[tuple[str, float, float]] | None:
    """What each claim on this sweep comes to with this frame; None where one cannot be computed."""
    frame.attrs = load(name).attrs
    try:
        chapters = [
            chapter(path, lambda other: frame if other == name else load(other))
            for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))
            if _speaks_of(path, {name})
        ]
    except (KeyError, IndexError, ValueError, TypeError):
        return None
    claims = [each.claim for found in chapters for each in found.claims if name in each.sweeps]
    return [(claim.sentence, round(claim.effect, 12), round(claim.half, 12)) for claim in claims]
