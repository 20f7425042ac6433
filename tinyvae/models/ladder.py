"""How a hierarchical VAE infers its latent layers z_1, ..., z_T from x: downwards, as a ladder.

Soenderby, Raiko, Maaloe, Soenderby and Winther 2016, Ladder variational autoencoders.
"""

from tinyvae.engine.gaussian import (
    kl_divergence,
    kl_divergence_grad,
    precision_weighted,
    precision_weighted_backward,
    reparameterize,
    reparameterize_backward,
)
from tinyvae.engine.module import Module
from tinyvae.models.latent_layer import Inferred, one_hidden_layer, standard
from tinyvae.models.vae import GaussianEncoder


class Ladder(Module):
    """q(z_T|x) ... q(z_1|z_2, x): what x says of z_i, times p(z_i | z_{i+1}).

    layers: GaussianEncoders. The first trunk takes x; each other trunk takes the features d_{i-1}
    of the trunk below. The top layer has no p above it. It has the same methods as BottomUp.
    """

    def __init__(self, layers):
        self.layers = layers

    @classmethod
    def build(cls, networks, sizes):
        width, rng = networks.features, networks.rng
        trunks = [networks.trunk(), *(one_hidden_layer(networks, width) for _ in sizes[1:])]
        pairs = zip(trunks, sizes, strict=True)
        return cls([GaussianEncoder(trunk, width, size, rng=rng) for trunk, size in pairs])

    def forward(self, x, eps, priors):
        d, own = x, []
        for layer in self.layers:  # upwards, without noise
            d = layer.trunk.forward(d)  # (features, N)
            own.append((layer.mu.forward(d)[:, None], layer.logvar.forward(d)[:, None]))
        z = reparameterize(*own[-1], eps[-1])  # (L_T, S, N)
        found = [Inferred(eps[-1], z, own[-1], standard(z))]
        for i in reversed(range(len(priors))):
            p = priors[i].forward(z)
            q = precision_weighted(*own[i], *p)
            z = reparameterize(*q, eps[i])
            found.insert(0, Inferred(eps[i], z, q, p, own[i]))
        return found

    def kl(self, layers):
        """The KL of each layer, given the sample of the layer above it: closed forms."""
        return [kl_divergence(*one.q, *one.p) for one in layers]

    def backward(self, dz, dkl, layers, priors):
        downwards = []
        for i, (eps, _, q, p, own) in enumerate(layers):
            # kl_i = KL(q || p)
            dkl_i = kl_divergence_grad(*q, *p)
            dmu_q, dlogvar_q, dmu_p, dlogvar_p = (dkl[i] * one for one in dkl_i)
            # z_i = mu + std * eps: mu and logvar of q serve z_i and kl_i
            dmu, dlogvar = reparameterize_backward(dz, q[1], eps)
            dmu, dlogvar = dmu + dmu_q, dlogvar + dlogvar_q  # (L_i, S, N)
            if i < len(priors):
                # q = precision_weighted(own, p): p serves q and kl_i
                dq = precision_weighted_backward(dmu, dlogvar, *own, *p)
                dmu, dlogvar = dq[:2]
                # mu_p, logvar_p = prior_i(z_{i+1})
                dz = priors[i].backward(dq[2] + dmu_p, dq[3] + dlogvar_p)
            downwards.append((dmu.sum(axis=1), dlogvar.sum(axis=1)))  # own is one for all samples
        dd = 0.0
        for layer, (dmu, dlogvar) in zip(self.layers[::-1], downwards[::-1], strict=True):
            # d_i feeds both heads and the trunk above
            dd = layer.trunk.backward(layer.mu.backward(dmu) + layer.logvar.backward(dlogvar) + dd)
