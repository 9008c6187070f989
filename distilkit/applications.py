"""The applications beside each other: python -m distilkit.applications prints what their shipped models are worth.

Quality on held-out data, size, and the time of one request on one core, measured here and now; then what the stored
sweeps say of distilled − twin over seeds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from distilkit import cost, metrics, tasks
from distilkit.errors import choice
from distilkit.sweeps import load_sweep

if TYPE_CHECKING:
    import pandas as pd

MODELS = ("teacher", "distilled", "twin")
REQUESTS, ROUNDS = 10, 3  # timed: so many of one model, then of the next, and again


class Application(NamedTuple):
    """What is asked of one application: its task, the score that counts, and one request to its model.

    Attributes:
        task: makes it.
        score: which of `task.score`'s figures counts; `name`: what the field calls it, in percent or points.
        scale: what makes of the figure that score, the larger the better.
        request: the task's held-out request of this number, ready to be put to a model.
        student: the rows of the stored sweep that are of the shipped student's kind.
    """

    task: Callable[[], Any]
    score: str
    name: str
    scale: Callable[[float], float]
    request: Callable[[Any, int], Callable[[nn.Module], object]]
    student: dict[str, str]


APPLICATIONS = {
    "translation": Application(
        tasks.translation,
        "bleu",
        "BLEU",
        lambda bleu: bleu,
        lambda task, number: partial(task.write, english=[task.held_out[number][0]]),
        {"student": "distilled"},
    ),
    "speech": Application(
        tasks.speech,
        "wer",
        "100 − WER (%)",
        lambda wer: 100 * (1 - wer),
        lambda task, number: partial(task.transcribe, sounds=task.hear(task.said[number])),
        {"student": "frames"},
    ),
    "shop": Application(
        tasks.shop,
        "exact",
        "exact answers (%)",
        lambda exact: 100 * exact,
        lambda task, number: partial(task.reply, message=task.held_out[number].turns[0].customer),
        {"student": "distilled"},
    ),
    "scenes": Application(
        tasks.scenes,
        "without colour",
        "right answers (%)",
        lambda right: 100 * right,
        lambda task, number: partial(
            task.ask, scene=task.render(task.held_out[number]), texts=[task.asked[number][0].text]
        ),
        {"student": "distilled", "sees": "sketch"},
    ),
}


def standings(name: str, limit: int | None = None) -> pd.DataFrame:
    """The shipped models of one application: quality, what is left of the teacher's, size, and time of a request.

    Args:
        name: one of "translation", "speech", "shop", "scenes".
        limit: judge on so many held-out examples only.

    Returns:
        A row a model: quality, of the teacher (%), parameters, share of parameters, size (MB), request (ms), speed
        (of the teacher). The median of REQUESTS × ROUNDS requests, one at a time; between rounds the models take turns.
    """
    import pandas as pd

    one = APPLICATIONS[choice("name", name, tuple(APPLICATIONS))]
    task = one.task()
    models = {model: getattr(task, model)() for model in MODELS}
    quality = {model: one.scale(task.score(models[model], limit=limit)[one.score]) for model in MODELS}
    requests = [one.request(task, number) for number in range(REQUESTS)]
    times: dict[str, list[float]] = {model: [] for model in MODELS}
    for model in MODELS * ROUNDS:
        requests[0](models[model])  # what the model needs is in the processor's cache again
        for request in requests:
            began = time.perf_counter()
            request(models[model])
            times[model].append(time.perf_counter() - began)
    seconds = {model: statistics.median(found) for model, found in times.items()}
    parameters = {model: cost.parameters(models[model]) for model in MODELS}
    return pd.DataFrame(
        {
            one.name: quality,
            "of the teacher (%)": {model: 100 * quality[model] / quality["teacher"] for model in MODELS},
            "parameters": parameters,
            "teacher's share": {model: parameters[model] / parameters["teacher"] for model in MODELS},
            "size (MB)": {model: cost.size(models[model]) / 1e6 for model in MODELS},
            "request (ms)": {model: 1000 * seconds[model] for model in MODELS},
            "speed (×)": {model: seconds["teacher"] / seconds[model] for model in MODELS},
        }
    )


def gains() -> pd.DataFrame:
    """Of each stored sweep: distilled − twin, paired by seed, each at its best rate, in points of the score.

    Columns: seeds, twin, distilled, their means; gain and ± the half-width of its 95 % interval.
    """
    import pandas as pd

    rows = {}
    for name, one in APPLICATIONS.items():
        frame = load_sweep(name)
        kinds = (one.student | {"student": "twin"}, one.student)
        twin, distilled = (_at_best(_where(frame, kind), one) for kind in kinds)
        seeds = sorted(set(twin.index) & set(distilled.index))
        twin, distilled = twin.loc[seeds], distilled.loc[seeds]
        gain, half = metrics.paired(distilled, twin)
        rows[f"{name}, {one.name}"] = {
            "seeds": len(seeds),
            "twin": twin.mean(),
            "distilled": distilled.mean(),
            "gain": gain,
            "±": half,
        }
    return pd.DataFrame(rows).T


def _where(frame: pd.DataFrame, values: dict[str, str]) -> pd.DataFrame:
    return frame[(frame[[*values]] == [*values.values()]).all(axis=1)]


def _at_best(rows: pd.DataFrame, one: Application) -> pd.Series:
    """The score by seed, at the learning rate that was best on the seeds that tried several."""
    rows = rows.assign(score=rows[one.score].map(one.scale))
    tried = rows[rows["seed"].isin(rows.groupby("seed")["lr"].nunique().loc[lambda rates: rates > 1].index)]
    best = (tried if len(tried) else rows).groupby("lr")["score"].mean().idxmax()
    return rows[rows["lr"] == best].set_index("seed")["score"]


if __name__ == "__main__":
    import pandas as pd

    torch.set_num_threads(1)
    pd.set_option("display.width", 200, "display.max_columns", 20, "display.precision", 3)
    for name in APPLICATIONS:
        print(f"\n{name}\n{standings(name).to_string(float_format='{:,.2f}'.format)}", flush=True)
    print(f"\ndistilled − twin, stored sweeps\n{gains().to_string(float_format='{:,.2f}'.format)}")
