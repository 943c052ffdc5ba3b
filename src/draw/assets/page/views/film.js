/** What the views that show a film have in common. */

import { whole } from "../address.js";
import { blank, frame, show } from "../pictures.js";
import { Player } from "../player.js";
import { freshSeed } from "../random.js";
import { saveFilm } from "../save.js";

/**
 * A subclass gives `open(settings)`, which shows what the address says, and `renew(seed)`, which
 * starts anew with other noise; it fills `canvases` and, as they come, `films`. Its `settings` are
 * what the address is to keep of it.
 */
export class FilmView {
  /** `columns` arranges the pictures of a saved film, and `kinds` are the windows to be seen. */
  constructor(root, app, columns, kinds = ["write"]) {
    this.app = app;
    this.root = root;
    this.kinds = kinds;
    this.canvases = []; // elements
    this.films = []; // one for each of them; those not there yet are blank
    this.saving = false; // as a GIF
    this.player = new Player(
      this.find(".player"),
      (t, resting) => this.draw(t, resting),
      () => this.remember(),
    );
    this.again = this.find(".again");
    this.gif = this.find(".gif");
    this.windows = this.find(".windows");
    this.again.addEventListener("click", () => this.renew(freshSeed()));
    this.windows?.addEventListener("change", () => {
      this.redraw();
      this.remember();
    });
    this.gif.addEventListener("click", () => this.save(columns));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Takes from the address what all views keep there; the signal for what is to be computed. */
  opened(settings) {
    if (Object.keys(settings).length) this.reset(); // what it does not name is as at first
    const windows = whole(settings.windows, 0, 1);
    if (this.windows && windows !== undefined) this.windows.checked = windows === 1;
    if (this.windows) this.windows.disabled = !this.kinds.some((kind) => this.sees(kind));
    return this.renewed();
  }

  /** What a saved film is named after. */
  get modelName() {
    return this.app.model.name;
  }

  /** Whether the model reads, or writes, through windows. */
  sees(kind) {
    return this.app.model.config[`${kind}_size`] !== null;
  }

  /** Forgets what a visit before has left. */
  reset() {
    this.seed = 0;
    this.pad?.set([]);
    if (this.windows) this.windows.checked = this.windows.defaultChecked;
  }

  close() {
    this.stop?.abort();
    this.player.pause();
  }

  /** Ends what is being computed; the signal for what is to be computed, and saved, instead. */
  renewed() {
    this.gif.disabled = true;
    this.stop?.abort();
    this.stop = new AbortController();
    return this.stop.signal;
  }

  /** Waits for the model, with the buttons that need it disabled; false if no longer wanted. */
  async ready(signal, ...names) {
    this.again.disabled = true;
    this.say("Loading the model");
    try {
      const wanted = names.length ? names : [this.app.model.name];
      await Promise.all(wanted.map((name) => this.app.load(name)));
    } finally {
      if (!signal.aborted) this.say("");
    }
    if (!signal.aborted) this.again.disabled = false;
    return !signal.aborted;
  }

  say(text) {
    this.find(".status").textContent = text;
  }

  /** Plays from the film's start, or holds at the step that the address names. */
  start(t) {
    const step = whole(t, 0, this.player.last);
    if (step === undefined) this.player.begin();
    else this.player.hold(step);
    this.remember();
  }

  /** Keeps in the address what is shown, and the step `t` that it rests at; null while it plays. */
  remember(t = this.player.playing ? null : this.player.t) {
    const { checked, defaultChecked } = this.windows ?? {};
    const windows = checked === defaultChecked ? undefined : Number(checked);
    this.app.remember({ ...this.settings, t: t ?? undefined, windows });
  }

  /** A film's picture after step t; no windows on a finished one, nor if they are not wanted. */
  frame(film, t, resting, kinds = this.kinds) {
    if (!film) return blank(this.app.model.config);
    return frame(film, t, resting || this.windows?.checked === false ? [] : kinds);
  }

  /** One for each of the canvases. */
  pictures(t, resting) {
    return this.canvases.map((_, i) => this.frame(this.films[i], t, resting));
  }

  draw(t, resting) {
    const pictures = this.pictures(t, resting);
    this.canvases.forEach((canvas, i) => show(canvas, pictures[i]));
  }

  redraw() {
    this.pad?.draw();
    this.player.show();
  }

  /** Saves the film as a GIF, one at a time. */
  async save(columns) {
    if (this.saving) return;
    this.saving = true;
    this.gif.setAttribute("aria-busy", "true");
    try {
      const { last } = this.player;
      const sheets = Array.from({ length: last + 1 }, (_, t) => this.sheet(t, false));
      sheets.push(this.sheet(last, true));
      await saveFilm(`draw-${this.root.id}-${this.modelName}`, sheets, columns);
    } finally {
      this.saving = false;
      this.gif.removeAttribute("aria-busy");
    }
  }

  /** The pictures of a saved film, row by row; null leaves a gap. */
  sheet(t, resting) {
    return this.pictures(t, resting);
  }
}
