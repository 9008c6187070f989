"""Whose text: what is written follows the model, and what is learnt from it is what was written."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

import distilkit as dk
from distilkit import training, transfer
from distilkit.divergences import IGNORED, UNLABELLED
from distilkit.tasks.text import llama
from distilkit.transfer import StudentText

from .faults import refused

WORDS = 12


class Plain(nn.Module):
    """A model without `generate`: it returns the logits of another."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(tokens).logits


def model(seed=0, sharpness=3.0):
    """A tiny Llama whose logits spread by about `sharpness`."""
    made = llama(WORDS, layers=1, width=32, seed=seed)
    head = torch.randn(WORDS, 32, generator=torch.Generator().manual_seed(seed)) * sharpness / 32**0.5
    made.lm_head.weight = nn.Parameter(head)
    return made


@pytest.fixture
def prompts():
    return torch.randint(1, WORDS, (6, 3), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def corpus():
    tokens = torch.randint(0, WORDS, (20, 9), generator=torch.Generator().manual_seed(1))
    return dk.Examples(tokens[:, :-1], tokens[:, 1:])


def log_likelihood(of, tokens, start):
    log_probs = dk.predict(of, tokens[:, :-1]).double().log_softmax(-1)
    return log_probs.gather(-1, tokens[:, 1:, None])[:, start - 1 :].sum((1, 2))


@pytest.mark.parametrize("make", [model, lambda: Plain(model())], ids=["generate", "plain"])
def test_greedy_text_is_the_argmax_at_each_step(make, prompts):
    writer = make()
    written = dk.complete(writer, prompts, length=10, sampling_temperature=0)
    tokens = prompts
    for _ in range(10):
        tokens = torch.cat([tokens, dk.predict(writer, tokens)[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(written, tokens)
    assert len(written.unique()) > 3


def test_beam_search_finds_text_at_least_as_likely(prompts):
    writer = model(sharpness=1.0)
    greedy = dk.complete(writer, prompts, length=6, sampling_temperature=0)
    searched = dk.complete(writer, prompts, length=6, sampling_temperature=0, beams=8)
    gain = log_likelihood(writer, searched, 3) - log_likelihood(writer, greedy, 3)
    assert (gain > -1e-4).all()
    assert (gain > 0.01).any()


def test_beam_search_over_everything_finds_the_likeliest_text(prompts):
    writer = model(sharpness=1.0)
    searched = dk.complete(writer, prompts[:1], length=2, sampling_temperature=0, beams=WORDS)
    every = torch.tensor(list(itertools.product(range(WORDS), repeat=2)))
    texts = torch.cat([prompts[:1].expand(len(every), -1), every], 1)
    assert torch.equal(searched[0], texts[log_likelihood(writer, texts, 3).argmax()])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("make", [model, lambda **how: Plain(model(**how))], ids=["generate", "plain"])
def test_samples_follow_the_softmax(make, temperature, prompts):
    writer, count = make(sharpness=1.0), 20_000
    prompt = prompts[:1].expand(count, -1)
    torch.manual_seed(0)
    first = dk.complete(writer, prompt, length=1, sampling_temperature=temperature)[:, -1]
    expected = (dk.predict(writer, prompts[:1])[0, -1].double() / temperature).softmax(-1) * count
    often = expected > 5
    seen = torch.bincount(first, minlength=WORDS)
    assert often.sum() > 3
    assert ((seen - expected)[often] ** 2 / expected[often]).sum() < 32  # p < 0.001 for 11 degrees of freedom
    assert seen[~often].sum() < 60


def test_what_a_folder_says_of_generation_is_not_obeyed(prompts):
    writer = model(sharpness=1.0)
    greedy = dk.complete(writer, prompts, length=10, sampling_temperature=0)
    torch.manual_seed(0)
    sampled = dk.complete(writer, prompts, length=10)
    obedient = copy.deepcopy(writer)
    obedient.generation_config.update(
        top_p=0.1, top_k=2, min_p=0.3, typical_p=0.2, repetition_penalty=5.0, no_repeat_ngram_size=1, max_length=4
    )
    assert torch.equal(dk.complete(obedient, prompts, length=10, sampling_temperature=0), greedy)
    torch.manual_seed(0)
    assert torch.equal(dk.complete(obedient, prompts, length=10), sampled)


def test_the_prompt_is_kept_and_not_learnt(prompts):
    teacher = model()
    text = dk.teacher_text(teacher, prompts, length=5, sampling_temperature=0)
    whole = dk.complete(teacher, prompts, length=5, sampling_temperature=0)
    assert torch.equal(text.inputs, whole[:, :-1])
    assert torch.equal(text.inputs[:, :3], prompts)
    assert (text.labels[:, :2] == IGNORED).all()
    assert torch.equal(text.labels[:, 2:], whole[:, 3:])  # position 2, the prompt's last, predicts the first new token


def test_a_prompt_of_one_token_is_learnt_from_at_once(prompts):
    text = dk.teacher_text(model(), prompts[:, :1], length=4)
    assert text.inputs.shape == text.labels.shape == (6, 4)
    assert (text.labels >= 0).all()


def test_the_end_is_learnt_and_nothing_after_it(prompts):
    teacher = model(sharpness=0.5)
    free = dk.teacher_text(teacher, prompts.repeat(20, 1), length=30, seed=3)
    ended = dk.teacher_text(teacher, prompts.repeat(20, 1), length=30, seed=3, end=5)
    assert torch.equal(free.inputs, ended.inputs)
    for before, after in zip(free.labels.tolist(), ended.labels.tolist(), strict=True):
        stop = before.index(5) + 1 if 5 in before else len(before)
        assert after == before[:stop] + [IGNORED] * (len(before) - stop)
    assert (ended.labels == 5).any()
    assert (ended.inputs[:, :3] == 5).any()  # an end in the prompt ends nothing


def test_the_same_seed_writes_the_same_text_and_leaves_the_global_generator_alone(prompts):
    before = torch.get_rng_state()
    first, second, other = (dk.teacher_text(model(), prompts, length=12, seed=seed).inputs for seed in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [model, lambda: Plain(model())], ids=["generate", "plain"])
def test_who_writes_is_left_as_it_was_found(make, prompts):
    writer = make().train()
    inner = next(writer.children())
    inner.eval()
    modes = [module.training for module in writer.modules()]
    dk.teacher_text(writer, prompts, length=2)
    assert [module.training for module in writer.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in writer.parameters())


def test_the_students_text_has_no_labels_and_changes_as_it_learns(prompts):
    student = model(1)
    text = dk.student_text(student, prompts, length=8, sampling_temperature=0, end=5)
    rows = torch.arange(6)
    first = text.draw(rows)
    assert (first.labels[:, :2] == IGNORED).all()
    assert set(first.labels[:, 2:].unique().tolist()) <= {UNLABELLED, IGNORED}
    assert (first.labels[:, 2] == UNLABELLED).all()
    assert torch.equal(first.inputs, text.draw(rows).inputs)
    run = dk.distill(student, model(0), text, knobs=dk.Knobs(alpha=1.0, temperature=1.0), steps=10)
    run.result()
    assert not torch.equal(first.inputs, text.draw(rows).inputs)


@given(st.integers(0, 100), st.integers(0, 200))
def test_the_share_of_own_steps_is_exact(percent, steps):
    text = StudentText(nn.Identity(), torch.zeros(1, 1), 1, 1.0, percent / 100, None, None)
    own = sum(text.is_own(step) for step in range(steps))
    assert abs(own * 100 - percent * steps) <= 50  # the nearest whole number


def test_the_other_steps_are_on_the_corpus(prompts, corpus, monkeypatch):
    student, seen = model(1), []
    draw = StudentText.draw
    monkeypatch.setattr(StudentText, "draw", lambda *given: seen.append(True) or draw(*given))
    text = dk.student_text(student, prompts, length=6, on_policy_fraction=0.3, corpus=corpus)
    run = dk.distill(student, model(), text, steps=10, batch_size=4)
    hard = [step.hard > 0 for step in run]  # only the corpus has labels
    assert (sum(hard), len(seen)) == (7, 3)


def test_a_fraction_of_nothing_is_the_corpus_alone(prompts, corpus):
    student, other = model(1), model(1)
    text = dk.student_text(student, prompts, length=6, on_policy_fraction=0, corpus=corpus)
    mixed = list(dk.distill(student, model(), text, steps=4, batch_size=4))
    plain = list(dk.distill(other, model(), corpus, steps=4, batch_size=4))
    for one, another in zip(mixed, plain, strict=True):
        assert one == pytest.approx(another, rel=1e-4)


def on_policy(prompts, corpus, **how):
    student = model(1)
    text = dk.student_text(student, prompts, length=6, on_policy_fraction=0.5, corpus=corpus)
    return dk.distill(student, model(), text, steps=8, batch_size=4, divergence=dk.reverse_kl, seed=7, **how)


def test_on_policy_runs_are_the_same_bit_for_bit_also_when_resumed(prompts, corpus, tmp_path):
    whole = on_policy(prompts, corpus)
    whole.result()
    torch.rand(5)  # what else is drawn does not matter
    file = tmp_path / "run.safetensors"
    part = on_policy(prompts, corpus, checkpoint=file)
    for _ in range(3):
        next(part)
    part.save()
    again = on_policy(prompts, corpus, checkpoint=file)
    assert len(again.history) == 3
    again.result()
    assert again.history == whole.history
    weights = again.student.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.student.state_dict().items())


def test_a_run_leaves_the_global_generator_alone(prompts, corpus):
    before = torch.get_rng_state()
    on_policy(prompts, corpus).result()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_teacher_asked_at_each_step_says_the_same(corpus, monkeypatch):
    histories = []
    for most in (training.MOST_TARGETS, 0):
        monkeypatch.setattr(training, "MOST_TARGETS", most)
        run = dk.distill(model(1), model(), corpus, steps=12, batch_size=4, knobs=dk.Knobs(temperature=2.0))
        histories.append(list(run))
        assert (run._targets is None) == (most == 0)
    for kept, asked in zip(*histories, strict=True):
        assert kept == pytest.approx(asked, rel=1e-4)


def test_sequences_of_the_teacher_are_learnt(prompts):
    teacher, student = model(), llama(WORDS, layers=1, width=32, seed=1)
    text = dk.teacher_text(teacher, prompts, length=10, sampling_temperature=0)
    dk.distill(student, None, text, steps=150, batch_size=6).result()
    assert torch.equal(
        dk.complete(student, prompts, length=10, sampling_temperature=0),
        dk.complete(teacher, prompts, length=10, sampling_temperature=0),
    )


def test_another_student_is_refused(prompts):
    text = dk.student_text(model(1), prompts, length=4)
    refused(lambda: dk.distill(model(2), model(), text), ValueError, "another student")


@pytest.mark.parametrize(
    ("bad", "builtin", "word"),
    [
        (torch.zeros(2, 3), TypeError, "whole numbers"),
        (torch.zeros(3, dtype=torch.long), TypeError, "(n, time)"),
        ([[1, 2]], TypeError, "tokens"),
        (torch.zeros(2, 3, dtype=torch.bool), TypeError, "whole numbers"),
        (torch.zeros(0, 3, dtype=torch.long), ValueError, "no prompts"),
        (torch.zeros(2, 0, dtype=torch.long), ValueError, "empty"),
    ],
)
def test_prompts_that_are_none(bad, builtin, word):
    refused(lambda: dk.teacher_text(model(), bad), builtin, word)
    refused(lambda: dk.student_text(model(), bad), builtin, word)
    refused(lambda: dk.complete(model(), bad, length=3), builtin, word)


@pytest.mark.parametrize(
    ("how", "builtin"),
    [
        ({"length": 0}, ValueError),
        ({"length": 2.0}, TypeError),
        ({"sampling_temperature": -1}, ValueError),
        ({"sampling_temperature": float("nan")}, ValueError),
        ({"end": "x"}, TypeError),
        ({"end": -1}, ValueError),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(how, builtin, prompts):
    refused(lambda: dk.teacher_text(model(), prompts, **how), builtin, *how)
    refused(lambda: dk.student_text(model(), prompts, **how), builtin, *how)


def test_impossible_settings_of_one_kind_of_text(prompts, corpus):
    teacher = model()
    refused(lambda: dk.teacher_text(teacher, prompts, beams=4), ValueError, "beams", "sampling_temperature=0")
    refused(lambda: dk.teacher_text(teacher, prompts, beams=0, sampling_temperature=0), ValueError, "beams")
    refused(lambda: dk.teacher_text(Plain(teacher), prompts, beams=4, sampling_temperature=0), TypeError, "Plain")
    refused(lambda: dk.teacher_text(teacher, prompts, seed=-1), ValueError, "seed")
    refused(lambda: dk.student_text(teacher, prompts, on_policy_fraction=0.5), ValueError, "corpus")
    for bad in (-0.1, 1.1, float("nan")):
        refused(lambda bad=bad: dk.student_text(teacher, prompts, on_policy_fraction=bad), ValueError, "[0, 1]")
    refused(lambda: dk.student_text(teacher, prompts, corpus="text", on_policy_fraction=0.5), TypeError, "corpus")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_teacher_of_text_that_is_not_finite_is_refused(value):
    class Broken(nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, WORDS).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(value))

    tokens = torch.zeros(3, 4, dtype=torch.long)
    refused(
        lambda: transfer.teacher_logits(Broken(), transfer.Examples(tokens, tokens)), ValueError, "row 1", str(value)
    )
