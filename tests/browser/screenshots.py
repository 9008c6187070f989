"""Pictures of widgets for docs/, light and dark, from JupyterLab: python -m tests.browser.screenshots [lens board …]"""

import io
import sys

from PIL import Image

from tests.browser.conftest import alone
from tests.browser.lab import ROOT

DOCS = ROOT / "docs"
MODELS = """import distilkit as dk
task = dk.tasks.digits(labelled=100, seed=0)
teacher, student, twin = task.teacher(), task.student(seed=0), task.student(seed=0)
dk.distill(student, teacher, task.transfer).result()
dk.distill(twin, None, task.train, knobs=dk.Knobs(alpha=0.0)).result()
test = task.test[:20]
logits = {name: dk.predict(model, test.inputs) for name, model in
    {"teacher": teacher, "student": student, "twin": twin}.items()}
"""
TEXT = """text = dk.tasks.docs()
guide, pupil, alone = text.teacher(), text.student(seed=0), text.student(seed=0)
run = dk.distill(pupil, guide, text.train, knobs=dk.Knobs(1.0, 1.0, 0.003), steps=300)
history = dk.snapshots(run)
run.result()
dk.distill(alone, None, text.train, knobs=dk.Knobs(alpha=0.0, lr=0.001), steps=300).result()
"""
READERS = {
    "lens": "dk.lens(text, text.test.inputs[100], teacher=guide, student=history, twin=alone)",
    "board": "dk.board(dk.load_sweep('board'), text)",
}
DEEPER = {
    "workbench": "dk.workbench(dk.imprinting.load()[:120], dk.tasks.arithmetic(100))",
    "stepper": "sums = dk.tasks.arithmetic(100)\ndk.stepper(sums, sums.teacher(), sums.longer[:10])",
    "ladder": "dk.ladder(dk.load_sweep('ladder'), task)",
    "matrix": "dk.matrix(dk.load_sweep('domains'), dk.tasks.domains())",
    "layers": "dk.layers(text, text.test.inputs[100], teacher=guide, student=pupil)",
    "chat": "shop = dk.tasks.shop()\n"
    "desk = dk.chat(shop, teacher=shop.teacher(), student=shop.distilled(), twin=shop.twin())\n"
    "desk.ask('And how much is it?')\ndesk",
    "budget": "dk.budget({'teacher': 0.092, 'student': 0.021, 'student, int8': 0.022}, requests=2e7)",
    "race": "dk.race(dk.load_sweep('adaptive'), task)",
    "playground": "play = dk.playground(['n=50&steps=300', 'n=50&steps=300&a=.2', 'n=50&steps=300&noise=.4'], pace=0)\n"
    "_ = play.result()\nplay",
    "scene": "seen = dk.tasks.scenes()\n"
    "drawn = dk.scene(seen, teacher=seen.teacher(), student=seen.distilled())\n"
    "drawn.ask('what colour is the circle ?')\ndrawn",
    "listen": "spoken = dk.tasks.speech()\n"
    "dk.listen(spoken, teacher=spoken.teacher(), student=spoken.distilled(), twin=spoken.twin())",
    "translate": "both = dk.tasks.translation()\n"
    "box = dk.translate(both, teacher=both.teacher(), student=both.distilled(), twin=both.twin())\n"
    "box.ask('She will not give the astronaut her beautiful apples.', beams=4)\nbox",
}
EXPLORERS = {
    "temperature": "dk.explore(dk.plots.soft_labels, logits, temperature=(0.5, 20.0), classes=task.classes, "
    "images=test.inputs, labels=test.labels, example=1)",
    "alpha": "dk.explore(dk.plots.loss_terms, logits['twin'][1], logits['teacher'][1], 3, alpha=(0.0, 1.0))",
    "divergence": "dk.explore(dk.plots.divergences, logits['twin'][1], logits['teacher'][1], "
    "temperature=(0.5, 20.0, 4.0))",
    "peaks": "dk.explore(dk.plots.two_peaks)",
}
QUESTION = """dk.ask("The twin learns from 100 labels. The student sees the teacher's answers too. What will happen?", {
    "the student gains several points": "Right. Now see by how much, and in the next chapters why.",
    "about the same": "It would be, if a teacher's answer said no more than a label. Look at one below.",
    "the twin wins": "It can: with plenty of labels a teacher has nothing to add. Not here, with 100.",
}, answer="the student gains several points")"""
PICTURES = {**{f"explore_{name}": cell for name, cell in EXPLORERS.items()}, **READERS, **DEEPER, "ask": QUESTION}


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    chosen = {name: cell for name, cell in PICTURES.items() if name in sys.argv[1:] or not sys.argv[1:]}
    with alone() as lab:
        read = TEXT if chosen.keys() & {*READERS, "layers"} else ""
        lab.open(MODELS + read, *chosen.values())
        lab.page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
        lab.page.set_viewport_size({"width": 1180, "height": 1800})
        lab.run()
        if "ask" in chosen:
            lab.output(len(chosen)).get_by_label("about the same").check()
        if "translate" in chosen:
            cell = 1 + list(chosen).index("translate")
            lab.output(cell).locator("[data-role=student] .dk-tr-word").nth(-2).click()
        for theme in ("light", "dark"):
            lab.theme(theme)
            lab.page.wait_for_timeout(1000)
            for cell, name in enumerate(chosen, start=1):
                widget = lab.output(cell).locator(".dk")
                widget.wait_for()
                path = DOCS / f"{name}_{theme}.png"
                Image.open(io.BytesIO(widget.screenshot())).convert("RGB").save(path, optimize=True)
                print(f"{path.relative_to(ROOT)} {path.stat().st_size:,} bytes")
        assert lab.errors == [], lab.errors


if __name__ == "__main__":
    main()
