/** Draws small charts on canvas elements, in the theme's colours. */

import { colours } from "./pictures.js";

const AXIS = 14; // pixels below a histogram, for its numbers, and above it, for its label
const MARKS = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000]; // distances of these numbers

/** Clears a canvas element at its size on the screen; returns its context and size. */
function prepare(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  context.fillStyle = rgb("line");
  return { context, width, height };
}

const rgb = (name) => `rgb(${colours[name]})`;

/** Draws one bar per value, up to the largest one; `colourOf(i)` names the colour of bar i. */
export function drawBars(canvas, values, colourOf) {
  const { context, width, height } = prepare(canvas);
  context.fillRect(0, height - 1, width, 1);
  const highest = Math.max(...values, 1e-9);
  const each = width / Math.max(1, values.length);
  values.forEach((value, i) => {
    const bar = Math.max(1, (value / highest) * (height - 2));
    context.fillStyle = rgb(colourOf(i));
    context.fillRect(i * each, height - bar, barWidth(each), bar);
  });
}

const barWidth = (each) => Math.max(1, each - Math.min(3, each / 4));

/** Stacks the bars of two series, the first one below; marks bar `current`. */
export function drawStack(canvas, lower, upper, current) {
  const { context, width, height } = prepare(canvas);
  context.fillRect(0, height - 1, width, 1);
  const sums = lower.map((value, i) => value + upper[i]);
  const scale = (height - 2) / Math.max(...sums, 1e-9);
  const each = width / Math.max(1, lower.length);
  lower.forEach((value, i) => {
    const [low, high] = [value * scale, sums[i] * scale];
    context.fillStyle = rgb(i === current ? "write" : "ink");
    context.fillRect(i * each, height - low, barWidth(each), low);
    context.globalAlpha = i === current ? 0.6 : 1;
    context.fillStyle = rgb(i === current ? "write" : "soft");
    context.fillRect(i * each, height - high, barWidth(each), high - low - 1);
    context.globalAlpha = 1;
  });
}

/** Draws a histogram with bins of equal width from 0, and marks a value unless it is undefined. */
export function drawHistogram(canvas, { counts, bin }, value, scale = 1) {
  const { context, width, height } = prepare(canvas);
  const ground = height - AXIS;
  const end = Math.max(counts.length * bin, 1.08 * (value ?? 0));
  const at = (nats) => (nats / end) * width;
  const highest = Math.max(...counts);
  context.fillStyle = rgb("soft");
  counts.forEach((count, i) => {
    const bar = (count / highest) * (ground - AXIS);
    context.fillRect(at(i * bin), ground - bar, Math.max(1, at(bin) - 1), bar);
  });
  context.fillRect(0, ground, width, 1);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "bottom";
  const step = MARKS.find((size) => end * scale < 7 * size) ?? MARKS.at(-1);
  for (let mark = 0; at(mark / scale) < width - 16; mark += step) {
    context.textAlign = mark ? "center" : "left";
    context.fillText(mark.toLocaleString("en"), at(mark / scale), height);
  }
  if (value === undefined) return;
  context.fillStyle = rgb("write");
  context.fillRect(at(value) - 1, 0, 2, ground);
  context.textAlign = at(value) > width / 2 ? "right" : "left";
  context.textBaseline = "top";
  context.font = "600 12px system-ui, sans-serif";
  context.fillText("you are here", at(value) + (at(value) > width / 2 ? -6 : 6), 0);
}

/** Returns the share of a histogram's entries below a value. */
export function shareBelow({ counts, bin }, value) {
  const below = counts.map((count, i) => count * Math.min(1, Math.max(0, value / bin - i)));
  const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
  return sum(below) / sum(counts);
}
