// The translator: a sentence of the reader's own, each model's translation, and what each of its words came from.
import { asker, button, called, choice, h, live, root, say, set, widget } from "./base.js";
import { fixed, share } from "./maths.js";

export default widget({
  render({ model, el, signal }) {
    const { roles, typed, beams, count } = model.get("about");
    let page;
    let chosen = null; // {role, word} or {word}, of the source: clicked, or reached by the keyboard
    let words = {}; // the buttons of each line; "source" is the sentence’s own

    const input = h("input", {
      type: "text", class: "dk-tr-input", maxlength: typed, spellcheck: "false", autocomplete: "off", "aria-label": say("an English sentence"), placeholder: say("an English sentence"),
      onkeydown: (event) => event.key === "Enter" && submit(),
    });
    const search = choice(say("search"), beams.map((each) => [each, each === 1 ? say("greedy") : say("beam of {width}", { width: each })]), beams[0], () => ask({ text: input.value.trim() || page.source }));
    const source = h("div", { class: "dk-tr-line dk-tr-source", role: "group", "aria-label": say("the sentence") });
    const unknown = h("p", { class: "dk-tr-unknown", role: "note" });
    const reference = h("p", { class: "dk-tr-reference" });
    const columns = h("div", { class: "dk-tr-columns" });
    const detail = h("div", { class: "dk-tr-detail", "aria-label": say("the chosen word"), role: "group" });
    const kernel = asker({ model, signal }, say("The models translate …"));
    const spoken = live();

    root(el, say("Translator"),
      h("div", { class: "dk-translate" },
        h("div", { class: "dk-row dk-tr-top", "data-kernel": true }, input, button(say("Translate"), submit)),
        h("div", { class: "dk-row dk-tr-top", "data-kernel": true }, search.element, count > 0 && button(say("Another sentence"), () => ask({ next: true }))),
        kernel.fault,
        kernel.busy,
        source,
        unknown,
        columns,
        reference,
        detail),
      spoken.element);

    function submit() {
      if (input.value.trim()) ask({ text: input.value });
    }

    const ask = (content) => kernel.ask({ kind: "translate", beams: search.value, ...content });

    // ── words ──

    function line(role, texts, label) {
      words[role] = texts.map((word, i) =>
        h("button", {
          type: "button", class: "dk-tr-word", tabindex: i ? -1 : 0, "aria-label": label(word, i),
          onpointerenter: (event) => event.pointerType !== "touch" && show({ role, word: i }),
          onpointerleave: () => show(chosen),
          onclick: () => choose(role, i),
          onfocus: () => choose(role, i),
          onkeydown: (event) => move(event, role, i),
        }, word.text ?? word));
      return words[role];
    }

    function choose(role, word) {
      chosen = { role, word };
      words[role].forEach((each, i) => set(each, { tabindex: i === word ? 0 : -1 }));
      show(chosen);
    }

    function move(event, role, i) {
      const lines = ["source", ...roles].filter((each) => words[each].length);
      const [along, across] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
      if (!along && !across) return;
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would move to another cell of the notebook
      const to = words[lines[lines.indexOf(role) + across]] ?? [];
      to[Math.min(i + along, across ? to.length - 1 : i + along)]?.focus({ preventScroll: true });
    }

    // What the word under the pointer came from or went to, and what else it might have been.
    function show(at) {
      for (const [role, each] of Object.entries(words)) {
        each.forEach((word, i) => {
          const isChosen = at?.role === role && at.word === i;
          set(word, { "aria-pressed": String(isChosen), style: { "--weight": weight(at, role, i).toFixed(3) } });
        });
      }
      source.dataset.by = at?.role ?? "";
      detail.replaceChildren(...(at ? told(at) : [h("p", { class: "dk-note" }, say("Point at a word, or reach it with the arrow keys: the words that it was read from light up."))]));
    }

    function weight(at, role, i) {
      if (!at || at.role === role) return 0;
      if (at.role === "source") return page.sides[role].words[i].from[at.word] ?? 0;
      return role === "source" ? page.sides[at.role].words[at.word].from[i] ?? 0 : 0;
    }

    function told({ role, word }) {
      if (role === "source") {
        const name = page.words[word];
        const takers = roles.map((each) => {
          const [best, most] = strongest(page.sides[each].words.map((target) => target.from[word] ?? 0));
          return h("p", {}, h("b", { class: `dk-${each}` }, `${called(each)}: `), most > 0 ? say("“{text}” looked at it most, {share} of its attention", { text: page.sides[each].words[best].text, share: fixed(most, 2) }) : say("nothing was written"));
        });
        return [h("p", { class: "dk-tr-title" }, `“${name.text}”`, name.unknown && say(" is not in the vocabulary: the models read <unk>")), ...takers];
      }
      const each = page.sides[role].words[word];
      const from = each.from.map((x, i) => [x, page.words[i].text]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([x]) => x >= 0.05);
      return [
        h("p", { class: "dk-tr-title" }, h("span", { class: `dk-${role}` }, called(role)), say(" wrote “{text}”, probability {p}", { text: each.text, p: share(each.prob) })),
        h("p", {}, say("read from "), from.length ? from.map(([x, text]) => `“${text}” ${fixed(x, 2)}`).join(", ") : say("no one word"), h("span", { class: "dk-muted" }, say(" (attention)"))),
        h("ol", { class: "dk-tr-choices", "aria-label": say("what might have stood there") }, each.choices.map(([text, p]) =>
          h("li", { "data-chosen": text === each.choice ? "true" : null },
            h("span", { class: "dk-tr-choice" }, text),
            h("span", { class: `dk-tr-bar dk-${role}`, style: { "--p": p } }),
            h("span", { class: "dk-tr-p" }, share(p))))),
      ];
    }

    const strongest = (values) => values.reduce((best, x, i) => (x > best[1] ? [i, x] : best), [0, 0]);

    // ── a page ──

    function side(role) {
      const { text, words: written, others, ms, right } = page.sides[role];
      const slowest = Math.max(...roles.map((each) => page.sides[each].ms));
      const faster = slowest / ms;
      return h("section", { class: `dk-tr-side dk-tr-by-${role}`, "aria-label": called(role), "data-role": role },
        h("p", { class: "dk-tr-role" }, h("b", { class: `dk-${role}` }, called(role)), h("span", { class: "dk-tr-ms" }, `${fixed(ms, ms < 10 ? 1 : 0)} ms`, faster > 1.05 && say(", {times} × as fast", { times: fixed(faster, 1) }))),
        h("div", { class: "dk-tr-line", role: "group", "aria-label": say("the {role}’s translation: {text}", { role: called(role), text: text || say("nothing") }) },
          written.length ? line(role, written, (word) => `${word.text}, ${say("probability {p}", { p: share(word.prob) })}`).map((each, i) => set(each, { style: { "--doubt": (1 - written[i].prob).toFixed(3) }, "data-glued": written[i].glued ? "true" : null })) : h("span", { class: "dk-muted" }, say("nothing"))),
        right !== null && h("p", { class: right ? "dk-tr-right" : "dk-tr-other" }, right ? say("✓ as the reference") : say("differs from the reference")),
        others.length > 0 && h("ol", { class: "dk-tr-others", start: 2, "aria-label": say("the {role}’s other candidates", { role: called(role) }) }, others.map(([other, score]) => h("li", {}, h("span", {}, other), h("small", { class: "dk-muted" }, fixed(score, 2))))));
    }

    function update() {
      kernel.settled();
      page = model.get("page");
      chosen = null;
      words = Object.fromEntries(["source", ...roles].map((role) => [role, []]));
      if (document.activeElement !== input) input.value = page.source;
      search.set(page.beams);
      source.replaceChildren(...line("source", page.words, (word) => `${word.text}${word.unknown ? say(", not in the vocabulary") : ""}`).map((each, i) => set(each, { "data-unknown": page.words[i].unknown ? "true" : null, "data-glued": page.words[i].glued ? "true" : null })));
      const lost = page.unknown.map((word) => `“${word}”`).join(", ");
      set(unknown, { text: lost && say("Not in the vocabulary: {words}. The models were told only that some word stands there.", { words: lost }), hidden: !lost });
      columns.replaceChildren(...roles.map(side));
      set(reference, { text: page.reference && say("reference: {text}", { text: page.reference }), hidden: !page.reference });
      show(null);
      spoken.say(roles.map((role) => `${called(role)}: ${page.sides[role].text || say("nothing")}.`).join(" ") + (lost ? ` ${unknown.textContent}` : ""));
    }

    model.on("change:page", update);
    update();
  },
});
