"""A batch in parts: the numbers of one piece, the same numbers on any number of threads."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from short_runs import each_run, trainer, without_seconds
from test_threads import blas_threads
from threadpoolctl import threadpool_limits
from toys import each_likelihood, each_model, loss_and_gradient, make, on_host, tiny_batch

from tinyvae import VAE, Adam, make_model
from tinyvae.training import parallel
from tinyvae.training import trainer as trainer_module
from tinyvae.training.parallel import DataParallel, parts_of

COUNTS = (1, 2, 3, 5)
each_count = pytest.mark.parametrize("count", COUNTS)


def gradient_in_parts(model, inputs, count, threads=2, beta=1.0, free_bits=0.0):
    """The loss, and the gradient computed in `count` parts."""
    in_parts = DataParallel(model, count, threads, free_bits)
    with in_parts.threads:
        loss = in_parts.gradient(*inputs, beta=beta)
    return loss, model.grad.copy()


@each_model
@each_likelihood
@each_count
def test_gradient_of_the_parts_is_that_of_the_whole(kind, likelihood, count):
    """Seven images, which no count divides; and fewer images than parts."""
    for n, samples in ((7, 2), (2, 1), (1, 3)):
        x, eps = tiny_batch(n, samples)
        model = make(kind, likelihood)
        total, gradient = loss_and_gradient(model, x, eps)
        loss, parts = gradient_in_parts(model, model.inputs(x, eps), count)
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
    loss, parts = gradient_in_parts(model, (x, eps), count, **options)
    np.testing.assert_allclose(np.sort(loss.kl), kl, rtol=1e-12)
    assert float(loss.total) == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose(parts, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("free_bits", [0.0, 0.1])
@each_count
def test_no_bit_depends_on_the_number_of_threads(count, free_bits):
    """Also with a last part or a last group of parts that is smaller than the others."""
    model = make("vae", "bernoulli", dtype=np.float32)
    for n in (11, 5, 3, 1):
        inputs = [array.astype(np.float32) for array in tiny_batch(n, 2)]
        loss, gradient = gradient_in_parts(model, inputs, 5, 1, 0.7, free_bits)
        other, same = gradient_in_parts(model, inputs, 5, count, 0.7, free_bits)
        assert same.tobytes() == gradient.tobytes()
        assert other.total == loss.total and other.kl.tobytes() == loss.kl.tobytes()


def test_blas_does_not_depend_on_the_number_of_threads():
    """The last bits of its products depend on how many threads it has."""
    with threadpool_limits(2, user_api="blas"):
        for parts, blas in ((1, 2), (4, 1)):
            for threads in (1, 3):
                with DataParallel(make("vae", "bernoulli"), parts, threads).threads:
                    assert set(blas_threads()) == {blas}


def test_a_large_batch_keeps_no_more_in_memory_than_a_small_one(monkeypatch):
    """No more parts are between forward and backward than there are threads, without free bits."""
    model = make("vae", "bernoulli")
    forwards, most, lock = [0], [0], threading.Lock()

    def counted(method, change):
        def run(self, *arguments):
            with lock:
                forwards[0] += change
                most[0] = max(most[0], forwards[0])
            return method(self, *arguments)

        return run

    monkeypatch.setattr(VAE, "terms", counted(VAE.terms, 1))
    monkeypatch.setattr(VAE, "terms_backward", counted(VAE.terms_backward, -1))
    for threads, free_bits, kept in ((1, 0.0, 1), (3, 0.0, 3), (20, 0.0, 8), (3, 0.1, 8)):
        most[0] = 0
        gradient_in_parts(model, tiny_batch(40), 8, threads, 1.0, free_bits)
        assert forwards == [0] and (most[0] <= kept if free_bits == 0 else most[0] == kept)
        assert len(DataParallel(model, 8, threads, free_bits).replicas) == kept


def test_replicas_see_every_step_of_the_model():
    """They share theta: after steps of an optimizer, loss and gradient are still the model's."""
    model, other = make("vae", "bernoulli"), make("vae", "bernoulli")
    optimizers = [Adam(model, lr=0.1), Adam(other, lr=0.1)]
    in_parts = DataParallel(model, parts=2, threads=2)
    with in_parts.threads as threads:
        for seed in range(4):
            x, eps = tiny_batch(5, seed=seed)
            in_parts.gradient(x, eps)
            loss_and_gradient(other, x, eps)
            optimizers[0].step(threads.map)
            optimizers[1].step()
    np.testing.assert_allclose(*on_host([model.theta, other.theta]), rtol=1e-9, atol=1e-12)


@each_run
def test_a_run_is_bit_for_bit_the_same_on_any_number_of_threads(folders, settings, small_parts):
    runs = []
    for threads in (1, 2, 3, 5):
        run = trainer(folders(), settings | {"threads": threads})
        run.fit()
        runs.append((run.model.theta.tobytes(), without_seconds(run.history)))
        assert run.parallel.parts > 1 and run.parallel.threads.count <= threads
    assert all(run == runs[0] for run in runs)


def test_parts_have_a_largest_size():
    """At most 128 examples with convolutions; an even number of parts, or one."""
    conv, mlp = make_model(network="conv"), make_model(network="mlp")
    for model, whole, largest in ((conv, *parallel.CONVOLUTIONS), (mlp, *parallel.OTHERS)):
        for n in (1, whole, whole + 1, largest + 1, 2 * largest, 2 * largest + 1, 5000):
            parts = parts_of(model, n)
            assert parts == 1 if n <= whole else parts % 2 == 0
            assert largest / 4 < n / parts <= largest or n < largest
    assert [parts_of(conv, n) for n in (128, 512, 513)] == [2, 4, 6]
    assert parts_of(mlp, 128) == 1


def test_the_default_is_a_thread_for_each_core_but_not_more_than_parts(
    folders, monkeypatch, small_parts
):
    for available, batch_size, count in ((3, 16, 3), (64, 16, 4), (64, 1, 1), (3, 1000, 3)):
        monkeypatch.setattr(trainer_module, "cores", lambda available=available: available)
        run = trainer(folders(), {"batch_size": batch_size})
        assert run.parallel.threads.count == len(run.parallel.replicas) == count
    assert trainer(folders(), {"threads": 2}).parallel.threads.count == 2


def test_a_gpu_computes_the_whole_batch(xp):
    model = make_model(network="conv").to(xp)
    assert (parts_of(model, 1000) == 1) == (xp is not np)
