// The listener: a sound, its spectrogram and what each model hears in it, on one axis of time with a moving cursor.
import { asker, button, called, choice, h, live, onWidth, root, say, set, svg, widget } from "./base.js";
import { clamp, fixed } from "./maths.js";

const BANDS = 40;
const GUTTER = 44; // pixels before second 0: names of rows
const LEAST = 190; // pixels a second
const ROW = 13; // pixels a letter
const RAMP = [[10, 8, 28], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]; // from quiet to loud

export default widget({
  render({ model, el, signal }) {
    const { roles, classes, sets, voices, said: letters, bytes, recorded, rate } = model.get("about");
    let page;
    let probs = {};
    let scale = LEAST;
    let at = 0; // seconds: where the cursor stands
    let source = ""; // of the player
    let width = 0;

    const player = h("audio", { controls: true, preload: "auto", "aria-label": say("the sound"), onplay: follow, onpause: follow, onseeked: () => place(player.currentTime) });
    const which = choice(say("voices"), sets, sets[0][0], (voices) => kernel.ask({ kind: "next", voices }));
    const sentence = h("input", {
      type: "text", class: "dk-li-input", maxlength: letters, spellcheck: "false", autocomplete: "off", "aria-label": say("a sentence to be said"), placeholder: say("a sentence to be said: turn on the kitchen light"),
      onkeydown: (event) => event.key === "Enter" && utter(),
    });
    const voice = h("select", { class: "dk-li-input dk-li-voice", "aria-label": say("voice") }, voices.map(([value, text]) => h("option", { value }, text)));
    const record = button(say("● Record"), () => recording ? recording.stop() : begin());
    const file = h("input", { type: "file", class: "dk-li-file", accept: ".wav,.flac,audio/wav,audio/flac", "aria-label": say("a sound file of your own"), onchange: upload });
    const microphone = h("span", { class: "dk-note dk-li-microphone", role: "status" });
    const kernel = asker({ model, signal }, say("The models listen …"));
    const about = h("p", { class: "dk-li-about" });
    const cursor = h("div", { class: "dk-li-cursor", "aria-hidden": "true" });
    const lanes = h("div", { class: "dk-li-lanes", tabindex: 0, role: "slider", "aria-label": say("place in the sound"), "aria-valuemin": 0, onkeydown: move, onpointerdown: point, onpointermove: (event) => event.buttons && point(event) });
    const scroller = h("div", { class: "dk-li-scroll" }, lanes);
    const readout = h("div", { class: "dk-li-readout", role: "group", "aria-label": say("at the cursor") });
    const spoken = live();

    root(el, say("Listener"),
      h("div", { class: "dk-listen" },
        sets.length > 0 && h("div", { class: "dk-row dk-li-top", "data-kernel": true }, which.element, button(say("Another sound"), () => kernel.ask({ kind: "next", voices: which.value }))),
        h("div", { class: "dk-row dk-li-top", "data-kernel": true }, sentence, voice, button(say("Say it"), utter)),
        h("div", { class: "dk-row dk-li-top", "data-kernel": true }, record, h("label", { class: "dk-button dk-li-label" }, say("Open a file"), file), microphone),
        kernel.fault,
        kernel.busy,
        h("div", { class: "dk-row dk-li-top dk-li-sound" }, player, about),
        scroller,
        readout),
      spoken.element);

    function utter() {
      if (sentence.value.trim()) kernel.ask({ kind: "say", text: sentence.value, voice: voice.value });
    }

    // ── sounds of one’s own ──

    async function upload() {
      const [one] = file.files;
      if (!one) return;
      if (one.size > bytes) kernel.fail(say("{name} has {bytes} bytes, more than {most}: cut it into sentences", { name: one.name, bytes: one.size.toLocaleString("en"), most: bytes.toLocaleString("en") }));
      else kernel.ask({ kind: "open", name: one.name }, [await one.arrayBuffer()]);
      file.value = ""; // the same file may be opened again
    }

    let recording = null;

    async function begin() {
      set(kernel.fault, { hidden: true, text: "" });
      if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
        set(microphone, { text: say("This page may not use a microphone: it needs https or localhost, and a frame that allows it. Open a file instead.") });
        return;
      }
      set(record, { disabled: true });
      let stream;
      try {
        stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      } catch (error) {
        set(microphone, { text: say("The browser gave no microphone ({error}). Allow it for this page, or open a file instead.", { error: error.name }) });
        return;
      } finally {
        set(record, { disabled: false });
      }
      const silence = () => stream.getTracks().forEach((track) => track.stop());
      if (signal.aborted) return silence(); // the view is gone
      const parts = [];
      recording = new MediaRecorder(stream);
      const limit = setTimeout(() => recording?.stop(), 1000 * recorded);
      recording.addEventListener("dataavailable", (event) => parts.push(event.data));
      recording.addEventListener("stop", async () => {
        const kind = recording.mimeType;
        clearTimeout(limit);
        silence();
        recording = null;
        set(record, { text: say("● Record"), "aria-pressed": null });
        set(microphone, { text: "" });
        if (signal.aborted) return;
        try {
          kernel.ask({ kind: "open", recorded: true }, [wav(await decoded(await new Blob(parts, { type: kind }).arrayBuffer()))]);
        } catch (error) {
          kernel.fail(say("The recording cannot be read ({error}). Open a file instead.", { error: error.name }));
        }
      });
      recording.start();
      set(record, { text: say("■ Stop"), "aria-pressed": "true" });
      set(microphone, { text: say("Recording, {recorded} s at the most. It goes to the kernel of this notebook, and nowhere else.", { recorded }) });
    }

    // What the browser recorded, as one channel at the models’ rate.
    async function decoded(data) {
      const context = new AudioContext();
      try {
        const sound = await context.decodeAudioData(data);
        const offline = new OfflineAudioContext(1, Math.max(1, Math.ceil(sound.duration * rate)), rate);
        const node = offline.createBufferSource();
        node.buffer = sound;
        node.connect(offline.destination);
        node.start();
        return (await offline.startRendering()).getChannelData(0);
      } finally {
        context.close();
      }
    }

    function wav(samples) {
      const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
      const word = (place, text) => [...text].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
      word(0, "RIFF"), view.setUint32(4, 36 + 2 * samples.length, true), word(8, "WAVEfmt ");
      view.setUint32(16, 16, true), view.setUint16(20, 1, true), view.setUint16(22, 1, true);
      view.setUint32(24, rate, true), view.setUint32(28, 2 * rate, true), view.setUint16(32, 2, true), view.setUint16(34, 16, true);
      word(36, "data"), view.setUint32(40, 2 * samples.length, true);
      samples.forEach((x, i) => view.setInt16(44 + 2 * i, 32767 * clamp(x, -1, 1), true));
      return view.buffer;
    }

    // ── the axis of time ──

    const x = (seconds) => GUTTER + scale * seconds;

    function draw(available) {
      width = available;
      scale = Math.max(LEAST, (available - GUTTER - 4) / page.duration);
      set(lanes, { style: { width: `${Math.ceil(x(page.duration)) + 2}px` } });
      lanes.replaceChildren(spectrogram(), ...roles.map(lane), seconds(), cursor);
      place(at);
    }

    function spectrogram() {
      const canvas = h("canvas", { class: "dk-li-spectrogram", width: page.frames, height: BANDS, role: "img", "aria-label": said(), style: { "margin-left": `${GUTTER}px`, width: `${page.frames * page.hop * scale}px` } });
      const context = canvas.getContext("2d");
      const image = context.createImageData(page.frames, BANDS);
      const mels = bytesOf(page.mels);
      for (let frame = 0; frame < page.frames; frame++) {
        for (let band = 0; band < BANDS; band++) image.data.set(colour(mels[frame * BANDS + band] / 255), 4 * ((BANDS - 1 - band) * page.frames + frame));
      }
      context.putImageData(image, 0, 0);
      return h("div", { class: "dk-li-lane" }, h("p", { class: "dk-li-name dk-muted" }, say("the sound, 0 to 8 kHz")), canvas);
    }

    // The spectrogram in words: how long it is, and when it is loudest.
    function said() {
      const mels = bytesOf(page.mels);
      const loud = Array.from({ length: page.frames }, (_, frame) => mels.subarray(frame * BANDS, (frame + 1) * BANDS).reduce((sum, x) => sum + x, 0));
      const at = fixed(loud.indexOf(Math.max(...loud)) * page.hop, 2);
      return say("spectrogram: {seconds} s of sound, loudest at {at} s", { seconds: fixed(page.duration, 2), at });
    }

    function colour(loud) {
      const place = clamp(loud, 0, 0.9999) * (RAMP.length - 1);
      const [low, high] = [RAMP[Math.floor(place)], RAMP[Math.floor(place) + 1]];
      return [...low.map((value, i) => value + (place % 1) * (high[i] - value)), 255];
    }

    // Rows: the letters that some model thinks of, the same for all; the blank last.
    function rows() {
      const thought = classes.map((_, letter) => letter > 0 && roles.some((role) => probs[role].some((p, i) => i % classes.length === letter && p >= 26)));
      return [...classes.keys()].filter((letter) => thought[letter]).concat(0);
    }

    const nameOf = (letter) => ({ "": say("blank"), " ": "␣" })[letter] ?? letter;

    function lane(role) {
      const { letters, words, ms, times, wrong, of } = page.sides[role];
      const some = rows();
      const ticks = probs[role].length / classes.length;
      const height = ROW * (some.length + 1.6);
      const marks = [];
      for (let tick = 0; tick < ticks; tick++) {
        some.forEach((letter, row) => {
          const p = probs[role][tick * classes.length + letter] / 255;
          if (p >= 0.02) marks.push(svg("rect", { x: x(tick * page.tick).toFixed(1), y: ROW * (row + 1.6), width: (page.tick * scale).toFixed(1), height: ROW - 1, "fill-opacity": ((letter ? 1 : 0.3) * p).toFixed(2) }));
        });
      }
      const label = say("the {role} heard: {text}; {count} letters in {seconds} s", { role: called(role), text: page.sides[role].text || say("nothing"), count: letters.length, seconds: fixed(page.duration, 2) });
      const picture = svg("svg", { class: "dk-li-probs", width: Math.ceil(x(page.duration)) + 2, height, role: "img", "aria-label": label },
        svg("g", { fill: "currentColor" }, marks),
        some.map((letter, row) => svg("text", { class: "dk-muted dk-li-row", x: GUTTER - 5, y: ROW * (row + 2.4), "text-anchor": "end" }, nameOf(classes[letter]))),
        letters.map(([letter, start, end]) => svg("text", { class: `dk-${role} dk-li-letter`, x: x((start + end) / 2).toFixed(1), y: ROW, "text-anchor": "middle" }, nameOf(letter))));
      const errors = wrong === null ? "" : wrong === 0 ? say("✓ every word") : say("{errors} in {words}", { errors: wrong === 1 ? say("1 error") : say("{count} errors", { count: wrong }), words: of === 1 ? say("1 word") : say("{count} words", { count: of }) });
      return h("div", { class: `dk-li-lane dk-${role}`, "data-role": role },
        h("p", { class: "dk-li-name" }, h("b", {}, called(role)), h("span", { class: "dk-li-text" }, words.length ? words.map(([text, kind]) => h("span", { class: `dk-li-word dk-li-${kind}`, title: { added: say("was not said"), missed: say("was said, and not heard"), wrong: say("another word was said") }[kind] }, text)) : h("span", { class: "dk-muted" }, say("nothing"))), h("span", { class: "dk-li-facts" }, errors + (errors && " · ") + say("{ms} ms, {times} × as fast as speech", { ms: fixed(ms, ms < 10 ? 1 : 0), times: fixed(times, 0) }))),
        picture);
    }

    function seconds() {
      const step = page.duration > 8 ? 1 : page.duration > 4 ? 0.5 : 0.25;
      const marks = Array.from({ length: Math.floor(page.duration / step) + 1 }, (_, i) => i * step);
      return svg("svg", { class: "dk-li-axis", width: Math.ceil(x(page.duration)) + 2, height: 20, "aria-hidden": "true" }, marks.map((t) => svg("text", { class: "dk-muted", x: x(t), y: 14, "text-anchor": t ? "middle" : "start" }, `${fixed(t, step < 1 ? 2 : 0)}${t ? "" : " s"}`)));
    }

    // ── the cursor ──

    function place(seconds) {
      at = clamp(seconds, 0, page.duration);
      cursor.style.setProperty("transform", `translateX(${x(at).toFixed(1)}px)`);
      const tick = Math.floor(at / page.tick);
      const thoughts = roles.map((role) => [role, likeliest(role, tick)]);
      const told = ([letter, p]) => `${letter > 0 ? `“${nameOf(classes[letter])}”` : say("blank")} ${fixed(p, 2)}`;
      readout.replaceChildren(
        h("span", { class: "dk-li-time" }, `${fixed(at, 2)} s`),
        ...thoughts.map(([role, some]) => h("span", { class: "dk-li-thought" }, h("b", { class: `dk-${role}` }, `${called(role)} `), some.map(told).join(", "))),
      );
      set(lanes, { "aria-valuemax": fixed(page.duration, 2), "aria-valuenow": fixed(at, 2), "aria-valuetext": say("{seconds} seconds. {heard}", { seconds: fixed(at, 2), heard: thoughts.map(([role, [first]]) => `${called(role)}: ${first ? told(first) : say("nothing")}`).join(", ") }) });
    }

    function likeliest(role, tick) {
      const from = clamp(tick, 0, probs[role].length / classes.length - 1) * classes.length;
      return [...classes.keys()].map((letter) => [letter, probs[role][from + letter] / 255]).sort((a, b) => b[1] - a[1]).filter(([, p]) => p >= 0.01).slice(0, 3);
    }

    function follow() {
      if (!source || !document.contains(el)) return;
      place(player.currentTime);
      const left = x(at) - scroller.scrollLeft;
      if (left > scroller.clientWidth - 30 || left < GUTTER) scroller.scrollLeft = x(at) - GUTTER - 10;
      if (!player.paused) requestAnimationFrame(follow);
    }

    function seek(seconds) {
      place(seconds);
      player.currentTime = at;
    }

    function point(event) {
      seek((event.clientX - lanes.getBoundingClientRect().left - GUTTER) / scale);
    }

    function move(event) {
      const to = { ArrowLeft: at - page.tick, ArrowRight: at + page.tick, Home: 0, End: page.duration }[event.key];
      if (to === undefined && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation(); // JupyterLab would move to another cell of the notebook
      if (event.key === " ") player.paused ? player.play() : player.pause();
      else seek((Math.round(to / page.tick) + 0.001) * page.tick);
    }

    // ── a page ──

    function bytesOf(view) {
      return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    }

    function update() {
      kernel.settled();
      page = model.get("page");
      probs = Object.fromEntries(roles.map((role) => [role, bytesOf(page.sides[role].probs)]));
      URL.revokeObjectURL(source);
      source = URL.createObjectURL(new Blob([bytesOf(page.wav)], { type: "audio/wav" }));
      player.src = source;
      at = 0;
      about.replaceChildren(page.reference ? h("span", {}, say("said: "), h("b", {}, page.reference)) : h("span", { class: "dk-muted" }, say("what was said is not known")), page.name && h("span", { class: "dk-muted" }, ` · ${page.name}`));
      draw(width || LEAST * page.duration);
      spoken.say(`${page.reference ? `${say("said: ")}${page.reference}. ` : ""}${roles.map((role) => `${called(role)}: ${page.sides[role].text || say("nothing")}.`).join(" ")}`);
    }

    model.on("change:page", update);
    update();
    onWidth(scroller, draw, signal);
    signal.addEventListener("abort", () => {
      recording?.stop();
      player.pause();
      URL.revokeObjectURL(source);
      source = "";
    });
  },
});
