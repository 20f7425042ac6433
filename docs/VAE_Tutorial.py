# %% [markdown]
# # The variational autoencoder, from the idea to the last gradient
#
# This notebook goes through the whole subject once. It starts with what a code is. It derives one
# training step by hand and checks every line. Then it trains on MNIST and looks at the results. You
# need calculus, some linear algebra and some Python with NumPy. Each section names the chapter of
# the [book](README.md) that explains more.
#
# To run it: `pip install -e ".[docs]" jupyterlab` in the folder of the project, then
# `jupyter lab docs/VAE_Tutorial.ipynb`. It takes about three minutes of one processor core, and no
# GPU. Without MNIST and without a network it takes synthetic digits, which need no files.
#
# 1. Latent representations
# 2. The autoencoder
# 3. Why an autoencoder does not generate
# 4. The variational autoencoder
# 5. The loss: the ELBO, derived twice
# 6. Reparameterization
# 7. One training step by hand
# 8. Adam and the loop
# 9. Training
# 10. Reconstruction and generation
# 11. The latent space
# 12. An autoencoder against a VAE
# 13. Where to go on

# %%
import os
import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle

from tinyvae.data import load_dataset, minibatches, to_float
from tinyvae.training.latent import holes, interpolate, quantile_grid
from tinyvae.training.plots import BLUE, GREY, STYLE, TEN, VERMILION, label_keys, mosaic
from tinyvae.training.plots import show as show_image

warnings.filterwarnings("ignore", message="IProgress")  # no progress bars here
data = load_dataset(os.environ.get("TINYVAE_NOTEBOOK_DATA", "auto"))  # "mnist", "digits" or "auto"
# Rounds through the training images: 5 for MNIST. The synthetic digits are fewer and need more.
EPOCHS = int(os.environ.get("TINYVAE_NOTEBOOK_EPOCHS", 300_000 // len(data.x_train)))
BATCH = 128  # images in one training step

x_test = to_float(data.x_test)  # (10000, 1, 28, 28) for MNIST, from 0 (paper) to 1 (ink)
one_of_each = [np.flatnonzero(data.y_test == digit)[0] for digit in range(10)]
print(f"{data.name}: {len(data.x_train)} training images, {len(data.x_test)} test images")

plt.rcParams.update(STYLE | {"figure.dpi": 90, "savefig.dpi": "figure"})


def show_rows(rows, side=0.6):
    """A row of images for each name: {name: images (n, ..., 28, 28)}."""
    images = np.stack([row.reshape(-1, 28, 28) for row in rows.values()])  # (rows, n, 28, 28)
    size = side * images.shape[1] + 1.2, side * len(images)
    axes = plt.subplots(figsize=size, layout="constrained")[1]
    show_image(axes, mosaic(images, gap=2))
    axes.set_yticks(np.arange(len(images)) * 30 + 13.5, rows)
    plt.show()


# %% [markdown]
# ## 1. Latent representations
#
# An image of MNIST has 28 · 28 pixels. So it is a list of $D = 784$ numbers between 0 (paper) and 1
# (ink). Almost no such list looks like a digit:

# %%
rng = np.random.default_rng(0)
show_rows({"digits": x_test[one_of_each], "random pixels": rng.random((10, 28, 28))})


# %% [markdown]
# The digits differ in few things: which digit it is, how slanted, how thick, how round. So a short
# list $z$ of $L$ numbers should be enough to tell them apart. Such a list is a *code* of the image,
# also called a *latent representation*. *Latent* means hidden: the code is not part of the data.
# All codes together are the *latent space*. Nobody writes down what each number of a code means.
# Two networks learn it. ([Chapter 1](book/01_autoencoders.md))

# %% [markdown]
# ## 2. The autoencoder
#
# The *encoder* turns an image $x$ into a code $z$. The *decoder* turns the code into an image
# $\hat x$, the *reconstruction*. Together they are an *autoencoder*. Both networks have one hidden
# layer of 400 numbers here. A *linear layer* computes $W x + b$, and the *ReLU* is $\max(0, a)$ for
# each number $a$. The matrices $W$ and the vectors $b$ are the *parameters*, which training
# changes.
#
# In the code the $N$ images of a batch are the $N$ columns of a matrix, so a linear layer is
# `W @ x + b` for one image and for many. The shape of a result stands behind its line. This code is
# plain NumPy. Until section 7 is done, the library gives data and pictures only.


# %%
def new_parameters(layers, rng, dtype=np.float32):
    """W and b of each layer {name: (inputs, outputs)}, at random between -bound and bound."""
    p = {}
    for name, (inputs, outputs) in layers.items():
        bound = 1 / np.sqrt(inputs)
        p["W_" + name] = rng.uniform(-bound, bound, (outputs, inputs)).astype(dtype)
        p["b_" + name] = rng.uniform(-bound, bound, (outputs, 1)).astype(dtype)
    return p


def encode(p, x):
    h_enc = np.maximum(0, p["W_enc"] @ x + p["b_enc"])  # (400, N)
    z = p["W_code"] @ h_enc + p["b_code"]  # (L, N)
    return h_enc, z


def decode(p, z):
    h_dec = np.maximum(0, p["W_dec"] @ z + p["b_dec"])  # (400, N)
    logits = p["W_out"] @ h_dec + p["b_out"]  # (784, N)
    return h_dec, logits


def sigmoid(t):
    return 0.5 + 0.5 * np.tanh(0.5 * t)  # 1 / (1 + exp(-t)), without overflow


# %% [markdown]
# The decoder's output may be any number, and a pixel is between 0 and 1. So the reconstruction is
# $\hat x = \mathrm{sigmoid}(t) = 1 / (1 + e^{-t})$ of the output $t$, which is called a *logit*.
#
# **The loss.** Read $\hat x$ as the probability of ink. A black pixel then costs $-\log \hat x$,
# and a white pixel costs $-\log(1 - \hat x)$. Both in one formula, for grey levels too, are the
# *cross-entropy*
#
# $$
# -x \log \hat x - (1 - x) \log(1 - \hat x) = \log(1 + e^t) - x \thinspace t .
# $$
#
# It is summed over the pixels and averaged over the images. Its unit is the *nat*, because $\log$
# is the natural logarithm. ([Chapter 5](book/05_decoders.md))
#
# **The gradient.** The second half of the next function computes the derivative of the loss with
# respect to every parameter, from the last line to the first. A name such as `dz` stands for
# $\partial \mathrm{loss} / \partial z$. Section 7 derives these lines one by one.


# %%
def autoencoder_step(p, x):
    """The loss of a batch x (784, N) in nats per image, and its gradient."""
    N = x.shape[1]
    h_enc, z = encode(p, x)
    h_dec, logits = decode(p, z)
    loss = np.sum(np.logaddexp(0, logits) - x * logits) / N

    dlogits = (sigmoid(logits) - x) / N  # (784, N)
    da_dec = (p["W_out"].T @ dlogits) * (h_dec > 0)  # (400, N)
    dz = p["W_dec"].T @ da_dec  # (L, N)
    da_enc = (p["W_code"].T @ dz) * (h_enc > 0)  # (400, N)
    layers = {"out": (dlogits, h_dec), "dec": (da_dec, z), "code": (dz, h_enc), "enc": (da_enc, x)}
    grad = {}
    for name, (dy, inputs) in layers.items():
        grad["W_" + name] = dy @ inputs.T
        grad["b_" + name] = dy.sum(axis=1, keepdims=True)
    return loss, grad


# %% [markdown]
# Is the gradient right? A small change of the parameters must change the loss by gradient times
# change. This is checked in double precision:

# %%
LAYERS = {"enc": (784, 400), "code": (400, 2), "dec": (2, 400), "out": (400, 784)}
p = new_parameters(LAYERS, np.random.default_rng(0), np.float64)
x = x_test[:5].reshape(5, 784).T.astype(np.float64)
change = {name: 1e-6 * rng.standard_normal(value.shape) for name, value in p.items()}
up, _ = autoencoder_step({name: p[name] + change[name] for name in p}, x)
down, _ = autoencoder_step({name: p[name] - change[name] for name in p}, x)
_, grad = autoencoder_step(p, x)
predicted = sum(np.sum(grad[name] * change[name]) for name in p)
print(f"the loss changes by {(up - down) / 2:.6e}, gradient times change is {predicted:.6e}")
assert np.isclose((up - down) / 2, predicted, rtol=1e-5)


# %% [markdown]
# **Training** moves all parameters a little against the gradient, batch after batch. How far each
# parameter moves, Adam decides; section 8 explains these lines.


# %%
def adam_step(p, grad, state, lr=1e-3):
    """Change the parameters p once; state: {"t": 0, "m": zeros, "v": zeros} before the first."""
    state["t"] += 1
    for name in p:
        state["m"][name] = 0.9 * state["m"][name] + 0.1 * grad[name]
        state["v"][name] = 0.999 * state["v"][name] + 0.001 * grad[name] ** 2
        m_hat = state["m"][name] / (1 - 0.9 ** state["t"])
        v_hat = state["v"][name] / (1 - 0.999 ** state["t"])
        p[name] -= lr * m_hat / (np.sqrt(v_hat) + 1e-8)


def new_state(p):
    return {"t": 0, "m": dict.fromkeys(p, 0.0), "v": dict.fromkeys(p, 0.0)}


def columns(images):
    """Images as bytes (N, 1, 28, 28) -> pixels from 0 to 1 in N columns, (784, N)."""
    return to_float(images).reshape(len(images), 784).T


p_ae = new_parameters(LAYERS, np.random.default_rng(0))  # an autoencoder with L = 2
state = new_state(p_ae)
for epoch in range(EPOCHS):
    for index in minibatches(len(data.x_train), BATCH, seed=0, epoch=epoch):
        _, grad = autoencoder_step(p_ae, columns(data.x_train[index]))
        adam_step(p_ae, grad, state)
    loss, _ = autoencoder_step(p_ae, columns(data.x_test))
    print(f"epoch {epoch + 1}: test loss {loss:.1f} nats per image")

# %%
z = encode(p_ae, columns(data.x_test[one_of_each]))[1]  # (2, 10)
x_hat = sigmoid(decode(p_ae, z)[1]).T  # (10, 784)
show_rows({"images": x_test[one_of_each], "from 2 numbers": x_hat})
for digit, code in zip(range(3), z.T, strict=False):
    print(f"the code of this {digit}: {code.round(2)}")

# %% [markdown]
# Two numbers cannot say everything. With twenty numbers the reconstructions become sharp, as
# section 12 shows. First comes a more serious defect.

# %% [markdown]
# ## 3. Why an autoencoder does not generate
#
# The decoder turns any code into an image. To draw a *new* digit one needs a new code. Which one?
# Suppose we draw $z$ from $\mathcal N(0, I)$, so each number of $z$ has mean 0 and variance 1. Of
# these draws 86% fall into the circle of radius 2. Where are the codes of the images?

# %%
codes = encode(p_ae, columns(data.x_test))[1].T  # (10000, 2)
print("standard deviation of the two numbers:", codes.std(axis=0).round(1))
inside = (np.linalg.norm(codes, axis=1) < 2).mean()
print(f"{inside:.0%} of the codes of test images are inside the circle, 86% of N(0, I)")


def draw_codes(axes, codes, title):
    """The codes (N, 2) of test images, coloured by digit, and the circle of radius 2."""
    axes.scatter(*codes[:3000].T, s=2, c=np.array(TEN)[data.y_test[:3000]], linewidths=0)
    axes.add_patch(Circle((0, 0), 2, fill=False, lw=1.2))
    axes.set(title=title, xlabel="$z_1$", ylabel="$z_2$")
    axes.set_aspect("equal", adjustable="datalim")


def digit_legend(figure):
    keys, narrow = label_keys(range(10)), {"handletextpad": 0, "columnspacing": 0.6}
    figure.legend(handles=keys, loc="outside lower center", ncols=10, **narrow)


def nearest_code(point):
    return codes[np.linalg.norm(codes - point, axis=1).argmin()]


hole = holes(codes, 1, np.random.default_rng(0), tries=5000)[0]  # between codes, far from all
start = nearest_code(hole)
end = nearest_code(2 * hole - start)  # on the other side of the hole
path = np.concatenate([interpolate(start, hole, 5), interpolate(hole, end, 6)[1:]])  # (10, 2)

figure = plt.figure(figsize=(7.5, 3.6), layout="constrained")
grid = figure.add_gridspec(2, 2, width_ratios=(11, 10))
left = figure.add_subplot(grid[:, 0])
draw_codes(left, codes, "codes of 3000 test images")
left.plot(*path.T, ".-", color=VERMILION)
for row, z, title in (
    (0, path, "along the red line, through a hole"),
    (1, np.random.default_rng(1).standard_normal((10, 2)), "ten draws from N(0, I)"),
):
    images = sigmoid(decode(p_ae, z.T.astype(np.float32))[1]).T.reshape(2, 5, 28, 28)
    axes = figure.add_subplot(grid[row, 1])
    show_image(axes, mosaic(images, gap=2))
    axes.set_title(title)
digit_legend(figure)
plt.show()


# %% [markdown]
# - **The codes lie anywhere.** Nothing in the loss says where. Another run spreads them
#   differently.
# - **Random codes miss them.** The circle holds the codes of few digits, so draws from
#   $\mathcal N(0, I)$ show few digits, or none.
# - **There are holes.** The decoder was never trained there, and the images on the way through a
#   hole are often no digit.
#
# An autoencoder has no distribution of codes, and so it has no distribution of images. One can fit
# a distribution to its codes afterwards; section 12 does so. A VAE has one from the start.

# %% [markdown]
# ## 4. The variational autoencoder
#
# A *variational autoencoder* (VAE) says how images come about. First a code is drawn from the
# *prior* $p(z) = \mathcal N(0, I)$. Then the decoder turns the code into a distribution of images,
# $p(x \mid z)$, the *likelihood*: here the probability of ink for every pixel. The probability of
# an image $x$ is the average over all codes,
#
# $$
# p(x) = \int p(x \mid z) \thinspace p(z) \thinspace dz .
# $$
#
# Training should make the training images probable: *maximum likelihood*. But nobody can compute
# this integral over all $z$ for a network, and draws from the prior almost never hit a code that
# explains a given $x$. So the encoder says where to look: for each image it gives a distribution
# $q(z \mid x) = \mathcal N(\mu, \sigma^2)$ of codes, with a mean $\mu$ and a variance $\sigma^2$
# for each number of $z$. ([Chapter 2](book/02_model.md))
#
# | | autoencoder | VAE |
# | --- | --- | --- |
# | the encoder gives | one code $z$ | a mean $\mu$ and `logvar` $= \log \sigma^2$ |
# | the code is | that code | a draw $z = \mu + \sigma \epsilon$, $\epsilon \sim \mathcal N(0, I)$ |
# | the loss is | reconstruction | reconstruction + KL |
#
# The next section says what the KL is, and why this is the right loss.

# %% [markdown]
# ## 5. The loss: the ELBO, derived twice
#
# - $\mathbb E_q [f(z)]$ is the mean of $f(z)$ over draws of $z$ from $q$.
# - The *KL divergence* from $q$ to $p$ is
#   $\mathrm{KL}(q \thinspace \Vert \thinspace p) = \mathbb E_q [\log q(z) - \log p(z)]$. It is
#   never negative. It is zero only if both distributions are the same.
# - The *posterior* $p(z \mid x) = p(x \mid z) \thinspace p(z) / p(x)$ is the true distribution of
#   the codes of $x$. Nobody can compute it either.
#
# **First derivation: Jensen's inequality.** Multiply and divide by $q$. The logarithm of a mean is
# at least the mean of the logarithm:
#
# $$
# \log p(x) = \log \mathbb E_q \left[ \frac{p(x \mid z) \thinspace p(z)}{q(z \mid x)} \right]
# \ge \mathbb E_q \left[ \log \frac{p(x \mid z) \thinspace p(z)}{q(z \mid x)} \right]
# = \mathrm{ELBO} .
# $$
#
# The right side is the *evidence lower bound*. Split the logarithm:
#
# $$
# \mathrm{ELBO} = \mathbb E_q [\log p(x \mid z)] -
# \mathrm{KL}(q(z \mid x) \thinspace \Vert \thinspace p(z)) .
# $$
#
# Minus the first term is the *reconstruction* loss of section 2, at a drawn code. The second term
# keeps the codes of every image near the prior, from which new codes are drawn.
# ([Chapter 3](book/03_kl_and_elbo.md))
#
# **Second derivation: an identity.** By the definition of the posterior,
# $p(x) = p(x \mid z) \thinspace p(z) / p(z \mid x)$ for every $z$. Take the logarithm, add and
# subtract $\log q(z \mid x)$, and take the mean over $q$:
#
# $$
# \log p(x) = \mathrm{ELBO} + \mathrm{KL}(q(z \mid x) \thinspace \Vert \thinspace p(z \mid x)) .
# $$
#
# So the bound misses $\log p(x)$ by exactly the KL from $q$ to the posterior. Raising the ELBO
# makes images probable, or it makes $q$ more like the posterior.
# ([Chapter 4](book/04_tightness.md))
#
# Both in numbers. In the smallest example $z$ is one number from $\mathcal N(0, 1)$, and $x$ is
# drawn from $\mathcal N(z, 1)$. Then $p(x)$ is $\mathcal N(0, 2)$, and the posterior of $x = 1$ is
# $\mathcal N(0.5, 0.5)$. Sums over a fine grid of $z$ replace the integrals:


# %%
def log_normal(z, mean, variance):
    return -0.5 * (np.log(2 * np.pi * variance) + (z - mean) ** 2 / variance)


grid = np.arange(-10, 10, 0.001)
x = 1.0
log_joint = log_normal(x, grid, 1.0) + log_normal(grid, 0.0, 1.0)  # log p(x|z) + log p(z)
log_posterior = log_normal(grid, 0.5, 0.5)
print(f"log p(x) = {log_normal(x, 0.0, 2.0):.4f}")
for mu, variance in ((0.0, 1.0), (1.0, 0.5), (0.5, 0.5)):
    log_q = log_normal(grid, mu, variance)
    q = np.exp(log_q) * 0.001  # the probability of each step of the grid
    elbo, gap = np.sum(q * (log_joint - log_q)), np.sum(q * (log_q - log_posterior))
    print(f"q = N({mu}, {variance}): ELBO {elbo:.4f} + gap {gap:.4f} = {elbo + gap:.4f}")

# %% [markdown]
# Every $q$ gives a lower bound, and the posterior makes it exact.
#
# The KL from $\mathcal N(\mu, \sigma^2)$ to $\mathcal N(0, 1)$ needs no grid. It has a closed form
# for each number of the code, which [chapter 6](book/06_gaussian_kl.md) derives:
#
# $$
# \mathrm{KL} = \frac 1 2 \left( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \right) .
# $$

# %%
for mu, variance in ((0.0, 1.0), (1.0, 0.5), (-2.0, 0.1)):
    log_q = log_normal(grid, mu, variance)
    on_the_grid = np.sum(np.exp(log_q) * (log_q - log_normal(grid, 0.0, 1.0))) * 0.001
    closed = 0.5 * (mu**2 + variance - 1 - np.log(variance))
    print(f"KL of N({mu}, {variance}): grid {on_the_grid:.4f}, closed form {closed:.4f}")

# %% [markdown]
# ## 6. Reparameterization
#
# Training needs the gradient of $\mathbb E_q [f(z)]$ with $f(z) = \log p(x \mid z)$. But $z$ is
# drawn at random, and a drawn number has no derivative with respect to $\mu$ or $\sigma$. The
# remedy is to draw noise that depends on no parameter, and to compute the code from it:
#
# $$
# z = \mu + \sigma \epsilon , \qquad \epsilon \sim \mathcal N(0, I) , \qquad
# \frac{\partial z}{\partial \mu} = 1 , \qquad \frac{\partial z}{\partial \sigma} = \epsilon .
# $$
#
# Now the chain rule applies: for each draw the gradient with respect to $\mu$ is $f'(z)$. There is
# an older way, the *score function*, which needs only the values of $f$: the gradient is the mean
# of $f(z) \thinspace \partial \log q(z) / \partial \mu$. Both are right on average, but their draws
# scatter differently. In the small example with $\mu = 0$ and $\sigma = 1$ the true derivative is
# 1:

# %%
eps = np.random.default_rng(0).standard_normal(100_000)
z = 0.0 + 1.0 * eps
f, df = -0.5 * (x - z) ** 2, x - z  # log p(x|z) without its constant, and its derivative
for name, draws in (("reparameterized", df), ("score function", f * eps)):
    print(f"{name:15} mean {draws.mean():.2f}, variance {draws.var():.1f}")

# %% [markdown]
# In more dimensions the difference becomes much larger
# ([chapter 7](book/07_reparameterization.md)).
#
# The encoder gives $\log \sigma^2$, called `logvar`, because a network's output may be any number
# and a variance is positive. Then $\sigma$ is `exp(0.5 * logvar)`. A well-known mistake forgets the
# half. The program still runs, and its loss even looks better, but the draws have the wrong
# variance:

# %%
logvar = np.log(0.25)
print(f"variance of q {np.exp(logvar):.2f}, of draws {np.var(np.exp(0.5 * logvar) * eps):.2f}")
print(f"without the half: of draws {np.var(np.exp(logvar) * eps):.2f}")

# %% [markdown]
# ## 7. One training step by hand
#
# This section computes the loss of a VAE and the gradient of all its parameters, line by line.
# Every line of the gradient is checked before the next one is written. The network is tiny, so that
# the checks are quick. Its sizes are all different, so that a forgotten transpose cannot stay
# unnoticed.

# %%
D, H, L, N = 7, 5, 2, 3  # pixels, hidden units, numbers in a code, images in the batch
rng = np.random.default_rng(1)
layers = {"enc": (D, H), "mu": (H, L), "logvar": (H, L), "dec": (L, H), "out": (H, D)}
p = new_parameters(layers, rng, np.float64)
x = rng.random((D, N))  # the images
eps = rng.standard_normal((L, N))  # the noise, drawn before anything is computed
for name, value in p.items():
    print(f"{name:8} {value.shape}")

# %% [markdown]
# ### Forward
#
# **The encoder** has two heads, one for $\mu$ and one for `logvar`. Both read the same `h_enc`.

# %%
a_enc = p["W_enc"] @ x + p["b_enc"]  # (H, N)
h_enc = np.maximum(0, a_enc)  # (H, N)
mu = p["W_mu"] @ h_enc + p["b_mu"]  # (L, N)
logvar = p["W_logvar"] @ h_enc + p["b_logvar"]  # (L, N)

# %% [markdown]
# **The draw** of a code for every image:

# %%
std = np.exp(0.5 * logvar)  # (L, N)
z = mu + std * eps  # (L, N)

# %% [markdown]
# **The decoder:**

# %%
a_dec = p["W_dec"] @ z + p["b_dec"]  # (H, N)
h_dec = np.maximum(0, a_dec)  # (H, N)
logits = p["W_out"] @ h_dec + p["b_out"]  # (D, N)

# %% [markdown]
# **The loss** is the negative ELBO: the cross-entropy of section 2 plus the KL of section 5, summed
# over the dimensions and averaged over the images.

# %%
reconstruction = np.sum(np.logaddexp(0, logits) - x * logits) / N
kl = np.sum(0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)) / N
loss = reconstruction + kl
print(f"reconstruction {reconstruction:.4f} + KL {kl:.4f} = {loss:.4f} nats per image")


# %% [markdown]
# ### How a gradient is checked
#
# The next function has the same lines once more. But some of the quantities can be *given*. A given
# quantity keeps its value, and everything after it is computed from it. (`setdefault` sets a value
# only if there is none yet.)
#
# To check `dz`, change one element of `z` a little, up and down, and see how the loss changes. The
# change of the loss divided by the change of the element is a *central difference*. It must be the
# element of `dz`.


# %%
def loss_with(**given):
    v = {**p, **given}
    v.setdefault("a_enc", v["W_enc"] @ x + v["b_enc"])
    v.setdefault("h_enc", np.maximum(0, v["a_enc"]))
    v.setdefault("mu", v["W_mu"] @ v["h_enc"] + v["b_mu"])
    v.setdefault("logvar", v["W_logvar"] @ v["h_enc"] + v["b_logvar"])
    v.setdefault("std", np.exp(0.5 * v["logvar"]))
    v.setdefault("z", v["mu"] + v["std"] * eps)
    v.setdefault("a_dec", v["W_dec"] @ v["z"] + v["b_dec"])
    v.setdefault("h_dec", np.maximum(0, v["a_dec"]))
    v.setdefault("logits", v["W_out"] @ v["h_dec"] + v["b_out"])
    reconstruction = np.sum(np.logaddexp(0, v["logits"]) - x * v["logits"]) / N
    kl = np.sum(0.5 * (v["mu"] ** 2 + np.exp(v["logvar"]) - 1 - v["logvar"])) / N
    return reconstruction + kl


def check(name, value, gradient):
    """Compare a gradient by hand with central differences, element by element."""
    measured = np.zeros_like(value)
    for i in np.ndindex(value.shape):
        step = np.zeros_like(value)
        step[i] = 1e-5
        up, down = loss_with(**{name: value + step}), loss_with(**{name: value - step})
        measured[i] = (up - down) / 2e-5
    assert gradient.shape == value.shape, f"d{name} has the wrong shape"
    error = np.abs(gradient - measured).max()
    assert error < 1e-9, f"d{name} is wrong: it differs by {error}"
    largest = np.abs(gradient).max()
    print(f"d{name:8} {value.shape}: largest element {largest:.4f}, differences below 1e-9")


assert loss_with() == loss

# %% [markdown]
# ### Backward
#
# **The logits.** In the reconstruction a logit $t$ stands in
# $(\log(1 + e^t) - x \thinspace t) / N$. The derivative of $\log(1 + e^t)$ is
# $e^t / (1 + e^t) = \mathrm{sigmoid}(t)$. So the gradient is the difference between the
# reconstruction and the image:

# %%
dlogits = (sigmoid(logits) - x) / N  # (D, N)
check("logits", logits, dlogits)

# %% [markdown]
# **A linear layer**, $y = W x + b$. For one image $n$ the $i$-th number is
# $y_{in} = \sum_j W_{ij} \thinspace x_{jn} + b_i$. The derivatives follow from reading this sum
# three times:
#
# - $W_{ij}$ meets $x_{jn}$ in every image: $dW_{ij} = \sum_n dy_{in} \thinspace x_{jn}$, which is
#   `dy @ x.T`.
# - $b_i$ is added in every image: $db_i = \sum_n dy_{in}$, the sum over the batch.
# - $x_{jn}$ acts on all $y_{in}$: $dx_{jn} = \sum_i W_{ij} \thinspace dy_{in}$, which is
#   `W.T @ dy`.
#
# The last layer is `logits = W_out @ h_dec + b_out`:

# %%
grad = {"W_out": dlogits @ h_dec.T, "b_out": dlogits.sum(axis=1, keepdims=True)}
dh_dec = p["W_out"].T @ dlogits  # (H, N)
check("W_out", p["W_out"], grad["W_out"])
check("b_out", p["b_out"], grad["b_out"])
check("h_dec", h_dec, dh_dec)

# %% [markdown]
# **The ReLU**, $\max(0, a)$, has the derivative 1 where $a$ is positive, and 0 where it is
# negative:

# %%
da_dec = dh_dec * (a_dec > 0)  # (H, N)
check("a_dec", a_dec, da_dec)

# %% [markdown]
# **The decoder's first layer** is `a_dec = W_dec @ z + b_dec`, linear again:

# %%
grad |= {"W_dec": da_dec @ z.T, "b_dec": da_dec.sum(axis=1, keepdims=True)}
dz = p["W_dec"].T @ da_dec  # (L, N)
check("W_dec", p["W_dec"], grad["W_dec"])
check("b_dec", p["b_dec"], grad["b_dec"])
check("z", z, dz)

# %% [markdown]
# **The draw**, `z = mu + std * eps`. The noise is a constant. So the derivative with respect to
# `std` is `eps`:

# %%
dstd = dz * eps  # (L, N)
check("std", std, dstd)

# %% [markdown]
# **mu is used twice**: in `z`, with the derivative 1, and in the KL, where $\mu^2 / 2N$ has the
# derivative $\mu / N$. A quantity that is used twice acts on the loss in two ways, and the two
# gradients *add*:

# %%
dmu = dz + mu / N  # (L, N)
check("mu", mu, dmu)

# %% [markdown]
# **logvar is used twice** too: in `std = exp(0.5 * logvar)`, with the derivative `0.5 * std`, and
# in the KL, where $(e^{\mathtt{logvar}} - \mathtt{logvar}) / 2N$ has the derivative
# $(e^{\mathtt{logvar}} - 1) / 2N$:

# %%
dlogvar = dstd * 0.5 * std + 0.5 * (np.exp(logvar) - 1) / N  # (L, N)
check("logvar", logvar, dlogvar)

# %% [markdown]
# **The two heads** are linear layers. Both read `h_enc`, so again two gradients add:

# %%
grad |= {"W_mu": dmu @ h_enc.T, "b_mu": dmu.sum(axis=1, keepdims=True)}
grad |= {"W_logvar": dlogvar @ h_enc.T, "b_logvar": dlogvar.sum(axis=1, keepdims=True)}
dh_enc = p["W_mu"].T @ dmu + p["W_logvar"].T @ dlogvar  # (H, N)
for name in ("W_mu", "b_mu", "W_logvar", "b_logvar"):
    check(name, p[name], grad[name])
check("h_enc", h_enc, dh_enc)

# %% [markdown]
# **The encoder's first layer**, a ReLU and a linear layer. Nobody needs the gradient of the images:

# %%
da_enc = dh_enc * (a_enc > 0)  # (H, N)
grad |= {"W_enc": da_enc @ x.T, "b_enc": da_enc.sum(axis=1, keepdims=True)}
check("a_enc", a_enc, da_enc)
check("W_enc", p["W_enc"], grad["W_enc"])
check("b_enc", p["b_enc"], grad["b_enc"])

# %% [markdown]
# That is the whole step. Make a mistake in one of these lines, for example leave out `mu / N`, and
# see the check fail.
#
# ### The same with the library
#
# Now the library computes the same loss from the same parameters, images and noise. For people it
# takes the batch first, so `x` and `eps` are transposed; inside it has the batch last, as above.

# %%
from tinyvae import Adam, make_model

model = make_model("vae", "mlp", latent_dim=L, hidden=(H,), shape=(D,)).to(dtype=np.float64)
theirs = dict(model.named_parameters())
for parameter, name in zip(theirs.values(), p, strict=True):  # both have the same order
    parameter.value = p[name].reshape(parameter.value.shape)

library_loss = model.loss(x.T, eps.T[None])  # x (N, D), eps (1, N, L): one draw for each image
model.backward()
print(f"loss by hand {loss:.12f}\nlibrary      {library_loss.total:.12f}")
assert np.isclose(loss, library_loss.total, rtol=1e-13)
for (their_name, parameter), name in zip(theirs.items(), p, strict=True):
    difference = np.abs(parameter.grad - grad[name].reshape(parameter.grad.shape)).max()
    assert difference < 1e-14
    print(f"{name:8} = {their_name:22}: the gradients differ by less than 1e-14")

# %% [markdown]
# The two agree to the last digits of double precision. The library's lines are in
# [`VAE.terms_backward`](../tinyvae/models/vae.py) and
# [`Linear.backward`](../tinyvae/engine/layers.py). The same step with the batch first, and a
# training around it, is a file of 120 lines: [examples/minimal_vae.py](../examples/minimal_vae.py).
# [Chapter 8](book/08_gradients.md) derives the gradient of every layer, also of
# [convolutions](book/08_convolution.md).

# %% [markdown]
# ## 8. Adam and the loop
#
# *Gradient descent* changes the parameters by `-lr * grad`. One learning rate `lr` then has to fit
# parameters with large and with small gradients. *Adam* gives each parameter a step of its own
# length. It keeps a running mean $m$ of the gradient and $v$ of its square. With $\hat m$ and
# $\hat v$, which correct for the start at zero, the step is $\hat m / \sqrt{\hat v}$ times `lr`.
# Where the gradients of many steps agree, this ratio is near one, and where they alternate it is
# near zero. The function `adam_step` of section 2 is exactly this. Three steps by hand and three
# with the library:

# %%
by_hand, state = {"theta": model.theta.copy()}, {"t": 0, "m": {"theta": 0.0}, "v": {"theta": 0.0}}
optimizer = Adam(model, lr=1e-3)  # changes model.theta, the vector of all parameters
for step in range(3):
    loss = model.loss(x.T, eps.T[None])
    model.backward()
    adam_step(by_hand, {"theta": model.grad}, state)
    optimizer.step()
    difference = np.abs(by_hand["theta"] - model.theta).max()
    assert difference < 1e-14
    print(f"step {step + 1}: loss {loss.total:.4f}, both ways to the same parameters")

# %% [markdown]
# **The loop.** In every epoch the images are put in a new order and taken in batches. Every step
# has new noise. The loss on test images is measured with a drawn $z$, because the ELBO is a mean
# over draws. ([Chapter 9](book/09_training.md))

# %%
from tinyvae.training.evaluation import evaluate


def fit(model, epochs=EPOCHS, seed=0):
    """Train any model of the library; print the test loss in nats per image after each epoch."""
    optimizer, rng = Adam(model, lr=1e-3), np.random.default_rng(seed)
    for epoch in range(epochs):
        for index in minibatches(len(data.x_train), BATCH, seed, epoch):
            eps = rng.standard_normal((1, len(index), model.noise_dim), dtype=np.float32)
            model.loss(*model.inputs(to_float(data.x_train[index]), eps, data.y_train[index]))
            model.backward()
            optimizer.step()
        numbers = evaluate(model, data.x_test, data.y_test if model.wants_labels else None)
        parts = ", ".join(f"{name} {numbers[name]:.2f}" for name in model.term_names)
        print(f"epoch {epoch + 1}: test {numbers['total']:.2f} ({parts})")
    return model


# %% [markdown]
# The function [`train`](../tinyvae/training/trainer.py) of the library is the same loop. It can
# also be stopped and resumed, it saves its work, and it runs on several cores or on a GPU.

# %% [markdown]
# ## 9. Training
#
# Two VAEs with one hidden layer of 400 numbers: with two numbers in a code, to look at, and with
# twenty. The total is the negative ELBO.

# %%
print("L = 2")
vae2 = fit(make_model("vae", "mlp", latent_dim=2, hidden=(400,)))
print("L = 20")
vae20 = fit(make_model("vae", "mlp", latent_dim=20, hidden=(400,)))

# %% [markdown]
# On MNIST, 20 epochs of the convolutional network, `make_model("vae", "conv", latent_dim=20)`, end
# near 98 nats. They take longer ([README](../README.md)).

# %% [markdown]
# ## 10. Reconstruction and generation
#
# `reconstruct` encodes an image and decodes the mean of $q(z \mid x)$.

# %%
x = x_test[one_of_each]
show_rows({"images": x, "L = 2": vae2.reconstruct(x), "L = 20": vae20.reconstruct(x)})

# %% [markdown]
# **New digits.** Draw codes from the prior and decode them. Nothing of the data is used here but
# what the decoder has learned:

# %%
z = np.random.default_rng(0).standard_normal((60, 20), dtype=np.float32)
axes = plt.subplots(figsize=(6, 3.2), layout="constrained")[1]
show_image(axes, mosaic(vae20.decode(z).reshape(5, 12, 28, 28), gap=2))
axes.set_title("VAE, L = 20: decoded from N(0, I)")
plt.show()

# %% [markdown]
# Many of them look like digits. Others lie between two digits, or are none. More epochs and the
# convolutional network improve them ([README](../README.md)). The pictures are soft because they
# show the probability of ink; `vae20.draw(z, rng)` draws black and white pixels with it.

# %% [markdown]
# ## 11. The latent space
#
# With $L = 2$ the whole latent space can be seen. Left: the means of $q(z \mid x)$ for test images.
# Right: a *traversal*, a grid of codes and their images. The grid is spaced so that every cell has
# the same probability under the prior.

# %%
codes2 = vae2.embed(x_test)  # (10000, 2)
inside = (np.linalg.norm(codes2, axis=1) < 2).mean()
print(f"{inside:.0%} of the codes of test images are inside the circle of radius 2")

values, z = quantile_grid(12)  # 12 values for each number, 144 codes
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
draw_codes(left, codes2, "VAE: codes of 3000 test images")
show_image(right, mosaic(vae2.decode(z.astype(np.float32)).reshape(12, 12, 28, 28), gap=0))
right.set(title="what the plane decodes to", xlabel="$z_1$", ylabel="$z_2$")
some = [0, 4, 7, 11]
right.set_xticks([28 * i + 14 for i in some], [f"{values[i]:.1f}" for i in some])
right.set_yticks([28 * i + 14 for i in some], [f"{values[11 - i]:.1f}" for i in some])
digit_legend(figure)
plt.show()


# %% [markdown]
# Compare the scales with section 3. The codes lie around the origin, on the scale of the prior, and
# neighbours in the plane look alike. After so few epochs the match is not perfect: some codes lie
# outside the circle, and a part of the circle is empty. In
# [the comparison](experiments/compare_ae_vae.md) the convolutional network comes closer.
#
# **Look for yourself.** Change the numbers in the next cell. With `pip install ipywidgets` you get
# two sliders:
# `from ipywidgets import interact; interact(decode_one, z_1=(-3.0, 3.0), z_2=(-3.0, 3.0))`.


# %%
def decode_one(z_1, z_2):
    axes = plt.subplots(figsize=(1.2, 1.2), layout="constrained")[1]
    show_image(axes, vae2.decode(np.array([[z_1, z_2]], dtype=np.float32))[0, 0])
    axes.set_title(f"z = ({z_1}, {z_2})")
    plt.show()


decode_one(z_1=0.5, z_2=-1.0)

# %% [markdown]
# **Interpolation.** The codes on a straight line between the codes of two images decode to images
# that change from one to the other. A cross-fade of the pixels shows both images at once instead:

# %%
rows = {}
for a, b in ((one_of_each[3], one_of_each[8]), (one_of_each[1], one_of_each[7])):
    start, end = vae20.embed(x_test[[a, b]])
    name = f"{data.y_test[a]} to {data.y_test[b]}"
    rows[f"{name}, codes"] = vae20.decode(interpolate(start, end, 10))
    share = np.linspace(0, 1, 10)[:, None, None, None]
    rows[f"{name}, pixels"] = (1 - share) * x_test[a] + share * x_test[b]
show_rows(rows)

# %% [markdown]
# **Which dimensions are used?** The KL of a dimension says how many nats it tells about the image,
# on average. A dimension whose KL is zero tells nothing, and the decoder ignores it. This is
# *posterior collapse*. In the convolutional network with $L = 20$ five dimensions collapse within
# 20 epochs ([chapter 9](book/09_training.md)). Here:

# %%
numbers = evaluate(vae20, data.x_test)
kl_per_dimension = np.array(numbers["kl_per_dimension"])
order = np.argsort(-kl_per_dimension)
used = np.array(numbers["variance_per_dimension"])[order] > 0.01
axes = plt.subplots(figsize=(6.5, 2.2), layout="constrained")[1]
axes.bar(range(20), kl_per_dimension[order], color=[BLUE if one else GREY for one in used])
axes.set_xticks(range(20), order)
axes.set(xlabel="index of the dimension, sorted", ylabel="KL in nats", title="VAE, L = 20")
plt.show()
print(f"{used.sum()} of 20 dimensions are used, {kl_per_dimension.sum():.1f} nats together")

# %% [markdown]
# A traversal with $L = 20$ changes one dimension of a code and keeps the others. Here the three
# dimensions with the largest KL run from -2.5 to 2.5, for one image:

# %%
rows = {}
for d in order[:3]:
    z = np.repeat(vae20.embed(x_test[one_of_each[5:6]]), 10, axis=0)  # ten times the same code
    z[:, d] = np.linspace(-2.5, 2.5, 10)
    rows[f"dimension {d}"] = vae20.decode(z)
show_rows(rows)

# %% [markdown]
# A dimension changes several things at once, such as the thickness and which digit it is. Training
# asks for probable images, not for dimensions that a person can name.

# %% [markdown]
# ## 12. An autoencoder against a VAE
#
# The same network with $L = 20$ as an autoencoder. Its loss has no KL, so it is not comparable with
# the VAE's total. A *classifier*, a network that names the digit, judges decoded images: its
# *confidence* is the probability that it gives to the most probable digit.

# %%
from tinyvae.engine.layers import Linear, Sequential
from tinyvae.laboratory.measures import distance_to_prior
from tinyvae.models.classifier import Classifier
from tinyvae.models.networks import MLPNetworks
from tinyvae.training import on_host

print("autoencoder, L = 20")
ae20 = fit(make_model("ae", "mlp", latent_dim=20, hidden=(400,)))
print("classifier")
networks = MLPNetworks(data.shape, (400,), np.random.default_rng(0))
head = Linear(networks.features, 10, rng=networks.rng)
classifier = fit(Classifier(Sequential(networks.trunk(), head)), epochs=2)
accuracy = evaluate(classifier, data.x_test, data.y_test)["accuracy"]
print(f"it names {accuracy:.1%} of the test images correctly")


# %%
def confidence(images):
    return classifier.probabilities(images).max(axis=1).mean()


table = {}
for model in (ae20, vae20):
    rng = np.random.default_rng(0)
    codes = on_host.embed(model, data.x_test)  # (10000, 20)
    drawn = on_host.draws(model, data.x_test, rng) if model is vae20 else codes
    prior = rng.standard_normal((1000, 20))
    fitted = rng.multivariate_normal(codes.mean(axis=0), np.cov(codes.T), 1000)
    reconstructed = on_host.decode(model, codes)
    table[type(model).__name__] = {
        "reconstruction at the code, nats": -on_host.log_prob(model, data.x_test, codes).mean(),
        "squared error per pixel": ((reconstructed - x_test) ** 2).mean(),
        "standard deviation of codes": drawn.std(),
        "distance of codes to N(0, I)": distance_to_prior(drawn),
        "confidence: reconstructions": confidence(reconstructed[:1000]),
        "confidence: from N(0, I)": confidence(on_host.decode(model, prior)),
        "confidence: from a fitted Gaussian": confidence(on_host.decode(model, fitted)),
    }
print(f"{'':34}" + "".join(f"{name:>12}" for name in table))
for row in table["VAE"]:
    print(f"{row:34}" + "".join(f"{numbers[row]:12.3f}" for numbers in table.values()))
print(f"confidence: real test images {confidence(x_test[:1000]):.3f}")

# %%
z = np.random.default_rng(2).standard_normal((10, 20), dtype=np.float32)
x = x_test[one_of_each]
show_rows(
    {
        "images": x,
        "AE, reconstructed": ae20.reconstruct(x),
        "VAE, reconstructed": vae20.reconstruct(x),
        "AE, from N(0, I)": ae20.decode(z),
        "VAE, from N(0, I)": vae20.decode(z),
    }
)

# %% [markdown]
# - **Reconstruction: the autoencoder is better.** It may put codes anywhere and adds no noise.
# - **Codes: the VAE's follow the prior.** The distance is the sliced Wasserstein distance. It is 0
#   if the codes are distributed like $\mathcal N(0, I)$.
# - **Generation from the prior: the VAE is better.** Its decoder was trained with codes that are
#   distributed nearly like the prior.
# - **A fitted Gaussian helps the autoencoder.** Its confidence comes near the VAE's. But an
#   autoencoder has no bound on $\log p(x)$: it cannot say how probable an image is.
#
# These are single runs of a small network. [The comparison](experiments/compare_ae_vae.md) has
# three seeds, convolutional networks and more rows.

# %% [markdown]
# ## 13. Where to go on
#
# **beta** is the weight of the KL: `model.loss(x, eps, beta=4)`. With a larger beta codes say less
# about the image, reconstructions become worse, and more dimensions collapse
# ([the sweep](experiments/beta_sweep.md), [what helps](experiments/posterior_collapse.md)).
#
# **The variants** are one line each. `train(model, data)` trains every one of them:

# %%
variants = [
    make_model("cvae", "mlp", latent_dim=20),  # told the class: draws the digit that you ask for
    make_model("iwae", "mlp", latent_dim=20, k=5),  # a tighter bound, from 5 draws of z
    make_model("hvae", "mlp", latent_dim=20, upper=(10,)),  # a second layer of codes
    make_model("flow", "mlp", latent_dim=20, flow="iaf"),  # q(z|x) need not be Gaussian
    make_model("vqvae", "conv", latent_dim=16, codes=128),  # codes are indices into a codebook
]
rng = np.random.default_rng(0)
for model in variants:
    eps = rng.standard_normal((1, 32, model.noise_dim), dtype=np.float32)
    loss = model.loss(*model.inputs(x_test[:32], eps, data.y_test[:32]))
    model.backward()  # derived by hand, too
    names = ", ".join(model.term_names)
    print(f"{type(model).__name__:8} {model.theta.size:8} parameters; terms of its loss: {names}")

# %% [markdown]
# | to learn | read |
# | --- | --- |
# | what each variant changes | [chapter 10](book/10_variants.md) |
# | what GANs, diffusion models and transformers maximise | [chapter 11](book/11_after.md) |
# | backpropagation with a pencil | [chapter 8](book/08_backpropagation.md) |
# | the library's code, in reading order | [chapter 12](book/12_tour.md) |
# | all of it from the beginning, with exercises | [chapter 0](book/00_notation.md) |
# | what a mistake looks like | [bugs.md](bugs.md) |
# | whether you can write it yourself | [ten exercises with a grader](exercises/README.md) |
# | how to train on your own data | [own_data.md](own_data.md) |
#
# **Try it here.** (1) Train with `hidden=(400, 400)`, or `"conv"` in place of `"mlp"`. (2) Write
# `beta=0.1` into the call of `model.loss` in `fit`, train a VAE with $L = 2$ and look at its codes:
# do they still lie in the circle? (3) Train the `cvae` with `fit`, and draw ten digits of each
# class from the same ten codes: `model.decode(z, labels)`.
