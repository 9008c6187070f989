"""A small hub on this machine: it answers as Hugging Face's does, and badly where a test asks it to.

with serving(folder) as hub:               # folder/org/name/config.json …; folder/datasets/org/name/train.csv …
    hub.use(monkeypatch, tmp_path)         # HF_ENDPOINT and a cache of its own, for this process
    dk.fetch("org/name")
    hub.badly(r"model\\.safetensors", cut=1000, times=2)
"""

import contextlib
import hashlib
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LFS = re.compile(r"\.(safetensors|bin|model|parquet|wav)$")
REPO = r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+(?:/[^/]+)?)"
INFO = re.compile(REPO + r"(?:/revision/(?P<revision>[^/]+))?")
TREE = re.compile(REPO + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
PATHS = re.compile(REPO + r"/paths-info/(?P<revision>[^/]+)")
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class Badly:
    """How the hub answers what matches `where`, `times` times (None: always)."""

    where: str
    times: int | None = None
    method: str | None = None
    status: int | None = None  # this code, with these headers
    headers: dict = field(default_factory=dict)
    cut: int | None = None  # the connection ends after so many bytes of a body
    flip: int | None = None  # the byte whose lowest bit is another
    drip: float | None = None  # seconds between parts of 4,096 bytes
    whole: bool = False  # all of a file, whatever part was asked for
    to: str | None = None  # the address of another host that has it


class Hub:
    """What is served: the folders' files as they were at each `push`."""

    def __init__(self, folder):
        self.folder, self.rules, self.asked = Path(folder), [], []
        self.branches, self.commits, self.lock = {}, {}, threading.Lock()

    def use(self, monkeypatch, cache):
        """This process asks this hub and keeps what it gets below `cache`, whatever was imported before."""
        from huggingface_hub import constants

        monkeypatch.setenv("HF_ENDPOINT", self.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(cache))
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        template = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        if "datasets" in sys.modules:
            monkeypatch.setattr(sys.modules["datasets"].config, "HF_ENDPOINT", self.url)

    def badly(self, where, **how):
        self.rules.append(Badly(where, **how))

    def push(self, repo, branch="main"):
        """The files that lie in the repository's folder are the branch's from now on; returns the commit."""
        root = self.folder / repo
        if not root.is_dir():
            return None
        files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        commit = hashlib.sha1(repr([(name, digest(name, data)) for name, data in files.items()]).encode()).hexdigest()
        self.commits[repo, commit] = files
        self.branches[repo, branch] = commit
        return commit

    def find(self, repo, revision):
        """The commit and its files, or None."""
        with self.lock:
            if (repo, "main") not in self.branches:
                self.push(repo)
        commit = self.branches.get((repo, revision), revision)
        return (commit, self.commits[repo, commit]) if (repo, commit) in self.commits else None

    def rule(self, method, path):
        """The first that is for this request and not used up."""
        with self.lock:
            for rule in self.rules:
                if rule.times != 0 and re.search(rule.where, path) and rule.method in (None, method):
                    rule.times = rule.times and rule.times - 1
                    return rule
        return Badly("")


def digest(name, data):
    """A file's etag: the sha256 of a large file (LFS), else git's number of the blob."""
    if LFS.search(name):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def told(name, data, **more):
    """What the hub says of a file."""
    lfs = {"oid": digest(name, data), "sha256": digest(name, data), "size": len(data), "pointerSize": 130}
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"size": len(data), "oid": oid, "blobId": oid, **({"lfs": lfs} if LFS.search(name) else {}), **more}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        hub, url = self.server.hub, urlsplit(self.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.asked.append((self.command, unquote(self.path), dict(self.headers.items())))
        self.rule = hub.rule(self.command, unquote(self.path))
        if self.rule.status:
            return self.send(self.rule.status, b'{"error": "asked for"}', **self.rule.headers)
        if self.rule.to:
            return self.send(302, b"", Location=self.rule.to + self.path)
        for pattern, act in ((PATHS, self.paths), (TREE, self.tree), (INFO, self.info), (FILE, self.file)):
            if found := pattern.fullmatch(url.path):
                parts = {name: value and unquote(value) for name, value in found.groupdict().items()}
                repo = parts["repo"] if parts["kind"] in (None, "models") else f"datasets/{parts['repo']}"
                there = hub.find(repo, parts.get("revision") or "main")
                if there is None:
                    code = "RevisionNotFound" if (repo, "main") in hub.branches else "RepoNotFound"
                    return self.send(404, b'{"error": "not found"}', **{"X-Error-Code": code})
                return act(repo.removeprefix("datasets/"), *there, parts)
        return self.send(404, b'{"error": "no such route"}')

    do_HEAD = do_POST = do_GET

    def info(self, repo, commit, files, _):
        siblings = [told(name, data, rfilename=name) for name, data in files.items()]
        self.json({"id": repo, "sha": commit, "private": False, "gated": False, "tags": [], "siblings": siblings})

    def tree(self, _, __, files, parts):
        deep = parse_qs(urlsplit(self.path).query).get("recursive", [""])[0].lower() in ("1", "true")
        under = f"{parts['path']}/" if parts["path"] else ""
        inside = {name: data for name, data in files.items() if name.startswith(under)}
        if under and not inside:
            return self.send(404, b'{"error": "not found"}', **{"X-Error-Code": "EntryNotFound"})
        return self.json(
            [told(name, data, type="file", path=name) for name, data in inside.items() if deep or here(name, under)]
            + [folder(name) for name in folders(inside) if name.startswith(under) and (deep or here(name, under))]
        )

    def paths(self, _, __, files, ___):
        named = self.body.decode()
        wanted = json.loads(named)["paths"] if named.startswith("{") else parse_qs(named)["paths"]
        self.json(
            [told(name, files[name], type="file", path=name) for name in wanted if name in files]
            + [folder(name) for name in folders(files) if name in wanted]
        )

    def file(self, _, commit, files, parts):
        name = parts["path"]
        if name not in files:
            return self.send(404, b"", **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        data, etag = files[name], digest(name, files[name])
        about = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if LFS.search(name):
            about |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if self.rule.flip is not None:
            data = data[: self.rule.flip] + bytes([data[self.rule.flip] ^ 1]) + data[self.rule.flip + 1 :]
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part and not self.rule.whole:
            start, stop = int(part[1]), min(int(part[2] or len(data) - 1) + 1, len(data))
            if start >= len(data):
                return self.send(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
            about["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            return self.send(206, data[start:stop], **about)
        return self.send(200, data, **about)

    def json(self, value):
        self.send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def send(self, status, data, **headers):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        rule = self.rule
        step, stop = (4096 if rule.drip else 2**20), len(data) if rule.cut is None else min(rule.cut, len(data))
        with contextlib.suppress(ConnectionError):  # who asked has gone
            for start in range(0, stop, step):
                self.wfile.write(data[start : min(start + step, stop)])
                time.sleep(rule.drip or 0)
        self.close_connection |= stop < len(data)

    def log_message(self, *_):
        pass


def here(name, under):
    return "/" not in name[len(under) :]


def folders(files):
    return sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})


def folder(name):
    return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}


@contextlib.contextmanager
def serving(folder):
    """A hub over the repositories in this folder, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.hub = hub = Hub(folder)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
