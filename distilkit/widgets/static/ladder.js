// The ladder of teachers: each rung a teacher, its student's accuracy on one axis, what it says of an image, and a real run.
import { choice, h, live, root, say, set, svg, thumbnail, trainer, widget } from "./base.js";
import { clamp, distribution, fixed, scale, share, ticks } from "./maths.js";

const percent = (value, digits = 1) => fixed(100 * value, digits);

export default widget({
  render({ model, el }) {
    const { rungs, temperatures, assistant, hidden, twin, images, labels, classes } = model.get("about");
    const order = rungs.map((_, i) => i).reverse(); // the highest rung is the largest teacher
    const name = (rung) => (rung.name === "conv" ? say("convolutions") : rung.name);
    const key = () => `${model.get("temperature")}${model.get("assistant") ? " assistant" : ""}`;

    // ── one axis for all rungs ──
    const all = rungs.flatMap((rung) => Object.values(rung.cells).flatMap(([value, half]) => [value - half, value + half]));
    const [low, high] = [Math.floor(50 * Math.min(twin, ...all)) / 50, Math.ceil(50 * Math.max(...rungs.map((r) => r.accuracy), ...all)) / 50];
    const at = (value) => clamp(scale(low, high, 0, 100)(value), 0, 100);
    const left = (value) => ({ left: `${at(value)}%` });
    const mark = (kind) =>
      svg(
        "svg",
        { class: "dk-glyph", width: 14, height: 14, "aria-hidden": "true" },
        kind === "teacher" ? svg("circle", { cx: 7, cy: 7, r: 4.5 }) : svg("rect", { x: 2.5, y: 2.5, width: 9, height: 9 }),
      );

    // ── the rungs ──
    const strips = rungs.map(() => ({
      half: h("i", { class: "dk-half" }),
      dot: h("span", { class: "dk-dot dk-student" }, mark("student")),
      number: h("b"),
      fresh: h("span"),
    }));
    const rows = rungs.map((rung, i) =>
      h(
        "button",
        {
          type: "button",
          class: "dk-rung",
          role: "radio",
          onclick: () => select(i),
          onkeydown: (event) => move(event, i),
        },
        h("span", { class: "dk-rungname" }, name(rung)),
        h("span", {}, rung.parameters.toLocaleString("en")),
        h("span", { class: "dk-teacher" }, percent(rung.accuracy)),
        h("span", {}, percent(rung.confidence)),
        strips[i].number,
        h(
          "span",
          { class: "dk-strip" },
          h("i", { class: "dk-twinline", style: left(twin) }),
          h("span", { class: "dk-dot dk-teacher", style: left(rung.accuracy) }, mark("teacher")),
          strips[i].half,
          strips[i].dot,
          strips[i].fresh,
        ),
      ),
    );
    const list = h("div", { class: "dk-rungs", role: "radiogroup", "aria-label": say("Teacher") }, order.map((i) => rows[i]));
    const head = h(
      "div",
      { class: "dk-rung dk-head", "aria-hidden": "true" },
      [say("teacher"), say("size"), say("right %"), say("sure %"), say("student %")].map((text) => h("span", {}, text)),
      h("span", { class: "dk-strip" }, h("em", { class: "dk-twin", style: left(twin) }, say("twin"))),
    );
    const axis = h(
      "div",
      { class: "dk-rung dk-head dk-axis", "aria-hidden": "true" },
      [0, 1, 2, 3, 4].map(() => h("span")),
      h("span", { class: "dk-strip" }, ticks(100 * low, 100 * high, 5).map((tick) => h("em", { style: left(tick / 100) }, `${fixed(tick, 0)} %`))),
    );
    const heat = choice(say("Temperature"), temperatures.map((t) => [t, String(t)]), model.get("temperature"), (t) => save("temperature", t));
    const helper = choice(say("Student learns"), [[false, say("directly")], [true, say("through an assistant of {units}", { units: assistant })]], model.get("assistant"), (on) =>
      save("assistant", on),
    );
    const legend = h(
      "p",
      { class: "dk-note dk-legend" },
      h("span", {}, h("span", { class: "dk-teacher" }, mark("teacher")), say("the teacher’s right answers")),
      h("span", {}, h("span", { class: "dk-student" }, mark("student")), say("its student’s, {units} units, ± 95 % interval", { units: hidden })),
      h("span", {}, say("hollow: just run")),
    );

    // ── the rung chosen ──
    const title = h("p", { class: "dk-point" });
    const detail = h("p", {});
    const runs = trainer(model, say("Run this teacher and a student"), () => ({ run: model.get("selected") }), {
      tell: (state) => `${name(rungs[state.rung] ?? rungs[0])}: ${state.of ? say("{doing}, step {step} of {of}", state) : `${state.doing} …`}`,
      stoppable: (state) => state.of !== undefined,
    });
    const pictures = images.map((pixels, i) =>
      h(
        "button",
        { type: "button", class: "dk-picture", "aria-label": say("image {number}, a {label}", { number: i + 1, label: classes[labels[i]] }), onclick: () => save("image", i) },
        thumbnail(pixels, ""),
      ),
    );
    const bars = classes.map((text) => {
      const [fill, value] = [h("i"), h("span", { class: "dk-value" })];
      return { fill, value, label: h("span", {}, text), text };
    });
    const asked = h("p", { class: "dk-note" });
    const spoken = live();
    root(
      el,
      say("A ladder of teachers"),
      h(
        "div",
        { class: "dk-ladder" },
        h("div", { class: "dk-row" }, heat.element, assistant ? helper.element : null),
        head,
        list,
        axis,
        legend,
        h(
          "div",
          { class: "dk-one" },
          h("div", { class: "dk-told" }, title, detail, runs.row, runs.result),
          h(
            "div",
            { class: "dk-says" },
            asked,
            h("div", { class: "dk-pictures" }, pictures),
            h("div", { class: "dk-bars" }, bars.map((each) => [each.label, h("span", { class: "dk-track" }, each.fill), each.value]).flat()),
          ),
        ),
      ),
      spoken.element,
    );

    function save(trait, value) {
      model.set(trait, value);
      model.save_changes();
    }

    function select(index) {
      save("selected", index);
      rows[index].focus({ preventScroll: true });
    }

    function move(event, index) {
      const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would move to another cell of the notebook
      if (rungs[index + step]) select(index + step);
    }

    function show() {
      const index = model.get("selected");
      const temperature = model.get("temperature");
      heat.set(temperature);
      helper.set(model.get("assistant"));
      rungs.forEach((rung, i) => {
        const cell = rung.cells[key()];
        const { half, dot, number, fresh } = strips[i];
        set(rows[i], { "aria-checked": String(i === index), tabindex: i === index ? 0 : -1 });
        set(rows[i], { "aria-label": say("{name}: right {right} %, sure {sure} %, student {student}", { name: name(rung), right: percent(rung.accuracy), sure: percent(rung.confidence), student: cell ? percent(cell[0]) : say("not run") }) });
        set(number, { text: cell ? percent(cell[0]) : "–" });
        dot.hidden = half.hidden = !cell;
        if (cell) {
          const [from, to] = [at(cell[0] - cell[1]), at(cell[0] + cell[1])];
          set(dot, { style: left(cell[0]) });
          set(half, { style: { left: `${from}%`, width: `${to - from}%` } });
        }
        const runs = model.get("fresh").filter((run) => run.rung === i && run.temperature === temperature && run.assistant === model.get("assistant"));
        fresh.replaceChildren(
          ...runs.map((run) => h("span", { class: "dk-dot dk-fresh dk-student", style: left(run.accuracy), title: say("seed {seed}", { seed: run.seed }) }, mark("student"))),
        );
      });
      const rung = rungs[index];
      const cell = rung.cells[key()];
      set(title, { text: say("Teacher: {name}", { name: name(rung) }) });
      set(detail, { text: told(rung, cell) });
      showRun();
      showSaid();
      spoken.say(`${title.textContent}. ${detail.textContent} ${runs.result.textContent}`);
    }

    function told(rung, cell) {
      const teacher = say("It is right {right} % of the time, and {sure} % sure on the images the student learns. ", { right: percent(rung.accuracy), sure: percent(rung.confidence) });
      if (!cell) return teacher + say("The sweep has no student of it at this setting; you can run one.");
      const [value, half, over, overHalf, seeds] = cell;
      const numbers = {
        t: model.get("temperature"), value: percent(value), half: percent(half), seeds,
        over: (over > 0 ? "+" : "") + percent(over), overHalf: percent(overHalf),
      };
      return teacher + (model.get("assistant")
        ? say("Through the assistant, its student at T = {t}: {value} ± {half} % ({seeds} seeds), {over} ± {overHalf} points against the twin.", numbers)
        : say("Its student at T = {t}: {value} ± {half} % ({seeds} seeds), {over} ± {overHalf} points against the twin.", numbers));
    }

    const sent = new Set();
    let alone = ""; // what a page without a kernel says in the teacher's place
    function noted({ kind, text }) {
      if (kind !== "no kernel") return;
      alone = text;
      showSaid();
    }
    function showRun() {
      const index = model.get("selected");
      const last = model.get("fresh").findLast((run) => run.rung === index);
      const text = last
        ? say("Just run, seed {seed}, T = {t}{way}: student {student} %, its teacher {teacher} %.", {
            seed: last.seed, t: last.temperature, way: last.assistant ? say(", through the assistant") : "",
            student: percent(last.accuracy), teacher: percent(last.teacher_accuracy),
          }) +
          (last.accuracy > last.teacher_accuracy
            ? say(" The student is better than its teacher.")
            : last.accuracy > twin
              ? say(" It is better than the mean twin, but not than its teacher.")
              : say(" It is no better than the mean twin: this teacher taught it nothing that the labels do not."))
        : "";
      const { state, running, ended } = runs.show({ text });
      if (ended) spoken.say(runs.result.textContent);
      if (!running && !state.error && !model.get("said")[rungs[index].name] && !sent.has(index)) {
        sent.add(index);
        model.send({ ask: index });
      }
    }

    function showSaid() {
      const image = model.get("image");
      const temperature = model.get("temperature");
      const rows = model.get("said")[rungs[model.get("selected")].name];
      pictures.forEach((picture, i) => set(picture, { "aria-pressed": String(i === image) }));
      set(asked, { text: rows ? say("What this teacher says of an image, softened at T = {t} (bold: the label)", { t: temperature }) : alone || say("The teacher is trained before it can be asked …") });
      const { probs } = rows ? distribution(rows[image], temperature) : { probs: classes.map(() => 0) };
      bars.forEach((each, i) => {
        set(each.fill, { style: { width: `${100 * probs[i]}%` } });
        set(each.value, { text: rows ? share(probs[i]) : "" });
        set(each.label, { class: i === labels[image] ? "dk-truth dk-label" : null });
      });
    }

    const names = { selected: show, temperature: show, assistant: show, fresh: show, state: showRun, image: showSaid, said: showSaid };
    for (const [trait, listener] of Object.entries(names)) model.on(`change:${trait}`, listener);
    model.on("msg:custom", noted);
    show();
  },
});
