"""Hypothesis profiles (`pytest --hypothesis-profile nightly` digs deeper) and one torch thread, as in the notebooks."""

import os

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("default", max_examples=200, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("nightly", max_examples=20_000, deadline=None)
hypothesis.settings.load_profile("default")
torch.set_num_threads(1)
os.environ["DISTILKIT_PROGRESS"] = ""  # no test leaves a trace in the record of who runs it


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests recorded as their cost, a line each, also from the workers of xdist."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    costs = [value for report in reports for name, value in getattr(report, "user_properties", []) if name == "cost"]
    if costs:
        terminalreporter.section("costs")
        for line in sorted(set(costs)):
            terminalreporter.write_line(line)
