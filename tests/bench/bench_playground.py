"""From the cell to the first picture and to the first trained student, in a real JupyterLab with a fresh kernel.

The cell imports distilkit and opens the playground: nothing was imported before. Run: python -m tests.bench playground
"""

import statistics
import time

from tests.browser.conftest import alone

TIMES = 5
CELL = "import distilkit as dk\nview = dk.playground()\nview"
COMMAND = "python -m tests.bench playground"
PICTURE, STUDENT = "playground: cell → first picture", "playground: cell → first trained student (600 steps)"


def figures() -> list[tuple[str, str, str]]:
    try:
        found = openings(TIMES)
    except SystemExit:  # `alone` has said why
        return [
            (PICTURE, "needs Chromium or Chrome (apt-get install chromium), or DISTILKIT_BROWSER=/path/to/one", COMMAND)
        ]
    rows = []
    for what, times in zip((PICTURE, STUDENT), zip(*found, strict=True), strict=True):
        rows.append(
            (what, f"median {statistics.median(times):.1f} s of {len(times)}, most {max(times):.1f} s", COMMAND)
        )
        print(f"{what}: {', '.join(f'{each:.2f}' for each in times)} s")
    return rows


def openings(times: int) -> list[tuple[float, float]]:
    """Seconds to the first picture and to the first trained student, each time in a new kernel."""
    found = []
    with alone() as lab:
        for _ in range(times):
            lab.open(CELL)
            began = time.perf_counter()
            lab.run(wait=False)
            view = lab.output(0).locator(".dk-pg")
            view.locator(".dk-pg-transport").wait_for()
            picture = time.perf_counter() - began
            view.locator(".dk-pg-line", has_text="Finished").wait_for(timeout=120_000)
            found.append((picture, time.perf_counter() - began))
            for session in lab.server.ask("api/sessions"):
                lab.server.ask(f"api/sessions/{session['id']}", "DELETE")
    return found


def main() -> None:
    for what, value, _ in figures():
        print(f"{what}: {value}")


if __name__ == "__main__":
    main()
