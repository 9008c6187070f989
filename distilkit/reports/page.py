"""The page: what came out, how it was measured, where the models disagree, and how to make it again."""

from __future__ import annotations

import base64
import io
import math
import platform
import re
import warnings as python_warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilkit.errors import BadType, choice, shown
from distilkit.models import check_finite, write
from distilkit.reports import templates
from distilkit.reports.card import how_to_use, model_card, save_student
from distilkit.reports.claims import KNOBS, Claims, called, short
from distilkit.reports.templates import as_text
from distilkit.sources import Listing, write_csv

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from matplotlib.figure import Figure

KINDS = ("", "classification", "seq2seq", "language", "speech", "images")
EXAMPLES, SAME = 24, 6  # rows that are shown, and of these, as a rule, on which teacher and student agree
ROWS, COLUMNS = 40, 12  # of a table of data
CELL = 300  # characters that are shown of a cell
CURVES = 4

# The colours of the pictures, as they are legible on white and on black.
LIGHT = {"#d55e00": "#c44e00", "#009e73": "#007a58", "#000000": "#1f2328"}
DARK = {
    "#0072b2": "#56b4e9",
    "#d55e00": "#e69f00",
    "#009e73": "#2dc8a0",
    "#cc79a7": "#e59bc2",
    "#5b6370": "#a9b1bd",
    "#e4e7eb": "#343a43",
    "#000000": "#eceef1",
}
CAPTIONS = {
    "hard": "The loss on the labels. The distilled student also has the teacher to follow, so its own may end higher.",
    "soft": "How far the student is from the teacher, at the temperature of the training.",
}


def report(
    out: str | Path,
    results: pd.DataFrame,
    *,
    by: str,
    larger: bool = True,
    title: str = "",
    kind: str = "",
    settings: Mapping[str, Any] | None = None,
    data: pd.DataFrame | None = None,
    warnings: Iterable[str] = (),
    examples: pd.DataFrame | None = None,
    histories: Mapping[str, Any] | None = None,
    student: Any = None,
    processor: Any = None,
    command: str = "",
) -> Path:
    """Write ``out/report.html``, which says what came out to someone who was not there, and beside it what it rests on.

    The page is one file without scripts, and asks nothing of the network. ``results.csv`` holds the results, and
    ``student/`` the student in Hugging Face's format with its model card. It is said that the teacher helped where the
    95 % interval of distilled − twin, paired by seed, is clear of zero; else, that this was not shown.

    Args:
        out: a folder; it is made.
        results: a row a model and seed: model ("teacher", "distilled" or "twin"), seed, then scores, and parameters,
            size_mb, latency_ms, as far as they are known. Of several rates in a column lr each model has its best.
        by: the score that counts, a column of `results`; `larger`: whether more of it is better.
        title, kind: what this is about; "classification", "seq2seq", "language", "speech" or "images".
        settings: what was chosen, by name; "teacher", "data" and "license" are for the model card, too.
        data, warnings: a table that describes the data, and what was found in it, a sentence each.
        examples: held-out rows: input, reference, teacher, distilled, twin. Pictures may be PIL images.
        histories: by name ("distilled", "twin", "twin, seed 1" …) a run's history of `Step`.
        student, processor: a transformers model, and its tokenizer or processor.
        command: how to make all this again.

    Returns:
        The path of the page.

    Raises:
        BadType, BadValue: a table without the columns it needs; no distilled student among the results.
        BadFile: a student with broken weights; a folder in which nothing can be written.

    >>> import pandas as pd, tempfile
    >>> results = pd.DataFrame({"model": ["teacher", "distilled", "twin"], "seed": 0, "accuracy": [0.95, 0.9, 0.8]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = report(folder, results, by="accuracy", title="Complaints")
    ...     path.name, "no claim" in path.read_text(encoding="utf-8")
    ('report.html', True)
    """
    kind = choice("kind", kind, KINDS)
    claims = Claims(results, by=by, larger=larger)
    settings, histories = _by_name("settings", settings), _by_name("histories", histories)
    data, examples = _frame("data", data), _frame("examples", examples)
    if student is not None:
        if not hasattr(student, "save_pretrained") or not hasattr(student, "config"):
            raise BadType(f"student must be a model of transformers, which can save itself, got {shown(type(student))}")
        check_finite(Path("student"), student.state_dict())
    found = {
        "title": title or "What a distillation came to",
        "kind": kind,
        "day": f"{datetime.now(UTC):%d %B %Y, %H:%M UTC}".lstrip("0"),
        "verdict": claims.verdict,
        "sentence": claims.sentence,
        "tiles": _tiles(claims),
        "models": list(claims.sides),
        "groups": claims.groups(),
        "seeds": len(claims.sides["distilled"]),
        "limits": claims.limits(),
        "settings": settings,
        "data": None if data is None else _table(data.iloc[:ROWS], len(data)),
        "warnings": [warnings] if isinstance(warnings, str) else list(warnings),
        "code": "" if student is None else how_to_use(student, processor),
        "command": command,
        "versions": _versions(),
    }
    shown_only_here = {
        "pictures": _pictures(claims),
        "curves": _curves(histories),
        "examples": None if examples is None or examples.empty else _examples(examples),
    }
    html = templates.page(found | shown_only_here)
    out = Path(out)
    if student is not None:
        save_student(student, processor, model_card(found, claims, student), out / "student")
    write_csv(results.reset_index(drop=True), out / "results.csv")
    write(out / "report.html", html.encode())
    return out / "report.html"


def _by_name(name: str, value: object) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise BadType(f"{name} must be a dictionary by name, got {shown(type(value))}")
    return {str(key): each for key, each in (value or {}).items()}


def _frame(name: str, value: object) -> pd.DataFrame | None:
    import pandas as pd

    value = value.frame if isinstance(value, Listing) else value
    if value is not None and not isinstance(value, pd.DataFrame):
        raise BadType(f"{name} must be a DataFrame, got {shown(type(value))}")
    return value


def _tiles(claims: Claims) -> list[tuple[str, str]]:
    """The few numbers that are read first, and what each is."""
    unit, name = claims.unit(claims.by), called(claims.by)
    theirs = claims.mean("teacher", claims.by)
    beside = "" if math.isnan(theirs) else f"; the teacher’s is {unit.value(theirs)}"
    tiles = [(unit.value(claims.mean("distilled", claims.by)), f"{name}{beside}")]
    gain, half, seeds = claims.gain(claims.by)
    if seeds:
        amount = unit._replace(points="").difference(gain, half)
        some = "one seed" if seeds == 1 else f"{seeds} seeds"
        tiles.append((amount, f"{unit.points.strip() or name}, distilled − twin, {some}"))
    if claims.part:
        tiles.append((claims.part, "of the teacher’s parameters"))
    if (times := claims.times("latency_ms")) > 1.05:
        tiles.append((f"{times:.1f} ×", "as fast as the teacher"))
    return tiles


def _pictures(claims: Claims) -> list[dict[str, Any]]:
    """Each seed; and quality against parameters and against latency."""
    import pandas as pd

    from distilkit.plots import report as plots

    by, unit, name = claims.by, claims.unit(claims.by), called(claims.by)
    pairs = pd.concat(
        {model: claims.sides[model][by] for model in ("distilled", "twin") if model in claims.sides}, axis=1
    )
    pairs = pairs.dropna() if not pairs.dropna().empty else pairs[["distilled"]].dropna()  # no seed that both have
    scaled = {model: (unit.scale * values).tolist() for model, values in pairs.items()}
    measure = f"{name}{' (%)' if unit.suffix else ''}"
    figure = plots.seeds(
        scaled["distilled"],
        scaled.get("twin", []),
        teacher=unit.scale * claims.mean("teacher", by),
        measure=measure,
    )
    said = {model: unit.value(*claims.estimate(model, by)) for model in claims.sides}
    alt = f"{name} of each seed. {'; '.join(f'{model} {value}' for model, value in said.items())}."
    lines = "A line a seed, from the twin to the student that had the teacher" if "twin" in scaled else "A point a seed"
    found = [
        _picture(figure, alt, f"{lines}; beside, the means{' and their 95 % intervals' if len(pairs) > 1 else ''}.")
    ]
    best = f"{'upper' if claims.larger else 'lower'} left"
    for cost, words in (("parameters", "size"), ("latency_ms", "time")):
        costs = {model: claims.mean(model, cost) for model in claims.sides} if cost in claims.measures else {}
        costs = {model: paid for model, paid in costs.items() if math.isfinite(paid)}
        if len(set(costs.values())) > 1:
            scores = {model: [unit.scale * each for each in claims.estimate(model, by)] for model in costs}
            points = {model: (paid, scores[model][0], scores[model][1]) for model, paid in costs.items()}
            figure = plots.against(points, cost=called(cost), measure=measure)
            alt = "; ".join(f"{model} {said[model]} at {short(paid)}" for model, paid in costs.items())
            caption = f"Quality against {words}: best is {best}."
            found.append(_picture(figure, f"{name} against {called(cost)}. {alt}.", caption))
    return found


def _curves(histories: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The terms of the loss as they came down, and what else the histories hold."""
    import pandas as pd

    from distilkit.plots import report as plots

    frames = {as_text(name, 60): pd.DataFrame(history) for name, history in histories.items()}
    frames = {
        name: frame.apply(pd.to_numeric, errors="coerce") for name, frame in frames.items() if "step" in frame.columns
    }
    terms: dict[Any, None] = {}
    for frame in frames.values():
        most = frame.drop(columns="step").abs().max()
        terms |= dict.fromkeys(term for term in most.index if term not in KNOBS and 0 < most[term] < math.inf)
    if {"soft", "hard"} & terms.keys():
        terms.pop("loss", None)  # their sum, which of student and twin is not the same
    found = []
    for term in [*terms][:CURVES]:
        ends = {name: frame[term].dropna() for name, frame in frames.items() if term in frame.columns}
        own = {name: frames[name] for name, values in ends.items() if len(values)}
        said = [f"{name} from {short(ends[name].iloc[0])} to {short(ends[name].iloc[-1])}" for name in own]
        figure = plots.learning(own, measure=term, title=called(term))
        found.append(
            _picture(figure, f"{called(term)} by step. {'; '.join(said[:6])}.", CAPTIONS.get(term, called(term)))
        )
    return found


def _picture(figure: Figure, alt: str, caption: str) -> dict[str, Any]:
    """A figure in light and in dark colours, each as an address that holds it (SVG, its letters drawn)."""
    import matplotlib
    from markupsafe import Markup

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "distilkit"}), python_warnings.catch_warnings():
        python_warnings.filterwarnings("ignore", "Glyph")  # letters that the font lacks: boxes stand for them
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})

    def coloured(palette: Mapping[str, str]) -> Markup:
        # what has no colour of its own is black
        svg = drawn.getvalue().replace("<svg ", '<svg fill="#000000" ', 1)
        svg = re.sub("|".join(palette), lambda colour: palette[colour[0]], svg)
        return Markup(f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}")

    return {"light": coloured(LIGHT), "dark": coloured(DARK), "alt": alt, "caption": caption}


def _examples(examples: pd.DataFrame) -> dict[str, Any]:
    """Held-out rows, first those on which teacher and student differ: titles and tables."""
    if not {"teacher", "distilled"} <= set(examples.columns):
        parts = {"Held-out rows": examples}
        about = ""
    else:
        differ = examples["teacher"].astype(str) != examples["distilled"].astype(str)
        about = f"Of {len(examples)} held-out rows, teacher and student differ on {int(differ.sum())}."
        parts = {"Teacher and student differ": examples[differ], "They say the same": examples[~differ]}
    least = min(SAME, len([*parts.values()][-1])) if len(parts) > 1 else 0
    tables, left = [], EXAMPLES
    for place, (words, part) in enumerate(parts.items()):
        rows = part.iloc[: left - (least if place == 0 else 0), :COLUMNS]
        left -= len(rows)
        if len(rows):
            tables.append((words, _table(rows.reset_index(drop=True), len(part))))
    return {"about": about, "tables": tables}


def _table(part: pd.DataFrame, rows: int) -> dict[str, Any]:
    """A frame, of which there are so many rows, as cells; an index that is no mere number is its first column."""
    import pandas as pd

    part = part.iloc[:, :COLUMNS]
    columns = [as_text(name, 60) for name in part.columns]
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in part.dtypes]
    cells = [[_cell(value) for value in row] for row in part.itertuples(index=False, name=None)]
    if not isinstance(part.index, pd.RangeIndex):
        columns, numeric = [as_text(part.index.name or "", 60), *columns], [False, *numeric]
        cells = [[_cell(name), *row] for name, row in zip(part.index, cells, strict=True)]
    return {"columns": columns, "numeric": numeric, "rows": cells, "of": rows}


def _cell(value: Any) -> str:
    import pandas as pd
    from markupsafe import Markup
    from PIL import Image

    if isinstance(value, Image.Image):
        small = value.convert("RGB")
        small.thumbnail((128, 128))
        small.save(held := io.BytesIO(), "PNG")
        source = base64.b64encode(held.getvalue()).decode("ascii")
        return Markup(f'<img class="thumb" alt="a picture" src="data:image/png;base64,{source}">')
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "—"
    return f"{value:.4g}" if isinstance(value, float) else as_text(value, CELL)


def _versions() -> dict[str, str]:
    """What made this."""
    import distilkit

    found = {"Python": platform.python_version(), "distilkit": distilkit.__version__}
    for name in ("torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, "machine": f"{platform.system()} {platform.machine()}"}
