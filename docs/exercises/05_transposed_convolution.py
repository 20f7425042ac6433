"""Exercise 5: from patches back to the image, and the transposed convolution.

Exercise 4 made the matrix P from an image x. Each entry of P is a copy of one pixel, or a zero of
the padding. This map is linear: it is a matrix of zeros and ones, times x. Its transpose is called
the adjoint. The adjoint takes a matrix P to an image: it adds each entry of P to the pixel from
which exercise 4 would have copied that entry, and it drops entries that belong to the padding.
Letters, pairs and the order of rows and columns are as in exercise 4:

    entry (c, a, e, i, j, n) of P.reshape(C, Kh, Kw, Ho, Wo, N)
    belongs to the pixel  x[c, sh i + a - ph, sw j + e - pw, n]

A transposed convolution is the transpose of a convolution without bias. The convolution is first
patches and then a product with the matrix of weights. So the transposed convolution is first the
product with the transposed matrix, and then the adjoint of patches. The same two steps without the
bias, applied to dy, give the gradient dx of the convolution in exercise 4.

Chapter: docs/book/08_convolution.md, "Backward" and "Transposed convolution".
Check: python -m tinyvae.exercises docs/exercises/05_transposed_convolution.py
"""

import numpy as np


def patches_adjoint(P, shape, kernel, stride, padding):
    """The image of the given shape (C, H, W, N) in which each pixel is the sum of its entries of P.

    P (C Kh Kw, Ho Wo N), with Ho and Wo as in exercise 4 -> image (C, H, W, N)
    """
    raise NotImplementedError


def transposed_convolution(x, weight, bias, size, stride, padding):
    """y = patches_adjoint(weight.T @ x) + bias, with weight as a matrix (C, O Kh Kw), x as (C, -1).

    The weight is the weight of a convolution that maps O channels to C channels, and images of
    `size` = (H, W) to images of (Ho, Wo). The transposed convolution goes the other way.

    x (C, Ho, Wo, N), weight (C, O, Kh, Kw), bias (O,) -> y (O, H, W, N)
    """
    raise NotImplementedError
