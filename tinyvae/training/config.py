"""The settings of a training run: what they are called, their defaults, and what they may be.

The settings, the model and the data determine a run: the same three give the same numbers again.
"""

import math
from dataclasses import dataclass, fields

from tinyvae.data.batches import BINARIZATIONS
from tinyvae.errors import UserError

CHOICES = {"optimizer": ("adam", "sgd"), "binarize": BINARIZATIONS}
AT_LEAST_ONE = ("epochs", "batch_size", "samples")
NOT_NEGATIVE = ("beta", "kl_anneal", "free_bits", "threads", "seed")
FOR_A_KL, FOR_NOISE = ("beta", "kl_anneal", "free_bits"), ("samples",)


@dataclass(frozen=True)
class Config:
    """Raises UserError, naming the setting, for a value that makes no sense."""

    epochs: int = 20
    batch_size: int = 128
    lr: float = 1e-3
    optimizer: str = "adam"
    beta: float = 1.0
    kl_anneal: float = 0.0  # epochs until beta is reached; 0: from the first step
    free_bits: float = 0.0  # nats per latent dimension
    samples: int = 1  # Monte-Carlo samples of z per example
    binarize: str = "none"
    threads: int = 0  # with NumPy; 0: one for each core
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

    def require_fits(self, model):
        """Raise UserError for a setting that is not the default and means nothing to the model."""
        for names, meaningful, reason in (
            (FOR_A_KL, "kl" in model.term_names, "its loss has no KL"),
            (FOR_NOISE, model.noise_dim > 0, "it draws no samples"),
        ):
            for field in fields(self):
                given = getattr(self, field.name) != field.default
                if field.name in names and given and not meaningful:
                    name = type(model).__name__
                    raise UserError(
                        f"{flag(field.name)} means nothing to the model {name}, because {reason}; "
                        "leave it out"
                    )

    def _refuse(self, name, expected):
        raise UserError(f"{flag(name)} must be {expected}, got {getattr(self, name)!r}")


def flag(name):
    """The setting as the command line spells it."""
    return "--" + name.replace("_", "-")
