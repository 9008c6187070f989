"""What a model costs: parameters, bytes, arithmetic, time, memory, energy, and what it is to serve it."""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distilkit.errors import BadValue, real, shown, whole
from distilkit.models import Inputs, call, device_of, evaluating

if TYPE_CHECKING:
    import pandas as pd

WARM_UP = 5  # passes that do not count
DAY = 86_400  # seconds
ALONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}  # of a fresh process
RAPL = Path("/sys/class/powercap")  # where Linux counts a processor's energy


def parameters(model: nn.Module) -> int:
    """The number of parameters; shared ones count once.

    >>> parameters(nn.Linear(64, 10))
    650
    """
    return sum(parameter.numel() for parameter in model.parameters())


def size(model: nn.Module) -> int:
    """The bytes of parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])


def flops(model: nn.Module, inputs: Tensor | Inputs) -> int:
    """The multiplications and additions of one forward pass, of its matrix products, convolutions and attention.

    A product of (n, a) and (a, b) counts 2·n·a·b; what is done element by element does not count. Attention counts in
    full, also where a mask spares a half.

    >>> flops(nn.Linear(64, 10), torch.zeros(3, 64))
    3840
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # fused, it would not be counted
        call(model, inputs)
    return int(counter.get_total_flops())


def latency(model: nn.Module, inputs: Tensor | Inputs, *, runs: int = 50) -> float:
    """Seconds of one forward pass on `inputs`: the median of `runs`, after a warm-up, in eval mode."""
    times = []
    with evaluating(model), torch.inference_mode():
        for _ in range(WARM_UP + runs):
            start = time.perf_counter()
            call(model, inputs)
            times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:])


def latencies(
    models: Mapping[str, nn.Module], inputs: Tensor | Inputs, *, batch_sizes: Sequence[int] = (1, 16), runs: int = 100
) -> pd.DataFrame:
    """How long a forward pass takes, one row at a time and many, in percentiles: the tail is what users notice.

    The models take turns, pass by pass, so that a noisy moment of the machine meets them all; each pass is timed with
    `torch.utils.benchmark`, in one thread, and waits for the GPU where there is one.

    Args:
        models: {"teacher": …, "student": …}; each gets the inputs on its own device.
        inputs: rows; the first of them, as many as the batch, over again where they are too few.
        batch_sizes: rows in a pass.
        runs: passes of each.

    Returns:
        One row a model and batch size: model, batch, p50_ms, p90_ms, p99_ms, rows_per_second (at the median).

    >>> latencies({"tiny": nn.Linear(4, 2)}, torch.zeros(3, 4), batch_sizes=[8], runs=2)[["model", "batch"]].values
    array([['tiny', 8]], dtype=object)
    """
    import pandas as pd
    from torch.utils.benchmark import Timer

    runs = whole("runs", runs, 1, 10**6, "passes of each model")
    if not models or not batch_sizes:
        raise BadValue("there is nothing to time: give models by name, and at least one batch size")
    rows = []
    for batch in batch_sizes:
        batch = whole("batch_sizes", batch, 1, 10**6, "rows in a pass")
        some = inputs[torch.arange(batch) % len(inputs)]
        timers = {}
        for name, model in models.items():
            known = {"call": call, "model": model, "inputs": some.to(device_of(model))}
            timers[name] = Timer("call(model, inputs)", globals=known, num_threads=1)
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(runs):
            for name, model in models.items():
                with evaluating(model), torch.inference_mode():
                    times[name].append(1000 * timers[name].timeit(1).median)
        for name, found in times.items():
            p50, p90, p99 = (float(pd.Series(found).quantile(share)) for share in (0.5, 0.9, 0.99))
            each = {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "rows_per_second": 1000 * batch / p50}
            rows.append({"model": name, "batch": batch, **each})
    return pd.DataFrame(rows)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns, run in a fresh process with one thread on one core.

    >>> import os
    >>> alone(os.getpid) == os.getpid()
    False
    """
    from joblib.externals.loky import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=1, env=ALONE) as process:
        return process.submit(_on_one_core, function, arguments).result()


def _on_one_core(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return function(*arguments)


def peak_memory(model: nn.Module, inputs: Tensor | Inputs) -> int:
    """The most bytes that a forward pass holds: of the GPU that the model is on, else of a fresh process, all of it.

    On a GPU it is what PyTorch allocated there, the weights among it. On a processor it is the resident memory of a
    process that does nothing else: PyTorch itself takes most of it, for a small model.
    """
    device = device_of(model)
    if device.type != "cuda":
        return int(alone(_peak_of_a_pass, model, inputs))
    torch.cuda.reset_peak_memory_stats(device)
    with evaluating(model), torch.inference_mode():
        call(model, inputs.to(device))
    return torch.cuda.max_memory_allocated(device)


def _peak_of_a_pass(model: nn.Module, inputs: Tensor | Inputs) -> int:
    with evaluating(model), torch.inference_mode():
        call(model, inputs)
    return resident_peak()


def resident_peak() -> int:
    """The most bytes that this process had. (Linux counts a parent's into `ru_maxrss`.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def energy(model: nn.Module, inputs: Tensor | Inputs, *, seconds: float = 2.0) -> tuple[float | None, str]:
    """Joules of one forward pass and how they were measured; or None and why they cannot be: never an estimate.

    Passes are repeated for so many seconds. On a GPU its power draw is sampled; on a processor Linux's counter (RAPL)
    is read before and after. Either counts all that runs on that device: keep it quiet.

    >>> joules, how = energy(nn.Linear(4, 2), torch.zeros(1, 4), seconds=0.01)
    >>> (joules is None) == how.startswith("not measured")
    True
    """
    seconds = real("seconds", seconds, 0, 3600, "for which passes are repeated", above=True)
    device = device_of(model)
    if device.type == "cuda":
        return _energy_of_gpu(model, inputs.to(device), seconds)
    counters = sorted(RAPL.glob("intel-rapl:[0-9]/energy_uj")) if RAPL.is_dir() else []
    if not counters:
        return None, f"not measured: no energy counter of this machine in {RAPL} (a virtual machine has none)"
    try:
        before = [int(file.read_text()) for file in counters]
        passes = _repeat(model, inputs, seconds)
        after = [int(file.read_text()) for file in counters]
        ranges = [int(file.with_name("max_energy_range_uj").read_text()) for file in counters]
    except (OSError, ValueError) as error:
        return None, f"not measured: {counters[0]} cannot be read ({type(error).__name__}; mostly root alone may)"
    used = sum((now - then) % (most + 1) for then, now, most in zip(before, after, ranges, strict=True))  # it wraps
    return used / 1e6 / passes, f"the processor's counter (RAPL), over {passes:,} passes; whatever else ran is in it"


def _repeat(model: nn.Module, inputs: Tensor | Inputs, seconds: float, between: Callable[[], Any] = int) -> int:
    """Passes in so many seconds, with what is to be done between them."""
    passes, end = 0, time.perf_counter() + seconds
    with evaluating(model), torch.inference_mode():
        while not passes or time.perf_counter() < end:
            call(model, inputs)
            between()
            passes += 1
    return passes


def _energy_of_gpu(model: nn.Module, inputs: Tensor | Inputs, seconds: float) -> tuple[float | None, str]:
    watts: list[float] = []
    try:
        torch.cuda.power_draw()
    except Exception as error:  # pynvml is missing, or the driver shows no power
        return None, f"not measured: the GPU's power cannot be read ({type(error).__name__}: {shown(str(error), 80)})"
    began = time.perf_counter()

    def sample() -> None:
        torch.cuda.synchronize()
        watts.append(torch.cuda.power_draw() / 1000)

    passes = _repeat(model, inputs, seconds, sample)
    used = statistics.mean(watts) * (time.perf_counter() - began)
    return used / passes, f"the GPU's power draw, sampled {len(watts):,} times, over {passes:,} passes"


def serving_cost(
    requests: float,
    seconds: float,
    *,
    utilisation: float = 0.5,
    price_hour: float = 0.04,
    watts: float = 15.0,
    price_kwh: float = 0.25,
    grams_kwh: float = 250.0,
) -> dict[str, float]:
    """What a day of so many requests costs: ``machines = ⌈requests · seconds / (86,400 · utilisation)⌉``, paid all day.

    ``rent = 24 · machines · price_hour``, ``kwh = 24 · machines · watts / 1000``, ``electricity = kwh · price_kwh``,
    ``money = rent + electricity``, ``co2_kg = kwh · grams_kwh / 1000``. Nothing here is measured but `seconds`.

    Args:
        requests: in a day, spread over it.
        seconds: that one of them keeps a machine busy.
        utilisation: the share of its time that a machine may be busy: the rest is for peaks and failures, in (0, 1].
        price_hour: of a machine. If electricity is in it, let price_kwh be 0.
        watts: that a machine draws all day, busy or not.
        price_kwh, grams_kwh: of a kilowatt-hour: money, and grams of CO₂, which differ by country and hour.

    Returns:
        machines, busy (the share of their time), rent, kwh, electricity, money, co2_kg of a day; money_per_million
        requests.

    >>> cost = serving_cost(1_000_000, 0.1, price_hour=0.05, watts=100, price_kwh=0.2, grams_kwh=300)
    >>> {name: round(value, 3) for name, value in cost.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'machines': 3, 'busy': 0.386, 'rent': 3.6, 'kwh': 7.2, 'electricity': 1.44, 'money': 5.04, 'co2_kg': 2.16,
     'money_per_million': 5.04}
    """
    requests = real("requests", requests, 0, 1e15, "in a day", above=True)
    seconds = real("seconds", seconds, 0, 1e9, "that a request keeps a machine busy", above=True)
    utilisation = real("utilisation", utilisation, 0, 1, "1 is a machine that never waits", above=True)
    prices = {"price_hour": price_hour, "watts": watts, "price_kwh": price_kwh, "grams_kwh": grams_kwh}
    rate, power, unit, grams = (real(name, value, 0, 1e9, "0 or more") for name, value in prices.items())
    machines = max(1, math.ceil(requests * seconds / (DAY * utilisation) - 1e-9))  # not one more for a rounding error
    kwh = 24 * machines * power / 1000
    rent, electricity = 24 * machines * rate, kwh * unit
    return {
        "machines": machines,
        "busy": requests * seconds / (DAY * machines),
        "rent": rent,
        "kwh": kwh,
        "electricity": electricity,
        "money": rent + electricity,
        "co2_kg": kwh * grams / 1000,
        "money_per_million": (rent + electricity) * 1e6 / requests,
    }


def knee(costs: Sequence[float], qualities: Sequence[float]) -> int:
    """Where more cost begins to buy little: the point farthest above the chord of quality over log(cost).

    Costs and qualities are brought to 0…1; the chord runs from the cheapest point to the dearest, and the farthest
    point above it has the largest ``quality − log cost``. A convention, not a law: it moves with the two ends.
    Source: Satopää et al. 2011, "Finding a kneedle in a haystack".

    Returns:
        Its place. Of two points, or where all are below the chord, it is an end.

    >>> knee([1, 2, 4, 8, 16], [0.2, 0.6, 0.8, 0.85, 0.86])
    2
    """
    if len(costs) != len(qualities) or len(costs) < 2:
        raise BadValue(f"a knee needs two points or more, got {len(costs)} costs and {len(qualities)} qualities")
    if min(costs) <= 0 or min(costs) == max(costs):
        raise BadValue(f"costs must be positive and not all equal, got {shown([float(cost) for cost in costs])}")
    order = sorted(range(len(costs)), key=lambda place: costs[place])
    logs = [math.log(costs[place]) for place in order]
    first, last = qualities[order[0]], qualities[order[-1]]
    above = [  # the distance from the chord, up to a factor that all share
        qualities[place] - first - (last - first) * (log - logs[0]) / (logs[-1] - logs[0])
        for place, log in zip(order, logs, strict=True)
    ]
    return order[max(range(len(order)), key=above.__getitem__)]
