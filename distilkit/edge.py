"""A model on a small device: in fewer bits, compiled, as ONNX or as GGUF; what each form weighs, takes and still knows.

python -m distilkit.edge < job.json      what `measure` starts: one core, the peak of its memory counted
"""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadFile, BadType, BadValue, choice, shown, whole

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from distilkit.models import Inputs
    from distilkit.transfer import Examples

    Stepper = Callable[[np.ndarray], np.ndarray]

MEMORY = 512  # megabytes that a device of this kind has
REPEATS = 3  # of each prompt; the first is a warm-up
WARM_UP, PASSES = 5, 50  # of a model that writes no text
REQUEST, WRITTEN = 32, 24  # tokens that a model that does reads and then writes when forms are compared
IGNORED = -100  # a label that does not count
KINDS = ("float32", "bfloat16", "int8", "compiled", "ONNX", "ONNX int8")


def export(model: nn.Module, path: str | Path, *, inputs: Tensor | Inputs | None = None, int8: bool = False) -> Path:
    """Write a model as ONNX: of inputs as these, or a causal language model with its cache.

    Args:
        model: any; without `inputs`, a causal language model of Hugging Face's transformers.
        path: of the file, which ends in ``.onnx``; its sha256 is written beside it.
        inputs: some rows that the model takes, a tensor or several by name. The file takes as many rows as you like,
            and tokens, (rows, time), of any length where the model does.
        int8: weights in 8 bits, a scale each matrix; what flows between them is quantised as it comes (dynamically).

    Shapes: with `inputs`, the model's own: (rows, …) -> logits. Without: (tokens, past) -> (logits of the last token,
    present); tokens (1, t), past and present (layers, 2, 1, heads, tokens seen, width of a head), logits (1, words).

    Raises:
        BadValue: ONNX's packages are missing, the path has another ending, or the exporter cannot write this model.
    """
    from distilkit.models import write_noted

    _needs("onnx", "onnxscript", "onnxruntime")
    path = Path(path)
    if path.suffix != ".onnx":
        raise BadValue(f"the path must end in .onnx, got {shown(str(path), 200)}")
    data = _onnx(model, inputs)
    write_noted(path, _quantised(data) if int8 else data)
    return path


def _onnx(model: nn.Module, inputs: Tensor | Inputs | None) -> bytes:
    import torch

    from distilkit.models import Inputs, evaluating

    if inputs is None:
        if not _writes(model):
            raise BadValue("this model writes no text, or is not of transformers: give inputs=…, some rows it takes")
        with evaluating(model):
            return _exported(*_with_cache(model))
    named = dict(inputs) if isinstance(inputs, Inputs) else {"inputs": inputs}
    module = _answering(model, list(named) if isinstance(inputs, Inputs) else [])
    rows = tuple(each[torch.arange(2) % len(each)].cpu() for each in named.values())  # one would be a constant
    one = tuple(each[:1] for each in rows)
    with evaluating(model), torch.inference_mode():
        data = _exported(module, rows, list(named), ["logits"], {"given": tuple(map(_free, rows))})
        if _right(data, module, list(named), one):
            return data
        data = _exported(module, one, list(named), ["logits"], None)  # it counts its rows: so one at a time
        if not _right(data, module, list(named), one):
            raise BadValue("PyTorch's exporter does not follow this model: as ONNX it gives other logits")
        return data


def _quantised(data: bytes) -> bytes:
    """A model's ONNX in int8."""
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quietly():
        file = Path(folder) / "model.onnx"
        file.write_bytes(data)
        quantize_dynamic(file, file.with_name("int8.onnx"))
        return file.with_name("int8.onnx").read_bytes()


def _exported(module: nn.Module, given: tuple[Tensor, ...], names: list[str], answers: list[str], sizes: Any) -> bytes:
    import torch

    with tempfile.TemporaryDirectory() as folder, _quietly():
        exported = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                module,
                given,
                exported,
                input_names=names,
                output_names=answers,
                dynamic_shapes=sizes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # whatever in a model the exporter does not follow
            why = str(error.__cause__ or error).strip().split("\n")[0]
            raise BadValue(f"PyTorch's exporter does not follow this model: {shown(why, 300)}") from None
        data = exported.read_bytes()
    gc.collect()  # the exporter leaves much behind, in circles
    return data


def _right(data: bytes, module: nn.Module, names: list[str], given: tuple[Tensor, ...]) -> bool:
    """Whether the exported model gives the logits of the module."""
    import numpy as np

    expected = module(*given).numpy()
    session = _session(data)
    try:
        found = session.run(["logits"], {name: value.numpy() for name, value in zip(names, given, strict=True)})[0]
    except Exception:  # ONNX Runtime has exceptions of its own, which share no base
        return False
    return found.shape == expected.shape and bool(np.allclose(found, expected, 1e-2, 1e-2 * np.abs(expected).max()))


def _with_cache(model: Any) -> tuple[nn.Module, tuple[Tensor, ...], list[str], list[str], Any]:
    """The stepping model, what it takes, the names of that and of what it gives, and the sizes that are free."""
    import torch

    config = model.config
    heads = config.num_key_value_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tokens, past = torch.zeros(1, 3, dtype=torch.long), torch.zeros(config.num_hidden_layers, 2, 1, heads, 2, head)
    sizes = {"tokens": {1: torch.export.Dim("new")}, "past": {4: torch.export.Dim("seen")}}
    return _stepping(model), (tokens, past), ["tokens", "past"], ["logits", "present"], sizes


def _free(given: Tensor) -> dict[int, Any]:
    """The sizes of an input that may change: its rows, and of tokens the time, as far as the model allows."""
    import torch

    tokens = given.ndim == 2 and not given.is_floating_point()
    return dict.fromkeys([0, 1] if tokens else [0], torch.export.Dim.AUTO)


def _answering(model: nn.Module, names: list[str]) -> nn.Module:
    """The model as a function of tensors, which it takes by these names if there are any, to its logits."""
    import torch

    from distilkit.models import logits_of

    class Answering(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return logits_of(self.model(**dict(zip(names, given, strict=True))) if names else self.model(*given))

    return Answering().eval()


def _writes(model: Any) -> bool:
    """Whether it is a causal language model of transformers."""
    can = getattr(model, "can_generate", None)
    return bool(can and can() and not model.config.is_encoder_decoder)


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


def load(path: str | Path) -> OnnxModel | nn.Module:
    """What `export` wrote, to be used in place of the model: ``task.score(load("student.onnx"))``.

    A language model with its cache is an `OnnxModel`; anything else a module from inputs to logits, on one core.
    """
    _needs("onnxruntime")
    path = Path(path)
    session = _opened(path)
    sizes = {given.name: given.shape for given in session.get_inputs()}
    if sizes.keys() == {"tokens", "past"}:
        return OnnxModel(path)
    import torch

    def run(given: dict[str, Any]) -> torch.Tensor:
        return torch.from_numpy(session.run(["logits"], given)[0])

    class Running(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
            given = {name: x.cpu().numpy() for name, x in (named or dict(zip(sizes, inputs, strict=True))).items()}
            if any(size[0] != 1 for size in sizes.values()):
                return run(given)
            rows = len(next(iter(given.values())))
            return torch.cat([run({name: x[row : row + 1] for name, x in given.items()}) for row in range(rows)])

    return Running().eval()


class OnnxModel:
    """A language model that ONNX Runtime runs on one core, as `export` wrote it.

    `stepper()` begins a text: it gives a function from the next tokens, (1, t), to the logits after them, (1, words).
    """

    def __init__(self, path: str | Path) -> None:
        _needs("onnxruntime")
        self.path = Path(path)
        self._session = _opened(self.path)
        self.megabytes = self.path.stat().st_size / 1e6
        past = {given.name: given.shape for given in self._session.get_inputs()}.get("past")
        if past is None:
            raise BadFile(f"{self.path} is no language model with a cache: dk.edge.load(path) runs it")
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


def _opened(path: Path) -> Any:
    data = _checked(path)
    try:
        return _session(data)
    except Exception as error:  # ONNX Runtime has exceptions of its own, which share no base
        raise BadFile(f"{path} is no model that dk.edge.export wrote: {shown(str(error), 160)}") from None


def _session(data: bytes) -> Any:
    """ONNX Runtime's session of a file's bytes, on one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def measure(path: str | Path, given: Any, *, length: int = 32) -> dict[str, float]:
    """Speed, memory and size of a stored model, on one core, in a process of its own.

    Args:
        path: an ONNX file, or a folder with a causal language model in Hugging Face's format, which PyTorch then runs.
        given: of a language model prompts, a list of tokens each, after which it writes; of any other the inputs of
            one pass, a tensor or several by name.
        length: how many tokens are written, the likeliest each time.

    Returns:
        Of a language model tokens_per_second (the median over prompts), first_token_ms (of reading the prompt); of any
        p50_ms and p90_ms (of a token, or of a pass), peak_mb (resident, of the whole process), file_mb.

    Raises:
        BadFile: nothing to run there. BadValue: the process failed, and why.
    """
    length = whole("length", length, 1, 1024, "tokens that are written after each prompt")
    path = Path(path)
    if not path.exists():
        raise BadFile(f"there is no {shown(str(path), 200)}: dk.edge.export(model, 'model.onnx') writes one")
    job: dict[str, Any] = {"path": str(path), "length": length}
    if isinstance(given, (list, tuple)):
        if not given or not all(given):
            raise BadValue("there are no prompts, or one is empty: a text needs one token to begin with")
        job["prompts"] = [[int(token) for token in prompt] for prompt in given]
    else:
        named = dict(given) if hasattr(given, "keys") else {"inputs": given}
        job["inputs"] = {name: [str(x.numpy().dtype), x.tolist()] for name, x in named.items()}
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
    import numpy as np

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    path = Path(job["path"])
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    file_mb = sum(file.stat().st_size for file in files) / 1e6
    if "inputs" in job:
        session = _opened(path)
        given = {name: np.array(values, dtype) for name, (dtype, values) in job["inputs"].items()}
        times, found = _repeated(lambda: session.run(None, given)), {}
    else:
        begin = _pytorch(path) if path.is_dir() else OnnxModel(path).stepper
        read, times = _texts(begin, job["prompts"], job["length"])
        found = {"tokens_per_second": 1 / statistics.median(times), "first_token_ms": 1000 * statistics.median(read)}
    return {**found, **_percentiles(times), "peak_mb": _peak(), "file_mb": file_mb}


def _texts(begin: Callable[[], Stepper], prompts: list[list[int]], length: int) -> tuple[list[float], list[float]]:
    """The seconds of each prompt, and of each token after one."""
    first, later = [], []
    for turn in range(REPEATS):
        for prompt in prompts:
            times = _write(begin(), prompt, length)
            if turn:
                first.append(times[0])
                later += times[1:] or times
    return first, later


def _repeated(work: Callable[[], Any]) -> list[float]:
    """The seconds of each pass, after a warm-up."""
    times = []
    for _ in range(WARM_UP + PASSES):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times[WARM_UP:]


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    import numpy as np

    return {f"p{share}_ms": float(1000 * np.percentile(seconds, share)) for share in (50, 90)}


def _write(step: Stepper, prompt: list[int], length: int) -> list[float]:
    """The seconds of each token."""
    import numpy as np

    tokens, times = np.array([prompt], np.int64), []
    for _ in range(length):
        began = time.perf_counter()
        tokens = step(tokens).argmax(-1, keepdims=True).astype(np.int64)
        times.append(time.perf_counter() - began)
    return times


def forms(
    models: Mapping[str, nn.Module],
    examples: Examples,
    *,
    kinds: Sequence[str] = KINDS,
    score: Callable[[Any], float] | None = None,
    processes: bool = True,
) -> pd.DataFrame:
    """Models in several forms side by side: bytes, time, memory, quality and fidelity, one row a model and form.

    Args:
        models: {"teacher": …, "student": …}, on the processor; the first, as it is, is what all are compared with.
        examples: the first is the request that is timed, all are those on which answers are compared with the first
            model's. A causal language model reads the request and writes on; the time is that of a token.
        kinds: some of KINDS: ``float32`` is the model as it is; others as `cast` and `export` make them.
        score: quality of a form, ``lambda model: task.score(model)["accuracy"]``; of a compiled one it is not taken.
        processes: each form is timed in a process of its own, on one core, with its memory at the peak. Without it
            PyTorch's forms are timed here and their memory is not taken; ONNX's have their processes all the same.

    Returns:
        Indexed by "teacher, float32" …: mb (of the weights, or of the file), p50_ms, p90_ms, faster (than the first
        row, times), peak_mb, quality, agreement with the first row, ready_s (until PyTorch's first answer: there a
        compiler works). Its `attrs["left_out"]` says of each form that is not there why.

    Raises:
        BadValue: no models, an unknown kind. BadType: no examples.
    """
    import pandas as pd

    from distilkit.transfer import Examples

    kinds = [choice("kinds", kind, KINDS) for kind in kinds]
    if not models or not kinds:
        raise BadValue("there is nothing to compare: give models by name, and at least one kind")
    if not isinstance(examples, Examples) or not len(examples):
        raise BadType(f"examples must be dk.Examples, as task.test[:20] is, got {shown(examples)}")
    rows, said, left_out = {}, {}, {}
    exported = functools.cache(_onnx)  # a model once, for both of its kinds
    with tempfile.TemporaryDirectory() as folder, _quietly():
        for name, model in models.items():
            for kind in kinds:
                try:
                    found = _form(model, kind, examples.inputs, score, processes, Path(folder) / "model.onnx", exported)
                except (BadValue, ImportError, RuntimeError) as error:  # torch has many words for what it cannot do
                    left_out[f"{name}, {kind}"] = shown(str(error), 200)
                else:
                    rows[f"{name}, {kind}"], said[f"{name}, {kind}"] = found
    counts = (examples.labels != IGNORED).numpy()
    for form, row in rows.items():
        first = next(iter(rows))
        row["faster"] = rows[first]["p50_ms"] / row["p50_ms"]
        row["agreement"] = float((said[form] == said[first])[counts].mean())
    columns = ["mb", "p50_ms", "p90_ms", "faster", "peak_mb", "quality", "agreement", "ready_s"]
    frame = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns).dropna(axis=1, how="all")
    frame.attrs["left_out"] = left_out
    return frame


def _form(
    model: nn.Module, kind: str, inputs: Any, score: Any, processes: bool, file: Path, exported: Callable[..., bytes]
) -> tuple[dict[str, float], np.ndarray]:
    """A form's row, and its answers to all inputs."""
    from distilkit import cost

    if kind.startswith("ONNX"):
        writes = _writes(model)
        _needs("onnx", "onnxscript", "onnxruntime")
        data = exported(model, None if writes else inputs)
        file.write_bytes(_quantised(data) if kind == "ONNX int8" else data)
        ran: Any = load(file)
        found = measure(file, [inputs[0].tolist()[:REQUEST]] if writes else inputs[:1], length=WRITTEN)
        row = {"mb": found["file_mb"], **{name: found[name] for name in ("p50_ms", "p90_ms", "peak_mb")}}
        answers = _answers(ran, inputs)
    else:
        ran = model if kind == "compiled" else cast(model, kind)
        row, answers = cost.alone(_timed, ran, kind, inputs) if processes else _timed(ran, kind, inputs)
        row["mb"] = _weights(ran) / 1e6
        if not processes:
            del row["peak_mb"]
    if score is not None and kind != "compiled":
        row["quality"] = float(score(ran))
    return row, answers


def _timed(model: Any, kind: str, inputs: Any) -> tuple[dict[str, float], np.ndarray]:
    """The times of a model in PyTorch and its answers, in this process."""
    import torch

    from distilkit.models import call, evaluating

    with _quietly(), evaluating(model), torch.inference_mode():
        if kind == "compiled":
            model = cast(model, kind)
        began = time.perf_counter()
        if _writes(model):
            prompt = inputs[0].tolist()[:REQUEST]
            _write(_stepper(model), prompt, 3)  # what is compiled for one length is then compiled for all
            ready = time.perf_counter() - began
            _, times = _texts(lambda: _stepper(model), [prompt], WRITTEN)
        else:
            call(model, inputs[:1])
            ready = time.perf_counter() - began
            times = _repeated(lambda: call(model, inputs[:1]))
        return {**_percentiles(times), "peak_mb": _peak(), "ready_s": ready}, _answers(model, inputs)


def _answers(model: Any, inputs: Any) -> np.ndarray:
    """The likeliest class of each row, or token after each."""
    import numpy as np

    if not isinstance(model, OnnxModel):
        from distilkit.models import predict

        return predict(model, inputs).float().argmax(-1).numpy()
    said = []
    for row in inputs.numpy():
        step = model.stepper()
        said.append([int(step(token.reshape(1, 1)).argmax()) for token in row])
    return np.array(said)


def cast(model: nn.Module, kind: str) -> nn.Module:
    """A copy of a model in fewer bits, or the model compiled: "float32" (as it is), "bfloat16", "int8", "compiled".

    ``int8``: the weights of its linear layers in 8 bits, and what flows into them quantised as it comes (dynamically);
    the rest stays as it is. ``bfloat16``: all of it; inputs are cast as they come.

    Raises:
        BadValue: an unknown kind, no C++ compiler to compile with, or a PyTorch without such quantisation.
    """
    import copy

    import torch

    kind = choice("kind", kind, ("float32", "bfloat16", "int8", "compiled"))
    if kind == "bfloat16":
        model = copy.deepcopy(model).to(torch.bfloat16)
        model.register_forward_pre_hook(_in_bfloat16, with_kwargs=True)
    elif kind == "int8":
        if not hasattr(torch.ao.quantization, "quantize_dynamic"):
            raise BadValue("this PyTorch has no dynamic quantisation: export(model, path, int8=True) has ONNX's")
        with _quietly():
            model = torch.ao.quantization.quantize_dynamic(model.eval(), {torch.nn.Linear}, dtype=torch.qint8)
    elif kind == "compiled":
        compilers = [os.environ.get("CXX"), "g++", "clang++", "cl"]
        if not any(name and shutil.which(name) for name in compilers):
            raise BadValue("torch.compile needs a C++ compiler, and none is here: apt-get install g++, or the like")
        model = torch.compile(model, dynamic=_writes(model) or None)  # type: ignore[assignment]
    return model


def _in_bfloat16(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    import torch

    def lower(value: Any) -> Any:
        floats = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(torch.bfloat16) if floats else value

    return tuple(map(lower, given)), {name: lower(value) for name, value in named.items()}


def _weights(model: nn.Module) -> int:
    """Bytes of the weights, packed ones of quantised layers among them."""
    from distilkit import cost

    layers: Any = model.modules()
    packed = [layer.weight() for layer in layers if callable(getattr(layer, "weight", None))]
    return cost.size(model) + sum(weight.numel() * weight.element_size() for weight in packed)


def to_gguf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path, *, kind: str = "F16") -> Path:
    """Write a Llama as GGUF, the file that llama.cpp, Ollama and their kin run, with its tokenizer.

    Names, metadata and the order of rows in query and key are llama.cpp's. Norms stay F32; of ``Q8_0``, 8 bits and a
    scale every 32 weights, a matrix whose rows do not divide by 32 stays F16, as llama.cpp has it.

    Args:
        model: of transformers, a causal language model of the type ``llama``.
        tokenizer: its tokenizer, a byte-level BPE.
        path: of the file, which ends in ``.gguf``; its sha256 is written beside it.
        kind: "F32", "F16" or "Q8_0".

    Raises:
        BadValue: another type of model, or a tokenizer, that this does not know: llama.cpp's own
            ``convert_hf_to_gguf.py`` knows most. The package gguf is missing, or the path has another ending.
    """
    from distilkit.models import write_noted

    _needs("gguf", extra="own")
    import gguf

    path, kind = Path(path), choice("kind", kind, ("F32", "F16", "Q8_0"))
    if path.suffix != ".gguf":
        raise BadValue(f"the path must end in .gguf, got {shown(str(path), 200)}")
    config: Any = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    act = getattr(config, "hidden_act", "another activation")
    if config.model_type != "llama" or act != "silu" or rope.get("rope_type", "default") != "default":
        raise BadValue(
            f"to_gguf writes plain Llama models, and this is {shown(config.model_type)} with {shown(act)}"
            f" and positions {shown(rope.get('rope_type', 'default'))}: llama.cpp's convert_hf_to_gguf.py knows others"
        )
    words = _tokens(tokenizer, config.vocab_size)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(file, "llama")
        writer.add_name("distilkit")
        writer.add_vocab_size(config.vocab_size)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(head)
        writer.add_value_length(head)
        writer.add_rope_dimension_count(head)
        writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        kinds = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16}
        writer.add_file_type(kinds.get(kind, gguf.LlamaFileType.MOSTLY_Q8_0))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _write_tokenizer(writer, tokenizer, words)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
        for name, weights in _tensors(model):
            known = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if known is None:
                raise BadValue(f"llama.cpp has no place for the tensor {shown(name)} in a Llama")
            lines = len(weights) if weights.ndim == 2 else 0
            fits = "F32" if not lines else "F16" if kind == "Q8_0" and weights.shape[1] % 32 else kind
            own = gguf.GGMLQuantizationType[fits]
            writer.add_tensor(known, gguf.quants.quantize(weights, own), raw_dtype=own)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        data = file.read_bytes()
    write_noted(path, data)
    return path


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, np.ndarray]]:
    """The model's tensors in float32, tied ones once; rows of query and key as llama.cpp turns them, pair by pair.

    Hugging Face turns row i of a head's first half with row i of its second; llama.cpp turns neighbours.
    """
    config: Any = model.config
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weights = value.detach().float().cpu().numpy()
        part = name.rsplit(".", 2)[-2]
        if part in {"q_proj", "k_proj"}:
            heads = config.num_attention_heads if part == "q_proj" else config.num_key_value_heads
            halves = weights.reshape(heads, 2, len(weights) // heads // 2, *weights.shape[1:])
            weights = halves.swapaxes(1, 2).reshape(weights.shape)
        yield name, weights


def _tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """The words of a byte-level BPE, by number; what the model has beyond the tokenizer is padding."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {"model": {}}
    if rules["model"].get("type") != "BPE" or _split(rules) is None or rules.get("normalizer"):
        raise BadValue(
            "to_gguf writes byte-level BPE tokenizers that split text as GPT-2 does, with digits alone or not: "
            "llama.cpp's convert_hf_to_gguf.py knows others"
        )
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    return [words.get(number, f"[PAD{number}]") for number in range(max(size, len(words)))]


def _split(rules: dict[str, Any]) -> str | None:
    """What llama.cpp calls this way of splitting text, by the tokenizer's own rules."""
    rule = rules.get("pre_tokenizer") or {}
    parts = rule.get("pretokenizers", [rule])
    kinds = [part.get("type") for part in parts]
    plain = kinds[-1] == "ByteLevel" and parts[-1].get("use_regex", True) and not parts[-1].get("add_prefix_space")
    if plain and kinds == ["ByteLevel"]:
        return "gpt-2"
    return "smollm" if plain and kinds[:-1] == ["Digits"] and parts[0].get("individual_digits") else None


def _write_tokenizer(writer: Any, tokenizer: PreTrainedTokenizerBase, words: list[str]) -> None:
    import gguf

    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {each["id"]: each["special"] for each in rules["added_tokens"]}
    types = gguf.TokenType
    known = len(tokenizer)

    def kind(number: int) -> int:
        if number in added:
            return types.CONTROL if added[number] else types.USER_DEFINED
        return types.NORMAL if number < known else types.UNUSED

    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in rules["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(rules))
    writer.add_token_list(words)
    writer.add_token_types([kind(number) for number in range(len(words))])
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    for number, write in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if number is not None:
            write(number)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _pytorch(folder: Path) -> Callable[[], Stepper]:
    import torch

    from distilkit.pretrained import language_model

    torch.set_num_threads(1)
    model, _ = language_model(folder)
    return lambda: _stepper(model)


def _stepper(model: Any) -> Stepper:
    """A text that a model of PyTorch begins, on arrays."""
    import torch

    from distilkit.tasks.shop import stepper

    step = stepper(model)
    return lambda tokens: step(torch.from_numpy(tokens)).float().numpy()


def _peak() -> float:
    """The most memory that this process had, in megabytes (as `cost.resident_peak`, without PyTorch)."""
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


def _needs(*packages: str, extra: str = "apps") -> None:
    import importlib.util

    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise BadValue(f"this needs {' and '.join(missing)}: pip install 'distilkit[{extra}]' first")


if __name__ == "__main__":
    print(json.dumps(_measured(json.load(sys.stdin))))
