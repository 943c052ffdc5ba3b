/** Settings of the current view, stored in the page's address: `#view=fork&seed=7&t=20`. */

/** Parses a seed; returns undefined if the text is not a valid one. */
export const parseSeed = (text) => parseInteger(text, 0, 999_999_999);

/** Parses an integer between two bounds; returns undefined if the text is not one. */
export function parseInteger(text, low, high) {
  const number = Number(text);
  return /^\d{1,9}$/.test(text ?? "") && number >= low && number <= high ? number : undefined;
}

/** Formats a number with two digits after the point, or two significant ones if it is small. */
export const digits = (value) => (Math.abs(value) < 0.1 ? value.toPrecision(2) : value.toFixed(2));
