"""The teacher's answers on disk: the same as asking it, within the stated bound; whole, or refused in words."""

import contextlib
import functools
import itertools
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import filelock
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

import distilkit as dk
from distilkit import cached, topk
from distilkit.cached import CachedTeacher, cache_teacher
from distilkit.topk import TopK
from distilkit.transfer import Examples
from tests.faults import refused

CLASSES, TIME = 40, 6
DIVERGENCES = [
    dk.forward_kl,
    dk.reverse_kl,
    dk.jsd,
    functools.partial(dk.jsd, beta=0.2, rescaled=True),
    dk.skew_forward_kl,
    dk.skew_reverse_kl,
    dk.total_variation,
    dk.soft_cross_entropy,
]


class Teacher(nn.Module):
    """Tokens (n, time) -> logits (n, time, classes); with dropout, which must be off when it is asked."""

    def __init__(self, seed=0, classes=CLASSES):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.table, self.drop = nn.Embedding(CLASSES, classes), nn.Dropout(0.5)
            nn.init.normal_(self.table.weight, std=3.0)
        self.largest = 0  # logits that were there at once

    def forward(self, tokens):
        logits = self.drop(self.table(tokens))
        self.largest = max(self.largest, logits.numel())
        return logits


def tokens(rows=50, seed=0):
    drawn = torch.randint(CLASSES, (rows, TIME), generator=torch.Generator().manual_seed(seed))
    return Examples(drawn, drawn.roll(-1, 1))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(cached, "PIECE", 8 * TIME)
    monkeypatch.setattr(cached, "PIECES", 1)
    monkeypatch.setattr(cached, "LOGITS", 3 * TIME * CLASSES)
    monkeypatch.setattr(cached, "WAIT", 0.5)


def pair(seed, classes, top, temperature=1.0, scale=3.0):
    """Student logits and a teacher's, float64, and the teacher as a cache would give it, but not rounded."""
    draw = torch.Generator().manual_seed(seed)
    student, teacher = (scale * torch.randn(3, classes, dtype=torch.float64, generator=draw) for _ in range(2))
    return student, teacher, lumped(teacher, top, temperature)


def lumped(teacher, top, temperature):
    """By the definition, in probabilities."""
    probs = (teacher / temperature).softmax(-1)
    kept, ids = probs.topk(top, -1)
    rest = probs.scatter(-1, ids, 0).sum(-1, keepdim=True)
    return TopK(ids, torch.cat([kept, rest], -1).log(), temperature, teacher.shape[-1])


SIZES = st.tuples(st.integers(2, 12), st.integers(1, 12)).map(lambda pair: (pair[0], min(pair)))
SEEDS = st.integers(0, 2**31)


# --- lumping


@given(SEEDS, SIZES, st.sampled_from([0.5, 1.0, 4.0]))
def test_lumping_is_its_definition_and_so_is_its_gradient(seed, sizes, temperature):
    student, _, top = pair(seed, *sizes, temperature)
    dense = student.clone().requires_grad_()
    student.requires_grad_()
    found, _ = top.lump(student, temperature)
    probs = (dense / temperature).softmax(-1)
    expected = torch.cat([probs.gather(-1, top.ids), probs.scatter(-1, top.ids, 0).sum(-1, keepdim=True)], -1)
    torch.testing.assert_close(found.softmax(-1), expected)
    weights = torch.arange(1.0, expected.shape[-1] + 1, dtype=torch.float64).sin()
    (found.softmax(-1) * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(student.grad, dense.grad)


@given(SEEDS, SIZES, st.sampled_from([1.0, 10.0, 100.0, 1000.0]), st.sampled_from([0.5, 1.0]))
def test_faint_probabilities_keep_their_digits(seed, sizes, scale, temperature):
    """Also those that are 0 in float32: of the tail, of the teacher's k, of either."""
    student, _, top = pair(seed, *sizes, scale=scale)
    top = top._replace(temperature=temperature)
    single, double = (student.to(dtype).requires_grad_() for dtype in (torch.float32, torch.float64))
    found, expected = (top.lump(each, temperature)[0] for each in (single, double))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    ids, rest = top.ids, (double / temperature).scatter(-1, top.ids, -math.inf)
    torch.testing.assert_close(
        expected, torch.cat([double.gather(-1, ids) / temperature, rest.logsumexp(-1, True)], -1)
    )
    weights = torch.arange(1.0, expected.shape[-1] + 1, dtype=torch.float64).sin()
    for each, logits in ((found, single), (expected, double)):
        (each.double().softmax(-1) * weights).sum().backward(retain_graph=True)
        first, logits.grad = logits.grad, None
        (each.double().softmax(-1) * weights).sum().backward()  # and the second time
        torch.testing.assert_close(logits.grad, first)
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("top", [1, 3, 6, 7])
def test_gradcheck(top):
    student, _, answers = pair(0, 7, top, 2.0)

    def loss(logits):
        return dk.forward_kl(*answers.lump(logits, 2.0))

    assert torch.autograd.gradcheck(loss, student.requires_grad_())


def test_a_tiny_tail_keeps_its_digits():
    """1 − Σ of the others would be 0 here, and its logarithm −inf."""
    student = torch.tensor([[60.0, 0.0, 1.0]])
    logits, _ = TopK(torch.tensor([[0]]), torch.zeros(1, 2), 1.0, 3).lump(student, 1.0)
    tail = logits.double().log_softmax(-1)[0, 1]
    assert float(tail) == pytest.approx(math.log1p(math.e) - 60, abs=1e-5)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_classes_that_are_ruled_out_and_rows_without_any(divergence):
    student = torch.tensor([[1.0, 0.0, 2.0, -math.inf], [-math.inf] * 4, [1e4, -1e4, 0.0, -math.inf]])
    teacher = torch.tensor([[0.0, 1.0, 3.0, -math.inf], [-math.inf] * 4, [1e4, -1e4, 3.0, -math.inf]])
    for top in (2, 3, 4):
        leaf = student.clone().requires_grad_()
        ids = teacher.topk(top, -1).indices
        logs = topk.normalised(topk.WithTail.apply(teacher.double(), ids, 1.0)).float()
        value = divergence(*TopK(ids, logs, 1.0, 4).lump(leaf, 1.0))
        value.backward()
        assert value.isfinite()
        assert leaf.grad.isfinite().all()
        assert (leaf.grad[1] == 0).all()
        if top > 2:  # nothing lies in the tail
            torch.testing.assert_close(value, divergence(student, teacher))


@given(SEEDS, SIZES, st.sampled_from(DIVERGENCES[:-1]))
def test_lumping_never_makes_a_divergence_larger(seed, sizes, divergence):
    student, teacher, top = pair(seed, *sizes)
    gap = divergence(student, teacher, reduction="none") - divergence(*top.lump(student, 1.0), reduction="none")
    assert (gap > -1e-9).all()


@given(SEEDS, SIZES)
def test_the_gap_of_forward_kl_is_the_tail_s_own(seed, sizes):
    student, teacher, top = pair(seed, *sizes)
    gap = dk.forward_kl(student, teacher, reduction="none") - dk.forward_kl(*top.lump(student, 1.0), reduction="none")
    q, p = (side.softmax(-1).scatter(-1, top.ids, 0) for side in (student, teacher))
    mass = p.sum(-1)
    inside = dk.forward_kl(
        q.log().clamp(min=-1e9), p.log().clamp(min=-1e9), mask=mass > 0, reduction="none"
    )  # logits of the tail alone; softmax normalises them
    torch.testing.assert_close(gap, mass * inside, rtol=1e-6, atol=1e-9)


@given(SEEDS, SIZES, st.sampled_from([0.5, 1.0, 4.0]), st.booleans())
def test_the_gradient_moves_by_at_most_twice_the_tail(seed, sizes, temperature, renormalised):
    """In the L1 norm, with respect to logits / T, rounding included; by exactly that where the tail is dropped."""
    student, teacher, top = pair(seed, *sizes, temperature, scale=8.0)
    mass = top.log_probs[..., -1].exp()
    logs = top.log_probs.float()
    if renormalised:
        logs[..., -1] = -math.inf
        logs = topk.normalised(logs)

    def gradient(loss):
        leaf = student.clone().requires_grad_()
        loss(leaf).sum().backward()
        return leaf.grad * temperature

    full = gradient(lambda leaf: dk.forward_kl(leaf / temperature, teacher / temperature, reduction="none"))
    less = gradient(
        lambda leaf: dk.forward_kl(*top._replace(log_probs=logs.double()).lump(leaf, temperature), reduction="none")
    )
    moved, rounding = (full - less).abs().sum(-1), 2**-22 * math.log(sizes[1] + 1)
    assert (moved <= 2 * mass + rounding + 1e-12).all()
    if renormalised:
        assert (moved >= 2 * mass - rounding - 1e-12).all()


# --- the cache


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_with_every_class_it_is_the_teacher(tmp_path, divergence, temperature):
    teacher, transfer = Teacher().eval(), tokens()
    cache = cache_teacher(teacher, transfer, tmp_path, top=99, temperature=temperature)
    assert (cache.top, cache.tail_mass.max) == (CLASSES, 0)
    student, rows = Teacher(1).eval()(transfer.inputs).detach(), torch.randperm(50)
    online = divergence(student[rows] / temperature, teacher(transfer.inputs[rows]) / temperature)
    torch.testing.assert_close(
        divergence(*cache.at(rows).lump(student[rows], temperature)), online, rtol=1e-6, atol=1e-6
    )


def test_decoupled_kl_finds_its_labels(tmp_path):
    teacher, transfer = Teacher().eval(), tokens()
    answers = cache_teacher(teacher, transfer, tmp_path, top=CLASSES).at(slice(None))
    student, labels = Teacher(1).eval()(transfer.inputs).detach(), transfer.labels.clone()
    labels[0, 0], labels[0, 1] = -100, -1
    found = dk.decoupled_kl(*answers.lump(student, 1.0), answers.find(labels))
    torch.testing.assert_close(found, dk.decoupled_kl(student, teacher(transfer.inputs), labels), rtol=1e-5, atol=1e-6)
    some = TopK(torch.tensor([[4, 7]]), torch.zeros(1, 3), 1.0, 9)
    assert [int(some.find(torch.tensor([label]))) for label in (4, 7, 8, -1, -100)] == [0, 1, 2, -1, -100]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_kept_is_the_teacher_s_top(tmp_path, dtype):
    teacher, transfer = Teacher().to(dtype).eval(), tokens()
    cache = cache_teacher(teacher, transfer, tmp_path, top=5, temperature=2.0)
    rows = torch.tensor([49, 0, 8, 7, 7])
    answers = cache.at(rows)
    expected = lumped(teacher(transfer.inputs[rows]).double(), 5, 2.0)
    torch.testing.assert_close(answers.log_probs, expected.log_probs.float(), rtol=1e-6, atol=1e-6)
    own = (teacher(transfer.inputs[rows]).double() / 2).log_softmax(-1).gather(-1, answers.ids)  # ties have any order
    torch.testing.assert_close(own.float(), answers.log_probs[..., :-1], rtol=1e-6, atol=1e-6)
    mass = lumped(teacher(transfer.inputs).double().detach(), 5, 2.0).log_probs[..., -1].exp()
    assert cache.tail_mass == pytest.approx((float(mass.mean()), float(mass.max())), rel=1e-5)
    assert cache.error == pytest.approx((2 * mass.mean().item(), 2 * mass.max().item(), 2**-22 * math.log(6)), rel=1e-5)
    assert cache.bytes == (tmp_path / "answers").stat().st_size == 50 * TIME * (5 * 2 + 6 * 4)


def test_images_and_many_classes(tmp_path):
    images = Examples(torch.randn(20, 4), torch.zeros(20, dtype=torch.long))
    with torch.random.fork_rng():
        teacher = nn.Linear(4, 70_000)
    cache = cache_teacher(teacher, images, tmp_path, top=2)
    answers = cache.at(torch.tensor([3, 19]))
    assert answers.ids.tolist() == teacher(images.inputs[[3, 19]]).topk(2, -1).indices.tolist()
    assert cache.bytes == 20 * (2 * 4 + 3 * 4)


def test_a_tail_that_is_dropped(tmp_path):
    teacher, transfer = Teacher(), tokens()
    whole = cache_teacher(teacher, transfer, tmp_path, top=4).at(slice(0, 3))
    dropped = cache_teacher(teacher, transfer, tmp_path, top=4, tail="renormalised").at(slice(0, 3))
    torch.testing.assert_close(dropped.log_probs[..., :-1], whole.log_probs[..., :-1].log_softmax(-1))
    assert (dropped.log_probs[..., -1] == -math.inf).all()
    student = Teacher(1).eval()(transfer.inputs[:3]).detach()
    p, q = dropped.log_probs[..., :-1], student.log_softmax(-1).gather(-1, whole.ids)  # the student's on all classes
    torch.testing.assert_close(dk.forward_kl(*dropped.lump(student, 1.0)), (p.exp() * (p - q)).sum(-1).mean())


def test_the_teacher_is_left_as_it_was_and_asked_in_parts(tmp_path):
    teacher = Teacher().train()
    teacher.drop.eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    state = torch.get_rng_state()
    cache_teacher(teacher, tokens(), tmp_path)
    assert (teacher.training, teacher.table.training, teacher.drop.training) == (True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert teacher.largest <= cached.LOGITS < 50 * TIME * CLASSES / 10
    assert teacher.table.weight.grad is None


def test_what_is_complete_is_opened_without_the_teacher(tmp_path):
    written = cache_teacher(Teacher(), tokens(), tmp_path, top=4)
    opened = cache_teacher(None, tokens(), tmp_path, top=4)
    assert torch.equal(opened.at(slice(None)).log_probs, written.at(slice(None)).log_probs)
    refused(lambda: cache_teacher(None, tokens(), tmp_path / "new"), OSError, "no cache", "give the teacher")


# --- cut, damaged, mistaken


def contents(folder):
    """All that the folder says, but for who wrote it."""
    about = json.loads((folder / "about.json").read_text())
    noted = [each for shard in range(about.pop("shards")) for each in cached._noted(folder, shard)]
    return (folder / "answers").read_bytes(), about, noted


class Stops(Teacher):
    """Breaks off when asked the n-th time."""

    def __init__(self, count):
        super().__init__()
        self.count = itertools.count(), count

    def forward(self, tokens):
        if next(self.count[0]) == self.count[1]:
            raise KeyboardInterrupt
        return super().forward(tokens)


@pytest.mark.parametrize("count", range(0, 21, 3))
def test_a_run_that_is_interrupted_goes_on(tmp_path, count):
    cache_teacher(Teacher(), tokens(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        cache_teacher(Stops(count), tokens(), tmp_path / "cut")
    if count:
        refused(lambda: cache_teacher(None, tokens(), tmp_path / "cut"), ValueError, "not complete", "teacher")
        with (tmp_path / "cut" / "answers").open("ab") as file:
            file.write(b"half a piece")
        with (tmp_path / "cut" / "shard-0").open("ab") as file:
            file.write(b"0123456789abcdef")  # half a line
    cache_teacher(Teacher(), tokens(), tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


SLOW = """
import sys, time
from tests import test_cached as here
from distilkit import cached

class Slow(here.Teacher):
    # notes which rows it is asked about

    def forward(self, tokens):
        time.sleep(0.01)
        rows = (tokens[:, 0] * here.CLASSES + tokens[:, 1]).tolist()
        with open(sys.argv[1] + ".asked", "a") as file:
            file.write("".join(f"{row}\\n" for row in rows))
        return super().forward(tokens)

cached.PIECE, cached.PIECES, cached.LOGITS = 8 * here.TIME, 1, 3 * here.TIME * here.CLASSES
print("ready", flush=True)
sys.stdin.readline()
cache = cached.cache_teacher(Slow(), here.numbered(400), sys.argv[1], shards=int(sys.argv[2]))
print(len(cache), cache.tail_mass.mean, flush=True)
"""


def numbered(rows):
    """Tokens whose first two are the row's number."""
    some = tokens(rows)
    some.inputs[:, 0], some.inputs[:, 1] = torch.arange(rows) // CLASSES, torch.arange(rows) % CLASSES
    return some


def times_asked(folder):
    """How often the slow teachers were asked about each row, but for what each is asked first, for its shape: row 0."""
    asked = Counter(map(int, Path(f"{folder}.asked").read_text().split()))
    return [asked[row] for row in range(1, 400)]


@contextlib.contextmanager
def writers(folder, count=1, shards=1):
    """Other processes that write this cache, slowly; some of it is there."""
    command = [sys.executable, "-W", "error", "-c", SLOW, str(folder), str(shards)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        run = functools.partial(subprocess.Popen, command, cwd=Path(__file__).parents[1], **pipes)
        processes = [stack.enter_context(run()) for _ in range(count)]
        try:
            for process in processes:
                assert process.stdout.readline() == b"ready\n"
            for process in processes:
                process.stdin.write(b"go\n")
                process.stdin.flush()
            while not (folder / "shard-0").exists():
                assert all(process.poll() is None for process in processes)
                time.sleep(0.01)
            yield processes
        finally:
            for process in processes:
                process.kill()


def test_killed_at_any_moment_it_goes_on(tmp_path):
    cache_teacher(Teacher(), numbered(400), tmp_path / "whole")
    for wait in (0.0, 0.037, 0.11):
        with writers(tmp_path / "cut") as (process,):
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        refused(lambda: cache_teacher(None, numbered(400), tmp_path / "cut"), ValueError, "not complete")
    cache_teacher(Teacher(), numbered(400), tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    names = ["about.json", "answers", "lock", "shard-0", "shard-0.lock"]
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == names
    assert len(cached._noted(tmp_path / "cut", 0, who=True)) == 4
    assert max(times_asked(tmp_path / "cut")) <= 3  # a piece that was there was not asked again


def test_what_a_killed_process_left_while_it_began_is_swept_up(tmp_path):
    (tmp_path / ".about.json.left").write_text("by a process that was killed while it wrote")
    cache_teacher(Teacher(), tokens(), tmp_path)
    assert not (tmp_path / ".about.json.left").exists()


def test_a_second_process_waits_for_the_first_and_asks_nothing(tmp_path):
    folder = tmp_path / "cache"
    with writers(folder):
        teacher = Teacher()
        cache_teacher(teacher, numbered(400), folder)
        assert teacher.largest == TIME * CLASSES  # it was asked about one row, for its shape
    assert times_asked(folder) == [1] * 399


def test_a_process_that_stands_still_is_named(tmp_path):
    with writers(tmp_path / "cache") as (process,):
        process.send_signal(signal.SIGSTOP)
        make = functools.partial(cache_teacher, Teacher(), numbered(400), tmp_path / "cache")
        refused(make, OSError, f"pid {process.pid} on", "shard-0", "nothing was added for 0.5 s", "call again")


@pytest.mark.parametrize("killed", [False, True])
def test_processes_share_the_shards_and_each_has_the_whole(tmp_path, killed):
    """Six shards of three processes: every row is asked once; of a killed one's, no more than a piece once again."""
    folder = tmp_path / "cache"
    with writers(folder, 3, shards=6) as processes:
        if killed:
            time.sleep(0.1)
            processes[0].send_signal(signal.SIGKILL)
        said = [process.stdout.read() for process in processes]
    one = cache_teacher(Teacher(), numbered(400), tmp_path / "one")
    assert [each for each in said if each] == [f"400 {one.tail_mass.mean}\n".encode()] * (2 if killed else 3)
    assert contents(folder) == contents(tmp_path / "one")
    again = [row for row, times in enumerate(times_asked(folder), 1) if times > 1]
    assert len(again) <= (8 if killed else 0)
    assert len({row // 8 for row in again}) <= 1
    assert min(times_asked(folder)) == 1
    writing = [cached._noted(folder, shard, who=True) for shard in range(6)]
    assert sum(map(len, writing)) == (7 if killed else 6)
    assert len({who for shard in writing for who in shard}) == 3


@pytest.mark.parametrize("shards", [2, 7, 30])
def test_the_shards_change_nothing_and_are_the_folder_s(tmp_path, shards):
    one = cache_teacher(Teacher(), tokens(), tmp_path / "one")
    many = cache_teacher(Teacher(), tokens(), tmp_path / "many", shards=shards)
    assert (one.error, one.bytes) == (many.error, many.bytes)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    cache_teacher(Teacher(), tokens(), tmp_path / "many", shards=3)
    assert json.loads((tmp_path / "many" / "about.json").read_text())["shards"] == shards


def test_a_small_set_has_pieces_enough_for_several(tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "PIECES", 16)
    cache_teacher(Teacher(), tokens(), tmp_path, shards=4)
    assert [len(cached._noted(tmp_path, shard)) for shard in range(4)] == [3, 3, 3, 4]


def test_a_folder_of_the_former_format_is_refused(tmp_path):
    cache_teacher(Teacher(), tokens(), tmp_path)
    about = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps(about | {"format": 1, "pieces": []}))
    refused(lambda: cache_teacher(Teacher(), tokens(), tmp_path), ValueError, "another format", "1 there, 2 here")


@pytest.mark.parametrize("place", [0, 77, 8 * TIME * 34, -1])
def test_a_flipped_bit_is_refused(tmp_path, place):
    cache_teacher(Teacher(), tokens(), tmp_path, top=5)
    data = bytearray((tmp_path / "answers").read_bytes())
    data[place] ^= 4
    (tmp_path / "answers").write_bytes(data)
    piece = place % len(data) // (8 * TIME * 34)
    for teacher in (Teacher(), None):
        refused(
            lambda teacher=teacher: cache_teacher(teacher, tokens(), tmp_path, top=5),
            OSError,
            f"piece {piece} of 7 is damaged",
            "Delete the folder",
        )


def test_a_file_of_another_length_is_refused(tmp_path):
    cache_teacher(Teacher(), tokens(), tmp_path, top=5)
    path = tmp_path / "answers"
    data = path.read_bytes()
    for wrong, words in (
        (data[:-1], "piece 6 of 7 is cut short"),
        (b"", "piece 0 of 7"),
        (data + b"x", "goes on after its last piece"),
    ):
        path.write_bytes(wrong)
        refused(lambda: cache_teacher(Teacher(), tokens(), tmp_path, top=5), OSError, words, "Delete the folder")
    path.unlink()
    refused(lambda: cache_teacher(Teacher(), tokens(), tmp_path, top=5), OSError, "No such file", "Delete the folder")


@pytest.mark.parametrize("line", ["", "\n", "x" * 64, "ü\n" * 9])
def test_notes_that_say_something_else_are_refused(tmp_path, line):
    cache_teacher(Teacher(), tokens(), tmp_path)
    notes = (tmp_path / "shard-0").read_text().splitlines()
    (tmp_path / "shard-0").write_text("\n".join([*notes[:3], line, *notes[4:]]) + "\n")
    refused(lambda: cache_teacher(Teacher(), tokens(), tmp_path), OSError, "piece 2 of 7 is damaged", "Delete")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"pieces": [1]}', b"\xff", b'{"pieces": 3}', b"[" * 99_999]
)
def test_a_folder_that_holds_something_else(tmp_path, data):
    (tmp_path / "about.json").write_bytes(data)
    refused(lambda: cache_teacher(Teacher(), tokens(), tmp_path), OSError, "does not describe a cache", "another")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"temperature": 4.0}, ["another temperature", "2.0 there", "4.0 here"], id="temperature"),
        pytest.param({"top": 6}, ["another top", "5 there", "6 here"], id="top"),
        pytest.param({"transfer": tokens(seed=1)}, ["sha256 of the inputs", "there", "here"], id="inputs"),
        pytest.param({"transfer": tokens()[torch.arange(50).flip(0)]}, ["sha256 of the inputs"], id="order"),
        pytest.param({"teacher": Teacher(1)}, ["sha256 of the teacher's weights"], id="teacher"),
        pytest.param({"teacher": Teacher(classes=41)}, ["number of classes", "40 there", "41 here"], id="vocabulary"),
    ],
)
def test_a_folder_of_another_cache_is_refused(tmp_path, change, words):
    made = {"teacher": Teacher(), "transfer": tokens(), "folder": tmp_path, "top": 5, "temperature": 2.0}
    cache_teacher(**made)
    before = contents(tmp_path)
    refused(lambda: cache_teacher(**made | change), ValueError, str(tmp_path), "another folder", *words)
    assert contents(tmp_path) == before


def test_another_transfer_set_or_temperature_is_refused_in_use(tmp_path):
    cache = cache_teacher(Teacher(), tokens(), tmp_path, temperature=2.0)
    cache.check(Examples(tokens().inputs, torch.zeros_like(tokens().labels)))  # labels are no matter for the teacher
    refused(lambda: cache.check(tokens(seed=1)), ValueError, "another transfer set", "sha256")
    logits = torch.zeros(2, TIME, CLASSES)
    refused(lambda: cache.at(slice(2)).lump(logits, 4.0), ValueError, "is 4,", "cached at 2;", "temperature=4)")
    refused(lambda: cache.at(slice(3)).lump(logits, 2.0), ValueError, "(2, 6, 40)", "(3, 6, 40)")
    assert isinstance(cache, CachedTeacher)
    assert "50 rows, top 32 of 40" in repr(cache)


def test_a_full_disk_loses_nothing(tmp_path):
    cache_teacher(Teacher(), tokens(), tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "whole" / "answers").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
        refused(lambda: cache_teacher(Teacher(), tokens(), tmp_path / "cut"), OSError, "cannot write", "goes on")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert size // 3 < (tmp_path / "cut" / "answers").stat().st_size <= size // 2
    cache_teacher(Stops(14), tokens(), tmp_path / "cut")  # what was there is not asked again
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(
        lambda: cache_teacher(Teacher(), tokens(), tmp_path / "file" / "cache"), OSError, "cannot write into", "give"
    )
    if os.geteuid():  # root may write everywhere
        tmp_path.chmod(0o500)
        refused(lambda: cache_teacher(Teacher(), tokens(), tmp_path / "cache"), OSError, "Permission denied")


def test_what_is_complete_is_opened_without_writing(tmp_path):
    cache_teacher(Teacher(), tokens(), tmp_path)
    with filelock.FileLock(tmp_path / "lock"), filelock.FileLock(tmp_path / "shard-0.lock"):
        cache_teacher(Teacher(), tokens(), tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_teacher_that_is_not_finite(tmp_path, value):
    transfer, teacher = tokens(), Teacher()
    teacher.table.weight.data[7, 3] = value
    row = int((transfer.inputs == 7).any(1).nonzero()[0])
    refused(lambda: cache_teacher(teacher, transfer, tmp_path), ValueError, f"row {row} of the transfer set", "nan")


def test_impossible_arguments(tmp_path):
    make = functools.partial(cache_teacher, Teacher(), tokens(), tmp_path)
    refused(lambda: make(top=0), ValueError, "top", "got 0")
    refused(lambda: make(temperature=0), ValueError, "temperature", "got 0")
    refused(lambda: make(tail="lump"), ValueError, "tail", "'lumped'")
    refused(lambda: make(shards=0), ValueError, "shards", "got 0")
    refused(lambda: cache_teacher(Teacher(), tokens(0), tmp_path), ValueError, "empty")
    assert not list(tmp_path.iterdir())
