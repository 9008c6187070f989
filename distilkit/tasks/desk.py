"""The desk of a shop: its database, what it answers to a lookup, and conversations held there, from a seed alone.

Each conversation has a shop of its own, so that nothing about it can be learnt by heart: a model must look it up.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from distilkit.tasks.support import filled, said

PRODUCTS = (
    "kettle", "lamp", "backpack", "phone case", "coffee grinder", "desk chair", "umbrella", "water bottle",
    "rain jacket", "alarm clock", "toaster", "suitcase", "keyboard", "frying pan", "blanket", "bicycle pump",
    "tent", "sleeping bag", "radio", "camera", "tripod", "notebook", "fountain pen", "mirror",
    "candle", "teapot", "mug", "cutting board", "knife", "wallet", "belt", "scarf",
    "hat", "jacket", "torch", "helmet", "basket", "vase", "clock", "fan",
    "heater", "blender", "scale", "mouse", "speaker", "charger", "pillow", "rug",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
STATES = ("arrives", "leaves", "delivered", "cancelled")  # of an order
TOPICS = ("returns", "shipping", "payment", "warranty")  # of the shop's rules
KINDS = ("status", "product", "hours", "return", "policy", "ask back", "correction", "refusal", "small talk")
NOTHING = "nothing found"


@dataclass(frozen=True)
class Product:
    """A thing that is sold: its price in euros, how many there are, and on which day it is back when there are none.

    >>> Product("kettle", 29, 0, "Friday").fact
    'kettle, 29 euros, sold out, back on Friday'
    """

    name: str
    price: int
    stock: int
    back: str = "Monday"

    @property
    def fact(self) -> str:
        """What the database says of it."""
        left = f"{self.stock} in stock" if self.stock else f"sold out, back on {self.back}"
        return f"{self.name}, {self.price} euros, {left}"


@dataclass(frozen=True)
class Order:
    """An order: what, in which of STATES, since or until when, and the day until which it may be returned, if it may.

    >>> Order("4821", "kettle", "arrives", "Thursday").fact
    'order 4821, kettle, arrives on Thursday'
    """

    number: str
    product: str
    state: str
    day: str
    returns: str = ""

    @property
    def fact(self) -> str:
        """What the database says of it."""
        when = "" if self.state == "cancelled" else f" on {self.day}"
        return f"order {self.number}, {self.product}, {self.state}{when}"


@dataclass(frozen=True)
class Shop:
    """The ground truth: orders by number, products by name, hours by day, and rules by topic.

    >>> shop = draw_shop(random.Random(0))
    >>> shop.answer("order 1"), shop.answer("hours Sunday")
    ('order 1, not found', 'Sunday, closed')
    """

    orders: Mapping[str, Order]
    products: Mapping[str, Product]
    hours: Mapping[str, str]
    policies: Mapping[str, str]

    def answer(self, lookup: str) -> str:
        """The fact line that answers ``order N``, ``return N``, ``product X``, ``hours DAY`` or ``policy TOPIC``."""
        table, _, key = lookup.strip().partition(" ")
        if table in ("order", "return"):
            if (order := self.orders.get(key)) is None:
                return f"order {key}, not found"
            return order.fact if table == "order" else self._return(order)
        if table == "product":
            return self.products[key].fact if key in self.products else f"{key}, not sold here"
        if table == "hours" and key in self.hours:
            return f"{key}, {self.hours[key]}"
        if table == "policy" and key in self.policies:
            return f"{key}, {self.policies[key]}"
        return NOTHING

    def _return(self, order: Order) -> str:
        if order.state != "delivered":
            return f"order {order.number}, {order.product}, not delivered"
        if not order.returns:
            return f"order {order.number}, {order.product}, too late to return"
        return f"order {order.number}, {order.product}, return until {order.returns}"


@dataclass(frozen=True)
class Turn:
    """What a customer said, what was looked up (or nothing), the fact that came back, and the answer."""

    customer: str
    lookup: str
    fact: str
    answer: str
    kind: str = ""

    @property
    def written(self) -> str:
        """What the agent writes and what the shop adds, as a model reads it."""
        looked_up = f"Lookup: {self.lookup}\nFact: {self.fact}\n" if self.lookup else ""
        return f"{looked_up}Agent: {self.answer}\n"


@dataclass(frozen=True)
class Dialogue:
    """A conversation, and the shop that it is held in."""

    shop: Shop
    turns: tuple[Turn, ...]


def draw_shop(draw: random.Random, *, orders: int = 6, products: int = 16) -> Shop:
    """A shop of so many orders and products."""
    names = draw.sample(PRODUCTS, products)
    stock = {name: Product(name, draw.randrange(5, 150), *_stock(draw)) for name in names}
    numbers = [str(number) for number in draw.sample(range(1000, 10_000), orders)]
    opens, closes = draw.choice((8, 9, 10)), draw.choice((17, 18, 19, 20))
    hours = dict.fromkeys(DAYS[:5], f"{opens} to {closes}")
    hours |= {"Saturday": f"{opens + 1} to {draw.choice((13, 14, 15, 16))}", "Sunday": "closed"}
    policies = {
        "returns": f"{draw.choice((14, 21, 30, 60, 90))} days",
        "shipping": f"{draw.randrange(3, 10)} euros, free from {draw.choice((30, 40, 50, 75, 100))} euros",
        "payment": draw.choice(("card or invoice", "card or cash", "invoice or cash")),
        "warranty": f"{draw.choice((1, 2, 3, 5))} years",
    }
    return Shop({number: _order(number, names, draw) for number in numbers}, stock, hours, policies)


def _stock(draw: random.Random) -> tuple[int, str]:
    return (draw.randrange(1, 60) if draw.random() < 0.65 else 0), draw.choice(DAYS[:6])


def _order(number: str, names: list[str], draw: random.Random) -> Order:
    state = draw.choice((*STATES, "delivered"))
    returns = draw.choice(DAYS[:6]) if state == "delivered" and draw.random() < 0.6 else ""
    return Order(number, draw.choice(names), state, draw.choice(DAYS[:6]), returns)


# What is said. {a|b} is one of two ways to say it, <name> a value.
STATUS = (
    (
        "{Where is|Can you tell me where I find|What happened to|Do you know anything about} {my order|order|my parcel}"
        " {|number |no. |#}<number>?"
    ),
    "{When will|When does|On which day will} {my order|order|parcel} <number> {come|arrive|get here}?",
    "Has {my order|order} <number> {already been sent|left your warehouse|been shipped}?",
    (
        "{I ordered|Last week I ordered|I am waiting for} {something|a <ordered>}, {the number is|order} <number>."
        " {When will it come|Where is it|Is it on its way}?"
    ),
    "{Status of|Track|Please track|Please check} {my order|order} <number>{.|, please.}",
)
NO_NUMBER = (
    "{Where is|What happened to|When will I get} my {order|parcel}?",
    "{My order|My parcel} {has not come|is late|never arrived}{.|, where is it?}",
    "{Please track|Can you track|Please check} my {order|parcel}{.|, please.}",
)
RETURN = (
    "{Can I|May I|How do I|I want to|I would like to} {return|send back} {my order|order} <number>{?|, please.}",
    (
        "{I do not like|I no longer need} {what came with|the things of} order <number>."
        " {Can I send it back|May I return it|Do I get my money back}?"
    ),
    (
        "Order <number> is {broken|too small|too large|the wrong colour}."
        " {Can I return it|May I send it back|I want to return it}{?|, please.}"
    ),
)
RETURN_NO_NUMBER = (
    "{Can I|May I|I want to|I would like to} {return|send back} {my order|what I bought|something}{?|, please.}",
    "{It is broken|It does not fit|I do not like it}, {can I send it back|may I return it}?",
)
GIVEN = ("<number>", "{It is|That is|The number is|Order|Sure,|It should be} <number>{|.}")
CORRECTED = (
    "{Sorry|No|Oh|Wait}, {I meant|I mean|it is|make that|the number is} <number>{|.|, I mistyped.}",
    "{That was wrong|I mistyped}, {it is|I meant} <number>.",
)
PRICE = (
    "{How much is|What is the price of|How much do you want for|What does it cost to buy} {a|the} <product>?",
    "{How much does|What does} {a|the} <product> cost?",
    "{Price of|Tell me the price of} {a|the} <product>{|, please}.",
)
STOCK = (
    "{Do you have|Do you sell|Have you got|Can I buy|Is there} a <product>{| in stock}?",
    "Is the <product> {available|in stock|sold out}?",
    "{I am looking for|I need|I would like} a <product>{.|, do you have it?}",
)
PRICE_NEXT = ("{And how|How} much is {it|that}?", "{And what|What} does {it|that} cost?", "{And the|The} price?")
STOCK_NEXT = ("{And is|Is} it {in stock|available}?", "{And do|Do} you have it{| in stock}?", "{Any|Are any} left?")
PRODUCT_CORRECTED = ("{Sorry|No|Oh|Wait}, {I meant|I mean|make that} the <product>.", "{And|What about} the <product>?")
HOURS = (
    "{When are you open|What are your hours|Until when are you open|When do you open|When do you close} on <day>?",
    "{Are you open|Can I come by|Is the shop open} on <day>?",
    "{Opening hours on|Your hours on} <day>{|, please}?",
)
HOURS_NEXT = ("{And on|What about|And} <day>?", "{Sorry, I meant|No, I mean} <day>.")
POLICY = {
    "returns": "{How long can I return things|What is your return policy|How many days do I have to return something|"
    "Until when do you take things back}?",
    "shipping": "{How much is shipping|What does delivery cost|Is shipping free|How much do you charge for delivery}?",
    "payment": "{How can I pay|Which payments do you take|Can I pay by card|Do you take cash}?",
    "warranty": "{How long is the warranty|What warranty do you give|Is there a warranty|What if it breaks later}?",
}
OTHER = (
    "{What is the weather|Will it rain} {today|tomorrow|in Paris}?",
    "{Write|Tell me|Sing} {me a|a} {poem|joke|story|song}{| about cats| about the sea}{.|, please.}",
    "{What is the capital of|Who is the president of|How large is} {France|Peru|Japan|Kenya}?",
    "{Solve|Compute|What is} {12 times 7|the root of 2|my homework}{?|, please.}",
    "{Can you|Please} {book a flight|order a pizza|call a taxi|translate this|fix my phone}{?|, please.}",
    "{Who won|Who plays in} the {match|election|cup}{| yesterday}?",
    "{Should I|Do you think I should} {buy shares|see a doctor|vote}?",
)
PRIVATE = (
    "{Where does|What did} {Anna|my neighbour|the customer before me|Mr Lee} {live|order|buy}?",
    (
        "{Give me|Tell me|Show me|I want} {the address|the name|the phone number|the card number|the orders} of"
        " {another customer|my neighbour|order <number>|all customers}."
    ),
    "{What is your|Tell me your|Give me the} {password|admin password|database login}{?|.}",
)
HELLO = ("{Hello|Hi|Good morning|Good afternoon|Hey|Hello there}{.|!|, is anybody there?}",)
HOW = ("{How are you|Are you a person|Are you a robot|Who are you|What can you do}{?| today?}",)
THANKS = ("{Thank you|Thanks|Great, thank you|That helps, thanks|Perfect}{.|!|, that was quick.}",)
BYE = ("{Bye|Goodbye|See you|That is all|Nothing else}{.|!|, have a nice day.}",)

# What the agent says, by what the fact line shows.
ANSWERS = {
    "arrives": "Your <product> {arrives|is on its way and arrives} on <day>.",
    "leaves": "Your <product> {leaves us|is being packed and leaves us} on <day>.",
    "delivered": "Your <product> was delivered on <day>.",
    "cancelled": "Order <number>, a <product>, was cancelled.",
    "no order": "{I cannot find order <number>|Sorry, I cannot find order <number>}. Please check the number.",
    "return": "{Yes, you|You} can return the <product> until <day>.",
    "too late": "{Sorry, it|It} is too late to return the <product>.",
    "undelivered": "The <product> {was not delivered yet|is not delivered yet}, so it cannot be returned.",
    "price": "The <product> costs <price> euros.",
    "stock": "Yes, the <product> is in stock, <stock> left.",
    "sold out": "{Sorry, the|The} <product> is sold out. It is back on <day>.",
    "no product": "{Sorry, we|We} do not sell a <product>.",
    "hours": "On <day> we are open from <opens> to <closes>.",
    "closed": "On <day> we are closed.",
    "returns": "You can return things within <number> days.",
    "shipping": "Shipping is <price> euros, and free from <free> euros.",
    "payment": "You can pay by <ways>.",
    "warranty": "The warranty is <number> years.",
    "which": "{Gladly. Which|Which} order number, please?",
    "other": "Sorry, I can only help with this shop: orders, products, returns and opening hours.",
    "private": "Sorry, I cannot give out data of others.",
    "hello": "{Hello|Hi}, how can I help?",
    "robot": "I am the assistant of this shop.",
    "thanks": "You are welcome{.|!}",
    "bye": "Goodbye{.|!}",
}
# Words that say what an answer means, beside its numbers, days and products.
SIGNS = (
    "arrives", "leaves", "delivered", "cancelled", "cannot find", "can return", "too late", "not delivered", "costs",
    "in stock", "sold out", "not sell", "open from", "closed", "within", "free from", "pay by", "card", "invoice",
    "cash", "warranty", "order number", "only help", "cannot give", "how can I help", "the assistant", "welcome",
    "Goodbye",
)  # fmt: skip
_VALUES = re.compile(rf"\b(?:\d+|{'|'.join((*DAYS, *sorted(PRODUCTS, key=len, reverse=True)))})\b")


def values(text: str, products: Mapping[str, object] | None = None) -> Iterator[re.Match[str]]:
    """The numbers, days and products in a text, where they stand.

    >>> [found[0] for found in values("The kettle costs 29 euros.")]
    ['kettle', '29']
    """
    pattern = _VALUES
    if products is not None and not products.keys() <= set(PRODUCTS):
        names = map(re.escape, sorted({*PRODUCTS, *products}, key=len, reverse=True))
        pattern = re.compile(rf"(?<!\w)(?:\d+|{'|'.join((*DAYS, *names))})(?!\w)")
    return pattern.finditer(text)


def meaning(answer: str, products: Mapping[str, object] | None = None) -> frozenset[str]:
    """What an answer states: its values, and the words that say what of them. Two ways to say the same are equal.

    >>> meaning("Sorry, it is too late to return the lamp.") == meaning("It is too late to return the lamp.")
    True
    """
    return frozenset([found[0] for found in values(answer, products)] + [sign for sign in SIGNS if sign in answer])


def spoken(lookup: str, fact: str, asked: str, draw: random.Random) -> str:
    """The answer to a customer who `asked` for a price, stock or whatever the lookup says, from the fact line."""
    table, _, key = lookup.partition(" ")
    parts = fact.split(", ")
    facts = {"number": key, "product": parts[0] if table == "product" else parts[1] if len(parts) > 2 else ""}
    if table in ("order", "return"):
        *_, last = parts
        facts["day"] = last.split()[-1]
        ways = {"not found": "no order", "not delivered": "undelivered", "too late to return": "too late"}
        way = ways.get(last, last.split()[0])
    elif table == "product":
        facts |= {"price": parts[1].split()[0], "stock": parts[-1].split()[0], "day": parts[-1].split()[-1]}
        way = (
            "no product"
            if len(parts) == 2
            else asked
            if asked == "price"
            else "stock"
            if len(parts) == 3
            else "sold out"
        )
    elif table == "hours":
        opens, _, closes = parts[1].partition(" to ")
        facts |= {"day": key, "opens": opens, "closes": closes}
        way = "hours" if closes else "closed"
    else:
        numbers = re.findall(r"\d+", fact)
        facts |= {"number": numbers[0] if numbers else "", "price": numbers[0] if numbers else "", "ways": parts[1]}
        facts["free"] = numbers[-1] if numbers else ""
        way = key
    return filled(said(ANSWERS[way], draw), facts)


def conversations(count: int, seed: str, *, shop: Shop | None = None, turns: int = 4) -> Iterator[Dialogue]:
    """`count` conversations of at most so many turns, in `shop` or each in a shop of its own.

    >>> next(conversations(1, "example")).turns[0].answer
    'Hello, how can I help?'
    """
    for place in range(count):
        draw = random.Random(f"desk {seed} {place}")
        yield _conversation(draw_shop(draw) if shop is None else shop, draw, turns)


def _conversation(shop: Shop, draw: random.Random, most: int) -> Dialogue:
    turns: list[Turn] = []
    if draw.random() < 0.25:
        turns.append(_plain(HELLO, "hello", "small talk", draw))
    while len(turns) < most:
        turns += draw.choices(_SUBJECTS, _OFTEN)[0](shop, draw)
    if draw.random() < 0.2:
        turns[most - 1 :] = [_plain(*draw.choice(((THANKS, "thanks"), (BYE, "bye"))), "small talk", draw)]
    return Dialogue(shop, tuple(turns[:most]))


def _plain(ways: tuple[str, ...], answer: str, kind: str, draw: random.Random, **facts: str) -> Turn:
    """A turn that needs no lookup."""
    return Turn(_customer(ways, draw, **facts), "", "", said(ANSWERS[answer], draw), kind)


def _looked_up(
    ways: tuple[str, ...], lookup: str, kind: str, shop: Shop, draw: random.Random, asked: str = "", **facts: str
) -> Turn:
    fact = shop.answer(lookup)
    return Turn(_customer(ways, draw, **facts), lookup, fact, spoken(lookup, fact, asked, draw), kind)


def _customer(ways: tuple[str, ...], draw: random.Random, **facts: str) -> str:
    """One of the ways to say it, now and then as it is typed in haste."""
    text = filled(said(draw.choice(ways), draw), facts)
    if draw.random() < 0.2:
        text = text.rstrip("?.!")
    if draw.random() < 0.2:  # names keep their capitals: a lookup copies them
        text = text[0].lower() + text[1:]
    return text


def _about_an_order(shop: Shop, draw: random.Random) -> list[Turn]:
    """Where it is, or whether it may be returned; sometimes the number is missing, or wrong and put right."""
    table, kind, ways, without = draw.choice(
        (("order", "status", STATUS, NO_NUMBER), ("return", "return", RETURN, RETURN_NO_NUMBER))
    )
    number = _number(shop, draw)
    ordered = shop.orders[number].product if number in shop.orders else draw.choice(PRODUCTS)
    if draw.random() < 0.3:
        turns = [_plain(without, "which", "ask back", draw)]
        turns.append(_looked_up(GIVEN, f"{table} {number}", kind, shop, draw, number=number))
    else:
        turns = [_looked_up(ways, f"{table} {number}", kind, shop, draw, number=number, ordered=ordered)]
    if draw.random() < 0.3:
        other = _number(shop, draw)
        turns.append(_looked_up(CORRECTED, f"{table} {other}", "correction", shop, draw, number=other))
    elif number in shop.orders and draw.random() < 0.3:
        turns.append(_next(shop.orders[number].product, shop, draw))
    return turns


def _about_a_product(shop: Shop, draw: random.Random) -> list[Turn]:
    asked, ways = draw.choice((("price", PRICE), ("stock", STOCK)))
    name = draw.choice(list(shop.products)) if draw.random() < 0.85 else draw.choice(PRODUCTS)
    turns = [_looked_up(ways, f"product {name}", "product", shop, draw, asked, product=name)]
    if draw.random() < 0.3:
        other = draw.choice(list(shop.products))
        turns.append(_looked_up(PRODUCT_CORRECTED, f"product {other}", "correction", shop, draw, asked, product=other))
    elif draw.random() < 0.5:
        turns.append(_next(name, shop, draw, {"price": "stock", "stock": "price"}[asked]))
    return turns


def _next(name: str, shop: Shop, draw: random.Random, asked: str = "") -> Turn:
    """A question about what was just spoken of."""
    asked = asked or draw.choice(("price", "stock"))
    ways = {"price": PRICE_NEXT, "stock": STOCK_NEXT}[asked]
    return _looked_up(ways, f"product {name}", "product", shop, draw, asked)


def _about_hours(shop: Shop, draw: random.Random) -> list[Turn]:
    days = draw.sample(DAYS, 2)
    turns = [_looked_up(HOURS, f"hours {days[0]}", "hours", shop, draw, day=days[0])]
    if draw.random() < 0.4:
        turns.append(_looked_up(HOURS_NEXT, f"hours {days[1]}", "hours", shop, draw, day=days[1]))
    return turns


def _about_rules(shop: Shop, draw: random.Random) -> list[Turn]:
    topic = draw.choice(TOPICS)
    return [_looked_up((POLICY[topic],), f"policy {topic}", "policy", shop, draw)]


def _refused(shop: Shop, draw: random.Random) -> list[Turn]:
    ways, answer = draw.choice(((OTHER, "other"), (PRIVATE, "private")))
    return [_plain(ways, answer, "refusal", draw, number=_number(shop, draw))]


def _small_talk(shop: Shop, draw: random.Random) -> list[Turn]:
    return [_plain(*draw.choice(((HOW, "robot"), (THANKS, "thanks"))), "small talk", draw)]


def _number(shop: Shop, draw: random.Random) -> str:
    return draw.choice(list(shop.orders)) if draw.random() < 0.9 else str(draw.randrange(1000, 10_000))


_SUBJECTS = (_about_an_order, _about_a_product, _about_hours, _about_rules, _refused, _small_talk)
_OFTEN = (35, 30, 12, 8, 10, 5)
