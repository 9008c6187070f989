// Brings the widgets of a page to life where there is no kernel: each carries its state, its module and its style, and
// this is the little of Jupyter that they need. A classic script: a page opened from a folder may load no module by name.
"use strict";

const NEEDED = "This needs a running kernel: open the notebook on Binder, in Colab, or with make lab.";
const REMEMBERED = { Question: ["chosen"] }; // traits that a reload brings back, by the widget's name

// Buffers back into the state they were taken from, as the DataViews that Jupyter gives.
function decoded({ state, buffers }) {
  for (const { path, data, encoding } of buffers) {
    const bytes = encoding === "hex" ? data.match(/../g)?.map((pair) => parseInt(pair, 16)) ?? [] : [...atob(data)].map((c) => c.charCodeAt(0));
    const at = path.slice(0, -1).reduce((inside, key) => inside[key], state);
    at[path.at(-1)] = new DataView(Uint8Array.from(bytes).buffer);
  }
  return state;
}

// What the reader chose on this page before; a browser that keeps nothing forgets it.
const memory = (key) => ({
  read() {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? {};
    } catch {
      return {};
    }
  },
  write(kept) {
    try {
      localStorage.setItem(key, JSON.stringify(kept));
    } catch {}
  },
});

// anywidget's model. What is sent to the kernel comes back as the word that there is none.
function model(state, names, kept) {
  const listeners = new Map();
  const told = (event, ...rest) => [...(listeners.get(event) ?? [])].forEach((listener) => listener(...rest));
  const before = kept.read();
  for (const name of names) if (name in before) state[name] = before[name];
  const self = {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      told(`change:${name}`, self, value);
      told("change", self);
    },
    save_changes: () => names.length && kept.write(Object.fromEntries(names.map((name) => [name, state[name]]))),
    send: () => queueMicrotask(() => told("msg:custom", { kind: "no kernel", text: NEEDED }, [])),
    on: (event, listener) => listeners.set(event, (listeners.get(event) ?? new Set()).add(listener)),
    off: (event, listener) => (event === undefined ? listeners.clear() : listeners.get(event)?.delete(listener)),
  };
  return self;
}

// What only a kernel can do has the mark data-kernel (and is hidden, by site.css): the first says so in its place.
function explained(place) {
  const link = (text, site) => {
    const found = document.querySelector(`article a[href*="${site}"]`);
    return found ? Object.assign(document.createElement("a"), { href: found.href, textContent: text }) : text;
  };
  const note = document.createElement("p");
  note.className = "kernel-needed dk-note";
  note.append("This needs a running kernel: open the notebook ", link("on Binder", "mybinder"), ", ", link("in Colab", "colab"), ", or with make lab.");
  place.querySelector("[data-kernel]")?.before(note);
}

async function enliven(place, index) {
  const { name, ...packed } = JSON.parse(place.querySelector("script").textContent);
  const state = decoded(packed);
  const page = location.pathname.split("/").pop();
  const address = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const { default: made } = await import(address);
  URL.revokeObjectURL(address);
  const widget = typeof made === "function" ? await made() : made;
  const own = model(state, REMEMBERED[name] ?? [], memory(`distilkit ${page} ${index}`));
  const el = document.createElement("div");
  const style = document.createElement("style");
  style.textContent = state._css ?? "";
  await widget.initialize?.({ model: own });
  place.append(style, el);
  await widget.render?.({ model: own, el });
  explained(el);
  place.dataset.alive = "true"; // its picture goes
}

document.querySelectorAll(".widget").forEach((place, index) =>
  enliven(place, index).catch((error) => console.error(`a widget stays a picture: ${error.message ?? error}`)));

// What is wider than its place scrolls by the keyboard too.
function reachable() {
  for (const each of document.querySelectorAll("article pre, .wide, .formula"))
    each.scrollWidth > each.clientWidth ? each.setAttribute("tabindex", "0") : each.removeAttribute("tabindex");
}
addEventListener("resize", reachable);
reachable();
