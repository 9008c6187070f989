"""The loop: reproducible to the bit, resumable to the bit, and in order after whatever goes wrong."""

import os
import signal
import threading

import pytest
import torch
from torch import nn

import distilkit as dk
from distilkit import divergences
from distilkit.cached import cache_teacher
from distilkit.errors import BadFile, BadType, BadValue, DistilkitError, Diverged
from distilkit.models import predict
from distilkit.training import Knobs, distill
from tests.faults import refused


def network(seed=0, dropout=0.3, norm=True):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, 8),
            nn.BatchNorm1d(8) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(8, 3),
        )


def examples(rows=50):
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (rows,), generator=draw)
    labels[::3] = -1
    return dk.Examples(torch.randn(rows, 6, generator=draw), labels)


def start(student=0, *, steps=20, **others):
    return distill(network(student), network(9), examples(), steps=steps, **{"batch_size": 8, **others})


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def straight():
    """A run that nothing disturbed: its history and its student."""
    run = start()
    run.result()
    return run.history, bits(run.student)


def check(run, straight):
    assert run.history == straight[0]
    assert same(bits(run.student), straight[1])


def test_same_seed_same_run(straight):
    torch.manual_seed(12345)
    run = start()
    assert [step.step for step in run] == list(range(1, 21))
    check(run, straight)
    other = start(seed=1)
    other.result()
    assert other.history != straight[0]


def test_a_run_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    start(steps=3).result()
    assert torch.equal(torch.rand(4), expected)


def test_interleaved_with_a_twin(straight):
    run, twin = start(), distill(network(), None, examples(), steps=20, batch_size=8)
    for _ in range(20):
        next(run), next(twin)
        torch.rand(5)
    check(run, straight)
    alone = distill(network(), None, examples(), steps=20, batch_size=8)
    alone.result()
    check(twin, (alone.history, bits(alone.student)))
    assert all(step.alpha == step.soft == 0 for step in twin.history)


def test_reset_starts_over(straight):
    run = start()
    for _ in range(7):
        next(run)
    run.reset()
    assert run.history == []
    run.result()
    check(run, straight)


class Watched(nn.Module):
    """A teacher that counts the rows it is asked about, and minds its mode."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = network(9), []

    def forward(self, inputs):
        assert not any(module.training for module in self.modules())
        assert not torch.is_grad_enabled()
        self.seen.append(inputs)
        return self.inner(inputs)


@pytest.mark.parametrize("rows", [50, 2500])
def test_the_teacher_is_scored_once_in_eval_mode_and_never_changed(rows):
    teacher, data = Watched().train(), examples(rows)
    teacher.inner[3].eval()
    before, modes = bits(teacher), [module.training for module in teacher.modules()]
    run = distill(network(), teacher, data, steps=30)
    assert teacher.seen == []  # nothing runs before the first step
    run.result()
    run.reset()
    run.result()
    assert torch.equal(torch.cat(teacher.seen), data.inputs)
    assert same(bits(teacher), before)
    assert [module.training for module in teacher.modules()] == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_cached_logits_stay_with_their_rows():
    """A student that is the teacher has no soft loss, in whatever order the rows come."""
    teacher = network(9, dropout=0.0, norm=False)
    run = distill(
        network(9, dropout=0.0, norm=False), teacher, examples(), steps=12, batch_size=8, knobs=Knobs(lr=1e-30, alpha=1)
    )
    assert all(step.soft < 1e-12 for step in run)


def test_every_example_is_seen_once_an_epoch():
    run = distill(network(), network(9), examples(48), steps=12, batch_size=8)
    for epoch in (range(6), range(6, 12)):
        assert sorted(torch.cat([run._rows(number, 48) for number in epoch]).tolist()) == list(range(48))


def test_the_student_learns_and_ends_in_eval_mode():
    run = distill(network(dropout=0.0), network(9), examples(), steps=150)
    assert run.result() is run.student
    assert not run.student.training
    assert run.history[-1].loss < run.history[0].loss / 2


@pytest.mark.parametrize(
    "name", ["forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "total_variation", "decoupled_kl"]
)
def test_any_divergence_trains(name):
    run = start(steps=3, divergence=getattr(divergences, name))
    run.result()
    assert all(torch.isfinite(torch.tensor(step.loss)) for step in run.history)


# --- stop and go on


@pytest.mark.parametrize("stop", [0, 1, 9, 19])
@pytest.mark.parametrize("schedule", ["constant", "turned", "function"])
def test_resumed_is_as_never_stopped(tmp_path, stop, schedule):
    def fresh(**others):
        knobs = Knobs(temperature=lambda step: 2 + step / 5) if schedule == "function" else Knobs()
        return start(knobs=knobs, **others)

    def go(run, until):
        while len(run.history) < until:
            if schedule == "turned" and len(run.history) == 5:
                run.knobs.temperature, run.knobs.alpha, run.knobs.lr = 2, 0.4, 0.003
            next(run)

    whole = fresh()
    go(whole, 20)
    first = fresh(checkpoint=tmp_path / "run.safetensors")
    go(first, stop)
    first.save()
    torch.rand(7)
    second = fresh(checkpoint=tmp_path / "run.safetensors")
    assert len(second.history) == stop
    go(second, 20)
    check(second, (whole.history, bits(whole.student)))
    assert len(fresh(checkpoint=tmp_path / "run.safetensors").history) == 20  # written at the end


def test_every_flipped_bit_of_a_checkpoint_is_refused(tmp_path):
    run = start(steps=2)
    run.result()
    path = run.save(tmp_path / "run.safetensors")
    good, before = path.read_bytes(), bits(run.student)
    draw = torch.Generator().manual_seed(0)
    for place in torch.randint(0, len(good), (300,), generator=draw).tolist():
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        with pytest.raises(DistilkitError):
            run.load(path)
    for length in (0, 7, 8, 100, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(BadFile, match="not a whole checkpoint"):
            run.load(path)
    assert same(bits(run.student), before)
    path.write_bytes(good)
    run.load(path)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    path = start(steps=2).save(tmp_path / "run.safetensors")
    for others, word in (({"seed": 5}, "seed"), ({"batch_size": 4}, "batch_size")):
        with pytest.raises(BadValue, match=f"another run: its {word} is .* delete the file"):
            start(checkpoint=path, **others)
    with pytest.raises(BadValue, match="tensors"):
        distill(nn.Linear(6, 3), None, examples(), batch_size=8, checkpoint=path)
    dk.save(network(), path)
    with pytest.raises(BadFile, match="not a whole checkpoint"):
        start(checkpoint=path)


def test_f69_f79_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    run = start(steps=5, checkpoint=tmp_path / "run.safetensors")
    next(run)
    old = run.save().read_bytes()
    next(run)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BadFile, match="No space left on device"):
        run.save()
    monkeypatch.undo()
    assert {file.name for file in tmp_path.iterdir()} == {"run.safetensors", ".run.safetensors.lock"}  # the run goes on
    assert (tmp_path / "run.safetensors").read_bytes() == old
    assert len(start(steps=5, checkpoint=tmp_path / "run.safetensors").history) == 1


def test_save_needs_a_path():
    with pytest.raises(BadValue, match="save needs a path"):
        start().save()


@pytest.fixture
def ctrl_c():
    """Python's own handler, which a process started in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("moment", ["forward", "backward", "update"])
def test_f70_an_interrupt_in_a_step(straight, moment, ctrl_c):
    """Ctrl-C waits for the step's end: the step is there, whole, and the run goes on to the same bits."""
    run, student = start(), None
    for _ in range(4):
        next(run)
    student = run.student

    def interrupt(*_):
        return signal.raise_signal(signal.SIGINT)

    hook = {
        "forward": lambda: student[2].register_forward_hook(interrupt),
        "backward": lambda: student[4].weight.register_hook(interrupt),
        "update": lambda: run._optimizer.register_step_pre_hook(interrupt),
    }[moment]()
    with pytest.raises(KeyboardInterrupt):
        next(run)
    hook.remove()
    assert len(run.history) == 5
    run.result()
    check(run, straight)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_f70_an_interrupt_in_the_last_step_still_ends_the_run(tmp_path, ctrl_c):
    run = start(steps=1, checkpoint=tmp_path / "run.safetensors")
    run.student.register_forward_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert run.done
    assert not run.student.training
    assert (tmp_path / "run.safetensors").exists()


# --- threads


def test_knobs_from_another_thread():
    run = start(steps=4)
    next(run)
    thread = threading.Thread(target=lambda: setattr(run.knobs, "temperature", 9))
    thread.start()
    thread.join()
    assert next(run).temperature == 9
    assert [step.temperature for step in run.history] == [4, 9]


def test_f73_two_threads_share_a_run(straight):
    run = start()
    threads = [threading.Thread(target=run.result) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(run, straight)


def test_listeners_hear_every_step():
    run, heard = start(steps=5), []
    run.listeners.append(heard.append)
    run.result()
    assert heard == run.history


# --- faults


def test_f01_f02_f03_f05_f08_knobs_are_checked_at_once():
    knobs = Knobs()
    for name, value, builtin in (
        ("temperature", 0, ValueError),
        ("temperature", -1, ValueError),
        ("temperature", float("nan"), ValueError),
        ("temperature", float("inf"), ValueError),
        ("temperature", "2.0", TypeError),
        ("alpha", 1.1, ValueError),
        ("alpha", -0.1, ValueError),
        ("lr", -1, ValueError),
        ("lr", True, TypeError),
    ):
        refused(lambda name=name, value=value: setattr(knobs, name, value), builtin, name, str(value))
    assert repr(knobs) == "Knobs(temperature=4.0, alpha=0.9, lr=0.01)"


def test_a_schedule_is_checked_when_it_speaks():
    run = start(knobs=Knobs(temperature=lambda step: 1 - step))
    next(run)
    refused(lambda: next(run), ValueError, "temperature", "got 0")
    assert len(run.history) == 1


def test_f07_a_misspelt_knob():
    knobs = Knobs()
    refused(lambda: setattr(knobs, "temprature", 2), TypeError, "temprature", "Did you mean 'temperature'?")
    refused(lambda: Knobs(temprature=2), TypeError, "temprature", "Did you mean 'temperature'?")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", ""])
def test_f14_a_device_that_is_not_there(device):
    refused(lambda: start(device=device), ValueError, repr(device), "it has cpu")
    assert start(device="cpu", steps=1).result() is not None


def test_f09_a_bool_for_a_whole_number():
    for name in ("steps", "batch_size", "seed"):
        refused(lambda name=name: start(**{name: True}), TypeError, name, "whole number", "True")


@pytest.mark.parametrize("steps", [0, -1, 10**12])
def test_f10_steps(steps):
    refused(lambda: start(steps=steps), ValueError, "steps", str(steps), "[1, 1000000000]")
    refused(lambda: start(steps=1e12), TypeError, "steps", "whole number")


def test_f11_a_batch_larger_than_the_data():
    refused(lambda: start(batch_size=51), ValueError, "batch_size", "[1, 50]", "51")
    assert start(batch_size=None).batch_size == 50


def test_f12_learning_rates():
    refused(lambda: Knobs(lr=0), ValueError, "lr", "(0, 1e+06]", "got 0")
    run = start(knobs=Knobs(lr=1e3), steps=200)
    refused(run.result, ArithmeticError, "diverged at step", "learning rate 1000", "run.reset()")
    assert not run.done
    run.reset()
    run.knobs.lr = 0.01
    run.result()
    assert run.done


def test_a_nan_loss_stops_the_run():
    run = start(divergence=lambda student, teacher, mask=None: student.sum() * float("nan"))
    with pytest.raises(Diverged, match="loss is nan"):
        next(run)
    assert run.history == []


@pytest.mark.parametrize("seed", [-1, 2**70])
def test_f13_seeds(seed):
    refused(lambda: start(seed=seed), ValueError, "seed", str(seed))


def test_f20_an_empty_transfer_set():
    refused(lambda: distill(network(), network(9), examples()[:0]), ValueError, "transfer set is empty")


def test_f21_nan_in_the_teacher():
    data = examples()
    data.inputs[7] = float("nan")
    run = distill(network(), network(9), data)
    refused(lambda: next(run), ValueError, "teacher", "row 7", "nan")
    assert run.history == []


def test_models_and_transfer_sets_are_checked():
    model = network()
    refused(lambda: distill(model, model, examples()), ValueError, "same module")
    refused(lambda: distill("gpt2", model, examples()), TypeError, "student", "str")
    refused(lambda: distill(model, 3, examples()), TypeError, "teacher", "int")
    refused(lambda: distill(model, network(9), [1, 2]), TypeError, "transfer set", "[1, 2]")
    refused(lambda: dk.Examples(torch.zeros(3, 2), torch.zeros(4)), ValueError, "(3, 2)", "(4,)")
    refused(lambda: dk.Examples([1], torch.zeros(1)), TypeError, "inputs", "list")
    run = distill(model, None, examples(), knobs=Knobs(alpha=0.5))
    refused(lambda: next(run), ValueError, "alpha is 0.5", "no teacher", "alpha=0")


def test_transfer_sets_come_in_three_forms():
    data = examples()
    dataset = torch.utils.data.TensorDataset(data.inputs, data.labels)
    runs = [distill(network(), network(9), form, steps=3) for form in (data, (data.inputs, data.labels), dataset)]
    for run in runs:
        run.result()
    assert runs[0].history == runs[1].history == runs[2].history


def test_errors_are_importable_as_one():
    assert issubclass(BadType, dk.DistilkitError)
    assert issubclass(Diverged, dk.DistilkitError)


# --- a cached teacher


def test_a_cached_teacher_trains_the_same_student(tmp_path):
    teacher, data = network(9), examples(48)
    classes = predict(teacher, data.inputs[:1]).shape[-1]
    whole = cache_teacher(teacher, data, tmp_path / "whole", top=classes, temperature=4.0)
    online, cached = (distill(network(norm=False), source, data, steps=20, batch_size=8) for source in (teacher, whole))
    for one, other in zip(online, cached, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
    for one, other in zip(online.student.parameters(), cached.student.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", ["reverse_kl", "jsd", "decoupled_kl"])
def test_any_divergence_takes_a_cached_teacher(tmp_path, name):
    teacher, data = network(9), examples(48)
    cache = cache_teacher(teacher, data, tmp_path, top=2, temperature=4.0)
    run = distill(network(), cache, data, steps=20, batch_size=8, divergence=getattr(divergences, name))
    run.result()
    assert run.history[-1].loss < run.history[0].loss


def test_a_cached_teacher_is_refused_for_other_text_and_temperature(tmp_path):
    cache = cache_teacher(network(9), examples(48), tmp_path, top=2, temperature=4.0)
    with pytest.raises(BadValue, match="another transfer set"):
        distill(network(), cache, examples(40))
    run = distill(network(), cache, examples(48), knobs=Knobs(temperature=2))
    with pytest.raises(BadValue, match="cached at 4"):
        next(run)
    assert run.history == []


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_many_classes_learn_from_a_cached_teacher_and_labels(tmp_path, alpha, temperature):
    """With all classes kept the first step is the online one: the loss, its terms, and what the student becomes."""
    draw = torch.Generator().manual_seed(1)
    data = dk.Examples(torch.randn(16, 6, generator=draw), torch.randint(0, 300, (16,), generator=draw))
    data.labels[:3] = torch.tensor([-1, -100, 299])

    def wide(seed):
        torch.manual_seed(seed)
        return nn.Linear(6, 300)

    cache = cache_teacher(wide(9), data, tmp_path, top=300, temperature=temperature)
    knobs = Knobs(temperature, alpha)
    online, cached = (distill(wide(0), source, data, knobs=knobs, steps=1) for source in (wide(9), cache))
    for one, other in zip(next(online), next(cached), strict=True):
        assert other == pytest.approx(one, rel=1e-5)
    for one, other in zip(online.student.parameters(), cached.student.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-7)
        assert one.grad.abs().max() > 1e-3
