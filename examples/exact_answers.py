"""A trained linear VAE against probabilistic PCA, whose optimum has a closed form.

Trained with Adam on images of 7x7 pixels, it must reach the maximum likelihood, an ELBO equal to
log p(x), and in dimension i a KL of log(l_i / s2) / 2, where l_i is eigenvalue i of the covariance.
If s2 is above l_i, dimension i must collapse.

python examples/exact_answers.py
python examples/exact_answers.py --dataset digits
"""

import sys

import numpy as np

from tinyvae import Gaussian, LearnedGaussian
from tinyvae.laboratory import linear_gaussian as lab
from tinyvae.laboratory.experiment import experiment_parser, run_experiment
from tinyvae.training import plots
from tinyvae.training.checkpoint import write_json

SIZE, L = 7, 3  # pixels along a side, latent dimensions
LR, STEPS = 0.1, 20_000
RANDOM_W, IMAGES = 100, 50  # on which the formula of the gap is checked
TICKS = [0.02, 0.05, 0.1, 0.2, 0.4]  # values of s2


def experiment(arguments, data, xp):
    x = lab.downsample(data.x_train, SIZE)
    _, values, _ = lab.principal_components(x)
    best, training, runs = lab.LinearGaussian.fit(x, L), [], []
    most = float(best.log_p(x).mean())

    def record(step, model):
        exact = lab.LinearGaussian.from_model(model)
        log_p, elbo = exact.log_p(x).mean(), lab.exact_elbo(model, x).mean()
        row = {"step": step, "s2": exact.s2, "missing": most - log_p, "gap": log_p - elbo}
        training.append({name: float(value) for name, value in row.items()})

    def run(s2, likelihood, callback=None):
        model = lab.train(x, L, likelihood, STEPS, LR, xp, callback)
        formula = np.maximum(0, np.log(values[:L] / s2) / 2)
        kl = {"formula": formula.tolist(), "trained": lab.sorted_kl(model, x).tolist()}
        missing = lab.LinearGaussian.fit(x, L, s2).log_p(x).mean() - lab.exact_elbo(model, x).mean()
        runs.append({"s2": float(s2), "missing": float(missing)} | kl)

    run(best.s2, LearnedGaussian(), record)  # then with four fixed s2; 0, 1, 2, 3 units collapse
    levels = np.array([best.s2, *values[L - 1 :: -1], 2 * values[0]])
    for s2 in np.sqrt(levels[1:] * levels[:-1]):
        run(s2, Gaussian(s2))
    w = np.random.default_rng(0).standard_normal((RANDOM_W, SIZE**2, L))
    gap_error = max(lab.LinearGaussian(one, best.m, 0.1).gap_error(x[:IMAGES]) for one in w)
    numbers = {"dataset": data.name, "images": len(x), "steps": STEPS}
    numbers |= {"eigenvalues": values[: L + 1].tolist(), "log_likelihood": most}
    numbers |= {"training": training, "runs": runs, "gap_error": gap_error}
    write_json(arguments.out / "exact_answers.json", numbers)
    report(numbers)
    draw(numbers, arguments.out / "exact_answers.png")


def report(numbers):
    end, runs = numbers["training"][-1], numbers["runs"]
    print(f"{numbers['dataset']}: {numbers['images']} images, {SIZE}x{SIZE} pixels, z = {L}, nats")
    print(f"maximum of log p(x): {numbers['log_likelihood']:.6f}, at s2 = {runs[0]['s2']:.6f}")
    trained = f"log p(x) {end['missing']:.6f} below it, ELBO {end['gap']:.6f} below log p(x)"
    print(f"trained: {trained}, s2 = {end['s2']:.6f}")
    print(f"formula of the gap, {RANDOM_W} random W: largest error {numbers['gap_error']:.1e}")
    for run in runs:
        row = "".join(map("{:10.4f} {:.4f}".format, run["formula"], run["trained"]))
        print(f"s2 {run['s2']:.4f}: ELBO {run['missing']:.6f} below; KL formula, trained{row}")


def draw(numbers, path):
    values, training, runs = (numbers[name] for name in ("eigenvalues", "training", "runs"))
    with plots.page(path, plots.WIDTH, 3.1) as figure:
        left, right = figure.subplots(1, 2)
        steps, s2 = [row["step"] for row in training], [run["s2"] for run in runs]
        missing, gap = ([row[name] for row in training] for name in ("missing", "gap"))
        left.semilogy(steps, missing, "o-", color=plots.BLUE, label="max log p(x) - log p(x)")
        left.semilogy(steps, gap, "s--", color=plots.VERMILION, label="log p(x) - ELBO")
        left.set(xlabel="step of Adam", ylabel="nats per image")
        line = np.geomspace(s2[0] / 1.5, 1.2 * s2[-1], 500)
        for i, color in zip(range(L), plots.TEN, strict=False):
            right.plot(line, np.maximum(0, np.log(values[i] / line) / 2), color=color)
            dots = [run["trained"][i] for run in runs]
            right.plot(s2, dots, "os^"[i], color=color, label=f"dimension {i + 1}")
        right.set(xscale="log", xlabel="$\\sigma^2$ of the decoder", ylabel="mean KL (nats)")
        right.set_xticks(TICKS, TICKS)
        right.set_xticks([], minor=True)
        left.legend()
        right.legend(title="lines: formula, points: trained")


def main(argv=None):
    parser = experiment_parser(__doc__, "exact-answers")
    return run_experiment(__file__, parser, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
