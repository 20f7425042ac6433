"""How long one training step takes, tinyvae and PyTorch side by side in one run.

    python benchmarks/step.py                          # conv, z = 20, batch 128, two threads
    python benchmarks/step.py --network mlp --batch-size 512 --threads 1 --json

Each variant lives in a process of its own, and they take turns, A B C A B C, so that a busy machine
disturbs all alike. All start from the same weights, images and noise, and the benchmark stops if
their losses or gradients differ. Without torch it times tinyvae alone. Times are medians of turns;
a ratio is the median over the rounds of one variant's turn to another's in the same round.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

LATENT_DIM = 20
RUNS, WARM_UP = 10, 10  # steps a turn, and before the first
PAUSE = 0.1  # seconds before a turn: idle BLAS and OpenMP threads of the last one spin for a while
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
VARIANTS = {  # name: environment; the words say what is switched on
    "tinyvae": {},
    "tinyvae parts": {},
    "torch": {},
    "torch fused": {},
    "torch fused keep": KEEP,
    "torch fused keep channels_last": KEEP,
    "torch fused keep compile": KEEP,
    "sgemm": {},
}
TASKS = ("step", "reconstruct", "sample")
SQUARE = 2048  # rows and columns of the matrices whose product is the machine's peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("conv", "mlp"), default="conv")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--task", choices=TASKS, default="step")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each variant")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.batch_size, options.threads, options.rounds) < 1:
        parser.error("--batch-size, --threads and --rounds must be at least 1")
    if options.worker:
        work(options)
    else:
        report = compare(options)
        print(json.dumps(report) if options.json else table(report))


# The process that is timed


def work(options):
    """Say what the first run gives; then answer each line, a number of runs, with their time."""
    tasks = {"tinyvae": tinyvae_task, "torch": torch_task, "sgemm": sgemm_task}
    run, about = tasks[options.worker.split()[0]](options)
    value = run()
    print(json.dumps({"value": value, "at": time.time(), **about()}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"ms": 1e3 * np.median(times), "rss_mb": kilobytes / 1024}), flush=True)


def inputs(batch_size):
    """Random images and noise, (N, 1, 28, 28) and (1, N, L)."""
    rng = np.random.default_rng(0)
    x = rng.random((batch_size, 1, 28, 28), dtype=np.float32)
    return x, rng.standard_normal((1, batch_size, LATENT_DIM), dtype=np.float32)


def tinyvae_task(options):
    """(run, about): run does the task once and returns a number to compare, about says more.

    With "parts" each thread computes a part of the batch, as in training with --threads.
    """
    from tinyvae import Adam, get_backend, make_model
    from tinyvae.parallel import DataParallel, Threads

    get_backend("numpy")
    x, eps = inputs(options.batch_size)
    model = make_model(network=options.network, latent_dim=LATENT_DIM)
    threads = Threads(options.threads if "parts" in options.worker else 1).__enter__()  # for good
    parallel, optimizer = DataParallel(model, threads), Adam(model)

    def step():
        loss = parallel.gradient(x, eps)
        optimizer.step(threads.map)
        return float(loss.total)

    tasks = {
        "step": step,
        "reconstruct": lambda: float(model.reconstruct(x)[0].mean()),
        "sample": lambda: float(model.decode(eps[0])[0].mean()),
    }

    def about():
        gflop = product_gflop(model, options.task) * options.batch_size
        return {"norm": float(np.linalg.norm(model.grad)), "gflop": gflop}

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
    a, b = np.random.default_rng(0).random((2, SQUARE, SQUARE), dtype=np.float32)
    return lambda: float((a @ b)[0, 0]), lambda: {"gflop": 2 * SQUARE**3 / 1e9}


def torch_task(options):
    """The same in PyTorch, from the same weights."""
    import torch
    import torch_reference

    from tinyvae import make_model

    words = options.worker.split()
    torch.set_num_threads(options.threads)
    x, eps = (torch.from_numpy(array) for array in inputs(options.batch_size))
    ours = make_model(network=options.network, latent_dim=LATENT_DIM)
    model = torch_reference.twin(options.network, ours)
    if "channels_last" in words:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), fused="fused" in words)
    compiled = torch.compile if "compile" in words else lambda function: function
    loss_of, reconstruct = compiled(model.loss), compiled(model.reconstruct)
    decode = compiled(lambda z: torch.sigmoid(model.decoder(z)))

    def step():
        loss = loss_of(x, eps[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer(function, x):
        with torch.inference_mode():
            return function(x)[0].mean().item()

    def about():
        grads = [parameter.grad for parameter in model.parameters()]
        return {"norm": sum(float((g * g).sum()) for g in grads if g is not None) ** 0.5}

    tasks = {
        "step": step,
        "reconstruct": lambda: infer(reconstruct, x),
        "sample": lambda: infer(decode, eps[0]),
    }
    return tasks[options.task], about


# The process that compares


class Worker:
    """A variant in its own process, ready after its first run."""

    def __init__(self, variant, options):
        arguments = ["--worker", variant, "--network", options.network, "--task", options.task]
        arguments += ["--batch-size", str(options.batch_size), "--threads", str(options.threads)]
        threads = {
            f"{library}_NUM_THREADS": str(options.threads) for library in ("OMP", "OPENBLAS")
        }
        start = time.time()
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | threads | VARIANTS[variant],
        )
        self.first = json.loads(self.process.stdout.readline())
        self.cold_s = self.first.pop("at") - start
        self.turns = []

    def turn(self, runs):
        time.sleep(PAUSE)
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        self.turns.append(json.loads(self.process.stdout.readline()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def summary(self):
        quartiles = np.percentile([turn["ms"] for turn in self.turns], (25, 50, 75))
        return {
            "ms": quartiles[1],
            "iqr_ms": quartiles[2] - quartiles[0],
            "rss_mb": self.turns[-1]["rss_mb"],
            "cold_s": self.cold_s,
        }


def compare(options):
    """Time all variants in turns; the report as a dictionary."""
    variants = [name for name in VARIANTS if name.split()[0] != "torch"]
    if importlib.util.find_spec("torch"):
        variants = list(VARIANTS)
    if options.task != "step" or options.threads == 1:
        variants.remove("tinyvae parts")
    workers = {variant: Worker(variant, options) for variant in variants}
    agree({name: worker.first for name, worker in workers.items() if name != "sgemm"})
    for worker in workers.values():
        worker.turn(WARM_UP)
        worker.turns.clear()
    for _ in range(options.rounds):
        for worker in workers.values():
            worker.turn(RUNS)
    for worker in workers.values():
        worker.close()

    results = {variant: worker.summary() for variant, worker in workers.items()}
    peak = workers["sgemm"].first["gflop"] / results.pop("sgemm")["ms"]  # in 1e12 a second
    ours = min((name for name in results if "torch" not in name), key=lambda n: results[n]["ms"])
    floor = workers[ours].first["gflop"] / peak
    report = {
        "task": options.task,
        "network": options.network,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "variants": results,
        "ours": ours,
        "images_per_s": options.batch_size / results[ours]["ms"] * 1e3,
        "sgemm_gflops": 1e3 * peak,
        "floor_ms": floor,
        "floor_share": floor / results[ours]["ms"],
    }
    theirs = [name for name in results if "torch" in name]
    if theirs:
        best = min(theirs, key=lambda name: results[name]["ms"])
        eager = min((n for n in theirs if "compile" not in n), key=lambda n: results[n]["ms"])
        report |= {
            "best": best,
            "ratio_best": ratio(workers[ours], workers[best]),
            "ratio_best_eager": ratio(workers[ours], workers[eager]),
            "ratio_default": ratio(workers[ours], workers["torch"]),
            "rss_ratio": results[ours]["rss_mb"] / results[best]["rss_mb"],
            "cold_ratio": results[ours]["cold_s"] / results["torch"]["cold_s"],
        }
    return report


def ratio(worker, other):
    turns = zip(worker.turns, other.turns, strict=True)
    return float(np.median([turn["ms"] / others["ms"] for turn, others in turns]))


def agree(firsts):
    """Stop unless all variants computed the same in their first run."""
    for key in ("value", "norm"):
        numbers = {name: first[key] for name, first in firsts.items()}
        if not np.allclose(list(numbers.values()), numbers["tinyvae"], rtol=1e-4):
            sys.exit(f"the variants do not compute the same {key}: {numbers}")


def table(report):
    lines = [
        f"{report['task']} of {report['network']}, batch {report['batch_size']}, "
        f"{report['threads']} threads",
        f"{'':32}{'median ms':>10}{'quartiles':>10}{'MB':>7}{'cold s':>8}",
    ]
    for name, result in report["variants"].items():
        lines.append(
            f"{name:32}{result['ms']:10.2f}{result['iqr_ms']:10.2f}{result['rss_mb']:7.0f}"
            f"{result['cold_s']:8.2f}"
        )
    lines.append(
        f"{report['ours']}: {report['images_per_s']:.0f} images/s; its matrix products alone, at "
        f"the {report['sgemm_gflops']:.0f} GFLOP/s of large ones: {report['floor_ms']:.2f} ms, "
        f"{report['floor_share']:.0%} of its time"
    )
    for key in ("ratio_best", "ratio_best_eager", "ratio_default", "rss_ratio", "cold_ratio"):
        if key in report:
            lines.append(f"{key:32}{report[key]:10.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
