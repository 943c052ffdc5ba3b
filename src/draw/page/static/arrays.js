/** Operations on flat arrays of numbers in row-major order. */

/** [count * n] -> count views [n]. */
export const split = (values, count) =>
  Array.from({ length: count }, (_, i) =>
    values.subarray((i * values.length) / count, ((i + 1) * values.length) / count),
  );

/** Concatenates arrays of numbers. */
export function join(parts, Numbers = Float32Array) {
  const result = new Numbers(parts.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const part of parts) {
    result.set(part, start);
    start += part.length;
  }
  return result;
}

/** Adds two arrays; a loop is several times faster than `map`. */
export function add(a, b) {
  const sum = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) sum[i] = a[i] + b[i];
  return sum;
}

/** Subtracts the array b from a. */
export function subtract(a, b) {
  const difference = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) difference[i] = a[i] - b[i];
  return difference;
}

/** Repeats the same values for each image of a batch. */
export const repeat = (values, batch) => join(new Array(batch).fill(values));

/** [batch, m] and [batch, n] -> [batch, m + n]. */
export function concatenate(left, right, batch) {
  const rights = split(right, batch);
  return join(split(left, batch).flatMap((part, b) => [part, rights[b]]));
}

/** [batch, 2 n] -> two times [batch, n]. */
export function halves(both, batch) {
  const parts = split(both, 2 * batch);
  return [0, 1].map((half) => join(parts.filter((_, i) => i % 2 === half)));
}
