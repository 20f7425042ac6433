import gzip
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np
import pooch
import pytest

from tinyvae.data import mnist
from tinyvae.data.idx import idx_header
from tinyvae.data.mnist import DatasetUnavailable, MnistFile, load_mnist
from tinyvae.errors import UserError

REAL_MNIST = os.environ.get("TINYVAE_DATA")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache folder, no other place to look in, and no network."""
    monkeypatch.delenv("TINYVAE_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(mnist, "MIRRORS", ())
    return tmp_path / "cache"


@pytest.fixture
def contents(monkeypatch):
    """A small MNIST: each file's uncompressed bytes by name, and the hashes that go with them."""
    rng = np.random.default_rng(0)
    contents, files = {}, {}
    for part, file in mnist.FILES.items():
        n = 7 if part.endswith("train") else 3
        shape = (n, *file.shape[1:])
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        content = idx_header(shape) + pixels.tobytes()
        contents[file.name] = content
        files[part] = MnistFile(file.name, shape, sha256(content), sha256(published(content)))
    monkeypatch.setattr(mnist, "FILES", files)
    return contents


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def published(content):
    return gzip.compress(content, mtime=0)


def put(folder, contents, compressed=True):
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        if compressed:  # at another level than the published file, which must not matter
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
        else:
            (folder / name).write_bytes(content)
    return folder


class Mirrors:
    """A server on this machine: path -> (status, bytes announced, bytes sent); counts requests."""

    def __init__(self):
        self.pages, self.requests, self.awake = {}, [], threading.Event()
        self.awake.set()
        mirrors = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirrors.awake.wait(3)
                mirrors.requests.append(self.path)
                status, announced, body = mirrors.pages.get(self.path, (404, 0, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(announced))
                self.end_headers()
                with suppress(BrokenPipeError):  # a client that waits no longer
                    self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, folder, contents):
        for name, content in contents.items():
            body = published(content)
            self.pages[f"/{folder}/{name}.gz"] = (200, len(body), body)


@pytest.fixture
def mirrors(monkeypatch):
    mirrors = Mirrors()
    monkeypatch.setattr(mnist, "MIRRORS", (f"{mirrors.url}/first/", f"{mirrors.url}/second/"))
    yield mirrors
    mirrors.awake.set()
    mirrors.server.shutdown()
    mirrors.server.server_close()


def check(dataset, contents):
    """The data set is the one in these files."""
    for part, file in mnist.FILES.items():
        array = getattr(dataset, part)
        assert array.astype(np.uint8).tobytes() == contents[file.name][4 + 4 * len(file.shape) :]
    assert dataset.name == "MNIST"
    assert dataset.x_train.shape == (7, 1, 28, 28) and dataset.y_train.shape == (7,)
    assert dataset.x_test.shape == (3, 1, 28, 28) and dataset.y_test.shape == (3,)
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.uint8
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64


def files_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("compressed", [True, False])
def test_read_from_data_dir_environment_and_cache(
    monkeypatch, tmp_path, cache, contents, compressed
):
    folder = put(tmp_path / "mine", contents, compressed)
    check(load_mnist(folder), contents)
    with pytest.raises(DatasetUnavailable):
        load_mnist()
    monkeypatch.setenv("TINYVAE_DATA", str(folder))
    check(load_mnist(), contents)
    monkeypatch.delenv("TINYVAE_DATA")
    put(cache, contents, compressed)
    check(load_mnist(), contents)


def test_the_first_place_that_has_a_file_is_taken(monkeypatch, tmp_path, cache, contents):
    """data_dir, then environment, then cache: a damaged file would be noticed if it were read."""
    damaged = dict.fromkeys(contents, b"damaged")
    first, second = put(tmp_path / "first", contents), put(tmp_path / "second", damaged)
    put(cache, damaged)
    monkeypatch.setenv("TINYVAE_DATA", str(second))
    check(load_mnist(first), contents)
    with pytest.raises(UserError, match="second"):
        load_mnist()
    put(second, contents)
    check(load_mnist(), contents)


def test_places_complete_each_other(tmp_path, cache, contents):
    names = list(contents)
    put(cache, {name: contents[name] for name in names[1:]})
    check(load_mnist(put(tmp_path / "mine", {names[0]: contents[names[0]]})), contents)


def test_wrong_pixels_are_refused(tmp_path, contents):
    folder = put(tmp_path / "mine", contents)
    name = "t10k-images-idx3-ubyte"
    changed = contents[name][:-1] + bytes([contents[name][-1] ^ 1])
    put(folder, {name: changed})
    with pytest.raises(UserError, match="SHA-256") as caught:
        load_mnist(folder)
    assert str(folder / f"{name}.gz") in str(caught.value)
    assert "delete it to have it downloaded again" in str(caught.value)
    assert not isinstance(caught.value, DatasetUnavailable)


def test_a_truncated_cache_file_is_refused(cache, contents):
    put(cache, contents)
    path = cache / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="delete it to have it downloaded again") as caught:
        load_mnist()
    assert str(path) in str(caught.value)


def test_a_missing_folder_is_named(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"--data-dir.*nowhere") as caught:
        load_mnist(tmp_path / "nowhere")
    assert not isinstance(caught.value, DatasetUnavailable)
    monkeypatch.setenv("TINYVAE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"TINYVAE_DATA.*nothing"):
        load_mnist()


def test_download_once(mirrors, cache, contents, capsys):
    mirrors.serve("first", contents)
    check(load_mnist(), contents)
    assert "100%" in capsys.readouterr().err  # the progress bar
    assert files_in(cache) == sorted(f"{name}.gz" for name in contents)
    assert len(mirrors.requests) == 4
    check(load_mnist(), contents)
    assert len(mirrors.requests) == 4


@pytest.mark.parametrize(
    "page",
    [(403, 0, b""), (200, 7, b"another"), (200, 1000, b"breaks off"), (200, 0, b"")],
    ids=["forbidden", "other bytes", "broken off", "empty"],
)
def test_the_second_mirror_steps_in(mirrors, cache, contents, page):
    mirrors.serve("second", contents)
    mirrors.pages["/first/t10k-images-idx3-ubyte.gz"] = page
    check(load_mnist(), contents)
    assert files_in(cache) == sorted(f"{name}.gz" for name in contents)


@pytest.mark.parametrize(
    "page, reason",
    [
        ((403, 0, b""), "403 Client Error"),
        ((200, 7, b"another"), "SHA256"),
        ((200, 1000, b"breaks off"), "Incomplete|hash"),
    ],
    ids=["forbidden", "other bytes", "broken off"],
)
def test_no_mirror_has_it(mirrors, cache, tmp_path, contents, page, reason):
    mirrors.serve("first", contents)
    for folder in ("first", "second"):
        mirrors.pages[f"/{folder}/t10k-labels-idx1-ubyte.gz"] = page
    with pytest.raises(DatasetUnavailable, match=reason) as caught:
        load_mnist()
    message = str(caught.value)
    for part in ("t10k-labels", str(cache), "/first/", "/second/"):
        assert part in message
    for remedy in ("--data-dir", "TINYVAE_DATA", "--dataset digits"):
        assert remedy in message
    assert "\n" not in message
    assert len(files_in(cache)) == 3 and all(name.endswith("ubyte.gz") for name in files_in(cache))


def test_a_named_folder_without_mnist_is_an_error(monkeypatch, mirrors, tmp_path, contents):
    """Nothing is downloaded, and "auto" does not take the synthetic digits."""
    mirrors.serve("first", contents)
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(UserError, match="--data-dir to name .*found nothing in .*mine") as caught:
        load_mnist(folder)
    assert not isinstance(caught.value, DatasetUnavailable)
    (folder / "train.csv").write_text("1")
    monkeypatch.setenv("TINYVAE_DATA", str(folder))
    with pytest.raises(UserError, match="TINYVAE_DATA to name .*found train.csv in") as caught:
        load_mnist()
    assert not isinstance(caught.value, DatasetUnavailable)
    check(load_mnist(put(tmp_path / "whole", contents)), contents)  # the other is not needed
    assert mirrors.requests == []


def test_a_named_folder_with_some_files_and_no_network_is_an_error(tmp_path, contents):
    name = "t10k-images-idx3-ubyte"
    with pytest.raises(UserError, match="mine.* could not be downloaded") as caught:
        load_mnist(put(tmp_path / "mine", {name: contents[name]}))
    assert not isinstance(caught.value, DatasetUnavailable)


def dotted(name):
    return name.replace("-idx", ".idx")


@pytest.mark.parametrize(
    "layout",
    [
        dotted,
        lambda name: f"MNIST/raw/{name}",
        lambda name: f"raw/{dotted(name)}",
        lambda name: f"{name}/{dotted(name)}",
        lambda name: f"{name}/{name}",
        lambda name: f"archive/{dotted(name)}/{name}",
        lambda name: name.replace("-", "_"),
        str.upper,
    ],
)
@pytest.mark.parametrize("pack, ending", [(bytes, ""), (gzip.compress, ".gz")])
def test_other_common_names_and_folders(tmp_path, contents, layout, pack, ending):
    for name, content in contents.items():
        path = tmp_path / "mine" / (layout(name) + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(content))
    check(load_mnist(tmp_path / "mine"), contents)


def test_the_checksum_decides_between_data_sets_that_share_their_names(tmp_path, contents):
    """As torchvision lays out MNIST beside Fashion-MNIST."""
    other = {name: content[:-1] + bytes([content[-1] ^ 1]) for name, content in contents.items()}
    for name, files in {"FashionMNIST": other, "MNIST": contents}.items():
        (tmp_path / name).mkdir()
        put(tmp_path / name / "raw", files)
    check(load_mnist(tmp_path), contents)
    with pytest.raises(UserError, match="SHA-256.*another data set give its folder to --dataset"):
        load_mnist(tmp_path / "FashionMNIST")


def test_a_file_of_another_shape_is_not_unpacked(tmp_path, contents):
    folder = put(tmp_path / "mine", contents)
    bomb = idx_header((4000, 28, 28)) + bytes(4000 * 28 * 28)
    put(folder, {"train-images-idx3-ubyte": bomb})
    with pytest.raises(UserError, match=r"expected an array of shape \(7, 28, 28\)"):
        load_mnist(folder)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path, contents):
    folder = put(tmp_path / "mine", contents, compressed=False)
    path = folder / "train-labels-idx1-ubyte"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="found a FIFO") as caught:
        load_mnist(folder)
    assert "downloaded again" not in str(caught.value)


def test_no_network(mirrors, cache, contents):
    mirrors.server.server_close()
    with pytest.raises(DatasetUnavailable, match="refused") as caught:
        load_mnist()
    assert "HTTPConnectionPool" not in str(caught.value)  # the cause, not its wrappings
    assert files_in(cache) == []


def test_a_silent_mirror_is_given_up(monkeypatch, mirrors, cache, contents):
    """It would answer, but long after the time limit."""
    monkeypatch.setattr(mnist, "TIMEOUT", 0.2)
    mirrors.serve("first", contents)
    mirrors.awake.clear()
    with pytest.raises(DatasetUnavailable, match="timed out"):
        load_mnist()
    assert files_in(cache) == []


def test_a_cache_that_cannot_be_written(mirrors, cache, contents):
    mirrors.serve("first", contents)
    cache.write_text("a file where the folder should be")
    with pytest.raises(DatasetUnavailable, match="could not be downloaded"):
        load_mnist()


def test_importing_data_imports_no_downloader():
    code = "import sys, tinyvae.data; print(*{'pooch', 'requests', 'tqdm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.skipif(not REAL_MNIST, reason="TINYVAE_DATA names no folder with MNIST")
def test_the_real_one():
    dataset = load_mnist(REAL_MNIST)
    assert dataset.x_train.shape == (60000, 1, 28, 28)
    assert dataset.x_test.shape == (10000, 1, 28, 28)
    assert dataset.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(dataset.y_test).min() == 892
