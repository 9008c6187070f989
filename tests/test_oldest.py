"""Colab's packages, of `constraints-colab.txt`: every floor of the package is met there, and none is replaced."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name):
    """The versions that a file of constraints names."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==([\w.+]+)", line) for line in lines if line and not line.startswith("#")]
    assert all(found), f"{name}: a line is no pin"
    return {canonicalize_name(pin[1]): pin[2] for pin in found}


COLAB, OURS = pins("constraints-colab.txt"), pins("constraints.txt")
NEEDS = [Requirement(need) for need in PROJECT["dependencies"]]
MORE = [Requirement(need) for need in sorted({need for extra in EXTRAS.values() for need in extra})]
MORE = [need for need in MORE if need.name != "distilkit"]


@pytest.mark.parametrize("need", [*NEEDS, *map(Requirement, EXTRAS["llm"])], ids=str)
def test_colab_has_all_that_the_package_needs(need):
    name = canonicalize_name(need.name)
    assert name in COLAB, f"constraints-colab.txt does not say which {need.name} Colab has"
    assert need.specifier.contains(COLAB[name]), f"Colab has {need.name} {COLAB[name]}: pip would replace it"


@pytest.mark.parametrize("name", sorted(COLAB))
def test_nothing_of_colabs_is_too_old_for_an_extra(name):
    for need in MORE:
        if canonicalize_name(need.name) == name:
            assert need.specifier.contains(COLAB[name]), f"{need} is more than Colab has, {COLAB[name]}"


@pytest.mark.parametrize("need", [*NEEDS, *MORE], ids=str)
def test_our_own_pins_meet_every_floor(need):
    pinned = OURS[canonicalize_name(need.name)]
    assert need.specifier.contains(pinned), f"constraints.txt pins {pinned}, pyproject.toml wants {need}"


def test_colab_is_tested_in_its_own_job():
    workflow = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    assert "CONSTRAINTS=constraints-colab.txt" in workflow
    assert "CONSTRAINTS" in (ROOT / "Makefile").read_text(encoding="utf-8")
