// The scene: things to add, move and take away, a question about them, and where each model looked for its answer.
import { asker, button, called, frame, h, live, root, say, set, svg, widget } from "./base.js";
import { clamp, share } from "./maths.js";

const STEP = 1 / 24; // of the picture, by an arrow key
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
// Their values are words of the task’s own English.
const PROPERTIES = { size: say("size"), colour: say("colour"), texture: say("texture"), shape: say("shape") };
const KINDS = { exist: say("exist"), count: say("count"), compare: say("compare"), relation: say("relation"), ...PROPERTIES };
const DIM = 190; // of 255: how dark it gets where a model did not look

// Numbers 0…255 of a picture, three a pixel, on a canvas.
function paint(canvas, side, bytes) {
  const pixels = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) image.data.set([pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2], 255], 4 * i);
  set(canvas, { width: side, height: side });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// The dark that leaves clear where a model looked.
function shade(canvas, rows) {
  const [height, width] = [rows.length, rows[0].length];
  const most = Math.max(...rows.flat(), 1e-9);
  const image = new ImageData(width, height);
  rows.flat().forEach((much, i) => (image.data[4 * i + 3] = DIM * (1 - much / most)));
  set(canvas, { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function render({ model, el, signal }) {
  const { roles, properties, radii, most, typed, side } = model.get("about");
  let page = model.get("page");
  let things = page.things.map((thing) => ({ ...thing }));
  let chosen = null; // one of the things
  const looking = Object.fromEntries(roles.map((role) => [role, null])); // a word of its caption, or its answer
  let asked = page.serial;
  let awaited = false; // an answer is on its way
  let waiting = null; // the newest message that waits for it

  // ── the scene ──
  const picture = h("canvas", { class: "dk-scene-pixels", "aria-hidden": "true" });
  const handles = svg("svg", { class: "dk-scene-handles", viewBox: "0 0 100 100", role: "group", "aria-label": say("the things") });
  const selects = Object.fromEntries(
    Object.entries(properties).map(([name, values]) => [
      name,
      h("select", { class: "dk-select", "aria-label": PROPERTIES[name], onchange: () => change(name) }, values.map((value) => h("option", { value }, value))),
    ]),
  );
  const add = button(say("Add"), () => put());
  const remove = button(say("Delete"), () => take());
  const other = button(say("Another scene"), () => send({ kind: "another" }));
  const told = h("p", { class: "dk-note" });

  // ── the question ──
  const own = h("input", {
    type: "text", class: "dk-scene-own", maxlength: typed, spellcheck: "false", autocomplete: "off", "aria-label": say("a question"), placeholder: say("a question of your own"),
    onkeydown: (event) => event.key === "Enter" && ask(own.value),
  });
  const chips = h("div", { class: "dk-scene-chips", "data-kernel": true, role: "group", "aria-label": say("questions of this scene") });
  const question = h("p", { class: "dk-scene-question" });
  const truth = h("p", {});
  const heat = h("input", { type: "checkbox", checked: true, onchange: show });
  const kernel = asker({ model, signal }, "", () => {
    awaited = false;
    next();
  });
  const spoken = live();

  // ── what each model sees, and says ──
  const columns = roles.map((role) => {
    const pixels = h("canvas", { class: "dk-scene-pixels", role: "img" });
    const dark = h("canvas", { class: "dk-scene-dark", "aria-hidden": "true" });
    const [sees, answer, where] = [h("small", { class: "dk-muted" }), h("p", { class: "dk-scene-answer" }), h("p", { class: "dk-note" })];
    const [bars, caption] = [h("div", { class: "dk-scene-bars", role: "list", "aria-label": say("probabilities of the {role}", { role: called(role) }) }), h("div", { class: "dk-scene-caption" })];
    const element = h("section", { class: `dk-scene-side dk-scene-by-${role}`, "aria-label": called(role), "data-role": role },
      h("p", { class: `dk-scene-role dk-${role}` }, called(role), " ", sees),
      h("div", { class: "dk-scene-view" }, pixels, dark), where, answer, bars, caption);
    return { role, element, pixels, dark, sees, answer, where, bars, caption };
  });

  root(el, say("Scene"),
    h("div", { class: "dk-scene" },
      h("div", { class: "dk-row dk-scene-ask", "data-kernel": true }, own, button(say("Ask"), () => ask(own.value))),
      chips,
      question, truth,
      h("div", { class: "dk-scene-columns" },
        h("section", { class: "dk-scene-side", "aria-label": say("the scene") },
          h("p", { class: "dk-scene-role" }, say("the scene"), " ", h("small", { class: "dk-muted" }, say("drag, or arrow keys"))),
          h("div", { class: "dk-scene-view dk-scene-editor" }, picture, handles),
          told,
          h("div", { class: "dk-scene-tools", "data-kernel": true }, Object.values(selects)),
          h("div", { class: "dk-scene-tools", "data-kernel": true }, add, remove, other)),
        columns.map((each) => each.element)),
      h("label", { class: "dk-scene-heat" }, heat, h("span", {}, say("dim where it did not look"))),
      kernel.busy, kernel.fault),
    spoken.element);

  // ── what the kernel is told: the newest only, and not before it has answered the last ──
  function send(content) {
    waiting = content;
    if (!awaited) next();
  }
  function next() {
    if (!waiting) return;
    const content = { ...waiting, serial: ++asked };
    waiting = null;
    awaited = true;
    kernel.ask(content);
  }
  function settled() {
    awaited = false;
    kernel.settled();
  }
  const look = (text = page.question) => send({ kind: "look", things, question: text });
  const ask = (text) => text.trim() && look(text);

  // ── editing ──
  function put() {
    const fresh = Object.fromEntries(Object.entries(selects).map(([name, select]) => [name, select.value]));
    const place = chosen === null ? [0.5, 0.5] : [things[chosen].x + 0.25, things[chosen].y + 0.12].map((x) => (x > 0.85 ? x - 0.7 : x));
    things.push({ ...fresh, x: place[0], y: place[1] });
    choose(things.length - 1);
    look();
  }
  function take() {
    if (chosen === null) return;
    things.splice(chosen, 1);
    choose(things.length ? Math.min(chosen, things.length - 1) : null);
    look();
  }
  function change(name) {
    if (chosen === null) return;
    things[chosen][name] = selects[name].value;
    draw();
    look();
  }
  function choose(at) {
    chosen = at;
    if (at !== null) for (const [name, select] of Object.entries(selects)) select.value = things[at][name];
    build();
  }
  const moved = frame(() => {
    draw();
    look();
  });
  function move(at, x, y) {
    [things[at].x, things[at].y] = [clamp(x, 0, 1), clamp(y, 0, 1)];
    moved();
  }
  function key(event, at) {
    const by = ARROWS[event.key];
    if (by) move(at, things[at].x + by[0], things[at].y + by[1]);
    else if (event.key === "Delete" || event.key === "Backspace") {
      chosen = at;
      take();
    } else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would move to another cell of the notebook
  }
  const names = (thing) => Object.keys(properties).map((name) => thing[name]).join(" ");
  const at = (x) => (x < 0.34 ? 0 : x < 0.67 ? 1 : 2);
  const place = ({ x, y }) => `${[say("top"), say("middle"), say("bottom")][at(y)]} ${[say("left"), say("centre"), say("right side")][at(x)]}`;

  let rings = [];
  function build() {
    const held = handles.contains(el.ownerDocument.activeElement);
    rings = things.map((thing, i) => {
      let from = null;
      return svg("circle", {
        class: "dk-scene-ring", tabindex: 0, role: "button",
        onfocus: () => chosen !== i && choose(i),
        onkeydown: (event) => key(event, i),
        onpointerdown(event) {
          event.preventDefault();
          const box = handles.getBoundingClientRect();
          from = [box, things[i].x - (event.clientX - box.left) / box.width, things[i].y - (event.clientY - box.top) / box.height];
          event.target.setPointerCapture(event.pointerId);
          if (chosen !== i) chosen = i, pick();
        },
        onpointermove(event) {
          if (from) move(i, from[1] + (event.clientX - from[0].left) / from[0].width, from[2] + (event.clientY - from[0].top) / from[0].height);
        },
        onpointerup: () => (from = null),
        onpointercancel: () => (from = null),
      });
    });
    handles.replaceChildren(...rings);
    pick();
    if (held && chosen !== null) rings[chosen].focus({ preventScroll: true });
  }
  function pick() {
    if (chosen !== null) for (const [name, select] of Object.entries(selects)) select.value = things[chosen][name];
    draw();
  }
  function draw() {
    rings.forEach((ring, i) =>
      set(ring, {
        cx: 100 * things[i].x, cy: 100 * things[i].y, r: 100 * radii[things[i].size], "aria-pressed": String(i === chosen),
        "aria-label": `${names(things[i])}, ${place(things[i])}`,
      }),
    );
    set(add, { disabled: things.length >= most });
    set(remove, { disabled: chosen === null });
    set(told, { text: chosen === null ? say("{count} things. Choose one, or add one.", { count: things.length }) : `${names(things[chosen])}, ${place(things[chosen])}` });
  }

  // ── what came back ──
  function word(column, role, i) {
    const [text, p] = column.caption[i];
    return h("button", {
      type: "button", class: "dk-scene-word", title: say("probability {p}", { p: share(p) }), "aria-pressed": String(looking[role] === i),
      onclick: () => ((looking[role] = looking[role] === i ? null : i), show()),
    }, text);
  }
  function show() {
    for (const { role, pixels, dark, sees, answer, where, bars, caption } of columns) {
      const column = page.columns[role];
      paint(pixels, side, column.picture);
      set(pixels, { "aria-label": say("what the {role} sees, {sees}, {count} things: {things}", { role: called(role), sees: column.sees, count: page.things.length, things: page.things.map((thing) => `${names(thing)}, ${place(thing)}`).join("; ") }) });
      set(sees, { text: say("sees {sees}", { sees: column.sees }) });
      const rows = looking[role] === null ? column.attention : column.looks[looking[role]];
      set(dark, { hidden: !rows || !heat.checked });
      if (rows) shade(dark, rows);
      set(where, { text: rows ? say("where it looked for {what}", { what: looking[role] === null ? say("its answer") : `“${column.caption[looking[role]][0]}”` }) : say("this model does not tell where it looked") });
      const known = page.truth !== null;
      answer.replaceChildren(h("b", {}, column.answer),
        known && h("span", { class: column.answer === page.truth ? "dk-scene-right" : "dk-scene-wrong" }, column.answer === page.truth ? say(" ✓ right") : say(" ✗ wrong")),
        h("small", { class: "dk-muted" }, ` ${column.ms} ms`));
      bars.replaceChildren(...column.bars.map(([text, p]) =>
        h("div", { role: "listitem", class: "dk-scene-bar", "data-truth": text === page.truth ? "true" : null, style: { "--p": `${100 * p}%` } },
          h("span", {}, text), h("i", { "aria-hidden": "true" }), h("b", {}, share(p)))));
      caption.replaceChildren(h("p", { class: "dk-note" }, say("its caption"), column.exact === null ? "" : column.exact ? say(" ✓ true") : say(" ✗ not true")), h("p", {}, column.caption.flatMap((_, i) => [word(column, role, i), " "])));
    }
  }
  function update() {
    page = model.get("page");
    settled();
    for (const role of roles) looking[role] = null;
    if (page.serial >= asked || page.fresh) {
      things = waiting ? things : page.things.map((thing) => ({ ...thing }));
      asked = Math.max(asked, page.serial);
      if (chosen !== null && chosen >= things.length) chosen = null;
      if (rings.length !== things.length) build();
      else draw();
    }
    paint(picture, side, page.picture);
    set(question, { text: page.question });
    set(truth, { text: page.unknown.length > 1 ? say("No model knows the words {words}.", { words: page.unknown.join(", ") }) : page.unknown.length ? say("No model knows the word {word}.", { word: page.unknown[0] }) : page.truth === null ? say("The scene does not say: a question that its grammar does not know.") : say("The scene says: {truth}", { truth: page.truth }) });
    chips.replaceChildren(...page.questions.map(({ kind, text }) =>
      h("button", { type: "button", class: "dk-scene-chip", "aria-pressed": String(text === page.question), onclick: () => look(text) }, h("small", { class: "dk-muted" }, KINDS[kind] ?? kind), ` ${text}`)));
    show();
    spoken.say(`${page.question} ${roles.map((role) => `${called(role)}: ${page.columns[role].answer}`).join(", ")}. ${truth.textContent}`);
    next();
  }
  model.on("change:page", update);
  build();
  update();
}

export default widget({ render });
