"""python -m distilkit.tasks [digits] [docs]: train the shipped teachers again, into data/. Without a name, all.

digits takes half a minute, docs about 20 minutes on one core. A docs run that was stopped goes on where it was.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import torch

from distilkit.models import write
from distilkit.tasks.digits import TEACHER, train_teacher
from distilkit.tasks.docs import docs, read_documentation, train_tokenizer, write_tokens
from distilkit.tasks.text import blocks, llama
from distilkit.training import Knobs, distill

DATA = Path(__file__).parents[2] / "data"


def train_docs(folder: Path, *, layers: int = 4, width: int = 192, steps: int = 2400, seed: int = 0) -> None:
    """Python's documentation, its tokenizer, and a Llama trained on all that is not held out (see data/README.md).

    Seven times over the text, and a strong weight decay: from the tenth time on it learns the text by heart.
    """
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    texts = read_documentation()
    texts.to_parquet(folder / "corpus.parquet", compression="zstd", compression_level=19, index=False)
    train_tokenizer(texts["text"][~texts["held_out"]].tolist(), folder / "teacher")
    write_tokens(texts, folder)
    task = docs()
    teacher = llama(len(task.tokenizer), layers=layers, width=width, seed=seed)

    def lr(step: int) -> float:  # a short warm-up, then half a cosine
        return 2e-3 * min((step + 1) / 200, 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2)

    run = distill(
        teacher,
        None,
        blocks(task.pool, 128, every=64),
        knobs=Knobs(alpha=0, lr=lr),
        steps=steps,
        batch_size=16,
        weight_decay=0.5,
        seed=seed,
        checkpoint=DATA.parent / "build" / "docs-teacher.safetensors",
    )
    for step in run:
        if step.step % 500 == 0:
            run.save()
            print(step.step, f"{step.loss:.3f}", json.dumps(task.score(run.student)), flush=True)
    score = task.score(teacher)
    teacher.save_pretrained(folder / "teacher")
    weights = folder / "teacher" / "model.safetensors"
    write(f"{weights}.sha256", f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {weights.name}\n".encode())
    about = {"command": "python -m distilkit.tasks docs", "seed": seed, "steps": steps, "torch": torch.__version__}
    write(folder / "teacher" / "training.json", json.dumps(about | {"test": score}, indent=1).encode() + b"\n")


torch.set_num_threads(1)
names = sys.argv[1:] or ["digits", "docs"]
if "digits" in names:
    print("digits", train_teacher(DATA / TEACHER))
if "docs" in names:
    train_docs(DATA / "docs")
