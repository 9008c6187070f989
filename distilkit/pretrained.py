"""Teachers and students in Hugging Face's format, from a folder or a hub: any that transformers knows, checked."""

from __future__ import annotations

import copy
import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from distilkit.configs import check_configs, read_json
from distilkit.errors import BadFile, BadType, BadValue, real, shown, whole
from distilkit.hub import fetch, memory_free, size
from distilkit.models import check_finite, check_header, check_noted, predict, reading_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
    from transformers.image_processing_utils import BaseImageProcessor

MOST_COMPUTED = 2**24  # numbers that a model computes rather than learns: tables of sines
INDEX = "model.safetensors.index.json"
_KINDS = {
    "AutoModelForCausalLM": "a causal language model",
    "AutoModelForSeq2SeqLM": "an encoder and decoder",
    "AutoModelForSequenceClassification": "a classifier of texts",
    "AutoModelForCTC": "a CTC model of speech",
    "AutoModelForImageClassification": "a classifier of images",
}


def language_model(
    name: str | Path, *, tokenizer: PreTrainedTokenizerBase | None = None, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in Hugging Face's format and its tokenizer, from a folder or by its name at a hub.

    Safetensors only, no code from the folder, files with a ``.sha256`` beside them checked. Logits that the tokenizer
    has no token for (embeddings padded to a round number) are cut off, so that the classes are the tokenizer's tokens.

    Args:
        name: a folder with config.json, the weights and the tokenizer, as `save_pretrained` writes them, or the name
            of a model at a hub (``"org/name"``), which is fetched: see `fetch`.
        tokenizer: what the model must speak: another tokenizer than this is refused, with a token that differs.
        revision: of a model at a hub: a branch, a tag or a commit.

    Returns:
        The model, float32, in eval mode, and its tokenizer.

    Raises:
        BadFile: no such folder or model, weights as a pickle, damaged weights. BadValue: the tokenizers differ.
    """
    from transformers import AutoModelForCausalLM

    folder = fetch(name, revision=revision)
    own = _own_tokenizer(folder, tokenizer)
    model = _cut(_loaded(folder, AutoModelForCausalLM), own, folder)
    try:
        first = predict(model, torch.tensor([[0, 0], [0, len(own) - 1]]))[:, 0]
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise BadFile(
            f"the model of {folder} cannot be run: {shown(str(error), 120)}. Is its config.json that of its weights?"
        ) from error
    if not torch.allclose(first[0], first[1], rtol=1e-4, atol=1e-5):
        raise BadFile(f"{folder} is no causal language model: what it says of a token depends on those that follow")
    return model, own


def seq2seq_model(
    name: str | Path, *, tokenizer: PreTrainedTokenizerBase | None = None, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder and decoder (Marian, T5, BART …) in Hugging Face's format and its tokenizer: else as `language_model`.

    Its inputs are named: ``Inputs(input_ids=…, attention_mask=…, decoder_input_ids=…)``.
    """
    from transformers import AutoModelForSeq2SeqLM

    folder = fetch(name, revision=revision)
    own = _own_tokenizer(folder, tokenizer)
    return _cut(_loaded(folder, AutoModelForSeq2SeqLM), own, folder), own


def classifier_model(
    name: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A classifier of texts (BERT, DistilBERT, RoBERTa …) and its tokenizer: else as `language_model`.

    Its inputs are named: ``Inputs(input_ids=…, attention_mask=…)``. With `classes`, the names of the labels, it gets a
    new head for them, drawn from `seed`, as a model needs that was pretrained for another task.
    """
    from transformers import AutoModelForSequenceClassification

    folder = fetch(name, revision=revision)
    own = _own_tokenizer(folder, tokenizer)
    model = _loaded(folder, AutoModelForSequenceClassification, _labels(classes), seed)
    if own.pad_token is None:  # as a language model's
        own.pad_token = own.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = own.pad_token_id
    return model, own


def speech_model(
    name: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A CTC model of speech (Wav2Vec2, HuBERT, Wav2Vec2-BERT …) and its processor: else as `language_model`.

    The processor makes its inputs of a sound, ``processor(sound, sampling_rate=…)``, and text of its tokens. With
    `classes`, the characters that it is to write, it gets a new head for them, drawn from `seed`, and a tokenizer of
    them: number 0 is CTC's blank, 1 is what is not among them, ``|`` is the space.
    """
    from transformers import (
        AutoFeatureExtractor,
        AutoModelForCTC,
        AutoProcessor,
        Wav2Vec2BertProcessor,
        Wav2Vec2Processor,
    )

    folder = fetch(name, revision=revision)
    if classes is None:
        if not any((folder / file).is_file() for file in ("vocab.json", "tokenizer.json", "tokenizer_config.json")):
            raise BadFile(
                f"{folder} has no tokenizer, so that nobody knows what its logits spell: it was only pretrained. "
                "Give the characters that it is to learn: classes=['a', 'b', …]"
            )
        processor = _read_by(AutoProcessor, folder, "processor")
    else:
        ears = _read_by(AutoFeatureExtractor, folder, "feature extractor")
        kind = Wav2Vec2BertProcessor if "SeamlessM4T" in type(ears).__name__ else Wav2Vec2Processor
        processor = kind(ears, _spelling(_labels(classes)))
    if tokenizer is not None:
        check_same_tokens(processor.tokenizer, tokenizer, str(folder))
    return _loaded(folder, AutoModelForCTC, classes and processor.tokenizer, seed), processor


def image_model(
    name: str | Path, *, revision: str | None = None, classes: Sequence[str] | None = None, seed: int = 0
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A classifier of images (ViT, ResNet, ConvNeXt …) and its image processor: else as `classifier_model`.

    The processor makes its inputs of pictures, (n, channels, height, width): ``processor(pictures)["pixel_values"]``.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder = fetch(name, revision=revision)
    processor = _read_by(AutoImageProcessor, folder, "image processor")
    return _loaded(folder, AutoModelForImageClassification, _labels(classes), seed), processor


def _labels(classes: Sequence[str] | None) -> list[str] | None:
    if classes is None:
        return None
    names = isinstance(classes, Sequence) and not isinstance(classes, str)
    if not names or not all(isinstance(one, str) for one in classes):
        raise BadType(f"classes must be the labels' names, as ['no', 'yes'], got {shown(classes)}")
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise BadValue(f"classes must be two names or more, all different, got {shown(list(classes))}")
    return list(classes)


def _spelling(characters: list[str] | None) -> PreTrainedTokenizerBase:
    """A tokenizer of these characters for a CTC model."""
    from transformers import Wav2Vec2CTCTokenizer

    words = dict.fromkeys(["<pad>", "<unk>", *(("|" if one == " " else one) for one in characters or [])])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps({word: number for number, word in enumerate(words)}), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(str(file), bos_token=None, eos_token=None, do_lower_case=False)


def find_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder in Hugging Face's format, without its chat template, which is a program.

    ``tokenizer.chat_template = …`` puts in one that you have read.
    """
    from transformers import AutoTokenizer

    folder = Path(folder)
    found = _read_by(AutoTokenizer, folder, "tokenizer")
    files = {"tokenizer.json", *found.vocab_files_names.values()}
    if not any((folder / file).is_file() for file in files):  # transformers then makes up one without words
        raise BadFile(f"{folder} has no tokenizer: none of {', '.join(sorted(files))} is there")
    found.chat_template = None
    return found


def _read_by(auto: Any, folder: Path, what: str) -> Any:
    """What this auto class of transformers makes of a folder's configuration of it, which is checked before."""
    if not folder.is_dir():
        raise BadFile(f"there is no folder {shown(str(folder), 200)}: give one as `save_pretrained` writes it")
    check_configs(folder)
    try:
        with _quietly():
            return auto.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises `Exception` itself
        raise BadFile(f"{folder} has no {what} that transformers can read: {shown(str(error), 160)}") from None


def _own_tokenizer(folder: Path, expected: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    read_config(folder)  # a folder without one is no model's
    own = find_tokenizer(folder)
    if expected is not None:
        check_same_tokens(own, expected, str(folder))
    return own


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


def read_config(folder: str | Path) -> dict[str, Any]:
    """The configuration of a model's folder, which may name no code, no kernel and no other place: see `configs`."""
    check_configs(Path(folder))
    return read_json(Path(folder) / "config.json")


# Loading


def _loaded(folder: Path, auto: Any, head: Any = None, seed: int = 0) -> PreTrainedModel:
    """A model of this auto class, checked before and after it is loaded, with a new head where one is asked for.

    `head` is the labels' names, or for CTC the tokenizer whose tokens it is to write.
    """
    from transformers import AutoConfig

    seed = whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same head")
    config = read_config(folder)
    files = _weights(folder)
    sizes = {name: count for file in files for name, count in _headed(file).items()}
    if 4 * sum(sizes.values()) > (free := memory_free()):
        raise BadFile(
            f"{folder} holds {sum(sizes.values()):,} numbers: {size(4 * sum(sizes.values()))} as float32, and this "
            f"machine has {size(free)} of memory free. Take a smaller model, or a machine with more memory"
        )
    try:
        with _quietly():
            known = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        _check_kind(known, folder, auto)
        _ask_for_head(known, head)
        _check_size(known, sizes, folder, auto)
        for file in files:
            _check_weights(file)
        with _quietly(), _drawn_from(seed):  # transformers draws what it then overwrites, too
            loaded: Any = auto.from_pretrained(
                folder,
                config=known,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=head is not None,
                output_loading_info=True,
            )
    except BadFile:
        raise
    except Exception as error:  # transformers' models raise whatever a strange config makes them raise
        raise BadFile(
            f"{folder} is not {_KINDS[auto.__name__]} that transformers knows "
            f"(model_type {shown(str(config.get('model_type')))}): {shown(str(error), 160)}"
        ) from None
    model, found = loaded
    unlike = [*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])]
    lacking = sorted(key for key in unlike if not _is_computed(key, model))
    if any(not _in_head(key, model) for key in lacking) or (lacking and auto.__name__ in _WRITERS):
        raise BadFile(f"{folder}: the weights lack {shown(lacking[0])}: they are another model's")
    if lacking and head is None:
        raise BadFile(
            f"{folder} has no head for its classes (the weights lack {shown(lacking[0])}): it was pretrained for "
            "another task. Give the labels' names, and it gets a new one, to be trained: classes=['no', 'yes']"
        )
    if head is not None:
        with _drawn_from(seed), torch.no_grad():
            for name, value in type(model)(model.config).named_parameters():
                if _in_head(name, model):
                    model.get_parameter(name).copy_(value)
    return model.eval()


_WRITERS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")  # their heads come with them


def _in_head(name: str, model: PreTrainedModel) -> bool:
    return not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name


def _is_computed(name: str, model: PreTrainedModel) -> bool:
    """Whether a file may lack it: a table of sines, or what stands for masked sound in pretraining."""
    at, _, last = name.rpartition(".")
    module = model.get_submodule(at)
    value = getattr(module, last, None)
    still = isinstance(value, nn.Parameter) and not value.requires_grad
    return still or last == "masked_spec_embed" or "Sinusoidal" in type(module).__name__


def _ask_for_head(config: PretrainedConfig, head: Any) -> None:
    if isinstance(head, list):
        config.id2label = dict(enumerate(head))
        config.label2id = {label: number for number, label in enumerate(head)}
    elif head is not None:
        config.vocab_size, config.pad_token_id = len(head), head.pad_token_id
        config.bos_token_id = config.eos_token_id = None


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """Draws from this seed for a while; the generator is left as it was found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _weights(folder: Path) -> list[Path]:
    """The files that transformers will read the weights from."""
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    if not (folder / INDEX).exists():
        raise BadFile(
            f"{folder} holds no model.safetensors. Weights in .bin or .pt are pickles, which can run code on loading: "
            "convert them first (load them where you trust them, then model.save_pretrained(folder))"
        )
    where = read_json(folder / INDEX).get("weight_map")
    where = where if isinstance(where, dict) else {}
    names = {name if isinstance(name, str) else "" for name in where.values()}
    if not names or not all(re.fullmatch(r"[\w-]+\.safetensors", name) for name in names):
        raise BadFile(f"{folder / INDEX} does not say in which files of its folder the weights are")
    for file in names:
        missing = {name for name, at in where.items() if at == file} - _headed(folder / file).keys()
        if missing:
            raise BadFile(f"{folder / INDEX} says that {shown(min(missing))} is in {file}, which does not hold it")
    return [folder / name for name in sorted(names)]


def _headed(file: Path) -> dict[str, int]:
    """How many numbers each tensor of a file has, by its header; refuses one that is not as noted beside it."""
    check_header(file)
    check_noted(file)
    with _opened(file) as tensors:
        return {name: math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def _check_weights(file: Path) -> None:
    """Refuse a file that holds nan or inf; one tensor of it is in memory at a time."""
    with _opened(file) as tensors:
        for name in tensors.keys():  # noqa: SIM118
            check_finite(file, {name: tensors.get_tensor(name)})


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import safetensors

    with reading_weights(file), safetensors.safe_open(file, "pt") as tensors:
        yield tensors


@contextmanager
def _quietly() -> Iterator[None]:
    """Neither bars nor warnings of transformers for a while: a model on this machine is there at once."""
    from transformers.utils import logging

    shown, loud = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # of weights that the file has not, or has besides: what matters is an error here
    try:
        yield
    finally:
        logging.set_verbosity(loud)
        if shown:
            logging.enable_progress_bar()


def _check_kind(config: PretrainedConfig, folder: Path, auto: Any) -> None:
    """Refuse a model of another kind, in words, where transformers would say something else or nothing."""
    kind = auto.__name__
    if kind in _WRITERS:
        kind = "AutoModelForSeq2SeqLM" if config.is_encoder_decoder else "AutoModelForCausalLM"
    if kind != auto.__name__:
        raise BadFile(f"{folder} is {_KINDS[kind]}: give {_KINDS[auto.__name__]}")
    if type(config) not in auto._model_mapping:
        raise BadFile(f"{folder} is a {shown(config.model_type)}, and there is none that is {_KINDS[kind]}")


_LAYERS = [
    "num_hidden_layers",
    "num_layers",
    "num_encoder_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
    "n_layer",
    "n_layers",
    "depths",
]


def _check_size(config: PretrainedConfig, sizes: Mapping[str, int], folder: Path, auto: Any) -> None:
    """Refuse, before anything is allocated, a configuration of another or a larger model than the weights are of."""
    held, numbers = sum(sizes.values()), list(_numbers(config.to_dict()))
    asked = [f"{value:,} layers" for name, value in numbers if name in _LAYERS and value > len(sizes)]
    asked += [f"{name} {value:,}" for name, value in numbers if _WIDTH.search(name) and value > held]
    if not asked:  # building very many layers takes long, and some are allocated even on no device
        with torch.device("meta"):
            model = auto.from_config(config)
        needed = computed = fresh = 0
        for name, value in model.named_parameters():
            if _is_computed(name, model):
                computed += value.numel()
            elif _in_head(name, model) and auto.__name__ not in _WRITERS:
                fresh += value.numel()  # which the file may lack
            else:
                needed += value.numel()
        if needed <= held and computed <= MOST_COMPUTED and fresh <= max(held, MOST_COMPUTED):
            return
        asked = [f"{needed + computed + fresh:,} parameters"]
    raise BadFile(
        f"{folder}/config.json asks for {asked[0]}, "
        f"and the weights hold {len(sizes):,} tensors with {held:,} numbers: they do not belong together"
    )


_WIDTH = re.compile(r"size|dim|d_model|d_ff|d_kv|n_embd|n_inner")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every whole number of a configuration and of those inside it; of a list, which has one a layer, the sum."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, list) and all(isinstance(one, int) for one in value):
            yield name, sum(value)
        elif isinstance(value, int):
            yield name, value


def _cut(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedModel:
    """The model with as many logits as the tokenizer has tokens."""
    words, logits = len(tokenizer), model.get_output_embeddings().weight.shape[0]
    if logits < words:
        raise BadFile(f"{folder}: the tokenizer has {words:,} tokens and the model only {logits:,} logits")
    if logits > words:
        with torch.random.fork_rng(devices=[]):  # transformers draws new weights before it puts the old ones there
            model.resize_token_embeddings(words)
    return model


# Smaller ones


def smaller(model: PreTrainedModel, *, layers: float = 0.5, width: int | None = None, seed: int = 0) -> PreTrainedModel:
    """A student of the teacher's own kind: every other of its layers, copied; or, with `width`, a narrower one, new.

    Layers ``ceil(i · n / k)`` of n are kept, as DistilBERT's were, with the embeddings and the head. A narrower one has
    nothing to copy: it is drawn from `seed`, with heads and inner widths in proportion, of its teacher's configuration
    otherwise. The teacher is left as it is.

    Args:
        model: any of transformers': causal, encoder and decoder, classifier of texts or images, CTC.
        layers: how many of the layers are kept, of an encoder and of a decoder each: a share, or a number.
        width: of the hidden states; the teacher's if None.
        seed: from which a narrower one is drawn.

    Raises:
        BadValue: more layers or wider than the teacher, a width that its heads do not divide. BadType: no such model.

    Source: Sanh et al. 2019, DistilBERT, arXiv:1910.01108, section 3.

    >>> from distilkit.tasks.text import llama
    >>> teacher = llama(40, layers=4, width=64, seed=0)
    >>> student = smaller(teacher)
    >>> student.config.num_hidden_layers, smaller(teacher, width=32).config.hidden_size
    (2, 32)
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise BadType(f"model must be one of transformers', got a {type(model).__name__}: make its student yourself")
    seed = whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same student")
    config = copy.deepcopy(model.config)
    deep = {name: value for name, value in config.to_dict().items() if name in _LAYERS and value}
    if not deep:
        raise BadValue(f"{type(model).__name__} does not say how many layers it has: make its student yourself")
    most = max(max(value) if isinstance(value, list) else value for value in deep.values())
    if isinstance(layers, int):
        layers = whole("layers", layers, 1, most, "how many of the teacher's layers are kept")
    else:
        layers = real("layers", layers, 0, 1, "the share of the teacher's layers that is kept", above=True)

    def kept(count: int) -> int:
        return min(count, layers) if isinstance(layers, int) else math.ceil(layers * count - 1e-9)

    for name, value in config.to_dict().items():
        if name in deep:
            setattr(config, name, [kept(one) for one in value] if isinstance(value, list) else kept(value))
        elif "layer" in name and isinstance(value, list) and len(value) in deep.values():  # one entry a layer
            setattr(config, name, [value[place] for place in _places(len(value), kept(len(value)))])
    try:
        if width is not None:
            _narrow(config, width)
        with _drawn_from(seed):
            student = type(model)(config)
        if width is None:
            student.load_state_dict(_of_layers(model, student))
            student.tie_weights()
    except BadValue:
        raise
    except Exception as error:  # transformers' models raise whatever a strange config makes them raise
        raise BadValue(
            f"there is no such smaller {type(model).__name__} ({shown(str(error), 160)}): try another width or number "
            "of layers, or make one of a configuration of your own: type(teacher)(config)"
        ) from None
    if model.can_generate():
        student.generation_config = copy.deepcopy(model.generation_config)
    return student.to(device=model.device, dtype=model.dtype).eval()  # type: ignore[call-arg]


def _places(count: int, kept: int) -> list[int]:
    return [math.ceil(place * count / kept) for place in range(kept)]


def _of_layers(model: nn.Module, student: nn.Module) -> dict[str, torch.Tensor]:
    """The model's tensors under the names that they have in a student with fewer layers."""
    stacks, stack = {}, nn.ModuleList | nn.Sequential
    for name, theirs in student.named_modules():
        ours = model.get_submodule(name)
        if isinstance(theirs, stack) and isinstance(ours, stack) and len(theirs) < len(ours):
            stacks[name] = _places(len(ours), len(theirs))
    state, found = model.state_dict(), {}
    for name in student.state_dict():
        source = name
        for at, places in stacks.items():
            if name.startswith(f"{at}."):
                number, _, rest = name.removeprefix(f"{at}.").partition(".")
                source = f"{at}.{places[int(number)]}.{rest}"
        found[name] = state[source]
    return found


_HEADS = ["num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads", "decoder_attention_heads"]
_INNER = [
    "intermediate_size",
    "n_inner",
    "d_ff",
    "hidden_dim",
    "ffn_dim",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "moe_intermediate_size",
]
_AS_WIDE = (
    "output_hidden_size",
    "word_embed_proj_dim",
    "pooler_output_size",
    "pooler_hidden_size",
    "embedding_size",
)


def _narrow(config: PretrainedConfig, width: int) -> None:
    """Make the hidden states `width` wide, and heads and inner layers fewer and narrower in proportion."""
    own = config.to_dict()
    stages = own.get("hidden_sizes")
    wide = stages[-1] if stages else getattr(config, "hidden_size", None)
    if not isinstance(wide, int):
        raise BadValue(f"a {config.model_type} has not one width: make its student of a configuration of your own")
    width = whole("width", width, 8, wide, "of the hidden states, at most the teacher's")
    share = width / wide

    def scaled(value: int) -> int:
        return max(8, round(value * share / 8) * 8)

    if stages:  # of a convolutional network
        config.hidden_sizes = [*map(scaled, stages[:-1]), width]
        if "embedding_size" in own:
            config.embedding_size = scaled(own["embedding_size"])
        return
    config.hidden_size = width
    for name in _INNER:
        if own.get(name):
            setattr(config, name, scaled(own[name]))
    for name in _AS_WIDE:
        if own.get(name) == wide:
            setattr(config, name, width)
    for name in _HEADS:
        if own.get(name):
            setattr(config, name, _divisor(width // 2, own[name] * share))  # a head's width is even, for rotations
    heads = config.num_attention_heads
    if own.get("num_key_value_heads"):
        config.num_key_value_heads = _divisor(heads, own["num_key_value_heads"] * share)
    for name in ("head_dim", "d_kv", "rotary_dim"):
        if own.get(name):
            setattr(config, name, min(own[name], width // heads) if name == "rotary_dim" else width // heads)
    if "num_conv_pos_embedding_groups" in own:
        config.num_conv_pos_embedding_groups = math.gcd(width, own["num_conv_pos_embedding_groups"])


def _divisor(number: int, most: float) -> int:
    """The largest divisor of a number that is not above `most`, and 1 at least."""
    return max(divisor for divisor in range(1, max(1, int(most)) + 1) if number % divisor == 0)
