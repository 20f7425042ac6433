/* The layers of tinyvae/engine/layers.py and activations.py, forward only, for one example.

   An array is {shape, values}: (D) for a vector, (C, H, W) for an image, the last axis fastest, as
   in NumPy. There is no batch axis. Sums are in float64, whatever the weights are stored in. */

"use strict";

const array = (shape, values) => ({ shape, values });
const zeros = (...shape) => array(shape, new Float64Array(shape.reduce((a, b) => a * b, 1)));
const map = (x, f) => array(x.shape, x.values.map(f));

/** y = W x + b: x (in) -> y (out), with a weight (out, in) and a bias (out). */
class Linear {
  constructor({ weight, bias }) {
    this.weight = unpack(weight);
    this.bias = unpack(bias);
  }

  forward(x) {
    const [outputs, inputs] = this.weight.shape, W = this.weight.values;
    const y = zeros(outputs);
    for (let o = 0; o < outputs; o++) {
      let sum = this.bias.values[o];
      for (let i = 0, at = o * inputs; i < inputs; i++) sum += W[at + i] * x.values[i];
      y.values[o] = sum;
    }
    return y;
  }
}

/** Cross-correlation of x (in, H, W) with a weight (out, in, Kh, Kw) -> y (out, Ho, Wo). */
class Conv2d {
  constructor({ weight, bias, stride, padding }) {
    Object.assign(this, { weight: unpack(weight), bias: unpack(bias), stride, padding });
  }

  forward(x) {
    const [out, channels, kh, kw] = this.weight.shape, [, h, w] = x.shape;
    const [sh, sw] = this.stride, [ph, pw] = this.padding;
    const ho = Math.floor((h + 2 * ph - kh) / sh) + 1;
    const wo = Math.floor((w + 2 * pw - kw) / sw) + 1;
    const W = this.weight.values, y = zeros(out, ho, wo);
    for (let o = 0, at = 0; o < out; o++) {
      for (let i = 0; i < ho; i++) {
        for (let j = 0; j < wo; j++, at++) {
          let sum = this.bias.values[o];
          for (let c = 0; c < channels; c++) {
            for (let a = 0; a < kh; a++) {
              const row = sh * i + a - ph; // the kernel's row a is over this row of the image
              if (row < 0 || row >= h) continue;
              for (let b = 0; b < kw; b++) {
                const column = sw * j + b - pw;
                if (column < 0 || column >= w) continue;
                sum += W[((o * channels + c) * kh + a) * kw + b] * x.values[(c * h + row) * w + column];
              }
            }
          }
          y.values[at] = sum;
        }
      }
    }
    return y;
  }
}

/** The adjoint of Conv2d: x (in, H, W), weight (in, out, Kh, Kw) -> y (out, Ho, Wo). */
class ConvTranspose2d {
  constructor({ weight, bias, stride, padding, output_padding }) {
    Object.assign(this, { weight: unpack(weight), bias: unpack(bias), stride, padding, output_padding });
  }

  forward(x) {
    const [channels, out, kh, kw] = this.weight.shape, [, h, w] = x.shape;
    const [sh, sw] = this.stride, [ph, pw] = this.padding, [eh, ew] = this.output_padding;
    const ho = (h - 1) * sh - 2 * ph + kh + eh;
    const wo = (w - 1) * sw - 2 * pw + kw + ew;
    const W = this.weight.values, y = zeros(out, ho, wo);
    for (let o = 0; o < out; o++) y.values.fill(this.bias.values[o], o * ho * wo, (o + 1) * ho * wo);
    for (let c = 0, at = 0; c < channels; c++) {
      for (let i = 0; i < h; i++) {
        for (let j = 0; j < w; j++, at++) {
          const value = x.values[at];
          if (value === 0) continue; // after a ReLU about half of the values are 0
          for (let o = 0; o < out; o++) {
            for (let a = 0; a < kh; a++) {
              const row = sh * i + a - ph;
              if (row < 0 || row >= ho) continue;
              for (let b = 0; b < kw; b++) {
                const column = sw * j + b - pw;
                if (column < 0 || column >= wo) continue;
                y.values[(o * ho + row) * wo + column] += W[((c * out + o) * kh + a) * kw + b] * value;
              }
            }
          }
        }
      }
    }
    return y;
  }
}

class Reshape {
  constructor({ shape }) {
    this.shape = shape;
  }

  forward(x) {
    return array(this.shape, x.values);
  }
}

class Flatten {
  forward(x) {
    return array([x.values.length], x.values);
  }
}

class ReLU {
  forward(x) {
    return map(x, (value) => Math.max(value, 0));
  }
}

class Sigmoid {
  forward(x) {
    return map(x, sigmoid);
  }
}

class Tanh {
  forward(x) {
    return map(x, Math.tanh);
  }
}

/** Layers one after the other, from their descriptions in the page. */
class Sequential {
  constructor(descriptions) {
    const kinds = { Linear, Conv2d, ConvTranspose2d, Reshape, Flatten, ReLU, Sigmoid, Tanh };
    this.layers = descriptions.map((one) => new kinds[one.layer](one));
  }

  forward(x) {
    return this.layers.reduce((y, layer) => layer.forward(y), x);
  }
}

/** 1 / (1 + exp(-x)); accurate for large |x|, as only exp(-|x|) is computed. */
function sigmoid(x) {
  return Math.exp(Math.min(x, 0)) / (1 + Math.exp(-Math.abs(x)));
}
