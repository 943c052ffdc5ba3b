/** Reads the traces that `draw` writes (docs/trace.md) as films, see `runs.js`. */

const VERSION = 1;

/** The films of a trace file, from its parsed JSON. */
export async function readTrace({ format, version, config, steps, start, samples }) {
  if (format !== "draw-trace" || version !== VERSION) {
    throw new Error(`the trace is ${format} ${version}; this page reads draw-trace ${VERSION}`);
  }
  const { height, width, channels, read_size: readSize, write_size: writeSize } = config;
  const pixels = channels * height * width;
  const first = await unpack(start, pixels);
  return Promise.all(
    samples.map(async (sample) => ({
      ...{ steps, height, width, channels, readSize, writeSize },
      start: first,
      means: await unpack(sample.means, pixels),
      read: windows(sample.read),
      write: windows(sample.write),
      kl: sample.kl_nats,
    })),
  );
}

/** Pictures from base64 of deflated bytes, each stored as its difference to the one before. */
async function unpack(text, pixels) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const values = new Uint8Array(await new Response(inflated).arrayBuffer());
  for (let i = pixels; i < values.length; i++) values[i] += values[i - pixels]; // modulo 256
  return values;
}

/** Columns of numbers as one window a step. */
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
