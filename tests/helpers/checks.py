"""Checks that every layer, model and posterior must pass."""

import inspect
import json
import pathlib
import tempfile

import keras
import numpy as np

from layers import stream


def draw(layer, x):
    """Calls a layer or model with the random numbers of one fixed stream."""
    with stream(0):
        return layer(x)


def check_layer(layer, input_shape):
    """Checks the contract of a Keras layer.

    The config names every constructor argument and survives JSON; the shapes that
    the layer promises are the ones that it returns, also where batch, height and
    width are not known beforehand; XLA, mixed precision and a saved model give the
    values of the layer itself.

    Args:
        layer: The layer; it may draw from `layers.random`.
        input_shape: Shape of a batch of inputs.
    """
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=input_shape).astype("float32")
    y = draw(layer, x)
    check_config(layer)
    check_shapes(layer, input_shape)
    check_mixed_precision(layer, x, y)

    compiled = tf.function(lambda x: draw(layer, x), jit_compile=True)(x)
    np.testing.assert_allclose(compiled, y, rtol=1e-4, atol=1e-4)

    inputs = keras.Input(input_shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        check_keras_file(keras.Model(inputs, layer(inputs)), x, folder)


def check_config(layer):
    """Checks that the config has every constructor argument and survives JSON."""
    config = layer.get_config()
    assert set(inspect.signature(type(layer)).parameters) - {"kwargs"} <= set(config)
    restored = type(layer).from_config(json.loads(json.dumps(config)))
    assert restored.get_config() == config


def check_shapes(layer, input_shape):
    """Checks the promised shapes, for odd sizes and for sizes unknown beforehand."""
    import tensorflow as tf

    dynamic = (*[None] * (len(input_shape) - 1), input_shape[-1])
    model = keras.Model(inputs := keras.Input(dynamic[1:]), layer(inputs))
    call = tf.function(
        layer, [tf.TensorSpec(dynamic)], reduce_retracing=True, autograph=False
    )
    promised = layer.compute_output_shape(dynamic)
    assert tuple(promised) == model.output.shape
    for grow in (0, 1, 4):
        shape = (*[size + grow for size in input_shape[:-1]], input_shape[-1])
        x = np.zeros(shape, "float32")
        y = layer(x)
        assert layer.compute_output_spec(keras.KerasTensor(shape)).shape == y.shape
        assert tuple(layer.compute_output_shape(shape)) == y.shape
        assert model(x).shape == call(x).shape == y.shape
        known = [size is not None for size in promised]
        assert all(np.equal(promised, y.shape)[known])


def check_mixed_precision(layer, x, y):
    """Checks dtype and values in mixed precision."""
    for dtype in ("bfloat16", "float16"):
        config = {**layer.get_config(), "dtype": f"mixed_{dtype}"}
        half = type(layer).from_config(config)
        half.build(x.shape)
        half.set_weights(layer.get_weights())
        outputs = draw(half, x)
        assert outputs.dtype == dtype
        spec = half.compute_output_spec(keras.KerasTensor(x.shape, dtype))
        assert spec.dtype == dtype
        error = np.abs(np.asarray(outputs, "float32") - y)
        assert np.max(error) < 0.05 * np.max(np.abs(y))
        assert all(loss.dtype == "float32" for loss in half.losses)


def check_keras_file(model, images, folder):
    """Checks that a `.keras` file holds the model, its weights and random state."""
    path = pathlib.Path(folder) / "model.keras"
    draw(model, images)
    model(images)
    model.save(path)
    restored = keras.models.load_model(path)
    for _ in range(2):
        np.testing.assert_allclose(
            restored(images), model(images), rtol=1e-5, atol=1e-5
        )


def check_saving(model, images, folder):
    """Checks that a model saved, and a model exported, is the same function.

    Args:
        model: Keras model; it may draw from `layers.random`.
        images: A batch of inputs.
        folder: Where to write.
    """
    import tensorflow as tf

    check_keras_file(model, images, folder)
    path = pathlib.Path(folder) / "saved_model"
    model.export(path, verbose=False)
    exported = tf.saved_model.load(path)
    served = exported.serve(images)
    np.testing.assert_allclose(served, model(images), rtol=1e-4, atol=1e-4)


def assert_mean_close(samples, expected, z=6.0):
    """Checks that i.i.d. `samples` (axis 0) have the `expected` mean.

    The tolerance is `z` standard errors, so a correct sampler fails with
    probability below 2e-9 per entry, and the test grows sharper with samples.
    """
    samples = np.asarray(samples, "float64")
    error = np.abs(samples.mean(axis=0) - expected)
    tolerance = z * samples.std(axis=0) / np.sqrt(len(samples)) + 1e-7
    assert np.all(error < tolerance), (
        f"Sample mean is off by {np.max(error / tolerance) * z:.1f} standard "
        f"errors (allowed: {z}) over {len(samples)} samples."
    )


def assert_equal_draws(function, expected):
    """Checks draws bit for bit.

    Args:
        function: From a seed to draws by name.
        expected: For each seed its draws by name.
    """
    for seed, values in expected.items():
        drawn = function(seed)
        assert set(drawn) == set(values)
        for name, value in values.items():
            np.testing.assert_array_equal(drawn[name], value, f"{name}, {seed}")
