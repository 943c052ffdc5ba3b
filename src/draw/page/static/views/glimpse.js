/** One glimpse, stage by stage: what the network sees, sends and draws, with all its numbers. */

import { parseInteger } from "../address.js";
import { filterbanks, write } from "../attention.js";
import { exampleButtons, examplesFor } from "../examples.js";
import { Flow } from "../flow.js";
import { digitShare, fromText, imageOf, toText } from "../ink.js";
import { blank, frame, show } from "../pictures.js";
import { Player } from "../player.js";
import { Story } from "../story.js";
import { FilmView } from "./film.js";

const FIRST_PICTURE = 2; // a five
const SAMPLES = 24; // per seed, as in Paint
const MAX_GLIMPSE = 9999; // later glimpses of the address show the last one
const STAGES = 7; // look, read, encode, send, decode, write, add
const LAST = STAGES - 1;
const PATIENCE = 300; // milliseconds of loading before a sample is shown instead
const SLOWEST = 4200; // milliseconds for the first glimpse that plays
const ACCELERATION = 0.8; // duration of a glimpse relative to the one before
const FASTEST = 220; // milliseconds per glimpse
const MIN_DETAILED = 1000; // shorter glimpses are shown as a whole

/** Plays the stages of each glimpse, slowly at first; `stage` is that of glimpse t = 1..T. */
class StagePlayer extends Player {
  constructor(root, draw, moved, settled) {
    super(root, draw, settled);
    this.moved = moved; // called with the fraction of the current stage
    this.stage = LAST;
    this.played = 0; // glimpses since the film started to play
    this.slider.min = 1;
  }

  load(glimpses) {
    super.load(glimpses, 1);
  }

  begin() {
    this.stage = 0;
    super.begin();
    if (!this.playing) this.hold(this.last);
  }

  hold(t, stage = LAST) {
    this.stage = stage;
    super.hold(Math.max(1, t));
  }

  step(direction) {
    const at = (this.t - 1) * STAGES + this.stage + direction;
    if (at < 0 || at >= this.last * STAGES) return;
    this.hold(1 + Math.floor(at / STAGES), at % STAGES);
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
    const due = isLast ? this.restTime : this.glimpseTime / (this.isDetailed ? STAGES : 1);
    if (now - this.since < due) return this.moved((now - this.since) / due);
    this.since = now - this.since > 2 * due ? now : this.since + due;
    if (isLast) {
      [this.t, this.stage, this.played] = [1, 0, 0];
    } else if (this.isDetailed && this.stage < LAST && this.t > 0) {
      this.stage += 1;
    } else {
      this.t += 1;
      this.played += 1;
      this.stage = this.isDetailed ? 0 : LAST;
    }
    this.show();
  }
}

export class Glimpse extends FilmView {
  constructor(root, app) {
    super(root, app, 1, ["read", "write"]);
    this.boxes = [...root.querySelectorAll(".box")];
    const [input, reading, encoder, message, decoder, writing, before, stroke, after] = this.boxes;
    const sizes = new ResizeObserver(() => this.layout());
    for (const box of this.boxes) sizes.observe(box);
    const links = [[input, reading], [reading, encoder], [encoder, message], [message, decoder]];
    links.push([decoder, writing], [writing, before], [before, stroke], [stroke, after]);
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
    const copies = { ink: toText(this.strokes) };
    const story = this.story.number;
    const shared = { seed, stage: playing || stage === LAST ? undefined : stage, story };
    return mode === "copy" ? { ...copies, ...shared } : { mode, index, ...shared };
  }

  reset() {
    super.reset();
    this.strokes = this.mode = this.index = undefined;
  }

  async open(settings) {
    const signal = this.startView(settings);
    const { ink, mode, index, t, stage } = { ...this.story.open(settings.story), ...settings };
    this.choosePicture(ink);
    this.mode = mode === "dream" ? mode : (this.mode ?? "copy");
    this.index = parseInteger(index, 0, SAMPLES - 1) ?? this.index ?? 0;
    this.pixels = imageOf(this.strokes, this.app.model.config);
    this.describe();
    this.player.hold(1);
    const trace = await this.app.trace().catch(() => []); // before the weights: it is smaller
    const timer = setTimeout(() => this.preview(trace, signal), PATIENCE);
    const isReady = await this.ready(signal);
    clearTimeout(timer);
    if (isReady) await this.rerun(this.seed, t, parseInteger(stage, 0, LAST));
  }

  /** Shows a sample of the trace, of which only the canvas is known, while the weights are loaded. */
  preview(trace, signal) {
    if (!trace.length || signal.aborted) return;
    this.films = [trace[0]];
    this.find(".flow").classList.add("dreaming");
    this.player.begin();
  }

  /** Chooses the strokes of the address, or the visitor's, or else those before or an example. */
  choosePicture(ink) {
    const { config } = this.app.model;
    const share = digitShare(config);
    const examples = examplesFor(config);
    const names = examples.map(([name]) => name);
    exampleButtons(this.find(".examples"), (_, i) => this.copy(examples[i][1]), names);
    const drawn = ink === undefined ? this.app.drawings.get(share) : fromText(ink);
    const before = share === this.share ? this.strokes : undefined;
    this.share = share;
    const known = [drawn, before].find((strokes) => strokes?.length);
    this.strokes = known ?? examples[FIRST_PICTURE][1];
  }

  copy(strokes) {
    this.strokes = strokes;
    return this.rerun(this.seed);
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
    this.pixels = imageOf(this.strokes, this.app.model.config);
    const { pixels, index } = this;
    const [task, args] = this.mode === "copy" ? ["reconstruct", { pixels, seed }] : ["dream", { seed, index }];
    for await (const { films } of this.app.run(task, args, signal)) {
      this.films = films;
      this.again.disabled = false;
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
    this.find(".flow").classList.toggle("dreaming", this.mode === "dream");
    const { read_size: N, write_size: n, channels } = config;
    const inWords = { 1: "one pixel", 4: "four pixels", 9: "nine pixels" }[N ** 2] ?? `${N ** 2} pixels`;
    const numbers = {
      count: config.glimpses,
      fact: `With its ${N} × ${N} window, it sees only ${inWords} of the picture and ${inWords.split(" ")[0]} of what is missing at a time.`,
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
    for (const loop of this.loops) this.flow.arc(...loop);
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
    const { config } = this.app.model;
    const empty = blank(config);
    const pictures = { x: { ...empty, values: this.pixels ?? empty.values }, before: empty, after: empty };
    pictures["x-hat"] = pictures.stroke = empty;
    if (this.film) {
      const { windows } = frame(this.film, t, ["read"]);
      const glow = lit === 1 ? this.glow("read", t) : undefined;
      const previous = frame(this.film, t - 1);
      const error = Int16Array.from(this.pixels, (x, i) => x - previous.values[i]); // eq. 3
      pictures.x = { ...pictures.x, windows, glow };
      pictures["x-hat"] = { ...empty, values: error, windows, glow };
      pictures.before = previous;
      if (this.film.inside) pictures.stroke = { ...empty, values: this.stroke(t) };
      const written = lit === 5 ? this.glow("write", t) : undefined;
      pictures.after = { ...frame(this.film, t, ["write"]), glow: written, glowKind: "write" };
    }
    for (const [name, picture] of Object.entries(pictures)) {
      show(this.find(`canvas.${name}, .${name} canvas`), { ...fitted(picture), tagged: true });
    }
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
    const { w } = this.film.inside[t - 1];
    const window = this.film.write?.[t - 1];
    return signed(window ? write(w, channels, height, width, window, writeSize) : w);
  }

  /** Shows the patches and the vectors of glimpse t. */
  drawNumbers(t) {
    const { r, h_enc, z, h_dec, w } = this.film.inside[t - 1];
    const { channels, height, width, readSize, writeSize } = this.film;
    const size = (n) => (n === null ? { height, width, channels } : { height: n, width: n, channels });
    if (r) {
      const half = r.length / 2;
      const scale = Math.max(1, ...r.subarray(0, half));
      const bytes = (values) => Int16Array.from(values, (v) => (255 * Math.min(1, Math.max(-1, v / scale))));
      show(this.find(".r"), fitted({ ...size(readSize), values: bytes(r.subarray(0, half)) }));
      show(this.find(".r-hat"), fitted({ ...size(readSize), values: bytes(r.subarray(half)) }));
    }
    show(this.find(".w"), fitted({ ...size(writeSize), values: signed(w) }));
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

/** Returns a quantile of the magnitudes in some vectors. */
function quantile(vectors, share) {
  const sorted = vectors.flatMap((vector) => [...vector].map(Math.abs)).sort((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))];
}

/** Scales values to -255..255, where 255 is the largest magnitude. */
function signed(values) {
  const largest = Math.max(1e-9, ...values.map(Math.abs));
  return Int16Array.from(values, (value) => (255 * value) / largest);
}

/** Converts a signed picture of a colour model, in which grey means no change. */
function fitted(picture) {
  const { channels, values } = picture;
  const isSigned = channels > 1 && values instanceof Int16Array;
  return isSigned ? { ...picture, values: values.map((value) => (value + 255) / 2) } : picture;
}

/** Arranges a vector as a strip of squares, from light (-largest) to dark (largest). */
function strip(vector, largest) {
  const columns = matchMedia("(max-width: 1100px)").matches ? 1 : 4; // squares, or strips
  const width = Math.ceil(Math.sqrt(vector.length / columns));
  const height = Math.ceil(vector.length / width);
  const shade = (value) => 127.5 * (1 + Math.min(1, Math.max(-1, value / largest)));
  const values = Uint8Array.from({ length: width * height }, (_, i) => shade(vector[i] ?? -largest));
  return { height, width, channels: 1, values };
}
