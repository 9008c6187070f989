// The small kit that every widget is built with. Whatever a user, a file or a model wrote reaches the page as text only.
import { clamp, fixed, short, stops } from "./maths.js";

// ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────

// say("step {step} of {of}", { step: 3, of: 9 }): in the reader's language. WORDS stands before this file where that is
// not English (base.py puts it there).
export const say = (english, values = {}) =>
  ((typeof WORDS === "undefined" ? {} : WORDS)[english] ?? english).replace(/\{(\w+)\}/g, (_, name) => values[name]);

// What a role is called; a name that somebody gave stays.
export const called = (role) => ({ teacher: say("teacher"), student: say("student"), twin: say("twin") })[role] ?? role;

// ── a view ───────────────────────────────────────────────────────────────────────────────────────────────────────────

// The widget of a module: export default widget({ render({ model, el, signal }) {…} }). When its view is removed, what it
// heard from the model has ended by itself; whatever else it starts ends with `signal`, an AbortSignal.
export const widget = ({ render }) => ({
  render({ model, el }) {
    const view = new AbortController();
    const own = Object.fromEntries(["get", "set", "send", "save_changes"].map((name) => [name, (...given) => model[name](...given)]));
    own.on = (events, listener) => {
      model.on(events, listener);
      view.signal.addEventListener("abort", () => model.off(events, listener));
    };
    try {
      render({ model: own, el, signal: view.signal });
    } catch (error) {
      view.abort();
      throw error;
    }
    return () => view.abort();
  },
});

// ── elements ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function build(element, attributes, children) {
  set(element, attributes);
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

// h("p", { class: "dk-note", onclick: f, style: { "--x": 1 } }, "text", child): an HTML element.
export const h = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);

// svg("rect", { x: 1 }): the same for SVG.
export const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Attributes, listeners (onclick: f) and text (text: "…") of an element; null or false takes an attribute away.
// The attribute data-kernel marks what only a kernel can do: a page without one says so in its place (docs/site).
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent !== String(value) && (element.textContent = value);
    else if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach(([key, x]) => element.style.setProperty(key, x));
    else if (value == null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

// The frame of a widget: a named group in `el`.
export function root(el, label, ...children) {
  const group = h("div", { class: "dk", role: "group", "aria-label": label }, ...children);
  // JupyterLab takes the arrow keys from whatever has the focus, unless that very element says no.
  group.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  el.replaceChildren(group);
  return group;
}

// ── controls ─────────────────────────────────────────────────────────────────────────────────────────────────────────

let count = Math.floor(1e9 * Math.random()); // each widget has its own copy of this file, and ids are the page’s

// What a dial turns or a curve shows, in a sentence: its tooltip, and a screen reader’s description of it.
const MEANING = {
  temperature: say("Above 1 it softens the probabilities of both models, so that small ones count, too; 1 leaves them as they are."),
  alpha: say("How much the teacher’s soft labels count: 0 learns from the data’s labels alone, 1 from the teacher alone."),
  beta: say("0 to 1: where between teacher and student the mixture stands that both are compared with."),
  lr: say("How far each step goes. Too far, and training jumps about; too short, and it gets nowhere."),
  sampling: say("How random the writing is: 0 always takes the likeliest token."),
  confidence: say("The mean log-probability that the teacher gave its own tokens; nearer to 0 is surer."),
  votes: say("How many of the teacher’s answers to this problem were the same."),
  accuracy: say("Quality, against the data: the share of test examples that are answered right."),
  perplexity: say("Quality, against the data: how many tokens the model hesitates between, on average; less is better."),
  agreement: say("Fidelity, against the teacher: the share of test examples where student and teacher say the same."),
  mean_kl: say("Fidelity, against the teacher: how far the student’s probabilities are from the teacher’s; 0 is the same."),
  terms: say("Soft: the distance from the teacher’s soft labels. Hard: the surprise at the data’s labels."),
};
export const meaning = (name) => (MEANING[name] ? { title: MEANING[name], "aria-description": MEANING[name] } : {});

// A labelled slider with a readout. {element, value, set(value)}; `change(value)` is called when the user moves it.
// Options: log (even in ratios), whole (integers), values (exactly these), format(value) -> text, change, name.
export function slider(label, min, max, value, { log, whole, values, format = short, change = () => {}, name } = {}) {
  const grid = stops({ low: min, high: max, value, log, whole, values });
  const nearest = (x) => grid.reduce((best, y, i) => (Math.abs(y - x) < Math.abs(grid[best] - x) ? i : best), 0);
  const id = `dk-slider-${++count}`;
  const input = h("input", { type: "range", id, min: 0, max: grid.length - 1, step: 1, "data-name": name ?? label, "aria-description": MEANING[name] });
  const readout = h("output", { for: id, class: "dk-readout" });
  const self = {
    element: h("div", { class: "dk-slider" }, h("label", { for: id, title: MEANING[name] }, label), input, readout),
    input,
    value,
    set(x) {
      self.value = clamp(x, grid[0], grid.at(-1));
      input.value = nearest(self.value);
      show();
    },
  };
  function show() {
    set(readout, { text: format(self.value) });
    set(input, { "aria-valuetext": `${label} ${format(self.value)}` });
    input.style.setProperty("--at", `${(100 * input.value) / (grid.length - 1)}%`);
  }
  set(input, {
    oninput() {
      self.value = grid[Number(input.value)];
      show();
      change(self.value);
    },
    ondblclick() {
      self.set(value);
      change(self.value);
    },
  });
  self.set(value);
  return self;
}

// One of a few, as a row of radio buttons. `options`: names, or [value, name] pairs. {element, value, set(value)}.
export function choice(label, options, value, change = () => {}) {
  const group = `dk-choice-${++count}`;
  const inputs = options.map((option) => {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    const input = h("input", { type: "radio", name: group, onchange: () => change((self.value = key)) });
    return { key, input, element: h("label", {}, input, h("span", {}, text)) };
  });
  const self = {
    element: h(
      "fieldset",
      { class: "dk-choice" },
      h("legend", {}, label),
      inputs.map((each) => each.element),
    ),
    value,
    set(key) {
      self.value = key;
      inputs.forEach((each) => (each.input.checked = each.key === key));
    },
  };
  self.set(value);
  return self;
}

// A push button.
export const button = (label, click, attributes = {}) =>
  h("button", { type: "button", class: "dk-button", onclick: click, ...attributes }, label);

// The numbers for a screen reader: spoken once the user pauses, not at each step of a slider. {element, say(text)}.
export function live() {
  const element = h("p", { class: "dk-live", role: "status", "aria-live": "polite" });
  let timer;
  return {
    element,
    say(text) {
      clearTimeout(timer);
      timer = setTimeout(() => set(element, { text }), 400);
    },
  };
}

// ── drawing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// frame(draw) -> ask: the first to ask in a frame is drawn at once; of those that follow, the newest, in the next frame.
export function frame(draw) {
  let busy = false;
  let again = false;
  return function ask() {
    again = busy;
    if (busy) return;
    busy = true;
    requestAnimationFrame(() => {
      busy = false;
      if (again) ask();
    });
    draw();
  };
}

// How far a run is, in words.
export const progress = ({ doing, step, of, loss }) =>
  of ? say("{doing}: step {step} of {of}, loss {loss}", { doing, step, of, loss: fixed(loss, 2) }) : `${doing} …`;

// What starts a run for real, stops it and says how far it is: the page's side of trainer.py. {row, result, show}.
// `ask` gives the message that starts it; `tell(state)` the words of a run. show({blocked, text}): what stands there now.
export function trainer(model, label, ask, { tell = progress, stoppable = () => true, kind = "dk-result" } = {}) {
  const start = button(label, () => model.send(ask()));
  const stop = button(say("Stop"), () => model.send({ stop: true }));
  const bar = h("progress", { "aria-label": say("training") });
  const status = h("span", { class: "dk-muted" });
  const result = h("p", { class: kind });
  let before = false;
  return {
    row: h("div", { class: "dk-row", "data-kernel": true }, start, stop, bar, status),
    result,
    show({ blocked = false, text = "" } = {}) {
      const state = model.get("state");
      const running = state.doing !== undefined;
      const ended = before && !running;
      before = running;
      set(start, { disabled: running || blocked });
      set(stop, { hidden: !running || !stoppable(state) });
      set(bar, { hidden: !running, max: state.of ?? 1, value: state.of ? state.step : null });
      set(status, { text: running ? tell(state) : "" });
      set(result, { text: state.error ?? state.line ?? text });
      result.classList.toggle("dk-error", Boolean(state.error));
      return { state, running, ended };
    },
  };
}

// A question to the kernel: `busy` says that it is under way, `fault` what went wrong. Whoever asks calls settled() when
// the answer is there. {busy, fault, ask(content, buffers), settled(), fail(text)}; `failed()`: called after a fault.
export function asker({ model, signal }, doing, failed = () => {}) {
  const busy = h("p", { class: "dk-note dk-busy", role: "status" });
  const fault = h("p", { class: "dk-error", role: "alert", hidden: true });
  let slow;
  function ask(content, buffers) {
    set(fault, { hidden: true, text: "" });
    set(busy, { text: doing });
    clearTimeout(slow);
    slow = setTimeout(() => set(busy, { text: say("The kernel is busy, or there is none: the answer comes when it is free.") }), 3000);
    try {
      model.send(content, undefined, buffers);
    } catch {} // no kernel: what the page has must do
  }
  function settled() {
    clearTimeout(slow);
    set(busy, { text: "" });
  }
  function fail(text) {
    settled();
    set(fault, { hidden: false, text });
    failed();
  }
  const receive = ({ kind, text }) => (kind === "error" || kind === "no kernel") && fail(text);
  model.on("msg:custom", receive);
  signal.addEventListener("abort", () => clearTimeout(slow));
  return { busy, fault, ask, settled, fail };
}

// What is called with (name, value) calls send(name, value): at once, then at most every 40 ms, of each the newest only.
export function newestOnly(send) {
  const values = {};
  let timer = null;
  function flush() {
    timer = null;
    for (const name of Object.keys(values)) {
      send(name, values[name]);
      delete values[name];
      timer ??= setTimeout(flush, 40);
    }
  }
  return (name, value) => {
    values[name] = value;
    if (timer === null) flush();
  };
}

// Round numbers for a logarithmic axis: 1, 2 and 5 times powers of ten.
export const ROUND = [-4, -3, -2, -1, 0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));

// A measure as it is written, and the class that logits answer.
export const asPercent = (value) => (value == null ? "–" : `${fixed(100 * value, 1)} %`);
export const asNats = (value) => (value == null ? "–" : short(value));
export const answerOf = (logits) => logits.indexOf(Math.max(...logits));

// Calls draw(width) now and whenever the width of `element` changes, until `signal` is aborted.
export function onWidth(element, draw, signal) {
  const observer = new ResizeObserver(([entry]) => entry.contentRect.width > 0 && draw(entry.contentRect.width));
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}

// A grey image of side × side pixels in 0…1, row by row, dark ink on light paper; without a label, what holds it has one.
export function thumbnail(pixels, label) {
  const side = Math.round(Math.sqrt(pixels.length));
  const named = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  const canvas = h("canvas", { class: "dk-thumbnail", width: side, height: side, ...named });
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  pixels.forEach((ink, i) => image.data.set([0, 1, 2].map(() => 255 - 235 * clamp(ink, 0, 1)).concat(255), 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}
