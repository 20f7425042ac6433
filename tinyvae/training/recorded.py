"""A training step that a GPU repeats at a single command. A reader of the formulas may skip this.

Python takes longer to ask for the hundred small computations of a step than the GPU takes to do
them. CUDA can record them once, as a graph, and replay the graph. A replay takes no arguments. So
what changes from step to step lies on the GPU, in tables with one row for each step of the epoch:
the order of the examples, beta, the optimizer's scalars, the loss terms. The step itself advances
a counter that says which row is next. What is a Python number in a recorded step stays the same.
"""

from contextlib import contextmanager

import numpy as np

from tinyvae.engine.backend import array_module, products_by
from tinyvae.training.cublas import cublas_of
from tinyvae.training.output import say


class RecordedSteps:
    """Replays of a Trainer's steps; steps: its Steps. A shorter last batch has a graph of its own.

    Where a step cannot be recorded, a sentence says why, and training goes on without replays.
    """

    def __init__(self, steps):
        self.steps, self.trainer = steps, steps.trainer
        self.cupy = array_module(self.trainer.model.theta)
        self.pool = self.cupy.cuda.MemoryPool()  # of what exists only during a replay
        self.tables, self.graphs = None, {}  # the graphs by their number of examples

    def begin(self):
        """Upload the counter and the tables of this epoch to where the graphs read them."""
        trainer, optimizer = self.trainer, self.trainer.optimizer
        with self._or_without():
            done = trainer.step % trainer.steps_per_epoch
            steps = range(trainer.step - done, trainer.step - done + trainer.steps_per_epoch)
            t = 1 + int(optimizer.state["step"]) - trainer.step  # the optimizer counts from 1
            scalars = np.array([optimizer.scalars(t + s) for s in steps], trainer.model.theta.dtype)
            beta = [float(trainer.beta_at(s)) for s in steps]
            new = [self.cupy.asarray(table) for table in ([done], beta, scalars)]
            self.tables = self.tables or new
            for table, values in zip(self.tables, new, strict=True):
                table[...] = values

    def replay(self, i):
        """Do step i of the epoch. Returns False, and does nothing, if it is not recorded."""
        size = self.trainer.feed.size(i)
        if not (self.steps.records and self.steps.losses):  # the first step of all makes `losses`
            return False
        with self._or_without():
            if size not in self.graphs:
                self._record(i, size)
            self.graphs[size].launch()
            self.trainer.optimizer.state["step"] += 1
        return self.steps.records

    def _step(self, size):
        """The step of `size` examples that the counter is at."""
        counter, beta, scalars = self.tables
        inputs = self.trainer.feed.inputs_of(self.trainer.feed.order[counter][0, :size])
        loss = self.steps.gradient(self.trainer.parallel, inputs, beta[counter])
        self.steps.update(loss, counter, tuple(scalars[counter].T))
        counter += 1

    def _record(self, i, size):
        """Do step i twice, record it, and compare a replay with it; leave all as it was before."""
        cuda, cublas = self.cupy.cuda, cublas_of(self.cupy)
        self.tables[0].fill(i)
        cuda.get_current_stream().synchronize()
        with cublas.stream, cuda.using_allocator(self.pool.malloc), products_by(cublas):
            before = self._copies()
            try:
                for _ in range(2):  # so that all kernels are compiled and loaded
                    _restore(before)
                    self._step(size)
                after = self._copies()
                _restore(before)
                cublas.stream.begin_capture()
                try:
                    self._step(size)
                finally:
                    graph = cublas.stream.end_capture()
                graph.launch()
                if not all(map(_same_change, before, after)):
                    raise RuntimeError("a replay does not compute what the step computes")
                self.graphs[size] = graph
            finally:
                _restore(before)
                cublas.stream.synchronize()

    def _copies(self):
        """[(array, copy)] of all that a step changes for the next step."""
        state = {**self.trainer.optimizer.state, **self.steps.losses}.values()
        return [(x, x.copy()) for x in (*state, self.trainer.model.theta, self.tables[0])]

    @contextmanager
    def _or_without(self):
        """After an error, but for a full memory, training goes on without replays."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            self.steps.records, self.steps.recorded = False, None
            cause = error.__context__ or error  # a recording that has failed cannot be ended
            reason = str(cause).partition("\n")[0] or type(cause).__name__
            say(f"training goes on, but slower: its steps cannot be recorded ({reason})")


def _restore(copies):
    for array, copy in copies:
        array[...] = copy


def _same_change(before, after):
    """Whether an array that was `before` is now what it was `after`, up to 1% of the change."""
    (array, old), (_, new) = before, after
    error, change = array - new, new - old
    return bool((error * error).sum() <= 1e-4 * (change * change).sum())
