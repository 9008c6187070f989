"""requirements.lock: what constraints.txt pins, with hashes, for all that the extra `lab` names."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
ENTRIES = {
    canonicalize_name(name): (version, re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
    for name, version, rest in re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+)((?:.*\\\n)*.*)", LOCK)
}
PINS = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1].split()[0]
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if "==" in line
}


def test_every_release_has_its_hashes():
    assert len(ENTRIES) > 100
    assert all(hashes for _, hashes in ENTRIES.values())
    assert len(re.findall(r"(?m)^[A-Za-z0-9]", LOCK)) == len(ENTRIES)  # nothing without a version


def test_lock_and_constraints_agree():
    """Where they do not, `make lock` was forgotten. What the pins do not name is for systems that no release was on."""
    assert {name: version for name, (version, _) in ENTRIES.items() if PINS.get(name, version) != version} == {}
    unpinned = {name for name in ENTRIES if name not in PINS}
    assert all(re.search(rf"(?m)^{name}==\S+ ; ", LOCK) for name in unpinned), unpinned


def test_the_lock_has_all_that_the_laboratory_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras, needs, waiting = project["optional-dependencies"], set(), ["lab"]
    while waiting:
        for one in map(Requirement, extras[waiting.pop()]):
            if one.name == "distilkit":
                waiting += one.extras
            else:
                needs.add(canonicalize_name(one.name))
    needs |= {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}
    assert needs <= ENTRIES.keys()
    assert not any(name.startswith(("nvidia-", "cuda-", "triton")) for name in ENTRIES)
