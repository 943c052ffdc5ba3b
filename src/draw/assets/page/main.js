/** The page's frame: which view is shown, which model paints, the theme, the keys. */

import { readAddress } from "./address.js";
import { Engine } from "./engine.js";
import { once } from "./once.js";
import { readColours } from "./pictures.js";
import { readTrace } from "./trace.js";
import { Compare } from "./views/compare.js";
import { Finish } from "./views/finish.js";
import { Fork } from "./views/fork.js";
import { Look } from "./views/look.js";
import { Paint } from "./views/paint.js";
import { Sandbox } from "./views/window.js";

const VIEWS = {
  paint: Paint,
  look: Look,
  finish: Finish,
  fork: Fork,
  compare: Compare,
  window: Sandbox,
};

const SOON = 300; // milliseconds

const byId = (id) => document.getElementById(id);

/** What every view is given: the models, and a way to run, to go elsewhere and to be remembered. */
class App {
  constructor(models) {
    this.models = models;
    this.engine = new Engine();
    this.traces = new Map(); // name -> promise of films
    this.loaded = new Map(); // name -> promise
    this.views = new Map(); // name -> view, made when first opened
    this.viewName = this.view = this.model = null; // what is shown
    this.written = this.newest = null; // the address, and what it is to be
    this.timer = null; // until it is written
  }

  /** Films that were made beforehand, there before any model is. */
  trace(name = this.model.name) {
    return once(this.traces, name, () => fetchJson(`traces/${name}.json`).then(readTrace));
  }

  /** Loads a model; ends when it can run. */
  load(name) {
    return once(this.loaded, name, () => this.engine.load(name));
  }

  /** The parts of one of `runs.js`, by the current model or another. */
  run(task, args, signal, name = this.model.name) {
    return this.engine.run(task, name, args, signal);
  }

  /** Two models that differ in attention, on pictures of the same size; null if there are none. */
  get pair() {
    const paints = (model) => model.config.write_size !== null;
    const shape = ({ config }) => `${config.channels} ${config.height} ${config.width}`;
    for (const other of this.models.filter((model) => !paints(model))) {
      const like = (model) => paints(model) && shape(model) === shape(other);
      const one = this.models.find(like);
      if (one) return [one, other];
    }
    return null;
  }

  /** Opens what the address names; anything unknown in it is ignored. */
  open() {
    this.written = location.hash;
    const { view, model, ...settings } = readAddress();
    this.view?.close();
    this.model = this.models.find(({ name }) => name === model) ?? this.models[0];
    this.viewName = Object.hasOwn(VIEWS, view) && (view !== "compare" || this.pair) ? view : "paint";
    for (const section of document.querySelectorAll("main section")) {
      section.hidden = section.id !== this.viewName;
    }
    for (const link of document.querySelectorAll("a[data-view]")) {
      link.hash = this.address({ view: link.dataset.view });
      const current = link.dataset.view === this.viewName && link.closest("nav");
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    byId("model").value = this.model.name;
    const chooses = this.models.length > 1 && !["compare", "window"].includes(this.viewName);
    byId("model").parentElement.hidden = !chooses;
    byId("notice").hidden = true;
    if (!this.views.has(this.viewName)) {
      this.views.set(this.viewName, new VIEWS[this.viewName](byId(this.viewName), this));
    }
    this.view = this.views.get(this.viewName);
    document.title = `${byId(`${this.viewName}-title`).textContent} – DRAW`;
    this.remember(settings);
    this.view.open(settings);
  }

  /** An address with these settings, and the model unless it is the first. */
  address(settings) {
    const model = this.model === this.models[0] ? undefined : this.model.name;
    const known = Object.entries({ model, ...settings }).filter(([, value]) => value !== undefined);
    return `#${new URLSearchParams(known)}`;
  }

  /**
   * Keeps settings of the current view in the address, without an entry in the history: at once,
   * and what follows a moment later, as browsers allow it only so often.
   */
  remember(settings) {
    this.newest = this.address({ view: this.viewName, ...settings });
    if (this.timer === null) this.write();
  }

  write() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.newest === null || location.hash !== this.written) return; // gone elsewhere
    history.replaceState(null, "", this.newest);
    this.newest = null;
    this.written = location.hash;
    this.timer = setTimeout(() => this.write(), SOON);
  }

  /** Goes to another view, or to the same with other settings; "back" returns. */
  go(settings) {
    this.write(); // what "back" is to find
    if (settings.view !== this.viewName) byId("main").focus(); // what has it now will be hidden
    location.hash = this.address(settings);
  }

  complain(error) {
    tell(`Something went wrong: ${error.message}. Reload the page to try again.`);
  }
}

function tell(text) {
  byId("notice").textContent = text;
  byId("notice").classList.remove("late");
  byId("notice").hidden = false;
}

async function fetchJson(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be loaded (${response.status})`);
  return response.json();
}

/** The theme that the visitor chose, if the browser lets the page keep it. */
function chosen() {
  try {
    const theme = localStorage.getItem("theme");
    return ["light", "dark"].includes(theme) ? theme : null;
  } catch {
    return null;
  }
}

function choose(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // It then lasts as long as the page.
  }
}

/** The system's theme, until the visitor chooses one. */
function prepareTheme(changed) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    const other = theme === "dark" ? "light" : "dark";
    byId("theme").textContent = other[0].toUpperCase() + other.slice(1);
    byId("theme").setAttribute("aria-label", `Switch to ${other} theme`);
    readColours();
    changed();
  };
  const follow = () => set(chosen() ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", follow);
  byId("theme").addEventListener("click", () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    set(other);
    choose(other);
  });
  follow();
}

/** Space plays and pauses, the arrows step, wherever the focus has no use of its own for them. */
function hearKeys(app) {
  document.addEventListener("keydown", (event) => {
    const player = app.view?.player;
    if (!player || event.ctrlKey || event.metaKey || event.altKey) return;
    const within = (selector) => event.target.closest(selector);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " " && !within("input:not([type=range]), select, button")) {
      if (!event.repeat) player.toggle();
    } else if (step && !within("input[type=range], select, [role=application]")) {
      player.seek(player.t + step);
    } else {
      return;
    }
    event.preventDefault();
  });
}

async function main() {
  let app = null;
  prepareTheme(() => app?.view?.redraw());
  byId("notice").hidden = true;
  for (const transport of document.querySelectorAll(".player")) {
    transport.append(byId("transport").content.cloneNode(true));
  }
  app = new App(await fetchJson("models.json"));
  byId("model").replaceChildren(...app.models.map(({ name }) => new Option(name)));
  byId("model").addEventListener("change", ({ target }) => {
    app.go({ view: app.viewName, model: target.value });
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is for the view
    byId("main").focus();
  });
  document.querySelector("nav [data-view=compare]").hidden = !app.pair;
  addEventListener("hashchange", () => app.open());
  addEventListener("unhandledrejection", ({ reason }) => app.complain(reason));
  addEventListener("error", (event) => app.complain(event));
  addEventListener("resize", () => app.view?.redraw());
  hearKeys(app);
  app.open();
}

main().catch((error) => {
  tell(`The page cannot start: ${error.message}.`);
});
