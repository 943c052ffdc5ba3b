/** Changes one picture into another: the noise of nine in-betweens lies between that of the two. */

import { parseInteger } from "../address.js";
import { blank, show, tiles } from "../pictures.js";
import { formatPosition } from "../player.js";
import { Source } from "../source.js";
import { FilmView } from "./film.js";

const STEPS = 10; // from the first picture to the second: nine in-betweens
const FIRST_EXAMPLES = [0, 3]; // a two and an eight
const PAUSE = 200; // milliseconds without a movement of the slider before a run starts
const MIXES = ["all", "first", "last"]; // which glimpses receive the noise of the second picture

export class Morph extends FilmView {
  constructor(root, app) {
    super(root, app, STEPS + 1);
    this.canvases = tiles(this.find(".tiles"), STEPS + 1, "Step", (step) => this.choose(step));
    this.large = this.find(".between");
    this.slider = this.find(".blend");
    this.slider.max = STEPS;
    this.slider.addEventListener("input", () => this.choose(Number(this.slider.value)));
    this.mix = this.find(".mix");
    this.mix.addEventListener("change", () => this.rerun(this.seed));
    this.count = this.find(".count");
    this.count.addEventListener("input", () => {
      this.label();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.rerun(this.seed), PAUSE);
    });
    this.sources = ["first", "second"].map((name) => this.createSource(name));
  }

  /** Creates the pad on one side; pictures on the second one do not appear in other views. */
  createSource(name) {
    const find = { value: (selector) => this.find(`.${name} ${selector}`) };
    const drawings = { value: name === "first" ? this.app.drawings : new Map() };
    const photo = { value: name === "first" ? this.app.photo : {} };
    const app = { value: Object.create(this.app, { drawings, photo }) };
    const setStatus = { value: (text) => this.setStatus(text) }; // both sides share it
    const view = Object.create(this, { find, app, setStatus });
    return new Source(view, { changed: () => this.rerun(this.seed) });
  }

  get settings() {
    const [a, b] = this.sources.map(({ settings }) => Object.values(settings)[0]);
    const mix = this.mix.value === MIXES[0] ? {} : { mix: this.mix.value, k: this.count.value };
    return { seed: this.seed, a, b, at: this.step, ...mix };
  }

  async open(settings) {
    const signal = this.startView(settings);
    this.step = parseInteger(settings.at, 0, STEPS) ?? (this.isAddressed ? undefined : this.step);
    this.step ??= STEPS / 2;
    const { glimpses } = this;
    this.count.max = glimpses;
    const k = parseInteger(settings.k, 1, glimpses);
    if (this.isAddressed) this.mix.value = MIXES.includes(settings.mix) ? settings.mix : MIXES[0];
    if (this.isAddressed || !this.opened) this.count.value = k ?? Math.round(glimpses / 2);
    this.opened = true;
    this.label();
    const names = [settings.a, settings.b].map((text) => ({ ink: text, photo: text }));
    await Promise.all(this.sources.map((source, i) => source.open(names[i], FIRST_EXAMPLES[i], i)));
    if (signal.aborted) return;
    this.player.hold(this.player.last);
    await this.rerun(this.seed, settings.t ?? String(glimpses));
  }

  close() {
    clearTimeout(this.timer);
    super.close();
  }

  /** Computes the pictures between the two on the pads; keeps the glimpse that is shown. */
  async rerun(seed, t = this.player.playing ? undefined : String(this.player.t)) {
    const signal = this.startRun();
    clearTimeout(this.timer);
    this.seed = seed;
    this.label();
    if (this.sources.some(({ isEmpty }) => isEmpty)) {
      this.films = [];
      this.player.hold(this.player.last);
      this.setStatus("Draw a digit on each pad");
      return this.remember();
    }
    this.remember();
    if (!(await this.ready(signal))) return;
    const { glimpses } = this;
    const k = Number(this.count.value);
    const range = { all: [0, glimpses], first: [0, k], last: [glimpses - k, glimpses] };
    const [a, b] = this.sources.map(({ image }) => image);
    const args = { a, b, seed, steps: STEPS, range: range[this.mix.value] };
    for await (const { films } of this.app.run("morph", args, signal)) {
      this.films = films;
      this.setStatus(this.sources.map(({ message }) => message).join(""));
      this.saveButton.disabled = false;
      this.start(t);
    }
  }

  /** Enlarges one step of the change. */
  choose(step) {
    this.step = step;
    this.label();
    this.redraw();
    this.remember();
  }

  /** Updates the sliders and everything in words. */
  label() {
    const { step, glimpses } = this;
    this.slider.value = step;
    this.slider.style.setProperty("--done", step / STEPS);
    const share = `${Math.round((100 * step) / STEPS)}%`;
    this.slider.setAttribute("aria-valuetext", `${share} of the second picture`);
    this.slider.nextElementSibling.textContent = share;
    const ends = { 0: "The first picture, as the network copies it" };
    if (this.mix.value === MIXES[0]) ends[STEPS] = "The second picture, as the network copies it";
    this.find(".which").textContent = ends[step] ?? `${share} of the way`;
    const k = Number(this.count.value);
    const isPartial = this.mix.value !== MIXES[0];
    this.find(".part").hidden = !isPartial;
    this.count.style.setProperty("--done", (k - 1) / Math.max(1, glimpses - 1));
    this.count.setAttribute("aria-valuetext", `${k} of ${glimpses} glimpses`);
    this.count.nextElementSibling.textContent = formatPosition(k, glimpses);
    this.canvases.forEach(({ parentElement: button }, i) => {
      button.setAttribute("aria-pressed", i === step);
    });
  }

  draw(t, resting) {
    super.draw(t, resting);
    const film = this.films[this.step];
    show(this.large, film ? this.frame(film, t, resting) : blank(this.app.model.config));
  }

  redraw() {
    for (const source of this.sources) source.draw();
    super.redraw();
  }
}
