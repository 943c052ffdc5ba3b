/**
 * The layers of both networks: affine layers and LSTM cells.
 *
 * Affine layers, x -> W x + bias for each x of a batch [batch, columns] -> [batch, rows], take
 * most of the time of a glimpse. `kernel.wasm`, assembled from `kernel.wat`, computes them with SIMD
 * instructions. Browsers that cannot run it use JavaScript, which is ten times slower.
 */

import { concatenate } from "./arrays.js";
import { fetchFile } from "./loading.js";

const LANES = 4; // numbers per SIMD register
const BYTES = 4; // per float32
const PAGE = 2 ** 16; // bytes, the unit in which WebAssembly's memory grows

const padded = (count) => LANES * Math.ceil(count / LANES);

/** Returns the function that makes layers from weights [rows, columns] and biases [rows]. */
export async function loadLayers() {
  try {
    const code = await (await fetchFile("kernel.wasm")).arrayBuffer();
    return simdLayers(await WebAssembly.compile(code));
  } catch {
    return scalarLayer; // no WebAssembly, no SIMD, or a security policy forbids it
  }
}

/**
 * Makes a layer in JavaScript, which is also the reference for the kernel. It computes four rows at
 * once, so that additions need not wait for each other.
 */
export function scalarLayer(weight, bias) {
  const rows = bias.length;
  const columns = weight.length / rows;
  return (x) => {
    const batch = x.length / columns;
    const y = new Float32Array(batch * rows);
    for (let o = 0; o < rows; o += 4) {
      const [o1, o2, o3] = [o + 1, o + 2, o + 3].map((next) => Math.min(next, rows - 1));
      const [w0, w1, w2, w3] = [o * columns, o1 * columns, o2 * columns, o3 * columns];
      for (let b = 0; b < batch; b++) {
        const start = b * columns;
        let s0 = bias[o];
        let s1 = bias[o1];
        let s2 = bias[o2];
        let s3 = bias[o3];
        for (let k = 0; k < columns; k++) {
          const value = x[start + k];
          s0 += weight[w0 + k] * value;
          s1 += weight[w1 + k] * value;
          s2 += weight[w2 + k] * value;
          s3 += weight[w3 + k] * value;
        }
        y[b * rows + o] = s0;
        y[b * rows + o1] = s1;
        y[b * rows + o2] = s2;
        y[b * rows + o3] = s3;
      }
    }
    return y;
  };
}

/** Returns a function like `scalarLayer` whose layers share one instance of the compiled kernel. */
export function simdLayers(module) {
  const { memory, linear } = new WebAssembly.Instance(module).exports;
  let numbers = new Float32Array(memory.buffer); // weights and biases, then one layer's x and y
  let end = 0; // position after the weights and biases, in numbers

  /** Extends the memory to at least `count` numbers. */
  const reserve = (count) => {
    if (count <= numbers.length) return;
    memory.grow(Math.ceil(((count - numbers.length) * BYTES) / PAGE));
    numbers = new Float32Array(memory.buffer);
  };

  return (weight, bias) => {
    const rows = bias.length;
    const columns = weight.length / rows;
    const [height, width] = [padded(rows), padded(columns)];
    const [weightAt, biasAt] = [end, end + height * width];
    end = biasAt + height;
    reserve(end);
    putRows(weight, columns, numbers, weightAt, width);
    numbers.set(bias, biasAt);
    return (x) => {
      const batch = x.length / columns;
      const yAt = end + batch * width;
      reserve(yAt + batch * height);
      putRows(x, columns, numbers, end, width);
      const addresses = [weightAt, biasAt, end, yAt].map((at) => at * BYTES);
      linear(...addresses, height, width, batch);
      return takeRows(numbers, yAt, height, rows, batch);
    };
  };
}

/** Copies rows of `width` numbers to a position of `to`, where each is padded with zeros. */
function putRows(from, width, to, at, paddedWidth) {
  if (width === paddedWidth) return to.set(from, at);
  to.fill(0, at, at + (from.length / width) * paddedWidth);
  for (let start = 0; start < from.length; start += width, at += paddedWidth) {
    to.set(from.subarray(start, start + width), at);
  }
}

/** Copies rows of `width` numbers from a position of `from`, where they are padded. */
function takeRows(from, at, paddedWidth, width, count) {
  if (width === paddedWidth) return from.slice(at, at + count * width);
  const rows = new Float32Array(count * width);
  for (let start = 0; start < rows.length; start += width, at += paddedWidth) {
    rows.set(from.subarray(at, at + width), start);
  }
  return rows;
}

// -------------------------------------------------------------------- layers of a saved model

/** Reads the layers of a model from its tensors, and checks their shapes. */
export class Parameters {
  /** `layer` makes affine layers, and `hidden` is the size of the LSTM's state. */
  constructor(tensors, layer, hidden) {
    Object.assign(this, { tensors, layer, hidden });
  }

  /** Returns the numbers of a tensor. */
  take(name, ...shape) {
    const tensor = this.tensors[name];
    if (!tensor || String(tensor.shape) !== String(shape)) {
      const given = tensor ? `has shape [${tensor.shape}]` : "is missing";
      throw new Error(`${name} ${given}; this model needs shape [${shape}]`);
    }
    return tensor.values;
  }

  linear(name, outputs, inputs = this.hidden) {
    const weight = this.take(`${name}.weight`, outputs, inputs);
    return this.layer(weight, this.take(`${name}.bias`, outputs));
  }

  /** Merges the two products of an LSTM cell, with its input and with its state, into one. */
  lstm(name, inputs) {
    const { hidden } = this;
    const rows = 4 * hidden;
    const fromInput = this.take(`${name}.weight_ih`, rows, inputs);
    const weight = concatenate(fromInput, this.take(`${name}.weight_hh`, rows, hidden), rows);
    const other = this.take(`${name}.bias_hh`, rows);
    const bias = this.take(`${name}.bias_ih`, rows).map((value, i) => value + other[i]);
    return { gates: this.layer(weight, bias), hidden };
  }
}

/** Applies an LSTM cell with gates in the order i, f, g, o. Returns [h, c]. */
export function lstm(cell, x, h, c) {
  const { hidden } = cell;
  const gates = cell.gates(concatenate(x, h, h.length / hidden));
  const h_next = new Float32Array(h.length);
  const c_next = new Float32Array(c.length);
  for (let start = 0; start < h.length; start += hidden) {
    for (let i = start, gate = 4 * start; i < start + hidden; i++, gate++) {
      const kept = sigmoid(gates[gate + hidden]) * c[i];
      c_next[i] = kept + sigmoid(gates[gate]) * tanh(gates[gate + 2 * hidden]);
      h_next[i] = sigmoid(gates[gate + 3 * hidden]) * tanh(c_next[i]);
    }
  }
  return [h_next, c_next];
}

/** Computes the hyperbolic tangent, faster than Math.tanh. */
const tanh = (x) => 2 * sigmoid(2 * x) - 1;

/** Computes 1 / (1 + e^-x), which converts a logit to a probability. */
export const sigmoid = (x) => 1 / (1 + exp(-x));

const MAX_EXPONENT = 87; // e^87 is near the largest float32
const MAX_POWER = 126; // of two, in e^87
const POWERS = Float64Array.from({ length: 2 * MAX_POWER + 1 }, (_, i) => 2 ** (i - MAX_POWER));

/**
 * Computes e^x to 1e-11 for |x| <= 87, and the value at the nearest bound beyond; three times as
 * fast as Math.exp. With x = k ln 2 + r and |r| <= ln 2 / 2, e^x = 2^k e^r; e^r is a Taylor series.
 */
export function exp(x) {
  const bounded = Math.min(MAX_EXPONENT, Math.max(-MAX_EXPONENT, x));
  const k = Math.floor(bounded * Math.LOG2E + 0.5);
  const r = bounded - k * Math.LN2;
  const high = 1 / 720 + r * (1 / 5040 + r * (1 / 40320 + r * (1 / 362880)));
  return (
    POWERS[k + MAX_POWER] *
    (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * high))))))
  );
}
