/** A visitor's digit: the model reads it, repaints it, and pays in nats. */

import { seedOf } from "../address.js";
import { centred, rasterise, toText } from "../ink.js";
import { padIn } from "../pad.js";
import { blank, colours, frame } from "../pictures.js";
import { freshSeed } from "../random.js";
import { FilmView } from "./film.js";

const FIRST = 2; // of the examples: a five

export class Look extends FilmView {
  constructor(root, app) {
    super(root, app, 3);
    this.canvases = [".input", ".error", ".canvas"].map((name) => this.find(name));
    this.bars = this.find(".bars");
    this.film = null;
    this.pixels = null;
    this.pad = padIn(this, { changed: () => this.take() });
    const seek = ({ offsetX, buttons }) => {
      if (!this.film || !(buttons & 1)) return; // the main button, a finger or a pen
      this.player.seek(1 + Math.floor((offsetX / this.bars.clientWidth) * this.film.steps));
    };
    this.bars.addEventListener("pointerdown", (event) => {
      this.bars.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.bars.addEventListener("pointermove", seek);
  }

  get settings() {
    return { ink: toText(this.pad.strokes), seed: this.seed };
  }

  async open(settings) {
    const signal = this.opened(settings);
    const { ink, seed, t } = settings;
    this.seed = seedOf(seed) ?? this.seed ?? freshSeed();
    this.player.load(this.app.model.config.glimpses);
    this.pad.open(ink, FIRST);
    this.prepare();
    if (await this.ready(signal)) await this.renew(this.seed, t);
  }

  take() {
    this.prepare();
    return this.renew(this.seed);
  }

  /** The picture that the model is given, of the strokes on the pad. */
  prepare() {
    const { height, width, channels } = this.app.model.config;
    const { strokes } = this.pad;
    const drawn = strokes.length > 0;
    this.film = null;
    this.again.disabled = true;
    this.pixels = new Uint8Array(channels * height * width);
    if (drawn) {
      const grey = rasterise(centred(strokes, height, width), height, width);
      for (let c = 0; c < channels; c++) this.pixels.set(grey, c * height * width);
    } else {
      this.say("Draw a digit on the pad");
    }
    this.player.hold(0);
  }

  /** Looks at the picture with the noise of a seed. */
  async renew(seed, t) {
    const signal = this.renewed();
    this.seed = seed;
    if (!this.pad.strokes.length) return this.app.remember({});
    this.remember(t ?? null); // a film takes its time; what was drawn is not to be lost
    const args = { pixels: this.pixels, seed };
    for await (const { films } of this.app.run("reconstruct", args, signal)) {
      [this.film] = films;
      this.say(this.pad.says);
      this.gif.disabled = this.again.disabled = false;
      this.start(t);
    }
  }

  draw(t, resting) {
    super.draw(t, resting);
    this.drawBars(t);
    this.tellBars(t);
    this.tell(t);
  }

  /** x and x_hat_t, both read through one window, and c_t; at the end what is still missing. */
  pictures(t, resting) {
    const empty = blank(this.app.model.config);
    const input = { ...empty, values: this.pixels ?? empty.values };
    if (!this.film) return [input, empty, empty];
    const canvas = this.frame(this.film, t, resting, ["write"]);
    const { windows } = this.frame(this.film, t, resting, ["read"]);
    const before = frame(this.film, resting ? t : Math.max(0, t - 1));
    const error = Int16Array.from(this.pixels, (x, i) => x - before.values[i]); // eq. 3
    const values = empty.channels === 1 ? error : error.map((e) => (e + 255) / 2); // grey: none
    return [{ ...input, windows }, { ...empty, values, windows }, canvas];
  }

  drawBars(t) {
    const [width, height] = [this.bars.clientWidth, this.bars.clientHeight];
    Object.assign(this.bars, {
      width: width * devicePixelRatio,
      height: height * devicePixelRatio,
    });
    const context = this.bars.getContext("2d");
    const { ink, line, soft, write } = colours;
    context.scale(devicePixelRatio, devicePixelRatio);
    context.fillStyle = `rgb(${line})`;
    context.fillRect(0, height - 1, width, 1);
    const { kl = [], steps = 1 } = this.film ?? {};
    const most = Math.max(...kl, 1e-9);
    const each = width / steps;
    kl.forEach((nats, i) => {
      const bar = Math.max(1, (nats / most) * (height - 2));
      context.fillStyle = `rgb(${i + 1 === t ? write : i < t ? ink : soft})`;
      context.fillRect(i * each, height - bar, Math.max(1, each - Math.min(3, each / 4)), bar);
    });
  }

  /** In words what the bars show. */
  tellBars(t) {
    const { kl = [] } = this.film ?? {};
    const told = kl.map((nats) => nats.toFixed(1));
    const most = kl.indexOf(Math.max(...kl));
    const now = t > 0 ? `step ${t}: ${told[t - 1]} nats; ` : "";
    const peak = `${now}highest ${told[most]} at step ${most + 1}`;
    this.find(".peak").textContent = this.film ? peak : "";
    this.bars.setAttribute("aria-label", ["Nats spent at each step", ...told].join(", "));
  }

  /** What has been spent so far, and what the pixels would still cost. */
  tell(t) {
    const { kl, logLikelihood, steps } = this.film ?? {};
    const latent = kl?.slice(0, t).reduce((sum, nats) => sum + nats, 0);
    const parts = { ".latent": latent, ".pixels": -logLikelihood?.[t] };
    parts[".bound"] = parts[".latent"] + parts[".pixels"]; // eq. 12
    for (const [name, nats] of Object.entries(parts)) {
      this.find(name).textContent = this.film ? nats.toFixed(1) : "–";
    }
    this.find(".says").textContent =
      t === steps ? "nats, a sample of the bound" : "nats, if it stopped here";
  }
}
