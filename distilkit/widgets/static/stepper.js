// The rationale stepper: a solution line by line, its checks, its confidence, and an edited step from which a model goes on.
import { asker, button, called, h, live, root, say, set, slider, svg, widget } from "./base.js";
import { clamp, share } from "./maths.js";

const SHAPES = { teacher: "M2 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", student: "M2 2h8v8h-8z" };
const mark = (role) =>
  svg("svg", { width: 12, height: 12, class: `dk-${role}`, "aria-hidden": "true" }, svg("path", { d: SHAPES[role], fill: "currentColor" }));

function render({ model, el, signal }) {
  const { roles, count, typed } = model.get("about");
  let page;
  let editing = null; // {role, step}

  const question = h("p", { class: "dk-step-question" });
  const columns = h("div", { class: "dk-step-columns" });
  const kernel = asker({ model, signal }, say("The model writes …"));
  const spoken = live();
  const before = button("◂", () => kernel.ask({ kind: "look", at: page.at - 1 }), { "aria-label": say("the problem before"), "data-kernel": true });
  const after = button("▸", () => kernel.ask({ kind: "look", at: page.at + 1 }), { "aria-label": say("the next problem"), "data-kernel": true });
  const place = h("span", { class: "dk-muted" });
  let shown = slider(say("steps shown"), 0, 1, 1, { whole: true });
  const reveal = h("div", { class: "dk-step-reveal" });
  const own = h("input", {
    type: "text", class: "dk-step-input", maxlength: typed, spellcheck: "false", autocomplete: "off", "aria-label": say("a problem of your own"), placeholder: say("a problem of your own"),
    onkeydown: (event) => event.key === "Enter" && own.value.trim() && kernel.ask({ kind: "ask", text: own.value }),
  });

  root(el, say("Rationale stepper"),
    h("div", { class: "dk-step" },
      h("div", { class: "dk-row dk-step-top" }, count > 1 && [before, place, after], reveal),
      question,
      columns,
      h("p", { class: "dk-note" }, say("Shaded: what the model was unsure of; at the right, the probability of its least sure token. Click a step to change it: the model goes on from there.")),
      h("div", { class: "dk-row dk-step-own", "data-kernel": true }, own, button(say("Solve"), () => own.value.trim() && kernel.ask({ kind: "ask", text: own.value }))),
      kernel.busy,
      kernel.fault),
    spoken.element);

  function line(role, column, step, i) {
    const given = column.edited !== null && i <= column.edited;
    if (editing?.role === role && editing.step === i) return editor(role, step, i);
    const tokens = (column.tokens[i] ?? []).map(([text, p]) =>
      h("span", { class: "dk-step-token", style: { "--doubt": given ? 0 : (1 - p).toFixed(3) }, title: given ? `${text}: ${say("given")}` : `${text}: ${say("probability {p}", { p: share(p) })}` }, text));
    const good = step.right && step.known;
    const says = !step.right ? say("wrong sum") : !step.known ? say("unknown number") : say("right");
    const least = Math.min(...(column.tokens[i] ?? [[0, 1]]).map(([, p]) => p));
    const write = button([h("span", { class: "dk-step-text" }, tokens.length ? tokens : step.text)], () => {
      editing = { role, step: i };
      show();
    }, { class: "dk-step-line", "aria-label": say("Step {step} of the {role}: {text}, {says}, {sure}. Change it", { step: i + 1, role: called(role), text: step.text, says, sure: given ? say("given") : say("least sure {p}", { p: share(least) }) }) });
    return h("li", { class: good ? "dk-step-good" : "dk-step-bad", "data-step": i, "data-edited": column.edited === i ? "true" : null },
      write,
      h("span", { class: "dk-step-check" }, good ? "✓" : "✗", h("small", {}, good ? "" : says)),
      h("small", { class: "dk-step-sure dk-muted" }, column.edited === i ? say("yours") : given ? say("given") : share(least)));
  }

  function editor(role, step, i) {
    const send = () => {
      editing = null;
      kernel.ask({ kind: "edit", role, step: i, text: input.value });
      show();
    };
    const input = h("input", {
      type: "text", class: "dk-step-input", maxlength: typed, spellcheck: "false", autocomplete: "off", value: step.text, "aria-label": say("Step {step} of the {role}", { step: i + 1, role: called(role) }),
      onkeydown: (event) => {
        event.stopPropagation();
        if (event.key === "Enter" && input.value.trim()) send();
        if (event.key === "Escape") {
          editing = null;
          show();
        }
      },
    });
    queueMicrotask(() => (input.focus(), input.setSelectionRange(input.value.length, input.value.length)));
    return h("li", { class: "dk-step-editing", "data-step": i }, input, button(say("Go on"), () => input.value.trim() && send()));
  }

  function side(role) {
    const column = page.columns[role];
    const steps = column.steps.slice(0, shown.value);
    const all = shown.value >= column.steps.length;
    const known = page.answer !== "";
    const right = column.answer === page.answer;
    return h("section", { class: `dk-step-side dk-step-by-${role}`, "aria-label": called(role), "data-role": role },
      h("p", { class: `dk-step-role dk-${role}` }, mark(role), ` ${called(role)}`),
      h("ol", { class: "dk-step-list" }, steps.map((step, i) => line(role, column, step, i))),
      !all && h("p", { class: "dk-muted dk-step-more" }, "…"),
      all && h("p", { class: "dk-step-answer" }, say("answer"), " ", h("b", {}, column.answer ?? say("none")),
        known && h("span", { class: right ? "dk-step-right" : "dk-step-wrong" }, right ? say(" ✓ right") : column.edited === null ? say(" ✗ wrong: {answer}", { answer: page.answer }) : say(" ✗ not the problem’s: {answer}", { answer: page.answer }))),
      all && column.verdict && h("p", { class: "dk-step-verdict", "data-follows": String(column.follows) }, column.verdict),
      column.edited !== null && button(say("Undo"), () => kernel.ask({ kind: "undo", role })));
  }

  function show() {
    set(question, { text: page.question });
    set(place, { text: say("{place} of {count}", { place: page.at + 1, count }) });
    set(before, { disabled: page.at < 1 });
    set(after, { disabled: page.at >= count - 1 });
    columns.replaceChildren(...roles.map(side));
  }

  let last = null;
  function update() {
    kernel.settled();
    page = model.get("page");
    editing = null;
    const most = Math.max(1, ...roles.map((role) => page.columns[role].steps.length));
    const fresh = last !== page.question;
    last = page.question;
    const value = fresh ? most : clamp(Math.max(shown.value, most), 0, most);
    shown = slider(say("steps shown"), 0, most, value, { whole: true, name: "shown", format: (x) => say("{place} of {count}", { place: x, count: most }), change: show });
    reveal.replaceChildren(shown.element);
    show();
    spoken.say(roles.map((role) => {
      const column = page.columns[role];
      const verdict = page.answer === "" ? "" : column.answer === page.answer ? say(", right") : say(", wrong");
      return `${say("{role}: {count} steps, answer {answer}", { role: called(role), count: column.steps.length, answer: column.answer ?? say("none") })}${verdict}. ${column.verdict}`;
    }).join(" "));
  }
  model.on("change:page", update);
  update();
}

export default widget({ render });
