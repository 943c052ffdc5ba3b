/** Compares samples of a model with attention and one without, played at the same speed. */

import { parseSeed } from "../address.js";
import { blank, tiles } from "../pictures.js";
import { FilmView } from "./film.js";

const COUNT = 16;
const SIDE = 4; // columns per model

export class Compare extends FilmView {
  constructor(root, app) {
    super(root, app, 2 * SIDE + 1);
    this.pair = app.pair;
    this.canvases = [".left", ".right"].flatMap((side) => tiles(this.find(side), COUNT, "Sample"));
    [".with", ".without"].forEach((side, i) => (this.find(side).textContent = this.pair[i].name));
  }

  get settings() {
    return { seed: this.seed }; // undefined while the sample traces are shown
  }

  get glimpses() {
    return Math.max(...this.pair.map(({ config }) => config.glimpses));
  }

  get modelName() {
    return this.pair[0].name;
  }

  async open(settings) {
    const signal = this.startView(settings);
    const { t } = settings;
    this.seed = parseSeed(settings.seed);
    const names = this.pair.map(({ name }) => name);
    if (this.seed === undefined) {
      this.preview(Promise.all(names.map((name) => this.app.trace(name))), signal, t);
    }
    if (!(await this.ready(signal, ...names)) || this.seed === undefined) return;
    await this.rerun(this.seed, t);
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
    this.gif.disabled = false;
    this.setStatus(`Seed ${seed}`);
  }

  pictures(t, resting) {
    return this.pair.flatMap(({ config }, side) => {
      const glimpse = Math.round((t * config.glimpses) / this.player.last);
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
