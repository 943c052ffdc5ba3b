/** What is shown, kept in the page's address: `#view=fork&seed=7&t=20`. */

/** The address's settings, as text by name. */
export function readAddress() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** A seed of the address; undefined if it is none. */
export const seedOf = (text) => whole(text, 0, 999_999_999);

/** A whole number of the address, within bounds; undefined if it is none. */
export function whole(text, low, high) {
  const number = Number(text);
  return /^\d{1,9}$/.test(text ?? "") && number >= low && number <= high ? number : undefined;
}
