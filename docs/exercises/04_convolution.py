"""Exercise 4: the convolution as a matrix product on patches.

Images are x (C, H, W, N): channels, height, width, batch. (In shapes W is the width. The weights of
the layer are called `weight`.) kernel, stride and padding are pairs (height, width): kernel =
(Kh, Kw), stride = (sh, sw), padding = (ph, pw). The image gets ph rows of zeros above and ph below,
and pw columns of zeros on the left and pw on the right. The kernel then stands at

    Ho = (H + 2 ph - Kh) // sh + 1    and    Wo = (W + 2 pw - Kw) // sw + 1

positions along the two axes. A tap (a, e) is a place in the kernel: row a, column e. At position
(i, j) the tap (a, e) is over the pixel (sh i + a - ph, sw j + e - pw) of the image. Outside the
image a pixel counts as 0. Channels are counted by c, examples by n.

    y[o, i, j, n] = bias[o] + sum over c, a, e of
                    weight[o, c, a, e] * x[c, sh i + a - ph, sw j + e - pw, n]

The kernel is not flipped.

Chapter: docs/book/08_convolution.md, "Patches: ...", "Forward" and "Backward".
Check: python -m tinyvae.exercises docs/exercises/04_convolution.py
"""

import numpy as np


def patches(x, kernel, stride, padding):
    """The matrix P: in each column all the pixels under the kernel, at one position of one image.

    Rows are in the order (c, a, e), columns in the order (i, j, n), the last index fastest:
    P.reshape(C, Kh, Kw, Ho, Wo, N)[c, a, e, i, j, n] = x[c, sh i + a - ph, sw j + e - pw, n].

    x (C, H, W, N) -> P (C Kh Kw, Ho Wo N)
    """
    raise NotImplementedError


def convolution(x, weight, bias, stride, padding):
    """y = weight @ patches(x) + bias, where weight is reshaped to a matrix (O, C Kh Kw).

    The last two sizes of weight are those of the kernel.

    x (C, H, W, N), weight (O, C, Kh, Kw), bias (O,) -> y (O, Ho, Wo, N)
    """
    raise NotImplementedError


def convolution_backward(dy, x, kernel, stride, padding):
    """The gradients of the loss with respect to weight and bias. (dx is a part of exercise 5.)

    A convolution is a linear layer on patches, so exercise 1 has the formulas.

    dy (O, Ho, Wo, N), x (C, H, W, N) -> dweight (O, C, Kh, Kw), dbias (O,)
    """
    raise NotImplementedError
