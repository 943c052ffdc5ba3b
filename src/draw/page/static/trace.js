/** Reads trace files (docs/trace.md) as films (see `runs.js`). */

import { isInk } from "./ink.js";

const VERSION = 1;

/** Converts the parsed JSON of a trace file to films. */
export async function readTrace({ format, version, config, steps: glimpses, start, samples }) {
  if (format !== "draw-trace" || version !== VERSION) {
    const supported = `draw-trace ${VERSION}`;
    throw new Error(`the trace has format ${format} ${version}; this page reads ${supported}`);
  }
  const { height, width, channels, read_size: readSize, write_size: writeSize } = config;
  const pixels = channels * height * width;
  const first = await unpack(start, pixels);
  return Promise.all(
    samples.map(async (sample) => ({
      ...{ glimpses, height, width, channels, readSize, writeSize, photo: !isInk(config) },
      start: first,
      means: await unpack(sample.means, pixels),
      read: windows(sample.read),
      write: windows(sample.write),
      kl: sample.kl_nats,
    })),
  );
}

/** Decodes pictures: base64 of deflated bytes, each the difference from the previous picture. */
async function unpack(text, pixels) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const values = new Uint8Array(await new Response(inflated).arrayBuffer());
  for (let i = pixels; i < values.length; i++) values[i] += values[i - pixels]; // modulo 256
  return values;
}

/** Converts columns of numbers to one window per glimpse. */
function windows(columns) {
  return (
    columns &&
    columns.g_x.map((g_x, t) => ({
      g_x,
      g_y: columns.g_y[t],
      delta: columns.delta[t],
      sigma2: columns.sigma[t] ** 2,
      gamma: columns.gamma[t],
    }))
  );
}
