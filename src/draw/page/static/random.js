/** Seeded normal noise, from xoshiro128** and the Box-Muller transform. */

const rotate = (x, k) => (x << k) | (x >>> (32 - k));

/** Mixes an integer into a 32-bit state with the final mixing function of MurmurHash3. */
function mix(state, number) {
  let h = Math.imul((state ^ number) + 0x9e3779b9, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) | 0;
}

/** Returns a generator of uniform numbers in (0, 1) for a key of integers. */
export function uniforms(...key) {
  const start = key.reduce(mix, key.length);
  const s = Int32Array.from({ length: 4 }, (_, i) => mix(start, i + 1));
  return () => {
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 11);
    return (result + 0.5) / 2 ** 32;
  };
}

/** Draws `length` numbers from N(0, 1) for a key of integers. */
export function normals(length, ...key) {
  const uniform = uniforms(...key);
  const values = new Float32Array(length);
  for (let i = 0; i < length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < length) values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}

/** Returns a random seed from 0 to 9,999, short enough to write down. */
export const freshSeed = () => Math.floor(Math.random() * 10_000);
