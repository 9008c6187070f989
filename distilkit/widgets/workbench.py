"""The imprinting workbench: the teacher's explanations, a filter that acts at once, and a student on what passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from distilkit import imprinting, plots
from distilkit.errors import BadType, BadValue, real, shown, whole
from distilkit.imprinting import Explanation
from distilkit.tasks.arithmetic import Solution
from distilkit.widgets.lens import inert
from distilkit.widgets.trainer import Stopped, Trainer
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST = 120  # explanations on the page: more than anybody reads
STEPS = 12  # lines of an explanation that are shown


def workbench(
    explanations: Sequence[Explanation],
    task: Any,
    *,
    steps: int = imprinting.STEPS,
    lr: float = imprinting.LR,
) -> Workbench:
    """See, accept and reject the teacher's explanations; move the filter and watch what it lets through; train on it.

    Args:
        explanations: as `imprinting.explain` gives them; the first 120 are on the page, the filter is for all.
        task: what they were made with: "train on what passes" trains its student, and a twin on its labelled problems.
        steps, lr: of that student and of the twin.

    Raises:
        BadType, BadValue: something else than explanations, or none.
    """
    explanations = list(explanations)
    if not explanations:
        raise BadValue("there are no explanations: dk.imprinting.explain(task, teacher, problems) makes some")
    for each in explanations:
        if not isinstance(each, Explanation):
            raise BadType(f"workbench needs the teacher's explanations, got {shown(each)}")
    steps = whole("steps", steps, 1, 10**7, "updates of the student")
    return Workbench(explanations, task, steps, real("lr", lr, 0, 1e6, "the learning rate", above=True))


class Workbench(Trainer):
    """The view that `workbench` returns.

    Attributes:
        filter: {"votes", "confidence", "sound"}: the least that is asked.
        hand: the reader's own verdicts, {row: kept}; they go before the filter.
        selected: the row that is read.
        fresh: the students trained here: kept, precision, accuracy, seed.
        twin: the student on the labelled problems alone, once it is trained: accuracy, labelled.
    """

    _said = (Stopped, BadValue)  # that nothing passes is no fault
    files = "workbench"
    about = traitlets.Dict().tag(sync=True)  # the explanations, sent once
    filter = traitlets.Dict().tag(sync=True)
    hand = traitlets.Dict().tag(sync=True)  # keys are text on their way
    selected = traitlets.Int(0).tag(sync=True)
    twin = traitlets.Dict().tag(sync=True)

    def __init__(self, explanations: list[Explanation], task: Any, steps: int, lr: float) -> None:
        self.explanations, self._task, self._steps, self._lr = explanations, task, steps, lr
        self._least = math.floor(100 * min(each.confidence for each in explanations)) / 100
        self._known = all(each.is_right is not None for each in explanations)
        super().__init__(
            about={
                **_about(explanations[:MOST], task),
                "range": [self._least, 0.0],
                "known": self._known,
                "more": max(0, len(explanations) - MOST),
            },
            filter={"votes": 0.0, "confidence": self._least, "sound": False},
        )

    @property
    def accepted(self) -> list[Explanation]:
        """What the filter lets through and the reader accepted, less what the reader rejected."""
        passing = imprinting.keep(
            self.explanations,
            least_votes=float(self.filter.get("votes", 0)),
            least_confidence=float(self.filter.get("confidence", -math.inf)),
            sound=bool(self.filter.get("sound")),
        )
        passing_ids = {id(each) for each in passing}
        hand = {int(row): bool(kept) for row, kept in self.hand.items()}
        whole_ones = {id(each) for each in imprinting.keep(self.explanations)}  # with steps and an answer
        return [
            each
            for row, each in enumerate(self.explanations)
            if id(each) in whole_ones and hand.get(row, id(each) in passing_ids)
        ]

    def run(self) -> dict[str, Any]:
        """Train a student on what is accepted, and the twin where it is not trained yet; add it to `fresh`.

        Raises:
            BadValue: nothing is accepted. Stopped: by the button of the page.
        """
        return self._alone(self._run)

    def figure(self) -> Figure:
        """The confidence of right and wrong explanations, and what passes."""
        kept = {id(each) for each in self.accepted}
        return plots.explanations(
            [each.confidence for each in self.explanations],
            [each.is_right for each in self.explanations],
            [id(each) in kept for each in self.explanations],
            threshold=float(self.filter.get("confidence", self._least)),
        )

    def line(self) -> str:
        """How many pass, and how right they are."""
        accepted = self.accepted
        kept = say("{count} of {all} explanations pass", count=len(accepted), all=len(self.explanations))
        if not self._known or not accepted:
            return f"{kept}."
        found = imprinting.judge(accepted, self.explanations)
        return kept + say(
            "; {precision:.0%} of them are right, and {recall:.0%} of the right ones pass.",
            precision=found["precision"],
            recall=found["recall"],
        )

    def _run(self) -> dict[str, Any]:
        accepted = self.accepted
        if not accepted:
            raise BadValue(say("nothing passes: lower the filter, or accept some explanations by hand"))
        if not self.twin:
            run = imprinting.imprint(self._task, steps=self._steps, lr=self._lr)
            twin = self._trained(run, say("first the twin, on the labelled problems alone"))
            self.twin = {"accuracy": self._task.score(twin)["accuracy"], "labelled": self._task.labelled}
        seed = len(self.fresh)
        run = imprinting.imprint(self._task, accepted, steps=self._steps, lr=self._lr, seed=seed)
        student = self._trained(run, say("the student learns from what passes"))
        self.state = {"doing": say("the student is judged")}
        row = {"kept": len(accepted), "seed": seed, "accuracy": self._task.score(student)["accuracy"]}
        if self._known:
            row["precision"] = imprinting.judge(accepted, self.explanations)["precision"]
        self.fresh = [*self.fresh, row]
        return row

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        if content.get("run"):
            self._begin(self._run, doing=say("begins"))


def _about(explanations: list[Explanation], task: Any) -> dict[str, Any]:
    """The explanations as the page is told of them: problems once, and each explanation's steps with their checks."""
    places: dict[str, int] = {}
    problems: list[dict[str, Any]] = []
    rows = []
    for each in explanations:
        question = each.problem.question
        if question not in places:
            places[question] = len(problems)
            problems.append({"question": inert(question, 400), "answer": inert(each.problem.answer), "votes": {}})
        place = places[question]
        answer = None if each.answer is None else inert(each.answer)
        problems[place]["votes"]["none" if answer is None else answer] = round(each.votes, 4)
        checks = task.check_steps(Solution(each.problem, each.text, each.steps, each.answer, 0.0))
        rows.append(
            {
                "problem": place,
                "steps": [[inert(check.text), check.is_right, check.is_known] for check in checks[:STEPS]],
                "text": "" if each.steps else inert(each.text, 200),
                "answer": answer,
                "whole": bool(imprinting.keep([each])),
                "votes": round(each.votes, 4),
                "confidence": round(each.confidence, 4),
                "sound": each.sound,
            }
        )
    shares = {each.votes for each in explanations}  # 3/4 and 1/2 are of four samples
    fits = (n for n in range(1, 101) if all(abs(n * share - round(n * share)) < 1e-6 for share in shares))
    samples = next(fits, 100)
    return {"rows": rows, "problems": problems, "samples": samples}
