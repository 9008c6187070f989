"""What a distillation takes, before it is begun: operations, memory, hours, energy, money, on devices one may not have.

Nothing is measured here but in `measured` and `check`; all else follows from the arguments of `plan`, each of which
stands in its result. ``python -m distilkit.scale`` prints what docs/past_one_machine.md shows.

Formulas, N parameters, L layers of width d, s tokens of context
----------------------------------------------------------------
- A token forward takes ``2·N + 4·L·d·s`` operations, each parameter in one product and the attention to s others;
  training three times that, since the way back is two products for one. Kaplan et al. 2020, arXiv:2001.08361, and
  Chowdhery et al. 2022 (PaLM), arXiv:2204.02311, appendix B. Embeddings that are only looked up do not count in N.
- Of ``N = 12·L·d²`` and a width of 128 a layer, ``L = (N / 196,608)^⅓``: 34 layers of 4,403 for 8·10⁹ parameters.
- Adam in mixed precision keeps 16 bytes a parameter: weights and gradients in 2 bytes, a copy of the weights and two
  moments in 4. Rajbhandari et al. 2019 (ZeRO), arXiv:1910.02054.
- A token's activations take ``34·L·d`` bytes where attention is not kept, or ``2·L·d + 34·d`` where each layer is
  computed anew on the way back. Korthikanti et al. 2022, arXiv:2205.05198.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from distilkit.errors import BadType, choice, real, whole

if TYPE_CHECKING:
    import pandas as pd

SIDE = 1024  # of the square matrices that are multiplied to measure a machine
HERE = "this machine"


class Device(NamedTuple):
    """What a device can do: its memory in bytes, operations a second, bytes a second, watts."""

    memory: float
    flops: float
    bandwidth: float
    watts: float


# As the vendor's data sheets have it: bf16 (the T4: fp16) without sparsity, memory in 10⁹ bytes, power at its limit.
DEVICES = {
    "H200": Device(141e9, 989e12, 4.8e12, 700),  # SXM
    "H100": Device(80e9, 989e12, 3.35e12, 700),  # SXM5
    "A100": Device(80e9, 312e12, 2.039e12, 400),  # SXM4, 80 GB
    "L4": Device(24e9, 121e12, 300e9, 72),
    "T4": Device(16e9, 65e12, 320e9, 70),
}


def forward_flops(parameters: float, *, layers: float = 0, width: float = 0, context: float = 0) -> float:
    """Operations of one token forward, ``2·N + 4·L·d·s``.

    parameters: N, of which those of a pure embedding are left out; layers: L; width: d; context: s, in tokens.

    >>> f"{forward_flops(70e9):.3g}"
    '1.4e+11'
    """
    return 2 * parameters + 4 * layers * width * context


def plan(
    *,
    teacher: float = 70e9,
    student: float = 8e9,
    tokens: float = 1e9,
    device: str | Device = "H200",
    devices: int = 8,
    top: int = 32,
    classes: int = 128_256,
    context: int = 4096,
    epochs: float = 1.0,
    tokens_at_once: int = 8192,
    teacher_bytes: float = 2.0,
    state_bytes: float = 16.0,
    logit_bytes: float = 10.0,
    recompute: bool = False,
    scoring_mfu: float = 0.4,
    training_mfu: float = 0.35,
    overhead: float = 1.8,
    device_price: float = 3.0,
    power_price: float = 0.30,
) -> pd.DataFrame:
    """What it takes to score a corpus with a teacher and to train a student on its answers: hours = FLOP / (n·F·MFU).

    Args:
        teacher, student: parameters.
        tokens: of the corpus, each scored once.
        device, devices: a name of `DEVICES`, "this machine", or a `Device` of your own; how many.
        top, classes: k of `cache_teacher`; of how many words.
        context: tokens a row.
        epochs: how often the student sees the corpus.
        tokens_at_once: of the student's batch on each device.
        teacher_bytes: a parameter of the teacher: 2 in bf16, 1 in 8 bits.
        state_bytes: a parameter of the student with gradient and optimiser, shared out over the devices (FSDP, ZeRO-3).
        logit_bytes: a logit of the student: in bf16, in float32, and its gradient.
        recompute: whether the student's activations are computed anew on the way back, for a third more of the work.
        scoring_mfu, training_mfu: the share of a device's operations that is put to use, all waiting included.
        overhead: what the machine and its cooling draw, for each watt of the devices.
        device_price, power_price: of a device's hour, of a kWh: in whatever money.

    Returns:
        A table with a row for each figure, by name: its value, its unit, and how it came about ("given", or a formula).

    Raises:
        BadValue, BadType: a number out of range, an unknown device.

    >>> table = plan(teacher=70e9, student=8e9, tokens=1e9, device="H200", devices=8)
    >>> [(name, round(table.value[name]), table.unit[name]) for name in ("scoring_hours", "training_hours", "cache")]
    [('scoring_hours', 13, 'h'), ('training_hours', 6, 'h'), ('cache', 260, 'GB')]
    """
    import pandas as pd

    given = {name: value for name, value in locals().items() if name != "pd"}
    for name, value in given.items():
        if name in ("devices", "top", "classes", "context", "tokens_at_once"):
            whole(name, value, 1, 10**12, "see dk.scale.plan")
        elif name not in ("device", "recompute"):
            most = 1 if name.endswith("mfu") else 1e18
            real(name, value, 0, most, "see dk.scale.plan", above=not name.endswith("price"))
    one = _device(device)
    rows: dict[str, tuple[Any, str, str]] = {
        name: (_named(value), _UNITS.get(name, ""), "given") for name, value in given.items()
    }
    for name, value, unit in (
        ("device_memory", one.memory / 1e9, "GB"),
        ("device_flops", one.flops / 1e12, "TFLOP/s"),
        ("device_bandwidth", one.bandwidth / 1e12, "TB/s"),
        ("device_power", one.watts, "W"),
    ):
        rows[name] = value, unit, "measured" if device == HERE else "data sheet" if isinstance(device, str) else "given"

    layers, width = _shape(teacher)
    student_layers, student_width = _shape(student)
    again = 4 if recompute else 3  # ways: forward, two for back, and forward again
    scoring = tokens * forward_flops(teacher, layers=layers, width=width, context=context)
    training = (
        tokens * epochs * again * forward_flops(student, layers=student_layers, width=student_width, context=context)
    )
    kept = 2 * student_layers + 34 if recompute else 34 * student_layers
    alone = teacher * teacher_bytes + context * classes * 4
    scoring_memory = alone - teacher * teacher_bytes * (devices - 1) / devices
    state, activations = student * state_bytes / devices, tokens_at_once * student_width * kept
    training_memory = state + activations + tokens_at_once * classes * logit_bytes
    cache = tokens * ((2 if classes <= 2**16 else 4) * top + 4 * (top + 1))
    speed = devices * one.flops
    hours = [scoring / (speed * scoring_mfu) / 3600, training / (speed * training_mfu) / 3600]
    power = devices * one.watts * overhead / 1000  # kW
    more: dict[str, tuple[Any, str, str]] = {
        "scoring_flops": (scoring / 1e18, "EFLOP", f"tokens·(2·N + 4·L·d·s), {layers:.0f} layers of {width:,.0f}"),
        "scoring_memory": (scoring_memory / 1e9, "GB a device", "weights/devices + a row's logits in float32"),
        "scoring_fits": (scoring_memory <= one.memory, "", "scoring_memory ≤ device_memory"),
        "scoring_alone_fits": (alone <= one.memory, "", f"the whole teacher on each device: {alone / 1e9:,.0f} GB"),
        "scoring_least_tokens": (
            one.flops * teacher_bytes / (2 * one.bandwidth), "tokens", "at once; with fewer, memory is the limit"
        ),
        "scoring_hours": (hours[0], "h", "FLOP / (devices·F·MFU)"),
        "cache": (cache / 1e9, "GB", f"tokens·({2 if classes <= 2**16 else 4}·k + 4·(k + 1)) bytes"),
        "cache_rate": (cache / hours[0] / 3600 / 1e6, "MB/s", "written while scoring"),
        "training_flops": (
            training / 1e18, "EFLOP",
            f"tokens·epochs·{again}·(2·N + 4·L·d·s), {student_layers:.0f} layers of {student_width:,.0f}",
        ),
        "training_state": (state / 1e9, "GB a device", "state_bytes·N / devices"),
        "training_activations": (activations / 1e9, "GB a device", "tokens_at_once·d·(2·L + 34)" if recompute
                                 else "tokens_at_once·34·L·d"),
        "training_memory": (training_memory / 1e9, "GB a device", "state + activations + logits"),
        "training_fits": (training_memory <= one.memory, "", "training_memory ≤ device_memory"),
        "training_hours": (hours[1], "h", "FLOP / (devices·F·MFU)"),
        "hours": (sum(hours), "h", "scoring + training"),
        "energy": (sum(hours) * power, "kWh", "hours·devices·W·overhead"),
        "price_of_devices": (sum(hours) * devices * device_price, "money", "hours·devices·device_price"),
        "price_of_power": (sum(hours) * power * power_price, "money", "energy·power_price"),
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows | more, orient="index", columns=["value", "unit", "how"])


def measured() -> Device:
    """This machine as a `Device`: float32 products of 1,024 × 1,024 with torch's threads; no watts are known (nan)."""
    import psutil
    import torch
    from torch.utils.benchmark import Timer

    a = torch.randn(SIDE, SIDE)
    much = torch.zeros(2**26, dtype=torch.uint8)
    names = {"a": a, "much": much}
    multiply, copy = (
        Timer(statement, globals=names, num_threads=torch.get_num_threads()).blocked_autorange(min_run_time=0.5).median
        for statement in ("a @ a", "much.clone()")
    )
    return Device(float(psutil.virtual_memory().total), 2 * SIDE**3 / multiply, 2 * much.numel() / copy, math.nan)


def check(rows: int = 64) -> pd.DataFrame:
    """The arithmetic beside the measurement, here: the shipped teacher of `tasks.docs` scores `rows` of 128 tokens.

    Returns:
        Rows "operations" (of a token, beside PyTorch's counter) and "seconds", columns predicted, measured and ratio.
        An MFU of 1 is assumed: what a small model does beside its products shows in the ratio of the seconds.
    """
    import time

    import pandas as pd
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from distilkit import cost, models, tasks

    task = tasks.docs(tokens=20_000)
    inputs, teacher = task.train.inputs[: whole("rows", rows, 1, 156, "of the corpus that is scored")], task.teacher()
    config: Any = teacher.config
    own = forward_flops(
        cost.parameters(teacher),  # its embedding is its last layer, too, and so counts
        layers=config.num_hidden_layers, width=config.hidden_size, context=inputs.shape[1],
    )  # fmt: skip
    times = []
    for _ in range(4):
        start = time.perf_counter()
        models.predict(teacher, inputs)
        times.append(time.perf_counter() - start)
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch's counter does not see the attention of its faster kernels
        counted = cost.flops(teacher, inputs)
    table = pd.DataFrame(
        {
            "predicted": [own, own * inputs.numel() / measured().flops],
            "measured": [counted / inputs.numel(), min(times)],
        },
        index=["operations", "seconds"],
    )
    return table.assign(ratio=table["measured"] / table["predicted"])


_UNITS = {
    "teacher": "parameters", "student": "parameters", "tokens": "tokens", "context": "tokens", "top": "classes",
    "classes": "classes", "tokens_at_once": "tokens a device", "teacher_bytes": "bytes a parameter",
    "state_bytes": "bytes a parameter", "logit_bytes": "bytes a logit", "device_price": "money an hour",
    "power_price": "money a kWh",
}  # fmt: skip


def _device(device: str | Device) -> Device:
    if isinstance(device, Device):
        return device
    if not isinstance(device, str):
        raise BadType(f"device must be one of {', '.join(DEVICES)}, or a dk.scale.Device, got {type(device).__name__}")
    return measured() if device == HERE else DEVICES[choice("device", device, [*DEVICES, HERE])]


def _named(value: Any) -> Any:
    return "your own" if isinstance(value, Device) else value


def _shape(parameters: float) -> tuple[float, float]:
    """Layers and width of a transformer with so many parameters, ``12·L·d²`` at d = 128·L."""
    layers = (parameters / (12 * 128**2)) ** (1 / 3)
    return layers, 128 * layers


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int):
        return f"{value:,}" if isinstance(value, int) else value
    return f"{value:,.4g}" if value < 1e5 else f"{value:.4g}"


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    table = plan()
    print(table.assign(value=table["value"].map(_written)).to_string(justify="left"))
    print(f"\n{HERE}, one thread: {measured().flops / 1e9:.0f} GFLOP/s in float32\n")
    print(check().to_string(float_format=lambda value: f"{value:.4g}"))
