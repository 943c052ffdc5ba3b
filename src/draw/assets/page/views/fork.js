/** One painting, frozen, and the futures that grow from there. */

import { seedOf, whole } from "../address.js";
import { show, tiles } from "../pictures.js";
import { stepOf } from "../player.js";
import { freshSeed } from "../random.js";
import { FilmView } from "./film.js";

const COUNT = 9;
const PAINTINGS = 24; // of a seed: as many as Paint shows

export class Fork extends FilmView {
  constructor(root, app) {
    super(root, app, 3);
    this.canvases = tiles(this.find(".tiles"), COUNT, "Future");
    this.parent = this.find(".parent");
    this.freeze = this.find(".freeze");
    this.next = this.find(".next");
    this.at = this.frozen = null; // where the slider is, and where the films that are shown part
    this.freeze.addEventListener("input", () => this.grow());
    this.next.addEventListener("click", () => {
      this.index = (this.index + 1) % PAINTINGS;
      if (this.index === 0) this.seed = freshSeed();
      this.grow();
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
    const signal = this.opened(settings);
    const { seed, index, at, branch, t } = settings;
    const { glimpses } = this.app.model.config;
    this.films = [];
    this.seed = seedOf(seed) ?? this.seed ?? freshSeed();
    this.index = whole(index, 0, PAINTINGS - 1) ?? this.index ?? 0;
    this.branch = seedOf(branch) ?? this.branch ?? 0;
    this.freeze.max = glimpses - 1;
    this.at = whole(at, 0, glimpses - 1) ?? this.at ?? Math.floor(glimpses / 4);
    this.freeze.value = this.at; // at most the maximum
    this.frozen = Number(this.freeze.value);
    this.label(this.frozen);
    this.player.load(glimpses);
    this.player.hold(0);
    this.next.disabled = this.freeze.disabled = true;
    if (!(await this.ready(signal))) return;
    this.next.disabled = this.freeze.disabled = false;
    await this.grow(t);
  }

  renew(branch) {
    this.branch = branch;
    return this.grow();
  }

  /** Nine futures from the step that the slider shows. */
  async grow(t) {
    const signal = this.renewed();
    const { seed, index, at, branch } = this.settings;
    this.at = at;
    this.label(at);
    const args = { seed, index, t: at, count: COUNT, branch };
    for await (const { films } of this.app.run("fork", args, signal)) {
      this.films = films;
      this.frozen = at;
      this.gif.disabled = false;
      this.player.load(films[0].steps, at);
      this.start(t);
    }
  }

  label(at) {
    this.freeze.nextElementSibling.textContent = stepOf(at, this.app.model.config.glimpses);
    this.freeze.style.setProperty("--done", at / Number(this.freeze.max));
    this.find(".progress").textContent = `Painting ${this.index + 1} of seed ${this.seed}, frozen`;
  }

  draw(t, resting) {
    super.draw(t, resting);
    show(this.parent, this.frame(this.films[0], this.frozen, false));
  }
}
