"""A SavedModel in a process without Python, by the loader that the server uses."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.helpers.commands import ROOT
from tests.helpers.exports import IMAGES, MODELS, passes, softmax
from training import export

pytestmark = pytest.mark.slow
SOURCE = ROOT / "tests" / "helpers" / "serve.c"
LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("gcc")
    root, include = pathlib.Path(tf.sysconfig.get_lib()), tf.sysconfig.get_include()
    header = pathlib.Path(include, "tensorflow", "c", "c_api.h")
    if not compiler or not header.exists() or not (root / LIBRARIES[0]).exists():
        pytest.skip("There is no gcc, or TensorFlow has no headers or libraries.")
    program = tmp_path_factory.mktemp("program") / "serve"
    libraries = [f"-l:{name}" for name in LIBRARIES]
    subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(program)]
        + [f"-isystem{include}", f"-L{root}", *libraries, f"-Wl,-rpath,{root}"],
        check=True,
    )
    return program


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    models = {name: make() for name, make in MODELS.items()}
    for name, model in models.items():
        export.export_saved_model(model, folder / name, 3)
    return folder, models


def run(program, folder, signature, calls, output="probabilities", **inputs):
    """Runs the program; returns the output of each call in one row."""
    content = (folder / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    definition = graph.signature_def[signature]
    command = [program, folder, str(calls), definition.outputs[output].name]
    for name, value in inputs.items():
        path = folder.parent / f"{name}.bin"
        is_file = isinstance(value, bytes)
        path.write_bytes(value if is_file else value.tobytes())
        kind = "string" if is_file else value.dtype.name.replace("float32", "float")
        shape = "-" if is_file else "x".join(map(str, value.shape)) or "-"
        command += [definition.inputs[name].name, kind, shape, path]
    result = subprocess.run(
        [*map(str, command)], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return np.array([[*map(float, s.split())] for s in result.stdout.splitlines()])


def test_a_deterministic_model_computes_what_keras_computes(program, saved):
    folder, models = saved
    expected = softmax(models["plain"](IMAGES, training=False))
    folder = folder / "plain"
    pixels = IMAGES.astype("uint8")
    for signature, images in (("serving_default", IMAGES), ("serve_uint8", pixels)):
        (row,) = run(program, folder, signature, 1, images=images)
        np.testing.assert_allclose(row.reshape(5, 4), expected, atol=1e-5)
    file = tf.io.encode_png(pixels[0]).numpy()
    (row,) = run(program, folder, "serve_encoded", 1, image_bytes=file)
    np.testing.assert_allclose(row, expected[0], atol=1e-5)


@pytest.mark.parametrize("name", ["dropout", "flipout"])
def test_a_seed_gives_the_samples_of_keras_and_calls_draw_anew(program, saved, name):
    folder, models = saved[0] / name, saved[1]
    scalars = {"num_samples": np.int32(3), "seed": np.int32(7)}
    rows = run(program, folder, "sample", 2, "samples", images=IMAGES, **scalars)
    expected = passes(models[name], IMAGES, 3, 7)
    for row in rows:
        np.testing.assert_allclose(row.reshape(3, 5, 4), expected, atol=1e-5)
    calls = [run(program, folder, "serving_default", 20, images=IMAGES[:1])]
    calls.append(run(program, folder, "serving_default", 20, images=IMAGES[:1]))
    different = len(np.unique(np.concatenate(calls), axis=0))
    assert different == 40 or name == "dropout" and different > 30  # Of few masks.
