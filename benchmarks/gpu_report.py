"""Everything there is to know of a GPU, measured unattended, written to docs/gpu_measured.md.

    python benchmarks/gpu_report.py --data-dir FOLDER_WITH_MNIST    # six minutes at the most

It needs CuPy and a GPU, pytest and hypothesis; torch and JAX, where they are installed, for the
comparison. It runs the tests marked gpu, compares a recorded epoch with an unrecorded one, times
steps in turns with PyTorch and JAX, runs the example from start to end, and compares losses and
layers with NumPy's. What fails is told on the page, and the rest goes on. Without MNIST it takes
the digits.
"""

import argparse
import csv
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import step
from variants import LATENT_DIM, inputs

from tinyvae import get_backend, make_model, to_host
from tinyvae.engine.backend import device_name
from tinyvae.engine.module import Layer
from tinyvae.training.command_line import Parser, exit_code, load_data
from tinyvae.training.config import Config
from tinyvae.training.trainer import Trainer, train

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "train_mnist.py"
PAGE = ROOT / "docs" / "gpu_measured.md"
LIMIT = 350  # seconds for all sections
STEPS = (("conv", 128), ("conv", 32), ("conv", 512), ("mlp", 128))  # network and batch size
SIZES = (32, 128, 512, 2048, 8192)  # batch sizes of the conv network
ROUNDS, EPOCHS = 5, 20
CLOSE = 1e-3  # nats: the most by which the mean loss of the first steps may differ
RECORDED = 1e-6  # the part of its loss by which a recorded epoch may differ
ROUNDING = 1e-3  # the largest relative error of a layer's numbers
arguments, deadline = [], [time.monotonic() + LIMIT]  # of this call


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_data()
    arguments[:] = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(argv)
    deadline[0] = time.monotonic() + LIMIT

    def run():
        xp = get_backend("cupy")
        data = load_data(options.dataset or "auto", options.data_dir, options.train_size)
        return report(xp, data)

    return exit_code("gpu_report.py", run)


def report(xp, data):
    """Write the page anew after each section; 1 if one of them failed, else 0."""
    page, code = title(xp, data), 0
    for heading, section in SECTIONS.items():
        start = time.monotonic()
        try:
            remaining()
            text = section(xp, data)
        except Exception as error:  # whatever it is, the other sections go on
            text, code = f"Failed: {error or type(error).__name__}", 1
        page += f"\n## {heading}\n\n{text}\n"
        PAGE.write_text(page, "utf-8")
        print(f"{heading}: {text}\n({time.monotonic() - start:.0f} s)\n", flush=True)
    return code


class ReportError(Exception):
    """A section that did not go well, and what it found."""


def remaining():
    """The seconds that are left. Raises ReportError if there are none."""
    seconds = deadline[0] - time.monotonic()
    if seconds < 1:
        raise ReportError(f"left out, because {LIMIT} seconds were over")
    return seconds


def title(xp, data):
    runtime = xp.cuda.runtime
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return (
        f"# Measured on a GPU\n\nBy `python benchmarks/gpu_report.py` on one {device_name(xp)} "
        f"(driver {runtime.driverGetVersion()},\nCUDA {runtime.runtimeGetVersion()}), with CuPy "
        f"{xp.__version__} and NumPy {np.__version__}, on {datetime.date.today()},\nat commit "
        f"{commit or 'unknown'}. Data: {data.name}, {len(data.x_train)} training images.\n"
    )


def gpu_tests(xp, data):
    """The last line of the tests that run on a device."""
    run = finished("-m", "pytest", "-m", "gpu", "-o", "addopts=", str(ROOT / "tests"))
    last = (run.stdout.strip() or run.stderr.strip() or "no output").splitlines()[-1].strip("= ")
    if run.returncode:
        raise ReportError(last)
    return last


def finished(*arguments, **environment):
    """Python's process with these arguments, when it has ended; it has the time that is left."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=remaining(),
        env=os.environ | environment,
    )


def recorded_epochs(xp, data):
    """Two epochs whose steps are replays, and two without: the losses agree."""
    rows, losses = [["steps", "second epoch, s", "its mean loss"]], []
    for recorded in (True, False):
        run = Trainer(make_model().to(xp), data, Config(epochs=2))
        run.steps.records = recorded
        run.fit()
        if run.steps.records != recorded:
            raise ReportError("no step was recorded: the line above the progress bar says why")
        losses.append([row["train_total"] for row in run.history])
        name = "recorded" if recorded else "one by one"
        rows.append([name, f"{run.history[1]['seconds']:.3f}", f"{losses[-1][1]:.6f}"])
    first, second = np.abs(np.subtract(*losses) / losses[1])
    text = f"{table(rows)}\n\nThe losses differ by {first:.1e} and {second:.1e} of themselves."
    if not first <= RECORDED:
        raise ReportError(f"{text} At most {RECORDED:.0e} are allowed for the first epoch.")
    return text


def program(xp, data):
    """The example from start to prompt: with an empty kernel cache, then with a full one."""
    rows = [["kernel cache", "start to prompt, s", "first epoch", "median epoch", "test loss"]]
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "full"):
            options = "--backend=cupy", f"--epochs={EPOCHS}", f"--out={folder}/{cache}", *arguments
            start = time.perf_counter()
            run = finished(EXAMPLE, *options, CUPY_CACHE_DIR=f"{folder}/kernels")
            seconds = time.perf_counter() - start
            if run.returncode:
                raise ReportError((run.stderr.strip() or "it said nothing").splitlines()[-1])
            with open(f"{folder}/{cache}/history.csv", newline="") as file:
                history = list(csv.DictReader(file))
            epochs = [float(row["seconds"]) for row in history]
            times = [f"{x:.2f}" for x in (seconds, epochs[0], np.median(epochs))]
            rows.append([cache, *times, f"{float(history[-1]['test_total']):.3f}"])
    return f"`examples/train_mnist.py --backend cupy`, {EPOCHS} epochs:\n\n{table(rows)}"


def same_losses(xp, data):
    """The mean loss of the first steps is NumPy's, within CLOSE; later rounding errors grow."""
    found = {}
    for steps in (20, 100):
        some = data.head(min(len(data.x_train), steps * Config().batch_size))
        cpu, gpu = (
            train(make_model().to(module), some, epochs=1)[0]["train_total"] for module in (np, xp)
        )
        found[steps] = abs(gpu - cpu)
    text = ", ".join(f"of the first {steps} steps: {off:.1e}" for steps, off in found.items())
    text = f"Difference from NumPy's mean loss, in nats per image, {text}."
    if not found[20] <= CLOSE:
        raise ReportError(f"{text} At most {CLOSE:.0e} are allowed for the first 20 steps.")
    return text


def layer_errors(xp):
    """{(name, what): error} of all outputs and gradients in a step of the default model, float32.

    The error is the largest difference to the host's over its largest number.
    """
    (x, eps), found = inputs(128), []
    for module in (np, xp):
        model, seen = make_model(latent_dim=LATENT_DIM).to(module), {}
        for name, layer in model.named_modules():
            if isinstance(layer, Layer) and name not in ("encoder.trunk", "decoder"):
                watch(layer, "forward", seen, (name, "output"))
                watch(layer, "backward", seen, (name, "input gradient"))
        model.loss(module.asarray(x), module.asarray(eps))
        model.backward()
        for name, parameter in model.named_parameters():
            seen[name, "gradient"] = to_host(parameter.grad)
        found.append(seen)
    host, other = found
    return {
        key: float(np.abs(other[key] - host[key]).max() / np.abs(host[key]).max()) for key in host
    }


def watch(layer, method, seen, key):
    """Have the layer's method leave a copy of what it returns in seen[key]."""
    function = getattr(layer, method)

    def watched(x, **options):
        y = function(x, **options)
        if y is not None:  # the first layer has no input gradient
            seen[key] = to_host(y).copy()
        return y

    setattr(layer, method, watched)


def layer_table(xp, data):
    rows = [["layer or parameter", "what", "error"]]
    errors = layer_errors(xp)
    rows += [[*key, f"{error:.1e}"] for key, error in errors.items()]
    text = (
        f"Largest difference over largest number, in a float32 step at batch 128:\n\n{table(rows)}"
    )
    if not max(errors.values()) < ROUNDING:
        raise ReportError(text)
    return text


def step_table(xp, data):
    """benchmarks/step.py for several sizes."""
    texts = ["Milliseconds, by CUDA events, float32 without TF32; ratio: of the fastest tinyvae."]
    for network, batch_size in STEPS:
        try:
            report = step_times(network, batch_size)
        except (ReportError, subprocess.TimeoutExpired) as error:
            texts.append(f"{network}, batch {batch_size}: failed: {error}")
            continue
        rows = [[f"{network}, batch {batch_size}", "ms", "quartiles", "ratio", "GPU MB"]]
        for name, result in report["variants"].items():
            ratio = report["ratios"].get(name)
            row = [name, f"{result['ms']:.3f}", f"{result['iqr_ms']:.3f}"]
            row += [f"{ratio:.2f}" if ratio else "", f"{result['device_mb']:.0f}"]
            rows.append(row)
        texts.append(table(rows))
    if any("failed" in text for text in texts):
        raise ReportError("\n\n".join(texts))
    return "\n\n".join(texts)


def step_times(network, batch_size):
    sizes = f"--network={network}", f"--batch-size={batch_size}", f"--rounds={ROUNDS}"
    run = finished(step.__file__, "--backend=cupy", "--json", "--threads=1", *sizes)
    if run.returncode:
        raise ReportError((run.stderr.strip() or "step.py said nothing").splitlines()[-1])
    return json.loads(run.stdout)


def size_table(xp, data):
    """The cost of a step and the memory against the batch size, for the conv network."""
    names = ["tinyvae", "tinyvae recorded"] + ["jax scan"] * step.has_jax("cupy")
    workers = {}
    for batch_size in SIZES:
        options = argparse.Namespace(
            backend="cupy", network="conv", batch_size=batch_size, threads=1, task="step"
        )
        for name in names:  # all start together, which takes less time
            workers[batch_size, name] = step.Worker(name, options)
    cells = {}
    for key, worker in workers.items():
        try:
            worker.wait()
        except step.Ended as error:
            cells[key] = str(error)
    for key, worker in workers.items():
        if key not in cells:
            for _ in range(3):
                worker.turn(100)
            result = worker.summary()
            cells[key] = f"{result['ms']:.3f} ({result['device_mb']:.0f})"
        worker.close()
    rows = [["batch size", *names]]
    rows += [[str(size), *(cells[size, name] for name in names)] for size in SIZES]
    return f"Milliseconds a step (megabytes of the GPU's memory):\n\n{table(rows)}"


def table(rows):
    """Markdown, the first row being the head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


SECTIONS = {
    "The tests marked gpu": gpu_tests,
    "A recorded epoch": recorded_epochs,
    "A step, in turns with PyTorch and JAX on the same card": step_table,
    "The whole program": program,
    "A step against the batch size": size_table,
    "The same losses as NumPy": same_losses,
    "Layer by layer against NumPy": layer_table,
}


if __name__ == "__main__":
    sys.exit(main())
