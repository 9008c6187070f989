"""Exercises: a stub is no error, a wrong answer meets its smallest counterexample, a solution is right."""

import contextlib
import runpy
from pathlib import Path

import pytest
import torch

import distilkit as dk
from distilkit import lessons, record
from distilkit.errors import BadValue
from distilkit.lessons.counterexample import DRAWS, Wrong, drawn, smallest, tried
from distilkit.lessons.exercises import EXERCISES

NAMES = sorted(EXERCISES)
SOLUTIONS = Path(__file__).parent.parent / "notebooks" / "solutions"


@pytest.mark.parametrize("name", NAMES)
def test_solution_is_right_and_printed(name, capsys):
    lessons.solution(name)
    assert f"def {name}(" in capsys.readouterr().out
    lessons.check(name, runpy.run_path(str(SOLUTIONS / f"{name}.py"))[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


def test_every_solution_belongs_to_an_exercise():
    assert sorted(path.stem for path in SOLUTIONS.glob("*.py")) == NAMES


def _unwritten(*_):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [lambda *_: None, lambda *_: ..., _unwritten], ids=["None", "...", "raises"])
@pytest.mark.parametrize("name", NAMES)
def test_stub_is_not_written_yet(name, stub, capsys):
    lessons.check(name, stub)
    assert "not written yet" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda *_: 12345.0,
        lambda *_: float("nan"),
        lambda *_: "no",
        lambda *_: torch.zeros(7),
        lambda: 0,
        lambda *_: 1 / 0,
    ],
    ids=["number", "nan", "text", "shape", "arguments", "raises"],
)
def test_wrong_answers_are_told_never_raised(name, wrong, capsys):
    lessons.check(name, wrong)
    assert capsys.readouterr().out.startswith(f"✗ {name}")


def test_the_first_counterexample_is_the_simplest(capsys):
    lessons.check("reverse_kl", dk.forward_kl)
    out = capsys.readouterr().out
    assert "student_logits = [0, 0], teacher_logits = [1.099, 0]" in out  # equal logits cannot tell the two apart
    assert "expected = 0.1438" in out
    assert "yours    = 0.1308" in out


def test_a_learner_cannot_spoil_the_case(capsys):
    for _ in range(2):
        lessons.check("soften", lambda logits, temperature: logits.div_(temperature).softmax(-1))
        assert capsys.readouterr().out.startswith("✓")


def test_forgotten_chain_rule_is_found(capsys):
    lessons.check(
        "soft_gradient", lambda q, p, temperature: (q / temperature).softmax(-1) - (p / temperature).softmax(-1)
    )
    assert "temperature = 2" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_hint(name, capsys):
    lessons.hint(name)
    assert len(capsys.readouterr().out) > 20


@pytest.mark.parametrize(
    "verb", [lessons.hint, lessons.solution, lambda name: lessons.check(name, len)], ids=["hint", "solution", "check"]
)
def test_a_name_nearly_right_is_suggested(verb):
    with pytest.raises(BadValue, match="Did you mean 'soften'"):
        verb("softn")


def test_picture_is_a_png():
    assert lessons.picture("soften", torch.tensor([float("nan"), 1.0]), torch.zeros(2)).startswith(b"\x89PNG")


def _size(case):
    return sum(value.numel() if isinstance(value, torch.Tensor) else 1 for value in case)


def _same(one, other):
    return all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_as_many_inputs_are_drawn_the_same_each_time_and_the_solution_is_right_on_all(name):
    exercise = EXERCISES[name]
    cases = drawn(exercise, name)
    assert len(cases) == DRAWS
    assert all(_same(one, other) for one, other in zip(cases, drawn(exercise, name), strict=True))
    mine = runpy.run_path(str(SOLUTIONS / f"{name}.py"))[name]
    assert not [case for case in cases if isinstance(tried(exercise, mine, case), Wrong)]


@pytest.mark.parametrize("name", NAMES)
def test_who_knows_the_first_cases_by_heart_is_caught(name, capsys):
    exercise = EXERCISES[name]

    def by_heart(*given):
        for case in exercise.cases:
            with contextlib.suppress(RuntimeError):  # another shape
                if all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(given, case, strict=True)):
                    return exercise.expected(*case)
        return exercise.expected(*exercise.cases[0])

    lessons.check(name, by_heart)
    out = capsys.readouterr().out
    assert out.startswith(f"✗ {name}: right on the first cases")
    assert "expected = " in out


F, EXPECTED = torch.nn.functional, {name: exercise.expected for name, exercise in EXERCISES.items()}


def log_p(logits):
    return logits.log_softmax(-1)


def kd(q, p, labels, alpha, T, *, soft=1.0, hard=1.0):
    return alpha * soft * dk.forward_kl(q / T, p / T) + (1 - alpha) * F.cross_entropy(q / hard, labels)


WRONG = {
    "the mean over classes": (
        "written_kl",
        lambda q, p, w: F.kl_div(log_p(p)[w], log_p(q)[w].exp(), reduction="none").mean(),
    ),
    "batchmean on (texts, time, words)": (
        "written_kl",
        lambda q, p, w: F.kl_div(log_p(p)[w], log_p(q)[w].exp(), reduction="sum") / len(q),
    ),
    "the prompt is not masked": ("written_kl", lambda q, p, w: dk.reverse_kl(q, p)),
    "student and teacher swapped": ("written_kl", lambda q, p, w: dk.reverse_kl(p, q, mask=w)),
    "forward instead of reverse": ("written_kl", lambda q, p, w: dk.forward_kl(q, p, mask=w)),
    "T² forgotten": ("kd_loss", kd),
    "T once": ("kd_loss", lambda *given: kd(*given, soft=given[-1])),
    "the hard term softened": ("kd_loss", lambda *given: kd(*given, soft=given[-1] ** 2, hard=given[-1])),
    "alpha on the labels": ("kd_loss", lambda q, p, y, a, T: EXPECTED["kd_loss"](q, p, y, 1 - a, T)),
    "soft cross-entropy for a KL": ("reverse_kl", lambda q, p: -(log_p(q).exp() * log_p(p)).sum(-1)),
    "normalised twice": ("reverse_kl", lambda q, p: dk.reverse_kl(q.softmax(-1), p.softmax(-1))),
    "a log of 0": ("reverse_kl", lambda q, p: (q.softmax(-1) * (q.softmax(-1) / p.softmax(-1)).log()).sum()),
    "not centred": ("centred_mse", lambda q, p: (q - p).square().mean(-1) / 2),
    "½ forgotten": ("centred_mse", lambda q, p: 2 * EXPECTED["centred_mse"](q, p)),
    "labels not shifted": ("next_token_labels", lambda t, n: t[:, :-1].index_fill(1, torch.arange(n - 1), -100)),
    "one masked too many": ("next_token_labels", lambda t, n: t[:, 1:].index_fill(1, torch.arange(n), -100)),
    "the wrong place's logits": (
        "sequence_log_prob",
        lambda z, t: log_p(z[:, 1:]).gather(-1, t[:, 1:, None]).squeeze(-1).sum(-1),
    ),
    "a divergence for the other": ("jsd", dk.forward_kl),
    "jsd without a half": ("jsd", lambda q, p: 2 * dk.jsd(q, p)),
    "bits": ("perplexity", lambda z, y: 2 ** F.cross_entropy(z, y)),
    "one scale for all rows": ("in_int8", lambda w: (w / (w.abs().max() / 127)).round() * w.abs().max() / 127),
    "the mean of logits": ("ensemble", lambda z: log_p(z.mean(0))),
    "words counted unclipped": ("clipped_precision", lambda a, b: torch.isin(a, b).double().mean()),
    "without merging": ("spell", lambda path: path[path > 0]),
    "blanks first": ("spell", lambda path: path[path > 0].unique_consecutive()),
    "places compared": ("word_errors", lambda a, b: float((a[: len(b)] != b[: len(a)]).sum()) / len(a)),
    "nothing for the right class": ("smooth_labels", lambda y, n, e: (1 - e) * F.one_hot(y, n) + e / (n - 1)),
    "alpha on the label": ("mixed_target", lambda z, y, a: EXPECTED["mixed_target"](z, y, 1 - a)),
    "means of the wrong rows": ("class_means", lambda p, y, n: p[:n]),
    "the bias of a variance": ("hint_loss", lambda q, p, w: (q @ w.T - p).square().mean() / p.var()),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_others_got_wrong_meets_a_small_counterexample(wrong, capsys):
    name, function = WRONG[wrong]
    lessons.check(name, function)
    out = capsys.readouterr().out
    assert out.startswith(f"✗ {name}"), out
    assert len(out.splitlines()[1]) < 200


def test_a_counterexample_is_made_small_and_round():
    exercise = EXERCISES["kd_loss"]
    large = drawn(exercise, "kd_loss")[-1]
    found = smallest(exercise, lambda q, p, y, a, T: dk.forward_kl(q / T, p / T), large)
    assert isinstance(found, Wrong)
    assert _size(found.case) < _size(large)
    assert found.case[0].shape == (1, 1) or found.case[0].shape == (1, 2)
    numbers = [x for value in found.case for x in torch.as_tensor(value).double().flatten().tolist()]
    assert all(x == round(x, 1) for x in numbers)


def test_an_error_on_drawn_inputs_alone_is_told_with_a_small_one(capsys):
    def few_only(seen, labels):
        if (seen == 1).sum() > 3:
            raise KeyError("many")
        return EXERCISES["ceiling"].expected(seen, labels)

    lessons.check("ceiling", few_only)
    out = capsys.readouterr().out
    assert "stopped with KeyError" in out
    assert "seen = [1, 1, 1, 1]" in out


def test_an_interrupt_passes():
    def stopped(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lessons.check("soften", stopped)


def test_tries_are_recorded_with_their_code(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILKIT_PROGRESS", str(tmp_path / "progress.json"))

    def soften(logits, temperature):
        return (logits / temperature).softmax(-1)

    lessons.check("soften", lambda *_: ...)  # not written yet: no try
    assert record.read()["exercises"] == {}
    lessons.check("soften", lambda logits, temperature: logits)
    assert (record.read()["exercises"]["soften"]["tries"], record.read()["exercises"]["soften"]["solved"]) == (1, False)
    lessons.check("soften", soften)
    lessons.check("soften", lambda logits, temperature: logits)  # what was solved stays so
    kept = record.read()["exercises"]["soften"]
    assert (kept["tries"], kept["solved"], kept["chapter"]) == (3, True, "00_start_here")
    assert "def soften(logits, temperature):" in kept["code"]


@pytest.mark.parametrize(
    ("yours", "expected"),
    [
        (torch.zeros(3, 4), torch.rand(3, 4)),
        (torch.full((2, 3, 5), float("nan")), torch.ones(2, 3, 5)),
        (torch.zeros(100, 100), torch.ones(100, 100)),
        (torch.tensor(1.0), torch.tensor(float("inf"))),
        (torch.zeros(0), torch.zeros(0)),
    ],
    ids=["table", "three sides", "large", "number", "nothing"],
)
def test_answers_of_every_shape_are_drawn(yours, expected):
    assert lessons.picture("x", yours, expected).startswith(b"\x89PNG")


def test_question_carries_a_reply_for_each_choice():
    question = dk.ask("Which?", {"a": "No.", "b": "Yes."}, answer="b")
    assert (question.choices, question.replies, question.answer) == (["a", "b"], ["No.", "Yes."], "b")
    assert question.line() == "Which?\n  ( ) a\n  ( ) b"


@pytest.mark.parametrize("replies", [{"a": "alone"}, {"a": "no", "c": "no"}], ids=["one choice", "no answer"])
def test_impossible_question_is_refused(replies):
    with pytest.raises(BadValue):
        dk.ask("Which?", replies, answer="b")
