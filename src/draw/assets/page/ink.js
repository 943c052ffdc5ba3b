/**
 * A visitor's strokes, and the pictures that a model takes.
 *
 * Strokes are lists of points [x, y] in a unit square. They are drawn with a pen of one width,
 * black or white: a pixel is ink where the pen covers its centre.
 */

const DIGIT = 28; // pixels a side of one of MNIST's pictures
const PEN = 2.4; // the pen's width, of these pixels
export const BOX = 20 / DIGIT; // the side of the square that MNIST scales a digit to
const SMALLEST = 0.15; // what is smaller than this is not scaled up further: a dot stays a dot
const NEAR = 0.012; // points closer than this to the one before are left out
const LONGEST = 600; // points

/** The share of a picture's side that a digit has: all, or less where there is room for several. */
export function digitShare({ height, width }) {
  const side = Math.min(height, width);
  return side < 2 * DIGIT ? 1 : DIGIT / side;
}

/** The pen's width, a share of the picture's side. */
export const penWidth = (size) => (PEN / DIGIT) * digitShare(size);

/** Whether no point more can be added. */
export const full = (strokes) => strokes.flat().length >= LONGEST;

/** Adds a point to the last stroke, unless it is too near to the one before. */
export function extend(strokes, point) {
  const stroke = strokes.at(-1);
  const last = stroke.at(-1);
  if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR) return;
  if (full(strokes)) return;
  stroke.push(point.map((value) => Math.round(Math.min(1, Math.max(0, value)) * FINEST) / FINEST));
}

/** Pixels under the pen, as bytes 0 or 255 [height, width]. */
export function rasterise(strokes, height, width) {
  const side = Math.min(height, width);
  const place = ([x, y]) => [x * side + (width - side) / 2, y * side + (height - side) / 2];
  const pixels = new Uint8Array(height * width);
  const radius = (penWidth({ height, width }) * side) / 2;
  for (const stroke of strokes) {
    const points = stroke.map(place);
    points.forEach((end, i) =>
      cover(pixels, height, width, points[Math.max(0, i - 1)], end, radius),
    );
  }
  return pixels;
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
 * The strokes as MNIST's digits were placed: scaled into a box of 20 pixels of 28, the proportions
 * kept, then moved until the ink's centre of mass is the picture's centre. Where there is room for
 * several digits they stay as they were drawn.
 */
export function centred(strokes, height, width) {
  if (digitShare({ height, width }) < 1) return strokes;
  const points = strokes.flat();
  const span = (axis) => {
    const values = points.map((point) => point[axis]);
    return [Math.min(...values), Math.max(...values)];
  };
  const [left, right] = span(0);
  const [top, bottom] = span(1);
  const size = Math.max(right - left, bottom - top, SMALLEST);
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

// -------------------------------------------------------------------- strokes as text, for URLs

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"; // 64
const FINEST = 64 ** 2 - 1; // two digits a coordinate

const toDigits = (value) => DIGITS[value >> 6] + DIGITS[value & 63];
const fromDigits = ([high, low]) => 64 * DIGITS.indexOf(high) + DIGITS.indexOf(low);

/** Four characters a point, a dot between strokes. */
export function toText(strokes) {
  const point = ([x, y]) => toDigits(Math.round(x * FINEST)) + toDigits(Math.round(y * FINEST));
  return strokes.map((stroke) => stroke.map(point).join("")).join(".");
}

/** The strokes of a text; none if it is not one that `toText` wrote. */
export function fromText(text) {
  const parts = text.split(".");
  const good = parts.every((part) => /^[\w-]+$/.test(part) && part.length % 4 === 0);
  if (!good || text.length > 5 * LONGEST) return [];
  const point = (p) => [fromDigits(p.slice(0, 2)) / FINEST, fromDigits(p.slice(2)) / FINEST];
  return parts.map((part) => part.match(/..../g).map(point));
}
