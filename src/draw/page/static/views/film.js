/** The base class of the views that play films. */

import { digits, parseInteger, parseSeed } from "../address.js";
import { isInk } from "../ink.js";
import { blank, frame, show } from "../pictures.js";
import { usesOwnFile } from "../photo.js";
import { glimpseTime, Player } from "../player.js";
import { freshSeed } from "../random.js";
import { isFilm, save } from "../save.js";

export const TRACE_SEED = 0; // the sample traces contain the samples of this seed

/**
 * A subclass implements `open(settings)`, which shows the settings in the address, and
 * `rerun(seed)`, which computes films with new noise. It fills `canvases`, and `films` as they
 * arrive. Its `settings` are those to store in the address.
 */
export class FilmView {
  /** A saved film has `columns` pictures per row; `kinds` are the windows that films show. */
  constructor(root, app, columns, kinds = ["write"]) {
    this.app = app;
    this.root = root;
    this.kinds = kinds;
    this.canvases = []; // elements
    this.films = []; // one per canvas; a missing film is shown as an empty picture
    this.saving = false; // a file is being made
    this.needed = null; // names of the models that the view waits for
    this.player = this.createPlayer();
    this.again = this.find(".again");
    this.saveButton = this.find(".save");
    this.columns = columns;
    this.windows = this.find(".windows");
    this.again.addEventListener("click", () => this.rerun(freshSeed()));
    this.windows?.addEventListener("change", () => {
      this.redraw();
      this.remember();
    });
    for (const button of root.querySelectorAll("[data-window]")) {
      button.addEventListener("click", () => this.openWindow(button.dataset.window));
    }
  }

  createPlayer() {
    const draw = (t, resting) => this.draw(t, resting);
    return new Player(this.find(".player"), draw, () => this.remember());
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Applies the settings that views share; returns the signal for the view's first run. */
  startView(settings) {
    this.isAddressed = Object.keys(settings).length > 0;
    if (this.isAddressed) this.reset(); // settings that are not given have defaults
    this.seed = parseSeed(settings.seed) ?? (this.isAddressed ? 0 : this.app.seed);
    this.films = [];
    this.player.load(this.glimpses);
    const windows = parseInteger(settings.windows, 0, 1);
    if (this.windows && windows !== undefined) this.windows.checked = windows === 1;
    for (const element of this.root.querySelectorAll("[data-if]")) {
      element.toggleAttribute("hidden", !this.applies(element.dataset.if)); // also in SVG
    }
    return this.startRun();
  }

  /** Whether a `data-if` condition holds for the model: "read", "no-write", "ink" and so on. */
  applies(condition) {
    const { config, costs } = this.app.model;
    const { likelihood } = config;
    const isCharacters = costs?.data === "omniglot";
    const has = (kind) => config[`${kind}_size`] !== null;
    const facts = {
      ...{ read: has("read"), write: has("write"), windows: this.kinds.some(has) },
      ...{ ink: isInk(config), logistic: likelihood !== "bernoulli" },
      digits: isInk(config) && !isCharacters,
      characters: isCharacters,
      colour: config.channels > 1,
      coupled: likelihood === "coupled-logistic" && config.channels > 1,
    };
    return facts[condition.replace("no-", "")] !== condition.startsWith("no-");
  }

  get glimpses() {
    return this.app.model.config.glimpses;
  }

  /** The model in the name of a saved film. */
  get modelName() {
    return this.app.model.name;
  }

  /** Restores the initial state of the view. */
  reset() {
    this.source?.reset();
    if (this.windows) this.windows.checked = this.windows.defaultChecked;
  }

  close() {
    this.stop?.abort();
    this.player.pause();
  }

  /** Stops the current run; returns the signal for the next one. */
  startRun() {
    this.saveButton.disabled = true;
    this.needed = null;
    this.stop?.abort();
    this.stop = new AbortController();
    return this.stop.signal;
  }

  /** Waits until the models are loaded; returns false if the view has started another run. */
  async ready(signal, ...names) {
    if (signal.aborted) return false;
    this.again.disabled = true;
    this.needed = names.length ? names : [this.app.model.name];
    this.showProgress();
    try {
      await Promise.all(this.needed.map((name) => this.app.load(name)));
    } finally {
      if (!signal.aborted) {
        this.needed = null;
        this.setStatus("");
      }
    }
    if (!signal.aborted) this.again.disabled = false;
    return !signal.aborted;
  }

  /** Shows the sample traces of models, which need no run; returns false if one is missing. */
  async previewTrace(names, signal, t) {
    this.setStatus("Loading the pictures");
    try {
      const films = await Promise.all(names.map((name) => this.app.trace(name)));
      if (signal.aborted) return true;
      this.films = names.length > 1 ? films : films[0];
    } catch (error) {
      if (!signal.aborted) this.app.showError(error);
      return signal.aborted;
    }
    this.saveButton.disabled = false;
    this.setStatus(`Seed ${TRACE_SEED}`);
    this.start(t);
    return true;
  }

  /** Shows how much of the models that the view waits for is loaded. */
  showProgress() {
    if (!this.needed) return;
    const known = this.needed.map((name) => this.app.progress.get(name)).filter(Boolean);
    const [loaded, total] = [0, 1].map((i) => known.reduce((sum, bytes) => sum + bytes[i], 0));
    const amount = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
    const isKnown = known.every(([, size]) => size); // some servers do not send the size
    const share = isKnown ? `${Math.floor((100 * loaded) / total)}% of ${amount(total)}` : amount(loaded);
    this.setStatus(known.length ? `Loading the model, ${share}` : "Loading the model");
  }

  setStatus(text) {
    this.find(".status").textContent = text;
  }

  /** Plays the film from its start, or shows the glimpse t of the address. */
  start(t) {
    const glimpse = parseInteger(t, 0, this.player.last);
    if (glimpse === undefined) this.player.begin();
    else this.player.hold(glimpse);
    this.remember();
  }

  /** Stores the settings in the address, with the glimpse t unless it is null (the film plays). */
  remember(t = this.player.playing ? null : this.player.t) {
    this.app.seed = this.seed;
    this.app.remember(this.settingsAt(t ?? undefined));
  }

  /** Returns the settings that show glimpse t. */
  settingsAt(t) {
    const { checked, defaultChecked } = this.windows ?? {};
    return { ...this.settings, t, windows: checked === defaultChecked ? undefined : Number(checked) };
  }

  /** Returns a film's picture after glimpse t; it has no windows at rest or if they are hidden. */
  frame(film, t, resting, kinds = this.kinds) {
    if (!film) return blank(this.app.model.config);
    return frame(film, t, resting || this.windows?.checked === false ? [] : kinds);
  }

  /** Returns the pictures for the canvases. */
  pictures(t, resting) {
    return this.canvases.map((_, i) => this.frame(this.films[i], t, resting));
  }

  draw(t, resting) {
    const pictures = this.pictures(t, resting);
    this.canvases.forEach((canvas, i) => show(canvas, pictures[i]));
  }

  redraw() {
    this.source?.draw();
    this.player.show();
  }

  /** Saves the film, or the current pictures, in a format of `save.js`, unless a file is being made. */
  async save(format, hasCaption) {
    if (this.saving) return;
    this.saving = true;
    this.saveButton.setAttribute("aria-busy", "true");
    try {
      const { t: current, last, slider } = this.player;
      const first = Number(slider.min);
      const glimpses = isFilm(format)
        ? Array.from({ length: last + 1 - first }, (_, i) => first + i)
        : [current];
      const sheets = isFilm(format) ? glimpses.map((t) => this.sheet(t, false)) : [this.still(current)];
      if (isFilm(format)) sheets.push(this.sheet(last, true));
      const captions = hasCaption ? sheets.map((_, i) => this.caption(glimpses[i] ?? last)) : undefined;
      const name = `draw-${this.root.id}-${this.modelName}${isFilm(format) ? "" : `-${current}`}`;
      const time = glimpseTime(last, this.player.maxTime);
      await save(name, format, { sheets, captions, columns: this.columns, time });
    } finally {
      this.saving = false;
      this.saveButton.removeAttribute("aria-busy");
    }
  }

  /**
   * Returns the caption of the pictures after glimpse t, with a link that shows them again. There is
   * no link to the visitor's own files, which never leave the page.
   */
  caption(t) {
    const text = `DRAW ${this.modelName}, seed ${this.seed}, glimpse ${t} of ${this.player.last}`;
    const settings = this.settingsAt(t);
    if (usesOwnFile(settings)) return { text: `${text}, my own picture` };
    const address = this.app.address({ view: this.root.id, ...settings });
    return { text, link: new URL(address, location.href).href };
  }

  /** Opens a window of the current glimpse in the Window view, on the picture that is copied. */
  openWindow(kind) {
    const [film] = this.films;
    const window = film?.[kind]?.[Math.max(0, this.player.t - 1)];
    if (!window) return; // nothing is drawn yet, or a generated film, which has no read window
    const { g_x, g_y, delta, sigma2, gamma } = window;
    const numbers = { g_x, g_y, delta, sigma: Math.sqrt(sigma2), gamma };
    const rounded = Object.entries(numbers).map(([name, value]) => [name, digits(value)]);
    const picture = { size: Math.max(film.height, film.width), ...this.source.settings };
    const settings = { ...Object.fromEntries(rounded), n: film[`${kind}Size`], ...picture };
    this.app.go({ view: "window", ...settings });
  }

  /** Returns the pictures of a saved picture, or a diagram. */
  still(t) {
    return this.sheet(t, false);
  }

  /** Returns the pictures of a saved film, row by row; null leaves a gap. */
  sheet(t, resting) {
    return this.pictures(t, resting);
  }
}
