"""The chat: ask the shop's desk, models answer side by side; each value shows the fact that it rests on."""

from __future__ import annotations

import statistics
import threading
from typing import TYPE_CHECKING, Any

import traitlets
from torch import nn

from distilkit import plots
from distilkit.errors import BadType, BadValue, shown
from distilkit.widgets.base import Widget
from distilkit.widgets.lens import inert
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from distilkit.tasks.desk import Shop
    from distilkit.tasks.shop import Reply

TYPED = 200  # characters of a message
SHOWN = 12  # turns of a conversation that the page keeps
LISTED = 60  # rows of a table of the database that the page shows
LINE = 400  # characters of what a model wrote


def chat(task: Any, *, teacher: Any, student: Any, twin: Any = None) -> Chat:
    """Ask the shop's desk: teacher and student answer side by side, each with what it looked up and how fast it wrote.

    Each number, day and product of an answer is marked by what it rests on: the fact that the database gave, the
    customer's own words, or nothing: it is made up. Each model remembers the conversation as it answered it.

    Args:
        task: as `tasks.shop()` gives it, of the shipped shop or of your own.
        teacher, student, twin: causal language models with the task's tokens, or what `edge.OnnxModel` loads.

    Raises:
        BadType: no such task, or what is no model.
    """
    if not hasattr(task, "reply") or not hasattr(task, "shop"):
        raise BadType(f"chat needs a task that replies, dk.tasks.shop(), got {shown(task)}")
    models = {"teacher": teacher, "student": student} | ({} if twin is None else {"twin": twin})
    for role, model in models.items():
        if not isinstance(model, nn.Module) and not hasattr(model, "stepper"):
            raise BadType(f"the {role} must be a language model or a dk.edge.OnnxModel, got {type(model).__name__}")
    return Chat(task, models)


class Chat(Widget):
    """The view that `chat` returns; `replies` has each model's answers so far: {"teacher": [Reply, …]}."""

    files = "chat"
    about = traitlets.Dict().tag(sync=True)
    page = traitlets.Dict().tag(sync=True)  # the conversation so far

    def __init__(self, task: Any, models: dict[str, Any]) -> None:
        self._task, self._models = task, models
        self._guard = threading.RLock()  # one message at a time
        self._serial = 0
        self.messages: list[str] = []
        self.replies: dict[str, list[Reply]] = {role: [] for role in models}
        openings = _openings(task.shop)
        super().__init__(
            about={
                "roles": list(models),
                "typed": TYPED,
                "openings": openings,
                "database": _database(task.shop),
            }
        )
        for model in models.values():
            task.reply(model, openings[0])  # a first answer is slower: what it needs is loaded
        self.ask(openings[0])

    def ask(self, message: str) -> dict[str, Reply]:
        """Say something to every model, in the conversation that it has had so far.

        Raises:
            BadType: not a text. BadValue: an empty one, or longer than the models read.
        """
        if not isinstance(message, str):
            raise BadType(f"a message is a text, got {shown(message)}")
        message = " ".join(message.split())[:TYPED]
        if not message:
            raise BadValue(say("the message is empty: ask the shop something"))
        with self._guard:
            found = {
                role: self._task.reply(model, message, tuple(self.replies[role]))
                for role, model in self._models.items()
            }
            self.messages.append(message)
            for role, reply in found.items():
                self.replies[role].append(reply)
            self._show()
        return found

    def begin(self) -> None:
        """A new conversation: nothing was said yet."""
        with self._guard:
            self.messages = []
            self.replies = {role: [] for role in self._models}
            self._show()

    def figure(self) -> Figure | None:
        """The last turns of the conversation, as a picture."""
        if not self.messages:
            return None
        turns = [
            (message, {role: self._lines(replies[at]) for role, replies in self.replies.items()})
            for at, message in list(enumerate(self.messages))[-3:]
        ]
        return plots.conversation(turns)

    def line(self) -> str:
        """The last message, what each model answered, and how many milliseconds a token took it."""
        if not self.messages:
            return say("a shop’s desk: nothing was said yet")
        said = [
            f"{say(role)}: {replies[-1].answer} ({say('{ms} ms a token', ms=f'{_middle(replies[-1]):.1f}')})"
            for role, replies in self.replies.items()
        ]
        return " | ".join([self.messages[-1], *said])

    def _lines(self, reply: Reply) -> list[tuple[str, bool]]:
        looked_up = [
            (say("looked up: {lookup}", lookup=reply.lookup), False),
            (say("database: {fact}", fact=reply.fact), False),
        ]
        made_up = any(not claim.source for claim in self._task.claims(reply))
        said = (f"{'✗ ' if made_up else ''}{reply.answer or say('(nothing)')}", made_up)
        return [*looked_up, said] if reply.lookup else [said]

    def _show(self) -> None:
        self._serial += 1
        first = max(0, len(self.messages) - SHOWN)
        self.page = {
            "serial": self._serial,
            "earlier": first,
            "turns": [
                {
                    "customer": inert(message, LINE),
                    "sides": {role: self._side(replies[at]) for role, replies in self.replies.items()},
                }
                for at, message in list(enumerate(self.messages))[first:]
            ],
        }

    def _side(self, reply: Reply) -> dict[str, Any]:
        pieces: list[list[str]] = []  # (text, what it rests on): "" is no value
        at = 0
        for claim in self._task.claims(reply):
            pieces += [[reply.answer[at : claim.start], ""], [claim.text, claim.source or "made up"]]
            at = claim.end
        pieces.append([reply.answer[at:], ""])
        return {
            "lookup": inert(reply.lookup, LINE),
            "fact": inert(reply.fact, LINE),
            "answer": [[inert(text, LINE), source] for text, source in pieces if text],
            "tokens": [[inert(word.text), round(word.probability, 4), _ms(word.seconds)] for word in reply.words],
            "ms": _ms(reply.seconds),
            "middle": round(_middle(reply), 3),
        }

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        if content.get("kind") == "ask":
            self.ask(content.get("text", ""))
        elif content.get("kind") == "begin":
            self.begin()


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _middle(reply: Reply) -> float:
    """The median milliseconds of a token."""
    return 1000 * statistics.median([word.seconds for word in reply.words] or [0.0])


def _openings(shop: Shop) -> list[str]:
    """Messages to begin with, whose answers are in this shop."""
    orders, products = list(shop.orders.values()), list(shop.products.values())
    gone = [product for product in products if not product.stock] or products
    delivered = [order for order in orders if order.state == "delivered"] or orders
    return [
        f"Where is my order {orders[0].number}?",
        "And how much is it?",
        f"Can I return order {delivered[0].number}?",
        f"Do you have a {gone[0].name}?",
        "Are you open on Sunday?",
        "Please tell me a joke.",
    ]


def _database(shop: Shop) -> dict[str, list[str]]:
    """The first rows of each table, as the shop's answers state them."""
    tables = {
        say("orders"): [shop.answer(f"order {number}") for number in shop.orders],
        say("products"): [shop.answer(f"product {name}") for name in shop.products],
        say("hours"): [shop.answer(f"hours {day}") for day in shop.hours],
        say("rules"): [shop.answer(f"policy {topic}") for topic in shop.policies],
    }
    return {
        name: [inert(row, LINE) for row in rows[:LISTED]]
        + ([say("and {count:,} more", count=len(rows) - LISTED)] if len(rows) > LISTED else [])
        for name, rows in tables.items()
    }
