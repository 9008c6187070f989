"""Hypothesis profiles (`pytest --hypothesis-profile nightly` digs deeper) and one torch thread, as in the notebooks."""

import hypothesis
import torch

hypothesis.settings.register_profile("default", max_examples=1000, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("nightly", max_examples=20_000, deadline=None)
hypothesis.settings.load_profile("default")
torch.set_num_threads(1)
