"""Tasks: each one's data, splits, teacher, student and score. One file a task."""

from distilkit.tasks.digits import Digits, digits

__all__ = ["Digits", "digits"]
