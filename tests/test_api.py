"""Every public name is in the API reference, with a docstring that says what its user must know."""

import ast
import builtins
import importlib
import inspect
import re
from pathlib import Path
from textwrap import dedent

import pytest

import tinyvae
from tinyvae.models.registry import MODELS

PAGES = Path(__file__).parent.parent / "docs" / "api"
DIRECTIVE = r"^\.\. auto(\w+):: tinyvae\.(\S+)(\n   :members:)?$"

# What a docstring says beside its first line, and the names whose docstring says it:
#   shapes  of the arrays taken or returned       units   nats, for a loss or a part of one
#   errors  each exception, and when              source  of a formula: the paper, with its year
# Where all of a module shares a shape or a unit, the docstring of the module may say it. A method
# without a docstring has that of the method it overrides, and no row here.
NEEDS = """
engine.layers | | Sequential
engine.layers | errors | require_counts
engine.layers | shapes | Reshape Flatten as_matrix sum_columns
engine.layers | shapes errors | Linear
engine.layers | shapes errors source | Conv2d ConvTranspose2d
engine.masked | shapes errors source | MaskedLinear MaskedConv2d
engine.activations | shapes | ReLU Sigmoid Tanh sigmoid
engine.module | | Layer Module Module.gathered Module.named_children Module.named_modules
engine.module | | Module.named_parameters Module.replica Module.state_dict
engine.module | shapes errors | Parameter
engine.module | shapes errors | Layer.forward Layer.backward Parameter.value Parameter.grad
engine.module | shapes errors | Module.theta Module.grad Module.load_state_dict
engine.module | errors | Module.to Module.require_parameters_in
engine.module | | Parameter.bind
engine.gaussian | shapes units | kl_to_standard_grad kl_divergence_grad log_density log_density_grad
engine.gaussian | shapes | log_density_of_draw
engine.gaussian | shapes units source | kl_to_standard kl_divergence
engine.gaussian | shapes | reparameterize_backward precision_weighted_backward
engine.gaussian | shapes source | reparameterize precision_weighted
engine.likelihoods | shapes | Likelihood Likelihood.backward Likelihood.mean Likelihood.sample
engine.likelihoods | shapes units | Likelihood.log_prob
engine.likelihoods | source | Bernoulli
engine.likelihoods | errors source | Gaussian LearnedGaussian
engine.categorical | shapes errors | one_hot
engine.categorical | shapes units | log_softmax
engine.categorical | shapes units source | cross_entropy_grad
engine.categorical | shapes units errors source | cross_entropy
engine.planar | shapes | Step
engine.planar | shapes errors | Step.forward Step.backward
engine.planar | source | Planar
engine.flows | source | Coupling InverseAutoregressive
engine.planar | shapes errors | Step.inverse
engine.flows | shapes | Flow.forward Flow.backward
engine.flows | shapes errors | Flow Flow.inverse
engine.convolution | shapes | positions patches_adjoint product_with_patches
engine.convolution | source | output_size
engine.convolution | shapes source | patches
engine.schedules | errors | require_weight
engine.schedules | errors source | constant linear_annealing cyclical_annealing
engine.schedules | shapes | free_bits_grad
engine.schedules | shapes units source | free_bits
engine.optim | | Optimizer.scalars
engine.optim | errors | Optimizer Optimizer.step
engine.optim | source | SGD Adam
engine.optim | shapes errors source | clip_grad_norm
engine.backend | | array_module matmul to_host
engine.backend | shapes | fused
engine.backend | errors | get_backend
engine.differences | | check_direction check_layer check_model relative_error
engine.differences | shapes | check_function check_flow
engine.differences | shapes source | numerical_gradient
models.registry | | all_options settings_of
models.registry | shapes errors | make_model
models.options | | Option is_count is_number
models.options | errors | Option.checked counts
models.base | | EncoderDecoder.support Model.inputs Model.terms_backward
models.base | | Model.after_step Model.frozen
models.base | errors | Model.loss Model.backward Model.require_support Model.require_examples
models.base | shapes | EncoderDecoder EncoderDecoder.decode EncoderDecoder.draw
models.base | shapes | EncoderDecoder.draw_codes EncoderDecoder.embed EncoderDecoder.metrics
models.base | shapes | EncoderDecoder.reconstruct EncoderDecoder.sample
models.base | shapes | EncoderDecoder.sample_means Loss.dterms Model Model.metrics
models.base | shapes | Model.end_epoch
models.base | shapes units | Loss.total
models.base | units | Model.terms
models.base | | Loss
models.autoencoder | | Autoencoder.build Autoencoder.embed
models.autoencoder | shapes | Autoencoder Autoencoder.encode
models.autoencoder | shapes units | Autoencoder.terms
models.vae | | VAE.build
models.vae | shapes | GaussianEncoder GaussianEncoder.forward GaussianEncoder.backward VAE
models.vae | shapes | VAE.encode VAE.embed
models.vae | shapes units source | VAE.terms VAE.log_weights
models.cvae | | CVAE.build
models.cvae | shapes | CVAE
models.hvae | | HVAE.build
models.hvae | shapes | HVAE HVAE.codes_from HVAE.embed
models.hvae | shapes units | HVAE.log_weights HVAE.terms
models.iwae | shapes errors | IWAE
models.iwae | shapes | bound_and_weights backward_to_q
models.iwae | shapes | IWAE.terms
models.iwae | shapes units | IWAE.log_weights
models.flow | | FlowVAE.build
models.flow | shapes source | FlowVAE
models.flow | shapes | FlowVAE.encode FlowVAE.embed
models.flow | shapes | FlowVAE.terms FlowVAE.log_weights
models.vqvae | | VQVAE.build VQVAE.end_epoch
models.vqvae | shapes errors | VQVAE.decode
models.vqvae | shapes | VQVAE VQVAE.encode VQVAE.reconstruct VQVAE.metrics
models.vqvae | shapes source | VQVAE.terms
models.codebook | | Codebook.follow
models.codebook | errors | Codebook.require_fits
models.codebook | shapes | Codebook.collect Codebook.lookup_backward
models.codebook | shapes source | Codebook.revive
models.codebook | shapes | Codebook Codebook.nearest Codebook.one_hot Codebook.lookup
models.code_prior | | CodePrior.build CodePrior.sample
models.code_prior | shapes | CodePrior CodePrior.metrics
models.code_prior | units | CodePrior.terms
models.code_prior | errors | CodePrior.require_support
models.classifier | shapes | Classifier Classifier.metrics Classifier.probabilities
models.classifier | shapes units | Classifier.terms
models.networks | shapes | ConvNetworks.trunk ConvNetworks.decoder
models.networks | shapes | ConvNetworks.grid_trunk ConvNetworks.grid_decoder
models.networks | shapes errors | ConvNetworks
models.networks | shapes | MLPNetworks MLPNetworks.trunk MLPNetworks.decoder
data.dataset | | Dataset.fingerprint Dataset.is_table
data.dataset | shapes | Dataset.original Dataset.shape
data.dataset | errors | Dataset.head Dataset.require_classes Dataset.require_range
data.dataset | errors | Dataset.standardized
data.dataset | shapes errors | Dataset Dataset.from_arrays
data.load | errors | load_dataset
data.files | errors | load_file
data.mnist | errors | load_mnist
data.digits | shapes errors | load_digits
data.batches | errors | minibatches
data.batches | shapes errors | to_float
data.batches | shapes errors source | binarize
data.batches | shapes units errors | entropy_floor
training.trainer | | Trainer.about Trainer.finished Trainer.own_schedule Trainer.save
training.trainer | errors | Trainer Trainer.fit Trainer.restore train
training.config | errors | Config Config.require_fits
training.state | errors | load_model
training.steps | | Diverged
training.ranks | errors | ranks_of
live_page.page | errors | write_live_page
training.evaluation | shapes units errors source | evaluate importance_weighted_bound
training.latent | shapes | holes
training.latent | shapes errors | quantile_grid
training.latent | shapes errors source | interpolate
gradcheck | | main table
rng | errors | generator require_generator
errors | | UserError
"""

SIZE = r"(?:\.\.\.|\*?\w+(?: ?[*/] ?\w+| [A-Z]\w*)*)"
SAYS = {
    "shapes": r"(?<!\w)\((?=[^()]*(?:\b[A-Z]\b|\.\.\.|\bsize\b|\b\d))" + f"{SIZE}(?:, ?{SIZE})*,?"
    r"\)|elementwise|\bshape\b|\bscalar\b",
    "units": r"\bnats\b",
    "errors": r"\b[Rr]aises? \w+",
    "source": r"\b[A-Z]\w+(?: et al\.)? (?:19|20)\d\d\b",
}


def rows():
    """{name with its module: the set of what its docstring must say}"""
    found = {}
    for row in NEEDS.strip().splitlines():
        module, needs, names = map(str.strip, row.split("|"))
        for name in names.split():
            assert f"{module}.{name}" not in found, f"{module}.{name} stands in two rows"
            found[f"{module}.{name}"] = set(needs.split())
    return found


def documented():
    """{name with its module: (object, docstring of the module)} of the directives in docs/api."""
    found = {}
    for page in sorted(PAGES.glob("*.md")):
        for kind, path, members in re.findall(DIRECTIVE, page.read_text(), re.MULTILINE):
            if kind == "module" and not members:  # its docstring alone
                continue
            module, _, one = (path, "", "") if kind == "module" else path.rpartition(".")
            values = vars(importlib.import_module(f"tinyvae.{module}"))
            for name in [one] if one else public(values):
                members = [(name, values[name])]
                if inspect.isclass(values[name]):
                    members += [(f"{name}.{k}", m) for k, m in methods(values[name])]
                found |= {f"{module}.{k}": (value, values["__doc__"]) for k, value in members}
    return found


def public(values):
    """The names of the functions and classes that a module defines."""
    for name, value in values.items():
        own = getattr(value, "__module__", None) == values["__name__"]
        if own and not name.startswith("_") and inspect.isroutine(value) | inspect.isclass(value):
            yield name


def methods(cls):
    """The public methods and properties of a class, but those that inherit their docstring."""
    for name, value in vars(cls).items():
        value = getattr(value, "__func__", value)  # of a classmethod
        inherits = value.__doc__ is None and any(name in vars(base) for base in cls.mro()[1:])
        if function_of(value) and not name.startswith("_") and not inherits:
            yield name, value


def function_of(value):
    """The function behind a function, method or property; None behind anything else."""
    if isinstance(value, property):
        value = value.fset or value.fget
    value = inspect.unwrap(getattr(value, "func", value))  # of a cached_property
    return value if inspect.isfunction(value) else None


def raised(value):
    """The exceptions in the `raise` statements of a function, or of what makes an object."""
    if inspect.isclass(value):
        makers = (vars(value).get(name) for name in ("__init__", "__post_init__"))
        return set().union(*(raised(maker) for maker in makers if maker))
    try:
        tree = ast.parse(dedent(inspect.getsource(function_of(value))))
    except (OSError, TypeError):  # made by Python, such as the __init__ of a dataclass
        return set()
    raises = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
    names = {ast.unparse(getattr(exception, "func", exception)) for exception in raises}
    names = {name for name in names if hasattr(builtins, name) or hasattr(tinyvae, name)}
    return names - {"NotImplementedError"}


def complaints(doc, needs, module_doc="", exceptions=()):
    """What is wrong with a docstring, in sentences; nothing if it says what it must."""
    lines = inspect.cleandoc(doc or "").splitlines()
    if not lines or not re.search(r"[.:]}?$", lines[0]) or any(lines[1:2]):
        yield "has no first line that is a sentence"
    doc, module_doc = (" ".join((text or "").split()) for text in (doc, module_doc))
    for what, pattern in SAYS.items():
        said = re.search(pattern, doc)
        shared = what in ("shapes", "units") and re.search(pattern, module_doc)
        if what in needs and not said and not shared:
            yield f"says nothing of its {what}"
        if said and what not in needs:
            yield f"tells its {what}, and its row in NEEDS does not say so"
    for name in sorted(exceptions):
        if name not in doc:
            yield f"does not say when it raises {name}"


def test_every_public_name_has_a_row():
    """For a new public name: write its docstring, then its row in NEEDS."""
    assert rows().keys() == documented().keys()


def test_what_people_import_or_name_is_in_the_reference():
    described = [value for value, _ in documented().values()]
    packages = [getattr(package, k) for package in (tinyvae, tinyvae.data) for k in package.__all__]
    for value in (*packages, *MODELS.values()):
        assert value in described, f"add the module of {value.__name__} to a page of docs/api"


def test_the_front_page_of_the_reference_lists_the_names_of_tinyvae():
    table = re.findall(r"^\|.*\|$", (PAGES / "README.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", "".join(table))) == set(tinyvae.__all__)


@pytest.mark.parametrize("name", rows())
def test_the_docstring_says_what_it_must(name):
    value, module_doc = documented()[name]
    found = [*complaints(value.__doc__, rows()[name], module_doc, raised(value))]
    assert not found, f"{name} {', '.join(found)}"


@pytest.mark.parametrize(
    "doc, needs, complaint",
    [
        (None, "", "first line"),
        ("What it does, and\nmore.", "", "first line"),
        ("The loss of x.", "shapes", "nothing of its shapes"),
        ("The loss of x (2014, eq. 3) ~ N(0, 1).", "shapes", "nothing of its shapes"),
        ("The loss of x (N, L).", "shapes units", "nothing of its units"),
        ("The loss of x (N, L) in nats.", "shapes", "tells its units"),
        ("The loss, Kingma and Welling.", "source", "nothing of its source"),
        ("The loss. Raises TypeError for lists.", "errors", "when it raises ValueError"),
        ("The loss.", "errors", "nothing of its errors"),
    ],
)
def test_a_docstring_that_lacks_something_is_found(doc, needs, complaint):
    found = [*complaints(doc, needs.split(), exceptions=["ValueError"] * ("errors" in needs))]
    assert any(complaint in sentence for sentence in found), found


def test_a_complete_docstring_passes():
    doc = """The loss of x (N, D), in nats per example: (N,).

    Raises ValueError for an x of another shape. Kingma and Welling 2014, eq. 7.
    """
    assert not [*complaints(doc, SAYS, exceptions=["ValueError"])]
