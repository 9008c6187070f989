// A distillation while it runs: transport, knobs, curves beside the twin's, and the way back through training.
import { answerOf, asNats, asPercent, button, called, choice, frame, h, meaning, newestOnly, onWidth, root, ROUND, say, set, slider, svg, thumbnail, widget } from "./base.js";
import { clamp, distribution, fixed, scale, share, short, ticks } from "./maths.js";

const ROLES = ["teacher", "student", "twin"];
const DASH = { teacher: null, student: "6 3", twin: "2 3" };
const SHOWN = 40; // thumbnails in the gallery
const TOP = 12; // classes in the bars

const QUALITIES = {
  accuracy: { title: say("Right answers, %"), unit: asPercent },
  perplexity: { title: say("Perplexity on test text"), unit: asNats, log: true },
  test_loss: { title: say("Loss on the test’s labels, nats"), unit: asNats, log: true },
};
const duration = (s) => (s < 90 ? `${Math.ceil(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${fixed(s / 3600, 1)} h`);

// ● ■ ▲, drawn: a colour never speaks alone.
function marker(role, x, y, r = 4) {
  const common = { class: `dk-mark dk-${role}` };
  if (role === "teacher") return svg("circle", { ...common, cx: x, cy: y, r });
  if (role === "student") return svg("rect", { ...common, x: x - r, y: y - r, width: 2 * r, height: 2 * r });
  return svg("path", { ...common, d: `M${x} ${y - r}l${r} ${2 * r}h${-2 * r}z` });
}

// One of the four charts. lines(frame) -> [{ role, name, values, thin }].
// A text's numbers lie close together: its axes are as tight as 1-2-5 steps allow.
function panel({ title, term, unit, log, tight, lines, onpick }) {
  const height = 168;
  const readout = h("span", { class: "dk-watch-numbers" });
  const picture = svg("svg", { height, role: "img", "aria-label": title, "aria-description": meaning(term).title });
  const element = h("figure", { class: "dk-watch-panel" }, h("figcaption", {}, h("b", { title: meaning(term).title }, title), readout), picture);
  let width = 300;
  let inner = [0, 1];
  picture.addEventListener("click", (event) => {
    const at = event.clientX - picture.getBoundingClientRect().left;
    onpick(clamp((at - inner[0]) / (inner[1] - inner[0]), 0, 1));
  });

  function range(all, teacher) {
    if (tight && all.length) return [log ? ROUND.findLast((v) => v <= Math.min(...all)) ?? ROUND[0] : 0, ROUND.find((v) => v >= Math.max(...all)) ?? 1];
    if (log) {
      const positive = all.filter((value) => value > 0);
      const low = Math.max(1e-4, Math.min(0.1, ...positive));
      return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(Math.max(1, ...positive)) - 1e-9)];
    }
    return [Math.max(...all, 0) > 0.7 && (teacher ?? 1) > 0.7 ? 0.5 : 0, 1];
  }

  function draw(now, about, at) {
    const all = lines(now).filter((line) => line.values.some((value) => value != null));
    const [low, high] = range(all.flatMap((line) => line.values.filter((value) => value != null)), now.teacher);
    const left = 38;
    const right = width - Math.max(62, ...all.map((line) => 14 + 6.4 * line.name.length));
    inner = [left, right];
    const x = scale(0, about.steps, left, right);
    const line = log ? scale(Math.log(low), Math.log(high), height - 24, 20) : scale(low, high, height - 24, 20);
    const y = (value) => line(log ? Math.log(clamp(value, low, high)) : clamp(value, low, high));
    const grid = log && tight ? ROUND.filter((v) => v >= low && v <= high) : log ? [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100].filter((v) => v >= low && v <= high) : ticks(low, high, 4);
    const marks = [];
    let free = -Infinity;
    for (const [step, symbol, value] of now.marks) {
      const name = `${symbol} ${short(value)}`;
      const room = x(step) > free;
      if (room) free = x(step) + 7 * name.length;
      marks.push(
        svg("line", { class: "dk-watch-turn", x1: x(step), x2: x(step), y1: 14, y2: height - 24 }),
        room && svg("text", { class: "dk-muted", x: x(step), y: 10, "text-anchor": x(step) > right - 30 ? "end" : "start" }, name),
      );
    }
    const ends = all
      .map(({ role, name, values, thin }) => {
        const points = values.map((value, i) => (value == null ? null : [x(now.steps[i]), y(value)])).filter(Boolean);
        return { role, name, thin, points, label: points.at(-1)[1] + 4 };
      })
      .sort((a, b) => a.label - b.label);
    ends.forEach((end, i) => (end.label = i ? Math.max(end.label, ends[i - 1].label + 14) : end.label));
    const over = Math.max(0, (ends.at(-1)?.label ?? 0) - (height - 22));
    picture.replaceChildren(
      ...grid.flatMap((value) => [
        svg("line", { class: "dk-watch-grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
        svg("text", { class: "dk-muted", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, log ? String(value) : `${Math.round(100 * value)}`),
      ]),
      svg("text", { class: "dk-muted", x: left, y: height - 6 }, "0"),
      svg("text", { class: "dk-muted", x: right, y: height - 6, "text-anchor": "end" }, say("step {step}", { step: about.steps })),
      ...marks.filter(Boolean),
      svg("line", { class: "dk-watch-cursor", x1: x(at), x2: x(at), y1: 14, y2: height - 24 }),
      ...ends.flatMap(({ role, name, thin, points, label }) => [
        svg("polyline", { class: `dk-watch-curve dk-${role}`, points: points.join(" "), "stroke-dasharray": DASH[role], "stroke-width": thin ? 1.2 : 2 }),
        ...points.filter((_, i) => i % 16 === 8).map(([px, py]) => marker(role, px, py, thin ? 2.5 : 3.5)),
        marker(role, ...points.at(-1), thin ? 3 : 4),
        svg("text", { class: `dk-${role}`, x: points.at(-1)[0] + 8, y: label - over }, name),
      ]),
    );
    const index = now.steps.findLastIndex((step) => step <= at);
    const said = all.filter((line) => line.role !== "teacher").map((line) => [line, line.values[Math.max(0, index)]]);
    readout.replaceChildren(
      ...said.map(([line, value]) => h("span", { class: `dk-${line.role}` }, `${line.name} ${unit(value)}`)),
    );
    set(picture, { "aria-label": say("{title} at step {step}: {values}", { title, step: at, values: said.map(([l, v]) => `${l.name} ${unit(v)}`).join(", ") }) });
  }
  return { element, draw, picture, resize: (w) => (width = w) };
}

function render({ model, el, signal }) {
  const about = model.get("about");
  const roles = ROLES.filter((role) => about[role] ?? role === "student");
  const ask = (kind, rest = {}) => model.send({ kind, ...rest });
  let data = null; // test examples: the kernel's, or the first of them, stored
  let kept = null; // { step, student, twin }: logits at the scrubbed step
  let at = 0; // the scrubbed step
  let follow = true;
  let example = null;
  let waiting = 0;
  const touched = {}; // when the reader last moved a knob

  // ── transport ──
  const once = (click) => (event) => event.detail > 1 || click(); // the second click of a double click says nothing
  const go = button(say("Run"), once(() => ask(model.get("frame").running ? "pause" : "run")));
  const step = button(say("Step"), () => ask("step"), { "aria-label": say("Step once") });
  const reset = button(say("Reset"), once(() => ask("reset")), { "aria-label": say("Reset to step 0") });
  const paces = about.paces.map((pace) => [pace, pace ? `${pace}` : say("full")]);
  const pace = choice(say("steps a second"), paces, model.get("frame").pace, (value) => ask("pace", { value }));
  const status = h("p", { class: "dk-watch-status" });
  const said = h("p", { class: "dk-watch-line", "aria-live": "polite" });
  const fault = h("p", { class: "dk-error", role: "alert" });

  // ── knobs ──
  const tell = newestOnly((name, value) => ask("knob", { name, value }));
  const turn = (name) => (value) => {
    touched[name] = performance.now();
    tell(name, value);
    bars();
  };
  const start = model.get("frame").knobs;
  const knobs = {
    temperature: slider(say("temperature T"), 0.5, 20, start.temperature, { log: true, name: "temperature", change: turn("temperature") }),
    alpha: slider(say("alpha α"), 0, 1, start.alpha, { name: "alpha", format: (x) => fixed(x, 2), change: turn("alpha") }),
    lr: slider(say("learning rate"), 1e-4, 1, start.lr, { log: true, name: "lr", change: turn("lr") }),
  };
  // What only a kernel can do is marked: a page without one says so in its place.
  [pace, knobs.alpha, knobs.lr].forEach((each) => set(each.element, { "data-kernel": true }));

  // ── curves ──
  const of = (key, named = called) => (now) =>
    roles.filter((role) => now[role]?.[key]).map((role) => ({ role, name: named(role), values: now[role][key] }));
  const level = (now) => now.teacher != null && { role: "teacher", name: called("teacher"), values: now.steps.map(() => now.teacher) };
  const pick = (part) => scrubTo(part * about.steps);
  const panels = [
    { ...QUALITIES[about.quality], term: about.quality, lines: (now) => [level(now), ...of(about.quality)(now)].filter(Boolean) },
    about.teacher && { title: say("Agreement with the teacher, %"), term: "agreement", unit: asPercent, lines: of("agreement") },
    about.teacher && { title: say("Mean KL from the teacher, nats"), term: "mean_kl", unit: asNats, log: true, lines: of("mean_kl") },
    {
      title: say("Loss terms, nats: mean of {count} steps", { count: about.window }),
      term: "terms",
      unit: asNats,
      log: true,
      lines: (now) => [
        ...of("hard", (role) => (role === "twin" ? say("twin hard") : say("hard")))(now),
        ...(about.teacher ? [{ role: "student", name: say("soft"), values: now.student.soft, thin: true }] : []),
      ],
    },
  ]
    .filter(Boolean)
    .map((each) => panel({ ...each, tight: about.text, onpick: pick }));
  const charts = h("div", { class: "dk-watch-charts" }, ...panels.map((each) => each.element));

  // ── scrub ──
  const stops = [];
  for (let s = 0; s < about.steps; s += about.every) stops.push(s);
  stops.push(about.steps);
  const scrub = slider(say("back to step"), 0, about.steps, 0, { values: stops, name: "scrub", format: String, change: (s) => scrubTo(s) });
  const newestButton = button(say("Newest"), () => ((follow = true), update()), { "aria-label": say("Newest step: follow the run") });
  function scrubTo(wanted) {
    const steps = model.get("frame").steps;
    at = steps.reduce((near, s) => (Math.abs(s - wanted) < Math.abs(near - wanted) ? s : near), steps[0] ?? 0);
    follow = at === steps.at(-1) && !model.get("frame").done && wanted >= at;
    scrub.set(at);
    look();
    redraw();
  }
  // Ask for the logits at `at`; while an answer is under way, only the newest wish is kept.
  function look() {
    if (!about.kept || kept?.step === at) return;
    recall();
    if (performance.now() - waiting < 1000) return;
    waiting = performance.now();
    ask("at", { value: at });
  }

  // What a finished run has left in the page stands there until the kernel says more; for good, where there is none.
  function recall() {
    const stored = model.get("stored");
    if (!stored.steps || (data && !data.stored)) return;
    const nats = (view) => Float32Array.from(numbers(view, Int16Array), (thousandth) => thousandth / 1000);
    const i = stored.steps.reduce((near, step, j) => (Math.abs(step - at) < Math.abs(stored.steps[near] - at) ? j : near), 0);
    const { side, said, pixels, labels, teacher } = stored;
    data ??= { stored: true, side, said, pixels: numbers(pixels, Uint8Array), labels: numbers(labels, Int32Array), teacher: nats(teacher) };
    if (kept?.step === stored.steps[i]) return;
    const [student, twin] = stored.logits[i].map(nats);
    kept = { stored: true, step: stored.steps[i], student, twin };
    differ();
  }

  // ── one example ──
  const which = h("input", { type: "number", min: 0, max: about.count - 1, value: 0, class: "dk-watch-number", "aria-label": say("test example"),
    oninput: () => which.value !== "" && choose(clamp(Math.round(which.valueAsNumber), 0, (data?.labels.length ?? about.count) - 1)) });
  const large = h("div", { class: "dk-watch-large" });
  const answers = h("div", { class: "dk-watch-answers" });
  const picture = svg("svg", { role: "img" });
  const caption = h("p", { class: "dk-note" });
  const gallery = h("div", { class: "dk-watch-gallery", role: "group", "aria-label": say("Test examples where student and teacher disagree") });
  const count = h("p", { class: "dk-watch-count" });
  const bottom = h("div", { class: "dk-watch-bottom" },
    h("div", { class: "dk-watch-example" },
      h("div", { class: "dk-row" }, large, h("div", {}, h("label", {}, say("test example"), " ", which), answers)), picture, caption),
    h("div", { class: "dk-watch-differ" }, count, gallery));
  let barWidth = 300;

  const row = (logits, i) => logits.subarray(i * about.classes.length, (i + 1) * about.classes.length);
  const sides = () => [["teacher", data.teacher], ["student", kept.student], ["twin", kept.twin]].filter(([, z]) => z?.length);
  const name = (c) => about.classes[c] ?? String(c);

  function bars() {
    if (!data || !kept || example === null) return;
    const temperature = knobs.temperature.value;
    const all = sides().map(([role, z]) => ({ role, probs: distribution(Array.from(row(z, example)), temperature).probs, answer: answerOf(row(z, example)) }));
    let classes = about.classes.map((_, c) => c);
    if (classes.length > TOP) {
      const weight = (c) => Math.max(...all.map((side) => side.probs[c]));
      classes = classes.sort((a, b) => weight(b) - weight(a)).slice(0, TOP);
    }
    const gap = 8 * all.length + 6;
    const left = clamp(8 * Math.max(...classes.map((c) => name(c).length)) + 8, 22, Math.min(130, barWidth / 3));
    const most = Math.max(...all.flatMap((side) => side.probs));
    const end = [0.1, 0.25, 0.5, 1].find((limit) => most <= limit) ?? 1;
    const x = scale(0, end, left, barWidth - 54);
    const clip = (text) => (text.length * 8 > left ? `${text.slice(0, Math.max(1, Math.floor(left / 8) - 2))}…` : text);
    set(picture, { height: gap * classes.length + 4, "aria-label": all.map((side) => say("{role}: {answer} with {p}", { role: called(side.role), answer: name(side.answer), p: fixed(side.probs[side.answer], 3) })).join(", ") });
    picture.replaceChildren(
      ...classes.flatMap((c, i) => {
        const top = i * gap + 6;
        const middle = top + 4 * all.length;
        const truth = data.labels[example] === c;
        return [
          svg("text", { x: left - 8, y: middle + 4, "text-anchor": "end", class: truth ? "dk-watch-truth" : "dk-muted" }, clip(name(c)), svg("title", {}, name(c))),
          ...all.flatMap(({ role, probs }, k) => {
            const y = top + 8 * k + 4;
            return [
              svg("line", { class: `dk-watch-bar dk-${role}`, x1: left, x2: x(probs[c]), y1: y, y2: y, "stroke-dasharray": DASH[role] }),
              probs[c] > 0.01 && marker(role, x(probs[c]), y, 3),
              k === 0 && probs[c] > 0.0005 && svg("text", { class: `dk-${role}`, x: x(Math.max(...all.map((side) => side.probs[c]))) + 8, y: middle + 4 }, share(probs[c])),
            ].filter(Boolean);
          }),
        ];
      }),
    );
    answers.replaceChildren(
      ...all.map(({ role, probs, answer }) =>
        h("p", { class: `dk-${role}` }, svg("svg", { width: 12, height: 12, "aria-hidden": "true" }, marker(role, 6, 6)), ` ${called(role)}: ${name(answer)} (${share(probs[answer])})`)),
      data.labels[example] >= 0 && h("p", { class: "dk-label" }, say("label: {label}", { label: name(data.labels[example]) })),
    );
    set(caption, { text: say("Soft labels at T = {t}, training step {step}; the bars’ full width is {end}, numbers are the teacher’s.", { t: short(temperature), step: kept.step, end }) });
    set(which, { "aria-valuetext": say("example {number}", { number: example }) });
  }

  const thumbnails = new Map();
  const pixels = (i) => Array.from(data.pixels.subarray(i * data.side ** 2, (i + 1) * data.side ** 2), (p) => p / 255);
  function face(i) {
    if (!thumbnails.has(i)) {
      const inside = data.side ? thumbnail(pixels(i), "") : h("span", {}, `№ ${i}`);
      set(inside, { "aria-hidden": "true", role: null, "aria-label": null });
      thumbnails.set(i, h("button", { type: "button", class: "dk-watch-face", onclick: () => choose(i), onkeydown: (event) => walk(event) }, inside, h("span", {})));
    }
    return thumbnails.get(i);
  }
  function walk(event) {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const all = [...gallery.querySelectorAll("button")];
    all[(all.indexOf(event.currentTarget) + move + all.length) % all.length].focus();
  }
  function choose(i) {
    example = i;
    if (document.activeElement !== which) which.value = i;
    if (data?.side) large.replaceChildren(thumbnail(pixels(i), say("test example {number}", { number: i })));
    else if (data?.said[i]) large.replaceChildren(h("q", { class: "dk-watch-said" }, data.said[i]));
    for (const [j, button] of thumbnails) set(button, { "aria-pressed": String(j === i) });
    bars();
  }
  function differ() {
    if (!data || !kept) return;
    if (!data.teacher.length) return set(count, { text: say("There is no teacher to disagree with.") });
    const differing = [];
    for (let i = 0; i < data.labels.length; i++) if (answerOf(row(data.teacher, i)) !== answerOf(row(kept.student, i))) differing.push(i);
    const shownHere = differing.slice(0, SHOWN);
    const all = data.labels.length;
    set(which, { max: all - 1 });
    set(count, { text: say("{count} of {all} {where}: student and teacher disagree at step {step}", {
        count: differing.length, all: all < about.count ? say("the first {count}", { count: all }) : all, where: about.where, step: kept.step,
      }) + (differing.length > SHOWN ? `; ${say("the first {count}", { count: SHOWN })}` : "") });
    const faces = shownHere.map((i) => {
      const button = face(i);
      const [teacher, student] = [answerOf(row(data.teacher, i)), answerOf(row(kept.student, i))].map(name);
      set(button.lastChild, { text: `${teacher.slice(0, 6)}→${student.slice(0, 6)}` });
      set(button, { "aria-label": say("example {number}: teacher {teacher}, student {student}", { number: i, teacher, student }), title: say("teacher {teacher}, student {student}", { teacher, student }), "aria-pressed": String(i === example) });
      return button;
    });
    const focus = gallery.contains(document.activeElement) ? document.activeElement : null;
    gallery.replaceChildren(...faces);
    faces.forEach((face, i) => set(face, { tabindex: i ? -1 : 0 })); // one stop for Tab, arrows inside
    if (focus?.isConnected) focus.focus();
    if (example === null) choose(differing[0] ?? 0);
    bars();
  }

  // ── share ──
  const code = h("input", { type: "text", class: "dk-watch-code", spellcheck: "false", "aria-label": say("setting as a short code"),
    onkeydown: (event) => event.key === "Enter" && ask("code", { value: code.value }) });
  const apply = button(say("Set"), () => ask("code", { value: code.value }), { "aria-label": say("Set the knobs from the code"), "data-kernel": true });
  const script = h("textarea", { class: "dk-watch-script", readonly: true, rows: 9, hidden: true, spellcheck: "false", "aria-label": say("this run as a Python script") });
  const python = button(say("Copy as Python"), () => (model.get("stored").python ? copy(model.get("stored").python) : ask("python")));
  const gaps = h("p", { class: "dk-note dk-watch-gaps", role: "status", hidden: true });
  const foot = h("div", { class: "dk-row dk-watch-foot" }, h("span", { class: "dk-muted" }, about.said ? say("setting") : say("knobs")), code, apply, python,
    !about.said && h("span", { class: "dk-note" }, say("No code says this run whole: this one says its knobs, Python the rest.")));

  root(el, say("Distillation, live"),
    h("div", { class: "dk-row" }, h("div", { class: "dk-watch-transport", "data-kernel": true }, go, step, reset), pace.element, status),
    said, fault,
    h("div", { class: "dk-row dk-watch-knobs" }, ...Object.values(knobs).map((knob) => knob.element)),
    charts,
    h("div", { class: "dk-row dk-watch-scrub" }, scrub.element, newestButton),
    about.kept && bottom, foot, gaps, script);

  // ── every push from Python ──
  function draw() {
    const now = model.get("frame");
    for (const each of panels) each.draw(now, about, at);
  }
  const redraw = frame(draw);
  function update() {
    const now = model.get("frame");
    set(go, { text: now.running ? say("Pause") : say("Run"), disabled: now.done });
    set(step, { disabled: now.done });
    if (pace.value !== now.pace) pace.set(now.pace);
    const slow = now.pace ? say("slowed to {pace} steps a second, to be watched", { pace: now.pace }) : say("at full speed");
    const left = now.left == null ? "" : say(", about {time} left", { time: duration(now.left) });
    set(status, { text: say("step {step} of {of}{left}", { step: now.step, of: about.steps, left }) + (now.running ? ` · ${slow}` : "") });
    set(said, { text: now.line });
    set(fault, { text: now.error ?? "", hidden: !now.error });
    for (const [key, knob] of Object.entries(knobs))
      if (knob.value !== now.knobs[key] && performance.now() - (touched[key] ?? -1e9) > 600) knob.set(now.knobs[key]);
    if (document.activeElement !== code) code.value = now.code;
    if (follow || !now.steps.includes(at)) {
      at = now.steps.at(-1) ?? 0;
      scrub.set(at);
      look();
    }
    if (kept && !now.steps.includes(kept.step)) kept = null; // the run was reset
    if (!kept) look();
    redraw();
  }
  const numbers = (buffer, Kind) => new Kind(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength));
  function receive(content, buffers) {
    if (content.kind === "data") {
      if (kept?.stored) kept = null;
      data = { side: content.side, said: content.said, pixels: numbers(buffers[0], Uint8Array), labels: numbers(buffers[1], Int32Array), teacher: numbers(buffers[2], Float32Array) };
      differ();
    } else if (content.kind === "at") {
      waiting = 0;
      kept = { step: content.step, student: numbers(buffers[0], Float32Array), twin: buffers[1] && numbers(buffers[1], Float32Array) };
      differ();
      if (content.step !== at) look();
    } else if (content.kind === "python") copy(content.text);
  }
  function copy(text) {
    script.hidden = false;
    script.value = text;
    script.select();
    const parts = text.match(/^# Fill in ([^:]*):/)?.[1];
    set(gaps, { hidden: !parts, text: parts ? say("The script stops at what it cannot know: fill in {parts}, where it says what that was.", { parts }) : "" });
    navigator.clipboard?.writeText(text).then(
      () => set(python, { text: say("Copied") }),
      () => set(python, { text: say("Select and copy") }),
    );
    setTimeout(() => set(python, { text: say("Copy as Python") }), 2000);
  }
  panels.forEach((each) => onWidth(each.element, (width) => (each.resize(width), redraw()), signal));
  onWidth(bottom.firstChild, (width) => ((barWidth = width), bars()), signal);
  model.on("change:frame", update);
  model.on("msg:custom", receive);
  update();
  ask("hello");
}

export default widget({ render });
