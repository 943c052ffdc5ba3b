/** Plays, pauses and seeks in a film, which shows one picture per glimpse. */

const FILM_TIME = 5000; // milliseconds for all glimpses of a film
const MAX_GLIMPSE_TIME = 250; // milliseconds
export const REST_TIME = 1800; // milliseconds for the finished picture

/** Returns the milliseconds for each glimpse of a film. */
export const glimpseTime = (glimpses, maxTime = MAX_GLIMPSE_TIME) =>
  Math.min(maxTime, FILM_TIME / glimpses);

/** Formats " 7 / 64" with the width of "64 / 64". */
export const formatPosition = (t, last) =>
  `${String(t).padStart(String(last).length, "\u2007")} / ${last}`;

let speed = 1; // shared by all films

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  /**
   * `root` contains the elements `.play`, `.slider`, `.position`, `.speed` and `.steps`.
   * `draw(t, resting)` shows the film after glimpse t = 0..T; `resting` is true during the pause at
   * the end of a film that plays. `settled()` is called after the visitor seeks, plays or pauses.
   */
  constructor(root, draw, settled) {
    this.button = root.querySelector(".play");
    this.slider = root.querySelector(".slider");
    this.output = root.querySelector(".position");
    this.speed = root.querySelector(".speed");
    this.draw = draw;
    this.settled = settled;
    this.playing = false;
    this.maxTime = MAX_GLIMPSE_TIME;
    this.repeats = true; // whether the film starts again after its end
    this.frame = null; // animation frame request, while playing
    this.first = this.t = this.last = 0;
    this.button.addEventListener("click", () => this.toggle());
    [...root.querySelector(".steps").children].forEach((button, i) => {
      button.addEventListener("click", () => this.step(2 * i - 1));
    });
    this.speed.addEventListener("change", () => (speed = Number(this.speed.value)));
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
  }

  /** Loads a film that starts after glimpse `first`. */
  load(glimpses, first = 0) {
    this.last = glimpses;
    this.first = first;
    this.t = Math.min(this.t, glimpses);
    this.slider.max = glimpses;
    this.show();
  }

  /** Plays from the start, or shows the finished picture if the visitor prefers reduced motion. */
  begin() {
    if (reducedMotion.matches) return this.hold(this.last);
    this.t = this.first;
    this.play();
  }

  /** Stops at glimpse t without calling `settled`. */
  hold(t) {
    this.pause();
    this.t = Math.min(this.last, Math.max(0, t));
    this.show();
  }

  /** Stops at glimpse t, chosen by the visitor. */
  seek(t, ...rest) {
    this.hold(t, ...rest);
    this.settled();
  }

  /** Moves forwards (1) or backwards (-1) on behalf of the visitor. */
  step(direction) {
    this.seek(this.t + direction);
  }

  /** The speed of all films, relative to the ordinary one. */
  get rate() {
    return speed;
  }

  /** Milliseconds that the finished picture is shown. */
  get restTime() {
    return REST_TIME / speed;
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
    this.since = performance.now(); // when the current picture appeared
    this.frame = requestAnimationFrame((now) => this.tick(now));
    this.show();
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.frame);
  }

  tick(now) {
    this.frame = requestAnimationFrame((later) => this.tick(later));
    const due =
      this.t === this.last ? REST_TIME : glimpseTime(this.last, this.maxTime) / speed;
    if (now - this.since >= due) {
      const late = now - this.since > 2 * due; // the page was hidden or busy: continue from here
      this.since = late ? now : this.since + due;
      this.t = this.t === this.last ? this.first : this.t + 1;
      if (this.t === this.last && !this.repeats) this.seek(this.t);
      else this.show();
    }
  }

  show() {
    this.speed.value = speed;
    this.slider.value = this.t;
    this.output.textContent = formatPosition(this.t, this.last);
    this.slider.setAttribute("aria-valuetext", `glimpse ${this.t} of ${this.last}`);
    this.slider.style.setProperty("--done", (this.t - this.slider.min) / (this.last - this.slider.min || 1));
    this.button.textContent = this.playing ? "Pause" : "Play";
    this.draw(this.t, this.playing && this.t === this.last);
  }
}
