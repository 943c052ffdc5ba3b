/** Reads safetensors files: the header's length in 8 bytes, a JSON header, then the numbers. */

const MAX_HEADER = 1_000_000; // bytes

/** Returns the tensors by name as `{shape, values}`, converted to float32. */
export function parseSafetensors(buffer) {
  const view = new DataView(buffer);
  const notSafetensors = "the weights are not a safetensors file:";
  if (buffer.byteLength < 8) throw new Error(`${notSafetensors} it is too short`);
  const length = Number(view.getBigUint64(0, true));
  if (length > Math.min(MAX_HEADER, buffer.byteLength - 8)) {
    throw new Error(`${notSafetensors} the header does not fit`);
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
    if (!widen) {
      throw new Error(`${name} has dtype ${dtype}; supported are F32, F16, BF16 and F8_E4M3`);
    }
    const values = widen(buffer.slice(8 + length + begin, 8 + length + end));
    if (values.length !== shape.reduce((a, b) => a * b, 1)) {
      throw new Error(`${name} is truncated`);
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

/** Decodes a 16-bit IEEE 754 number. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Decodes an 8-bit number: 4 bits of exponent, 3 of fraction (Micikevicius et al. 2022). */
function fromQuarter(bits) {
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits >> 3) & 0xf;
  const fraction = bits & 0x7;
  if (exponent === 0xf && fraction === 0x7) return NaN;
  if (exponent === 0) return sign * fraction * 2 ** -9;
  return sign * (8 + fraction) * 2 ** (exponent - 10);
}
