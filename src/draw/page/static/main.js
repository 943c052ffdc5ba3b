/** Everything outside the views: navigation, the choice of the model, the theme, the keyboard. */

import { Engine } from "./engine.js";
import { fetchJson, once } from "./loading.js";
import { readColours } from "./pictures.js";
import { initMenu } from "./save.js";
import { readTrace } from "./trace.js";
import { Compare } from "./views/compare.js";
import { Find } from "./views/find.js";
import { Finish } from "./views/finish.js";
import { Fork } from "./views/fork.js";
import { Glimpse } from "./views/glimpse.js";
import { Look } from "./views/look.js";
import { Morph } from "./views/morph.js";
import { Paint } from "./views/paint.js";
import { Sandbox } from "./views/window.js";

const VIEWS = {
  glimpse: Glimpse,
  paint: Paint,
  look: Look,
  finish: Finish,
  fork: Fork,
  morph: Morph,
  compare: Compare,
  window: Sandbox,
  find: Find,
};

const WRITE_DELAY = 300; // milliseconds between two changes of the address

const byId = (id) => document.getElementById(id);

/** The services that views share: models, runs, navigation and the address. */
class App {
  constructor(models) {
    this.models = models.filter(({ config }) => config.type === "DRAW");
    this.classifiers = models.filter(({ config }) => config.type === "GlimpseClassifier");
    this.engine = new Engine();
    this.seed = 0; // views keep the seed and the drawings of the view before
    this.drawings = new Map(); // size of a digit -> strokes of the visitor
    this.photo = {}; // the chosen photo: { name, file }
    this.traces = new Map(); // name -> promise of films
    this.loaded = new Map(); // name -> promise
    this.progress = new Map(); // name -> bytes loaded and in total, which is null if unknown
    this.views = new Map(); // name -> view, created on first use
    this.viewName = this.view = this.model = null; // currently shown
    this.keep = null; // keeps a model for use without a network, where that is possible
    this.written = this.newest = null; // the address, and the next one to write
    this.timer = null; // runs until the next write is allowed
  }

  /** Fetches the films of a model's sample trace, which do not need its weights. */
  trace(name = this.model.name) {
    return once(this.traces, name, () => fetchJson(`traces/${name}.json`).then(readTrace));
  }

  /** Loads a model; resolves when it can run. */
  load(name) {
    const progress = (...bytes) => {
      this.progress.set(name, bytes);
      this.view.showProgress?.();
    };
    return once(this.loaded, name, async () => {
      await this.engine.run("load", name, {}, undefined, progress).next(); // has no parts
      this.keep?.(name);
    });
  }

  /** Runs a function of `runs.js` with the current model or another one; yields its parts. */
  run(task, args, signal, name = this.model.name) {
    return this.engine.run(task, name, args, signal);
  }

  /** Two models for images of the same size, with attention and without; null if there are none. */
  get pair() {
    const attends = (model) => model.config.write_size !== null;
    const shape = ({ config: { channels, height, width, likelihood } }) =>
      `${channels} ${height} ${width} ${likelihood}`;
    for (const other of this.models.filter((model) => !attends(model))) {
      const matches = (model) => attends(model) && shape(model) === shape(other);
      const one = this.models.find(matches);
      if (one) return [one, other];
    }
    return null;
  }

  /** Whether there is a view of this name, and the models that it needs. */
  offers(view) {
    if (view === "compare") return this.pair !== null;
    if (view === "find") return this.classifiers.length === 2;
    return Object.hasOwn(VIEWS, view);
  }

  /** Opens the view in the address; ignores settings that are unknown or invalid. */
  open() {
    this.written = location.hash;
    const address = new URLSearchParams(location.hash.slice(1));
    const { view, model, ...settings } = Object.fromEntries(address);
    this.view?.close();
    this.model = this.models.find(({ name }) => name === model) ?? this.models[0];
    this.viewName = this.offers(view) ? view : "glimpse";
    for (const section of document.querySelectorAll("main section")) {
      section.hidden = section.id !== this.viewName;
    }
    for (const link of document.querySelectorAll("a[data-view]")) {
      link.hash = this.address({ view: link.dataset.view });
      const current = link.dataset.view === this.viewName && link.closest("nav");
      link.ariaCurrent = current ? "page" : null;
    }
    showCurrentTab();
    byId("model").value = this.model.name;
    const canChoose =
      this.models.length > 1 && !["compare", "window", "find"].includes(this.viewName);
    byId("model").parentElement.hidden = !canChoose;
    byId("notice").hidden = true;
    if (!this.views.has(this.viewName)) {
      this.views.set(this.viewName, new VIEWS[this.viewName](byId(this.viewName), this));
    }
    this.view = this.views.get(this.viewName);
    this.remember(settings);
    this.view.open(settings);
    document.title = `${byId(`${this.viewName}-title`).innerText} – DRAW`;
  }

  /** Returns an address with these settings; the model is omitted if it is the first one. */
  address(settings) {
    const model = this.model === this.models[0] ? undefined : this.model.name;
    const known = Object.entries({ model, ...settings }).filter(([, value]) => value !== undefined);
    return `#${new URLSearchParams(known)}`;
  }

  /**
   * Stores settings of the current view in the address without a history entry. The first change is
   * written at once and later ones after a delay, because browsers limit the rate.
   */
  remember(settings) {
    this.newest = this.address({ view: this.viewName, ...settings });
    if (this.timer === null) this.write();
  }

  write() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.newest === null || location.hash !== this.written) return; // the visitor has navigated
    history.replaceState(null, "", this.newest);
    this.newest = null;
    this.written = location.hash;
    this.timer = setTimeout(() => this.write(), WRITE_DELAY);
  }

  /** Navigates to a view with the given settings; the browser's back button returns. */
  go(settings) {
    this.write(); // the settings to return to
    if (settings.view !== this.viewName) byId("main").focus(); // the focused element will be hidden
    location.hash = this.address(settings);
  }

  showError(error) {
    showNotice(`Something went wrong: ${error.message}.`, true);
  }

  /** Opens the view again after an error, with a new worker if the old one failed. */
  retry() {
    if (this.engine.failure) {
      this.engine = new Engine();
      this.loaded.clear();
    }
    this.open();
  }
}

/** Scrolls the tabs, which have one row on phones. */
function showCurrentTab() {
  const tab = document.querySelector("nav [aria-current]");
  tab?.parentElement.scrollTo({ left: tab.offsetLeft - tab.parentElement.clientWidth / 2 });
}

/** Shows an error, with a button to try again if that may help. */
function showNotice(text, canRetry = false) {
  const notice = byId("notice");
  const [message, button] = notice.children;
  message.textContent = text;
  button.hidden = !canRetry;
  notice.classList.remove("late");
  notice.hidden = false;
}

/** The browser's storage, or an empty object if the visitor has disabled it. */
function storage() {
  try {
    return localStorage;
  } catch {
    return {};
  }
}

/** Follows the system's theme until the visitor chooses one. */
function initTheme(changed) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    document.documentElement.style.colorScheme = theme;
    const other = theme === "dark" ? "light" : "dark";
    byId("theme").textContent = other[0].toUpperCase() + other.slice(1);
    byId("theme").setAttribute("aria-label", `Switch to ${other} theme`);
    readColours();
    changed();
  };
  const follow = () => {
    const { theme } = storage();
    set(["light", "dark"].includes(theme) ? theme : dark.matches ? "dark" : "light");
  };
  dark.addEventListener("change", follow);
  addEventListener("beforeprint", () => set("light")); // paper is white
  addEventListener("afterprint", follow);
  byId("theme").addEventListener("click", () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    set(other);
    storage().theme = other;
  });
  follow();
}

/**
 * `?embed=1` omits the title, the footer and the buttons of the page, which belong to the page around
 * it, and `?hide=nav,notes` also the tabs or the notes below the pictures.
 */
function initEmbedding() {
  const query = new URLSearchParams(location.search);
  const hidden = (query.get("hide") ?? "").split(",");
  if (query.get("embed") === "1") hidden.push("frame");
  document.documentElement.dataset.hide = hidden.join(" ");
}

function initFullScreen() {
  const button = byId("fullscreen");
  button.hidden = !document.fullscreenEnabled;
  button.addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
  });
  document.addEventListener("fullscreenchange", () => {
    button.ariaPressed = String(document.fullscreenElement !== null);
  });
}

/** Lets the menu copy the address of what the view shows; a page without HTTPS has no clipboard. */
function initLink(app) {
  const row = byId("save").querySelector(".link");
  const button = row.querySelector("button");
  const label = button.textContent;
  row.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    app.write();
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  });
  byId("save").addEventListener("beforetoggle", () => (button.textContent = label));
}

/** Space plays and pauses and the arrow keys step, unless the focused element uses these keys. */
function initKeys(app) {
  document.addEventListener("keydown", (event) => {
    const player = app.view?.player;
    if (!player || event.ctrlKey || event.metaKey || event.altKey) return;
    const within = (selector) => event.target.closest(selector);
    if (within("[role=toolbar]") && event.key.startsWith("Arrow")) return; // moves between tiles
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " " && !within("input:not([type=range]), select, button")) {
      if (!event.repeat) player.toggle();
    } else if (
      step &&
      !within("input:is([type=range], [type=radio]), select, [role=application]")
    ) {
      player.step(step);
    } else {
      return;
    }
    event.preventDefault();
  });
}

/**
 * Lets a service worker keep the page and each model that the visitor uses. A server on this computer
 * has another port, and would need another copy, each time; `?offline` keeps one anyway.
 */
function initOffline(app) {
  const isLocal = ["127.0.0.1", "localhost"].includes(location.hostname);
  if (isLocal && !new URLSearchParams(location.search).has("offline")) return;
  if (!navigator.serviceWorker || navigator.connection?.saveData) return;
  app.keep = async (name) => {
    try {
      await navigator.serviceWorker.register("offline.js");
      (await navigator.serviceWorker.ready).active.postMessage(name);
    } catch {
      // The page works without it: browsers reject service workers in private windows, for example.
    }
  };
}

async function main() {
  let app = null;
  initEmbedding();
  initTheme(() => app?.view?.redraw());
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
    event.preventDefault(); // the address stores the view
    byId("main").focus();
  });
  for (const link of document.querySelectorAll("nav a"))
    link.hidden = !app.offers(link.dataset.view);
  addEventListener("hashchange", () => app.open());
  addEventListener("unhandledrejection", ({ reason }) => app.showError(reason));
  addEventListener("error", (event) => app.showError(event));
  addEventListener("resize", () => {
    app.view?.redraw();
    showCurrentTab();
  });
  byId("notice").querySelector("button").addEventListener("click", () => app.retry());
  addEventListener("online", () => {
    if (!byId("notice").hidden) app.retry();
  });
  initKeys(app);
  initFullScreen();
  initLink(app);
  initMenu(byId("save"), () => app.view);
  initOffline(app);
  app.open();
}

main().catch((error) => {
  showNotice(`The page could not start: ${error.message}.`);
});
