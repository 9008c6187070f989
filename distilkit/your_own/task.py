"""A task of your own: data that `read_data` reads, a teacher by name or trained here, its student and its score."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from distilkit.errors import BadType, BadValue, choice, shown, whole
from distilkit.losses import kd_terms
from distilkit.models import Inputs, call, logits_of, predict
from distilkit.origin import remembered
from distilkit.pretrained import smaller
from distilkit.sources import Data, read_data
from distilkit.training import HardLoss, Knobs, distill
from distilkit.transfer import Examples

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]  # role -> text, or the path of a sound or a picture
KINDS = ("classification", "seq2seq", "language", "speech", "images")
SMALL = "small"  # a student that begins from nothing
LIMIT = {"speech": 4_000, "images": 10_000}  # rows that are learnt from, unless said otherwise …
USUAL_LIMIT = 20_000  # … of the other kinds
VALID = 0.1, 0.2  # of the labelled rows, at least and at most: they choose a learning rate, and when a teacher is done
FEW_VALID, MOST_VALID = 100, 500  # of them, if the shares allow
TEACHER_STEPS = 600  # of a teacher that is trained here
BLOCK = 64e6  # bytes of logits that are there at once
LOOKS = 8  # at the validation rows, while it learns
TEACHER_LR = 1.5e-3
STUDENT_LR = 4e-3
TUNED_LR = 5e-5  # of a pretrained model whose head is new


class Own:
    """A task of your own data, as `own` makes it: one class a kind of data.

    Attributes:
        source: the `Data`; `learnt`, `valid_rows`, `asked`: its rows to learn from, to choose by, and held out.
        train, transfer: the labelled rows, and all of them; `valid`, `test`: of the other two.
        processor: of the student: its tokenizer, or what reads its sounds or pictures; saved beside it.
        classes: what the logits stand for, where that has names.
        kind; `by`: the score that counts, and `larger`: whether more of it is better.
        hard: the loss on the labels where it is not cross-entropy.
        ways: whose text the student can learn on here, the usual first.
        grown: whether the teacher was trained here; `pretrained`: whether the student begins as a trained model.
        silent: whether the teacher only writes, and gives no logits on what the student reads.
        made_here: whether the processor was made of the rows.
    """

    kind: ClassVar[str]
    by: str
    larger: ClassVar[bool] = True
    hard: HardLoss | None = None
    ways: tuple[str, ...] = ("corpus",)
    classes: tuple[str, ...] = ()
    grown = silent = False

    def __init__(
        self, source: Data, *, teacher: Any, student: Any, seed: int, limit: int, teacher_steps: int, device: Any
    ) -> None:
        self.source, self.seed, self.teacher_steps, self.device = source, seed, teacher_steps, device
        learnt, self.asked = source.split(seed=seed, limit=limit)
        self.read(learnt)
        known = [place for place, row in enumerate(learnt) if self.is_labelled(row)]
        if len(known) < 2:
            raise BadValue(
                f"{len(known)} of {len(learnt):,} rows to learn from have a {self.labelled_by}: at least two are needed"
            )
        every = round(1 / min(np.clip(FEW_VALID / len(known), *VALID), MOST_VALID / len(known)))
        held = set(known[::every] if len(known) > 9 and self.rows_stand_alone else ())
        self.learnt = [row for place, row in enumerate(learnt) if place not in held]
        self.valid_rows = [learnt[place] for place in sorted(held)] or [learnt[place] for place in known]
        self._teacher, teacher_processor = self._open(teacher)
        self._student, student_processor = self._open(None if student == SMALL else student)
        self.pretrained = hasattr(self._student or self._teacher, "save_pretrained") and student != SMALL
        self.made_here = not (student_processor or teacher_processor)
        self.processor = student_processor or teacher_processor or self.new_processor()
        if self._teacher is not None and teacher_processor is not None and student_processor is not None:
            self._teacher = self.heard_by(self._teacher, teacher_processor)
        if isinstance(teacher, str) and teacher.startswith(("http://", "https://")):
            url, _, model = teacher.partition("#")
            self._teacher = self.endpoint(url, model)

    # ── what a kind of data says for itself ──────────────────────────────────────────────────────────────────────────

    labelled_by: str = "label"
    rows_stand_alone: ClassVar[bool] = True  # so that every tenth can be kept to choose by

    def read(self, rows: Sequence[Row]) -> None:
        """Learn of the rows what encoding them will need: their classes, their letters."""

    def is_labelled(self, row: Row) -> bool:
        """Whether there is something to learn from it without a teacher."""
        return row.get(self.labelled_by) is not None

    def load(self, name: str | Path) -> tuple[nn.Module, Any]:
        """A model in Hugging Face's format and its processor."""
        raise NotImplementedError

    def new_processor(self) -> Any:
        """One made of the rows, where no model brings its own."""
        raise NotImplementedError

    def new_model(self, size: str, seed: int) -> nn.Module:
        """A fresh model: "teacher" or "student"."""
        raise NotImplementedError

    def grow(self) -> nn.Module:
        """A teacher of the labelled rows."""
        return self.trained(self.new_model("teacher", self.seed), TEACHER_LR)

    def encode(self, rows: Sequence[Row]) -> Examples:
        """Rows as the student takes them."""
        raise NotImplementedError

    def score(self, model: nn.Module, limit: int | None = None) -> dict[str, float]:
        """Quality on the held-out rows; `limit`: on the first so many."""
        raise NotImplementedError

    def says(self, model: nn.Module, limit: int = 20) -> list[str]:
        """What the model answers to held-out rows, in words."""
        raise NotImplementedError

    def heard_by(self, teacher: nn.Module, processor: Any) -> nn.Module:
        """The teacher as one that takes what the student takes."""
        raise BadValue(
            f"teacher and student of {self.kind} must read their input alike: give one of them, and let the other be "
            "made to fit"
        )

    def endpoint(self, url: str, model: str) -> nn.Module:
        """The teacher of this name that answers at this address."""
        raise BadValue(f"an endpoint teaches classification and language models, not {self.kind}")

    # ── the same for all ─────────────────────────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def transfer(self) -> Examples:
        return self.encode(self.learnt)

    @functools.cached_property
    def train(self) -> Examples:
        return self.encode([row for row in self.learnt if self.is_labelled(row)])

    @functools.cached_property
    def valid(self) -> Examples:
        return self.encode(self.valid_rows)

    @functools.cached_property
    def test(self) -> Examples:
        return self.encode(self.asked)

    @remembered
    def teacher(self) -> nn.Module:
        """The teacher in eval mode: the one that was named, or one trained here on the labelled rows, once."""
        if self._teacher is None:
            self._teacher = self.grow()
            self.grown = True
        elif getattr(self._teacher, "new_head", False):
            self._teacher = self.trained(self._teacher, TUNED_LR)
            self.grown = True
        return self._teacher.eval()

    @remembered
    def student(self, seed: int = 0) -> nn.Module:
        """An untrained student: the one that was named, else half the layers of the named teacher, else a small one."""
        seed = whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same student")
        if self._student is not None:
            return copy.deepcopy(self._student)
        if self.pretrained:
            return smaller(self._teacher, seed=seed)  # type: ignore[arg-type]
        config = getattr(self._teacher, "config", None)
        width = getattr(config, "hidden_size", None) or getattr(config, "d_model", None)
        if width and not self.grown:
            return smaller(self._teacher, width=width // 2, seed=seed)  # type: ignore[arg-type]
        return self.new_model("student", seed)

    def loss(self, model: nn.Module) -> float:
        """The loss on the labels of the validation rows, in nats."""
        return averaged(model, self.valid, loss=self.loss_of)["loss"]

    def loss_of(self, logits: Tensor, labels: Tensor) -> float:
        """The loss of these logits on these labels."""
        return float(kd_terms(logits, None, labels)[1] if self.hard is None else self.hard(logits, labels))

    def misjudged(self, model: nn.Module) -> float:
        """What a learning rate is chosen by, on the validation rows; the less, the better."""
        return self.loss(model)

    def reference(self, row: Row) -> str:
        """The right answer to a held-out row, in words; nothing where there is none."""
        return str(row.get(self.labelled_by) or "")

    def asked_for(self, row: Row) -> str:
        """What a held-out row asks, in words."""
        found = row.get("text") or row.get("audio") or row.get("image") or ""
        return found.name if isinstance(found, Path) else str(found)

    def answers(self, limit: int = 20, **models: nn.Module) -> pd.DataFrame:
        """Held-out rows and what each model says: columns input, reference, and one a model."""
        import pandas as pd

        rows = self.asked[:limit]
        table = {"input": [*map(self.asked_for, rows)], "reference": [*map(self.reference, rows)]}
        return pd.DataFrame(table | {name: self.says(model, len(rows)) for name, model in models.items()})

    @remembered
    def way(self, name: str | None, teacher: nn.Module, student: nn.Module) -> Any:
        """The transfer set by its name, one of `ways`; None: the first of them."""
        return self._way(self.ways[0] if name is None else choice("transfer", name, self.ways), teacher, student)

    def _way(self, name: str, teacher: nn.Module, student: nn.Module) -> Any:
        return self.transfer

    def name_of(self, place: int) -> str:
        """What the logit of this number stands for."""
        if self.classes:
            return self.classes[place]
        tokens = getattr(self.processor, "tokenizer", self.processor)
        return shown(tokens.decode([place]), 24)

    @property
    def usual_lr(self) -> float:
        """A learning rate to begin with: a student that was trained before bears less."""
        return TUNED_LR if self.pretrained else STUDENT_LR

    def _open(self, name: Any) -> tuple[nn.Module | None, Any]:
        if name is None or (isinstance(name, str) and name.startswith(("http://", "https://"))):
            return None, None
        if isinstance(name, nn.Module):
            return name, None
        if not isinstance(name, str | Path):
            raise BadType(f"teacher and student are a hub id, a folder, or a torch.nn.Module, got {shown(name)}")
        return self.load(name)

    def trained(self, model: nn.Module, lr: float) -> nn.Module:
        """Train it on the labelled rows, and keep it as it was when the validation rows liked it best."""
        steps = self.teacher_steps
        run = distill(
            model,
            None,
            self.train,
            knobs=Knobs(1.0, 0.0, falling(lr, steps)),
            steps=steps,
            weight_decay=0.05,
            seed=self.seed,
            device=self.device,
            hard=self.hard,
        )
        best, kept = float("inf"), {}
        for step in run:
            if step.step % max(1, steps // LOOKS) == 0 or run.done:
                found = self.loss(model)
                if found < best:
                    best, kept = found, {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(kept)
        return model.eval()


def falling(lr: float, steps: int) -> Callable[[int], float]:
    """A rate that warms up over a twentieth of the steps, then falls to a fiftieth of itself."""
    return lambda step: lr * min((step + 1) / max(1, steps / 20), 1.02 - step / steps)


def averaged(model: nn.Module, examples: Examples, **measures: Callable[[Tensor, Tensor], float]) -> dict[str, float]:
    """The mean of each measure of (logits, labels) over what is labelled; a block of logits is there at once."""
    rows, counts = [], []
    for some in in_blocks(model, examples):
        if count := int((some.labels >= 0).sum()):
            logits = predict(model, some.inputs).float().cpu()
            rows.append([measure(logits, some.labels) for measure in measures.values()])
            counts.append(count)
    return dict(zip(measures, map(float, np.average(rows, axis=0, weights=counts)), strict=True))


def in_blocks(model: nn.Module, examples: Examples, most: float = BLOCK) -> list[Examples]:
    """The examples in parts of so many rows as their logits take `most` bytes."""
    rows = max(1, int(most // predict(model, examples.inputs[:1]).nbytes))
    return [examples[place : place + rows] for place in range(0, len(examples), rows)]


class Retold(nn.Module):
    """A teacher of another tokenizer: what the student reads is put into words, and these into the teacher's tokens."""

    def __init__(
        self, teacher: nn.Module, encode: Callable[[list[str]], Inputs], decode: Callable[[Tensor], list[str]]
    ):
        super().__init__()
        self.teacher, self.encode, self.decode = teacher, encode, decode

    def forward(self, input_ids: Tensor, **_: Tensor) -> Tensor:
        return logits_of(call(self.teacher, self.encode(self.decode(input_ids)).to(input_ids.device)))


@remembered
def own(
    source: Any,
    *,
    task: str | None = None,
    teacher: Any = None,
    student: Any = None,
    seed: int = 0,
    limit: int | None = None,
    teacher_steps: int = TEACHER_STEPS,
    device: str | torch.device | None = None,
    **columns: str | None,
) -> Own:
    """A task of your own data.

    Args:
        source: `Data`, or anything that `read_data` reads: a CSV, JSONL or Parquet file, text, parallel files, a folder
            of sounds or pictures, a data set of the hub. `columns` go to it: ``text_column="question"`` …
        task: the kind, one of KINDS; default, what the columns are good for.
        teacher: a hub id (``org/name``, ``org/name@revision``) or folder in Hugging Face's format, a module, or the
            address of an OpenAI-compatible endpoint, ``https://host/v1#model``. None: one is trained here, on the
            labelled rows.
        student: a hub id, folder or module. None: the named teacher with half its layers, copied; "small": new, half as
            deep and wide. Without a named teacher both are a small model.
        seed: which rows are held out, and the first weights of a teacher trained here.
        limit: rows at most, drawn at random from larger data; None: 20,000, 10,000 pictures, 4,000 recordings.
        teacher_steps: of a teacher trained here; it is kept as it was when the validation rows liked it best.
        device: where a teacher is trained.

    Raises:
        BadValue, BadFile: data or a model that does not fit, before anything is trained.

    >>> rows = [{"text": f"{word} {n}", "label": word} for n in range(20) for word in ("yes", "no")]
    >>> task = own(rows)
    >>> task.kind, task.classes, len(task.train), len(task.test)
    ('classification', ('no', 'yes'), 25, 8)
    """
    from distilkit.your_own import labels, sounds, words

    data = source if isinstance(source, Data) else read_data(source, task=task, **columns)
    kind = choice("task", task or data.kind, KINDS)
    kinds: dict[str, type[Own]] = {
        "classification": labels.Texts,
        "images": labels.Pictures,
        "language": words.Language,
        "seq2seq": words.kind_of(teacher, student),
        "speech": sounds.Sounds,
    }
    return kinds[kind](
        data,
        teacher=teacher,
        student=student,
        seed=whole("seed", seed, 0, 2**63 - 1, "which rows are held out"),
        limit=LIMIT.get(kind, USUAL_LIMIT) if limit is None else whole("limit", limit, 10, 10**9, "rows at most"),
        teacher_steps=whole("teacher_steps", teacher_steps, 1, 10**9, "of a teacher trained here"),
        device=device,
    )
