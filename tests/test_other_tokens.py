"""A teacher of another tokenizer: bytes agree at each place, and what is carried over is what the teacher means."""

import dataclasses
import itertools
import math
from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

import distilkit as dk
from distilkit.other_tokens import BYTES, Fit, Spelling, respoken, retold, shared_ends, train_tokenizer
from distilkit.sweeps import other_tokens as sweep

from .faults import refused

END = "<|endoftext|>"
TEXTS = st.text(st.characters(codec="utf-8")) | st.text("the list of 列表 é…\n  ab", min_size=4)
few = settings(max_examples=60)


def bpe(*merges):
    """A byte-level tokenizer of these merges alone."""
    words = [END, *BYTES, *(first + second for first, second in merges)]
    made = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, list(merges)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)


@pytest.fixture(scope="module")
def task():
    return dk.tasks.docs()


@pytest.fixture(scope="module")
def tokenizers(task):
    return {spaces: train_tokenizer(task, 640, spaces=spaces) for spaces in ("before", "behind")}


@pytest.fixture(scope="module")
def part(task):
    """A little of it."""
    test = task.test[:16]
    return dataclasses.replace(task, pool=task.pool[:20_000], held_out=task.held_out[:5_000], labelled=5_000, test=test)


@pytest.fixture(scope="module")
def own(part, tokenizers):
    return respoken(part, tokenizers["before"])


@pytest.fixture(scope="module")
def carried(task, tokenizers):
    return dk.OtherTokens(task.teacher(), task.tokenizer, tokenizers["before"])


# Bytes


@pytest.mark.parametrize("spaces", ["before", "behind"])
@few
@given(text=TEXTS, cut=st.integers(0, 3))
def test_any_bytes_are_read_and_spelled_alike(tokenizers, spaces, text, cut):
    data = text.encode()[cut:]  # may begin within a letter
    spelling = Spelling(tokenizers[spaces])
    tokens = spelling.read(data)
    assert spelling.spell(tokens) == data
    assert spelling.ends(tokens) == [len(spelling.spell(tokens[:count])) for count in range(1, len(tokens) + 1)]


@pytest.mark.parametrize("spaces", ["before", "behind"])
@few
@given(texts=st.lists(TEXTS, min_size=1, max_size=3))
def test_both_have_heard_the_same_bytes_at_each_place(task, tokenizers, spaces, texts):
    both = dk.OtherTokens(nn.Identity(), task.tokenizer, tokenizers[spaces])
    row = [token for text in texts for token in (*both.ours.read(text.encode()), both.ours.end)]
    theirs, stands = both._follow(row)
    assert len(stands) == len(row)
    for place, stand in enumerate(stands):
        pending = both.ours.spell(stand.history)[stand.offset :]
        assert both.theirs.spell(theirs[: stand.place + 1]) + pending == both.ours.spell(row[: place + 1])
        assert bool(pending) == bool(stand.history)
        assert stand.history == tuple(row[place + 1 - len(stand.history) : place + 1])


@few
@given(text=TEXTS)
def test_shared_ends_are_where_both_spell_the_same(task, tokenizers, text):
    first, second = Spelling(task.tokenizer), Spelling(tokenizers["behind"])
    ours, theirs = first.read(text.encode()), second.read(text.encode())
    found = shared_ends(*([side.words[one] for one in row] for side, row in ((first, ours), (second, theirs))))
    assert {(a, b) for a, b in found} == {
        (a, b)
        for a, b in itertools.product(range(1, len(ours) + 1), range(1, len(theirs) + 1))
        if first.spell(ours[:a]) == second.spell(theirs[:b])
    }


def test_the_end_of_a_text_written_out_is_text(task):
    spelling = Spelling(task.tokenizer)
    assert spelling.end not in spelling.read(END.encode())


def test_training_a_tokenizer_is_the_same_each_time(task, tokenizers):
    again = train_tokenizer(task, 640)
    assert again.get_vocab() == tokenizers["before"].get_vocab()
    assert len(again) == 640
    shared = [set(one.get_vocab()) & set(task.tokenizer.get_vocab()) for one in tokenizers.values()]
    assert 640 > len(shared[0]) > len(shared[1])


def test_the_task_in_other_tokens_has_the_same_text(part, own):
    theirs, ours = Spelling(part.tokenizer), Spelling(own.tokenizer)
    for tokens, others in ((part.pool, own.pool), (part.held_out, own.held_out)):
        assert theirs.spell(tokens.tolist()) == ours.spell(others.tolist())
        assert (tokens == theirs.end).sum() == (others == ours.end).sum()
    assert own.labelled / len(own.pool) == pytest.approx(part.labelled / len(part.pool), rel=0.001)
    assert own.bytes_per_token == pytest.approx(len(theirs.spell(part.held_out.tolist())) / len(own.held_out))


# What is carried over


class Toy(nn.Module):
    """A teacher of texts of at most `longest` tokens, each as its tokenizer would read it, of the letters a and b."""

    def __init__(self, tokenizer, longest=4):
        super().__init__()
        spelling, draw = Spelling(tokenizer), torch.Generator().manual_seed(1)
        size, end = len(spelling.words), spelling.end
        table = torch.randn(longest + 1, size, size, generator=draw, dtype=torch.float64)
        known = [token for token, word in enumerate(spelling.words) if word and set(word) <= set(b"ab")]
        allowed = torch.zeros(size, size, dtype=torch.bool)
        for first, second in itertools.product([end, *known], known):
            whole = [first, second] if first != end else [second]
            allowed[first, second] = spelling.read(spelling.spell(whole)) == whole
        self.table = table.masked_fill(~allowed, -math.inf)
        self.table[:, :, end] = torch.where(torch.arange(longest + 1)[:, None] > 0, 0.0, -math.inf)
        self.table[longest, :, [word for word in range(size) if word != end]] = -math.inf
        self.spelling = spelling

    def forward(self, tokens):
        times = torch.arange(tokens.shape[1]).clamp(max=len(self.table) - 1)
        return self.table[times, tokens]

    def texts(self, row=None, probability=1.0):
        """Every text and its probability."""
        row = [self.spelling.end] if row is None else row
        for token, more in enumerate(self.table[len(row) - 1, row[-1]].softmax(-1).tolist()):
            if more and token == self.spelling.end:
                yield row[1:], probability * more
            elif more:
                yield from self.texts([*row, token], probability * more)


TEACHER = (("a", "b"), ("b", "b"), ("ab", "a"), ("a", "a"))


def enumerated(student):
    """Of each beginning in the student's tokens: its probability, the truth of what follows, and what is carried."""
    teacher, tokenizer = Toy(bpe(*TEACHER)), bpe(*student)
    both = dk.OtherTokens(teacher, bpe(*TEACHER), tokenizer)
    true, meant, weight = (defaultdict(lambda: torch.zeros(len(tokenizer)).double()) for _ in range(3))
    for text, probability in teacher.texts():
        assert teacher.spelling.read(teacher.spelling.spell(text)) == text
        row = [*both.ours.read(teacher.spelling.spell(text)), both.ours.end]
        probs = both(torch.tensor([row]))[0].softmax(-1)
        for place in range(1, len(row)):
            before = tuple(row[:place])
            true[before][row[place]] += probability
            meant[before] += probability * probs[place - 1]
            weight[before] += probability
    return [(float(weight[one].max()), true[one] / weight[one], meant[one] / weight[one]) for one in true]


@pytest.mark.parametrize("student", [(), TEACHER[:1], TEACHER[:2], TEACHER], ids=["bytes", "one", "two", "all"])
def test_where_merges_are_the_first_of_the_teachers_the_mean_is_exact(student):
    cases = enumerated(student)
    assert len(cases) > 20
    for _, true, meant in cases:
        torch.testing.assert_close(meant, true, rtol=1e-9, atol=1e-12)


def test_elsewhere_it_is_near_and_no_more():
    cases = enumerated((("b", "a"), ("b", "b")))
    apart = sum(weight * float((true - meant).abs().sum() / 2) for weight, true, meant in cases)
    assert 0.001 < apart / sum(weight for weight, _, _ in cases) < 0.3


def test_the_same_tokenizer_carries_the_teacher_as_it_is(task):
    same = dk.OtherTokens(task.teacher(), task.tokenizer, task.tokenizer)
    canonical = torch.tensor([same.ours.read(same.ours.spell(row.tolist()))[:64] for row in task.test.inputs[3:5]])
    expected = dk.predict(task.teacher(), torch.cat([torch.full((2, 1), same.ours.end), canonical], 1))[:, 1:]
    torch.testing.assert_close(dk.predict(same, canonical).softmax(-1), expected.softmax(-1), rtol=1e-4, atol=1e-6)


def test_each_place_has_a_distribution(own, carried):
    logits = dk.predict(carried, own.test.inputs[:4])
    assert logits.shape == (4, 128, 640)
    assert (logits.amax(-1) > -math.inf).all()
    assert not logits.isnan().any()
    sums = logits.exp().sum(-1)
    assert float(sums.max()) < 1 + 1e-5


def test_what_follows_in_later_words_changes_nothing(own, carried):
    tokens = own.test.inputs[:1]
    space = [place for place in range(40, 80) if carried.ours.words[tokens[0, place]].startswith(b" ")][-1]
    other = tokens.clone()
    other[0, space + 1 :] = other[0, space + 1 :].flip(0)
    before, after = (dk.predict(carried, row)[0, : space - 1] for row in (tokens, other))
    torch.testing.assert_close(before, after)


def test_how_well_tokenizers_fit_is_counted(task, part, tokenizers, carried, own):
    same = dk.OtherTokens(nn.Identity(), task.tokenizer, task.tokenizer)
    assert same.fit(part.test[:4]).right > 0.99
    behind = dk.OtherTokens(nn.Identity(), task.tokenizer, tokenizers["behind"])
    near, far = carried.fit(own.test[:4]), behind.fit(respoken(part, tokenizers["behind"]).test[:4])
    assert isinstance(near, Fit)
    assert 0.85 < near.right < 1
    assert far.right < near.right
    assert far.aligned < near.aligned
    refused(lambda: carried.fit(own.test.unlabelled), ValueError, "label", "task.train")


def test_perplexities_of_two_tokenizers_say_nothing_of_each_other(part):
    """The very same model, asked a byte at a time: its perplexity falls to a fraction, its bits a byte hardly move."""
    alphabet = bpe()
    own = respoken(part, alphabet)
    own = dataclasses.replace(own, test=own.test[:24])
    teacher = part.teacher()
    tokenwise = part.score(teacher)
    bytewise = own.score(dk.OtherTokens(teacher, part.tokenizer, alphabet))
    assert bytewise["perplexity"] < tokenwise["perplexity"] / 3
    assert bytewise["bits_per_byte"] == pytest.approx(tokenwise["bits_per_byte"], rel=0.35)


# In a run


def test_a_run_with_either_kind_just_works(task, own, carried):
    knobs = dk.Knobs(temperature=1, alpha=0.6, lr=0.003)
    some = own.train[:8]
    run = dk.distill(own.student(0), carried, some, knobs=knobs, steps=8)
    steps = list(run)
    assert steps[-1].soft < steps[0].soft
    sorted_ones = dk.OtherTokens(task.teacher(), task.tokenizer, own.tokenizer, translate=False)
    steps = list(dk.distill(own.student(0), sorted_ones, some, knobs=knobs, divergence=dk.uld_loss, steps=8))
    assert steps[-1].soft < steps[0].soft
    refused(
        lambda: next(dk.distill(own.student(0), sorted_ones, some, knobs=knobs)),
        ValueError,
        "640",
        "1280",
        "dk.uld_loss",
    )


def test_only_places_where_both_end_are_compared(task, own):
    sorted_ones = dk.OtherTokens(task.teacher(), task.tokenizer, own.tokenizer, translate=False)
    logits = dk.predict(sorted_ones, own.test.inputs[:2])
    _, stands = sorted_ones._follow(own.test.inputs[0].tolist())
    aligned = torch.tensor([not stand.history for stand in stands])
    assert torch.equal(logits[0].amax(-1) > -math.inf, aligned)
    student = dk.predict(own.student(0), own.test.inputs[:2])
    each = dk.uld_loss(student, logits, reduction="none")
    assert (each[0][~aligned] == 0).all()
    torch.testing.assert_close(dk.uld_loss(student, logits), each.sum() / (each > 0).sum())


def test_the_cache_takes_it_too(own, carried, tmp_path):
    some = own.train[:4]
    cache = dk.cache_teacher(carried, some, tmp_path, top=64)
    step = next(dk.distill(own.student(0), cache, some, knobs=dk.Knobs(temperature=1, alpha=1)))
    assert math.isfinite(step.soft)


def test_written_text_is_retold_in_the_students_tokens(task, own):
    text = dk.teacher_text(task.teacher(), task.prompts(3), length=32, seed=0)
    again = retold(text, task.tokenizer, own.tokenizer)
    theirs, ours = Spelling(task.tokenizer), Spelling(own.tokenizer)
    assert again.inputs.shape == text.inputs.shape
    for row, labels, old, old_labels in zip(*again_rows(again), *again_rows(text), strict=True):
        said = theirs.spell(old) + theirs.spell(old_labels[-1:])
        assert said.startswith(ours.spell(row))
        learnt = ours.spell(label for label in labels if label >= 0)
        assert learnt in theirs.spell(label for label in old_labels if label >= 0)
        assert len(learnt) > 20


def test_the_sweep_measures_each_way(part):
    few_blocks = dataclasses.replace(part, labelled=1_000)
    found = {}
    for way in sweep.WAYS:
        point = {"spaces": "before", "way": way, "lr": 0.003, "seed": 0}
        about = {"vocabulary": 640, "alpha": sweep.ALPHA, "steps": 2}
        found[way] = sweep._in_other_tokens(few_blocks, few_blocks.teacher(), point, about)["bits_per_byte"]
    assert len(set(found.values())) == len(sweep.WAYS)
    assert all(1 < bits < 8 for bits in found.values())


def again_rows(examples):
    return examples.inputs.tolist(), examples.labels.tolist()


def test_f17_models_of_different_tokenizers_are_told_the_way_out(task, own):
    refused(lambda: own.teacher(), ValueError, "tokenizers differ", "dk.OtherTokens(")


class Odd:
    backend_tokenizer = None


def test_what_cannot_be_compared_is_refused(task, tokenizers):
    teacher, ours = task.teacher(), tokenizers["before"]
    refused(lambda: dk.OtherTokens(teacher, Odd(), ours), ValueError, "byte-level", "retold")
    refused(lambda: dk.OtherTokens("teacher", task.tokenizer, ours), TypeError, "str")
    swapped = dk.OtherTokens(teacher, ours, task.tokenizer)
    refused(lambda: swapped(task.test.inputs[:1]), ValueError, "1,280", "640")
    refused(lambda: train_tokenizer(task, 200), ValueError, "vocabulary", "200")
    refused(lambda: train_tokenizer(task, spaces="none"), ValueError, "spaces", "behind")
    spaced = bpe()
    spaced.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    refused(lambda: Spelling(spaced).read(b"a"), ValueError, "changes the text")


# Universal logit distillation

LOGITS = st.lists(st.floats(-8, 8), min_size=1, max_size=7).map(lambda row: torch.tensor(row, dtype=torch.float64))


@few
@given(student=LOGITS, teacher=LOGITS, more=st.integers(0, 3))
def test_uld_is_a_symmetric_distance_of_sorted_probabilities(student, teacher, more):
    value = float(dk.uld_loss(student, teacher))
    pairs = itertools.zip_longest(*(sorted(one.softmax(-1).tolist(), reverse=True) for one in (student, teacher)))
    assert value == pytest.approx(sum(abs((a or 0) - (b or 0)) for a, b in pairs), abs=1e-12)
    assert value == pytest.approx(float(dk.uld_loss(teacher, student)), abs=1e-12)
    assert 0 <= value <= 2
    padded = torch.cat([teacher, torch.full((more,), -math.inf, dtype=torch.float64)])
    assert float(dk.uld_loss(student, padded)) == pytest.approx(value, abs=1e-12)


@few
@given(logits=LOGITS, seed=st.integers(0, 99))
def test_uld_is_0_for_equal_shapes_whatever_the_tokens(logits, seed):
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    assert float(dk.uld_loss(logits, logits[order])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("classes", [(4, 6), (6, 4), (5, 5)])
def test_the_gradient_of_uld_is_right(classes):
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, size, generator=draw, dtype=torch.float64) for size in classes)
    teacher[1] = -math.inf
    assert torch.autograd.gradcheck(lambda logits: dk.uld_loss(logits, teacher), student.requires_grad_())
    (gradient,) = torch.autograd.grad(dk.uld_loss(student, teacher), student)
    assert (gradient[1] == 0).all()
    teacher.requires_grad_()
    assert dk.uld_loss(student.detach(), teacher).grad_fn is None


def test_uld_masks_and_refuses():
    student, teacher = torch.randn(2, 3), torch.randn(2, 5)
    mask = torch.tensor([True, False])
    assert float(dk.uld_loss(student, teacher, mask=mask)) == pytest.approx(float(dk.uld_loss(student[0], teacher[0])))
    assert float(dk.uld_loss(student, torch.full((2, 5), -math.inf))) == 0
    assert dk.uld_loss(student, teacher).dtype == torch.float32
    refused(lambda: dk.uld_loss(student, teacher[:1]), ValueError, "(2, 3)", "(1, 5)")
    refused(lambda: dk.uld_loss(student, teacher.where(mask[:, None], torch.nan)), ValueError, "[1]", "nan")
    refused(lambda: dk.uld_loss(student, teacher, reduction="sum"), ValueError, "reduction", "sum")
