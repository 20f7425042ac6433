/* What stands on the page about this model, and the controls that depend on it. */

"use strict";

const KINDS = {
  ae: "An autoencoder",
  vae: "A variational autoencoder",
  cvae: "A conditional variational autoencoder",
  iwae: "An importance-weighted autoencoder",
};

function write_texts(page, model) {
  const is_vae = Boolean(model.logvar), [, h, w] = model.shape, inactive = page.order.length - page.active;
  const text = {
    title: page.name,
    about: `${KINDS[page.model.kind]} of ${page.data}, trained with tinyvae. All is computed in this page.`,
    "plane-note": `Points: codes of ${page.codes.shape[0]} test examples`
      + (is_vae ? ", the means mu of q(z|x); a number stands at the median of its class. Dashed: 1, 2 and 3 "
        + "standard deviations of the prior. Ring: z. Cross and ellipse: mu and 2 sigma of the drawing."
        : "; a number stands at the median of its class. Ring: z. Cross: the code of the drawing."),
    "sliders-note": `${page.active} active dimensions, sorted by ${is_vae ? "KL" : "variance"}`
      + (inactive ? `; the decoder has learned to ignore the other ${inactive}.` : "."),
    "draw-note": h === 28 && w === 28
      ? "The drawing is prepared as MNIST was: scaled to fit 20x20 pixels, and moved so that its centre of "
        + "mass is the centre of 28x28. Then the encoder reads it."
      : `The drawing is scaled to ${w}x${h} pixels. Then the encoder reads it.`,
    "sample-note": is_vae
      ? "Means of p(x|z) for z ~ N(0, I): the model was trained so that such codes decode to data."
      : "Decoded from z ~ N(0, I). Nothing in the loss of an autoencoder says where codes lie: compare "
        + "the samples of a VAE.",
  };
  for (const [id, content] of Object.entries(text)) element(id).textContent = content;
  document.title = `${page.name}: tinyvae`;
  for (const part of document.querySelectorAll(".vae")) part.hidden = !is_vae;
}

/** Two lists to choose the dimensions of the plane from; on_choose(x, y). */
function fill_axes(order, on_choose) {
  const lists = ["axis-x", "axis-y"].map(element), first = order.slice(0, 2).sort((a, b) => a - b);
  lists.forEach((list, axis) => {
    list.append(...order.map((d) => make("option", { value: d, textContent: `z[${d}]` })));
    list.value = first[axis] ?? first[0]; // of a single dimension the plane shows the diagonal
  });
  const choose = () => on_choose(...lists.map((list) => Number(list.value)));
  for (const list of lists) list.addEventListener("change", choose);
  element("axes").hidden = order.length <= 2;
  choose();
}

/** The class y of a conditional model. */
function fill_labels(classes, on_choose) {
  const list = element("label");
  for (let label = 0; label < classes; label++) list.append(make("option", { textContent: label }));
  list.addEventListener("change", () => on_choose(Number(list.value)));
  document.querySelector(".conditional").hidden = classes === 0;
}

/** A button for each class, which shows its codes alone. */
function fill_legend(plane, on_choose) {
  plane.colours.forEach((colour, label) => {
    const dot = make("span", { className: "dot" });
    dot.style.background = colour;
    const button = make("button", { type: "button" }, dot, String(label));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      plane.alone = plane.alone === label ? null : label;
      for (const [other, one] of [...element("legend").children].entries()) {
        one.setAttribute("aria-pressed", String(plane.alone === other));
      }
      plane.draw_points();
      on_choose();
    });
    element("legend").append(button);
  });
}

function fill_examples(count, on_choose) {
  for (let digit = 0; digit < count; digit++) {
    const button = make("button", { type: "button", textContent: digit });
    button.setAttribute("aria-label", `Take a synthetic ${digit}`);
    button.addEventListener("click", () => on_choose(digit));
    element("examples").append(button);
  }
}
