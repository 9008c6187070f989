"""The stored sweep of chapter 10: students distilled on some domains and asked about all, and what they forget."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from distilkit import metrics
from distilkit.errors import BadType, BadValue, shown
from distilkit.sweeps.grid import TRIED, Jobs, Point, collect, collect_tuned
from distilkit.sweeps.tables import at_best_lr
from distilkit.tasks import Domains, domains
from distilkit.training import Knobs, Run, distill
from distilkit.transfer import Examples, teacher_text

if TYPE_CHECKING:
    import pandas as pd

LRS = (0.002, 0.005)
STEPS = 150  # of a student
FURTHER = 100  # of one that goes on
TOKENS = 20_000  # of a transfer set
EVEN = {"docs": 0.25, "support": 0.25, "arithmetic": 0.25, "translation": 0.25}
MIXTURES = {  # what each source's students learn on: a part of each domain's text
    **{domain: {domain: 1.0} for domain in EVEN},
    "mostly docs": {"docs": 0.91, "support": 0.03, "arithmetic": 0.03, "translation": 0.03},
    "even": EVEN,
}
WRITTEN = "teacher's text"  # a source, too: what the teacher writes when nobody has begun


def make(folder: Path, only: Sequence[str] = (), *, seeds: int = 10, jobs: Jobs = 1) -> None:
    """The stored sweep of the domains, or nothing where `only` names others."""
    if only and "domains" not in only:
        return
    task = domains(tokens=TOKENS)
    fresh = {"start": "fresh", "replay": 0.0, "replayed": "nothing"}
    cells: list[Point] = [{**fresh, "source": source} for source in (*MIXTURES, WRITTEN)]
    settings = {"tokens": TOKENS, "steps": STEPS, "further": FURTHER}
    path, command = folder / "domains.parquet", "python -m distilkit.sweeps domains"
    how: dict[str, Any] = {"command": command, "path": path, "jobs": jobs}
    frame = collect_tuned(_measured, task, [(cells, LRS)], settings, seeds=seeds, tried_on=TRIED, by="own", **how)
    rate = float(at_best_lr(frame[frame["source"] == "even"], "own")["lr"].iloc[0])
    narrow = [
        {"start": "even", "replay": replay, "replayed": replayed, "source": "support", "lr": rate, "seed": seed}
        for replay, replayed in ((0.0, "nothing"), (0.05, "corpus"), (0.2, "corpus"), (0.2, "teacher"))
        for seed in range(seeds)
    ]
    points = [{name: row[name] for name in narrow[0]} for row in frame.to_dict("records")]
    collect(_measured, task, points + narrow, settings, **how)


def _measured(task: Domains, teacher: nn.Module, point: Point, settings: Point) -> Point:
    """A student of this source, or one that knew all and goes on with this source, judged on every domain.

    `own` is its mean loss on the domains it was taught, with which rates are compared.
    """
    seed, lr = point["seed"], point["lr"]
    own = _drawn(task, settings["tokens"], seed)
    began = time.perf_counter()
    if point["start"] == "fresh":
        shares = MIXTURES.get(point["source"], EVEN)
        text = _written(teacher, settings["tokens"], seed) if point["source"] == WRITTEN else own.mixture(shares)
        student = learnt(own.student(seed), teacher, text, lr=lr, steps=settings["steps"], seed=seed).result()
    else:
        shares = MIXTURES[point["source"]]
        text = with_replay(own, teacher, point["source"], point["replay"], point["replayed"], seed=seed)
        student = copy.deepcopy(_generalist(task, teacher, settings["tokens"], settings["steps"], lr, seed))
        learnt(student, teacher, text, lr=lr, steps=settings["further"], seed=seed).result()
    seconds = time.perf_counter() - began
    judged = own.judge(student, teacher)
    mean = sum(share * judged[f"{domain}_nll"] for domain, share in shares.items())
    return {**judged, "own": mean, "seconds": seconds}


def learnt(student: nn.Module, teacher: nn.Module, text: Examples, *, lr: float, steps: int, seed: int) -> Run:
    """The run of every cell: forward KL at T = 1, no labels."""
    return distill(student, teacher, text, knobs=Knobs(temperature=1, alpha=1, lr=lr), steps=steps, seed=seed)


def with_replay(task: Domains, teacher: nn.Module, domain: str, replay: float, whose: str, *, seed: int) -> Examples:
    """A domain's text, a share `replay` of it replaced by the other domains' corpora, or by what the teacher writes."""
    others = [name for name in task.texts if name != domain]
    if not replay:
        return task.mixture({domain: 1.0})
    if whose == "corpus":
        return task.mixture({domain: 1 - replay} | dict.fromkeys(others, replay / len(others)))
    kept = task.mixture({domain: 1.0}, round((1 - replay) * task.labelled))
    written = _written(teacher, task.labelled, seed)[: round(replay * task.labelled / kept.inputs.shape[1])]
    return Examples(torch.cat([kept.inputs, written.inputs]), torch.cat([kept.labels, written.labels]))


@functools.lru_cache(maxsize=16)
def _drawn(task: Domains, tokens: int, seed: int) -> Domains:
    return task.relabelled(tokens, seed)


@functools.lru_cache(maxsize=16)
def _generalist(task: Domains, teacher: nn.Module, tokens: int, steps: int, lr: float, seed: int) -> nn.Module:
    own = _drawn(task, tokens, seed)
    return learnt(own.student(seed), teacher, own.mixture(EVEN), lr=lr, steps=steps, seed=seed).result()


@functools.lru_cache(maxsize=16)
def _written(teacher: nn.Module, tokens: int, seed: int, context: int = 128) -> Examples:
    """What the teacher writes after nothing but the end of a text: it chooses the domain."""
    nothing = torch.zeros(tokens // context, 1, dtype=torch.long)
    return teacher_text(teacher, nothing, length=context, seed=seed)


MEASURES = ("nll", "bits_per_byte", "kl", "ece")  # of a student on a domain


def targets(frame: pd.DataFrame) -> list[str]:
    """The domains that a sweep's students were asked about."""
    return [str(name).removesuffix("_nll") for name in getattr(frame, "columns", ()) if str(name).endswith("_nll")]


def name_of(row: Mapping[Any, Any]) -> str:
    """What a student learnt on, in words.

    >>> name_of({"start": "even", "source": "support", "replay": 0.05, "replayed": "corpus"})
    'even, then support, 5 % of the corpora'
    """
    if row["start"] == "fresh":
        return str(row["source"])
    whose = {"corpus": "of the corpora", "teacher": "by the teacher"}
    more = f", {100 * row['replay']:.0f} % {whose[row['replayed']]}" if row["replay"] else ""
    return f"{row['start']}, then {row['source']}{more}"


def domain_means(frame: pd.DataFrame) -> pd.DataFrame:
    """What students of each source know of each domain, and how they differ from those of the even mixture, by seed.

    Args:
        frame: one row a run, as `load_sweep("domains")`: start, source, replay, replayed, lr, seed, and what
            `Domains.judge` measures. Of several learning rates each source has its best on what it was taught.

    Returns:
        One row a source and target: source (in words), start, target, lr, seeds; for each measure its mean ``m``, the
        half-width ``m_half`` of the 95 % interval, and ``m_over ± m_over_half``, the source minus the even mixture.

    Raises:
        BadType: something else than such a frame. BadValue: no even mixture in it, or a source with a single seed.
    """
    import pandas as pd

    asked = targets(frame)
    wanted = {"start", "source", "replay", "replayed", "lr", "seed", "own"}
    wanted |= {f"{target}_{measure}" for target in asked for measure in MEASURES}
    missing = wanted - set(getattr(frame, "columns", ()))
    if missing or not asked:
        raise BadType(
            f"this needs a sweep over domains, load_sweep('domains'); {shown(type(frame))} lacks "
            f"{', '.join(sorted(missing)[:6]) or 'any domain'}"
        )
    best = {}
    for _, runs in frame.groupby(["start", "source", "replay", "replayed"], sort=False):
        best[name_of(runs.iloc[0].to_dict())] = at_best_lr(runs, "own").set_index("seed").sort_index()
    if "even" not in best:
        raise BadValue("the sweep has no even mixture, which all sources are compared with")
    rows = []
    for name, runs in best.items():
        shared = runs.index.intersection(best["even"].index)
        for target in asked:
            first = runs.iloc[0]
            row: Point = {"source": name, "start": first["start"], "target": target, "lr": first["lr"]}
            row["seeds"] = len(runs)
            for measure in MEASURES:
                values, even = runs[f"{target}_{measure}"], best["even"][f"{target}_{measure}"]
                row[measure], row[f"{measure}_half"] = metrics.interval(values)
                row[f"{measure}_over"], row[f"{measure}_over_half"] = metrics.paired(values[shared], even[shared])
            rows.append(row)
    return pd.DataFrame(rows)
