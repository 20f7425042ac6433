"""One run on several processes or machines: each, a rank of MPI, has a share of every batch.

Every rank draws the order and the noise of the whole run from the seed and makes every update. So
all ranks hold the same parameters, and only the sum of the gradients travels: one message a step.
"""

import contextlib
import os
import time
from hashlib import sha256

import numpy as np

from tinyvae.engine.backend import array_module, to_host
from tinyvae.errors import UserError

PATIENCE = 3.0  # seconds in which all ranks find a mistake that they all make
STARTED_BY = ("PMI", "OMPI_COMM_WORLD")  # mpiexec of MPICH and of Open MPI set *_SIZE and *_RANK


class Alone:
    """The one rank of an ordinary run: it has all of every batch, and nothing travels."""

    rank, size = 0, 1
    here = (0, 1)  #: its number among the ranks on this machine, and how many these are

    def bounds(self, n):
        """(start, stop): this rank's share of n examples. It is empty if n is too small for all."""
        return 0, n

    def add_up(self, terms, vector=None):
        """The sums of loss terms {name: array} over all ranks; the vector becomes its sum."""
        return terms

    def from_first(self, compute):
        """On all ranks: what compute() returns, or raises, on rank 0, which alone calls it."""
        return compute()

    def stop(self, wish):
        """Whether to stop now. All ranks get the same answer: a wish counts from the next step."""
        return wish

    def begin(self, *arrays):
        """Call before the first step. Raises UserError unless the arrays are the same on all."""

    def require_equal(self, what, remedy, *arrays):
        """Raise UserError on all ranks, unless the arrays are equal on all ranks, bit for bit."""

    def take_device(self, xp):
        """With CuPy: use GPU number (rank on this machine) modulo (GPUs of this machine)."""

    def quiet(self):
        """While this lasts, only rank 0 prints."""
        return contextlib.nullcontext()

    def all_failed(self):
        """Whether all ranks call this, after a mistake, within PATIENCE seconds."""
        return True

    def abort(self, code):
        """End all ranks at once, with this exit code."""


class Ranks(Alone):
    """All processes that mpiexec has started; comm: MPI's communicator, from mpi4py."""

    def __init__(self, mpi, comm):
        self.mpi, self.comm, self.rank, self.size = mpi, comm, comm.Get_rank(), comm.Get_size()
        self._failed = comm.Dup()
        machine = comm.Split_type(mpi.COMM_TYPE_SHARED)
        self.here = machine.Get_rank(), machine.Get_size()
        self._messages = {}  # a buffer for each length and dtype
        self._wish, self._stopping = False, False

    def bounds(self, n):
        return self.rank * n // self.size, (self.rank + 1) * n // self.size

    def add_up(self, terms, vector=None):
        """One Allreduce of the vector, the terms, and the wish to stop, through the host."""
        xp = array_module(next(iter(terms.values())))
        vector = np.empty(0) if vector is None else vector
        flat = np.concatenate([np.ravel(to_host(term)) for term in terms.values()])
        p, key = len(vector), (len(vector) + len(flat) + 1, vector.dtype)
        if key not in self._messages:
            self._messages[key] = np.empty(*key)
        message = self._messages[key]
        message[:p], message[p:-1], message[-1] = to_host(vector), flat, self._wish
        self.comm.Allreduce(self.mpi.IN_PLACE, message)
        vector[...] = array_module(vector).asarray(message[:p])
        self._stopping = bool(message[-1])
        sums, start = {}, p
        for name, term in terms.items():
            sum_ = message[start : start + term.size].astype(np.float64).reshape(term.shape)
            sums[name], start = xp.asarray(sum_), start + term.size
        return sums

    def from_first(self, compute):
        result = error = None
        if self.rank == 0:
            try:
                result = compute()
            except (UserError, OSError) as mistake:  # the user's: raised on all ranks
                error = mistake
        result, error = self.comm.bcast((result, error))
        if error:
            raise error
        return result

    def stop(self, wish):
        self._wish = self._wish or wish
        return self._stopping

    def begin(self, *arrays):
        self._wish, self._stopping = False, False
        remedy = "give all ranks the same arguments and the same files"
        self.require_equal("other settings, data or weights", remedy, *arrays)

    def require_equal(self, what, remedy, *arrays):
        digest = sha256()
        for array in arrays:
            digest.update(np.ascontiguousarray(to_host(array)))
        digests = self.comm.allgather(digest.digest())
        different = [str(rank) for rank, one in enumerate(digests) if one != digests[0]]
        if different:
            raise UserError(
                f"rank {', '.join(different)} has {what} than rank 0, bit for bit; {remedy}"
            )

    def take_device(self, xp):
        if xp is not np:
            runtime = xp.cuda.runtime
            runtime.setDevice(self.here[0] % runtime.getDeviceCount())

    @contextlib.contextmanager
    def quiet(self):
        with contextlib.ExitStack() as stack:
            if self.rank:
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield

    def all_failed(self):
        request, end = self._failed.Ibarrier(), time.monotonic() + PATIENCE
        while not request.Test():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def abort(self, code):
        self.comm.Abort(code)


ALONE = Alone()


def ranks_of(distributed):
    """The Ranks of this program if distributed == "mpi" and there are several; else ALONE.

    Raises UserError if there is no MPI, or if mpiexec has started programs that do not ask for it;
    of these, all but the first raise SystemExit, so that one sentence is told.
    """
    if distributed != "mpi":
        for name in STARTED_BY:
            count, rank = (int(os.environ.get(f"{name}_{what}", 0)) for what in ("SIZE", "RANK"))
            if rank > 0:  # rank 0 tells
                raise SystemExit(2)
            if count > 1:
                raise UserError(
                    f"mpiexec has started {count} processes, each for itself; give "
                    "--distributed mpi, or start the program without mpiexec"
                )
        return ALONE
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no MPI library
        raise UserError(
            f'--distributed mpi needs mpi4py and MPI ({error}); pip install -e ".[mpi]"'
        ) from error
    return Ranks(MPI, MPI.COMM_WORLD) if MPI.COMM_WORLD.Get_size() > 1 else ALONE
