/** A drawing pad for mouse, finger, pen and keyboard. */

import { EXAMPLES, exampleButtons, examplesFor, indexOfExample, places } from "./examples.js";
import { BOX, digitShare, extend, fromText, isFull, penWidth, rasterise, toText } from "./ink.js";
import { colours, show } from "./pictures.js";

const KEY_DISTANCE = 1 / 28; // distance that an arrow key moves the pen, in sides of a digit
export const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export class Pad {
  /**
   * Creates the pad of a view, with buttons to clear it and to use the first `part` of an example.
   * The pad calls `changed()` when a stroke is finished and when the strokes are replaced. With
   * `pixels` it shows which pixels of the image are ink.
   */
  constructor(view, { changed, part, pixels = false, examples = EXAMPLES }) {
    const canvas = view.find(".pad");
    Object.assign(this, { view, canvas, changed, part, pixels, pictures: examples });
    canvas.onpointerdown = (event) => this.begin(event);
    canvas.onpointermove = (event) => this.move(event);
    canvas.onpointerup = canvas.onpointercancel = (event) => this.end(event);
    canvas.onkeydown = (event) => this.key(event);
    canvas.onblur = () => this.leave();
    this.strokes = [];
    this.history = []; // drawings before each change, for the undo button
    this.pen = null; // position of the pen while it is moved with the keys
    this.down = false;
    view.find(".clear").addEventListener("click", () => this.replace([]));
    this.undoButton = view.find(".undo");
    this.undoButton.addEventListener("click", () => this.undo());
  }

  /** The size of the image, `{height, width}`. */
  get size() {
    return this.view.app.model.config;
  }

  /** The examples as [name, strokes]; the visitor's first stroke replaces one of them. */
  get examples() {
    return examplesFor(this.size, this.part, this.pictures);
  }

  /** Shows other strokes. */
  set(strokes) {
    this.strokes = strokes.map((stroke) => [...stroke]);
    this.down = false;
    this.draw();
  }

  /**
   * Shows the strokes from the address, or else those that the visitor drew on any pad for images
   * of this size, those shown before, or an example. An address without strokes shows the example.
   */
  open(ink, example) {
    const { drawings } = this.view.app;
    const share = digitShare(this.size);
    const before = share === this.share ? this.strokes : [];
    this.share = share;
    const kept = this.view.isAddressed ? [] : (drawings.get(share) ?? before);
    const strokes = ink === undefined ? kept : fromText(ink);
    const { examples } = this;
    const names = examples.map(([name]) => name);
    const take = (_, number) => this.replace(this.examples[number][1]);
    this.markExample = exampleButtons(this.view.find(".examples"), take, names);
    this.history = [];
    this.set(strokes.length ? strokes : examples[example][1]);
  }

  /** Whether the pad shows one of the examples. */
  get isExample() {
    return indexOfExample(this.examples, this.strokes) >= 0;
  }

  /** Records a change by the visitor: other pads show the new drawing too. */
  commit() {
    if (this.isExample || !this.strokes.length) this.view.app.drawings.delete(this.share);
    else this.view.app.drawings.set(this.share, this.strokes);
    this.changed();
  }

  undo() {
    if (!this.history.length) return;
    this.set(this.history.pop());
    this.commit();
  }

  /** A message for the visitor about the strokes, or an empty string. */
  get message() {
    return isFull(this.strokes) ? "The pad is full. Clear it to draw more." : "";
  }

  reset() {
    this.set([]);
  }

  /** Replaces the drawing on behalf of the visitor. */
  replace(strokes) {
    this.history.push(this.strokes);
    this.set(strokes);
    this.commit();
  }

  begin(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pen = null;
    this.put(this.place(event));
  }

  move(event) {
    if (!this.down || this.pen || !event.isPrimary) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) this.add(this.place(part));
    this.draw();
  }

  end(event) {
    if (this.pen || !event.isPrimary) return;
    this.canvas.blur(); // so that the keys control the film again
    this.lift();
  }

  /** Puts the pen down and starts a stroke, unless the pad is full. */
  put(point) {
    this.history.push(this.strokes);
    this.strokes = this.isExample ? [] : [...this.strokes];
    if (isFull(this.strokes)) return;
    this.down = true;
    this.strokes.push([]);
    this.add(point);
    this.draw();
  }

  /** Extends the stroke to a point; lifts the pen if the pad is full. */
  add(point) {
    extend(this.strokes, point);
    if (isFull(this.strokes)) this.lift();
  }

  /** Returns the pointer's position in the pad's central square. */
  place({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const side = Math.min(width, height);
    return [clientX - left - width / 2, clientY - top - height / 2].map((at) => 0.5 + at / side);
  }

  key(event) {
    const move = ARROWS[event.key];
    const step = KEY_DISTANCE * digitShare(this.size);
    if (move) {
      this.pen ??= [0.5, 0.5];
      this.pen = this.pen.map((at, i) => Math.min(1, Math.max(0, at + step * move[i])));
      if (this.down) this.add(this.pen);
    } else if (event.key === "Enter") {
      this.pen ??= [0.5, 0.5];
      if (this.down) this.lift();
      else this.put(this.pen);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.replace([]);
    } else {
      return;
    }
    event.preventDefault();
    this.draw();
  }

  lift() {
    if (!this.down) return;
    this.down = false;
    this.commit();
  }

  leave() {
    if (this.pen) this.lift();
    this.pen = null;
    this.draw();
  }

  draw() {
    this.undoButton.disabled = !this.history.length;
    this.markExample?.(indexOfExample(this.examples, this.strokes));
    const { height, width } = this.size;
    const values = rasterise(this.pixels ? this.strokes : [], height, width);
    show(this.canvas, { height, width, channels: 1, values });
    const context = this.canvas.getContext("2d");
    const { width: w, height: h } = this.canvas;
    const side = Math.min(w, h);
    context.save();
    context.translate((w - side) / 2, (h - side) / 2);
    context.scale(side, side);
    context.lineCap = context.lineJoin = "round";
    this.guide(context);
    if (!this.pixels) strokeLines(context, this.strokes, colours.ink, penWidth(this.size));
    if (this.pen) {
      const [x, y] = this.pen;
      const across = [[x - 0.04, y], [x + 0.04, y]];
      const down = [[x, y - 0.04], [x, y + 0.04]];
      strokeLines(context, [across, down], colours.write, 0.008);
    }
    context.restore();
  }

  /** Draws the boxes that MNIST's digits fill, 20 of 28 pixels, where the examples have digits. */
  guide(context) {
    context.strokeStyle = `rgb(${colours.soft})`;
    context.lineWidth = 0.004;
    context.setLineDash([0.004, 0.014]);
    const { share, corners } = places(this.size);
    for (const corner of corners) {
      const first = corner + (share * (1 - BOX)) / 2;
      context.strokeRect(first, first, share * BOX, share * BOX);
    }
    context.setLineDash([]);
  }
}

/** Draws lines of [x, y] points; a line of one point is a dot. */
function strokeLines(context, lines, colour, width) {
  context.strokeStyle = `rgb(${colour})`;
  context.lineWidth = width;
  context.beginPath();
  for (const line of lines) {
    const [x, y] = line[0];
    context.moveTo(x + 1e-4, y); // browsers may draw nothing for a length of zero
    for (const point of line) context.lineTo(...point);
  }
  context.stroke();
}
