/** Plays a film glimpse by glimpse, and the stages within each glimpse while it is slow enough. */

import { Player } from "./player.js";

const STAGES = 7; // look, read, encode, send, decode, write, add
export const [READ, SEND, WRITE] = [1, 3, 5];
export const LAST = STAGES - 1;
const SLOWEST = 4200; // milliseconds for the first glimpse that plays
const ACCELERATION = 0.8; // duration of a glimpse relative to the one before
const FASTEST = 220; // milliseconds per glimpse
const MIN_DETAILED = 1000; // shorter glimpses are shown as a whole

/** `stage` is that of glimpse t = 1..T, from `start` on: a sample has no encoder, so it starts later. */
export class StagePlayer extends Player {
  constructor(root, draw, moved, settled) {
    super(root, draw, settled);
    this.moved = moved; // called with the fraction of the current stage
    this.stage = LAST;
    this.start = 0; // the first stage of every glimpse
    this.played = 0; // glimpses since the film started to play
    this.slider.min = 1;
  }

  load(glimpses) {
    super.load(glimpses, 1);
  }

  begin() {
    this.stage = this.start;
    super.begin();
    if (!this.playing) this.hold(1, this.start); // with reduced motion: the visitor steps
  }

  hold(t, stage = LAST) {
    this.stage = Math.max(this.start, stage);
    super.hold(Math.max(1, t));
  }

  step(direction) {
    const { start, count } = this;
    const at = (this.t - 1) * count + this.stage - start + direction;
    if (at < 0 || at >= this.last * count) return;
    this.hold(1 + Math.floor(at / count), start + (at % count));
    this.settled();
  }

  toggle() {
    if (this.playing) return this.stop();
    if (this.t >= this.last && this.stage === LAST) this.t = 0;
    this.play();
    this.settled();
  }

  stop() {
    this.hold(this.t, this.isDetailed ? this.stage : LAST);
    this.settled();
  }

  play() {
    this.played = 0;
    super.play();
  }

  /** The number of stages per glimpse. */
  get count() {
    return STAGES - this.start;
  }

  get glimpseTime() {
    return Math.max(FASTEST, SLOWEST * ACCELERATION ** this.played) / this.rate;
  }

  /** Whether the film is slow enough to follow the stages. */
  get isDetailed() {
    return !this.playing || this.glimpseTime >= MIN_DETAILED;
  }

  tick(now) {
    this.frame = requestAnimationFrame((later) => this.tick(later));
    const isLast = this.t === this.last && (this.stage === LAST || !this.isDetailed);
    const due = isLast ? this.restTime : this.glimpseTime / (this.isDetailed ? this.count : 1);
    if (now - this.since < due) return this.moved((now - this.since) / due);
    this.since = now - this.since > 2 * due ? now : this.since + due;
    if (isLast) {
      [this.t, this.stage, this.played] = [1, this.start, 0];
    } else if (this.isDetailed && this.stage < LAST && this.t > 0) {
      this.stage += 1;
    } else {
      this.t += 1;
      this.played += 1;
      this.stage = this.isDetailed ? this.start : LAST;
    }
    this.show();
  }
}
