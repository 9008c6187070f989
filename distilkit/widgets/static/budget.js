// The budget: sliders for what is assumed, a bar a model for what a day of requests then costs. Computed here.
import { h, live, root, say, set, slider, widget } from "./base.js";
import { fixed, short } from "./maths.js";

const DAY = 86400;

// As distilkit.cost.serving_cost.
export function servingCost(seconds, { requests, utilisation, price_hour, watts, price_kwh, grams_kwh }) {
  const machines = Math.max(1, Math.ceil((requests * seconds) / (DAY * utilisation) - 1e-9));
  const kwh = (24 * machines * watts) / 1000;
  const [rent, electricity] = [24 * machines * price_hour, kwh * price_kwh];
  const busy = (requests * seconds) / (DAY * machines);
  return { machines, busy, rent, kwh, electricity, money: rent + electricity, co2_kg: (kwh * grams_kwh) / 1000 };
}

const big = (x) => (x >= 1e9 ? say("{x} billion", { x: short(x / 1e9) }) : x >= 1e6 ? say("{x} million", { x: short(x / 1e6) }) : Math.round(x).toLocaleString("en"));
const amount = (x) => (x >= 100 || x === 0 ? Math.round(x).toLocaleString("en") : fixed(x, x >= 0.1 ? 2 : 3));
const SLIDERS = {
  requests: [say("Requests a day"), big],
  utilisation: [say("Busy at most"), (x) => `${fixed(100 * x, 0)} %`],
  price_hour: [say("Machine, an hour"), (x) => amount(x)],
  watts: [say("Machine draws"), (x) => `${fixed(x, 0)} W`],
  price_kwh: [say("Electricity, a kWh"), (x) => amount(x)],
  grams_kwh: [say("CO₂, a kWh"), (x) => `${fixed(x, 0)} g`],
};
const MEASURES = {
  machines: [say("machines"), (x) => x.toLocaleString("en")],
  money: [say("money a day"), amount],
  kwh: [say("kWh a day"), amount],
  co2_kg: [say("kg CO₂ a day"), amount],
};
const role = (name) => ["teacher", "student", "twin"].find((each) => name.includes(each)) ?? "muted";

export default widget({
  render({ model, el, signal }) {
    const seconds = Object.entries(model.get("seconds"));
    const knobs = model.get("knobs");
    const values = { ...model.get("values") };
    let timer;

    const sliders = Object.entries(SLIDERS).map(([name, [label, format]]) => {
      const { low, high, value, log } = knobs[name];
      const change = (x) => {
        values[name] = x;
        show();
        clearTimeout(timer);
        timer = setTimeout(() => {
          model.set("values", { ...values });
          model.save_changes();
        }, 150);
      };
      return [name, slider(label, low, high, value, { log, format, change, name })];
    });
    const rows = seconds.map(([name, each]) => ({
      name,
      each,
      cells: Object.keys(MEASURES).map(() => ({ bar: h("i"), value: h("b") })),
    }));
    const table = h(
      "div",
      { class: "dk-bu-table", role: "table", "aria-label": say("Costs of a day") },
      h(
        "div",
        { class: "dk-bu-line dk-bu-head", role: "row" },
        [say("model"), ...Object.values(MEASURES).map(([label]) => label)].map((text) => h("span", { role: "columnheader" }, text)),
      ),
      rows.map(({ name, each, cells }) =>
        h(
          "div",
          { class: `dk-bu-line dk-${role(name)}`, role: "row" },
          h("span", { role: "rowheader", class: "dk-bu-name" }, h("strong", {}, name), h("small", {}, say("{ms} ms a request", { ms: short(1000 * each) }))),
          cells.map(({ bar, value }, i) =>
            h("span", { role: "cell", class: "dk-bu-cell" }, h("em", { "aria-hidden": "true" }, Object.values(MEASURES)[i][0]), h("span", { class: "dk-bu-track" }, bar), value),
          ),
        ),
      ),
    );
    const told = h("p", { class: "dk-bu-told" });
    const spoken = live();
    root(
      el,
      say("What serving costs"),
      h(
        "div",
        { class: "dk-budget" },
        h("div", { class: "dk-bu-sliders" }, sliders.map(([, each]) => each.element)),
        table,
        told,
        h("p", { class: "dk-note" }, say("Measured: the time of a request. Assumed: everything on a slider. A machine is paid for, and draws its power, all day.")),
      ),
      spoken.element,
    );

    function show() {
      const costs = rows.map(({ each }) => servingCost(each, values));
      Object.entries(MEASURES).forEach(([measure, [, format]], i) => {
        const most = Math.max(...costs.map((found) => found[measure]), 1e-12);
        rows.forEach(({ cells }, row) => {
          set(cells[i].bar, { style: { width: `${(100 * costs[row][measure]) / most}%` } });
          set(cells[i].value, { text: format(costs[row][measure]) });
        });
      });
      const [first, last] = [costs[0], costs.at(-1)];
      const [one, other] = [rows[0].name, rows.at(-1).name];
      const saved = first.money - last.money;
      let text = say("{model}: {machines} × {busy} % busy.", { model: one, machines: first.machines, busy: fixed(100 * first.busy, 0) });
      if (rows.length > 1 && first.machines === last.machines)
        text = say("As many machines either way ({machines}): here {other} saves no money, only time. {one} keeps them {busy} busy, {other} {less}.", {
          machines: first.machines, other, one, busy: share(first.busy), less: share(last.busy),
        });
      else if (rows.length > 1) {
        text = say("{other} instead of {one}: {less} machines instead of {more}", { other, one, less: last.machines.toLocaleString("en"), more: first.machines.toLocaleString("en") });
        const [much, part] = [amount(Math.abs(saved)), first.money && fixed((100 * Math.abs(saved)) / first.money, 0)];
        const more = saved < 0 ? say(", {much} a day more ({part} %)", { much, part }) : say(", {much} a day less ({part} %)", { much, part });
        text += first.money ? `${more}.` : ".";
      }
      set(told, { text });
      spoken.say(text);
    }
    const share = (busy) => (busy < 0.01 ? say("less than 1 %") : `${fixed(100 * busy, 0)} %`);

    function pulled() {
      Object.assign(values, model.get("values"));
      sliders.forEach(([name, each]) => each.set(values[name]));
      show();
    }
    model.on("change:values", pulled);
    signal.addEventListener("abort", () => clearTimeout(timer));
    show();
  },
});
