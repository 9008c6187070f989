"""Pictures and words: scenes, questions about them and captions; a teacher in colour, a student that sees a sketch.

A row of the data is a picture and several texts about it: questions, of which the answer is to be said, and a caption.

    python -m distilkit.tasks scenes      train the teacher, the distilled student and its twin, into data/scenes
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.errors import BadType, BadValue, choice, shown, whole
from distilkit.models import Inputs, data_path, evaluating, load, predict
from distilkit.origin import remembered
from distilkit.tasks.captions import bleu, cider
from distilkit.tasks.drawing import COLOURS, MODALITIES, MOST, SHAPES, SIZES, TEXTURES, Scene, Thing, draw_scene, render
from distilkit.tasks.pictures import read_pictures, resized
from distilkit.tasks.questions import (
    ANSWERS,
    END,
    KINDS,
    LONGEST,
    PAD,
    UNTOLD,
    WORDS,
    Question,
    answer,
    caption,
    questions_about,
    says_colour,
    spell,
)
from distilkit.tasks.seer import Seer, seer
from distilkit.transfer import Examples

__all__ = [
    "COLOURS",
    "KINDS",
    "MOST",
    "SHAPES",
    "SIZES",
    "TEXTURES",
    "Answer",
    "Caption",
    "Question",
    "Scene",
    "Scenes",
    "Thing",
    "scenes",
]

FOLDER = "scenes"
POOL, TEST, TEACHERS = 6000, 500, 20_000  # scenes to learn from, held out, and those that the teacher alone has seen
UNLABELLED_PAIRS = 20_000  # that the shipped student has seen beside the pool
ASKED = 5  # questions a scene, and twice as many of the teacher's
SHAPE = {"teacher": (96, 8, 3), "student": (48, 2, 2)}  # width, blocks of convolutions, looks
NUMBER = {word: number for number, word in enumerate(WORDS)}
LIKELIEST = torch.tensor([NUMBER[word] for word in ANSWERS])


@dataclass(frozen=True)
class Answer:
    """What a model answers: the likeliest word, the probability of each answer, where it looked (8, 8), which sums to
    1, and the words it does not know."""

    text: str
    probs: dict[str, float]
    attention: Tensor
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Caption:
    """What a model writes of a picture, the probability of each of its words, and where it looked, (words, 8, 8)."""

    text: str
    probs: list[float]
    attention: Tensor


@dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures, and words about them, to distil on.

    Attributes:
        train: the scenes whose answers and captions are known: ``Inputs(words=, rgb=, <student's>=)``, labels
            (n, texts, time), −100 but where a word is to be said.
        transfer: every scene of the pool, as pairs of pictures; its labels where `train` has them, elsewhere −1 and no
            caption; `captioned` adds the teacher's.
        pool: the same with every label.
        test: held-out scenes.
        held_out: those scenes themselves, with `asked`, their questions; without scenes for pictures of one's own.
        sees: the modality of each role: {"teacher": "rgb", "student": "sketch"}.
        labelled, seed: how many scenes have labels, and which draw of them.
    """

    train: Examples
    transfer: Examples
    pool: Examples
    test: Examples
    held_out: tuple[Scene, ...]
    asked: tuple[tuple[Question, ...], ...]
    sees: dict[str, str]
    labelled: int
    seed: int

    @remembered
    def teacher(self) -> nn.Module:
        """The shipped teacher, which has seen 20,000 other scenes in colour, with answers and captions. By sha256."""
        return load(seer("rgb", *SHAPE["teacher"], seed=0), data_path(f"{FOLDER}/teacher.safetensors"))

    @remembered
    def distilled(self) -> nn.Module:
        """The shipped student: it saw sketches alone, and the teacher said of the colour pictures what it sees."""
        return self._student("distilled")

    @remembered
    def twin(self) -> nn.Module:
        """The shipped twin: the same student, which learnt from the labelled sketches alone."""
        return self._student("twin")

    @remembered
    def student(self, seed: int = 0) -> Seer:
        """A fresh student, initialised from `seed` alone, that sees the student's modality."""
        return seer(self.sees["student"], *SHAPE["student"], seed=seed)

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Scenes:
        """The same scenes with another draw of labels: what a sweep over seeds needs."""
        return _draw(self, labelled, seed)

    @remembered
    def captioned(self, teacher: nn.Module) -> Examples:
        """The transfer set, with the teacher's own captions where none is known: sequence-level distillation.

        Its words are to be learnt as those of a question are: of the unlabelled the label is −1, and the teacher says
        at each word what may come next.
        """
        if not self.held_out:
            return self.transfer  # pictures of one's own have no captions
        return _captioned(self.transfer, _told(teacher, self.pool))

    def score(self, model: nn.Module, limit: int | None = None) -> dict[str, float]:
        """Quality on held-out scenes: how often the answer is right, in all, by kind, and by what it takes to answer.

        Returns:
            accuracy, of all questions; of each kind; "without colour", of those that a sketch can answer; then of the
            captions "caption exact", the share right word for word, "exact but colours", bleu (0 to 100) and cider
            (0 to 10).
        """
        some = len(self.test) if limit is None else whole("limit", limit, 1, 10**9, "scenes")
        test, asked = self.test[:some], self.asked[:some]
        inputs, labels = test.inputs, test.labels
        logits = predict(model, inputs, batch_size=64)
        right: dict[str, list[bool]] = {}
        for row, questions in enumerate(asked):
            for text, question in enumerate(questions):
                place = int((labels[row, text] >= 0).nonzero()[-1])
                said = bool(logits[row, text, place, LIKELIEST].argmax() == ANSWERS.index(question.answer))
                names = ["accuracy", question.kind]
                names += [] if says_colour(question.text) else ["without colour"]
                for name in names:
                    right.setdefault(name, []).append(said)
        order = ("accuracy", "without colour", *KINDS)
        score = {name: sum(right[name]) / len(right[name]) for name in order if name in right}
        return score | (self._judged_captions(model, some) if self.held_out else {})

    def _judged_captions(self, model: nn.Module, some: int) -> dict[str, float]:
        told = [caption(scene) for scene in self.held_out[:some]]
        written = _captions(model, self.test[:some].inputs)
        said = [each.text for each in written]

        def without(text: str) -> list[str]:
            return [word for word in text.split() if word not in COLOURS]

        return {
            "caption exact": sum(one == other for one, other in zip(said, told, strict=True)) / len(said),
            "exact but colours": sum(without(a) == without(b) for a, b in zip(said, told, strict=True)) / len(said),
            "bleu": bleu(said, told),
            "cider": cider(said, told),
        }

    # ── what a page or a chapter shows ──

    def render(self, scene: Scene, *modalities: str) -> dict[str, Tensor]:
        """The scene in these modalities, or as each role sees it, (channels, 32, 32), 0 to 1, by the name of each."""
        return {sees: render([scene], sees)[0] for sees in dict.fromkeys(modalities or self.sees.values())}

    def questions(self, scene: Scene) -> list[Question]:
        """One question of each kind that the scene answers."""
        found: list[Question] = []
        for each in questions_about(scene, 60, random.Random(repr(scene))):
            if each.kind not in {other.kind for other in found}:
                found.append(each)
        return sorted(found, key=lambda each: KINDS.index(each.kind))

    def answer(self, scene: Scene, text: str) -> str | None:
        """The exact answer, or None where the text is no question of the grammar, or means one of several things."""
        return answer(scene, text)

    def captions(self, scene: Scene) -> list[str]:
        """The exact caption."""
        return [caption(scene)]

    def look(self, picture: Any) -> dict[str, Tensor]:
        """A picture of one's own (a path, a PIL image, an array) as `ask` takes it: in colour, in grey, as a sketch.

        Depth is not to be had of a photograph.
        """
        return resized(picture)

    @torch.no_grad()
    def ask(self, model: nn.Module, scene: Scene | dict[str, Tensor], texts: Sequence[str]) -> list[Answer]:
        """What the model answers to each question about the scene, or about the pictures that `look` gave.

        Raises: BadType: no text. BadValue: an empty or too long one.
        """
        asked = [_read(text) for text in _texts(texts)]
        known = [[word for word in each if word in NUMBER] for each in asked]
        words = torch.tensor([_numbers(each) for each in known])[None, :, : max(1, *map(len, known))]
        pictures = self._pictures(model, scene)
        with evaluating(model):
            logits, looked = model.look(words, **pictures)  # type: ignore[operator]
        found = []
        for row, each in enumerate(asked):
            last = max(len(known[row]) - 1, 0)
            probs = logits[0, row, last].softmax(-1)[LIKELIEST]
            probs = probs / probs.sum()
            where = looked[0, row, last]
            unknown = tuple(word for word in each if word not in NUMBER)
            by_answer = dict(zip(ANSWERS, probs.tolist(), strict=True))
            found.append(Answer(ANSWERS[int(probs.argmax())], by_answer, where / where.sum(), unknown))
        return found

    def caption(self, model: nn.Module, scene: Scene | dict[str, Tensor]) -> Caption:
        """What the model writes of the scene, word for word the likeliest."""
        return _captions(model, Inputs(**self._pictures(model, scene)))[0]

    def _pictures(self, model: nn.Module, scene: Scene | dict[str, Tensor]) -> dict[str, Tensor]:
        sees = getattr(model, "sees", None)
        if sees not in MODALITIES:
            raise BadType(f"the model must say what it sees, one of {', '.join(MODALITIES)}, got {shown(sees)}")
        if isinstance(scene, Scene):
            return {sees: _bytes([scene], sees)}
        if not isinstance(scene, dict) or sees not in scene:
            raise BadType(
                f"the model sees {sees}: give a scene, or pictures with it as task.look gives, {shown(scene)}"
            )
        return {sees: (255 * scene[sees]).round().byte()[None]}

    def _student(self, name: str) -> nn.Module:
        if self.sees["student"] != "sketch":
            raise BadValue(
                f"the shipped students see a sketch, not {self.sees['student']}: distil one, or sees='sketch'"
            )
        return load(self.student(), data_path(f"{FOLDER}/{name}.safetensors"))


@remembered
def scenes(labelled: int = 100, seed: int = 0, *, sees: str = "sketch", path: str | Path | None = None) -> Scenes:
    """Scenes in two modalities, `labelled` of them with answers and captions.

    Args:
        labelled: how many scenes of the pool are labelled; of your own pictures at most as many as have answers.
        seed: which ones.
        sees: what the student sees: "sketch" (no colour), "depth" (neither colour nor texture), "grey", or "rgb".
        path: a folder of your own pictures with questions.csv: columns file, question, answer (empty: unlabelled). The
            words must be the models' own, and the pictures are made 32 × 32.

    Raises:
        BadValue: more labels than scenes. BadFile: a folder that is not as described.

    >>> task = scenes(labelled=50)
    >>> len(task.train), len(task.transfer), len(task.test), task.sees
    (50, 6000, 500, {'teacher': 'rgb', 'student': 'sketch'})
    """
    sees = choice("sees", sees, MODALITIES)
    if path is None:
        return _draw(_generated(sees), labelled, seed)
    own = _of_folder(Path(path), sees)
    known = int((own.pool.labels >= 0).flatten(1).any(1).sum())
    return _draw(own, min(whole("labelled", labelled, 1, 10**9, "how many scenes keep their labels"), known), seed)


def teachers_examples() -> Examples:
    """What the shipped teacher learnt from: no scene of it is in a student's pool or a test."""
    return _examples(*_drawn("teacher", TEACHERS, 2 * ASKED), ["rgb"])


def unlabelled_examples(teacher: nn.Module) -> Examples:
    """20,000 more pairs of a picture and its sketch, of which nobody knows an answer; the teacher writes the captions.

    What the shipped student saw beside the transfer set: in few pairs, seen often, it learns by heart what a sketch
    does not show.
    """
    pairs = _examples(*_drawn("unlabelled", UNLABELLED_PAIRS), ["rgb", "sketch"])
    labels = pairs.labels.where(pairs.labels == IGNORED, UNLABELLED)
    return _captioned(Examples(pairs.inputs, labels), _told(teacher, pairs))


@functools.lru_cache(maxsize=2)
def _generated(sees: str) -> Scenes:
    pool, test = _drawn("pool", POOL), _drawn("test", TEST)
    modalities = list(dict.fromkeys(("rgb", sees)))
    examples, held_out = _examples(*pool, modalities), _examples(*test, modalities)
    roles = {"teacher": "rgb", "student": sees}
    return Scenes(examples, examples, examples, held_out, tuple(test[0]), tuple(map(tuple, test[1])), roles, POOL, 0)


def _drawn(name: str, count: int, each: int = ASKED) -> tuple[list[Scene], list[list[Question]]]:
    """So many scenes, with so many questions each."""
    rng = random.Random(f"scenes, {name}")
    drawn: list[tuple[Scene, list[Question]]] = []
    while len(drawn) < count:
        scene = draw_scene(rng)
        if len(asked := questions_about(scene, each, rng)) == each:
            drawn.append((scene, asked))
    return [scene for scene, _ in drawn], [asked for _, asked in drawn]


def _examples(drawn: Sequence[Scene], asked: Sequence[Sequence[Question]], modalities: Sequence[str]) -> Examples:
    """Scenes as the models take them: the pictures as bytes, their questions, their caption."""
    words, labels = [], []
    for scene, questions in zip(drawn, asked, strict=True):
        read = [_numbers(spell(question.text)) for question in questions]
        said = [_answered(spell(question.text), question.answer) for question in questions]
        told = [NUMBER[word] for word in caption(scene).split()]
        words.append([*read, _numbers([UNTOLD, *caption(scene).split()[:-1]])])
        labels.append([*said, told + [IGNORED] * (LONGEST - len(told))])
    pictures = {each: _bytes(drawn, each) for each in modalities}
    return Examples(Inputs(words=torch.tensor(words), **pictures), torch.tensor(labels))


@torch.no_grad()
def _captions(model: nn.Module, pictures: Inputs) -> list[Caption]:
    """The captions that the model writes of these pictures, word by word the likeliest."""
    found = []
    with evaluating(model):
        for some in pictures.split(250):
            cells = model.see(**dict(some))  # type: ignore[operator]
            words = torch.full((len(some), 1, 1), NUMBER[UNTOLD])
            probs, looked = [], torch.empty(0)
            while words.shape[2] <= LONGEST and not (words == NUMBER[END]).any(2).all():
                logits, looked = model.read(words, cells)  # type: ignore[operator]
                best = logits[:, 0, -1].softmax(-1).max(-1)
                probs.append(best.values)
                words = torch.cat([words, best.indices[:, None, None]], 2)
            sure, shares = torch.stack(probs, 1), looked[:, 0] / looked[:, 0].sum((2, 3), keepdim=True)
            for row, numbers in enumerate(words[:, 0, 1:].tolist()):
                length = numbers.index(NUMBER[END]) + 1 if NUMBER[END] in numbers else len(numbers)
                text = " ".join(WORDS[number] for number in numbers[:length])
                found.append(Caption(text, sure[row, :length].tolist(), shares[row, :length]))
    return found


def _captioned(transfer: Examples, told: Tensor) -> Examples:
    """The same, with what was told, (n, time), as the caption of every row that has no label."""
    hidden = ~(transfer.labels >= 0).flatten(1).any(1)
    words, labels = transfer.inputs["words"].clone(), transfer.labels.clone()
    words[hidden, -1, 0] = NUMBER[UNTOLD]
    words[hidden, -1, 1:] = told[hidden, :-1].clamp(min=0)
    labels[hidden, -1] = told[hidden].where(told[hidden] == IGNORED, UNLABELLED)
    return Examples(Inputs(**dict(transfer.inputs) | {"words": words}), labels)


@functools.lru_cache(maxsize=2)
def _told(teacher: nn.Module, pool: Examples) -> Tensor:
    """What the teacher writes of each scene of the pool, in numbers, (n, time), −100 after its end."""
    told = torch.full((len(pool), LONGEST), IGNORED)
    for row, each in enumerate(_captions(teacher, pool.inputs)):
        numbers = [NUMBER[word] for word in each.text.split()]
        told[row, : len(numbers)] = torch.tensor(numbers)
    return told


def _bytes(drawn: Sequence[Scene], modality: str) -> Tensor:
    return (255 * render(drawn, modality)).round().byte()


def _numbers(words: Sequence[str]) -> list[int]:
    return [NUMBER[word] for word in words] + [NUMBER[PAD]] * (LONGEST - len(words))


def _answered(words: Sequence[str], answer: str | None) -> list[int]:
    """The labels of a question: its answer, or −1, at its last word."""
    said = UNLABELLED if answer is None else NUMBER[answer]
    return [IGNORED] * (len(words) - 1) + [said] + [IGNORED] * (LONGEST - len(words))


def _texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise BadType(f"texts must be several questions, got one: [{shown(texts)}]")
    return list(texts)


def _read(text: str) -> list[str]:
    """The words of a question, of which the models know one at least."""
    if not isinstance(text, str):
        raise BadType(f"a question must be a text, got {shown(text)}")
    words = spell(text)
    words = words if words[-1:] == ["?"] else [*words, "?"]
    if not 1 < len(words) <= LONGEST:
        raise BadValue(f"a question has up to {LONGEST - 1} words and not none, got {len(words) - 1}: {shown(text)}")
    return words


def _draw(task: Scenes, labelled: int, seed: int) -> Scenes:
    seed = whole("seed", seed, 0, 2**63 - 1, "which scenes keep their labels")
    known = (task.pool.labels >= 0).flatten(1).any(1).nonzero().flatten()
    labelled = whole("labelled", labelled, 1, len(known), "how many scenes keep their labels")
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    kept = torch.zeros(len(task.pool), dtype=torch.bool)
    kept[known[order[:labelled]]] = True
    labels = task.pool.labels
    hidden = labels.where((labels == IGNORED) | kept[:, None, None], UNLABELLED)
    inputs = dict(task.pool.inputs)
    if task.held_out:  # a caption that is not known is not there to be read, either
        hidden[~kept, -1] = IGNORED
        inputs["words"] = inputs["words"].clone()
        inputs["words"][~kept, -1] = NUMBER[PAD]
    return Scenes(
        task.pool[kept],
        Examples(Inputs(**inputs), hidden),
        task.pool,
        task.test,
        task.held_out,
        task.asked,
        task.sees,
        labelled,
        seed,
    )


def _of_folder(folder: Path, sees: str) -> Scenes:
    """Pictures of the reader's own: every fifth that has an answer is held out."""
    if sees == "depth":
        raise BadValue("depth is not to be had of pictures: let the student see 'sketch', 'grey' or 'rgb'")
    pictures, rows = read_pictures(folder)
    most = max(len(questions) for questions in rows.values())
    words, labels, asked = [], [], []
    for questions in rows.values():
        blank = [([PAD], None)] * (most - len(questions))
        words.append([_numbers(read) for read, _ in (*questions, *blank)])
        labels.append([_answered(read, said) for read, said in questions] + [[IGNORED] * LONGEST] * len(blank))
        asked.append(tuple(Question(" ".join(read), "own", said) for read, said in questions if said is not None))
    modalities = list(dict.fromkeys(("rgb", sees)))
    seen = {name: (255 * torch.stack([each[name] for each in pictures])).round().byte() for name in modalities}
    examples = Examples(Inputs(words=torch.tensor(words), **seen), torch.tensor(labels))
    known = [row for row, questions in enumerate(rows.values()) if all(said is not None for _, said in questions)]
    out = torch.zeros(len(examples), dtype=torch.bool)
    out[known[4::5]] = True
    held = tuple(asked[row] for row in known[4::5])
    pool = examples[~out]
    return Scenes(pool, pool, pool, examples[out], (), held, {"teacher": "rgb", "student": sees}, len(pool), 0)
