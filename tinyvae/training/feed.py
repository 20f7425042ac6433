"""What each training step reads: a minibatch of examples, their noise and their labels.

The order of the examples, the noise and a dynamic binarization depend only on the seed and the
epoch, see rng.py. So a resumed run reads the same numbers as a run that was never interrupted.
"""

import numpy as np

from tinyvae.data.batches import binarize, minibatches, to_float
from tinyvae.engine.backend import array_module
from tinyvae.rng import generator
from tinyvae.training.ranks import ALONE


class Feed:
    """The minibatches of a Dataset on the model's device: `begin` an epoch, then take `inputs`."""

    def __init__(self, model, data, config, ranks=ALONE):
        self.model, self.data, self.config, self.ranks = model, data, config, ranks
        self.xp = array_module(model.theta)
        self.batch_size = min(config.batch_size, len(data.x_train))
        self.steps_per_epoch = -(-len(data.x_train) // self.batch_size)
        self.x = None  # the training examples on the device, see _upload
        self.order = None  # row i has the numbers of the examples in step i; the last row is padded
        self.eps = None  # the noise of each example, (S, n, noise_dim)
        self.labels = self.xp.asarray(data.y_train) if model.wants_labels else None

    def begin(self, epoch):
        """Draw the order and the noise of this epoch; make the examples ready on the device."""
        self._upload(epoch)
        config, n = self.config, len(self.data.x_train)
        order = np.zeros((self.steps_per_epoch, self.batch_size), dtype=np.int64)
        batches = minibatches(n, self.batch_size, config.seed, epoch)
        for row, index in zip(order, batches, strict=True):
            row[: len(index)] = index
        self.order = self._on_device(self.order, order)
        if self.model.noise_dim:
            shape = (config.samples, n, self.model.noise_dim)
            noise = generator(config.seed, "noise", epoch).standard_normal(shape, np.float32)
            self.eps = self._on_device(self.eps, noise)

    def size(self, i):
        """How many examples step i has."""
        return min(self.batch_size, len(self.data.x_train) - i * self.batch_size)

    def inputs(self, i):
        """The model's inputs in step i of the epoch, the arguments of `terms`: this rank's share.

        A rank whose share is empty gets one example, which will have no weight.
        """
        start, stop = self.ranks.bounds(self.size(i))
        return self.inputs_of(self.order[i, start : max(stop, start + 1)])

    def whole(self, i):
        """The inputs of all ranks in step i."""
        return self.inputs_of(self.order[i, : self.size(i)])

    def inputs_of(self, index):
        """The model's inputs for the examples with these numbers."""
        eps = None if self.eps is None else self.eps.take(index, axis=1)
        labels = None if self.labels is None else self.labels[index]
        return self.model.inputs(to_float(self.x[index]), eps, labels)

    def _upload(self, epoch):
        """Copy the examples to the device: once, or with dynamic binarization every epoch anew."""
        if self.x is None or self.config.binarize == "dynamic":
            rng = generator(self.config.seed, "binarize", epoch)
            x = binarize(self.data.x_train, self.config.binarize, rng)
            self.x = self._on_device(self.x, x)

    def _on_device(self, place, array):
        """The array on the device; on a GPU in the same place, where a recorded step reads it."""
        array = self.xp.asarray(array)
        if place is None or self.xp is np:
            return array
        place[...] = array
        return place
