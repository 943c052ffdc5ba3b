/** Saves what a view plays as an animated GIF. */

import { colours } from "./pictures.js";
import { REST, stepTime } from "./player.js";

/**
 * `sheets` holds the pictures after each step, row by row, null for a gap; the last sheet is the
 * finished film's, which stays. They are drawn and packed off the page's own thread.
 */
export async function saveFilm(name, sheets, columns) {
  const last = sheets.length - 1;
  const times = sheets.map((_, t) => (t < last ? stepTime(last - 1) : REST));
  const worker = new Worker(new URL("saver.js", import.meta.url), { type: "module" });
  try {
    download(`${name}.gif`, await answer(worker, { sheets, times, columns, colours }));
  } finally {
    worker.terminate();
  }
}

function answer(worker, question) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message ?? "the film cannot be saved"));
    worker.postMessage(question);
  });
}

function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
