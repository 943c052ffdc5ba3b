/** Shows how samples are drawn. */

import { tiles } from "../pictures.js";
import { FilmView, TRACE_SEED } from "./film.js";

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
    return { seed: this.seed };
  }

  /** Shows the samples of the seed in the address; the sample trace contains those of one seed. */
  async open(settings) {
    const signal = this.startView(settings);
    const { t } = settings;
    this.setForkable(false);
    // The weights are loaded after the trace, so that a film plays as soon as possible.
    const isPlaying = this.seed === TRACE_SEED && (await this.previewTrace([this.app.model.name], signal, t));
    if (isPlaying) this.setForkable(true);
    if ((await this.ready(signal)) && !isPlaying) await this.rerun(this.seed, t);
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
    this.saveButton.disabled = false;
    this.setForkable(true);
  }

  /** Enables forking, when all samples are there. */
  setForkable(enabled) {
    this.find(".hint").textContent = enabled
      ? "Click a picture to see how else it could have turned out."
      : "";
    for (const { parentElement: button } of this.canvases) {
      button.disabled = !enabled;
      button.title = enabled ? "Fork this sample" : "";
    }
  }
}
