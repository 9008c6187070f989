"""Problems in words whose answers and worked steps are exact: generated, or from a GSM8K-style JSONL of your own."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import operator
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from distilkit import metrics
from distilkit.divergences import IGNORED
from distilkit.errors import BadFile, BadValue, choice, real, shown, whole
from distilkit.models import data_path, evaluating, logits_of, predict, read
from distilkit.origin import remembered
from distilkit.pretrained import find_tokenizer, language_model
from distilkit.tasks.text import llama, train_digit_tokenizer
from distilkit.transfer import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEACHER = "arithmetic/teacher"
VOCABULARY = 512  # at most: 256 bytes, the end of a text, and the words of the problems
STEPS = (1, 3)  # operations of a problem that is learnt from, at least and at most
LONGER = (4, 5)  # of one that tests whether more steps than ever seen are taken
LARGEST = 9
TESTS = 500
TEST_SEEDS = {"held_out": 0, "longer": 1, "other": 2}
UNLABELLED_SEEDS = 1 << 40  # seeds from here on draw unlabelled problems, so that they are other ones
WRITTEN = 64  # tokens that a solution may have
SPREAD = 0.1  # of a student's first weights: with Hugging Face's 0.02 it learns five times more slowly here
PATIENCE = 5000  # draws in a row that gave no new problem
FORMS = ("answer", "rationale", "two_tasks")
PREFIXES = {"two_tasks": "answer: ", "explain": "explain: "}  # which of its two tasks a student is given
MARK = "#### "  # GSM8K's sign before the answer

NAMES = ("Ada", "Ben", "Eva", "Ida", "Jan", "Kim", "Leo", "Max", "Mia", "Tom")
THINGS = ("apples", "books", "cards", "coins", "eggs", "keys", "pens", "shells", "stamps", "toys")
# Sentences by what they do to the number. The other ones say it with the same words, in an order that is never learnt.
SENTENCES: dict[str, dict[str, tuple[str, ...]]] = {
    "seen": {
        "start": ("{name} has {n} {things}.",),
        "+": ("{name} finds {n}.", "Then {name} buys {n}."),
        "-": ("{name} sells {n}.", "Then {name} loses {n}."),
        "*": ("{name} now has {n} times as many.",),
        "end": ("How many {things} now?",),
    },
    "other": {
        "start": ("Now {name} has {n} {things}.",),
        "+": ("Then {name} finds {n}.", "{name} buys {n}.", "{name} now finds {n}."),
        "-": ("Then {name} sells {n}.", "{name} loses {n}.", "{name} now sells {n}."),
        "*": ("Then {name} has {n} times as many.",),
        "end": ("How many {things} has {name} now?",),
    },
}


@dataclass(frozen=True)
class Problem:
    """A problem: its question, the worked steps, and the answer. What is not known is empty.

    >>> Problem("Tom has 3 pens. Then Tom buys 4. How many pens now?", ("3+4=7",), "7").rationale
    '3+4=7'
    """

    question: str
    steps: tuple[str, ...]
    answer: str

    @property
    def rationale(self) -> str:
        """The steps, a line each."""
        return "\n".join(self.steps)


@dataclass(frozen=True)
class Solution:
    """What a model wrote to a problem.

    Attributes:
        problem: what it was asked.
        text: all that it wrote, with what was `given` to it before.
        steps: the lines before the answer.
        answer: what follows ``#### ``; None where it wrote none.
        log_prob: log-probability of what it wrote (not of what was given), in nats.
    """

    problem: Problem
    text: str
    steps: tuple[str, ...]
    answer: str | None
    log_prob: float

    @property
    def is_right(self) -> bool:
        """Whether its answer is the problem's."""
        return self.answer is not None and self.answer == self.problem.answer

    @property
    def confidence(self) -> float:
        """The probability that the model gave to its own text, in [0, 1]."""
        return math.exp(self.log_prob)


class CheckedStep(NamedTuple):
    """A step, whether its equation holds, and whether each number in it is the question's or an earlier result."""

    text: str
    is_right: bool
    is_known: bool


class Corrupted(NamedTuple):
    """A solution's beginning with one wrong result in it, and where it leads if one believes it."""

    problem: Problem
    given: str
    answer: str


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """Problems to distil on.

    Attributes:
        train: the labelled problems, steps and answer, as `Examples` of tokens.
        transfer: the same.
        test: the held-out problems, likewise.
        problems: the labelled ones.
        held_out: problems whose calculation occurs in nobody's training.
        longer: held-out ones with more steps than are ever learnt from.
        other: held-out ones in sentences that are never learnt from.
        tokenizer: a Hugging Face tokenizer, the teacher's and the student's; each digit is a token.
        labelled, seed: how many labelled problems there are, and which draw of them.
    """

    train: Examples
    transfer: Examples
    test: Examples
    problems: list[Problem]
    held_out: list[Problem]
    longer: list[Problem]
    other: list[Problem]
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    pool: list[Problem] | None  # of a file; None where there are as many as you like
    labelled: int
    seed: int

    @remembered
    def teacher(self) -> PreTrainedModel:
        """The shipped teacher, a Llama that writes steps and answer: see data/README.md."""
        return language_model(self.folder, tokenizer=self.tokenizer)[0]

    @remembered
    def student(self, seed: int = 0, *, layers: int = 2, width: int = 64) -> PreTrainedModel:
        """A fresh student, a Llama of `layers` layers of `width`, initialised from `seed` alone."""
        return llama(len(self.tokenizer), layers=layers, width=width, seed=seed, initializer_range=SPREAD)

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Arithmetic:
        """The same task with another draw of labelled problems: what a sweep over seeds needs."""
        problems = _draw(self.pool, labelled, seed)
        train = self.examples(problems)
        return replace(self, train=train, transfer=train, problems=problems, labelled=labelled, seed=seed)

    def unlabelled(self, count: int, seed: int = 0, *, answers: bool = False) -> list[Problem]:
        """`count` other problems without steps, and without their answers unless `answers` asks for them.

        They are none of the held-out ones, and none of the labelled ones.
        """
        have = {problem.question for problem in self.problems}
        if self.pool is None:
            found = [
                one for one in generate(count + len(have), seed=seed + UNLABELLED_SEEDS) if one.question not in have
            ][:count]
        else:
            rest = [one for one in self.pool if one.question not in have]
            count = whole("count", count, 1, len(rest), "unlabelled problems that the file has")
            found = random.Random(f"unlabelled {seed}").sample(rest, count)
        return [Problem(one.question, (), one.answer if answers else "") for one in found]

    def examples(self, problems: Sequence[Problem], form: str = "rationale") -> Examples:
        """Problems as tokens to learn from, (n, time); the labels of question and padding are −100.

        Args:
            problems: with what the form needs: steps, answers.
            form: "rationale", the steps and then the answer; "answer", the answer alone; "two_tasks", each problem
                twice: "answer: " and the question, then the answer; "explain: " and the question, then the steps.

        Source of the two tasks: Hsieh et al. 2023, arXiv:2305.02301.
        """
        form = choice("form", form, FORMS)
        tasks = ("two_tasks", "explain") if form == "two_tasks" else (form,)
        texts = [(prompt_of(one, task), completion_of(one, task)) for one in problems for task in tasks]
        if not texts:
            raise BadValue("there are no problems to make examples of")
        return self._padded(texts)

    def score(
        self, model: nn.Module, form: str = "rationale", *, problems: Sequence[Problem] | None = None
    ) -> dict[str, float]:
        """Quality on the held-out problems, or these.

        Returns:
            accuracy: the share of answers that are exactly right, in [0, 1], of solutions written greedily.
            nll: mean over the tokens that this form has to write, in nats.
        """
        problems = self.held_out if problems is None else problems
        right = [solution.is_right for solution in self.solve(model, problems, form=form)]
        form = choice("form", form, FORMS)
        test = self._padded([(prompt_of(one, form), completion_of(one, form)) for one in problems])
        parts = []
        for inputs, labels in zip(test.inputs.split(64), test.labels.split(64), strict=True):
            parts.append((int((labels >= 0).sum()), metrics.nll(predict(model, inputs), labels)))
        weights, nll = np.array(parts).T
        return {"accuracy": float(np.mean(right)), "nll": float(np.average(nll, weights=weights))}

    def solve(
        self,
        model: nn.Module,
        problems: Sequence[Problem],
        *,
        form: str = "rationale",
        sampling_temperature: float = 0.0,
        given: Sequence[str] | None = None,
        length: int = WRITTEN,
        seed: int = 0,
    ) -> list[Solution]:
        """What the model writes to each problem: as many at a time as there are, the same as one by one.

        Args:
            model: a Hugging Face causal language model, or a module that returns logits (n, time, words).
            problems: their questions alone are shown.
            form: as it was trained: one of "rationale", "answer", "two_tasks" (it is asked for the answer), or
                "explain" (of its two tasks, it is asked for the steps).
            sampling_temperature: 0 takes the likeliest token each time.
            given: what the solution of each problem begins with, as steps that somebody else took: "3+4=8\\n".
            length: the most tokens that it may write.
            seed: of the sampling.
        """
        form = choice("form", form, (*FORMS, "explain"))
        temperature = real("sampling_temperature", sampling_temperature, 0, 100, "0 takes the likeliest token")
        length = whole("length", length, 1, 1 << 16, "the most tokens that are written")
        given = [""] * len(problems) if given is None else list(given)
        if len(given) != len(problems):
            raise BadValue(f"given must have a beginning for each problem: {len(given)} for {len(problems)} problems")
        prompts = [
            self._tokens(prompt_of(one, form)) + (self._tokens(begun) if begun else [])
            for one, begun in zip(problems, given, strict=True)
        ]
        end = int(self.tokenizer.eos_token_id)
        draw = torch.Generator().manual_seed(whole("seed", seed, 0, 2**63 - 1, "of the sampling"))
        solutions = []
        for start in range(0, len(prompts), TESTS):
            some = slice(start, start + TESTS)
            found = write_after(model, prompts[some], end=end, length=length, temperature=temperature, draw=draw)
            for one, begun, (tokens, log_prob) in zip(problems[some], given[some], found, strict=True):
                text = begun + str(self.tokenizer.decode(tokens))
                steps, answer = parse_solution(text)
                solutions.append(Solution(one, text, steps, answer, log_prob))
        return solutions

    def check_steps(self, solution: Solution | Problem) -> list[CheckedStep]:
        """Each step of a solution: does its equation hold, and where do its numbers come from?"""
        question = solution.question if isinstance(solution, Problem) else solution.problem.question
        return check_steps(question, solution.steps)

    def corrupt(self, solutions: Sequence[Solution | Problem], *, step: int = 0, seed: int = 0) -> list[Corrupted]:
        """The beginnings of these solutions with the result of a step wrong: see `corrupt`, for those that have it."""
        problems = [
            one if isinstance(one, Problem) else Problem(one.problem.question, one.steps, one.answer or "")
            for one in solutions
        ]
        found = [corrupt(one, step=step, seed=seed) for one in problems]
        return [one for one in found if one is not None]

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _padded(self, texts: Sequence[tuple[str, str]]) -> Examples:
        """(prompt, completion) as rows of tokens, filled up with ends, whose labels do not count."""
        end = int(self.tokenizer.eos_token_id)
        rows = [(self._tokens(prompt), [*self._tokens(completion), end]) for prompt, completion in texts]
        time = max(len(prompt) + len(completion) for prompt, completion in rows) - 1
        inputs = torch.full((len(rows), time), end)
        labels = torch.full((len(rows), time), IGNORED)
        for row, (prompt, completion) in enumerate(rows):
            tokens = torch.tensor([*prompt, *completion])
            inputs[row, : len(tokens) - 1] = tokens[:-1]
            labels[row, len(prompt) - 1 : len(tokens) - 1] = tokens[len(prompt) :]
        return Examples(inputs, labels)


@remembered
def arithmetic(labelled: int = 500, seed: int = 0, *, path: str | Path | None = None) -> Arithmetic:
    """Problems of 1 to 3 steps, `labelled` of them with worked steps and answer, drawn with `seed`.

    Args:
        labelled: how many there are to learn from; of the others (`unlabelled`) there are as many as you like.
        seed: which ones.
        path: problems of your own in place of the generated ones: JSONL as GSM8K's, an object a line, with
            ``question`` and ``answer`` (the steps, a line each, then a line ``#### 42``; null where unlabelled).
            One labelled row in ten is held out. There are then no `longer` and no `other`.

    Raises:
        BadValue: a number of problems that the file cannot give. BadFile: a file that is not as described.

    >>> task = arithmetic(labelled=100)
    >>> len(task.train), len(task.held_out)
    (100, 500)
    """
    folder = data_path(TEACHER)
    tokenizer = find_tokenizer(folder)
    if path is None:
        pool, held_out = None, generate(TESTS, seed=TEST_SEEDS["held_out"], held_out=True)
        longer = generate(TESTS, seed=TEST_SEEDS["longer"], steps=LONGER, held_out=True)
        other = generate(TESTS, seed=TEST_SEEDS["other"], templates="other", held_out=True)
    else:
        pool, held_out = _split(read_problems(path), Path(path))
        longer, other = [], []
    empty = Examples(torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1, dtype=torch.long))
    task = Arithmetic(empty, empty, empty, [], held_out, longer, other, tokenizer, folder, pool, 0, 0)
    return replace(task, test=task.examples(held_out)).relabelled(labelled, seed)


def generate(
    count: int,
    *,
    seed: int = 0,
    steps: tuple[int, int] = STEPS,
    largest: int = LARGEST,
    templates: str = "seen",
    held_out: bool = False,
) -> list[Problem]:
    """`count` different problems, a pure function of the arguments.

    Args:
        count: how many.
        seed: which ones.
        steps: the least and the most operations of a problem.
        largest: no number in a problem is larger.
        templates: "seen", sentences to learn; "other", sentences of the same words in another order.
        held_out: one calculation in ten is kept from training, by its hash; give those, or give the other nine.

    >>> one = generate(1, seed=1, steps=(2, 2), largest=20)[0]
    >>> one.question
    'Leo has 18 apples. Leo sells 1. Leo sells 11. How many apples now?'
    >>> one.steps, one.answer
    (('18-1=17', '17-11=6'), '6')
    """
    count = whole("count", count, 0, 10**7, "how many problems")
    seed = whole("seed", seed, 0, 2**63 - 1, "which problems")
    least, most = (whole("steps", number, 1, 64, "the least and the most steps of a problem") for number in steps)
    if most < least:
        raise BadValue(f"steps must be the least and the most of a problem, got {steps}")
    largest = whole("largest", largest, 4, 10**6, "the largest number in a problem")
    sentences = SENTENCES[choice("templates", templates, tuple(SENTENCES))]
    draw = random.Random(f"{seed} {least} {most} {largest} {templates} {held_out}")
    found: dict[str, Problem] = {}
    missed = 0
    while len(found) < count:
        problem = _problem(draw, draw.randint(least, most), largest, sentences)
        if problem.question not in found and is_held_out(problem.rationale) == held_out:
            found[problem.question], missed = problem, 0
        elif (missed := missed + 1) > PATIENCE:
            raise BadValue(
                f"there are hardly {count:,} different problems of {least} to {most} steps with numbers up to "
                f"{largest}: {len(found):,} were found. Ask for fewer, or for larger numbers"
            )
    return list(found.values())


def is_held_out(calculation: str) -> bool:
    """Whether these steps (or this question) are kept from training: one in ten, by their hash."""
    return int.from_bytes(hashlib.sha256(calculation.encode()).digest()[:8], "big") % 10 == 0


def _problem(draw: random.Random, length: int, largest: int, sentences: dict[str, tuple[str, ...]]) -> Problem:
    names = {"name": draw.choice(NAMES), "things": draw.choice(THINGS)}
    question, steps = tell(draw, length, largest, sentences, names)
    return Problem(question, tuple(steps), steps[-1].rpartition("=")[2])


def tell(
    draw: random.Random, length: int, largest: int, sentences: Mapping[str, Sequence[str]], names: Mapping[str, str]
) -> tuple[str, list[str]]:
    """A question of `length` operations on numbers up to `largest`, in these sentences and names, and its steps."""
    total = draw.randint(2, largest)
    text, steps = [draw.choice(sentences["start"]).format(n=total, **names)], []
    for _ in range(length):
        possible = [("+", largest - total)] * 2 + [("-", total - 1)] * 2 + [("*", min(3, largest // total))]
        sign, most = draw.choice([(sign, most) for sign, most in possible if most > (sign == "*")])
        number = draw.randint(1 + (sign == "*"), most)
        result = OPERATIONS[sign](total, number)
        text.append(draw.choice(sentences[sign]).format(n=number, **names))
        steps.append(f"{total}{sign}{number}={result}")
        total = result
    return " ".join([*text, draw.choice(sentences["end"]).format(**names)]), steps


OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def prompt_of(problem: Problem, form: str) -> str:
    """What a model reads, and writes on after."""
    return f"{PREFIXES.get(form, '')}{problem.question}\n"


def completion_of(problem: Problem, form: str) -> str:
    """What it ought to write, without the end.

    >>> completion_of(Problem("…", ("3+4=7", "7*2=14"), "14"), "rationale")
    '3+4=7\\n7*2=14\\n#### 14'
    """
    steps, answer = form in ("rationale", "explain"), form != "explain"
    for name, wanted in (("steps", steps), ("answer", answer)):
        if wanted and not getattr(problem, name):
            raise BadValue(f"the problem {shown(problem.question)} has no {name}, which the form {form!r} needs")
    return "\n".join([*problem.steps * steps, *[MARK + problem.answer] * answer])


def parse_solution(text: str) -> tuple[tuple[str, ...], str | None]:
    """The steps and the answer of what somebody wrote; no answer is None.

    >>> parse_solution("3+4=<<3+4=7>>7\\n7*200=1,400\\n#### 1,400")
    (('3+4=7', '7*200=1,400'), '1400')
    """
    before, mark, after = re.sub(r"<<[^<>\n]*>>", "", text).partition(MARK.strip())
    steps = tuple(line.strip() for line in before.split("\n") if line.strip())
    return steps, _plain_number(after) if mark and after.strip() else None


def check_steps(question: str, steps: Sequence[str]) -> list[CheckedStep]:
    """Each step with whether its equation holds, and whether its numbers are the question's or earlier results.

    A step without an equation is neither right nor known.

    >>> [step.is_right for step in check_steps("Tom has 3 pens and buys 4.", ["3+4=8", "8*2=16"])]
    [False, True]
    """
    known = {Fraction(number.replace(",", "")) for number in NUMBER.findall(question)}
    checked = []
    for step in steps:
        found = EQUATION.search(step)
        value = None if found is None else evaluate(found["left"])
        if found is None or value is None:
            checked.append(CheckedStep(step, False, False))
            continue
        claimed = Fraction(found["right"].replace(",", ""))
        numbers = {Fraction(number.replace(",", "")) for number in NUMBER.findall(found["left"])}
        checked.append(CheckedStep(step, value == claimed, numbers <= known))
        known.add(claimed)
    return checked


def corrupt(problem: Problem, *, step: int = 0, largest: int = LARGEST, seed: int = 0) -> Corrupted | None:
    """The steps up to `step`, its result wrong, and the answer that follows when the later steps go on from there.

    The wrong result is drawn among those that lead to no number below 1 or above `largest`: none of what follows is
    strange but for being untrue. None where no result does, or where the steps are no such chain.

    >>> wrong = corrupt(Problem("…", ("3+4=7", "7-2=5"), "5"), seed=1)
    >>> wrong.given, wrong.answer
    ('3+4=4\\n', '2')
    """
    chain = [re.fullmatch(r"(\d+)([+*-])(\d+)=(\d+)", one) for one in problem.steps]
    if step >= len(chain) - 1 or not all(chain):
        return None

    def totals(result: int) -> list[int]:
        """All results from the corrupted one on."""
        found = [result]
        for one in chain[step + 1 :]:
            assert one is not None
            found.append(OPERATIONS[one[2]](found[-1], int(one[3])))
        return found

    place = chain[step]
    assert place is not None
    others = [one for one in range(1, largest + 1) if one != int(place[4]) and min(totals(one)) >= 1]
    others = [one for one in others if max(totals(one)) <= largest and str(totals(one)[-1]) != problem.answer]
    if not others:
        return None
    wrong = random.Random(f"{seed} {problem.question}").choice(others)
    lines = [*problem.steps[:step], f"{place[1]}{place[2]}{place[3]}={wrong}"]
    return Corrupted(problem, "\n".join(lines) + "\n", str(totals(wrong)[-1]))


NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
EQUATION = re.compile(r"(?P<left>[$\d(][$\d,.()\s+*/×÷x−-]*?)\s*=\s*[$]?(?P<right>-?\d[\d,]*(?:\.\d+)?)")
SIGNS = str.maketrans({"×": "*", "x": "*", "÷": "/", "−": "-", "$": "", ",": ""})


def evaluate(expression: str) -> Fraction | None:
    """The exact value of numbers, ``+ - * /`` and brackets; None for anything else.

    >>> evaluate("(3 + 4) × 2.5"), evaluate("3 ** 4")
    (Fraction(35, 2), None)
    """
    if len(expression) > 200:
        return None
    expression = re.sub(r"\b0+(?=\d)", "", expression.translate(SIGNS))

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int() | float()):
                return Fraction(ast.get_source_segment(expression.strip(), node) or "")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in EXACT:
                return EXACT[type(sign)](value(left), value(right))
        raise BadValue(f"no arithmetic: {shown(expression)}")

    try:
        return value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


EXACT: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@torch.no_grad()
def write_after(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    end: int,
    length: int,
    temperature: float = 0.0,
    draw: torch.Generator | None = None,
) -> list[tuple[list[int], float]]:
    """What the model writes after each prompt, up to `end`, and its log-probability at temperature 1.

    All prompts go at once, whatever their lengths, without padding: where a prompt still goes on, its own token comes
    next, whatever the model would have written.
    """
    if not prompts:
        return []
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    first, last = int(lengths.min()), int(lengths.max()) + length
    tokens = torch.full((len(prompts), last), end)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    log_probs = torch.zeros(len(prompts), dtype=torch.float64)
    over = torch.zeros(len(prompts), dtype=torch.bool)
    cache = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"  # as it is called
    past, seen = None, 0
    with evaluating(model):
        for place in range(first, last):
            if hasattr(model, "generate"):  # Hugging Face's: it keeps what it has computed
                output = model(tokens[:, seen:place].to(device), use_cache=True, **{cache: past})
                past, seen, logits = output[cache], place, output.logits[:, -1]
            else:
                logits = logits_of(model(tokens[:, :place].to(device)))[:, -1]
            logits = logits.cpu()
            if temperature:
                chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=draw).squeeze(1)
            else:
                chosen = logits.argmax(-1)
            writes = (lengths <= place) & (place < lengths + length) & ~over
            tokens[writes, place] = chosen[writes]
            likely = logits.double().log_softmax(-1).gather(1, chosen[:, None]).squeeze(1)
            log_probs += likely.where(writes, 0)
            over |= writes & (chosen == end)
            if (over | (place >= lengths + length - 1)).all():
                break
    written = [row[len(prompt) :] for row, prompt in zip(tokens.tolist(), prompts, strict=True)]
    ended = [row[: row.index(end)] if end in row else row for row in written]
    return list(zip(ended, log_probs.tolist(), strict=True))


def read_problems(path: str | Path) -> list[Problem]:
    """The problems of a GSM8K-style JSONL: ``{"question": "…", "answer": "3+4=7\\n#### 7"}`` a line.

    Calculator marks (``<<3+4=7>>``) are taken out; a null or missing answer is an unlabelled problem.

    Raises:
        BadFile: with the line that is not so.
    """
    path = Path(path)
    try:
        lines = read(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadFile(f"{where} is not JSON: {shown(str(error), 120)}") from None
        if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
            raise BadFile(f"{where} must be an object with a question and an answer, got {shown(line)}")
        said = row.get("answer")
        if said is None:
            problems.append(Problem(row["question"].strip(), (), ""))
            continue
        steps, answer = parse_solution(said) if isinstance(said, str) else ((), None)
        if answer is None:
            raise BadFile(f"{where}: the answer must end in a line '#### 42', got {shown(said)}")
        problems.append(Problem(row["question"].strip(), steps, answer))
    if not problems:
        raise BadFile(f"{path} holds no problem: one JSON object a line, with question and answer")
    return problems


def _split(problems: list[Problem], path: Path) -> tuple[list[Problem], list[Problem]]:
    """Pool and held-out problems: one labelled question in ten, by its hash, and at least one."""
    different = list({one.question: one for one in problems}.values())
    known = [one for one in different if one.answer and one.steps]
    if len(known) < 2:
        raise BadFile(f"{path} needs at least two problems with steps and answer, got {len(known)}")
    held_out = [one for one in known if is_held_out(one.question)] or known[-1:]
    kept = {one.question for one in held_out}
    return [one for one in different if one.question not in kept], held_out


def _draw(pool: list[Problem] | None, labelled: int, seed: int) -> list[Problem]:
    seed = whole("seed", seed, 0, UNLABELLED_SEEDS - 1, "which problems are labelled")
    if pool is None:
        return generate(whole("labelled", labelled, 1, 10**6, "problems with worked steps"), seed=seed)
    known = [one for one in pool if one.answer and one.steps]
    labelled = whole("labelled", labelled, 1, len(known), "problems of the file with worked steps")
    return random.Random(f"labelled {seed}").sample(known, labelled)


def _plain_number(text: str) -> str:
    """An answer without what does not tell it from another: spaces, thousands' commas, a currency, a last full stop.

    >>> _plain_number(" $1,400.00\\n"), _plain_number("07")
    ('1400', '7')
    """
    text = text.strip().split("\n")[0].strip().replace(",", "").removeprefix("$").rstrip(".")
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        value = Fraction(text)
        return str(value.numerator if value.denominator == 1 else float(value))
    return text


def train_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer with a token for each digit, written to `folder` in Hugging Face's format."""
    texts = [
        prompt_of(one, form) + completion_of(one, form)
        for templates in SENTENCES
        for one in generate(2000, templates=templates)
        for form in (*FORMS, "explain")
    ]
    train_digit_tokenizer(texts, folder, VOCABULARY)
