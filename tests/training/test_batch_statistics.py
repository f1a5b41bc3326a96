"""Batch statistics against closed forms and a slow computation in float64."""

import pathlib
import sys

import keras
import numpy as np
import pytest

import zoo
from tests.helpers import processes
from tests.helpers.commands import TWO_DEVICES, WITHOUT_TENSORFLOW, quick
from tests.helpers.normalized import IMAGES, RNG, network, statistics
from training.batch_statistics import update_batch_statistics


def oracle(model, images, batches):
    """Mean and variance of what each normalization sees, batch by batch."""
    first = model.get_layer("first")
    first_weights = [np.asarray(w, "float64") for w in first.get_weights()[:2]]
    kernel, bias = (np.asarray(w, "float64") for w in model.get_layer("conv").weights)
    seen = []
    for index in batches:
        x = images[index].astype("float64")
        x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + first.epsilon)
        x = x * first_weights[0] + first_weights[1]
        patches = [x[:, i : i + 3, j : j + 2] for i in range(2) for j in range(2)]
        kernels = kernel.reshape(4, 2, 4)
        seen.append(
            sum(p @ k for p, k in zip(patches, kernels, strict=True)).reshape(-1, 4)
            + bias
        )
    values = np.concatenate(seen)
    pixels = images.astype("float64").reshape(-1, 2)
    return [pixels.mean(0), pixels.var(0), values.mean(0), values.var(0)]


@pytest.mark.parametrize("batch_size", [23, 8])
def test_the_statistics_are_those_of_all_values(batch_size):
    model = network()
    gamma, beta = RNG.normal(size=(2, 2))
    model.get_layer("first").gamma.assign(gamma)
    model.get_layer("first").beta.assign(beta)
    update_batch_statistics(model, IMAGES, batch_size, seed=3)
    order = np.random.default_rng(3).permutation(23)
    batches = [order] if batch_size == 23 else [order[:8], order[8:16], order[16:]]
    expected = oracle(model, IMAGES, batches)
    for found, wanted in zip(statistics(model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_the_first_normalization_does_not_depend_on_the_batches(batch_size):
    model = network()
    update_batch_statistics(model, IMAGES, batch_size)
    pixels = IMAGES.astype("float64").reshape(-1, 2)
    mean, variance, *_ = statistics(model)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, pixels.var(0), rtol=1e-5)


def test_one_batch_of_all_images_normalizes_every_map():
    model = network()
    update_batch_statistics(model, IMAGES, 23)
    for name in ("first", "second"):
        layer = model.get_layer(name)
        part = keras.Model(model.inputs[0], layer.output)
        seen = np.asarray(part(IMAGES), "float64")
        variance = np.asarray(layer.moving_variance)
        np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(
            seen.var((0, 1, 2)), variance / (variance + layer.epsilon), rtol=1e-4
        )


def test_nothing_else_changes():
    model = network(rate=0.5)
    before = {w.path: np.array(w) for w in model.weights}
    update_batch_statistics(model, IMAGES, 8)
    after = {w.path: np.array(w) for w in model.weights}
    changed = {k for k, w in after.items() if not np.array_equal(w, before[k])}
    assert changed == {k for k in after if "/moving_" in k}
    assert len(changed) == 4
    # Neither does the result depend on what was there, nor on calls in between.
    model(IMAGES, training=True)
    update_batch_statistics(model, IMAGES, 8)
    for name in changed:
        (weight,) = [w for w in model.weights if w.path == name]
        np.testing.assert_array_equal(weight, after[name])


def test_random_layers_draw_as_in_prediction():
    found = []
    for rate, seed in ((0.5, 0), (0.5, 1), (0.0, 0)):
        update_batch_statistics(model := network(rate), IMAGES, 8, seed=seed)
        found.append(statistics(model)[3])
    assert np.all(found[0] != found[1])
    # Dropout of one half doubles the second moment of each value.
    assert np.mean(found[0]) > 1.5 * np.mean(found[2])


def test_frozen_and_nested_layers_are_with_updated_batch_statistics():
    body = network()
    update_batch_statistics(body, IMAGES, 23)
    expected = statistics(body)
    inner = network()
    inner.trainable = False
    inputs = keras.Input((4, 3, 2))
    outer = keras.Model(inputs, inner(inputs, training=False))
    update_batch_statistics(outer, IMAGES, 23)
    for found, wanted in zip(statistics(outer), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not inner.get_layer("first").trainable


def test_a_layer_that_is_called_twice_has_the_statistics_of_both():
    norm = keras.layers.BatchNormalization()
    inputs = keras.Input((4, 3, 2))
    outputs = keras.layers.Add()([norm(inputs), norm(3 * inputs + 1)])
    update_batch_statistics(keras.Model(inputs, outputs), IMAGES, 10)
    values = np.concatenate([IMAGES, 3 * IMAGES + 1]).astype("float64")
    np.testing.assert_allclose(norm.moving_mean, values.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, values.var((0, 1, 2)), rtol=1e-5)


def test_images_of_few_classes_in_order_are_mixed():
    """Batches of one class each would be normalized by the statistics of the class."""
    images = np.repeat([[1.0], [100.0]], 64, axis=0) * np.ones((128, 4 * 3 * 2))
    images = images.reshape(-1, 4, 3, 2) + RNG.normal(size=(128, 4, 3, 2))
    mixed, whole = network(), network()
    update_batch_statistics(mixed, images.astype("float32"), 32)
    update_batch_statistics(whole, images.astype("float32"), 128)
    found, wanted = statistics(mixed), statistics(whole)
    np.testing.assert_allclose(found[3], wanted[3], rtol=0.1)


def test_some_of_the_images_are_drawn():
    model = network()
    update_batch_statistics(model, IMAGES, 4, num_images=9, seed=2)
    chosen = IMAGES[np.random.default_rng(2).permutation(23)[:9]]
    mean = chosen.astype("float64").mean((0, 1, 2))
    np.testing.assert_allclose(statistics(model)[0], mean, rtol=1e-5)


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
{setup}
import numpy as np
from tests.helpers import normalized as n
from training import distribution
from training.batch_statistics import update_batch_statistics
with distribution.scope({scope!r}):
    update_batch_statistics(model := n.network(0.5), n.IMAGES, 8)
np.savez({path!r}, *n.statistics(model))
"""


@pytest.mark.parametrize(
    "backend, scope, setup",
    [
        ("jax", "one", WITHOUT_TENSORFLOW),
        pytest.param("tensorflow", "mirrored", TWO_DEVICES, marks=pytest.mark.slow),
    ],
)
def test_other_backends_and_replicas_find_the_same(tmp_path, backend, scope, setup):
    pytest.importorskip(backend)
    path, root = str(tmp_path / "found.npz"), str(pathlib.Path(__file__).parents[2])
    script = SCRIPT.format(root=root, setup=setup, scope=scope, path=path)
    environment = quick(backend)
    processes.run([sys.executable, "-c", script], env=environment, check=True)
    model = network(0.5)
    update_batch_statistics(model, IMAGES, 8)
    arrays = np.load(path)
    for number, wanted in enumerate(statistics(model)):
        found = arrays[f"arr_{number}"]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_network_in_16_bits_measures_in_32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = zoo.build("resnet20_smooth", (16, 16, 1), 3)
    finally:
        keras.config.set_dtype_policy("float32")
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), "uint8")
    update_batch_statistics(model, images, 6)
    assert all(x.dtype == "float32" for x in statistics(model))
    assert np.isfinite(np.asarray(model(images), "float32")).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"images": IMAGES[:0]}, "0 images, batch_size=8"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"model": keras.Sequential([keras.Input((2,))])}, "no batch normalization"),
    ],
)
def test_says_what_is_wrong(changes, message):
    arguments = {"model": network(), "images": IMAGES, "batch_size": 8, **changes}
    with pytest.raises(ValueError, match=message):
        update_batch_statistics(**arguments)


def test_an_error_leaves_the_statistics_as_they_were():
    model = network()
    before = statistics(model)
    model.get_layer("conv").kernel.assign(np.full((2, 2, 2, 4), np.inf, "float32"))
    with pytest.raises(FloatingPointError, match="'second' are not finite"):
        update_batch_statistics(model, IMAGES, 8)
    for found, wanted in zip(statistics(model), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
