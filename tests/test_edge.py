"""On the edge: what ONNX Runtime writes is what PyTorch writes, in little memory; int8 is smaller."""

import json
import subprocess
import sys

import pytest
import torch

import distilkit as dk
from distilkit import edge
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
    refused(lambda: edge.OnnxModel(path), OSError, "no language model")


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
