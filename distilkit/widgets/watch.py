"""Watch a distillation while it runs, beside its twin: turn its knobs, and scrub back through what happened."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import traitlets
from torch import Tensor, nn

from distilkit import metrics, plots
from distilkit.errors import BadType, BadValue, meant, shown
from distilkit.models import predict
from distilkit.script import script, setting_of
from distilkit.setting import KEYS, read_value
from distilkit.training import Knobs, Run, Step, distill
from distilkit.transfer import Examples, StudentText
from distilkit.widgets.base import Widget
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACES = (20, 60, 200, 0)  # steps a second; 0 is as fast as it goes
MEASURES = 100  # how often a whole run is measured
EXAMPLES = 1000  # of the test set, at most; of a text, so many tokens
CLASSES = 64  # up to which the logits of every measure are kept
MOST_SAID = 300  # letters of an example that is a text
STORED = 300_000  # bytes that a finished view leaves in the notebook, for a page without a kernel
STOPS = 11  # steps among them, at least: rather fewer examples than fewer steps
PUSH = 0.1  # seconds between two messages to the page
SYMBOLS = {"temperature": "T", "alpha": "α", "lr": "learning rate"}


def watch(run: Run, *, twin: Run | nn.Module | None = None, task: Any = None, pace: int = 60) -> Watch:
    """Run a distillation in a thread, and show it live beside its twin; the sliders reach the running loop.

    Args:
        run: what `distill` returned; it starts at once. `run.result()` in another cell works at the same time.
        twin: the same student without the teacher: another run of as many steps, or a fresh student, which is then
            trained on the run's labels alone. The two are driven step by step together.
        task: where the test set is (`task.test`, `task.classes`); without it the run's own labelled examples count.
        pace: steps a second, so that an eye can follow; 0 is as fast as it goes.

    Raises:
        BadType, BadValue: a twin of another length, an impossible pace. What the thread raises is shown in the widget,
        and raised by `result()`.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> run = dk.distill(task.student(), task.teacher(), task.transfer, steps=4)
    >>> view = dk.watch(run, twin=task.student(), task=task, pace=0)
    >>> student = view.result()                                # at once, without the slow motion
    >>> run.done, view.twin.done, len(view.measured)           # steps 0 to 4 of two models
    (True, True, 10)
    >>> view.close()
    """
    if not isinstance(run, Run):
        raise BadType(f"watch needs what distill(…) returned, got {type(run).__name__}")
    if isinstance(run.transfer, StudentText) and (task is None or isinstance(twin, nn.Module)):
        raise BadValue(
            "the run's text is the student's own and has no labels: give watch the task, and a twin as a Run"
        )
    if isinstance(twin, nn.Module):
        assert isinstance(run.transfer, Examples)
        knobs = Knobs(alpha=0, lr=run.knobs.lr)
        twin = distill(twin, None, run.transfer.labelled, steps=run.steps, seed=run.seed, knobs=knobs)
    if twin is not None and not isinstance(twin, Run):
        raise BadType(f"the twin must be a Run or a torch.nn.Module, got {type(twin).__name__}")
    if twin is run or (twin is not None and twin.student is run.student):
        raise BadValue("the twin is the student itself: give it a model of its own, task.student(seed=…)")
    if twin is not None and twin.steps != run.steps:
        raise BadValue(f"run has {run.steps} steps and its twin {twin.steps}: a fair comparison needs equally many")
    return Watch(run, twin, task, _pace(pace))


class Watch(Widget):
    """The view that `watch` returns.

    Attributes:
        run, twin: the two runs, whose steps it makes one by one.
        measured: a DataFrame, one row a measure: step, model, accuracy (of a text, perplexity; of a run with a loss of
            its own for the labels, such as `ctc_loss`, test_loss), agreement, mean_kl, soft, hard.
    """

    files = "watch"
    about = traitlets.Dict().tag(sync=True)  # what never changes
    frame = traitlets.Dict().tag(sync=True)  # what does: all that a page opened later needs
    stored = traitlets.Dict().tag(sync=True)  # once it has finished: what a page without a kernel scrubs through

    def __init__(self, run: Run, twin: Run | None, task: Any, pace: float) -> None:
        self.run, self.twin, self._task, self._pace = run, twin, task, pace
        self._runs = {"student": run} | ({"twin": twin} if twin is not None else {})
        if task is not None:
            test: Examples = task.test
        else:
            assert isinstance(run.transfer, Examples)
            test = run.transfer.labelled if len(run.transfer.labelled) else run.transfer
        self._setting = setting_of(run, task)
        self._test = test[: max(1, EXAMPLES // (test.labels.shape[1] if test.labels.ndim > 1 else 1))]
        self._labelled = bool((self._test.labels >= 0).any())
        teacher = run.teacher if isinstance(run.teacher, nn.Module) else None  # a cached one knows no test
        self._teacher = None if teacher is None else predict(teacher, self._test.inputs).float().cpu()
        self._text = self._test.labels.ndim > 1
        self._quality = "test_loss" if run.hard else "perplexity" if self._text else "accuracy"
        self._teacher_quality = None
        if self._teacher is not None and self._labelled:
            self._teacher_quality = self._judged(self._teacher)
        self._rows: dict[tuple[str, int], dict[str, Any]] = {}
        self._logits: dict[tuple[str, int], Tensor] = {}
        self._every = -(-run.steps // MEASURES)
        self._window = min(run.steps, 5 * self._every)  # steps that a loss is averaged over
        self._line, self._error = say("Running."), None  # type: tuple[str, BaseException | None]
        self._running, self._closed, self._shown_at = True, False, 0.0
        self._times: deque[tuple[float, int]] = deque(maxlen=2000)
        self._pair = threading.RLock()  # held while student and twin make a step each
        self._guard = threading.RLock()  # held while what is shown is read or written
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        for name, each in self._runs.items():
            self._measure(name, len(each.history))
        self._tells = {name: self._listener(name) for name in self._runs}
        logits = next(iter(self._logits.values()), None)
        classes = getattr(task, "classes", None) or range(0 if logits is None else logits.shape[-1])
        super().__init__()
        with self._guard:
            self.about = {
                "steps": run.steps,
                "every": self._every,
                "window": self._window,
                "twin": twin is not None,
                "text": self._text,
                "quality": self._quality,
                "teacher": self._teacher is not None,
                "classes": [str(name)[:60] for name in classes],
                "kept": logits is not None,
                "paces": list(PACES),
                "where": say("test examples") if task is not None else say("of the run's own examples (no task given)"),
                "count": len(self._test),
                "said": self._setting is not None,
            }
        for name, tell in self._tells.items():
            self._runs[name].listeners.append(tell)
        self._show(now=True)
        self._start()

    # ── what a learner uses ──────────────────────────────────────────────────────────────────────────────────────────

    def result(self) -> nn.Module:
        """Make the steps that are left, of both, without the slow motion; return the student in eval mode."""
        if self._error is not None:
            raise self._error
        while not self.done:
            self._advance()
        self._finish()
        return self.run.student

    @property
    def done(self) -> bool:
        """Whether student and twin have made every step."""
        return all(run.done for run in self._runs.values())

    @property
    def measured(self) -> pd.DataFrame:
        with self._guard:
            return pd.DataFrame([self._rows[key] for key in sorted(self._rows)])

    @property
    def code(self) -> str:
        """The setting in one short line, to share: ``T=4&a=.9&lr=.01&n=100&seed=0&steps=600``.

        Of a run that no code says whole, the knobs alone: ``T=4&a=.9&lr=.01``.
        """
        knobs: dict[str, Any] = self.run.knobs.at(len(self.run.history))
        return encode(knobs) if self._setting is None else replace(self._setting, **knobs).code()

    def python(self) -> str:
        """A script that makes this run again, with every turn of a knob so far."""
        return script(self.run, self.twin, self._task)

    def close(self) -> None:
        """End the thread and the view; the runs keep what they have made."""
        self._closed = True
        for name, tell in getattr(self, "_tells", {}).items():
            if tell in self._runs[name].listeners:
                self._runs[name].listeners.remove(tell)
        if hasattr(self, "_wake"):
            self._wake.set()
        super().close()

    def figure(self) -> Figure:
        """The curves so far."""
        return plots.curves(self.measured)

    def line(self) -> str:
        """How far it is, and how good."""
        return say(
            "Step {step} of {of}. {standing}", step=len(self.run.history), of=self.run.steps, standing=self._standing()
        )

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        with self._guard:
            alive = self._thread is not None and self._thread.is_alive()
            if not (alive or self.done or self._closed):
                self._thread = threading.Thread(target=self._work, name="distilkit-watch", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            while not (self.done or self._closed):
                began = time.monotonic()
                with self._pair:  # a reset comes before the question or after the step, never in between
                    behind = self.twin is not None and len(self.twin.history) < len(self.run.history)
                    if self._running or behind:
                        self._advance()
                self._show()
                left = (1 / self._pace if self._pace else 0) if self._running else PUSH
                left -= time.monotonic() - began
                if left > 0 and not (behind and len(self.twin.history) < len(self.run.history)):  # type: ignore[union-attr]
                    self._wake.wait(left)
                self._wake.clear()
        except Exception as error:
            self._fail(error)
        else:
            if not self._closed:
                self._finish()

    def _advance(self) -> None:
        """One step of each: of the twin alone where the run, made to go on by another cell, is ahead."""
        with self._pair:
            if self.twin is None or len(self.twin.history) >= len(self.run.history):
                next(self.run, None)
            if self.twin is not None and len(self.twin.history) < len(self.run.history):
                next(self.twin, None)

    def _finish(self) -> None:
        if self._error is None:
            self._running, self._line = False, say("Finished. {standing}", standing=self._standing())
            measured = all((name, self.run.steps) in self._rows for name in self._runs)  # else who does comes here
            if measured and not self._closed and not self.stored:
                self.stored = self._store()
        self._show(now=True)

    def _fail(self, error: BaseException) -> None:
        self._error, self._running = error, False
        self._line = say("Stopped at step {step}.", step=len(self.run.history))
        self._show(now=True)

    def _listener(self, name: str) -> Any:
        def tell(step: Step) -> None:  # called in whatever thread made the step
            try:
                if name == "student":
                    self._times.append((time.monotonic(), step.step))
                if step.step % self._every == 0 or step.step == self.run.steps:
                    self._measure(name, step.step)
                self._show()
                if self.done:
                    self._finish()  # within the cell that made the step: what comes later, a saved notebook lacks
                elif self._error is None:
                    self._start()
            except Exception as error:  # the view's own fault must not end the run
                self._fail(error)

        return tell

    def _measure(self, name: str, step: int) -> None:
        run = self._runs[name]
        with run._lock:
            logits = predict(run.student, self._test.inputs).float().cpu()
        recent = run.history[max(0, step - self._window) : step]
        row: dict[str, Any] = {"step": step, "model": name}
        row[self._quality] = self._judged(logits) if self._labelled else float("nan")
        if self._teacher is not None:
            row["agreement"] = metrics.agreement(logits, self._teacher)
            row["mean_kl"] = metrics.mean_kl(logits, self._teacher)
        for term in ("soft", "hard"):
            has = recent and (term == "hard" or run.teacher is not None)
            row[term] = sum(getattr(each, term) for each in recent) / len(recent) if has else float("nan")
        with self._guard:
            self._forget(name, step)
            self._rows[name, step] = row
            if logits.ndim == 2 and logits.shape[-1] <= CLASSES:
                self._logits[name, step] = logits

    def _judged(self, logits: Tensor) -> float:
        """Quality on the test: a run's own loss for the labels alone knows what they mean."""
        labels = self._test.labels
        return (
            self.run.hard(logits, labels).item() if self.run.hard else getattr(metrics, self._quality)(logits, labels)
        )

    def _forget(self, name: str, since: int) -> None:
        """Drop measures of steps that the run, since reset, has not made again."""
        for key in [key for key in self._rows if key[0] == name and key[1] > since]:
            self._rows.pop(key)
            self._logits.pop(key, None)

    # ── what the page sees ───────────────────────────────────────────────────────────────────────────────────────────

    def _show(self, *, now: bool = False) -> None:
        with self._guard:
            if self._closed or not (now or time.monotonic() - self._shown_at >= PUSH):
                return
            self._shown_at = time.monotonic()
            self.frame = self._frame()

    def _frame(self) -> dict[str, Any]:
        step = len(self.run.history)
        for name, run in self._runs.items():
            self._forget(name, len(run.history))
        steps = sorted({key[1] for key in self._rows})
        curves = {
            name: {
                what: [_plain(self._rows.get((name, at), {}).get(what)) for at in steps]
                for what in (self._quality, "agreement", "mean_kl", "soft", "hard")
            }
            for name in self._runs
        }
        return {
            "step": step,
            "running": self._running,
            "done": self.done,
            "pace": self._pace,
            "left": self._left(step),
            "line": self._line,
            "error": None if self._error is None else f"{type(self._error).__name__}: {self._error}"[:2000],
            "knobs": self.run.knobs.at(step),
            "marks": self._marks(),
            "steps": steps,
            **curves,
            "teacher": self._teacher_quality,
            "code": self.code,
        }

    def _left(self, step: int) -> float | None:
        """Seconds to the end, from the speed of the last two."""
        times = [each for each in tuple(self._times) if each[0] > time.monotonic() - 2 and each[1] <= step]
        if not self._running or len(times) < 2 or times[-1][1] <= times[0][1]:
            return None
        return (self.run.steps - step) * (times[-1][0] - times[0][0]) / (times[-1][1] - times[0][1])

    def _marks(self) -> list[list[Any]]:
        """Where a knob was turned: (step, symbol, value). A turn over several steps is one mark; a schedule none."""
        marks: list[list[Any]] = []
        history = tuple(self.run.history)
        for name, symbol in SYMBOLS.items():
            if callable(getattr(self.run.knobs, name)):
                continue
            own: list[list[Any]] = []
            for before, after in itertools.pairwise(history):
                if getattr(before, name) != getattr(after, name):
                    if own and after.step - own[-1][0] <= max(3, self.run.steps // 25):
                        own.pop()
                    own.append([after.step, symbol.replace("learning rate", "lr"), getattr(after, name)])
            marks += own
        return sorted(marks)

    def _standing(self) -> str:
        """The newest measure in words."""
        words = []
        for name in self._runs:
            steps = [key[1] for key in self._rows if key[0] == name]
            if steps and (value := self._rows[name, max(steps)][self._quality]) == value:
                words.append(
                    f"{say(name)} {100 * value:.1f} %" if self._quality == "accuracy" else f"{say(name)} {value:.1f}"
                )
        title = {"accuracy": say("Right answers"), "perplexity": say("Perplexity"), "test_loss": say("Loss")}
        if self._quality == "perplexity":
            count, of = self._test.labels.numel(), (say("test tokens"), say("the run's own tokens"))
        else:
            count, of = len(self._test), (say("test examples"), say("the run's own examples"))
        where = of[self._task is None]
        said = {"quality": title[self._quality], "count": count, "where": where, "values": ", ".join(words)}
        return say("{quality} on {count} {where}: {values}.", **said) if words else ""

    # ── what the page asks ───────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        kind: str = content.get("kind", "")
        value: Any = content.get("value")
        try:
            if kind == "hello":
                self._send_data()
            elif kind == "at":
                self._send_logits(int(value))
            elif kind == "python":
                self.send({"kind": "python", "text": self.python()})
            elif kind == "knob":
                self._turn({str(content["name"]): value})
            elif kind == "code":
                self._apply(str(value))
            elif kind == "pace":
                self._pace = _pace(value)
                self._line = (
                    say("Slowed to {pace:g} steps a second.", pace=self._pace)
                    if self._pace
                    else say("As fast as it goes.")
                )
            elif kind in ("run", "pause", "step", "reset"):
                getattr(self, f"_do_{kind}")()
        except Exception as error:
            self._line = f"{error}"
        if kind not in ("hello", "at", "python"):
            self._wake.set()
            self._show(now=kind != "knob")

    def _do_run(self) -> None:
        if not self.done:
            self._error, self._running, self._line = None, True, say("Running.")
            self._times.clear()
            self._start()

    def _do_pause(self) -> None:
        self._running = False
        with self._pair:  # the step under way is the last one
            self._line = say("Paused at step {step}. {standing}", step=len(self.run.history), standing=self._standing())

    def _do_step(self) -> None:
        self._running, self._error = False, None
        try:
            self._advance()
        except Exception as error:
            self._fail(error)
            return
        if self.run.history:
            last = self.run.history[-1]
            self._line = say(
                "Step {step}: loss {loss:.3f}, soft term {soft:.3f}, hard term {hard:.3f} nats.",
                step=last.step,
                loss=last.loss,
                soft=last.soft,
                hard=last.hard,
            )
        if self.done:
            self._finish()
        self._start()

    def _do_reset(self) -> None:
        with self._pair:
            self._running, self._error = False, None
            for name, run in self._runs.items():
                run.reset()
                self._measure(name, len(run.history))
            self._times.clear()
        self.stored = {}
        self._line = say("Back at step 0, with the knobs as they are. Run starts anew.")
        self._start()

    def _turn(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            setattr(self.run.knobs, name, value)
            if name == "lr" and self.twin is not None:
                self.twin.knobs.lr = value
        said = ", ".join(f"{say(SYMBOLS[name])} {value:.4g}" for name, value in values.items())
        self._line = say("From step {step}: {knobs}.", step=len(self.run.history) + 1, knobs=said)

    def _apply(self, code: str) -> None:
        setting = decode(code)
        self._turn({name: value for name, value in setting.items() if name in SYMBOLS})
        for key, name in KEYS.items():
            own = getattr(self._setting or self.run, name, None)
            if name in setting and name not in SYMBOLS and setting[name] != own:
                self._line += (
                    say(" {key}={wanted} says nothing of this run: see Python.", key=key, wanted=setting[name])
                    if own is None
                    else say(" {key}={wanted} is for another run (this one has {own}): see Python.",
                             key=key, wanted=setting[name], own=own)
                )  # fmt: skip

    def _examples(self) -> tuple[int, list[str], Tensor, Tensor]:
        """The test examples: the side of square pictures (or 0), texts, pixels (count, side²), the teacher's logits."""
        inputs, side = self._test.inputs, 0
        pixels = torch.empty(0)
        if isinstance(inputs, Tensor) and inputs.is_floating_point():
            side = round(inputs[0].numel() ** 0.5)
            if 4 <= side <= 64 and side * side == inputs[0].numel():
                pixels = inputs.flatten(1).float().cpu().clamp(min=0)
                pixels = (255 * pixels / pixels.max().clamp(min=1e-9)).to(torch.uint8)
        asked = getattr(self._task, "asked", ()) if hasattr(self._task, "asked_for") else ()
        said = [self._task.asked_for(row)[:MOST_SAID] for row in asked[: len(self._test)]]
        teacher = self._teacher if self._teacher is not None and self._teacher.ndim == 2 else torch.empty(0)
        return side if len(pixels) else 0, said, pixels, teacher

    def _send_data(self) -> None:
        side, said, pixels, teacher = self._examples()
        self.send(
            {"kind": "data", "side": side, "said": said},
            [_bytes(pixels, "<u1"), _bytes(self._test.labels, "<i4"), _bytes(teacher, "<f4")],
        )

    def _store(self) -> dict[str, Any]:
        """The script of a finished run, its first examples, and the models' answers at some of the steps measured.

        Answers are log-probabilities in thousandths of a nat, two bytes each. STORED bytes in all.
        """
        with self._guard:
            kept = dict(self._logits)
        steps = sorted({step for _, step in kept if all((name, step) in kept for name in self._runs)})
        if not steps:
            return {"python": self.python()}
        side, said, pixels, teacher = self._examples()
        answer = 2 * kept["student", steps[0]].shape[-1]
        example = side**2 + 4 + answer * (len(teacher) > 0) + (len(json.dumps(said)) // len(said) if said else 0)
        count = min(len(self._test), STORED // (example + STOPS * len(self._runs) * answer))
        most = (STORED // count - example) // (len(self._runs) * answer)
        chosen = [steps[round(at)] for at in np.linspace(0, len(steps) - 1, min(most, len(steps)))]
        return {
            "python": self.python(),
            "side": side,
            "said": said[:count],
            "pixels": _bytes(pixels[:count], "<u1"),
            "labels": _bytes(self._test.labels[:count], "<i4"),
            "teacher": _thousandths(teacher[:count]),
            "steps": chosen,
            "logits": [[_thousandths(kept[name, step][:count]) for name in self._runs] for step in chosen],
        }

    def _send_logits(self, step: int) -> None:
        with self._guard:
            steps = [key[1] for key in self._logits if key[0] == "student"]
            if not steps:
                return
            at = min(steps, key=lambda each: (abs(each - step), each))
            kept = [self._logits.get((name, at)) for name in self._runs]
        self.send({"kind": "at", "step": at}, [_bytes(each, "<f4") for each in kept if each is not None])


# ── the short code ───────────────────────────────────────────────────────────────────────────────────────────────────


def encode(setting: Mapping[str, float]) -> str:
    """A setting as a short code.

    >>> encode({"temperature": 4.0, "alpha": 0.9, "labelled": 100, "seed": 3})
    'T=4&a=.9&n=100&seed=3'
    """
    return "&".join(f"{key}={setting[name]:.12g}".replace("=0.", "=.") for key, name in KEYS.items() if name in setting)


def decode(code: str) -> dict[str, Any]:
    """The setting that a short code stands for.

    >>> decode("T=4&a=.9&n=100&seed=3")
    {'temperature': 4.0, 'alpha': 0.9, 'labelled': 100, 'seed': 3}
    """
    setting: dict[str, Any] = {}
    for part in code.strip().split("&"):
        key, _, text = part.partition("=")
        if key not in KEYS:
            raise BadValue(f"the code has {shown(key, 20)}, allowed are {', '.join(KEYS)}.{meant(key, KEYS)}")
        setting[KEYS[key]] = read_value(key, text)
    return setting


def _pace(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e6:
        raise BadValue(f"pace must lie in [0, 1e6] steps a second, got {shown(value)} (0 is as fast as it goes)")
    return value


def _plain(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.5g}")


def _thousandths(logits: Tensor) -> bytes:
    """Log-probabilities in thousandths of a nat, as int16: exact enough for every bar, and down to -32."""
    return _bytes((1000 * logits.log_softmax(-1)).round().clamp(min=-32_000), "<i2") if len(logits) else b""


def _bytes(values: Tensor, dtype: str) -> bytes:
    return np.ascontiguousarray(values.detach().cpu().numpy(), dtype).tobytes()
