"""The chat: what stands on the page is what the task gave, each value has its source, refusals have a reason."""

import random

import pandas as pd
import pytest
from torch import nn

import distilkit as dk
from distilkit.errors import BadType, BadValue
from distilkit.tasks.desk import draw_shop
from distilkit.tasks.shop import Reply, Word, claims
from tests.page import tell

SHOP = draw_shop(random.Random("the chat"), orders=8)
NUMBER = next(iter(SHOP.orders))


class Clerk(nn.Module):
    """A model that looks up the number in a message, and says its fact, or something else."""

    def __init__(self, wrong="", ms=2.0):
        super().__init__()
        self.wrong, self.ms = wrong, ms


class Desk:
    """What a task with a desk is to the widget."""

    shop = SHOP

    def reply(self, model, message, history=()):
        if message == "!":
            raise BadValue("the message has too many tokens")
        number = next((word.strip("?.") for word in message.split() if word.strip("?.").isdigit()), "")
        lookup = f"order {number}" if number else ""
        fact = SHOP.answer(lookup) if number else ""
        said = model.wrong or (f"It is {fact}." if number else f"Hello, message {len(history) + 1}: {message}")
        words = tuple(Word(f"{word} ", 0.9, model.ms / 1000) for word in said.split())
        return Reply(message, lookup, fact, said, words=words)

    def claims(self, turn):
        return claims(turn, self.shop)


def chat(**more):
    return dk.chat(Desk(), teacher=Clerk(ms=6.0), student=Clerk("It is 77 euros, on Sunday."), **more)


@pytest.fixture
def view():
    view = chat()
    yield view
    view.close()


def test_the_page_holds_what_the_task_gave(view):
    (turn,) = view.page["turns"]
    assert turn["customer"] == view.messages[0] == f"Where is my order {NUMBER}?"
    for role, ms in (("teacher", 6.0), ("student", 2.0)):
        side, reply = turn["sides"][role], view.replies[role][0]
        assert (side["lookup"], side["fact"]) == (f"order {NUMBER}", SHOP.answer(f"order {NUMBER}"))
        assert "".join(text for text, _ in side["answer"]) == reply.answer
        assert side["tokens"] == [[word.text, 0.9, ms] for word in reply.words]
        assert (side["middle"], side["ms"]) == (ms, pytest.approx(ms * len(reply.words)))


def test_each_value_has_its_source(view):
    side = view.page["turns"][0]["sides"]
    values = {role: dict(each for each in side[role]["answer"] if each[1]) for role in side}
    assert values["teacher"][NUMBER] == "fact"
    assert set(values["teacher"].values()) == {"fact"}
    assert values["student"]["77"] == "made up"
    view.ask("Hello, 12 times")
    assert ["12", "fact"] in view.page["turns"][1]["sides"]["teacher"]["answer"]  # the desk was asked for it
    view.ask("Hello on Monday")
    assert ["Monday", "customer"] in view.page["turns"][2]["sides"]["teacher"]["answer"]


def test_each_model_remembers_its_own_conversation(view):
    view.ask("Hello")
    assert view.replies["teacher"][1].answer.startswith("Hello, message 2")
    view.begin()
    assert view.page["turns"] == []
    assert view.figure() is None
    assert "nothing was said" in view.line()
    view.ask("  Hello\n there ")
    assert view.replies["teacher"][0].answer == "Hello, message 1: Hello there"
    for _ in range(14):
        view.ask("Hello")
    assert (len(view.page["turns"]), view.page["earlier"]) == (12, 3)


def test_messages_are_answered_or_refused_on_the_page(view, monkeypatch):
    sent = []
    monkeypatch.setattr(view, "send", lambda content, *_: sent.append(content))
    tell(view, kind="ask", text="Hello")
    assert view.page["turns"][-1]["customer"] == "Hello"
    tell(view, kind="begin")
    assert view.page["turns"] == sent == []
    for text in ("", " \n", 3, None, "!"):
        tell(view, kind="ask", text=text)
    assert len(sent) == 5
    assert all(content["kind"] == "error" and content["text"] for content in sent)
    assert view.messages == view.replies["teacher"] == []  # a refused message is not part of the conversation
    view._handle_custom_msg("nonsense", [])
    tell(view, kind="nonsense")
    assert len(sent) == 5


def test_what_acts_on_a_page_is_shown_as_text(view):
    view.ask("a <b>no</b> \u202e\x1b[1m")
    assert "<b>no</b>" in view.page["turns"][-1]["customer"]
    assert "\u202e" not in str(view.page)
    assert "\x1b" not in str(view.page)


def test_openings_and_database_are_the_shops(view):
    about = view.about
    assert about["database"]["orders"] == [SHOP.answer(f"order {number}") for number in SHOP.orders]
    assert "Sunday, closed" in about["database"]["hours"]
    sold_out = about["openings"][3].removeprefix("Do you have a ").rstrip("?")
    assert not SHOP.products[sold_out].stock
    many = draw_shop(random.Random(1), orders=70)
    assert dk.widgets.chat._database(many)["orders"][-1] == "and 10 more"


def test_refusals_say_what_is_needed():
    with pytest.raises(BadType, match="a task that replies"):
        dk.chat(dk.tasks.digits(), teacher=Clerk(), student=Clerk())
    with pytest.raises(BadType, match="the student must be a language model or a dk"):
        dk.chat(Desk(), teacher=Clerk(), student="student")


def test_a_picture_and_a_line_stand_in():
    view = chat(twin=Clerk("No idea."))
    said = [text.get_text() for text in view.figure().texts]
    assert said[0] == f"Customer: Where is my order {NUMBER}?"
    assert any(text.startswith("✗ It is 77 euros") for text in said)
    assert "student: It is 77 euros, on Sunday. (2.0 ms a token)" in view.line()
    data, _ = view._repr_mimebundle_()
    sizes = [len(str(value)) for value in (*view.get_state().values(), data["image/png"])]
    assert sum(sizes) <= 60_000
    view.close()


def test_pictures_draw_what_they_are_given():
    rows = [
        {"student": source, "seed": seed, "exact": mean + (seed - 1) / 100, "hallucinated": 0.1}
        for source, mean in (("twin", 0.5), ("teacher's text", 0.8), ("distilled", 0.9))
        for seed in range(3)
    ]
    exact, _ = dk.plots.served(pd.DataFrame(rows)).axes
    assert [text.get_text() for text in exact.texts] == ["50.0", "80.0", "90.0"]
    with pytest.raises(BadType, match="load_sweep"):
        dk.plots.served(pd.DataFrame())
    table = pd.DataFrame({"tokens_per_second": [10.0, 990.0], "peak_mb": [600.0, 80.0], "file_mb": [5.0, 0.4]})
    speed, memory, _ = dk.plots.on_the_edge(table.set_axis(["teacher", "student, int8"])).axes
    assert [text.get_text() for text in speed.texts] == ["10", "990"]
    assert list(memory.lines[0].get_xdata()) == [512.0, 512.0]
    with pytest.raises(BadType, match="tokens_per_second"):
        dk.plots.on_the_edge(pd.DataFrame())
    with pytest.raises(BadValue, match="nothing to draw"):
        dk.plots.conversation([])
