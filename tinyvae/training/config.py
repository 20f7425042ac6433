"""The settings of a training run: what they are called, their defaults, and what they may be.

The settings, the model and the data determine a run: the same three give the same numbers again.
"""

import math
import sys
from dataclasses import dataclass, fields
from numbers import Integral, Real

from tinyvae.data.batches import BINARIZATIONS
from tinyvae.errors import UserError, flag, shown

CHOICES = {"optimizer": ("adam", "sgd"), "binarize": BINARIZATIONS}
AT_LEAST_ONE = ("epochs", "batch_size", "samples")
NOT_NEGATIVE = ("beta", "kl_anneal", "free_bits", "threads", "seed")
MOST = {"samples": 10**6, "threads": 256}  # of whole numbers; of the others 2^63 - 1
FOR_A_KL, FOR_NOISE = ("beta", "kl_anneal", "free_bits"), ("samples",)


@dataclass(frozen=True)
class Config:
    """The settings of a run. Raises UserError, naming the setting, for one that makes no sense."""

    epochs: int = 20
    batch_size: int = 128  #: examples of one step
    lr: float = 1e-3  #: the optimizer's learning rate
    optimizer: str = "adam"  #: "adam" or "sgd"
    beta: float = 1.0  #: the weight of the KL
    kl_anneal: float = 0.0  #: epochs until beta is reached; 0: from the first step
    free_bits: float = 0.0  #: nats per latent dimension
    samples: int = 1  #: Monte-Carlo samples of z per example
    binarize: str = "none"  #: "none", "threshold" or "dynamic", see tinyvae.data.binarize
    threads: int = 0  #: with NumPy; 0: one for each core
    seed: int = 0  #: of noise and order of the examples; make_model has one for weights

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is str:
                choices = CHOICES[field.name]
                if not isinstance(value, str) or value not in choices:
                    self._refuse(field.name, f"one of {', '.join(choices)}")
            else:
                object.__setattr__(self, field.name, self._number(field.name, field.type, value))

    def _number(self, name, kind, value):
        """The value as an int or a float, also of a NumPy number or, for an int, a whole float."""
        if isinstance(value, bool) or not isinstance(value, Real):
            self._refuse(name, "a number")
        try:  # a Python number: NumPy's compare 2^63 as a number of their own type
            value = int(value) if kind is int and isinstance(value, Integral) else float(value)
        except OverflowError:
            self._refuse(name, f"at most {sys.float_info.max}")
        if name in AT_LEAST_ONE and not value >= 1:
            self._refuse(name, "at least 1")
        if name in NOT_NEGATIVE and not 0 <= value < math.inf:
            self._refuse(name, "a finite number, not negative")
        if name == "lr" and not 0 < value < math.inf:
            self._refuse(name, "a finite number above 0")
        if kind is int:
            if value > MOST.get(name, 2**63 - 1):
                self._refuse(name, f"at most {MOST.get(name, 2**63 - 1)}")
            if value != int(value):
                self._refuse(name, "a whole number")
        return kind(value)

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
        raise UserError(f"{flag(name)} must be {expected}, got {shown(getattr(self, name))}")
