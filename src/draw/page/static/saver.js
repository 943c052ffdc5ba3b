/** The worker that draws GIFs. It receives the request of `saveFilm` and returns a Blob. */

import { Gif } from "./gif.js";
import { drawPicture, setColours } from "./pictures.js";

const MAX_WIDTH = 720; // pixels
const MAX_SCALE = 6; // pixels per pixel of a picture
const GAP = 4;

onmessage = ({ data: { sheets, times, columns, colours } }) => {
  setColours(colours);
  const { width, height } = sheets[0][0];
  const rows = Math.ceil(sheets[0].length / columns);
  const room = (MAX_WIDTH - (columns - 1) * GAP) / columns;
  const scale = Math.max(1, Math.min(MAX_SCALE, Math.floor(room / width)));
  const [across, down] = [width * scale + GAP, height * scale + GAP];
  const canvas = new OffscreenCanvas(columns * across - GAP, rows * down - GAP);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const gif = new Gif(canvas.width, canvas.height);
  for (const [t, pictures] of sheets.entries()) {
    context.fillStyle = `rgb(${colours.ground})`;
    context.fillRect(0, 0, canvas.width, canvas.height);
    pictures.forEach((picture, i) => {
      const [x, y] = [(i % columns) * across, Math.floor(i / columns) * down];
      if (picture) drawPicture(context, picture, x, y, scale);
    });
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    gif.add(data, Math.round(times[t] / 10));
  }
  postMessage(gif.blob());
};
