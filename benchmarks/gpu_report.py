"""Everything there is to know of a GPU, measured unattended, written to docs/gpu_measured.md.

    python benchmarks/gpu_report.py --data-dir FOLDER_WITH_MNIST    # some ten minutes

It needs CuPy and a GPU; torch, where it is installed, for the comparison. It runs the tests marked
gpu, compares layer by layer with NumPy, trains an epoch on both with the same noise, times steps in
turns with PyTorch, and trains the default model for 20 epochs. Without MNIST it takes the digits.
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
from tinyvae.backend import device_name
from tinyvae.command_line import Parser, exit_code, load_data
from tinyvae.config import Config
from tinyvae.module import Layer
from tinyvae.training import Trainer

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "gpu_measured.md"
STEPS = (("conv", 128), ("conv", 32), ("conv", 512), ("mlp", 128))  # network and batch size
EPOCHS = 20
CLOSE = 1e-3  # nats: the most by which an epoch may differ


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_data()
    options = parser.parse_args(argv)

    def run():
        xp = get_backend("cupy")
        data = load_data(options.dataset or "auto", options.data_dir, options.train_size)
        results = {"device": device(xp), "dataset": data.name, "images": len(data.train_images)}
        results["tests"] = gpu_tests()
        results["layers"] = layer_errors(xp)
        results["epoch"] = epoch_on_both(xp, data)
        results["steps"] = [step_times(*step) for step in STEPS]
        results["training"] = whole_run(xp, data)
        PAGE.write_text(page(results), "utf-8")
        print(f"{PAGE.relative_to(ROOT)} is written")

    return exit_code("gpu_report.py", run)


def device(xp):
    """What it all runs on."""
    runtime = xp.cuda.runtime
    return {
        "name": device_name(xp),
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "cupy": xp.__version__,
        "numpy": np.__version__,
    }


def gpu_tests():
    """The last line of the tests that run on a device."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-o", "addopts="]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return run.stdout.strip().splitlines()[-1].strip("= ")


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

    def watched(x):
        y = function(x)
        if y is not None:  # the first layer has no input gradient
            seen[key] = to_host(y).copy()
        return y

    setattr(layer, method, watched)


def epoch_on_both(xp, data):
    """{backend: loss after an epoch}, training and test, with the same noise and order."""
    losses = {}
    for name, module in (("numpy", np), ("cupy", xp)):
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(Config(epochs=1), data, Path(folder), module)
            trainer.fit()
        losses[name] = {key: trainer.history[0][key] for key in ("train_total", "test_total")}
    return losses


def step_times(network, batch_size):
    """The report of benchmarks/step.py."""
    command = [sys.executable, Path(__file__).with_name("step.py"), "--backend=cupy", "--json"]
    command += [f"--network={network}", f"--batch-size={batch_size}", "--threads=1"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def whole_run(xp, data):
    """Seconds from the start of training to its end, of each epoch, and the final test loss."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        trainer = Trainer(Config(epochs=EPOCHS), data, Path(folder), xp)
        trainer.fit()
        seconds = time.perf_counter() - start
    epochs = [row["seconds"] for row in trainer.history]
    return {"seconds": seconds, "epochs": epochs, "test_total": trainer.history[-1]["test_total"]}


PAGE_TEXT = """# Measured on a GPU

Measured by `python benchmarks/gpu_report.py` on one {name} (driver {driver},
CUDA {runtime}), with CuPy {cupy} and NumPy {numpy}. Data: {dataset}, {images} training images.

- **Tests** marked `gpu`: {tests}.
- **Training**: {epochs} epochs of the default model in {seconds:.1f} s, {epoch_seconds:.2f} s
  an epoch (median); test loss {test_total:.2f} nats per image.
- **The same as NumPy?** After one epoch with the same noise and order the losses differ by
  {difference:.1e} nats; at most {close:.0e} are allowed: {verdict}.

## A step, in turns with PyTorch on the same card

Milliseconds, by CUDA events, both sides in float32 (no TF32):

{steps}

## Layer by layer against NumPy

The largest difference over the largest number, in one float32 step at batch 128:

{layers}
"""


def page(results):
    """docs/gpu_measured.md."""
    training, epoch = results["training"], results["epoch"]
    difference = max(abs(epoch["cupy"][key] - epoch["numpy"][key]) for key in epoch["numpy"])
    variants = list(results["steps"][0]["variants"])
    steps = [["network", "batch", *variants, "ratio to eager", "to the best"]]
    for report in results["steps"]:
        times = [f"{report['variants'][name]['ms']:.3f}" for name in variants]
        ratios = [
            f"{report[key]:.2f}" if key in report else "not measured"
            for key in ("ratio_best_eager", "ratio_best")
        ]
        steps.append([report["network"], str(report["batch_size"]), *times, *ratios])
    layers = [["layer or parameter", "what", "error"]]
    layers += [[*key, f"{error:.1e}"] for key, error in results["layers"].items()]
    return PAGE_TEXT.format(
        **results["device"],
        **{key: results[key] for key in ("dataset", "images", "tests")},
        epochs=EPOCHS,
        seconds=training["seconds"],
        epoch_seconds=np.median(training["epochs"]),
        test_total=training["test_total"],
        difference=difference,
        close=CLOSE,
        verdict="passed" if difference <= CLOSE else "FAILED",
        steps=table(steps),
        layers=table(layers),
    )


def table(rows):
    """Markdown, the first row being the head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


if __name__ == "__main__":
    sys.exit(main())
