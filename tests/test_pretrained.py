"""Classifiers, speech and image models from a folder, with a head of their own or a new one; and smaller students."""

import functools
import json
import os
import re

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

import distilkit as dk
from distilkit import pretrained
from distilkit.models import call, logits_of

from .faults import refused
from .loopback_hub import serving
from .test_language_model import WORDS, edit, gpt2, keep, saved, small_llama, tokenizer, weights_of
from .test_models import one, raw

DEEP = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
BOTH = {
    f"{side}_{what}": number
    for side in ("encoder", "decoder")
    for what, number in (("layers", 4), ("attention_heads", 4), ("ffn_dim", 64))
}
ENDS = {
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
EARS = {
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LETTERS = list("abcdefgh ")


def bert(kind=transformers.BertForSequenceClassification, **more):
    return kind(transformers.BertConfig(vocab_size=WORDS, **DEEP, **more))


def roberta():
    return transformers.RobertaForSequenceClassification(transformers.RobertaConfig(vocab_size=WORDS, **DEEP))


def distilbert():
    config = transformers.DistilBertConfig(vocab_size=WORDS, dim=32, n_layers=4, n_heads=4, hidden_dim=64)
    return transformers.DistilBertForSequenceClassification(config)


def t5():
    config = transformers.T5Config(vocab_size=WORDS, d_model=32, d_kv=8, d_ff=64, num_layers=4, num_heads=4, **ENDS)
    return transformers.T5ForConditionalGeneration(config)


def marian():
    config = transformers.MarianConfig(vocab_size=WORDS, d_model=32, max_position_embeddings=64, **BOTH, **ENDS)
    return transformers.MarianMTModel(config)


def bart():
    config = transformers.BartConfig(vocab_size=WORDS, d_model=32, max_position_embeddings=64, **BOTH, **ENDS)
    return transformers.BartForConditionalGeneration(config)


def pegasus():
    config = transformers.PegasusConfig(vocab_size=WORDS, d_model=32, max_position_embeddings=64, **BOTH, **ENDS)
    return transformers.PegasusForConditionalGeneration(config)


def wav2vec2(kind=transformers.Wav2Vec2ForCTC, words=11):
    return kind(transformers.Wav2Vec2Config(vocab_size=words, **EARS, **DEEP))


def wav2vec2_bert(kind=transformers.Wav2Vec2BertForCTC, words=11):
    return kind(transformers.Wav2Vec2BertConfig(vocab_size=words, **DEEP))


def vit(kind=transformers.ViTForImageClassification):
    return kind(transformers.ViTConfig(image_size=32, patch_size=8, num_labels=3, **DEEP))


def resnet(layer_type="bottleneck"):
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[2, 4], layer_type=layer_type, num_labels=3
    )
    return transformers.ResNetForImageClassification(config)


def convnext():
    config = transformers.ConvNextConfig(hidden_sizes=[16, 32], depths=[2, 4], num_stages=2, num_labels=3)
    return transformers.ConvNextForImageClassification(config)


KINDS = {
    "gpt2": functools.partial(gpt2),
    "llama": small_llama,
    "bert": bert,
    "roberta": roberta,
    "distilbert": distilbert,
    "t5": t5,
    "marian": marian,
    "bart": bart,
    "pegasus": pegasus,
    "wav2vec2": wav2vec2,
    "wav2vec2-bert": wav2vec2_bert,
    "vit": vit,
    "resnet": resnet,
    "resnet-basic": functools.partial(resnet, "basic"),
    "convnext": convnext,
}


def inputs_of(model, rows=2):
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(3, WORDS, (rows, 7), generator=draw)
    kind = model.config.model_type
    if kind in ("vit", "resnet", "convnext"):
        return torch.randn(rows, 3, 32, 32, generator=draw)
    if kind == "wav2vec2":
        return torch.randn(rows, 800, generator=draw)
    if kind == "wav2vec2-bert":
        return torch.randn(rows, 20, 160, generator=draw)
    return dk.Inputs(input_ids=words, decoder_input_ids=words) if model.config.is_encoder_decoder else words


@pytest.fixture
def texts(tmp_path):
    """A classifier of texts, fine-tuned: three labels."""
    torch.manual_seed(0)
    return saved(tmp_path / "texts", bert(id2label={0: "no", 1: "yes", 2: "perhaps"}))


@pytest.fixture
def base(tmp_path):
    """A model of texts that was only pretrained."""
    torch.manual_seed(0)
    return saved(tmp_path / "base", bert(transformers.BertModel))


@pytest.fixture
def speech(tmp_path):
    """A CTC model of the letters, and its processor."""
    torch.manual_seed(0)
    ears = transformers.Wav2Vec2FeatureExtractor()
    transformers.Wav2Vec2Processor(ears, pretrained._spelling(LETTERS)).save_pretrained(tmp_path / "speech")
    wav2vec2().save_pretrained(tmp_path / "speech")
    return tmp_path / "speech"


@pytest.fixture
def images(tmp_path):
    """A classifier of images, and its processor."""
    torch.manual_seed(0)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessorPil(size=size).save_pretrained(tmp_path / "images")
    vit().save_pretrained(tmp_path / "images")
    return tmp_path / "images"


# Loading


def test_a_classifier_of_texts(texts):
    model, words = dk.classifier_model(texts)
    original = transformers.BertForSequenceClassification.from_pretrained(texts).eval()
    batch = torch.randint(3, WORDS, (4, 6))
    torch.testing.assert_close(dk.predict(model, batch), dk.predict(original, batch))
    assert model.config.id2label == {0: "no", 1: "yes", 2: "perhaps"}
    assert len(words) == WORDS
    assert words.pad_token is not None
    with pytest.raises(ValueError, match="tokenizers differ"):
        dk.classifier_model(texts, tokenizer=tokenizer(first="b"))


def test_a_speech_model(speech):
    model, processor = dk.speech_model(speech)
    sound = np.random.default_rng(0).normal(size=1600).astype(np.float32)
    inputs = processor(sound, sampling_rate=16_000, return_tensors="pt").input_values
    logits = dk.predict(model, inputs)
    assert logits.shape == (1, 159, 11)
    assert processor.tokenizer.encode("bad") == [3, 2, 5]
    assert set(processor.batch_decode(logits.argmax(-1))[0]) <= {*LETTERS, *"<unk>"}


def test_an_image_model(images):
    model, processor = dk.image_model(images)
    pictures = [np.full((40, 50, 3), shade, np.uint8) for shade in (0, 90, 255)]
    assert dk.predict(model, processor(pictures, return_tensors="pt")["pixel_values"]).shape == (3, 3)


def test_all_by_name_from_a_hub(texts, speech, images, tmp_path, monkeypatch):
    (tmp_path / "org").mkdir()
    for folder in (texts, speech, images):
        folder.rename(tmp_path / "org" / folder.name)
    with serving(tmp_path) as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        commit = hub.push("org/texts")
        assert dk.classifier_model("org/texts", revision=commit)[0].config.num_labels == 3
        assert dk.speech_model("org/speech")[0].config.vocab_size == 11
        assert dk.image_model("org/images")[0].config.num_labels == 3
        refused(lambda: dk.image_model("org/images", revision="v2"), OSError, "no revision")


def test_the_same_checks_for_all(texts, speech, images):
    for load, folder in ((dk.classifier_model, texts), (dk.speech_model, speech), (dk.image_model, images)):
        config = json.loads((folder / "config.json").read_text())
        weights = weights_of(folder)
        for change, word in (
            ({"hidden_size": 10**9}, "hidden_size 1,000,000,000"),
            ({"num_hidden_layers": 10**9}, "layers"),
            ({"num_hidden_layers": 5}, "do not belong together"),
            ({"auto_map": {"AutoModel": "evil.Evil"}}, "auto_map"),
            ({"_attn_implementation_internal": "evil/kernel"}, "kernel"),
            ({"num_labels": 10**9}, "labels"),
            ({"model_type": "evil"}, str(folder)),
        ):
            edit(folder, **change)
            refused(lambda load=load, folder=folder: load(folder), OSError, word)
            (folder / "config.json").write_text(json.dumps(config))
        name = next(name for name in weights if ".layer" in name and name.endswith(".weight"))
        keep(folder, {key: value for key, value in weights.items() if key != name})
        refused(lambda load=load, folder=folder: load(folder), OSError, str(folder))
        keep(folder, weights | {name: weights[name] * torch.nan})
        refused(lambda load=load, folder=folder: load(folder), OSError, name, "nan or inf")
        keep(folder, weights)
        load(folder)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        refused(lambda load=load, folder=folder: load(folder), OSError, "pickle", "convert")


def test_another_kind_of_model_is_named(texts, images):
    for load in (dk.language_model, dk.seq2seq_model):
        refused(lambda load=load: load(texts), OSError, str(texts))
    refused(lambda: dk.image_model(texts), OSError, "image processor")
    (images / "tokenizer.json").write_bytes((texts / "tokenizer.json").read_bytes())
    (images / "tokenizer_config.json").write_bytes((texts / "tokenizer_config.json").read_bytes())
    refused(lambda: dk.classifier_model(images), OSError, "a 'vit'", "a classifier of texts")


def test_a_base_model_has_no_head_and_gets_one(base):
    refused(
        lambda: dk.classifier_model(base), OSError, "no head for its classes", "classifier", "classes=['no', 'yes']"
    )
    models = [dk.classifier_model(base, classes=["no", "yes"], seed=seed)[0] for seed in (0, 0, 1)]
    assert models[0].config.id2label == {0: "no", 1: "yes"}
    assert models[0].config.label2id == {"no": 0, "yes": 1}
    heads = [model.classifier.weight for model in models]
    assert heads[0].shape == (2, 32)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    trained = safetensors.torch.load_file(base / "model.safetensors")
    assert torch.equal(
        models[0].bert.encoder.layer[3].output.dense.weight, trained["encoder.layer.3.output.dense.weight"]
    )


def test_a_new_head_in_the_place_of_an_old_one(texts):
    old = dk.classifier_model(texts)[0].classifier.weight
    same = dk.classifier_model(texts, classes=["a", "b", "c"], seed=3)[0].classifier.weight
    more = dk.classifier_model(texts, classes=list("abcde"))[0]
    assert not torch.equal(old, same)
    assert more.classifier.weight.shape == (5, 32)
    assert more.config.num_labels == 5


def test_a_base_without_its_pooler_and_a_language_model_may_classify(tmp_path):
    masked = saved(tmp_path / "masked", bert(transformers.BertForMaskedLM))
    assert dk.predict(dk.classifier_model(masked, classes=["no", "yes"])[0], torch.ones(2, 5).long()).shape == (2, 2)
    model, words = dk.classifier_model(saved(tmp_path / "llama", small_llama()), classes=["no", "yes"])
    batch = words(["ab", "abcd"], padding=True, return_tensors="pt")
    assert dk.predict(model, dk.Inputs(**batch)).shape == (2, 2)


def test_speech_and_image_models_with_new_heads(tmp_path, images):
    folder = tmp_path / "heard"
    torch.manual_seed(0)
    wav2vec2(transformers.Wav2Vec2Model).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    refused(lambda: dk.speech_model(folder), OSError, "classes=")
    model, processor = dk.speech_model(folder, classes=list("no yes"))
    assert processor.tokenizer.decode(processor.tokenizer.encode("yes no")) == "yes no"
    assert dk.predict(model, torch.randn(1, 800)).shape[-1] == len(processor.tokenizer) == 2 + len(set("no yes"))
    labels = torch.tensor([processor.tokenizer.encode("no")])
    assert model(torch.randn(1, 800), labels=labels).loss.isfinite()
    assert dk.image_model(images, classes=["a", "b"])[0].classifier.weight.shape == (2, 32)


def test_classes_that_are_none(base):
    for classes, kind in (
        ("no", TypeError),
        ([1, 2], TypeError),
        (["no"], ValueError),
        (["no", "no"], ValueError),
        (7, TypeError),
    ):
        refused(lambda classes=classes: dk.classifier_model(base, classes=classes), kind, "classes must be")
    refused(lambda: dk.classifier_model(base, classes=["a", "b"], seed=-1), ValueError, "seed")


def test_loading_leaves_the_generator_as_it_was(base):
    before = torch.get_rng_state()
    dk.classifier_model(base, classes=["no", "yes"])
    assert torch.equal(torch.get_rng_state(), before)


def test_f48_an_index_that_is_wrong(tmp_path):
    folder = saved(tmp_path / "parts", small_llama(), max_shard_size="20KB")
    path = folder / pretrained.INDEX
    good = json.loads(path.read_text())
    name, file = next(iter(good["weight_map"].items()))
    for change, word in (
        ({**good["weight_map"], name: "../elsewhere.safetensors"}, "does not say"),
        ({**good["weight_map"], name: 7}, "does not say"),
        ({**good["weight_map"], "another.weight": file}, "another.weight"),
        ({**good["weight_map"], name: "model-none.safetensors"}, "model-none"),
        ({}, "does not say"),
        (7, "does not say"),
    ):
        path.write_text(json.dumps({"weight_map": change}))
        refused(lambda: dk.language_model(folder), OSError, word)
    (folder / file).unlink()
    path.write_text(json.dumps(good))
    refused(lambda: dk.language_model(folder), OSError, file)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((2**63).to_bytes(8, "little") + b"{}", id="f34_header_of_2^63"),
        pytest.param(raw(one(), bytes(9)), id="f35_trailing_bytes"),
        pytest.param(raw(one() | {"b": one()["a"] | {"data_offsets": [4, 12]}}, bytes(12)), id="f36_overlap"),
        pytest.param(raw(one(shape=[2**62, 4]), bytes(8)), id="f37_overflow"),
        pytest.param(raw(one(shape=["2"]), bytes(8)), id="a_shape_of_words"),
        pytest.param(raw(one(shape=None), bytes(8)), id="no_shape"),
        pytest.param(
            raw(json.dumps(one())[:-1].encode() + b"," + json.dumps(one())[1:].encode(), bytes(8)), id="f38_twice"
        ),
        pytest.param(raw(b"[" * 20_000 + b"]" * 20_000), id="f39_deep"),
        pytest.param(raw([1, 2]), id="list"),
    ],
)
def test_f34_f35_f36_f37_f38_f39_malformed_weights_of_a_folder(texts, data):
    (texts / "model.safetensors").write_bytes(data)
    refused(lambda: dk.classifier_model(texts), OSError, "model.safetensors")


def test_f46_what_is_no_file(texts):
    (texts / "model.safetensors").unlink()
    os.mkfifo(texts / "model.safetensors")
    refused(lambda: dk.classifier_model(texts), OSError, "not a regular file")


@pytest.mark.parametrize("kind", ["pegasus", "marian", "wav2vec2"])
def test_what_is_computed_may_be_absent(kind, tmp_path, speech):
    folder = speech if kind == "wav2vec2" else saved(tmp_path / kind, KINDS[kind]())
    load = dk.speech_model if kind == "wav2vec2" else dk.seq2seq_model
    whole, _ = load(folder)
    weights = weights_of(folder)
    keep(folder, {name: value for name, value in weights.items() if not re.search("embed_positions|masked_spec", name)})
    lean, _ = load(folder)
    inputs = inputs_of(whole)
    torch.testing.assert_close(dk.predict(lean, inputs), dk.predict(whole, inputs))


def test_nothing_is_said_of_what_is_no_fault(base, capfd, caplog):
    dk.classifier_model(base, classes=["no", "yes"])
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")


def test_f71_a_folder_larger_than_the_memory(tmp_path, monkeypatch):
    folder = saved(tmp_path / "model", small_llama())
    monkeypatch.setattr(pretrained, "memory_free", lambda: 1000)
    refused(lambda: dk.language_model(folder), OSError, "1 KB of memory free", "smaller")


# Smaller ones


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_layer_is_copied(kind):
    torch.manual_seed(0)
    teacher = KINDS[kind]().eval()
    with torch.no_grad():
        for value in teacher.parameters():
            value.add_(0.02 * torch.randn_like(value))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = dk.smaller(teacher)
    assert type(student) is type(teacher)
    assert student.num_parameters() < teacher.num_parameters()
    theirs, ours = teacher.state_dict(), student.state_dict()
    for name, value in ours.items():
        layer = re.search(r"\.(layers?|block|h)\.(\d+)\.", name)
        source = name
        if layer:
            stack = teacher.get_submodule(name[: layer.start(2) - 1])
            kept = student.get_submodule(name[: layer.start(2) - 1])
            place = -(-int(layer[2]) * len(stack) // len(kept))
            source = f"{name[: layer.start(2)]}{place}{name[layer.end(2) :]}"
        assert torch.equal(value, theirs[source]), name
        assert value.data_ptr() != theirs[source].data_ptr()
    inputs = inputs_of(student)
    assert logits_of(call(student, inputs)).shape == logits_of(call(teacher, inputs)).shape
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    whole = dk.smaller(teacher, layers=1.0)
    torch.testing.assert_close(dk.predict(whole, inputs), dk.predict(teacher, inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_a_narrower_one_is_drawn_from_its_seed_alone(kind):
    teacher = KINDS[kind]()
    torch.manual_seed(5)
    one = dk.smaller(teacher, width=24)
    torch.manual_seed(6)
    again, other = dk.smaller(teacher, width=24), dk.smaller(teacher, width=24, seed=1)
    inputs = inputs_of(one)
    assert torch.equal(dk.predict(one, inputs), dk.predict(again, inputs))
    assert not torch.equal(dk.predict(one, inputs), dk.predict(other, inputs))
    assert type(one.config) is type(teacher.config)
    assert one.num_parameters() < dk.smaller(teacher).num_parameters()
    assert dk.predict(one, inputs).shape == dk.predict(teacher, inputs).shape


def test_a_smaller_one_is_trained_saved_and_loaded(tmp_path):
    teacher, _ = dk.language_model(saved(tmp_path / "teacher", small_llama()))
    student = dk.smaller(teacher, layers=1)
    text = torch.randint(0, WORDS, (8, 12))
    history = list(dk.distill(student, teacher, dk.Examples(text, text), knobs=dk.Knobs(1.0, 0.5, 0.01), steps=10))
    assert history[-1].loss < history[0].loss
    again, _ = dk.language_model(saved(tmp_path / "student", student))
    torch.testing.assert_close(dk.predict(again, text), dk.predict(student, text))


def test_what_cannot_be_smaller_says_so():
    teacher = small_llama()
    refused(lambda: dk.smaller(torch.nn.Linear(2, 2)), TypeError, "Linear")
    for layers in (0, 3, 1.5, 0.0, float("nan")):
        refused(lambda layers=layers: dk.smaller(teacher, layers=layers), ValueError, "layers")
    refused(lambda: dk.smaller(teacher, layers=True), TypeError, "layers")
    for width in (64, 4, -1):
        refused(lambda width=width: dk.smaller(teacher, width=width), ValueError, "width")
    refused(lambda: dk.smaller(teacher, seed=-1), ValueError, "seed")
    swin = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=16, depths=[2, 4], num_heads=[2, 4], window_size=4
    )
    refused(
        lambda: dk.smaller(transformers.SwinForImageClassification(swin), width=16), ValueError, "Swin", "configuration"
    )
