"""Weights on disk: what is whole and safe is loaded, everything else is refused in words, and the model left alone."""

import contextlib
import hashlib
import json
import os
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from distilkit.errors import BadFile
from distilkit.models import data_path, load, predict, save


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


@pytest.fixture
def file(tmp_path):
    """A good file of a network's weights, without a sha256 beside it."""
    path = tmp_path / "weights.safetensors"
    save(network(), path)
    return path


def refused(path, *words, **arguments):
    model = network(7)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BadFile) as caught:
        load(model, path, **arguments)
    assert isinstance(caught.value, OSError)
    message = str(caught.value)
    assert message.count("\n") < 6
    assert message.isprintable()
    for word in (path.name.encode("ascii", "backslashreplace").decode(), *words):
        assert word in message, message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def raw(header, body=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + body


def one(**changes):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


def test_saved_and_loaded_are_the_same(file):
    model = load(network(7), file)
    assert not model.training
    for name, value in network().state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_save_returns_the_sha256_and_is_deterministic(tmp_path):
    about = {"made by": "hand", "on": "a day", "with": "care"}
    digests = {save(network(), tmp_path / name, about=about) for name in "abcdefgh"}
    assert digests == {hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()}
    load(network(), tmp_path / "a", sha256=digests.pop())


def test_tied_weights_can_be_saved(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    model = tied()
    save(model, tmp_path / "tied.safetensors")
    again = load(tied(), tmp_path / "tied.safetensors")
    assert torch.equal(again[0].weight, model[0].weight)
    assert again[1].weight is again[0].weight


@pytest.mark.parametrize("length", range(96, 700, 8))
def test_any_length_of_header_loads(tmp_path, length):
    """A header of 128 bytes makes a good file begin as a pickle does."""
    entry = json.dumps(one() | {"__metadata__": {"n": ""}}).encode()
    header = entry.replace(b'"n": ""', b'"n": "' + b"x" * max(0, length - len(entry)) + b'"').ljust(length)
    path = tmp_path / "w.safetensors"
    path.write_bytes(raw(header, torch.ones(2).numpy().tobytes()))
    model = nn.ParameterDict({"a": nn.Parameter(torch.zeros(2))})
    assert load(model, path)["a"].tolist() == [1, 1]


def test_f32_truncated(file):
    good = file.read_bytes()
    for length in (0, 1, 7, 8, 9, 40, len(good) - 1):
        file.write_bytes(good[:length])
        refused(file, "not a whole safetensors file")


def test_f33_every_flipped_bit_is_refused(file):
    good = file.read_bytes()
    digest = hashlib.sha256(good).hexdigest()
    for place in range(len(good)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        with pytest.raises(BadFile, match="damaged or another file: its sha256"):
            load(network(), file, sha256=digest)
        with contextlib.suppress(BadFile):  # without a sha256 it may load, but never fail in another way
            load(network(), file)
    refused(file, "expected " + digest, "Fetch it anew", sha256=digest)


def test_a_sha256_beside_the_file_is_heeded(file):
    note = file.with_name(file.name + ".sha256")
    note.write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n")
    load(network(), file)
    for damaged in (b"0" * 64, b"", b"\xff\xfe"):
        note.write_bytes(damaged)
        refused(file, "sha256")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((2**63).to_bytes(8, "little") + b"{}", id="f34_header_of_2^63"),
        pytest.param(raw(one(), bytes(9)), id="f35_trailing_bytes"),
        pytest.param(raw(one() | {"b": one()["a"] | {"data_offsets": [4, 12]}}, bytes(12)), id="f36_overlap"),
        pytest.param(raw(one(shape=[2**62, 4]), bytes(8)), id="f37_overflow"),
        pytest.param(raw(one(shape=[-1]), bytes(8)), id="negative_shape"),
        pytest.param(
            raw(json.dumps(one())[:-1].encode() + b"," + json.dumps(one())[1:].encode(), bytes(8)), id="f38_twice"
        ),
        pytest.param(raw(b"[" * 20_000 + b"]" * 20_000), id="f39_deep"),
        pytest.param(raw(b'{"a":' * 20_000 + b"1" + b"}" * 20_000), id="f39_deep_objects"),
        pytest.param(raw([1, 2]), id="list"),
        pytest.param(raw({"a": 3}), id="number_for_a_tensor"),
        pytest.param(raw(one(data_offsets=[])), id="no_offsets"),
        pytest.param(raw(one(data_offsets=["0", "8"]), bytes(8)), id="text_offsets"),
        pytest.param(raw(b"\xff\xfe{}"), id="not_utf8"),
        pytest.param(b"", id="empty"),
    ],
)
def test_f34_f35_f36_f37_f38_f39_malformed(tmp_path, data):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    refused(path, "not a whole safetensors file")


class Trap:
    def __reduce__(self):
        return os._exit, (3,)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin", "weights.pt"])
def test_f40_f41_pickles_are_refused_unopened(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap()))
    refused(path, "pickle", "can run code", "convert it with safetensors")
    torch.save(network().state_dict(), path)
    refused(path, "pickle", "convert it with safetensors")


def test_f42_a_git_lfs_pointer(file):
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    refused(file, "git-LFS pointer", "git lfs pull")


def test_f43_a_web_page(file):
    file.write_bytes(b"\n<!DOCTYPE html><html><title>Log in</title></html>")
    refused(file, "web page", "download it again")


def test_f44_a_hostile_name_is_shown_escaped(file):
    safetensors.torch.save_file({"../../x<script>\u202e\x1b[31m": torch.ones(2)}, file)
    refused(file, "does not fit this model", r"../../x<script>\u202e\x1b[31m")


def test_f45_weights_that_are_nan(file):
    for broken in (float("nan"), float("inf")):
        model = network()
        model[2].bias.data[1] = broken
        save(model, file)
        refused(file, "'2.bias'", "nan or inf")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO here")
def test_f46_a_fifo_and_a_device(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "not a regular file")
    (tmp_path / "zero").symlink_to("/dev/zero")
    refused(tmp_path / "zero", "not a regular file")


def test_f47_missing_a_directory_no_permission(tmp_path, file):
    refused(tmp_path / "absent.safetensors", "No such file", "Check the path")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "not a regular file")
    file.chmod(0)
    if not os.access(file, os.R_OK):  # root reads everything
        refused(file, "Permission denied")


def test_f47_spaces_and_other_alphabets(tmp_path):
    path = tmp_path / "a folder" / "Gewichte für 数字.safetensors"
    save(network(), path)
    load(network(), path)
    refused(path.with_name("fehlt für 数字"), "No such file")


def test_another_model(file):
    with pytest.raises(BadFile, match=r"'0.bias' is \(3,\) in the file and \(5,\) in the model \(2 of 4"):
        load(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(3, 2)), file)
    with pytest.raises(BadFile, match="absent"):
        load(nn.Linear(4, 3), file)


def test_a_failed_save_leaves_the_old_file(file, monkeypatch):
    old = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, full)
            with pytest.raises(BadFile, match="No space left on device"):
                save(network(1), file)
        assert file.read_bytes() == old
        assert list(file.parent.iterdir()) == [file]
    with pytest.raises(BadFile, match="cannot write"):
        save(network(), file / "below" / "a file")


def test_predict_leaves_the_model_as_it_was():
    class Output(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())

        def forward(self, inputs):
            assert not self.inner[1].training
            return type("Output", (), {"logits": self.inner(inputs)})

    model, inputs = Output().train(), torch.randn(10, 4)
    model.inner[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = predict(model, inputs, batch_size=3)
    assert logits.shape == (10, 3)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, predict(model, inputs))
    assert predict(model, inputs[:0]).shape == (0, 3)
    assert model.training
    assert model.inner[1].training
    assert not model.inner[2].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_shipped_files_are_found():
    assert data_path("digits/teacher.safetensors").is_file()
    with pytest.raises(BadFile, match="data/absent is missing: reinstall distilkit"):
        data_path("absent")
