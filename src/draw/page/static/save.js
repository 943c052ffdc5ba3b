/** Saves a view's film as an animated GIF. */

import { colours } from "./pictures.js";
import { glimpseTime, REST_TIME } from "./player.js";

/**
 * Draws and compresses a film in a worker. Each of the `sheets` contains the pictures after one
 * glimpse, row by row, with null for a gap; the last sheet shows the finished pictures.
 */
export async function saveFilm(name, sheets, columns) {
  const last = sheets.length - 1;
  const times = sheets.map((_, t) => (t < last ? glimpseTime(last - 1) : REST_TIME));
  const worker = new Worker(new URL("saver.js", import.meta.url), { type: "module" });
  const blob = await new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message ?? "the film could not be saved"));
    worker.postMessage({ sheets, times, columns, colours });
  }).finally(() => worker.terminate());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.gif`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
