/** Freezes a sample after some glimpse and continues it in different ways. */

import { parseInteger, parseSeed } from "../address.js";
import { show, tiles } from "../pictures.js";
import { formatPosition } from "../player.js";
import { freshSeed } from "../random.js";
import { FilmView } from "./film.js";

const COUNT = 9;
const SAMPLES = 24; // per seed, as in Paint
const PAUSE = 200; // milliseconds without a movement of the slider before the futures are generated

export class Fork extends FilmView {
  constructor(root, app) {
    super(root, app, 3);
    this.canvases = tiles(this.find(".tiles"), COUNT, "Future");
    this.parent = this.find(".parent");
    this.freeze = this.find(".freeze");
    this.next = this.find(".next");
    this.at = this.frozen = null; // the slider's glimpse, and the one at which the films fork
    this.film = null; // the film of the frozen sample
    this.freeze.addEventListener("input", () => this.freezeAt(Number(this.freeze.value)));
    this.next.addEventListener("click", () => {
      this.index = (this.index + 1) % SAMPLES;
      if (this.index === 0) this.seed = freshSeed();
      this.growFutures();
    });
  }

  get settings() {
    const { seed, index, branch } = this;
    return { seed, index, at: Number(this.freeze.value), branch };
  }

  reset() {
    super.reset();
    this.index = this.branch = 0;
    this.at = null;
  }

  async open(settings) {
    const signal = this.startView(settings);
    const { index, at, branch, t } = settings;
    const { glimpses } = this;
    this.index = parseInteger(index, 0, SAMPLES - 1) ?? this.index ?? 0;
    this.branch = parseSeed(branch) ?? this.branch ?? 0;
    this.freeze.max = glimpses - 1;
    this.at = parseInteger(at, 0, glimpses - 1) ?? this.at ?? Math.floor(glimpses / 4);
    this.freeze.value = this.at; // limited to the maximum
    this.frozen = Number(this.freeze.value);
    this.label(this.frozen);
    if (!this.shown?.startsWith(`${this.app.model.name},`)) this.film = this.shown = null;
    this.player.hold(0);
    this.next.disabled = this.freeze.disabled = true;
    if (!(await this.ready(signal))) return;
    this.next.disabled = this.freeze.disabled = false;
    await this.growFutures(t);
  }

  rerun(branch) {
    this.branch = branch;
    return this.growFutures();
  }

  /** Shows the sample after another glimpse at once, and its futures when the slider rests. */
  freezeAt(at) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.growFutures(), PAUSE);
    this.frozen = at;
    this.label(at);
    this.redraw();
  }

  close() {
    clearTimeout(this.timer);
    super.close();
  }

  /** Generates the futures from the glimpse that the slider shows. */
  async growFutures(t) {
    const signal = this.startRun();
    const { seed, index, at, branch } = this.settings;
    this.at = at;
    this.label(at);
    const shown = [this.app.model.name, seed, index].join();
    if (shown !== this.shown) {
      const sample = this.app.run("sample", { seed, count: 1, start: index }, signal);
      for await (const { films } of sample) this.film = films[0];
      if (signal.aborted) return;
      this.shown = shown;
      this.redraw();
    }
    const args = { seed, index, t: at, count: COUNT, branch };
    for await (const { films } of this.app.run("fork", args, signal)) {
      this.films = films;
      this.frozen = at;
      this.saveButton.disabled = false;
      this.player.load(films[0].glimpses, at);
      this.start(t);
    }
  }

  label(at) {
    this.freeze.nextElementSibling.textContent = formatPosition(at, this.glimpses);
    this.freeze.style.setProperty("--done", at / Number(this.freeze.max));
    this.find(".progress").textContent = `Sample ${this.index + 1} of seed ${this.seed}, frozen`;
  }

  draw(t, resting) {
    super.draw(t, resting);
    show(this.parent, this.frame(this.film, this.frozen, false));
  }
}
