"""The whole kit in one view: up to four distillations side by side, each with its own setting, beside their twins."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from distilkit.errors import BadFile, BadType, BadValue, choice, shown, whole
from distilkit.setting import KEYS, KNOBS, Setting, read_value
from distilkit.widgets import parcel
from distilkit.widgets.base import Widget
from distilkit.widgets.happened import finished, standings, stepped, turned
from distilkit.widgets.lanes import EXAMPLES, MEASURED, NAMES, Lane, named, nearest
from distilkit.widgets.options import label, options, title, value
from distilkit.words import say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from distilkit.training import Run

MOST = 4  # runs side by side
PACES = (20, 100, 0)  # steps a second; 0 is as fast as it goes
PUSH = 0.1  # seconds between two messages to the page
PART = 2**20  # bytes of a file that travel at once
DRAG = 1.5  # seconds, within which the turns of a knob are one
PRESETS = {
    "few labels": "n=50",
    "noisy labels": "n=200&noise=.4",
    "a language model": "task=docs&steps=200",
}
ASKED = {  # what the page may ask for, and the part of the view, which a code may hide, that it belongs to
    "run": "",
    "pause": "",
    "step": "",
    "reset": "",
    "pace": "pace",
    "choose": "",
    "add": "runs",
    "duplicate": "runs",
    "remove": "runs",
    "name": "runs",
    "preset": "presets",
    "code": "code",
    "set": "",
    "knob": "",
    "at": "scrub",
    "passage": "look",
    "python": "python",
    "export": "file",
    "load": "file",
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

    files = "playground"
    about = traitlets.Dict().tag(sync=True)  # what never changes
    frame = traitlets.Dict().tag(sync=True)  # where everything stands
    curves: traitlets.List = traitlets.List().tag(sync=True)  # of each run
    look = traitlets.Dict().tag(sync=True)  # inside the chosen run, at the scrubbed step

    def __init__(self, settings: Sequence[Setting], pace: int, run: bool, file: Any = None) -> None:
        self._pace, self._running, self._closed, self._single = pace, run, False, False
        self._guard = threading.RLock()  # held while anything here is read or changed
        self._wake, self._idle = threading.Event(), threading.Event()
        self._lanes: list[Lane] = []
        self._chosen, self._passage, self._busy = 0, 0, say("Loading PyTorch …")
        self._at: int | None = None  # the scrubbed step; None is the newest
        self._dragged: tuple[Lane, str, float, float] | None = None  # the knob that a hand may still be moving
        self._looked: tuple[Any, ...] | None = None  # what `look` shows
        self._parts: dict[int, bytes] = {}  # of a file that the page is sending
        self._sent = 0  # when it began to
        self._fresh, self._shown_at = True, 0.0  # whether the curves have changed since they were shown
        if file is not None:
            self._opening = self._settings_of(file[0])[0]
            self._take(*file)
        else:
            self._opening = settings[0]
            self._lanes = [Lane(self._free(each), i) for i, each in enumerate(settings)]
            self.happened = say("Welcome. The first run starts by itself: move a slider, and it learns on with that.")
        super().__init__()
        self.about = {
            "hide": list(self._opening.hide),
            "lock": list(self._opening.lock),
            "most": MOST,
            "presets": list(self._presets()),
            "paces": list(PACES),
            "binder": "BINDER_SERVICE_HOST" in os.environ,
            "largest": parcel.LARGEST,
        }
        self._show(now=True)
        self._thread = threading.Thread(target=self._work, name="distilkit-playground", daemon=True)
        self._thread.start()
        atexit.register(_end, weakref.ref(self))  # a thread inside PyTorch would bring the ending process down

    # ── what a learner uses ──────────────────────────────────────────────────────────────────────────────────────────

    def result(self) -> list[nn.Module]:
        """Make the steps that are left, of all runs and twins, without the slow motion; return the students."""
        pace, self._pace, self._running = self._pace, 0, True
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

        rows = standings(self._lanes)
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
        where = [say("{name} step {step} of {of}", name=lane.name, step=lane.step, of=lane.setting.steps)
                 for lane in self._lanes]  # fmt: skip
        return f"{self.happened} ({', '.join(where)})"

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        self._wake.wait(0.3)  # the page first: importing PyTorch keeps everybody waiting
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
            single, self._single = self._single, False
            moved = [self._advance(each, self._running or single) for each in list(self._lanes)]
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

    def _build(self, lane: Lane) -> None:
        """Task, teacher, student and twin of a lane; of one from a file, with all that is in it."""
        from distilkit.models import predict

        setting, kept = lane.setting, lane.parcel
        self._busy = say("Preparing run {name} …", name=lane.name)
        if setting.text == "teacher":
            self._busy = say("Run {name}: the teacher writes its texts …", name=lane.name)
        self._show(now=True)
        try:
            started = setting.start()
            test = started.task.test
            test = test[: max(1, EXAMPLES // (test.labels.shape[1] if lane.text else 1))]
            answers = predict(started.teacher, test.inputs).float()
            with self._guard:
                if lane in self._lanes and lane.setting is setting and lane.parcel is kept:
                    lane.build(started, answers, self._lanes)  # else it was changed meanwhile: the next round builds it
                self._fresh = True
                self._show(now=True)
        except Exception as error:
            self._fail(lane, error)

    def _advance(self, lane: Lane, running: bool) -> bool:
        with self._guard:
            if lane not in self._lanes or not lane.built or lane.error is not None:
                return False
            try:
                moved = lane.advance(running)
            except Exception as error:
                self._fail(lane, error)
                return True
            if moved and lane.done:
                self.happened = self._of(lane) + finished(lane)
            elif not isinstance(moved, bool) and not self._running:
                self.happened = stepped(lane, moved)
            self._fresh |= bool(moved)
            return bool(moved)

    def _of(self, lane: Lane) -> str:
        """Whose news it is, where there are several."""
        return "" if len(self._lanes) == 1 else f"{lane.name}: "

    def _is_over(self) -> bool:
        return self._idle.is_set() and all(lane.error is not None or lane.done for lane in self._lanes)

    def _fail(self, lane: Lane, error: BaseException) -> None:
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

    def _ready(self) -> list[Lane]:
        """The lanes, built; the first error among them is raised."""
        self._until(lambda: all(lane.built or lane.error for lane in self._lanes))
        for lane in self._lanes:
            if not lane.built and lane.error is not None:
                raise lane.error
        return list(self._lanes)

    # ── what the page sees ───────────────────────────────────────────────────────────────────────────────────────────

    def _show(self, *, now: bool = False) -> None:
        with self._guard:
            if self._closed or not (now or time.monotonic() - self._shown_at >= PUSH):
                return
            self._shown_at = time.monotonic()
            with self.hold_sync():  # one message
                if self._fresh:
                    self._fresh = False
                    self.curves = [lane.curves(self._lanes) for lane in self._lanes]
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
                    "marks": each.marks(),
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
            "options": options(lane.setting),
            "values": {key: value(lane.setting, key) for key in KEYS},
            "at": self._at,
            "table": [list(row) for row in standings(self._lanes)],
        }

    def _show_look(self) -> None:
        """Where student and teacher of the chosen run disagree at the scrubbed step."""
        lane = self._lanes[self._chosen]
        if not lane.built:
            self._looked, self.look = None, {}
            return
        key = (lane.student, nearest(lane.student.kept, self._at), self._passage, lane.name)
        if key != self._looked:
            self._looked, self.look = key, lane.look(self._at, self._passage)

    # ── what the page asks ───────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, content: dict[str, Any], buffers: list[Any]) -> None:
        kind, value = content.get("kind"), content.get("value")
        try:
            with self._guard:
                if (part := ASKED[choice("kind", kind, ASKED)]) in self._opening.hide:
                    raise BadValue(say("The code of this view hides “{part}”.", part=part))
                ask = getattr(self, f"_do_{kind}")
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
        self._running, self._single = False, True

    def _do_reset(self) -> None:
        lane = self._lanes[self._chosen]
        lane.reset(self._lanes)
        self._running, self._at, self._fresh = False, None, True
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
        self._lanes.append(Lane(setting, colour))
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
        lane.name, self._fresh = named(value) or NAMES[lane.colour], True

    def _do_preset(self, value: Any) -> None:
        code = self._presets()[choice("preset", value, self._presets())]
        self._running, self._at = True, None
        self._replace(
            self._bound(Setting.of(code), self._opening),
            say("“{preset}”: the setting is there, and it runs.", preset=say(value)),
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
            what=title(key),
            before=label(before, key),
            after=label(after, key),
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
        """A file comes in parts, in any order: a socket takes no more at once. Of two files, the later counts."""
        count = whole("of", content.get("of"), 1, 1 + parcel.LARGEST // 1000, "parts of the file")
        place = whole("part", content.get("part"), 0, count - 1, "counted from 0")
        sent = whole("sent", content.get("sent", 0), 0, 2**53, "when it was sent")
        if sent > self._sent:
            self._sent, self._parts = sent, {}
        if sent < self._sent or not buffers:
            return
        self._parts[place] = bytes(buffers[0])
        self.happened = say("{parts} of {of} parts of the file are here.", parts=len(self._parts), of=count)
        if sum(map(len, self._parts.values())) > parcel.LARGEST:
            self._parts = {}
            raise BadFile(say("The file is too large to hold runs of the playground."))
        if len(self._parts) == count:
            data, self._parts = b"".join(self._parts[each] for each in range(count)), {}
            name = named(content.get("name"))
            try:
                self._take(*parcel.unpack(data, name))
            finally:
                self._show(now=True)

    def _turn(self, lane: Lane, knob: str, wanted: Any) -> None:
        before = getattr(lane.now, knob)
        lane.turn(knob, wanted, self._lanes)
        after, last = getattr(lane.now, knob), self._dragged
        if last is not None and last[:2] == (lane, knob) and time.monotonic() - last[3] < DRAG:
            before = last[2]  # where the hand took it
        self._dragged, self._fresh = (lane, knob, before, time.monotonic()), True
        if after != before:
            self.happened = self._of(lane) + turned(knob, before, after, lane.step)

    def _replace(self, setting: Setting, said: str) -> None:
        """The chosen run anew, with this setting."""
        old = self._lanes[self._chosen]
        self._lanes[self._chosen] = Lane(setting, old.colour, old.name)
        self._fresh, self.happened = True, said

    def _check_free(self, key: str) -> None:
        for name in ("lock", "hide"):
            if key in getattr(self._opening, name):
                raise BadValue(
                    say(
                        "{what} is fixed by this view’s code; dk.playground(…) with another code is free.",
                        what=title(key),
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
        with self._guard:
            entries: list[dict[str, Any]] = []
            tensors: dict[str, Tensor] = {}
            for place, lane in enumerate(self._lanes):
                entry, own = lane.pack(f"{place}.")
                entries.append(entry)
                tensors |= own
            return parcel.pack({"runs": entries, "chosen": self._chosen, "at": self._at}, tensors)

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
            entry = about["runs"][place]
            lane = Lane(self._bound(setting, self._opening), place, entry.get("name"))
            lane.parcel = (entry, tensors, f"{place}.") if isinstance(entry.get("run"), dict) else None
            lanes.append(lane)
        with self._guard:
            self._lanes, self._running, self._single = lanes, False, False
            chosen, at = about.get("chosen"), about.get("at")
            self._chosen = chosen if isinstance(chosen, int) and 0 <= chosen < len(lanes) else 0
            self._at = at if isinstance(at, int) and 0 <= at <= 20_000 else None
            self._fresh, self._looked = True, None
            self.happened = say("From the file: {count} runs, as they were. Run goes on from there.", count=len(lanes))


def _end(view: weakref.ref[Playground]) -> None:
    """Let the thread of a view that is still open make its last step."""
    if (found := view()) is not None:
        found._closed = True
        found._wake.set()
        found._thread.join(10)
