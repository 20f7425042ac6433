"""The training loop: epochs of steps, a row of history for each epoch, a checkpoint after it.

Noise, order and binarization are functions of (seed, epoch), and the optimizer's state is saved
with the weights; so on one machine a resumed run ends bit for bit where an uninterrupted one does.
"""

import csv
import io
import math
import platform
import time
from dataclasses import asdict

import numpy as np
from tqdm import tqdm

import tinyvae
from tinyvae.data.batches import binarize, minibatches, to_float
from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.optim import SGD, Adam
from tinyvae.engine.schedules import constant, linear_annealing
from tinyvae.errors import UserError
from tinyvae.models.networks import make_model
from tinyvae.models.vae import VAE
from tinyvae.rng import generator
from tinyvae.training.checkpoint import save_checkpoint, write_atomically, write_json
from tinyvae.training.diagnosis import all_finite, collapse_warning, first_not_finite
from tinyvae.training.evaluation import evaluate
from tinyvae.training.interrupt import interrupt_flag
from tinyvae.training.parallel import DataParallel, Threads

# A row of history is measured on one test image for every 40 images that are trained on, and on one
# training image for every 240, so that it takes some 3% of an epoch; but on at least 100 of each.
TRAINED_PER_TEST, TRAINED_PER_PROBE, LEAST = 40, 240, 100
THREADS = {"conv": 2, "mlp": 1}  # by measurement: docs/performance.md
SYNC_EVERY = 50  # steps between two looks at the loss on a GPU, where looking means waiting


class Diverged(UserError):
    """The loss or a gradient is not finite."""


class Trainer:
    """A model in training on a Dataset: everything that `save` writes and `resume` reads.

    config: Config; xp: numpy or cupy; folder: a pathlib.Path that exists.
    """

    def __init__(self, config, data, folder, xp=np):
        self.config, self.data, self.folder = config, data, folder
        self.model = make_model(
            config.model, config.network, config.latent_dim, config.likelihood, config.seed
        ).to(xp)
        optimizers = {"adam": Adam, "sgd": SGD}
        self.optimizer = optimizers[config.optimizer](self.model, lr=config.lr)
        self.threads = Threads((config.threads or THREADS[config.network]) if xp is np else 1)
        self.parallel = DataParallel(self.model, self.threads)
        self.x_train = None  # as bytes: see _upload_images
        self.x_test = xp.asarray(
            binarize(data.x_test, config.binarize, generator(config.seed, "binarize test"))
        )
        self.steps_per_epoch = -(-len(data.x_train) // config.batch_size)
        anneal_steps = config.kl_anneal * self.steps_per_epoch
        self.beta_at = (
            linear_annealing(config.beta, anneal_steps) if anneal_steps else constant(config.beta)
        )
        self.step = 0
        self.seconds = 0.0  # of the current epoch
        self.sums = np.zeros(2)  # reconstruction and KL over the images of the current epoch
        self.history = []

    @property
    def finished(self):
        return self.step >= self.config.epochs * self.steps_per_epoch

    def fit(self):
        """Train until config.epochs are done, or until Ctrl-C; saved in either case.

        Raises Diverged, leaving the last checkpoint, if the loss or the gradient is not finite, and
        UserError if memory runs out, that of a GPU or the machine's.
        """
        self.save()
        ignored = np.errstate(over="ignore", invalid="ignore")  # every step looks for itself
        with ignored, interrupt_flag() as interrupted:
            while not self.finished and not interrupted.is_set():
                try:
                    self._run_epoch(interrupted)
                except MemoryError as error:  # CuPy's OutOfMemoryError is one
                    raise UserError(
                        f"out of memory at a batch size of {self.config.batch_size} ({error}); "
                        "lower --batch-size, --samples or --train-size and train anew"
                    ) from error
                self.save()

    def _run_epoch(self, interrupted):
        """Do the steps of the epoch that are still to be done; all of them: add its row."""
        start = time.perf_counter() - self.seconds
        n = len(self.data.x_train)
        epoch, done = divmod(self.step, self.steps_per_epoch)
        self._upload_images(epoch)
        eps, batches = self._draw(epoch)
        bar = tqdm(
            total=n,
            initial=min(n, done * self.config.batch_size),
            desc=f"epoch {epoch + 1}/{self.config.epochs}",
            unit=" images",
            mininterval=0.5,
        )
        losses, sizes = [], []
        with bar, self.threads:
            for first, index in batches[done:]:
                loss = self._train_step(*self._minibatch(eps, first, index))
                losses.append(loss)
                sizes.append(len(index))
                bar.update(len(index))
                if self._look(self.step - 1):
                    self._show(bar, loss)
                if interrupted.is_set():
                    tqdm.write("stopping: saving, then measuring (Ctrl-C again: stop at once)")
                    break
        for size, (reconstruction, *kl) in zip(sizes, _terms(losses), strict=True):
            self.sums = self.sums + [size * reconstruction, size * sum(kl)]
        if not all_finite(self.sums, self.model.theta):  # of steps that nobody looked at
            raise self._diverged(lambda: None)
        self.seconds = time.perf_counter() - start
        if self.step % self.steps_per_epoch == 0:
            self._end_epoch(epoch + 1, start)

    def _draw(self, epoch):
        """What an epoch draws: the noise in the order of the steps (None for an autoencoder), and
        each minibatch: where it begins in this order, and which images it takes.
        """
        config, seed = self.config, self.config.seed
        xp, n = array_module(self.model.theta), len(self.data.x_train)
        batches = list(minibatches(n, config.batch_size, seed, epoch, xp))
        eps = None
        if isinstance(self.model, VAE):
            shape = (config.samples, n, config.latent_dim)
            eps = xp.asarray(generator(seed, "noise", epoch).standard_normal(shape, np.float32))
            eps = eps[:, xp.concatenate(batches)]
        return eps, [(i * config.batch_size, index) for i, index in enumerate(batches)]

    def _upload_images(self, epoch):
        """To the model's device, once; in every epoch anew if they are binarized by chance."""
        if self.x_train is None or self.config.binarize == "dynamic":
            rng = generator(self.config.seed, "binarize", epoch)
            images = binarize(self.data.x_train, self.config.binarize, rng)
            self.x_train = array_module(self.model.theta).asarray(images)

    def _minibatch(self, eps, first, index):
        x = to_float(self.x_train[index])
        return x, None if eps is None else eps[:, first : first + len(index)]

    def _train_step(self, x, eps):
        loss = self._gradient(self.parallel, x, eps)
        if self._look(self.step) and not self._finite(loss):
            whole = DataParallel(self.model, Threads(1))
            raise self._diverged(lambda: self._gradient(whole, x, eps))
        self.optimizer.step(self.threads.map)
        self.step += 1
        return loss

    def _gradient(self, parallel, x, eps):
        return parallel.gradient(x, eps, self.beta_at(self.step), self.config.free_bits)

    def _finite(self, loss):
        grad = self.model.grad
        # A quarter of the time of a look at each number; a length that overflows is as bad.
        return all_finite(loss.total, grad @ grad)

    def _diverged(self, compute):
        return Diverged(
            f"training stopped at step {self.step}: {first_not_finite(self.model, compute)} is not "
            "finite; the last checkpoint is untouched, but going on from it would end here again: "
            "start anew with a smaller --lr"
        )

    def _look(self, step):
        """Whether to read from the device in a step: always on the host, rarely on a GPU."""
        return array_module(self.model.theta) is np or step % SYNC_EVERY == 0

    def _show(self, bar, loss):
        numbers = {"loss": float(loss.total)}
        if isinstance(self.model, VAE):
            numbers |= {"reconstruction": float(loss.reconstruction), "KL": float(loss.kl.sum())}
        bar.set_postfix({k: f"{v:.1f}" for k, v in numbers.items()}, refresh=False)

    def _end_epoch(self, epoch, start):
        """Add the epoch's row: train is the mean during the epoch, test the model after it."""
        n = len(self.x_train)
        train = self.sums / n
        probe = evaluate(
            self.model, _spread(self.x_train, n // TRAINED_PER_PROBE), self.config.seed
        )
        test = evaluate(self.model, _spread(self.x_test, n // TRAINED_PER_TEST), self.config.seed)
        if not math.isfinite(test["total"]):
            raise self._diverged(lambda: evaluate(self.model, self.x_test[:1]))
        row = {
            "dataset": self.data.name,
            "epoch": epoch,
            "train_total": float(train.sum()),
            "train_reconstruction": float(train[0]),
            "train_kl": float(train[1]),
            "train_mse": probe["mse"],
            **{f"test_{name}": test[name] for name in ("total", "reconstruction", "kl", "mse")},
            "beta": self.beta_at(self.step - 1) if isinstance(self.model, VAE) else 0.0,
            "active_units": test["active_units"],
            "seconds": time.perf_counter() - start,
        }
        self.history.append(row)
        self.sums, self.seconds = np.zeros(2), 0.0
        tqdm.write(
            f"epoch {epoch}: test {row['test_total']:.2f} nats per image (reconstruction "
            f"{row['test_reconstruction']:.2f}, KL {row['test_kl']:.2f}), {row['seconds']:.0f} s"
        )
        warning = collapse_warning(test["kl_per_dimension"])
        if warning and row["beta"] == self.config.beta:  # not while it is still being raised
            tqdm.write(warning)

    def save(self):
        """Write checkpoint.npz, then config.json and history.csv, which only repeat it."""
        about = self.about()
        progress = {
            "step": self.step,
            "epoch": self.step // self.steps_per_epoch,
            "seconds": self.seconds,
            "history": self.history,
        }
        save_checkpoint(self.folder / "checkpoint.npz", self._arrays(), about | progress)
        write_json(self.folder / "config.json", about)
        if self.history:
            text = io.StringIO()
            writer = csv.DictWriter(text, self.history[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.history)
            write_atomically(
                self.folder / "history.csv", lambda file: file.write(text.getvalue().encode())
            )

    def restore(self, arrays, about):
        """Go on from load_checkpoint's result. Raises UserError if it is of another run."""
        if about["dataset_sha256"] != self.data.fingerprint:
            raise UserError(
                f"the run was trained on {about['dataset']} with SHA-256 "
                f"{about['dataset_sha256'][:12]}..., but this {self.data.name} has "
                f"{self.data.fingerprint[:12]}...; give the same data to resume it"
            )
        if arrays.keys() != self._arrays().keys():
            raise UserError("the checkpoint lacks arrays of the run's model; train anew")
        self.model.load_state_dict(_below("model/", arrays))
        for name, value in _below("optimizer/", arrays).items():
            state = self.optimizer.state[name]
            state[...] = array_module(state).asarray(value)
        self.sums, self.step = arrays["sums"], about["step"]
        self.seconds, self.history = about["seconds"], about["history"]

    def _arrays(self):
        """All that changes from step to step, as arrays on the host."""
        arrays = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        for name, value in self.optimizer.state.items():
            arrays[f"optimizer/{name}"] = to_host(value)
        return arrays | {"sums": self.sums}

    def about(self):
        """What determines the run: settings, data and versions."""
        xp = array_module(self.model.theta)
        return {
            "config": asdict(self.config),
            "dataset": self.data.name,
            "dataset_sha256": self.data.fingerprint,
            "train_examples": len(self.data.x_train),
            "test_examples": len(self.data.x_test),
            "versions": {
                "tinyvae": tinyvae.__version__,
                "numpy": np.__version__,
                xp.__name__: xp.__version__,
                "python": platform.python_version(),
            },
        }


def _terms(losses):
    """The reconstruction and each dimension's KL of all losses, (steps, 1 + L): one download."""
    if not losses:
        return []
    xp = array_module(losses[0].reconstruction)
    reconstruction = xp.stack([loss.reconstruction for loss in losses])[:, None]
    return to_host(xp.concatenate([reconstruction, xp.stack([loss.kl for loss in losses])], axis=1))


def _spread(images, count):
    """At least `count` of the images, and LEAST, evenly spaced; all, where there are no more."""
    return images[:: max(1, len(images) // max(count, LEAST))]


def _below(prefix, arrays):
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
