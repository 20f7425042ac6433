"""Exercise 9: the backward pass of a VAE with two heads.

`vae_backward` is the solution, and it calls tinyvae. The table holds the classic mistakes.
"""

import numpy as np

from tinyvae.exercises.tasks import Case, Exercise, Task, normal
from tinyvae.models.registry import make_model

NAMES = [f"{kind}_{layer}" for layer in ("enc", "mu", "logvar", "dec", "out") for kind in "Wb"]
BACKWARD = [f"{kind}_{layer}" for layer in ("out", "dec", "mu", "logvar", "enc") for kind in "Wb"]


def vae_backward(p, x, eps, beta):
    hidden, pixels = p["W_enc"].shape
    model = make_model("vae", "mlp", len(eps), shape=pixels, hidden=hidden).to(np, np.float64)
    parameters = dict(zip(NAMES, model.named_parameters(), strict=True))
    model.load_state_dict({ours: p[name] for name, (ours, _) in parameters.items()})
    model.loss(x.T, eps.T[None], beta=beta)
    model.backward()
    # from the end of the network to its beginning: the first that is wrong is nearest to a mistake
    return {name: parameters[name][1].grad for name in BACKWARD}


def _cases():
    for d, m, latent, n, beta in ((9, 7, 3, 5, 0.7), (5, 11, 3, 7, 1.9)):
        sizes = {
            "enc": (m, d),
            "mu": (latent, m),
            "logvar": (latent, m),
            "dec": (m, latent),
            "out": (d, m),
        }
        shapes = [shape for size in sizes.values() for shape in (size, size[:1])]
        *parameters, x, eps = normal(f"vae {d}", *shapes, (d, n), (latent, n))
        p = {name: 0.5 * value for name, value in zip(NAMES, parameters, strict=True)}
        values = {"p": p, "x": 1 / (1 + np.exp(-x)), "eps": eps, "beta": beta}
        yield Case(values, {"D": d, "M": m, "L": latent, "N": n})


# The classic mistakes


def _gradient(p, x, eps, beta, wrong):
    """The gradient of the negative ELBO with one thing wrong."""
    n = x.shape[1]
    h_enc = np.maximum(p["W_enc"] @ x + p["b_enc"][:, None], 0)
    mu = p["W_mu"] @ h_enc + p["b_mu"][:, None]
    logvar = p["W_logvar"] @ h_enc + p["b_logvar"][:, None]
    std, var = np.exp(0.5 * logvar), np.exp(logvar)
    z = mu + std * eps
    a_dec = p["W_dec"] @ z + p["b_dec"][:, None]
    h_dec = np.maximum(a_dec, 0)
    logits = p["W_out"] @ h_dec + p["b_out"][:, None]
    x_hat = _sigmoid(logits)

    output = {"double sigmoid": _sigmoid(x_hat), "no sigmoid": logits}.get(wrong, x_hat)
    dlogits = (output - x) / {"pixels": n * len(x), "reconstruction": 1}.get(wrong, n)
    if wrong == "sign":
        dlogits = -dlogits
    da_dec = p["W_out"].T @ dlogits
    if wrong not in ("relu dec", "relus"):
        da_dec = da_dec * ((da_dec if wrong == "mask" else h_dec) > 0)
    dz = p["W_dec"].T @ da_dec

    kl = {"beta": 1 / n, "kl": beta, "codes": beta / n / len(z)}.get(wrong, beta / n)
    from_kl = {"half kl": var - 1, "std kl": 0.5 * (std - 1), "no one": 0.5 * var}.get(
        wrong, 0.5 * (var - 1)
    )
    through_z = {
        "half": std * eps,
        "variance": 0.5 * var * eps,
        "no eps": 0.5 * std,
        "no std": 0.5 * eps,
        "sigma": eps,
    }.get(wrong, 0.5 * std * eps)
    dmu, dlogvar = dz + kl * mu, dz * through_z + kl * from_kl
    if wrong == "overwritten":
        dlogvar = dmu * through_z + kl * from_kl
    elif wrong == "overwritten dmu":
        dmu = dz * through_z + kl * mu
    if wrong in ("no kl", "no kl in mu"):
        dmu = dz
    if wrong in ("no kl", "no kl in logvar"):
        dlogvar = dz * through_z
    if wrong == "no z in mu":
        dmu = kl * mu
    elif wrong == "no z in logvar":
        dlogvar = kl * from_kl
    from_mu, from_logvar = p["W_mu"].T @ dmu, p["W_logvar"].T @ dlogvar
    da_enc = {"mu only": from_mu, "logvar only": from_logvar}.get(wrong, from_mu + from_logvar)
    if wrong not in ("relu enc", "relus"):
        da_enc = da_enc * (h_enc > 0)
    z = mu if wrong == "mean code" else z
    h_dec = a_dec if wrong == "before relu" else h_dec
    pairs = ((da_enc, x), (dmu, h_enc), (dlogvar, h_enc), (da_dec, z), (dlogits, h_dec))
    gradients = (gradient for dy, x in pairs for gradient in (dy @ x.T, dy.sum(axis=1)))
    return dict(zip(NAMES, gradients, strict=True))


def _sigmoid(a):
    return 1 / (1 + np.exp(-a))


SENTENCES = {
    "mu only": "h_enc gets its gradient from the head mu only; both heads use h_enc",
    "logvar only": "h_enc gets its gradient from the head logvar only; both heads use h_enc",
    "no kl": "the gradient of the KL is missing in dmu and dlogvar",
    "no kl in mu": "the gradient of the KL is missing in dmu",
    "no kl in logvar": "the gradient of the KL is missing in dlogvar",
    "no z in mu": "the gradient through z is missing in dmu",
    "no z in logvar": "the gradient through z is missing in dlogvar",
    "beta": "the gradient of the KL is not multiplied by beta",
    "kl": "the KL is not averaged over the batch: its gradient lacks 1/N",
    "reconstruction": "the reconstruction is not averaged over the batch: its gradient lacks 1/N",
    "pixels": "the reconstruction is averaged over the pixels; it is a sum over the pixels",
    "codes": "the KL is averaged over the latent dimensions; it is a sum over them",
    "half": "the factor 1/2 is missing in dlogvar: the derivative of sigma is sigma / 2",
    "half kl": "the factor 1/2 is missing in the gradient of the KL for logvar",
    "variance": "exp(logvar), the variance, stands where sigma = exp(logvar / 2) belongs",
    "no one": "the -1 is missing in the gradient of the KL for logvar",
    "std kl": "exp(logvar / 2) stands where exp(logvar) belongs in the gradient of the KL",
    "no eps": "eps is missing in dlogvar",
    "no std": "sigma is missing in dlogvar",
    "sigma": "in dlogvar dz * eps is the gradient for sigma: the derivative of sigma is missing",
    "relu enc": "the ReLU of the encoder is left out: the gradient passes where h_enc is 0",
    "relu dec": "the ReLU of the decoder is left out: the gradient passes where h_dec is 0",
    "relus": "both ReLUs are left out: the gradient passes where h_enc or h_dec is 0",
    "mask": "the ReLU of the decoder lets gradients pass that are positive; h_dec must be positive",
    "mean code": "the gradient of W_dec is made with mu; the input of the decoder is z",
    "before relu": "the gradient of W_out is made with the values before the ReLU; take h_dec",
    "double sigmoid": "the sigmoid is applied twice",
    "no sigmoid": "the sigmoid is missing: dlogits is (sigmoid(logits) - x) / N",
    "sign": "the sign of dlogits is wrong",
    "overwritten": "dz is overwritten: dmu is the same array, and the gradient of the KL is added",
    "overwritten dmu": "dmu is overwritten: it is the array dz, in which dlogvar is computed",
}
MISTAKES = tuple(
    (sentence, lambda *arguments, wrong=wrong: _gradient(*arguments, wrong))
    for wrong, sentence in SENTENCES.items()
)

EXERCISES = (
    Exercise(
        "09_vae_backward.py",
        "backward of the VAE",
        "08_gradients.md",
        (Task(vae_backward, "", MISTAKES, _cases),),
    ),
)
