/* The page: it reads the data, and joins plane, sliders, pad, posterior, walk and samples. */

"use strict";

function start(page) {
  const model = new Model(page.model), { shape } = model, is_vae = Boolean(model.logvar);
  const codes = unpack(page.codes), digits = unpack(page.digits);
  const labels = page.labels && unpack(page.labels).values;
  const classes = labels ? Math.max(...labels) + 1 : 0;
  const coloured = classes <= page.colours.length; // one colour for each class
  const state = { z: new Float64Array(model.latent_dim), label: 0, drawn: null, posterior: null };

  const plane = new Plane(element("plane"), {
    codes,
    labels: coloured ? labels : null,
    colours: coloured ? page.colours.slice(0, classes) : [],
    prior: is_vae,
    on_move: (x, y) => move({ [plane.axes[1]]: y, [plane.axes[0]]: x }),
  });
  const active = page.order.slice(0, page.active);
  const sliders = new Sliders(
    element("sliders"),
    active,
    active.map((d) => plane.range(d)),
    active.map((d) => (is_vae ? `KL ${fixed(page.kl[d])} nats` : "")),
    (d, value) => move({ [d]: value }),
  );
  const posterior = new Posterior(model, page.order, show_posterior);
  const walk = new Walk(model, () => state.label, set_code);
  const pad = new Pad(element("pad"), shape, each_frame(read_pad));

  /** Decode z and draw. How long this took stands on the page. */
  const show = each_frame(() => {
    const before = performance.now();
    paint(element("decoded"), model.decode(state.z, state.label), shape);
    plane.draw(state.z, state.posterior, walk.way);
    sliders.show(state.z);
    const [x, y] = plane.axes;
    element("z").textContent = `z[${x}] = ${fixed(state.z[x])}, z[${y}] = ${fixed(state.z[y])}`;
    element("frame").textContent = (performance.now() - before).toFixed(1);
  });

  function set_code(z) {
    state.z = Float64Array.from(z);
    show();
  }

  /** Change some numbers of z: {dimension: value}. */
  function move(changes) {
    for (const [d, value] of Object.entries(changes)) state.z[d] = value;
    show();
  }

  function read_pad() {
    state.drawn = pad.example();
    show_posterior();
    if (state.posterior) set_code(state.posterior.code);
    for (const id of ["keep-a", "keep-b"]) element(id).disabled = !state.drawn;
  }

  function show_posterior() {
    state.posterior = state.drawn && posterior.show(state.drawn, state.label);
    show();
  }

  function take_digit(digit) {
    const size = digits.shape[1];
    if (digit < model.classes) element("label").value = state.label = digit;
    pad.load(digits.values.subarray(digit * size * size, (digit + 1) * size * size), size);
  }

  function keep(end) {
    walk.keep(end, state.drawn, state.posterior.code);
    show();
  }

  /** Draw again all that a frame leaves as it is, after a change of the class or the colours. */
  function redraw() {
    plane.draw_points();
    pad.recolour();
    walk.show();
    show_samples(model, state.label);
    show_posterior();
  }

  write_texts(page, model);
  fill_axes(page.order, (x, y) => {
    plane.set_axes(x, y);
    show();
  });
  fill_labels(model.classes, (label) => {
    state.label = label;
    redraw();
  });
  fill_legend(plane, show);
  fill_examples(digits.shape[0], take_digit);
  const on_click = {
    "sample-one": () => set_code(standard_normal(model.latent_dim)),
    origin: () => set_code(new Float64Array(model.latent_dim)),
    clear: () => pad.clear(),
    "keep-a": () => keep("a"),
    "keep-b": () => keep("b"),
    noise: () => {
      posterior.redraw_noise();
      if (state.drawn) show_posterior();
    },
    sample: () => show_samples(model, state.label),
  };
  for (const [id, action] of Object.entries(on_click)) element(id).addEventListener("click", action);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("resize", each_frame(() => {
    plane.draw_points();
    show();
  }));

  for (const [end, digit] of [["a", 3], ["b", 8]]) {
    take_digit(digit);
    read_pad();
    keep(end);
  }
  take_digit(5);
  redraw();
}

start(JSON.parse(element("data").textContent));
