// The map: five parts, a card a chapter. A card is a link; what it opens with depends on where this page is.
import { h, root, say, set, widget } from "./base.js";

const COLAB = "https://colab.research.google.com/github/distilkit/distilkit/blob/v0.1.0/notebooks/";

// Where a chapter is, seen from this page: beside this notebook, on Colab, or beside this page of a site.
function place(name) {
  if (location.hostname.endsWith("googleusercontent.com")) return { href: `${COLAB}${name}.ipynb`, target: "_blank" };
  if (location.pathname.endsWith(".html")) return { href: `./${name}.html` };
  // JupyterLab opens it beside this one, without loading the page anew.
  const lab = location.pathname.match(/\/lab(?:\/workspaces\/[^/]+)?\/tree\/(.*?)[^/]*$/);
  const open = lab && {
    "data-commandlinker-command": "docmanager:open",
    "data-commandlinker-args": JSON.stringify({ path: `${decodeURIComponent(lab[1])}${name}.ipynb` }),
  };
  return { href: `./${name}.ipynb`, ...open };
}

const pips = (filled, all, of) =>
  all > 0 && h("span", { class: "dk-map-pips", title: `${of} ${filled}/${all}` },
    Array.from({ length: all }, (_, i) => h("i", { "data-done": String(i < filled) })));

function card(chapter) {
  const { name, asked, questions, solved, exercises, claim, begun, done } = chapter;
  const words = [
    questions > 0 && say("questions {done}/{all}", { done: asked, all: questions }),
    exercises > 0 && say("exercises {done}/{all}", { done: solved, all: exercises }),
    claim && say("claim reached"),
  ].filter(Boolean);
  const state = begun ? words.join(", ") : say("not begun");
  const number = name.match(/^\d+/)?.[0] ?? "∞";
  return h("li", {}, h("a", { class: "dk-map-card", ...place(name), "data-next": String(chapter.next), "data-done": String(done) },
    h("span", { class: "dk-map-title" }, h("b", { "aria-hidden": "true" }, done ? "✓" : number), ` ${chapter.title}`),
    h("span", { class: "dk-map-asks" }, chapter.asks),
    h("span", { class: "dk-map-foot" },
      h("span", { class: "dk-map-marks", "aria-hidden": "true" },
        pips(asked, questions, say("questions")), pips(solved, exercises, say("exercises")),
        claim && h("span", { title: say("claim reached") }, "★")),
      h("span", {}, chapter.minutes > 0 && say("{minutes} min", { minutes: chapter.minutes }))),
    h("span", { class: "dk-live" }, ` ${state}.${chapter.next ? ` ${say("next")}.` : ""}`)));
}

function render({ model, el, signal }) {
  const head = h("p", { class: "dk-map-head", role: "status" });
  const note = h("p", { class: "dk-note" });
  const parts = h("div", { class: "dk-map" });
  const legend = h("p", { class: "dk-note dk-map-legend", "aria-hidden": "true" },
    
    h("span", {}, h("i", { "data-done": "true", class: "dk-map-round" }), ` ${say("question answered")}`),
    h("span", {}, h("i", { "data-done": "true" }), ` ${say("exercise solved")}`),
    h("span", {}, h("b", {}, "★"), ` ${say("claim reached")}`));
  const group = root(el, say("The map of the chapters"), head, parts, legend, note);
  function show() {
    const chapters = model.get("chapters");
    const next = chapters.find((each) => each.next);
    const total = (key) => chapters.reduce((sum, each) => sum + each[key], 0);
    const counts = { asked: total("asked"), questions: total("questions"), solved: total("solved"), exercises: total("exercises") };
    head.replaceChildren(
      h("span", {}, say("{asked} of {questions} questions answered, {solved} of {exercises} exercises solved.", counts)), " ",
      next ? h("a", place(next.name), `${next.begun ? say("Go on with") : say("Next:")} ${next.name.match(/^\d+/)?.[0] ?? ""} ${next.title}`) : "");
    const focus = group.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const names = [...new Set(chapters.map((each) => each.part))];
    parts.replaceChildren(...names.map((part) =>
      h("section", { "aria-label": part }, h("h3", {}, part),
        h("ul", {}, chapters.filter((each) => each.part === part).map(card)))));
    if (focus) [...group.querySelectorAll("a")].find((link) => link.getAttribute("href") === focus)?.focus();
    set(note, { text: model.get("note"), hidden: !model.get("note") });
  }
  // Another notebook may have written meanwhile: ask again whenever the map comes into view.
  const seen = new IntersectionObserver(([entry]) => {
    if (entry.isIntersecting)
      try {
        model.send({ kind: "again" });
      } catch {} // no kernel: what the page has must do
  });
  seen.observe(group);
  model.on("change:chapters change:note", show);
  show();
  signal.addEventListener("abort", () => seen.disconnect());
}

export default widget({ render });
