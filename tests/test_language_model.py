"""Language models from a folder in Hugging Face's format: any causal one, and nothing else."""

import contextlib
import functools
import hashlib
import json
import shutil

import pytest
import safetensors.torch
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import distilkit as dk
from distilkit.errors import BadFile
from distilkit.tasks.text import llama

from .faults import refused

WORDS = 70
SMALL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}


SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_attention_heads", "n_head", "num_key_value_heads"), 2),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 64),
    "head_dim": 16,
    "num_local_experts": 4,
}


def of_type(kind, words=WORDS, **more):
    """A small model of this type of transformers, by the names that its configuration has for sizes."""
    config = type(transformers.AutoConfig.for_model(kind))
    known = vars(config()).keys() | config.attribute_map.keys()
    sizes = {name: size for name, size in SIZES.items() if name in known}
    return transformers.AutoModelForCausalLM.from_config(config(vocab_size=words, **SMALL, **sizes, **more))


def small_llama(words=WORDS, **more):
    model = llama(words, layers=2, width=32, seed=0)
    return (
        model if not more else transformers.LlamaForCausalLM(transformers.LlamaConfig(**model.config.to_dict() | more))
    )


gpt2 = functools.partial(of_type, "gpt2")
KINDS = {"gpt2": gpt2, "llama": small_llama} | {kind: functools.partial(of_type, kind) for kind in ("opt", "gpt_neox")}


@functools.cache
def tokenizer(words=WORDS, first="a"):
    """A tokenizer of single characters: the end of a text, then those from `first` on."""
    vocabulary = {"<end>": 0, " ": 1} | {chr(ord(first) + place): place + 2 for place in range(words - 2)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", bos_token="<end>")


def saved(folder, model, words=WORDS, **how):
    torch.manual_seed(0)
    model.save_pretrained(folder, **how)
    tokenizer(words).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    """A good folder."""
    return saved(tmp_path / "model", gpt2())


def some_tokens(words=WORDS):
    return torch.randint(0, words, (3, 9), generator=torch.Generator().manual_seed(0))


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_those_of_the_saved_model(kind, tied, tmp_path):
    original = KINDS[kind](tie_word_embeddings=tied).eval()
    model, own = dk.language_model(saved(tmp_path, original))
    assert len(own) == WORDS
    assert not model.training
    assert next(model.parameters()).dtype == torch.float32
    torch.testing.assert_close(dk.predict(model, some_tokens()), dk.predict(original, some_tokens()))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_padded_logits_are_cut_off_at_the_tokenizer(kind, tied, tmp_path):
    original = KINDS[kind](128, tie_word_embeddings=tied).eval()
    model, _ = dk.language_model(saved(tmp_path, original))
    logits = dk.predict(model, some_tokens())
    assert logits.shape == (3, 9, WORDS)
    torch.testing.assert_close(logits, dk.predict(original, some_tokens())[..., :WORDS])


@pytest.mark.parametrize(
    "kind",
    ["mistral", "qwen3", "gemma3_text", "phi3", "olmo2", "bloom", "gpt_bigcode", "mixtral", "gpt_oss", "mamba"],
)
def test_a_model_of_another_type_teaches(kind, tmp_path):
    original = of_type(kind, 128).eval()
    teacher, _ = dk.language_model(saved(tmp_path / "teacher", original))
    torch.testing.assert_close(dk.predict(teacher, some_tokens()), dk.predict(original, some_tokens())[..., :WORDS])
    text = dk.teacher_text(teacher, some_tokens()[:, :4], length=4)
    assert text.inputs.max() < WORDS
    cache = dk.cache_teacher(teacher, text, tmp_path / "cache", top=WORDS, temperature=2.0)
    knobs = dk.Knobs(temperature=2.0, alpha=1.0)
    online, cached = (
        [step.loss for step in dk.distill(small_llama(), source, text, knobs=knobs, steps=2)]
        for source in (teacher, cache)
    )
    assert online == pytest.approx(cached, rel=1e-3, abs=1e-6)


def test_a_configuration_that_does_not_run_is_refused(tmp_path):
    edit(saved(tmp_path, of_type("mixtral", WORDS)), num_experts_per_tok=9)  # of four
    refused(lambda: dk.language_model(tmp_path), OSError, str(tmp_path), "cannot be run", "config.json")


def test_fewer_logits_than_tokens_are_refused(tmp_path):
    saved(tmp_path, gpt2(WORDS - 6))
    refused(lambda: dk.language_model(tmp_path), OSError, str(WORDS), str(WORDS - 6))


def test_several_files_are_one_model(tmp_path):
    original = gpt2().eval()
    saved(tmp_path, original, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    torch.testing.assert_close(
        dk.predict(dk.language_model(tmp_path)[0], some_tokens()), dk.predict(original, some_tokens())
    )


def test_bfloat16_becomes_float32(tmp_path):
    original = small_llama().to(torch.bfloat16)
    model, _ = dk.language_model(saved(tmp_path, original))
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    torch.testing.assert_close(dk.predict(model, some_tokens()), dk.predict(original.float(), some_tokens()))


@pytest.mark.parametrize("kind", KINDS)
def test_loading_draws_nothing_from_the_global_generator(kind, tmp_path):
    saved(tmp_path, KINDS[kind](128, tie_word_embeddings=False))
    before = torch.get_rng_state()
    dk.language_model(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def weights_of(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


def keep(folder, weights):
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_f32_truncated(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    refused(lambda: dk.language_model(folder), OSError, str(file), "not a whole safetensors file")


def test_f33_a_flipped_bit(folder):
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    file.with_name(file.name + ".sha256").write_text(hashlib.sha256(data).hexdigest())
    dk.language_model(folder)
    data[-1] ^= 1
    file.write_bytes(data)
    refused(lambda: dk.language_model(folder), OSError, "sha256", "damaged")


def test_f39_a_config_too_deep_not_json_or_no_object(folder):
    for text, word in (("[" * 100_000, "not JSON"), ("{,", "not JSON"), ("[1, 2]", "JSON object"), ("", "not JSON")):
        (folder / "config.json").write_text(text)
        refused(lambda: dk.language_model(folder), OSError, "config.json", word)


def test_f41_pickles_alone_are_refused_and_beside_weights_ignored(folder):
    (folder / "pytorch_model.bin").write_bytes(b"\x80 poison")
    dk.language_model(folder)
    (folder / "model.safetensors").unlink()
    refused(lambda: dk.language_model(folder), OSError, "pickle", "convert")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (b"<!doctype html><title>Sign in</title>", "web page"),
        (b"\x80\x04 pickle", "pickle"),
        (b"", "not a whole"),
    ],
)
def test_f40_f42_f43_what_is_no_safetensors_file(folder, data, word):
    (folder / "model.safetensors").write_bytes(data)
    refused(lambda: dk.language_model(folder), OSError, "model.safetensors", word)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_f45_broken_weights(folder, bad):
    weights = weights_of(folder)
    weights["transformer.h.1.mlp.c_fc.bias"][3] = bad
    keep(folder, weights)
    refused(lambda: dk.language_model(folder), OSError, "transformer.h.1.mlp.c_fc.bias", "nan or inf")


def test_f47_a_folder_that_is_missing_or_a_file(folder, tmp_path):
    refused(lambda: dk.language_model(tmp_path / "none"), OSError, "none")
    refused(lambda: dk.language_model(folder / "config.json"), OSError, "config.json")
    strange = shutil.copytree(folder, tmp_path / "ein Ordner für 学生")
    dk.language_model(strange)


def test_f47_a_folder_without_config_or_tokenizer(folder):
    for name, word in (
        ("tokenizer.json", "tokenizer"),
        ("tokenizer_config.json", "tokenizer"),
        ("config.json", "config"),
    ):
        (folder / name).unlink()
        refused(lambda: dk.language_model(folder), OSError, word)


def test_a_broken_tokenizer(folder):
    for text in ("{", "{}", "[" * 100_000, '{"model": {"type": "BPE"}}'):
        (folder / "tokenizer.json").write_text(text)
        refused(lambda: dk.language_model(folder), OSError, "tokenizer")


@pytest.mark.parametrize(
    "changes",
    [
        {"n_embd": 10**9},
        {"vocab_size": 10**12},
        {"n_layer": 10**9},
        {"n_layer": 40},
        {"n_embd": -32},
        {"n_embd": "32"},
        {"n_embd": None},
        {"n_head": 0},
        {"n_positions": 10**10},
    ],
    ids=str,
)
def test_f48_impossible_sizes_are_refused_before_anything_is_allocated(folder, changes):
    edit(folder, **changes)
    refused(lambda: dk.language_model(folder), OSError, str(folder))


def test_f62_code_of_the_folder_is_not_run(folder):
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    edit(folder, auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"}, model_type="evil")
    refused(lambda: dk.language_model(folder), OSError, "auto_map")


def test_f62_nor_that_of_its_tokenizer(folder):
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(
            json.loads(path.read_text())
            | {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
        )
    )
    with contextlib.suppress(BadFile):
        dk.language_model(folder)


def test_f63_a_model_type_that_nobody_knows(folder):
    for strange in ("<script>alert(1)</script>", "", None, 7):
        edit(folder, model_type=strange)
        refused(lambda: dk.language_model(folder), OSError, str(folder))


def test_weights_of_another_model_are_refused(folder):
    weights = weights_of(folder)
    weights["something.else"] = weights.pop("transformer.h.1.mlp.c_fc.weight")
    keep(folder, weights)
    refused(lambda: dk.language_model(folder), OSError, "transformer.h.1.mlp.c_fc.weight")


def test_weights_of_other_shapes_are_refused(folder):
    weights = weights_of(folder)
    weights["transformer.h.1.mlp.c_fc.weight"] = weights["transformer.h.1.mlp.c_fc.weight"].T.contiguous()
    keep(folder, weights)
    refused(lambda: dk.language_model(folder), OSError, str(folder))


def test_what_is_not_a_causal_language_model_is_refused(tmp_path):
    t5 = transformers.T5Config(vocab_size=WORDS, d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2)
    bart = transformers.BartConfig(
        vocab_size=WORDS,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=64,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    bert = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    for name, model in {
        "t5": transformers.T5ForConditionalGeneration(t5),
        "bart": transformers.BartForConditionalGeneration(bart),
        "bert": transformers.BertForMaskedLM(bert),
    }.items():
        saved(tmp_path / name, model)
        refused(lambda name=name: dk.language_model(tmp_path / name), OSError, name)


def test_f17_tokenizers_that_differ(folder, tmp_path):
    task = dk.tasks.docs()
    words = "'<end>' is number 0 of 70", "none of 1,280", "teacher_text"
    refused(lambda: dk.language_model(folder, tokenizer=task.tokenizer), ValueError, *words)
    other = tokenizer(first="b")
    refused(lambda: dk.language_model(folder, tokenizer=other), ValueError, "'a'", "number 2 of 70", "none of 70")
    assert dk.language_model(folder, tokenizer=tokenizer())[1].get_vocab() == tokenizer().get_vocab()


@pytest.fixture
def own(tmp_path):
    """A text of your own, and a teacher of single characters."""
    (tmp_path / "own.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 60)
    return tmp_path / "own.txt", saved(tmp_path / "teacher", small_llama(128))


def test_a_teacher_of_your_own_teaches(own):
    path, folder = own
    task = dk.tasks.text(path, tokens=1500, context=16, teacher=folder)
    teacher, student = task.teacher(), task.student(0, layers=1, width=32)
    assert student.get_output_embeddings().weight.shape[0] == len(task.tokenizer) == WORDS
    run = dk.distill(student, teacher, task.transfer, knobs=dk.Knobs(alpha=1.0, temperature=1.0), steps=25)
    history = list(run)
    assert history[-1].loss < history[0].loss / 2
    assert task.score(student)["perplexity"] < 1.5 * WORDS


def test_f17_a_teacher_with_another_tokenizer_than_its_task(own):
    path, folder = own
    task = dk.tasks.text(path, tokens=1500, context=16, teacher=folder)
    tokenizer(WORDS, "b").save_pretrained(folder)
    refused(task.teacher, ValueError, "tokenizers differ")
