/* The pad: a canvas to draw on, with a mouse, a finger or the keyboard. Its ink is its opacity. */

"use strict";

const PAD = 280; // pixels along the longer side
const PEN = 24; // diameter: about 2 pixels of MNIST, for a digit that fills most of the pad

class Pad {
  /** shape: (C, H, W) of an example; on_draw() is called after each change. */
  constructor(canvas, shape, on_draw) {
    const [, h, w] = shape, scale = PAD / Math.max(h, w);
    Object.assign(canvas, { width: Math.round(w * scale), height: Math.round(h * scale) });
    Object.assign(this, { canvas, shape, on_draw, down: false });
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.pen = [canvas.width / 2, canvas.height / 4]; // of the keyboard
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this._stroke([this._place(event)]);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this._stroke([this.last, this._place(event)]);
    });
    canvas.addEventListener("keydown", (event) => this._key(event));
    canvas.addEventListener("blur", () => this._show_pen(false));
  }

  _place(event) {
    const box = this.canvas.getBoundingClientRect(), scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  /** Draw through these points. */
  _stroke(points) {
    const { context } = this;
    Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    context.strokeStyle = color("--ink");
    line(context, ...(points.length > 1 ? points : [points[0], points[0]]));
    this.last = points.at(-1);
    this.on_draw();
  }

  _key(event) {
    const move = arrow(event);
    if (!move && event.key !== " ") return;
    event.preventDefault();
    const before = this.pen, size = [this.canvas.width, this.canvas.height];
    const to = (axis) => Math.min(size[axis], Math.max(0, before[axis] + 8 * move[axis]));
    if (move) this.pen = [to(0), to(1)];
    else this.down = !this.down;
    if (this.down) this._stroke([before, this.pen]);
    this._show_pen(true);
  }

  /** A ring where the pen of the keyboard is; it is a background, so it leaves no ink. */
  _show_pen(shown) {
    const x = this.pen[0] / this.canvas.width, y = this.pen[1] / this.canvas.height;
    const ring = `radial-gradient(circle at ${100 * x}% ${100 * y}%, transparent 9px, var(--mark) 10px 12px,`
      + " transparent 13px)";
    this.canvas.style.backgroundImage = shown ? ring : "none";
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.down = false;
    this.on_draw();
  }

  /** Put an image in place of the drawing: size x size bytes. */
  load(bytes, size) {
    const { context, canvas } = this, small = make("canvas", { width: size, height: size });
    const image = small.getContext("2d").createImageData(size, size);
    bytes.forEach((ink, at) => (image.data[4 * at + 3] = ink));
    small.getContext("2d").putImageData(image, 0, 0);
    const side = Math.min(canvas.width, canvas.height);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(small, (canvas.width - side) / 2, (canvas.height - side) / 2, side, side);
    this.recolour();
    this.on_draw();
  }

  /** Give the drawing the colour of ink, which differs in light and dark. */
  recolour() {
    const { context, canvas } = this;
    context.save();
    context.globalCompositeOperation = "source-in";
    context.fillStyle = color("--ink");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.restore();
  }

  /** The drawing as an example, C H W values, each channel the same; null without ink. */
  example() {
    const { width, height } = this.canvas, [channels, h, w] = this.shape;
    const { data } = this.context.getImageData(0, 0, width, height);
    const grey = Float64Array.from({ length: width * height }, (_, at) => data[4 * at + 3] / 255);
    const one = prepare(grey, width, height, w, h);
    return one && Float64Array.from({ length: channels * h * w }, (_, at) => one[at % (h * w)]);
  }
}
