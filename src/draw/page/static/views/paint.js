/** Shows how samples are drawn, first those of the sample trace, then any others. */

import { parseSeed } from "../address.js";
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
    return { seed: this.seed }; // undefined while the sample trace is shown
  }

  /** Shows the samples of the seed in the address, or else the sample trace. */
  async open(settings) {
    const signal = this.startView(settings);
    const { t } = settings;
    this.seed = parseSeed(settings.seed);
    this.setForkable(false);
    if (this.seed === undefined) this.preview(this.app.trace(), signal, t);
    if ((await this.ready(signal)) && this.seed !== undefined) await this.rerun(this.seed, t);
  }

  /** Generates samples; the film starts with the first batch, and the others join it. */
  async rerun(seed, t) {
    const signal = this.startRun();
    this.seed = seed;
    this.films = [];
    this.setForkable(false);
    for await (const { films } of this.app.run("sample", { seed, count: COUNT }, signal)) {
      this.films.push(...films);
      if (this.films.length === films.length) this.start(t);
      else this.redraw();
      this.setStatus(`${this.films.length} of ${COUNT}`);
    }
    if (signal.aborted) return;
    this.setStatus(`Seed ${seed}`);
    this.gif.disabled = false;
    this.setForkable(true);
  }

  /** Enables forking, which needs a seed: the noise of the sample trace is unknown to the page. */
  setForkable(enabled) {
    this.find(".hint").textContent = enabled
      ? "Click a picture to see how else it could have turned out."
      : "Click “New samples”, then a picture, to see how else it could have turned out.";
    for (const { parentElement: button } of this.canvases) {
      button.disabled = !enabled;
      button.title = enabled ? "Fork this sample" : "";
    }
  }
}
