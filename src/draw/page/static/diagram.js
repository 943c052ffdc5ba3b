/** Saves the diagram of the first view as it is shown: its pictures, labels, borders and arrows. */

import { colours, drawPicture, shownOn } from "./pictures.js";
import { CAPTION, drawCaption } from "./sheet.js";
import { SvgContext } from "./svg.js";

const MARGIN = 8; // around the diagram

/** Returns what a worker needs to draw an element that contains a diagram. */
export function describe(root) {
  const { x: left, y: top, width, height } = root.getBoundingClientRect();
  const place = ({ x, y, width, height }) => ({ x: x - left, y: y - top, width, height });
  const placeOf = (element) => place(element.getBoundingClientRect());
  const elements = [...root.querySelectorAll("*")].filter((element) => element.checkVisibility());
  const canvases = elements.filter((element) => shownOn.has(element));
  const pictures = canvases.map((canvas) => {
    const { x, y, width } = placeOf(canvas);
    const { clientLeft: border, clientTop } = canvas;
    return { x: x + border, y: y + clientTop, width: width - 2 * border, picture: shownOn.get(canvas) };
  });
  const borders = elements.flatMap((element) => {
    const { borderTopWidth, borderTopColor: colour, borderTopStyle } = getComputedStyle(element);
    if (!parseFloat(borderTopWidth) || /, 0\)$/.test(colour)) return []; // none, or transparent
    return { ...placeOf(element), colour, dash: borderTopStyle === "dashed" ? [3, 3] : [] };
  });
  const arrows = elements.filter((element) => element.getAttribute("d")).map((path) => {
    const { stroke: colour, strokeWidth, strokeDasharray } = getComputedStyle(path);
    const dash = strokeDasharray === "none" ? [] : strokeDasharray.split(",").map(parseFloat);
    return { path: path.getAttribute("d"), colour, width: parseFloat(strokeWidth), dash };
  });
  return { width, height, pictures, borders, arrows, texts: elements.flatMap((element) => textsOf(element, place)) };
}

/** Returns the words directly inside an element, because its lines may be broken between them. */
function textsOf(element, place) {
  const { color, fill, fontStyle, fontWeight, fontSize, fontFamily } = getComputedStyle(element);
  const isOnArrow = element instanceof SVGElement; // and covers it
  const colour = isOnArrow ? fill : color;
  const font = `${fontStyle} ${fontWeight} ${fontSize} ${fontFamily}`;
  const nodes = [...element.childNodes].filter((node) => node instanceof Text);
  return nodes.flatMap((node) =>
    [...node.data.matchAll(/\S+/g)].map(({ 0: text, index }) => {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + text.length);
      return { ...place(range.getBoundingClientRect()), text, colour, font, isOnArrow };
    }),
  );
}

/** Draws a diagram that `describe` returned; it can take the place of a `Sheet`. */
export class Diagram {
  /** Each pixel of the screen becomes `scale` pixels. */
  constructor({ width, height }, { scale, hasCaption }) {
    this.scale = scale;
    [this.room, this.bottom] = [width + 2 * MARGIN, height + 2 * MARGIN];
    const sides = [this.room, this.bottom + (hasCaption ? CAPTION : 0)];
    [this.width, this.height] = sides.map((side) => Math.ceil(side * scale));
  }

  draw(context, { pictures, borders, arrows, texts }, caption) {
    const ground = `rgb(${colours.ground})`;
    context.fillStyle = ground;
    context.fillRect(0, 0, this.width, this.height);
    if (this.scale !== 1) context.scale(this.scale, this.scale);
    context.save();
    context.translate(MARGIN, MARGIN);
    for (const { x, y, width, picture } of pictures) {
      drawPicture(context, picture, x, y, width / picture.width);
    }
    for (const { x, y, width, height, colour, dash } of borders) {
      Object.assign(context, { strokeStyle: colour, lineWidth: 1 });
      context.setLineDash(dash);
      context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    }
    for (const { path, colour, width, dash } of arrows) {
      Object.assign(context, { strokeStyle: colour, lineWidth: width });
      context.setLineDash(dash);
      context.stroke(context instanceof SvgContext ? path : new Path2D(path));
    }
    Object.assign(context, { textAlign: "left", textBaseline: "middle" });
    for (const { x, y, width, height, text, colour, font, isOnArrow } of texts) {
      context.fillStyle = ground;
      if (isOnArrow) context.fillRect(x - 4, y, width + 8, height);
      Object.assign(context, { fillStyle: colour, font });
      context.fillText(text, x, y + height / 2);
    }
    context.restore();
    if (caption) drawCaption(context, caption, this.room, this.bottom);
  }
}
