"""Models by name: from a small hub on this machine, which answers well, badly, slowly, or not at all."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

import distilkit as dk
from distilkit import hub as hub_module
from distilkit.errors import BadFile, DistilkitError

from .faults import refused
from .loopback_hub import serving
from .test_language_model import edit, saved, small_llama, some_tokens

TOKEN = "hf_" + "SecretSecretSecretSecretSecret"
NAME = "org/small"


@pytest.fixture
def repository(tmp_path):
    """A good model's folder, with what no fetch may bring beside it."""
    folder = saved(tmp_path / "served" / "org" / "small", small_llama())
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    (folder / "pytorch_model.bin").write_bytes(b"\x80 poison")
    (folder / "README.md").write_text("# a model")
    (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}")
    return folder


@pytest.fixture
def hub(repository, tmp_path, monkeypatch):
    """A hub that serves it; no wait is real."""
    waited = []
    monkeypatch.setattr(hub_module, "time", SimpleNamespace(sleep=waited.append))
    with serving(tmp_path / "served") as served:
        served.use(monkeypatch, tmp_path / "cache")
        served.waited = waited
        yield served


def files_of(folder):
    return {path.name for path in folder.iterdir()}


def told(act):
    with pytest.raises(DistilkitError) as caught:
        act()
    message = str(caught.value)
    assert message.count("\n") < 6
    assert TOKEN not in message
    return message


def test_what_is_fetched_is_data_and_teaches(hub, repository):
    folder = dk.fetch(NAME)
    assert files_of(folder) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for name in files_of(folder):
        assert (folder / name).read_bytes() == (repository / name).read_bytes()
    assert not any("evil.py" in path or "pytorch_model" in path for _, path, _ in hub.asked)
    teacher, words = dk.language_model(NAME)
    original, _ = dk.language_model(repository)
    torch.testing.assert_close(dk.predict(teacher, some_tokens()), dk.predict(original, some_tokens()))
    assert words.chat_template is None


def test_a_folder_is_given_back_and_has_no_revision(repository):
    assert dk.fetch(repository) == repository
    refused(lambda: dk.fetch(repository, revision="main"), ValueError, "no revision", "main")
    refused(lambda: dk.language_model(repository, revision="main"), ValueError, "no revision")


def test_what_is_there_is_not_fetched_again(hub):
    commit = dk.fetch(NAME).name
    before = len(hub.asked)
    dk.fetch(NAME)
    assert [path for _, path, _ in hub.asked[before:]] == [f"/api/models/{NAME}/revision/main?blobs=true"]
    dk.fetch(NAME, revision=commit)
    assert len(hub.asked) == before + 1


def test_what_huggingface_hub_fetched_is_used(hub, monkeypatch):
    from huggingface_hub import snapshot_download

    snapshot_download(NAME, endpoint=hub.url, cache_dir=hub_module._cache())
    shutil.rmtree(hub_module._cache() / "models--org--small" / "trees", ignore_errors=True)
    before = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    dk.language_model(NAME)
    assert len(hub.asked) == before


def test_a_sharded_model_is_fetched_whole(hub, repository, tmp_path):
    folder = saved(tmp_path / "served" / "org" / "parts", small_llama(), max_shard_size="20KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 2
    teacher, _ = dk.language_model("org/parts")
    torch.testing.assert_close(
        dk.predict(teacher, some_tokens()), dk.predict(dk.language_model(folder)[0], some_tokens())
    )
    parts[0].unlink()
    hub.push("org/parts")
    assert "not whole at its hub" in told(lambda: dk.fetch("org/parts"))


def test_names_that_are_none(hub, tmp_path):
    names = ("", "../none", "a/b/c", "/etc/passwd", "org/", "x y", "org/..", "http://here/org/small", tmp_path / "no")
    for name in names:
        refused(lambda name=name: dk.fetch(name), OSError, "nor is this a model's name")
    for revision in ("../main", "a b", "", 7, "/main"):
        refused(lambda revision=revision: dk.fetch(NAME, revision=revision), ValueError, "revision must be")
    refused(lambda: dk.fetch(7), TypeError, "org/name")
    assert not hub.asked


# 57 to 61: who is asked, and what it says


def test_f57_absent_forbidden_gated_and_the_token_is_never_told(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "there is no model org/none" in told(lambda: dk.fetch("org/none"))
    assert "no revision 'v9'" in told(lambda: dk.fetch(NAME, revision="v9"))
    bodies = f"Bearer {TOKEN}"
    for status, code, words in (
        (401, "", ("shows org/small to nobody", "a token was sent")),
        (403, "", ("gated", "HF_TOKEN")),
        (401, "GatedRepo", ("gated", "agree to its terms")),
        (404, "", ("there is no model", "spelling")),
        (418, "", ("answers 418",)),
    ):
        hub.rules.clear()
        hub.badly("/api/models", status=status, headers={"X-Error-Code": code, "X-Error-Message": bodies})
        message = told(lambda: dk.language_model(NAME))
        assert all(word in message for word in words), message
    assert hub.asked[-1][2]["Authorization"] == f"Bearer {TOKEN}"
    monkeypatch.delenv("HF_TOKEN")
    hub.rules.clear()
    hub.badly("/api/models", status=401)
    assert "no token is set" in told(lambda: dk.fetch(NAME))


def test_f57_gated_only_at_the_weights(hub):
    hub.badly(r"model\.safetensors", status=403, headers={"X-Error-Code": "GatedRepo"})
    assert "gated" in told(lambda: dk.fetch(NAME))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_f58_a_busy_hub_is_asked_again_a_few_times(hub, status):
    hub.badly("/api/models", status=status, times=2)
    hub.badly(r"model\.safetensors", status=status, times=3)
    dk.fetch(NAME)
    assert hub.waited == [1, 2, 1, 2, 4]


def test_f58_not_for_ever_and_as_long_as_it_asks_for_within_reason(hub):
    hub.badly("/api/models", status=429, headers={"Retry-After": "7"})
    assert "answers 429" in told(lambda: dk.fetch(NAME))
    assert hub.waited == [7, 7, 7, 7]
    assert len(hub.asked) == 5
    hub.rules.clear()
    hub.badly("/api/models", status=503, headers={"Retry-After": "86400"})
    assert "86,400 seconds" in told(lambda: dk.fetch(NAME))
    assert len(hub.asked) == 6
    hub.rules.clear()
    hub.badly("/api/models", status=503, times=1, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    dk.fetch(NAME)


def test_f59_offline_and_not_in_the_cache(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = told(lambda: dk.language_model(NAME))
    assert all(word in message for word in ("HF_HUB_OFFLINE", NAME, "dk.tasks.docs().teacher()", "cache"))
    assert "HF_HUB_OFFLINE" in told(lambda: dk.hub.estimate(NAME))
    assert not hub.asked


def test_f59_offline_and_in_the_cache(hub, monkeypatch):
    online = dk.fetch(NAME)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert dk.fetch(NAME) == online
    assert dk.hub.estimate(NAME).to_fetch == 0
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.badly("/api/", status=503)
    assert dk.fetch(NAME) == online  # the hub is down, and what it once said is known


def test_f60_nobody_there_no_such_host_no_proxy_no_tls(hub, monkeypatch):
    with serving(Path()) as gone:
        pass
    for address, words in (
        (gone.url, "cannot be reached"),
        ("http://no-such-host.invalid", "(DNS)"),
        (hub.url.replace("http:", "https:"), "certificate"),
        ("127.0.0.1:80", "HF_ENDPOINT"),
        ("gopher://there", "HF_ENDPOINT"),
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        message = told(lambda: dk.fetch(NAME))
        assert words in message, message
        assert "dk.tasks.docs().teacher()" in message
    assert not hub.waited


def test_f60_a_proxy_that_is_not_there(hub, repository):
    code = f"import distilkit as dk; dk.fetch({NAME!r})"
    environment = {
        "HF_ENDPOINT": "https://example.invalid",
        "HTTPS_PROXY": "http://me:pass-word@127.0.0.1:9",  # allow-secret
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "BadFile" in done.stderr
    assert "proxy" in done.stderr
    assert "pass-word" not in done.stderr


def test_f61_no_token_over_plain_http_to_another_machine(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for address, sent in (
        ("http://hub.example", False),
        ("http://127.0.0.1.example", False),
        ("https://hub.example", True),
        ("http://localhost:8", True),
        ("http://[::1]:8", True),
        (hub.url, True),
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert hub_module._may_have_the_token() is sent, address
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(hub_module, "_may_have_the_token", lambda: False)
    dk.fetch(NAME)
    assert not any("Authorization" in headers for _, _, headers in hub.asked)
    hub.badly("/api/models", status=401)
    assert "plain http" in told(lambda: dk.fetch(NAME))


def test_f61_no_token_to_another_host_that_the_hub_points_to(hub, repository, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(tmp_path / "served") as other:
        hub.badly(r"resolve/.*safetensors", to=other.url)
        dk.fetch(NAME)
        assert other.asked
        assert not any("Authorization" in headers for _, _, headers in other.asked)


def test_f61_a_password_in_the_address_is_not_told(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:{TOKEN}@127.0.0.1:9")
    assert "127.0.0.1:9" in told(lambda: dk.fetch(NAME))


def test_f61_a_token_or_an_address_that_is_none(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN + "…")
    assert "HF_TOKEN" in told(lambda: dk.fetch(NAME))
    monkeypatch.setenv("HF_ENDPOINT", "http://[")
    assert "HF_ENDPOINT" in told(lambda: dk.fetch(NAME))
    assert not hub.asked


@pytest.mark.parametrize(
    "answer",
    [b"<html>log in</html>", b"[]", b"{}", b'{"sha": "../..", "siblings": []}', b"[" * 100_000, b'{"sha": 7}'],
)
def test_a_host_that_is_no_hub(hub, answer, monkeypatch):
    monkeypatch.setattr("tests.loopback_hub.Answers.info", lambda self, *_: self.send(200, answer))
    assert "does not answer as a hub does" in told(lambda: dk.fetch(NAME))


@pytest.mark.parametrize("digest", ["../../../etc/cron", "", "0" * 63, None])
def test_digests_and_file_names_of_a_hub_are_no_paths(hub, repository, tmp_path, digest, monkeypatch):
    true = json.loads  # what a hostile hub says of its files
    monkeypatch.setattr(
        hub_module.json,
        "loads",
        lambda data: (
            {
                "sha": "0" * 40,
                "siblings": [
                    {"rfilename": "../../config.json", "size": 2, "blobId": "0" * 40},
                    {"rfilename": "config.json", "size": 2, "blobId": digest},
                ],
            }
            if b"siblings" in data
            else true(data)
        ),
    )
    assert "does not answer as a hub does" in told(lambda: dk.fetch(NAME))


# 62 to 68: what is fetched


@pytest.mark.parametrize(
    "entry",
    [
        {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}},
        {"auto_map": {"AutoModelForCausalLM": "other/repo--evil.Evil"}},
        {"custom_pipelines": {"x": {"impl": "evil.Evil"}}},
        {"_attn_implementation_internal": "evil/kernel"},
        {"_attn_implementation": "evil/kernel@v1:run"},
        {"attn_implementation": {"": "evil/kernel"}},
        {"text_config": {"_experts_implementation_internal": "evil/kernel"}},
        {"use_kernels": True},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"feature": "https://evil.example/model"},
        {"index_path": "/etc/passwd"},
        {"inner": [{"path": "../../elsewhere"}]},
        {"home": "~/.ssh/id_rsa"},
        {"drive": "C:\\secret"},
        {"num_labels": 10**12},
    ],
    ids=str,
)
def test_f62_f63_hostile_configurations_are_refused_before_the_weights(hub, repository, entry):
    edit(repository, **entry)
    message = told(lambda: dk.fetch(NAME))
    assert "config.json" in message
    assert not any("safetensors" in path for _, path, _ in hub.asked)
    refused(lambda: dk.language_model(repository), OSError, "config.json")


def test_f63_what_many_good_configurations_say_is_no_fault(hub, repository):
    edit(
        repository,
        _name_or_path="/home/somebody/checkpoint-7",
        _attn_implementation="sdpa",
        id2label={"0": "/m/09x0r", "1": "http://label"},
        label2id={"/m/09x0r": 0, "http://label": 1},
    )
    dk.language_model(NAME)


def test_f62_code_of_a_tokenizer_is_refused(hub, repository):
    path = repository / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    assert "tokenizer_config.json" in told(lambda: dk.fetch(NAME))


def test_f64_a_moved_branch_and_a_pinned_commit(hub, repository, monkeypatch):
    first = dk.fetch(NAME)
    before = (first / "model.safetensors").read_bytes()
    saved(repository, small_llama(tie_word_embeddings=False))
    second = hub.push(NAME)
    assert second != first.name
    assert dk.fetch(NAME, revision=first.name) == first
    assert (first / "model.safetensors").read_bytes() == before
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert dk.fetch(NAME) == first  # as it was when the network was there
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert dk.fetch(NAME).name == second
    assert dk.fetch(NAME, revision=first.name) == first
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert dk.fetch(NAME).name == second


def test_f64_branches_and_tags_are_noted_apart(hub, repository, monkeypatch):
    main = dk.fetch(NAME)
    edit(repository, bos_token_id=1)
    hub.push(NAME, "refs/pr/1")
    other = dk.fetch(NAME, revision="refs/pr/1")
    assert other != main
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert (dk.fetch(NAME), dk.fetch(NAME, revision="refs/pr/1")) == (main, other)


def test_f65_a_cut_download_goes_on_where_it_was(hub, repository):
    size = (repository / "model.safetensors").stat().st_size
    hub.badly(r"resolve/.*model\.safetensors", cut=size // 3, times=4)
    folder = dk.fetch(NAME)
    assert (folder / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()
    ranges = [headers["Range"] for _, path, headers in hub.asked if path.endswith("/model.safetensors")]
    assert f"bytes={size // 3}-{size - 1}" in ranges


def test_f65_what_stays_cut_is_an_error_and_no_half_model_and_the_next_call_goes_on(hub, repository):
    size = (repository / "model.safetensors").stat().st_size
    hub.badly(r"resolve/.*model\.safetensors", times=2)  # its header
    hub.badly(r"resolve/.*model\.safetensors", cut=size // 3, times=1)
    hub.badly(r"resolve/.*model\.safetensors", cut=0)
    message = told(lambda: dk.fetch(NAME))
    assert "cuts the connection, and model.safetensors of org/small is not whole yet: call again" in message
    cache = hub_module._cache()
    assert not list(cache.rglob("model.safetensors"))
    assert not (cache / "models--org--small" / "refs").exists()
    hub.rules.clear()
    before = len(hub.asked)
    folder = dk.fetch(NAME)
    assert (folder / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()
    assert any(headers.get("Range", "").startswith(f"bytes={size // 3}-") for _, _, headers in hub.asked[before:])


def test_f65_a_flipped_bit_is_deleted_and_named(hub, repository):
    for name in ("tokenizer.json", "model.safetensors"):
        hub.badly(rf"resolve/.*/{name}$", flip=(repository / name).stat().st_size - 2)
        message = told(lambda: dk.fetch(NAME))
        assert name in message
        assert "damaged" in message
        hub.rules.clear()
    assert not list(hub_module._cache().rglob("*.incomplete"))
    dk.language_model(NAME)


def test_f65_a_file_that_rotted_in_the_cache_is_fetched_again(hub, monkeypatch):
    folder = dk.fetch(NAME)
    blob = (folder / "model.safetensors").resolve()
    good = blob.read_bytes()
    for bad in (good[:-1], good[:-1] + bytes([good[-1] ^ 1])):
        blob.write_bytes(bad)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert "not whole in the cache" in told(lambda: dk.fetch(NAME))
        monkeypatch.delenv("HF_HUB_OFFLINE")
        assert (dk.fetch(NAME) / "model.safetensors").read_bytes() == good


def test_f65_a_hub_that_ignores_ranges(hub, repository, monkeypatch):
    size = (repository / "model.safetensors").stat().st_size
    monkeypatch.setattr(hub_module, "WAITS", (0,) * 4)
    hub.badly(r"resolve/.*model\.safetensors", cut=size // 3, times=1, whole=True)
    hub.badly(r"resolve/.*model\.safetensors", whole=True)
    folder = dk.fetch(NAME)
    assert (folder / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()


FETCH = "import sys, distilkit as dk; print('ready', flush=True); sys.stdin.readline(); dk.fetch('org/small')"


class Fetching:
    """A process of its own that fetches the model into this cache, as soon as it is told to."""

    def __init__(self, hub, cache):
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HOME": str(cache)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.child = subprocess.Popen([sys.executable, "-c", FETCH], env=environment, **pipes)

    def begin(self):
        assert self.child.stdout.readline() == b"ready\n"
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()

    def end(self, *, kill=False):
        if kill:
            self.child.send_signal(signal.SIGKILL)
        with self.child:
            return self.child.wait()


def enlarge(hub, repository, count=400_000):
    """Weights that take a while to send."""
    path = repository / "model.safetensors"
    weights = safetensors.torch.load_file(path) | {"unused.weight": torch.randn(count)}
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    hub.badly(r"resolve/.*model\.safetensors", drip=0.002)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_in(cache):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in cache.rglob("snapshots/*/model.safetensors")]


def test_f65_a_killed_download_leaves_no_half_model_and_the_next_call_goes_on(hub, repository, tmp_path, monkeypatch):
    whole = enlarge(hub, repository)
    moments = {tmp_path / name: moment for name, moment in (("a", 0.0), ("b", 0.05), ("c", 0.2), ("d", 0.5))}
    children = {cache: Fetching(hub, cache) for cache in moments}
    for cache, moment in moments.items():
        children[cache].begin()
        while not list(cache.rglob(f"{whole}.incomplete")):
            time.sleep(0.002)
        time.sleep(moment)  # seconds after the weights were begun
        children[cache].end(kill=True)
        assert weights_in(cache) in ([], [whole])
    begun = {cache: part.stat().st_size for cache in moments for part in cache.rglob(f"{whole}.incomplete")}
    assert any(begun.values())
    hub.rules.clear()
    for cache in moments:
        monkeypatch.setenv("HF_HUB_CACHE", str(cache))
        asked = len(hub.asked)
        dk.fetch(NAME)
        assert weights_in(cache) == [whole]
        assert not list(cache.rglob("*.incomplete"))
        if begun.get(cache):
            assert hub.asked[-1][2]["Range"].startswith(f"bytes={begun[cache]}-")
        assert len(hub.asked) - asked <= 10


def test_f68_two_processes_one_cache(hub, repository, tmp_path):
    whole = enlarge(hub, repository)
    children = [Fetching(hub, tmp_path / "both") for _ in range(2)]
    for child in children:
        child.begin()
    assert [child.end() for child in children] == [0, 0]
    assert weights_in(tmp_path / "both") == [whole]
    size = (repository / "model.safetensors").stat().st_size
    sent = [headers.get("Range") for _, path, headers in hub.asked if path.endswith("model.safetensors")]
    assert sent.count(f"bytes=0-{size - 1}") == 1  # by one of them


def test_f66_what_it_takes_is_told_before_any_weight_is_fetched(hub, repository):
    told = dk.hub.estimate(NAME)
    assert told.parameters == dk.language_model(repository)[0].num_parameters()
    wanted = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert told.to_fetch == sum((repository / name).stat().st_size for name in wanted)
    assert (told.to_ask, told.to_train) == (5 * told.parameters, 20 * told.parameters)
    assert told.memory > 0
    assert told.disk > 0
    assert "it can teach here, and be trained here" in str(told)
    assert f"{told.parameters:,} parameters" in str(told)
    assert len(hub.asked) == 3  # what there is, and the length and the text of the header
    dk.fetch(NAME)
    assert dk.hub.estimate(NAME).to_fetch == 0


def test_f66_what_does_not_fit_is_refused_with_its_numbers(hub, monkeypatch):
    monkeypatch.setattr(hub_module, "memory_free", lambda: 1000)
    message = told(lambda: dk.fetch(NAME))
    assert all(word in message for word in ("too large to be asked here", "1 KB", "most_bytes=", "smaller"))
    assert not list(hub_module._cache().rglob("model.safetensors"))
    most = int(message.rpartition("most_bytes=")[2].rstrip(")"))
    refused(lambda: dk.fetch(NAME, most_bytes=most - 1), OSError, "most_bytes")
    dk.fetch(NAME, most_bytes=most)
    refused(lambda: dk.fetch(NAME, most_bytes=-1), ValueError, "most_bytes")


def test_f66_the_memory_of_a_container(tmp_path, monkeypatch):
    group = {
        "memory.max": "3000",
        "memory.current": "1000",
        "memory.stat": "inactive_file 100\nactive_file 20\nanon 880",
    }
    monkeypatch.setattr(hub_module, "Path", lambda _: tmp_path)
    free = hub_module.memory_free()
    assert free > 3000
    for name, text in group.items():
        (tmp_path / name).write_text(text)
    assert hub_module.memory_free() == 2120
    (tmp_path / "memory.max").write_text("max")
    assert hub_module.memory_free() > 3000


def test_f66_a_disk_that_is_too_small_or_full(hub, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _: usage._replace(free=10))
    assert "does not fit on this disk" in told(lambda: dk.fetch(NAME, most_bytes=10**12))


def test_f66_a_model_of_forty_gigabytes_is_refused_by_its_header(hub, repository):
    """The header claims 10 billion parameters; the hub says so of the file's length, too."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**5, 10**5], "data_offsets": [0, 4 * 10**10]}}).encode()
    path = repository / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    message = told(lambda: dk.fetch(NAME, most_bytes=10**10))
    assert "10,000,000,000 parameters" in message
    assert "50 GB" in message


def test_f41_only_pickles_only_an_adapter_no_model(hub, repository):
    (repository / "model.safetensors").unlink()
    message = told(lambda: dk.fetch(NAME))
    assert all(word in message for word in ("pytorch_model.bin", "pickle", "convert"))
    (repository / "config.json").unlink()
    hub.push(NAME)
    assert "no config.json" in told(lambda: dk.fetch(NAME))


def test_f67_a_chat_template_is_never_taken_along(hub, repository):
    path = repository / "tokenizer_config.json"
    hostile = {"chat_template": "{% for x in range(10**12) %}{% endfor %}"}
    path.write_text(json.dumps(json.loads(path.read_text()) | hostile))
    for name in (NAME, repository):
        _, words = dk.language_model(name)
        assert words.chat_template is None


def test_f80_a_cache_that_cannot_be_written(hub, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    assert "cannot write" in told(lambda: dk.fetch(NAME))


def test_a_data_set_comes_from_the_same_hub(hub, tmp_path, monkeypatch):
    import datasets

    hub.use(monkeypatch, tmp_path / "cache")
    folder = tmp_path / "served" / "datasets" / "org" / "words"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("text,label\ngood,1\nbad,0\n")
    found = datasets.load_dataset("org/words", cache_dir=str(tmp_path / "sets"))
    assert found["train"]["text"][:] == ["good", "bad"]


def test_errors_are_those_of_a_file():
    assert issubclass(hub_module._Away, BadFile)
