"""The conditional VAE: the class y of an example is known, and both networks are told it.

The encoder gives q(z|x, y), the decoder gives p(x|z, y), and the prior p(z) = N(0, I) is the same
for all classes. So z has no need to say the class; it says the rest, the style. The loss is the
negative of a bound on log p(x|y): Sohn, Lee and Yan 2015, eq. 4, where the known input is called x
and the output y. With this prior, and log p(y) added: Kingma, Rezende, Mohamed and Welling 2014,
eq. 6. docs/variants/cvae.md derives it.
"""

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.engine.categorical import one_hot
from tinyvae.engine.module import Module
from tinyvae.models.options import Option
from tinyvae.models.vae import VAE, GaussianEncoder

# The number that stands for "this class" in a one-hot vector, in place of 1. With 1, the weights of
# the classes begin small, and z has learned the class before the decoder hears of it.
ONE = 10.0


class ConditionalEncoder(GaussianEncoder):
    """The encoder of a VAE, whose two heads read the features of x and the class.

    trunk: (..., N) -> h (features, N); mu and logvar: (latent_dim, N).
    """

    def __init__(self, trunk, features, latent_dim, classes, *, rng):
        super().__init__(trunk, features + classes, latent_dim, rng=rng)
        self.features, self.classes = features, classes

    def forward(self, x, labels):
        h = self.trunk.forward(x)  # (features, N)
        h_y = with_classes(h, labels, self.classes)  # (features + K, N)
        return self.mu.forward(h_y), self.logvar.forward(h_y)

    def backward(self, dmu, dlogvar):
        # h and y feed both heads, so their gradients add up
        dh_y = self.mu.backward(dmu) + self.logvar.backward(dlogvar)  # (features + K, N)
        # h_y = h, and below it the classes, which are data and need no gradient
        return self.trunk.backward(dh_y[: self.features])


class ConditionalDecoder(Module):
    """The decoder of a VAE with K further inputs; network: (L + K, N) -> (..., N)."""

    def __init__(self, network, classes):
        self.network, self.classes = network, classes

    def forward(self, z, labels):
        """S codes for each of N examples, z (L, S N), and labels (N,) -> the output (..., S N)."""
        return self.network.forward(with_classes(z, labels, self.classes))

    def backward(self, doutput):
        # output = network(z, and below it the classes)
        return self.network.backward(doutput)[: -self.classes]  # dz (L, S N)


def with_classes(rows, labels, classes):
    """rows (R, S N), and below them labels (N,) as vectors, once for each sample: (R + K, S N).

    The vector of a label has ONE in the row of its class, and 0 in the other K - 1 rows.
    """
    xp, (r, columns), n = array_module(rows), rows.shape, len(labels)
    y = ONE * xp.asarray(one_hot(labels, classes, rows.dtype))  # (K, N)
    joined = xp.empty((r + classes, columns // n, n), dtype=rows.dtype)
    joined[:r] = rows.reshape(r, columns // n, n)
    joined[r:] = y[:, None]
    return joined.reshape(r + classes, columns)


class CVAE(VAE):
    """encoder: a ConditionalEncoder; decoder: a ConditionalDecoder; a likelihood.

    The methods take the labels (N,) of the examples or codes as their last argument. Terms,
    gradient and weights are the VAE's, which hands the labels on to encoder and decoder.
    """

    objective = "negative ELBO given y"
    wants_labels = True
    options = {"classes": Option(10, "how many classes the labels name")}

    def __init__(self, encoder, decoder, likelihood):
        self.classes = encoder.classes
        super().__init__(encoder, decoder, likelihood)

    @classmethod
    def build(cls, networks, latent_dim, likelihood, classes):
        """The conditional VAE made of `networks`, a ConvNetworks or MLPNetworks."""
        trunk, network = networks.trunk(), networks.decoder(latent_dim + classes)
        encoder = ConditionalEncoder(
            trunk, networks.features, latent_dim, classes, rng=networks.rng
        )
        return cls(encoder, ConditionalDecoder(network, classes), likelihood)

    def _encode(self, x, labels=None):
        self._require_labels(labels, x.shape[-1])
        return super()._encode(x, labels)

    def _outputs(self, z, labels=None):
        self._require_labels(labels, len(z))
        return super()._outputs(z, labels)

    def _require_labels(self, labels, n):
        """Refuse labels that are missing, or not one for each of n examples or codes."""
        shape = None
        if hasattr(getattr(labels, "dtype", None), "kind") and not np.ma.is_masked(labels):
            shape = labels.shape
        if shape != (n,):
            got = "none" if labels is None else shape or type(labels).__name__
            raise ValueError(
                f"{type(self).__name__} needs labels as an array ({n},), one an example, got {got}"
            )
