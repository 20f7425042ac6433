import re
import subprocess
import sys
from pathlib import Path

import tinyvae

PACKAGE = Path(tinyvae.__file__).parent
LOADED = """
import sys
import numpy.random
before = set(sys.modules)
import tinyvae
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""


def test_the_engine_needs_numpy_alone():
    """Neither scipy, matplotlib, tqdm, pooch nor cupy, nor anything else, comes with it."""
    command = [sys.executable, "-c", LOADED]
    run = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["tinyvae"]


def test_only_backend_imports_cupy():
    importing = re.compile(r"^\s*(import|from)\s+cupy|import_module\(.cupy", re.MULTILINE)
    sources = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    assert len(sources) > 15
    assert [name for name in sources if importing.search(sources[name].read_text())] == [
        "engine/backend.py"
    ]


def test_every_public_name_is_there():
    missing = [name for name in tinyvae.__all__ if not hasattr(tinyvae, name)]
    assert not missing and re.fullmatch(r"\d+\.\d+\.\d+", tinyvae.__version__)
