"""Ranks of MPI: how a training step scales, what travels, and a model of its time for more ranks.

    python benchmarks/scaling.py                  # minutes; draws docs/images/scaling.png
    python benchmarks/scaling.py --network mlp    # 784-400-20; prints its numbers only

Each number of ranks has a turn in every round; a time is the median over the rounds of a turn's
median. A rank that waits keeps its core busy. So a rank whose processor time is less than the time
that passed was disturbed by another program: that is measured again, up to TRIES times, the least
disturbed try counts, and rounds that stay disturbed do not count. Each rank computes with one
thread. The model of a step, fitted to these measurements:

    t = fixed + image * ceil(batch / ranks) + copy * bytes + allreduce
    allreduce = 2 log2(ranks) latency + 2 (ranks - 1) / ranks * bytes / bandwidth

The second line is the cost of reduce-scatter and allgather for long messages (Thakur, Rabenseifner
and Gropp 2005, Optimization of Collective Communication Operations in MPICH).
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import nnls
from variants import LATENT_DIM, inputs

from tinyvae import Adam, get_backend, make_model
from tinyvae.training.parallel import DataParallel, parts_of
from tinyvae.training.ranks import ALONE, Ranks
from tinyvae.training.threads import cores

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "scaling.png"
RANKS = (1, 2, 4)
SHARE, STRONG = 128, (128, 1024)  # images a rank (weak scaling), images in all (strong scaling)
ALONE_BATCHES = (16, 64, 128, 256, 1024)  # on one rank: the cost of an image
MESSAGES = 4 ** np.arange(5, 13)  # bytes: 1 KB to 16 MB
TRIES, UNDISTURBED = 4, 0.97  # share of the time that passed
MORE = (8, 64, 512)
# (name, seconds of latency, bytes a second, colour). Assumptions: the line rates of the standards;
# latencies from http://www.aspsys.com/content/glossary/glos_low_latency (Ethernet 40 us and more,
# InfiniBand 1 to 5 us).
NETWORKS = (
    ("InfiniBand EDR, 100 Gbit/s (assumed)", 2e-6, 100e9 / 8, "#009E73"),
    ("Ethernet, 10 Gbit/s (assumed)", 40e-6, 10e9 / 8, "#D55E00"),
)
BLUE = "#0072B2"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("conv", "mlp"), default="conv")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turn", action="store_true", help=argparse.SUPPRESS)  # on a rank
    options = parser.parse_args()
    if options.turn:
        return turn(options.network)
    if not (find_spec("mpi4py") and shutil.which("mpiexec")):
        parser.error('needs mpi4py and mpiexec: pip install -e ".[mpi]"')
    command = [sys.executable, __file__, "--network", options.network, "--turn"]
    turns = {n: [] for n in RANKS}
    for _ in range(options.rounds):
        for n in RANKS:
            run = subprocess.run(["mpiexec", "-n", str(n), *command], stdout=subprocess.PIPE)
            if run.returncode:
                sys.exit(f"mpiexec ended with code {run.returncode}")
            turns[n].append(json.loads(run.stdout))
            print(f"{n} ranks: {json.dumps(turns[n][-1])}", file=sys.stderr)
    model = fit(turns)
    print("\n".join(table(turns, model)))
    if options.network == "conv":
        draw(turns, model)


def turn(network):
    """Time all on this rank; rank 0 prints the medians in seconds, as JSON."""
    from mpi4py import MPI

    get_backend("numpy")
    comm = MPI.COMM_WORLD
    ranks = Ranks(MPI, comm) if comm.size > 1 else ALONE
    batches = ALONE_BATCHES if comm.size == 1 else (*STRONG, SHARE * comm.size)
    report = {"step": {b: step_seconds(network, b, ranks) for b in dict.fromkeys(batches)}}
    if comm.size == 1:
        report["threads"] = {b: step_seconds(network, b, ranks, cores()) for b in STRONG}
    report["bytes"] = make_model("vae", network, latent_dim=LATENT_DIM).theta.nbytes
    one = Ranks(MPI, MPI.COMM_SELF)  # nothing travels: only the copies to and from the message
    terms, copies, sums = {"loss": np.zeros(1)}, {}, {}
    for size in MESSAGES.tolist():
        vector = np.zeros(size // 4, np.float32)
        copies[size] = measured(lambda v=vector: one.add_up(terms, v), comm)
        sums[size] = measured(lambda v=vector: comm.Allreduce(MPI.IN_PLACE, v), comm)
    report |= {"copy": copies, "sum": sums}
    if comm.rank == 0:
        print(json.dumps(report))


def step_seconds(network, batch, ranks, threads=1):
    """A training step of a batch on all ranks: gradient, its sum, Adam; what `measured` returns."""
    start, stop = ranks.bounds(batch)
    x, eps = inputs(batch)
    x, eps = x[start:stop], eps[:, start:stop]
    model = make_model("vae", network, latent_dim=LATENT_DIM)
    parallel = DataParallel(model, parts_of(model, stop - start), threads, ranks=ranks)
    optimizer = Adam(model)

    def step():
        parallel.gradient(x, eps, examples=batch)
        optimizer.step(parallel.threads.map)

    with parallel.threads:
        return measured(step, getattr(ranks, "comm", None), 4 + 1024 // batch)


def measured(function, comm, times=25):
    """(median seconds of `times` calls, share of that time in which the ranks computed)."""
    tries, most = [], TRIES if comm is None or comm.size <= cores() else 1
    while len(tries) < most and (not tries or max(tries)[0] < UNDISTURBED):
        seconds = []
        for call in range(2 + times):  # two do not count
            if call == 2:
                began = time.perf_counter(), time.process_time()
            if comm:
                comm.Barrier()
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        share = (time.process_time() - began[1]) / (time.perf_counter() - began[0])
        tries.append((min(comm.allgather(share)) if comm else share, float(np.median(seconds[2:]))))
    share, seconds = max(tries)
    return seconds, share


def quiet(turns, kind, key):
    """The seconds of the turns that were disturbed least: their ranks computed most of the time."""
    seconds, shares = np.array([turn[kind][str(key)] for turn in turns]).T
    return seconds[shares >= 0.95 * shares.max()]


def median(turns, kind, key):
    return float(np.median(quiet(turns, kind, key)))


def fit(turns):
    """The constants of the model, in seconds and bytes, each fitted to relative errors."""

    def line(x, y):  # y = a + b x with a, b >= 0
        x, y = np.array(x, float), np.array(y)
        return nnls(np.stack([1 / y, x / y], axis=1), np.ones(len(y)))[0]

    alone = [median(turns[1], "step", b) for b in ALONE_BATCHES]
    copies = [median(turns[1], "copy", size) for size in MESSAGES]
    sums = [median(turns[2], "sum", size) for size in MESSAGES]
    (fixed, image), (_, copy) = line(ALONE_BATCHES, alone), line(MESSAGES, copies)
    start, per_byte = line(MESSAGES, sums)  # two ranks: 2 latencies, and bytes / bandwidth
    return {
        "fixed": fixed,
        "image": image,
        "copy": copy,
        "bytes": turns[1][0]["bytes"],
        "link": (start / 2, 1 / per_byte),
    }


def allreduce(n, size, latency, bandwidth):
    return 2 * np.log2(n) * latency + 2 * (n - 1) / n * size / bandwidth


def predicted(model, n, batch, link):
    """Seconds of a step of a batch on n ranks; link: (latency, bandwidth)."""
    compute = model["fixed"] + model["image"] * np.ceil(batch / n)
    travel = model["copy"] * model["bytes"] + allreduce(n, model["bytes"], *link)
    return compute + (travel if n > 1 else 0)


def worth(model, batch, link):
    """The most ranks, a power of two, that are at least half as efficient as one."""
    counts = [n for n in 2 ** np.arange(0, 14) if n <= batch]
    one = predicted(model, 1, batch, link)
    return max(n for n in counts if one / (n * predicted(model, n, batch, link)) >= 0.5)


def links(model):
    return (("this machine's memory (measured)", *model["link"], BLUE), *NETWORKS)


def table(turns, model):
    """Lines of text: what was measured, the fit, the model against it, and what it foretells."""
    link = model["link"]
    yield f"{model['bytes']} bytes of gradient a step; {cores()} cores"
    yield (
        f"step = {1e3 * model['fixed']:.2f} ms + {1e3 * model['image']:.4f} ms an image; copies "
        f"{1e3 * model['copy'] * model['bytes']:.2f} ms; Allreduce of 2 ranks: latency "
        f"{1e6 * link[0]:.1f} us, {link[1] / 1e9:.2f} GB/s"
    )
    yield "| ranks | batch | ms a step | from, to | speed-up | efficiency | model, ms | rounds |"
    for name, batches in (("strong", lambda n: STRONG), ("weak", lambda n: (SHARE * n,))):
        for n in RANKS:
            for batch in batches(n):
                steps = 1e3 * quiet(turns[n], "step", batch)
                one = 1e3 * median(turns[1], "step", SHARE if name == "weak" else batch)
                gain = one / np.median(steps) * (n if name == "weak" else 1)
                told = 1e3 * predicted(model, n, batch, link)
                note = " oversubscribed" if n > cores() else ""
                yield (
                    f"| {n}{note} | {batch} ({name}) | {np.median(steps):.1f} | {min(steps):.1f}, "
                    f"{max(steps):.1f} | {gain:.2f} | {gain / min(n, cores()):.0%} | {told:.1f} | "
                    f"{len(steps)} |"
                )
    for batch in STRONG:
        ms = 1e3 * median(turns[1], "threads", batch)
        yield f"one rank of {cores()} threads, batch {batch}: {ms:.1f} ms"
    yield f"| link | scaling | {' | '.join(f'{n} ranks' for n in MORE)} | worth |"
    for name, *link, _ in links(model):
        for batch in (*STRONG, 8192, "weak"):
            total = [SHARE * n if batch == "weak" else batch for n in MORE]
            one = predicted(model, 1, SHARE if batch == "weak" else batch, link)
            cells = [
                f"{one / predicted(model, n, b, link) * (n if batch == 'weak' else 1):.1f}"
                if n <= b
                else "refused"
                for n, b in zip(MORE, total, strict=True)
            ]
            most = "" if batch == "weak" else worth(model, batch, link)
            yield f"| {name} | {batch} | {' | '.join(cells)} | {most} |"


def draw(turns, model):
    figure, (message, strong, weak) = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    sums = [1e3 * median(turns[2], "sum", size) for size in MESSAGES]
    message.plot(MESSAGES, sums, "o", color=BLUE, label="measured, 2 ranks")
    sizes = np.geomspace(MESSAGES[0], MESSAGES[-1])
    message.plot(sizes, 1e3 * allreduce(2, sizes, *model["link"]), color=BLUE, label="fit")
    message.axvline(model["bytes"], color="0.4", linestyle=":", label="the gradient")
    message.set(title="Allreduce on this machine", xlabel="bytes", ylabel="milliseconds")
    message.set(xscale="log", yscale="log")
    message.legend(frameon=False, loc="upper left")

    batches, counts = ((128, ":"), (1024, "--"), (8192, "-")), 2 ** np.arange(0, 10)
    for name, *link, color in links(model):
        for batch, style in batches:
            n = [n for n in counts if n <= batch]
            one = predicted(model, 1, batch, link)
            gain = [one / predicted(model, k, batch, link) for k in n]
            strong.plot(n, gain, color=color, linestyle=style)
            most = worth(model, batch, link)
            strong.plot(most, one / predicted(model, most, batch, link), "v", color=color)
        one = predicted(model, 1, SHARE, link)
        share = [one / predicted(model, n, SHARE * n, link) for n in counts]
        weak.plot(counts, 100 * np.array(share), color=color, label=name)
    strong.plot(counts, counts, color="0.7", linewidth=1)
    strong.text(22, 34, "in proportion", color="0.4", ha="right", fontsize=9)
    for batch, style in batches:
        strong.plot([], [], color="0.2", linestyle=style, label=f"batch {batch}")
    strong.plot([], [], "v", color="0.2", label="half of the time is lost beyond")
    n = [n for n in RANKS if 1 < n <= cores()]
    style = {"color": "black", "marker": "o", "linestyle": "", "zorder": 3, "label": "measured"}
    for batch in STRONG:
        one = median(turns[1], "step", batch)
        strong.plot(n, [one / median(turns[k], "step", batch) for k in n], **style)
        style["label"] = None
    one = median(turns[1], "step", SHARE)
    share = [100 * one / median(turns[k], "step", SHARE * k) for k in n]
    weak.plot(n, share, **style | {"label": "measured"})
    strong.set(title="Strong scaling: one batch, more ranks", ylabel="times as fast as one rank")
    weak.set(title=f"Weak scaling: {SHARE} images a rank", ylabel="efficiency, %", ylim=(0, 105))
    strong.set_yscale("log", base=2)
    strong.set_yticks(counts, counts)
    for axis in (strong, weak):
        axis.set_xscale("log", base=2)
        axis.set_xlabel("ranks, of one core each")
        axis.set_xticks(counts, counts, fontsize=8)
    strong.set_ylim(0.7, 4000)  # room for the legend
    strong.legend(frameon=False, loc="upper left", fontsize=8)
    weak.legend(frameon=False, loc="lower left", fontsize=8)
    for axis in (message, strong, weak):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURE, dpi=150)


if __name__ == "__main__":
    main()
