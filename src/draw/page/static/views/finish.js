/** The visitor draws part of a digit, and the model proposes the rest. */

import { parseInteger } from "../address.js";
import { rasterise, toText } from "../ink.js";
import { Pad } from "../pad.js";
import { tiles } from "../pictures.js";
import { FilmView } from "./film.js";

const COUNT = 9;
const ROUNDS = 12; // of clamped iterations; more change little
const PART = 0.4; // fraction of an example's strokes
const FIRST_EXAMPLE = 1; // a three

export class Finish extends FilmView {
  constructor(root, app) {
    super(root, app, 3, ["read", "write"]);
    this.canvases = tiles(this.find(".tiles"), COUNT, "Proposal");
    this.unfinished = undefined; // pictures of the current round
    this.pad = new Pad(this, { part: PART, changed: () => this.rerun(this.seed), pixels: true });
  }

  get settings() {
    return { ink: toText(this.pad.strokes), seed: this.seed };
  }

  async open(settings) {
    const signal = this.startView(settings);
    this.player.hold(this.player.last);
    this.pad.open(settings.ink, FIRST_EXAMPLE);
    if (await this.ready(signal)) await this.rerun(this.seed, settings.t);
  }

  startRun() {
    this.unfinished = undefined;
    return super.startRun();
  }

  /** Completes the drawing and shows the result of each round. */
  async rerun(seed, t) {
    const signal = this.startRun();
    this.seed = seed;
    if (!this.pad.strokes.length) {
      this.films = [];
      this.player.hold(this.player.last);
      this.setStatus("Draw part of a digit on the pad");
      this.again.disabled = true;
      return this.app.remember({});
    }
    this.again.disabled = false;
    const { height, width, channels } = this.app.model.config;
    const grey = rasterise(this.pad.strokes, height, width);
    this.ink = Uint8Array.from({ length: channels * grey.length }, (_, i) => grey[i % grey.length]);
    const args = { ink: this.ink, seed, count: COUNT, rounds: ROUNDS };
    this.player.hold(parseInteger(t, 0, this.player.last) ?? this.player.last);
    this.remember();
    for await (const { round, pictures, films = [] } of this.app.run("complete", args, signal)) {
      this.unfinished = pictures;
      this.films = films;
      this.redraw();
      this.setStatus(round < ROUNDS ? `Round ${round} of ${ROUNDS}` : this.pad.message);
    }
    if (signal.aborted) return;
    this.gif.disabled = false;
  }

  /** Returns the pictures of the films, or those of the current round while it computes. */
  pictures(t, resting) {
    const { height, width, channels } = this.app.model.config;
    return (
      this.unfinished?.map((values) => this.withInk({ height, width, channels, values })) ??
      super.pictures(t, resting)
    );
  }

  /** Returns a film's picture; the last one includes the visitor's ink. */
  frame(film, t, ...rest) {
    const picture = super.frame(film, t, ...rest);
    if (!film || t < film.glimpses) return picture;
    return this.withInk(picture);
  }

  withInk({ values, ...rest }) {
    return { ...rest, values: values.map((value, i) => Math.max(value, this.ink[i])) };
  }
}
