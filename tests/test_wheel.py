"""The wheel is the whole kit: installed in an empty folder, far from the repository, it finds its data and code."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CARRIED = {"distilkit": "distilkit", "data": "distilkit/data", "notebooks/solutions": "distilkit/solutions"}

VISIT = """
import json
import distilkit as dk
task = dk.tasks.digits()
print(json.dumps({
    "package": dk.__file__,
    "teacher": str(dk.models.data_path("digits/teacher.safetensors")),
    "accuracy": task.score(task.teacher())["accuracy"],
    "javascript": len(dk.explore(dk.plots.soft_labels, [[1.0, 2.0]], temperature=(0.5, 20.0))._esm),
}))
"""


def python(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_alone_is_the_whole_kit(tmp_path: Path) -> None:
    pip = ("-m", "pip", "--disable-pip-version-check")
    python(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("distilkit-*-py3-none-any.whl")
    site = tmp_path / "site"
    python(*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)

    for folder, place in CARRIED.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".pyi", ".js", ".css", ".md", ".safetensors", ".sha256", ".parquet"}:
                assert (site / place / path.relative_to(ROOT / folder)).is_file(), f"{path} is not in the wheel"

    assert (site / "distilkit" / "glossary.md").is_file()
    (tmp_path / "visit.py").write_text(VISIT, encoding="utf-8")
    found = json.loads(python(tmp_path / "visit.py", PYTHONPATH=str(site)))
    assert site in Path(found["package"]).parents
    assert site in Path(found["teacher"]).parents
    assert found["accuracy"] >= 0.97
    assert found["javascript"] > 1000
