"""The networks that models are made of, built from the shape of an example.

A trunk turns examples into features. A decoder turns codes into the parameters of the likelihood:
logits of a Bernoulli, means of a Gaussian. Every network draws its initial weights from `rng`, in
the order of its layers.
"""

import math

from tinyvae.engine.activations import ReLU
from tinyvae.engine.layers import Conv2d, ConvTranspose2d, Flatten, Linear, Reshape, Sequential
from tinyvae.errors import UserError

CHANNELS = (32, 64)  # of the two convolutions
CONV_FEATURES = 256
SMALLEST = 8  # pixels along a side of an image: smaller ones leave a feature map of one pixel


class ConvNetworks:
    """The tutorial's convolutional networks, for images (C, H, W) of at least 8x8 pixels.

    Each convolution halves the height and the width, rounded up. Each transposed convolution of the
    decoder doubles them; its output_padding is chosen so that odd sizes come back exactly. Larger
    images have larger linear layers: most weights are in them. `hidden` is for MLPNetworks. Raises
    UserError for other shapes.
    """

    features = CONV_FEATURES

    def __init__(self, shape, hidden, rng):
        if len(shape) != 3 or min(shape[1:]) < SMALLEST:
            raise UserError(
                f"network conv takes images of at least {SMALLEST}x{SMALLEST} pixels, got "
                f"examples of shape {shape}; use network mlp"
            )
        self.shape, self.rng = shape, rng
        self.half = tuple(-(-size // 2) for size in shape[1:])  # (H/2, W/2), rounded up
        self.quarter = tuple(-(-size // 2) for size in self.half)

    def trunk(self):
        """(C, H, W, N) -> (64, H/4, W/4, N) -> (256, N)."""
        return Sequential(
            *self._halve_twice(),
            Flatten(),
            Linear(CHANNELS[1] * math.prod(self.quarter), CONV_FEATURES, rng=self.rng),
            ReLU(inplace=True),
        )

    def decoder(self, latent_dim):
        """(L, N) -> (256, N) -> (64, H/4, W/4, N) -> (C, H, W, N)."""
        second = CHANNELS[1]
        return Sequential(
            Linear(latent_dim, CONV_FEATURES, rng=self.rng),
            ReLU(inplace=True),
            Linear(CONV_FEATURES, second * math.prod(self.quarter), rng=self.rng),
            ReLU(inplace=True),
            Reshape(second, *self.quarter),
            *self._double_twice(),
        )

    def grid_trunk(self, channels):
        """(C, H, W, N) -> (64, H/4, W/4, N) -> (channels, H/4, W/4, N)."""
        return Sequential(*self._halve_twice(), Conv2d(CHANNELS[1], channels, 1, rng=self.rng))

    def grid_decoder(self, channels):
        """(channels, H/4, W/4, N) -> (64, H/4, W/4, N) -> (C, H, W, N)."""
        return Sequential(
            Conv2d(channels, CHANNELS[1], 3, padding=1, rng=self.rng),
            ReLU(inplace=True),
            *self._double_twice(),
        )

    def _halve_twice(self):
        """(C, H, W, N) -> (32, H/2, W/2, N) -> (64, H/4, W/4, N)."""
        (first, second), options = CHANNELS, {"stride": 2, "padding": 1, "rng": self.rng}
        return [
            Conv2d(self.shape[0], first, 3, **options, needs_input_grad=False),
            ReLU(inplace=True),
            Conv2d(first, second, 3, **options),
            ReLU(inplace=True),
        ]

    def _double_twice(self):
        """(64, H/4, W/4, N) -> (32, H/2, W/2, N) -> (C, H, W, N)."""
        first, second = CHANNELS
        return [
            self._double(second, first, self.half),
            ReLU(inplace=True),
            self._double(first, self.shape[0], self.shape[1:]),
        ]

    def _double(self, in_channels, out_channels, size):
        """A transposed convolution from half of `size`, rounded up, to `size` (H, W)."""
        # Without output_padding an axis of ceil(size / 2) becomes one of 2 ceil(size / 2) - 1.
        extra = tuple(1 - axis % 2 for axis in size)
        return ConvTranspose2d(
            in_channels, out_channels, 3, stride=2, padding=1, output_padding=extra, rng=self.rng
        )


class MLPNetworks:
    """Fully connected networks for examples of any shape; hidden: the widths of the layers.

    activation: the class of the layer behind each hidden one, such as Tanh; None: ReLU in place.
    """

    def __init__(self, shape, hidden, rng, activation=None):
        self.shape, self.hidden, self.rng = shape, hidden, rng
        self.activation = activation or (lambda: ReLU(inplace=True))
        self.size, self.features = math.prod(shape), hidden[-1]

    def trunk(self):
        """(..., N) -> (D, N) -> (hidden[0], N) -> ... -> (hidden[-1], N)."""
        first = Linear(self.size, self.hidden[0], rng=self.rng, needs_input_grad=False)
        return Sequential(Flatten(), first, self.activation(), *self._dense(self.hidden))

    def decoder(self, latent_dim):
        """(L, N) -> (hidden[-1], N) -> ... -> (hidden[0], N) -> (..., N): the mirror image."""
        hidden = self._dense((latent_dim, *reversed(self.hidden)))
        last = Linear(self.hidden[0], self.size, rng=self.rng)
        return Sequential(*hidden, last, Reshape(*self.shape))

    def _dense(self, widths):
        layers = []
        for inside, outside in zip(widths[:-1], widths[1:], strict=True):
            layers += [Linear(inside, outside, rng=self.rng), self.activation()]
        return layers
