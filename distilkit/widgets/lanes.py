"""A run as the playground holds it: student and twin, what was measured of them, a look inside, its part of a file."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadFile, shown
from distilkit.setting import KEYS, Setting, turns_of
from distilkit.widgets import parcel

if TYPE_CHECKING:
    from torch import Tensor

    from distilkit.training import Run, Step

NAMES = "ABCD"
NAMED = 40  # letters of a run's name, at most
MEASURES = 60  # how often a whole run is measured
EXAMPLES = 1000  # of the test set, at most; of a text, so many tokens
SHOWN = 40  # disagreements
TOP = 3  # likeliest tokens that are kept of each place
CATCHING_UP = 0.1  # seconds, after which a twin that is behind lets others have a turn
MEASURED = ("quality", "agreement", "mean_kl", "loss", "soft", "hard")
SIGNS = {"temperature": "T", "alpha": "α", "lr": "lr"}


class Side:
    """A student or a twin: its run, and what was measured of it at some steps.

    A twin that `follows` a lane has at each step the learning rate of that lane's student; another keeps its own.
    """

    def __init__(self, run: Run, follows: Lane | None = None) -> None:
        self.run, self.follows = run, follows
        self.rows: dict[int, list[float]] = {}  # step -> MEASURED
        self.kept: dict[int, dict[str, Tensor]] = {}  # step -> what a look inside needs
        if follows is not None:
            history, knobs = follows.student.run.history, follows.student.run.knobs

            def rate(step: int) -> float:
                return history[step].lr if step < len(history) else knobs.at(step)["lr"]

            run.knobs.lr = rate  # type: ignore[assignment]

    @property
    def step(self) -> int:
        return len(self.run.history)

    @property
    def last(self) -> list[float]:
        return self.rows[max(self.rows)]


class Lane:
    """One of the runs side by side. Until it is built, by `build`, it is a setting and a name.

    Attributes:
        student, twin: their `Side`s; several lanes may have the same twin.
        answers: the teacher's logits on `test`.
        error: what ended it.
        parcel: of a lane from a file, until it is built: its entry, all tensors, and how its own are called.
    """

    student: Side
    twin: Side
    task: Any
    test: Any
    answers: Tensor
    best: float

    def __init__(self, setting: Setting, colour: int, name: object = "") -> None:
        self.setting, self.colour, self.name = setting, colour, named(name) or NAMES[colour]
        self.built = False
        self.error: BaseException | None = None
        self.parcel: tuple[Mapping[str, Any], Mapping[str, Tensor], str] | None = None

    @property
    def step(self) -> int:
        return self.student.step if self.built else 0

    @property
    def done(self) -> bool:
        """Whether student and twin have made every step."""
        return self.built and self.student.run.done and self.caught_up

    @property
    def caught_up(self) -> bool:
        return self.twin.step >= self.student.step

    @property
    def text(self) -> bool:
        return self.setting.task != "digits"

    @property
    def quality(self) -> str:
        return "perplexity" if self.text else "accuracy"

    @property
    def now(self) -> Setting:
        """The setting with the knobs as they stand."""
        knobs: dict[str, Any] = self.student.run.knobs.at(self.step) if self.built else {}
        return replace(self.setting, **knobs)

    @property
    def turns(self) -> list[Any]:
        """The turns of its knobs so far."""
        if not self.built:
            return []
        run = self.student.run
        return turns_of(self.setting, run.history, None if run.done else run.knobs.at(self.step))

    @property
    def of_the_twin(self) -> tuple[Any, ...]:
        """What of the setting decides the twin, and what it is compared with."""
        return tuple(getattr(self.setting, KEYS[key]) for key in KEYS if key not in ("text", "div", "T", "a"))

    # ── making steps ─────────────────────────────────────────────────────────────────────────────────────────────────

    def build(self, started: Any, answers: Tensor, lanes: Sequence[Lane]) -> None:
        """Take what the setting started; of a lane from a file, with all that is in it."""
        self.task, self.answers = started.task, answers
        self.test = started.task.test[: len(answers)]
        self.best = self._quality(answers)
        self.student = Side(started.run)
        if self.parcel is None:
            self.pair_up(lanes, started.twin)
            self.measure(self.student)
        else:
            self._restore(started.twin, lanes)
        self.built, self.parcel = True, None

    def pair_up(self, lanes: Sequence[Lane], twin: Run | None = None) -> None:
        """Give it a twin: another lane's, if it is the same and no knob of it was turned; else one of its own."""
        for other in lanes:
            if other is not self and other.built and other.of_the_twin == self.of_the_twin and not other.twin.follows:
                self.twin = other.twin
                return
        self.twin = Side(self.setting.twin(self.task) if twin is None else twin)
        self.measure(self.twin)

    def advance(self, running: bool) -> Step | bool:
        """One step of student and twin, of the twin alone while it is behind; whether there was one to make."""
        if not self.caught_up:
            self._catch_up()
            return True
        if not running or self.student.run.done:
            return False
        step = next(self.student.run)
        self._measure_if_due(self.student)
        self._catch_up()
        return step

    def _catch_up(self) -> None:
        end = time.monotonic() + CATCHING_UP
        while not self.caught_up and time.monotonic() < end:
            next(self.twin.run)
            self._measure_if_due(self.twin)

    def turn(self, knob: str, value: Any, lanes: Sequence[Lane]) -> None:
        """A knob's new value: in the running loop at once; before the first step, in the setting."""
        if self.step == 0:
            self.setting = replace(self.setting, **{knob: value})
        if not self.built:
            return
        setattr(self.student.run.knobs, knob, value)
        if knob != "lr" or self.twin.follows is self:
            return
        if self.step == 0:
            self.pair_up(lanes)
        else:
            old = self.twin
            shared = any(other.built and other.twin is old for other in lanes if other is not self)
            if shared or old.step > self.step:  # it must not change: another makes its steps again, at the new rate
                self.twin = Side(self.setting.twin(self.task), self)
                self.measure(self.twin)
            else:
                self.twin = Side(old.run, self)
                self.twin.rows, self.twin.kept = old.rows, old.kept

    def reset(self, lanes: Sequence[Lane]) -> None:
        """Back to step 0, with the knobs as they stand."""
        self.setting, self.error = self.now, None
        if self.built:
            self.student.run.reset()
            self.student = Side(self.student.run)
            self.measure(self.student)
            if self.twin.follows:
                self.pair_up(lanes)

    # ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────────

    def _measure_if_due(self, side: Side) -> None:
        if side.step % -(-side.run.steps // MEASURES) == 0 or side.run.done:
            self.measure(side)

    def measure(self, side: Side) -> None:
        """Quality and fidelity on the test, the mean loss since the last measure, and what a look inside needs."""
        from distilkit import metrics
        from distilkit.models import predict

        logits = predict(side.run.student, self.test.inputs).float()
        recent = side.run.history[max([0, *(at for at in side.rows if at < side.step)]) : side.step]
        means = [sum(getattr(each, term) for each in recent) / len(recent) if recent else math.nan
                 for term in ("loss", "soft", "hard")]  # fmt: skip
        if side.run.teacher is None:
            means[1] = math.nan
        fidelity = [metrics.agreement(logits, self.answers), metrics.mean_kl(logits, self.answers)]
        side.rows[side.step] = [self._quality(logits), *fidelity, *means]
        side.kept[side.step] = self._insides(logits)

    def _quality(self, logits: Tensor) -> float:
        from distilkit import metrics

        return float(getattr(metrics, self.quality)(logits, self.test.labels))

    def _insides(self, logits: Tensor) -> dict[str, Tensor]:
        """Of pictures all logits; of a text the likeliest tokens at each place, and the KL from the teacher."""
        import torch

        from distilkit import divergences

        if not self.text:
            return {"logits": logits.half()}
        best = logits.softmax(-1).topk(TOP)
        kl = divergences.forward_kl(logits, self.answers, reduction="none")
        return {"top": best.indices.to(torch.int32), "share": best.values.half(), "kl": kl.clamp(max=6e4).half()}

    @property
    def beside(self) -> list[float]:
        """The twin's measure at the student's last one."""
        return self.twin.rows[nearest(self.twin.rows, max(self.student.rows))]

    def curves(self, lanes: Sequence[Lane]) -> dict[str, Any]:
        """What the page draws of it. A twin that several have is the first one's."""
        about = {"colour": self.colour, "name": self.name, "quality": self.quality, "steps": self.setting.steps}
        if not self.built:
            return about
        own = next(other for other in lanes if other.built and other.twin is self.twin) is self
        sides = {"student": self.student} | ({"twin": self.twin} if own else {})
        return about | {"teacher": rounded(self.best), "sides": {role: _curve(side) for role, side in sides.items()}}

    def marks(self) -> list[list[Any]]:
        """Where its knobs were turned; of turns close together, as a drag makes them, the last."""
        found: list[Any] = []
        for at, knob, value in self.turns:
            near = max(3, self.setting.steps // 25)
            found = [old for old in found if old[1] != SIGNS[knob] or at - old[0] > near]
            found.append([at, SIGNS[knob], rounded(value)])
        return found[-12:]

    def look(self, wanted: int | None, passage: int) -> dict[str, Any]:
        """Where student and teacher disagree, at a step that was measured."""
        step = nearest(self.student.kept, wanted)
        sides = {"teacher": self._insides(self.answers), "student": self.student.kept[step]}
        sides |= {"twin": self.twin.kept[step]} if step in self.twin.kept else {}
        show = self._look_text if self.text else self._look_pictures
        return {"name": self.name, "colour": self.colour, "step": step, **show(sides, passage)}

    def _look_pictures(self, sides: Mapping[str, Mapping[str, Tensor]], _: int) -> dict[str, Any]:
        said = {role: side["logits"].float() for role, side in sides.items()}
        differ = (said["teacher"].argmax(-1) != said["student"].argmax(-1)).nonzero().squeeze(1)
        examples = [
            {
                "i": i,
                "label": int(self.test.labels[i]),
                "pixels": [round(float(ink), 2) for ink in self.test.inputs[i]],
                "logits": {role: [round(float(z), 3) for z in logits[i]] for role, logits in said.items()},
            }
            for i in differ[:SHOWN].tolist()
        ]
        return {"kind": "pictures", "count": len(differ), "of": len(self.test), "examples": examples}

    def _look_text(self, sides: Mapping[str, Mapping[str, Tensor]], passage: int) -> dict[str, Any]:
        passage = min(passage, len(self.test) - 1)
        known: dict[int, str] = {}

        def word(token: int) -> str:
            if token not in known:
                known[token] = _inert(self.task.decode(self.test.inputs.new_tensor([token])))
            return known[token]

        def expected(side: Mapping[str, Tensor]) -> list[list[list[Any]]]:
            top, shares = side["top"][passage].tolist(), side["share"][passage].tolist()
            return [
                [[word(token), round(share, 3)] for token, share in zip(*row, strict=True)]
                for row in zip(top, shares, strict=True)
            ]

        differ = sides["teacher"]["top"][..., 0] != sides["student"]["top"][..., 0]
        return {
            "kind": "text",
            "count": int(differ.sum()),
            "of": differ.numel(),
            "passage": passage,
            "passages": len(self.test),
            "tokens": [word(token) for token in self.test.labels[passage].tolist()],
            "differ": differ[passage].int().tolist(),
            "kl": [round(each, 3) for each in sides["student"]["kl"][passage].tolist()],
            "expected": {role: expected(side) for role, side in sides.items()},
        }

    # ── its part of a file ───────────────────────────────────────────────────────────────────────────────────────────

    def pack(self, prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a file keeps of it: an entry of its header, and tensors whose names begin with `prefix`."""
        import torch

        entry: dict[str, Any] = {"name": self.name, "code": self.setting.code(), "turns": self.turns}
        tensors: dict[str, Tensor] = {}
        if self.parcel is not None:  # from a file, and not yet built: as it came
            old, all_of_them, before = self.parcel
            own = {name: value for name, value in all_of_them.items() if name.startswith(before)}
            return {**old}, {f"{prefix}{name.removeprefix(before)}": value for name, value in own.items()}
        if self.built:
            entry["follows"] = self.twin.follows is self
            for role, side in (("run", self.student), ("twin", self.twin)):
                entry[role], own = parcel.take(side.run, f"{prefix}{role}")
                steps = sorted(side.rows)
                tensors |= own
                tensors[f"{prefix}{role}_steps"] = torch.tensor(steps, dtype=torch.int64)
                tensors[f"{prefix}{role}_rows"] = torch.tensor([side.rows[step] for step in steps]).double()
                for name in side.kept[steps[0]]:
                    tensors[f"{prefix}{role}_{name}"] = torch.stack([side.kept[step][name] for step in steps])
        return entry, tensors

    def _restore(self, twin: Run, lanes: Sequence[Lane]) -> None:
        """What a file holds of it, whose student was just made anew."""
        assert self.parcel is not None
        entry, tensors, prefix = self.parcel
        follows = entry.get("follows") is True
        parcel.give(self.student.run, f"{prefix}run", entry.get("run", {}), tensors)
        parcel.give(twin, f"{prefix}twin", entry.get("twin", {}), tensors)
        self.twin = Side(twin, self if follows else None)
        for role, side in (("run", self.student), ("twin", self.twin)):
            self._restore_measures(side, f"{prefix}{role}", tensors)
        for other in lanes:  # a twin that runs have in common is one
            alike = other is not self and other.built and other.of_the_twin == self.of_the_twin and not follows
            if alike and not other.twin.follows and other.twin.run.history == twin.history:
                self.twin = other.twin

    def _restore_measures(self, side: Side, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        like = self._insides(self.answers)
        try:
            steps = tensors[f"{prefix}_steps"].tolist()
            found = {name: tensors[f"{prefix}_{name}"] for name in ("rows", *like)}
        except KeyError as error:
            raise BadFile(f"the file lacks {shown(str(error))}") from None
        if not isinstance(steps, list) or sorted({0, *steps}) != steps or steps[-1] > side.step:
            raise BadFile(f"the file's {prefix} has {side.step} steps, and was measured at {shown(steps)}")
        wanted = {"rows": (len(steps), len(MEASURED))} | {name: (len(steps), *like[name].shape) for name in like}
        for name, shape in wanted.items():
            if tuple(found[name].shape) != shape:
                raise BadFile(f"the file's {prefix}_{name} is {tuple(found[name].shape)}, expected {shape}")
            if name != "rows" and not found[name].double().isfinite().all():
                raise BadFile(f"the file's {prefix}_{name} holds nan or inf")
        if self.text and not 0 <= int(found["top"].min()) <= int(found["top"].max()) < self.answers.shape[-1]:
            raise BadFile("the file shows tokens that the vocabulary does not have")
        side.rows = dict(zip(steps, found["rows"].double().tolist(), strict=True))
        side.kept = {step: {name: found[name][i].to(like[name].dtype) for name in like} for i, step in enumerate(steps)}


def nearest(steps: Mapping[int, Any], wanted: int | None) -> int:
    """The last of these steps up to the one wanted; the last of all, where none is.

    >>> nearest({0: "", 10: "", 20: ""}, 15), nearest({0: "", 10: ""}, None)
    (10, 10)
    """
    return max((step for step in steps if wanted is None or step <= wanted), default=min(steps))


def named(name: object) -> str:
    """A run's name as it is shown: what would act in it is made visible, what is too long is cut.

    >>> named(" no  teacher\\n")
    'no teacher'
    """
    return _inert(" ".join(str(name)[: 2 * NAMED].split()))[:NAMED] if isinstance(name, str) else ""


def rounded(value: float) -> float | None:
    """A number as the page is told it; None where there is none."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _curve(side: Side) -> dict[str, list[Any]]:
    steps = sorted(side.rows)
    rows = [side.rows[step] for step in steps]
    return {"at": steps} | {name: [rounded(row[i]) for row in rows] for i, name in enumerate(MEASURED)}


def _inert(text: str) -> str:
    from distilkit.widgets.lens import inert

    return inert(text)
