"""Layers that look back only, for autoregressive models: each output sees earlier inputs alone."""

import math

from tinyvae.engine.backend import array_module, matmul
from tinyvae.engine.convolution import patches, patches_adjoint, product_with_patches
from tinyvae.engine.layers import Conv2d, Linear, as_matrix, require_counts, sum_columns


class MaskedLinear(Linear):
    """A Linear layer in which output i sees input j only if j % size < i % size.

    strict=False: only if j % size <= i % size. The other weights have no effect and no gradient.
    x (in, N) -> y (out, N). Raises ValueError for sizes that are no integers of at least 1.

    Two such layers, one of them strict, make a network whose outputs d, d + size, ... depend on the
    inputs before d alone, for `size` inputs. Germain et al. 2015 (MADE), section 4.
    """

    def __init__(self, in_features, out_features, size, *, strict, rng):
        super().__init__(in_features, out_features, rng=rng)
        require_counts(size=size)
        self.size, self.strict = size, strict

    def forward(self, x):
        self._require_input(x, ("in_features", "N"), self.in_features)
        self._x = x
        return matmul(self.weight.value * self._mask(x), x) + self.bias.value[:, None]

    def backward(self, dy):
        x = self._consume("_x")
        self._require_gradient(dy, (self.out_features, x.shape[1]))
        # y = (mask * W) @ x + b
        mask = self._mask(x)
        matmul(dy, x.T, out=self.weight.grad)
        self.weight.grad *= mask
        sum_columns(dy, out=self.bias.grad)  # db = the sum of dy over the batch
        return matmul((self.weight.value * mask).T, dy)

    def _mask(self, x):
        xp = array_module(x)
        i = xp.arange(self.out_features)[:, None] % self.size
        j = xp.arange(self.in_features) % self.size
        return j < i if self.strict else j <= i  # (out_features, in_features)


class MaskedConv2d(Conv2d):
    """A Conv2d with stride 1 and y as large as x, in which no pixel of y sees a later pixel of x.

    Pixels are in reading order. y at a pixel depends on x at the earlier pixels under the kernel,
    and with own=True on x at the pixel itself. kernel_size: odd, or a pair (height, width) of odd
    numbers; raises ValueError for others. The weights of all other taps are 0, and so are their
    gradients. own=False is mask A, and own=True mask B, of van den Oord, Kalchbrenner and
    Kavukcuoglu 2016, section 3.4. x (in_channels, H, W, N) -> y (out_channels, H, W, N).
    """

    def __init__(self, in_channels, out_channels, kernel_size, own, *, rng, needs_input_grad=True):
        options = {"rng": rng, "needs_input_grad": needs_input_grad}
        super().__init__(in_channels, out_channels, kernel_size, **options)
        kernel, stride, _ = self.geometry
        if any(size % 2 == 0 for size in kernel):
            raise ValueError(f"MaskedConv2d: kernel_size must be odd, got {kernel_size}")
        self.geometry = kernel, stride, tuple(size // 2 for size in kernel)  # y as large as x
        # the first taps in reading order; others are 0
        self.seen = math.prod(kernel) // 2 + bool(own)
        self.weight.value = self.weight.value * self._mask()

    def _mask(self):
        """1 for the taps that are seen, 0 for the others: (Kh, Kw)."""
        weight = self.weight.value
        taps = array_module(weight).arange(weight[0, 0].size).reshape(weight.shape[2:])
        return (taps < self.seen).astype(weight.dtype)

    def forward(self, x):
        self._require_input(x, ("in_channels", "H", "W", "N"), self.in_channels)
        self._x_shape, self._y_shape = x.shape, (self.out_channels, *x.shape[1:])
        self._patches = patches(x, *self.geometry)  # (in Kh Kw, H W N)
        self._masked = (self._mask() * self.weight.value).reshape(self.out_channels, -1)
        y = matmul(self._masked, self._patches) + self.bias.value[:, None]
        return y.reshape(self._y_shape)

    def backward(self, dy):
        p = self._consume("_patches")
        self._require_gradient(dy, self._y_shape)
        # y = (mask * W) @ patches(x) + b
        dmasked = array_module(dy).empty_like(self._masked)
        product_with_patches(dy, p, out=dmasked)  # dy @ p.T
        self.weight.grad = self._mask() * dmasked.reshape(self.weight.value.shape)
        sum_columns(as_matrix(dy), out=self.bias.grad)
        if not self.needs_input_grad:
            return None
        dp = matmul(self._masked.T, as_matrix(dy))
        return patches_adjoint(dp, self._x_shape, *self.geometry)
