/* From a drawing to an example, and random numbers. */

"use strict";

const BOX = 20; // MNIST's digits fit a box of 20x20 pixels in an image of 28x28

/** A drawing of grey levels in [0, 1], height x width, as an example of size h x w.

    For 28x28 it is prepared as MNIST was: scaled to fit a box of 20x20, and moved so that its centre
    of mass lies in the middle (LeCun et al. 1998, section III-A). For other sizes it is only scaled.
    null for a drawing without ink. */
function prepare(grey, width, height, w, h) {
  const box = ink_box(grey, width, height);
  if (!box) return null;
  if (w !== 28 || h !== 28) {
    return resample(grey, width, height, w, h, width / w, height / h, 0, 0);
  }
  const step = Math.max(box.width, box.height) / BOX; // pixels of the drawing in one of the example
  const { x, y } = centre_of_mass(grey, width, height);
  return resample(grey, width, height, w, h, step, step, x - step * (w / 2), y - step * (h / 2));
}

/** Each pixel of the result is the mean of the drawing over its area. Outside there is no ink. */
function resample(grey, width, height, w, h, dx, dy, left, top) {
  const out = new Float64Array(w * h);
  for (let i = 0; i < h; i++) {
    const rows = overlaps(top + i * dy, top + (i + 1) * dy, height);
    for (let j = 0; j < w; j++) {
      let total = 0;
      const columns = overlaps(left + j * dx, left + (j + 1) * dx, width);
      for (const [row, a] of rows) {
        for (const [column, b] of columns) total += a * b * grey[row * width + column];
      }
      out[i * w + j] = Math.min(1, total / (dx * dy));
    }
  }
  return out;
}

/** The pixels 0 .. size - 1 that an interval touches, each with the length of the overlap. */
function overlaps(from, to, size) {
  const found = [];
  for (let k = Math.max(0, Math.floor(from)); k < Math.min(size, Math.ceil(to)); k++) {
    found.push([k, Math.min(to, k + 1) - Math.max(from, k)]);
  }
  return found;
}

function ink_box(grey, width, height) {
  let left = width, right = -1, top = height, bottom = -1;
  for (let at = 0; at < grey.length; at++) {
    if (grey[at] === 0) continue;
    const column = at % width, row = (at - column) / width;
    left = Math.min(left, column);
    right = Math.max(right, column);
    top = Math.min(top, row);
    bottom = row;
  }
  return right < 0 ? null : { width: right + 1 - left, height: bottom + 1 - top };
}

function centre_of_mass(grey, width, height) {
  let mass = 0, x = 0, y = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const ink = grey[row * width + column];
      mass += ink;
      x += ink * (column + 0.5);
      y += ink * (row + 0.5);
    }
  }
  return { x: x / mass, y: y / mass };
}

/** n draws from N(0, 1), by the method of Box and Muller (1958). */
function standard_normal(n) {
  return Float64Array.from({ length: n }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
    return radius * Math.cos(2 * Math.PI * Math.random());
  });
}
