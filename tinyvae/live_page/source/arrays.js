/* Arrays as they stand in the page: base64 of float16, float32 or uint8, little-endian. */

"use strict";

/** {shape, dtype, data} -> {shape, values}. */
function unpack({ shape, dtype, data }) {
  const bytes = from_base64(data), view = new DataView(bytes.buffer);
  const read = {
    uint8: [1, (at) => view.getUint8(at)],
    float16: [2, (at) => from_half(view.getUint16(at, true))],
    float32: [4, (at) => view.getFloat32(at, true)],
  };
  const [size, value] = read[dtype];
  const values = new Float32Array(bytes.length / size);
  for (let i = 0; i < values.length; i++) values[i] = value(i * size);
  return { shape, values };
}

/** Four characters of 6 bits each are three bytes. */
function from_base64(text) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const bits = new Uint8Array(128);
  for (let i = 0; i < 64; i++) bits[digits.charCodeAt(i)] = i;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  for (let i = 0, at = 0; i < text.length; i += 4) {
    let four = 0;
    for (let k = 0; k < 4; k++) four = (four << 6) | bits[text.charCodeAt(i + k)];
    bytes[at++] = four >> 16; // what lies behind the end is not stored
    bytes[at++] = four >> 8;
    bytes[at++] = four;
  }
  return bytes;
}

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 bits of fraction. */
function from_half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24; // zero, and numbers below 2^-14
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
