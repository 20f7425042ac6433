/* The walk between two drawings, and samples. */

"use strict";

const STEPS = 9, SECONDS = 3; // images of the walk; how long it takes
const SAMPLES = 24;

/** The straight line from z0 to z1; t from 0 to 1. */
function interpolate(z0, z1, t) {
  return z0.map((value, d) => (1 - t) * value + t * z1[d]);
}

class Walk {
  /** on_step(z): the walk is at z. label(): the class that the decoder is told. */
  constructor(model, label, on_step) {
    Object.assign(this, { model, label, on_step, ends: {}, run: 0 });
    element("way").addEventListener("input", () => this._go());
    element("play").addEventListener("click", () => this.play());
  }

  /** Keep an example and its code as the end "a" or "b". */
  keep(end, x, z) {
    this.ends[end] = { x, z };
    this.show();
  }

  /** The codes of both ends, or undefined. */
  get way() {
    const { a, b } = this.ends;
    return a && b && [a.z, b.z];
  }

  _at(t) {
    return interpolate(...this.way, t);
  }

  show() {
    for (const [end, { x }] of Object.entries(this.ends)) paint(element(end), x, this.model.shape);
    if (!this.way) return;
    const steps = Array.from({ length: STEPS }, (_, n) => this._at(n / (STEPS - 1)));
    const { model } = this;
    paint_all(element("steps"), steps.map((z) => model.decode(z, this.label())), model.shape);
    this._paint();
  }

  _paint() {
    const z = this._at(Number(element("way").value));
    paint(element("walked"), this.model.decode(z, this.label()), this.model.shape);
    return z;
  }

  _go() {
    this.on_step(this._paint());
  }

  /** From A to B in three seconds, or at once for those who prefer no motion. */
  play() {
    const input = element("way"), run = ++this.run;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now();
    const step = (now) => {
      if (run !== this.run) return; // somebody has begun another walk
      const t = still ? 1 : Math.min(1, Math.max(0, now - start) / (1000 * SECONDS));
      input.value = t;
      this._go();
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}

function show_samples(model, label) {
  const codes = Array.from({ length: SAMPLES }, () => standard_normal(model.latent_dim));
  paint_all(element("samples"), codes.map((z) => model.decode(z, label)), model.shape);
}
