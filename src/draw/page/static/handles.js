/** Moves the parts of a cluttered picture with the mouse, a finger, a pen or the keyboard. */

import { move, partAt, SIZE } from "./clutter.js";
import { ARROWS } from "./pad.js";
import { colours } from "./pictures.js";

export class Handles {
  /**
   * Makes the parts movable that `parts()` returns and that `canvas` shows. Calls `selected()` when
   * a part is selected, so that `draw()` can outline it, and `moved()` when it has been moved.
   */
  constructor(canvas, { parts, selected, moved }) {
    Object.assign(this, { canvas, parts, selected, moved });
    this.part = null; // selected
    this.offset = null; // from the dragged part's corner to the pointer
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("lostpointercapture", () => {
      this.offset = null;
      this.select(null);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.select(null));
  }

  select(part) {
    this.part = part;
    this.selected();
  }

  move(left, top) {
    move(this.part, left, top);
    this.moved();
  }

  /** Returns the pointer's position in pixels of the picture. */
  place({ clientX, clientY }) {
    const { left, top, width } = this.canvas.getBoundingClientRect();
    return [clientX - left, clientY - top].map((at) => (at / width) * SIZE);
  }

  begin(event) {
    const [x, y] = this.place(event);
    const part = partAt(this.parts(), x, y);
    if (event.button !== 0 || !event.isPrimary || !part) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.offset = [x - part.left, y - part.top];
    this.select(part);
  }

  drag(event) {
    if (!event.isPrimary) return;
    const [x, y] = this.place(event);
    if (this.offset) this.move(x - this.offset[0], y - this.offset[1]);
    else this.canvas.classList.toggle("movable", Boolean(partAt(this.parts(), x, y)));
  }

  /** Enter selects the next part; the arrow keys move it. */
  key(event) {
    const parts = this.parts();
    const step = ARROWS[event.key];
    if (!parts.length || !(step || event.key === "Enter")) return;
    if (!this.part || !step) this.select(parts[(parts.indexOf(this.part) + 1) % parts.length]);
    if (step) this.move(this.part.left + step[0], this.part.top + step[1]);
    event.preventDefault();
  }

  /** Outlines the selected part. */
  draw() {
    if (!this.part) return;
    const { left, top, side } = this.part;
    const context = this.canvas.getContext("2d");
    const scale = this.canvas.width / SIZE;
    context.save();
    context.strokeStyle = `rgb(${colours.soft})`;
    context.lineWidth = Math.max(1, scale / 4);
    context.setLineDash([scale, scale]);
    context.strokeRect(left * scale, top * scale, side * scale, side * scale);
    context.restore();
  }
}
