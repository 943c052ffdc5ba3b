/** Converts vectors and signed patches of numbers to pictures. */

/** Returns a quantile of the magnitudes in some vectors. */
export function quantile(vectors, share) {
  const sorted = vectors.flatMap((vector) => [...vector].map(Math.abs)).sort((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))];
}

/** Scales values to -255..255, where 255 is the largest magnitude. */
export function signed(values) {
  const largest = Math.max(1e-9, ...values.map(Math.abs));
  return Int16Array.from(values, (value) => (255 * value) / largest);
}

/** Arranges a vector as a strip of squares, from light (-largest) to dark (largest). */
export function strip(vector, largest) {
  const columns = matchMedia("(max-width: 1100px)").matches ? 1 : 4; // squares, or strips
  const width = Math.ceil(Math.sqrt(vector.length / columns));
  const height = Math.ceil(vector.length / width);
  const shade = (value) => 127.5 * (1 + Math.min(1, Math.max(-1, value / largest)));
  const values = Uint8Array.from({ length: width * height }, (_, i) => shade(vector[i] ?? -largest));
  return { height, width, channels: 1, values };
}
