"""The rationale stepper: a solution step by step, each step checked; change one, and see whether it matters."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import traitlets
from torch import nn

from distilkit import plots
from distilkit.errors import BadType, BadValue, choice, shown, whole
from distilkit.models import predict
from distilkit.tasks.arithmetic import CheckedStep, Problem, Solution, prompt_of
from distilkit.widgets.base import Widget
from distilkit.widgets.lens import inert
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TYPED = 200  # characters of a question or a step of one's own
MOST = 24  # lines that are shown


def stepper(
    task: Any,
    model: nn.Module,
    problem: Problem | Sequence[Problem] | None = None,
    *,
    teacher: nn.Module | None = None,
) -> Stepper:
    """Show a model's solution step by step, with its checks and its confidence; edit a step, and the model goes on.

    A step is checked by itself: does its equation hold, and is each of its numbers the question's or an earlier result?
    After an edit: does the answer follow from the edited step, or was the step no reason for it?

    Args:
        task: as `tasks.arithmetic()` gives it.
        model: the student: it writes steps, then the answer.
        problem: one, or several to go through; default, the first ten of the held-out ones.
        teacher: another model, side by side.

    Source of the test: Lanham et al. 2023, arXiv:2307.13702.
    """
    problems = [problem] if isinstance(problem, Problem) else list(task.held_out[:10] if problem is None else problem)
    if not problems:
        raise BadValue("there is no problem to solve: task.held_out has some")
    for each in problems:
        if not isinstance(each, Problem):
            raise BadType(f"problem must be a Problem or several, got {shown(each)}: task.held_out[0]")
    models = {"student": model} | ({} if teacher is None else {"teacher": teacher})
    for role, each in models.items():
        if not isinstance(each, nn.Module):
            raise BadType(f"the {role} must be a torch.nn.Module, got {type(each).__name__}")
    return Stepper(task, problems, models)


@dataclass(frozen=True)
class Written:
    """A solution, its checks, and how sure the model was.

    Attributes:
        solution: what stands there now, with what was given to the model.
        checks: of each step.
        tokens: of each line (the steps, then the answer's): (text, the probability that the model gave it).
        edited: the step that the reader changed, if one, and the steps and the answer there were before.
        follows: whether the answer follows from the edited step: each later step is right, the first of them takes the
            edited result, and the answer is the last result. None where nothing was edited.
    """

    solution: Solution
    checks: list[CheckedStep]
    tokens: list[list[tuple[str, float]]]
    edited: int | None = None
    before: Solution | None = None

    @property
    def follows(self) -> bool | None:
        if self.edited is None:
            return None
        later = self.checks[self.edited + 1 :]
        edited, last = (each.text.rpartition("=")[2].strip() for each in (self.checks[self.edited], self.checks[-1]))
        taken = not later or edited in _numbers(later[0].text.rpartition("=")[0])
        return taken and all(each.is_right for each in later) and self.solution.answer == last

    @property
    def verdict(self) -> str:
        """The same in words."""
        if self.edited is None or self.before is None:
            return ""
        answer = self.solution.answer
        if self.follows:
            return say("The answer {answer} follows from your step: here the steps are the reason.", answer=answer)
        if answer is not None and answer == self.before.answer:
            return say(
                "The answer is still {answer}, whatever your step says: here the steps are not the reason.",
                answer=answer,
            )
        return say(
            "The answer went from {before} to {after}, but it does not follow from your step.",
            before=self.before.answer,
            after=answer,
        )


class Stepper(Widget):
    """The view that `stepper` returns; `written` has what each model wrote: {"student": `Written`, …}."""

    files = "stepper"
    about = traitlets.Dict().tag(sync=True)
    page = traitlets.Dict().tag(sync=True)  # the problem, and what the models wrote

    def __init__(self, task: Any, problems: list[Problem], models: dict[str, nn.Module]) -> None:
        self._task, self._problems, self._models = task, problems, models
        self._guard = threading.RLock()  # one question at a time
        self._serial, self._at = 0, 0
        self.problem = problems[0]
        self.written: dict[str, Written] = {}
        super().__init__(about={"roles": list(models), "count": len(problems), "typed": TYPED})
        self.look(0)

    def look(self, at: int) -> None:
        """Solve problem number `at`, from 0."""
        at = whole("at", at, 0, len(self._problems) - 1, "which problem")
        with self._guard:
            self._at = at
            self._solve(self._problems[at])

    def ask(self, question: str) -> None:
        """Solve a problem of the reader's own, whose answer is not known."""
        if not isinstance(question, str) or not question.strip():
            raise BadValue(f"a question is a text, got {shown(question)}")
        with self._guard:
            self._solve(Problem(" ".join(question.split())[:TYPED], (), ""))

    def edit(self, role: str, step: int, text: str) -> Written:
        """Put `text` in place of a step of the student's or the teacher's, and let that model go on from there.

        Args:
            role: "student" or "teacher".
            step: which one, from 0.
            text: a line, such as ``3+4=8``.
        """
        role = choice("role", role, self._models)
        with self._guard:
            was = self.written[role]
            step = whole("step", step, 0, max(0, len(was.solution.steps) - 1), "which step")
            if not isinstance(text, str) or not text.strip() or not was.solution.steps:
                raise BadValue(f"a step is a line such as '3+4=8', got {shown(text)}")
            line = " ".join(text.split())[:TYPED]
            given = "\n".join([*was.solution.steps[:step], line]) + "\n"
            model, before = self._models[role], was.before or was.solution
            solution = self._task.solve(model, [self.problem], given=[given])[0]
            self.written[role] = self._judged(model, solution, step, before)
            self._show()
            return self.written[role]

    def undo(self, role: str) -> None:
        """What the model wrote by itself."""
        role = choice("role", role, self._models)
        with self._guard:
            before = self.written[role].before
            if before is not None:
                self.written[role] = self._judged(self._models[role], before)
                self._show()

    def figure(self) -> Figure:
        """The problem and the steps, as a picture."""
        sides = {
            role: [(each.text, each.is_right and each.is_known) for each in one.checks]
            + [(say("answer {answer}", answer=one.solution.answer), self._is_right(one))]
            for role, one in self.written.items()
        }
        return plots.rationale(self.problem.question, sides)

    def line(self) -> str:
        """The problem, and what each answers."""
        said = [
            f"{say(role)}: {'; '.join([*one.solution.steps, say('answer {answer}', answer=one.solution.answer)])}"
            for role, one in self.written.items()
        ]
        return f"{self.problem.question} {' | '.join(said)}"

    def _solve(self, problem: Problem) -> None:
        self.problem = problem
        for role, model in self._models.items():
            self.written[role] = self._judged(model, self._task.solve(model, [problem])[0])
        self._show()

    def _judged(
        self, model: nn.Module, solution: Solution, edited: int | None = None, before: Solution | None = None
    ) -> Written:
        return Written(solution, self._task.check_steps(solution), self._tokens(model, solution), edited, before)

    def _tokens(self, model: nn.Module, solution: Solution) -> list[list[tuple[str, float]]]:
        """The tokens of each line that is not empty, with the model's probability of each, given all before it."""
        tokenizer = self._task.tokenizer
        prompt, said = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt_of(solution.problem, "rationale"), solution.text)
        )
        if not said:
            return []
        logits = predict(model, torch.tensor([[*prompt, *said]]))[0, len(prompt) - 1 : -1]
        sure = logits.double().softmax(-1)[torch.arange(len(said)), torch.tensor(said)].tolist()
        lines: list[list[tuple[str, float]]] = [[]]
        for token, share in zip(said, sure, strict=True):
            text = str(tokenizer.decode([token]))
            begins, *others = text.split("\n")
            if begins:
                lines[-1].append((inert(begins), share))
            lines += [[(inert(other), share)] if other else [] for other in others]
        return [line for line in lines if line]

    def _is_right(self, one: Written) -> bool | None:
        return one.solution.answer == self.problem.answer if self.problem.answer else None

    def _show(self) -> None:
        self._serial += 1
        self.page = {
            "serial": self._serial,
            "at": self._at,
            "question": inert(self.problem.question, 2 * TYPED),
            "answer": inert(self.problem.answer),
            "columns": {
                role: {
                    "steps": [
                        {"text": inert(check.text), "right": check.is_right, "known": check.is_known}
                        for check in one.checks[:MOST]
                    ],
                    "tokens": [[[text, round(share, 4)] for text, share in line] for line in one.tokens[:MOST]],
                    "answer": None if one.solution.answer is None else inert(one.solution.answer),
                    "edited": one.edited,
                    "follows": one.follows,
                    "verdict": inert(one.verdict, TYPED),
                }
                for role, one in self.written.items()
            },
        }

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        answers = {
            "look": lambda: self.look(content.get("at", -1)),
            "ask": lambda: self.ask(content.get("text", "")),
            "edit": lambda: self.edit(content.get("role", ""), content.get("step", -1), content.get("text", "")),
            "undo": lambda: self.undo(content.get("role", "")),
        }
        if (kind := content.get("kind")) in answers:
            answers[kind]()


def _numbers(text: str) -> list[str]:
    """The whole numbers in a text, as they are written."""
    return "".join(letter if letter.isdigit() else " " for letter in text).split()
