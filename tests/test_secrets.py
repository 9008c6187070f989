"""f94: a secret in any file, output, traceback, widget state or metadata is found; ours never say the reader's."""

import base64
import json
import subprocess
import sys
import traceback
import urllib.parse
from pathlib import Path

import nbformat
import pytest
import yaml

import distilkit as dk
from tests.openai_server import serving
from tests.trust.secrets import KINDS, in_file, main, secrets

ROOT = Path(__file__).parents[1]
MIXED = "aB3dE5gH7jK9" * 10
# Made up, and put together here, so that this file holds none.
PLANTED = {
    "Hugging Face": "hf_" + MIXED[:34],
    "OpenAI": "sk-" + "proj-" + MIXED[:48],
    "Anthropic": "sk-" + "ant-api03-" + MIXED[:40],
    "GitHub": "ghp" + "_" + MIXED[:36],
    "GitLab": "glpat" + "-" + MIXED[:20],
    "AWS": "AKIA" + "A1B2C3D4E5F6G7H8",
    "AWS secret": "aws_secret" + "_access_key = " + MIXED[:40],
    "Google": "AIza" + MIXED[:35],
    "Google OAuth": "ya29" + "." + MIXED[:40],
    "Slack": "xoxb" + "-123456789012-" + MIXED[:24],
    "Slack hook": "hooks.slack" + ".com/services/T0000AAAA/B0000AAAA/" + MIXED[:24],
    "Stripe": "sk_live" + "_" + MIXED[:24],
    "PyPI": "pypi" + "-AgEI" + MIXED[:60],
    "npm": "npm" + "_" + MIXED[:36],
    "Azure": "Account" + "Key=" + MIXED[:86] + "==",
    "JWT": "eyJ" + MIXED[:20] + ".eyJ" + MIXED[:30] + "." + MIXED[:30],
    "private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "address with a password": "https" + "://me:" + MIXED[:12] + "@example.org/v1",
    "bearer": "Authorization" + ": Bearer " + MIXED[:32],
    "named": "api_" + 'key = "' + MIXED[:24] + '"',
}


def in_base64(text):
    return base64.b64encode(f"state of a widget: {text}; the end".encode()).decode()


HIDDEN = {
    "as it stands": lambda text: f"before {text} behind",
    "in base64": in_base64,
    "in base64 twice": lambda text: base64.b64encode(f"again {in_base64(text)} so".encode()).decode(),
    "in a URL": lambda text: "https://example.org/?q=" + urllib.parse.quote(f" {text} ", safe=""),
    "in JSON": lambda text: json.dumps({"state": {"text": f"x {text} y"}}),
    "in JSON, escaped": lambda text: '"' + "".join(f"\\u{ord(letter):04x}" for letter in f" {text} ") + '"',
    "in colours": lambda text: f"\x1b[32m{text[:5]}\x1b[39m{text[5:]}\x1b[0m",
    "broken over lines": lambda text: f"    raise ValueError({text[:9]}\n{text[9:]} )",
    "broken in a list of lines": lambda text: f'["key: {text[:9]}\\n", "{text[9:]} "]',
}


def test_every_kind_is_planted():
    assert PLANTED.keys() == KINDS.keys()
    assert len(KINDS) >= 12


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("kind", PLANTED)
def test_f94_a_planted_secret_is_found_and_not_repeated(kind, hidden):
    secret = PLANTED[kind]
    if "broken" in hidden and kind in ("named", "private key", "AWS secret"):
        pytest.skip("it is known by the words before it, which such a break parts")
    found = secrets(HIDDEN[hidden](secret))
    assert kind in [each for each, _ in found]
    assert all(len(start) <= 5 for _, start in found)


@pytest.mark.parametrize("kind", PLANTED)
def test_f94_in_a_notebook(tmp_path, kind):
    """In an output, a traceback, a widget's state, the metadata, a file name in a message."""
    secret = PLANTED[kind]
    view = "application/vnd.jupyter.widget-state+json"
    for where in range(5):
        cell = nbformat.v4.new_code_cell("1")
        notebook = nbformat.v4.new_notebook(cells=[cell])
        if where == 0:
            cell.outputs = [nbformat.v4.new_output("stream", text=f"it is {secret}\n")]
        elif where == 1:
            lines = [f"\x1b[31mValueError\x1b[39m: {secret}"]
            cell.outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=lines)]
        elif where == 2:
            state = {"a": {"model_name": "AnyModel", "state": {"page": {"typed": secret}, "raw": in_base64(secret)}}}
            notebook.metadata["widgets"] = {view: {"state": state, "version_major": 2, "version_minor": 0}}
        elif where == 3:
            notebook.metadata["papermill"] = {"parameters": {"token": secret}}
        else:
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": f"<a title='{secret}'>x</a>"})]
        path = tmp_path / f"{where}.ipynb"
        nbformat.write(notebook, path)
        assert kind in [each for each, _ in in_file(path)]


@pytest.mark.parametrize(
    "harmless",
    [
        "sha256: " + "0123456789abcdef" * 4,
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  model.safetensors",
        '{"token": "0123456789abcdef0123456789abcdef01234567", "revision": "a" }',
        base64.b64encode(bytes(range(256)) * 20).decode(),
        "export HF_TOKEN=hf_... and OPENAI_API_KEY=sk-...",
        "hf_hub_download, hf_transfer, sk-learn, ghp_, glpat-, xoxb-, AKIA",
        "Authorization: Bearer $OPENAI_API_KEY",
        "https://user:{password}@example.org, http://localhost:8888/lab, git@github.com:a/b.git",
        'api_key = "your-key-goes-here"',
        "--hash=sha256:" + "5654f8c5eaa0d4fa68b33e287a97765da6849bf6d51dcac874e73fbbddfb6134",
    ],
)
def test_what_only_looks_like_one_is_none(harmless):
    assert secrets(harmless) == []


def test_f94_none_in_any_tracked_file():
    if not (ROOT / ".git").exists():
        pytest.skip("no clone: which files are tracked is not known")
    checked = main()
    assert checked.failures == []
    assert checked.count > 500


def test_the_gate_stands_before_a_commit(tmp_path):
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    (gate,) = [hook for hook in hooks if hook["id"] == "secrets"]
    assert gate["entry"].endswith("-m tests.trust.secrets")
    assert not {"files", "types", "types_or"} & set(gate)  # every file
    planted, clean = tmp_path / "a.txt", tmp_path / "b.txt"
    planted.write_text(PLANTED["GitHub"])
    clean.write_text("nothing")
    for given, status in (([planted, clean], 1), ([clean], 0)):
        command = [sys.executable, "-m", "tests.trust.secrets", *map(str, given)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert PLANTED["GitHub"] not in done.stdout + done.stderr
        assert ("GitHub" in done.stdout) == bool(status)


# ------------------------------------------------------------------------------------------ a canary in the variables


CANARY = PLANTED["Hugging Face"]


@pytest.fixture
def canary(monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, CANARY)
    for name in ("HF_ENDPOINT", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def silent(*said):
    """The canary is in none of these, as text or in base64."""
    text = "\n".join(map(str, said))
    assert CANARY not in text
    assert "Hugging Face" not in [kind for kind, _ in secrets(text)]


def told(act):
    """All that an error says, with its traceback and what led to it."""
    with pytest.raises(dk.DistilkitError) as caught:
        act()
    lines = traceback.TracebackException.from_exception(caught.value).format()
    return "".join([*lines, repr(caught.value), str(vars(caught.value))])


def test_f94_an_endpoint_says_nothing_of_its_key(canary, tmp_path, caplog, capsys):
    task = dk.tasks.docs()
    with serving(lambda path, body: {"choices": []}) as server:
        options = {"tokenizer": task.tokenizer, "labels": ["calm", "angry"], "folder": tmp_path, "retries": 0}
        teacher = dk.Endpoint(server.url, "m", **options)
        tokens = task.test.inputs[:2, :8]
        for fault in ("401", "403", "404", "500", "html", "cut"):
            server.faults = iter([fault] * 9)
            silent(told(lambda: teacher(tokens)))
        assert any(
            CANARY in head.get("Authorization", "") for *_, head in server.requests
        )  # it was sent, where it belongs
        silent(teacher, vars(teacher), teacher.state_dict(), caplog.text, *capsys.readouterr())
    silent(*(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()))
    silent(told(lambda: dk.Endpoint("http://192.0.2.1/v1", "m", **options)))  # a key over http to elsewhere


def test_f94_the_hub_says_nothing_of_the_token(canary, monkeypatch, tmp_path, caplog, capsys):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("org/name", "org/name@0123456789abcdef0123456789abcdef01234567", "../x", "a b"):
        silent(told(lambda name=name: dk.fetch(name)))
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.invalid")
    silent(told(lambda: dk.fetch("org/name")))
    silent(caplog.text, *capsys.readouterr(), *(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()))


def test_f94_what_is_written_holds_no_variable(canary, tmp_path):
    """A saved model with its card, a report, a run of the playground, a widget's state."""
    task = dk.tasks.digits()
    dk.save(task.student(), tmp_path / "model")
    frame = dk.compare(task, teacher=task.teacher(), student=task.student())
    view = dk.playground("n=50&steps=4", pace=0)
    view.result()
    view.export(tmp_path / "runs.safetensors")
    silent(view.get_state(), view, view.line(), frame.to_html())
    view.close()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 2
    for path in written:
        assert CANARY.encode() not in path.read_bytes()
        assert "Hugging Face" not in [kind for kind, _ in in_file(path)]
