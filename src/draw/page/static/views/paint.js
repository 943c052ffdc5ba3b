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
    const isComplete = isPlaying && this.films.length === COUNT; // traces of large pictures are not
    if (signal.aborted) return;
    if (isPlaying) this.setForkable(isComplete);
    if ((await this.ready(signal)) && !isComplete) await this.generate(t);
  }

  /** Generates the samples of another seed. */
  rerun(seed, t) {
    this.seed = seed;
    this.films = [];
    return this.generate(t);
  }

  /** Generates the missing samples; the film starts with the first batch, and the others join it. */
  async generate(t) {
    const signal = this.startRun();
    const { seed } = this;
    this.setForkable(false);
    const start = this.films.length;
    const missing = { seed, start, count: COUNT - start };
    this.films = [...this.films]; // the trace remains unchanged
    this.setStatus(`${start} of ${COUNT}`);
    for await (const { films } of this.app.run("sample", missing, signal)) {
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
