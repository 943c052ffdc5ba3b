/** Part of a digit, and the model's proposals for the rest. */

import { seedOf, whole } from "../address.js";
import { rasterise, toText } from "../ink.js";
import { padIn } from "../pad.js";
import { tiles } from "../pictures.js";
import { freshSeed } from "../random.js";
import { FilmView } from "./film.js";

const COUNT = 9;
const ROUNDS = 12; // of clamped iterations; later ones change little
const SHARE = 0.4; // of an example's strokes
const FIRST = 1; // of the examples: a three

export class Finish extends FilmView {
  constructor(root, app) {
    super(root, app, 3, ["read", "write"]);
    this.canvases = tiles(this.find(".tiles"), COUNT, "Proposal");
    this.pad = padIn(this, { part: SHARE, changed: () => this.renew(this.seed), pixels: true });
  }

  get settings() {
    return { ink: toText(this.pad.strokes), seed: this.seed };
  }

  async open(settings) {
    const signal = this.opened(settings);
    const { ink, seed, t } = settings;
    this.seed = seedOf(seed) ?? this.seed ?? freshSeed();
    this.films = [];
    this.player.load(this.app.model.config.glimpses);
    this.player.hold(this.player.last);
    this.pad.open(ink, FIRST);
    if (await this.ready(signal)) await this.renew(this.seed, t);
  }

  /** Walks anew; each round's pictures are shown as they come. */
  async renew(seed, t) {
    const signal = this.renewed();
    this.seed = seed;
    if (!this.pad.strokes.length) {
      this.films = [];
      this.player.hold(this.player.last);
      this.say("Draw part of a digit on the pad");
      this.again.disabled = true;
      return this.app.remember({});
    }
    this.again.disabled = false;
    const { height, width, channels } = this.app.model.config;
    const grey = rasterise(this.pad.strokes, height, width);
    const ink = Uint8Array.from(
      { length: channels * grey.length },
      (_, i) => grey[i % grey.length],
    );
    const args = { ink, seed, count: COUNT, rounds: ROUNDS };
    this.ink = ink;
    this.player.hold(whole(t, 0, this.player.last) ?? this.player.last);
    this.remember();
    for await (const { round, films } of this.app.run("complete", args, signal)) {
      this.films = films;
      this.redraw();
      this.say(round < ROUNDS ? `Round ${round} of ${ROUNDS}` : this.pad.says);
    }
    if (signal.aborted) return;
    this.gif.disabled = false;
  }

  /** A film's picture; over the last one lies the visitor's ink, which stays. */
  frame(film, t, ...rest) {
    const picture = super.frame(film, t, ...rest);
    if (!film || t < film.steps) return picture;
    return { ...picture, values: picture.values.map((value, i) => Math.max(value, this.ink[i])) };
  }}
