// The tour: a step is done when the control that its selector names is clicked or moved, anywhere on this page.
import { button, h, live, root, say, set, widget } from "./base.js";

function render({ model, el, signal }) {
  const steps = model.get("steps");
  const list = h("ol", { class: "dk-tour-steps" });
  const head = h("span", { class: "dk-tour-head" });
  const told = live();
  const fold = button("", () => {
    if (all() && model.get("over")) model.set("done", []); // again, from the start
    model.set("over", !model.get("over"));
    model.save_changes();
  });
  const find = (selector) => [...document.querySelectorAll(selector)].find((each) => each.getClientRects().length);
  const all = () => steps.every((_, i) => model.get("done").includes(i));

  const items = steps.map(({ words, selector }, i) => {
    const show = button(say("Show me"), () => {
      const control = find(selector);
      if (!control) return told.say(say("It is not on the page yet: run the cell first."));
      control.scrollIntoView({ block: "nearest" });
      control.focus();
      control.classList.add("dk-tour-here");
      setTimeout(() => control.classList.remove("dk-tour-here"), 2500);
    }, { class: "dk-tour-show", "aria-label": say("Show me: step {number}", { number: i + 1 }) });
    const mark = h("span", { class: "dk-tour-mark", "aria-hidden": "true" });
    const state = h("span", { class: "dk-live" });
    return { mark, state, show, element: h("li", {}, mark, h("span", { class: "dk-tour-words" }, words, state), show) };
  });
  list.replaceChildren(...items.map((each) => each.element));

  function update() {
    const done = model.get("done");
    const next = steps.findIndex((_, i) => !done.includes(i));
    items.forEach(({ mark, state, show, element }, i) => {
      const over = done.includes(i);
      set(mark, { text: over ? "✓" : String(i + 1) });
      set(state, { text: over ? ` ${say("done")}` : "" });
      set(element, { "data-done": String(over), "aria-current": i === next ? "step" : null });
      set(show, { hidden: over });
    });
    const folded = model.get("over");
    set(list, { hidden: folded });
    const counts = { done: done.length, of: steps.length };
    set(head, { text: all() ? say("The tour is done: you have met every control. Now play.")
      : folded ? say("A guided tour of what stands below.") : say("First tour: {done} of {of} done", counts) });
    set(fold, { text: folded ? say("Show the tour") : all() ? say("Close") : say("Skip the tour"), "aria-expanded": String(!folded) });
  }

  // What the reader touches: a button by its click, a slider or a box by its input.
  function touched(event) {
    if (model.get("over") || !(event.target instanceof Element)) return;
    steps.forEach(({ words, selector }, i) => {
      const control = event.target.closest(selector);
      const moved = control && (event.type === "input") === control.matches("input, select, textarea");
      if (!moved || model.get("done").includes(i)) return;
      model.set("done", [...model.get("done"), i]);
      model.save_changes();
      told.say(all() ? say("The tour is done: you have met every control. Now play.") : `${say("done")}: ${words}`);
    });
  }
  for (const kind of ["click", "input"]) document.addEventListener(kind, touched, { capture: true, signal });
  root(el, say("Guided tour"), h("div", { class: "dk-tour" }, h("div", { class: "dk-tour-top" }, head, fold), list), told.element);
  model.on("change:done change:over", update);
  update();
}

export default widget({ render });
