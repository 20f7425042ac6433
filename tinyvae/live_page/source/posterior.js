/* What the model makes of the drawing: mu, sigma, KL, the reconstruction, and the ELBO. */

"use strict";

const DRAWS = 8; // of z, for the mean of -log p(x|z)
const WIDEST = 32; // dimensions in the table at most

/** What the decoder may be given. Each is q(z|x) as (mu, logvar), and what is to be learned from it. */
const CHOICES = {
  learned: {
    name: "as learned",
    q: (mu, logvar) => ({ mu, logvar }),
    lesson: "The eight images are alike but not the same: sigma is the room that the encoder leaves "
      + "around mu, so that codes near mu decode to nearly the same image.",
  },
  point: {
    name: "sigma = 0",
    q: (mu) => ({ mu, logvar: mu.map(() => -Infinity) }),
    lesson: "Without sigma the code is a point, as in an autoencoder. The reconstruction is a little "
      + "better, but a point costs an infinite KL: nothing would keep the space between the codes in use.",
  },
  prior: {
    name: "the prior",
    q: (mu) => ({ mu: mu.map(() => 0), logvar: mu.map(() => 0) }),
    lesson: "From z ~ N(0, I) the decoder learns nothing about x. The KL is 0, and the reconstruction "
      + "pays for it. The images are samples of the model.",
  },
};

/** The terms of the negative ELBO for x, in nats; reconstruction is the mean over the noise eps (S, L). */
function terms(model, x, mu, logvar, eps, label) {
  const draws = eps.map((one) => reparameterize(mu, logvar, one));
  const losses = draws.map((z) => -model.log_px(x, z, label));
  return { reconstruction: sum(losses) / draws.length, kl: sum(kl_to_standard(mu, logvar)), draws };
}

class Posterior {
  /** order: the dimensions by their KL; on_choice(): another of the choices is made. */
  constructor(model, order, on_choice) {
    Object.assign(this, { model, on_choice });
    this.order = order.slice(0, WIDEST);
    this.choice = "learned";
    this.redraw_noise();
    this.is_vae = Boolean(model.logvar);
    this._write_heads();
    if (this.is_vae) this._make_choices();
    else element("terms").append(row("td", "this drawing", ""));
  }

  _write_heads() {
    element("posterior-note").textContent = this.is_vae
      ? "q(z|x) = N(mu, sigma²): one row for each dimension, and its KL to N(0, 1) in nats"
      : "The code z of the drawing";
    const head = this.is_vae ? ["", "mu", "sigma", "KL"] : ["", "z"];
    element("posterior-head").append(row("th", ...head));
    element("terms-note").textContent = this.is_vae
      ? "In nats. ELBO = −(reconstruction + KL); reconstruction is the mean of −log p(x|z)"
      : "In nats. An autoencoder has no KL and no ELBO";
    const columns = this.is_vae ? ["q(z|x)", "recon\u00adstruction", "KL", "ELBO"] : ["", "−log p(x|z)"];
    element("terms-head").append(row("th", ...columns));
    element("reconstruction-note").textContent = this.is_vae ? "decoded from one draw of z" : "decoded from z";
  }

  _make_choices() {
    for (const [key, { name }] of Object.entries(CHOICES)) {
      const input = make("input", { type: "radio", name: "choice", checked: key === this.choice });
      input.addEventListener("change", () => {
        this.choice = key;
        this.on_choice();
      });
      const made = row("td", "", "", "", "");
      made.cells[0].replaceWith(make("th", { scope: "row" }, make("label", {}, input, ` ${name}`)));
      element("terms").append(made);
    }
  }

  redraw_noise() {
    this.eps = Array.from({ length: DRAWS }, () => standard_normal(this.model.latent_dim));
  }

  /** Show all about x. Returns its code, and mean and standard deviation of the z that are drawn. */
  show(x, label) {
    const { model } = this, { mu, logvar } = model.encode(x, label);
    paint(element("input"), x, model.shape);
    if (!this.is_vae) {
      paint(element("reconstruction"), model.decode(mu, label), model.shape);
      element("terms").rows[0].cells[1].textContent = fixed(-model.log_px(x, mu, label), 1);
      this._table(this.order.map((d) => [`z[${d}]`, fixed(mu[d])]));
      return { code: mu, mu };
    }
    let chosen;
    for (const [at, [key, { q }]] of Object.entries(CHOICES).entries()) {
      const now = q(mu, logvar);
      const eps = key === "point" ? this.eps.slice(0, 1) : this.eps; // all draws are the same
      const { reconstruction, kl, draws } = terms(model, x, now.mu, now.logvar, eps, label);
      const shown = [reconstruction, kl, -(reconstruction + kl)];
      const { cells, classList } = element("terms").rows[at];
      shown.forEach((value, n) => (cells[n + 1].textContent = fixed(value, 1)));
      classList.toggle("chosen", key === this.choice);
      if (key !== this.choice) continue;
      chosen = { code: mu, mu: now.mu, std: now.logvar.map((value) => Math.exp(0.5 * value)) };
      this._draws(now, draws, label);
    }
    element("lesson").textContent = CHOICES[this.choice].lesson;
    return chosen;
  }

  _draws({ mu, logvar }, draws, label) {
    const images = this.eps.map((_, n) => this.model.decode(draws[n % draws.length], label));
    paint(element("reconstruction"), images[0], this.model.shape);
    paint_all(element("draws"), images, this.model.shape);
    const kl = kl_to_standard(mu, logvar), most = Math.max(...kl, 1);
    this._table(this.order.map((d) => {
      const bar = make("span");
      bar.style.width = `${kl[d] === Infinity ? 100 : (100 * kl[d]) / most}%`;
      return [`z[${d}]`, fixed(mu[d]), fixed(Math.exp(0.5 * logvar[d])), fixed(kl[d]), bar];
    }));
  }

  _table(rows) {
    element("posterior").replaceChildren(...rows.map((cells) => {
      const made = row("td", ...cells);
      if (cells.length === 5) made.cells[4].className = "bar";
      return made;
    }));
  }
}

function row(tag, ...cells) {
  return make("tr", {}, ...cells.map((cell) => make(tag, tag === "th" ? { scope: "col" } : {}, cell)));
}
