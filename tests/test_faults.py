"""Faults of kernel, process and disk, as they really come: other processes, full disks, forks, floods of events."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbclient
import nbformat
import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit.claim import claim
from distilkit.models import data_path
from distilkit.widgets.base import Widget
from tests.notebook_checker import faults
from tests.trust import fuzz, kill

from .faults import forked, refused

ROOT = Path(__file__).parents[1]


def examples(count=32):
    draw = torch.Generator().manual_seed(0)
    return dk.Examples(torch.randn(count, 6, generator=draw), torch.randint(3, (count,), generator=draw))


def network(seed=0, width=6):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 3))


def start(**others):
    return dk.distill(network(), network(9), examples(), **{"steps": 20, "batch_size": 8} | others)


def test_f03_a_number_beyond_all_floats():
    refused(lambda: dk.Knobs(temperature=10**400), ValueError, "temperature must lie in", "got 1000")
    refused(
        lambda: dk.Knobs(temperature=10**9000), ValueError, "temperature must lie in", "got a number of 29,898 bits"
    )


# ------------------------------------------------------------------------------------------------------------ files


def test_f33_a_flipped_bit_in_any_file_of_a_shipped_folder(tmp_path):
    folder = shutil.copytree(data_path("shop/twin"), tmp_path / "twin")
    dk.language_model(folder)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "SHA256SUMS"):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
        refused(lambda: dk.language_model(folder), OSError, str(folder))
        (folder / name).write_bytes(good)
    (folder / "config.json").unlink()
    refused(lambda: dk.language_model(folder), OSError, "cannot read", "config.json")


def test_f49_a_newer_format(tmp_path, monkeypatch):
    monkeypatch.setattr("distilkit.training.FORMAT", 2)
    path = start(steps=1).save(tmp_path / "run.safetensors")
    monkeypatch.undo()
    refused(lambda: start(steps=1, checkpoint=path), OSError, "newer distilkit", "format 2", "reads 1")
    dk.cache_teacher(network(9), examples(), tmp_path / "answers")
    about = tmp_path / "answers" / "about.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 99}))
    refused(
        lambda: dk.cache_teacher(network(9), examples(), tmp_path / "answers"), OSError, "newer distilkit", "format 99"
    )


def test_f33_what_a_checkpoint_does_not_fit_is_refused_whole(tmp_path):
    """Another content under a right digest: the run is as it was."""
    run, found = fuzz.a_run(), {"loaded": 0, "refused": 0}
    next(run)
    good = run.save(tmp_path / "good.safetensors")
    before = {name: value.clone() for name, value in run.student.state_dict().items()}
    for number in range(200):
        (tmp_path / "run.safetensors").write_bytes(fuzz.mutated_checkpoint(random.Random(number)))
        try:
            run.load(tmp_path / "run.safetensors")
            found["loaded"] += 1
            run.load(good)
        except dk.DistilkitError:
            found["refused"] += 1
        assert all(torch.equal(value, before[name]) for name, value in run.student.state_dict().items())
        assert len(run.history) == 1
    assert found["refused"] > 100


# ------------------------------------------------------------------------------------------- processes beside others

HOLDER = """
import sys, time, torch
import distilkit as dk
from tests.test_faults import start
run = start(checkpoint=sys.argv[1])
next(run)
print("one step", flush=True)
sys.stdin.read()
"""


def test_f72_two_kernels_on_one_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == "one step\n"
        run = start(checkpoint=path)
        refused(lambda: next(run), OSError, f"process {other.pid} on ", "give another path")
        assert run.history == []
        assert not path.exists()
    finally:
        other.kill()  # and its claim dies with it
        other.communicate()
    run.result()
    assert {file.name for file in tmp_path.iterdir()} == {"run.safetensors"}


def test_f72_two_kernels_on_one_sweep(tmp_path):
    held = claim(tmp_path / "sweep.parquet")
    assert claim(tmp_path / "sweep.parquet") is held  # a cell that is run again

    def elsewhere():
        refused(lambda: claim(tmp_path / "sweep.parquet"), OSError, f"process {os.getppid()} on ")
        refused(
            lambda: dk.sweep(dk.tasks.digits(), seeds=1, steps=1, path=tmp_path / "sweep.parquet"), OSError, "process"
        )

    import distilkit.claim

    def as_another():
        distilkit.claim._HERE.clear()  # what a process has that was not forked
        elsewhere()

    assert forked(as_another) == 0
    del held
    assert forked(as_another) == 1


def test_f76_a_fork_while_a_run_goes_on_in_a_thread():
    task = dk.tasks.digits(labelled=100)
    view = dk.watch(dk.distill(task.student(), task.teacher(), task.transfer, steps=100_000), task=task, pace=0)
    try:
        while not view.run.history:
            time.sleep(0.01)

        def in_the_child():
            run = start(steps=5)
            run.result()
            assert len(run.history) == 5

        for _ in range(3):
            assert forked(in_the_child) == 0
        made = len(view.run.history)
        while len(view.run.history) == made:  # and the parent's goes on
            time.sleep(0.01)
    finally:
        view.close()
        view._thread.join(10)


# --------------------------------------------------------------------------------------------------------- full disks


def full(act):
    """Do it where no file may grow beyond four kilobytes."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        act()

    assert forked(limited) == 0


def test_f79_a_full_disk_leaves_what_was_there(tmp_path):
    model, run = tmp_path / "model.safetensors", tmp_path / "run.safetensors"
    dk.save(network(), model)
    start(steps=1).save(run)
    large = network(width=3000)
    data = dk.Examples(torch.zeros(4000, 3000), torch.zeros(4000, dtype=torch.int64))
    old = model.read_bytes(), run.read_bytes()

    def act():
        refused(lambda: dk.save(large, model), OSError, "cannot write", "what was there before is untouched")
        own = dk.distill(large, network(9, 3000), data, steps=1, batch_size=8, checkpoint=run.with_name("other"))
        refused(lambda: next(own), OSError, "cannot write", "Free some space")
        refused(lambda: dk.cache_teacher(network(9, 3000), data, tmp_path / "answers"), OSError, "Free some space")
        points = [{"seed": seed, "text": "x" * 3000} for seed in range(4)]
        path = tmp_path / "sweep.parquet"
        refused(
            lambda: kill.collect(kill.told, kill.Nothing(), points, {}, command="", path=path), OSError, "cannot write"
        )

    full(act)
    assert (model.read_bytes(), run.read_bytes()) == old
    dk.load(network(7), model)
    assert len(dk.cache_teacher(network(9, 3000), data, tmp_path / "answers")) == 4000  # it goes on after them
    assert not [path for path in tmp_path.rglob(".*.????????") if path.is_file() and path.suffix != ".lock"]


SHARED = "mount -t tmpfs -o size=64k none /dev/shm && head -c 64k /dev/zero > /dev/shm/full; exec {} -W ignore -c '{}'"
SWEEP = "import distilkit as dk; print(len(dk.sweep(dk.tasks.digits(), seeds=2, steps=2, jobs=2)))"


def test_f83_a_full_shared_memory():
    """joblib then runs the sweep in one process, and says so."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("no mount namespace here")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", SHARED.format(sys.executable, SWEEP)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "2", done.stderr


# ------------------------------------------------------------------------------------------------- floods of events


@pytest.fixture
def watched():
    task = dk.tasks.digits(labelled=100)
    views = []

    def make(steps, **others):
        run = dk.distill(task.student(), task.teacher(), task.transfer, steps=steps)
        views.append(dk.watch(run, task=task, **{"pace": 0} | others))
        return views[-1]

    yield make
    for view in views:
        view.close()
        view._thread.join(10)


def test_f87_of_a_thousand_slider_events_the_newest_holds(watched):
    view, frames = watched(100_000), []
    view.observe(lambda change: frames.append(change["new"]["step"]), "frame")
    while not view.run.history:
        time.sleep(0.01)
    began = time.monotonic()
    for place in range(1, 1001):
        view._handle_custom_msg({"kind": "knob", "name": "temperature", "value": place / 100}, [])
    assert view.run.knobs.temperature == 10.0
    made = len(view.run.history)
    while len(view.run.history) < made + 2:
        time.sleep(0.01)
    assert view.run.history[-1].temperature == 10.0
    assert len(frames) <= 10 * (time.monotonic() - began) + 5  # ten a second, and not one an event


def test_f88_ten_thousand_steps_are_throttled_and_fit_a_notebook():
    view, frames = dk.watch(start(steps=10_000), pace=0), []
    view.observe(lambda change: frames.append(change["new"]["step"]), "frame")
    began = time.monotonic()
    view.result()
    assert len(view.run.history) == 10_000
    assert len(frames) <= 10 * (time.monotonic() - began) + 5
    state = json.dumps(view.get_state(), default=lambda value: [0] * len(bytes(value)) if value else None)
    picture = view._repr_mimebundle_()[0]["image/png"]
    assert len(state) + len(picture) < 2_000_000
    assert len(view.frame["steps"]) <= 300
    view.close()


def test_f89_without_widgets_there_is_a_picture(watched):
    view = watched(20)
    view.result()
    shown, _ = view._repr_mimebundle_()
    assert shown["text/plain"].strip()
    assert len(shown["image/png"]) > 1000
    kinds = {kind for kind in every(Widget) if kind.__module__.startswith("distilkit.")}
    assert len(kinds) > 10
    assert all(callable(getattr(kind, "_repr_mimebundle_", None)) for kind in kinds)


def every(kind):
    """A class's subclasses, and theirs."""
    for name in dk.__all__:
        getattr(dk, name)
    found = set(kind.__subclasses__())
    return found.union(*(every(each) for each in found)) if found else found


def test_f93_no_verb_prints_at_each_step(capsys, tmp_path):
    task = dk.tasks.digits(labelled=100)
    student, twin, teacher = task.student(), task.student(), task.teacher()
    dk.setup(seed=0)
    dk.distill(student, teacher, task.transfer, steps=200, checkpoint=tmp_path / "run", save_every=20).result()
    dk.distill(twin, None, task.train, steps=200).result()
    dk.compare(task, teacher=teacher, distilled=student, twin=twin)
    dk.cache_teacher(teacher, task.transfer, tmp_path / "answers")
    dk.sweep(task, seeds=3, steps=5, jobs=1)
    view = dk.watch(dk.distill(task.student(), teacher, task.transfer, steps=50), task=task, pace=0)
    view.result()
    view.close()
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("\n") <= 3


# ------------------------------------------------------------------------------------- cells in another order

CELLS = [
    "import distilkit as dk\ndk.setup(seed=0)",
    "task = dk.tasks.digits(labelled=100)\nteacher, student, twin = task.teacher(), task.student(), task.student()",
    "run = dk.distill(student, teacher, task.transfer, steps=60, checkpoint='run.safetensors', save_every=10)",
    "for step in run:\n    if step.step == STOP:\n        break",
    "dk.watch(run, twin=twin, task=task, pace=0).result()\nlast = run.history[-1].loss\nassert run.done",
    "dk.compare(task, teacher=teacher, distilled=student, twin=twin)",
]


@pytest.mark.notebook
def test_f74_run_all_twice_out_of_order_and_a_restart_in_the_middle(tmp_path):
    """Each time the cells find themselves as if they had run once: the same loss at the end, bit for bit."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in ["STOP = 25", *CELLS]])
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    ask = nbformat.v4.new_code_cell("repr(last)")

    def run(*places):
        for place in places:
            client.execute_cell(notebook.cells[place], place)

    def loss():
        notebook.cells = [*notebook.cells[:7], nbformat.from_dict(ask)]
        client.execute_cell(notebook.cells[7], 7)
        return notebook.cells[7].outputs[0].data["text/plain"]

    task = dk.tasks.digits(labelled=100)
    unstopped = dk.distill(task.student(), task.teacher(), task.transfer, steps=60)
    unstopped.result()
    expected = repr(repr(unstopped.history[-1].loss))
    with client.setup_kernel():
        run(*range(5))  # to a step in the middle
    with client.setup_kernel():  # a restart; Run All
        for again in (range(7), range(7), (6, 5, 4, 2, 3, 5, 6)):  # Run All once more; any order
            run(*again)
            assert loss() == expected
    assert not [line for line in faults(notebook) if "error" in line]
