"""The script of a run makes the same curve, or names its gap: of every chapter's `watch`, and of every kind of run.

A chapter's statements are taken from its notebook: those that what is watched depends on, with few steps.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit.origin import Writer, known
from distilkit.script import script, setting_of
from distilkit.setting import Setting
from distilkit.training import Run

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
STEPS = 5
SLOW = {"06", "09", "14", "17"}  # chapters that train a model, or hear a teacher out, before the run
# A student that was warmed up before; explanations that passed a filter; what the teacher said, as pairs.
GAPS = {"06": ["student", "twin_student"], "07": ["transfer"], "14": ["transfer"]}
TASK = dk.tasks.digits()
TEACHER = TASK.teacher()


# ── every chapter ────────────────────────────────────────────────────────────────────────────────────────────────────


def watched() -> dict[str, list[ast.stmt]]:
    """Of each chapter that watches a run, its statements up to there, `steps` among them set to a few."""
    found = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        statements: list[ast.stmt] = []
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                statements += ast.parse("".join(cell["source"])).body
                if "parameters" in cell["metadata"].get("tags", []):
                    statements += ast.parse(f"steps = {STEPS}").body
                if any(watches(each) for each in statements):
                    found[path.stem[:2]] = statements
                    break
    return found


def watches(statement: ast.stmt) -> bool:
    return any(ast.unparse(node.func) == "dk.watch" for node in ast.walk(statement) if isinstance(node, ast.Call))


def needed(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Those that the last `dk.watch` depends on: by the names that it uses, and that those use."""
    wanted: set[str] = set()
    kept: list[ast.stmt] = []
    for statement in reversed(statements):
        nodes = [*ast.walk(statement)]
        loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        made |= {node.value.id for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
                 and isinstance(node.ctx, ast.Store)}  # fmt: skip
        if isinstance(statement, ast.Import | ast.ImportFrom) or watches(statement) or made & wanted:
            kept.insert(0, statement)
            wanted |= loaded
    return kept


WATCHED = watched()


def test_chapters_watch_their_runs() -> None:
    assert len(WATCHED) >= 16


@pytest.mark.parametrize("chapter", [pytest.param(each, marks=[pytest.mark.slow] * (each in SLOW)) for each in WATCHED])
def test_the_script_of_a_chapter_makes_the_same_curve(chapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Run, Run, Any]] = []

    class Stop(Exception): ...

    def see(run: Run, *, twin: Any = None, task: Any = None, pace: float = 60) -> None:
        seen.append((run, twin, task))
        raise Stop

    monkeypatch.setattr(dk, "watch", see)
    code = compile(ast.Module(needed(WATCHED[chapter]), []), f"chapter {chapter}", "exec")
    with pytest.raises(Stop):
        exec(code, {})
    ((run, twin, task),) = seen
    assert run.steps == STEPS
    same(run, twin, task, gaps=GAPS.get(chapter, []))


def same(run: Run, twin: Run | None = None, task: Any = None, *, gaps: Sequence[str] = (), text: str = "") -> str:
    """The script, after it has made the same steps as run and twin; its gaps filled in with what stood there."""
    text = text or script(run, twin, task)
    lines = text.splitlines()
    assert [line.split(" = ")[0] for line in lines if " = ..." in line] == [*gaps], text
    assert lines[0].startswith("# Fill in " if gaps else "import")
    assert len([line for line in lines if line.startswith("#")]) == bool(gaps)
    if gaps:
        with pytest.raises(AssertionError, match=f"^fill in {gaps[0]}$"):
            exec(text, {})
    for gap in gaps:
        assert gap in lines[0]
    parts = {"": run} if twin is None else {"": run, "twin_": twin}
    given = {f"{before}{name}": value for before, each in parts.items() for name, value in filled(each).items()}
    own = [f"{line.split(' = ')[0]} = given[{line.split(' = ')[0]!r}]" if " = ..." in line else line for line in lines]
    made = [line for line in own if not line.startswith(("print(dk.compare", "run.result", "twin.result"))]
    for each in parts.values():
        each.result()
    space: dict[str, Any] = {"given": given | {"task": task}}
    exec("\n".join(made), space)
    for name, each in zip(("run", "twin"), parts.values(), strict=False):
        space[name].result()
        assert space[name].history == each.history
    return text


def filled(run: Run) -> dict[str, Any]:
    """What may stand in the gaps: the parts of a run as they began."""
    import copy

    student = copy.deepcopy(run.student)
    student.load_state_dict(run._start)
    hints = None if run._hinting is None else run._hinting.hints
    options = {"divergence": run.divergence, "hard": run.hard, "hints": hints}
    knobs = vars(run.knobs)
    return {"student": student.train(), "teacher": run.teacher, "transfer": run.transfer} | options | knobs


# ── every kind of run ────────────────────────────────────────────────────────────────────────────────────────────────


def distilled(**options: Any) -> Run:
    return dk.distill(TASK.student(seed=1), TEACHER, TASK.transfer, **{"steps": STEPS} | options)


def tilted(student: torch.Tensor, teacher: torch.Tensor, **options: Any) -> torch.Tensor:
    return dk.forward_kl(student, teacher, **options) + 0.1 * dk.reverse_kl(student, teacher, **options)


KINDS: dict[str, tuple[Callable[[], Run], list[str]]] = {
    "divergence=dk.jsd": (lambda: distilled(divergence=dk.jsd), []),
    "divergence=functools.partial(dk.jsd, beta=0.3)": (
        lambda: distilled(divergence=functools.partial(dk.jsd, beta=0.3)), []),
    "divergence=functools.partial(dk.decoupled_kl, other_weight=2.0)": (
        lambda: distilled(divergence=functools.partial(dk.decoupled_kl, other_weight=2.0)), []),
    "divergence=divergence": (lambda: distilled(divergence=tilted), ["divergence"]),
    "functools.partial(divergence, temperature=2": (
        lambda: distilled(divergence=functools.partial(lambda s, t, temperature, **more: tilted(s, t, **more),
                                                       temperature=2)), ["divergence"]),
    "weight_decay=0.05": (lambda: distilled(weight_decay=0.05), []),
    "batch_size=7": (lambda: distilled(batch_size=7), []),
    "hints=hints": (lambda: distilled(hints=dk.Hints(states={"1": "9"}, states_weight=0.5)), []),
    "alpha=dk.linear(1, 0, 5)": (lambda: distilled(knobs=dk.Knobs(alpha=dk.linear(1, 0, 5))), []),
    "lr=dk.cosine(0.02, 0.001, steps=5)": (
        lambda: distilled(knobs=dk.Knobs(lr=dk.cosine(0.02, 0.001, steps=5))), []),
    "temperature=dk.LearnedTemperature(start=3.0, rate=0.2, growth=2)": (
        lambda: distilled(knobs=dk.Knobs(temperature=dk.LearnedTemperature(3.0, rate=0.2, growth=2))), []),
    "alpha=dk.UncertaintyAlpha(start=0.5)": (lambda: distilled(knobs=dk.Knobs(alpha=dk.UncertaintyAlpha(0.5))), []),
    "lr=lambda step:": (lambda: distilled(knobs=dk.Knobs(lr=lambda step: 0.01 / (step + 1))), []),
    "lr=lambda step: lr[step]": (
        lambda: distilled(steps=30, knobs=dk.Knobs(lr=lambda step: 0.01 / (step + 1))), []),
    "seed=7": (lambda: distilled(seed=7), []),
    "TASK.train": (lambda: dk.distill(TASK.student(), None, TASK.train, steps=STEPS), []),
    "TASK.pool": (lambda: dk.distill(TASK.student(), TEACHER, TASK.pool, steps=STEPS), []),
    "TASK.transfer[40:90]": (lambda: dk.distill(TASK.student(), TEACHER, TASK.transfer[40:90], steps=STEPS), []),
    "transfer = ...  # fill in what this run learns from: 3 examples": (
        lambda: dk.distill(TASK.student(), TEACHER, TASK.transfer[torch.tensor([5, 3, 9])], steps=STEPS), ["transfer"]),
    "student = ...  # fill in the student as it began: a Linear of 650 parameters": (
        lambda: dk.distill(nn.Linear(64, 10), TEACHER, TASK.transfer, steps=STEPS), ["student"]),
    "teacher = ...  # fill in the teacher: a Linear of 650 parameters": (
        lambda: dk.distill(TASK.student(), nn.Linear(64, 10), TASK.transfer, steps=STEPS), ["teacher"]),
}  # fmt: skip


@pytest.mark.parametrize("words", KINDS)
def test_every_kind_of_run_is_written(words: str) -> None:
    make, gaps = KINDS[words]
    text = same(make(), task=TASK, gaps=gaps)
    assert words.replace("TASK", "task") in text


def test_a_loss_on_the_labels_of_its_own_is_written() -> None:
    frames, labels = torch.randn(6, 8, 4), torch.tensor([[1, 2, *[-1] * 6]] * 6)
    how = {"knobs": dk.Knobs(alpha=0, lr=0.01), "steps": STEPS}
    run = dk.distill(nn.Linear(4, 3), None, dk.Examples(frames, labels), hard=dk.ctc_loss, **how)
    assert "hard=dk.ctc_loss" in same(run, gaps=["student", "transfer"])
    run = dk.distill(nn.Linear(4, 3), None, dk.Examples(frames, labels), hard=lambda z, y: dk.ctc_loss(z, y), **how)
    same(run, gaps=["student", "transfer", "hard"])


def test_a_model_that_was_trained_since_is_not_what_was_made() -> None:
    trained = TASK.student(seed=3)
    dk.distill(trained, None, TASK.train, steps=2).result()
    same(dk.distill(trained, TEACHER, TASK.transfer, steps=STEPS), task=TASK, gaps=["student"])
    same(dk.distill(TASK.student(), trained, TASK.transfer, steps=STEPS), task=TASK, gaps=["teacher"])


def test_a_students_own_text_is_written() -> None:
    task = dk.tasks.docs(tokens=1024)
    student = task.student(0)
    text = dk.student_text(student, task.prompts(8), length=4, on_policy_fraction=0.5, corpus=task.train)
    run = dk.distill(student, task.student(1), text, steps=2, batch_size=4)
    assert "dk.student_text(student, task.prompts(8), length=4, on_policy_fraction=0.5, corpus=task.train)" in same(
        run, task=task
    )


def test_a_teachers_text_is_written() -> None:
    task = dk.tasks.docs(tokens=1024)
    teacher = task.student(1)
    text = dk.teacher_text(teacher, task.prompts(8), length=4)
    assert "transfer = dk.teacher_text(teacher, task.prompts(8), length=4)" in same(
        dk.distill(task.student(0), teacher, text, steps=2), task=task
    )


def test_a_teacher_that_is_cached_is_written(tmp_path: Path) -> None:
    cache = dk.cache_teacher(TEACHER, TASK.transfer, tmp_path, top=3, temperature=4.0, tail="renormalised")
    run = dk.distill(TASK.student(), cache, TASK.transfer, steps=STEPS)
    assert 'top=3, temperature=4.0, tail="renormalised"' in same(run, task=TASK)


def test_a_twin_keeps_its_own_options() -> None:
    run = distilled()
    twin = dk.distill(TASK.student(seed=2), None, TASK.train[:50], steps=STEPS, seed=4, batch_size=9,
                      knobs=dk.Knobs(alpha=0, lr=0.003), weight_decay=0.2)  # fmt: skip
    text = same(run, twin, TASK)
    assert "twin = dk.distill(task.student(seed=2), None, task.train[:50]" in text


@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (lambda: TASK.with_noise(0.4), ["task = dk.tasks.digits()", "task_2 = task.with_noise(0.4)"]),
        (lambda: TASK.without(3), ["task_2 = task.without(3)"]),
        (lambda: TASK.without(3).with_noise(0.2), ["task_3 = task_2.with_noise(0.2)"]),
        (lambda: TASK.relabelled(50, 3), ["task_2 = task.relabelled(50, 3)"]),
        (lambda: dk.tasks.digits(labelled=30, seed=2), ["task = dk.tasks.digits(labelled=30, seed=2)"]),
    ],
)
def test_a_task_is_written_by_its_calls(make: Callable[[], Any], lines: list[str]) -> None:
    task = make()
    run = dk.distill(task.student(), TEACHER, task.transfer, steps=STEPS)
    twin = dk.distill(task.student(), None, task.train, steps=STEPS)
    text = same(run, twin, task)
    assert [line for line in lines if line not in text.splitlines()] == []


def test_a_task_of_ones_own_is_a_gap_and_its_examples_are_named() -> None:
    class Mine:
        train, test = TASK.train, TASK.test

        def __init__(self) -> None:
            self.rows = dk.Examples(torch.rand(40, 64), torch.randint(10, (40,)))

    task = Mine()
    text = same(dk.distill(nn.Linear(64, 10), TEACHER, task.rows, steps=STEPS), task=task, gaps=["task", "student"])
    assert "task.rows" in text


def test_turns_of_knobs_are_written_and_a_run_goes_on_from_them() -> None:
    run = distilled(steps=9)
    for _ in range(3):
        next(run)
    run.knobs.temperature = 2
    for _ in range(2):
        next(run)
    run.knobs.lr = lambda step: 0.02 if step < 7 else 0.03
    text = script(run, None, TASK)
    same(run, None, TASK, text=text)  # written when five steps were made; the other four are the same, too
    same(run, None, TASK)


def test_a_rule_of_ones_own_that_learns_is_a_gap_until_its_run_is_done() -> None:
    class Falling:
        def __init__(self) -> None:
            self.now = 4.0

        def __call__(self, step: int) -> float:
            return self.now

        def learn(self, step: Any, soft: Any) -> None:
            self.now *= 0.9

        def state(self) -> dict[str, float]:
            return {"now": self.now}

        def reset(self) -> None:
            self.now = 4.0

    run = distilled(knobs=dk.Knobs(temperature=Falling()))
    assert "temperature = ...  # fill in the rule by which temperature learns, a Falling" in script(run, None, TASK)
    run.result()
    same(run, None, TASK)


def test_watch_writes_its_own_run() -> None:
    run = distilled(divergence=functools.partial(dk.jsd, beta=0.3), weight_decay=0.1)
    view = dk.watch(run, twin=TASK.student(seed=1), task=TASK, pace=0)
    view.result()
    same(view.run, view.twin, TASK, text=view.python())
    view.close()


SAID = {
    "T=2&a=.5&lr=.01&n=50&seed=3&steps=5&div=reverse_kl&noise=.2": True,
    "T=4&a=.9&lr=.01&n=100&seed=0&steps=5&size=16": True,
    "task=support&T=1&a=1&lr=.003&n=2000&seed=1&steps=2": True,
    "T=4&a=.9&lr=.01&n=100&seed=0&steps=5&teacher=hasty": False,  # a teacher that was trained here
}


@pytest.mark.parametrize("code", SAID)
def test_the_code_of_a_run_starts_it_or_says_its_knobs_alone(code: str) -> None:
    started = Setting.of(code).start()
    view = dk.watch(started.run, twin=started.twin, task=started.task, pace=0)
    assert view.about["said"] == SAID[code]
    assert view.code == (code if SAID[code] else "T=4&a=.9&lr=.01")
    view.result()  # no thread is left in PyTorch when the process ends
    view.close()


@pytest.mark.parametrize(
    "options",
    [
        {"transfer": TASK.train},
        {"teacher": None, "knobs": dk.Knobs(alpha=0)},
        {"divergence": functools.partial(dk.jsd, beta=0.3)},
        pytest.param({"divergence": tilted}, id="a divergence of one's own"),
        {"weight_decay": 0.1},
        {"batch_size": 9},
        {"hints": dk.Hints(states={"1": "9"})},
        {"student": nn.Linear(64, 10)},
        {"seed": 5},
        {"task": TASK.without(3)},
        {"knobs": dk.Knobs(lr=dk.linear(0.01, 0.001, 5))},
    ],
    ids=" and ".join,
)
def test_no_code_claims_what_a_run_is_not(options: dict[str, Any]) -> None:
    given = {"student": TASK.student(), "teacher": TEACHER, "transfer": TASK.transfer, "task": TASK} | options
    student, teacher, transfer, task = (given.pop(name) for name in ("student", "teacher", "transfer", "task"))
    assert setting_of(dk.distill(student, teacher, transfer, steps=STEPS, **given), task) is None


def test_a_run_on_the_students_own_text_has_no_code_and_says_so() -> None:
    task = dk.tasks.docs(tokens=1024)
    student, teacher = task.student(), task.teacher()
    text = dk.student_text(student, task.prompts(4), length=4)
    run = dk.distill(student, teacher, text, knobs=dk.Knobs(1.0, 1.0, 0.003), steps=2)
    assert setting_of(run, task) is None
    view = dk.watch(run, task=task, pace=0)
    assert "student_text" in view.python()
    view.close()


def test_a_shipped_file_is_found_wherever_the_kit_lies() -> None:
    for given in (dk.models.data_path("requests") / "teacher", str(dk.models.data_path("requests/teacher"))):
        writer = Writer()
        assert writer.written(known(given), "teacher") == 'dk.models.data_path("requests/teacher")'
    assert known("/elsewhere/data/requests") == "/elsewhere/data/requests"


def test_no_password_is_written() -> None:
    for address in ("https://me:secret@example.com/v1#model", ["https://secret@example.com"]):  # allow-secret
        writer = Writer()
        assert "secret" not in writer.written(known(address), "teacher") + "".join(writer.lines)
    assert known("https://example.com/v1#model") == "https://example.com/v1#model"


def test_what_made_an_object_keeps_nothing_alive() -> None:
    import gc
    import weakref

    task = dk.tasks.docs(tokens=1024)
    teacher = task.student(1)
    text = dk.teacher_text(teacher, task.prompts(2), length=4)
    gone = weakref.ref(teacher)
    del teacher
    gc.collect()
    assert gone() is None
    assert known(text).make.__name__ == "teacher_text"
