/** One glimpse, stage by stage: what the network sees, sends and draws, with all its numbers. */

import { parseInteger } from "../address.js";
import { filterbanks, write } from "../attention.js";
import { describe } from "../diagram.js";
import { Flow } from "../flow.js";
import { LIKELIHOODS } from "../likelihoods.js";
import { blank, frame, show } from "../pictures.js";
import { Choice } from "../source.js";
import { quantile, signed, strip } from "../strips.js";
import { LAST, READ, SEND, StagePlayer, WRITE } from "../stages.js";
import { Story } from "../story.js";
import { FilmView } from "./film.js";

const FIRST_PICTURE = 2; // a five
const SAMPLES = 24; // per seed, as in Paint
const MAX_GLIMPSE = 9999; // later glimpses of the address show the last one
const MAX_WAIT_MS = 300; // of loading, before a sample is shown instead

export class Glimpse extends FilmView {
  constructor(root, app) {
    super(root, app, 1, ["read", "write"]);
    this.boxes = [...root.querySelectorAll(".box")];
    const [input, reading, encoder, prior, message, decoder, writing, before, stroke, after] = this.boxes;
    const sizes = new ResizeObserver(() => this.layout());
    for (const box of [this.find(".flow"), ...this.boxes]) sizes.observe(box);
    const links = [[input, reading], [reading, encoder], [encoder, message], [message, decoder]];
    links.push([decoder, writing], [writing, before], [before, stroke], [stroke, after]);
    links.push([prior, message]);
    this.flow = new Flow(this.find(".flow"), links);
    const loop = (name, ...rest) => [`path.${name}`, `text.${name}`].map((part) => this.find(part)).concat(rest);
    this.loops = [loop("look", decoder, reading, 26), loop("canvas", after, input, 8)];
    this.pointed = null; // the stage of the box under the pointer or with the focus
    for (const box of this.boxes) {
      const stage = Number(box.dataset.stage);
      const point = (to) => () => this.point(to);
      Object.assign(box, { onpointerenter: point(stage), onpointerleave: point(null) });
      Object.assign(box, { onfocus: point(stage), onblur: point(null) });
      box.onclick = () => this.player.seek(this.player.t, stage);
    }
    this.source = new Choice(this, { changed: () => this.rerun(this.seed) });
    this.story = new Story(this);
    for (const button of root.querySelectorAll("[data-set]")) {
      button.onclick = () => this.setMode(button.dataset.set);
    }
  }

  createPlayer() {
    const moved = (along) => this.flow.move(this.player.isDetailed ? this.player.stage : null, along);
    return new StagePlayer(this.find(".player"), () => this.draw(), moved, () => this.remember());
  }

  get film() {
    return this.films[0];
  }

  get settings() {
    const { mode, index, seed } = this;
    const { stage, playing } = this.player;
    const story = this.story.number;
    const shared = { seed, stage: playing || stage === LAST ? undefined : stage, story };
    return mode === "copy" ? { ...this.source.settings, ...shared } : { mode, index, ...shared };
  }

  reset() {
    super.reset();
    this.mode = this.index = undefined;
  }

  async open(settings) {
    this.pixels = null;
    const signal = this.startView(settings);
    const { mode, index, t, stage } = { ...this.story.open(settings.story), ...settings };
    this.mode = mode === "dream" ? mode : (this.mode ?? "copy");
    this.index = parseInteger(index, 0, SAMPLES - 1) ?? this.index ?? 0;
    this.describe();
    this.player.hold(1);
    await this.source.open(settings, FIRST_PICTURE);
    if (signal.aborted) return;
    this.setStatus("Loading the pictures");
    const trace = await this.app.trace().catch(() => []); // before the weights: it is smaller
    if (signal.aborted) return;
    const { model } = this.app;
    const isWaiting = () => model === this.app.model && !this.stop.signal.aborted;
    const timer = setTimeout(() => isWaiting() && this.preview(trace), MAX_WAIT_MS);
    await this.rerun(this.seed, t, parseInteger(stage, 0, LAST)).finally(() => clearTimeout(timer));
  }

  /** Shows a sample of the trace, of which only the canvas is known, while the weights are loaded. */
  preview([film]) {
    if (!film || this.film) return;
    this.films = [film];
    this.describe();
    this.player.begin();
  }

  setMode(mode) {
    this.mode = mode;
    return this.rerun(this.seed);
  }

  /** Copies the picture, or generates one, with the noise of a seed. */
  async rerun(seed, t, stage = LAST) {
    const signal = this.startRun();
    this.seed = seed;
    this.again.disabled = true;
    this.describe();
    this.pixels = this.source.image;
    this.source.draw();
    if (!(await this.ready(signal))) return;
    this.again.disabled = true;
    const { pixels, index } = this;
    const [task, args] = this.mode === "copy" ? ["reconstruct", { pixels, seed }] : ["dream", { seed, index }];
    for await (const { films } of this.app.run(task, args, signal)) {
      this.films = films;
      this.describe();
      this.again.disabled = this.saveButton.disabled = false;
      const glimpse = parseInteger(t, 1, MAX_GLIMPSE);
      if (glimpse === undefined) this.player.begin();
      else this.player.hold(glimpse, stage);
      this.remember();
    }
  }

  /** Shows the text for the mode and the model. */
  describe() {
    const { config } = this.app.model;
    for (const element of this.root.querySelectorAll("[data-mode]:not(article)")) {
      element.hidden = element.dataset.mode !== this.mode;
    }
    for (const button of this.root.querySelectorAll("[data-set]")) {
      button.ariaPressed = String(button.dataset.set === this.mode);
    }
    const isDream = this.mode === "dream";
    this.player.start = isDream ? SEND : 0;
    this.columns = isDream ? 3 : 5;
    const isSample = this.film && !this.film.inside;
    this.find(".flow").classList.toggle("waiting", Boolean(isSample));
    this.find(".flow").classList.toggle("dreaming", isDream);
    const { read_size: N, write_size: n, channels } = config;
    const count = channels * N ** 2;
    const word = { 1: "one", 4: "four", 9: "nine" }[count] ?? count;
    const noun = count === 1 ? "number" : "numbers";
    const numbers = {
      count: config.glimpses,
      fact:
        `Through its window of ${N} × ${N} filters, the encoder sees only ${word} ${noun} of the picture ` +
        `and ${word} of what is missing.`,
      "grid-size": `${N} × ${N}`,
      numbers: `${2 * channels * N ** 2} numbers`,
      "hidden-size": config.hidden_size,
      "latent-size": config.latent_size,
      "write-size": `${n} × ${n}`,
    };
    this.write(numbers);
  }

  /** Puts texts in all places of the view that have these class names. */
  write(texts) {
    for (const [name, text = ""] of Object.entries(texts)) {
      for (const place of this.root.querySelectorAll(`.${name}`)) place.textContent = text;
    }
  }

  point(stage) {
    this.pointed = stage;
    this.draw();
  }

  layout() {
    this.flow.layout();
    const [look, canvas] = this.loops;
    const isDream = this.mode === "dream";
    this.flow.arc(...look);
    this.flow.arc(...(isDream ? canvas.with(3, this.find(".before")) : canvas));
    this.flow.move(this.player.stage < LAST ? this.player.stage : null, 0);
  }

  draw() {
    const { t, stage } = this.player ?? {};
    if (!t) return;
    const lit = this.pointed ?? stage;
    const { isDetailed } = this.player;
    for (const box of this.boxes) {
      const at = Number(box.dataset.stage);
      box.classList.toggle("ahead", isDetailed && at > stage);
      box.classList.toggle("lit", (isDetailed || this.pointed !== null) && at === lit);
    }
    for (const text of this.root.querySelectorAll(".explain p")) {
      const isMode = !text.dataset.mode || text.dataset.mode === this.mode;
      text.hidden = Number(text.dataset.stage) !== lit || !isMode;
    }
    this.flow.move(isDetailed && stage < LAST ? stage : null, 0);
    if (this.film?.inside) this.drawNumbers(t);
    this.drawPictures(t, lit);
  }

  /** Shows the pictures of glimpse t, with a glow where the pointed stage reads or writes. */
  drawPictures(t, lit) {
    for (const [name, picture] of Object.entries(this.picturesOf(t, lit))) {
      show(this.find(`canvas.${name}, .${name} canvas`), picture);
    }
  }

  /** Returns the pictures of a saved film, without those of the encoder in a sample. */
  sheet(t) {
    const pictures = Object.values(this.picturesOf(t));
    return this.mode === "dream" ? pictures.slice(2) : pictures;
  }

  /** A saved picture is the diagram as it is shown. */
  still() {
    return describe(this.find(".flow"));
  }

  /** Returns the pictures of glimpse t by name, with a glow at the stage `lit`. */
  picturesOf(t, lit) {
    const { config } = this.app.model;
    const empty = blank(config);
    const x = { ...empty, values: this.pixels ?? empty.values };
    const pictures = { x, "x-hat": empty, before: empty, stroke: empty, after: empty };
    if (this.film) {
      const { windows } = frame(this.film, t, ["read"]);
      const glow = lit === READ ? this.glow("read", t) : undefined;
      const previous = frame(this.film, t - 1);
      const error = Int16Array.from(pictures.x.values, (x, i) => x - previous.values[i]); // eq. 3
      pictures.x = { ...pictures.x, windows, glow };
      pictures["x-hat"] = { ...empty, values: error, windows, glow };
      pictures.before = previous;
      if (this.film.inside) pictures.stroke = { ...empty, values: this.stroke(t) };
      const written = lit === WRITE ? this.glow("write", t) : undefined;
      pictures.after = { ...frame(this.film, t, ["write"]), glow: written, glowKind: "write" };
    }
    for (const picture of Object.values(pictures)) picture.tagged = true;
    return pictures;
  }

  /** Returns how much the filters of a window weigh each pixel, relative to the largest weight. */
  glow(kind, t) {
    const { height, width } = this.film;
    const window = this.film[kind]?.[t - 1];
    if (!window) return undefined;
    const n = this.film[`${kind}Size`];
    const { F_x, F_y } = filterbanks(window, height, width, n);
    const sums = (F, size) => Float32Array.from({ length: size }, (_, a) => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += F[i * size + a];
      return sum;
    });
    const [xs, ys] = [sums(F_x, width), sums(F_y, height)];
    const largest = Math.max(...xs) * Math.max(...ys);
    return Float32Array.from({ length: height * width }, (_, i) => (xs[i % width] * ys[Math.floor(i / width)]) / largest);
  }

  /** Returns what glimpse t adds to the canvas, from -255 to 255 relative to its largest change. */
  stroke(t) {
    const { channels, height, width, writeSize } = this.film;
    const window = this.film.write?.[t - 1];
    const w = this.patch(t);
    return signed(window ? write(w, channels, height, width, window, writeSize) : w);
  }

  /** Returns the part of the patch w of glimpse t that changes the picture: its first planes. */
  patch(t) {
    const { channels, height, width, writeSize: n } = this.film;
    return this.film.inside[t - 1].w.subarray(0, channels * (n === null ? height * width : n ** 2));
  }

  /** Shows the patches and the vectors of glimpse t. */
  drawNumbers(t) {
    const { r, h_enc, z, h_dec } = this.film.inside[t - 1];
    const { channels, height, width, photo, readSize, writeSize } = this.film;
    const size = (n) => ({ height: n ?? height, width: n ?? width, channels, photo });
    if (r) {
      const half = r.length / 2;
      const scale = Math.max(1, ...r.subarray(0, half));
      const byte = (value) => 255 * Math.min(1, Math.max(-1, value / scale));
      const [seen, missing] = [r.subarray(0, half), r.subarray(half)];
      show(this.find(".r"), { ...size(readSize), values: Uint8ClampedArray.from(seen, byte) });
      const { errorScale } = LIKELIHOODS[this.app.model.config.likelihood];
      const errors = Int16Array.from(missing, (value) => byte(value / errorScale)); // as in x_hat
      show(this.find(".r-hat"), { ...size(readSize), values: errors });
    }
    show(this.find(".w"), { ...size(writeSize), values: signed(this.patch(t)) });
    for (const [name, values] of Object.entries({ "h-enc": h_enc, z, "h-dec": h_dec })) {
      if (values) show(this.find(`.${name}`), strip(values, this.largest(name.replace("-", "_"))));
    }
    const { kl } = this.film;
    const total = kl?.slice(0, t).reduce((sum, nats) => sum + nats, 0);
    this.write({ price: kl?.[t - 1].toFixed(2), total: total?.toFixed(1) });
  }

  /** Returns the magnitude below which nearly all numbers of a vector are, in the whole film. */
  largest(name) {
    this.film.largest ??= {};
    this.film.largest[name] ??= quantile(this.film.inside.map((glimpse) => glimpse[name]), 0.97);
    return this.film.largest[name];
  }
}
