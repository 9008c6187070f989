"""A small server on this machine that answers like OpenAI's API, from real models, and misbehaves by rule."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from torch import Tensor

KEY = "sk-a-key-of-nobody"


class Server(ThreadingHTTPServer):
    """Attributes: url; `requests`, (path, body, headers) of each; `faults`, one a request, "" for none; `delay`."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str, dict[str, Any]], object]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.delay = answer, 0.0
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.faults: Iterator[str] = itertools.repeat("")
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, body, dict(self.headers)))
            fault = next(self.server.faults, "")
        time.sleep(self.server.delay)
        status, _, header = fault.partition(" ")
        if status.isdecimal():
            said = {"error": {"message": f"{status} for {self.headers.get('Authorization')} <script>"}}
            self.say(int(status), json.dumps(said).encode(), *header.split("=") if header else ())
        elif fault == "html":
            self.say(200, b"<!doctype html><script>alert(1)</script>")
        elif fault == "slow":
            time.sleep(2)
        elif fault == "drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b" ")
                time.sleep(0.1)
        else:
            with self.server.lock:
                answer = self.server.answer(self.path, body)
            said = fault.encode() if fault.startswith(("{", "[")) else json.dumps(answer).encode()
            if fault == "cut":
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said[: len(said) // 2])
            else:
                self.say(200, said[: len(said) // 2] if fault == "half" else said)

    def say(self, status: int, said: bytes, *header: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        if header:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answer: Callable[[str, dict[str, Any]], object]) -> Iterator[Server]:
    """A server whose models `answer` a path and a body."""
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def one(**choice: object) -> dict[str, object]:
    """An answer of one choice."""
    return {"object": "answer", "choices": [{"index": 0, "finish_reason": "stop", **choice}]}


def chat(log_probs: dict[str, float]) -> dict[str, object]:
    """A chat completion of one token, and the log-probabilities of the likeliest."""
    top = [{"token": token, "logprob": value, "bytes": [*token.encode()]} for token, value in log_probs.items()]
    top.sort(key=lambda each: -each["logprob"])
    word = top[0]["token"]
    return one(message={"role": "assistant", "content": word}, logprobs={"content": [top[0] | {"top_logprobs": top}]})


class Words:
    """A causal language model behind ``/completions``: it echoes the prompt with the top-k of each place, or writes.

    `style` is how it writes tokens: "decoded" (llama-cpp-python), "raw" (as in the vocabulary), "ids" (vLLM when it is
    asked for ids); `begins` puts that token in front, as Llama's tokenizer does.
    """

    def __init__(self, model: Any, tokenizer: Any, *, style: str = "decoded", begins: int | None = None) -> None:
        self.model, self.tokenizer, self.style, self.begins = model, tokenizer, style, begins

    def __call__(self, path: str, body: dict[str, Any]) -> dict[str, object]:
        assert path == "/v1/completions", path
        prompt = body["prompt"]
        tokens = self.tokenizer(prompt, add_special_tokens=False)["input_ids"] if isinstance(prompt, str) else prompt
        tokens = tokens if self.begins is None else [self.begins, *tokens]
        logs = self.logs(tokens)
        if not body.get("echo"):
            for _ in range(body["max_tokens"]):
                tokens = [*tokens, int(self.logs(tokens)[-1].argmax())]
            return one(text=self.tokenizer.decode(tokens[-body["max_tokens"] :]), finish_reason="length")
        tokens = [*tokens, int(logs[-1].argmax())]  # the one that was written
        tops = [{self.written(int(i)): float(row[i]) for i in row.topk(body["logprobs"]).indices} for row in logs]
        own = [None, *(float(row[token]) for row, token in zip(logs, tokens[1:], strict=True))]
        said = {"tokens": [*map(self.written, tokens)], "token_logprobs": own, "top_logprobs": [None, *tops]}
        return one(text="", logprobs=said)

    @torch.no_grad()
    def logs(self, tokens: list[int]) -> Tensor:
        return self.model(torch.tensor([tokens])).logits[0].log_softmax(-1)

    def written(self, token: int) -> str:
        if self.style == "ids":
            return f"token_id:{token}"
        return (
            self.tokenizer.decode([token]) if self.style == "decoded" else self.tokenizer.convert_ids_to_tokens(token)
        )
