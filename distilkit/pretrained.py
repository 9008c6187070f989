"""Teachers and students in Hugging Face's format: any model that transformers knows, its tokenizer, both checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distilkit.errors import BadFile, BadValue, shown
from distilkit.models import check_finite, parse, predict, read, read_checked

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MOST_COMPUTED = 2**24  # numbers that a model computes rather than learns: tables of sines


def language_model(
    folder: str | Path, *, tokenizer: PreTrainedTokenizerBase | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in Hugging Face's format and its tokenizer, from a folder on this machine.

    Safetensors only, no code from the folder, files with a ``.sha256`` beside them checked. Logits that the tokenizer
    has no token for (embeddings padded to a round number) are cut off, so that the classes are the tokenizer's tokens.

    Args:
        folder: with config.json, the weights and the tokenizer, as `save_pretrained` writes them.
        tokenizer: what the model must speak: another tokenizer than this is refused, with a token that differs.

    Returns:
        The model, float32, in eval mode, and its tokenizer.

    Raises:
        BadFile: not such a folder, weights as a pickle, damaged weights. BadValue: the tokenizers differ.
    """
    from transformers import AutoModelForCausalLM

    model, own = _from_folder(Path(folder), AutoModelForCausalLM, tokenizer)
    first = predict(model, torch.tensor([[0, 0], [0, len(own) - 1]]))[:, 0]
    if not torch.allclose(first[0], first[1], rtol=1e-4, atol=1e-5):
        raise BadFile(f"{folder} is no causal language model: what it says of a token depends on those that follow")
    return model, own


def seq2seq_model(
    folder: str | Path, *, tokenizer: PreTrainedTokenizerBase | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder and decoder (Marian, T5, BART …) in Hugging Face's format and its tokenizer: else as `language_model`.

    Its inputs are named: ``Inputs(input_ids=…, attention_mask=…, decoder_input_ids=…)``.
    """
    from transformers import AutoModelForSeq2SeqLM

    return _from_folder(Path(folder), AutoModelForSeq2SeqLM, tokenizer)


def _from_folder(
    folder: Path, auto: Any, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model of this auto class, checked before and after it is loaded, and its tokenizer, of as many tokens."""
    from transformers import AutoConfig

    kind = _KINDS[auto.__name__]
    config = _read_config(folder)
    own = find_tokenizer(folder)
    if tokenizer is not None:
        check_same_tokens(own, tokenizer, str(folder))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadFile(
            f"{folder} holds no .safetensors file. Weights in .bin or .pt are pickles, which can run code on loading: "
            "convert them first (load them where you trust them, then model.save_pretrained(folder))"
        )
    sizes: dict[str, int] = {}
    for file in files:
        weights = parse(file, read_checked(file))
        check_finite(file, weights)
        sizes |= {name: value.numel() for name, value in weights.items()}
    del weights
    try:
        known = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        _check_size(known, sizes, folder, auto)
        with _without_bars():
            loaded: Any = auto.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except BadFile:
        raise
    except Exception as error:  # transformers' models raise whatever a strange config makes them raise
        raise BadFile(
            f"{folder} is not {kind} that transformers knows "
            f"(model_type {shown(str(config.get('model_type')))}): {shown(str(error), 160)}"
        ) from None
    model, found = loaded
    if found["missing_keys"]:
        raise BadFile(f"{folder}: the weights lack {shown(min(found['missing_keys']))}: they are another model's")
    words, logits = len(own), model.get_output_embeddings().weight.shape[0]
    if logits < words:
        raise BadFile(f"{folder}: the tokenizer has {words:,} tokens and the model only {logits:,} logits")
    if logits > words:
        with torch.random.fork_rng(devices=[]):  # transformers draws new weights before it puts the old ones there
            model.resize_token_embeddings(words)
    return model.eval(), own


_KINDS = {"AutoModelForCausalLM": "a causal language model", "AutoModelForSeq2SeqLM": "an encoder and decoder"}


@contextmanager
def _without_bars() -> Iterator[None]:
    """No progress bar of transformers for a while: a model on this machine is there at once."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_size(config: PretrainedConfig, sizes: Mapping[str, int], folder: Path, auto: Any) -> None:
    """Refuse, before anything is allocated, a configuration of another or a larger model than the weights are of."""
    kind = "AutoModelForSeq2SeqLM" if config.is_encoder_decoder else "AutoModelForCausalLM"
    if kind != auto.__name__:
        raise BadFile(f"{folder} is {_KINDS[kind]}: give {_KINDS[auto.__name__]}")
    names = ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
    layers, held = max(getattr(config, name, None) or 0 for name in names), sum(sizes.values())
    if layers <= len(sizes):  # building very many layers takes long, even without their weights
        with torch.device("meta"):
            parameters = list(auto.from_config(config).parameters())
        needed = sum(value.numel() for value in parameters if value.requires_grad)
        computed = sum(value.numel() for value in parameters if not value.requires_grad)  # sines, which no file holds
        if needed <= held and computed <= MOST_COMPUTED:
            return
    asked = f"{layers:,} layers" if layers > len(sizes) else f"{needed + computed:,} parameters"
    raise BadFile(
        f"{folder}/config.json asks for {asked}, "
        f"and the weights hold {len(sizes):,} tensors with {held:,} numbers: they do not belong together"
    )


def find_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder in Hugging Face's format."""
    from transformers import AutoTokenizer

    folder = Path(folder)
    if not folder.is_dir():
        raise BadFile(f"there is no folder {shown(str(folder), 200)}: give one as `save_pretrained` writes it")
    try:
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises `Exception` itself
        raise BadFile(f"{folder} has no tokenizer that transformers can read: {shown(str(error), 160)}") from None
    files = {"tokenizer.json", *found.vocab_files_names.values()}
    if not any((folder / file).is_file() for file in files):  # transformers then makes up one without words
        raise BadFile(f"{folder} has no tokenizer: none of {', '.join(sorted(files))} is there")
    return found


def check_same_tokens(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase, where: str) -> None:
    """Refuse two tokenizers that number their tokens differently: a divergence would compare unlike with unlike."""
    ours, theirs = first.get_vocab(), second.get_vocab()
    if ours != theirs:
        token = min(
            (token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)),
            key=lambda token: (min(ours.get(token, 1 << 60), theirs.get(token, 1 << 60)), token),
        )
        raise BadValue(
            f"the tokenizers differ, so that the logits do not mean the same tokens: {shown(token)} is number "
            f"{ours.get(token, 'none')} of {len(ours):,} in {where} and {theirs.get(token, 'none')} of {len(theirs):,} "
            "in the other. Distil between models of one tokenizer, through dk.OtherTokens(teacher, teacher_tokenizer, "
            "student_tokenizer), or on text: dk.other_tokens.retold(dk.teacher_text(teacher, prompts), …)"
        )


def _read_config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    try:
        config = json.loads(read(path))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON: {shown(str(error), 120)}") from None
    if not isinstance(config, dict):
        raise BadFile(f"{path} is not a configuration: it must be a JSON object")
    if "auto_map" in config:
        raise BadFile(f"{folder} wants code of its own to be run (auto_map in config.json): distilkit runs none")
    return config
