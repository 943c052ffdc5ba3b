/**
 * The glimpse classifier (section 4.1): an LSTM that reads T patches of an image and predicts its
 * class.
 *
 * The same network as `classifier.py`, with the same names. Arrays are flat float32 [batch, ...].
 */

import { join, repeat } from "./arrays.js";
import { attend, read } from "./attention.js";
import { lstm, Parameters, scalarLayer } from "./layers.js";

export class GlimpseClassifier {
  /**
   * Takes config.json and the tensors of model.safetensors, and checks their shapes. `layer` makes
   * the affine layers.
   */
  constructor(config, tensors, layer = scalarLayer) {
    this.config = config;
    const { height, width, channels, hidden_size: hidden, read_size: n, classes } = config;
    this.pixels = channels * height * width;
    const layers = new Parameters(tensors, layer, hidden);
    this.cell = layers.lstm("cell", channels * n ** 2);
    this.read_window = layers.linear("read_window", 5); // eq. 21
    this.head = layers.linear("head", classes);
    this.h_0 = layers.take("h_0", hidden);
    this.c_0 = layers.take("c_0", hidden);
  }

  /** Repeats the learned h_0 and c_0 for each image of the batch. */
  initialState(batch) {
    return { h: repeat(this.h_0, batch), c: repeat(this.c_0, batch) };
  }

  /**
   * Reads one patch of each of the images x, in [0, 1], and updates the LSTM (eqs. 21-27, without
   * x_hat). Returns the next state and the windows.
   */
  encodeStep(x, state) {
    const { channels, read_size: n } = this.config;
    const params = this.read_window(state.h); // eq. 21, from h_{t-1}
    const [r, windows] = attend(read, x, channels, params, this.config, n); // eq. 27
    const [h, c] = lstm(this.cell, r, state.h, state.c);
    return [{ h, c }, windows];
  }

  /**
   * Classifies the images x. Yields after each glimpse, so that a run can be stopped; returns the
   * logits [T, batch, classes] and the windows of each glimpse.
   */
  *forward(x) {
    let state = this.initialState(x.length / this.pixels);
    const [states, read_window] = [[], []];
    for (let t = 0; t < this.config.glimpses; t++) {
      const [next, windows] = this.encodeStep(x, state);
      state = next;
      states.push(state.h);
      read_window.push(windows);
      yield;
    }
    return { logits: this.head(join(states)), read_window };
  }
}
