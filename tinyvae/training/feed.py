"""What each training step reads: a minibatch of examples, their noise and their labels.

The order of the examples, the noise and a dynamic binarization depend only on the seed and the
epoch, see rng.py. So a resumed run reads the same numbers as a run that was never interrupted.
"""

import numpy as np

from tinyvae.data.batches import binarize, minibatches, to_float
from tinyvae.engine.backend import array_module
from tinyvae.rng import generator


class Feed:
    """The minibatches of a Dataset on the model's device: `begin` an epoch, then take `inputs`."""

    def __init__(self, model, data, config):
        self.model, self.data, self.config = model, data, config
        self.xp = array_module(model.theta)
        self.steps_per_epoch = -(-len(data.x_train) // config.batch_size)
        self.x = None  # the training examples on the device, see _upload
        self.labels = self.xp.asarray(data.y_train) if model.wants_labels else None

    def begin(self, epoch):
        """Draw the order and the noise of this epoch; make the examples ready on the device."""
        self._upload(epoch)
        config, n = self.config, len(self.data.x_train)
        self.batches = list(minibatches(n, config.batch_size, config.seed, epoch, self.xp))
        self.eps = None
        if self.model.noise_dim:
            shape = (config.samples, n, self.model.noise_dim)
            rng = generator(config.seed, "noise", epoch)
            eps = self.xp.asarray(rng.standard_normal(shape, np.float32))
            self.eps = eps[:, self.xp.concatenate(self.batches)]  # in the order of the steps

    def inputs(self, i):
        """The model's inputs in step i of the epoch: the arguments of `terms`."""
        index, first = self.batches[i], i * self.config.batch_size
        eps = None if self.eps is None else self.eps[:, first : first + len(index)]
        labels = None if self.labels is None else self.labels[index]
        return self.model.inputs(to_float(self.x[index]), eps, labels)

    def _upload(self, epoch):
        """Copy the examples to the device: once, or with dynamic binarization every epoch anew."""
        if self.x is None or self.config.binarize == "dynamic":
            rng = generator(self.config.seed, "binarize", epoch)
            self.x = self.xp.asarray(binarize(self.data.x_train, self.config.binarize, rng))
