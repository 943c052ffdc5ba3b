/** A classifier looks for the digit in a cluttered picture, after the visitor has guessed. */

import * as clutter from "../clutter.js";
import { Handles } from "../handles.js";
import { fromText, toText } from "../ink.js";
import { fetchJson, once } from "../loading.js";
import { Pad } from "../pad.js";
import { drawPath, frame, show } from "../pictures.js";
import { FilmView } from "./film.js";

const { DIGIT, SIZE } = clutter;
const CLASSES = 10;
const GLIMPSE_TIME = 900; // milliseconds, so that each glimpse can be followed

// The pad for the visitor's digit, which has nothing to do with the pads of other views.
const OWN = { model: { config: { height: DIGIT, width: DIGIT } }, drawings: new Map() };

/** Formats a share of 1 in percent, with one decimal near 0% and 100%. */
const percent = (share) =>
  `${(100 * share).toFixed(share > 0.005 && share < 0.995 ? 0 : 1).replace(/\.0$/, "")}%`;

export class Find extends FilmView {
  constructor(root, app) {
    super(root, app, 1, ["read"]);
    this.canvases = [this.find(".scene")];
    this.networks = [...app.classifiers].sort((a, b) => b.config.glimpses - a.config.glimpses);
    this.network = this.networks[0]; // its glimpses are shown
    this.files = new Map(); // name -> promise
    this.scene = null; // { seed, label, parts, isMoved }; the visitor's digit has no label, null
    this.results = []; // film of each network
    this.errors = []; // share of wrong test images after each glimpse, of each network
    this.score = { rounds: 0, visitor: 0, network: 0 };
    Object.assign(this.player, { maxTime: GLIMPSE_TIME, repeats: false });
    this.rows = this.createRows();
    this.initNetworks();
    this.handles = new Handles(this.canvases[0], {
      parts: () => this.scene?.parts ?? [],
      selected: () => this.redraw(),
      moved: () => this.moved(),
    });
    const own = { find: (name) => this.find(`.own ${name}`), app: OWN };
    this.pad = new Pad(own, { changed: () => this.replaceDigit() });
    this.source = this.pad;
    this.pad.open("", 0); // labels the examples
    this.pad.set([]);
  }

  get glimpses() {
    return this.network.config.glimpses;
  }

  get modelName() {
    return this.network.name;
  }

  get settings() {
    const { seed, glimpses, scene, network } = this;
    const places = scene?.isMoved ? clutter.toPlaces(scene.parts) : undefined;
    const ink = this.pad.strokes.length ? toText(this.pad.strokes) : undefined;
    return { seed, glimpses: network === this.networks[0] ? undefined : glimpses, places, ink };
  }

  /** Loads the networks and digits on the first visit, then shows the picture in the address. */
  async open(settings) {
    this.network =
      this.networks.find(({ config }) => String(config.glimpses) === settings.glimpses) ??
      this.networks[0];
    const signal = this.startView(settings);
    this.player.hold(0);
    this.update();
    const names = this.networks.map(({ name }) => name);
    const digits = once(this.files, "digits", clutter.loadDigits);
    const results = names.map((name) =>
      once(this.files, name, () => fetchJson(`models/${name}/results.json`)),
    );
    if (!(await this.ready(signal, ...names))) return;
    this.digits = await digits;
    this.errors = (await Promise.all(results)).map(testErrors);
    if (signal.aborted) return;
    if (this.isAddressed || this.scene?.seed !== this.seed) this.arrange(settings);
    await this.look(settings.t ?? "0");
  }

  /** Shows the picture of another seed. */
  rerun(seed) {
    this.seed = seed;
    this.pad.set([]);
    this.arrange({});
    return this.look("0");
  }

  /** Composes the picture of the seed, with the visitor's own digit and places. */
  arrange({ ink, places }) {
    this.scene = { seed: this.seed, ...clutter.compose(this.digits, this.seed) };
    this.guess = null;
    this.isRevealed = false; // whether the network's glimpses have been shown
    if (ink) this.pad.set(fromText(ink));
    this.useOwnDigit();
    this.scene.isMoved = clutter.applyPlaces(this.scene.parts, places);
    this.results = [];
    this.player.hold(0);
  }

  /** Replaces the hidden digit by the one on the pad. */
  useOwnDigit() {
    if (!this.pad.strokes.length) return;
    this.scene.parts[0].values = clutter.greyDigit(this.pad.strokes);
    this.scene.label = null;
  }

  /** Shows the visitor's digit in the place of the old one; an empty pad restores the first one. */
  async replaceDigit() {
    if (!this.scene) return;
    const places = clutter.toPlaces(this.scene.parts);
    this.arrange({ places });
    const isOwn = this.scene.label === null;
    await this.look(isOwn ? undefined : "0");
  }

  /** Classifies the picture with each network, then shows glimpse t or plays. */
  async look(t) {
    const signal = this.startRun();
    const pixels = clutter.flatten(this.scene.parts);
    this.redraw();
    const classify = async ({ name }) => {
      for await (const { films } of this.app.run("classify", { pixels }, signal, name)) {
        return films[0];
      }
    };
    const results = await Promise.all(this.networks.map(classify));
    if (signal.aborted) return;
    this.results = results;
    this.saveButton.disabled = false;
    this.start(t);
  }

  get film() {
    return this.results[this.networks.indexOf(this.network)];
  }

  // ------------------------------------------------------------------ the visitor's guess

  /** Creates a row for each digit: a button to guess it, and the bar of its probability. */
  createRows() {
    const rows = Array.from({ length: CLASSES }, (_, label) => {
      const row = this.find(".row").content.firstElementChild.cloneNode(true);
      const button = row.querySelector("button");
      button.textContent = label;
      button.addEventListener("click", () => this.choose(label));
      return row;
    });
    this.find(".digits").append(...rows);
    return rows;
  }

  /** Records the visitor's guess and plays the glimpses. */
  choose(label) {
    this.guess = label;
    const last = this.film.probabilities.at(-1);
    this.score.rounds += 1;
    this.score.visitor += Number(label === this.scene.label);
    this.score.network += Number(largest(last) === this.scene.label);
    this.player.begin();
    this.remember();
  }

  initNetworks() {
    const radios = [...this.root.querySelectorAll("[name=network]")];
    this.networks.forEach((network, i) => {
      radios[i].nextElementSibling.textContent = `${network.config.glimpses} glimpses`;
      radios[i].addEventListener("change", () => {
        const isFinished = this.player.t === this.player.last;
        this.network = network;
        this.player.load(this.glimpses);
        if (isFinished) this.player.hold(this.glimpses);
        this.remember();
      });
    });
    this.radios = radios;
  }

  /** After a part was moved, shows the new result, or the new picture if it is still a riddle. */
  moved() {
    this.scene.isMoved = true;
    if (!this.isRevealed) this.results = []; // the visitor can guess once the new ones are there
    this.remember();
    this.look(this.isRevealed ? String(this.glimpses) : "0");
  }

  // ------------------------------------------------------------------ drawing

  /** Returns the picture with the current window. */
  pictures(t) {
    const values = this.scene ? clutter.flatten(this.scene.parts) : new Uint8Array(SIZE ** 2);
    const windows = this.film ? frame(this.film, t, ["read"]).windows : [];
    return [{ height: SIZE, width: SIZE, channels: 1, values, windows }];
  }

  draw(t, resting) {
    if (this.player.playing || t > 0) this.isRevealed = Boolean(this.film);
    super.draw(t, resting);
    if (this.film) drawPath(this.canvases[0], this.film.read.slice(0, t), SIZE);
    this.handles.draw();
    this.drawPatch(t);
    this.update();
  }

  /** Shows the patch with its full contrast. */
  drawPatch(t) {
    const side = this.network.config.read_size;
    const patch = this.film?.patches[t - 1] ?? new Float32Array(side ** 2);
    const brightest = Math.max(...patch, 1e-9);
    const values = Uint8Array.from(patch, (value) =>
      Math.round((255 * Math.max(0, value)) / brightest),
    );
    show(this.find(".glimpse"), { height: side, width: side, channels: 1, values });
  }

  /** Updates the bars and everything in words. */
  update() {
    const { t, last } = this.player;
    const probabilities = this.film?.probabilities[t - 1];
    const best = probabilities && largest(probabilities);
    const canGuess = Boolean(this.film) && !this.isRevealed && this.scene.label !== null;
    this.rows.forEach((row, label) => {
      const share = probabilities?.[label];
      row.style.setProperty("--share", share ?? 0);
      row.classList.toggle("best", label === best);
      row.classList.toggle("true", t === last && label === this.scene?.label);
      row.querySelector("output").textContent = probabilities ? percent(share) : "";
      row.querySelector("button").disabled = !canGuess;
      row.querySelector("button").setAttribute("aria-pressed", label === this.guess);
    });
    this.radios.forEach((radio, i) => (radio.checked = this.networks[i] === this.network));
    if (this.film) this.setStatus(t === last ? this.verdict() : this.request(canGuess));
    this.find(".rates").textContent = this.rates(t);
    const { rounds, visitor, network } = this.score;
    const isLooking = t > 0 && t < last; // the score would give the result away
    this.find(".score").textContent =
      rounds && !isLooking
        ? `Score: you ${visitor} of ${rounds}, the network ${network} of ${rounds}`
        : "";
  }

  request(canGuess) {
    if (canGuess) return "Which digit is hidden here? Click its number.";
    return this.isRevealed ? "The bars show what the network believes." : "Press Play.";
  }

  /** Describes the result of each network, and the truth if it is known. */
  verdict() {
    const { label } = this.scene;
    const says = this.networks.map(({ config }, i) => {
      const probabilities = this.results[i].probabilities.at(-1);
      const best = largest(probabilities);
      const who = i === 0 ? "the network" : "the other network";
      return `After ${config.glimpses} glimpses, ${who} says ${best} (${percent(probabilities[best])}).`;
    });
    const truth = label === null ? "" : `It is a ${label}. `;
    const verdict = this.guess === label ? "You were right. " : `You said ${this.guess}. `;
    const visitor = this.guess === null ? "" : verdict;
    return `${truth}${visitor}${says.join(" ")}`;
  }

  /** Describes how often the networks are right. */
  rates(t) {
    if (!this.errors.length) return "";
    const right = (i, glimpse) => `${(100 * (1 - this.errors[i].at(glimpse))).toFixed(1)}%`;
    if (t === 0 || t === this.glimpses) {
      const all = this.networks.map(
        ({ config }, i) => `${right(i, -1)} with ${config.glimpses} glimpses`,
      );
      return `Right answers on 10,000 test pictures: ${all.join(", ")}.`;
    }
    const now = right(this.networks.indexOf(this.network), t - 1);
    return `After glimpse ${t}, the best guess is right on ${now} of 10,000 test pictures.`;
  }
}

/** Returns the index of the largest number. */
const largest = (numbers) => numbers.indexOf(Math.max(...numbers));

/** Returns the share of wrong test images after each glimpse from a results.json. */
const testErrors = ({ measured }) =>
  measured.find(({ split }) => split === "test").error_by_glimpse;
