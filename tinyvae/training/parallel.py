"""A batch in parts, one thread for each part: its gradient is the sum of the parts' gradients.

NumPy releases Python's lock while it computes, so the threads work at the same time in every layer.
Without threads only the matrix products use more than one core.
"""

from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Thread

from threadpoolctl import threadpool_limits

from tinyvae.engine.backend import array_module
from tinyvae.engine.layers import Conv2d, ConvTranspose2d
from tinyvae.models.base import Loss


def default_threads(model):
    """How many threads are fastest on two cores: docs/performance.md has the measurement."""
    layers = (module for _, module in model.named_modules())
    return 2 if any(isinstance(layer, Conv2d | ConvTranspose2d) for layer in layers) else 1


class _OneBlasThread:
    """One thread in BLAS while anybody needs that; the last one puts back what the first found."""

    def __init__(self):
        self._lock, self._users = Lock(), 0

    def __enter__(self):
        with self._lock:
            if not self._users:
                self._limits = threadpool_limits(1, user_api="blas")
            self._users += 1

    def __exit__(self, *_):
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limits.restore_original_limits()


_one_blas_thread = _OneBlasThread()


class Threads:
    """Up to `count` threads that share out a list inside a `with` statement; the caller's is one.

    If `count` is two or more, BLAS uses one thread in each of them meanwhile. Where the system
    gives no more threads, there are fewer: the results are the same, and they take longer.
    """

    def __init__(self, count):
        self.count = count
        self._threads, self._queues = [], []  # a queue is faster than an executor

    def __enter__(self):
        if self._threads:
            raise RuntimeError("Threads: already in use; end one `with` before the next")
        if self.count > 1:
            _one_blas_thread.__enter__()
        for _ in range(self.count - 1):
            queue = SimpleQueue()
            thread = Thread(target=_serve, args=(queue,), daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # "can't start new thread"
                break
            self._threads.append(thread)
            self._queues.append(queue)
        return self

    def __exit__(self, *_):
        try:
            for queue in self._queues:
                queue.put(None)
            for thread in self._threads:
                thread.join()
        finally:
            self._threads, self._queues = [], []
            if self.count > 1:
                _one_blas_thread.__exit__()

    def map(self, function, *arguments):
        """The builtin map as a list; thread i modulo `count` does item i.

        Outside the `with` the caller does every item. function must not call map itself.
        """
        items = list(zip(*arguments, strict=True))
        results, count = [None] * len(items), 1 + len(self._queues)
        done = SimpleQueue()  # an error or None from each other thread

        def work(first):
            try:
                for i in range(first, len(items), count):
                    results[i] = function(*items[i])
            except BaseException as error:  # raised below, in the thread that called map
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

    def gradient(self, *inputs, beta=1.0, free_bits=0.0):
        """The Loss of a batch, as model.loss returns it; sets the model's `grad`, as backward."""
        xp, n, run = array_module(inputs[0]), len(inputs[0]), self.threads.map
        replicas = self.replicas[:n]  # one example makes one part
        # The noise (S, N, ...) has its batch axis second.
        axes = (0, 1, 0) if self.model.noise_dim else (0, 0)
        parts = [
            array_module(array).array_split(array, len(replicas), axis)
            for array, axis in zip(inputs, axes, strict=False)
        ]
        shares = [len(part) / n for part in parts[0]]

        def forward(replica, *part):
            return replica.terms(*part)

        def mean(name):
            """Over the batch: the means over its parts, weighed by their share of the batch."""
            return sum(share * part[name] for share, part in zip(shares, terms, strict=True))

        terms = run(forward, replicas, *parts)
        whole = terms[0] if len(terms) == 1 else {name: mean(name) for name in terms[0]}
        loss = Loss(whole, beta, free_bits)
        dterms = loss.dterms

        def backward(replica, share):
            replica.terms_backward({name: share * dterm for name, dterm in dterms.items()})

        def add(total, *others):
            for other in others:
                total += other

        run(backward, replicas, shares)
        run(add, *(xp.array_split(replica.grad, self.threads.count) for replica in replicas))
        return loss
