"""How the tutorial's model learns: five seeds of the default settings, for examples/verify.py.

    python benchmarks/reference.py --data-dir FOLDER_WITH_MNIST    # 20 minutes; --dataset digits: 5

Every run is kept in examples/reference.json as soon as it ends, and is not repeated; delete its
entry to measure anew.
"""

import json
import sys
import tempfile
from pathlib import Path

from tinyvae import get_backend, make_model
from tinyvae.training.command_line import Parser, exit_code, load_data
from tinyvae.training.trainer import train

FILE = Path(__file__).parent.parent / "examples" / "reference.json"
SEEDS = range(5)
COLUMNS = ("test_total", "test_reconstruction", "test_kl", "active_units")  # of history.csv


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_data()
    options = parser.parse_args(argv)
    return exit_code("reference.py", lambda: measure(options.dataset or "auto", options.data_dir))


def measure(dataset, data_dir):
    """Train with each seed that is missing, and write its curves."""
    data, xp = load_data(dataset, data_dir), get_backend("numpy")
    curves = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    own = curves.setdefault(data.name, {})
    for seed in map(str, SEEDS):
        if seed not in own:
            with tempfile.TemporaryDirectory() as folder:
                model = make_model(seed=int(seed)).to(xp)
                history = train(model, data, seed=int(seed), folder=folder)
            own[seed] = {key: [round(row[key], 3) for row in history] for key in COLUMNS}
            FILE.write_text(json.dumps(curves, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
