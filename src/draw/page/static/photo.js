/** The picture for models whose pixels are light: an example, or a file of the visitor. */

import { isInk } from "./ink.js";
import { fetchFile, once } from "./loading.js";
import { blank, show } from "./pictures.js";

// The photos in photos.webp, from left to right, are in the public domain: photographs by Stéfan van
// der Walt (CC0), NASA, SpaceX (CC0) and Rachel Michetti (CC0).
const PHOTOS = { cat: "A cat", astronaut: "An astronaut", rocket: "A rocket", coffee: "A cup of coffee" };
const SAMPLES = 6; // examples for grey models
const OWN = "own"; // name of the visitor's file, which never leaves this page

const sheets = new Map(); // file -> promise of an image

/** Whether the settings of a view name the visitor's file, which no link can show again. */
export const usesOwnFile = (settings) => Object.values(settings).includes(OWN);

/**
 * Returns the examples by name: photos for colour models, and samples for grey ones, which may have
 * learned anything. They are the last pictures of the films in the sample trace.
 */
export async function choicesFor(app) {
  const empty = blank(app.model.config); // the visitor can change the model while files are loaded
  const size = empty.values.length;
  if (empty.channels === 1) {
    const films = await app.trace().catch(() => []); // reported where the trace itself is shown
    const pictures = films.slice(0, SAMPLES).map(({ means }) => ({ ...empty, values: means.slice(-size) }));
    return new Map(pictures.map((picture, number) => [String(number), picture]));
  }
  const sheet = await once(sheets, "photos.webp", async () => createImageBitmap(await (await fetchFile("photos.webp")).blob()));
  const { height: side } = sheet;
  return new Map(
    Object.keys(PHOTOS).map((name, i) => [name, { ...empty, values: scaled(sheet, empty, i * side, side) }]),
  );
}

/** Returns the picture of the given name; undefined if there is none. */
export function photoNamed(app, choices, name) {
  const { config } = app.model;
  if (name !== OWN) return choices.get(name);
  return app.photo.file && { ...blank(config), values: scaled(app.photo.file, config) };
}

/** Crops the middle of an image, from `start` on, and scales it: bytes [channels, height, width]. */
function scaled(image, { height, width, channels }, start = 0, extent = image.width) {
  const scale = Math.min(extent / width, image.height / height);
  const [across, down] = [width * scale, height * scale]; // the part that remains
  const [left, top] = [start + (extent - across) / 2, (image.height - down) / 2];
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
   * Creates the chooser of a view, which has an element `.photos` for the examples, a button `.file`
   * and, in some views, a canvas `.photo` for the chosen one. Calls `changed()` when the visitor
   * chooses another picture. `covered()` returns a mask [height, width] with 0 for hidden pixels.
   */
  constructor(view, { changed, covered = () => null }) {
    Object.assign(this, { view, changed, covered, choices: new Map(), picture: null });
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

  /** Shows the named picture, or the one that the visitor chose before, or else an example. */
  async open(name, example) {
    const { app, isAddressed } = this.view;
    const { model } = app;
    this.picture = blank(model.config);
    this.offer(new Map()); // those of the model before cannot be chosen
    this.name = undefined;
    const opening = (this.opening = choicesFor(app));
    try {
      const choices = await opening;
      if (app.model !== model || this.opening !== opening) return;
      this.offer(choices);
      const names = [this.name, name, isAddressed ? undefined : app.photo.name, [...choices.keys()][example]];
      this.name = names.find((each) => photoNamed(app, choices, each)) ?? names.at(-1);
    } finally {
      if (this.opening === opening) this.opening = null;
    }
    this.update();
  }

  /** Creates a button for each example. */
  offer(choices) {
    this.choices = choices;
    const buttons = [...choices.keys()].map((name) => {
      const canvas = Object.assign(document.createElement("canvas"), { className: "square" });
      const label = PHOTOS[name] ?? `Picture ${Number(name) + 1}`;
      const properties = { type: "button", ariaLabel: label, title: label };
      const button = Object.assign(document.createElement("button"), properties);
      button.append(canvas);
      button.addEventListener("click", () => this.choose(name));
      return button;
    });
    this.view.find(".photos").replaceChildren(...buttons);
  }

  /** Whether the current model needs a photo. */
  get isUsed() {
    return !isInk(this.view.app.model.config);
  }

  choose(name) {
    this.name = this.view.app.photo.name = name;
    if (this.opening) return; // `open` shows it
    this.update();
    this.changed();
  }

  update() {
    const { app } = this.view;
    this.picture = photoNamed(app, this.choices, this.name) ?? blank(app.model.config);
    const names = [...this.choices.keys()];
    [...this.view.find(".photos").children].forEach((button, number) => {
      button.ariaPressed = String(this.name === names[number]);
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
    const { app } = this.view;
    const { model, view } = app;
    const image = await createImageBitmap(file).catch(() => null);
    if (app.model !== model || app.view !== view) return; // the visitor has navigated
    if (!image) return this.view.setStatus(`${file.name} is not a picture that this browser can read`);
    app.photo.file = image;
    this.choose(OWN);
  }

  draw() {
    if (!this.picture || !this.isUsed) return;
    [...this.choices.values()].forEach((picture, number) => {
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
