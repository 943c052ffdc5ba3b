/**
 * Draws pictures on canvas elements, with sharp pixels and the outlines of windows. Read windows are
 * solid and have the tag R; write windows are dashed and have the tag W.
 *
 * A picture is `{height, width, channels, photo, values, windows, glow}`. `values` [channels, height,
 * width] are bytes from 0, paper, to 255, ink, or of light if `photo` is true. The values of a
 * difference are an Int16Array, from -255, too much ink, to 255, missing ink; for light, grey is zero.
 * Each of the `windows` is `{window, n, kind}` with kind "read" or "write". The optional `glow` tints
 * each pixel with a strength in [0, 1], in the colour of read windows or of the kind `glowKind`. Large
 * pictures show the tags of their windows, others if they are `tagged`.
 */

import { box } from "./attention.js";
import { isInk } from "./ink.js";

const TINT = 0.3; // opacity of a window's band, so that a wide one does not hide the picture
const [MIN_TAG, MAX_TAG] = [10, 16]; // side of a tag, pixels
const MIN_TAGGED = 150; // width of a picture, pixels; smaller ones have tags on request

export let colours = null; // the theme's colours: name -> [red, green, blue]

/** Reads the theme's colours from the style sheet; call again when the theme changes. */
export function readColours() {
  const root = document.documentElement;
  const style = getComputedStyle(root);
  const names = ["ground", "paper", "ink", "read", "write", "line", "soft"];
  colours = Object.fromEntries(
    names.map((name) => {
      const [light, dark] = style.getPropertyValue(`--${name}`).match(/#[0-9a-f]{6}/g);
      const hex = root.dataset.theme === "dark" ? dark : light;
      return [name, [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16))];
    }),
  );
}

/** Sets the theme's colours in a worker, which has no style sheet. */
export function setColours(values) {
  colours = values;
}

/** Returns a film's picture after glimpse t = 0..T, with windows of the given kinds. */
export function frame(film, t, kinds = []) {
  const { height, width, channels, photo } = film;
  const pixels = channels * height * width;
  const values = t === 0 ? film.start : film.means.subarray((t - 1) * pixels, t * pixels);
  const shown = kinds.filter((kind) => t > 0 && film[kind]);
  const windowOf = (kind) => ({ window: film[kind][t - 1], n: film[`${kind}Size`], kind });
  return { height, width, channels, photo, values, windows: shown.map(windowOf) };
}

export const shownOn = new WeakMap(); // canvas element -> its picture

/** Draws a picture on a canvas element at the size that the style sheet gives it. */
export function show(canvas, picture) {
  shownOn.set(canvas, picture);
  const wanted = (canvas.clientWidth * devicePixelRatio) / picture.width;
  const scale = Math.max(1, Math.ceil(wanted - 0.01));
  if (canvas.width !== picture.width * scale || canvas.height !== picture.height * scale) {
    canvas.width = picture.width * scale;
    canvas.height = picture.height * scale;
  }
  drawPicture(canvas.getContext("2d"), picture, 0, 0, scale);
}

/** Draws a picture at (x, y); each of its pixels becomes a square of `scale` pixels. */
export function drawPicture(context, picture, x, y, scale) {
  const { width, height } = picture;
  context.save();
  context.translate(x, y);
  context.beginPath();
  context.rect(0, 0, width * scale, height * scale);
  context.clip();
  context.imageSmoothingEnabled = false;
  context.drawImage(pixelsOf(picture), 0, 0, width * scale, height * scale);
  for (const { window, n, kind } of picture.windows ?? []) {
    outline(context, window, n, scale, kind);
    const isLarge = width * scale >= MIN_TAGGED * (globalThis.devicePixelRatio ?? 1);
    if (isLarge || picture.tagged) tag(context, window, n, scale, kind, [width * scale, height * scale]);
  }
  context.restore();
}

/** Returns the edges of a window's patch in screen pixels: left, top, right, bottom. */
function edges(context, window, n, scale) {
  const { left, top, right, bottom } = box(window, n);
  const far = 4 * Math.max(context.canvas.width, context.canvas.height);
  const pixel = (edge) => Math.round(Math.min(far, Math.max(-far, (edge - 0.5) * scale)));
  return [left, top, right, bottom].map(pixel);
}

/** Outlines a window: a line around the patch, in a tinted band as wide as the filters' sigma. */
function outline(context, window, n, scale, kind) {
  const [x, y, right, bottom] = edges(context, window, n, scale);
  const border = (width, opacity) => {
    const line = Math.max(1, Math.round(width));
    const shift = (line % 2) / 2; // so that the line's edges fall between pixels
    context.globalAlpha = opacity;
    context.lineWidth = line;
    context.strokeRect(x + shift, y + shift, right - x, bottom - y);
  };
  context.strokeStyle = `rgb(${colours[kind]})`;
  border(Math.sqrt(window.sigma2) * scale, TINT);
  const dash = Math.max(3, scale / 2);
  if (kind === "write") context.setLineDash([dash, 0.6 * dash]);
  border(scale / 8, 1);
  context.setLineDash([]);
}

/** Puts the letter R or W above the top left corner of a window, or inside the picture. */
function tag(context, window, n, scale, kind, [width, height]) {
  const [x, y] = edges(context, window, n, scale);
  const ratio = globalThis.devicePixelRatio ?? 1;
  const wanted = Math.min(width, height) / 16;
  const side = Math.round(Math.max(MIN_TAG * ratio, Math.min(wanted, MAX_TAG * ratio)));
  const left = Math.min(width - side, Math.max(0, x));
  const top = Math.min(height - side, Math.max(0, y - side));
  context.globalAlpha = 1;
  context.fillStyle = `rgb(${colours[kind]})`;
  context.fillRect(left, top, side, side);
  context.fillStyle = `rgb(${colours.paper})`;
  context.font = `700 ${0.85 * side}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(kind[0].toUpperCase(), left + side / 2, top + 0.55 * side);
}

/** Marks the centres of windows on a picture `size` pixels wide, and joins them with a line. */
export function drawPath(canvas, windows, size) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / size;
  const points = windows.map(({ g_x, g_y }) => [g_x, g_y].map((at) => (at - 0.5) * scale));
  context.save();
  context.strokeStyle = context.fillStyle = `rgb(${colours.read})`;
  context.lineWidth = Math.max(1, scale / 4);
  context.beginPath();
  for (const point of points) context.lineTo(...point);
  context.stroke();
  for (const [x, y] of points) {
    context.beginPath();
    context.arc(x, y, 0.8 * scale, 0, 2 * Math.PI);
    context.fill();
  }
  context.restore();
}

/** Returns an empty picture for a model with this configuration: paper, or grey among photos. */
export function blank(config) {
  const { height, width, channels } = config;
  const photo = !isInk(config);
  const values = new Uint8Array(channels * height * width).fill(photo ? 128 : 0);
  return { height, width, channels, photo, values };
}

/** Fills a grid with canvas elements, inside buttons that call `pick(index)` if it is given. */
export function tiles(grid, count, name, pick) {
  const canvases = Array.from({ length: count }, (_, i) => {
    const properties = { className: "square", role: "img", ariaLabel: `${name} ${i + 1}` };
    return Object.assign(document.createElement("canvas"), properties);
  });
  const cells = canvases.map((canvas, i) => {
    if (!pick) return canvas;
    const button = document.createElement("button");
    button.append(canvas);
    return Object.assign(button, { type: "button", onclick: () => pick(i), tabIndex: i && -1 });
  });
  grid.replaceChildren(...cells);
  if (pick) grid.onkeydown = (event) => moveFocus(grid, cells, event);
  return canvases;
}

/** Moves the focus in a grid of buttons with the arrow keys; Tab reaches only one of them. */
function moveFocus(grid, cells, event) {
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const from = cells.indexOf(event.target);
  const to = cells[from + moves[event.key]];
  if (!to) return;
  cells[from].tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
  event.preventDefault();
}

const scratch = new Map(); // "height x width" -> unscaled canvas and its image data

function pixelsOf({ height, width, channels, photo, values, glow, glowKind = "read" }) {
  const key = `${height} x ${width}`;
  if (!scratch.has(key)) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    scratch.set(key, { canvas, context, image: context.createImageData(width, height) });
  }
  const { canvas, context, image } = scratch.get(key);
  const { paper, ink, write } = colours;
  const light = colours[glowKind];
  const area = height * width;
  const strength = photo ? 0.5 : 0.8; // a strong glow would hide a photo
  const isDifference = values instanceof Int16Array;
  const mix = (from, to, share) => from + share * (to - from);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) {
      let value = values[channels === 1 ? i : c * area + i];
      if (photo) {
        if (isDifference) value = (value + 255) / 2;
      } else {
        const toward = value < 0 ? write : ink;
        value = mix(paper[c], toward[c], Math.abs(value) / 255);
      }
      image.data[4 * i + c] = glow ? mix(value, light[c], strength * glow[i]) : value;
    }
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
