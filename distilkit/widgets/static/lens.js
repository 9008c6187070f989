// The token lens: a text coloured by what teacher, student and twin make of it; one prediction as bars at any T.
import { button, called, choice, h, live, root, say, set, slider, svg, widget } from "./base.js";
import { clamp, distribution, divergence, entropy, fixed, halves, leaders, share, short, sum } from "./maths.js";

const KINDS = { kl: say("divergence"), loss: say("loss"), entropy: say("entropy") };
const SHAPES = { teacher: "M2 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", student: "M2 2h8v8h-8z", twin: "M6 1l5 9h-10z" };
const PATIENCE = 800; // ms that an answer of the kernel is waited for before the page helps itself
const PACE = 350; // ms that a step is shown in play

const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const nats = (value) => (Number.isNaN(value) ? "–" : fixed(value, 2));
const spelt = (text) => text.replaceAll("\n", "↵").replaceAll(" ", "·");
const quoted = (text) => `‘${text.replaceAll("\n", "↵")}’`;
const mark = (role) =>
  svg("svg", { width: 12, height: 12, class: `dk-${role}`, "aria-hidden": "true" }, svg("path", { d: SHAPES[role], fill: "currentColor" }));

// A token as it stands in the text: a line break is seen, and breaks the line.
const inText = (text) => text.split("\n").flatMap((part, i) => (i ? [h("span", { class: "dk-lens-break" }, "↵"), "\n", part] : [part]));

// The ceiling of a scale: the 98th percentile, rounded up to a round number.
function ceiling(values) {
  const known = values.filter(Number.isFinite).sort((a, b) => a - b);
  const high = Math.max(0.01, known[Math.floor(0.98 * (known.length - 1))] ?? 0);
  const unit = 10 ** Math.floor(Math.log10(high));
  return unit * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((factor) => factor * unit >= high * 0.999);
}

function render({ model, el, signal }) {
  const about = model.get("about");
  const { roles, steps, named } = about;
  const last = steps.length - 1;
  const ask = (kind, rest = {}) => {
    try {
      model.send({ kind, serial: page.serial, ...rest });
    } catch {} // no kernel: what the page has must do
  };
  let page, values, heads, count; // the text, and its numbers
  let names = new Map();
  let known = new Map(); // place -> { role: [logits at each of its steps] }
  let chosen = 0; // the place: the prediction of token chosen + 1
  let at = last;
  let spans = [];
  let waiting = null;
  let asked = null; // the place that the kernel was asked about
  let silent = false; // whether the kernel let us wait in vain

  // ── what colours the text ──
  const kind = choice(say("colour by"), Object.entries(KINDS), "kl", () => (whose.value === "teacher" && kind.value === "kl" && whose.set("student"), paint()));
  const whose = choice(say("of the"), roles.map((role) => [role, called(role)]), "student", () => (whose.value === "teacher" && kind.value === "kl" && kind.set("loss"), paint()));
  const legend = h("div", { class: "dk-lens-legend" });
  const told = h("p", { class: "dk-lens-told" });
  const spoken = live();

  const row = (k, role, step = at) => {
    const place = named.findIndex(([a, b]) => a === k && b === role);
    return place < 0 ? null : values.subarray((step * named.length + place) * count, (step * named.length + place + 1) * count);
  };
  const title = () =>
    kind.value === "kl" ? say("KL(teacher ‖ {role})", { role: called(whose.value) }) : say("{measure} of the {role}", { measure: KINDS[kind.value], role: called(whose.value) });
  const tokenAt = (place) => (place + 1 < count ? quoted(page.tokens[place + 1]) : say("what comes next"));

  function describe(place) {
    const numbers = { measure: title(), value: nats(row(kind.value, whose.value)[place]) };
    const said = [
      place + 1 < count
        ? say("token {place} {text}: {measure} {value} nats", { place: place + 1, text: quoted(page.tokens[place + 1]), ...numbers })
        : say("token after the last: {measure} {value} nats", numbers),
    ];
    const also = kind.value === "loss" ? "kl" : "loss";
    const others = roles.filter((role) => row(also, role)).map((role) => `${called(role)} ${nats(row(also, role)[place])}`);
    if (place + 1 < count) said.push(also === "kl" ? say("KL from the teacher: {values}", { values: others.join(", ") }) : say("loss: {values}", { values: others.join(", ") }));
    return said.join("; ");
  }

  // ── the text ──
  const text = h("div", { class: "dk-lens-text", role: "group", "aria-label": say("The text, token by token"),
    onkeydown: walk,
    onclick: (event) => choose(placeOf(event.target), true),
    onfocusin: (event) => tell(placeOf(event.target)),
    onpointerover: (event) => tell(placeOf(event.target)),
    onpointerleave: () => tell(chosen) });
  const placeOf = (target) => spans.findIndex((span) => span.contains(target));
  const tell = (place) => place >= 0 && set(told, { text: describe(place) });

  function write() {
    spans = Array.from({ length: count }, (_, place) =>
      h("span", { class: "dk-lens-token", role: "button", "data-place": place }, ...(place + 1 < count ? inText(page.tokens[place + 1]) : ["⋯"])));
    const first = h("span", { class: "dk-lens-first", title: say("the first token: nobody predicts it") }, ...inText(page.tokens[0]));
    text.replaceChildren(...[first, ...spans].flatMap((span, i) => (page.ids[i] === page.end ? [span, "\n"] : [span])));
  }

  function paint() {
    const now = row(kind.value, whose.value);
    const all = [];
    for (let step = 0; step <= last; step++) for (const role of roles) all.push(...(row(kind.value, role, step) ?? []));
    const limit = ceiling(all);
    const tenth = [...now].filter(Number.isFinite).sort((a, b) => b - a)[Math.ceil(now.length / 10) - 1];
    set(text, { "data-kind": kind.value, "data-role": whose.value });
    spans.forEach((span, place) => {
      const value = now[place];
      span.style.setProperty("--share", Number.isNaN(value) ? 0 : clamp(value / limit, 0, 1).toFixed(3));
      span.classList.toggle("dk-lens-high", value >= tenth && value > 0);
      const said = describe(place);
      set(span, { title: said, "aria-label": said, "data-value": value, "aria-pressed": String(place === chosen), tabindex: place === chosen ? 0 : -1 });
    });
    legend.className = `dk-lens-legend dk-lens-by-${whose.value}`;
    text.className = `dk-lens-text dk-lens-by-${whose.value}`;
    const mean = [...now].slice(0, -1);
    legend.replaceChildren(
      h("span", {}, title()), h("span", { class: "dk-lens-scale" }, "0", h("i", { "aria-hidden": "true" }), say("{value} nats", { value: short(limit) })),
      h("span", { class: "dk-muted" }, say("mean "), h("b", { "data-name": "mean" }, nats(sum(mean) / mean.length)), "; ", h("u", {}, say("underlined")), say(": the top tenth")));
    tell(chosen);
  }

  // Arrow keys move the focus: left and right by a token, up and down by a line; Enter and Space choose.
  function walk(event) {
    const from = placeOf(event.target);
    if (from < 0) return;
    const to = { ArrowRight: from + 1, ArrowLeft: from - 1, Home: 0, End: count - 1, ArrowDown: nearest(from, 1), ArrowUp: nearest(from, -1) }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(from, true);
    else if (to === undefined) return;
    else {
      const next = spans[clamp(to, 0, count - 1)];
      spans.forEach((span) => set(span, { tabindex: span === next ? 0 : -1 }));
      next.focus();
    }
    event.preventDefault();
    event.stopPropagation();
  }
  function nearest(from, direction) {
    const boxes = spans.map((span) => span.getClientRects()[0] ?? span.getBoundingClientRect());
    const own = boxes[from];
    const beyond = boxes.map((box, i) => [i, (box.top - own.top) * direction]).filter(([, away]) => away > 4);
    const line = Math.min(...beyond.map(([, away]) => away));
    return beyond.filter(([, away]) => away < line + 4).reduce((best, [i]) => (best < 0 || Math.abs(boxes[i].left - own.left) < Math.abs(boxes[best].left - own.left) ? i : best), -1) ?? from;
  }

  // ── training ──
  const scrub = slider(say("step"), steps[0], steps[last], steps[last], { values: steps, name: "step", format: String, change: (step) => goTo(steps.indexOf(step)) });
  let playing = null;
  const play = button(say("Play"), () => (playing === null ? start() : stop()), { "aria-label": say("Play the training") });
  function goTo(step) {
    at = step;
    paint();
    bars();
  }
  function start() {
    set(play, { text: say("Pause"), "aria-label": say("Pause") });
    if (at === last) at = -1;
    const next = () => {
      if (!el.isConnected || at >= last) return stop();
      scrub.set(steps[at + 1]);
      goTo(at + 1);
      playing = setTimeout(next, PACE);
    };
    playing = 0;
    next();
  }
  function stop() {
    clearTimeout(playing);
    playing = null;
    set(play, { text: say("Play"), "aria-label": say("Play the training") });
  }
  set(scrub.input, { oninput: stop });

  // ── one prediction ──
  const heat = slider(say("temperature T"), 0.25, 8, 1, { log: true, name: "temperature", change: () => bars() });
  const top = slider(say("top k"), 1, about.most, about.top, { whole: true, name: "top", format: String, change: () => bars() });
  const context = h("p", { class: "dk-lens-context" });
  const table = h("div", { class: `dk-lens-bars dk-lens-has-${roles.length}`, role: "table", "aria-label": say("Next-token probabilities") });
  const note = h("p", { class: "dk-note dk-lens-note" });

  const logitsOf = (role) => known.get(chosen)?.[role][about.places[role][at]];

  function choose(place, user = false) {
    if (place < 0) return;
    if (place !== chosen) asked = null;
    chosen = place;
    spans.forEach((span, i) => set(span, { "aria-pressed": String(i === chosen), tabindex: i === chosen ? 0 : -1 }));
    const before = page.tokens.slice(Math.max(0, place - 11), place + 1).join("").replaceAll("\n", "↵");
    context.replaceChildren(h("span", { class: "dk-muted" }, place > 11 ? "… " : ""), before, h("span", { class: "dk-lens-gap" }, place + 1 < count ? page.tokens[place + 1].replaceAll("\n", "↵") : "⋯"));
    set(writeButton, { title: say("in place of {token}", { token: tokenAt(place) }) });
    tell(place);
    if (user) spoken.say(describe(place));
    bars();
  }

  // Sorted rows of tokens, and for each role the probabilities, by token. Exact where the logits are here.
  function prediction() {
    const logits = roles.map(logitsOf);
    if (logits.every(Boolean)) {
      const ranked = roles.map((role, i) => role !== "twin" && leaders(logits[i], top.value));
      const soft = logits.map((each) => distribution(each, heat.value));
      const ids = [...new Set(ranked.filter(Boolean).flat())];
      const measure = (q) => divergence("forward_kl", q, soft[0]).value;
      return { ids, probs: soft.map((each) => each.probs), entropies: soft.map(entropy), kls: soft.map((each, i) => (i ? measure(each) : null)) };
    }
    const offset = sum(page.bars.slice(0, chosen).map((each) => each.length));
    const all = sum(page.bars.map((each) => each.length));
    const ids = page.bars[chosen];
    const probs = roles.map((_, i) => Object.fromEntries(ids.map((id, j) => [id, Math.exp(heads[i * all + offset + j])])));
    const given = (k) => roles.map((role) => row(k, role, last)?.[chosen] ?? null);
    return { ids: [...ids], probs, entropies: given("entropy"), kls: given("kl"), stored: true };
  }

  function bars() {
    if (!page) return;
    clearTimeout(waiting);
    const exact = roles.every(logitsOf);
    if (!exact && asked !== chosen) ask("at", { place: (asked = chosen) });
    set(table, { "aria-busy": !exact && !silent && "true" });
    if (!exact && !silent) return void (waiting = setTimeout(() => ((silent = true), bars()), PATIENCE));
    const { ids, probs, entropies, kls, stored } = prediction();
    const truth = page.ids[chosen + 1];
    if (truth !== undefined && !ids.includes(truth)) ids.push(truth);
    ids.sort((a, b) => probs[0][b] - probs[0][a]);
    const tails = probs.map((p) => Math.max(0, 1 - sum(ids.map((id) => p[id]))));
    const most = Math.max(...ids.flatMap((id) => probs.map((p) => p[id])));
    const end = [0.05, 0.1, 0.25, 0.5, 1].find((limit) => most <= limit) ?? 1;
    const heading = roles.map((role, i) =>
      h("div", { class: `dk-lens-side dk-${role}`, role: "columnheader", "data-role": role, "data-entropy": entropies[i], "data-kl": kls[i] },
        h("b", {}, mark(role), ` ${called(role)}`), h("span", {}, say("entropy {value}", { value: nats(entropies[i]) })), i > 0 && h("span", {}, say("KL from teacher {value}", { value: nats(kls[i]) }))));
    const line = (name, amounts, attributes, isTrue = false) =>
      h("div", { class: `dk-lens-row${isTrue ? " dk-lens-true" : ""}`, role: "row", ...attributes },
        h("div", { class: "dk-lens-name", role: "rowheader", title: name }, name),
        ...roles.map((role, i) =>
          h("div", { class: "dk-lens-cell", role: "cell", "data-role": role, "data-p": amounts[i] },
            h("span", { class: "dk-lens-track" }, h("span", { class: `dk-lens-bar dk-lens-bar-${role}`, "data-beyond": amounts[i] > end, style: { width: `${Math.min(100, (100 * amounts[i]) / end)}%`, "border-right-width": amounts[i] < 0.01 * end ? 0 : null } })),
            h("span", { class: "dk-lens-amount" }, share(amounts[i])))));
    table.replaceChildren(
      h("div", { class: "dk-lens-row dk-lens-head", role: "row" }, h("div", { class: "dk-lens-name", role: "columnheader" }, say("next token")), ...heading),
      ...ids.map((id) => line(spelt(names.get(id) ?? `№ ${id}`), probs.map((p) => p[id]), { "data-token": id }, id === truth)),
      line(say("all others"), tails, { class: "dk-lens-row dk-lens-tail" }));
    const truly = truth === undefined ? "" : say("◆ what really comes. ");
    const when = last ? say(", step {step}", { step: steps[stored ? last : at] }) : "";
    set(note, { text: stored
      ? truly + say("The kernel does not answer: stored bars at T = 1{when}.", { when })
      : truly + say("softmax(z / T) at T = {t}{when}; a full bar is {end}{beyond}. ", { t: short(heat.value), when, end, beyond: Math.max(...tails) > end ? say(" (all others go beyond)") : "" }) +
        (roles.length > 1 ? say("In nats at this T; the colours of the text are at T = 1.") : "") });
  }

  // ── a text of one's own, and what the models write ──
  const typed = h("input", { type: "text", class: "dk-lens-input", maxlength: about.typed, spellcheck: "false", autocomplete: "off",
    "aria-label": say("your own text"), placeholder: say("your own text; nothing brings the first one back"),
    onkeydown: (event) => event.key === "Enter" && measure() });
  const measureButton = button(say("Measure"), measure);
  const busy = h("p", { class: "dk-note dk-lens-busy", role: "status" });
  const fault = h("p", { class: "dk-error", role: "alert", hidden: true });
  let slow = null;
  function request(kindOf, rest, doing) {
    set(fault, { hidden: true, text: "" });
    [measureButton, writeButton].forEach((each) => set(each, { disabled: true }));
    set(busy, { text: doing });
    clearTimeout(slow);
    slow = setTimeout(() => {
      set(busy, { text: say("The kernel is busy, or there is none: the answer comes when it is free.") });
      [measureButton, writeButton].forEach((each) => set(each, { disabled: false }));
    }, 3000);
    ask(kindOf, rest);
  }
  function settled() {
    clearTimeout(slow);
    set(busy, { text: "" });
    [measureButton, writeButton].forEach((each) => set(each, { disabled: false }));
  }
  function measure() {
    request("text", { value: typed.value }, say("The kernel measures the text …"));
  }

  const sampling = slider(say("sampling temperature"), 0, 2, 0, { name: "sampling", values: Array.from({ length: 21 }, (_, i) => i / 10), format: (x) => (x ? fixed(x, 1) : say("0, greedy")) });
  const seed = h("input", { type: "number", class: "dk-lens-seed", min: 0, max: 2 ** 31 - 1, value: 0, "aria-label": say("seed") });
  const writeButton = button(say("Write on"), () =>
    request("write", { place: chosen, step: at, temperature: sampling.value, seed: clamp(Math.round(seed.valueAsNumber) || 0, 0, 2 ** 31 - 1) },
      roles.includes("twin") ? say("Teacher, student and twin write {count} tokens each …", { count: about.written }) : say("Teacher, student write {count} tokens each …", { count: about.written })));
  const samples = h("div", { class: "dk-lens-samples" });

  function compare({ ids, tokens, place, step, seed, temperature }) {
    // A model that writes nothing but empty lines is not given the room for them.
    const alike = (a, b) => a.findIndex((id, i) => id !== b[i]) + 1 || a.length + 1; // one more than they share
    const shared = roles.map((role, i) => Math.max(...roles.filter((_, j) => j !== i && (i === 0 || j === 0)).map((other) => alike(ids[role], ids[other]))) - 1);
    const how = temperature ? say("sampled at temperature {temperature}, seed {seed}", { temperature: fixed(temperature, 1), seed }) : say("greedy");
    samples.replaceChildren(
      h("p", { class: "dk-note dk-lens-how" }, say("In place of {token}, {how}. ", { token: tokenAt(place), how: how + (last ? say(", step {step}", { step }) : "") }),
        h("span", { class: "dk-lens-shared" }, say("Marked")), say(": the opening shared with the teacher.")),
      ...roles.map((role, i) =>
        h("div", { class: "dk-lens-sample", "data-role": role, "data-shared": shared[i] },
          h("b", { class: `dk-${role}` }, mark(role), ` ${called(role)}`),
          h("p", {}, tokens[role].map((token, j) => h("span", { class: `dk-lens-piece${j < shared[i] ? " dk-lens-shared" : ""}` }, ...(token === "\n" && tokens[role][j - 1]?.endsWith("\n") ? [h("span", { class: "dk-lens-break" }, "↵")] : inText(token))))))));
    spoken.say(roles.map((role, i) => say("{role}: {shared} of {of} tokens shared", { role: called(role), shared: shared[i], of: about.written })).join("; "));
  }

  root(el, say("Token lens"),
    h("div", { class: "dk-row dk-lens-top" }, kind.element, whose.element),
    legend, text, told,
    last > 0 && h("div", { class: "dk-row dk-lens-scrub" }, play, scrub.element),
    h("p", { class: "dk-note dk-lens-help" }, say("A token’s colour is about its prediction, made where the token before it stands. Click a token, or arrow keys and Enter: what else might have come.")),
    h("section", { class: "dk-lens-panel", "aria-label": say("The chosen prediction") }, context,
      h("div", { class: "dk-row dk-lens-knobs", "data-kernel": true }, heat.element, top.element), table, note),
    h("div", { class: "dk-row dk-lens-own", "data-kernel": true }, writeButton, sampling.element, h("label", { class: "dk-lens-seeded" }, say("seed"), " ", seed)),
    samples,
    h("div", { class: "dk-row dk-lens-own", "data-kernel": true }, typed, measureButton), busy, fault, spoken.element);

  // ── from Python ──
  function update() {
    page = model.get("page");
    values = halves(model.get("values"));
    heads = halves(model.get("heads"));
    count = page.tokens.length;
    names = new Map(Object.entries(page.names).map(([id, name]) => [Number(id), name]));
    known = new Map();
    asked = null;
    samples.replaceChildren();
    const opening = floats(model.get("opening"));
    const words = opening.length / roles.length;
    if (words)
      known.set(page.chosen, Object.fromEntries(roles.map((role, i) => [role, { [about.places[role][last]]: opening.subarray(i * words, (i + 1) * words) }])));
    write();
    chosen = page.chosen;
    paint();
    choose(page.chosen);
    if (last > 0) ask("at", { place: (asked = chosen) }); // so that it is there when the slider moves
  }
  function receive(content, buffers) {
    silent = content.kind === "no kernel";
    if (silent) bars();
    else if (content.kind === "error") {
      settled();
      set(fault, { hidden: false, text: content.text });
    } else if (content.serial !== page.serial) return;
    else if (content.kind === "at") {
      for (const [id, name] of Object.entries(content.names)) names.set(Number(id), name);
      known.set(content.place, Object.fromEntries(roles.map((role, i) => {
        const all = floats(buffers[i]);
        const kept = Math.max(...about.places[role]) + 1;
        return [role, Array.from({ length: kept }, (_, j) => all.subarray((j * all.length) / kept, ((j + 1) * all.length) / kept))];
      })));
      if (content.place === chosen) bars();
    } else if (content.kind === "written") {
      settled();
      compare(content);
    } else if (content.kind === "measured") {
      settled();
      spoken.say(say("{count} tokens measured", { count }));
    }
  }
  model.on("change:page", update);
  model.on("msg:custom", receive);
  update();
  signal.addEventListener("abort", () => {
    stop();
    clearTimeout(waiting);
    clearTimeout(slow);
  });
}

export default widget({ render });
