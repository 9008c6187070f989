// The board, whose text × which divergence: a table of cells, the plane they land in, and a cell run for real.
import { choice, h, live, onWidth, progress, root, say, set, svg, trainer, widget } from "./base.js";
import { clamp, fixed, scale, ticks } from "./maths.js";

const SHORT = { labels: say("labels"), forward_kl: say("forward"), reverse_kl: say("reverse"), jsd: "JSD", skew_reverse_kl: say("skew") };
const COLOUR = { corpus: "dk-label", teacher: "dk-teacher", student: "dk-student" };
const HEIGHT = 330;

// ◆ the corpus's text, ● the teacher's, ■ the student's, ▲ the twin: a colour never speaks alone.
function shape(kind, x, y, r) {
  const common = { class: "dk-shape" };
  if (kind === "teacher") return svg("circle", { ...common, cx: x, cy: y, r });
  if (kind === "student") return svg("rect", { ...common, x: x - r, y: y - r, width: 2 * r, height: 2 * r });
  if (kind === "twin") return svg("path", { ...common, d: `M${x} ${y - r - 1}l${r + 1} ${2 * r + 1}h${-2 * r - 2}z` });
  return svg("path", { ...common, d: `M${x} ${y - r - 2}l${r + 1} ${r + 2}l${-r - 1} ${r + 2}l${-r - 1} ${-r - 2}z` });
}

// Where the name of each point goes: beside it, where it covers least. points: {x, y, cross, text} -> {x, y}, its left end.
function places(points, [left, right, top, bottom]) {
  const boxes = points.flatMap(({ x, y, cross: [x1, x2, y1, y2] }) => [
    [x - 7, y - 7, x + 7, y + 7],
    [x1, y - 2, x2, y + 2],
    [x - 2, y2, x + 2, y1],
  ]);
  const covered = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  return points.map(({ x, y, text }) => {
    const wide = 6.7 * text.length;
    let best;
    for (const reach of [10, 20, 32, 46]) {
      for (const angle of [0, 4, 2, 6, 1, 7, 3, 5]) {
        const [dx, dy] = [Math.cos((angle * Math.PI) / 4), Math.sin((angle * Math.PI) / 4)];
        const start = x + reach * dx - (Math.abs(dx) < 0.1 ? wide / 2 : dx < 0 ? wide : 0);
        const box = [start, y + reach * dy - 7, start + wide, y + reach * dy + 7];
        const out = Math.max(0, left - box[0], box[2] - right, top - box[1], box[3] - bottom);
        const cost = boxes.reduce((sum, other) => sum + covered(box, other), 0) + 100 * out + reach;
        if (!best || cost < best.cost) best = { cost, box, far: reach > 10, end: [x + (reach - 2) * dx, y + (reach - 2) * dy] };
      }
    }
    boxes.push(best.box);
    return { x: best.box[0], y: best.box[3] - 3, far: best.far, end: best.end };
  });
}

// Round numbers on a logarithmic axis: 1, 2 and 5 times powers of ten where it is long, evenly apart where it is short.
function logTicks(low, high, count) {
  if (high / low < 4) return ticks(low, high, count);
  const tens = Array.from({ length: 17 }, (_, i) => 10 ** (i - 8));
  return tens.flatMap((ten) => [ten, 2 * ten, 5 * ten]).filter((value) => value >= low && value <= high);
}

export default widget({
  render({ model, el, signal }) {
    const about = model.get("about");
    const { texts, divergences, measures } = about;
    const cells = about.cells.map(({ known = {}, ...cell }) => {
      const named = ([name, [value, half, over, overHalf]]) =>
        ({ [name]: value, [`${name}_half`]: half, [`${name}_over_twin`]: over, [`${name}_over_twin_half`]: overHalf });
      return Object.assign(cell, ...Object.entries(known).map(named));
    });
    const columns = Object.keys(divergences);
    const isTwin = (cell) => cell.text === "corpus" && cell.divergence === "labels";
    const kind = (cell) => (isTwin(cell) ? "twin" : cell.text);
    const colour = (cell) => (isTwin(cell) ? "dk-twin" : COLOUR[cell.text]);
    const where = (cell) => `${texts[cell.text]} × ${divergences[cell.divergence]}`;
    const isClear = (cell, key) => Math.abs(cell[`${key}_over_twin`]) > cell[`${key}_over_twin_half`];
    const glyph = (name, className) =>
      svg("svg", { class: className, width: 14, height: 14, "aria-hidden": "true" }, shape(name, 7, 7, 4.5));

    // ── the table ──
    const parts = cells.map(() => ({ value: h("b"), half: h("small") }));
    const tiles = cells.map((cell, index) =>
      h(
        "button",
        {
          type: "button",
          class: "dk-place",
          role: "gridcell",
          "data-empty": cell.why ? "true" : null,
          onclick: () => select(index),
          onkeydown: (event) => move(event, index),
          onpointerenter: () => heat(index, true),
          onpointerleave: () => heat(index, false),
          onfocus: () => heat(index, true),
          onblur: () => heat(index, false),
        },
        cell.why
          ? [h("b", {}, "–"), h("small", {}, cell.name ? say("not run") : say("no labels"))]
          : [parts[index].value, parts[index].half, h("small", { class: "dk-name" }, cell.name)],
      ),
    );
    const grid = h(
      "div",
      { class: "dk-cells", role: "grid", style: { "--columns": columns.length } },
      h(
        "div",
        { role: "row" },
        h("div", { role: "rowheader" }),
        columns.map((name) => h("div", { role: "columnheader" }, divergences[name])),
      ),
      Object.entries(texts).map(([text, name]) =>
        h(
          "div",
          { role: "row" },
          h("div", { role: "rowheader" }, glyph(text, COLOUR[text]), h("span", {}, name)),
          tiles.filter((_, i) => cells[i].text === text),
        ),
      ),
    );
    const measure = h(
      "select",
      { class: "dk-select", onchange: () => save("measure", measure.value) },
      Object.entries(measures).map(([key, { title, name }]) => h("option", { value: key }, `${title}: ${name}`)),
    );
    const note = h("p", { class: "dk-note" });

    // ── the plane ──
    let across = "mean_kl";
    const view = choice(say("Quality ×"), [["mean_kl", say("fidelity")], ["distinct_2", say("diversity")]], across, (key) => {
      across = key;
      draw();
    });
    const plane = svg("svg", { class: "dk-scatter", role: "img" });
    const key = h(
      "p",
      { class: "dk-key dk-note" },
      [["corpus", say("corpus’s text")], ["teacher", say("teacher’s")], ["student", say("student’s")], ["twin", say("twin")]].map(([name, text]) =>
        h("span", {}, glyph(name, COLOUR[name] ?? "dk-twin"), text),
      ),
      say("Hollow: just run. Crosses: 95 % intervals."),
    );
    let marks = [];
    let width = 0;

    // ── the cell ──
    const title = h("p", { class: "dk-point" });
    const detail = h("p", { class: "dk-detail" });
    const runs = trainer(model, say("Run this cell"), () => ({ run: model.get("selected") }), {
      tell: (state) => progress(state) + (state.cell === model.get("selected") ? "" : ` (${where(cells[state.cell] ?? cells[0])})`),
    });
    const samples = h("div", { class: "dk-samples" });
    const spoken = live();
    const frame = h(
      "div",
      { class: "dk-board" },
      h("div", { class: "dk-row" }, h("label", { class: "dk-measure" }, say("Measure"), measure)),
      h(
        "div",
        { class: "dk-sides" },
        h("div", { class: "dk-table" }, grid, note),
        h("div", { class: "dk-plane" }, view.element, plane, key),
      ),
      h("div", { class: "dk-one" }, title, detail, runs.row, runs.result, samples),
    );
    root(el, say("Whose text and which divergence"), frame, spoken.element);

    function save(name, value) {
      model.set(name, value);
      model.save_changes();
    }

    function select(index) {
      save("selected", index);
      tiles[index].focus({ preventScroll: true });
    }

    function move(event, index) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would move to another cell of the notebook
      const [x, y] = [(index % columns.length) + step[0], Math.floor(index / columns.length) + step[1]];
      if (x >= 0 && x < columns.length && y >= 0 && y * columns.length < cells.length) select(y * columns.length + x);
    }

    // The same cell in the table and in the plane.
    function heat(index, on) {
      tiles[index].classList.toggle("dk-hot", on);
      marks.filter((mark) => mark.index === index).forEach((mark) => mark.element.classList.toggle("dk-hot", on));
    }

    const number = (value, name) => fixed(value, measures[name].digits);
    const spread = (cell, name, part = "") => `${number(cell[name + part], name)} ± ${number(cell[`${name}${part}_half`], name)}`;

    function show() {
      const name = model.get("measure");
      const { less } = measures[name];
      const index = model.get("selected");
      const cell = cells[index];
      measure.value = name;
      const largest = Math.max(...cells.map((each) => Math.abs(each[`${name}_over_twin`] ?? 0)), 1e-9);
      tiles.forEach((tile, i) => {
        const each = cells[i];
        set(tile, { "aria-selected": String(i === index), tabindex: i === index ? 0 : -1 });
        if (each.why) return set(tile, { "aria-label": `${where(each)}: ${each.why}` });
        const over = each[`${name}_over_twin`];
        set(parts[i].value, { text: number(each[name], name) });
        set(parts[i].half, { text: `± ${number(each[`${name}_half`], name)}` });
        const clear = isClear(each, name);
        set(tile, {
          "aria-label": `${where(each)}, ${each.name}: ${spread(each, name)}${clear ? say(", clear of the twin") : ""}`,
          "data-clear": String(clear),
          style: {
            "--ink": over < 0 === less ? "var(--dk-student)" : "var(--dk-twin)",
            "--much": `${(40 * Math.abs(over)) / largest}%`,
          },
        });
      });
            set(grid, { "aria-label": say("{measure}, by whose text and which divergence", { measure: measures[name].name }) });
      set(note, {
        text: less
          ? say("Mean ± 95 % interval over seeds. Orange: less than the twin; green: more. Outlined: the paired difference is clear of zero.")
          : say("Mean ± 95 % interval over seeds. Orange: more than the twin; green: less. Outlined: the paired difference is clear of zero."),
      });
      set(title, { text: where(cell) + (cell.name ? `: ${cell.name}` : "") });
      set(detail, { text: cell.why ?? told(cell, name) });
      draw();
      showSamples();
      showState();
      spoken.say(`${title.textContent}. ${detail.textContent} ${runs.result.textContent}`);
    }

    function told(cell, name) {
      const all = say("{measure} {value}, {seeds} seeds, learning rate {lr}. ", { measure: measures[name].name, value: spread(cell, name), seeds: cell.seeds, lr: cell.lr });
      if (isTwin(cell)) return all + say("All others are compared with this one.");
      const difference = (cell[`${name}_over_twin`] > 0 ? "+" : "") + spread(cell, name, "_over_twin");
      return all + (isClear(cell, name)
        ? say("Against the twin {difference}: the interval is clear of zero.", { difference })
        : say("Against the twin {difference}: the interval holds zero: no difference shown.", { difference }));
    }

    const latest = () => model.get("fresh").findLast((run) => run.cell === model.get("selected"));

    function showSamples() {
      samples.replaceChildren(
        ...(latest()?.samples ?? []).map((sample) =>
          h(
            "div",
            { class: "dk-sample" },
            ["student", "teacher"].map((who) => [
              h("p", { class: `dk-note dk-${who}` }, who === "student" ? say("The student writes") : say("The teacher, after the same words")),
              h("div", { class: `dk-said dk-${who}` }, h("span", { class: "dk-given" }, sample.prompt), h("span", {}, sample[who])),
            ]).flat(),
          ),
        ),
      );
    }

    function showState() {
      const [index, last] = [model.get("selected"), latest()];
      const values = ["perplexity", "mean_kl", "exposure", "distinct_2", "own_perplexity"];
      const text = last
        ? say("This run, seed {seed}: {values}.", {
            seed: last.seed,
            values: values
              .map((name) => say("{measure} {value} (stored mean {mean})", { measure: measures[name].title, value: number(last[name], name), mean: number(cells[index][name], name) }))
              .join(", "),
          }) +
          (last.perplexity < cells[index].perplexity ? say(" This seed did better than the mean; one seed is luck.") : say(" This seed did worse than the mean; one seed is luck."))
        : "";
      const { ended } = runs.show({ blocked: Boolean(cells[index].why), text });
      if (ended) spoken.say(runs.result.textContent);
    }

    function draw() {
      if (!width) return;
      const isLog = across === "mean_kl";
      const stored = cells.map((cell, index) => ({ ...cell, index })).filter((cell) => !cell.why);
      const fresh = model.get("fresh").map((run) => ({ ...cells[run.cell], ...run, index: run.cell, isFresh: true }));
      const ends = (name) => [
        ...stored.flatMap((cell) => [cell[name] - cell[`${name}_half`], cell[name] + cell[`${name}_half`]]),
        ...fresh.map((run) => run[name]),
      ];
      const axis = (name, from, to, count, log) => {
        const seen = ends(name).filter((value) => Number.isFinite(value) && (!log || value > 0));
        const write = log ? Math.log : Number;
        const [low, high] = [write(Math.min(...seen)), write(Math.max(...seen))];
        const room = 0.08 * (high - low) || 0.1;
        const line = scale(low - room, high + room, from, to);
        const back = log ? Math.exp : Number;
        const inside = (log ? logTicks : ticks)(back(low - room), back(high + room), count);
        return { at: (value) => line(clamp(write(Math.max(value, log ? 1e-9 : -Infinity)), low - room, high + room)), inside };
      };
      const [left, right, top, bottom] = [42, width - 8, 20, HEIGHT - 40];
      const x = axis(across, left, right, width < 380 ? 4 : 6, isLog);
      const y = axis("perplexity", bottom, top, 5, true);
      const all = [...stored, ...fresh].map((each) => {
        const reach = (axis, name, part) => axis.at(each[name] + part * (each.isFresh ? 0 : each[`${name}_half`]));
        return {
          each,
          x: x.at(each[across]),
          y: y.at(each.perplexity),
          cross: [reach(x, across, -1), reach(x, across, 1), reach(y, "perplexity", -1), reach(y, "perplexity", 1)],
          text: each.isFresh ? say("seed {seed}", { seed: each.seed }) : isTwin(each) ? say("twin") : SHORT[each.divergence],
        };
      });
      const labels = places(all, [left, right, top, bottom]);
      marks = all.map((point, i) => {
        const { each } = point;
        const mean = each.isFresh && { x: x.at(cells[each.index][across]), y: y.at(cells[each.index].perplexity) };
        const [x1, x2, y1, y2] = point.cross;
        const element = svg(
          "g",
          {
            class: `dk-mark ${colour(each)}${each.isFresh ? " dk-fresh" : ""}`,
            "data-cell": each.index,
            "data-selected": String(each.index === model.get("selected")),
            onclick: () => select(each.index),
            onpointerenter: () => heat(each.index, true),
            onpointerleave: () => heat(each.index, false),
          },
          svg("title", {}, say("{place}: {measure} {value}, quality {quality}", { place: where(each), measure: measures[across].title, value: number(each[across], across), quality: number(each.perplexity, "perplexity") })),
          mean
            ? svg("line", { class: "dk-tie", x1: mean.x, y1: mean.y, x2: point.x, y2: point.y })
            : [
                svg("line", { class: "dk-cross", x1, x2, y1: point.y, y2: point.y }),
                svg("line", { class: "dk-cross", x1: point.x, x2: point.x, y1, y2 }),
              ],
          labels[i].far && svg("line", { class: "dk-leader", x1: point.x, y1: point.y, x2: labels[i].end[0], y2: labels[i].end[1] }),
          svg("circle", { class: "dk-ring", cx: point.x, cy: point.y, r: 11 }),
          shape(kind(each), point.x, point.y, 5),
          svg("text", { class: colour(each), x: labels[i].x, y: labels[i].y }, point.text),
          svg("circle", { class: "dk-hit", cx: point.x, cy: point.y, r: 12 }),
        );
        return { index: each.index, element };
      });
      set(plane, {
        viewBox: `0 0 ${width} ${HEIGHT}`,
        width,
        height: HEIGHT,
        "aria-label":
          say("Quality against {measure}. ", { measure: measures[across].title }) +
          all.map(({ each }) => `${where(each)}${each.isFresh ? `, ${say("seed {seed}", { seed: each.seed })}` : ""}: ${number(each[across], across)}, ${number(each.perplexity, "perplexity")}`).join("; "),
      });
      const rule = (x1, x2, y1, y2) => svg("line", { class: "dk-rule", x1, x2, y1, y2 });
      const written = (value) => String(Number(value.toPrecision(4)));
      plane.replaceChildren(
        ...x.inside.flatMap((value) => [
          rule(x.at(value), x.at(value), top, bottom),
          svg("text", { class: "dk-muted", x: x.at(value), y: bottom + 15, "text-anchor": "middle" }, written(value)),
        ]),
        ...y.inside.flatMap((value) => [
          rule(left, right, y.at(value), y.at(value)),
          svg("text", { class: "dk-muted", x: left - 6, y: y.at(value) + 4, "text-anchor": "end" }, written(value)),
        ]),
        svg("text", { x: 0, y: 10 }, say("held-out perplexity")),
        svg("text", { x: right, y: bottom + 34, "text-anchor": "end" }, isLog ? measures[across].name : say("distinct-2 (share of distinct pairs)")),
        svg("text", { class: "dk-muted", x: 0, y: bottom + 34 }, isLog ? say("↙ better") : say("↘ better")),
        ...marks.map((mark) => mark.element).sort((a, b) => (a.dataset.selected === "true") - (b.dataset.selected === "true")),
      );
    }

    onWidth(plane.parentElement, (now) => {
      width = Math.min(now, 560);
      draw();
    }, signal);
    const listeners = { selected: show, measure: show, fresh: show, state: showState };
    for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
    show();
  },
});
