/**
 * The visitor's strokes, and the images that a model receives.
 *
 * Strokes are lists of points [x, y] in a unit square. The pen has a fixed width, and images are
 * black and white: a pixel is ink if the pen covers its centre.
 */

const DIGIT = 28; // side of an MNIST image, pixels
const PEN = 2.4; // width of the pen, pixels of an MNIST image
export const BOX = 20 / DIGIT; // side of the box that MNIST scales digits to, relative to the image
const MIN_SIZE = 0.15; // smaller drawings are scaled as if they had this size: a dot stays a dot
const MIN_DISTANCE = 0.012; // points closer than this to the previous one are dropped
const MAX_POINTS = 600; // per drawing

/**
 * Whether a model's pixels are ink on paper, 1 or 0, so that visitors can draw for it. Those of other
 * models are light, as in photos.
 */
export const isInk = ({ channels, likelihood }) => channels === 1 && likelihood === "bernoulli";

/** Returns the side of a digit relative to the image: below 1 if several digits fit. */
export function digitShare({ height, width }) {
  const side = Math.min(height, width);
  return side < 2 * DIGIT ? 1 : DIGIT / side;
}

/** Returns the width of the pen relative to the image's side. */
export const penWidth = (size) => (PEN / DIGIT) * digitShare(size);

/** Whether a drawing has the maximum number of points. */
export const isFull = (strokes) => strokes.flat().length >= MAX_POINTS;

/** Adds a point to the last stroke, unless it is too close to the previous one. */
export function extend(strokes, point) {
  const stroke = strokes.at(-1);
  const last = stroke.at(-1);
  if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < MIN_DISTANCE) return;
  if (isFull(strokes)) return;
  const round = (value) => Math.round(value * MAX_CODE) / MAX_CODE;
  stroke.push(point.map((value) => round(Math.min(1, Math.max(0, value)))));
}

/** Draws strokes as bytes, 0 or 255 [height, width]. */
export function rasterise(strokes, height, width) {
  const side = Math.min(height, width);
  const place = ([x, y]) => [x * side + (width - side) / 2, y * side + (height - side) / 2];
  const pixels = new Uint8Array(height * width);
  const radius = (penWidth({ height, width }) * side) / 2;
  for (const stroke of strokes) {
    let start = place(stroke[0]);
    for (const end of stroke.map(place)) {
      cover(pixels, height, width, start, end, radius);
      start = end;
    }
  }
  return pixels;
}

/** Returns the image that a model receives, bytes [height, width], for some strokes. */
export function imageOf(strokes, { height, width }) {
  if (!strokes.length) return new Uint8Array(height * width);
  return rasterise(centred(strokes, height, width), height, width);
}

/** Sets the pixels whose centres lie within the radius of a segment. */
function cover(pixels, height, width, [x0, y0], [x1, y1], radius) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const squared = dx * dx + dy * dy;
  const low = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
  const high = (a, b, size) => Math.min(size - 1, Math.ceil(Math.max(a, b) + radius));
  for (let y = low(y0, y1); y <= high(y0, y1, height); y++) {
    for (let x = low(x0, x1); x <= high(x0, x1, width); x++) {
      const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
      const along = squared ? Math.min(1, Math.max(0, (px * dx + py * dy) / squared)) : 0;
      if (Math.hypot(px - along * dx, py - along * dy) <= radius) pixels[y * width + x] = 255;
    }
  }
}

/**
 * Places strokes as MNIST does: scales them into a box of 20 of 28 pixels without changing their
 * proportions, then moves their centre of mass to the centre of the image. Where there is room for
 * several digits, the strokes stay unchanged.
 */
export function centred(strokes, height, width) {
  if (digitShare({ height, width }) < 1) return strokes;
  const [xs, ys] = [0, 1].map((axis) => strokes.flat().map((point) => point[axis]));
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const size = Math.max(right - left, bottom - top, MIN_SIZE);
  const scale = (BOX - PEN / DIGIT) / size;
  const scaled = strokes.map((stroke) =>
    stroke.map(([x, y]) => [
      0.5 + (x - (left + right) / 2) * scale,
      0.5 + (y - (top + bottom) / 2) * scale,
    ]),
  );
  const pixels = rasterise(scaled, height, width);
  const side = Math.min(height, width);
  const [x, y] = centreOfMass(pixels, width);
  const shift = (from, extent) => Math.round(extent / 2 - from) / side; // whole pixels
  const [dx, dy] = [shift(x, width), shift(y, height)];
  return scaled.map((stroke) => stroke.map(([px, py]) => [px + dx, py + dy]));
}

function centreOfMass(pixels, width) {
  let [x, y, mass] = [0, 0, 0];
  pixels.forEach((value, i) => {
    x += value * ((i % width) + 0.5);
    y += value * (Math.floor(i / width) + 0.5);
    mass += value;
  });
  return [x / mass, y / mass];
}

// -------------------------------------------------------------------- strokes as text for URLs

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"; // 64
const MAX_CODE = 64 ** 2 - 1; // two digits per coordinate

const toDigits = (value) => DIGITS[value >> 6] + DIGITS[value & 63];
const fromDigits = ([high, low]) => 64 * DIGITS.indexOf(high) + DIGITS.indexOf(low);

/** Encodes strokes: four characters per point, a dot between strokes. */
export function toText(strokes) {
  const point = ([x, y]) => toDigits(Math.round(x * MAX_CODE)) + toDigits(Math.round(y * MAX_CODE));
  return strokes.map((stroke) => stroke.map(point).join("")).join(".");
}

/** Decodes strokes; returns none if the text is not a valid encoding. */
export function fromText(text) {
  const parts = text.split(".");
  const good = parts.every((part) => /^[\w-]+$/.test(part) && part.length % 4 === 0);
  if (!good || text.length > 5 * MAX_POINTS) return [];
  const point = (p) => [fromDigits(p.slice(0, 2)) / MAX_CODE, fromDigits(p.slice(2)) / MAX_CODE];
  return parts.map((part) => part.match(/..../g).map(point));
}
