"""The settings of a training run: what they are called, their defaults, and what they may be.

A run is determined by them and by the data: the same settings give the same numbers again.
"""

import math
from dataclasses import dataclass, fields

from tinyvae.data.batches import BINARIZATIONS
from tinyvae.errors import UserError
from tinyvae.models.networks import LIKELIHOODS, MODELS, NETWORKS

CHOICES = {
    "model": MODELS,
    "network": NETWORKS,
    "likelihood": tuple(LIKELIHOODS),
    "optimizer": ("adam", "sgd"),
    "binarize": BINARIZATIONS,
}
AT_LEAST_ONE = ("latent_dim", "epochs", "batch_size", "samples")
NOT_NEGATIVE = ("beta", "kl_anneal", "free_bits", "threads", "seed")
ONLY_VAE = ("beta", "kl_anneal", "free_bits", "samples")


@dataclass(frozen=True)
class Config:
    """Raises UserError, naming the setting, for a value or combination that makes no sense."""

    model: str = "vae"
    network: str = "conv"
    latent_dim: int = 20
    likelihood: str = "bernoulli"
    beta: float = 1.0
    kl_anneal: float = 0.0  # epochs until beta is reached; 0: from the first step
    free_bits: float = 0.0  # nats per latent dimension
    epochs: int = 20
    batch_size: int = 128
    lr: float = 1e-3
    optimizer: str = "adam"
    samples: int = 1  # Monte-Carlo samples of z per image
    binarize: str = "none"
    threads: int = 0  # parts of a batch computed at once, with NumPy; 0: training.THREADS
    seed: int = 0

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                self._refuse(name, f"one of {', '.join(choices)}")
        for name in AT_LEAST_ONE:
            if not getattr(self, name) >= 1:
                self._refuse(name, "at least 1")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                self._refuse(name, "a finite number, not negative")
        if not 0 < self.lr < math.inf:
            self._refuse("lr", "a finite number above 0")
        if self.model == "ae":
            for field in fields(self):
                if field.name in ONLY_VAE and getattr(self, field.name) != field.default:
                    raise UserError(
                        f"{flag(field.name)} is for --model vae: an autoencoder has no KL "
                        "and draws no samples; leave it out"
                    )

    def _refuse(self, name, expected):
        raise UserError(f"{flag(name)} must be {expected}, got {getattr(self, name)!r}")


def flag(name):
    """The setting as the command line spells it."""
    return "--" + name.replace("_", "-")
