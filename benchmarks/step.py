"""How long one training step takes, tinyvae, PyTorch and JAX side by side in one run.

    python benchmarks/step.py                          # conv, z = 20, batch 128, two threads
    python benchmarks/step.py --network mlp --batch-size 512 --threads 1 --json
    python benchmarks/step.py --backend cupy           # on a GPU, timed by its events

Each variant lives in a process of its own, and they take turns, A B C A B C, so that a busy machine
disturbs all alike. All start from the same weights, images and noise, and the benchmark stops if
their losses or gradients differ. What is not installed is left out; JAX is timed on a GPU only.
Times are medians of turns; a ratio is the median over the rounds of one variant's turn to another's
in the same round.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np
import variants
from variants import VARIANTS

from tinyvae import UserError, get_backend

RUNS = {"numpy": 10, "cupy": 100}  # a turn; as many before the first
COMPILED = {"compile", "reduce-overhead"}  # the words of variants that are not eager
PAUSE = 0.1  # seconds before a turn: idle BLAS and OpenMP threads of the last one spin for a while


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    variants.add_options(parser)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each variant")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    if min(options.batch_size, options.threads, options.rounds) < 1:
        parser.error("--batch-size, --threads and --rounds must be at least 1")
    try:
        get_backend(options.backend)
    except UserError as error:
        parser.error(str(error))
    report = compare(options)
    print(json.dumps(report) if options.json else table(report))


class Ended(Exception):
    """A variant's process is no more."""


class Worker:
    """A variant in its own process, ready after its first run."""

    def __init__(self, variant, options):
        names = ("backend", "network", "batch_size", "threads", "task")
        arguments = [f"--{n.replace('_', '-')}={getattr(options, n)}" for n in names]
        threads = {
            f"{library}_NUM_THREADS": str(options.threads) for library in ("OMP", "OPENBLAS")
        }
        start = time.time()
        self.process = subprocess.Popen(
            [sys.executable, variants.__file__, variant, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | threads | VARIANTS[options.backend][variant],
        )
        self.variant, self.start, self.turns = variant, start, []

    def wait(self):
        """Wait for the end of the first run."""
        self.first = self._answer()
        self.cold_s = self.first.pop("at") - self.start

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Ended(f"the variant {self.variant!r} ended with code {self.process.wait()}")
        return json.loads(line)

    def turn(self, runs):
        time.sleep(PAUSE)
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        self.turns.append(self._answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def summary(self):
        quartiles = np.percentile([turn["ms"] for turn in self.turns], (25, 50, 75))
        memory = {name: value for name, value in self.turns[-1].items() if name != "ms"}
        return {
            "ms": quartiles[1],
            "iqr_ms": quartiles[2] - quartiles[0],
            **memory,
            "cold_s": self.cold_s,
        }


def compare(options):
    """Time all variants in turns; the report as a dictionary."""
    names = list(VARIANTS[options.backend])
    if not has_torch(options.backend):
        names = [name for name in names if name.split()[0] != "torch"]
    if options.task != "step" or not has_jax(options.backend):
        names = [name for name in names if name.split()[0] != "jax"]
    if options.task != "step":
        names = [name for name in names if name not in ("tinyvae parts", "tinyvae recorded")]
    workers = started(names, options)
    agree({name: worker.first for name, worker in workers.items() if name != "sgemm"})
    for worker in workers.values():
        worker.turn(RUNS[options.backend])
        worker.turns.clear()
    for _ in range(options.rounds):
        for worker in workers.values():
            worker.turn(RUNS[options.backend])
    for worker in workers.values():
        worker.close()

    results = {variant: worker.summary() for variant, worker in workers.items()}
    peak = workers["sgemm"].first["gflop"] / results.pop("sgemm")["ms"]  # in 1e12 a second
    ours = min((n for n in results if n.split()[0] == "tinyvae"), key=lambda n: results[n]["ms"])
    floor = workers["tinyvae"].first["gflop"] / peak
    report = {
        "task": options.task,
        "backend": options.backend,
        "network": options.network,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "variants": results,
        "ours": ours,
        "images_per_s": options.batch_size / results[ours]["ms"] * 1e3,
        "sgemm_gflops": 1e3 * peak,
        "floor_ms": floor,
        "floor_share": floor / results[ours]["ms"],
        "ratios": {name: ratio(workers[ours], workers[name]) for name in results if name != ours},
    }
    theirs = [name for name in results if "torch" in name]
    if theirs:
        best = min(theirs, key=lambda name: results[name]["ms"])
        eager = min(
            (n for n in theirs if not COMPILED & {*n.split()}), key=lambda n: results[n]["ms"]
        )
        report |= {
            "best": best,
            "ratio_best": ratio(workers[ours], workers[best]),
            "ratio_best_eager": ratio(workers[ours], workers[eager]),
            "ratio_default": ratio(workers[ours], workers["torch"]),
            "rss_ratio": results[ours]["rss_mb"] / results[best]["rss_mb"],
            "cold_ratio": results[ours]["cold_s"] / results["torch"]["cold_s"],
        }
    return report


def started(names, options):
    """{name: Worker} after the first runs; a peer that fails is told on stderr and left out."""
    workers, waiting = {}, []
    for name in names:
        workers[name] = Worker(name, options)
        waiting.append(name)
        if options.backend == "cupy" and name != names[-1]:
            continue  # on a GPU all start together, to save minutes
        for one in waiting:
            try:
                workers[one].wait()
            except Ended as error:
                if one in ("tinyvae", "sgemm"):
                    sys.exit(str(error))
                print(f"left out: {error}", file=sys.stderr)
                del workers[one]
        waiting = []
    return workers


def has_torch(backend):
    """Whether PyTorch is installed, and for a GPU, whether it finds one."""
    installed = importlib.util.find_spec("torch") is not None
    if backend == "numpy" or not installed:
        return installed
    import torch  # not for NumPy: there only the processes that are timed need it

    return torch.cuda.is_available()


def has_jax(backend):
    """Whether JAX is installed and finds a GPU, which it does not keep: another process asks."""
    if backend == "numpy" or importlib.util.find_spec("jax") is None:
        return False
    asked = "import jax, sys; sys.exit(jax.default_backend() != 'gpu')"
    return not subprocess.run([sys.executable, "-c", asked], capture_output=True).returncode


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
        f"{'':32}{'median ms':>10}{'quartiles':>10}{'MB':>7}{'cold s':>8}{'ratio':>8}",
    ]
    digits = 2 if report["backend"] == "numpy" else 3
    for name, result in report["variants"].items():
        lines.append(
            f"{name:32}{result['ms']:10.{digits}f}{result['iqr_ms']:10.{digits}f}"
            f"{result['rss_mb']:7.0f}{result['cold_s']:8.2f}{report['ratios'].get(name, 1):8.2f}"
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
