"""How strongly the KL counts: its weight beta over training, and free bits.

A schedule is a function from the number of steps done to the weight. Everything here is against
posterior collapse, or for a chosen rate: see docs/elbo.md.
"""

from tinyvae.engine.backend import array_module


def constant(beta):
    """Always beta. Higgins et al. 2017 (beta-VAE); beta = 1 is the ELBO."""
    return lambda step: beta


def linear_annealing(beta, steps):
    """From 0 at step 0 in a straight line to beta at `steps`. Bowman et al. 2016, section 3."""
    if not steps > 0:
        raise ValueError(f"steps must be positive, got {steps}")
    return lambda step: beta * min(1.0, step / steps)


def cyclical_annealing(beta, period, ramp=0.5):
    """In each period from 0 to beta in its fraction `ramp`, then beta. Fu et al. 2019, eq. 6."""
    if not (period > 0 and 0 < ramp <= 1):
        raise ValueError(f"expected period > 0 and 0 < ramp <= 1, got {period} and {ramp}")
    return lambda step: beta * min(1.0, (step % period) / (ramp * period))


def free_bits(kl, floor):
    """The KL that the loss counts: sum over d of max(floor, kl_d).

    kl: (L,), each dimension's KL averaged over the batch, in nats; floor: nats a dimension.
    Kingma et al. 2016, eq. 15.
    """
    return array_module(kl).maximum(kl, floor).sum()


def free_bits_grad(kl, floor):
    """Its gradient: (L,), 1 where the dimension is above the floor, 0 where the floor is active.

    For all dimensions the number 1 if floor = 0, even where kl_d has reached 0.
    """
    # max(floor, kl_d)
    return (kl > floor).astype(kl.dtype) if floor > 0 else 1.0
