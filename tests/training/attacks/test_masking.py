"""Networks whose gradients are true, and others that hide them."""

import keras
import numpy as np
from keras import ops

import layers
from tests.helpers.data_sets import stripes
from training.attacks import gradient_masking

DATA = stripes(24)


def network(change=lambda x: x, draws=False):
    """Compares what is along the rows with what is along the columns."""
    images = keras.Input((12, 12, 1))
    x = change(images) / 64.0
    rows = ops.mean(ops.square(ops.mean(x, axis=2) - 2), axis=(1, 2))
    columns = ops.mean(ops.square(ops.mean(x, axis=1) - 2), axis=(1, 2))
    x = 4 * ops.stack([rows, columns], axis=1)
    if draws:
        x = layers.MCDropout(0.1, name="dropout")(x)
    return keras.Model(images, keras.layers.Activation("linear")(x), name="network")


def test_signs_of_masked_gradients_are_found_where_there_are_some():
    plain = network()
    found = gradient_masking(plain, DATA.images, DATA.labels, 40.0, steps=5)
    assert found.accuracies["clean"] == 1
    assert found.accuracies["pgd"] < 0.2 < found.accuracies["random"]
    assert found.warnings == ()
    assert found.flat == 0
    rounded = network(lambda x: ops.round(x / 8) * 8)
    found = gradient_masking(
        rounded, DATA.images, DATA.labels, 40.0, steps=5, surrogates={"plain": plain}
    )
    assert found.flat == 1
    assert found.accuracies["clean"] == 1
    assert found.accuracies["pgd on plain"] < 0.2 < found.accuracies["pgd"]
    texts = " ".join(found.warnings)
    assert "gradient of 100% of the images is zero" in texts
    assert "'pgd on plain'" in texts
    assert "half of the range" in texts
    assert "does not rise" in texts


def test_what_one_draw_finds_is_told_of_a_random_network():
    found = gradient_masking(
        network(draws=True), DATA.images[:8], DATA.labels[:8], 40.0, steps=2, draws=3
    )
    assert set(found.accuracies) == {
        *("clean", "random", "fgsm", "pgd", "pgd, one draw"),
        "pgd, half of the range",
    }
    assert all(0 <= value <= 1 for value in found.accuracies.values())
    assert np.isfinite(found.falling)
