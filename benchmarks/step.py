"""How long one training step takes, tinyvae and PyTorch side by side in one run.

    python benchmarks/step.py                          # conv, z = 20, batch 128, two threads
    python benchmarks/step.py --network mlp --batch-size 512 --threads 1 --json

Each variant lives in a process of its own, and they take turns, A B C A B C, so that a busy machine
disturbs all alike. All start from the same weights, images and noise, and the benchmark stops if
their losses or gradients differ. Without torch it times tinyvae alone. Times are medians.
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
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
VARIANTS = {  # name: environment; the words after "torch" say what is switched on
    "tinyvae": {},
    "torch": {},
    "torch fused": {},
    "torch fused keep": KEEP,
    "torch fused keep channels_last": KEEP,
    "torch fused keep compile": KEEP,
}
TASKS = ("step", "reconstruct", "sample")


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
    if options.worker:
        work(options)
    else:
        report = compare(options)
        print(json.dumps(report) if options.json else table(report))


# The process that is timed


def work(options):
    """Say what the first run gives; then answer each line, a number of runs, with their time."""
    run, gradient_norm = (tinyvae_task if options.worker == "tinyvae" else torch_task)(options)
    value, norm = run(), gradient_norm()
    print(json.dumps({"value": value, "norm": norm, "at": time.time()}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"ms": 1e3 * np.median(times), "rss_mb": kilobytes / 1024}), flush=True)


def inputs(options):
    rng = np.random.default_rng(0)
    x = rng.random((options.batch_size, 1, 28, 28), dtype=np.float32)
    return x, rng.standard_normal((1, options.batch_size, LATENT_DIM), dtype=np.float32)


def tinyvae_task(options):
    """(run, gradient_norm): run does the task once and returns a number to compare."""
    from tinyvae import Adam, get_backend, make_model

    get_backend("numpy")
    x, eps = inputs(options)
    model = make_model(network=options.network, latent_dim=LATENT_DIM)
    optimizer = Adam(model)

    def step():
        loss = model.loss(x, eps)
        model.backward()
        optimizer.step()
        return float(loss.total)

    tasks = {
        "step": step,
        "reconstruct": lambda: float(model.reconstruct(x)[0].mean()),
        "sample": lambda: float(model.decode(eps[0])[0].mean()),
    }
    return tasks[options.task], lambda: float(np.linalg.norm(model.grad))


def torch_task(options):
    """The same in PyTorch, from the same weights."""
    import torch
    import torch_reference

    from tinyvae import make_model

    words = options.worker.split()
    torch.set_num_threads(options.threads)
    x, eps = (torch.from_numpy(array) for array in inputs(options))
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

    def gradient_norm():
        grads = [parameter.grad for parameter in model.parameters()]
        return sum(float((g * g).sum()) for g in grads if g is not None) ** 0.5

    tasks = {
        "step": step,
        "reconstruct": lambda: infer(reconstruct, x),
        "sample": lambda: infer(decode, eps[0]),
    }
    return tasks[options.task], gradient_norm


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
    variants = VARIANTS if importlib.util.find_spec("torch") else ["tinyvae"]
    workers = {variant: Worker(variant, options) for variant in variants}
    agree([worker.first for worker in workers.values()])
    for worker in workers.values():
        worker.turn(WARM_UP)
        worker.turns.clear()
    for _ in range(options.rounds):
        for worker in workers.values():
            worker.turn(RUNS)
    for worker in workers.values():
        worker.close()
    results = {variant: worker.summary() for variant, worker in workers.items()}
    report = {
        "task": options.task,
        "network": options.network,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "variants": results,
        "images_per_s": options.batch_size / results["tinyvae"]["ms"] * 1e3,
    }
    if len(results) > 1:
        ours, default = results["tinyvae"], results["torch"]
        theirs = [result for result in results.values() if result is not ours]
        best = min(theirs, key=lambda result: result["ms"])
        report |= {
            "ratio_best": ours["ms"] / best["ms"],
            "ratio_default": ours["ms"] / default["ms"],
            "rss_ratio": ours["rss_mb"] / best["rss_mb"],
            "cold_ratio": ours["cold_s"] / default["cold_s"],
        }
    return report


def agree(firsts):
    """Stop unless all variants computed the same in their first run."""
    for key in ("value", "norm"):
        numbers = [first[key] for first in firsts]
        if not np.allclose(numbers, numbers[0], rtol=1e-4):
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
    lines.append(f"tinyvae: {report['images_per_s']:.0f} images/s")
    for key in ("ratio_best", "ratio_default", "rss_ratio", "cold_ratio"):
        if key in report:
            lines.append(f"{key:32}{report[key]:10.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
