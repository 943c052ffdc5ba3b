/** Reads a safetensors file: 8 bytes that give the header's length, a JSON header, the numbers. */

const HEADER_LIMIT = 1_000_000; // bytes

/** The tensors of a file, by name: `{shape, values}`, whatever their precision, in float32. */
export function parseSafetensors(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8) throw new Error("the weights are no safetensors file: too short");
  const length = Number(view.getBigUint64(0, true));
  if (length > Math.min(HEADER_LIMIT, buffer.byteLength - 8)) {
    throw new Error("the weights are no safetensors file: the header does not fit");
  }
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const {
      dtype,
      shape,
      data_offsets: [begin, end],
    } = entry;
    const widen = WIDEN[dtype];
    if (!widen) throw new Error(`the weights ${name} are ${dtype}; F32, F16, BF16 and F8_E4M3 can be`);
    const values = widen(buffer.slice(8 + length + begin, 8 + length + end));
    if (values.length !== shape.reduce((a, b) => a * b, 1)) {
      throw new Error(`the weights ${name} are cut short`);
    }
    tensors[name] = { shape, values };
  }
  return tensors;
}

const WIDEN = {
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes), fromHalf),
  BF16: (bytes) => {
    const bits = Uint32Array.from(new Uint16Array(bytes), (half) => half << 16);
    return new Float32Array(bits.buffer);
  },
  F8_E4M3: (bytes) => Float32Array.from(new Uint8Array(bytes), fromQuarter),
};

/** The number that 16 bits of IEEE 754 stand for. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** And 8 bits: 4 of exponent, 3 of fraction, no infinity (Micikevicius et al. 2022). */
function fromQuarter(bits) {
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits >> 3) & 0xf;
  const fraction = bits & 0x7;
  if (exponent === 0xf && fraction === 0x7) return NaN;
  if (exponent === 0) return sign * fraction * 2 ** -9;
  return sign * (8 + fraction) * 2 ** (exponent - 10);
}
