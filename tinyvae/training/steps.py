"""One training step: the gradient on a minibatch, a look at the loss, the update by the optimizer.

On a GPU a step is asked for long before it is done, and to read a number means to wait. So there
the loss is read a few times a second only; on the CPU it is read in every step.
"""

import time

import numpy as np

from tinyvae.engine.backend import array_module, to_host
from tinyvae.engine.schedules import require_weight
from tinyvae.errors import UserError
from tinyvae.models.base import Loss
from tinyvae.training.diagnosis import all_finite, first_not_finite
from tinyvae.training.parallel import DataParallel
from tinyvae.training.recorded import RecordedSteps

LOOK_EVERY = 0.3  # seconds between two readings of the loss on a GPU


class Diverged(UserError):
    """The loss or a gradient is not finite."""


class Steps:
    """The steps of a Trainer's epochs; the loss terms of step i are in row i of `losses`."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.on_gpu = array_module(trainer.model.theta) is not np
        self.records = self.on_gpu and trainer.ranks.size == 1  # whether a GPU repeats a step
        self.recorded = None
        self.losses = {}  # of each loss term: a table with a row for each step of an epoch
        self._looked, self._next_look = (0, time.perf_counter()), 0

    def begin_fit(self):
        """What was changed in the model or the optimizer since the last `fit` is recorded anew."""
        self.recorded = RecordedSteps(self) if self.records else None

    def begin_epoch(self):
        """Call it when the feed has begun the epoch."""
        if self.recorded is not None:
            self.recorded.begin()

    def do(self, i):
        """Do step i of the epoch; return its Loss if the loss was read, else None.

        Raises Diverged if the loss or the gradient was read and is not finite.
        """
        trainer = self.trainer
        beta, look = trainer.beta_at(trainer.step), self._may_wait(trainer.step)
        require_weight(beta=beta)
        replayed = self.recorded is not None and self.recorded.replay(i)
        if not replayed:
            examples = trainer.feed.size(i)
            loss = self.gradient(trainer.parallel, trainer.feed.inputs(i), beta, examples)
        elif look:
            terms = {name: table[i] for name, table in self.losses.items()}
            loss = Loss(terms, beta, trainer.config.free_bits)
        if look and not self._finite(loss):
            whole = DataParallel(trainer.model, free_bits=trainer.config.free_bits)
            raise self.diverged(lambda: self.gradient(whole, trainer.feed.whole(i), beta))
        if not replayed:
            self.update(loss, i)
        trainer.step += 1
        if look:
            self._plan_next_look()
        return loss if look else None

    def gradient(self, parallel, inputs, beta, examples=None):
        """The Loss of a minibatch; sets the model's gradient."""
        return parallel.gradient(*inputs, beta=beta, examples=examples)

    def update(self, loss, row, scalars=None):
        """Change theta by optimizer and model, and write the loss terms to a row of `losses`."""
        self.trainer.optimizer.step(self.trainer.parallel.threads.map, scalars)
        self.trainer.model.after_step()
        for name, term in loss.terms.items():
            if name not in self.losses:
                xp, steps = array_module(self.trainer.model.theta), self.trainer.steps_per_epoch
                self.losses[name] = xp.zeros((steps, *term.shape))
            self.losses[name][row] = term

    def sums(self, first, stop):
        """Of each loss term: the sum over the examples of the steps first, ..., stop - 1."""
        sums = {}
        for name, table in self.losses.items():
            rows = to_host(table).reshape(len(table), -1)
            sizes = map(self.trainer.feed.size, range(first, stop))
            sums[name] = [
                size * float(sum(row)) for size, row in zip(sizes, rows[first:stop], strict=True)
            ]
        return sums

    def diverged(self, compute):
        """The error that names what is not finite first in the model, or else in compute()."""
        trainer, remedy = self.trainer, "a smaller --lr"
        if not trainer.step:  # no step has been made, so the learning rate is not to blame
            remedy = "smaller weights of the loss terms, such as --beta, or with other data"
        return Diverged(
            f"training stopped at step {trainer.step}: {first_not_finite(trainer.model, compute)} "
            "is not finite; the last checkpoint is untouched, but going on from it would end here "
            f"again: start anew with {remedy}"
        )

    def _finite(self, loss):
        grad = self.trainer.model.grad
        # One product instead of a look at each number; a squared length that overflows is as bad.
        return all_finite(loss.total, grad @ grad)

    def _may_wait(self, step):
        """Whether to read from the device in this step. Ranks have waited already."""
        return not self.on_gpu or self.trainer.ranks.size > 1 or step >= self._next_look

    def _plan_next_look(self):
        """In LOOK_EVERY seconds, if the next steps take as long as those since the last look."""
        (step, then), now = self._looked, time.perf_counter()
        steps = (self.trainer.step - step) * LOOK_EVERY / (now - then)
        self._looked = self.trainer.step, now
        self._next_look = self.trainer.step - 1 + max(1, int(steps))
