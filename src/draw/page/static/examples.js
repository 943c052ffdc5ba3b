/** Example digits, for visitors who do not draw their own. */

import { digitShare, fromText, toText } from "./ink.js";

/** Converts points in percent, "30,20 40,10", to a stroke along a Catmull-Rom spline. */
function curve(text) {
  const points = text.split(" ").map((pair) => pair.split(",").map((percent) => percent / 100));
  const at = (i) => points[Math.min(points.length - 1, Math.max(0, i))];
  const stroke = [];
  for (let i = 0; i + 1 < points.length; i++) {
    for (let u = 0; u < 1; u += 0.125) {
      const weights = [
        (-(u ** 3) + 2 * u ** 2 - u) / 2,
        (3 * u ** 3 - 5 * u ** 2 + 2) / 2,
        (-3 * u ** 3 + 4 * u ** 2 + u) / 2,
        (u ** 3 - u ** 2) / 2,
      ];
      const along = (axis) => weights.reduce((sum, w, k) => sum + w * at(i - 1 + k)[axis], 0);
      stroke.push([along(0), along(1)]);
    }
  }
  return [...stroke, at(points.length)];
}

/** Rounds the curves exactly as the page's address does, so that the two can be compared. */
const strokes = (...curves) => fromText(toText(curves.map(curve)));

export const EXAMPLES = {
  2: strokes("30,30 40,20 55,18 66,28 62,45 45,63 29,78", "29,78 50,76 72,77"),
  3: strokes("33,24 47,17 62,22 63,36 46,47 63,53 67,69 52,82 31,76"),
  5: strokes("68,20 42,21", "42,21 38,45 54,43 66,55 64,73 48,82 30,75"),
  8: strokes("62,27 50,18 38,27 44,41 60,54 64,72 50,82 36,72 42,54 59,41 62,27"),
};

/** Pictures with low and with high costs: the networks have seen digits only. */
export const PRESETS = {
  1: strokes("41,29 52,18", "52,18 52,82"),
  5: EXAMPLES[5],
  8: EXAMPLES[8],
  A: strokes("28,82 50,18", "50,18 72,82", "37,58 63,58"),
  "☺": strokes(
    "50,15 75,25 85,50 75,75 50,85 25,75 15,50 25,25 50,15",
    "38,38 38,41",
    "62,38 62,41",
    "32,60 40,68 50,71 60,68 68,60",
  ),
  "#": strokes("18,36 82,36", "18,64 82,64", "36,18 36,82", "64,18 64,82"),
};
export const SPOKEN = { A: "the letter A", "☺": "a smiley", "#": "a grid" };

/** Returns the top left corner of each digit of an example, and the side of a digit. */
export function places(size) {
  const share = digitShare(size);
  const corners = share === 1 ? [0] : [(1 - share) / 8, (7 * (1 - share)) / 8];
  return { share, corners };
}

/**
 * Returns the first part of each example as [name, strokes]. Where a picture has room for two
 * digits, each example shows one of the four digits and the next one.
 */
export function examplesFor(size, part = 1, pictures = EXAMPLES) {
  const { share, corners } = places(size);
  if (share < 1) pictures = EXAMPLES;
  const names = Object.keys(pictures);
  const at = (name, corner) =>
    beginning(pictures[name], part).map((stroke) =>
      stroke.map((point) => point.map((value) => corner + share * value)),
    );
  return names.map((_, i) => {
    const digits = corners.map((_, k) => names[(i + k) % names.length]);
    const drawn = digits.flatMap((name, k) => at(name, corners[k]));
    return [digits.join(" "), fromText(toText(drawn))];
  });
}

/** Returns the first part of some strokes, with a given fraction of their points. */
export function beginning(strokes, fraction) {
  let left = Math.ceil(fraction * strokes.flat().length);
  const parts = strokes.map((stroke) => {
    const part = stroke.slice(0, Math.max(0, left));
    left -= stroke.length;
    return part;
  });
  return parts.filter((part) => part.length > 0);
}

/** Returns the index of the example [name, strokes] that was drawn, or -1. */
export function indexOfExample(examples, strokes) {
  const drawn = toText(strokes);
  return examples.findIndex(([, its]) => toText(its) === drawn);
}

/**
 * Adds a button for each example, which calls `take(name, number)`. Returns a function that marks
 * the example with a number as the one that is shown.
 */
export function exampleButtons(place, take, names = Object.keys(EXAMPLES)) {
  const buttons = names.map((name, number) => {
    const onclick = () => take(name, number);
    const button = document.createElement("button");
    const spoken = SPOKEN[name];
    if (spoken) Object.assign(button, { title: spoken, ariaLabel: spoken });
    return Object.assign(button, { type: "button", textContent: name, onclick });
  });
  place.replaceChildren(...buttons);
  return (shown) => buttons.forEach((button, i) => (button.ariaPressed = String(i === shown)));
}
