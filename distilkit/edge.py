"""A language model on a small device: exported to ONNX with its cache, in int8, run and measured without PyTorch.

python -m distilkit.edge < job.json      what `measure` starts: one core, the peak of its memory counted
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadFile, BadValue, shown, whole

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    Stepper = Callable[[np.ndarray], np.ndarray]

MEMORY = 512  # megabytes that a device of this kind has
REPEATS = 3  # of each prompt; the first is a warm-up


def export(model: PreTrainedModel, path: str | Path, *, int8: bool = False) -> Path:
    """Write a causal language model as ONNX: (tokens, past) -> (logits of the last token, present).

    Args:
        model: of Hugging Face's transformers.
        path: of the file, which ends in ``.onnx``; its sha256 is written beside it.
        int8: weights in 8 bits, a scale each matrix; what flows between them is quantised as it comes (dynamically).

    Shapes: tokens (1, t), past and present (layers, 2, 1, heads, tokens seen, width of a head), logits (1, words).

    Raises:
        BadValue: ONNX's packages are missing, or the path has another ending.
    """
    import torch

    from distilkit.models import write_noted

    _needs("onnx", "onnxscript", "onnxruntime")
    path = Path(path)
    if path.suffix != ".onnx":
        raise BadValue(f"the path must end in .onnx, got {shown(str(path), 200)}")
    config = model.config
    heads = config.num_key_value_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tokens, past = torch.zeros(1, 3, dtype=torch.long), torch.zeros(config.num_hidden_layers, 2, 1, heads, 2, head)
    sizes = {"tokens": {1: torch.export.Dim("new")}, "past": {4: torch.export.Dim("seen")}}
    with tempfile.TemporaryDirectory() as folder, _quietly():
        exported = Path(folder) / "model.onnx"
        torch.onnx.export(
            _stepping(model),
            (tokens, past),
            exported,
            input_names=["tokens", "past"],
            output_names=["logits", "present"],
            dynamic_shapes=sizes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        if int8:
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(exported, exported.with_name("int8.onnx"))
            exported = exported.with_name("int8.onnx")
        data = exported.read_bytes()
    write_noted(path, data)
    return path


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what PyTorch's exporter says of its own parts."""
    loud = logging.getLogger("torch.onnx"), logging.getLogger()
    levels = [logger.level for logger in loud]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loud:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loud, levels, strict=True):
                logger.setLevel(level)


def _stepping(model: PreTrainedModel) -> Any:
    """The model as a function of tensors alone, its cache among them."""
    import inspect

    import torch
    from transformers import DynamicCache

    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"  # as it is called

    class Stepping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            cache: Any = DynamicCache()
            for layer, (keys, values) in enumerate(past):
                cache.update(keys, values, layer)
            places = past.shape[4] + torch.arange(tokens.shape[1])
            output = self.model(tokens, position_ids=places[None], use_cache=True, logits_to_keep=1, **{name: cache})
            present = torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])
            return output.logits[:, -1], present

    return Stepping().eval()


class OnnxModel:
    """A language model that ONNX Runtime runs on one core, as `export` wrote it.

    `stepper()` begins a text: it gives a function from the next tokens, (1, t), to the logits after them, (1, words).
    """

    def __init__(self, path: str | Path) -> None:
        _needs("onnxruntime")
        import onnxruntime

        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        data = _checked(self.path)
        self.megabytes = len(data) / 1e6
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            past = {given.name: given.shape for given in self._session.get_inputs()}["past"]
        except Exception as error:  # ONNX Runtime has exceptions of its own, which share no base
            raise BadFile(
                f"{self.path} is no language model that dk.edge.export wrote: {shown(str(error), 160)}"
            ) from None
        self._nothing = [size if isinstance(size, int) else 0 for size in past]  # the shape of an empty cache

    def stepper(self) -> Stepper:
        """Begin a text."""
        import numpy as np

        past = np.zeros(self._nothing, np.float32)

        def step(tokens: np.ndarray) -> np.ndarray:
            nonlocal past
            logits, past = self._session.run(["logits", "present"], {"tokens": tokens, "past": past})
            return logits

        return step


def measure(path: str | Path, prompts: Sequence[Sequence[int]], *, length: int = 32) -> dict[str, float]:
    """Speed and memory of writing `length` tokens after each prompt, on one core, in a process of its own.

    Args:
        path: an ONNX file, or a folder with a model in Hugging Face's format, which PyTorch then runs.
        prompts: tokens.
        length: how many are written, the likeliest each time.

    Returns:
        tokens_per_second (the median over prompts), first_token_ms (of reading the prompt), peak_mb (resident, of the
        whole process), file_mb.

    Raises:
        BadFile: nothing to run there. BadValue: the process failed, and why.
    """
    length = whole("length", length, 1, 1024, "tokens that are written after each prompt")
    path = Path(path)
    if not path.exists():
        raise BadFile(f"there is no {shown(str(path), 200)}: dk.edge.export(model, 'model.onnx') writes one")
    if not prompts or not all(prompts):
        raise BadValue("there are no prompts, or one is empty: a text needs one token to begin with")
    job = {"path": str(path), "prompts": [[int(token) for token in prompt] for prompt in prompts], "length": length}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "distilkit.edge"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise BadValue(f"{path} could not be measured: {shown(lines[-1], 200)}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measured(job: dict[str, Any]) -> dict[str, float]:
    """What `measure` measures, in its process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    path = Path(job["path"])
    begin = _pytorch(path) if path.is_dir() else OnnxModel(path).stepper
    first, later = [], []
    for turn in range(REPEATS):
        for prompt in job["prompts"]:
            times = _write(begin(), prompt, job["length"])
            if turn:
                first.append(times[0])
                later.append(statistics.median(times[1:] or times))
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return {
        "tokens_per_second": 1 / statistics.median(later),
        "first_token_ms": 1000 * statistics.median(first),
        "peak_mb": _peak(),
        "file_mb": sum(file.stat().st_size for file in files) / 1e6,
    }


def _write(step: Stepper, prompt: list[int], length: int) -> list[float]:
    """The seconds of each token."""
    import numpy as np

    tokens, times = np.array([prompt], np.int64), []
    for _ in range(length):
        began = time.perf_counter()
        tokens = step(tokens).argmax(-1, keepdims=True).astype(np.int64)
        times.append(time.perf_counter() - began)
    return times


def _pytorch(folder: Path) -> Callable[[], Stepper]:
    import torch

    from distilkit.pretrained import language_model
    from distilkit.tasks.shop import stepper

    torch.set_num_threads(1)
    model, _ = language_model(folder)

    def begin() -> Stepper:
        step = stepper(model)
        return lambda tokens: step(torch.from_numpy(tokens)).numpy()

    return begin


def _peak() -> float:
    """The most memory that this process had, in megabytes. (Linux counts a parent's into `ru_maxrss`.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def _checked(path: Path) -> bytes:
    """The file's bytes, if they have the sha256 noted beside it (as `models.read_checked`, without PyTorch)."""
    try:
        data = path.read_bytes()
        note = path.with_name(path.name + ".sha256")
        expected = note.read_text()[:64] if note.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"cannot read {shown(str(path), 200)}: {error}") from None
    found = hashlib.sha256(data).hexdigest()
    if expected not in (None, found):
        raise BadFile(f"{path} is damaged or another file: its sha256 is {found}, expected {expected}. Export it anew")
    return data


def _needs(*packages: str) -> None:
    import importlib.util

    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise BadValue(f"this needs {' and '.join(missing)}: pip install 'distilkit[apps]' first")


if __name__ == "__main__":
    print(json.dumps(_measured(json.load(sys.stdin))))
