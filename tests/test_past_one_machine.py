"""Several processes are one: the same losses, the same student, whoever is killed. Real processes, over gloo."""

import functools
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, notebook_launcher
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor

import distilkit as dk
from distilkit.training import Knobs, distill
from tests.faults import refused

ROOT = Path(__file__).parents[1]
WORDS, TIME, END = 300, 12, 7  # so many that the loss is computed in chunks


class Writer(nn.Module):
    """Tokens (n, time) -> logits (n, time, words): each word from the two before it."""

    def __init__(self, seed, width=16, words=WORDS):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.table, self.head = nn.Embedding(WORDS, width), nn.Linear(2 * width, words)

    def forward(self, tokens):
        here = self.table(tokens)
        return self.head(torch.cat([here, here.roll(1, 1)], -1).tanh())


class Gaps(Writer):
    """A teacher of another vocabulary that says nothing of some positions."""

    def forward(self, tokens):
        return super().forward(tokens).masked_fill((tokens % 3 == 0).unsqueeze(-1), -torch.inf)


def corpus(rows=40):
    """Prompts of every length that are not to be learnt, some rows nothing but that, and some words unlabelled."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(WORDS, (rows, TIME + 1), generator=draw)
    labels = tokens[:, 1:].clone()
    labels[torch.arange(TIME) < torch.randint(-TIME // 2, TIME + 6, (rows, 1), generator=draw)] = -100
    labels[(labels >= 0) & (torch.rand(labels.shape, generator=draw) < 0.2)] = -1
    return dk.Examples(tokens[:, :-1].contiguous(), labels)


# What is trained, by name: a function of an accelerator or None, and of a folder, that returns a run.


def digits(accelerator, folder, **others):
    task = dk.tasks.digits(labelled=100)
    given = {"steps": 60, "batch_size": 37, "knobs": Knobs(4.0, 0.7)} | others
    return distill(task.student(), task.teacher(), task.transfer, accelerator=accelerator, **given)


def language(accelerator, folder, *, teacher=None, **others):
    given = {"steps": 50, "batch_size": 7, "knobs": Knobs(2.0, 0.6, 0.01)} | others
    return distill(Writer(0), teacher or Writer(1), corpus(), accelerator=accelerator, **given)


def twin(accelerator, folder):
    task = dk.tasks.digits(labelled=100)
    return distill(task.student(), None, task.transfer, steps=20, batch_size=9, accelerator=accelerator)


def from_a_cache(accelerator, folder):
    task = dk.tasks.digits(labelled=100)
    said = dk.cache_teacher(task.teacher(), task.transfer, Path(folder, "cache"), top=3, temperature=4.0, shards=4)
    return distill(task.student(), said, task.transfer, steps=20, batch_size=37, accelerator=accelerator)


def on_policy(accelerator, folder):
    student = Writer(0)
    text = dk.student_text(
        student,
        corpus().inputs[:, :3],
        length=6,
        sampling_temperature=0,
        on_policy_fraction=0.5,
        corpus=corpus(),
        end=END,
    )
    student.head.bias.data[END] = 1.0
    return distill(student, Writer(1), text, steps=12, batch_size=7, divergence=dk.reverse_kl, accelerator=accelerator)


def learned(accelerator, folder):
    knobs = Knobs(dk.LearnedTemperature(3.0, growth=5), dk.UncertaintyAlpha(0.7, rate=0.1))
    return digits(accelerator, folder, steps=20, knobs=knobs)


def spelled(accelerator, folder):
    """Sounds with transcripts of several lengths, some without one."""
    sounds = corpus().inputs
    labels = 1 + sounds % 11
    length = (sounds[:, :1] % 5).clamp(max=4)
    labels = labels.where(torch.arange(TIME) < length, -1)
    labels[:, TIME - 2 :] = -100
    return distill(
        Writer(0, words=12), Writer(1, words=12), (sounds, labels), steps=12, batch_size=7, hard=dk.ctc_loss,
        knobs=Knobs(2.0, 0.5), accelerator=accelerator,
    )  # fmt: skip


RUNS = {
    "digits": digits,
    "language": language,
    "twin": twin,
    "from_a_cache": from_a_cache,
    "on_policy": on_policy,
    "learned": learned,
    "spelled": spelled,
    "split at the label": functools.partial(language, steps=12, divergence=dk.decoupled_kl),
    "another vocabulary": functools.partial(language, steps=12, divergence=dk.uld_loss, teacher=Gaps(1, words=200)),
    "the teacher alone": functools.partial(language, steps=12, knobs=Knobs(2.0, 1.0)),
    "the labels alone": functools.partial(language, steps=12, knobs=Knobs(2.0, 0.0)),
}


def bits(module):
    return {name: value.tolist() for name, value in module.state_dict().items()}


def in_processes(folder):
    """All runs, by every process of this world; in parts, too."""
    torch.set_num_threads(1)
    for parts in (1, 3):
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=parts)
        for name, make in RUNS.items():
            run = make(accelerator, folder)
            run.result()
            assert run.model is run.student
            said = {"steps": run.history, "student": bits(run.student), "processes": accelerator.num_processes}
            Path(folder, f"{name} {parts} {accelerator.process_index}.json").write_text(json.dumps(said))
    accelerator = Accelerator(cpu=True)
    others = [lambda step: 4.0 if accelerator.is_main_process else 2.0, 0.7]  # the first process's knobs hold
    run = digits(accelerator, folder, steps=3, knobs=Knobs(*others))
    run.result()
    Path(folder, f"knobs {accelerator.process_index}.json").write_text(json.dumps(run.history))
    run = digits(accelerator, folder, steps=200, knobs=Knobs(lr=1e4))
    try:
        run.result()
    except dk.DistilkitError as error:
        Path(folder, f"diverged {accelerator.process_index}").write_text(str(error))
    in_pieces(Accelerator(cpu=True, gradient_accumulation_steps=2), folder)
    accelerator.end_training()


def in_pieces(accelerator, folder):
    """FSDP 2: each process holds half of every tensor. Accelerate leaves it to GPUs; it is told that this is one."""
    AcceleratorState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin(fsdp_version=2)
    with pytest.raises(dk.DistilkitError, match="lies in pieces"):
        digits(accelerator, folder, checkpoint="run.safetensors")
    run = digits(accelerator, folder)
    run.result()
    assert isinstance(next(run.model.parameters()), DTensor)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    whole = get_model_state_dict(run.model, options=options)  # by all processes, for the first
    if accelerator.is_main_process:
        said = {"steps": run.history, "student": {name: value.tolist() for name, value in whole.items()}}
        Path(folder, "in pieces.json").write_text(json.dumps(said))


def killed(folder):
    """A run in which one process after the other is killed, each once, somewhere in a step or while it saves."""
    torch.set_num_threads(1)
    accelerator, folder = Accelerator(cpu=True), Path(folder)
    run = language(accelerator, folder, steps=30, checkpoint=folder / "run.safetensors", save_every=4)
    Path(folder, f"began {len(list(folder.glob('began*')))}").write_text(str(len(run.history)))

    def die(number, rank, step):
        if (
            accelerator.process_index == rank
            and len(run.history) >= step
            and not (folder / f"killed {number}").exists()
        ):
            (folder / f"killed {number}").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    draw = torch.Generator().manual_seed(3)
    first, second = torch.randint(5, 28, (2,), generator=draw).sort().values.tolist()
    run.student.table.register_forward_hook(lambda *_: die(1, 1, first))
    run.student.head.weight.register_hook(lambda *_: die(2, 0, second))
    replace = os.replace
    os.replace = lambda *paths: (die(3, 0, 30), replace(*paths))  # the last checkpoint is written, and not yet there
    run.result()
    said = {"steps": run.history, "student": bits(run.student)}
    Path(folder, f"killed {accelerator.process_index}.json").write_text(json.dumps(said))
    accelerator.end_training()


if __name__ == "__main__":
    {"in_processes": in_processes, "killed": killed}[sys.argv[1]](sys.argv[2])


def launch(command, folder, *, within=300):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, "-m", *command, str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=within, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return str(some.getsockname()[1])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes made of all runs."""
    folder = tmp_path_factory.mktemp("two")
    ways = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    script = ["--main_process_port", free_port(), "-m", "tests.test_past_one_machine", "in_processes"]
    launch(["accelerate.commands.launch", *ways, *script], folder)
    return folder


@pytest.fixture
def fresh():
    """Accelerate keeps its state for the whole process: a new one, and none left."""

    def forget():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    forget()
    yield
    forget()


@functools.cache
def alone(name):
    run = RUNS[name](None, alone.folder)
    run.result()
    return [list(step) for step in run.history], bits(run.student)


def near(found, expected, name=""):
    """The same history, number by number; but a temperature that learns goes by the difference of two like losses."""
    rounding = 1e-3 if name == "learned" else 1e-5
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == pytest.approx(list(other), rel=rounding, abs=rounding)


def near_weights(found, expected):
    for name, values in expected.items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(values), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_are_one(two, tmp_path, name, parts):
    """At every step the loss of one process with the whole batch, on both alike; and so is the student."""
    alone.folder = tmp_path
    first, second = (json.loads((two / f"{name} {parts} {rank}.json").read_text()) for rank in range(2))
    assert first["processes"] == 2
    assert first == second
    near(first["steps"], alone(name)[0], name)
    near_weights(first["student"], alone(name)[1])


def test_the_first_process_s_knobs_hold(two):
    first, second = (json.loads((two / f"knobs {rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert {step[4] for step in first} == {4.0}


def test_all_processes_diverge_alike(two):
    first, second = ((two / f"diverged {rank}").read_text() for rank in range(2))
    assert first == second
    assert "learning rate 10000" in first


def test_a_student_in_pieces_learns_the_same(two, tmp_path):
    alone.folder = tmp_path
    found = json.loads((two / "in pieces.json").read_text())
    near(found["steps"], alone("digits")[0])
    near_weights(found["student"], alone("digits")[1])


@pytest.mark.slow
def test_whoever_is_killed_the_run_is_the_same(two, tmp_path):
    """SIGKILL in two steps and while the last checkpoint is written; each time all is started again."""
    ways = ["--standalone", "--nproc-per-node=2", "--max-restarts=0", "--monitor-interval=0.1"]
    for deaths in range(1, 4):
        with pytest.raises(AssertionError, match=r"SIGKILL|exitcode"):
            launch(["torch.distributed.run", *ways, "-m", "tests.test_past_one_machine", "killed"], tmp_path)
        assert len([*tmp_path.glob("killed ?")]) == deaths
    launch(["torch.distributed.run", *ways, "-m", "tests.test_past_one_machine", "killed"], tmp_path)
    began = {int(path.read_text()) for path in tmp_path.glob("began *")}
    assert len(began) > 2
    assert all(steps % 4 == 0 for steps in began)
    first, second = (json.loads((tmp_path / f"killed {rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["steps"] == json.loads((two / "language 1 0.json").read_text())["steps"][:30]  # bit for bit
    run = language(None, tmp_path, steps=30)
    run.result()
    near_weights(first["student"], bits(run.student))


# --- one process


@pytest.mark.parametrize("name", RUNS)
def test_one_process_is_as_without_an_accelerator(fresh, tmp_path, name):
    """Bit for bit."""
    alone.folder = tmp_path
    run = RUNS[name](Accelerator(cpu=True), tmp_path)
    run.result()
    assert [list(step) for step in run.history] == alone(name)[0]
    assert bits(run.student) == alone(name)[1]


@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.parametrize("name", RUNS)
def test_parts_are_the_whole(fresh, tmp_path, name, parts):
    alone.folder = tmp_path
    run = RUNS[name](Accelerator(cpu=True, gradient_accumulation_steps=parts), tmp_path)
    run.result()
    near(run.history, alone(name)[0], name)
    near_weights(bits(run.student), alone(name)[1])


def test_bf16_is_near_and_leaves_the_student_its_own(fresh, tmp_path):
    alone.folder = tmp_path
    seen, task = set(), dk.tasks.digits(labelled=100)
    run = digits(Accelerator(cpu=True, mixed_precision="bf16"), tmp_path)
    hook = run.student[0].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    student = run.result()
    hook.remove()
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in student.state_dict().values()} == {torch.float32}
    for step, other in zip(run.history, alone("digits")[0], strict=True):
        assert step.loss == pytest.approx(other[1], rel=0.05)
    assert [step.loss for step in run.history] != [other[1] for other in alone("digits")[0]]
    logits = dk.predict(student, task.test.inputs)
    again = task.student()
    again.load_state_dict(student.state_dict())
    assert torch.equal(logits, dk.predict(again, task.test.inputs))  # in float32, as if it had never been elsewhere


def test_a_run_that_is_reset_or_goes_on_with_another_is_accelerated_again(fresh, tmp_path):
    accelerator = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=2)
    run = digits(accelerator, tmp_path, steps=6)
    run.result()
    history = [*run.history]
    run.reset()
    run.result()
    assert run.history == history
    for _ in range(3):
        run.reset()
        next(run), next(run)
    seen = set()
    run.student[0].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    more = distill(run.student, run.teacher, run.transfer, steps=2, accelerator=accelerator)
    more.result()
    assert seen == {torch.bfloat16}


def test_a_step_that_fails_in_a_part_leaves_nothing_behind(fresh, tmp_path):
    alone.folder = tmp_path
    run = digits(Accelerator(cpu=True, gradient_accumulation_steps=3), tmp_path)
    next(run)
    times = iter([False, True])

    def fail(*_):
        if next(times, False):
            raise RuntimeError("out of memory")

    hook = run.student.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        next(run)
    hook.remove()
    run.result()
    near(run.history, alone("digits")[0])


def test_a_checkpoint_every_so_many_steps(fresh, tmp_path):
    path = tmp_path / "run.safetensors"
    accelerator = Accelerator(cpu=True)
    run = digits(accelerator, tmp_path, steps=10, checkpoint=path, save_every=4)
    made = []
    run.listeners.append(lambda step: made.append(len(digits(None, tmp_path, steps=10, checkpoint=path).history)))
    run.result()
    assert made == [0, 0, 0, 4, 4, 4, 4, 8, 8, 10]


def test_a_run_goes_on_with_other_processes_or_parts(fresh, tmp_path):
    alone.folder = tmp_path
    path = tmp_path / "run.safetensors"
    for parts, until in ((1, 20), (3, 40), (2, 60)):
        GradientState._reset_state()
        run = digits(Accelerator(cpu=True, gradient_accumulation_steps=parts), tmp_path, checkpoint=path)
        while len(run.history) < until:
            next(run)
        run.save()
    near(run.history, alone("digits")[0])


def notebook(folder):
    run = digits(Accelerator(cpu=True), folder, steps=10)
    run.result()
    Path(folder, "notebook.json").write_text(json.dumps(run.history))


def test_notebook_launcher(fresh, tmp_path, capsys):
    notebook_launcher(notebook, (str(tmp_path),), num_processes=1)
    assert json.loads((tmp_path / "notebook.json").read_text()) == [
        list(step) for step in digits(None, tmp_path, steps=10)
    ]


@pytest.mark.slow
def test_notebook_launcher_with_two_processes(tmp_path):
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from tests.test_past_one_machine import notebook, notebook_launcher\n"
        f"notebook_launcher(notebook, (sys.argv[1],), num_processes=2, use_port='{free_port()}')\n"
    )
    (tmp_path / "in_a_notebook.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, tmp_path / "in_a_notebook.py", tmp_path],
        env=environment,
        check=True,
        capture_output=True,
        timeout=200,
    )
    near(
        json.loads((tmp_path / "notebook.json").read_text()), [list(step) for step in digits(None, tmp_path, steps=10)]
    )


# --- faults


def test_what_does_not_go_with_an_accelerator_is_refused(fresh, tmp_path):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=8)
    refused(lambda: digits("cuda", tmp_path), TypeError, "accelerate.Accelerator()", "'cuda'")
    refused(lambda: digits(accelerator, tmp_path, device="cpu"), ValueError, "device and accelerator")
    refused(
        lambda: digits(accelerator, tmp_path, hints=dk.Hints(states={"1": "9"})), ValueError, "hints", "one process"
    )
    refused(
        lambda: digits(accelerator, tmp_path, batch_size=7), ValueError, "batch_size is 7", "8 parts", "batch_size=8"
    )


def test_save_every(tmp_path):
    refused(lambda: digits(None, tmp_path, save_every=0, checkpoint="x"), ValueError, "save_every", "got 0")
    refused(lambda: digits(None, tmp_path, save_every=3), ValueError, "save_every is 3", "checkpoint=")


# --- the arithmetic


def test_operations_are_pytorchs_count():
    """Of the shipped language model, at a context so long that attention is half of them."""
    teacher = dk.tasks.docs(tokens=20_000).teacher()
    inputs = torch.randint(1280, (1, 1024), generator=torch.Generator().manual_seed(0))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        counted = dk.cost.flops(teacher, inputs) / inputs.numel()
    said = dk.scale.forward_flops(dk.cost.parameters(teacher), layers=4, width=192, context=1024)
    assert said == pytest.approx(counted, rel=0.1)
    assert 2 * dk.cost.parameters(teacher) < 0.6 * counted


def test_a_plan_shows_every_assumption_and_follows_from_it():
    table = dk.scale.plan()
    given = dict(inspect.signature(dk.scale.plan).parameters)
    assert [*table.index[: len(given)]] == [*given]
    assert all(table.value[name] == given[name].default for name in given)
    assert table.how.map(bool).all()
    half = dk.scale.plan(devices=4)
    assert half.value["scoring_hours"] == pytest.approx(2 * table.value["scoring_hours"])
    assert half.value["training_state"] == 2 * table.value["training_state"] == 32
    assert half.value["energy"] == pytest.approx(table.value["energy"])
    assert dk.scale.plan(top=10, classes=1000, tokens=1e9).value["cache"] == 64  # 2·10 + 4·11 bytes
    assert not dk.scale.plan(device="L4", devices=1).value["scoring_fits"]
    assert dk.scale.plan(teacher_bytes=1).value["scoring_alone_fits"]
    plain, again = (dk.scale.plan(recompute=way) for way in (False, True))
    assert again.value["training_activations"] < plain.value["training_activations"] / 10
    assert again.value["training_flops"] == pytest.approx(plain.value["training_flops"] * 4 / 3)


def test_the_bytes_of_a_plan_are_those_of_a_cache(tmp_path):
    examples = corpus()
    said = dk.cache_teacher(Writer(1), examples, tmp_path, top=5)
    plan = dk.scale.plan(tokens=examples.inputs.numel(), top=5, classes=WORDS)
    assert plan.value["cache"] * 1e9 == pytest.approx(said.bytes)


def test_this_machine_is_a_device_and_near_the_arithmetic():
    here = dk.scale.measured()
    assert here.flops > 1e8
    assert here.bandwidth > 1e8
    assert here.memory > 1e8
    assert dk.scale.plan(device=here, devices=1, teacher=2e6, tokens=1e4).how["device_flops"] == "given"
    table = dk.scale.check(rows=4)
    assert [*table.index] == ["operations", "seconds"]
    assert table.ratio["operations"] == pytest.approx(1, rel=0.1)
    assert table.ratio["seconds"] > 0


def test_impossible_plans_are_refused():
    refused(lambda: dk.scale.plan(device="H20O"), ValueError, "H200", "Did you mean 'H200'?")
    refused(lambda: dk.scale.plan(device=3), TypeError, "dk.scale.Device")
    refused(lambda: dk.scale.plan(devices=0), ValueError, "devices", "got 0")
    refused(lambda: dk.scale.plan(tokens=-1), ValueError, "tokens", "got -1")
    refused(lambda: dk.scale.plan(scoring_mfu=1.5), ValueError, "scoring_mfu", "(0, 1]", "1.5")
