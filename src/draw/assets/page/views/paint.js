/** Samples being painted: bundled ones at once, new ones as soon as the model is there. */

import { seedOf } from "../address.js";
import { tiles } from "../pictures.js";
import { FilmView } from "./film.js";

const COUNT = 24;
const COLUMNS = 6;

export class Paint extends FilmView {
  constructor(root, app) {
    super(root, app, COLUMNS);
    this.canvases = tiles(this.find(".tiles"), COUNT, "Sample", (index) => {
      app.go({ view: "fork", ...this.settings, index });
    });
  }

  get settings() {
    return { seed: this.seed }; // undefined while the bundled films are shown
  }

  /** Shows the bundled films or, if the address names a seed, its samples. */
  async open(settings) {
    const signal = this.opened(settings);
    const { t } = settings;
    this.seed = seedOf(settings.seed);
    this.films = [];
    this.forkable(false);
    this.player.load(this.app.model.config.glimpses);
    if (this.seed === undefined) this.preview(signal, t);
    if ((await this.ready(signal)) && this.seed !== undefined) await this.renew(this.seed, t);
  }

  async preview(signal, t) {
    const films = await this.app.trace();
    if (signal.aborted) return;
    this.films = films.slice(0, COUNT);
    this.gif.disabled = false;
    this.start(t);
  }

  /** Paints new samples; the film starts with the first of them, and the others join in. */
  async renew(seed, t) {
    const signal = this.renewed();
    this.seed = seed;
    this.films = [];
    this.forkable(false);
    for await (const { films } of this.app.run("sample", { seed, count: COUNT }, signal)) {
      this.films.push(...films);
      if (this.films.length === films.length) this.start(t);
      else this.redraw();
      this.say(`${this.films.length} of ${COUNT}`);
    }
    if (signal.aborted) return;
    this.say(`Seed ${seed}`);
    this.gif.disabled = false;
    this.forkable(true);
  }

  /** Only samples of a seed can be forked: the noise of the bundled ones is not known here. */
  forkable(known) {
    this.find(".hint").textContent = known
      ? "Press a picture to see its other futures."
      : "New samples can be pressed, to see their other futures.";
    for (const { parentElement: button } of this.canvases) {
      button.disabled = !known;
      button.title = known ? "Fork this painting" : "";
    }
  }
}
