"""A batch in parts, each on a thread of its own: its gradient is the sum of the parts' gradients.

NumPy releases Python's lock while it computes, so the threads work at the same time in every layer;
without them only the matrix products use more than one core.
"""

from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread

from threadpoolctl import threadpool_limits

from tinyvae.engine.backend import array_module
from tinyvae.models.base import Loss


class Threads:
    """`count` threads, the caller's among them, that share out a list inside a `with` statement.

    If there are two or more, BLAS uses one thread in each of them meanwhile.
    """

    def __init__(self, count):
        self.count = count
        self._threads, self._queues = [], []  # of the others; a queue is quicker than an executor

    def __enter__(self):
        if self._threads:
            raise RuntimeError("Threads: already in use; end one `with` before the next")
        self._limits = threadpool_limits(1 if self.count > 1 else None, user_api="blas")
        self._queues = [SimpleQueue() for _ in range(self.count - 1)]
        self._threads = [Thread(target=_serve, args=(q,), daemon=True) for q in self._queues]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for queue in self._queues:
            queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads, self._queues = [], []
        self._limits.restore_original_limits()

    def map(self, function, *arguments):
        """The builtin map as a list, item i done by thread i modulo `count`.

        Outside the `with` the caller does all. function must not call map itself.
        """
        items = list(zip(*arguments, strict=True))
        results, count = [None] * len(items), 1 + len(self._queues)
        done = SimpleQueue()  # an error or None from each of the others

        def work(first):
            try:
                for i in range(first, len(items), count):
                    results[i] = function(*items[i])
            except BaseException as error:  # is raised below, by the thread that called map
                return error

        for first, queue in enumerate(self._queues, start=1):
            # A thread does not know the caller's numpy.errstate: it works in a copy of its context.
            queue.put((copy_context(), work, first, done))
        errors = [work(0), *(done.get() for _ in self._queues)]
        for error in filter(None, errors):
            raise error
        return results


def _serve(queue):
    while task := queue.get():
        context, work, first, done = task
        done.put(context.run(work, first))


class DataParallel:
    """The loss and the gradient of a model, computed in parts of the batch, a thread for each.

    Each part has a replica of the model, which shares its `theta` and has a gradient of its own.
    """

    def __init__(self, model, threads):
        self.model, self.threads = model, threads
        self.replicas = [model, *(model.replica() for _ in range(threads.count - 1))]

    def gradient(self, x, eps=None, beta=1.0, free_bits=0.0):
        """The Loss of a batch, as from model.loss; sets the model's `grad`, as its backward does.

        eps: None for an autoencoder.
        """
        xp, n, run = array_module(x), len(x), self.threads.map
        replicas = self.replicas[:n]  # one image makes one part
        parts = xp.array_split(x, len(replicas))
        shares = [len(part) / n for part in parts]
        noise = []
        if eps is not None:
            noise = [array_module(eps).array_split(eps, len(replicas), axis=1)]

        def forward(replica, *inputs):
            return replica.terms(*inputs)

        def mean(terms):
            """Over the batch: that over its parts, weighed by their share of it."""
            return sum(share * term for share, term in zip(shares, terms, strict=True))

        terms = run(forward, replicas, parts, *noise)
        means = terms[0] if len(terms) == 1 else map(mean, zip(*terms, strict=True))
        loss = Loss(*means, beta, free_bits)
        dkl = loss.dkl

        def backward(replica, share):
            replica.terms_backward(share, share * dkl)

        def add(total, *others):
            for other in others:
                total += other

        run(backward, replicas, shares)
        run(add, *(xp.array_split(replica.grad, self.threads.count) for replica in replicas))
        return loss
