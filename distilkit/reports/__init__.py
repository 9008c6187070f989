"""The report to hand on: what came out of a distillation, on one page without scripts, and the student beside it."""

from distilkit.reports.claims import what_came_out
from distilkit.reports.page import report

__all__ = ["report", "what_came_out"]
