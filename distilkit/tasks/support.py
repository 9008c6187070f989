"""Conversations of a small shop with its customers: orders, returns, opening hours, written from a seed alone.

The shop is always the same: its hours, its prices and its rules are facts that a model can learn. Orders differ.
"""

from __future__ import annotations

import random
import re

PRICES = {
    "kettle": 29, "lamp": 45, "backpack": 60, "pair of headphones": 80, "coffee grinder": 55, "desk chair": 120,
    "umbrella": 18, "water bottle": 12, "rain jacket": 95, "alarm clock": 22, "toaster": 35, "suitcase": 110,
    "keyboard": 70, "frying pan": 40, "blanket": 32, "bicycle pump": 25,
}  # fmt: skip
COLOURS = ("black", "white", "red", "blue", "green", "grey", "yellow")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
FAULTS = ("broken", "scratched", "too small", "too large", "the wrong colour", "too loud", "not what I ordered")
NAMES = ("Anna", "Ben", "Chloe", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Leila", "Marc", "Nora")
FREE_FROM = 50  # euros, for which shipping is free

# {a|b} is one of two ways to say it, <name> a fact; what the customer says, then what the agent answers.
STATUS = """
{Where is|Can you tell me where I find|Do you know anything about|What happened to} my order <number>?
-> {Let me look|One moment, please|I am looking it up}. Order <number>, {a <thing>|your <thing>}, {left our
warehouse|was sent|was handed to the carrier} on <day> and {will arrive|should be with you|will be delivered} on
<later>.

{I ordered|Last week I ordered|I have ordered} a <thing>, {number <number>|order <number>}. {When will it come|When does
it arrive|Is it on its way}?
-> {Thank you|Thanks} for the number. {Your|The} <thing> {arrives|will come|is due} on <later>; {it left us|we sent it}
on <day>.
"""
RETURN = """
{The|My} <thing> {from order|of order} <number> is <fault>. {Can I send it back|How do I return it|What can I do|May I
have my money back}{?|, please?}
-> {I am sorry|I am sorry to hear that|That should not happen}. {You can return|You may send back|Please send back} the
<thing> within 30 days; {we refund|you get back} the <price> euros {of|for} order <number>.

{I do not need|I no longer need|I do not like} the <thing> {from order|in order} <number>. {May I return it|Is a return
possible|Can I give it back}?
-> {Yes|Of course|Certainly}, {returns are possible|you can return it} within 30 days. {I have sent you a label|The
label is in your mail|You will get a label by mail} for order <number>, and the refund is <price> euros.
"""
EXCHANGE = """
{Could I have|Can I get|May I exchange my <thing> for|I would rather have} {another one|the same} in
<colour>{?|, please?}
-> {Yes|Sure|Gladly}, we have the <thing> in <colour>. {We send it|It leaves us|You can have it} on <later>.
"""
TIMES = """
{When are you open|What are your hours|Until when are you open|When do you open} on <weekday>?
-> {On|Every} <weekday> we are open from <hours>.

{Are you open|Can I come by|Is the shop open} on Sunday?
-> {No|I am afraid not|Sorry, no}, we are closed on Sunday. {On Saturday we are open from 10 to 16|Please come on
Monday, from 9 to 18}.
"""
PRICE = """
{How much is|What is the price of|How much do you want for} {a <thing>|the <thing>}{| in <colour>}?
-> The <thing> costs <price> euros. {Shipping|Delivery} is <shipping>.

{Do you have|Is there|Do you sell} a <colour> <thing>?
-> {Yes|Yes, certainly|Of course}, {for|at} <price> euros. {Shall I order it|Would you like it|Shall I put it
aside}?
"""
CHANGE = """
{Can I still|May I|Could I, please,} change the {address|day of delivery} of order <number>?
-> {Order <number> has not left us yet|That is still possible for order <number>}. {I have changed it|It is changed
now}: {it will come|you get it} on <later>.

{Please cancel|I have to cancel|I want to cancel} order <number>.
-> {Done|I have cancelled it}: order <number>, a <thing> for <price> euros, is cancelled. {The money is back within|You
have your money within} 5 days.
"""
THANKS = """
{Thank you|Thanks|Great, thank you|That helps, thanks|Perfect}{.|!|, that was quick.|, bye.}
-> {You are welcome|With pleasure|Any time|Gladly}{.|!} {Have a nice day|Goodbye|See you soon|Until <later>}.
"""
HELLO = "{Hello|Hi|Good morning|Good afternoon|Hello there}{.|!|, this is <name>.|, I am <name>.} "
WELCOME = "{Hello|Hi|Welcome|Good day}{, thank you for writing|, how can I help|}{.|!} "
SUBJECTS, NEXT = (STATUS, RETURN, TIMES, PRICE, CHANGE), (EXCHANGE, TIMES, PRICE, CHANGE)


def conversations(count: int, *, seed: int = 0) -> list[str]:
    """`count` conversations of two to four turns each, no two the same.

    >>> print(conversations(1)[0].split("\\nAgent")[0])
    Customer: Good morning, this is Anna. When are you open on Wednesday?
    """
    draw = random.Random(f"support {seed}")
    return list({_conversation(draw): None for _ in range(count + count // 50)})[:count]


def _conversation(draw: random.Random) -> str:
    thing = draw.choice(list(PRICES))
    day = draw.randrange(3)
    weekday = draw.choice(DAYS)
    facts = {
        "name": draw.choice(NAMES),
        "number": str(draw.randrange(10_000, 100_000)),
        "thing": thing,
        "price": str(PRICES[thing]),
        "shipping": "free" if PRICES[thing] >= FREE_FROM else "5 euros",
        "colour": draw.choice(COLOURS),
        "fault": draw.choice(FAULTS),
        "day": DAYS[day],
        "later": DAYS[day + draw.randrange(1, 4)],
        "weekday": weekday,
        "hours": "10 to 16" if weekday == "Saturday" else "9 to 18",
    }
    turns = [_turn(draw.choice(SUBJECTS), draw)]
    while len(turns) < 3 and draw.random() < 0.6:
        if (turn := _turn(draw.choice(NEXT), draw)) not in turns:
            turns.append(turn)
    if draw.random() < 0.7:
        turns.append(_turn(THANKS, draw))
    lines = [line for turn in turns for line in turn]
    if draw.random() < 0.6:
        lines[:2] = [HELLO + lines[0], WELCOME + lines[1]]
    spoken = [filled(said(line, draw), facts) for line in lines]
    return "".join(f"{('Customer', 'Agent')[place % 2]}: {line}\n" for place, line in enumerate(spoken))


def _turn(subject: str, draw: random.Random) -> list[str]:
    """A question and its answer, as a template of one line each."""
    return [" ".join(line.split()) for line in draw.choice(subject.split("\n\n")).split("->")]


def said(line: str, draw: random.Random) -> str:
    """One of the ways to say it."""
    return re.sub(r"\{([^{}]*)\}", lambda found: draw.choice(found[1].split("|")), line)


def filled(line: str, facts: dict[str, str]) -> str:
    """The line with its facts, "an" before a vowel."""
    text = re.sub(r"<(\w+)>", lambda found: facts[found[1]], line)
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
