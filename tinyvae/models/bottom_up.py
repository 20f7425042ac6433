"""How a hierarchical VAE infers its latent layers z_1, ..., z_T from x: upwards, by samples.

Latent layers have three axes, (L_i, S, N): the dimensions of the layer, the samples, the batch.
"""

from itertools import pairwise

from tinyvae.engine.gaussian import (
    kl_divergence,
    kl_divergence_grad,
    log_density,
    log_density_grad,
    reparameterize,
    reparameterize_backward,
)
from tinyvae.engine.module import Module
from tinyvae.models.latent_layer import GaussianLayer, Inferred, log_q, standard
from tinyvae.models.vae import GaussianEncoder


class BottomUp(Module):
    """q(z_1|x) q(z_2|z_1) ... q(z_T|z_{T-1}). Burda, Grosse and Salakhutdinov 2016, section 2.

    layers: a GaussianEncoder of x, then a GaussianLayer of each of z_1, ..., z_{T-1}.
    """

    def __init__(self, layers):
        self.layers = layers

    @classmethod
    def build(cls, networks, sizes):
        first = GaussianEncoder(networks.trunk(), networks.features, sizes[0], rng=networks.rng)
        return cls([first, *(GaussianLayer.build(networks, *pair) for pair in pairwise(sizes))])

    def forward(self, x, eps, priors):
        """x (..., N) and the noise of each layer -> the Inferred layers, bottom first."""
        q = [tuple(head[:, None] for head in self.layers[0].forward(x))]  # (L_1, 1, N)
        z = [reparameterize(*q[0], eps[0])]
        for layer, noise in zip(self.layers[1:], eps[1:], strict=True):
            q.append(layer.forward(z[-1]))
            z.append(reparameterize(*q[-1], noise))
        p = [prior.forward(above) for prior, above in zip(priors, z[1:], strict=True)]
        return [*map(Inferred, eps, z, q, [*p, standard(z[-1])])]

    def kl(self, layers):
        """The part of each layer in the KL: log q - log p for its sample; the KL for the top layer.

        z_{i+1} was drawn given z_i, so q(z_i | z_{i-1}) is not the distribution of z_i given
        z_{i+1}. Therefore the lower layers have no closed form.
        """
        *lower, top = layers
        parts = [log_q(one) - log_density(one.z, *one.p) for one in lower]
        return [*parts, kl_divergence(*top.q, *top.p)]

    def backward(self, dz, dkl, layers, priors):
        """From dz of z_1 and the gradients dkl of `kl` to all parameters of q and p."""
        dz = [dz]  # of z_1, z_2, ...: first what comes from below, and later from above
        for i, prior in enumerate(priors):
            # kl_i = log q - log N(z_i; mu_p, logvar_p)
            dlog_p = log_density_grad(layers[i].z, *layers[i].p)
            dz_i, dmu_p, dlogvar_p = (-dkl[i] * one for one in dlog_p)
            dz[i] = dz[i] + dz_i
            # mu_p, logvar_p = prior_i(z_{i+1})
            dz.append(prior.backward(dmu_p, dlogvar_p))
        for i, (eps, z, q, p, _) in reversed([*enumerate(layers)]):
            if i == len(priors):
                # kl_T = KL(q || N(0, I))
                dmu, dlogvar, *_ = kl_divergence_grad(*q, *p)
            else:
                # kl_i = log N(z_i; mu, logvar) - log p
                dlog_q, dmu, dlogvar = log_density_grad(z, *q)
                dz[i] = dz[i] + dkl[i] * dlog_q
            # z_i = mu + std * eps: mu and logvar serve z_i and kl_i
            dmu_z, dlogvar_z = reparameterize_backward(dz[i], q[1], eps)
            dmu, dlogvar = dmu_z + dkl[i] * dmu, dlogvar_z + dkl[i] * dlogvar  # (L_i, S, N)
            if i > 0:
                # mu, logvar = layer_i(z_{i-1})
                dz[i - 1] = dz[i - 1] + self.layers[i].backward(dmu, dlogvar)
        # mu, logvar = layer_1(x), the same for all samples
        self.layers[0].backward(dmu.sum(axis=1), dlogvar.sum(axis=1))
