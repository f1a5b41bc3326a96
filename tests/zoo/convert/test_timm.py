"""Our networks with the weights of timm's and torchvision's: the same function.

`SMOOTHZOO_TORCH_PYTHON` is a Python that has them, if this one does not:

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch timm torchvision
    export SMOOTHZOO_TORCH_PYTHON=/tmp/torch/bin/python
    pytest -m slow tests/zoo/convert/test_timm.py
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
SIZES = "224x224", "160x96"
# Sides that are odd after some stage, where floor and ceil differ; the networks that
# average take an odd side behind the first convolution alone.
ODD, ODD_STEM = "150x107", "226x98"
# Ours; theirs. Of timm one each, of torchvision one of each kind.
NETWORKS = [
    ("resnet18", "timm:resnet18"),
    ("resnet34", "timm:resnet34"),
    ("resnet50", "timm:resnet50"),
    ("resnet101", "timm:resnet101"),
    ("resnet152", "timm:resnet152"),
    ("resnext50_32x4d", "timm:resnext50_32x4d"),
    ("wide_resnet50_2", "timm:wide_resnet50_2"),
    ("vgg11_mlp", "timm:vgg11_bn"),
    ("vgg13_mlp", "timm:vgg13_bn"),
    ("vgg16_mlp", "timm:vgg16_bn"),
    ("vgg19_mlp", "timm:vgg19_bn"),
    ("resnet18d", "timm:resnet18d"),
    ("resnet50d", "timm:resnet50d"),
    ("resnet50_aa", "timm:resnetaa50"),
    ("resnet50d_aa", "timm:resnetaa50d"),
    ("resnet34d_aa", "timm:resnetaa34d"),
    ("resnet50_blur", "timm:resnetblur50"),
    ("resnet18_blur", "timm:resnetblur18"),
    ("resnet50d_blur", "timm:resnetblur50d"),
    ("resnet34", "torchvision:resnet34"),
    ("resnet50", "torchvision:resnet50"),
    ("vgg16_mlp", "torchvision:vgg16_bn"),
]


def run_torch(*arguments):
    python = os.environ.get("SMOOTHZOO_TORCH_PYTHON")
    if python is None and importlib.util.find_spec("timm"):
        python = sys.executable
    if python is None:
        pytest.skip("no Python with timm here; SMOOTHZOO_TORCH_PYTHON may name one")
    command = [python, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read(folder, pth):
    """Reads the weights; a `.pth` file in the Python that has torch."""
    if not pth.exists():
        return convert.read(folder)
    code = (
        "import sys, numpy, zoo.convert.torch_format as p; "
        "numpy.savez(sys.argv[2], **p.read_pth(sys.argv[1]))"
    )
    run_torch("-c", IMPORT + code, pth, folder / "state.npz")
    return convert.Source("model.pth", "0" * 64, dict(np.load(folder / "state.npz")))


# The Python with torch need not have Keras, which the package `zoo` imports.
IMPORT = f"""
import sys, types
for name in ("zoo", "zoo/convert"):
    module = sys.modules[name.replace("/", ".")] = types.ModuleType(name)
    module.__path__ = [{str(ROOT)!r} + "/" + name]
"""


@pytest.mark.parametrize("name, theirs", NETWORKS)
def test_logits_and_the_map_of_each_stage_are_theirs(name, theirs, tmp_path, double):
    sizes = *SIZES, ODD_STEM if "aa" in theirs else ODD
    run_torch(HELPERS / "timm_networks.py", theirs, tmp_path, *sizes)
    source = read(tmp_path, tmp_path / "model.pth")
    expected = np.load(tmp_path / "outputs.npz")
    model = convert.convert(source, name, (None, None, 3))
    names = [*ends_of_stages(model), "head"]
    kinds = [*(f"stage{i}" for i in range(1, len(names))), "logits"]
    for size in sizes:
        found = graphs.outputs(model, names, expected[f"{size}_images"])
        for kind, array in zip(kinds, found, strict=True):
            reference = expected[f"{size}_{kind}"]
            np.testing.assert_allclose(array, reference, rtol=0, atol=1e-4)
            assert np.std(reference) > 0.01


@pytest.mark.parametrize("name, theirs", [NETWORKS[0], NETWORKS[2]])
def test_logits_are_theirs_in_32_bits_too(name, theirs, tmp_path):
    run_torch(HELPERS / "timm_networks.py", theirs, tmp_path, *SIZES)
    expected = np.load(tmp_path / "outputs.npz")
    model = convert.load(tmp_path, name, (None, None, 3))
    for size in SIZES:
        found = model(expected[f"{size}_images"], training=False)
        np.testing.assert_allclose(found, expected[f"{size}_logits"], atol=1e-4)


def test_a_pickle_with_more_than_tensors_is_refused_and_not_run(tmp_path):
    code = f"""
import os, pathlib, torch
import zoo.convert.torch_format as p

class Evil:
    def __reduce__(self):
        return os.system, ({f"touch {tmp_path}/done"!r},)

for value in (Evil(), {{"a": Evil()}}, [1], {{"a": 1}}, {{}}):
    torch.save(value, {str(tmp_path / "x.pth")!r})
    try:
        p.read_pth({str(tmp_path / "x.pth")!r})
    except ValueError as error:
        print(str(error).partition("' ")[2][:24])
torch.save({{"state_dict": {{"module.a": torch.ones(2, dtype=torch.float16)}}}},
           {str(tmp_path / "x.pth")!r})
print(p.read_pth({str(tmp_path / "x.pth")!r}))
"""
    lines = run_torch("-c", IMPORT + code).splitlines()
    refused = ["is not a file of PyTorch"] * 2 + ["is not a state dict: exp"] * 3
    assert lines[:5] == refused
    assert lines[5] == "{'module.a': array([1., 1.], dtype=float32)}"
    assert not (tmp_path / "done").exists()
