"""What benchmarks/step.py times: a task of tinyvae, of PyTorch or of BLAS, in a process of its own.

The process says what its first run gave, then answers each line, a number of runs, with their time.
"""

import argparse
import json
import resource
import sys
import time

import numpy as np

LATENT_DIM = 20
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
VARIANTS = {  # of each backend, name: environment; the words say what is switched on
    "numpy": {
        "tinyvae": {},
        "tinyvae parts": {},
        "torch": {},
        "torch fused": {},
        "torch fused keep": KEEP,
        "torch fused keep channels_last": KEEP,
        "torch fused keep compile": KEEP,
        "sgemm": {},
    },
    "cupy": {
        "tinyvae": {},
        "tinyvae recorded": {},
        "jax": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        "jax scan": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        "torch": {},
        "torch fused": {},
        "torch fused reduce-overhead": {},
        "sgemm": {},
    },
}
TASKS = ("step", "reconstruct", "sample")
STEPS = 100  # of an epoch of "tinyvae recorded" and "jax scan"
POOLS = []  # CuPy's, beside the default one
SQUARE = 2048  # rows and columns of the matrices whose product is the machine's peak


def add_options(parser):
    """The options that say what is timed."""
    parser.add_argument("--backend", choices=VARIANTS, default="numpy", help="cupy: all on a GPU")
    parser.add_argument("--network", choices=("conv", "mlp"), default="conv")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--task", choices=TASKS, default="step")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("variant")
    add_options(parser)
    options = parser.parse_args()
    library, on_gpu = options.variant.split()[0], options.backend == "cupy"
    run, about = task_of(options)
    value = run()()
    about = {"value": value, "at": time.time(), **about()}
    print(json.dumps(about), flush=True)
    milliseconds, steps = by_events(library) if on_gpu else by_clock, about.get("steps", 1)
    for line in sys.stdin:
        ms = float(np.median(milliseconds(run, max(1, int(line) // steps)))) / steps
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = {"ms": ms, "rss_mb": kilobytes / 1024}
        if on_gpu:
            answer["device_mb"] = device_bytes(library) / 2**20
        print(json.dumps(answer), flush=True)


def task_of(options):
    """(run, about) of the variant; run does the task once, about describes what its run found."""
    words = options.variant.split()
    if words[0] == "jax":
        from jax_reference import task
    elif "recorded" in words:
        from recorded_step import task
    else:
        task = {"tinyvae": tinyvae_task, "torch": torch_task, "sgemm": sgemm_task}[words[0]]
    return task(options)


def by_clock(run, count):
    """The milliseconds of each of so many runs."""
    times = [time.perf_counter()]
    for _ in range(count):
        run()
        times.append(time.perf_counter())
    return 1e3 * np.diff(times)


def by_events(library):
    """The same for a GPU, by the events of this library: nothing waits between the runs.

    JAX has no events: there it is the time from the first run to the end of the last, shared out.
    """
    if library == "jax":
        return by_waiting_once
    if library == "torch":
        from torch.cuda import Event

        event, elapsed = lambda: Event(enable_timing=True), lambda a, b: a.elapsed_time(b)
    else:
        from cupy.cuda import Event as event
        from cupy.cuda import get_elapsed_time as elapsed

    def milliseconds(run, count):
        events = [event() for _ in range(count + 1)]
        events[0].record()
        for after in events[1:]:
            run()
            after.record()
        events[-1].synchronize()
        return [elapsed(a, b) for a, b in zip(events[:-1], events[1:], strict=True)]

    return milliseconds


def by_waiting_once(run, count):
    start = time.perf_counter()
    for _ in range(count):
        number = run()
    number()  # waits
    return [1e3 * (time.perf_counter() - start) / count]


def device_bytes(library):
    """The most memory that this process has had of the GPU."""
    if library == "torch":
        import torch

        return torch.cuda.max_memory_reserved()
    if library == "jax":
        from jax_reference import device_bytes

        return device_bytes()
    import cupy

    return sum(pool.total_bytes() for pool in (cupy.get_default_memory_pool(), *POOLS))


def inputs(batch_size):
    """Random images and noise, (N, 1, 28, 28) and (1, N, L)."""
    rng = np.random.default_rng(0)
    x = rng.random((batch_size, 1, 28, 28), dtype=np.float32)
    return x, rng.standard_normal((1, batch_size, LATENT_DIM), dtype=np.float32)


def epoch(x, eps):
    """Images (STEPS N, ...), noise (1, STEPS N, L), order (STEPS, N): every batch is x and eps.

    Each step reads them in another order, as in training.
    """
    rng, n = np.random.default_rng(1), len(x)
    order = np.stack([rng.permutation(n) + n * step for step in range(STEPS)])
    return np.tile(x, (STEPS, 1, 1, 1)), np.tile(eps, (1, STEPS, 1)), order


def tinyvae_task(options):
    """(run, about): run does the task once and returns a function that gets a number to compare.

    about says more, when the first run is done.
    With "parts" the batch is cut into parts, as in training, which the threads share out.
    """
    from tinyvae import Adam, get_backend, make_model, to_host
    from tinyvae.training.parallel import DataParallel, parts_of

    xp = get_backend(options.backend)
    x, eps = (xp.asarray(array) for array in inputs(options.batch_size))
    model = make_model(network=options.network, latent_dim=LATENT_DIM).to(xp)
    parts = parts_of(model, options.batch_size) if "parts" in options.variant else 1
    parallel, optimizer = DataParallel(model, parts, options.threads), Adam(model)
    threads = parallel.threads.__enter__()  # for good

    def step():
        loss = parallel.gradient(x, eps)
        optimizer.step(threads.map)
        return lambda: float(loss.total)

    def infer(function, x):
        images = function(x)
        return lambda: float(images[0].mean())

    tasks = {
        "step": step,
        "reconstruct": lambda: infer(model.reconstruct, x),
        "sample": lambda: infer(model.decode, eps[0]),
    }

    def about():
        gflop = product_gflop(model, options.task) * options.batch_size
        return {"norm": float(np.linalg.norm(to_host(model.grad))), "gflop": gflop}

    return tasks[options.task], about


def product_gflop(model, task):
    """The operations for one image in the matrix products of a task, in units of 1e9."""
    from tinyvae import Conv2d

    model.loss(np.zeros((1, 1, 28, 28), np.float32), np.zeros((1, 1, LATENT_DIM), np.float32))
    total = 0
    for name, layer in model.named_modules():
        if hasattr(layer, "weight") and (task != "sample" or name.startswith("decoder")):
            columns = layer._patches if isinstance(layer, Conv2d) else layer._x
            backward = 1 + getattr(layer, "needs_input_grad", True)  # products: dW, and dx
            products = 1 + backward if task == "step" else 1
            total += 2 * layer.weight.value.size * columns[0].size * products
    return total / 1e9


def sgemm_task(options):
    """The product of two large matrices: what the machine can do."""
    from tinyvae import get_backend

    factors = np.random.default_rng(0).random((2, SQUARE, SQUARE), dtype=np.float32)
    a, b = get_backend(options.backend).asarray(factors)

    def run():
        product = a @ b
        return lambda: float(product[0, 0])

    return run, lambda: {"gflop": 2 * SQUARE**3 / 1e9}


def torch_task(options):
    """The same in PyTorch, from the same weights."""
    import torch
    import torch_reference

    from tinyvae import make_model

    words = options.variant.split()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 on both sides
    torch.backends.cuda.matmul.allow_tf32 = False
    device = "cpu" if options.backend == "numpy" else "cuda"
    x, eps = (torch.from_numpy(array).to(device) for array in inputs(options.batch_size))
    ours = make_model(network=options.network, latent_dim=LATENT_DIM)
    model = torch_reference.twin(options.network, ours).to(device)
    if "channels_last" in words:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), fused="fused" in words)
    modes = {"compile": "default", "reduce-overhead": "reduce-overhead"}
    mode = next((modes[word] for word in words if word in modes), None)

    def compiled(function):
        return torch.compile(function, mode=mode) if mode else function

    loss_of, reconstruct = compiled(model.loss), compiled(model.reconstruct)
    decode = compiled(lambda z: torch.sigmoid(model.decoder(z)))

    def step():
        optimizer.zero_grad()
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        loss = loss_of(x, eps[0])
        loss.backward()
        optimizer.step()
        return loss.item

    def infer(function, x):
        with torch.inference_mode():
            return function(x)[0].mean().item

    def about():
        grads = [parameter.grad for parameter in model.parameters()]
        return {"norm": sum(float((g * g).sum()) for g in grads if g is not None) ** 0.5}

    tasks = {
        "step": step,
        "reconstruct": lambda: infer(reconstruct, x),
        "sample": lambda: infer(decode, eps[0]),
    }
    return tasks[options.task], about


if __name__ == "__main__":
    main()
