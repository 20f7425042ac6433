"""The recorded step of training on a GPU, for benchmarks/variants.py."""

import numpy as np
from variants import LATENT_DIM, POOLS, STEPS, epoch, inputs

from tinyvae import get_backend, make_model, to_host
from tinyvae.data import Dataset
from tinyvae.training.config import Config
from tinyvae.training.trainer import Trainer


def trainer_of_an_epoch(options):
    """A Trainer before its first step, which is ready to be recorded."""
    xp, (images, noise, order) = get_backend(options.backend), epoch(*inputs(options.batch_size))
    model = make_model(network=options.network, latent_dim=LATENT_DIM).to(xp)
    data = Dataset("random", images, None, images[:1], None)
    trainer = Trainer(model, data, Config(batch_size=options.batch_size))
    trainer.feed.begin(0)
    trainer.feed.order[...], trainer.feed.eps[...] = xp.asarray(order), xp.asarray(noise)
    trainer.steps.begin_fit()
    trainer.steps.begin_epoch()
    weights = model.theta.copy()
    trainer.steps.do(0)  # the first step of all is not recorded; undo it
    model.theta[...], trainer.step = weights, 0
    for array in trainer.optimizer.state.values():
        array[...] = 0
    return trainer


def task(options):
    """(run, about) as in variants.py: run does the next step of the epoch, which begins anew."""
    trainer = trainer_of_an_epoch(options)
    POOLS.append(trainer.steps.recorded.pool)

    def run():
        i = trainer.step % STEPS
        if i == 0:
            trainer.steps.begin_epoch()
        trainer.steps.do(i)
        if not trainer.steps.records:
            raise RuntimeError("the step cannot be recorded")
        losses = trainer.steps.losses.values()
        return lambda: sum(float(table[i].sum()) for table in losses)

    return run, lambda: {"norm": float(np.linalg.norm(to_host(trainer.model.grad)))}
