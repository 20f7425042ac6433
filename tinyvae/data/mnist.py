"""MNIST comes from a folder of the user, from the cache, or once from the network.

Wherever a file was found, the SHA-256 of its uncompressed bytes decides whether it is MNIST's.
"""

import hashlib
import os
import sys
from typing import NamedTuple

import numpy as np

from tinyvae.data.dataset import Dataset
from tinyvae.data.idx import DamagedFile, find_idx, idx_header, read_idx
from tinyvae.data.reading import contents, permission_denied
from tinyvae.errors import UserError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
TIMEOUT = 10  # seconds without an answer, so that a machine without network goes on soon


class MnistFile(NamedTuple):
    name: str  # uncompressed; ".gz" is appended for the published file
    shape: tuple
    sha256: str  # of the uncompressed bytes, which survive a re-compression
    gz_sha256: str  # of the published file


FILES = {
    "x_train": MnistFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "y_train": MnistFile(
        "train-labels-idx1-ubyte",
        (60_000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "x_test": MnistFile(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "y_test": MnistFile(
        "t10k-labels-idx1-ubyte",
        (10_000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}


class DatasetUnavailable(UserError):
    """Nobody named a folder with the data set, and it could not be downloaded."""


def load_mnist(data_dir=None):
    """MNIST as a Dataset: 60,000 images to train on and 10,000 to test on.

    Each file, compressed or not, is taken from the first folder that has it: data_dir, the folder
    in $TINYVAE_DATA, the user's cache; otherwise it is downloaded into the cache. See find_idx for
    the names of files that are recognized in a folder.
    Raises UserError where a named folder is missing or has none of the files, and for a damaged
    file; raises DatasetUnavailable where no folder was named and the download fails.
    """
    paths, folders = {}, _folders(data_dir)
    for option, folder in folders.items():
        if len(paths) < len(FILES):
            found = _find(folder)
            if option != "cache" and not found:
                raise UserError(
                    f"expected {option} to name a folder with MNIST's files "
                    f"({', '.join(file.name for file in FILES.values())}, or .gz of them), found "
                    f"{contents(folder)} in {folder}; correct it or leave it out"
                )
            paths = found | paths
    for part, file in FILES.items():
        if part not in paths:
            paths[part] = [_download(file, folders)]
    arrays = {part: _read_verified(paths[part], file) for part, file in FILES.items()}
    return Dataset(
        "MNIST",
        x_train=arrays["x_train"][:, None],
        y_train=arrays["y_train"].astype(np.int64),
        x_test=arrays["x_test"][:, None],
        y_test=arrays["y_test"].astype(np.int64),
    )


def _folders(data_dir):
    """Where to look, by the option that names the folder; the cache comes last."""
    import pooch  # here because it takes time that only MNIST is worth

    given = {"--data-dir": data_dir, "TINYVAE_DATA": os.environ.get("TINYVAE_DATA")}
    given = {option: folder for option, folder in given.items() if folder}
    for option, folder in given.items():
        if not os.path.isdir(folder):
            raise UserError(
                f"expected {option} to name a folder with MNIST's files, got {folder}, which is no "
                f"folder; correct it or leave it out"
            )
        if not os.access(folder, os.R_OK | os.X_OK):
            raise UserError(permission_denied(folder))
    return given | {"cache": pooch.os_cache("tinyvae")}


def _find(folder):
    """The files in a folder that could be MNIST's by their names: {part: paths}."""
    found = {}
    for _, _, parts in find_idx(folder):  # another data set's files can have the same names
        for part, paths in parts.items():
            found.setdefault(part, []).extend(paths)
    return found


def _download(file, folders):
    """Fetch one file into the cache; nothing partial is left there."""
    import pooch

    cache = folders["cache"]
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{file.name}.gz"
        print(f"Downloading {url} to {cache}", file=sys.stderr)
        try:
            return pooch.retrieve(
                url,
                known_hash=f"sha256:{file.gz_sha256}",
                fname=f"{file.name}.gz",
                path=cache,
                downloader=downloader,
            )
        except (OSError, ValueError) as error:  # the network or the disk; the checksum
            failures.append(f"{mirror}: {_root_cause(error)}")
    named_none, places = len(folders) == 1, ", ".join(map(str, folders.values()))
    raise (DatasetUnavailable if named_none else UserError)(
        f"MNIST's file {file.name} is not in {places} and could not be downloaded "
        f"({'; '.join(failures)}); name a folder that has MNIST's four files with "
        f"--data-dir or TINYVAE_DATA, or choose the synthetic digits with --dataset digits"
    )


def _root_cause(error):
    """The innermost exception, in one line: the outer exceptions hide "no network" in internals."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())


def _read_verified(paths, file):
    """The array in the first of these files whose hash is the published one."""
    refusals = []
    for path in paths:
        try:
            array = read_idx(path, len(file.shape), file.shape)
        except DamagedFile as error:
            refusals.append(f"{error}, or delete it to have it downloaded again")
            continue
        digest = hashlib.sha256(idx_header(array.shape))  # header and array are the whole file
        digest.update(array)
        if digest.hexdigest() == file.sha256:
            return array
        refusals.append(
            f"{path}: expected MNIST's {file.name}, whose uncompressed bytes have the SHA-256 "
            f"{file.sha256}, found {digest.hexdigest()}; replace it by an intact copy, delete it "
            f"to have it downloaded again, or if it belongs to another data set give its folder "
            f"to --dataset"
        )
    raise UserError(refusals[0])
