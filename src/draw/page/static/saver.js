/** The worker that draws files. It receives the request of `save` and returns `{blob}` or `{error}`. */

import { Diagram } from "./diagram.js";
import { Gif } from "./gif.js";
import { setColours } from "./pictures.js";
import { Sheet } from "./sheet.js";
import { SvgContext } from "./svg.js";
import { encodeVideo } from "./webm.js";

const SMALL = { maxWidth: 720, maxScale: 6 };
const LARGE = { maxWidth: 960, maxScale: 12 };
const SIZES = { gif: SMALL, webm: { ...LARGE, unit: 2 }, png: LARGE, svg: LARGE };
const SCALES = { png: 2, svg: 1 }; // of diagrams

onmessage = async ({ data: { format, sheets, captions, times, columns, colours } }) => {
  setColours(colours);
  const hasCaption = Boolean(captions);
  const sheet = Array.isArray(sheets[0])
    ? new Sheet(sheets[0], columns, { ...SIZES[format], hasCaption })
    : new Diagram(sheets[0], { scale: SCALES[format], hasCaption });
  const draw = (context, t) => sheet.draw(context, sheets[t], captions?.[t]);
  try {
    postMessage({ blob: await WRITERS[format](sheet, draw, times) });
  } catch ({ message }) {
    postMessage({ error: { message } });
  }
};

/** Creates a canvas element's context of the sheet's size. */
const contextOf = ({ width, height }) =>
  new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });

const WRITERS = {
  png(sheet, draw) {
    const context = contextOf(sheet);
    draw(context, 0);
    return context.canvas.convertToBlob();
  },

  svg(sheet, draw) {
    const context = new SvgContext(sheet.width, sheet.height);
    draw(context, 0);
    return context.blob();
  },

  gif(sheet, draw, times) {
    const context = contextOf(sheet);
    const gif = new Gif(sheet.width, sheet.height);
    for (const [t, time] of times.entries()) {
      draw(context, t);
      gif.add(context.getImageData(0, 0, sheet.width, sheet.height).data, Math.round(time / 10));
    }
    return gif.blob();
  },

  webm(sheet, draw, times) {
    const context = contextOf(sheet);
    return encodeVideo(context.canvas, (t) => draw(context, t), times);
  },
};
