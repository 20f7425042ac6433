/* The model: the formulas of tinyvae/engine/gaussian.py, likelihoods.py and tinyvae/models, by the
   same names, for one example and in nats. `logvar` is always log sigma^2. */

"use strict";

const LOG_2PI = Math.log(2 * Math.PI);
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** z = mu + std * eps. Kingma and Welling 2014, eq. 4. */
function reparameterize(mu, logvar, eps) {
  return mu.map((m, d) => m + Math.exp(0.5 * logvar[d]) * eps[d]);
}

/** KL(N(mu, sigma^2) || N(0, 1)) of each dimension. Kingma and Welling 2014, appendix B. */
function kl_to_standard(mu, logvar) {
  return mu.map((m, d) => 0.5 * (m * m + Math.expm1(logvar[d]) - logvar[d]));
}

/** log N(x; mu, sigma^2) */
function log_density(x, mu, logvar) {
  return -0.5 * (LOG_2PI + logvar + (x - mu) * (x - mu) * Math.exp(-logvar));
}

/** Each pixel is 1 with probability sigmoid(logit); the decoder's output is the logits. */
class Bernoulli {
  log_prob(x, logits) {
    const softplus = (l) => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));
    return sum(logits.map((l, d) => x[d] * l - softplus(l)));
  }

  mean(logits) {
    return logits.map(sigmoid);
  }
}

/** Each pixel is N(mean, sigma^2) with one learned sigma^2; the decoder's output is the mean. */
class LearnedGaussian {
  constructor({ logvar }) {
    this.logvar = unpack(logvar).values[0];
  }

  log_prob(x, means) {
    return sum(means.map((mean, d) => log_density(x[d], mean, this.logvar)));
  }

  mean(means) {
    return means;
  }
}

/** A model of tinyvae/models: an autoencoder, a VAE or a conditional VAE, from its description. */
class Model {
  constructor(about) {
    this.latent_dim = about.latent_dim;
    this.shape = about.shape;
    this.classes = about.classes; // 0: the model is not told the class of an example
    this.one = about.one; // stands for "this class" in place of 1
    this.trunk = new Sequential(about.encoder.trunk);
    this.mu = new Linear(about.encoder.mu);
    // An autoencoder has a code in place of a mean, and no variance.
    this.logvar = about.encoder.logvar && new Linear(about.encoder.logvar);
    this.decoder = new Sequential(about.decoder);
    const likelihoods = { Bernoulli, LearnedGaussian };
    this.likelihood = new likelihoods[about.likelihood.name](about.likelihood);
  }

  /** x (C H W values) -> {mu, logvar} of q(z|x), each (L); logvar is undefined in an autoencoder. */
  encode(x, label) {
    const h = this._with_class(this.trunk.forward(array(this.shape, x)).values, label);
    const mu = this.mu.forward(h).values;
    return { mu, logvar: this.logvar?.forward(h).values };
  }

  /** x -> its code (L): the mean of q(z|x), or the autoencoder's code. */
  embed(x, label) {
    return this.encode(x, label).mu;
  }

  /** z (L) -> the mean of p(x|z), C H W values. */
  decode(z, label) {
    return this.likelihood.mean(this._outputs(z, label));
  }

  /** log p(x|z), a number. */
  log_px(x, z, label) {
    return this.likelihood.log_prob(x, this._outputs(z, label));
  }

  _outputs(z, label) {
    return this.decoder.forward(this._with_class(z, label)).values;
  }

  /** The values, and below them the class as a vector of zeros with one `one`. */
  _with_class(values, label) {
    const joined = zeros(values.length + this.classes);
    joined.values.set(values);
    if (this.classes > 0) joined.values[values.length + label] = this.one;
    return joined;
  }
}
