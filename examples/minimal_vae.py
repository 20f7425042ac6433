"""A whole variational autoencoder (VAE) in one file: NumPy only, and every gradient by hand.

The encoder turns an image x into a normal distribution of codes z, and the decoder turns a code
into an image. Training makes the decoder rebuild x from its code z, and it keeps the distribution
of z close to N(0, 1). So a random z from N(0, 1) decodes to a new image (runs/minimal_vae.png).

python examples/minimal_vae.py                   # MNIST: test loss 105.4 nats per image, 36 seconds
python examples/minimal_vae.py --dataset digits  # synthetic digits: test loss 97.1 nats, 7 seconds
python examples/minimal_vae.py --check           # compare the gradients with finite differences
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from tinyvae.data import load_dataset

D, H, L = 784, 400, 20  # pixels of an image (28 * 28), hidden units, numbers in a code z
LAYERS = {"enc": (D, H), "mu": (H, L), "logvar": (H, L), "dec": (L, H), "out": (H, D)}  # (in, out)
BATCH, LR, BETA1, BETA2, TINY = 128, 1e-3, 0.9, 0.999, 1e-8  # images per step; settings of Adam


def decode(p, z):  # p: all weights W and biases b by name, z: (N, 20) for N images
    h_dec = np.maximum(0, z @ p["W_dec"] + p["b_dec"])  # (N, 400); maximum(0, a) is called ReLU
    logits = h_dec @ p["W_out"] + p["b_out"]  # (N, 784)
    x_hat = 0.5 + 0.5 * np.tanh(0.5 * logits)  # (N, 784), sigmoid 1/(1+exp(-logits)), no overflow
    return h_dec, logits, x_hat


def loss_and_gradients(p, x, eps):  # x: (N, 784), eps: (N, 20)
    """The negative ELBO (evidence lower bound, docs/book/03) in nats per image; its gradients."""
    N = len(x)
    h_enc = np.maximum(0, x @ p["W_enc"] + p["b_enc"])  # (N, 400), the first layer of the encoder
    mu = h_enc @ p["W_mu"] + p["b_mu"]  # (N, 20)
    logvar = h_enc @ p["W_logvar"] + p["b_logvar"]  # (N, 20), the logarithm of the variance
    std = np.exp(0.5 * logvar)  # (N, 20)
    z = mu + std * eps  # (N, 20), a draw from N(mu, std^2), because eps is a draw from N(0, 1)
    h_dec, logits, x_hat = decode(p, z)  # (N, 400), (N, 784), (N, 784)
    # The cross-entropy -x log(x_hat) - (1 - x) log(1 - x_hat) is log(1 + exp(logits)) - x logits.
    reconstruction = np.sum(np.logaddexp(0, logits) - x * logits) / N  # one number
    # The Kullback-Leibler divergence measures how far N(mu, std^2) is from N(0, 1).
    kl = np.sum(0.5 * (mu**2 + std**2 - 1 - logvar)) / N  # one number

    # Now backward, from the last line to the first. dz means dloss/dz and has the shape of z.
    # By the chain rule y = x @ W + b gives dW = x.T @ dy, db = dy.sum(axis=0) and dx = dy @ W.T.
    # reconstruction = sum(log(1 + exp(logits)) - x * logits) / N, and log(1 + exp(a))' = sigmoid(a)
    dlogits = (x_hat - x) / N  # (N, 784)
    # logits = h_dec @ W_out + b_out
    grad = {"W_out": h_dec.T @ dlogits, "b_out": dlogits.sum(axis=0)}  # (400, 784), (784,)
    dh_dec = dlogits @ p["W_out"].T  # (N, 400)
    # h_dec = maximum(0, a) has the derivative 1 where a > 0, else 0; and a = z @ W_dec + b_dec
    da = dh_dec * (h_dec > 0)  # (N, 400)
    grad.update(W_dec=z.T @ da, b_dec=da.sum(axis=0))  # (20, 400), (400,)
    dz = da @ p["W_dec"].T  # (N, 20)
    # z = mu + exp(0.5 * logvar) * eps, and kl = sum(0.5 * (mu^2 + exp(logvar) - 1 - logvar)) / N
    dmu = dz + mu / N  # (N, 20), a sum of two terms: mu occurs in z and in kl
    dlogvar = dz * 0.5 * std * eps + 0.5 * (std**2 - 1) / N  # (N, 20)
    # mu = h_enc @ W_mu + b_mu, and logvar = h_enc @ W_logvar + b_logvar
    grad.update(W_mu=h_enc.T @ dmu, b_mu=dmu.sum(axis=0))  # (400, 20), (20,)
    grad.update(W_logvar=h_enc.T @ dlogvar, b_logvar=dlogvar.sum(axis=0))  # (400, 20), (20,)
    dh_enc = dmu @ p["W_mu"].T + dlogvar @ p["W_logvar"].T  # (N, 400)
    # h_enc = maximum(0, a), and a = x @ W_enc + b_enc
    da = dh_enc * (h_enc > 0)  # (N, 400)
    grad.update(W_enc=x.T @ da, b_enc=da.sum(axis=0))  # (784, 400), (400,)
    return reconstruction + kl, grad


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="check the gradients, then stop")
    parser.add_argument("--epochs", type=int, default=10, help="rounds through all training images")
    parser.add_argument("--dataset", choices=("auto", "mnist", "digits"), default="auto")
    parser.add_argument("--data-dir", help="folder with the files of MNIST")
    parser.add_argument("--out", type=Path, default="runs/minimal_vae.png", help="the picture")
    args = parser.parse_args()
    rng, p = np.random.default_rng(0), {}
    for name, (inputs, outputs) in LAYERS.items():
        bound = 1 / np.sqrt(inputs)  # PyTorch's default
        p["W_" + name] = rng.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
        p["b_" + name] = rng.uniform(-bound, bound, outputs).astype(np.float32)

    if args.check:  # A small step must change the loss by gradient * step, up to rounding errors.
        p = {name: value.astype(np.float64) for name, value in p.items()}
        x, eps = rng.random((8, D)), rng.standard_normal((8, L))  # (8, 784), (8, 20)
        _, grad = loss_and_gradients(p, x, eps)
        for name in p:
            step = 1e-7 * rng.standard_normal(p[name].shape)  # the shape of p[name]
            up, _ = loss_and_gradients({**p, name: p[name] + step}, x, eps)
            down, _ = loss_and_gradients({**p, name: p[name] - step}, x, eps)
            measured, by_hand = (up - down) / 2, np.sum(grad[name] * step)
            print(f"{name:8} loss changes by {measured:10.3e}, gradient * step is {by_hand:10.3e}")
            assert abs(measured - by_hand) < 1e-11, f"wrong gradient of {name}"
        raise SystemExit  # all gradients are right

    data = load_dataset(args.dataset, args.data_dir)
    x_train = data.x_train.reshape(-1, D) / np.float32(255)  # (60000, 784), from 0 to 1
    x_test = data.x_test.reshape(-1, D) / np.float32(255)  # (10000, 784)
    m, v, t = dict.fromkeys(p, 0), dict.fromkeys(p, 0), 0  # Adam: means of grad and grad^2; steps
    for epoch in range(1, args.epochs + 1):
        shuffled = rng.permutation(x_train)  # (60000, 784), in a new order
        for x in np.split(shuffled, range(BATCH, len(shuffled), BATCH)):  # x: (128, 784)
            eps = rng.standard_normal((len(x), L), dtype=np.float32)  # (128, 20)
            _, grad = loss_and_gradients(p, x, eps)
            t += 1
            for name in p:
                m[name] = BETA1 * m[name] + (1 - BETA1) * grad[name]
                v[name] = BETA2 * v[name] + (1 - BETA2) * grad[name] ** 2
                m_hat = m[name] / (1 - BETA1**t)
                v_hat = v[name] / (1 - BETA2**t)
                p[name] -= LR * m_hat / (np.sqrt(v_hat) + TINY)
        eps = rng.standard_normal((len(x_test), L), dtype=np.float32)  # (10000, 20)
        loss, _ = loss_and_gradients(p, x_test, eps)
        print(f"epoch {epoch}: negative ELBO {loss:.2f} nats per image ({data.name}, test images)")

    z = rng.standard_normal((100, L))  # (100, 20)
    x_hat = decode(p, z)[-1].reshape(10, 10, 28, 28)  # 10 rows of 10 images
    args.out.parent.mkdir(parents=True, exist_ok=True)
    imsave(args.out, np.vstack([np.hstack(row) for row in x_hat]), cmap="gray")  # (280, 280)
