"""Networks whose gradients are true, and others that hide them."""

import keras
import numpy as np
from keras import ops

import layers
from training.attacks import gradient_masking

LABELS = np.arange(24) % 2
NOISE = np.random.default_rng(0).uniform(-30, 30, (24, 12, 12, 1))
IMAGES = np.rint(128 + 36 * (LABELS[:, None, None, None] - 0.5) + NOISE)


def network(change=lambda x: x, draws=False):
    """Tells bright images from dark ones."""
    images = keras.Input((12, 12, 1))
    mean = ops.mean(change(images), axis=(1, 2)) / 8 - 16
    x = layers.MCDropout(0.1, name="dropout")(mean) if draws else mean
    return keras.Model(images, ops.concatenate([-x, x], axis=1), name="network")


def test_signs_of_masked_gradients_are_found_where_there_are_some():
    plain = network()
    found = gradient_masking(plain, IMAGES, LABELS, 40.0, steps=5)
    assert found.accuracies["clean"] == 1
    assert found.accuracies["pgd"] < 0.2 < found.accuracies["random"]
    assert found.warnings == ()
    assert found.flat == 0
    rounded = network(lambda x: ops.round(x / 8) * 8)
    found = gradient_masking(
        rounded, IMAGES, LABELS, 40.0, steps=5, surrogates={"plain": plain}
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
        network(draws=True), IMAGES[:8], LABELS[:8], 40.0, steps=2, draws=3
    )
    assert set(found.accuracies) == {
        *("clean", "random", "fgsm", "pgd", "pgd, one draw"),
        "pgd, half of the range",
    }
    assert all(0 <= value <= 1 for value in found.accuracies.values())
    assert np.isfinite(found.falling)
