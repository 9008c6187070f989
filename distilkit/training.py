"""The training loop: a distillation is an iterator of steps. It draws nothing and prints nothing."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.signal without its enums, which a small step would feel
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from distilkit.cached import CachedTeacher
from distilkit.chunked import known, wants_labels
from distilkit.claim import Claim, claim
from distilkit.divergences import IGNORED, UNLABELLED, Divergence, check_temperature, forward_kl
from distilkit.errors import BadFile, BadType, BadValue, Diverged, meant, real, shown, whole
from distilkit.hints import Hinting, Hints
from distilkit.linear_loss import Head, linear_kd_terms
from distilkit.losses import kd_terms, weigh
from distilkit.models import (
    call,
    device_of,
    evaluating,
    find_device,
    logits_of,
    output_layer,
    parse,
    plain,
    read,
    states_for,
    write,
)
from distilkit.topk import TopK
from distilkit.transfer import Examples, StudentText, as_examples, teacher_logits

if TYPE_CHECKING:
    from accelerate import Accelerator

Schedule = Callable[[int], float]
HardLoss = Callable[[Tensor, Tensor], Tensor]

MOST_TARGETS = 256e6  # bytes of teacher logits kept in memory; beyond, the teacher is asked at each step
KEPT_TARGETS = 16e6  # bytes of them that a finished run keeps, should it be reset
VOCABULARY = 2**15  # classes, from which on a language model's loss is computed from its hidden states
TOKENS = 1024  # of a step on text, unless batch_size says otherwise
FORMAT = 1  # of a checkpoint; a change that an older distilkit would misread is a new one


class Step(NamedTuple):
    """One update of the student: its number (from 1), the loss and its two terms in nats, the knobs that held.

    Of a run with hints, `loss` holds `hint` too, as it was weighed.
    """

    step: int
    loss: float
    soft: float
    hard: float
    temperature: float
    alpha: float
    lr: float
    hint: float = 0.0


class Knobs:
    """The settings that may change while a run goes on: the loop reads them at every step.

    Each is a number, or a function of the step (0, 1, …) for a schedule, or an object that learns (see
    `distilkit.adaptive`). Setting one is checked at once, and safe from another thread.

    >>> knobs = Knobs(temperature=4.0, alpha=0.9)
    >>> knobs.temperature = 8
    >>> knobs
    Knobs(temperature=8.0, alpha=0.9, lr=0.01)
    >>> knobs.temprature = 2
    Traceback (most recent call last):
    distilkit.errors.BadType: there is no knob 'temprature'. Did you mean 'temperature'?
    """

    temperature: float
    alpha: float
    lr: float

    def __init__(
        self,
        temperature: float | Schedule = 4.0,
        alpha: float | Schedule = 0.9,
        lr: float | Schedule = 0.01,
        **unknown: Any,
    ) -> None:
        for name, value in unknown.items():
            setattr(self, name, value)  # refused, with the name that was meant
        self.temperature, self.alpha, self.lr = temperature, alpha, lr  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _CHECKS:
            raise BadType(f"there is no knob {name!r}.{meant(name, _CHECKS)}")
        object.__setattr__(self, name, value if callable(value) else _CHECKS[name](value))

    def at(self, step: int) -> dict[str, float]:
        """The three numbers that hold at this step."""
        knobs = vars(self).items()
        return {name: value if type(value) is float else _CHECKS[name](value(step)) for name, value in knobs}

    def learning(self) -> dict[str, Any]:
        """Those that learn, by name."""
        return {name: value for name, value in vars(self).items() if hasattr(value, "learn")}

    def __repr__(self) -> str:
        return f"Knobs({', '.join(f'{name}={getattr(self, name)}' for name in _CHECKS)})"


_CHECKS: dict[str, Callable[[object], float]] = {
    "temperature": check_temperature,
    "alpha": lambda value: real("alpha", value, 0, 1, "0 trains on labels only, 1 on the teacher only"),
    "lr": lambda value: real("lr", value, 0, 1e6, "the learning rate", above=True),
}


class _Part(NamedTuple):
    """What one forward pass takes of a step: all of it, but for an accelerator's processes and parts."""

    rows: Tensor  # of the set that they are drawn from
    batch: Examples
    labels: Tensor  # the batch's, where the student is
    targets: Tensor | TopK | Head | None  # what the teacher says
    soft: float = 1.0  # the share that is here of all the step's positions which count in the soft term
    hard: float = 1.0


class Run:
    """A distillation: iterate to train, or `result()` to train to the end.

    Attributes:
        student, teacher, transfer, knobs, steps, accelerator: as given to `distill`.
        model: the student that is trained, inside what an accelerator puts around it.
        history: the `Step`s made so far.
        listeners: functions of a `Step`, called after each step by whoever made it.

    A run may be shared by threads: each step is made by one of them.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | CachedTeacher | None,
        transfer: Examples | StudentText,
        *,
        knobs: Knobs,
        steps: int,
        batch_size: int,
        divergence: Divergence,
        weight_decay: float,
        seed: int,
        checkpoint: Path | None,
        save_every: int | None = None,
        hints: Hints | None = None,
        hard: HardLoss | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.student, self.teacher, self.transfer, self.hard = student, teacher, transfer, hard
        self.knobs, self.steps, self.batch_size, self.accelerator = knobs, steps, batch_size, accelerator
        self.divergence, self.weight_decay, self.seed = divergence, weight_decay, seed
        self.checkpoint, self.save_every = checkpoint, save_every
        self.history: list[Step] = []
        self.listeners: list[Callable[[Step], object]] = []
        self._lock = threading.RLock()
        self._uninterrupted = _Uninterrupted()
        self._claim: Claim | None = None  # of the checkpoint, from the first step to the last
        self._forget()
        self._draws = True  # whether a step draws random numbers (dropout does); the first step tells
        self._order: tuple[tuple[int, int], Tensor] = ((-1, 0), torch.empty(0))
        self._device = device_of(student) if accelerator is None else accelerator.device
        self._hinting = None if hints is None else Hinting(hints, student, teacher, transfer, seed)
        self._prepare()
        self._start = {name: value.clone() for name, value in student.state_dict().items()}
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        if checkpoint is not None and accelerator is not None:
            made = self._everywhere(torch.tensor([len(self.history)]))[0]
            if made != len(self.history) * accelerator.num_processes:
                raise BadFile(f"{checkpoint} is not the same for all processes: give a path that every machine sees")

    def __repr__(self) -> str:
        return f"Run(step {len(self.history)} of {self.steps}, {self.knobs})"

    @property
    def done(self) -> bool:
        """Whether every step has been made."""
        return len(self.history) >= self.steps

    @property
    def _writes(self) -> bool:
        """Whether this process writes the checkpoint."""
        return self.accelerator is None or self.accelerator.is_main_process

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        with self._lock:
            if self.done:
                raise StopIteration
            if self.checkpoint is not None and self._claim is None and self._writes:
                self._claim = claim(self.checkpoint)
            if not self._asked:
                self._ask()
            with self._uninterrupted:  # an interrupt finds a step made whole, or not at all
                step = self._update()
                if self.done:
                    self.student.eval()
                    if self._targets is not None and self._targets.nbytes > KEPT_TARGETS:
                        self._forget()
                    if self._hinting is not None:
                        self._hinting.forget()
                    self._release()
                if self.checkpoint is not None and (
                    self.done or (self.save_every and step.step % self.save_every == 0)
                ):
                    self.save(self.checkpoint)
                if self.done:
                    self._claim = None
            for tell in tuple(self.listeners):
                tell(step)
            return step

    def result(self) -> nn.Module:
        """Make the steps that are left, and return the student in eval mode."""
        for _ in self:
            pass
        return self.student

    def reset(self) -> None:
        """Go back to the untrained student and an empty history; the knobs stay, but for those that learned."""
        with self._lock:
            for knob in self.knobs.learning().values():
                knob.reset()
            self.student.load_state_dict(self._start)
            if self._hinting is not None:
                self._hinting.reset()
            if self.done and self.accelerator is not None and not _in_pieces(self.accelerator):
                self._prepare()
            self._optimizer.state.clear()
            self.history.clear()

    def save(self, path: str | Path | None = None) -> Path:
        """Write a checkpoint: one safetensors file, complete or not there. Default: the path given to `distill`.

        With an accelerator the first process writes, and all wait for it.
        """
        path = path or self.checkpoint
        if path is None:
            raise BadValue(
                "save needs a path: run.save('run.safetensors'), or distill(…, checkpoint='run.safetensors')"
            )
        with self._lock:
            if self._writes:
                self._write(path)
            if self.accelerator is not None:
                self.accelerator.wait_for_everyone()
        return Path(path)

    def _write(self, path: str | Path) -> None:
        tensors = {f"student.{name}": value for name, value in self.student.state_dict().items()}
        if self._hinting is not None:
            projections = self._hinting.projections.state_dict()
            tensors |= {f"hints.{name}": value for name, value in projections.items()}
        for place, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": torch.as_tensor(value) for name, value in state.items()}
        knobs = {name: getattr(self.knobs, name) for name in _CHECKS}
        about = {
            "format": str(FORMAT),
            "history": json.dumps([step._asdict() for step in self.history]),
            "knobs": json.dumps({name: value for name, value in knobs.items() if not callable(value)}),
            "learned": json.dumps({name: knob.state() for name, knob in self.knobs.learning().items()}),
            "run": json.dumps(self._identity()),
        }
        tensors = plain(tensors)
        write(path, safetensors.torch.save(tensors, about | {"sha256": _digest(tensors, about)}))

    def load(self, path: str | Path) -> None:
        """Go on from a checkpoint of the same run: afterwards nothing differs from never having stopped."""
        data = read(path)
        try:
            tensors = parse(Path(path), data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            if int(header.get("format", 1)) > FORMAT:
                raise BadValue(
                    f"a newer distilkit wrote it (format {int(header['format'])}; this one reads {FORMAT}): upgrade"
                )
            identity = dict(json.loads(header["run"]))
            knobs = {name: _CHECKS[name](value) for name, value in json.loads(header["knobs"]).items()}
            history = [Step(**step) for step in json.loads(header["history"])]
            learned = {name: dict(state) for name, state in json.loads(header.get("learned", "{}")).items()}
            if header.pop("sha256") != _digest(tensors, header):
                raise BadValue("its bytes do not have the sha256 that it was saved with")
            numbers = all(type(value) in (int, float) for step in history for value in step)
            if not numbers or [step.step for step in history] != [*range(1, len(history) + 1)]:
                raise BadValue("its history is not one of steps 1, 2, …")
        except (BadFile, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise BadFile(f"{path} is not a whole checkpoint of distilkit: {shown(str(error), 120)}") from None
        own = self._identity()
        differing = [name for name in own if own[name] != identity.get(name)]
        if differing:
            name = differing[0]
            raise BadValue(
                f"{path} belongs to another run: its {name} is {identity.get(name)!r}, this one's is {own[name]!r}. "
                "Give another checkpoint path, or delete the file"
            )
        for name, knob in self.knobs.learning().items():
            if learned.get(name, {}).keys() != knob.state().keys():
                raise BadValue(f"{path} belongs to another run: there its {name} was not learned, or by another rule")
        self._check_tensors(path, tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, place, name = key.split(".", 2)
                state.setdefault(int(place), {})[name] = value
        with self._lock:
            for name, knob in self.knobs.learning().items():
                knob.restore(learned[name])
            self.student.load_state_dict(
                {key.removeprefix("student."): value for key, value in tensors.items() if key.startswith("student.")}
            )
            if self._hinting is not None:
                self._hinting.projections.load_state_dict(
                    {key.removeprefix("hints."): value for key, value in tensors.items() if key.startswith("hints.")}
                )
            self._optimizer.load_state_dict(
                {"state": state, "param_groups": self._optimizer.state_dict()["param_groups"]}
            )
            for name, number in knobs.items():
                if not callable(getattr(self.knobs, name)):
                    setattr(self.knobs, name, number)
            self.history[:] = history

    def _check_tensors(self, path: str | Path, tensors: dict[str, Tensor]) -> None:
        """Refuse a checkpoint that has not all of the student, and of the optimizer all or nothing a parameter."""
        must = {f"student.{name}": value.shape for name, value in self.student.state_dict().items()}
        if self._hinting is not None:
            must |= {f"hints.{name}": value.shape for name, value in self._hinting.projections.state_dict().items()}
        learning = [value for group in self._optimizer.param_groups for value in group["params"]]
        for place, value in enumerate(learning):
            moments = {"step": torch.Size(), "exp_avg": value.shape, "exp_avg_sq": value.shape}
            moments = {f"optimizer.{place}.{name}": shape for name, shape in moments.items()}
            if moments.keys() & tensors.keys():
                must |= moments
        found = {name: value.shape for name, value in tensors.items()}
        if found != must:
            name = min(name for name in found.keys() | must.keys() if found.get(name) != must.get(name))
            raise BadFile(
                f"{path} does not fit this run: {shown(name)} is {_shaped(found.get(name))} in the file, and here "
                f"{_shaped(must.get(name))}. Give another checkpoint path, or delete the file"
            )

    def _forget(self) -> None:
        """Hold none of the teacher's logits; a next step asks for them."""
        self._targets: Tensor | None = None  # on all of the transfer set, if they fit in memory
        self._layers: tuple[nn.Linear | None, nn.Linear | None] | None = None
        self._asked = not isinstance(self.teacher, nn.Module) or isinstance(self.transfer, StudentText)

    def _ask(self) -> None:
        """Score the whole transfer set once, if the teacher's logits fit in memory; else each step asks for its own."""
        assert isinstance(self.teacher, nn.Module)
        assert isinstance(self.transfer, Examples)
        size = 0
        if self.transfer.labels.ndim > 1:
            size = teacher_logits(self.teacher, self.transfer[:1]).nbytes * len(self.transfer)
        if size <= MOST_TARGETS:
            self._targets = teacher_logits(self.teacher, self.transfer).to(self._device)
        self._asked = True

    def _update(self) -> Step:
        number, learning = len(self.history), self.knobs.learning()
        if "temperature" in learning and isinstance(self.teacher, CachedTeacher):
            raise BadValue("a cached teacher knows one temperature alone: give a learned one the teacher itself")
        if number == 0:
            for knob in learning.values():
                knob.reset()
        with _OwnRandomness(self._own_seed(number), self._device) if self._draws else nullcontext() as randomness:
            knobs, parts = self._share(number)
            if not self.model.training:
                self.model.train()
            self._optimizer.zero_grad()
            sums, kept = [], []
            for part in parts:
                with self._taking(last=part is parts[-1]):
                    inputs, hint = part.batch.inputs.to(self._device), None
                    layer, _ = self._output_layers(part.batch)
                    logits: Tensor | Head
                    if layer is not None:
                        logits = _head(layer, states_for(layer, self.student, inputs))
                    elif self._hinting is None:
                        logits = logits_of(call(self.model, inputs))
                    else:
                        rows = None if isinstance(self.transfer, StudentText) else part.rows
                        logits, hint = self._hinting(self.student, part.batch, rows, self._device)
                    terms = [*self._terms(logits, part, knobs)]
                    if hint is not None:
                        terms = [terms[0] + hint, *terms[1:], hint]
                    self._backward(terms[0])
                sums.append(terms)
                if learning:
                    assert isinstance(logits, Tensor)
                    kept.append((logits.detach(), part))
            if randomness is not None:
                self._draws = randomness.was_drawn() or isinstance(self.transfer, StudentText)
        loss, soft, hard, *hints = self._total(sums)
        step = Step(number + 1, loss, soft, hard, **knobs, hint=sum(hints, 0.0))
        self._check(step)
        for group in self._optimizer.param_groups:
            group["lr"] = knobs["lr"]
        self._optimizer.step()
        self.history.append(step)

        def at(temperature: float) -> float:
            other = knobs | {"temperature": temperature, "alpha": 1.0}
            return self._total([[*self._terms(logits, part, other)] for logits, part in kept])[1]

        for knob in learning.values():
            knob.learn(step, at)
        return step

    def _share(self, number: int) -> tuple[dict[str, float], list[_Part]]:
        """The knobs of this step, and what this process learns from: all of its rows, or its share in parts.

        A mean over all is the sum of the parts' means, each weighed by how many of all positions are in it.
        """
        source, knobs, shared = self._source(number), self.knobs.at(number), self.accelerator
        rows = self._rows(number, len(source))
        if shared is None:
            return knobs, [self._draw(source, rows)]
        shared.sync_gradients = True  # off after a step that failed in the middle
        count = shared.gradient_accumulation_steps
        mine = rows.tensor_split(shared.num_processes * count)[shared.process_index * count :][:count]
        parts = [self._draw(source, each) for each in mine]
        counts = [_counted(part, self.divergence) for part in parts]
        first = knobs.values() if shared.is_main_process else [0.0] * len(knobs)  # its knobs hold for all
        sums = torch.tensor([*map(sum, zip(*counts, strict=True)), *first], dtype=torch.float64)
        soft, hard, *values = self._everywhere(sums)
        weighed = [
            part._replace(soft=own[0] / soft if soft else 1.0, hard=own[1] / hard if hard else 1.0)
            for part, own in zip(parts, counts, strict=True)
        ]
        return dict(zip(knobs, values, strict=True)), weighed

    def _terms(self, logits: Tensor | Head, part: _Part, knobs: dict[str, float]) -> tuple[Tensor, Tensor, Tensor]:
        """What a part adds to the step's loss and to its two terms."""
        if part.soft == part.hard == 1:
            return _loss(logits, part.targets, part.labels, knobs, self.divergence, self.hard)
        assert isinstance(logits, Tensor)
        if part.soft == 0:  # nothing counts here, in neither term; but all processes go back through their student
            nothing = logits.flatten()[:0].sum()
            return nothing, nothing, nothing
        soft, hard = knobs["alpha"] * part.soft, (1 - knobs["alpha"]) * part.hard
        if soft + hard:
            knobs = knobs | {"alpha": soft / (soft + hard)}
        terms = _loss(logits, part.targets, part.labels, knobs, self.divergence, self.hard)
        return (soft + hard) * terms[0], part.soft * terms[1], part.hard * terms[2]

    def _taking(self, *, last: bool) -> AbstractContextManager[None]:
        """Around a part: processes exchange gradients, and the optimizer heeds them, at the last one only."""
        if self.accelerator is None:
            return nullcontext()
        self.accelerator.sync_gradients = last
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def _backward(self, loss: Tensor) -> None:
        if self.accelerator is None:
            loss.backward()
        else:  # which takes means over processes and parts, where a sum is wanted
            self.accelerator.backward(
                loss * (self.accelerator.num_processes * self.accelerator.gradient_accumulation_steps)
            )

    def _total(self, parts: list[list[Tensor]]) -> list[float]:
        """The sums of what the parts of all processes add."""
        if self.accelerator is None:
            return [value.item() for value in parts[0]]
        return self._everywhere(torch.stack([torch.stack(terms).detach() for terms in parts]).sum(0))

    def _everywhere(self, values: Tensor) -> list[float]:
        """The sum of these numbers over all processes."""
        assert self.accelerator is not None
        if self.accelerator.num_processes > 1:
            values = self.accelerator.reduce(values.to(self._device, torch.float64), "sum")
        return values.tolist()

    def _check(self, step: Step) -> None:
        first = self.history[0].loss if self.history else step.loss
        if not step.loss < 1000 * (first + 10):  # false for nan, too
            raise Diverged(
                f"the run diverged at step {step.step}: its loss is {step.loss:.4g} (it was {first:.4g} at step 1). "
                f"The learning rate {step.lr:g} is probably too large: run.reset(), then a smaller knobs.lr"
            )

    def _source(self, number: int) -> Examples | StudentText:
        """What this step's rows are drawn from."""
        source = self.transfer
        if isinstance(source, StudentText) and not source.is_own(number):
            assert source.corpus is not None
            return source.corpus
        return source

    def _draw(self, source: Examples | StudentText, rows: Tensor) -> _Part:
        """These rows, and what the teacher says of them."""
        batch = source.draw(rows) if isinstance(source, StudentText) else source[rows]
        targets: Tensor | TopK | Head | None
        layers = self._output_layers(batch)
        if isinstance(self.teacher, CachedTeacher):
            targets = self.teacher.at(rows)
        elif self._targets is not None:
            targets = self._targets[rows]
        elif layers[1] is not None:
            assert isinstance(self.teacher, nn.Module)
            with evaluating(self.teacher):
                states = states_for(layers[1], self.teacher, batch.inputs.to(device_of(self.teacher)))
            targets = _head(layers[1], states, self._device)
        else:
            targets = None if self.teacher is None else teacher_logits(self.teacher, batch).to(self._device)
        return _Part(rows, batch, batch.labels.to(self._device), targets)

    def _output_layers(self, batch: Examples) -> tuple[nn.Linear | None, nn.Linear | None]:
        """The last layers of student and teacher, where the loss is to be computed from what they are given."""
        if self._layers is None:
            usual = self.accelerator is None and self._hinting is None and self.hard is None
            usual = usual and known(self.divergence) and batch.labels.ndim > 1
            student = output_layer(self.student, batch.inputs[:1].to(self._device)) if usual else None
            if student is None or student.out_features < VOCABULARY:
                self._layers = None, None
            else:
                teacher = None
                if isinstance(self.teacher, nn.Module) and self._targets is None:
                    teacher = output_layer(self.teacher, batch.inputs[:1].to(device_of(self.teacher)))
                self._layers = student, teacher
        return self._layers if not self.knobs.learning() else (None, None)

    def _rows(self, number: int, among: int) -> Tensor:
        """The rows of this step: a function of seed and step alone, so that nothing needs to be kept."""
        epoch, place = divmod(number, among // self.batch_size)
        if self._order[0] != (epoch, among):
            draw = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._order = ((epoch, among), torch.randperm(among, generator=draw))
        return self._order[1][place * self.batch_size : (place + 1) * self.batch_size]

    def _own_seed(self, number: int) -> int:
        """Of what a step draws; no two processes draw the same."""
        return self.seed + number + (0 if self.accelerator is None else self.accelerator.process_index << 40)

    def _prepare(self) -> None:
        """A fresh optimizer, and the student inside what the accelerator puts around it."""
        fused = self._device.type in ("cpu", "cuda")  # one kernel for all parameters: twice as fast on small models
        learning = [*self.student.parameters()]
        if self._hinting is not None:
            learning += self._hinting.projections.parameters()
        self.model: nn.Module = self.student
        self._optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            learning, weight_decay=self.weight_decay, fused=fused
        )
        if self.accelerator is not None:
            self.model, self._optimizer = self.accelerator.prepare(self.student, self._optimizer)

    def _release(self) -> None:
        """The student as it was given, nothing around it any more; but one that is in pieces stays so."""
        if self.accelerator is not None and not _in_pieces(self.accelerator):
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            self.accelerator.free_memory()
            vars(self.student).pop("_is_accelerate_prepared", None)
            self.model = self.student

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "examples": len(self.transfer),
            "tensors": {name: list(value.shape) for name, value in self._start.items()},
            "hints": None if self._hinting is None else self._hinting.identity(),
        }


def distill(
    student: nn.Module,
    teacher: nn.Module | CachedTeacher | None,
    transfer: Examples | StudentText | tuple[Tensor, Tensor] | torch.utils.data.Dataset[Any],
    *,
    knobs: Knobs | None = None,
    steps: int = 600,
    batch_size: int | None = None,
    divergence: Divergence = forward_kl,
    weight_decay: float = 0.0,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    save_every: int | None = None,
    hints: Hints | None = None,
    hard: HardLoss | None = None,
    accelerator: Accelerator | None = None,
) -> Run:
    """Distil: minimise ``alpha·T²·D(teacher / T, student / T) + (1 − alpha)·CE`` by Adam, one `Step` at a time.

    Nothing runs until the result is iterated. The teacher is asked in eval mode and never changed: once for the whole
    transfer set where its logits fit in memory, else at each step. From 32,768 words on, the loss of a language model
    is computed from its last hidden states (`linear_kd_loss`), where its logits are what the last layer makes of them.

    Args:
        student: any module that returns logits (or an output with `.logits`); trained in place.
        teacher: likewise, or its answers from `cache_teacher`; None trains on the labels alone (the twin) and needs
            alpha 0, which is then the default.
        transfer: `Examples`, a pair (inputs, labels), or a Dataset of such pairs; a label of −1 means unlabelled.
            `teacher_text` and `student_text` make them of what the teacher or the student writes.
        knobs: temperature, alpha and lr, read at every step.
        steps: updates in all.
        batch_size: examples a step; default 64, or as many as make 1,024 tokens, or all of a smaller set.
        divergence: how the student is compared with the teacher.
        weight_decay: of AdamW; 0 is Adam.
        seed: the order of the examples, and dropout. The same seed gives the same history, bit for bit.
        device: "cpu", "cuda", "cuda:1", "mps": the student moves there; default where it is.
        checkpoint: a file to go on from if it exists; written at the end and by `run.save()`.
        save_every: steps after which the checkpoint is written, too.
        hints: `Hints`, of what the student shall also learn from inside the teacher: hidden states, attention.
        hard: the loss on the labels where it is not cross-entropy, ``f(student_logits, labels)``: `ctc_loss` of speech.
        accelerator: an `accelerate.Accelerator`: its processes share each step's batch, each takes its share in
            `gradient_accumulation_steps` parts, in its precision; loss and gradient are those of one process with the
            whole batch. The knobs of the first process hold. Dropout draws anew in each process, BatchNorm sees one
            part at a time, and a divergence that compares positions with each other (`weighted`) those of one part.

    Raises:
        BadValue, BadType: impossible arguments, at once. Diverged: while running, when the loss leaves all bounds.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits(labelled=100)
    >>> run = dk.distill(task.student(), task.teacher(), task.transfer, steps=3)
    >>> [step.step for step in run], run.done
    ([1, 2, 3], True)
    """
    for name, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, nn.Module) and not (name == "teacher" and isinstance(model, CachedTeacher | None)):
            raise BadType(f"the {name} must be a torch.nn.Module, got {type(model).__name__}")
    if student is teacher:
        raise BadValue("student and teacher are the same module: the student would change its own teacher")
    examples = transfer if isinstance(transfer, StudentText) else as_examples(transfer)
    if not len(examples):
        raise BadValue("the transfer set is empty: there is nothing to learn from")
    if isinstance(examples, StudentText) and examples.student is not student:
        raise BadValue("the text is another student's: give student_text the student that is trained")
    if isinstance(teacher, CachedTeacher):
        if isinstance(examples, StudentText):
            raise BadValue(
                "the cached teacher was never asked about what the student will write: give the teacher itself"
            )
        teacher.check(examples)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    if save_every is not None:
        save_every = whole("save_every", save_every, 1, 10**9, "steps from one checkpoint to the next")
        if checkpoint is None:
            raise BadValue(f"save_every is {save_every}, and there is no file: give checkpoint='run.safetensors', too")
    place = None if device is None else find_device(device)
    batch_size = (
        usual_batch_size(examples)
        if batch_size is None
        else whole("batch_size", batch_size, 1, _smallest(examples), "at most the number of examples")
    )
    if accelerator is not None:
        _check_accelerator(accelerator, batch_size, device=device, hints=hints, checkpoint=checkpoint)
    return Run(
        student if place is None else student.to(place),
        teacher,
        examples,
        knobs=knobs if knobs is not None else Knobs() if teacher is not None else Knobs(alpha=0),
        steps=whole("steps", steps, 1, 10**9, "one step is one update of the student"),
        batch_size=batch_size,
        divergence=divergence,
        weight_decay=real("weight_decay", weight_decay, 0, 10, "0 is Adam, 0.1 is usual for language models"),
        seed=whole("seed", seed, 0, 2**63 - 1, "the order of the examples, and dropout"),
        checkpoint=checkpoint,
        save_every=save_every,
        hints=hints,
        hard=hard,
        accelerator=accelerator,
    )


def _check_accelerator(accelerator: object, batch_size: int, *, checkpoint: Path | None, **others: object) -> None:
    """Refuse what is no accelerator, and what does not go together with one."""
    try:
        from accelerate import Accelerator
    except ImportError:
        raise BadValue("accelerate is missing: pip install 'distilkit[own]' first") from None
    if not isinstance(accelerator, Accelerator):
        raise BadType(f"accelerator must be an accelerate.Accelerator(), got {shown(accelerator)}")
    for name, value in others.items():
        if value is not None:
            raise BadValue(
                f"{name} and accelerator exclude each other: "
                + ("the accelerator places the student" if name == "device" else "hints are learnt in one process")
            )
    processes, parts = accelerator.num_processes, accelerator.gradient_accumulation_steps
    if batch_size < processes * parts:
        raise BadValue(
            f"batch_size is {batch_size}, and {processes} processes with {parts} parts each share it (an Accelerator's "
            f"gradient_accumulation_steps): give batch_size={processes * parts} or more"
        )
    if checkpoint is not None and _in_pieces(accelerator):
        raise BadValue(
            f"with {accelerator.distributed_type.value} a student lies in pieces, which a checkpoint of one file does "
            "not hold: leave checkpoint out, and call accelerator.save_state(folder) between the steps"
        )


def _in_pieces(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the student alone."""
    return accelerator.distributed_type.value in ("FSDP", "DEEPSPEED", "MEGATRON_LM")


def _counted(part: _Part, divergence: Divergence) -> tuple[int, int]:
    """How many positions of a part count in the soft term, and in the hard one."""
    known, soft = part.labels >= 0, part.labels != IGNORED
    assert not isinstance(part.targets, Head)
    if part.targets is not None:
        said = part.targets.log_probs if isinstance(part.targets, TopK) else part.targets
        if wants_labels(divergence):
            soft = known
        if said.shape[:-1] == soft.shape:  # the loss refuses others, and says why
            soft = soft & (said.amax(-1) > -torch.inf).to(soft.device)
    return int(soft.sum()), int(known.sum())


def _head(layer: nn.Linear, states: Tensor, device: torch.device | None = None) -> Head:
    """The layer, and what it is given, as the loss from hidden states takes them; on this device."""
    return Head(
        *(each if each is None or device is None else each.to(device) for each in (states, layer.weight, layer.bias))
    )


def _loss(
    logits: Tensor | Head,
    targets: Tensor | TopK | Head | None,
    labels: Tensor,
    knobs: dict[str, float],
    divergence: Divergence,
    hard_loss: HardLoss | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and its two terms: as `kd_loss`, also for a teacher of whom only the top-k and the tail are known."""
    if hard_loss is not None:  # it alone knows what the labels mean: to the soft term a position counts, or it does not
        _, soft, _ = _loss(logits, targets, labels.where(labels == IGNORED, UNLABELLED), knobs, divergence)
        assert isinstance(logits, Tensor)
        hard = hard_loss(logits, labels)
        return weigh(soft, hard, alpha=knobs["alpha"], temperature=knobs["temperature"]), soft, hard
    alpha, temperature = knobs["alpha"], knobs["temperature"]
    if targets is None and alpha > 0:
        raise BadValue(f"alpha is {alpha:g} and there is no teacher: give one, or Knobs(alpha=0)")
    weights = alpha * temperature**2, 1 - alpha
    if isinstance(logits, Head):
        soft, hard = linear_kd_terms(
            logits, targets, labels, temperature=temperature, divergence=divergence, weights=weights
        )
        return weigh(soft, hard, alpha=alpha, temperature=temperature), soft, hard
    assert not isinstance(targets, Head)
    if isinstance(targets, TopK):
        counted = labels != IGNORED
        given = {"labels": targets.find(labels)} if wants_labels(divergence) else {}
        student, teacher = targets.lump(logits, temperature)
        soft = divergence(student, teacher, mask=None if counted.all() else counted, **given)
        if temperature == 1:  # the lump has summed over all classes already
            known = labels >= 0
            own = logits.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            hard = (student.logsumexp(-1) - own).masked_fill(~known, 0).sum() / known.sum().clamp(min=1)
        else:
            hard, _, _ = _loss(logits, None, labels, knobs | {"alpha": 0}, divergence)
    else:
        soft, hard = kd_terms(logits, targets, labels, temperature=temperature, divergence=divergence, weights=weights)
    return weigh(soft, hard, alpha=alpha, temperature=temperature), soft, hard


def usual_batch_size(transfer: Examples | StudentText) -> int:
    """64 examples, or as many as make 1,024 tokens, or all of a smaller set."""
    if isinstance(transfer, StudentText):
        each = transfer.prompts.shape[1] + transfer.length
    else:
        each = transfer.labels.shape[1] if transfer.labels.ndim > 1 else TOKENS // 64
    return min(_smallest(transfer), max(1, TOKENS // each))


def _smallest(transfer: Examples | StudentText) -> int:
    """The size of the smallest set that a batch is drawn from."""
    corpus = transfer.corpus if isinstance(transfer, StudentText) else None
    return len(transfer) if corpus is None else min(len(transfer), len(corpus))


def _shaped(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(tuple(shape))


def _digest(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    """The sha256 of a checkpoint's content: safetensors itself notices no flipped bit."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(name.encode() + value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class _OwnRandomness:
    """Draw from generators seeded for this block alone, so that a step is the same whatever ran before it.

    `torch.random.fork_rng` does the same at ten times the cost, which a small model feels.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        cuda = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
        self.seed, self.generators = seed % 2**63, [torch.default_generator, *cuda]

    def __enter__(self) -> _OwnRandomness:
        self.before = [generator.get_state() for generator in self.generators]
        for generator in self.generators:
            generator.manual_seed(self.seed)
        self.seeded = [generator.get_state() for generator in self.generators]
        return self

    def was_drawn(self) -> bool:
        now = [generator.get_state() for generator in self.generators]
        return not all(torch.equal(state, seeded) for state, seeded in zip(now, self.seeded, strict=True))

    def __exit__(self, *error: object) -> None:
        for generator, state in zip(self.generators, self.before, strict=True):
            generator.set_state(state)


class _Uninterrupted:
    """Hold Ctrl-C back until the block is through (only the main thread receives it)."""

    def __init__(self) -> None:
        self.caught: list[tuple[Any, ...]] = []
        self.handler: Any = None

    def _hold(self, *received: Any) -> None:
        self.caught.append(received)

    def __enter__(self) -> None:
        if threading.get_ident() == threading.main_thread().ident:
            self.handler = _signal.signal(_signal.SIGINT, self._hold)

    def __exit__(self, *error: object) -> None:
        if self.handler is not None:
            handler, caught = self.handler, self.caught
            self.handler, self.caught = None, []
            _signal.signal(_signal.SIGINT, handler)
            if caught and callable(handler):
                handler(*caught[0])
