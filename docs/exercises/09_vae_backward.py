"""Exercise 9: the backward pass of a whole VAE, with its two heads.

The encoder is one hidden layer and two linear heads, mu and logvar. The decoder is one hidden layer
and a linear output, the logits of the pixels. There is one sample z for each example. The forward
pass and the loss are written out below. Write `vae_backward`, from the last line of the forward
pass to the first. Two things to watch:

- h_enc feeds both heads. Where a value is used twice, the gradients of both uses add up.
- mu and logvar are used in z and in the KL.

You may change `forward` and `loss`, the grader calls `vae_backward` only. Exercises 1, 2, 3, 6 and
7 have all the parts.

Chapter: docs/book/08_gradients.md, "The VAE, read from the bottom up".
Check: python -m tinyvae.exercises docs/exercises/09_vae_backward.py
"""

import numpy as np


def forward(p, x, eps):
    """All intermediate values of the VAE.

    p: dict of the parameters, with hidden width M
        W_enc (M, D), b_enc (M,), W_mu (L, M), b_mu (L,), W_logvar (L, M), b_logvar (L,),
        W_dec (M, L), b_dec (M,), W_out (D, M), b_out (D,)
    x (D, N) with values from 0 to 1, eps (L, N)
    """
    h_enc = np.maximum(p["W_enc"] @ x + p["b_enc"][:, None], 0)  # (M, N)
    mu = p["W_mu"] @ h_enc + p["b_mu"][:, None]  # (L, N)
    logvar = p["W_logvar"] @ h_enc + p["b_logvar"][:, None]  # (L, N)
    z = mu + np.exp(0.5 * logvar) * eps  # (L, N)
    h_dec = np.maximum(p["W_dec"] @ z + p["b_dec"][:, None], 0)  # (M, N)
    logits = p["W_out"] @ h_dec + p["b_out"][:, None]  # (D, N)
    return h_enc, mu, logvar, z, h_dec, logits


def loss(p, x, eps, beta):
    """reconstruction + beta * KL, in nats per example: a sum over dimensions, a mean over N."""
    _, mu, logvar, _, _, logits = forward(p, x, eps)
    reconstruction = np.sum(np.logaddexp(0, logits) - x * logits) / x.shape[1]
    kl = np.sum(0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)) / x.shape[1]
    return reconstruction + beta * kl


def vae_backward(p, x, eps, beta):
    """The gradient of the loss with respect to every parameter.

    p, x, eps as in `forward`; beta: a number -> dict with the keys of p and arrays of their shapes
    """
    raise NotImplementedError
