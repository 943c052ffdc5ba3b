/** The model reconstructs the visitor's digit, at a cost in nats. */

import { imageOf, toText } from "../ink.js";
import { Pad } from "../pad.js";
import { blank, colours, frame } from "../pictures.js";
import { FilmView } from "./film.js";

const FIRST_EXAMPLE = 2; // a five

export class Look extends FilmView {
  constructor(root, app) {
    super(root, app, 3, ["read", "write"]);
    this.canvases = [".input", ".error", ".canvas"].map((name) => this.find(name));
    this.bars = this.find(".bars");
    this.pixels = null;
    this.pad = new Pad(this, { changed: () => this.restart() });
    const seek = ({ offsetX, buttons }) => {
      if (!this.film || !(buttons & 1)) return; // needs the main button, a finger or a pen
      this.player.seek(1 + Math.floor((offsetX / this.bars.clientWidth) * this.film.glimpses));
    };
    this.bars.addEventListener("pointerdown", (event) => {
      this.bars.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.bars.addEventListener("pointermove", seek);
  }

  get film() {
    return this.films[0];
  }

  get strokes() {
    return this.pad.strokes;
  }

  get settings() {
    return { ink: toText(this.pad.strokes), seed: this.seed };
  }

  async open(settings) {
    const signal = this.startView(settings);
    this.pad.open(settings.ink, FIRST_EXAMPLE);
    this.prepare();
    if (await this.ready(signal)) await this.rerun(this.seed, settings.t);
  }

  /** Reconstructs the drawing after it has changed. */
  restart() {
    this.prepare();
    return this.rerun(this.seed);
  }

  /** Converts the strokes on the pad to the image that the model receives. */
  prepare() {
    const { strokes } = this.pad;
    this.films = [];
    this.again.disabled = true;
    this.pixels = imageOf(strokes, this.app.model.config);
    if (!strokes.length) this.setStatus("Draw a digit on the pad");
    this.player.hold(0);
  }

  /** Reconstructs the image with the noise of a seed. */
  async rerun(seed, t) {
    const signal = this.startRun();
    this.seed = seed;
    if (!this.pad.strokes.length) return this.app.remember({});
    this.remember(t ?? null); // so that the drawing is stored before the film is finished
    const args = { pixels: this.pixels, seed };
    for await (const { films } of this.app.run("reconstruct", args, signal)) {
      this.films = films;
      this.setStatus(this.pad.message);
      this.gif.disabled = this.again.disabled = false;
      this.start(t);
    }
  }

  draw(t, resting) {
    super.draw(t, resting);
    this.drawBars(t);
    this.showCosts(t);
  }

  /** Returns x and x_hat_t, which share the read window, and c_t; at rest the final error. */
  pictures(t, resting) {
    const empty = blank(this.app.model.config);
    const input = { ...empty, values: this.pixels ?? empty.values };
    if (!this.film) return [input, empty, empty];
    const canvas = this.frame(this.film, t, resting, ["write"]);
    const { windows } = this.frame(this.film, t, resting, ["read"]);
    const previous = frame(this.film, resting ? t : Math.max(0, t - 1));
    const error = Int16Array.from(this.pixels, (x, i) => x - previous.values[i]); // eq. 3
    const values = empty.channels === 1 ? error : error.map((e) => (e + 255) / 2); // grey: no error
    return [{ ...input, windows }, { ...empty, values, windows }, canvas];
  }

  /** Draws the bars and describes them in words. */
  drawBars(t) {
    const [width, height] = [this.bars.clientWidth, this.bars.clientHeight];
    this.bars.width = width * devicePixelRatio;
    this.bars.height = height * devicePixelRatio;
    const context = this.bars.getContext("2d");
    const { ink, line, soft, write } = colours;
    context.scale(devicePixelRatio, devicePixelRatio);
    context.fillStyle = `rgb(${line})`;
    context.fillRect(0, height - 1, width, 1);
    const { kl = [], glimpses = 1 } = this.film ?? {};
    const highest = Math.max(...kl, 1e-9);
    const each = width / glimpses;
    kl.forEach((nats, i) => {
      const bar = Math.max(1, (nats / highest) * (height - 2));
      context.fillStyle = `rgb(${i + 1 === t ? write : i < t ? ink : soft})`;
      context.fillRect(i * each, height - bar, Math.max(1, each - Math.min(3, each / 4)), bar);
    });
    const nats = kl.map((value) => value.toFixed(1));
    const peak = kl.indexOf(Math.max(...kl));
    const current = t > 0 ? `glimpse ${t}: ${nats[t - 1]} nats; ` : "";
    const description = `${current}highest ${nats[peak]} at glimpse ${peak + 1}`;
    this.find(".peak").textContent = this.film ? description : "";
    this.bars.setAttribute("aria-label", ["Nats per glimpse", ...nats].join(", "));
  }

  /** Shows the cost of the latents so far, and that of the pixels given the current canvas. */
  showCosts(t) {
    const { kl, logLikelihood, glimpses } = this.film ?? {};
    const latent = kl?.slice(0, t).reduce((sum, nats) => sum + nats, 0);
    const parts = { ".latent": latent, ".pixels": -logLikelihood?.[t] };
    parts[".bound"] = parts[".latent"] + parts[".pixels"]; // eq. 12
    for (const [name, nats] of Object.entries(parts)) {
      this.find(name).textContent = this.film ? nats.toFixed(1) : "–";
    }
    this.find(".meaning").textContent =
      t === glimpses ? "nats, one-sample bound" : "nats, if stopped here";
  }
}
