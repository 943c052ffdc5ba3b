/** An attention window to move by hand: equations 19 to 29 without a model. */

import { digits, parseInteger } from "../address.js";
import { box, centre, filterbanks, read, write } from "../attention.js";
import { EXAMPLES, exampleButtons } from "../examples.js";
import { create, drawFilters, setAttributes } from "../filters.js";
import { fromText, imageOf, isInk, rasterise } from "../ink.js";
import { ARROWS } from "../pad.js";
import { Photo, usesOwnFile } from "../photo.js";
import { colours, show } from "../pictures.js";
import { save } from "../save.js";

const FIRST_PICTURE = "3";
const SIDE = 28; // default side of the picture, pixels
const START = { g_x: 14.5, g_y: 14.5, delta: 4, sigma: 1, gamma: 1, n: 5 };

/** The limits of settings, as [lowest, highest]; a network's window can lie beyond the sliders. */
const LIMITS = {
  g_x: [-1000, 1000],
  g_y: [-1000, 1000],
  delta: [0.01, 1000],
  sigma: [0.01, 1000],
  gamma: [0.0001, 1000],
  n: [1, 12],
};

/** Returns the ranges of the sliders as [lowest, highest, step]. */
const rangesFor = (size) => ({
  g_x: [-4, size + 5, 0.01],
  g_y: [-4, size + 5, 0.01],
  delta: [0.05, Math.max(12, size / 2), 0.01],
  sigma: [0.05, Math.max(6, size / 6), 0.01],
  gamma: [0.05, 8, 0.01],
  n: [1, 12, 1],
});

export class Sandbox {
  constructor(root, app) {
    this.app = app;
    this.root = root;
    this.values = { ...START };
    this.picked = null; // [i, j], the patch pixel under the pointer
    for (const name of Object.keys(START)) {
      const input = this.find(`[name=${name}]`);
      input.addEventListener("input", () => this.change({ [name]: Number(input.value) }));
    }
    this.find(".reset").addEventListener("click", () => this.change(START));
    this.markExample = exampleButtons(this.find(".examples"), (name) => {
      this.setPicture(name);
      this.change({});
    });
    this.photos = new Photo(this, { changed: () => this.takePhoto() });
    this.setPicture(FIRST_PICTURE);
    for (const svg of root.querySelectorAll(".filters")) svg.setAttribute("viewBox", "0 0 1 1");
    this.initPointer();
    this.initPatch();
  }

  find(name) {
    return this.root.querySelector(name);
  }

  async open(settings) {
    const { app } = this;
    const opening = (this.opening = {});
    const isPhoto = !isInk(app.model.config);
    this.isAddressed = Object.keys(settings).length > 0;
    this.find(".examples").hidden = isPhoto;
    this.find(".photos").hidden = this.find(".file").hidden = !isPhoto;
    if (isPhoto) await this.photos.open(settings.photo, 0);
    if (app.view !== this || this.opening !== opening) return;
    if (this.isAddressed) this.values = { ...START }; // settings that are not given have defaults
    if (isPhoto) this.setPhoto();
    else if (this.isAddressed || this.photo) {
      const size = parseInteger(settings.size, 8, 128);
      const known = Object.hasOwn(EXAMPLES, settings.picture) ? settings.picture : FIRST_PICTURE;
      this.setPicture(known, settings.ink, size);
    }
    const values = Object.keys(START).map((name) => [name, Number(settings[name])]);
    this.change(Object.fromEntries(values.filter(([, value]) => Number.isFinite(value))));
  }

  close() {}

  /** Draws an example, or else the strokes in `ink`, as the picture, with intensities in [0, 1]. */
  setPicture(picture, ink = "", size = SIDE) {
    const strokes = ink ? fromText(ink) : [];
    const pixels = strokes.length
      ? imageOf(strokes, { height: size, width: size })
      : rasterise(EXAMPLES[picture], size, size);
    this.use(pixels, size, { picture, ink: ink || undefined });
  }

  /** Shows another photo that the visitor has chosen. */
  takePhoto() {
    this.setStatus("");
    this.setPhoto();
    this.change({});
  }

  /** Uses the chosen photo, extended to a square on the right or below, where coordinates end. */
  setPhoto() {
    const { height, width, channels, values } = this.photos.picture;
    const size = Math.max(height, width);
    const pixels = new Uint8Array(channels * size ** 2);
    for (let row = 0; row < channels * height; row++) {
      const [channel, y] = [Math.floor(row / height), row % height];
      pixels.set(values.subarray(row * width, (row + 1) * width), (channel * size + y) * size);
    }
    this.use(pixels, size, { photo: this.photos.name });
  }

  setStatus(text) {
    this.find(".status").textContent = text;
  }

  /** Uses bytes [channels, size, size] as the picture, which the settings name. */
  use(pixels, size, { picture, ink, photo }) {
    Object.assign(this, { size, picture, ink, photo });
    this.markExample(ink ? -1 : Object.keys(EXAMPLES).indexOf(picture));
    this.channels = pixels.length / size ** 2;
    this.image = Float32Array.from(pixels, (byte) => byte / 255);
    this.ranges = rangesFor(size);
    for (const [name, [min, max, step]] of Object.entries(this.ranges)) {
      Object.assign(this.find(`[name=${name}]`), { min, max, step });
    }
    this.find(".overlay").setAttribute("viewBox", `0.5 0.5 ${size} ${size}`); // 1-based
  }

  /** Sets values, limited to `LIMITS` and rounded. */
  change(values) {
    for (const [name, value] of Object.entries(values)) {
      const [low, high] = LIMITS[name];
      const limited = Math.min(high, Math.max(low, value));
      this.values[name] = name === "n" ? Math.round(limited) : Number(digits(limited));
    }
    const { picture, ink, photo, size } = this;
    const first = { ...START, picture: FIRST_PICTURE, size: SIDE };
    const changed = Object.entries({ ...this.values, picture, ink, photo, size }).filter(
      ([name, value]) => value !== first[name],
    );
    this.app.remember(Object.fromEntries(changed));
    this.redraw();
  }

  /** Dragging the window moves it; dragging its corner changes the stride. */
  initPointer() {
    const overlay = this.find(".overlay");
    const place = ({ clientX, clientY }) => {
      const { left, top, width } = overlay.getBoundingClientRect();
      return [clientX, clientY].map((at, axis) => 0.5 + ((at - [left, top][axis]) / width) * this.size);
    };
    let drag = null;
    overlay.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      overlay.setPointerCapture(event.pointerId);
      const [x, y] = place(event);
      const { g_x, g_y, delta, n } = this.values;
      const corner = event.target.classList.contains("grip");
      const offset = corner ? (n * delta) / 2 : 0; // from the window's centre
      drag = { corner, from: [x - g_x - offset, y - g_y - offset] };
      if (event.target === overlay) drag.from = [0, 0]; // outside: the window jumps there
      event.preventDefault();
      move(event);
    });
    const move = (event) => {
      if (!drag || !event.isPrimary) return;
      const [x, y] = place(event).map((at, axis) => at - drag.from[axis]);
      const { g_x, g_y, n } = this.values;
      if (drag.corner) this.change({ delta: (2 * Math.max(x - g_x, y - g_y)) / n });
      else this.change({ g_x: x, g_y: y });
    };
    overlay.addEventListener("pointermove", move);
    overlay.addEventListener("lostpointercapture", () => (drag = null));
  }

  initPatch() {
    const patch = this.find(".patch");
    const pick = (picked) => {
      this.picked = picked;
      this.redraw();
    };
    const point = ({ offsetX, offsetY }) => {
      const { n } = this.values;
      const at = (offset) => Math.floor((offset / patch.clientWidth) * n);
      pick([offsetX, offsetY].map((offset) => Math.min(n - 1, Math.max(0, at(offset)))));
    };
    patch.addEventListener("pointerdown", point);
    patch.addEventListener("pointermove", point);
    patch.addEventListener("keydown", (event) => {
      const move = ARROWS[event.key];
      if (!move) return;
      const last = this.values.n - 1;
      const from = this.picked ?? [-move[0], -move[1]];
      pick(from.map((at, axis) => Math.min(last, Math.max(0, at + move[axis]))));
      event.preventDefault();
    });
    patch.addEventListener("blur", () => pick(null));
    patch.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType === "mouse") pick(null); // a finger also leaves when it is lifted
    });
  }

  redraw() {
    this.photos.draw();
    const { sigma, n, ...rest } = this.values;
    const window = { ...rest, sigma2: sigma ** 2 };
    const { F_x, F_y } = filterbanks(window, this.size, this.size, n);
    const size = [this.channels, this.size, this.size];
    const patch = read(this.image, ...size, window, n);
    const plain = read(this.image, ...size, { ...window, gamma: 1 }, n);
    const back = write(plain, ...size, window, n);
    if (this.picked && Math.max(...this.picked) >= n) this.picked = null;
    show(this.find(".image"), this.litPicture(F_x, F_y));
    const brightest = Math.max(...back, 1e-9); // far below 1 if the window is large
    show(this.find(".patch"), this.pictureOf(patch, n));
    if (this.picked) this.mark(this.find(".patch"), this.picked, n);
    const scaled = back.map((value) => value / (brightest * window.gamma)); // ink at gamma = 1
    show(this.find(".back"), this.pictureOf(scaled, this.size));
    this.find(".brightest").textContent = brightest.toFixed(2);
    this.drawOverlay(window, n);
    drawFilters(this.find(".filters.x"), F_x, this.size, this.picked?.[0]);
    drawFilters(this.find(".filters.y"), F_y, this.size, this.picked?.[1]);
    this.drawNumbers(window, n);
  }

  pictureOf(intensities, size) {
    const values = Uint8ClampedArray.from(intensities, (value) => 255 * value);
    return { height: size, width: size, channels: this.channels, photo: Boolean(this.photo), values };
  }

  /** Saves the picture with its window, in a format of `save.js`. */
  async save(format, hasCaption) {
    const { sigma, n, ...rest } = this.values;
    const windows = [{ window: { ...rest, sigma2: sigma ** 2 }, n, kind: "read" }];
    const picture = { ...this.pictureOf(this.image, this.size), windows };
    const captions = hasCaption ? [this.caption] : undefined;
    await save("draw-window", format, { sheets: [[picture]], captions, columns: 1 });
  }

  /** The numbers of the window, and a link that shows it again unless the picture is the visitor's. */
  get caption() {
    const { g_x, g_y, delta, sigma, n } = this.values;
    const numbers = [`(${g_x.toFixed(2)}, ${g_y.toFixed(2)})`, `δ ${delta.toFixed(2)}`, `σ ${sigma.toFixed(2)}`];
    const text = `DRAW window, ${n} × ${n} at ${numbers.join(", ")}`;
    return { text, link: usesOwnFile({ photo: this.photo }) ? undefined : location.href };
  }

  /** Returns the picture, with a glow where the filters of the selected patch pixel look. */
  litPicture(F_x, F_y) {
    const picture = this.pictureOf(this.image, this.size);
    if (!this.picked) return picture;
    const [i, j] = this.picked;
    const weights = Float32Array.from({ length: this.size ** 2 }, (_, at) => {
      const [row, column] = [Math.floor(at / this.size), at % this.size];
      return F_x[i * this.size + column] * F_y[j * this.size + row];
    });
    const largest = Math.max(...weights);
    return { ...picture, glow: weights.map((weight) => weight / largest) };
  }

  /** Outlines the selected pixel [i, j] of the patch. */
  mark(canvas, [i, j], n) {
    const context = canvas.getContext("2d");
    const side = canvas.width / n;
    const line = Math.max(2, Math.round(canvas.width / 56));
    context.strokeStyle = `rgb(${colours.read})`;
    context.lineWidth = line;
    context.strokeRect(i * side + line / 2, j * side + line / 2, side - line, side - line);
  }

  drawOverlay(window, n) {
    const { left, top, right, bottom } = box(window, n);
    const set = (name, attributes) => setAttributes(this.find(name), attributes);
    const extent = { x: left, y: top, width: right - left, height: bottom - top };
    set(".frame", { ...extent, "stroke-width": Math.sqrt(window.sigma2) });
    set(".edge", extent);
    const visible = (edge) => Math.min(this.size, Math.max(1, edge));
    const corner = { cx: visible(right), cy: visible(bottom) };
    set(".corner", { ...corner, r: 0.7 });
    set(".grip", { ...corner, r: 1.6 }); // at least 26 pixels wide on a small phone
    const [xs, ys] = [centres(window.g_x, window.delta, n), centres(window.g_y, window.delta, n)];
    const dots = ys.flatMap((cy) => xs.map((cx) => create("circle", { cx, cy, r: 0.18 })));
    this.find(".dots").replaceChildren(...dots);
  }

  drawNumbers({ g_x, g_y, delta, sigma2, gamma }, n) {
    for (const [name, value] of Object.entries(this.values)) {
      const input = this.find(`[name=${name}]`);
      const [low, high] = this.ranges[name];
      input.value = value;
      const done = (value - low) / (high - low);
      input.style.setProperty("--done", Math.min(1, Math.max(0, done)));
      input.nextElementSibling.textContent = name === "n" ? value : digits(value);
    }
    const list = (g) => {
      const all = centres(g, delta, n).map((mu) => number(mu, 1));
      return n <= 4 ? all.join(", ") : [...all.slice(0, 2), "…", all.at(-1)].join(", ");
    };
    const numbers = {
      g_x_raw: number((2 * g_x) / (this.size + 1) - 1, 2),
      g_y_raw: number((2 * g_y) / (this.size + 1) - 1, 2),
      delta_raw: number(Math.log((delta * Math.max(n - 1, 1)) / (this.size - 1)), 2),
      mu_x: list(g_x),
      mu_y: list(g_y),
      sigma_raw: number(Math.log(sigma2), 2),
      gamma_raw: number(Math.log(gamma), 2),
    };
    for (const [name, text] of Object.entries(numbers)) this.find(`.${name}`).textContent = text;
  }
}

/** Returns the centres of the N filters along one axis. */
const centres = (g, delta, n) => Array.from({ length: n }, (_, i) => centre(g, delta, n, i + 1));

/** Formats a number with a typographic minus sign. */
const number = (value, digits) => value.toFixed(digits).replace("-", "−");
