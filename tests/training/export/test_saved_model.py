import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
import zoo
from tests.helpers import marks
from tests.helpers.exports import (
    IMAGES,
    MODELS,
    call,
    dropout_model,
    invoke,
    load,
    operators,
    passes,
    softmax,
)
from training import export
from training.export import parity

NUM_SAMPLES = 3


@pytest.fixture(scope="module")
def models():
    return {name: make() for name, make in MODELS.items()}


@pytest.fixture(scope="module")
def weights(models):
    """What the weights of each model were before the exports."""
    return {
        name: [np.array(weight) for weight in model.weights]
        for name, model in models.items()
    }


@pytest.fixture(scope="module")
def posteriors(models):
    """Of each model the samples, traced once."""
    return {n: zoo.posterior.MonteCarlo(m, NUM_SAMPLES) for n, m in models.items()}


@pytest.fixture(scope="module")
def exported(models, weights, posteriors, tmp_path_factory):
    """Exports every model in both formats, under a global seed."""
    folder = tmp_path_factory.mktemp("exports")
    result = {}
    for name, model in models.items():
        saved, lite = folder / name, folder / f"{name}.tflite"
        reports = [
            export.export_saved_model(model, saved, NUM_SAMPLES),
            export.export_tflite(posteriors[name], lite, images=IMAGES),
        ]
        result[name] = model, saved, lite, reports
    return result


@pytest.mark.parametrize("size", [1, 5])
def test_a_deterministic_export_computes_the_probabilities_of_the_model(exported, size):
    model, saved, lite, _ = exported["plain"]
    images = IMAGES[:size]
    expected = softmax(model(images, training=False))
    served = call(saved, images=images)
    # TensorFlow.js has none, and ArgMax of Keras would have one.
    graph = load(saved).signatures["serving_default"].graph.as_graph_def()
    bodies = [graph.node, *(f.node_def for f in graph.library.function)]
    assert "Bitcast" not in {node.op for body in bodies for node in body}
    assert set(load(saved).signatures) == {
        "serving_default",
        "serve_uint8",
        "serve_encoded",
    }
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    np.testing.assert_array_equal(served["label"], np.argmax(expected, axis=-1))
    np.testing.assert_allclose(served["confidence"], expected.max(-1), atol=1e-5)
    entropy = -np.sum(expected * np.log(expected), axis=-1)
    np.testing.assert_allclose(served["entropy"], entropy, atol=1e-5)
    np.testing.assert_allclose(served["mutual_information"], 0, atol=1e-6)
    pixels = call(saved, "serve_uint8", images=images.astype("uint8"))
    np.testing.assert_allclose(pixels["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(invoke(lite, images=images), expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("name", ["dropout", "flipout"])
def test_a_seed_gives_the_samples_of_keras_in_both_formats(
    exported, posteriors, name, size
):
    model, saved, lite, _ = exported[name]
    images = IMAGES[:size]
    for seed in (0, 7, 2**31 - 1):
        expected = passes(model, images, NUM_SAMPLES, seed)
        samples = posteriors[name](images, seed=seed)
        np.testing.assert_allclose(softmax(samples), expected, atol=1e-5)
        served = call(saved, "sample", images=images, num_samples=3, seed=seed)
        np.testing.assert_allclose(served["samples"], expected, atol=1e-5)
        mean = expected.mean(axis=0)
        np.testing.assert_allclose(served["probabilities"], mean, atol=1e-5)
        device = invoke(lite, images=images, seed=np.array(seed, "int32"))
        np.testing.assert_allclose(device, mean, atol=1e-5)


def test_the_number_of_samples_is_an_argument_and_extends_them(exported):
    _, saved, _, _ = exported["flipout"]
    few = call(saved, "sample", images=IMAGES, num_samples=2, seed=1)["samples"]
    many = call(saved, "sample", images=IMAGES, num_samples=5, seed=1)["samples"]
    assert many.shape == (5, 5, 4)
    np.testing.assert_allclose(many[:2], few, atol=1e-6)
    # Every image has a class whose probability varies.
    assert np.min(np.max(np.std(many, axis=0), axis=-1)) > 1e-4
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be positive"):
        call(saved, "sample", images=IMAGES, num_samples=0, seed=1)


@pytest.mark.parametrize("name", MODELS)
def test_reports_say_what_was_compared(exported, name):
    _, saved, lite, (server, device) = exported[name]
    assert (server["path"], device["path"]) == (str(saved), str(lite))
    assert device["bytes"] == os.path.getsize(lite) < server["bytes"]
    assert server["batch_sizes"] == (1, 3)
    assert device["batch_sizes"] == (1, 5)
    assert server["num_samples"] == (1 if name == "plain" else NUM_SAMPLES)
    for report in (server, device):
        assert 0 < report["max_difference"] < report["tolerance"] == 1e-4
        assert report["seconds"] > 0


# Imports TensorFlow, and forks before it has done anything.
SERVERS = """
import json, os, pathlib, sys
from concurrent import futures
for name in ("keras", "layers", "zoo", "training", "tests"):
    sys.modules[name] = None
import tensorflow as tf
_, saved, images, *paths = sys.argv

def serve(path):
    signatures = tf.saved_model.load(saved).signatures
    inputs = {"images": tf.constant(json.loads(images), tf.float32)}
    def call(_):
        outputs = signatures["serving_default"](**inputs)
        return outputs["probabilities"].numpy().tolist()
    arguments = {"num_samples": tf.constant(2), "seed": tf.constant(7)}
    sample = signatures["sample"](**inputs, **arguments)["samples"].numpy().tolist()
    calls = [call(0)]  # Or each thread would optimize the graph.
    with futures.ThreadPoolExecutor(8) as pool:
        calls += pool.map(call, range(199))
    pathlib.Path(path).write_text(json.dumps([sample, calls]))

servers = []
for path in paths:
    servers.append(os.fork())
    if servers[-1] == 0:
        serve(path)
        os._exit(0)
sys.exit(any([os.waitpid(server, 0)[1] for server in servers]))
"""


@pytest.mark.slow
def test_servers_and_their_threads_draw_noise_of_their_own(exported, tmp_path):
    """Two processes without this package or Keras, of eight threads each."""
    model, saved, _, _ = exported["flipout"]
    images, paths = IMAGES[:2], [tmp_path / "first", tmp_path / "second"]
    arguments = [saved, json.dumps(images.tolist()), *paths]
    command = [sys.executable, "-c", SERVERS, *map(str, arguments)]
    subprocess.run(command, check=True, cwd=tmp_path)
    outputs = [json.loads(path.read_text()) for path in paths]
    (first, *calls), (second, *more) = outputs
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, passes(model, images, 2, 7), atol=1e-5)
    drawn = np.concatenate([*calls, *more])  # Of 400 calls, for two images each.
    assert drawn.shape == (400, 2, 4)
    for place in range(2):
        assert len(np.unique(drawn[:, place], axis=0)) == 400
    assert np.min(np.max(np.std(drawn, axis=0), axis=-1)) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_a_device_file_has_built_in_operators_alone(exported, name):
    count, others = operators(exported[name][2])
    # Normalization folds into the convolution: four are left of the plain network.
    assert count == 4 if name == "plain" else count > 5
    assert others == []


def test_a_seed_of_a_device_draws_masks_of_its_own(exported):
    lite = exported["flipout"][2]
    outputs = [invoke(lite, images=IMAGES, seed=np.array(s, "int32")) for s in (1, 2)]
    assert np.min(np.max(np.abs(outputs[0] - outputs[1]), axis=-1)) > 1e-4
    again = invoke(lite, images=IMAGES, seed=np.array(1, "int32"))
    np.testing.assert_array_equal(again, outputs[0])


@pytest.mark.parametrize(
    "name, quantization",
    [("plain", "dynamic"), ("dropout", "float16"), ("flipout", "dynamic")],
)
def test_quantized_files_are_close(posteriors, name, quantization, tmp_path):
    path = tmp_path / "lite"
    report = export.export_tflite(posteriors[name], path, quantization=quantization)
    assert operators(tmp_path / "lite")[1] == []
    assert report["tolerance"] == parity.TOLERANCES[quantization]
    assert 0 < report["max_difference"] < 0.05


def test_images_of_any_size_are_served(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu"),
            layers.MCDropout(0.5),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    export.export_saved_model(model, tmp_path / "saved", 2)
    for shape in ((1, 20, 30, 1), (2, 40, 10, 1)):
        served = call(tmp_path / "saved", images=np.ones(shape, "float32"))
        assert served["probabilities"].shape == (shape[0], 3)


@pytest.mark.parametrize(
    "policy", marks.few(["mixed_bfloat16", "float64"], ["float64"])
)
def test_other_precisions_are_served(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = dropout_model()
    finally:
        keras.config.set_dtype_policy("float32")
    report = export.export_saved_model(model, tmp_path / "saved", 2)
    assert report["max_difference"] < 1e-4


def test_a_model_can_be_used_after_its_export(exported, weights):
    model = exported["flipout"][0]
    for old, new in zip(weights["flipout"], model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    model(IMAGES)
    assert [float(loss) > 0 for loss in model.losses] == [True]


# By default `test_litert` exports one, and `test_external_models` another.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("resnet20_smooth", "resnet20_smooth_mcdo", "resnet20_flipout"),
        *("vgg11_mcdo", "resnet18_blurpool_mcdo"),
    ],
)
def test_models_of_the_zoo_are_exported_in_both_formats(name, tmp_path):
    model = zoo.build(name, (28, 28, 1), 10)
    export.export_saved_model(model, tmp_path / "saved", 2)
    export.export_tflite(model, tmp_path / "lite", 2)
    assert operators(tmp_path / "lite")[1] == []
