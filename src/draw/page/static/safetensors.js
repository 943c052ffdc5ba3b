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
    const { dtype, shape } = entry;
    const [begin, end] = entry.data_offsets.map((offset) => 8 + length + offset);
    const widen = WIDEN[dtype];
    if (!widen) {
      throw new Error(`${name} has dtype ${dtype}; supported are F32, F16, BF16 and F8_E4M3`);
    }
    const values = widen(buffer.slice(begin, end));
    if (values.length !== shape.reduce((a, b) => a * b, 1)) {
      throw new Error(`${name} is truncated`);
    }
    tensors[name] = { shape, values };
  }
  return tensors;
}

const WIDEN = {
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => decode(new Uint16Array(bytes), 5, 10),
  BF16: (bytes) => {
    const bits = Uint32Array.from(new Uint16Array(bytes), (half) => half << 16);
    return new Float32Array(bits.buffer);
  },
  F8_E4M3: (bytes) => decode(new Uint8Array(bytes), 4, 3),
};

const tables = new Map(); // number of fraction bits -> the numbers of all codes

/** Decodes finite numbers of a narrow floating-point format. */
function decode(codes, exponentBits, fractionBits) {
  if (!tables.has(fractionBits)) tables.set(fractionBits, table(exponentBits, fractionBits));
  const numbers = tables.get(fractionBits);
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = numbers[codes[i]];
  return values;
}

/** Lists the numbers of all codes; looking them up is ten times as fast as decoding each one. */
function table(exponentBits, fractionBits) {
  const [exponents, fractions] = [2 ** exponentBits, 2 ** fractionBits];
  return Float32Array.from({ length: 2 * exponents * fractions }, (_, bits) => {
    const sign = bits < exponents * fractions ? 1 : -1;
    const exponent = (bits >> fractionBits) % exponents;
    const fraction = (bits % fractions) / fractions + (exponent ? 1 : 0);
    return sign * fraction * 2 ** (Math.max(1, exponent) - exponents / 2 + 1);
  });
}
