/**
 * DRAW: an encoder that reads and a decoder that writes, glimpse by glimpse (sections 2 and 3).
 *
 * The same network as `model.py`, with the same names. The two pure functions `encodeStep` and
 * `decodeStep` contain all the mathematics; `forward` and `generate` call them at each glimpse. Every
 * array is flat float32 [batch, ...] in row-major order.
 */

import { add, concatenate, halves, join, repeat, split, subtract } from "./arrays.js";
import { attend, read, write } from "./attention.js";
import { lstm, Parameters, scalarLayer } from "./layers.js";
import { LIKELIHOODS } from "./likelihoods.js";

const STATE = ["canvas", "h_enc", "c_enc", "h_dec", "c_dec"]; // c_enc, c_dec: cell states

export class DRAW {
  /**
   * Takes config.json and the tensors of model.safetensors, and checks their shapes. `layer` makes
   * the affine layers.
   */
  constructor(config, tensors, layer = scalarLayer) {
    this.config = config;
    const { height, width, channels, hidden_size: hidden, latent_size: latent } = config;
    const { read_size: n_read, write_size: n_write } = config;
    this.likelihood = LIKELIHOODS[config.likelihood];
    this.planes = this.likelihood.canvasChannels(channels); // K
    this.pixels = channels * height * width;
    const r_size = 2 * (n_read === null ? this.pixels : channels * n_read ** 2);
    const w_size = this.planes * (n_write === null ? height * width : n_write ** 2);
    const layers = new Parameters(tensors, layer, hidden);
    this.encoder = layers.lstm("encoder", r_size + hidden); // eq. 5
    this.posterior = layers.linear("posterior", 2 * latent); // eqs. 1, 2
    this.decoder = layers.lstm("decoder", latent); // eq. 7
    this.patch = layers.linear("patch", w_size); // eqs. 18, 28
    this.read_window = n_read === null ? null : layers.linear("read_window", 5); // eq. 21
    this.write_window = n_write === null ? null : layers.linear("write_window", 5); // eq. 21
    this.canvas_0 = layers.take("canvas_0", this.planes, height, width);
    for (const name of STATE.slice(1)) this[`${name}_0`] = layers.take(`${name}_0`, hidden);
  }

  /** Returns the mean images [batch, C, H, W] of canvases [batch, K, H, W], in [0, 1]. */
  mean(canvas) {
    const canvases = split(canvas, canvas.length / this.canvas_0.length);
    return join(canvases.map((each) => this.likelihood.mean(each, this.config.channels)));
  }

  /** Returns log D(x | c) of each image in nats (eq. 9). */
  logLikelihood(x, canvas) {
    const canvases = split(canvas, canvas.length / this.canvas_0.length);
    const images = split(x, canvases.length);
    const { channels } = this.config;
    return canvases.map((each, b) => this.likelihood.logLikelihood(images[b], each, channels));
  }

  // ------------------------------------------------------------------ the two pure steps

  /** Repeats the learned c_0, h_enc_0 and h_dec_0 for each image of the batch. */
  initialState(batch) {
    return Object.fromEntries(STATE.map((name) => [name, repeat(this[`${name}_0`], batch)]));
  }

  /**
   * Reads the images x, in [0, 1], and their difference from the canvas; samples z_t with the
   * standard normal noise eps (eqs. 3-6). Returns the next state and the encoder's outputs.
   */
  encodeStep(x, state, eps) {
    const { channels, latent_size: Z, read_size: n } = this.config;
    const batch = x.length / this.pixels;
    const x_hat = subtract(x, this.mean(state.canvas)); // eq. 3
    for (let i = 0; i < x_hat.length; i++) x_hat[i] *= this.likelihood.errorScale;
    const both = concatenate(x, x_hat, batch); // [batch, 2 C, H, W]
    let [r, windows] = [both, null]; // eq. 17
    if (this.read_window) {
      const params = this.read_window(state.h_dec); // eq. 21, from h_dec_{t-1}
      [r, windows] = attend(read, both, 2 * channels, params, this.config, n); // eqs. 4, 27
    }
    const seen = concatenate(r, state.h_dec, batch);
    const [h_enc, c_enc] = lstm(this.encoder, seen, state.h_enc, state.c_enc); // eq. 5
    const [mu, log_sigma] = halves(this.posterior(h_enc), batch); // eqs. 1, 2
    const z = mu.map((mean, i) => mean + Math.exp(log_sigma[i]) * eps[i]); // eq. 6
    const kl = gaussianKL(mu, log_sigma, Z); // eqs. 10, 11
    return [
      { ...state, h_enc, c_enc },
      { r, mu, log_sigma, z, kl, windows },
    ];
  }

  /** Writes to the canvas (eqs. 7, 8, 14, 15). Returns the next state, the windows and w. */
  decodeStep(z, state) {
    const { write_size: n } = this.config;
    const [h_dec, c_dec] = lstm(this.decoder, z, state.h_dec, state.c_dec); // eq. 7
    const w = this.patch(h_dec); // eqs. 18, 28
    let [written, windows] = [w, null]; // eq. 18
    if (this.write_window) {
      const params = this.write_window(h_dec); // eq. 21, from h_dec_t
      [written, windows] = attend(write, w, this.planes, params, this.config, n); // eq. 29
    }
    const canvas = add(state.canvas, written); // eq. 8
    return [{ ...state, canvas, h_dec, c_dec }, windows, w];
  }

  // ------------------------------------------------------------------ loops over the steps
  // Both yield after each glimpse, so that a run can be stopped.

  /** Reconstructs the images x with the noise eps [T, batch, Z]; returns a trace. */
  *forward(x, eps) {
    const batch = x.length / this.pixels;
    const trace = { canvases: [], z: [], kl: [], read_window: [], write_window: [], glimpses: [] };
    let state = this.initialState(batch);
    for (const eps_t of split(eps, this.config.glimpses)) {
      const [encoded, output] = this.encodeStep(x, state, eps_t);
      const [next, windows, w] = this.decodeStep(output.z, encoded);
      state = next;
      trace.canvases.push(state.canvas);
      trace.z.push(output.z);
      trace.kl.push(output.kl);
      trace.read_window.push(output.windows);
      trace.glimpses.push(inside(output, next, w));
      trace.write_window.push(windows);
      yield;
    }
    trace.logLikelihood = this.logLikelihood(x, state.canvas); // eq. 9
    return trace;
  }

  /** Generates images from z [glimpses, batch, Z], which continue from `state` (eqs. 13-16). */
  *generate(z, batch, state = this.initialState(batch)) {
    const trace = { canvases: [], write_window: [], glimpses: [], state };
    for (const z_t of split(z, z.length / (batch * this.config.latent_size))) {
      const [next, windows, w] = this.decodeStep(z_t, trace.state); // eqs. 14, 15
      trace.glimpses.push(inside({ z: z_t }, next, w));
      trace.state = next;
      trace.canvases.push(next.canvas);
      trace.write_window.push(windows);
      yield;
    }
    return trace;
  }
}

/** Returns what the network computes inside one glimpse; the encoder's part is absent in samples. */
function inside({ r, mu, log_sigma, z }, { h_enc, h_dec }, w) {
  return r ? { r, h_enc, mu, log_sigma, z, h_dec, w } : { z, h_dec, w };
}

/** Returns KL(N(mu, sigma), N(0, I)) of each image in nats (one term of eqs. 10, 11). */
function gaussianKL(mu, log_sigma, Z) {
  const kl = new Float32Array(mu.length / Z);
  for (let b = 0; b < kl.length; b++) {
    let sum = 0;
    for (let i = b * Z; i < (b + 1) * Z; i++) {
      sum += mu[i] ** 2 + Math.exp(2 * log_sigma[i]) - 2 * log_sigma[i] - 1;
    }
    kl[b] = sum / 2; // eqs. 10, 11
  }
  return kl;
}
