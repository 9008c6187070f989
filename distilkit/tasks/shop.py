"""A support chatbot: it looks things up in a shop's database and answers from what it found (see `tasks.desk`).

Customer: Where is my order 4821?
Lookup: order 4821                              written by the model
Fact: order 4821, kettle, arrives on Thursday   given by the database
Agent: Your kettle arrives on Thursday.         written by the model

python -m distilkit.tasks shop      train tokenizer, teacher, student and twin, into data/shop
"""

from __future__ import annotations

import csv
import functools
import inspect
import io
import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.errors import BadFile, BadValue, meant, shown, whole
from distilkit.models import data_path, evaluating, read, read_checked
from distilkit.origin import remembered
from distilkit.pretrained import find_tokenizer, language_model
from distilkit.tasks.desk import (
    DAYS,
    KINDS,
    STATES,
    Dialogue,
    Order,
    Product,
    Shop,
    Turn,
    conversations,
    draw_shop,
    meaning,
    values,
)
from distilkit.tasks.text import llama
from distilkit.transfer import Examples

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOLDER = "shop"
CONTEXT = 192  # tokens that the models see at once: about four turns
WRITTEN = 64  # tokens, the fact among them, that a turn may have
MESSAGE = 64  # tokens of a customer's message
TESTS = 80  # conversations that models are judged on
SPREAD = 0.1  # of a student's first weights: with Hugging Face's 0.02 it learns to copy much later
LABELLED = 150  # conversations, of the shipped student and its twin
ANSWERED = 2500  # conversations that the shipped teacher answered
AT_ONCE = 64  # turns that are written side by side
MOST_ROWS = 100_000  # of a table of your own


class Word(NamedTuple):
    """A token that the model wrote: its text, the probability it gave it, and the seconds it took."""

    text: str
    probability: float
    seconds: float


class Claim(NamedTuple):
    """A value in an answer, `answer[start:end]`, and where it is from: "fact", "customer", or "": it is made up."""

    start: int
    end: int
    text: str
    source: str


@dataclass(frozen=True)
class Reply(Turn):
    """A turn as a model wrote it, with the tokens that it wrote (not those of the fact)."""

    words: tuple[Word, ...] = ()

    @property
    def seconds(self) -> float:
        """From the customer's message to the end of the answer."""
        return sum(word.seconds for word in self.words)

    @property
    def tokens_per_second(self) -> float:
        """How fast it wrote; 0 where it wrote nothing."""
        return len(self.words) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, eq=False)
class Support:
    """Conversations at a shop's desk to distil on, as rows of CONTEXT tokens.

    Attributes:
        train: `labelled` conversations whose lookups and answers are known.
        transfer: these, and conversations of which only the customers' messages are: the teacher answered them, and
            the labels of what it wrote are −1.
        test: held-out conversations, in shops that no model has seen.
        dialogues, held_out: train and test, as `Dialogue`s.
        shop: the shop that `reply` looks up in.
        tokenizer: a Hugging Face tokenizer, the teacher's and the student's; each digit is a token.
        labelled, seed: how many conversations are labelled, and which draw of them.
    """

    train: Examples
    transfer: Examples
    test: Examples
    dialogues: tuple[Dialogue, ...]
    held_out: tuple[Dialogue, ...]
    shop: Shop
    tokenizer: PreTrainedTokenizerBase
    labelled: int
    seed: int

    @remembered
    def teacher(self) -> PreTrainedModel:
        """The shipped teacher, a Llama of 6 layers of 128."""
        return self._shipped("teacher")

    @remembered
    def distilled(self) -> PreTrainedModel:
        """The shipped student, distilled on the transfer set."""
        return self._shipped("distilled")

    @remembered
    def twin(self) -> PreTrainedModel:
        """The shipped student's twin: as many steps, on the labelled conversations alone."""
        return self._shipped("twin")

    def _shipped(self, name: str) -> PreTrainedModel:
        return language_model(data_path(f"{FOLDER}/{name}"), tokenizer=self.tokenizer)[0]

    @remembered
    def student(self, seed: int = 0, *, layers: int = 2, width: int = 64) -> PreTrainedModel:
        """A fresh student, a Llama of `layers` layers of `width`, initialised from `seed` alone."""
        return llama(len(self.tokenizer), layers=layers, width=width, seed=seed, initializer_range=SPREAD)

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Support:
        """The same task with `labelled` other conversations: what a sweep over seeds needs."""
        dialogues = _labelled(labelled, seed)
        train = self.examples(dialogues)
        more = self.transfer[len(self.train) :]
        transfer = Examples(torch.cat([train.inputs, more.inputs]), torch.cat([train.labels, more.labels]))
        return replace(self, train=train, transfer=transfer, dialogues=dialogues, labelled=labelled, seed=seed)

    def examples(self, dialogues: Sequence[Dialogue], *, labelled: bool = True) -> Examples:
        """The conversations as tokens; labels are the agent's next tokens, or −1 in their places if not `labelled`."""
        return examples(self.tokenizer, dialogues, labelled=labelled)

    def score(self, model: nn.Module, *, limit: int | None = None) -> dict[str, float]:
        """Quality on the held-out turns (of the first `limit` conversations), each with what was said before it.

        Returns:
            exact: the share of turns with the right lookup whose answer states the right facts, and no others.
            hallucinated: of answers with a value that neither the fact nor the customer had.
            refused: of the requests that must be refused, how many were.
            lookup: of turns with the right lookup, or rightly none.
        """
        table = self._judged(model, limit)
        refusals = table[table["kind"] == "refusal"]
        shares = {name: float(table[name].mean()) for name in ("exact", "hallucinated", "lookup")}
        return shares | {"refused": float(refusals["exact"].mean())}

    def by_kind(self, model: nn.Module, *, limit: int | None = None) -> pd.DataFrame:
        """The same by kind of turn: kind, turns, exact, hallucinated, lookup."""
        table = self._judged(model, limit).groupby("kind")
        frame = table[["exact", "hallucinated", "lookup"]].mean()
        frame.insert(0, "turns", table.size())
        return frame.reindex([kind for kind in KINDS if kind in frame.index]).reset_index()

    def _judged(self, model: nn.Module, limit: int | None) -> pd.DataFrame:
        import pandas as pd

        most = len(self.held_out)
        limit = most if limit is None else whole("limit", limit, 1, most, "held-out conversations")
        asked = [(dialogue, place) for dialogue in self.held_out[:limit] for place in range(len(dialogue.turns))]
        replies = self.answered(model, asked)
        rows = []
        for (dialogue, place), reply in zip(asked, replies, strict=True):
            turn, products = dialogue.turns[place], dialogue.shop.products
            lookup = reply.lookup == turn.lookup
            exact = lookup and meaning(reply.answer, products) == meaning(turn.answer, products)
            made_up = any(not claim.source for claim in claims(reply, dialogue.shop))
            rows.append({"kind": turn.kind, "exact": exact, "hallucinated": made_up, "lookup": lookup})
        return pd.DataFrame(rows)

    def answered(self, model: nn.Module, asked: Sequence[tuple[Dialogue, int]]) -> list[Reply]:
        """The model's own turn at each place of a dialogue, after what was said there before; the likeliest tokens."""
        prompts = [self._prompt(dialogue.turns[place].customer, dialogue.turns[:place]) for dialogue, place in asked]
        order = sorted(range(len(asked)), key=lambda row: len(prompts[row]))  # alike in length: little padding
        replies: dict[int, Reply] = {}
        at_once = 1 if hasattr(model, "stepper") else AT_ONCE  # an exported model takes one text at a time
        for start in range(0, len(order), at_once):
            rows = order[start : start + at_once]
            desks = [asked[row][0].shop.answer for row in rows]
            written = _write(model, [prompts[row] for row in rows], desks, self.tokenizer)
            for row, tokens in zip(rows, written, strict=True):
                dialogue, place = asked[row]
                replies[row] = _reply(dialogue.turns[place].customer, tokens, self.tokenizer)
        return [replies[row] for row in range(len(asked))]

    def served(self, model: Any, dialogues: Sequence[Dialogue]) -> list[Dialogue]:
        """The same customers with the same messages, answered by the model turn after turn."""
        served = [replace(dialogue, turns=()) for dialogue in dialogues]
        for place in range(max(len(dialogue.turns) for dialogue in dialogues)):
            rows = [row for row, dialogue in enumerate(dialogues) if place < len(dialogue.turns)]
            asked = [
                (replace(served[row], turns=(*served[row].turns, dialogues[row].turns[place])), place) for row in rows
            ]
            for row, reply in zip(rows, self.answered(model, asked), strict=True):
                served[row] = replace(served[row], turns=(*served[row].turns, reply))
        return served

    def reply(self, model: Any, message: str, history: Sequence[Turn] = ()) -> Reply:
        """What the model replies to a customer's message in `shop`, after the turns that went before.

        Args:
            model: a Hugging Face causal language model, or what `dk.edge.OnnxModel` loads.
            message: at most MESSAGE tokens; a line break counts as a space.
            history: earlier replies; the last ones that CONTEXT tokens hold are seen.

        >>> task = shop()
        >>> task.reply(task.teacher(), "Are you open on Sunday?").lookup
        'hours Sunday'
        """
        message = " ".join(str(message).split())
        if not message:
            raise BadValue("the message is empty: ask the shop something")
        if (tokens := len(_encode(self.tokenizer, [message])[0])) > MESSAGE:
            raise BadValue(f"the message has {tokens} tokens, and the model reads {MESSAGE}: say it shorter")
        written = _write(model, [self._prompt(message, history)], [self.shop.answer], self.tokenizer)
        return _reply(message, written[0], self.tokenizer)

    def claims(self, turn: Turn) -> list[Claim]:
        """The values in the turn's answer, and what each rests on: its fact line, the customer's words, or nothing."""
        return claims(turn, self.shop)

    def _prompt(self, message: str, history: Sequence[Turn]) -> list[int]:
        """The customer's message, and of what was said before as much as there is room for."""
        tokens = _encode(self.tokenizer, [f"Customer: {message}\n"])[0]
        for turn in reversed(history):
            earlier = [token for part in _encode(self.tokenizer, _parts(turn)) for token in part]
            if len(earlier) + len(tokens) + WRITTEN > CONTEXT:
                break
            tokens = earlier + tokens
        return [self.tokenizer.eos_token_id, *tokens]

    def encode(self, text: str) -> Tensor:
        """The tokens of a text, (1, n)."""
        return torch.tensor(_encode(self.tokenizer, [text]), dtype=torch.long)

    def decode(self, tokens: Tensor) -> str:
        """The text of tokens, (n,)."""
        return str(self.tokenizer.decode(tokens.tolist()))


@remembered
def shop(labelled: int = LABELLED, seed: int = 0, *, path: str | Path | None = None) -> Support:
    """A shop's desk, a teacher that serves there, and `labelled` conversations for a student to learn from.

    Args:
        labelled: how many conversations have lookups and answers.
        seed: which.
        path: a folder with a shop of your own, for `reply` and the test: ``orders.csv`` (number, product, state, day,
            returns) and ``products.csv`` (name, price, stock, back).

    Raises:
        BadFile: a table is missing or broken; it says which line.

    >>> task = shop(labelled=20)
    >>> len(task.train), task.train.inputs.shape[1]
    (20, 192)
    """
    return support_of(*_shipped_text(), labelled=labelled, seed=seed, path=path)


def support_of(
    tokenizer: PreTrainedTokenizerBase, more: Examples, *, labelled: int, seed: int, path: str | Path | None = None
) -> Support:
    """The task in the tokens of this tokenizer, with these unlabelled examples."""
    dialogues = _labelled(labelled, seed)
    own = None if path is None else read_shop(path)
    held_out = tuple(conversations(TESTS, "test", shop=own))
    train = examples(tokenizer, dialogues)
    transfer = Examples(torch.cat([train.inputs, more.inputs]), torch.cat([train.labels, more.labels]))
    demo = draw_shop(random.Random("the shop"), orders=40, products=24) if own is None else own
    return Support(
        train, transfer, examples(tokenizer, held_out), dialogues, held_out, demo, tokenizer, len(dialogues), seed
    )


def _labelled(labelled: int, seed: int) -> tuple[Dialogue, ...]:
    labelled = whole("labelled", labelled, 1, 100_000, "conversations whose lookups and answers are known")
    seed = whole("seed", seed, 0, 2**63 - 1, "which conversations are labelled")
    return tuple(conversations(labelled, f"labelled {seed}"))


@functools.lru_cache(maxsize=1)
def _shipped_text() -> tuple[PreTrainedTokenizerBase, Examples]:
    """The tokenizer, and the conversations that the shipped teacher answered."""
    tokenizer = find_tokenizer(data_path(f"{FOLDER}/teacher"))
    found = safetensors.torch.load(read_checked(data_path(f"{FOLDER}/answered.safetensors")))
    inputs, own = found["tokens"].long(), found["written"].bool()
    return tokenizer, Examples(inputs, torch.full_like(inputs, IGNORED).masked_fill(own, UNLABELLED))


def claims(turn: Turn, shop: Shop) -> list[Claim]:
    """The values in the turn's answer, and what each rests on.

    >>> turn = Turn("Is the lamp there?", "product lamp", "lamp, 5 euros, 3 in stock", "The lamp costs 7 euros.")
    >>> [(claim.text, claim.source) for claim in claims(turn, draw_shop(random.Random(0)))]
    [('lamp', 'fact'), ('7', '')]
    """
    known = {"fact": turn.fact, "customer": turn.customer}
    said = {source: {found[0] for found in values(text, shop.products)} for source, text in known.items()}
    return [
        Claim(*found.span(), found[0], next((source for source in said if found[0] in said[source]), ""))
        for found in values(turn.answer, shop.products)
    ]


def examples(tokenizer: PreTrainedTokenizerBase, dialogues: Sequence[Dialogue], *, labelled: bool = True) -> Examples:
    """Rows of CONTEXT tokens, a conversation each, cut where they end; what the agent does not write is not learnt."""
    pieces = [[part for turn in dialogue.turns for part in _parts(turn)] for dialogue in dialogues]
    encoded = iter(_encode(tokenizer, [part for parts in pieces for part in parts]))
    end = tokenizer.eos_token_id
    tokens = torch.full((len(pieces), CONTEXT + 1), end)
    own = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, parts in enumerate(pieces):
        place = 1
        for part in parts:
            ids = next(encoded)[: max(0, CONTEXT + 1 - place)]
            tokens[row, place : place + len(ids)] = torch.tensor(ids, dtype=torch.long)
            own[row, place : place + len(ids)] = not part.startswith(("Customer:", "Fact:"))
            place += len(ids)
    labels = tokens[:, 1:] if labelled else torch.full_like(tokens[:, 1:], UNLABELLED)
    return Examples(tokens[:, :-1].contiguous(), labels.masked_fill(~own[:, 1:], IGNORED))


def _parts(turn: Turn) -> list[str]:
    """The lines of a turn, each of which is encoded alone."""
    return [f"Customer: {turn.customer}\n", *turn.written.splitlines(keepends=True)]


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokens of texts; what looks like the end of a text is text."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []


def _write(
    model: Any, prompts: list[list[int]], desks: Sequence[Callable[[str], str]], tokenizer: PreTrainedTokenizerBase
) -> list[list[tuple[int, float, float]]]:
    """What the model writes after each prompt: (token, its probability, seconds); the desk's facts have seconds −1.

    A line that begins with ``Lookup:`` is answered by the desk, once a turn; a line ``Agent:`` ends the turn.
    """
    rows = [_Writing(desk, tokenizer) for desk in desks]
    longest = max(map(len, prompts))
    tokens = torch.tensor([[tokenizer.eos_token_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    unseen = torch.tensor([longest - len(prompt) for prompt in prompts])
    step = _in_torch(model.stepper()) if hasattr(model, "stepper") else stepper(model, unseen)
    for _ in range(WRITTEN):
        began = time.perf_counter()
        probabilities = step(tokens).softmax(-1)
        likeliest, chosen = probabilities.max(-1)
        seconds = (time.perf_counter() - began) / len(rows)
        found = zip(rows, chosen.tolist(), likeliest.tolist(), strict=True)
        tokens = torch.tensor([[row.take(token, probability, seconds)] for row, token, probability in found])
        if all(row.done for row in rows):
            break
    return [row.tokens for row in rows]


class _Writing:
    """One turn while it is written."""

    def __init__(self, desk: Callable[[str], str], tokenizer: PreTrainedTokenizerBase) -> None:
        self.desk, self.tokenizer = desk, tokenizer
        self.tokens: list[tuple[int, float, float]] = []
        self.line: list[int] = []
        self.given: list[int] = []  # of the fact, still to be read by the model
        self.looked_up = self.done = False
        self.newline = _encode(tokenizer, ["\n"])[0][0]

    def take(self, token: int, probability: float, seconds: float) -> int:
        """The token that comes next: the model's, or one of the fact."""
        if self.done:
            return token
        if self.given:
            token = self.given.pop(0)
            self.tokens.append((token, 1.0, -1.0))
            return token
        self.tokens.append((token, probability, seconds))
        self.line.append(token)
        if token == self.newline:
            text = str(self.tokenizer.decode(self.line)).strip()
            if text.startswith("Lookup:") and not self.looked_up:
                fact = self.desk(text.removeprefix("Lookup:").strip())
                self.given, self.looked_up = _encode(self.tokenizer, [f"Fact: {fact}\n"])[0], True
            else:
                self.done = True
            self.line = []
        return token


def _in_torch(step: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
    """A stepper of arrays, as ONNX Runtime's is, on tensors."""
    return lambda tokens: torch.from_numpy(step(tokens.numpy()))


def stepper(model: Any, unseen: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Begin a text: tokens, (n, t) -> the logits after the last of them, (n, words); what went before is in a cache.

    The first `unseen` tokens of each row are padding; none where it is left out.
    """
    from transformers import DynamicCache

    unseen = torch.zeros(1, dtype=torch.long) if unseen is None else unseen
    cache = DynamicCache(config=model.config)
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"  # as it is called
    seen = 0

    @torch.inference_mode()
    def step(tokens: Tensor) -> Tensor:
        nonlocal seen
        places = torch.arange(seen, seen + tokens.shape[1])
        positions = (places - unseen[:, None]).clamp(min=0)
        mask = (torch.arange(seen + tokens.shape[1]) >= unseen[:, None]).long() if unseen.any() else None
        seen += tokens.shape[1]
        with evaluating(model):
            output = model(tokens, attention_mask=mask, position_ids=positions, logits_to_keep=1, **{name: cache})
        return output.logits[:, -1]

    return step


def _reply(customer: str, tokens: list[tuple[int, float, float]], tokenizer: PreTrainedTokenizerBase) -> Reply:
    lines = str(tokenizer.decode([token for token, _, _ in tokens])).split("\n")
    said = dict.fromkeys(("Lookup", "Fact", "Agent"), "")
    for line in lines:
        name, _, text = line.partition(": ")
        if name in said and not said[name]:
            said[name] = text.strip()
    answer = said["Agent"] or ("" if said["Lookup"] else " ".join(lines).strip())  # it may write no such line
    words = [Word(str(tokenizer.decode([token])), likely, took) for token, likely, took in tokens if took >= 0]
    return Reply(customer, said["Lookup"], said["Fact"], answer, words=tuple(words))


COLUMNS = {
    "orders.csv": ("number", "product", "state", "day", "returns"),
    "products.csv": ("name", "price", "stock", "back"),
}


def read_shop(path: str | Path) -> Shop:
    """A shop from a folder with ``orders.csv`` and ``products.csv``; its hours and rules are those of the shipped one.

    Raises:
        BadFile: a table, a column or a value that is not there or not allowed, with its line.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise BadFile(f"there is no folder {shown(str(folder), 200)}: give one with {' and '.join(COLUMNS)}")
    products = {}
    for where, row in _table(folder / "products.csv"):
        back = _one_of(where, "back", row["back"] or DAYS[0], DAYS)
        price, stock = (_number(where, name, row[name]) for name in ("price", "stock"))
        products[row["name"]] = Product(_name(where, row["name"]), price, stock, back)
    orders = {}
    for where, row in _table(folder / "orders.csv"):
        number = row["number"]
        if not re.fullmatch(r"[0-9]{1,12}", number):
            raise BadFile(f"{where}: an order's number has 1 to 12 digits, got {shown(number)}")
        state = _one_of(where, "state", row["state"], STATES)
        days = [_one_of(where, name, row[name], DAYS) if row[name] else "" for name in ("day", "returns")]
        if state != "cancelled" and not days[0]:
            raise BadFile(f"{where}: an order that {state} needs a day")
        orders[number] = Order(number, _one_of(where, "product", row["product"], products), state, *days)
    base = draw_shop(random.Random("the shop"))
    return replace(base, orders=orders, products=products)


def _table(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table and where each stands."""
    try:
        text = read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    if "\0" in text:
        raise BadFile(f"{path} is not text: it holds a NUL (is it UTF-16?)")
    rows = csv.DictReader(io.StringIO(text))
    columns = COLUMNS[path.name]
    try:
        missing = [name for name in columns if name not in (rows.fieldnames or ())]
        if missing:
            raise BadFile(f"{path} has no column {missing[0]!r}: its first line must be {','.join(columns)}")
        count = 0
        for count, row in enumerate(rows, 1):
            where = f"{path}, line {rows.line_num}"
            if None in row or None in row.values():
                raise BadFile(f"{where} has another number of cells than its first line")
            if count > MOST_ROWS:
                raise BadFile(f"{path} has more than {MOST_ROWS:,} rows: this desk looks things up in memory")
            yield where, {name: row[name].strip() for name in columns}
        if not count:
            raise BadFile(f"{path} has no row after its first line")
    except csv.Error as error:
        raise BadFile(f"{path}, line {rows.line_num}: {shown(str(error), 120)}") from None


def _name(where: str, name: str) -> str:
    if not re.fullmatch(r"[^\W\d_](?:[\w -]{0,38}\w)?", name):
        raise BadFile(f"{where}: a product's name has 1 to 40 letters, digits, spaces, hyphens, got {shown(name)}")
    return name


def _one_of(where: str, name: str, value: str, allowed: Collection[str]) -> str:
    if value not in allowed:
        raise BadFile(f"{where}: {name} {shown(value)} is not known.{meant(value, allowed)}")
    return value


def _number(where: str, name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", value):
        raise BadFile(f"{where}: {name} must be a whole number below a million, got {shown(value)}")
    return int(value)
