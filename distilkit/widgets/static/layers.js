// The layer lens: CKA of every pair of layers, and to what both models' tokens attend in the chosen pair.
import { asker, button, called, choice, h, live, onWidth, root, say, set, svg, widget } from "./base.js";
import { clamp, fixed, share } from "./maths.js";

const ROLES = ["teacher", "student"];
const MARKS = { teacher: "M2 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", student: "M2 2h8v8h-8z" };
const mark = (role) =>
  svg("svg", { width: 12, height: 12, class: `dk-${role}`, "aria-hidden": "true" }, svg("path", { d: MARKS[role], fill: "currentColor" }));
const quoted = (text) => `‘${text.replaceAll("\n", "↵")}’`;
const inText = (text) => text.split("\n").flatMap((part, i) => (i ? [h("span", { class: "dk-layers-break" }, "↵"), "\n", part] : [part]));

function render({ model, el, signal }) {
  const about = model.get("about");
  const { cka, layers, attending } = about;
  const reads = attending.teacher.length > 0;
  const spoken = live();
  let page = null;
  let maps = null;
  let token = 0; // whose attention is shown
  const head = { teacher: -1, student: -1 }; // -1: the mean of all

  // ── the table ──
  const cells = cka.map((row, i) =>
    row.map((value, j) =>
      h("button", {
        type: "button", class: "dk-layers-cell", role: "gridcell", "data-value": value, style: { "--share": clamp(value ?? 0, 0, 1) },
        "data-deep": (value ?? 0) > 0.55, "aria-label": say("student’s layer {student}, teacher’s layer {teacher}: CKA {cka}", { student: layers.student[i], teacher: layers.teacher[j], cka: value === null ? say("unknown") : fixed(value, 2) }),
        onclick: () => choose(i, j), onkeydown: (event) => walk(event, i, j) },
        value === null ? "–" : fixed(value, 2))));
  const name = (layer) => (layer === "0" && reads ? say("0 (the embedding)") : layer);
  const grid = h("div", { class: "dk-layers-grid", role: "grid", "aria-label": say("CKA, student’s layers by teacher’s layers") },
    h("div", { role: "row" }, h("div", { role: "columnheader", class: "dk-student" }, mark("student"), ` ${called("student")} ↓`),
      ...layers.teacher.map((layer) => h("div", { role: "columnheader", class: "dk-teacher" }, mark("teacher"), ` ${layer}`))),
    ...cells.map((row, i) => h("div", { role: "row" }, h("div", { role: "rowheader", class: "dk-student" }, layers.student[i]), ...row)));
  set(grid, { style: { "--columns": layers.teacher.length } });
  const said = h("p", { class: "dk-layers-said" });

  function walk(event, i, j) {
    const to = { ArrowRight: [i, j + 1], ArrowLeft: [i, j - 1], ArrowDown: [i + 1, j], ArrowUp: [i - 1, j] }[event.key];
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    const next = cells[to[0]]?.[to[1]];
    if (next) (next.focus(), choose(...to));
  }
  function choose(i, j) {
    model.set("chosen", [i, j]);
    model.save_changes();
    head.teacher = head.student = -1;
    draw(true);
    spoken.say(said.textContent);
  }

  // ── attention ──
  const place = (role) => attending[role].indexOf(model.get("chosen")[role === "student" ? 0 : 1]);
  function mapOf(role) {
    // (n, n) of the chosen layer and head, shares of 1; null where the layer attends to nothing.
    const at = place(role);
    if (at < 0 || !page) return null;
    const n = page.tokens.length;
    const before = (role === "student" ? page.heads.teacher.reduce((a, b) => a + b, 0) : 0) + page.heads[role].slice(0, at).reduce((a, b) => a + b, 0);
    const count = page.heads[role][at];
    const which = head[role] < 0 ? Array.from({ length: count }, (_, k) => k) : [head[role]];
    return { n, count, at: (q, k) => which.reduce((sum, one) => sum + maps[((before + one) * n + q) * n + k], 0) / which.length / 255 };
  }
  const sides = Object.fromEntries(ROLES.map((role) => {
    const heads = h("div", { class: "dk-layers-heads" });
    const text = h("div", { class: `dk-layers-text dk-layers-by-${role}`, role: "group", "aria-label": say("the {role}’s attention, token by token", { role: called(role) }) });
    const canvas = h("canvas", { class: "dk-layers-map", role: "img" });
    const told = h("p", { class: "dk-note dk-layers-told" });
    const title = h("b", { class: `dk-${role}` });
    return [role, { heads, text, canvas, told, title, spans: [],
      element: h("section", { class: "dk-layers-side", "aria-label": called(role), "data-role": role }, h("div", { class: "dk-layers-title" }, mark(role), title), heads, text, told, canvas) }];
  }));

  function write() {
    for (const role of ROLES) {
      const side = sides[role];
      side.spans = page.tokens.map((each, q) => h("span", { class: "dk-layers-token", role: "button", "data-place": q }, ...inText(each)));
      side.text.replaceChildren(...side.spans);
    }
  }
  for (const role of ROLES) {
    const { text, canvas } = sides[role];
    const at = (target) => sides[role].spans.findIndex((span) => span.contains(target));
    set(text, {
      onpointerover: (event) => look(at(event.target)),
      onfocusin: (event) => look(at(event.target)),
      onclick: (event) => look(at(event.target)),
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1, Home: -1e3, End: 1e3 }[event.key];
        if (!step) return;
        event.preventDefault();
        event.stopPropagation();
        look(clamp(token + step, 0, page.tokens.length - 1));
        sides[role].spans[token].focus();
      } });
    set(canvas, { onpointermove: (event) => look(Math.floor((event.offsetY / canvas.clientHeight) * page.tokens.length)) });
  }
  function look(q) {
    if (q < 0 || q === token || q >= page.tokens.length) return;
    token = q;
    draw(false);
  }

  function draw(fresh) {
    const [i, j] = model.get("chosen");
    cells.forEach((row, r) => row.forEach((cell, c) => set(cell, { "aria-selected": String(r === i && c === j), tabindex: r === i && c === j ? 0 : -1 })));
    const kl = place("student") >= 0 && place("teacher") >= 0 && page ? page.kl[place("student")][place("teacher")] : null;
    set(said, { text: say("Student’s layer {student} with the teacher’s {teacher}: CKA {cka}", { student: name(layers.student[i]), teacher: name(layers.teacher[j]), cka: cka[i][j] === null ? "–" : fixed(cka[i][j], 2) }) +
      (kl === null ? "." : say(", KL of attention on this text {kl} nats (heads averaged).", { kl: fixed(kl, 2) })) });
    if (!reads || !page) return;
    for (const role of ROLES) {
      const side = sides[role];
      const map = mapOf(role);
      if (fresh) {
        set(side.title, { text: ` ${say("{role}, layer {layer}", { role: called(role), layer: name(layers[role][role === "student" ? i : j]) })}` });
        const pick = map && map.count > 1 && choice(say("head"), [["-1", say("mean")], ...Array.from({ length: map.count }, (_, k) => [String(k), String(k + 1)])], String(head[role]), (value) => {
          head[role] = Number(value);
          draw(false);
        });
        side.heads.replaceChildren(...(pick ? [pick.element] : []));
        set(side.canvas, { hidden: !map });
      }
      const row = Array.from({ length: page.tokens.length }, (_, k) => (map ? map.at(token, k) : 0));
      side.spans.forEach((span, k) => {
        span.style.setProperty("--share", Math.sqrt(row[k]).toFixed(3)); // small shares are seen, too
        set(span, { "aria-pressed": String(k === token), "data-share": row[k].toFixed(3), tabindex: k === token ? 0 : -1, "data-later": k > token });
      });
      const most = row.map((value, k) => [value, k]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([value]) => value > 0.005);
      set(side.told, { text: map ? say("{token} attends to {others}", { token: quoted(page.tokens[token]), others: most.map(([value, k]) => `${k === token ? say("itself") : quoted(page.tokens[k])} ${share(value)}`).join(", ") }) : say("The embedding attends to nothing: choose another layer.") });
      if (map) paint(side.canvas, map, role);
    }
  }
  function paint(canvas, { n, at }, role) {
    const size = 4;
    set(canvas, { "aria-label": say("the {role}’s attention, rows attend to columns: {told}", { role: called(role), told: sides[role].told.textContent }) });
    if (canvas.width !== n * size) canvas.width = canvas.height = n * size;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, n * size, n * size);
    context.fillStyle = getComputedStyle(canvas).getPropertyValue(`--dk-${role}`);
    for (let q = 0; q < n; q++)
      for (let k = 0; k <= q; k++) {
        context.globalAlpha = Math.sqrt(at(q, k));
        context.fillRect(k * size, q * size, size, size);
      }
    context.globalAlpha = 1;
    context.strokeStyle = getComputedStyle(canvas).color;
    context.strokeRect(0.5, token * size - 0.5, (token + 1) * size, size + 1);
  }

  // ── a text of one's own ──
  const typed = h("input", { type: "text", class: "dk-layers-input", maxlength: about.typed, spellcheck: "false", autocomplete: "off",
    "aria-label": say("your own text"), placeholder: say("your own text; nothing brings the first one back"), onkeydown: (event) => event.key === "Enter" && measure() });
  const kernel = asker({ model, signal }, say("Both models read it …"));
  const measure = () => kernel.ask({ kind: "text", value: typed.value });
  const go = button(say("Look"), measure);
  function receive(content) {
    if (content.kind !== "measured") return;
    kernel.settled();
    spoken.say(say("{count} tokens read", { count: page.tokens.length }));
  }

  root(el, say("Layer lens"),
    h("div", { class: "dk-layers" },
      h("div", { class: "dk-layers-table" }, h("p", { class: "dk-layers-head" }, reads ? say("CKA, how alike two layers place the same tokens") : say("CKA, how alike two layers place the same examples")), grid, said,
        h("p", { class: "dk-note" }, reads
          ? say("1: the same but for rotation and scale; 0: nothing in common. {count} positions of the test set. Layer 0 is the embedding.", { count: about.positions.toLocaleString("en") })
          : say("1: the same but for rotation and scale; 0: nothing in common. {count} examples of the test set.", { count: about.positions.toLocaleString("en") }))),
      reads && h("div", { class: "dk-layers-both" }, ...ROLES.map((role) => sides[role].element))),
    reads && h("p", { class: "dk-note dk-layers-help" }, say("Hover over a token, or arrow keys: what it attends to is coloured. In the maps, rows attend to columns.")),
    reads && h("div", { class: "dk-row dk-layers-own", "data-kernel": true }, typed, go, kernel.busy), kernel.fault, spoken.element);

  function update() {
    if (reads) {
      page = model.get("page");
      const view = model.get("maps");
      maps = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      token = Math.min(page.tokens.length - 1, Math.max(8, Math.floor(page.tokens.length / 2)));
      write();
    }
    draw(true);
  }
  const redraw = () => draw(true);
  model.on("change:page", update);
  model.on("change:chosen", redraw);
  model.on("msg:custom", receive);
  update();
  onWidth(sides.teacher.text, () => draw(false), signal); // in the page at last, where the colours of the maps are known
}

export default widget({ render });
