"""Binder's own builder reads `binder/` as it was meant: its dry run writes the Dockerfile, without Docker."""

import os
import re
import shutil
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
SCRIPTS = ["postBuild", "start"]


def tracked():
    """The files that a clone would have; all but the hidden and the built, where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    found = [path for folder in ("binder", "distilkit") for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [str(path.relative_to(ROOT)) for path in found]


@cache
def dockerfile(folder):
    """What repo2docker would build of a clone in this folder."""
    pytest.importorskip("repo2docker", reason="jupyter-repo2docker is not installed: pip install -e '.[test]'")
    if sys.platform == "win32":
        pytest.skip("jupyter-repo2docker does not run on Windows")
    for name in tracked():
        if not name.startswith("data/"):  # megabytes that no rule reads
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    plain = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return dockerfile(tmp_path_factory.mktemp("clone"))


def test_python_is_the_one_of_runtime_txt(rendered):
    assert (BINDER / "runtime.txt").read_text().strip() == "python-3.12"
    assert "python=3.12" in rendered
    assert "environment.py-3.12" in rendered.replace("-2e", ".").replace("-2d", "-")


def test_requirements_are_installed_then_post_build_runs_then_every_start(rendered):
    installed = rendered.index('/bin/pip install --no-cache-dir -r "binder/requirements.txt"')
    built = rendered.index("RUN ./binder/postBuild")
    started = rendered.index('chmod +x "${REPO_DIR}/binder/start"')
    assert rendered.index("COPY --chown=0:0 src/ ${REPO_DIR}/") < installed < built < started
    assert re.search(r"ENV R2D_ENTRYPOINT=.*binder/start", rendered)


def test_the_roots_own_files_change_nothing(rendered):
    for name in ("Makefile", "constraints.txt", "pyproject.toml", "environment.yml"):
        assert name not in rendered, f"{name} is read by Binder, which takes binder/ alone"


def test_requirements_name_the_cpu_build_that_was_tested_and_the_kit():
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    (pinned,) = re.findall(r"(?m)^torch==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in lines
    assert f"torch=={pinned}+cpu" in lines
    assert any(re.fullmatch(r"\.(\[\w+(,\w+)*\])?", line) for line in lines)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_and_stops_at_its_first_fault(name):
    lines = (BINDER / name).read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "set -euo pipefail" in lines[:4]
    listed = subprocess.run(
        ["git", "ls-files", "-s", BINDER / name], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.stdout:
        assert listed.stdout.startswith("100755"), f"git update-index --chmod=+x binder/{name}"
    elif sys.platform != "win32":
        assert (BINDER / name).stat().st_mode & stat.S_IXUSR


@pytest.mark.skipif(sys.platform == "win32", reason="bash scripts")
def test_start_hands_over_to_what_it_was_given_with_one_thread():
    show = [sys.executable, "-c", "import os, sys; print(os.environ['OMP_NUM_THREADS'], sys.argv[1:])", "a b", ""]
    done = subprocess.run([BINDER / "start", *show], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 ['a b', '']"


@pytest.mark.skipif(sys.platform == "win32", reason="bash scripts")
def test_a_failing_post_build_fails_the_build(tmp_path):
    (tmp_path / "python").write_text("#!/bin/bash\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([BINDER / "postBuild"], env=os.environ | path, capture_output=True, check=False)
    assert done.returncode == 3
