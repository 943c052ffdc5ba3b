/** Compares samples of a model with attention and one without, played at the same speed. */

import { blank, tiles } from "../pictures.js";
import { FilmView, TRACE_SEED } from "./film.js";

const COUNT = 16;
const SIDE = 4; // columns per model

export class Compare extends FilmView {
  constructor(root, app) {
    super(root, app, 2 * SIDE + 1);
    this.pair = app.pair;
    this.canvases = [".left", ".right"].flatMap((side) => tiles(this.find(side), COUNT, "Sample"));
    this.at = [...root.querySelectorAll(".at")];
    [".with", ".without"].forEach((side, i) => (this.find(side).textContent = this.pair[i].name));
  }

  get settings() {
    return { seed: this.seed };
  }

  get glimpses() {
    return Math.max(...this.pair.map(({ config }) => config.glimpses));
  }

  get modelName() {
    return this.pair[0].name;
  }

  caption(t) {
    const text = `DRAW ${this.pair.map(({ name }) => name).join(" and ")}, seed ${this.seed}`;
    return { ...super.caption(t), text };
  }

  async open(settings) {
    const signal = this.startView(settings);
    const { t } = settings;
    const names = this.pair.map(({ name }) => name);
    const isPlaying = this.seed === TRACE_SEED && (await this.previewTrace(names, signal, t));
    // Sample traces of large pictures have fewer films.
    const isComplete = isPlaying && this.films.every(({ length }) => length >= COUNT);
    if ((await this.ready(signal, ...names)) && !isComplete) await this.rerun(this.seed, t);
  }

  /** Generates samples of both models from the same seed. */
  async rerun(seed, t) {
    const signal = this.startRun();
    this.seed = seed;
    this.films = [[], []];
    this.start(t);
    const generate = async (side) => {
      const { name } = this.pair[side];
      const task = this.app.run("sample", { seed, count: COUNT }, signal, name);
      for await (const { films } of task) {
        this.films[side].push(...films);
        this.redraw();
        this.setStatus(`${this.films.flat().length} of ${2 * COUNT}`);
      }
    };
    await Promise.all([generate(0), generate(1)]);
    if (signal.aborted) return;
    this.saveButton.disabled = false;
    this.setStatus(`Seed ${seed}`);
  }

  /** Returns the glimpse of one of the models, when the longer film is at glimpse t. */
  glimpseOf(side, t) {
    const { glimpses } = this.pair[side].config;
    return Math.round((t * glimpses) / this.player.last);
  }

  draw(t, resting) {
    super.draw(t, resting);
    this.pair.forEach(({ config }, side) => {
      this.at[side].textContent = `glimpse ${this.glimpseOf(side, t)} of ${config.glimpses}`;
    });
  }

  pictures(t, resting) {
    return this.pair.flatMap(({ config }, side) => {
      const glimpse = this.glimpseOf(side, t);
      return Array.from({ length: COUNT }, (_, i) => {
        const film = this.films[side]?.[i];
        return film ? this.frame(film, glimpse, resting) : blank(config);
      });
    });
  }

  /** Places both sides next to each other in a saved film, with a gap between them. */
  sheet(t, resting) {
    const all = this.pictures(t, resting);
    const rows = Array.from({ length: COUNT / SIDE }, (_, row) => [
      ...all.slice(row * SIDE, (row + 1) * SIDE),
      null,
      ...all.slice(COUNT + row * SIDE, COUNT + (row + 1) * SIDE),
    ]);
    return rows.flat();
  }
}
