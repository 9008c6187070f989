"""Running text, and texts that a model turns into other texts: translations, summaries, answers with their reasons."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilkit import metrics
from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.endpoint import Endpoint
from distilkit.errors import BadValue
from distilkit.models import Inputs, device_of, evaluating
from distilkit.other_tokens import OtherTokens
from distilkit.pretrained import language_model, seq2seq_model
from distilkit.tasks.text import blocks, llama, stream
from distilkit.tasks.translation import pegasus
from distilkit.transfer import Examples, complete, student_text, teacher_text
from distilkit.your_own.task import MOST_VALID, VALID, Own, Row, averaged
from distilkit.your_own.tokens import byte_pairs

WORDS = 4_000  # of a tokenizer that is made here
CONTEXT = 128  # tokens of running text that a model sees at once
TESTS = 256  # blocks of running text
LONGEST = 128  # tokens of either side
WRITTEN = 64  # tokens of an answer, at most
ANSWERS = 100  # held-out rows that are answered in full
PROMPTS, PROMPT, LENGTH = 256, 16, 48  # of text that a model writes: how many, and their tokens
LLAMAS = {"teacher": (4, 128), "student": (2, 64)}  # layers and width
PEGASI = {"teacher": ((3, 3), 128), "student": ((2, 1), 64)}  # layers that read and that write, and width
REASON, ANSWER = "reason: ", "answer: "  # what is asked for, before the text, where there are rationales


class Language(Own):
    """Running text: what comes next?"""

    kind = "language"
    by, larger = "perplexity", False
    ways = ("corpus", "teacher_text", "student_text")
    labelled_by = "text"
    rows_stand_alone = False

    @functools.cached_property
    def transfer(self) -> Examples:
        return self._blocks[: -self._kept]

    @property
    def train(self) -> Examples:
        return self.transfer

    @functools.cached_property
    def valid(self) -> Examples:
        return self._blocks[-self._kept :]

    @functools.cached_property
    def _blocks(self) -> Examples:
        return self.encode(self.learnt)

    @property
    def _kept(self) -> int:
        """Blocks at the end of the text to learn from, to choose by."""
        if len(self._blocks) < 2:
            raise BadValue(
                f"the text to learn from is too short: it makes one block of {CONTEXT} tokens. Give more text"
            )
        return min(max(1, round(VALID[0] * len(self._blocks))), MOST_VALID)

    def load(self, name: str | Path) -> tuple[nn.Module, Any]:
        return language_model(name)

    def read(self, rows: Sequence[Row]) -> None:
        self._texts = [row["text"] for row in rows if row.get("text")]

    def new_processor(self) -> Any:
        return byte_pairs(self._texts, WORDS)

    def new_model(self, size: str, seed: int) -> nn.Module:
        layers, width = LLAMAS[size]
        tokens = self.processor
        return llama(len(tokens), layers=layers, width=width, seed=seed, end=tokens.eos_token_id)

    def encode(self, rows: Sequence[Row]) -> Examples:
        tokens = stream([row["text"] for row in rows if row.get("text")], self.processor)
        if len(tokens) <= CONTEXT:
            raise BadValue(f"{len(tokens):,} tokens are too few: a block has {CONTEXT}. Give more text")
        return blocks(tokens, CONTEXT)

    def score(self, model: nn.Module, limit: int | None = None) -> dict[str, float]:
        test = self.test
        test = test[torch.linspace(0, len(test) - 1, min(len(test), limit or TESTS)).long()]
        found = averaged(model, test, nll=metrics.nll, accuracy=metrics.accuracy)
        said = sum(len(self.processor.decode(row).encode()) for row in test.labels[:32].tolist())
        per_token = max(1, said) / test.labels[:32].numel()
        return {
            "perplexity": math.exp(found["nll"]),
            "bits_per_byte": metrics.bits_per_byte(found["nll"], per_token),
            **found,
        }

    def says(self, model: nn.Module, limit: int = 20) -> list[str]:
        prompts = self._prompts(self.test, limit)
        written = complete(model, prompts, length=PROMPT, sampling_temperature=0.0)
        return [self.processor.decode(row[PROMPT:].tolist()) for row in written]

    def answers(self, limit: int = 20, **models: nn.Module) -> Any:
        import pandas as pd

        places = torch.linspace(0, len(self.test) - 1, min(limit, len(self.test))).long()
        begun, goes_on = (self.test.inputs[places, some] for some in (slice(PROMPT), slice(PROMPT, 2 * PROMPT)))
        table = {"input": begun, "reference": goes_on}
        told = {name: [self.processor.decode(row.tolist()) for row in rows] for name, rows in table.items()}
        return pd.DataFrame(told | {name: self.says(model, len(places)) for name, model in models.items()})

    def _way(self, name: str, teacher: nn.Module, student: nn.Module) -> Any:
        if name == "teacher_text":
            return teacher_text(teacher, self._prompts(self.train, PROMPTS), length=LENGTH, seed=self.seed)
        if name == "student_text":
            return student_text(student, self._prompts(self.train, PROMPTS), length=LENGTH)
        return super()._way(name, teacher, student)

    def heard_by(self, teacher: nn.Module, processor: Any) -> nn.Module:
        if processor.get_vocab() == self.processor.get_vocab():
            return teacher
        return OtherTokens(teacher, processor, self.processor)

    def endpoint(self, url: str, model: str) -> nn.Module:
        return Endpoint(url, model, tokenizer=self.processor)

    def _prompts(self, examples: Examples, count: int) -> Tensor:
        """The first tokens of so many blocks, evenly spread."""
        return examples.inputs[torch.linspace(0, len(examples) - 1, min(count, len(examples))).long(), :PROMPT]


class Answers(Own):
    """What texts that are turned into texts have in common; with rationales, the reasons are learnt beside the answers.

    Source: Hsieh et al. 2023, arXiv:2305.02301 (two tasks, told apart by what is asked for).
    """

    kind = "seq2seq"
    by: str = "chrf"
    ways: tuple[str, ...] = ("corpus", "teacher_text")
    labelled_by = "target"

    def read(self, rows: Sequence[Row]) -> None:
        self.reasons = any(row.get("rationale") for row in rows)
        if not any(row.get("target") for row in rows):
            self.labelled_by, self.by = "label", "exact"
        parts = ("text", self.labelled_by, "rationale")
        self._texts = [row[part] for row in rows for part in parts if row.get(part)]

    def new_processor(self) -> Any:
        return byte_pairs([*self._texts, REASON, ANSWER], WORDS)

    def pairs(self, rows: Sequence[Row]) -> list[tuple[str, str | None]]:
        """What is asked and what is to be written, where that is known."""
        asked = [(self.question(row), row.get(self.labelled_by)) for row in rows]
        why = [(REASON + row["text"], row["rationale"]) for row in rows if row.get("rationale")] if self.reasons else []
        return asked + why

    def question(self, row: Row) -> str:
        """What a model is asked for the answer."""
        return (ANSWER if self.reasons else "") + row["text"]

    @property
    def test(self) -> Examples:
        return self.encode([{**row, "rationale": None} for row in self.asked])

    def score(self, model: nn.Module, limit: int | None = None) -> dict[str, float]:
        import sacrebleu

        rows = [row for row in self.asked if self.is_labelled(row)][: limit or ANSWERS]
        said, right = self.write(model, rows), [self.reference(row) for row in rows]
        same = [" ".join(one.split()) == " ".join(other.split()) for one, other in zip(said, right, strict=True)]
        found = {
            "chrf": sacrebleu.corpus_chrf(said, [right]).score,
            "bleu": sacrebleu.corpus_bleu(said, [right]).score,
            "exact": sum(same) / len(same),
        }
        if not (self.silent and model is self._teacher):
            found |= averaged(model, self.test[: len(rows)], nll=metrics.nll, token_accuracy=metrics.accuracy)
        return found

    def heard_by(self, teacher: nn.Module, processor: Any) -> nn.Module:
        if processor.get_vocab() != self.processor.get_vocab():
            self.silent, self._theirs = True, processor
            self.ways = ("teacher_text",)
        return teacher

    def endpoint(self, url: str, model: str) -> nn.Module:
        self.silent, self.ways = True, ("teacher_text",)
        return Endpoint(url, model, tokenizer=self.processor)

    def says(self, model: nn.Module, limit: int = 20) -> list[str]:
        return self.write(model, self.asked[:limit])

    def write(self, model: nn.Module, rows: Sequence[Row]) -> list[str]:
        """The model's answers, its likeliest words."""
        questions = [self.question(row) for row in rows]
        if isinstance(model, Endpoint):
            return model.complete(questions, length=WRITTEN, sampling_temperature=0.0)
        return self.written(
            model, questions, self._theirs if self.silent and model is self._teacher else self.processor
        )

    def written(self, model: Any, questions: list[str], processor: Any) -> list[str]:
        """What the model writes when asked these, with its own processor."""
        raise NotImplementedError

    def _way(self, name: str, teacher: nn.Module, student: nn.Module) -> Any:
        if name == "teacher_text":
            told = zip(self.learnt, self.write(teacher, self.learnt), strict=True)
            return self.encode([{**row, self.labelled_by: text or row.get(self.labelled_by)} for row, text in told])
        return super()._way(name, teacher, student)


class Translations(Answers):
    """Of an encoder and decoder."""

    def load(self, name: str | Path) -> tuple[nn.Module, Any]:
        return seq2seq_model(name)

    def new_model(self, size: str, seed: int) -> nn.Module:
        layers, width = PEGASI[size]
        return pegasus(
            len(self.processor), layers=layers, width=width, seed=seed, longest=LONGEST, end=self.processor.eos_token_id
        )

    def encode(self, rows: Sequence[Row]) -> Examples:
        pairs = self.pairs(rows)
        asked = self._tokens([text for text, _ in pairs], self.processor)
        told = self._tokens([text or "" for _, text in pairs], self.processor, target=True)
        known = torch.tensor([text is not None for _, text in pairs])
        pad, start = self.processor.pad_token_id, self._start()
        labels = told.masked_fill(told == pad, IGNORED)
        labels[~known] = labels[~known].where(labels[~known] == IGNORED, UNLABELLED)
        led = torch.cat([torch.full((len(told), 1), start), told[:, :-1]], 1)
        return Examples(Inputs(input_ids=asked, attention_mask=(asked != pad).long(), decoder_input_ids=led), labels)

    def written(self, model: Any, questions: list[str], processor: Any) -> list[str]:
        told: list[str] = []
        with evaluating(model), torch.no_grad():
            for place in range(0, len(questions), 32):
                asked = self._tokens(questions[place : place + 32], processor).to(device_of(model))
                mask = (asked != processor.pad_token_id).long()
                found = model.generate(
                    input_ids=asked, attention_mask=mask, max_new_tokens=WRITTEN, num_beams=1, do_sample=False
                )
                told += processor.batch_decode(found, skip_special_tokens=True)
        return [text.strip() for text in told]

    def _tokens(self, texts: list[str], processor: Any, *, target: bool = False) -> Tensor:
        given = {"text_target" if target else "text": texts}
        found = processor(**given, truncation=True, max_length=LONGEST, padding="longest", return_tensors="pt")
        tokens: Tensor = found["input_ids"]
        return tokens[:, 1:] if target and self.made_here else tokens

    def _start(self) -> int:
        """The token that a translation is led by."""
        model: Any = self._student or self._teacher
        return int(self.processor.pad_token_id if self.made_here else model.config.decoder_start_token_id)


class Completions(Answers):
    """Of a causal language model: it reads the question and writes on."""

    def load(self, name: str | Path) -> tuple[nn.Module, Any]:
        return language_model(name)

    def new_model(self, size: str, seed: int) -> nn.Module:
        layers, width = LLAMAS[size]
        return llama(len(self.processor), layers=layers, width=width, seed=seed, end=self.processor.eos_token_id)

    def encode(self, rows: Sequence[Row]) -> Examples:
        """Question and answer in one row (n, time); what the question holds is −100, and so is what follows the end."""
        end = self.processor.eos_token_id
        tokens, labels = [], []
        for asked, told in self.pairs(rows):
            question = self._tokens(asked, self.processor)[-LONGEST:]
            answer = [*self._tokens(told or "", self.processor)[: WRITTEN - 1], end]
            tokens.append([*question, *answer][:-1])
            masked = [IGNORED] * (len(question) - 1)
            labels.append(masked + (answer if told is not None else [UNLABELLED] * len(answer)))
        longest = max(map(len, tokens))
        pad = self.processor.pad_token_id if self.processor.pad_token_id is not None else end
        return Examples(
            torch.tensor([row + [pad] * (longest - len(row)) for row in tokens]),
            torch.tensor([row + [IGNORED] * (longest - len(row)) for row in labels]),
        )

    def written(self, model: Any, questions: list[str], processor: Any) -> list[str]:
        told, end = [], processor.eos_token_id
        for question in questions:
            asked = torch.tensor([self._tokens(question, processor)[-LONGEST:]])
            found = complete(model, asked, length=WRITTEN, sampling_temperature=0.0)[0, asked.shape[1] :].tolist()
            found = found[: found.index(end)] if end in found else found
            told.append(processor.decode(found, skip_special_tokens=True).strip())
        return told

    def _tokens(self, text: str, processor: Any) -> list[int]:
        found: list[int] = processor(text, add_special_tokens=False)["input_ids"]
        return found or [processor.eos_token_id]


def kind_of(teacher: Any, student: Any) -> type[Answers]:
    """Whether questions are answered by a causal language model or an encoder and decoder: as the named model is."""
    for model in (teacher, student):
        config = getattr(model, "config", None)
        if config is None and isinstance(model, str | Path) and not str(model).startswith(("http://", "https://")):
            from distilkit.hub import fetch
            from distilkit.pretrained import read_config

            config = read_config(fetch(model))
        if config is not None:
            both = config.get("is_encoder_decoder") if isinstance(config, dict) else config.is_encoder_decoder
            kind = config.get("model_type") if isinstance(config, dict) else config.model_type
            return Translations if both or kind in ENCODER_DECODERS else Completions
    return Translations


ENCODER_DECODERS = ("t5", "mt5", "bart", "mbart", "marian", "pegasus", "m2m_100", "longt5", "led", "blenderbot")
