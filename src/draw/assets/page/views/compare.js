/** The same number of samples with attention and without, in the same time. */

import { seedOf } from "../address.js";
import { blank, tiles } from "../pictures.js";
import { FilmView } from "./film.js";

const COUNT = 16;
const SIDE = 4; // columns of each of the two

export class Compare extends FilmView {
  constructor(root, app) {
    super(root, app, 2 * SIDE + 1);
    this.pair = app.pair;
    this.films = [[], []];
    this.canvases = [".left", ".right"].flatMap((side) => tiles(this.find(side), COUNT, "Sample"));
    [".with", ".without"].forEach((side, i) => (this.find(side).textContent = this.pair[i].name));
  }

  get settings() {
    return { seed: this.seed }; // undefined while the bundled films are shown
  }

  get modelName() {
    return this.pair[0].name;
  }

  sees() {
    return true; // one of the two does
  }

  async open(settings) {
    const signal = this.opened(settings);
    const { t } = settings;
    this.seed = seedOf(settings.seed);
    this.films = [[], []];
    this.player.load(Math.max(...this.pair.map(({ config }) => config.glimpses)));
    const names = this.pair.map(({ name }) => name);
    if (this.seed === undefined) this.preview(names, signal, t);
    if (!(await this.ready(signal, ...names)) || this.seed === undefined) return;
    await this.renew(this.seed, t);
  }

  async preview(names, signal, t) {
    const films = await Promise.all(names.map((name) => this.app.trace(name)));
    if (signal.aborted) return;
    this.films = films;
    this.gif.disabled = false;
    this.start(t);
  }

  /** New samples of both, from the same seed. */
  async renew(seed, t) {
    const signal = this.renewed();
    this.seed = seed;
    this.films = [[], []];
    this.start(t);
    const paint = async (side) => {
      const { name } = this.pair[side];
      const task = this.app.run("sample", { seed, count: COUNT }, signal, name);
      for await (const { films } of task) {
        this.films[side].push(...films);
        this.redraw();
        this.say(`${this.films.flat().length} of ${2 * COUNT}`);
      }
    };
    await Promise.all([paint(0), paint(1)]);
    if (signal.aborted) return;
    this.gif.disabled = false;
    this.say(`Seed ${seed}`);
  }

  pictures(t, resting) {
    return this.pair.flatMap(({ config }, side) => {
      const step = Math.round((t * config.glimpses) / this.player.last);
      return Array.from({ length: COUNT }, (_, i) =>
        this.films[side][i] ? this.frame(this.films[side][i], step, resting) : blank(config),
      );
    });
  }

  /** For the saved film both sides in one, a gap between them. */
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
