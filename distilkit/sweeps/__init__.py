"""Sweeps: the same distillation over a grid of settings and seeds, one row a run, here or on a cluster."""

from distilkit.sweeps.grid import load_sweep, sweep
from distilkit.sweeps.tables import at_best_lr, cell_means, gains, tuned_twin

__all__ = ["at_best_lr", "cell_means", "gains", "load_sweep", "sweep", "tuned_twin"]
