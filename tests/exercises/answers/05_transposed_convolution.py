"""Entry by entry."""

import numpy as np


def patches_adjoint(P, shape, kernel, stride, padding):
    C, H, W, N = shape
    Ho = (H + 2 * padding[0] - kernel[0]) // stride[0] + 1
    Wo = (W + 2 * padding[1] - kernel[1]) // stride[1] + 1
    P = P.reshape(C, *kernel, Ho, Wo, N)
    image = np.zeros(shape)
    for a in range(kernel[0]):
        for e in range(kernel[1]):
            for i in range(Ho):
                for j in range(Wo):
                    h, w = stride[0] * i + a - padding[0], stride[1] * j + e - padding[1]
                    if 0 <= h < H and 0 <= w < W:
                        image[:, h, w] += P[:, a, e, i, j]
    return image


def transposed_convolution(x, weight, bias, size, stride, padding):
    C, outputs, Kh, Kw = weight.shape
    P = weight.reshape(C, -1).T @ x.reshape(C, -1)
    y = patches_adjoint(P, (outputs, *size, x.shape[-1]), (Kh, Kw), stride, padding)
    return y + bias[:, None, None, None]
