"""The networks are built from the shape of an example, and give that shape back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyvae import Tanh, UserError, make_model
from tinyvae.engine.differences import check_model
from tinyvae.gradcheck import TOLERANCE
from tinyvae.models.networks import ConvNetworks, MLPNetworks

CODE, IMAGE, ODD = (5,), (1, 28, 28), (3, 9, 13)


def dense(inside, outside):
    return inside * outside + outside


def conv(inside, outside):
    return inside * outside * 9 + outside


# Each network: its layers, the shapes they make, the number of weights of each that has any.
CONV_TRUNK = "Conv2d ReLU Conv2d ReLU Flatten Linear ReLU"
CONV_DECODER = "Linear ReLU Linear ReLU Reshape ConvTranspose2d ReLU ConvTranspose2d"
MLP_TRUNK, MLP_DECODER = "Flatten Linear ReLU Linear ReLU", "Linear ReLU Linear ReLU Linear Reshape"
NETWORKS = {
    "conv trunk": (
        lambda rng: ConvNetworks(IMAGE, (), rng).trunk(),
        CONV_TRUNK,
        [IMAGE, (32, 14, 14), (64, 7, 7), (3136,), (256,)],
        [conv(1, 32), conv(32, 64), dense(3136, 256)],
    ),
    "conv decoder": (
        lambda rng: ConvNetworks(IMAGE, (), rng).decoder(5),
        CONV_DECODER,
        [CODE, (256,), (3136,), (64, 7, 7), (32, 14, 14), IMAGE],
        [dense(5, 256), dense(256, 3136), conv(64, 32), conv(32, 1)],
    ),
    "mlp trunk": (
        lambda rng: MLPNetworks(IMAGE, (50, 30), rng).trunk(),
        MLP_TRUNK,
        [IMAGE, (784,), (50,), (30,)],
        [dense(784, 50), dense(50, 30)],
    ),
    "mlp decoder": (
        lambda rng: MLPNetworks(IMAGE, (50, 30), rng).decoder(5),
        MLP_DECODER,
        [CODE, (30,), (50,), (784,), IMAGE],
        [dense(5, 30), dense(30, 50), dense(50, 784)],
    ),
    "conv trunk of odd sizes": (
        lambda rng: ConvNetworks(ODD, (), rng).trunk(),
        CONV_TRUNK,
        [ODD, (32, 5, 7), (64, 3, 4), (768,), (256,)],
        [conv(3, 32), conv(32, 64), dense(768, 256)],
    ),
    "conv decoder of odd sizes": (
        lambda rng: ConvNetworks(ODD, (), rng).decoder(5),
        CONV_DECODER,
        [CODE, (256,), (768,), (64, 3, 4), (32, 5, 7), ODD],
        [dense(5, 256), dense(256, 768), conv(64, 32), conv(32, 3)],
    ),
    "mlp trunk of a table": (
        lambda rng: MLPNetworks((10,), (50, 30), rng).trunk(),
        MLP_TRUNK,
        [(10,), (50,), (30,)],
        [dense(10, 50), dense(50, 30)],
    ),
    "mlp decoder of a table": (
        lambda rng: MLPNetworks((10,), (50, 30), rng).decoder(5),
        MLP_DECODER,
        [CODE, (30,), (50,), (10,)],
        [dense(5, 30), dense(30, 50), dense(50, 10)],
    ),
}


@pytest.mark.parametrize("network, layers, shapes, weights", NETWORKS.values(), ids=NETWORKS)
def test_layers_shapes_and_weights(network, layers, shapes, weights):
    network = network(np.random.default_rng(0))
    assert [type(layer).__name__ for layer in network.layers] == layers.split()
    sizes = [sum(p.value.size for _, p in one.named_parameters()) for one in network.layers]
    assert [size for size in sizes if size] == weights

    x = np.zeros((*shapes[0], 2), dtype=np.float32)
    seen = [shapes[0]]
    for layer in network.layers:
        x = layer.forward(x)
        if x.shape[:-1] != seen[-1]:
            seen.append(x.shape[:-1])
    assert seen == shapes


def assert_shapes_fit(kind, network, shape, **options):
    """Examples go in, examples of the same shape come out, and a loss has its gradient."""
    model = make_model(kind, network, 3, shape=shape, **options)
    rng = np.random.default_rng(0)
    x = rng.random((2, *shape), dtype=np.float32)
    assert model.embed(x).shape == (2, 3)
    z = rng.standard_normal((2, 3), dtype=np.float32)
    for out in (model.decode(z), model.draw(z, rng), model.reconstruct(x)):
        assert out.shape == x.shape and out.dtype == np.float32
    for out in (model.sample(4, rng), model.sample_means(4, rng)):
        assert out.shape == (4, *shape)
    model.loss(*model.inputs(x, np.zeros((1, 2, model.noise_dim), np.float32)))
    model.backward()
    assert np.isfinite(model.grad).all() and model.grad.any()


@pytest.mark.parametrize("kind", ["vae", "ae"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (1, 28, 28), (3, 64, 48)], ids=str)
def test_convolutions_take_images_of_any_size(kind, shape):
    assert_shapes_fit(kind, "conv", shape)


@settings(max_examples=15)
@given(st.sampled_from([1, 3]), st.integers(8, 33), st.integers(8, 33))
def test_the_decoder_mirrors_the_sizes_of_the_encoder(channels, height, width):
    assert_shapes_fit("vae", "conv", (channels, height, width))


@pytest.mark.parametrize("kind", ["vae", "ae"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("hidden", [(400,), (200, 200), (7, 5, 3)], ids=str)
@pytest.mark.parametrize("shape", [(10,), (1,), (1, 2, 3), (3, 9, 13)], ids=str)
def test_fully_connected_networks_take_anything(kind, likelihood, hidden, shape):
    assert_shapes_fit(kind, "mlp", shape, likelihood=likelihood, hidden=hidden)


def test_hidden_are_the_widths_of_the_layers():
    state = make_model("vae", "mlp", 5, hidden=(200, 100), shape=(10,)).state_dict()
    shapes = {name: value.shape for name, value in state.items() if name.endswith("weight")}
    assert shapes == {
        "encoder.trunk.1.weight": (200, 10),
        "encoder.trunk.3.weight": (100, 200),
        "encoder.mu.weight": (5, 100),
        "encoder.logvar.weight": (5, 100),
        "decoder.0.weight": (100, 5),
        "decoder.2.weight": (200, 100),
        "decoder.4.weight": (10, 200),
    }


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradient_of_a_colour_model_of_odd_sizes(likelihood):
    rng = np.random.default_rng(0)
    x, eps = rng.random((3, *ODD)), rng.standard_normal((2, 3, 4))
    model = make_model("vae", "conv", 4, likelihood, shape=ODD, seed=1)
    assert check_model(model, x, eps, rng=rng) < TOLERANCE


@pytest.mark.parametrize("shape", [(1, 7, 8), (3, 8, 7), (1, 4, 4), (10,)], ids=str)
def test_small_images_and_tables_are_not_convolved(shape):
    with pytest.raises(UserError) as error:
        make_model("vae", "conv", shape=shape)
    assert str(error.value) == (
        "network conv takes images of at least 8x8 pixels, got examples of shape "
        f"{shape}; use network mlp"
    )


def test_a_table_has_a_sigma_for_each_column_and_images_have_one():
    of_table, of_images = (
        make_model("vae", "mlp", 3, "gaussian", shape=shape).likelihood.logvar.value
        for shape in ((10,), (1, 28, 28))
    )
    assert of_table.shape == (10,) and of_images.shape == (1,)
    np.testing.assert_allclose(of_table, 0, atol=1e-7)  # sigma^2 = 1, that of a standardized column
    np.testing.assert_allclose(of_images, np.log(0.1), rtol=1e-6)


def test_another_activation_has_the_same_weights():
    """Tanh stands where ReLU stood, and draws nothing from the generator."""
    parts = {}
    for activation in (None, Tanh):
        networks = MLPNetworks(IMAGE, (50, 30), np.random.default_rng(0), activation)
        parts[activation] = [networks.trunk(), networks.decoder(5)]
    for relu, tanh in zip(parts[None], parts[Tanh], strict=True):
        kinds = [type(layer).__name__ for layer in tanh.layers]
        assert kinds == [type(layer).__name__.replace("ReLU", "Tanh") for layer in relu.layers]
        assert relu.state_dict().keys() == tanh.state_dict().keys()
        for name, value in relu.state_dict().items():
            np.testing.assert_array_equal(tanh.state_dict()[name], value)
