"""A setting: its code says it whole, what it starts runs, and the script it prints makes the same run again."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import distilkit as dk
from distilkit.setting import DIVERGENCES, KEYS, KNOBS, MOST, PARTS, TASKS, TEACHERS, TEXTS, WORDS, Setting, turns_of
from distilkit.widgets.watch import encode
from tests.faults import refused
from tests.hostile import HOSTILE

TOKENS = 256


@st.composite
def any_setting(draw: st.DrawFn) -> Setting:
    task = draw(st.sampled_from(TASKS))
    digits = task == "digits"
    text = "corpus" if digits else draw(st.sampled_from(TEXTS))
    measures = [name for name in DIVERGENCES if (text, name) != ("student", "decoupled_kl")]
    return Setting(
        task=task,
        teacher=draw(st.sampled_from(TEACHERS)) if digits else "shipped",
        size=draw(st.integers(1, 1024)) if digits else 32 * draw(st.integers(1, 8)),
        text=text,
        divergence=draw(st.sampled_from(measures)),
        temperature=draw(st.floats(1e-6, 1e6)),
        alpha=draw(st.floats(0, 1)),
        lr=draw(st.floats(1e-9, 1e6)),
        noise=draw(st.floats(0, 1)) if digits else 0.0,
        labelled=draw(st.integers(10 if digits else 128, MOST[task])),
        seed=draw(st.integers(0, 2**32 - 1)),
        steps=draw(st.integers(1, 20_000)),
        hide=tuple(draw(st.lists(st.sampled_from([*KEYS, *PARTS]), unique=True))),
        lock=tuple(draw(st.lists(st.sampled_from(list(KEYS)), unique=True))),
    )


@given(any_setting())
def test_a_code_says_a_setting_whole(setting: Setting) -> None:
    assert Setting.of(setting.code()) == setting
    assert Setting.of(setting.code(bare=True)) == replace(setting, hide=(), lock=())
    assert Setting.of(f" {setting.code()} ") == setting


def test_a_code_left_out_is_the_tasks_own_default() -> None:
    assert Setting.of("") == Setting()
    assert Setting.of("task=docs") == Setting(task="docs")
    assert Setting.of("task=docs").steps == WORDS["steps"]
    assert Setting().on("docs") == Setting(task="docs")
    assert Setting(seed=3, lock=("seed",)).on("docs") == Setting(task="docs", seed=3, lock=("seed",))


def test_the_codes_of_watch_are_codes() -> None:
    setting = Setting.of("T=4&a=.9&lr=.01&n=100&seed=0&steps=600")
    assert setting == Setting()
    held = {"temperature": 2.5, "alpha": 0.25, "lr": 0.02, "labelled": 200, "seed": 3, "steps": 50}
    code = encode(held)
    assert Setting.of(code).code() == code
    assert {name: getattr(Setting.of(code), name) for name in held} == held


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("q=1", ["'q'", "task, teacher"]),
        ("temp=1", ["'temp'"]),
        ("T=warm", ["T", "'warm'"]),
        ("T=nan", ["T", "'nan'"]),
        ("T=0", ["T", "0.0"]),
        ("T=1_0", ["'1_0'"]),
        ("a=1.5", ["1.5", "[0, 1]"]),
        ("lr=-1", ["-1.0"]),
        ("n=5", ["n", "5", "[10, 1297]"]),
        ("n=1.5", ["n", "'1.5'"]),
        ("task=docs&n=5", ["5", "[128"]),
        ("seed=-1", ["-1"]),
        ("steps=0", ["steps", "0"]),
        ("steps=1e9", ["'1e9'"]),
        ("task=digts", ["'digts'", "Did you mean 'digits'"]),
        ("div=kl", ["'kl'", "forward_kl"]),
        ("text=student", ["text=student", "task=digits"]),
        ("task=docs&teacher=peer", ["teacher=peer", "task=docs"]),
        ("task=docs&noise=.1", ["noise=.1", "task=docs"]),
        ("task=docs&size=33", ["size=33", "32"]),
        ("task=docs&text=student&div=decoupled_kl", ["div=decoupled_kl", "text=student"]),
        ("hide=everything", ["'everything'", "presets"]),
        ("lock=file", ["'file'"]),
        ("T=1&T=2", ["T twice"]),
        ("T", ["T", "''"]),
        ("&", ["''"]),
    ],
)
def test_a_bad_code_is_refused_by_its_value(code: str, words: list[str]) -> None:
    refused(lambda: Setting.of(code), ValueError, *words)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_gets_through_a_code(text: str) -> None:
    for code in (text, f"T={text}", f"task={text}", f"hide={text}", f"{text}=1"):
        refused(lambda code=code: Setting.of(code), ValueError)


def test_no_code_is_too_long_and_none_is_no_text() -> None:
    refused(lambda: Setting.of("T=4&" * 10_000), ValueError, "40000 letters")
    refused(lambda: Setting.of(None), TypeError, "None")  # type: ignore[arg-type]
    refused(lambda: Setting(hide="T"), TypeError, "a list")  # type: ignore[arg-type]


def test_what_does_not_go_together_says_why() -> None:
    options = Setting().options("text", TEXTS)
    assert options["corpus"] == ""
    assert "pictures" in options["student"]
    assert "decoupled" in Setting(task="docs", text="student").options("div", DIVERGENCES)["decoupled_kl"].lower()
    for key, values in {"text": TEXTS, "div": DIVERGENCES, "teacher": TEACHERS}.items():
        for task in TASKS:
            setting = Setting(task=task)
            for value, reason in setting.options(key, values).items():
                if reason:
                    refused(lambda: replace(setting, **{KEYS[key]: value}), ValueError, reason)  # noqa: B023
                else:
                    assert getattr(replace(setting, **{KEYS[key]: value}), KEYS[key]) == value


def test_the_kits_divergences_are_all_there() -> None:
    from distilkit.setting import DIVERGENCES as offered

    assert all(callable(getattr(dk, name)) for name in offered)


COMBINATIONS = [
    (task, text, teacher)
    for task in ("digits", "docs")
    for text in TEXTS
    for teacher in TEACHERS
    if not Setting(task=task).options("text", TEXTS)[text]
    and not Setting(task=task).options("teacher", TEACHERS)[teacher]
]


@pytest.mark.parametrize(("task", "text", "teacher"), COMBINATIONS)
def test_every_combination_starts_and_learns(task: str, text: str, teacher: str) -> None:
    small = {} if task == "digits" else {"labelled": TOKENS}
    setting: Any = Setting(task=task, text=text, teacher=teacher, alpha=0.5, steps=2, **small)
    started = setting.start()
    assert len(list(started.twin)) == 2
    for name, reason in setting.options("div", DIVERGENCES).items():
        if not reason:  # each divergence takes this text and this teacher
            own = started.run
            own.reset()
            own.divergence = getattr(dk, name)
            assert all(step.loss == step.loss for step in own)


def test_the_most_labels_are_there() -> None:
    for task in TASKS:
        setting = Setting(task=task, labelled=MOST[task])
        made = setting._task()
        assert len(made.train) >= 1
        assert made.labelled == MOST[task]


SCRIPTS = [
    (
        "n=50&noise=.2&steps=20&teacher=hasty&div=jsd&size=16&seed=3",
        [(0, "alpha", 0.4), (7, "temperature", 8.0), (9, "lr", 0.02)],
    ),
    ("task=support&n=512&steps=3&text=teacher&size=32", [(1, "alpha", 0.5)]),
    ("task=docs&n=512&steps=3&text=student&div=reverse_kl", [(2, "lr", 0.001)]),
]


@pytest.mark.parametrize(
    ("code", "turns"), [SCRIPTS[0], *(pytest.param(*each, marks=pytest.mark.slow) for each in SCRIPTS[1:])]
)
def test_the_script_alone_makes_the_same_run(code: str, turns: list[Any], tmp_path: Any) -> None:
    setting = Setting.of(code)
    run, twin = setting.runs()
    for made in range(setting.steps):
        for step, name, value in turns:
            if step == made:
                setattr(run.knobs, name, value)
                if name == "lr":
                    twin.knobs.lr = value
        next(run), next(twin)
    assert turns_of(setting, run.history) == turns
    lines = setting.python(turns_of(setting, run.history))
    assert lines.count("\n") < 16
    dump = "import json\nprint(json.dumps([run.history, twin.history]))\n"
    file = tmp_path / "script.py"
    file.write_text(lines + dump)
    done = subprocess.run([sys.executable, "-W", "error", file], capture_output=True, text=True, check=True)
    alone = json.loads(done.stdout.splitlines()[-1])
    assert alone == json.loads(json.dumps([run.history, twin.history]))


def test_turns_are_read_off_a_history() -> None:
    setting = Setting(steps=6)
    run, _ = setting.runs()
    run.knobs.alpha = 0.25
    for _ in range(3):
        next(run)
    run.knobs.lr = 0.5
    assert turns_of(setting, run.history, run.knobs.at(3)) == [(0, "alpha", 0.25), (3, "lr", 0.5)]
    assert list(KNOBS) == ["temperature", "alpha", "lr"]
    refused(lambda: setting.python([(1, "speed", 2.0)]), ValueError, "'speed'")
