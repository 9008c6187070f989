"""Every recipe stopped at four points and gone on with: history and student are those of a run that never stopped.

Bit for bit. The stopped process really ends: it makes the run, goes to the stop, saves, and exits; what goes on is made
anew in another process's memory, with other random numbers drawn in between.
"""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import distilkit as dk
from distilkit import divergences
from distilkit.training import Run
from tests.faults import forked
from tests.trust import Checked

STEPS = 8
STOPS = {"at the start": 0, "at a quarter": STEPS // 4, "halfway": STEPS // 2, "before the last step": STEPS - 1}
ROWS = 24


def resumed(name: str, make: Callable[[], Run]) -> list[str]:
    """What differs from the run that never stopped, of each stop."""
    whole = make()
    history, student = [*whole], bits(whole.student)
    if len(history) != STEPS or bits(make().student) == student:
        return [f"{name}: it learns nothing in {STEPS} steps"]
    failures = []
    for where, stop in STOPS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "run.safetensors")
            try:
                elsewhere(lambda make=make, stop=stop, path=path: until(make(), stop).save(path))
                torch.rand(7)
                run = make()
                run.load(path)
                if len(run.history) != stop:
                    failures.append(f"{name}, {where}: {len(run.history)} steps came back instead of {stop}")
                until(run, STEPS)
                if run.history != history:
                    failures.append(f"{name}, {where}: another history")
                elif bits(run.student) != student:
                    failures.append(f"{name}, {where}: another student")
            except Exception as error:  # whatever it is, it is what a user would see
                failures.append(f"{name}, {where}: {type(error).__name__}: {error}")
    print(f"{name}: {len(STOPS)} stops, {len(failures)} failures", flush=True)
    return failures


def until(run: Run, stop: int) -> Run:
    while len(run.history) < stop:
        next(run)
    return run


def elsewhere(act: Callable[[], object]) -> None:
    """Do it in a process that then ends."""
    if forked(act):
        raise AssertionError("the first part itself failed")


def bits(student: nn.Module) -> dict[str, bytes]:
    return {name: value.flatten().view(torch.uint8).numpy().tobytes() for name, value in student.state_dict().items()}


# ------------------------------------------------------------------------------------------------------------- recipes
# Each makes a fresh run of eight steps. Tasks and teachers are those that ship, on some rows of their transfer sets.


@functools.cache
def digits() -> tuple[object, nn.Module, dk.Examples]:
    task = dk.tasks.digits(labelled=100)
    return task, task.teacher(), task.transfer[:ROWS] + task.train[:ROWS]


def distil(student: nn.Module | None = None, teacher: object = "its own", **others: object) -> Run:
    task, own, examples = digits()
    return dk.distill(
        task.student(seed=0) if student is None else student,
        own if teacher == "its own" else teacher,
        **{"transfer": examples, "steps": STEPS, "batch_size": 10} | others,
    )


def shaken() -> nn.Module:
    """A student that draws random numbers at each step, and counts what it has seen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10))


def turned() -> Run:
    """Knobs that somebody turns: with the step, so that both runs are turned alike."""
    run = distil()
    run.listeners.append(lambda step: step.step == 3 and setattr(run.knobs, "temperature", 2.0))
    return run


@functools.cache
def answers(top: int) -> dk.CachedTeacher:
    _, teacher, examples = digits()
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return dk.cache_teacher(teacher, examples, folder, top=top, temperature=4.0)


def in_parts() -> Run:
    from accelerate import Accelerator

    return distil(accelerator=Accelerator(cpu=True, gradient_accumulation_steps=2))


@functools.cache
def docs() -> tuple[object, nn.Module, dk.Examples]:
    task = dk.tasks.docs()
    examples = task.train[:ROWS]
    return task, task.teacher(), dk.Examples(examples.inputs[:, :12].contiguous(), examples.labels[:, :12].contiguous())


def language(
    transfer: object = None, *, teacher: object = "its own", student: nn.Module | None = None, **others
) -> Run:
    task, own, examples = docs()
    return dk.distill(
        task.student(seed=0) if student is None else student,
        own if teacher == "its own" else teacher,
        examples if transfer is None else transfer,
        **{"steps": STEPS, "batch_size": 4, "knobs": dk.Knobs(1.0, 0.9, 0.003)} | others,
    )


@functools.cache
def written() -> dk.Examples:
    _, teacher, examples = docs()
    return dk.teacher_text(teacher, examples.inputs[:8, :4].contiguous(), length=8)


def on_policy(fraction: float = 1.0, temperature: float = 1.0) -> Run:
    task, _, examples = docs()
    student = task.student(seed=0)
    text = dk.student_text(
        student,
        examples.inputs[:, :4].contiguous(),
        length=5,
        sampling_temperature=temperature,
        on_policy_fraction=fraction,
        corpus=examples,
    )
    return language(text, student=student, divergence=dk.reverse_kl)


def another_vocabulary() -> Run:
    from distilkit.tasks.text import llama

    words = len(docs()[0].tokenizer) + 50
    return language(teacher=llama(words, layers=1, width=32, seed=5).eval(), divergence=dk.uld_loss)


@functools.cache
def arithmetic() -> tuple[object, list[object]]:
    task = dk.tasks.arithmetic(labelled=20)
    return task, dk.imprinting.explain(task, task.teacher(), task.unlabelled(6), samples=2)


def imprinted() -> Run:
    task, explanations = arithmetic()
    return dk.imprinting.imprint(task, explanations, steps=STEPS)


def step_by_step(form: str) -> Run:
    task, _ = arithmetic()
    examples = task.examples(task.problems, form)
    knobs = dk.Knobs(alpha=0, lr=lambda step: 0.003 * (1 - step / STEPS))
    return dk.distill(task.student(0), None, examples, knobs=knobs, steps=STEPS, batch_size=8)


@functools.cache
def translation() -> tuple[object, nn.Module, dk.Examples]:
    task = dk.tasks.translation()
    return task, task.teacher(), task.examples(task.pairs[:ROWS])


def translated(**others: object) -> Run:
    task, teacher, examples = translation()
    given = {"teacher": teacher, "transfer": examples, "knobs": dk.Knobs(1.0, 1.0, dk.cosine(0.003, 0.0001, STEPS))}
    return dk.distill(task.student(0), **given | others, steps=STEPS, batch_size=6)


def sequences() -> Run:
    return translated(teacher=None, knobs=dk.Knobs(alpha=0), transfer=said())


@functools.cache
def said() -> dk.Examples:
    task, teacher, _ = translation()
    return task.sequences(teacher, [english for english, _ in task.pairs[:12]], beams=2)


@functools.cache
def speech() -> tuple[object, nn.Module, dk.Examples]:
    task = dk.tasks.speech()
    return task, task.teacher(), task.train[:8] + task.transfer[:8]


def heard(**others: object) -> Run:
    task, teacher, examples = speech()
    given = {"teacher": teacher, "knobs": dk.Knobs(1.0, 0.9, 0.003)} | others
    return dk.distill(
        task.student(0), **given, transfer=examples, hard=dk.ctc_loss, weight_decay=0.01, steps=STEPS, batch_size=4
    )


@functools.cache
def scenes() -> tuple[object, nn.Module, dk.Examples]:
    task = dk.tasks.scenes()
    return task, task.teacher(), task.transfer[:ROWS]


def seen() -> Run:
    task, teacher, examples = scenes()
    return dk.distill(task.student(0), teacher, examples, knobs=dk.Knobs(2.0, 0.9), steps=STEPS, batch_size=8)


@functools.cache
def shop() -> tuple[object, nn.Module, dk.Examples]:
    task = dk.tasks.shop()
    return task, task.teacher(), task.train[:ROWS]


def served() -> Run:
    task, teacher, examples = shop()
    return dk.distill(task.student(0), teacher, examples, knobs=dk.Knobs(1.0, 0.9, 0.003), steps=STEPS, batch_size=4)


@functools.cache
def own() -> object:
    rows = [
        {"text": f"row {n} is {'odd' if n % 2 else 'even'}", "label": "odd" if n % 2 else "even"} for n in range(60)
    ]
    return dk.own(rows, teacher_steps=10)


@functools.cache
def own_teacher() -> nn.Module:
    return own().teacher()


def yours() -> Run:
    task = own()
    return dk.distill(task.student(0), own_teacher(), task.transfer, steps=STEPS, batch_size=8, hard=task.hard)


NAMED = [
    "forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "adaptive_skew_kl", "adaptive_kl",
    "total_variation", "soft_cross_entropy", "decoupled_kl",
]  # fmt: skip
RECIPES: dict[str, Callable[[], Run]] = {
    "plain KD": distil,
    "the twin": lambda: distil(teacher=None),
    "the teacher alone": lambda: distil(knobs=dk.Knobs(4.0, 1.0)),
    "another seed": lambda: distil(seed=2**40 + 1),
    "weight decay": lambda: distil(weight_decay=0.1),
    "dropout and batch norm": lambda: distil(shaken()),
    "knobs turned": turned,
    "schedules": lambda: distil(
        knobs=dk.Knobs(dk.cosine(8, 1, STEPS), dk.linear(1, 0.2, STEPS), lambda n: 0.01 / (n + 1))
    ),
    "learned temperature": lambda: distil(knobs=dk.Knobs(dk.LearnedTemperature(4.0, growth=4), 0.9)),
    "uncertainty alpha": lambda: distil(knobs=dk.Knobs(4.0, dk.UncertaintyAlpha(0.7, rate=0.1))),
    "both learned": lambda: distil(knobs=dk.Knobs(dk.LearnedTemperature(), dk.UncertaintyAlpha())),
    "hints": lambda: distil(hints=dk.Hints(states={"1": "9"})),
    "cached teacher": lambda: distil(teacher=answers(10)),
    "cached teacher, top 3": lambda: distil(teacher=answers(3)),
    "several teachers": lambda: distil(teacher=dk.teachers.Ensemble([digits()[1], shaken().eval()])),
    "calibrated teacher": lambda: distil(teacher=dk.teachers.calibrated(digits()[1], digits()[2].labelled)),
    "accelerator": in_parts,
    **{name: functools.partial(distil, divergence=getattr(divergences, name)) for name in NAMED},
    "weighted": lambda: distil(divergence=functools.partial(dk.weighted, by="error")),
    "corpus": language,
    "corpus, decoupled": lambda: language(divergence=dk.decoupled_kl),
    "corpus, hints": lambda: language(hints=dk.Hints(states={1: 2}, attention={1: 2})),
    "corpus, learned": lambda: language(knobs=dk.Knobs(dk.LearnedTemperature(2.0), dk.UncertaintyAlpha(0.5), 0.003)),
    "teacher's text": lambda: language(written()),
    "teacher's text as labels": lambda: language(written(), teacher=None, knobs=dk.Knobs(alpha=0)),
    "student's text": on_policy,
    "student's text, greedy": lambda: on_policy(temperature=0),
    "student's text, half": lambda: on_policy(0.5),
    "another vocabulary": another_vocabulary,
    "imprinting": imprinted,
    "rationales": lambda: step_by_step("rationale"),
    "answers": lambda: step_by_step("answer"),
    "translation": translated,
    "translation, sequence level": sequences,
    "CTC": heard,
    "CTC, the twin": lambda: heard(teacher=None, knobs=dk.Knobs(alpha=0)),
    "scenes": seen,
    "shop": served,
    "own data": yours,
}  # fmt: skip


def main(count: int = len(STOPS) * len(RECIPES)) -> Checked:
    """`count` stops, all of a recipe together."""
    torch.set_num_threads(1)
    recipes = dict(list(RECIPES.items())[: -(-count // len(STOPS))])
    failures: list[str] = []
    for name, make in recipes.items():
        failures += resumed(name, make)
    tried = len(recipes) * len(STOPS)
    return Checked(
        tried,
        f"{tried - len(failures)} of {tried} went on bit for bit: {len(recipes)} recipes, stopped {', '.join(STOPS)}",
        failures,
    )
