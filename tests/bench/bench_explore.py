"""From a slider's event to the changed picture: the explorer, and the same explorer with `interact` and matplotlib.

Both in one JupyterLab, one after the other. Prints milliseconds and the bytes that opening sends.
Run: python -m tests.bench explore
"""

import json
import statistics
from typing import Any

from tests.browser.conftest import alone

WHAT, COMMAND = "slider of dk.explore → changed picture", "python -m tests.bench explore"

MODELS = """import torch, distilkit as dk
task = dk.tasks.digits()
test = task.test[:20]
teacher, student = (dk.predict(model, test.inputs) for model in (task.teacher(), task.student()))
models = {"teacher": teacher, "student": student, "twin": student / 2}
logits = teacher[0]"""
EXPLORE = "dk.explore(dk.plots.soft_labels, models, images=test.inputs, classes=task.classes)"
CELLS = (
    MODELS,
    EXPLORE,
    """from ipywidgets import FloatSlider, interact
from matplotlib import pyplot as plt
@interact(temperature=FloatSlider(value=4, min=0.5, max=20, step=0.1))
def show(temperature):
    plt.barh(range(10), torch.softmax(logits / temperature, -1))
    plt.show()""",
)
# The clock runs from the event to the first frame whose picture has changed; an <img> must have been decoded.
EXPLORER = """async ([root, moves]) => {
  const input = root.querySelector("input[type=range]");
  const times = [];
  for (let i = 0; i < moves; i++) {
    const start = performance.now();
    const changed = new Promise((done) => {
      const eye = new MutationObserver(() => (eye.disconnect(), requestAnimationFrame(() => done(performance.now()))));
      const all = { subtree: true, childList: true, characterData: true, attributes: true };
      eye.observe(root.querySelector(".dk-lines"), all);
    });
    input.value = (37 * i) % 200;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    times.push((await changed) - start);
    await new Promise((done) => setTimeout(done, 7 + (5 * i) % 11)); // the event falls anywhere in a frame
  }
  return times;
}"""
INTERACT = """async ([root, moves]) => {
  const handle = root.querySelector(".noUi-handle");
  const times = [];
  for (let i = 0; i < moves; i++) {
    const before = root.querySelector("img").src;
    const start = performance.now();
    handle.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    let image;
    do {
      await new Promise(requestAnimationFrame);
      image = root.querySelector("img");
    } while (!image || image.src === before || !image.complete);
    times.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 100));
  }
  return times;
}"""


def report(name: str, times: list[float]) -> str:
    middle, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    print(f"{name:<34} p50 {middle:7.1f} ms   p95 {p95:7.1f} ms   ({len(times)} moves)")
    return f"p50 {middle:.1f} ms, p95 {p95:.1f} ms"


def figures() -> list[tuple[str, str, str]]:
    made: dict[str, Any] = {}
    exec(f"{MODELS}\nwidget = {EXPLORE}", made)
    widget = made["widget"]
    sent = {
        key: len(json.dumps(value, default=lambda raw: "x" * len(raw))) for key, value in widget.get_state().items()
    }
    picture = len(json.dumps(widget._repr_mimebundle_()[0]))
    print(
        f"opening sends {(sum(sent.values()) + picture) / 1000:.1f} kB, {picture / 1000:.1f} kB of it picture and text"
    )
    opening = ("what opening dk.explore sends", f"{(sum(sent.values()) + picture) / 1000:.1f} kB", COMMAND)
    try:
        return [opening, *latencies()]
    except SystemExit:  # `alone` has said why
        return [
            opening,
            (WHAT, "needs Chromium or Chrome (apt-get install chromium), or DISTILKIT_BROWSER=/path/to/one", COMMAND),
        ]


def latencies() -> list[tuple[str, str, str]]:
    with alone() as lab:
        lab.open(*CELLS)
        lab.run()
        roots = [lab.output(cell).element_handle() for cell in (1, 2)]
        times, rival = lab.page.evaluate(EXPLORER, [roots[0], 200]), lab.page.evaluate(INTERACT, [roots[1], 30])
        told, theirs = report("explorer", times), report("interact + matplotlib", rival)
        faster = statistics.median(rival) / statistics.median(times)
        busy = "import time\nend = time.time() + 20\nwhile time.time() < end: logits.softmax(0)"
        lab.page.evaluate(
            "code => { jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code }) }", busy
        )
        while_busy = report("explorer, kernel busy", lab.page.evaluate(EXPLORER, [roots[0], 200]))
    return [
        (f"{WHAT}, beside interact + matplotlib", f"{told}; {faster:.0f} × as fast ({theirs})", COMMAND),
        (f"{WHAT}, kernel busy", while_busy, COMMAND),
    ]


def main() -> None:
    for what, value, _ in figures():
        print(f"{what}: {value}")


if __name__ == "__main__":
    main()
