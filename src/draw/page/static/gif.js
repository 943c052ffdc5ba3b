/** Writes animated GIFs (GIF89a), in which each frame has its own colour table. */

const MAX_COLOURS = 255; // per frame; one more index means "unchanged"
const MAX_CODES = 4096; // a code has at most 12 bits

export class Gif {
  constructor(width, height) {
    this.size = [width, height];
    this.previous = null; // pixels of the previous frame
    const [w, h] = [word(width), word(height)];
    const endless = [0x21, 0xff, 11, ...ascii("NETSCAPE2.0"), 3, 1, 0, 0, 0];
    this.parts = [Uint8Array.of(...ascii("GIF89a"), ...w, ...h, 0x70, 0, 0, ...endless)];
  }

  /** Adds a frame of RGBA bytes that is shown for the given hundredths of a second. */
  add(rgba, hundredths) {
    const pixels = new Uint32Array(rgba.length / 4);
    for (let i = 0; i < pixels.length; i++) {
      const [red, green, blue] = [4 * i, 4 * i + 1, 4 * i + 2].map((at) => rgba[at] & 0xfc);
      pixels[i] = (red << 16) | (green << 8) | blue; // six bits per channel look the same
    }
    const counts = new Map();
    for (const colour of pixels) counts.set(colour, (counts.get(colour) ?? 0) + 1);
    const { colours, indexOf } = palette(counts);
    const indices = Uint8Array.from(pixels, (colour, i) =>
      this.previous?.[i] === colour ? MAX_COLOURS : indexOf.get(colour),
    );
    this.previous = pixels;
    const table = new Uint8Array(3 * 256);
    colours.forEach((colour, i) => {
      [16, 8, 0].forEach((shift, c) => {
        const value = (colour >> shift) & 0xff;
        table[3 * i + c] = value | (value >> 6); // 252 becomes 255
      });
    });
    // The flags 0x05 keep the previous frame where this one has the transparent index.
    const control = [0x21, 0xf9, 4, 0x05, ...word(hundredths), MAX_COLOURS, 0];
    const place = [0x2c, 0, 0, 0, 0, ...this.size.flatMap(word), 0x87]; // 256 colours follow
    this.parts.push(Uint8Array.of(...control, ...place), table, Uint8Array.of(8));
    this.parts.push(...blocks(compress(indices)));
  }

  /** Returns the finished file. */
  blob() {
    return new Blob([...this.parts, Uint8Array.of(0x3b)], { type: "image/gif" });
  }
}

const word = (number) => [number & 0xff, number >> 8];
const ascii = (text) => [...text].map((letter) => letter.charCodeAt(0));

/** Reduces counted colours to at most 255 by median cut; maps each colour to its index. */
function palette(counts) {
  let boxes = [[...counts.keys()]];
  const spread = (box) => {
    let widest = [-1, 0];
    for (const shift of [16, 8, 0]) {
      const values = box.map((colour) => (colour >> shift) & 0xff);
      const range =
        values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b));
      if (range > widest[0]) widest = [range, shift];
    }
    return widest;
  };
  if (counts.size <= MAX_COLOURS) boxes = boxes[0].map((colour) => [colour]);
  while (boxes.length < MAX_COLOURS && boxes.length < counts.size) {
    boxes.sort((a, b) => spread(a)[0] - spread(b)[0]);
    const box = boxes.pop();
    const shift = spread(box)[1];
    box.sort((a, b) => ((a >> shift) & 0xff) - ((b >> shift) & 0xff));
    const half = box.length >> 1;
    boxes.push(box.slice(0, half), box.slice(half));
  }
  const indexOf = new Map();
  const colours = boxes.map((box, index) => {
    box.forEach((colour) => indexOf.set(colour, index));
    return box.reduce((best, colour) => (counts.get(colour) > counts.get(best) ? colour : best));
  });
  return { colours, indexOf };
}

/** Compresses with LZW, as GIF requires: codes of growing width, low bits first. */
function compress(indices) {
  const [clear, end] = [256, 257];
  const bytes = [];
  let [held, bits] = [0, 0];
  let [next, width] = [end + 1, 9];
  let table = new Map(); // (code << 8 | index) -> code
  const emit = (code) => {
    held |= code << bits;
    for (bits += width; bits >= 8; bits -= 8) {
      bytes.push(held & 0xff);
      held >>>= 8;
    }
  };
  emit(clear);
  let code = indices[0];
  for (let i = 1; i < indices.length; i++) {
    const key = (code << 8) | indices[i];
    const longer = table.get(key);
    if (longer !== undefined) {
      code = longer;
      continue;
    }
    emit(code);
    if (next < MAX_CODES) {
      if (next === 1 << width) width++;
      table.set(key, next++);
    } else {
      emit(clear);
      table = new Map();
      [next, width] = [end + 1, 9];
    }
    code = indices[i];
  }
  emit(code);
  if (next === 1 << width && next < MAX_CODES) width++; // the decoder widens its codes here
  emit(end);
  if (bits) bytes.push(held & 0xff);
  return Uint8Array.from(bytes);
}

/** Splits data into blocks of up to 255 bytes, each after its length; the last one is empty. */
function* blocks(bytes) {
  for (let start = 0; start < bytes.length; start += 255) {
    const block = bytes.subarray(start, start + 255);
    yield Uint8Array.of(block.length, ...block);
  }
  yield Uint8Array.of(0);
}
