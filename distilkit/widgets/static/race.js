// The race of losses: a lane a method; the stored mean curve in grey, the run that is going on in colour.
import { button, h, live, onWidth, root, say, set, svg, widget } from "./base.js";
import { clamp, fixed, scale } from "./maths.js";

const HEIGHT = 74;
const KNOBS = { T: "dk-teacher", alpha: "dk-label", inner: "dk-twin" };
const DASH = { T: null, alpha: "6 3", inner: "2 3" };
const gained = (value, digits) => (value < 0 ? "" : "+") + fixed(value, digits);
const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

export default widget({
  render({ model, el, signal }) {
    const { lanes, steps } = model.get("about");
    const all = lanes.flatMap((lane) => lane.curve);
    const worst = Math.max(0.02, 1 - Math.min(...all));
    const best = Math.max(0.002, 0.6 * (1 - Math.max(...all)));
    const spoken = live();
    let width = 0;

    const rows = lanes.map((lane, index) => {
      const tick = h("input", {
        type: "checkbox",
        checked: model.get("chosen").includes(index),
        disabled: index === 0,
        "aria-label": say("race {method}", { method: lane.method }),
        onchange: () => {
          const others = rows.flatMap((row, i) => (row.tick.checked ? [i] : []));
          model.set("chosen", others);
          model.save_changes();
        },
      });
      const track = svg("svg", { class: "dk-track", role: "img", height: HEIGHT });
      const knobs = svg("svg", { class: "dk-knobs", role: "img", height: HEIGHT });
      const now = h("p", { class: "dk-now" });
      const element = h(
        "div",
        { class: "dk-lane", role: "row", "data-lane": index },
        h(
          "div",
          { class: "dk-who", role: "rowheader" },
          h("label", {}, tick, h("b", {}, lane.method)),
          h("span", { class: "dk-note" }, lane.setting),
        ),
        h("div", { class: "dk-middle", role: "cell" }, track),
        h("div", { class: "dk-side", role: "cell" }, knobs),
        h("div", { class: "dk-finish", role: "cell" }, finish(lane, index), now),
      );
      return { tick, track, knobs, now, element };
    });
    const start = button(say("Race those ticked"), () => model.send({ run: true }));
    const stop = button(say("Stop"), () => model.send({ stop: true }));
    const status = h("span", { class: "dk-muted dk-status" });
    const result = h("p", { class: "dk-result" });
    const table = h("div", { class: "dk-lanes", role: "table", "aria-label": say("lanes") }, rows.map((row) => row.element));
    root(
      el,
      say("Race of losses"),
      h("div", { class: "dk-race" },
        h("div", { class: "dk-row", "data-kernel": true }, start, stop, status),
        table,
        h("p", { class: "dk-key dk-note" },
          h("span", {}, sample("dk-muted", null), say("stored mean ± 95 %")),
          h("span", {}, sample("dk-student", null), say("this run")),
          h("span", {}, sample(KNOBS.T, DASH.T), say("temperature")),
          h("span", {}, sample(KNOBS.alpha, DASH.alpha), "α"),
          h("span", {}, sample(KNOBS.inner, DASH.inner), say("inside the divergence")),
        ),
        h("p", { class: "dk-note" },
          say("Right answers on the test set, {hidden} hidden units, {steps} steps. Each method had as many trials as the constant; points over it are paired by seed, p is Holm’s, for as many methods.", { hidden: model.get("about").hidden, steps })),
        result,
      ),
      spoken.element,
    );

    function sample(colour, dash) {
      return svg("svg", { class: colour, width: 22, height: 8, "aria-hidden": "true" },
        svg("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": dash }));
    }

    function finish(lane, index) {
      const accuracy = `${fixed(100 * lane.accuracy, 1)} ± ${fixed(100 * lane.half, 1)} %`;
      if (index === 0) return [h("p", {}, h("b", {}, accuracy)), h("p", { class: "dk-note" }, say("tuned, {seeds} seeds", { seeds: lane.seeds }))];
      const clear = lane.holm < 0.05;
      return [
        h("p", {}, h("b", {}, accuracy)),
        h("p", { class: `dk-gain ${clear ? (lane.gain > 0 ? "dk-student" : "dk-twin") : "dk-muted"}` },
          say("{gain} ± {half} points", { gain: gained(100 * lane.gain, 2), half: fixed(100 * lane.gain_half, 2) })),
        h("p", { class: "dk-note" }, clear ? `p ${lane.holm < 0.001 ? "< 0.001" : `= ${fixed(lane.holm, 3)}`}` : say("no difference shown")),
      ];
    }

    const running = () => Boolean(model.get("live").running);
    const track = (index) => (model.get("live").lanes ?? {})[index];

    function draw() {
      if (!width) return;
      rows.forEach((row, index) => drawLane(row, lanes[index], track(index)));
    }

    function drawLane(row, lane, mine) {
      const wide = row.track.parentElement.clientWidth;
      const [left, right, top, bottom] = [30, wide - 6, 8, HEIGHT - 8];
      const x = scale(0, steps, left, right);
      const log = scale(Math.log(worst), Math.log(best), bottom, top);
      const y = (accuracy) => log(Math.log(clamp(1 - accuracy, best, worst)));
      const last = lane.at.at(-1) || steps;
      const at = (step) => x((step * steps) / last); // the stored runs may have been longer
      const band = [
        ...lane.at.map((step, i) => [at(step), y(lane.curve[i] + lane.spread[i])]),
        ...lane.at.map((step, i) => [at(step), y(lane.curve[i] - lane.spread[i])]).reverse(),
      ];
      const marks = [0.8, 0.9, 0.95, 0.98, 0.99].filter((value) => 1 - value < worst && 1 - value > best);
      const kept = marks.filter((value, i) => !i || y(marks[i - 1]) - y(value) > 12);
      set(row.track, {
        width: wide,
        viewBox: `0 0 ${wide} ${HEIGHT}`,
        "aria-label": `${lane.method}: ${mine?.accuracy.length ? say("{value} % at step {step}; ", { value: fixed(100 * mine.accuracy.at(-1), 1), step: mine.steps.at(-1) }) : ""}${say("stored {value} %", { value: fixed(100 * lane.accuracy, 1) })}`,
      });
      row.track.replaceChildren(
        ...kept.flatMap((value) => [
          svg("line", { class: "dk-rule", x1: left, x2: right, y1: y(value), y2: y(value) }),
          svg("text", { class: "dk-muted", x: left - 4, y: y(value) + 4, "text-anchor": "end" }, String(Math.round(100 * value))),
        ]),
        svg("path", { class: "dk-band", d: `${path(band)}Z` }),
        svg("path", { class: "dk-mean", d: path(lane.at.map((step, i) => [at(step), y(lane.curve[i])])) }),
        svg("line", { class: "dk-flag", x1: right, x2: right, y1: top - 4, y2: bottom + 4 }),
        ...(mine?.steps.length
          ? [
              svg("path", { class: "dk-mine dk-student", d: path(mine.steps.map((step, i) => [x(step), y(mine.accuracy[i])])) }),
              svg("rect", { class: "dk-runner", x: x(mine.steps.at(-1)) - 4, y: y(mine.accuracy.at(-1)) - 4, width: 8, height: 8 }),
            ]
          : []),
      );
      drawKnobs(row, lane, mine);
      const zero = track(0);
      const isOver = mine && mine.steps.at(-1) === steps && zero?.steps.at(-1) === steps;
      let text = "";
      if (mine?.accuracy.length) {
        text = say("now {value} %", { value: fixed(100 * mine.accuracy.at(-1), 1) });
        if (isOver && lane !== lanes[0]) text = say("this run {value} %, {gain}", { value: fixed(100 * mine.accuracy.at(-1), 1), gain: gained(100 * (mine.accuracy.at(-1) - zero.accuracy.at(-1)), 1) });
        else if (isOver) text = say("this run {value} %", { value: fixed(100 * mine.accuracy.at(-1), 1) });
      }
      set(row.now, { text });
    }

    // T on a logarithmic scale from ½ to 64; alpha and what moves inside from 0 to 1. The last value stands beside.
    function drawKnobs(row, lane, mine) {
      const wide = row.knobs.parentElement.clientWidth;
      const [left, right] = [4, Math.max(40, wide - 76)];
      const x = scale(0, steps, left, right);
      const scales = { T: (value) => scale(Math.log(0.5), Math.log(64), HEIGHT - 10, 10)(Math.log(value)), alpha: scale(0, 1, HEIGHT - 10, 10) };
      scales.inner = scales.alpha;
      const shown = Object.keys(KNOBS).filter((name) => mine?.[name]?.length);
      const ends = shown.map((name) => ({ name, value: mine[name].at(-1), y: scales[name](mine[name].at(-1)) }));
      ends.sort((a, b) => a.y - b.y).forEach((end, i) => (end.at = Math.max(end.y + 4, i ? ends[i - 1].at + 14 : 12)));
      const over = Math.max(0, (ends.at(-1)?.at ?? 0) - (HEIGHT - 4));
      const write = { T: (value) => `T ${fixed(value, value < 10 ? 1 : 0)}`, alpha: (value) => `α ${fixed(value, 2)}`, inner: (value) => `${fixed(100 * value, 0)} %` };
      const label = ends.map((end) => write[end.name](end.value) + (end.name === "inner" ? ` ${lane.inner}` : "")).join(", ");
      set(row.knobs, { width: wide, viewBox: `0 0 ${wide} ${HEIGHT}`, "aria-label": say("knobs of {method}: {values}", { method: lane.method, values: label || `${lane.setting}, ${say("not run yet")}` }) });
      row.knobs.replaceChildren(
        svg("title", {}, label || lane.setting),
        svg("line", { class: "dk-rule", x1: left, x2: right, y1: HEIGHT - 10, y2: HEIGHT - 10 }),
        svg("line", { class: "dk-rule", x1: left, x2: right, y1: 10, y2: 10 }),
        ...ends.flatMap(({ name, value, at }) => [
          svg("path", {
            class: `dk-knob ${KNOBS[name]}`,
            "stroke-dasharray": DASH[name],
            d: path(mine.steps.map((step, i) => [x(step), scales[name](mine[name][i])])),
          }),
          svg("text", { class: KNOBS[name], x: right + 8, y: at - over }, write[name](value)),
        ]),
      );
    }

    let before = false;
    function show() {
      const { seed, lanes: going = {} } = model.get("live");
      const { error, line } = model.get("state");
      const last = model.get("fresh").at(-1);
      set(start, { disabled: running() });
      set(stop, { hidden: !running() });
      const step = Math.min(...Object.values(going).map((lane) => lane.steps.at(-1) ?? 0));
      set(status, { text: running() ? (seed == null ? say("the teacher is loaded …") : say("seed {seed}, step {step} of {of}", { seed, step: Number.isFinite(step) ? step : 0, of: steps })) : "" });
      const said = last
        ? say("Seed {seed}: {results}. One run is an anecdote: the stored ± says how much of it is luck.", {
            seed: last.seed,
            results: lanes.filter((lane) => lane.method in last).map((lane) => `${lane.method} ${fixed(100 * last[lane.method], 1)} %`).join(", "),
          })
        : "";
      set(result, { text: error ?? line ?? (running() ? "" : said) });
      result.classList.toggle("dk-error", Boolean(error));
      if (before && !running()) spoken.say(result.textContent);
      before = running();
      draw();
    }

    function ticked() {
      rows.forEach((row, i) => (row.tick.checked = i === 0 || model.get("chosen").includes(i)));
    }

    onWidth(table, (now) => {
      width = now;
      draw();
    }, signal);
    const listeners = { live: show, state: show, fresh: show, chosen: ticked };
    for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
    ticked();
    show();
  },
});
