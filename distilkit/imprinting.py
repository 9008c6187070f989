"""Knowledge imprinting: the teacher explains itself on unlabelled problems; what passes a filter is learnt from."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from distilkit.errors import BadFile, BadType, BadValue, real, shown, whole
from distilkit.models import data_path, read, write
from distilkit.tasks.arithmetic import Arithmetic, Problem, Solution
from distilkit.training import Knobs, Run, distill

STORED = "arithmetic/explanations.parquet"
LENGTH = 40  # tokens of an explanation: one of three steps has 22
STEPS = 300  # of a student
LR = 0.003
BATCH = 16  # examples a step


@dataclass(frozen=True)
class Explanation:
    """What the teacher wrote of one problem, and what may be known of it without the true answer.

    Attributes:
        problem: the problem. Its own answer, where there is one, is the truth: no filter looks at it.
        text: what the teacher wrote.
        steps, answer: as read from it; the answer is None where it gave none.
        confidence: mean log-probability a token of the text under the teacher, in nats, at most 0.
        votes: the share of the teacher's samples for this problem that have the same answer, 0 to 1.
        sound: whether each step is a right sum of numbers that were known by then, and the answer is the last result.
    """

    problem: Problem
    text: str
    steps: tuple[str, ...]
    answer: str | None
    confidence: float
    votes: float
    sound: bool

    @property
    def is_right(self) -> bool | None:
        """Whether the answer is the true one; None where nobody knows."""
        return self.answer == self.problem.answer if self.problem.answer else None

    @property
    def taught(self) -> Problem:
        """The problem as the teacher has it, with its steps and its answer: what a student learns from."""
        return replace(self.problem, steps=self.steps, answer=self.answer or "")


def explain(
    task: Arithmetic,
    teacher: nn.Module,
    problems: Sequence[Problem],
    *,
    samples: int = 4,
    sampling_temperature: float = 1.0,
    length: int = LENGTH,
    seed: int = 0,
) -> list[Explanation]:
    """Let the teacher explain each problem `samples` times; what it writes twice to one problem is listed once.

    Args:
        task: as `tasks.arithmetic()` gives it.
        teacher: writes steps, then the answer.
        problems: their questions alone are shown to the teacher.
        samples: explanations of a problem, among which the teacher can disagree with itself.
        sampling_temperature: 0 takes the likeliest token each time, and needs samples=1.
        length: the most tokens of an explanation; one that is cut before its answer has none.
        seed: of the sampling.

    Raises:
        BadValue: several samples at temperature 0, which would all be alike.

    Sources: Wang et al. 2022 (self-consistency), arXiv:2203.11171; Ho et al. 2022 (several rationales a problem),
    arXiv:2212.10071.
    """
    samples = whole("samples", samples, 1, 1024, "explanations of a problem")
    heat = real("sampling_temperature", sampling_temperature, 0, 100, "0 takes the likeliest token")
    seed = whole("seed", seed, 0, 2**31, "of the sampling")
    if heat == 0 and samples > 1:
        raise BadValue(f"at sampling_temperature 0 all {samples} samples would be alike: take samples=1")
    drawn = [
        task.solve(teacher, problems, sampling_temperature=heat, length=length, seed=seed * 1024 + draw)
        for draw in range(samples)
    ]
    found = []
    for problem, *solutions in zip(problems, *drawn, strict=True):
        votes = Counter(each.answer for each in solutions if each.answer is not None)
        for one in {each.text: each for each in solutions}.values():
            tokens = 1 + len(task.tokenizer(one.text, add_special_tokens=False)["input_ids"])  # and the end
            share, sound = votes[one.answer] / samples, is_sound(task, one)
            row = Explanation(problem, one.text, one.steps, one.answer, one.log_prob / tokens, share, sound)
            found.append(row)
    return found


def save(explanations: Sequence[Explanation], path: str | Path) -> None:
    """Write explanations to a Parquet file, a row each, for `load`."""
    import pandas as pd

    rows = [
        {"question": each.problem.question, "truth": each.problem.answer, **asdict(each), "answer": each.answer or ""}
        for each in explanations
    ]
    frame = pd.DataFrame(rows).drop(columns="problem")
    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    write(path, sink.getvalue())


def load(path: str | Path | None = None) -> list[Explanation]:
    """Explanations from a file that `save` wrote; default the stored ones, of the shipped teacher.

    Raises:
        BadFile: no such file.
    """
    import pandas as pd

    path = data_path(STORED) if path is None else Path(path)
    try:
        rows = pd.read_parquet(io.BytesIO(read(path))).to_dict("records")
        for row in rows:
            row["steps"], row["answer"] = tuple(row["steps"]), row["answer"] or None
            row["problem"] = Problem(row.pop("question"), (), row.pop("truth"))
        return [Explanation(**{str(name): value for name, value in row.items()}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:  # pyarrow's are ValueErrors
        raise BadFile(f"{path} does not hold explanations: {shown(str(error), 120)}") from None


def is_sound(task: Arithmetic, solution: Solution) -> bool:
    """Whether each step is a right sum of numbers known by then, and the answer is the last step's result.

    It says that the sums are right, not that they are the ones that the question asks for.
    """
    checks = task.check_steps(solution)
    results = [step.rpartition("=")[2].strip() for step in solution.steps[-1:]]
    return results == [solution.answer] and all(each.is_right and each.is_known for each in checks)


def keep(
    explanations: Iterable[Explanation],
    *,
    least_votes: float = 0.0,
    least_confidence: float = -math.inf,
    sound: bool = False,
    answers: Mapping[str, str] | None = None,
) -> list[Explanation]:
    """The explanations with ``votes ≥ least_votes`` and ``confidence ≥ least_confidence``; only whole ones.

    An explanation without steps or without an answer passes never.

    Args:
        explanations: of the teacher.
        least_votes: 0 to 1: the filter by self-consistency.
        least_confidence: in nats a token, at most 0.
        sound: whether each step must be a right sum, see `is_sound`.
        answers: known answers by question: an explanation that contradicts one is dropped (STaR's filter). Questions
            that are not in it are not checked.

    Source: Zelikman et al. 2022 (STaR), arXiv:2203.14465.
    """
    least_votes = real("least_votes", least_votes, 0, 1, "a share of the teacher's samples")
    least_confidence = real("least_confidence", least_confidence, -math.inf, 0, "nats a token; −inf keeps all")
    known = answers or {}
    return [
        each
        for each in explanations
        if each.steps
        and each.answer
        and each.votes >= least_votes
        and each.confidence >= least_confidence
        and (each.sound or not sound)
        and known.get(each.problem.question, each.answer) == each.answer
    ]


def judge(kept: Sequence[Explanation], explanations: Sequence[Explanation]) -> dict[str, float]:
    """Hold a filter against the truth: ``precision = right and kept / kept``, ``recall = right and kept / right``.

    Returns:
        kept: how many; precision, recall: in [0, 1], nan where nothing is kept, or nothing right.

    Raises:
        BadValue: an explanation of a problem whose true answer is not known. On real problems nobody has it.
    """
    for each in explanations:
        if each.is_right is None:
            raise BadValue(
                f"the true answer to {shown(each.problem.question)} is not known: a filter can be judged on problems "
                "with answers only, task.unlabelled(…, answers=True)"
            )
    right, among = (sum(bool(each.is_right) for each in some) for some in (kept, explanations))
    return {
        "kept": len(kept),
        "precision": right / len(kept) if kept else math.nan,
        "recall": right / among if among else math.nan,
    }


def imprint(
    task: Arithmetic,
    explanations: Sequence[Explanation] = (),
    *,
    steps: int = STEPS,
    lr: float = LR,
    seed: int = 0,
) -> Run:
    """The run of a fresh student on the task's labelled problems and these explanations, as text to write.

    Without explanations it is the twin's. Either makes as many steps, and each learns steps, then answer. The teacher
    is asked no more: this is sequence-level distillation, on what it wrote and what passed.

    Sources: Hsieh et al. 2023, arXiv:2305.02301; Ho et al. 2022, arXiv:2212.10071.
    """
    for each in explanations:
        if not isinstance(each, Explanation):
            raise BadType(f"imprint needs the teacher's explanations, got {shown(each)}")
    learnt = task.examples([*task.problems, *(each.taught for each in explanations)])
    knobs = Knobs(alpha=0, lr=lr)
    return distill(
        task.student(seed), None, learnt, knobs=knobs, steps=steps, batch_size=min(BATCH, len(learnt)), seed=seed
    )
