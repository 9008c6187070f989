"""Text that would act, through every place of every widget, in Chromium: nothing runs, nothing loads, all is shown.

A place is a text in what a widget sends to its page. Each is found by trying: the text is exchanged, and it is a place
where the widget still draws itself and the new text is on the page. Then every payload of tests/hostile.py goes through
every place: the widget is drawn, its controls are used, what is typed and what an error says are payloads, too.
`notebook` takes the same to a real JupyterLab, with tables, pictures, tracebacks and a notebook that is opened again.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.bare import BLANK, BYTES, SHARED, sent
from tests.hostile import HOSTILE
from tests.trust import Checked

ROOT = Path(__file__).parents[2]


def _digits() -> Any:
    import distilkit as dk

    return dk.tasks.digits(labelled=100)


def _explorer(name: str) -> Callable[[], Any]:
    def view() -> Any:
        import torch

        import distilkit as dk
        from distilkit import plots

        classes = [f"class {letter}" for letter in "abcdefgh"]
        draw = torch.Generator().manual_seed(0)
        student, teacher = (3 * torch.randn(2, 8, generator=draw)).unbind()
        soft = {"teacher": teacher.expand(3, -1), "student": student.expand(3, -1)}
        return {
            "soft_labels": lambda: dk.explore(plots.soft_labels, soft, images=torch.rand(3, 64), classes=classes),
            "loss_terms": lambda: dk.explore(plots.loss_terms, student, teacher, 1, classes=classes),
            "divergences": lambda: dk.explore(plots.divergences, student, teacher, classes=classes),
        }[name]()

    return view


def _made(module: str, name: str, *arguments: Any, **options: Any) -> Callable[[], Any]:
    def view() -> Any:
        import importlib

        return getattr(importlib.import_module(f"tests.{module}"), name)(*arguments, **options)

    return view


def _ask() -> Any:
    import distilkit as dk

    return dk.ask("Warmer or colder?", {"warmer": "It softens.", "colder": "It sharpens."}, answer="warmer")


def _board() -> Any:
    import distilkit as dk
    from tests.test_board import stored, tiny

    return dk.board(stored(tokens=1280, steps=4, warm_up=3), tiny(Path(tempfile.mkdtemp())))


def _browser() -> Any:
    import distilkit as dk

    task = _digits()
    return dk.browse(dk.disagreements(task, task.teacher(), task.student(), places=20, clusters=2))


def _budget() -> Any:
    import distilkit as dk

    return dk.budget({"teacher, served": 0.4, "student, small": 0.1})


def _ladder() -> Any:
    import distilkit as dk
    from tests.test_ladder import stored

    return dk.ladder(stored(steps=40), dk.tasks.digits())


def _layers() -> Any:
    import distilkit as dk

    task = dk.tasks.docs()
    return dk.layers(task, task.test.inputs[100][:12], teacher=task.student(seed=1), student=task.student())


def _lens() -> Any:
    import distilkit as dk

    task = dk.tasks.docs()
    return dk.lens(task, task.test.inputs[100][:12], teacher=task.student(seed=1), student=task.student())


def _matrix() -> Any:
    import distilkit as dk
    from tests.test_domains import stored

    frame = stored()
    frame.attrs.update(tokens=1280, steps=3)
    return dk.matrix(frame, dk.tasks.domains(tokens=1280))


def _race() -> Any:
    import distilkit as dk
    from tests.test_adaptive import race

    return dk.race(race(), dk.tasks.digits(), steps=96)


def _surface() -> Any:
    import distilkit as dk

    return dk.surface(dk.load_sweep("digits"), dk.tasks.digits())


def _watch() -> Any:
    import distilkit as dk

    task = _digits()
    run = dk.distill(task.student(), task.teacher(), task.transfer, steps=20)
    run.result()
    return dk.watch(run, task=task)


def _playground() -> Any:
    import distilkit as dk

    view = dk.playground("n=50&steps=4", pace=0)
    view.result()
    return view


def _progress() -> Any:
    from distilkit.widgets.progress import progress

    return progress()


def _tour() -> Any:
    from distilkit.widgets.tour import Tour

    return Tour([("Look here first.", "body"), ("Then choose one.", "button")], "a tour")


# Every widget of the kit, small.
VIEWS: dict[str, Callable[[], Any]] = {
    "ask": _ask,
    "board": _board,
    "browse": _browser,
    "budget": _budget,
    "chat": _made("test_chat", "chat"),
    "divergences": _explorer("divergences"),
    "ladder": _ladder,
    "layers": _layers,
    "lens": _lens,
    "listen": _made("test_listen", "listening"),
    "loss_terms": _explorer("loss_terms"),
    "matrix": _matrix,
    "playground": _playground,
    "progress": _progress,
    "race": _race,
    "scene": _made("test_scene_widget", "shown"),
    "soft_labels": _explorer("soft_labels"),
    "stepper": _made("test_stepper", "stepped"),
    "surface": _surface,
    "tour": _tour,
    "translate": _made("test_translate", "translator"),
    "watch": _watch,
    "workbench": _made("test_workbench", "bench"),
}

WATCHED = """
window.ran = [];
for (const name of ["alert", "confirm", "prompt", "open", "print"]) window[name] = () => ran.push(name);
window.shown = (element) => {  // all that is on the page: texts, what fields hold, what screen readers hear
  const own = [...element.querySelectorAll("*")].flatMap((each) => [...each.attributes].map((one) => one.value)
    .concat(each.value ?? []));
  return [element.textContent, ...own].join("\\n");
};
window.made = (element) => {  // the kinds of elements and of attributes
  const all = [...element.querySelectorAll("*")];
  const kinds = (each) => [each.tagName.toLowerCase(), ...[...each.attributes].map((one) => "@" + one.name)];
  return [...new Set(all.flatMap(kinds))];
};
// What would act: addresses that run, listeners in attributes, names that clobber. Of what is `left`, nothing.
window.acting = (element, left = () => false) => {
  const found = [];
  const goes = /^\\s*(j\\s*a\\s*v\\s*a\\s*s\\s*c\\s*r\\s*i\\s*p\\s*t|data:text|\\/\\/)/i;
  for (const each of element.querySelectorAll("*")) for (const { name, value } of left(each) ? [] : each.attributes) {
    if (/^on/.test(name) || (/href|src|action|data$/.test(name) && goes.test(value))) found.push(`${name}=${value}`);
    if (name === "src" && !/^(blob:|data:image\\/png;)/.test(value)) found.push(`src=${value}`);
    if (/^(id|name)$/.test(name) && /jupyterapp|document|getElementById/.test(value)) found.push(`${name}=${value}`);
    if (/^data-commandlinker/.test(name) && /run-all/.test(value)) found.push(`${name}=${value}`);
  }
  return found;
};
"""

DRAW = r"""async ({ state, words, passes, payloads }) => {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const url = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const style = document.head.appendChild(document.createElement("style"));
  style.textContent = state._css;
  const errors = [];
  addEventListener("error", (event) => /^ResizeObserver/.test(event.message) || errors.push(event.message));
  addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
  const exchanged = (value, by) =>
    typeof value === "string" ? by.get(value) ?? value
    : Array.isArray(value) ? value.map((each) => exchanged(each, by))
    : value?.base64 !== undefined ? bytes(value.base64)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).map(([key, each]) => [by.get(key) ?? key, exchanged(each, by)]))
      : value;
  const turn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));

  async function draw(by, typed) {
    const now = Object.fromEntries(Object.entries(state).map(([key, value]) => [key, exchanged(value, by)]));
    const hear = {};
    const model = {
      get: (key) => now[key],
      set: (key, value) => { now[key] = value; (hear["change:" + key] ?? []).forEach((f) => f()); },
      on: (event, f) => (hear[event] ??= []).push(f),
      off: (event, f) => (hear[event] = (hear[event] ?? []).filter((each) => each !== f)),
      send() {}, save_changes() {},
    };
    const el = document.body.appendChild(document.createElement("div"));
    errors.length = 0;
    let text = "";
    let end;
    try {
      end = await widget.render({ model, el });
      text = shown(el);
      (hear["msg:custom"] ?? []).forEach((f) => f({ kind: "error", text: typed }, []));
      const controls = "button, input, select, summary, [role=gridcell], [role=option], [role=radio], [tabindex='0']";
      for (const each of [...el.querySelectorAll(controls)].slice(0, 60)) {
        if (!each.isConnected || each.type === "file" || /record|run|stop/i.test(each.textContent)) continue;
        for (const kind of ["pointerenter", "mouseover", "focus"]) {
          each.dispatchEvent(new Event(kind, { bubbles: true }));
        }
        if (each.tagName === "SELECT") each.dispatchEvent(new Event("change", { bubbles: true }));
        else if (["range", "text", "search"].includes(each.type)) {
          each.value = each.type === "range" ? each.max : typed;
          each.dispatchEvent(new Event("input", { bubbles: true }));
          each.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
        } else each.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
      }
      Object.keys(hear).filter((key) => key.startsWith("change:")).forEach((key) => hear[key].forEach((f) => f()));
      await turn();
      text += shown(el);
    } catch (error) {
      errors.push(String(error) + error.stack);
    }
    const found = { text, errors: [...errors], made: made(el), acting: acting(el), ran: [...ran] };
    await turn();
    try { typeof end === "function" && end(); } catch {}
    el.remove();
    ran.length = 0;
    return found;
  }

  const plain = new Map(words.map((word, i) => [word, `W${i}q`]));
  const usual = await draw(new Map(), "");
  // Which texts may be exchanged: halves of those where something breaks, down to the one that it is.
  async function free(some) {
    if (!some.length) return [];
    const { errors: broken } = await draw(new Map(some.map((word) => [word, plain.get(word)])), "");
    if (!broken.length) return some;
    if (some.length === 1) return [];
    const middle = some.length >> 1;
    return [...(await free(some.slice(0, middle))), ...(await free(some.slice(middle)))];
  }
  let exchangeable = await free(words);
  const marked = await draw(new Map(exchangeable.map((word) => [word, plain.get(word)])), "");
  const places = exchangeable.filter((word) => marked.text.includes(plain.get(word)));
  const allowed = new Set([...usual.made, ...marked.made]);

  const faults = usual.errors.map((each) => `as it is: ${each}`);
  for (const pass of passes) {
    const by = new Map(places.map((word, i) => [word, `${payloads[(i + pass) % payloads.length]} ${i}`]));
    const found = await draw(by, payloads[pass % payloads.length]);
    faults.push(...found.errors, ...found.acting, ...found.ran.map((each) => `it ran ${each}`));
    faults.push(...found.made.filter((each) => !allowed.has(each)).map((each) => `made ${each}`));
    for (const [word, payload] of by) {
      const bare = (text) => text.replace(/[\s·↵]/g, "");
      const start = bare(payload).slice(0, 10);
      if (bare(found.text).includes(start)) continue;
      const alone = await draw(new Map([[word, payload]]), ""); // the others may have chosen another row
      if (!bare(alone.text).includes(start)) faults.push(`in place of ${word}: not shown: ${payload.slice(0, 60)}`);
    }
  }
  return { places, faults: [...new Set(faults)] };
}"""


def main(count: int = len(HOSTILE)) -> Checked:
    """Take `count` payloads through every place of every widget, then through a notebook in JupyterLab."""
    from tests.browser.conftest import alone

    payloads = HOSTILE[:count]
    tried, faults = 0, []  # type: int, list[str]
    with alone() as lab:
        found = through_widgets(lab._context.browser, VIEWS, payloads, range(len(payloads)))
        for name, (places, wrong) in found.items():
            print(f"{name:12} {len(places):4} places × {len(payloads)} payloads: {'inert' if not wrong else wrong[:3]}")
            tried += len(places) * len(payloads)
            faults += [f"{name}: {each}" for each in wrong]
        with tempfile.TemporaryDirectory() as folder:
            places = {name: found for name, (found, _) in found.items()}
            wrong = in_jupyterlab(lab, Path(folder), places)
        print(f"JupyterLab: {len(places)} widgets, {len(CELLS)} cells, opened again twice: {wrong or 'inert'}")
        faults += [f"JupyterLab: {each}" for each in wrong]
    number = sum(len(places) for places, _ in found.values())
    return Checked(
        tried,
        f"{number} places of {len(found)} widgets × {len(payloads)} payloads, and a notebook of them in JupyterLab",
        faults,
    )


def texts(value: Any) -> list[str]:
    """Every text in a state, keys included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [] if BYTES in value else [text for pair in value.items() for each in pair for text in texts(each)]
    return [text for each in value for text in texts(each)] if isinstance(value, list) else []


def anybodys(state: dict[str, Any]) -> list[str]:
    """The texts that might be anybody's: not those that the widget's own program knows by name."""
    found = dict.fromkeys(text for key, value in state.items() if key[0] != "_" for text in texts(value))
    return [text for text in found if text.strip() and not (text.isidentifier() and text in state["_esm"])]


def through_widgets(
    browser: Browser, views: dict[str, Callable[[], Any]], payloads: list[str], passes: Iterable[int]
) -> dict[str, tuple[list[str], list[str]]]:
    """{widget: its places, what went wrong}; in pass k the i-th place gets the payload i + k."""
    found = {}
    for name, make in views.items():
        view = make()
        state = sent(view)
        view.close()
        page, asked = watched(browser)
        found[name] = page.evaluate(
            DRAW,
            {
                "state": state,
                "words": anybodys(state),
                "passes": list(passes),
                "payloads": [each.encode("utf-8", "replace").decode() for each in payloads],
            },
        )
        found[name]["faults"] += [f"asked for {url}" for url in asked]
        page.close()
    return {name: (each["places"], each["faults"]) for name, each in found.items()}


def watched(browser: Browser) -> tuple[Page, list[str]]:
    """A bare page that counts what runs and lists what it asks of the network."""
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda one: None if one.url.startswith(("blob:", "data:")) else asked.append(one.url))
    page.on("dialog", lambda dialog: (asked.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.add_init_script(WATCHED)
    page.goto("about:blank")
    page.set_content(BLANK)
    return page, asked


# ------------------------------------------------------------------------------------------------- in a real JupyterLab

SETUP = f"""
import sys, warnings
sys.path.insert(0, {str(ROOT)!r})
import pandas as pd, torch, transformers
transformers.utils.logging.disable_progress_bar()
import distilkit as dk
from tests.hostile import HOSTILE
from tests.trust.xss import VIEWS, keep, poisoned
whole = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
shown = {{}}
"""
# Where text goes that is no widget's. {name: the cell}; those that raise are meant to.
CELLS = {
    "public verbs": """
from distilkit import plots
logits = torch.randn(1, len(HOSTILE), generator=torch.Generator().manual_seed(0))
views = [dk.ask(HOSTILE[0], {text: text for text in HOSTILE}, answer=HOSTILE[0]),
         dk.budget(dict.fromkeys(HOSTILE[:6], 0.1)),
         dk.explore(plots.soft_labels, {"teacher": logits, "student": -logits}, classes=HOSTILE),
         dk.explore(plots.divergences, logits[0], -logits[0], classes=HOSTILE),
         dk.explore(plots.loss_terms, logits[0], -logits[0], 1, classes=HOSTILE)]
display(*views)
""",
    "typed and written": """
from tests.test_chat import Clerk, chat
from tests.test_stepper import stepped
from tests.test_translate import translator
talk, steps, words = chat(twin=Clerk(HOSTILE[0])), stepped(), translator()
for text in HOSTILE:
    talk.ask(text)
for text in HOSTILE[:5]:
    words.ask(text)
    steps.ask(text)
display(talk, words, steps)
""",
    "tables": """
frame = pd.DataFrame({text: [text] for text in whole[:30]}, index=pd.Index([whole[0]], name=whole[3]))
long = pd.DataFrame({"text": whole}, index=pd.Index(whole, name=whole[1]))
task = dk.tasks.digits()
judged = dk.compare(task, teacher=task.teacher(), **{whole[3]: task.student(), whole[4]: task.student()})
with pd.option_context("display.max_colwidth", None, "display.max_rows", None, "display.max_columns", None):
    display(frame, long, judged)
""",
    "printed": "print(*whole, sep='\\n'); whole",
    "pictures": """
display(plots.soft_labels({"teacher": logits[0, :12], "student": -logits[0, :12]}, classes=HOSTILE[51:63]))
display(plots.soft_labels({"teacher": logits[0, :8], "student": -logits[0, :8]}, classes=HOSTILE[-8:]))
""",
    "an answer": """
class Odd:
    def __repr__(self):
        return whole[3]
dk.check("soften", lambda *given, **more: Odd())
def soften(logits, temperature):
    raise ValueError("\\n".join(whole))
dk.check("soften", soften)
""",
    "refused": """
for act in (dk.playground, dk.read_data, dk.hint, lambda text: dk.tasks.digits(labelled=text),
            lambda text: dk.Knobs(temperature=text), dk.load_sweep):
    for text in HOSTILE:
        try:
            act(text)
        except (ValueError, TypeError, OSError) as error:
            print(error)
""",
    "a refusal raised": "dk.Knobs(temperature=whole[3])",
    "raised": "raise ValueError('\\n'.join(whole))",
    "raised in raised": """
try:
    {}[whole[3]]
except KeyError as error:
    error.add_note(whole[4])
    raise RuntimeError(whole[9]) from error
""",
}


STATE = "application/vnd.jupyter.widget-state+json"
# What each of them shows, whole or cut short.
EXPECTED = {
    "public verbs": HOSTILE,
    "typed and written": HOSTILE[-12:],  # a chat keeps so many turns on its page
    "tables": [text for text in HOSTILE if "$" not in text and text.isprintable()],  # pandas escapes the others
    "printed": HOSTILE,
    "an answer": HOSTILE[:1],
    "a refusal raised": HOSTILE[3:4],
    "raised": HOSTILE,
    "raised in raised": [HOSTILE[3], HOSTILE[4], HOSTILE[9]],
}


def poisoned(name: str, places: list[str], payloads: list[str], turn: int = 0) -> Any:
    """The widget with a payload in every place of what it tells its page."""
    view = VIEWS[name]()
    by = {place: f"{payloads[(i + turn) % len(payloads)]} {i}" for i, place in enumerate(places)}

    def exchanged(value: Any) -> Any:
        if isinstance(value, str):
            return by.get(value, value)
        if isinstance(value, dict):
            return {by.get(key, key) if isinstance(key, str) else key: exchanged(each) for key, each in value.items()}
        return [exchanged(each) for each in value] if isinstance(value, list | tuple) else value

    told = view.get_state  # of Python's own values, which stay as they are

    def state(*given: Any, **more: Any) -> dict[str, Any]:
        return {
            key: value if key[0] == "_" or key in SHARED else exchanged(value)
            for key, value in told(*given, **more).items()
        }

    view.get_state = state
    view.figure = lambda: None  # the picture is of Python's values, and costs more than all the rest
    view.send_state()
    return view


def notebook(places: dict[str, list[str]]) -> Any:
    """Every widget poisoned, then every cell of CELLS."""
    import nbformat

    cells = [SETUP]
    cells += [
        f"shown[{name!r}] = poisoned({name!r}, {found!r}, whole)\nshown[{name!r}]" for name, found in places.items()
    ]
    made = [nbformat.v4.new_code_cell(source.strip()) for source in (*cells, *CELLS.values())]
    for cell in made:
        cell.metadata["tags"] = ["raises-exception"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel})


def faults_of_page(page: Page, asked: list[str], server: str) -> list[str]:
    """What ran, was asked for, or stands in an output and would act."""
    found = page.evaluate("() => window.ran.map((each) => `it ran ${each}`)")
    found += page.evaluate(OUTPUTS)
    return [*found, *(f"asked for {url}" for url in asked if not url.startswith((server, "data:", "blob:", "ws")))]


# JupyterLab itself sets formulas in tables, and links addresses in text as they stand, data: too, which no browser
# follows from a page. Both are its own, and not looked at here.
OUTPUTS = """() => [...document.querySelectorAll(".jp-OutputArea-output")].flatMap((each) => [
  ...acting(each, (one) =>
    one.matches(".jp-RenderedText a[target=_blank]") && one.textContent === one.getAttribute("href")),
  ...[...each.querySelectorAll("script, iframe, object, embed, form, base, link, meta, video, math, template")]
    .filter((one) => !one.closest("mjx-container")).map((one) => one.outerHTML.slice(0, 99)),
  ...[...each.querySelectorAll("*")].filter((one) => getComputedStyle(one).position === "fixed")
    .map((one) => `fixed: ${one.outerHTML.slice(0, 99)}`),
])"""


def letters(text: str) -> str:
    """What is left of a text however it was escaped, coloured, or broken: its letters and digits."""
    return "".join(re.findall("[A-Za-z0-9]", re.sub(r"\x1b\[[0-9;]*m", "", text)))


def in_jupyterlab(lab: Any, folder: Path, places: dict[str, list[str]]) -> list[str]:
    """Run `notebook`, then open it again as it was saved, widgets and all: as anybody's, and as one that is trusted."""
    import nbformat
    from nbformat.sign import NotebookNotary

    asked: list[str] = []
    lab._context.add_init_script(WATCHED)
    lab.page.on("request", lambda one: asked.append(one.url))
    lab.page.on("dialog", lambda dialog: (asked.append(f"dialog {dialog.message}"), dialog.dismiss()))
    path = folder / "hostile.ipynb"
    nbformat.write(notebook(places), path)
    lab.open(path)
    lab.run(wait=False)
    lab.idle(400)
    faults = seen(lab, asked, "")
    lab.python(f"keep({str(folder / 'state.json')!r})")
    name = lab.page.evaluate(
        """async () => {
          await jupyterapp.commands.execute('docmanager:save')
          return jupyterapp.shell.currentWidget.context.path
        }"""
    )
    kept = nbformat.read(lab.server.root / name, as_version=4)
    kept.metadata["widgets"] = {STATE: json.loads((folder / "state.json").read_text("utf-8"))}
    notary = NotebookNotary(data_dir=str(lab.server.root.parent / "data"))
    for trust in (False, True):
        if trust:
            notary.sign(kept)
        nbformat.write(kept, path)
        lab.open(path)
        what = ".dk" if trust else ".jp-OutputArea-output"  # of an untrusted notebook JupyterLab shows the pictures
        lab.page.locator(f".jp-OutputArea {what}").nth(len(places) // 2).wait_for()
        faults += seen(lab, asked, "trusted, " if trust else "opened again, ")
    return faults


def seen(lab: Any, asked: list[str], when: str) -> list[str]:
    lab.page.wait_for_timeout(1500)  # what would run has had its time
    end = time.monotonic() + 30  # and what is to be seen gets more of it, on a busy machine
    while (missed := missing(lab, when)) and time.monotonic() < end:
        lab.page.wait_for_timeout(500)
    return [f"{when}{each}" for each in [*faults_of_page(lab.page, asked, lab.server.url), *missed]]


def missing(lab: Any, when: str) -> list[str]:
    outputs = lab.page.evaluate("() => [...document.querySelectorAll('.jp-Cell')].map((each) => shown(each))")
    found = []
    for name, output in zip(CELLS, outputs[-len(CELLS) :], strict=True):
        there = letters(output)
        if (name, when) == ("typed and written", "opened again, "):
            continue  # widgets, which JupyterLab does not show before a notebook is trusted
        missed = [text for text in EXPECTED.get(name, []) if letters(text)[:10] not in there]
        found += [f"{name}: not shown: {text[:60]!r}" for text in missed]
    return found


def keep(path: str) -> bool:
    """Write the state of all widgets to a file, as JupyterLab stores it in a notebook."""
    from ipywidgets import Widget

    Path(path).write_text(json.dumps(Widget.get_manager_state(), default=str), encoding="utf-8")
    return True
