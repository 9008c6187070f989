"""The setting of a distillation, whole: what a short code says, what it starts, and the script that starts the same.

The code is a row of ``key=value``, joined by ``&``; a key left out has its task's own default:

    T=4&a=.9&lr=.01&n=100&seed=0&steps=600
    task=docs&text=teacher&div=reverse_kl&T=1&a=1&n=20000&hide=noise,file&lock=task,T

===================  =============================================================================================
``task``             digits; docs, support, arithmetic, translation (texts, for a language model)
``teacher``          shipped; of digits also hasty (16 units, 60 steps on every label) and peer (the student's labels)
``size``             the student's width: hidden units of digits, a multiple of 32 of a language model of two layers
``text``             whose text is learnt from: corpus, teacher, student
``div``              the divergence, as it is called in this package: forward_kl, reverse_kl, jsd …
``T`` ``a`` ``lr``   temperature, alpha, learning rate: where the knobs stand at step 0
``noise``            the share of labels that are wrong
``n``                how many labels, of a text how many tokens
``seed`` ``steps``   the draw of all that is drawn; updates of the student
``hide``             controls that the playground leaves out: a list, joined by commas, of the keys above and of the
                     parts presets, runs, pace, scrub, look, table, code, python, file
``lock``             controls that it shows fixed, with a note: a list of the keys above from task to steps
===================  =============================================================================================

The codes of `watch` are such codes. A hidden or locked control keeps the value that the code gives it, and the
playground refuses another from its page; whoever opens a new one, with a code that has no hide and no lock, is free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from distilkit.errors import BadType, BadValue, choice, meant, real, shown, whole

if TYPE_CHECKING:
    from torch import nn

    from distilkit.training import Run

KEYS = {
    "task": "task",
    "teacher": "teacher",
    "size": "size",
    "text": "text",
    "div": "divergence",
    "T": "temperature",
    "a": "alpha",
    "lr": "lr",
    "noise": "noise",
    "n": "labelled",
    "seed": "seed",
    "steps": "steps",
}
ALWAYS = ("T", "a", "lr", "n", "seed", "steps")  # stand in every code, as in one of `watch`
KNOBS = ("temperature", "alpha", "lr")
PARTS = ("presets", "runs", "pace", "scrub", "look", "table", "code", "python", "file")
TASKS = ("digits", "docs", "support", "arithmetic", "translation")
TEACHERS = ("shipped", "hasty", "peer")
TEXTS = ("corpus", "teacher", "student")
DIVERGENCES = (
    "forward_kl",
    "reverse_kl",
    "jsd",
    "skew_forward_kl",
    "skew_reverse_kl",
    "adaptive_kl",
    "adaptive_skew_kl",
    "weighted",
    "total_variation",
    "soft_cross_entropy",
    "decoupled_kl",
)
DIGITS = {"size": 32, "temperature": 4.0, "alpha": 0.9, "lr": 0.01, "labelled": 100, "steps": 600}
WORDS = {"size": 64, "temperature": 1.0, "alpha": 1.0, "lr": 0.003, "labelled": 20_000, "steps": 300}
MOST = {"digits": 1297, "docs": 600_000, "support": 200_000, "arithmetic": 200_000, "translation": 200_000}
BLOCK = 128  # tokens of a text, at least
WRITTEN = 64  # tokens of a text that a model writes: what it begins with, and what it writes after that
PROMPTS = 256  # beginnings that the student goes on from
LONGEST = 2000  # letters of a code
_OWN: Any = None  # the task's own default


class Started(NamedTuple):
    """What a setting starts: nothing of it has run yet."""

    task: Any
    teacher: nn.Module
    run: Run
    twin: Run


@dataclass(frozen=True)
class Setting:
    """All that decides a distillation, in one value; what is left out is the task's own default.

    Raises:
        BadType, BadValue: a value that the kit does not have, or two that do not go together, with the reason.

    >>> Setting.of("T=8&noise=.3").code()
    'T=8&a=.9&lr=.01&n=100&seed=0&steps=600&noise=.3'
    >>> Setting(task="docs", text="student").labelled
    20000
    >>> Setting(text="student")
    Traceback (most recent call last):
    distilkit.errors.BadValue: text=student does not go with task=digits: pictures have no text to go on from
    """

    task: str = "digits"
    teacher: str = "shipped"
    size: int = _OWN
    text: str = "corpus"
    divergence: str = "forward_kl"
    temperature: float = _OWN
    alpha: float = _OWN
    lr: float = _OWN
    noise: float = 0.0
    labelled: int = _OWN
    seed: int = 0
    steps: int = _OWN
    hide: tuple[str, ...] = ()
    lock: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choice("task", self.task, TASKS)
        for name, own in (DIGITS if self.task == "digits" else WORDS).items():
            if getattr(self, name) is None:
                self._put(name, own)
        choice("teacher", self.teacher, TEACHERS)
        choice("text", self.text, TEXTS)
        choice("div", self.divergence, DIVERGENCES)
        self._put("temperature", real("T", self.temperature, 0, 1e6, "the temperature, 1 softens nothing", above=True))
        self._put("alpha", real("a", self.alpha, 0, 1, "alpha: 0 is labels only, 1 the teacher only"))
        self._put("lr", real("lr", self.lr, 0, 1e6, "the learning rate", above=True))
        self._put("noise", real("noise", self.noise, 0, 1, "the share of labels that are wrong"))
        self._put("seed", whole("seed", self.seed, 0, 2**32 - 1, "the same seed gives the same run"))
        self._put("steps", whole("steps", self.steps, 1, 20_000, "updates of the student"))
        least, what = (
            (10, "labels, one a digit at least; a text says task=docs")
            if self.task == "digits"
            else (BLOCK, "tokens of text")
        )
        self._put("labelled", whole("n", self.labelled, least, MOST[self.task], what))
        most = 1024 if self.task == "digits" else 256
        self._put("size", whole("size", self.size, 1 if self.task == "digits" else 32, most, "the student's width"))
        for key in KEYS:
            if reason := self._clash(key):
                found = getattr(self, KEYS[key])
                raise BadValue(f"{key}={_number(found)} does not go with {reason}")
        self._put("hide", _names("hide", self.hide, (*KEYS, *PARTS)))
        self._put("lock", _names("lock", self.lock, KEYS))

    def _put(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _clash(self, key: str) -> str:
        """What the value of this key does not go with, and why; nothing where it does."""
        digits = self.task == "digits"
        if key == "text" and digits and self.text != "corpus":
            return "task=digits: pictures have no text to go on from"
        if key == "teacher" and not digits and self.teacher != "shipped":
            return f"task={self.task}: to train a language model as teacher takes minutes, and one is shipped"
        if key == "noise" and not digits and self.noise:
            return f"task={self.task}: the labels of a text are its own next words"
        if key == "size" and not digits and self.size % 32:
            return f"task={self.task}: a width there is a multiple of 32, which is the width of a head"
        if key == "div" and self.divergence == "decoupled_kl" and self.text == "student":
            return "text=student: decoupled KL is split at the label, and what the student writes has none"
        return ""

    @classmethod
    def of(cls, code: str) -> Setting:
        """The setting that a short code stands for; an empty one is the default.

        Raises:
            BadType, BadValue: what is wrong with it, by its value.

        >>> Setting.of("task=docs&lock=T").temperature
        1.0
        >>> Setting.of("T=warm")
        Traceback (most recent call last):
        distilkit.errors.BadValue: T in the code must be a number, got 'warm' (for example T=4&a=.9)
        """
        if not isinstance(code, str):
            raise BadType(f"a code is text, such as 'T=4&a=.9', got {shown(code)}")
        if len(code) > LONGEST:
            raise BadValue(f"the code has {len(code)} letters, at most {LONGEST} are read: {shown(code, 40)}")
        found: dict[str, Any] = {}
        for part in code.strip().split("&") if code.strip() else ():
            key, _, text = (each.strip() for each in part.partition("="))
            allowed = (*KEYS, "hide", "lock")
            if key not in allowed:
                raise BadValue(f"the code has {shown(key, 20)}, allowed are {', '.join(allowed)}.{meant(key, allowed)}")
            name = KEYS.get(key, key)
            if name in found:
                raise BadValue(f"the code has {key} twice: {shown(part, 40)}")
            found[name] = read_value(key, text)
        return cls(**found)

    def code(self, *, bare: bool = False) -> str:
        """The short code of this setting; `bare` leaves out what the view hides and locks.

        >>> Setting(task="docs", lock=("task", "T")).code()
        'task=docs&T=1&a=1&lr=.003&n=20000&seed=0&steps=300&lock=task,T'
        """
        own = Setting(task=self.task)
        parts = []
        for key in ("task", *ALWAYS, *(key for key in KEYS if key not in ALWAYS and key != "task")):
            value = getattr(self, KEYS[key])
            if key in ALWAYS or value != getattr(own if key != "task" else DEFAULT, KEYS[key]):
                parts.append(f"{key}={_number(value)}")
        if not bare:
            parts += [f"{name}={','.join(getattr(self, name))}" for name in ("hide", "lock") if getattr(self, name)]
        return "&".join(parts)

    def on(self, task: str) -> Setting:
        """This setting's seed, hide and lock on another task, with that task's own defaults."""
        return Setting(task=choice("task", task, TASKS), seed=self.seed, hide=self.hide, lock=self.lock)

    def options(self, key: str, values: Iterable[Any]) -> dict[Any, str]:
        """Each of these values of a key, and what it would not go with here; nothing where it is fit.

        >>> Setting().options("text", TEXTS)["student"]
        'task=digits: pictures have no text to go on from'
        """
        found = {}
        for value in values:
            other = self.with_any(key, value)
            found[value] = next((reason for each in KEYS if (reason := other._clash(each))), "")
        return found

    def with_any(self, key: str, value: Any) -> Setting:
        """This setting with another value of a key, unchecked: to be shown, not to be started."""
        other = object.__new__(Setting)
        for field in fields(self):
            other._put(field.name, value if field.name == KEYS[key] else getattr(self, field.name))
        return other

    def start(self) -> Started:
        """Task, teacher, and the two runs: the student's and its twin's, with one torch thread as after `setup`."""
        import torch

        from distilkit import divergences
        from distilkit.training import Knobs, distill
        from distilkit.transfer import student_text, teacher_text

        torch.set_num_threads(1)
        task, seed = self._task(), self.seed
        teacher, student, transfer = self._teacher(task), self._student(task), task.transfer
        if self.text == "teacher":
            transfer = teacher_text(teacher, task.prompts(self._texts), seed=seed)
        if self.text == "student":
            transfer = student_text(student, task.prompts(PROMPTS), on_policy_fraction=0.5, corpus=task.train)
        run = distill(
            student,
            teacher,
            transfer,
            knobs=Knobs(self.temperature, self.alpha, self.lr),
            divergence=getattr(divergences, self.divergence),
            steps=self.steps,
            seed=seed,
        )
        return Started(task, teacher, run, self.twin(task))

    def twin(self, task: Any) -> Run:
        """The same student's run on the labels alone, in this setting's task."""
        from distilkit.training import Knobs, distill

        knobs = Knobs(alpha=0, lr=self.lr)
        return distill(self._student(task), None, task.train, knobs=knobs, steps=self.steps, seed=self.seed)

    def runs(self) -> tuple[Run, Run]:
        """The student's run and its twin's."""
        return self.start()[2:]

    def python(self, turns: Iterable[tuple[int, str, float]] = ()) -> str:
        """A script that makes the same run again, bit for bit.

        Args:
            turns: (steps made before it, the knob, its new value) of each turn of a knob.

        >>> print(Setting(steps=9).python([(4, "alpha", 0.5)]).splitlines()[6])
        knobs = dk.Knobs(temperature=4.0, alpha=lambda step: [0.9, 0.5][sum(step >= at for at in [4])], lr=0.01)
        """
        turned = [(whole("turn", step, 0, 20_000, "steps made"), choice("knob", name, KNOBS), value)
                  for step, name, value in turns]  # fmt: skip
        knobs = {name: _schedule(getattr(self, name), [t for t in turned if t[1] == name]) for name in KNOBS}
        student = f"task.student(seed={self.seed}, {self._width}={self.size})"
        how = f"steps={self.steps}, seed={self.seed}"
        measure = "" if self.divergence == "forward_kl" else f"divergence=dk.{self.divergence}, "
        lines = ["import distilkit as dk", "", f"dk.setup(seed={self.seed})", *self._made, f"student = {student}"]
        transfer = {"corpus": "task.transfer"}.get(self.text, "text")
        if self.text == "teacher":
            lines += [f"text = dk.teacher_text(teacher, task.prompts({self._texts}), seed={self.seed})"]
        if self.text == "student":
            half = "on_policy_fraction=0.5, corpus=task.train"
            lines += [f"text = dk.student_text(student, task.prompts({PROMPTS}), {half})"]
        lines += [
            f"knobs = dk.Knobs({', '.join(f'{name}={value}' for name, value in knobs.items())})",
            f"run = dk.distill(student, teacher, {transfer}, knobs=knobs, {measure}{how})",
            f"alone = dk.Knobs(alpha=0, lr={knobs['lr']})",
            f"twin = dk.distill({student}, None, task.train, knobs=alone, {how})",
            "print(dk.compare(task, teacher=teacher, distilled=run.result(), twin=twin.result()))",
        ]
        return "\n".join(lines) + "\n"

    @property
    def _width(self) -> str:
        return "hidden" if self.task == "digits" else "width"

    @property
    def _texts(self) -> int:
        """How many texts the teacher writes: about as many tokens as the corpus has."""
        return max(8, self.labelled // WRITTEN)

    def _task(self) -> Any:
        from distilkit import tasks

        if self.task == "digits":
            task = tasks.digits(labelled=self.labelled, seed=self.seed)
            return task.with_noise(self.noise) if self.noise else task
        if self.task == "docs":
            return tasks.docs(tokens=self.labelled, seed=self.seed)
        return tasks.domains(tokens=self.labelled, seed=self.seed)[self.task]

    def _student(self, task: Any) -> nn.Module:
        return task.student(self.seed, **{self._width: self.size})

    def _teacher(self, task: Any) -> nn.Module:
        from distilkit.training import Knobs, distill

        if self.teacher == "shipped":
            return task.teacher()
        hasty = self.teacher == "hasty"
        learner, text = task.student(1, hidden=16 if hasty else 64), task.pool if hasty else task.train
        return distill(learner, None, text, knobs=Knobs(alpha=0), steps=60 if hasty else 300).result()

    @property
    def _made(self) -> list[str]:
        """The lines of a script that make the task and the teacher."""
        if self.task == "digits":
            noise = f".with_noise({self.noise})" if self.noise else ""
            task = f"dk.tasks.digits(labelled={self.labelled}, seed={self.seed}){noise}"
        elif self.task == "docs":
            task = f"dk.tasks.docs(tokens={self.labelled}, seed={self.seed})"
        else:
            task = f'dk.tasks.domains(tokens={self.labelled}, seed={self.seed})["{self.task}"]'
        alone = "knobs=dk.Knobs(alpha=0)"
        teacher = {
            "shipped": "task.teacher()",
            "hasty": f"dk.distill(task.student(1, hidden=16), None, task.pool, {alone}, steps=60).result()",
            "peer": f"dk.distill(task.student(1, hidden=64), None, task.train, {alone}, steps=300).result()",
        }[self.teacher]
        return [f"task = {task}", f"teacher = {teacher}"]


def turns_of(setting: Setting, history: Iterable[Any], knobs: Mapping[str, float] | None = None) -> list[Any]:
    """The turns of knobs in the `Step`s of a run that began with this setting: what `Setting.python` takes.

    `knobs` is where they stand now, if a next step is to follow.

    >>> turns_of(Setting(), [], {"temperature": 4.0, "alpha": 0.5, "lr": 0.01})
    [(0, 'alpha', 0.5)]
    """
    held: dict[str, float] = {name: getattr(setting, name) for name in KNOBS}
    found, made = [], 0
    for step in history:
        for name in KNOBS:
            if (value := getattr(step, name)) != held[name]:
                held[name] = value
                found.append((made, name, value))
        made += 1
    for name, value in (knobs or {}).items():
        if value != held[name]:
            found.append((made, name, value))
    return found


def _schedule(first: float, turns: list[tuple[int, str, float]]) -> str:
    """A knob as the script gives it: a number, or a function of the step."""
    if turns and turns[0][0] == 0:  # before the first step
        first, turns = turns[0][2], turns[1:]
    if not turns:
        return repr(first)
    values, at = [first, *(value for _, _, value in turns)], [step for step, _, _ in turns]
    return f"lambda step: {values}[sum(step >= at for at in {at})]"


def read_value(key: str, text: str) -> Any:
    """The value of a key as the code writes it."""
    if key in ("hide", "lock"):
        return tuple(name.strip() for name in text.split(",") if name.strip())
    if key in ("task", "teacher", "text", "div"):
        return text
    kind = float if key in ("T", "a", "lr", "noise") else int
    try:
        if not re.fullmatch(r"[-+.0-9eE]{1,40}", text, re.ASCII):
            raise ValueError
        return kind(text)
    except ValueError:
        a = "a whole number" if kind is int and text else "a number"
        raise BadValue(f"{key} in the code must be {a}, got {shown(text, 20)} (for example T=4&a=.9)") from None


def _number(value: Any) -> str:
    """As short as it is exact: 4, .9, 1e-05."""
    if not isinstance(value, float):
        return str(value)
    text = repr(value).removesuffix(".0")
    return text.removeprefix("0") if text.startswith("0.") else text


def _names(name: str, value: object, allowed: Iterable[str]) -> tuple[str, ...]:
    allowed = list(allowed)
    if isinstance(value, str) or not isinstance(value, (tuple, list)):
        raise BadType(f"{name} must be a list of controls, got {shown(value)}; there are {', '.join(allowed)}")
    return tuple(dict.fromkeys(choice(name, each, allowed) for each in value))


DEFAULT = Setting()
