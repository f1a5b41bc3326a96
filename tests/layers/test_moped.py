import keras
import numpy as np
import pytest

import layers
from zoo.presets import weight_file


def network():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2DFlipout(3, 3, name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.DenseReparameterization(2, name="head")(x))


def test_prior_and_posterior_are_around_the_weights(tmp_path):
    model = network()
    conv, head = model.get_layer("conv"), model.get_layer("head")
    kernel = np.asarray(conv.kernel, "float64")
    kernel[0, 0] = 0
    conv.kernel.assign(kernel)
    layers.moped(model, 0.2, skip=["head"])
    scale = np.maximum(0.2 * np.abs(kernel), 1e-6)
    np.testing.assert_allclose(conv.prepare()[1], scale, rtol=1e-4)
    # The means are equal, whatever they are.
    expected = np.sum(-np.log(scale) + scale**2 / 2 - 0.5)
    np.testing.assert_allclose(conv.divergence(), expected, rtol=1e-5)
    conv.kernel.assign(kernel + 0.5)
    np.testing.assert_allclose(
        conv.divergence(), expected + 0.125 * kernel.size, rtol=1e-5
    )
    assert head.prior_loc is None
    assert len(conv.trainable_weights) == 3
    x = np.ones((2, 6, 6, 2))
    model(x)
    np.testing.assert_allclose(model.losses[0], conv.divergence())

    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras").get_layer("conv")
    np.testing.assert_array_equal(restored.prior_loc, conv.prior_loc)
    np.testing.assert_allclose(restored.divergence(), conv.divergence(), rtol=1e-6)
    # Predictions do not need it: the weights fit a network without it.
    weight_file.save_weights(model, tmp_path / "weights.safetensors")
    other = network()
    weight_file.load_weights(other, tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(other.get_layer("conv").kernel, conv.kernel)

    layers.moped(model, 0.1)
    np.testing.assert_array_equal(conv.prior_loc, conv.kernel)
    np.testing.assert_array_equal(head.prior_loc, head.kernel)


def test_a_network_without_gaussian_weights_is_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match="'plain', of which no layer has some"):
        layers.moped(model)
    with pytest.raises(ValueError, match="of which conv, head has some"):
        layers.moped(network(), skip=["conv", "head"])
    with pytest.raises(ValueError, match="`delta` must be positive.*delta=0"):
        layers.moped(network(), 0)
