"""Everything there is to know of a GPU, measured unattended, written to docs/gpu_measured.md.

    python benchmarks/gpu_report.py --data-dir FOLDER_WITH_MNIST    # some ten minutes

It needs CuPy and a GPU, pytest and hypothesis; torch, where it is installed, for the comparison.
It runs the tests marked gpu, trains on both with the same noise, trains the default model for 20
epochs, times steps in turns with PyTorch, and compares layer by layer with NumPy. What fails is
told on the page, and the rest goes on. Without MNIST it takes the digits.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from variants import LATENT_DIM, inputs

from tinyvae import get_backend, make_model, to_host
from tinyvae.engine.backend import device_name
from tinyvae.engine.module import Layer
from tinyvae.training.command_line import Parser, exit_code, load_data
from tinyvae.training.config import Config
from tinyvae.training.parallel import DataParallel
from tinyvae.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gpu_measured.md"
STEPS = (("conv", 128), ("conv", 32), ("conv", 512), ("mlp", 128))  # network and batch size
EPOCHS, FIRST_STEPS = 20, 20
CLOSE = 1e-3  # nats: the most by which the mean loss of the first steps may differ
ROUNDING = 1e-3  # the largest relative error of a layer's numbers


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_data()
    options = parser.parse_args(argv)

    def run():
        xp = get_backend("cupy")
        data = load_data(options.dataset or "auto", options.data_dir, options.train_size)
        return report(xp, data)

    return exit_code("gpu_report.py", run)


def report(xp, data):
    """Write the page anew after each section; 1 if one of them failed, else 0."""
    page, code = title(xp, data), 0
    for heading, section in SECTIONS.items():
        try:
            text = section(xp, data)
        except (ReportError, RuntimeError, MemoryError, OSError) as error:
            text, code = f"Failed: {error}", 1
        page += f"\n## {heading}\n\n{text}\n"
        PAGE.write_text(page, "utf-8")
        print(f"{heading}: {text}\n", flush=True)
    return code


class ReportError(Exception):
    """A section that did not go well, and what it found."""


def title(xp, data):
    runtime = xp.cuda.runtime
    return (
        f"# Measured on a GPU\n\nBy `python benchmarks/gpu_report.py` on one {device_name(xp)} "
        f"(driver {runtime.driverGetVersion()},\nCUDA {runtime.runtimeGetVersion()}), with CuPy "
        f"{xp.__version__} and NumPy {np.__version__}. Data: {data.name},\n"
        f"{len(data.x_train)} training images.\n"
    )


def gpu_tests(xp, data):
    """The last line of the tests that run on a device."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-o", "addopts="]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = (run.stdout.strip() or run.stderr.strip() or "no output").splitlines()[-1].strip("= ")
    if run.returncode:
        raise ReportError(last)
    return last


def training(xp, data):
    """The default model from start to end."""
    start = time.perf_counter()
    history = trained(xp, data, epochs=EPOCHS)
    seconds, median = time.perf_counter() - start, np.median([row["seconds"] for row in history])
    return (
        f"{EPOCHS} epochs in {seconds:.1f} s, {median:.2f} s an epoch (median); test loss "
        f"{history[-1]['test_total']:.2f} nats per image."
    )


def trained(xp, data, whole=False, **settings):
    """The history of a run with these settings; `whole`: no batch is cut into parts."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(make_model().to(xp), data, Config(**settings), folder)
        if whole:
            trainer.parallel = DataParallel(trainer.model)
        trainer.fit()
        return trainer.history


def same_losses(xp, data):
    """The first steps on both, within CLOSE; and an epoch, beside the CPU in another order.

    Over an epoch rounding errors grow: sums in another order end elsewhere on the CPU, too.
    """
    first = data.head(min(len(data.x_train), FIRST_STEPS * Config().batch_size))
    runs = {
        "first": [(np, first, {}), (xp, first, {})],
        "epoch": [(np, data, {}), (xp, data, {}), (np, data, {"whole": True})],
    }
    losses = {
        name: [
            trained(module, some, epochs=1, **more)[0]["train_total"] for module, some, more in all_
        ]
        for name, all_ in runs.items()
    }
    (cpu, gpu), (whole, whole_gpu, other) = losses["first"], losses["epoch"]
    text = (
        f"Mean loss of the first {FIRST_STEPS} steps: {abs(gpu - cpu):.1e} nats from NumPy's; of "
        f"an epoch: {abs(whole_gpu - whole):.1e}; NumPy's own, with a batch in one part instead of "
        f"two: {abs(other - whole):.1e}."
    )
    if abs(gpu - cpu) > CLOSE:
        raise ReportError(f"{text} At most {CLOSE:.0e} are allowed for the first steps.")
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
    rows = []
    for network, batch_size in STEPS:
        report = step_times(network, batch_size)
        names = list(report["variants"])
        times = [f"{report['variants'][name]['ms']:.3f}" for name in names]
        ratios = [
            f"{report[key]:.2f}" if key in report else "not measured"
            for key in ("ratio_best_eager", "ratio_best")
        ]
        rows.append([network, str(batch_size), *times, *ratios])
    head = ["network", "batch", *names, "ratio to eager", "to the best"]
    return f"Milliseconds, by CUDA events, float32 without TF32:\n\n{table([head, *rows])}"


def step_times(network, batch_size):
    command = [sys.executable, Path(__file__).with_name("step.py"), "--backend=cupy", "--json"]
    command += [f"--network={network}", f"--batch-size={batch_size}", "--threads=1"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise ReportError((run.stderr.strip() or "step.py said nothing").splitlines()[-1])
    return json.loads(run.stdout)


def table(rows):
    """Markdown, the first row being the head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


SECTIONS = {
    "The tests marked gpu": gpu_tests,
    "The same losses as NumPy": same_losses,
    "Training": training,
    "A step, in turns with PyTorch on the same card": step_table,
    "Layer by layer against NumPy": layer_table,
}


if __name__ == "__main__":
    sys.exit(main())
