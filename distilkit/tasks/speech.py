"""Speech recognition: spoken commands and digits of many voices, or recordings of your own, to letters by CTC."""

from __future__ import annotations

import csv
import functools
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.errors import BadFile, BadType, BadValue, shown, whole
from distilkit.models import data_path, load, predict, read
from distilkit.origin import remembered
from distilkit.tasks.voices import DIGITS, RATE, Reading, kept, readings
from distilkit.transfer import Examples

ALPHABET = " abcdefghijklmnopqrstuvwxyz'"  # class 0 is CTC's blank, class 1 the space
BANDS = 40  # of the mel scale, 0 to 8,000 Hz
HOP = 200  # samples from one frame to the next: 12.5 ms
STRIDE = 2  # frames that become one of the model's answers
TICK = STRIDE * HOP / RATE  # seconds an answer stands for
FRAMES = 184  # of the longest generated reading, 2.3 s
LONGEST = 30  # seconds of a recording
POOL = 2000  # generated readings that a student may have
TEACHERS = 8000  # of the teacher, other ones; the shipped student hears as many that nobody wrote down
TESTS = 200  # of voices heard before, and as many of voices never heard
LABELLED = 200  # of the shipped student and its twin
DISTILLED = 0.9, 8e-3  # alpha and learning rate of the shipped student; of its twin the rate
TWIN_LR = 8e-3
SEEDS = {"pool": 0, "teacher": 1, "test": 2, "unlabelled": 3}
SUFFIXES = (".wav", ".flac")
TABLES = {"transcripts.csv": ",", "transcripts.tsv": "\t"}  # and what parts their columns


class Frame(NamedTuple):
    """A letter of a transcript, and when it was heard, in seconds."""

    letter: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Transcript:
    """What a model heard.

    Attributes:
        text: the transcript.
        letters: each with its time.
        log_probs: (ticks, classes), every 25 ms: the blank, then `ALPHABET`.
        seconds: that the model took; `duration`: of the sound; `real_time_factor`: the one by the other.
    """

    text: str
    letters: tuple[Frame, ...]
    log_probs: Tensor
    seconds: float
    duration: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing a second of sound: below 1 it keeps up with a speaker."""
        return self.seconds / self.duration


@dataclass(frozen=True, eq=False)
class Speech:
    """Sounds to distil on, as log-mel frames (n, frames, 40); labels as `ctc_loss` reads them.

    Attributes:
        train: the sounds that have a transcript.
        transfer: those and the sounds without.
        test: held-out sounds of voices that were heard in training; `new_voices`: of others.
        pool: all sounds with their transcripts, as the teacher's owner has them.
        said, said_by_new: the `Reading`s of the two tests (the paths of the files, of recordings of your own).
        labelled, seed: how many transcripts there are, and which.
    """

    train: Examples
    transfer: Examples
    test: Examples
    new_voices: Examples
    pool: Examples
    said: tuple[Reading | Path, ...]
    said_by_new: tuple[Reading | Path, ...]
    labelled: int
    seed: int

    @remembered
    def teacher(self) -> Listener:
        """The shipped teacher, 0.9 M parameters, trained on 8,000 readings. Checked by sha256, as the others."""
        return _shipped("teacher")

    @remembered
    def distilled(self) -> Listener:
        """The shipped student, distilled from the teacher's answers on the transfer set."""
        return _shipped("distilled")

    @remembered
    def twin(self) -> Listener:
        """The shipped twin: the same student, trained on the labelled readings alone."""
        return _shipped("twin")

    @remembered
    def student(self, seed: int = 0, *, width: int = 96, blocks: int = 4) -> Listener:
        """A fresh student, initialised from `seed` alone."""
        return listener(width, blocks, seed=seed)

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Speech:
        """The same sounds, with another draw of transcripts: what a sweep over seeds needs."""
        known = int((self.pool.labels >= 0).any(1).sum())
        labelled = whole("labelled", labelled, 1, known, "sounds that keep their transcript")
        seed = whole("seed", seed, 0, 2**63 - 1, "which sounds keep their transcript")
        order = np.random.default_rng([seed, 6]).permutation(len(self.pool))
        has = (self.pool.labels >= 0).any(1).numpy()
        keep = torch.zeros(len(self.pool), dtype=torch.bool)
        keep[torch.from_numpy(order[has[order]][:labelled])] = True
        hidden = self.pool.labels.where(self.pool.labels == IGNORED, UNLABELLED)
        transfer = Examples(self.pool.inputs, self.pool.labels.where(keep[:, None], hidden))
        return replace(self, train=transfer[keep], transfer=transfer, labelled=labelled, seed=seed)

    def score(self, model: nn.Module, limit: int | None = None) -> dict[str, float]:
        """Quality, in [0, 1] and above: word and letter error rates (jiwer's), and WER on voices never heard."""
        found = {}
        for name, test in (("", self.test), (", new voices", self.new_voices)):
            some = test[:limit] if limit else test
            if len(some):
                heard, true = texts_of(model, some), spelled(some.labels)
                found[f"wer{name}"] = error_rate(true, heard)
                found[f"cer{name}"] = error_rate(true, heard, letters=True)
        return found

    @remembered
    def pseudo_labelled(self, teacher: nn.Module, examples: Examples | None = None) -> Examples:
        """The transfer set with the teacher's transcript wherever there is none: distillation by sequences."""
        examples = self.transfer if examples is None else examples
        unknown = ~(examples.labels >= 0).any(1)
        labels = examples.labels.clone()
        if unknown.any():
            labels[unknown] = _spell(texts_of(teacher, examples[unknown]), examples.labels[unknown])
        return Examples(examples.inputs, labels)

    def hear(self, sound: Reading | str | Path) -> np.ndarray:
        """The samples of a reading, or of a WAV or FLAC file of yours: (n,), float32, 16,000 a second, one channel."""
        return sound.sound() if isinstance(sound, Reading) else read_sound(sound)

    def transcribe(self, model: nn.Module, sounds: np.ndarray | Sequence[np.ndarray]) -> list[Transcript]:
        """What the model hears in each sound, (n,) samples at 16,000 a second."""
        return [transcribe(model, one) for one in ([sounds] if isinstance(sounds, np.ndarray) else sounds)]


@remembered
def speech(labelled: int = LABELLED, seed: int = 0, *, path: str | Path | None = None) -> Speech:
    """Spoken commands and digit strings of many synthetic voices, `labelled` of them with their transcript.

    The first call synthesises about 2,400 sounds, in about half a minute; later ones find them in the cache folder.

    Args:
        labelled: how many of 2,000 readings have a transcript.
        seed: which.
        path: recordings of your own in place of these: a folder of WAV or FLAC files, with ``transcripts.csv`` or
            ``.tsv`` (columns file and text; no text: unlabelled), or with the text before the first ``_`` of their
            names (``stop_anna_1.wav``; digits become words). Every fifth is held out for the test.

    Raises:
        BadValue: more transcripts than there are. BadFile: what is not as described, with the file and the line.
    """
    if path is not None:
        return _of_folder(Path(path), labelled, seed)
    pool = _generated("pool", POOL, SEEDS["pool"])
    test, new = (_generated("test", TESTS, SEEDS["test"], new_voices=new) for new in (False, True))
    said, by_new = (tuple(readings(TESTS, seed=SEEDS["test"], new_voices=new)) for new in (False, True))
    return Speech(pool, pool, test, new, pool, said, by_new, 0, 0).relabelled(labelled, seed)


class Listener(nn.Module):
    """Log-mel frames (n, frames, 40) → logits (n, frames / 2, 29): a convolution that halves time, then blocks.

    A block is a convolution over 9 frames a channel (of growing dilation) and two linear layers, beside a shortcut.
    Source: after QuartzNet (Kriman et al. 2019, arXiv:1910.10261) and ConvNeXt (Liu et al. 2022, arXiv:2201.03545).
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, width, 5, stride=STRIDE, padding=2)
        self.blocks = nn.Sequential(*(_Block(width, 1 + place % 3) for place in range(blocks)))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1 + len(ALPHABET)))

    def forward(self, mels: Tensor) -> Tensor:
        return self.last(self.blocks(self.first(mels.transpose(1, 2)).transpose(1, 2)))


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int, kernel: int = 9) -> None:
        super().__init__()
        around = dilation * (kernel // 2)
        self.norm = nn.LayerNorm(width)
        self.along = nn.Conv1d(width, width, kernel, padding=around, dilation=dilation, groups=width)
        self.across = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Dropout(0.1)
        )

    def forward(self, frames: Tensor) -> Tensor:  # (n, frames, width)
        along = self.along(self.norm(frames).transpose(1, 2)).transpose(1, 2)
        return frames + self.across(along)


def listener(width: int, blocks: int, *, seed: int = 0) -> Listener:
    """A `Listener` initialised from `seed` alone."""
    seed = whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same student")
    width = whole("width", width, 1, 4096, "channels")
    blocks = whole("blocks", blocks, 1, 64, "of convolutions")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Listener(width, blocks)


SHAPES = {"teacher": (192, 6), "distilled": (96, 4), "twin": (96, 4)}  # width and blocks of what is shipped


def _shipped(name: str) -> Listener:
    made = load(listener(*SHAPES[name]), data_path(f"speech/{name}.safetensors"))
    assert isinstance(made, Listener)
    return made


def log_mel(samples: np.ndarray) -> Tensor:
    """Log-mel frames of a sound, (frames, 40), of mean 0 and deviation 1: windows of 25 ms, every 12.5 ms.

    >>> log_mel(np.sin(np.arange(16_000, dtype=np.float32))).shape
    torch.Size([81, 40])
    """
    window, bands = _bands()
    spectrum = torch.stft(torch.from_numpy(samples), 400, HOP, 400, window, return_complex=True, pad_mode="constant")
    mel = (spectrum.abs().square().T @ bands).clamp(min=1e-8).log()
    return (mel - mel.mean()) / (mel.std() + 1e-5)


@functools.cache
def _bands() -> tuple[Tensor, Tensor]:
    """A window of 400 samples, and the bands of its spectrum (201, 40)."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(201, BANDS, 0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.hann_window(400), torch.from_numpy(bank.astype(np.float32))


def transcribe(model: nn.Module, samples: np.ndarray) -> Transcript:
    """What the model hears: at each tick its likeliest letter; repetitions merged, blanks dropped."""
    samples = _checked(samples)
    began = time.perf_counter()
    mels = log_mel(samples)
    ticks = len(mels) // STRIDE
    logits = predict(model, padded([mels], max(FRAMES, len(mels) + 20)))[0, :ticks]  # sounds end in silence, as learnt
    seconds = time.perf_counter() - began
    log_probs = logits.log_softmax(-1)
    letters, place = [], 0
    classes, counts = log_probs.argmax(-1).unique_consecutive(return_counts=True)
    for letter, count in zip(classes.tolist(), counts.tolist(), strict=True):
        if letter:
            letters.append(Frame(ALPHABET[letter - 1], place * TICK, (place + count) * TICK))
        place += count
    text = " ".join("".join(one.letter for one in letters).split())
    return Transcript(text, tuple(letters), log_probs, seconds, len(samples) / RATE)


def texts_of(model: nn.Module, examples: Examples) -> list[str]:
    """The model's transcripts of examples."""
    logits = predict(model, examples.inputs)
    counted = examples.labels != IGNORED
    rows = [row[some].argmax(-1).unique_consecutive().tolist() for row, some in zip(logits, counted, strict=True)]
    return [" ".join("".join(ALPHABET[letter - 1] for letter in row if letter).split()) for row in rows]


def spelled(labels: Tensor) -> list[str]:
    """The transcripts that labels hold.

    >>> spelled(torch.tensor([[9, 10, -1, -100]]))
    ['hi']
    """
    return ["".join(ALPHABET[letter - 1] for letter in row if letter > 0) for row in labels.tolist()]


def error_rate(true: Sequence[str], heard: Sequence[str], *, letters: bool = False) -> float:
    """WER: words put in, left out and taken for others, divided by the words that were said. `letters`: CER.

    >>> error_rate(["turn on the light"], ["turn of light"])
    0.5
    """
    try:
        import jiwer
    except ImportError:
        raise BadValue("error rates need jiwer: pip install 'distilkit[apps]' first") from None

    return float((jiwer.cer if letters else jiwer.wer)(list(true), list(heard)))


def read_sound(sound: str | Path | bytes) -> np.ndarray:
    """A WAV or FLAC file, or the bytes of one, as (n,) float32 samples, 16,000 a second, its channels averaged."""
    from scipy.signal import resample_poly

    try:
        import soundfile
    except ImportError:
        raise BadValue("sound files need soundfile: pip install 'distilkit[apps]' first") from None

    path, data = ("the sound", sound) if isinstance(sound, bytes) else (sound, read(sound))
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > LONGEST * file.samplerate:
                raise BadFile(
                    f"{path} lasts {file.frames / file.samplerate:,.0f} s, more than {LONGEST}: cut it into sentences"
                )
            samples, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError as error:
        raise BadFile(f"{path} is no sound that libsndfile reads (WAV, FLAC): {shown(str(error), 120)}") from None
    one = samples.mean(1)
    if not len(one):
        raise BadFile(f"{path} holds no sound: 0 samples")
    if not np.isfinite(one).all():
        raise BadFile(f"{path} holds samples that are nan or inf")
    common = np.gcd(rate, RATE)
    return resample_poly(one, RATE // common, rate // common).astype(np.float32) if rate != RATE else one


def _checked(samples: np.ndarray) -> np.ndarray:
    if not isinstance(samples, np.ndarray) or samples.ndim != 1:
        raise BadType(f"a sound must be samples (n,) at {RATE:,} a second, got {shown(samples)}: task.hear(path)")
    if not len(samples) or len(samples) > LONGEST * RATE:
        raise BadValue(f"a sound must last up to {LONGEST} s and not 0, got {len(samples) / RATE:.1f} s")
    return samples.astype(np.float32)


def padded(mels: Sequence[Tensor], frames: int) -> Tensor:
    """Log-mel frames of several sounds as one tensor, (n, frames, 40), filled up with zeros."""
    frames += frames % STRIDE
    filled = torch.zeros(len(mels), frames, BANDS)
    for row, mel in zip(filled, mels, strict=True):
        row[: len(mel)] = mel[:frames]
    return filled


def _examples(mels: Sequence[Tensor], texts: Sequence[str | None], frames: int) -> Examples:
    inputs = padded(mels, frames)
    labels = torch.full((len(mels), inputs.shape[1] // STRIDE), IGNORED)
    for row, mel in zip(labels, mels, strict=True):
        row[: len(mel) // STRIDE] = UNLABELLED
    known = torch.tensor([text is not None for text in texts], dtype=torch.bool)
    labels[known] = _spell([text for text in texts if text is not None], labels[known])
    return Examples(inputs, labels)


def _spell(texts: Sequence[str], labels: Tensor) -> Tensor:
    """These labels with a transcript in each row; one that its frames cannot hold stays without."""
    labels = labels.where(labels == IGNORED, UNLABELLED)
    for row, text in zip(labels, texts, strict=True):
        letters = [1 + ALPHABET.index(letter) for letter in text]
        repeated = sum(one == other for one, other in pairwise(letters))
        if letters and len(letters) + repeated <= int((row != IGNORED).sum()):
            row[: len(letters)] = torch.tensor(letters)
    return labels


def _generated(name: str, count: int, seed: int, *, new_voices: bool = False) -> Examples:
    some = readings(count, seed=seed, new_voices=new_voices)

    def make() -> np.ndarray:
        mels = [log_mel(one.sound()) for one in some]
        lengths = torch.tensor([len(mel) for mel in mels])
        rows = torch.cat([padded(mels, FRAMES).flatten(1), lengths[:, None]], 1)
        return rows.numpy().astype(np.float16)

    rows = torch.from_numpy(kept(f"speech-{name}-{count}-{seed}{'-new' * new_voices}", make).astype(np.float32))
    mels = [row[:-1].view(FRAMES, BANDS)[: int(row[-1])] for row in rows]
    return _examples(mels, [one.text for one in some], FRAMES)


def teachers_examples() -> Examples:
    """The readings that the shipped teacher learnt from: its own, none of a student's pool or a test."""
    return _generated("teacher", TEACHERS, SEEDS["teacher"])


def unlabelled_examples() -> Examples:
    """As many others that nobody wrote down: what the shipped student hears beside its pool."""
    heard = _generated("unlabelled", TEACHERS, SEEDS["unlabelled"])
    return Examples(heard.inputs, heard.labels.where(heard.labels == IGNORED, UNLABELLED))


def _of_folder(folder: Path, labelled: int, seed: int) -> Speech:
    if not folder.is_dir():
        raise BadFile(f"there is no folder {shown(str(folder), 200)} of recordings")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if len(files) < 5:
        raise BadFile(f"{folder} must hold at least 5 recordings ({', '.join(SUFFIXES)}), got {len(files)}")
    texts = _transcripts(folder, files)
    mels = [log_mel(read_sound(file)) for file in files]
    examples = _examples(mels, texts, max(FRAMES, *(len(mel) + 20 for mel in mels)))
    known = (examples.labels >= 0).any(1)
    held_out = torch.zeros(len(files), dtype=torch.bool)
    held_out[known.nonzero().flatten()[4::5]] = True
    pool, test = examples[~held_out], examples[held_out]
    if not known.any():
        raise BadFile(
            f"no recording in {folder} has a transcript: name them text_anything.wav, or write transcripts.csv"
        )
    said = tuple(file for file, out in zip(files, held_out.tolist(), strict=True) if out)
    task = Speech(pool, pool, test, test[:0], pool, said, (), 0, 0)
    return task.relabelled(min(labelled, int(known.sum() - held_out.sum())), seed)


def _transcripts(folder: Path, files: Sequence[Path]) -> list[str | None]:
    path = next((folder / name for name in TABLES if (folder / name).exists()), None)
    if path is None:
        return [_letters(file.stem.partition("_")[0], str(file)) for file in files]
    text = read(path)
    try:
        rows = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig")), delimiter=TABLES[path.name], strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path} is not a table in UTF-8: {shown(str(error), 120)}") from None
    if not rows or not {"file", "text"} <= rows[0].keys():
        found = ", ".join(map(str, rows[0])) if rows else "nothing"
        raise BadFile(f"{path} must have the columns file and text, got {shown(found)}")
    texts: dict[str, str | None] = {}
    for line, row in enumerate(rows, 2):
        if not (folder / (row["file"] or "")).is_file():
            raise BadFile(f"{path}, line {line}: there is no file {shown(row['file'])} in {folder}")
        texts[row["file"]] = _letters(row["text"], f"{path}, line {line}") if (row["text"] or "").strip() else None
    return [texts.get(file.name) for file in files]


def _letters(text: str, where: str) -> str:
    """The transcript in the model's letters: lower case, digits as words."""
    for digit, word in enumerate(DIGITS):
        text = text.replace(str(digit), f" {word} ")
    text = " ".join(text.lower().replace("’", "'").replace("-", " ").strip(".?!,;: ").split())
    strange = next((letter for letter in text if letter not in ALPHABET), None)
    if strange is not None:
        raise BadFile(
            f"{where}: the model has no letter {shown(strange)}, only a to z, space and ': write the text in these, "
            f"got {shown(text)}"
        )
    if not text:
        raise BadFile(f"{where}: there is no text")
    return text
