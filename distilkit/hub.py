"""Models from a hub, by name and revision: only the files that are data, whole, and no more than this machine holds."""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import filelock
from tqdm.auto import tqdm

from distilkit.configs import check_configs, read_json
from distilkit.errors import BadFile, BadType, BadValue, shown, whole
from distilkit.models import write

# What is fetched: configurations, vocabularies, weights. No code, no pickle, and no chat template, which is a program.
SMALL = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|target_vocab"
    r"|preprocessor_config|processor_config|model\.safetensors\.index)\.json"
    r"|vocab\.txt|merges\.txt|[\w.-]+\.spm|(spiece|tokenizer|sentencepiece|sentencepiece\.bpe)\.model"
)
WEIGHTS = re.compile(r"model(-\d{5}-of-(?P<of>\d{5}))?\.safetensors")
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further try
LONGEST = 60  # seconds; a hub that asks for a longer wait is not waited for
TIMEOUT = 10.0  # seconds without a byte
AGAIN = {408, 429, 500, 502, 503, 504}
LARGEST_LIST = 2**25  # bytes of what a hub says of a repository, and of a file of weights' header
WORTH_A_BAR = 2**26  # bytes; a larger file shows how far it is
ENOUGH = 2**20  # bytes, after which a cut is a new misfortune, and the tries are counted anew

T = TypeVar("T")


def fetch(name: str | Path, *, revision: str | None = None, most_bytes: int | None = None) -> Path:
    """A folder with the model of this name as a hub keeps it: its configuration, its tokenizer, its safetensors.

    A folder of this machine is given back as it is.

    The files lie in Hugging Face's cache (`HF_HUB_CACHE`, `HF_HOME`), and what lies there already is not fetched again:
    a commit that is there whole asks no hub anything. A branch is resolved to its commit, which is noted, so that the
    same call gives the same files without a network. Every file must have the size and the digest that the hub tells;
    one that is cut off is gone on with by the next call. `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are heeded.

    Args:
        name: of a model, as ``"org/name"``, or with its revision ``"org/name@revision"``.
        revision: a branch, a tag or a commit; the main branch if None. Only a commit means the same files for ever.
        most_bytes: how much memory the model may take to be asked; if None, what this machine has free.

    Raises:
        BadFile: no such model, none that may be read, no network, nothing but pickles, code of its own, a damaged
            file, too large for this machine. BadValue: an impossible name or revision.
    """
    if isinstance(name, str | Path) and str(name) and _is_there(name) and Path(name).is_dir():
        if revision is not None:
            raise BadValue(
                f"{shown(str(name), 120)} is a folder, which has no revision {shown(revision)}: leave it out"
            )
        return Path(name)
    if most_bytes is not None:
        most_bytes = whole("most_bytes", most_bytes, 1, 2**60, "the memory that the model may take")
    found = _find(name, revision)
    for file in found.files:
        if not WEIGHTS.fullmatch(file):
            _bring(found, file)
    check_configs(found.folder)
    _refuse_what_does_not_fit(_estimated(found), most_bytes)
    for file in found.files:
        _bring(found, file)
    if found.commit != (found.revision or "main") and _noted_commit(found) != found.commit:
        write(found.storage / "refs" / (found.revision or "main"), found.commit.encode())
    return found.folder


@dataclass(frozen=True)
class Estimate:
    """What a model takes, in bytes, beside what this machine has; as text, one sentence that says what it means.

    ``to_ask = 1.25 · 4 · parameters``: the weights as float32, and a quarter for what flows through them.
    ``to_train = 1.25 · 16 · parameters``: weights, gradients and the two moments of Adam, and as much again.
    """

    name: str
    commit: str
    parameters: int
    to_fetch: int
    memory: int  # free on this machine
    disk: int  # free where the cache is

    @property
    def to_ask(self) -> int:
        """Bytes of memory to use it as a teacher."""
        return self.parameters * 5

    @property
    def to_train(self) -> int:
        """Bytes of memory to train it as a student."""
        return self.parameters * 20

    def __str__(self) -> str:
        if self.to_fetch > self.disk:
            means = "it does not fit on this disk"
        elif self.to_ask > self.memory:
            means = "too large to be asked here"
        else:
            means = "it can teach here" + (
                ", and be trained here" if self.to_train <= self.memory else ", not be trained"
            )
        return (
            f"{self.name} has {self.parameters:,} parameters: {size(self.to_fetch)} to fetch, {size(self.to_ask)} of "
            f"memory to ask it, {size(self.to_train)} to train it; this machine has {size(self.memory)} of memory and "
            f"{size(self.disk)} of disk free: {means}"
        )


def is_name(name: object) -> bool:
    """Whether this is a model's name at a hub, and no folder here.

    >>> is_name("org/name@main"), is_name("."), is_name("https://host/v1#model"), is_name(None)
    (True, False, False, False)
    """
    return isinstance(name, str) and not Path(name).exists() and bool(_NAME.fullmatch(name.partition("@")[0]))


def estimate(name: str, *, revision: str | None = None) -> Estimate:
    """What the model of this name takes, before any of its weights are fetched: see `Estimate`.

    The parameters are counted in the headers of its safetensors files, which are some kilobytes.
    """
    return _estimated(_find(name, revision))


def size(count: int) -> str:
    """Bytes as people say them.

    >>> size(548_105_171), size(16_060_000_000), size(12)
    ('548 MB', '16.1 GB', '12 B')
    """
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= step:
            return f"{count / step:.3g} {unit}" if count < 999.5 * step else f"{count / step:,.0f} {unit}"
    return f"{count} B"


def memory_free() -> int:
    """Bytes of memory that this process can still have: the machine's, or its container's where that is less."""
    if importlib.util.find_spec("psutil"):
        import psutil

        free = psutil.virtual_memory().available
    else:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        group = Path("/sys/fs/cgroup") / ("" if limit == "memory.max" else "memory")
        try:
            most, now = (int((group / name).read_text()) for name in (limit, used))
            pages = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            files = int(pages["inactive_file"]) + int(pages["active_file"])  # which it can have back
        except (OSError, ValueError, KeyError):  # not here, or "max"
            continue
        free = min(free, most - now + files)
    return max(0, free)


_NAME = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*(/[A-Za-z0-9][\w-]*(\.[\w-]+)*)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REVISION = re.compile(r"(?!.*\.\.)[\w.+-]+(/[\w.+-]+)*", re.ASCII)


# What a repository holds


class _File(NamedTuple):
    size: int
    digest: str  # sha256 of a large file, git's number of a small one, as the cache names them


@dataclass
class _Found:
    """A model at one commit: what it holds of what is fetched, and why the hub did not say so, where the cache did."""

    name: str
    revision: str | None
    commit: str
    files: dict[str, _File]
    away: str = ""

    @property
    def storage(self) -> Path:
        return _cache() / f"models--{self.name.replace('/', '--')}"

    @property
    def folder(self) -> Path:
        return self.storage / "snapshots" / self.commit

    def url(self, file: str) -> str:
        return f"{_endpoint()}/{self.name}/resolve/{self.commit}/{file}"


def _is_there(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # no file can have such a name
        return False


def _find(name: str | Path, revision: str | None) -> _Found:
    """The model of this name, from the hub, or from the cache where a commit is whole or the hub is out of reach."""
    if not isinstance(name, str | Path):
        raise BadType(f"name must be a folder or a model's name at a hub, as 'org/name', got {shown(name)}")
    if isinstance(name, str) and revision is None and "@" in name:
        name, _, revision = name.partition("@")
    if isinstance(name, Path) or not _NAME.fullmatch(name) or len(name) > 200 or _is_there(name):
        raise BadFile(f"there is no folder {shown(str(name), 200)}, nor is this a model's name at a hub, as 'org/name'")
    if revision is not None and (not isinstance(revision, str) or not _REVISION.fullmatch(revision)):
        raise BadValue(f"revision must be a branch, a tag or a commit, got {shown(revision)}")
    found = _Found(name, revision, revision if revision and _COMMIT.fullmatch(revision) else "", {})
    if _offline():
        found.away = "HF_HUB_OFFLINE is set"
    elif not (found.commit and _noted(found)):
        try:
            return _listed(found)
        except _Away as error:
            found.away = str(error)
    found.commit = found.commit or _noted_commit(found)
    if found.commit and _noted(found):
        return found
    raise BadFile(
        f"{found.away}, and {name} ({shown(revision or 'main')}) is not in the cache {shown(str(_cache()), 120)}. Give "
        "a folder with a model, or take a teacher that comes with distilkit, which needs no network: "
        "dk.tasks.docs().teacher(), dk.tasks.digits().teacher()"
    )


def _listed(found: _Found) -> _Found:
    """What the hub says of it, noted beside the cache's files in huggingface_hub's form."""
    revision = found.revision or "main"
    answer = _json(f"{_endpoint()}/api/models/{found.name}/revision/{quote(revision, safe='')}?blobs=true", found)
    try:
        found.commit = str(answer["sha"])
        every = {
            str(one["rfilename"]): _File(one["lfs"]["size"], one["lfs"]["sha256"])
            if one.get("lfs")
            else _File(one["size"], one["blobId"])
            for one in answer["siblings"]
        }
        found.files = {name: file for name, file in every.items() if SMALL.fullmatch(name) or WEIGHTS.fullmatch(name)}
        sane = all(isinstance(file.size, int) and _DIGEST.fullmatch(file.digest) for file in found.files.values())
    except (KeyError, TypeError, AttributeError):
        sane = False
    if not sane or not _COMMIT.fullmatch(found.commit):
        raise BadFile(f"{_host()} does not answer as a hub does for {found.name}: is HF_ENDPOINT right?")
    _choose_weights(found, every)
    note = {
        name: {"size": size, "blob_id": digest} | ({"lfs_sha256": digest, "lfs_size": size} if len(digest) > 40 else {})
        for name, (size, digest) in every.items()
    }
    path = found.storage / "trees" / f"{found.commit}.json"
    if not path.exists():
        write(path, json.dumps({"format_version": 1, "files": note}, indent=1).encode())
    return found


def _choose_weights(found: _Found, every: Mapping[str, object]) -> None:
    """Keep the one file of weights, or all its parts; refuse what has none."""
    if "config.json" not in found.files:
        raise BadFile(f"{found.name} is no model in Hugging Face's format: it has no config.json")
    if "model.safetensors" in found.files:
        found.files = {name: file for name, file in found.files.items() if SMALL.fullmatch(name) or "-of-" not in name}
    parts = [part for part in map(WEIGHTS.fullmatch, found.files) if part]
    if not parts:
        pickles = sorted(name for name in every if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
        raise BadFile(
            f"{found.name} at {found.commit[:12]} has no model.safetensors"
            + (f", only {shown(pickles[0])}: a pickle, which can run code on loading" if pickles else "")
            + ". Look for a converted copy (often a pull request: revision='refs/pr/1'), or convert it where you trust "
            "it: model.save_pretrained(folder)"
        )
    if len(parts) != int(parts[0]["of"] or 1):
        raise BadFile(f"{found.name} is not whole at its hub: {len(parts)} of {int(parts[0]['of'])} files of weights")


def _noted(found: _Found) -> bool:
    """Whether the cache knows what the commit holds, by its note or by the files that another program fetched."""
    note = found.storage / "trees" / f"{found.commit}.json"
    try:
        if note.is_file():
            files = {
                name: _File(one["size"], one.get("lfs_sha256") or one["blob_id"])
                for name, one in read_json(note)["files"].items()
            }
        else:
            links = [path for path in found.folder.iterdir() if path.is_file()]
            files = {path.name: _File(path.stat().st_size, path.resolve().name) for path in links}
        found.files = {name: file for name, file in files.items() if SMALL.fullmatch(name) or WEIGHTS.fullmatch(name)}
        _choose_weights(found, files)
        return all(_DIGEST.fullmatch(file.digest) for file in found.files.values())
    except (OSError, KeyError, TypeError, AttributeError):  # not here, or not as we write it
        return False


def _noted_commit(found: _Found) -> str:
    """The commit that the cache notes for the branch; empty if none."""
    path = found.storage / "refs" / (found.revision or "main")
    commit = path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""
    return commit if _COMMIT.fullmatch(commit) else ""


def _estimated(found: _Found) -> Estimate:
    weights = [name for name in found.files if WEIGHTS.fullmatch(name)]
    blobs = found.storage / "blobs"
    missing = {file.digest: file.size for file in found.files.values() if not (blobs / file.digest).exists()}
    there = next(folder for folder in (found.storage, *found.storage.parents) if folder.exists())
    return Estimate(
        name=found.name,
        commit=found.commit,
        parameters=sum(_parameters(found, name) for name in weights),
        to_fetch=sum(missing.values()),
        memory=memory_free(),
        disk=shutil.disk_usage(there).free,
    )


def _parameters(found: _Found, file: str) -> int:
    """How many numbers a file of weights holds, by its header, which is read here or at the hub."""
    path = found.folder / file

    def part(start: int, stop: int) -> bytes:
        if path.is_file():
            with path.open("rb") as data:
                data.seek(start)
                return data.read(stop - start)
        return _bytes(found, file, start, stop)

    length = int.from_bytes(part(0, 8), "little")
    if length <= min(LARGEST_LIST, found.files[file].size - 8):
        try:
            header = json.loads(part(8, 8 + length))
            return sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
    raise BadFile(f"{found.name}/{file} is not a whole safetensors file: its header cannot be read")


def _refuse_what_does_not_fit(told: Estimate, most_bytes: int | None) -> None:
    if told.to_fetch > told.disk:
        raise BadFile(
            f"{told}. Free some space, set HF_HUB_CACHE to a folder on a larger disk, or take a smaller model"
        )
    if told.to_ask > (told.memory if most_bytes is None else most_bytes):
        raise BadFile(
            f"{told}. Take a smaller one, or a machine with more memory; to go on all the same: "
            f"dk.fetch({told.name!r}, most_bytes={told.to_ask})"
        )


# Fetching


def _bring(found: _Found, name: str) -> None:
    """See that the file lies in the folder, whole: fetched if it is not here, gone on with where it was cut off."""
    file, link = found.files[name], found.folder / name
    if _is_whole(link, file):
        return
    blob = found.storage / "blobs" / file.digest
    try:
        lock = _cache() / ".locks" / found.storage.name / f"{file.digest}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock):  # the one that huggingface_hub takes
            if not _is_whole(blob, file):
                blob.unlink(missing_ok=True)
                _download(found, name, blob)
            if not _is_whole(link, file):
                link.unlink(missing_ok=True)
                try:
                    link.symlink_to(Path("..", "..", "blobs", file.digest))
                except OSError:  # as on Windows, where not everybody may
                    shutil.copyfile(blob, link)
    except _Away as error:
        raise BadFile(f"{error}, and {name} of {found.name} is not whole yet: call again, to go on from here") from None
    except BadFile:
        raise
    except OSError as error:
        raise BadFile(
            f"cannot write {name} of {found.name} to {shown(str(_cache()), 120)}: {error.strerror}. Free some space, "
            "or set HF_HUB_CACHE to a folder that can be written"
        ) from None


def _is_whole(path: Path, file: _File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    start = (
        hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    )
    with path.open("rb") as data:
        return hashlib.file_digest(data, lambda: start).hexdigest() == file.digest


def _download(found: _Found, name: str, blob: Path) -> None:
    file, part = found.files[name], blob.with_name(f"{blob.name}.incomplete")
    if found.away:
        raise BadFile(f"{found.away}, and {name} of {found.name} is not whole in the cache: fetch it with a network")
    with part.open("ab") as data, _bar(name, file.size) as bar:
        bar.update(data.tell())
        while data.tell() < file.size:
            _patiently(lambda: _go_on(found, name, data, bar))
        data.flush()
        os.fsync(data.fileno())
    if not _is_whole(part, file):
        part.unlink()
        raise BadFile(
            f"{name} of {found.name} came damaged from {_host()}: its digest is not {file.digest[:12]}…, which the hub "
            "tells. It is deleted; fetch it again"
        )
    part.replace(blob)


def _go_on(found: _Found, name: str, data: IO[bytes], bar: tqdm[NoReturn]) -> None:
    """Append what is missing; a cut after little is one more try, after much it is the caller's to call again."""
    first, size = data.tell(), found.files[name].size
    try:
        for chunk in _chunks(found, name, first, size):
            data.write(chunk)
            bar.update(len(chunk))
    except Exception as error:
        if not _is_transport(error) or data.tell() - first < ENOUGH:
            raise
    if data.tell() < min(size, first + ENOUGH):
        raise _Again("cuts the connection")


def _bytes(found: _Found, name: str, start: int, stop: int) -> bytes:
    """A part of a file at the hub."""

    def ask() -> bytes:
        data = b"".join(_chunks(found, name, start, stop))
        if len(data) < stop - start:
            raise _Again("cuts the connection")
        return data

    return _patiently(ask)


def _chunks(found: _Found, name: str, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from `start` up to `stop` of a file, and none beyond, whatever is sent."""
    with _answer(found.url(name), found, Range=f"bytes={start}-{stop - 1}") as response:
        place = start if response.status_code == 206 else 0  # a server may send the whole
        for chunk in response.iter_raw():
            yield chunk[max(0, start - place) : max(0, stop - place)]
            place += len(chunk)
            if place >= stop:
                return


def _json(url: str, found: _Found) -> Any:
    def ask() -> Any:
        data = b""
        with _answer(url, found) as response:
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > LARGEST_LIST:
                    break
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise BadFile(f"{_host()} does not answer as a hub does for {found.name}: is HF_ENDPOINT right?") from None

    return _patiently(ask)


def _bar(name: str, size: int) -> tqdm[NoReturn]:
    return tqdm(desc=name, total=size, unit="B", unit_scale=True, disable=size < WORTH_A_BAR)


class _Again(Exception):
    """Not now; in so many seconds, perhaps, if the hub says so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _Away(BadFile):
    """The hub is out of reach: what is in the cache may do."""


# Where there is nobody to be patient with.
_FINAL = {"ConnectError", "ProxyError", "UnsupportedProtocol", "LocalProtocolError", "InvalidURL", "TooManyRedirects"}


def _patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns, asked again a few times where that may help, after the time that the hub asks for."""
    for wait in (*WAITS, None):
        try:
            return ask()
        except _Again as error:
            reason, asked = str(error), error.wait
        except Exception as error:
            if not _is_transport(error):
                raise
            reason, asked = _misfortune(error), None
            if _FINAL & _kinds(error):
                break
        if asked is not None and asked > LONGEST:
            reason, wait = f"asks to be left alone for {asked:,.0f} seconds", None
        if wait is None:
            break
        time.sleep(wait if asked is None else asked)
    raise _Away(f"{_host()} {reason}")


@contextmanager
def _answer(url: str, found: _Found, **headers: str) -> Iterator[Any]:
    """The hub's answer, to be read; a refusal as the error that says what to do."""
    from huggingface_hub import get_session, get_token
    from huggingface_hub.constants import HF_HUB_DISABLE_IMPLICIT_TOKEN

    import distilkit

    headers |= {"User-Agent": f"distilkit/{distilkit.__version__}", "Accept-Encoding": "identity"}
    token = None if HF_HUB_DISABLE_IMPLICIT_TOKEN or not _may_have_the_token() else get_token()
    if token:
        if not re.fullmatch(r"[!-~]+", token):
            raise BadValue("HF_TOKEN holds a character that no token has: copy it anew")
        headers["Authorization"] = f"Bearer {token}"
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        status, code = response.status_code, response.headers.get("X-Error-Code")
        if status in AGAIN:
            wait = response.headers.get("Retry-After", "")
            raise _Again(f"answers {status}", float(wait) if wait.isdigit() else None)
        if status >= 400:
            raise BadFile(_refusal(status, code, found, bool(token)))
        yield response


def _refusal(status: int, code: str | None, found: _Found, sent: bool) -> str:
    token = "a token was sent" if sent else "no token is set"
    if not _may_have_the_token():
        token = "no token was sent, as HF_ENDPOINT is plain http to another machine"
    if code == "GatedRepo" or status == 403:
        return (
            f"{found.name} is gated: agree to its terms at {_host()}/{found.name}, and set HF_TOKEN to a token of that "
            f"account's, which may read it ({token})"
        )
    if status == 401:
        return f"{_host()} shows {found.name} to nobody, or not to you ({token}): check the spelling, and set HF_TOKEN"
    if code == "RevisionNotFound":
        return (
            f"{found.name} has no revision {shown(found.revision or 'main')} at {_host()}: a branch, a tag or a commit"
        )
    if status == 404:
        return f"there is no model {found.name} at {_host()}, and no folder of that name here: check the spelling"
    return f"{_host()} answers {status} for {found.name}"


def _misfortune(error: Exception) -> str:
    """What befell the connection, in words without any address: one may carry a password."""
    kinds, text = _kinds(error), str(error).lower()
    if "ProxyError" in kinds or ("ConnectError" in kinds and _is_proxied()):
        return "cannot be reached through the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names"
    if "certificate" in text or "ssl" in text:
        return "has a certificate that is not trusted here: behind a proxy that opens TLS, set SSL_CERT_FILE to its own"
    if ("name" in text and "ConnectError" in kinds) or "getaddrinfo" in text or "nodename" in text:
        return "cannot be found (DNS): is this machine on line, and HF_ENDPOINT right?"
    if "ConnectError" in kinds:
        return "cannot be reached: is this machine on line?"
    if "TimeoutException" in kinds:
        return f"says nothing for {TIMEOUT:g} seconds"
    if _FINAL & kinds:
        return "cannot be asked: is HF_ENDPOINT right?"
    return "cuts the connection"


def _is_proxied() -> bool:
    url = urlsplit(_endpoint())
    return url.scheme in getproxies() and not proxy_bypass(url.hostname or "")


def _kinds(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _is_transport(error: Exception) -> bool:
    """Whether this is httpx's, whose module has another name from huggingface_hub 2 on."""
    return bool({"RequestError", "InvalidURL", "OfflineModeIsEnabled"} & _kinds(error))


def _may_have_the_token() -> bool:
    """Whether the hub's address keeps a secret: TLS, or this machine."""
    url = urlsplit(_endpoint())
    try:
        here = ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        here = url.hostname == "localhost"
    return url.scheme == "https" or here


def _endpoint() -> str:
    from huggingface_hub.constants import ENDPOINT

    address = (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    try:
        urlsplit(address)
    except ValueError:
        raise BadValue("HF_ENDPOINT is no address, as https://huggingface.co") from None
    return address


def _host() -> str:
    """The hub's host, without a user's name or password."""
    return urlsplit(_endpoint()).netloc.rpartition("@")[2] or "the hub"


def _offline() -> bool:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    asked = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE")
    return HF_HUB_OFFLINE if asked is None else asked.upper() in ("1", "ON", "YES", "TRUE")


def _cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    home = os.environ.get("HF_HOME")
    return Path(os.environ.get("HF_HUB_CACHE") or (Path(home) / "hub" if home else HF_HUB_CACHE)).expanduser()
