/** The visitor draws part of a digit or hides part of a photo, and the model proposes the rest. */

import { parseInteger } from "../address.js";
import { rasterise } from "../ink.js";
import { blank, tiles } from "../pictures.js";
import { Source } from "../source.js";
import { FilmView } from "./film.js";

const COUNT = 9;
const ROUNDS = 12; // of clamped iterations; more change little
const PART = 0.4; // fraction of an example's strokes
const FIRST_EXAMPLE = 1; // a three
const HIDDEN = { // whether the pixel of a photo is hidden, at x and y in [0, 1]
  right: (x) => x > 0.5,
  lower: (_, y) => y > 0.5,
  middle: (x, y) => Math.max(Math.abs(x - 0.5), Math.abs(y - 0.5)) < 0.3,
};

export class Finish extends FilmView {
  constructor(root, app) {
    super(root, app, 3, ["read", "write"]);
    this.canvases = tiles(this.find(".tiles"), COUNT, "Proposal");
    this.unfinished = undefined; // pictures of the current round
    this.hide = this.find(".hide");
    this.hide.addEventListener("change", () => this.rerun(this.seed));
    const covered = () => this.mask;
    const options = { part: PART, changed: () => this.rerun(this.seed), pixels: true, covered };
    this.source = new Source(this, options);
  }

  get settings() {
    const hide = this.source.isInk ? undefined : this.hide.value;
    return { ...this.source.settings, hide, seed: this.seed };
  }

  async open(settings) {
    const signal = this.startView(settings);
    this.player.hold(this.player.last);
    if (this.isAddressed) this.hide.value = Object.hasOwn(HIDDEN, settings.hide) ? settings.hide : "right";
    await this.source.open(settings, FIRST_EXAMPLE);
    if (signal.aborted) return;
    await this.rerun(this.seed, settings.t);
  }

  startRun() {
    this.unfinished = undefined;
    return super.startRun();
  }

  /** The mask of the known pixels [height, width]: the ink of a drawing, or what is left of a photo. */
  get mask() {
    const { height, width } = this.app.model.config;
    if (this.source.isInk) return rasterise(this.source.pad.strokes, height, width);
    const isHidden = HIDDEN[this.hide.value];
    return Uint8Array.from({ length: height * width }, (_, i) => {
      const [row, column] = [Math.floor(i / width), i % width];
      return Number(!isHidden((column + 0.5) / width, (row + 0.5) / height));
    });
  }

  /** Completes the picture and shows the result of each round. */
  async rerun(seed, t) {
    const signal = this.startRun();
    this.seed = seed;
    if (this.source.isEmpty) {
      this.films = [];
      this.player.hold(this.player.last);
      this.setStatus("Draw part of a digit on the pad");
      this.again.disabled = true;
      return this.app.remember({});
    }
    this.source.draw();
    const { mask } = this;
    const { channels } = this.app.model.config;
    const whole = Uint8Array.from({ length: channels * mask.length }, (_, i) => mask[i % mask.length]);
    this.known = { mask: whole, known: this.source.isInk ? mask : this.source.image };
    const args = { ...this.known, seed, count: COUNT, rounds: ROUNDS };
    this.player.hold(parseInteger(t, 0, this.player.last) ?? this.player.last);
    this.remember();
    if (!(await this.ready(signal))) return;
    this.setStatus(`Round 1 of ${ROUNDS}`);
    for await (const { round, pictures, films = [] } of this.app.run("complete", args, signal)) {
      this.unfinished = pictures;
      this.films = films;
      this.redraw();
      this.setStatus(round < ROUNDS ? `Round ${round + 1} of ${ROUNDS}` : this.source.message);
    }
    if (signal.aborted) return;
    this.saveButton.disabled = false;
  }

  /** Returns the pictures of the films, or those of the current round while it computes. */
  pictures(t, resting) {
    const empty = blank(this.app.model.config);
    const rounds = this.unfinished?.map((values) => this.withKnown({ ...empty, values }));
    return rounds ?? super.pictures(t, resting);
  }

  /** Returns a film's picture; the last one includes the known pixels. */
  frame(film, t, ...rest) {
    const picture = super.frame(film, t, ...rest);
    if (!film || t < film.glimpses) return picture;
    return this.withKnown(picture);
  }

  withKnown({ values, ...rest }) {
    const { known, mask } = this.known;
    return { ...rest, values: values.map((value, i) => (mask[i] ? known[i] : value)) };
  }
}
