/** The picture that a network receives: a drawing, or a photo if the model's pixels are not ink. */

import { exampleButtons, examplesFor, indexOfExample } from "./examples.js";
import { digitShare, fromText, imageOf, isInk, toText } from "./ink.js";
import { Pad } from "./pad.js";
import { Photo } from "./photo.js";

/** An example, the drawing of another view, or a photo. */
export class Choice {
  constructor(view, options) {
    Object.assign(this, { view, changed: options.changed, strokes: [] });
    this.photo = new Photo(view, options);
  }

  get config() {
    return this.view.app.model.config;
  }

  get isInk() {
    return isInk(this.config);
  }

  /** Shows the drawing or the photo of the address, or else the one before, or an example. */
  async open({ ink, photo }, example, otherPhoto = 0) {
    if (this.isInk) this.openDrawing(ink, example);
    else await this.photo.open(photo, otherPhoto);
  }

  openDrawing(ink, example) {
    const share = digitShare(this.config);
    const examples = examplesFor(this.config);
    const names = examples.map(([name]) => name);
    const take = (_, number) => {
      this.strokes = examples[number][1];
      markExample(number);
      this.changed();
    };
    const markExample = exampleButtons(this.view.find(".examples"), take, names);
    const drawn = ink === undefined ? this.view.app.drawings.get(share) : fromText(ink);
    const before = share === this.share ? this.strokes : [];
    this.share = share;
    const known = [drawn, before].find((strokes) => strokes?.length);
    this.strokes = known ?? examples[example][1];
    markExample(indexOfExample(examples, this.strokes));
  }

  /** Returns the settings in the address that determine the picture. */
  get settings() {
    return this.isInk ? { ink: toText(this.strokes) } : { photo: this.photo.name };
  }

  /** The image that the model receives, bytes [channels, height, width]. */
  get image() {
    return this.isInk ? imageOf(this.strokes, this.config) : this.photo.picture.values;
  }

  reset() {
    this.strokes = [];
  }

  draw() {
    this.photo.draw();
  }
}

/** A drawing on the view's pad, or a photo, whose chooser is created next to the pad. */
export class Source extends Choice {
  /** Takes the options of `Pad` and `Photo`. */
  constructor(view, options) {
    const chooser = document.getElementById("photo").content.cloneNode(true);
    view.find(".pad").parentElement.append(chooser);
    super(view, options);
    this.pad = new Pad(view, options);
  }

  get strokes() {
    return this.pad.strokes;
  }

  set strokes(strokes) {
    this.pad?.set(strokes);
  }

  openDrawing(ink, example) {
    this.pad.open(ink, example);
  }

  /** Whether nothing is drawn. */
  get isEmpty() {
    return this.isInk && !this.strokes.length;
  }

  get message() {
    return this.isInk ? this.pad.message : "";
  }

  draw() {
    if (this.isInk) this.pad.draw();
    else this.photo.draw();
  }
}
