// The imprinting workbench: the teacher's explanations one by one, a filter that acts at once, and what it lets through.
import { button, choice, h, live, onWidth, root, say, set, slider, svg, trainer, widget } from "./base.js";
import { clamp, fixed, scale, sum, ticks } from "./maths.js";

const BINS = 26;
const HEIGHT = 210;
const STRIP = 92;
const percent = (part, whole) => (whole ? `${Math.round((100 * part) / whole)} %` : "–");

function render({ model, el, signal }) {
  const { rows, problems, samples, range, known, more } = model.get("about");
  const problem = (row) => problems[row.problem];
  const right = (row) => row.answer === problem(row).answer;
  const save = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };

  // ── what passes: the filter, and above it the reader's own hand ──
  function passes(index) {
    const { votes, confidence, sound } = model.get("filter");
    const row = rows[index];
    return row.whole && row.votes >= votes - 1e-4 && row.confidence >= confidence && (row.sound || !sound);
  }
  const byHand = (index) => model.get("hand")[index];
  const kept = (index) => rows[index].whole && (byHand(index) ?? passes(index));

  const filter = (part) => save("filter", { ...model.get("filter"), ...part });
  const votes = slider(say("votes, at least"), 0, 1, 0, {
    name: "votes",
    values: Array.from({ length: samples + 1 }, (_, i) => i / samples),
    format: (value) => say("{place} of {count}", { place: Math.round(value * samples), count: samples }),
    change: (value) => filter({ votes: value }),
  });
  const confidence = slider(say("confidence, at least"), range[0], range[1], range[0], {
    name: "confidence",
    format: (value) => fixed(value, 3),
    change: (value) => filter({ confidence: value }),
  });
  const sound = h("input", { type: "checkbox", "data-name": "sound", onchange: () => filter({ sound: sound.checked }) });
  let truth = known ? "shown" : "hidden";
  const truths = choice(say("truth"), [["shown", say("shown")], ["hidden", say("hidden")]], truth, (value) => {
    truth = value;
    show();
  });

  // ── the counts ──
  const tile = (name, title) => {
    const value = h("b", { "data-name": name });
    return { value, element: h("div", { class: "dk-wb-tile" }, value, h("span", {}, title)) };
  };
  const tiles = [tile("kept", say("kept")), tile("precision", say("of the kept are right")), tile("recall", say("of the right ones are kept"))];

  // ── the picture ──
  const picture = svg("svg", { class: "dk-wb-picture", role: "img" });
  const strip = svg("svg", { class: "dk-wb-strip", role: "img" });
  let width = 0;

  // ── the list ──
  const items = rows.map((row, index) =>
    h(
      "div",
      { class: "dk-wb-item", role: "option", id: `dk-wb-${index}`, "data-index": index, onclick: () => select(index) },
      h("span", { class: "dk-wb-mark", "aria-hidden": "true" }),
      h("span", { class: "dk-wb-question" }, problem(row).question),
      h("span", { class: "dk-wb-said" }, row.answer == null ? say("no answer") : `= ${row.answer}`),
      h("span", { class: "dk-wb-votes" }, `${Math.round(row.votes * samples)}/${samples}`),
    ),
  );
  const list = h("div", { class: "dk-wb-list", role: "listbox", tabindex: 0, "aria-label": say("Explanations"), onkeydown: press }, items);
  const only = choice(say("list"), [["all", say("all")], ["kept", say("kept")], ["dropped", say("dropped")]], "all", () => show());

  const title = h("p", { class: "dk-wb-title" });
  const steps = h("ol", { class: "dk-wb-steps" });
  const answer = h("p", { class: "dk-wb-answer" });
  const others = h("p", { class: "dk-note" });
  const why = h("p", { class: "dk-wb-why" });
  const accept = button(say("Accept"), () => judge(true), { "aria-keyshortcuts": "a" });
  const reject = button(say("Reject"), () => judge(false), { "aria-keyshortcuts": "r" });
  const undo = button(say("As the filter says"), () => judge(null), { "aria-keyshortcuts": "u" });

  // ── a student on what passes ──
  const runs = trainer(model, say("Train on what passes"), () => ({ run: true }), { kind: "dk-wb-result" });
  const spoken = live();

  root(
    el,
    say("Imprinting workbench"),
    h(
      "div",
      { class: "dk-wb" },
      h("div", { class: "dk-row" }, votes.element, confidence.element, h("label", { class: "dk-wb-check" }, sound, say("every step is sound")), known && truths.element),
      h(
        "div",
        { class: "dk-wb-sides" },
        h("div", { class: "dk-wb-left" }, h("div", { class: "dk-wb-tiles" }, tiles.map((each) => each.element)), picture),
        h(
          "div",
          { class: "dk-wb-right" },
          h("div", { class: "dk-wb-above" }, only.element, h("span", { class: "dk-note" }, say("↑ ↓ move, A accepts, R rejects, U undoes"))),
          list,
          more > 0 && h("p", { class: "dk-note" }, say("These are the first {count}; the filter is for {more} more as well.", { count: rows.length, more })),
          h("div", { class: "dk-wb-one", "aria-label": say("The chosen explanation") }, title, steps, answer, others, h("div", { class: "dk-row" }, accept, reject, undo), why),
        ),
      ),
      h("div", { class: "dk-wb-run" }, runs.row, strip, runs.result),
    ),
    spoken.element,
  );

  function select(index, focus = true) {
    save("selected", index);
    if (focus) list.focus({ preventScroll: true });
  }

  function judge(verdict) {
    const index = model.get("selected");
    if (!rows[index].whole) return;
    const { [index]: _, ...hand } = model.get("hand");
    save("hand", verdict === null ? hand : { ...hand, [index]: verdict });
    spoken.say(why.textContent);
  }

  const visible = (index) => only.value === "all" || kept(index) === (only.value === "kept");

  function press(event) {
    const act = { a: true, r: false, u: null }[event.key.toLowerCase()];
    const shown = items.map((_, i) => i).filter((i) => !items[i].hidden);
    const at = shown.indexOf(model.get("selected"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1, PageDown: at + 8, PageUp: at - 8 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (act === undefined && to === undefined)) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would move to another cell of the notebook
    if (act !== undefined) {
      judge(act);
      if (act !== null && at + 1 < shown.length && !items[shown[at + 1]].hidden) select(shown[at + 1]);
    } else if (shown.length) select(shown[clamp(to, 0, shown.length - 1)]);
  }

  // ── drawing ──
  function show() {
    const now = model.get("filter");
    votes.set(now.votes);
    confidence.set(Math.max(now.confidence, range[0]));
    sound.checked = now.sound;
    const keeps = rows.map((_, i) => kept(i));
    const rights = rows.map(right);
    const both = sum(rows.map((_, i) => Number(keeps[i] && rights[i])));
    const count = sum(keeps.map(Number));
    const hidden = truth === "hidden";
    set(tiles[0].value, { text: say("{place} of {count}", { place: count, count: rows.length }) });
    set(tiles[1].value, { text: hidden ? "?" : percent(both, count) });
    set(tiles[2].value, { text: hidden ? "?" : percent(both, sum(rights.map(Number))) });
    items.forEach((item, i) => {
      const selected = i === model.get("selected");
      set(item, {
        "aria-selected": String(selected),
        "data-kept": String(keeps[i]),
        "data-hand": byHand(i) === undefined ? null : "true",
        "data-right": hidden ? null : String(rights[i]),
        "aria-label": `${problem(rows[i]).question} ${rows[i].answer ?? say("no answer")}, ${keeps[i] ? say("kept") : say("dropped")}${hidden ? "" : rights[i] ? say(", right") : say(", wrong")}`,
      });
      item.hidden = !visible(i) && !selected;
      set(item.firstChild, { text: (keeps[i] ? "✓" : "✗") + (byHand(i) === undefined ? "" : "☝") });
    });
    showOne(keeps, rights, hidden);
    draw(keeps, rights, hidden);
    showRun();
    const said = say("{count} of {all} kept", { count, all: rows.length });
    spoken.say(hidden ? said : said + say(", {right} of them right, {found} of the right ones kept", { right: percent(both, count), found: percent(both, sum(rights.map(Number))) }));
  }

  function showOne(keeps, rights, hidden) {
    const index = model.get("selected");
    const row = rows[index];
    set(list, { "aria-activedescendant": `dk-wb-${index}` });
    const [item, view] = [items[index].getBoundingClientRect(), list.getBoundingClientRect()];
    if (item.top < view.top) list.scrollTop -= view.top - item.top + 4;
    if (item.bottom > view.bottom) list.scrollTop += item.bottom - view.bottom + 4;
    set(title, { text: problem(row).question });
    steps.replaceChildren(
      ...row.steps.map(([text, good, follows]) =>
        h("li", { class: good && follows ? "dk-wb-good" : "dk-wb-bad" }, h("span", {}, text), !good ? h("em", {}, say("a wrong sum")) : !follows && h("em", {}, say("does not follow"))),
      ),
    );
    if (!row.steps.length) steps.replaceChildren(h("li", { class: "dk-wb-bad" }, h("span", {}, row.text || say("(nothing)"))));
    answer.replaceChildren(say("Its answer: "), h("b", {}, row.answer == null ? say("none") : String(row.answer)),
      hidden ? "" : rights[index] ? h("span", { class: "dk-wb-right-one" }, say(" ✓ right")) : h("span", { class: "dk-wb-wrong-one" }, say(" ✗ wrong, it is {answer}", { answer: problem(row).answer })));
    const spread = Object.entries(problem(row).votes).map(([value, share]) => `${value} ×${Math.round(share * samples)}`);
    set(others, { text: say("Confidence {value} nats a token. The teacher’s {count} answers here: {answers}.", { value: fixed(row.confidence, 3), count: samples, answers: spread.join(", ") }) });
    const ruled = byHand(index) !== undefined;
    const by = keeps[index]
      ? ruled ? say("Kept by your hand") : say("Kept by the filter")
      : ruled ? say("Dropped by your hand") : say("Dropped by the filter");
    set(why, { text: `${by}${ruled && passes(index) !== keeps[index] ? say(", against the filter") : ""}.` });
    if (!row.whole) set(why, { text: say("Dropped: without steps and an answer there is nothing to learn.") });
    [accept, reject].forEach((each) => set(each, { disabled: !row.whole }));
    set(undo, { disabled: !ruled });
  }

  function draw(keeps = rows.map((_, i) => kept(i)), rights = rows.map(right), hidden = truth === "hidden") {
    if (!width) return;
    const [left, end, middle] = [8, width - 8, hidden ? HEIGHT - 44 : HEIGHT / 2 - 6];
    const x = scale(range[0], range[1], left, end);
    const bins = Array.from({ length: BINS }, () => ({ up: [0, 0], down: [0, 0] })); // [kept, dropped]
    rows.forEach((row, i) => {
      const at = clamp(Math.floor((BINS * (row.confidence - range[0])) / (range[1] - range[0])), 0, BINS - 1);
      bins[at][hidden || rights[i] ? "up" : "down"][keeps[i] ? 0 : 1] += 1;
    });
    const root2 = Math.sqrt; // the many bars of the certain would leave no pixel for the others
    const highest = Math.max(...bins.flatMap((bin) => [sum(bin.up), sum(bin.down)]), 1);
    const tall = scale(0, root2(highest), 0, hidden ? HEIGHT - 66 : HEIGHT / 2 - 40);
    const wide = (end - left) / BINS;
    const bar = (i, [keep, drop], sign, who) => {
      const [full, dark] = [tall(root2(keep + drop)), (tall(root2(keep + drop)) * keep) / Math.max(keep + drop, 1)];
      const rect = (from, to, state) =>
        to > from && svg("rect", { class: `dk-wb-bar dk-wb-${who} dk-wb-${state}`, x: left + i * wide + 1, width: wide - 2, y: sign > 0 ? middle - to : middle + from, height: to - from });
      return [rect(0, dark, "kept"), rect(dark, full, "dropped")];
    };
    const number = (test) => rows.filter((_, i) => test(i)).length;
    const told = {
      low: fixed(range[0], 2), high: fixed(range[1], 2), all: rows.length, kept: number((i) => keeps[i]),
      right: number((i) => rights[i]), keptRight: number((i) => rights[i] && keeps[i]),
      wrong: number((i) => !rights[i]), keptWrong: number((i) => !rights[i] && keeps[i]),
    };
    const line = x(clamp(model.get("filter").confidence, range[0], range[1]));
    const chosen = x(rows[model.get("selected")].confidence);
    const atRight = line > width - (hidden ? 70 : 130);
    set(picture, { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT,
      "aria-label": hidden
        ? say("Histogram of confidence, {low} to {high} nats a token: {all} explanations, {kept} kept (dark)", told)
        : say("Histogram of confidence, {low} to {high} nats a token: {right} right ones above, {keptRight} kept (dark); {wrong} wrong ones below, {keptWrong} kept", told) });
    picture.replaceChildren(
      ...bins.flatMap((bin, i) => [...bar(i, bin.up, 1, hidden ? "any" : "good"), ...bar(i, bin.down, -1, "bad")]).filter(Boolean),
      svg("line", { class: "dk-wb-axis", x1: left, x2: end, y1: middle, y2: middle }),
      ...ticks(range[0], range[1], width < 380 ? 4 : 6).map((value) =>
        svg("text", { class: "dk-muted", x: x(value), y: HEIGHT - 22, "text-anchor": "middle" }, fixed(value, 2))),
      svg("text", { class: "dk-muted", x: end, y: HEIGHT - 4, "text-anchor": "end" }, say("confidence: mean log-probability a token, in nats")),
      svg("line", { class: "dk-wb-threshold", x1: line, x2: line, y1: 18, y2: HEIGHT - 36 }),
      svg("text", { x: line + (atRight ? -5 : 5), y: 14, "text-anchor": atRight ? "end" : "start" }, say("keep →")),
      svg("path", { class: "dk-wb-chosen", d: `M${chosen - 5} ${HEIGHT - 36}h10l-5 -8z` }),
      ...(hidden ? [] : [
        svg("text", { class: "dk-wb-good-name", x: end, y: 14, "text-anchor": "end" }, say("right ▲")),
        svg("text", { class: "dk-wb-bad-name", x: end, y: HEIGHT - 42, "text-anchor": "end" }, say("wrong ▼")),
      ]),
    );
    drawStrip();
  }

  function drawStrip() {
    const runs = model.get("fresh");
    const twin = model.get("twin").accuracy;
    set(strip, { height: STRIP, hidden: !runs.length && twin === undefined });
    if (!width) return;
    const wide = strip.parentElement.clientWidth;
    const x = scale(0, 1, 10, wide - 16);
    const y = 44;
    let last = -Infinity;
    let lift = 0;
    const marks = [...runs].map((run, i) => ({ ...run, i })).sort((a, b) => a.accuracy - b.accuracy).map((run) => {
      const at = x(run.accuracy);
      lift = at - last < 70 ? (lift + 1) % 3 : 0;
      last = at;
      return svg("g", { class: `dk-student dk-wb-landed${run.i === runs.length - 1 ? " dk-wb-last" : ""}` },
        svg("rect", { x: at - 5, y: y - 5, width: 10, height: 10 }),
        svg("text", { class: "dk-student", x: clamp(at, 34, wide - 50), y: y - 10 - 13 * lift, "text-anchor": "middle" }, say("{count} kept", { count: run.kept })));
    });
    set(strip, { viewBox: `0 0 ${wide} ${STRIP}`, width: wide,
      "aria-label": say("Test accuracy: {values}", { values: [twin !== undefined && `${say("twin")} ${percent(twin, 1)}`, ...runs.map((run) => `${say("{count} kept", { count: run.kept })} ${percent(run.accuracy, 1)}`)].filter(Boolean).join("; ") }) });
    strip.replaceChildren(
      svg("line", { class: "dk-wb-axis", x1: x(0), x2: x(1), y1: y, y2: y }),
      ...[0, 0.25, 0.5, 0.75, 1].map((value) => svg("text", { class: "dk-muted", x: x(value), y: y + 40, "text-anchor": value === 1 ? "end" : value ? "middle" : "start" }, percent(value, 1))),
      ...(twin === undefined ? [] : [
        svg("path", { class: "dk-twin dk-wb-twin", d: `M${x(twin)} ${y - 7}l6 12h-12z` }),
        svg("text", { class: "dk-twin", x: clamp(x(twin), 20, wide - 30), y: y + 21, "text-anchor": "middle" }, say("twin")),
      ]),
      ...marks,
    );
  }

  function showRun() {
    const run = model.get("fresh").at(-1);
    const twin = model.get("twin");
    const landed = run && say("Trained on {count} explanations{right}: {solved} % of the test problems solved", {
      count: run.kept, solved: fixed(100 * run.accuracy, 1),
      right: run.precision === undefined ? "" : say(", {share} of them right", { share: percent(run.precision, 1) }),
    }) + (twin.accuracy === undefined ? "." : say("; the twin, on the {labelled} labelled problems alone: {solved} %.", { labelled: twin.labelled, solved: fixed(100 * twin.accuracy, 1) }));
    const { ended } = runs.show({ text: landed ?? "" });
    drawStrip();
    if (ended) spoken.say(runs.result.textContent);
  }

  onWidth(picture.parentElement, (now) => {
    width = now;
    draw();
  }, signal);
  const listeners = { filter: show, hand: show, selected: show, fresh: showRun, twin: showRun, state: showRun };
  for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
  show();
}

export default widget({ render });
