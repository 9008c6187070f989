"""CTC against all paths counted one by one, and what it refuses."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

import distilkit as dk

from .faults import refused


def spell(path):
    """What a path of classes says: repetitions merged, blanks dropped."""
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def counted(logits, transcript):
    """−log of the summed probability of every path that spells the transcript."""
    log_probs = logits.double().log_softmax(-1)
    paths = [
        path for path in itertools.product(range(logits.shape[-1]), repeat=len(logits)) if spell(path) == transcript
    ]
    sums = [sum(log_probs[frame, token] for frame, token in enumerate(path)) for path in paths]
    return -torch.logsumexp(torch.stack(sums), 0)


def layout(transcript, frames, longest):
    """Labels as `ctc_loss` reads them."""
    filled = [*transcript, *[-1] * (frames - len(transcript)), *[-100] * (longest - frames)]
    return torch.tensor(filled)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 2), min_size=1, max_size=2), st.integers(3, 5))
def test_equals_all_paths_counted(seed, transcript, frames):
    logits = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(seed))
    found = dk.ctc_loss(logits, layout(transcript, frames, 6)[None])
    expected = counted(logits[0, :frames], tuple(transcript)) / len(transcript)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_sounds_without_transcript_count_nowhere():
    logits = torch.randn(3, 5, 4)
    labels = torch.stack([layout([1, 2], 5, 5), layout([], 4, 5), layout([3], 3, 5)])
    both = dk.ctc_loss(logits, labels)
    assert float(both) == pytest.approx(float(dk.ctc_loss(logits[[0, 2]], labels[[0, 2]])))
    none = logits.clone().requires_grad_()
    dk.ctc_loss(none, torch.full((3, 5), -1)).backward()
    assert (none.grad == 0).all()


def test_gradient():
    logits = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.stack([layout([1, 1], 5, 5), layout([2], 4, 5)])
    assert torch.autograd.gradcheck(lambda logits: dk.ctc_loss(logits, labels), logits)


def test_what_no_path_can_spell_is_refused():
    logits = torch.zeros(1, 3, 3)
    refused(lambda: dk.ctc_loss(logits, layout([1, 1], 2, 3)[None]), ValueError, "2 tokens needs 3 frames", "has 2")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([[3, -1, -1]])), ValueError, "1 to 2", "blank", "got 3")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([[1, 0, -1]])), ValueError, "blank", "got 0")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([[-1, 1, -1]])), ValueError, "first place")
    refused(lambda: dk.ctc_loss(logits, torch.tensor([[1, -1]])), ValueError, "(1, 3, 3)", "(1, 2)")


def test_distilled_by_frames_and_transcripts():
    """Labels may be of any use to the hard loss: to the soft one a frame counts, or it does not."""
    torch.manual_seed(0)
    teacher, student = torch.nn.Linear(6, 4), torch.nn.Linear(6, 4)
    sounds = torch.randn(20, 8, 6)
    labels = torch.stack([layout([1, 2, 3] if row < 5 else [], 8 - row % 3, 8) for row in range(20)])
    knobs = dk.Knobs(2.0, 0.5, 0.03)
    run = dk.distill(student, teacher, (sounds, labels), knobs=knobs, steps=60, batch_size=20, hard=dk.ctc_loss)
    with torch.no_grad():
        before = float(dk.forward_kl(student(sounds) / 2, teacher(sounds) / 2, mask=labels != -100))
    steps = list(run)
    assert steps[0].soft == pytest.approx(before, rel=1e-5)
    assert steps[-1].loss < steps[0].loss
    assert all(math.isclose(step.loss, 0.5 * 4 * step.soft + 0.5 * step.hard, rel_tol=1e-5) for step in steps)
