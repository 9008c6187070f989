"""Token sequences: the losses at each position against loops and enumerations written by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from distilkit.divergences import (
    adaptive_skew_kl,
    decoupled_kl,
    forward_kl,
    jsd,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    total_variation,
)
from distilkit.losses import attention_loss, hidden_state_loss, kd_loss, sampled_reverse_kl
from tests.faults import refused

DIVERGENCES = [
    forward_kl,
    reverse_kl,
    jsd,
    skew_forward_kl,
    skew_reverse_kl,
    adaptive_skew_kl,
    total_variation,
    decoupled_kl,
]
# The definitions at one position, p the teacher's probabilities and q the student's.
BY_HAND = {
    forward_kl: lambda p, q: (p * np.log(p / q)).sum(),
    reverse_kl: lambda p, q: (q * np.log(q / p)).sum(),
    jsd: lambda p, q: (p * np.log(2 * p / (p + q))).sum() / 2 + (q * np.log(2 * q / (p + q))).sum() / 2,
    skew_forward_kl: lambda p, q: (p * np.log(p / (0.1 * p + 0.9 * q))).sum(),
    skew_reverse_kl: lambda p, q: (q * np.log(q / (0.1 * q + 0.9 * p))).sum(),
}


@pytest.fixture
def texts():
    """Two texts of seven positions, 5 words: the first two labels a prompt, the last ones padding."""
    draw = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, 2, 7, 5, generator=draw, dtype=torch.double)
    labels = torch.randint(0, 5, (2, 7), generator=draw)
    labels[:, :2] = labels[1, 5:] = -100
    return student, teacher, labels


def gradient(loss, student, *others, **options):
    leaf = student.clone().requires_grad_()
    value = loss(leaf, *others, **options)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("divergence", BY_HAND, ids=lambda each: each.__name__)
def test_kd_loss_is_the_loop_over_positions(texts, divergence):
    student, teacher, labels = texts
    labels[0, 3] = -1  # unlabelled: the teacher alone speaks there
    soft, hard = [], []
    for text, place in itertools.product(range(2), range(7)):
        logits, theirs, label = student[text, place].numpy(), teacher[text, place].numpy(), int(labels[text, place])
        if label == -100:
            continue
        q, p = (np.exp(each / 3) / np.exp(each / 3).sum() for each in (logits, theirs))
        soft.append(BY_HAND[divergence](p, q))
        if label >= 0:
            hard.append(np.log(np.exp(logits).sum()) - logits[label])
    assert (len(soft), len(hard)) == (8, 7)
    expected = 0.6 * 9 * np.mean(soft) + 0.4 * np.mean(hard)
    found = kd_loss(student, teacher, labels, alpha=0.6, temperature=3.0, divergence=divergence)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("junk", [0.0, 1e4, math.nan, -math.inf])
def test_what_stands_under_the_mask_does_not_matter(texts, divergence, junk):
    """Nor how much of it there is: neither to the value nor to the gradient."""
    student, teacher, labels = texts
    value, slope = gradient(kd_loss, student, teacher, labels, divergence=divergence)
    out = labels == -100
    behind = torch.full((2, 4, 5), junk)
    more = [torch.cat([each.masked_fill(out.unsqueeze(-1), junk), behind], 1) for each in (student, teacher)]
    more[1][0, 0] = 3.0  # and not on both sides alike
    padded = torch.cat([labels, torch.full((2, 4), -100)], 1)
    found, steep = gradient(kd_loss, *more, padded, divergence=divergence)
    torch.testing.assert_close(found, value, rtol=1e-13, atol=0)
    torch.testing.assert_close(steep[:, :7][~out], slope[~out], rtol=1e-12, atol=1e-16)
    assert (steep[:, 7:] == 0).all()
    assert (steep[:, :7][out] == 0).all()
    assert (slope[~out] != 0).any()


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda each: each.__name__)
def test_longer_texts_do_not_weigh_more(texts, divergence):
    """The trap of "batchmean", which divides by texts alone."""
    student, teacher, labels = texts
    once = kd_loss(student, teacher, labels, divergence=divergence)
    thrice = kd_loss(student.repeat(1, 3, 1), teacher.repeat(1, 3, 1), labels.repeat(1, 3), divergence=divergence)
    torch.testing.assert_close(thrice, once, rtol=1e-13, atol=0)


def test_labels_are_the_next_token_already(texts):
    """The loss shifts nothing: labels of the same position's token, a common slip, give another value."""
    student, teacher, _ = texts
    tokens = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]] * 2)
    right = kd_loss(student, teacher, tokens[:, 1:], alpha=0.5)
    slip = kd_loss(student, teacher, tokens[:, :-1], alpha=0.5)
    assert float(right) != pytest.approx(float(slip), rel=0.01)
    sure = 50 * nn.functional.one_hot(tokens[:, 1:], 5).double()  # a student that knows each next token
    assert kd_loss(sure, None, tokens[:, 1:], alpha=0.0) < 1e-9 < kd_loss(sure, None, tokens[:, :-1], alpha=0.0)


# --- reverse KL of whole texts

WORDS, LENGTH, END = 3, 3, 2


class Reader:
    """A model of texts whose logits depend on all that went before, through one matrix of parameters."""

    def __init__(self, seed):
        draw = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(WORDS, 8, generator=draw, dtype=torch.double).requires_grad_()
        self.features = torch.randn(LENGTH + 1, WORDS + 1, 8, generator=draw, dtype=torch.double)

    def __call__(self, tokens):
        """Logits (time, words): those at t see the tokens before t."""
        seen, rows = torch.zeros(8, dtype=torch.double), []
        for place in range(len(tokens)):
            seen = torch.tanh(1.5 * seen + self.features[place, tokens[place - 1] if place else WORDS])
            rows.append(self.weights @ seen)
        return torch.stack(rows)


def every_text(ending):
    """All texts, as labels: with `ending`, nothing counts after the first END."""
    for tokens in itertools.product(range(WORDS), repeat=LENGTH):
        labels = list(tokens)
        if ending and END in tokens:
            first = tokens.index(END) + 1
            if any(tokens[first:]):
                continue  # the same text as that with zeros behind its end
            labels[first:] = [-100] * (LENGTH - first)
        yield torch.tensor(tokens), torch.tensor(labels)


def log_of(logits, labels):
    """The log-probability of what counts in a text."""
    counts = labels >= 0
    return logits[counts].log_softmax(-1).gather(-1, labels[counts].unsqueeze(-1)).sum()


@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize("single_step", [False, True])
def test_the_expected_gradient_is_that_of_the_kl_of_whole_texts(single_step, ending):
    student, teacher = Reader(0), Reader(1)
    exact = estimate = total = 0.0
    for tokens, labels in every_text(ending):
        logits, theirs = student(tokens), teacher(tokens).detach()
        q = log_of(logits, labels)
        exact = exact + q.exp() * (q - log_of(theirs, labels))
        loss = sampled_reverse_kl(logits[None], theirs[None], labels[None], single_step=single_step, normalised=False)
        estimate = estimate + q.exp().detach() * loss
        total += float(q.detach().exp())
    assert total == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(estimate.detach(), exact.detach(), rtol=0, atol=1e-12)  # and so is its value
    (expected,) = torch.autograd.grad(exact, student.weights, retain_graph=True)
    (found,) = torch.autograd.grad(estimate, student.weights)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_reverse_kl_at_each_position_alone_is_not_that_gradient():
    """What a token leads to is missing from it."""
    student, teacher = Reader(0), Reader(1)
    exact = alone = 0.0
    for tokens, labels in every_text(False):
        logits, theirs = student(tokens), teacher(tokens).detach()
        q = log_of(logits, labels)
        exact = exact + q.exp() * (q - log_of(theirs, labels))
        alone = alone + q.exp().detach() * LENGTH * reverse_kl(logits, theirs)
    (expected,) = torch.autograd.grad(exact, student.weights, retain_graph=True)
    (found,) = torch.autograd.grad(alone, student.weights)
    assert (found - expected).abs().max() > 0.05


def test_the_exact_first_step_makes_less_noise():
    student, teacher = Reader(0), Reader(1)
    spread = {}
    for single_step in (False, True):
        square = 0.0
        for tokens, labels in every_text(False):
            logits = student(tokens)
            loss = sampled_reverse_kl(
                logits[None], teacher(tokens)[None], labels[None], single_step=single_step, normalised=False
            )
            (slope,) = torch.autograd.grad(loss, student.weights, retain_graph=True)
            square += float(log_of(logits, labels).detach().exp()) * float(slope.square().sum())  # the mean is the same
        spread[single_step] = square
    assert spread[True] < spread[False]


@pytest.mark.parametrize("single_step", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_sampled_reverse_kl_is_the_loop(texts, single_step, normalised):
    """Σ_t of what is written in its docstring, token by token, with the gradient with respect to the logits."""
    student, teacher, labels = texts
    value, slope = gradient(
        sampled_reverse_kl, student, teacher, labels, single_step=single_step, normalised=normalised
    )
    total, expected = 0.0, np.zeros(student.shape)
    q, p = (each.softmax(-1).numpy() for each in (student, teacher))
    for text in range(2):
        places = [place for place in range(7) if labels[text, place] >= 0]
        ratio = {t: math.log(q[text, t, labels[text, t]] / p[text, t, labels[text, t]]) for t in places}
        for t in places:
            later = [ratio[s] for s in places if s > t]
            weight = np.mean(later) if normalised and later else sum(later)
            score = np.eye(5)[labels[text, t]] - q[text, t]  # of log q(y) by the logits
            if single_step:
                logs = np.log(q[text, t] / p[text, t])
                total += (q[text, t] * logs).sum()
                expected[text, t] += q[text, t] * (logs - (q[text, t] * logs).sum())
            else:
                total += ratio[t]
                expected[text, t] += ratio[t] * score
            expected[text, t] += weight * score
    count = 8 if normalised else 2  # tokens, or texts
    assert float(value) == pytest.approx(total / count, rel=1e-12)
    np.testing.assert_allclose(slope.numpy(), expected / count, rtol=1e-10, atol=1e-14)


def test_sampled_reverse_kl_sees_nothing_under_the_mask(texts):
    student, teacher, labels = texts
    value, slope = gradient(sampled_reverse_kl, student, teacher, labels)
    out = labels == -100
    for each in (student, teacher):
        each[out] = math.nan
    found, steep = gradient(sampled_reverse_kl, student, teacher.requires_grad_(), labels)
    assert found == value
    assert torch.equal(steep, slope)
    assert teacher.grad is None
    nothing, flat = gradient(sampled_reverse_kl, student, teacher, torch.full((2, 7), -100))
    assert nothing == 0
    assert (flat == 0).all()


def test_sampled_reverse_kl_survives_huge_logits_and_small_types(texts):
    student, teacher, labels = texts
    value, slope = gradient(sampled_reverse_kl, 1e4 * student, -1e4 * teacher, labels)
    assert value.isfinite()
    assert slope.isfinite().all()
    expected = sampled_reverse_kl(student.bfloat16().double(), teacher.bfloat16().double(), labels)
    found = sampled_reverse_kl(student.bfloat16(), teacher.bfloat16(), labels)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert sampled_reverse_kl(student, student, labels) == 0


def test_sampled_reverse_kl_refuses(texts):
    student, teacher, labels = texts
    refused(lambda: sampled_reverse_kl(student, teacher[:, :6], labels), ValueError, "(2, 7, 5)", "(2, 6, 5)")
    refused(lambda: sampled_reverse_kl(student, teacher, labels[:, 1:]), ValueError, "labels (2, 6)")
    refused(lambda: sampled_reverse_kl(student[0, 0], teacher[0, 0], labels[0, 3]), ValueError, "time, classes", "(5,)")
    unlabelled = labels.clone()
    unlabelled[0, 4] = -1
    refused(lambda: sampled_reverse_kl(student, teacher, unlabelled), ValueError, "-1 (unlabelled)", "wrote")
    for side in (0, 1):
        for value in (-math.inf, math.nan):
            logits = [student.clone(), teacher.clone()]
            logits[side][1, 3, labels[1, 3]] = value
            refused(
                lambda logits=logits: sampled_reverse_kl(*logits, labels), ValueError, f"labels[1, 3] is {labels[1, 3]}"
            )


# --- inside the models


@pytest.fixture
def states():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 3, generator=draw, dtype=torch.double), torch.randn(2, 4, 6, generator=draw).double()


def test_hidden_state_loss_is_its_definition(states):
    student, teacher = states
    projection = nn.Linear(3, 6, bias=False).double()
    mask = torch.tensor([[True, True, False, True], [True, False, False, False]])
    expected = [
        ((projection.weight.detach().numpy() @ h.numpy() - g.numpy()) ** 2).mean()
        for h, g, kept in zip(student.flatten(0, 1), teacher.flatten(0, 1), mask.flatten(), strict=True)
        if kept
    ]
    assert hidden_state_loss(student, teacher, projection, mask=mask).item() == pytest.approx(np.mean(expected))
    torch.testing.assert_close(
        hidden_state_loss(student, teacher, projection), nn.functional.mse_loss(projection(student), teacher)
    )
    torch.testing.assert_close(
        hidden_state_loss(student, teacher[..., :3]), nn.functional.mse_loss(student, teacher[..., :3])
    )
    assert hidden_state_loss(student.float(), teacher.bfloat16(), projection.float()).dtype == torch.float32


def test_hidden_states_under_the_mask_do_not_matter(states):
    """Not even a nan: it reaches neither the student nor the projection."""
    student, teacher = states
    projection = nn.Linear(3, 6, bias=False).double()
    mask = torch.tensor([[True, True, False, True], [True, False, False, False]])
    value, slope = gradient(hidden_state_loss, student, teacher, projection, mask=mask)
    weights, projection.weight.grad = projection.weight.grad, None
    student[~mask] = teacher[~mask] = math.nan
    found, steep = gradient(hidden_state_loss, student, teacher.requires_grad_(), projection, mask=mask)
    assert found == value
    assert torch.equal(steep, slope)
    assert torch.equal(projection.weight.grad, weights)
    assert teacher.grad is None
    assert gradient(hidden_state_loss, student, teacher, projection, mask=torch.zeros_like(mask))[0] == 0


def test_hidden_state_loss_is_learnt_away(states):
    """The projection trains with the student: states of which the teacher's are a linear map leave nothing."""
    student, _ = states
    teacher = student @ torch.randn(3, 6, generator=torch.Generator().manual_seed(2)).double()
    projection = nn.Linear(3, 6, bias=False).double()
    solution = torch.linalg.lstsq(student.flatten(0, 1), teacher.flatten(0, 1)).solution
    with torch.no_grad():
        projection.weight.copy_(solution.T)
    assert hidden_state_loss(student, teacher, projection) < 1e-20
    assert torch.autograd.gradcheck(lambda h: hidden_state_loss(h, states[1], projection), student.requires_grad_())


def test_hidden_state_loss_refuses(states):
    student, teacher = states
    refused(lambda: hidden_state_loss(student, teacher), ValueError, "width is 3", "6", "nn.Linear(3, 6, bias=False)")
    wrong = nn.Linear(3, 4, bias=False).double()
    refused(lambda: hidden_state_loss(student, teacher, wrong), ValueError, "3, projected to 4", "nn.Linear(3, 6")
    refused(lambda: hidden_state_loss(student[:, :3], teacher), ValueError, "(2, 3, 3)", "(2, 4, 6)")
    refused(lambda: hidden_state_loss(student, teacher, mask=torch.ones(2)), ValueError, "mask", "(2, 4)")
    refused(lambda: hidden_state_loss(None, teacher), TypeError, "student_states", "NoneType")


@pytest.fixture
def attentions():
    """Causal attention of two heads and of three."""
    draw = torch.Generator().manual_seed(3)
    future = torch.ones(5, 5).triu(1).bool()
    return [
        torch.randn(2, heads, 5, 5, generator=draw).double().masked_fill(future, -math.inf).softmax(-1)
        for heads in (2, 3)
    ]


def test_attention_loss_is_its_definition(attentions):
    student, teacher = attentions
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    rows = []
    for text, query in itertools.product(range(2), range(5)):
        b = student[text, :, query].mean(0)
        a = teacher[text, :, query].mean(0)
        if mask[text, query]:
            rows.append(sum(float(a[k] * (a[k] / b[k]).log()) for k in range(query + 1)))
    assert float(attention_loss(student, teacher, mask=mask)) == pytest.approx(np.mean(rows), rel=1e-12)
    assert float(attention_loss(student, teacher)) != pytest.approx(np.mean(rows), rel=1e-3)
    assert attention_loss(teacher, teacher) == 0
    assert attention_loss(teacher.repeat(1, 2, 1, 1), teacher) == pytest.approx(0, abs=1e-15)  # more heads, the same


def test_attention_zeros_and_masked_rows_send_no_nan(attentions):
    student, teacher = attentions
    assert gradient(attention_loss, student, teacher)[1].isfinite().all()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    value, slope = gradient(attention_loss, student, teacher, mask=mask)
    assert slope.isfinite().all()
    assert (slope[:, :, torch.ones(5, 5).triu(1).bool()] == 0).all()
    student[1, :, 3:] = teacher[1, :, 3:] = math.nan
    found, steep = gradient(attention_loss, student, teacher.requires_grad_(), mask=mask)
    assert found == value
    assert torch.equal(steep, slope)
    assert teacher.grad is None
    teacher = teacher.detach()
    student[1, :, 3:] = teacher[1, :, 3:] = 0.0  # queries that attend to nothing count as masked
    torch.testing.assert_close(attention_loss(student, teacher), value)


def test_attention_loss_by_finite_differences():
    draw = torch.Generator().manual_seed(4)
    scores, teacher = torch.randn(2, 1, 2, 3, 4, generator=draw).double()
    teacher = teacher.softmax(-1)
    assert torch.autograd.gradcheck(lambda each: attention_loss(each.softmax(-1), teacher), scores.requires_grad_())


def test_attention_loss_refuses(attentions):
    student, teacher = attentions
    refused(lambda: attention_loss(None, teacher), TypeError, "student_attention", "NoneType", "output_attentions")
    refused(lambda: attention_loss(student[0], teacher), ValueError, "(batch, heads, query, key)", "(2, 5, 5)")
    refused(lambda: attention_loss(student[:, :, :4], teacher), ValueError, "(2, 4, 5)", "(2, 5, 5)", "heads")
    refused(lambda: attention_loss(student.log(), teacher), ValueError, "student_attention", "softmax")
    refused(lambda: attention_loss(student, teacher, mask=torch.ones(2, 4).bool()), ValueError, "mask", "(2, 5)")
