"""The script of a run: Python that makes the same curve again, or names the part that a reader must fill in."""

from __future__ import annotations

import copy
import textwrap
from typing import Any

from torch import nn

from distilkit.cached import CachedTeacher
from distilkit.divergences import forward_kl
from distilkit.errors import DistilkitError
from distilkit.origin import Call, Unknown, Writer, fingerprint, known, part_of, path
from distilkit.setting import Setting
from distilkit.training import Run, usual_batch_size
from distilkit.transfer import Examples, StudentText, student_text

KNOBS = ("temperature", "alpha", "lr")
INLINE = 8  # values of a knob that stand in its line
WIDTH = 110


def script(run: Run, twin: Run | None = None, task: Any = None) -> str:
    """Write the script of a run and of its twin, with every turn of a knob so far.

    Each part is written from the run itself: by the call that made it, or as some examples of the task. What no call is
    known of stands as ``...``, with a comment that says what it was; the script then stops there, and says so.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits(labelled=50)
    >>> run = dk.distill(task.student(), task.teacher(), task.transfer, steps=9, divergence=dk.jsd)
    >>> print(script(run))
    import distilkit as dk
    <BLANKLINE>
    dk.setup(seed=0)
    task = dk.tasks.digits(labelled=50)
    teacher = task.teacher()
    student = task.student()
    knobs = dk.Knobs(temperature=4.0, alpha=0.9, lr=0.01)
    run = dk.distill(student, teacher, task.transfer, knobs=knobs, divergence=dk.jsd, steps=9, seed=0)
    run.result()
    <BLANKLINE>
    """
    writer = Writer()
    owner = None
    if task is not None:
        owner = known(task)
        owner = owner if isinstance(owner, Call) else Unknown(f"the task, a {type(task).__name__}")
        writer.owner(owner)
    _write(writer, run, (task, owner), "")
    ends = ["distilled=run.result()"]
    if isinstance(run.teacher, nn.Module):
        ends.insert(0, "teacher=teacher")
    if twin is not None:
        _write(writer, twin, (task, owner), "twin_")
        ends.append("twin=twin.result()")
    if task is not None:
        writer.lines.append(f"print(dk.compare({writer.owner(owner)}, {', '.join(ends)}))")
    else:
        writer.lines += [end.partition("=")[2] for end in ends if end.endswith("result()")]
    head = [*sorted(writer.imports), "import distilkit as dk", ""]
    if writer.gaps:
        what = "\n".join(textwrap.wrap(f"Fill in {', '.join(writer.gaps)}: the rest is as it was.", WIDTH - 2))
        head = [textwrap.indent(what, "# "), *head]
    return "\n".join([*head, f"dk.setup(seed={run.seed})", *writer.lines]) + "\n"


def setting_of(run: Run, task: Any) -> Setting | None:
    """Find the setting whose code starts this very run, with the knobs as they stand; None where no code can say it.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits(labelled=50).with_noise(0.2)
    >>> how = {"knobs": dk.Knobs(alpha=0.5), "steps": 9}
    >>> setting_of(dk.distill(task.student(), task.teacher(), task.transfer, **how), task).code()
    'T=4&a=.5&lr=.01&n=50&seed=0&steps=9&noise=.2'
    >>> setting_of(dk.distill(task.student(), task.teacher(), task.train, **how), task)
    """
    call, student = known(task), known(run.student, run._start)
    if not isinstance(call, Call) or not isinstance(student, Call) or not isinstance(run.teacher, nn.Module):
        return None
    if not isinstance(run.transfer, Examples):  # the student's own text, which another student would write
        return None
    options = run.batch_size == usual_batch_size(run.transfer), run.weight_decay == 0, run.hard is None
    if not all(options) or run._hinting is not None or any(map(callable, vars(run.knobs).values())):
        return None
    if part_of(run.transfer, [(task, call)]) != part_of(task.transfer, [(task, call)]):
        return None
    noise, made = 0.0, call
    if call.make.__name__ == "with_noise":
        noise, made = call.bound["share"], call.args[0]
    name = made.args[1] if made.make.__name__ == "__getitem__" else made.make.__name__
    size = student.bound.get("hidden", student.bound.get("width"))
    values: dict[str, Any] = {"task": name, "size": size, "divergence": getattr(run.divergence, "__name__", "")}
    try:
        values |= {"noise": noise, "labelled": task.labelled, "seed": run.seed, "steps": run.steps}
        found = Setting(**values, **vars(run.knobs))
        other = found._task()
        models = (run._start, found._student(other)), (run.teacher.state_dict(), other.teacher())
    except (DistilkitError, AttributeError):
        return None
    same = all(
        fingerprint(type(model), state) == fingerprint(type(model), model.state_dict()) for state, model in models
    )
    return found if same and known(other).bound == call.bound and path(run.divergence) else None


def _write(writer: Writer, run: Run, task: tuple[Any, Any], before: str) -> None:
    """Add the lines of a run, whose names begin with `before`."""
    lines, name = writer.lines, before[:-1] or "run"
    teacher, text, options = "None", run.transfer, []
    if isinstance(run.teacher, nn.Module):
        teacher = _named(writer, known(run.teacher), f"{before}teacher", "the teacher")
    student = known(run.student, run._start)
    if isinstance(student, Call) and before and student.make.__name__ == "student":
        model = writer.written(student, "student")
    else:
        model = _named(writer, student, f"{before}student", "the student as it began", anew=True)
    learnt = known(text)
    if not isinstance(learnt, Call) and isinstance(text, Examples) and task[0] is not None:
        learnt = part_of(text, [task]) or learnt
    if isinstance(text, StudentText) and isinstance(learnt, Call) and learnt.make.__name__ == student_text.__name__:
        own = learnt.args[0] if learnt.args else dict(learnt.named)["student"]
        writer.called(own, model)
    if isinstance(learnt, Call):
        data = _named(writer, learnt, f"{before}transfer", "")
    else:
        data = writer.written(learnt, f"{before}transfer", words="what this run learns from")
    if isinstance(run.teacher, CachedTeacher):
        teacher = _cached(writer, run.teacher, data, f"{before}teacher")
    knobs = ", ".join(f"{knob}={_knob(writer, run, knob, before)}" for knob in KNOBS)
    for option, value, usual in (
        ("divergence", run.divergence, forward_kl),
        ("hard", run.hard, None),
        ("hints", None if run._hinting is None else run._hinting.hints, None),
        ("weight_decay", run.weight_decay, 0.0),
        ("batch_size", run.batch_size, usual_batch_size(text)),
        ("device", run._device.type if run._device.index is None else str(run._device), "cpu"),
        ("accelerator", run.accelerator, None),
    ):
        if value is not usual and value != usual:
            found = known(value)
            if isinstance(found, Call):
                options.append(f"{option}={_named(writer, found, before + option, '')}")
            else:
                options.append(f"{option}={writer.written(found, before + option)}")
    options += [f"steps={run.steps}", f"seed={run.seed}"]
    lines.append(f"{before}knobs = dk.Knobs({knobs})")
    lines.append(f"{name} = dk.distill({model}, {teacher}, {data}, knobs={before}knobs, {', '.join(options)})")


def _named(writer: Writer, value: Any, name: str, words: str, *, anew: bool = False) -> str:
    """Give a value a line of its own, unless there is one; `anew` makes another of what has one."""
    if isinstance(value, Unknown) or (not anew and writer.names(value)):
        return writer.written(value, name, words=words)
    text = writer.call(value)
    writer.lines.append(f"{name} = {text}")
    writer.called(value, name)
    return name


def _cached(writer: Writer, teacher: CachedTeacher, data: str, name: str) -> str:
    tail = ', tail="renormalised"' if teacher.renormalised else ""
    how = f"{str(teacher.folder)!r}, top={teacher.top}, temperature={teacher.temperature!r}{tail}"
    writer.lines.append(f"{name} = dk.cache_teacher(None, {data}, {how})")
    return name


def _knob(writer: Writer, run: Run, name: str, before: str) -> str:
    """A knob as the script gives it: a number, the object that moved it, or what held at each step."""
    made, knob = [getattr(step, name) for step in run.history], getattr(run.knobs, name)
    rest = range(len(made), run.steps)
    if callable(knob):
        origin, fresh = known(knob), knob
        if hasattr(knob, "learn"):
            fresh = copy.deepcopy(knob)
            fresh.reset()
            held = not made or fresh(0) == made[0]
        else:
            held = all(knob(step) == value for step, value in enumerate(made))
        if held and (isinstance(origin, Call) or writer.can(origin)):
            return writer.written(origin, before + name)
        if rest and hasattr(knob, "learn"):
            return writer.gap(before + name, f"the rule by which {name} learns, a {type(knob).__name__}")
    values = made + [run.knobs.at(step)[name] for step in rest]
    turns = [(step, value) for step, value in enumerate(values) if not step or value != values[step - 1]]
    if len(turns) == 1:
        return repr(values[0])
    if len(turns) <= INLINE:
        return f"lambda step: [value for start, value in {turns} if start <= step][-1]"
    listed = textwrap.wrap(", ".join(map(repr, values)), WIDTH - 4)
    writer.lines += [f"{before}{name} = [  # at each step", *(f"    {line}" for line in listed), "]"]
    return f"lambda step: {before}{name}[step]"
