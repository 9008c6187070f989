"""Problems in words: exact answers, disjoint splits, masks, files of one's own, solving at once as one by one."""

import hashlib
import json
import re

import pytest
import torch
from hypothesis import given, settings, strategies as st

import distilkit as dk
from distilkit.sweeps import arithmetic as sweep
from distilkit.tasks.arithmetic import (
    LARGEST,
    LONGER,
    SENTENCES,
    STEPS,
    Arithmetic,
    Problem,
    check_steps,
    corrupt,
    evaluate,
    generate,
    is_held_out,
    parse_solution,
    read_problems,
)

IGNORED = -100


@pytest.fixture(scope="module")
def task():
    return dk.tasks.arithmetic(labelled=40, seed=3)


@pytest.fixture(scope="module")
def teacher(task):
    return task.teacher()


def reckoned(question):
    """The answer, read from the sentences themselves: independent of the steps."""
    signs = {"has": "=", "finds": "+", "buys": "+", "sells": "-", "loses": "-", "times": "*"}
    total = 0
    for sentence in question.split(". ")[:-1]:
        number = int(re.search(r"\d+", sentence)[0])
        sign = signs["times" if "times" in sentence else next(word for word in sentence.split() if word in signs)]
        total = {"=": number, "+": total + number, "-": total - number, "*": total * number}[sign]
    return total


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    least=st.integers(1, 4),
    more=st.integers(0, 3),
    largest=st.integers(9, 500),
    templates=st.sampled_from(sorted(SENTENCES)),
    held_out=st.booleans(),
)
def test_answers_are_exact_and_nothing_but_the_arguments_decides(seed, least, more, largest, templates, held_out):
    asked = {"seed": seed, "steps": (least, least + more), "largest": largest, "templates": templates}
    problems = generate(4, held_out=held_out, **asked)
    assert problems == generate(4, held_out=held_out, **asked)
    assert problems[:2] == generate(2, held_out=held_out, **asked)  # a longer draw begins with the shorter one
    for problem in problems:
        assert reckoned(problem.question) == int(problem.answer)
        assert least <= len(problem.steps) <= least + more
        for step in problem.steps:
            left, _, right = step.partition("=")
            assert evaluate(left) == int(right)
            assert 1 <= int(right) <= largest
        assert problem.steps[-1].endswith(f"={problem.answer}")
        assert is_held_out(problem.rationale) == held_out
        assert all(step.is_right and step.is_known for step in check_steps(problem.question, problem.steps))


def test_no_calculation_of_a_test_is_ever_learnt(task):
    tests = {one.rationale for one in (*task.held_out, *task.longer, *task.other)}
    for labelled, seed in ((40, 0), (500, 7)):
        learnt = task.relabelled(labelled, seed)
        assert not tests & {one.rationale for one in learnt.problems}
        more = learnt.unlabelled(200, seed, answers=True)
        assert not {one.question for one in more} & {one.question for one in learnt.problems}
        assert all(one.steps == () for one in more)
    assert all(STEPS[0] <= len(one.steps) <= STEPS[1] for one in task.held_out)
    assert all(LONGER[0] <= len(one.steps) <= LONGER[1] for one in task.longer)
    seen = {re.sub(r"\d+", "n", one.question) for one in task.held_out}
    assert not seen & {re.sub(r"\d+", "n", one.question) for one in task.other}


@pytest.mark.parametrize("form", ["answer", "rationale", "two_tasks"])
def test_labels_are_what_has_to_be_written(task, form):
    examples, end = task.examples(task.problems, form), task.tokenizer.eos_token_id
    rows = examples.labels.tolist()
    written = [task.tokenizer.decode([token for token in row if token != IGNORED]) for row in rows]
    one = task.problems[0]
    answer, steps = f"#### {one.answer}<|endoftext|>", one.rationale
    assert written[0] == (f"{steps}\n{answer}" if form == "rationale" else answer)
    if form == "two_tasks":
        assert written[1] == f"{steps}<|endoftext|>"
    for inputs, labels in zip(examples.inputs, examples.labels, strict=True):
        first = int((labels != IGNORED).nonzero()[0])
        assert first > 0
        counted = labels != IGNORED
        assert torch.equal(
            labels[:-1][counted[:-1] & (labels[:-1] != end)], inputs[1:][counted[:-1] & (labels[:-1] != end)]
        )
        assert (inputs[int(counted.nonzero()[-1]) + 1 :] == end).all()  # padding, none of which counts


def test_any_text_has_tokens_and_each_digit_is_one(task):
    for text in ("Ünicode ☃ 1234", "Natalia sold 48/2 = 24 clips.\n#### 72"):
        tokens = task.tokenizer(text)["input_ids"]
        assert task.tokenizer.decode(tokens) == text
        assert sum(task.tokenizer.decode([token]).strip().isdigit() for token in tokens) == sum(map(str.isdigit, text))
    assert len(task.tokenizer) <= 512


def test_all_at_once_is_one_by_one(task, teacher):
    problems = [*task.held_out[:4], *task.longer[:3]]
    begun = ["", "", "1+1=2\n", "", "9-1=8\n", "", ""]
    together = task.solve(teacher, problems, given=begun)
    for one, start, solution in zip(problems, begun, together, strict=True):
        (alone,) = task.solve(teacher, [one], given=[start])
        assert (alone.text, alone.answer) == (solution.text, solution.answer)
        assert alone.log_prob == pytest.approx(solution.log_prob, abs=1e-3)
        assert solution.text.startswith(start)

    class Bare(torch.nn.Module):  # no `generate`: everything is computed anew at each token
        def __init__(self, inner):
            super().__init__()
            self.inner = [inner]

        def forward(self, tokens):
            return self.inner[0](tokens).logits

    again = task.solve(Bare(teacher), problems[:3])
    assert [one.text for one in again] == [one.text for one in task.solve(teacher, problems[:3])]


def test_sampling_has_its_seed_and_log_probs_are_those_of_the_text(task, teacher):
    problems = task.longer[:6]
    first, same, other = (task.solve(teacher, problems, sampling_temperature=1, seed=seed) for seed in (1, 1, 2))
    assert [one.text for one in first] == [one.text for one in same] != [one.text for one in other]
    solution = task.solve(teacher, task.held_out[:1])[0]
    examples = task.examples([Problem(solution.problem.question, solution.steps, solution.answer)])
    logits = dk.predict(teacher, examples.inputs).log_softmax(-1)
    counted = examples.labels != IGNORED
    expected = logits[counted].gather(1, examples.labels[counted][:, None]).sum()
    assert solution.log_prob == pytest.approx(float(expected), abs=1e-3)
    assert 0 < solution.confidence <= 1


def test_the_shipped_teacher_is_what_its_note_says(task, teacher):
    folder = task.folder
    weights = (folder / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors.sha256").read_text().split()[0] == hashlib.sha256(weights).hexdigest()
    assert len(weights) < 8e6
    stated = json.loads((folder / "training.json").read_text())["test"]
    assert stated["held_out"]["accuracy"] >= 0.95 > stated["other"]["accuracy"] > stated["longer"]["accuracy"]
    score = task.score(teacher, problems=task.held_out[:100])
    assert score["accuracy"] == pytest.approx(stated["held_out"]["accuracy"], abs=0.03)
    assert score["nll"] < 0.02


def test_a_corrupted_step_leads_elsewhere(task):
    for wrong in task.corrupt(task.held_out[:100]):
        first, *rest = wrong.problem.steps
        assert wrong.given.strip() != first
        total = int(wrong.given.strip().rpartition("=")[2])
        for step in rest:
            sign, number = re.fullmatch(r"\d+([+*-])(\d+)=\d+", step).groups()
            total = int(evaluate(f"{total}{sign}{number}"))
            assert 1 <= total <= LARGEST
        assert str(total) == wrong.answer != wrong.problem.answer
    assert corrupt(Problem("…", ("3+4=7",), "7")) is None  # nothing follows the last step


def test_steps_are_checked(task):
    problem = Problem("Tom has 3 pens. Tom buys 4. How many pens now?", (), "")
    steps, answer = parse_solution("3+4=8\n8*2=16\nso there are\n#### $1,016.0\nand more")
    assert answer == "1016"
    checked = task.check_steps(Problem(problem.question, steps, answer))
    assert [(one.is_right, one.is_known) for one in checked] == [(False, True), (True, False), (False, False)]
    assert parse_solution("3+4=7\n") == (("3+4=7",), None)
    for nonsense in ("__import__('os')", "2**9", "1/0", "(" * 300, "1 +", "x"):
        assert evaluate(nonsense) is None


ROW = {"question": "Ann has 3 pens and buys 4.", "answer": "Ann has 3+4=<<3+4=7>>7 pens.\n#### 7"}


def rows(*changed):
    return "\n".join(
        json.dumps(ROW | {"question": f"{ROW['question']} ({place})"} | one) for place, one in enumerate(changed)
    )


def test_problems_of_ones_own(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(rows(*[{}] * 30, {"answer": None}, {"answer": None}) + "\n\n", encoding="utf-8-sig")
    task = dk.tasks.arithmetic(labelled=20, path=path)
    assert read_problems(path)[0].steps == ("Ann has 3+4=7 pens.",)
    assert task.check_steps(task.problems[0])[0] == ("Ann has 3+4=7 pens.", True, True)
    questions = [{one.question for one in some} for some in (task.problems, task.held_out)]
    assert not questions[0] & questions[1]
    assert task.held_out
    assert len(task.unlabelled(2)) == 2
    assert task.longer == task.other == []
    assert task.train.labels.shape[0] == 20
    with pytest.raises(dk.errors.BadValue, match="labelled"):
        task.relabelled(31, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (rows({}, {}) + "\n{oops", "line 3 is not JSON"),
        (rows({}, {"question": " "}), "line 2 must be an object"),
        ("[1]", "line 1 must be an object"),
        (rows({"answer": "just 7"}), "line 1: the answer must end"),
        (rows({"answer": 7}), "line 1: the answer must end"),
        (rows({}), "at least two problems"),
        ("\n", "no problem"),
    ],
)
def test_bad_rows_are_named(tmp_path, text, says):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(dk.errors.BadFile, match=says) as caught:
        dk.tasks.arithmetic(labelled=1, path=path)
    assert "bad.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda task: dk.tasks.arithmetic(labelled=0), "labelled"),
        (lambda task: task.examples(task.problems, "essay"), "form"),
        (lambda task: task.examples([]), "no problems"),
        (lambda task: task.examples([Problem("?", (), "")]), "no steps"),
        (lambda task: task.solve(None, task.problems, given=["1+1=2\n"]), "given"),
        (lambda task: task.student(width=48), "width"),
        (lambda task: generate(1, steps=(3, 2)), "steps"),
        (lambda task: generate(100_000, steps=(1, 1), largest=4), "hardly"),
    ],
)
def test_impossible_arguments_are_named(task, wrong, says):
    with pytest.raises(dk.errors.BadValue, match=says):
        wrong(task)


def test_a_sweep_goes_on_where_it_was(task, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "SIZES", (16,))
    monkeypatch.setattr(sweep, "LRS", (0.004,))
    monkeypatch.setattr(sweep, "STEPS", 2)
    monkeypatch.setattr(sweep, "LONG", 2)
    monkeypatch.setattr(sweep, "ASKED", 3)
    monkeypatch.setattr(sweep, "FORMS", ("answer", "rationale"))
    monkeypatch.setattr(Arithmetic, "score", lambda self, *_, **__: {"accuracy": 0.5, "nll": 1.0})
    sweep.make(tmp_path, ["step_by_step"], seeds=2)
    ran = []
    monkeypatch.setattr(sweep, "distill", lambda *_, **__: ran.append(1))
    sweep.make(tmp_path, ["step_by_step"], seeds=2)
    assert not ran
    sweep.make(tmp_path, ["imprinting"], seeds=2)  # another sweep's name
    assert [path.name for path in tmp_path.iterdir()] == ["step_by_step.parquet"]


def test_what_the_stored_sweep_says():
    frame = dk.load_sweep("step_by_step")
    table = sweep.step_means(frame).set_index(["form", "times", "problems"])
    assert table["seeds"].min() >= 10
    saved, half = dk.interval(sweep.problems_saved(frame)["saved"])
    assert saved - half > 1
    assert dk.plots.problems_needed(frame).axes[0].get_xlabel() == "labelled problems"
    assert dk.plots.followed(frame).axes[0].get_title(loc="left").startswith("answers after")
