"""Speech of one's own: recordings with transcripts, in any letters, to text by CTC."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.errors import BadValue
from distilkit.losses import ctc_loss
from distilkit.models import Inputs, predict
from distilkit.pretrained import speech_model
from distilkit.tasks.speech import error_rate, read_sound
from distilkit.tasks.voices import RATE
from distilkit.transfer import Examples
from distilkit.your_own.task import Own, Row

SHAPES = {"teacher": (4, 144), "student": (2, 96)}  # layers and width of a Wav2Vec2-BERT that is made here
BLANK, UNKNOWN, SPACE = "<pad>", "<unk>", "|"


class Sounds(Own):
    """Recordings with a transcript each."""

    kind = "speech"
    by, larger = "wer", False
    hard = staticmethod(ctc_loss)
    capitals = False  # whether the tokenizer writes in capitals

    def load(self, name: str | Path) -> tuple[nn.Module, Any]:
        model, processor = speech_model(name)
        known = set(processor.tokenizer.get_vocab())
        small, self.capitals = known.issuperset(self._letters), known.issuperset("".join(self._letters).upper())
        if small:
            self.capitals = False
        elif not self.capitals:
            model, processor = speech_model(name, classes=self._letters)
            model.new_head = True  # type: ignore[assignment]
        if processor.tokenizer.pad_token_id != 0:
            raise BadValue(
                f"CTC's blank is token {processor.tokenizer.pad_token_id} of {name}, not 0: reorder its head"
            )
        return model, processor

    def heard_by(self, teacher: nn.Module, processor: Any) -> nn.Module:
        theirs, ours = (
            (one.feature_extractor.to_dict(), one.tokenizer.get_vocab()) for one in (processor, self.processor)
        )
        return teacher if theirs == ours else super().heard_by(teacher, processor)

    def is_labelled(self, row: Row) -> bool:
        return bool(spoken(row))

    def read(self, rows: Sequence[Row]) -> None:
        self._letters = sorted({letter for row in rows for letter in spoken(row)} - {" "})

    def new_processor(self) -> Any:
        from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertProcessor, Wav2Vec2CTCTokenizer

        names = [BLANK, UNKNOWN, SPACE, *self._letters]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "vocab.json")
            file.write_text(json.dumps({name: place for place, name in enumerate(names)}), encoding="utf-8")
            letters = Wav2Vec2CTCTokenizer(
                str(file),
                pad_token=BLANK,
                unk_token=UNKNOWN,
                word_delimiter_token=SPACE,
                bos_token=None,
                eos_token=None,
            )
        return Wav2Vec2BertProcessor(SeamlessM4TFeatureExtractor(), letters)

    def new_model(self, size: str, seed: int) -> nn.Module:
        from transformers import Wav2Vec2BertConfig, Wav2Vec2BertForCTC

        layers, width = SHAPES[size]
        config = Wav2Vec2BertConfig(
            vocab_size=len(self.processor.tokenizer),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 24,
            intermediate_size=2 * width,
            feature_projection_input_dim=160,
            conv_depthwise_kernel_size=15,
            layerdrop=0.0,
            apply_spec_augment=False,
            pad_token_id=0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Wav2Vec2BertForCTC(config)

    def encode(self, rows: Sequence[Row]) -> Examples:
        """Inputs as the processor makes them; labels (n, ticks) as `ctc_loss` reads them."""
        heard = self.processor.feature_extractor(
            [read_sound(row["audio"]) for row in rows],
            sampling_rate=RATE,
            padding=True,
            return_tensors="pt",
            return_attention_mask=True,
        )
        inputs = Inputs(**dict(heard))
        ticks, shape = self._ticks(inputs)
        labels = torch.full((len(rows), shape), IGNORED)
        for row, tick, told in zip(labels, ticks.tolist(), rows, strict=True):
            row[:tick] = UNLABELLED
            text = spoken(told).upper() if self.capitals else spoken(told)
            tokens = self.processor.tokenizer(text)["input_ids"] if text else []
            repeated = sum(one == other for one, other in pairwise(tokens))
            if tokens and len(tokens) + repeated <= tick:
                row[: len(tokens)] = torch.tensor(tokens)
        return Examples(inputs, labels)

    def score(self, model: nn.Module, limit: int | None = None) -> dict[str, float]:
        rows = [(row, place) for place, row in enumerate(self.asked) if spoken(row)][:limit]
        said, right = self.says(model, len(self.asked)), [spoken(row) for row, _ in rows]
        said = [said[place] for _, place in rows]
        return {"wer": error_rate(right, said), "cer": error_rate(right, said, letters=True)}

    def says(self, model: nn.Module, limit: int = 20) -> list[str]:
        test = self.test[:limit]
        best = predict(model, test.inputs, batch_size=16).argmax(-1).cpu()
        best = best.masked_fill(test.labels == IGNORED, 0)
        return [" ".join(self.processor.tokenizer.decode(row).casefold().split()) for row in best.tolist()]

    def reference(self, row: Row) -> str:
        return spoken(row)

    def _ticks(self, inputs: Inputs) -> tuple[Tensor, int]:
        """Of each sound the answers that a model gives, and of the longest with its padding."""
        model: Any = self._student or self._teacher
        mask = inputs["attention_mask"]
        if self.made_here:
            return mask.sum(1), mask.shape[1]
        lengths = model._get_feat_extract_output_lengths
        name = "input_features" if "input_features" in dict(inputs) else "input_values"
        return lengths(mask.sum(1)), int(lengths(torch.tensor(inputs[name].shape[1])))


def spoken(row: Row) -> str:
    """The transcript in small letters, without signs that nobody hears; nothing where there is none."""
    text = str(row.get("text") or row.get("label") or row.get("target") or "").casefold()
    kept = "".join(letter if letter.isalnum() or letter in "' " else " " for letter in text.replace("’", "'"))
    return " ".join(kept.split())
