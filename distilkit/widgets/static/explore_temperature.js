// The temperature explorer: fixed logits, moving soft labels. Everything is computed here, from logits sent once.
import { distribution, divergence, entropy, fixed, logSum, power, scale, share, short, stops } from "./maths.js";
import { called, choice, frame, h, live, root, say, set, slider, thumbnail, widget } from "./base.js";

const MARK = { teacher: "●", student: "■", twin: "▲" };
const ROWS = 16; // as many classes as a reader takes in

function render({ model, el }) {
  const { roles, classes, labels, side, first, count, example } = model.get("spec");
  const { temperature: knob } = model.get("knobs");
  const { buffer, byteOffset, byteLength } = model.get("logits");
  const logits = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
  const width = classes.length;
  const rows = logits.length / (roles.length * width);
  const of = (role, i) => logits.subarray((roles.indexOf(role) * rows + i) * width).subarray(0, width);
  const [lead, ...others] = roles;
  const state = { temperature: knob.value, example, chosen: 0, open: false, squared: true };

  // ── what stays ─────────────────────────────────────────────────────────────────────────────────────────────────────
  const temperature = slider(say("Temperature T"), knob.low, knob.high, knob.value, {
    name: "temperature",
    log: knob.log,
    values: knob.values,
    change: (value) => ((state.temperature = value), redraw()),
  });
  const scaling = choice(say("Gradient"), [["yes", "× T²"], ["no", say("as it is")]], "yes", (value) => {
    state.squared = value === "yes";
    redraw();
  });
  const pixels = side ? new Uint8Array(model.get("pixels").buffer, model.get("pixels").byteOffset) : null;
  const image = (i) => Array.from(pixels.subarray(i * side * side, (i + 1) * side * side), (x) => x / 255);
  const named = (i) =>
    labels && labels[i] >= 0 ? say("Example {number}, label {label}", { number: first + i, label: classes[labels[i]] }) : say("Example {number}", { number: first + i });
  const strip = radios(say("Example"), rows, (i) => {
    const shown = side ? thumbnail(image(i), "") : String(first + i);
    return h("button", { type: "button", class: "dk-example", "aria-label": named(i), title: named(i) }, shown);
  }, (i) => ((state.example = i), begin()), true);
  const large = h("div", { class: "dk-large" });
  const truth = h("p", { class: "dk-muted" });
  const picked = radios(say("Class"), width, (i) => {
    return h("button", { type: "button", class: "dk-class" }, classes[i]);
  }, (i) => {
    state.open = !(state.open && state.chosen === i);
    state.chosen = i;
    redraw();
  });

  const lines = classes.map((_, i) => {
    const bars = Object.fromEntries(roles.map((role) => [role, h("div", { class: `dk-bar dk-bar-${role}` })]));
    const numbers = Object.fromEntries(roles.map((role) => [role, h("span", { class: `dk-amount dk-${role}` })]));
    const dots = roles.map((role) => h("i", { class: `dk-dot dk-${role}` }, MARK[role]));
    const push = h("div", { class: "dk-push" });
    const pushed = h("span", { class: "dk-amount" });
    const element = h(
      "div",
      { class: "dk-line" },
      h("div", { class: "dk-logits" }, dots),
      h("div", { class: "dk-side dk-left" }, numbers[lead], h("div", { class: "dk-track" }, bars[lead])),
      picked.items[i],
      others.length > 0 && h("div", { class: "dk-side" }, h("div", { class: "dk-track" }, others.map((role) => bars[role])),
        others.map((role) => numbers[role])),
      others.length > 0 && h("div", { class: "dk-gradient" }, h("div", { class: "dk-zero" }, push), pushed),
    );
    return { element, bars, numbers, dots, push, pushed };
  });
  const title = (role) => h("span", { class: `dk-${role}` }, `${MARK[role]} ${called(role)}`);
  const gradientHead = h("span", {});
  const head = h(
    "div",
    { class: "dk-line dk-head" },
    h("div", { class: "dk-logits" }, say("logits z (fixed)")),
    h("div", { class: "dk-side dk-left" }, title(lead)),
    h("div", { class: "dk-class" }, say("class")),
    others.length > 0 && h("div", { class: "dk-side" }, others.map(title)),
    others.length > 0 && h("div", { class: "dk-gradient" }, gradientHead),
  );
  const rest = h("p", { class: "dk-note" });
  const table = figures(roles, [say("entropy"), others.length > 0 && say("forward KL({role}‖·)", { role: called(lead) }), others.length > 0 && say("reverse KL(·‖{role})", { role: called(lead) })]);
  const formula = h("p", { class: "dk-formula", "data-name": "formula" });
  const worked = figures(roles, ["z", "z / T", "e^(z/T)", "Σ e^(z/T)", "p"]);
  worked.element.classList.add("dk-worked");
  const reading = h("p", { class: "dk-reading" });
  const speech = live();

  // ── what changes with the example ──────────────────────────────────────────────────────────────────────────────────
  let spread = [0, 1];
  let most = 1;
  let shown = [];
  function begin() {
    const each = roles.map((role) => of(role, state.example));
    const finite = each.flatMap((values) => [...values]).filter(Number.isFinite);
    spread = [Math.min(...finite), Math.max(...finite)];
    const peak = (i) => Math.max(...each.map((values) => values[i]));
    const order = classes.map((_, i) => i).sort((a, b) => peak(b) - peak(a));
    shown = order.slice(0, ROWS).sort((a, b) => a - b);
    const grid = stops({ ...knob, log: true, values: knob.values });
    most = Math.max(1e-9, ...grid.flatMap((t) => (others.length ? gradient(t, true).map(Math.abs) : [0])));
    state.chosen = each[0].indexOf(Math.max(...each[0]));
    picked.mark(state.chosen);
    const across = scale(spread[0], Math.max(spread[1], spread[0] + 1e-9), 3, 97);
    lines.forEach(({ element, dots }, i) => {
      element.hidden = !shown.includes(i);
      element.classList.toggle("dk-true", labels?.[state.example] === i);
      dots.forEach((dot, k) => {
        dot.style.left = `${across(Math.max(spread[0], each[k][i]))}%`;
        dot.title = `${called(roles[k])} z = ${short(each[k][i])}`;
      });
    });
    set(rest, { text: width > ROWS ? say("The {some} largest of {all} classes.", { some: ROWS, all: width }) : "" });
    if (side) large.replaceChildren(thumbnail(image(state.example), named(state.example)));
    const label = labels?.[state.example] ?? -1;
    set(truth, { text: label >= 0 ? say("The label says only “{label}”.", { label: classes[label] }) : named(state.example) });
    redraw();
  }
  function gradient(t, squared) {
    const [p, q] = [lead, others[0]].map((role) => distribution(of(role, state.example), t));
    return divergence("forward_kl", q, p, { temperature: t }).gradient.map((x) => (squared ? t * t * x : x));
  }

  // ── what changes with the temperature ──────────────────────────────────────────────────────────────────────────────
  const redraw = frame(() => {
    const t = state.temperature;
    const soft = Object.fromEntries(roles.map((role) => [role, distribution(of(role, state.example), t)]));
    const pull = others.length ? gradient(t, state.squared) : [];
    for (const i of shown) {
      const { element, bars, numbers, push, pushed } = lines[i];
      for (const role of roles) {
        bars[role].style.width = `${100 * soft[role].probs[i]}%`;
        set(numbers[role], { text: share(soft[role].probs[i]) });
      }
      element.classList.toggle("dk-chosen", i === state.chosen);
      if (!others.length) continue;
      const x = 50 * (pull[i] / most);
      push.style.left = `${Math.min(50, 50 + x)}%`;
      push.style.width = `${Math.abs(x)}%`;
      set(pushed, { text: fixed(pull[i], 3) });
    }
    set(gradientHead, { text: say("gradient {formula}", { formula: state.squared ? "T·(q − p)" : "(q − p) / T" }) });
    const values = roles.map((role) => [
      say("{value} nats", { value: fixed(entropy(soft[role])) }),
      role === lead ? "–" : say("{value} nats", { value: fixed(divergence("forward_kl", soft[role], soft[lead]).value) }),
      role === lead ? "–" : say("{value} nats", { value: fixed(divergence("reverse_kl", soft[role], soft[lead]).value) }),
    ]);
    table.fill(values);
    const z = of(lead, state.example)[state.chosen];
    const total = logSum(of(lead, state.example), t);
    const p = share(soft[lead].probs[state.chosen]);
    formula.replaceChildren(
      h("i", { class: `dk-${lead}` }, "p"), `(${classes[state.chosen]}) = `,
      fraction([h("i", {}, "e"), h("sup", {}, `${short(z)} / ${short(t)}`)], ["Σ ", h("i", {}, "e"), h("sup", {}, "z / T")]), " = ",
      fraction([power(z / t)], [power(total)]), " = ", h("b", {}, p),
    ); // prettier-ignore
    worked.element.hidden = !state.open;
    if (state.open)
      worked.fill(roles.map((role) => {
        const values = of(role, state.example);
        const at = values[state.chosen];
        return [short(at), short(at / t), power(at / t), power(logSum(values, t)), share(soft[role].probs[state.chosen])];
      }));
    const ranked = shown.slice().sort((a, b) => soft[lead].probs[b] - soft[lead].probs[a]).slice(0, 3);
    const words = ranked.map((i) => `“${classes[i]}” ${share(soft[lead].probs[i])}`).join(", ");
    const apart = others.map((role) => say("forward KL to the {role} {value}", { role: called(role), value: fixed(divergence("forward_kl", soft[role], soft[lead]).value) }));
    const sentence = say("At T = {t} the {role} says {words}. Entropy {numbers} nats.", { t: short(t), role: called(lead), words, numbers: [fixed(entropy(soft[lead])), ...apart].join("; ") });
    set(reading, { text: sentence });
    speech.say(sentence);
  });

  strip.mark(example);
  root(
    el,
    say("Temperature explorer"),
    rows > 1 && strip.element,
    rows < count && h("p", { class: "dk-note" }, say("Examples {first} to {last} of {count}.", { first, last: first + rows - 1, count })),
    h("div", { class: "dk-row dk-top" }, side > 0 && large, h("div", { class: "dk-controls" }, truth, temperature.element,
      h("div", { class: "dk-ends" }, h("span", {}, say("sharper")), h("span", {}, say("softer")))), others.length > 0 && scaling.element),
    h("div", { class: `dk-lines dk-has-${roles.length}`, style: { "--dk-class": `${Math.min(18, Math.max(...classes.map((name) => name.length)) + 2)}ch` } }, head, picked.group(lines.map((line) => line.element)), rest),
    h("p", { class: "dk-note" }, say("Choose a class to see its arithmetic. "),
      others.length > 0 && say("The gradient is the {role}’s: to the left of zero it lifts the logit of the class, to the right it lowers it.", { role: called(others[0]) })),
    h("div", { class: "dk-row dk-sums" }, formula, table.element), worked.element, reading, speech.element,
  ).classList.add("dk-soft"); // prettier-ignore
  begin();
}

const fraction = (top, bottom) => h("span", { class: "dk-fraction" }, h("span", {}, ...top), h("span", {}, ...bottom));

// Buttons of which one is chosen: a radio group that arrow keys walk through.
function radios(label, count, make, pick, inside = false) {
  const items = Array.from({ length: count }, (_, i) => make(i));
  const mark = (chosen) =>
    items.forEach((item, i) => {
      set(item, { "aria-checked": String(i === chosen) });
      item.tabIndex = i === chosen ? 0 : -1;
    });
  const choose = (i) => (mark(i), pick(i));
  items.forEach((item, i) => {
    set(item, { role: "radio", onclick: () => choose(i) });
    item.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      let to = i;
      do to = (to + step + count) % count;
      while (items[to].closest("[hidden]"));
      items[to].focus();
      choose(to);
    });
  });
  const group = (children) => h("div", { role: "radiogroup", "aria-label": label }, children);
  return { items, mark, group, element: h("div", { class: "dk-strip", role: "radiogroup", "aria-label": label }, inside && items) };
}

// A small table: one row a role, one column a quantity. {element, fill([[text, …], …])}
function figures(roles, names) {
  const columns = names.filter(Boolean);
  const cells = roles.map(() => columns.map(() => h("td", {})));
  const element = h(
    "table",
    { class: "dk-table" },
    h("thead", {}, h("tr", {}, h("td", {}), columns.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, roles.map((role, i) =>
      h("tr", { "data-role": role }, h("th", { scope: "row", class: `dk-${role}` }, `${MARK[role]} ${called(role)}`), cells[i]))),
  ); // prettier-ignore
  const fill = (values) => cells.forEach((row, i) => row.forEach((cell, k) => set(cell, { text: values[i][k] })));
  return { element, fill };
}

export default widget({ render });
