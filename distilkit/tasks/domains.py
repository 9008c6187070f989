"""Four domains and one teacher that knows them all: documentation, a shop's support, arithmetic, translation.

The documentation is that of `distilkit.tasks.docs`; the others are generated, each from a seed alone.

    python -m distilkit.tasks domains      generate them anew, train tokenizer and teacher, into data/domains
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from distilkit import metrics
from distilkit.errors import BadType, BadValue, choice, real, shown, whole
from distilkit.models import data_path, predict, read_checked, write
from distilkit.origin import remembered
from distilkit.pretrained import find_tokenizer
from distilkit.tasks.arithmetic import is_held_out
from distilkit.tasks.phrases import translations
from distilkit.tasks.sums import worked_problems
from distilkit.tasks.support import conversations
from distilkit.tasks.text import CONTEXT, Text, stream, task_of
from distilkit.transfer import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DOMAINS = ("docs", "support", "arithmetic", "translation")
FOLDER = "domains"
VOCABULARY = 1500
TEXTS = {"support": 2400, "arithmetic": 4800, "translation": 7500}  # how many are generated, about 0.7 MB each
JUDGED = 24  # blocks of each domain, on which a model is asked about it
EVEN = dict.fromkeys(DOMAINS, 1 / len(DOMAINS))


@dataclass(frozen=True, eq=False)
class Domains:
    """Texts of four domains to distil on, in the tokens of one tokenizer.

    Attributes:
        texts: each domain's `Text`, with its train, transfer and test blocks; `task["docs"]` is one of them.
        train, transfer: `labelled` tokens, as many of each domain.
        tokenizer: a Hugging Face tokenizer, the teacher's and the student's; each digit is a token.
        labelled, seed: how many tokens a transfer set has, and which draw of them.
    """

    texts: Mapping[str, Text]
    train: Examples
    transfer: Examples
    tokenizer: PreTrainedTokenizerBase
    labelled: int
    seed: int

    @remembered
    def __getitem__(self, domain: str) -> Text:
        return self.texts[choice("domain", domain, self.texts)]

    @remembered
    def mixture(self, shares: Mapping[str, float], tokens: int | None = None) -> Examples:
        """A transfer set of several domains: of each the first blocks of its draw, so that its share is what is said.

        Args:
            shares: what part of the tokens each domain has; they sum to 1, and a domain left out has none.
            tokens: how many in all; default, as many as the task has.

        >>> task = domains(tokens=12_800)
        >>> len(task.mixture({"docs": 0.9, "support": 0.1}))
        100
        """
        if not isinstance(shares, Mapping) or not shares:
            raise BadType(f"shares must say each domain's part, {{'docs': 0.9, 'support': 0.1}}, got {shown(shares)}")
        for domain, share in shares.items():
            choice("domain", domain, self.texts)
            real(f"the share of {domain}", share, 0, 1, "a part of the tokens")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise BadValue(f"the shares sum to {sum(shares.values()):g}, and all tokens are 1: {dict(shares)}")
        context = self.train.inputs.shape[1]
        least = context * len(shares)
        tokens = whole("tokens", self.labelled if tokens is None else tokens, least, 10**9, "a block of each domain")
        parts = []
        for domain, share in shares.items():
            if count := round(share * tokens / context):
                parts.append(self.texts[domain].relabelled(count * context, self.seed).train)
        inputs, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "labels"))
        return Examples(inputs, labels)

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Domains:
        """The same domains, and other parts of their texts to learn from: what a sweep over seeds needs."""
        texts = {name: text.relabelled(labelled, seed) for name, text in self.texts.items()}
        return _of(texts, labelled, seed)

    @remembered
    def teacher(self) -> PreTrainedModel:
        """The shipped teacher, which has read all four: see data/README.md."""
        return self.texts[DOMAINS[0]].teacher()

    @remembered
    def student(self, seed: int = 0, *, layers: int = 2, width: int = 64) -> PreTrainedModel:
        """A fresh student, a Llama of `layers` layers of `width`, initialised from `seed` alone."""
        return self.texts[DOMAINS[0]].student(seed, layers=layers, width=width)

    def score(self, model: nn.Module) -> dict[str, float]:
        """Quality on each domain's held-out text, JUDGED blocks of it: the mean loss of a token, in nats."""
        tests = {name: _judged(text.test) for name, text in self.texts.items()}
        return {name: metrics.nll(predict(model, test.inputs), test.labels) for name, test in tests.items()}

    def judge(self, model: nn.Module, teacher: nn.Module) -> dict[str, float]:
        """Quality, fidelity and calibration on each domain's held-out text, JUDGED blocks of it.

        Returns:
            for each domain, as "docs_nll": nll, the mean loss of a token in nats; bits_per_byte, the same for a byte;
            kl, the mean KL to the teacher in nats; confidence, the mean probability of the likeliest token; accuracy,
            how often that one came; ece, their distance over ten bins.
        """
        found: dict[str, float] = {}
        for name, text in self.texts.items():
            test = _judged(text.test)
            logits, answers = predict(model, test.inputs), _answers(teacher, text.test)
            table = metrics.reliability(logits, test.labels)
            weights = table["count"] / table["count"].sum()
            found |= {
                f"{name}_nll": (nll := metrics.nll(logits, test.labels)),
                f"{name}_bits_per_byte": metrics.bits_per_byte(nll, text.bytes_per_token),
                f"{name}_kl": metrics.mean_kl(logits, answers),
                f"{name}_confidence": float((weights * table["confidence"]).sum()),
                f"{name}_accuracy": float((weights * table["accuracy"]).sum()),
                f"{name}_ece": float((weights * (table["accuracy"] - table["confidence"]).abs()).sum()),
            }
        return found

    def encode(self, text: str) -> torch.Tensor:
        """The tokens of a text, (1, n)."""
        return self.texts[DOMAINS[0]].encode(text)

    def decode(self, tokens: torch.Tensor) -> str:
        """The text of tokens, (n,)."""
        return self.texts[DOMAINS[0]].decode(tokens)


@remembered
def domains(tokens: int = 20_000, seed: int = 0, *, context: int = CONTEXT) -> Domains:
    """Four domains, a teacher that knows them all, and `tokens` tokens of each for a student to learn from.

    Args:
        tokens: how much text a transfer set has, of one domain or of several.
        seed: which parts of the texts.
        context: how many tokens the models see at once.

    >>> task = domains(tokens=20_000)
    >>> list(task.texts)
    ['docs', 'support', 'arithmetic', 'translation']
    """
    folder = data_path(FOLDER)
    streams = safetensors.torch.load(read_checked(folder / "tokens.safetensors"))
    tokenizer = find_tokenizer(folder / "teacher")
    how: dict[str, Any] = {"tokens": tokens, "seed": seed, "context": context}
    texts = {}
    for name in DOMAINS:
        pool, rest = streams[f"{name}.pool"].long(), streams[f"{name}.held_out"].long()
        said = int(streams[f"{name}.held_out_bytes"])
        texts[name] = task_of(pool, rest, said, tokenizer, folder / "teacher", **how)
    return _of(texts, tokens, seed)


def _of(texts: Mapping[str, Text], labelled: int, seed: int) -> Domains:
    first = texts[DOMAINS[0]]
    bare = Domains(texts, first.train, first.train, first.tokenizer, labelled, seed)
    even = bare.mixture(EVEN)
    return Domains(texts, even, even, first.tokenizer, labelled, seed)


def _judged(test: Examples) -> Examples:
    """JUDGED blocks, evenly spread."""
    return test[torch.linspace(0, len(test) - 1, min(len(test), JUDGED)).long()]


@functools.lru_cache(maxsize=len(DOMAINS))
def _answers(teacher: nn.Module, test: Examples) -> torch.Tensor:
    """The teacher's logits on held-out text: the same for each student that is judged."""
    return predict(teacher, _judged(test).inputs)


def corpus() -> dict[str, tuple[list[str], list[str]]]:
    """Of each domain the texts to learn from, and those held out: no text is in both."""
    docs = pd.read_parquet(data_path("docs/corpus.parquet"))
    problems = [worked_problems(TEXTS["arithmetic"] * part // 10, held_out=part == 1) for part in (9, 1)]
    pairs = [f"English: {english}\nFrench: {french}" for english, french in translations(TEXTS["translation"])]
    return {
        "docs": (docs["text"][~docs["held_out"]].tolist(), docs["text"][docs["held_out"]].tolist()),
        "support": _split(conversations(TEXTS["support"])),
        "arithmetic": (problems[0], problems[1]),
        "translation": _split(pairs),
    }


def write_tokens(texts: Mapping[str, tuple[list[str], list[str]]], folder: Path) -> None:
    """The texts in the tokenizer's tokens, so that no reader has to wait for it: ``tokens.safetensors``."""
    tokenizer = find_tokenizer(folder / "teacher")
    streams: dict[str, torch.Tensor] = {}
    for name, (pool, held_out) in texts.items():
        streams |= {f"{name}.pool": stream(pool, tokenizer).short()}
        streams |= {f"{name}.held_out": stream(held_out, tokenizer).short()}
        streams |= {f"{name}.held_out_bytes": torch.tensor(sum(len(text.encode()) for text in held_out))}
    data = safetensors.torch.save(streams)
    write(folder / "tokens.safetensors", data)
    write(folder / "tokens.safetensors.sha256", f"{hashlib.sha256(data).hexdigest()}  tokens.safetensors\n".encode())


def _split(texts: list[str]) -> tuple[list[str], list[str]]:
    """Texts to learn from, and one in ten held out, by its hash."""
    return [text for text in texts if not is_held_out(text)], [text for text in texts if is_held_out(text)]
