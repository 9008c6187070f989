"""Your own teacher and data, with the same verbs: `own` makes the task, `trials` compares student and twin on it."""

from distilkit.your_own.task import Own, own
from distilkit.your_own.trials import Trials, trials

__all__ = ["Own", "Trials", "own", "trials"]
