// The surface of a sweep: a grid of cells, one of them selected; its seeds on a line; and the point run for real.
import { button, h, live, onWidth, root, say, set, svg, widget } from "./base.js";
import { fixed, scale, ticks } from "./maths.js";

const points = (gain, digits = 1) => (gain > 0 ? "+" : "") + fixed(100 * gain, digits);
const percent = (x) => `${fixed(100 * x, 1)}\u00a0%`;
const isClear = (cell) => Math.abs(cell.gain) > cell.half;

export default widget({
  render({ model, el, signal }) {
    const about = model.get("about");
    const { cells } = about;
    const column = (name) => [...new Set(cells.map((cell) => cell[name]))].sort((a, b) => a - b);
    const [temperatures, alphas] = [column("temperature"), column("alpha").reverse()];
    const largest = Math.max(...cells.map((cell) => Math.abs(cell.gain)), 1e-9);
    const find = (t, a) => cells.findIndex((cell) => cell.temperature === t && cell.alpha === a);

    // ── the grid ──
    const tiles = cells.map((cell, index) =>
      h(
        "div",
        {
          class: "dk-cell",
          role: "gridcell",
          "aria-label": say("temperature {t}, alpha {alpha}: {gain} ± {half} points", { t: cell.temperature, alpha: cell.alpha, gain: points(cell.gain), half: fixed(100 * cell.half, 1) }) + (isClear(cell) ? say(", clear of zero") : ""),
          "data-clear": String(isClear(cell)),
          style: {
            "--ink": cell.gain > 0 ? "var(--dk-student)" : "var(--dk-twin)",
            "--much": `${(45 * Math.abs(cell.gain)) / largest}%`,
          },
          onclick: () => select(index),
          onkeydown: (event) => move(event, index),
        },
        h("b", {}, points(cell.gain)),
        h("small", {}, `± ${fixed(100 * cell.half, 1)}`),
      ),
    );
    const rows = alphas.map((alpha) =>
      h(
        "div",
        { role: "row" },
        h("div", { role: "rowheader" }, String(alpha)),
        temperatures.map((t) => tiles[find(t, alpha)] ?? h("div", { role: "gridcell", class: "dk-none" })),
      ),
    );
    const grid = h(
      "div",
      {
        class: "dk-surface",
        role: "grid",
        "aria-label": say("Points of accuracy over the tuned twin, by temperature and alpha"),
        style: { "--columns": temperatures.length },
      },
      rows,
      h(
        "div",
        { role: "row" },
        h("div", { role: "columnheader", class: "dk-corner" }, "α \\ T"),
        temperatures.map((t) => h("div", { role: "columnheader" }, String(t))),
      ),
    );

    // ── the point ──
    const title = h("p", { class: "dk-point" });
    const detail = h("p");
    const strip = svg("svg", { role: "img" });
    const result = h("p", { class: "dk-result" });
    const start = button(say("Run this point for real"), () => model.send({ run: model.get("selected") }));
    const status = h("span", { class: "dk-muted" });
    const spoken = live();
    root(
      el,
      say("Surface of a sweep"),
      h(
        "div",
        { class: "dk-sides" },
        h(
          "div",
          { class: "dk-map" },
          h("p", {}, say("Points of accuracy over the tuned twin, {labels} labels", { labels: about.labelled })),
          grid,
          h("p", { class: "dk-note" }, say("T: temperature, α: weight of the teacher. ± : 95 % interval over seeds, paired. Outlined: clear of zero.")),
        ),
        h("div", { class: "dk-side" }, title, detail, strip, h("div", { class: "dk-row", "data-kernel": true }, start, status), result),
      ),
      spoken.element,
    );

    function select(index) {
      model.set("selected", index);
      model.save_changes();
      tiles[index].focus();
    }

    function move(event, index) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would move to another cell of the notebook
      if (!step) return select(index);
      let x = temperatures.indexOf(cells[index].temperature) + step[0];
      let y = alphas.indexOf(cells[index].alpha) + step[1];
      for (; temperatures[x] !== undefined && alphas[y] !== undefined; x += step[0], y += step[1]) {
        const next = find(temperatures[x], alphas[y]);
        if (next >= 0) return select(next);
      }
    }

    let width = 0;
    function show() {
      const index = model.get("selected");
      const cell = cells[index];
      const own = model.get("fresh").filter((run) => run.cell === index);
      tiles.forEach((tile, i) => set(tile, { "aria-selected": String(i === index), tabindex: i === index ? 0 : -1 }));
      const gain = say("{gain} ± {half} points", { gain: points(cell.gain), half: fixed(100 * cell.half, 1) });
      set(title, { text: `T = ${cell.temperature}, α = ${cell.alpha}:  ${gain}` });
      const text =
        say("Distilled {distilled}, twin {twin} (learning rate {lr}), {seeds} seeds. ", { distilled: percent(cell.accuracy), twin: percent(about.twin), lr: about.twin_lr, seeds: cell.seeds }) +
        (isClear(cell) ? say("The interval is clear of zero.") : say("The interval holds zero: no gain shown."));
      set(detail, { text });
      const state = model.get("state");
      const running = state.of !== undefined;
      set(start, { disabled: running });
      set(status, { text: running ? say("step {step} of {of}", { step: state.step, of: state.of }) : "", role: "progressbar", "aria-label": say("training"),
        "aria-valuemin": 0, "aria-valuemax": state.of ?? about.steps, "aria-valuenow": state.step ?? 0 });
      const last = own.at(-1);
      const news = last
        ? say("Seed {seed}, just run: distilled {distilled}, twin {twin}: {gain} points.", { seed: last.seed, distilled: percent(last.distilled), twin: percent(last.twin), gain: points(last.gain) }) +
          (last.gain < Math.min(...cell.gains) || last.gain > Math.max(...cell.gains)
            ? say(" That is outside what the stored seeds gave: luck, until more seeds say so.")
            : say(" That is within what the stored seeds gave."))
        : "";
      set(result, { text: state.error ?? news });
      result.classList.toggle("dk-error", Boolean(state.error));
      if (width) draw(cell, own);
      if (!running) spoken.say(`${title.textContent}. ${text} ${result.textContent}`);
    }

    // The stored seeds' gains on a line, their interval under them, and what was just run under that.
    function draw(cell, own) {
      const all = [0, ...cells.flatMap((each) => each.gains), ...model.get("fresh").map((run) => run.gain)].map((x) => 100 * x);
      const [low, high] = [Math.min(...all), Math.max(...all)];
      const x = scale(low - 0.5, high + 0.5, 14, width - 14);
      const at = (gain) => x(100 * gain);
      const counts = new Map();
      const dots = cell.gains.map((gain) => {
        const place = Math.round(at(gain) / 10);
        counts.set(place, (counts.get(place) ?? 0) + 1);
        return svg("rect", { class: "dk-seed", x: at(gain) - 4, y: 58 - 9 * counts.get(place), width: 8, height: 8 });
      });
      const [left, right] = [at(cell.gain - cell.half), at(cell.gain + cell.half)];
      const marks = own.map((run) => svg("path", { class: "dk-new", d: `M${at(run.gain)} 79l6 6-6 6-6-6z` }));
      set(strip, {
        viewBox: `0 0 ${width} 130`,
        width,
        height: 130,
        "aria-label": say("Gains of the {count} stored seeds: {gains} points", { count: cell.seeds, gains: cell.gains.map((gain) => points(gain)).join(", ") }),
      });
      const end = own.length ? at(own.at(-1).gain) : 0;
      strip.replaceChildren(
        svg("line", { class: "dk-zero", x1: at(0), x2: at(0), y1: 14, y2: 102 }),
        svg("text", { class: "dk-twin", x: at(0), y: 10, "text-anchor": at(0) < 30 ? "start" : "middle" }, say("twin")),
        svg("line", { class: "dk-interval", x1: left, x2: right, y1: 68, y2: 68 }),
        svg("line", { class: "dk-interval", x1: left, x2: left, y1: 64, y2: 72 }),
        svg("line", { class: "dk-interval", x1: right, x2: right, y1: 64, y2: 72 }),
        ...dots,
        ...marks,
        ...(own.length
          ? [svg("text", { x: end > width / 2 ? end - 12 : end + 12, y: 90, "text-anchor": end > width / 2 ? "end" : "start" }, say("just run"))]
          : []),
        svg("line", { class: "dk-base", x1: 14, x2: width - 14, y1: 102, y2: 102 }),
        ...ticks(low - 0.5, high + 0.5, width < 360 ? 4 : 7).map((value) =>
          svg("text", { class: "dk-muted", x: x(value), y: 120, "text-anchor": "middle" }, points(value / 100, 0)),
        ),
      );
    }

    onWidth(strip.parentElement, (now) => {
      width = Math.min(now, 520);
      show();
    }, signal);
    ["selected", "fresh", "state"].forEach((name) => model.on(`change:${name}`, show));
    show();
  },
});
