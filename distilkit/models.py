"""Safetensors in and out, checked against their sha256 before use; and models in use."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import safetensors.torch
import torch
from torch import Tensor, nn

from distilkit.errors import BadFile, BadType, BadValue, shown

LARGEST = 8 * 2**30  # bytes; a larger file is not read at once
LARGEST_HEADER = 2**27  # bytes
STALE = 600.0  # seconds without a byte, after which a file half written is one whose process was killed


class Inputs:
    """Tensors by name, with equally many rows, for a model that takes several: it is called ``model(**inputs)``.

    Indexed by a name it gives that tensor, by a slice or a tensor of numbers those rows of each.

    >>> both = Inputs(pixels=torch.zeros(4, 3, 8, 8), question=torch.ones(4, 5).long())
    >>> len(both), both[1:3]
    (4, Inputs(pixels=(2, 3, 8, 8), question=(2, 5)))
    """

    def __init__(self, **tensors: Tensor) -> None:
        for name, value in tensors.items():
            if not isinstance(value, Tensor) or not value.ndim:
                raise BadType(f"{name} must be a tensor with rows, got {shown(value)}")
        if len({len(value) for value in tensors.values()}) != 1:
            rows = ", ".join(f"{name} {len(value)}" for name, value in tensors.items())
            raise BadValue(f"named inputs must have equally many rows, got {rows or 'none'}")
        self._tensors = tensors

    @overload
    def __getitem__(self, which: str) -> Tensor: ...
    @overload
    def __getitem__(self, which: slice | Tensor) -> Inputs: ...
    def __getitem__(self, which: str | slice | Tensor) -> Tensor | Inputs:
        if isinstance(which, str):
            return self._tensors[which]
        return Inputs(**{name: value[which] for name, value in self._tensors.items()})

    def __len__(self) -> int:
        """How many rows."""
        return len(next(iter(self._tensors.values())))

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._tensors.keys()

    def to(self, device: torch.device) -> Inputs:
        """The same on this device."""
        return Inputs(**{name: value.to(device) for name, value in self._tensors.items()})

    def split(self, rows: int) -> list[Inputs]:
        """In parts of so many rows."""
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def __repr__(self) -> str:
        return f"Inputs({', '.join(f'{name}={tuple(value.shape)}' for name, value in self._tensors.items())})"


def call(model: nn.Module, inputs: Tensor | Inputs, **more: Any) -> Any:
    """What the model returns for these inputs, which it takes by name if they have names."""
    return model(**inputs, **more) if isinstance(inputs, Inputs) else model(inputs, **more)


def logits_of(output: object) -> Tensor:
    """The logits in what a model returned: the tensor itself, or the `.logits` of a Hugging Face output."""
    return output if isinstance(output, Tensor) else output.logits  # type: ignore[attr-defined]


def find_device(name: str | torch.device) -> torch.device:
    """The device of this name, if this machine has it; otherwise a `BadValue` that lists those it has.

    >>> find_device("cpu")
    device(type='cpu')
    """
    here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is not None and device.type != "cpu" and device.index is None and f"{device.type}:0" in here:
        return torch.device(device.type, 0)
    if device is not None and str(device) in here:
        return device
    raise BadValue(f"there is no device {shown(str(name))} on this machine; it has {', '.join(here)}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while: afterwards each module is in the mode it was found in."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor | Inputs, *, batch_size: int | None = None) -> Tensor:
    """The model's logits, (n, ..., classes), in eval mode and without gradients; the model is left as it was found.

    `batch_size` rows at a time; default 1,024, or of tokens, (n, time), as many as make 1,024 of them, or of what is
    larger, as pictures and sound, as many as hold a million numbers.
    """
    device = device_of(model)
    if batch_size is None:
        batch_size = min(map(_rows_at_a_time, dict(inputs).values() if isinstance(inputs, Inputs) else [inputs]))
    with evaluating(model):
        first = logits_of(call(model, inputs[:batch_size].to(device)))
        if len(inputs) <= batch_size:
            return first
        logits = first.new_empty((len(inputs), *first.shape[1:]))  # never twice in memory, as parts and as a whole
        logits[:batch_size] = first
        for start in range(batch_size, len(inputs), batch_size):
            rows = slice(start, start + batch_size)
            logits[rows] = logits_of(call(model, inputs[rows].to(device)))
    return logits


def _rows_at_a_time(inputs: Tensor) -> int:
    tokens = inputs.ndim == 2 and not inputs.is_floating_point()
    return max(1, min(1024, (1024 if tokens else 2**20) // max(1, inputs[:1].numel())))


def output_layer(model: nn.Module, inputs: Tensor | Inputs) -> nn.Linear | None:
    """The linear layer that makes the model's logits of its last hidden states; None where nothing is just that.

    `inputs` are tried: what scales or caps the logits afterwards shows in them. Quantised layers, and those that
    something is wrapped around, do not count.
    """
    try:
        layer = model.get_output_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError, TypeError):  # no language model of transformers
        return None
    if type(layer) is not nn.Linear or "forward" in vars(layer) or not layer.weight.is_floating_point():
        return None
    made: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: made.append(output))
    try:
        with evaluating(model):
            logits = logits_of(call(model, inputs))
    finally:
        hook.remove()
    return layer if len(made) == 1 and torch.equal(made[0].to(logits.dtype), logits) else None


def states_for(layer: nn.Linear, model: nn.Module, inputs: Tensor | Inputs) -> Tensor:
    """The hidden states, (..., width), that the model hands to this `output_layer`, which is left out."""
    layer.forward = lambda states: states  # type: ignore[assignment]
    try:
        return logits_of(call(model, inputs))
    finally:
        del layer.forward


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are; the CPU for one that has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def save(model: nn.Module, path: str | Path, *, about: Mapping[str, str] | None = None) -> str:
    """Write the model's weights to `path` (safetensors), all or nothing, and return their sha256.

    `about` goes into the file's header: what made the weights, in words.
    """
    header = {"about": json.dumps(dict(about or {}))}  # one entry: the order of several is drawn anew at each save
    data = safetensors.torch.save(plain(model.state_dict()), header)
    write(path, data)
    return hashlib.sha256(data).hexdigest()


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies as safetensors takes them: on the CPU, contiguous, and no two in the same memory (tied weights are)."""
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def load(model: nn.Module, path: str | Path, *, sha256: str | None = None) -> nn.Module:
    """Fill the model with the weights in `path`, and return it in eval mode.

    With `sha256` the file's bytes must have that hash; without it, a file ``<path>.sha256`` beside it is read.
    Raises `BadFile` for what is not a whole, safe, matching safetensors file; the model is then unchanged.
    """
    path = Path(path)
    weights = parse(path, read_checked(path, sha256))
    own = model.state_dict()
    if weights.keys() != own.keys() or any(weights[name].shape != own[name].shape for name in own):
        differing = sorted(name for name in weights.keys() | own.keys() if _shape(weights, name) != _shape(own, name))
        name = differing[0]
        raise BadFile(
            f"{path} does not fit this model: {shown(name)} is {_shape(weights, name)} in the file and "
            f"{_shape(own, name)} in the model ({len(differing)} of {len(own)} tensors differ)"
        )
    check_finite(path, weights)
    model.load_state_dict(weights)
    return model.eval()


def read_checked(path: Path, sha256: str | None = None) -> bytes:
    """The bytes of a file, which must have this sha256, or the one in ``<path>.sha256`` where there is such a file."""
    data = read(path)
    _compare(path, hashlib.sha256(data).hexdigest(), sha256 or _noted(path))
    return data


def check_noted(path: Path) -> None:
    """Refuse a file that has not the sha256 in ``<path>.sha256``, where there is such a file; it may be a large one."""
    if expected := _noted(path):
        with path.open("rb") as data:
            _compare(path, hashlib.file_digest(data, "sha256").hexdigest(), expected)


def _noted(path: Path) -> str | None:
    note = path.with_name(path.name + ".sha256")
    return read(note)[:64].decode("ascii", "replace") if note.is_file() else None


def _compare(path: Path, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise BadFile(f"{path} is damaged or another file: its sha256 is {found}, expected {expected}. Fetch it anew")


def read(path: str | Path) -> bytes:
    """The bytes of a regular file of a sane size."""
    path = Path(path)
    length = _length(path)
    if length > LARGEST:
        raise BadFile(f"{path} has {length:,} bytes, more than {LARGEST:,}: too large for this kit")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read {shown(str(path), 200)}: {error.strerror}") from None


def _length(path: Path) -> int:
    """How many bytes a regular file has."""
    try:
        mode = path.stat()
    except OSError as error:
        raise BadFile(
            f"cannot read {shown(str(path), 200)}: {error.strerror}. Check the path and its permissions"
        ) from None
    except ValueError:  # a NUL or half a letter in it
        raise BadFile(f"cannot read {shown(str(path), 200)}: no file can have such a name") from None
    if not stat.S_ISREG(mode.st_mode):
        raise BadFile(f"{shown(str(path), 200)} is not a regular file: give the path of a .safetensors file")
    return mode.st_size


def write(path: str | Path, data: bytes) -> None:
    """Write the file so that after a crash either the old or the new one is there, whole.

    What a killed process has left half written beside it is cleared away by a later `write`.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.????????"):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink(missing_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # noqa: PTH101
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BadFile(
                f"cannot write {shown(str(path), 200)}: {error.strerror}. Free some space or give another path; "
                "what was there before is untouched"
            ) from None
        raise


def write_noted(path: str | Path, data: bytes) -> None:
    """Write the file, and its sha256 beside it, which `read_checked` heeds."""
    write(path, data)
    write_note(path, hashlib.sha256(data).hexdigest())


def write_note(path: str | Path, sha256: str) -> None:
    """Note the sha256 of a file beside it, as sha256sum writes it."""
    write(f"{path}.sha256", f"{sha256}  {Path(path).name}\n".encode())


def data_path(name: str) -> Path:
    """Where a shipped file of `data/` lies: beside the package in a wheel, beside its folder in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "data", package.parent / "data"):
        with contextlib.suppress(OSError):  # a name too long for any file
            if (folder / name).exists():
                return folder / name
    said = name if name.isprintable() and len(name) < 200 else shown(name, 200)
    raise BadFile(f"the shipped file data/{said} is missing: reinstall distilkit, or make it (see data/README.md)")


def parse(path: Path, data: bytes) -> dict[str, Tensor]:
    """The tensors of a whole, safe safetensors file; a `BadFile` says what else these bytes are."""
    with reading_weights(path, data):
        _check_header(data, len(data))
        return safetensors.torch.load(data)


def check_header(path: Path) -> None:
    """Refuse a file that is no whole safetensors file, without reading its tensors, which may be large."""
    length = _length(path)
    with path.open("rb") as file:
        data = file.read(8)
        header = int.from_bytes(data, "little")
        data += file.read(min(header, LARGEST_HEADER))
    with reading_weights(path, data):
        _check_header(data, length)


@contextmanager
def reading_weights(path: Path, data: bytes = b"") -> Iterator[None]:
    """Where reading weights fails, say what they are instead, by their first bytes."""
    try:
        yield
    except (safetensors.SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if data[:2] == b"PK" or data[:1] == b"\x80":
            reason = "a pickle (.bin, .pt), which can run code on loading: convert it with safetensors first"
        elif data.startswith(b"version https://git-lfs"):
            reason = "a git-LFS pointer, not the weights: run `git lfs pull` in its repository"
        elif data.lstrip()[:1] == b"<":
            reason = "a web page saved as weights (a login or error page?): download it again"
        else:
            reason = f"not a whole safetensors file: {shown(str(error), 120)}"
        raise BadFile(f"{path} is {reason}") from None


def _check_header(data: bytes, size: int) -> None:
    """Refuse what the format forbids and its reader lets pass: a tensor named twice, bytes after the last one."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise BadValue(f"the header claims {length} bytes, the file has {size}")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise BadValue("a name occurs twice in the header")
        return dict(pairs)

    header = json.loads(data[8 : 8 + length], object_pairs_hook=unique)
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if max(ends, default=0) != size - 8 - length:
        raise BadValue("the tensors do not fill the file")


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold nan or inf."""
    for name, value in tensors.items():
        if value.is_floating_point() and not (value if value.element_size() > 1 else value.float()).isfinite().all():
            raise BadFile(f"{path}: the tensor {shown(name)} holds nan or inf; these weights are broken")


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "absent"
