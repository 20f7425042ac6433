"""Ranks in the threads of one process: mpi4py's communicator, as far as tinyvae uses it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np

from tinyvae.training.ranks import Ranks

MPI = SimpleNamespace(IN_PLACE=object(), COMM_TYPE_SHARED=object())


class World:
    """`size` ranks; `messages` is the number of Allreduces."""

    def __init__(self, size):
        self.size, self.messages = size, 0
        self.slots, self.barrier = [None] * size, threading.Barrier(size, timeout=60)

    def run(self, function):
        """[function(ranks) of each rank], each in a thread. An error in one thread is raised."""

        def work(rank):
            try:
                return function(Ranks(MPI, Comm(self, rank)))
            except BaseException:
                self.barrier.abort()  # or the others would wait
                raise

        with ThreadPoolExecutor(self.size) as pool:
            tasks = [pool.submit(work, rank) for rank in range(self.size)]
        errors = [task.exception() for task in tasks if task.exception()]
        broken = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
        for error in broken or errors:
            raise error
        return [task.result() for task in tasks]


class Comm:
    def __init__(self, world, rank):
        self.world, self.rank = world, rank

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.world.size

    def Dup(self):
        return self

    def Split_type(self, kind):
        assert kind is MPI.COMM_TYPE_SHARED
        return self

    def allgather(self, value):
        world = self.world
        world.slots[self.rank] = value
        world.barrier.wait()
        values = list(world.slots)
        world.barrier.wait()  # until all have read them
        return values

    def bcast(self, value):
        return self.allgather(value)[0]

    def Allreduce(self, send, message):
        assert send is MPI.IN_PLACE and isinstance(message, np.ndarray)
        parts = self.allgather(message.copy())
        assert len({(part.shape, part.dtype) for part in parts}) == 1
        message[...] = sum(parts[1:], parts[0].copy())
        self.world.messages += self.rank == 0
