"""Every widget of the kit, in three notebooks, for what must hold of all of them."""

from tests.browser.lab import Lab
from tests.browser.screenshots import DEEPER, EXPLORERS, QUESTION, READERS

# Run before the widgets are made: a language that marks each word the kit says, however it comes to the page. data():
# the other words that Python sends, which are names of classes and of models, and their texts.
MARKED = """import json, re, ipywidgets
from distilkit import words
from distilkit.widgets import base
marked = {english: f"⟦{english}⟧" for english in words.catalogue("fr")}
words.catalogue = base.catalogue = lambda language: marked
def data():
    widgets = [each for each in ipywidgets.widgets.widget._instances.values() if isinstance(each, base.Widget)]
    states = [{key: value for key, value in each.get_state().items() if key[0] != "_"} for each in widgets]
    sent = json.dumps(states, default=lambda value: "", ensure_ascii=False).replace(r"\\n", " ")
    return sorted(set(re.findall(r"[^\\W\\d_]{2,}", re.sub("⟦[^⟦⟧]*⟧", " ", sent))))
"""
DIGITS = """import distilkit as dk
task = dk.tasks.digits(labelled=100, seed=0)
teacher, student, twin = task.teacher(), task.student(seed=0), task.student(seed=0)
dk.distill(student, teacher, task.transfer, steps=40).result()
test = task.test[:20]
logits = {name: dk.predict(model, test.inputs) for name, model in
    {"teacher": teacher, "student": student, "twin": twin}.items()}
"""
TEXTS = """import distilkit as dk
task = dk.tasks.digits()
text = dk.tasks.docs()
guide, pupil, alone = text.teacher(), text.student(seed=0), text.student(seed=1)
run = dk.distill(pupil, guide, text.train, knobs=dk.Knobs(1.0, 1.0, 0.003), steps=6)
history = dk.snapshots(run, every=3)
run.result()
"""
DRAWN = """def view(*, power=2.0, points=9):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([x**power for x in range(points)])
    return figure
dk.explore(view, power=(0.5, 3.0), points=(2, 12))"""
NOTEBOOKS = {
    "digits": (
        DIGITS,
        {
            **EXPLORERS,
            "drawn": DRAWN,
            "ask": QUESTION,
            "surface": "dk.surface(dk.load_sweep('digits'), task)",
            "browse": "dk.browse(dk.disagreements(task, teacher, twin, places=40, clusters=3))",
            "watch": "dk.watch(dk.distill(task.student(seed=1), teacher, task.transfer, steps=40), "
            "twin=task.student(seed=1), task=task, pace=0)",
            **{name: DEEPER[name] for name in ("ladder", "budget", "race")},
            "playground": "dk.playground()",
            "map": "dk.progress()",
            "tour": "dk.tour(None)",
        },
    ),
    "texts": (TEXTS, READERS | {name: DEEPER[name] for name in ("layers", "matrix", "workbench", "stepper")}),
    "applications": (
        "import distilkit as dk",
        {name: DEEPER[name].replace(", beams=4", "") for name in ("chat", "scene", "listen", "translate")},
    ),
}


def every(lab: Lab, notebook: str, *names: str, before: str = "", width: int = 1180) -> dict[str, str]:
    """Open the widgets of a notebook in `lab`, or those named: a selector for each, by its name."""
    first, widgets = NOTEBOOKS[notebook]
    cells = {name: cell for name, cell in widgets.items() if name in names or not names}
    lab.open(before + first, *cells.values())
    lab.page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
    lab.page.set_viewport_size({"width": width, "height": 1400})
    lab.run(wait=False)  # on a busy machine all of them take longer than one test is given
    for cell, name in enumerate(cells, start=1):
        group = lab.output(cell).locator(".dk").first
        group.wait_for(timeout=200_000)
        group.evaluate("(group, name) => group.setAttribute('data-every', name)", name)
    lab.idle(200)
    lab.page.wait_for_timeout(1000)
    return {name: f"[data-every={name}]" for name in cells}
