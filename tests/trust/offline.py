"""No connection is tried in offline use: import, the verbs of every task, and notebook 00, in a network of nothing.

Each runs in a network namespace without interfaces but loopback, on which Jupyter speaks with its kernel, where this
system lets us have one. What Python tries is counted by an audit hook in every process that starts there, what native
code tries by strace, where it is installed. Counted is all that is not for this machine itself.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.trust import Checked

ROOT = Path(__file__).parents[2]

HOOK = """
import os, sys
if os.environ.get("OFFLINE_LOG"):
    import socket
    HERE = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname()}
    EVENTS = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
    def see(event, args):
        if event in EVENTS:
            to = args[1] if event in ("socket.connect", "socket.sendto") else args[0]
            host = to[0] if isinstance(to, tuple) else None if event in EVENTS[:2] else to  # a path: a Unix socket
            host = host.decode() if isinstance(host, bytes) else host
            if host is not None and host not in HERE and not str(host).startswith("127."):
                with open(os.environ["OFFLINE_LOG"], "a") as log:
                    log.write(f"{event} {host} by {sys.argv[:2]}\\n")
    sys.addaudithook(see)
"""

LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as some:
    fcntl.ioctl(some, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
os.execvp(sys.argv[1], sys.argv[1:])
"""

START = "import distilkit as dk, torch\ndk.setup(seed=0)\n"
STEP = (
    "dk.distill(task.student(seed=0), teacher, examples, knobs=dk.Knobs(1, 1, 0.001), steps=1, batch_size=2).result()\n"
)
TASK = "task = dk.tasks.{0}()\nteacher = task.teacher()\nexamples = task.{1}[:4]\n" + STEP
DIGITS = """
MODELS = ("teacher", "distilled", "twin")
task = dk.tasks.digits(labelled=100, seed=0)
teacher, student, twin = task.teacher(), task.student(seed=0), task.student(seed=0)
run = dk.distill(student, teacher, task.transfer, steps=3, checkpoint="run.safetensors", save_every=1)
live = dk.watch(run, twin=twin, task=task, pace=0)
live.result()
live.get_state()
dk.save(student, "student.safetensors")
dk.load(task.student(seed=1), "student.safetensors")
dk.compare(task, teacher=teacher, distilled=student, twin=twin)
dk.cache_teacher(teacher, task.transfer, "answers", top=3, temperature=4.0)
dk.sweep(task, seeds=1, steps=2, jobs=1, path="sweep.parquet")
import pandas as pd
rows = [{"model": model, "seed": seed, "accuracy": 0.9 + seed / 100} for seed in range(3) for model in MODELS]
dk.report("report", pd.DataFrame(rows), by="accuracy")
dk.explore(dk.plots.soft_labels, torch.randn(3, 10), temperature=(0.5, 20.0)).get_state()
"""
OWN = """
task = dk.own([{"text": f"row {n}", "label": "ab"[n % 2]} for n in range(40)], teacher_steps=2)
teacher, examples = task.teacher(), task.transfer[:4]
"""
HUB = """
import os
for name in ("org/name", "org/name@main"):
    try:
        dk.fetch(name)
    except dk.DistilkitError as error:
        print(error)
"""
CONTROL = """
import socket
try:
    socket.create_connection(("192.0.2.1", 9), 1)
except OSError:
    pass
"""
USES: dict[str, str] = {
    "import": "import distilkit as dk\n[getattr(dk, name) for name in dir(dk)]\n",
    "digits, every verb": START + DIGITS,
    "docs": START + TASK.format("docs", "train") + "task.prompts(2)\n",
    "domains": START + TASK.format("domains", "train"),
    "arithmetic": START + TASK.format("arithmetic", "train"),
    "shop": START + TASK.format("shop", "train"),
    "speech": START + TASK.format("speech", "train").replace("steps=1", "steps=1, hard=dk.ctc_loss"),
    "scenes": START + TASK.format("scenes", "train"),
    "translation": START + TASK.format("translation", "train"),
    "own data": START + OWN + STEP,
    "the hub, HF_HUB_OFFLINE": START + HUB,
    "notebook 00 by papermill": "",
}  # fmt: skip


def main(count: int = len(USES)) -> Checked:
    """`count` uses, of those above."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(HOOK)
        alone = namespace(Path(folder))
        traced = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg", "-o"]
        if not shutil.which("strace") or _run([*traced, "/dev/null", "true"], Path(folder)).returncode:
            traced = []
        attempts, failures = 0, []
        seen, _ = use("control", CONTROL, Path(folder), alone, traced)
        if len(seen) < 1 + bool(traced):
            failures.append(f"of an attempt on purpose {len(seen)} were seen: the check would see nothing")
        for name, code in list(USES.items())[:count]:
            tried, fault = use(name, code, Path(folder), alone, traced)
            attempts += len(tried)
            failures += [f"{name}: {each}" for each in tried] + ([f"{name}: {fault}"] if fault else [])
            print(f"{name}: {len(tried)} attempts{fault and ', and it failed'}", flush=True)
    where = "in a network namespace" if alone else "with no namespace, which this system does not allow"
    how = "the audit hook and strace" if traced else "the audit hook"
    tried = min(count, len(USES))
    return Checked(tried, f"{attempts} attempts in {tried} uses, {where}, counted by {how}", failures)


def namespace(folder: Path) -> list[str]:
    """The command that runs another in a network of nothing, or none where that is not allowed."""
    (folder / "loopback.py").write_text(LOOPBACK)
    command = ["unshare", "--map-root-user", "--net", sys.executable, str(folder / "loopback.py")]
    allowed = shutil.which("unshare") and not _run([*command, "true"], folder).returncode
    return command if allowed else []


def use(name: str, code: str, folder: Path, alone: list[str], traced: list[str]) -> tuple[list[str], str]:
    """What was tried in this use, and how it failed, if it did."""
    place = folder / re.sub(r"\W+", "-", name)
    place.mkdir()
    log, calls = place / "tried.log", place / "calls.log"
    command = [sys.executable, "-c", code]
    if not code:
        notebook = str(ROOT / "notebooks" / "00_start_here.ipynb")
        command = [sys.executable, "-m", "papermill", notebook, "out.ipynb", "--cwd", ".", "--no-progress-bar"]
    more = {"OFFLINE_LOG": str(log), "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    more |= {"DISTILKIT_PROGRESS": "", "HF_HUB_CACHE": str(place / "hub")}
    more |= {"HF_HUB_OFFLINE": "1"} if "HF_HUB_OFFLINE" in name else {}
    done = _run([*alone, *traced, *([str(calls)] if traced else []), *command], place, **more)
    tried = log.read_text().splitlines() if log.exists() else []
    tried += [line for line in calls.read_text().splitlines() if elsewhere(line)] if calls.exists() else []
    return tried, "" if done.returncode == 0 else f"it ended with {done.returncode}: {done.stderr[-400:]}"


def elsewhere(call: str) -> bool:
    """Whether a system call speaks to another machine."""
    address = re.search(r'inet_addr\("([\d.]+)"\)|inet_pton\(AF_INET6, "([\w:.]+)"', call)
    return bool(address) and not (address[1] or address[2]).startswith(("127.", "::1", "0.0.0.0", "::ffff:127."))


def _run(command: list[str], place: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=place, env=os.environ | more, capture_output=True, text=True, check=False, timeout=500
    )
