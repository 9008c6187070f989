"""Whose text: what the student learns on (images, audio and token sequences alike), and what the teacher says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.errors import BadType, BadValue, real, shown, whole
from distilkit.models import Inputs, evaluating, logits_of, predict
from distilkit.origin import remembered


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and labels, row by row; a label of −1 marks what is unlabelled, −100 what is not to be learnt.

    Args:
        inputs: (n, ...), what a model takes; tokens are (n, time); `Inputs` for a model that takes several by name.
        labels: (n,), whole numbers; (n, time) for tokens: at each position the token that comes next.

    >>> some = Examples(torch.zeros(3, 64), torch.tensor([7, -1, 2]))
    >>> len(some), len(some.labelled), (some[1:] + some[:1]).labels.tolist()
    (3, 2, [-1, 2, 7])
    """

    inputs: Any  # Tensor | Inputs
    labels: Tensor

    def __post_init__(self) -> None:
        named = isinstance(self.inputs, Inputs)
        for name, value in (("labels", self.labels),) if named else (("inputs", self.inputs), ("labels", self.labels)):
            if not isinstance(value, Tensor):
                raise BadType(f"{name} must be a tensor, got {type(value).__name__}")
        if self.labels.ndim == 0 or len(self.inputs) != len(self.labels) or self._has_other_tokens():
            shape = self.inputs if named else tuple(self.inputs.shape)
            raise BadValue(
                f"inputs {shape} and labels {tuple(self.labels.shape)} must have one row an example"
                " (and one label a token, where there are tokens)"
            )

    def _has_other_tokens(self) -> bool:
        tokens = isinstance(self.inputs, Tensor) and self.inputs.ndim == 2 and not self.inputs.is_floating_point()
        return tokens and self.labels.ndim > 1 and self.inputs.shape != self.labels.shape

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | Tensor) -> Examples:
        return Examples(self.inputs[rows], self.labels[rows])

    def __add__(self, other: Examples) -> Examples:
        """The rows of both, one after the other."""
        first, second = self.inputs, other.inputs
        inputs: Any
        if isinstance(first, Inputs):
            inputs = Inputs(**{name: torch.cat([rows, second[name]]) for name, rows in dict(first).items()})
        else:
            inputs = torch.cat([first, second])
        return Examples(inputs, torch.cat([self.labels, other.labels]))

    @property
    def labelled(self) -> Examples:
        """The rows that have a label."""
        return self[(self.labels >= 0).flatten(1).any(1) if self.labels.ndim > 1 else self.labels >= 0]

    @property
    def unlabelled(self) -> Examples:
        """The same rows, every label hidden."""
        return Examples(self.inputs, torch.full_like(self.labels, UNLABELLED))


@dataclass(frozen=True, eq=False)
class StudentText:
    """Text that the student writes while it learns: see `student_text`."""

    student: nn.Module
    prompts: Tensor  # (n, time)
    length: int
    sampling_temperature: float
    on_policy_fraction: float
    corpus: Examples | None
    end: int | None

    def __len__(self) -> int:
        return len(self.prompts)

    def is_own(self, step: int) -> bool:
        """Whether this step's text (0, 1, …) is the student's own: a share `on_policy_fraction`, evenly spread."""
        before, after = (int(steps * self.on_policy_fraction + 0.5) for steps in (step, step + 1))
        return after > before

    def draw(self, rows: Tensor) -> Examples:
        """What the student now writes after these prompts. Its tokens are no labels: only the teacher judges them."""
        tokens = complete(
            self.student, self.prompts[rows], length=self.length, sampling_temperature=self.sampling_temperature
        )
        written = _as_written(tokens, self.prompts.shape[1], self.end)
        return Examples(written.inputs, written.labels.where(written.labels == IGNORED, UNLABELLED))


@remembered
def teacher_text(
    teacher: nn.Module,
    prompts: Tensor,
    *,
    length: int = 48,
    sampling_temperature: float = 1.0,
    beams: int = 1,
    end: int | None = None,
    seed: int = 0,
) -> Examples:
    """Text that the teacher writes after each prompt, as a transfer set: sequence-level distillation.

    Args:
        teacher: a Hugging Face causal language model, an `Endpoint`, or a module that returns logits (n, time, words).
        prompts: tokens, (n, time).
        length: how many tokens it writes.
        sampling_temperature: 1 samples from the teacher as it is, 0 takes the likeliest token each time (greedy).
        beams: more than 1 searches for the likeliest text by beam search; needs sampling_temperature 0.
        end: the token that ends a text, if one does: what would follow it is not learnt.
        seed: of the sampling.

    Returns:
        `Examples` of (n, time + length − 1) tokens; the labels of the prompt are −100.

    Source: Kim & Rush 2016, arXiv:1606.07947.
    """
    if (writes := getattr(teacher, "teacher_text", None)) is not None:  # an endpoint, which writes whole texts
        return writes(prompts, length=length, sampling_temperature=sampling_temperature)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole("seed", seed, 0, 2**63 - 1, "of the sampling"))
        parts = [
            complete(teacher, part, length=length, sampling_temperature=sampling_temperature, beams=beams)
            for part in _check_prompts(prompts).split(max(1, 64 // whole("beams", beams, 1, 64, "1 is no beam search")))
        ]
    return _as_written(torch.cat(parts), prompts.shape[1], _check_end(end))


@remembered
def student_text(
    student: nn.Module,
    prompts: Tensor,
    *,
    length: int = 48,
    sampling_temperature: float = 1.0,
    on_policy_fraction: float = 1.0,
    corpus: Examples | None = None,
    end: int | None = None,
) -> StudentText:
    """Text that the student itself writes, anew at each step of `distill`: on-policy distillation.

    The student learns to go on from its own mistakes: the teacher says at each of its tokens what should come next.
    There are no labels on this text, so the hard term is 0 there.

    Args:
        student: the one that is trained.
        prompts: tokens, (n, time).
        length: how many tokens it writes.
        sampling_temperature: 0 takes the likeliest token each time.
        on_policy_fraction: the share of steps on the student's text; the others are on `corpus`.
        corpus: `Examples`, needed where the fraction is below 1.
        end: the token that ends a text, if one does: what would follow it is not learnt.

    Sources: Agarwal et al. 2023 (GKD), arXiv:2306.13649; Gu et al. 2023 (MiniLLM), arXiv:2306.08543.
    """
    fraction = real("on_policy_fraction", on_policy_fraction, 0, 1, "the share of steps on the student's own text")
    if fraction < 1 and corpus is None:
        raise BadValue(f"on_policy_fraction is {fraction:g}: give the corpus of the other steps, corpus=task.train")
    return StudentText(
        student,
        _check_prompts(prompts),
        whole("length", length, 1, 1 << 16, "how many tokens the student writes"),
        real("sampling_temperature", sampling_temperature, 0, 100, "0 takes the likeliest token"),
        fraction,
        None if corpus is None else as_examples(corpus),
        _check_end(end),
    )


@torch.no_grad()
def complete(
    model: nn.Module, prompts: Tensor, *, length: int, sampling_temperature: float = 1.0, beams: int = 1
) -> Tensor:
    """The prompts and the `length` tokens that the model writes after each, (n, time + length). Draws from torch's RNG.

    With Hugging Face's `generate` where the model has it, else token by token.
    """
    length = whole("length", length, 1, 1 << 16, "how many tokens are written")
    temperature = real("sampling_temperature", sampling_temperature, 0, 100, "0 takes the likeliest token")
    beams = whole("beams", beams, 1, 64, "1 is no beam search")
    prompts = _check_prompts(prompts)
    if beams > 1 and temperature > 0:
        raise BadValue(f"beams is {beams}, which searches for the likeliest text: that needs sampling_temperature=0")
    device = next((parameter.device for parameter in model.parameters()), prompts.device)
    tokens = prompts.to(device)
    with evaluating(model):
        if hasattr(model, "generate"):
            return _generate(model, tokens, length, temperature, beams).to(prompts.device)
        if beams > 1:
            raise BadType(f"beam search needs a Hugging Face model, got {type(model).__name__}")
        for _ in range(length):
            last = logits_of(model(tokens))[:, -1]
            chosen = torch.multinomial((last / temperature).softmax(-1), 1) if temperature else last.argmax(-1, True)
            tokens = torch.cat([tokens, chosen], 1)
    return tokens.to(prompts.device)


def _generate(model: Any, tokens: Tensor, length: int, temperature: float, beams: int) -> Tensor:
    """Hugging Face's `generate`, without what the model's own configuration would change about its distribution."""
    from transformers import GenerationConfig

    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        return model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=length,
            min_new_tokens=length,
            num_beams=beams,
            eos_token_id=None,
            pad_token_id=0,
            **how,
        )
    finally:
        model.generation_config = own


def _as_written(tokens: Tensor, prompt: int, end: int | None) -> Examples:
    """Written tokens as examples: each position's label is the next token, but not in the prompt nor after the end."""
    inputs, labels = tokens[:, :-1], tokens[:, 1:].clone()
    labels[:, : prompt - 1] = IGNORED
    if end is not None:
        over = (labels == end).cumsum(1) - (labels == end).long() > 0
        labels[over] = IGNORED
    return Examples(inputs.contiguous(), labels)


def _check_end(end: int | None) -> int | None:
    return None if end is None else whole("end", end, 0, 1 << 31, "the token that ends a text")


def _check_prompts(prompts: Tensor) -> Tensor:
    if not isinstance(prompts, Tensor) or prompts.ndim != 2 or prompts.dtype not in (torch.int64, torch.int32):
        raise BadType(f"prompts must be tokens, whole numbers (n, time), got {shown(prompts)}: task.prompts(64)")
    if not prompts.numel():
        raise BadValue("there are no prompts, or they are empty: a text needs one token to begin with")
    return prompts


def as_examples(transfer: object) -> Examples:
    """Take `Examples`, a pair (inputs, labels), or a torch `Dataset` of such pairs."""
    if isinstance(transfer, Examples):
        return transfer
    if isinstance(transfer, tuple) and len(transfer) == 2:
        return Examples(*transfer)
    if isinstance(transfer, torch.utils.data.Dataset) and hasattr(transfer, "__len__"):
        rows = [transfer[row] for row in range(len(transfer))]
        return Examples(torch.stack([row[0] for row in rows]), torch.tensor([int(row[1]) for row in rows]))
    raise BadType(
        f"a transfer set or corpus must be Examples, (inputs, labels) or a Dataset of pairs, got {shown(transfer)}"
    )


def teacher_logits(teacher: nn.Module, examples: Examples) -> Tensor:
    """The teacher's logits on every example, (n, classes), computed once; a nan or +inf among them is refused."""
    logits = predict(teacher, examples.inputs)
    bad = ~(logits.amax(-1) < torch.inf)  # in one pass: a nan is the largest, too
    if bad.any():
        place = tuple(bad.nonzero()[0].tolist())
        raise BadValue(
            f"the teacher's logits on row {place[0]} of the transfer set are not finite: "
            f"{shown(logits[place].tolist())}"
        )
    return logits
