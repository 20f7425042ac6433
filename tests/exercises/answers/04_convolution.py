"""The sums of the statement, in loops."""

import numpy as np


def patches(x, kernel, stride, padding):
    C, H, W, N = x.shape
    padded = np.zeros((C, H + 2 * padding[0], W + 2 * padding[1], N))
    padded[:, padding[0] : padding[0] + H, padding[1] : padding[1] + W] = x
    Ho = (H + 2 * padding[0] - kernel[0]) // stride[0] + 1
    Wo = (W + 2 * padding[1] - kernel[1]) // stride[1] + 1
    P = np.zeros((C, *kernel, Ho, Wo, N))
    for i in range(Ho):
        for j in range(Wo):
            top, left = stride[0] * i, stride[1] * j
            P[:, :, :, i, j] = padded[:, top : top + kernel[0], left : left + kernel[1]]
    return P.reshape(C * kernel[0] * kernel[1], Ho * Wo * N)


def convolution(x, weight, bias, stride, padding):
    C, H, W, N = x.shape
    outputs, _, Kh, Kw = weight.shape
    Ho = (H + 2 * padding[0] - Kh) // stride[0] + 1
    Wo = (W + 2 * padding[1] - Kw) // stride[1] + 1
    y = weight.reshape(outputs, -1) @ patches(x, (Kh, Kw), stride, padding)
    y = y + bias[:, None]
    return y.reshape(outputs, Ho, Wo, N)


def convolution_backward(dy, x, kernel, stride, padding):
    P = patches(x, kernel, stride, padding)
    dweight = dy.reshape(len(dy), -1) @ P.T
    dbias = dy.sum(axis=(1, 2, 3))
    return dweight.reshape(len(dy), len(x), *kernel), dbias
