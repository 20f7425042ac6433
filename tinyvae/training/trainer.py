"""The training loop: epochs of steps, a row of history for each epoch, a checkpoint after it.

The optimizer's state is saved with the weights, and all chance is a function of (seed, epoch). So
on one machine a resumed run ends bit for bit where an uninterrupted run ends.
"""

import json
import time
from pathlib import Path

import numpy as np

from tinyvae.data import Dataset, binarize, to_float
from tinyvae.engine.backend import array_module, memory_errors
from tinyvae.engine.optim import SGD, Adam
from tinyvae.engine.schedules import constant, linear_annealing
from tinyvae.errors import UserError
from tinyvae.rng import generator
from tinyvae.training import state
from tinyvae.training.checkpoint import save_checkpoint, write_csv, write_json
from tinyvae.training.config import Config
from tinyvae.training.diagnosis import all_finite, collapse_warning, not_finite
from tinyvae.training.evaluation import evaluate
from tinyvae.training.feed import Feed
from tinyvae.training.folder import known_of, locked, set_aside
from tinyvae.training.interrupt import interrupt_flag
from tinyvae.training.output import progress, say
from tinyvae.training.parallel import DataParallel, parts_of
from tinyvae.training.ranks import ALONE
from tinyvae.training.steps import Steps
from tinyvae.training.threads import cores

OPTIMIZERS = {"adam": Adam, "sgd": SGD}
# A row of history is measured on one test example for every 40 training examples, and on one
# training example for every 240, but on at least 100 of each. So it takes some 3% of an epoch.
TRAINED_PER_TEST, TRAINED_PER_PROBE, LEAST = 40, 240, 100
# About so many training examples are given to the model's end_epoch, in batches.
END_EXAMPLES, END_BATCH = 2000, 200


def train(model, data, epochs=20, *, folder=None, **settings):
    """Train a model and return the history, a list with one row (a dict) for each epoch.

    data: a Dataset, or an array that Dataset.from_arrays takes; settings: those of Config, such as
    lr and batch_size. With a folder the run is saved there, as Trainer does.
    Raises KeyboardInterrupt after Ctrl-C, and what Trainer raises.
    """
    data = data if isinstance(data, Dataset) else Dataset.from_arrays(data)
    trainer = Trainer(model, data, Config(epochs=epochs, **settings), folder)
    trainer.fit()
    if not trainer.finished:
        raise KeyboardInterrupt(f" after {len(trainer.history)} of {epochs} epochs")
    return trainer.history


class Trainer:
    """A model in training on a Dataset: everything that `save` writes and `restore` reads.

    model: a models.base.Model, on the device on which it is to be trained; folder: where to save,
    made when needed; None: nothing is saved. Raises UserError if model, data and config do not fit
    each other. Another schedule than the config's may be assigned to `beta_at`; assign it again
    before `restore`.
    ranks: of a distributed run; rank 0 alone writes to the folder.
    """

    def __init__(self, model, data, config=None, folder=None, ranks=ALONE):
        self.model, self.data, self.config, self.ranks = model, data, config or Config(), ranks
        self.folder = None if folder is None or ranks.rank else Path(folder)
        config, xp = self.config, array_module(model.theta)
        config.require_fits(model)
        if model.shape not in (None, data.shape):
            raise UserError(
                f"the model takes examples of shape {model.shape}, but {data.name} has examples of "
                f"shape {data.shape}; make the model with shape={data.shape}"
            )
        if model.wants_labels and data.y_train is None:
            raise UserError(f"the model learns from labels, but {data.name} has none; give labels")
        if model.classes:
            data.require_classes(model.classes)
        data.require_range(*model.support)
        model.require_examples(len(data.x_train))
        self.optimizer = OPTIMIZERS[config.optimizer](model, lr=config.lr)
        examples = min(config.batch_size, len(data.x_train))
        if examples < ranks.size:
            raise UserError(
                f"a batch of {examples} examples has no share for each of {ranks.size} ranks; "
                f"raise --batch-size, or start at most {examples} processes"
            )
        share = -(-examples // ranks.size)
        parts = parts_of(model, share * config.samples * model.weights_per_draw)
        threads = config.threads or max(1, cores() // ranks.here[1])
        self.parallel = DataParallel(model, parts, threads, config.free_bits, ranks)
        self.feed = Feed(model, data, config, ranks)
        rng = generator(config.seed, "binarize test")
        self.x_test = xp.asarray(binarize(data.x_test, config.binarize, rng))
        self.steps_per_epoch = self.feed.steps_per_epoch
        anneal_steps = config.kl_anneal * self.steps_per_epoch
        self.beta_at = (
            linear_annealing(config.beta, anneal_steps) if anneal_steps else constant(config.beta)
        )
        self.step = 0
        self.steps = Steps(self)
        self.seconds = 0.0  # of the current epoch
        self.sums = self._no_sums()  # of each loss term over the examples of the current epoch
        self.history = []
        self._own = None  # what was known of the last checkpoint that this run wrote
        self._schedule = self.beta_at

    @property
    def finished(self):
        """Whether all epochs of the config are done."""
        return self.step >= self.config.epochs * self.steps_per_epoch

    def fit(self, epochs=None):
        """Train until so many epochs are done (default: config.epochs), or until Ctrl-C; then save.

        Raises Diverged, leaving the last checkpoint, if the loss or the gradient is not finite, and
        UserError if the memory of the GPU or of the machine is full.
        """
        self.parallel.renew()  # the model may have been changed since
        about = self.about() | {"dataset_source": ""}  # a path may differ from machine to machine
        if self.folder and self.model.settings and about["model"] is None:
            say(
                "WARNING: the model was changed after make_model, so nobody can load it by "
                "load_model or --resume; keep the code that builds it"
            )
        text = json.dumps(about, sort_keys=True, default=str).encode()
        self.ranks.begin(np.frombuffer(text, np.uint8), self.model.theta)
        self.steps.begin_fit()
        goal = (self.config.epochs if epochs is None else epochs) * self.steps_per_epoch
        # Every step checks for itself, whatever the caller wants to hear of.
        with self._locked(), np.errstate(all="ignore"), interrupt_flag() as interrupted:
            self.save()
            while self.step < goal and not self.ranks.stop(interrupted.is_set()):
                try:
                    with memory_errors():
                        self._run_epoch(interrupted)
                except MemoryError as error:
                    raise UserError(
                        f"out of memory at a batch size of {self.config.batch_size} ({error}); "
                        "lower --batch-size, --samples or --train-size and train anew"
                    ) from error
                self.save()

    def _run_epoch(self, interrupted):
        """Do the remaining steps of the epoch; after the last one add the epoch's row."""
        start = time.perf_counter() - self.seconds
        n = len(self.data.x_train)
        first, (epoch, done) = self.step, divmod(self.step, self.steps_per_epoch)
        self.feed.begin(epoch)
        bar = progress(
            total=n,
            initial=min(n, done * self.config.batch_size),
            desc=f"epoch {epoch + 1}/{self.config.epochs}",
            unit=" examples",
            mininterval=0.5,
        )
        self.steps.begin_epoch()
        with bar, self.parallel.threads:
            for i in range(done, self.steps_per_epoch):
                loss = self.steps.do(i)
                bar.update(self.feed.size(i))
                if loss is not None:
                    self._show(bar, loss)
                if self.ranks.stop(interrupted.is_set()):
                    say("stopping: saving, then measuring (Ctrl-C again: stop at once)")
                    break
        for name, terms in self.steps.sums(done, done + self.step - first).items():
            for term in terms:
                self.sums[name] += term
        # On a GPU most losses are seen here for the first time.
        if not all_finite(np.array(list(self.sums.values())), self.model.theta):
            raise self.steps.diverged(lambda: None)
        self.seconds = time.perf_counter() - start
        if self.step % self.steps_per_epoch == 0:
            self._end_epoch(epoch + 1, start)

    def _show(self, bar, loss):
        numbers = {"loss": loss.total}
        if len(loss.terms) > 1:
            numbers |= {name: term.sum() for name, term in loss.terms.items()}
        bar.set_postfix({k: f"{float(v):.1f}" for k, v in numbers.items()}, refresh=False)

    def _no_sums(self):
        return dict.fromkeys(self.model.term_names, 0.0)

    def _end_epoch(self, epoch, start):
        """Add the epoch's row: train is the mean during the epoch, test is measured after it."""
        n, data = len(self.data.x_train), self.data
        rng = generator(self.config.seed, "end of epoch", epoch)
        self.model.end_epoch(self._some_batches(), rng)
        state = self.optimizer.state.values()
        what = f"other parameters after epoch {epoch}"
        remedy = "go on from the last checkpoint, with processors and libraries of one kind"
        self.ranks.require_equal(what, remedy, self.model.theta, *state)
        probe, test = self.ranks.from_first(
            lambda: (
                self._evaluate(self.feed.x, data.y_train, n // TRAINED_PER_PROBE),
                self._evaluate(self.x_test, data.y_test, n // TRAINED_PER_TEST),
            )
        )
        if not_finite(probe) or not_finite(test):
            raise self.steps.diverged(lambda: evaluate(self.model, self.x_test, data.y_test))
        train = {name: total / n for name, total in self.sums.items()}
        shown = ("total", *train)
        metrics = [k for k, v in test.items() if isinstance(v, float) and k not in shown]
        row = {"dataset": data.name, "epoch": epoch, "train_total": sum(train.values())}
        row |= {f"train_{name}": value for name, value in train.items()}
        row |= {f"train_{name}": probe[name] for name in metrics}
        row |= {f"test_{name}": test[name] for name in (*shown, *metrics)}
        if "kl" in train:
            row["beta"] = self.beta_at(self.step - 1)
        row |= {name: test[name] for name in ("active_units", "codes_in_use") if name in test}
        row["seconds"] = time.perf_counter() - start
        self.history.append(row)
        self.sums, self.seconds = self._no_sums(), 0.0
        parts = ", ".join(f"{name} {test[name]:.2f}" for name in train) if len(train) > 1 else ""
        say(
            f"epoch {epoch}: test {test['total']:.2f} nats per example"
            f"{f' ({parts})' if parts else ''}, {row['seconds']:.0f} s"
        )
        warning = collapse_warning(test.get("kl_per_dimension", ()))
        if warning and row["beta"] == self.config.beta:  # not while it is still being raised
            say(warning)

    def _some_batches(self):
        x = self.feed.x[:: max(1, len(self.feed.x) // END_EXAMPLES)]
        for start in range(0, len(x), END_BATCH):
            yield to_float(x[start : start + END_BATCH], self.model.theta.dtype)

    def _evaluate(self, x, labels, count):
        """Numbers on at least `count` of the examples, and LEAST, evenly spaced; or on all."""
        every = max(1, len(x) // max(count, LEAST))
        labels = labels[::every] if self.model.wants_labels else None
        return evaluate(self.model, x[::every], labels, seed=self.config.seed)

    def save(self):
        """Write checkpoint.npz, then config.json and history.csv, which only repeat parts of it.

        If the folder holds the results of another run, they are set aside first.
        """
        if self.folder is None:
            return
        with self._locked():
            path = self.folder / "checkpoint.npz"
            own = self._own is not None and self._own == known_of(path)
            if not own and (other := set_aside(self.folder)):
                say(f"the results of another run are now in {other}")
            about, arrays = self.about(), state.arrays(self.model, self.optimizer)
            save_checkpoint(path, arrays, about | state.progress(self))
            self._own = known_of(path)
            self._repeat(write_json, "config.json", about)
            if self.history:
                self._repeat(write_csv, "history.csv", self.history)

    def _repeat(self, write, name, content):
        """Write a file that repeats the checkpoint. Where that is impossible, training goes on."""
        try:
            write(self.folder / name, content)
        except OSError as error:  # on Windows a spreadsheet locks the file that it shows
            say(
                f"WARNING: {self.folder / name} was not written ({error.strerror or error}); "
                "training goes on, and checkpoint.npz holds the same"
            )

    def _locked(self):
        """While this lasts, no other run may write to the folder."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        return locked(self.folder)

    def restore(self, arrays, about):
        """Go on from load_checkpoint's result.

        Raises UserError, and changes nothing, if it is of another run or does not fit together.
        """
        state.require_data(about, self.data)
        state.require_same_run(about, self.about())
        state.require_progress(about, self.model.term_names, self.steps_per_epoch)
        state.require_arrays(arrays, state.arrays(self.model, self.optimizer))
        state.require_steps(arrays, about["step"])
        state.restore_optimizer(self.optimizer, about)
        self.model.load_state_dict(state.arrays_under("model/", arrays))
        for name, value in state.arrays_under("optimizer/", arrays).items():
            vector = self.optimizer.state[name]
            vector[...] = array_module(vector).asarray(value)
        self.step, self.seconds = about["step"], about["seconds"]
        self.sums, self.history = about["sums"], about["history"]
        self._own = known_of(self.folder / "checkpoint.npz") if self.folder else None

    @property
    def own_schedule(self):
        """Whether `beta_at` is another schedule than the config's."""
        return self.beta_at is not self._schedule

    def about(self):
        """What determines the run: settings, model, data and versions."""
        return state.settings(self)
