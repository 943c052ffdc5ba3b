/**
 * Selective attention: a movable, scalable grid of Gaussian filters (section 3.2, eqs. 19-29).
 *
 * N is the patch size, A the image width and B its height. Pixel coordinates start at 1, as in the
 * paper. Images are flat [channels, B, A], patches [channels, N, N], filters [N, A].
 */

import { join, split } from "./arrays.js";

const MAX_LOG = 40; // bound of the magnitude of the three logarithms

/** Converts the network's five outputs to a window (eqs. 21-24). */
export function windowFromParams(params, height, width, n) {
  const [g_x, g_y, ...logs] = params; // eq. 21
  const bounded = logs.map((log) => Math.min(MAX_LOG, Math.max(-MAX_LOG, log)));
  const [log_sigma2, log_delta, log_gamma] = bounded;
  return {
    g_x: ((width + 1) / 2) * (g_x + 1), // eq. 22
    g_y: ((height + 1) / 2) * (g_y + 1), // eq. 23
    delta: ((Math.max(height, width) - 1) / Math.max(n - 1, 1)) * Math.exp(log_delta), // eq. 24
    sigma2: Math.exp(log_sigma2),
    gamma: Math.exp(log_gamma),
  };
}

/** Returns the centre of filter i = 1..N along one axis, in pixels. */
export const centre = (g, delta, n, i) => g + delta * (i - n / 2 - 0.5); // eqs. 19, 20

/**
 * Computes one filter per row. Each is a softmax over the pixels, so that it sums to one wherever
 * the window is (eqs. 25, 26).
 */
export function filterbank(g, delta, sigma2, n, size) {
  const F = new Float32Array(n * size);
  for (let i = 0; i < n; i++) {
    const mu = centre(g, delta, n, i + 1);
    const nearest = Math.min(size, Math.max(1, Math.round(mu))); // has the largest exponent
    const largest = -((nearest - mu) ** 2) / (2 * sigma2);
    let Z = 0;
    for (let a = 0; a < size; a++) {
      const value = Math.exp(-((a + 1 - mu) ** 2) / (2 * sigma2) - largest);
      F[i * size + a] = value;
      Z += value;
    }
    for (let a = 0; a < size; a++) F[i * size + a] /= Z; // eqs. 25, 26
  }
  return F;
}

/** Computes the filters of both axes. */
export function filterbanks({ g_x, g_y, delta, sigma2 }, height, width, n) {
  return {
    F_x: filterbank(g_x, delta, sigma2, n, width),
    F_y: filterbank(g_y, delta, sigma2, n, height),
  };
}

/** Reads a patch through a window: gamma F_y x F_x^T for each channel (eq. 27). */
export function read(image, channels, height, width, window, n) {
  const { F_x, F_y } = filterbanks(window, height, width, n);
  const patch = new Float32Array(channels * n * n);
  const row = new Float64Array(width);
  for (let c = 0; c < channels; c++) {
    for (let j = 0; j < n; j++) {
      row.fill(0); // row j of F_y x
      for (let b = 0; b < height; b++) {
        const f = F_y[j * height + b];
        const start = (c * height + b) * width;
        for (let a = 0; a < width; a++) row[a] += f * image[start + a];
      }
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let a = 0; a < width; a++) sum += row[a] * F_x[i * width + a];
        patch[(c * n + j) * n + i] = window.gamma * sum; // eq. 27
      }
    }
  }
  return patch;
}

/** Writes a patch to an empty image: F_y^T w F_x / gamma for each channel (eq. 29). */
export function write(patch, channels, height, width, window, n) {
  const { F_x, F_y } = filterbanks(window, height, width, n);
  const image = new Float32Array(channels * height * width);
  const row = new Float64Array(width);
  for (let c = 0; c < channels; c++) {
    for (let j = 0; j < n; j++) {
      row.fill(0); // row j of w F_x
      for (let i = 0; i < n; i++) {
        const w = patch[(c * n + j) * n + i] / window.gamma; // eq. 29
        for (let a = 0; a < width; a++) row[a] += w * F_x[i * width + a];
      }
      for (let b = 0; b < height; b++) {
        const f = F_y[j * height + b];
        const start = (c * height + b) * width;
        for (let a = 0; a < width; a++) image[start + a] += f * row[a];
      }
    }
  }
  return image;
}

/**
 * Applies `read` or `write` to each image of a batch, through the window of its params [batch, 5].
 * Returns the results and the windows.
 */
export function attend(operation, values, channels, params, { height, width }, n) {
  const windows = split(params, params.length / 5).map((each) =>
    windowFromParams(each, height, width, n),
  );
  const images = split(values, windows.length);
  const results = windows.map((window, b) =>
    operation(images[b], channels, height, width, window, n),
  );
  return [join(results), windows];
}

/** Returns the extent of the patch in pixels; a whole image spans 0.5 to A + 0.5. */
export function box({ g_x, g_y, delta }, n) {
  const half = (n * delta) / 2;
  return { left: g_x - half, top: g_y - half, right: g_x + half, bottom: g_y + half };
}
