// A question before the answer. The reply comes with the choice, from the page itself: no kernel is needed.
import { h, root, say, set, widget } from "./base.js";

let questions = 0;

export default widget({
  render({ model, el }) {
    const [question, choices, replies, answer] = ["question", "choices", "replies", "answer"].map((key) => model.get(key));
    const name = `dk-ask-${++questions}`;
    const reply = h("p", { class: "dk-reply", role: "status", "aria-live": "polite" });
    const show = (chosen) => {
      const right = chosen === answer;
      set(reply, { text: `${right ? "✓" : "✗"} ${replies[choices.indexOf(chosen)]}`, "data-right": String(right) });
    };
    const inputs = choices.map((each) =>
      h("input", {
        type: "radio",
        name,
        value: each,
        onchange() {
          model.set("chosen", each);
          model.save_changes();
          show(each);
        },
      }),
    );
    const options = inputs.map((input, i) => h("label", {}, input, h("span", {}, choices[i])));
    root(el, say("A question"), h("fieldset", { class: "dk-ask" }, h("legend", {}, question), options), reply);
    const chosen = model.get("chosen");
    if (choices.includes(chosen)) {
      inputs[choices.indexOf(chosen)].checked = true;
      show(chosen);
    }
  },
});
