"""Text to distil language models on: your own file or folder, or Python's documentation (`distilkit.tasks.docs`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from distilkit import metrics
from distilkit.errors import BadFile, BadValue, shown, whole
from distilkit.hub import fetch
from distilkit.models import data_path, predict, read
from distilkit.origin import remembered
from distilkit.pretrained import find_tokenizer, language_model
from distilkit.transfer import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEACHER = "docs/teacher"
CONTEXT = 128  # tokens that the models see at once
END = "<|endoftext|>"
HELD_OUT = 0.1  # of a text of your own
TESTS = 256  # blocks, evenly spread over the held-out text
SUFFIXES = (".txt", ".md", ".rst", ".py")


@dataclass(frozen=True, eq=False)
class Text:
    """Text to distil on, as blocks of `context` tokens; the label of a position is the token that comes next.

    Attributes:
        train: the blocks the student has.
        transfer: the same; `teacher_text` and `student_text` make others.
        test: held-out text, which neither teacher nor student ever learns from.
        bytes_per_token: of the test text.
        tokenizer: a Hugging Face tokenizer, the teacher's and the student's.
        labelled, seed: how many tokens the student has, and which draw of them.
    """

    train: Examples
    transfer: Examples
    test: Examples
    bytes_per_token: float
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    pool: Tensor  # every token that is not held out, in one row
    held_out: Tensor  # every token that is
    labelled: int
    seed: int

    @remembered
    def teacher(self) -> PreTrainedModel:
        """The teacher of the task's folder: a Hugging Face causal language model in eval mode."""
        return language_model(self.folder, tokenizer=self.tokenizer)[0]

    @remembered
    def student(self, seed: int = 0, *, layers: int = 2, width: int = 64) -> PreTrainedModel:
        """A fresh student, a Llama of `layers` layers of `width`, initialised from `seed` alone."""
        return llama(len(self.tokenizer), layers=layers, width=width, seed=seed)

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Text:
        """The same text, and `labelled` tokens of another part of it to learn from: what a sweep over seeds needs."""
        train = _draw(self.pool, labelled, seed, self.train.inputs.shape[1])
        return replace(self, train=train, transfer=train, labelled=labelled, seed=seed)

    def score(self, model: nn.Module) -> dict[str, float]:
        """Quality on the held-out text: perplexity a token, bits a byte, and the share of tokens guessed right."""
        parts = []
        for inputs, labels in zip(self.test.inputs.split(16), self.test.labels.split(16), strict=True):
            logits = predict(model, inputs)  # never all at once: a token's logits are as many as there are words
            parts.append((len(labels), metrics.nll(logits, labels), metrics.accuracy(logits, labels)))
        count, nll, accuracy = np.array(parts).T
        nll = float(np.average(nll, weights=count))
        return {
            "perplexity": math.exp(nll),
            "bits_per_byte": metrics.bits_per_byte(nll, self.bytes_per_token),
            "accuracy": float(np.average(accuracy, weights=count)),
        }

    @remembered
    def prompts(self, count: int = 64, *, length: int = 16, seed: int = 0) -> Tensor:
        """The first `length` tokens at `count` places of the text that is not held out, (count, length)."""
        count = whole("count", count, 1, 1 << 20, "how many prompts")
        length = whole("length", length, 1, len(self.pool), "how many tokens a prompt has")
        places = np.random.default_rng([self.seed, 4, seed]).integers(0, len(self.pool) - length + 1, count)
        return self.pool[torch.from_numpy(places)[:, None] + torch.arange(length)]

    def encode(self, text: str) -> Tensor:
        """The tokens of a text, (1, n)."""
        return torch.tensor([self.tokenizer(text)["input_ids"]], dtype=torch.long)

    def decode(self, tokens: Tensor) -> str:
        """The text of tokens, (n,)."""
        return str(self.tokenizer.decode(tokens.tolist()))


def llama(
    vocabulary: int, *, layers: int, width: int, seed: int, context: int = 1024, end: int = 0, **more: Any
) -> PreTrainedModel:
    """A Llama with heads of 32, initialised from `seed` alone; token `end` begins and ends a text."""
    seed = whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same student")
    layers = whole("layers", layers, 1, 64, "the number of layers")
    width = whole("width", width, 32, 4096, "a multiple of 32, the width of a head")
    if width % 32:
        raise BadValue(f"width must be a multiple of 32, the width of a head, got {width}")

    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        **more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train_digit_tokenizer(texts: Sequence[str], folder: Path, vocabulary: int) -> None:
    """A byte-level BPE tokenizer with a token for each digit, written to `folder` in Hugging Face's format."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, bos_token=END).save_pretrained(folder)


@remembered
def text(
    path: str | Path,
    *,
    tokens: int = 20_000,
    seed: int = 0,
    context: int = CONTEXT,
    teacher: str | Path | None = None,
) -> Text:
    """A text of your own: a file, or a folder of files (``.txt``, ``.md``, ``.py``, ``.rst``), in UTF-8.

    Args:
        path: the file or folder; one file in ten (or the last tenth of a single file) is held out for the test.
        tokens: how much of it the student has to learn from.
        seed: which part.
        context: how many tokens the models see at once.
        teacher: a causal language model in Hugging Face's format, its folder or hub id; default, the shipped one.

    Raises:
        BadFile: nothing there to read, or not UTF-8. BadValue: too short a text for these numbers.
    """
    texts = list(dict.fromkeys(_read_text(file) for file in _files(Path(path))))  # a copy would leak into the test
    if len(texts) == 1:
        cut = int(len(texts[0]) * (1 - HELD_OUT))
        learnt, held_out = [texts[0][:cut]], [texts[0][cut:]]
    else:
        every = round(1 / HELD_OUT)
        learnt = [one for place, one in enumerate(texts) if place % every != every // 2]
        held_out = [one for place, one in enumerate(texts) if place % every == every // 2] or [learnt.pop()]
    folder = data_path(TEACHER) if teacher is None else Path(teacher)
    folder = folder if folder.is_dir() else fetch(str(teacher))
    tokenizer = find_tokenizer(folder)
    said = sum(len(one.encode()) for one in held_out)
    streams = stream(learnt, tokenizer), stream(held_out, tokenizer)
    return task_of(*streams, said, tokenizer, folder, tokens=tokens, seed=seed, context=context)


def task_of(
    pool: Tensor,
    rest: Tensor,
    said: int,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    tokens: int,
    seed: int,
    context: int,
) -> Text:
    """The task of these two streams of tokens, the second of `said` bytes held out, and of the teacher in `folder`."""
    context = whole("context", context, 2, 1 << 20, "the tokens that a model sees at once")
    for what, found in (("text to learn from", pool), ("held-out text", rest)):
        if len(found) <= context:
            raise BadValue(f"the {what} is too short: {len(found)} tokens, and one block has {context}")
    train, test = _draw(pool, tokens, seed, context), blocks(rest, context)
    test = test[torch.linspace(0, len(test) - 1, min(len(test), TESTS)).long()]
    return Text(train, train, test, said / len(rest), tokenizer, folder, pool, rest, tokens, seed)


def _draw(pool: Tensor, tokens: int, seed: int, context: int) -> Examples:
    """Blocks drawn from the pool: `tokens` tokens in all."""
    seed = whole("seed", seed, 0, 2**63 - 1, "which part of the text is learnt from")
    tokens = whole("tokens", tokens, context, len(pool) - 1, "how much text the student has; at least one block")
    every = blocks(pool, context)
    rows = np.random.default_rng([seed, 3]).permutation(len(every))[: tokens // context]
    return every[torch.from_numpy(rows)]


def stream(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """All tokens in one row, an end of text after each text."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    parts = [torch.empty(0, dtype=torch.long)]
    for start in range(0, len(texts), 64):  # a few at a time: a tokenizer's own record of a text is large
        rows = tokenizer(list(texts[start : start + 64]), add_special_tokens=False)["input_ids"]
        parts.append(torch.tensor([token for row in rows for token in (*row, *end)], dtype=torch.long))
    return torch.cat(parts)


def blocks(tokens: Tensor, context: int, *, every: int | None = None) -> Examples:
    """Blocks of `context` tokens, one starting `every` so many (default: side by side), with the tokens that follow."""
    places = torch.arange(0, len(tokens) - context, every or context)[:, None] + torch.arange(context)
    return Examples(tokens[places], tokens[places + 1])


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadFile(f"there is no file or folder {shown(str(path), 200)}")
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise BadFile(f"{path} holds no file that ends in {', '.join(SUFFIXES)}")
    return files


def _read_text(path: Path) -> str:
    try:
        found = read(path).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    if "\0" in found:
        raise BadFile(f"{path} is not UTF-8 text: it holds a NUL (is it UTF-16, or no text at all?)")
    return found
