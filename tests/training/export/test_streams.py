"""Exported streams against Keras, frame by frame."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.helpers import scenes
from training import export
from training.export import formats
from training.runtimes import litert, streams
from zoo.posterior import MonteCarlo, Temporal
from zoo.quantization import quantized

SIZE = 8


def network(of_pixels=False, **settings):
    """A network of a few weights that draws before and behind a convolution."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Rescaling(1 / 50)(x)
    x = layers.MCDropout(0.5, name="first")(x)
    x = keras.layers.Conv2D(4, 3, padding="same")(x)
    x = layers.MCDropout(0.25, name="second")(x)
    x = x if of_pixels else keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    model.knows = lambda: {"classes": ("a", "b", "c")}
    return model


def frames(count):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, SIZE, SIZE, 1)).astype("float32")


def pairs(posterior, opened, images, seed=3):
    """Yields what Keras and a file say of each frame, with the states."""
    step = tf.function(posterior.step)
    state, other = posterior.initial_state(seed), opened.initial_state(seed)
    for number, image in enumerate(images):
        if number == 7:
            state, other = posterior.reset(state), opened.reset(other)
        expected, state = step(image, state)
        found, other = opened.step(image, other)
        yield found, expected.numpy(), other, state


def compare(posterior, folder, images):
    """Returns the largest difference of a LiteRT file; that of a SavedModel is zero."""
    for kind, name in (("saved_model", "saved"), ("tflite", "stream.tflite")):
        report = export.export_stream(kind, posterior, folder / name)
        assert report["max_difference"] < 1e-5
    saved, lite = (streams.open_stream(folder / n) for n in ("saved", "stream.tflite"))
    for opened in (saved, lite):
        assert opened.image_shape == (SIZE, SIZE, 1)
        assert opened.map_shape == posterior.map_shape
    for found, expected, other, state in pairs(posterior, saved, images):
        np.testing.assert_array_equal(found, expected)
        for name, value in state.items():
            np.testing.assert_array_equal(other[name], value.numpy(), name)
    largest = 0
    for found, expected, other, state in pairs(posterior, lite, images):
        for name in ("count", "number", "seed"):
            assert int(other[name]) == int(state[name])
        largest = max(largest, np.max(np.abs(found - expected)))
    return largest


def test_files_are_the_stream_of_keras_over_twenty_frames(tmp_path):
    posterior = Temporal(network(), past=2, cut=0.9)
    assert compare(posterior, tmp_path, frames(20)) < 1e-6
    with pytest.raises(FileExistsError, match="`overwrite` replaces it"):
        export.export_stream("tflite", posterior, tmp_path / "stream.tflite")
    with pytest.raises(ValueError, match="must take one batch of images"):
        litert.open_network(tmp_path / "stream.tflite")


def test_files_of_networks_for_any_size_say_so(tmp_path):
    x = inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(2, 3)(keras.layers.Rescaling(1 / 50)(x))
    x = keras.layers.GlobalMaxPooling2D()(x)
    posterior = Temporal(keras.Model(inputs, keras.layers.Dense(3)(x)))
    for kind, name in (("saved_model", "saved"), ("tflite", "stream.tflite")):
        export.export_stream(kind, posterior, tmp_path / name)
        opened = streams.open_stream(tmp_path / name)
        assert opened.image_shape == (None, None, 1)
        images = np.random.default_rng(0).integers(0, 256, (3, 9, 14, 1))
        for found, expected, *_ in pairs(posterior, opened, images.astype("float32")):
            np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("of_pixels", [False, True])
@pytest.mark.parametrize("past", [5, None, 0])
def test_files_are_the_stream_of_keras_over_a_hundred_frames(tmp_path, of_pixels, past):
    posterior = Temporal(network(of_pixels), past=past)
    assert compare(posterior, tmp_path, frames(100)) < 2e-6


@pytest.mark.slow
def test_draws_on_devices_are_those_of_keras_to_the_bit(tmp_path):
    x = inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Flatten()(layers.MCDropout(0.5)(x))
    # Probabilities show what was dropped.
    model = keras.Model(inputs, keras.layers.Rescaling(8.0)(x))
    posterior = Temporal(model, past=0)
    export.export_stream("tflite", posterior, tmp_path / "stream.tflite")
    opened = streams.open_stream(tmp_path / "stream.tflite")
    ones = np.ones((100, SIZE, SIZE, 1), "float32")
    means = []
    for found, expected, *_ in pairs(posterior, opened, ones):
        kept = expected > expected.mean()
        np.testing.assert_array_equal(found > found.mean(), kept)
        means.append(kept)
    assert 0.4 < np.mean(means) < 0.6


def test_seeds_of_more_than_32_bits_are_refused_as_in_keras():
    inputs = {
        "images": ((1, SIZE, SIZE, 1), "float32"),
        "window": ((5, 3), "float32"),
        "seed": ((), "int32"),
    }
    opened = streams.StreamFile(dict, inputs, ())
    for seed in (0, 2**31, 2**32 - 1):
        expected = Temporal(network()).initial_state(seed)["seed"]
        assert int(opened.initial_state(seed)["seed"]) == int(expected)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=f"2.*32.*seed={seed}"):
            opened.initial_state(seed)


@pytest.mark.slow
def test_a_file_without_a_state_is_no_stream(tmp_path):
    for kind in (export.export_tflite, export.export_saved_model):
        path = tmp_path / kind.__name__
        path = path.with_suffix(".tflite" if "tflite" in path.name else "")
        kind(MonteCarlo(network(), 1), path)
        with pytest.raises(ValueError, match="is no stream.*inputs images"):
            streams.open_stream(path)


@pytest.mark.slow
def test_a_network_of_pixels_that_smooths_is_exported(tmp_path):
    model = scenes.network(("smooth", "mcdo50"))
    images = scenes.scenes(3).images.astype("float32")
    for settings in ({}, {"quantization": "float16"}):
        path = tmp_path / f"stream{len(settings)}.tflite"
        report = export.export_stream(
            "tflite", Temporal(model), path, frames=images, **settings
        )
        assert report["max_difference"] <= report["tolerance"]


def test_what_is_no_stream_is_refused(tmp_path):
    posterior = Temporal(network(), future=1)
    path = tmp_path / "stream.tflite"
    with pytest.raises(ValueError, match="yet to come: set future=0"):
        export.export_stream("tflite", posterior, path)
    for kind, options, message in (
        ("onnx", {}, "exported as saved_model or tflite.*Received: format=onnx"),
        ("tflite", {"calibration": "x"}, "`--calibration` is not for a stream"),
        ("tflite", {"quantization": "int8"}, "`quantization` must be one of None, flo"),
    ):
        with pytest.raises(ValueError, match=message):
            formats.export_as(kind, Temporal(network()), path, options)
    aware = Temporal(quantized(network()), 2)
    with pytest.raises(ValueError, match="without `quantization`.*=dynamic"):
        export.export_stream("tflite", aware, tmp_path / "it", "dynamic")
    with pytest.raises(ValueError, match="for LiteRT files"):
        export.export_stream("saved_model", posterior, path, quantization="float16")
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match="There is no file"):
        streams.open_stream(path)
    with pytest.raises(FileNotFoundError, match="no SavedModel"):
        streams.open_stream(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path))  # Without a signature.
    with pytest.raises(ValueError, match="is no stream"):
        streams.open_stream(tmp_path)
