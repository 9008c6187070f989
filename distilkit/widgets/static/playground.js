// The whole kit in one view: a setting, up to four runs side by side with their twins, and a look inside.
import { answerOf, asNats, asPercent, button, choice, frame, h, newestOnly, onWidth, root, ROUND, say, set, slider, svg, thumbnail, widget } from "./base.js";
import { clamp, distribution, fixed, scale, share, short, ticks } from "./maths.js";

const DASHES = ["6 3", null, "8 3 2 3", "2 2"];
const SIDES = { teacher: () => say("teacher"), student: () => say("student"), twin: () => say("twin") };

// ■ ◆ ▼ ✚ of the four runs, ▲ of a twin, ● of a teacher: a colour never speaks alone.
function mark(kind, x, y, r = 4) {
  const paths = {
    0: `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    1: `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
    2: `M${x} ${y + r}l${r} ${-2 * r}h${-2 * r}z`,
    3: `M${x - r / 2.5} ${y - r}h${r / 1.25}v${0.6 * r}h${0.6 * r}v${r / 1.25}h${-0.6 * r}v${0.6 * r}h${-r / 1.25}v${-0.6 * r}h${-0.6 * r}v${-r / 1.25}h${0.6 * r}z`,
    twin: `M${x} ${y - r}l${r} ${2 * r}h${-2 * r}z`,
    teacher: `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  };
  return svg("path", { class: "dk-pg-mark", d: paths[kind] });
}
const sign = (kind) => svg("svg", { width: 12, height: 12, "aria-hidden": "true", class: look(kind) }, mark(kind, 6, 6));
const look = (kind) => (typeof kind === "number" ? `dk-pg-run${kind}` : `dk-${kind}`);

// One chart. lines(curves) -> [{ kind, name, at, values }]; `log` axes fit their values by 1-2-5 steps.
function chart({ title, unit, log, lines }, onpick) {
  const height = 150;
  const picture = svg("svg", { height, role: "img", "aria-label": title() });
  const readout = h("span", { class: "dk-pg-numbers" });
  const element = h("figure", { class: "dk-pg-chart" }, h("figcaption", {}, h("b", {}, title()), readout), picture);
  let width = 300;
  let inner = [0, 1];
  picture.addEventListener("click", (event) => {
    const at = event.clientX - picture.getBoundingClientRect().left;
    onpick(clamp((at - inner[0]) / (inner[1] - inner[0]), 0, 1));
  });

  function draw(curves, lanes, last, at) {
    const all = lines(curves).filter((line) => line.values.some((value) => value != null));
    set(element, { hidden: !all.length });
    if (!all.length) return;
    const values = all.flatMap((line) => line.values.filter((value) => value != null));
    const [low, high] = log
      ? [ROUND.findLast((v) => v <= Math.min(...values)) ?? ROUND[0], ROUND.find((v) => v >= Math.max(...values)) ?? 1e4]
      : [Math.min(...all.map((line) => line.values.findLast((value) => value != null))) > 0.6 ? 0.5 : 0, 1];
    const [left, right] = [40, width - 14];
    inner = [left, right];
    const x = scale(0, last, left, right);
    const line = log ? scale(Math.log(low), Math.log(high), height - 22, 16) : scale(low, high, height - 22, 16);
    const y = (value) => line(log ? Math.log(clamp(value, low, high)) : clamp(value, low, high));
    let grid = log ? ROUND.filter((v) => v >= low && v <= high) : ticks(low, high, 4);
    if (grid.length > 6) grid = grid.filter((v) => String(v).match(/^0?\.?0*1/));
    const turns = lanes.flatMap((lane) => lane.marks.map(([step, knob, value]) => ({ lane, step, name: `${knob} ${short(value)}` })));
    let free = -Infinity;
    picture.replaceChildren(
      ...grid.flatMap((value) => [
        svg("line", { class: "dk-pg-grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
        svg("text", { class: "dk-muted", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, log ? String(value) : `${Math.round(100 * value)}`),
      ]),
      svg("text", { class: "dk-muted", x: left, y: height - 5 }, "0"),
      svg("text", { class: "dk-muted", x: right, y: height - 5, "text-anchor": "end" }, say("step {step}", { step: last })),
      ...turns.flatMap(({ lane, step, name }) => {
        const room = x(step) > free;
        if (room) free = x(step) + 7 * name.length;
        return [
          svg("line", { class: `dk-pg-turn ${look(lane.colour)}`, x1: x(step), x2: x(step), y1: 14, y2: height - 22 }),
          room && svg("text", { class: look(lane.colour), x: x(step), y: 10, "text-anchor": x(step) > right - 40 ? "end" : "start" }, name),
        ].filter(Boolean);
      }),
      svg("line", { class: "dk-pg-cursor", x1: x(at), x2: x(at), y1: 14, y2: height - 22 }),
      ...all.flatMap(({ kind, at: steps, values }) => {
        const points = values.map((value, i) => (value == null ? null : [x(steps[i]), y(value)])).filter(Boolean);
        const run = typeof kind === "number";
        const every = Math.max(2, Math.ceil(points.length / 4));
        return [
          svg("polyline", { class: `dk-pg-curve ${look(kind)}`, points: points.join(" "), "stroke-width": run ? 2 : 1.3,
            "stroke-dasharray": run ? DASHES[kind] : kind === "twin" ? "1 3" : null }),
          ...points.filter((_, i) => i % every === every >> 1).map(([px, py]) => svg("g", { class: look(kind) }, mark(kind, px, py, 3.2))),
          svg("g", { class: look(kind) }, mark(kind, ...points.at(-1))),
        ];
      }),
    );
    const said = all.map((line) => [line, line.values[Math.max(0, line.at.findLastIndex((step) => step <= at))]]);
    readout.replaceChildren(
      ...said.map(([{ kind, name }, value]) => h("span", { class: look(kind) }, sign(kind), ` ${name} ${unit(value)}`)),
    );
    set(picture, { "aria-label": say("{title} at step {step}: {values}", { title: title(), step: at, values: said.map(([l, v]) => `${l.name} ${unit(v)}`).join(", ") }) });
  }
  return { element, draw, resize: (wide) => (width = wide) };
}

function render({ model, el, signal }) {
  const about = model.get("about");
  const shown = (name) => !about.hide.includes(name);
  const ask = (kind, rest = {}, buffers = undefined) => {
    try {
      model.send({ kind, ...rest }, undefined, buffers);
    } catch {} // no kernel: what the page has must do
  };
  const once = (click) => (event) => event.detail > 1 || click(); // the second click of a double click says nothing
  const now = () => model.get("frame");
  const lane = () => now().lanes[now().chosen];

  // ── transport ──
  const go = button(say("Run"), once(() => ask(now().running && !now().over ? "pause" : "run")));
  const step = button(say("Step"), () => ask("step"), { "aria-label": say("One step of each run") });
  const reset = button(say("Reset"), once(() => ask("reset")));
  const pace = choice(say("steps a second"), about.paces.map((each) => [each, each ? `${each}` : say("full")]), now().pace, (value) => ask("pace", { value }));
  const status = h("p", { class: "dk-pg-status" });
  const said = h("p", { class: "dk-pg-line", "aria-live": "polite" });
  const fault = h("p", { class: "dk-error", role: "alert", hidden: true });
  const presets = h("div", { class: "dk-row dk-pg-presets", role: "group", "aria-label": say("Settings to begin with") },
    h("span", { class: "dk-muted" }, say("First visit? Try")),
    about.presets.map((name) => button(presetName(name), once(() => ask("preset", { value: name })))));

  // ── runs ──
  const tabs = h("div", { class: "dk-pg-tabs", role: "group", "aria-label": say("Runs side by side") });
  const name = h("input", { type: "text", class: "dk-pg-text dk-pg-name", "aria-label": say("name of the run"), maxlength: 40, spellcheck: "false",
    onchange: () => ask("name", { value: name.value }) });
  const add = button(say("Add"), once(() => ask("add")), { "aria-label": say("Add a run") });
  const duplicate = button(say("Duplicate"), once(() => ask("duplicate")));
  const remove = button(say("Remove"), once(() => ask("remove")));
  const runs = h("div", { class: "dk-pg-runs" }, tabs, shown("runs") && h("div", { class: "dk-pg-buttons" }, add, duplicate, remove),
    shown("runs") && h("label", { class: "dk-pg-field" }, h("span", {}, say("name")), name));

  // ── the setting ──
  const locked = (key) => about.lock.includes(key);
  const titles = { task: say("task"), teacher: say("teacher"), size: say("student’s size"), text: say("whose text"), div: say("divergence"),
    n: say("labels"), noise: say("wrong labels"), steps: say("steps") };
  const selects = {};
  for (const [key, title] of Object.entries(titles))
    selects[key] = h("select", { class: "dk-pg-text", "aria-label": title, disabled: locked(key), onchange: (event) => ask("set", { key, value: event.target.value }) });
  const seed = h("input", { type: "number", class: "dk-pg-text", "aria-label": say("seed"), min: 0, max: 4294967295, step: 1, disabled: locked("seed"),
    onchange: () => ask("set", { key: "seed", value: seed.value }) });
  const lock = (key) => locked(key) && h("em", { class: "dk-pg-lock" }, say("fixed"));
  const field = (key, title, control) => shown(key) && h("label", { class: "dk-pg-field", "data-key": key }, h("span", {}, title, lock(key)), control);

  const touched = {};
  const tell = newestOnly((key, value) => ask("knob", { key, value }));
  const turn = (key) => (value) => {
    touched[key] = performance.now();
    tell(key, value);
    bars();
  };
  const start = now().knobs;
  const knobs = {
    T: slider(say("temperature T"), 0.5, 20, start.temperature, { log: true, name: "temperature", change: turn("T") }),
    a: slider(say("alpha α"), 0, 1, start.alpha, { name: "alpha", format: (x) => fixed(x, 2), change: turn("a") }),
    lr: slider(say("learning rate"), 1e-4, 1, start.lr, { log: true, name: "lr", change: turn("lr") }),
  };
  const held = { T: "temperature", a: "alpha", lr: "lr" };
  for (const [key, knob] of Object.entries(knobs)) {
    set(knob.input, { disabled: locked(key) });
    if (locked(key)) knob.element.firstChild.append(lock(key));
    set(knob.element, { hidden: !shown(key), "data-key": key });
  }
  const fixedNote = (about.lock.length > 0 || about.hide.length > 0) &&
    h("p", { class: "dk-note" }, say("The code of this view fixes or hides some controls. Another view, dk.playground(…), is free."));
  const controls = h("section", { class: "dk-pg-controls", "aria-label": say("Setting of the chosen run") },
    runs,
    h("div", { class: "dk-pg-knobs" }, Object.values(knobs).map((knob) => knob.element)),
    h("div", { class: "dk-pg-fields" }, Object.entries(titles).map(([key, title]) => field(key, title, selects[key])), field("seed", say("seed"), seed)),
    h("p", { class: "dk-note" }, say("The three sliders reach the running loop. Any other change starts the run anew.")),
    fixedNote);

  // ── curves ──
  const several = (curves) => curves.filter((each) => each.sides?.twin).length > 1;
  const twinName = (curves, each) => (several(curves) ? say("twin of {name}", { name: each.name }) : say("twin"));
  const sides = (measure, quality) => (curves) =>
    curves.filter((each) => each.sides && (!quality || each.quality === quality)).flatMap((each) =>
      Object.entries(each.sides).map(([role, side]) => ({
        kind: role === "twin" ? "twin" : each.colour,
        name: role === "twin" ? twinName(curves, each) : curves.length > 1 ? each.name : say("student"),
        at: side.at,
        values: side[measure],
      })));
  const teachers = (quality) => (curves) =>
    [...new Map(curves.filter((each) => each.sides && each.quality === quality).map((each) => [each.teacher, each])).values()].map((each) =>
      ({ kind: "teacher", name: say("teacher"), at: [0, each.steps], values: [each.teacher, each.teacher] }));
  const pick = (part) => scrubTo(Math.round(part * last()));
  const charts = [
    { title: () => say("Quality: right answers, %"), unit: asPercent, lines: (c) => [...teachers("accuracy")(c), ...sides("quality", "accuracy")(c)] },
    { title: () => say("Quality: perplexity on test text"), unit: asNats, log: true, lines: (c) => [...teachers("perplexity")(c), ...sides("quality", "perplexity")(c)] },
    { title: () => say("Fidelity: agreement with the teacher, %"), unit: asPercent, lines: sides("agreement") },
    { title: () => say("Fidelity: KL from the teacher, nats"), unit: asNats, log: true, lines: sides("mean_kl") },
    { title: () => say("Loss: what each minimises, nats"), unit: asNats, log: true, lines: sides("loss") },
  ].map((each) => chart(each, pick));

  // ── scrub ──
  let mine; // the step asked for, null for the newest, until Python says the same
  const last = () => Math.max(...now().lanes.map((each) => each.steps));
  const furthest = () => Math.max(0, ...now().lanes.map((each) => each.step));
  const at = () => clamp((mine === undefined ? now().at : mine) ?? furthest(), 0, furthest());
  const scrub = h("input", { type: "range", min: 0, max: last(), value: 0, step: 1, "aria-label": say("back to step"), oninput: () => scrubTo(Number(scrub.value)) });
  const scrubbed = h("output", { class: "dk-readout" });
  const latest = button(say("Newest"), () => scrubTo(null), { "aria-label": say("Newest step: follow the runs") });
  function scrubTo(wanted) {
    mine = wanted;
    ask("at", { value: wanted });
    place();
    redraw();
  }
  function place() {
    set(scrub, { max: last(), "aria-valuetext": say("step {step}", { step: at() }) });
    if (Number(scrub.value) !== at()) scrub.value = at();
    scrub.style.setProperty("--at", `${(100 * at()) / last()}%`);
    set(scrubbed, { text: String(at()) });
  }
  const scrubber = h("div", { class: "dk-row dk-pg-scrub" }, h("div", { class: "dk-slider" }, h("span", { "aria-hidden": "true" }, say("back to step")), scrub, scrubbed), latest);

  const table = h("table", { class: "dk-pg-table" });
  const middle = h("section", { class: "dk-pg-middle", "aria-label": say("Curves") }, charts.map((each) => each.element), shown("scrub") && scrubber,
    shown("table") && h("div", { class: "dk-pg-wide", role: "group", tabindex: 0, "aria-label": say("What differs, and what came out") }, table),
    shown("table") && h("p", { class: "dk-note" }, say("Each run is one seed: a point or two can be luck.")));

  // ── look inside ──
  const heading = h("p", { class: "dk-pg-count" });
  const inside = h("div", {});
  const aside = h("section", { class: "dk-pg-look", "aria-label": say("Look inside: where student and teacher disagree") },
    h("b", {}, say("Where student and teacher disagree")), heading, inside);
  let example = null; // index of a test image, or place of a token
  let barWidth = 260;
  const moved = (key) => performance.now() - (touched[key] ?? -1e9) < 600;
  const temperature = () => (moved("T") ? knobs.T.value : now().knobs.temperature);

  function walk(event) {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const all = [...event.currentTarget.parentNode.querySelectorAll("button")];
    all[(all.indexOf(event.currentTarget) + move + all.length) % all.length].focus();
  }
  function group(label, kind, buttons) {
    const chosen = Math.max(0, buttons.findIndex((each) => each.getAttribute("aria-pressed") === "true"));
    buttons.forEach((each, i) => set(each, { tabindex: i === chosen ? 0 : -1, onkeydown: walk })); // one stop for Tab, arrows inside
    return h("div", { class: kind, role: "group", "aria-label": label }, buttons);
  }

  const picture = svg("svg", { role: "img" });
  const answers = h("div", { class: "dk-pg-answers", "aria-live": "polite" });
  function bars() {
    const found = model.get("look");
    const one = found.examples?.find((each) => each.i === example);
    if (!one) return;
    const all = Object.entries(one.logits).map(([role, logits]) => ({ role, answer: answerOf(logits), probs: distribution(logits, temperature()).probs }));
    const gap = 8 * all.length + 5;
    const x = scale(0, Math.max(0.1, ...all.flatMap((each) => each.probs)), 18, barWidth - 46);
    set(picture, { height: gap * 10 + 4, "aria-label": all.map(({ role, answer, probs }) => `${SIDES[role]()}: ${answer} (${share(probs[answer])})`).join(", ") });
    const kind = (role) => (role === "student" ? found.colour : role);
    picture.replaceChildren(
      ...all[0].probs.flatMap((_, c) => [
        svg("text", { x: 10, y: c * gap + 4 * all.length + 8, "text-anchor": "end", class: c === one.label ? "dk-pg-truth" : "dk-muted" }, String(c)),
        ...all.flatMap(({ role, probs }, k) => {
          const y = c * gap + 8 * k + 8;
          return [
            svg("line", { class: `dk-pg-bar ${look(kind(role))}`, x1: 18, x2: x(probs[c]), y1: y, y2: y }),
            probs[c] > 0.02 && svg("g", { class: look(kind(role)) }, mark(kind(role), x(probs[c]), y, 3)),
            k === 0 && probs[c] > 0.0005 && svg("text", { class: look(kind(role)), x: x(Math.max(...all.map((each) => each.probs[c]))) + 8, y: y + 8 }, share(probs[c])),
          ].filter(Boolean);
        }),
      ]),
    );
    answers.replaceChildren(
      ...all.map(({ role, answer, probs }) => h("p", { class: look(kind(role)) }, sign(kind(role)), ` ${SIDES[role]()}: ${answer} (${share(probs[answer])})`)),
      one.label >= 0 && h("p", { class: "dk-label" }, say("label: {label}", { label: one.label })),
      h("p", { class: "dk-note" }, say("Soft labels at T = {T}; the numbers are the teacher’s.", { T: short(temperature()) })),
    );
  }
  function pictures(found) {
    if (!found.examples.some((each) => each.i === example)) example = found.examples[0]?.i ?? null;
    const faces = found.examples.map((each) => {
      const [teacher, student] = [answerOf(each.logits.teacher), answerOf(each.logits.student)];
      const image = thumbnail(each.pixels, "");
      set(image, { "aria-hidden": "true", role: null, "aria-label": null });
      const label = say("test image {i}: teacher {teacher}, student {student}", { i: each.i, teacher, student });
      return h("button", { type: "button", class: "dk-pg-face", "aria-label": label, title: label, "aria-pressed": String(each.i === example),
        "data-i": each.i, onclick: () => ((example = each.i), drawLook()) }, image, h("span", {}, `${teacher}→${student}`));
    });
    return [
      group(say("Test images where student and teacher disagree"), "dk-pg-gallery", faces),
      faces.length ? h("div", { class: "dk-pg-one" }, answers, picture) : null,
    ];
  }
  function passage(found) {
    const count = found.tokens.length;
    example = clamp(example ?? found.kl.indexOf(Math.max(...found.kl)), 0, count - 1);
    const which = h("select", { class: "dk-pg-text", "aria-label": say("passage of the test text"), onchange: () => ask("passage", { value: Number(which.value) }) },
      Array.from({ length: found.passages }, (_, i) => h("option", { value: i, selected: i === found.passage }, say("passage {i} of {n}", { i: i + 1, n: found.passages }))));
    const words = found.tokens.map((token, i) => {
      const label = say("{token}: KL {kl} nats", { token: token.trim() || "␣", kl: short(found.kl[i]) });
      return h("button", { type: "button", class: `dk-pg-word${found.differ[i] ? " dk-pg-differs" : ""}`, title: label, "aria-label": label, "data-i": i,
        "aria-pressed": String(i === example), style: { "--kl": `${Math.round(60 * clamp(found.kl[i] / 4, 0, 1))}%` }, onclick: () => ((example = i), drawLook()) },
        token.replaceAll("\n", "↵"));
    });
    const rows = Object.entries(found.expected).map(([role, all]) => {
      const kind = role === "student" ? found.colour : role;
      return h("tr", { class: look(kind) }, h("th", { scope: "row" }, sign(kind), ` ${SIDES[role]()}`), all[example].map(([word, p]) => h("td", {}, h("q", {}, word.replaceAll("\n", "↵")), ` ${share(p)}`)));
    });
    return [
      which,
      h("p", { class: "dk-note" }, say("Shaded: far from the teacher. Underlined: another next word. Choose one.")),
      group(say("The passage, token by token"), "dk-pg-passage", [...words]),
      h("p", {}, say("Here the text goes on with"), " ", h("q", { class: "dk-label" }, found.tokens[example].replaceAll("\n", "↵"))),
      h("table", { class: "dk-pg-table dk-pg-next" }, h("caption", {}, say("the likeliest next words")), h("tbody", {}, rows)),
    ];
  }
  let kindShown = null;
  function drawLook() {
    const found = model.get("look");
    if (found.kind !== kindShown) [example, kindShown] = [null, found.kind];
    const focused = inside.contains(document.activeElement) ? document.activeElement.dataset.i : null;
    if (!found.kind) {
      set(heading, { text: now().busy || say("Press Run: it fills with the first step.") });
      return inside.replaceChildren();
    }
    const values = { count: found.count, of: found.of, step: found.step, name: found.name };
    set(heading, { text: found.kind === "text" ? say("{count} of {of} next words, run {name}, step {step}", values) : say("{count} of {of} test images, run {name}, step {step}", values) });
    inside.replaceChildren(...(found.kind === "text" ? passage(found) : pictures(found)).filter(Boolean));
    bars();
    if (focused != null) (inside.querySelector(`button[data-i="${Number(focused)}"]`) ?? inside.querySelector("button"))?.focus();
  }

  // ── share, file ──
  const code = h("input", { type: "text", class: "dk-pg-text dk-pg-code", spellcheck: "false", "aria-label": say("setting as a short code"),
    onkeydown: (event) => event.key === "Enter" && ask("code", { value: code.value }) });
  const apply = button(say("Set"), () => ask("code", { value: code.value }), { "aria-label": say("Set this run from the code") });
  const copyCode = button(say("Copy code"), () => copy(code, code.value, copyCode, say("Copy code")));
  const script = h("textarea", { class: "dk-pg-text dk-pg-script", readonly: true, rows: 11, hidden: true, spellcheck: "false", "aria-label": say("this run as a Python script") });
  const python = button(say("Copy as Python"), () => ask("python"));
  const save = button(say("Save all runs"), once(() => ask("export")), { "aria-label": say("Save all runs as one file") });
  const file = h("input", { type: "file", accept: ".safetensors", hidden: true, "aria-label": say("a file of the playground"), onchange: () => file.files[0] && upload(file.files[0]) });
  const open = button(say("Load a file"), () => file.click());
  const note = h("p", { class: "dk-note dk-pg-file" }, about.binder
    ? say("This is Binder: after ten idle minutes all is gone. Save a file, and load it here or elsewhere.")
    : say("Binder forgets everything after ten idle minutes. Save a file, and load it there or elsewhere."));
  const foot = h("div", { class: "dk-pg-foot" },
    h("div", { class: "dk-row" },
      shown("code") && [h("span", { class: "dk-muted" }, say("setting")), code, apply, copyCode],
      shown("python") && python),
    shown("file") && h("div", { class: "dk-row" }, save, open, file, note), script);

  async function copy(element, text, from, label) {
    element.select();
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    set(from, { text: done ? say("Copied") : say("Select and copy") });
    setTimeout(() => set(from, { text: label }), 2000);
  }
  async function upload(chosen) {
    file.value = "";
    if (chosen.size > about.largest) return set(said, { text: say("The file is too large to hold runs of the playground.") });
    const [bytes, part] = [await chosen.arrayBuffer(), 2 ** 20];
    const of = Math.max(1, Math.ceil(bytes.byteLength / part));
    const sent = Date.now();
    for (let i = 0; i < of; i++) ask("load", { part: i, of, sent, name: chosen.name }, [bytes.slice(i * part, (i + 1) * part)]);
  }
  let parts = [];
  function receive(content, buffers) {
    if (content.kind === "python") {
      script.hidden = false;
      script.value = content.text;
      copy(script, content.text, python, say("Copy as Python"));
    } else if (content.kind === "file") {
      if (content.part === 0) parts = [];
      parts.push(buffers[0]);
      if (parts.length < content.of) return;
      const address = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
      h("a", { href: address, download: "playground.safetensors" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
      parts = [];
    }
  }

  const stage = root(el, say("Playground"),
    shown("presets") && about.presets.length > 0 && presets,
    h("div", { class: "dk-row dk-pg-bar" }, h("div", { class: "dk-pg-transport" }, go, step, reset), shown("pace") && pace.element, status),
    said, fault,
    h("div", { class: "dk-pg-columns" }, controls, middle, shown("look") && aside),
    foot);
  stage.classList.add("dk-pg");
  // What only a kernel can do is marked: a page without one says so in its place.
  const dead = ".dk-pg-presets, .dk-pg-transport, .dk-choice, .dk-pg-buttons, .dk-pg-field, .dk-pg-controls > .dk-note";
  for (const each of [...stage.querySelectorAll(dead), knobs.a.element, knobs.lr.element, apply, python, save, open, note])
    set(each, { "data-kernel": true });

  // ── every push from Python ──
  const redraw = frame(() => {
    for (const each of charts) each.draw(model.get("curves"), now().lanes, last(), at());
  });
  function options(select, key, frame) {
    const wanted = frame.options[key];
    const signature = JSON.stringify(wanted);
    if (select.dataset.options !== signature) {
      select.dataset.options = signature;
      select.replaceChildren(...wanted.map(([value, label, reason]) => h("option", { value, disabled: Boolean(reason) }, reason ? `${label} (${reason})` : label)));
    }
    if (select.value !== frame.values[key]) select.value = frame.values[key];
  }
  let tabsShown = "";
  function update() {
    const frame = now();
    const chosen = lane();
    const running = frame.running && !frame.over;
    set(go, { text: running ? say("Pause") : say("Run"), disabled: frame.over });
    set(step, { disabled: frame.over });
    set(reset, { text: frame.lanes.length > 1 ? say("Reset {name}", { name: chosen.name }) : say("Reset") });
    if (pace.value !== frame.pace) pace.set(frame.pace);
    const where = frame.lanes.map((each) => say("{name}: step {step} of {of}", { name: each.name, step: each.step, of: each.steps })).join(" · ");
    set(status, { text: frame.busy || where });
    set(said, { text: frame.line });
    set(fault, { text: frame.error, hidden: !frame.error });
    const signature = JSON.stringify([frame.chosen, frame.lanes.map((each) => [each.name, each.colour])]);
    if (signature !== tabsShown) {
      tabsShown = signature;
      const focus = tabs.contains(document.activeElement);
      const all = frame.lanes.map((each, i) => h("button", { type: "button", class: `dk-button dk-pg-tab ${look(each.colour)}`, "aria-pressed": String(i === frame.chosen),
        onclick: () => ask("choose", { value: i }) }, sign(each.colour), h("span", {}, each.name)));
      tabs.replaceChildren(...all);
      if (focus) all[frame.chosen].focus();
    }
    if (document.activeElement !== name) name.value = chosen.name;
    set(add, { disabled: frame.lanes.length >= about.most });
    set(duplicate, { disabled: frame.lanes.length >= about.most });
    set(remove, { disabled: frame.lanes.length < 2 });
    for (const [key, select] of Object.entries(selects)) options(select, key, frame);
    if (document.activeElement !== seed) seed.value = frame.seed;
    for (const [key, knob] of Object.entries(knobs))
      if (knob.value !== frame.knobs[held[key]] && !moved(key)) {
        knob.set(frame.knobs[held[key]]);
        if (knob.value !== frame.knobs[held[key]]) set(knob.element.querySelector("output"), { text: short(frame.knobs[held[key]]) }); // beyond its ends
      }
    if (document.activeElement !== code) code.value = frame.code;
    if (frame.at === mine) mine = undefined;
    place();
    table.replaceChildren(
      h("thead", {}, h("tr", {}, h("td", {}), frame.lanes.map((each) => h("th", { scope: "col", class: look(each.colour) }, sign(each.colour), ` ${each.name}`)))),
      h("tbody", {}, frame.table.map(([title, cells]) => h("tr", {}, h("th", { scope: "row" }, title), cells.map((cell) => h("td", {}, cell))))));
    redraw();
    bars();
    if (!model.get("look").kind) drawLook();
  }
  charts.forEach((each) => onWidth(each.element, (width) => (each.resize(width), redraw()), signal));
  onWidth(aside, (width) => ((barWidth = Math.min(360, width)), bars()), signal);
  model.on("change:frame", update);
  model.on("change:curves", redraw);
  model.on("change:look", drawLook);
  model.on("msg:custom", receive);
  update();
  drawLook();
}

const presetName = (name) => ({ "few labels": say("few labels"), "noisy labels": say("noisy labels"), "a language model": say("a language model") })[name] ?? name;

export default widget({ render });
