"""The linear conditional VAE, for which log p(x|y), the posterior and the optimum are known.

    z ~ N(0, I), x|z,y ~ N(W z + m_y, s2 I), so x|y ~ N(m_y, W W' + s2 I)

The class y moves the mean and nothing else. So x - m_y is probabilistic PCA, the model of
linear_gaussian.py, for every class. The likelihood is largest where m_y is the mean of the examples
of class y, and W and s2 are those of probabilistic PCA for the examples minus the means of their
classes. Examples x are (N, D), labels y (N,). All values are in nats, in float64, on the host.
"""

from itertools import chain, count

import numpy as np

from tinyvae.data.batches import minibatches
from tinyvae.engine.layers import Flatten, Linear, Sequential
from tinyvae.engine.likelihoods import Gaussian
from tinyvae.engine.optim import Adam
from tinyvae.laboratory.linear_gaussian import BATCH, LinearGaussian, exact_noise
from tinyvae.models.cvae import CVAE, ONE, ConditionalDecoder, ConditionalEncoder
from tinyvae.rng import generator


class ConditionalGaussian:
    """The model p(x, z | y) with W (D, L), the means m (K, D) of the classes, and s2."""

    def __init__(self, w, means, s2):
        self.w, self.means, self.s2 = w, means, s2
        self.centred = LinearGaussian(w, np.zeros(len(w)), s2)  # the model of x - m_y

    @classmethod
    def fit(cls, x, labels, latent_dim):
        """The maximum-likelihood model. Raises ValueError as LinearGaussian.fit does.

        A class that no label names gets the mean of all examples.
        """
        classes = range(labels.max() + 1)
        means = np.array([(x[labels == k] if k in labels else x).mean(axis=0) for k in classes])
        fit = LinearGaussian.fit(x - means[labels], latent_dim)
        return cls(fit.w, means, fit.s2)

    @classmethod
    def from_model(cls, model):
        """The ConditionalGaussian with the weights of a linear_cvae that has a LearnedGaussian."""
        state, latent_dim = model.state_dict(), model.latent_dim
        weight, bias = state["decoder.network.0.weight"], state["decoder.network.0.bias"]
        s2 = float(np.exp(state["likelihood.logvar"][0]))
        return cls(weight[:, :latent_dim], ONE * weight[:, latent_dim:].T + bias, s2)

    def log_p(self, x, labels):
        """log p(x|y) of each example, (N,)."""
        return self.centred.log_p(x - self.means[labels])

    def log_p_mixture(self, x, prior):
        """log p(x) of each example, (N,), where class y has the probability prior[y]."""
        n, classes = len(x), range(len(self.means))
        log_p = np.stack([self.log_p(x, np.full(n, k)) for k in classes])  # (K, N)
        return np.logaddexp.reduce(log_p + np.log(prior)[:, None], axis=0)

    def cvae(self, v=None, variance=None):
        """The CVAE with this p and q(z|x, y) = N(V (x - m_y), diag variance).

        The default is the q with the largest ELBO, that of LinearGaussian.
        """
        v = self.centred.posterior_map() if v is None else v
        variance = self.centred.best_variance() if variance is None else variance
        (d, latent_dim), classes = self.w.shape, len(self.means)
        model = linear_cvae(d, latent_dim, classes, Gaussian(self.s2))
        model.load_state_dict(
            {
                "encoder.mu.weight": np.hstack([v, -v @ self.means.T / ONE]),  # V x - V m_y
                "encoder.mu.bias": np.zeros(latent_dim),
                "encoder.logvar.weight": np.zeros((latent_dim, d + classes)),
                "encoder.logvar.bias": np.log(variance),
                "decoder.network.0.weight": np.hstack([self.w, self.means.T / ONE]),  # W z + m_y
                "decoder.network.0.bias": np.zeros(d),
            }
        )
        return model


def linear_cvae(size, latent_dim, classes, likelihood):
    """A CVAE for vectors (D,) whose networks are one linear layer each, in float64."""
    rng = generator(0, "init")
    encoder = ConditionalEncoder(Flatten(), size, latent_dim, classes, rng=rng)
    decoder = Sequential(Linear(latent_dim + classes, size, rng=rng))
    return CVAE(encoder, ConditionalDecoder(decoder, classes), likelihood).to(np, np.float64)


def train(x, labels, latent_dim, likelihood, steps, lr):
    """A linear_cvae trained on the exact ELBO, by Adam with the rate lr (1 - step / steps)^2.

    linear_gaussian.train says why the noise is exact_noise and why the rate falls.
    """
    model = linear_cvae(x.shape[1], latent_dim, labels.max() + 1, likelihood)
    optimizer, eps = Adam(model, lr=lr), exact_noise(BATCH, latent_dim)
    batches = chain.from_iterable(minibatches(len(x), BATCH, 0, epoch) for epoch in count())
    for step, index in zip(range(steps), batches, strict=False):
        optimizer.lr = lr * (1 - step / steps) ** 2
        model.loss(x[index], eps[:, : len(index)], labels[index])
        model.backward()
        optimizer.step()
    return model


def exact_elbo(model, x, labels):
    """The ELBO of each example, (N,): a mean of log_weights over exact_noise."""
    return model.log_weights(x, exact_noise(len(x), model.latent_dim), labels).mean(axis=0)
