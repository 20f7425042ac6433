"""What every step of a normalizing flow has, and the simplest such step; flows.py has the others.

A step is an invertible map z -> z' of codes. If z has the density q(z), then z' has the density
q'(z') = q(z) / |det dz'/dz|. So a step also gives log_det = log |det dz'/dz|, and
log q'(z') = log q(z) - log_det: Rezende and Mohamed 2015, eq. 5.

Codes z are (L, M), with one code in each column. A step also takes the context h (features, M), an
encoder's features, from which it computes its own parameters: so each example has a flow of its
own. A new step changes nothing: z' = z and log_det = 0. docs/variants/flow.md derives all this.
"""

from tinyvae.engine.backend import array_module, fused
from tinyvae.engine.layers import Linear
from tinyvae.engine.module import Module

TINY = 1e-12  # added to |w|^2, so that w = 0 divides nothing by zero


class Step(Module):
    """z', log_det = step.forward(z, h), then once dz, dh = step.backward(dz', dlog_det).

    log_det and dlog_det are (M,).
    """

    has_inverse = True  # in closed form
    ordered = True  # whether the dimensions of z play different parts
    _saved = None

    def forward(self, z, h):
        """z (L, M) and h (features, M) -> z' (L, M) and log_det (M,).

        Raises ValueError for other shapes.
        """
        raise NotImplementedError

    def backward(self, dz, dlog_det):
        """dz' (L, M) and dlog_det (M,) -> dz (L, M) and dh (features, M); sets the gradients.

        Raises RuntimeError unless forward was called before, once for every backward.
        """
        raise NotImplementedError

    def inverse(self, z, h):
        """z' (L, M) and h (features, M) -> the z (L, M) that forward turns into z'.

        Raises ValueError for other shapes, and if the step has no inverse in closed form.
        """
        raise ValueError(f"{type(self).__name__}: this step has no inverse in closed form")

    def _require(self, z, h):
        if z.ndim != 2 or h.ndim != 2 or z.shape[1] != h.shape[1] or len(z) != self.latent_dim:
            raise ValueError(
                f"{type(self).__name__}: expected z ({self.latent_dim}, M) and h (features, M), "
                f"got {z.shape} and {h.shape}"
            )

    def _take_saved(self):
        saved, self._saved = self._saved, None
        if saved is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: call forward first, once for every backward"
            )
        return saved


class Planar(Step):
    """z' = z + v tanh(w'z + b), with w, b and v from h. Rezende and Mohamed 2015, eq. 10.

    It moves z along v, by an amount that depends on w'z + b. It is invertible if w'v > -1. So h
    gives a vector u, and v = u + (elu(a) - a) w / |w|^2 with a = w'u. Then w'v = elu(a) > -1. This
    is the paper's appendix A.1 with elu(a) in place of log(1 + exp(a)) - 1, because only elu makes
    u = 0 give v = 0. The inverse has no closed form.

    log_det = log(1 + (1 - t^2) w'v) with t = tanh(w'z + b). It is computed as the logarithm of
    t^2 + (1 - t^2) (1 + w'v), whose summands are not negative. In float32 the first form fails
    where w'v is rounded to -1 and t is near 0: from w'u = -13 on. There the second form fails only
    below w'u = -104, and its gradient below -87.
    """

    has_inverse, ordered = False, False

    def __init__(self, latent_dim, features, *, rng):
        self.latent_dim = latent_dim
        self.parameters = Linear(features, 2 * latent_dim + 1, rng=rng)  # h -> u, w, b
        # u = 0 in a new step. With w = 0 and b = 0 too, all gradients would stay zero.
        self.parameters.weight.value[:latent_dim] = 0
        self.parameters.bias.value[:latent_dim] = 0

    def forward(self, z, h):
        self._require(z, h)
        y, n = self.parameters.forward(h), self.latent_dim
        u, w, b = y[:n], y[n:-1], y[-1]  # (L, M), (L, M), (M,)
        a, norm2 = (w * u).sum(axis=0), (w * w).sum(axis=0) + TINY  # (M,)
        v = u + w * (_elu_minus(a) / norm2)  # (L, M)
        t, one_plus_wv = array_module(z).tanh((w * z).sum(axis=0) + b), _one_plus_elu(a)  # (M,)
        det = t * t + (1 - t * t) * one_plus_wv
        self._saved = z, u, w, v, t, one_plus_wv, det, a, norm2
        return z + v * t, array_module(z).log(det)

    def backward(self, dz, dlog_det):
        z, u, w, v, t, one_plus_wv, det, a, norm2 = self._take_saved()
        # log_det = log(det), det = t * t + (1 - t * t) * one_plus_wv
        ddet = dlog_det / det
        done_plus_wv = ddet * (1 - t * t)
        # z' = z + v * t
        dt = (dz * v).sum(axis=0) + ddet * 2 * t * (1 - one_plus_wv)
        dv = dz * t
        # t = tanh(sum of w * z + b)
        db = dt * (1 - t * t)
        dz, dw = dz + db * w, db * z
        # v = u + w * c / norm2, c = elu(a) - a, norm2 = sum of w * w + TINY
        c = _elu_minus(a)
        dratio = (dv * w).sum(axis=0)  # of c / norm2
        dw += dv * (c / norm2) - w * (2 * dratio * c / (norm2 * norm2))
        # one_plus_wv = 1 + elu(a), a = sum of w * u
        slope = _elu_slope(a)
        da = dratio / norm2 * (slope - 1) + done_plus_wv * slope
        du, dw = dv + da * w, dw + da * u
        # u, w, b = parameters(h)
        return dz, self.parameters.backward(array_module(dz).concatenate([du, dw, db[None]]))


@fused
def _elu_minus(a):
    """elu(a) - a, where elu(a) is a for a >= 0 and exp(a) - 1 for a < 0."""
    xp = array_module(a)
    low = xp.minimum(a, 0.0)
    return xp.expm1(low) - low


@fused
def _one_plus_elu(a):
    """1 + elu(a): above 0 also where elu(a) itself is rounded to -1."""
    xp = array_module(a)
    return xp.exp(xp.minimum(a, 0.0)) + xp.maximum(a, 0.0)


@fused
def _elu_slope(a):
    xp = array_module(a)
    return xp.exp(xp.minimum(a, 0.0))
