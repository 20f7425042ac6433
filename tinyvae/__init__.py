"""tinyvae: autoencoders and variational autoencoders, every gradient derived by hand.

The names below are the engine and the models; to import them takes NumPy alone. The rooms:
engine (layers, formulas, gradients, optimizers), models (what the engine is put together to), data
(what models learn from), training (the loop and all around it), laboratory (what the experiments
measure). A room imports only from the rooms named before it.
"""

from tinyvae.engine.activations import ReLU, Sigmoid, Tanh
from tinyvae.engine.backend import array_module, get_backend, to_host
from tinyvae.engine.flows import Coupling, Flow, InverseAutoregressive
from tinyvae.engine.layers import (
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    MaskedLinear,
    Reshape,
    Sequential,
)
from tinyvae.engine.likelihoods import Bernoulli, Gaussian, LearnedGaussian
from tinyvae.engine.masked import MaskedConv2d
from tinyvae.engine.optim import SGD, Adam, clip_grad_norm
from tinyvae.engine.planar import Planar
from tinyvae.errors import UserError
from tinyvae.models.autoencoder import Autoencoder
from tinyvae.models.code_prior import CodePrior
from tinyvae.models.cvae import CVAE
from tinyvae.models.flow import FlowVAE
from tinyvae.models.hvae import HVAE
from tinyvae.models.iwae import IWAE
from tinyvae.models.registry import make_model
from tinyvae.models.vae import VAE, GaussianEncoder
from tinyvae.models.vqvae import VQVAE

__version__ = "0.1.0"
__all__ = [
    "CVAE",
    "HVAE",
    "IWAE",
    "SGD",
    "VAE",
    "VQVAE",
    "Adam",
    "Autoencoder",
    "Bernoulli",
    "CodePrior",
    "Conv2d",
    "ConvTranspose2d",
    "Coupling",
    "Flatten",
    "Flow",
    "FlowVAE",
    "Gaussian",
    "GaussianEncoder",
    "InverseAutoregressive",
    "LearnedGaussian",
    "Linear",
    "MaskedLinear",
    "Planar",
    "MaskedConv2d",
    "ReLU",
    "Reshape",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "UserError",
    "array_module",
    "clip_grad_norm",
    "get_backend",
    "make_model",
    "to_host",
]
