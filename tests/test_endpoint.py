"""A teacher behind an address says what the model itself says, whatever happens on the way; and no key leaks."""

import copy
import itertools
import json
import math
import pickle
import threading
import warnings
from functools import cache, partial

import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit import endpoint as module
from distilkit.endpoint import Endpoint
from distilkit.tasks.text import llama
from tests.faults import refused
from tests.openai_server import KEY, Words, chat, one, serving

GREYS = "the of to is and in that for be are with not it or by from this".split()  # noqa: SIM905 - 17 shades
DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@cache
def docs():
    task = dk.tasks.docs()
    return task, task.teacher()


def tokenizer():
    return docs()[0].tokenizer


@cache
def digits():
    return dk.tasks.digits(), dk.tasks.digits().teacher()


def as_tokens(images):
    """Each image as a text of 64 words, a token each: (n, 64)."""
    texts = [" " + " ".join(GREYS[round(16 * grey)] for grey in image) for image in images.tolist()]
    return torch.tensor(tokenizer()(texts)["input_ids"])


def as_images(text):
    return torch.tensor([[GREYS.index(word) / 16 for word in text.split()]])


class Reader(nn.Module):
    """The shipped teacher of digits, which reads them as such a text."""

    def __init__(self):
        super().__init__()
        self.teacher = digits()[1]

    def forward(self, input_ids):
        return torch.cat([self.teacher(as_images(tokenizer().decode(row))) for row in input_ids.tolist()]).log_softmax(
            -1
        )


@torch.no_grad()
def judge(path, body, *, words=DIGITS, least=-30.0):
    """The same teacher behind a chat: the log-probabilities of its words, each in two spellings."""
    assert path == "/v1/chat/completions"
    assert (body["max_tokens"], body["logprobs"], body["temperature"]) == (1, True, 1.0)
    text, _, question = body["messages"][0]["content"].partition("\n\n")
    assert all(label in question for label in DIGITS)
    logs = digits()[1](as_images(text))[0].log_softmax(-1).tolist()
    spelt = {}
    for word, log_prob in zip(words, logs, strict=True):
        spelt |= {word: log_prob + math.log(0.75), f" {word}": log_prob + math.log(0.25)}
    top = sorted(spelt, key=lambda word: -spelt[word])[: body["top_logprobs"]]
    return chat({word: spelt[word] for word in top if spelt[word] > least})


def calm(path, body):
    return chat({"calm": math.log(0.6), "ang": math.log(0.3), " CALM": math.log(0.05), "?": math.log(0.01)})


def moods(server, **options):
    return Endpoint(server.url, "m", tokenizer=tokenizer(), labels=["calm", "angry"], **options)


def named(token):
    """The answer of a chat whose one likeliest token is this."""
    return f'{{"choices": [{{"logprobs": {{"content": [{{"top_logprobs": [{{{token}}}]}}]}}}}]}}'


SOME = torch.tensor([[300, 301, 302], [303, 304, 305]])


# Labels.


def test_labels_are_judged_as_the_model_itself_judges_them():
    tokens = as_tokens(digits()[0].test.inputs[:24])
    with serving(judge) as server:
        teacher = Endpoint(server.url, "digits", tokenizer=tokenizer(), labels=DIGITS)
        found, true = dk.predict(teacher, tokens), dk.predict(Reader(), tokens)
        torch.testing.assert_close(found.exp(), true.exp(), atol=1e-6, rtol=0)  # probabilities, of the tail, too
        top = true.topk(3).indices
        torch.testing.assert_close(found.gather(1, top), true.gather(1, top), atol=1e-4, rtol=1e-4)
        assert len(server.requests) == 24


def test_a_student_of_the_endpoint_is_the_student_of_the_model(tmp_path):
    task = digits()[0]
    transfer = dk.Examples(as_tokens(task.pool.inputs[:96]), task.pool.labels[:96])

    def student():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Embedding(len(tokenizer()), 4), nn.Flatten(), nn.Linear(256, 10))

    with serving(judge) as server:
        teacher = Endpoint(server.url, "digits", tokenizer=tokenizer(), labels=DIGITS)
        caches = [
            dk.cache_teacher(model, transfer, tmp_path / name, top=10, temperature=2.0)
            for name, model in (("endpoint", teacher), ("itself", Reader()))
        ]
        asked = len(server.requests)
        assert asked == 97  # once each, and the first one for its shape
        dk.cache_teacher(teacher, transfer, tmp_path / "endpoint", top=10, temperature=2.0)
        assert len(server.requests) == asked + 1
    knobs = dk.Knobs(temperature=2.0, alpha=1.0, lr=0.01)
    students = [dk.distill(student(), each, transfer, knobs=knobs, steps=60).result() for each in caches]
    first, second = (dk.predict(each, transfer.inputs) for each in students)
    assert dk.forward_kl(first / 2, second / 2) < 1e-4, "nats: what no top-20 names is known to one in 10⁹ only"
    assert torch.equal(first.argmax(1), second.argmax(1))
    assert float((first.argmax(1) == transfer.labels).float().mean()) > 0.8


@pytest.mark.parametrize("padded", ["left", "right"])
def test_what_the_mask_leaves_out_is_not_sent(padded):
    with serving(calm) as server:
        row = [*tokenizer()("a quiet day")["input_ids"]]
        pads = [5, 5, 5]
        ids, mask = (
            ([*pads, *row], [0, 0, 0, *[1] * len(row)])
            if padded == "left"
            else ([*row, *pads], [*[1] * len(row), 0, 0, 0])
        )
        inputs = dk.Inputs(input_ids=torch.tensor([ids]), attention_mask=torch.tensor([mask]))
        dk.predict(moods(server, prompt="<{text}> {labels}"), inputs)
        assert server.requests[0][1]["messages"][0]["content"].startswith("<a quiet day> Which")


def test_spellings_are_summed_and_an_unseen_label_gets_no_more_than_the_least():
    with serving(calm) as server:
        probs = moods(server)(SOME[:1]).exp()
        torch.testing.assert_close(probs, torch.tensor([[0.65, 0.3]]))
        three = Endpoint(server.url, "m", tokenizer=tokenizer(), labels=["calm", "angry", "sad", "glad"])(
            SOME[:1]
        ).exp()
        torch.testing.assert_close(three, torch.tensor([[0.65, 0.3, 0.01, 0.01]]))  # 0.04 is left; each at most 0.01


def test_labels_that_begin_alike_go_by_letter():
    labels = ["sport", "sports cars", "science"]

    def answer(path, body):
        assert body["messages"][0]["content"].endswith("A. sport\nB. sports cars\nC. science")
        return chat(
            {
                "A": math.log(0.5),
                " B": math.log(0.2),
                "C.": math.log(0.1),
                "science": math.log(0.1),
                "sport": -3.0,
                "a": -4.0,
            }
        )

    with serving(answer) as server:
        teacher = Endpoint(server.url, "m", tokenizer=tokenizer(), labels=labels)
        torch.testing.assert_close(teacher(SOME[:1]).exp(), torch.tensor([[0.5, 0.2, 0.2]]))


def test_an_answer_that_names_no_label_is_told_and_known_to_be_nothing():
    with serving(lambda *_: chat({"Well": -0.1, "The": -3.0})) as server:
        with pytest.warns(UserWarning, match="begins none of the labels"):
            logits = moods(server)(SOME[:1])
        assert logits[0, 0] == logits[0, 1]


def test_text_of_the_data_is_never_a_place_of_the_prompt():
    with serving(calm) as server:
        tokens = torch.tensor([tokenizer()("{labels} {text} {0}")["input_ids"]])
        moods(server, prompt="{{}} {text} | {labels}")(tokens)
        assert server.requests[0][1]["messages"][0]["content"].startswith("{{}} {labels} {text} {0} | Which")


# Words.


@pytest.mark.parametrize(("style", "begins"), [("ids", None), ("decoded", None), ("raw", None), ("ids", 0)])
def test_words_are_those_of_the_model_itself(style, begins):
    task, teacher = docs()
    tokens = task.test.inputs[:6, :40]
    with serving(Words(teacher, task.tokenizer, style=style, begins=begins)) as server:
        found = dk.predict(Endpoint(server.url, "docs", tokenizer=task.tokenizer, top=20), tokens).double()
        assert len(server.requests) == 7  # and the sample
    before = tokens if begins is None else torch.cat([torch.full((6, 1), begins), tokens], 1)
    true = dk.predict(teacher, before).log_softmax(-1)[:, before.shape[1] - 40 :]
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(6, 40).double(), atol=1e-4, rtol=0)
    top = true.topk(20).indices
    if style == "decoded":  # half a letter is written as no letter is: what cannot be told apart is in the tail
        named = [task.tokenizer.decode([token]) for token in range(len(task.tokenizer))]
        told = torch.tensor([named.count(word) == 1 for word in named])
        assert told.float().mean() > 0.85
        right = told[top]
    else:
        right = torch.ones_like(top, dtype=torch.bool)
    torch.testing.assert_close(found.float().gather(-1, top)[right], true.gather(-1, top)[right], atol=1e-4, rtol=1e-4)


def test_a_cache_of_the_endpoint_is_the_cache_of_the_model(tmp_path):
    task, teacher = docs()
    transfer = dk.Examples(task.train.inputs[:16, :48], task.train.labels[:16, :48])
    with serving(Words(teacher, task.tokenizer, style="ids")) as server:
        there = Endpoint(server.url, "docs", tokenizer=task.tokenizer, top=20)
        caches = [
            dk.cache_teacher(model, transfer, tmp_path / str(number), top=20)
            for number, model in enumerate((there, teacher))
        ]
    first, second = (each.at(slice(None)) for each in caches)
    assert (first.ids.sort(-1).values == second.ids.sort(-1).values).float().mean() > 0.9999
    torch.testing.assert_close(first.log_probs, second.log_probs, atol=1e-4, rtol=1e-4)  # of the lumped tail, too
    knobs = dk.Knobs(temperature=1.0, alpha=1.0, lr=0.003)
    students = [dk.distill(task.student(0), each, transfer, knobs=knobs, steps=10).result() for each in caches]
    one, other = (dk.predict(each, transfer.inputs).log_softmax(-1) for each in students)
    assert float((one - other).abs().max()) < 0.01, "nats"


def test_padding_gets_no_opinion_and_its_neighbours_the_right_one():
    task, teacher = docs()
    tokens = task.test.inputs[:2, :12]
    mask = torch.ones_like(tokens)
    mask[1, 8:] = 0
    with serving(Words(teacher, task.tokenizer, style="ids")) as server:
        there = Endpoint(server.url, "docs", tokenizer=task.tokenizer)
        found = dk.predict(there, dk.Inputs(input_ids=tokens, attention_mask=mask))
        alone = dk.predict(there, tokens[1:, :8])
    assert torch.equal(found[1, :8], alone[0])
    assert not found[1, 8:].any()


def test_a_block_that_no_text_gives_goes_as_ids():
    task, teacher = docs()
    letter = next(
        token for token, word in enumerate(map(task.tokenizer.decode, range(len(task.tokenizer)))) if word == "�"
    )
    tokens = torch.tensor([[letter, 300, letter]])
    with serving(Words(teacher, task.tokenizer, style="raw")) as server:
        Endpoint(server.url, "docs", tokenizer=task.tokenizer)(tokens)
        assert [type(body["prompt"]) for _, body, _ in server.requests] == [str, list]


@pytest.mark.parametrize("style", ["decoded", "ids"])
def test_another_tokenizer_is_refused_and_its_text_is_offered(style):
    task, _ = docs()
    other = dk.other_tokens.train_tokenizer(task, 640)
    model = llama(640, layers=1, width=32, seed=0).eval()
    with serving(Words(model, other, style=style)) as server:
        there = Endpoint(server.url, "other", tokenizer=task.tokenizer)
        refused(lambda: there(SOME), ValueError, "two tokenizers", "endpoint.teacher_text(prompts)")
        assert len(server.requests) == 1  # the sample: nothing was paid for


# Text alone.


def test_text_of_an_endpoint_is_a_transfer_set():
    task, teacher = docs()
    prompts = task.prompts(3, length=12)
    with serving(Words(teacher, task.tokenizer)) as server:
        there = Endpoint(server.url, "docs", tokenizer=task.tokenizer)
        examples = there.teacher_text(prompts, length=6, sampling_temperature=0)
        own = dk.teacher_text(teacher, prompts, length=6, sampling_temperature=0)
        assert [body["max_tokens"] for _, body, _ in server.requests] == [6] * 3
    assert examples.inputs.shape == own.inputs.shape
    said = [task.decode(row) for row in examples.inputs]
    assert said == [task.decode(row) for row in own.inputs]
    run = dk.distill(task.student(0), None, examples, steps=2)
    assert math.isfinite(list(run)[-1].loss)


def test_an_ended_text_ends_and_what_follows_is_not_learnt():
    end = tokenizer().eos_token_id
    with serving(lambda *_: one(text=" the list", finish_reason="stop")) as server:
        examples = Endpoint(server.url, "m", tokenizer=tokenizer()).teacher_text(SOME, length=6)
    written = tokenizer()(" the list")["input_ids"]
    after = [*written, end]
    assert examples.labels[0].tolist() == [-100, -100, *after, *[-100] * (6 - len(after))]
    assert examples.inputs[0, :3].tolist() == SOME[0].tolist()


def test_complete_gives_what_was_said_word_for_word():
    said = "<script>alert(1)</script>"
    with serving(lambda _, body: one(message={"content": said + body["messages"][0]["content"]})) as server:
        there = Endpoint(server.url, "m", tokenizer=tokenizer())
        assert there.complete(["a", "b", "{text}"], length=5) == [said + "a", said + "b", said + "{text}"]
        assert there.complete([]) == []
    refused(lambda: there.complete("a text"), TypeError, "list of texts")


# What goes wrong on the way.


def test_f58_a_full_server_is_asked_again_as_late_as_it_wants(monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds=None: waits.append(seconds) or False)
    monkeypatch.setattr(module, "ThreadPoolExecutor", InLine)
    with serving(calm) as server:
        server.faults = itertools.chain(
            ["429 Retry-After=7", "429 Retry-After=9999", "503", "cut", "half"], itertools.repeat("")
        )
        logits = moods(server)(SOME[:1])
    assert logits.isfinite().all()
    asked = [wait for wait in waits if wait is not None]
    assert asked[:2] == [7, module.LONGEST_WAIT]
    assert len(asked) == 5
    assert all(0 < wait <= 0.016 for wait in asked[2:])


class InLine:
    """A pool of no threads, so that a test may watch its waits."""

    def __init__(self, _):
        self.map = map

    def shutdown(self, **_):
        pass


FAULTS = [
    ("500", OSError, ["tried 3 times", "500", "Is it running"]),
    ("429", OSError, ["tried 3 times", "429"]),
    ("cut", OSError, ["tried 3 times", "bytes are missing"]),
    ("half", OSError, ["tried 3 times", "no whole JSON"]),
    ("slow", OSError, ["tried 3 times", "timed out"]),
    ("drip", OSError, ["tried 3 times", "no whole answer in 0.3 s"]),
    ("html", OSError, ["a web page", "go up to /v1"]),
    ("401", OSError, ["401", "OPENAI_API_KEY"]),
    ("403", OSError, ["403", "OPENAI_API_KEY"]),
    ("404", OSError, ["404", "know the model 'm'"]),
    ("307 Location=http://127.0.0.1:9/v1", OSError, ["307", "another address"]),
    ("400", OSError, ["400", "endpoint.teacher_text(prompts)"]),
    ('{"choices": []}', OSError, ["0 choices"]),
    ('{"choices": [{}, {}]}', OSError, ["2 choices"]),
    ('{"error": {"message": "model <b>gone</b>"}}', OSError, ["one choice", "gone"]),
    ("[]", OSError, ["one choice"]),
    ('{"choices": [7]}', OSError, ["one choice"]),
    ('{"choices": [{"logprobs": 7}]}', OSError, ["another form"]),
    ('{"choices": [{"message": {"content": "calm"}}]}', ValueError, ["no log-probabilities", "teacher_text(prompts)"]),
    ('{"choices": [{"logprobs": null}]}', ValueError, ["no log-probabilities"]),
    (named('"token": "calm", "logprob": NaN'), OSError, ["NaN"]),
    (named('"token": "calm", "logprob": 1e999'), OSError, ["inf"]),
    (named('"token": "calm", "logprob": 0.5'), OSError, ["0.5"]),
    (named('"token": "calm"'), OSError, ["another form"]),
    (named('"token": 7, "logprob": -1'), OSError, ["another form"]),
    ("[" * 100_000, OSError, ["no whole JSON"]),
]


@pytest.mark.parametrize(("fault", "builtin", "words"), FAULTS, ids=range(len(FAULTS)))
def test_f57_f58_f65_whatever_it_answers_the_error_says_what_to_do(fault, builtin, words, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(calm) as server:
        server.faults = itertools.repeat(fault)
        there = moods(server, retries=2, timeout=0.3)
        refused(lambda: there(SOME[:1]), builtin, *words)
        with pytest.raises(dk.DistilkitError) as caught:
            there(SOME)
        assert KEY not in str(caught.value)
        server.faults = itertools.repeat("")
        assert there(SOME).isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said.pop("top_logprobs"), ["no log-probabilities", "teacher_text(prompts)"]),
        (lambda said: said["tokens"].pop(0), ["two tokenizers"]),
        (lambda said: said["tokens"].insert(3, "token_id:9"), ["two tokenizers"]),
        (lambda said: said["top_logprobs"].__setitem__(2, None), ["another form"]),
        (lambda said: said["top_logprobs"][2].update({"token_id:1": -0.0, "token_id:2": -0.0}), ["more than 1"]),
        (lambda said: said["token_logprobs"].__setitem__(2, "many"), ["a log-probability is 'many'"]),
        (lambda said: said["top_logprobs"].__delitem__(slice(2, None)), ["another form"]),
    ],
)
def test_places_that_cannot_be_right_are_refused(change, words):
    task, teacher = docs()
    words_of = Words(teacher, task.tokenizer, style="ids")

    def answer(path, body):
        found = words_of(path, body)
        if body["prompt"] != module.SAMPLE:
            change(found["choices"][0]["logprobs"])
        return found

    with serving(answer) as server, pytest.raises(dk.DistilkitError) as caught:
        Endpoint(server.url, "docs", tokenizer=task.tokenizer)(SOME)
    assert all(word in str(caught.value) for word in words), caught.value


def test_f60_nobody_there():
    with serving(calm) as server:
        url = server.url
    there = Endpoint(url, "m", tokenizer=tokenizer(), labels=["calm", "angry"])
    refused(lambda: there(SOME), OSError, "tried 1 times", "refused", "Is it running")


def test_a_killed_run_does_not_pay_twice(tmp_path):
    tokens = torch.arange(300, 340)[:, None]
    with serving(calm) as server:
        server.faults = itertools.chain(itertools.repeat("", 25), itertools.repeat("401"))
        there = moods(server, folder=tmp_path, concurrency=1)
        refused(lambda: there(tokens), OSError, "401")
        assert len(server.requests) == 26
        server.faults = itertools.repeat("")
        moods(server, folder=tmp_path)(tokens)
        assert len(server.requests) == 26 + 15
        damaged = next(tmp_path.glob("*.json"))
        damaged.write_bytes(damaged.read_bytes()[:30])
        assert torch.equal(moods(server, folder=tmp_path)(tokens), there(tokens))
        assert len(server.requests) == 26 + 15 + 1
        Endpoint(server.url, "another", tokenizer=tokenizer(), labels=["calm", "angry"], folder=tmp_path)(tokens)
        assert len(server.requests) == 26 + 15 + 1 + 40


def test_requests_at_a_time_are_as_many_as_were_allowed():
    at_once, most = [0], [0]
    lock = threading.Lock()

    def answer(path, body):
        return calm(path, body)

    with serving(answer) as server:
        server.lock = CountingLock(lock, at_once, most)
        server.delay = 0.02
        there = moods(server, concurrency=3)
        there(torch.arange(300, 312)[:, None])
    assert len(server.requests) == 12
    assert most[0] <= 3


class CountingLock:
    """A lock that counts who has come and not yet gone: the first time a request takes it, and the last."""

    def __init__(self, lock, at_once, most):
        self.lock, self.at_once, self.most, self.seen = lock, at_once, most, {}

    def __enter__(self):
        self.lock.acquire()
        thread = threading.get_ident()
        if self.seen.pop(thread, False):
            self.at_once[0] -= 1
        else:
            self.seen[thread] = True
            self.at_once[0] += 1
            self.most[0] = max(self.most[0], self.at_once[0])

    def __exit__(self, *_):
        self.lock.release()


def test_another_question_is_another_teacher(tmp_path):
    transfer = dk.Examples(SOME, torch.tensor([0, 1]))
    with serving(calm) as server:
        dk.cache_teacher(moods(server), transfer, tmp_path, top=2)
        dk.cache_teacher(moods(server, concurrency=2, retries=9, folder=tmp_path / "kept"), transfer, tmp_path, top=2)
        make = partial(Endpoint, tokenizer=tokenizer())
        for other in (
            make(server.url, "other", labels=["calm", "angry"]),
            make(server.url, "m", labels=["angry", "calm"]),
            make(server.url, "m", labels=["calm", "angry"], prompt="{text}? {labels}"),
            make(server.url.replace("127.0.0.1", "localhost"), "m", labels=["calm", "angry"]),
        ):
            refused(lambda other=other: dk.cache_teacher(other, transfer, tmp_path, top=2), ValueError, "another")


# The key.


def test_f94_the_key_goes_to_the_endpoint_and_nowhere_else(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("A_KEY", f" {KEY}\n")
    with serving(calm) as server:
        there = moods(server, key_env="A_KEY", folder=tmp_path)
        there(SOME)
        assert server.requests[0][2]["Authorization"] == f"Bearer {KEY}"
        there = moods(server, key_env="A_KEY")
        held = [repr(there), str(vars(there)), str(there.state_dict()), str(pickle.dumps(copy.deepcopy(there)))]
        held += [path.read_text() for path in tmp_path.rglob("*.json")]
        server.faults = itertools.repeat("401")
        with pytest.raises(dk.DistilkitError) as caught:
            there(SOME)
        held += [str(caught.value), repr(caught.value), str(caught.value.__cause__), *capfd.readouterr()]
        assert not [text for text in held if KEY in text]
        monkeypatch.delenv("A_KEY")
        server.faults = itertools.repeat("")
        there(SOME)
        assert "Authorization" not in server.requests[-1][2]


def test_f61_no_key_over_plain_http(monkeypatch):
    make = partial(Endpoint, model="m", tokenizer=tokenizer())
    make("http://teachers.example/v1")  # there is no key
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for here in ("http://127.0.0.1:1/v1", "http://localhost/v1", "http://[::1]:80/v1", "https://teachers.example/v1"):
        make(here)
    for there in (
        "http://teachers.example/v1",
        "http://127.0.0.1.example/v1",
        "http://10.0.0.1/v1",
        "http://0.0.0.0/v1",
    ):
        refused(lambda there=there: make(there), ValueError, "not encrypted", "OPENAI_API_KEY", "key_env=None")
        make(there, key_env=None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a\nkey")
    with pytest.raises(ValueError, match="no header can carry") as caught:
        make("https://teachers.example/v1")
    assert "sk-a" not in str(caught.value)


def test_a_proxy_is_not_asked_about_this_machine(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(calm) as server:
        assert moods(server)(SOME).isfinite().all()


# Arguments.


@pytest.mark.parametrize(
    ("options", "builtin", "words"),
    [
        ({"url": "localhost:8000"}, ValueError, ["http://localhost:8000/v1"]),
        ({"url": "file:///etc/passwd"}, ValueError, ["address of an endpoint"]),
        ({"url": "https://a b/v1"}, ValueError, ["address"]),
        ({"url": "https://a:99999/v1"}, ValueError, ["address"]),
        ({"url": "https://a/v1\r\nHost: b"}, ValueError, ["address"]),
        ({"url": "https://user:secret@a/v1"}, ValueError, ["bare address"]),  # allow-secret
        ({"url": "https://a/v1?key=secret"}, ValueError, ["bare address"]),
        ({"model": ""}, TypeError, ["model"]),
        ({"tokenizer": None}, TypeError, ["tokenizer"]),
        ({"top": 0}, ValueError, ["top"]),
        ({"concurrency": True}, TypeError, ["concurrency"]),
        ({"timeout": 0}, ValueError, ["timeout"]),
        ({"labels": "calm"}, TypeError, ["list of names"]),
        ({"labels": ["calm"]}, ValueError, ["two or more"]),
        ({"labels": ["calm", " Calm"]}, ValueError, ["two or more names, each another"]),
        ({"labels": ["calm", ""]}, TypeError, ["names"]),
        ({"labels": list("abcdef"), "top": 5}, ValueError, ["6 labels", "top=5", "groups"]),
        (
            {"labels": ["sport", "sports"], "prompt": "{text}: sport or sports?"},
            ValueError,
            ["may be both", "{labels}"],
        ),
        ({"labels": ["calm", "angry"], "prompt": "Which is it? {labels}"}, ValueError, ["{text}"]),
    ],
)
def test_impossible_arguments_are_refused_at_once(options, builtin, words):
    given = {"url": "https://teachers.example/v1", "model": "m", "tokenizer": tokenizer()} | options
    with warnings.catch_warnings(), pytest.raises(dk.DistilkitError) as caught:
        Endpoint(**given)
    assert isinstance(caught.value, builtin)
    assert "secret" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "inputs", [torch.rand(2, 3), torch.zeros(2, dtype=torch.long), torch.zeros(2, 0, dtype=torch.long)]
)
def test_what_is_no_token_is_refused(inputs):
    with pytest.raises(dk.DistilkitError, match="tokens"):
        Endpoint("https://teachers.example/v1", "m", tokenizer=tokenizer())(inputs)


def test_the_address_may_be_that_of_a_request():
    urls = ["http://localhost/v1", "http://localhost/v1/", "http://localhost/v1/chat/completions"]
    assert len({Endpoint(url, "m", tokenizer=tokenizer()).url for url in urls}) == 1
    assert json.loads(json.dumps(Endpoint(urls[0], "m", tokenizer=tokenizer()).identity.tolist()))
