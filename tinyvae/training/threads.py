"""Threads that share out work.

NumPy releases Python's lock while it computes, so the threads compute at the same time. Without
them only the matrix products use more than one core.
"""

import os
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Thread

from threadpoolctl import threadpool_limits


def cores():
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


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

    With `one_blas_thread` BLAS uses one thread in each of them meanwhile. Where the system gives no
    more threads, there are fewer: the results are the same, and they take longer.
    """

    def __init__(self, count, one_blas_thread=True):
        self.count, self.one_blas_thread = count, one_blas_thread
        self._threads, self._queues = [], []  # a queue is faster than an executor

    def __enter__(self):
        if self._threads:
            raise RuntimeError("Threads: already in use; end one `with` before the next")
        if self.one_blas_thread:
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
            if self.one_blas_thread:
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
