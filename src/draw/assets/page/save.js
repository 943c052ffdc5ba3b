/** Saves what a view plays as an animated GIF. */

import { Gif } from "./gif.js";
import { colours, paint } from "./pictures.js";
import { REST, stepTime } from "./player.js";

const WIDTH = 720; // pixels, at most
const LARGEST = 6; // pixels a side of one pixel, at most
const GAP = 4;

/**
 * `sheet(t, resting)` gives the pictures after step t, row by row, null for a gap. The button shows
 * how far it has come.
 */
export async function saveFilm(name, button, steps, columns, sheet) {
  const sheets = [];
  for (let t = 0; t <= steps; t++) sheets.push(sheet(t, false));
  sheets.push(sheet(steps, true));
  const { width, height } = sheets[0][0];
  const rows = Math.ceil(sheets[0].length / columns);
  const room = (WIDTH - (columns - 1) * GAP) / columns;
  const scale = Math.max(1, Math.min(LARGEST, Math.floor(room / width)));
  const [across, down] = [width * scale + GAP, height * scale + GAP];
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: columns * across - GAP, height: rows * down - GAP });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const gif = new Gif(canvas.width, canvas.height);
  const says = button.textContent;
  button.disabled = true;
  for (const [t, pictures] of sheets.entries()) {
    context.fillStyle = `rgb(${colours.ground})`;
    context.fillRect(0, 0, canvas.width, canvas.height);
    pictures.forEach((picture, i) => {
      const [x, y] = [(i % columns) * across, Math.floor(i / columns) * down];
      if (picture) paint(context, picture, x, y, scale);
    });
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    gif.add(data, Math.round((t > steps ? REST : stepTime(steps)) / 10));
    button.textContent = `Saving ${Math.round((100 * t) / (steps + 1))} %`;
    await new Promise((resolve) => setTimeout(resolve)); // let the page breathe
  }
  button.textContent = says;
  button.disabled = false;
  download(`${name}.gif`, gif.blob());
}

function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
