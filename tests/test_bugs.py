"""Each mistake of the gallery (docs/bugs.md) is found by the test that the gallery names."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tinyvae import make_model
from tinyvae.engine import activations, gaussian, likelihoods
from tinyvae.engine.differences import check_model
from tinyvae.gradcheck import TOLERANCE
from tinyvae.laboratory.bugs import BUGS, patches_of, planted, vae_with_skip_connection
from tinyvae.models import vae

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/bugs.md").read_text("utf-8")
ENGINE = activations, gaussian, likelihoods
every_bug = pytest.mark.parametrize("name", BUGS)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Run the named tests in another pytest with bug_plugin.py: {test: what is wrong, or ""}."""
    report = tmp_path_factory.mktemp("verdicts") / "report.xml"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    options = ["-p", "bug_plugin", "-p", "no:cacheprovider", "-n0", f"--junitxml={report}"]
    named = [bug.caught_by for bug in BUGS.values()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *named],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr  # all passed, or some failed
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        test = f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}"
        found[test] = "; ".join(child.get("message") for child in case)
    return found


@every_bug
def test_the_named_test_finds_the_mistake(name, verdicts):
    """The test passes without the mistake, and an assertion in it fails with the mistake."""
    assert verdicts[BUGS[name].caught_by] == ""


@every_bug
def test_the_page_names_that_test(name):
    file, test = BUGS[name].caught_by.split("[")[0].split("::")
    assert f"`{test}`" in PAGE and f"](../{file})" in PAGE


@every_bug
def test_what_a_gradient_check_says(name):
    rng = np.random.default_rng(0)
    x, eps = rng.random((3, 1, 28, 28)), rng.standard_normal((2, 3, 4))
    with planted(BUGS[name].patches):
        error = check_model(vae_with_skip_connection(latent_dim=4), x, eps, rng=rng)
    assert error > 1e-3 if BUGS[name].seen_by_gradcheck else error < TOLERANCE


def test_a_gradient_check_of_a_chain_does_not_see_what_relu_overwrites():
    rng = np.random.default_rng(0)
    x, eps = rng.random((3, 1, 28, 28)), rng.standard_normal((2, 3, 4))
    with planted(patches_of("overwritten by ReLU")):
        assert check_model(make_model("vae", "mlp", 4), x, eps, rng=rng) < TOLERANCE


@every_bug
def test_the_right_code_is_back_afterwards(name):
    def functions():
        return [vars(owner)[what] for owner, what, _ in BUGS[name].patches]

    before = functions()
    with pytest.raises(KeyError), planted(BUGS[name].patches):
        assert functions() == [replacement for _, _, replacement in BUGS[name].patches]
        raise KeyError
    assert functions() == before


@every_bug
def test_no_model_keeps_the_right_function(name):
    """A module that has imported a function of the engine by its name must be patched too."""
    patches = BUGS[name].patches
    right = {id(vars(owner)[what]) for owner, what, _ in patches if owner in ENGINE}
    with planted(patches):
        for module in (*ENGINE, vae):
            assert not [what for what, value in vars(module).items() if id(value) in right]


def test_the_model_uses_the_replacement():
    with planted(patches_of("std for variance")):
        assert float(vae.reparameterize(np.zeros(1), np.full(1, 2.0), 1.0)[0]) == np.exp(2.0)
    assert float(vae.reparameterize(np.zeros(1), np.full(1, 2.0), 1.0)[0]) == np.exp(1.0)
