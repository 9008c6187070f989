"""python -m distilkit.tasks: train the shipped teachers again, into data/."""

from pathlib import Path

import torch

from distilkit.tasks.digits import TEACHER, train_teacher

torch.set_num_threads(1)
print("digits", train_teacher(Path(__file__).parents[2] / "data" / TEACHER))
