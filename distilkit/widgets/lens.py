"""The token lens: text whose tokens are coloured by what teacher and student make of them, at any step of training."""

from __future__ import annotations

import copy
import threading
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import traitlets
from torch import Tensor, nn

from distilkit import divergences as dv, plots
from distilkit.errors import BadType, BadValue, real, shown, whole
from distilkit.models import predict
from distilkit.training import Run, Step
from distilkit.transfer import complete
from distilkit.widgets.base import Widget
from distilkit.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 128  # tokens of the text
TYPED = 500  # characters of a text of one's own
STEPS = 21  # of training, at most, that can be scrubbed through
MOST = 20  # bars
WRITTEN = 40  # tokens that each model writes on
CLIP = 40  # characters of a token that are shown
OPENING = 30_000  # bytes of logits, at most, that a page gets before it asks


def lens(
    task: Any,
    text: str | Tensor | None = None,
    *,
    teacher: nn.Module,
    student: nn.Module | Run | Mapping[int, Any],
    twin: nn.Module | Run | Mapping[int, Any] | None = None,
    top: int = 8,
) -> Lens:
    """Text, each token coloured by KL(teacher ‖ student), a loss or an entropy; click one to see what else might come.

    The colour of a token belongs to the prediction of that token, made where the one before it stands. Its bars are
    ``softmax(z / T)`` of teacher, student and twin, at any T. "Type your own" measures another text, "write on" lets
    every model go on in place of the chosen token.

    Args:
        task: gives the tokenizer, and where `text` is None the first held-out block of its `test`.
        text: what to look at, or its tokens (n,); the first 128 tokens are shown.
        teacher: a causal language model that returns logits (n, time, words), or a Hugging Face one.
        student, twin: likewise; or a `Run`, as it now stands; or `snapshots(run)`, to scrub through training (also
            ``{step: model}``).
        top: how many of each model's next tokens have a bar to begin with, 1 to 20.

    Raises:
        BadType, BadValue: what is no model, a text shorter than two tokens, models of other tokens than the task's.

    >>> import distilkit as dk
    >>> task = dk.tasks.docs()
    >>> view = dk.lens(task, "Return the value", teacher=task.student(seed=1), student=task.student(seed=0))
    >>> len(view.tokens), view.measures.shape                # steps × measures × predictions
    (3, (1, 5, 3))
    >>> view.close()
    """
    top = whole("top", top, 1, MOST, "how many next tokens of each model are shown")
    if not isinstance(teacher, nn.Module):
        raise BadType(f"the teacher must be a torch.nn.Module, got {type(teacher).__name__}")
    models = {"teacher": {0: teacher}, "student": _by_step("student", student)}
    if twin is not None:
        models["twin"] = _by_step("twin", twin)
    return Lens(task, text, models, top)


class Snapshots(Mapping[int, nn.Module]):
    """The student of a run as it was at some of its steps: {step: model}. See `snapshots`."""

    def __init__(self, run: Run, every: int) -> None:
        self._run, self._every = run, every
        self._weights: dict[int, dict[str, Tensor]] = {}
        with run._lock:
            self._model = copy.deepcopy(run.student).eval()
            self._keep(len(run.history))
            run.listeners.append(self._tell)

    def __getitem__(self, step: int) -> nn.Module:
        """The student at this step, a module of its own."""
        model = copy.deepcopy(self._model)
        model.load_state_dict(self._weights[step])
        return model

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._weights))

    def __len__(self) -> int:
        return len(self._weights)

    def _tell(self, step: Step) -> None:
        if step.step % self._every == 0 or step.step == self._run.steps:
            self._keep(step.step)

    def _keep(self, step: int) -> None:
        state = self._run.student.state_dict()
        kept = {each: weights for each, weights in self._weights.items() if each < step}  # those after, a reset undid
        self._weights = {**kept, step: {name: value.detach().cpu().clone() for name, value in state.items()}}


def snapshots(run: Run, *, every: int = 50) -> Snapshots:
    """Keep the student's weights every so many steps while `run` trains, and at its end, for `lens`: {step: model}.

    They lie in memory: a student of 160,000 parameters takes 0.7 MB a step. Whoever trains, a cell or `watch`, fills
    them.

    >>> import distilkit as dk
    >>> task = dk.tasks.digits()
    >>> run = dk.distill(task.student(), task.teacher(), task.transfer, steps=5)
    >>> kept = dk.snapshots(run, every=2)
    >>> student = run.result()
    >>> list(kept)
    [0, 2, 4, 5]
    """
    if not isinstance(run, Run):
        raise BadType(f"snapshots needs what distill(…) returned, got {type(run).__name__}")
    return Snapshots(run, whole("every", every, 1, 10**9, "steps between two snapshots"))


class Lens(Widget):
    """The view that `lens` returns.

    Attributes:
        tokens: the text's tokens, (n,).
        steps: the steps of training that can be scrubbed through.
        measures: float32 (steps, measures, n): place i is the prediction of token i + 1, the last of what would come
            next. In the order of `named`, in nats, nan where there is no next token to lose on.
        named: ("kl", "student"), ("loss", "teacher"), …: what each row of `measures` is.
        written: what the models last wrote on, tokens by model.
    """

    files = "lens"
    about = traitlets.Dict().tag(sync=True)  # what never changes
    page = traitlets.Dict().tag(sync=True)  # the text: its tokens, their names, the chosen one
    values = traitlets.Bytes().tag(sync=True)  # float16 (steps, measures, n)
    heads = traitlets.Bytes().tag(sync=True)  # float16 (roles, n, bars): log-probabilities of the last step, T = 1
    opening = traitlets.Bytes().tag(sync=True)  # float32 (roles, words): the chosen place's logits at the last step

    def __init__(self, task: Any, text: Any, models: dict[str, Mapping[int, nn.Module]], top: int) -> None:
        self._task, self._top = task, top
        several = [each for each in models.values() if len(each) > 1] or [models["student"]]
        self.steps = _thinned(sorted({step for each in several for step in each}))
        # Each model at the steps that are shown, and for each of these the place of what it then was.
        self._models, self._places = {}, {}  # type: dict[str, list[nn.Module]], dict[str, list[int]]
        for role, by_step in models.items():
            own = sorted(by_step)
            then = [own[max(0, bisect_right(own, step) - 1)] for step in self.steps]
            self._models[role] = [by_step[step] for step in sorted(set(then))]
            self._places[role] = [sorted(set(then)).index(step) for step in then]
        self.named = [("kl", role) for role in models if role != "teacher"]
        self.named += [(kind, role) for kind in ("loss", "entropy") for role in models]
        self.written: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}
        self._serial = 0
        self._guard = threading.RLock()  # one text at a time
        self._first = self._tokens(text)
        super().__init__()
        self.about = {
            "roles": list(models),
            "steps": self.steps,
            "places": self._places,
            "named": [list(each) for each in self.named],
            "top": top,
            "most": MOST,
            "typed": TYPED,
            "written": WRITTEN,
        }
        self._look(self._first)

    # ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, tokens: Tensor) -> None:
        """Measure a text at every step, and show it."""
        logits = {role: self._logits(role, tokens) for role in self._models}
        words = {role: each.shape[-1] for role, each in logits.items()}
        if len(set(words.values())) > 1 or words["teacher"] <= int(tokens.max()):
            raise BadValue(
                f"the models must have one logit for each of the task's tokens, all alike; they have {words}"
            )
        self.tokens, self._all = tokens, logits
        self.measures = np.stack([self._measures(step) for step in range(len(self.steps))])
        self._serial += 1
        chosen = int(self.measures[-1, 0, :-1].argmax())
        last = {role: each[-1] for role, each in logits.items()}
        bars = self._bars(last)
        small = 4 * sum(each.shape[-1] for each in last.values()) <= OPENING
        ids = {each for row in bars for each in row} | (self._leaders(chosen) if small else set())
        soft = [each.log_softmax(-1) for each in last.values()]
        heads = [each[place, row] for each in soft for place, row in enumerate(bars)]
        with self.hold_sync():
            self.page = {
                "serial": self._serial,
                "tokens": [self._name(each) for each in tokens.tolist()],
                "ids": tokens.tolist(),
                "end": self._task.tokenizer.eos_token_id,
                "bars": bars,
                "names": {str(each): self._name(each) for each in sorted(ids)},
                "chosen": chosen,
            }
            self.values = self.measures.clip(max=6e4).astype("<f2").tobytes()
            self.heads = torch.cat(heads).clamp(min=-6e4).numpy().astype("<f2").tobytes()
            self.opening = b"".join(_bytes(each[chosen]) for each in last.values()) if small else b""

    def _logits(self, role: str, tokens: Tensor) -> Tensor:
        """What a model predicts at each place, at each of its steps: (steps, n, words)."""
        found = torch.stack([predict(model, tokens[None])[0].float().cpu() for model in self._models[role]])
        if found.ndim != 3 or found.shape[1] != len(tokens):
            raise BadValue(f"the {role} must return logits (n, time, words), got {tuple(found.shape[1:])} for one text")
        return found[..., : len(self._task.tokenizer)]

    def _measures(self, at: int) -> np.ndarray:
        """Every measure at one of the steps, (measures, n)."""
        logits = {role: each[self._places[role][at]] for role, each in self._all.items()}
        rows = []
        for kind, role in self.named:
            if kind == "kl":
                row = dv.forward_kl(logits[role], logits["teacher"], reduction="none")
            elif kind == "entropy":
                row = dv.entropy(logits[role])
            else:
                true = logits[role][:-1].log_softmax(-1).gather(1, self.tokens[1:, None])[:, 0]
                row = torch.cat([-true, torch.tensor([torch.nan])])
            rows.append(row.numpy())
        return np.stack(rows)

    def _bars(self, last: Mapping[str, Tensor]) -> list[list[int]]:
        """The likeliest next tokens at each place, teacher's and student's, and the true one."""
        count = min(self._top, last["teacher"].shape[-1])
        first, second = (last[role].topk(count).indices.tolist() for role in ("teacher", "student"))
        true = [[each] for each in self.tokens[1:].tolist()] + [[]]
        return [list(dict.fromkeys([*a, *b, *c])) for a, b, c in zip(first, second, true, strict=True)]

    def _leaders(self, place: int) -> set[int]:
        """Every token that can have a bar at this place at any step; T does not change the order."""
        count = min(MOST, self._all["teacher"].shape[-1])
        leaders = torch.cat([each[:, place].topk(count).indices.flatten() for each in self._all.values()])
        return set(leaders.tolist())

    def _tokens(self, text: object) -> Tensor:
        return first_tokens(self._task, text, LONGEST, "one to predict from and one to predict")

    def _name(self, token: int) -> str:
        if token not in self._names:
            tokenizer = self._task.tokenizer
            raw = tokenizer.convert_ids_to_tokens(token) or ""
            text = self._task.decode(torch.tensor([token]))
            glued = raw.startswith("▁") and not text.startswith(" ")  # SentencePiece leaves a first space out
            self._names[token] = inert(" " + text if glued else text)
        return self._names[token]

    # ── what stands in where widgets cannot run ──────────────────────────────────────────────────────────────────────

    def figure(self) -> Figure:
        """The text, coloured by KL(teacher ‖ student) at the last step."""
        return plots.tokens(self.page["tokens"], [np.nan, *self.measures[-1, 0, :-1]])

    def line(self) -> str:
        """The means, and where student and teacher differ most."""
        means = {each: float(row[:-1].mean()) for each, row in zip(self.named, self.measures[-1], strict=True)}
        words = {"kl": "KL(teacher ‖ {role})", "loss": "{role}’s loss"}
        said = [
            f"{say(words[kind], role=say(role))} {value:.3f}"
            for wanted in words
            for (kind, role), value in means.items()
            if kind == wanted
        ]
        at = int(self.measures[-1, 0, :-1].argmax())
        return say(
            "Token lens: {count} predictions, mean {means} nats. Furthest from the teacher: token {place} {token!r}, "
            "KL {kl:.3f} nats.",
            count=len(self.tokens) - 1,
            means=", ".join(said),
            place=at + 1,
            token=self.page["tokens"][at + 1],
            kl=self.measures[-1, 0, at],
        )

    # ── what the page asks ───────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, content: dict[str, Any], _: list[Any]) -> None:
        answers = {"at": self._send_logits, "text": self._measure, "write": self._write}
        if (kind := content.get("kind")) in answers:
            with self._guard:
                answers[kind](content)

    def _send_logits(self, content: Mapping[str, Any]) -> None:
        """All that is known of one place: every model's logits at every step."""
        if content.get("serial") != self._serial:
            return  # of a text that is gone
        place = whole("place", content.get("place"), 0, len(self.tokens) - 1, "where in the text")
        names = {str(each): self._name(each) for each in sorted(self._leaders(place))}
        self.send(
            {"kind": "at", "serial": self._serial, "place": place, "names": names},
            [_bytes(each[:, place]) for each in self._all.values()],
        )

    def _measure(self, content: Mapping[str, Any]) -> None:
        """A text that the reader typed; none is the first one again."""
        typed = content.get("value")
        text = typed[:TYPED] if isinstance(typed, str) and typed else None
        self._look(self._first if text is None else self._tokens(text))
        self.send({"kind": "measured", "serial": self._serial})

    def _write(self, content: Mapping[str, Any]) -> None:
        """Let every model write on in place of the chosen token."""
        if content.get("serial") != self._serial:
            return
        place = whole("place", content.get("place"), 0, len(self.tokens) - 1, "where in the text")
        step = whole("step", content.get("step"), 0, len(self.steps) - 1, "which step's models write")
        seed = whole("seed", content.get("seed"), 0, 2**31 - 1, "of the sampling")
        heat = real("sampling_temperature", content.get("temperature"), 0, 8, "0 takes the likeliest token")
        prompt = self.tokens[None, : place + 1]
        for role, models in self._models.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = models[self._places[role][step]]
                text = complete(model, prompt, length=WRITTEN, sampling_temperature=heat)
            self.written[role] = text[0, place + 1 :]
        self.send(
            {
                "kind": "written",
                "serial": self._serial,
                "place": place,
                "step": self.steps[step],
                "seed": seed,
                "temperature": heat,
                "ids": {role: each.tolist() for role, each in self.written.items()},
                "tokens": {role: [self._name(token) for token in each.tolist()] for role, each in self.written.items()},
            }
        )


def first_tokens(task: Any, text: object, most: int, needed: str) -> Tensor:
    """The tokens to look at, (n,), at most so many; at least two are `needed`. None is the first held-out block."""
    if text is None:
        text = task.test.inputs[0]
    elif isinstance(text, str):
        text = task.encode(text)
    if not isinstance(text, Tensor) or text.is_floating_point() or text.ndim > 2 or text.shape[:-1].numel() != 1:
        raise BadType(f"text must be a string, or tokens as whole numbers (n,), got {shown(text)}")
    tokens = text.reshape(-1)[:most].long().cpu()
    if len(tokens) < 2:
        raise BadValue(f"a text needs 2 tokens, {needed}; this one has {len(tokens)}")
    return tokens


def inert(text: str, most: int = CLIP) -> str:
    r"""`text` as it is shown: what would be invisible, or would act on what stands around it, by its name; clipped.

    >>> inert("a\x1b[1m") + inert("\u202e\u200b") + inert("new\nline")
    'a␛[1m⟨202E⟩⟨200B⟩new\nline'
    """
    clipped = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(map(_visible, clipped))


def _visible(letter: str) -> str:
    if letter in " \n":
        return letter
    if letter < " ":
        return "⇥" if letter == "\t" else chr(0x2400 + ord(letter))
    if letter == "\x7f":
        return "␡"
    return f"⟨{ord(letter):X}⟩" if unicodedata.category(letter)[0] in "CZ" else letter


def _by_step(role: str, given: object) -> Mapping[int, nn.Module]:
    """A model by step: a module and a run have one step, the present one."""
    if isinstance(given, nn.Module):
        return {0: given}
    if isinstance(given, Run):
        with given._lock:
            return {len(given.history): copy.deepcopy(given.student)}
    if isinstance(given, Mapping) and given and all(isinstance(step, int) for step in given):
        kept = given if isinstance(given, Snapshots) else dict(given)
        if isinstance(kept, Snapshots) or all(isinstance(model, nn.Module) for model in kept.values()):
            return kept
    raise BadType(f"the {role} must be a model, a Run, dk.snapshots(run) or {{step: model}}, got {shown(given)}")


def _thinned(steps: list[int]) -> list[int]:
    """At most STEPS of them, evenly, the first and the last among them."""
    return [steps[at] for at in np.linspace(0, len(steps) - 1, min(len(steps), STEPS)).round().astype(int)]


def _bytes(values: Tensor) -> bytes:
    return np.ascontiguousarray(values.detach().numpy(), "<f4").tobytes()
