/** Encodes films as WebM with the browser's video encoder. */

const CODECS = { "vp09.00.31.08": "V_VP9", vp8: "V_VP8" }; // the first supported one is used
const BITRATE = 3_000_000; // per second; films whose pictures change little need less
const KEY_TIME = 1000; // milliseconds between two frames from which a player can start

/** Returns the first codec that the browser can encode; undefined if there is none. */
export async function videoCodec(width = 640, height = 480) {
  if (!globalThis.VideoEncoder) return undefined; // needs a secure context
  for (const codec of Object.keys(CODECS)) {
    const config = { codec, width, height, bitrate: BITRATE };
    if ((await VideoEncoder.isConfigSupported(config)).supported) return codec;
  }
  return undefined;
}

/**
 * Returns a WebM file. `draw(t)` draws frame t on the canvas, whose sides are even, and `times[t]` are
 * the milliseconds for which it is shown.
 */
export async function encodeVideo(canvas, draw, times) {
  const { width, height } = canvas;
  const codec = await videoCodec(width, height);
  const chunks = [];
  let failure = null;
  const encoder = new VideoEncoder({
    output: (chunk) => {
      const bytes = new Uint8Array(chunk.byteLength);
      chunk.copyTo(bytes);
      chunks.push({ bytes, time: chunk.timestamp / 1000, isKey: chunk.type === "key" });
    },
    error: (error) => (failure = error),
  });
  encoder.configure({ codec, width, height, bitrate: BITRATE, latencyMode: "quality" });
  let [time, keyTime] = [0, -Infinity];
  const encode = (at) => {
    const frame = new VideoFrame(canvas, { timestamp: 1000 * at }); // microseconds
    const keyFrame = at - keyTime >= KEY_TIME;
    if (keyFrame) keyTime = at;
    encoder.encode(frame, { keyFrame });
    frame.close();
  };
  for (const [t, duration] of times.entries()) {
    draw(t);
    encode(time);
    time += duration;
  }
  encode(time - 1); // once more, because some players ignore the duration of the last frame
  await encoder.flush();
  if (failure) throw failure;
  return new Blob(muxed(chunks, { width, height, duration: time, codec }), { type: "video/webm" });
}

/** Writes the chunks to a Matroska container (RFC 9559): one cluster per key frame, and an index. */
function muxed(chunks, { width, height, duration, codec }) {
  const header = element(0x1a45dfa3, [
    element(0x4286, uint(1)), // EBML version
    element(0x42f7, uint(1)),
    element(0x42f2, uint(4)), // longest element ID
    element(0x42f3, uint(8)), // longest size
    element(0x4282, ascii("webm")),
    element(0x4287, uint(2)), // version of the format
    element(0x4285, uint(2)),
  ]);
  const info = element(0x1549a966, [
    element(0x2ad7b1, uint(1_000_000)), // nanoseconds per unit of time
    element(0x4489, float(duration)),
    element(0x4d80, ascii("draw")),
    element(0x5741, ascii("draw")),
  ]);
  const video = element(0xe0, [element(0xb0, uint(width)), element(0xba, uint(height))]);
  const track = [element(0xd7, uint(1)), element(0x73c5, uint(1)), element(0x83, uint(1))]; // video 1
  track.push(element(0x86, ascii(CODECS[codec])), video);
  const tracks = element(0x1654ae6b, [element(0xae, track)]);
  const starts = chunks.flatMap(({ isKey }, i) => (isKey ? [i] : []));
  const clusters = starts.map((start, i) => cluster(chunks.slice(start, starts[i + 1])));
  let position = info.length + tracks.length;
  const cues = clusters.map(({ length }, i) => {
    const place = element(0xb7, [element(0xf7, uint(1)), element(0xf1, uint(position))]);
    position += length;
    return element(0xbb, [element(0xb3, uint(Math.round(chunks[starts[i]].time))), place]);
  });
  const segment = element(0x18538067, [info, tracks, ...clusters, element(0x1c53bb6b, cues)]);
  return [header, segment];
}

/** Frames with times relative to the first one, which is a key frame. */
function cluster(chunks) {
  const start = Math.round(chunks[0].time);
  const blocks = chunks.map(({ bytes, time, isKey }) => {
    const offset = Math.round(time) - start; // 16 bits
    return element(0xa3, [Uint8Array.of(0x81, offset >> 8, offset & 0xff, isKey ? 0x80 : 0), bytes]);
  });
  return element(0x1f43b675, [element(0xe7, uint(start)), ...blocks]);
}

/** An element: its ID, its size in eight bytes, and its content. */
function element(id, content) {
  const parts = [content].flat();
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const bytes = new Uint8Array(uint(id).length + 8 + size);
  bytes.set(uint(id));
  new DataView(bytes.buffer).setBigUint64(uint(id).length, (1n << 56n) | BigInt(size));
  let at = bytes.length - size;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A non-negative integer in as few bytes as possible, the highest one first. */
function uint(number) {
  const bytes = [];
  for (let left = number; left > 0 || !bytes.length; left = Math.floor(left / 256)) {
    bytes.unshift(left % 256);
  }
  return Uint8Array.from(bytes);
}

function float(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, number);
  return bytes;
}

const ascii = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
