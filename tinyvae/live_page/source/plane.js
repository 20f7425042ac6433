/* The plane: the codes of the data as points, the pointer, and the posterior of the drawing. */

"use strict";

const EDGE = 34; // CSS pixels from the border to the axes, for their numbers

class Plane {
  /** codes: {shape: (N, L), values}; labels: (N) or null; on_move(x, y): the pointer moves there. */
  constructor(canvas, { codes, labels, colours, prior, on_move }) {
    Object.assign(this, { canvas, codes, labels, colours, prior, on_move });
    this.points = document.createElement("canvas"); // redrawn when the axes change, not at each move
    this.alone = null; // the class that is shown alone
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this._follow(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && this._follow(event));
    canvas.addEventListener("keydown", (event) => this._key(event));
  }

  /** Choose the dimensions of the plane. */
  set_axes(x, y) {
    this.axes = [x, y];
    this.ranges = this.axes.map((d) => this.range(d));
    this.draw_points();
  }

  /** Where the codes lie in a dimension, without the outermost; for a prior N(0, 1) at least -3 to 3. */
  range(d) {
    const [n, dims] = this.codes.shape;
    const values = Float64Array.from({ length: n }, (_, i) => this.codes.values[i * dims + d]).sort();
    const [low, high] = [values[Math.floor(0.002 * n)], values[Math.ceil(0.998 * n) - 1]];
    const margin = 0.06 * (high - low) || 1;
    return [
      Math.min(low - margin, this.prior ? -3.2 : low - margin),
      Math.max(high + margin, this.prior ? 3.2 : high + margin),
    ];
  }

  /** A point of the plane in CSS pixels. */
  _place(x, y) {
    const [[x0, x1], [y0, y1]] = this.ranges, side = this.side - EDGE;
    return [EDGE + ((x - x0) / (x1 - x0)) * side, ((y1 - y) / (y1 - y0)) * side];
  }

  _follow(event) {
    const box = this.canvas.getBoundingClientRect(), side = this.side - EDGE;
    const [[x0, x1], [y0, y1]] = this.ranges;
    const clip = (share) => Math.min(1, Math.max(0, share));
    const right = clip((event.clientX - box.left - EDGE) / side);
    const down = clip((event.clientY - box.top) / side);
    this._move(x0 + right * (x1 - x0), y1 - down * (y1 - y0));
  }

  _key(event) {
    const move = arrow(event);
    if (!move) return;
    event.preventDefault();
    const step = event.shiftKey ? 0.1 : 0.02; // of the width of the plane
    const [x, y] = [move[0], -move[1]].map((sign, axis) => {
      const [low, high] = this.ranges[axis];
      return Math.min(high, Math.max(low, this.at[axis] + sign * step * (high - low)));
    });
    this._move(x, y);
  }

  _move(x, y) {
    this.at = [x, y]; // the next key may come before the next frame
    this.on_move(x, y);
  }

  /** The canvas's context, cleared, in CSS pixels. */
  _context(canvas) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(this.side * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    return context;
  }

  draw_points() {
    this.side = Math.max(this.canvas.clientWidth, 2 * EDGE); // a hidden page has no width
    const context = this._context(this.points), [n, dims] = this.codes.shape;
    this._draw_axes(context);
    context.save();
    context.beginPath();
    context.rect(EDGE, 0, this.side - EDGE, this.side - EDGE);
    context.clip();
    for (let i = 0; i < n; i++) {
      const label = this.labels?.[i];
      if (this.alone !== null && label !== this.alone) continue;
      const [x, y] = this._place(...this.axes.map((d) => this.codes.values[i * dims + d]));
      context.fillStyle = this.colours[label] ?? color("--bar");
      context.globalAlpha = 0.75;
      context.fillRect(x - 1.5, y - 1.5, 3, 3);
    }
    context.globalAlpha = 1;
    this._draw_names(context);
    context.restore();
  }

  /** The class beside the median of its codes, for readers who cannot tell the colours apart. */
  _draw_names(context) {
    const [, dims] = this.codes.shape;
    context.font = "bold 15px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const label of this.colours.keys()) {
      const members = [...this.labels.keys()].filter((i) => this.labels[i] === label);
      if (members.length === 0 || (this.alone !== null && label !== this.alone)) continue;
      const median = (d) => {
        const values = members.map((i) => this.codes.values[i * dims + d]).sort((a, b) => a - b);
        return values[Math.floor(values.length / 2)];
      };
      const [x, y] = this._place(...this.axes.map(median));
      outlined(context, String(label), x, y, color("--text"), color("--paper"));
    }
  }

  _draw_axes(context) {
    context.fillStyle = color("--quiet");
    context.strokeStyle = color("--line");
    const end = this.side - EDGE;
    for (const [axis, range] of this.ranges.entries()) {
      for (const value of ticks(...range)) {
        const [x, y] = this._place(...(axis === 0 ? [value, 0] : [0, value]));
        context.textAlign = axis === 0 ? "center" : "right";
        context.textBaseline = axis === 0 ? "top" : "middle";
        const place = axis === 0 ? [x, end + 5] : [EDGE - 5, y], room = axis === 0 ? this.side - x : y;
        if (room > 8) context.fillText(String(value).replace("-", "−"), ...place);
        if (value === 0) line(context, ...(axis === 0 ? [[x, 0], [x, end]] : [[EDGE, y], [this.side, y]]));
      }
    }
    line(context, [EDGE, 0], [EDGE, end], [this.side, end]);
    context.textAlign = "right";
    context.textBaseline = "bottom";
    context.fillText(`z[${this.axes[0]}]`, this.side - 4, end - 4);
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillText(`z[${this.axes[1]}]`, EDGE + 5, 5);
    if (!this.prior) return;
    context.setLineDash([4, 4]);
    for (const radius of [1, 2, 3]) this._ellipse(context, [0, 0], [radius, radius]);
    context.setLineDash([]);
  }

  _ellipse(context, centre, radii) {
    const [x, y] = this._place(...centre);
    const [right, up] = this._place(...centre.map((value, axis) => value + radii[axis]));
    context.save();
    context.beginPath();
    context.rect(EDGE, 0, this.side - EDGE, this.side - EDGE);
    context.clip();
    context.beginPath();
    context.ellipse(x, y, right - x, y - up, 0, 0, 2 * Math.PI);
    context.stroke();
    context.restore();
  }

  /** Draw all. z (L): the pointer; posterior: {mu, std} of the drawing; way: the two ends of the walk. */
  draw(z, posterior, way) {
    const on_plane = (code) => this.axes.map((d) => code[d]);
    this.at = on_plane(z);
    const context = this._context(this.canvas), [x, y] = this._place(...this.at);
    context.drawImage(this.points, 0, 0, this.side, this.side);
    context.lineWidth = 2;
    context.strokeStyle = color("--text");
    if (way) {
      const ends = way.map((code) => this._place(...on_plane(code)));
      line(context, ...ends);
      ["A", "B"].forEach((name, end) => {
        context.font = "bold 14px system-ui, sans-serif";
        outlined(context, name, ends[end][0] + 4, ends[end][1] - 4, color("--text"), color("--paper"));
      });
    }
    if (posterior) {
      context.strokeStyle = color("--mark");
      const [px, py] = this._place(...on_plane(posterior.mu));
      line(context, [px - 6, py - 6], [px + 6, py + 6]);
      line(context, [px - 6, py + 6], [px + 6, py - 6]);
      if (posterior.std) {
        this._ellipse(context, on_plane(posterior.mu), on_plane(posterior.std).map((s) => 2 * s));
      }
    }
    for (const [width, colour] of [[5, "--paper"], [2.5, "--text"]]) {
      context.lineWidth = width;
      context.strokeStyle = color(colour);
      context.beginPath();
      context.arc(x, y, 8, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}

/** The direction of an arrow key, right and down; undefined for another key. */
function arrow(event) {
  return { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
}

function line(context, start, ...points) {
  context.beginPath();
  context.moveTo(...start);
  for (const point of points) context.lineTo(...point);
  context.stroke();
}

function outlined(context, text, x, y, fill, around) {
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = around;
  context.strokeText(text, x, y);
  context.fillStyle = fill;
  context.fillText(text, x, y);
}

/** Round numbers between low and high, about six of them. */
function ticks(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = power * [1, 2, 5, 10].find((factor) => (high - low) / (power * factor) < 8);
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: count }, (_, i) => Number(((Math.ceil(low / step) + i) * step).toPrecision(6)));
}
