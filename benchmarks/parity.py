"""Does tinyvae reach the numbers of PyTorch? Both train the same models, and a table compares them.

    python benchmarks/parity.py --data-dir FOLDER_WITH_MNIST        # needs torch; about 1.5 hours

Every run is kept in benchmarks/parity.json as soon as it ends, and is not repeated; delete the file
to measure anew. The table goes to docs/parity.md. Both start from the same weights and see the same
batches and noise, since two seeds of one framework can end 1.5 nats apart.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from tinyvae.data import load_mnist, minibatches, to_float
from tinyvae.engine.backend import get_backend
from tinyvae.models.registry import make_model
from tinyvae.rng import generator
from tinyvae.training.config import Config
from tinyvae.training.evaluation import evaluate
from tinyvae.training.trainer import Trainer

HERE = Path(__file__).parent
RESULTS = HERE / "parity.json"
PAGE = HERE.parent / "docs" / "parity.md"
MODELS = {  # name: (network, latent dimensions, epochs)
    "mlp 784-400-20": ("mlp", 20, 10),
    "conv, z = 20": ("conv", 20, 20),
    "conv, z = 2": ("conv", 2, 20),
}
SEEDS = (0, 1)
SHOWN = (1, 2, 5, 10, 20)  # epochs
MEASURED = (  # write it anew together with parity.json
    "All rows were measured on one processor on 23 November 2026, with code that computed each",
    "batch in one piece. Another processor rounds differently, and so does today's code, which",
    "computes a batch of the conv network in two halves. Therefore `examples/train_mnist.py`",
    "with seed 0 ends some tenths of a nat from the row of seed 0: at 97.9 to 98.4 nats.",
)


def train_tinyvae(network, latent_dim, epochs, seed, data):
    get_backend("numpy")
    model = make_model(network=network, latent_dim=latent_dim, seed=seed)
    trainer, curve = Trainer(model, data, Config(epochs, seed=seed)), []
    for epoch in range(epochs):
        trainer.fit(epoch + 1)
        numbers = evaluate(model, data.x_test, seed=seed)  # on all: a row of history has a share
        curve.append(numbers["total"])
    return {"curve": curve, **numbers}


def train_torch(network, latent_dim, epochs, seed, data):
    """The same in PyTorch, with tinyvae's initial weights, order and noise."""
    import torch
    import torch_reference

    train, test = (torch.from_numpy(to_float(images)) for images in (data.x_train, data.x_test))

    def noise(purpose, n, epoch=0):
        return torch.from_numpy(
            generator(seed, purpose, epoch).standard_normal((1, n, latent_dim), np.float32)[0]
        )

    ours = make_model(network=network, latent_dim=latent_dim, seed=seed)
    model = torch_reference.twin(network, ours)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    for epoch in range(epochs):
        batches = minibatches(len(train), 128, seed, epoch)
        torch_reference.train_epoch(
            model, optimizer, train, noise("noise", len(train), epoch), batches
        )
        numbers = torch_reference.evaluate(model, test, noise("evaluation", len(test)))
        curve.append(numbers["total"])
        print(f"torch epoch {epoch + 1}: test {curve[-1]:.2f}", flush=True)
    return {"curve": curve, **numbers}


FRAMEWORKS = {"PyTorch": train_torch, "tinyvae": train_tinyvae}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the MNIST files")
    data = load_mnist(parser.parse_args().data_dir)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for model, settings in MODELS.items():
        for seed in SEEDS:
            for framework, train in FRAMEWORKS.items():
                key = f"{model} | {framework} | seed {seed}"
                if key not in results:
                    print(key, flush=True)
                    results[key] = train(*settings, seed, data)
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page(results))


def page(results):
    lines = [
        "# tinyvae against PyTorch",
        "",
        "The same models, optimizer (Adam, 1e-3), batch size (128) and data (MNIST, grey-level",
        "Bernoulli), trained by both. Numbers are on the 10,000 test images, in nats per image,",
        "with one sampled z an image: the negative ELBO after some epochs, then its two terms and",
        "the squared error per pixel of the mean reconstructions at the end. For each seed both",
        "start from the same weights and see the same batches and the same noise; what differs is",
        "the rounding, which training amplifies. The initial weights are drawn as PyTorch does.",
        "",
        *MEASURED,
        "",
        "Finished runs are kept in `benchmarks/parity.json` and not repeated. To measure anew,",
        "delete it, install torch, and run",
        "`python benchmarks/parity.py --data-dir FOLDER_WITH_MNIST` (1.5 hours on two cores).",
    ]
    for model, (_, _, epochs) in MODELS.items():
        shown = [epoch for epoch in SHOWN if epoch <= epochs]
        head = [f"epoch {epoch}" for epoch in shown] + ["reconstruction", "KL", "error per pixel"]
        lines += [
            "",
            f"## {model}",
            "",
            f"| | {' | '.join(head)} |",
            "|---" * (1 + len(head)) + "|",
        ]
        ends = {}
        for framework in FRAMEWORKS:
            runs = [results[f"{model} | {framework} | seed {seed}"] for seed in SEEDS]
            for seed, run in zip(SEEDS, runs, strict=True):
                cells = [f"{run['curve'][epoch - 1]:.2f}" for epoch in shown]
                cells += [f"{run['reconstruction']:.2f}", f"{run['kl']:.2f}", f"{run['mse']:.4f}"]
                lines.append(f"| {framework}, seed {seed} | {' | '.join(cells)} |")
            ends[framework] = np.mean([run["total"] for run in runs])
        means = ", ".join(f"{framework} {mean:.2f}" for framework, mean in ends.items())
        gap = ends["tinyvae"] - ends["PyTorch"]
        lines += ["", f"Mean at the end: {means}; tinyvae minus PyTorch {gap:+.2f} nats."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
