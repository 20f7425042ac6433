"""Parts of a batch on threads: the same numbers as in one piece, and really at the same time."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from short_runs import EVERYTHING, each_run, trainer
from threadpoolctl import threadpool_info, threadpool_limits
from toys import each_likelihood, each_model, loss_and_gradient, make, on_host, tiny_batch

from tinyvae import Adam
from tinyvae.training import parallel
from tinyvae.training.parallel import DataParallel, Threads

COUNTS = (1, 2, 3, 5)
each_count = pytest.mark.parametrize("count", COUNTS)


@each_count
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
        get = parallel.SimpleQueue.get

        class Interrupted(parallel.SimpleQueue):
            def get(self):
                if threading.current_thread() is threading.main_thread():
                    raise KeyboardInterrupt
                return get(self)

        with monkeypatch.context() as patch:
            patch.setattr(parallel, "SimpleQueue", Interrupted)
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


def test_blas_keeps_to_one_thread_meanwhile():
    def blas_threads():
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):  # which the suite has set to 1
        before = blas_threads()
        assert before and set(before) == {2}
        with Threads(1):
            assert blas_threads() == before
        with Threads(3):
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


def gradient_in_parts(model, x, eps, count, **options):
    with Threads(count) as threads:
        loss = DataParallel(model, threads).gradient(*model.inputs(x, eps), **options)
    return loss, model.grad.copy()


@each_model
@each_likelihood
@each_count
def test_gradient_of_the_parts_is_that_of_the_whole(kind, likelihood, count):
    """Seven images, which no count divides; and fewer than threads."""
    for n, samples in ((7, 2), (2, 1), (1, 3)):
        x, eps = tiny_batch(n, samples)
        model = make(kind, likelihood)
        total, gradient = loss_and_gradient(model, x, eps)
        loss, parts = gradient_in_parts(model, x, eps, count)
        assert float(loss.total) == pytest.approx(total, rel=1e-12)
        np.testing.assert_allclose(parts, gradient, rtol=1e-10, atol=1e-13)


@given(n=st.integers(1, 9), beta=st.floats(0, 5), seed=st.integers(0, 1000))
@each_count
def test_free_bits_look_at_the_whole_batch(count, n, beta, seed):
    """A dimension may be above the floor in one part and below it in the other."""
    x, eps = tiny_batch(n, 2, seed)
    model = make("vae", "bernoulli", seed=seed)
    kl = np.sort(model.loss(x, eps).kl)
    options = {"beta": beta, "free_bits": float(kl[0] + kl[1]) / 2}
    total, gradient = loss_and_gradient(model, x, eps, **options)
    loss, parts = gradient_in_parts(model, x, eps, count, **options)
    np.testing.assert_allclose(np.sort(loss.kl), kl, rtol=1e-12)
    assert float(loss.total) == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose(parts, gradient, rtol=1e-9, atol=1e-12)


def test_replicas_see_every_step_of_the_model():
    """They share theta: after steps of an optimizer, loss and gradient are still the model's."""
    model, other = make("vae", "bernoulli"), make("vae", "bernoulli")
    optimizers = [Adam(model, lr=0.1), Adam(other, lr=0.1)]
    with Threads(2) as threads:
        in_parts = DataParallel(model, threads)
        for seed in range(4):
            x, eps = tiny_batch(5, seed=seed)
            in_parts.gradient(x, eps)
            loss_and_gradient(other, x, eps)
            optimizers[0].step(threads.map)
            optimizers[1].step()
    np.testing.assert_allclose(*on_host([model.theta, other.theta]), rtol=1e-9, atol=1e-12)


@each_run
def test_a_run_on_threads_is_the_run_without(folders, settings):
    histories = []
    for threads in (1, 2, 4):
        run = trainer(folders(), settings | {"threads": threads})
        run.fit()
        histories.append(run.history)
    for row, *others in zip(*histories, strict=True):
        for other in others:
            assert {"train_total", "test_total", "test_mse"} < row.keys() == other.keys()
            assert ("test_kl" in row) == (settings.get("model") != "ae")
            for name in row.keys() & {"train_total", "test_total", "test_kl", "test_mse"}:
                assert other[name] == pytest.approx(row[name], rel=1e-5, abs=1e-7)


def test_the_network_says_how_many_threads_it_gains_by(folders):
    for network, count in (("conv", 2), ("mlp", 1)):
        assert trainer(folders(), {"network": network}).threads.count == count
        chosen = trainer(folders(), EVERYTHING | {"network": network, "threads": 4})
        assert len(chosen.parallel.replicas) == chosen.threads.count == 4
