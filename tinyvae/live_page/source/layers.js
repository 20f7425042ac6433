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
    const [out, channels, ...kernel] = this.weight.shape;
    const [ho, wo] = [0, 1].map((axis) => {
      const size = x.shape[1 + axis] + 2 * this.padding[axis] - kernel[axis];
      return Math.floor(size / this.stride[axis]) + 1;
    });
    const W = this.weight.values, y = zeros(out, ho, wo), patch = zeros(channels, ...kernel).values;
    for (let i = 0; i < ho; i++) {
      for (let j = 0; j < wo; j++) {
        patch.fill(0);
        each_tap(this, kernel, i, j, x, (tap, pixel) => (patch[tap] = x.values[pixel]));
        // y = W @ patch + b
        for (let o = 0, at = 0; o < out; o++) {
          let sum = this.bias.values[o];
          for (let tap = 0; tap < patch.length; tap++, at++) sum += W[at] * patch[tap];
          y.values[(o * ho + i) * wo + j] = sum;
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
    const [channels, out, ...kernel] = this.weight.shape, [, h, w] = x.shape;
    const [ho, wo] = [0, 1].map((axis) => {
      const size = (x.shape[1 + axis] - 1) * this.stride[axis] - 2 * this.padding[axis] + kernel[axis];
      return size + this.output_padding[axis];
    });
    const W = this.weight.values, y = zeros(out, ho, wo), patch = zeros(out, ...kernel).values;
    y.values.forEach((_, at) => (y.values[at] = this.bias.values[Math.floor(at / (ho * wo))]));
    for (let i = 0; i < h; i++) {
      for (let j = 0; j < w; j++) {
        // patch = W.T @ x; it is added to the pixels under the kernel
        patch.fill(0);
        for (let c = 0; c < channels; c++) {
          const value = x.values[(c * h + i) * w + j];
          if (value === 0) continue; // after a ReLU about half of the values are 0
          const row = c * patch.length;
          for (let tap = 0; tap < patch.length; tap++) patch[tap] += W[row + tap] * value;
        }
        each_tap(this, kernel, i, j, y, (tap, pixel) => (y.values[pixel] += patch[tap]));
      }
    }
    return y;
  }
}

/** Call visit(tap, pixel) for each place in the kernel, at position (i, j), that lies on the image. */
function each_tap({ stride, padding }, [kh, kw], i, j, { shape: [channels, h, w] }, visit) {
  const top = stride[0] * i - padding[0], left = stride[1] * j - padding[1];
  for (let c = 0, tap = 0; c < channels; c++) {
    for (let row = top; row < top + kh; row++) {
      for (let column = left; column < left + kw; column++, tap++) {
        const inside = row >= 0 && row < h && column >= 0 && column < w;
        if (inside) visit(tap, (c * h + row) * w + column);
      }
    }
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
