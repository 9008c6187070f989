// A picture that the kernel draws. At most one request is under way; what was moved meanwhile follows as one.
import { choice, h, live, root, say, set, slider, widget } from "./base.js";

function render({ model, el, signal }) {
  const setting = { ...model.get("setting") };
  const image = h("img", { class: "dk-picture", alt: "" });
  const error = h("p", { class: "dk-error", role: "alert" });
  const speech = live();
  let waiting = false;
  let address = "";

  const ask = () => {
    const same = JSON.stringify(setting) === JSON.stringify(model.get("setting"));
    if (waiting || same) return;
    waiting = true;
    model.set("setting", { ...setting });
    model.save_changes();
  };
  const controls = Object.entries(model.get("knobs")).map(([name, knob]) => {
    const change = (value) => ((setting[name] = value), ask());
    const options = (knob.values ?? []).map((value) => [value, String(value)]);
    return knob.values
      ? choice(name, options, knob.value, change)
      : slider(name, knob.low, knob.high, setting[name], { log: knob.log, whole: knob.whole, change, name });
  });
  const show = () => {
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    image.src = address;
  };
  const arrived = () => {
    waiting = false;
    const words = Object.entries(model.get("drawn")).map(([name, value]) => `${name} ${value}`);
    set(image, { alt: say("Picture at {setting}: {written}", { setting: words.join(", "), written: model.get("told") }) });
    set(error, { text: model.get("error") });
    speech.say(model.get("error") || words.join(", "));
    ask();
  };
  model.on("change:picture", show);
  model.on("change:drawn", arrived);
  show();
  arrived();
  root(el, say("Explorer"), h("div", { class: "dk-row", "data-kernel": true }, controls.map((each) => each.element)), error, image, speech.element);
  signal.addEventListener("abort", () => URL.revokeObjectURL(address));
}

export default widget({ render });
