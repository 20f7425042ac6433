"""A batch in parts: its gradient is the sum of the gradients of its parts.

Small parts fit in the cache, and a large batch takes no more memory than a small one. Several
threads compute several parts at the same time.
"""

from math import ceil

import numpy as np

from tinyvae.engine.backend import array_module
from tinyvae.engine.layers import Conv2d, ConvTranspose2d
from tinyvae.models.base import Loss
from tinyvae.training.ranks import ALONE
from tinyvae.training.threads import Threads

# (n, m): a batch of at most n examples stays whole, a part of a larger one has at most m examples.
CONVOLUTIONS, OTHERS = (32, 128), (128, 512)


def parts_of(model, batch_size):
    """How many parts a batch is cut into: the fastest number, see docs/performance.md.

    It does not depend on the number of threads. On a GPU a batch stays whole.
    """
    layers = (module for _, module in model.named_modules())
    convolutions = any(isinstance(layer, Conv2d | ConvTranspose2d) for layer in layers)
    whole, largest = CONVOLUTIONS if convolutions else OTHERS
    if batch_size <= whole or array_module(model.theta) is not np:
        return 1
    return 2 * ceil(batch_size / (2 * largest))  # even, so that two threads get equally many


class DataParallel:
    """The loss and the gradient of a model, computed in parts of the batch.

    Each batch is cut into `parts` parts. Every thread computes one part at a time, on a replica of
    the model, which shares the model's `theta` and has a gradient of its own. The gradients are
    added in the order of the parts. So the numbers do not depend on how many threads there are.
    With several ranks the batch is this rank's share, and the sums go over all ranks.
    """

    def __init__(self, model, parts=1, threads=1, free_bits=0.0, ranks=ALONE):
        self.model, self.parts, self.free_bits, self.ranks = model, parts, free_bits, ranks
        # The last bits of a matrix product depend on how many threads BLAS has. A batch in one part
        # leaves BLAS all its threads, whatever `threads` is; other batches always leave it one, and
        # so do ranks, which share a machine.
        one_blas_thread = parts > 1 or ranks.size > 1
        self.threads = Threads(min(threads, parts), one_blas_thread)
        self.renew()

    def renew(self):
        """Make the replicas anew, after a change of the model."""
        # Free bits look at the mean KL of the whole batch. So all parts do their forward before
        # the first one does its backward, and meanwhile each needs a replica of its own.
        replicas = self.parts if self.free_bits else self.threads.count
        self.replicas = [self.model, *(self.model.replica() for _ in range(replicas - 1))]

    def gradient(self, *inputs, beta=1.0, examples=None):
        """The Loss of a batch, as model.loss returns it; sets the model's `grad`, as backward.

        examples: how many the batch has on all ranks; None: it is all here.
        """
        run, (parts, shares), terms = self.threads.map, self._cut(inputs, examples), []

        def means():
            """The terms of the whole batch, of which this rank adds its share."""
            if shares == [1.0]:
                return terms[0]
            weighed = list(zip(shares, terms, strict=True))
            return {name: sum(share * part[name] for share, part in weighed) for name in terms[0]}

        def forward(replica, part):
            return replica.terms(*part)

        def backward(replica, share, dterms):
            replica.terms_backward({name: share * dterm for name, dterm in dterms.items()})

        def forward_and_backward(replica, part, share):
            part_terms = forward(replica, part)
            backward(replica, share, Loss(part_terms, beta).dterms)
            return part_terms

        for first in range(0, len(parts), len(self.replicas)):
            group = slice(first, first + len(self.replicas))  # of parts, one for each replica
            replicas = self.replicas[: len(parts[group])]
            earlier = [self.model.grad.copy()] if first else []  # the sum over the groups before
            if self.free_bits:  # the group is the whole batch
                terms += run(forward, replicas, parts)
                whole = self.ranks.add_up(means())
                dterms = Loss(whole, beta, self.free_bits).dterms
                run(backward, replicas, shares, [dterms] * len(parts))
            else:
                terms += run(forward_and_backward, replicas, parts[group], shares[group])
            self._add([self.model.grad, *earlier, *(replica.grad for replica in replicas[1:])])
        if not any(shares):  # moving averages, which travel as gradients, know no shares
            self.model.grad[...] = 0
        whole = self.ranks.add_up(means(), self.model.grad)
        return Loss(whole, beta, self.free_bits)

    def _cut(self, inputs, examples):
        """The inputs of each part, and the share of the whole batch that it is."""
        n = len(inputs[0])
        start, stop = self.ranks.bounds(examples or n)
        mine = (stop - start) / (examples or n)  # this rank's share
        # The noise (S, N, ...) has its batch axis second.
        axes = (0, 1, 0) if self.model.noise_dim else (0, 0)
        cuts = [
            array_module(array).array_split(array, min(self.parts, n), axis)
            for array, axis in zip(inputs, axes, strict=False)
        ]
        return list(zip(*cuts, strict=True)), [mine * (len(part) / n) for part in cuts[0]]

    def _add(self, vectors):
        """Add to the first vector all others in turn; each thread adds a stretch of them."""

        def add(total, *others):
            for other in others:
                total += other

        split = array_module(vectors[0]).array_split
        self.threads.map(add, *(split(vector, self.threads.count) for vector in vectors))
