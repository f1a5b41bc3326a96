"""The direction of imports, and what the packages import at all."""

import ast
import functools
import os
import re
import sys

import pytest

from tests.helpers import processes
from tests.helpers.commands import ROOT

FORBIDDEN = {
    "layers": {"zoo", "training", "tests"},
    "zoo": {"training", "tests"},
    "training": {"tests"},
}
# What may be imported with the module; functions import what else they need.
SMALL = {
    "layers": {"keras", "layers", "numpy"},
    "zoo": {"keras", "layers", "numpy", "safetensors", "zoo"},
}
OPTIONAL = {
    *("ai_edge_litert", "huggingface_hub", "jax", "keras_hub", "mlxtend", "onnx"),
    *("grpc", "onnxruntime", "openvino", "ray", "sklearn", "tf2onnx"),
    *("tensorflow_datasets", "tensorflow_probability", "tensorflow_serving"),
    *("timm", "torch", "torchvision"),
}
FILES = [p for package in FORBIDDEN for p in (ROOT / package).rglob("*.py")]


def imports(node, inside_function=False):
    """Yields the modules imported below a node, and whether inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside_function) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                name = f"{child.module}.{alias.name}" if child.module else alias.name
                yield f"{'.' * child.level}{name}", inside_function
        function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
        yield from imports(child, inside_function or function)


@functools.cache
def all_imports(path):
    return list(imports(ast.parse(path.read_text())))


def names(path, inside_function):
    return {name for name, inside in all_imports(path) if inside_function or not inside}


def packages(path, inside_function):
    return {name.partition(".")[0] for name in names(path, inside_function)}


def offenders(find):
    """Returns what a function of a path finds wrong, by the path."""
    found = {str(path.relative_to(ROOT)): find(path) for path in FILES}
    return {path: wrong for path, wrong in found.items() if wrong}


def test_imports_point_downwards():
    def upwards(path):
        forbidden = FORBIDDEN[path.relative_to(ROOT).parts[0]]
        return forbidden & packages(path, inside_function=True)

    assert not offenders(upwards)


def test_modules_import_little_before_it_is_used():
    def heavy(path):
        found = packages(path, inside_function=False)
        small = SMALL.get(path.relative_to(ROOT).parts[0])
        extra = found - small - sys.stdlib_module_names if small else set()
        return OPTIONAL & found | extra

    assert not offenders(heavy)


def test_no_import_hides_the_package_layers_or_is_relative():
    def misleading(path):
        found = names(path, inside_function=True)
        return [name for name in found if name == "keras.layers" or name[0] == "."]

    assert not offenders(misleading)


def test_what_begins_with_an_underscore_stays_in_its_module():
    def private(path):
        found = [name.split(".") for name in names(path, inside_function=True)]
        own = [parts[-1] for parts in found if parts[0] in FORBIDDEN]
        return [name for name in own if name[0] == "_" and name[:2] != "__"]

    assert not offenders(private)


WITHOUT_TENSORFLOW = '''
import sys


class Missing:
    """Makes TensorFlow look like a package that is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
import jax

jax.config.update("jax_disable_most_optimizations", True)  # It takes seconds.
import keras
import layers
import training.trainer
import zoo

zoo.build("resnet20_smooth_mcdo", (16, 16, 1), 3)
model = keras.Sequential([keras.Input((3,)), layers.MCDropout(0.5)])
print(tuple(zoo.posterior.MonteCarlo(model, 2)(keras.ops.ones((1, 3))).shape))
'''


def run_on_jax(code):
    env = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    return processes.run(
        [sys.executable, "-c", code],
        check=True,
        env=env,
    ).stdout


def test_jax_needs_no_tensorflow():
    assert run_on_jax(WITHOUT_TENSORFLOW) == "(2, 1, 3)\n"


def test_an_import_on_jax_does_not_load_tensorflow():
    code = "import layers, zoo, sys; print('tensorflow' in sys.modules)"
    assert run_on_jax(code) == "False\n"


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}
# What a folder may import of its own package, besides itself; others import more.
KNOWS = {
    "zoo.conformal": {"zoo.arrays", "zoo.outputs", "zoo.posterior", "zoo.spelling"},
    "zoo.models": set(),
    "zoo.posterior": {
        *("zoo.arrays", "zoo.classifier", "zoo.outputs", "zoo.predictive"),
        "zoo.spelling",
    },
    "zoo.presets": {
        *("zoo.classifier", "zoo.dataset_name", "zoo.posterior", "zoo.registry"),
        *("zoo.compressed", "zoo.storage"),
    },
    "zoo.storage": set(),
    "training.attacks": {
        *("training.data", "training.input_gradients", "training.progress"),
        "training.distribution.device_memory",
    },
    "training.corruptions": {"training.processor"},
    "training.data": {"training.corruptions"},
    "training.data.readers": {
        *("training.data.fingerprint", "training.data.image_data"),
        "training.data.number_data",
    },
    "training.export": {"training.corruptions", "training.data", "training.runtimes"},
    "training.metrics": {"training.corruptions"},
    "training.objectives": {
        "training.compress",
        *("training.input_gradients", "training.objective", "training.bayesian.priors"),
        *("training.named_settings", "training.distribution.step_keys"),
        *("training.attacks", "training.augment.image_to_image"),
        "training.number_losses",
    },
    "training.parallel": {"training.processor", "training.versions"},
    "training.runtimes": {"training.data"},
    "training.recipes": {
        "training.task",
        *("training.augment", "training.objectives", "training.optimizer"),
        *("training.bayesian.kl_weight", "training.trained_layers"),
        *("training.compress", "training.bayesian.priors"),
    },
}
# And what others do not.
KNOWS_NOT = {
    "training": {"training.cli"},
    "training.data": {"training.data.audit"},
    "training.evaluation": {"training.export", "training.publishing", "training.run"},
    "training.report": {
        *("training.evaluation.command", "training.evaluation.sweep"),
        *("training.export", "training.publishing", "training.run"),
    },
}


def neighbors(module):
    """Returns the modules of this package that a module imports, anywhere in it."""
    found = set()
    for name in names(MODULES[module], inside_function=True):
        # Either a module, or what it has from one.
        found.add(name if name in MODULES else name.rpartition(".")[0])
    return (found & MODULES.keys()) - {module}


def is_in(module, folder):
    return f"{module}.".startswith(f"{folder}.")


@pytest.mark.parametrize("folder", KNOWS)
def test_a_folder_of_one_role_knows_few_others(folder):
    package = folder.partition(".")[0]
    members = [module for module in MODULES if is_in(module, folder)]
    assert len(members) > 1
    for module in members:
        for other in neighbors(module):
            known = any(is_in(other, room) for room in (folder, *KNOWS[folder]))
            assert known or not is_in(other, package), (module, other)


@pytest.mark.parametrize("folder", KNOWS_NOT)
def test_no_folder_knows_what_is_built_upon_it(folder):
    for module in MODULES:
        for room in KNOWS_NOT[folder] if is_in(module, folder) else ():
            if not is_in(module, room):
                found = [other for other in neighbors(module) if is_in(other, room)]
                assert not found, (module, found)


def test_no_module_imports_itself_over_others():
    graph = {module: neighbors(module) for module in MODULES}
    while graph:
        leaves = {module for module, known in graph.items() if not known}
        assert leaves, f"There is a circle among {sorted(graph)}"
        graph = {m: known - leaves for m, known in graph.items() if m not in leaves}


# Code in a string, for another process.
_IMPORT_OF_A_TEST = re.compile(
    r"^\s*(from|import)\s+tests[\w.]*(\.|\s+import\s+(.*,\s*)?)test_", re.MULTILINE
)


def test_no_test_imports_a_test():
    for path in (ROOT / "tests").rglob("*.py"):
        found = names(path, inside_function=True)
        found = [name for name in found if name.startswith("tests.")]
        assert not [name for name in found if ".test_" in name], path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                match = _IMPORT_OF_A_TEST.search(node.value)
                assert not match, (path, match[0])


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import sys\n{} tests.zoo.{}_zoo import IMAGES", True),
        ("\n    {} tests.zoo import helpers, {}_zoo as t", True),
        ("{} tests.helpers.networks import {}", False),
        ("{} testing import {}_zoo", False),
    ],
)
def test_an_import_of_a_test_is_found_in_a_string(code, found):
    code = code.format("from", "test")  # Or else it would be found here.
    assert bool(_IMPORT_OF_A_TEST.search(code)) is found


def test_the_tests_lie_in_the_folders_of_what_they_test():
    for package in (*FORBIDDEN, "benchmarks"):
        for path in (ROOT / "tests" / package).rglob("*.py"):
            assert path.stem in ("__init__", "conftest") or path.stem[:5] == "test_", (
                path
            )
            assert (ROOT / path.parent.relative_to(ROOT / "tests")).is_dir(), path
