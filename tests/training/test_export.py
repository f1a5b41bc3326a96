import itertools
import json
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

import layers
import zoo
from layers.random import fold
from tests.checks import assert_mean_close
from training import export, parity

RATE, NUM_SAMPLES = 0.25, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1)).astype("float32")


def tiny(*random_layers):
    """Returns a network whose batch statistics differ from its moving ones."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((16, 16, 1), name="images")
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(8, 3, strides=2, name="conv")(x)
    norm = keras.layers.BatchNormalization(name="norm")
    x = keras.layers.ReLU()(norm(x))
    for layer in random_layers:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x))
    norm.moving_mean.assign(np.linspace(-1, 1, 8))
    norm.moving_variance.assign(np.linspace(0.02, 0.2, 8))
    return model


def dropout_model():
    return tiny(layers.MCDropout(RATE, channelwise=True))


def flipout_model():
    conv = layers.Conv2DFlipout(8, 3, initial_scale=0.3)
    return tiny(layers.MCDropout(0.3), conv)


MODELS = {"plain": tiny, "dropout": dropout_model, "flipout": flipout_model}


def softmax(logits):
    powers = np.exp(np.asarray(logits, "float64"))
    return powers / np.sum(powers, axis=-1, keepdims=True)


def passes(model, images, num_samples, seed):
    """Runs the passes one by one, as the definition says."""
    samples = []
    for number in range(num_samples):
        with layers.stream(fold(seed, number)):
            samples.append(softmax(model(images, training=False)))
    return np.stack(samples)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports every model in both formats, under a global seed."""
    folder = tmp_path_factory.mktemp("exports")
    result = {}
    for name, make in MODELS.items():
        model = make()
        saved, lite = folder / name, folder / f"{name}.tflite"
        reports = [
            export.export_saved_model(model, saved, NUM_SAMPLES),
            export.export_tflite(model, lite, NUM_SAMPLES, images=IMAGES),
        ]
        result[name] = model, saved, lite, reports
    return result


def call(saved, signature="serving_default", **inputs):
    loaded = tf.saved_model.load(saved)
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    return {k: v.numpy() for k, v in loaded.signatures[signature](**inputs).items()}


def invoke(lite, **inputs):
    return Interpreter(str(lite)).get_signature_runner()(**inputs)["probabilities"]


@pytest.mark.parametrize("size", [1, 5])
def test_a_deterministic_export_computes_the_probabilities_of_the_model(exported, size):
    model, saved, lite, _ = exported["plain"]
    images = IMAGES[:size]
    expected = softmax(model(images, training=False))
    served = call(saved, images=images)
    assert set(tf.saved_model.load(saved).signatures) == {
        "serving_default",
        "serve_uint8",
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
def test_a_seed_gives_the_samples_of_keras_in_both_formats(exported, name, size):
    model, saved, lite, _ = exported[name]
    images = IMAGES[:size]
    for seed in (0, 7, 2**31 - 1):
        expected = passes(model, images, NUM_SAMPLES, seed)
        posterior = zoo.posterior.MonteCarlo(model, NUM_SAMPLES)(images, seed=seed)
        np.testing.assert_allclose(softmax(posterior), expected, atol=1e-5)
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
    assert np.min(np.std(many, axis=0)) > 1e-4
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


SERVER = """
import json, sys
for name in ("keras", "layers", "zoo", "training"):
    sys.modules[name] = None
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
images = tf.constant(json.loads(sys.argv[2]), tf.float32)
calls = [loaded.signatures["serving_default"](images=images) for _ in range(3)]
arguments = {"num_samples": tf.constant(2), "seed": tf.constant(7)}
sample = loaded.signatures["sample"](images=images, **arguments)
outputs = [call["probabilities"] for call in calls] + [sample["samples"]]
print(json.dumps([output.numpy().tolist() for output in outputs]))
"""


def test_two_servers_draw_new_noise_and_the_same_from_a_seed(exported, tmp_path):
    model, saved, _, _ = exported["flipout"]
    images = IMAGES[:2]
    command = [sys.executable, "-c", SERVER, str(saved), json.dumps(images.tolist())]
    first, second = (
        json.loads(
            subprocess.run(
                command, check=True, capture_output=True, text=True, cwd=tmp_path
            ).stdout
        )
        for _ in range(2)
    )
    calls = [*first[:3], *second[:3]]
    for one, other in itertools.combinations(calls, 2):
        assert np.max(np.abs(np.subtract(one, other))) > 1e-4
    np.testing.assert_array_equal(first[3], second[3])
    np.testing.assert_allclose(first[3], passes(model, images, 2, 7), atol=1e-5)


def test_threads_do_not_share_noise(exported):
    signature = tf.saved_model.load(exported["flipout"][1]).signatures
    serve, images, outputs = signature["serving_default"], tf.constant(IMAGES[:1]), []

    def work():
        for _ in range(50):
            outputs.append(serve(images=images)["probabilities"].numpy().tobytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(outputs)) == len(outputs) == 200


def exact_moments(model, images):
    """Returns mean and variance of the probabilities, over all masks."""
    body = keras.Model(model.input, model.get_layer(index=-4).output)
    features = np.mean(body(images, training=False), axis=(1, 2))
    kernel, bias = model.get_layer("head").get_weights()
    masks = np.array(list(itertools.product([0, 1], repeat=8)))[:, None]
    kept = masks.sum(axis=-1, keepdims=True)
    weights = (1 - RATE) ** kept * RATE ** (8 - kept)
    probs = softmax(features * masks / (1 - RATE) @ kernel + bias)
    mean = np.sum(weights * probs, axis=0)
    return mean, np.sum(weights * (probs - mean) ** 2, axis=0)


@pytest.fixture(scope="module")
def single_passes(tmp_path_factory):
    """Samples of an export of one pass: served, by server seed, by device seed."""
    folder, model = tmp_path_factory.mktemp("single"), dropout_model()
    export.export_saved_model(model, folder / "saved", 1)
    export.export_tflite(model, folder / "lite", 1)
    loaded, images = tf.saved_model.load(folder / "saved"), IMAGES[:2]
    serve = loaded.signatures["serving_default"]
    constant = tf.constant(images)
    served = [serve(images=constant)["probabilities"].numpy() for _ in range(1500)]
    drawn = call(folder / "saved", "sample", images=images, num_samples=4000, seed=3)
    runner = Interpreter(str(folder / "lite")).get_signature_runner()
    device = [
        runner(images=images, seed=np.array(seed, "int32"))["probabilities"].copy()
        for seed in range(4000)
    ]
    samples = {"served": served, "drawn": drawn["samples"], "device": device}
    return exact_moments(model, images), samples


@pytest.mark.parametrize("source", ["served", "drawn", "device"])
def test_samples_have_the_exact_moments_over_all_masks(single_passes, source):
    (mean, variance), samples = single_passes
    assert_mean_close(samples[source], mean)
    assert_mean_close((np.array(samples[source]) - mean) ** 2, variance)


@pytest.mark.parametrize("source", ["served", "device"])
def test_successive_samples_and_images_are_independent(single_passes, source):
    (mean, _), samples = single_passes
    centered = np.array(samples[source]) - mean
    assert_mean_close(centered[:-1] * centered[1:], 0.0)
    assert_mean_close(centered[:, 0] * centered[:, 1], 0.0)


def operators(lite):
    """Returns the number of built-in operators and the names of all others."""
    model = schema.Model.GetRootAs(lite.read_bytes())
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return len(codes), [c.CustomCode() for c in codes if c.CustomCode()]


@pytest.mark.parametrize("name", MODELS)
def test_a_device_file_has_built_in_operators_alone(exported, name):
    count, others = operators(exported[name][2])
    assert count > 5
    assert others == []


def test_a_seed_of_a_device_draws_masks_of_its_own(exported):
    lite = exported["flipout"][2]
    outputs = [invoke(lite, images=IMAGES, seed=np.array(s, "int32")) for s in (1, 2)]
    assert np.min(np.max(np.abs(outputs[0] - outputs[1]), axis=-1)) > 1e-4
    again = invoke(lite, images=IMAGES, seed=np.array(1, "int32"))
    np.testing.assert_array_equal(again, outputs[0])


@pytest.mark.parametrize("quantization", ["float16", "dynamic"])
@pytest.mark.parametrize("name", MODELS)
def test_quantized_weights_are_smaller_and_close(name, quantization, tmp_path):
    model = MODELS[name]()
    report = export.export_tflite(model, tmp_path / "lite", 2, quantization)
    assert operators(tmp_path / "lite")[1] == []
    assert report["tolerance"] == parity.TOLERANCES[quantization]
    assert report["max_difference"] < 0.01


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


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_other_precisions_are_served(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = dropout_model()
    finally:
        keras.config.set_dtype_policy("float32")
    report = export.export_saved_model(model, tmp_path / "saved", 2)
    assert report["max_difference"] < 1e-4


def test_a_model_can_be_used_after_its_export(tmp_path):
    model = flipout_model()
    before = [np.array(w) for w in model.weights]
    export.export_saved_model(model, tmp_path / "saved", 2)
    export.export_tflite(model, tmp_path / "lite", 2)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    model(IMAGES)
    assert [float(loss) > 0 for loss in model.losses] == [True]


def test_an_export_that_differs_leaves_nothing(monkeypatch, tmp_path):
    logits = export.predictive.probs
    monkeypatch.setattr(export.predictive, "probs", lambda x: keras.ops.mean(x, axis=0))
    for function in (export.export_saved_model, export.export_tflite):
        with pytest.raises(ValueError, match="differs from Keras.*max_difference"):
            function(dropout_model(), tmp_path / "output")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(export.predictive, "probs", logits)
    export.export_tflite(tiny(), tmp_path / "output")
    kept = (tmp_path / "output").read_bytes()
    monkeypatch.setattr(export.predictive, "probs", lambda x: keras.ops.mean(x, axis=0))
    with pytest.raises(ValueError, match="differs"):
        export.export_tflite(tiny(), tmp_path / "output", overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["output"]
    assert (tmp_path / "output").read_bytes() == kept


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda probs, seed: probs + np.where(seed == 2, 2e-4, 0), "differs.*batch"),
        (lambda probs, seed: probs * np.nan, "differs.*max_difference=nan"),
        (lambda probs, seed: probs if len(probs) > 1 else probs[:, ::-1], "size=1"),
        (lambda probs, seed: probs if len(probs) < 2 else probs[::-1], "size=5"),
    ],
)
def test_parity_finds_what_differs(change, message):
    posterior = zoo.posterior.MonteCarlo(dropout_model(), 2)

    def run(images, seed):
        return change(parity.expected(posterior, images, seed), seed)

    with pytest.raises(ValueError, match=message):
        parity.check(posterior, run, IMAGES, 1e-4)


def test_parity_finds_a_seed_that_is_ignored_within_a_loose_tolerance():
    posterior = zoo.posterior.MonteCarlo(dropout_model(), 1)
    with pytest.raises(ValueError, match="ignores its seed"):
        parity.check(
            posterior,
            lambda images, seed: parity.expected(posterior, images, 1),
            IMAGES,
            tolerance=1.0,
        )


def test_what_exists_is_replaced_on_request_only(tmp_path):
    path = tmp_path / "served" / "1"
    export.export_saved_model(tiny(), path)
    with pytest.raises(FileExistsError, match="1 exists; `overwrite` replaces it"):
        export.export_saved_model(tiny(), path)
    export.export_saved_model(dropout_model(), path, 2, overwrite=True)
    assert "sample" in tf.saved_model.load(path).signatures
    assert [file.name for file in path.parent.iterdir()] == ["1"]
    with pytest.raises(FileExistsError, match="served is a folder that holds no"):
        export.export_saved_model(tiny(), path.parent, overwrite=True)
    assert path.exists()


def custom(function):
    lambda_layer = keras.layers.Lambda(function, output_shape=(16, 16, 1))
    model = [keras.Input((16, 16, 1)), lambda_layer, keras.layers.Flatten()]
    return keras.Sequential([*model, keras.layers.Dense(2)])


def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path):
    path, generator = tmp_path / "output", keras.random.SeedGenerator(0)

    def draw(x):
        return x + keras.random.normal(keras.ops.shape(x), seed=generator)

    with pytest.raises(ValueError, match="changes variables when it predicts.*layers."):
        export.export_saved_model(custom(draw), path)
    with pytest.raises(ValueError, match="no operator for tf.Erfinv"):
        export.export_tflite(custom(keras.ops.erfinv), path)
    with pytest.raises(ValueError, match="one of None, float16, dynamic.*=int4"):
        export.export_tflite(tiny(), path, quantization="int4")
    with pytest.raises(ValueError, match="must be positive.*num_samples=0"):
        export.export_tflite(tiny(), path, num_samples=0)
    with pytest.raises(ValueError, match=r"two or more of shape.*\(1, 16, 16, 1\)"):
        export.export_tflite(tiny(), path, images=IMAGES[:1])
    with pytest.raises(ValueError, match=r"two or more of shape.*\(5, 8, 16, 1\)"):
        export.export_tflite(tiny(), path, images=IMAGES[:, :8])
    flat = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"must take images.*\(None, 3\)"):
        export.export_saved_model(flat, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "resnet20_smooth",
        pytest.param("resnet20_smooth_mcdo", marks=pytest.mark.slow),
        pytest.param("resnet20_flipout", marks=pytest.mark.slow),
        pytest.param("vgg11_mcdo", marks=pytest.mark.slow),
        pytest.param("resnet18_blurpool_mcdo", marks=pytest.mark.slow),
    ],
)
def test_models_of_the_zoo_are_exported_in_both_formats(name, tmp_path):
    model = zoo.build(name, (28, 28, 1), 10)
    export.export_saved_model(model, tmp_path / "saved", 2)
    export.export_tflite(model, tmp_path / "lite", 2)
    assert operators(tmp_path / "lite")[1] == []
