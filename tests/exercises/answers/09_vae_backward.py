"""Line by line, from the last line of the forward pass to the first."""

import numpy as np


def vae_backward(p, x, eps, beta):
    N = x.shape[1]
    a_enc = p["W_enc"] @ x + p["b_enc"][:, None]
    h_enc = np.maximum(a_enc, 0)
    mu = p["W_mu"] @ h_enc + p["b_mu"][:, None]
    logvar = p["W_logvar"] @ h_enc + p["b_logvar"][:, None]
    sigma = np.exp(logvar / 2)
    z = mu + sigma * eps
    a_dec = p["W_dec"] @ z + p["b_dec"][:, None]
    h_dec = np.maximum(a_dec, 0)
    logits = p["W_out"] @ h_dec + p["b_out"][:, None]

    grad = {}
    dlogits = (1 / (1 + np.exp(-logits)) - x) / N
    grad["W_out"], grad["b_out"] = dlogits @ h_dec.T, dlogits.sum(axis=1)
    dh_dec = p["W_out"].T @ dlogits
    da_dec = dh_dec * (a_dec > 0)
    grad["W_dec"], grad["b_dec"] = da_dec @ z.T, da_dec.sum(axis=1)
    dz = p["W_dec"].T @ da_dec
    dmu = dz.copy()
    dmu += beta * mu / N
    dlogvar = dz * eps * sigma / 2
    dlogvar += beta * (np.exp(logvar) - 1) / 2 / N
    grad["W_mu"], grad["b_mu"] = dmu @ h_enc.T, dmu.sum(axis=1)
    grad["W_logvar"], grad["b_logvar"] = dlogvar @ h_enc.T, dlogvar.sum(axis=1)
    dh_enc = p["W_mu"].T @ dmu
    dh_enc += p["W_logvar"].T @ dlogvar
    da_enc = dh_enc * (a_enc > 0)
    grad["W_enc"], grad["b_enc"] = da_enc @ x.T, da_enc.sum(axis=1)
    return grad
