/** Saves what a view shows, as a film or a picture. */

import { colours } from "./pictures.js";
import { REST_TIME } from "./player.js";
import { videoCodec } from "./webm.js";

export const isFilm = (format) => ["webm", "gif"].includes(format);

/**
 * Draws and compresses a file in a worker. `sheets` contain the pictures of one image, row by row,
 * with null for a gap: one per glimpse of a film, each for `time` milliseconds, and last the
 * finished pictures. A picture that is not a film may be a diagram instead. `captions` are the lines below each, `{text, link}`, or undefined.
 */
export async function save(name, format, { sheets, captions, columns, time }) {
  const times = sheets.map((_, i) => (i < sheets.length - 1 ? time : REST_TIME));
  const worker = new Worker(new URL("saver.js", import.meta.url), { type: "module" });
  const blob = await new Promise((resolve, reject) => {
    const fail = ({ message }) => reject(new Error(message ?? "the file could not be saved"));
    worker.onmessage = ({ data }) => (data.error ? fail(data.error) : resolve(data.blob));
    worker.onerror = fail;
    worker.postMessage({ format, sheets, captions, times, columns, colours });
  }).finally(() => worker.terminate());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Creates the menu of formats, which all views share; `view()` returns the current one. */
export async function initMenu(menu, view) {
  const buttons = [...menu.querySelectorAll("[data-format]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      menu.hidePopover();
      view().save(button.dataset.format, menu.querySelector("input").checked);
    });
  }
  menu.addEventListener("beforetoggle", () => {
    for (const { parentElement: row, dataset } of buttons) {
      if (isFilm(dataset.format)) row.hidden = !view().player;
    }
  });
  const canEncode = await videoCodec().catch(() => undefined);
  menu.querySelector("[data-format=webm]").hidden = !canEncode; // a GIF needs no encoder
}
