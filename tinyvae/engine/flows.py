"""Normalizing flows: steps that scale and shift dimensions, and several steps one after the other.

planar.py has what a step is, and the planar step. docs/variants/flow.md has the derivations.
"""

from tinyvae.engine.activations import Tanh
from tinyvae.engine.backend import array_module, fused
from tinyvae.engine.layers import Linear, require_counts
from tinyvae.engine.masked import MaskedLinear
from tinyvae.engine.module import Module
from tinyvae.engine.planar import Planar, Step

WIDTH = 64  # hidden units of a step's network; at least 2 L, so that all L dimensions are seen


class Affine(Step):
    """z'[d] = z[d] * exp(s[d]) + m[d] with s = tanh(r), where a network gives m and r.

    The network reads h and the first `seen` dimensions of z. The first `kept` dimensions stay as
    they are. No m[d] and r[d] may depend on z[d] or a later dimension: then the Jacobian is a
    triangular matrix, and log_det is the sum of s. The tanh keeps a step between 1/e and e.
    """

    def forward(self, z, h):
        self._require(z, h)
        kept, moved = z[: self.kept], z[self.kept :]
        m, r = self.network.forward(z[: self.seen], h)  # (L - kept, M)
        s = array_module(z).tanh(r)
        self._saved = moved, s
        return array_module(z).concatenate([kept, _affine(moved, s, m)]), s.sum(axis=0)

    def backward(self, dz, dlog_det):
        moved, s = self._take_saved()
        # z' = [kept, moved * exp(s) + m], log_det = sum of s, s = tanh(r)
        dkept, dm = dz[: self.kept], dz[self.kept :]
        dmoved, dr = _affine_backward(dm, dlog_det, moved, s)
        # m, r = network(z[:seen], h)
        dseen, dh = self.network.backward(dm, dr)
        dz = array_module(dz).concatenate([dkept, dmoved])
        dz[: self.seen] += dseen
        return dz, dh


class Coupling(Affine):
    """The first L // 2 dimensions stay, and with h they say how the others are changed.

    Dinh, Sohl-Dickstein and Bengio 2017 (RealNVP), eq. 4 and 5. For L = 1 no dimension stays, and m
    and r depend on h alone.
    """

    def __init__(self, latent_dim, features, *, rng):
        self.latent_dim, self.kept = latent_dim, latent_dim // 2
        self.seen, width = self.kept, max(WIDTH, 2 * latent_dim)
        from_z = Linear(self.seen, width, rng=rng) if self.seen else None
        out = Linear(width, 2 * (latent_dim - self.kept), rng=rng)
        self.network = Network(from_z, Linear(features, width, rng=rng), out)

    def inverse(self, z, h):
        self._require(z, h)
        self._saved, xp = None, array_module(z)  # the network forgets what forward kept
        kept, moved = z[: self.kept], z[self.kept :]
        m, r = self.network.forward(kept, h)
        return xp.concatenate([kept, (moved - m) * xp.exp(-xp.tanh(r))])


class InverseAutoregressive(Affine):
    """Dimension d is changed as the dimensions before it and h say. Kingma et al. 2016, eq. 10.

    Forward computes all dimensions at once, the inverse one after the other.
    """

    kept = 0

    def __init__(self, latent_dim, features, *, rng):
        self.latent_dim = self.seen = latent_dim
        width = max(WIDTH, 2 * latent_dim)
        # hidden unit i sees the dimensions before i % L, output d the hidden units with i % L <= d
        from_z = MaskedLinear(latent_dim, width, latent_dim, strict=True, rng=rng)
        out = MaskedLinear(width, 2 * latent_dim, latent_dim, strict=False, rng=rng)
        self.network = Network(from_z, Linear(features, width, rng=rng), out)

    def inverse(self, z, h):
        self._require(z, h)
        self._saved, xp = None, array_module(z)
        found = xp.zeros_like(z)
        for d in range(self.latent_dim):  # m[d] and r[d] need only what is found already
            m, r = self.network.forward(found, h)
            found[d] = (z[d] - m[d]) * xp.exp(-xp.tanh(r[d]))
        return found


class Network(Module):
    """m, r = out(tanh(from_z(z) + from_h(h))); zero in a new network, because `out` is zero."""

    def __init__(self, from_z, from_h, out):
        self.from_z, self.from_h, self.tanh, self.out = from_z, from_h, Tanh(), out
        out.weight.value[...], out.bias.value[...] = 0, 0

    def forward(self, z, h):
        hidden = self.from_h.forward(h)  # (width, M)
        if self.from_z:
            hidden += self.from_z.forward(z)
        y = self.out.forward(self.tanh.forward(hidden))
        return y[: len(y) // 2], y[len(y) // 2 :]

    def backward(self, dm, dr):
        dhidden = self.tanh.backward(self.out.backward(array_module(dm).concatenate([dm, dr])))
        # hidden = from_h(h) + from_z(z)
        dz = self.from_z.backward(dhidden) if self.from_z else 0
        return dz, self.from_h.backward(dhidden)


STEPS = {"planar": Planar, "coupling": Coupling, "iaf": InverseAutoregressive}


class Flow(Module):
    """A number of steps of one kind, one after the other, on z (L, S, N): S codes an example.

    h is (features, N), log_det (S, N). If the steps are `ordered`, steps 1, 3, 5, ... see the
    dimensions in reverse order. So two coupling steps change every dimension. Raises ValueError for
    another kind than those in STEPS.
    """

    def __init__(self, kind, number, latent_dim, features, *, rng):
        if kind not in STEPS:
            raise ValueError(f"kind must be one of {', '.join(STEPS)}, got {kind!r}")
        require_counts(latent_dim=latent_dim)
        self.steps = [STEPS[kind](latent_dim, features, rng=rng) for _ in range(number)]

    def forward(self, z, h):
        """z (L, S, N) and h (features, N) -> z' (L, S, N) and log_det (S, N)."""
        shape, (z, h) = z.shape, _folded(z, h)
        log_det = array_module(z).zeros_like(z[0])
        for i, step in enumerate(self.steps):
            z, log_det_i = step.forward(self._turned(z, i), h)
            z, log_det = self._turned(z, i), log_det + log_det_i
        return z.reshape(shape), log_det.reshape(shape[1:])

    def backward(self, dz, dlog_det):
        """dz' (L, S, N) and dlog_det (S, N) -> dz (L, S, N) and dh (features, N).

        Without steps dh is the number 0.
        """
        shape, dz, dlog_det, dh = dz.shape, dz.reshape(len(dz), -1), dlog_det.reshape(-1), 0
        for i, step in reversed([*enumerate(self.steps)]):
            # z = turned(step(turned(z), h)), and every step adds to log_det
            dz, dh_i = step.backward(self._turned(dz, i), dlog_det)
            # h is used by all steps
            dz, dh = self._turned(dz, i), dh + dh_i
        # and by all samples
        dh = dh.reshape(len(dh), *shape[1:]).sum(axis=1) if self.steps else dh
        return dz.reshape(shape), dh

    def inverse(self, z, h):
        """z' (L, S, N) and h (features, N) -> the z (L, S, N) that forward turns into z'.

        Raises ValueError if a step has no inverse.
        """
        shape, (z, h) = z.shape, _folded(z, h)
        for i, step in reversed([*enumerate(self.steps)]):
            z = self._turned(step.inverse(self._turned(z, i), h), i)
        return z.reshape(shape)

    def _turned(self, z, i):
        """z as step i sees it; again as it was, if that is turned."""
        return array_module(z).ascontiguousarray(z[::-1]) if self.steps[i].ordered and i % 2 else z


def _folded(z, h):
    """z (L, S, N) -> (L, S N), and h (features, N) -> (features, S N), each column S times."""
    h = array_module(h).broadcast_to(h[:, None], (len(h), *z.shape[1:]))
    return z.reshape(len(z), -1), h.reshape(len(h), -1)


@fused
def _affine(z, s, m):
    return z * array_module(z).exp(s) + m


@fused
def _affine_backward(dy, dlog_det, z, s):
    """From dy of y = z * exp(s) + m and from dlog_det of log_det: (dz, dr), where s = tanh(r)."""
    scaled = dy * array_module(z).exp(s)
    return scaled, (scaled * z + dlog_det) * (1 - s * s)
