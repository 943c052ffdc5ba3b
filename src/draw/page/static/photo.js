/** The picture for models of photos: a sample of the model, or a file of the visitor. */

import { parseInteger } from "./address.js";
import { isInk } from "./ink.js";
import { blank, show } from "./pictures.js";

const COUNT = 6; // samples to choose from
const OWN = "own"; // name of the visitor's file, which never leaves this page

/** Whether the settings of a view name the visitor's file, which no link can show again. */
export const usesOwnFile = (settings) => Object.values(settings).includes(OWN);

/** Returns the pictures to choose from, the last ones of the films in the sample trace. */
export async function choicesFor(app) {
  const empty = blank(app.model.config); // the visitor can change the model while the trace loads
  const films = await app.trace().catch(() => []); // reported where the trace itself is shown
  const size = empty.values.length;
  return films.slice(0, COUNT).map(({ means }) => ({ ...empty, values: means.slice(-size) }));
}

/** Returns the picture of the given name; undefined if there is none. */
export function photoNamed(app, choices, name) {
  const { config } = app.model;
  if (name !== OWN) return choices[parseInteger(name, 0, COUNT - 1)];
  return app.photo.file && { ...blank(config), values: scaled(app.photo.file, config) };
}

/** Crops the middle of an image and scales it: bytes [channels, height, width]. */
function scaled(image, { height, width, channels }) {
  const scale = Math.min(image.width / width, image.height / height);
  const [across, down] = [width * scale, height * scale]; // the part that remains
  const [left, top] = [(image.width - across) / 2, (image.height - down) / 2];
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // behind transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(image, left, top, across, down, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const area = height * width;
  return Uint8Array.from({ length: channels * area }, (_, i) => {
    const [red, green, blue] = data.subarray(4 * (i % area));
    const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
    return channels === 1 ? Math.round(grey) : data[4 * (i % area) + Math.floor(i / area)];
  });
}

export class Photo {
  /**
   * Creates the chooser of a view, which has an element `.photos` for the samples, a button `.file`
   * and, in some views, a canvas `.photo` for the chosen one. Calls `changed()` when the visitor
   * chooses another picture. `covered()` returns a mask [height, width] with 0 for hidden pixels.
   */
  constructor(view, { changed, covered = () => null }) {
    Object.assign(this, { view, changed, covered, choices: [], picture: null });
    this.canvas = view.find(".photo");
    view.find(".file").addEventListener("click", () => this.ask());
    const target = this.canvas?.parentElement ?? view.root;
    target.addEventListener("dragover", (event) => event.preventDefault());
    target.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!this.isUsed || !event.dataTransfer.files.length) return;
      this.load(event.dataTransfer.files[0]);
    });
  }

  /** Shows the named picture, or the one that the visitor chose before, or else the example. */
  async open(name, example) {
    const { app, isAddressed } = this.view;
    const { model } = app;
    this.picture = blank(model.config);
    const choices = await choicesFor(app);
    if (app.model !== model) return;
    this.choices = choices;
    const place = this.view.find(".photos");
    const buttons = this.choices.map((picture, number) => {
      const canvas = Object.assign(document.createElement("canvas"), { className: "square" });
      const properties = { type: "button", ariaLabel: `Picture ${number + 1}` };
      const button = Object.assign(document.createElement("button"), properties);
      button.append(canvas);
      button.addEventListener("click", () => this.choose(String(number)));
      return button;
    });
    place.replaceChildren(...buttons);
    const names = [name, isAddressed ? undefined : app.photo.name, String(example)];
    this.name = names.find((each) => photoNamed(app, this.choices, each)) ?? names.at(-1);
    this.update();
  }

  /** Whether the current model needs a photo. */
  get isUsed() {
    return !isInk(this.view.app.model.config);
  }

  choose(name) {
    this.name = this.view.app.photo.name = name;
    this.update();
    this.changed();
  }

  update() {
    const { app } = this.view;
    this.picture = photoNamed(app, this.choices, this.name) ?? blank(app.model.config);
    [...this.view.find(".photos").children].forEach((button, number) => {
      button.ariaPressed = String(this.name === String(number));
    });
    this.draw();
  }

  /** Lets the visitor choose a file. */
  ask() {
    const input = Object.assign(document.createElement("input"), { type: "file", accept: "image/*" });
    input.addEventListener("change", () => this.load(input.files[0]));
    input.click();
  }

  async load(file) {
    try {
      this.view.app.photo.file = await createImageBitmap(file);
    } catch {
      return this.view.setStatus(`${file.name} is not a picture that this browser can read`);
    }
    this.choose(OWN);
  }

  draw() {
    if (!this.picture || !this.isUsed) return;
    this.choices.forEach((picture, number) => {
      show(this.view.find(".photos").children[number].firstChild, picture);
    });
    if (this.canvas) show(this.canvas, this.withCover(this.picture));
  }

  /** Replaces the hidden pixels by a checkered pattern. */
  withCover(picture) {
    const mask = this.covered();
    if (!mask) return picture;
    const { width, values } = picture;
    const pattern = (i) => ((i % width) + Math.floor((i % mask.length) / width)) % 2 ? 160 : 130;
    return { ...picture, values: values.map((value, i) => (mask[i % mask.length] ? value : pattern(i))) };
  }
}
