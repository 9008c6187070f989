"""Hypothesis profiles (`pytest --hypothesis-profile nightly` digs deeper), one torch thread, as in the notebooks, and
the table of durations, build/durations.txt."""

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("default", max_examples=200, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("nightly", max_examples=20_000, deadline=None)
hypothesis.settings.load_profile("default")
torch.set_num_threads(1)
os.environ["DISTILKIT_PROGRESS"] = ""  # no test leaves a trace in the record of who runs it


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, of all its workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def executed(shared: Path) -> Callable[[Path], Any]:
    """executed(chapter) -> Executed: as its reader would run it, once in this run."""
    from tests.executed import once

    return partial(once, shared=shared)


@pytest.fixture(scope="session")
def site(executed: Callable[[Path], Any], shared: Path) -> Path:
    """The folder of the site, of every chapter as it ran."""
    from tests.executed import site as built

    return built(executed, shared)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker waits for the other at the end; last what is made of it."""

    def place(item: pytest.Item) -> int:
        needs = getattr(item, "fixturenames", ())
        if "site" in needs:
            return 3
        if "executed" in needs:
            return 0
        return 1 if item.get_closest_marker("notebook") or item.get_closest_marker("browser") else 2

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests recorded as their cost, a line each, and how long each took; also from the workers of xdist."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    costs = [value for report in reports for name, value in getattr(report, "user_properties", []) if name == "cost"]
    if costs:
        terminalreporter.section("costs")
        for line in sorted(set(costs)):
            terminalreporter.write_line(line)
    seconds = Counter[str]()
    for report in reports:
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid] += report.duration
            seconds[report.nodeid.split("::")[0]] += report.duration
    build = terminalreporter.config.rootpath / "build"
    build.mkdir(exist_ok=True)
    (build / "durations.txt").write_text(
        "".join(f"{took:8.1f} s  {name}\n" for name, took in seconds.most_common()), "utf-8"
    )
