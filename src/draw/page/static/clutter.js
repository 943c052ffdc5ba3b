/**
 * Pictures of a digit among pieces of other digits, with the rules of `Cluttered` in
 * data/transforms.py.
 *
 * A picture consists of parts `{left, top, side, values}`; `values` are bytes [side, side]. The
 * digit comes first and the pieces follow.
 */

import { centred, rasterise } from "./ink.js";
import { fetchFile } from "./loading.js";
import { uniforms } from "./random.js";

export const SIZE = 100; // side of a picture, pixels
const PIECES = 8; // per picture
const PIECE = 8; // side of a piece, pixels
export const DIGIT = 28; // side of a digit, pixels
const CLASSES = 10;

/** Loads the digits in digits.png, one class per row: `digits[label]` are its digits. */
export async function loadDigits() {
  const sheet = await createImageBitmap(await (await fetchFile("digits.png")).blob());
  const canvas = new OffscreenCanvas(sheet.width, sheet.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(sheet, 0, 0);
  const columns = Array.from({ length: sheet.width / DIGIT }, (_, i) => i * DIGIT);
  const digit = (left, top) => {
    const { data } = context.getImageData(left, top, DIGIT, DIGIT);
    return data.filter((_, i) => i % 4 === 0); // red; the sheet is grey
  };
  return Array.from({ length: CLASSES }, (_, label) =>
    columns.map((left) => digit(left, label * DIGIT)),
  );
}

/** Composes the picture of a seed: returns the `label` of its digit and its `parts`. */
export function compose(digits, seed) {
  const uniform = uniforms(seed);
  const below = (count) => Math.floor(uniform() * count);
  const anyDigit = () => {
    const label = below(CLASSES);
    return { label, values: digits[label][below(digits[label].length)] };
  };
  const place = (side, values) => {
    return { left: below(SIZE - side + 1), top: below(SIZE - side + 1), side, values };
  };
  const { label, values } = anyDigit();
  const pieces = Array.from({ length: PIECES }, () => {
    const [left, top] = [below(DIGIT - PIECE + 1), below(DIGIT - PIECE + 1)];
    return place(PIECE, crop(anyDigit().values, left, top));
  });
  return { label, parts: [place(DIGIT, values), ...pieces] };
}

/** Crops a piece of a digit. */
const crop = (values, left, top) =>
  Uint8Array.from({ length: PIECE ** 2 }, (_, i) => {
    const [row, column] = [top + Math.floor(i / PIECE), left + (i % PIECE)];
    return values[row * DIGIT + column];
  });

/** Adds the parts to an empty picture; clips intensities at 255. */
export function flatten(parts) {
  const picture = new Uint8ClampedArray(SIZE ** 2);
  for (const { left, top, side, values } of parts) {
    for (let i = 0; i < side ** 2; i++) {
      picture[(top + Math.floor(i / side)) * SIZE + left + (i % side)] += values[i];
    }
  }
  return new Uint8Array(picture.buffer);
}

/** Moves a part to a place, which is rounded and limited to the picture. */
export function move(part, left, top) {
  const limit = (at) => Math.min(SIZE - part.side, Math.max(0, Math.round(at)));
  [part.left, part.top] = [limit(left), limit(top)];
}

/** Returns the part at a point of the picture; the smallest one if several are there. */
export function partAt(parts, x, y) {
  const holds = ({ left, top, side }) =>
    Math.max(Math.abs(x - left - side / 2), Math.abs(y - top - side / 2)) <= side / 2;
  return [...parts].reverse().find(holds); // pieces before the digit
}

/** Draws strokes as a digit of MNIST with soft edges: the mean of 16 slightly shifted images. */
export function greyDigit(strokes) {
  const placed = centred(strokes, DIGIT, DIGIT);
  const shifts = [-3, -1, 1, 3].map((eighths) => eighths / 8 / DIGIT);
  const sum = new Float32Array(DIGIT ** 2);
  for (const dx of shifts) {
    for (const dy of shifts) {
      const shifted = placed.map((stroke) => stroke.map(([x, y]) => [x + dx, y + dy]));
      rasterise(shifted, DIGIT, DIGIT).forEach((value, i) => (sum[i] += value / 16));
    }
  }
  return Uint8Array.from(sum, (mean) => Math.round(mean));
}

/** Encodes the places of the parts, four decimal digits each. */
export const toPlaces = (parts) =>
  parts
    .map(({ left, top }) => [left, top].map((at) => String(at).padStart(2, "0")).join(""))
    .join("");

/** Moves the parts to encoded places; returns false if the text is not a valid encoding. */
export function applyPlaces(parts, text) {
  if (!/^\d+$/.test(text ?? "") || text.length !== 4 * parts.length) return false;
  parts.forEach((part, i) => {
    const at = (offset) => Number(text.slice(4 * i + offset, 4 * i + offset + 2));
    move(part, at(0), at(2));
  });
  return true;
}
