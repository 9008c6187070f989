"""The whole kit in one view: up to four distillations side by side, each with its own setting, beside their twins."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from distilkit.errors import BadFile, BadType, BadValue, choice, shown, whole
from distilkit.setting import (
    DIVERGENCES,
    KEYS,
    KNOBS,
    TASKS,
    TEACHERS,
    TEXTS,
    Setting,
    read_value,
    turns_of,
)
from distilkit.widgets import parcel
from distilkit.widgets.base import Widget, static
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from distilkit.training import Run, Step

MOST = 4  # runs side by side
MEASURES = 60  # how often a whole run is measured
EXAMPLES = 1000  # of the test set, at most; of a text, so many tokens
SHOWN = 40  # disagreements
TOP = 3  # likeliest tokens that are kept of each place
PACES = (20, 100, 0)  # steps a second; 0 is as fast as it goes
PUSH = 0.1  # seconds between two messages to the page
PART = 2**20  # bytes of a file that travel at once
NAMES = "ABCD"
NAMED = 40  # letters of a run's name, at most
MEASURED = ("quality", "agreement", "mean_kl", "loss", "soft", "hard")
PRESETS = {
    "few labels": "n=50&T=4&a=.9",
    "noisy labels": "n=200&noise=.4&T=4&a=.9",
    "a language model": "task=docs&steps=200",
}
SIZES = {True: (4, 8, 16, 32, 64, 128), False: (32, 64, 96, 128)}  # of digits, of texts
AMOUNTS = {True: (10, 20, 50, 100, 200, 400, 1297), False: (2_560, 5_120, 10_000, 20_000, 50_000, 100_000)}
LENGTHS = (50, 100, 200, 300, 600, 1000, 2000)
NOISES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)
NEEDS = {  # the part of the view that a question of the page belongs to
    "add": "runs",
    "duplicate": "runs",
    "remove": "runs",
    "name": "runs",
    "preset": "presets",
    "code": "code",
    "python": "python",
    "export": "file",
    "load": "file",
    "pace": "pace",
}


def playground(code: str | Path | Sequence[str] = "", *, pace: int = 100, run: bool = True) -> Playground:
    """Play with every choice of the kit: settings, runs side by side, knobs that reach the running loop.

    Args:
        code: the setting, as a short code (see `distilkit.setting`); up to four of them start side by side. Or a file
            that `export` wrote: its runs come back, with their curves, and go on from where they were.
        pace: steps a second, so that an eye can follow; 0 is as fast as it goes.
        run: whether to start at once.

    Raises:
        BadType, BadValue: a code or a pace that cannot be. BadFile: a file that is damaged or none of the playground.

    >>> view = playground("n=50&steps=4", pace=0)
    >>> student, = view.result()
    >>> view.code, len(view.runs[0].history), len(view.twins[0].history)
    ('T=4&a=.9&lr=.01&n=50&seed=0&steps=4', 4, 4)
    >>> view.close()
    """
    whole("pace", pace, 0, 10**6, "steps a second; 0 is as fast as it goes")
    if isinstance(code, Path) or (isinstance(code, str) and code.endswith(".safetensors")):
        from distilkit.models import read

        return Playground([], pace, False, parcel.unpack(read(code), Path(code).name))
    codes = [code] if isinstance(code, str) else list(code)
    if not 1 <= len(codes) <= MOST:
        raise BadValue(f"the playground shows 1 to {MOST} runs, got {len(codes)} codes")
    return Playground([Setting.of(each) for each in codes], pace, run)


class _Side:
    """A student or a twin: its run, and what was measured of it at some steps."""

    def __init__(self, run: Run, follows: _Lane | None = None) -> None:
        self.run, self.follows = run, follows  # a twin whose learning rate is that of the lane's student
        self.rows: dict[int, list[float]] = {}  # step -> MEASURED
        self.kept: dict[int, dict[str, Tensor]] = {}  # step -> what a look inside needs
        if follows is not None:
            history, knobs = follows.student.run.history, follows.student.run.knobs
            run.knobs.lr = lambda step: history[step].lr if step < len(history) else knobs.at(step)["lr"]  # type: ignore[assignment]

    def forget(self) -> None:
        self.run.reset()
        self.rows.clear()
        self.kept.clear()


class _Lane:
    """One of the runs side by side; built by the view's thread, because that takes seconds."""

    student: _Side
    twin: _Side
    task: Any
    test: Any
    answers: Tensor  # the teacher's logits on the test

    def __init__(self, setting: Setting, colour: int) -> None:
        self.setting, self.colour, self.name = setting, colour, NAMES[colour]
        self.built = False
        self.error: BaseException | None = None
        self.kept: tuple[Mapping[str, Any], Mapping[str, Tensor], str] | None = None  # of a file, until it is built
        self.teacher_quality = math.nan

    @property
    def step(self) -> int:
        return len(self.student.run.history) if self.built else 0

    @property
    def done(self) -> bool:
        return self.built and self.student.run.done

    @property
    def now(self) -> Setting:
        """The setting with the knobs as they stand."""
        return _turned(self.setting, self.student.run.knobs.at(self.step)) if self.built else self.setting

    @property
    def turns(self) -> list[Any]:
        if not self.built:
            return []
        return turns_of(self.setting, self.student.run.history, None if self.done else self.student.run.knobs.at(0))

    @property
    def own(self) -> tuple[Any, ...]:
        """What decides the twin, and what it is compared with."""
        setting = self.setting
        return tuple(getattr(setting, KEYS[key]) for key in KEYS if key not in ("text", "div", "T", "a"))

    @property
    def text(self) -> bool:
        return self.setting.task != "digits"

    @property
    def quality(self) -> str:
        return "perplexity" if self.text else "accuracy"


class Playground(Widget):
    """The view that `playground` returns.

    Attributes:
        runs, twins: the `Run`s, in the order of the page; a twin that several have in common is one `Run`.
        students: the models.
        settings: of each run, with its knobs as they stand.
        code: the chosen run's setting as a short code.
        measured: a DataFrame, one row a measure.
        table: a DataFrame of what differs between the runs, and of what came out.
        happened: what just happened, in words.
    """

    _esm = static("maths.js", "base.js", "playground.js")
    _css = static("base.css", "playground.css")
    about = traitlets.Dict().tag(sync=True)  # what never changes
    frame = traitlets.Dict().tag(sync=True)  # where everything stands
    curves: traitlets.List = traitlets.List().tag(sync=True)  # of each run
    look = traitlets.Dict().tag(sync=True)  # inside the chosen run, at the scrubbed step

    def __init__(self, settings: Sequence[Setting], pace: int, run: bool, file: Any = None) -> None:
        self._pace, self._running, self._closed, self._single = pace, run, False, 0
        self._guard = threading.RLock()  # held while anything here is read or changed
        self._wake, self._idle = threading.Event(), threading.Event()
        self._lanes: list[_Lane] = []
        self._chosen, self._at, self._passage = 0, None, 0  # type: int, int | None, int
        self._busy, self._before, self._looked, self._shown_at = say("Loading PyTorch …"), None, None, 0.0  # type: str, Any, Any, float
        self._parts: list[bytes] = []
        self._fresh = True  # whether the curves have changed since they were shown
        if file is not None:
            self._opening = self._settings_of(file[0])[0]
            self._take(*file)
        else:
            self._opening = settings[0]
            self._lanes = [_Lane(self._free(each), i) for i, each in enumerate(settings)]
            self.happened = say("Welcome. The first run starts by itself: move a slider, and it learns on with that.")
        hidden = set(self._opening.hide)
        super().__init__()
        self.about = {
            "hide": list(self._opening.hide),
            "lock": list(self._opening.lock),
            "most": MOST,
            "presets": [] if "presets" in hidden else [list(each) for each in self._presets().items()],
            "paces": list(PACES),
            "binder": _on_binder(),
            "largest": parcel.LARGEST,
        }
        self._show(now=True)
        self._thread = threading.Thread(target=self._work, name="distilkit-playground", daemon=True)
        self._thread.start()

    # ── what a learner uses ──────────────────────────────────────────────────────────────────────────────────────────

    def result(self) -> list[nn.Module]:
        """Make the steps that are left, of all runs and twins, without the slow motion; return the students."""
        with self._guard:
            pace, self._pace = self._pace, 0
            self._do_run()
        try:
            self._until(self._is_over)
        finally:
            self._pace = pace
        for lane in self._lanes:
            if lane.error is not None:
                raise lane.error
        return self.students

    @property
    def runs(self) -> list[Run]:
        return [lane.student.run for lane in self._ready()]

    @property
    def twins(self) -> list[Run]:
        return [lane.twin.run for lane in self._ready()]

    @property
    def students(self) -> list[nn.Module]:
        return [run.student for run in self.runs]

    @property
    def settings(self) -> list[Setting]:
        return [lane.now for lane in self._lanes]

    @property
    def code(self) -> str:
        return self._lanes[self._chosen].now.code()

    @property
    def measured(self) -> pd.DataFrame:
        import pandas as pd

        rows = []
        for lane in self._ready():
            for model, side in (("student", lane.student), ("twin", lane.twin)):
                for step, row in sorted(side.rows.items()):
                    values = dict(zip((lane.quality, *MEASURED[1:]), row, strict=True))
                    rows.append({"run": lane.name, "model": model, "step": step, **values})
        return pd.DataFrame(rows)

    @property
    def table(self) -> pd.DataFrame:
        import pandas as pd

        rows = self._table()
        index = pd.Index([title for title, _ in rows], name=say("setting"))
        return pd.DataFrame([cells for _, cells in rows], index=index, columns=[lane.name for lane in self._lanes])

    def python(self, run: int | None = None) -> str:
        """A script that makes a run again, bit for bit, with every turn of a knob; default, the chosen one."""
        place = self._chosen if run is None else whole("run", run, 0, len(self._lanes) - 1, "counted from 0")
        lane = self._lanes[place]
        return lane.setting.python(lane.turns)

    def export(self, path: str | Path) -> Path:
        """Write all runs to one file: settings, turns of knobs, histories, measures, weights. `load` takes it."""
        from distilkit.models import write

        self._ready()
        write(path, self._pack())
        return Path(path)

    def load(self, path: str | Path) -> None:
        """Show the runs of a file that `export` wrote, in place of those here; they go on from where they were.

        Raises:
            BadFile: damaged, or no such file. BadValue: a setting in it that this view's code locks otherwise.
        """
        from distilkit.models import read

        self._take(*parcel.unpack(read(path), Path(path).name))
        self._wake.set()
        self._ready()

    def close(self) -> None:
        """End the thread and the view."""
        self._closed = True
        if hasattr(self, "_wake"):
            self._wake.set()
        super().close()

    def figure(self) -> Figure | None:
        """The curves so far."""
        from distilkit.plots.side_by_side import side_by_side

        if not any(lane.built for lane in self._lanes):
            return None
        rows = self.measured.to_dict("records") if all(lane.built for lane in self._lanes) else []
        return side_by_side(rows) if rows else None  # type: ignore[arg-type]

    def line(self) -> str:
        """What just happened, and where each run stands."""
        where = [say("{name} step {step} of {of}", name=_inert(lane.name), step=lane.step, of=lane.setting.steps)
                 for lane in self._lanes]  # fmt: skip
        return f"{self.happened} ({', '.join(where)})"

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            import torch

            torch.set_num_threads(1)  # as after setup: a run is then the same in this thread and in a script
        except Exception as error:
            for lane in self._lanes:
                lane.error = error
        while not self._closed:
            began = time.monotonic()
            if unbuilt := [each for each in self._lanes if not each.built and each.error is None]:
                self._build(unbuilt[0])
                continue
            moved = [self._advance(each, self._running or self._single > 0) for each in list(self._lanes)]
            self._single = max(0, self._single - 1)
            self._busy = ""
            if any(moved):
                self._show()
                left = (1 / self._pace if self._pace and self._running else 0) - (time.monotonic() - began)
                self._wake.wait(max(0, left))
            else:
                with self._guard:
                    if all(each.done or each.error is not None for each in self._lanes):
                        self._running = False
                self._show(now=True)
                self._idle.set()
                self._wake.wait()
                self._idle.clear()
            self._wake.clear()

    def _build(self, lane: _Lane) -> None:
        """Task, teacher, student and twin of a lane; of one from a file, with all that is in it."""
        setting, kept = lane.setting, lane.kept
        self._busy = say("Preparing run {name} …", name=lane.name)
        if setting.text == "teacher":
            self._busy = say("Run {name}: the teacher writes its texts …", name=lane.name)
        self._show(now=True)
        try:
            task, teacher, run, twin = setting.start()
            from distilkit.models import predict

            test = task.test[: max(1, EXAMPLES // (task.test.labels.shape[1] if lane.text else 1))]
            answers = predict(teacher, test.inputs).float()
            with self._guard:
                if lane not in self._lanes or lane.setting is not setting or lane.kept is not kept:
                    return  # changed meanwhile: the next round builds it
                lane.task, lane.test, lane.answers = task, test, answers
                lane.teacher_quality = _quality(lane, answers)
                lane.student = _Side(run)
                if kept is None:
                    self._pair_up(lane, twin)
                    self._measure(lane, lane.student)
                else:
                    self._restore(lane, twin)
                lane.built, lane.kept = True, None
                self._fresh = True
        except Exception as error:
            self._fail(lane, error)

    def _pair_up(self, lane: _Lane, twin: Run | None = None) -> None:
        """Give the lane a twin: another lane's, if it is the same and no knob of it was turned; else one of its own."""
        for other in self._lanes:
            if other is not lane and other.built and other.own == lane.own and other.twin.follows is None:
                lane.twin = other.twin
                return
        lane.twin = _Side(lane.setting.twin(lane.task) if twin is None else twin)
        self._measure(lane, lane.twin)

    def _advance(self, lane: _Lane, running: bool) -> bool:
        """One step of student and twin; of the twin alone, while it is behind. Whether there was one to make."""
        with self._guard:
            if lane not in self._lanes or not lane.built or lane.error is not None:
                return False
            try:
                if not self._caught_up(lane):
                    self._catch_up(lane)
                elif running and not lane.done:
                    step = next(lane.student.run)
                    self._look_at(lane, lane.student)
                    self._catch_up(lane)
                    if not self._running:
                        self._say_step(lane, step)
                    if lane.done and self._caught_up(lane):
                        self._say_end(lane)
                else:
                    return False
            except Exception as error:
                self._fail(lane, error)
            return True

    def _is_over(self) -> bool:
        over = all(lane.error or (lane.done and self._caught_up(lane)) for lane in self._lanes)
        return over and self._idle.is_set()

    def _caught_up(self, lane: _Lane) -> bool:
        return len(lane.twin.run.history) >= lane.step

    def _catch_up(self, lane: _Lane) -> None:
        end = time.monotonic() + PUSH
        while not self._caught_up(lane) and time.monotonic() < end:
            next(lane.twin.run)
            self._look_at(lane, lane.twin)
        if lane.done and self._caught_up(lane):
            self._say_end(lane)

    def _look_at(self, lane: _Lane, side: _Side) -> None:
        step = len(side.run.history)
        if step % -(-side.run.steps // MEASURES) == 0 or step == side.run.steps:
            self._measure(lane, side)

    def _measure(self, lane: _Lane, side: _Side) -> None:
        """Quality and fidelity on the test, the mean loss since the last measure, and what a look inside needs."""
        from distilkit import metrics
        from distilkit.models import predict

        step = len(side.run.history)
        logits = predict(side.run.student, lane.test.inputs).float()
        recent = side.run.history[max([0, *(at for at in side.rows if at < step)]) : step]
        means = [sum(getattr(each, term) for each in recent) / len(recent) if recent else math.nan
                 for term in ("loss", "soft", "hard")]  # fmt: skip
        if side is not lane.student:
            means[1] = math.nan
        fidelity = [metrics.agreement(logits, lane.answers), metrics.mean_kl(logits, lane.answers)]
        side.rows[step] = [_quality(lane, logits), *fidelity, *means]
        side.kept[step] = _insides(lane, logits)
        self._fresh = True

    def _fail(self, lane: _Lane, error: BaseException) -> None:
        lane.error = error
        self.happened = say("Run {name} stopped at step {step}: see below.", name=lane.name, step=lane.step)
        self._show(now=True)

    def _until(self, condition: Callable[[], bool]) -> None:
        """Wait, in the caller's thread, for what the view's own thread does."""
        self._wake.set()
        while True:
            with self._guard:
                if condition():
                    return
            if not self._thread.is_alive():
                raise BadValue("the playground is closed: open another, dk.playground(…)")
            time.sleep(0.01)

    def _ready(self) -> list[_Lane]:
        """The lanes, built; the first error among them is raised."""
        self._until(lambda: all(lane.built or lane.error for lane in self._lanes))
        for lane in self._lanes:
            if not lane.built and lane.error is not None:
                raise lane.error
        return list(self._lanes)

    # ── what just happened ───────────────────────────────────────────────────────────────────────────────────────────

    def _say_step(self, lane: _Lane, step: Step) -> None:
        self.happened = say(
            "{name}, step {step}: loss {loss}; the teacher’s term is {soft}, the labels’ {hard} nats.",
            name=lane.name,
            step=step.step,
            loss=f"{step.loss:.3f}",
            soft=f"{step.soft:.3f}",
            hard=f"{step.hard:.3f}",
        )

    def _say_end(self, lane: _Lane) -> None:
        student, twin = (side.rows[max(side.rows)][0] for side in (lane.student, lane.twin))
        name = "" if len(self._lanes) == 1 else f"{lane.name}: "
        if lane.text:
            change = 100 * (student / twin - 1)
            self.happened = name + say(
                "Finished: perplexity {student}, the twin’s {twin}: {change} % on {count} test tokens, one seed.",
                student=f"{student:.1f}",
                twin=f"{twin:.1f}",
                change=_signed(change, 0),
                count=lane.test.labels.numel(),
            )
        else:
            self.happened = name + say(
                "Finished: student {student} %, twin {twin} %: {gain} points on {count} test images, one seed.",
                student=f"{100 * student:.1f}",
                twin=f"{100 * twin:.1f}",
                gain=_signed(100 * (student - twin), 1),
                count=len(lane.test),
            )

    def _say_turn(self, lane: _Lane, knob: str, before: float, after: float) -> None:
        name = "" if len(self._lanes) == 1 else f"{lane.name}: "
        what = {"temperature": say("Temperature"), "alpha": say("Alpha"), "lr": say("Learning rate")}[knob]
        if knob == "alpha":
            meaning = (
                say("only the labels count now.")
                if after == 0
                else say("only the teacher counts now.")
                if after == 1
                else say("the labels now weigh as much as the teacher.")
                if abs(after - 0.5) < 0.005
                else say("the teacher now weighs {share} %.", share=f"{100 * after:.0f}")
            )
        elif knob == "temperature":
            meaning = (
                say("softer answers: the unlikely ones count more.")
                if after > before
                else say("sharper answers: the likeliest one counts more.")
            )
        else:
            ratio = f"{max(after, before) / min(after, before):.2g}"
            meaning = (
                say("each step is {ratio} times as large.", ratio=ratio)
                if after > before
                else say("each step is {ratio} times smaller.", ratio=ratio)
            )
        self.happened = name + say(
            "{what} went from {before} to {after} at step {step}: {meaning}",
            what=what,
            before=f"{before:.3g}",
            after=f"{after:.3g}",
            step=lane.step,
            meaning=meaning,
        )

    # ── what the page sees ───────────────────────────────────────────────────────────────────────────────────────────

    def _show(self, *, now: bool = False) -> None:
        with self._guard:
            if self._closed or not (now or time.monotonic() - self._shown_at >= PUSH):
                return
            self._shown_at = time.monotonic()
            if self._fresh:
                self._fresh = False
                self.curves = [self._curves(lane) for lane in self._lanes]
            self._show_look()
            self.frame = self._frame()

    def _frame(self) -> dict[str, Any]:
        lane = self._lanes[self._chosen]
        errors = [
            f"{each.name}: {type(each.error).__name__}: {each.error}"[:1000] for each in self._lanes if each.error
        ]
        return {
            "lanes": [
                {
                    "name": each.name,
                    "colour": each.colour,
                    "step": each.step,
                    "steps": each.setting.steps,
                    "done": each.done,
                    "marks": [[at, KNOB_SIGNS[knob], _plain(value)] for at, knob, value in _thinned(each)],
                }
                for each in self._lanes
            ],
            "chosen": self._chosen,
            "running": self._running,
            "over": all(each.done or each.error is not None for each in self._lanes),
            "pace": self._pace,
            "busy": self._busy,
            "line": self.happened,
            "error": "\n".join(errors),
            "code": lane.now.code(),
            "knobs": {knob: getattr(lane.now, knob) for knob in KNOBS},
            "seed": lane.setting.seed,
            "options": _options(lane.setting),
            "values": {key: _text(getattr(lane.setting, name)) for key, name in KEYS.items()},
            "at": self._at,
            "table": self._table(),
        }

    def _curves(self, lane: _Lane) -> dict[str, Any]:
        if not lane.built:
            return {"colour": lane.colour, "name": lane.name, "quality": lane.quality, "steps": lane.setting.steps}
        first = next(i for i, other in enumerate(self._lanes) if other.built and other.twin is lane.twin)
        sides = {"student": lane.student} | ({"twin": lane.twin} if self._lanes[first] is lane else {})
        return {
            "colour": lane.colour,
            "name": lane.name,
            "quality": lane.quality,
            "steps": lane.setting.steps,
            "teacher": _plain(lane.teacher_quality),
            "twin_of": self._lanes[first].name,
            "sides": {
                role: {
                    "at": sorted(side.rows),
                    **{
                        measure: [_plain(side.rows[step][place]) for step in sorted(side.rows)]
                        for place, measure in enumerate(MEASURED)
                    },
                }
                for role, side in sides.items()
            },
        }

    def _table(self) -> list[list[Any]]:
        """What differs between the runs, a row each, and what came out: [title, [a text for each run]]."""
        settings = [lane.now for lane in self._lanes]
        rows: list[list[Any]] = []
        for key, name in KEYS.items():
            values = [_text(getattr(setting, name)) for setting in settings]
            if len(set(values)) > 1:
                rows.append([_title(key), [_label(key, value, setting) for value, setting in
                                           zip(values, settings, strict=True)]])  # fmt: skip
        for title, figure in FIGURES.items():
            cells = [figure(lane) if lane.built and lane.student.rows else "–" for lane in self._lanes]
            if any(cell != "–" for cell in cells):
                rows.append([say(title), cells])
        return rows

    def _show_look(self) -> None:
        """Where student and teacher of the chosen run disagree at the scrubbed step."""
        lane = self._lanes[self._chosen]
        if not lane.built or not lane.student.kept:
            key: Any = None
            found: dict[str, Any] = {}
        else:
            step = _nearest(lane.student.kept, self._at)
            key = (id(lane.student.run), step, self._passage, len(lane.student.kept) == 1)
            if key == self._looked:
                return
            beside = lane.twin.kept.get(step)
            show = _look_text if lane.text else _look_pictures
            found = {"name": lane.name, "colour": lane.colour, "step": step}
            found |= show(lane, lane.student.kept[step], beside, self._passage)
        if key != self._looked or not found:
            self._looked, self.look = key, found

    # ── what the page asks ───────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, content: dict[str, Any], buffers: list[Any]) -> None:
        kind, value = content.get("kind"), content.get("value")
        try:
            with self._guard:
                if (part := NEEDS.get(str(kind), kind)) in self._opening.hide:
                    raise BadValue(say("The code of this view hides “{part}”.", part=part))
                ask = getattr(self, f"_do_{choice('kind', kind, ASKED)}")
                if kind in ("run", "pause", "step", "reset", "add", "duplicate", "remove", "python", "export"):
                    ask()
                elif kind in ("set", "knob"):
                    ask(str(content.get("key")), value)
                elif kind == "load":
                    ask(content, buffers)
                else:
                    ask(value)
        except Exception as error:
            self.happened = f"{error}"[:1000]
        self._wake.set()
        if kind not in ("knob", "load"):
            self._show(now=True)

    def _do_run(self) -> None:
        self._running = True
        self.happened = say("Running: student and twin make each step together.")

    def _do_pause(self) -> None:
        self._running = False
        self.happened = say("Paused at step {step}.", step=self._lanes[self._chosen].step)

    def _do_step(self) -> None:
        self._running, self._single = False, 1

    def _do_reset(self) -> None:
        lane = self._lanes[self._chosen]
        lane.setting, lane.error = lane.now, None
        if lane.built:
            lane.student.forget()
            self._measure(lane, lane.student)
            self._pair_up(lane)
        self._running, self._at, self._fresh, self._looked = False, None, True, None
        self.happened = say("Run {name} is back at step 0, with the knobs as they are.", name=lane.name)

    def _do_pace(self, value: Any) -> None:
        self._pace = whole("pace", value, 0, 10**6, "steps a second; 0 is as fast as it goes")
        self.happened = (
            say("Slowed to {pace} steps a second.", pace=self._pace) if self._pace else say("As fast as it goes.")
        )

    def _do_choose(self, value: Any) -> None:
        self._chosen = whole("run", value, 0, len(self._lanes) - 1, "counted from 0")

    def _do_add(self) -> None:
        self._join(self._opening)

    def _do_duplicate(self) -> None:
        self._join(self._lanes[self._chosen].now)

    def _join(self, setting: Setting) -> None:
        if len(self._lanes) >= MOST:
            raise BadValue(say("There are {most} runs, more do not fit: remove one first.", most=MOST))
        colour = min(set(range(MOST)) - {lane.colour for lane in self._lanes})
        self._lanes.append(_Lane(setting, colour))
        self._chosen, self._fresh = len(self._lanes) - 1, True
        self.happened = say("Run {name} is new: change its setting, then press Run.", name=NAMES[colour])

    def _do_remove(self) -> None:
        if len(self._lanes) == 1:
            raise BadValue(say("This is the only run: reset it, or change its setting."))
        gone = self._lanes.pop(self._chosen)
        self._chosen, self._fresh = min(self._chosen, len(self._lanes) - 1), True
        self.happened = say("Run {name} is gone.", name=gone.name)

    def _do_name(self, value: Any) -> None:
        lane = self._lanes[self._chosen]
        lane.name, self._fresh = _named(value) or NAMES[lane.colour], True

    def _do_preset(self, value: Any) -> None:
        code = self._presets()[choice("preset", value, self._presets())]
        self._running, self._at = True, None
        self._replace(
            self._bound(Setting.of(code), self._opening),
            say("“{preset}”: the setting is there, and it runs.", preset=value),
        )

    def _do_code(self, value: Any) -> None:
        lane, setting = self._lanes[self._chosen], Setting.of(str(value))
        setting = self._bound(setting, lane.now)
        knobs = {knob: getattr(setting, knob) for knob in KNOBS}
        if lane.built and replace(lane.now, **knobs) == setting:
            for knob, after in knobs.items():
                if after != getattr(lane.now, knob):
                    self._turn(lane, knob, after)
        else:
            self._at = None
            self._replace(setting, say("Run {name} has the code’s setting, at step 0.", name=lane.name))

    def _do_set(self, key: str, value: Any) -> None:
        lane = self._lanes[self._chosen]
        self._check_free(choice("key", key, KEYS))
        before, name = lane.now, KEYS[key]
        if name in KNOBS:
            return self._do_knob(key, value)
        after = before.on(str(value)) if key == "task" else replace(before, **{name: read_value(key, str(value))})
        if key == "task":
            after = self._bound(after, before)
        if after == before:
            return None
        said = say(
            "{what} went from {before} to {after}: run {name} starts anew at step 0.",
            what=_title(key),
            before=_label(key, _text(getattr(before, name)), before),
            after=_label(key, _text(getattr(after, name)), after),
            name=lane.name,
        )
        return self._replace(after, said)

    def _do_knob(self, key: str, value: Any) -> None:
        lane = self._lanes[self._chosen]
        self._check_free(choice("key", key, [key for key in KEYS if KEYS[key] in KNOBS]))
        self._turn(lane, KEYS[key], value)

    def _do_at(self, value: Any) -> None:
        self._at = None if value is None else whole("at", value, 0, 20_000, "a step")

    def _do_passage(self, value: Any) -> None:
        self._passage = whole("passage", value, 0, 1000, "of the test text, counted from 0")

    def _do_python(self) -> None:
        self.send({"kind": "python", "text": self.python()})

    def _do_export(self) -> None:
        data = self._pack()
        parts = [data[start : start + PART] for start in range(0, len(data), PART)]
        for place, part in enumerate(parts):
            self.send({"kind": "file", "part": place, "of": len(parts)}, [part])
        self.happened = say("All runs are in one file of {size} MB.", size=f"{len(data) / 1e6:.1f}")

    def _do_load(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """A file comes in parts: a socket takes no more at once."""
        count = whole("of", content.get("of"), 1, 1 + parcel.LARGEST // 1000, "parts of the file")
        place = whole("part", content.get("part"), 0, count - 1, "counted from 0")
        if place == 0:
            self._parts = []
        if place != len(self._parts) or not buffers:
            self._parts = []
            raise BadFile(say("The file did not come whole: choose it again."))
        self._parts.append(bytes(buffers[0]))
        if sum(map(len, self._parts)) > parcel.LARGEST:
            self._parts = []
            raise BadFile(say("The file is too large to hold runs of the playground."))
        if len(self._parts) == count:
            data, self._parts = b"".join(self._parts), []
            name = _inert(str(content.get("name"))[:60])
            try:
                self._take(*parcel.unpack(data, name))
            finally:
                self._show(now=True)

    def _turn(self, lane: _Lane, knob: str, value: Any) -> None:
        """A knob's new value: in the running loop at once; before the first step, in the setting."""
        before = getattr(lane.now, knob)
        if lane.step == 0:
            lane.setting = replace(lane.setting, **{knob: value})
        if lane.built:
            setattr(lane.student.run.knobs, knob, value)
            if lane.step == 0 and knob == "lr":
                self._pair_up(lane)
            elif knob == "lr" and lane.twin.follows is not lane:
                alone = not any(other.twin is lane.twin for other in self._lanes if other is not lane and other.built)
                old = lane.twin
                if alone and len(old.run.history) <= lane.step:
                    lane.twin = _Side(old.run, lane)
                    lane.twin.rows, lane.twin.kept = old.rows, old.kept
                else:
                    lane.twin = _Side(lane.setting.twin(lane.task), lane)
                    self._measure(lane, lane.twin)
        drag = self._before
        if drag is not None and drag[:2] == (id(lane), knob) and time.monotonic() - drag[3] < 1.5:
            before = drag[2]
        self._before = (id(lane), knob, before, time.monotonic())
        self._fresh = True
        if before != getattr(lane.now, knob):
            self._say_turn(lane, knob, before, getattr(lane.now, knob))

    def _replace(self, setting: Setting, said: str) -> None:
        """The chosen run anew, with this setting."""
        old = self._lanes[self._chosen]
        lane = _Lane(setting, old.colour)
        lane.name = old.name
        self._lanes[self._chosen] = lane
        self._fresh, self.happened = True, said

    def _check_free(self, key: str) -> None:
        for name in ("lock", "hide"):
            if key in getattr(self._opening, name):
                raise BadValue(
                    say(
                        "{what} is fixed by this view’s code; dk.playground(…) with another code is free.",
                        what=_title(key),
                    )
                )

    def _bound(self, setting: Setting, own: Setting) -> Setting:
        """The setting with what this view hides and locks, if its values there are those of `own`."""
        for key in (*self._opening.lock, *self._opening.hide):
            if key in KEYS and getattr(setting, KEYS[key]) != getattr(own, KEYS[key]):
                self._check_free(key)
        return self._free(setting)

    def _free(self, setting: Setting) -> Setting:
        """The setting with what this view hides and locks, whatever its values."""
        return replace(setting, hide=self._opening.hide, lock=self._opening.lock)

    def _presets(self) -> dict[str, str]:
        """The presets that agree with what is locked."""
        found = {}
        for name, code in PRESETS.items():
            try:
                self._bound(Setting.of(code), self._opening)
            except BadValue:
                continue
            found[name] = code
        return found

    # ── one file ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pack(self) -> bytes:
        import torch

        with self._guard:
            runs: list[dict[str, Any]] = []
            tensors: dict[str, Tensor] = {}
            for place, lane in enumerate(self._lanes):
                entry: dict[str, Any] = {"name": lane.name, "code": lane.setting.code(), "turns": lane.turns}
                if lane.kept is not None:  # from a file, and not yet built: as it came
                    old, all_of_them, prefix = lane.kept
                    entry = dict(old)
                    tensors |= {f"{place}.{name.removeprefix(prefix)}": value for name, value in all_of_them.items()
                                if name.startswith(prefix)}  # fmt: skip
                elif lane.built:
                    entry["follows"] = lane.twin.follows is lane
                    for role, side in (("run", lane.student), ("twin", lane.twin)):
                        entry[role], own = parcel.take(side.run, f"{place}.{role}")
                        steps = sorted(side.rows)
                        tensors |= own
                        tensors[f"{place}.{role}_steps"] = torch.tensor(steps, dtype=torch.int64)
                        tensors[f"{place}.{role}_rows"] = torch.tensor([side.rows[step] for step in steps]).double()
                        for name in side.kept[steps[0]]:
                            kept = torch.stack([side.kept[step][name] for step in steps])
                            tensors[f"{place}.{role}_{name}"] = kept
                runs.append(entry)
            return parcel.pack({"runs": runs, "chosen": self._chosen, "at": self._at}, tensors)

    def _settings_of(self, about: Mapping[str, Any]) -> list[Setting]:
        """The settings of a file's runs."""
        runs = about.get("runs")
        if not isinstance(runs, list) or not 1 <= len(runs) <= MOST or not all(isinstance(run, dict) for run in runs):
            raise BadFile(f"the file must hold 1 to {MOST} runs, got {shown(runs)}")
        settings = []
        for place, run in enumerate(runs):
            try:
                settings.append(Setting.of(run.get("code", "")))
            except (BadType, BadValue) as error:
                raise BadFile(f"the file's run {place} has a setting that cannot be: {error}") from None
        return settings

    def _take(self, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Show a file's runs; the thread builds them."""
        lanes = []
        for place, setting in enumerate(self._settings_of(about)):
            lane, entry = _Lane(self._bound(setting, self._opening), place), about["runs"][place]
            lane.name = _named(entry.get("name")) or NAMES[place]
            lane.kept = (entry, tensors, f"{place}.") if isinstance(entry.get("run"), dict) else None
            lanes.append(lane)
        with self._guard:
            self._lanes, self._running, self._single = lanes, False, 0
            chosen, at = about.get("chosen"), about.get("at")
            self._chosen = chosen if isinstance(chosen, int) and 0 <= chosen < len(lanes) else 0
            self._at = at if isinstance(at, int) and 0 <= at <= 20_000 else None
            self._fresh, self._looked = True, None
            self.happened = say("From the file: {count} runs, as they were. Run goes on from there.", count=len(lanes))

    def _restore(self, lane: _Lane, twin: Run) -> None:
        """What a file holds of a lane, whose student was just made anew."""
        assert lane.kept is not None
        entry, tensors, prefix = lane.kept
        parcel.give(lane.student.run, f"{prefix}run", entry["run"], tensors)
        follows = entry.get("follows") is True
        parcel.give(twin, f"{prefix}twin", entry.get("twin", {}), tensors)
        lane.twin = _Side(twin, lane if follows else None)
        for role, side in (("run", lane.student), ("twin", lane.twin)):
            made = len(side.run.history)
            try:
                steps = tensors[f"{prefix}{role}_steps"].tolist()
                rows = tensors[f"{prefix}{role}_rows"].double()
                like = _insides(lane, lane.answers)
                kept = {name: tensors[f"{prefix}{role}_{name}"] for name in like}
                if sorted(set(steps)) != steps or not steps or steps[0] < 0 or steps[-1] > made:
                    raise BadFile(f"the file's measures are at steps {shown(steps)}, of {made} made")
                expected = {"rows": (rows, (len(steps), len(MEASURED)))}
                expected |= {name: (kept[name], (len(steps), *like[name].shape)) for name in like}
                for name, (value, shape) in expected.items():
                    if tuple(value.shape) != shape:
                        raise BadFile(f"the file's {prefix}{role}_{name} is {tuple(value.shape)}, expected {shape}")
                if lane.text and not 0 <= int(kept["top"].min()) <= int(kept["top"].max()) < lane.answers.shape[-1]:
                    raise BadFile("the file shows tokens that the vocabulary does not have")
            except KeyError as error:
                raise BadFile(f"the file lacks {shown(str(error))}") from None
            side.rows = dict(zip(steps, rows.tolist(), strict=True))
            side.kept = {step: {name: kept[name][i].to(like[name].dtype) for name in like}
                         for i, step in enumerate(steps)}  # fmt: skip
        for other in self._lanes:  # a twin that runs have in common is one
            alike = other is not lane and other.built and other.own == lane.own and not follows
            if alike and other.twin.follows is None and other.twin.run.history == twin.history:
                lane.twin = other.twin


# ── what is measured, and what a look inside needs ───────────────────────────────────────────────────────────────────


def _quality(lane: _Lane, logits: Tensor) -> float:
    from distilkit import metrics

    return float(getattr(metrics, lane.quality)(logits, lane.test.labels))


def _insides(lane: _Lane, logits: Tensor) -> dict[str, Tensor]:
    """Of pictures all logits; of a text the likeliest tokens at each place, and the KL from the teacher."""
    import torch

    from distilkit import divergences

    if not lane.text:
        return {"logits": logits.half()}
    best = logits.softmax(-1).topk(TOP)
    kl = divergences.forward_kl(logits, lane.answers, reduction="none")
    return {"top": best.indices.to(torch.int32), "share": best.values.half(), "kl": kl.clamp(max=6e4).half()}


def _look_pictures(lane: _Lane, student: Mapping[str, Tensor], twin: Mapping[str, Tensor] | None, _: int) -> dict:
    """The test images that student and teacher name differently, with everybody's logits."""
    said = {"teacher": lane.answers, "student": student["logits"].float()}
    said |= {"twin": twin["logits"].float()} if twin is not None else {}
    differ = (said["teacher"].argmax(-1) != said["student"].argmax(-1)).nonzero().squeeze(1)
    examples = [
        {
            "i": i,
            "label": int(lane.test.labels[i]),
            "pixels": [round(float(ink), 2) for ink in lane.test.inputs[i]],
            "logits": {role: [round(float(z), 3) for z in logits[i]] for role, logits in said.items()},
        }
        for i in differ[:SHOWN].tolist()
    ]
    return {"kind": "pictures", "count": len(differ), "of": len(lane.test), "examples": examples}


def _look_text(lane: _Lane, student: Mapping[str, Tensor], twin: Mapping[str, Tensor] | None, passage: int) -> dict:
    """A passage of the test text: each next token, what everybody expected there, and how far apart they were."""
    teacher = _insides(lane, lane.answers)
    passage = min(passage, len(lane.test) - 1)
    sides = {"teacher": teacher, "student": student} | ({"twin": twin} if twin is not None else {})

    def word(token: int) -> str:
        return _inert(lane.task.decode(lane.test.inputs.new_tensor([token])))

    differ = teacher["top"][..., 0] != student["top"][..., 0]
    places = range(lane.test.labels.shape[1])
    return {
        "kind": "text",
        "count": int(differ.sum()),
        "of": differ.numel(),
        "passage": passage,
        "passages": len(lane.test),
        "first": word(int(lane.test.inputs[passage, 0])),
        "tokens": [word(token) for token in lane.test.labels[passage].tolist()],
        "differ": differ[passage].int().tolist(),
        "kl": [round(float(each), 3) for each in student["kl"][passage]],
        "expected": {
            role: [
                [[word(int(side["top"][passage, at, k])), round(float(side["share"][passage, at, k]), 3)]
                 for k in range(TOP)] for at in places
            ]
            for role, side in sides.items()
        },
    }  # fmt: skip


def _nearest(steps: Mapping[int, Any], wanted: int | None) -> int:
    """The last of these steps up to the one wanted; the last of all, where none is."""
    return max((step for step in steps if wanted is None or step <= wanted), default=min(steps))


# ── words and numbers ────────────────────────────────────────────────────────────────────────────────────────────────

KNOB_SIGNS = {"temperature": "T", "alpha": "α", "lr": "lr"}
ASKED = ("run", "pause", "step", "reset", "pace", "choose", "add", "duplicate", "remove", "name", "preset", "code",
         "set", "knob", "at", "passage", "python", "export", "load")  # fmt: skip


def _title(key: str) -> str:
    return {
        "task": say("task"),
        "teacher": say("teacher"),
        "size": say("student’s size"),
        "text": say("whose text"),
        "div": say("divergence"),
        "T": say("temperature T"),
        "a": say("alpha α"),
        "lr": say("learning rate"),
        "noise": say("wrong labels"),
        "n": say("labels"),
        "seed": say("seed"),
        "steps": say("steps"),
    }[key]


def _label(key: str, value: str, setting: Setting) -> str:
    """A value of a key, as the page says it."""
    digits = setting.task == "digits"
    if key in ("task", "teacher", "text", "div"):
        return {
            "digits": say("handwritten digits"),
            "docs": say("Python’s documentation"),
            "support": say("a shop’s support"),
            "arithmetic": say("sums, step by step"),
            "translation": say("English and French"),
            "shipped": say("the good one"),
            "hasty": say("hasty: small, 60 steps"),
            "peer": say("peer: only your labels"),
            "corpus": say("the data’s") if digits else say("the corpus’s"),
            "teacher": say("the teacher’s"),
            "student": say("the student’s, in turn"),
            "forward_kl": say("forward KL"),
            "reverse_kl": say("reverse KL"),
            "jsd": say("JSD"),
            "skew_forward_kl": say("skew forward KL"),
            "skew_reverse_kl": say("skew reverse KL"),
            "adaptive_kl": say("adaptive KL"),
            "adaptive_skew_kl": say("adaptive skew KL"),
            "weighted": say("KL, weighted by confidence"),
            "total_variation": say("total variation"),
            "soft_cross_entropy": say("soft cross-entropy"),
            "decoupled_kl": say("decoupled KL"),
        }[value]
    if key == "size":
        return say("{size} hidden units", size=value) if digits else say("2 layers of {size}", size=value)
    if key == "noise":
        return f"{100 * float(value):g} %"
    if key == "n":
        return f"{int(value)}" if digits else say("{tokens} tokens", tokens=f"{int(value):,}".replace(",", " "))
    return value


def _options(setting: Setting) -> dict[str, list[list[str]]]:
    """The values that a control offers: [value, what the page says, why it does not go with the others or nothing]."""
    digits = setting.task == "digits"
    offered: dict[str, tuple[Any, ...]] = {
        "task": TASKS,
        "teacher": TEACHERS,
        "size": SIZES[digits],
        "text": TEXTS,
        "div": DIVERGENCES,
        "noise": NOISES,
        "n": AMOUNTS[digits],
        "steps": LENGTHS,
    }
    found = {}
    for key, values in offered.items():
        own = getattr(setting, KEYS[key])
        values = values if own in values else tuple(sorted((*values, own)))
        why = dict.fromkeys(values, "") if key == "task" else setting.options(key, values)
        found[key] = [
            [_text(value), _label(key, _text(value), setting), say(why[value].partition(": ")[2])] for value in values
        ]
    return found


FIGURES: dict[str, Callable[[_Lane], str]] = {
    "step": lambda lane: str(max(lane.student.rows)),
    "right answers": lambda lane: "–" if lane.text else f"{100 * _last(lane.student)[0]:.1f} %",
    "its twin’s": lambda lane: "–" if lane.text else f"{100 * _beside(lane)[0]:.1f} %",
    "points gained": lambda lane: "–" if lane.text else _signed(100 * (_last(lane.student)[0] - _beside(lane)[0]), 1),
    "perplexity": lambda lane: f"{_last(lane.student)[0]:.1f}" if lane.text else "–",
    "its twin’s perplexity": lambda lane: f"{_beside(lane)[0]:.1f}" if lane.text else "–",
    "agreement with the teacher": lambda lane: f"{100 * _last(lane.student)[1]:.1f} %",
    "KL from the teacher, nats": lambda lane: f"{_last(lane.student)[2]:.3f}",
}


def _last(side: _Side) -> list[float]:
    return side.rows[max(side.rows)]


def _beside(lane: _Lane) -> list[float]:
    """The twin's measure at the student's last one."""
    return lane.twin.rows.get(max(lane.student.rows)) or lane.twin.rows[_nearest(lane.twin.rows, lane.step)]


def _thinned(lane: _Lane) -> list[Any]:
    """The turns of a lane's knobs; of those close together, as a drag makes them, the last."""
    found: list[Any] = []
    for turn in lane.turns:
        near = [old for old in found if old[1] == turn[1] and turn[0] - old[0] <= max(3, lane.setting.steps // 25)]
        found = [old for old in found if old not in near] + [turn]
    return found[-12:]


def _turned(setting: Setting, knobs: Mapping[str, Any]) -> Setting:
    return replace(setting, **knobs)


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _text(value: Any) -> str:
    """A value as the code writes it, in full."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _plain(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _inert(text: str) -> str:
    from distilkit.widgets.lens import inert

    return inert(text)


def _named(name: object) -> str:
    """A run's name as it is shown: what would act in it is made visible, what is too long is cut."""
    return _inert(" ".join(str(name)[: 2 * NAMED].split()))[:NAMED] if isinstance(name, str) else ""


def _on_binder() -> bool:
    import os

    return "BINDER_SERVICE_HOST" in os.environ
