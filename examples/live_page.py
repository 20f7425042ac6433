"""A page for the browser with a trained model in it: drag through its latent space, draw a digit.

python examples/live_page.py runs/vae-conv-z20   # writes runs/vae-conv-z20/live_page.html

Open the file in a browser: it needs neither a server nor a network. It shows runs of the models ae,
vae, cvae and iwae on images of any size. docs/live_page.md says what is on it.
"""

import shlex
import sys
from pathlib import Path

from tinyvae.live_page.page import write_live_page
from tinyvae.training.command_line import Parser, exit_code, given_path


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("folder", type=given_path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--out", type=given_path, metavar="FILE", help="page to write (default: RUN/live_page.html)"
    )
    parser.add_argument(
        "--dataset", metavar="DATA", help="the run's data, if they are no longer where they were"
    )
    parser.add_argument("--data-dir", type=given_path, help="folder with the MNIST files")
    arguments = parser.parse_args(argv)
    path = write_live_page(**vars(arguments))
    megabytes = path.stat().st_size / 1e6
    print(f"{shlex.quote(str(path))}, {megabytes:.1f} MB: open it in a browser")


if __name__ == "__main__":
    sys.exit(exit_code(Path(__file__).name, main))
