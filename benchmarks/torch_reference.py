"""The tutorial's models in PyTorch: the yardstick for parity, for speed and for the tests.

Layers and names are those of `tinyvae.models.networks`, so a state_dict of
one side loads on the other.
"""

import torch
from torch import nn
from torch.nn import functional


class GaussianEncoder(nn.Module):
    def __init__(self, trunk, features, latent_dim):
        super().__init__()
        self.trunk = trunk
        self.mu = nn.Linear(features, latent_dim)
        self.logvar = nn.Linear(features, latent_dim)

    def forward(self, x):
        h = self.trunk(x)
        return self.mu(h), self.logvar(h)


class VAE(nn.Module):
    """Grey-level Bernoulli VAE; `network` is "conv" or "mlp"."""

    def __init__(self, network, latent_dim):
        super().__init__()
        self.latent_dim = latent_dim
        if network == "conv":
            trunk = nn.Sequential(
                nn.Conv2d(1, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(64 * 7 * 7, 256),
                nn.ReLU(),
            )
            self.encoder = GaussianEncoder(trunk, 256, latent_dim)
            self.decoder = nn.Sequential(
                nn.Linear(latent_dim, 256),
                nn.ReLU(),
                nn.Linear(256, 64 * 7 * 7),
                nn.ReLU(),
                nn.Unflatten(1, (64, 7, 7)),
                nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1),
            )
        else:
            trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU())
            self.encoder = GaussianEncoder(trunk, 400, latent_dim)
            self.decoder = nn.Sequential(
                nn.Linear(latent_dim, 400),
                nn.ReLU(),
                nn.Linear(400, 784),
                nn.Unflatten(1, (1, 28, 28)),
            )

    def terms(self, x, eps):
        """Reconstruction loss (N,) and KL (N, L) of images x (N, 1, 28, 28), in nats."""
        mu, logvar = self.encoder(x)
        z = mu + torch.exp(0.5 * logvar) * eps
        loss = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none")
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar)
        return loss.sum(dim=(1, 2, 3)), kl

    def reconstruct(self, x):
        mu, _ = self.encoder(x)
        return torch.sigmoid(self.decoder(mu))

    def loss(self, x, eps):
        """Negative ELBO, nats per image."""
        reconstruction, kl = self.terms(x, eps)
        return reconstruction.mean() + kl.sum(dim=1).mean()


def twin(network, model):
    """A PyTorch VAE with the weights of `model`, tinyvae's VAE of the same network."""
    vae = VAE(network, model.latent_dim)
    vae.load_state_dict({k: torch.from_numpy(array) for k, array in model.state_dict().items()})
    return vae


def train_epoch(model, optimizer, images, eps, batches):
    """One epoch on the negative ELBO: images (n, 1, 28, 28), noise eps (n, L), index arrays."""
    for index in batches:
        loss = model.loss(images[index], eps[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, images, eps, batch_size=1000):
    """total, reconstruction, kl (nats per image) with the noise eps (n, L); mse per pixel."""
    sums = torch.zeros(3, dtype=torch.float64)
    for x, noise in zip(images.split(batch_size), eps.split(batch_size), strict=True):
        reconstruction, kl = model.terms(x, noise)
        squared = (model.reconstruct(x) - x).square().mean(dim=(1, 2, 3))
        sums += torch.stack([t.double().sum() for t in (reconstruction, kl, squared)])
    reconstruction, kl, mse = (sums / len(images)).tolist()
    return {"total": reconstruction + kl, "reconstruction": reconstruction, "kl": kl, "mse": mse}
