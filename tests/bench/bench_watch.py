"""From a slider's event in the page to the first training step made with the new value, in a real JupyterLab.

The loop trains at full speed meanwhile. Page and kernel read the same machine's clock. Run: make bench
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.browser.conftest import alone

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


def main(moves: int = 60) -> None:
    with alone() as lab:
        lab.open(*CELLS)
        lab.run()
        set_at = lab.page.evaluate(MOVES, [lab.output(1).element_handle(), moves])
        reached_at = lab.python("sorted(reached.values())")[1:]  # the first is the setting it began with
        if len(reached_at) != moves:
            raise SystemExit(f"{moves} moves, but {len(reached_at)} settings reached the loop")
        late = [1000 * (there - here) for here, there in zip(set_at, reached_at, strict=True)]
        print(
            f"slider → training step with the new value: p50 {statistics.median(late):.0f} ms, "
            f"p95 {statistics.quantiles(late, n=20)[-1]:.0f} ms, most {max(late):.0f} ms   ({moves} moves)"
        )


if __name__ == "__main__":
    main()
