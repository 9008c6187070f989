"""Chapter 18 on data of every kind, as papermill's command line starts it: each to a report, and without a fault."""

import gzip
import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from PIL import Image

from tests.loopback_hub import serving
from tests.notebook_checker import faults
from tests.test_your_own import pairs, rows, saved

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "real"
SHORT = {"steps": 6, "seeds": 2, "alpha": 0.8}

real = pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the repository (../shared/real)")
pytestmark = [pytest.mark.notebook, pytest.mark.slow]


def execute(folder, **parameters):
    """Run the chapter, look for faults, and return where it wrote and what it found."""
    out, executed = folder / "report", folder / "executed.ipynb"
    papermill.execute_notebook(
        ROOT / "notebooks" / "18_your_own.ipynb",
        executed,
        parameters={**SHORT, "out": str(out), **parameters},
        kernel_name="python3",
        cwd=ROOT / "notebooks",
        execution_timeout=600,
        progress_bar=False,
    )
    found = faults(nbformat.read(executed, as_version=4))
    assert not found, "\n".join(found)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert (out / "student" / "model.safetensors").is_file()
    assert (out / "student" / "README.md").is_file()
    return page, pd.read_csv(out / "results.csv")


def test_a_csv_with_columns_by_name(tmp_path):
    made = pd.DataFrame(rows()).rename(columns={"text": "what was <b>said</b>", "label": "kind"})
    made.assign(id=range(len(made))).to_csv(tmp_path / "said.csv", index=False)
    page, results = execute(
        tmp_path, data=str(tmp_path / "said.csv"), text_column="what was <b>said</b>", label_column="kind"
    )
    assert "<b>said</b>" not in page
    assert list(results["model"]) == ["teacher", *["distilled", "twin"] * 2]
    assert results["accuracy"].between(0, 1).all()


def test_questions_answers_and_reasons_as_json_lines(tmp_path):
    file = tmp_path / "reasons.jsonl"
    lines = [{"question": row["text"], "answer": row["target"], "explanation": row["rationale"]} for row in pairs()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, results = execute(
        tmp_path, data=str(file), text_column="question", target_column="answer", rationale_column="explanation"
    )
    assert results["chrf"].between(0, 100).all()


def test_running_text_on_the_students_own(tmp_path):
    text = "\n\n".join(row["text"] + ". " + row["text"][::-1] + "." for row in rows(400))
    (tmp_path / "book.txt").write_text(text)
    _, results = execute(tmp_path, data=str(tmp_path / "book.txt"), transfer="student_text", divergence="reverse_kl")
    assert (results["perplexity"] > 1).all()


def test_a_folder_of_pictures(tmp_path):
    draw = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for place in range(15):
            pixels = np.clip(level + draw.integers(-30, 30, (20, 28, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{place}.png")
    _, results = execute(tmp_path, data=str(tmp_path / "pictures"))
    assert results["accuracy"].between(0, 1).all()


def test_a_teacher_from_a_hub(tmp_path, monkeypatch):
    saved(tmp_path / "hub" / "somebody" / "fruit-or-tool", ["fruit", "tool"])
    pd.DataFrame(rows()).to_parquet(tmp_path / "said.parquet")
    with serving(tmp_path / "hub") as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        page, results = execute(tmp_path, data=str(tmp_path / "said.parquet"), teacher="somebody/fruit-or-tool@main")
    assert "somebody/fruit-or-tool" in page
    teacher, student = (
        results.loc[results["model"] == name, "parameters"].iloc[0] for name in ("teacher", "distilled")
    )
    assert student < teacher


@real
def test_real_questions_in_another_encoding(tmp_path):
    lines = (REAL / "TREC.train").read_bytes().splitlines(keepends=True)
    (tmp_path / "TREC.train").write_bytes(b"".join(lines[:1200]))
    page, results = execute(tmp_path, data=str(tmp_path / "TREC.train"))
    assert "DESC" in page
    assert results.loc[results["model"] == "teacher", "accuracy"].item() > 0.6


@real
def test_real_captions_in_two_languages(tmp_path):
    for language in ("en", "fr"):
        lines = gzip.decompress((REAL / f"multi30k_train.{language}.gz").read_bytes()).splitlines(keepends=True)
        (tmp_path / f"captions.{language}").write_bytes(b"".join(lines[:400]))
    page, results = execute(tmp_path, data=f"{tmp_path / 'captions.en'},{tmp_path / 'captions.fr'}")
    assert "chrF" in page
    assert results["bleu"].between(0, 100).all()


@real
def test_real_recordings(tmp_path):
    _, results = execute(tmp_path, data=str(REAL / "spoken_digits"))
    assert (results["wer"] >= 0).all()
