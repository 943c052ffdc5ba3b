/**
 * What the page asks of a model: each run is a generator that yields films as soon as it has them.
 *
 * A film is one picture being painted: `{steps, height, width, channels, readSize, writeSize,
 * start, means, read, write, kl}`. `start` is the mean picture of c_0 and `means` are those of
 * c_1..c_T, as bytes [channels, height, width] one after the other; `read` and `write` hold a
 * window a step, `kl` the nats of each. What a film does not have is null. `trace.js` reads films
 * from files.
 */

import { digitShare } from "./ink.js";
import { logLikelihood, repeat, sigmoid } from "./model.js";
import { normals, uniforms } from "./random.js";

// The first number of every noise key, so that no two kinds of run share their noise.
const [PRIOR, POSTERIOR, FUTURE, WALK] = [0, 1, 2, 3];

const AT_ONCE = 4; // samples painted together: enough to be quick, few enough to come in soon
const INK_AT_FIRST = 0.1; // of the open pixels, in a digit's square, of a drawing to be finished

/** New pictures: sample i of a seed is the same whatever the others (eqs. 13-16). */
export function* sample(model, { seed, count }) {
  for (let first = 0; first < count; first += AT_ONCE) {
    const batch = Math.min(AT_ONCE, count - first);
    const z = noise(model, batch, (b) => [PRIOR, seed, first + b]); // eq. 13
    yield { films: films(model, model.generate(z, batch)) };
  }
}

/** One picture, bytes 0 to 255, looked at and repainted (eqs. 3-12). */
export function* reconstruct(model, { pixels, seed }) {
  const x = Float32Array.from(pixels, (byte) => byte / 255);
  const trace = model.forward(
    x,
    noise(model, 1, () => [POSTERIOR, seed]),
  );
  const [film] = films(model, trace);
  const start = logLikelihood(x, model.canvas_0, 1)[0];
  const nats = trace.canvas.map((canvas) => logLikelihood(x, canvas, 1)[0]);
  yield { films: [{ ...film, logLikelihood: [start, ...nats] }] }; // of c_0..c_T
}

/** Several futures of one sample, which share its first t steps. */
export function* fork(model, { seed, index, t, count, branch }) {
  const { latent_size: Z } = model.config;
  const past = model.generate(noise(model, 1, () => [PRIOR, seed, index]).subarray(0, t * Z), 1);
  const state = {};
  for (const [name, values] of Object.entries(past.state)) state[name] = repeat(values, count);
  const z = noise(model, count, (b) => [FUTURE, seed, index, branch, b]).subarray(t * count * Z);
  const future = model.generate(z, count, state);
  const trace = {
    canvas: [...past.canvas.map((canvas) => repeat(canvas, count)), ...future.canvas],
    write: [
      ...past.write.map((windows) => windows && Array(count).fill(windows[0])),
      ...future.write,
    ],
  };
  yield { films: films(model, trace) };
}

/**
 * Completions of a drawing by clamped iterations (Rezende et al. 2014): the open pixels start at
 * random; then, again and again, the picture is encoded and repainted, the open pixels are drawn
 * anew from what was painted, and the visitor's ink is put back.
 */
export function* complete(model, { ink, seed, count, rounds }) {
  const first = INK_AT_FIRST * digitShare(model.config) ** 2;
  let x = new Float32Array(count * model.pixels).fill(first); // each pixel's chance of ink
  for (let round = 1; round <= rounds; round++) {
    const uniform = uniforms(WALK, seed, round);
    x = x.map((chance, i) => (uniform() < chance || ink[i % model.pixels] ? 1 : 0));
    const trace = model.forward(
      x,
      noise(model, count, (b) => [WALK, seed, round, b]),
    );
    x = trace.canvas.at(-1).map(sigmoid);
    yield { round, films: films(model, trace) };
  }
}

/** The noise of every step of a batch, [T, batch, Z]; each image has a key of its own. */
function noise(model, batch, keyOf) {
  const { glimpses: T, latent_size: Z } = model.config;
  const all = new Float32Array(T * batch * Z);
  for (let b = 0; b < batch; b++) {
    const own = normals(T * Z, ...keyOf(b));
    for (let t = 0; t < T; t++) {
      all.set(own.subarray(t * Z, (t + 1) * Z), (t * batch + b) * Z);
    }
  }
  return all;
}

/** A canvas as a picture: the mean instead of a sample. */
const bytes = (canvas) => Uint8Array.from(canvas, (c) => Math.round(255 * sigmoid(c))); // eq. 16

/** A trace of a batch as its films. */
function films({ config, pixels, canvas_0 }, { canvas, read, write, kl }) {
  const count = canvas[0].length / pixels;
  const of = (values, b) => values?.[0] && values.map((value) => value[b]);
  return Array.from({ length: count }, (_, b) => {
    const means = new Uint8Array(canvas.length * pixels);
    canvas.forEach((logits, t) => {
      means.set(bytes(logits.subarray(b * pixels, (b + 1) * pixels)), t * pixels);
    });
    return {
      steps: canvas.length,
      height: config.height,
      width: config.width,
      channels: config.channels,
      readSize: config.read_size,
      writeSize: config.write_size,
      start: bytes(canvas_0),
      means,
      read: of(read, b) ?? null,
      write: of(write, b) ?? null,
      kl: of(kl, b) ?? null,
    };
  });
}
