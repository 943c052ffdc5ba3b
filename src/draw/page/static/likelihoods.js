/**
 * The distributions D(x | c_T) of eq. 9, listed in `LIKELIHOODS`.
 *
 * The same distributions as in `likelihoods.py`, with the same names. Images x are flat float32
 * [C, H, W] and canvases [K, H, W], of one image; the first C canvas planes hold the mean.
 */

import { split } from "./arrays.js";
import { sigmoid } from "./layers.js";

const LEVELS = 256; // intensities k / 255 with k from 0 to 255
const HALF = 1 / (2 * (LEVELS - 1)); // half the distance between two levels
const INITIAL_SCALE = 0.1; // logistic scale s where the canvas is zero, in units of the full range
const MAX_LOG_SCALE = 7; // bound of |log s - log INITIAL_SCALE|

/** The paper's likelihood: the canvas holds logits, and D has mean sigmoid(c). */
class Bernoulli {
  errorScale = 1; // eq. 3: x_hat = x - mean

  /** Returns the number of canvas planes K of images with C channels. */
  canvasChannels(channels) {
    return channels;
  }

  /** Returns the mean image in [0, 1], which eq. 3 subtracts and pictures show. */
  mean(canvas) {
    const mean = new Float32Array(canvas.length); // canvas.map(sigmoid), but faster
    for (let i = 0; i < canvas.length; i++) mean[i] = sigmoid(canvas[i]);
    return mean;
  }

  /** Returns log D(x | c) in nats (`-L_x` of eq. 9), from logits, which cannot overflow. */
  logLikelihood(x, canvas) {
    let nats = 0;
    for (let i = 0; i < canvas.length; i++) nats += canvas[i] * x[i] + logsigmoid(-canvas[i]);
    return nats; // -L_x of eq. 9
  }

  /** Samples binary pixels from D(X | c) (eq. 16); `uniform()` draws numbers in (0, 1). */
  sample(canvas, channels, uniform) {
    return this.mean(canvas).map((probability) => Number(uniform() < probability));
  }
}

/**
 * A logistic distribution discretised to 256 intensities: the first C canvas planes give the location
 * mu = 1/2 + c/4, the next C the scale s.
 */
class DiscretisedLogistic {
  errorScale = 8; // x_hat = 8 (x - mean)

  canvasChannels(channels) {
    return 2 * channels;
  }

  /** Returns the location mu as a picture in [0, 1]. */
  mean(canvas, channels) {
    const mean = new Float32Array((channels * canvas.length) / this.canvasChannels(channels));
    for (let i = 0; i < mean.length; i++) mean[i] = clamp(0.5 + canvas[i] / 4);
    return mean;
  }

  /**
   * Returns log D(x | c) in nats (`-L_x` of eq. 9) of intensities k / 255. With F = sigmoid and bin
   * edges a > b, F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)).
   */
  logLikelihood(x, canvas, channels) {
    let [mu, log_s, coupling] = this._split(canvas, channels);
    mu = this._couple(x, mu, coupling, channels);
    let nats = 0;
    mu.forEach((location, i) => {
      const precision = Math.exp(-log_s[i]); // 1 / s
      const below = logsigmoid((x[i] + HALF - location) * precision); // mass below the upper edge
      const above = logsigmoid((location - x[i] + HALF) * precision); // mass above the lower edge
      const between = below + above + Math.log(-Math.expm1(-2 * HALF * precision));
      nats += x[i] < HALF ? below : x[i] > 1 - HALF ? above : between;
    });
    return nats;
  }

  /** Samples intensities k / 255 from D(X | c) (eq. 16), one channel after the other. */
  sample(canvas, channels, uniform) {
    const [mu, log_s, coupling] = this._split(canvas, channels);
    const noise = log_s.map((log) => Math.exp(log) * logit(uniform()));
    const x = new Float32Array(mu);
    const area = x.length / channels;
    for (let channel = 0; channel < channels; channel++) { // each depends on those before it
      const values = this._couple(x, mu, coupling, channels);
      for (let i = channel * area; i < (channel + 1) * area; i++) {
        x[i] = Math.round((LEVELS - 1) * clamp(values[i] + noise[i])) / (LEVELS - 1);
      }
    }
    return x;
  }

  /** Returns mu and log s, [C, H, W], and the remaining planes of the canvas, as float64. */
  _split(canvas, channels) {
    const size = (channels * canvas.length) / this.canvasChannels(channels); // C H W
    const numbers = Float64Array.from(canvas);
    const [location, stretch] = [numbers.subarray(0, size), numbers.subarray(size, 2 * size)];
    const mu = location.map((c) => 0.5 + c / 4);
    const log_s = stretch.map((c) => Math.log(INITIAL_SCALE) + MAX_LOG_SCALE * softsign(c / MAX_LOG_SCALE));
    return [mu, log_s, numbers.subarray(2 * size)];
  }

  /** Returns the location of each channel given the channels before it: here mu. */
  _couple(x, mu) {
    return mu;
  }
}

/**
 * A discretised logistic whose channels depend on each other: the location of each channel adds
 * multiples of the residuals x - m of the channels before it, where m is the mean picture. The
 * remaining canvas planes give the coefficients, one per pair of channels, as tanh(c/4 + 1/2).
 */
class CoupledLogistic extends DiscretisedLogistic {
  canvasChannels(channels) {
    return 2 * channels + (channels * (channels - 1)) / 2;
  }

  _couple(x, mu, coupling, channels) {
    const residuals = split(mu.map((location, i) => x[i] - clamp(location)), channels);
    const pairs = (channels * (channels - 1)) / 2;
    const coefficients = split(coupling.map((c) => Math.tanh(c / 4 + 0.5)), pairs).values();
    const coupled = mu.slice();
    split(coupled, channels).forEach((locations, channel) => {
      for (const residual of residuals.slice(0, channel)) {
        const coefficient = coefficients.next().value;
        residual.forEach((value, i) => (locations[i] += coefficient[i] * value));
      }
    });
    return coupled;
  }
}

const clamp = (value) => Math.min(1, Math.max(0, value));
const softsign = (value) => value / (1 + Math.abs(value));
const logit = (value) => Math.log(value) - Math.log1p(-value);
const logsigmoid = (value) => Math.min(value, 0) - Math.log1p(Math.exp(-Math.abs(value)));

export const LIKELIHOODS = {
  bernoulli: new Bernoulli(),
  logistic: new DiscretisedLogistic(),
  "coupled-logistic": new CoupledLogistic(),
};
