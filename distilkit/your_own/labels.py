"""Texts and pictures that have a label: one of several classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distilkit import metrics
from distilkit.divergences import UNLABELLED
from distilkit.endpoint import Endpoint
from distilkit.errors import BadFile, BadValue, shown
from distilkit.models import Inputs, predict
from distilkit.pretrained import classifier_model, image_model
from distilkit.transfer import Examples
from distilkit.your_own.ngrams import Ngrams
from distilkit.your_own.task import Own, Retold, Row, averaged
from distilkit.your_own.tokens import byte_pairs
from distilkit.your_own.variations import variations

LONGEST = 256  # tokens of a text that is classified
WORDS = 4_000  # of a tokenizer that is made here
SIDES = (32, 64)  # of a picture, in pixels, of a model that is made here
MOST_CLASSES = 1_000
VARIED, MOST_VARIED = 5, 30_000  # texts with their variations, a row and in all
SHAPES = {"teacher": (2, 128), "student": (1, 64)}  # layers and width of a BERT that is made here
WIDTHS = {"teacher": (32, (32, 64, 128, 256)), "student": (8, (8, 16, 32, 64))}  # and of a ResNet


class Labels(Own):
    """What texts and pictures have in common."""

    by = "accuracy"

    def read(self, rows: Sequence[Row]) -> None:
        found = sorted({row["label"] for row in (*rows, *self.asked) if row.get("label") is not None})
        if not 2 <= len(found) <= MOST_CLASSES:
            raise BadValue(
                f"there must be 2 to {MOST_CLASSES:,} different labels, got {len(found):,} "
                f"({', '.join(shown(name, 20) for name in found[:4])} …): is label_column the right one?"
            )
        self.classes = tuple(found)

    def loaded(self, opened: Any, name: str | Path) -> tuple[nn.Module, Any]:
        """A classifier of these classes: as it is if it knows them, else with a new head, to be trained."""
        try:
            model, processor = opened(name)
        except BadFile as error:
            if "classes=" not in str(error):
                raise
            model, processor = opened(name, classes=self.classes)
            model.new_head = True
            return model, processor
        theirs = [str(model.config.id2label[place]) for place in range(model.config.num_labels)]
        ours = {label.casefold(): label for label in self.classes}
        if ours.keys() <= {label.casefold() for label in theirs}:
            self.classes = tuple(ours.get(label.casefold(), label) for label in theirs)
        elif theirs == [f"LABEL_{place}" for place in range(len(self.classes))] and all(map(str.isdigit, self.classes)):
            self.classes = tuple(sorted(self.classes, key=int))
        else:
            model, processor = opened(name, classes=self.classes)
            model.new_head = True
        return model, processor

    def labels(self, rows: Sequence[Row]) -> Tensor:
        """(n,), the number of each row's class."""
        places = {name: place for place, name in enumerate(self.classes)}
        return torch.tensor([places[row["label"]] if row.get("label") is not None else UNLABELLED for row in rows])

    def score(self, model: nn.Module, limit: int | None = None) -> dict[str, float]:
        from sklearn.metrics import f1_score

        test = self.test[:limit] if limit else self.test
        logits, labels = predict(model, test.inputs).float().cpu(), test.labels
        return {
            "accuracy": metrics.accuracy(logits, labels),
            "f1": float(f1_score(labels, logits.argmax(-1), average="macro", zero_division=0.0)),
            "nll": metrics.nll(logits, labels),
            "ece": metrics.ece(logits, labels),
        }

    def misjudged(self, model: nn.Module) -> float:
        """The share of wrong answers; the loss parts equals. (Alone it would prefer an undertrained twin.)"""
        found = averaged(model, self.valid, right=metrics.accuracy, loss=self.loss_of)
        return 1 - found["right"] + 1e-3 * min(found["loss"], 10.0)

    def says(self, model: nn.Module, limit: int = 20) -> list[str]:
        return [self.classes[place] for place in predict(model, self.test.inputs[:limit]).argmax(-1).tolist()]

    def named(self) -> dict[str, Any]:
        """What a configuration says of the classes."""
        return {
            "num_labels": len(self.classes),
            "id2label": dict(enumerate(self.classes)),
            "label2id": {name: place for place, name in enumerate(self.classes)},
        }


class Texts(Labels):
    """Texts with a label each."""

    kind = "classification"
    ways: tuple[str, ...] = ("variations", "corpus")

    def load(self, name: str | Path) -> tuple[nn.Module, Any]:
        return self.loaded(classifier_model, name)

    def read(self, rows: Sequence[Row]) -> None:
        super().read(rows)
        self._texts = [row["text"] for row in rows]

    def new_processor(self) -> Any:
        return byte_pairs(self._texts, WORDS, lower=True)

    def new_model(self, size: str, seed: int) -> nn.Module:
        from transformers import BertConfig, BertForSequenceClassification

        layers, width = SHAPES[size]
        config = BertConfig(
            vocab_size=len(self.processor),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=LONGEST,
            pad_token_id=self.processor.pad_token_id,
            **self.named(),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return BertForSequenceClassification(config)

    def encode(self, rows: Sequence[Row]) -> Examples:
        return Examples(self._inputs([row["text"] for row in rows], self.processor), self.labels(rows))

    def grow(self) -> nn.Module:
        known = [row for row in self.learnt if self.is_labelled(row)]
        texts, held_out = ([row["text"] for row in rows] for rows in (known, self.valid_rows))
        return Ngrams(
            texts,
            self.labels(known),
            held_out,
            self.labels(self.valid_rows),
            classes=len(self.classes),
            decode=self._words,
        )

    def _way(self, name: str, teacher: nn.Module, student: nn.Module) -> Examples:
        if name == "variations":
            texts = [row["text"] for row in self.learnt]
            count = max(0, min(VARIED * len(texts), MOST_VARIED) - len(texts))
            return self.encode([*self.learnt, *({"text": text} for text in variations(texts, count, seed=self.seed))])
        return super()._way(name, teacher, student)

    def _words(self, tokens: Tensor) -> list[str]:
        return list(self.processor.batch_decode(tokens, skip_special_tokens=True))

    def _inputs(self, texts: list[str], tokenizer: Any) -> Inputs:
        """(n, time) token ids, of the longest text's length, at most LONGEST."""
        found = tokenizer(texts, truncation=True, max_length=LONGEST, padding="longest", return_tensors="pt")
        return Inputs(input_ids=found["input_ids"], attention_mask=found["attention_mask"])

    def heard_by(self, teacher: nn.Module, processor: Any) -> nn.Module:
        if processor.get_vocab() == self.processor.get_vocab():
            return teacher
        return Retold(
            teacher,
            lambda texts: self._inputs(texts, processor),
            self._words,
        )

    def endpoint(self, url: str, model: str) -> nn.Module:
        self.ways = ("corpus", "variations")  # each text is a request, which may cost
        return Endpoint(url, model, tokenizer=self.processor, labels=self.classes)


class Pictures(Labels):
    """Pictures with a label each."""

    kind = "images"

    def load(self, name: str | Path) -> tuple[nn.Module, Any]:
        return self.loaded(image_model, name)

    def read(self, rows: Sequence[Row]) -> None:
        super().read(rows)
        self._files = [row["image"] for row in rows[:50]]

    def heard_by(self, teacher: nn.Module, processor: Any) -> nn.Module:
        return teacher if processor.to_dict() == self.processor.to_dict() else super().heard_by(teacher, processor)

    def new_processor(self) -> Any:
        from transformers.utils import logging

        usual = float(np.median([min(picture(file).size) for file in self._files]))
        side = next((side for side in SIDES if usual <= 1.5 * side), SIDES[-1])
        level = logging.get_verbosity()
        logging.set_verbosity_error()  # of torchvision, which this kit does without
        try:
            from transformers import ViTImageProcessor

            return ViTImageProcessor(size={"height": side, "width": side})
        finally:
            logging.set_verbosity(level)

    def new_model(self, size: str, seed: int) -> nn.Module:
        from transformers import ResNetConfig, ResNetForImageClassification

        width, hidden = WIDTHS[size]
        config = ResNetConfig(
            embedding_size=width,
            hidden_sizes=list(hidden),
            depths=[1] * len(hidden),
            layer_type="basic",
            **self.named(),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return ResNetForImageClassification(config)

    def encode(self, rows: Sequence[Row]) -> Examples:
        read = [
            self.processor([picture(row["image"]) for row in rows[start : start + 64]], return_tensors="pt")
            for start in range(0, len(rows), 64)
        ]
        return Examples(torch.cat([some["pixel_values"] for some in read]), self.labels(rows))


def picture(file: Any) -> Any:
    """A picture in three colours, however it was stored."""
    from io import BytesIO

    from PIL import Image, UnidentifiedImageError

    name = "a picture" if isinstance(file, bytes) else shown(str(file), 200)
    try:
        with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as found:
            return found.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise BadFile(f"{name} is no picture that pillow reads: {shown(str(error), 120)}") from None
