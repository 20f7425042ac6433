/* One slider for each active dimension of the latent space. */

"use strict";

class Sliders {
  /** dimensions: of z, in their order on the page; ranges, notes: of each; on_move(d, value). */
  constructor(container, dimensions, ranges, notes, on_move) {
    this.rows = dimensions.map((d, row) => {
      const [low, high] = ranges[row];
      const input = make("input", { type: "range", min: low, max: high, step: (high - low) / 200 });
      input.setAttribute("aria-label", `z[${d}], ${notes[row]}`);
      const value = make("output");
      input.addEventListener("input", () => on_move(d, Number(input.value)));
      const note = make("span", { className: "note", textContent: notes[row] });
      container.append(make("div", { className: "slider" }, `z[${d}]`, input, value, note));
      return { d, input, value };
    });
  }

  show(z) {
    for (const { d, input, value } of this.rows) {
      input.value = z[d];
      value.textContent = fixed(z[d]);
    }
  }
}

/** A number with two decimals and a real minus sign. */
function fixed(value, decimals = 2) {
  const text = value.toFixed(decimals).replace("Infinity", "∞");
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}
