"""On the edge: what ONNX Runtime writes is what PyTorch writes, in little memory; int8 is smaller."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit import edge
from distilkit.models import Inputs
from distilkit.tasks.shop import stepper
from tests.faults import refused

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def task():
    return dk.tasks.shop(labelled=20)


@pytest.fixture(scope="module")
def model(task):
    return task.distilled()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    return {name: edge.export(model, folder / f"{name}.onnx", int8=name == "int8") for name in ("float32", "int8")}


def test_the_same_logits_with_and_without_a_cache(task, model, files):
    tokens = task.test.inputs[:1, :40]
    ours, theirs = stepper(model), edge.OnnxModel(files["float32"]).stepper()
    for part in (tokens[:, :25], tokens[:, 25:26], tokens[:, 26:]):
        torch.testing.assert_close(ours(part), torch.from_numpy(theirs(part.numpy())), rtol=1e-4, atol=1e-4)


def test_it_replies_as_pytorch_does(task, model, files):
    asked = [(dialogue, place) for dialogue in task.held_out[:10] for place in range(len(dialogue.turns))]
    ours, theirs = task.answered(model, asked), task.answered(edge.OnnxModel(files["float32"]), asked)
    assert [(one.lookup, one.answer) for one in ours] == [(one.lookup, one.answer) for one in theirs]


def test_int8_costs_little_quality(task, model, files):
    whole, quantised = (task.score(one, limit=40)["exact"] for one in (model, edge.OnnxModel(files["int8"])))
    assert quantised >= whole - 0.05
    assert files["int8"].stat().st_size < 0.6 * files["float32"].stat().st_size


def test_one_core_and_512_megabytes(task, files):
    prompts = [row[:30].tolist() for row in task.test.inputs[:2]]
    for path in files.values():
        found = edge.measure(path, prompts, length=8)
        assert 0 < found["peak_mb"] < edge.MEMORY
        assert found["tokens_per_second"] > 50
        assert found["file_mb"] == pytest.approx(path.stat().st_size / 1e6)


def test_the_runtime_needs_no_pytorch(files):
    code = f"import sys; from distilkit import edge; edge.OnnxModel({str(files['int8'])!r}).stepper()"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_f33_a_flipped_bit_is_found(files, tmp_path):
    path = tmp_path / "model.onnx"
    data = bytearray(files["int8"].read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    path.with_name("model.onnx.sha256").write_text((files["int8"].parent / "int8.onnx.sha256").read_text())
    refused(lambda: edge.OnnxModel(path), OSError, "damaged", "sha256")


@pytest.mark.parametrize("data", [b"", b"<html>", b"version https://git-lfs", bytes(1000)])
def test_f43_not_a_model(tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    refused(lambda: edge.OnnxModel(path), OSError, "no model that")


def test_f47_nothing_there(tmp_path, model):
    refused(lambda: edge.OnnxModel(tmp_path / "none.onnx"), OSError, "cannot read")
    refused(lambda: edge.measure(tmp_path / "none.onnx", [[1]]), OSError, "export")
    refused(lambda: edge.export(model, tmp_path / "model.bin"), ValueError, ".onnx")
    assert not list(tmp_path.iterdir())


def test_impossible_jobs(files):
    refused(lambda: edge.measure(files["int8"], []), ValueError, "no prompts")
    refused(lambda: edge.measure(files["int8"], [[]]), ValueError, "empty")
    refused(lambda: edge.measure(files["int8"], [[1]], length=0), ValueError, "length")
    refused(lambda: edge.measure(files["int8"], [[10**6]]), ValueError, "could not be measured")


def test_a_missing_package_says_what_to_install(monkeypatch, files):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(lambda: edge.OnnxModel(files["int8"]), ValueError, "pip install 'distilkit[apps]'")


def test_pytorch_is_measured_the_same_way(task):
    found = edge.measure(dk.models.data_path("shop/distilled"), [task.test.inputs[0, :20].tolist()], length=4)
    assert json.dumps(found)
    assert found["peak_mb"] > 200


# ------------------------------------------------------------------------------------------------------- any model


def net(classes=5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, classes)).eval()


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=3, **sizes)).eval()


class Remembering(nn.Module):
    """Counts its rows while it is exported, as a loop over time does."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs):
        state = torch.zeros(int(inputs.shape[0]), 3)
        for at in range(inputs.shape[1]):
            state = torch.cat([state, self.linear(inputs[:, at])])[-int(inputs.shape[0]) :]
        return state


def same(ours, theirs, inputs):
    for some in (inputs, inputs[:1]):
        torch.testing.assert_close(dk.predict(theirs, some), dk.predict(ours, some), rtol=1e-4, atol=1e-4)


def test_a_classifier_of_pictures_runs_without_pytorch(tmp_path):
    model, pictures = net(), torch.randn(7, 1, 8, 8)
    path = edge.export(model, tmp_path / "net.onnx", inputs=pictures[:1])
    same(model, edge.load(path), pictures)
    found = edge.measure(path, pictures[:1])
    assert 0 < found["p50_ms"] <= found["p90_ms"]
    assert 0 < found["peak_mb"] < edge.MEMORY
    small = edge.load(edge.export(model, tmp_path / "small.onnx", inputs=pictures, int8=True))
    assert dk.metrics.agreement(dk.predict(small, pictures), dk.predict(model, pictures)) > 0.8


def test_a_classifier_of_transformers_by_name(tmp_path):
    model, tokens = bert(), torch.randint(0, 50, (4, 9))
    texts = Inputs(input_ids=tokens, attention_mask=(tokens > 5).long())
    path = edge.export(model, tmp_path / "bert.onnx", inputs=texts)
    same(model, edge.load(path), texts)
    longer = torch.randint(0, 50, (2, 17))
    same(model, edge.load(path), Inputs(input_ids=longer, attention_mask=torch.ones_like(longer)))
    assert edge.measure(path, texts[:1])["file_mb"] == pytest.approx(path.stat().st_size / 1e6)


def test_a_model_that_counts_its_rows_is_run_one_at_a_time(tmp_path):
    model, inputs = Remembering().eval(), torch.randn(3, 2, 4)
    same(model, edge.load(edge.export(model, tmp_path / "model.onnx", inputs=inputs)), inputs)


def test_a_score_takes_an_exported_model(tmp_path):
    task = dk.tasks.digits()
    teacher = task.teacher()
    path = edge.export(teacher, tmp_path / "teacher.onnx", inputs=task.test.inputs)
    assert task.score(edge.load(path)) == pytest.approx(task.score(teacher), abs=1e-4)


def test_what_cannot_be_exported_says_so(tmp_path):
    class Odd(nn.Module):
        def forward(self, inputs):
            return inputs if float(inputs.sum()) > 0 else -inputs

    refused(lambda: edge.export(net(), tmp_path / "a.onnx"), ValueError, "inputs=")
    refused(lambda: edge.export(Odd(), tmp_path / "a.onnx", inputs=torch.ones(2, 3)), ValueError, "does not follow")
    refused(lambda: edge.OnnxModel(edge.export(net(), tmp_path / "b.onnx", inputs=torch.zeros(1, 1, 8, 8))), OSError,
            "dk.edge.load")  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ forms


def test_forms_of_a_classifier_side_by_side():
    pictures = dk.Examples(torch.randn(20, 1, 8, 8), torch.zeros(20).long())
    kinds = ["float32", "bfloat16", "int8", "ONNX", "ONNX int8"]
    models = {"teacher": net(), "student": nn.Sequential(nn.Flatten(), nn.Linear(64, 5))}
    count = lambda model: float(len(dk.predict(model, pictures.inputs)))  # noqa: E731
    table = edge.forms(models, pictures, kinds=kinds, score=count, processes=False)
    assert table.index.tolist() == [f"{name}, {kind}" for name in models for kind in kinds]
    assert table.attrs["left_out"] == {}
    assert table["mb"]["teacher, float32"] == pytest.approx(dk.cost.size(models["teacher"]) / 1e6)
    assert table["mb"]["teacher, bfloat16"] == pytest.approx(table["mb"]["teacher, float32"] / 2)
    assert table["mb"]["student, int8"] < 0.5 * table["mb"]["student, float32"]
    assert table["faster"].iloc[0] == 1
    assert table["agreement"].iloc[0] == 1
    assert table["agreement"]["teacher, ONNX"] == 1
    assert table["agreement"]["teacher, int8"] > 0.8
    assert (table["quality"] == 20).all()
    assert table["peak_mb"].notna().sum() == 4  # ONNX's have processes of their own
    assert all(parameter.dtype == torch.float32 for parameter in models["teacher"].parameters())


def test_forms_of_a_language_model_in_processes(task, model):
    models = {"student": model}
    some = task.test[:2]
    table = edge.forms(
        models, some, kinds=["float32", "int8", "ONNX"], score=lambda form: task.score(form, limit=3)["exact"]
    )
    assert (table["peak_mb"] > 50).all()
    assert table["peak_mb"]["student, ONNX"] < 0.5 * table["peak_mb"]["student, float32"]
    assert table["agreement"]["student, ONNX"] == 1
    assert (table["quality"] > 0.8).all()


def test_forms_say_what_is_left_out(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    pictures = dk.Examples(torch.randn(2, 1, 8, 8), torch.zeros(2).long())
    table = edge.forms({"net": net()}, pictures, kinds=["float32", "compiled"], processes=False)
    assert list(table.index) == ["net, float32"]
    assert "C++ compiler" in table.attrs["left_out"]["net, compiled"]


def test_a_compiled_model_says_the_same():
    import shutil

    if not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("no C++ compiler here")
    pictures = dk.Examples(torch.randn(4, 1, 8, 8), torch.zeros(4).long())
    table = edge.forms({"net": net()}, pictures, kinds=["float32", "compiled"])
    assert table["agreement"].tolist() == [1, 1]
    assert table["ready_s"]["net, compiled"] > table["ready_s"]["net, float32"]


def test_impossible_forms():
    pictures = dk.Examples(torch.randn(2, 1, 8, 8), torch.zeros(2).long())
    refused(lambda: edge.forms({}, pictures), ValueError, "nothing to compare")
    refused(lambda: edge.forms({"a": net()}, pictures, kinds=["int4"]), ValueError, "kinds", "'int8'")
    refused(lambda: edge.forms({"a": net()}, torch.zeros(2, 3)), TypeError, "dk.Examples")
    refused(lambda: edge.cast(net(), "ONNX"), ValueError, "kind")


# ------------------------------------------------------------------------------------------------------------- GGUF


@pytest.mark.parametrize("folder", ["docs/teacher", "shop/distilled"])
def test_gguf_is_read_back_with_its_tokens(folder, tmp_path):
    pytest.importorskip("gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, tokenizer = dk.language_model(dk.models.data_path(folder))
    tokens = torch.randint(0, len(tokenizer), (2, 40), generator=torch.Generator().manual_seed(0))
    logits = dk.predict(model, tokens)
    sizes = []
    for kind, far in (("F32", 1e-5), ("F16", 0.02), ("Q8_0", 0.5)):
        path = edge.to_gguf(model, tokenizer, tmp_path / f"{kind}.gguf", kind=kind)
        read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name)
        assert float((dk.predict(read, tokens) - logits).abs().max()) < far
        assert dk.metrics.agreement(dk.predict(read, tokens), logits) > 0.95
        sizes.append(path.stat().st_size)
    assert sizes[0] > 1.7 * sizes[1] > 1.7 * 1.4 * sizes[2]
    again = AutoTokenizer.from_pretrained(tmp_path, gguf_file="F16.gguf")
    for text in ("Where is order 4821?  It cost 29.50.\n\nFact: é", "def f(x=10):\n    return x", "<|endoftext|>a"):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.eos_token == tokenizer.eos_token
    assert path.with_name(path.name + ".sha256").exists()


def test_gguf_of_grouped_heads_and_an_untied_head(tmp_path):
    pytest.importorskip("gguf")
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = dk.language_model(dk.models.data_path("shop/teacher"))[1]
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=1024, num_key_value_heads=2, head_dim=32, tie_word_embeddings=False, **sizes)
    model = LlamaForCausalLM(config).eval()
    path = edge.to_gguf(model, tokenizer, tmp_path / "model.gguf", kind="F32")
    tokens = torch.randint(0, 1024, (2, 20))
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name)
    torch.testing.assert_close(dk.predict(read, tokens), dk.predict(model, tokens), rtol=1e-4, atol=1e-5)


def test_gguf_refuses_what_it_does_not_know(tmp_path, model, task):
    pytest.importorskip("gguf")
    from transformers import GPT2Config, GPT2LMHeadModel

    other = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0))
    refused(lambda: edge.to_gguf(other, task.tokenizer, tmp_path / "a.gguf"), ValueError, "convert_hf_to_gguf")
    refused(lambda: edge.to_gguf(model, task.tokenizer, tmp_path / "a.bin"), ValueError, ".gguf")
    refused(lambda: edge.to_gguf(model, task.tokenizer, tmp_path / "a.gguf", kind="Q4"), ValueError, "Q8_0")
    assert not list(tmp_path.iterdir())


def test_answers_of_a_written_text_are_those_of_a_pass(task, model, files):
    tokens = task.test.inputs[:1, :20]
    assert np.array_equal(edge._answers(edge.load(files["float32"]), tokens), edge._answers(model, tokens))
