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

  /** Shows the bundled films; then, if the address names a seed, its samples. */
  async open({ seed, t }) {
    const signal = this.renewed();
    const wanted = seedOf(seed);
    this.films = [];
    this.settings = {};
    this.forkable(false);
    this.player.load(this.app.model.config.glimpses);
    if (wanted === undefined) this.preview(signal, t);
    if ((await this.ready(signal)) && wanted !== undefined) await this.renew(wanted, t);
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
    this.settings = { seed };
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
    for (const { parentElement: button } of this.canvases) {
      button.disabled = !known;
      button.title = known ? "Fork this painting" : "";
    }
  }
}
