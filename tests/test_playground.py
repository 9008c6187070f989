"""The playground without a page: every question is answered, runs go side by side, and a file brings them back."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import pytest
import safetensors.torch
import torch

import distilkit as dk
from distilkit.setting import Setting
from distilkit.widgets import parcel
from distilkit.widgets.playground import PRESETS, Playground
from distilkit.words import say, speak
from tests.faults import refused
from tests.hostile import HOSTILE
from tests.notebook_checker import code as code_faults, parameters, run as run_faults, shown as shown_faults, unclean
from tests.page import tell, until

ROOT = Path(__file__).parents[1]
QUICK = "n=50&size=8&steps=12"


@pytest.fixture
def play() -> Iterator[Callable[..., Playground]]:
    views = []

    def make(code: Any = QUICK, **options: Any) -> Playground:
        views.append(dk.playground(code, **{"pace": 0, **options}))
        return views[-1]

    yield make
    for view in views:
        view.close()
        view._thread.join(20)


def answers(view: Playground, **content: Any) -> list[tuple[dict[str, Any], list[bytes]]]:
    """What Python says to what the page would send."""
    found: list[tuple[dict[str, Any], list[bytes]]] = []
    view.send = lambda content, buffers=None: found.append((content, buffers or []))
    tell(view, **content)
    return found


def test_it_runs_by_itself_and_says_what_happened(play: Callable[..., Playground]) -> None:
    view = play()
    until(lambda: view.frame["over"])
    assert view.happened.startswith("Finished: student ")
    assert view.happened.endswith("points on 500 test images, one seed.")
    assert view.frame["line"] == view.happened
    (curve,) = view.curves
    assert curve["sides"]["student"]["at"] == list(range(13))
    assert None not in curve["sides"]["student"]["quality"] + curve["sides"]["twin"]["agreement"]
    alone = Setting.of(QUICK).runs()
    for mine, same in zip((view.runs[0], view.twins[0]), alone, strict=True):
        same.result()
        assert mine.history == same.history
    task = dk.tasks.digits(labelled=50)
    assert view.measured["accuracy"].iloc[12] == pytest.approx(task.score(view.students[0])["accuracy"])
    assert {"text/plain", "image/png"} <= view._repr_mimebundle_()[0].keys()


def test_a_light_import_opens_it() -> None:
    code = (
        "import sys, distilkit as dk\nfrom distilkit.widgets.playground import playground\n"
        "print([name for name in ('torch', 'pandas', 'sklearn', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_knob_reaches_the_loop_and_says_what_it_means(play: Callable[..., Playground]) -> None:
    view = play("steps=5000", pace=200)
    until(lambda: view.frame["lanes"][0]["step"] > 3)
    tell(view, kind="knob", key="a", value=0.7)
    tell(view, kind="knob", key="a", value=0.5)  # one drag
    until(lambda: view.runs[0].history[-1].alpha == 0.5)
    assert view.happened.startswith("Alpha went from 0.9 to 0.5 at step ")
    assert view.happened.endswith(": the labels now weigh as much as the teacher.")
    tell(view, kind="knob", key="lr", value=0.002)
    until(lambda: view.twins[0].history[-1].lr == view.runs[0].history[-1].lr == 0.002)
    tell(view, kind="knob", key="T", value=8)
    assert "softer answers" in view.happened
    until(lambda: ["T", 8.0] in [mark[1:] for mark in view.frame["lanes"][0]["marks"]])
    assert "a=.5" in view.code
    tell(view, kind="knob", key="T", value=-1)
    assert "temperature" in view.happened
    assert view.runs[0].knobs.temperature == 8


def test_pause_step_reset(play: Callable[..., Playground]) -> None:
    view = play("steps=5000", pace=200)
    until(lambda: view.frame["lanes"][0]["step"] > 3)
    tell(view, kind="pause")
    until(view._idle.is_set)
    made = len(view.runs[0].history)
    assert made == len(view.twins[0].history)
    tell(view, kind="step")
    until(lambda: len(view.twins[0].history) == made + 1)
    until(lambda: view.happened.startswith(f"A, step {made + 1}: loss "))
    first = view.runs[0].history[:made]
    tell(view, kind="knob", key="lr", value=0.5)
    tell(view, kind="reset")
    assert view.frame["lanes"][0]["step"] == 0
    assert "lr=.5" in view.code
    tell(view, kind="knob", key="lr", value=0.01)
    for _ in range(2):  # f73: a double click
        tell(view, kind="run")
    until(lambda: len(view.runs[0].history) > made)
    tell(view, kind="pause")
    assert view.runs[0].history[:made] == first
    until(lambda: len(view.twins[0].history) == len(view.runs[0].history))
    assert {step.lr for step in view.twins[0].history} == {0.01}


def test_four_runs_side_by_side(play: Callable[..., Playground]) -> None:
    view = play()
    view.result()
    tell(view, kind="duplicate")
    tell(view, kind="knob", key="a", value=0.2)
    tell(view, kind="add")
    tell(view, kind="set", key="noise", value="0.4")
    assert view.happened == "wrong labels went from 0 % to 40 %: run C starts anew at step 0."
    tell(view, kind="duplicate")
    tell(view, kind="set", key="teacher", value="hasty")
    tell(view, kind="add")
    assert "remove one first" in view.happened
    view.result()
    assert [setting.alpha for setting in view.settings] == [0.9, 0.2, 0.9, 0.9]
    twins = view.twins
    assert twins[0] is twins[1]  # one setting, one twin
    assert len({id(twin) for twin in twins}) == 3
    assert [list(curve["sides"]) for curve in view.curves][1] == ["student"]
    assert list(view.table.columns) == ["A", "B", "C", "D"]
    assert {"alpha α", "wrong labels", "teacher", "right answers"} <= set(view.table.index)
    assert "seed" not in view.table.index
    assert set(view.measured["run"]) == set("ABCD")
    tell(view, kind="choose", value=1)
    tell(view, kind="remove")
    assert [lane["name"] for lane in view.frame["lanes"]] == ["A", "C", "D"]
    assert [lane["colour"] for lane in view.frame["lanes"]] == [0, 2, 3]
    tell(view, kind="name", value="no <b>noise</b>")
    assert view.frame["lanes"][1]["name"] == "no <b>noise</b>"
    assert view.happened


def test_a_learning_rate_turned_in_one_run_leaves_the_other_runs_twin(play: Callable[..., Playground]) -> None:
    view = play("steps=40&n=50&size=8")
    view.result()
    tell(view, kind="duplicate")
    until(lambda: view.frame["lanes"][1]["step"] == 0 and view._lanes[1].built)
    tell(view, kind="step")
    until(lambda: view.frame["lanes"][1]["step"] == 1)
    assert view.twins[0] is view.twins[1]
    before = list(view.twins[0].history)
    tell(view, kind="knob", key="lr", value=0.05)
    view.result()
    assert view.twins[0].history == before
    assert [step.lr for step in view.twins[1].history] == [step.lr for step in view.runs[1].history]
    assert view.twins[1].history[0] == before[0]


def test_what_a_text_shows(play: Callable[..., Playground]) -> None:
    view = play("task=docs&n=512&steps=4&size=32")
    view.result()
    assert view.happened.startswith("Finished: perplexity ")
    until(lambda: view.look.get("step") == 4)
    tell(view, kind="passage", value=2)
    look = view.look
    test = dk.tasks.docs(tokens=512).test
    assert (look["kind"], look["passage"], look["of"]) == ("text", 2, 7 * 128)
    task = dk.tasks.docs(tokens=512)
    logits = dk.predict(view.students[0], test[:7].inputs)
    against = dk.predict(task.teacher(), test[:7].inputs)
    assert look["count"] == int((logits.argmax(-1) != against.argmax(-1)).sum())
    expected = float(dk.forward_kl(logits[2, 5], against[2, 5]))
    assert look["kl"][5] == pytest.approx(expected, rel=2e-3, abs=2e-3)
    assert look["tokens"][0] == task.decode(test.labels[2, :1])


def test_scrubbing_shows_the_disagreements_of_that_step(play: Callable[..., Playground]) -> None:
    view = play()
    view.result()
    tell(view, kind="at", value=7)
    run, _ = Setting.of(QUICK).runs()
    for _ in range(7):
        next(run)
    test = dk.tasks.digits(labelled=50).test
    logits, against = dk.predict(run.student, test.inputs), dk.predict(run.teacher, test.inputs)
    differ = (logits.argmax(-1) != against.argmax(-1)).nonzero().squeeze(1).tolist()
    assert (view.look["step"], view.look["count"], view.look["of"]) == (7, len(differ), 500)
    assert [each["i"] for each in view.look["examples"]] == differ[:40]
    shown = view.look["examples"][0]
    assert shown["logits"]["student"] == pytest.approx(logits[differ[0]].tolist(), abs=1e-2)
    assert shown["label"] == test.labels[differ[0]]
    tell(view, kind="at", value=None)
    assert view.look["step"] == 12


def test_codes_and_presets(play: Callable[..., Playground]) -> None:
    view = play()
    view.result()
    tell(view, kind="code", value="T=2&n=50&size=8&steps=12")  # knobs alone: the run goes on
    assert len(view.runs[0].history) == 12
    assert "Temperature went from 4 to 2" in view.happened
    tell(view, kind="code", value="T=2&n=60&size=8&steps=12")
    until(lambda: view._lanes[0].built)
    assert view.settings[0].labelled == 60
    tell(view, kind="code", value="T=hot")
    assert "'hot'" in view.happened
    for name, code in PRESETS.items():
        assert Setting.of(code)
        assert name in view.about["presets"]
    tell(view, kind="preset", value="few labels")
    assert view.settings[0] == Setting.of(PRESETS["few labels"])
    assert view.frame["running"]
    tell(view, kind="pause")
    tell(view, kind="set", key="text", value="student")
    assert "pictures" in view.happened
    assert [option[2] for option in view.frame["options"]["text"]] == ["", *["pictures have no text to go on from"] * 2]


def test_what_a_code_locks_and_hides_no_page_changes(play: Callable[..., Playground]) -> None:
    view = play(f"{QUICK}&T=6&lock=T,n&hide=noise,file,runs")
    view.result()
    before = view.settings
    asks = [
        {"kind": "knob", "key": "T", "value": 2},
        {"kind": "set", "key": "n", "value": "100"},
        {"kind": "set", "key": "noise", "value": "0.3"},
        {"kind": "code", "value": "T=2"},
        {"kind": "code", "value": f"{QUICK}&T=6&noise=.1"},
        {"kind": "preset", "value": "noisy labels"},
        {"kind": "add"},
        {"kind": "export"},
        {"kind": "load", "part": 0, "of": 1},
        {"kind": "unlock"},
        {"kind": "_do_run"},
        {"kind": None},
    ]
    for ask in asks:
        view.happened = ""
        assert answers(view, **ask) == []
        assert view.settings == before, ask
        assert view.happened, ask
    tell(view, kind="code", value=f"{QUICK}&T=6&a=.3")
    assert view.settings[0].alpha == 0.3
    assert view.code.endswith("&hide=noise,file,runs&lock=T,n")
    assert view.about["presets"] == []
    assert view.about["lock"] == ["T", "n"]


def test_f75_a_fault_in_the_thread_is_shown_and_raised(play: Callable[..., Playground]) -> None:
    view = play("n=50&steps=2000", pace=100)
    until(lambda: view.frame["lanes"][0]["step"] > 0)
    view.runs[0].divergence = lambda *_, **__: 1 / 0
    until(lambda: view.frame["error"])
    assert view.frame["error"].startswith("A: ZeroDivisionError")
    assert "stopped at step" in view.happened
    with pytest.raises(ZeroDivisionError):
        view.result()
    view.runs[0].divergence = dk.forward_kl
    tell(view, kind="reset")
    assert view.frame["error"] == ""
    tell(view, kind="run")
    until(lambda: view.frame["lanes"][0]["step"] > 3)


def test_a_rate_that_diverges_says_so_and_the_other_run_goes_on(play: Callable[..., Playground]) -> None:
    view = play(["n=50&lr=1000&steps=200", "n=50&steps=50"])
    until(lambda: view.frame["over"])
    assert "Diverged" in view.frame["error"]
    assert len(view.runs[1].history) == 50
    with pytest.raises(dk.DistilkitError, match="diverged"):
        view.result()


# ── one file ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SETTINGS = [f"{QUICK}&noise=.2", f"{QUICK}&noise=.2&a=.3", "task=docs&n=512&steps=6&size=32&text=teacher"]
AGAIN = """
import json, sys, distilkit as dk
view = dk.playground(sys.argv[1], pace=0)
histories = [list(run.history) for run in (*view.runs, *view.twins)]
where = [view._chosen, view._at, view.frame["at"], view.look["step"], [lane["name"] for lane in view.frame["lanes"]]]
students = [[float(value.double().sum()) for value in student.state_dict().values()] for student in view.students]
found = [histories, where, students, view.measured.to_dict("list"), view.code]
view.result()
print(json.dumps([*found, [run.history for run in (*view.runs, *view.twins)]]))
"""


def test_a_file_brings_all_back_in_another_process(play: Callable[..., Playground], tmp_path: Path) -> None:
    view = play(SETTINGS, run=False)
    for _ in range(4):
        made = [len(run.history) for run in view.runs]
        tell(view, kind="step")
        until(lambda made=made: [len(run.history) for run in view.twins] == [each + 1 for each in made])
    tell(view, kind="knob", key="lr", value=0.02)
    tell(view, kind="choose", value=2)
    tell(view, kind="knob", key="a", value=0.5)
    tell(view, kind="name", value="mixed")
    tell(view, kind="step")
    until(lambda: len(view.twins[2].history) == 5)
    tell(view, kind="at", value=3)
    until(view._idle.is_set)
    path = view.export(tmp_path / "runs.safetensors")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AGAIN, path], capture_output=True, text=True, check=True
    )
    histories, where, students, measured, code, ended = json.loads(done.stdout.splitlines()[-1])
    same = json.loads(json.dumps([run.history for run in (*view.runs, *view.twins)]))
    assert histories == same
    assert where == [2, 3, 3, 3, ["A", "B", "mixed"]]
    own = [[float(value.double().sum()) for value in student.state_dict().values()] for student in view.students]
    assert students == own
    pd.testing.assert_frame_equal(pd.DataFrame(measured), view.measured)
    assert code == view.code
    view.result()
    assert ended == json.loads(json.dumps([run.history for run in (*view.runs, *view.twins)]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    view = dk.playground(QUICK, pace=0)
    view.result()
    path = view.export(tmp_path_factory.mktemp("file") / "runs.safetensors")
    view.close()
    return path.read_bytes()


def test_the_page_sends_a_file_and_gets_one(play: Callable[..., Playground], saved: bytes) -> None:
    view = play("n=30&size=4&steps=2")
    view.result()
    ((content, (data,)),) = answers(view, kind="export")
    assert content == {"kind": "file", "part": 0, "of": 1}
    assert parcel.unpack(data)[0]["runs"][0]["code"] == view.code
    cut = len(saved) // 2
    for place, part in enumerate((saved[:cut], saved[cut:])):
        view._handle_custom_msg({"kind": "load", "part": place, "of": 2, "name": "x.safetensors"}, [part])
    until(lambda: view._lanes[0].built and view.frame["lanes"][0]["step"] == 12)
    assert view.settings[0] == Setting.of(QUICK)
    assert view.happened.startswith("From the file: 1 runs")
    assert len(view.curves[0]["sides"]["student"]["at"]) == 13
    for sent, place, part in ((5, 0, b"of a file given up"), (7, 1, saved[cut:]), (5, 1, b"late"), (7, 0, saved[:cut])):
        message = {"kind": "load", "part": place, "of": 2, "sent": sent, "name": f"{sent}.safetensors"}
        view._handle_custom_msg(message, [part])
        if sent == 5:
            assert view.happened == "1 of 2 parts of the file are here."
    assert view.happened.startswith("From the file: 1 runs")


def test_damaged_files_are_refused(saved: bytes, tmp_path: Path) -> None:
    def opened(data: bytes, name: str = "bad.safetensors") -> Callable[[], object]:
        path = tmp_path / name
        path.write_bytes(data)
        return lambda: dk.playground(path)

    size = int.from_bytes(saved[:8], "little")
    weights = safetensors.torch.save({"w": torch.zeros(2)})
    for data in (
        b"",
        saved[:100],
        saved[:-1],
        saved + b"\0",
        weights,
        b"PK\x03\x04 pickle",
        b"<html>log in</html>",
        b"version https://git-lfs.github.com/spec/v1",
        (2**62).to_bytes(8, "little") + saved[8:],
    ):
        refused(opened(data), OSError, "bad.safetensors")
    for place in [*range(8 + 40, 8 + size, size // 12), *range(8 + size + 3, len(saved), len(saved) // 12)]:
        flipped = bytearray(saved)
        flipped[place] ^= 1
        refused(opened(bytes(flipped)), OSError)
    refused(lambda: dk.playground(tmp_path / "absent.safetensors"), OSError, "absent")
    refused(lambda: dk.playground(tmp_path / "x" / "y.safetensors"), OSError)


def test_a_whole_file_of_another_mind_is_refused(saved: bytes, play: Callable[..., Playground]) -> None:
    about, tensors = parcel.unpack(saved)
    about.pop("format")
    run = about["runs"][0]

    def opened(about: Any, tensors: Any = tensors) -> Callable[[], object]:
        def act() -> object:
            view = play("n=30&size=4&steps=2", run=False)
            view._take(*parcel.unpack(parcel.pack(about, tensors)))
            return view.runs

        return act

    history = json.loads(run["run"]["history"])
    renumbered = {**run["run"], "history": json.dumps([{**step, "step": 7} for step in history])}
    for about_now in (
        {},
        {"runs": []},
        {"runs": [run] * 5},
        {"runs": "x"},
        {"runs": [{**run, "code": "q=1"}]},
        {"runs": [{**run, "code": None}]},
        {"runs": [{**run, "code": f"{QUICK}&size=16"}]},
        {"runs": [{**run, "code": "n=50&size=16&steps=12"}]},
        {"runs": [{**run, "run": renumbered}]},
        {"runs": [{**run, "run": {"history": 3}}]},
        {"runs": [{**run, "twin": {}}]},
    ):
        refused(opened(about_now), Exception)
    for name in ("0.run_rows", "0.twin_steps", "0.run_logits", "0.run.student.0.weight"):
        refused(opened(about, {key: value for key, value in tensors.items() if key != name}), Exception)
        broken = {**tensors, name: torch.zeros(3)}
        refused(opened(about, broken), Exception)
    endless = {**tensors, "0.run_logits": tensors["0.run_logits"] * torch.inf}
    refused(opened(about, endless), OSError, "nan or inf")
    broken_steps = json.dumps([{**step, "loss": float("nan")} for step in history])
    refused(opened({"runs": [{**run, "run": {**run["run"], "history": broken_steps}}]}), Exception)
    newer = parcel.pack({**about}, tensors).replace(b'{\\"format\\": 1', b'{\\"format\\": 2')
    refused(lambda: parcel.unpack(newer), OSError)


def test_a_file_keeps_what_a_view_locks(saved: bytes, play: Callable[..., Playground], tmp_path: Path) -> None:
    path = tmp_path / "runs.safetensors"
    path.write_bytes(saved)
    view = play("n=30&size=4&steps=2&lock=n")
    refused(lambda: view.load(path), ValueError, "fixed by this view")
    free = play("n=30&size=4&steps=2")
    free.load(path)
    assert [len(run.history) for run in free.runs] == [12]


@pytest.mark.parametrize("text", HOSTILE[::4])
def test_f84_hostile_names_in_a_file_stay_names(text: str, saved: bytes, play: Callable[..., Playground]) -> None:
    about, tensors = parcel.unpack(saved)
    about.pop("format")
    about["runs"][0]["name"] = text
    view = play("n=30&size=4&steps=2", run=False)
    view._take(*parcel.unpack(parcel.pack(about, tensors)))
    assert len(view.runs[0].history) == 12
    name = view.frame["lanes"][0]["name"]
    assert 1 <= len(name) <= 40
    json.dumps(view.frame).encode()
    name.encode()


def test_it_speaks_french(play: Callable[..., Playground]) -> None:
    speak("fr")
    try:
        view = play()
        view.result()
        assert view.happened != ""
        assert say("Pause") != "Pause" or "Pause" in view._esm
        assert view.happened.startswith("Terminé")
    finally:
        speak("en")


# ── its notebook ─────────────────────────────────────────────────────────────────────────────────────────────────────

NOTEBOOK = ROOT / "notebooks" / "playground.ipynb"


@pytest.mark.notebook
def test_its_notebook_runs_without_a_fault(tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        NOTEBOOK,
        out,
        parameters={"code": "n=50&size=8&steps=20&seed=5"},
        kernel_name="python3",
        cwd=NOTEBOOK.parent,
        execution_timeout=300,
        progress_bar=False,
        log_output=False,
    )
    executed = nbformat.read(out, as_version=4)
    checks = (code_faults, parameters, run_faults, shown_faults)
    assert [fault for check in checks for fault in check(executed)] == []
    said = nbformat.writes(executed)
    assert "n=50&seed=5&steps=20&size=8" in said  # the parameters reached it
    assert "image/png" in said


def test_its_notebook_is_clean() -> None:
    assert unclean(nbformat.read(NOTEBOOK, as_version=4)) == []
    assert math.isfinite(len(NOTEBOOK.read_bytes()))
