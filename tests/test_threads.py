"""Threads share out a list, work at the same time, and leave everything as they found it."""

import os
import threading
from queue import SimpleQueue

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from tinyvae.training import threads as threads_module
from tinyvae.training.threads import Threads, cores


@pytest.mark.parametrize("count", (1, 2, 3, 5))
@given(a=st.lists(st.integers(), max_size=7))
def test_map_is_the_builtin_one(count, a):
    with Threads(count) as threads:
        assert threads.map(lambda x, y: x - 2 * y, a, a[::-1]) == list(
            map(lambda x, y: x - 2 * y, a, a[::-1])
        )


def test_threads_work_at_the_same_time():
    """Each item waits for the others: one after the other, they would wait for ever."""
    barrier = threading.Barrier(3, timeout=20)
    with Threads(3) as threads:
        assert sorted(threads.map(lambda _: barrier.wait(), range(3))) == [0, 1, 2]


def test_the_caller_is_one_of_them_and_the_others_end():
    before = threading.active_count()
    for _ in range(2):
        with Threads(3) as threads:
            idents = threads.map(lambda _: threading.get_ident(), range(6))
            assert idents[:3] == idents[3:] and len(set(idents)) == 3
            assert idents[0] == threading.get_ident()
            with pytest.raises(RuntimeError, match="already in use"):
                threads.__enter__()
        assert threading.active_count() == before
    assert threads.map(lambda _: threading.get_ident(), range(3)) == [threading.get_ident()] * 3


def test_an_interrupted_map_leaves_nothing_to_the_next(monkeypatch):
    """Ctrl-C while the caller waits for the others."""
    with Threads(2) as threads:
        release = threading.Event()
        get = SimpleQueue.get

        class Interrupted(SimpleQueue):
            def get(self):
                if threading.current_thread() is threading.main_thread():
                    raise KeyboardInterrupt
                return get(self)

        with monkeypatch.context() as patch:
            patch.setattr(threads_module, "SimpleQueue", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                threads.map(lambda wait: wait and release.wait(20), [False, True])
        release.set()
        assert threads.map(abs, [-1, -2, -3]) == [1, 2, 3]


@pytest.mark.parametrize("broken", [0, 1, 4])
def test_an_error_in_any_thread_is_raised_and_work_goes_on(broken):
    def function(i):
        if i == broken:
            raise KeyError(i)
        return i

    with Threads(2) as threads:
        for _ in range(2):
            with pytest.raises(KeyError, match=str(broken)):
                threads.map(function, range(5))
        assert threads.map(abs, [-1, -2, -3]) == [1, 2, 3]


@pytest.mark.filterwarnings("error")
def test_threads_ignore_what_the_caller_ignores():
    zero = np.zeros(1000)
    with Threads(2) as threads:
        with np.errstate(divide="ignore"):
            threads.map(np.log, [zero, zero])
        with pytest.raises(RuntimeWarning, match="divide by zero"):
            threads.map(np.log, [zero + 1, zero])


def blas_threads():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


def test_blas_keeps_to_one_thread_meanwhile():
    with threadpool_limits(2, user_api="blas"):  # which the suite has set to 1
        before = blas_threads()
        assert before and set(before) == {2}
        for count in (1, 3):
            with Threads(count):
                assert set(blas_threads()) == {1}
            assert blas_threads() == before
        with Threads(1, one_blas_thread=False):
            assert blas_threads() == before


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5, 6}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
