// Two peaks and a student that has but one: which divergence covers both, which seeks one? Descent runs right here.
import { clamp, distribution, divergence, fixed, scale, short, sum, ticks } from "./maths.js";
import { button, choice, frame, h, live, onWidth, root, say, set, slider, svg, widget } from "./base.js";

const MEASURES = [["forward_kl", say("forward KL")], ["reverse_kl", say("reverse KL")], ["rescaled_jsd", say("JSD(β), rescaled")], ["total_variation", say("total variation")]]; // prettier-ignore
const HEIGHT = 230;
const FLOOR = HEIGHT - 26;

function render({ model, el, signal }) {
  const { low, high, teacher } = model.get("spec");
  const knobs = model.get("knobs");
  const places = teacher.map((_, i) => low + ((high - low) * i) / (teacher.length - 1));
  const p = distribution(teacher);
  const at = { mu: knobs.mu.value, sigma: knobs.sigma.value, beta: knobs.beta.value, measure: "forward_kl" };
  let [width, timer, trail] = [0, 0, []];

  const dial = (key, label) =>
    slider(label, knobs[key].low, knobs[key].high, knobs[key].value, {
      name: key,
      change: (value) => (stop(), (at[key] = value), (trail = []), redraw()),
    });
  const dials = { mu: dial("mu", say("place μ")), sigma: dial("sigma", say("width σ")), beta: dial("beta", "β") };
  const measure = choice(say("Descend on"), MEASURES.slice(0, 3), at.measure, (key) => ((at.measure = key), (trail = []), redraw()));
  const go = button(say("Descend"), () => (timer ? stop() : start()), { "data-name": "descend" });
  const back = button(say("Reset"), () => {
    stop();
    trail = [];
    for (const key of ["mu", "sigma", "beta"]) dials[key].set((at[key] = knobs[key].value));
    redraw();
  });

  const area = svg("path", { class: "dk-area" });
  const paths = { teacher: svg("path", { class: "dk-curve-teacher" }), student: svg("path", { class: "dk-curve-student" }) };
  const names = { teacher: svg("text", { class: "dk-teacher" }, say("● teacher p")), student: svg("text", { class: "dk-student" }, say("■ student q")) };
  const axis = svg("g", {});
  const way = svg("path", { class: "dk-way" });
  const picture = svg("svg", { width: "100%", height: HEIGHT, role: "img" },
    area, axis, way, paths.teacher, paths.student, names.teacher, names.student); // prettier-ignore
  const cells = MEASURES.map(([key, name]) => {
    const [value, meter] = [h("b", { "data-name": key }), h("i", {})];
    return { key, value, meter, element: h("div", { class: "dk-measure" }, h("span", {}, name), h("span", { class: "dk-meter" }, meter), value) };
  });
  const reading = h("p", {});
  const speech = live();
  root(
    el, say("Two-peak explorer"),
    h("div", { class: "dk-row" }, dials.mu.element, dials.sigma.element),
    picture,
    h("div", { class: "dk-row dk-acts" }, measure.element, go, back, dials.beta.element),
    cells.map((cell) => cell.element), reading, speech.element,
  ).classList.add("dk-peaks"); // prettier-ignore

  const student = () => distribution(places.map((x) => -((x - at.mu) ** 2) / (2 * at.sigma ** 2)));
  // The chain rule from the logits z = −(x−μ)²/2σ² to μ and log σ.
  function slope() {
    const { gradient } = divergence(at.measure, student(), p, { beta: at.beta });
    const off = places.map((x) => (x - at.mu) / at.sigma);
    return [sum(gradient.map((g, i) => (g * off[i]) / at.sigma)), sum(gradient.map((g, i) => g * off[i] ** 2))];
  }
  function step() {
    const [toMu, toSigma] = slope();
    const size = 0.05 / Math.max(0.25, Math.hypot(toMu, toSigma)); // a long slope is walked, not jumped
    at.mu = clamp(at.mu - size * toMu * at.sigma, knobs.mu.low, knobs.mu.high);
    at.sigma = clamp(at.sigma * Math.exp(-size * toSigma), knobs.sigma.low, knobs.sigma.high);
    trail.push(at.mu);
    return Math.hypot(toMu * at.sigma, toSigma);
  }
  function start() {
    trail = [at.mu];
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let left = 3000;
    const tick = () => {
      let size = 1;
      for (let i = still ? left : 6; i > 0 && size > 1e-5; i--, left--) size = step();
      for (const key of ["mu", "sigma"]) dials[key].set(at[key]);
      redraw();
      timer = size > 1e-5 && left > 0 ? requestAnimationFrame(tick) : 0;
      set(go, { text: timer ? say("Stop") : say("Descend") });
    };
    tick();
  }
  function stop() {
    cancelAnimationFrame(timer);
    timer = 0;
    set(go, { text: say("Descend") });
  }

  const redraw = frame(() => {
    if (!width) return;
    const q = student();
    const x = scale(low, high, 6, width - 6);
    const y = scale(0, 1.25 * Math.max(...p.probs), FLOOR, 8);
    const line = (probs) => probs.map((v, i) => `${i ? "L" : "M"}${x(places[i]).toFixed(1)} ${Math.max(-40, y(v)).toFixed(1)}`).join("");
    set(paths.teacher, { d: line(p.probs) });
    set(area, { d: `${line(p.probs)}L${x(high)} ${FLOOR}L${x(low)} ${FLOOR}Z` });
    set(paths.student, { d: line(q.probs) });
    const crest = (probs) => probs.indexOf(Math.max(...probs));
    const tops = { teacher: crest(p.probs), student: crest(q.probs) };
    set(names.teacher, { x: x(places[tops.teacher]) + 14, y: y(p.probs[tops.teacher]) - 2 });
    set(names.student, { x: clamp(x(at.mu), 44, width - 44), y: Math.max(14, y(q.probs[tops.student]) - 8), "text-anchor": "middle" });
    const both = Math.abs(x(at.mu) - x(places[tops.teacher])) < 130 && Math.abs(y(q.probs[tops.student]) - y(p.probs[tops.teacher])) < 26;
    if (both) set(names.teacher, { x: x(places[tops.teacher]) + 46, y: y(p.probs[tops.teacher]) + 34 });
    axis.replaceChildren(
      svg("line", { class: "dk-base", x1: 6, x2: width - 6, y1: FLOOR, y2: FLOOR }),
      ...ticks(low, high, 7).map((v) => svg("text", { class: "dk-muted", x: x(v), y: HEIGHT - 6, "text-anchor": "middle" }, short(v))),
    );
    set(way, { d: trail.length ? `M${x(trail[0])} ${FLOOR}H${x(at.mu)}` : "" });
    const found = Object.fromEntries(MEASURES.map(([key]) => [key, divergence(key, q, p, { beta: at.beta }).value]));
    const most = Math.max(1, ...Object.values(found).filter(Number.isFinite));
    for (const { key, value, meter, element } of cells) {
      set(value, { text: `${fixed(found[key])}${key === "total_variation" ? "" : ` ${say("nats")}`}` });
      meter.style.width = `${Math.min(100, (100 * found[key]) / most)}%`;
      element.classList.toggle("dk-now", key === at.measure);
    }
    const sentence = say("The student stands at μ = {mu} with σ = {sigma}: forward KL {forward}, reverse KL {reverse} nats.", { mu: fixed(at.mu, 2), sigma: fixed(at.sigma, 2), forward: fixed(found.forward_kl), reverse: fixed(found.reverse_kl) });
    set(reading, { text: sentence });
    const peaks = p.probs.flatMap((v, i) => (i && v > p.probs[i - 1] && v >= (p.probs[i + 1] ?? 0) ? [fixed(places[i], 1)] : []));
    set(picture, { "aria-label": say("The teacher’s peaks at {peaks}. {sentence}", { peaks: peaks.join(", "), sentence }) });
    speech.say(sentence);
  });
  onWidth(picture, (w) => ((width = w), redraw()), signal);
  signal.addEventListener("abort", stop);
}

export default widget({ render });
