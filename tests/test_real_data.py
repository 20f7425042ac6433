"""Real data that is not MNIST: 8x8 digits, two tables and two photographs, from scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn import datasets
from sklearn.decomposition import FactorAnalysis

from examples import train as command_line
from tinyvae import LearnedGaussian, make_model
from tinyvae.data import Dataset, to_float
from tinyvae.laboratory import linear_gaussian as lab
from tinyvae.rng import generator
from tinyvae.training import plots, report
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate
from tinyvae.training.feed import Feed
from tinyvae.training.trainer import Trainer, train

DIGITS = Config(epochs=15, batch_size=32, lr=2e-3)
MEASURED = {"conv": 25.21, "mlp": 24.77}  # test bounds after these epochs, in nats per image
PATCH = 19, 17  # pixels


@pytest.fixture(scope="module")
def digits():
    """1438 training and 359 test images (1, 8, 8); the values from 0 to 16 become 0 to 1."""
    return Dataset.from_arrays(datasets.load_digits().images / 16, name="8x8 digits")


@pytest.fixture(scope="module", params=MEASURED)
def trained(request, digits):
    """A network's name, its initial weights, and the VAE after training."""
    model = make_model("vae", request.param, 10, shape=digits.shape)
    initial = {name: value.copy() for name, value in model.state_dict().items()}
    Trainer(model, digits, DIGITS).fit()
    return request.param, initial, model


def test_the_digits_are_learned(digits, trained):
    network, _, model = trained
    assert evaluate(model, digits.x_test)["total"] < MEASURED[network] + 0.5


@pytest.fixture
def torch():
    """PyTorch on one thread, so that its threads do not wait for NumPy's."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def test_the_digits_end_where_pytorch_ends(digits, trained, torch):
    """From the same weights, with the same batches and noise; each library has its own Adam."""
    import torch_reference

    network, initial, ours = trained
    theirs = pytorch_vae(torch.nn, network, ours.latent_dim)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in initial.items()})
    optimizer, feed = (
        torch.optim.Adam(theirs.parameters(), lr=DIGITS.lr),
        Feed(ours, digits, DIGITS),
    )
    for epoch in range(DIGITS.epochs):
        feed.begin(epoch)
        for i in range(feed.steps_per_epoch):
            x, eps = map(torch.from_numpy, feed.inputs(i))
            loss = theirs.loss(x, eps[0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    shape = (1, len(digits.x_test), ours.latent_dim)
    eps = generator(0, "evaluation").standard_normal(shape, np.float32)  # as evaluate draws it
    x, eps = map(torch.from_numpy, (digits.x_test, eps[0]))
    expected, measured = torch_reference.evaluate(theirs, x, eps), evaluate(ours, digits.x_test)
    for name, tolerance in {"total": 0.3, "reconstruction": 0.5, "kl": 0.5, "mse": 0.002}.items():
        assert measured[name] == pytest.approx(expected[name], abs=tolerance), name


def pytorch_vae(nn, network, latent_dim):
    """torch_reference.VAE, which is for images of 28x28 pixels, for 8x8 pixels."""
    import torch_reference

    vae = torch_reference.VAE(network, latent_dim)
    trunk, decoder = vae.encoder.trunk, vae.decoder
    if network == "conv":
        trunk[5] = nn.Linear(64 * 2 * 2, 256)
        decoder[2], decoder[4] = nn.Linear(256, 64 * 2 * 2), nn.Unflatten(1, (64, 2, 2))
    else:
        trunk[1] = nn.Linear(64, 400)
        decoder[2], decoder[3] = nn.Linear(400, 64), nn.Unflatten(1, (1, 8, 8))
    return vae


@pytest.fixture(scope="module")
def wine():
    """178 rows of 13 standardized columns."""
    x = datasets.load_wine().data
    return (x - x.mean(axis=0)) / x.std(axis=0)


def test_the_linear_vae_of_wine_is_probabilistic_pca(wine):
    """With one sigma for all columns, it reaches the closed form."""
    best = lab.LinearGaussian.fit(wine, 2)
    model = lab.train(wine, 2, LearnedGaussian(1.0), steps=1000, lr=0.05)
    assert lab.exact_elbo(model, wine).mean() == pytest.approx(best.log_p(wine).mean(), abs=1e-6)
    assert lab.LinearGaussian.from_model(model).s2 == pytest.approx(best.s2, abs=1e-6)
    _, values, _ = lab.principal_components(wine)
    expected = np.log(values[:2] / best.s2) / 2
    np.testing.assert_allclose(lab.sorted_kl(model, wine), expected, atol=1e-5)


def test_with_a_sigma_for_each_column_it_is_factor_analysis(wine):
    """The ELBO reaches the largest log p(x): of all rotations of z it finds one without a gap."""
    best = FactorAnalysis(2, tol=1e-10, max_iter=10_000, svd_method="lapack").fit(wine)
    model = lab.train(wine, 2, LearnedGaussian(1.0, 13), steps=1500, lr=0.05)
    state = model.state_dict()
    w, variances = state["decoder.0.weight"], np.exp(state["likelihood.logvar"])
    p = multivariate_normal(state["decoder.0.bias"], w @ w.T + np.diag(variances))
    elbo = lab.exact_elbo(model, wine)
    np.testing.assert_allclose(elbo, p.logpdf(wine), atol=1e-5)
    assert elbo.mean() == pytest.approx(best.score(wine), abs=1e-6)
    np.testing.assert_allclose(variances, best.noise_variance_, atol=1e-3)


def test_the_ordinary_training_loop_comes_close_to_probabilistic_pca(wine):
    """With minibatches, sampled noise and a constant learning rate, within 0.1 nats."""
    best = lab.LinearGaussian.fit(wine, 2).log_p(wine).mean()
    model = lab.linear_vae((13,), 2, LearnedGaussian(1.0))
    train(model, Dataset.from_arrays(wine, x_test=wine), epochs=200, batch_size=32, lr=5e-3)
    assert best - 0.1 < lab.exact_elbo(model, wine).mean() < best + 1e-5


@pytest.mark.parametrize("load", [datasets.load_wine, datasets.load_breast_cancer])
def test_a_vae_of_a_table_is_better_than_independent_normal_columns(load):
    table = load()
    data = Dataset.from_arrays(table.data, columns=table.feature_names, name="table").standardized()
    model = make_model("vae", "mlp", 5, "gaussian", hidden=(50,), shape=data.shape)
    train(model, data, epochs=40, batch_size=16, lr=3e-3)
    test = evaluate(model, data.x_test)
    independent = -norm.logpdf(data.x_test).sum(axis=1).mean()  # fitted to the training columns
    assert test["total"] < independent - 2
    r2 = np.array(test["r2_per_column"])
    assert (r2 > 0).mean() > 0.9 and np.median(r2) > 0.5


@pytest.fixture(scope="module")
def patches():
    """Two photographs, 427x640 pixels, cut to 1628 colour patches (19, 17, 3) of uint8."""
    height, width = PATCH
    rows, columns = 427 // height, 640 // width
    photos = np.array(datasets.load_sample_images().images)[:, : rows * height, : columns * width]
    cells = photos.reshape(2, rows, height, columns, width, 3).swapaxes(2, 3)
    return cells.reshape(-1, *PATCH, 3)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_colour_patches_of_an_odd_size_are_learned(patches, network):
    data = Dataset.from_arrays(patches, name="patches")
    assert data.shape == (3, *PATCH)
    x, x_test = to_float(data.x_train), to_float(data.x_test)
    colour = x.mean(axis=(0, 2, 3), keepdims=True)
    sigma = np.sqrt(((x - colour) ** 2).mean())
    mean_colour = -norm.logpdf(x_test, colour, sigma).sum(axis=(1, 2, 3)).mean()
    model = make_model("vae", network, 10, "gaussian", shape=data.shape)
    train(model, data, epochs=2, batch_size=64, lr=2e-3)
    test = evaluate(model, data.x_test)
    assert test["total"] < mean_colour - 200
    assert test["mse"] < 0.5 * ((x_test - colour) ** 2).mean()


@pytest.fixture
def in_new_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "BOUND_SAMPLES", 2)
    monkeypatch.setitem(plots.STYLE, "savefig.dpi", 40)
    monkeypatch.chdir(tmp_path)


def figures():
    return {path.stem for path in Path("runs").glob("*/figures/*.png")}


def test_the_command_line_learns_colour_patches(patches, in_new_folder, capsys):
    np.savez("patches.npz", x_train=patches[:300], x_test=patches[-50:])
    assert command_line.main("--dataset patches.npz --epochs 1 --latent-dim 3".split()) == 0
    assert "300 training and 50 test examples, each 3 x 19 x 17" in capsys.readouterr().out
    for_all = {"loss", "latent_scatter", "kl"}
    assert figures() == for_all | {"reconstructions", "samples", "interpolation", "traversal"}


def test_the_command_line_learns_a_table(in_new_folder, capsys):
    table = datasets.load_wine()
    names = [*table.feature_names, "label"]
    rows = np.column_stack([table.data, table.target])
    np.savetxt("wine.csv", rows, "%g", delimiter=",", header=",".join(names), comments="")
    assert command_line.main("--dataset wine.csv --epochs 1 --latent-dim 3".split()) == 0
    out = capsys.readouterr().out
    assert "143 training and 35 test examples, each 13 columns" in out
    assert "in the units of the data" in out
    assert figures() == {"loss", "latent_scatter", "kl", "column_r2", "histograms"}
