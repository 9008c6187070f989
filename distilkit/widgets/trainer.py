"""What widgets that train for real share: one run at a time, told to the page as it goes, stopped by its button."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import traitlets
from torch import Tensor, nn

from distilkit.errors import DistilkitError
from distilkit.transfer import complete
from distilkit.widgets.base import Widget
from distilkit.words import say

if TYPE_CHECKING:
    from distilkit.training import Run

PUSH = 0.1  # seconds between two messages to the page

Found = TypeVar("Found")


class Stopped(DistilkitError):
    """A run was stopped before its end, by the button of the page."""


class Trainer(Widget):
    """A widget that trains: in the caller's thread by its `run`, in one of its own where the page asks."""

    fresh: traitlets.List = traitlets.List().tag(sync=True)  # what was run for real, newest last
    state = traitlets.Dict().tag(sync=True)  # {"doing", "step", "of", "loss"} in a run, {"error"} or {"line"} after it
    _said: tuple[type[Exception], ...] = (Stopped,)  # what ends a run without being a fault

    def __init__(self, **shown: Any) -> None:
        self._busy, self._stop = threading.Lock(), threading.Event()
        super().__init__(**shown)

    def close(self) -> None:
        """End the view, and what runs in it."""
        self._stop.set()
        super().close()

    def _ended(self) -> None:
        """Tell the page more than `state` does of a run's end; another may already be begun."""

    def _alone(self, run: Callable[[], Found]) -> Found:
        """What `run` gives, when no other goes on."""
        try:
            with self._busy:
                self._stop.clear()
                return run()
        finally:
            self.state = {}
            self._ended()

    def _begin(self, run: Callable[[], object], **told: Any) -> None:
        """Run it in a thread of its own, unless another goes on."""
        if self._busy.acquire(blocking=False):
            self._stop.clear()
            self.state = told
            threading.Thread(target=self._in_thread, args=(run,), daemon=True).start()

    def _in_thread(self, run: Callable[[], object]) -> None:
        after = {}
        try:
            run()
        except self._said as reason:
            after = {"line": f"{reason}"[:1].upper() + f"{reason}"[1:]}
        except Exception as error:  # shown in the widget: a thread has nobody to raise to
            after = {"error": f"{type(error).__name__}: {error}"[:400]}
        self._busy.release()  # before the page is told that it may run another
        self.state = after
        self._ended()

    def _trained(self, run: Run, doing: str, **told: Any) -> nn.Module:
        """The student of a run, whose steps are told and which can be stopped."""
        last = 0.0
        for step in run:
            if self._stop.is_set():
                raise Stopped(say("stopped at step {step} of {of}: {doing}", step=step.step, of=run.steps, doing=doing))
            if time.monotonic() - last > PUSH or run.done:
                last = time.monotonic()
                self.state = {**told, "doing": doing, "step": step.step, "of": run.steps, "loss": step.loss}
        return run.result()

    def _on_message(self, _: Any, content: Any, buffers: list[Any]) -> None:
        if isinstance(content, dict) and content.get("stop"):
            self._stop.set()
        super()._on_message(_, content, buffers)


def side_by_side(
    task: Any, prompts: Tensor, *, student: nn.Module, teacher: nn.Module, length: int, seed: int
) -> list[dict[str, str]]:
    """What both write after the same words, as text: {"prompt", "student", "teacher"} for each of the prompts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        written = [complete(model, prompts, length=length) for model in (student, teacher)]
    return [
        {name: task.decode(tokens) for name, tokens in (("prompt", p), ("student", s), ("teacher", t))}
        for p, s, t in zip(prompts, *(tokens[:, prompts.shape[1] :] for tokens in written), strict=True)
    ]
