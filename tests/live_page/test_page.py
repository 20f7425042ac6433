"""From a run to the HTML file, and the runs that are refused."""

import base64
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from examples import live_page
from tinyvae import Gaussian, make_model
from tinyvae.data import Dataset, load_dataset
from tinyvae.engine.layers import Linear
from tinyvae.errors import UserError
from tinyvae.live_page import page
from tinyvae.live_page.model import describe_layer, describe_model, pack
from tinyvae.models import registry
from tinyvae.training.checkpoint import load_checkpoint
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate
from tinyvae.training.program import print_live_page
from tinyvae.training.state import load_model
from tinyvae.training.trainer import Trainer, train


def images(shape=(9, 8), n=60, labels=True):
    rng = np.random.default_rng(0)
    x, y = rng.random((n, *shape), dtype=np.float32), np.arange(n) % 4
    return {"x": x, "x_test": x[::2]} | ({"y": y, "y_test": y[::2]} if labels else {})


def saved(folder, kind="vae", network="mlp", data=None, latent_dim=3, **options):
    """The folder of a short run on a file of one's own, and its data."""
    data = data or images()
    path = folder / "images.npz"
    names = {"x": "x_train", "y": "y_train"}
    np.savez(path, **{names.get(name, name): array for name, array in data.items()})
    data = load_dataset(path)
    hidden = {"hidden": (6,)} if network == "mlp" else {}
    model = make_model(kind, network, latent_dim, shape=data.shape, **hidden, **options)
    train(model, data, epochs=1, batch_size=20, folder=folder / "run")
    return folder / "run", data


@pytest.mark.parametrize("kind", ["vae", "ae", "cvae", "iwae"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_page_holds_the_run(tmp_path, capsys, kind, network):
    options = {"classes": 4} if kind == "cvae" else {}
    folder, data = saved(tmp_path, kind, network, **options)
    assert live_page.main([str(folder)]) is None
    path = folder / "live_page.html"
    assert f"{path}, {path.stat().st_size / 1e6:.1f} MB" in capsys.readouterr().out
    held = data_of(path.read_text("utf-8"))
    model = load_model(folder)
    y = (data.y_test,) * model.wants_labels
    codes = model.embed(data.x_test, *y)
    assert decoded(held["codes"]) == pytest.approx(codes, abs=1e-6)
    assert decoded(held["labels"]).tolist() == data.y_test.tolist()
    assert held["model"]["classes"] == options.get("classes", 0)
    if kind == "ae":
        by, active = codes.var(axis=0), 3
        assert "kl" not in held
    else:
        measured = evaluate(model, data.x_test, labels=data.y_test)
        by, active = held["kl"], measured["active_units"]
        if kind != "iwae":
            assert by == pytest.approx(measured["kl_per_dimension"], abs=1e-5)
    assert held["order"] == np.argsort(-np.asarray(by)).tolist() and held["active"] == active


def data_of(html):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return json.loads(text)


def decoded(packed):

    raw = base64.b64decode(packed["data"])
    return np.frombuffer(raw, packed["dtype"]).reshape(packed["shape"])


def test_the_page_needs_no_other_file(tmp_path):
    folder, _ = saved(tmp_path)
    html = page.live_page(page.describe_run(folder))
    assert "{{" not in html and "@import" not in html and "url(" not in html
    assert not re.findall(r"https?://", html)
    assert re.findall(r'(?:src|href)="([^"]*)"', html) == ["data:,"]
    assert {p.stem for p in Path(page.__file__).parent.glob("source/*.js")} == {*page.SCRIPTS}


def test_a_name_cannot_end_the_script(tmp_path):
    folder, _ = saved(tmp_path)
    for name in ("</script><b>", "<!--<script>.npz"):
        html = page.live_page(page.describe_run(folder) | {"name": name})
        assert data_of(html)["name"] == name and name not in html


def test_another_place_for_the_page_and_the_data(tmp_path, capsys):
    folder, _ = saved(tmp_path)
    (tmp_path / "images.npz").rename(tmp_path / "moved.npz")
    with pytest.raises(UserError, match="no such file"):
        live_page.main([str(folder)])
    out = tmp_path / "page.html"
    live_page.main([str(folder), "--dataset", str(tmp_path / "moved.npz"), "--out", str(out)])
    assert out.exists() and not (folder / "live_page.html").exists()


def test_a_page_replaces_nothing_but_a_page(tmp_path):
    """A slip of the hand must not cost the run: RUN/checkpoint.npz is one tab away from RUN."""
    folder, _ = saved(tmp_path)
    os.mkfifo(tmp_path / "pipe.html")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "link.html").symlink_to(folder / "checkpoint.npz")
    before = (folder / "checkpoint.npz").read_bytes()
    for out, said in {
        folder / "checkpoint.npz": "a name that ends in .html, found the ending '.npz'; name an",
        folder: "found the ending ''; name another file",
        Path("/dev/null"): "found the ending ''; name another file",
        tmp_path / "link.html": "found the ending '.npz'; name another file",
        tmp_path / "pipe.html": "found a folder or a device; name another file",
        tmp_path / "folder.html": "found a folder or a device; name another file",
    }.items():
        with pytest.raises(UserError, match=f"{re.escape(str(out))}: expected .*{re.escape(said)}"):
            page.write_live_page(folder, out)
    assert (folder / "checkpoint.npz").read_bytes() == before
    (tmp_path / "mine.html").write_text("earlier")
    (tmp_path / "alias").symlink_to(tmp_path / "mine.html")
    assert page.write_live_page(folder, tmp_path / "alias") == tmp_path / "mine.html"
    assert (tmp_path / "alias").is_symlink() and data_of((tmp_path / "mine.html").read_text())


def test_other_data_are_refused(tmp_path):
    folder, _ = saved(tmp_path)
    for n, said in (
        (60, "run was trained on images.npz with SHA-256"),
        (7, "has only 7; give the"),
    ):
        x = np.zeros((n, 9, 8))
        np.savez(tmp_path / "images.npz", x_train=x, x_test=x[:5])
        with pytest.raises(UserError, match=said):
            page.write_live_page(folder)


def test_images_without_labels(tmp_path):
    folder, _ = saved(tmp_path, data=images(labels=False))
    assert page.describe_run(folder)["labels"] is None


@pytest.mark.parametrize("kind", ["hvae", "flow", "vqvae"])
def test_other_models_are_refused(kind):
    model = make_model(kind, **({"network": "mlp"} if kind in ("hvae", "flow") else {}))
    with pytest.raises(UserError, match=f"shows model ae or vae or cvae or iwae, got {kind}"):
        describe_model(model)


def test_another_likelihood_is_not_offered_and_refused(monkeypatch, tmp_path, capsys):
    """A new entry of LIKELIHOODS has no JavaScript yet."""
    monkeypatch.setitem(registry.LIKELIHOODS, "fixed", lambda shape: Gaussian(0.5))
    data = Dataset.from_arrays(**images())
    for likelihood, offered in (("fixed", False), ("gaussian", True)):
        model = make_model("vae", "mlp", 2, likelihood, shape=data.shape, hidden=(5,))
        run = Trainer(model, data, Config(epochs=1, batch_size=20), tmp_path / likelihood)
        run.fit()
        print_live_page(run, {})
        assert ("to play with the model" in capsys.readouterr().out) == offered
        if not offered:
            with pytest.raises(UserError, match="shows likelihood bernoulli or gaussian, got fix"):
                describe_model(model)


def test_tables_other_channels_and_other_models_are_refused(tmp_path):
    for shape in ((5,), (2, 8, 8)):
        with pytest.raises(UserError, match="images of 1 or 3 channels"):
            describe_model(make_model("vae", "mlp", shape=shape))
    model = make_model("vae", "mlp")
    model.settings = None
    with pytest.raises(UserError, match="models of make_model"):
        describe_model(model)
    with pytest.raises(UserError, match="checkpoint"):
        page.write_live_page(tmp_path)


def test_a_run_on_arrays_names_its_remedy(tmp_path):
    data = Dataset.from_arrays(**images())
    model = make_model("vae", "mlp", 2, shape=data.shape, hidden=(5,))
    train(model, data, epochs=1, batch_size=20, folder=tmp_path / "run")
    with pytest.raises(UserError, match="--dataset"):
        page.write_live_page(tmp_path / "run")


def test_layers_and_weights_that_the_page_cannot_hold():
    class Mine(Linear):
        pass

    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="no layer Mine"):
        describe_layer(Mine(2, 3, rng=rng), np.float16)
    with pytest.raises(UserError, match="70000 is too large for float16"):
        pack(np.array([1.0, -7e4], np.float32), np.float16)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_kl_that_is_not_finite_makes_no_page(tmp_path):
    """JSON has no infinity, so the page would show nothing."""
    folder, data = saved(tmp_path)
    run = Trainer(load_model(folder), data, Config(epochs=9, batch_size=20), folder)
    run.restore(*load_checkpoint(folder / "checkpoint.npz"))
    run.model.encoder.logvar.bias.value = np.full(3, 6e4)
    run.save()
    with pytest.raises(UserError, match="the KL of the test examples is not finite"):
        page.write_live_page(folder)


def test_a_new_run_in_the_folder_takes_the_page_of_the_old_one_away(tmp_path):
    folder, data = saved(tmp_path)
    page.write_live_page(folder)
    train(load_model(folder), data, epochs=1, batch_size=20, folder=folder)
    assert not (folder / "live_page.html").exists()
    assert (folder / "earlier-1" / "live_page.html").exists()
