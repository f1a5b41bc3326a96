"""ONNX files, where the extra `onnx` is installed, and what is said where it is not."""

import sys

import keras
import numpy as np
import pytest

import zoo
from tests.helpers.exports import IMAGES, dropout_model, flipout_model, softmax, tiny
from tests.helpers.networks import MemberBias
from training import data
from training.export import onnx
from zoo import conformal
from zoo.posterior import DeepEnsemble, Density, Laplace, MonteCarlo, Temperature


@pytest.fixture
def runtime():
    for package in ("tf2onnx", "onnx"):
        pytest.importorskip(package)
    return pytest.importorskip("onnxruntime")


def run(runtime, path, images, **scalars):
    """Returns the outputs of a file by name; it takes what it is given, no more."""
    session = runtime.InferenceSession(str(path))
    inputs = {"images": images, **scalars}
    assert {value.name for value in session.get_inputs()} == set(inputs)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def samples(posterior, seed):
    return softmax(keras.ops.convert_to_numpy(posterior(IMAGES, seed=seed)))


def features(seed=1, count=80):
    images = np.random.default_rng(seed).integers(0, 256, (count, *IMAGES.shape[1:]))
    return images, np.arange(count) % 4


@pytest.mark.parametrize("size", [1, 5])
def test_a_file_computes_the_probabilities_of_the_model(runtime, size, tmp_path):
    model, images = tiny(), IMAGES[:size]
    report = onnx.export_onnx(model, tmp_path / "file.onnx")
    found = run(runtime, tmp_path / "file.onnx", images)
    expected = softmax(model(images))
    np.testing.assert_allclose(found.pop("probabilities"), expected, atol=1e-5)
    assert not found
    assert report["opset"] == 11
    assert report["max_difference"] < report["tolerance"] == 1e-4
    assert report["bytes"] == (tmp_path / "file.onnx").stat().st_size


@pytest.mark.parametrize("name", ["resnet20", "resnet20_smooth"])
def test_real_images_have_the_probabilities_of_keras(runtime, name, tmp_path):
    model = zoo.load(f"{name}.fashion_mnist")
    images = data.load("fashion_mnist", "test").images[:100].astype("float32")
    onnx.export_onnx(model, tmp_path / "file.onnx", images=images[:8])
    probs = run(runtime, tmp_path / "file.onnx", images)["probabilities"]
    expected = softmax(model.predict(images, verbose=0))
    np.testing.assert_allclose(probs, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18_blurpool", "alexnet", "prevgg11_smooth", "resnext50_32x4d"]
)
def test_families_are_exported(runtime, name, tmp_path):
    model = zoo.build(name, (32, 32, 3), 10)
    report = onnx.export_onnx(model, tmp_path / "file.onnx")
    assert report["max_difference"] < 1e-4


def adapted():
    layer = keras.layers.Normalization()
    layer.adapt(IMAGES)
    return layer


NORMALIZATIONS = {
    "fixed": lambda: keras.layers.Normalization(mean=[90.0], variance=[4000.0]),
    "adapted": adapted,
    "inverted": lambda: keras.layers.Normalization(
        mean=[0.5], variance=[1e-4], invert=True
    ),
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizations_of_pixels_are_exported_at_any_depth(runtime, name, tmp_path):
    keras.utils.set_random_seed(0)
    body = keras.Sequential([keras.Input((16, 16, 1)), NORMALIZATIONS[name]()])
    body.add(keras.layers.Conv2D(4, 3, strides=2))
    body.add(keras.layers.Flatten())
    body.add(keras.layers.Dense(3))
    inputs = keras.Input((16, 16, 1))
    outer = keras.Model(inputs, body(keras.layers.Rescaling(0.5)(inputs)))
    for number, model in enumerate((body, outer)):
        path = tmp_path / f"{number}.onnx"
        onnx.export_onnx(model, path, images=IMAGES)
        found = run(runtime, path, IMAGES)["probabilities"]
        np.testing.assert_allclose(found, softmax(model(IMAGES)), atol=1e-5)


def test_what_the_converter_does_not_know_is_refused(runtime, tmp_path):
    x = keras.ops.erfinv(inputs := keras.Input((16, 16, 1)))
    x = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    with pytest.raises(ValueError, match="ONNX cannot hold the model.*Erfinv"):
        onnx.export_onnx(model, tmp_path / "file.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make, count", [(dropout_model, 1), (flipout_model, 3)])
def test_draws_are_those_of_keras_for_every_seed(runtime, make, count, tmp_path):
    model = make()
    report = onnx.export_onnx(model, tmp_path / "file.onnx", count)
    assert report["num_samples"] == count
    assert report["opset"] == 18
    import onnx as files

    nodes = files.load(tmp_path / "file.onnx").graph.node
    by_pass = make is flipout_model  # Its kernels are drawn for a whole batch.
    assert any(node.op_type == "Loop" for node in nodes) == by_pass
    posterior = MonteCarlo(model, count)
    for seed, size in ((7, 5), (-1, 1), (2**31 - 1, 3)):
        expected = samples(posterior, seed).mean(axis=0)[:size]
        key = np.array(seed, "int32")
        found = run(runtime, tmp_path / "file.onnx", IMAGES[:size], seed=key)
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)


def laplace():
    posterior = Laplace(tiny(), "full", "monte_carlo", prior_precision=0.01)
    posterior.adapt(*features())
    return posterior


def of_members():
    return DeepEnsemble([tiny(), MonteCarlo(dropout_model(), 3)])


POSTERIORS = {
    "ensemble": of_members,
    "temperature": lambda: Temperature(of_members(), 2.0),
    "laplace": laplace,
    "members": lambda: MonteCarlo(tiny(MemberBias(3, name="members")), 3),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_posteriors_draw_as_in_keras(runtime, name, tmp_path):
    posterior = POSTERIORS[name]()
    onnx.export_onnx(posterior, tmp_path / "file.onnx")
    expected = samples(posterior, 7).mean(axis=0)
    seed = np.array(7, "int32")
    found = run(runtime, tmp_path / "file.onnx", IMAGES, seed=seed)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


def test_scores_and_decisions_are_further_outputs(runtime, tmp_path):
    posterior = Density(tiny())
    posterior.adapt(*features())
    decision = conformal.named("aps_90")
    logits, scores = posterior.scored(IMAGES)
    probs = softmax(keras.ops.convert_to_numpy(logits)[0])
    decision.adapt(softmax(posterior.predict(features()[0])[0]), features()[1])
    report = onnx.export_onnx(posterior, tmp_path / "file.onnx", decision=decision)
    found = run(runtime, tmp_path / "file.onnx", IMAGES)
    np.testing.assert_allclose(found["probabilities"], probs, atol=1e-5)
    for name, score in scores.items():
        np.testing.assert_allclose(found[name], score, 1e-3, 1e-3)
    expected = keras.ops.convert_to_numpy(decision(found["probabilities"]))
    np.testing.assert_array_equal(found["prediction_set"], expected)
    assert report["promise"] == {"coverage": 0.9}


def test_the_line_that_installs_the_converter_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install smoothzoo\[onnx\]"):
        onnx.export_onnx(tiny(), tmp_path / "file.onnx")
    assert list(tmp_path.iterdir()) == []
