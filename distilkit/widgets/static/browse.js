// Browse disagreements: a cluster, a place in it, and what either model would have said there.
import { h, live, root, say, set, svg, thumbnail, widget } from "./base.js";
import { fixed, share } from "./maths.js";

const SHAPES = { teacher: "M2 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", student: "M2 2h8v8h-8z" };
const mark = (role) =>
  svg("svg", { width: 12, height: 12, class: `dk-${role}`, "aria-hidden": "true" }, svg("path", { d: SHAPES[role], fill: "currentColor" }));
const spelt = (text) => text.replaceAll("\n", "↵").replaceAll(" ", "·");

function render({ model, el }) {
  const { clusters, places, all } = model.get("about");
  const spoken = live();
  let shown = []; // numbers of the places in the list

  const pick = h("select", { class: "dk-browse-pick", "aria-label": say("cluster"), onchange: () => list(true) },
    h("option", { value: "-1" }, say("all {all} places", { all })),
    ...clusters.map(({ name, places, kl }, i) => h("option", { value: i }, say("{name} ({places}, mean KL {kl})", { name: spelt(name), places, kl: fixed(kl, 2) }))));
  const rows = places.map((place, i) =>
    h("button", { type: "button", class: "dk-browse-row", role: "option", "data-place": i, onclick: () => choose(i), onkeydown: (event) => walk(event, i) },
      h("span", { class: "dk-browse-kl" }, fixed(place.kl, 2)), h("span", { class: "dk-browse-said dk-teacher" }, spelt(place.said[0])),
      h("span", { class: "dk-browse-said dk-student" }, spelt(place.said[1]))));
  const box = h("div", { class: "dk-browse-list", role: "listbox", "aria-label": say("places") });
  const heading = h("div", { class: "dk-browse-row dk-browse-top", "aria-hidden": "true" }, h("span", { class: "dk-browse-kl" }, say("KL")),
    h("span", { class: "dk-teacher" }, mark("teacher"), " ", say("teacher says")), h("span", { class: "dk-student" }, mark("student"), " ", say("student says")));
  const view = h("div", { class: "dk-browse-view" });
  const bars = h("div", { class: "dk-browse-bars", role: "table", "aria-label": say("answers of teacher and student") });

  function list(user) {
    shown = places.map((_, i) => i).filter((i) => Number(pick.value) < 0 || places[i].cluster === Number(pick.value));
    box.replaceChildren(...(shown.length ? shown.map((i) => rows[i]) : [h("p", { class: "dk-note" }, say("None of the places that are shown is in this cluster."))]));
    if (user && shown.length) choose(shown[0]);
  }
  function walk(event, i) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = shown[shown.indexOf(i) + step];
    if (next !== undefined) (choose(next), rows[next].focus());
  }
  function choose(i) {
    model.set("chosen", i);
    model.save_changes();
    draw();
    spoken.say(say("teacher {teacher}, student {student}, KL {kl} nats", { teacher: places[i].said[0], student: places[i].said[1], kl: fixed(places[i].kl, 2) }));
  }
  function draw() {
    const chosen = model.get("chosen");
    const place = places[chosen];
    if (!place) return;
    rows.forEach((row, i) => set(row, { "aria-selected": String(i === chosen), tabindex: i === chosen ? 0 : -1 }));
    view.replaceChildren(...(place.pixels
      ? [thumbnail(place.pixels, say("image {number}", { number: place.number })), h("p", {}, say("image {number}", { number: place.number }), h("br"), place.said[2] && say("labelled {label}", { label: place.said[2] }))]
      : [h("p", { class: "dk-browse-text" }, h("span", { class: "dk-muted" }, "… "), place.text[0], h("span", { class: "dk-browse-true" }, place.text[1].replaceAll("\n", "↵")), h("span", { class: "dk-muted" }, place.text[2]))]));
    const most = Math.max(...place.answers.flatMap(([, p, q]) => [p, q]));
    bars.replaceChildren(...place.answers.map(([name, p, q]) =>
      h("div", { class: "dk-browse-bar", role: "row", "data-true": name === place.said[2] },
        h("span", { class: "dk-browse-name", role: "rowheader", title: name }, (name === place.said[2] ? "◆ " : "") + spelt(name)),
        ...[["teacher", p], ["student", q]].map(([role, x]) =>
          h("span", { class: "dk-browse-cell", role: "cell", "data-role": role, "data-p": x },
            h("i", { class: `dk-browse-fill dk-browse-${role}`, style: { width: `${(70 * x) / most}%` } }), h("small", {}, share(x)))))));
  }

  root(el, say("Disagreements"),
    h("div", { class: "dk-row" }, pick),
    h("div", { class: "dk-browse" }, h("div", {}, heading, box), h("div", {}, view, bars, h("p", { class: "dk-note" }, say("◆ what is true. Bars: probabilities at temperature 1, those of the likeliest answers of either.")))),
    spoken.element);
  list(false);
  draw();
  model.on("change:chosen", draw);
}

export default widget({ render });
