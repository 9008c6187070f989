"""A teacher behind an address: an endpoint that speaks OpenAI's API, asked for the log-probabilities of its top tokens.

What is lost
------------
An endpoint names its k likeliest tokens alone. What it does not name is spread evenly over the rest, each of which it
holds for less likely than any it named: `cache_teacher` with ``top ≤ k`` lumps the same tail as it would of the model
itself, and the bound at the top of `distilkit.cached` holds. No logits, hidden states or gradients come over the wire.

The requests go through Python's own urllib: huggingface_hub has changed its client twice, so that no other client is
sure to be there. A redirect is refused, for it would carry the key to another address.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.client
import ipaddress
import json
import math
import os
import random
import re
import socket
import ssl
import string
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED
from distilkit.errors import BadFile, BadType, BadValue, real, shown, whole
from distilkit.models import read, write
from distilkit.transfer import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT = "{text}\n\n{labels}"
SAMPLE = "def naïve(list):\n    return {1.5: 'β – 2,048', **kwargs}  # it's the same"  # that both must read alike
LETTERS = string.ascii_uppercase + string.ascii_lowercase
AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # what may pass: asked again
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds between two tries; twice as long each time
LARGEST = 1 << 26  # bytes of an answer
LEAST = 1e-9  # probability that is left for what an endpoint does not name
WAY_OUT = "Its text can teach, too: dk.distill(student, None, endpoint.teacher_text(prompts))"

Answer = TypeVar("Answer")


class Endpoint(nn.Module):
    """An endpoint as a teacher: token ids (n, time) -> logits, ``log p`` of what it names and an even tail.

    It takes a teacher's place in `distill` and `cache_teacher`; another address, model, prompt or list of labels is
    another teacher to a cache. Each row is one request, some at a time.

    - With `labels` it classifies, (n, labels): one chat completion of one token, whose likeliest tokens are counted for
      the label that they begin. Where two labels begin with the same letter they are called A, B, C …
    - Without, it is a language model, (n, time, words): ``/completions`` with ``echo`` and ``logprobs`` (vLLM,
      llama-cpp-python), for an endpoint of the student's tokenizer.
    - Without log-probabilities there is its text: `teacher_text` and `complete`.

    Args:
        url: up to ``/v1``, such as "http://localhost:8000/v1".
        model: the name by which the endpoint knows it.
        tokenizer: the student's, in Hugging Face's format.
        labels: their names, at most `top`.
        prompt: how the endpoint is asked for a label, with {text} and, where it does not name them, {labels}.
        top: k, how many tokens it names at each place; most endpoints allow 20.
        key_env: the variable of the environment that holds the key, read at each request; None sends none.
        concurrency: requests at a time.
        retries: how often a request is repeated that met a full or failing server (429, 5xx, a cut answer); it waits
            as long as the server asks, a minute at most.
        timeout: seconds that a request may take.
        folder: keeps each answer, so that no request is paid for twice, whatever is cut short.

    Raises:
        BadValue: impossible arguments, another tokenizer, no log-probabilities. BadFile: the endpoint is not there,
            refuses, or answers something else.

    >>> import distilkit as dk
    >>> tokenizer = dk.tasks.docs().tokenizer
    >>> Endpoint("http://localhost:8000/v1", "a-model", tokenizer=tokenizer, labels=["calm", "angry"], key_env=None)
    Endpoint('http://localhost:8000/v1', 'a-model', 2 labels)
    """

    identity: Tensor

    def __init__(
        self,
        url: str,
        model: str,
        *,
        tokenizer: PreTrainedTokenizerBase,
        labels: Sequence[str] | None = None,
        prompt: str = PROMPT,
        top: int = 20,
        key_env: str | None = "OPENAI_API_KEY",
        concurrency: int = 8,
        retries: int = 5,
        timeout: float = 60.0,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("url", url), ("model", model), ("prompt", prompt)):
            if not isinstance(value, str) or not value.strip():
                raise BadType(f"{name} must be a text, got {shown(value)}")
        if not callable(tokenizer) or not hasattr(tokenizer, "decode"):
            raise BadType(f"the tokenizer must be the student's, in Hugging Face's format, got {shown(tokenizer)}")
        self.url, self.model, self.tokenizer, self.prompt = _check_url(url), model, tokenizer, prompt
        self.top = whole("top", top, 1, 1000, "how many tokens the endpoint names at each place")
        self.key_env = key_env
        self.concurrency = whole("concurrency", concurrency, 1, 256, "requests at a time")
        self.retries = whole("retries", retries, 0, 100, "how often a failed request is repeated")
        self.timeout = real("timeout", timeout, 0, 3600, "seconds that a request may take", above=True)
        self.folder = None if folder is None else Path(folder)
        self.labels = None if labels is None else self._check_labels(labels)
        self._key()
        words = hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()
        said = json.dumps([self.url, model, prompt, self.labels, self.top, words]).encode()
        self.register_buffer("identity", torch.tensor([*hashlib.sha256(said).digest()], dtype=torch.uint8))

    def __repr__(self) -> str:
        what = "language model" if self.labels is None else f"{len(self.labels)} labels"
        return f"Endpoint({shown(self.url, 120)}, {shown(self.model)}, {what})"

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Tensor) -> Tensor:
        _check_tokens(input_ids)
        counts = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = [row[there].tolist() for row, there in zip(input_ids, counts.bool(), strict=True)]
        if self.labels is not None:
            texts = [self._decode(row, skip_special_tokens=True) for row in rows]
            return torch.stack(self._all("/chat/completions", ((self._question(text), self._judged) for text in texts)))
        self._same_tokens  # noqa: B018 - asked once
        found = self._all("/completions", map(self._reading, rows))
        logits = found[0].new_zeros((*input_ids.shape, found[0].shape[-1]))  # (n, time, words)
        logits[counts.bool()] = torch.cat(found)
        return logits

    def complete(
        self, prompts: Sequence[str], *, length: int = 256, sampling_temperature: float = 1.0, chat: bool = True
    ) -> list[str]:
        """What the model writes after each prompt, at most `length` of its tokens: as an answer, or to go on with it.

        Args:
            prompts: texts, sent as they are.
            length: the most tokens, the endpoint's.
            sampling_temperature: 0 takes the likeliest token each time.
            chat: True asks ``/chat/completions``, False ``/completions``, which goes on with the prompt.
        """
        if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
            raise BadType(f"prompts must be a list of texts, got {shown(prompts)}")
        return [text for text, _ in self._written(prompts, length, sampling_temperature, chat)]

    def teacher_text(
        self, prompts: Tensor, *, length: int = 48, sampling_temperature: float = 1.0, chat: bool = False
    ) -> Examples:
        """`dk.teacher_text` of an endpoint, which need not give log-probabilities, nor know the student's tokenizer.

        Args:
            prompts: tokens of the student's tokenizer, (n, time).
            length: the most tokens of a text, the student's and the endpoint's.

        Returns:
            `Examples` of (n, time + length − 1) tokens; the labels of the prompt and of what follows the end are −100.
        """
        size = _check_tokens(prompts).shape[1]
        length = whole("length", length, 1, 1 << 16, "how many tokens the teacher writes")
        end = self.tokenizer.eos_token_id
        texts = [self._decode(row, skip_special_tokens=True) for row in prompts.tolist()]
        tokens = prompts.new_full((len(prompts), size + length), end or 0)
        tokens[:, :size] = prompts
        labels = tokens[:, 1:].clone()
        labels[:, : size - 1] = IGNORED
        for row, (text, ended) in enumerate(self._written(texts, length, sampling_temperature, chat)):
            read_anew = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            own = [*read_anew, *([end] if ended and end is not None else [])][:length]
            tokens[row, size : size + len(own)] = labels[row, size - 1 : size - 1 + len(own)] = torch.tensor(own).long()
            labels[row, size - 1 + len(own) :] = IGNORED
        return Examples(tokens[:, :-1].contiguous(), labels)

    # What is asked, and how an answer is read.

    def _question(self, text: str) -> dict[str, Any]:
        parts = {"{text}": text, "{labels}": self._named_labels}
        filled = re.sub(r"\{text\}|\{labels\}", lambda found: parts[found[0]], self.prompt)
        return self._chat(filled, 1, 1.0) | {"logprobs": True, "top_logprobs": self.top}

    def _chat(self, prompt: str, length: int, temperature: float) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"model": self.model, "messages": messages, "max_tokens": length, "temperature": temperature}

    @cached_property
    def _lettered(self) -> bool:
        """Whether labels go by letter: two that begin alike may begin with the same token."""
        assert self.labels is not None
        return "{labels}" in self.prompt and len({label[0].casefold() for label in self.labels}) < len(self.labels)

    @cached_property
    def _named_labels(self) -> str:
        assert self.labels is not None
        if self._lettered:
            listed = "\n".join(f"{letter}. {label}" for letter, label in zip(LETTERS, self.labels, strict=False))
            return f"Which of these is it? Answer with its letter and nothing else.\n{listed}"
        return f"Which of these is it? Answer with one of them and nothing else: {', '.join(self.labels)}"

    def _which(self, token: str) -> int | None:
        """The label that this first token of an answer begins, if it is one and one alone."""
        assert self.labels is not None
        word = token.strip("▁Ġ \n\t.:\"'*()")
        if self._lettered and len(word) == 1:
            place = LETTERS.find(word)
            return place if 0 <= place < len(self.labels) else None
        begun = [place for place, label in enumerate(self.labels) if label.casefold().startswith(word.casefold())]
        return begun[0] if word and len(begun) == 1 else None

    def _judged(self, answer: Any) -> Tensor:
        """Log-probabilities of the labels, (labels,); those not named share what is left, none more than the least."""
        assert self.labels is not None
        said = _choice(answer).get("logprobs")
        if not said or not said["content"] or not said["content"][0]["top_logprobs"]:
            raise BadValue(f"{self} gives no log-probabilities of its top tokens. {WAY_OUT}")
        named = [(one["token"], _log_prob(one["logprob"])) for one in said["content"][0]["top_logprobs"]]
        mass = [0.0] * len(self.labels)
        for token, log_prob in named:
            if (place := self._which(token)) is not None:
                mass[place] += math.exp(log_prob)
        left, least = 1 - sum(math.exp(log_prob) for _, log_prob in named), min(log_prob for _, log_prob in named)
        unseen = mass.count(0.0)
        if unseen == len(mass):
            warnings.warn(
                f"{self} begins an answer with {shown([token for token, _ in named])}, which begins none of the labels:"
                " it is taken to know nothing. Say in the prompt how to answer",
                stacklevel=2,
            )
        share = max(min(left / max(unseen, 1), math.exp(least)), LEAST)
        return torch.tensor([math.log(part or share) for part in mass])

    def _reading(self, row: list[int]) -> tuple[dict[str, Any], Callable[[Any], Tensor]]:
        """Of these tokens and one behind them, so that what follows the last is told, too; as text where it can be."""
        end = self.tokenizer.eos_token_id
        sent = [*row, row[-1] if end is None else end]
        text = self._decode(sent, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        again = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._echo(text if again == sent else sent), lambda answer: self._places(answer, sent)

    def _decode(self, tokens: list[int], **how: bool) -> str:
        return str(self.tokenizer.decode(tokens, **how))

    def _echo(self, prompt: str | list[int]) -> dict[str, Any]:
        asked = {"model": self.model, "prompt": prompt, "echo": True, "logprobs": self.top, "temperature": 1.0}
        return asked | {"max_tokens": 1, "return_tokens_as_token_ids": True}  # the last is vLLM's

    @cached_property
    def _same_tokens(self) -> bool:
        sample = self.tokenizer(SAMPLE, add_special_tokens=False)["input_ids"]
        return bool(self._all("/completions", [(self._echo(SAMPLE), lambda answer: self._places(answer, sample))]))

    @cached_property
    def _ids(self) -> dict[str, int]:
        """The student's tokens as an endpoint may write them; what two are written as is left out."""
        tokenizer, said = self.tokenizer, dict[str, int]()
        for token in range(len(tokenizer)):
            word = self._decode([token], clean_up_tokenization_spaces=False)
            said[word] = -1 if word in said else token
        vocabulary = tokenizer.get_vocab().items()
        said |= {word.replace("▁", " "): token for word, token in vocabulary} | dict(vocabulary)
        return {word: token for word, token in said.items() if token >= 0}

    def _id(self, word: object) -> int | None:
        if isinstance(word, str) and word.startswith("token_id:") and word[9:].isdecimal():
            return int(word[9:])
        return self._ids.get(word) if isinstance(word, str) else None

    def _places(self, answer: Any, sent: list[int]) -> Tensor:
        """The log-probabilities of what follows each of these tokens but the last, (tokens − 1, words)."""
        said = _choice(answer).get("logprobs")
        if not said or not said.get("top_logprobs"):
            raise BadValue(f"{self} gives no log-probabilities of the prompt's tokens. {WAY_OUT}")
        read = [self._id(word) for word in said["tokens"]]
        known = sum(token is not None for token in read[: len(sent)])
        for before in (0, 1):  # some put a beginning of the text in front
            found = read[before : before + len(sent)]
            if len(found) == len(sent) <= 2 * known and all(a in (None, b) for a, b in zip(found, sent, strict=True)):
                break
        else:
            raise BadValue(
                f"{self} reads {shown(self._decode(sent), 40)} as {len(read)} tokens, {shown(said['tokens'])}, and the "
                f"student's tokenizer as {len(sent)}: two tokenizers, whose tokens cannot be compared. {WAY_OUT}"
            )
        words = len(self.tokenizer)
        logits = torch.empty(len(sent) - 1, words)
        for place, actual in enumerate(sent[1:]):
            at = before + place + 1
            named = {self._id(word): _log_prob(value) for word, value in said["top_logprobs"][at].items()}
            named[actual] = _log_prob(said["token_logprobs"][at])
            ours = {token: value for token, value in named.items() if token is not None and token < words}
            left = 1 - sum(map(math.exp, ours.values()))
            if left < -1e-3:
                raise _Strange(f"the probabilities at token {place} sum to {1 - left:g}, which is more than 1")
            logits[place] = math.log(max(left, LEAST) / max(words - len(ours), 1))
            logits[place, list(ours)] = torch.tensor(list(ours.values()))
        return logits

    def _written(self, prompts: Sequence[str], length: int, temperature: float, chat: bool) -> list[tuple[str, bool]]:
        """The texts, and whether the model ended each by itself."""
        length = whole("length", length, 1, 1 << 20, "the most tokens that the endpoint writes")
        temperature = real("sampling_temperature", temperature, 0, 100, "0 takes the likeliest token")

        def understood(answer: Any) -> tuple[str, bool]:
            choice = _choice(answer)
            text = choice["message"]["content"] if chat else choice["text"]
            if not isinstance(text, str):
                raise _Strange(f"its text is {shown(text)}")
            return text, choice.get("finish_reason") == "stop"

        def asked(prompt: str) -> dict[str, Any]:
            plain = {"model": self.model, "prompt": prompt, "max_tokens": length, "temperature": temperature}
            return self._chat(prompt, length, temperature) if chat else plain

        path = "/chat/completions" if chat else "/completions"
        return self._all(path, ((asked(prompt), understood) for prompt in prompts))

    # How it is asked.

    def _all(self, path: str, asked: Iterable[tuple[dict[str, Any], Callable[[Any], Answer]]]) -> list[Answer]:
        """What each answer says, in order; the first failure ends them all."""
        over = threading.Event()

        def one(body_and_reader: tuple[dict[str, Any], Callable[[Any], Answer]]) -> Answer:
            if over.is_set():
                raise CancelledError  # behind a failure, which is the one that is seen
            try:
                return self._ask(path, *body_and_reader, over)
            except BaseException:
                over.set()
                raise

        pool = ThreadPoolExecutor(self.concurrency)
        try:
            return list(pool.map(one, asked))
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)

    def _ask(
        self, path: str, body: dict[str, Any], understood: Callable[[Any], Answer], over: threading.Event
    ) -> Answer:
        data = json.dumps(body).encode()
        kept = None
        if self.folder is not None:
            kept = self.folder / f"{hashlib.sha256(f'{self.url}{path} '.encode() + data).hexdigest()}.json"
            if kept.is_file():
                with contextlib.suppress(_Cut):  # damaged: asked again
                    return self._read(read(kept), understood, str(kept))
        for tries in range(1, self.retries + 2):
            pause = FIRST_WAIT * 2 ** (tries - 1) * random.uniform(0.5, 1)
            try:
                answer = self._post(path, data)
                found = self._read(answer, understood, self.url + path)
                if kept is not None:
                    write(kept, answer)
                return found
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"it answers {error.code}: {self._said(error)}"
                    if error.code not in AGAIN:
                        raise self._refusal(error.code, path, reason) from None
                    pause = _asked_pause(error.headers.get("Retry-After"), pause)
            except _Cut as error:
                reason = f"its answer is {error}"
            except BadFile:
                raise
            except (OSError, http.client.HTTPException) as error:
                cause = getattr(error, "reason", error)
                reason = shown(str(cause) or type(cause).__name__, 120)
                if isinstance(cause, ConnectionRefusedError | socket.gaierror | ssl.SSLCertVerificationError):
                    break  # no server is there, or not the one that is meant: no use in waiting
            if tries > self.retries or over.wait(min(LONGEST_WAIT, pause)):
                break
        raise BadFile(
            f"{self.url}{path} gives no answer, tried {tries} times: {reason}. Is it running, and is this its address? "
            "What it has answered stays in the folder of cache_teacher, and in folder= of the Endpoint"
        )

    def _post(self, path: str, data: bytes) -> bytes:
        """The answer's bytes, or an HTTPError; all in `timeout` seconds, and not too many."""
        headers = {"Content-Type": "application/json", "User-Agent": "distilkit"}
        if (key := self._key()) is not None:
            headers["Authorization"] = f"Bearer {key}"
        ways: list[Any] = [_NoRedirect, *([urllib.request.ProxyHandler({})] if _is_here(self.url) else [])]
        opener = urllib.request.build_opener(*ways)
        end = time.monotonic() + self.timeout
        parts, size = [], 0
        with opener.open(urllib.request.Request(self.url + path, data, headers), timeout=self.timeout) as reply:
            while part := reply.read1(1 << 16):
                parts.append(part)
                size += len(part)
                if size > LARGEST:
                    raise BadFile(f"{self.url}{path} answers with more than {LARGEST:,} bytes: ask for a smaller top")
                if time.monotonic() > end:
                    raise TimeoutError(f"no whole answer in {self.timeout:g} s")
            if reply.length:
                raise _Cut(f"cut short, {reply.length:,} bytes are missing")
        return b"".join(parts)

    def _read(self, data: bytes, understood: Callable[[Any], Answer], where: str) -> Answer:
        if data.lstrip()[:1] == b"<":
            raise BadFile(
                f"{where} answers with a web page instead of JSON, {shown(data[:40].decode(errors='replace'))}: the "
                "url must go up to /v1, such as http://localhost:8000/v1"
            )
        try:
            answer = json.loads(data, parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            raise _Cut(f"no whole JSON, {shown(data[:40].decode(errors='replace'))}: {shown(str(error))}") from None
        try:
            return understood(answer)
        except _Strange as error:
            raise BadFile(f"{where} gives a strange answer: {error}") from None
        except (LookupError, TypeError, AttributeError) as error:
            raise BadFile(
                f"{where} gives an answer in another form than OpenAI's ({shown(repr(error))}): "
                f"{shown(data[:80].decode(errors='replace'), 100)}"
            ) from None

    def _refusal(self, status: int, path: str, reason: str) -> BadFile:
        if status in (401, 403):
            remedy = f"Is a key for it in the environment variable {self.key_env}?"
        elif 300 <= status < 400:
            remedy = "It sends us to another address, which we do not follow: give that one as the url"
        elif status in (404, 405):
            remedy = f"Does it know the model {shown(self.model)}, and does its url go up to /v1?"
        else:
            remedy = f"Where it refuses log-probabilities or top={self.top}: {WAY_OUT[0].lower()}{WAY_OUT[1:]}"
        return BadFile(f"{self.url}{path} refuses the request, {reason}. {remedy}")

    def _said(self, error: urllib.error.HTTPError) -> str:
        """What the server says of it, without the key, which some repeat."""
        try:
            text = error.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return "nothing"
        key = self._key()
        return shown(text.replace(key, "…") if key else text, 160)

    def _key(self) -> str | None:
        key = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        if not key:
            return None
        if not key.isascii() or not key.isprintable():
            raise BadValue(f"the key in {self.key_env} holds what no header can carry: copy it anew")
        if self.url.startswith("http:") and not _is_here(self.url):
            raise BadValue(
                f"{self.url} is not encrypted, and {self.key_env} holds a key, which everybody on the way could read: "
                "give the https address, or key_env=None, which sends none"
            )
        return key

    def _check_labels(self, labels: Sequence[str]) -> list[str]:
        if isinstance(labels, str) or not all(isinstance(label, str) and label.strip() for label in labels):
            raise BadType(f"labels must be a list of names, got {shown(labels)}")
        found = [label.strip() for label in labels]
        if len({label.casefold() for label in found}) < len(found) or len(found) < 2:
            raise BadValue(f"labels must be two or more names, each another one, got {shown(found)}")
        most = min(self.top, len(LETTERS))
        if len(found) > most:
            raise BadValue(
                f"there are {len(found)} labels, and the endpoint names the likeliest top={self.top} tokens (letters: "
                f"{len(LETTERS)}): the rest would be guessed. Ask for groups of labels first, or take a larger top"
            )
        if "{text}" not in self.prompt:
            raise BadValue(f"the prompt must have a place for the {{text}}, got {shown(self.prompt)}")
        for label in found:
            longer = [other for other in found if other != label and other.casefold().startswith(label.casefold())]
            if longer and "{labels}" not in self.prompt:
                raise BadValue(
                    f"{shown(longer[0])} begins like {shown(label)}, and the first token of an answer may be both: put "
                    "{labels} into the prompt, which calls them A, B, C …"
                )
        return found


class _Cut(Exception):
    """An answer that is not whole: it may be, the next time."""


class _Strange(Exception):
    """An answer that cannot be right."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _check_url(url: str) -> str:
    found = url.strip().rstrip("/")
    try:
        parts = urlsplit(found)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) and found.isascii()
        sound = sound and found.isprintable() and " " not in found
    except ValueError:
        sound = False
    if not sound:
        raise BadValue(f"url must be the address of an endpoint, such as http://localhost:8000/v1, got {shown(url)}")
    if parts.username is not None or parts.query or parts.fragment:
        raise BadValue("the url holds a name, key or query: give the bare address, and the key by key_env")
    for path in ("/chat/completions", "/completions"):
        found = found.removesuffix(path)
    return found


def _is_here(url: str) -> bool:
    """Whether this address is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _choice(answer: Any) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        error = answer.get("error") if isinstance(answer, dict) else None
        found = f"{len(choices)} choices" if isinstance(choices, list) else shown(error or answer)
        raise _Strange(f"one choice was asked for, it holds {found}")
    return choices[0]


def _log_prob(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 1e-3:  # false for nan, too
        raise _Strange(f"a log-probability is {shown(value)}, which must be a number of at most 0")
    return min(float(value), 0.0)


def _constant(name: str) -> float:
    if name == "-Infinity":
        return -math.inf
    raise ValueError(f"{name} is no number")


def _asked_pause(header: str | None, otherwise: float) -> float:
    """The seconds of a Retry-After header: a whole number, or a date."""
    if header is None or header.strip().isdecimal():
        return otherwise if header is None else float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return otherwise


def _check_tokens(tokens: Tensor) -> Tensor:
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise BadType(f"an endpoint takes the student’s tokens, whole numbers (n, time), got {shown(tokens)}")
    if not tokens.numel():
        raise BadValue(f"there are no tokens to ask the endpoint about: {tuple(tokens.shape)}")
    return tokens
