// The alpha and the divergence explorer: two rows of logits, sent once; everything else is computed here.
import { clamp, distribution, divergence, fixed, kdLoss, scale } from "./maths.js";
import { frame, h, live, onWidth, root, say, set, slider, svg, widget } from "./base.js";

const T = (value) => value.toFixed(2);
const dial = ({ low, high, value }) => [low, high, value];
const cut = (name, most = 14) => ([...name].length > most ? [...name].slice(0, most - 1).join("") + "…" : name);
const paint = (role, text) => h("span", { class: `dk-${role}` }, text);
const formula = (...parts) => h("p", { class: "dk-formula" }, ...parts);

// ── what the two have in common ────────────────────────────────────────────────────────────────────────────────────

// The values of the sliders live here and in the kernel; the kernel hears of them when the hand rests.
function settings({ model, signal }, changed) {
  const values = { ...model.get("values") };
  let timer;
  const pulled = () => {
    Object.assign(values, model.get("values"));
    changed();
  };
  model.on("change:values", pulled);
  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    values,
    put(name, value) {
      values[name] = value;
      changed();
      clearTimeout(timer);
      timer = setTimeout(() => {
        model.set("values", { ...values });
        model.save_changes();
      }, 150);
    },
  };
}

// One row a class, each a button. `columns` are drawn by the caller; rows know their height and whether they are chosen.
function classRows(names, { height, label, pick }) {
  const groups = names.map((name, i) =>
    svg(
      "g",
      {
        class: "dk-pick",
        role: "button",
        tabindex: 0,
        transform: `translate(0 ${i * height})`,
        onclick: () => pick(i),
        onkeydown(event) {
          if (event.key === "Enter" || event.key === " ") pick(i);
          else if (event.key === "ArrowDown") groups[Math.min(i + 1, groups.length - 1)].focus();
          else if (event.key === "ArrowUp") groups[Math.max(i - 1, 0)].focus();
          else return;
          event.preventDefault();
        },
      },
      svg("title", {}, name),
      svg("rect", { class: "dk-hit", width: "100%", height, rx: 4 }),
    ),
  );
  const element = svg("svg", { role: "group", "aria-label": label, height: names.length * height, width: "100%" }, groups);
  return { element, groups, height };
}

const bar = (row, attributes) => row.appendChild(svg("rect", attributes));
const word = (row, attributes, text = "") => row.appendChild(svg("text", attributes, text));
const span = (rect, from, to) => set(rect, { x: Math.min(from, to), width: Math.abs(to - from) });
const nameWidth = (names) => clamp(8 * Math.max(...names.map((name) => [...cut(name)].length)) + 20, 40, 130);

// ── alpha ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const PULLS = [
  ["softGradient", "teacher", say("● teacher’s pull")],
  ["hardGradient", "label", say("◆ label’s pull")],
  ["gradient", "sum", say("sum")],
];

function alpha({ model, el, signal }) {
  const { names, teacher, student } = model.get("spec");
  const redraw = frame(draw);
  const state = settings({ model, signal }, redraw);
  const { values } = state;
  const knobs = model.get("knobs");
  let width = 0;
  const dials = {
    alpha: slider(say("alpha α"), ...dial(knobs.alpha), { name: "alpha", format: T, change: (x) => state.put("alpha", x) }),
    temperature: slider(say("temperature T"), ...dial(knobs.temperature), {
      log: knobs.temperature.log, name: "temperature", format: T, change: (x) => state.put("temperature", x),
    }),
  };
  const rows = classRows(names, { height: 36, label: say("classes; choose the hard label"), pick: (i) => state.put("label", i) });
  const axes = svg("line", { class: "dk-axis", y1: 0, y2: 36 * names.length });
  rows.element.append(axes);
  const parts = rows.groups.map((row, i) => ({
    name: word(row, { y: 23 }, cut(names[i])),
    bars: PULLS.map(([, role], j) => bar(row, { class: `dk-fill-${role}`, y: 5 + 9 * j, height: 8, rx: 1 })),
    sum: word(row, { y: 23, "text-anchor": "end" }),
  }));
  const law = formula();
  const balance = svg("svg", { width: "100%", height: 22, "aria-hidden": "true" });
  const [softBar, hardBar] = ["teacher", "label"].map((role) => bar(balance, { class: `dk-fill-${role}`, y: 3, height: 14 }));
  const voice = live();
  const group = root(
    el, say("Alpha explorer"),
    h("div", { class: "dk-row" }, dials.alpha.element, dials.temperature.element),
    law, balance,
    h("div", { class: "dk-row dk-keys" }, PULLS.map(([, role, text]) => paint(role, text)),
      h("span", { class: "dk-note" }, say("Gradient on each logit; a bar to the left pushes the logit up. Choose a class to make it the label."))),
    rows.element, voice.element,
  );
  onWidth(group, (w) => ((width = w), redraw()), signal);

  function draw() {
    if (!width) return;
    const { alpha: a, temperature: t } = values;
    const label = clamp(values.label, 0, names.length - 1);
    Object.entries(dials).forEach(([name, dial]) => dial.value !== values[name] && dial.set(values[name]));
    const now = kdLoss(student, teacher, label, { alpha: a, temperature: t });
    const ends = [0, 1].map((end) => kdLoss(student, teacher, label, { alpha: end, temperature: t }).gradient);
    const extent = [Math.min(-1e-6, ...ends.flat()), Math.max(1e-6, ...ends.flat())]; // it stays while alpha moves
    const [from, to] = [nameWidth(names) + 14, width - 66];
    const x = scale(...extent, from, to);
    const zero = x(0);
    set(axes, { x1: zero, x2: zero });
    parts.forEach((part, i) => {
      const truth = i === label;
      set(rows.groups[i], {
        "aria-pressed": String(truth),
        "aria-label": truth ? say("{name}, the label: gradient {value}", { name: names[i], value: fixed(now.gradient[i]) }) : say("{name}: gradient {value}", { name: names[i], value: fixed(now.gradient[i]) }),
      });
      set(part.name, { x: 8, text: truth ? `◆ ${cut(names[i])}` : cut(names[i]), class: truth ? "dk-label dk-pick-name" : "dk-pick-name" });
      PULLS.forEach(([key], j) => span(part.bars[j], zero, x(now[key][i])));
      set(part.sum, { x: width - 6, text: fixed(now.gradient[i]) });
    });
    law.replaceChildren(
      say("loss"), " = ", paint("teacher", "α·T²·KL"), " + ", paint("label", "(1−α)·CE"), " = ",
      paint("teacher", `${T(a)}·${Number((t * t).toPrecision(4))}·${fixed(now.soft, 4)}`), " + ", paint("label", `${T(1 - a)}·${fixed(now.hard, 4)}`), " = ",
      paint("teacher", fixed(now.weighted[0])), " + ", paint("label", fixed(now.weighted[1])), " = ",
      h("b", { "data-name": "loss" }, fixed(now.loss)),
    );
    const whole = now.loss > 0 ? width / now.loss : 0;
    span(softBar, 0, now.weighted[0] * whole);
    span(hardBar, now.weighted[0] * whole, now.loss * whole);
    voice.say(say("Loss {loss}: teacher {teacher}, label {label}.", { loss: fixed(now.loss), teacher: fixed(now.weighted[0]), label: fixed(now.weighted[1]) }));
  }
}

// ── divergence ───────────────────────────────────────────────────────────────────────────────────────────────────────

const MEASURES = [
  ["forward_kl", say("forward KL"), "Σ p·log(p/q)"],
  ["reverse_kl", say("reverse KL"), "Σ q·log(q/p)"],
  ["jsd", "JSD, β", "β·KL(p‖m) + (1−β)·KL(q‖m)"],
  ["rescaled_jsd", "JSD / β(1−β)", say("rescaled: → KL at both ends")],
  ["skew_forward_kl", say("skew forward"), "KL(p ‖ 0.1·p + 0.9·q)"],
  ["skew_reverse_kl", say("skew reverse"), "KL(q ‖ 0.1·q + 0.9·p)"],
  ["total_variation", say("total variation"), say("½·Σ |p − q|, no unit")],
];

function divergences({ model, el, signal }) {
  const { names, teacher, student } = model.get("spec");
  const redraw = frame(draw);
  const state = settings({ model, signal }, redraw);
  const { values } = state;
  const knobs = model.get("knobs");
  let [shown, width] = ["forward_kl", 0];
  const dials = {
    beta: slider(say("beta β"), ...dial(knobs.beta), { name: "beta", format: T, change: (x) => state.put("beta", x) }),
    temperature: slider(say("temperature T"), ...dial(knobs.temperature), {
      log: knobs.temperature.log, name: "temperature", format: T, change: (x) => state.put("temperature", x),
    }),
  };
  const name = `dk-measure-${Math.random().toString(36).slice(2)}`;
  const list = MEASURES.map(([key, title, text]) => {
    const input = h("input", { type: "radio", name, onchange: () => ((shown = key), redraw()) });
    const [meter, value] = [h("i", {}), h("b", { "data-name": key })];
    return { key, input, meter, value, element: h("label", {}, input, h("span", {}, title, h("small", {}, text)), h("div", {}, meter), value) };
  });
  const height = 32;
  const plot = svg("svg", { role: "img", width: "100%", height: names.length * height });
  const head = svg("svg", { width: "100%", height: 26, "aria-hidden": "true" });
  const titles = [
    word(head, { class: "dk-teacher", y: 16 }, say("● teacher p")), word(head, { class: "dk-student", y: 16 }, say("■ student q")),
    word(head, { class: "dk-muted", y: 16, "text-anchor": "end" }, say("contribution")),
  ];
  const axis = plot.appendChild(svg("line", { class: "dk-axis", y1: 0, y2: names.length * height }));
  const parts = names.map((each, i) => {
    const row = plot.appendChild(svg("g", { transform: `translate(0 ${i * height})` }, svg("title", {}, each)));
    return {
      name: word(row, { y: 21, x: 0 }, cut(each)),
      p: bar(row, { class: "dk-fill-teacher", y: 5, height: 10, rx: 1 }),
      q: bar(row, { class: "dk-fill-student", y: 17, height: 10, rx: 1 }),
      part: bar(row, { class: "dk-fill-sum", y: 9, height: 14, rx: 1 }),
      number: word(row, { y: 21, "text-anchor": "end" }),
    };
  });
  const curves = svg("svg", { class: "dk-curves", role: "img", viewBox: "0 0 320 150" });
  const lines = ["rescaled_jsd", "jsd"].map((key) => [
    key, curves.appendChild(svg("path", { class: `dk-curve-${key}` })), curves.appendChild(svg("circle", { r: 4.5, class: `dk-dot-${key}` })),
    word(curves, { class: key === "jsd" ? "dk-accent" : "dk-muted", "text-anchor": "middle" }, key === "jsd" ? say("JSD: 0 at both ends") : say("rescaled")),
  ]);
  curves.append(svg("line", { class: "dk-axis", x1: 10, x2: 310, y1: 128, y2: 128 }));
  [["β = 0", 10, "start"], ["β = 1", 310, "end"]].forEach(([text, x, anchor]) => word(curves, { class: "dk-muted", x, y: 146, "text-anchor": anchor }, text));
  const law = formula();
  const voice = live();
  const box = h("div", {}, head, plot, law);
  root(
    el, say("Divergence explorer"),
    h("div", { class: "dk-row" }, dials.beta.element, dials.temperature.element),
    h("div", { class: "dk-columns" }, box,
      h("div", {}, h("fieldset", { class: "dk-measures" }, h("legend", { class: "dk-live" }, say("divergence")), list.map((each) => each.element)), curves)),
    voice.element,
  );
  onWidth(box, (w) => ((width = w), redraw()), signal);

  function draw() {
    if (!width) return;
    const { beta, temperature: t } = values;
    Object.entries(dials).forEach(([key, dial]) => dial.value !== values[key] && dial.set(values[key]));
    const [q, p] = [distribution(student, t), distribution(teacher, t)];
    const found = Object.fromEntries(MEASURES.map(([key]) => [key, divergence(key, q, p, { beta })]));
    const most = Math.max(1e-9, ...Object.values(found).map((each) => each.value));
    for (const each of list) {
      const { value } = found[each.key];
      each.input.checked = each.key === shown;
      set(each.value, { text: fixed(value, 4) });
      each.meter.style.width = `${(100 * value) / most}%`;
    }
    const { shares, value } = found[shown];
    const left = nameWidth(names);
    const right = width * 0.55;
    const x = scale(0, 1, left, right);
    // the contributions' axis: zero stands still, at a third, since a class may contribute less than nothing
    const largest = Math.max(1e-9, ...shares.map(Math.abs));
    const signed = shares.some((each) => each < -1e-12);
    const zero = right + 16 + (signed ? (width - right - 76) / 2 : 0);
    const reach = (width - right - 76) / (signed ? 2 : 1);
    set(axis, { x1: zero, x2: zero });
    set(titles[0], { x: left });
    set(titles[1], { x: left + 92 });
    set(titles[2], { x: width, text: width > 430 ? say("contribution to {measure}", { measure: MEASURES.find(([key]) => key === shown)[1] }) : MEASURES.find(([key]) => key === shown)[1] });
    parts.forEach((part, i) => {
      span(part.p, left, x(p.probs[i]));
      span(part.q, left, x(q.probs[i]));
      span(part.part, zero, zero + (shares[i] / largest) * reach);
      set(part.number, { x: width, text: fixed(shares[i]) });
    });
    const grid = Array.from({ length: 41 }, (_, i) => i / 40);
    const values_ = Object.fromEntries(lines.map(([key]) => [key, grid.map((b) => divergence(key, q, p, { beta: b }).value)]));
    const top = Math.max(1e-9, ...Object.values(values_).flat());
    const [cx, cy] = [scale(0, 1, 10, 310), scale(0, top, 128, 26)];
    for (const [key, path, dot, text] of lines) {
      set(path, { d: values_[key].map((v, i) => `${i ? "L" : "M"}${cx(grid[i]).toFixed(1)} ${cy(v).toFixed(1)}`).join("") });
      set(dot, { cx: cx(beta), cy: cy(found[key].value) });
      set(text, { x: 160, y: cy(values_[key][20]) - 10 });
    }
    law.replaceChildren(say("{measure} = Σ contributions = ", { measure: MEASURES.find(([key]) => key === shown)[1] }), h("b", {}, fixed(value, 4)),
      shown === "total_variation" ? "" : ` ${say("nats")}`);
    const measure = MEASURES.find(([key]) => key === shown)[1];
    const each = names.map((name, i) => `${name} ${fixed(p.probs[i])} ${fixed(q.probs[i])} ${fixed(shares[i])}`).join("; ");
    set(plot, { "aria-label": say("By class, probability of the teacher, of the student, and contribution to {measure}: {values}", { measure, values: each }) });
    const at = (key) => [0, 20, 40].map((i) => fixed(values_[key][i])).join(", ");
    set(curves, { "aria-label": say("At β = 0, ½ and 1: JSD {plain}; rescaled {rescaled}", { plain: at("jsd"), rescaled: at("rescaled_jsd") }) });
    voice.say(MEASURES.map(([key, title]) => `${title} ${fixed(found[key].value)}`).join(", "));
  }
}

const VIEWS = { loss_terms: alpha, divergences };
export default widget({ render: (given) => VIEWS[given.model.get("spec").view](given) });
