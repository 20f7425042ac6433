"""The rooms of the house: imports run one way, downwards, and never in a circle."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import tinyvae

PACKAGE = Path(tinyvae.__file__).parent
EXAMPLES = PACKAGE.parent / "examples"
BELOW = ["errors", "rng"]
ROOMS = {  # what each may import, beside itself
    "errors": [],
    "rng": ["errors"],
    "engine": BELOW,
    "data": [*BELOW, "engine"],
    "models": [*BELOW, "engine"],
    "training": [*BELOW, "engine", "data", "models"],
    "gradcheck": [*BELOW, "engine", "data", "models", "training"],
    "laboratory": [*BELOW, "engine", "data", "models", "training", "gradcheck"],
    "exercises": [*BELOW, "engine", "models", "training"],
    "live_page": [*BELOW, "engine", "data", "models", "training"],
    "__init__": ["errors", "engine", "models"],  # the public names need NumPy alone
}
NEEDED = {  # of what is not in Python; the other rooms may use all that the package requires
    "errors": set(),
    "rng": {"numpy"},
    "engine": {"numpy", "cupy"},
    "models": {"numpy"},
    "gradcheck": {"numpy"},
    "exercises": {"numpy"},
}


@cache
def modules():
    """{dotted name below tinyvae: syntax tree}"""
    paths = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in sources(PACKAGE)}
    return {".".join(parts): ast.parse(path.read_text("utf-8")) for parts, path in paths.items()}


def sources(folder):
    return sorted(folder.rglob("*.py"))


def imported(tree):
    """All that a module imports, by dotted names: "tinyvae.engine.layers", "numpy"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            # `from tinyvae.training import plots` imports a module too
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree):
    """Those of them that are modules of tinyvae, by their names below it."""
    names = (name.removeprefix("tinyvae.") for name in imported(tree) if name != "tinyvae")
    for name in names:
        for module in (name, f"{name}.__init__"):
            if module in modules():
                yield module


def room(module):
    return module.partition(".")[0]


def test_every_room_is_listed():
    assert {room(name) for name in modules()} == set(ROOMS)
    assert len(modules()) > 40
    assert {*own_imports(modules()["models.vae"])} >= {"engine.gaussian", "models.base"}
    assert "training.plots.__init__" in {*own_imports(modules()["training.report"])}


@pytest.mark.parametrize("name", modules())
def test_imports_run_downwards(name):
    allowed = {room(name), *ROOMS[room(name)]}
    assert {room(module) for module in own_imports(modules()[name])} <= allowed


@pytest.mark.parametrize("name", [n for n in modules() if room(n) in NEEDED])
def test_the_lower_rooms_need_numpy_alone(name):
    outside = {one.partition(".")[0] for one in imported(modules()[name])} - {"tinyvae"}
    assert outside - set(sys.stdlib_module_names) <= NEEDED[room(name)]


def test_no_module_imports_itself_in_a_circle():
    """Nor do two modules that share a room."""
    graph = {name: {*own_imports(tree)} - {name} for name, tree in modules().items()}
    done = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    assert done == set(graph)


def test_importing_tinyvae_loads_neither_figures_nor_science():
    code = "import sys, tinyvae; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert {"numpy", "tinyvae.engine.layers", "tinyvae.models.vae"} <= loaded
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots & {"scipy", "matplotlib", "tqdm", "pooch", "threadpoolctl", "cupy", "PIL"}
    assert not {"tinyvae.data", "tinyvae.training", "tinyvae.laboratory"} & loaded


def asked_about(tree):
    """The names in the second arguments of isinstance and issubclass, and beside type(...)."""
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
            "isinstance",
            "issubclass",
        }:
            parts = node.args[1:]
        elif isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
            if not any(
                isinstance(p, ast.Call) and getattr(p.func, "id", "") == "type" for p in parts
            ):
                continue
        for part in parts:
            for leaf in ast.walk(part):
                yield getattr(leaf, "id", getattr(leaf, "attr", None))


def test_nobody_outside_models_asks_what_class_a_model_is():
    trees = [tree for name, tree in modules().items() if room(name) == "models"]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    assert classes >= {"Model", "EncoderDecoder", "VAE", "Autoencoder", "Classifier"}
    outside = {name: tree for name, tree in modules().items() if room(name) != "models"}
    for path in sources(EXAMPLES):
        outside[f"examples/{path.name}"] = ast.parse(path.read_text("utf-8"))
    assert {
        n: found for n, tree in outside.items() if (found := classes & {*asked_about(tree)})
    } == {}
    asking = "isinstance(m, (int, base.VAE)), type(m) is Autoencoder, issubclass(type(m), Model)"
    assert {*asked_about(ast.parse(asking))} >= {"VAE", "Autoencoder", "Model"}
