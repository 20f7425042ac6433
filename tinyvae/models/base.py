"""What a model is: everything that training, evaluation and figures may ask of one.

The methods that people call put the batch first, as data and plots do: images (N, C, H, W), vectors
(N, D), codes (N, L). The layers put the batch last. layout.py moves the axis between the two.
"""

import math
from dataclasses import dataclass

import numpy as np

from tinyvae.engine import schedules
from tinyvae.engine.backend import array_module
from tinyvae.engine.module import Module
from tinyvae.models.layout import (
    as_vectors,
    batch_first,
    batch_last,
    require_floats,
    require_log_prob,
    require_noise,
    require_same_size,
)
from tinyvae.rng import require_generator


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss terms of a batch and their weights. `loss.kl` is short for `loss.terms["kl"]`."""

    terms: dict  #: name: mean over the batch in nats per example; a scalar, but (L,) for "kl"
    beta: float = 1.0
    free_bits: float = 0.0

    def __getattr__(self, name):
        terms = vars(self).get("terms", {})  # a copy in the making has none yet
        if name not in terms:
            raise AttributeError(f"this loss has the terms {', '.join(terms)}, not {name}")
        return terms[name]

    @property
    def total(self):
        """What training minimises, a scalar in nats: beta weighs the KL, other terms count once."""
        total = sum(term for name, term in self.terms.items() if name != "kl")
        if "kl" in self.terms:
            total = total + self.beta * schedules.free_bits(self.kl, self.free_bits)
        return total

    @property
    def dterms(self):
        """{name: dtotal/dterm}: the number 1.0 for a scalar term, an array (L,) for "kl"."""
        dterms = dict.fromkeys(self.terms, 1.0)
        if "kl" in self.terms:
            dterms["kl"] = self.beta * schedules.free_bits_grad(self.kl, self.free_bits)
        return dterms


class Model(Module):
    """What training and evaluation need. A new model sets the attributes and writes three methods.

    `terms` computes the loss terms, `terms_backward` takes their gradients back to the parameters,
    and `metrics` computes what else evaluation reports. `loss` and `backward`, the pair that people
    call, are built on `terms` and `terms_backward`. Training calls this inner pair, because it may
    compute a batch in parts. Free bits need the mean KL of the whole batch. So first all parts run
    `terms`, and then all parts run `terms_backward`.

    The inputs of `terms`, `loss` and `log_weights` are, in this order: the examples x (N, ...); the
    noise eps (S, N, noise_dim) ~ N(0, 1) for S draws of z, if noise_dim > 0; the labels (N,), if
    wants_labels.

    A subclass calls `super().__init__()` last: it gathers the parameters that are there by then.
    """

    shape = None  #: of an example; None: whatever the layers take
    term_names = ()  #: of the loss terms; they become the columns of history.csv
    objective = "loss"  #: what the sum of the terms is called
    noise_dim = 0  #: how many standard normal numbers one draw of z for one example takes
    latent_dim = 0  #: how many numbers a code has; 0: the model has no codes
    latent_layers = ()  #: if codes have several layers: the dimensions of each, bottom first
    standard_codes = False  #: whether codes have the prior N(0, I)
    wants_labels = False  #: whether the inputs end in labels
    classes = 0  #: of a conditional model, see EncoderDecoder: how many classes its labels name
    support = (-math.inf, math.inf)  #: the values that an example may hold
    reconstruct = None  #: a model that turns x into codes and back has it, see EncoderDecoder
    sample_means = None  #: a model that draws from a prior has it, see EncoderDecoder
    log_weights = None  #: a model that bounds log p(x) has this method, see VAE.log_weights
    weights_per_draw = 1  #: weights of an example that log_weights gives for one draw of noise
    settings = None  #: the arguments of make_model, as JSON holds them, if it built this model
    _made_as = ""  # what make_model built, see registry._architecture
    options = {}  #: {name: Option}: what this kind of model takes beyond what all models take
    networks = ("conv", "mlp")  #: the names of the networks that it can be built of

    def __init__(self):
        self._saved = None  # what `terms` keeps for `terms_backward`
        self._dterms = None  # what `loss` keeps for `backward`
        self.to()

    def terms(self, *inputs):
        """{name: mean over the batch}, in nats per example and float64, on the model's device."""
        raise NotImplementedError

    def terms_backward(self, dterms):
        """Set `grad` to the gradient of the sum of dterms[name] * terms[name]."""
        raise NotImplementedError

    def metrics(self, *inputs):
        """What evaluation reports beside the terms, {name: (N, ...)}; takes no noise."""
        raise NotImplementedError

    def after_step(self):
        """Change the parameters that no optimizer trains, from their `grad`.

        Called in every training step after the optimizer's. It may not wait for the device.
        """

    def end_epoch(self, batches, rng):
        """Change parameters between two epochs, in place.

        Training calls it after the last step of an epoch, before evaluation. batches: yields some
        2000 of the training examples, x (n, ...) on the model's device; rng: a NumPy generator.
        """

    def require_examples(self, n):
        """Raise UserError if n training examples are too few for this model."""

    def frozen(self, *inputs, **options):
        """A function of no arguments whose gradient at the present theta is what `backward` gives.

        It is the loss. A model with a stop-gradient returns the loss in which the stopped values
        stay what they are now, while theta changes: finite differences can check that.
        """
        return lambda: self.loss(*inputs, **options).total

    def loss(self, *inputs, beta=1.0, free_bits=0.0):
        """The Loss of a batch; `backward` then computes its gradient.

        total = the sum of the terms, in which the KL is beta * sum over d of max(free_bits, kl_d);
        with free_bits = 0 it is beta * sum over d of kl_d, also where an estimate is below 0.
        Until `backward` change neither inputs nor parameters, and use the model in one thread only.
        Raises ValueError for examples outside the support, and for a beta or free_bits that is
        negative or not finite.
        """
        schedules.require_weight(beta=beta, free_bits=free_bits)
        loss = Loss(self.terms(*inputs), beta, free_bits)
        self._dterms = loss.dterms
        return loss

    def backward(self):
        """Set `grad` to the gradient of the last loss with respect to all parameters.

        Raises RuntimeError unless `loss` was called just before, once for every `backward`.
        """
        dterms, self._dterms = self._dterms, None
        if dterms is None:
            self._saved = None  # `terms` was called since the last loss
            self._take_saved()  # raises
        self.terms_backward(dterms)

    def require_support(self, x):
        """Raise ValueError if x holds values outside the support, or values that are not finite.

        On a GPU nothing is checked, because reading x would make the device wait.
        """
        if not isinstance(x, np.ndarray) or x.size == 0 or x.dtype.kind != "f":
            return
        (low, high), least, most = self.support, float(x.min()), float(x.max())  # nan, if any
        if not (low <= least and most <= high and math.isfinite(most - least)):
            raise ValueError(
                f"{type(self).__name__}: expected finite values from {low:g} to {high:g}, got "
                f"{least:.8g} to {most:.8g}; rescale the examples, or leave out those with such "
                "values"
            )

    def inputs(self, x, eps=None, labels=None):
        """Those of the arguments that this model takes, in its order."""
        return (x,) + (eps,) * (self.noise_dim > 0) + (labels,) * self.wants_labels

    def _take_saved(self):
        """What `terms` saved for its backward, once."""
        saved, self._saved = self._saved, None
        if saved is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: call loss first, once for every backward, and "
                "call no other method of the model in between"
            )
        return saved

    def _discard_saved(self):
        """Call before the layers run: they overwrite what the last loss needs for its backward."""
        self._saved = self._dterms = None

    def _to_engine(self, x):
        """Examples with the batch last, contiguous, on the model's device and of its dtype.

        Every example enters a model here, so here is checked that it is one for this model.
        """
        require_floats(x, (2, 4), "(N, D) or (N, C, H, W)")
        if self.shape not in (None, x.shape[1:]):
            raise ValueError(
                f"the model takes examples of shape {self.shape}, got {x.shape[1:]}; convert them, "
                "or make a model for this shape"
            )
        x = batch_last(x, self.theta)
        self.require_support(x)
        return x


class EncoderDecoder(Model):
    """A model with codes: an encoder, a decoder, and the likelihood of the decoder's output.

    decoder: (L, N) -> (..., N), which the likelihood reads as the parameters of p(x|z). A subclass
    defines `embed`: how the encoder gives a code.

    In a conditional model, with `classes` above 0, both networks also take the labels. Then all
    methods below take the labels (N,) as their last argument; otherwise they take none.
    """

    def __init__(self, encoder, decoder, likelihood, latent_dim):
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.latent_dim = latent_dim
        super().__init__()

    @property
    def support(self):
        """(low, high): the values that an example may hold; the likelihood's."""
        return self.likelihood.support

    def metrics(self, x, *labels):
        """The code (N, L), and the squared error of the mean reconstruction, of x's shape."""
        code = self.embed(x, *labels)
        error = self.decode(code, *labels) - x
        return {"code": code, "squared_error": error * error}

    def embed(self, x, *labels):
        """Examples x (N, ...) -> one code for each, (N, L)."""
        raise NotImplementedError

    def decode(self, z, *labels):
        """Codes z (N, L) -> the means of p(x|z), (N, ...)."""
        return batch_first(self.likelihood.mean(self._outputs(z, *labels)))

    def draw(self, z, rng, *labels):
        """Codes z (N, L) -> a draw from each p(x|z), (N, ...), by the NumPy generator rng."""
        require_generator(rng)
        return batch_first(self.likelihood.sample(self._outputs(z, *labels), rng))

    def reconstruct(self, x, *labels):
        """Examples x (N, ...) -> the means of p(x | z = embed(x)), (N, ...)."""
        return self.decode(self.embed(x, *labels), *labels)

    def sample(self, n, rng, *labels):
        """n draws x ~ p(x|z), (n, ...), with codes z from the prior, by the NumPy generator rng."""
        return self.draw(self.draw_codes(n, rng), rng, *labels)

    def sample_means(self, n, rng, *labels):
        """The means of p(x|z), (n, ...), for n codes from the prior: pictures without noise."""
        return self.decode(self.draw_codes(n, rng), *labels)

    def draw_codes(self, n, rng):
        """n codes from the prior N(0, I), (n, L), by the NumPy generator rng; on the host."""
        require_generator(rng)
        return rng.standard_normal((n, self.latent_dim), dtype=np.float32)

    def _outputs(self, z, *labels):
        """Codes z (N, L) -> the decoder's output (..., N)."""
        self._require_codes(z)
        return self._decode(batch_last(z, self.theta), *labels)

    def _require_codes(self, z):
        require_floats(z, (2,), "(N, L)")
        if z.shape[1] != self.latent_dim:
            raise ValueError(f"codes must be (N, {self.latent_dim}), got {z.shape}")

    def _encode(self, x, *labels):
        self._discard_saved()
        return self.encoder.forward(x, *labels)

    def _decode(self, z, *labels):
        self._discard_saved()
        return self.decoder.forward(z, *labels)

    def _noise(self, eps, n):
        """Noise eps (S, N, L), batch first, for n examples -> (L, S, N) on the model's device."""
        require_noise(eps, n, self.latent_dim)
        xp = array_module(self.theta)
        return xp.moveaxis(xp.asarray(eps, dtype=self.theta.dtype), -1, 0)

    def _log_px(self, x, z, *labels):
        """x (..., N) and z (L, S, N) -> the decoder's output (..., S N), and log p(x|z) (S, N)."""
        latent_dim, samples, n = z.shape
        output = self._decode(z.reshape(latent_dim, samples * n), *labels)
        require_same_size(output, x)
        log_px = self.likelihood.log_prob(as_vectors(x, 1, n), as_vectors(output, samples, n))
        require_log_prob(log_px, (samples, n))
        return output, log_px
