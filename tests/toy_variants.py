"""Two models that the library does not know, and one without codes, for tests of the protocol."""

import numpy as np

from tinyvae import Bernoulli, Flatten, Linear, ReLU, Reshape, Sequential
from tinyvae.engine.backend import array_module
from tinyvae.engine.categorical import cross_entropy, cross_entropy_grad
from tinyvae.models.base import EncoderDecoder
from tinyvae.models.classifier import Classifier
from tinyvae.models.layout import as_vectors, batch_first, batch_last

PIXELS, WIDTH, L, CLASSES = 784, 6, 3, 10


class SparseVAE(EncoderDecoder):
    """q(z|x) = N(mu, I), and a third term: the mean of |mu|, summed over the dimensions."""

    term_names = ("reconstruction", "kl", "sparsity")
    objective = "sparse loss"
    standard_codes = True
    noise_dim = L

    def embed(self, x):
        return batch_first(self._encode(self._to_engine(x)))

    def terms(self, x, eps):
        x = self._to_engine(x)
        eps = batch_last(np.moveaxis(eps, 1, 0), self.theta)  # (S, L, N)
        mu = self._encode(x)  # (L, N)
        samples, n = len(eps), x.shape[-1]
        z = np.moveaxis(mu + eps, 0, 1)  # (L, S, N)
        output = self._decode(z.reshape(L, samples * n))
        log_px = self.likelihood.log_prob(as_vectors(x, 1, n), as_vectors(output, samples, n))
        self._saved = x, mu, output, samples
        return {
            "reconstruction": -log_px.mean(dtype=np.float64),
            "kl": (0.5 * mu * mu).mean(axis=1, dtype=np.float64),
            "sparsity": abs(mu).sum(axis=0).mean(dtype=np.float64),
        }

    def terms_backward(self, dterms):
        self.encoder.backward(self._dmu(dterms, *self._take_saved()))

    def _dmu(self, dterms, x, mu, output, samples):
        n = x.shape[-1]
        dlog_px = -dterms["reconstruction"] / (samples * n)
        doutput = self.likelihood.backward(
            dlog_px, as_vectors(x, 1, n), as_vectors(output, samples, n)
        )
        dz = self.decoder.backward(doutput.reshape(output.shape)).reshape(L, samples, n)
        dkl = (dterms["kl"] / n).astype(mu.dtype)[:, None]
        return dz.sum(axis=1) + dkl * mu + dterms["sparsity"] / n * array_module(mu).sign(mu)


class LabelledVAE(SparseVAE):
    """The same, and a linear layer tells the label of x from mu."""

    term_names = (*SparseVAE.term_names, "cross_entropy")
    wants_labels = True

    def __init__(self, *arguments):
        self.head = Linear(L, CLASSES, rng=np.random.default_rng(1))
        super().__init__(*arguments)

    def terms(self, x, eps, labels):
        terms = super().terms(x, eps)
        _, mu, *_ = self._saved
        logits = self.head.forward(mu)
        self._saved = (self._saved, logits, labels)
        terms["cross_entropy"] = cross_entropy(logits, labels).mean(dtype=np.float64)
        return terms

    def terms_backward(self, dterms):
        saved, logits, labels = self._take_saved()
        dlogits = dterms["cross_entropy"] / len(labels) * cross_entropy_grad(logits, labels)
        self.encoder.backward(self._dmu(dterms, *saved) + self.head.backward(dlogits))

    def metrics(self, x, labels):
        numbers = super().metrics(x)
        logits = self.head.forward(batch_last(numbers["code"], self.theta))
        return numbers | {"accuracy": logits.argmax(axis=0) == labels}


def classifier():
    rng = np.random.default_rng(0)
    layers = Flatten(), Linear(PIXELS, WIDTH, rng=rng), ReLU(), Linear(WIDTH, CLASSES, rng=rng)
    return Classifier(Sequential(*layers))


def variant(cls):
    def make():
        rng = np.random.default_rng(0)
        encoder = Flatten(), Linear(PIXELS, WIDTH, rng=rng), ReLU(), Linear(WIDTH, L, rng=rng)
        decoder = Linear(L, PIXELS, rng=rng), Reshape(1, 28, 28)
        return cls(Sequential(*encoder), Sequential(*decoder), Bernoulli(), L)

    return make


MODELS = {"sparse": variant(SparseVAE), "labelled": variant(LabelledVAE), "classifier": classifier}
