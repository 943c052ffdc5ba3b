/**
 * Runs a model for the page: each run is a generator that yields films as they are finished. After
 * each glimpse it yields undefined, so that it can be stopped.
 *
 * A film shows how one picture is drawn: `{glimpses, height, width, channels, readSize, writeSize,
 * photo, start, means, read, write, kl}`. `start` is the mean image of c_0 and `means` are those of
 * c_1..c_T: concatenated bytes [channels, height, width], of light if `photo` is true, else of ink.
 * `read` and `write` contain one window per glimpse and `kl` the nats per glimpse; each is null if it
 * does not apply. The films of one picture also contain `inside`, for each glimpse `{r, h_enc, mu,
 * log_sigma, z, h_dec, w}`; samples have no encoder, so the first four are absent. `trace.js` reads
 * films from files.
 */

import { join, repeat, split } from "./arrays.js";
import { read } from "./attention.js";
import { digitShare, isInk } from "./ink.js";
import { normals, uniforms } from "./random.js";

// First number of every noise key, so that different kinds of run use different noise.
const [PRIOR, POSTERIOR, FUTURE, WALK] = [0, 1, 2, 3];

const BATCH = 6; // samples per batch: fast, and the first ones appear soon
const MIN_SINE = 1e-3; // vectors at a smaller angle are interpolated linearly
const INITIAL_INK = 0.1; // probability of ink for open pixels, in a drawing of one digit

/**
 * Generates the samples from number `start`; sample i of a seed does not depend on the number of
 * samples (eqs. 13-16).
 */
export function* sample(model, { seed, count, start = 0 }) {
  const end = start + count;
  for (let first = start; first < end; first += BATCH) {
    const batch = Math.min(BATCH, end - first);
    const z = noise(model, batch, (b) => [PRIOR, seed, first + b]); // eq. 13
    yield { films: films(model, yield* model.generate(z, batch)) };
  }
}

/** Reconstructs an image of bytes, 0 to 255 (eqs. 3-12). */
export function* reconstruct(model, { pixels, seed }) {
  const x = Float32Array.from(pixels, (byte) => byte / 255);
  const eps = noise(model, 1, () => [POSTERIOR, seed]);
  const trace = yield* model.forward(x, eps);
  const [film] = films(model, trace);
  const canvases = [model.canvas_0, ...trace.canvases]; // c_0..c_T
  const nats = canvases.map((canvas) => model.logLikelihood(x, canvas)[0]);
  yield { films: [{ ...film, logLikelihood: nats, inside: trace.glimpses }] };
}

/** Generates one sample, with what the network computes inside each glimpse. */
export function* dream(model, { seed, index }) {
  const trace = yield* model.generate(noise(model, 1, () => [PRIOR, seed, index]), 1); // eq. 13
  const [film] = films(model, trace);
  yield { films: [{ ...film, inside: trace.glimpses }] };
}

/** Generates several futures of one sample, which share its first t glimpses. */
export function* fork(model, { seed, index, t, count, branch }) {
  const { latent_size: Z } = model.config;
  const first = noise(model, 1, () => [PRIOR, seed, index]).subarray(0, t * Z);
  const past = yield* model.generate(first, 1);
  const state = {};
  for (const [name, values] of Object.entries(past.state)) state[name] = repeat(values, count);
  const z = noise(model, count, (b) => [FUTURE, seed, index, branch, b]).subarray(t * count * Z);
  const future = yield* model.generate(z, count, state);
  const trace = {
    canvases: [...past.canvases.map((canvas) => repeat(canvas, count)), ...future.canvases],
    write_window: [
      ...past.write_window.map((windows) => windows && Array(count).fill(windows[0])),
      ...future.write_window,
    ],
  };
  yield { films: films(model, trace) };
}

/**
 * Morphs the image a into b, bytes, in equal steps. Encodes both with the same noise and
 * interpolates z at the glimpses in [start, end); the other glimpses keep the z of a.
 */
export function* morph(model, { a, b, seed, steps, range: [start, end] }) {
  const x = Float32Array.from([...a, ...b], (byte) => byte / 255);
  const eps = noise(model, 2, () => [POSTERIOR, seed]);
  const encoded = yield* model.forward(x, eps);
  const weights = Array.from({ length: steps + 1 }, (_, step) => step / steps);
  const z = encoded.z.flatMap((both, t) => {
    const [z_a, z_b] = split(both, 2);
    const isMixed = start <= t && t < end;
    return weights.map((weight) => (isMixed ? slerp(z_a, z_b, weight) : z_a));
  });
  yield { films: films(model, yield* model.generate(join(z), steps + 1)) };
}

/** Interpolates between two vectors along a great circle; nearly parallel ones linearly. */
function slerp(a, b, weight) {
  const dot = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const part = (share) =>
    Math.sin(angle) < MIN_SINE ? share : Math.sin(share * angle) / Math.sin(angle);
  const [of_a, of_b] = [part(1 - weight), part(weight)];
  return a.map((value, i) => of_a * value + of_b * b[i]);
}

/**
 * Completes a picture with clamped iterations (Rezende et al. 2014). The open pixels start at
 * random. Each round fills the open pixels, restores the known bytes, where the `mask` is not zero,
 * and reconstructs the image, which gives the next distribution of the open pixels. They are filled
 * with a sample; but samples of a Bernoulli likelihood are black and white, so photos are filled with
 * its mean. Yields the pictures of each round, and the films of the last one.
 */
export function* complete(model, { known, mask, seed, count, rounds }) {
  const { config, likelihood, pixels } = model;
  const usesMean = config.likelihood === "bernoulli" && !isInk(config);
  const fill = usesMean ? "mean" : "sample";
  let canvases = Array(count).fill(firstGuess(model));
  for (let round = 1; round <= rounds; round++) {
    const uniform = uniforms(WALK, seed, round);
    const x = join(canvases.map((canvas) => likelihood[fill](canvas, config.channels, uniform)));
    x.forEach((_, i) => {
      if (mask[i % pixels]) x[i] = known[i % pixels] / 255;
    });
    const eps = noise(model, count, (b) => [WALK, seed, round, b]);
    const trace = yield* model.forward(x, eps);
    canvases = split(trace.canvases.at(-1), count);
    if (round < rounds) yield { round, pictures: canvases.map((canvas) => bytes(model, canvas)) };
    else yield { round, films: films(model, trace) };
  }
}

/** Returns the canvas from which the open pixels are sampled first: little ink, or c_0. */
function firstGuess({ config, canvas_0 }) {
  if (!isInk(config)) return canvas_0;
  const ink = INITIAL_INK * digitShare(config) ** 2; // probability
  return new Float32Array(canvas_0.length).fill(Math.log(ink / (1 - ink)));
}

/** Classifies an image of bytes, 0 to 255; its film shows the glimpses on the unchanged image. */
export function* classify(model, { pixels }) {
  const { glimpses, height, width, channels, read_size: readSize, classes } = model.config;
  const x = Float32Array.from(pixels, (byte) => byte / 255);
  const { logits, read_window } = yield* model.forward(x);
  const film = {
    ...{ glimpses, height, width, channels, readSize, writeSize: null },
    start: pixels,
    means: Uint8Array.from(
      { length: glimpses * pixels.length },
      (_, i) => pixels[i % pixels.length],
    ),
    read: read_window.map(([window]) => window),
    write: null,
    kl: null,
    patches: read_window.map(([window]) => read(x, channels, height, width, window, readSize)),
    probabilities: split(logits, logits.length / classes).map(softmax),
  };
  yield { films: [film] };
}

/** Converts logits to probabilities. */
function softmax(logits) {
  const largest = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Draws noise [T, batch, Z] with a separate key for each image. */
function noise(model, batch, keyOf) {
  const { glimpses: T, latent_size: Z } = model.config;
  const images = Array.from({ length: batch }, (_, b) => split(normals(T * Z, ...keyOf(b)), T));
  return join(images[0].flatMap((_, t) => images.map((glimpses) => glimpses[t])));
}

/** Converts canvases to pictures: the means of eq. 16, not samples. */
function bytes(model, canvas) {
  const mean = model.mean(canvas); // eq. 16
  const picture = new Uint8Array(mean.length); // Uint8Array.from would be five times slower
  for (let i = 0; i < mean.length; i++) picture[i] = Math.round(255 * mean[i]);
  return picture;
}

/** Splits the trace of a batch into films. */
function films(model, { canvases, read_window, write_window, kl }) {
  const { config, canvas_0 } = model;
  const { glimpses, height, width, channels, read_size: readSize, write_size: writeSize } = config;
  const count = canvases[0].length / canvas_0.length;
  const pictures = canvases.map((canvas) => split(bytes(model, canvas), count));
  const select = (values, b) => values?.[0] && values.map((value) => value[b]);
  return Array.from({ length: count }, (_, b) => ({
    ...{ glimpses, height, width, channels, readSize, writeSize, photo: !isInk(config) },
    start: bytes(model, canvas_0),
    means: join(pictures.map((images) => images[b]), Uint8Array),
    read: select(read_window, b) ?? null,
    write: select(write_window, b) ?? null,
    kl: select(kl, b) ?? null,
  }));
}
