"""The site's live page: it is made of docs/live/vae.json, a small trained model, at every build.

The model, and the codes of 2000 test images of MNIST, come from a run:

    python examples/train_mnist.py --network mlp --hidden 100 --latent-dim 2 --epochs 15
    python docs/site/live_page.py runs/vae-mlp-z2-100
"""

import json
import sys
from pathlib import Path

from tinyvae.live_page.page import describe_run, live_page

DOCS = Path(__file__).resolve().parents[1]
MODEL = DOCS / "live" / "vae.json"
ADDRESS = "live/vae.html"  # docs/live_page.md links to it


def build(app, exception):
    if exception is None and app.builder.name == "html":
        path = app.outdir / ADDRESS
        path.parent.mkdir(exist_ok=True)
        path.write_text(live_page(json.loads(MODEL.read_text("utf-8"))), "utf-8")


def setup(app):
    app.connect("build-finished", build)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    MODEL.write_text(json.dumps(describe_run(sys.argv[1])) + "\n", "utf-8")
