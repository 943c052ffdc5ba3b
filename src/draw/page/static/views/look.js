/** The model reconstructs the visitor's picture, at a cost in nats. */

import { drawBars, drawHistogram, drawStack, shareBelow } from "../charts.js";
import { PRESETS } from "../examples.js";
import { blank, frame } from "../pictures.js";
import { Source } from "../source.js";
import { FilmView } from "./film.js";

const FIRST_EXAMPLE = 1; // a five
const UNITS = { nats: 1, bits: Math.LOG2E }; // per nat
const USED = 0.01; // nats; a latent dimension with less says next to nothing

export class Look extends FilmView {
  constructor(root, app) {
    super(root, app, 3, ["read", "write"]);
    this.canvases = [".input", ".error", ".canvas"].map((name) => this.find(name));
    this.bars = this.find(".bars");
    this.pixels = null;
    this.source = new Source(this, { changed: () => this.restart(), examples: PRESETS });
    this.pointed = null; // the glimpse under the pointer
    this.setUnit("nats");
    for (const button of root.querySelectorAll("[data-unit]")) {
      button.addEventListener("click", () => {
        this.setUnit(button.dataset.unit);
        this.redraw();
      });
    }
    this.initBars();
  }

  /** Pointing at a bar shows its latent dimensions; pressing it seeks. */
  initBars() {
    const glimpseAt = ({ offsetX }) => 1 + Math.floor((offsetX / this.bars.clientWidth) * this.film.glimpses);
    const seek = (event) => {
      if (!this.film) return;
      const glimpse = Math.min(this.film.glimpses, Math.max(1, glimpseAt(event)));
      this.pointed = event.pointerType === "mouse" ? glimpse : null;
      if (event.buttons & 1) this.player.seek(glimpse); // the main button, a finger or a pen
      else this.drawCharts(this.player.t);
    };
    this.bars.addEventListener("pointerdown", (event) => {
      this.bars.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.bars.addEventListener("pointermove", seek);
    this.bars.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.drawCharts(this.player.t);
    });
  }

  get film() {
    return this.films[0];
  }

  get settings() {
    return { ...this.source.settings, seed: this.seed };
  }

  async open(settings) {
    this.pixels = null;
    const signal = this.startView(settings);
    const { height, width } = this.app.model.config;
    this.find(".size").textContent = `${width} × ${height}`;
    await this.source.open(settings, FIRST_EXAMPLE);
    if (signal.aborted) return;
    this.prepare();
    await this.rerun(this.seed, settings.t);
  }

  /** Reconstructs the picture after it has changed. */
  restart() {
    this.prepare();
    return this.rerun(this.seed);
  }

  /** Takes the image that the model receives. */
  prepare() {
    this.films = [];
    this.again.disabled = true;
    this.pixels = this.source.image;
    if (this.source.isEmpty) this.setStatus("Draw a digit on the pad");
    this.player.hold(0);
  }

  /** Reconstructs the image with the noise of a seed. */
  async rerun(seed, t) {
    const signal = this.startRun();
    this.seed = seed;
    if (this.source.isEmpty) return this.app.remember({});
    this.remember(t ?? null); // so that the picture is stored before the film is finished
    if (!(await this.ready(signal))) return;
    this.again.disabled = true;
    const args = { pixels: this.pixels, seed };
    for await (const { films } of this.app.run("reconstruct", args, signal)) {
      this.films = films;
      this.setStatus(this.source.message);
      this.saveButton.disabled = this.again.disabled = false;
      this.start(t);
    }
  }

  draw(t, resting) {
    super.draw(t, resting);
    this.drawCharts(t);
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
    return [{ ...input, windows }, { ...empty, values: error, windows }, canvas];
  }

  /** Draws the charts and describes them in words. */
  drawCharts(t) {
    const { kl = [], logLikelihood = [] } = this.film ?? {};
    const shown = this.pointed ?? t;
    const colourOf = (i) => (i + 1 === shown ? "write" : i < t ? "ink" : "soft");
    drawBars(this.bars, kl, colourOf);
    const latent = logLikelihood.map((_, i) => kl.slice(0, i).reduce((sum, nats) => sum + nats, 0));
    drawStack(this.find(".stack"), latent, logLikelihood.map((nats) => -nats), this.film ? t : null);
    const dimensions = this.film && shown > 0 ? this.dimensions(shown) : [];
    drawBars(this.find(".dimensions"), dimensions, () => "ink");
    const used = dimensions.filter((nats) => nats > USED).length;
    this.find(".used").textContent = dimensions.length
      ? `glimpse ${shown}: ${used} of ${dimensions.length} with more than ${Number((USED * UNITS[this.unit]).toFixed(3))} ${this.unit}`
      : "";
    const amounts = kl.map((value) => this.amount(value));
    const peak = kl.indexOf(Math.max(...kl));
    const current = shown > 0 ? `glimpse ${shown}: ${amounts[shown - 1]} ${this.unit}; ` : "";
    const description = `${current}highest ${amounts[peak]} at glimpse ${peak + 1}`;
    this.find(".peak").textContent = this.film ? description : "";
    this.bars.setAttribute("aria-label", [`${capital(this.unit)} per glimpse`, ...amounts].join(", "));
  }

  /** Returns the nats of each latent dimension in glimpse t (terms of eqs. 10, 11). */
  dimensions(t) {
    const { mu, log_sigma } = this.film.inside[t - 1];
    return Array.from(mu, (m, i) => (m ** 2 + Math.exp(2 * log_sigma[i]) - 1) / 2 - log_sigma[i]);
  }

  /** Formats nats in the visitor's unit. */
  amount(nats) {
    const number = nats * UNITS[this.unit];
    return format(number, digitsOf(number));
  }

  /** Shows the cost of the latents so far, and that of the pixels given the current canvas. */
  showCosts(t) {
    const { kl, logLikelihood, glimpses } = this.film ?? {};
    const latent = kl?.slice(0, t).reduce((sum, nats) => sum + nats, 0);
    const bound = latent - logLikelihood?.[t]; // eq. 12
    const scale = UNITS[this.unit];
    const digits = digitsOf(bound * scale);
    const [first, sum] = [latent, bound].map((nats) => Number((nats * scale).toFixed(digits)));
    const parts = { ".latent": first, ".pixels": sum - first, ".bound": sum };
    for (const [name, number] of Object.entries(parts)) {
      this.find(name).textContent = this.film ? format(number, digits) : "–"; // they add up
    }
    const meaning = t === glimpses ? "one-sample bound" : "if stopped here";
    this.find(".meaning").textContent = `${this.unit}, ${meaning}`;
    const dimensions = this.pixels?.length * Math.LN2;
    const { likelihood } = this.app.model.config; // a Bernoulli bound is not in bits per dimension
    this.find(".per-dimension").textContent =
      this.film && likelihood !== "bernoulli"
        ? `${(bound / dimensions).toFixed(2)} bits per dimension`
        : "";
    this.showComparison();
  }

  /** Compares the cost of the finished copy with those of validation images. */
  showComparison() {
    const { costs } = this.app.model;
    this.find(".compared").hidden = !costs;
    if (!costs) return;
    const { kl, logLikelihood } = this.film ?? {};
    const total = this.film && kl.reduce((sum, nats) => sum + nats, 0) - logLikelihood.at(-1);
    drawHistogram(this.find(".histogram"), costs, total, UNITS[this.unit]);
    const images = `${costs.images.toLocaleString("en")} validation images`;
    const mean = `${this.amount(costs.mean)} ${this.unit} on average`;
    const share = this.film && Math.min(99, Math.round(100 * shareBelow(costs, total)));
    const yours = this.film
      ? `; yours costs ${this.amount(total)}, and ${100 - share}% of them cost more`
      : "";
    this.find(".rank").textContent = `${images} cost ${mean}${yours}`;
    this.find(".histogram").setAttribute("aria-label", `Histogram: ${images} cost ${mean}${yours}`);
  }

  setUnit(unit) {
    this.unit = unit;
    for (const button of this.root.querySelectorAll("[data-unit]")) {
      button.ariaPressed = String(button.dataset.unit === unit);
    }
  }
}

const digitsOf = (number) => (Math.abs(number) < 1000 ? 1 : 0); // digits after the decimal point

const format = (number, digits) =>
  number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

const capital = (word) => word[0].toUpperCase() + word.slice(1);
