/** Play, pause and a slider over the steps of a film. */

const FILM = 5000; // milliseconds that the steps of a film last, all together
const SLOWEST = 250; // milliseconds a step, at most
export const REST = 1800; // milliseconds that the finished picture stays, before it starts again

/** Milliseconds that each of so many steps is shown. */
export const stepTime = (steps) => Math.min(SLOWEST, FILM / steps);

/** "7 / 64", as wide as "64 / 64". */
export const stepOf = (t, last) => `${String(t).padStart(String(last).length, "\u2007")} / ${last}`;

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  /**
   * `root` is an element with `.play`, `.slider` and `.step` inside; `draw(t, resting)` shows the
   * film after step t = 0..T, `resting` while the finished picture stays; `settled()` hears when
   * the visitor, and not the film, has chosen a step or to play.
   */
  constructor(root, draw, settled = () => {}) {
    this.button = root.querySelector(".play");
    this.slider = root.querySelector(".slider");
    this.output = root.querySelector(".step");
    this.draw = draw;
    this.settled = settled;
    this.playing = false;
    this.frame = null; // the browser's next, while playing
    this.first = this.t = this.last = 0;
    this.button.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
  }

  /** Takes a film of so many steps, which starts after step `first`. */
  load(steps, first = 0) {
    this.last = steps;
    this.first = first;
    this.t = Math.min(this.t, steps);
    this.slider.max = steps;
    this.show();
  }

  /** Plays from a step; if the visitor prefers no motion, shows the finished picture instead. */
  begin(t = this.first) {
    if (calm.matches) return this.hold(this.last);
    this.t = t;
    this.play();
  }

  /** Stops at a step, without a word to `settled`. */
  hold(t) {
    this.pause();
    this.t = Math.min(this.last, Math.max(0, t));
    this.show();
  }

  /** Stops at a step that the visitor has chosen. */
  seek(t) {
    this.hold(t);
    this.settled();
  }

  toggle() {
    if (this.playing) return this.seek(this.t);
    if (this.t >= this.last) this.t = this.first;
    this.play();
    this.settled();
  }

  play() {
    this.pause();
    this.playing = true;
    this.since = performance.now(); // when the step that is shown began
    this.next();
    this.show();
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.frame);
    this.label();
  }

  next() {
    this.frame = requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    const due = this.t === this.last ? REST : stepTime(this.last);
    if (now - this.since >= due) {
      const late = now - this.since > 2 * due; // the page was hidden, or busy: go on from here
      this.since = late ? now : this.since + due;
      this.t = this.t === this.last ? this.first : this.t + 1;
      this.show();
    }
    this.next();
  }

  show() {
    this.slider.value = this.t;
    this.output.textContent = stepOf(this.t, this.last);
    this.slider.setAttribute("aria-valuetext", `step ${this.t} of ${this.last}`);
    this.slider.style.setProperty("--done", this.t / this.last);
    this.label();
    this.draw(this.t, this.playing && this.t === this.last);
  }

  label() {
    this.button.textContent = this.playing ? "Pause" : "Play";
  }
}
