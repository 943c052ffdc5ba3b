/** Arranges pictures in one image, row by row, with an optional caption below them. */

import { colours, drawPicture } from "./pictures.js";

const GAP = 4; // between pictures
const LINE = 18; // height of a line of the caption
const MARGIN = 8; // around the caption
export const CAPTION = 2 * LINE + 2 * MARGIN; // height of a caption
const MIN_WIDTH = 440; // a caption needs the room

export class Sheet {
  /**
   * Chooses the size for pictures like those in `pictures`, where null is a gap: at most `maxWidth`,
   * with `maxScale` pixels for each of their pixels, and a multiple of `unit`.
   */
  constructor(pictures, columns, { maxWidth, maxScale, unit = 1, hasCaption }) {
    const { width, height } = pictures[0];
    const room = (maxWidth - (columns - 1) * GAP) / columns;
    this.columns = columns;
    this.scale = Math.max(1, Math.min(maxScale, Math.floor(room / width)));
    [this.across, this.down] = [width * this.scale + GAP, height * this.scale + GAP];
    this.bottom = Math.ceil(pictures.length / columns) * this.down - GAP;
    const widest = Math.max(columns * this.across - GAP, hasCaption ? MIN_WIDTH : 0);
    const highest = this.bottom + (hasCaption ? CAPTION : 0);
    [this.width, this.height] = [widest, highest].map((side) => unit * Math.ceil(side / unit));
  }

  /** Draws the pictures, and the text and the link of the caption if they are given. */
  draw(context, pictures, caption) {
    context.fillStyle = `rgb(${colours.ground})`;
    context.fillRect(0, 0, this.width, this.height);
    pictures.forEach((picture, i) => {
      const [x, y] = [(i % this.columns) * this.across, Math.floor(i / this.columns) * this.down];
      if (picture) drawPicture(context, picture, x, y, this.scale);
    });
    if (caption) drawCaption(context, caption, this.width, this.bottom);
  }
}

/** Draws the text and the link of a caption below pictures that end at `bottom`. */
export function drawCaption(context, { text, link }, width, bottom) {
  context.textAlign = "left";
  context.textBaseline = "middle";
  [text, link].filter(Boolean).forEach((line, i) => {
    context.fillStyle = `rgb(${colours[i ? "soft" : "ink"]})`;
    context.font = `${i ? 400 : 600} ${13 - i}px system-ui, sans-serif`;
    context.href = i ? link : undefined; // in SVG
    const y = bottom + MARGIN + (i + 0.5) * LINE;
    context.fillText(shortened(line, width - 2 * MARGIN, context), MARGIN, y);
  });
  context.href = undefined;
}

/** Cuts the end of a text that is too wide. */
function shortened(text, room, context) {
  let end = text.length;
  const cut = () => (end < text.length ? `${text.slice(0, end)}…` : text);
  while (end > 1 && context.measureText(cut()).width > room) end = Math.floor(0.95 * end);
  return cut();
}
