"""Tokens, keys and passwords in any file: python -m tests.trust.secrets [file …]; all tracked files without one.

A pattern of its own for each kind of secret, none that goes by how random a text looks: sha256 digests and weights are
random, too. It is looked for as it stands, in base64, in %xx and escaped, with colours between its letters, broken over
lines (a traceback), and in what a notebook holds: sources, outputs, metadata, the state of widgets. Lines end with
``# allow-secret`` where a secret is made up to be found.
"""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tests.trust import Checked

ROOT = Path(__file__).parents[2]
KINDS = {
    "Hugging Face": r"\bhf_[A-Za-z]{0,4}[A-Za-z0-9]{30,}\b",
    "Anthropic": r"\bsk-ant-[\w-]{20,}",
    "OpenAI": r"\bsk-(?:proj-|svcacct-|admin-)?(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}",
    "GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,})\b",
    "GitLab": r"\bgl(?:pat|dt|rt|cbt|ptt)-[\w-]{20,}",
    "AWS": r"\b(?:AKIA|ASIA|AGPA|AROA)[0-9A-Z]{16}\b",
    "AWS secret": r"(?i:aws.{0,20}secret.{0,20})[\"'=:\s]{1,4}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
    "Google": r"\bAIza[\w-]{35}(?![\w-])",
    "Google OAuth": r"\b(?:ya29\.[\w-]{30,}|GOCSPX-[\w-]{28})",
    "Slack": r"\bxox[abeprs]-\d[\w-]{10,}",
    "Slack hook": r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{20,}",
    "Stripe": r"\b[rs]k_live_[A-Za-z0-9]{20,}",
    "PyPI": r"\bpypi-AgEI[\w-]{50,}",
    "npm": r"\bnpm_[A-Za-z0-9]{36}\b",
    "Azure": r"AccountKey=[A-Za-z0-9/+]{80,}={0,2}",
    "JWT": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "address with a password": r"\b[a-z][a-z0-9+.-]{1,12}://[^\s/:@\"'<>{}$*…]{1,80}:[^\s/:@\"'<>{}$*…]{3,80}@[\w\[]",
    "bearer": r"(?i:authorization)[\"']?[:=\s]{1,3}[\"']?(?i:(?:bearer|token|basic)\s+)(?=[\w.~+/-]*\d)[\w.~+/-]{16,}",
    "named": r"(?i:api_?-?key|access_?-?token|auth_?-?token|client_?-?secret|passw(?:or)?d)\\*[\"']?\s{0,2}[:=]\s{0,2}"
    r"\\*[\"'](?=[\w+/.-]*\d)(?=[\w+/.-]*[A-Za-z])(?![0-9a-f]{32,64}\\*[\"'])[\w+/.-]{16,}\\*[\"']",
}
PATTERN = re.compile("|".join(f"(?P<k{number}>{pattern})" for number, pattern in enumerate(KINDS.values())))
COLOUR = re.compile(r"(?:\x1b|\\u001b|\\x1b|\\033)\[[0-9;]*m")
BROKEN = re.compile(r"[\"']?,?\s*(?:\\n|\n)\s*(?:[>|…]\s*)?[\"']?,?\s*[\"']?")  # also a list of lines, as in notebooks
CODED = re.compile(r"(?:[A-Za-z0-9+/]{4}|[\w-]{4}){6,}(?:[\w+/-]{2,3})?={0,2}")
MADE_UP = re.compile(r"(?m)^.*# allow-secret$")
DEEP = 2  # base64 in base64


def secrets(text: str) -> list[tuple[str, str]]:
    """The secrets in a text, as (kind, its first four letters): never the secret itself.

    >>> secrets("token = 'hf_" + "aB1" * 12 + "'")
    [('Hugging Face', 'hf_a…')]
    >>> secrets("sha256: " + "0123456789abcdef" * 4)
    []
    """
    names = list(KINDS)
    found = {
        (names[int(one.lastgroup[1:])], one[0][:4] + "…")
        for each in readings(MADE_UP.sub("", text))
        for one in PATTERN.finditer(each)
        if one.lastgroup
    }
    return sorted(found)


def readings(text: str, deep: int = DEEP) -> Iterator[str]:
    """The text, and what it says without colours and breaks, with its escapes undone, and in base64."""
    plain = COLOUR.sub("", text)
    yield text
    if plain != text:
        yield plain
    if "\n" in plain or "\\n" in plain:
        yield BROKEN.sub("", plain)
    if re.search(r"\\u00[0-7]|\\x[0-7]", plain):
        yield re.sub(r"\\(?:u00|x)([0-7][0-9a-fA-F])", lambda one: chr(int(one[1], 16)), plain)
    if "%" in plain:
        yield urllib.parse.unquote(plain, errors="ignore")
    if deep:
        for one in CODED.finditer(plain):
            if inner := decoded(one[0]):
                yield from readings(inner, deep - 1)


def decoded(text: str) -> str:
    """What base64 says, where that is a text."""
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        letters = base64.b64decode(text[: len(text) - (len(text) % 4 == 1)] + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return ""
    readable = sum(32 <= letter < 127 or letter in b"\n\r\t" for letter in letters)
    return letters.decode("latin-1") if readable > 0.9 * len(letters) else ""


def in_file(path: Path) -> list[tuple[str, str]]:
    """The secrets in one file; of weights and tables, in what stands there as it is."""
    data = path.read_bytes()
    if b"\0" in data[:8000]:
        return secrets("\n".join(one[0].decode() for one in re.finditer(rb"[\x20-\x7e]{16,400}", data[:1_000_000])))
    return secrets(data.decode("utf-8", "replace"))


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def main(count: int = 500) -> Checked:
    """Look through at least `count` tracked files."""
    files = tracked()
    found = [f"{path.relative_to(ROOT)}: {kind}, {start}" for path in files for kind, start in in_file(path)]
    return Checked(len(files), f"{len(files)} tracked files, {len(KINDS)} kinds of secrets: {len(found)} found", found)


if __name__ == "__main__":
    paths = [Path(name) for name in sys.argv[1:]] or tracked()
    lines = [f"{path}: a secret ({kind}, {start})" for path in paths for kind, start in in_file(path)]
    print(*lines, sep="\n")
    sys.exit(bool(lines))
