"""A training step that a GPU repeats at a single command. A reader of the formulas may skip this.

A step is some hundred small computations, and Python takes longer to ask for them than the GPU to
do them. CUDA can record them once, as a graph, and replay the graph. A replay takes no arguments.
So what changes from step to step lies on the GPU, in tables with a row for each step of the epoch:
the order of the examples, beta, and the optimizer's numbers. A counter on the GPU says which row is
next. The step itself reads its row, writes its loss terms to the same row, and adds 1 to the
counter. What is a Python number while a step is recorded stays the same in all replays.
"""

from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from tqdm import tqdm

from tinyvae.engine.backend import array_module, products_by
from tinyvae.training.cublas import Cublas

ROUNDING = 0.01  # by how much a replay may change an array otherwise than the step did, in length


class RecordedSteps:
    """Replays of the steps of a Trainer; steps: its Steps. A last, shorter batch has its own graph.

    If a step cannot be recorded, a sentence says why, and training goes on without replays.
    """

    def __init__(self, steps):
        self.steps, self.trainer = steps, steps.trainer
        self.cupy = array_module(self.trainer.model.theta)
        self.tables, self.graphs = None, {}  # the graphs by their number of examples

    def begin(self):
        """Upload the tables of this epoch. Raises ValueError as Optimizer.step does."""
        trainer, per_epoch = self.trainer, self.trainer.steps_per_epoch
        trainer.model.require_parameters_in(trainer.model.theta)
        with self._or_not_at_all():
            done = trainer.step % per_epoch
            first, t = trainer.step - done, int(trainer.optimizer.state["step"]) - done
            scalars = [trainer.optimizer.scalars(t + i + 1) for i in range(per_epoch)]
            tables = (
                np.array([done]),
                np.array([trainer.beta_at(first + i) for i in range(per_epoch)], dtype=np.float64),
                np.array(scalars, dtype=trainer.model.theta.dtype),
            )
            new = [self.cupy.asarray(table) for table in tables]
            if self.tables is None:
                self.tables = new
            for table, values in zip(self.tables, new, strict=True):
                table[...] = values  # in its place, where the graphs read it

    def replay(self, i):
        """Do step i of the epoch. False if it is not recorded: then nothing has been done."""
        size = self.trainer.feed.size(i)
        if not self.steps.losses:  # the first step of all makes them
            return False
        if size not in self.graphs and self.steps.records:
            with self._or_not_at_all():
                self._record(i)
        if self.steps.records:
            self._launch(self.graphs[size])
        return self.steps.records

    def _launch(self, graph, stream=None):
        graph.launch(stream)
        self.trainer.optimizer.state["step"] += 1

    def _step(self, size):
        """The next step, of `size` examples: nothing in it is a number of this step alone."""
        counter, beta, scalars = self.tables
        inputs = self.trainer.feed.inputs_of(self.trainer.feed.order[counter][0, :size])
        loss = self.steps.gradient(self.trainer.parallel, inputs, beta[counter])
        self.steps.update(loss, counter, tuple(scalars[counter].T))
        counter += 1

    def _record(self, i):
        """Do step i twice, record it, and compare its replay; leave all as it was before."""
        cupy, size = self.cupy, self.trainer.feed.size(i)
        self.tables[0].fill(i)  # the steps before it may have been done without replays
        stream, pool, cublas = _tools(cupy)
        cupy.cuda.get_current_stream().synchronize()
        with stream, cupy.cuda.using_allocator(pool.malloc), products_by(cublas):
            before = self._copies()
            try:
                for _ in range(2):  # so that all kernels are compiled and loaded
                    _restore(before)
                    self._step(size)
                after = self._copies()
                _restore(before)
                stream.begin_capture()
                try:
                    self._step(size)
                finally:
                    graph = stream.end_capture()
                _restore(before)
                self._launch(graph, stream)
                if not all(map(_same_change, before, after)):
                    raise RuntimeError("a replay does not compute what the step computes")
                self.graphs[size] = graph
            finally:
                _restore(before)
                stream.synchronize()

    def _copies(self):
        """[(array, its numbers)] of all that a step changes and the next step reads."""
        trainer, losses = self.trainer, self.steps.losses
        state = trainer.optimizer.state
        arrays = trainer.model.theta, *state.values(), *losses.values(), self.tables[0]
        return [(array, array.copy()) for array in arrays]

    @contextmanager
    def _or_not_at_all(self):
        """If something fails, training goes on without replays; but a full memory is an error."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            self.steps.records = False
            cause = error.__context__ or error  # a failed recording fails once more where it ends
            reason = (str(cause).splitlines() or [type(cause).__name__])[0]
            tqdm.write(f"training goes on slower, because its steps cannot be recorded: {reason}")


@lru_cache
def _tools(cupy):
    """A stream, memory for what is recorded, and a cuBLAS that writes to the stream."""
    stream = cupy.cuda.Stream(non_blocking=True)
    return stream, cupy.cuda.MemoryPool(), Cublas(cupy, stream)


def _restore(copies):
    for array, numbers in copies:
        array[...] = numbers


def _same_change(before, after):
    """Whether an array, which was `before`, has become what it was `after`, up to rounding."""
    (array, old), (_, new) = before, after
    error, change = array - new, new - old
    return bool((error * error).sum() <= ROUNDING**2 * (change * change).sum())
