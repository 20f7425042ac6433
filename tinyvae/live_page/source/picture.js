/* Pictures: an example as pixels of a canvas. */

"use strict";

const element = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A new element with these properties and children. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Show x, C H W values, on the canvas. A grey image is ink on paper: 0 is paper, 1 is ink. */
function paint(canvas, x, [channels, h, w]) {
  Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d"), image = context.createImageData(w, h);
  const [paper, ink] = ["--paper", "--ink"].map((name) => rgb(color(name)));
  for (let at = 0; at < h * w; at++) {
    for (let c = 0; c < 3; c++) {
      const value = Math.min(1, Math.max(0, x[channels === 3 ? c * h * w + at : at]));
      image.data[4 * at + c] = channels === 3 ? 255 * value : paper[c] + value * (ink[c] - paper[c]);
    }
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Show several examples as the canvases of a container. */
function paint_all(container, examples, shape) {
  while (container.children.length < examples.length) container.append(make("canvas"));
  examples.forEach((x, n) => paint(container.children[n], x, shape));
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** Call `draw` once before the next frame, however often the result is called until then. */
function each_frame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}
