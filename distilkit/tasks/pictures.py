"""Pictures of one's own: a folder of images, and questions.csv with file, question, answer."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distilkit.errors import BadFile, BadType, BadValue, shown
from distilkit.models import read
from distilkit.tasks.drawing import SIDE
from distilkit.tasks.questions import ANSWERS, LONGEST, WORDS, spell

TABLE = "questions.csv"
MOST_PIXELS = 2**26  # of one picture: a larger one is a bomb, or too much for this kit
LEAST, MOST_ROWS = 5, 100_000
FAINT, INK = 0.2, 3.0  # of a sketch: the change that is no line yet, and the ink of what is beyond
Asked = dict[str, list[tuple[list[str], str | None]]]  # of each file its questions, in words, and their answers


def read_pictures(folder: Path) -> tuple[list[dict[str, Tensor]], Asked]:
    """The pictures that ``questions.csv`` of this folder names, and what is asked and answered about each.

    Raises BadFile, with the line, for a table or a picture that is not as it must be.
    """
    if not folder.is_dir():
        raise BadFile(f"there is no folder {shown(str(folder), 200)} of pictures")
    table = folder / TABLE
    try:
        text = read(table).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{table} is not a table in UTF-8: {shown(str(error), 120)}") from None
    if not rows or not {"file", "question", "answer"} <= rows[0].keys():
        found = ", ".join(map(str, rows[0])) if rows else "nothing"
        raise BadFile(f"{table} must have the columns file, question and answer, got {shown(found)}")
    if len(rows) > MOST_ROWS:
        raise BadFile(f"{table} has {len(rows):,} rows, more than {MOST_ROWS:,}: too large for this kit")
    asked: Asked = {}
    for line, row in enumerate(rows, 2):
        where = f"{table}, line {line}"
        if None in row or None in row.values():
            raise BadFile(f"{where}: it has more or fewer cells than the header")
        name = row["file"]
        if Path(name).name != name or not (folder / name).is_file():
            raise BadFile(f"{where}: there is no file {shown(name)} in {folder}")
        asked.setdefault(name, []).append((_question(row["question"], where), _answer(row["answer"], where)))
    if len(asked) < LEAST or not any(said for each in asked.values() for _, said in each):
        raise BadFile(f"{table} must name at least {LEAST} pictures, with answers, got {len(asked)}")
    return [resized(folder / name) for name in asked], asked


def resized(picture: Any) -> dict[str, Tensor]:
    """A picture (path, PIL image, array of bytes) as 32 × 32 in colour, in grey and as a sketch, 0 to 1.

    The sketch has a line where any of the three colours changes, as dark for a dark thing as for a bright one, so that
    it looks like those that the students learnt from; what changes by less than FAINT is noise.

    >>> {name: tuple(each.shape) for name, each in resized(np.zeros((40, 50, 3), np.uint8)).items()}
    {'rgb': (3, 32, 32), 'grey': (1, 32, 32), 'sketch': (1, 32, 32)}
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if isinstance(picture, (str, Path)):
            picture = Image.open(io.BytesIO(read(picture))) if Path(picture).name else None
        elif isinstance(picture, np.ndarray):
            picture = Image.fromarray(picture)
        if not isinstance(picture, Image.Image):
            raise BadType(f"a picture is a path, a PIL image or an array of bytes, got {shown(picture)}")
        if picture.width * picture.height > MOST_PIXELS:
            raise BadValue(f"a picture has at most {MOST_PIXELS:,} pixels, got {picture.width} × {picture.height}")
        small = ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), (SIDE, SIDE), Image.Resampling.BOX)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, OSError, TypeError) as error:
        if isinstance(error, (BadFile, BadType)):
            raise
        raise BadFile(f"not a whole picture that Pillow can read (PNG, JPEG …): {shown(str(error), 160)}") from None
    rgb = torch.from_numpy(np.asarray(small, np.float32) / 255).permute(2, 0, 1)
    steps = [rgb.diff(dim=dim, append=rgb.narrow(dim, SIDE - 1, 1)).abs().amax(0, keepdim=True) for dim in (1, 2)]
    sketch = (INK * (sum(steps, torch.zeros_like(rgb[:1])) - FAINT)).clamp(0, 1)
    return {"rgb": rgb, "grey": rgb.mean(0, keepdim=True), "sketch": sketch}


def _question(text: str, where: str) -> list[str]:
    words = spell(text)
    words = words if words[-1:] == ["?"] else [*words, "?"]
    strange = next((word for word in words if word not in WORDS), None)
    if strange is not None or not 1 < len(words) <= LONGEST:
        reason = f"the models have no word {shown(strange)}" if strange else f"not 1 to {LONGEST - 1} words"
        raise BadFile(f"{where}: {reason}, in {shown(text)}. They know: {' '.join(WORDS[2:])}")
    return words


def _answer(text: str, where: str) -> str | None:
    word = text.strip().lower()
    if word and word not in ANSWERS:
        raise BadFile(f"{where}: an answer is empty or one of {', '.join(ANSWERS)}, got {shown(text)}")
    return word or None
