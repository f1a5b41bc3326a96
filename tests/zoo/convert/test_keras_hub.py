"""Our networks with the weights of keras_hub's: the same function.

`SMOOTHZOO_KERAS_HUB_PYTHON` is a Python that has keras_hub, if this one does not:

    python -m venv /tmp/hub && /tmp/hub/bin/pip install tensorflow keras-hub
    export SMOOTHZOO_KERAS_HUB_PYTHON=/tmp/hub/bin/python
    pytest -m slow tests/zoo/convert/test_keras_hub.py
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import graphs
from tests.helpers.commands import ROOT
from tests.helpers.graphs import ends_of_stages
from zoo import convert

pytestmark = pytest.mark.slow
HELPERS = ROOT / "tests" / "helpers"
SIZES = "224x224", "160x96", "150x107"
NETWORKS = [
    ("resnet18", "resnet_18"),
    ("resnet50", "resnet_50"),
    ("resnet101", "resnet_101"),
    ("resnet152", "resnet_152"),
    ("resnet50d", "resnet_vd_50"),
]


def run_hub(*arguments):
    python = os.environ.get("SMOOTHZOO_KERAS_HUB_PYTHON")
    if python is None and importlib.util.find_spec("keras_hub"):
        python = sys.executable
    if python is None:
        pytest.skip("no keras_hub here; SMOOTHZOO_KERAS_HUB_PYTHON may name a Python")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, *map(str, arguments)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout


@pytest.mark.parametrize("name, theirs", NETWORKS)
@pytest.mark.usefixtures("double")
def test_logits_and_the_map_of_each_stage_are_theirs(name, theirs, tmp_path):
    run_hub(HELPERS / "hub_networks.py", theirs, tmp_path, *SIZES)
    expected = np.load(tmp_path / "outputs.npz")
    model = convert.load(tmp_path / "preset", name, (None, None, 3))
    names = [*ends_of_stages(model), "head"]
    kinds = [*(f"stage{i}" for i in range(1, len(names))), "logits"]
    for size in SIZES:
        found = graphs.outputs(model, names, expected[f"{size}_images"])
        for kind, array in zip(kinds, found, strict=True):
            reference = expected[f"{size}_{kind}"]
            np.testing.assert_allclose(array, reference, rtol=0, atol=1e-4)
            assert np.std(reference) > 0.01


SAME = """
import sys
import keras_hub
import numpy as np
from zoo import convert
from zoo.presets.weight_file import variables

folder = sys.argv[1]
classifier = keras_hub.models.ImageClassifier.from_preset(f"{folder}/preset")
sources = classifier, f"{folder}/preset", f"{folder}/it.weights.h5"
read = [convert.read(source) for source in sources]
models = [convert.convert(source, "resnet18", (96, 96, 3)) for source in read]
first, *others = [variables(model) for model in models]
for other in others:
    for name, variable in first.items():
        np.testing.assert_array_equal(np.asarray(other[name]), np.asarray(variable))
np.testing.assert_allclose(read[0].normalization, read[1].normalization, rtol=1e-6)
print(len(first), "weights")
try:
    backbone = keras_hub.models.VGGBackbone([1] * 5, [8] * 5, image_shape=(224, 224, 3))
    vgg = keras_hub.models.VGGImageClassifier(backbone, 10)
    convert.read(vgg)
except ValueError as error:
    print(error)
"""


def test_a_model_its_folder_and_its_file_are_the_same(tmp_path):
    run_hub(HELPERS / "hub_networks.py", "resnet_18", tmp_path, "64x64")
    lines = run_hub("-W", "ignore", "-c", SAME, tmp_path).splitlines()
    assert lines[0] == "102 weights"
    assert "keras_hub's VGG, which has no batch normalization" in lines[1]
