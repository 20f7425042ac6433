"""The weight of the KL in the loss: beta as a function of the training step, and free bits.

Both prevent posterior collapse or set the rate, the KL that codes cost. docs/book/09_training.md
has both.
"""

import math
from numbers import Real

from tinyvae.engine.backend import array_module


def require_weight(**weights):
    """Raise ValueError unless all are finite numbers that are not negative."""
    for name, weight in weights.items():
        if not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be a number, finite and not negative, got {weight}")


def constant(beta):
    """Always beta. Higgins et al. 2017 (beta-VAE); beta = 1 is the ELBO.

    Returns a function of the step, as the next two do. They raise ValueError for a beta that is
    negative or not finite.
    """
    require_weight(beta=beta)
    return lambda step: beta


def linear_annealing(beta, steps):
    """Rises linearly from 0 at step 0 to beta at `steps`. Bowman et al. 2016, section 3.

    Raises ValueError for steps that are not positive.
    """
    require_weight(beta=beta)
    if not steps > 0:
        raise ValueError(f"steps must be positive, got {steps}")
    return lambda step: beta * min(1.0, step / steps)


def cyclical_annealing(beta, period, ramp=0.5):
    """In each period: rises from 0 to beta in the first fraction `ramp`, then stays at beta.

    Fu et al. 2019, eq. 6. Raises ValueError unless period is positive and ramp in (0, 1].
    """
    require_weight(beta=beta)
    if not (period > 0 and 0 < ramp <= 1):
        raise ValueError(f"expected period > 0 and 0 < ramp <= 1, got {period} and {ramp}")
    return lambda step: beta * min(1.0, (step % period) / (ramp * period))


def free_bits(kl, floor):
    """The KL that enters the loss: the sum over d of max(floor, kl_d).

    kl: (L,), each dimension's KL averaged over the batch, in nats; floor: nats per dimension. With
    the floor 0 it is the sum of kl: a KL is not negative, but a Monte Carlo estimate of one may be.
    Kingma et al. 2016, eq. 15.
    """
    return (array_module(kl).maximum(kl, floor) if floor else kl).sum()


def free_bits_grad(kl, floor):
    """The gradient of free_bits: (L,), 1 where kl_d has reached the floor, 0 where it is lower."""
    # max(floor, kl_d); without a floor kl_d
    return (kl >= floor).astype(kl.dtype) if floor else array_module(kl).ones_like(kl)
