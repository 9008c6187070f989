"""From a slider's event in the page to the first training step made with the new value, in a real JupyterLab.

The loop trains at full speed meanwhile. Page and kernel read the same machine's clock. Run: python -m tests.bench watch
"""

import statistics

from tests.browser.conftest import alone

MOVED = 60  # times
WHAT, COMMAND = "slider of dk.watch → training step with the new value", "python -m tests.bench watch"

CELLS = (
    """import time, distilkit as dk
task = dk.tasks.digits()
run = dk.distill(task.student(), task.teacher(), task.transfer, steps=1_000_000)
reached = {}
run.listeners.append(lambda step: reached.setdefault((step.temperature, step.alpha, step.lr), time.time()))
view = dk.watch(run, twin=task.student(), task=task, pace=0)""",
    "view",
)
# Every move sets a value not set before; when it was set comes back, in seconds since 1970.
MOVES = """async ([root, moves]) => {
  const inputs = ["temperature T", "alpha", "learning rate"].map((name) =>
    [...root.querySelectorAll("input[type=range]")].find((input) => input.getAttribute("aria-label")?.startsWith(name)
      || [...(input.labels ?? [])].some((label) => label.textContent.startsWith(name))));
  const times = [];
  for (let i = 0; i < moves; i++) {
    const input = inputs[i % 3], low = +input.min, high = +input.max, step = +input.step || (high - low) / 200;
    input.value = low + step * Math.round(((0.1 + 0.8 * (i / moves)) * (high - low)) / step);
    times.push((performance.timeOrigin + performance.now()) / 1000);
    input.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => setTimeout(done, 350 + (37 * i) % 100));
  }
  return times;
}"""


def figures() -> list[tuple[str, str, str]]:
    try:
        late = lateness(MOVED)
    except SystemExit:  # `alone` has said why
        return [
            (WHAT, "needs Chromium or Chrome (apt-get install chromium), or DISTILKIT_BROWSER=/path/to/one", COMMAND)
        ]
    p50, p95 = statistics.median(late), statistics.quantiles(late, n=20)[-1]
    print(f"{WHAT}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, most {max(late):.0f} ms   ({MOVED} moves)")
    return [(WHAT, f"p50 {p50:.0f} ms, p95 {p95:.0f} ms", COMMAND)]


def lateness(moves: int) -> list[float]:
    """Of each move, in milliseconds."""
    with alone() as lab:
        lab.open(*CELLS)
        lab.run()
        set_at = lab.page.evaluate(MOVES, [lab.output(1).element_handle(), moves])
        reached_at = lab.python("sorted(reached.values())")[1:]  # the first is the setting it began with
        if len(reached_at) != moves:
            raise AssertionError(f"{moves} moves, but {len(reached_at)} settings reached the loop")
        return [1000 * (there - here) for here, there in zip(set_at, reached_at, strict=True)]


def main() -> None:
    for what, value, _ in figures():
        print(f"{what}: {value}")


if __name__ == "__main__":
    main()
