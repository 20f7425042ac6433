"""Import matplotlib also where the environment names a backend that is not installed.

A Jupyter kernel exports MPLBACKEND to every program that it starts. `import matplotlib` raises
ValueError if that backend is missing from the program's own environment. Figures that are written
to files need no backend, so matplotlib is imported here without MPLBACKEND. The variable is then
restored, and matplotlib gets the backend if it accepts it, as after an ordinary import.
"""

import os
import sys
from contextlib import suppress

if "matplotlib" not in sys.modules and os.environ.get("MPLBACKEND"):
    chosen = os.environ.pop("MPLBACKEND")
    try:
        import matplotlib
    finally:
        os.environ["MPLBACKEND"] = chosen
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = chosen
