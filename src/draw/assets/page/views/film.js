/** What the views that show a film have in common. */

import { whole } from "../address.js";
import { show } from "../pictures.js";
import { Player } from "../player.js";
import { freshSeed } from "../random.js";
import { saveFilm } from "../save.js";

/**
 * A subclass gives `open(settings)`, which shows what the address says; `renew(seed)`, which starts
 * anew with other noise; `canvases`, and `pictures(t, resting)`, one for each of them. `settings`
 * are what it wants to have kept in the address.
 */
export class FilmView {
  /** `columns` arranges the pictures of a saved film; null pictures leave gaps. */
  constructor(root, app, columns) {
    this.app = app;
    this.root = root;
    this.canvases = [];
    this.settings = {};
    this.player = new Player(
      this.find(".player"),
      (t, resting) => this.draw(t, resting),
      () => this.remember(),
    );
    this.again = this.find(".again");
    this.gif = this.find(".gif");
    this.windows = this.find(".windows");
    this.again.addEventListener("click", () => this.renew(freshSeed()));
    this.windows?.addEventListener("change", () => this.redraw());
    this.gif.addEventListener("click", () => {
      const name = `draw-${root.id}-${app.model.name}`;
      const sheet = (t, resting) => this.sheet(t, resting);
      saveFilm(name, this.gif, this.player.last, columns, sheet);
    });
  }

  find(name) {
    return this.root.querySelector(name);
  }

  close() {
    this.stop?.abort();
    this.player.pause();
  }

  /** Ends what is being computed; the signal for what is to be computed instead. */
  renewed() {
    this.stop?.abort();
    this.stop = new AbortController();
    return this.stop.signal;
  }

  /** Waits for the model, with the buttons that need it disabled; false if no longer wanted. */
  async ready(signal, ...names) {
    this.again.disabled = true;
    this.say("Loading the model");
    await Promise.all((names.length ? names : [this.app.model.name]).map((n) => this.app.load(n)));
    if (signal.aborted) return false;
    this.again.disabled = false;
    this.say("");
    return true;
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

  remember() {
    const t = this.player.playing ? undefined : this.player.t;
    this.app.remember({ ...this.settings, t });
  }

  /** The kinds of windows to be shown, of those asked for: none on a picture that is finished. */
  kinds(resting, ...kinds) {
    return resting || this.windows?.checked === false ? [] : kinds;
  }

  draw(t, resting) {
    const pictures = this.pictures(t, resting);
    this.canvases.forEach((canvas, i) => show(canvas, pictures[i]));
  }

  redraw() {
    this.player.show();
  }

  sheet(t, resting) {
    return this.pictures(t, resting);
  }
}
