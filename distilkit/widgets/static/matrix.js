// The domain matrix: what students of each source know of each domain, and a mixture distilled for real.
import { h, live, root, say, set, slider, trainer, widget } from "./base.js";
import { fixed, sum } from "./maths.js";

export default widget({
  render({ model, el }) {
    const { rows: stored, targets, measures } = model.get("about");
    const number = (value, name) => fixed(value, measures[name].digits);
    const percent = (share) => `${Math.round(100 * share)} %`;
    const mixed = (shares) =>
      targets
        .filter((target) => shares[target] > 0.004)
        .map((target) => `${percent(shares[target])} ${target}`)
        .join(", ");

    // ── the table ──
    const measure = h(
      "select",
      { class: "dk-select", onchange: () => save({ measure: measure.value }) },
      Object.entries(measures).map(([key, { title, name }]) => h("option", { value: key }, `${title}: ${name}`)),
    );
    const grid = h("div", { class: "dk-grid", role: "grid", style: { "--columns": targets.length } });
    const note = h("p", { class: "dk-note" });
    let tiles = []; // one list a row

    // ── the mixture ──
    let sliders = []; // a slider asks for all shares while it is made
    sliders = targets.map((target) =>
      slider(target, 0, 100, 25, { whole: true, name: target, format: () => percent(shares()[target]), change: mix }),
    );
    const runs = trainer(model, say("Distil this mixture"), () => ({ mix: shares() }));
    const title = h("p", { class: "dk-point" });
    const detail = h("p", {});
    const sample = h("div", { class: "dk-sample" });
    const spoken = live();
    root(
      el,
      say("What was learnt on, and what is asked about"),
      h(
        "div",
        { class: "dk-matrix" },
        h("div", { class: "dk-row" }, h("label", { class: "dk-measure" }, say("Measure"), measure)),
        grid,
        note,
        h("div", { class: "dk-one" }, title, detail, sample),
        h("div", { class: "dk-one" }, h("p", { class: "dk-point" }, say("A mixture of your own")), h("div", { class: "dk-mix" }, sliders.map((each) => each.element)), runs.row, runs.result),
      ),
      spoken.element,
    );

    function save(values) {
      for (const [name, value] of Object.entries(values)) model.set(name, value);
      model.save_changes();
    }

    function shares() {
      const weights = sliders.map((each) => each.value);
      const total = sum(weights);
      return Object.fromEntries(targets.map((target, i) => [target, total ? (weights[i] ?? 0) / total : 0]));
    }

    // All readouts say shares, so that all change with one slider.
    function mix() {
      sliders.forEach((each) => each.set(each.value));
      showState();
    }

    // The stored sources, then the students distilled here.
    function rows() {
      const fresh = model.get("fresh").map((run) => ({ ...run, isFresh: true, name: say("{mixture} (seed {seed})", { mixture: mixed(run.shares), seed: run.seed }) }));
      return [...stored, ...fresh];
    }

    function build() {
      const all = rows();
      tiles = all.map((row, y) =>
        targets.map((_, x) =>
          h(
            "button",
            {
              type: "button",
              class: `dk-tile${row.isFresh ? " dk-fresh" : ""}`,
              role: "gridcell",
              onclick: () => select(y, x),
              onkeydown: (event) => move(event, y, x),
            },
            h("b"),
            h("small"),
          ),
        ),
      );
      grid.replaceChildren(
        h(
          "div",
          { role: "row" },
          h("div", { role: "columnheader", class: "dk-muted" }, say("learnt on ↓  asked about →")),
          targets.map((target) => h("div", { role: "columnheader" }, target)),
        ),
        ...all.map((row, y) =>
          h(
            "div",
            { role: "row" },
            h("div", { role: "rowheader", class: row.isFresh ? "dk-student" : "", onclick: () => select(y, model.get("target")) }, row.name),
            tiles[y],
          ),
        ),
      );
      show();
    }

    function select(y, x) {
      save({ selected: y, target: x });
      tiles[y][x].focus({ preventScroll: true });
    }

    function move(event, y, x) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would move to another cell of the notebook
      const [across, down] = [x + step[0], y + step[1]];
      if (tiles[down]?.[across]) select(down, across);
    }

    function show() {
      const name = model.get("measure");
      const all = rows();
      const [y, x] = [Math.min(model.get("selected"), all.length - 1), model.get("target")];
      const even = stored.find((row) => row.name === "even");
      measure.value = name;
      const over = (row, i) => (row.isFresh ? row.cells[i][name][0] - even.cells[i][name][0] : row.cells[i][name][2]);
      const largest = Math.max(...all.flatMap((row) => targets.map((_, i) => Math.abs(over(row, i)))), 1e-9);
      all.forEach((row, down) =>
        row.cells.forEach((cell, across) => {
          const [value, half, , overHalf] = cell[name];
          const clear = !row.isFresh && Math.abs(over(row, across)) > overHalf;
          const tile = tiles[down][across];
          const isSelected = down === y && across === x;
          set(tile.children[0], { text: number(value, name) });
          set(tile.children[1], { text: row.isFresh ? say("one run") : `± ${number(half, name)}` });
          set(tile, {
            "aria-selected": String(isSelected),
            tabindex: isSelected ? 0 : -1,
            "aria-label": say("{source}, asked about {domain}: {value}", { source: row.name, domain: targets[across], value: number(value, name) + (row.isFresh ? "" : ` ± ${number(half, name)}`) }),
            "data-clear": String(clear),
            style: {
              "--ink": over(row, across) < 0 ? "var(--dk-student)" : "var(--dk-twin)",
              "--much": `${(45 * Math.abs(over(row, across))) / largest}%`,
            },
          });
        }),
      );
      set(grid, { "aria-label": say("{measure}, by what was learnt on and what is asked about", { measure: measures[name].name }) });
      set(note, {
        text: say("Mean ± 95 % interval over seeds. Orange: less than the even mixture’s students (less is better); green: more. Outlined: the paired difference is clear of zero."),
      });
      const row = all[y];
      set(title, { text: say("Learnt on {source}, asked about {domain}", { source: row.name, domain: targets[x] }) });
      set(detail, { text: told(row, x, name) });
      if (row.shares) targets.forEach((target, i) => sliders[i].set(Math.round(100 * (row.shares[target] ?? 0))));
      sliders.forEach((each) => each.set(each.value));
      showSample(row, x);
      showState();
      spoken.say(`${title.textContent}. ${detail.textContent}`);
    }

    function told(row, x, name) {
      const [value, half, over, overHalf] = row.cells[x][name];
      if (row.isFresh) {
        const mean = stored.find((other) => other.name === "even").cells[x][name][0];
        const said = { measure: measures[name].name, value: number(value, name), mean: number(mean, name) };
        return value < mean
          ? say("{measure} {value}: one student, distilled just now. That is less than the even mixture’s mean, {mean}; less is better.", said)
          : say("{measure} {value}: one student, distilled just now. That is no less than the even mixture’s mean, {mean}; less is better.", said);
      }
      const all = say("{measure} {value} ± {half}, {seeds} seeds, learning rate {lr}. ", { measure: measures[name].name, value: number(value, name), half: number(half, name), seeds: row.seeds, lr: row.lr });
      if (row.name === "even") return all + say("All others are compared with this one.");
      const difference = `${over > 0 ? "+" : ""}${number(over, name)} ± ${number(overHalf, name)}`;
      return all + (Math.abs(over) > overHalf
        ? say("Against the even mixture {difference}: the interval is clear of zero.", { difference })
        : say("Against the even mixture {difference}: the interval holds zero: no difference shown.", { difference }));
    }

    // What a student of this row writes: of a stored one, the last that was distilled here on the same mixture.
    function showSample(row, x) {
      const same = (run) => row.shares && targets.every((target) => Math.abs(run.shares[target] - (row.shares[target] ?? 0)) < 0.006);
      const run = row.isFresh ? row : model.get("fresh").findLast(same);
      if (!run) {
        const how = row.shares ? say("“Distil this mixture”, and one writes here.") : say("Such students are not trained here: their figures are stored.");
        sample.replaceChildren(h("p", { class: "dk-note" }, say("What does a student of this row write?"), ` ${how}`));
        return;
      }
      const said = run.samples[x];
      sample.replaceChildren(
        ...["student", "teacher"].map((who) =>
          h(
            "div",
            {},
            h("p", { class: `dk-note dk-${who}` }, who === "student" ? say("This student (seed {seed}) writes", { seed: run.seed }) : say("The teacher, after the same words")),
            h("div", { class: `dk-said dk-${who}` }, h("span", { class: "dk-given" }, said.prompt), h("span", {}, said[who])),
          ),
        ),
      );
    }

    function showState() {
      const { ended } = runs.show({ blocked: !sum(sliders.map((each) => each.value)) });
      if (ended) spoken.say(runs.result.textContent || `${title.textContent}. ${detail.textContent}`);
    }

    const listeners = { selected: show, target: show, measure: show, fresh: build, state: showState };
    for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
    build();
  },
});
