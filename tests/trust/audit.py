"""Every pinned package looked up among the known vulnerabilities, by pip-audit; first one that is known to be bad.

Where the service that knows them is not reached, nothing was audited, and the check says so by failing.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.trust import Checked

ROOT = Path(__file__).parents[2]
BAD = "jinja2==2.4.1"  # CVE-2014-1402 and others; an auditor that is content with it is blind
PINS = [line.split(" ;")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line]


def main(count: int = len(PINS)) -> Checked:
    """Audit `count` pins."""
    bad, skipped = audited([BAD])
    if skipped or not bad:
        return Checked(
            0, "not audited", [f"the service does not know {BAD} to be bad: {' '.join(skipped) or 'silent'}"]
        )
    found, skipped = audited(PINS[:count])
    return Checked(
        len(PINS[:count]) - len(skipped),
        f"{len(PINS[:count])} pins, {len(found)} with a known vulnerability; of {BAD}, {len(bad)} are known",
        [*found, *(f"not audited: {each}" for each in skipped)],
    )


def audited(pins: list[str]) -> tuple[list[str], list[str]]:
    """The vulnerabilities that are known of these pins, and what could not be looked up."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "pins.txt")
        listed.write_text("\n".join(pins))
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format", "json"]
        command += ["--progress-spinner", "off", "--requirement", str(listed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    if not done.stdout:
        return [], [done.stderr.strip().splitlines()[-1]]
    packages = json.loads(done.stdout)["dependencies"]
    return (
        [f"{one['name']} {one['version']}: {each['id']}" for one in packages for each in one.get("vulns", [])],
        [f"{one['name']}: {one['skip_reason']}" for one in packages if "skip_reason" in one],
    )
