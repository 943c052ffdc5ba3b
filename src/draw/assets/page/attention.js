/**
 * Selective attention: a grid of Gaussian filters that moves and zooms (paper 3.2, eqs. 19-29).
 *
 * N is the patch size, A the image width, B its height; pixel coordinates run from 1, as in the
 * paper. Images are flat [channels, B, A], patches [channels, N, N], filters [N, A].
 */

const LIMIT = 40; // of the three logarithms, either way

/** The five numbers that a network emits, as a window (eqs. 21-24). */
export function windowOf(params, height, width, n) {
  const [g_x, g_y, ...logs] = params; // eq. 21
  const within = logs.map((log) => Math.min(LIMIT, Math.max(-LIMIT, log)));
  const [log_sigma2, log_delta, log_gamma] = within;
  return {
    g_x: ((width + 1) / 2) * (g_x + 1), // eq. 22
    g_y: ((height + 1) / 2) * (g_y + 1), // eq. 23
    delta: ((Math.max(height, width) - 1) / Math.max(n - 1, 1)) * Math.exp(log_delta), // eq. 24
    sigma2: Math.exp(log_sigma2),
    gamma: Math.exp(log_gamma),
  };
}

/** The centre of filter i = 1..N along one axis, pixels. */
export const centre = (g, delta, n, i) => g + delta * (i - n / 2 - 0.5); // eqs. 19, 20

/** One filter a row, a softmax over the pixels, so that it sums to one anywhere (eqs. 25, 26). */
export function filterbank(g, delta, sigma2, n, size) {
  const F = new Float32Array(n * size);
  for (let i = 0; i < n; i++) {
    const mu = centre(g, delta, n, i + 1);
    const nearest = Math.min(size, Math.max(1, Math.round(mu))); // its exponent is the largest
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

/** The filters of both axes. */
export function filterbanks({ g_x, g_y, delta, sigma2 }, height, width, n) {
  return {
    F_x: filterbank(g_x, delta, sigma2, n, width),
    F_y: filterbank(g_y, delta, sigma2, n, height),
  };
}

/** Looks at an image through a window: gamma F_y x F_x^T, each channel alike (eq. 27). */
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

/** Paints a patch onto an empty image: F_y^T w F_x / gamma (eq. 29). */
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

/** The patch's extent in pixels; a whole image spans 0.5 to A + 0.5. */
export function box({ g_x, g_y, delta }, n) {
  const half = (n * delta) / 2;
  return { left: g_x - half, top: g_y - half, right: g_x + half, bottom: g_y + half };
}
