// The chat: a conversation with a shop’s desk, each model’s answer with the fact it rests on and each token’s time.
import { asker, button, called, h, live, root, say, set, widget } from "./base.js";
import { fixed, share } from "./maths.js";

const RESTS = {
  fact: (text) => say("“{text}” stands in the fact that the database gave.", { text }),
  customer: (text) => say("“{text}” is the customer’s own word.", { text }),
  "made up": (text) => say("“{text}” is made up: neither the database nor the customer said it.", { text }),
};
const SOURCES = { fact: say("from the database"), customer: say("the customer’s word"), "made up": say("made up") };

export default widget({
  render({ model, el, signal }) {
    const { roles, typed, openings, database } = model.get("about");

    const input = h("input", {
      type: "text", class: "dk-ch-input", maxlength: typed, spellcheck: "false", autocomplete: "off", "aria-label": say("your message"), placeholder: say("ask about an order, a product, returns, hours …"),
      onkeydown: (event) => event.key === "Enter" && submit(),
    });
    const log = h("div", { class: "dk-ch-log", role: "log", "aria-label": say("the conversation"), tabindex: 0 });
    const detail = h("p", { class: "dk-ch-detail", "aria-live": "polite" });
    const kernel = asker({ model, signal }, say("The models answer …"));
    const spoken = live();

    root(el, say("Chat"),
      h("div", { class: "dk-chat" },
        log,
        detail,
        h("div", { class: "dk-row dk-ch-send", "data-kernel": true }, input, button(say("Send"), submit), button(say("New conversation"), () => kernel.ask({ kind: "begin" }))),
        kernel.fault,
        kernel.busy,
        h("div", { class: "dk-ch-openings", "data-kernel": true, role: "group", "aria-label": say("messages to try") }, openings.map((text) => button(text, () => kernel.ask({ kind: "ask", text }), { class: "dk-ch-opening" }))),
        h("p", { class: "dk-note dk-ch-legend" }, ["fact", "customer", "made up"].flatMap((source) => [h("span", { class: "dk-ch-value", "data-source": source }, SOURCES[source]), " "])),
        h("details", { class: "dk-ch-database" },
          h("summary", {}, say("The shop’s database")),
          h("div", { class: "dk-ch-tables" }, Object.entries(database).map(([name, rows]) => h("section", { "aria-label": name }, h("b", {}, name), h("ul", { tabindex: 0 }, rows.map((row) => h("li", {}, row)))))))),
      spoken.element);

    function submit() {
      if (!input.value.trim()) return;
      kernel.ask({ kind: "ask", text: input.value });
      input.value = "";
    }

    // ── what stands there ──

    // The chosen value, marked in these texts and in no others.
    function mark(texts, value) {
      for (const each of log.querySelectorAll("[data-text]")) {
        const text = each.dataset.text;
        const at = texts.includes(each) ? place(text, value) : undefined;
        each.replaceChildren(...(at === undefined ? [text] : [text.slice(0, at), h("mark", {}, value), text.slice(at + value.length)]));
      }
    }

    // Where a value stands as a whole word: the 4 of “4 left” is not that of “order 4821”.
    const place = (text, value) => [...text.matchAll(/[\p{L}\d]+/gu)].map((found) => found.index).find((i) => text.startsWith(value, i) && !/^[\p{L}\d]/u.test(text.slice(i + value.length)));

    function rest(text, source, side, customer) {
      const tell = () => {
        mark(source === "made up" ? [] : [side.querySelector(".dk-ch-fact-text"), customer], text);
        set(detail, { text: RESTS[source](text) });
      };
      const forget = () => mark([]);
      return h("button", { type: "button", class: "dk-ch-value", "data-source": source, "aria-label": `${text}: ${SOURCES[source]}`, onpointerenter: tell, onpointerleave: forget, onfocus: tell, onblur: forget, onclick: tell }, text);
    }

    // The tokens as bars, as high as their time: a slider, so that the arrow keys walk along it.
    function times(role, { tokens }) {
      const most = Math.max(...tokens.map(([, , ms]) => ms), 1e-9);
      const bars = tokens.map(([, , ms], i) => h("span", { class: "dk-ch-bar", style: { "--high": (ms / most).toFixed(3) }, onpointerenter: () => at(i), onclick: () => at(i) }));
      const said = ([text, prob, ms], i) => say("token {token} of {of} “{text}”: {ms} ms, probability {probability}", { token: i + 1, of: tokens.length, text: text.replace("\n", "↵"), ms: fixed(ms, 2), probability: share(prob) });
      let chosen = 0;
      const strip = h("div", {
        class: "dk-ch-times", role: "slider", tabindex: 0, "aria-label": say("{role}’s tokens", { role: called(role) }), "aria-valuemin": 1, "aria-valuemax": tokens.length, "aria-valuenow": 1, "aria-valuetext": said(tokens[0], 0),
        onkeydown(event) {
          const step = { ArrowLeft: -1, ArrowRight: 1, Home: -tokens.length, End: tokens.length }[event.key];
          if (!step) return;
          event.preventDefault();
          event.stopPropagation(); // JupyterLab would move to another cell of the notebook
          at(Math.min(tokens.length - 1, Math.max(0, chosen + step)));
        },
        onfocus: () => at(chosen),
      }, bars);
      function at(i) {
        chosen = i;
        bars.forEach((bar, k) => set(bar, { "data-chosen": k === i ? "true" : null }));
        set(strip, { "aria-valuenow": i + 1, "aria-valuetext": said(tokens[i], i) });
        set(detail, { text: said(tokens[i], i) });
      }
      return strip;
    }

    function column(role, side, customer, others) {
      const { lookup, fact, answer, tokens, ms, middle } = side;
      const slowest = Math.max(...others.map((each) => each.middle));
      const section = h("section", { class: `dk-ch-side dk-ch-by-${role}`, "aria-label": called(role), "data-role": role });
      section.append(
        h("p", { class: "dk-ch-role" }, h("b", { class: `dk-${role}` }, called(role)), h("span", { class: "dk-ch-ms" }, say("{ms} ms a token", { ms: fixed(middle, 1) }), middle > 0 && slowest / middle > 1.05 && say(", {times} × as fast", { times: fixed(slowest / middle, 1) }))),
        ...(lookup ? [h("p", { class: "dk-ch-lookup" }, h("span", { class: "dk-ch-what" }, say("looked up")), lookup), h("p", { class: "dk-ch-fact" }, h("span", { class: "dk-ch-what" }, say("database")), h("span", { class: "dk-ch-fact-text", "data-text": fact }, fact))] : [h("p", { class: "dk-ch-lookup dk-muted" }, say("looked nothing up"))]),
        h("p", { class: "dk-ch-answer" }, answer.length ? answer.map(([text, source]) => (source ? rest(text, source, section, customer) : text)) : h("span", { class: "dk-muted" }, say("(nothing)"))));
      if (tokens.length) section.append(times(role, side), h("p", { class: "dk-ch-sum" }, say("{count} tokens in {ms} ms", { count: tokens.length, ms: fixed(ms, ms < 10 ? 1 : 0) })));
      return section;
    }

    function turn({ customer, sides }) {
      const said = h("p", { class: "dk-ch-customer", "data-text": customer }, customer);
      const all = Object.values(sides);
      return h("div", { class: "dk-ch-turn" }, said, h("div", { class: "dk-ch-columns" }, roles.map((role) => column(role, sides[role], said, all))));
    }

    function update() {
      kernel.settled();
      const { turns, earlier } = model.get("page");
      set(detail, { text: say("Point at a marked value, or tab to it: what it rests on lights up. Bars are tokens, as high as their time.") });
      log.replaceChildren(
        ...(earlier ? [h("p", { class: "dk-note" }, say("{count} earlier turns", { count: earlier }))] : []),
        ...(turns.length ? turns.map(turn) : [h("p", { class: "dk-note" }, say("Nothing was said yet."))]));
      log.scrollTop = log.scrollHeight;
      const last = turns.at(-1);
      if (last) spoken.say(roles.map((role) => `${called(role)}: ${last.sides[role].answer.map(([text]) => text).join("") || say("nothing")}.`).join(" "));
    }

    model.on("change:page", update);
    update();
    requestAnimationFrame(() => (log.scrollTop = log.scrollHeight)); // it has a height once it is on the page
  },
});
